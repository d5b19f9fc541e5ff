"""Order status, aggregated from records: the definition (claims 16, 20, 27).

Nothing stores a status. It follows from the set of records that a system holds, whatever the order
in which they arrived and however often. Facts first, then rank: a status is never computed from an
earlier status. The expressions below are the rules of FIX 4.4 Volume 4, Appendix D, one a line;
:mod:`tradesys.views` keeps the same facts up to date batch by batch and is tested against this.
"""

import polars as pl

from tradesys.records import CLOSED, PRICE_SCALE, ExecType, OrdStatus, RequestType

CHANGES = (RequestType.CANCEL, RequestType.REPLACE)
ANSWERS = (ExecType.CANCELED, ExecType.REPLACED, ExecType.CANCEL_REJECTED)
STATES_TERMS = (ExecType.NEW, ExecType.REPLACED)

PRECEDENCE = (
    (OrdStatus.PENDING_CANCEL, pl.col("pending_cancel")),
    (OrdStatus.PENDING_REPLACE, pl.col("pending_replace")),
    (OrdStatus.FILLED, (pl.col("cum_qty") > 0) & (pl.col("cum_qty") >= pl.col("order_qty"))),
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
        of :class:`~tradesys.records.OrdStatus`.
    """
    return facts(requests, executions).with_columns(status()).with_columns(leaves()).select(COLUMNS)


def status() -> pl.Expr:
    """The highest status that the facts of an order support."""
    found = [pl.when(holds).then(pl.lit(s.value)) for s, holds in PRECEDENCE]
    return pl.coalesce(found).alias("ord_status")


def leaves() -> pl.Expr:
    """The quantity that can still trade: none once the order is closed, whatever is pending."""
    closed = pl.col("canceled") | pl.col("expired") | pl.col("rejected")
    open_qty = (pl.col("order_qty") - pl.col("cum_qty")).clip(lower_bound=0)
    return pl.when(closed).then(0).otherwise(open_qty).alias("leaves_qty")


def is_open() -> pl.Expr:
    """Whether the order can still trade."""
    return ~pl.col("ord_status").is_in([s.value for s in CLOSED]) & (pl.col("leaves_qty") > 0)


def facts(requests: pl.DataFrame, executions: pl.DataFrame) -> pl.DataFrame:
    """What the records say of each order, before any status: its terms, quantities and flags."""
    events = executions.unique("exec_id", keep="first", maintain_order=True)
    trades = events.filter(pl.col("exec_type") == ExecType.TRADE)
    answered = events.filter(pl.col("exec_type").is_in([t.value for t in ANSWERS]))
    pending = requests.filter(
        pl.col("request_type").is_in([t.value for t in CHANGES]),
        pl.col("reject_reason").is_null(),
    ).join(answered, left_on="record_id", right_on="request_id", how="anti")

    def kind(exec_type: ExecType) -> pl.Expr:
        return (pl.col("exec_type") == exec_type).any()

    per_order = (
        _terms(requests, events)
        .join(_terms_in_force(events), on="order_id", how="left")
        .join(
            events.group_by("order_id").agg(
                acknowledged=kind(ExecType.NEW),
                refused=kind(ExecType.REJECTED),
                canceled=kind(ExecType.CANCELED),
                expired=kind(ExecType.EXPIRED),
            ),
            on="order_id",
            how="left",
        )
        .join(
            trades.group_by("order_id").agg(
                cum_qty=pl.col("last_qty").sum(),
                cum_amount=(pl.col("last_qty") * pl.col("last_px")).sum(),
            ),
            on="order_id",
            how="left",
        )
        .join(
            pending.group_by("order_id").agg(
                pending_cancel=(pl.col("request_type") == RequestType.CANCEL).any(),
                pending_replace=(pl.col("request_type") == RequestType.REPLACE).any(),
            ),
            on="order_id",
            how="left",
        )
    )
    flags = ("acknowledged", "refused", "canceled", "expired", "pending_cancel", "pending_replace")
    return (
        per_order.with_columns(
            pl.col(*flags).fill_null(value=False),
            pl.col("cum_qty", "cum_amount").fill_null(0),
            order_qty=pl.coalesce("qty_in_force", "order_qty"),
            price=pl.coalesce("price_in_force", "price"),
            cl_ord_id=pl.coalesce("cl_ord_id_in_force", "cl_ord_id"),
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


def _terms_in_force(events: pl.DataFrame) -> pl.DataFrame:
    """Quantity, price and ``cl_ord_id`` after the last accepted replace.

    The venue numbers its reports: the last is the one with the highest ``exec_id``, whenever it
    arrived.
    """
    stated = events.filter(pl.col("exec_type").is_in([t.value for t in STATES_TERMS]))
    return stated.group_by("order_id").agg(
        qty_in_force=pl.col("order_qty").sort_by("exec_id").last(),
        price_in_force=pl.col("price").sort_by("exec_id").last(),
        cl_ord_id_in_force=pl.col("cl_ord_id").sort_by("exec_id").last(),
    )
