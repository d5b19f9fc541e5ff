"""Every transport keeps the contract of :mod:`tests.transport`."""

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests import histories
from tests.build import NOON
from tests.transport import BOOKS, Carrier, TransportContract
from tradesys.inquiry.answers import Order
from tradesys.network import Network
from tradesys.records.clock import MS, ManualClock
from tradesys.records.opening_books import OpeningBooks
from tradesys.replication.runtime import Message
from tradesys.simulation import Choices, Plan, Simulation
from tradesys.systems.customer import CustomerSystem


class Disturbed(Network):
    """A network in one process whose messages may be repeated, and put in another order."""

    chance: random.Random | None = None

    def _carry(self, messages: Iterable[Message]) -> None:
        if self.chance is None:
            super()._carry(messages)
            return
        twice = [*messages] * 2
        self.chance.shuffle(twice)
        for message in twice:
            super()._carry([message])


class InOneProcess(Carrier):
    """Nothing is lost here but where links are cut."""

    def __init__(self, data: Path, books: OpeningBooks = BOOKS) -> None:
        self.desk: Disturbed = Disturbed(3, 2, firm=books, data=data, clock=ManualClock(NOON))

    def enter(self, act: Callable[[CustomerSystem], Order], at: str) -> Order:
        return act(self.desk[at])

    def settle(self) -> None:
        if self.desk.chance:
            for _ in range(20):
                self.desk.heal()
                for name in self.desk.chance.sample(sorted(self.desk.systems), 2):
                    self.desk.partition(name)
                self.desk.step()
        else:
            self.desk.run()

    def send(self, act: Callable[[], list[Order]]) -> list[Order]:
        orders = act()
        self.desk.stage("send")
        return orders

    def disturb(self) -> None:
        self.desk.chance = random.Random(1)

    def calm(self) -> None:
        self.desk.chance = None
        self.desk.heal()

    def cut(self, one: str, *others: str) -> None:
        self.desk.partition(one, *others)

    def crash(self, name: str) -> None:
        self.desk.crash(name)

    def restart(self, name: str) -> None:
        self.desk.restart(name)

    def lose_disk(self, name: str) -> None:
        self.desk.lose_disk(name)

    def hand(self, message: Message) -> None:
        self.desk.runtimes[message.target].handle(message, 0)


class Simulated(Carrier):
    """Under virtual time, with disks in memory."""

    def __init__(self, books: OpeningBooks = BOOKS) -> None:
        self.desk: Simulation = Simulation(Plan(1, 3, 2, 1, Choices(), (), (), (), books))
        self.transport = self.desk.transport

    def enter(self, act: Callable[[CustomerSystem], Order], at: str) -> Order:
        order = act(self.desk[at])
        self.desk.work(at)
        return order

    def settle(self) -> None:
        self.desk.until(self.transport.now + 500 * MS)

    def send(self, act: Callable[[], list[Order]]) -> list[Order]:
        for name in self.desk.street_names:
            self.transport.nodes[name].session_cuts += 1
        orders = act()
        self.desk.until(self.transport.now + 5 * MS)
        for name in self.desk.street_names:
            self.transport.nodes[name].session_cuts -= 1
        return orders

    def disturb(self) -> None:
        for name in self.desk.systems:
            for fault in (self.transport.lossy, self.transport.repeating):
                fault[name] += 1

    def calm(self) -> None:
        for fault in (self.transport.lossy, self.transport.repeating, self.transport.cut):
            fault.clear()

    def cut(self, one: str, *others: str) -> None:
        for other in others or [name for name in self.desk.systems if name != one]:
            self.transport.cut[one, other] = self.transport.cut[other, one] = 1

    def crash(self, name: str) -> None:
        self.desk.stop(self.transport.nodes[name])

    def restart(self, name: str) -> None:
        self.desk.start(self.transport.nodes[name])

    def lose_disk(self, name: str) -> None:
        node = self.transport.nodes[name]
        self.desk.stop(node, lose=True)
        self.desk.start(node)

    def hand(self, message: Message) -> None:
        self.desk.runtimes[message.target].handle(message, self.transport.now)


class TestInOneProcess(TransportContract):
    @pytest.fixture
    def carrier(self, tmp_path: Path) -> Iterator[Carrier]:
        made = InOneProcess(tmp_path / "run")
        yield made
        made.desk.close()


class TestSimulated(TransportContract):
    @pytest.fixture
    def carrier(self) -> Iterator[Carrier]:
        made = Simulated()
        yield made
        made.desk.close()


def played(carrier: Carrier, acts: list[histories.Act]) -> dict[str, list[str]]:
    """What systems hold and answer after a history, at its end sound."""
    try:
        refused = histories.play(carrier, acts)
        assert carrier.desk.audit().verdict is True, str(carrier.desk.audit())
        return histories.outcome(carrier.desk) | {"refused": [str(act) for act in refused]}
    finally:
        carrier.desk.close()


@pytest.mark.parametrize("seed", range(12))
def test_a_history_ends_in_equal_tables_whoever_carries(seed: int, tmp_path: Path) -> None:
    acts = histories.history(seed)
    one = played(InOneProcess(tmp_path / "run", histories.BOOKS), acts)
    other = played(Simulated(histories.BOOKS), acts)
    assert one == other
