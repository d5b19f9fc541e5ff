"""Customers, who turn to another system when no answer comes, and what they are told."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tradesys.inquiry.answers import Order
from tradesys.records.clock import MS
from tradesys.records.errors import InvalidValue, NotYetReplicated, TradesysError
from tradesys.records.schemas import format_id
from tradesys.simulation.plan import Ask
from tradesys.simulation.transport import CUSTOMERS, Peers
from tradesys.simulation.world import World
from tradesys.systems.customer import CustomerSystem

NEVER_BACK = "an answer at one system never goes back"
ID_ONCE = "no id is given twice"
_PATIENCE = 20 * MS
_ATTEMPTS = 6


@dataclass(frozen=True)
class Told:
    """What became of one request of a customer: ``order`` as acknowledged, or why not."""

    ask: Ask
    order: Order | None
    why: str | None
    attempts: int
    took: int


class Acknowledged(NamedTuple):
    """A request as it was acknowledged: of which order, and when (ns).

    ``holders`` says which systems had it then, the one that was asked first, and how many disks
    each of them had lost before.
    """

    name: str
    order_id: int
    holders: dict[str, int]
    at: int


class Callers:
    """All customers: how many wait for an answer, and what they were told.

    ``acknowledged`` has each request by its id. ``wrong`` is what nobody may be told, by the check
    it breaks.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.waiting = 0
        self.told: dict[str, Told] = {}
        self.acknowledged: dict[int, Acknowledged] = {}
        self.statuses_seen: Counter[str] = Counter()
        self.wrong: list[tuple[str, str]] = []
        self.best: dict[str, dict[tuple[str, str], int]] = {}
        self._events: dict[int, list[tuple[int, int]]] = {}
        self._known_until = 0

    def ask(self, ask: Ask) -> None:
        """A customer begins to ask."""
        about = self.told.get(ask.of) if ask.of else None
        if ask.of and (about is None or about.order is None or about.order.reject_reason):
            return
        self.waiting += 1
        Asking(self, ask, about.order.order_id if about and about.order else 0).turn()

    def serve(self, asking: "Asking", name: str, attempt: int) -> None:
        """A system is asked by a customer: it answers, or says why not."""
        node, system = self.world.transport.nodes[name], self.world.systems[name]
        assert isinstance(system, CustomerSystem)
        ask, order_id = asking.ask, asking.order_id
        order: Order | None = None
        try:
            if ask.kind == "new":
                order = system.submit(**asking.terms, cl_ord_id=ask.called)
            elif ask.kind == "cancel":
                order = system.cancel(order_id, cl_ord_id=ask.called)
            elif ask.kind == "replace":
                order = system.replace(order_id, **asking.terms, cl_ord_id=ask.called)
            else:
                self._inquire(name, system, order_id)
        except (NotYetReplicated, InvalidValue) as error:
            if isinstance(error, InvalidValue):
                self.world.log.append((self.world.transport.now, name, "refused", 0))
            self._reply(name, asking, attempt, error=error)
            return
        if order is None:
            self._reply(name, asking, attempt)
            return
        self.world.log.append(
            (self.world.transport.now, name, "refused" if order.reject_reason else "taken", 0)
        )
        self.world.transport.note(
            name, "record", f"{format_id(order.record_id)}: {ask.kind} {ask.name}"
        )

        def acknowledge(peers: Peers, order: Order = order) -> None:
            holders = {name: node.disks} | peers
            told = Acknowledged(
                ask.called or ask.name, order.order_id, holders, self.world.transport.now
            )
            earlier = self.acknowledged.setdefault(order.record_id, told)
            if earlier.name != told.name:
                both = f"{earlier.name} and {told.name}"
                self.wrong.append((ID_ONCE, f"{format_id(order.record_id)} is {both}"))
            self._reply(name, asking, attempt, order)

        self.world.work(name)
        if self.world.peers_needed():
            node.withheld.append((order.record_id, {}, acknowledge))
        else:
            acknowledge({})

    def _reply(
        self,
        name: str,
        asking: "Asking",
        attempt: int,
        order: Order | None = None,
        error: TradesysError | None = None,
    ) -> None:
        words = str(error) if error else "acknowledged" if order else "answer"
        self.world.transport.send(name, CUSTOMERS, words, asking.hear, name, attempt, order, error)

    def _inquire(self, name: str, system: CustomerSystem, order_id: int) -> None:
        """Answer an inquiry, note how old the answer is, and that it does not go back."""
        answer = system.status(order_id)
        self.statuses_seen[answer.ord_status] += 1
        now = self.world.transport.now
        self.world.log.append((now, name, "answered", now - self._missing_since(system, order_id)))
        held = {(d, o): n for d, of in answer.positions.items() for o, n in of.items()}
        best = self.best.setdefault(name, {})
        for (what, whose), count in held.items():
            if count < best.get((what, whose), 0):
                text = f"{name} answered from {count} {what} of {whose}, after {best[what, whose]}"
                self.wrong.append((NEVER_BACK, text))
        best |= held

    def _missing_since(self, system: CustomerSystem, order_id: int) -> int:
        """When the first event of an order came that a system does not know of; now, if none."""
        until, self._known_until = self._known_until, self.world.venue.reports.count
        fresh = self.world.venue.reports.since(until)
        if fresh is not None:
            times = fresh["ts"].view(pa.int64()).to_pylist()
            ids = fresh["record_id"].to_pylist(), fresh["order_id"].to_pylist()
            for exec_id, of, ts in zip(*ids, times, strict=True):
                self._events.setdefault(of, []).append((exec_id, self.world.transport.since(ts)))
        events = self._events.get(order_id, [])
        seen = system.view.seen(np.array([i for i, _ in events], np.uint64))
        missing = np.flatnonzero(~seen)
        return events[missing[0]][1] if len(missing) else self.world.transport.now

    def forget_answers(self, name: str) -> None:
        """A system that has lost its disk may answer from less than it had."""
        self.best.pop(name, None)


