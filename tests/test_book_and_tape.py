"""Goal: on a real day the simulated order book executes the orders that the exchange did.

Method: the tape's orders, replaces and cancels go to a :class:`BookVenue`, and for each fill of the
tape an order comes that takes its shares at its price. Which resting order is hit is then the
book's decision. An execution counts where the tape shows the whole level that trades: our records
of the tape have, before it, the price and the shares that LOBSTER's order book file has.

What else happens, on these days to 8 of 7,233 fills and to 17 of 7,922:

- Several orders at one price are filled at one instant, and the file has them in another sequence
  than that in which they came. All of them are filled in the end.
- An order is filled while others rest on that came to its price before it; why, the tape does not
  say.
- The shares that the book took from another order than the tape are missing, or left over, when
  that order is to be filled later: a few more fills differ for that.
"""

from pathlib import Path

import polars as pl
import pytest

from tradesys.analytics import market
from tradesys.records.clock import ManualClock
from tradesys.records.schemas import REQUESTS
from tradesys.venue import BookVenue, tapes

KINDS = {
    "new": "new",
    "replaced": "replace",
    "canceled": "cancel",
    "expired": "cancel",
    "trade": "new",
}
TAKES = pl.col("exec_type") == "trade"


def as_requests(reports: pl.DataFrame) -> pl.DataFrame:
    """What is asked of the market: ``name`` is the tape's order, of a fill the one that it hit."""
    others = pl.col("side").replace_strict({"buy": "sell", "sell": "buy"})
    empty = {"cl_ord_id": pl.String, "orig_cl_ord_id": pl.String, "reject_reason": pl.String}
    number = pl.col("seq").cast(pl.UInt64)

    def where_taken(taken: pl.Expr | str, otherwise: pl.Expr | str) -> pl.Expr:
        return pl.when(TAKES).then(taken).otherwise(otherwise)

    return reports.rename({"order_id": "name", "transact_time": "ts"}).with_columns(
        record_id=number,
        request_type=pl.col("exec_type").replace_strict(KINDS),
        order_id=where_taken(number, number.first().over("name")),
        side=where_taken(others, "side"),
        time_in_force=where_taken(pl.lit("ioc"), "time_in_force"),
        order_qty=where_taken("last_qty", "order_qty"),
        price=where_taken("last_px", "price"),
        account=pl.lit("a"),
        expire_time=pl.lit(None, pl.Datetime("ns", "UTC")),
        **{name: pl.lit(None, kind) for name, kind in empty.items()},
    )


def executed(requests: pl.DataFrame) -> pl.DataFrame:
    """Of each fill of the tape the orders that the book hit, by their names: ``hit, shares``."""
    venue = BookVenue(clock=ManualClock(requests["ts"].dt.timestamp("ns")[0]))
    table = requests.select(REQUESTS.names).to_arrow(compat_level=pl.CompatLevel.oldest())
    venue.send(table.cast(REQUESTS).combine_chunks().to_batches()[0])
    reports = pl.DataFrame(venue.reports.table()).with_columns(rested=pl.col("order_id").shift(1))
    names = requests.filter(exec_type="new").select(rested="record_id", hit="name")
    return (
        reports.filter(TAKES, pl.col("time_in_force") == "ioc")
        .join(names, on="rested", how="left", maintain_order="left")
        .group_by("order_id", maintain_order=True)
        .agg("hit", shares=pl.col("last_qty").sum(), at=pl.col("last_px").unique())
    )


def shown_whole(reports: pl.DataFrame, book: pl.DataFrame) -> pl.DataFrame:
    """Of each fill of the tape, whether our best price and shares before it are the file's."""
    best = market.touch(market.changes(reports)).select(
        "seq", "symbol", "bid", "bid_qty", "ask", "ask_qty"
    )
    fills = market.before(reports.filter(TAKES), best, ["symbol"])
    # Row n of the file is the book after event n.
    rows = book.with_row_index("exec_id").with_columns(pl.col("exec_id").cast(pl.UInt64) + 1)
    bids, asks = (
        (pl.col(side) == pl.col(f"{side}_price_1"))
        & (pl.col(f"{side}_qty") == pl.col(f"{side}_size_1"))
        for side in ("bid", "ask")
    )
    whole = pl.when(pl.col("side") == "buy").then(bids).otherwise(asks)
    return fills.join(rows, on="exec_id", how="left").select("seq", whole=whole)


@pytest.mark.parametrize(("symbol", "levels"), [("GOOG", 10), ("AMZN", 5)])
def test_the_book_hits_the_order_that_the_tape_hit(
    real_data: Path, symbol: str, levels: int
) -> None:
    folder = real_data / "lobster"
    tape = tapes.read(folder / f"{symbol}_message_{levels}.parquet", date="2012-06-21")
    reports = market.reports_of_tape(tape, levels=levels)
    requests = as_requests(reports)
    book = pl.read_parquet(folder / f"{symbol}_orderbook_{levels}.parquet")
    fills = (
        requests.filter(TAKES)
        .select("seq", "order_id", "name", "last_qty", "last_px")
        .join(executed(requests), on="order_id", how="left")
        .join(shown_whole(reports, book), on="seq")
        .with_columns(
            same=(pl.col("hit").list.len() == 1)
            & (pl.col("hit").list.first() == pl.col("name"))
            & (pl.col("shares") == pl.col("last_qty")),
        )
    )
    assert len(fills) == len(tape.fills)
    whole = fills.filter("whole")
    assert len(whole) > 0.95 * len(fills), "the tape shows the whole level of almost every fill"
    assert whole.select(pl.col("same").mean()).item() >= 0.99
    other = fills.filter(~pl.col("same"))
    assert len(other) < 0.0025 * len(fills)
    at_its_price = (pl.col("at").list.len() == 1) & (pl.col("at").list.first() == pl.col("last_px"))
    assert other.select(at_its_price.mean()).item() > 0.8, "it is the sequence within a level"
