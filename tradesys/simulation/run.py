"""A network under virtual time: the same systems, what is asked of them, and what goes wrong.

Nothing here is a rule of the systems: they are told when to do what they do, their messages are
carried, and what stops is made again from its disk. One seed gives one run, byte for byte.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from tradesys.assignment import Assignment
from tradesys.audit import REFERRED, Audit, Check, listed, lost_requests, span
from tradesys.errors import InvalidValue, NotYetReplicated, TradesysError
from tradesys.network import Network, system_of
from tradesys.orders import Order
from tradesys.positions import CAPITAL, CLEARING
from tradesys.records import ExecType, Kind, Origin, format_id, origin, split_id
from tradesys.replication import links
from tradesys.scenario import START_NS
from tradesys.simulation.bill import bill
from tradesys.simulation.disk import Disk
from tradesys.simulation.faults import Faults
from tradesys.simulation.plan import BOOKS, MS, Ask, Plan
from tradesys.simulation.ways import HEARTBEAT, Positions, Way, Ways
from tradesys.simulation.wires import CUSTOMERS, Node, Wires
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.firm import FirmSystem
from tradesys.systems.outbox import by_street
from tradesys.systems.street import StreetSystem
from tradesys.systems.system import System
from tradesys.topology import WRITES

_PATIENCE = 20 * MS
_ATTEMPTS = 6
_RESEND = 25 * MS
_CLEARING = 2 * MS
_WORK = MS
_VENUE = 300_000
_QUIET_MAX = 1_000 * MS

NOT_LOST = "every acknowledged request is held"
NEVER_BACK = "an answer at one system never goes back"
ID_ONCE = "no id is given twice"
QUIET = "all becomes quiet"
TIMELY = "whoever is up answers for who is down"
IN_ORDER = "no change overtakes its order"
_TIMELY = 150 * MS


@dataclass(frozen=True)
class Told:
    """What became of one request of a customer: ``order`` as acknowledged, or why not."""

    ask: Ask
    order: Order | None
    why: str | None
    attempts: int
    took: int


class Simulation(Network):
    """A network of a plan. :meth:`play` runs it to its end; :meth:`until` to a time.

    :param data: the folder of the systems' files; None keeps their disks in memory.
    :param trace: keep every message and event, for a space-time diagram.
    """

    def __init__(self, plan: Plan, *, data: str | Path | None = None, trace: bool = False) -> None:
        self.plan = plan
        self.rng = random.Random(plan.seed + 1)
        self.wires = Wires(self.rng, self._power_failed, [] if trace else None)
        self.told: dict[str, Told] = {}
        self.log: list[tuple[int, str, str, int]] = []
        self.acknowledged: dict[int, tuple[str, dict[str, int], int]] = {}
        self.statuses_seen: Counter[str] = Counter()
        self.wrong: list[tuple[str, str]] = []
        self.audits: list[Audit] = []
        self.asking = 0
        self._recorded: dict[int, int] = {}
        self._best: dict[str, dict[tuple[str, str], int]] = {}
        self._events: dict[int, list[tuple[int, int]]] = {}
        self._known_until = 0
        folder = None if data is None else Path(data)
        self._streets = [f"s{i + 1}" for i in range(plan.streets)]
        super().__init__(
            plan.customers,
            plan.streets,
            firm=BOOKS,
            data=folder,
            clock=lambda: START_NS + self.wires.now,
        )
        self.faults = Faults(self)
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
            node = Node(origin, Disk(folder), Assignment(self._streets))
            node.heard = dict.fromkeys(self._streets, 0)
            self.wires.nodes[origin.system] = node
        clock = self.wires.clock_of(node)
        return system_of(origin, clock, self.data, self.venue, node.assignment, node.disk.open)

    def start(self, node: Node) -> None:
        """Make a system anew from what its disk holds, and let it begin."""
        node.up, node.free_at = True, self.wires.now
        system = self._system(node.origin)
        if node.disks:
            system.renew(node.origin)
        self.systems[node.name] = system
        self.links = links(list(self.systems.values()))
        node.heard = dict.fromkeys(self._streets, self.wires.now)
        node.assignment.see(self._streets)
        self.wires.note(node.name, "up", f"{node.origin} is up")
        self.ways.begin(node.name)
        self.wires.let(node, self.work, node)

    def stop(self, node: Node, *, lose: bool = False) -> None:
        """Stop a system: its memory is gone, and what its disk had not made durable."""
        node.up, node.epoch = False, node.epoch + 1
        node.waiting, node.withheld = set(), []
        node.disk.fail(self.rng)
        if lose:
            node.disk.lose()
            node.disks += 1
            node.origin = node.origin._replace(incarnation=node.disks)
            node.unheard_peers = {w.target for w in self.ways.ways if w.source == node.name}

    def _power_failed(self, node: Node) -> None:
        self.wires.note(node.name, "fault", "the power fails in a write")
        self.stop(node)
        self.wires.after(node.outage or 20 * MS, self.start, node)

    # ---- what systems do by themselves

    def work(self, node: Node) -> None:
        """Let a system do what it has to do, and carry on what comes of it."""
        system = self.systems[node.name]
        if isinstance(system, CustomerSystem):
            self._forward(node, system)
        elif isinstance(system, FirmSystem):
            if not node.unheard_peers and (fills := system.clear()):
                self.wires.note(node.name, "record", f"{fills} fills are cleared")
                self.ways.news(node.name)
        elif isinstance(system, StreetSystem) and not node.session_cuts:
            reported = self.venue.reported
            first = system.next_id("executions")
            if written := system.work():
                self._note_recorded(system, written)
                self.wires.note(node.name, "record", f"{span(first, written)} of the market")
                self.ways.news(node.name)
            if self.venue.reported > reported:
                for other in self._streets:
                    if other != node.name:
                        peer = self.wires.nodes[other]
                        self.wires.after(_VENUE, self.wires.let, peer, self.work, peer)

    def _note_recorded(self, system: StreetSystem, count: int) -> None:
        """Note when each request was first answered by a street-side system's record."""
        log = system.tables["executions"].logs[system.origin.code]
        batch = log.since(log.count - count)
        assert batch is not None
        for request_id in batch["request_id"].to_pylist():
            self._recorded.setdefault(request_id, self.wires.now)

    def _forward(self, node: Node, system: CustomerSystem) -> None:
        """Send accepted requests, each to the one street-side system of its symbol."""
        outbox = system.outbox
        for street in outbox.sort(node.assignment.street_for):
            outbox.hand_over(street, partial(self._dispatch, node.name, street))

    def _dispatch(
        self, source: str, street: str, requests: pa.RecordBatch, *, again: bool = False
    ) -> None:
        def words() -> str:
            said = "possible resend: " if again else ""
            return said + listed(requests["record_id"].to_pylist())

        self.wires.send(source, street, words, self._accept, street, requests)

    def _accept(self, street: str, requests: pa.RecordBatch) -> None:
        system = self.systems[street]
        assert isinstance(system, StreetSystem)
        system.accept(requests)
        self._work_soon(self.wires.nodes[street], _WORK)

    def _resend(self, node: Node) -> None:
        """Send again what nobody has answered for a while, whoever took it."""
        self.wires.after(_RESEND, self._resend, node)
        if node.up:
            self.wires.let(node, self._send_unanswered, node)

    def _send_unanswered(self, node: Node) -> None:
        system = self.systems[node.name]
        assert isinstance(system, CustomerSystem)
        waiting: set[int] = set()
        for batch in system.unanswered(everybody=True):
            ids = batch["record_id"].to_pylist()
            waiting.update(ids)
            late = [i in node.waiting for i in ids]
            if any(late):
                requests = batch.filter(pa.array(late))
                for street, part in by_street(requests, node.assignment.street_for):
                    self._dispatch(node.name, street, part, again=True)
        node.waiting = waiting

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

    def _held(self, way: Way, positions: Positions) -> None:
        """A target has said what it holds: what was not to be acknowledged before now may be."""
        node = self.wires.nodes[way.source]
        if not node.withheld or way.datasets != ("requests",) or way.target == "firm":
            return
        still = []
        for record_id, peers, reply in node.withheld:
            code, sequence = split_id(record_id)
            if positions.get(("requests", code), 0) > sequence:
                peers.add(way.target)
            if len(peers) >= self._peers_needed():
                reply(peers)
            else:
                still.append((record_id, peers, reply))
        node.withheld = still

    def _peers_needed(self) -> int:
        peers = self.plan.customers - 1
        return {"own": 0, "one": min(1, peers), "all": peers}[self.plan.choices.acknowledge]

    # ---- customers

    def _ask(self, ask: Ask) -> None:
        """A customer begins to ask."""
        about = self.told.get(ask.of) if ask.of else None
        if ask.of and (about is None or about.order is None or about.order.reject_reason):
            return
        self.asking += 1
        Asking(self, ask, about.order.order_id if about and about.order else 0).turn()

    def serve(self, asking: "Asking", name: str, attempt: int) -> None:
        """A system is asked by a customer: it answers, or says why not."""
        node, system = self.wires.nodes[name], self.systems[name]
        assert isinstance(system, CustomerSystem)
        ask, order_id = asking.ask, asking.order_id
        order: Order | None = None
        try:
            if ask.kind == "new":
                order = system.submit(**ask.terms, cl_ord_id=ask.name)
            elif ask.kind == "cancel":
                order = system.cancel(order_id, cl_ord_id=ask.name)
            elif ask.kind == "replace":
                order = system.replace(order_id, **ask.terms, cl_ord_id=ask.name)
            else:
                self._inquire(name, system, order_id)
        except NotYetReplicated as error:
            self._reply(name, asking, attempt, None, error)
            return
        except InvalidValue as error:
            self.log.append((self.wires.now, name, "refused", 0))
            self._reply(name, asking, attempt, None, error)
            return
        if order is None:
            self._reply(name, asking, attempt, None, None)
            return
        self.log.append((self.wires.now, name, "refused" if order.reject_reason else "taken", 0))
        self.wires.note(name, "record", f"{format_id(order.record_id)}: {ask.kind} {ask.name}")
        self.ways.news(name)

        def acknowledge(peers: set[str], order: Order = order) -> None:
            holders = {n: self.wires.nodes[n].disks for n in (name, *sorted(peers))}
            earlier = self.acknowledged.setdefault(
                order.record_id, (ask.name, holders, self.wires.now)
            )
            if earlier[0] != ask.name:
                self.wrong.append(
                    (ID_ONCE, f"{format_id(order.record_id)} is {earlier[0]} and {ask.name}")
                )
            self._reply(name, asking, attempt, order, None)

        self._forward(node, system)
        if self._peers_needed():
            node.withheld.append((order.record_id, set(), acknowledge))
        else:
            acknowledge(set())

    def _reply(
        self,
        name: str,
        asking: "Asking",
        attempt: int,
        order: Order | None,
        error: TradesysError | None,
    ) -> None:
        words = str(error) if error else "acknowledged" if order else "answer"
        self.wires.send(name, CUSTOMERS, words, asking.hear, name, attempt, order, error)

    def _inquire(self, name: str, system: CustomerSystem, order_id: int) -> None:
        """Answer an inquiry, note how old the answer is, and that it does not go back."""
        answer = system.status(order_id)
        self.statuses_seen[answer.ord_status] += 1
        now = self.wires.now
        self.log.append((now, name, "answered", now - self._missing_since(system, order_id)))
        held = {(d, o): n for d, of in answer.positions.items() for o, n in of.items()}
        held["cum_qty", format_id(order_id)] = answer.cum_qty
        best = self._best.setdefault(name, {})
        for (what, whose), count in held.items():
            if count < best.get((what, whose), 0):
                text = f"{name} answered from {count} {what} of {whose}, after {best[what, whose]}"
                self.wrong.append((NEVER_BACK, text))
        best |= held

    def _missing_since(self, system: CustomerSystem, order_id: int) -> int:
        """When the first event of an order came that a system does not know of; now, if none."""
        until, self._known_until = self._known_until, self.venue.reports.count
        fresh = self.venue.reports.since(until)
        if fresh is not None:
            times = fresh["ts"].cast(pa.int64()).to_pylist()
            ids = fresh["record_id"].to_pylist(), fresh["order_id"].to_pylist()
            for exec_id, of, ts in zip(*ids, times, strict=True):
                self._events.setdefault(of, []).append((exec_id, ts - START_NS))
        events = self._events.get(order_id, [])
        seen = system.view.seen(np.array([i for i, _ in events], np.uint64))
        missing = np.flatnonzero(~seen)
        return events[missing[0]][1] if len(missing) else self.wires.now

    def forget_answers(self, name: str) -> None:
        """A system that has lost its disk may answer from less than it had."""
        self._best.pop(name, None)

    # ---- running

    def has_order_in_flight(self) -> bool:
        """Whether a customer waits for an answer, or a request for what the market says."""
        up = (c for c in self.customers if self.wires.nodes[c.name].up)
        return bool(self.asking) or any(c.unanswered() for c in up)

    def answered_at(self, record_id: int) -> int:
        """When a request was first answered by a street-side system, in ns; 0 if it is not yet."""
        return self._recorded.get(record_id, 0)

    def owed(self, name: str) -> dict[tuple[str, int], int]:
        """How many records of each dataset and origin others have written that a system holds."""
        held = self.systems[name].tables
        return {
            (dataset, log.code): log.count
            for system in self
            if system.name != name
            for dataset in WRITES[system.kind]
            if dataset in held
            for log in system.tables[dataset].logs.values()
            if log.code == system.origin.code
        }

    def until(self, at: int) -> None:
        """Let time pass, up to so many ns after the beginning."""
        self.wires.env.run(until=at)

    def play(self) -> Audit:
        """Run the whole plan; everything is checked after each phase. Gives the last audit."""
        for phase in range(self.plan.phases):
            self.until(self.begin(phase) + MS)
            self.settle()
            self.audits.append(self.audit())
        return self.audits[-1]

    def begin(self, phase: int) -> int:
        """Put down what a phase brings; gives when the last of it begins."""
        last = 0
        for ask in self.plan.asks:
            if ask.phase == phase:
                self.wires.after(ask.at, self._ask, ask)
                last = max(last, ask.at)
        for fault in self.plan.faults:
            if fault.phase == phase:
                self.wires.after(fault.at, self.faults.begin, fault)
                last = max(last, fault.at)
        return self.wires.now + last

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
        """Whether all systems are up, nobody waits, and nothing is under way or left to do."""
        nodes = self.wires.nodes.values()
        busy = self.asking or self.faults.active or not all(node.up for node in nodes)
        if busy or any(node.paused_until > self.wires.now for node in nodes):
            return False
        if not super().is_at_rest():
            return False
        return not self.plan.choices.resend or not any(c.unanswered() for c in self.customers)

    def audit(self, progress: Callable[[int], None] | None = None) -> Audit:
        """Check everything that must hold over all systems, and of what customers were told."""
        checks = [self._allowed(check) for check in super().audit(progress).checks]
        lost = self._lost_acknowledged()
        wrong = [format_id(i) for i in lost if not self._was_lost(self.acknowledged[i][1])]
        found = wrong or [f"{format_id(i)} was lost with every disk that had it" for i in lost]
        checks.append(Check(NOT_LOST, not wrong, len(self.acknowledged), tuple(found)))
        for name, count in (
            (NEVER_BACK, sum(map(len, self._best.values()))),
            (ID_ONCE, len(self.acknowledged)),
        ):
            texts = tuple(text for check, text in self.wrong if check == name)
            checks.append(Check(name, not texts, count, texts))
        checks += [self._timely(), self._in_order(), Check(QUIET, self.is_at_rest(), 1)]
        return Audit(tuple(checks))

    def _timely(self) -> Check:
        """An order is answered in time, while one street-side system is up and nothing is amiss."""
        found = []
        excuses = {c.name: self.faults.excuses(c.name, self._streets) for c in self.customers}
        for record_id, (_, holders, since) in self.acknowledged.items():
            until = self._recorded.get(record_id, 0)
            spans = excuses[next(iter(holders))]
            excused = sum(max(0, min(until, b) - max(since, a)) for a, b in spans)
            if until - since - excused > _TIMELY:
                late = (until - since) / MS
                found.append(f"{format_id(record_id)} was answered after {late:.1f} ms")
        return Check(TIMELY, not found, len(self.acknowledged), tuple(found))

    def _in_order(self) -> Check:
        """No change of an order reaches the market before the order does."""
        reports = pl.DataFrame(self.venue.reports.table())
        refused = reports.filter(pl.col("exec_type") == ExecType.CANCEL_REJECTED)
        taken = reports.filter(pl.col("exec_type") == ExecType.NEW)
        early = refused.filter(pl.col("text") == "unknown order").join(
            taken, on="order_id", how="semi"
        )
        found = [f"{format_id(i)} came before its order" for i in early["request_id"]]
        return Check(IN_ORDER, not found, len(refused), tuple(found))

    def bill(self) -> pl.DataFrame:
        """What each system did for customers while each fault lasted (:mod:`.bill`)."""
        return bill(self)

    def overspent(self) -> pl.DataFrame:
        """What accounts owe that two systems let them use at the same time.

        :returns: ``account, asset, amount`` below zero, in 1/10,000 or shares, as the firm has it.
        """
        own = ~pl.col("account").is_in([CAPITAL, CLEARING])
        held = self.firm.positions().filter(own, pl.col("amount") < 0)
        return held.select("account", "asset", "amount").sort("account", "asset")

    def _lost_acknowledged(self) -> list[int]:
        """Acknowledged requests that no customer-facing system holds any more."""
        tables = [customer.tables["requests"] for customer in self.customers]
        return [i for i in self.acknowledged if not any(table.has(i) for table in tables)]

    def lost(self) -> int:
        """How many acknowledged requests were lost, with every disk that had them."""
        return len(self._lost_acknowledged())

    def _was_lost(self, holders: dict[str, int]) -> bool:
        """Whether every system that held it then has lost its disk since."""
        return all(self.wires.nodes[name].disks > disks for name, disks in holders.items())

    def _allowed(self, check: Check) -> Check:
        """A request that went with a lost disk is named, and is not wrong by itself."""
        if check.verdict is not False or check.name != REFERRED:
            return check
        lost = [origin(split_id(i)[0]) for _, i in lost_requests(self)]
        gone = all(o.incarnation < self.wires.nodes[o.system].disks for o in lost)
        return replace(check, verdict=True) if gone else check


