"""What every system is: authoritative data that it writes, read-only data that others wrote.

A system has no thread, reads no clock and draws nothing at random: the time is handed in, and
whoever runs it (a network in one process, a simulation, a server) carries its records to others.

Whatever a system is asked may be asked from any thread at any time. Of its two locks the outer one,
``turn``, is for who writes to its files, and is held while the disk works; the inner one, ``lock``,
is of its memory and held for moments, so nobody waits for the disk to be answered.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple, Self, TypeVar

import pyarrow as pa

from tradesys.inquiry.record_holder import RecordHolder
from tradesys.log.ctrl_c import uninterrupted
from tradesys.log.dataset_access import Dataset
from tradesys.log.file import LogFile, OpenFile
from tradesys.log.fork_guard import REFUSED, leave_if_forked
from tradesys.log.group_commit import GroupCommit, Part
from tradesys.log.incarnation import read_incarnation, write_incarnation
from tradesys.log.table import Rows, Table
from tradesys.records import argument_checks as given
from tradesys.records import field_rules as fields
from tradesys.records.arrow import batch_of
from tradesys.records.clock import Clock
from tradesys.records.errors import (
    DamagedError,
    InvalidValue,
    ReadOnlyError,
    SchemaError,
    SystemDown,
    shown,
)
from tradesys.records.schemas import SCHEMAS, Kind, Origin, make_id
from tradesys.records.schemas import origin as origin_of
from tradesys.records.trading_calendar import Calendar
from tradesys.routes import CALLED, WRITER, WRITES, Holding, holdings
from tradesys.systems.compile_ahead import make_ready

_WRITTEN_OTHERWISE = {
    "requests": "one that the firm writes; requests come from submit, cancel and replace",
    "executions": "one that the firm writes; executions come from the market",
}


Values = list[tuple[Any, ...]]
"""The values of rows in the order of the columns, ``record_id`` and ``ts`` not among them."""


def _values(dataset: str, rows: object) -> Values:
    """The values of rows, of the types of their columns and by their rules."""
    columns = list(SCHEMAS[dataset])[2:]
    names = [column.name for column in columns]
    if not isinstance(rows, list | tuple):
        raise InvalidValue("rows", rows, f"a list of dictionaries with {', '.join(names)}")
    for row in rows:
        if not isinstance(row, Mapping):
            raise InvalidValue("rows", row, f"dictionaries with {', '.join(names)}")
        if unknown := [name for name in row if name not in names]:
            raise SchemaError(f"{dataset}: unknown {unknown}; expected {names}")
        missing = [c.name for c in columns if not c.nullable and row.get(c.name) is None]
        if missing:
            raise SchemaError(f"{dataset}: missing {missing}; expected a value in each")
    rules = fields.RULES[dataset]
    return [tuple(_value(dataset, c, row.get(c.name), rules) for c in columns) for row in rows]


def _value(dataset: str, column: pa.Field, value: object, rules: Mapping[str, fields.Rule]) -> Any:
    """A value as a record holds it, as it stands: nothing is cut to fit."""
    if value is None:
        return None
    found = _of_type(value, column.type)
    if found is None:
        raise SchemaError(f"{dataset}: {column.name}={shown(value)}: expected {column.type}")
    return rules[column.name](column.name, found) if column.name in rules else found


def _of_type(value: object, kind: pa.DataType) -> object:
    """A value of a column's type, plainly; None where it is of another."""
    if pa.types.is_integer(kind):
        low, high = (-(1 << 63), 1 << 63) if pa.types.is_signed_integer(kind) else (0, 1 << 64)
        number = given.number_of(value)
        return number if number is not None and low <= number < high else None
    if pa.types.is_date(kind):
        return value if isinstance(value, dt.date) and not isinstance(value, dt.datetime) else None
    return given.text_of(value)


class Datasets(Mapping[str, Dataset]):
    """The datasets of a system that are authoritative, or those that are read-only, by name."""

    def __init__(self, owner: str, holding: Holding, datasets: dict[str, Dataset]) -> None:
        self._owner = owner
        self._holding = holding
        self._datasets = datasets

    def __getitem__(self, dataset: str) -> Dataset:
        if dataset not in self:
            names = ", ".join(self._datasets)
            expected = f"one that {self._owner} holds as {self._holding}: {names}"
            raise InvalidValue("dataset", dataset, expected)
        return self._datasets[dataset]

    def __contains__(self, dataset: object) -> bool:
        return given.text_of(dataset) in self._datasets

    def __iter__(self) -> Iterator[str]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)

    def __repr__(self) -> str:
        return f"{list(self._datasets.values())}"


