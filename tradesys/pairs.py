"""A slot for each account and asset, and the balances kept there: a part of the views' memory."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records import CURRENCY
from tradesys.slots import Columns

Ints = NDArray[np.int64]

_SMALL = 32


class Numbers:
    """A number for each word, from 0, given out on first sight."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, word: str) -> int:
        """The number of one word."""
        return self._numbers.setdefault(word, len(self._numbers))

    def codes(self, words: pa.StringArray) -> Ints:
        """The number of each element of a column."""
        encoded = words.dictionary_encode()
        numbers = [self.number(word) for word in encoded.dictionary.to_pylist()]
        return np.array(numbers, np.int64)[encoded.indices.to_numpy()]


class Pairs:
    """A slot for each (account, asset), and its balances: int64, in shares or 1/10,000 of cash."""

    def __init__(self) -> None:
        self.accounts: list[str] = []
        self.assets: list[str] = []
        self._slots: dict[tuple[str, str], int] = {}
        self._accounts, self._assets = Numbers(), Numbers()
        self._keys = np.full(1, -1, np.int64)
        self._slots_by_key = np.zeros(1, np.int64)
        self.balances = Columns(
            booked=np.int64,
            uncleared=np.int64,
            reserved=np.int64,
            cash_pair=np.int32,
            moved=np.bool_,
        )

    @property
    def count(self) -> int:
        """How many slots are given out."""
        return len(self.accounts)

    def find(self, account: str, asset: str) -> int:
        """The slot of an account's asset; -1 if it was never seen."""
        return self._slots.get((account, asset), -1)

    def of(self, accounts: pa.StringArray, assets: pa.StringArray) -> Ints:
        """The slot of each row's account and asset, given out on first sight."""
        if len(accounts) < _SMALL:
            rows = zip(accounts.to_pylist(), assets.to_pylist(), strict=True)
            return np.array([self._slot(*row) for row in rows], np.int64)
        keys = self._accounts.codes(accounts) << 32 | self._assets.codes(assets)
        at = np.searchsorted(self._keys, keys)
        found = self._keys[np.minimum(at, len(self._keys) - 1)] == keys
        if not found.all():
            missing = np.flatnonzero(~found)
            for row in missing[np.unique(keys[missing], return_index=True)[1]].tolist():
                self._slot(accounts[row].as_py(), assets[row].as_py())
            self._sort_keys()
            at = np.searchsorted(self._keys, keys)
        return self._slots_by_key[at]

    def _sort_keys(self) -> None:
        """Order the slots by the numbers of their account and asset, for look-ups of many."""
        accounts, assets = self._accounts.number, self._assets.number
        pairs = zip(self.accounts, self.assets, strict=True)
        keys = np.array([accounts(a) << 32 | assets(b) for a, b in pairs], np.int64)
        self._slots_by_key = np.argsort(keys)
        self._keys = keys[self._slots_by_key]

    def _slot(self, account: str, asset: str) -> int:
        slot = self._slots.get((account, asset))
        if slot is None:
            cash = len(self.accounts) if asset == CURRENCY else self._slot(account, CURRENCY)
            slot = self._slots[account, asset] = len(self.accounts)
            self.accounts.append(account)
            self.assets.append(asset)
            self.balances.reserve(slot + 1)
            self.balances.cash_pair[slot] = cash
        return slot
