"""The rules of order entry, each stated once: for one order, and for a table of a million.

A request is a row of whole numbers (texts are codes, of
:mod:`tradesys.systems.customer.request_encoding`), and the rows are decided one after the other, as
if they had come one by one: an earlier row takes its name, uses up its account's means, and can be
what a later row is about.
"""

from tradesys.records import field_rules as fields
from tradesys.records.arrow import Ints
from tradesys.records.schemas import (
    PRICE_FORMS,
    PRICE_SCALE,
    OrdType,
    RequestType,
    Side,
    TimeInForce,
)
from tradesys.status.incremental.compiled import compiled
from tradesys.status.reference_data import (
    CLOSED,
    HALTED,
    LAST_PX,
    LOT_SIZE,
    QTY_SCALE,
    SECURITY_STATUS,
    TICK_SIZE,
)

KINDS: dict[str, int] = {t.value: number for number, t in enumerate(RequestType)}
SIDES: dict[str, int] = {s.value: number for number, s in enumerate(Side)}
ORD_TYPES: dict[str, int] = {t.value: number for number, t in enumerate(OrdType)}
TIMES_IN_FORCE: dict[str, int] = {t.value: number for number, t in enumerate(TimeInForce)}
NAMES_OF_TIME = tuple(TIMES_IN_FORCE)
NEW, CANCEL, _ = KINDS.values()
BUY = SIDES[Side.BUY]
MARKET, LIMIT = ORD_TYPES[OrdType.MARKET], ORD_TYPES[OrdType.LIMIT]
DAY, GTD = TIMES_IN_FORCE[TimeInForce.DAY], TIMES_IN_FORCE[TimeInForce.GTD]

GTC = TIMES_IN_FORCE[TimeInForce.GTC]

_INT64_MAX = (1 << 63) - 1
_QTY_MOST, _PRICE_MOST, _AMOUNT_MOST = fields.ORDER_QTY.most, fields.PRICE.most, fields.AMOUNT_MOST

COLLAR_PERCENT = 5
"""How far from the last price a market order may trade at most, in percent of it."""

COLUMNS = 21
(
    KIND,  # the columns from here to PRICE are what a request states
    ACCOUNT,
    SYMBOL,
    SIDE,
    ORD_TYPE,
    TIME_IN_FORCE,
    EXPIRE_TIME,  # ns since 1970
    ORDER_QTY,
    PRICE,  # in 1/10,000: a limit, or the collar of a market order
    BALANCE,  # which of the balances at hand a new order draws on
    ORDER,  # the row of an order held already that a change is about
    ORDER_ID,  # the id of the order that it is about or, of one in the table, the row
    NAME,  # which of the names at hand the request bears, -1 for none
    ORIG_NAME,  # which name a change means its order by, -1 for none
    CUM_QTY,
    RESERVED,  # what an order may still spend, fees included, in 1/10,000, or sell
    OPEN,
    VERDICT,  # what is decided of the request
    ABOUT,  # the row of the order that it is about, or that it repeats; -1 where it is an error
    TS,  # when the request came, ns since 1970
    CLOSE,  # the close of the trading day of that, likewise
) = range(COLUMNS)
"""The columns of a request, and of an order held already, as whole numbers."""

UNSTATED = -(1 << 63)
"""A value that the request leaves open. A text that is none of those known is a number below 0."""

FREE, TAKEN = -1, -2
"""Whose a name is, where not an order at hand: nobody's, or one's that is not at hand."""

OWNER, UNTIL, FIRST, STOP = range(4)
"""The columns of a name: the row of the order that has it, or one of these two; up to when, in ns
since 1970; and the rows of the requests that gave it, from one to before another."""

