"""The market outside: a book that survives its process, and a tape that waits for its orders.

Goal: whatever stops and starts, the market reports each event once, and a tape's fill never before
its time nor before its order.
Method: a venue that stopped anywhere is held against one that never stopped; tapes of few events.
"""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import (
    NOON,
    PRICE,
    Row,
    batch,
    change,
    filled,
    network,
    new,
    record_id,
    state,
    submit,
)
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import REPORTS, split_id
from tradesys.venue import BookVenue, TapeVenue, Venue
from tradesys.venue.tapes import Tape

CLOCK = ManualClock(NOON)


def reports(venue: Venue, since: int = 0) -> list[Row]:
    """What a venue has reported from a position on."""
    found = venue.poll(since)
    rows: list[Row] = found.to_pylist() if found else []
    return rows


def events(venue: Venue, since: int = 0) -> list[tuple[Any, ...]]:
    """Of each report: ``exec_type``, the order's sequence, ``last_qty``."""
    rows = reports(venue, since)
    return [(r["exec_type"], split_id(r["order_id"])[1], r["last_qty"]) for r in rows]


def c1(sequence: int) -> int:
    return record_id("c1", sequence)


def send(venue: Venue, *rows: Row) -> None:
    venue.send(batch("requests", rows))


# Any venue.


TERMS_OF_TAPE = {"cl_ord_id": pl.String, "last_qty": pl.Int64, "last_px": pl.Int64}


def tape(*fills: tuple[int, int, str, int]) -> Tape:
    """A tape of these fills: event, seconds after noon, ``cl_ord_id``, quantity."""
    frame = pl.DataFrame(
        {
            "event": pl.Series([f[0] for f in fills], dtype=pl.UInt32),
            "ts": pl.Series([NOON + f[1] * 10**9 for f in fills], dtype=pl.Int64).cast(
                pl.Datetime("ns", "UTC")
            ),
            "cl_ord_id": pl.Series([f[2] for f in fills], dtype=pl.String),
            "last_qty": pl.Series([f[3] for f in fills], dtype=pl.Int64),
            "last_px": pl.Series([PRICE for _ in fills], dtype=pl.Int64),
        }
    )
    return Tape(pl.DataFrame(), frame, events=10, ignored={}, symbols=("ALFA",))


def book_venue(folder: Path | None = None) -> Venue:
    return BookVenue(clock=CLOCK, folder=folder)


def tape_venue(folder: Path | None = None) -> Venue:
    return TapeVenue(tape((3, 3, "A", 30)), clock=CLOCK, folder=folder)


@pytest.fixture(params=[book_venue, tape_venue])
def venue(request: pytest.FixtureRequest) -> Iterator[Venue]:
    made: Venue = request.param()
    yield made
    made.close()


def test_a_request_sent_again_changes_nothing(venue: Venue) -> None:
    order, cancel = new(c1(0)), change("cancel", c1(1), c1(0), cl_ord_id="B")
    send(venue, order, cancel)
    before = reports(venue)
    assert [row["exec_type"] for row in before] == ["new", "canceled"]
    for again in ([order], [cancel], [order, cancel], [cancel, order]):
        send(venue, *again)
    assert reports(venue) == before


def test_a_request_twice_in_one_message_is_taken_once(venue: Venue) -> None:
    send(venue, new(c1(0)), new(c1(0)))
    assert events(venue) == [("new", 0, 0)]


def test_reports_are_numbered_from_0_by_the_venue_itself(venue: Venue) -> None:
    for i in range(3):
        send(venue, new(c1(i), cl_ord_id=f"N{i}"))
    assert [row["record_id"] for row in reports(venue)] == [record_id("v", i) for i in range(3)]
    assert events(venue, since=2) == [("new", 2, 0)]
    assert venue.poll(3) is None


def test_a_report_repeats_the_terms_of_its_order(venue: Venue) -> None:
    terms: Row = {"account": "bob", "symbol": "DLTA", "side": "sell", "time_in_force": "gtc"}
    send(venue, new(c1(0), cl_ord_id="N", order_qty=70, **terms))
    (row,) = reports(venue)
    assert {name: row[name] for name in terms} == terms
    assert (row["order_qty"], row["price"], row["request_id"]) == (70, PRICE, c1(0))


