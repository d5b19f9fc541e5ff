"""The job as data, the same for everybody who is measured, and what has to come of it.

A recorded day comes in steps. In each, customer-facing systems are given tables of requests, and
the market then reports the fills that have become due. Six systems have to hold all records that
:mod:`tradesys.routes` says in the end, and each customer-facing one has to answer for all orders
and all accounts.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from tradesys.network.tape_replay import PLENTY_CASH, PLENTY_SHARES
from tradesys.records.schemas import CAPITAL, CURRENCY, SCHEMAS, Kind, held
from tradesys.records.trading_calendar import settle_dates
from tradesys.routes import WRITES, holdings
from tradesys.systems.street.symbol_assignment import Assignment
from tradesys.venue import tapes
from tradesys.venue.tapes import Tape

KINDS = {
    **dict.fromkeys(("c1", "c2", "c3"), Kind.CUSTOMER),
    **dict.fromkeys(("s1", "s2"), Kind.STREET),
    "firm": Kind.FIRM,
}
CUSTOMERS, STREETS = ("c1", "c2", "c3"), ("s1", "s2")
TICK, LOT = 100, 1

FIRST_ID = {name: (number + 1) << 48 for number, name in enumerate((*KINDS, "venue"))}
"""The id of the first record of each system, and of the market's first event, at a peer."""

ORDERS = ("cl_ord_id", "ord_status", "order_qty", "cum_qty", "leaves_qty")
POSITIONS = ("account", "asset", "amount")

Rows = pl.DataFrame | list[tuple[Any, ...]]
Counts = dict[str, dict[str, int]]


class Step(NamedTuple):
    """What comes in one step: the requests of each customer-facing system, then the fills.

    A fill names its order as the customer did: ``event, ts, account, cl_ord_id, last_qty,
    last_px``. ``until`` is the number of the event before which the step ends.
    """

    until: int
    tables: tuple[pa.Table, ...]
    fills: pa.Table


class Answers(NamedTuple):
    """What one customer-facing system answers: :data:`ORDERS` and :data:`POSITIONS`, any order."""

    orders: Rows
    positions: Rows


class Peer(ABC):
    """Whoever does the job. Opening and closing are not measured; steps and answers are."""

    @abstractmethod
    def open(self, folder: Path, tape: Tape) -> None:
        """Make six systems in an empty folder, with accounts, instruments, opening balances."""

    @abstractmethod
    def step(self, step: Step) -> None:
        """Enter requests, execute, clear; all is durable at its writer and copied on return."""

    @abstractmethod
    def answers(self) -> list[Answers]:
        """What each customer-facing system answers, from its own records."""

    @abstractmethod
    def counts(self) -> Counts:
        """How many records of each dataset each system holds."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all files."""

    def server_seconds(self) -> float:
        """Processor time that a server has taken for this peer so far."""
        return 0


def first_events(tape: Tape, events: int) -> Tape:
    """The part of a tape before an event."""
    before = pl.col("event") < events
    return replace(
        tape,
        requests=tape.requests.filter(before),
        fills=tape.fills.filter(before),
        events=min(events, tape.events),
    )


def one_at_a_time(tape: Tape, count: int) -> Tape:
    """The part of a tape with its first requests and fills, so many of both together."""
    numbers = pl.concat([tape.requests["event"], tape.fills["event"]]).sort().head(count)
    return first_events(tape, int(numbers[-1]) + 1)


def steps(tape: Tape, batch: int) -> list[Step]:
    """A tape in steps of so many events; with 1, a step for each request and each fill."""
    columns = tape.requests.select("cl_ord_id", "account")
    fills = tape.fills.join(columns, on="cl_ord_id", how="left", maintain_order="left")
    assert not fills["account"].null_count(), "every fill is of an order of the tape"
    fills = fills.select("event", "ts", "account", "cl_ord_id", "last_qty", "last_px")
    if batch == 1:
        numbers = pl.concat([tape.requests["event"], fills["event"]]).sort()
        bounds = (numbers.cast(pl.Int64) + 1).to_list()
    else:
        bounds = [*range(batch, tape.events, batch), tape.events]
    entry = tapes.entry_system(pl.col("account"), len(CUSTOMERS))
    parts = [tape.requests.filter(entry == number) for number in range(len(CUSTOMERS))]
    cut = [_cut(part, bounds) for part in (*parts, fills)]
    return [
        Step(until, (one, two, three), due)
        for until, one, two, three, due in zip(bounds, *cut, strict=True)
    ]


