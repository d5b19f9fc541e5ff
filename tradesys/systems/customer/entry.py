"""Order entry for a whole table: columns to whole numbers, the rules, verdicts and records.

What goes in is a table of requests; what comes out is a verdict for each row, and one record batch
of the rows that are recorded. Nothing is written here.
"""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tradesys.inquiry.names import Key, Named, keys_of
from tradesys.log.table import Table
from tradesys.records.arrow import Ids, Ints, picked
from tradesys.records.clock import Clock
from tradesys.records.opening_books import Fees
from tradesys.records.schemas import REQUESTS, RequestType
from tradesys.records.sessions import Calendar, ns_of
from tradesys.status.kept.codes import codes_of
from tradesys.status.kept.view import View
from tradesys.status.reference import Reference
from tradesys.systems.customer import rules
from tradesys.systems.customer.columns import DEFAULTS, NUMBER, TEXT, TIME, Columns
from tradesys.systems.customer.uses import Use

_CODED = {
    "request_type": (rules.KIND, rules.KINDS),
    "side": (rules.SIDE, rules.SIDES),
    "ord_type": (rules.ORD_TYPE, rules.ORD_TYPES),
    "time_in_force": (rules.TIME_IN_FORCE, rules.TIMES_IN_FORCE),
}
_NUMBERS = {
    "expire_time": rules.EXPIRE_TIME,
    "order_qty": rules.ORDER_QTY,
    "price": rules.PRICE,
}
_KEPT = ("account", *rules.FIXED)
"""What a change takes from its order, as texts."""
_TIMES_IN_FORCE = pa.array(rules.NAMES_OF_TIME, TEXT)


class Asked(Protocol):
    """What order entry asks of whoever takes the orders."""

    tables: dict[str, Table]
    clock: Clock
    calendar: Calendar
    fees: Fees

    @property
    def view(self) -> View:
        """Orders and balances."""

    @property
    def reference(self) -> Reference:
        """Accounts and instruments."""

    def orders_named(
        self, keys: Iterable[Key | None], ts: int, last: int
    ) -> dict[Key, Named | None]:
        """The orders of these names, between two times."""

    def free(self, pairs: Ints) -> Ints:
        """What is left of balances."""

    def expire_time_of(self, order_id: int) -> int | None:
        """Until when an order is good."""

    def note_last_price(self, symbol: str) -> None:
        """Put down the last price of a symbol."""

    def next_id(self, dataset: str) -> int:
        """The id of the next record."""


