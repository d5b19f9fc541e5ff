"""A whole network of systems in one process: the embedded setting, deterministic, no server.

Nothing moves by itself: ``step`` carries once what can be carried, ``run`` steps until all is
quiet. Whatever moves records or changes the network may be called from any thread at any time:
stages and switches take turns, each is done whole before a Ctrl-C is heard, and between them
others get theirs.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from inspect import signature
from pathlib import Path
from typing import NamedTuple, Self, overload

import polars as pl

from tradesys.audit.audit import Audit, audit
from tradesys.audit.snapshot import Snapshot
from tradesys.inquiry.answers import Answer, OrderLike, id_of
from tradesys.inquiry.explanation import Explained, explained
from tradesys.inquiry.inquiries import Inquiries
from tradesys.log.ctrl_c import uninterrupted
from tradesys.log.fork_guard import REFUSED, leave_if_forked
from tradesys.network.as_of import Past, difference
from tradesys.network.fault_switches import Switches
from tradesys.network.manifest import FILE, Manifest, complete, locked, read_manifest, settle
from tradesys.records import argument_checks as given
from tradesys.records.clock import Clock, ManualClock, Time, checked, wall_clock
from tradesys.records.errors import (
    DamagedError,
    InvalidValue,
    NotYetReplicated,
    StorageError,
    SystemDown,
)
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import ExecType, Kind, Origin, format_id, make_id
from tradesys.replication.runtime import MARKET, Runtime, Settings, made
from tradesys.replication.transfer import behind, to_give_back
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.firm import FirmSystem
from tradesys.systems.street import StreetSystem
from tradesys.systems.street.symbol_assignment import Assignment
from tradesys.systems.system import Place, System, running
from tradesys.venue import BookVenue, VenueFactory, has_own_time, kind_of, venue_of

STAGES = ("send", "work", "replicate", "clear")
"""What a step does, in this order."""

_WORKS = {"send": Kind.CUSTOMER, "work": Kind.STREET, "clear": Kind.FIRM}

ON_DEMAND = Settings(pull_every=1, heartbeat=0, seldom=0, durable=False, rows=1 << 40)
"""Of systems that ask when they are told to; whoever is asked answers at once."""


class DayEnd(NamedTuple):
    """What ending a day came to: orders ``expired``, and records ``moved`` until all was quiet."""

    day: dt.date
    expired: int
    moved: int


class Network(Switches):
    """Customer-facing systems ``c1…``, street-side systems ``s1…``, and ``firm``, in one process.

    :param customers: how many customer-facing systems, 1 to 63.
    :param streets: how many street-side systems, 1 to 63.
    :param firm: what the firm's books say at first.
    :param data: the folder that holds every system's files. An acknowledged order is then on disk.
        A folder that holds such a network already is opened and goes on from there, with the books
        that it has. None keeps all in memory, for experiments: what is acknowledged is lost with
        the process.
    :param venue: makes the market outside, by default one with an order book for each symbol. Its
        days are those of the New York Stock Exchange; ``partial(BookVenue, calendar="24/7")`` makes
        one that never closes, whose days roll at 00:00 UTC.
    :param clock: gives the time in ns since 1970; by default the wall clock. A time that is none,
        or out of the range :data:`tradesys.records.field_rules.TIME`, is refused wherever it is
        asked for.
    :raises InvalidValue: an argument is of the wrong type or out of its range, or the folder holds
        another network.
    :raises StorageError: the disk refused, or the folder is in use.

    >>> desk = Network(customers=3, streets=2)
    >>> order = desk["c1"].submit(account="alice", symbol="ALFA", side="buy", order_qty=100,
    ...                           price=50_0000)
    >>> desk.run()
    14
    >>> str(desk["c3"].status(order).ord_status)
    'new'
    """

    def __init__(
        self,
        customers: int = 3,
        streets: int = 2,
        *,
        firm: OpeningBooks | None = None,
        data: str | Path | None = None,
        venue: VenueFactory = BookVenue,
        clock: Clock = wall_clock,
    ) -> None:
        books = given.a(
            OpeningBooks, "firm", OpeningBooks() if firm is None else firm, "an OpeningBooks"
        )
        given.a(object, "venue", venue, "what makes a market, like BookVenue", _is_factory)
        given.a(object, "clock", clock, "what gives the time in ns since 1970", callable)
        self.clock, self.now = clock, checked(clock)
        self.manifest = Manifest(customers, streets, kind_of(venue), books)
        self.data = None if data is None else given.folder("data", data)
        self.assignment = Assignment(
            [o.system for o in self.manifest.origins if o.kind is Kind.STREET]
        )
        super().__init__()
        self._lock = ExitStack()
        if self.data:
            self._folder = self._lock.enter_context(locked(self.data))
        leave_if_forked(self)
        try:
            self._make(venue)
        except BaseException:
            with suppress(StorageError):
                self.close()
            raise

    @classmethod
    def open(
        cls,
        data: str | Path,
        *,
        venue: VenueFactory | None = None,
        clock: Clock | None = None,
    ) -> "Network":
        """Open the network whose files are in a folder; what its making had left is completed.

        :param venue: makes the market again, where it is one of your own, or a tape that is to go
            on: ``partial(TapeVenue, tape)``. By default a tape is over: what it has reported
            stands, further requests are accepted, and nothing more is filled.
        :param clock: by default the wall clock. A run whose market is a tape has its own time: it
            goes on at the last that its records know, on a clock that stands still.
        :raises InvalidValue: the folder holds no network, or one with another market.
        :raises StorageError: it does not say what it holds, or another process uses it.
        """
        folder = given.folder("data", data)
        manifest = read_manifest(folder)
        if manifest is None:
            expected = f"a folder with the files of a network, {FILE} among them"
            raise InvalidValue("data", str(folder), expected)
        again = venue_of(manifest.venue) if venue is None else venue
        if clock is None:
            clock = ManualClock() if has_own_time(kind_of(again)) else wall_clock
        return cls(manifest.customers, manifest.streets, data=folder, venue=again, clock=clock)

    @overload
    def __getitem__(self, name: str) -> CustomerSystem: ...
    @overload
    def __getitem__(self, name: object) -> System: ...
    def __getitem__(self, name: object) -> System:
        """The system of this name."""
        return self._named(name)

    def __iter__(self) -> Iterator[System]:
        return iter(self.systems.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.data or "memory only, lost with the process"
        return f"<Network of {', '.join(self.systems)}: {where}>"

    @property
    def customers(self) -> list[CustomerSystem]:
        """The customer-facing systems."""
        return [s for s in self if isinstance(s, CustomerSystem)]

    @property
    def streets(self) -> list[StreetSystem]:
        """The street-side systems."""
        return [s for s in self if isinstance(s, StreetSystem)]

    @property
    def firm(self) -> FirmSystem:
        """The firm-side system."""
        (firm,) = (s for s in self if isinstance(s, FirmSystem))
        return firm

    # ---- carrying

    def step(self) -> int:
        """Carry once: send orders, work them, replicate, clear. Gives how many records moved."""
        return sum(map(self.stage, STAGES))

    def stage(self, name: str) -> int:
        """One of the :data:`STAGES` of a step alone; gives how many records moved.

        :raises InvalidValue: it is none of them.
        """
        stage = given.one_of("stage", name, STAGES)
        with uninterrupted(), self.turn:
            before = self._moved()
            if stage == "replicate":
                self._replicate()
                self.see_outages()
            else:
                try:
                    for runtime in self._up():
                        if runtime.system.kind is _WORKS[stage]:
                            self._carry(runtime.work())
                except BaseException:
                    if stage == "send":  # requests may have been lost on their way
                        self._send_again()
                    raise
            return self._moved() - before

    def run(self) -> int:
        """Step until nothing moves any more; gives how many records moved in all."""
        total = 0
        while moved := self.step():
            total += moved
        return total

    def end_of_day(self) -> DayEnd:
        """End the trading day at once: DAY orders expire, GTD ones whose time has come, all clears.

        The market lets them expire by itself once it is told that their time is over; this is for
        who does not wait for it. A run of a tape moves to the close of its day. What settles
        follows from the postings (``firm.settlement``). A day may be ended again, for instance
        after a crash in between: what is done is not done twice.
        """
        before, calendar = self.venue.reported, self.venue.calendar
        if self._own_time:
            self._own_time.now = calendar.close(self._own_time.now)
        moved = self.run()
        with uninterrupted(), self.turn:
            self.venue.end_day()
        moved += self.run()
        expired = self.venue.reports.since(before)
        kinds = expired["exec_type"].to_pylist() if expired else []
        day = calendar.trading_day(self.now())
        return DayEnd(day, kinds.count(ExecType.EXPIRED), moved)

    @property
    def _own_time(self) -> ManualClock | None:
        """The clock of a run whose market was recorded, where it is one that stands still."""
        if isinstance(self.clock, ManualClock) and has_own_time(self.manifest.venue):
            return self.clock
        return None

    def street_for(self, symbol: str) -> str:
        """The street-side system of a symbol (:mod:`tradesys.systems.street.symbol_assignment`)."""
        return self.assignment.street_for(symbol)

    # ---- looking

    def status(
        self,
        order: OrderLike,
        *,
        at: str,
        at_least: Mapping[str, int] | None = None,
        steps: int = 100,
    ) -> Answer:
        """An order's status as a system answers it, once the records asked for have reached it.

        What is under way is carried until they have, ``steps`` times at most.

        :param at_least: as in :meth:`~tradesys.inquiry.inquiries.Inquiries.status`.
        :raises NotYetReplicated: they do not come: a link is cut, or there is no such order.
        :raises InvalidValue: no such system answers inquiries, or there is no such order.
        """
        system = self._asked("at", at)
        self.manifest.require_order(order, id_of(order))
        for _ in range(given.whole("steps", steps, 0)):
            with suppress(NotYetReplicated):
                return system.status(order, at_least=at_least)
            if not self.step():
                break
        return system.status(order, at_least=at_least)

    def explain(self, order: OrderLike) -> Explained:
        """An order's records, and when each system learned of each; what those that know it answer.

        :raises NotYetReplicated: no system knows of it.
        :raises InvalidValue: there is no such order.
        """
        self.manifest.require_order(order, id_of(order))
        answers: list[Answer] = []
        unknown: NotYetReplicated | InvalidValue | SystemDown | None = None
        for system in self:
            if isinstance(system, Inquiries):
                try:
                    answers.append(system.status(order))
                except (NotYetReplicated, InvalidValue, SystemDown) as error:
                    unknown = error
        if unknown and not answers:
            raise unknown
        return explained(answers[0].order_id, answers, [(s.name, s.tables) for s in self])

    def evidence(self, of: Answer | str) -> pl.DataFrame:
        """What an answer (or a system, by name) rests on beside the best that any system knows.

        :returns: ``dataset, origin, records, newest, best, held_by, behind, lacks, age``: see
            :meth:`tradesys.inquiry.evidence.Evidence.beside`.
        :raises InvalidValue: no such system answers inquiries.
        """
        found = of.evidence if isinstance(of, Answer) else self._asked("of", of).evidence()
        return found.beside({s.name: s.tables for s in self}, self.now())

    def _asked(self, field: str, name: object) -> Inquiries:
        """The system of this name, which answers inquiries."""
        systems = {s.name: s for s in self if isinstance(s, Inquiries)}
        return systems[given.one_of(field, name, systems)]

    def behind(self) -> pl.DataFrame:
        """How far each link is behind: ``source, target, behind`` (records), ``cut``."""
        rows = [
            (link.source.name, link.target.name, behind(link), not self.reach(link))
            for link in self.links
        ]
        return pl.DataFrame(rows, schema=["source", "target", "behind", "cut"], orient="row")

    def undelivered(self) -> int:
        """How many accepted requests have not reached their street-side system."""
        return sum(customer.outbox().num_rows for customer in running(self.customers))

    def is_at_rest(self) -> bool:
        """Whether nothing is under way or left to do: what is not so now will not become so."""
        return not (
            any(system.crashed for system in self)
            or self.undelivered()
            or any(behind(link) or to_give_back(link) for link in self.links)
            or any(street.has_work for street in self.streets)
            or self.firm.has_work
        )

    def summary(self) -> dict[str, dict[str, int]]:
        """How many records of each dataset each system holds."""
        return {s.name: {name: len(table) for name, table in s.tables.items()} for s in self}

    def as_of(self, time: Time) -> Past:
        """The systems with what each had received by a time: ``desk.as_of(t)["c2"].status(order)``.

        :param time: text like ``"2024-06-03T13:30:00Z"``, a datetime with a zone, or ns since 1970.
        :raises InvalidValue: it is none of these.
        """
        return Past(self.systems, time)

    def why_differ(self, one: str, other: str) -> pl.DataFrame:
        """The exact records that one of two systems holds and the other lacks.

        :returns: ``dataset, record_id, ts, held_by, lacking``.
        """
        return difference(self[one], self[other])

    def audit(self, progress: Callable[[int], None] | None = None) -> Audit:
        """Check everything that must hold over all systems (:mod:`tradesys.audit.audit`).

        What is checked is what they hold when it begins; they go on working meanwhile.

        :param progress: called with how many checks are done.
        """
        return audit(self.held(), progress)

    def held(self) -> Snapshot:
        """What all systems hold at this moment, to be looked at while they go on."""
        with uninterrupted(), self.turn:
            return Snapshot(
                self,
                at_rest=self.is_at_rest,
                fees=self.manifest.books.fees,
                calendar=self.venue.calendar,
                reports=self.venue.reports,
                names_are_once=self.venue.names_are_once,
            )

    def close(self) -> None:
        """Make everything durable and close the files; in a fork of this process, do nothing."""
        if self.turn is REFUSED:
            return
        with uninterrupted(), self.turn, ExitStack() as stack:
            self._folder = None
            stack.callback(self._lock.close)
            if hasattr(self, "venue"):
                stack.callback(self.venue.close)
            for system in self:
                stack.callback(system.close)

    def leave(self) -> None:
        """Let go of everything in a forked process: what is asked there is refused."""
        self.turn = self.systems = self.runtimes = self.links = REFUSED
        self._lock.close()

    # ---- making

    def _make(self, venue: VenueFactory) -> None:
        """Make the venue and the systems, of the files there are; open the books of a new firm."""
        if self.data:
            self.manifest = settle(self.data, self.manifest, self.now())
        self.venue = venue(clock=self.now, folder=self.data)
        file = self.venue.file
        if file and file.is_new and self.manifest.is_made:
            file.close()
            file.path.unlink()
            expected = "it is missing; put it back from the latest copy of the run"
            raise DamagedError(str(file.path), 0, expected)
        for origin in self.manifest.origins:
            self._place(self._made(origin))
        self._require_reported()
        if self._own_time:
            known = [t.last_received for system in self for t in system.tables.values()]
            self._own_time.now = max(self._own_time.now, self.venue.reports.last_ts, *known)
        self.recovered = self._begin_all(self._lost())
        for link in self.links:
            link.target.heard[link.source.name] = link.source.origin
        if not self.manifest.is_made:
            self.firm.open_books(self.manifest.books)
            self._replicate()
            for system in self:
                system.sync()
            self._require_folder()
            self.manifest = complete(self.data, self.manifest, self.now())
        self._assign()

    def _require_reported(self) -> None:
        """Refuse a market that knows less than its street-side systems last recorded of it."""
        file, reported = self.venue.file, self.venue.next_id()
        for street in self.streets if file else ():
            table = street.tables["executions"]
            for code in street.own_codes("executions"):
                last = table.count(code) - 1
                exec_id = table.logs[code].value(last, "exec_id")
                if file and exec_id >= reported:
                    recorded = f"{format_id(make_id(code, last))} recorded {format_id(exec_id)}"
                    expected = f"{recorded}, which is not in it; put the latest copy of it back"
                    raise DamagedError(
                        str(file.path), 0, f"it is older than its systems: {expected}"
                    )

    def _made(self, origin: Origin) -> Runtime:
        """A system of the kind that its origin says, of what its files hold, and what runs it."""
        place = Place(origin, self.now, self.data, calendar=self.venue.calendar)

        def reaches(name: str) -> bool:
            return name == MARKET or not self.cut(origin.system, name)

        return self._runtime(place, self.assignment, ON_DEMAND, reaches)

    def _runtime(
        self,
        place: Place,
        assignment: Assignment,
        settings: Settings,
        reaches: Callable[[str], bool],
    ) -> Runtime:
        fees = self.manifest.books.fees
        system = made(place, venue=self.venue, assignment=assignment, fees=fees)
        return Runtime(system, self.manifest.origins, assignment, settings, reaches)


def _is_factory(venue: object) -> bool:
    """Whether it can be called as what makes a market is."""
    if not callable(venue):
        return False
    with suppress(TypeError, ValueError):  # those that say nothing of themselves are none
        signature(venue).bind(clock=wall_clock, folder=None)
        return True
    return False
