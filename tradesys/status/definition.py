"""Order status, aggregated from records: the definition (claims 16, 20, 27).

Nothing stores a status. It follows from the set of records that a system holds, whatever the order
in which they arrived and however often. Facts first, then rank: a status is never computed from an
earlier status. The rules are those of FIX 4.4 Volume 4, Appendix D, one a line; where "later" is
said it is by ``exec_id``, since the venue numbers its reports.
:mod:`tradesys.status.incremental.view` keeps the same facts up to date batch by batch and is tested
against this.
"""

from functools import cache

import polars as pl

from tradesys.records.schemas import PRICE_SCALE, ExecType, OrdStatus, RequestType, TimeInForce

CHANGES = (RequestType.CANCEL, RequestType.REPLACE)
PENDING = (ExecType.PENDING_CANCEL, ExecType.PENDING_REPLACE)
ANSWERS = (ExecType.CANCELED, ExecType.REPLACED, ExecType.CANCEL_REJECTED)
REFUSALS = (ExecType.REJECTED, ExecType.CANCEL_REJECTED)
AMENDS = (ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL)
TRADES = (ExecType.TRADE, ExecType.TRADE_CORRECT)
OF_TRADES = (ExecType.TRADE, *AMENDS)
CHANGES_TERMS = (ExecType.REPLACED, ExecType.RESTATED)
STATES_TERMS = (ExecType.NEW, *CHANGES_TERMS)
AT_WORK = (*STATES_TERMS, ExecType.TRADE)
ENDS = (ExecType.CANCELED, ExecType.EXPIRED)
STATED = ("order_qty", "price", "cl_ord_id")
CHANGED = ("ord_type", "time_in_force")
WHOSE = ("order_id", "account", "symbol", "side")
GOOD_TILL = (TimeInForce.GTC.value, TimeInForce.GTD.value)

PRECEDENCE = (
    (OrdStatus.PENDING_CANCEL, pl.col("pending_cancel")),
    (OrdStatus.PENDING_REPLACE, pl.col("pending_replace")),
    (OrdStatus.DONE_FOR_DAY, pl.col("done_for_day")),
    (OrdStatus.CALCULATED, pl.col("calculated")),
    (OrdStatus.FILLED, (pl.col("cum_qty") > 0) & (pl.col("cum_qty") >= pl.col("order_qty"))),
    (OrdStatus.STOPPED, pl.col("stopped")),
    (OrdStatus.SUSPENDED, pl.col("suspended")),
    (OrdStatus.CANCELED, pl.col("canceled")),
    (OrdStatus.EXPIRED, pl.col("expired")),
    (OrdStatus.PARTIALLY_FILLED, pl.col("cum_qty") > 0),
    (OrdStatus.REJECTED, pl.col("rejected")),
    (OrdStatus.NEW, pl.col("acknowledged")),
    (OrdStatus.PENDING_NEW, pl.lit(value=True)),
)
"""The status of an order is the first of these that holds (the precedence of FIX 4.4 Vol. 4)."""

COLUMNS = (
    "order_id",
    "cl_ord_id",
    "account",
    "symbol",
    "side",
    "ord_type",
    "price",
    "ord_status",
    "order_qty",
    "cum_qty",
    "leaves_qty",
    "avg_px",
)


def statuses(requests: pl.DataFrame, executions: pl.DataFrame) -> pl.DataFrame:
    """The status of every order that these records know of, one row an order, by ``order_id``.

    :param requests: records of the ``requests`` dataset.
    :param executions: records of the ``executions`` dataset; an order that is known only through
        them (its request has not arrived yet) is answered from the terms they repeat.
    :returns: the columns :data:`COLUMNS`; ``price`` int64 in 1/10,000 of the currency, quantities
        int64, ``avg_px`` float64 in the currency (null without a trade), ``ord_status`` a string
        of :class:`~tradesys.records.schemas.OrdStatus`.
    """
    return facts(requests, executions).with_columns(status()).with_columns(leaves()).select(COLUMNS)


def status() -> pl.Expr:
    """The highest status that the facts of an order support (FIX tag 39)."""
    found = [pl.when(holds).then(pl.lit(s.value)) for s, holds in PRECEDENCE]
    return pl.coalesce(found).alias("ord_status")


def leaves() -> pl.Expr:
    """The quantity that can still trade (FIX tag 151): none once the order is closed.

    An order that is done or calculated for the day is closed unless it is good beyond the day. An
    over-fill leaves nothing; what was filled is shown all the same.
    """
    day_over = pl.col("done_for_day") | pl.col("calculated")
    closed = is_over() | day_over & ~pl.col("time_in_force").is_in(GOOD_TILL)
    open_qty = (pl.col("order_qty") - pl.col("cum_qty")).clip(lower_bound=0)
    return pl.when(closed).then(0).otherwise(open_qty).alias("leaves_qty")


