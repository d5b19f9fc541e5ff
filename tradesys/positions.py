"""Holdings and cash, aggregated from records: the definition.

A balance is what the firm has posted plus what has traded and is not posted yet, so an answer does
not wait for clearing and counts each fill exactly once, however the two kinds of record race.
"""

import polars as pl

from tradesys.records import CURRENCY, ExecType, Side

CLEARING = "clearing"
"""The firm's own account that takes the other leg of every fill."""

CAPITAL = "capital"
"""The firm's own account that takes the other leg of every opening balance."""


def trades(executions: pl.DataFrame) -> pl.DataFrame:
    """The fills, each event once, with the signed ``shares`` and ``cash`` of the customer."""
    sign = pl.when(pl.col("side") == Side.BUY).then(1).otherwise(-1)
    return (
        executions.filter(pl.col("exec_type") == ExecType.TRADE)
        .unique("exec_id", keep="first", maintain_order=True)
        .with_columns(
            shares=sign * pl.col("last_qty"),
            cash=-sign * pl.col("last_qty") * pl.col("last_px"),
        )
    )


def positions(postings: pl.DataFrame, executions: pl.DataFrame) -> pl.DataFrame:
    """Balances per account and asset, sorted by both, accounts of customers only.

    :returns: ``account, asset, booked, uncleared, amount``: int64, in shares of a symbol or, for
        cash, in 1/10,000 of the currency; ``amount`` is the sum of the other two.
    """
    waiting = trades(executions).join(postings, on="exec_id", how="anti")
    legs = pl.concat(
        [
            postings.filter(~pl.col("account").is_in([CLEARING, CAPITAL])).select(
                "account", "asset", booked="amount", uncleared=pl.lit(0, pl.Int64)
            ),
            waiting.select(
                "account",
                asset="symbol",
                booked=pl.lit(0, pl.Int64),
                uncleared="shares",
            ),
            waiting.select(
                "account",
                asset=pl.lit(CURRENCY),
                booked=pl.lit(0, pl.Int64),
                uncleared="cash",
            ),
        ]
    )
    return (
        legs.group_by("account", "asset")
        .agg(pl.col("booked", "uncleared").sum())
        .with_columns(amount=pl.col("booked") + pl.col("uncleared"))
        .sort("account", "asset")
    )
