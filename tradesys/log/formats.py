"""What the files held before today's format, and how it is read as what they hold today.

Today's schemas stand in :mod:`tradesys.records.schemas` and :mod:`tradesys.network.charter`; how
they were others in an earlier format stands here. A record keeps saying what it said.
"""

import pyarrow as pa

FORMAT = 3
"""The format of the files that this package writes. It reads those from :data:`OLDEST` on too."""

OLDEST = 2

FEE_FIELDS = ("fee_per_share", "fee_per_notional")
_SINCE_3 = ("expire_time", *FEE_FIELDS)


def schema_in(version: int, schema: pa.Schema) -> pa.Schema:
    """What a schema of today was in a format of before.

    Before 3 every request had a name (its record id, where the customer gave none), no order
    expired at a time, and no fill had a fee.
    """
    if version >= 3:
        return schema
    fields = [f for f in schema if f.name not in _SINCE_3]
    return pa.schema([f.with_nullable(f.name != "cl_ord_id" and f.nullable) for f in fields])


def upcast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch as today's schema; a column that there was not is null."""
    if batch.schema.equals(schema):
        return batch
    held = batch.schema.names
    nulls = {f.name: pa.nulls(batch.num_rows, f.type) for f in schema if f.name not in held}
    return pa.RecordBatch.from_arrays(
        [nulls[n] if n in nulls else batch[n] for n in schema.names], schema=schema
    )
