"""How requests are decided: one by itself, and a whole table.

The rules stand once, in :mod:`tradesys.systems.customer.entry_rules`. Nothing is written here, and
no system is known: :class:`Known` is all that a decision rests on.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tradesys.inquiry.client_order_ids import NO_USES, Names, Uses
from tradesys.log.table import Table
from tradesys.records.arrow import Ids, Ints, picked, rows_of
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import Fees
from tradesys.records.schemas import CURRENCY, REQUESTS, RequestType, TimeInForce, format_id
from tradesys.records.trading_calendar import Calendar, ns_of
from tradesys.status.incremental.view import View
from tradesys.status.reference_data import LAST_PX, Reference
from tradesys.systems.customer import entry_rules as rules
from tradesys.systems.customer.pending_uses import PendingUses, Use
from tradesys.systems.customer.request_encoding import Coder
from tradesys.systems.customer.table_input import DEFAULTS, NUMBER, TEXT, TIME, Columns

_OF_ORDER = ("account", *rules.FIXED)
"""What a change takes from its order, as texts."""
_TIMES_IN_FORCE = pa.array(rules.NAMES_OF_TIME, TEXT)
_REASONS = pa.array([rules.REASONS.get(v) for v in range(max(rules.REASONS) + 1)], TEXT)
_NO_NAMES = np.zeros((0, 4), np.int64)


class Known(NamedTuple):
    """What a decision rests on: the records held and what follows from them, and the time.

    ``expire_time_of`` says until when an order is good. Times are in ns since 1970.
    """

    now: int
    next_id: int
    requests: Table
    view: View
    reference: Reference
    names: Names
    pending: PendingUses
    calendar: Calendar
    fees: Fees
    expire_time_of: Callable[[int], int | None]


def note_last_price(reference: Reference, view: View, symbol: str) -> None:
    """Put down the last price in a symbol, which market orders in it are valued at."""
    code = reference.symbols.get(symbol)
    if code is not None:
        reference.instruments[code, LAST_PX] = view.last_px(symbol)


def decide_one(
    rows: Ints, left: int, reference: Reference, fees: Fees, stated: Mapping[str, Any], now: int
) -> str | None:
    """Decide the first of these rows; the reason for which it is refused, if it is.

    :param left: what is left of the balance that it draws on.
    :param stated: its fields as they were given, for the error.
    :raises InvalidValue: it breaks a rule.
    """
    balance, charged = np.array([left], np.int64), np.array(fees, np.int64)
    status, instruments = reference.account_status, reference.instruments
    rules.decide(rows, 1, _NO_NAMES, balance, status, instruments, now, charged)
    verdict = rows.item(0, rules.VERDICT)
    if rules.ACCEPTED < verdict < rules.FIRST_REASON:
        field = rules.ERRORS[verdict][0]
        instrument = instruments[max(rows.item(0, rules.SYMBOL), 0)]
        value, expected = stated.get(field), rules.expected(verdict, instrument)
        raise InvalidValue(field, value, expected + reference.nearest(field, value))
    return rules.REASONS.get(verdict)


def first_use(row: list[int], name: str, uses: Uses, coder: Coder) -> dict[str, Any]:
    """The first record, of those that used a name, which asks for what a row asks for.

    :raises InvalidValue: none does.
    """
    used = rows_of(uses.records)
    rows = np.array([row, *map(coder.record, used)], np.int64)
    place = rules.repeats(rows, 0, 1, len(rows)) - 1
    if place < 0:
        field, expected = rules.ERRORS[rules.NAME_TAKEN]
        order = format_id(uses.order_ids.item(0))
        raise InvalidValue(field, name, expected.format(order=order))
    return used[place]


def _code_uses(coder: Coder, uses: Uses, rows: Ints) -> None:
    """The requests that used names as rows of whole numbers."""
    columns = dict(zip(REQUESTS.names, uses.records.columns, strict=True))
    coder.rows(columns | {"price": columns["price"].fill_null(0)}, rows)
    rows[:, rules.ORDER_ID] = uses.order_ids.view(np.int64)


class TableEntry:
    """A table of requests on its way through the rules of order entry.

    ``rows`` are the requests as whole numbers; after them the orders ``held`` already that they are
    about, and the requests ``used`` already that gave names which they give too. Of each request,
    ``verdicts`` says what the rules say, and ``about`` the row of the order that it is about, or of
    the request that it repeats (-1 where it is an error).
    """

    def __init__(self, columns: Columns, known: Known) -> None:
        self.columns, self.known = columns, known
        self.count = count = len(columns["account"])
        columns["ts"] = columns["ts"].fill_null(pa.scalar(known.now, TIME))
        ts = ns_of(columns["ts"])
        self._state_accounts()
        name, orig_name, accounts, texts = self._names()
        first, last = (ts.min().item(), ts.max().item()) if count else (known.now, known.now)
        uses = known.names.uses(accounts, texts, first, last) if len(texts) else NO_USES
        self.used = uses.picked(np.flatnonzero(np.isin(uses.name, name))) if uses else uses
        self.held = self._held(uses, orig_name)
        self.base = count + len(self.held)
        self.rows = np.zeros((self.base + len(self.used), rules.COLUMNS), np.int64)
        terms = self._code()
        self._code_orders_and_times(name, orig_name, ts)
        self.names = self._owners(uses, len(texts))
        self._note_last_prices()
        self._decide(terms)
        self.verdicts, self.about = self.rows[:count, [rules.VERDICT, rules.ABOUT]].T
        self.repeated = self.verdicts == rules.REPEATED
        self.recorded = (self.about >= 0) & ~self.repeated
        if (self.rows[:count, rules.KIND] != rules.NEW).any():
            self._take_terms(terms)
        self._number()

    def _state_accounts(self) -> None:
        """Give changes that name themselves the account of their order: a name is an account's."""
        accounts, names, ids = (self.columns[n] for n in ("account", "cl_ord_id", "order_id"))
        if not accounts.null_count:
            return
        lacking = pc.and_(pc.and_(accounts.is_null(), names.is_valid()), ids.is_valid())
        is_new = pc.equal(self.columns["request_type"], RequestType.NEW.value)
        lacking = pc.and_not(lacking, is_new.fill_null(True))  # noqa: FBT003
        if pc.any(lacking).as_py():
            orders = self.known.requests.column("account", ids.fill_null(0).to_numpy())
            found = orders.to_arrow().cast(TEXT)
            self.columns["account"] = pc.if_else(lacking, found, accounts)

    def _names(self) -> tuple[Ints, Ints, pa.StringArray, pa.StringArray]:
        """A number for each name that rows give, and for each ``orig_cl_ord_id``, -1 for none.

        :returns: both, by row, and the account and the text of each number.
        """
        accounts, none = self.columns["account"], np.full(self.count, -1)
        given = {n: self.columns[n] for n in ("cl_ord_id", "orig_cl_ord_id")}
        given = {n: column for n, column in given.items() if column.null_count < self.count}
        if not given:
            return none, none, accounts[:0], accounts[:0]
        owners = pa.concat_arrays([accounts] * len(given)).dictionary_encode()
        texts = pa.concat_arrays([*given.values()]).dictionary_encode()
        size = len(texts.dictionary)
        pairs = pc.add(pc.multiply(owners.indices.cast(NUMBER), size), texts.indices)
        pairs = pairs.dictionary_encode()
        owner, text = np.divmod(pairs.dictionary.to_numpy(), size)
        rows = pairs.indices.fill_null(-1).to_numpy().astype(np.int64).reshape(-1, self.count)
        numbers = dict(zip(given, rows, strict=True))
        return (
            *(numbers.get("cl_ord_id", none), numbers.get("orig_cl_ord_id", none)),
            *(owners.dictionary.take(pa.array(owner)), texts.dictionary.take(pa.array(text))),
        )

    def _held(self, uses: Uses, orig_name: Ints) -> Ids:
        """The orders held already that rows are about, by name or by id; sorted."""
        ids = self.columns["order_id"].drop_null().to_numpy()
        ids = ids[self.known.requests.holds(ids)] if len(ids) else ids
        if not uses:
            return np.unique(ids)
        names, meaning = np.unique(uses.name, return_index=True)
        named = uses.order_ids[meaning[np.isin(names, orig_name)]]
        return np.unique(np.concatenate([named, ids]))

    def _owners(self, uses: Uses, count: int) -> Ints:
        """Whose each name is, as :func:`~tradesys.systems.customer.entry_rules.decide` takes it."""
        owners = np.full((count, 4), rules.FREE)
        if uses:
            names, meaning = np.unique(uses.name, return_index=True)
            orders, known = uses.order_ids[meaning], self.used.name
            owners[names, rules.OWNER] = self._rows_of(orders, rules.TAKEN)
            owners[names, rules.UNTIL] = uses.until[meaning]
            owners[names, rules.FIRST] = self.base + np.searchsorted(known, names)
            owners[names, rules.STOP] = self.base + np.searchsorted(known, names, "right")
        return owners

    def _rows_of(self, order_ids: Ids, otherwise: int) -> Ints:
        """The row of each of these orders, if they are among those held already."""
        places = np.searchsorted(self.held, order_ids)
        return np.where(np.isin(order_ids, self.held), self.count + places, otherwise)

    def _code(self) -> Columns:
        """Everything as whole numbers; gives the terms of the orders held already, as columns."""
        coder = Coder(self.known.reference)
        coder.rows(self.columns, self.rows[: self.count])
        if self.used:
            _code_uses(coder, self.used, self.rows[self.base :])
        if not len(self.held):
            return {}
        rows, view, held = self.rows[self.count : self.base], self.known.view, self.held
        terms, in_force = view.terms_of(held), view.in_force_of(held)
        is_gtd = pc.equal(terms["time_in_force"], TimeInForce.GTD.value).to_pylist()
        ends = [
            self.known.expire_time_of(order_id) if gtd else None
            for order_id, gtd in zip(held.tolist(), is_gtd, strict=True)
        ]
        terms["expire_time"] = pa.array(ends, TIME)
        numbers = {name: pa.array(in_force[name]) for name in ("order_qty", "price")}
        coder.rows(terms | numbers | {"request_type": pa.nulls(len(held), TEXT)}, rows)
        rows[:, rules.ORDER_ID] = held.view(np.int64)
        rows[:, rules.CUM_QTY] = in_force["cum_qty"]
        rows[:, rules.RESERVED] = view.reserved_of(held)
        rows[:, rules.OPEN] = view.leaves_of(held) > 0
        return terms

    def _code_orders_and_times(self, name: Ints, orig_name: Ints, ts: Ints) -> None:
        """What requests say of other rows, and when they came."""
        rows, ids = self.rows[: self.count], self.columns["order_id"]
        rows[:, rules.NAME], rows[:, rules.ORIG_NAME] = name, orig_name
        if len(self.held) and ids.null_count < self.count:
            rows[:, rules.ORDER] = self._rows_of(ids.fill_null(0).to_numpy(), -1)
        rows[:, rules.TS], rows[:, rules.CLOSE] = ts, self.known.calendar.closes(ts)

    def _note_last_prices(self) -> None:
        reference, rows = self.known.reference, self.rows[: self.base]
        codes = rows[rows[:, rules.ORD_TYPE] == rules.MARKET, rules.SYMBOL]
        for code in {code for code in codes.tolist() if code >= 0}:
            note_last_price(reference, self.known.view, reference.symbol(code))

    def _decide(self, terms: Columns) -> None:
        """Decide the rows; ``used_up`` says how much they use of which balances."""
        rows, known = self.rows[: self.base], self.known
        accounts, symbols = (
            pa.concat_arrays([self.columns[n], terms[n]]) if terms else self.columns[n]
            for n in ("account", "symbol")
        )
        draws = (rows[:, [rules.ACCOUNT, rules.SYMBOL, rules.SIDE]] >= 0).all(axis=1)
        if not draws.all():
            accounts, symbols = accounts.filter(pa.array(draws)), symbols.filter(pa.array(draws))
        buys = rows[draws, rules.SIDE] == rules.BUY
        spent = known.view.spends(accounts, symbols, buys)
        balances = np.unique(spent)
        rows[draws, rules.BALANCE] = which = np.searchsorted(balances, spent)
        before = known.pending.free(known.view, balances)
        left = before.copy()
        status, instruments = known.reference.account_status, known.reference.instruments
        fees = np.array(known.fees, np.int64)
        rules.decide(self.rows, self.count, self.names, left, status, instruments, known.now, fees)
        one_of = np.zeros(len(balances), np.int64)  # a row that draws on each
        one_of[which] = np.arange(len(which))
        drawn = one_of[before != left]
        self.used_up = [
            (account, CURRENCY if buy else symbol, amount)
            for account, symbol, buy, amount in zip(
                accounts.take(pa.array(drawn)).to_pylist(),
                symbols.take(pa.array(drawn)).to_pylist(),
                buys[drawn].tolist(),
                (before - left)[before != left].tolist(),
                strict=True,
            )
        ]

    def _take_terms(self, terms: Columns) -> None:
        """Give the changes the terms of their orders, as texts."""
        take = pa.array(np.where(self.recorded, self.about, np.arange(self.count)))
        for name in _OF_ORDER:
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

    def _number(self) -> None:
        """Give each recorded row its id, and repeats those of what they repeat."""
        first = np.uint64(self.known.next_id)
        own = first + np.cumsum(self.recorded).astype(np.uint64) - np.uint64(1)
        orders = np.concatenate([own, self.held])[np.where(self.recorded, self.about, 0)]
        self.order_of_row = np.concatenate([orders, self.held, self.used.order_ids])
        reasons = pa.nulls(self.count, TEXT)
        if self.verdicts.max(initial=0) >= rules.FIRST_REASON:
            reasons = _REASONS.take(pa.array(np.maximum(self.verdicts, rules.ACCEPTED)))
        if self.repeated.any():
            which = np.where(self.repeated, self.about, np.arange(self.count))
            used = self.used.records
            records = np.concatenate([own, self.held, used["record_id"].to_numpy()])
            orders, own = self.order_of_row[which], records[which]
            known = pa.concat_arrays(
                [reasons, pa.nulls(len(self.held), TEXT), used["reject_reason"]]
            )
            reasons = known.take(pa.array(which))
        self.order_ids, self.record_ids, self.reasons = orders, own, reasons

    def uses(self) -> list[Use]:
        """What the accepted requests may use of each balance."""
        last_id = self.known.next_id + int(self.recorded.sum()) - 1
        return [Use(last_id, *used) for used in self.used_up]

    def answer(self) -> pl.DataFrame:
        """The verdicts, for the caller."""
        nothing = pl.Series([None], dtype=pl.String).new_from_index(0, self.count)
        frame = pl.DataFrame(
            {
                "accepted": self.recorded,
                "order_id": self.order_ids,
                "record_id": self.record_ids,
                "repeated": self.repeated,
                "reject_reason": nothing,
                "error": nothing,
            }
        )
        if (self.verdicts == rules.ACCEPTED).all():
            return frame
        errors = {row: self._explain(row) for row in np.flatnonzero(self.about < 0).tolist()}
        is_error = pl.Series(self.about < 0)
        return frame.with_columns(
            pl.when(~is_error).then(pl.col("order_id", "record_id")),
            accepted=pl.Series(self.reasons.is_null()) & ~is_error,
            reject_reason=pl.Series(self.reasons, dtype=pl.String),
            error=pl.Series([errors.get(row) for row in range(self.count)], dtype=pl.String),
        )

    def _explain(self, row: int) -> str:
        verdict = self.verdicts.item(row)
        field, _ = rules.ERRORS[verdict]
        instrument = self.known.reference.instruments[max(self.rows[row, rules.SYMBOL], 0)]
        order = ""
        if verdict == rules.NAME_TAKEN:
            first = self.names[self.rows[row, rules.NAME], rules.FIRST]
            order = format_id(self.order_of_row.item(first))
        value = self.columns[field][row].as_py()
        value = value if isinstance(value, str | int | None) else str(value)
        return f"{field}={value!r}: expected {rules.expected(verdict, instrument, order)}"

    def batch(self) -> pa.RecordBatch:
        """The recorded rows as one record batch of requests."""
        rows, columns = self.rows[: self.count], self.columns
        price = rows[:, rules.PRICE]
        made = columns | {
            "record_id": pa.array(self.record_ids),
            "order_id": pa.array(self.order_ids),
            "order_qty": pa.array(np.ascontiguousarray(rows[:, rules.ORDER_QTY])),
            "price": pa.array(price, mask=price == 0),
            "reject_reason": self.reasons,
        }
        for name, default in DEFAULTS.items():
            made[name] = made[name].fill_null(default)
        batch = pa.RecordBatch.from_arrays([made[n] for n in REQUESTS.names], schema=REQUESTS)
        return picked(batch, self.recorded)
