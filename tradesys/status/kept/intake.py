"""Records on their way into a view: the columns that matter, texts as numbers, zero for null."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records.arrow import Ints
from tradesys.records.schemas import SCHEMAS
from tradesys.status.kept import loops
from tradesys.status.kept.words import Words

REQUEST_TYPES, EXEC_TYPES = Words(loops.REQUEST_TYPES), Words(loops.EXEC_TYPES)
_SIDES, _ORD_TYPES = Words(loops.SIDES), Words(loops.ORD_TYPES)
_TIMES_IN_FORCE = Words(loops.TIMES_IN_FORCE)
ALL_TERMS = [(s, o, t) for t in loops.TIMES_IN_FORCE for o in loops.ORD_TYPES for s in loops.SIDES]
_TERMS_TEXTS = [pl.Series(texts) for texts in zip(*ALL_TERMS, strict=True)]

_TERMS = ("side", "ord_type", "time_in_force")
READ = {
    dataset: [SCHEMAS[dataset].get_field_index(name) for name in names]
    for dataset, names in {
        "requests": (
            *("record_id", "request_type", "reject_reason", "order_id", "account", "symbol"),
            *(*_TERMS, "order_qty", "price"),
        ),
        "executions": (
            *("exec_id", "exec_type", "exec_ref_id", "request_id", "order_id"),
            *("order_qty", "price", "last_qty", "last_px", "account", "symbol", *_TERMS),
        ),
        "postings": ("exec_id", "account", "asset", "amount"),
    }.items()
}
"""The columns of each dataset that matter to a view, by place."""

_YES = np.ones(16, np.bool_)


def joined(dataset: str, batches: list[pa.RecordBatch]) -> tuple[pa.RecordBatch, Sequence[int]]:
    """The batches that waited as one, and which of its columns matter."""
    places = READ[dataset]
    if len(batches) == 1:
        return batches[0], places
    return pa.concat_batches([batch.select(places) for batch in batches]), range(len(places))


def columns_of(batch: pa.RecordBatch, places: Sequence[int]) -> list[pa.Array]:
    """The columns of a batch at these places."""
    return [batch.column(place) for place in places]


def is_null(column: pa.Array) -> NDArray[np.bool_]:
    """Whether each value is null."""
    count = len(column)
    if column.null_count == count:
        return _YES[:count] if count <= len(_YES) else np.ones(count, np.bool_)
    return np.array(column.is_null().to_numpy(zero_copy_only=False))


def terms_of(side: pa.StringArray, ord_type: pa.StringArray, tif: pa.StringArray) -> Ints:
    """Side, type and time in force of each row as one number, as ``loops`` reads it."""
    sides, ord_types = _SIDES.few(side), _ORD_TYPES.few(ord_type)
    if sides is None or ord_types is None:
        return (
            _SIDES.numbers(side)
            + 2 * _ORD_TYPES.numbers(ord_type)
            + 4 * _TIMES_IN_FORCE.numbers(tif)
        )
    times = _TIMES_IN_FORCE.few(tif) or ()
    digits = zip(sides, ord_types, times, strict=True)
    return np.array([s + 2 * o + 4 * t for s, o, t in digits], np.int64)


def named(terms: NDArray[Any]) -> list[pl.Series]:
    """Side, type and time in force of terms that stand as one number."""
    return [texts.gather(terms) for texts in _TERMS_TEXTS]


def or_zero(column: pa.Array) -> NDArray[Any]:
    """The values, zero for null."""
    if not column.null_count:
        return column.to_numpy()
    if column.null_count < len(column):
        return column.fill_null(0).to_numpy()
    zeros = np.zeros(len(column), column.type.to_pandas_dtype())
    # All that loops are given from Arrow is read-only, and so of one type.
    zeros.setflags(write=False)
    return zeros
