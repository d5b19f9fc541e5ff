"""Goal: what carries records and orders is one piece of code, embedded and simulated.

Method: each mutant leaves out or turns round one of its steps. A few simulated seeds catch it, and
so does a network in one process in which links are cut, systems crash and a disk is lost.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.build import network, submit
from tests.test_protocol_mutants import reuse_ids_after_a_lost_disk
from tradesys.audit.checks import KNOWN
from tradesys.log.offsets import Offsets
from tradesys.network import Network
from tradesys.records.errors import InvalidValue, NotYetReplicated
from tradesys.records.schemas import Origin
from tradesys.replication import carrying, recovery
from tradesys.replication.carrying import Carried
from tradesys.simulation import draw, ways, world
from tradesys.simulation.seeds import run_plan
from tradesys.systems.customer import CustomerSystem, customer, outbox
from tradesys.systems.firm import FirmSystem
from tradesys.systems.street import StreetSystem
from tradesys.systems.system import System

Patch = pytest.MonkeyPatch
SEEDS = 16


def everywhere(patch: Patch, name: str, double: Callable[..., Any]) -> None:
    """Put a double in the place of a function, whoever has imported it."""
    for module in (carrying, recovery, ways, world):
        if hasattr(module, name):
            patch.setattr(module, name, double)


def less(carried: list[Carried]) -> list[Carried]:
    """All but the last record of each batch."""
    return [each._replace(batch=each.batch.slice(0, len(each.batch) - 1)) for each in carried]


def fails(*_: object, **__: object) -> Any:
    raise RuntimeError("it is not there")


def want_one_more(patch: Patch) -> None:
    """A target says that it holds one record more than it does."""
    real = carrying.wants

    def wants(target: System, source: Origin) -> Offsets:
        return Offsets((key, count + 1) for key, count in real(target, source).items())

    everywhere(patch, "wants", wants)


def want_of_one_incarnation(patch: Patch) -> None:
    """A target wants what the present incarnation of a source has written, and no other."""
    real = carrying.wants

    def wants(target: System, source: Origin) -> Offsets:
        return Offsets((k, n) for k, n in real(target, source).items() if k[1] == source.code)

    everywhere(patch, "wants", wants)


def give_nothing(patch: Patch) -> None:
    """A source gives nothing of what it has written."""
    everywhere(patch, "gives", lambda *_: [])


def give_all_but_the_last(patch: Patch) -> None:
    """A source keeps back the last record of each batch."""
    real = carrying.gives
    everywhere(patch, "gives", lambda *of: [c for c in less(real(*of)) if len(c.batch)])


def take_all_but_the_last(patch: Patch) -> None:
    """A target leaves the last of the batches that have come."""
    real = carrying.takes

    def takes(target: System, carried: Sequence[Carried], **how: bool) -> int:
        return real(target, carried[:-1], **how)

    everywhere(patch, "takes", takes)


def take_nothing(patch: Patch) -> None:
    """What has come is not taken in."""
    everywhere(patch, "takes", lambda *_, **__: 0)


def lack_nothing(patch: Patch) -> None:
    """A system that has lost its disk does not notice what others hold of it."""
    everywhere(patch, "lacks", lambda *_: Offsets())


def give_nothing_back(patch: Patch) -> None:
    """Nobody gives back what a lost disk has taken."""
    everywhere(patch, "gives_back", lambda *_: [])


def begin_again_as_nobody(patch: Patch) -> None:
    """Recovery is not there."""
    everywhere(patch, "begin_again", fails)


def forget_what_is_not_taken(patch: Patch) -> None:
    """An order leaves the outbox before a street-side system has been asked to take it."""

    real = outbox.hand_over

    def hand_over(waiting: Any, *more: Any) -> tuple[int, list[Any]]:
        return real(waiting[1:], *more)[0], []

    patch.setattr(customer, "hand_over", hand_over)


def forward_nothing(patch: Patch) -> None:
    """Accepted orders are not sent."""
    patch.setattr(CustomerSystem, "forward", lambda *_: 0)
    patch.setattr(CustomerSystem, "resend", lambda *_: None)


def accept_nothing(patch: Patch) -> None:
    """A street-side system drops the orders that it is sent."""
    patch.setattr(StreetSystem, "accept", lambda *_: None)


def work_nothing(patch: Patch) -> None:
    """A street-side system does nothing by itself."""
    patch.setattr(StreetSystem, "work", lambda _: 0)


def clear_nothing(patch: Patch) -> None:
    """The firm does nothing by itself."""
    patch.setattr(FirmSystem, "clear", lambda _: 0)


MUTANTS = [
    want_one_more,
    want_of_one_incarnation,
    give_nothing,
    give_all_but_the_last,
    take_all_but_the_last,
    take_nothing,
    lack_nothing,
    give_nothing_back,
    reuse_ids_after_a_lost_disk,
    begin_again_as_nobody,
    forget_what_is_not_taken,
    forward_nothing,
    accept_nothing,
    work_nothing,
    clear_nothing,
]

mutants = pytest.mark.parametrize("leave_out", MUTANTS, ids=lambda mutant: mutant.__name__)


def is_caught_by_a_seed() -> bool:
    for seed in range(1, SEEDS + 1):
        plan = draw(seed, orders=40, faults=8, phases=1, kinds=("lost-disk", "partition", "loss"))
        if run_plan(plan).verdict is not True:
            return True
    return False


def bad_day(desk: Network) -> None:
    """Cuts, a crash, and a lost disk whose last order only a peer has that is out of reach then."""
    for number, symbol in enumerate(("ALFA", "DLTA") * 2):
        side, account = ("buy", "sell")[number // 2], ("alice", "bob")[number // 2]
        submit(desk[f"c{number % 3 + 1}"], symbol=symbol, side=side, account=account, order_qty=10)
    desk.run()
    desk.partition("c1", "c2", "s1", "s2", "firm")
    submit(desk["c1"], order_qty=20)
    desk.run()
    desk.partition("c1", "c3")
    desk.lose_disk("c1")
    desk.heal("c1", "firm")
    desk.run()
    submit(desk["c1"], order_qty=30)
    desk.heal()
    desk.crash("s1")
    submit(desk["c2"], order_qty=40)
    desk.run()
    desk.restart("s1")
    desk.run()


def is_caught_embedded(data: Path) -> bool:
    try:
        with network(customers=3, streets=2, data=data) as desk:
            bad_day(desk)
            is_known = [check.verdict for check in desk.audit().checks if check.name != KNOWN]
            return not all(is_known) or not desk.is_at_rest()
    except (RuntimeError, NotYetReplicated, InvalidValue):
        return True


def test_the_protocol_as_it_is_passes(tmp_path: Path) -> None:
    assert not is_caught_by_a_seed()
    assert not is_caught_embedded(tmp_path)


@mutants
def test_simulated_systems_miss_what_is_left_out(
    leave_out: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    leave_out(monkeypatch)
    assert is_caught_by_a_seed()


@mutants
def test_a_network_in_one_process_misses_what_is_left_out(
    leave_out: Callable[[Patch], None], monkeypatch: Patch, tmp_path: Path
) -> None:
    leave_out(monkeypatch)
    assert is_caught_embedded(tmp_path)
