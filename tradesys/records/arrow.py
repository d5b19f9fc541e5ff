"""The few Arrow operations that several rooms need, and columns as arrays of numpy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records.schemas import RECEIVED_AT

Ints = NDArray[np.int64]
Ids = NDArray[np.uint64]


def batch_of(schema: pa.Schema, rows: list[tuple[object, ...]]) -> pa.RecordBatch:
    """A record batch from Python rows: the cheapest way there is for one row."""
    return pa.RecordBatch.from_struct_array(pa.array(rows, pa.struct(list(schema))))


def numbered(
    schema: pa.Schema, first_id: int, now: int, columns: Mapping[str, pa.Array]
) -> pa.RecordBatch:
    """Records of a time in ns, with ids from ``first_id`` on, from all their other columns."""
    count = len(next(iter(columns.values())))
    made = {
        "record_id": pa.array(np.arange(first_id, first_id + count, dtype=np.uint64)),
        "ts": pa.repeat(pa.scalar(now, pa.timestamp("ns", "UTC")), count),
        **columns,
    }
    return pa.RecordBatch.from_arrays([made[name] for name in schema.names], schema=schema)


def as_written(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Records that a system holds, without when it received them; nothing is copied."""
    return batch.remove_column(batch.num_columns - 1)


def stamped(batch: pa.RecordBatch, received_at: int) -> pa.RecordBatch:
    """Records with the time in ns at which a system received them; the rest is shared."""
    time = pa.scalar(received_at, RECEIVED_AT.type)
    return batch.append_column(RECEIVED_AT, pa.repeat(time, batch.num_rows))


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows as dictionaries; times as int64 ns since 1970, which Python's own cannot hold."""
    fields = batch.schema
    columns = [
        (c.view(pa.int64()) if pa.types.is_timestamp(f.type) else c).to_pylist()
        for f, c in zip(fields, batch.columns, strict=True)
    ]
    return [dict(zip(fields.names, row, strict=True)) for row in zip(*columns, strict=True)]


def picked(batch: pa.RecordBatch, rows: NDArray[np.bool_]) -> pa.RecordBatch:
    """The rows that are true; where they follow each other, no copy is made."""
    places = np.flatnonzero(rows)
    first, count = (places.item(0), len(places)) if len(places) else (0, 0)
    if not count or places.item(-1) == first + count - 1:
        return batch if count == batch.num_rows else batch.slice(first, count)
    return batch.filter(pa.array(rows))


def first_of_each(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether each value stands there for the first time."""
    first = np.zeros(len(values), np.bool_)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def with_columns(batch: pa.RecordBatch, **columns: pa.Array) -> pa.RecordBatch:
    """The batch with some of its columns replaced; the others are shared."""
    arrays = [columns.get(name, batch[name]) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
