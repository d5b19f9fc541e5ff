"""Goal: every inquiry is answered from the records of the system asked, and says from which.

Method: a small network in which one system is behind, and plain counting beside what it answers.
"""

from typing import Any

import polars as pl
import pytest

from tests.build import CASH, NOON, PRICE, SHARES, filled, network, submit
from tradesys.inquiry.inquiries import BY
from tradesys.network import Network
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue, NotYetReplicated
from tradesys.records.schemas import format_id


@pytest.fixture
def desk() -> Network:
    return network(3, 2)


def behind() -> tuple[Network, Any]:
    """A network in which c2 lacks a request of c1 that was made ten seconds ago."""
    clock = ManualClock(NOON)
    desk = network(3, 2, clock=clock)
    filled(desk)
    desk.partition("c2")
    order = submit(desk["c1"], order_qty=30)
    clock.advance(10_000_000_000)
    desk.run()
    return desk, order


# Reading one's own writes.


def test_a_question_that_may_wait_is_answered_once_the_records_have_come(desk: Network) -> None:
    order = submit(desk["c1"])
    assert desk.status(order, at="c3", at_least=order.token).order_qty == 100
    change = desk["c3"].replace(order, order_qty=200)
    desk.run()
    assert desk.status(order, at="c2", at_least=change.token).order_qty == 200


def test_what_cannot_come_is_named_and_nothing_waits_for_ever() -> None:
    desk, order = behind()
    with pytest.raises(NotYetReplicated, match="c1-2 to c1-2 have not reached c2") as raised:
        desk.status(order, at="c2", at_least=order.token)
    assert raised.value.missing == ("c1-2", "c1-2")
    desk.heal()
    assert desk.status(order, at="c2", at_least=order.token).order_qty == 30


def test_no_more_than_so_many_steps_are_carried(desk: Network) -> None:
    order = submit(desk["c1"])
    with pytest.raises(NotYetReplicated):
        desk.status(order, at="c2", at_least=order.token, steps=0)


def test_an_answer_has_a_token_so_that_the_next_one_elsewhere_goes_not_back() -> None:
    desk, order = behind()
    token = desk["c1"].status(order).token
    assert token == {"c1": 3, **desk["c1"].tables["executions"].positions}
    with pytest.raises(NotYetReplicated) as raised:
        desk["c2"].status(filled_first(desk), at_least=token)
    assert set(raised.value.missing) > {"c1-2"}
    desk.heal()
    assert desk.status(order, at="c2", at_least=token).ord_status == "new"


def filled_first(desk: Network) -> int:
    order_id: int = desk["c1"].statuses()["order_id"][0]
    return order_id


@pytest.mark.parametrize("token", [{"c1": -1}, {"c1": "1"}, {"x": 1}, {"firm": 1}, {1: 1}, 7, "c1"])
def test_what_is_no_token_is_an_error(desk: Network, token: Any) -> None:
    order = filled(desk)
    with pytest.raises(InvalidValue):
        desk["c1"].status(order, at_least=token)


@pytest.mark.parametrize("at", ["s1", "c9", 1, None])
def test_a_system_that_answers_no_inquiries_is_an_error(desk: Network, at: Any) -> None:
    order = filled(desk)
    with pytest.raises(InvalidValue, match="one of c1, c2, c3, firm"):
        desk.status(order, at=at)
    with pytest.raises(InvalidValue, match="one of c1, c2, c3, firm"):
        desk.evidence(at)


# Evidence.


def test_the_evidence_of_an_answer_does_not_change_when_records_come(desk: Network) -> None:
    order = filled(desk)
    answer = desk["c2"].status(order)
    before, positions = answer.evidence.frame(), answer.positions
    assert desk["c2"].status(order) == answer
    filled(desk)
    later = desk["c2"].status(order)
    assert later != answer
    assert later.evidence != answer.evidence
    assert answer.evidence.frame().equals(before)
    assert answer.positions == positions != later.positions


def test_a_system_alone_says_what_it_holds_and_how_old_that_is() -> None:
    desk, _ = behind()
    held = desk["c2"].evidence().frame()
    counts = {"requests": 2, "executions": 4}
    for dataset, count in counts.items():
        rows = held.filter(pl.col("dataset") == dataset)
        assert rows["records"].sum() == count
        assert rows["newest"].dt.timestamp("ns").to_list() == [NOON] * len(rows)


