"""The customer-facing system: it takes orders by the rules of order entry, and answers.

A request is on disk here before it is acknowledged. It knows no street-side system: what it has
accepted waits in its outbox.
"""

from tradesys.systems.customer.customer import CustomerSystem

__all__ = ["CustomerSystem"]
