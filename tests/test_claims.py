"""The 27 claims, each asserted on the smallest network that shows it, without the notebook.

The routes stand here a second time on purpose, written down from the claims and not read from
``tradesys.routes``: what the program says of itself proves nothing.
"""

import ast
import json
import pydoc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tradesys import ManualClock, Network, OpeningBooks, Order, OrdStatus, ReadOnlyError
from tradesys.network.scenario import START_NS
from tradesys.records.schemas import SCHEMAS, Kind
from tradesys.replication.runtime import Message, Runtime
from tradesys.status.incremental.view import OrderState, View
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.firm import FirmSystem
from tradesys.systems.system import System

C, S, F = Kind.CUSTOMER, Kind.STREET, Kind.FIRM
AUTHORITATIVE, READ_ONLY = "authoritative", "read_only"
DATASETS = {C: ["requests"], S: ["executions"], F: ["accounts", "instruments", "postings"]}
AT_LEAST = {C: 2, S: 2, F: 1}
SYMBOLS = {"s1": "ALFA", "s2": "DLTA"}

ROUTES = [
    (1, C, C, AUTHORITATIVE),
    (2, F, C, READ_ONLY),
    (3, C, F, READ_ONLY),
    (4, S, S, AUTHORITATIVE),
    (5, F, S, READ_ONLY),
    (6, S, F, READ_ONLY),
    (7, S, C, READ_ONLY),
    (8, C, C, AUTHORITATIVE),
    (9, F, C, READ_ONLY),
    (10, C, F, READ_ONLY),
    (11, S, S, AUTHORITATIVE),
    (12, F, S, READ_ONLY),
    (13, S, F, READ_ONLY),
    (14, S, C, READ_ONLY),
    (17, C, C, AUTHORITATIVE),
    (17, S, S, AUTHORITATIVE),
    (18, F, C, READ_ONLY),
    (18, F, S, READ_ONLY),
    (18, C, F, READ_ONLY),
    (18, S, F, READ_ONLY),
]


def new_desk(data: Path | None = None, customers: int = 2) -> Network:
    books = OpeningBooks(symbols=tuple(SYMBOLS.values()))
    desk = Network(customers, 2, firm=books, data=data, clock=ManualClock(START_NS))
    assert {desk.street_for(symbol): symbol for symbol in books.symbols} == SYMBOLS
    return desk


@pytest.fixture
def desk() -> Network:
    return new_desk()


@pytest.fixture
def stored_desk(tmp_path: Path) -> Iterator[Network]:
    with new_desk(tmp_path) as network:
        yield network


def enter(system: CustomerSystem, side: str = "buy", symbol: str = "ALFA", qty: int = 100) -> Order:
    account = {"buy": "alice", "sell": "bob"}[side]
    terms = {"account": account, "symbol": symbol, "side": side}
    return system.submit(**terms, order_qty=qty, price="50.00")


def ids(system: System, holding: str, dataset: str) -> set[int]:
    table = getattr(system, holding)[dataset].arrow
    return set(table["record_id"].to_pylist())


def written_by(system: System, dataset: str) -> set[int]:
    return {i for i in ids(system, AUTHORITATIVE, dataset) if i >> 48 == system.origin.code}


def in_file(root: Path, system: str, holding: str, dataset: str) -> list[dict[str, object]]:
    """The records of a system's file, read without any of the package."""
    with pa.ipc.open_stream(root / system / holding / f"{dataset}.arrows") as stream:
        rows: list[dict[str, object]] = stream.read_all().to_pylist()
        return rows


def write_at(desk: Network, system: System, unseen_by: System) -> None:
    """Make a system write at least one record into each dataset of its own."""
    if isinstance(system, FirmSystem):
        system.list_instruments(["BRVO"])
        system.open_accounts(["erin"], cash=1)
    elif isinstance(system, CustomerSystem):
        enter(system)
    else:
        entry = next(c for c in desk.customers if c is not unseen_by)
        enter(entry, symbol=SYMBOLS[system.name])


