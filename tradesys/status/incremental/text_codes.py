"""Columns of texts as numbers, which the loops work on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records.arrow import Ints
from tradesys.status.incremental import loops

_ONE_BY_ONE = 64
"""So many values are looked up one by one faster than Arrow finds the different ones."""


def codes_of(values: pa.Array, code: Callable[[Any], int], null: int = 0) -> Ints:
    """The code of each value of a column, asked for once or a few times; ``null`` where none is."""
    if values.null_count == len(values):
        return np.full(len(values), null, np.int64)
    few = len(values) <= _ONE_BY_ONE
    encoded = values if few else values.dictionary_encode("encode")
    different = (encoded if few else encoded.dictionary).to_pylist()
    codes = np.array([null if value is None else code(value) for value in different], np.int64)
    return codes if few else codes[encoded.indices.to_numpy()]


def _numbers(texts: tuple[str, ...]) -> Callable[[str], int]:
    """Gives the number of a text; any other is a ``KeyError``."""
    return {text: number for number, text in enumerate(texts)}.__getitem__


request_type, exec_type = _numbers(loops.REQUEST_TYPES), _numbers(loops.EXEC_TYPES)
_side, _ord_type, _time_in_force = map(
    _numbers, (loops.SIDES, loops.ORD_TYPES, loops.TIMES_IN_FORCE)
)

TERMS = [(s, o, t) for t in loops.TIMES_IN_FORCE for o in loops.ORD_TYPES for s in loops.SIDES]
"""Side, type and time in force, in the place of the number that they are together."""
_TERMS_TEXTS = [pa.array(texts, pa.utf8()) for texts in zip(*TERMS, strict=True)]


def terms_of(sides: pa.Array, ord_types: pa.Array, times_in_force: pa.Array) -> Ints:
    """Side, type and time in force of each row as one number: its digits are theirs."""
    base, further = len(loops.SIDES), len(loops.ORD_TYPES)
    last = codes_of(times_in_force, _time_in_force)
    return codes_of(sides, _side) + base * (codes_of(ord_types, _ord_type) + further * last)


def terms_texts(terms: NDArray[Any]) -> list[pa.StringArray]:
    """Side, type and time in force of terms that stand as one number."""
    places = pa.array(terms)
    return [texts.take(places) for texts in _TERMS_TEXTS]
