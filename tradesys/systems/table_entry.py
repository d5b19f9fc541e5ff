"""Order entry for a whole table at once: the rules of :mod:`tradesys.systems.entry`, vectorised.

What goes in is a table of requests; what comes out is a verdict for each row, and one record batch
of the rows that are recorded. Nothing is written here.
"""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradesys.records import REQUESTS, RequestType, Side, format_id
from tradesys.reference import UNKNOWN
from tradesys.systems import entry

if TYPE_CHECKING:
    from tradesys.systems.customer import CustomerSystem

Mask = NDArray[np.bool_]
Ids = NDArray[np.uint64]
Columns = dict[str, pa.Array]

_KEPT = ("symbol", "side", "ord_type", "time_in_force")
_KINDS = [t.value for t in RequestType]
_NO_KIND = f"request_type: expected one of {', '.join(_KINDS)}"
_NO_TARGET = "orig_cl_ord_id: expected the name of an order of this account"
_CLOSED = "orig_cl_ord_id: expected an open order; this one is closed"
_REPEATED = "repeated: the order that has this cl_ord_id stands"


class Verdicts:
    """What is decided of each row: nothing yet, an error, or a reason to refuse it."""

    def __init__(self, count: int) -> None:
        self.errors: dict[int, str] = {}
        self.reasons: dict[int, str] = {}
        self.repeats: dict[int, int] = {}
        self.count = count

    def recorded(self) -> Mask:
        """Which rows are recorded."""
        return self._without(self.errors)

    def fine(self) -> Mask:
        """Which rows are recorded and sent."""
        return self._without(self.errors | self.reasons)

    def text(self, of: dict[int, str]) -> pa.StringArray:
        """A column of errors or of reasons."""
        if not of:
            return pa.nulls(self.count, pa.utf8())
        return pa.array([of.get(row) for row in range(self.count)], pa.utf8())

    def _without(self, rows: dict[int, str]) -> Mask:
        mask = np.ones(self.count, np.bool_)
        mask[list(rows)] = False
        return mask


def decide(
    system: "CustomerSystem", columns: Columns
) -> tuple[pl.DataFrame, pa.RecordBatch | None]:
    """Check every row; give the verdicts, and the records to commit (None when there are none)."""
    verdicts = Verdicts(len(columns["account"]))
    targets = _Targets(system, columns, verdicts)
    columns = targets.with_terms(columns)
    _apply_rules(system, columns, verdicts)
    targets.refuse_orphans(verdicts)
    _apply_means(system, columns, targets, verdicts)
    targets.refuse_orphans(verdicts)
    recorded = verdicts.recorded()
    record_ids = system.next_id("requests") + np.cumsum(recorded).astype(np.uint64) - np.uint64(1)
    order_ids = targets.order_ids(record_ids)
    frame = _frame(verdicts, recorded, record_ids, order_ids)
    if not recorded.any():
        return frame, None
    return frame, _batch(system, columns, verdicts, record_ids, order_ids)


