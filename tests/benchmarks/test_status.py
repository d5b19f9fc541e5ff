"""Answers from views beside databases that work them out from the same records.

Goal: an answer does not get dearer as records add up, and is far cheaper than aggregating.
Method: records made by a rule (`flow.py`) are given to a view, and the columns that a question
needs to each database, whose query is only as long as these records ask for: no correction, no
replace, no repeat. Medians of five, in one run, on one machine. A view is asked for all statuses
after each further batch of 10,000 records, since it keeps what has not changed since; what it costs
when every order has changed is in the table too.
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

from tests.benchmarks.flow import cut, flow
from tradesys.loops import PAGE_BITS
from tradesys.views import View

SIZES = {"1 M": 1_000_000, "10 M": 10_000_000}
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


def seconds(work: Callable[[], object]) -> float:
    """How long something takes: the median of five."""
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        answer = work()
        taken.append(time.perf_counter() - start)
        del answer
    return statistics.median(taken)


def take(view: View, dataset: str, batches: Iterator[pa.RecordBatch]) -> list[float]:
    """Give batches to a view, which works each in at once; how long each took."""
    taken = []
    for batch in batches:
        start = time.perf_counter()
        view.apply(dataset, batch)
        view.last_px("")  # a question, which nothing may wait for
        taken.append(time.perf_counter() - start)
    return taken


class Measured:
    """A view of all records but the last, those, and what was measured, in seconds."""

    def __init__(self, size: int) -> None:
        self.view, self.flow = View(), flow(size + 260_000)
        self.times: dict[str, float] = {}
        *first, self.last = zip(self.flow.requests, self.flow.executions, strict=True)
        warm = View()
        for dataset, batches in zip(COLUMNS, flow(260)[:3], strict=True):
            take(warm, dataset, iter(batches))
        warm.statuses()
        kept, records = 0.0, 0
        for requests, executions in first:
            for dataset, batch in (("requests", requests), ("executions", executions)):
                kept += sum(take(self.view, dataset, cut([batch], 10_000)))
                records += batch.num_rows
        take(self.view, "postings", iter(self.flow.postings))
        self.times["a record, in batches of 10,000"] = kept / records

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """The columns that databases are given."""
        for dataset, batches in zip(COLUMNS, self.flow[:3], strict=True):
            yield dataset, pa.Table.from_batches(batches).select(COLUMNS[dataset])


def measure(size: int) -> Measured:
    """What the questions cost."""
    measured = Measured(size)
    view, times = measured.view, measured.times
    start = time.perf_counter()
    view.statuses()
    times["all statuses, the first time"] = time.perf_counter() - start
    requests, executions = measured.last
    rest = requests.num_rows - 3000
    take(view, "requests", cut([requests.slice(0, rest)], 10_000))
    asked = []
    for batch in cut([executions], 10_000):
        take(view, "executions", iter([batch]))
        start = time.perf_counter()
        told = view.statuses()
        asked.append(time.perf_counter() - start)
        del told
    times["all statuses"] = statistics.median(asked)
    ones = take(view, "requests", cut([requests.slice(rest)], 1))
    times["a batch of one request"] = statistics.median(ones)
    once = executions.slice(0, 3000)
    again = once.set_column(2, "exec_id", pa.array(once["exec_id"].to_numpy() + np.uint64(1 << 32)))
    times["a batch of one execution"] = statistics.median(take(view, "executions", cut([again], 1)))
    ones = take(view, "postings", cut(measured.flow.postings, 1))
    times["a batch of one posting"] = statistics.median(ones)
    pages = view.facts.slots.count >> PAGE_BITS

    def changed() -> pl.DataFrame:
        view.facts.changed[1:pages] = True
        return view.statuses()

    times["all statuses, every order changed"] = seconds(changed)
    ids = np.random.default_rng(1).choice(view.statuses()["order_id"].to_numpy(), 10_000).tolist()
    times["one order"] = seconds(lambda: [view.order(i) for i in ids]) / len(ids)
    times["positions"] = seconds(view.positions)
    return measured


def measure_duckdb(measured: Measured) -> dict[str, float]:
    """DuckDB, in memory, giving Arrow tables."""
    with duckdb.connect() as connection:
        for dataset, table in measured.tables():
            connection.register("given", table)
            connection.execute(f"create table {dataset} as select * from given")
            connection.unregister("given")

        def ask(query: str) -> Callable[[], pa.Table]:
            return lambda: connection.sql(query).to_arrow_table()

        return {"all statuses": seconds(ask(STATUSES)), "positions": seconds(ask(POSITIONS))}


def measure_postgres(measured: Measured, connection_string: str) -> dict[str, float]:
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


def measure_sqlite(measured: Measured) -> dict[str, float]:
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
    ids = np.random.default_rng(1).choice(measured.view.statuses()["order_id"].to_numpy(), 1000)

    def ask() -> list[Any]:
        return [connection.execute(ONE, {"id": i}).fetchone() for i in ids.tolist()]

    found = {"one order": seconds(ask) / len(ids)}
    connection.close()
    return found


def show(times: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print all that was measured: for each size, ours, theirs, and how many times that is."""
    for size, systems in times.items():
        print(f"\n{size} records")
        for name, ours in systems["view"].items():
            theirs = [
                f"{system} {_readable(found[name])} ({found[name] / ours:,.0f} x)"
                for system, found in systems.items()
                if system != "view" and name in found
            ]
            print(f"  {name:36} {_readable(ours):>10}   {'   '.join(theirs)}")


