"""How well orders were executed: against the market as it was when each of them came to it.

One frame with a row an order (:func:`of_orders`), and its sums per account, symbol, side or system
(:func:`added_up`). Prices are in the currency, quantities in shares, times in seconds.
"""

from collections.abc import Sequence

import polars as pl

from tradesys.analytics import market
from tradesys.inquiry.inquiries import Inquiries
from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import ExecType, RequestType, origin
from tradesys.status import definition as status

BY = ("account", "symbol", "side", "system")
"""What execution quality can be added up by."""

_NEW = status.says(ExecType.NEW)


def of_orders(system: Inquiries, *, levels: int | None = None) -> pl.DataFrame:
    """The execution quality of each order that the market accepted, by ``order_id``.

    What is said of the market is as it stood immediately before the order's acceptance, in the
    market's own sequence; the market is all that this system's records tell of it.

    :param levels: of a replayed tape, how many price levels of a side it shows (see
        :func:`tradesys.analytics.market.unseen_ends`).
    :returns: ``order_id, account, symbol, side, system`` (that took the order), ``order_qty,
        cum_qty, avg_px``; and

        - ``mid``: the middle of best bid and best ask; ``spread``: ask less bid. Null where one of
          them was missing.
        - ``slippage``: by how much ``avg_px`` is worse than ``mid``, per share: above it for a
          buy, below it for a sell. Less than 0 where it is better; null without a fill.
        - ``slippage_bp``: the same in basis points (1/10,000) of ``mid``.
        - ``fill_rate``: ``cum_qty / order_qty``.
        - ``first_fill_s``, ``filled_s``: from the entry at the system that took it (``ts`` of its
          request) until the first fill, and until the last of an order that was filled whole;
          null otherwise, or where its request is not held.
        - ``ahead_qty``, ``ahead_orders``: its queue position, what rested at its price on its side.
    """
    with system.lock:
        orders, held = system.orders(), system.tables
        requests, executions = held["requests"].frame, held["executions"].frame
    entered = requests.filter(pl.col("request_type") == RequestType.NEW.value).select(
        "order_id", entered="ts"
    )
    return (
        orders.select(*_TERMS)
        .join(_at_entry(market.reports(executions, levels=levels)), on="order_id")
        .join(entered, on="order_id", how="left")
        .join(_fill_times(executions), on="order_id", how="left")
        .with_columns(
            _seconds("first_fill").alias("first_fill_s"),
            pl.when(pl.col("cum_qty") >= pl.col("order_qty"))
            .then(_seconds("last_fill"))
            .alias("filled_s"),
            system=_system(orders["order_id"]),
            slippage=market.SIGN * (pl.col("avg_px") - pl.col("mid")),
            fill_rate=pl.col("cum_qty") / pl.col("order_qty"),
        )
        .with_columns(slippage_bp=pl.col("slippage") / pl.col("mid") * market.BASIS_POINTS)
        .select(_COLUMNS)
        .sort("order_id")
    )


_TERMS = ("order_id", "account", "symbol", "side", "order_qty", "cum_qty", "avg_px")
_COLUMNS = (
    *("order_id", "account", "symbol", "side", "system", "order_qty", "cum_qty", "avg_px"),
    *("mid", "spread", "slippage", "slippage_bp", "fill_rate", "first_fill_s", "filled_s"),
    *("ahead_qty", "ahead_orders"),
)


def _at_entry(reports: pl.DataFrame) -> pl.DataFrame:
    """Of each order accepted the market before: ``mid, spread, ahead_qty, ahead_orders``."""
    changes = market.changes(reports)
    level = ["symbol", "side", "price"]
    best = (
        market.touch(changes)
        .with_columns(pl.col("qty", "orders").cum_sum().over(level).name.prefix("level_"))
        .select("seq", *level, "bid", "ask", "level_qty", "level_orders")
    )
    touches = best.select("seq", "symbol", "bid", "ask")
    levels = best.select("seq", *level, "level_qty", "level_orders")
    accepted = reports.filter(_NEW).select("seq", "order_id", *level)
    return market.before(market.before(accepted, touches, ["symbol"]), levels, level).select(
        "order_id",
        mid=market.MID,
        spread=market.SPREAD,
        ahead_qty=pl.col("level_qty").fill_null(0),
        ahead_orders=pl.col("level_orders").fill_null(0),
    )