@pytest.mark.parametrize("make", [book_venue, tape_venue])
def test_a_venue_opened_again_has_its_reports_and_knows_what_it_was_sent(
    tmp_path: Path, make: Any
) -> None:
    one = make(tmp_path)
    send(one, new(c1(0)))
    before = reports(one)
    one.close()
    again = make(tmp_path)
    send(again, new(c1(0)))
    assert reports(again) == before
    send(again, new(c1(1), cl_ord_id="N"))
    assert events(again, since=1) == [("new", 1, 0)]
    again.close()


def test_no_requests_bring_no_reports(venue: Venue) -> None:
    venue.send(batch("requests", []))
    assert venue.poll(0) is None


# The order book.


def test_a_fill_is_reported_to_both_orders_with_the_terms_of_each() -> None:
    venue = book_venue()
    send(venue, new(c1(0), side="sell", account="bob", cl_ord_id="S"), new(c1(1), order_qty=30))
    assert events(venue) == [("new", 0, 0), ("new", 1, 0), ("trade", 0, 30), ("trade", 1, 30)]
    sold, bought = reports(venue, since=2)
    assert (sold["account"], sold["cl_ord_id"], sold["order_qty"]) == ("bob", "S", 100)
    assert (bought["account"], bought["cl_ord_id"], bought["order_qty"]) == ("alice", "A", 30)


def test_an_order_that_was_replaced_is_reported_by_its_later_name() -> None:
    venue = book_venue()
    renamed = change("replace", c1(1), c1(0), cl_ord_id="B", order_qty=60)
    send(venue, new(c1(0)), renamed, new(c1(2), side="sell", account="bob", cl_ord_id="S"))
    filled = reports(venue)[-2]
    assert (filled["exec_type"], filled["cl_ord_id"], filled["request_id"]) == ("trade", "B", c1(1))
    assert filled["order_qty"] == 60


def test_symbols_do_not_meet() -> None:
    venue = book_venue()
    send(venue, new(c1(0), side="sell", symbol="ALFA"), new(c1(1), symbol="DLTA", cl_ord_id="B"))
    assert [kind for kind, _, _ in events(venue)] == ["new", "new"]


DAY_NS = 86_400 * 10**9


