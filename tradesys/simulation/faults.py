"""Faults as they begin and end, one at a time for what each can bear."""

from collections.abc import Collection
from typing import NamedTuple

from tradesys.network.outage_bill import Outage, at_risk
from tradesys.records.clock import MS
from tradesys.simulation.customers import Callers
from tradesys.simulation.plan import Fault
from tradesys.simulation.transport import CUSTOMERS, Node, Transport
from tradesys.simulation.world import World


class Suffered(NamedTuple):
    """A fault as it happened; ``in_flight`` says whether an order was under way when it began."""

    fault: Fault
    outage: Outage
    ended: int
    in_flight: bool


class Faults:
    """What goes wrong now, and what went wrong."""

    def __init__(self, world: World, callers: Callers) -> None:
        self._world, self._callers = world, callers
        self.active = 0
        self.suffered: list[Suffered] = []

    def begin(self, fault: Fault) -> None:
        """Let a fault happen; where it cannot (the system is down already), nothing happens."""
        node = self._world.transport.nodes[fault.system]
        if not node.up:
            return
        transport = self._world.transport
        kind = {"crash": self._crash, "lost-disk": self._crash, "power": self._power}.get(
            fault.kind, self._last
        )
        risk = at_risk(self._world.systems[node.name], self._world)
        outage = Outage(node.name, fault.kind, transport.now, risk)
        in_flight = self._has_order_in_flight()
        self.suffered.append(Suffered(fault, outage, transport.now + fault.lasts, in_flight))
        words = fault.kind + (f" from {fault.other}" if fault.other else "")
        transport.note(fault.system, "fault", words)
        self.active += 1
        kind(node, fault)
        transport.after(fault.lasts, self._over, outage, node)

    def _over(self, outage: Outage, node: Node) -> None:
        self.active -= 1
        if node.up:
            node.disk.fails_in = None  # a power failure that no write has met
        self._world.transport.note(node.name, "over", outage.kind + " is over")
        outage.end(self._world.transport.now, self._world.systems[node.name], self._world)
        self._watch(outage, node)

    def _watch(self, outage: Outage, node: Node) -> None:
        """Note when the system has all that the others had when its fault was over."""
        transport = self._world.transport
        if not node.up or not outage.see(transport.now, self._world.systems[node.name]):
            transport.after(MS, self._watch, outage, node)

    def excuses(self, customers: Collection[str], streets: list[str]) -> list[tuple[int, int]]:
        """The times, apart, at which a request that has to come from some systems may have to wait.

        That is while anything is amiss with those systems or the street side, but a street-side
        system that has stopped; or while all of those have.
        """
        way = {*customers, *streets}
        about = [s for s in self.suffered if way & {s.fault.system, s.fault.other}]
        stopped = [s for s in about if s.fault.kind in _STOPS and s.fault.system in streets]
        spans = [(s.outage.began, s.ended + _BACK) for s in about if s not in stopped]
        for one in stopped:
            same = [
                s for s in stopped if s.outage.began <= one.ended and one.outage.began <= s.ended
            ]
            if {s.fault.system for s in same} == set(streets):
                spans += [(s.outage.began, s.ended + _BACK) for s in same]
        apart: list[tuple[int, int]] = []
        for began, ended in sorted(spans):
            if apart and began <= apart[-1][1]:
                apart[-1] = apart[-1][0], max(apart[-1][1], ended)
            else:
                apart.append((began, ended))
        return apart

    def _has_order_in_flight(self) -> bool:
        """Whether a customer waits for an answer, or a request for what the market says."""
        up = (c for c in self._world.customers if self._world.transport.nodes[c.name].up)
        return bool(self._callers.waiting) or any(c.unanswered() for c in up)

    # ---- each kind

    def _crash(self, node: Node, fault: Fault) -> None:
        world = self._world
        world.stop(node, lose=fault.kind == "lost-disk")
        if fault.kind == "lost-disk":
            self._callers.forget_answers(node.name)
        world.transport.after(fault.lasts, world.start, node)

    def _power(self, node: Node, fault: Fault) -> None:
        node.disk.fails_in, node.outage = fault.amount, fault.lasts

    def _last(self, node: Node, fault: Fault) -> None:
        """What only lasts for a time: switched on now, and off again."""
        _switch(self._world, node, fault, 1)
        self._world.transport.after(fault.lasts, _switch, self._world, node, fault, -1)


_STOPS = ("crash", "power", "lost-disk", "pause")
_BACK = 100 * MS  # until what waited is sent again


def _cut(transport: Transport, fault: Fault, on: int) -> None:
    others = [fault.other] if fault.other else [n for n in transport.nodes if n != fault.system]
    for other in others:
        transport.cut[fault.system, other] += on
        if fault.kind == "partition":
            transport.cut[other, fault.system] += on
    if fault.kind == "one-way":
        transport.cut[fault.system, CUSTOMERS] += on


def _switch(world: World, node: Node, fault: Fault, on: int) -> None:
    """Switch a fault on (1) or off (-1); several of a kind may be on at a time."""
    transport = world.transport
    match fault.kind:
        case "partition" | "one-way":
            _cut(transport, fault, on)
        case "pause" if on > 0:
            node.paused_until = max(node.paused_until, transport.now + fault.lasts)
        case "slow-disk":
            node.write_ns += on * fault.amount
        case "skew":
            node.skew += on * fault.amount
        case "session":
            node.session_cuts += on
            transport.let(node, world.work, node.name)
        case "loss":
            transport.lossy[node.name] += on
        case "repeat":
            transport.repeating[node.name] += on
        case "delay":
            transport.slow[node.name] += on
