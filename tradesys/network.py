"""A whole network of systems in one process: the embedded setting, deterministic, no server.

Nothing moves by itself: ``step`` carries once what can be carried, ``run`` steps until all is
quiet.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol, Self, overload

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from tradesys.audit import Audit, audit
from tradesys.clock import Clock, wall_clock
from tradesys.disk import make_folder
from tradesys.errors import InvalidValue, StorageError
from tradesys.history import Past, Time, difference
from tradesys.records import PRICE_SCALE, Kind, Origin, parse_origin
from tradesys.recovery import Recovered, recover
from tradesys.replication import Link, behind, links, replicate
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.firm import FirmSystem
from tradesys.systems.street import StreetSystem
from tradesys.systems.system import System
from tradesys.topology import WRITES
from tradesys.venue import BookVenue, Venue


@dataclass(frozen=True)
class OpeningBooks:
    """What the firm's books say when a network is new: accounts, what they own, what is listed.

    ``cash`` and ``tick_size`` are in 1/10,000 of the currency; ``shares`` is of each symbol.
    """

    accounts: Sequence[str] = ("alice", "bob", "carol", "dave")
    symbols: Sequence[str] = ("ALFA", "BRVO", "CHRL")
    cash: int = 1_000_000 * PRICE_SCALE
    shares: int = 10_000
    tick_size: int = 100
    lot_size: int = 1


class VenueFactory(Protocol):
    """Makes the market outside: :class:`BookVenue`, or a ``partial`` of :class:`TapeVenue`."""

    def __call__(self, *, clock: Clock, folder: Path | None) -> Venue:
        """A venue that keeps its record under ``folder``, in memory without one."""
        ...


@dataclass
class _Cuts:
    """Which pairs of systems cannot reach each other."""

    pairs: set[frozenset[str]] = field(default_factory=set)

    def between(self, one: str, other: str) -> bool:
        """Whether these two cannot."""
        return frozenset((one, other)) in self.pairs


class Network:
    """Customer-facing systems ``c1…``, street-side systems ``s1…``, and ``firm``, in one process.

    :param customers: how many customer-facing systems, 1 to 63.
    :param streets: how many street-side systems, 1 to 63.
    :param firm: what the firm's books say at first.
    :param data: the folder that holds every system's files. An acknowledged order is then on disk.
        A folder that holds a network already is opened and goes on from there. None keeps all in
        memory, for experiments: what is acknowledged is lost with the process.
    :param venue: makes the market outside, by default one with an order book for each symbol.
    :param clock: gives the time in ns since 1970; by default the wall clock.

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
        for name, count in (("customers", customers), ("streets", streets)):
            if not 1 <= count <= 63:
                raise InvalidValue(name, count, "a number from 1 to 63")
        self.data = Path(data) if data is not None else None
        self.clock = clock
        self._cuts = _Cuts()
        self._undelivered: dict[tuple[str, str], list[pa.RecordBatch]] = {}
        self._streets = tuple(f"s{number}" for number in range(1, streets + 1))
        self.street_for = cache(self._rendezvous)
        self.systems: dict[str, System] = {}
        self._lock = _lock(self.data) if self.data else None
        try:
            self._make(customers, streets, firm or OpeningBooks(), venue)
        except BaseException:
            with suppress(StorageError):
                self.close()
            raise

    @classmethod
    def open(cls, data: str | Path, *, clock: Clock = wall_clock) -> "Network":
        """Open the network whose files are in a folder.

        :raises InvalidValue: the folder holds none.
        """
        customers, streets = _counts(Path(data))
        if not customers or not streets:
            raise InvalidValue("data", str(data), "a folder with the files of a network")
        return cls(customers, streets, data=data, clock=clock)

    @overload
    def __getitem__(self, name: str) -> CustomerSystem: ...
    @overload
    def __getitem__(self, name: object) -> System: ...
    def __getitem__(self, name: object) -> System:
        """The system of this name."""
        if name not in self.systems:
            raise InvalidValue("system", name, f"one of {', '.join(self.systems)}")
        return self.systems[str(name)]

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
        moved = self._send()
        moved += sum(street.work() for street in self.streets)
        moved += sum(replicate(link) for link in self.links if self._reach(link))
        moved += self.firm.clear()
        return moved

    def run(self) -> int:
        """Step until nothing moves any more; gives how many records moved in all."""
        total = 0
        while moved := self.step():
            total += moved
        return total

    def _send(self) -> int:
        """Send each accepted request to the one street-side system of its symbol (claim 22)."""
        moved = 0
        for customer in self.customers:
            for batch in customer.outgoing():
                for street, part in self._by_street(batch):
                    self._undelivered.setdefault((customer.name, street), []).append(part)
        for (customer_name, street), batches in self._undelivered.items():
            if batches and not self._cuts.between(customer_name, street):
                target = self.systems[street]
                assert isinstance(target, StreetSystem)
                for batch in batches:
                    target.accept(batch)
                    moved += batch.num_rows
                batches.clear()
        return moved

    def _by_street(self, batch: pa.RecordBatch) -> list[tuple[str, pa.RecordBatch]]:
        symbols = batch["symbol"].dictionary_encode()
        streets = pa.array([self.street_for(s) for s in symbols.dictionary.to_pylist()])
        if len(streets) == 1:
            return [(streets[0].as_py(), batch)]
        each = streets.take(symbols.indices)
        names = sorted(set(streets.to_pylist()))
        return [(name, batch.filter(pc.equal(each, name))) for name in names]

    def _rendezvous(self, symbol: str) -> str:
        """The street-side system of a symbol: the highest random weight (rendezvous hashing)."""
        return max(self._streets, key=lambda s: blake3(f"{s}:{symbol}".encode()).digest())

    # ---- faults

    def partition(self, one: str, *others: str) -> None:
        """Cut one system off from others (from all, when none is named), both ways."""
        for name in (one, *others):
            self[name]
        rest = others or tuple(name for name in self.systems if name != one)
        self._cuts.pairs |= {frozenset((one, other)) for other in rest}

    def heal(self, one: str | None = None, *others: str) -> None:
        """Mend the links between these systems; every link, when none is named."""
        for name in (one, *others) if one is not None else ():
            self[name]
        self._cuts.pairs = {
            pair
            for pair in self._cuts.pairs
            if one is not None and not (one in pair and (not others or pair & set(others)))
        }

    def lose_disk(self, name: str) -> Recovered:
        """Take a system's files away, all that it knows with them, and bring it back.

        It comes back as a new incarnation, with what had reached those it can reach. What had
        reached nobody is lost; the audit names what others knew of it.
        """
        system = self[name]
        system.close()
        if system.folder:
            shutil.rmtree(system.folder)
        for pair, batches in self._undelivered.items():
            if name in pair:
                batches.clear()
        self._add(self._system(system.origin._replace(incarnation=0)))
        self.systems[name].origin = system.origin
        self.links = links(list(self.systems.values()))
        (recovered,) = self._recover({name})
        self.recovered.append(recovered)
        return recovered

    def cut(self, one: str, other: str) -> bool:
        """Whether two systems cannot reach each other now."""
        return self._cuts.between(one, other)

    def _reach(self, link: Link) -> bool:
        return not self._cuts.between(link.source.name, link.target.name)

    # ---- looking

    def behind(self) -> pl.DataFrame:
        """How far each link is behind: ``source, target, behind`` (records), ``cut``."""
        rows = [
            (link.source.name, link.target.name, behind(link), not self._reach(link))
            for link in self.links
        ]
        return pl.DataFrame(rows, schema=["source", "target", "behind", "cut"], orient="row")

    def undelivered(self) -> int:
        """How many accepted requests have not reached their street-side system."""
        return sum(b.num_rows for batches in self._undelivered.values() for b in batches)

    def summary(self) -> dict[str, dict[str, int]]:
        """How many records of each dataset each system holds."""
        return {s.name: {name: len(table) for name, table in s.tables.items()} for s in self}

    def as_of(self, time: Time) -> Past:
        """The systems with what each had received by a time: ``desk.as_of(t)["c2"].status(order)``.

        :param time: text like ``"2024-06-03T13:30:00Z"``, a datetime with a zone, or ns since 1970.
        """
        return Past(self.systems, time)

    def why_differ(self, one: str, other: str) -> pl.DataFrame:
        """The exact records that one of two systems holds and the other lacks.

        :returns: ``dataset, record_id, ts, held_by, lacking``.
        """
        return difference(self[one], self[other])

    def audit(self) -> Audit:
        """Check everything that must hold over all systems (:mod:`tradesys.audit`)."""
        return audit(self)

    def close(self) -> None:
        """Make everything durable and close the files."""
        with ExitStack() as stack:
            stack.callback(self._unlock)
            if hasattr(self, "venue"):
                stack.callback(self.venue.close)
            for system in self:
                stack.callback(system.close)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ---- making

    def _make(self, customers: int, streets: int, books: OpeningBooks, venue: VenueFactory) -> None:
        """Make the venue and the systems, of the files there are, and open the firm's books."""
        if self.data:
            _check_counts(self.data, customers, streets)
        clock, folder = self.clock, self.data
        self.venue = venue(clock=clock, folder=folder)
        for kind, count in ((Kind.CUSTOMER, customers), (Kind.STREET, streets), (Kind.FIRM, 1)):
            for number in range(1, count + 1):
                self._add(self._system(Origin(kind, number)))
        self.links = links(list(self.systems.values()))
        self.recovered = self._recover(self._lost())
        self._open_books(books)

    def _add(self, system: System) -> None:
        self.systems[system.name] = system

    def _system(self, origin: Origin) -> System:
        """A system of the kind that its origin says, with what its files hold."""
        clock, folder, name = self.clock, self.data, origin.system
        if origin.kind is Kind.CUSTOMER:
            return CustomerSystem(origin, clock=clock, folder=folder)
        if origin.kind is Kind.FIRM:
            return FirmSystem(origin, clock=clock, folder=folder)
        return StreetSystem(
            origin,
            clock=clock,
            folder=folder,
            venue=self.venue,
            owns=lambda symbol: self.street_for(symbol) == name,
        )

    def _lost(self) -> set[str]:
        """The systems whose own files are new where others are not, or that forgot who they are."""
        if not any(len(table) for s in self for table in s.tables.values()):
            return set()  # its making was not finished, and nothing was acknowledged
        own = {s.name: [file for d in WRITES[s.kind] if (file := s.tables[d].file)] for s in self}
        new = {name for name, files in own.items() if any(file.is_new for file in files)}
        forgot = {s.name for s in self if s.forgot}
        return forgot if len(new) == len(own) else new | forgot

    def _recover(self, lost: set[str]) -> list[Recovered]:
        """Bring back the systems that lost records; orders not answered are sent again."""
        recovered = recover(list(self), lost, lambda one, other: not self.cut(one, other))
        for each in recovered:
            system = self.systems[each.system]
            if isinstance(system, CustomerSystem):
                system.send_again()
        return recovered

    def _open_books(self, books: OpeningBooks) -> None:
        """Open the firm's books where they are not; a crash may have come in between."""
        held = self.firm.tables
        if not len(held["instruments"]):
            self.firm.list_instruments(
                books.symbols, tick_size=books.tick_size, lot_size=books.lot_size
            )
        if not len(held["postings"]):
            shares = dict.fromkeys(books.symbols, books.shares)
            self.firm.open_accounts(books.accounts, cash=books.cash, shares=shares)
            for link in self.links:
                if link.source is self.firm:
                    replicate(link)


def _lock(data: Path) -> int:
    """Take the folder for this process alone."""
    try:
        make_folder(data)
        fd = os.open(data, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"{data}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise StorageError(f"{data}: in use by another process") from error
    return fd


def _counts(data: Path) -> tuple[int, int]:
    """How many customer-facing and street-side systems have files in a folder."""
    numbers = {Kind.CUSTOMER: 0, Kind.STREET: 0}
    for folder in data.iterdir() if data.is_dir() else ():
        if (folder / "authoritative").is_dir():
            found = parse_origin(folder.name)
            numbers[found.kind] = max(numbers.get(found.kind, 0), found.number)
    return numbers[Kind.CUSTOMER], numbers[Kind.STREET]


def _check_counts(data: Path, customers: int, streets: int) -> None:
    found = _counts(data)
    unfinished = not (data / "firm").exists() and found[0] <= customers and found[1] <= streets
    if found not in ((0, 0), (customers, streets)) and not unfinished:
        raise InvalidValue(
            "data", str(data), f"a folder of {customers} and {streets} systems, not of {found}"
        )
