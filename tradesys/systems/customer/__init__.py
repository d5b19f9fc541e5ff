"""The customer-facing system: it takes orders by the rules of order entry, and answers.

A request is on disk here before it is acknowledged. It knows no street-side system: what it has
accepted waits in its outbox. The system is in :mod:`~tradesys.systems.customer.customer`; one order
is read by :mod:`~tradesys.systems.customer.order_terms`, a table by
:mod:`~tradesys.systems.customer.table_input`. :mod:`~tradesys.systems.customer.request_encoding`
turns both into whole numbers, :mod:`~tradesys.systems.customer.order_entry` puts them before the
:mod:`~tradesys.systems.customer.entry_rules`, :mod:`~tradesys.systems.customer.pending_uses` counts
what they use until they are durable, and :mod:`~tradesys.systems.customer.outbox` hands over what
was accepted.
"""

from tradesys.systems.customer.customer import CustomerSystem

__all__ = ["CustomerSystem"]
