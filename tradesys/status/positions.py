"""Holdings and cash, aggregated from records: the definition.

A balance is what the firm has posted plus what has traded and is not posted yet, so an answer does
not wait for clearing and counts each trade, and what the firm charges for it, once. Both are
amounts: of a trade that was corrected or busted (FIX 4.4 tag 150 = G and H), what stands less what
is booked.
"""

import polars as pl

from tradesys.records.opening_books import NO_FEES, Fees
from tradesys.records.schemas import (
    CLEARING,
    CURRENCY,
    FEES,
    FIRMS_OWN,
    RequestType,
    Side,
    cash_amount,
)
from tradesys.status import definition as status

IS_CASH = pl.col("asset") == CURRENCY


def scaled(rows: pl.DataFrame, instruments: pl.DataFrame | None) -> pl.DataFrame:
    """Rows of a ``symbol`` each, with the ``qty_scale`` of it: 1 where no instrument says it."""
    if instruments is None:
        return rows.with_columns(qty_scale=pl.lit(1, pl.Int64))
    scales = instruments.select("symbol", "qty_scale").unique("symbol")
    joined = rows.join(scales, on="symbol", how="left", maintain_order="left")
    return joined.with_columns(pl.col("qty_scale").fill_null(1))


def moved(
    trades: pl.DataFrame, fees: Fees = NO_FEES, instruments: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Trades with what they move at the customer: ``shares``; ``cash``, less the ``fee``.

    Cash is :func:`~tradesys.records.schemas.cash_amount` of each trade.
    """
    sign = pl.when(pl.col("side") == Side.BUY).then(1).otherwise(-1)
    qty, scale = pl.col("last_qty"), pl.col("qty_scale")
    amount = cash_amount(qty, pl.col("last_px"), scale)
    fee = fees.of(qty, amount, scale)
    rows = scaled(trades, instruments)
    return rows.with_columns(shares=sign * qty, cash=-sign * amount - fee, fee=fee).drop(
        "qty_scale"
    )


def booked(postings: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """What is posted for trades at customers, and as fees, with the ``trade_id`` of each.

    Of an event that is not among these ``events`` that is its own id.
    """
    amended = status.amendments(events).select("exec_id", "trade_id")
    return (
        postings.filter(pl.col("account") != CLEARING, pl.col("exec_id").is_not_null())
        .join(amended, on="exec_id", how="left")
        .with_columns(trade_id=pl.coalesce("trade_id", "exec_id"))
    )


def uncleared(
    postings: pl.DataFrame,
    executions: pl.DataFrame,
    fees: Fees = NO_FEES,
    instruments: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """What each trade that is held has yet to move at its customer, a row a trade.

    It is what stands of the trade less what the postings of its events have booked, of those events
    that are held: zero once it is cleared.

    :returns: the columns of :func:`tradesys.status.definition.trades`; ``shares``, and ``cash``
    less the fee.
    """
    events, amount = status.each_once(executions), pl.col("amount")
    sums = (
        booked(postings, events)
        .filter(pl.col("account") != FEES)
        .group_by("trade_id")
        .agg(
            shares_booked=amount.filter(~IS_CASH).sum(),
            cash_booked=amount.filter(IS_CASH).sum(),
        )
    )
    return (
        moved(status.trades(events), fees, instruments)
        .join(sums, on="trade_id", how="left")
        .with_columns(
            pl.col("shares") - pl.col("shares_booked").fill_null(0),
            pl.col("cash") - pl.col("cash_booked").fill_null(0),
        )
    )


def positions(
    postings: pl.DataFrame,
    executions: pl.DataFrame,
    fees: Fees = NO_FEES,
    instruments: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Balances per account and asset, sorted by both, accounts of customers only.

    :returns: ``account, asset, booked, uncleared, amount``: int64, in units of the
        symbol's ``qty_scale`` or, for cash, in 1/10,000 of the currency; ``amount`` is the sum of
        the other two.
    """
    waiting = uncleared(postings, executions, fees, instruments)
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
                    uncleared=amount,
                )
                for asset, amount in (("symbol", "shares"), (pl.lit(CURRENCY), "cash"))
            ),
        ],
        how="vertical_relaxed",
    )
    return (
        legs.group_by("account", "asset")
        .agg(pl.col("booked", "uncleared").sum())
        .with_columns(amount=pl.col("booked") + pl.col("uncleared"))
        .sort("account", "asset")
    )


def reserved(
    requests: pl.DataFrame,
    executions: pl.DataFrame,
    fees: Fees = NO_FEES,
    instruments: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """What each order may still use: shares of a sale; cash of a purchase, its fees included.

    A replace that waits for an answer counts as granted where it asks for more. An order without a
    price uses no cash that could be told.

    :returns: ``order_id, account, asset, reserved`` (int64, shares or 1/10,000), by ``order_id``.
    """
    orders = status.facts(requests, executions).with_columns(status.leaves())
    asked = status.asked(requests, executions).filter(pl.col("request_type") == RequestType.REPLACE)
    granted = orders.filter(~status.is_over()).join(asked, on="order_id", suffix="_asked")
    further = (pl.col("order_qty_asked") - pl.col("cum_qty")).clip(lower_bound=0)
    granted = granted.with_columns(leaves_qty=further, price="price_asked")
    qty, scale, buys = pl.col("leaves_qty"), pl.col("qty_scale"), pl.col("side") == Side.BUY
    amount = cash_amount(qty, pl.col("price"), scale)
    spends = amount + fees.of(qty, amount, scale)
    return (
        scaled(pl.concat([orders, granted], how="diagonal"), instruments)
        .with_columns(
            asset=pl.when(buys).then(pl.lit(CURRENCY)).otherwise("symbol"),
            reserved=pl.when(buys).then(spends).otherwise(qty).fill_null(0),
        )
        .group_by("order_id")
        .agg(pl.col("account", "asset").first(), pl.col("reserved").max())
        .sort("order_id")
    )


def balances(
    requests: pl.DataFrame,
    executions: pl.DataFrame,
    postings: pl.DataFrame,
    fees: Fees = NO_FEES,
    instruments: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """:func:`positions`, and what open orders may still use of each: ``reserved``."""
    each = ["account", "asset"]
    uses = (
        reserved(requests, executions, fees, instruments)
        .group_by(each)
        .agg(pl.col("reserved").sum())
    )
    held = positions(postings, executions, fees, instruments).join(
        uses, on=each, how="left", maintain_order="left"
    )
    return held.with_columns(pl.col("reserved").fill_null(0))