REPEATED, ACCEPTED = -1, 0
# errors
NAME_TAKEN, NO_KIND, NO_ORDER, NOT_OPEN, NO_SIDE, NO_ORD_TYPE, NO_TIME_IN_FORCE = range(1, 8)
NO_EXPIRE_TIME, NO_GTD, NO_ACCOUNT, NO_SYMBOL, NO_QTY, NO_LOTS = range(8, 14)
NO_LIMIT, A_LIMIT, NO_TICKS, TOO_MUCH = range(14, 18)
OTHER = 18  # a change states something else than its order does: one for each of STATED
FIXED = ("symbol", "side", "ord_type")
"""What no replace changes."""
STATED = (*FIXED, "time_in_force", "expire_time")
"""What no cancel changes: the columns from SYMBOL to EXPIRE_TIME, in their sequence."""
RESTING = (DAY, GTC, GTD)
"""What a replace may make of one another."""
# reasons
ACCOUNT_CLOSED, SYMBOL_HALTED, NO_CASH, NO_SHARES, NO_PRICE, NO_PROCEEDS = range(23, 29)

FIRST_REASON = ACCOUNT_CLOSED

ERRORS: dict[int, tuple[str, str]] = {
    NAME_TAKEN: (
        "cl_ord_id",
        "a name that the account has not used before; {order} has it, on other terms",
    ),
    NO_KIND: ("request_type", f"one of {', '.join(KINDS)}"),
    NO_ORDER: ("orig_cl_ord_id", "the name, or order_id the id, of an order of this account"),
    NOT_OPEN: ("orig_cl_ord_id", "an open order; this one is closed"),
    NO_SIDE: ("side", f"one of {', '.join(SIDES)}"),
    NO_ORD_TYPE: ("ord_type", f"one of {', '.join(ORD_TYPES)}"),
    NO_TIME_IN_FORCE: ("time_in_force", f"one of {', '.join(TIMES_IN_FORCE)}"),
    NO_EXPIRE_TIME: ("expire_time", "a time to come, for an order that is good till date (gtd)"),
    NO_GTD: ("expire_time", "none, for an order that is not good till date (gtd)"),
    NO_ACCOUNT: ("account", "an account the firm has described"),
    NO_SYMBOL: ("symbol", "a symbol the firm has described"),
    NO_QTY: ("order_qty", str(fields.ORDER_QTY)),
    NO_LOTS: ("order_qty", "a multiple of the lot size, {lot_size}"),
    NO_LIMIT: (
        "price",
        f"a positive price for a limit order, up to {_PRICE_MOST // PRICE_SCALE:,}; {PRICE_FORMS}",
    ),
    A_LIMIT: ("price", "no price for a market order"),
    NO_TICKS: (
        "price",
        "a multiple of the tick size, {tick_size}; a whole number is of 1/10,000, so 100 is 0.01",
    ),
    TOO_MUCH: (
        "order_qty",
        f"a quantity that costs no more than {_AMOUNT_MOST // PRICE_SCALE:,} at the order's price",
    ),
    **{OTHER + i: (name, "its order's, or nothing") for i, name in enumerate(STATED)},
    OTHER + 3: ("time_in_force", "its order's, or nothing; a replace changes day, gtc and gtd"),
}
"""A request with one of these is an error, and nothing is written: the field, what was expected."""

REASONS: dict[int, str] = {
    ACCOUNT_CLOSED: "account closed",
    SYMBOL_HALTED: "symbol halted",
    NO_CASH: "not enough cash",
    NO_SHARES: "not enough shares",
    NO_PRICE: "no last price to value a market order at",
    NO_PROCEEDS: "the price does not cover the fees of the sale",
}
"""A well-formed request with one of these is recorded with it as ``reject_reason``, never sent."""


def expected(verdict: int, instrument: Ints, order: str = "another order") -> str:
    """What was expected where ``verdict`` was found, of an order in this instrument.

    :param order: which one has the name already.
    """
    tick_size, lot_size = instrument[TICK_SIZE].item(), instrument[LOT_SIZE].item()
    return ERRORS[verdict][1].format(
        lot_size=f"{lot_size:,}",
        tick_size=f"{tick_size / PRICE_SCALE:.4f}".rstrip("0").rstrip("."),
        order=order,
    )


