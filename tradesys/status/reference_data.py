"""Accounts and instruments as the firm last described them: what an order is checked against."""

from itertools import islice

import numpy as np
import pyarrow as pa

from tradesys.records import argument_checks as given
from tradesys.records.schemas import AccountStatus, InstrumentStatus
from tradesys.status.incremental.columns import with_room

TICK_SIZE, LOT_SIZE, QTY_SCALE, SECURITY_STATUS, LAST_PX = range(5)
"""The columns of an instrument, as whole numbers."""

ACTIVE, CLOSED, HALTED = 1, 2, 2
"""The status of an account, and of an instrument."""

_STATUS: dict[str, int] = {
    AccountStatus.ACTIVE: ACTIVE,
    AccountStatus.CLOSED: CLOSED,
    InstrumentStatus.HALTED: HALTED,
}


class Reference:
    """The latest record of each account and each instrument; later records supersede.

    ``accounts`` and ``symbols`` number them. ``account_status`` and ``instruments`` (tick size,
    lot size, scale of quantities, status, last price) are int64, by that number, as the rules of
    order entry take them.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, int] = {}
        self.symbols: dict[str, int] = {}
        self.account_status = np.zeros(1, np.int64)
        self.instruments = np.ones((1, 5), np.int64)

    def nearest(self, field: str, value: object) -> str:
        """Which account or symbol was meant, as the end of a message; nothing if none is near."""
        known = {"account": self.accounts, "symbol": self.symbols}
        return given.nearest(value, known.get(field, ()))

    def symbol(self, code: int) -> str:
        """The symbol of a number."""
        return next(islice(self.symbols, code, None))

    def apply(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Take in records of ``accounts`` or ``instruments``."""
        columns = {name: batch[name].to_pylist() for name in batch.schema.names[2:]}
        if dataset == "accounts":
            codes = [self.accounts.setdefault(a, len(self.accounts)) for a in columns["account"]]
            self.account_status = with_room(self.account_status, len(self.accounts))
            self.account_status[codes] = [_STATUS[s] for s in columns["account_status"]]
            return
        codes = [self.symbols.setdefault(s, len(self.symbols)) for s in columns["symbol"]]
        self.instruments = with_room(self.instruments, len(self.symbols))
        status = [_STATUS[s] for s in columns["security_status"]]
        sizes = (columns[name] for name in ("tick_size", "lot_size", "qty_scale"))
        self.instruments[codes, :LAST_PX] = list(zip(*sizes, status, strict=True))
