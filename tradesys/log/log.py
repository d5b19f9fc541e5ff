"""An append-only log in memory: the records of one origin in one dataset, in sequence, no gap."""

from bisect import bisect_right
from collections.abc import Iterator
from threading import RLock
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from tradesys.records.arrow import rows_of
from tradesys.records.errors import GapError, SchemaError
from tradesys.records.schemas import format_id, split_id

_MERGE_FACTOR = 16
_MANY = 256  # middling chunks that whoever reads everything would notice
_TINY = 2  # a chunk below this level, of 256 rows, is merged as it comes
_FEW = 256  # so many records that a reader gets together stay so
_SHORT = 64  # a run of so many ids is known faster by Python
_SMALL = 3  # a chunk below this one, of 4,096 rows, is merged when somebody reads everything


class Chunk:
    """A record batch of a log, and its polars frame once somebody has asked for it."""

    __slots__ = ("_frame", "batch", "level", "start")

    def __init__(self, start: int, batch: pa.RecordBatch) -> None:
        self.start = start
        self.batch = batch
        # How many merges of 16 rows make a chunk of this size; big chunks are never merged.
        self.level = (batch.num_rows.bit_length() - 1) // 4
        self._frame: pl.DataFrame | None = None

    def frame(self) -> pl.DataFrame:
        """The batch as a polars frame; strings are converted once, the rest is shared."""
        if self._frame is None:
            self._frame = pl.DataFrame(self.batch)
        return self._frame


class State(NamedTuple):
    """What a log holds: batches, and how many records. It is replaced as a whole.

    So readers need no lock, and an append that is interrupted never was.
    """

    chunks: list[Chunk]
    held: int


