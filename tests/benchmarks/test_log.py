"""Orders made durable, beside databases that are asked for the same.

Goal: an order is acknowledged only when it is on disk, and that costs no more than elsewhere.
Method: the same orders, in one run on one machine, every commit durable (``fdatasync``; SQLite in
WAL mode with ``synchronous=FULL``, PostgreSQL as installed): five rounds, in each of which all take
their turn; medians of the rates, and their ratios. *The log* appends records that are given, as a
plain table of the databases takes them; *order entry* also checks every rule, for which no peer is
asked.

A table of orders is given to everyone as the same Arrow table with the next ids. One submitter has
one connection and waits for each table; of sixteen each waits for its own, and those that wait
share what a commit costs. The log writes their tables one after the other and syncs once; a peer
is given sixteen tables as it has them fastest: SQLite and ``eventsourcing`` in one transaction,
PostgreSQL in one, or by several connections at once.

The log checks that the ids follow on, frames the table as it is, hashes, writes and syncs it.
SQLite gets rows of Python values by ``executemany`` in a transaction, its ids as its rowid.
PostgreSQL gets CSV, which Arrow writes, by COPY.
``eventsourcing`` gets an event of JSON for each order. What has to be made of the Arrow table for
that counts. Ids are the primary key of both databases.
"""

import asyncio
import io
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv as pc
import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteAggregateRecorder, SQLiteDatastore

from tests.benchmarks.figures import FULL, OURS, Figures
from tests.build import NOON, PRICE
from tradesys.network import Network
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import REQUESTS
from tradesys.systems.customer import CustomerSystem

ROUNDS, TURNS = (5, 8) if FULL else (3, 4)
FIGURES = Figures("log")
ACCOUNTS = [f"A{n:03}" for n in range(100)]
SYMBOLS = [f"S{n:02}" for n in range(10)]
BOOKS = OpeningBooks(ACCOUNTS, SYMBOLS, cash=10**16, shares=10**12)
TABLE = """create table requests (record_id bigint primary key, ts bigint, request_type text,
order_id bigint, cl_ord_id text, orig_cl_ord_id text, account text, symbol text, side text,
ord_type text, time_in_force text, expire_time bigint, order_qty bigint, price bigint,
reject_reason text)"""
ROWID = TABLE.replace("bigint primary key", "integer primary key")
"""In SQLite's own words: any other key would be a second index."""

INSERT = f"insert into requests values ({', '.join('?' * 15)})"

Task = Callable[[], int]
"""Does something durable, and says how many orders that was."""


TERMS: dict[str, Any] = {
    "account": "A001",
    "symbol": "S01",
    "side": "buy",
    "order_qty": 100,
    "price": PRICE,
}


class Given:
    """So many orders as a table of requests, again and again with ids that no two rows share."""

    def __init__(self, count: int) -> None:
        number, self.next = np.arange(count), 0
        texts = {"request_type": "new", "side": "buy", "ord_type": "limit", "time_in_force": "day"}
        columns = {
            "record_id": pa.array(number, pa.uint64()),
            "order_id": pa.array(number, pa.uint64()),
            "ts": pa.array(np.full(count, NOON)).cast(pa.timestamp("ns", "UTC")),
            "account": pa.array(ACCOUNTS).take(pa.array(number % len(ACCOUNTS))),
            "symbol": pa.array(SYMBOLS).take(pa.array(number % len(SYMBOLS))),
            "order_qty": pa.array(np.full(count, 100)),
            "price": pa.array(np.full(count, PRICE)),
            **{name: pa.repeat(text, count) for name, text in texts.items()},
        }
        self.columns = {f.name: columns.get(f.name, pa.nulls(count, f.type)) for f in REQUESTS}
        self.count = count

    def batch(self, first: int | None = None) -> pa.RecordBatch:
        """The orders with ids from ``first`` on, or with the next."""
        first = self.next if first is None else first
        self.next = first + self.count
        ids = pa.array(np.arange(first, self.next, dtype=np.uint64))
        self.columns["record_id"] = self.columns["order_id"] = ids
        return pa.RecordBatch.from_arrays([*self.columns.values()], schema=REQUESTS)


def one_row() -> tuple[Any, ...]:
    """The values of one order."""
    return tuples_of(Given(1).batch())[0]


