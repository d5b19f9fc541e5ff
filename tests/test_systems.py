"""What every system is: who may write what, what an inquiry is answered from, what a disk can do.

Goal: read-only data cannot be written by its holder, in the API or by what arrives; nothing is
acknowledged that is not durable, and nothing half-done stays behind.
Method: every pair of a kind of system and a dataset; a disk that refuses once.
"""

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.build import (
    PRICE,
    batch,
    contents,
    executions,
    filled,
    network,
    record_id,
    run_of,
    state,
    submit,
)
from tradesys.network import Network
from tradesys.records.errors import (
    InvalidValue,
    NotYetReplicated,
    ReadOnlyError,
    SchemaError,
    StorageError,
)
from tradesys.records.schemas import SCHEMAS, held, parse_origin
from tradesys.routes import WRITER, Holding, holdings

NAMES = ("c1", "s1", "firm")
FOREIGN = [
    (name, dataset)
    for name in NAMES
    for dataset in SCHEMAS
    if WRITER[dataset] is not parse_origin(name).kind
]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Network]:
    with network(customers=2, data=tmp_path) as made:
        yield made


def trace(desk: Network) -> tuple[object, ...]:
    """All that a write could leave behind: records and files."""
    assert desk.data is not None
    return [s.tables[n].positions for s in desk for n in s.tables], contents(desk.data)


# Who may write what.


@pytest.mark.parametrize(("name", "dataset"), FOREIGN)
def test_a_system_cannot_write_what_another_kind_of_system_writes(
    desk: Network, name: str, dataset: str
) -> None:
    system, before = desk.systems[name], trace(desk)
    with pytest.raises(ReadOnlyError, match=dataset):
        system.record(dataset, [{}])
    with pytest.raises(ReadOnlyError, match=dataset):
        system.commit(dataset, run_of("requests", "c1", 1))
    if dataset in system.read_only:
        with pytest.raises(ReadOnlyError, match=dataset):
            system.read_only[dataset].append([{}])
    assert trace(desk) == before


@pytest.mark.parametrize("name", NAMES)
def test_what_a_user_is_handed_of_a_system_reads_and_writes_by_append_alone(
    desk: Network, name: str
) -> None:
    system = desk.systems[name]
    for dataset in (*system.authoritative.values(), *system.read_only.values()):
        public = {each for each in dir(dataset) if not each.startswith("_")}
        assert public - {"append"} == {"arrow", "frame", "has", "positions", "rows", "schema"}
    for dataset in system.read_only.values():
        before = trace(desk)
        frame, rows = dataset.frame, dataset.arrow.to_pylist()
        dataset.arrow.append_column("more", pa.nulls(len(dataset)))
        frame.clear()
        rows.clear()
        assert trace(desk) == before


# Every dataset a system holds, with a batch of every origin that may not write it.
ARRIVING = [
    (name, dataset, origin)
    for name in NAMES
    for dataset in ("requests", "executions", "postings")
    if dataset in holdings(parse_origin(name).kind)
    for origin in ("c3", "s3", "firm", "v")
    if parse_origin(origin if origin != "v" else "v1").kind is not WRITER[dataset]
]


@pytest.mark.parametrize(("name", "dataset", "origin"), ARRIVING)
def test_records_of_a_kind_that_may_not_write_them_are_refused_when_they_arrive(
    desk: Network, name: str, dataset: str, origin: str
) -> None:
    before = trace(desk)
    with pytest.raises(ReadOnlyError, match=f"{name} refused {dataset}"):
        desk.systems[name].receive(dataset, run_of(dataset, origin, 2))
    assert trace(desk) == before


def test_records_of_a_dataset_that_no_route_brings_are_refused(desk: Network) -> None:
    with pytest.raises(ReadOnlyError, match="s1 does not hold requests"):
        desk.systems["s1"].receive("requests", run_of("requests", "c1", 1))


@pytest.mark.parametrize("name", NAMES)
def test_the_two_kinds_of_data_are_separate_and_named(desk: Network, name: str) -> None:
    system = desk.systems[name]
    for data, holding in (
        (system.authoritative, Holding.AUTHORITATIVE),
        (system.read_only, Holding.READ_ONLY),
    ):
        assert set(data) == {n for n, h in holdings(system.kind).items() if h is holding}
        for dataset in SCHEMAS:
            assert (dataset in data) == (holdings(system.kind).get(dataset) is holding)
    with pytest.raises(InvalidValue, match="authoritative"):
        system.authoritative["gossip"]


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_that_does_not_exist_cannot_be_written(desk: Network, name: str) -> None:
    with pytest.raises((InvalidValue, ReadOnlyError), match="gossip"):
        desk.systems[name].record("gossip", [{}])


