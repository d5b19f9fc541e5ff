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
KNOWN, ACKNOWLEDGED, WAS_CANCELED, HAS_EXPIRED, IS_OPEN = (1 << i for i in range(5))
# Flags of a request: it is held; it is held and enters an order; it was refused; it asks for a
# cancel, or for a replace; it was answered; a report is about it.
REQUESTED, ENTERED, REFUSED = (1 << i for i in range(5, 8))
CANCEL_ASKED, REPLACE_ASKED, ANSWERED, REPORTED = (1 << i for i in range(8, 12))
# Flags of a trade: its execution was seen; it is a trade; it is a bust.
SEEN, IS_TRADE, IS_BUST = (1 << i for i in range(3))
# What is in the place of the trade of an event that is seen, and is none.
NO_TRADE = 1
# Which rows are given out in the loops: their places in Facts.used.
OF_RARE, OF_TRADES = range(2)
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
def rare_of(m: Facts, order: int) -> int:
    """The row of what is seldom known of a request or order, given out now if it has none."""
    row = m.orders[order]["rare"]
    if row == 0:
        row = m.used[OF_RARE]
        m.used[OF_RARE] += 1
        m.orders[order]["rare"] = row
    return row


@compiled
def trade_of(m: Facts, event: int) -> int:
    """The row of the trade of an event, given out now if it has none."""
    row = m.events[event]
    if row <= NO_TRADE:
        is_seen, row = row, m.used[OF_TRADES]
        m.used[OF_TRADES] += 1
        m.events[event] = row
        m.trades[row]["event"] = event
        m.trades[row]["flags"] = SEEN if is_seen else 0
    return row


@compiled
def is_later(m: Facts, event: int, other: int) -> bool:
    """Whether an event is later than another, by ``exec_id``; any is later than none."""
    return bool(exec_id(m, event) > exec_id(m, other))


# ---- the rules


@compiled
def status(m: Facts, order: np.void) -> int:  # noqa: C901, PLR0911
    """The place in ``STATUSES`` of the highest that holds (``status.PRECEDENCE``)."""
    flags, rare = order["flags"], m.rare[order["rare"]]
    if order["pending_cancels"] > 0:
        return 12
    if order["replace"]:
        return 11
    if lasts(m, flags, rare["done_for_day"], order["at_work"]):
        return 10
    if lasts(m, flags, rare["calculated"], order["at_work"]):
        return 9
    if order["cum_qty"] > 0 and order["cum_qty"] >= order["order_qty"]:
        return 8
    if lasts(m, flags, rare["stopped"], order["stated_by"]):
        return 7
    if lasts(m, flags, rare["suspended"], order["at_work"]):
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
def leaves(m: Facts, order: np.void) -> int:
    """The quantity that can still trade (``status.leaves``)."""
    flags, rare = order["flags"], m.rare[order["rare"]]
    if flags & (REFUSED | WAS_CANCELED | HAS_EXPIRED):
        return 0
    if order["terms"] < GOOD_TILL:
        if lasts(m, flags, rare["done_for_day"], order["at_work"]):
            return 0
        if lasts(m, flags, rare["calculated"], order["at_work"]):
            return 0
    return max(order["order_qty"] - order["cum_qty"], 0)


@compiled
def reserved(m: Facts, order: np.void, left: int) -> int:
    """What an order may still use (``positions.reserved``): a replace counts as granted."""
    most = use(m, order, left, order["price"])
    request = 0 if order["flags"] & (REFUSED | WAS_CANCELED | HAS_EXPIRED) else order["replace"]
    while request:
        asked = m.rare[m.orders[request]["rare"]]
        further = max(asked["order_qty"] - order["cum_qty"], 0)
        most = max(most, use(m, order, further, asked["price"]))
        request = asked["earlier"]
    return most


@compiled
def use(m: Facts, order: np.void, qty: int, px: int) -> int:
    """What an order for so much may use: shares, or cash with its fee."""
    if not order["terms"] & BUY:
        return qty
    scale = scale_of(m, order["pair"])
    amount = cash_amount(qty, px, scale)
    return amount + fee(m, qty, amount, scale) if px else 0


@compiled
def scale_of(m: Facts, pair: int) -> int:
    """How many units of quantity make one share of the asset of a pair."""
    return max(m.scales[m.balances[pair]["asset"]], 1)


