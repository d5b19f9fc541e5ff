"""The rules of ``status.definition`` and ``status.positions`` as compiled loops.

One loop a dataset takes records into the facts, one at a time, whether there is one or there are
100,000, in whatever order they arrive; the status is ranked from the facts when it is asked for.
Everything that is compiled stands in this file, the codes that it knows included: see
:func:`tradesys.status.kept.compiled.compiled`.
"""

import numpy as np

from tradesys.records.arrow import Ids, Ints
from tradesys.status.kept.compiled import compiled
from tradesys.status.kept.memory import (
    Executions,
    Memory,
    Postings,
    Records,
    Requests,
    Slotted,
    Terms,
    Uncleared,
)

# Record ids and slots: see :mod:`tradesys.status.kept.slots`.
SEQUENCE_BITS, PAGE_BITS = 48, 14
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
    *("pending_new", "new", "rejected", "partially_filled", "canceled", "expired", "suspended"),
    *("stopped", "filled", "calculated", "done_for_day", "pending_replace", "pending_cancel"),
)
# Side, type and time in force of an order: a number of these three digits.
SIDES, ORD_TYPES = ("sell", "buy"), ("market", "limit")
TIMES_IN_FORCE = ("day", "ioc", "fok", "gtc", "gtd")
BUY, GOOD_TILL = 1, 4 * TIMES_IN_FORCE.index("gtc")

# Flags of an order, or of a request that asks for a change: each has its own slot.
KNOWN, ENTERED, REFUSED, ACKNOWLEDGED, WAS_CANCELED, HAS_EXPIRED = (1 << i for i in range(6))
REQUESTED, CANCEL_ASKED, REPLACE_ASKED, ANSWERED = (1 << i for i in range(6, 10))
# Flags that are worked out when they are asked for.
IS_DONE, IS_CALCULATED, IS_SUSPENDED, IS_STOPPED = (1 << i for i in range(10, 14))
# Flags of an event: its execution was seen; it is a trade; it is a bust.
SEEN, IS_TRADE, IS_BUST = (1 << i for i in range(3))
# Accounts of the firm: their numbers, in the order of tradesys.status.kept.balances.KNOWN_ACCOUNTS.
CLEARING, FEES = range(2)
# What is new of a page of orders: the terms of one, its name, or that it is known; that it became
# known after others that follow it, so that the rows are to be given anew.
TERMS, UNSORTED = 1, 2

# Where the columns of a block begin: whole numbers, an average, in bytes a place in STATUSES, in
# bits whether there is a price and whether there is an average.
PRICE, ORDER_QTY, CUM_QTY, LEAVES_QTY, AVG_PX, _NUMBERS = (i * PAGE for i in range(6))
STATUS, PRICED, TRADED = 8 * _NUMBERS, 8 * _NUMBERS + PAGE, 8 * _NUMBERS + PAGE + PAGE // 8
BLOCK = TRADED + PAGE // 8
LEFT = 1 << 32  # added to the leases of a block that its page has left
MOST_LEFT = 8  # so many pages at most does a record change
PRICE_SCALE = 10_000


# ---- where things are


@compiled
def slot_of(slotted: Slotted, record_id: np.uint64) -> int:
    """The slot of a record id; 0 if it has none yet."""
    row = slotted.rows[record_id >> _CODE_SHIFT]
    page = int((record_id & _SEQUENCE) >> _PAGE_SHIFT)
    if page >= slotted.bases.shape[1]:
        return 0
    base: int = slotted.bases[row, page]
    return base + int(record_id & _OFFSET) if base else 0


@compiled
def id_of(slotted: Slotted, slot: int) -> np.uint64:
    """The id whose slot this is."""
    return slotted.first[slot >> PAGE_BITS] + np.uint64(slot & (PAGE - 1))


@compiled
def pair_of(places: Records, key: int) -> int:
    """The pair of an account and asset; -1 if it has none yet."""
    place = places[place_of(places, key)]
    pair: int = place["pair"] if place["key"] == key else -1
    return pair


@compiled
def place_of(places: Records, key: int) -> int:
    """Where a key is, or may be put: open addressing in a power of two of places."""
    last = len(places) - 1
    at = int((np.uint64(key) * _SPREAD) >> _HASH_SHIFT) & last
    while places[at]["key"] not in (-1, key):
        at = (at + 1) & last
    return at


# ---- the rules


