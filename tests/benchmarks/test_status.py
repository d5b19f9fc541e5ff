"""Answers from views beside databases that work them out from the same records.

Goal: an answer does not get dearer as records add up, and is far cheaper than aggregating.
Method: records made by a rule (`flow.py`) are given to a customer-facing system, and the columns
that a question needs to each database, whose query is only as long as these records ask for: no
correction, no replace, no repeat. The system is asked by its public calls. Medians of five, in one
run, on one machine. All statuses are asked for in two cases: after each further batch of 10,000
records, and after a further record of every order, since a system works on arrival and not when it
is asked: what it then takes for a record is told beside it.
"""

import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import numpy as np
import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.csv as pc
import pytest

from tests.benchmarks.figures import FULL, OURS, Figures
from tests.benchmarks.flow import cut, flow
from tests.build import record_id
from tradesys.records.arrow import with_columns
from tradesys.records.clock import ManualClock
from tradesys.records.schemas import Kind, Origin, make_id, split_id
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.system import Place

LARGE = "10 M" if FULL else "1 M"
SIZES = {"1 M": 1_000_000, "10 M": 10_000_000} if FULL else {"100 k": 100_000, "1 M": 1_000_000}
FIGURES = Figures("status")
ROUNDS = 5

STATUSES = """
select r.order_id,
       case when e.cum_qty >= r.order_qty then 'filled'
            when e.canceled then 'canceled'
            when e.cum_qty > 0 then 'partially_filled'
            when e.acknowledged then 'new'
            else 'pending_new' end as ord_status,
       r.order_qty, coalesce(e.cum_qty, 0) as cum_qty,
       case when e.canceled then 0
            else greatest(r.order_qty - coalesce(e.cum_qty, 0), 0) end as leaves_qty,
       e.amount / (e.cum_qty * 10000.0) as avg_px
from requests r left join (
    select order_id,
           sum(case when exec_type = 'trade' then last_qty end) as cum_qty,
           sum(case when exec_type = 'trade' then last_qty * last_px end) as amount,
           max(case when exec_type = 'canceled' then 1 else 0 end) = 1 as canceled,
           max(case when exec_type = 'new' then 1 else 0 end) = 1 as acknowledged
    from executions group by order_id) e on e.order_id = r.order_id
where r.request_type = 'new'
"""
ONE = STATUSES.replace("greatest", "max").replace("group by", "where order_id = :id group by") + (
    " and r.order_id = :id"
)
POSITIONS = """
select account, asset, sum(amount) as amount from (
    select account, asset, amount from postings
    union all
    select account, symbol, case side when 'buy' then last_qty else -last_qty end
    from executions where exec_type = 'trade'
    union all
    select account, 'USD', case side when 'buy' then -last_qty else last_qty end * last_px
    from executions where exec_type = 'trade') as legs
group by account, asset
"""
COLUMNS = {
    "requests": ("order_id", "request_type", "order_qty"),
    "executions": ("order_id", "exec_type", "last_qty", "last_px", "account", "symbol", "side"),
    "postings": ("account", "asset", "amount"),
}
ANSWER = ("order_id", "ord_status", "order_qty", "cum_qty", "leaves_qty", "avg_px")


Times = dict[str, list[float]]


def seconds(work: Callable[[], object], parts: int = 1) -> list[float]:
    """How long each of so many parts of something takes, five times."""
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        answer = work()
        taken.append((time.perf_counter() - start) / parts)
        del answer
    return taken


def reader() -> CustomerSystem:
    """A customer-facing system to which all records come from others."""
    return CustomerSystem(Place(Origin(Kind.CUSTOMER, 9), ManualClock()))


def take(system: CustomerSystem, dataset: str, batches: Iterator[pa.RecordBatch]) -> list[float]:
    """Give batches to a system, whose view works each in at once; how long it took for each."""
    taken = []
    for batch in batches:
        system.receive(dataset, batch)
        start = time.perf_counter()
        system.view.last_px("")  # a question, which nothing may wait for
        taken.append(time.perf_counter() - start)
    return taken


class Measured:
    """A system with all records but the last, those, and what was measured, in seconds."""

    def __init__(self, size: int) -> None:
        self.system, self.flow = reader(), flow(size + 260_000)
        self.times: Times = {}
        *first, self.last = zip(self.flow.requests, self.flow.executions, strict=True)
        warm = reader()
        for dataset, batches in zip(COLUMNS, flow(260)[:3], strict=True):
            take(warm, dataset, iter(batches))
        warm.statuses()
        kept, records = 0.0, 0
        for requests, executions in first:
            for dataset, batch in (("requests", requests), ("executions", executions)):
                kept += sum(take(self.system, dataset, cut([batch], 10_000)))
                records += batch.num_rows
        take(self.system, "postings", iter(self.flow.postings))
        self.times["a record, in batches of 10,000"] = [kept / records]

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """The columns that databases are given."""
        for dataset, batches in zip(COLUMNS, self.flow[:3], strict=True):
            yield dataset, pa.Table.from_batches(batches).select(COLUMNS[dataset])


