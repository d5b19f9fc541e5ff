"""What compiled loops work on: the facts of orders and events, balances, and columns of records.

Facts are records of numpy: one an order, an event, or an account's asset. A change of their fields
is a change of type, so what :mod:`tradesys.status.kept.loops` has compiled for others is not used
for them; the fields of a named tuple are told apart by their place alone, so give one a new name
when it changes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tradesys.records.arrow import Ids, Ints

Records = NDArray[np.void]

ORDER = np.dtype(
    [
        # What an answer needs comes first.
        ("order_qty", np.int64),
        ("price", np.int64),
        ("cum_qty", np.int64),
        ("cum_amount", np.int64),
        ("flags", np.int32),
        ("in_force", np.int32),  # the request whose terms hold
        ("passing", np.int32),  # its row in Memory.passing, if it has one
        ("pending_cancel", np.int16),
        ("pending_replace", np.int16),
        ("terms", np.int8),
        ("row", np.int16),  # where its state stands in the block of its page
        ("pair", np.int32),
        ("target", np.int32),  # of a change: the order that it is about
        ("asked", np.int32),  # a replace that waits; of that one, the next of the same order
        ("reserved", np.int64),
        ("first_exec_id", np.uint64),  # of its reports, while its request is not held
        ("terms_exec_id", np.uint64),  # of the report that states the terms in force
        ("kind_exec_id", np.uint64),  # of the one that changed its type or time in force
        ("work_exec_id", np.uint64),  # of the last report that shows it at work
    ],
    align=True,
)
"""Facts of an order. A request for a change uses some of them in its own slot."""

PAGE_OF_ORDERS = np.dtype(
    [
        ("block", np.int32),  # where the states of its orders stand, 0 for none yet
        ("rows", np.int32),  # how many orders of it are known
        ("last", np.int32),  # the last of them that has a row
        ("news", np.int32),  # what has changed since somebody asked
    ]
)
"""A page of the slots of orders."""

PASSING = np.dtype(
    [(name, np.uint64) for name in ("done_for_day", "calculated", "suspended", "stopped")]
)
"""The last report of each state that passes, of the few orders that have one; row 0 is none."""

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
"""Facts of an event, by the slot of its ``exec_id``.

The trade and its amendments are one group, whose facts stand at the event that they all lead to.
"""

BALANCE = np.dtype(
    [
        ("booked", np.int64),
        ("uncleared", np.int64),
        ("reserved", np.int64),
        ("account", np.int32),
        ("asset", np.int32),
        ("cash", np.int32),  # the pair of the same account's cash
        ("moved", np.bool_),
    ],
    align=True,
)
"""The balances of an account and asset, in shares or 1/10,000 of cash."""

PLACE = np.dtype([("key", np.int64), ("pair", np.int64)])
"""A place of the table that finds the pair of an account and asset; key -1 is free."""

PRICE = np.dtype([("exec_id", np.uint64), ("px", np.int64)])
"""The last trade of an asset."""


class Slotted(NamedTuple):
    """Where the slots of record ids are: bases of pages by row of the origin and page; 0 is none.

    Row 0 is that of origins which were never seen.

    ``first`` is the first id of each page, in the order in which the pages were given out.
    """

    rows: NDArray[np.int16]
    bases: Ints
    first: Ids


class Blocks(NamedTuple):
    """Where the states of known orders stand, a block of memory a page.

    ``leases`` says how many answers share a block, ``free`` which blocks are nobody's: their number
    and then, last in first out, each. The others are one memory, seen as whole numbers, as numbers
    with a point and as bytes.
    """

    leases: Ints
    free: Ints
    numbers: Ints
    averages: NDArray[np.float64]
    octets: NDArray[np.uint8]


class Memory(NamedTuple):
    """All that a view knows."""

    slots: Slotted
    orders: Records
    pages: Records
    blocks: Blocks
    passing: Records
    passing_count: Ints
    event_slots: Slotted
    events: Records
    places: Records
    balances: Records
    prices: Records
    fees: Ints


class Requests(NamedTuple):
    """Columns of the ``requests`` dataset; texts as codes, accounts with assets as keys."""

    record_id: Ids
    request_type: Ints
    accepted: NDArray[np.bool_]
    order_id: Ids
    key: Ints
    terms: Ints
    order_qty: Ints
    price: Ints


class Executions(NamedTuple):
    """Columns of the ``executions`` dataset, likewise."""

    exec_id: Ids
    exec_type: Ints
    exec_ref_id: Ids
    request_id: Ids
    order_id: Ids
    key: Ints
    terms: Ints
    order_qty: Ints
    price: Ints
    last_qty: Ints
    last_px: Ints


class Uncleared(NamedTuple):
    """Of some events, what their trades still have to move (``positions.uncleared``).

    ``exec_id`` is of the event that stands, 0 where no trade is held; ``order`` is the slot of the
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


class Postings(NamedTuple):
    """Columns of the ``postings`` dataset, likewise; ``exec_id`` 0 is none."""

    exec_id: Ids
    key: Ints
    amount: Ints


class Terms(NamedTuple):
    """What seldom changes of known orders, a column each.

    ``ends`` has for each page that is told the row after its last.
    """

    ends: Ints
    order_id: Ids
    request_in_force: Ids
    account: NDArray[np.int32]
    asset: NDArray[np.int32]
    terms: NDArray[np.uint8]