class Asking:
    """One customer who asks, and turns to another system when no answer comes."""

    def __init__(self, callers: Callers, ask: Ask, order_id: int) -> None:
        self.callers, self.world, self.ask, self.order_id = callers, callers.world, ask, order_id
        self.attempt, self.began = 0, self.world.transport.now
        self.is_done = False
        self.terms = dict(ask.terms)
        if expires_in := self.terms.pop("expires_in", 0):
            self.terms["expire_time"] = self.world.transport.wall + expires_in

    def turn(self) -> None:
        """Turn to the next system."""
        world, ask = self.world, self.ask
        name = f"c{(ask.system + self.attempt) % world.plan.customers + 1}"
        words = f"{ask.kind} {ask.name}"
        self.attempt += 1
        world.transport.send(CUSTOMERS, name, words, self.callers.serve, self, name, self.attempt)
        world.transport.after(_PATIENCE, self.lose_patience, name, self.attempt)

    def lose_patience(self, name: str, attempt: int) -> None:
        """No answer has come."""
        if not self.is_done and attempt == self.attempt:
            self.world.log.append((self.world.transport.now, name, "delayed", 0))
            self._go_on("no answer")

    def hear(
        self, name: str, attempt: int, order: Order | None, error: TradesysError | None
    ) -> None:
        """An answer has come, perhaps a late one."""
        if self.is_done:
            return
        if isinstance(error, NotYetReplicated):
            if attempt == self.attempt:
                self._go_on(str(error))
            return
        took = self.world.transport.now - self.began
        if order:
            self.world.log.append((self.world.transport.now, name, "acknowledged", took))
        self._end(Told(self.ask, order, str(error) if error else None, self.attempt, took))

    def _go_on(self, why: str) -> None:
        # Who gave it no name cannot tell whether it was taken: asked again, it would be another.
        if self.attempt < _ATTEMPTS and self.ask.called:
            self.turn()
        else:
            took = self.world.transport.now - self.began
            self._end(Told(self.ask, None, why, self.attempt, took))

    def _end(self, told: Told) -> None:
        self.is_done = True
        self.callers.waiting -= 1
        self.callers.told[self.ask.name] = told
