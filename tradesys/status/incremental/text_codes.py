"""Columns of texts as numbers, which the loops work on."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
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


def codes_of_rows(columns: Sequence[pa.Array], code: Callable[..., int]) -> Ints:
    """The code of each row of several columns that have no nulls, likewise."""
    if len(columns[0]) <= _ONE_BY_ONE:
        return np.array([*map(code, *(column.to_pylist() for column in columns))], np.int64)
    keys, dictionaries = np.zeros(len(columns[0]), np.int64), list[pa.Array]()
    for column in columns:
        encoded = column.dictionary_encode()
        dictionaries.append(encoded.dictionary)
        keys = keys * len(encoded.dictionary) + encoded.indices.to_numpy()
    encoded = pa.array(keys).dictionary_encode()
    keys, different = encoded.dictionary.to_numpy(), list[list[str]]()
    for dictionary in reversed(dictionaries):
        keys, places = np.divmod(keys, len(dictionary))
        different.insert(0, dictionary.take(pa.array(places)).to_pylist())
    return np.array([*map(code, *different)], np.int64)[encoded.indices.to_numpy()]


def _numbers(texts: tuple[str, ...]) -> Callable[[str], int]:
    """Gives the number of a text; any other is a ``KeyError``."""
    return {text: number for number, text in enumerate(texts)}.__getitem__


request_type, exec_type = _numbers(loops.REQUEST_TYPES), _numbers(loops.EXEC_TYPES)

TERMS = [(s, o, t) for t in loops.TIMES_IN_FORCE for o in loops.ORD_TYPES for s in loops.SIDES]
"""Side, type and time in force, in the place of the number that they are together."""
_TERMS_NUMBERS = {texts: number for number, texts in enumerate(TERMS)}
_TERMS_TEXTS = [pl.Series(texts) for texts in zip(*TERMS, strict=True)]


def terms_number(side: str, ord_type: str, time_in_force: str) -> int:
    """Side, type and time in force as one number: its digits are theirs."""
    return _TERMS_NUMBERS[side, ord_type, time_in_force]


def terms_texts(terms: NDArray[Any]) -> list[pl.Series]:
    """Side, type and time in force of terms that stand as one number."""
    return [texts.gather(terms) for texts in _TERMS_TEXTS]