@compiled
def standing(m: Memory, slot: int) -> int:
    """The flags of an order, with those of states that have not passed (``status._reported``)."""
    order = m.orders[slot]
    flags: int = order["flags"]
    if order["passing"] and not flags & (WAS_CANCELED | HAS_EXPIRED):
        last = m.passing[order["passing"]]
        if last["done_for_day"] > order["work_exec_id"]:
            flags |= IS_DONE
        if last["calculated"] > order["work_exec_id"]:
            flags |= IS_CALCULATED
        if last["suspended"] > order["work_exec_id"]:
            flags |= IS_SUSPENDED
        if last["stopped"] > order["terms_exec_id"]:
            flags |= IS_STOPPED
    return flags


@compiled
def rank(flags: int, pending: int, replacing: int, cum_qty: int, order_qty: int) -> int:  # noqa: C901, PLR0911
    """The place in ``STATUSES`` of the highest that holds (``status.PRECEDENCE``)."""
    if pending > 0:
        return 12
    if replacing > 0:
        return 11
    if flags & IS_DONE:
        return 10
    if flags & IS_CALCULATED:
        return 9
    if cum_qty > 0 and cum_qty >= order_qty:
        return 8
    if flags & IS_STOPPED:
        return 7
    if flags & IS_SUSPENDED:
        return 6
    if flags & WAS_CANCELED:
        return 4
    if flags & HAS_EXPIRED:
        return 5
    if cum_qty > 0:
        return 3
    if flags & REFUSED:
        return 2
    return 1 if flags & ACKNOWLEDGED else 0


@compiled
def leaves(flags: int, terms: int, cum_qty: int, order_qty: int) -> int:
    """The quantity that can still trade (``status.leaves``)."""
    if flags & (REFUSED | WAS_CANCELED | HAS_EXPIRED):
        return 0
    if flags & (IS_DONE | IS_CALCULATED) and terms < GOOD_TILL:
        return 0
    return max(order_qty - cum_qty, 0)


@compiled
def touch(m: Memory, slot: int) -> None:
    """Work out anew what an order may use, and tell its state.

    A replace that waits counts as granted.
    """
    order, flags = m.orders[slot], standing(m, slot)
    if not flags & KNOWN:
        return
    cum_qty, buys = order["cum_qty"], order["terms"] & BUY
    left = leaves(flags, order["terms"], cum_qty, order["order_qty"])
    tell(m, slot, flags, left)
    reserved = use(m, buys, left, order["price"])
    request = 0 if flags & (REFUSED | WAS_CANCELED | HAS_EXPIRED) else order["asked"]
    while request:
        asked = m.orders[request]
        left = max(asked["order_qty"] - cum_qty, 0)
        reserved = max(reserved, use(m, buys, left, asked["price"]))
        request = asked["asked"]
    balance = m.balances[order["pair"]]
    if buys:
        balance = m.balances[balance["cash"]]
    balance["reserved"] += reserved - order["reserved"]
    order["reserved"] = reserved


@compiled
def use(m: Memory, buys: int, qty: int, px: int) -> int:
    """What an order may use (``positions.reserved``): shares, or cash with its fee."""
    if not buys:
        return qty
    amount = qty * px
    return amount + fee(m, qty, amount) if px else 0


@compiled
def fee(m: Memory, qty: int, amount: int) -> int:
    """What the firm charges (``charter.Fees.of``)."""
    a_share, of_amount = m.fees[0], m.fees[1]
    whole, rest = amount // PRICE_SCALE, amount % PRICE_SCALE
    return qty * a_share + whole * of_amount + rest * of_amount // PRICE_SCALE


@compiled
def tell(m: Memory, slot: int, flags: int, left: int) -> None:
    """Write an order's state where answers are taken from."""
    order, page, to = m.orders[slot], m.pages[slot >> PAGE_BITS], m.blocks
    if page["news"] & UNSORTED:
        return
    if page["block"] == 0 or to.leases[page["block"]]:
        leave(m, page)
    block, row = page["block"], int(order["row"])
    qty, cum_qty, px = order["order_qty"], order["cum_qty"], order["price"]
    to.numbers[block, PRICE + row] = px
    to.numbers[block, ORDER_QTY + row] = qty
    to.numbers[block, CUM_QTY + row] = cum_qty
    to.numbers[block, LEAVES_QTY + row] = left
    to.octets[block, STATUS + row] = rank(
        flags, order["pending_cancel"], order["pending_replace"], cum_qty, qty
    )
    at, bit = row >> 3, 1 << (row & 7)
    priced, traded = to.octets[block, PRICED + at], to.octets[block, TRADED + at]
    to.octets[block, PRICED + at] = priced | bit if px != 0 else priced & (255 - bit)
    to.octets[block, TRADED + at] = traded | bit if cum_qty > 0 else traded & (255 - bit)
    if cum_qty > 0:
        to.averages[block, AVG_PX + row] = order["cum_amount"] / (cum_qty * PRICE_SCALE)


