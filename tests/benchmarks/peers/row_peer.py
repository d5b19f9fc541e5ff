"""The job one record at a time, in Python: what the floor for single orders and events share."""

import time
from abc import abstractmethod
from pathlib import Path

import pyarrow as pa

from tests.benchmarks.peers.dictionaries import (
    Books,
    Record,
    answer_to,
    legs_of,
    trade_of,
)
from tests.benchmarks.peers.job import (
    CUSTOMERS,
    FIRST_ID,
    Answers,
    Peer,
    Step,
    settle_day,
    street_of,
)
from tests.benchmarks.peers.sqlite import tuples_of
from tradesys.venue.tapes import Tape


class RowPeer(Peer):
    """Rows are dictionaries; a peer says how they are written, and who keeps books.

    ``books`` has the books that each customer-facing system keeps.
    """

    books: dict[str, Books]

    @abstractmethod
    def write(self, writer: str, dataset: str, rows: list[Record]) -> None:
        """Make records durable at their writer, and copy them to all others that hold them."""

    def open(self, folder: Path, tape: Tape) -> None:
        self.next_id = dict(FIRST_ID)
        self.next_id["firm"] += 2 * tape.requests["account"].n_unique() * (1 + len(tape.symbols))
        self.streets, self.settle_date = street_of(tape), settle_day(tape)
        self.make(folder, tape)

    @abstractmethod
    def make(self, folder: Path, tape: Tape) -> None:
        """Make files and books."""

    def step(self, step: Step) -> None:
        executions: dict[str, list[Record]] = {street: [] for street in self.streets.values()}
        for system, table in zip(CUSTOMERS, step.tables, strict=True):
            if len(table):
                for request in self.enter(system, _rows(table)):
                    executions[self.streets[request["symbol"]]].append(answer_to(request))
        for fill in _rows(step.fills) if len(step.fills) else ():
            order = self.books["c1"].named[fill["account"], fill["cl_ord_id"]]
            executions[self.streets[order.symbol]].append(trade_of(order, fill))
        trades = []
        for street, rows in executions.items():
            if rows:
                rows.sort(key=lambda row: row["transact_time"])
                now = time.time_ns()
                for row in rows:
                    row.update(self.known(street, now), exec_id=self.next("venue"))
                    row.update(venue="TAPE", poss_dup=False)
                self.write(street, "executions", rows)
                trades += [row for row in rows if row["exec_type"] == "trade"]
        if trades:
            now = time.time_ns()
            legs = [leg for trade in trades for leg in legs_of(trade, self.settle_date)]
            self.write("firm", "postings", [leg | self.known("firm", now) for leg in legs])

    def next(self, system: str) -> int:
        """The next id of a system."""
        self.next_id[system] += 1
        return self.next_id[system] - 1

    def known(self, system: str, now: int) -> Record:
        """What every record has."""
        return {"record_id": self.next(system), "ts": now, "received_at": now}

    def enter(self, system: str, rows: list[Record]) -> list[Record]:
        """Check and record."""
        books, now = self.books[system], time.time_ns()
        for row in rows:
            if books.wrong(row):
                raise NotImplementedError("refusals; the tape has none")
            row["record_id"] = record_id = self.next(system)
            row["received_at"] = now
            is_new = row["request_type"] == "new"
            row["order_id"] = (
                record_id if is_new else books.named[row["account"], row["orig_cl_ord_id"]].order_id
            )
            books.request(row)
        self.write(system, "requests", rows)
        return rows

    def answers(self) -> list[Answers]:
        return [self.books[system].answers() for system in CUSTOMERS]


def _rows(table: pa.Table) -> list[Record]:
    return [dict(zip(table.column_names, row, strict=True)) for row in tuples_of(table)]