@compiled
def decide(
    rows: Ints,
    count: int,
    names: Ints,
    left: Ints,
    accounts: Ints,
    instruments: Ints,
    now: int,
    fees: Ints,
) -> None:
    """Decide the first ``count`` rows, in their order: :data:`VERDICT` and :data:`ABOUT` of each.

    :param rows: ``[:, COLUMNS]``; after the requests, the orders held already that they are about,
        and the requests held already that gave names which they give too. A change is given the
        terms of its order, where it leaves them open, in place; a market order its collar.
    :param names: ``[:, 4]``, whose each name is; names are taken in place.
    :param left: what is left of each balance; it is used up in place.
    :param accounts: the status of each account, by code.
    :param instruments: ``[:, 5]``, by code.
    :param now: in ns since 1970: what an order or a replace says of its end is to come.
    :param fees: what the firm charges, as :class:`tradesys.records.opening_books.Fees`.
    """
    for i in range(count):
        verdict, order = _order(rows, i, names)
        if verdict == ACCEPTED and rows[i, KIND] != CANCEL:
            verdict = _error(rows, i, order, accounts, instruments, now)
        elif verdict == ACCEPTED:
            verdict = _out_of_range(rows, i, order, instruments)
        rows[i, ABOUT] = order if verdict <= ACCEPTED else -1
        if verdict == ACCEPTED:
            if rows[i, KIND] != CANCEL:
                verdict = _reason(rows, i, order, left, accounts, instruments, fees)
            if rows[i, KIND] == NEW:
                rows[i, OPEN] = verdict == ACCEPTED
            if rows[i, NAME] >= 0:
                name = names[rows[i, NAME]]
                name[OWNER], name[UNTIL] = order, _named_until(rows, i, order)
                name[FIRST], name[STOP] = i, i + 1
        rows[i, VERDICT] = verdict


@compiled
def _named_until(rows: Ints, i: int, order: int) -> int:
    """Up to when an order has a name that it was given by row ``i``."""
    if rows[order, OPEN] and rows[order, TIME_IN_FORCE] == GTC:
        return _INT64_MAX
    if rows[order, OPEN] and rows[order, TIME_IN_FORCE] == GTD:
        return max(rows[i, CLOSE], rows[order, EXPIRE_TIME] - 1)
    return rows[i, CLOSE]


@compiled
def _order(rows: Ints, i: int, names: Ints) -> tuple[int, int]:
    """The row of the order that row ``i`` is about: its own, if it is a new one.

    Of a repeat, the row of the request that it repeats.
    """
    if rows[i, KIND] < 0:
        return NO_KIND, -1
    order = i
    if rows[i, KIND] == NEW:
        _fill(rows, i)
        rows[i, ORDER_ID] = i
    else:
        order = rows[i, ORDER]
        if rows[i, ORIG_NAME] >= 0:
            order = _meant(rows, i, names, ORIG_NAME)
        rows[i, ORDER_ID] = rows[order, ORDER_ID] if order >= 0 else -1
    if rows[i, NAME] >= 0 and _meant(rows, i, names, NAME) != FREE:
        name = names[rows[i, NAME]]
        first = repeats(rows, i, name[FIRST], name[STOP])
        return (REPEATED, first) if first >= 0 else (NAME_TAKEN, -1)
    if rows[i, KIND] == NEW:
        return ACCEPTED, i
    if order < 0 or (rows[i, ACCOUNT] != UNSTATED and rows[i, ACCOUNT] != rows[order, ACCOUNT]):
        return NO_ORDER, -1
    if not rows[order, OPEN]:
        return NOT_OPEN, -1
    return _keep(rows, i, order), order


@compiled
def _meant(rows: Ints, i: int, names: Ints, column: int) -> int:
    """Whose the name in a column of row ``i`` is, at the time of that row."""
    name = names[rows[i, column]]
    return name[OWNER] if rows[i, TS] <= name[UNTIL] else FREE


@compiled
def repeats(rows: Ints, i: int, first: int, stop: int) -> int:
    """The first of the requests in these rows that asked for what row ``i`` asks for; -1 if none.

    A new order is the same on all the same terms, of which a collar is none; a change if it is of
    the same order, and states nothing else than the other one did.
    """
    is_new = rows[i, KIND] == NEW
    for other in range(first, stop):
        same = rows[i, KIND] == rows[other, KIND]
        same = same and (is_new or rows[i, ORDER_ID] == rows[other, ORDER_ID])
        for column in range(ACCOUNT, PRICE + 1):
            asked, given = rows[i, column], rows[other, column]
            if column == PRICE and rows[other, ORD_TYPE] == MARKET and (is_new or asked == 0):
                given = 0
            same = same and (asked == given or (asked == UNSTATED and not is_new))
        if same:
            return other
    return -1


