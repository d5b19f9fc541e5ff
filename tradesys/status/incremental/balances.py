"""The balances of each pair of account and asset.

Only the loops of :mod:`tradesys.status.incremental.loops` write amounts and last trades.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tradesys.records.schemas import CURRENCY, FIRMS_OWN
from tradesys.status.incremental.columns import BALANCE, with_room

OWNERS = {account: number for number, account in enumerate(FIRMS_OWN, start=1)}
"""The firm's own accounts, as the loops know them; every other is a customer's."""


class Accounts:
    """A pair for each account and asset, given out on first sight, and its balances."""

    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []
        """The account and the asset of each pair."""
        self.assets: dict[str, int] = {}
        self.balances, self.last_trades = np.zeros(64, BALANCE), np.zeros(64, np.int64)
        self._pairs: dict[tuple[str, str], int] = {}
        self._texts = pl.DataFrame(schema={"account": pl.String, "asset": pl.String})

    def pair(self, account: str, asset: str) -> int:
        """The pair of an account and asset, given out now if it has none."""
        pair = self._pairs.get((account, asset))
        if pair is None:
            cash = None if asset == CURRENCY else self.pair(account, CURRENCY)
            pair = self._pairs[account, asset] = len(self.names)
            self.names.append((account, asset))
            self.balances = with_room(self.balances, len(self.names))
            balance = self.balances[pair]
            balance["cash"], balance["owner"] = (
                pair if cash is None else cash,
                OWNERS.get(account, 0),
            )
            balance["asset"] = self.assets.setdefault(asset, len(self.assets))
            self.last_trades = with_room(self.last_trades, len(self.assets))
        return pair

    def find(self, account: str, asset: str) -> int:
        """The pair of an account's asset; -1 if it has none."""
        return self._pairs.get((account, asset), -1)

    def names_of(self, pairs: NDArray[Any]) -> tuple[pl.Series, pl.Series]:
        """The account and the asset of each pair."""
        further = self.names[len(self._texts) :]
        if further:
            self._texts.extend(pl.DataFrame(further, self._texts.schema, orient="row"))
        account, asset = (texts.gather(pairs) for texts in self._texts)
        return account, asset
