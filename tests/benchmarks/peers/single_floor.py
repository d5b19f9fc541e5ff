"""The least that anybody could do where requests come one by one."""

from pathlib import Path

import pyarrow as pa

from tests.benchmarks.peers.dictionaries import Books, Record
from tests.benchmarks.peers.files import Files
from tests.benchmarks.peers.job import CUSTOMERS, Counts
from tests.benchmarks.peers.row_peer import RowPeer
from tradesys.records.schemas import SCHEMAS, held
from tradesys.venue.tapes import Tape


class SingleFloor(RowPeer):
    """One set of dictionaries for all systems, and the bytes of a record in their files."""

    def make(self, folder: Path, tape: Tape) -> None:
        self.files, books = Files(folder, tape), Books(tape)
        self.books = dict.fromkeys(CUSTOMERS, books)

    def write(self, writer: str, dataset: str, rows: list[Record]) -> None:
        schema = held(SCHEMAS[dataset])
        tuples = [tuple(map(row.get, schema.names)) for row in rows]
        batch = pa.RecordBatch.from_struct_array(pa.array(tuples, pa.struct(list(schema))))
        self.files.write(writer, dataset, batch)
        books = self.books["c1"]
        for row in rows if dataset != "requests" else ():
            books.execution(row) if dataset == "executions" else books.posting(row)

    def counts(self) -> Counts:
        return self.files.counts()

    def close(self) -> None:
        self.files.close()
