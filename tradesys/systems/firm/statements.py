"""What an account is told of its day, and what it owns settled and unsettled: from the postings.

A posting belongs to the trading day of the event that it clears, whenever the firm came to post
it, and is settled from its ``settle_date`` on; nothing is stored for either.
"""

import datetime as dt
from typing import NamedTuple

import polars as pl

from tradesys.records.schemas import CURRENCY, FEES, FIRMS_OWN
from tradesys.records.trading_calendar import Calendar
from tradesys.status import definition as status

_OF_EVENT = ("transact_time", "exec_type", "exec_ref_id", "order_id", "symbol", "last_px")


class Statement(NamedTuple):
    """An account's day. Amounts are int64, in shares or, for cash, in 1/10,000 of the currency.

    ``fills``: a row each event that was posted, busts and corrections included: ``exec_id``,
    ``transact_time`` (in the exchange's zone), ``exec_type``, ``exec_ref_id``, ``order_id``,
    ``symbol``, ``last_px``, ``settle_date``, ``shares`` and ``cash`` as they moved, and the ``fee``
    that was charged. ``balances``: a row each asset, as :func:`settlement`; what has changed is
    what the fills come to, less their fees.
    """

    account: str
    day: dt.date
    fills: pl.DataFrame
    balances: pl.DataFrame


def cash_lines(told: Statement) -> pl.DataFrame:
    """The cash of a statement line by line: the opening balance, each fill, the closing balance.

    The lines add up: the last ``cash`` is the sum of those before it less their fees.

    :returns: the columns of :attr:`Statement.fills` behind ``line``, which says what each is.
    """
    cash = told.balances.filter(pl.col("asset") == CURRENCY)
    ends = [cash.select(pl.lit(end).alias("line"), cash=end) for end in ("opening", "closing")]
    fills = told.fills.rename({"exec_type": "line"})
    return pl.concat([ends[0], fills, ends[1]], how="diagonal").select(fills.columns)


def entries(postings: pl.DataFrame, executions: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """The postings, with what each says of its event and the ``day`` that it belongs to."""
    events = status.each_once(executions).select("exec_id", *_OF_EVENT)
    joined = postings.join(events, on="exec_id", how="left", maintain_order="left")
    time = joined.select(pl.coalesce("transact_time", "ts")).to_series()
    return joined.with_columns(
        transact_time=time.dt.convert_time_zone(calendar.zone),
        day=pl.Series(calendar.trading_days(time.dt.timestamp("ns").to_numpy())),
    )


def settlement(entries: pl.DataFrame, day: dt.date) -> pl.DataFrame:
    """What every account owns at the end of a day, and how much of it is settled.

    :returns: ``account, asset, opening, change, closing, settled, unsettled``, sorted by both;
        ``closing`` is ``opening + change``, and ``settled + unsettled``. An opening balance that
        was posted on the day is in ``opening``.
    """
    amount, on_day = pl.col("amount"), (pl.col("day") == day) & pl.col("exec_id").is_not_null()
    return (
        entries.filter(pl.col("day") <= day)
        .group_by("account", "asset")
        .agg(
            opening=amount.filter(~on_day).sum(),
            change=amount.filter(on_day).sum(),
            closing=amount.sum(),
            settled=amount.filter(pl.col("settle_date") <= day).sum(),
        )
        .with_columns(unsettled=pl.col("closing") - pl.col("settled"))
        .sort("account", "asset")
    )


def statement(entries: pl.DataFrame, account: str, day: dt.date) -> Statement:
    """The statement of one account's day."""
    that_day = entries.filter(pl.col("day") == day, pl.col("exec_id").is_not_null())
    is_cash = pl.col("asset") == CURRENCY
    fees = that_day.filter(pl.col("account") == FEES, account not in FIRMS_OWN)
    fills = (
        that_day.filter(pl.col("account") == account)
        .group_by("exec_id", maintain_order=True)
        .agg(
            pl.col(*_OF_EVENT, "settle_date").first(),
            shares=pl.col("amount").filter(~is_cash).sum(),
            cash=pl.col("amount").filter(is_cash).sum(),
        )
        .join(fees.group_by("exec_id").agg(fee=pl.col("amount").sum()), on="exec_id", how="left")
        .with_columns(pl.col("fee").fill_null(0))
        .with_columns(cash=pl.col("cash") + pl.col("fee"))
        .sort("transact_time", "exec_id")
    )
    balances = settlement(entries.filter(pl.col("account") == account), day).drop("account")
    return Statement(account, day, fills, balances)