class Asking:
    """One customer who asks, and turns to another system when no answer comes."""

    def __init__(self, desk: Simulation, ask: Ask, order_id: int) -> None:
        self.desk, self.ask, self.order_id = desk, ask, order_id
        self.attempt, self.began = 0, desk.wires.now
        self.is_done = False

    def turn(self) -> None:
        """Turn to the next system."""
        desk, ask = self.desk, self.ask
        name = f"c{(ask.system + self.attempt) % desk.plan.customers + 1}"
        words = f"{ask.kind} {ask.name}"
        self.attempt += 1
        desk.wires.send(CUSTOMERS, name, words, desk.serve, self, name, self.attempt)
        desk.wires.after(_PATIENCE, self.lose_patience, name, self.attempt)

    def lose_patience(self, name: str, attempt: int) -> None:
        """No answer has come."""
        if not self.is_done and attempt == self.attempt:
            self.desk.log.append((self.desk.wires.now, name, "delayed", 0))
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
        took = self.desk.wires.now - self.began
        if order:
            self.desk.log.append((self.desk.wires.now, name, "acknowledged", took))
        self._end(Told(self.ask, order, str(error) if error else None, self.attempt, took))

    def _go_on(self, why: str) -> None:
        if self.attempt < _ATTEMPTS:
            self.turn()
        else:
            took = self.desk.wires.now - self.began
            self._end(Told(self.ask, None, why, self.attempt, took))

    def _end(self, told: Told) -> None:
        self.is_done = True
        self.desk.asking -= 1
        self.desk.told[self.ask.name] = told