# Records written by hand.


ACCOUNT: dict[str, Any] = {"account": "carol", "name": "Carol", "account_status": "active"}


LEG: dict[str, Any] = {"account": "bob", "asset": "USD", "amount": 5, "settle_date": dt.date.max}


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": 2.5},
        {"amount": 2.0},
        {"amount": True},
        {"amount": "5"},
        {"amount": 1 << 63},
        {"settle_date": 1},
        {"settle_date": "2024-06-03"},
        {"settle_date": dt.datetime(2024, 6, 3, tzinfo=dt.UTC)},
        {"account": b"bob"},
        {"account": "\ud800"},
        {"exec_id": -1},
    ],
    ids=str,
)
def test_a_value_is_never_cut_to_fit_a_record(desk: Network, wrong: dict[str, Any]) -> None:
    before = trace(desk)
    (name,) = wrong
    with pytest.raises(SchemaError, match=f"postings: {name}=.*: expected"):
        desk.firm.record("postings", [LEG, LEG | wrong])
    assert trace(desk) == before
    assert desk.firm.record("postings", [LEG]).num_rows == 1


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({**ACCOUNT, "age": 7}, "age"),
        ({**ACCOUNT, "record_id": 7}, "record_id"),
        ({"account": "carol", "name": "Carol"}, "account_status"),
        ({**ACCOUNT, "name": None}, "name"),
        ({**ACCOUNT, "name": 7}, "accounts"),
    ],
    ids=["unknown", "given by the system", "missing", "null", "type"],
)
def test_a_record_that_does_not_fit_its_schema_is_refused_and_none_is_written(
    desk: Network, row: dict[str, Any], named: str
) -> None:
    before = trace(desk)
    with pytest.raises(SchemaError, match=named):
        desk.firm.record("accounts", [ACCOUNT, row])
    assert trace(desk) == before


def test_no_records_are_written_by_writing_none(desk: Network) -> None:
    before = trace(desk)
    assert desk.firm.record("accounts", []).num_rows == 0
    assert trace(desk) == before


def test_the_system_gives_records_their_ids_and_time(desk: Network) -> None:
    written = desk.firm.record("accounts", [ACCOUNT, ACCOUNT | {"account": "dave"}])
    assert written["record_id"].to_pylist() == [record_id("firm", i) for i in (2, 3)]
    assert written["ts"].cast(pa.int64()).to_pylist() == [desk.clock()] * 2


def test_a_later_record_of_an_account_or_a_symbol_supersedes(desk: Network) -> None:
    desk.firm.record("accounts", [ACCOUNT, ACCOUNT | {"account_status": "closed"}])
    desk.firm.list_instruments(["ALFA"], tick_size=1, lot_size=7)
    desk.run()
    assert submit(desk["c1"], account="carol", order_qty=7).reject_reason == "account closed"
    assert submit(desk["c1"], order_qty=7, price=200_001).reject_reason is None


# What a table of records shows.


def test_a_table_is_all_records_held_by_origin_and_sequence_however_they_arrived() -> None:
    desk = network(customers=3)
    for name in ("c3", "c1", "c3", "c2"):
        submit(desk[name])
        desk.run()
    ids = [record_id(*key) for key in (("c1", 0), ("c2", 0), ("c3", 0), ("c3", 1))]
    for system in desk.customers:
        table = system.tables["requests"]
        assert table.arrow["record_id"].to_pylist() == ids
        assert table.frame["record_id"].to_list() == ids
        assert table.positions == {"c1": 1, "c2": 1, "c3": 2}
        assert len(table) == 4


@pytest.mark.parametrize("dataset", ["requests", "executions"])
def test_a_table_without_records_has_its_columns(dataset: str) -> None:
    table = network()["c1"].tables[dataset]
    assert table.arrow.schema == held(SCHEMAS[dataset])
    assert table.frame.columns == [*SCHEMAS[dataset].names, "received_at"]
    assert table.frame.is_empty()


# Inquiries.


def test_an_inquiry_that_asks_for_records_on_their_way_is_told_which(desk: Network) -> None:
    order = submit(desk["c1"])
    with pytest.raises(NotYetReplicated) as raised:
        desk["c2"].status(order, at_least=order.token)
    assert raised.value.missing == ("c1-0", "c1-0")
    desk.run()
    assert desk["c2"].status(order, at_least=order.token).ord_status == "new"


def test_an_inquiry_for_an_order_that_may_be_on_its_way_says_so(desk: Network) -> None:
    order = submit(desk["c1"])
    with pytest.raises(NotYetReplicated) as raised:
        desk["c2"].status(order)
    assert raised.value.missing == ("c1-0",)


