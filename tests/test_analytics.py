"""Goal: the figures that a desk asks for are what their definitions say, in the units they say.

Method: a session of six orders worked out by hand; a made-up session, a generated day and real days
against plain loops over their events, which share nothing with the package; real days against the
order book that came with them.
"""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from tests.build import NOON, PRICE, filled, network, submit
from tradesys.analytics import execution_quality, market, market_quality
from tradesys.network import Network
from tradesys.network.scenario import session
from tradesys.network.tape_replay import open_network, replay
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue
from tradesys.venue import BookVenue, tapes

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "sample"
SECOND = 10**9
CENT = 100


# ---- by hand


@pytest.fixture(scope="module")
def desk() -> Network:
    """Two buyers queue at 20.00 below a seller at 20.10; each side is hit once."""
    clock = ManualClock(NOON)
    made = network(2, 1, clock=clock)
    c1, c2 = made.customers

    def at(seconds: int) -> None:
        made.run()
        clock.now = NOON + seconds * SECOND

    submit(c1, account="bob", side="sell", price=PRICE + 10 * CENT)
    at(10)
    submit(c1)
    at(20)
    submit(c2, account="bob", order_qty=50)
    at(30)
    submit(c1, order_qty=60, price=PRICE + 10 * CENT)
    at(40)
    submit(c2, account="bob", side="sell", order_qty=120, price=None)
    at(130)
    last = submit(c2, order_qty=10, price=PRICE + 4 * CENT)
    at(190)
    c1.cancel(last)
    made.run()
    return made


def rows(frame: pl.DataFrame, *names: str) -> list[tuple[Any, ...]]:
    return frame.select(pl.col(pl.Float64).round(4), pl.exclude(pl.Float64)).select(names).rows()


def test_slippage_is_against_the_mid_before_the_order_came_and_positive_where_it_costs(
    desk: Network,
) -> None:
    orders = execution_quality.of_orders(desk["c2"])
    assert rows(orders, "side", "mid", "spread", "avg_px", "slippage", "slippage_bp") == [
        ("sell", None, None, 20.10, None, None),
        ("buy", None, None, 20.00, None, None),
        ("buy", 20.05, 0.10, 20.10, 0.05, 24.9377),
        ("buy", 20.05, 0.10, 20.00, -0.05, -24.9377),
        ("sell", 20.05, 0.10, 20.00, 0.05, 24.9377),
        ("buy", 20.05, 0.10, None, None, None),
    ]


def test_fills_are_timed_from_entry_in_seconds(desk: Network) -> None:
    orders = execution_quality.of_orders(desk["c1"])
    assert rows(orders, "fill_rate", "first_fill_s", "filled_s") == [
        (0.6, 30.0, None),
        (1.0, 30.0, 30.0),
        (1.0, 0.0, 0.0),
        (0.4, 20.0, None),
        (1.0, 0.0, 0.0),
        (0.0, None, None),
    ]


def test_the_queue_position_is_what_rests_at_the_price_on_entry(desk: Network) -> None:
    orders = execution_quality.of_orders(desk["c1"])
    ahead = orders.select("system", "ahead_qty", "ahead_orders").rows()
    assert ahead == [("c1", 0, 0)] * 3 + [("c2", 100, 1), ("c2", 0, 0), ("c2", 0, 0)]


def test_a_queue_shrinks_as_those_ahead_trade(desk: Network) -> None:
    changes = market.changes(market.reports(desk["c1"].tables["executions"].frame))
    orders = execution_quality.of_orders(desk["c1"])["order_id"]
    place = execution_quality.queue(changes, orders[3])
    seconds = (place["transact_time"].dt.timestamp("ns") - NOON) // SECOND
    assert place.select(seconds, "ahead_qty", "ahead_orders").rows() == [(20, 100, 1), (40, 0, 0)]
    with pytest.raises(InvalidValue, match="expected an order that rested"):
        execution_quality.queue(changes, orders[4])


def test_execution_quality_is_added_up_by_shares(desk: Network) -> None:
    orders = execution_quality.of_orders(desk["c1"])
    names = ("account", "orders", "filled", "order_qty", "cum_qty", "fill_rate", "cost")
    assert rows(execution_quality.added_up(orders), *names) == [
        ("alice", 3, 2, 170, 160, round(160 / 170, 4), 60 * 0.05),
        ("bob", 3, 1, 270, 200, round(200 / 270, 4), -20 * 0.05 + 120 * 0.05),
    ]
    by_system = execution_quality.added_up(orders, ["system", "side"])
    assert rows(by_system, "system", "side", "slippage_bp", "first_fill_s", "ahead_qty") == [
        ("c1", "buy", 24.9377, 15.0, 0.0),
        ("c1", "sell", None, 30.0, 0.0),
        ("c2", "buy", -24.9377, 20.0, 50.0),
        ("c2", "sell", 24.9377, 0.0, 0.0),
    ]
    with pytest.raises(InvalidValue, match="by='venue': expected one of account, symbol, side"):
        execution_quality.added_up(orders, "venue")


