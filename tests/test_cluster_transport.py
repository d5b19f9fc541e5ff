"""A cluster keeps the contract of every transport, and ends in the same tables as the others.

Goal: what holds in one process and under virtual time holds between real processes and servers.
Method: processes whose messages get lost where a test says so (:mod:`tests.faulty_process`).
"""

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nats
import pytest

from tests import histories
from tests.build import state, submit
from tests.clusters import FaultyCluster, free_ports
from tests.test_transport import InOneProcess, played
from tests.transport import BOOKS, Carrier, TransportContract
from tradesys.cluster import layout as layouts
from tradesys.cluster.connection import RemoteNetwork, connect
from tradesys.cluster.layout import MARKET, TRADER
from tradesys.cluster.message_encoding import encoded
from tradesys.inquiry.answers import Order
from tradesys.records.opening_books import OpeningBooks
from tradesys.replication.runtime import Message
from tradesys.replication.transfer import Link, behind, to_give_back
from tradesys.systems.customer import CustomerSystem

HISTORIES = int(os.environ.get("TRADESYS_HISTORIES", "2"))
WAIT_S = 60.0


class InProcesses(Carrier):
    """Processes over a server; messages between systems get lost, those to the server do not."""

    def __init__(self, cluster: FaultyCluster) -> None:
        self.cluster = cluster
        layout = cluster.layout
        self.desk: RemoteNetwork = connect(layout.access(TRADER), layout.manifest, TRADER)
        self.down: set[str] = set()
        self.pairs: set[frozenset[str]] = set()

    def enter(self, act: Callable[[CustomerSystem], Order], at: str) -> Order:
        order = act(self.desk[at])
        self.desk.step()
        return order

    def settle(self) -> None:
        """Until all is quiet, or, where something is down or cut off, all others are level."""
        if MARKET in self.down:
            self.restart(MARKET)
        if not (self.down or self.pairs):
            self.desk.run()
            return
        self._await(lambda: not any(map(self._is_late, self.desk.links)))

    def _is_late(self, link: Link) -> bool:
        names = {link.source.name, link.target.name}
        reached = not names & self.down and frozenset(names) not in self.pairs
        return bool(reached and (behind(link) or to_give_back(link)))

    def _await(self, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + WAIT_S
        self.desk.step()
        while not holds():
            assert time.monotonic() < until
            self.desk.step()

    def send(self, act: Callable[[], list[Order]]) -> list[Order]:
        self.crash(MARKET)
        orders = act()
        self._await(lambda: not self.desk.facts.get("s1", {"idle": True})["idle"])
        return orders

    def disturb(self) -> None:
        self.cluster.fault(disturbed=True)

    def calm(self) -> None:
        self.pairs = set()
        self.cluster.fault(disturbed=False, cut=[])

    def cut(self, one: str, *others: str) -> None:
        rest = others or [name for name in self.desk.systems if name != one]
        self.pairs |= {frozenset((one, other)) for other in rest}
        self.cluster.fault(cut=[sorted(pair) for pair in self.pairs])

    def crash(self, name: str) -> None:
        self.cluster.kill(name)
        self.down.add(name)

    def restart(self, name: str) -> None:
        self.cluster.restart(name)
        self.down.discard(name)
        self.desk.step()

    def lose_disk(self, name: str) -> None:
        self.crash(name)
        shutil.rmtree(self.cluster.layout.data / name)
        self.restart(name)

    def hand(self, message: Message) -> None:
        access = self.cluster.layout.access(message.source)

        async def publish() -> None:
            broker = await nats.connect(access.servers, **access.options)
            await broker.publish(f"to.{message.target}.{message.source}", encoded(message.body))
            await broker.flush()
            await broker.close()

        asyncio.run(publish())
        # It takes in one message after the other: an order of its own is worked after this one.
        order = self.enter(submit, message.target)
        self._await(lambda: state(self.desk[message.target], order)[0] != "pending_new")

    def put_right(self) -> None:
        self.calm()
        for name in sorted(self.down):
            self.restart(name)
        self.desk.close()


def running(folder: Path, books: OpeningBooks) -> FaultyCluster:
    layouts.init(folder, 3, 2, 1, books=books, port=free_ports())
    return FaultyCluster(folder)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyCluster]:
    with running(tmp_path_factory.mktemp("cluster") / "run", BOOKS) as made:
        yield made


class TestInProcesses(TransportContract):
    @pytest.fixture
    def carrier(self, cluster: FaultyCluster) -> Iterator[Carrier]:
        made = InProcesses(cluster)
        made.desk.run()
        yield made
        made.put_right()
        assert not cluster.executed_twice


@pytest.mark.long
@pytest.mark.parametrize("seed", range(HISTORIES))
def test_a_history_ends_in_the_same_tables_as_in_one_process(seed: int, tmp_path: Path) -> None:
    acts = histories.history(seed)
    expected = played(InOneProcess(tmp_path / "run", histories.BOOKS), acts)
    with running(tmp_path / "cluster", histories.BOOKS) as cluster:
        assert played(InProcesses(cluster), acts) == expected
        assert not cluster.executed_twice
