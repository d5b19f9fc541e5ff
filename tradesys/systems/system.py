"""What every system is: authoritative data that it writes, read-only data that others wrote.

A system has no thread, reads no clock and draws nothing at random: the time is handed in, and
whoever runs it (a network in one process, a simulation, a server) carries its records to others.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from tradesys.arrow import batch_of
from tradesys.clock import Clock
from tradesys.errors import DamagedError, InvalidValue, ReadOnlyError, SchemaError
from tradesys.framing import NO_HEAD
from tradesys.incarnation import read_incarnation, write_incarnation
from tradesys.records import SCHEMAS, Kind, Origin, make_id
from tradesys.records import origin as origin_of
from tradesys.reference import Reference
from tradesys.table import Rows, Table
from tradesys.topology import WRITER, WRITES, Holding, holdings
from tradesys.views import View

_WRITTEN_OTHERWISE = {
    "requests": "one that is written as it is; requests come from submit, cancel and replace",
    "executions": "one that is written as it is; executions come from the market",
}


class Tables(Mapping[str, Table]):
    """The tables of a system that are authoritative, or those that are read-only, by dataset."""

    def __init__(self, owner: str, holding: Holding, tables: dict[str, Table]) -> None:
        self._owner = owner
        self._holding = holding
        self._tables = {n: t for n, t in tables.items() if t.holding is holding}

    def __getitem__(self, dataset: str) -> Table:
        if dataset not in self._tables:
            names = ", ".join(self._tables)
            expected = f"one that {self._owner} holds as {self._holding}: {names}"
            raise InvalidValue("dataset", dataset, expected)
        return self._tables[dataset]

    def __contains__(self, dataset: object) -> bool:
        return dataset in self._tables

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __repr__(self) -> str:
        return f"{list(self._tables.values())}"


class System:
    """One system of the architecture. Subclasses say what it does for customers or the market."""

    kind: Kind

    def __init__(self, origin: Origin, *, clock: Clock, folder: Path | None) -> None:
        assert origin.kind is self.kind
        self.origin = origin
        self.name = origin.system
        self.folder = folder / self.name if folder else None
        self.clock = clock
        self._view = View()
        self._unviewed: list[tuple[str, pa.RecordBatch]] | None = []
        self.reference = Reference()
        self.tables = {
            dataset: Table(origin, dataset, holding, folder=folder, write=self.record)
            for dataset, holding in holdings(self.kind).items()
        }
        self.authoritative = Tables(self.name, Holding.AUTHORITATIVE, self.tables)
        self.read_only = Tables(self.name, Holding.READ_ONLY, self.tables)
        self._reopen()
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

    def _reopen(self) -> None:
        """Take in what the files of an earlier run hold; the view gets it when it is asked."""
        for dataset, table in self.tables.items():
            for batch in table.load():
                self.applied(dataset, batch)

    @property
    def view(self) -> View:
        """The answers kept up to date. What was there before the first question waits for it."""
        waiting, self._unviewed = self._unviewed, None
        for dataset, batch in waiting or ():
            self._view.apply(dataset, batch)
        return self._view

    @property
    def unviewed(self) -> int:
        """How many records wait for the first question that is asked of the view."""
        return sum(batch.num_rows for _, batch in self._unviewed or ())

    # ---- writing one's own data

    def record(self, dataset: str, rows: Rows) -> pa.RecordBatch:
        """Write records of one's own from dictionaries without ``record_id`` and ``ts``.

        :raises ReadOnlyError: another kind of system writes this dataset.
        :raises InvalidValue: requests come from order entry, executions from the market only.
        :raises SchemaError: a key is missing, unknown, or holds the wrong type.
        """
        self.check_writer(dataset)
        if self.kind is not Kind.FIRM:
            raise InvalidValue("dataset", dataset, _WRITTEN_OTHERWISE[dataset])
        fields = list(SCHEMAS[dataset])[2:]
        names = [field.name for field in fields]
        for row in rows:
            if unknown := row.keys() - set(names):
                raise SchemaError(f"{dataset}: unknown {sorted(unknown)}; expected {names}")
            missing = [f.name for f in fields if not f.nullable and row.get(f.name) is None]
            if missing:
                raise SchemaError(f"{dataset}: missing {missing}")
        first, now = self.next_id(dataset), self.clock()
        tuples = [(first + i, now, *(r.get(n) for n in names)) for i, r in enumerate(rows)]
        try:
            batch = batch_of(SCHEMAS[dataset], tuples)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise SchemaError(f"{dataset}: {error}; expected {SCHEMAS[dataset]}") from error
        self.commit(dataset, batch)
        return batch

    def commit(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Write records of one's own and make them durable; on return they are acknowledged.

        :raises ReadOnlyError: another kind of system writes this dataset.
        :raises StorageError: the disk refused; nothing was acknowledged.
        """
        self.check_writer(dataset)
        self.tables[dataset].apply(batch, self.clock(), durable=True)
        self.applied(dataset, batch)

    def check_writer(self, dataset: str) -> None:
        """Refuse a write to data that another kind of system writes."""
        if dataset not in WRITER:
            raise InvalidValue("dataset", dataset, f"one of {', '.join(WRITER)}")
        if WRITER[dataset] is not self.kind:
            raise ReadOnlyError(
                f"{self.name} may not write {dataset}: it is read-only there, "
                f"written by {WRITER[dataset].name.lower()} systems only"
            )

    def next_id(self, dataset: str) -> int:
        """The id of the next record of one's own."""
        return make_id(self.origin.code, self.tables[dataset].count(self.origin.code))

    # ---- replication

    def wrote(self, code: int) -> bool:
        """Whether the origin with this 16-bit code is this system, in any incarnation."""
        return code >> 8 == self.origin.code >> 8

    def renew(self, origin: Origin) -> None:
        """Go on as this incarnation; whatever is written from now on is of this origin."""
        if self.folder:
            write_incarnation(self.folder, origin)
        self.origin = origin

    def own_codes(self, dataset: str) -> list[int]:
        """The 16-bit codes of its incarnations that it holds records of, oldest first."""
        return sorted(code for code in self.tables[dataset].logs if self.wrote(code))

    def receive(self, dataset: str, batch: pa.RecordBatch, *, origin_head: bytes = NO_HEAD) -> int:
        """Take in records that another system wrote; gives how many were new.

        :param origin_head: the digest that their origin's file had reached.

        :raises ReadOnlyError: they are of a kind that may not write this dataset, or this system
            does not hold it.
        :raises GapError: records before these are missing.
        """
        if dataset not in self.tables:
            raise ReadOnlyError(f"{self.name} does not hold {dataset}")
        new = self.tables[dataset].apply(batch, self.clock(), origin_head=origin_head)
        if new is None:
            return 0
        self.applied(dataset, new)
        return new.num_rows

    def applied(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Called with each run of records once, when it has become part of a table."""
        if self._unviewed is None:
            self._view.apply(dataset, batch)
        else:
            self._unviewed.append((dataset, batch))
        if dataset in ("accounts", "instruments"):
            self.reference.apply(dataset, batch)

    def sync(self) -> None:
        """Make everything held durable, replicas included."""
        for table in self.tables.values():
            if table.file:
                table.file.sync()

    def close(self) -> None:
        """Close the files; what they hold is durable."""
        with ExitStack() as stack:
            for table in self.tables.values():
                if table.file:
                    stack.callback(table.file.close, table.read)