@compiled
def leave(m: Memory, page: np.void) -> None:
    """A page goes on in a free block: its own is shared by an answer, or it has none yet."""
    to, old = m.blocks, page["block"]
    page["block"] = to.free[to.free[0]]
    to.free[0] -= 1
    if old:
        to.leases[old] += LEFT
        rows, new = int(page["rows"]), page["block"]
        for column in range(0, _NUMBERS, PAGE):
            for i in range(column, column + rows):
                to.numbers[new, i] = to.numbers[old, i]
        for i in range(STATUS, STATUS + rows):
            to.octets[new, i] = to.octets[old, i]
        for i in range((rows + 7) >> 3):
            to.octets[new, PRICED + i] = to.octets[old, PRICED + i]
            to.octets[new, TRADED + i] = to.octets[old, TRADED + i]


@compiled
def group_of(m: Memory, event: int) -> int:
    """The event that this one leads to, as far as is known: its trade, in the end."""
    while m.events[event]["refers"]:
        above = m.events[event]["refers"]
        if m.events[above]["refers"]:  # the way is shorter the next time
            m.events[event]["refers"] = m.events[above]["refers"]
        event = above
    return event


@compiled
def later(m: Memory, one: int, other: int) -> int:
    """Which of two events of a trade stands (``status.trades``); 0 is none."""
    if one == 0 or other == 0:
        return one + other
    a, b = m.events[one]["flags"] & IS_BUST, m.events[other]["flags"] & IS_BUST
    if a != b:
        return one if a else other
    return one if id_of(m.event_slots, one) > id_of(m.event_slots, other) else other


@compiled
def count(m: Memory, group: int, times: int) -> None:
    """Count what stands of a trade that is held, and what is not booked of it; -1 to undo it.

    Whoever counts touches the order then.
    """
    trade = m.events[group]
    if not trade["flags"] & IS_TRADE:
        return
    order, stands = m.orders[trade["order"]], m.events[trade["stands"]]
    qty, amount = stands["qty"], stands["qty"] * stands["px"]
    order["cum_qty"] += times * qty
    order["cum_amount"] += times * amount
    sign = 1 if order["terms"] & BUY else -1
    balance = m.balances[order["pair"]]
    cash = m.balances[balance["cash"]]
    balance["uncleared"] += times * (sign * qty - trade["shares"])
    cash["uncleared"] += times * (-sign * amount - fee(m, qty, amount) - trade["cash"])
    balance["moved"] = cash["moved"] = True


# ---- records in: each loop gives the row at which it stopped for want of room, or their number


@compiled
def take_requests(m: Memory, rows: Requests, start: int) -> int:
    """Take in requests from row ``start`` on."""
    for i in range(start, len(rows.record_id)):
        request, slot = slot_of(m.slots, rows.record_id[i]), slot_of(m.slots, rows.order_id[i])
        pair = pair_of(m.places, rows.key[i])
        if request == 0 or slot == 0 or pair < 0 or m.blocks.free[0] < MOST_LEFT:
            return i
        asked = m.orders[request]
        if asked["flags"] & REQUESTED:
            continue
        asked["flags"] |= REQUESTED
        kind, qty, px = rows.request_type[i], rows.order_qty[i], rows.price[i]
        if m.orders[slot]["in_force"] == request:
            m.pages[slot >> PAGE_BITS]["news"] |= TERMS
        if kind == NEW_ORDER:
            asked["flags"] |= ENTERED if rows.accepted[i] else ENTERED | REFUSED
            learn(m, slot, request, pair, rows.terms[i], qty, px)
        elif rows.accepted[i] and kind == CANCEL:
            pend(m, request, slot, CANCEL_ASKED)
        elif rows.accepted[i]:
            pend(m, request, slot, REPLACE_ASKED)
            if request != slot and not asked["flags"] & ANSWERED:
                asked["order_qty"], asked["price"] = qty, px
                asked["asked"], m.orders[slot]["asked"] = m.orders[slot]["asked"], request
        touch(m, slot)
    return len(rows.record_id)


