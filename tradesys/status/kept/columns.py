"""What a view knows, as growable columns: a row per order, request, event and balance.

Each table is a structured array of numpy. Only the loops of :mod:`tradesys.status.kept.loops` write
to its facts. Row 0 is nobody's and stays zero, so whatever was never seen has no facts. The fields
of a named tuple are told apart by their place alone where compiled code is cached, so give one a
new name when it changes.
"""

import mmap
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tradesys.records.arrow import Ids, Ints

Item = TypeVar("Item", bound=np.generic)
Records = NDArray[np.void]

ORDER = np.dtype(
    [
        # What an answer about one order needs comes first.
        ("order_qty", np.int64),
        ("price", np.int64),  # 0 for none
        ("cum_qty", np.int64),
        ("leaves_qty", np.int64),
        ("cum_amount", np.int64),
        ("in_force", np.int32),  # the request whose terms hold
        ("pair", np.int32),  # the balance of its account and symbol
        ("flags", np.int8),
        ("terms", np.int8),
        ("status", np.int8),
        ("pending_cancels", np.int16),
        ("replace", np.int32),  # the last replace asked for that waits
        ("reserved", np.int64),
        # Events: its first report, while its request is not held; the last report that states the
        # quantity and price in force, that changes the type or time in force, that shows it at
        # work; and the last of each state that passes.
        ("first_report", np.int32),
        ("stated_by", np.int32),
        ("changed_by", np.int32),
        ("at_work", np.int32),
        ("done_for_day", np.int32),
        ("calculated", np.int32),
        ("suspended", np.int32),
        ("stopped", np.int32),
    ],
    align=True,
)
"""The facts of an order, and what follows from them: its status, what is left and reserved."""

REQUEST = np.dtype(
    [
        ("order_qty", np.int64),
        ("price", np.int64),
        ("order", np.int32),  # of a change that was asked for
        ("earlier", np.int32),  # of a replace that waits: the one that waits before it
        ("flags", np.int16),
    ],
    align=True,
)
"""The facts of a request, in the same row as an order's that it enters."""

EVENT = np.dtype(
    [
        ("qty", np.int64),
        ("px", np.int64),
        ("shares", np.int64),  # what postings have booked of the trade, of an amended one at it
        ("cash", np.int64),  # less the fee
        ("fee", np.int64),  # at the firm
        ("order", np.int32),
        ("refers", np.int32),  # what this one amends, or the trade that leads to; 0 for none
        ("stands", np.int32),  # of a trade: the event of it that stands
        ("flags", np.int8),
    ],
    align=True,
)
"""The facts of an event, by ``exec_id``.

The trade and its amendments are one group, whose facts stand at the event that they all lead to.
"""

BALANCE = np.dtype(
    [
        ("booked", np.int64),
        ("uncleared", np.int64),
        ("reserved", np.int64),
        ("account", np.int32),
        ("asset", np.int32),
        ("cash", np.int32),  # the balance of the same account's cash
        ("moved", np.bool_),
    ],
    align=True,
)
"""The balances of a pair of account and asset, in shares or 1/10,000 of cash."""

PAGE = np.dtype([("number", np.uint64), ("first_row", np.int64)])
"""A page of record ids: see :mod:`tradesys.status.kept.rows`."""


class Facts(NamedTuple):
    """All that a view knows, as the loops take it."""

    orders: Records
    requests: Records
    events: Records
    event_ids: Ids  # the first of each page of rows
    news: NDArray[np.int8]  # of each page of orders, what changed since it was told
    balances: Records
    last_trades: Ints  # of each asset: the last event that is a trade
    fees: Ints


# Records on their way into a view: ids as rows, texts as numbers, 0 for null.


def _whole(*names: str) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in names])


REQUESTS = _whole(
    *("request", "order", "kind", "is_refused", "pair", "terms", "order_qty", "price")
)
EXECUTIONS = _whole(
    *("event", "refers", "order", "request", "kind", "pair", "terms", "order_qty", "price"),
    *("last_qty", "last_px"),
)
POSTINGS = _whole("event", "pair", "amount")


class Uncleared(NamedTuple):
    """Of some events, what their trades still have to move (``positions.uncleared``).

    ``exec_id`` is of the event that stands, 0 where no trade is held; ``order`` is the row of the
    trade's; ``cash`` is less the ``fee``, which moves to the firm.
    """

    exec_id: Ids
    order: Ints
    shares: Ints
    cash: Ints
    fee: Ints

    @property
    def differs(self) -> NDArray[np.bool_]:
        """Of which events the trade is not cleared."""
        return (self.shares != 0) | (self.cash != 0) | (self.fee != 0)


def room(count: int, dtype: np.dtype[Item]) -> NDArray[Item]:
    """So many records, zero. What is never touched of them costs nothing."""
    return np.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype)


def with_room(records: NDArray[Item], count: int) -> NDArray[Item]:
    """The records with room for at least ``count`` of them; what is new is zero."""
    old = len(records)
    if count <= old:
        return records
    # Much more at once costs nothing: zeros take no memory until they are written to.
    grown = np.zeros((max(count, 4 * old), *records.shape[1:]), records.dtype)
    grown[:old] = records
    return grown
