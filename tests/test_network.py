"""A whole network: orders go where they belong, whatever is cut, and every record once.

Goal: any system that can be reached takes orders and answers; what could not pass goes on when the
links are mended; nothing is lost, nothing is done twice.
Method: two of each kind at most; links cut and mended by name; random runs that end in an audit.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import (
    BOOKS,
    CASH,
    NOON,
    PRICE,
    Row,
    batch,
    contents,
    filled,
    network,
    new,
    record_id,
    sound,
    state,
    submit,
)
from tradesys.inquiry.answers import Order
from tradesys.network import Network
from tradesys.records.arrow import as_written
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue, NotYetReplicated
from tradesys.records.opening_books import OpeningBooks
from tradesys.systems.street import StreetSystem

S1, S2 = "ALFA", "DLTA"


def two_by_two(**options: Any) -> Network:
    """Two systems of each kind, and a symbol for each of the street-side ones."""
    desk = network(2, 2, **options)
    assert [desk.street_for(symbol) for symbol in (S1, S2)] == ["s1", "s2"]
    return desk


# Orders in, replicated, executed, cleared, answered.


def test_an_order_is_answered_alike_at_every_customer_facing_system() -> None:
    desk = network(customers=3, streets=2)
    order = submit(desk["c1"])
    desk.run()
    assert [state(c, order) for c in desk.customers] == [("new", 100, 0, 100)] * 3


def test_an_order_is_executed_by_the_one_system_of_its_symbol_and_known_to_its_peers() -> None:
    desk = two_by_two()
    for symbol, own, peer in ((S1, "s1", "s2"), (S2, "s2", "s1")):
        filled(desk, symbol=symbol)
        executions = desk.systems[peer].tables["executions"]
        assert executions.positions[own] == 4
    assert all(c.tables["executions"].positions == {"s1": 4, "s2": 4} for c in desk.customers)


def test_a_fill_moves_shares_one_way_and_cash_the_other_at_every_system() -> None:
    desk = two_by_two()
    filled(desk, order_qty=30)
    for system in desk.customers:
        balances = {(a, s): n for a, s, _, _, n, _ in system.positions().iter_rows()}
        assert balances["alice", S1] - balances["bob", S1] == 60
        assert balances["alice", "USD"] == CASH - 30 * PRICE
        assert balances["bob", "USD"] == CASH + 30 * PRICE
        assert system.positions()["uncleared"].sum() == 0


def test_an_order_is_sent_even_while_no_record_of_it_can_be_replicated() -> None:
    desk = network(customers=2)
    desk.partition("c1", "c2", "firm")
    order = submit(desk["c1"])
    desk.run()
    assert state(desk["c1"], order) == ("new", 100, 0, 100)


def test_a_step_carries_once_and_a_run_until_all_is_quiet() -> None:
    desk, other = two_by_two(), two_by_two()
    for each in (desk, other):
        submit(each["c1"], account="bob", side="sell")
        submit(each["c2"])
    moved = []
    while step := desk.step():
        moved.append(step)
    assert len(moved) > 1
    assert other.run() == sum(moved)
    assert (desk.run(), other.run(), desk.undelivered()) == (0, 0, 0)
    assert desk.behind()["behind"].sum() == 0


def test_symbols_are_spread_over_street_side_systems_and_stay_when_one_is_added() -> None:
    symbols = [f"S{i:03}" for i in range(200)]
    three, four = (network(streets=n) for n in (3, 4))
    before, after = ({s: n.street_for(s) for s in symbols} for n in (three, four))
    assert set(before.values()) == {"s1", "s2", "s3"}
    assert {after[s] for s in symbols if after[s] != before[s]} == {"s4"}


# Cut and mended.


def test_what_two_systems_cannot_exchange_comes_when_their_link_is_mended() -> None:
    desk = two_by_two()
    desk.partition("c1", "c2")
    order = submit(desk["c1"])
    desk.step()
    with pytest.raises(NotYetReplicated):
        desk["c2"].status(order, at_least=order.token)
    desk.run()
    assert state(desk["c2"], order) == ("new", 100, 0, 100), "known by what the street reported"
    assert desk.behind().filter(desk.behind()["behind"] > 0).rows() == [("c1", "c2", 1, True)]
    desk.heal()
    desk.run()
    assert desk["c2"].status(order, at_least=order.token).ord_status == "new"
    assert desk.audit().verdict


def test_a_system_that_is_cut_off_takes_orders_and_answers_and_the_others_go_on() -> None:
    desk = two_by_two()
    desk.partition("c1")
    alone, other = submit(desk["c1"]), submit(desk["c2"], side="sell", account="bob")
    desk.run()
    assert state(desk["c1"], alone) == ("pending_new", 100, 0, 100)
    assert state(desk["c2"], other) == ("new", 100, 0, 100)
    assert desk.undelivered() == 1
    desk.heal()
    desk.run()
    assert [state(desk["c2"], o)[0] for o in (alone, other)] == ["filled", "filled"]
    assert desk.audit().verdict


def test_only_the_symbols_of_a_street_side_system_that_is_cut_off_wait() -> None:
    desk = two_by_two()
    desk.partition("s1")
    waiting, working = submit(desk["c1"], symbol=S1), submit(desk["c1"], symbol=S2)
    desk.run()
    assert [state(desk["c2"], o)[0] for o in (waiting, working)] == ["pending_new", "new"]
    desk.heal("s1")
    desk.run()
    assert state(desk["c2"], waiting)[0] == "new"


def test_trade_goes_on_without_the_firm_and_each_fill_is_cleared_once_afterwards() -> None:
    desk = two_by_two()
    desk.partition("firm")
    filled(desk)
    before = desk["c1"].positions().select("account", "asset", "amount").rows()
    assert desk["c1"].positions()["uncleared"].abs().sum() > 0
    desk.heal()
    desk.run()
    after = desk["c1"].positions()
    assert after.select("account", "asset", "amount").rows() == before
    assert after["uncleared"].abs().sum() == 0
    assert desk.audit().verdict


CUTS = st.lists(
    st.tuples(
        st.sampled_from(["partition", "heal"]),
        st.lists(st.sampled_from(["c1", "c2", "s1", "firm"]), max_size=3, unique=True),
    ),
    max_size=8,
)


@given(CUTS)
def test_cut_are_the_pairs_that_were_cut_last(actions: list[tuple[str, list[str]]]) -> None:
    desk = network(customers=2)
    expected: set[frozenset[str]] = set()
    everything = {frozenset((a, b)) for a in desk.systems for b in desk.systems if a != b}
    for action, names in actions:
        pairs = {p for p in everything if not names or _is_between(p, *names)}
        if action == "heal":
            desk.heal(*names)
            expected -= pairs
        elif names:
            desk.partition(*names)
            expected |= pairs
    assert {pair for pair in everything if desk.cut(*pair)} == expected


def _is_between(pair: frozenset[str], one: str, *others: str) -> bool:
    return one in pair and (not others or bool(pair & set(others)))


@pytest.mark.parametrize("names", [["c9"], ["c1", "c9"], ["c1", "s1", "v1"]])
@pytest.mark.parametrize("action", ["partition", "heal"])
def test_a_system_that_does_not_exist_cannot_be_cut_off_or_mended(
    names: list[str], action: str
) -> None:
    desk = network()
    with pytest.raises(InvalidValue, match=names[-1]):
        getattr(desk, action)(*names)
    assert not desk.behind()["cut"].any()


# Delivered twice.


def test_what_is_delivered_twice_is_executed_once() -> None:
    desk = network()
    street = desk["s1"]
    assert isinstance(street, StreetSystem)
    submit(desk["c1"], account="bob", side="sell")
    order = submit(desk["c1"], order_qty=30)
    log = desk["c1"].tables["requests"].logs[desk["c1"].origin.code]
    sent = as_written(pa.concat_batches(log.batches()))
    for _ in range(2):
        street.accept(sent)
        street.accept(sent)
        desk.run()
    assert state(desk["c1"], order) == ("filled", 30, 30, 0)
    assert len(street.tables["executions"]) == 4
    assert desk.audit().verdict


def test_what_is_replicated_twice_is_held_once() -> None:
    desk = two_by_two()
    filled(desk)
    held = desk.summary()
    for link in desk.links:
        for dataset, table in link.source.tables.items():
            log = table.logs.get(link.source.origin.code)
            if dataset in link.target.tables and log and (batch := log.since(0)):
                assert link.target.receive(dataset, as_written(batch)) == 0
    assert desk.summary() == held


def test_what_waits_for_a_street_side_system_is_its_senders_to_lose() -> None:
    desk = two_by_two()
    desk.partition("s1")
    waiting = [submit(desk[name]) for name in ("c1", "c2")]
    desk.run()
    desk.lose_disk("s1")
    assert desk.undelivered() == 2
    desk.lose_disk("c1")
    desk.heal()
    desk.run()
    assert [state(desk["c1"], order)[0] for order in waiting] == ["new", "new"]
    assert sound(desk.audit())


def test_an_order_that_only_a_peer_gives_back_later_is_sent_then() -> None:
    desk = two_by_two()
    desk.partition("c1", "s1", "s2", "firm")
    order = submit(desk["c1"])
    desk.run()
    desk.partition("c1")
    desk.lose_disk("c1")
    assert desk.audit().verdict is None, "c2 will give back what c1 has lost"
    desk.heal()
    desk.run()
    assert state(desk["c1"], order) == ("new", 100, 0, 100)
    assert sound(desk.audit())


# A change overtakes its order.


def overtaken(desk: Network) -> Order:
    """An order whose cancelation has reached its street-side system before it did."""
    desk.partition("c1", "s1")
    order = submit(desk["c1"])
    desk.run()
    desk["c2"].cancel(order)
    desk.run()
    assert desk.undelivered() == 1
    assert desk.venue.reports.count == 0
    assert desk.audit().verdict is None, "the order may still come"
    return order


def test_a_cancel_that_overtakes_its_order_waits_for_it() -> None:
    desk = two_by_two()
    order = overtaken(desk)
    desk.heal()
    desk.run()
    assert desk.venue.reports.table()["exec_type"].to_pylist() == ["new", "canceled"]
    assert [state(c, order) for c in desk.customers] == [("canceled", 100, 0, 0)] * 2
    assert desk.audit().verdict


def test_a_cancel_that_waits_for_its_order_is_not_lost_with_the_system_it_waits_at() -> None:
    desk = two_by_two()
    order = overtaken(desk)
    desk.lose_disk("s1")
    desk.heal()
    desk.run()
    assert state(desk["c2"], order) == ("canceled", 100, 0, 0)
    assert desk.audit().verdict


def test_a_cancel_and_its_order_that_come_together_are_worked_in_their_order() -> None:
    desk = two_by_two()
    desk.partition("s1")
    order = submit(desk["c2"])
    desk.run()
    desk["c1"].cancel(order)
    desk.heal()
    desk.run()
    assert state(desk["c2"], order) == ("canceled", 100, 0, 0)


def test_a_replace_waits_for_its_order_and_another_orders_change_does_not() -> None:
    desk = two_by_two()
    known = submit(desk["c2"], account="bob", side="sell", price=PRICE + 100)
    desk.run()
    desk.partition("c1", "s1")
    order = submit(desk["c1"])
    desk.run()
    desk["c2"].replace(order, order_qty=60)
    desk["c2"].cancel(known)
    desk.run()
    assert state(desk["c2"], known)[0] == "canceled"
    desk.heal()
    desk.run()
    assert state(desk["c2"], order) == ("new", 60, 0, 60)


# The same every time.


def play(desk: Network, clock: ManualClock) -> None:
    """A few orders of every kind of end, with a link cut in between."""
    desk.partition("c1", "c2")
    for i, name in enumerate(("c1", "c2", "c1", "c2")):
        clock.advance(1_000)
        terms = {"symbol": (S1, S2)[i % 2], "order_qty": 10 * (i + 1)}
        submit(desk[name], account="bob", side="sell", **terms)
        clock.advance(1_000)
        order = submit(desk[name], **terms | {"order_qty": 30})
        desk.step()
        if order.reject_reason is None and desk[name].status(order).leaves_qty:
            desk[name].cancel(order)
    submit(desk["c1"], order_qty=CASH)
    desk.heal()
    clock.advance(1_000)
    desk.run()


def test_two_runs_of_the_same_leave_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        clock = ManualClock(NOON)
        with two_by_two(data=tmp_path / name, clock=clock) as desk:
            play(desk, clock)
            assert desk.audit().verdict
    one, other = contents(tmp_path / "one"), contents(tmp_path / "other")
    assert len(one) == 2 * 5 + 2 * 4 + 5 + 1 + 1
    assert one == other


ACTIONS = st.one_of(
    st.tuples(st.just("submit"), st.sampled_from(["c1", "c2"]), st.integers(0, 2**16)),
    st.tuples(st.just("change"), st.sampled_from(["c1", "c2"]), st.integers(0, 2**16)),
    st.tuples(st.just("partition"), st.sampled_from(["c1", "c2", "s1", "s2", "firm"]), st.none()),
    st.tuples(st.sampled_from(["heal", "step", "run"]), st.none(), st.none()),
)


@settings(max_examples=25)
@given(st.lists(ACTIONS, max_size=30))
def test_any_run_ends_in_an_audit_that_is_true(actions: list[tuple[str, Any, Any]]) -> None:
    clock = ManualClock(NOON)
    desk = two_by_two(clock=clock)
    for action, name, number in actions:
        clock.advance(1)
        if action == "submit":
            terms = {
                "account": ("alice", "bob")[number % 2],
                "side": ("buy", "sell")[number // 2 % 2],
            }
            terms["symbol"] = (S1, S2)[number // 4 % 2]
            qty, price = 10 + 10 * (number // 8 % 5), PRICE + 100 * (number // 40 % 3)
            submit(desk[name], order_qty=qty, price=price, **terms)
        elif action == "change":
            change(desk, name, number)
        else:
            getattr(desk, action)(*([name] if name else []))
            assert desk.audit().verdict is not False
    desk.heal()
    desk.run()
    assert desk.audit().verdict
    answers = [system.statuses() for system in desk.customers]
    assert answers[0].equals(answers[1])


def change(desk: Network, name: str, number: int) -> None:
    """Cancel or replace one of the orders that a system knows; it may be too late for that."""
    known = desk[name].statuses()["order_id"].to_list()
    if not known:
        return
    with suppress(InvalidValue):
        if number % 2:
            desk[name].cancel(known[number // 2 % len(known)])
        else:
            desk[name].replace(known[number // 2 % len(known)], order_qty=10 + number % 7 * 10)


# How a network is made.


@pytest.mark.parametrize(
    ("counts", "field"), [((0, 1), "customers"), ((1, 0), "streets"), ((64, 1), "customers")]
)
def test_a_network_has_1_to_63_systems_of_a_kind(counts: tuple[int, int], field: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        network(*counts)
    assert raised.value.field == field


@pytest.mark.parametrize(
    "books",
    [OpeningBooks(accounts=()), OpeningBooks(symbols=()), OpeningBooks((), ())],
    ids=["no accounts", "no symbols", "nothing"],
)
def test_the_firm_may_open_with_empty_books(books: OpeningBooks) -> None:
    desk = network(books=books)
    assert desk.run() == 0
    assert desk.audit().verdict
    with pytest.raises(InvalidValue, match="described"):
        desk.firm.positions("nobody")
    with pytest.raises(NotYetReplicated):  # nobody but the firm knows that it has none
        submit(desk["c1"])


def test_a_new_network_is_quiet_and_every_system_knows_the_firms_books() -> None:
    desk = two_by_two()
    assert desk.run() == 0
    for system in desk:
        assert len(system.tables["accounts"]) == len(BOOKS.accounts)
        assert len(system.tables["instruments"]) == len(BOOKS.symbols)
    assert desk.audit().verdict


def test_a_system_is_found_by_its_name_and_no_other() -> None:
    desk = two_by_two()
    assert [system.name for system in desk] == ["c1", "c2", "s1", "s2", "firm"]
    with pytest.raises(InvalidValue, match="c3"):
        desk["c3"]


def test_a_change_waits_for_its_own_order_and_for_no_other_whatever_their_ids() -> None:
    """Neighbouring ids are the same number where 53 bits are kept of them."""
    desk = network(clock=ManualClock(NOON))
    street = desk.streets[0]

    def cancel(request_id: int, order_id: int) -> Row:
        return {"record_id": request_id, "order_id": order_id, "request_type": "cancel"}

    ids = [record_id("c1", n) for n in range(60)]
    street.accept(batch("requests", [new(ids[47]), cancel(ids[50], ids[24])]))
    street.work()
    assert desk.venue.reports.table()["request_id"].to_pylist() == [ids[47]]
    street.accept(batch("requests", [cancel(ids[51], ids[25]), new(ids[24], cl_ord_id="B")]))
    street.work()
    street.work()
    told = desk.venue.reports.table().select(["request_id", "exec_type"]).to_pylist()
    assert [tuple(row.values()) for row in told[1:]] == [(ids[24], "new"), (ids[50], "canceled")]
    assert street.has_work, "the order of one change has not come"
