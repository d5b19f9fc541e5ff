"""Accounts and assets: a number for each word, a pair for each two, and the balances of each pair.

Only the loops of :mod:`tradesys.loops` write balances and prices.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys import loops
from tradesys.memory import BALANCE, PLACE, PRICE, Ints
from tradesys.records import CURRENCY
from tradesys.slots import with_room

_FEW = 16
"""So many words are looked up one by one faster than Arrow finds the different ones."""


def codes_of(words: pa.StringArray, code: Callable[[str], int]) -> Ints:
    """The code of each word of a column."""
    if len(words) <= _FEW:
        return np.array([code(word) for word in words.to_pylist()], np.int64)
    encoded = words.dictionary_encode()
    codes = np.array([code(word) for word in encoded.dictionary.to_pylist()], np.int64)
    return codes[encoded.indices.to_numpy()]


class Words:
    """A number for each word, from 0, given out on first sight."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._numbers: dict[str, int] = {}
        self._column = pl.Series(dtype=pl.String)

    @property
    def column(self) -> pl.Series:
        """The words, each in the place of its number."""
        if len(self._column) < len(self.words):
            self._column = pl.Series(self.words, dtype=pl.String)
        return self._column

    def number(self, word: str) -> int:
        """The number of a word."""
        number = self._numbers.get(word)
        if number is None:
            number = self._numbers[word] = len(self.words)
            self.words.append(word)
        return number

    def find(self, word: str) -> int:
        """The number of a word; -1 if it was never seen."""
        return self._numbers.get(word, -1)


class Accounts:
    """A pair for each account and asset, given out on first sight, and its balances."""

    def __init__(self) -> None:
        self.accounts, self.assets = Words(), Words()
        self.keys: list[int] = []
        self._places(64)
        self.balances = np.zeros(1, BALANCE)
        self.prices = np.zeros(1, PRICE)

    def keys_of(self, accounts: pa.StringArray, assets: pa.StringArray) -> Ints:
        """Account and asset of each row as one number."""
        high = codes_of(accounts, self.accounts.number)
        return high << 32 | codes_of(assets, self.assets.number)

    def give(self, key: int) -> int:
        """The pair of an account and asset, by key, given out now if it has none."""
        pair = loops.pair_of(self.places, key)
        if pair >= 0:
            return pair
        cash_key = key >> 32 << 32 | self.assets.number(CURRENCY)
        cash = len(self.keys) if key == cash_key else self.give(cash_key)
        pair = len(self.keys)
        self.keys.append(key)
        if 2 * len(self.keys) > len(self.places):  # half of them stay free: looking is short
            self._places(4 * len(self.places))
        else:
            self.places[loops.place_of(self.places, key)] = key, pair
        self.balances = with_room(self.balances, pair + 1)
        self.prices = with_room(self.prices, len(self.assets.words))
        balance = self.balances[pair]
        balance["account"], balance["asset"], balance["cash"] = key >> 32, key & 0xFFFFFFFF, cash
        return pair

    def find(self, account: str, asset: str) -> int:
        """The pair of an account's asset; -1 if it has none."""
        numbers = self.accounts.find(account), self.assets.find(asset)
        return -1 if -1 in numbers else loops.pair_of(self.places, numbers[0] << 32 | numbers[1])

    def names(self, pair: int) -> tuple[str, str]:
        """The account and the asset of a pair."""
        key = self.keys[pair]
        return self.accounts.words[key >> 32], self.assets.words[key & 0xFFFFFFFF]

    def names_of(self, pairs: NDArray[Any]) -> tuple[pl.Series, pl.Series]:
        """The account and the asset of each pair."""
        columns = (self.accounts.column, "account"), (self.assets.column, "asset")
        accounts, assets = (words.gather(self.balances[n][pairs]) for words, n in columns)
        return accounts, assets

    def _places(self, count: int) -> None:
        """A table of so many places, with every pair in its own."""
        self.places = np.zeros(count, PLACE)
        self.places["key"] = -1
        for pair, key in enumerate(self.keys):
            self.places[loops.place_of(self.places, key)] = key, pair