@pytest.mark.parametrize(
    ("claim", "writers", "readers", "holding"),
    ROUTES,
    ids=[f"claim {claim}: {w.name} to {r.name}" for claim, w, r, _ in ROUTES],
)
def test_records_travel_the_route_of_the_claim(
    desk: Network, claim: int, writers: Kind, readers: Kind, holding: str
) -> None:
    sources = [s for s in desk if s.kind is writers]
    targets = [s for s in desk if s.kind is readers]
    assert len(sources) >= AT_LEAST[writers]
    assert len(targets) >= AT_LEAST[readers]
    for source, target in ((s, t) for s in sources for t in targets if s is not t):
        known = {name: written_by(source, name) for name in DATASETS[writers]}
        desk.partition(source.name, target.name)
        write_at(desk, source, unseen_by=target)
        desk.run()
        new = {name: written_by(source, name) - known[name] for name in known}
        assert all(new.values())
        assert not any(new[name] & ids(target, holding, name) for name in new)
        desk.heal(source.name, target.name)
        desk.run()
        assert all(new[name] <= ids(target, holding, name) for name in new)


@pytest.mark.parametrize("kind", [C, S, F])
def test_each_system_writes_its_own_data_only(desk: Network, kind: Kind) -> None:
    for system in (s for s in desk if s.kind is kind):
        assert sorted(system.authoritative) == sorted(DATASETS[kind])
        for dataset, table in system.read_only.items():
            before = ids(system, READ_ONLY, dataset)
            with pytest.raises(ReadOnlyError):
                table.append([{}])
            with pytest.raises(ReadOnlyError):
                system.record(dataset, [{}])
            assert ids(system, READ_ONLY, dataset) == before
        write_at(desk, system, unseen_by=system if kind is not C else desk.firm)
        desk.run()
        assert all(written_by(system, dataset) for dataset in system.authoritative)


def test_every_customer_facing_system_takes_and_answers(desk: Network) -> None:
    one, two = desk.customers
    for entry, other in ((one, two), (two, one)):
        before = ids(other, AUTHORITATIVE, "requests")
        order = enter(entry)
        desk.run()
        assert ids(other, AUTHORITATIVE, "requests") - before == {order.record_id}
        assert entry.status(order).ord_status == other.status(order).ord_status == OrdStatus.NEW


def test_every_customer_facing_system_sees_what_is_cleared(desk: Network) -> None:
    def booked(system: CustomerSystem) -> int:
        (row,) = [r for r in system.positions("alice").to_dicts() if r["asset"] == "ALFA"]
        found: int = row["booked"]
        return found

    one, two = desk.customers
    at_first = booked(one)
    desk.partition("firm")
    enter(one, "buy")
    enter(two, "sell")
    desk.run()
    assert (booked(one), booked(two)) == (at_first, at_first)
    desk.heal()
    desk.run()
    assert (booked(one), booked(two)) == (at_first + 100, at_first + 100)


@pytest.mark.parametrize("street", sorted(SYMBOLS))
def test_each_street_side_system_executes_its_orders(desk: Network, street: str) -> None:
    for customer in desk.customers:
        order = enter(customer, symbol=SYMBOLS[street])
        desk.run()
        executions = customer.read_only["executions"].arrow.to_pylist()
        (execution,) = [e for e in executions if e["request_id"] == order.record_id]
        assert execution["record_id"] in written_by(
            next(s for s in desk.streets if s.name == street), "executions"
        )


def test_an_order_is_one_record_where_it_entered(
    desk: Network,
) -> None:
    for customer in desk.customers:
        before = written_by(customer, "requests")
        order = enter(customer, "sell", "DLTA", qty=70)
        (record_id,) = written_by(customer, "requests") - before
        assert record_id == order.record_id
        (record,) = customer.authoritative["requests"].rows([record_id])
        terms = ("request_type", "account", "symbol", "side", "order_qty", "price")
        assert [record[n] for n in terms] == ["new", "bob", "DLTA", "sell", 70, 50_0000]