@compiled
def learn(m: Memory, slot: int, request: int, pair: int, terms: int, qty: int, px: int) -> None:
    """The terms of an order, unless an accepted report has stated later ones."""
    order = m.orders[slot]
    m.pages[slot >> PAGE_BITS]["news"] |= TERMS
    if not order["flags"] & KNOWN:
        enter(m, slot)
    order["pair"] = pair
    if order["kind_exec_id"] == 0:
        order["terms"] = terms
    if order["terms_exec_id"] == 0:
        order["order_qty"], order["price"], order["in_force"] = qty, px, request


@compiled
def enter(m: Memory, slot: int) -> None:
    """An order becomes known: its page has a row more."""
    order, page = m.orders[slot], m.pages[slot >> PAGE_BITS]
    order["flags"] |= KNOWN
    order["row"] = page["rows"]
    page["rows"] += 1
    if slot < page["last"]:
        page["news"] |= UNSORTED
    page["last"] = max(slot, page["last"])


@compiled
def pend(m: Memory, request: int, slot: int, asked: int) -> None:
    """A change of an order is asked for: it pends until it is answered."""
    change, order = m.orders[request], m.orders[slot]
    if change["flags"] & asked:
        return
    change["flags"] |= asked
    change["target"] = slot
    if not change["flags"] & ANSWERED and asked == CANCEL_ASKED:
        order["pending_cancel"] += 1
    elif not change["flags"] & ANSWERED:
        order["pending_replace"] += 1


@compiled
def answer(m: Memory, request: int) -> None:
    """A request is answered: it pends no longer."""
    change = m.orders[request]
    order = m.orders[change["target"]]
    if change["flags"] & ANSWERED:
        return
    change["flags"] |= ANSWERED
    if change["flags"] & CANCEL_ASKED:
        order["pending_cancel"] -= 1
    if change["flags"] & REPLACE_ASKED:
        order["pending_replace"] -= 1
        before = order
        while before["asked"] not in (0, request):
            before = m.orders[before["asked"]]
        before["asked"] = change["asked"]
    touch(m, change["target"])


@compiled
def take_executions(m: Memory, rows: Executions, start: int) -> int:
    """Take in executions from row ``start`` on.

    It stops at row ``-1 - result`` for want of the texts ``key`` and ``terms``: they are needed for
    an order whose request is not held, of its first report by ``exec_id``, and of a report that
    may change them.
    """
    for i in range(start, len(rows.exec_id)):
        exec_id, kind = rows.exec_id[i], rows.exec_type[i]
        event, slot = slot_of(m.event_slots, exec_id), slot_of(m.slots, rows.order_id[i])
        request = slot_of(m.slots, rows.request_id[i])
        about = rows.exec_ref_id[i]
        refers = slot_of(m.event_slots, about) if about and about < exec_id else -1
        if event == 0 or slot == 0 or request == 0 or refers == 0:
            return i
        if m.passing_count[0] == len(m.passing) or m.blocks.free[0] < MOST_LEFT:
            return i
        if m.events[event]["flags"] & SEEN:
            continue
        first, may_change = is_first(m.orders[slot], exec_id), kind in (REPLACED, RESTATED)
        if (first or may_change) and len(rows.key) == 0:
            return -1 - i
        if first:
            pair = pair_of(m.places, rows.key[i])
            if pair < 0:
                return i
            m.orders[slot]["first_exec_id"] = exec_id
            learn(m, slot, request, pair, rows.terms[i], rows.order_qty[i], rows.price[i])
        m.events[event]["flags"] |= SEEN
        m.events[event]["order"] = slot
        state(m, slot, request, kind, exec_id, rows.order_qty[i], rows.price[i])
        if may_change:
            change(m, slot, exec_id, rows.terms[i])
        if TRADE <= kind <= TRADE_CANCEL:
            trade(m, event, kind, refers, rows.last_qty[i], rows.last_px[i])
        report(m, slot, request, kind, exec_id)
        touch(m, slot)
    return len(rows.exec_id)