def is_over() -> pl.Expr:
    """Whether an order can never trade again."""
    return pl.col("canceled") | pl.col("expired") | pl.col("rejected")


def each_once(executions: pl.DataFrame) -> pl.DataFrame:
    """The events, each once, however many systems reported it and however often (tag 17)."""
    return executions.unique("exec_id", keep="first", maintain_order=True)


def trades(events: pl.DataFrame) -> pl.DataFrame:
    """What each trade is by now: the last of its amendments stands, but a bust is final.

    Last is by ``exec_id``, in whatever order they arrived and whichever of the trade's events they
    refer to (FIX tag 150 = G and H; Vol. 4, J.1).

    :param events: executions, :func:`each_once`.
    :returns: a row a trade: the event that stands (a bust with no quantity), but of :data:`WHOSE`
        order the trade itself is; and ``trade_id``, the ``exec_id`` of the trade.
    """
    is_bust = says(ExecType.TRADE_CANCEL)
    last = (
        amendments(events)
        .with_columns(last_qty=pl.when(is_bust).then(0).otherwise("last_qty"))
        .sort(is_bust, "exec_id")
        .unique("trade_id", keep="last", maintain_order=True)
        .drop(WHOSE)
    )
    made = events.filter(says(ExecType.TRADE)).with_columns(trade_id="exec_id")
    return made.update(last, on="trade_id")


def amendments(events: pl.DataFrame) -> pl.DataFrame:
    """The corrections and busts among events, with the ``trade_id`` that each leads to.

    One refers to a trade or to another amendment (FIX tag 19), and so to an earlier event: a
    reference to a later one is none. It leads to no trade where none is held under that id.
    """
    earlier = pl.col("exec_ref_id") < pl.col("exec_id")
    found = events.filter(says(*AMENDS), earlier).with_columns(trade_id="exec_ref_id")
    while found["trade_id"].is_in(found["exec_id"].implode()).any():
        further = found.select(trade_id="exec_id", further="trade_id")
        found = found.join(further, on="trade_id", how="left")
        found = found.with_columns(trade_id=pl.coalesce("further", "trade_id")).drop("further")
    return found


def facts(requests: pl.DataFrame, executions: pl.DataFrame) -> pl.DataFrame:
    """What the records say of each order, before any status: its terms, quantities and flags."""
    events = each_once(executions)
    known = _terms(requests, events)
    pending = _pending(asked(requests, events))
    for found in (_reported(events), _traded(events), _refused(events), pending):
        known = known.join(found, on="order_id", how="left")
    return (
        known.with_columns(
            pl.col(pl.Boolean).fill_null(value=False),
            pl.col("cum_qty", "cum_amount").fill_null(0),
            order_qty=pl.coalesce("order_qty_in_force", "order_qty"),
            price=pl.when(pl.col("states_terms") > 0).then("price_in_force").otherwise("price"),
            **{n: pl.coalesce(f"{n}_in_force", n) for n in ("cl_ord_id", *CHANGED)},
        )
        .with_columns(
            rejected=pl.col("refused") | pl.col("reject_reason").is_not_null(),
            avg_px=pl.when(pl.col("cum_qty") > 0).then(
                pl.col("cum_amount") / (pl.col("cum_qty") * PRICE_SCALE)
            ),
        )
        .sort("order_id")
    )