def test_market_quality_weighs_each_state_by_how_long_it_lasted(desk: Network) -> None:
    reports = market.reports(desk["c1"].tables["executions"].frame)
    (whole,) = market_quality.over_time(reports).to_dicts()
    assert whole["seconds"] == pytest.approx(180)
    assert whole["spread"] == pytest.approx((120 * 0.10 + 60 * 0.06) / 180)
    assert whole["depth"] == pytest.approx((1000 + 1250 + 950 + 90 * 35 + 60 * 25) / 180)
    assert whole["mid"] == pytest.approx((120 * 20.05 + 60 * 20.07) / 180)
    assert whole["volatility_bp"] == pytest.approx(math.log(20.07 / 20.05) * 10_000)
    assert (whole["trades"], whole["volume"]) == (3, 180)


def test_market_quality_per_span_adds_up_to_the_whole(desk: Network) -> None:
    reports = market.reports(desk["c1"].tables["executions"].frame)
    (whole,) = market_quality.over_time(reports).to_dicts()
    spans = market_quality.over_time(reports, "1m")
    assert spans["seconds"].to_list() == pytest.approx([50, 60, 60, 10])
    assert spans["volume"].to_list() == [180, 0, 0, 0]
    weighted = (pl.col("spread") * pl.col("seconds")).sum() / pl.col("seconds").sum()
    assert spans.select(weighted).item() == pytest.approx(whole["spread"])
    squared = (pl.col("volatility_bp") ** 2).sum()
    assert spans.select(squared.sqrt()).item() == pytest.approx(whole["volatility_bp"])


# ---- against plain loops


class Before(NamedTuple):
    """The market before an order came."""

    bid: int | None
    ask: int | None
    ahead_qty: int
    ahead_orders: int


def played(reports: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Before]]:
    """Each report of one symbol with the market before it, order by order, in plain Python."""
    open_qty: dict[Any, int] = {}
    at: dict[Any, tuple[str, int]] = {}
    for row in reports:
        order, kind = row["order_id"], row["exec_type"]
        levels: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for other, qty in open_qty.items():
            levels[at[other]].append(qty)
        queue = levels.get((row["side"], row["price"]), [])
        prices = {side: [px for s, px in levels if s == side] for side in ("buy", "sell")}
        bid, ask = max(prices["buy"], default=None), min(prices["sell"], default=None)
        yield row, Before(bid, ask, sum(queue), len(queue))
        if kind == "new" and row["ord_type"] == "limit":
            open_qty[order], at[order] = row["order_qty"], (row["side"], row["price"])
        if order not in open_qty:
            continue
        if kind == "replaced":
            open_qty[order] += row["order_qty"] - row["before"]
            at[order] = row["side"], row["price"]
        if kind == "trade":
            open_qty[order] -= row["last_qty"]
        if kind in {"canceled", "expired"} or not open_qty[order]:
            del open_qty[order]


def plain_reports(desk: Network, symbol: str) -> list[dict[str, Any]]:
    """The market's own record, with the quantity in force before each report."""
    reports = pl.DataFrame(desk.venue.reports.table()).filter(pl.col("symbol") == symbol)
    in_force: dict[int, int] = {}
    found = []
    for row in reports.to_dicts():
        found.append(row | {"before": in_force.get(row["order_id"], 0)})
        in_force[row["order_id"]] = row["order_qty"]
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_the_market_before_each_order_is_that_of_a_plain_loop(seed: int) -> None:
    desk = session(orders=400, seed=seed).network
    orders = execution_quality.of_orders(desk["c3"])
    names = ("mid", "spread", "ahead_qty", "ahead_orders")
    found = {row[0]: row[1:] for row in rows(orders, "order_id", *names)}
    expected = {}
    for symbol in orders["symbol"].unique():
        for row, before in played(plain_reports(desk, symbol)):
            if row["exec_type"] == "new":
                mid = spread = None
                if before.bid is not None and before.ask is not None:
                    mid = round((before.bid + before.ask) / 20_000, 4)
                    spread = round((before.ask - before.bid) / 10_000, 4)
                expected[row["order_id"]] = (mid, spread, before.ahead_qty, before.ahead_orders)
    assert found == expected
    assert max(ahead for *_, ahead, _ in expected.values()) > 0


