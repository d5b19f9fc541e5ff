"""A number for each word of a column: accounts and assets as they come, and the texts of FIX."""

from collections.abc import Callable, Iterable

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tradesys.records.arrow import Ints

_FEW = 64
"""So many words are looked up one by one faster than Arrow finds them."""


def codes_of(words: pa.StringArray, code: Callable[[str], int], null: int = 0) -> Ints:
    """The code of each word of a column, asked for once or a few times; ``null`` where none is."""
    if words.null_count == len(words):
        return np.full(len(words), null, np.int64)
    few = len(words) <= _FEW
    encoded = words if few else words.dictionary_encode("encode")
    different = (encoded if few else encoded.dictionary).to_pylist()
    codes = np.array([null if word is None else code(word) for word in different], np.int64)
    return codes if few else codes[encoded.indices.to_numpy()]


class Words:
    """A number for each word, from 0.

    :param words: those known from the beginning.
    :param more: whether others get a number on first sight; if not, one is a ``KeyError``.
    """

    def __init__(self, words: Iterable[str] = (), *, more: bool = False) -> None:
        self.words = list(words)
        self._more = more
        self._numbers = {word: number for number, word in enumerate(self.words)}
        self._known = pa.array(self.words, pa.utf8())

    @property
    def column(self) -> pl.Series:
        """The words, each in the place of its number."""
        return pl.Series(self._all())

    def number(self, word: str) -> int:
        """The number of a word."""
        number = self._numbers.get(word)
        if number is None:
            if not self._more:
                raise KeyError(word)
            number = self._numbers[word] = len(self.words)
            self.words.append(word)
        return number

    def find(self, word: str) -> int:
        """The number of a word; -1 if it was never seen."""
        return self._numbers.get(word, -1)

    def few(self, words: pa.StringArray) -> list[int] | None:
        """The number of each word, if they are few."""
        return [*map(self.number, words.to_pylist())] if len(words) <= _FEW else None

    def numbers(self, words: pa.StringArray) -> Ints:
        """The number of each word."""
        few = self.few(words)
        if few is not None:
            return np.array(few, np.int64)
        found = pc.index_in(words, value_set=self._all())
        if found.null_count:
            for word in words.filter(found.is_null()).unique().to_pylist():
                self.number(word)
            found = pc.index_in(words, value_set=self._all())
        return found.to_numpy().astype(np.int64)

    def _all(self) -> pa.StringArray:
        if len(self._known) < len(self.words):
            self._known = pa.array(self.words, pa.utf8())
        return self._known
