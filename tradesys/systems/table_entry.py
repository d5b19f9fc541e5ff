"""Order entry for a whole table at once: the rules of :mod:`tradesys.systems.entry`, vectorised.

What goes in is a frame of requests; what comes out is a verdict for each row, and one record batch
of the rows that are recorded. Nothing is written here.
"""

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records import REQUESTS, RequestType, Side, format_id
from tradesys.systems import entry

if TYPE_CHECKING:
    from tradesys.systems.customer import CustomerSystem

Mask = NDArray[np.bool_]

_KINDS = [t.value for t in RequestType]
_KEPT = ("symbol", "side", "ord_type", "time_in_force")
_NO_TARGET = "orig_cl_ord_id: expected the name of an order of this account"
_CLOSED = "orig_cl_ord_id: expected an open order; this one is closed"
_REPEATED = "repeated: the order that has this cl_ord_id stands"


def decide(
    system: "CustomerSystem", frame: pl.DataFrame
) -> tuple[pl.DataFrame, pa.RecordBatch | None]:
    """Check every row; give the verdicts, and the records to commit (None when there are none)."""
    targets = _Targets(system, frame)
    frame = targets.with_terms(frame)
    errors, reasons = _apply_rules(system, frame)
    targets.explain(errors)
    orphaned = targets.refused_with(errors, reasons)
    for row in orphaned:
        errors[row] = _CLOSED
    _apply_means(system, frame, errors, reasons, targets)
    recorded = np.array([e is None for e in errors], np.bool_)
    record_ids = system.next_id("requests") + np.cumsum(recorded).astype(np.uint64) - np.uint64(1)
    order_ids = targets.order_ids(record_ids)
    verdicts = _verdicts(recorded, record_ids, order_ids, reasons, errors, targets)
    if not recorded.any():
        return verdicts, None
    return verdicts, _batch(system, frame, recorded, record_ids, order_ids, reasons)