def test_beside_the_others_an_answer_is_so_many_records_and_so_old_behind() -> None:
    desk, order = behind()
    answer = desk["c2"].status(filled_first(desk))
    lacking = desk.evidence(answer).filter(pl.col("behind") > 0)
    row = lacking.filter(pl.col("dataset") == "requests").row(0, named=True)
    assert (row["origin"], row["records"], row["best"], row["lacks"]) == ("c1", 2, 3, str(order))
    assert row["age"].total_seconds() == 10
    assert lacking.filter(pl.col("dataset") == "executions")["behind"].to_list() == [1]
    desk.heal()
    desk.run()
    assert desk.evidence("c2")["behind"].sum() == 0
    assert desk.evidence(answer)["behind"].sum() > 0, "an answer stays as old as it was"


def test_an_origin_of_which_nothing_has_come_is_missed_all_the_same(desk: Network) -> None:
    desk.partition("c2")
    order = submit(desk["c1"])
    row = desk.evidence("c2").filter(pl.col("origin") == "c1").row(0, named=True)
    assert (row["records"], row["newest"], row["behind"], row["lacks"]) == (0, None, 1, str(order))


# What could still change an answer.


def test_what_waits_for_an_answer_or_for_clearing_is_outstanding(desk: Network) -> None:
    desk.partition("firm")
    order = filled(desk)
    resting = submit(desk["c1"])
    desk.run()
    cancel = desk["c2"].cancel(resting)
    waiting = desk["c2"].outstanding(resting)
    columns = ("record_id", "record", "waits_for")
    assert waiting.select(columns).rows() == [(cancel.record_id, "cancel", "an answer")]
    fills = desk["c2"].outstanding(order)
    assert fills["record"].to_list() == ["trade"]
    assert fills["waits_for"].to_list() == ["clearing"]
    assert len(desk["c2"].outstanding()) == 3
    desk.heal()
    desk.run()
    assert desk["c2"].outstanding().is_empty()
    assert desk["c2"].outstanding(order).is_empty()


def test_a_refused_request_waits_for_nothing(desk: Network) -> None:
    refused = submit(desk["c1"], order_qty=10**6)
    assert refused.reject_reason
    assert desk["c1"].outstanding(refused).is_empty()


# Why.


def test_an_order_is_explained_by_its_records_and_by_when_each_system_learned_of_them() -> None:
    clock = ManualClock(NOON)
    desk = network(2, 1, clock=clock)
    order = submit(desk["c1"])
    clock.advance(1_000)
    desk.run()
    clock.advance(1_000)
    submit(desk["c2"], account="bob", side="sell")
    desk.run()
    why = desk.explain(order)
    assert {a.system: str(a.ord_status) for a in why.answers} == dict.fromkeys(
        ("c1", "c2", "firm"), "filled"
    )
    records = why.records
    assert records["record"].to_list()[:3] == ["new", "new", "trade"]
    assert set(records["dataset"]) == {"requests", "executions", "postings"}
    request = records.row(0, named=True)
    times = {name: request[name] and request[name].timestamp() for name in ("c1", "c2", "s1")}
    assert why.learned.filter(pl.col("record_id") == order.record_id).select(
        "system", pl.col("received_at").dt.timestamp("ns") - NOON
    ).rows() == [("c1", 0), ("c2", 1_000), ("firm", 1_000)]
    assert times["s1"] is None, "a request is sent to a street-side system, not replicated"
    assert "c1-0" in str(why)
    assert "received" not in str(why)
    alone = desk["c2"].explain(order)
    assert alone.records["record_id"].to_list() == records["record_id"].to_list()
    assert "<table" in alone._repr_html_()


def test_an_order_that_nobody_knows_is_not_explained(desk: Network) -> None:
    for order in (0, "c1-7"):
        with pytest.raises((InvalidValue, NotYetReplicated)):
            desk.explain(order)


# Accounts.


def test_buying_power_is_cash_less_what_open_buy_orders_may_spend(desk: Network) -> None:
    filled(desk)
    submit(desk["c1"], order_qty=50)
    submit(desk["c1"], account="bob", side="sell", order_qty=20, price=2 * PRICE)
    desk.run()
    (alice,) = desk["c3"].cash("alice").to_dicts()
    assert alice["amount"] == CASH - 100 * PRICE
    assert alice["reserved"] == 50 * PRICE
    assert alice["buying_power"] == CASH - 150 * PRICE
    (bob,) = desk["c3"].cash("bob").to_dicts()
    assert bob["buying_power"] == bob["amount"] == CASH + 100 * PRICE
    assert desk["c3"].cash()["account"].to_list() == ["alice", "bob"]


def test_fills_are_those_of_an_account_and_a_symbol_and_whether_they_are_cleared(
    desk: Network,
) -> None:
    desk.partition("firm")
    order = filled(desk)
    filled(desk, symbol="DLTA")
    fills = desk["c2"].fills("alice", symbol="ALFA")
    columns = ("order_id", "account", "side", "last_qty", "last_px", "posted")
    assert fills.select(columns).rows() == [(order.order_id, "alice", "buy", 100, PRICE, False)]
    assert len(desk["c2"].fills()) == 4
    desk.heal()
    desk.run()
    assert desk["c2"].fills()["posted"].all()


