"""The rules of :mod:`tradesys.status` and :mod:`tradesys.positions` as compiled loops.

One loop a dataset takes records into the facts, one at a time, whether there is one or there are
100,000, in whatever order they arrive; the status is ranked from the facts when it is asked for.
Everything that is compiled stands in this file, codes and arrays included: see
:func:`tradesys.compiled.compiled`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tradesys.compiled import compiled

Ints = NDArray[np.int64]
Ids = NDArray[np.uint64]

# Record ids and slots: see :mod:`tradesys.slots`.
SEQUENCE_BITS, PAGE_BITS = 48, 12
PAGE = 1 << PAGE_BITS
_CODE_SHIFT, _PAGE_SHIFT = np.uint64(SEQUENCE_BITS), np.uint64(PAGE_BITS)
_SEQUENCE, _OFFSET = np.uint64((1 << SEQUENCE_BITS) - 1), np.uint64(PAGE - 1)
_SPREAD, _HASH_SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)

# Codes of texts: the place of each.
REQUEST_TYPES = ("new", "cancel", "replace")
NEW_ORDER, CANCEL, REPLACE = range(3)
EXEC_TYPES = (
    *("new", "replaced", "restated", "trade", "trade_correct", "trade_cancel"),
    *("rejected", "cancel_rejected", "canceled", "expired", "pending_cancel", "pending_replace"),
    *("done_for_day", "calculated", "suspended", "stopped", "pending_new", "order_status"),
)
NEW, REPLACED, RESTATED, TRADE, TRADE_CORRECT, TRADE_CANCEL = range(6)
REJECTED, CANCEL_REJECTED, CANCELED, EXPIRED, PENDING_CANCEL, PENDING_REPLACE = range(6, 12)
DONE_FOR_DAY, CALCULATED, SUSPENDED, STOPPED = range(12, 16)
STATUSES = (
    *("pending_cancel", "pending_replace", "done_for_day", "calculated", "filled", "stopped"),
    *("suspended", "canceled", "expired", "partially_filled", "rejected", "new", "pending_new"),
)
# The terms of an order that never change: a number of these three digits.
SIDES, ORD_TYPES = ("sell", "buy"), ("market", "limit")
TIMES_IN_FORCE = ("day", "ioc", "fok", "gtc", "gtd")
BUY, GOOD_TILL = 1, 4 * TIMES_IN_FORCE.index("gtc")

# Flags of an order, or of a request that asks for a change: each has its own slot.
KNOWN, ENTERED, REFUSED, ACKNOWLEDGED, WAS_CANCELED, HAS_EXPIRED = (1 << i for i in range(6))
REQUESTED, CANCEL_ASKED, REPLACE_ASKED, ANSWERED = (1 << i for i in range(6, 10))
# Flags that are worked out when they are asked for.
IS_DONE, IS_CALCULATED, IS_SUSPENDED, IS_STOPPED = (1 << i for i in range(10, 14))
# Flags of an event: its execution was seen; it is a trade or a correction; a correction or a bust
# refers to it; its postings were seen; so were those of what refers to it.
SEEN, FILL, REFERRED, POSTED, REVERSED = (1 << i for i in range(5))


class Slotted(NamedTuple):
    """Where the slots of record ids are: bases of pages by row of the origin and page; 0 is none.

    ``first`` is the first id of each page, in the order in which the pages were given out.
    """

    rows: Ints
    bases: Ints
    first: Ids


class Orders(NamedTuple):
    """Facts of each order, by slot. A request for a change uses some in its own slot."""

    flags: NDArray[np.int32]
    terms: NDArray[np.int8]
    pair: NDArray[np.int32]
    order_qty: Ints
    price: Ints
    cum_qty: Ints
    cum_amount: Ints
    reserved: Ints
    first_exec_id: Ids
    terms_exec_id: Ids
    work_exec_id: Ids
    in_force: NDArray[np.int32]  # the request whose terms hold
    target: NDArray[np.int32]  # of a change: the order that it is about
    asked: NDArray[np.int32]  # a replace that waits; in its slot the next one of the same order
    pending_cancel: NDArray[np.int16]
    pending_replace: NDArray[np.int16]
    passing: NDArray[np.int32]  # the order's row in Passing, if it has one


class Passing(NamedTuple):
    """The last report of each state that passes, of the few orders that have one; row 0 is none."""

    done_for_day: Ids
    calculated: Ids
    suspended: Ids
    stopped: Ids


class Events(NamedTuple):
    """Facts of each event, by the slot of its ``exec_id``."""

    flags: NDArray[np.int8]
    order: NDArray[np.int32]
    refers: NDArray[np.int32]  # the event that this one corrects or busts
    qty: Ints
    px: Ints


class Balances(NamedTuple):
    """Balances of each account and asset, by pair: int64, in shares or 1/10,000 of cash."""

    booked: Ints
    uncleared: Ints
    reserved: Ints
    asset: NDArray[np.int32]
    cash: NDArray[np.int32]  # the pair of the same account's cash
    moved: NDArray[np.bool_]


class Pairs(NamedTuple):
    """The pair of each account and asset: open addressing, a power of two of places."""

    keys: Ints
    pairs: Ints


class Prices(NamedTuple):
    """The last trade of each asset."""

    exec_id: Ids
    px: Ints


class Memory(NamedTuple):
    """All that a view knows, as compiled code takes it."""

    slots: Slotted
    orders: Orders
    passing: Passing
    passing_count: Ints
    event_slots: Slotted
    events: Events
    pairs: Pairs
    balances: Balances
    prices: Prices


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


class Postings(NamedTuple):
    """Columns of the ``postings`` dataset, likewise; ``exec_id`` 0 is none."""

    exec_id: Ids
    key: Ints
    amount: Ints


# ---- where things are


@compiled
def slot_of(slotted: Slotted, record_id: np.uint64) -> int:
    """The slot of a record id; 0 if it has none yet."""
    row = slotted.rows[record_id >> _CODE_SHIFT]
    page = int((record_id & _SEQUENCE) >> _PAGE_SHIFT)
    if row < 0 or page >= slotted.bases.shape[1]:
        return 0
    base: int = slotted.bases[row, page]
    return base + int(record_id & _OFFSET) if base else 0


@compiled
def pair_of(pairs: Pairs, key: int) -> int:
    """The pair of an account and asset; -1 if it has none yet."""
    at = place_of(pairs, key)
    pair: int = pairs.pairs[at] if pairs.keys[at] == key else -1
    return pair


@compiled
def place_of(pairs: Pairs, key: int) -> int:
    """Where a key is, or may be put."""
    last = len(pairs.keys) - 1
    at = int((np.uint64(key) * _SPREAD) >> _HASH_SHIFT) & last
    while pairs.keys[at] not in (-1, key):
        at = (at + 1) & last
    return at


# ---- the rules


@compiled
def standing(m: Memory, order: int) -> int:
    """The flags of an order, with those of states that have not passed (``status._reported``)."""
    flags: int = m.orders.flags[order]
    row = m.orders.passing[order]
    if row and not flags & (WAS_CANCELED | HAS_EXPIRED):
        work = m.orders.work_exec_id[order]
        if m.passing.done_for_day[row] > work:
            flags |= IS_DONE
        if m.passing.calculated[row] > work:
            flags |= IS_CALCULATED
        if m.passing.suspended[row] > work:
            flags |= IS_SUSPENDED
        if m.passing.stopped[row] > m.orders.terms_exec_id[order]:
            flags |= IS_STOPPED
    return flags


@compiled
def rank(flags: int, pending: int, replacing: int, cum_qty: int, order_qty: int) -> int:  # noqa: C901, PLR0911
    """The place in ``STATUSES`` of the first that holds (``status.PRECEDENCE``)."""
    if pending > 0:
        return 0
    if replacing > 0:
        return 1
    if flags & IS_DONE:
        return 2
    if flags & IS_CALCULATED:
        return 3
    if cum_qty > 0 and cum_qty >= order_qty:
        return 4
    if flags & IS_STOPPED:
        return 5
    if flags & IS_SUSPENDED:
        return 6
    if flags & WAS_CANCELED:
        return 7
    if flags & HAS_EXPIRED:
        return 8
    if cum_qty > 0:
        return 9
    if flags & REFUSED:
        return 10
    return 11 if flags & ACKNOWLEDGED else 12


@compiled
def leaves(flags: int, terms: int, cum_qty: int, order_qty: int) -> int:
    """The quantity that can still trade (``status.leaves``)."""
    if flags & (REFUSED | WAS_CANCELED | HAS_EXPIRED):
        return 0
    if flags & (IS_DONE | IS_CALCULATED) and terms < GOOD_TILL:
        return 0
    return max(order_qty - cum_qty, 0)


@compiled
def counts(flags: int) -> int:
    """How often a fill counts for its order: once, if it is effective (``status.trades``)."""
    return 1 if flags & FILL and not flags & REFERRED else 0


@compiled
def owed(flags: int) -> int:
    """How often the balances count a fill beside what is posted (``positions.uncleared``)."""
    if not flags & FILL:
        return 0
    posted = 1 if flags & POSTED else 0
    taken_back = 1 if flags & REVERSED else 0
    return counts(flags) - posted + taken_back


@compiled
def touch(m: Memory, order: int) -> None:
    """Work out anew what an order may use; a replace that waits counts as granted."""
    orders, balances = m.orders, m.balances
    flags, terms, cum_qty = standing(m, order), orders.terms[order], orders.cum_qty[order]
    if not flags & KNOWN:
        return
    buys = terms & BUY
    left = leaves(flags, terms, cum_qty, orders.order_qty[order])
    reserved = left * orders.price[order] if buys else left
    closed = flags & (REFUSED | WAS_CANCELED | HAS_EXPIRED)
    request = 0 if closed else orders.asked[order]
    while request:
        left = max(orders.order_qty[request] - cum_qty, 0)
        reserved = max(reserved, left * orders.price[request] if buys else left)
        request = orders.asked[request]
    pair = orders.pair[order]
    used = balances.cash[pair] if buys else pair
    balances.reserved[used] += reserved - orders.reserved[order]
    orders.reserved[order] = reserved


@compiled
def mark(m: Memory, event: int, flag: int) -> None:
    """Add a flag to an event, and to its order and the balances the difference that it makes."""
    events, orders, balances = m.events, m.orders, m.balances
    before = events.flags[event]
    after = before | flag
    events.flags[event] = after
    order, qty, px = events.order[event], events.qty[event], events.px[event]
    counted = counts(after) - counts(before)
    if counted:
        orders.cum_qty[order] += counted * qty
        orders.cum_amount[order] += counted * qty * px
        touch(m, order)
    times = owed(after) - owed(before)
    if times:
        pair = orders.pair[order]
        shares = times * qty if orders.terms[order] & BUY else -times * qty
        balances.uncleared[pair] += shares
        balances.uncleared[balances.cash[pair]] -= shares * px


# ---- records in: each loop gives the row that it stopped at for want of room, or their number


@compiled
def take_requests(m: Memory, rows: Requests, start: int) -> int:
    """Take in requests from row ``start`` on."""
    orders = m.orders
    for i in range(start, len(rows.record_id)):
        request = slot_of(m.slots, rows.record_id[i])
        order = slot_of(m.slots, rows.order_id[i])
        pair = pair_of(m.pairs, rows.key[i])
        if request == 0 or order == 0 or pair < 0:
            return i
        if orders.flags[request] & REQUESTED:
            continue
        orders.flags[request] |= REQUESTED
        if rows.request_type[i] == NEW_ORDER:
            orders.flags[order] |= ENTERED if rows.accepted[i] else ENTERED | REFUSED
            learn(m, order, request, pair, rows.terms[i], rows.order_qty[i], rows.price[i])
        elif rows.accepted[i] and rows.request_type[i] == CANCEL:
            pend(m, request, order, CANCEL_ASKED)
        elif rows.accepted[i]:
            pend(m, request, order, REPLACE_ASKED)
            if request != order and not orders.flags[request] & ANSWERED:
                orders.order_qty[request], orders.price[request] = rows.order_qty[i], rows.price[i]
                orders.asked[request], orders.asked[order] = orders.asked[order], request
        touch(m, order)
    return len(rows.record_id)


@compiled
def learn(m: Memory, order: int, request: int, pair: int, terms: int, qty: int, px: int) -> None:
    """The terms of an order, unless an accepted report has stated later ones."""
    orders = m.orders
    orders.flags[order] |= KNOWN
    orders.pair[order], orders.terms[order] = pair, terms
    if orders.terms_exec_id[order] == 0:
        orders.order_qty[order], orders.price[order] = qty, px
        orders.in_force[order] = request


@compiled
def pend(m: Memory, request: int, order: int, asked: int) -> None:
    """A change is asked for: it pends until it is answered."""
    orders = m.orders
    flags = orders.flags[request]
    if flags & asked:
        return
    orders.flags[request] |= asked
    orders.target[request] = order
    if not flags & ANSWERED and asked == CANCEL_ASKED:
        orders.pending_cancel[order] += 1
    elif not flags & ANSWERED:
        orders.pending_replace[order] += 1


@compiled
def answer(m: Memory, request: int) -> None:
    """A request is answered: it pends no longer."""
    orders = m.orders
    flags, order = orders.flags[request], orders.target[request]
    if flags & ANSWERED:
        return
    orders.flags[request] |= ANSWERED
    if flags & CANCEL_ASKED:
        orders.pending_cancel[order] -= 1
    if flags & REPLACE_ASKED:
        orders.pending_replace[order] -= 1
        before = order
        while orders.asked[before] not in (0, request):
            before = orders.asked[before]
        orders.asked[before] = orders.asked[request]
        touch(m, order)


@compiled
def take_executions(m: Memory, rows: Executions, start: int) -> int:
    """Take in executions from row ``start`` on."""
    orders, events = m.orders, m.events
    for i in range(start, len(rows.exec_id)):
        event = slot_of(m.event_slots, rows.exec_id[i])
        order, request = slot_of(m.slots, rows.order_id[i]), slot_of(m.slots, rows.request_id[i])
        refers = slot_of(m.event_slots, rows.exec_ref_id[i]) if rows.exec_ref_id[i] else -1
        if event == 0 or order == 0 or request == 0 or refers == 0:
            return i
        if m.passing_count[0] == len(m.passing.stopped):
            return i
        if events.flags[event] & SEEN:
            continue
        if not orders.flags[order] & ENTERED:
            first, exec_id = orders.first_exec_id[order], rows.exec_id[i]
            if first == 0 or exec_id < first:
                pair = pair_of(m.pairs, rows.key[i])
                if pair < 0:
                    return i
                orders.first_exec_id[order] = exec_id
                learn(m, order, request, pair, rows.terms[i], rows.order_qty[i], rows.price[i])
        events.flags[event] |= SEEN
        events.order[event] = order
        report(m, rows, i, order, request)
        if TRADE <= rows.exec_type[i] <= TRADE_CANCEL:
            trade(m, rows, i, event, refers)
        touch(m, order)
    return len(rows.exec_id)


@compiled
def report(m: Memory, rows: Executions, i: int, order: int, request: int) -> None:  # noqa: C901
    """What a report says of its order and of the request that it answers."""
    orders, kind, exec_id = m.orders, rows.exec_type[i], rows.exec_id[i]
    if kind <= RESTATED and exec_id > orders.terms_exec_id[order]:
        orders.terms_exec_id[order] = exec_id
        orders.order_qty[order], orders.price[order] = rows.order_qty[i], rows.price[i]
        orders.in_force[order] = request
    if kind <= TRADE:
        orders.work_exec_id[order] = max(orders.work_exec_id[order], exec_id)
    if kind == NEW:
        orders.flags[order] |= ACKNOWLEDGED
    elif kind == CANCELED:
        orders.flags[order] |= WAS_CANCELED
    elif kind == EXPIRED:
        orders.flags[order] |= HAS_EXPIRED
    elif kind in (REJECTED, CANCEL_REJECTED):
        orders.flags[request] |= REFUSED
        touch(m, request)
    elif kind == PENDING_CANCEL:
        pend(m, request, order, CANCEL_ASKED)
    elif kind == PENDING_REPLACE:
        pend(m, request, order, REPLACE_ASKED)
    elif DONE_FOR_DAY <= kind <= STOPPED:
        if not orders.passing[order]:
            m.passing_count[0] += 1
            orders.passing[order] = m.passing_count[0] - 1
        row = orders.passing[order]
        last = m.passing[kind - DONE_FOR_DAY]
        last[row] = max(last[row], exec_id)
    if kind in (CANCELED, REPLACED, CANCEL_REJECTED):
        answer(m, request)


@compiled
def trade(m: Memory, rows: Executions, i: int, event: int, refers: int) -> None:
    """A trade, a correction of one or a bust: what it moves, and what it takes out of account."""
    events, balances, kind = m.events, m.balances, rows.exec_type[i]
    pair = m.orders.pair[events.order[event]]
    if kind != TRADE and refers > 0:
        events.refers[event] = refers
        mark(m, refers, REFERRED)
        if events.flags[event] & POSTED:
            mark(m, refers, REVERSED)
    if kind != TRADE_CANCEL:
        events.qty[event], events.px[event] = rows.last_qty[i], rows.last_px[i]
        balances.moved[pair] = balances.moved[balances.cash[pair]] = True
        mark(m, event, FILL)
    asset = balances.asset[pair]
    if kind == TRADE and rows.exec_id[i] > m.prices.exec_id[asset]:
        m.prices.exec_id[asset], m.prices.px[asset] = rows.exec_id[i], rows.last_px[i]


@compiled
def take_postings(m: Memory, rows: Postings, start: int) -> int:
    """Take in postings from row ``start`` on."""
    events, balances = m.events, m.balances
    for i in range(start, len(rows.exec_id)):
        pair = pair_of(m.pairs, rows.key[i])
        event = slot_of(m.event_slots, rows.exec_id[i]) if rows.exec_id[i] else -1
        if pair < 0 or event == 0:
            return i
        balances.booked[pair] += rows.amount[i]
        balances.moved[pair] = True
        if event > 0 and not events.flags[event] & POSTED:
            mark(m, event, POSTED)
            if events.refers[event]:
                mark(m, events.refers[event], REVERSED)
    return len(rows.exec_id)


@compiled
def tells_terms(m: Memory, rows: Executions) -> bool:
    """Whether any of these is the first, by ``exec_id``, of an order whose request is not held."""
    for i in range(len(rows.exec_id)):
        order = slot_of(m.slots, rows.order_id[i])
        if not m.orders.flags[order] & ENTERED:
            first = m.orders.first_exec_id[order]
            if first == 0 or rows.exec_id[i] < first:
                return True
    return False


# ---- answers out


@compiled
def slots_of(slotted: Slotted, record_ids: Ids) -> Ints:
    """The slot of each id; 0, where all facts are zero, for one that was never seen."""
    found = np.empty(len(record_ids), np.int64)
    for i in range(len(record_ids)):
        found[i] = slot_of(slotted, record_ids[i])
    return found


@compiled
def leaves_of(m: Memory, slots: Ints) -> Ints:
    """The open quantity of each order."""
    found, orders = np.empty(len(slots), np.int64), m.orders
    for i in range(len(slots)):
        at = slots[i]
        flags = standing(m, at)
        found[i] = leaves(flags, orders.terms[at], orders.cum_qty[at], orders.order_qty[at])
    return found


class Statuses(NamedTuple):
    """The state of every known order, a column each; a bit a row for what is not null."""

    order_id: Ids
    request_in_force: Ids
    pair: NDArray[np.int32]
    terms: NDArray[np.uint8]
    ord_status: NDArray[np.uint8]
    order_qty: Ints
    cum_qty: Ints
    leaves_qty: Ints
    price: Ints
    avg_px: NDArray[np.float64]
    priced: NDArray[np.uint8]
    traded: NDArray[np.uint8]


@compiled
def known(m: Memory, slots: int) -> int:
    """How many orders are known."""
    count = 0
    for slot in range(slots):
        count += m.orders.flags[slot] & KNOWN
    return count


@compiled
def tell(m: Memory, pages: Ints, scale: float, to: Statuses) -> None:
    """Write the state of every known order, page by page."""
    orders, row = m.orders, 0
    for page in pages:
        for offset in range(PAGE):
            slot = (page << PAGE_BITS) + offset
            if not orders.flags[slot] & KNOWN:
                continue
            flags, terms = standing(m, slot), orders.terms[slot]
            qty, cum_qty, price = orders.order_qty[slot], orders.cum_qty[slot], orders.price[slot]
            pending, replacing = orders.pending_cancel[slot], orders.pending_replace[slot]
            to.order_id[row] = m.slots.first[page] + np.uint64(offset)
            request = orders.in_force[slot]
            in_force = m.slots.first[request >> PAGE_BITS] + np.uint64(request & (PAGE - 1))
            to.request_in_force[row] = in_force
            to.pair[row], to.terms[row] = orders.pair[slot], terms
            to.ord_status[row] = rank(flags, pending, replacing, cum_qty, qty)
            to.order_qty[row], to.cum_qty[row] = qty, cum_qty
            to.leaves_qty[row] = leaves(flags, terms, cum_qty, qty)
            to.price[row], to.avg_px[row] = price, 0.0
            if price:
                to.priced[row >> 3] |= np.uint8(1 << (row & 7))
            if cum_qty > 0:
                to.avg_px[row] = orders.cum_amount[slot] / (cum_qty * scale)
                to.traded[row >> 3] |= np.uint8(1 << (row & 7))
            row += 1
