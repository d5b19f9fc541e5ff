"""The firm-side system: it describes accounts and instruments, and keeps the books.

Each trade is cleared exactly once, by postings that sum to zero. It takes no orders.
"""

from tradesys.systems.firm.firm import FirmSystem

__all__ = ["FirmSystem"]