def test_a_status_is_aggregated_and_never_stored(desk: Network) -> None:
    one, two = desk.customers
    order = enter(one, "buy", qty=100)
    enter(two, "sell", qty=30)
    desk.run()
    enter(two, "sell", qty=20)
    desk.run()
    executions = two.read_only["executions"].arrow.to_pylist()
    last_qty = [e["last_qty"] for e in executions if e["order_id"] == order.order_id]
    assert last_qty == [0, 30, 20]
    answer = two.status(order)
    assert (answer.ord_status, answer.cum_qty) == (OrdStatus.PARTIALLY_FILLED, sum(last_qty))
    stored = {name for schema in SCHEMAS.values() for name in schema.names}
    assert not stored & {"ord_status", "cum_qty", "leaves_qty", "avg_px"}


def test_a_request_that_arrives_last_changes_no_status_that_its_report_has_settled() -> None:
    """At two systems a cancel arrives after the report of what it did."""
    desk = new_desk(customers=3)
    one, two, three = desk.customers
    order = enter(one)
    desk.run()
    enter(two, "sell", qty=20)
    desk.run()
    desk.partition("c3", "c1", "c2")
    three.cancel(order)
    desk.run()
    answers = [one.status(order), two.status(order)]
    assert {(a.ord_status, a.cum_qty) for a in answers} == {(OrdStatus.CANCELED, 20)}
    desk.heal()
    desk.run()
    for before, system in zip(answers, (one, two), strict=True):
        after = system.status(order)
        assert sum(after.positions["requests"].values()) == 3
        assert after[:-1] == before[:-1]


def test_an_answer_rests_on_the_data_of_the_system_asked(
    desk: Network,
) -> None:
    one, two = desk.customers
    order = enter(one)
    desk.run()
    two.cancel(order)
    assert two.status(order).ord_status == OrdStatus.PENDING_CANCEL
    assert one.status(order).ord_status == OrdStatus.NEW


def test_a_request_is_stored_and_then_copied(stored_desk: Network, tmp_path: Path) -> None:
    one, two = stored_desk.customers
    order = enter(one)

    def holders() -> list[str]:
        return [
            c.name
            for c in (one, two)
            for record in in_file(tmp_path, c.name, AUTHORITATIVE, "requests")
            if record["record_id"] == order.record_id
        ]

    assert holders() == ["c1"]
    stored_desk.run()
    assert holders() == ["c1", "c2"]


def executed_in_files(root: Path, request: Order) -> dict[str, list[str]]:
    """What each street-side system itself has stored as its execution of a request."""
    found: dict[str, list[str]] = {}
    for number, street in enumerate(SYMBOLS, start=1):
        for record in in_file(root, street, AUTHORITATIVE, "executions"):
            written_here = int(str(record["record_id"])) >> 48 == S << 14 | number << 8
            if written_here and record["request_id"] == request.record_id:
                found.setdefault(street, []).append(str(record["exec_type"]))
    return found


@pytest.mark.parametrize(
    ("claim", "kind", "exec_types"),
    [
        (22, "buy", ["new"]),
        (23, "buy", ["new"]),
        (24, "sell", ["new"]),
        (25, "cancel", ["canceled"]),
        (26, "fill", ["new", "trade"]),
    ],
)
@pytest.mark.parametrize("street", sorted(SYMBOLS))
def test_a_request_is_executed_by_exactly_one_system(
    stored_desk: Network,
    tmp_path: Path,
    street: str,
    claim: int,
    kind: str,
    exec_types: list[str],
) -> None:
    one, two = stored_desk.customers
    symbol = SYMBOLS[street]
    if kind == "cancel":
        first = enter(one, symbol=symbol)
        stored_desk.run()
        request = two.cancel(first)
    elif kind == "fill":
        enter(one, "buy", symbol)
        stored_desk.run()
        request = enter(two, "sell", symbol)
    else:
        request = enter(one, kind, symbol)
    assert executed_in_files(tmp_path, request) == {}
    stored_desk.run()
    assert executed_in_files(tmp_path, request) == {street: exec_types}
    assert [s.name for s in stored_desk.streets if request.record_id in s.sent] == [street]
    for customer in ("c1", "c2"):
        records = in_file(tmp_path, customer, READ_ONLY, "executions")
        told = [r["exec_type"] for r in records if r["request_id"] == request.record_id]
        assert told == exec_types


