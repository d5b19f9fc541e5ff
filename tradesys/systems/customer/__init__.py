"""The customer-facing system: it takes orders by the rules of order entry, and answers.

A request is on disk here before it is acknowledged. It knows no street-side system: what it has
accepted waits in its outbox. The system itself is in :mod:`~tradesys.systems.customer.customer`,
the rules in :mod:`~tradesys.systems.customer.rules`; one order comes by
:mod:`~tradesys.systems.customer.terms` and :mod:`~tradesys.systems.customer.single`, a table by
:mod:`~tradesys.systems.customer.columns` and :mod:`~tradesys.systems.customer.entry`, and leaves by
:mod:`~tradesys.systems.customer.outbox`.
"""

from tradesys.systems.customer.customer import CustomerSystem

__all__ = ["CustomerSystem"]
