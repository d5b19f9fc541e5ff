"""The job done by SQLite: six databases in WAL mode, which one connection has attached.

A system's own records are committed with ``synchronous=FULL``. Copies, which go from database to
database without passing through Python, are committed with ``NORMAL``: that syncs nothing by
itself. The log is folded into a database less often than by default, which is faster.
"""

import sqlite3
from pathlib import Path

import pyarrow as pa

from tests.benchmarks.peers.job import CUSTOMERS, KINDS, Answers
from tests.benchmarks.peers.sql import SqlPeer, all_readers
from tests.benchmarks.peers.statements import DUE, HOLDINGS, STAGED, STATUSES
from tradesys.venue.tapes import Tape

SETTINGS = {
    "page_size": 8192,
    "journal_mode": "wal",
    "synchronous": "normal",
    "cache_size": -200_000,
    "wal_autocheckpoint": 10_000,
}


class SQLite(SqlPeer):
    """Statements run in the database of a system, or in several at once."""

    key = "integer primary key"

    def open(self, folder: Path, tape: Tape) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=500)
        self.connection.execute("pragma temp_store = memory")
        for system in KINDS:
            self.connection.execute(f"attach '{folder / system}.db' as {system}")
            for name, value in SETTINGS.items():
                self.connection.execute(f"pragma {system}.{name} = {value}")
        self.connection.execute(f"create temp table staged ({STAGED})")
        self.connection.execute("create index staged_named on staged (account, cl_ord_id)")
        self.connection.execute(f"create temp table due ({DUE})")
        self.connection.execute("begin")
        self.make(tape)
        self.connection.execute("commit")
        for system in KINDS:
            self.connection.execute(f"pragma {system}.wal_checkpoint(truncate)")

    def run(self, system: str, statement: str, /, **values: object) -> int:
        return self.connection.execute(statement.replace("{s}", f"{system}."), values).rowcount

    def found(self, system: str, statement: str) -> list[tuple[object, ...]]:
        return self.connection.execute(statement.replace("{s}", f"{system}.")).fetchall()

    def load(self, system: str, table: str, rows: pa.Table) -> None:
        where = table if table in ("staged", "due") else f"{system}.{table}"
        marks = ", ".join("?" * rows.num_columns)
        self.connection.executemany(f"insert into {where} values ({marks})", tuples_of(rows))

    def begin(self, system: str) -> None:
        self.connection.execute(f"pragma {system}.synchronous = full")
        self.connection.execute("begin")

    def commit(self, system: str) -> None:
        self.connection.execute("commit")
        self.connection.execute(f"pragma {system}.synchronous = normal")

    def copy(self, dataset: str, spans: dict[str, tuple[int, int]]) -> None:
        self.connection.execute("begin")
        for system, writers in all_readers(dataset, spans).items():
            for writer in writers:
                first, stop = spans[writer]
                self.connection.execute(
                    f"insert into {system}.{dataset} select * from {writer}.{dataset} "
                    "where record_id >= ? and record_id < ?",
                    (first, stop),
                )
                self.followed(system, dataset, spans[writer])
        self.connection.execute("commit")

    def sent(self, _: str, /, entered: dict[str, tuple[int, int]]) -> dict[str, str]:
        return {customer: f"{customer}.requests" for customer in entered}

    def answers(self) -> list[Answers]:
        return [Answers(self.found(c, STATUSES), self.found(c, HOLDINGS)) for c in CUSTOMERS]

    def close(self) -> None:
        self.connection.close()


def tuples_of(table: pa.Table) -> list[tuple[object, ...]]:
    """The rows, times and days as whole numbers."""
    casts = {pa.date32(): pa.int32()}
    columns = (
        c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c.cast(casts.get(c.type, c.type))
        for c in table.columns
    )
    return list(zip(*(column.to_pylist() for column in columns), strict=True))
