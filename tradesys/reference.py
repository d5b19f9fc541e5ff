"""Accounts and instruments as the firm last described them: what an order is checked against."""

from typing import NamedTuple

import pyarrow as pa


class Instrument(NamedTuple):
    """The latest record of a symbol: ``tick_size`` in price units, ``lot_size`` in shares."""

    tick_size: int
    lot_size: int
    security_status: str


UNKNOWN = Instrument(tick_size=1, lot_size=1, security_status="")
"""Stands for a symbol that the firm has not described."""


class Reference:
    """The latest record of each account and each instrument; later records supersede."""

    def __init__(self) -> None:
        self.accounts: dict[str, str] = {}
        self.instruments: dict[str, Instrument] = {}

    def apply(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Take in records of ``accounts`` or ``instruments``."""
        columns = {name: batch[name].to_pylist() for name in batch.schema.names[2:]}
        if dataset == "accounts":
            self.accounts |= dict(zip(columns["account"], columns["account_status"], strict=True))
        else:
            rows = zip(*(columns[name] for name in Instrument._fields), strict=True)
            described = [Instrument(*row) for row in rows]
            self.instruments |= dict(zip(columns["symbol"], described, strict=True))