class Place(NamedTuple):
    """Which system it is, and where: its clock, and the folder with the files of all systems.

    ``open_file`` opens its files; by default real ones. Without a folder all is in memory.
    ``calendar`` says which day it is: the market's own.
    """

    origin: Origin
    clock: Clock
    folder: Path | None = None
    open_file: OpenFile | None = None
    calendar: Calendar = Calendar()


class System(RecordHolder):
    """One system of the architecture. Subclasses say what it does for customers or the market."""

    def __init__(self, place: Place) -> None:
        make_ready()
        origin, clock, folder, open_file, self.calendar = place
        assert origin.kind is self.kind
        self.origin = origin
        self.name = origin.system
        self.folder = folder / self.name if folder else None
        self.clock = clock
        self.down = None
        self.crashed = False
        self.heard = {}
        open_file = open_file or (LogFile if folder else None)
        self.turn, self.lock = RLock(), RLock()
        self.news, self.own_news = True, False
        self.tables = {}
        try:
            for dataset, holding in holdings(self.kind).items():
                table = Table(origin, dataset, holding, folder=folder, open_file=open_file)
                self.tables[dataset] = table
            self._begin(origin)
        except BaseException:
            self._abandon()
            raise
        leave_if_forked(self)

    def _begin(self, origin: Origin) -> None:
        """Go on from what the files hold."""
        self.writers = {name: GroupCommit(self, name, self.turn) for name in WRITES[self.kind]}
        self._begin_following()
        self.authoritative = self._shown(Holding.AUTHORITATIVE)
        self.read_only = self._shown(Holding.READ_ONLY)
        for table in self.tables.values():
            table.load()
        codes = [code for dataset in WRITES[self.kind] for code in self.own_codes(dataset)]
        self.forgot = False
        try:
            known = read_incarnation(self.folder, origin) or origin
        except DamagedError:
            known, self.forgot = origin, True
        self.origin = max([known, *map(origin_of, codes)])

    def __repr__(self) -> str:
        held = ", ".join(f"{len(table):,} {name}" for name, table in self.tables.items())
        return f"<{self.name}: {held}>"

    def _shown(self, holding: Holding) -> Datasets:
        tables = {n: t for n, t in self.tables.items() if t.holding is holding}
        shown = {n: Dataset(table, self.record) for n, table in tables.items()}
        return Datasets(self.name, holding, shown)

    @property
    def origin(self) -> Origin:
        """Who it writes as: which system it is, and in which incarnation."""
        return self._origin

    @origin.setter
    def origin(self, origin: Origin) -> None:
        self._origin = origin
        self._code, self._first_id = origin.code, make_id(origin.code, 0)

    def snapshot(self) -> Self:
        """The system as it is now, to be looked at: it shares the records, and takes no more."""
        with self.lock:
            found = copy(self)
            found.turn, found.lock = RLock(), RLock()
            found.tables = {name: table.snapshot() for name, table in self.tables.items()}
        found.news, found.down = True, self.down or "it shows what it knew at a time"
        found._begin_following()  # noqa: SLF001 - of its own kind
        return found

    # ---- writing one's own data

    def record(self, dataset: str, rows: Rows) -> pa.RecordBatch:
        """Write records of one's own from dictionaries without ``record_id`` and ``ts``.

        :raises ReadOnlyError: another kind of system writes this dataset.
        :raises InvalidValue: requests come from order entry, executions from the market only; or a
            value breaks a rule of its column (:data:`tradesys.records.field_rules.RULES`).
        :raises SchemaError: a key is missing, unknown, or holds the wrong type.
        """
        self.check_writer(dataset)
        if self.kind is not Kind.FIRM:
            raise InvalidValue("dataset", dataset, _WRITTEN_OTHERWISE[dataset])
        values = self.checked(dataset, rows)

        def numbered() -> pa.RecordBatch:
            first, now = self.next_id(dataset), self.clock()
            tuples = [(first + i, now, *each) for i, each in enumerate(values)]
            return batch_of(SCHEMAS[dataset], tuples)

        return self.commit(dataset, numbered)

    def checked(self, dataset: str, rows: object) -> Values:
        """The values of rows that may be recorded; see :meth:`record`."""
        return _values(dataset, rows)

    def commit(
        self, dataset: str, batch: pa.RecordBatch | Callable[[], pa.RecordBatch]
    ) -> pa.RecordBatch:
        """Write records of one's own and make them durable; on return they are acknowledged.

        :param batch: the records, or what makes them: they are numbered from :meth:`next_id` on.
        :raises ReadOnlyError: another kind of system writes this dataset.
        :raises StorageError: the disk refused; nothing was acknowledged.
        """
        self.check_writer(dataset)
        with uninterrupted():
            with self.lock:
                self.require_up()
                made = batch() if callable(batch) else batch
                group = self.writers[dataset].stage_batch(made)
            self.writers[dataset].commit(group)
        return made

    def check_writer(self, dataset: object) -> None:
        """Refuse a write to data that another kind of system writes."""
        if WRITER[given.one_of("dataset", dataset, WRITER)] is not self.kind:
            raise ReadOnlyError(
                f"{self.name} may not write {dataset}: it is read-only there, "
                f"only {CALLED[WRITER[str(dataset)]]} may"
            )

    def next_id(self, dataset: str) -> int:
        """The id of the next record of one's own; those that are being written have theirs."""
        writer = self.writers.get(dataset)
        staged = writer.next_id if writer else None
        return staged or self._first_id + self.tables[dataset].count(self._code)

    def flush(self) -> None:
        """Finish what an interrupt has left half written."""
        for writer in self.writers.values():
            writer.flush()

    # ---- what a writer asks for (:class:`~tradesys.log.group_commit.Owner`)

    def stamp(self, dataset: str, parts: list[Part]) -> list[pa.RecordBatch]:
        """Records of one's own as they are held when they are received now."""
        table, schema = self.tables[dataset], SCHEMAS[dataset]
        each = (batch_of(schema, part) if isinstance(part, list) else part for part in parts)
        return [table.stamp(batch, self.clock()) for batch in each]

    def write(self, dataset: str, batches: list[pa.RecordBatch]) -> None:
        """Make records of one's own durable."""
        self.tables[dataset].write(batches)

    def is_written(self, dataset: str, batches: list[pa.RecordBatch]) -> bool:
        """Whether records of one's own stand in the file."""
        return self.tables[dataset].is_written(batches)

    def take(self, dataset: str, batches: list[pa.RecordBatch]) -> None:
        """Make records of one's own, which are durable, part of the table."""
        self.tables[dataset].take(batches)
        self.news = True

    def drop(self, dataset: str) -> None:
        """Nothing here rests on records that were not written."""

    # ---- replication

    def renew(self, origin: Origin) -> None:
        """Go on as this incarnation; whatever is written from now on is of this origin."""
        if self.folder:
            write_incarnation(self.folder, origin, self.clock())
        self.origin = origin

    def own_codes(self, dataset: str) -> list[int]:
        """The 16-bit codes of its incarnations that it holds records of, oldest first."""
        mine = self._code >> 8
        return [code for code in self.tables[dataset].logs if code >> 8 == mine]

    def receive(self, dataset: str, batch: pa.RecordBatch) -> int:
        """Take in records that another system wrote; gives how many were new.

        :raises ReadOnlyError: they are of a kind that may not write this dataset, or this system
            does not hold it.
        :raises GapError: records before these are missing.
        """
        if dataset not in self.tables:
            raise ReadOnlyError(f"{self.name} does not hold {dataset}")
        with self.turn, self.lock:
            self.require_up()
            new = self.tables[dataset].apply(batch, self.clock())
            self.news = self.news or new > 0
            return new

    def sync(self) -> None:
        """Make everything held durable, replicas included."""
        with self.turn:
            for table in self.tables.values():
                if table.file:
                    table.file.sync()

    def require_up(self) -> None:
        """Refuse to write where nothing more is taken.

        :raises SystemDown: it is closed, has crashed, or shows the past.
        """
        if self.down:
            raise SystemDown(f"{self.name} takes nothing more: {self.down}")

    def crash(self) -> None:
        """Stop as a process that is killed: the memory is gone, the files stay as they are.

        A write that is under way ends first.
        """
        with self._alone():
            self.crashed = self.news = True
            self.down = f"it has crashed; once it is restarted, desk[{self.name!r}] is it anew"
            self._abandon()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nothing of one's own is staged or being written until this ends."""
        with self.turn, ExitStack() as stack:
            for writer in self.writers.values():
                stack.enter_context(writer.alone())
            yield

    def _abandon(self) -> None:
        for table in self.tables.values():
            if table.file:
                table.file.abandon()
            else:
                table.logs = {}

    def close(self) -> None:
        """Close the files; what they hold is durable. From then on nothing more is written."""
        if self.turn is REFUSED:
            return
        with uninterrupted(), self.turn:
            with self._alone():
                self.down = self.down or "it is closed; open the network again"
            with ExitStack() as stack:
                for table in self.tables.values():
                    if table.file:
                        stack.callback(table.file.close)

    def leave(self) -> None:
        """Let go of everything in a forked process: what is asked there is refused."""
        self.down = "it is of the process that this one is a fork of; ask there"
        self.crashed = True
        for table in self.tables.values():
            table.logs = REFUSED
        self.turn = self.lock = self.tables = self.writers = REFUSED


_AnySystem = TypeVar("_AnySystem", bound=System)


def running(systems: Iterable[_AnySystem]) -> list[_AnySystem]:
    """Those of the systems that have not crashed."""
    return [system for system in systems if not system.crashed]