def test_an_order_known_only_through_its_executions_is_answered() -> None:
    desk = network(customers=2)
    desk.partition("c1", "c2")
    order = filled(desk, order_qty=50)
    assert not desk["c2"].tables["requests"].positions
    assert state(desk["c2"], order) == ("filled", 50, 50, 0)
    assert desk["c2"].status(order).cl_ord_id == order.cl_ord_id
    assert desk["c2"].statuses().drop("cl_ord_id").equals(desk["c1"].statuses().drop("cl_ord_id"))


@pytest.mark.parametrize("order", [-1, 1 << 64, str(1 << 64), 0, "", "c1"], ids=repr)
def test_an_inquiry_for_what_is_no_id_is_an_error(desk: Network, order: Any) -> None:
    with pytest.raises(InvalidValue):
        desk["c1"].status(order)


def test_an_inquiry_for_an_account_that_is_not_described_is_an_error(desk: Network) -> None:
    for ask in (desk["c1"].orders, desk["c1"].positions):
        with pytest.raises(InvalidValue, match="mallory"):
            ask("mallory")


def test_the_orders_of_an_account_are_its_own_and_may_be_the_open_ones_only(desk: Network) -> None:
    done = filled(desk)
    waiting = submit(desk["c1"])
    assert desk["c1"].orders("alice")["order_id"].to_list() == [done.order_id, waiting.order_id]
    open_only = desk["c1"].orders("alice", open_only=True)
    assert open_only["order_id"].to_list() == [waiting.order_id]


def test_an_answer_says_on_which_records_it_rests(desk: Network) -> None:
    order = filled(desk)
    answer = desk["c2"].status(order)
    assert answer.system == "c2"
    assert answer.positions == {"requests": {"c1": 2}, "executions": {"s1": 4}}


# Clearing.


@pytest.mark.parametrize("together", [True, False], ids=["at once", "one after the other"])
def test_a_fill_that_two_street_side_systems_report_is_cleared_once(*, together: bool) -> None:
    firm = network(streets=2).firm
    postings = len(firm.tables["postings"])
    fill = {"exec_type": "trade", "last_qty": 30, "last_px": PRICE}
    cleared = 0
    for system in ("s1", "s2"):
        reports = executions(record_id("c1", 0), fill, system=system)
        firm.receive("executions", batch("executions", reports))
        cleared += 0 if together else firm.clear()
    assert cleared + firm.clear() == 1
    assert len(firm.tables["postings"]) == postings + 4


# A disk that refuses.


def refuse_once(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The next call of this function of ``os`` fails as on a broken disk."""
    real = getattr(os, call)

    def fail(*_: object) -> None:
        monkeypatch.setattr(os, call, real)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_an_order_that_the_disk_refuses_did_not_happen(
    desk: Network, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    refuse_once(monkeypatch, call)
    with pytest.raises(StorageError, match="Input/output error"):
        submit(desk["c1"], cl_ord_id="A")
    assert len(desk["c1"].tables["requests"]) == 0
    assert desk.run() == 0
    again = submit(desk["c1"], cl_ord_id="A")
    assert not again.repeated
    desk.run()
    assert state(desk["c2"], again) == ("new", 100, 0, 100)
    assert desk.audit().verdict
    assert desk.data is not None
    desk.close()
    with Network.open(desk.data, clock=desk.clock) as reopened:
        assert state(reopened["c1"], again) == ("new", 100, 0, 100)
        assert len(reopened["c1"].tables["requests"]) == 1


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_fill_whose_posting_the_disk_refuses_is_cleared_later_and_once(
    desk: Network, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    submit(desk["c1"], account="bob", side="sell")
    desk.run()
    submit(desk["c1"])
    refuse_in_clear(desk, monkeypatch, call)
    desk.run()
    assert len(desk.firm.tables["postings"]) == 9 + 8
    assert desk.audit().verdict


def refuse_in_clear(desk: Network, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    clear = desk.firm.clear

    def failing() -> int:
        monkeypatch.setattr(desk.firm, "clear", clear)
        refuse_once(monkeypatch, call)
        return clear()

    monkeypatch.setattr(desk.firm, "clear", failing)
    with pytest.raises(StorageError):
        desk.step()


@pytest.mark.parametrize(("name", "dataset"), [("c1", "requests"), ("s1", "executions")])
def test_nobody_writes_requests_or_executions_past_the_rules(name: str, dataset: str) -> None:
    system = network().systems[name]
    with pytest.raises(InvalidValue, match=f"{dataset} come from"):
        system.authoritative[dataset].append([{}])
    assert len(system.authoritative[dataset]) == 0
