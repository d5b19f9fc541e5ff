"""The firm-side system: it describes accounts and instruments, and keeps the books.

Each trade is cleared exactly once, by postings that sum to zero. It takes no orders. The system
itself is in :mod:`~tradesys.systems.firm.firm`, beside :mod:`~tradesys.systems.firm.clearing` and
:mod:`~tradesys.systems.firm.statements`.
"""

from tradesys.systems.firm.firm import FirmSystem

__all__ = ["FirmSystem"]
