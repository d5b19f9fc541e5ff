"""Goal: what stands of every trade is booked once, and balances say at any time what has traded.

Method: Hypothesis draws events that refer to one another in any way and their order of arrival,
with repeats, crashes and clearing in between; plain counting says what the balances must be. A
venue's own busts and corrections, then, in a whole network.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import (
    BOOKS,
    CASH,
    NOON,
    PRICE,
    SHARES,
    Row,
    batch,
    filled,
    network,
    record_id,
    report,
    state,
    submit,
)
from tests.lives import trades
from tradesys.network import Network
from tradesys.records.arrow import as_written
from tradesys.records.opening_books import Fees
from tradesys.records.schemas import FIRMS_OWN
from tradesys.status import positions
from tradesys.systems.firm import FirmSystem
from tradesys.systems.system import Place
from tradesys.venue import BookVenue

FEES = Fees(per_share=30, per_notional=7)
WITH_FEES = replace(BOOKS, fee_per_share=30, fee_per_notional=7)
CLEARED = "each fill is cleared exactly once"
ORDERS: list[Row] = [
    {"account": "alice", "symbol": "ALFA", "side": "buy", "order_id": record_id("c1", 0)},
    {"account": "bob", "symbol": "DLTA", "side": "sell", "order_id": record_id("c1", 1)},
]


@st.composite
def event(draw: st.DrawFn, number: int, count: int) -> Row:
    """A trade, a correction or a bust of any event."""
    kind = draw(st.sampled_from(["trade", "trade", "trade_correct", "trade_cancel"]))
    about = draw(st.integers(0, count - 1))
    return draw(st.sampled_from(ORDERS)) | {
        "exec_id": record_id("v", number),
        "request_id": record_id("c1", 0),
        "exec_type": kind,
        "exec_ref_id": None if kind == "trade" else record_id("v", about),
        "last_qty": 0 if kind == "trade_cancel" else draw(st.integers(1, 50)),
        "last_px": 0 if kind == "trade_cancel" else draw(st.integers(1, 10**6)),
    }


@st.composite
def arrivals(draw: st.DrawFn) -> list[Row]:
    """Events in an order of arrival, some of them twice, each as a street-side system has it."""
    count = draw(st.integers(1, 8))
    events = [draw(event(i, count)) for i in range(count)]
    arriving = draw(st.permutations(events + draw(st.lists(st.sampled_from(events), max_size=3))))
    written = {"s1": 0, "s2": 0}
    rows = []
    for each in arriving:
        system = draw(st.sampled_from(["s1", "s2"]))
        rows.append(each | {"record_id": record_id(system, written[system])})
        written[system] += 1
    return rows


def fee_of(qty: int, px: int) -> int:
    return FEES.per_share * qty + qty * px * FEES.per_notional // 10_000


def expected(told: Iterable[Row]) -> dict[tuple[str, str], int]:
    """What each account owns, counted plainly: what stands of each trade, less its fee."""
    owned = {(a, s): SHARES for a in ("alice", "bob") for s in ("ALFA", "DLTA")}
    owned |= {(account, "USD"): CASH for account in ("alice", "bob")}
    for trade, _, qty, px in trades(told):
        sign = 1 if trade["side"] == "buy" else -1
        owned[trade["account"], trade["symbol"]] += sign * qty
        owned[trade["account"], "USD"] -= sign * qty * px + fee_of(qty, px)
    return owned


def amounts(firm: FirmSystem) -> dict[tuple[str, str], int]:
    """What a firm says that each account owns."""
    return {(a, s): n for a, s, n in firm.positions()["account", "asset", "amount"].iter_rows()}


def check_view(firm: FirmSystem) -> pl.DataFrame:
    names = ("requests", "executions", "postings")
    requests, reports, legs = (firm.tables[name].frame for name in names)
    defined = positions.balances(requests, reports, legs, FEES)
    assert firm.positions().equals(defined)
    return defined


def again(firm: FirmSystem, *datasets: str) -> FirmSystem:
    """A firm that has come up again, with what these datasets held."""
    made = FirmSystem(Place(firm.origin, lambda: NOON), fees=FEES)
    for dataset in datasets:
        for log in firm.tables[dataset].logs.values():
            for part in log.batches(0):
                made.receive(dataset, as_written(part))
    return made


@given(rows=arrivals(), data=st.data())
def test_in_any_order_of_arrival_balances_are_what_stands_and_each_event_is_posted_once(
    rows: list[Row], data: st.DataObject
) -> None:
    firm = network(streets=2, books=WITH_FEES).firm
    for count, row in enumerate(rows, 1):
        firm.receive("executions", batch("executions", [row]))
        assert amounts(firm) == expected(rows[:count])
        if data.draw(st.booleans()):
            firm.clear()
            check_view(firm)
            assert amounts(firm) == expected(rows[:count])
    firm.clear()
    assert not firm.has_work
    assert firm.clear() == 0
    assert not check_view(firm)["uncleared"].abs().sum()
    assert amounts(firm) == expected(rows)
    postings = firm.tables["postings"].frame
    of_events = postings.filter(pl.col("exec_id").is_not_null())
    sums = of_events.group_by("exec_id", "asset").agg(pl.col("amount").sum())
    assert not sums["amount"].abs().sum()
    assert not firm.trial_balance()["amount"].abs().sum()
    runs = of_events["exec_id"].rle_id().n_unique() if len(of_events) else 0
    assert runs == of_events["exec_id"].n_unique()
    for datasets in (("postings", "executions"), ("executions", "postings")):
        assert not again(firm, *datasets).has_work


@given(rows=arrivals(), seed=st.integers(0, 2**16))
def test_a_firm_that_lost_its_executions_books_nothing_twice_in_the_end(
    rows: list[Row], seed: int
) -> None:
    """Its postings come back first, and executions in another order; it clears all the while."""
    firm = network(streets=2, books=WITH_FEES).firm
    for row in rows:
        firm.receive("executions", batch("executions", [row]))
        firm.clear()
    back = again(firm, "postings")
    streets = {"s1": [row for row in rows if row["record_id"] < record_id("s2", 0)]}
    streets["s2"] = [row for row in rows if row not in streets["s1"]]
    chance = random.Random(seed)
    while any(streets.values()):
        row = streets[chance.choice([name for name, left in streets.items() if left])].pop(0)
        back.receive("executions", batch("executions", [row]))
        back.clear()
        check_view(back)
    assert not back.has_work
    assert amounts(back) == expected(rows)


# In a network.


def trade_of(desk: Network, account: str) -> int:
    """The number of the event that reports an account's trade."""
    rows = desk.venue.reports.table().to_pylist()
    return next(
        i for i, r in enumerate(rows) if (r["exec_type"], r["account"]) == ("trade", account)
    )