def _readable(taken: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if taken >= scale:
            return f"{taken / scale:,.1f} {unit}"
    return f"{taken * 1e9:,.0f} ns"


@pytest.fixture(scope="module")
def times(postgres: str) -> dict[str, dict[str, dict[str, float]]]:
    """What every size costs everyone, in seconds."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, size in SIZES.items():
        measured = measure(size)
        found[name] = {
            "view": measured.times,
            "DuckDB": measure_duckdb(measured),
            "SQLite": measure_sqlite(measured),
            "PostgreSQL": measure_postgres(measured, postgres),
        }
    show(found)
    return found


def test_the_databases_are_asked_what_the_view_answers() -> None:
    measured = Measured(1000)
    for dataset, batch in zip(("requests", "executions"), measured.last, strict=True):
        take(measured.view, dataset, iter([batch]))
    with duckdb.connect() as connection:
        for dataset, table in measured.tables():
            connection.register(dataset, table)
        theirs = pl.DataFrame(connection.sql(STATUSES).to_arrow_table()).sort("order_id")
        balances = pl.DataFrame(connection.sql(POSITIONS).to_arrow_table())
    ours = measured.view.statuses().select(ANSWER)
    assert ours.cast(theirs.schema).equals(theirs)
    held = measured.view.positions().select("account", "asset", "amount")
    assert held.equals(balances.cast(held.schema).sort("account", "asset"))


@pytest.mark.parametrize(
    ("question", "database", "least"),
    [
        ("all statuses", "DuckDB", 50),
        ("all statuses", "PostgreSQL", 100),
        ("one order", "SQLite", 3),
        ("positions", "DuckDB", 50),
    ],
)
def test_an_answer_is_so_many_times_cheaper_than_a_database_s(
    times: dict[str, dict[str, dict[str, float]]], question: str, database: str, least: float
) -> None:
    assert times["10 M"][database][question] / times["10 M"]["view"][question] >= least


@pytest.mark.parametrize("question", ["one order", "positions"])
def test_an_answer_does_not_get_dearer_with_history(
    times: dict[str, dict[str, dict[str, float]]], question: str
) -> None:
    small, large = (times[size]["view"][question] for size in SIZES)
    assert large < 3 * small