@compiled
def _fill(rows: Ints, i: int) -> None:
    """Give a new order the defaults of what it leaves open."""
    if rows[i, ORD_TYPE] == UNSTATED:
        rows[i, ORD_TYPE] = LIMIT
    if rows[i, TIME_IN_FORCE] == UNSTATED:
        rows[i, TIME_IN_FORCE] = DAY
    for column in (ORDER_QTY, PRICE):
        if rows[i, column] == UNSTATED:
            rows[i, column] = 0


@compiled
def _keep(rows: Ints, i: int, order: int) -> int:
    """Give a change what it keeps of its order, which is all that it may state of that.

    But for what a replace is there to change: quantity, price, and until when the order is good.
    """
    time_in_force, expire_time = rows[i, TIME_IN_FORCE], rows[i, EXPIRE_TIME]
    if time_in_force == UNSTATED:
        time_in_force = rows[order, TIME_IN_FORCE]
    may_change = rows[i, KIND] != CANCEL and rows[order, TIME_IN_FORCE] in RESTING
    may_change = may_change and time_in_force in RESTING
    for column in range(SYMBOL, TIME_IN_FORCE if may_change else EXPIRE_TIME + 1):
        said = rows[i, column]
        if said != UNSTATED and said != rows[order, column]:
            return OTHER + column - SYMBOL
    for column in range(ACCOUNT, EXPIRE_TIME + 1):
        rows[i, column] = rows[order, column]
    if may_change:
        rows[i, TIME_IN_FORCE] = time_in_force
        if expire_time != UNSTATED or time_in_force != GTD:
            rows[i, EXPIRE_TIME] = expire_time
    rows[i, BALANCE] = rows[order, BALANCE]
    if rows[i, ORD_TYPE] == MARKET and rows[i, PRICE] == 0:
        rows[i, PRICE] = UNSTATED
    for column in (ORDER_QTY, PRICE):
        if rows[i, column] == UNSTATED:
            rows[i, column] = rows[order, column]
    return ACCEPTED


@compiled
def _error(  # noqa: C901, PLR0911, PLR0912 - a rule a line
    rows: Ints, i: int, order: int, accounts: Ints, instruments: Ints, now: int
) -> int:
    """The first rule that the terms of a new order, or of a replace, break."""
    if rows[i, SIDE] < 0:
        return NO_SIDE
    if rows[i, ORD_TYPE] < 0:
        return NO_ORD_TYPE
    if rows[i, TIME_IN_FORCE] < 0:
        return NO_TIME_IN_FORCE
    if rows[i, ACCOUNT] < 0 or not accounts[rows[i, ACCOUNT]]:
        return NO_ACCOUNT
    if rows[i, SYMBOL] < 0:
        return NO_SYMBOL
    if rows[i, TIME_IN_FORCE] == GTD and rows[i, EXPIRE_TIME] <= now and _sets_time(rows, i, order):
        return NO_EXPIRE_TIME
    if rows[i, TIME_IN_FORCE] != GTD and rows[i, EXPIRE_TIME] != UNSTATED:
        return NO_GTD
    is_given = rows[i, KIND] == NEW or rows[i, PRICE] != rows[order, PRICE]
    if rows[i, ORD_TYPE] == MARKET and rows[i, PRICE] != 0 and is_given:
        return A_LIMIT
    if rows[i, ORD_TYPE] == MARKET and rows[i, PRICE] == 0:
        rows[i, PRICE] = collar(rows[i, SIDE], instruments[rows[i, SYMBOL]])
    out_of_range = _out_of_range(rows, i, order, instruments)
    if out_of_range:
        return out_of_range
    if rows[i, ORDER_QTY] % instruments[rows[i, SYMBOL], LOT_SIZE] != 0:
        return NO_LOTS
    if rows[i, ORD_TYPE] == LIMIT and rows[i, PRICE] <= 0:
        return NO_LIMIT
    tick = _tick(rows[i, PRICE], instruments[rows[i, SYMBOL]])
    if rows[i, ORD_TYPE] == LIMIT and rows[i, PRICE] % tick != 0:
        return NO_TICKS
    return ACCEPTED