def test_slippage_and_times_are_those_of_a_plain_loop_over_fills() -> None:
    desk = session(orders=400).network
    orders = execution_quality.of_orders(desk["c1"])
    requests = desk["c1"].authoritative["requests"].frame
    entered = dict(requests.filter(request_type="new").select("order_id", "ts").iter_rows())
    trades = defaultdict(list)
    for row in desk.venue.reports.table().to_pylist():
        if row["exec_type"] == "trade":
            trades[row["order_id"]].append(row)
    for row in orders.filter(pl.col("cum_qty") > 0).to_dicts():
        fills = trades[row["order_id"]]
        qty = sum(f["last_qty"] for f in fills)
        average = sum(f["last_qty"] * f["last_px"] for f in fills) / qty / 10_000
        sign = 1 if row["side"] == "buy" else -1
        if row["mid"] is not None:
            assert row["slippage"] == pytest.approx(sign * (average - row["mid"]))
            assert row["slippage_bp"] == pytest.approx(row["slippage"] * 10_000 / row["mid"])
        waited = min(f["ts"].value for f in fills) - entered[row["order_id"]].timestamp() * 1e9
        assert row["first_fill_s"] == pytest.approx(waited / SECOND, abs=1e-5)
        assert row["fill_rate"] == qty / row["order_qty"]
        assert (row["filled_s"] is not None) == (qty == row["order_qty"])


def test_the_book_by_changes_is_the_market_s_own_after_replaces_busts_and_corrections() -> None:
    desk = session(orders=300).network
    assert isinstance(desk.venue, BookVenue)
    trades = pl.DataFrame(desk.venue.reports.table()).filter(exec_type="trade")["record_id"]
    desk.venue.amend([trades[0], trades[1]])
    desk.venue.amend([trades[8], trades[9]], last_qty=10)
    desk.run()
    reports = market.reports(desk["c1"].tables["executions"].frame)
    assert {"trade_cancel", "trade_correct", "replaced"} <= set(reports["exec_type"])
    levels = (
        market.changes(reports)
        .group_by("symbol", "side", "price")
        .agg(pl.col("qty", "orders").sum())
        .filter(pl.col("qty") != 0)
    )
    found = {row[:3]: row[3:] for row in levels.iter_rows()}
    expected = {
        (symbol, side, level.price): (level.qty, level.orders)
        for symbol, book in desk.venue.books.items()
        for side, half in zip(("buy", "sell"), book.depth(1000), strict=True)
        for level in half
    }
    assert found == expected


def test_a_match_counts_once_whether_a_market_reports_both_sides_or_one() -> None:
    desk = session(orders=300).network
    both = market.reports(desk["c1"].tables["executions"].frame)
    assert (
        2 * market_quality.matches(both)["last_qty"].sum() == desk["c1"].fills()["last_qty"].sum()
    )
    tape = tapes.read(SAMPLE)
    one = market_quality.matches(market.reports_of_tape(tape))
    assert one["last_qty"].sum() == tape.fills["last_qty"].sum()


def test_market_quality_of_a_generated_day_is_that_of_a_plain_loop_over_its_file() -> None:
    """The file's own lines, in Python, from one event to the next."""
    (path,) = SAMPLE.glob("ALFA_*")
    found = market_quality.over_time(market.reports_of_tape(tapes.read(path))).to_dicts()[0]
    book: dict[int, Counter[int]] = {1: Counter(), -1: Counter()}
    known: set[str] = set()
    last, both, spread, depth, volume, trades = 0, 0, 0, 0.0, 0, 0
    lines = path.read_text().splitlines()
    for time, kind, order, size_text, price_text, side_text in csv.reader(lines):
        size, price, side = int(size_text), int(price_text), int(side_text)
        if kind in "56" or (kind != "1" and order not in known):
            continue
        now = round(float(time) * SECOND)
        bids, asks = (+book[1]), (+book[-1])
        if bids and asks:
            bid, ask = max(bids), min(asks)
            both += now - last
            spread += (ask - bid) * (now - last)
            depth += (bids[bid] + asks[ask]) / 2 * (now - last)
        last = now
        known.add(order)
        book[side][price] += size if kind == "1" else -size
        volume, trades = volume + size * (kind == "4"), trades + (kind == "4")
    assert found["seconds"] == pytest.approx(both / SECOND)
    assert found["spread"] == pytest.approx(spread / both / 10_000)
    assert found["depth"] == pytest.approx(depth / both)
    assert (found["volume"], found["trades"]) == (volume, trades)