def random_requests(seed: int, count: int) -> list[Row]:
    """Requests in two symbols over few prices, so that orders meet; some change what is closed.

    Each comes some hours after the one before, so that orders expire and names come again.
    """
    chance, rows, now = random.Random(seed), list[Row](), NOON
    for i in range(count):
        now += chance.choice([0, 0, DAY_NS // 8, DAY_NS // 2])
        orders = [row for row in rows if row["record_id"] == row["order_id"]]
        kind = chance.choice(["new", "new", "cancel", "replace"]) if orders else "new"
        terms: Row = {"cl_ord_id": f"N{i % 9}", "order_qty": chance.randint(1, 9), "ts": now}
        terms["price"] = PRICE + chance.randint(-2, 2)
        if kind == "new":
            terms |= {n: chance.choice(v) for n, v in CHOICES.items()}
            if terms["ord_type"] == "market":
                terms["price"] = chance.choice([None, terms["price"]])
            rows.append(new(c1(i), **terms | until(chance, terms, now)))
        else:
            about = chance.choice(orders)
            names = ("account", "symbol", "side", "ord_type", "time_in_force", "expire_time")
            terms |= {n: about[n] for n in names}
            terms["price"] = None if about["ord_type"] == "market" else terms["price"]
            if kind == "replace" and about["time_in_force"] in ("day", "gtc", "gtd"):
                terms["time_in_force"] = chance.choice(["day", "gtc", "gtd"])
                terms |= until(chance, terms, now)
            rows.append(change(kind, c1(i), about["order_id"], **terms))
    return rows


def until(chance: random.Random, terms: Row, now: int) -> Row:
    """The time of an order that is good till then, and none of another."""
    is_gtd = terms["time_in_force"] == "gtd"
    return {"expire_time": now + chance.randint(1, DAY_NS) if is_gtd else None}


CHOICES = {
    "account": ["alice", "bob"],
    "symbol": ["ALFA", "DLTA"],
    "side": ["buy", "sell"],
    "ord_type": ["limit", "limit", "limit", "market"],
    "time_in_force": ["day", "gtc", "gtd", "ioc", "fok"],
}


def amend_some(venue: BookVenue, chance: random.Random) -> None:
    """Bust or correct a trade that stands, if there is one."""
    rows = reports(venue)
    gone = {row["exec_ref_id"] for row in rows}
    kinds = ("trade", "trade_correct")
    trades = [r for r in rows if r["exec_type"] in kinds and r["record_id"] not in gone]
    if trades and chance.random() < 0.2:
        trade = chance.choice(trades)
        venue.amend([trade["record_id"]], last_qty=chance.randint(0, trade["last_qty"]))


@settings(max_examples=60)
@given(st.integers(0, 2**16), st.integers(1, 60), st.data())
def test_a_book_opened_again_goes_on_as_if_it_had_never_stopped(
    seed: int, count: int, data: st.DataObject
) -> None:
    rows, clock = random_requests(seed, count), ManualClock(NOON)
    cuts = sorted(data.draw(st.sets(st.integers(0, count), max_size=4)) | {0, count})
    whole = BookVenue(clock=clock)
    with TemporaryDirectory() as folder:
        for start, stop in itertools.pairwise(cuts):
            stopped = BookVenue(clock=clock, folder=Path(folder))
            for place, row in enumerate(rows[start:stop], start):
                clock.now = row["ts"]
                for venue in (whole, stopped):
                    send(venue, row)
                    amend_some(venue, random.Random(seed + place))
            assert reports(stopped) == reports(whole)
            stopped.close()
        again = BookVenue(clock=clock, folder=Path(folder))
        for symbol in ("ALFA", "DLTA"):
            assert again.books[symbol].depth(99) == whole.books[symbol].depth(99)
        clock.now += 9 * DAY_NS
        assert reports(again) == reports(whole)
        again.close()


# Amendments.


def matched(**terms: Any) -> BookVenue:
    """A market at which alice bought 100 of bob: his order came first."""
    venue = BookVenue(clock=ManualClock(NOON))
    send(venue, new(c1(0), side="sell", account="bob", cl_ord_id="S"), new(c1(1), **terms))
    return venue


TRADES = [record_id("v", 2), record_id("v", 3)]
"""The trades of :func:`matched`: bob's, and alice's."""


def since(venue: Venue, position: int) -> list[tuple[Any, ...]]:
    """Of each report: ``exec_type``, the order's sequence, ``last_qty``, what it amends."""
    refs = [row["exec_ref_id"] for row in reports(venue, position)]
    refs = [None if ref is None else split_id(ref)[1] for ref in refs]
    return [(*event, ref) for event, ref in zip(events(venue, position), refs, strict=True)]


def test_what_an_amendment_gives_back_trades_again_and_not_with_the_other_side() -> None:
    venue = matched(time_in_force="gtc")
    venue.amend(TRADES, last_qty=60)
    assert since(venue, 4) == [("trade_correct", 0, 60, 2), ("trade_correct", 1, 60, 3)]
    assert [level.qty for side in venue.books["ALFA"].depth() for level in side] == [40, 40]
    send(venue, new(c1(2), side="sell", account="bob", cl_ord_id="T", order_qty=50))
    assert events(venue, 7) == [("trade", 1, 40), ("trade", 2, 40)]


def test_what_an_amendment_gives_back_meets_at_once_who_came_meanwhile() -> None:
    venue = matched(time_in_force="gtc")
    send(venue, new(c1(2), side="sell", account="bob", cl_ord_id="T", order_qty=30))
    venue.amend(TRADES)
    assert [event[:3] for event in since(venue, 5)] == [
        *(("trade_cancel", 0, 0), ("trade_cancel", 1, 0)),
        *(("trade", 2, 30), ("trade", 1, 30)),
    ]


def test_what_an_amendment_gives_back_is_the_last_in_time_at_its_price() -> None:
    venue = matched(time_in_force="gtc")
    send(venue, new(c1(2), cl_ord_id="B"))
    venue.amend(TRADES[1:])
    send(venue, new(c1(3), side="sell", account="bob", cl_ord_id="T", order_qty=150))
    fills = [event for event in events(venue, 7) if event[0] == "trade"]
    assert fills[::2] == [("trade", 2, 100), ("trade", 1, 50)]


@pytest.mark.parametrize(
    "terms", [{"time_in_force": "ioc"}, {"time_in_force": "fok"}, {"ord_type": "market"}], ids=str
)
def test_what_an_amendment_gives_back_to_an_order_that_cannot_rest_is_canceled(terms: Row) -> None:
    venue = matched(**terms)
    venue.amend(TRADES[1:], last_qty=60)
    assert events(venue, 4) == [("trade_correct", 1, 60), ("canceled", 1, 0)]


@pytest.mark.parametrize("terms", [{}, {"time_in_force": "gtd", "expire_time": NOON + 1}], ids=str)
def test_what_an_amendment_gives_back_to_an_order_whose_time_is_over_expires(terms: Row) -> None:
    venue = matched(**terms)
    assert isinstance(venue.clock, ManualClock)
    venue.clock.advance(DAY_NS)
    venue.amend(TRADES[1:])
    assert events(venue, 4) == [("trade_cancel", 1, 0), ("expired", 1, 0)]


def test_an_order_that_was_canceled_stays_so_when_its_trade_is_busted() -> None:
    venue = matched(order_qty=150)
    send(venue, change("cancel", c1(2), c1(1), cl_ord_id="C", order_qty=150))
    venue.amend(TRADES[1:])
    assert events(venue, 4) == [("canceled", 1, 0), ("trade_cancel", 1, 0)]
    assert venue.books["ALFA"].depth() == ([], [])


def test_an_amendment_names_the_trade_or_its_last_correction_and_refers_to_that() -> None:
    venue = matched(time_in_force="ioc")
    venue.amend(TRADES[1:], last_qty=60)
    venue.amend(TRADES[1:], last_qty=30, last_px=PRICE + 1)
    venue.amend([record_id("v", 6)], last_qty=20)
    venue.amend(TRADES[1:])
    amended = [event for event in since(venue, 4) if event[0] != "canceled"]
    assert amended == [
        ("trade_correct", 1, 60, 3),
        ("trade_correct", 1, 30, 3),
        ("trade_correct", 1, 20, 6),
        ("trade_cancel", 1, 0, 3),
    ]
    assert [row["last_px"] for row in reports(venue, 6)][:2] == [PRICE + 1, PRICE + 1]


@pytest.mark.parametrize(
    ("exec_ids", "to", "field"),
    [
        ([record_id("v", 0)], {}, "exec_ids"),
        ([record_id("v", 99)], {}, "exec_ids"),
        ([c1(0)], {}, "exec_ids"),
        ([TRADES[1], TRADES[1]], {}, "exec_ids"),
        ([TRADES[1]], {"last_qty": -1}, "last_qty"),
        ([TRADES[1]], {"last_qty": 101}, "last_qty"),
        ([TRADES[1]], {"last_qty": 10, "last_px": -1}, "last_px"),
        ([TRADES[1]], {"last_qty": 10, "last_px": 0}, "last_px"),
        ([TRADES[1], record_id("v", 0)], {}, "exec_ids"),
    ],
    ids=str,
)
def test_an_amendment_of_no_trade_or_to_what_its_order_has_not_is_refused(
    exec_ids: list[int], to: Row, field: str
) -> None:
    venue = matched()
    before = reports(venue)
    with pytest.raises(InvalidValue) as raised:
        venue.amend(exec_ids, **to)
    assert raised.value.field == field
    assert reports(venue) == before


def test_a_trade_that_is_busted_and_a_correction_that_is_corrected_are_amended_no_more() -> None:
    venue = matched()
    venue.amend(TRADES[1:], last_qty=60)
    venue.amend([record_id("v", 4)], last_qty=50)
    venue.amend(TRADES[:1])
    for exec_id in (record_id("v", 4), TRADES[0]):
        with pytest.raises(InvalidValue, match="that is not busted"):
            venue.amend([exec_id])


def test_the_market_and_the_records_agree_after_a_bust() -> None:
    desk = network()
    order = filled(desk, time_in_force="gtc")
    assert isinstance(desk.venue, BookVenue)
    desk.venue.amend(TRADES)
    desk.run()
    assert state(desk["c1"], order) == ("new", 100, 0, 100)
    desk["c1"].cancel(order)
    desk.run()
    assert state(desk["c1"], order) == ("canceled", 100, 0, 0)
    assert desk.audit().verdict is True


# The tape.


def test_a_fill_is_reported_when_its_time_has_come_and_not_before() -> None:
    venue = TapeVenue(tape((3, 3, "A", 30), (5, 5, "A", 70)), clock=CLOCK)
    send(venue, new(c1(0)))
    seen = []
    for event in range(8):
        venue.advance(event)
        seen.append([qty for kind, _, qty in events(venue) if kind == "trade"])
    assert seen == [[]] * 4 + [[30]] * 2 + [[30, 70]] * 2


def test_a_fill_whose_order_is_late_is_reported_when_the_order_arrives() -> None:
    venue = TapeVenue(tape((3, 3, "A", 30), (5, 5, "B", 70)), clock=CLOCK)
    venue.advance(9)
    assert reports(venue) == []
    send(venue, new(c1(0), cl_ord_id="B"))
    assert events(venue) == [("new", 0, 0), ("trade", 0, 70)]
    send(venue, new(c1(1), cl_ord_id="A"))
    assert events(venue, since=2) == [("new", 1, 0), ("trade", 1, 30)]


def test_a_fill_is_reported_once_however_often_the_tape_is_advanced_or_the_order_sent() -> None:
    venue = TapeVenue(tape((3, 3, "A", 30)), clock=CLOCK)
    for _ in range(2):
        send(venue, new(c1(0)))
        for _ in range(2):
            venue.advance(4)
            venue.poll(0)
    assert events(venue) == [("new", 0, 0), ("trade", 0, 30)]


def test_a_fill_carries_the_tapes_time_price_and_quantity_and_the_orders_terms() -> None:
    venue = TapeVenue(tape((3, 3, "A", 30)), clock=CLOCK)
    send(venue, new(c1(0), account="bob", side="sell"))
    venue.advance(4)
    found = venue.poll(1)
    assert found is not None
    assert found["ts"].cast(pa.int64()).to_pylist() == [NOON + 3 * 10**9]
    (row,) = reports(venue, since=1)
    assert (row["last_qty"], row["last_px"], row["account"], row["side"]) == (
        30,
        PRICE,
        "bob",
        "sell",
    )


def test_a_fill_after_a_replace_carries_the_later_name_and_terms() -> None:
    venue = TapeVenue(tape((3, 3, "A", 30)), clock=CLOCK)
    send(venue, new(c1(0)), change("replace", c1(1), c1(0), cl_ord_id="B", order_qty=60))
    venue.advance(4)
    (row,) = reports(venue, since=2)
    assert (row["cl_ord_id"], row["request_id"], row["order_qty"]) == ("B", c1(1), 60)


@given(st.lists(st.sampled_from(["send", "advance", "poll"]), max_size=12))
def test_no_report_is_before_what_was_reported_when_the_tape_was_advanced(
    actions: list[str],
) -> None:
    fills = [(i, i, f"N{i % 4}", 10) for i in range(6)]
    venue = TapeVenue(tape(*fills), clock=CLOCK)
    bounds = [0]
    for i, action in enumerate(actions):
        if action == "send":
            send(venue, new(c1(i), cl_ord_id=f"N{i % 4}", ts=NOON + i * 10**9))
        elif action == "advance":
            venue.advance(i)
            bounds.append(venue.reports.count)
        else:
            venue.poll(0)
    found = venue.reports.table()
    times = found["ts"].cast(pa.int64()).to_pylist()
    assert all(t >= max(times[:bound], default=0) for bound in bounds for t in times[bound:])
    assert found.schema == REPORTS


def test_a_report_has_the_tapes_time_whichever_street_side_system_asks_first() -> None:
    venue = TapeVenue(tape(), clock=CLOCK)
    send(venue, new(c1(0), cl_ord_id="A", ts=NOON + 5 * 10**9))
    send(venue, new(c1(1), cl_ord_id="B", ts=NOON + 10**9, symbol="DLTA"))
    times = venue.reports.table()["ts"].cast(pa.int64()).to_pylist()
    assert times == [NOON + 5 * 10**9, NOON + 10**9]


def test_a_tape_in_a_network_fills_what_was_held_up_by_a_link() -> None:
    def market(*, clock: Any, folder: Path | None) -> TapeVenue:
        return TapeVenue(tape((3, 3, "A", 30)), clock=clock, folder=folder)

    desk = network(venue=market)
    assert isinstance(desk.venue, TapeVenue)
    desk.partition("c1", "s1")
    order = submit(desk["c1"], cl_ord_id="A")
    desk.venue.advance(9)
    desk.run()
    assert state(desk["c1"], order) == ("pending_new", 100, 0, 100)
    desk.heal()
    desk.run()
    assert state(desk["c1"], order) == ("partially_filled", 100, 30, 70)
    assert desk.audit().verdict