class Sheet:
    """A table of requests on its way through the rules of order entry.

    ``rows`` are the requests as whole numbers and, after them, the orders ``held`` already that
    they are about. ``verdicts`` says of each request what the rules say, ``orders`` which row's
    order it is about (-1 where it is an error).
    """

    def __init__(self, system: Asked, columns: Columns) -> None:
        self.system = system
        self.columns = columns
        self.count = count = len(columns["account"])
        self.now = now = system.clock()
        if columns["ts"].null_count:
            columns["ts"] = columns["ts"].fill_null(pa.scalar(now, TIME))
        self._state_accounts()
        names, orig_names = (
            keys_of(columns["account"], columns[n]) for n in ("cl_ord_id", "orig_cl_ord_id")
        )
        # Every name in the table, and the order that has it already.
        ts = ns_of(columns["ts"])
        first, last = (int(ts.min()), int(ts.max())) if count else (now, now)
        self.named = system.orders_named((*names, *orig_names), first, last)
        self.held = self._held(orig_names)
        self.rows = np.zeros((count + len(self.held), rules.COLUMNS), np.int64)
        self._code(names, orig_names)
        terms = self._code_held() if len(self.held) else {}
        self.rows[:count, rules.TS], self.rows[:count, rules.CLOSE] = ts, system.calendar.closes(ts)
        self.owners = np.array([self._owner(named) for named in self.named.values()], np.int64)
        until = np.array([0 if n is None else n.until for n in self.named.values()], np.int64)
        reference = system.reference
        self._note_last_prices()
        self.balances = self._balances(terms)
        before = system.free(self.balances)
        left = before.copy()
        status, instruments = reference.account_status, reference.instruments
        fees = np.array(system.fees, np.int64)
        rules.decide(self.rows, count, self.owners, until, left, status, instruments, now, fees)
        self.used = before - left
        self.verdicts, self.orders = self.rows[:count, [rules.VERDICT, rules.ABOUT]].T
        self.recorded = self.orders >= 0
        if (self.rows[:count, rules.KIND] != rules.NEW).any():
            self._take_terms(terms)

    def _state_accounts(self) -> None:
        """Give changes that name themselves the account of their order: a name is an account's."""
        accounts, names, ids = (self.columns[n] for n in ("account", "cl_ord_id", "order_id"))
        lacking = pc.and_(pc.and_(accounts.is_null(), names.is_valid()), ids.is_valid())
        is_new = pc.equal(self.columns["request_type"], RequestType.NEW.value)
        lacking = pc.and_not(lacking, is_new.fill_null(True))  # noqa: FBT003
        if not pc.any(lacking).as_py():
            return
        has = self.system.tables["requests"].has
        meant = sorted({i for i in ids.filter(lacking).to_pylist() if has(i)})
        terms = self.system.view.terms_of(np.array(meant, np.uint64))
        of = dict(zip(meant, terms["account"].to_pylist(), strict=True))
        found = pa.array([of.get(i) for i in ids.to_pylist()], TEXT)
        self.columns["account"] = pc.if_else(lacking, found, accounts)

    def _held(self, orig_names: list[str | None]) -> Ids:
        """The orders held already that rows are about, by name or by id; sorted."""
        meant = [self.named[key] for key in orig_names if key is not None]
        ids = {named.order_id for named in meant if named is not None}
        column = self.columns["order_id"].drop_null()
        ids |= {i for i in column.to_pylist() if self.system.tables["requests"].has(i)}
        return np.array(sorted(ids), np.uint64)

    def _owner(self, named: Named | None) -> int:
        """The row of the order that has a name."""
        if named is None:
            return rules.FREE
        place = int(np.searchsorted(self.held, np.uint64(named.order_id)))
        known = place < len(self.held) and self.held[place] == named.order_id
        return self.count + place if known else rules.TAKEN

    def _code(self, names: list[str | None], orig_names: list[str | None]) -> None:
        """The requests as whole numbers."""
        rows, columns, reference = self.rows[: self.count], self.columns, self.system.reference
        for name, (place, words) in _CODED.items():
            default = rules.NEW if name == "request_type" else rules.UNSTATED
            rows[:, place] = _codes(columns[name], words, default)
        rows[:, rules.ACCOUNT] = _codes(columns["account"], reference.accounts, rules.UNSTATED)
        rows[:, rules.SYMBOL] = _codes(columns["symbol"], reference.symbols, rules.UNSTATED)
        for name, place in _NUMBERS.items():
            column = columns[name].cast(NUMBER)
            rows[:, place] = column.fill_null(rules.UNSTATED) if column.null_count else column
        for place, keys in ((rules.NAME, names), (rules.ORIG_NAME, orig_names)):
            rows[:, place] = -1
            if self.named:
                numbers = {key: number for number, key in enumerate(self.named)}
                rows[:, place] = [-1 if key is None else numbers[key] for key in keys]
        rows[:, rules.ORDER] = -1
        ids = columns["order_id"]
        if ids.null_count < self.count:
            wanted = ids.fill_null(0).to_numpy()
            places = np.searchsorted(self.held, wanted)
            found = np.isin(wanted, self.held) & ids.is_valid().to_numpy(zero_copy_only=False)
            rows[found, rules.ORDER] = self.count + places[found]

    def _code_held(self) -> Columns:
        """The orders held already, as whole numbers; gives what changes keep of them, as texts."""
        rows, view, reference = self.rows[self.count :], self.system.view, self.system.reference
        terms = view.terms_of(self.held)
        for name, (place, words) in _CODED.items():
            if name != "request_type":
                rows[:, place] = _codes(terms[name], words, rules.UNKNOWN)
        rows[:, rules.ACCOUNT] = _codes(terms["account"], reference.accounts, rules.UNKNOWN)
        rows[:, rules.SYMBOL] = _codes(terms["symbol"], reference.symbols, rules.UNKNOWN)
        expire_times: list[int | None] = [None] * len(self.held)
        for row in np.flatnonzero(rows[:, rules.TIME_IN_FORCE] == rules.GTD).tolist():
            expire_times[row] = self.system.expire_time_of(int(self.held[row]))
        terms["expire_time"] = pa.array(expire_times, TIME)
        rows[:, rules.EXPIRE_TIME] = terms["expire_time"].cast(NUMBER).fill_null(rules.UNSTATED)
        in_force = view.in_force_of(self.held)
        rows[:, rules.ORDER_QTY], rows[:, rules.PRICE] = in_force["order_qty"], in_force["price"]
        rows[:, rules.CUM_QTY] = in_force["cum_qty"]
        rows[:, rules.RESERVED] = view.reserved_of(self.held)
        rows[:, rules.OPEN] = view.leaves_of(self.held) > 0
        return terms

    def _note_last_prices(self) -> None:
        """Put down the last price of the symbols of market orders, which are valued at it."""
        rows, reference = self.rows, self.system.reference
        codes = rows[rows[:, rules.ORD_TYPE] == rules.MARKET, rules.SYMBOL]
        for code in {code for code in codes.tolist() if code >= 0}:
            self.system.note_last_price(reference.symbol(code))

    def _balances(self, terms: Columns) -> Ints:
        """The balances that these rows draw on, by slot; the rows get its number among them."""
        rows = self.rows
        known = (rows[:, rules.ACCOUNT] >= 0) & (rows[:, rules.SYMBOL] >= 0)
        known &= rows[:, rules.SIDE] >= 0
        accounts, symbols = (
            pa.concat_arrays([self.columns[n], terms[n]]) if terms else self.columns[n]
            for n in ("account", "symbol")
        )
        if not known.all():
            accounts, symbols = accounts.filter(pa.array(known)), symbols.filter(pa.array(known))
        buys = rows[known, rules.SIDE] == rules.BUY
        balances, rows[known, rules.BALANCE] = np.unique(
            self.system.view.spends(accounts, symbols, buys), return_inverse=True
        )
        return balances

    def _take_terms(self, terms: Columns) -> None:
        """Give the changes the terms of their orders, as texts."""
        take = pa.array(np.where(self.recorded, self.orders, np.arange(self.count)))
        for name in _KEPT:
            column = self.columns[name]
            if terms:
                column = pa.concat_arrays([column, terms[name]])
            self.columns[name] = column.take(take)
        codes = self.rows[: self.count, rules.TIME_IN_FORCE]
        known = _TIMES_IN_FORCE.take(pa.array(codes, mask=codes < 0))
        self.columns["time_in_force"] = pc.coalesce(known, self.columns["time_in_force"])
        expire_time = self.rows[: self.count, rules.EXPIRE_TIME]
        self.columns["expire_time"] = pa.array(
            expire_time, mask=expire_time == rules.UNSTATED
        ).cast(TIME)

    def ids(self) -> tuple[Ids, Ids]:
        """The record id of each row that is recorded, and the id of its order."""
        first = np.uint64(self.system.next_id("requests"))
        record_ids = first + np.cumsum(self.recorded).astype(np.uint64) - np.uint64(1)
        everyone = np.concatenate([record_ids, self.held])
        order_ids = everyone[np.where(self.recorded, self.orders, 0)]
        ids_of_named = list(self.named.values())
        for row in np.flatnonzero(self.verdicts == rules.REPEATED).tolist():
            name = self.rows[row, rules.NAME]
            owner = self.owners[name]
            known = ids_of_named[name]
            order_ids[row] = known.order_id if owner == rules.TAKEN and known else everyone[owner]
        return record_ids, order_ids

    def uses(self, record_ids: Ids) -> list[Use]:
        """What the accepted requests may use of each balance."""
        names = self.system.view.accounts.names
        amounts = zip(self.balances.tolist(), self.used.tolist(), strict=True)
        used = [(*names[balance], amount) for balance, amount in amounts if amount]
        return [Use(int(record_ids[-1]), *use) for use in used]

    def answer(self, record_ids: Ids, order_ids: Ids) -> pl.DataFrame:
        """The verdicts, for the caller."""
        verdicts, recorded = self.verdicts, self.recorded
        frame = pl.DataFrame(
            {
                "accepted": verdicts == rules.ACCEPTED,
                "order_id": order_ids,
                "record_id": record_ids,
                "reject_reason": pl.Series([None], dtype=pl.String).new_from_index(0, self.count),
                "error": pl.Series([None], dtype=pl.String).new_from_index(0, self.count),
            }
        )
        if recorded.all() and verdicts.max(initial=0) == rules.ACCEPTED:
            return frame
        errors = {i: self._explain(i) for i in np.flatnonzero(~recorded).tolist()}
        held, named = pl.Series(recorded), pl.Series(recorded | (verdicts == rules.REPEATED))
        return frame.with_columns(
            pl.when(named).then("order_id").alias("order_id"),
            pl.when(held).then("record_id").alias("record_id"),
            pl.Series(
                "reject_reason", [rules.REASONS.get(v) for v in verdicts.tolist()], pl.String
            ),
            pl.Series("error", [errors.get(i) for i in range(self.count)], pl.String),
        )

    def _explain(self, row: int) -> str:
        verdict = int(self.verdicts[row])
        field, _ = rules.ERRORS[verdict]
        instrument = self.system.reference.instruments[max(self.rows[row, rules.SYMBOL], 0)]
        value = self.columns[field][row].as_py()
        value = value if isinstance(value, str | int | None) else str(value)
        return f"{field}={value!r}: expected {rules.expected(verdict, instrument)}"

    def _reasons(self) -> pa.StringArray:
        refused = np.flatnonzero(self.verdicts >= rules.FIRST_REASON)
        if not len(refused):
            return pa.nulls(self.count, TEXT)
        reasons = [rules.REASONS.get(verdict) for verdict in range(self.verdicts.max() + 1)]
        return pa.array(reasons, TEXT).take(pa.array(self.verdicts))

    def batch(self, record_ids: Ids, order_ids: Ids) -> pa.RecordBatch:
        """The recorded rows as one record batch of requests."""
        rows, columns = self.rows[: self.count], self.columns
        price = rows[:, rules.PRICE]
        made = columns | {
            "record_id": pa.array(record_ids),
            "order_id": pa.array(order_ids),
            "order_qty": pa.array(np.ascontiguousarray(rows[:, rules.ORDER_QTY])),
            "price": pa.array(price, mask=price == 0),
            "reject_reason": self._reasons(),
        }
        for name, default in DEFAULTS.items():
            made[name] = made[name].fill_null(default)
        batch = pa.RecordBatch.from_arrays([made[n] for n in REQUESTS.names], schema=REQUESTS)
        return picked(batch, self.recorded)


def _codes(column: pa.StringArray, known: dict[str, int], default: int) -> Ints:
    """The number of each text; ``default`` where there is none."""
    return codes_of(column, lambda text: known.get(text, rules.UNKNOWN), default)
