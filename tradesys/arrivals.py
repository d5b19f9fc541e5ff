"""When records arrived at a system, run by run: what it knew at a time is a prefix of this."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tradesys.framing import NO_HEAD
from tradesys.records import split_id
from tradesys.slots import Columns

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
    batch: pa.RecordBatch, received_at: int, head: bytes = NO_HEAD, origin_head: bytes = NO_HEAD
) -> Arrival:
    """The run of records that a batch is."""
    code, start = split_id(batch.column(0)[0].as_py())
    return Arrival(received_at, code, start, batch.num_rows, head, origin_head)


class Arrivals:
    """The runs received so far, in the order they were received."""

    def __init__(self) -> None:
        self.count = 0
        self._table = Columns(received_at=np.int64, code=np.uint16, start=np.int64, rows=np.int64)
        self._heads = bytearray()
        self._origin_heads = bytearray()
        self._noted: list[Arrival] = []

    def append(self, arrival: Arrival) -> None:
        """Note a run. It goes into the columns, with others, when somebody reads them."""
        self._noted.append(arrival)
        self.count += 1

    @property
    def _columns(self) -> Columns:
        self._settle()
        return self._table

    def _settle(self) -> None:
        if self._noted:
            noted, self._noted = self._noted, []
            numbers = np.array([arrival[:4] for arrival in noted], np.int64)
            columns, at = self._table, slice(self.count - len(noted), self.count)
            columns.reserve(self.count)
            for column, name in enumerate(("received_at", "code", "start", "rows")):
                getattr(columns, name)[at] = numbers[:, column]
            self._heads += b"".join([arrival.head for arrival in noted])
            self._origin_heads += b"".join([arrival.origin_head for arrival in noted])

    def __iter__(self) -> Iterator[Arrival]:
        return (self[index] for index in range(self.count))

    def __getitem__(self, index: int) -> Arrival:
        columns, at = self._columns, slice(32 * index, 32 * index + 32)
        return Arrival(
            columns.received_at.item(index),
            columns.code.item(index),
            columns.start.item(index),
            columns.rows.item(index),
            bytes(self._heads[at]),
            bytes(self._origin_heads[at]),
        )

    def known_at(self, time_ns: int) -> dict[int, int]:
        """The positions that were reached at a time: how many records of each origin's code."""
        received = self._columns.received_at[: self.count]
        count = int(np.searchsorted(np.maximum.accumulate(received), time_ns, side="right"))
        known: Counter[int] = Counter()
        codes, rows = self._columns.code[:count], self._columns.rows[:count]
        for code in np.unique(codes).tolist():
            known[code] = int(rows[codes == code].sum())
        return dict(known)

    def runs(self, start: int) -> dict[int, tuple[int, int]]:
        """What arrived from run number ``start`` on: by origin's code, from where and how many."""
        found: dict[int, tuple[int, int]] = {}
        at = slice(start, self.count)
        codes, starts, rows = (getattr(self._columns, n)[at] for n in ("code", "start", "rows"))
        for code in np.unique(codes).tolist():
            of_code = codes == code
            found[code] = int(starts[of_code].min()), int(rows[of_code].sum())
        return found

    def heads(self) -> bytes:
        """The digests that the holder's file has reached, run by run, 32 bytes each."""
        self._settle()
        return bytes(self._heads)

    def batch(self, start: int) -> pa.RecordBatch:
        """The runs from number ``start`` on, as :data:`SCHEMA`."""
        columns, at = self._columns, slice(start, self.count)
        heads = (
            pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(32), self.count - start, [None, pa.py_buffer(bytes(h[32 * start :]))]
            )
            for h in (self._heads, self._origin_heads)
        )
        numbers = (columns.received_at, columns.code, columns.start, columns.rows)
        arrays = [pa.array(column[at]) for column in numbers]
        return pa.RecordBatch.from_arrays([*arrays, *heads], schema=SCHEMA)

    def extend(self, batch: pa.RecordBatch) -> None:
        """Note the runs of a batch of :data:`SCHEMA`."""
        at, columns = self.count, self._columns
        self.count += batch.num_rows
        columns.reserve(self.count)
        for name in ("received_at", "code", "start", "rows"):
            getattr(columns, name)[at : self.count] = batch[name].to_numpy()
        for name, heads in (("head", self._heads), ("origin_head", self._origin_heads)):
            column = batch[name]
            first = 32 * column.offset
            heads.extend(memoryview(column.buffers()[1])[first : first + 32 * len(column)])
