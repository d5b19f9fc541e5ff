"""A network under virtual time: the same systems, with clocks, disks and wires that can fail.

Nothing here is a rule of the systems: they are told when to do what they do, their messages are
carried, and what stops is made again from its disk.
"""

import random
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from tradesys.audit.held import listed
from tradesys.log.offsets import Offsets
from tradesys.network import Network
from tradesys.network.network import system_of
from tradesys.records.clock import MS
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import (
    CAPITAL,
    CLEARING,
    ExecType,
    Kind,
    Origin,
    make_id,
    span,
    split_id,
)
from tradesys.replication.carrying import links
from tradesys.replication.recovery import begin_again
from tradesys.simulation.disk import Disk
from tradesys.simulation.plan import Market, Plan
from tradesys.simulation.ways import HEARTBEAT, Way, Ways
from tradesys.simulation.wires import Node, Wires
from tradesys.status.definition import TRADES
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.firm import FirmSystem
from tradesys.systems.street import StreetSystem
from tradesys.systems.street.assignment import Assignment
from tradesys.systems.system import Place, System
from tradesys.venue import BookVenue

_RESEND = 25 * MS
_CLEARING = 2 * MS
_WORK = MS
_VENUE = 300_000
_QUIET_MAX = 1_000 * MS


class World(Network):
    """A network whose systems have clocks, disks and wires that can fail; :meth:`until` a time.

    :param data: the folder of the systems' files; None keeps their disks in memory.
    :param trace: keep every message and event, for a space-time diagram.
    """

    def __init__(self, plan: Plan, *, data: str | Path | None = None, trace: bool = False) -> None:
        self.plan = plan
        self.rng = random.Random(plan.seed + 1)
        self.wires = Wires(self.rng, self._power_failed, [] if trace else None)
        self.log: list[tuple[int, str, str, int]] = []
        self._recorded: dict[int, int] = {}
        folder = None if data is None else Path(data)
        self.street_names = [f"s{i + 1}" for i in range(plan.streets)]
        super().__init__(
            plan.customers,
            plan.streets,
            firm=plan.books,
            data=folder,
            clock=lambda: self.wires.wall,
        )
        told = self._held, self._came, self.work
        self.ways = Ways(self.wires, self.systems, self.links, plan.choices.every, *told)
        for node in self.wires.nodes.values():
            self.wires.after(HEARTBEAT, self._look_around, node)
            if node.origin.kind is Kind.CUSTOMER and plan.choices.resend:
                self.wires.after(_RESEND, self._resend, node)

    # ---- making systems

    def _system(self, origin: Origin) -> System:
        """A system of the kind that its origin says, from what its disk holds."""
        node = self.wires.nodes.get(origin.system)
        if node is None:
            folder = self.data / origin.system if self.data else None
            node = Node(origin, Disk(folder), Assignment(self.street_names))
            node.heard = dict.fromkeys(self.street_names, 0)
            self.wires.nodes[origin.system] = node
        clock = self.wires.clock_of(node)
        place = Place(origin, clock, self.data, node.disk.open, self.venue.calendar)
        return system_of(place, self.venue, node.assignment, self.charter.books.fees)

    def start(self, node: Node) -> None:
        """Make a system anew from what its disk holds, and let it begin."""
        node.up, node.free_at = True, self.wires.now
        system = self._system(node.origin)
        if isinstance(system, StreetSystem):
            # A write that the power failed in may have become durable all the same.
            self._note_recorded(system, make_id(system.origin.code, 0))
        if node.is_lost:
            begin_again(system, [system])
            node.origin, node.is_lost = system.origin, False
        self.systems[node.name] = system
        self.links = links(list(self.systems.values()))
        node.heard = dict.fromkeys(self.street_names, self.wires.now)
        node.assignment.see(self.street_names)
        self.wires.note(node.name, "up", f"{node.origin} is up")
        self.ways.begin(node.name)
        self.wires.let(node, self.work, node)

    def stop(self, node: Node, *, lose: bool = False) -> None:
        """Stop a system: its memory is gone, and what its disk had not made durable."""
        node.up, node.epoch = False, node.epoch + 1
        node.held_before, node.withheld = {}, []
        node.disk.fail(self.rng)
        if lose:
            node.disk.lose()
            node.disks += 1
            node.is_lost = True
            node.unheard_peers = {w.target for w in self.ways.ways if w.source == node.name}

    def _begin(self, kind: str, name: str) -> None:
        """Refuse the switches of an embedded network: they would not act on the wires."""
        expected = f"none at {name} by hand: the faults of a simulation are those of its plan"
        raise InvalidValue("fault", kind, expected)

    def _power_failed(self, node: Node) -> None:
        self.wires.note(node.name, "fault", "the power fails in a write")
        self.stop(node)
        self.wires.after(node.outage or 20 * MS, self.start, node)

    # ---- what systems do by themselves

    def work(self, node: Node) -> None:
        """Let a system do what it has to do, and carry on what comes of it."""
        system = self.systems[node.name]
        if isinstance(system, CustomerSystem):
            self.forward(node, system)
        elif isinstance(system, FirmSystem):
            if not node.unheard_peers and (fills := system.clear()):
                self.wires.note(node.name, "record", f"{fills} fills are cleared")
                self.ways.news(node.name)
        elif isinstance(system, StreetSystem) and not node.session_cuts:
            reported = self.venue.reported
            first = system.next_id("executions")
            try:
                written = system.work()
            finally:  # what the market has done it has done, though the power fails here
                if self.venue.reported > reported:
                    self._tell_streets(but=node.name)
            if written:
                self._note_recorded(system, first)
                self.wires.note(node.name, "record", f"{span(first, written)} of the market")
                self.ways.news(node.name)

    def happen(self, event: Market) -> None:
        """Let the market end its day, or bust or correct a match; whoever is connected is told."""
        if event.kind == "night":
            self.wires.night(event.number)
            self._tell_streets()
            return
        if event.kind == "day-end":
            self.venue.end_day()
            self._tell_streets()
            return
        assert isinstance(self.venue, BookVenue)
        if amended := _amendment(self.venue.reports.table(), event):
            ids, terms = amended
            with suppress(InvalidValue):  # what an order has no room for is no amendment
                self.venue.amend(ids, **terms)
            self._tell_streets()

    def _tell_streets(self, but: str = "") -> None:
        """Each street-side system works what the market has reported, but for one that has."""
        for name in self.street_names:
            if name != but:
                node = self.wires.nodes[name]
                self.wires.after(_VENUE, self.wires.let, node, self.work, node)

    def _note_recorded(self, system: StreetSystem, first: int) -> None:
        """Note when each request was first answered by a street-side system's record.

        :param first: the id of its first record that is new.
        """
        code, position = split_id(first)
        log = system.tables["executions"].logs.get(code)
        batch = log.since(position) if log else None
        for request_id in batch["request_id"].to_pylist() if batch else ():
            self._recorded.setdefault(request_id, self.wires.now)

    def forward(self, node: Node, system: CustomerSystem) -> None:
        """Send accepted requests, each to the one street-side system of its symbol."""
        system.forward(node.assignment.street_for, partial(self._dispatch, node.name))

    def _dispatch(self, source: str, street: str, requests: pa.RecordBatch, again: bool) -> bool:  # noqa: FBT001
        def words() -> str:
            said = "possible resend: " if again else ""
            return said + listed(requests["record_id"].to_pylist())

        self.wires.send(source, street, words, self._accept, street, requests, again)
        return True  # whatever becomes of it on its way

    def _accept(self, street: str, requests: pa.RecordBatch, again: bool) -> None:  # noqa: FBT001
        system = self.systems[street]
        assert isinstance(system, StreetSystem)
        system.accept(requests, again)
        self._work_soon(self.wires.nodes[street], _WORK)

    def _resend(self, node: Node) -> None:
        """Send again what nobody has answered for a while, whoever took it."""
        self.wires.after(_RESEND, self._resend, node)
        if node.up:
            self.wires.let(node, self._send_unanswered, node)

    def _send_unanswered(self, node: Node) -> None:
        system = self.systems[node.name]
        assert isinstance(system, CustomerSystem)
        system.resend(node.held_before)
        self.forward(node, system)
        logs = system.tables["requests"].logs
        node.held_before = {code: log.count for code, log in logs.items()}

    def _look_around(self, node: Node) -> None:
        """See which street-side systems are up, as far as has been heard."""
        self.wires.after(HEARTBEAT, self._look_around, node)
        if not node.up:
            return
        if node.origin.kind is Kind.FIRM:
            self.wires.let(node, self.work, node)
            return
        if node.origin.kind is Kind.STREET and self.plan.choices.resend:
            self.wires.let(node, self._forget_waiting, node)
        late = self.wires.now - self.plan.choices.grace - HEARTBEAT
        up = [s for s, heard in node.heard.items() if s == node.name or heard >= late]
        if node.assignment.see(up):
            self.wires.note(node.name, "sees", f"up: {', '.join(up)}")
            self.wires.let(node, self._take_over, node)

    def _forget_waiting(self, node: Node) -> None:
        """Every so often: what waits longer than a resend takes waits for what is lost."""
        system = self.systems[node.name]
        assert isinstance(system, StreetSystem)
        if not system.has_work or node.session_cuts:
            node.idle_at = self.wires.now
        elif self.wires.now - node.idle_at > 4 * _RESEND:
            system.forget_waiting()

    def _take_over(self, node: Node) -> None:
        system = self.systems[node.name]
        if isinstance(system, StreetSystem):
            system.take_over()
            self.work(node)

    def _came(self, node: Node, way: Way, new: int) -> None:
        """Records of a system, or only its word that it is there, have come."""
        if way.source in node.heard:
            node.heard[way.source] = self.wires.now
        if new and node.origin.kind is Kind.FIRM:
            self._work_soon(node, _CLEARING)

    def _work_soon(self, node: Node, delay: int) -> None:
        """Let a system work together what comes until then."""
        if not node.due:
            node.due = True
            self.wires.after(delay, self._work_due, node)

    def _work_due(self, node: Node) -> None:
        node.due = False
        self.wires.let(node, self.work, node)

    def _held(self, way: Way, held: Offsets, disks: int) -> None:
        """A target has said what it holds: what was not to be acknowledged before now may be."""
        node = self.wires.nodes[way.source]
        if not node.withheld or way.datasets != ("requests",) or way.target == "firm":
            return
        still = []
        for record_id, peers, reply in node.withheld:
            code, sequence = split_id(record_id)
            if held["requests", code] > sequence:
                peers[way.target] = disks
            if len(peers) >= self.peers_needed():
                reply(peers)
            else:
                still.append((record_id, peers, reply))
        node.withheld = still

    def peers_needed(self) -> int:
        """How many peers must have an order on disk before it is acknowledged."""
        peers = self.plan.customers - 1
        return {"own": 0, "one": min(1, peers), "all": peers}[self.plan.choices.acknowledge]

    # ---- running

    def answered_at(self, record_id: int) -> int:
        """When a request was first answered by a street-side system, in ns; 0 if it is not yet."""
        return self._recorded.get(record_id, 0)

    def until(self, at: int) -> None:
        """Let time pass, up to so many ns after the beginning."""
        self.wires.env.run(until=at)

    def step(self) -> int:
        """Let a millisecond pass; gives how many records that brought to systems."""
        before = self._held_records()
        self.until(self.wires.now + MS)
        return self._held_records() - before

    def run(self) -> int:
        """Let time pass until all is quiet; gives how many records that brought to systems."""
        before = self._held_records()
        self.settle()
        return self._held_records() - before

    def _held_records(self) -> int:
        return sum(len(table) for system in self for table in system.tables.values())

    def settle(self) -> None:
        """Let time pass until nothing is under way or left to do, and all faults are over."""
        limit = self.wires.now + _QUIET_MAX
        while not self.is_at_rest() and self.wires.now < limit:
            self.until(self.wires.now + 10 * MS)

    def is_at_rest(self) -> bool:
        """Whether all systems are up, and nothing is under way or left to do."""
        nodes = self.wires.nodes.values()
        if not all(node.up and node.paused_until <= self.wires.now for node in nodes):
            return False
        if not super().is_at_rest():
            return False
        return not self.plan.choices.resend or not any(c.unanswered() for c in self.customers)

    def overspent(self) -> pl.DataFrame:
        """What accounts owe that two systems let them use at the same time.

        :returns: ``account, asset, amount`` below zero, in 1/10,000 or shares, as the firm has it.
        """
        own = ~pl.col("account").is_in([CAPITAL, CLEARING])
        held = self.firm.positions().filter(own, pl.col("amount") < 0)
        return held.select("account", "asset", "amount").sort("account", "asset")