@compiled
def is_first(order: np.void, exec_id: np.uint64) -> bool:
    """Whether this is the first report, by ``exec_id``, of an order whose request is not held."""
    first: np.uint64 = order["first_exec_id"]
    return bool(not order["flags"] & ENTERED and (first == 0 or exec_id < first))


@compiled
def state(
    m: Memory, slot: int, request: int, kind: int, exec_id: np.uint64, qty: int, px: int
) -> None:
    """The terms in force, if this is the last report that states them; and the last at work."""
    order = m.orders[slot]
    before = order["in_force"]
    if kind <= RESTATED and exec_id > order["terms_exec_id"]:
        order["terms_exec_id"], order["in_force"] = exec_id, request
        order["order_qty"], order["price"] = qty, px
    if kind <= TRADE:
        order["work_exec_id"] = max(order["work_exec_id"], exec_id)
    # Of a request that is not held, the reports alone know the name.
    named = order["flags"] & ENTERED and m.orders[order["in_force"]]["flags"] & REQUESTED
    if not named or order["in_force"] != before:
        m.pages[slot >> PAGE_BITS]["news"] |= TERMS


@compiled
def change(m: Memory, slot: int, exec_id: np.uint64, terms: int) -> None:
    """The type and time in force, if this is the last report that may change them."""
    order = m.orders[slot]
    if exec_id > order["kind_exec_id"]:
        order["kind_exec_id"], order["terms"] = exec_id, order["terms"] & BUY | terms & ~BUY
        m.pages[slot >> PAGE_BITS]["news"] |= TERMS


@compiled
def report(m: Memory, slot: int, request: int, kind: int, exec_id: np.uint64) -> None:
    """What a report says of its order and of the request that it answers."""
    order = m.orders[slot]
    if kind == NEW:
        order["flags"] |= ACKNOWLEDGED
    elif kind == CANCELED:
        order["flags"] |= WAS_CANCELED
    elif kind == EXPIRED:
        order["flags"] |= HAS_EXPIRED
    elif kind in (REJECTED, CANCEL_REJECTED):
        m.orders[request]["flags"] |= REFUSED
        touch(m, request)
    elif kind == PENDING_CANCEL:
        pend(m, request, slot, CANCEL_ASKED)
    elif kind == PENDING_REPLACE:
        pend(m, request, slot, REPLACE_ASKED)
    elif DONE_FOR_DAY <= kind <= STOPPED:
        pass_through(m, slot, kind, exec_id)
    if kind in (CANCELED, REPLACED, CANCEL_REJECTED):
        answer(m, request)


@compiled
def pass_through(m: Memory, slot: int, kind: int, exec_id: np.uint64) -> None:
    """An order is in a state that passes: note the last report that says so."""
    if not m.orders[slot]["passing"]:
        m.orders[slot]["passing"] = m.passing_count[0]
        m.passing_count[0] += 1
    last = m.passing[m.orders[slot]["passing"]]
    if kind == DONE_FOR_DAY:
        last["done_for_day"] = max(last["done_for_day"], exec_id)
    elif kind == CALCULATED:
        last["calculated"] = max(last["calculated"], exec_id)
    elif kind == SUSPENDED:
        last["suspended"] = max(last["suspended"], exec_id)
    else:
        last["stopped"] = max(last["stopped"], exec_id)


@compiled
def trade(m: Memory, slot: int, kind: int, refers: int, qty: int, px: int) -> None:
    """A trade, or an amendment of what it refers to: what stands of a trade may be another."""
    event = m.events[slot]
    if kind == TRADE_CANCEL:
        event["flags"] |= IS_BUST
    else:
        event["qty"], event["px"] = qty, px
    event["stands"] = later(m, event["stands"], slot)
    if kind == TRADE:
        event["flags"] |= IS_TRADE
        count(m, slot, 1)
        price(m, slot)
    elif refers > 0:
        join(m, slot, group_of(m, refers))


@compiled
def join(m: Memory, slot: int, group: int) -> None:
    """What led to this amendment leads to a further event, and so do the amounts booked of it."""
    event, trade = m.events[slot], m.events[group]
    count(m, group, -1)
    event["refers"] = group
    trade["stands"] = later(m, trade["stands"], event["stands"])
    trade["shares"] += event["shares"]
    trade["cash"] += event["cash"]
    trade["fee"] += event["fee"]
    count(m, group, 1)
    touch(m, trade["order"])