class _Targets:
    """Which order each row is about: itself, an earlier row of the table, or one held already.

    ``row`` is the row of the order, -1 for one held already, whose id is then in ``held``.
    """

    def __init__(self, system: "CustomerSystem", columns: Columns, verdicts: Verdicts) -> None:
        self.system = system
        count = verdicts.count
        self.held = np.zeros(count, np.uint64)
        self.row = np.arange(count)
        kinds, accounts, names, origs = (
            columns[n].to_pylist()
            for n in ("request_type", "account", "cl_ord_id", "orig_cl_ord_id")
        )
        taken, meant = (self._find(columns, n) for n in ("cl_ord_id", "orig_cl_ord_id"))
        self.through: dict[int, int] = {}
        here: dict[tuple[str, str], int] = {}
        for i, name in enumerate(names):
            key = (accounts[i], name)
            if name is not None and (taken[i] is not None or key in here):
                verdicts.errors[i] = _REPEATED
                first = taken[i]
                if kinds[i] == RequestType.NEW and first is not None:
                    verdicts.repeats[i] = first
                continue
            if kinds[i] != RequestType.NEW:
                self._aim(i, here.get((accounts[i], origs[i])), meant[i], verdicts)
            if name is not None:
                here[key] = i
        self.is_change = np.array([kind != RequestType.NEW for kind in kinds], np.bool_)
        self._refuse_closed(verdicts)

    def _find(self, columns: Columns, name: str) -> list[int | None]:
        """The order held already that each row's account calls by the name in this column."""
        if columns[name].null_count == len(columns[name]):
            return [None] * len(columns[name])
        return self.system.names.find_all(columns["account"], columns[name])

    def _aim(self, i: int, earlier: int | None, held: int | None, verdicts: Verdicts) -> None:
        """Row ``i`` is about what an earlier row is about, or else about an order held already."""
        if earlier is not None:
            self.row[i], self.held[i] = self.row[earlier], self.held[earlier]
            self.through[i] = earlier
        else:
            self.row[i], self.held[i] = -1, held or 0
            if held is None:
                verdicts.errors[i] = _NO_TARGET

    def _refuse_closed(self, verdicts: Verdicts) -> None:
        rows = np.flatnonzero(self.held)
        if len(rows):
            closed = self.system.view.leaves_of(self.held[rows]) == 0
            for row in rows[closed].tolist():
                verdicts.errors.setdefault(row, _CLOSED)

    def with_terms(self, columns: Columns) -> Columns:
        """The columns with symbol, side and types of a change taken from its order.

        A cancel that states no quantity or price has those of its order too.
        """
        if not self.is_change.any():
            return columns
        rows = np.where(self.row >= 0, self.row, np.arange(len(self.row)))
        held = np.flatnonzero(self.held)
        terms = {name: columns[name] for name in _KEPT}
        if len(held):
            rows[held] = len(rows) + np.arange(len(held))
            of_held = self.system.view.terms_of(self.held[held])
            terms = {n: pa.concat_arrays([c, of_held[n]]) for n, c in terms.items()}
        take = pa.array(rows)
        columns = columns | {name: column.take(take) for name, column in terms.items()}
        is_cancel = pc.equal(columns["request_type"], RequestType.CANCEL.value)
        for name in ("order_qty", "price"):
            if columns[name].null_count:
                stated = columns[name]
                if len(held):
                    in_force = self.system.view.in_force_of(self.held[held])[name]
                    stated = pa.concat_arrays([stated, pa.array(in_force)])
                of_order = pc.if_else(is_cancel, stated.take(take), None)
                columns[name] = pc.coalesce(columns[name], of_order)
        return columns

    def in_use(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What the orders that these rows change reserve already, and have filled."""
        held = self.held[rows]
        if not held.any():
            return np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        view = self.system.view
        reserved, cum_qty = view.reserved_of(held), view.in_force_of(held)["cum_qty"]
        return np.where(held != 0, reserved, 0), np.where(held != 0, cum_qty, 0)

    def refuse_orphans(self, verdicts: Verdicts) -> None:
        """The changes of what this table names, and does not bring about, are errors."""
        if not (verdicts.errors or verdicts.reasons):
            return
        for row, earlier in self.through.items():
            if earlier in verdicts.errors:
                verdicts.errors.setdefault(row, _NO_TARGET)
            elif self.row[row] in verdicts.reasons:
                verdicts.errors.setdefault(row, _CLOSED)

    def order_ids(self, record_ids: Ids) -> Ids:
        """The order that each row is about, once the rows have their record ids."""
        return np.where(self.held != 0, self.held, record_ids[np.maximum(self.row, 0)])


class Words:
    """A column of strings that compares like one string does, giving a mask."""

    def __init__(self, column: pa.StringArray) -> None:
        encoded = column.fill_null("").dictionary_encode()
        self.values: list[str] = encoded.dictionary.to_pylist()
        self.codes = encoded.indices.to_numpy()

    def __eq__(self, other: object) -> Mask:  # type: ignore[override]
        return np.array([value == other for value in self.values], np.bool_)[self.codes]

    def __ne__(self, other: object) -> Mask:  # type: ignore[override]
        return np.array([value != other for value in self.values], np.bool_)[self.codes]

    __hash__ = None  # type: ignore[assignment]

    def looked_up(self, values: dict[str, Any], default: object) -> NDArray[Any]:
        """The value that a dictionary has for each element."""
        return np.array([values.get(value, default) for value in self.values])[self.codes]

    def described_by(self, values: dict[str, str]) -> "Words":
        """The words that a dictionary has for each element; ``""`` where it has none."""
        words = object.__new__(Words)
        words.values = [values.get(value, "") for value in self.values]
        words.codes = self.codes
        return words


def _apply_rules(system: "CustomerSystem", columns: Columns, verdicts: Verdicts) -> None:
    """Find for each row the first rule that it breaks."""
    kind = Words(columns["request_type"])
    unknown = ~np.isin(kind.values, _KINDS)[kind.codes]
    for row in np.flatnonzero(unknown).tolist():
        verdicts.errors[row] = _NO_KIND
    terms = terms_of(system, columns)
    checked = kind != RequestType.CANCEL
    for rule in reversed(entry.ACCEPTABLE):
        for row in np.flatnonzero(checked & ~rule.holds(terms)).tolist():
            verdicts.reasons[row] = rule.expected
    for rule in entry.VALID:
        broken = checked & ~rule.holds(terms)
        if broken.any():
            for row in np.flatnonzero(broken).tolist():
                verdicts.errors.setdefault(row, _explain(rule, terms, columns, row))


def terms_of(system: "CustomerSystem", columns: Columns) -> SimpleNamespace:
    """The terms of each row as columns that the rules of order entry work on."""
    account, symbol = Words(columns["account"]), Words(columns["symbol"])
    listed = system.reference.instruments
    found = {s: listed.get(s, UNKNOWN) for s in symbol.values}
    return SimpleNamespace(
        **{n: Words(columns[n]) for n in ("side", "ord_type", "time_in_force")},
        **{n: columns[n].fill_null(0).to_numpy() for n in ("order_qty", "price")},
        account_status=account.described_by(system.reference.accounts),
        security_status=symbol.described_by({s: i.security_status for s, i in found.items()}),
        tick_size=symbol.looked_up({s: i.tick_size for s, i in found.items()}, 1),
        lot_size=symbol.looked_up({s: i.lot_size for s, i in found.items()}, 1),
    )


def _explain(rule: entry.Rule, terms: SimpleNamespace, columns: Columns, row: int) -> str:
    sizes = {n: getattr(terms, n)[row].item() for n in ("tick_size", "lot_size")}
    value = columns[rule.field][row].as_py()
    return f"{rule.field}={value!r}: expected {entry.explain(rule, sizes)}"


def _apply_means(
    system: "CustomerSystem", columns: Columns, targets: _Targets, verdicts: Verdicts
) -> None:
    """Refuse the orders that an account cannot afford, in the order of the table.

    Where the rows of an account together are affordable, all are; only the others are walked.
    """
    view = system.view
    spending = Words(columns["request_type"]) != RequestType.CANCEL
    rows = np.flatnonzero(verdicts.fine() & spending)
    if not len(rows):
        return
    take = pa.array(rows)
    account, symbol, side, qty, price = (
        columns[n].take(take) for n in ("account", "symbol", "side", "order_qty", "price")
    )
    buys = Words(side) == Side.BUY
    reserved, cum_qty = targets.in_use(rows)
    qty = np.maximum(qty.to_numpy() - cum_qty, 0)
    each = np.where(buys, _prices(system, symbol, price), 1)
    spends = view.spends(account, symbol, buys)
    unpriced = each == 0
    if unpriced.any():
        verdicts.reasons |= dict.fromkeys(rows[unpriced].tolist(), entry.NO_PRICE)
        valued = (rows, qty, each, reserved, spends, buys)
        rows, qty, each, reserved, spends, buys = (column[~unpriced] for column in valued)
    used, inverse = np.unique(spends, return_inverse=True)
    left = view.free(used)
    # Floats do not overflow; they only choose, with a margin, which rows are walked exactly.
    uses = qty.astype(np.float64) * each
    needs = np.maximum(uses - reserved, 0) + 1e-9 * uses
    short = np.bincount(inverse, needs, len(used)) > left
    for group in np.flatnonzero(short).tolist():
        members = np.flatnonzero(inverse == group)
        no_means = entry.NO_CASH if buys[members[0]] else entry.NO_SHARES
        parts = (rows[members], qty[members], each[members], reserved[members])
        walked = zip(*(part.tolist() for part in parts), strict=True)
        _walk(walked, int(left[group]), targets, verdicts, no_means)


def _walk(
    rows: Iterable[tuple[int, int, int, int]],
    left: int,
    targets: _Targets,
    verdicts: Verdicts,
    no_means: str,
) -> None:
    """Go through rows that draw on one balance: row, quantity, use of each, reserved already."""
    granted: dict[int, int] = {}
    for row, qty, each, reserved in rows:
        if targets.row[row] in verdicts.reasons:
            verdicts.errors[row] = _CLOSED
            continue
        order = int(targets.held[row]) or -1 - int(targets.row[row])
        already = granted.get(order, reserved)
        more = qty * each - already
        if more > left:
            verdicts.reasons[row] = no_means
        else:
            left -= max(more, 0)
            granted[order] = already + max(more, 0)


def _prices(
    system: "CustomerSystem", symbols: pa.StringArray, prices: pa.Int64Array
) -> NDArray[np.int64]:
    """The limit of each row, for a market order the last price seen in the symbol."""
    if not prices.null_count:
        return prices.to_numpy()
    pairs = zip(prices.to_pylist(), symbols.to_pylist(), strict=True)
    return np.array([price or system.view.last_px(symbol) for price, symbol in pairs], np.int64)


def _frame(verdicts: Verdicts, recorded: Mask, record_ids: Ids, order_ids: Ids) -> pl.DataFrame:
    """The verdicts, for the caller."""
    absent = None if recorded.all() else ~recorded
    orders, known = order_ids, absent
    if verdicts.repeats:
        rows = list(verdicts.repeats)
        orders, known = order_ids.copy(), ~recorded
        orders[rows], known[rows] = list(verdicts.repeats.values()), False
    columns = {
        "accepted": pa.array(verdicts.fine()),
        "order_id": pa.array(orders, mask=known),
        "record_id": pa.array(record_ids, mask=absent),
        "reject_reason": verdicts.text(
            {row: text for row, text in verdicts.reasons.items() if row not in verdicts.errors}
        ),
        "error": verdicts.text(verdicts.errors),
    }
    return pl.DataFrame(pa.table(columns))


def _batch(
    system: "CustomerSystem",
    columns: Columns,
    verdicts: Verdicts,
    record_ids: Ids,
    order_ids: Ids,
) -> pa.RecordBatch:
    """The recorded rows as one record batch of requests."""
    names = columns["cl_ord_id"]
    if names.null_count:
        written = pa.array([format_id(i) for i in record_ids.tolist()], pa.utf8())
        names = pc.coalesce(names, written)
    now = pa.scalar(system.clock(), pa.timestamp("ns", "UTC"))
    price = columns["price"]
    if pc.any(pc.equal(price, 0)).as_py():
        price = pc.if_else(pc.equal(price, 0), None, price)
    columns = columns | {
        "record_id": pa.array(record_ids),
        "order_id": pa.array(order_ids),
        "cl_ord_id": names,
        "ts": columns["ts"].fill_null(now),
        "expire_time": pa.nulls(len(names), now.type),
        "reject_reason": verdicts.text(verdicts.reasons),
        "price": price,
    }
    batch = pa.RecordBatch.from_arrays([columns[n] for n in REQUESTS.names], schema=REQUESTS)
    recorded = verdicts.recorded()
    return batch if recorded.all() else batch.filter(pa.array(recorded))
