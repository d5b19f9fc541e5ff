"""The job done by ``eventsourcing`` on SQLite: an application, and its recorder, for each system.

A record is an event: JSON in a recorder that inserts many at once. Copies are the same events in
the recorders of other systems. What is known of orders and balances follows from events, in
dictionaries that each customer-facing system has for itself.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteAggregateRecorder, SQLiteDatastore

from tests.benchmarks.peers.dictionaries import Books, Record
from tests.benchmarks.peers.job import CUSTOMERS, KINDS, Counts, holders, opening
from tests.benchmarks.peers.row_peer import RowPeer
from tests.benchmarks.peers.sqlite import tuples_of
from tradesys.records.schemas import SCHEMAS, held
from tradesys.routes import holdings
from tradesys.venue.tapes import Tape

NAMES = {dataset: held(schema).names for dataset, schema in SCHEMAS.items()}
FIRST_UUID = {dataset: number << 64 for number, dataset in enumerate(SCHEMAS)}


class Events(RowPeer):
    """A recorder for what a system writes, and one, which syncs nothing, for its copies."""

    def make(self, folder: Path, tape: Tape) -> None:
        self.folder = folder
        self.books = {customer: Books(tape) for customer in CUSTOMERS}
        self.stores: list[SQLiteDatastore] = []
        self.own, self.copies = self.recorders("full"), self.recorders("normal")
        for dataset, table in opening(tape).items():
            rows = [dict(zip(NAMES[dataset], row, strict=True)) for row in tuples_of(table)]
            self.insert("firm", dataset, rows)

    def recorders(self, synchronous: str) -> dict[str, SQLiteAggregateRecorder]:
        """A recorder for each system whose commits are synced, or not."""
        made = {}
        for system in KINDS:
            store = SQLiteDatastore(str(self.folder / f"{system}.db"))
            self.stores.append(store)
            made[system] = recorder = SQLiteAggregateRecorder(store)
            recorder.create_table()
            with store.get_connection(commit=True) as connection:  # the only one that writes
                for setting in (f"synchronous = {synchronous}", "wal_autocheckpoint = 20000"):
                    connection.cursor().execute(f"pragma {setting}")
        return made

    def insert(self, writer: str, dataset: str, rows: list[Record]) -> None:
        """Make events of records, durable at their writer, and copy them."""
        names, first, events = NAMES[dataset], FIRST_UUID[dataset], []
        for row in rows:
            state = json.dumps({name: row.get(name) for name in names}).encode()
            events.append(StoredEvent(UUID(int=first + row["record_id"]), 1, dataset, state))
        self.own[writer].insert_events(events)
        for system in holders(dataset):
            if system != writer:
                self.copies[system].insert_events(events)

    def write(self, writer: str, dataset: str, rows: list[Record]) -> None:
        self.insert(writer, dataset, rows)
        for system, books in self.books.items():
            if system != writer:
                take = {"requests": books.request, "executions": books.execution}
                for row in rows:
                    take.get(dataset, books.posting)(row)

    def counts(self) -> Counts:
        counted = "select count(*) from stored_events where topic = ?"
        found: Counts = {}
        for system, kind in KINDS.items():
            with closing(sqlite3.connect(self.folder / f"{system}.db")) as connection:
                found[system] = {
                    dataset: connection.execute(counted, (dataset,)).fetchone()[0]
                    for dataset in holdings(kind)
                }
        return found

    def close(self) -> None:
        for store in self.stores:
            store.close()
