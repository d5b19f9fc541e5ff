"""Holdings and cash, aggregated from records: the definition.

A balance is what the firm has posted plus what has traded and is not posted yet, so an answer does
not wait for clearing and counts each fill exactly once, however the two kinds of record race. A
bust takes a fill out again, whether or not the firm has posted it (FIX 4.4 tag 150 = H). What the
firm charges for a fill counts from when it is posted.
"""

import polars as pl

from tradesys import status
from tradesys.records import CURRENCY, FIRMS_OWN, Side


def moved(fills: pl.DataFrame) -> pl.DataFrame:
    """Fills with what they move at the customer: ``shares``, and ``cash`` in 1/10,000."""
    sign = pl.when(pl.col("side") == Side.BUY).then(1).otherwise(-1)
    return fills.with_columns(
        shares=sign * pl.col("last_qty"),
        cash=-sign * pl.col("last_qty") * pl.col("last_px"),
    )


def uncleared(postings: pl.DataFrame, executions: pl.DataFrame) -> pl.DataFrame:
    """The fills whose balances the firm has yet to move, with how often, as ``owed``: 1 or -1.

    Every event is posted by its own ``exec_id``: a fill or correction as what it moves, a bust or
    correction also as the opposite of what it refers to. So a fill is owed if it is effective, less
    if it is posted, and again if the posting of what refers to it has taken it back.
    """
    posted = postings["exec_id"].drop_nulls().unique().implode()
    events = status.each_once(executions)
    reverses = events.filter(status.refers(), pl.col("exec_id").is_in(posted))
    reversed_ = reverses["exec_ref_id"].drop_nulls().unique().implode()
    owed = (
        pl.col("effective").cast(pl.Int64)
        - pl.col("exec_id").is_in(posted).cast(pl.Int64)
        + pl.col("exec_id").is_in(reversed_).cast(pl.Int64)
    )
    return moved(status.trades(executions)).with_columns(owed=owed)


def due(postings: pl.DataFrame, executions: pl.DataFrame) -> pl.DataFrame:
    """What each event is to be posted as: the columns of :func:`moved`, and ``exec_ref_id``.

    A fill or correction moves what it says. A correction or bust takes back what it refers to:
    a further row of it, with ``times`` -1 and the opposite ``shares`` and ``cash``; of several that
    refer to the same, only of the first one posted.
    """
    fills = moved(status.trades(executions)).drop("effective", "exec_ref_id")
    posted = postings.group_by("exec_id").agg(first=pl.col("record_id").min())
    takes_back = (
        status.each_once(executions)
        .filter(status.refers())
        .join(posted, on="exec_id", how="left")
        .sort("first", "exec_id", nulls_last=True)
        .unique("exec_ref_id", keep="first", maintain_order=True)
        .select("exec_id", "exec_ref_id", "record_id", "transact_time")
    )
    taken_back = takes_back.join(
        fills.drop("record_id", "transact_time"), left_on="exec_ref_id", right_on="exec_id"
    ).with_columns(-pl.col("shares", "cash"), times=pl.lit(-1))
    own = fills.with_columns(times=pl.lit(1))
    return pl.concat([own, taken_back], how="diagonal")


def positions(postings: pl.DataFrame, executions: pl.DataFrame) -> pl.DataFrame:
    """Balances per account and asset, sorted by both, accounts of customers only.

    :returns: ``account, asset, booked, uncleared, amount``: int64, in shares of a symbol or, for
        cash, in 1/10,000 of the currency; ``amount`` is the sum of the other two.
    """
    waiting = uncleared(postings, executions)
    legs = pl.concat(
        [
            postings.filter(~pl.col("account").is_in(FIRMS_OWN)).select(
                "account", "asset", booked="amount", uncleared=pl.lit(0, pl.Int64)
            ),
            *(
                waiting.select(
                    "account",
                    asset=asset,
                    booked=pl.lit(0, pl.Int64),
                    uncleared=pl.col("owed") * pl.col(amount),
                )
                for asset, amount in ((pl.col("symbol"), "shares"), (pl.lit(CURRENCY), "cash"))
            ),
        ]
    )
    return (
        legs.group_by("account", "asset")
        .agg(pl.col("booked", "uncleared").sum())
        .with_columns(amount=pl.col("booked") + pl.col("uncleared"))
        .sort("account", "asset")
    )
