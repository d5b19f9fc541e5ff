"""A network under virtual time: the same systems, with clocks, disks and a transport that can fail.

Nothing here is a rule of the systems, and nothing decides when they do something: that is their
runtime's (:mod:`tradesys.replication.runtime`), which is told the time. Here its messages are
carried, it is woken when something is due, and what stops is made again from its disk.
"""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from tradesys.audit.snapshot import listed
from tradesys.network import Network
from tradesys.records.clock import MS
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import CAPITAL, CLEARING, ExecType, Kind, Origin, span, split_id
from tradesys.replication import runtime as said
from tradesys.replication.runtime import MARKET, Message, Pull, Runtime, Settings
from tradesys.routes import WRITES
from tradesys.simulation.disk import Disk
from tradesys.simulation.plan import Market, Plan
from tradesys.simulation.transport import NEVER, Node, Transport
from tradesys.status.definition import TRADES
from tradesys.systems.street.symbol_assignment import Assignment
from tradesys.systems.system import Place
from tradesys.venue import BookVenue

_VENUE = 300_000
_QUIET_MAX = 1_000 * MS


class World(Network):
    """A network whose clocks, disks and messages can fail; it runs :meth:`until` a time.

    :param data: the folder of the systems' files; None keeps their disks in memory.
    :param trace: keep every message and event, for a space-time diagram.
    """

    def __init__(self, plan: Plan, *, data: str | Path | None = None, trace: bool = False) -> None:
        self.plan = plan
        self.rng = random.Random(plan.seed + 1)
        self.transport = Transport(self.rng, self._power_failed)
        self.log: list[tuple[int, str, str, int]] = []
        self._answered: dict[int, int] = {}
        self._noted: Counter[int] = Counter()
        self.street_names = [f"s{i + 1}" for i in range(plan.streets)]
        choices = plan.choices
        resend = Settings().resend if choices.resend else 0
        self.settings = Settings(pull_every=choices.every, grace=choices.grace, resend=resend)
        super().__init__(
            plan.customers,
            plan.streets,
            firm=plan.books,
            data=None if data is None else Path(data),
            clock=lambda: self.transport.wall,
        )
        for node in self.transport.nodes.values():
            self._note_written(node)
            self._wake(node)
        self.transport.trace = [] if trace else None

    # ---- making systems

    def _made(self, origin: Origin) -> Runtime:
        """A system of the kind that its origin says, of what its disk holds, and what runs it."""
        node = self.transport.nodes.get(origin.system)
        if node is None:
            folder = self.data / origin.system if self.data else None
            node = self.transport.nodes[origin.system] = Node(origin, Disk(folder))
        clock = self.transport.clock_of(node)
        place = Place(origin, clock, self.data, node.disk.open, self.venue.calendar)

        def reaches(name: str) -> bool:
            return name != MARKET or not node.session_cuts

        return self._runtime(place, Assignment(self.street_names), self.settings, reaches)

    def start(self, node: Node) -> None:
        """Make a system anew from what its disk holds, and let it begin."""
        node.up, node.free_at = True, self.transport.now
        runtime = self._made(node.origin)
        self._place(runtime)
        self._note_written(node)  # a write that the power failed in may have become durable
        runtime.begin(self.transport.now, lost=node.origin.incarnation < node.disks)
        node.origin = runtime.system.origin
        self.transport.note(node.name, "up", f"{node.origin} is up")
        self._wake(node)

    def stop(self, node: Node, *, lose: bool = False) -> None:
        """Stop a system: its memory is gone, and what its disk had not made durable."""
        node.up, node.epoch = False, node.epoch + 1
        node.withheld, node.wakes_at = [], NEVER
        node.disk.fail(self.rng)
        if lose:
            node.disk.lose()
            node.disks += 1

    def _begin(self, kind: str, name: str) -> None:
        """Refuse the switches of an embedded network: they would not act on the transport."""
        expected = f"none at {name} by hand: the faults of a simulation are those of its plan"
        raise InvalidValue("fault", kind, expected)

    def _power_failed(self, node: Node) -> None:
        self.transport.note(node.name, "fault", "the power fails in a write")
        self.stop(node)
        self.transport.after(node.outage or 20 * MS, self.start, node)

    # ---- what systems do

    def act(self, name: str, act: Callable[..., list[Message]], *about: object) -> None:
        """Let a system's runtime do something, and send the messages that follow."""
        node, assignment = self.transport.nodes[name], self.runtimes[name].assignment
        reported, up = self.venue.reported, assignment.up
        try:
            messages = act(*about)
        finally:  # what the market has done it has done, though the power fails here
            if self.venue.reported > reported:
                self._tell_streets(but=name)
        self._note_written(node)
        if assignment.up != up:
            self.transport.note(name, "sees", f"up: {', '.join(sorted(assignment.up))}")
        for message in messages:
            self.transport.send(*message[:2], partial(_words, message), self._arrived, message)
        self._wake(node)

    def work(self, name: str) -> None:
        """Let a system do what there is to do."""
        self.act(name, self.runtimes[name].work)

    def _arrived(self, message: Message) -> None:
        name = message.target
        if isinstance(message.body, Pull):
            self._held(self.transport.nodes[name], message.body)
        self.act(name, self.runtimes[name].handle, message, self.transport.now)

    def _wake(self, node: Node) -> None:
        """Have a runtime called when something is due."""
        due = max(self.runtimes[node.name].due, self.transport.now)
        if due < node.wakes_at:
            node.wakes_at = due
            self.transport.after(due - self.transport.now, self._woken, node, node.epoch, due)

    def _woken(self, node: Node, epoch: int, due: int) -> None:
        if (node.epoch, node.wakes_at) == (epoch, due):
            node.wakes_at = NEVER
            self.transport.let(node, self._tick, node.name)

    def _tick(self, name: str) -> None:
        self.act(name, self.runtimes[name].tick, self.transport.now)

    def happen(self, event: Market) -> None:
        """Let the market end its day, or bust or correct a match; whoever is connected is told."""
        if event.kind == "night":
            self.transport.night(event.number)
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
                node = self.transport.nodes[name]
                self.transport.after(_VENUE, self.transport.let, node, self.work, name)

    def _note_written(self, node: Node) -> None:
        """Note what a system has written, and when each request was first answered."""
        system = self.systems[node.name]
        dataset, code = WRITES[system.kind][-1], system.origin.code
        table, noted = system.tables[dataset], self._noted[code]
        if system.kind is Kind.CUSTOMER or table.count(code) <= noted:
            return
        batch = table.read(code, noted, table.count(code) - noted)
        self._noted[code] = table.count(code)
        self.transport.note(node.name, "record", span(batch["record_id"][0].as_py(), len(batch)))
        for request_id in batch["request_id"].to_pylist() if dataset == "executions" else ():
            self._answered.setdefault(request_id, self.transport.now)

    def _held(self, node: Node, pull: Pull) -> None:
        """A reader has said what it holds: what was not to be acknowledged before now may be."""
        if not node.withheld or pull.reader.kind is not Kind.CUSTOMER:
            return
        still = []
        for record_id, peers, reply in node.withheld:
            code, sequence = split_id(record_id)
            if pull.held["requests", code] > sequence:
                peers[pull.reader.system] = pull.reader.incarnation
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
        return self._answered.get(record_id, 0)

    def until(self, at: int) -> None:
        """Let time pass, up to so many ns after the beginning."""
        self.transport.env.run(until=at)

    def step(self) -> int:
        """Let a millisecond pass; gives how many records that brought to systems."""
        before = self._held_records()
        self.until(self.transport.now + MS)
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
        limit = self.transport.now + _QUIET_MAX
        while not self.is_at_rest() and self.transport.now < limit:
            self.until(self.transport.now + 10 * MS)

    def is_at_rest(self) -> bool:
        """Whether all systems are up, and nothing is under way or left to do."""
        nodes = self.transport.nodes.values()
        if not all(node.up and node.paused_until <= self.transport.now for node in nodes):
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


def _words(message: Message) -> str:
    """What a message says, for a picture."""
    match message.body:
        case said.Requests(batch, again):
            return "possible resend: " * again + listed(batch["record_id"].to_pylist())
        case said.Records(carried=carried):
            ids = [batch["record_id"] for _, batch in carried]
            return ", ".join(span(each[0].as_py(), len(each)) for each in ids) or "nothing new"
        case said.GiveBack():
            return "give back"
        case _:
            return "pull"