def owns(desk: Network, account: str) -> dict[str, int]:
    frame = desk["c1"].positions(account)
    assert not frame["uncleared"].abs().sum()
    return dict(frame["asset", "amount"].iter_rows())


@pytest.mark.parametrize("cleared", [True, False], ids=["after clearing", "before clearing"])
def test_a_bust_takes_back_shares_cash_and_fee(*, cleared: bool) -> None:
    desk = network(books=WITH_FEES)
    if not cleared:
        desk.partition("firm")
    filled(desk)
    for account in ("alice", "bob"):
        report(desk, trade_of(desk, account), "trade_cancel", last_qty=0, last_px=0)
    desk.heal()
    desk.run()
    assert owns(desk, "alice") == owns(desk, "bob") == {"ALFA": 500, "DLTA": 500, "USD": CASH}
    assert not desk.firm.tables["postings"].frame.filter(account="fees")["amount"].sum()
    assert desk.audit().verdict is True


def test_a_correction_moves_the_difference_and_a_bust_of_it_takes_that_back() -> None:
    desk = network(books=WITH_FEES)
    filled(desk)
    first = trade_of(desk, "alice")
    report(desk, first, "trade_correct", last_qty=60)
    desk.run()
    fee = 60 * FEES.per_share + 60 * PRICE * FEES.per_notional // 10_000
    assert owns(desk, "alice") == {"ALFA": 560, "DLTA": 500, "USD": CASH - 60 * PRICE - fee}
    assert desk.audit().verdict is True
    report(desk, desk.venue.reported - 1, "trade_cancel", last_qty=0, last_px=0)
    desk.run()
    assert owns(desk, "alice")["USD"] == CASH
    assert desk.audit().verdict is True