@pytest.mark.parametrize("ask", ["orders", "fills", "positions", "cash"])
def test_an_unknown_account_is_an_error(desk: Network, ask: str) -> None:
    with pytest.raises(InvalidValue, match="account='mallory': expected"):
        getattr(desk["c1"], ask)("mallory")


@pytest.mark.parametrize("ask", ["orders", "fills"])
def test_an_unknown_symbol_is_an_error(desk: Network, ask: str) -> None:
    with pytest.raises(InvalidValue, match="symbol='XXXX': expected"):
        getattr(desk["c1"], ask)(symbol="XXXX")


# The book.


def busy() -> Network:
    """Orders in two symbols by two accounts at two systems over an hour and a half."""
    clock = ManualClock(NOON)
    desk = network(2, 1, clock=clock)
    filled(desk)
    clock.advance(3_600_000_000_000)
    submit(desk["c2"], symbol="DLTA", order_qty=30)
    clock.advance(1_800_000_000_000)
    submit(desk["c1"], account="bob", side="sell", order_qty=40, price=2 * PRICE)
    desk.run()
    return desk


@pytest.mark.parametrize(
    ("by", "orders"),
    [
        ("status", {"filled": 2, "new": 2}),
        ("symbol", {"ALFA": 3, "DLTA": 1}),
        ("account", {"alice": 2, "bob": 2}),
        ("system", {"c1": 3, "c2": 1}),
    ],
)
def test_the_book_adds_up_by_what_is_asked(by: str, orders: dict[str, int]) -> None:
    book = busy()["c2"].book(by)
    assert dict(zip(book[by].cast(pl.String), book["orders"], strict=True)) == orders
    assert book["open"].sum() == 2
    assert book["leaves_qty"].sum() == 70
    assert book["cum_qty"].sum() == 200
    assert book["open_amount"].sum() == 30 * PRICE + 40 * 2 * PRICE


def test_the_book_adds_up_by_buckets_of_time_and_by_several_things() -> None:
    system = busy()["c1"]
    assert system.book("time")["orders"].to_list() == [2, 2]
    assert system.book("time", every="30m")["orders"].to_list() == [2, 1, 1]
    both = system.book(["symbol", "status"])
    assert both.select("symbol", pl.col("status").cast(pl.String), "orders").rows() == [
        ("ALFA", "new", 1),
        ("ALFA", "filled", 2),
        ("DLTA", "new", 1),
    ]
    assert system.book([*BY])["orders"].sum() == 4


def test_the_book_of_open_orders_is_their_quantity_at_each_price_on_each_side() -> None:
    system = busy()["c2"]
    levels = system.book(["symbol", "side", "price"], open_only=True)
    assert levels.select("symbol", "side", "price", "orders", "leaves_qty").rows() == [
        ("ALFA", "sell", 2 * PRICE, 1, 40),
        ("DLTA", "buy", PRICE, 1, 30),
    ]
    own = system.book("price", account="bob", symbol="ALFA", open_only=True)
    assert own.select("price", "leaves_qty").rows() == [(2 * PRICE, 40)]


def test_positions_in_a_symbol_are_its_shares_alone(desk: Network) -> None:
    filled(desk)
    held = desk["c1"].positions(symbol="ALFA").select("account", "asset", "amount").rows()
    assert held == [("alice", "ALFA", SHARES + 100), ("bob", "ALFA", SHARES - 100)]


def test_an_order_whose_request_has_not_arrived_has_no_time_in_the_book() -> None:
    desk = network(2, 1)
    desk.partition("c1", "c2")
    order = filled(desk)
    assert desk["c2"].book("time")["time"].to_list() == [None]
    assert desk["c2"].book("system")["system"].to_list() == ["c1"], format_id(order.order_id)


def test_the_book_of_a_new_network_is_empty(desk: Network) -> None:
    for by in BY:
        assert desk["c1"].book(by).is_empty()


@pytest.mark.parametrize("by", ["px", "", [], ["status", "status"], 3, None, [["status"]]])
def test_a_book_by_what_no_order_says_is_an_error(desk: Network, by: Any) -> None:
    with pytest.raises(InvalidValue, match="status, symbol, account, side, price, system, time"):
        desk["c1"].book(by)


@pytest.mark.parametrize("every", ["", "h", "0h", "1x", "-1h", 60, None])
def test_a_bucket_of_time_that_is_no_length_is_an_error(desk: Network, every: Any) -> None:
    with pytest.raises(InvalidValue, match="every="):
        desk["c1"].book("time", every=every)