class Log:
    """The records of one origin in one dataset, in memory, in sequence, with no gap.

    Tiny batches are merged geometrically, since a thousand batches of one row cost a reader what a
    thousand big ones do: up to 256 rows at once, up to 4,096 when everything is read. Chunks are
    shared, never changed.
    """

    def __init__(self, code: int, schema: pa.Schema) -> None:
        self.code = code
        self.schema = schema
        self.state = State([], 0)
        self._lock = RLock()  # one thread may write while others read

    @property
    def count(self) -> int:
        """How many records there are."""
        return self.state.held

    def snapshot(self) -> "Log":
        """The log as it is now: it shares the records, and grows no more."""
        found = Log(self.code, self.schema)
        found.state = self.state
        return found

    def check(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """What of ``batch`` is not held yet; None when all of it is.

        :raises GapError: the batch does not follow on from the records held.
        :raises SchemaError: another schema, another origin, or ids that are not consecutive.
        """
        if not batch.schema.equals(self.schema):
            raise SchemaError(f"a batch has schema\n{batch.schema}\nexpected\n{self.schema}")
        if not batch.num_rows:
            return None
        ids = batch.column(0)
        first = ids[0].as_py()
        code, start = split_id(first)
        if code != self.code or not _is_run(ids, first):
            raise SchemaError(f"record ids from {format_id(first)} are not one run")
        if start > self.count:
            raise GapError(
                f"records from {format_id(first)} do not follow on: "
                f"{self.count} held, {start - self.count} missing"
            )
        known = self.count - start
        return batch.slice(known) if known < batch.num_rows else None

    def append(self, batch: pa.RecordBatch) -> None:
        """Append records of this log's schema whose ids follow on."""
        with self._lock:
            chunks, count = self.state
            self.state = State(_with(chunks, batch), count + batch.num_rows)

    def replace(self, batches: list[pa.RecordBatch]) -> None:
        """Hold the same records in these batches; nothing is done if they are not all of them."""
        chunks: list[Chunk] = []
        for batch in batches:
            chunks.append(Chunk(_end(chunks), batch))
        with self._lock:
            if _end(chunks) == self.state.held:
                self.state = State(chunks, self.state.held)

    def _all(self) -> list[Chunk]:
        """The records as batches, for somebody who reads everything."""
        with self._lock:
            chunks, count = self.state
            self.state = State(_merged(chunks, _SMALL - 1, _MANY), count)
            return self.state.chunks

    def since(self, position: int, rows: int | None = None) -> pa.RecordBatch | None:
        """The records from ``position`` on (so many at most), as one batch; None without any."""
        stop = self.count if rows is None else min(self.count, position + rows)
        if position >= stop:
            return None
        chunks = self.state.chunks
        place = _place(chunks, position)
        chunk = chunks[place]
        if chunk.start + chunk.batch.num_rows < stop:
            joined = None
            if self.count - chunk.start <= _FEW:
                # Several readers follow a log: what is put together for one stays so for all.
                with self._lock:
                    if self.state.chunks is chunks:
                        together = _joined(chunks, place)
                        joined, self.state = together[-1], State(together, self.count)
            if joined is None:
                return pa.concat_batches(list(self.between(position, stop)))
            chunk = joined
        if stop - position == chunk.batch.num_rows:
            return chunk.batch
        return chunk.batch.slice(position - chunk.start, stop - position)

    def between(self, position: int, stop: int) -> Iterator[pa.RecordBatch]:
        """The records from ``position`` up to ``stop``, as they are held; no copy is made."""
        chunks = self.state.chunks
        for chunk in chunks[_place(chunks, position) :]:
            if chunk.start >= stop:
                return
            first = max(0, position - chunk.start)
            yield chunk.batch.slice(first, stop - chunk.start - first)

    @property
    def last_ts(self) -> int:
        """The time of the last record in ns since 1970; 0 when there is none."""
        chunks = self.state.chunks
        return chunks[-1].batch.column(1)[-1].value if chunks else 0

    def received_by(self, time_ns: int) -> int:
        """How many records had been received by a time, where they say when they were."""
        chunks = self.state.chunks
        place = bisect_right(chunks, time_ns, key=lambda chunk: chunk.batch.column(-1)[0].value)
        if not place:
            return 0
        last = chunks[place - 1]
        times = last.batch.column(-1).view(pa.int64()).to_numpy()
        return last.start + int(np.searchsorted(times, time_ns, side="right"))

    def row(self, sequence: int) -> dict[str, Any]:
        """One record, as a dictionary."""
        chunks = self.state.chunks
        chunk = chunks[_place(chunks, sequence)]
        return rows_of(chunk.batch.slice(sequence - chunk.start, 1))[0]

    def value(self, sequence: int, column: str) -> Any:
        """One value of one record."""
        chunks = self.state.chunks
        chunk = chunks[_place(chunks, sequence)]
        return chunk.batch.column(column)[sequence - chunk.start].as_py()

    def batches(self, position: int = 0) -> list[pa.RecordBatch]:
        """The records from ``position`` on, as the batches they are held in; no copy is made."""
        if position >= self.count:
            return []
        chunks = self.state.chunks if position else self._all()
        place = _place(chunks, position)
        found = [chunk.batch for chunk in chunks[place:]]
        if position > chunks[place].start:
            found[0] = found[0].slice(position - chunks[place].start)
        return found

    def table(self) -> pa.Table:
        """All records, as an Arrow table; no copy is made."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def frames(self) -> list[pl.DataFrame]:
        """The records, as one polars frame for each batch they are held in."""
        return [chunk.frame() for chunk in self._all()]


def _end(chunks: list[Chunk]) -> int:
    """How many records these batches hold."""
    return chunks[-1].start + chunks[-1].batch.num_rows if chunks else 0


def _with(chunks: list[Chunk], batch: pa.RecordBatch) -> list[Chunk]:
    """The batches and one more; tiny ones are merged."""
    chunks = [*chunks, Chunk(_end(chunks), batch)]
    while (newest := chunks[-1].level) < _TINY:
        merged = _merged(chunks, newest, _MERGE_FACTOR)
        if merged is chunks:
            break
        chunks = merged
    return chunks


def _merged(chunks: list[Chunk], level: int, count: int) -> list[Chunk]:
    """The last batches up to a level as one, if they are so many."""
    first = len(chunks)
    while first and chunks[first - 1].level <= level:
        first -= 1
    return chunks if len(chunks) - first < count else _joined(chunks, first)


def _joined(chunks: list[Chunk], first: int) -> list[Chunk]:
    """The batches, those from a place on as one."""
    merged = pa.concat_batches([chunk.batch for chunk in chunks[first:]])
    return [*chunks[:first], Chunk(chunks[first].start, merged)]


def _place(chunks: list[Chunk], sequence: int) -> int:
    """Which of the chunks holds the record of a sequence."""
    return bisect_right(chunks, sequence, key=lambda chunk: chunk.start) - 1


def _is_run(ids: pa.UInt64Array, first: int) -> bool:
    """Whether each id follows on from the one before it."""
    if len(ids) <= _SHORT:
        return bool(ids.to_pylist() == [*range(first, first + len(ids))])
    numbers = ids.to_numpy()
    return bool((numbers[1:] - numbers[:-1] == 1).all())
