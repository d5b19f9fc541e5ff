"""Orders that come at the same time share an fdatasync, and are decided as if one by one.

Goal: whoever is acknowledged is on disk; names, ids and means are never given twice; a disk that
refuses leaves no trace.
Method: tasks of an event loop, whose groups are the same every time, and threads, whose are not.
"""

import asyncio
import errno
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import CASH, NOON, PRICE, TERMS, filled, network, record_id, submit
from tests.test_submit_many import ROWS, assert_the_same, change, order, table, tables
from tradesys.inquiry.answers import Order
from tradesys.network import Network
from tradesys.records.errors import InvalidValue, Outcome, StorageError, SystemDown
from tradesys.systems.customer import CustomerSystem


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Network]:
    with network(customers=2, data=tmp_path) as made:
        yield made


def together(system: CustomerSystem, *entries: dict[str, Any] | pl.DataFrame) -> list[Any]:
    """Submit these orders and tables at the same time."""

    def entered(each: dict[str, Any] | pl.DataFrame) -> Coroutine[Any, Any, Any]:
        if isinstance(each, pl.DataFrame):
            return system.submit_many_async(each)
        return system.submit_async(**TERMS | each)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(entered, entries), return_exceptions=True)

    return asyncio.run(all_of_them())


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the disk was asked to make something durable."""
    counted: Counter[str] = Counter()
    fdatasync = os.fdatasync

    def counting(fd: int) -> None:
        counted["fdatasync"] += 1
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", counting)
    return counted


def test_orders_of_one_moment_share_an_fdatasync(desk: Network, syncs: Counter[str]) -> None:
    orders = together(desk["c1"], *[{"order_qty": 10}] * 8)
    assert syncs["fdatasync"] == 1
    assert [o.record_id - orders[0].record_id for o in orders] == list(range(8))
    assert len(desk["c1"].tables["requests"]) == 8


def test_tables_and_orders_of_one_moment_share_an_fdatasync(
    desk: Network, syncs: Counter[str]
) -> None:
    c1, two = desk["c1"], table(order(order_qty=10), order(order_qty=20))
    one, first, again, other, second = together(c1, {}, two, {"order_qty": 0}, {}, two)
    assert syncs["fdatasync"] == 1
    assert isinstance(again, InvalidValue)
    ids = [one.record_id, *first["record_id"], other.record_id, *second["record_id"]]
    assert ids == list(range(ids[0], ids[0] + 6))
    requests = c1.tables["requests"].frame
    assert requests["record_id"].to_list() == ids
    assert requests["received_at"].n_unique() == 1


ORDERS = ROWS.map(lambda row: order(**row | {"request_type": "new", "cl_ord_id": row["cl_ord_id"]}))
ENTRIES = st.lists(st.one_of(ORDERS, tables().map(lambda made: made[0])), max_size=6)


@settings(max_examples=40)
@given(st.lists(ENTRIES, min_size=1, max_size=3))
def test_tables_and_orders_of_one_moment_are_decided_as_if_one_by_one(
    moments: list[list[dict[str, Any] | list[dict[str, Any]]]],
) -> None:
    at_once, single = network(), network()
    for desk in (at_once, single):
        filled(desk, order_qty=10)  # a last price, for market orders
    for moment in moments:
        entries = [table(*each) if isinstance(each, list) else entry_of(each) for each in moment]
        found = together(at_once["c1"], *entries)
        expected = [answer for each in entries for answer in together(single["c1"], each)]
        assert [told(answer) for answer in found] == [told(answer) for answer in expected]
        assert_the_same(at_once, single)
    for desk in (at_once, single):
        desk.run()
        assert desk.audit().verdict
    assert_the_same(at_once, single)


def entry_of(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a table as one order's terms."""
    terms = {n: v for n, v in row.items() if n not in ("request_type", "time_in_force")}
    return terms | {"time_in_force": row["time_in_force"] or "day"}


def told(answer: Any) -> Any:
    """An answer, as values that compare."""
    if isinstance(answer, pl.DataFrame):
        return answer.to_dicts()
    return str(answer) if isinstance(answer, Exception) else (answer, answer.repeated)


def test_a_name_that_is_being_written_in_a_table_is_taken(desk: Network) -> None:
    named = table(order(cl_ord_id="A"), order(cl_ord_id="B", order_qty=50))
    first, again, other, second = together(
        desk["c1"], named, {"cl_ord_id": "A"}, {"cl_ord_id": "B"}, named
    )
    assert (again.order_id, again.repeated) == (first["order_id"][0], True)
    assert isinstance(other, InvalidValue)
    assert second["repeated"].all()
    assert second["order_id"].to_list() == first["order_id"].to_list()
    assert len(desk["c1"].tables["requests"]) == 2


def test_a_name_that_a_change_takes_is_no_order_s_at_the_same_moment(desk: Network) -> None:
    c1 = desk["c1"]
    submit(c1, cl_ord_id="A")
    changes = table(change("replace", "A", cl_ord_id="B"), change("cancel", "A", cl_ord_id="C"))
    verdicts, other, repeated = together(c1, changes, {"cl_ord_id": "B"}, {"cl_ord_id": "A"})
    assert verdicts["accepted"].all()
    assert isinstance(other, InvalidValue)
    assert repeated.repeated


