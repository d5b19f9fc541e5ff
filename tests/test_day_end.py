"""Goal: a day ends once, whatever comes between, and the next day goes on; statements add up.

Method: DAY, GTC and GTD orders rest in a book or wait on a tape; the process is killed at every
write of the end of the day, and the day is ended again.
"""

import datetime as dt
import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.build import BOOKS, CASH, NOON, PRICE, TERMS, filled, network, state, stopped, submit
from tests.test_venue import tape
from tradesys.inquiry.answers import Order
from tradesys.network import Network
from tradesys.network.network import DayEnd
from tradesys.records.clock import ManualClock, to_ns
from tradesys.records.errors import InvalidValue
from tradesys.records.trading_calendar import Calendar
from tradesys.systems.firm.statements import cash_lines
from tradesys.venue import BookVenue, TapeVenue

MONDAY = dt.date(2024, 6, 3)
DAY_NS = 86_400 * 10**9


def working(desk: Network) -> dict[str, Any]:
    """Orders of every time in force, resting; one of them partly filled."""
    c1, later = desk["c1"], NOON + DAY_NS
    orders = {
        "day": submit(c1, order_qty=20),
        "gtc": submit(c1, order_qty=20, time_in_force="gtc"),
        "over": submit(c1, order_qty=20, time_in_force="gtd", expire_time=NOON + 1),
        "later": submit(c1, order_qty=20, time_in_force="gtd", expire_time=later),
    }
    submit(c1, account="bob", side="sell", order_qty=10)
    desk.run()
    return orders


def states(desk: Network, orders: dict[str, Any]) -> dict[str, tuple[str, int, int, int]]:
    return {name: state(desk["c1"], order) for name, order in orders.items()}


ENDED = {
    "day": ("expired", 20, 10, 0),
    "gtc": ("new", 20, 0, 20),
    "over": ("expired", 20, 0, 0),
    "later": ("new", 20, 0, 20),
}


def test_day_orders_expire_and_so_do_those_whose_time_has_come() -> None:
    clock = ManualClock(NOON)
    desk = network(streets=2, clock=clock)
    orders = working(desk)
    clock.advance(2)
    end = desk.end_of_day()
    assert (end.day, end.expired) == (MONDAY, 2)
    assert states(desk, orders) == ENDED
    reserved = desk["c1"].positions("alice").filter(asset="USD")["reserved"].item()
    assert reserved == 2 * 20 * PRICE
    assert desk.end_of_day() == DayEnd(MONDAY, 0, 0)
    assert desk.audit().verdict is True