@compiled
def _sets_time(rows: Ints, i: int, order: int) -> bool:
    """Whether row ``i`` sets until when its order is good, and does not only repeat it."""
    repeats = rows[i, TIME_IN_FORCE] == rows[order, TIME_IN_FORCE]
    repeats = repeats and rows[i, EXPIRE_TIME] == rows[order, EXPIRE_TIME]
    return rows[i, KIND] == NEW or not repeats


@compiled
def _tick(price: int, instrument: Ints) -> int:
    """The tick at a price: 0.0001 below 1.00 (Regulation NMS, rule 612), else the instrument's."""
    return instrument[TICK_SIZE] if price >= PRICE_SCALE else 1


@compiled
def _out_of_range(rows: Ints, i: int, order: int, instruments: Ints) -> int:
    """Which of the numbers that a request states is none that later sums have room for.

    What a change keeps of its order is as it is.
    """
    qty, price = rows[i, ORDER_QTY], rows[i, PRICE]
    if rows[i, KIND] != NEW and qty == rows[order, ORDER_QTY] and price == rows[order, PRICE]:
        return ACCEPTED
    scale = max(instruments[rows[i, SYMBOL], QTY_SCALE], 1)
    if not 0 < qty <= _QTY_MOST * scale:
        return NO_QTY
    if not 0 <= price <= _PRICE_MOST:
        return NO_LIMIT
    if price and (qty > _INT64_MAX // price or _amount(qty, price, scale) > _AMOUNT_MOST):
        return TOO_MUCH
    return ACCEPTED


@compiled
def _reason(
    rows: Ints,
    i: int,
    order: int,
    left: Ints,
    accounts: Ints,
    instruments: Ints,
    fees: Ints,
) -> int:
    """Why a well-formed request is refused. What it may use is taken off what is left.

    A replace needs what it asks for beyond what its order may use already.
    """
    if accounts[rows[i, ACCOUNT]] == CLOSED:
        return ACCOUNT_CLOSED
    if instruments[rows[i, SYMBOL], SECURITY_STATUS] == HALTED:
        return SYMBOL_HALTED
    if not rows[i, PRICE]:
        return NO_PRICE
    needed = max(rows[i, ORDER_QTY] - rows[order, CUM_QTY], 0)
    scale = instruments[rows[i, SYMBOL], QTY_SCALE]
    amount = _amount(needed, rows[i, PRICE], scale)
    fee = _fee(needed, amount, scale, fees)
    if rows[i, SIDE] != BUY and fee > amount:
        return NO_PROCEEDS
    if rows[i, SIDE] == BUY:
        needed = amount + fee
    more = needed - rows[order, RESERVED]
    if more > left[rows[i, BALANCE]]:
        return NO_CASH if rows[i, SIDE] == BUY else NO_SHARES
    if more > 0:
        left[rows[i, BALANCE]] -= more
        rows[order, RESERVED] += more
    return ACCEPTED


@compiled
def collar(side: int, instrument: Ints) -> int:
    """The worst price at which a market order may trade; 0 without a last price.

    A price is :data:`COLLAR_PERCENT` from the last one at most, by whole ticks.
    """
    last = instrument[LAST_PX]
    tick = _tick(last, instrument)
    away = last * COLLAR_PERCENT // 100 // tick * tick
    return min(last + away, _PRICE_MOST) if side == BUY else last - away


@compiled
def _amount(qty: int, px: int, scale: int) -> int:
    """What a quantity costs (``schemas.cash_amount``)."""
    whole, part = qty // scale, qty % scale
    return whole * px + part * (px // scale) + part * (px % scale) // scale


@compiled
def _fee(qty: int, amount: int, scale: int, fees: Ints) -> int:
    """What the firm charges (``opening_books.Fees.of``)."""
    whole, rest = amount // PRICE_SCALE, amount % PRICE_SCALE
    return _amount(qty, fees[0], scale) + whole * fees[1] + rest * fees[1] // PRICE_SCALE
