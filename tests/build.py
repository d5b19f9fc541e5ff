"""What the tests build on: a small network, and records of any origin written by hand.

Time stands still unless a test moves it, so that whatever a test does twice comes out the same.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tradesys.audit.audit import Audit
from tradesys.audit.checks import KNOWN
from tradesys.inquiry.answers import Order
from tradesys.log.verified_stream import Stream
from tradesys.network import Network
from tradesys.records.arrow import as_written, batch_of
from tradesys.records.clock import Clock, ManualClock
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import (
    PRICE_SCALE,
    REPORTS,
    REQUESTS,
    SCHEMAS,
    Kind,
    Origin,
    held,
    make_id,
)
from tradesys.systems.customer import CustomerSystem
from tradesys.venue import BookVenue, VenueFactory

Row = dict[str, Any]
"""A record, or part of one, by column."""

NOON = 1_717_416_000_000_000_000
"""A Monday, 12:00 UTC, in ns since 1970."""

CASH = 10_000 * PRICE_SCALE
SHARES = 500
BOOKS = OpeningBooks(("alice", "bob"), ("ALFA", "DLTA"), CASH, SHARES, tick_size=100, lot_size=10)

PRICE = 20 * PRICE_SCALE
TERMS: Row = {
    "account": "alice",
    "symbol": "ALFA",
    "side": "buy",
    "order_qty": 100,
    "price": PRICE,
}
"""An order that breaks no rule and that each account of :data:`BOOKS` can afford."""


# A network.


def network(
    customers: int = 1,
    streets: int = 1,
    *,
    data: Path | None = None,
    books: OpeningBooks = BOOKS,
    venue: VenueFactory = BookVenue,
    clock: Clock | None = None,
) -> Network:
    """A network of two accounts and two symbols, its clock at noon."""
    clock = clock or ManualClock(NOON)
    return Network(customers, streets, firm=books, data=data, venue=venue, clock=clock)


def submit(system: CustomerSystem, **terms: Any) -> Order:
    """Submit :data:`TERMS`, with these in place of some."""
    return system.submit(**TERMS | terms)


def filled(desk: Network, buyer: str = "alice", seller: str = "bob", **terms: Any) -> Order:
    """A bought order of :data:`TERMS` that a sold one of another account fills; all is quiet."""
    entry = desk.customers[0]
    order = submit(entry, account=buyer, **terms)
    submit(entry, account=seller, side="sell", **terms)
    desk.run()
    return order


def sound(audit: Audit) -> bool:
    """Whether all holds, but for what nobody can know of a file that was lost."""
    verdicts = {check.name: check.verdict for check in audit.checks}
    return verdicts.pop(KNOWN) is not False and set(verdicts.values()) == {True}


def state(system: CustomerSystem, order: Order | int) -> tuple[str, int, int, int]:
    """``ord_status, order_qty, cum_qty, leaves_qty`` of an order, as a system answers."""
    answer = system.status(order)
    return str(answer.ord_status), answer.order_qty, answer.cum_qty, answer.leaves_qty


def report(desk: Network, about: int, exec_type: str, **columns: Any) -> None:
    """The venue reports something of its event number ``about``."""
    row = desk.venue.reports.table().to_pylist()[about]
    row |= {"exec_type": exec_type, "exec_ref_id": row["record_id"], "ts": NOON}
    row |= {"record_id": desk.venue.next_id(), **columns}
    desk.venue.report(batch_of(REPORTS, [tuple(row[name] for name in REPORTS.names)]))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class Stop(BaseException):
    """The process is killed here."""


def stopped(act: Callable[[], object], after: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Act in a process that is killed after so many writes and syncs; whether it was."""
    calls = iter(range(after))
    with monkeypatch.context() as patch:
        for name in ("pwrite", "fsync", "fdatasync"):
            real = getattr(os, name)

            def stop(*args: Any, real: Any = real) -> Any:
                if next(calls, None) is None:
                    raise Stop
                return real(*args)

            patch.setattr(os, name, stop)
        try:
            act()
        except Stop:
            return True
    return False


def history(
    path: Path, schema: pa.Schema = REQUESTS, owner: str = ""
) -> list[tuple[int, pa.RecordBatch]]:
    """When a file's batches were received, and the records in each."""
    batches = Stream(held(schema), owner).read(path).batches()
    return [(b["received_at"][0].value, as_written(b)) for b in batches]


def record_id(system: str, sequence: int) -> int:
    """The id of record ``sequence`` of ``v`` (the venue), ``c1``, ``s2`` or ``firm``."""
    kinds = {"v": Kind.VENUE, "c": Kind.CUSTOMER, "s": Kind.STREET, "f": Kind.FIRM}
    number = int(system[1:]) if system[1:].isdecimal() else 1
    return make_id(Origin(kinds[system[0]], number).code, sequence)


_DEFAULTS: Row = {
    "ts": NOON,
    "request_type": "new",
    "exec_type": "new",
    "cl_ord_id": "A",
    "account": "alice",
    "symbol": "ALFA",
    "side": "buy",
    "ord_type": "limit",
    "time_in_force": "day",
    "order_qty": 100,
    "price": PRICE,
    "last_qty": 0,
    "last_px": 0,
    "transact_time": NOON,
    "venue": "XSIM",
    "poss_dup": False,
    "asset": "USD",
    "amount": 0,
    "settle_date": 0,
}


def whole(dataset: str, row: Mapping[str, Any]) -> Row:
    """A row with every column of its dataset."""
    return {name: row.get(name, _DEFAULTS.get(name)) for name in SCHEMAS[dataset].names}


def batch(dataset: str, rows: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    """Rows as a record batch; what a row leaves out is as in :data:`TERMS`, or null."""
    schema = SCHEMAS[dataset]
    tuples = [tuple(whole(dataset, row).values()) for row in rows]
    return pa.RecordBatch.from_struct_array(pa.array(tuples, pa.struct(list(schema))))


def frame(dataset: str, rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as a polars frame."""
    return pl.DataFrame(batch(dataset, rows))


def run_of(dataset: str, system: str, count: int, start: int = 0) -> pa.RecordBatch:
    """``count`` records of one origin from ``start`` on, told apart by an int64 column."""
    column = {"requests": "order_qty", "executions": "order_qty", "postings": "amount"}[dataset]
    ids = range(start, start + count)
    return batch(dataset, [_numbered(system, i) | {column: 1000 + i} for i in ids])


def _numbered(system: str, sequence: int) -> Row:
    known = record_id(system, sequence)
    return {"record_id": known, "order_id": known, "request_id": known, "exec_id": known}


def new(order_id: int, **terms: Any) -> Row:
    """The request of a new order."""
    return {"record_id": order_id, "order_id": order_id, **terms}


def change(request_type: str, record_id: int, order_id: int, **terms: Any) -> Row:
    """The request of a cancel or a replace."""
    return {"record_id": record_id, "order_id": order_id, "request_type": request_type, **terms}


def executions(order_id: int, *reports: Row, system: str = "s1") -> list[Row]:
    """What one street-side system reports of an order; ``exec_id`` and ``request_id`` are, unless
    given, the next event of the venue and the order's own request.
    """
    return [
        {
            "record_id": record_id(system, i),
            "exec_id": record_id("v", i),
            "order_id": order_id,
            "request_id": order_id,
            **report,
        }
        for i, report in enumerate(reports)
    ]


def columns(rows: Sequence[Mapping[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """These columns of rows, as tuples."""
    return [tuple(row[name] for name in names) for row in rows]
