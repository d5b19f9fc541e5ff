"""Goal: a system that has crashed is missed by nobody, and comes back with all that it had written.

Method: systems of a running network crash and are restarted, in memory and on disk; what they are
asked meanwhile, what others do instead, and the audit say whether that is so.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.build import NOON, filled, network, sound, state, submit
from tradesys.network import Network
from tradesys.network.file_verification import verify
from tradesys.records.clock import MS, ManualClock
from tradesys.records.errors import InvalidValue, SystemDown
from tradesys.records.schemas import format_id
from tradesys.systems.customer import CustomerSystem
from tradesys.widgets.svg_drawings import bill_chart

EVERYBODY = ("c1", "c2", "s1", "s2", "firm")
HOME = {"s1": "ALFA", "s2": "DLTA"}
ASKED: dict[str, Callable[[CustomerSystem], object]] = {
    "submit": submit,
    "submit_many": lambda c: c.submit_many(
        c.orders().select("account", "symbol", "side", "order_qty")
    ),
    "cancel": lambda c: c.cancel("c1-0"),
    "status": lambda c: c.status("c1-0"),
    "statuses": lambda c: c.statuses(),
    "positions": lambda c: c.positions("alice"),
    "outstanding": lambda c: c.outstanding(),
    "fills": lambda c: c.fills(),
    "book": lambda c: c.book(),
    "evidence": lambda c: c.evidence(),
    "order_named": lambda c: c.order_named("alice", "A"),
}


def desk_of(folder: Path | None) -> Network:
    """Two systems of each kind, with one order that is filled and one that is open."""
    desk = network(2, 2, data=folder)
    assert [desk.street_for(symbol) for symbol in HOME.values()] == list(HOME)
    filled(desk)
    submit(desk["c1"])
    desk.run()
    return desk


@pytest.fixture(params=[True, False], ids=["files", "memory"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Network:
    return desk_of(tmp_path / "run" if request.param else None)


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_crashed_system_answers_nothing_and_takes_nothing(
    desk: Network, ask: Callable[[CustomerSystem], object]
) -> None:
    c1 = desk["c1"]
    desk.crash("c1")
    with pytest.raises(SystemDown, match="it has crashed"):
        ask(c1)


@pytest.mark.parametrize("name", EVERYBODY)
def test_a_crash_takes_nothing_that_was_written(tmp_path: Path, name: str) -> None:
    with desk_of(tmp_path / "run") as desk:
        before = {n: t.arrow for n, t in desk[name].tables.items()}
        desk.crash(name)
        assert desk.restart(name) is None
        assert {n: t.arrow for n, t in desk[name].tables.items()} == before
        assert str(desk[name].origin) == name
        assert desk.audit()
    assert verify(tmp_path / "run").findings == []


@pytest.mark.parametrize("name", EVERYBODY)
def test_in_memory_a_crash_takes_all_and_peers_give_it_back(name: str) -> None:
    desk = desk_of(None)
    before = desk.summary()[name]
    desk.crash(name)
    assert set(desk.summary()[name].values()) == {0}
    recovered = desk.restart(name)
    assert recovered is not None
    assert recovered.incarnation == f"{name}.1"
    desk.run()
    assert desk.summary()[name] == before
    assert sound(desk.audit())


@pytest.mark.parametrize("name", EVERYBODY)
def test_a_system_that_was_down_catches_up_with_all_that_the_others_did(
    desk: Network, name: str
) -> None:
    desk.crash(name)
    entry = next(c for c in desk.customers if c.name != name)
    for symbol in HOME.values():
        filled_meanwhile = submit(entry, symbol=symbol, cl_ord_id=f"buy {symbol}")
        submit(entry, account="bob", side="sell", symbol=symbol)
    desk.run()
    assert state(entry, filled_meanwhile)[0] == "filled", (
        "also where its street-side system is down"
    )
    assert desk.audit().verdict is None, str(desk.audit())
    desk.restart(name)
    desk.run()
    assert sound(desk.audit()), str(desk.audit())
    assert desk["c1"].statuses().equals(desk["c2"].statuses())


def test_an_order_that_only_the_crashed_system_has_waits_on_its_disk(tmp_path: Path) -> None:
    with desk_of(tmp_path / "run") as desk:
        order = submit(desk["c1"])
        desk.crash("c1")
        desk.run()
        assert not desk["c2"].tables["requests"].has(order.record_id)
        desk.restart("c1")
        desk.run()
        assert state(desk["c2"], order)[0] == "new"
        assert desk.audit()


@pytest.mark.parametrize("then", ["restart", "stay down"])
def test_what_a_street_side_system_was_sent_and_had_not_worked_is_sent_again(
    desk: Network, then: str
) -> None:
    order = submit(desk["c1"])
    desk.stage("send")
    desk.crash("s1")
    if then == "restart":
        desk.restart("s1")
    desk.run()
    assert state(desk["c2"], order)[0] == "new"
    executions = desk["c1"].tables["executions"].frame
    (answer,) = executions.filter(order_id=order.order_id)["record_id"]
    assert format_id(answer)[:2] == ("s1" if then == "restart" else "s2")


def test_with_all_street_side_systems_down_orders_wait(desk: Network) -> None:
    for name in HOME:
        desk.crash(name)
    orders = [submit(desk["c1"], symbol=symbol) for symbol in HOME.values()]
    desk.run()
    assert {state(desk["c2"], order)[0] for order in orders} == {"pending_new"}
    for name in HOME:
        desk.restart(name)
    desk.run()
    assert {state(desk["c2"], order)[0] for order in orders} == {"new"}
    assert desk.audit()


def test_a_disk_that_is_lost_while_its_system_is_down_makes_a_new_incarnation(
    tmp_path: Path,
) -> None:
    with desk_of(tmp_path / "run") as desk:
        lost = submit(desk["c1"])
        desk.crash("c1")
        shutil.rmtree(tmp_path / "run" / "c1")
        recovered = desk.restart("c1")
        assert recovered is not None
        assert recovered.incarnation == "c1.1"
        assert str(submit(desk["c1"])) == "c1.1-0"
        desk.run()
        assert not desk["c2"].tables["requests"].has(lost.record_id), "nobody had it"
        assert sound(desk.audit())


def test_everybody_may_be_down(desk: Network) -> None:
    for name in EVERYBODY:
        desk.crash(name)
    assert desk.run() == 0
    assert desk.audit().verdict is None
    assert not desk.is_at_rest()
    desk.close()


def test_a_crash_of_one_that_is_down_and_a_restart_of_one_that_is_up_change_nothing(
    desk: Network,
) -> None:
    desk.crash("c1")
    desk.crash("c1")
    desk.restart("c1")
    c1 = desk["c1"]
    assert desk.restart("c1") is None
    assert desk["c1"] is c1


@pytest.mark.parametrize("act", [Network.crash, Network.restart, Network.lose_disk])
def test_only_a_system_that_there_is_can_crash(act: Callable[[Network, str], object]) -> None:
    with pytest.raises(InvalidValue, match="c9"):
        act(network(), "c9")


def test_links_with_a_system_that_is_down_are_shown_as_cut(desk: Network) -> None:
    desk.crash("c1")
    cut = desk.behind().filter("cut")
    assert all("c1" in row for row in cut.select("source", "target").iter_rows())
    assert len(cut) == sum(
        "c1" in row for row in desk.behind().select("source", "target").iter_rows()
    )


def test_a_disk_is_lost_once_for_each_time_that_it_is(tmp_path: Path) -> None:
    """A system whose file was damaged and mended is not brought back again with another."""
    with desk_of(tmp_path / "run"):
        pass
    file = tmp_path / "run" / "c2" / "authoritative" / "requests.arrows"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with Network.open(tmp_path / "run") as desk:
        assert str(desk["c2"].origin) == "c2.1"
        desk.lose_disk("c1")
        assert [str(c.origin) for c in desk.customers] == ["c1.1", "c2.1"]
        desk.run()
        assert sound(desk.audit())


# The bill.


def test_an_embedded_network_bills_each_outage_from_its_records(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    with network(2, 1, data=tmp_path / "run", clock=clock) as desk:
        submit(desk["c1"])
        clock.advance(5 * MS)
        desk.partition("c1")
        clock.advance(MS)
        submit(desk["c1"])  # waits
        submit(desk["c1"], order_qty=1_000_000)  # refused: more than alice can pay
        submit(desk["c2"])
        desk.run()
        clock.advance(9 * MS)
        desk.heal()
        clock.advance(2 * MS)
        desk.run()
        bill = desk.bill()
    (row,) = bill.filter(fault="partition").to_dicts()
    told = ("system", "began_ms", "ended_ms", "taken", "refused", "delayed", "catch_up_ms")
    assert [row[name] for name in told] == ["c1", 5, 15, 0, 1, 1, 2]
    assert row["at_risk"] == 1, "the first order had not been replicated yet"
    assert bill.filter(system="c2", fault="none")["taken"].to_list() == [1]


def test_an_outage_that_lasts_has_no_end_yet(desk: Network) -> None:
    desk.crash("s1")
    desk.lose_disk("s2")
    bill = desk.bill().filter(pl.col("fault") != "none")
    assert bill["fault"].to_list() == ["crash", "lost-disk"]
    assert bill["ended_ms"].null_count() == 1
    desk.restart("s1")
    desk.run()
    assert desk.bill()["catch_up_ms"].null_count() == len(EVERYBODY)
    assert "crash" in str(bill_chart(bill).to_dict())


def test_a_network_without_outages_bills_what_each_system_took(desk: Network) -> None:
    bill = desk.bill()
    assert bill["system"].to_list() == list(EVERYBODY)
    assert dict(bill.select("system", "taken").iter_rows())["c1"] == 3