def test_tables_of_one_moment_draw_on_the_same_means(desk: Network) -> None:
    half = table(order(order_qty=250))
    assert 2 * 250 * PRICE == CASH
    taken = together(desk["c1"], half, half, half, {"order_qty": 10})
    reasons = [answer["reject_reason"][0] for answer in taken[:3]] + [taken[3].reject_reason]
    assert reasons == [None, None, "not enough cash", "not enough cash"]


def test_a_single_order_is_written_at_once(desk: Network, syncs: Counter[str]) -> None:
    submit(desk["c1"])
    assert syncs["fdatasync"] == 1


def test_what_was_written_together_is_read_back_as_it_was(desk: Network) -> None:
    assert desk.data is not None
    together(desk["c1"], *({"order_qty": 10 * n, "cl_ord_id": f"N{n}"} for n in range(1, 6)))
    before = desk["c1"].tables["requests"].frame
    desk.close()
    with Network.open(desk.data) as again:
        assert again["c1"].tables["requests"].frame.equals(before)


def test_orders_of_one_moment_draw_on_the_same_means(desk: Network) -> None:
    orders = together(desk["c1"], *[{"order_qty": 130}] * 4)
    assert 3 * 130 * PRICE < CASH < 4 * 130 * PRICE
    assert [o.reject_reason for o in orders] == [None] * 3 + ["not enough cash"]


def test_a_name_given_twice_at_one_moment_is_one_order(desk: Network) -> None:
    first, again, other = together(
        desk["c1"], {"cl_ord_id": "A"}, {"cl_ord_id": "A"}, {"cl_ord_id": "A", "order_qty": 10}
    )
    assert isinstance(first, Order)
    assert isinstance(again, Order)
    assert (again.order_id, again.repeated) == (first.order_id, True)
    assert isinstance(other, InvalidValue)
    assert len(desk["c1"].tables["requests"]) == 1


def test_an_order_in_error_leaves_the_others_of_its_moment_alone(desk: Network) -> None:
    good, bad, alike = together(desk["c1"], {}, {"order_qty": 15}, {})
    assert isinstance(bad, InvalidValue)
    assert isinstance(good, Order)
    assert isinstance(alike, Order)
    assert alike.record_id == good.record_id + 1


def test_unknown_terms_are_refused_as_python_does(desk: Network) -> None:
    (found,) = together(desk["c1"], {"quantity": 7})
    assert isinstance(found, TypeError)
    assert "quantity" in str(found)