class _Targets:
    """Which order each row is about: itself, one held already, or an earlier row of the table."""

    def __init__(self, system: "CustomerSystem", frame: pl.DataFrame) -> None:
        self.system = system
        count = len(frame)
        self.held = np.zeros(count, np.uint64)
        self.row = np.arange(count)
        self.errors: dict[int, str] = {}
        self.repeats: dict[int, int] = {}
        here: dict[tuple[str, str], int] = {}
        known = system.order_ids
        columns = ("account", "cl_ord_id", "orig_cl_ord_id", "request_type")
        for i, (account, name, orig, request_type) in enumerate(frame.select(columns).iter_rows()):
            if name is not None and ((account, name) in known or (account, name) in here):
                self._repeat(i, account, name, request_type, here)
                continue
            if request_type == RequestType.NEW:
                target = i
            elif (account, orig) in here:
                target = self.row[i] = here[account, orig]
            else:
                self.held[i] = known.get((account, orig), 0)
                target = self.row[i] = -1
                if not self.held[i]:
                    self.errors[i] = _NO_TARGET
            if name is not None and target >= 0:
                here[account, name] = target
            elif name is not None:
                here[account, name] = i
        self.is_change = (frame["request_type"] != RequestType.NEW.value).to_numpy()
        self._resolve_chains()
        self._refuse_closed()

    def _repeat(self, i: int, account: str, name: str, kind: str, here: dict[tuple[str, str], int]) -> None:
        self.errors[i] = _REPEATED
        if kind == RequestType.NEW and (account, name) in self.system.order_ids:
            self.repeats[i] = self.system.order_ids[account, name]

    def _resolve_chains(self) -> None:
        """A change of a change in the table is about the order that the first was about."""
        via = np.flatnonzero((self.row >= 0) & self.is_change)
        through = self.row[via]
        indirect = self.is_change[through]
        self.held[via[indirect]] = self.held[through[indirect]]
        self.row[via[indirect]] = -1

    def _refuse_closed(self) -> None:
        rows = np.flatnonzero(self.held != 0)
        closed = self.system.view.leaves_of(self.held[rows]) == 0
        for row in rows[closed].tolist():
            self.errors.setdefault(row, _CLOSED)

    def with_terms(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with symbol, side and types of a change taken from its order."""
        if not self.is_change.any():
            return frame
        rows = np.where(self.row >= 0, self.row, np.arange(len(frame)))
        terms, held = frame.select(_KEPT), np.flatnonzero(self.held)
        if len(held):
            terms = terms.vstack(self.system.view.terms_of(self.held[held]).select(_KEPT))
            rows[held] = len(frame) + np.arange(len(held))
        return frame.drop(_KEPT).hstack(terms[rows])

    def reserved(self, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        """What the orders that these rows change reserve already; 0 for a new order."""
        return np.where(self.held[rows] != 0, self.system.view.reserved_of(self.held[rows]), 0)

    def explain(self, errors: list[str | None]) -> None:
        for row, error in self.errors.items():
            errors[row] = error

    def refused_with(self, errors: list[str | None], reasons: list[str | None]) -> list[int]:
        """The changes of orders of this table that were themselves refused."""
        local = np.flatnonzero((self.row >= 0) & self.is_change).tolist()
        return [i for i in local if errors[self.row[i]] or reasons[self.row[i]]]

    def order_ids(self, record_ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The order that each row is about, once the rows have their record ids."""
        return np.where(self.held != 0, self.held, record_ids[np.maximum(self.row, 0)])


def _apply_rules(
    system: "CustomerSystem", frame: pl.DataFrame
) -> tuple[list[str | None], list[str | None]]:
    """For each row what is wrong with it, and for which reason it is refused."""
    accounts, instruments = system.reference.frames()
    errors: list[str | None] = [None] * len(frame)
    reasons: list[str | None] = [None] * len(frame)
    known = frame.join(accounts, on="account", how="left", maintain_order="left").join(
        instruments, on="symbol", how="left", maintain_order="left"
    )
    is_cancel = pl.col("request_type") == RequestType.CANCEL.value
    broken = known.select(
        unknown=~pl.col("request_type").is_in(_KINDS),
        error=pl.when(~is_cancel).then(entry.BROKEN),
        reason=pl.when(~is_cancel).then(entry.REFUSED),
    )
    if broken["unknown"].any():
        for row in broken["unknown"].arg_true().to_list():
            errors[row] = f"request_type: expected one of {', '.join(_KINDS)}"
    for row in broken["error"].is_not_null().arg_true().to_list():
        rule, terms = entry.VALID[broken["error"][row]], known.row(row, named=True)
        value = terms[rule.field]
        errors[row] = f"{rule.field}={value!r}: expected {entry.explain(rule, terms)}"
    for row in broken["reason"].is_not_null().arg_true().to_list():
        reasons[row] = entry.ACCEPTABLE[broken["reason"][row]].expected
    return errors, reasons


def _apply_means(
    system: "CustomerSystem",
    frame: pl.DataFrame,
    errors: list[str | None],
    reasons: list[str | None],
    targets: _Targets,
) -> None:
    """Refuse the orders that an account cannot afford, in the order of the table.

    Where the rows of an account together are affordable, all are; only the others are walked.
    """
    view = system.view
    is_cancel = (frame["request_type"] == RequestType.CANCEL.value).to_numpy()
    fine = np.array([e is None and r is None for e, r in zip(errors, reasons, strict=True)])
    rows = np.flatnonzero(fine & ~is_cancel)
    if not len(rows):
        return
    taken = frame[rows]
    buys = (taken["side"] == Side.BUY.value).to_numpy()
    price = _prices(system, taken)
    qty = taken["order_qty"].to_numpy()
    needs = np.where(buys, qty * price, qty) - targets.reserved(rows)
    spends = view.spends(taken["account"], taken["symbol"], buys)
    used, inverse = np.unique(spends, return_inverse=True)
    totals = np.zeros(len(used), np.int64)
    np.add.at(totals, inverse, np.maximum(needs, 0))
    left = view.free(used)
    for group in np.flatnonzero(totals > left).tolist():
        rest = left[group]
        for at in np.flatnonzero(inverse == group).tolist():
            if needs[at] <= rest:
                rest -= needs[at]
            else:
                reasons[int(rows[at])] = entry.NO_CASH if buys[at] else entry.NO_SHARES


def _prices(system: "CustomerSystem", frame: pl.DataFrame) -> NDArray[np.int64]:
    """The limit of each row, for a market order the last price seen in the symbol."""
    if not frame["price"].null_count():
        return frame["price"].to_numpy()
    pairs = frame.select("price", "symbol").iter_rows()
    return np.array([price or system.view.last_px(symbol) for price, symbol in pairs], np.int64)


def _verdicts(
    recorded: Mask,
    record_ids: NDArray[np.uint64],
    order_ids: NDArray[np.uint64],
    reasons: list[str | None],
    errors: list[str | None],
    targets: _Targets,
) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "accepted": recorded & np.array([r is None for r in reasons], np.bool_),
            "order_id": order_ids,
            "record_id": record_ids,
            "reject_reason": pl.Series(reasons, dtype=pl.String),
            "error": pl.Series(errors, dtype=pl.String),
        }
    )
    if not recorded.all():
        known = pl.when(pl.Series(recorded))
        frame = frame.with_columns(known.then(pl.col("order_id", "record_id", "reject_reason")))
    if targets.repeats:
        rows = pl.Series(list(targets.repeats))
        ids = pl.Series(list(targets.repeats.values()), dtype=pl.UInt64)
        frame = frame.with_columns(frame["order_id"].scatter(rows, ids))
    return frame


def _batch(
    system: "CustomerSystem",
    frame: pl.DataFrame,
    recorded: Mask,
    record_ids: NDArray[np.uint64],
    order_ids: NDArray[np.uint64],
    reasons: list[str | None],
) -> pa.RecordBatch:
    """The recorded rows as one record batch of requests."""
    now = pl.lit(system.clock()).cast(pl.Datetime("ns", "UTC"))
    ids = pl.Series("record_id", record_ids)
    names = pl.col("cl_ord_id")
    if frame["cl_ord_id"].null_count():
        written = [format_id(i) for i in record_ids.tolist()]
        names = names.fill_null(pl.Series(written, dtype=pl.String))
    records = frame.select(
        ids,
        pl.col("ts").fill_null(now),
        "request_type",
        pl.Series("order_id", order_ids),
        names,
        *REQUESTS.names[5:-1],
        pl.Series("reject_reason", reasons, dtype=pl.String),
    )
    if not recorded.all():
        records = records.filter(pl.Series(recorded))
    table = records.to_arrow(compat_level=pl.CompatLevel.oldest())
    return table.cast(REQUESTS).combine_chunks().to_batches()[0]
