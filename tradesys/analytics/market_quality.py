"""How good a market is to trade in: spread, depth, volume and volatility over time.

The same for a tape and for what a system holds of a market (:mod:`tradesys.analytics.market`).
"""

import polars as pl

from tradesys.analytics import market

_MINUTE = "1m"
_BEST = ("bid", "bid_qty", "ask", "ask_qty")
_HAS_BOTH = (pl.col("bid") < pl.col("ask")).fill_null(value=False)


def over_time(reports: pl.DataFrame, every: str | None = None) -> pl.DataFrame:
    """Spread, depth, volume and volatility of each symbol, as a whole or per span of time.

    Averages are weighted by how long each state of the book lasted, of the time in which it had a
    bid and an ask.

    :param every: the length of a span, in whole minutes: ``"5m"``, ``"1h"``; None is the whole.
    :returns: ``symbol``, ``time`` (the start of the span; where ``every`` is given), and

        - ``seconds``: how long the book had both sides;
        - ``mid``, ``spread``: averages in the currency; ``spread_bp``: the spread in basis points
          of the mid;
        - ``depth``: the average of the shares at the best bid and at the best ask;
        - ``trades``, ``volume``: matches, and their shares, each counted once;
        - ``volatility_bp``: the square root of the sum of the squared log returns of the mid from
          minute to minute, in basis points (the realised volatility of the span, not annualised).
    """
    states = _states(market.touch(market.changes(reports)))
    keys = ["symbol"] if every is None else ["symbol", "time"]
    lasts = pl.col("seconds").sum()
    of_book = (
        _timed(states.filter(_HAS_BOTH), every)
        .group_by(keys)
        .agg(
            lasts,
            *((pl.col(n) * pl.col("seconds")).sum() / lasts for n in ("mid", "spread", "depth")),
        )
    )
    minutes = states.filter("is_minute", _HAS_BOTH).with_columns(
        squared=pl.col("mid").log().diff().over("symbol") ** 2
    )
    moved = (
        _timed(minutes, every)
        .group_by(keys)
        .agg(volatility_bp=pl.col("squared").sum().sqrt() * market.BASIS_POINTS)
    )
    traded = (
        _timed(matches(reports), every)
        .group_by(keys)
        .agg(trades=pl.len().cast(pl.Int64), volume=pl.col("last_qty").sum())
    )
    return (
        of_book.with_columns(spread_bp=pl.col("spread") / pl.col("mid") * market.BASIS_POINTS)
        .join(traded, on=keys, how="left")
        .join(moved, on=keys, how="left")
        .with_columns(pl.col("trades", "volume").fill_null(0))
        .select(*keys, *_QUALITY)
        .sort(keys)
    )


_QUALITY = ("seconds", "mid", "spread", "spread_bp", "depth", "trades", "volume", "volatility_bp")


def _timed(frame: pl.DataFrame, every: str | None) -> pl.DataFrame:
    """Rows with the span of time that they are in, where spans are asked for."""
    if every is None:
        return frame
    return frame.with_columns(time=pl.col("transact_time").dt.truncate(every))


def _states(best: pl.DataFrame) -> pl.DataFrame:
    """The best prices after each change and at each minute, and how long they lasted.

    :returns: ``symbol, transact_time``, the best prices and shares; ``seconds`` until the next
        change or minute, ``mid, spread, depth``; ``is_minute``.
    """
    changed = best.select("symbol", "transact_time", *_BEST)
    at = pl.col("transact_time")
    first, last = at.min().dt.truncate(_MINUTE).dt.offset_by(_MINUTE), at.max()
    minutes = (
        changed.group_by("symbol")
        .agg(pl.datetime_range(first, last, _MINUTE, time_unit="ns").alias("transact_time"))
        .explode("transact_time")
        .drop_nulls()
        .sort("transact_time")
        .join_asof(
            changed.sort("transact_time", maintain_order=True),
            on="transact_time",
            by="symbol",
            allow_exact_matches=False,
            check_sortedness=False,
        )
    )
    lasted = at.shift(-1).over("symbol") - at
    # A minute's state is the one before whatever happens at that very moment.
    return (
        pl.concat(
            [
                minutes.with_columns(is_minute=pl.lit(value=True)),
                changed.with_columns(is_minute=pl.lit(value=False)),
            ]
        )
        .sort("symbol", "transact_time", maintain_order=True)
        .with_columns(
            seconds=lasted.fill_null(pl.duration()).dt.total_nanoseconds() / 1e9,
            mid=market.MID,
            spread=market.SPREAD,
            depth=(pl.col("bid_qty") + pl.col("ask_qty")) / 2,
        )
    )


def matches(reports: pl.DataFrame) -> pl.DataFrame:
    """The trades of resting orders: each match once, whether or not the other side is reported.

    A market that reports both sides reports the resting order's first, then the other's, which has
    had no other report since what made it trade.
    """
    same = ("symbol", "exec_type", "last_qty", "last_px")
    mirrored = pl.all_horizontal(pl.col(n) == pl.col(n).shift(1) for n in same)
    mirrored &= pl.col("side") != pl.col("side").shift(1)
    since = pl.col("exec_id") - pl.col("exec_id").shift(1).over("order_id")
    is_aggressor = (mirrored & (since == 2)).fill_null(value=False)
    return (
        reports.with_columns(takes=is_aggressor)
        .filter(market.IS_TRADE, ~pl.col("takes"))
        .drop("takes")
    )
