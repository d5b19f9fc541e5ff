"""The firm-side system: the system of record. It describes accounts and instruments, and clears.

Clearing turns each fill into a double entry, exactly once: whether a fill is cleared is derived
from the postings, not from a marker, so it survives any crash between the two.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradesys import given
from tradesys.charter import OpeningBooks
from tradesys.clock import Clock
from tradesys.errors import InvalidValue
from tradesys.logfile import OpenFile
from tradesys.positions import CAPITAL, CLEARING
from tradesys.records import CURRENCY, POSTINGS, ExecType, Kind, Origin, Side
from tradesys.slots import first_of_each
from tradesys.systems.inquiries import Inquiries

_DAY_NS = 86_400_000_000_000


class FirmSystem(Inquiries):
    """The one firm-side system."""

    kind = Kind.FIRM

    def __init__(
        self,
        origin: Origin,
        *,
        clock: Clock,
        folder: Path | None,
        open_file: OpenFile | None = None,
    ) -> None:
        self._unseen: list[pa.RecordBatch] = []
        super().__init__(origin, clock=clock, folder=folder, open_file=open_file)

    def applied(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Keep the executions whose fills are to be cleared."""
        super().applied(dataset, batch)
        if dataset == "executions":
            self._unseen.append(batch)

    @property
    def has_work(self) -> bool:
        """Whether it holds fills that are not posted."""
        return self._uncleared() is not None

    def open_books(self, books: OpeningBooks) -> None:
        """Write what a new network begins with, as far as it is not written yet."""
        if not len(self.tables["instruments"]):
            self.list_instruments(books.symbols, tick_size=books.tick_size, lot_size=books.lot_size)
        if not len(self.tables["accounts"]):
            self._describe(books.accounts)
        if not len(self.tables["postings"]):
            self._post_opening(
                books.accounts, books.cash, dict.fromkeys(books.symbols, books.shares)
            )

    def open_accounts(
        self, accounts: Sequence[str], *, cash: int, shares: Mapping[str, int] | None = None
    ) -> None:
        """Describe accounts and post their opening balances, the other leg to the firm's capital.

        :param cash: of each account, in 1/10,000 of the currency.
        :param shares: of each symbol that each account holds.
        :raises InvalidValue: an argument is of the wrong type or out of its range.
        """
        names = given.texts("accounts", accounts, "accounts")
        given.whole("cash", cash, 0, of="1/10,000 of the currency")
        held = {} if shares is None else shares
        if not isinstance(held, Mapping):
            raise InvalidValue("shares", shares, "a number of shares for each symbol")
        for symbol, count in held.items():
            given.text("shares", symbol, "symbols as text")
            given.whole("shares", count, 0, of=f"shares of {symbol}")
        self._describe(names)
        self._post_opening(names, cash, held)

    def _describe(self, accounts: Sequence[str]) -> None:
        rows = [{"account": a, "name": a, "account_status": "active"} for a in accounts]
        self.record("accounts", rows)

    def _post_opening(self, accounts: Sequence[str], cash: int, shares: Mapping[str, int]) -> None:
        today = self._today()
        legs = [
            {
                "account": holder,
                "asset": asset,
                "amount": sign * amount,
                "exec_id": None,
                "settle_date": today,
            }
            for account in accounts
            for asset, amount in {CURRENCY: cash, **shares}.items()
            for holder, sign in ((account, 1), (CAPITAL, -1))
        ]
        if legs:
            self.record("postings", legs)

    def list_instruments(
        self, symbols: Sequence[str], *, tick_size: int = 100, lot_size: int = 1
    ) -> None:
        """Describe instruments, active, with a tick in 1/10,000 and a lot in shares.

        :raises InvalidValue: an argument is of the wrong type or out of its range.
        """
        given.whole("tick_size", tick_size, 1, of="1/10,000 of the currency")
        given.whole("lot_size", lot_size, 1, of="shares")
        rows = [
            {
                "symbol": symbol,
                "name": symbol,
                "tick_size": tick_size,
                "lot_size": lot_size,
                "security_status": "active",
            }
            for symbol in given.texts("symbols", symbols, "symbols")
        ]
        self.record("instruments", rows)

    def clear(self) -> int:
        """Post every fill that is not posted yet; gives how many fills that were.

        Four legs a fill: shares and cash of the account, and their opposites of the clearing
        account, so that each fill sums to zero in each asset.
        """
        fills = self._uncleared()
        if fills is None:
            return 0
        self.commit("postings", self._legs(fills))
        return fills.num_rows

    def _uncleared(self) -> pa.RecordBatch | None:
        """The fills that have come and are not posted, each event once."""
        self.catch_up()
        fills = [b.filter(pc.equal(b["exec_type"], ExecType.TRADE.value)) for b in self._unseen]
        fills = [batch for batch in fills if batch.num_rows]
        self._unseen = []
        if not fills:
            return None
        batch = pa.concat_batches(fills)
        exec_ids = batch["exec_id"].to_numpy()
        fresh = ~self.view.posted(exec_ids)
        fresh &= first_of_each(exec_ids.astype(np.int64))
        if not fresh.all():
            batch = batch.filter(pa.array(fresh))
        if not batch.num_rows:
            return None
        self._unseen = [batch]
        return batch

    def trial_balance(self) -> pl.DataFrame:
        """What all postings sum to, per asset: ``asset, amount``; zero everywhere, or wrong."""
        postings = self.tables["postings"].frame
        return postings.group_by("asset").agg(pl.col("amount").sum()).sort("asset")

    def _legs(self, fills: pa.RecordBatch) -> pa.RecordBatch:
        count, first = fills.num_rows, self.next_id("postings")
        buys = pc.equal(fills["side"], Side.BUY.value).to_numpy(zero_copy_only=False)
        qty = np.where(buys, 1, -1) * fills["last_qty"].to_numpy()
        cash = -qty * fills["last_px"].to_numpy()
        fourfold = np.repeat(np.arange(count), 4)
        # Rows of a fill: (account, symbol), (clearing, symbol), (account, cash), (clearing, cash).
        accounts = pa.concat_arrays([fills["account"], pa.array([CLEARING])])
        assets = pa.concat_arrays([fills["symbol"], pa.array([CURRENCY])])
        which_account = np.where(np.arange(4 * count) % 2 == 0, fourfold, count)
        which_asset = np.where(np.arange(4 * count) % 4 < 2, fourfold, count)
        ids = np.arange(first, first + 4 * count, dtype=np.uint64)
        now = pa.scalar(self.clock(), pa.timestamp("ns", "UTC"))
        return pa.RecordBatch.from_arrays(
            [
                pa.array(ids),
                pa.repeat(now, 4 * count),
                fills["exec_id"].take(pa.array(fourfold)),
                accounts.take(pa.array(which_account)),
                assets.take(pa.array(which_asset)),
                pa.array(np.stack([qty, -qty, cash, -cash], axis=1).ravel()),
                pa.array(np.repeat(self._settle_dates(fills), 4)),
            ],
            schema=POSTINGS,
        )

    def _settle_dates(self, fills: pa.RecordBatch) -> NDArray[np.datetime64]:
        """The day after the trade, weekends left out (T+1)."""
        days = fills["transact_time"].cast(pa.int64()).to_numpy() // _DAY_NS
        return np.busday_offset(days.astype("datetime64[D]"), 1, roll="preceding")

    def _today(self) -> dt.date:
        return dt.datetime.fromtimestamp(self.clock() / 1e9, dt.UTC).date()
