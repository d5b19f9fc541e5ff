"""The street-side system: it sends orders to the market and records what the market reports.

Each symbol is assigned to one of several, and a peer takes over while that one is down. It knows no
customer. The system itself is in :mod:`~tradesys.systems.street.street`, beside
:mod:`~tradesys.systems.street.symbol_assignment`.
"""

from tradesys.systems.street.street import StreetSystem

__all__ = ["StreetSystem"]
