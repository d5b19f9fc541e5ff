"""Fitting a flow of orders to a recorded one: how often, how much, how far off, for how long."""

from typing import Any

import numpy as np
import polars as pl

from tradesys.analytics import market, market_quality
from tradesys.network.fitted_flow import Habits
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import ExecType, Side
from tradesys.status import definition as status

_POINTS = 200
"""So many values stand for a distribution: its quantiles, evenly spaced."""


def fit(reports: pl.DataFrame) -> dict[str, Habits]:
    """The habits of the customers of each symbol, from reports of a tape or of a market.

    - Who takes is seen in the trades: those of one time on one side are one order.
    - How far away an order rests is from the best price of the other side, before it came.
    - An order is canceled if it ends before it is filled, seen or unseen; how long it lived is
      taken from the ends that were seen.

    Rates are averages from the first report to the last.

    :param reports: :func:`tradesys.analytics.market.reports_of_tape`, or ``reports``.
    :raises InvalidValue: a symbol never had a bid and an ask, or all happened at one time.
    """
    best = market.touch(market.changes(reports))
    ends = reports.filter(status.says(*status.ENDS)).unique("order_id", keep="first")
    entered = market.before(
        reports.filter(status.says(ExecType.NEW), market.MAY_REST),
        best.select("seq", "symbol", "bid", "ask"),
        ["symbol"],
    ).join(ends.select("order_id", end="transact_time", how="exec_type"), on="order_id", how="left")
    at, taken = reports["transact_time"].dt.timestamp("ns"), _taken(reports)
    seconds = (at[-1] - at[0]) / 1e9 if len(at) else 0.0
    habits = {}
    for symbol in reports["symbol"].unique().sort():
        parts = (part.filter(symbol=symbol) for part in (entered, best, taken))
        habits[symbol] = _of_symbol(seconds, *parts)
    return habits


def _taken(reports: pl.DataFrame) -> pl.DataFrame:
    """The orders that took what rested: ``symbol``, and ``qty`` in shares."""
    each = ["symbol", "transact_time", "side"]
    return market_quality.matches(reports).group_by(each).agg(qty=pl.col("last_qty").sum())


def _of_symbol(
    seconds: float, entered: pl.DataFrame, best: pl.DataFrame, taken: pl.DataFrame
) -> Habits:
    other = pl.when(pl.col("side") == Side.BUY.value).then("ask").otherwise("bid")
    away = entered.select(market.SIGN * (other - pl.col("price"))).to_series().drop_nulls()
    both = best.filter(pl.col("bid") < pl.col("ask"))
    if both.is_empty() or away.is_empty() or not seconds:
        symbol = best["symbol"].first()
        raise InvalidValue("tape", symbol, "orders on both sides of each symbol, for some time")
    lives = entered.filter(pl.col("how") == ExecType.CANCELED.value).select(
        (pl.col("end") - pl.col("transact_time")).dt.total_nanoseconds() / 1e9
    )
    orders = len(entered) + len(taken)
    return Habits(
        per_second=orders / seconds,
        taking=len(taken) / orders,
        taken_qty=_sample(taken["qty"]) or (1,),
        order_qty=_sample(entered["order_qty"]),
        away=_sample(away),
        canceled=entered["how"].count() / len(entered),
        lifetime_s=_sample(lives.to_series().clip(1e-9)) or (1.0,),
        bid=both["bid"][0],
        ask=both["ask"][0],
    )


def _sample(values: pl.Series) -> tuple[Any, ...]:
    """Values that stand for all of these, as likely each; none for none."""
    if not len(values):
        return ()
    places = (2 * np.arange(_POINTS) + 1) * len(values) // (2 * _POINTS)
    return tuple(values.sort().gather(places))
