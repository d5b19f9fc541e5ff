"""Goal: what happens under faults is decided by the seed alone, and breaks none of the promises.

Method: plans are drawn, run, and run again; the disks are in memory or real files. What one fault
does is shown by plans of a few requests written by hand.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from tests.build import sound, state
from tradesys.inquiry.answers import Order
from tradesys.network import Network
from tradesys.network.scenario import START_NS
from tradesys.records.clock import MS
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import format_id, parse_id
from tradesys.simulation import FAULTS, Ask, Choices, Fault, Market, Plan, Simulation, draw
from tradesys.simulation.failing_seed_notebook import write_notebook
from tradesys.simulation.guarantees import NOT_LOST
from tradesys.simulation.many_seeds import run_plan, shrink
from tradesys.widgets.space_time_diagram import space_time
from tradesys.widgets.svg_drawings import bill_chart


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.arrows"))
    }


def records_of(desk: Simulation) -> dict[str, dict[str, pa.Table]]:
    return {s.name: {n: t.arrow for n, t in s.tables.items()} for s in desk}


def played(seed: int, data: Path | None = None) -> Simulation:
    desk = Simulation(draw(seed, orders=40, faults=8), data=data)
    assert desk.play(), str(desk.audits[-1])
    desk.close()
    return desk


@pytest.mark.parametrize("seed", range(3))
def test_one_seed_gives_the_same_files_byte_for_byte(seed: int, tmp_path: Path) -> None:
    for name in ("one", "two"):
        played(seed, tmp_path / name)
    one, two = (files_of(tmp_path / name) for name in ("one", "two"))
    assert len(one) > 10
    assert one == two


@pytest.mark.parametrize("seed", range(3))
def test_disks_in_memory_and_real_files_give_the_same_records(seed: int, tmp_path: Path) -> None:
    assert records_of(played(seed)) == records_of(played(seed, tmp_path / "run"))


def test_a_folder_that_faults_have_left_is_a_network_like_any_other(tmp_path: Path) -> None:
    left = played(3, tmp_path / "run")
    with Network.open(tmp_path / "run") as again:
        assert sound(again.audit())
        assert records_of(left) == {
            s.name: {n: t.arrow for n, t in s.tables.items()} for s in again
        }


# One fault at a time.

TERMS = {"account": "alice", "symbol": "ALFA", "side": "buy", "order_qty": 100, "price": 50_0000}
HOME, PEER = "s1", "s2"


def new(name: str, at_ms: float, system: int = 0, **terms: Any) -> Ask:
    return Ask(
        0, int(at_ms * MS), "new", name, system, None, TERMS | {"time_in_force": "day"} | terms
    )


def fault(kind: str, system: str, at_ms: float, lasts_ms: float, amount: int = 0) -> Fault:
    return Fault(0, int(at_ms * MS), kind, system, None, int(lasts_ms * MS), amount)


def run(*what: Ask | Fault, seed: int = 1, choices: Choices | None = None) -> Simulation:
    """Run a plan of a few requests and faults to the time when all is quiet."""
    asks = tuple(each for each in what if isinstance(each, Ask))
    faults = tuple(each for each in what if isinstance(each, Fault))
    desk = Simulation(Plan(seed, 3, 2, 1, choices or Choices(), asks, faults), trace=True)
    assert desk.play(), str(desk.audits[-1])
    return desk


def order(desk: Simulation, name: str) -> Order:
    told = desk.callers.told[name].order
    assert told is not None
    return told


def test_a_customer_who_gets_no_answer_turns_to_another_system() -> None:
    desk = run(fault("crash", "c1", 0.1, 60), new("A", 1))
    assert desk.callers.told["A"].attempts == 2
    assert format_id(order(desk, "A").order_id) == "c2-0"
    assert {state(c, order(desk, "A")) for c in desk.customers} == {("new", 100, 0, 100)}


def test_an_order_entered_at_two_systems_is_executed_once() -> None:
    desk = run(fault("one-way", "c1", 0.1, 40), new("A", 1))
    taken = [s.statuses().filter(ord_status="new") for s in desk.customers]
    assert [len(frame) for frame in taken] == [1, 1, 1]
    assert sorted(desk["c3"].statuses()["ord_status"]) == ["new", "rejected"]


def test_what_a_dead_system_acknowledged_and_did_not_send_is_sent_by_its_peers() -> None:
    """Whatever c1 sends to the street side is lost, then c1 is gone for 300 ms."""
    cut = Fault(0, 0, "partition", "c1", HOME, 20 * MS, 0)
    desk = run(cut, new("A", 1), fault("crash", "c1", 10, 300))
    assert format_id(order(desk, "A").order_id) == "c1-0"
    sent = [e for e in desk.transport.trace or [] if e.target == HOME and "c1-0" in e.text]
    assert [e.system for e in sent if e.arrives and e.text.startswith("possible resend")]
    assert desk.answered_at(order(desk, "A").record_id) < 300 * MS


def test_a_peer_stands_in_for_a_street_side_system_that_is_down() -> None:
    desk = run(fault("crash", HOME, 0.1, 300), new("A", 5))
    assert desk.answered_at(order(desk, "A").record_id) < 100 * MS
    first = desk[PEER].authoritative["executions"].rows([parse_id(f"{PEER}-0")])[0]
    assert (first["order_id"], first["poss_dup"]) == (order(desk, "A").order_id, True)


def test_a_fill_that_was_never_replicated_and_its_repeat_count_once() -> None:
    """s1 records a fill and is cut off; s2 stands in and records it again; s1 is back."""
    desk = run(
        new("A", 1),
        fault("partition", HOME, 12, 120),
        new("B", 11, side="sell", account="bob"),
        new("C", 60, order_qty=200),
        seed=4,
    )
    executions = desk.firm.read_only["executions"].frame
    assert executions["record_id"].n_unique() > executions["exec_id"].n_unique()
    assert state(desk["c2"], order(desk, "A"))[2] == 100


def test_an_order_that_only_a_lost_disk_had_is_named() -> None:
    cut, taken = fault("partition", "c1", 0, 60), fault("lost-disk", "c1", 20, 10)
    desk = run(cut, new("A", 1), taken)
    (check,) = (c for c in desk.audits[-1].checks if c.name == NOT_LOST)
    assert check.found == ("c1-0 was lost with every disk that had it",)
    assert len(desk.lost()) == 1


def test_a_cancel_of_an_order_that_was_lost_with_two_disks_is_not_sent_for_ever() -> None:
    assert run_plan(draw(1544)).verdict is True


def test_an_answer_that_became_durable_as_the_power_failed_counts_from_the_restart() -> None:
    assert run_plan(draw(7340)).verdict is True


def test_a_cancel_waits_for_an_order_whose_system_is_cut_off_and_is_not_late_for_that() -> None:
    assert run_plan(draw(9857)).verdict is True


def test_who_is_asked_to_give_back_what_it_has_lost_meanwhile_gives_nothing() -> None:
    assert run_plan(draw(3573)).verdict is True


def test_an_order_that_a_peer_must_have_is_not_lost_with_one_disk() -> None:
    cut, taken = fault("partition", "c1", 0, 60), fault("lost-disk", "c1", 20, 10)
    desk = run(cut, new("A", 1), taken, choices=Choices(acknowledge="one"))
    assert len(desk.lost()) == 0
    assert format_id(order(desk, "A").order_id) == "c2-0"  # c1 could not tell the customer


def test_the_word_of_a_peer_that_has_lost_its_disk_since_is_of_the_disk_that_is_gone() -> None:
    options: dict[str, Any] = {"customers": 2, "orders": 60, "faults": 3, "kinds": ("lost-disk",)}
    outcome = run_plan(draw(12, choices=Choices(acknowledge="one"), **options))
    assert outcome.verdict, outcome.found


@pytest.mark.parametrize("acknowledge", ["one", "all"])
def test_no_acknowledgement_can_wait_for_a_peer_that_there_is_not(acknowledge: str) -> None:
    with pytest.raises(InvalidValue, match="it has no peer"):
        draw(1, customers=1, choices=Choices(acknowledge=acknowledge))


@pytest.mark.parametrize("acknowledge", ["one", "all"])
def test_the_price_of_safety_is_a_later_acknowledgement(acknowledge: str) -> None:
    own, safe = (run(new("A", 1), choices=Choices(acknowledge=a)) for a in ("own", acknowledge))
    assert own.callers.told["A"].took < safe.callers.told["A"].took


@pytest.mark.parametrize("kind", FAULTS)
def test_each_kind_of_fault_alone_breaks_no_promise(kind: str) -> None:
    outcome = run_plan(draw(1, orders=40, faults=4, phases=1, kinds=(kind,)))
    assert outcome.verdict, outcome.found
    assert set(outcome.faults) <= {kind}


@pytest.mark.parametrize(("customers", "streets"), [(1, 1), (4, 3)])
def test_networks_of_other_sizes_break_no_promise(customers: int, streets: int) -> None:
    plan = draw(2, customers=customers, streets=streets, orders=40, faults=6, phases=1)
    outcome = run_plan(plan)
    assert outcome.verdict, outcome.found


# Plans.


def test_the_market_busts_corrects_and_ends_its_day_by_itself() -> None:
    """A and B match; the match is corrected, then busted; C and D expire as their day ends."""
    asks = (
        new("A", 1),
        new("B", 3, side="sell", account="bob"),
        new("C", 5, price=40_0000),
        new("D", 6, price=40_0000, time_in_force="gtd", expire_time=START_NS + 50 * MS),
        new("E", 7, price=40_0000, time_in_force="gtc"),
    )
    events = (
        Market(0, 20 * MS, "correct"),
        Market(0, 30 * MS, "bust"),
        Market(0, 60 * MS, "day-end"),
    )
    desk = Simulation(Plan(1, 3, 2, 1, Choices(), asks, (), events))
    assert desk.play(), str(desk.audits[-1])
    kinds = desk.firm.read_only["executions"].frame["exec_type"].value_counts()
    told = dict(kinds.iter_rows())
    assert (told["trade"], told["trade_correct"], told["trade_cancel"]) == (2, 2, 2)
    states = {name: state(desk["c3"], order(desk, name))[0] for name in "ABCDE"}
    assert states == dict.fromkeys("ABCD", "expired") | {"E": "new"}
    assert state(desk["c3"], order(desk, "A"))[2] == 0


def test_a_plan_that_fails_is_shrunk_to_what_it_takes() -> None:
    plan = draw(5, orders=20, faults=6)
    ask, fault = plan.asks[7], plan.faults[3]
    smallest = shrink(plan, lambda p: ask in p.asks and fault in p.faults)
    assert smallest == replace(plan, asks=(ask,), faults=(fault,), market=())


def test_a_plan_is_replayed_by_its_notebook(tmp_path: Path) -> None:
    plan = draw(2, orders=6, faults=2, phases=1)
    write_notebook(tmp_path / "seed.ipynb", plan, {"a check": ("c1-0",)})
    cells = json.loads((tmp_path / "seed.ipynb").read_text(encoding="utf-8"))["cells"]
    space: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), space)  # noqa: S102 - a notebook's own cells
    assert space["plan"] == plan
    assert space["desk"].audits[-1]


@pytest.mark.parametrize(
    "wrong", [{"kinds": ("fire",)}, {"seed": -1}, {"customers": 0}, {"orders": -1}, {"phases": 0}]
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        draw(**{"seed": 1} | wrong)


@pytest.mark.parametrize("switch", ["partition", "crash", "lose_disk"])
def test_the_switches_of_an_embedded_network_are_refused(switch: str) -> None:
    desk = Simulation(draw(1, orders=4, faults=0))
    with pytest.raises(InvalidValue, match="those of its plan"):
        getattr(desk, switch)("c1")
    assert desk.play()


def test_a_choice_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidValue, match="own, one or all"):
        Choices(acknowledge="two")


# What is shown.


def test_the_bill_says_what_each_system_did_while_a_fault_lasted() -> None:
    desk = run(fault("crash", "c1", 5, 50), new("A", 1), new("B", 10), new("C", 90))
    bill = desk.bill()
    assert bill.filter(system="c1", fault="crash")["delayed"].to_list() == [1]
    assert bill.filter(system="c1", fault="none")["taken"].to_list() == [2]
    assert bill.filter(system="c2", fault="none")["taken"].to_list() == [1]
    assert bill.filter(fault="crash")["catch_up_ms"].null_count() == 0
    assert "delayed" in json.dumps(bill_chart(bill).to_dict())


def test_a_space_time_diagram_names_the_records_and_marks_the_faults() -> None:
    desk = run(fault("crash", "c1", 5, 50), new("A", 1))
    svg = space_time(desk, 0, 12).svg
    assert "<title>crash</title>" in svg
    assert "c1-0: new A" in svg
    assert "c1-0: new A" not in space_time(desk, 0, 12, about=["c1-9"]).svg


def test_the_command_runs_seeds_and_says_so_in_json(tmp_path: Path) -> None:
    from tradesys.cli import app

    asked = ["simulate", "--seeds", "2", "--orders", "10", "--number", "2", "--json", "-"]
    result = CliRunner().invoke(app, [*asked, "--notebooks", str(tmp_path)])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["seeds"], told["orders"], told["failed"]) == (2, 20, {})


def test_the_command_keeps_the_files_of_each_seed_in_folders_of_their_own(tmp_path: Path) -> None:
    from tradesys.cli import app

    asked = ["simulate", "--seeds", "1", "--orders", "5", "--number", "1", "--data", str(tmp_path)]
    assert CliRunner().invoke(app, asked).exit_code == 0
    with Network.open(tmp_path / "seed-1") as again:
        assert again.audit()
    assert CliRunner().invoke(app, asked).exit_code != 0, "there already"
