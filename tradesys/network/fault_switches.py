"""The fault switches of a network in one process: links are cut, systems crash, disks are lost.

Each outage is noted, for its bill. What a switch does is what the fault would do: nothing is
carried over that a real one would have taken.
"""

import shutil
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from threading import RLock

import polars as pl

from tradesys.log.ctrl_c import uninterrupted
from tradesys.log.disk import disk_errors, require_at
from tradesys.log.offsets import Offsets
from tradesys.network.manifest import Manifest
from tradesys.network.outage_bill import Outage, at_risk, bill, log_of
from tradesys.records import argument_checks as given
from tradesys.records.clock import Clock
from tradesys.records.errors import InvalidValue, SystemDown
from tradesys.records.schemas import Kind, Origin
from tradesys.replication.recovery import (
    Recovered,
    damage_of,
    damaged,
    given_up,
    has_lost_own,
    last_known,
    set_aside,
)
from tradesys.replication.runtime import Message, Runtime
from tradesys.replication.transfer import Link, links, wants
from tradesys.routes import WRITES
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.street.symbol_assignment import Assignment
from tradesys.systems.system import System


class Switches(ABC):
    """What can be switched off and on again of a network's ``systems``."""

    assignment: Assignment
    manifest: Manifest
    now: Clock
    data: Path | None

    def __init__(self) -> None:
        self.runtimes: dict[str, Runtime] = {}
        self.systems: dict[str, System] = {}
        self.links: list[Link] = []
        # What a source had written of its own when everybody else was found to hold it.
        self._fetched: dict[str, Offsets] = {}
        self.recovered: list[Recovered] = []
        self.outages: list[Outage] = []
        self.turn = RLock()  # of whoever moves records or changes the network
        self._folder: int | None = None  # a descriptor of the folder with the files
        self._started = self.now()
        self._cuts: set[frozenset[str]] = set()

    @abstractmethod
    def _made(self, origin: Origin) -> Runtime:
        """A system of the kind that its origin says, of what its files hold, and what runs it."""

    def _named(self, name: object) -> System:
        return self.systems[given.one_of("system", name, self.systems)]

    # ---- links

    def partition(self, one: str, *others: str) -> None:
        """Cut one system off from others (from all, when none is named), both ways.

        :raises InvalidValue: there is no such system.
        """
        for name in (one, *others):
            self._named(name)
        if one in others:
            raise InvalidValue("system", one, f"systems other than {one} itself to cut it off from")
        rest = others or tuple(name for name in self.systems if name != one)
        with uninterrupted(), self.turn:
            if not self._ongoing("partition", one):
                self._begin("partition", one)
            self._cuts |= {frozenset((one, other)) for other in rest}

    def heal(self, one: str | None = None, *others: str) -> None:
        """Mend the links between these systems; every link, when none is named.

        :raises InvalidValue: there is no such system.
        """
        for name in (one, *others) if one is not None or others else ():
            self._named(name)
        with uninterrupted(), self.turn:
            self._cuts = {
                pair
                for pair in self._cuts
                if one is not None and not (one in pair and (not others or pair & set(others)))
            }
            for outage in self._ongoing("partition"):
                if not any(outage.system in pair for pair in self._cuts):
                    self._end(outage)

    def cut(self, one: str, other: str) -> bool:
        """Whether two systems cannot reach each other now: a link is cut, or one is down."""
        down = self.systems[one].crashed or self.systems[other].crashed
        return down or (bool(self._cuts) and frozenset((one, other)) in self._cuts)

    def reach(self, link: Link) -> bool:
        """Whether the systems of a link can reach each other now."""
        return not self.cut(link.source.name, link.target.name)

    def _up(self) -> list[Runtime]:
        return [runtime for runtime in self.runtimes.values() if not runtime.system.crashed]

    def _carry(self, messages: Iterable[Message]) -> None:
        """Carry messages, and all that follow from them, at once; no time passes meanwhile."""
        waiting = deque(messages)
        while waiting:
            message = waiting.popleft()
            if not self.cut(message.source, message.target):
                waiting += self.runtimes[message.target].handle(message, 0)

    def _replicate(self) -> None:
        """Let systems fetch what others have written, where there is anything new."""
        for name, source in self.systems.items():
            own = wants(source, source.origin)
            if self._fetched.get(name) != own:
                found = [self._fetch(link, own) for link in self.links if link.source is source]
                if all(found):
                    self._fetched[name] = own

    def _fetch(self, link: Link, own: Offsets) -> bool:
        """Let a system fetch what another has written; whether it holds all of it then.

        :param own: what the other holds of its own.
        """
        source, target, _ = link
        unheard = self.runtimes[source.name].unheard

        def is_told() -> bool:
            return target.name not in unheard and wants(target, source.origin) == own

        if not self.reach(link):
            return False
        if not is_told():
            self._carry(self.runtimes[target.name].pull(source.name, 0))
        return is_told()

    def _send_again(self) -> None:
        """Let customer-facing systems send again what is not answered."""
        for runtime in self._up():
            if isinstance(runtime.system, CustomerSystem):
                runtime.system.send_again()

    def _moved(self) -> int:
        """How many records systems have sent, taken, written or cleared so far."""
        return sum(runtime.moved for runtime in self.runtimes.values())

    # ---- systems

    def crash(self, name: str) -> None:
        """Stop a system as a process that is killed: its memory is gone, its files stay.

        Whatever it is asked raises ``SystemDown``; no record reaches it or leaves it, and the
        symbols of a street-side system go to the next of their rank. A network without ``data`` has
        no files: there a crash takes all that the system held, as a lost disk does.

        :raises InvalidValue: there is no such system.
        """
        self._stop(name, "crash")

    def restart(self, name: str) -> Recovered | None:
        """Make a crashed system anew, as ``desk[name]``, of its files; leave one that is up.

        It catches up as records are carried.

        :returns: what it had lost and was given back; None where its files held all.
        :raises InvalidValue: there is no such system.
        :raises StorageError: the disk refused, or the network's folder is not where it was; the
            system stays down.
        :raises SystemDown: it lost records, and has been as many incarnations as there are.
        """
        with uninterrupted(), self.turn:
            if not self._named(name).crashed:
                return None
            self._require_folder()
            before = self.runtimes[name]
            runtime = self._made(before.system.origin)
            try:
                self._place(runtime)
                lost = {name} if self.data is None else {name} & self._lost()
                recovered = self._begin_all(lost, only=name)
                runtime.system.require_running()
            except BaseException:
                runtime.system.crash()
                self._place(before)
                raise
            self.recovered += recovered
            self._assign()
            for outage in (*self._ongoing("crash", name), *self._ongoing("lost-disk", name)):
                self._end(outage)
            return recovered[0] if recovered else None

    def _place(self, runtime: Runtime) -> None:
        """Have a system in the place of the one of its name."""
        name = runtime.system.name
        self.runtimes = self.runtimes | {name: runtime}
        self.systems = self.systems | {name: runtime.system}
        self.links = links(list(self.systems.values()))
        self._fetched = {}

    def lose_disk(self, name: str) -> Recovered:
        """Take a system's files away, all that it knows with them, and bring it back.

        It comes back as a new incarnation, with what had reached those it can reach. What had
        reached nobody is lost. The audit names what others knew of it; what nobody knew of leaves
        the audit unknown from then on, where customers were told of it.

        :raises InvalidValue: there is no such system.
        :raises StorageError: as :meth:`restart`, likewise ``SystemDown``.
        """
        with uninterrupted(), self.turn:
            self._named(name)
            self._require_folder()
            self._stop(name, "lost-disk")
            if (folder := self.systems[name].folder) and folder.exists():
                with disk_errors(folder):
                    shutil.rmtree(folder)
            recovered = self.restart(name)
        assert recovered
        return recovered

    def _require_folder(self) -> None:
        """Refuse to change files by their paths where another folder may be by now.

        :raises StorageError: the network's folder was moved, deleted or replaced.
        :raises SystemDown: the network is closed, so the folder may be another process's.
        """
        if self.data:
            if self._folder is None:
                raise SystemDown("the network is closed; open it again")
            require_at(self._folder, self.data)

    def _stop(self, name: str, kind: str) -> None:
        with uninterrupted(), self.turn:
            if not self._named(name).crashed:
                self._begin(kind, name)
                self.systems[name].crash()
                self._assign()

    def _assign(self) -> None:
        """Let the symbols be the business of the street-side systems that are up.

        What one that is down had been sent and not worked is sent again.
        """
        up = [r.system.name for r in self._up() if r.system.kind is Kind.STREET]
        if self.assignment.see(up):
            for runtime in self._up():
                runtime.take_over()

    def _lost(self) -> set[str]:
        """The systems whose files are new where they had been made, or that forgot who they are."""
        if not self.manifest.is_made:
            return set()  # nothing was acknowledged yet
        systems = self.systems.values()
        own = {s.name: [f for d in WRITES[s.kind] if (f := s.tables[d].file)] for s in systems}
        new = {name for name, files in own.items() if any(file.is_new for file in files)}
        return new | {s.name for s in systems if s.forgot}

    def _begin_all(self, lost: set[str], only: str | None = None) -> list[Recovered]:
        """Let systems begin that have been made, and bring back those that lost records.

        :param lost: those whose disk is known to be lost.
        """
        found = []
        for runtime in self._up():
            system, others = runtime.system, [each.system for each in self._up()]
            if only in (None, system.name):
                is_lost = system.name in lost or has_lost_own(system, others)
                if is_lost or damaged(system):
                    found.append(self._bring_back(runtime, others, is_lost=is_lost))
                else:
                    runtime.begin(0)
        return found

    def _bring_back(self, runtime: Runtime, systems: list[System], *, is_lost: bool) -> Recovered:
        """Let a system begin that has lost records, with what those that it reaches give back."""
        system = runtime.system
        if is_lost:
            system.origin = last_known(system, systems)
        if not runtime.begin(0, lost=is_lost):
            return given_up(system)
        set_aside(system)  # what the damage entails is durable now
        before = Offsets.of(system.tables).total()
        for other in systems:
            if other is not system:
                self._carry([runtime.ask_back(other.name)])
        restored = Offsets.of(system.tables).total() - before
        system.sync()
        incarnation = str(system.origin) if is_lost else None
        return Recovered(system.name, damage_of(system), restored, incarnation)

    # ---- what became of it

    def bill(self) -> pl.DataFrame:
        """What each system did for customers while each outage lasted, and while none did.

        Its times are the clock's, from when the network was opened: see
        :func:`tradesys.network.outage_bill.bill`.
        """
        log = log_of(self.systems.values()).filter(pl.col("at") >= self._started)
        return bill(log, self.outages, list(self.systems), self._started)

    def _begin(self, kind: str, name: str) -> None:
        risk = at_risk(self.systems[name], self.systems.values())
        self.outages.append(Outage(name, kind, self.now(), risk))

    def _end(self, outage: Outage) -> None:
        outage.end(self.now(), self.systems[outage.system], self.systems.values())

    def _ongoing(self, kind: str, name: str | None = None) -> list[Outage]:
        found = [o for o in self.outages if o.ended is None and o.kind == kind]
        return [outage for outage in found if name in (None, outage.system)]

    def see_outages(self) -> None:
        """Note which systems have caught up since their outage."""
        for outage in self.outages:
            if outage.ended is not None and outage.caught_up is None:
                outage.see(self.now(), self.systems[outage.system])