def repeated(batch: pa.RecordBatch, after: int) -> pa.RecordBatch:
    """The same records as further ones, of further events: they follow on so many."""
    code, _ = split_id(batch["record_id"][0].as_py())
    ids = np.uint64(make_id(code, after)) + np.arange(batch.num_rows, dtype=np.uint64)
    changed = {"record_id": pa.array(ids)}
    if not batch["exec_id"].null_count:
        changed["exec_id"] = pa.array(batch["exec_id"].to_numpy() + np.uint64(1 << 24))
    return with_columns(batch, **changed)


def measure(size: int) -> Measured:
    """What the questions cost."""
    measured = Measured(size)
    system, times = measured.system, measured.times
    start = time.perf_counter()
    system.statuses()
    times["all statuses, the first time"] = [time.perf_counter() - start]
    requests, executions = measured.last
    rest = requests.num_rows - 3000
    take(system, "requests", cut([requests.slice(0, rest)], 10_000))
    asked = []
    for batch in cut([executions], 10_000):
        take(system, "executions", iter([batch]))
        start = time.perf_counter()
        told = system.statuses()
        asked.append(time.perf_counter() - start)
        del told
    times["all statuses, after 10,000 records"] = asked
    ones = take(system, "requests", cut([requests.slice(rest)], 1))
    times["a batch of one request"] = ones
    once = executions.slice(0, 3000)
    again = repeated(once, after=system.tables["executions"].count(split_id(record_id("s1", 0))[0]))
    times["a batch of one execution"] = take(system, "executions", cut([again], 1))
    postings = repeated(measured.flow.postings[0], after=len(measured.flow.postings[0]))
    times["a batch of one posting"] = take(system, "postings", cut([postings], 1))
    times |= measure_changed(measured)
    ids = np.random.default_rng(1).choice(system.statuses()["order_id"].to_numpy(), 10_000).tolist()
    times["one order"] = seconds(lambda: [system.status(i) for i in ids], len(ids))
    times["one order, and its name"] = seconds(
        lambda: [system.status(i).cl_ord_id for i in ids], len(ids)
    )
    times["positions"] = seconds(system.positions)
    return measured


def measure_changed(measured: Measured) -> Times:
    """What all statuses cost when every order has changed since they were asked for.

    One answer is kept, as by somebody who looks at it, while the next is made.
    """
    view, kept, asked = measured.system.view, [], []
    told = measured.system.statuses()
    for turn in range(ROUNDS):
        changes = [restated(batch, turn) for batch in measured.flow.executions]
        start = time.perf_counter()
        for batch in cut(changes, 10_000):
            view.apply("executions", batch)
        view.last_px("")
        kept.append((time.perf_counter() - start) / sum(batch.num_rows for batch in changes))
        start = time.perf_counter()
        later = measured.system.statuses()
        asked.append(time.perf_counter() - start)
        assert (later["order_qty"] == told["order_qty"] + 1).all()
        told = later
    return {
        "all statuses, after every order changed": asked,
        "a record, where it changes what was answered": kept,
    }


def restated(batch: pa.RecordBatch, turn: int) -> pa.RecordBatch:
    """A further event of each order that these reports acknowledge: a share more is asked for."""
    of = batch.filter(pa.compute.equal(batch["exec_type"], "new"))
    return with_columns(
        of,
        exec_id=pa.array(of["exec_id"].to_numpy() + np.uint64((turn + 2) << 24)),
        exec_type=pa.repeat("restated", of.num_rows),
        order_qty=pa.array(of["order_qty"].to_numpy() + turn + 1),
    )


def measure_duckdb(measured: Measured) -> Times:
    """DuckDB, in memory, giving Arrow tables."""
    with duckdb.connect() as connection:
        for dataset, table in measured.tables():
            connection.register("given", table)
            connection.execute(f"create table {dataset} as select * from given")
            connection.unregister("given")

        def ask(query: str) -> Callable[[], pa.Table]:
            return lambda: connection.sql(query).to_arrow_table()

        return {"all statuses": seconds(ask(STATUSES)), "positions": seconds(ask(POSITIONS))}


def measure_postgres(measured: Measured, connection_string: str) -> Times:
    """PostgreSQL; the answer stays in the server."""
    types = {pa.uint64(): "bigint", pa.int64(): "bigint", pa.utf8(): "text"}
    with psycopg.connect(connection_string, autocommit=True) as connection:
        connection.execute("set work_mem = '256MB'")
        for dataset, table in measured.tables():
            columns = ", ".join(f"{f.name} {types[f.type]}" for f in table.schema)
            connection.execute(f"drop table if exists {dataset}")
            connection.execute(f"create unlogged table {dataset} ({columns})")
            with connection.cursor().copy(f"copy {dataset} from stdin (format csv)") as copy:
                for batch in table.to_batches():
                    text = pa.BufferOutputStream()
                    pc.write_csv(batch, text, pc.WriteOptions(include_header=False))
                    copy.write(text.getvalue().to_pybytes())
            connection.execute(f"analyze {dataset}")

        def ask() -> None:
            connection.execute("drop table if exists answer")
            connection.execute(f"create temp table answer as {STATUSES}")

        return {"all statuses": seconds(ask)}


