"""The balances of each pair of account and asset.

Only the loops of :mod:`tradesys.status.kept.loops` write amounts and last trades.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tradesys.records.schemas import CLEARING, CURRENCY, FEES
from tradesys.status.kept.codes import Numbered
from tradesys.status.kept.columns import BALANCE, with_room

KNOWN_ACCOUNTS = (CLEARING, FEES)
"""Accounts whose numbers the loops know."""


class Accounts:
    """A pair for each account and asset, given out on first sight, and its balances."""

    def __init__(self) -> None:
        self.accounts, self.assets = Numbered(KNOWN_ACCOUNTS), Numbered()
        self.names: list[tuple[str, str]] = []
        """The account and the asset of each pair."""
        self._pairs: dict[tuple[str, str], int] = {}
        self.balances, self.last_trades = np.zeros(64, BALANCE), np.zeros(64, np.int64)

    def pair(self, account: str, asset: str) -> int:
        """The pair of an account and asset, given out now if it has none."""
        pair = self._pairs.get((account, asset))
        if pair is None:
            cash = None if asset == CURRENCY else self.pair(account, CURRENCY)
            pair = self._pairs[account, asset] = len(self.names)
            self.names.append((account, asset))
            numbers = self.accounts.number(account), self.assets.number(asset)
            self.balances = with_room(self.balances, len(self.names))
            self.last_trades = with_room(self.last_trades, len(self.assets))
            balance = self.balances[pair]
            balance["account"], balance["asset"] = numbers
            balance["cash"] = pair if cash is None else cash
        return pair

    def find(self, account: str, asset: str) -> int:
        """The pair of an account's asset; -1 if it has none."""
        return self._pairs.get((account, asset), -1)

    def names_of(self, pairs: NDArray[Any]) -> tuple[pl.Series, pl.Series]:
        """The account and the asset of each pair."""
        return (
            self.accounts.column.gather(self.balances["account"][pairs]),
            self.assets.column.gather(self.balances["asset"][pairs]),
        )
