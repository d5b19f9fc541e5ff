"""Orders that come at the same time share an fdatasync, and are decided as if one by one.

Goal: whoever is acknowledged is on disk; names, ids and means are never given twice; a disk that
refuses leaves no trace.
Method: tasks of an event loop, whose groups are the same every time, and threads, whose are not.
"""

import asyncio
import errno
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl
import pytest

from tests.build import CASH, NOON, PRICE, TERMS, network, submit
from tradesys.errors import InvalidValue, Outcome, StorageError
from tradesys.network import Network
from tradesys.orders import Order
from tradesys.systems.customer import CustomerSystem


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Network]:
    with network(customers=2, data=tmp_path) as made:
        yield made


def together(system: CustomerSystem, *orders: dict[str, Any]) -> list[Order | BaseException]:
    """Submit these at the same time."""

    async def all_of_them() -> list[Order | BaseException]:
        tasks = (system.submit_async(**TERMS | terms) for terms in orders)
        return await asyncio.gather(*tasks, return_exceptions=True)

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
    assert [o.record_id - orders[0].record_id for o in orders] == list(range(8))  # type: ignore[union-attr]
    assert len(desk["c1"].tables["requests"]) == 8


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
    assert [o.reject_reason for o in orders] == [None] * 3 + ["not enough cash"]  # type: ignore[union-attr]


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
        assert {r.outcome for r in refused} == {Outcome.DID_NOT_HAPPEN}  # type: ignore[union-attr]
    assert len(c1.tables["requests"]) == 0
    first, second = together(c1, {"cl_ord_id": "A", "order_qty": 400}, {"cl_ord_id": "B"})
    assert isinstance(first, Order)
    assert isinstance(second, Order)
    assert (first.repeated, first.reject_reason, second.reject_reason) == (False, None, None)
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