@compiled
def cash_amount(qty: int, px: int, scale: int) -> int:
    """What a quantity costs (``schemas.cash_amount``)."""
    whole, part = qty // scale, qty % scale
    return whole * px + part * (px // scale) + part * (px % scale) // scale


@compiled
def fee(m: Facts, qty: int, amount: int, scale: int) -> int:
    """What the firm charges (``opening_books.Fees.of``)."""
    a_share, of_amount = m.fees[0], m.fees[1]
    whole, rest = amount // PRICE_SCALE, amount % PRICE_SCALE
    return cash_amount(qty, a_share, scale) + whole * of_amount + rest * of_amount // PRICE_SCALE


@compiled
def settle(m: Facts, row: int) -> None:
    """Work out what follows from the facts of an order."""
    order = m.orders[row]
    if not order["flags"] & KNOWN:
        return
    order["status"], left = status(m, order), leaves(m, order)
    order["flags"] = order["flags"] | IS_OPEN if left else order["flags"] & ~IS_OPEN
    most = reserved(m, order, left)
    pair = order["pair"]
    if order["terms"] & BUY:
        pair = m.balances[pair]["cash"]
    m.balances[pair]["reserved"] += most - order["reserved"]
    order["reserved"] = most
    m.news[row >> PAGE_BITS] |= STATES


@compiled
def rescale(m: Facts, asset: int, scale: int) -> None:
    """It is learned how many units make one share of an asset: what it costs is another."""
    count_asset(m, asset, -1)
    m.scales[asset] = scale
    count_asset(m, asset, 1)
    for row in range(len(m.orders)):
        if m.balances[m.orders[row]["pair"]]["asset"] == asset:
            settle(m, row)


@compiled
def count_asset(m: Facts, asset: int, times: int) -> None:
    """Count all trades in an asset; -1 to undo it. Whoever counts settles the orders then."""
    for row in range(m.used[OF_TRADES]):
        trade = m.trades[row]
        if m.balances[m.orders[trade["order"]]["pair"]]["asset"] == asset:
            count(m, row, times)


# ---- requests


@compiled
def take_requests(m: Facts, records: Records) -> None:
    """Take in requests."""
    for i in range(len(records)):
        record = records[i]
        request, order, kind = record["request"], record["order"], record["kind"]
        if m.orders[request]["flags"] & REQUESTED:
            continue
        m.orders[request]["flags"] |= REQUESTED
        if m.orders[order]["in_force"] == request:
            renew(m, order)
        if kind == NEW_ORDER:
            m.orders[request]["flags"] |= ENTERED | REFUSED if record["is_refused"] else ENTERED
            learn(m, order, request, record)
        elif not record["is_refused"]:
            asked = m.rare[rare_of(m, request)]
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
    if m.rare[order["rare"]]["changed_by"] == 0:
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
    change, order = m.orders[request], m.orders[row]
    if change["flags"] & asked:
        return
    change["flags"] |= asked
    rare = m.rare[rare_of(m, request)]
    rare["order"] = row
    if not change["flags"] & ANSWERED and asked == CANCEL_ASKED:
        order["pending_cancels"] += 1
    elif not change["flags"] & ANSWERED:
        rare["earlier"], order["replace"] = order["replace"], request


@compiled
def answer(m: Facts, request: int) -> None:
    """A request is answered: it pends no longer."""
    change = m.orders[request]
    rare = m.rare[change["rare"]]
    order = m.orders[rare["order"]]
    if change["flags"] & ANSWERED:
        return
    change["flags"] |= ANSWERED
    if change["flags"] & CANCEL_ASKED:
        order["pending_cancels"] -= 1
    if change["flags"] & REPLACE_ASKED:
        later = order["replace"]
        if later == request:
            order["replace"] = rare["earlier"]
        while later and m.rare[m.orders[later]["rare"]]["earlier"] != request:
            later = m.rare[m.orders[later]["rare"]]["earlier"]
        if later:
            m.rare[m.orders[later]["rare"]]["earlier"] = rare["earlier"]
    settle(m, rare["order"])


# ---- executions


@compiled
def take_executions(m: Facts, records: Records) -> None:
    """Take in executions; ``pair`` and ``terms`` matter as :func:`needs_terms` says."""
    for i in range(len(records)):
        record = records[i]
        event, row, kind = record["event"], record["order"], record["kind"]
        if m.trades[m.events[event]]["flags"] & SEEN:
            continue
        if m.events[event]:
            m.trades[m.events[event]]["flags"] |= SEEN
        else:
            m.events[event] = NO_TRADE
        first = m.rare[m.orders[row]["rare"]]["first_report"]
        if not m.orders[row]["flags"] & ENTERED and (first == 0 or is_later(m, first, event)):
            m.rare[rare_of(m, row)]["first_report"] = event
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
        if not m.orders[records[i]["order"]]["flags"] & ENTERED:
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
    is_held = order["flags"] & ENTERED and m.orders[order["in_force"]]["flags"] & REQUESTED
    if not is_held or order["in_force"] != before:
        renew(m, record["order"])


@compiled
def change(m: Facts, record: np.void) -> None:
    """The type and time in force, if this is the last report that may change them."""
    order = m.orders[record["order"]]
    rare = m.rare[rare_of(m, record["order"])]
    if is_later(m, record["event"], rare["changed_by"]):
        rare["changed_by"] = record["event"]
        terms = order["terms"] & BUY | record["terms"] & ~BUY
        if terms != order["terms"]:
            order["terms"] = terms
            renew(m, record["order"])


@compiled
def report(m: Facts, record: np.void) -> None:  # noqa: C901
    """What a report says of its order and of the request that it answers."""
    order, request, kind = m.orders[record["order"]], record["request"], record["kind"]
    event = record["event"]
    m.orders[request]["flags"] |= REPORTED
    if kind == NEW:
        order["flags"] |= ACKNOWLEDGED
    elif kind == CANCELED:
        order["flags"] |= WAS_CANCELED
    elif kind == EXPIRED:
        order["flags"] |= HAS_EXPIRED
    elif kind in (REJECTED, CANCEL_REJECTED):
        m.orders[request]["flags"] |= REFUSED
        settle(m, request)
    elif kind == PENDING_CANCEL:
        pend(m, request, record["order"], CANCEL_ASKED)
    elif kind == PENDING_REPLACE:
        pend(m, request, record["order"], REPLACE_ASKED)
    elif DONE_FOR_DAY <= kind <= STOPPED:
        rare = m.rare[rare_of(m, record["order"])]
        if kind == DONE_FOR_DAY:
            rare["done_for_day"] = last(m, rare["done_for_day"], event)
        elif kind == CALCULATED:
            rare["calculated"] = last(m, rare["calculated"], event)
        elif kind == SUSPENDED:
            rare["suspended"] = last(m, rare["suspended"], event)
        else:
            rare["stopped"] = last(m, rare["stopped"], event)
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
    row, kind, refers = trade_of(m, record["event"]), record["kind"], record["refers"]
    trade = m.trades[row]
    trade["order"] = record["order"]
    if kind == TRADE_CANCEL:
        trade["flags"] |= IS_BUST
    else:
        trade["qty"], trade["px"] = record["last_qty"], record["last_px"]
    trade["stands"] = standing(m, trade["stands"], row)
    if kind == TRADE:
        trade["flags"] |= IS_TRADE
        count(m, row, 1)
        asset = m.balances[m.orders[trade["order"]]["pair"]]["asset"]
        m.last_trades[asset] = last_trade(m, m.last_trades[asset], row)
    elif refers and is_later(m, record["event"], refers):
        join(m, row, group_of(m, trade_of(m, refers)))


@compiled
def group_of(m: Facts, trade: int) -> int:
    """What this one leads to, as far as is known: its trade, in the end."""
    while m.trades[trade]["refers"]:
        above = m.trades[trade]["refers"]
        if m.trades[above]["refers"]:  # the way is shorter the next time
            m.trades[trade]["refers"] = m.trades[above]["refers"]
        trade = above
    return trade


@compiled
def last_trade(m: Facts, one: int, other: int) -> int:
    """The later of two trades or amendments; any is later than none."""
    return one if is_later(m, m.trades[one]["event"], m.trades[other]["event"]) else other


@compiled
def standing(m: Facts, one: int, other: int) -> int:
    """Which of a trade and its amendments stands, of two (``status.trades``); 0 is none."""
    if one == 0 or other == 0:
        return one + other
    a, b = m.trades[one]["flags"] & IS_BUST, m.trades[other]["flags"] & IS_BUST
    if a != b:
        return one if a else other
    return last_trade(m, one, other)


@compiled
def count(m: Facts, group: int, times: int) -> None:
    """Count what stands of a trade that is held, and what is not booked of it; -1 to undo it.

    Whoever counts settles the order then.
    """
    trade = m.trades[group]
    if not trade["flags"] & IS_TRADE:
        return
    order, stands = m.orders[trade["order"]], m.trades[trade["stands"]]
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
    stands, sign = m.trades[trade["stands"]], -1
    if m.orders[trade["order"]]["terms"] & BUY:
        sign = 1
    qty, scale = stands["qty"], scale_of(m, m.orders[trade["order"]]["pair"])
    amount = cash_amount(qty, stands["px"], scale)
    charged = fee(m, qty, amount, scale)
    cash = -sign * amount - charged - trade["cash"]
    return sign * qty - trade["shares"], cash, charged - trade["fee"]


@compiled
def join(m: Facts, row: int, group: int) -> None:
    """What led to this amendment leads to a further event, and so do the amounts booked of it."""
    amendment, trade = m.trades[row], m.trades[group]
    count(m, group, -1)
    amendment["refers"] = group
    trade["stands"] = standing(m, trade["stands"], amendment["stands"])
    trade["shares"] += amendment["shares"]
    trade["cash"] += amendment["cash"]
    trade["fee"] += amendment["fee"]
    count(m, group, 1)
    settle(m, trade["order"])


@compiled
def find_uncleared(m: Facts, events: Ints, to: Uncleared) -> None:
    """What the trades of these events still have to move; all stays zero where none is held."""
    for i in range(len(events)):
        trade = m.trades[group_of(m, m.events[events[i]])]
        if trade["flags"] & IS_TRADE:
            stands = m.trades[trade["stands"]]["event"]
            to.exec_id[i], to.order[i] = exec_id(m, stands), trade["order"]
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
            book(m, group_of(m, trade_of(m, event)), pair, amount)


@compiled
def book(m: Facts, group: int, pair: int, amount: int) -> None:
    """So much of a trade is booked: a customer's leg, or that of the fee at the firm."""
    trade, balance = m.trades[group], m.balances[pair]
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