def side_by_side(title: str, peers: dict[str, Task]) -> dict[str, float]:
    """The median rate of each, in orders a second.

    In every round all take turns of a twentieth of a second or little more: the disk is fast and
    slow by turns itself, and so for everybody.
    """
    for task in peers.values():
        task()
    rates: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(ROUNDS):
        orders, taken = dict.fromkeys(peers, 0), dict.fromkeys(peers, 0.0)
        for name, task in [*peers.items()] * TURNS:
            start, until = time.perf_counter(), time.perf_counter() + 0.05
            while (now := time.perf_counter()) < until:
                orders[name] += task()
            taken[name] += now - start
        for name in peers:
            rates[name].append(orders[name] / taken[name])
    return shown(title, rates)


def rate_of(task: Task, seconds: float = 0.4) -> float:
    orders, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        orders += task()
    return orders / taken


def shown(title: str, rates: dict[str, list[float]]) -> dict[str, float]:
    """The medians, printed with what the first is of each."""
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(f"\n{title}")
    ours = next(iter(medians.values()))
    own = [name for name in rates if name.startswith(("the log", "order entry"))]
    for name in own:
        what = f"{title}: {name.split(',', maxsplit=1)[0]}"
        FIGURES.add(what, OURS, "orders/s", rates[name])
        for other in rates.keys() - own:
            FIGURES.add(what, other, "orders/s", rates[other])
    FIGURES.write()
    for name, rate in medians.items():
        print(f"  {name:<44} {rate:>12,.0f} orders/s   the log is {ours / rate:>6.2f} x")
    return medians


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Network]:
    """A system for the log, and one for order entry: each has only its own orders to think of."""
    with Network(2, 1, firm=BOOKS, data=tmp_path / "run") as made:
        yield made


@pytest.fixture
def c1(desk: Network) -> CustomerSystem:
    return desk["c1"]


@pytest.fixture
def c2(desk: Network) -> CustomerSystem:
    return desk["c2"]


@pytest.fixture
def at_end() -> Iterator[ExitStack]:
    """What is to be closed when the test is over."""
    with ExitStack() as stack:
        yield stack


def sqlite_at(path: Path, at_end: ExitStack) -> sqlite3.Connection:
    connection = at_end.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    connection.execute(ROWID)
    return connection


def tuples_of(batch: pa.RecordBatch) -> list[tuple[object, ...]]:
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in batch.columns]
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def the_log(system: CustomerSystem, count: int) -> Task:
    """Commits tables of records as they are given, with the ids that the system gives."""
    given = Given(count)

    def commit() -> int:
        system.commit("requests", given.batch(system.next_id("requests")))
        return count

    return commit


def order_entry(system: CustomerSystem, count: int) -> Task:
    table = pa.Table.from_batches([Given(count).batch()]).select(list(TERMS))

    def submit() -> int:
        assert system.submit_many(table)["accepted"].all()
        return count

    return submit


def from_16(act: Callable[[], Awaitable[int]]) -> Task:
    """Sixteen submitters, each of whom waits for what it has given before it gives more."""

    async def submitter() -> int:
        return sum([await act() for _ in range(4)])

    async def submitters() -> int:
        return sum(await asyncio.gather(*(submitter() for _ in range(16))))

    return lambda: asyncio.run(submitters())


def the_log_shared(system: CustomerSystem, count: int) -> Task:
    given, group = Given(count), system._group

    async def commit() -> int:
        await group.committed(group.stage_batch(given.batch(system.next_id("requests"))))
        return count

    return from_16(commit)


def order_entry_shared(system: CustomerSystem, count: int) -> Task:
    table = pa.Table.from_batches([Given(count).batch()]).select(list(TERMS))

    async def submit() -> int:
        assert (await system.submit_many_async(table))["accepted"].all()
        return count

    return from_16(submit)


def sqlite_batches(path: Path, count: int, at_end: ExitStack, tables: int = 1) -> Task:
    connection, given = sqlite_at(path, at_end), Given(count)

    def insert() -> int:
        connection.execute("begin")
        for _ in range(tables):
            connection.executemany(INSERT, tuples_of(given.batch()))
        connection.execute("commit")
        return tables * count

    return insert


