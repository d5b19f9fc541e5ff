"""Accounts and instruments as the firm last described them: what an order is checked against."""

from typing import NamedTuple

import polars as pl
import pyarrow as pa


class Instrument(NamedTuple):
    """The latest record of a symbol: ``tick_size`` in price units, ``lot_size`` in shares."""

    tick_size: int
    lot_size: int
    security_status: str


class Reference:
    """The latest record of each account and each instrument; later records supersede."""

    def __init__(self) -> None:
        self.accounts: dict[str, str] = {}
        self.instruments: dict[str, Instrument] = {}
        self._frames: tuple[pl.DataFrame, pl.DataFrame] | None = None

    def apply(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Take in records of ``accounts`` or ``instruments``."""
        columns = {name: batch[name].to_pylist() for name in batch.schema.names[2:]}
        if dataset == "accounts":
            self.accounts |= dict(zip(columns["account"], columns["account_status"], strict=True))
        else:
            rows = zip(columns["tick_size"], columns["lot_size"], columns["security_status"], strict=True)
            described = [Instrument(*row) for row in rows]
            self.instruments |= dict(zip(columns["symbol"], described, strict=True))
        self._frames = None

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """``(account, account_status)`` and ``(symbol, tick_size, lot_size, security_status)``."""
        if self._frames is None:
            accounts = {"account": self.accounts.keys(), "account_status": self.accounts.values()}
            rows = [(symbol, *i) for symbol, i in self.instruments.items()]
            names = ("symbol", *Instrument._fields)
            types = (pl.String, pl.Int64, pl.Int64, pl.String)
            schema = dict(zip(names, types, strict=True))
            text = {"account": pl.String, "account_status": pl.String}
            self._frames = (
                pl.DataFrame({k: list(v) for k, v in accounts.items()}, schema=text),
                pl.DataFrame(rows, schema=schema, orient="row"),
            )
        return self._frames
