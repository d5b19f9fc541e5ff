"""What a view knows, as growable columns: a row per request, event, trade and balance.

Each table is a structured array of numpy. Only the loops of
:mod:`tradesys.status.incremental.loops` write to its facts. Row 0 of each but balances is nobody's
and stays zero, so whatever was never seen has no facts. Compiled code tells the fields of
a named tuple apart by their place alone.
"""

import mmap
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tradesys.records.arrow import Ids, Ints

Item = TypeVar("Item", bound=np.generic)
Records = NDArray[np.void]


def _table(int64: str, int32: str = "", int16: str = "", int8: str = "") -> np.dtype[np.void]:
    """Columns of these names, the widest first, so that each value of a row is aligned."""
    names = {np.int64: int64, np.int32: int32, np.int16: int16, np.int8: int8}
    return np.dtype([(n, kind) for kind, text in names.items() for n in text.split()], align=True)


ORDER = _table(
    int64="order_qty price cum_qty cum_amount reserved",
    int32="in_force pair replace stated_by at_work rare pending_cancels",
    int16="flags",
    int8="terms status",
)
"""The facts of a request, and if it enters an order those of the order, and what follows from them.

``in_force`` is the request whose terms hold; ``pair`` the balance of its account and symbol;
``replace`` the last replace asked for that waits; ``stated_by`` the last event that states the
quantity and price in force, ``at_work`` the last that shows the order at work; ``rare`` the row of
what is seldom known. A price of 0 is none.
"""

RARE = _table(
    int64="order_qty price",
    int32="order earlier first_report changed_by done_for_day calculated suspended stopped",
)
"""What is known only of requests to change an order, and of few orders.

Of a change what it asks for, the ``order``, and the replace that waited before it, ``earlier``. Of
an order events: the first report, while the request is not held; the last that changes the type or
time in force; and the last of each state that passes.
"""

TRADE = _table(int64="qty px shares cash fee", int32="event order refers stands", int8="flags")
"""The facts of an event that is a trade or amends one, or that is amended or booked.

``refers`` is what it amends, or the trade that leads to. A trade and its amendments are one group,
whose facts stand at the trade that they all lead to: which of them ``stands``, and what postings
have booked of them: ``shares``, ``cash`` less the fee, and the ``fee`` at the firm.
"""

BALANCE = _table(int64="booked uncleared reserved", int32="account asset cash", int8="moved")
"""The balances of an account and asset, in shares or 1/10,000 of cash.

``cash`` is the pair of the same account's cash; it has ``moved`` where anything was traded or
posted.
"""

PAGE = np.dtype([("number", np.uint64), ("first_row", np.int64)])
"""A page of record ids: see :mod:`tradesys.status.incremental.rows`."""

# Records on their way into a view: ids as rows, texts as numbers, 0 for null.
REQUESTS = _table("request order kind is_refused pair terms order_qty price")
EXECUTIONS = _table("event refers order request kind pair terms order_qty price last_qty last_px")
POSTINGS = _table("event pair amount")


class Facts(NamedTuple):
    """All that a view knows, as the loops take it."""

    orders: Records
    rare: Records
    events: NDArray[np.int32]  # of each event the row of its trade; 1 if it is seen, and is none
    trades: Records
    used: Ints  # how many rows of rare and of trades there are
    event_ids: Ids  # the first of each page of rows
    news: NDArray[np.int8]  # of each page of orders, what changed since it was told
    balances: Records
    last_trades: Ints  # of each asset, the last event that is a trade
    fees: Ints
    scales: Ints  # of each asset, the units of quantity in one share; 0 while it is not known


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
