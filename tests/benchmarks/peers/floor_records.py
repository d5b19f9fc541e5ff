"""The records that the floor writes, as batches of all columns that ours have."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tests.benchmarks.peers.dictionaries import EXEC_TYPE
from tradesys.records.schemas import CLEARING, CURRENCY, EXECUTIONS, POSTINGS, held

Ints = NDArray[np.int64]


def answers_to(requests: pa.RecordBatch) -> pa.RecordBatch:
    """Executions that accept requests; their ids are still to come."""
    kinds = requests["request_type"].dictionary_encode()
    told = pa.array([EXEC_TYPE[k] for k in kinds.dictionary.to_pylist()], pa.utf8())
    return batch_of(
        EXECUTIONS,
        len(requests),
        requests,
        transact_time=requests["ts"],
        request_id=requests["record_id"],
        exec_type=told.take(kinds.indices),
    )


def legs_of(
    ids: Ints,
    exec_ids: Ints,
    account: pa.Array,
    symbol: pa.Array,
    shares: Ints,
    cash: Ints,
    settle_day: int,
) -> pa.RecordBatch:
    """Four postings of each trade."""
    n = len(shares)
    each, firm = np.arange(n), np.full(n, n)
    owners = pa.concat_arrays([account, pa.array([CLEARING])])
    assets = pa.concat_arrays([symbol, pa.array([CURRENCY])])
    return batch_of(
        POSTINGS,
        4 * n,
        record_id=ids,
        ts=now(),
        exec_id=np.repeat(exec_ids, 4),
        account=owners.take(interleaved([each, firm, each, firm])),
        asset=assets.take(interleaved([each, each, firm, firm])),
        amount=interleaved([shares, -shares, cash, -cash]),
        settle_date=pa.repeat(pa.scalar(settle_day, pa.date32()), 4 * n),
    )


def keys_of(accounts: pa.Array, names: pa.Array) -> list[str]:
    """Names of orders; the same name of two accounts is two."""
    return pc.binary_join_element_wise(accounts, names, pa.scalar(" ", names.type)).to_pylist()


def interleaved(columns: Sequence[Ints]) -> pa.Array:
    return pa.array(np.stack(columns, axis=1).ravel())


def now() -> pa.Scalar:
    return pa.scalar(time.time_ns(), pa.timestamp("ns", "UTC"))


def batch_of(
    schema: pa.Schema, count: int, of: pa.RecordBatch | None = None, **columns: Any
) -> pa.RecordBatch:
    """A batch of these columns, of those of another batch, and else of zeros or nulls."""
    known = dict(zip(of.schema.names, of.columns, strict=True)) if of else {}
    columns = {"received_at": now()} | columns
    arrays = [
        _column(field, count, columns.get(field.name, known.get(field.name)))
        for field in held(schema)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=held(schema))


def _column(field: pa.Field, count: int, value: Any) -> pa.Array:
    """A column of these values, of one, or of none."""
    if value is None and not field.nullable:
        value = {pa.utf8(): "", pa.bool_(): False}.get(field.type, 0)
    if value is None or isinstance(value, str | int | pa.Scalar):
        one = value if isinstance(value, pa.Scalar) else pa.scalar(value, field.type)
        return pa.repeat(one, count)
    return pa.array(value, field.type) if isinstance(value, np.ndarray) else value.cast(field.type)