def _terms(requests: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """The terms of each order as entered; from its executions where the request is not held."""
    columns = (
        *("order_id", "cl_ord_id", "account", "symbol", "side", "ord_type", "time_in_force"),
        *("order_qty", "price"),
    )
    entered = requests.filter(pl.col("request_type") == RequestType.NEW)
    repeated = events.join(entered, on="order_id", how="anti").sort("exec_id")
    return pl.concat(
        [
            entered.unique("order_id").select(*columns, "reject_reason"),
            repeated.unique("order_id", keep="first", maintain_order=True).select(
                *columns, pl.lit(None, pl.String).alias("reject_reason")
            ),
        ]
    )


def _reported(events: pl.DataFrame) -> pl.DataFrame:
    """What the reports of each order say: its terms in force, and its state.

    In force are quantity, price and ``cl_ord_id`` as the last report that states them has them:
    the acceptance of the order or of a replace, asked for or not, or a restatement (FIX tags 38,
    44, 11; Vol. 4, C, D and E.1), whenever it arrived. The type and the time in force are as
    entered until a replace or a restatement states others (FIX tags 40, 59).

    Being done or calculated for the day, or suspended, lasts until a later report shows the order
    at work again; a guarantee (stopped) lasts through the trades it guarantees. Each of them ends
    for good when the order is canceled or expires (FIX tag 39; Vol. 4, A.1, H.1, K.1 and L.1).
    """

    def last(*exec_types: ExecType) -> pl.Expr:
        return pl.when(says(*exec_types)).then("exec_id").otherwise(0)

    states = {
        "acknowledged": says(ExecType.NEW),
        "canceled": says(ExecType.CANCELED),
        "expired": says(ExecType.EXPIRED),
        "done_for_day": last(ExecType.DONE_FOR_DAY),
        "calculated": last(ExecType.CALCULATED),
        "suspended": last(ExecType.SUSPENDED),
        "stopped": last(ExecType.STOPPED),
        "ended": says(*ENDS),
        "at_work": last(*AT_WORK),
        "states_terms": last(*STATES_TERMS),
        "changes_terms": says(*CHANGES_TERMS),
    }
    said = (
        events.sort("exec_id")
        .select("order_id", *STATED, *CHANGED, **states)
        .group_by("order_id")
        .agg(
            pl.col(STATED).filter(pl.col("states_terms") > 0).last().name.suffix("_in_force"),
            pl.col(CHANGED).filter("changes_terms").last().name.suffix("_in_force"),
            pl.col(*states).max(),
        )
    )
    goes_on = ~pl.col("ended")
    return said.with_columns(
        done_for_day=(pl.col("done_for_day") > pl.col("at_work")) & goes_on,
        calculated=(pl.col("calculated") > pl.col("at_work")) & goes_on,
        suspended=(pl.col("suspended") > pl.col("at_work")) & goes_on,
        stopped=(pl.col("stopped") > pl.col("states_terms")) & goes_on,
    )


def _traded(events: pl.DataFrame) -> pl.DataFrame:
    """What of each order has traded, as its trades stand (FIX tags 14 and 6)."""
    qty = pl.col("last_qty")
    said = ("exec_id", "exec_type", "exec_ref_id", "last_qty", "last_px")
    return (
        trades(events.select(*WHOSE, *said))
        .group_by("order_id")
        .agg(cum_qty=qty.sum(), cum_amount=(qty * pl.col("last_px")).sum())
    )


def _refused(events: pl.DataFrame) -> pl.DataFrame:
    """The orders whose own request was refused.

    A refusal counts against the request that it answers and against no other: that of a duplicate
    is none of the original's (Vol. 4, F.1), and a cancel of an order that nobody knows is itself
    all there is to reject (FIX 4.4 MsgType 9, tag 39).
    """
    refused = events.filter(says(*REFUSALS)).select(order_id="request_id").unique()
    return refused.with_columns(refused=pl.lit(value=True))


def asked(requests: pl.DataFrame, executions: pl.DataFrame) -> pl.DataFrame:
    """The cancels and replaces that are not answered (FIX tag 39; Vol. 4, B, C and D).

    One pends from when a customer-facing system accepts it, or the market reports that it pends,
    until the market does it or refuses it.

    :returns: ``order_id, record_id, request_type``, and the ``order_qty`` and ``price`` asked for,
        null where the request is not held.
    """
    changes = requests.filter(says(*CHANGES, of="request_type"), pl.col("reject_reason").is_null())
    told = executions.filter(says(*PENDING))
    answered = executions.filter(says(*ANSWERS))
    kind = pl.col("exec_type").str.strip_prefix("pending_")
    terms = ("order_id", "record_id", "request_type", "order_qty", "price")
    waiting = pl.concat(
        [
            changes.select(terms),
            told.select("order_id", record_id="request_id", request_type=kind),
        ],
        how="diagonal",
    )
    return waiting.join(answered, left_on="record_id", right_on="request_id", how="anti")


def _pending(changes: pl.DataFrame) -> pl.DataFrame:
    """Which kinds of change each order waits for."""
    kind = pl.col("request_type")
    return changes.group_by("order_id").agg(
        pending_cancel=(kind == RequestType.CANCEL).any(),
        pending_replace=(kind == RequestType.REPLACE).any(),
    )


@cache
def says(*values: ExecType | RequestType, of: str = "exec_type") -> pl.Expr:
    """Whether a record is of one of these types."""
    return pl.col(of).is_in([value.value for value in values])
