"""The rules of ``status.definition`` and ``status.positions`` as compiled loops.

One loop per dataset takes records into the facts, one at a time, in whatever order they arrive, and
settles the order that a record is about: its status, what is left of it and what it may use.
Everything that is compiled stands in this file, the codes that it knows included: see
:func:`tradesys.status.incremental.compiled.compiled`.
"""

import numpy as np

from tradesys.records.arrow import Ids, Ints
from tradesys.status.incremental.columns import Facts, Records, Uncleared
from tradesys.status.incremental.compiled import compiled

# Pages of record ids: see :mod:`tradesys.status.incremental.rows`.
PAGE_BITS = 14
PAGE_ROWS = 1 << PAGE_BITS
_PAGE_SHIFT, _OFFSET = np.uint64(PAGE_BITS), np.uint64(PAGE_ROWS - 1)

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

# Flags of an order.
KNOWN, ACKNOWLEDGED, WAS_CANCELED, HAS_EXPIRED = (1 << i for i in range(4))
# Flags of a request: it is held; it is held and enters an order; it was refused; it asks for a
# cancel, or for a replace; it was answered.
REQUESTED, ENTERED, REFUSED = (1 << i for i in range(4, 7))
CANCEL_ASKED, REPLACE_ASKED, ANSWERED = (1 << i for i in range(7, 10))
# Flags of an event: its execution was seen; it is a trade; it is a bust.
SEEN, IS_TRADE, IS_BUST = (1 << i for i in range(3))
# The firm's own accounts, in the sequence of tradesys.records.schemas.FIRMS_OWN; then customers'.
CLEARING, CAPITAL, FEES, FIRST_CUSTOMER = range(4)
# What is new of a page of orders: the state of one; its terms, or its name.
STATES, TERMS = 1, 2
PRICE_SCALE = 10_000


# ---- where things are


@compiled
def find_rows(pages: Records, record_ids: Ids, found: Ints) -> None:
    """The row of each id, 0 for one that has none."""
    for i in range(len(record_ids)):
        number = record_ids[i] >> _PAGE_SHIFT
        page, beyond = 0, len(pages)  # the last page that does not begin after the id
        while beyond - page > 1:
            middle = (page + beyond) >> 1
            if pages[middle]["number"] <= number:
                page = middle
            else:
                beyond = middle
        found[i] = 0
        if pages[page]["number"] == number:
            found[i] = pages[page]["first_row"] + int(record_ids[i] & _OFFSET)


@compiled
def exec_id(m: Facts, event: int) -> np.uint64:
    """The id of an event; that of none is 0."""
    return m.event_ids[event >> PAGE_BITS] + np.uint64(event & (PAGE_ROWS - 1))


@compiled
def is_later(m: Facts, event: int, other: int) -> bool:
    """Whether an event is later than another, by ``exec_id``; any is later than none."""
    return bool(exec_id(m, event) > exec_id(m, other))


# ---- the rules


@compiled
def status(m: Facts, order: np.void, flags: int) -> int:  # noqa: C901, PLR0911
    """The place in ``STATUSES`` of the highest that holds (``status.PRECEDENCE``)."""
    if order["pending_cancels"] > 0:
        return 12
    if order["replace"]:
        return 11
    if lasts(m, flags, order["done_for_day"], order["at_work"]):
        return 10
    if lasts(m, flags, order["calculated"], order["at_work"]):
        return 9
    if order["cum_qty"] > 0 and order["cum_qty"] >= order["order_qty"]:
        return 8
    if lasts(m, flags, order["stopped"], order["stated_by"]):
        return 7
    if lasts(m, flags, order["suspended"], order["at_work"]):
        return 6
    if flags & WAS_CANCELED:
        return 4
    if flags & HAS_EXPIRED:
        return 5
    if order["cum_qty"] > 0:
        return 3
    if flags & REFUSED:
        return 2
    return 1 if flags & ACKNOWLEDGED else 0


@compiled
def lasts(m: Facts, flags: int, began: int, ended: int) -> bool:
    """Whether a state that began with a report has not passed (``status._reported``)."""
    return bool(began and not flags & (WAS_CANCELED | HAS_EXPIRED) and is_later(m, began, ended))


