"""Tables of orders through order entry, with a name each and without, beside SQLite's same checks.

``python -m tests.benchmarks.names``. SQLite gets the same Arrow tables, as rows by ``executemany``
into a table of its own, and checks them as a set: the account and the symbol are known, quantity
and tick are right, an account can afford what it buys and what it has reserved. A unique index on
account and name takes no name twice. On disk a commit is synced (WAL, ``synchronous=FULL``). Turns
alternate. Ours checks further rules (kinds of order, times, statuses), which SQLite does not.
"""

import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.benchmarks.figures import FULL, OURS, Figures
from tests.benchmarks.test_log import BOOKS, INSERT, ROWID, TERMS, Given, tuples_of
from tradesys.network import Network

ROUNDS, ORDERS = (5, 100_000) if FULL else (3, 40_000)
COLUMNS = [*TERMS, "cl_ord_id"]

WRONG = """select count(*) from staged s left join accounts a on a.account = s.account
left join instruments i on i.symbol = s.symbol
where a.account is null or i.symbol is null or s.side not in ('buy', 'sell')
or s.order_qty <= 0 or s.order_qty % i.lot_size or s.price <= 0 or s.price % i.tick_size"""
TOO_MUCH = """select count(*) from (select account, sum(order_qty * price) as wanted from staged
where side = 'buy' group by account) join accounts using (account) where reserved + wanted > cash"""
RESERVE = """update accounts set reserved = reserved + wanted from (select account as of,
sum(order_qty * price) as wanted from staged where side = 'buy' group by account)
where account = of"""

Enter = Callable[[pa.Table], object]


def tables(count: int, first: int, *, named: bool) -> list[pa.Table]:
    """The orders of a turn, in tables of so many."""
    made = []
    for start in range(first, first + ORDERS, count):
        batch = Given(count).batch(start)
        names = pa.array(np.arange(start, start + count)).cast(pa.string())
        if named:
            batch = batch.set_column(batch.schema.names.index("cl_ord_id"), "cl_ord_id", names)
        made.append(pa.Table.from_batches([batch]))
    return made


def ours(folder: Path | None, stack: ExitStack) -> Enter:
    """Order entry of a system."""
    desk = stack.enter_context(Network(1, 1, firm=BOOKS, data=folder))

    def enter(table: pa.Table) -> None:
        assert desk["c1"].submit_many(table.select(COLUMNS))["accepted"].all()

    return enter


def sqlite(folder: Path | None, stack: ExitStack) -> Enter:
    """Order entry in SQL."""
    path = folder.with_suffix(".db") if folder else ":memory:"
    db = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
    if folder:
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=full")
    db.execute(ROWID)
    db.execute("create unique index named on requests (account, cl_ord_id)")
    db.execute(ROWID.replace("table requests", "temp table staged"))
    db.execute("create table accounts (account text primary key, cash int, reserved int)")
    db.execute("create table instruments (symbol text primary key, tick_size int, lot_size int)")
    db.executemany(
        "insert into accounts values (?, ?, 0)", [(a, BOOKS.cash) for a in BOOKS.accounts]
    )
    terms = [(s, BOOKS.tick_size, BOOKS.lot_size) for s in BOOKS.symbols]
    db.executemany("insert into instruments values (?, ?, ?)", terms)

    def enter(table: pa.Table) -> None:
        db.execute("begin")
        (batch,) = table.to_batches()
        db.executemany(INSERT.replace("requests", "staged"), tuples_of(batch))
        for rule in (WRONG, TOO_MUCH):
            assert db.execute(rule).fetchone() == (0,)
        db.execute(RESERVE)
        db.execute("insert into requests select * from staged")
        db.execute("delete from staged")
        db.execute("commit")

    return enter


def measure(count: int, where: str, folder: Path, figures: Figures) -> None:
    """Both, with names and without, in tables of so many."""
    rates: dict[tuple[bool, str], list[float]] = {}
    with ExitStack() as stack:
        enters = {
            (named, who): make(folder / f"{who}-{named}" if where == "on disk" else None, stack)
            for named in (True, False)
            for who, make in ((OURS, ours), ("SQLite", sqlite))
        }
        for turn in range(ROUNDS + 1):  # the first is not counted
            for (named, who), enter in [*enters.items()][:: -1 if turn % 2 else 1]:
                given = tables(count, turn * ORDERS, named=named)
                start = time.perf_counter()
                for table in given:
                    enter(table)
                rate = ORDERS / (time.perf_counter() - start)
                rates.setdefault((named, who), []).append(rate)
    for (named, who), found in rates.items():
        what = f"tables of {count:,} {'named' if named else 'nameless'} orders, {where}"
        figures.add(what, who, "orders/s", found[1:])
    for who in (OURS, "SQLite"):
        costs = zip(rates[False, who][1:], rates[True, who][1:], strict=True)
        what = f"a named order's cost of a nameless one's, tables of {count:,}, {where}"
        figures.add(what, who, "times", [nameless / named for nameless, named in costs])


def main() -> None:
    """Measure and print."""
    figures = Figures("names")
    with tempfile.TemporaryDirectory() as folder:
        for count in (1_000, 10_000):
            for where in ("in memory", "on disk"):
                place = Path(folder) / f"{count}-{where[:2]}"
                place.mkdir()
                measure(count, where, place, figures)
    figures.tell()


if __name__ == "__main__":
    main()