def _fill_times(executions: pl.DataFrame) -> pl.DataFrame:
    """When each order first and last traded, by trades that no bust has undone."""
    events = status.each_once(executions)
    standing = status.trades(events).filter(pl.col("last_qty") > 0).select(exec_id="trade_id")
    at = pl.col("transact_time")
    made = events.join(standing, on="exec_id", how="semi")
    return made.group_by("order_id").agg(first_fill=at.min(), last_fill=at.max())


def _seconds(until: str) -> pl.Expr:
    """From entry to a time, in seconds."""
    return (pl.col(until) - pl.col("entered")).dt.total_nanoseconds() / 1e9


def _system(order_ids: pl.Series) -> pl.Expr:
    """The system that took each order."""
    codes = (order_ids // 2**48).unique().to_list()
    names = {code: origin(code).system for code in codes}
    return (pl.col("order_id") // 2**48).replace_strict(names, return_dtype=pl.String)


def added_up(orders: pl.DataFrame, by: str | Sequence[str] = "account") -> pl.DataFrame:
    """The execution quality of many orders (:func:`of_orders`), by one or several of :data:`BY`.

    :returns: the columns of ``by``; ``orders`` and ``filled`` (how many, and how many of them
        whole), ``order_qty, cum_qty``; ``fill_rate``: shares filled of shares ordered; ``cost``:
        slippage times shares filled, in the currency; ``slippage_bp``: cost in basis points of the
        same shares at their mids; ``first_fill_s, ahead_qty``: medians.
    :raises InvalidValue: ``by`` is something else.
    """
    names = [by] if isinstance(by, str) else list(by)
    for name in names:
        given.one_of("by", name, BY)
    priced = pl.col("cum_qty").filter(pl.col("slippage").is_not_null())
    cost = (pl.col("slippage") * pl.col("cum_qty")).sum()
    worth = (priced * pl.col("mid").filter(pl.col("slippage").is_not_null())).sum()
    return (
        orders.group_by(names)
        .agg(
            pl.len().alias("orders"),
            (pl.col("fill_rate") >= 1).sum().alias("filled"),
            pl.col("order_qty", "cum_qty").sum(),
            (pl.col("cum_qty").sum() / pl.col("order_qty").sum()).alias("fill_rate"),
            cost.alias("cost"),
            pl.when(worth > 0).then(cost / worth * market.BASIS_POINTS).alias("slippage_bp"),
            pl.col("first_fill_s", "ahead_qty").median(),
        )
        .sort(names)
    )


def queue(changes: pl.DataFrame, order_id: object) -> pl.DataFrame:
    """What stood ahead of an order at its price, from its place in the queue until it left it.

    :param changes: :func:`tradesys.analytics.market.changes`.
    :param order_id: as the changes have it.
    :returns: a row a change of what is ahead, from when the order had its last place:
        ``transact_time, ahead_qty, ahead_orders``.
    :raises InvalidValue: the order never rested.
    """
    own = changes.filter(pl.col("order_id") == order_id, pl.col("placed").is_not_null())
    if not len(own):
        raise InvalidValue("order_id", order_id, "an order that rested in this market")
    place, left = own.row(-1, named=True), own["seq"][-1]
    at = own.filter(pl.col("seq") == place["placed"]).tail(1)
    ahead = changes.filter(
        *(pl.col(name) == place[name] for name in ("symbol", "side", "price")),
        pl.col("placed") < place["placed"],
        pl.col("seq") < left,
    )
    sums = pl.col("qty", "orders").cum_sum().name.prefix("ahead_")
    return (
        pl.concat([ahead, at.with_columns(qty=pl.lit(0, pl.Int64), orders=pl.lit(0, pl.Int32))])
        .sort("seq")
        .select("seq", "transact_time", sums)
        .filter(pl.col("seq") >= at["seq"][0])
        .drop("seq")
    )