def test_a_bust_that_is_not_posted_is_told_by_the_trade_that_stays_posted() -> None:
    desk = network()
    filled(desk)
    report(desk, trade_of(desk, "alice"), "trade_cancel", last_qty=0, last_px=0)
    desk.firm.clear = lambda: 0  # type: ignore[method-assign]
    desk.run()
    (check,) = [c for c in desk.audit().checks if c.name == CLEARED]
    assert check.verdict is None
    assert check.found == ("v1-4 is not cleared: s1-4 amends v1-2",)


def test_without_a_schedule_there_is_no_fee() -> None:
    desk = network()
    filled(desk)
    assert set(desk.firm.tables["postings"].frame["account"]) == {
        *("alice", "bob"),
        *(set(FIRMS_OWN) - {"fees"}),
    }


def test_the_schedule_of_fees_is_kept_in_the_folder(tmp_path: Any) -> None:
    with network(books=WITH_FEES, data=tmp_path) as desk:
        assert desk.firm.fees == FEES
    with Network.open(tmp_path, clock=lambda: NOON) as again:
        assert again.firm.fees == FEES
        filled(again)
        assert again.audit().verdict is True


def test_the_audit_finds_a_fee_that_is_not_of_the_schedule() -> None:
    desk = network(books=WITH_FEES)
    desk.firm.fees = Fees(per_share=1)
    desk.firm._begin_following()
    desk.firm.catch_up()
    filled(desk)
    assert [c.name for c in desk.audit().checks if c.verdict is False] == [CLEARED]


def test_the_last_amendment_of_a_trade_is_what_it_is_and_a_bust_is_final() -> None:
    """Each names the trade itself."""
    desk = network(books=WITH_FEES)
    order = filled(desk)
    first = trade_of(desk, "alice")
    for qty in (60, 30):
        report(desk, first, "trade_correct", last_qty=qty)
        desk.run()
        fee = fee_of(qty, PRICE)
        assert state(desk["c1"], order) == ("partially_filled", 100, qty, 100 - qty)
        cash = CASH - qty * PRICE - fee
        assert owns(desk, "alice") == {"ALFA": SHARES + qty, "DLTA": SHARES, "USD": cash}
        assert desk.audit().verdict is True
    report(desk, first, "trade_cancel")
    report(desk, first, "trade_correct", last_qty=20)
    desk.run()
    assert state(desk["c1"], order) == ("new", 100, 0, 100)
    assert owns(desk, "alice") == {"ALFA": SHARES, "DLTA": SHARES, "USD": CASH}
    assert desk.audit().verdict is True


def test_what_the_amendments_of_a_trade_come_to_is_posted_once_for_the_event_that_stands() -> None:
    desk = network()
    filled(desk)
    first = trade_of(desk, "alice")
    desk.partition("firm")
    for qty in (60, 30, 80):
        report(desk, first, "trade_correct", last_qty=qty)
    desk.run()
    waiting = desk["c1"].outstanding()
    assert waiting["record", "waits_for"].rows() == [("trade_correct", "clearing")]
    standing = record_id("v", desk.venue.reported - 1)
    fills = desk["c1"].fills("alice")["exec_id", "last_qty", "posted"]
    assert fills.rows() == [(standing, 80, False)]
    desk.heal()
    desk.run()
    legs = desk.firm.tables["postings"].frame.filter(account="alice", asset="ALFA")
    assert legs.filter(pl.col("exec_id").is_not_null())["exec_id", "amount"].rows() == [
        (record_id("v", first), 100),
        (standing, -20),
    ]
    assert desk["c1"].outstanding().is_empty()
    assert desk["c1"].fills("alice")["posted"].all()


def test_a_correction_that_changes_nothing_is_posted_nowhere() -> None:
    desk = network()
    filled(desk)
    count = len(desk.firm.tables["postings"].frame)
    report(desk, trade_of(desk, "alice"), "trade_correct")
    desk.run()
    assert len(desk.firm.tables["postings"].frame) == count
    assert desk["c1"].outstanding().is_empty()
    assert desk.audit().verdict is True


def of_another_order(desk: Network) -> str:
    report(desk, trade_of(desk, "alice"), "trade_cancel", order_id=record_id("c1", 1))
    return "s1-4 is of c1-1 and amends v1-2 of c1-0"


