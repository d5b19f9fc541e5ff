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
from tradesys.records.arrow import picked
from tradesys.records.clock import to_date
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import NO_FEES, Fees, OpeningBooks
from tradesys.records.schemas import CAPITAL, CURRENCY, Kind
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
        names = given.texts("accounts", accounts, "accounts", fields.account_name)
        held = {} if shares is None else shares
        if not isinstance(held, Mapping):
            raise InvalidValue("shares", shares, "a number of shares for each symbol")
        cash = fields.CASH.of_field("cash", cash)
        held = {
            fields.symbol_name("shares", symbol): fields.SHARES.of_field("shares", count)
            for symbol, count in held.items()
        }
        self.checked(
            "postings", self._opening_legs(names, cash, held)
        )  # before anything is written
        self._describe(names)
        self._post_opening(names, cash, held)

    def _describe(self, accounts: Sequence[str]) -> None:
        rows = [{"account": a, "name": a, "account_status": "active"} for a in accounts]
        self.record("accounts", rows)

    def _post_opening(self, accounts: Sequence[str], cash: int, shares: Mapping[str, int]) -> None:
        if legs := self._opening_legs(accounts, cash, shares):
            self.record("postings", legs)

    def _opening_legs(
        self, accounts: Sequence[str], cash: int, shares: Mapping[str, int]
    ) -> list[dict[str, object]]:
        today = self._today()
        return [
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

    def checked(self, dataset: str, rows: object) -> Values:
        """As of any system; of postings, whether they clear what is held, and the books have room.

        The books have one room for the opening balances of all accounts together.
        """
        values = super().checked(dataset, rows)
        if dataset == "postings":
            for exec_id in {row[0] for row in values if row[0] is not None}:
                if not self.view.seen(np.array([exec_id], np.uint64)).all():
                    expected = "none, or the exec_id of an execution that the firm holds"
                    raise InvalidValue("exec_id", exec_id, expected)
            opened = self.tables["postings"].frame.filter(
                pl.col("exec_id").is_null(), pl.col("amount") > 0
            )
            total = Counter(dict(opened.group_by("asset").agg(pl.col("amount").sum()).iter_rows()))
            for _, _, asset, amount, _ in values:
                total[asset] += max(amount, 0)
            for asset, amount in total.items():
                fields.require_room(asset, amount)
        return values

    def list_instruments(
        self, symbols: Sequence[str], *, tick_size: int = 100, lot_size: int = 1
    ) -> None:
        """Describe instruments, active, with a tick in 1/10,000 and a lot in shares.

        Below 1.00 the tick is 0.0001, whatever it is above (Regulation NMS, rule 612).

        :raises InvalidValue: an argument is of the wrong type or out of its range.
        """
        rows = [
            {
                "symbol": symbol,
                "name": symbol,
                "tick_size": tick_size,
                "lot_size": lot_size,
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