@compiled
def leaves(m: Facts, order: np.void, flags: int) -> int:
    """The quantity that can still trade (``status.leaves``)."""
    if flags & (REFUSED | WAS_CANCELED | HAS_EXPIRED):
        return 0
    if order["terms"] < GOOD_TILL:
        if lasts(m, flags, order["done_for_day"], order["at_work"]):
            return 0
        if lasts(m, flags, order["calculated"], order["at_work"]):
            return 0
    return max(order["order_qty"] - order["cum_qty"], 0)


@compiled
def reserved(m: Facts, order: np.void, flags: int) -> int:
    """What an order may still use (``positions.reserved``): a replace counts as granted."""
    most = use(m, order, order["leaves_qty"], order["price"])
    request = 0 if flags & (REFUSED | WAS_CANCELED | HAS_EXPIRED) else order["replace"]
    while request:
        asked = m.requests[request]
        further = max(asked["order_qty"] - order["cum_qty"], 0)
        most = max(most, use(m, order, further, asked["price"]))
        request = asked["earlier"]
    return most


@compiled
def use(m: Facts, order: np.void, qty: int, px: int) -> int:
    """What an order for so much may use: shares, or cash with its fee."""
    if not order["terms"] & BUY:
        return qty
    amount = qty * px
    return amount + fee(m, qty, amount) if px else 0


@compiled
def fee(m: Facts, qty: int, amount: int) -> int:
    """What the firm charges (``opening_books.Fees.of``)."""
    a_share, of_amount = m.fees[0], m.fees[1]
    whole, rest = amount // PRICE_SCALE, amount % PRICE_SCALE
    return qty * a_share + whole * of_amount + rest * of_amount // PRICE_SCALE


@compiled
def settle(m: Facts, row: int) -> None:
    """Work out what follows from the facts of an order."""
    order = m.orders[row]
    flags = order["flags"] | m.requests[row]["flags"]
    if not flags & KNOWN:
        return
    order["status"] = status(m, order, flags)
    order["leaves_qty"] = leaves(m, order, flags)
    most = reserved(m, order, flags)
    pair = order["pair"]
    if order["terms"] & BUY:
        pair = m.balances[pair]["cash"]
    m.balances[pair]["reserved"] += most - order["reserved"]
    order["reserved"] = most
    m.news[row >> PAGE_BITS] |= STATES


# ---- requests


@compiled
def take_requests(m: Facts, records: Records) -> None:
    """Take in requests."""
    for i in range(len(records)):
        record = records[i]
        request, order, kind = record["request"], record["order"], record["kind"]
        asked = m.requests[request]
        if asked["flags"] & REQUESTED:
            continue
        asked["flags"] |= REQUESTED
        if m.orders[order]["in_force"] == request:
            renew(m, order)
        if kind == NEW_ORDER:
            asked["flags"] |= ENTERED | REFUSED if record["is_refused"] else ENTERED
            learn(m, order, request, record)
        elif not record["is_refused"]:
            asked["order_qty"], asked["price"] = record["order_qty"], record["price"]
            pend(m, request, order, CANCEL_ASKED if kind == CANCEL else REPLACE_ASKED)
        settle(m, order)


@compiled
def learn(m: Facts, row: int, request: int, record: np.void) -> None:
    """The terms of an order, unless an accepted report has stated later ones."""
    order = m.orders[row]
    renew(m, row)
    order["flags"] |= KNOWN
    order["pair"] = record["pair"]
    if order["changed_by"] == 0:
        order["terms"] = record["terms"]
    if order["stated_by"] == 0:
        order["order_qty"], order["price"] = record["order_qty"], record["price"]
        order["in_force"] = request


@compiled
def renew(m: Facts, order: int) -> None:
    """The terms of an order, or its name, are to be told anew."""
    m.news[order >> PAGE_BITS] |= TERMS


@compiled
def pend(m: Facts, request: int, row: int, asked: int) -> None:
    """A change of an order is asked for: it pends until it is answered."""
    change, order = m.requests[request], m.orders[row]
    if change["flags"] & asked:
        return
    change["flags"] |= asked
    change["order"] = row
    if not change["flags"] & ANSWERED and asked == CANCEL_ASKED:
        order["pending_cancels"] += 1
    elif not change["flags"] & ANSWERED:
        change["earlier"], order["replace"] = order["replace"], request


