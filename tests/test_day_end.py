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

from tests.build import BOOKS, CASH, NOON, PRICE, filled, network, state, stopped, submit
from tests.test_venue import tape
from tradesys.clock import ManualClock
from tradesys.errors import InvalidValue
from tradesys.network import DayEnd, Network
from tradesys.venue import TapeVenue

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
