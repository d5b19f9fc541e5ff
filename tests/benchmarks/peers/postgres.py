"""The job done by PostgreSQL: six databases of one server.

Tables come in by COPY, as CSV that Arrow writes. A system's own records are committed with
``synchronous_commit=on``. Copies are committed with ``off``; they go from database to database by
binary files that the server itself writes and reads, all readers at once, so that no record passes
through Python.
"""

import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.csv as pc

from tests.benchmarks.peers.job import CUSTOMERS, KINDS, ORDERS, POSITIONS, STREETS, Answers
from tests.benchmarks.peers.sql import SqlPeer, all_readers
from tests.benchmarks.peers.statements import DUE, HOLDINGS, STAGED, STATUSES, of_schema
from tests.benchmarks.server import Server, server_seconds
from tradesys.venue.tapes import Tape

_NAMED = re.compile(r"(?<!:):([a-z_]+)")


class Postgres(SqlPeer):
    """A connection for each system; the files are in the server's own folder."""

    empty = "truncate {}"

    def __init__(self, server: Server) -> None:
        self.server = server

    def open(self, folder: Path, tape: Tape) -> None:  # noqa: ARG002 - files are the server's
        self.connections = {}
        with psycopg.connect(self.server.connection, autocommit=True) as connection:
            for system in KINDS:
                connection.execute(f"drop database if exists {system}")
                connection.execute(f"create database {system}")
        for system in KINDS:
            where = self.server.connection.replace("dbname=postgres", f"dbname={system}")
            self.connections[system] = psycopg.connect(where)
            for name, columns in (("staged", STAGED), ("due", DUE)):
                self.run(system, f"create temp table {name} ({columns})")
        for street in STREETS:
            self.run(street, f"create temp table arrived ({of_schema('requests', 'bigint')})")
        self.threads = ThreadPoolExecutor(len(KINDS))
        self.make(tape)
        for connection in self.connections.values():
            connection.commit()
        self.files: dict[str, Path] = {}

    def run(self, system: str, statement: str, /, **values: object) -> int:
        statement = statement.replace("{s}", "")
        if values:
            statement = _NAMED.sub(r"%(\1)s", statement.replace("%", "%%"))
            given = {name: values[name] for name in values if f"%({name})s" in statement}
            return self.connections[system].execute(statement, given).rowcount
        return self.connections[system].execute(statement).rowcount

    def found(self, system: str, statement: str) -> list[tuple[object, ...]]:
        return self.connections[system].execute(statement.replace("{s}", "")).fetchall()

    def load(self, system: str, table: str, rows: pa.Table) -> None:
        for place, field in enumerate(rows.schema):
            if pa.types.is_temporal(field.type):
                kind = pa.int32() if pa.types.is_date(field.type) else pa.int64()
                rows = rows.set_column(place, field.name, rows[field.name].cast(kind))
        sink = io.BytesIO()
        pc.write_csv(rows, sink, pc.WriteOptions(include_header=False))
        statement = f"copy {table} from stdin csv"
        with self.connections[system].cursor() as cursor, cursor.copy(statement) as stream:
            stream.write(sink.getvalue())

    def begin(self, system: str) -> None:
        """The first statement begins a transaction."""

    def commit(self, system: str) -> None:
        self.connections[system].commit()

    def copy(self, dataset: str, spans: dict[str, tuple[int, int]]) -> None:
        for writer, (first, stop) in spans.items():
            self.files[writer] = path = self.server.data.parent / f"{writer}.copy"
            self.run(
                writer,
                f"copy (select * from {dataset} where record_id >= {first} and record_id < {stop}) "
                f"to '{path}' (format binary)",
            )
            self.commit(writer)
        taken = all_readers(dataset, spans)

        def take(system: str) -> None:
            for writer in taken[system]:
                copied = f"copy {dataset} from '{self.files[writer]}' (format binary)"
                self.run(system, f"set local synchronous_commit = off; {copied}")
                self.followed(system, dataset, spans[writer])
            self.commit(system)

        list(self.threads.map(take, taken))

    def sent(self, system: str, /, entered: dict[str, tuple[int, int]]) -> dict[str, str]:
        self.run(system, "truncate arrived")
        for customer in entered:
            self.run(system, f"copy arrived from '{self.files[customer]}' (format binary)")
        return dict.fromkeys(entered, "arrived")

    def answers(self) -> list[Answers]:
        def of(system: str) -> Answers:
            return Answers(
                self.table(system, STATUSES, ORDERS), self.table(system, HOLDINGS, POSITIONS)
            )

        return list(self.threads.map(of, CUSTOMERS))

    def table(self, system: str, statement: str, names: tuple[str, ...]) -> pl.DataFrame:
        """The rows of a query as a frame, by CSV."""
        text = io.BytesIO()
        query = f"copy ({statement.replace('{s}', '')}) to stdout csv"
        with self.connections[system].cursor() as cursor, cursor.copy(query) as stream:
            text.writelines(stream)
        return pl.read_csv(text.getvalue(), has_header=False, new_columns=list(names))

    def close(self) -> None:
        self.threads.shutdown()
        for connection in self.connections.values():
            connection.close()

    def server_seconds(self) -> float:
        return server_seconds(self.server.data)