def of_nothing(desk: Network) -> str:
    report(desk, trade_of(desk, "alice"), "trade_correct", exec_ref_id=None)
    return "s1-4 amends nothing: no trade"


def of_no_trade(desk: Network) -> str:
    report(desk, 0, "trade_correct", last_qty=10, last_px=PRICE)
    return "s1-4 amends v1-0: no trade"


def of_a_later_event(desk: Network) -> str:
    report(desk, trade_of(desk, "alice"), "trade_cancel", exec_ref_id=record_id("v", 9))
    return "s1-4 amends v1-9: no trade"


def to_less_than_nothing(desk: Network) -> str:
    report(desk, trade_of(desk, "alice"), "trade_correct", last_qty=-10)
    return "s1-4 trades -10 shares"


def to_nothing(desk: Network) -> str:
    report(desk, trade_of(desk, "alice"), "trade_correct", last_qty=0)
    return "s1-4 trades 0 shares"


AMISS = [
    of_another_order,
    of_nothing,
    of_no_trade,
    of_a_later_event,
    to_less_than_nothing,
    to_nothing,
]


@pytest.mark.parametrize("amend", AMISS, ids=lambda amend: amend.__name__)
def test_an_amendment_that_no_market_may_report_is_named_by_the_audit(
    amend: Callable[[Network], str],
) -> None:
    desk = network()
    filled(desk)
    told = amend(desk)
    desk.run()
    (check,) = (c for c in desk.audit().checks if c.verdict is False)
    assert (check.name, check.found) == ("amendments refer to trades", (told,))


@pytest.mark.parametrize("amend", [of_nothing, of_no_trade, of_a_later_event])
def test_an_amendment_of_no_trade_moves_nothing(amend: Callable[[Network], str]) -> None:
    desk = network()
    order = filled(desk)
    before = owns(desk, "alice"), state(desk["c1"], order)
    amend(desk)
    desk.run()
    assert (owns(desk, "alice"), state(desk["c1"], order)) == before


def test_an_amendment_to_more_than_the_order_asked_for_is_an_over_fill() -> None:
    desk = network()
    filled(desk)
    report(desk, trade_of(desk, "alice"), "trade_correct", last_qty=130)
    desk.run()
    audit = desk.audit()
    (check,) = (c for c in audit.checks if c.found)
    assert check.name == "no order is filled beyond its quantity"
    assert check.found == ("c1-0 at c1: 130 of 100 by s1-4",)


def test_the_simulated_market_busts_and_corrects_both_sides_of_a_match() -> None:
    desk = network()
    order = filled(desk)
    assert isinstance(desk.venue, BookVenue)
    match = [trade_of(desk, account) for account in ("alice", "bob")]
    desk.venue.amend([record_id("v", row) for row in match], last_qty=60, last_px=PRICE)
    desk.run()
    assert state(desk["c1"], order) == ("partially_filled", 100, 60, 40)
    assert owns(desk, "alice")["ALFA"] == SHARES + 60
    assert owns(desk, "bob")["ALFA"] == SHARES - 60
    corrected = [desk.venue.reported - 2, desk.venue.reported - 1]
    desk.venue.amend([record_id("v", row) for row in corrected])
    desk.run()
    assert state(desk["c1"], order)[2] == 0
    assert owns(desk, "alice") == owns(desk, "bob") == {"ALFA": SHARES, "DLTA": SHARES, "USD": CASH}
    assert desk.audit().verdict is True


def test_a_correction_that_moves_nothing_but_the_fee_is_posted() -> None:
    with network(streets=1, books=replace(BOOKS, fee_per_notional=10_000)) as desk:
        submit(desk["c1"], order_qty=10, price="10.00", side="sell", account="bob")
        submit(desk["c1"], order_qty=10, price="10.00")
        desk.run()
        assert isinstance(desk.venue, BookVenue)
        reports = desk.venue.reports.table().to_pylist()
        trades = [report["record_id"] for report in reports if report["last_qty"]]
        desk.venue.amend(trades, last_qty=10, last_px=11_0000)
        desk.run()
        assert desk.audit().verdict is True, str(desk.audit())
        fees = desk.firm.tables["postings"].frame.filter(account="fees")["amount"].sum()
        assert fees == 2 * 10 * 11_0000
