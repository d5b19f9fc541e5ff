"""A dataset as one system holds it: the union of the logs that have reached it, and its file."""

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.log.file import LogFile, OpenFile
from tradesys.log.log import Log
from tradesys.records.arrow import Ids, stamped
from tradesys.records.errors import GapError, Outcome, ReadOnlyError
from tradesys.records.schemas import SCHEMAS, Origin, format_id, held, make_id, origin, split_id
from tradesys.routes import CALLED, WRITER, Holding

Rows = Sequence[Mapping[str, object]]


class Table:
    """One dataset at one system.

    Reading: ``arrow`` and ``frame`` give every record held, by origin and sequence, so that two
    systems with equal ``positions`` have equal tables but for ``received_at``, whatever the order
    of arrival. Writing: ``write`` and ``take`` for what the system itself writes, ``apply`` for
    replication; users are handed a :class:`~tradesys.log.dataset_access.Dataset`. ``logs`` are in
    the order of their origins' 16-bit codes. What the system knew at a time is what had been
    received by then: ``received_at`` never goes back, though a clock may.
    """

    def __init__(
        self,
        owner: Origin,
        dataset: str,
        holding: Holding,
        *,
        folder: Path | None = None,
        open_file: OpenFile | None = None,
    ) -> None:
        self.owner = owner
        self.dataset = dataset
        self.holding = holding
        self.schema = held(SCHEMAS[dataset])
        self.logs: dict[int, Log] = {}
        self.file: LogFile | None = None
        if open_file:
            name = f"{owner.system}/{holding}/{dataset}"
            path = (folder or Path()) / f"{name}.arrows"
            self.file = open_file(path, SCHEMAS[dataset], owner=name)
        self.last_received = 0

    def __len__(self) -> int:
        return sum(log.count for log in self.logs.values())

    def __repr__(self) -> str:
        return f"<{self.owner.system} {self.holding} {self.dataset}: {len(self):,} records>"

    @property
    def positions(self) -> dict[str, int]:
        """How many records of each origin are held: exactly what this system knows."""
        return {str(origin(code)): log.count for code, log in self.logs.items()}

    @property
    def arrow(self) -> pa.Table:
        """Every record held, as an Arrow table; no copy is made."""
        batches = [batch for log in self.logs.values() for batch in log.batches()]
        return pa.Table.from_batches(batches, self.schema)

    @property
    def frame(self) -> pl.DataFrame:
        """Every record held, as a polars frame."""
        frames = [frame for log in self.logs.values() for frame in log.frames()]
        if len(frames) == 1:
            return frames[0].clone()  # the caller may change the frame that it is given
        return pl.concat(frames) if frames else pl.DataFrame(self.schema.empty_table())

    def snapshot(self) -> "Table":
        """The table as it is now: it shares the records, and grows no more."""
        found = copy(self)
        found.file, found.logs = None, {code: log.snapshot() for code, log in self.logs.items()}
        return found

    def has(self, record_id: int) -> bool:
        """Whether the record with this id is held."""
        code, sequence = split_id(record_id)
        return sequence < self.count(code)

    def rows(self, record_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The records with these ids, as dictionaries, in the order asked for."""
        parts = [split_id(record_id) for record_id in record_ids]
        return [self.logs[code].row(sequence) for code, sequence in parts]

    def column(self, name: str, record_ids: Ids) -> pl.Series:
        """A column of the records with these ids; null for one that is not held."""
        index = np.full(len(record_ids), -1, np.int64)
        parts: list[pa.Array] = []
        rows = 0
        for code, log in self.logs.items():
            sequences = _sequences(record_ids, code)
            mine = sequences < log.count
            wanted = sequences[mine]
            if len(wanted):
                first, stop = int(wanted.min()), int(wanted.max()) + 1
                parts += [batch.column(name) for batch in log.between(first, stop)]
                index[mine] = wanted.view(np.int64) + (rows - first)
                rows += stop - first
        values = pl.Series(pa.chunked_array(parts, self.schema.field(name).type))
        places = pl.Series(index)
        if len(index) and index.min() < 0:
            places = places.set(places < 0, None)
        return values.gather(places)

    def holds(self, record_ids: Ids) -> NDArray[np.bool_]:
        """Whether each of the records with these ids is held."""
        held = np.zeros(len(record_ids), np.bool_)
        for code, log in self.logs.items():
            held |= _sequences(record_ids, code) < log.count
        return held

    def records(self, record_ids: Ids) -> list[pa.RecordBatch]:
        """The records with these ids, those that are held, in the order of their ids.

        :param record_ids: ascending.
        """
        found = []
        for code, log in self.logs.items():
            wanted = _sequences(record_ids, code)
            wanted = wanted[wanted < log.count].view(np.int64)
            if not len(wanted):
                continue
            start = wanted.item(0)
            for batch in log.between(start, wanted.item(-1) + 1):
                stop = start + batch.num_rows
                first, end = np.searchsorted(wanted, (start, stop))
                if first < end:
                    found.append(batch.take(pa.array(wanted[first:end] - start)))
                start = stop
        return found

    def of_order(self, order_id: int) -> list[pa.RecordBatch]:
        """The records of one order, found by looking through all."""
        found = []
        for log in self.logs.values():
            for batch in log.batches():
                rows = np.flatnonzero(batch["order_id"].to_numpy() == order_id)
                if len(rows):
                    found.append(batch.take(pa.array(rows)))
        return found

    def new_log(self, code: int) -> Log:
        """An empty log of the origin with this 16-bit code."""
        return Log(code, self.schema)

    def load(self) -> None:
        """Take in what the file held when it was opened."""
        for batch in self.file.stored() if self.file else ():
            code, _ = split_id(batch.column(0)[0].as_py())
            log = self.logs.get(code) or self.new_log(code)
            log.append(batch)
            self._keep(log)
            self.last_received = max(self.last_received, batch.column(-1)[-1].value)

    def read(self, code: int, start: int, rows: int) -> pa.RecordBatch:
        """So many records of an origin (its 16-bit code), from a position on."""
        return self.logs[code].since(start, rows)

    def count(self, code: int) -> int:
        """How many records of the origin with this 16-bit code are held."""
        log = self.logs.get(code)
        return log.count if log else 0

    def stamp(self, batch: pa.RecordBatch, now: int) -> pa.RecordBatch:
        """Records as they are held when they are received at a time, in ns since 1970."""
        self.last_received = max(self.last_received, now)
        return stamped(batch, self.last_received)

    def write(self, batches: list[pa.RecordBatch]) -> None:
        """Write stamped records of one's own to the file; durable on return, not held yet."""
        if self.file:
            self.file.commit(batches)

    def is_written(self, batches: list[pa.RecordBatch]) -> bool:
        """Whether records of one's own stand in the file, after a write that was interrupted."""
        return self.file is not None and all(map(self.file.holds, batches))

    def take(self, batches: list[pa.RecordBatch]) -> None:
        """Make stamped records that are written part of the table; safe to repeat.

        :raises GapError: they do not follow on; they are written, and opening again helps.
        """
        for batch in batches:
            code, start = split_id(batch.column(0)[0].as_py())
            log = self.logs.get(code) or self.new_log(code)
            if start + batch.num_rows <= log.count:
                continue
            if start != log.count:
                raise GapError(
                    f"{format_id(make_id(code, start))} does not follow on: {log.count} held",
                    outcome=Outcome.HAPPENED,
                )
            log.append(batch)
            self._keep(log)
        self._let_go()

    def apply(self, batch: pa.RecordBatch, now: int) -> int:
        """Take in a run of records of one origin; gives how many were new.

        What is known is dropped; a gap is refused; so applying is safe to repeat.

        :param now: when they are received, in ns since 1970.
        :raises ReadOnlyError: the records' origin is of a kind that may not write this dataset.
        :raises GapError: records before these are missing.
        :raises SchemaError: another schema, another origin, or ids that are not consecutive.
        """
        if not batch.num_rows:
            return 0
        code, _ = split_id(batch.column(0)[0].as_py())
        log = self.logs.get(code)
        if log is None:
            if origin(code).kind is not WRITER[self.dataset]:
                raise ReadOnlyError(
                    f"{self.owner.system} refused {self.dataset} records of {origin(code)}: "
                    f"only {CALLED[WRITER[self.dataset]]} may write them"
                )
            log = self.new_log(code)
        new = log.check(self.stamp(batch, now))
        if new is None:
            return 0
        if self.file:
            self.file.append(new)
        log.append(new)
        self._keep(log)
        self._let_go()
        return new.num_rows

    def _let_go(self) -> None:
        """Hold records as they stand in the file, once they are many: they take no memory there."""
        for code, batches in self.file.grown().items() if self.file else ():
            self.logs[code].replace(batches)

    def _keep(self, log: Log) -> None:
        """Have a log among those held, in a dictionary of its own: others may be reading this."""
        if log.code not in self.logs:
            self.logs = dict(sorted({**self.logs, log.code: log}.items()))


Tables = Mapping[str, Table]
"""The datasets of a system, by name."""


def _sequences(record_ids: Ids, code: int) -> Ids:
    """The sequence of each id of an origin; more than any log holds of one of another."""
    return record_ids - np.uint64(make_id(code, 0))