def _cut(rows: pl.DataFrame, bounds: list[int]) -> Iterator[pa.Table]:
    table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    start = 0
    for stop in rows["event"].search_sorted(pl.Series(bounds)):
        yield table.slice(start, stop - start)
        start = stop


def street_of(tape: Tape) -> dict[str, str]:
    """The street-side system of each symbol, as ours assigns them."""
    assignment = Assignment(STREETS)
    return {symbol: assignment.street_for(symbol) for symbol in tape.symbols}


def holders(dataset: str) -> list[str]:
    """The systems that hold a dataset."""
    return [name for name, kind in KINDS.items() if dataset in holdings(kind)]


def readers(dataset: str, writer: str) -> list[str]:
    """The systems that hold copies of what a system writes."""
    assert dataset in WRITES[KINDS[writer]]
    return [name for name in holders(dataset) if name != writer]


def opening(tape: Tape) -> dict[str, pa.Table]:
    """What the firm has written before the day begins; the same as our opening books."""
    accounts = tape.requests["account"].unique().sort().to_list()
    assets = {CURRENCY: PLENTY_CASH, **dict.fromkeys(tape.symbols, PLENTY_SHARES)}
    owners = {**dict.fromkeys(accounts, 1), CAPITAL: -len(accounts)}
    legs = [
        {"account": owner, "asset": asset, "amount": times * held_of}
        for owner, times in owners.items()
        for asset, held_of in assets.items()
    ]
    rows: dict[str, list[dict[str, Any]]] = {
        "accounts": [{"account": a, "name": a, "account_status": "active"} for a in accounts],
        "instruments": [
            {
                "symbol": s,
                "name": s,
                "tick_size": TICK,
                "lot_size": LOT,
                "security_status": "active",
            }
            for s in tape.symbols
        ],
        "postings": [leg | {"settle_date": first_day(tape)} for leg in legs],
    }
    return {dataset: _numbered(dataset, given, first_ts(tape)) for dataset, given in rows.items()}


def _numbered(dataset: str, rows: list[dict[str, Any]], now: int) -> pa.Table:
    numbered = [
        {"record_id": FIRST_ID["firm"] + n, "ts": now, "received_at": now} | row
        for n, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(numbered, held(SCHEMAS[dataset]))


def first_ts(tape: Tape) -> int:
    """When the tape begins, in ns."""
    return int(tape.requests["ts"].dt.timestamp("ns").to_numpy()[0])


def first_day(tape: Tape) -> int:
    """The tape's day as Arrow counts days."""
    return first_ts(tape) // (86_400 * 10**9)


def settle_day(tape: Tape) -> int:
    """When what is traded on the tape's day settles, as Arrow counts days."""
    days = settle_dates(pa.array([first_ts(tape)], pa.timestamp("ns", "UTC")))
    return int(np.asarray(days)[0].astype(np.int64))


# What came of it.


def normal(answers: Answers) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Answers as frames whose rows stand in one order."""
    texts = pl.col(pl.String, pl.Enum, pl.Categorical).cast(pl.String)
    return tuple(  # type: ignore[return-value]
        (rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows, schema=names, orient="row"))
        .select(names)
        .with_columns(texts, pl.selectors.integer().cast(pl.Int64))
        .sort(names[:2])
        for rows, names in zip(answers, (ORDERS, POSITIONS), strict=True)
    )


def difference(ours: Iterable[Answers], theirs: Iterable[Answers]) -> str | None:
    """Where two results first differ, in words; None where they are equal."""
    for system, one, other in zip(CUSTOMERS, ours, theirs, strict=True):
        for what, a, b in zip(("orders", "positions"), normal(one), normal(other), strict=True):
            if a.equals(b):
                continue
            if len(a) != len(b):
                return f"{system}, {what}: {len(a)} rows and {len(b)}"
            row = next(n for n, both in enumerate(zip(a.rows(), b.rows())) if both[0] != both[1])  # noqa: B905
            return f"{system}, {what}, row {row}: {a.row(row)} and {b.row(row)}"
    return None
