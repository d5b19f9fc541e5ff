"""When records arrived at a system, run by run: what it knew at a time is a prefix of this."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.log.framing import NO_HEAD
from tradesys.log.log import Part, first_id
from tradesys.records.arrow import batch_of
from tradesys.records.schemas import SEQUENCE_BITS, split_id

SCHEMA = pa.schema(
    [
        pa.field("received_at", pa.int64(), nullable=False),
        pa.field("code", pa.uint16(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("head", pa.binary(32), nullable=False),
        pa.field("origin_head", pa.binary(32), nullable=False),
    ]
)
"""Runs as they are stored beside a compacted segment: see :class:`Arrival`."""

_FOLD = 16_384  # so many of the latest are kept as Python tuples, which are quick to add to


class Arrival(NamedTuple):
    """A run of records of one origin that was received at once.

    ``received_at`` in ns since 1970; ``code`` of the origin, ``start`` its position in the origin's
    log, ``rows`` how many. ``head`` is the digest that the holder's file had then reached,
    ``origin_head`` the one that the origin's file had (32 zero bytes: none was seen).
    """

    received_at: int
    code: int
    start: int
    rows: int
    head: bytes = NO_HEAD
    origin_head: bytes = NO_HEAD


def arrival_of(
    part: Part, received_at: int, head: bytes = NO_HEAD, origin_head: bytes = NO_HEAD
) -> Arrival:
    """The run of records that a batch is, or so many rows."""
    code, start = split_id(first_id(part))
    return Arrival(received_at, code, start, len(part), head, origin_head)


class Arrivals:
    """The runs received so far, in the order they were received.

    Those of sealed segments are batches that stay in their files until somebody looks.
    """

    def __init__(self) -> None:
        self.count = 0
        self._parts: list[pa.RecordBatch] = []
        self._latest: list[Arrival] = []

    def append(self, arrival: Arrival) -> None:
        """Note a run."""
        self._latest.append(arrival)
        self.count += 1
        if len(self._latest) == _FOLD:
            self._fold()

    def keep(self, count: int) -> None:
        """Take off what came after so many runs."""
        if count < self.count:
            parts = [batch for batch in self.table().slice(0, count).to_batches() if len(batch)]
            self._parts, self._latest, self.count = parts, [], count

    def extend(self, batch: pa.RecordBatch) -> None:
        """Note the runs of a batch of :data:`SCHEMA`."""
        self._fold()
        self._parts.append(batch)
        self.count += batch.num_rows

    def _fold(self) -> None:
        if self._latest:
            self._parts.append(batch_of(SCHEMA, [tuple(arrival) for arrival in self._latest]))
            self._latest = []

    def table(self, start: int = 0) -> pa.Table:
        """The runs from number ``start`` on, as :data:`SCHEMA`."""
        self._fold()
        return pa.Table.from_batches(self._parts, SCHEMA).slice(start)

    def __iter__(self) -> Iterator[Arrival]:
        for batch in self.table().to_batches():
            yield from map(Arrival, *(column.to_pylist() for column in batch.columns))

    @property
    def last(self) -> int:
        """When the last run came, in ns since 1970; 0 if none has."""
        if self._latest:
            return self._latest[-1].received_at
        return self._parts[-1]["received_at"][-1].as_py() if self._parts else 0

    def received_at(self, record_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """When each of these records, which were received, came: ns since 1970."""
        return np.asarray(self.table()["received_at"].to_numpy()[self.runs_of(record_ids)])

    def runs_of(self, record_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The number of the run in which each of these records, which were received, came."""
        table = self.table()
        codes, starts = (table[name].to_numpy() for name in ("code", "start"))
        firsts = codes.astype(np.uint64) << np.uint64(SEQUENCE_BITS) | starts.astype(np.uint64)
        order = np.argsort(firsts, kind="stable")
        run = np.searchsorted(firsts[order], record_ids, side="right") - 1
        return np.asarray(order[run])

    def known_at(self, time_ns: int) -> dict[int, int]:
        """The positions that were reached at a time: how many records of each origin's code."""
        table = self.table()
        received = np.maximum.accumulate(table["received_at"].to_numpy())
        count = int(np.searchsorted(received, time_ns, side="right"))
        return {code: rows for code, (_, rows) in runs(table.slice(0, count)).items()}


def follow_on(arrivals: pa.RecordBatch, counts: dict[int, int]) -> dict[int, int] | None:
    """How many records of each origin's code there are after these runs; None if they leave a gap.

    :param counts: how many there were before.
    """
    codes, starts, rows = (arrivals[name].to_numpy() for name in ("code", "start", "rows"))
    reached = dict(counts)
    for code in np.unique(codes).tolist():
        of_code = codes == code
        ends = reached.get(code, 0) + np.cumsum(rows[of_code])
        if not np.array_equal(starts[of_code], ends - rows[of_code]):
            return None
        reached[code] = int(ends[-1])
    return reached


def runs(arrivals: pa.Table) -> dict[int, tuple[int, int]]:
    """What arrived: by the origin's code, from which position on and how many records."""
    codes, starts, rows = (arrivals[name].to_numpy() for name in ("code", "start", "rows"))
    found = {}
    for code in np.unique(codes).tolist():
        of_code = codes == code
        found[code] = int(starts[of_code].min()), int(rows[of_code].sum())
    return found