def test_the_next_day_goes_on_with_what_is_good_till_then(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    with network(clock=clock, data=tmp_path) as desk:
        orders = working(desk)
        clock.advance(2)
        desk.end_of_day()
    clock.advance(DAY_NS // 2)
    with Network.open(tmp_path, clock=clock) as desk:
        submit(desk["c1"], account="bob", side="sell", order_qty=30)
        desk.run()
        assert state(desk["c1"], orders["gtc"]) == ("filled", 20, 20, 0)
        assert state(desk["c1"], orders["day"]) == ENDED["day"]
        assert desk.audit().verdict is True
        clock.advance(DAY_NS)
        assert desk.end_of_day().expired == 1
        assert state(desk["c1"], orders["later"])[0] == "expired"


def test_a_day_that_was_cut_short_anywhere_is_ended_when_it_is_ended_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for after in itertools.count():
        clock, folder = ManualClock(NOON), tmp_path / str(after)
        desk = network(streets=2, clock=clock, data=folder)
        orders = working(desk)
        clock.advance(2)
        was_stopped = stopped(desk.end_of_day, after, monkeypatch)
        desk._lock.close()
        with Network.open(folder, clock=clock) as again:
            again.end_of_day()
            assert states(again, orders) == ENDED
            assert again.audit().verdict is True
            expired = again.venue.reports.table()["exec_type"].to_pylist().count("expired")
            assert expired == 2
        if not was_stopped:
            break
    assert after > 5


def test_an_order_that_has_expired_is_filled_no_more_by_the_tape(tmp_path: Path) -> None:
    day = tape((3, 3, "A", 20))
    with network(venue=partial(TapeVenue, day), data=tmp_path) as desk:
        order = submit(desk["c1"], cl_ord_id="A", order_qty=20)
        desk.run()
        assert desk.end_of_day().expired == 1
    with Network.open(tmp_path, venue=partial(TapeVenue, day), clock=lambda: NOON) as desk:
        assert isinstance(desk.venue, TapeVenue)
        desk.venue.advance(100)
        desk.run()
        assert state(desk["c1"], order) == ("expired", 20, 0, 0)
        assert desk.audit().verdict is True


# The market does it by itself.


def resting(desk: Network, **terms: Any) -> Order:
    """An order of 20 that rests at the market."""
    order = submit(desk["c1"], order_qty=20, **terms)
    desk.run()
    return order


def sold(desk: Network, **terms: Any) -> Order:
    """What another account sells, 20 by default, has come to the market."""
    order = submit(desk["c1"], account="bob", side="sell", **{"order_qty": 20} | terms)
    desk.run()
    return order


CLOSE = Calendar().close(NOON)
LATER: dict[str, Any] = {"time_in_force": "gtd", "expire_time": NOON + 3 * 3600 * 10**9}


@pytest.mark.parametrize(
    ("terms", "last"),
    [
        ({}, CLOSE),
        ({"time_in_force": "gtc"}, NOON + 99 * DAY_NS),
        (LATER, LATER["expire_time"] - 1),
    ],
    ids=["day", "gtc", "gtd"],
)
def test_an_order_trades_up_to_its_last_moment_whoever_ends_the_day(
    terms: dict[str, Any], last: int
) -> None:
    clock = ManualClock(NOON)
    desk = network(clock=clock)
    order = resting(desk, **terms)
    clock.now = last
    sold(desk)
    assert state(desk["c1"], order) == ("filled", 20, 20, 0)
    assert desk.audit().verdict is True


@pytest.mark.parametrize(
    ("terms", "last", "due"),
    [({}, CLOSE, CLOSE), (LATER, LATER["expire_time"] - 1, LATER["expire_time"])],
    ids=["day", "gtd"],
)
@pytest.mark.parametrize("after", [1, DAY_NS])
def test_an_order_does_not_trade_after_its_time_and_expires_when_it_was_due(
    terms: dict[str, Any], last: int, due: int, after: int
) -> None:
    clock = ManualClock(NOON)
    desk = network(clock=clock)
    order = resting(desk, **terms)
    clock.now = last + after
    other = sold(desk)
    assert state(desk["c1"], order) == ("expired", 20, 0, 0)
    assert state(desk["c1"], other)[0] == "new"
    report = desk.venue.reports.row(1)
    assert (report["exec_type"], report["ts"]) == ("expired", due)
    assert desk.audit().verdict is True


def test_a_replace_that_comes_to_the_market_after_its_time_is_refused() -> None:
    clock = ManualClock(NOON)
    desk = network(clock=clock)
    order = resting(desk)
    desk.partition("c1", "s1")
    desk["c1"].replace(order.order_id, time_in_force="gtd", expire_time=NOON + 10)
    clock.advance(10)
    desk.heal()
    sold(desk)
    refused = desk.venue.reports.row(1)
    assert (refused["exec_type"], refused["text"]) == ("cancel_rejected", "too late to enter")
    assert state(desk["c1"], order) == ("filled", 20, 20, 0)
    assert desk.audit().verdict is True


def test_what_a_correction_opens_again_after_the_end_of_the_day_is_over_at_the_close() -> None:
    clock = ManualClock(NOON)
    desk = network(clock=clock)
    order = resting(desk)
    sold(desk)
    desk.end_of_day()
    assert isinstance(desk.venue, BookVenue)
    trades = [r["record_id"] for r in desk.venue.reports.table().to_pylist() if r["last_qty"]]
    desk.venue.amend(trades, last_qty=5)
    desk.run()
    assert state(desk["c1"], order) == ("partially_filled", 20, 5, 15)
    clock.now = CLOSE + 1
    desk.run()
    assert state(desk["c1"], order) == ("expired", 20, 5, 0)
    assert desk.audit().verdict is True


@pytest.mark.parametrize("terms", [{}, LATER, {"time_in_force": "ioc"}], ids=["day", "gtd", "ioc"])
def test_an_order_that_comes_to_the_market_after_its_time_is_refused(
    terms: dict[str, Any],
) -> None:
    clock = ManualClock(NOON)
    desk = network(clock=clock)
    desk.partition("c1", "s1")
    order = submit(desk["c1"], order_qty=20, **terms)
    clock.advance(DAY_NS)
    desk.heal()
    sold(desk)
    assert state(desk["c1"], order) == ("rejected", 20, 0, 0)
    assert desk.venue.reports.row(0)["text"] == "too late to enter"


@pytest.mark.parametrize("time", ["2024-06-07T21:00:00Z", "2024-06-09T12:00:00Z"])
def test_an_order_of_a_weekend_is_one_of_monday(time: str) -> None:
    clock = ManualClock(to_ns(time))
    desk = network(clock=clock)
    order = resting(desk)
    clock.now = to_ns("2024-06-10T20:00:00Z")
    sold(desk)
    assert state(desk["c1"], order)[0] == "filled"


def test_an_order_of_the_morning_before_a_holiday_ends_with_the_early_close() -> None:
    clock = ManualClock(to_ns("2024-07-03T13:00:00Z"))
    desk = network(clock=clock)
    order = resting(desk)
    clock.now = to_ns("2024-07-03T17:00:01Z")
    sold(desk)
    assert state(desk["c1"], order)[0] == "expired"


def test_the_day_of_a_market_that_never_closes_ends_at_midnight(tmp_path: Path) -> None:
    midnight = to_ns("2024-06-09T00:00:00Z")
    clock, venue = ManualClock(midnight - 2), partial(BookVenue, calendar="24/7")
    with network(clock=clock, venue=venue, data=tmp_path) as desk:
        order = resting(desk)
        assert desk.end_of_day().day == dt.date(2024, 6, 8)
        assert state(desk["c1"], order)[0] == "expired"
        order = resting(desk)
    clock.now = midnight
    with pytest.raises(InvalidValue, match="it holds 1 customer-facing"):
        network(clock=clock, data=tmp_path)
    with Network.open(tmp_path, clock=clock) as desk:
        desk.run()
        assert state(desk["c1"], order)[0] == "expired"
        assert desk.end_of_day().day == dt.date(2024, 6, 9)


@pytest.mark.parametrize("pause", [0, 1, DAY_NS])
def test_a_market_opened_again_lets_expire_what_was_due_meanwhile(
    tmp_path: Path, pause: int
) -> None:
    clock = ManualClock(NOON)
    with network(clock=clock, data=tmp_path) as desk:
        orders = [resting(desk), resting(desk, time_in_force="gtc"), resting(desk, **LATER)]
    clock.now = CLOSE + pause
    with Network.open(tmp_path, clock=clock) as desk:
        sold(desk, order_qty=60)
        expired = ["expired" if pause else "filled", "filled", "expired"]
        assert [state(desk["c1"], order)[0] for order in orders] == expired
        assert desk.audit().verdict is True


def test_a_tape_fills_no_order_after_its_time() -> None:
    seconds = (CLOSE - NOON) // 10**9
    day = tape((3, seconds, "A", 10), (4, seconds + 1, "A", 10))
    clock = ManualClock(NOON)
    desk = network(venue=partial(TapeVenue, day), clock=clock)
    assert isinstance(desk.venue, TapeVenue)
    order = resting(desk, cl_ord_id="A")
    desk.venue.advance(9)
    desk.run()
    assert state(desk["c1"], order) == ("partially_filled", 20, 10, 10)
    clock.now = CLOSE + 1
    desk.run()
    assert state(desk["c1"], order) == ("expired", 20, 10, 0)
    assert desk.venue.reports.row(2)["ts"] == CLOSE


def test_a_run_of_a_tape_has_its_own_time_and_ends_its_own_day(tmp_path: Path) -> None:
    with network(venue=partial(TapeVenue, tape()), data=tmp_path) as desk:
        order = resting(desk)
    with Network.open(tmp_path) as desk:
        assert desk.clock() == NOON
        assert desk.end_of_day() == DayEnd(MONDAY, 1, 3)
        assert desk.clock() == CLOSE
        assert desk.end_of_day() == DayEnd(MONDAY, 0, 0)
    with Network.open(tmp_path) as desk:
        past = {day: desk.as_of(NOON + day * DAY_NS)["c1"].status(order) for day in (0, 3)}
        assert [past[day].ord_status for day in (0, 3)] == ["new", "expired"]
        assert desk.audit().verdict is True


# The names of orders.


def test_a_name_is_free_again_on_the_next_trading_day() -> None:
    clock = ManualClock(NOON)
    desk = network(customers=2, clock=clock)
    first = resting(desk, cl_ord_id="A")
    clock.now = CLOSE
    assert submit(desk["c2"], order_qty=20, cl_ord_id="A").repeated
    clock.now = CLOSE + 1
    second = submit(desk["c2"], order_qty=20, cl_ord_id="A")
    assert not second.repeated
    assert submit(desk["c2"], order_qty=20, cl_ord_id="A").order_id == second.order_id
    desk.run()
    assert [state(desk["c1"], order)[0] for order in (first, second)] == ["expired", "new"]
    assert desk.audit().verdict is True


def test_a_name_stays_taken_while_its_order_is_open() -> None:
    clock = ManualClock(NOON)
    desk = network(clock=clock)
    first = resting(desk, cl_ord_id="A", time_in_force="gtc")
    clock.advance(DAY_NS)
    terms = {"order_qty": 20, "cl_ord_id": "A", "time_in_force": "gtc"}
    assert submit(desk["c1"], **terms).order_id == first.order_id
    table = pl.DataFrame([TERMS | terms])
    assert desk["c1"].submit_many(table)["order_id"].item() == first.order_id
    sold(desk)
    assert submit(desk["c1"], **terms).repeated is False


def test_a_table_of_several_days_takes_a_name_once_a_day() -> None:
    clock = ManualClock(NOON)
    desk = network(clock=clock)
    days = pl.Series("ts", [NOON, NOON + DAY_NS, NOON + DAY_NS]).cast(pl.Datetime("ns", "UTC"))
    for time_in_force, repeated in (("day", [False, False, True]), ("gtc", [False, True, True])):
        terms = TERMS | {"order_qty": 10, "cl_ord_id": time_in_force}
        rows = pl.DataFrame([terms] * 3).with_columns(days, time_in_force=pl.lit(time_in_force))
        assert desk["c1"].submit_many(rows)["repeated"].to_list() == repeated


def test_a_change_by_name_means_the_order_of_the_day() -> None:
    clock = ManualClock(NOON)
    desk = network(clock=clock)
    resting(desk, cl_ord_id="A")
    clock.advance(DAY_NS)
    second = resting(desk, cl_ord_id="A")
    row = {"request_type": "cancel", "account": "alice", "orig_cl_ord_id": "A"}
    assert desk["c1"].submit_many(pl.DataFrame([row]))["order_id"].item() == second.order_id


@pytest.mark.parametrize(("time_in_force", "second"), [("day", "new"), ("gtc", "rejected")])
def test_the_market_takes_a_name_once_a_day_and_while_its_order_is_open(
    time_in_force: str, second: str
) -> None:
    clock = ManualClock(NOON)
    desk = network(customers=2, clock=clock)
    desk.partition("c1", "c2")
    terms = {"order_qty": 10, "time_in_force": time_in_force, "cl_ord_id": "A"}
    submit(desk["c1"], **terms)
    desk.run()
    same_day = submit(desk["c2"], **terms)
    desk.run()
    clock.now = NOON + DAY_NS
    next_day = submit(desk["c2"], **terms)
    desk.run()
    assert state(desk["c2"], same_day)[0] == "rejected"
    assert state(desk["c2"], next_day)[0] == second


# Other times in force.


def test_a_replace_changes_until_when_an_order_is_good() -> None:
    clock = ManualClock(NOON)
    desk = network(clock=clock)
    kept, cut = resting(desk), resting(desk, time_in_force="gtc")
    desk["c1"].replace(kept, time_in_force="gtd", expire_time=CLOSE + DAY_NS)
    rows = {"request_type": ["replace"], "order_id": [cut.order_id], "time_in_force": ["day"]}
    assert desk["c1"].submit_many(pl.DataFrame(rows))["accepted"].item()
    desk.run()
    clock.now = CLOSE + 1
    desk.run()
    assert [state(desk["c1"], order)[0] for order in (kept, cut)] == ["new", "expired"]
    desk["c1"].replace(kept, expire_time=CLOSE + 2 * DAY_NS)
    desk.run()
    clock.now = CLOSE + 2 * DAY_NS
    desk.run()
    assert state(desk["c1"], kept)[0] == "expired"
    assert desk.audit().verdict is True


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"time_in_force": "ioc"}, "time_in_force"),
        ({"time_in_force": "ever"}, "time_in_force"),
        ({"time_in_force": "gtd"}, "expire_time"),
        ({"time_in_force": "gtd", "expire_time": NOON}, "expire_time"),
        ({"expire_time": NOON + 1}, "expire_time"),
        ({"time_in_force": "gtc", "expire_time": NOON + 1}, "expire_time"),
    ],
)
def test_a_replace_to_what_no_resting_order_has_is_an_error(
    terms: dict[str, Any], field: str
) -> None:
    desk = network()
    order = resting(desk)
    with pytest.raises(InvalidValue) as raised:
        desk["c1"].replace(order, **terms)
    assert raised.value.field == field