def test_a_disk_that_refuses_refuses_the_whole_group_and_leaves_no_trace(
    desk: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    c1 = desk["c1"]
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        refused = together(c1, {"cl_ord_id": "A", "order_qty": 400}, {"cl_ord_id": "B"})
        assert [type(r) for r in refused] == [StorageError, StorageError]
        assert {r.outcome for r in refused} == {Outcome.DID_NOT_HAPPEN}
    assert len(c1.tables["requests"]) == 0
    first, second = together(c1, {"cl_ord_id": "A", "order_qty": 400}, {"cl_ord_id": "B"})
    assert isinstance(first, Order)
    assert isinstance(second, Order)
    assert (first.repeated, first.reject_reason, second.reject_reason) == (False, None, None)
    desk.run()
    assert desk.audit().verdict


def test_an_interrupt_of_a_write_leaves_no_record_and_fails_what_others_have_in_it(
    desk: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    c1, real, interrupts = desk["c1"], os.fdatasync, [KeyboardInterrupt()]

    def interrupted(fd: int) -> None:
        if interrupts:
            raise interrupts.pop()
        real(fd)

    _, group = c1._stage({**TERMS, "order_qty": 10}, None)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            submit(c1, order_qty=10)
    with pytest.raises(StorageError, match="interrupted"):
        c1._group.commit(group)
    desk.crash("c1")
    desk.restart("c1")
    assert len(desk["c1"].tables["requests"]) == 0
    assert not desk.recovered
    assert submit(desk["c1"], order_qty=10).record_id == record_id("c1", 0)


@pytest.mark.parametrize("refused", ["first", "second", "third", "fdatasync"])
def test_of_a_group_that_the_disk_refused_nothing_is_there_when_it_is_opened_again(
    desk: Network, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    assert desk.data is not None
    c1, calls = desk["c1"], Counter[str]()
    before = submit(c1, order_qty=10)
    nth = ["first", "second", "third"].index(refused) if refused != "fdatasync" else -1

    def refusing(name: str, which: int) -> Callable[..., Any]:
        real = getattr(os, name)

        def act(*args: Any) -> Any:
            calls[name] += 1
            if calls[name] - 1 == which:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*args)

        return act

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", refusing("pwrite", nth))
        patched.setattr(os, "fdatasync", refusing("fdatasync", 0 if nth < 0 else -1))
        two = table(order(order_qty=10), order(order_qty=10, cl_ord_id="A"))
        answers = together(c1, two, {"order_qty": 10}, two.head(1))
    assert [type(answer) for answer in answers] == [StorageError] * 3
    assert {answer.outcome for answer in answers} == {Outcome.DID_NOT_HAPPEN}
    desk.crash("c1")
    desk.restart("c1")
    assert not desk.recovered or not desk["c1"].origin.incarnation
    assert desk["c1"].tables["requests"].frame["record_id"].to_list() == [before.record_id]
    after, again = together(desk["c1"], two, {"order_qty": 10})
    assert after["accepted"].all()
    assert again.record_id == before.record_id + 3
    desk.run()
    assert desk.audit().verdict


def test_threads_may_submit_cancel_and_ask_at_the_same_time(desk: Network) -> None:
    c1 = desk["c1"]
    desk.firm.open_accounts([f"a{n}" for n in range(8)], cash=CASH, shares={"ALFA": 500})
    desk.run()

    def customer(number: int) -> int:
        account = f"a{number}"
        for turn in range(20):
            order = submit(c1, account=account, order_qty=10, cl_ord_id=f"N{turn}")
            assert c1.status(order).ord_status == "pending_new"
            c1.cancel(order)
            rows = pl.DataFrame([TERMS | {"account": account, "side": "sell", "order_qty": 10}])
            assert c1.submit_many(rows)["accepted"].all()
        return number

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(customer, range(8))) == list(range(8))
    ids = c1.tables["requests"].frame["record_id"]
    assert len(ids) == 8 * 20 * 3
    assert ids.is_unique().all()
    desk.run()
    assert desk.audit().verdict
    assert c1.tables["requests"].frame["ts"].dt.timestamp("ns").unique().to_list() == [NOON]


def test_orders_may_be_entered_and_asked_about_while_the_network_runs(desk: Network) -> None:
    done = Event()

    def carry() -> None:
        while not done.is_set():
            desk.step()

    def customer(system: CustomerSystem) -> list[int]:
        orders = []
        for turn in range(25):
            order = submit(system, order_qty=10, price=PRICE - 100 * (turn % 5))
            assert system.status(order).order_qty == 10
            assert system.orders("alice")["order_id"].is_unique().all()
            orders.append(order.order_id)
        return orders

    with ThreadPoolExecutor(3) as pool:
        carried = pool.submit(carry)
        try:
            entered = [i for ids in pool.map(customer, desk.customers) for i in ids]
        finally:
            done.set()
        carried.result()
    desk.run()
    assert desk.audit().verdict
    for system in desk.customers:
        assert system.statuses()["order_id"].to_list() == sorted(entered)


def test_a_task_that_is_canceled_leaves_the_others_of_its_moment_alone(desk: Network) -> None:
    async def one_is_canceled() -> list[Order | BaseException]:
        tasks = [asyncio.create_task(desk["c1"].submit_async(**TERMS)) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, *others = asyncio.run(one_is_canceled())
    assert isinstance(first, asyncio.CancelledError)
    assert all(isinstance(order, Order) for order in others)
    assert len(desk["c1"].tables["requests"]) == 4


def test_event_loops_of_several_threads_may_submit_at_one_system(desk: Network) -> None:
    def loop(number: int) -> int:
        orders = together(desk["c1"], *[{"order_qty": 10, "price": 100 * (number + 1)}] * 25)
        return sum(isinstance(order, Order) for order in orders)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(loop, range(4))) == [25] * 4
    assert len(desk["c1"].tables["requests"]) == 100


def test_what_is_acknowledged_while_the_network_closes_is_there_afterwards(tmp_path: Path) -> None:
    for turn in range(5):
        folder = tmp_path / str(turn)
        acknowledged: list[int] = []

        def enter(system: CustomerSystem, acknowledged: list[int] = acknowledged) -> None:
            with suppress(SystemDown):
                while True:
                    acknowledged.append(submit(system, order_qty=10).record_id)

        desk = network(data=folder)
        with ThreadPoolExecutor(4) as pool:
            tasks = [pool.submit(enter, desk["c1"]) for _ in range(4)]
            while len(acknowledged) < 20 * turn:
                pass
            desk.close()
            for task in tasks:
                task.result()
        with Network.open(folder) as again:
            assert not again.recovered
            assert again["c1"].tables["requests"].frame["record_id"].to_list() == sorted(
                acknowledged
            )


def test_a_system_that_is_closed_or_shows_the_past_takes_no_orders() -> None:
    desk = network()
    order = submit(desk["c1"])
    past = desk.as_of(NOON)["c1"]
    desk.close()
    for system in (desk["c1"], past):
        assert isinstance(system, CustomerSystem)
        assert system.status(order).order_qty == 100
        for act in (
            lambda system=system: submit(system),
            lambda system=system: system.cancel(order),
            lambda system=system: system.submit_many(pl.DataFrame([TERMS])),
        ):
            with pytest.raises(SystemDown, match="takes nothing more"):
                act()
        assert len(system.tables["requests"]) == 1