def copy(connection: psycopg.Connection, batch: pa.RecordBatch) -> None:
    batch = batch.set_column(1, "ts", batch["ts"].cast(pa.int64()))
    sink = io.BytesIO()
    pc.write_csv(batch, sink, pc.WriteOptions(include_header=False))
    with connection.cursor() as cursor, cursor.copy("copy requests from stdin csv") as stream:
        stream.write(sink.getvalue())


def postgres_batches(postgres: str, count: int, at_end: ExitStack, tables: int = 1) -> Task:
    connection, given = at_end.enter_context(psycopg.connect(postgres)), Given(count)
    connection.execute("drop table if exists requests")
    connection.execute(TABLE)
    connection.commit()

    def in_one() -> int:
        for _ in range(tables):
            copy(connection, given.batch())
        connection.commit()
        return tables * count

    return in_one


def postgres_at_once(postgres: str, count: int, at_end: ExitStack, connections: int) -> Task:
    """Each connection commits table after table; they are there already, as is what they fill."""
    threads = at_end.enter_context(ThreadPoolExecutor(connections))
    given = Given(count)
    given.next = connections << 40  # no other's ids
    idle = [at_end.enter_context(psycopg.connect(postgres)) for _ in range(connections)]

    def commit(batch: pa.RecordBatch) -> int:
        connection = idle.pop()
        copy(connection, batch)
        connection.commit()
        idle.append(connection)
        return count

    def at_once() -> int:
        return sum(threads.map(commit, [given.batch() for _ in range(16)]))

    return at_once


def eventsourcing_batches(path: Path, count: int, at_end: ExitStack, tables: int = 1) -> Task:
    recorder = SQLiteAggregateRecorder(SQLiteDatastore(str(path)))
    at_end.callback(recorder.datastore.close)
    recorder.create_table()
    given, names = Given(count), REQUESTS.names

    def record() -> int:
        rows = (row for _ in range(tables) for row in tuples_of(given.batch()))
        states = (json.dumps(dict(zip(names, row, strict=True))).encode() for row in rows)
        recorder.insert_events(
            [StoredEvent(uuid.uuid4(), 1, "requests", state) for state in states]
        )
        return tables * count

    return record


def test_one_order_a_commit_is_no_slower_than_sqlite(
    c1: CustomerSystem, c2: CustomerSystem, tmp_path: Path, at_end: ExitStack
) -> None:
    table, row, ids = c1.tables["requests"], one_row(), count(1)
    connection = sqlite_at(tmp_path / "one.db", at_end)

    def log() -> int:
        record_id = c1.next_id("requests")
        batches = c1.stamp("requests", [[(record_id, *row[1:3], record_id, *row[4:])]])
        table.write(batches)
        table.take(batches)
        return 1

    def entry() -> int:
        c2.submit(**TERMS)
        return 1

    def sqlite() -> int:
        number = next(ids)
        connection.execute(INSERT, (number, *row[1:3], number, *row[4:]))
        return 1

    peers = {"the log": log, "order entry": entry, "SQLite": sqlite}
    found = side_by_side("one order a commit, one submitter", peers)
    assert found["the log"] >= 0.85 * found["SQLite"]


def test_32_submitters_share_fdatasyncs(
    c1: CustomerSystem, c2: CustomerSystem, postgres: str, tmp_path: Path
) -> None:
    row = one_row()

    async def enter() -> None:
        await c2.submit_async(**TERMS)

    async def record() -> None:
        record_id = c1.next_id("requests")
        await c1._group.committed(c1._group.stage((record_id, *row[1:3], record_id, *row[4:])))

    async def submitter(act: Callable[[], Awaitable[None]]) -> None:
        for _ in range(50):
            await act()

    async def submitters(act: Callable[[], Awaitable[None]]) -> None:
        await asyncio.gather(*(submitter(act) for _ in range(32)))

    def all_of(act: Callable[[], Awaitable[None]]) -> int:
        asyncio.run(submitters(act))
        return 32 * 50

    pgbench_rate = pgbench(postgres, tmp_path / "insert.sql")
    ours = {"the log": record, "order entry, with all its checks": enter}
    rates: dict[str, list[float]] = {name: [] for name in (*ours, "pgbench")}
    for _ in range(ROUNDS):
        for name, act in ours.items():
            rates[name].append(rate_of(partial(all_of, act)))
        rates["pgbench"].append(pgbench_rate())
    found = shown("32 submitters, one order each at a time", rates)
    assert found["the log"] >= 3 * found["pgbench"]