def test_an_order_that_cannot_rest_keeps_its_time_in_force() -> None:
    desk = network()
    order = submit(desk["c1"], time_in_force="ioc")
    with pytest.raises(InvalidValue, match="time_in_force"):
        desk["c1"].replace(order, time_in_force="day")


def test_a_replace_of_the_time_in_force_given_again_is_a_repeat() -> None:
    desk = network()
    order = resting(desk)
    first, again = (desk["c1"].replace(order, time_in_force="gtc", cl_ord_id="B") for _ in range(2))
    assert (first.record_id, first.repeated, again.repeated) == (again.record_id, False, True)
    with pytest.raises(InvalidValue, match="cl_ord_id"):
        desk["c1"].replace(order, time_in_force="day", cl_ord_id="B")


# Statements.


def test_a_statement_adds_up_and_says_what_is_settled_on_each_day() -> None:
    clock = ManualClock(NOON)
    desk = network(books=replace(BOOKS, fee_per_share=30, fee_per_notional=7), clock=clock)
    clock.advance(DAY_NS)
    filled(desk, order_qty=10)
    fee = 10 * 30 + 10 * PRICE * 7 // 10_000
    told = desk.firm.statement("alice")
    assert told.day == MONDAY + dt.timedelta(days=1)
    (fill,) = told.fills["exec_type", "shares", "cash", "fee", "settle_date"].rows()
    assert fill == ("trade", 10, -10 * PRICE, fee, MONDAY + dt.timedelta(days=2))
    paid = -10 * PRICE - fee
    assert told.balances.rows() == [
        ("ALFA", 500, 10, 510, 500, 10),
        ("DLTA", 500, 0, 500, 500, 0),
        ("USD", CASH, paid, CASH + paid, CASH, paid),
    ]
    (cash,) = desk.firm.statement("alice", "2024-06-05").balances.filter(asset="USD").rows()
    assert cash == ("USD", CASH + paid, 0, CASH + paid, CASH + paid, 0)
    assert desk.firm.statement("alice", MONDAY).fills.is_empty()