def _amendment(reports: pa.Table, event: Market) -> tuple[list[int], dict[str, int]] | None:
    """Which trades of a match the market amends, by which of their reports, and to what."""
    names = ("record_id", "exec_type", "exec_ref_id", "last_qty", "last_px")
    stands: dict[int, dict[str, Any]] = {}  # by root trade, what amended it last
    root: dict[int, int] = {}
    for report in reports.select(names).to_pylist():
        exec_id, about = report["record_id"], report["exec_ref_id"]
        if report["exec_type"] in (*TRADES, ExecType.TRADE_CANCEL):
            root[exec_id] = root.get(about, exec_id)
            stands[root[exec_id]] = report
    left = [i for i, last in stands.items() if last["exec_type"] != ExecType.TRADE_CANCEL]
    # The two sides of a match are reported one after the other.
    matches = [(i, i + 1) for i in left[::2] if i + 1 in left]
    amended = [(i, j) for i, j in matches if stands[i]["record_id"] != i]
    if event.number % 3 == 0 and amended:
        matches = amended
    if not matches:
        return None
    match = matches[event.number // 2 % len(matches)]
    last = stands[match[0]]
    named = [stands[i]["record_id"] if event.number % 2 == 0 else i for i in match]
    if event.kind == "bust":
        return named, {}
    return named, {"last_qty": max(last["last_qty"] - 50, 10), "last_px": last["last_px"]}