@compiled
def price(m: Memory, slot: int) -> None:
    """The price of a trade, if it is the last of its asset."""
    event = m.events[slot]
    last = m.prices[m.balances[m.orders[event["order"]]["pair"]]["asset"]]
    exec_id = id_of(m.event_slots, slot)
    if exec_id > last["exec_id"]:
        last["exec_id"], last["px"] = exec_id, event["px"]


@compiled
def take_postings(m: Memory, rows: Postings, start: int) -> int:
    """Take in postings from row ``start`` on."""
    for i in range(start, len(rows.exec_id)):
        pair = pair_of(m.places, rows.key[i])
        event = slot_of(m.event_slots, rows.exec_id[i]) if rows.exec_id[i] else -1
        if pair < 0 or event == 0:
            return i
        balance = m.balances[pair]
        balance["booked"] += rows.amount[i]
        balance["moved"] = True
        if event > 0 and balance["account"] != CLEARING:
            book(m, group_of(m, event), pair, rows.amount[i])
    return len(rows.exec_id)


@compiled
def book(m: Memory, group: int, pair: int, amount: int) -> None:
    """So much of a trade is booked: a customer's leg, or that of the fee at the firm."""
    trade, balance = m.events[group], m.balances[pair]
    if balance["account"] == FEES:
        trade["fee"] += amount
        return
    own = m.balances[m.orders[trade["order"]]["pair"]]
    if pair == balance["cash"]:
        trade["cash"] += amount
        own = m.balances[own["cash"]]
    else:
        trade["shares"] += amount
    if trade["flags"] & IS_TRADE:
        own["uncleared"] -= amount


# ---- answers out


@compiled
def find_slots(slotted: Slotted, record_ids: Ids, found: Ints) -> None:
    """The slot of each id; 0, where all facts are zero, for one that was never seen."""
    for i in range(len(record_ids)):
        found[i] = slot_of(slotted, record_ids[i])


@compiled
def find_uncleared(m: Memory, exec_ids: Ids, to: Uncleared) -> None:
    """What the trades of these events still have to move; all stays zero where none is held."""
    for i in range(len(exec_ids)):
        trade = m.events[group_of(m, slot_of(m.event_slots, exec_ids[i]))]
        if not trade["flags"] & IS_TRADE:
            continue
        stands, order = m.events[trade["stands"]], m.orders[trade["order"]]
        sign = 1 if order["terms"] & BUY else -1
        to.exec_id[i] = id_of(m.event_slots, trade["stands"])
        to.order[i] = trade["order"]
        to.shares[i] = sign * stands["qty"] - trade["shares"]
        amount = stands["qty"] * stands["px"]
        charged = fee(m, stands["qty"], amount)
        to.cash[i] = -sign * amount - charged - trade["cash"]
        to.fee[i] = charged - trade["fee"]


@compiled
def find_leaves(m: Memory, slots: Ints, found: Ints) -> None:
    """The open quantity of each order."""
    for i in range(len(slots)):
        order, flags = m.orders[slots[i]], standing(m, slots[i])
        found[i] = leaves(flags, order["terms"], order["cum_qty"], order["order_qty"])


@compiled
def tell_terms(m: Memory, pages: Ints, to: Terms) -> int:
    """Write the terms of the known orders of these pages; gives how many they are."""
    row = 0
    for i in range(len(pages)):
        start = pages[i] << PAGE_BITS
        for offset in range(m.pages[pages[i]]["last"] - start + 1):
            order = m.orders[start + offset]
            if order["flags"] & KNOWN:
                balance, request = m.balances[order["pair"]], order["in_force"]
                to.order_id[row] = m.slots.first[pages[i]] + np.uint64(offset)
                to.request_in_force[row] = id_of(m.slots, request)
                to.account[row], to.asset[row] = balance["account"], balance["asset"]
                to.terms[row] = order["terms"]
                row += 1
        to.ends[i] = row
    return row


@compiled
def sort_rows(m: Memory, number: int) -> None:
    """Give the known orders of a page rows by their ids, and tell their states."""
    page, row = m.pages[number], 0
    page["news"] &= ~UNSORTED
    for slot in range(number << PAGE_BITS, page["last"] + 1):
        order = m.orders[slot]
        if order["flags"] & KNOWN:
            order["row"] = row
            row += 1
            flags = standing(m, slot)
            left = leaves(flags, order["terms"], order["cum_qty"], order["order_qty"])
            tell(m, slot, flags, left)
