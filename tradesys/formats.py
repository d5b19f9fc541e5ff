"""What the files held before today's format, and how it is read as what they hold today.

Today's schemas stand in :mod:`tradesys.records`; a schema that was another in an earlier format
stands here, under the format that last had it. A record keeps saying what it said.
"""

import pyarrow as pa

from tradesys.records import EXECUTIONS, REPORTS, REQUESTS

FORMAT = 3
"""The format of the files that this package writes. It reads those from :data:`OLDEST` on too."""

OLDEST = 2


def _before_3(schema: pa.Schema) -> pa.Schema:
    """Every request had a name (its record id, where the customer gave none); none expired."""
    named = schema.field("cl_ord_id").with_nullable(nullable=False)
    at = schema.get_field_index("cl_ord_id")
    return schema.set(at, named).remove(schema.get_field_index("expire_time"))


_LAST_HAD = {2: {today: _before_3(today) for today in (REQUESTS, EXECUTIONS, REPORTS)}}


def schema_in(version: int, schema: pa.Schema) -> pa.Schema:
    """What a schema of today was in a format of before."""
    later = (_LAST_HAD[v][schema] for v in range(version, FORMAT) if schema in _LAST_HAD[v])
    return next(later, schema)


def upcast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch as today's schema; a column that there was not is null."""
    if batch.schema.equals(schema):
        return batch
    held = batch.schema.names
    nulls = {f.name: pa.nulls(batch.num_rows, f.type) for f in schema if f.name not in held}
    return pa.RecordBatch.from_arrays(
        [nulls[n] if n in nulls else batch[n] for n in schema.names], schema=schema
    )