def measure_sqlite(measured: Measured) -> Times:
    """SQLite in memory, with an index on the order of both tables."""
    connection = sqlite3.connect(":memory:")
    for dataset, table in measured.tables():
        names = ", ".join(table.schema.names)
        marks = ", ".join("?" * table.num_columns)
        connection.execute(f"create table {dataset} ({names})")
        for batch in table.to_batches(max_chunksize=100_000):
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            connection.executemany(f"insert into {dataset} values ({marks})", rows)
    for dataset in ("requests", "executions"):
        connection.execute(f"create index of_{dataset} on {dataset} (order_id)")
    ids = np.random.default_rng(1).choice(measured.system.statuses()["order_id"].to_numpy(), 1000)

    def ask() -> list[Any]:
        return [connection.execute(ONE, {"id": i}).fetchone() for i in ids.tolist()]

    found = {"one order": seconds(ask, len(ids))}
    connection.close()
    return found


def show(times: dict[str, dict[str, Times]]) -> None:
    """Print all that was measured: for each size, ours, theirs, and how many times that is."""
    middle = statistics.median
    for size, systems in times.items():
        print(f"\n{size} records")
        for name, ours in systems["ours"].items():
            question = name.split(",")[0]
            theirs = [
                f"{system} {_readable(middle(found[question]))} "
                f"({middle(found[question]) / middle(ours):,.0f} x)"
                for system, found in systems.items()
                if system != "ours" and question in found
            ]
            print(f"  {name:40} {_readable(middle(ours)):>10}   {'   '.join(theirs)}")
            what = f"{name}, of {size} records"
            FIGURES.add(what, OURS, "ms", [1e3 * taken for taken in ours])
            for system, found in systems.items():
                if system != "ours" and question in found:
                    FIGURES.add(what, system, "ms", [1e3 * taken for taken in found[question]])
    FIGURES.write()


def _readable(taken: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if taken >= scale:
            return f"{taken / scale:,.1f} {unit}"
    return f"{taken * 1e9:,.0f} ns"


@pytest.fixture(scope="module")
def times(postgres: str) -> dict[str, dict[str, Times]]:
    """What every size costs everyone, in seconds."""
    found: dict[str, dict[str, Times]] = {}
    for name, size in SIZES.items():
        measured = measure(size)
        found[name] = {
            "ours": measured.times,
            "DuckDB": measure_duckdb(measured),
            "SQLite": measure_sqlite(measured),
            "PostgreSQL": measure_postgres(measured, postgres),
        }
    show(found)
    return found


def test_the_databases_are_asked_what_a_system_answers() -> None:
    measured = Measured(1000)
    for dataset, batch in zip(("requests", "executions"), measured.last, strict=True):
        take(measured.system, dataset, iter([batch]))
    with duckdb.connect() as connection:
        for dataset, table in measured.tables():
            connection.register(dataset, table)
        theirs = pl.DataFrame(connection.sql(STATUSES).to_arrow_table()).sort("order_id")
        balances = pl.DataFrame(connection.sql(POSITIONS).to_arrow_table())
    ours = measured.system.statuses().select(ANSWER)
    assert ours.cast(theirs.schema).equals(theirs)
    held = measured.system.positions().select("account", "asset", "amount")
    assert held.equals(balances.cast(held.schema).sort("account", "asset"))


@pytest.mark.skipif(not FULL, reason="asked of 10 M records: make bench FULL=1")
@pytest.mark.parametrize(
    ("question", "database", "least"),
    [
        ("all statuses, after 10,000 records", "DuckDB", 50),
        ("all statuses, after 10,000 records", "PostgreSQL", 100),
        ("all statuses, after every order changed", "DuckDB", 50),
        ("all statuses, after every order changed", "PostgreSQL", 100),
        ("one order", "SQLite", 3),
        ("positions", "DuckDB", 50),
    ],
)
def test_an_answer_is_so_many_times_cheaper_than_a_database_s(
    times: dict[str, dict[str, Times]], question: str, database: str, least: float
) -> None:
    theirs = times[LARGE][database][question.split(",", maxsplit=1)[0]]
    assert statistics.median(theirs) >= least * statistics.median(times[LARGE]["ours"][question])


@pytest.mark.parametrize("question", ["one order", "positions"])
def test_an_answer_does_not_get_dearer_with_history(
    times: dict[str, dict[str, Times]], question: str
) -> None:
    small, large = (statistics.median(times[size]["ours"][question]) for size in SIZES)
    assert large < 3 * small
