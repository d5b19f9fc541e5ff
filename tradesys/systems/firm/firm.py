"""The firm-side system: the system of record. It describes accounts and instruments, and clears.

Clearing books what stands of each trade as double entries, exactly once: what is booked already is
derived from the postings, not from a marker, so it survives any crash between the two.
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from tradesys.inquiry.inquiries import Inquiries
from tradesys.records import argument_checks as given
from tradesys.records import field_rules as fields
from tradesys.records.arrow import numbered, picked
from tradesys.records.clock import to_date
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import NO_FEES, Fees, OpeningBooks
from tradesys.records.schemas import CAPITAL, CURRENCY, SCHEMAS, AccountStatus, Kind
from tradesys.status.definition import OF_TRADES
from tradesys.status.incremental.text_codes import codes_of
from tradesys.systems.firm import statements
from tradesys.systems.firm.clearing import Moves, legs_of, moves_of
from tradesys.systems.system import Place, System, Values

_OF_TRADES = {exec_type.value for exec_type in OF_TRADES}


class FirmSystem(Inquiries, System):
    """The one firm-side system."""

    kind = Kind.FIRM

    def __init__(self, place: Place, *, fees: Fees = NO_FEES) -> None:
        self.fees = fees
        super().__init__(place)

    def _begin_following(self) -> None:
        super()._begin_following()
        self._unseen: list[pa.RecordBatch] = []

    def applied(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Keep the executions that may be to be cleared."""
        super().applied(dataset, batch)
        if dataset == "executions":
            self._unseen.append(batch)

    @property
    def has_work(self) -> bool:
        """Whether it holds trades that it has to clear."""
        return self._uncleared() is not None

    def open_books(self, books: OpeningBooks) -> None:
        """Write what a new network begins with, as far as it is not written yet."""
        if not len(self.tables["instruments"]):
            sizes = {n: getattr(books, n) for n in ("tick_size", "lot_size", "qty_scale")}
            self.list_instruments(books.symbols, **sizes)
        if not len(self.tables["accounts"]):
            self._describe(books.accounts)
        if not len(self.tables["postings"]):
            self._post_opening(
                books.accounts, books.cash, dict.fromkeys(books.symbols, books.shares)
            )

    def open_accounts(
        self, accounts: Sequence[str], *, cash: int, shares: Mapping[str, int] | None = None
    ) -> None:
        """Describe accounts and post their opening balances, the other legs to the firm's capital.

        :param cash: of each account, in 1/10,000 of the currency.
        :param shares: of each symbol that each account holds.
        :raises InvalidValue: an argument is of the wrong type or out of its range.
        """
        names = given.texts("accounts", accounts, "accounts", fields.account_name)
        held = {} if shares is None else shares
        if not isinstance(held, Mapping):
            raise InvalidValue("shares", shares, "a number of shares for each symbol")
        cash = fields.CASH.of_field("cash", cash)
        held = {
            fields.symbol_name("shares", symbol): fields.SHARES.of_field("shares", count)
            for symbol, count in held.items()
        }
        each = {CURRENCY: cash, **held}
        self._require_room({asset: len(names) * amount for asset, amount in each.items()})
        self._describe(names)
        self._post_opening(names, cash, held)

    def _describe(self, accounts: Sequence[str]) -> None:
        names = pa.array(accounts, pa.utf8())
        status = pa.repeat(AccountStatus.ACTIVE.value, len(names))
        self._write("accounts", {"account": names, "name": names, "account_status": status})

    def _post_opening(self, accounts: Sequence[str], cash: int, shares: Mapping[str, int]) -> None:
        """A leg of each account in each asset, and the other legs together at the firm's capital.

        As columns, since books may be of millions of balances.
        """
        assets, count = [CURRENCY, *shares], len(accounts)
        amounts = np.array([cash, *shares.values()], np.int64)
        owner = np.append(np.repeat(np.arange(count), len(assets)), np.full(len(assets), count))
        asset = np.tile(np.arange(len(assets)), count + 1)
        columns = {
            "account": pa.array([*accounts, CAPITAL], pa.utf8()).take(pa.array(owner)),
            "asset": pa.array(assets, pa.utf8()).take(pa.array(asset)),
            "amount": pa.array(np.append(np.tile(amounts, count), -count * amounts)),
            "exec_id": pa.nulls(len(owner), pa.uint64()),
            "settle_date": pa.repeat(pa.scalar(self._today(), pa.date32()), len(owner)),
        }
        if count:
            self._write("postings", columns)

    def _write(self, dataset: str, columns: Mapping[str, pa.Array]) -> None:
        schema = SCHEMAS[dataset]
        self.commit(
            dataset,
            lambda: numbered(schema, self.next_id(dataset), self.clock(), columns),
        )

    def checked(self, dataset: str, rows: object) -> Values:
        """As of any system; of postings, whether they clear what is held, and the books have room.

        The books have one room for the opening balances of all accounts together. An instrument
        keeps its ``qty_scale``.
        """
        values = super().checked(dataset, rows)
        if dataset == "instruments":
            self._require_scales(values)
        if dataset == "postings":
            for exec_id in {row[0] for row in values if row[0] is not None}:
                if not self.view.seen(np.array([exec_id], np.uint64)).all():
                    expected = "none, or the exec_id of an execution that the firm holds"
                    raise InvalidValue("exec_id", exec_id, expected)
            further: Counter[str] = Counter()
            for _, _, asset, amount, _ in values:
                further[asset] += max(amount, 0)
            self._require_room(further)
        return values

    def _require_scales(self, values: Values) -> None:
        """Refuse another scale than that in which an instrument's quantities are recorded."""
        symbol, scale = (SCHEMAS["instruments"].names.index(n) - 2 for n in ("symbol", "qty_scale"))
        records = self.tables["instruments"].frame
        known = dict(records.select("symbol", "qty_scale").iter_rows())
        for row in values:
            if known.setdefault(row[symbol], row[scale]) != row[scale]:
                expected = f"{known[row[symbol]]:,}, as {row[symbol]} has it; list another symbol"
                raise InvalidValue("qty_scale", row[scale], expected)

    def _require_room(self, further: Mapping[str, int]) -> None:
        """Refuse what the books have no room for beside the opening balances they hold."""
        opened = self.tables["postings"].frame.filter(
            pl.col("exec_id").is_null(), pl.col("amount") > 0
        )
        held = dict(opened.group_by("asset").agg(pl.col("amount").sum()).iter_rows())
        for asset, amount in further.items():
            fields.require_room(asset, held.get(asset, 0) + amount)

    def list_instruments(
        self, symbols: Sequence[str], *, tick_size: int = 100, lot_size: int = 1, qty_scale: int = 1
    ) -> None:
        """Describe instruments, active, with a tick in 1/10,000 and a lot in units of quantity.

        ``qty_scale`` is how many of these units make one share or coin: 10**8 for Bitcoin. It is
        the same for ever, since what is recorded of the instrument is in these units. Below 1.00
        the tick is 0.0001, whatever it is above (Regulation NMS, rule 612).

        :raises InvalidValue: an argument is of the wrong type or out of its range.
        """
        rows = [
            {
                "symbol": symbol,
                "name": symbol,
                "tick_size": tick_size,
                "lot_size": lot_size,
                "qty_scale": qty_scale,
                "security_status": "active",
            }
            for symbol in given.texts("symbols", symbols, "symbols", fields.symbol_name)
        ]
        self.record("instruments", rows)

    def clear(self) -> int:
        """Post what stands of every trade and is not booked yet; gives how many trades it was.

        What is posted for one sums to zero in each asset (:mod:`tradesys.systems.firm.clearing`).
        """
        self.flush()
        moves = self._uncleared()
        if moves is None:
            return 0
        self.commit(
            "postings",
            lambda: legs_of(
                moves, self.next_id("postings"), self.clock(), with_fees=any(self.fees)
            ),
        )
        return len(moves.shares)

    def _uncleared(self) -> Moves | None:
        """What is to be posted; events that are to be looked at again are kept."""
        with self.lock:
            return self._to_post()

    def _to_post(self) -> Moves | None:
        self.catch_up()
        if not self._unseen:
            return None
        events = pa.concat_batches(self._unseen)
        events = picked(events, codes_of(events["exec_type"], _OF_TRADES.__contains__) > 0)
        if not events.num_rows:
            self._unseen = []
            return None
        found = self.view.uncleared(events["exec_id"].to_numpy())
        # An amendment of a trade that is not held waits for it.
        waits = picked(events, found.differs | (found.exec_id == 0))
        self._unseen = [waits] if waits.num_rows else []
        return moves_of(events, found, self.view) if found.differs.any() else None

    # ---- looking

    def trial_balance(self) -> pl.DataFrame:
        """What all postings sum to, per asset: ``asset, amount``; zero everywhere, or wrong."""
        postings = self.tables["postings"].frame
        return postings.group_by("asset").agg(pl.col("amount").sum()).sort("asset")

    def settlement(self, day: object = None) -> pl.DataFrame:
        """What every account owns at the end of a day, settled and not (T+1).

        :param day: a date, or text like ``2024-06-03``; by default the last that the books know.
        :returns: ``account, asset, opening, change, closing, settled, unsettled``, by both.
        """
        return statements.settlement(self._entries(), self._day(day))

    def statement(self, account: str, day: object = None) -> statements.Statement:
        """An account's day: what it had, each fill with its fee, and what it had then.

        :param day: a date, or text like ``2024-06-03``; by default the last that the books know.
        :raises InvalidValue: the firm has not described such an account, or it is no day.
        """
        return statements.statement(self._entries(), self._known_account(account), self._day(day))

    def _entries(self) -> pl.DataFrame:
        with self.lock:
            postings, executions = (self.tables[n].frame for n in ("postings", "executions"))
        return statements.entries(postings, executions, self.calendar)

    def _day(self, day: object) -> dt.date:
        if day is not None:
            return to_date(day)
        last = self._entries()["day"].max()
        return last if isinstance(last, dt.date) else self._today()

    def _today(self) -> dt.date:
        return self.calendar.trading_day(self.clock())
