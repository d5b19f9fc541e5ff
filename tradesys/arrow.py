"""The few Arrow operations that several rooms need."""

import pyarrow as pa


def batch_of(schema: pa.Schema, rows: list[tuple[object, ...]]) -> pa.RecordBatch:
    """A record batch from Python rows: the cheapest way there is for one row."""
    return pa.RecordBatch.from_struct_array(pa.array(rows, pa.struct(list(schema))))


def with_columns(batch: pa.RecordBatch, **columns: pa.Array) -> pa.RecordBatch:
    """The batch with some of its columns replaced; the others are shared."""
    arrays = [columns.get(name, batch[name]) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)

