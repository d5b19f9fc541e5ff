"""The balances of each pair of account and asset.

Only the loops of :mod:`tradesys.status.kept.loops` write amounts and last trades.
"""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records.arrow import Ints
from tradesys.records.schemas import CLEARING, CURRENCY, FEES
from tradesys.status.kept.codes import Numbered, codes_of
from tradesys.status.kept.columns import BALANCE, with_room

KNOWN_ACCOUNTS = (CLEARING, FEES)
"""Accounts whose numbers the loops know."""


class Accounts:
    """A pair for each account and asset, given out on first sight, and its balances."""

    def __init__(self) -> None:
        self.accounts, self.assets = Numbered(KNOWN_ACCOUNTS), Numbered()
        self.names: list[tuple[str, str]] = []
        """The account and the asset of each pair."""
        self._pairs: dict[int, int] = {}
        self.balances, self.last_trades = np.zeros(64, BALANCE), np.zeros(64, np.int64)

    def pairs_of(self, accounts: pa.StringArray, assets: pa.StringArray) -> Ints:
        """The pair of each row, given out now to those that have none."""
        keys = codes_of(accounts, self.accounts.number) << 32
        return codes_of(pa.array(keys | codes_of(assets, self.assets.number)), self._give)

    def _give(self, key: int) -> int:
        """The pair of an account and an asset, whose numbers are one number."""
        if key in self._pairs:
            return self._pairs[key]
        account, asset = key >> 32, key & 0xFFFFFFFF
        currency = self.assets.number(CURRENCY)
        cash = None if asset == currency else self._give(account << 32 | currency)
        pair = self._pairs[key] = len(self.names)
        self.names.append((self.accounts.texts[account], self.assets.texts[asset]))
        self.balances = with_room(self.balances, pair + 1)
        self.last_trades = with_room(self.last_trades, len(self.assets.texts))
        balance = self.balances[pair]
        balance["account"], balance["asset"] = account, asset
        balance["cash"] = pair if cash is None else cash
        return pair

    def find(self, account: str, asset: str) -> int:
        """The pair of an account's asset; -1 if it has none."""
        key = self.accounts.find(account) << 32 | self.assets.find(asset)
        return self._pairs.get(key, -1)

    def names_of(self, pairs: NDArray[Any]) -> tuple[pl.Series, pl.Series]:
        """The account and the asset of each pair."""
        return (
            self.accounts.column.gather(self.balances["account"][pairs]),
            self.assets.column.gather(self.balances["asset"][pairs]),
        )
