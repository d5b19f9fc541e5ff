"""Goal: a system whose disk is lost has again all that reached anybody, and gives no id twice.

Method: a system writes, and each of its peers has fetched another prefix of that when the disk is
lost: under the running network, or while it is closed. What nobody can reach at first comes later.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow.compute as pc
import pytest

from tests.build import NOON, TERMS, filled, network, sound, submit
from tradesys.network import Network
from tradesys.network.file_verification import verify
from tradesys.records.arrow import as_written
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue, NotYetReplicated, Outcome, SystemDown
from tradesys.records.schemas import INCARNATIONS, Kind, Origin, format_id
from tradesys.replication import recovery
from tradesys.routes import WRITES
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.customer.outbox import by_street

PEERS = {"c1": ("c2", "c3", "firm"), "s1": ("s2", "c1", "firm"), "firm": ("c1", "s1", "s2")}
WRITTEN = 6


def carry(desk: Network, source: str, target: str) -> None:
    """Let one system fetch what another has written."""
    desk._carry(desk.runtimes[target].pull(source, 0))


def write(desk: Network, name: str, number: int) -> None:
    """Have a system write a record or some of its own, unknown to all others."""
    match name:
        case "c1":
            submit(desk["c1"], order_qty=10 * (number + 1))
        case "s1":
            desk["c2"].submit(**TERMS | {"order_qty": 10 * (number + 1), "symbol": symbol(desk)})
            desk.stage("send")
            desk.systems["s1"].work()  # type: ignore[attr-defined]
        case _:
            desk.firm.open_accounts([f"new-{number}"], cash=10)


def symbol(desk: Network) -> str:
    """A symbol that is the business of s1."""
    return next(s for s in ("ALFA", "DLTA") if desk.street_for(s) == "s1")


def spread(desk: Network, name: str, prefixes: tuple[int, ...]) -> None:
    """Write, while each peer fetches another prefix."""
    for number in range(WRITTEN):
        write(desk, name, number)
        for peer, prefix in zip(PEERS[name], prefixes, strict=True):
            if number < prefix:
                carry(desk, name, peer)


def records(desk: Network, name: str) -> dict[str, list[int]]:
    """The ids of what a system has written, by dataset, as it holds them."""
    system = desk.systems[name]
    return {
        dataset: [
            record_id
            for code in system.own_codes(dataset)
            for batch in system.tables[dataset].logs[code].batches()
            for record_id in batch["record_id"].to_pylist()
        ]
        for dataset in WRITES[system.kind]
    }


def lose(desk: Network, name: str, *, closed: bool) -> Network:
    """The disk of a system is lost, and the system is there again."""
    if not closed:
        desk.lose_disk(name)
        return desk
    assert desk.data is not None
    desk.close()
    shutil.rmtree(desk.data / name)
    return Network.open(desk.data, clock=ManualClock(NOON))


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("prefixes", list(itertools.permutations((1, 3, 6))))
@pytest.mark.parametrize("closed", [False, True], ids=["running", "closed"])
def test_the_longest_prefix_that_any_peer_holds_is_given_back_and_no_id_is_given_again(
    tmp_path: Path, name: str, prefixes: tuple[int, ...], *, closed: bool
) -> None:
    desk = network(3, 2, data=tmp_path / "run")
    spread(desk, name, prefixes)
    before = records(desk, name)
    desk = lose(desk, name, closed=closed)
    assert records(desk, name) == before, "one peer held all of it"
    assert str(desk.systems[name].origin) == f"{name}.1"
    for number in range(3):
        write(desk, name, WRITTEN + number)
    after = records(desk, name)
    for dataset, ids in after.items():
        assert ids[: len(before[dataset])] == before[dataset]
        assert len(set(ids)) == len(ids)
        new = ids[len(before[dataset]) :]
        assert all(format_id(i).startswith(f"{name}.1-") for i in new)
    desk.run()
    assert sound(desk.audit()), str(desk.audit())
    desk.close()
    assert verify(tmp_path / "run").findings == []


@pytest.mark.parametrize("name", PEERS)
def test_what_only_a_peer_that_is_cut_off_holds_comes_back_when_it_is_reached(
    tmp_path: Path, name: str
) -> None:
    with network(3, 2, data=tmp_path / "run") as desk:
        spread(desk, name, (2, 6, 1))
        before = records(desk, name)
        desk.partition(name, PEERS[name][1])
        recovered = desk.lose_disk(name)
        assert recovered.restored > 0
        assert records(desk, name) != before
        write(desk, name, WRITTEN)
        desk.heal()
        desk.run()
        for dataset, ids in records(desk, name).items():
            assert set(before[dataset]) <= set(ids)
            assert len(set(ids)) == len(ids)
        assert sound(desk.audit()), str(desk.audit())


def test_what_reached_nobody_is_lost_and_the_audit_names_what_was_executed_of_it(
    tmp_path: Path,
) -> None:
    with network(3, 2, data=tmp_path / "run") as desk:
        orders = [submit(desk["c1"], order_qty=10) for _ in range(4)]
        carry(desk, "c1", "c3")
        lost = submit(desk["c1"], order_qty=20)
        unsent = submit(desk["c1"], order_qty=30)
        for batch in desk["c1"].outbox().to_batches():
            sent = batch.filter(pc.not_equal(batch["order_id"], unsent.order_id))
            for street, part in by_street(sent, desk.street_for):
                desk.systems[street].accept(part)  # type: ignore[attr-defined]
        desk.lose_disk("c1")
        desk.run()
        held = desk["c1"].tables["requests"].frame["order_id"].to_list()
        assert held == [order.order_id for order in orders]
        audit = desk.audit()
        assert audit.verdict is False
        (check,) = (c for c in audit.checks if c.verdict is False)
        assert check.name == "every request that was answered is held"
        assert check.found == (f"{lost} is held by nobody, and s1-4 answers it",)


def test_a_disk_that_is_lost_again_makes_another_incarnation(tmp_path: Path) -> None:
    with network(2, 2, data=tmp_path / "run") as desk:
        given = []
        for lost in range(4):
            order = submit(desk["c1"], order_qty=10)
            given.append(order.order_id)
            assert str(order).startswith(f"c1.{lost}-" if lost else "c1-")
            desk.run()
            desk.lose_disk("c1")
        desk.run()
        assert desk["c2"].tables["requests"].frame["order_id"].to_list() == given
        assert sound(desk.audit())
    with Network.open(tmp_path / "run") as again:
        assert str(again["c1"].origin) == "c1.4"


def lives(desk: Network, name: str) -> Iterator[str]:
    """The incarnations of a system that loses all its records, again and again."""
    while True:
        if desk.data:  # where only its peers' records say who it has been
            submit(desk[name], order_qty=10)
            desk.run()
        yield str(desk[name].origin)
        if desk.data:
            desk.lose_disk(name)
        else:
            desk.crash(name)
            desk.restart(name)


@pytest.mark.parametrize("on_disk", [True, False], ids=["on disk", "in memory"])
def test_a_system_that_can_be_no_further_incarnation_stays_down_and_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, on_disk: bool
) -> None:
    count = 4 if on_disk else INCARNATIONS
    monkeypatch.setattr(recovery, "INCARNATIONS", count)
    run_out = f"{count} incarnations have given all ids"
    been: list[str] = []
    with network(3, 1, data=tmp_path / "run" if on_disk else None) as desk:
        with pytest.raises(SystemDown, match=run_out) as raised:
            been.extend(lives(desk, "c2"))
        assert raised.value.outcome is Outcome.DID_NOT_HAPPEN
        assert (been[0], been[-1], len(been)) == ("c2", f"c2.{count - 1}", count)
        with pytest.raises(SystemDown, match=run_out):
            desk.restart("c2")
        with pytest.raises(SystemDown):
            submit(desk["c2"])
        assert str(submit(desk["c3"], order_qty=10)) == "c3-0"
        desk.run()
        assert desk["c1"].tables["requests"].frame["record_id"].is_unique().all()
        assert desk.audit().verdict is not False
    if on_disk:
        with Network.open(tmp_path / "run", clock=ManualClock(NOON)) as again:
            (left,) = again.recovered
            assert (left.system, left.incarnation) == ("c2", None)
            assert run_out in str(left.gave_up)
            with pytest.raises(SystemDown, match=run_out):
                submit(again["c2"])
            assert str(submit(again["c3"], order_qty=10)) == "c3-1"
            again.run()
            assert len(again["c1"].statuses()) == count + 2


def test_no_incarnation_has_the_code_of_another_origin() -> None:
    systems = [Origin(kind, number) for kind in Kind for number in range(64)]
    codes = {o._replace(incarnation=n).code for o in systems for n in range(INCARNATIONS)}
    assert len(codes) == len(systems) * INCARNATIONS
    for beyond in (-1, INCARNATIONS):
        with pytest.raises(InvalidValue, match="expected 0 to 255"):
            _ = Origin(Kind.CUSTOMER, 2, beyond).code


# What a system says that has lost its disk


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Network]:
    """A network of which c1 has lost its disk, cut off; now it reaches c2, but not the firm."""
    with network(3, 2, data=tmp_path / "run") as desk:
        submit(desk["c2"])
        desk.run()
        desk.partition("c1")
        desk.lose_disk("c1")
        desk.heal("c1", "c2")
        desk.run()
        yield desk


ASKED_OF_ACCOUNTS: dict[str, Callable[[CustomerSystem], object]] = {
    "submit": submit,
    "submit_many": lambda c1: c1.submit_many(pl.DataFrame([TERMS])),
    "cancel": lambda c1: c1.cancel("c2-0"),
    "replace": lambda c1: c1.replace("c2-0", order_qty=50),
    "positions": lambda c1: c1.positions("alice"),
    "cash": lambda c1: c1.cash("alice"),
    "orders": lambda c1: c1.orders("alice"),
    "orders of a symbol": lambda c1: c1.orders(symbol="ALFA"),
    "fills": lambda c1: c1.fills("alice"),
}


@pytest.mark.parametrize("ask", ASKED_OF_ACCOUNTS.values(), ids=ASKED_OF_ACCOUNTS)
def test_a_system_without_accounts_says_that_none_have_come_and_not_that_there_is_none(
    bare: Network, ask: Callable[[CustomerSystem], object]
) -> None:
    held = len(bare["c1"].tables["requests"])
    with pytest.raises(NotYetReplicated, match=r"c1 holds no (accounts|instruments)\b.* yet"):
        ask(bare["c1"])
    assert len(bare["c1"].tables["requests"]) == held, "nothing was written"
    ask(bare["c2"])
    bare.heal()
    bare.run()
    assert len(bare["c1"].orders("alice")) == len(bare["c2"].orders("alice"))
    submit(bare["c1"])


def test_a_system_without_instruments_says_so(bare: Network) -> None:
    (accounts,) = bare.firm.tables["accounts"].arrow.to_batches()
    bare["c1"].receive("accounts", as_written(accounts))
    with pytest.raises(NotYetReplicated, match="c1 holds no instruments yet"):
        submit(bare["c1"])
    assert bare["c1"].positions("alice").is_empty(), "this takes no instruments"


def test_a_repeat_is_answered_by_a_system_without_accounts(tmp_path: Path) -> None:
    with network(2, 1, data=tmp_path / "run") as desk:
        order = submit(desk["c2"], cl_ord_id="A")
        desk.run()
        desk.partition("c1")
        desk.lose_disk("c1")
        desk.heal("c1", "c2")
        desk.run()
        repeated = submit(desk["c1"], cl_ord_id="A")
        assert (repeated.order_id, repeated.repeated) == (order.order_id, True)


def test_what_a_lost_disk_alone_had_is_unknown_to_the_audit_and_every_system_says_it_is_over(
    tmp_path: Path,
) -> None:
    with network(3, 2, data=tmp_path / "run") as desk:
        submit(desk["c1"])
        desk.run()
        order = submit(desk["c1"])
        desk.lose_disk("c1")
        desk.run()
        audit = desk.audit()
        assert audit.verdict is None
        (check,) = (check for check in audit.checks if check.verdict is not True)
        assert check.found == ("what c1 took beyond c1-0 before its file was lost cannot be known",)
    with Network.open(tmp_path / "run", clock=ManualClock(NOON)) as again:
        assert again.audit().verdict is None, "it does not become known"
        for system in (*again.customers, again.firm):
            told = rf"{system.name} holds 1 requests of c1, .* c1 is over, .* goes on as c1\.1"
            for ask in ({}, {"at_least": order.token}):
                with pytest.raises(NotYetReplicated, match="nothing more of c1 comes"):
                    system.status(order, **ask)
            with pytest.raises(NotYetReplicated, match=told):
                system.status(order)


def test_what_nobody_holds_of_an_incarnation_is_unknown_from_its_first_record_on(
    tmp_path: Path,
) -> None:
    with network(2, 1, data=tmp_path / "run") as desk:
        desk.lose_disk("c2")
        desk.lose_disk("c2")
        found = [text for check in desk.audit().checks for text in check.found]
        assert found == [
            f"what {name} took before its file was lost cannot be known" for name in ("c2", "c2.1")
        ]


def test_a_street_side_system_that_lost_its_disk_leaves_nothing_unknown(tmp_path: Path) -> None:
    """Whatever the market reported, it reports again."""
    with network(2, 2, data=tmp_path / "run") as desk:
        filled(desk)
        desk.lose_disk("s1")
        desk.run()
        assert desk.audit().verdict is True


def test_an_incarnation_that_only_the_street_side_knew_of_is_not_gone_on_as(tmp_path: Path) -> None:
    with network(2, 1, data=tmp_path / "run") as desk:
        desk.run()
        desk.lose_disk("c1")
        desk.partition("c1", "c2", "firm")
        known_to_the_street = submit(desk["c1"])
        desk.run()
    shutil.rmtree(tmp_path / "run" / "c1")
    with Network.open(tmp_path / "run", clock=ManualClock(NOON)) as desk:
        desk.run()
        assert str(known_to_the_street) == "c1.1-0"
        assert str(submit(desk["c1"])) == "c1.2-0"
