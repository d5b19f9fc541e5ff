"""Charts of how good markets are and how well orders did, of :mod:`tradesys.analytics` frames."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tradesys.widgets.svg_drawings import PALETTE

_HOUR = pl.col("seconds") / 3600
_OF_MARKETS = {
    "spread": ("spread, USD", pl.col("spread")),
    "depth": ("depth, shares", pl.col("depth")),
    "volume": ("volume, shares an hour", pl.col("volume") / _HOUR),
    "volatility": ("volatility of an hour, bp", pl.col("volatility_bp") / _HOUR.sqrt()),
}
_OF_EXECUTIONS = {
    "slippage": ("slippage, bp of the mid", pl.col("slippage_bp")),
    "fill": ("filled, of what was ordered", pl.col("fill_rate")),
    "wait": ("seconds to the first fill", pl.col("first_fill_s")),
    "ahead": ("shares ahead on entry", pl.col("ahead_qty")),
}
_Panels = Mapping[str, tuple[str, pl.Expr]]


def market_chart(markets: Mapping[str, pl.DataFrame]) -> Any:
    """Draw markets beside each other: spread, depth, and volume and volatility of an hour.

    :param markets: by what each is called, the symbols as a whole
        (:func:`tradesys.analytics.market_quality.over_time`).
    :returns: an Altair chart.
    """
    each = [quality.with_columns(market=pl.lit(name)) for name, quality in markets.items()]
    return _bars(pl.concat(each), "symbol", _OF_MARKETS, [*markets])


def execution_chart(summed: pl.DataFrame, by: str = "account") -> Any:
    """Draw execution quality: slippage, fill rate, time to the first fill, queue position.

    :param summed: :func:`tradesys.analytics.execution_quality.added_up`, by this alone.
    :returns: an Altair chart.
    """
    return _bars(summed.with_columns(market=pl.lit("")), by, _OF_EXECUTIONS, [""])


def queue_chart(queue: pl.DataFrame, title: str = "shares ahead") -> Any:
    """Draw how the queue before an order shrank.

    :param queue: :func:`tradesys.analytics.execution_quality.queue`.
    :returns: an Altair chart.
    """
    import altair as alt  # noqa: PLC0415 - it takes two seconds

    start = pl.col("transact_time").min()
    seconds = (pl.col("transact_time") - start).dt.total_nanoseconds() / 1e9
    rows = queue.select("ahead_qty", seconds=seconds).unique("seconds", keep="last").sort("seconds")
    return (
        alt.Chart(rows, title=title, width=420, height=150)
        .mark_area(interpolate="step-after", color=PALETTE[0], opacity=0.5, line=True)
        .encode(
            alt.X("seconds:Q", title="seconds since it came"),
            alt.Y("ahead_qty:Q", title="shares ahead", stack=None),
        )
    )


def _bars(frame: pl.DataFrame, by: str, panels: _Panels, markets: Sequence[str]) -> Any:
    """A panel of bars for each figure, a row for each value of ``by``, a colour for each market."""
    import altair as alt  # noqa: PLC0415 - as above

    rows = frame.select(by, "market", **{name: figure for name, (_, figure) in panels.items()})
    # A name without a figure in one panel keeps its row there.
    names = alt.Scale(domain=rows[by].unique().sort().to_list())
    colour = alt.Scale(domain=[*markets], range=list(PALETTE))
    charts = [
        alt.Chart(rows, width=150, height=alt.Step(14 if len(markets) > 1 else 24))
        .mark_bar()
        .encode(
            alt.X(f"{name}:Q", title=title, axis=alt.Axis(tickCount=3)),
            alt.Y(f"{by}:N", title=None, scale=names, axis=alt.Axis(labels=not n, ticks=not n)),
            alt.YOffset("market:N", sort=[*markets]),
            alt.Color("market:N", title=None, scale=colour, legend=_legend(markets)),
        )
        for n, (name, (title, _)) in enumerate(panels.items())
    ]
    return alt.hconcat(*charts)


def _legend(markets: Sequence[str]) -> Any:
    """A legend where there is something to tell apart."""
    import altair as alt  # noqa: PLC0415 - as above

    return alt.Legend(orient="bottom") if len(markets) > 1 else None