def test_an_answer_needs_no_other_system(
    stored_desk: Network,
) -> None:
    one, two = stored_desk.customers
    order = enter(one)
    stored_desk.run()
    answer = two.status(order)
    stored_desk.partition("c2")
    enter(one, "sell")
    stored_desk.run()
    assert one.status(order).ord_status == OrdStatus.FILLED
    assert two.status(order) == answer
    stored_desk.heal()
    stored_desk.run()
    assert two.status(order).ord_status == OrdStatus.FILLED


# What breaks a claim fails its test, and its cell in the notebook.


def last_message_wins(patch: pytest.MonkeyPatch) -> None:
    """A status is what the last record that came in says."""
    said = {"cancel": OrdStatus.PENDING_CANCEL, "replace": OrdStatus.PENDING_REPLACE}
    last: dict[tuple[View, int], str] = {}
    real_apply, real_order = View.apply, View.order

    def apply(view: View, dataset: str, batch: pa.RecordBatch) -> None:
        real_apply(view, dataset, batch)
        kind = {"requests": "request_type", "executions": "exec_type"}.get(dataset)
        for row in batch.to_pylist() if kind else ():
            last[view, row["order_id"]] = row[kind]

    def order(view: View, order_id: int) -> OrderState | None:
        state = real_order(view, order_id)
        status = said.get(last.get((view, order_id), ""))
        return state._replace(ord_status=status) if state and status else state

    patch.setattr(View, "apply", apply)
    patch.setattr(View, "order", order)


def send_to_every_street(patch: pytest.MonkeyPatch) -> None:
    """Each accepted request is sent to every street-side system."""

    real = Runtime._send

    def send(own: Runtime, system: CustomerSystem) -> list[Message]:
        sent, streets = real(own, system), [name for name in own._streets if own.reaches(name)]
        return [message._replace(target=street) for message in sent for street in streets]

    patch.setattr(Runtime, "_send", send)


def run_cells(*ids: str) -> None:
    """Run these cells of the notebook, and no others."""
    cells = {cell["id"]: "".join(cell["source"]) for cell in notebook_cells()}
    variables: dict[str, Any] = {}
    try:
        for cell in ids:
            exec(cells[cell], variables)  # noqa: S102 - the project's own notebook
    finally:
        variables["desk"].close()
        if "folder" in variables:
            variables["folder"].cleanup()


def notebook_cells() -> list[dict[str, Any]]:
    path = Path(__file__).parent.parent / "notebooks" / "claims.ipynb"
    cells: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["cells"]
    return cells


AGGREGATION = test_a_request_that_arrives_last_changes_no_status_that_its_report_has_settled
BROKEN = [
    (last_message_wins, AGGREGATION),
    (last_message_wins, partial(run_cells, "setup", "arrives", "commerce", "claim-15", "claim-16")),
    (last_message_wins, partial(run_cells, "setup", "method", "claim-27")),
    *(
        (send_to_every_street, partial(run_cells, "setup", "method", *cells))
        for cells in (["claim-22"], ["claim-23"], ["claim-24"], ["claim-24", "claim-25"])
    ),
    (send_to_every_street, partial(run_cells, "setup", "method", "claim-26")),
]


@pytest.mark.parametrize(("mutate", "show"), BROKEN)
def test_a_claim_that_is_broken_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
    mutate: Callable[[pytest.MonkeyPatch], None],
    show: Callable[[], None],
) -> None:
    show()
    mutate(monkeypatch)
    with pytest.raises(AssertionError):
        show()


def test_the_notebook_does_every_claim_and_names_code_and_tests_that_exist() -> None:
    sources = {cell["id"]: "".join(cell["source"]) for cell in notebook_cells()}
    assert {f"claim-{claim}" for claim in range(1, 28)} <= sources.keys()
    (table,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(sources["table"]).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
    ]
    assert [claim for claim, _, _ in table] == list(range(1, 28))
    for _, code, test in table:
        assert pydoc.locate(f"tradesys.{code}") is not None, code
        assert callable(globals().get(f"test_{test}")), test