@compiled
def answer(m: Facts, request: int) -> None:
    """A request is answered: it pends no longer."""
    change = m.requests[request]
    order = m.orders[change["order"]]
    if change["flags"] & ANSWERED:
        return
    change["flags"] |= ANSWERED
    if change["flags"] & CANCEL_ASKED:
        order["pending_cancels"] -= 1
    if change["flags"] & REPLACE_ASKED:
        later = order["replace"]
        if later == request:
            order["replace"] = change["earlier"]
        while later and m.requests[later]["earlier"] != request:
            later = m.requests[later]["earlier"]
        if later:
            m.requests[later]["earlier"] = change["earlier"]
    settle(m, change["order"])


# ---- executions


@compiled
def take_executions(m: Facts, records: Records) -> None:
    """Take in executions; ``pair`` and ``terms`` matter as :func:`needs_terms` says."""
    for i in range(len(records)):
        record = records[i]
        event, row, kind = record["event"], record["order"], record["kind"]
        if m.events[event]["flags"] & SEEN:
            continue
        m.events[event]["flags"] |= SEEN
        m.events[event]["order"] = row
        first = m.orders[row]["first_report"]
        if not m.requests[row]["flags"] & ENTERED and (first == 0 or is_later(m, first, event)):
            m.orders[row]["first_report"] = event
            learn(m, row, record["request"], record)
        state(m, record)
        if kind in (REPLACED, RESTATED):
            change(m, record)
        if TRADE <= kind <= TRADE_CANCEL:
            trade(m, record)
        report(m, record)
        settle(m, row)


@compiled
def needs_terms(m: Facts, records: Records) -> bool:
    """Whether an order's request is not held, or a report may change its terms."""
    for i in range(len(records)):
        if records[i]["kind"] in (REPLACED, RESTATED):
            return True
        if not m.requests[records[i]["order"]]["flags"] & ENTERED:
            return True
    return False


@compiled
def state(m: Facts, record: np.void) -> None:
    """The terms in force, if this is the last report that states them; and the last at work."""
    order, event, kind = m.orders[record["order"]], record["event"], record["kind"]
    before = order["in_force"]
    if kind <= RESTATED and is_later(m, event, order["stated_by"]):
        order["stated_by"], order["in_force"] = event, record["request"]
        order["order_qty"], order["price"] = record["order_qty"], record["price"]
    if kind <= TRADE and is_later(m, event, order["at_work"]):
        order["at_work"] = event
    # Of a request that is not held, the reports alone know the name.
    is_held = m.requests[record["order"]]["flags"] & ENTERED
    is_held = is_held and m.requests[order["in_force"]]["flags"] & REQUESTED
    if not is_held or order["in_force"] != before:
        renew(m, record["order"])


@compiled
def change(m: Facts, record: np.void) -> None:
    """The type and time in force, if this is the last report that may change them."""
    order = m.orders[record["order"]]
    if is_later(m, record["event"], order["changed_by"]):
        order["changed_by"] = record["event"]
        terms = order["terms"] & BUY | record["terms"] & ~BUY
        if terms != order["terms"]:
            order["terms"] = terms
            renew(m, record["order"])


@compiled
def report(m: Facts, record: np.void) -> None:  # noqa: C901
    """What a report says of its order and of the request that it answers."""
    order, request, kind = m.orders[record["order"]], record["request"], record["kind"]
    event = record["event"]
    if kind == NEW:
        order["flags"] |= ACKNOWLEDGED
    elif kind == CANCELED:
        order["flags"] |= WAS_CANCELED
    elif kind == EXPIRED:
        order["flags"] |= HAS_EXPIRED
    elif kind in (REJECTED, CANCEL_REJECTED):
        m.requests[request]["flags"] |= REFUSED
        settle(m, request)
    elif kind == PENDING_CANCEL:
        pend(m, request, record["order"], CANCEL_ASKED)
    elif kind == PENDING_REPLACE:
        pend(m, request, record["order"], REPLACE_ASKED)
    elif kind == DONE_FOR_DAY:
        order["done_for_day"] = last(m, order["done_for_day"], event)
    elif kind == CALCULATED:
        order["calculated"] = last(m, order["calculated"], event)
    elif kind == SUSPENDED:
        order["suspended"] = last(m, order["suspended"], event)
    elif kind == STOPPED:
        order["stopped"] = last(m, order["stopped"], event)
    if kind in (CANCELED, REPLACED, CANCEL_REJECTED):
        answer(m, request)


@compiled
def last(m: Facts, one: int, other: int) -> int:
    """The later of two events."""
    return one if is_later(m, one, other) else other


