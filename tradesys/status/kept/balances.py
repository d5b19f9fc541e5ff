"""Accounts and assets: a number for each word, a pair for each two, and the balances of each pair.

Only the loops of :mod:`tradesys.status.kept.loops` write balances and prices.
"""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records.arrow import Ints
from tradesys.records.schemas import CLEARING, CURRENCY, FEES
from tradesys.status.kept import loops
from tradesys.status.kept.memory import BALANCE, PLACE, PRICE
from tradesys.status.kept.slots import with_room
from tradesys.status.kept.words import Words

KNOWN_ACCOUNTS = (CLEARING, FEES)
"""Accounts whose numbers the loops know."""


class Accounts:
    """A pair for each account and asset, given out on first sight, and its balances."""

    def __init__(self) -> None:
        self.accounts, self.assets = Words(KNOWN_ACCOUNTS, more=True), Words(more=True)
        self.keys: list[int] = []
        self.names: list[tuple[str, str]] = []
        """The account and the asset of each pair."""
        self._places(64)
        self.balances = np.zeros(1, BALANCE)
        self.prices = np.zeros(1, PRICE)

    def keys_of(self, accounts: pa.StringArray, assets: pa.StringArray) -> Ints:
        """Account and asset of each row as one number."""
        high, low = self.accounts.few(accounts), self.assets.few(assets)
        if high is not None and low is not None:
            return np.array([h << 32 | n for h, n in zip(high, low, strict=True)], np.int64)
        return self.accounts.numbers(accounts) << 32 | self.assets.numbers(assets)

    def give(self, key: int) -> int:
        """The pair of an account and asset, by key, given out now if it has none."""
        pair = loops.pair_of(self.places, key)
        if pair >= 0:
            return pair
        cash_key = key >> 32 << 32 | self.assets.number(CURRENCY)
        cash = len(self.keys) if key == cash_key else self.give(cash_key)
        pair = len(self.keys)
        self.keys.append(key)
        self.names.append((self.accounts.words[key >> 32], self.assets.words[key & 0xFFFFFFFF]))
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