def test_a_tape_and_the_records_of_its_replay_are_the_same_market() -> None:
    tape = tapes.read(SAMPLE)
    desk = open_network(tape)
    replay(tape, desk)
    executions = desk["c2"].tables["executions"].frame
    ours = market_quality.over_time(market.reports(executions), "1h")
    theirs = market_quality.over_time(market.reports_of_tape(tape), "1h")
    for name in ("seconds", "spread", "depth", "volume", "trades"):
        assert ours[name].to_list() == pytest.approx(theirs[name].to_list()), name


# ---- what a tape does not show


def tape_of(tmp_path: Path, *lines: str) -> pl.DataFrame:
    path = tmp_path / "ECHO_2024-06-03_34200000_57600000_message_2.csv"
    path.write_text("".join(f"{34_200 + i}.0,{line}\n" for i, line in enumerate(lines)))
    return market.reports_of_tape(tapes.read(path), levels=2)


def ended(reports: pl.DataFrame) -> list[tuple[str, int]]:
    return reports.filter(exec_type="expired").select("order_id", "exec_id").rows()


@pytest.mark.parametrize(
    ("why", "lines", "gone"),
    [
        ("a sell rests at its price", ("1,1,10,5000,1", "1,2,10,5000,-1"), [("ECHO:1", 1)]),
        ("a sell rests above it", ("1,1,10,5000,1", "1,2,10,5100,-1"), []),
        (
            "a worse bid is hit",
            ("1,1,10,5000,1", "1,2,10,4900,1", "4,2,10,4900,1"),
            [("ECHO:1", 2)],
        ),
        (
            "a later order at its price is hit",
            ("1,1,10,5000,1", "1,2,10,5000,1", "4,2,10,5000,1"),
            [("ECHO:1", 2)],
        ),
        (
            "an earlier order at its price is hit",
            ("1,1,10,5000,1", "1,2,10,5000,1", "4,1,10,5000,1"),
            [],
        ),
        (
            "two levels are better",
            ("1,1,10,5000,1", "1,2,10,5100,1", "1,3,10,5200,1"),
            [("ECHO:1", 2)],
        ),
        (
            "it is heard of again",
            ("1,1,10,5000,1", "1,2,10,5100,1", "1,3,10,5200,1", "3,1,10,5000,1"),
            [],
        ),
    ],
)
def test_an_order_never_heard_of_again_has_ended_by_the_event_that_says_so(
    tmp_path: Path, why: str, lines: tuple[str, ...], gone: list[tuple[str, int]]
) -> None:
    assert ended(tape_of(tmp_path, *lines)) == gone, why


def test_a_whole_tape_has_no_unseen_ends() -> None:
    assert ended(market.reports_of_tape(tapes.read(SAMPLE))) == []


def test_a_partial_cancel_of_a_tape_reduces_what_rests(tmp_path: Path) -> None:
    reports = tape_of(tmp_path, "1,1,10,5000,1", "2,1,4,5000,1", "4,1,1,5000,1", "2,1,2,5000,1")
    assert market.changes(reports)["rests"].to_list() == [10, 6, 5, 3]


@pytest.mark.parametrize(("symbol", "levels"), [("GOOG", 10), ("AMZN", 5)])
def test_the_best_prices_of_a_real_day_are_those_of_its_order_book_file(
    real_data: Path, symbol: str, levels: int
) -> None:
    """But for orders from before the file begins, which no record of ours can know."""
    folder = real_data / "lobster"
    tape = tapes.read(folder / f"{symbol}_message_{levels}.parquet", date="2012-06-21")
    best = market.touch(market.changes(market.reports_of_tape(tape, levels=levels)))
    assert not (best["bid"] >= best["ask"]).any()
    book = pl.read_parquet(folder / f"{symbol}_orderbook_{levels}.parquet")
    book = book.with_row_index("exec_id").cast({"exec_id": pl.UInt64})
    each = best.unique("exec_id", keep="last").join(book, on="exec_id")
    for ours, theirs, better in (
        ("bid", "bid_price_1", pl.col("bid") > pl.col("bid_price_1")),
        ("ask", "ask_price_1", pl.col("ask") < pl.col("ask_price_1")),
    ):
        assert each.select((pl.col(ours) == pl.col(theirs)).mean()).item() > 0.93
        assert each.select(better.mean()).item() < 0.02, "few orders are thought to be there still"


def test_an_order_at_an_empty_market_has_nothing_to_be_measured_against() -> None:
    desk = network()
    assert execution_quality.of_orders(desk["c1"]).is_empty()
    assert market_quality.over_time(
        market.reports(desk["c1"].tables["executions"].frame)
    ).is_empty()
    filled(desk)
    assert execution_quality.of_orders(desk["c1"])["slippage"].to_list() == [None, None]