# ---- trades


@compiled
def trade(m: Facts, record: np.void) -> None:
    """A trade, or an amendment of what it refers to: what stands of a trade may be another."""
    row, kind, refers = record["event"], record["kind"], record["refers"]
    event = m.events[row]
    if kind == TRADE_CANCEL:
        event["flags"] |= IS_BUST
    else:
        event["qty"], event["px"] = record["last_qty"], record["last_px"]
    event["stands"] = standing(m, event["stands"], row)
    if kind == TRADE:
        event["flags"] |= IS_TRADE
        count(m, row, 1)
        asset = m.balances[m.orders[event["order"]]["pair"]]["asset"]
        m.last_trades[asset] = last(m, m.last_trades[asset], row)
    elif refers and is_later(m, row, refers):
        join(m, row, group_of(m, refers))


@compiled
def group_of(m: Facts, event: int) -> int:
    """The event that this one leads to, as far as is known: its trade, in the end."""
    while m.events[event]["refers"]:
        above = m.events[event]["refers"]
        if m.events[above]["refers"]:  # the way is shorter the next time
            m.events[event]["refers"] = m.events[above]["refers"]
        event = above
    return event


@compiled
def standing(m: Facts, one: int, other: int) -> int:
    """Which of two events of a trade stands (``status.trades``); 0 is none."""
    if one == 0 or other == 0:
        return one + other
    a, b = m.events[one]["flags"] & IS_BUST, m.events[other]["flags"] & IS_BUST
    if a != b:
        return one if a else other
    return last(m, one, other)


@compiled
def count(m: Facts, group: int, times: int) -> None:
    """Count what stands of a trade that is held, and what is not booked of it; -1 to undo it.

    Whoever counts settles the order then.
    """
    trade = m.events[group]
    if not trade["flags"] & IS_TRADE:
        return
    order, stands = m.orders[trade["order"]], m.events[trade["stands"]]
    order["cum_qty"] += times * stands["qty"]
    order["cum_amount"] += times * stands["qty"] * stands["px"]
    balance = m.balances[order["pair"]]
    cash = m.balances[balance["cash"]]
    shares_due, cash_due, _ = due(m, trade)
    balance["uncleared"] += times * shares_due
    cash["uncleared"] += times * cash_due
    balance["moved"] = cash["moved"] = 1


@compiled
def due(m: Facts, trade: np.void) -> tuple[int, int, int]:
    """What a trade still has to move: shares, cash less the fee, and the fee."""
    stands, sign = m.events[trade["stands"]], -1
    if m.orders[trade["order"]]["terms"] & BUY:
        sign = 1
    qty, amount = stands["qty"], stands["qty"] * stands["px"]
    charged = fee(m, qty, amount)
    cash = -sign * amount - charged - trade["cash"]
    return sign * qty - trade["shares"], cash, charged - trade["fee"]


@compiled
def join(m: Facts, row: int, group: int) -> None:
    """What led to this amendment leads to a further event, and so do the amounts booked of it."""
    event, trade = m.events[row], m.events[group]
    count(m, group, -1)
    event["refers"] = group
    trade["stands"] = standing(m, trade["stands"], event["stands"])
    trade["shares"] += event["shares"]
    trade["cash"] += event["cash"]
    trade["fee"] += event["fee"]
    count(m, group, 1)
    settle(m, trade["order"])


@compiled
def find_uncleared(m: Facts, events: Ints, to: Uncleared) -> None:
    """What the trades of these events still have to move; all stays zero where none is held."""
    for i in range(len(events)):
        trade = m.events[group_of(m, events[i])]
        if trade["flags"] & IS_TRADE:
            to.exec_id[i], to.order[i] = exec_id(m, trade["stands"]), trade["order"]
            to.shares[i], to.cash[i], to.fee[i] = due(m, trade)


# ---- postings


@compiled
def take_postings(m: Facts, records: Records) -> None:
    """Take in postings."""
    for i in range(len(records)):
        event, pair, amount = records[i]["event"], records[i]["pair"], records[i]["amount"]
        balance = m.balances[pair]
        balance["booked"] += amount
        balance["moved"] = 1
        if event and balance["account"] != CLEARING:
            book(m, group_of(m, event), pair, amount)


@compiled
def book(m: Facts, group: int, pair: int, amount: int) -> None:
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