def pgbench(postgres: str, script: Path) -> Callable[[], float]:
    """Measures how many inserts a second 32 clients of PostgreSQL commit."""
    with psycopg.connect(postgres) as connection:
        connection.execute("drop table if exists requests")
        connection.execute(TABLE.replace("bigint primary key", "bigserial primary key", 1))
    script.write_text(
        "insert into requests (ts, request_type, order_id, account, symbol, side, ord_type, "
        "time_in_force, order_qty, price) values "
        f"({NOON}, 'new', 1, 'A001', 'S01', 'buy', 'limit', 'day', 100, {PRICE});"
    )
    command = [*_pgbench(), "-n", "-M", "prepared", "-f", str(script), "-c", "32", "-j", "2"]
    host = dict(part.split("=") for part in postgres.split())["host"]
    command += ["-T", "2", "-h", host, "-U", "postgres", "postgres"]

    def rate() -> float:
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        (tps,) = re.findall(r"tps = ([0-9.]+)", said)
        return float(tps)

    return rate


def _pgbench() -> list[str]:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))
    return [str(installed[-1]) if installed else str(shutil.which("pgbench"))]


def test_tables_of_1000_orders(
    c1: CustomerSystem, c2: CustomerSystem, postgres: str, tmp_path: Path, at_end: ExitStack
) -> None:
    peers = {
        "the log": the_log(c1, 1000),
        "order entry, with all its checks": order_entry(c2, 1000),
        "SQLite": sqlite_batches(tmp_path / "many.db", 1000, at_end),
        "PostgreSQL, COPY": postgres_batches(postgres, 1000, at_end),
        "eventsourcing, SQLite": eventsourcing_batches(tmp_path / "events.db", 1000, at_end),
    }
    found = side_by_side("tables of 1,000 orders, a commit each", peers)
    assert found["the log"] >= 50 * found["eventsourcing, SQLite"]
    assert found["the log"] >= 15 * found["SQLite"]
    assert found["the log"] >= 15 * found["PostgreSQL, COPY"]


def test_tables_of_1000_orders_from_16_submitters(
    c1: CustomerSystem, c2: CustomerSystem, postgres: str, tmp_path: Path, at_end: ExitStack
) -> None:
    many = tmp_path / "many.db", tmp_path / "events.db"
    copies = {
        "PostgreSQL, 16 COPYs a commit": postgres_batches(postgres, 1000, at_end, 16),
        "PostgreSQL, COPY by 2 connections": postgres_at_once(postgres, 1000, at_end, 2),
        "PostgreSQL, COPY by 8 connections": postgres_at_once(postgres, 1000, at_end, 8),
    }
    peers = {
        "the log": the_log_shared(c1, 1000),
        "order entry, with all its checks": order_entry_shared(c2, 1000),
        "SQLite, 16 a commit": sqlite_batches(many[0], 1000, at_end, 16),
        **copies,
        "eventsourcing, SQLite, 16 a commit": eventsourcing_batches(many[1], 1000, at_end, 16),
    }
    found = side_by_side("tables of 1,000 orders from 16 submitters", peers)
    assert found["the log"] >= 50 * found["eventsourcing, SQLite, 16 a commit"]
    assert found["the log"] >= 15 * found["SQLite, 16 a commit"]
    assert found["the log"] >= 15 * max(found[name] for name in copies)


def test_tables_of_10000_orders_reach_much_of_what_the_disk_does(
    c1: CustomerSystem, c2: CustomerSystem, tmp_path: Path, at_end: ExitStack
) -> None:
    file = c1.tables["requests"].file
    assert file is not None
    commit = the_log(c1, 10_000)
    before = file._end
    commit()
    message = os.urandom(file._end - before)
    fd = os.open(tmp_path / "plain", os.O_RDWR | os.O_CREAT)
    at_end.callback(os.close, fd)
    place = 0

    def plain() -> int:
        nonlocal place
        place += os.pwrite(fd, message, place)
        os.fdatasync(fd)
        return 10_000

    peers = {"the log": commit, "write and fdatasync of as many bytes": plain}
    peers["order entry, with all its checks"] = order_entry(c2, 10_000)
    found = side_by_side("tables of 10,000 orders, a commit each", peers)
    assert found["the log"] >= 0.4 * found["write and fdatasync of as many bytes"]