def test_what_is_settled_and_what_is_not_each_sum_to_zero_over_all_accounts() -> None:
    desk = network(books=replace(BOOKS, fee_per_share=30))
    filled(desk)
    frame = desk.firm.settlement()
    assert "fees" in frame["account"]
    for column in ("opening", "change", "closing", "settled", "unsettled"):
        assert not frame.group_by("asset").agg(pl.col(column).sum())[column].abs().sum()


def test_the_opening_balance_is_a_line_and_the_lines_add_up() -> None:
    desk = network(books=replace(BOOKS, fee_per_share=30))
    order = filled(desk)
    told = desk.firm.statement("alice")
    (cash,) = told.balances.filter(asset="USD").to_dicts()
    paid = sum(fill["cash"] - fill["fee"] for fill in told.fills.to_dicts())
    assert (cash["opening"], cash["change"]) == (CASH, paid)
    lines = cash_lines(told)
    assert lines["line"].to_list() == ["opening", "trade", "closing"]
    assert lines["cash"].to_list() == [CASH, -100 * PRICE, CASH + paid]
    assert told.fills["order_id"].to_list() == [order.order_id]
    assert str(told.fills["transact_time"].item()) == "2024-06-03 08:00:00-04:00"


def test_a_trade_of_the_night_is_in_the_statement_of_the_next_session() -> None:
    clock = ManualClock(CLOSE + 1)
    desk = network(clock=clock)
    filled(desk)
    assert desk.firm.statement("alice").day == MONDAY + dt.timedelta(days=1)


def test_a_statement_of_nobody_or_of_no_day_is_an_error() -> None:
    firm = network().firm
    with pytest.raises(InvalidValue, match="mallory"):
        firm.statement("mallory")
    for day in ("yesterday", 20240603, dt.datetime(2024, 6, 3, tzinfo=dt.UTC)):
        with pytest.raises(InvalidValue, match="a day like 2024-06-03"):
            firm.statement("alice", day)


def test_an_order_that_is_known_by_its_reports_alone_is_replaced_with_its_time() -> None:
    """c2 has the report of c1's order and not its request; the order still expires when it said."""
    clock = ManualClock(NOON)
    desk = network(customers=2, clock=clock)
    desk.partition("c1", "c2")
    until = NOON + 1_000_000_007
    order = submit(desk["c1"], order_qty=20, time_in_force="gtd", expire_time=until)
    desk.run()
    desk["c2"].replace(order, order_qty=10)
    desk.run()
    replaced = desk["c2"].tables["requests"].rows([desk["c2"].origin.code << 48])[0]
    assert replaced["expire_time"] == until
    assert state(desk["c2"], order) == ("new", 10, 0, 10)
