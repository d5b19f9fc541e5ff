"""What whoever carries messages between systems must keep, whichever way it does.

Goal: a network in one process, a simulation's transport, and whatever comes later pass the same
tests, so that a system works on each as on any other.
Method: a transport is tested by a subclass of :class:`TransportContract` whose fixture is a
:class:`Carrier`: it says how time passes, and how its faults are switched on and off.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from tests.build import sound, submit
from tradesys.inquiry.answers import Order
from tradesys.network import Network
from tradesys.records.opening_books import OpeningBooks
from tradesys.replication.runtime import Message, Records
from tradesys.replication.transfer import gives, wants
from tradesys.systems.customer import CustomerSystem

BOOKS = OpeningBooks(("alice", "bob"), ("ALFA", "DLTA"), 10**14, 10**9, lot_size=10)
"""Nobody runs out of money here."""


class Carrier(ABC):
    """A network of three customer-facing and two street-side systems, and its faults.

    Its books are :data:`BOOKS`; ``ALFA`` is the business of s1, and ``DLTA`` that of s2.
    """

    desk: Network

    @abstractmethod
    def enter(self, act: Callable[[CustomerSystem], Order], at: str) -> Order:
        """Have a customer-facing system asked by a customer."""

    @abstractmethod
    def settle(self) -> None:
        """Let all come to rest."""

    @abstractmethod
    def send(self, act: Callable[[], list[Order]]) -> list[Order]:
        """Let orders that are entered come to street-side systems, and none of them be worked."""

    @abstractmethod
    def disturb(self) -> None:
        """From now on messages are lost, repeated, and overtaken by others, as far as they can."""

    @abstractmethod
    def calm(self) -> None:
        """Messages are disturbed no more, and nobody is cut off."""

    @abstractmethod
    def cut(self, one: str, *others: str) -> None:
        """No message passes between one system and others, by default all."""

    @abstractmethod
    def crash(self, name: str) -> None:
        """A system stops: its memory is gone."""

    @abstractmethod
    def restart(self, name: str) -> None:
        """A system that has stopped is there again."""

    @abstractmethod
    def lose_disk(self, name: str) -> None:
        """A system loses its disk, and is there again."""

    @abstractmethod
    def hand(self, message: Message) -> None:
        """A message arrives as it is, and is taken in."""


class TransportContract:
    """What every transport keeps."""

    @pytest.fixture
    def carrier(self) -> Iterator[Carrier]:
        """The transport that is tested."""
        raise NotImplementedError

    def trade(self, carrier: Carrier, first: int = 1) -> list[Order]:
        """A few orders, each at the next system; two of them match."""
        sides = (("alice", "buy"), ("bob", "sell"), ("alice", "buy"))
        orders = []
        for number, (account, side) in enumerate(sides):
            symbol, qty = ("ALFA", "ALFA", "DLTA")[number], 10 * (first + number)

            def act(
                system: CustomerSystem,
                account: str = account,
                side: str = side,
                symbol: str = symbol,
                qty: int = qty,
            ) -> Order:
                return submit(system, account=account, side=side, symbol=symbol, order_qty=qty)

            orders.append(carrier.enter(act, f"c{number % 3 + 1}"))
        return orders

    def require_carried(self, carrier: Carrier, *orders: Order) -> None:
        """All that was written is everywhere it should be, once and in order; orders are worked."""
        carrier.settle()
        desk = carrier.desk
        assert desk.is_at_rest()
        for link in desk.links:
            assert gives(link.source, wants(link.target, link.source.origin)) == []
        for system in desk:
            for table in system.tables.values():
                for code, log in table.logs.items():
                    ids = [i for batch in log.batches() for i in batch["record_id"].to_pylist()]
                    assert all(after == before + 1 for before, after in pairwise(ids)), code
                    assert len(ids) == log.count
        taken = desk.venue.reports.table().to_pylist()
        new = [row["order_id"] for row in taken if row["exec_type"] == "new"]
        for order in orders:
            assert new.count(order.order_id) == 1
        assert sound(desk.audit()), str(desk.audit())

    def test_what_is_written_arrives_everywhere_once_and_in_order(self, carrier: Carrier) -> None:
        self.require_carried(carrier, *self.trade(carrier))

    def test_messages_may_be_lost_repeated_and_overtaken(self, carrier: Carrier) -> None:
        carrier.disturb()
        orders = self.trade(carrier)
        orders += self.trade(carrier, first=4)
        carrier.settle()
        carrier.calm()
        self.require_carried(carrier, *orders)

    def test_a_source_that_lost_its_disk_is_given_back_what_it_wrote(
        self, carrier: Carrier
    ) -> None:
        orders = self.trade(carrier)
        carrier.settle()
        before = carrier.desk["c1"].tables["requests"].positions
        carrier.lose_disk("c1")
        carrier.settle()
        self.require_carried(carrier, *orders, *self.trade(carrier, first=4))
        c1 = carrier.desk["c1"]
        more = {str(c1.origin): 1, "c2": before["c2"] + 1, "c3": before["c3"] + 1}
        assert c1.tables["requests"].positions == before | more

    def test_what_only_a_peer_out_of_reach_holds_is_given_back_when_it_is_reached(
        self, carrier: Carrier
    ) -> None:
        carrier.cut("c1", "c2", "s1", "s2", "firm")
        order = self.trade(carrier)[0]
        carrier.settle()
        carrier.cut("c1", "c3")
        carrier.lose_disk("c1")
        assert not carrier.desk["c1"].tables["requests"].has(order.order_id)
        carrier.calm()
        self.require_carried(carrier, order)

    @pytest.mark.parametrize("name", ["c2", "s1", "firm"])
    def test_a_target_that_lost_its_memory_catches_up(self, carrier: Carrier, name: str) -> None:
        orders = self.trade(carrier)
        carrier.crash(name)
        carrier.settle()
        carrier.restart(name)
        self.require_carried(carrier, *orders)

    def test_an_order_is_sent_again_until_it_is_answered_and_worked_once(
        self, carrier: Carrier
    ) -> None:
        orders = carrier.send(lambda: self.trade(carrier))
        carrier.crash("s1")
        carrier.settle()
        carrier.restart("s1")
        self.require_carried(carrier, *orders)

    def test_nothing_is_taken_after_a_gap(self, carrier: Carrier) -> None:
        carrier.cut("c1")
        for _ in range(2):
            carrier.enter(lambda c1: submit(c1, order_qty=10), "c1")
        desk = carrier.desk
        (carried,) = gives(desk["c1"], wants(desk["c2"], desk["c1"].origin))
        late = [carried._replace(batch=carried.batch.slice(1))]
        before = desk["c2"].tables["requests"].count(desk["c1"].origin.code)
        carrier.hand(Message("c1", "c2", Records(desk["c1"].origin, 1, late)))
        assert desk["c2"].tables["requests"].count(desk["c1"].origin.code) == before
        carrier.calm()
        self.require_carried(carrier)
