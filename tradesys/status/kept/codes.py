"""Texts as numbers: those of FIX have fixed ones, accounts and assets get theirs as they come."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records.arrow import Ints
from tradesys.status.kept import loops

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


class Numbered:
    """A number for each text, from 0, on first sight."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts = list(texts)
        self._numbers = {text: number for number, text in enumerate(self.texts)}
        self._column = pl.Series(dtype=pl.String)

    def number(self, text: str) -> int:
        """The number of a text."""
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number

    def find(self, text: str) -> int:
        """The number of a text; -1 if it was never seen."""
        return self._numbers.get(text, -1)

    @property
    def column(self) -> pl.Series:
        """The texts, each in the place of its number."""
        if len(self._column) < len(self.texts):
            self._column = pl.Series(self.texts, dtype=pl.String)
        return self._column


def _numbers(texts: tuple[str, ...]) -> Callable[[str], int]:
    """Gives the number of a text; any other is a ``KeyError``."""
    return {text: number for number, text in enumerate(texts)}.__getitem__


request_type, exec_type = _numbers(loops.REQUEST_TYPES), _numbers(loops.EXEC_TYPES)
_side, _ord_type = _numbers(loops.SIDES), _numbers(loops.ORD_TYPES)
_time_in_force = _numbers(loops.TIMES_IN_FORCE)

TERMS = [(s, o, t) for t in loops.TIMES_IN_FORCE for o in loops.ORD_TYPES for s in loops.SIDES]
"""Side, type and time in force, in the place of the number that they are together."""
_TERMS_TEXTS = [pl.Series(texts) for texts in zip(*TERMS, strict=True)]


def terms_codes(side: pa.StringArray, ord_type: pa.StringArray, tif: pa.StringArray) -> Ints:
    """Side, type and time in force of each row as one number: its digits are theirs."""
    low = codes_of(side, _side) + 2 * codes_of(ord_type, _ord_type)
    return low + 4 * codes_of(tif, _time_in_force)


def terms_texts(terms: NDArray[Any]) -> list[pl.Series]:
    """Side, type and time in force of terms that stand as one number."""
    return [texts.gather(terms) for texts in _TERMS_TEXTS]
