"""The job in set-based SQL, the same for SQLite and PostgreSQL: six databases, one for each system.

Any customer-facing system could take the next request of any account, as ours can: it has the open
orders and balances of all. Answers come from the records.
"""

import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.benchmarks.peers.job import (
    CUSTOMERS,
    FIRST_ID,
    KINDS,
    STREETS,
    Counts,
    Peer,
    Step,
    holders,
    opening,
    readers,
    settle_day,
    street_of,
)
from tests.benchmarks.peers.statements import (
    CANCELED,
    CHANGED_BY,
    CLEAR,
    EXECUTE,
    FILLED,
    FILLS,
    FIND,
    FIND_IN_STEP,
    GIVEN,
    OPEN_ORDERS,
    POST,
    RECORD,
    TOO_MUCH,
    WRONG,
    of_schema,
)
from tradesys.records.schemas import Kind
from tradesys.routes import WRITES, holdings
from tradesys.venue.tapes import Tape


class SqlPeer(Peer):
    """What a step is; a database says how tables get in, and from one database to others."""

    key = "bigint primary key"
    empty = "delete from {}"

    @abstractmethod
    def run(self, system: str, statement: str, /, **values: object) -> int:
        """Run a statement in a system's database; gives how many rows it changed."""

    @abstractmethod
    def found(self, system: str, statement: str) -> list[tuple[object, ...]]:
        """The rows of a query."""

    @abstractmethod
    def load(self, system: str, table: str, rows: pa.Table) -> None:
        """Insert an Arrow table."""

    @abstractmethod
    def begin(self, system: str) -> None:
        """Begin what is durable at this system with its :meth:`commit`."""

    @abstractmethod
    def commit(self, system: str) -> None:
        """Make durable what a system has written."""

    @abstractmethod
    def copy(self, dataset: str, spans: dict[str, tuple[int, int]]) -> None:
        """Copy the records of each writer from a first id up to another one to all readers.

        Whatever :meth:`followed` says is done with them in the same transaction.
        """

    def make(self, tape: Tape) -> None:
        """Make the tables, and fill those that the firm writes."""
        self.counts_of: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.next_event, self.settle_date = FIRST_ID["venue"], settle_day(tape)
        streets = street_of(tape)
        self.symbols = {s: [x for x, street in streets.items() if street == s] for s in STREETS}
        books = opening(tape)
        for system, kind in KINDS.items():
            for dataset in holdings(kind):
                self.run(system, f"create table {{s}}{dataset} ({of_schema(dataset, self.key)})")
                if dataset in books:
                    self.load(system, dataset, books[dataset])
            if kind is not Kind.FIRM:
                self.run(system, f"create table {{s}}orders ({OPEN_ORDERS})")
                name = "name" if kind is Kind.STREET else "cl_ord_id"
                self.run(system, f"create index {{s}}orders_named on orders (account, {name})")
            if kind is Kind.CUSTOMER:
                self.run(system, "create unique index {s}named on requests (account, cl_ord_id)")
                self.run(
                    system,
                    "create table {s}balances (account text, asset text, amount bigint, "
                    "primary key (account, asset))",
                )
                self.run(system, POST, first=0, stop=1 << 62)
        for dataset in WRITES[Kind.FIRM]:
            self.counts_of["firm", dataset] = len(books[dataset])

    def next_id(self, system: str, dataset: str) -> int:
        """The id of the next record."""
        return FIRST_ID[system] + self.counts_of[system, dataset]

    def span(self, system: str, dataset: str, count: int) -> tuple[int, int]:
        """The ids of records that were written now, up to the one after the last."""
        first = self.next_id(system, dataset)
        self.counts_of[system, dataset] += count
        return first, first + count

    def step(self, step: Step) -> None:
        # Statements that nothing of this step makes necessary are left out.
        kinds = {kind for t in step.tables for kind in t["request_type"].unique().to_pylist()}
        self.changes = [CHANGED_BY[kind] for kind in ("new", "replace") if kind in kinds]
        self.follow = [
            *(FILLED if len(step.fills) else ()),
            *(CANCELED if "cancel" in kinds else ()),
        ]
        entered = {
            system: self.enter(system, rows)
            for system, rows in zip(CUSTOMERS, step.tables, strict=True)
            if len(rows)
        }
        if entered:
            self.copy("requests", entered)
        executed = {s: span for s in STREETS if (span := self.execute(s, entered, step.fills))}
        if executed:
            self.copy("executions", executed)
        if len(step.fills):
            self.copy("postings", {"firm": self.clear([*executed.values()])})

    def enter(self, system: str, rows: pa.Table) -> tuple[int, int]:
        """Check, record, make durable, acknowledge."""
        first = self.next_id(system, "requests")
        ids = pa.array(np.arange(first, first + len(rows)))
        is_new = pc.equal(rows["request_type"], "new")
        given = rows.append_column("record_id", ids).append_column(
            "order_id", pc.if_else(is_new, ids, None)
        )
        self.begin(system)
        self.run(system, self.empty.format("staged"))
        self.load(system, "staged", given.select(GIVEN))
        if not pc.all(is_new).as_py():
            missing = len(rows) - pc.sum(is_new).as_py() - self.run(system, FIND)
            while missing and (more := self.run(system, FIND_IN_STEP)):
                missing -= more
        status = dict.fromkeys(range(first, first + len(rows)), "accepted")
        status |= dict(self.found(system, WRONG))  # type: ignore[arg-type]
        if set(status.values()) != {"accepted"} or (self.changes and self.found(system, TOO_MUCH)):
            raise NotImplementedError("row by row; the books of the tape are big enough")
        if self.run(system, RECORD, now=time.time_ns()) < len(rows):
            raise NotImplementedError("row by row; no name of the tape is used twice")
        span = self.span(system, "requests", len(rows))
        self.followed(system, "requests", span)
        self.commit(system)
        return span

    def followed(self, system: str, dataset: str, span: tuple[int, int]) -> None:
        """What a system does with records that it has written or received."""
        ids = {"first": span[0], "stop": span[1]}
        kind, source = KINDS[system], "{s}requests"
        if dataset == "requests" and kind is Kind.CUSTOMER:
            for change in self.changes:
                statement = change.replace("{source}", source).replace("{mine}", "")
                self.run(system, statement, **ids)
        elif dataset == "executions" and kind is Kind.CUSTOMER:
            for statement in self.follow:
                self.run(system, statement, **ids)
        elif dataset == "postings" and kind is Kind.CUSTOMER:
            self.run(system, POST, **ids)

    @abstractmethod
    def sent(self, system: str, /, entered: dict[str, tuple[int, int]]) -> dict[str, str]:
        """Where a street-side system finds the requests sent to it, by who took them."""

    def execute(
        self, system: str, entered: dict[str, tuple[int, int]], fills: pa.Table
    ) -> tuple[int, int] | None:
        """Record what the market does at this system, durably."""
        if not self.symbols[system]:
            return None
        symbols = ", ".join(f"'{symbol}'" for symbol in self.symbols[system])
        self.begin(system)
        tables, every = self.sent(system, entered), []
        for customer, table in tables.items():
            first, stop = entered[customer]
            for change in self.changes:
                statement = change.replace("{mine}", f"and r.symbol in ({symbols})")
                self.run(system, statement.replace("{source}", table), first=first, stop=stop)
            every.append(f"select * from {table} where record_id >= {first} and record_id < {stop}")
        self.run(system, self.empty.format("due"))
        if len(fills):
            self.load(system, "due", fills.select(FILLS))
        sent = " union all ".join(every or ["select * from staged where 1 = 0"])
        first = self.next_id(system, "executions")
        statement = EXECUTE.replace("{sent}", sent).replace("{symbols}", symbols)
        count = self.run(system, statement, first=first, event=self.next_event, now=time.time_ns())
        self.next_event += count
        span = self.span(system, "executions", count)
        for statement in self.follow:
            self.run(system, statement, first=span[0], stop=span[1])
        self.commit(system)
        return span if count else None

    def clear(self, executed: list[tuple[int, int]]) -> tuple[int, int]:
        """Book the trades among these executions, durably."""
        self.begin("firm")
        start = self.next_id("firm", "postings")
        for first, stop in executed:
            known = {"base": self.next_id("firm", "postings"), "now": time.time_ns()}
            known |= {"first": first, "stop": stop, "settle_date": self.settle_date}
            self.span("firm", "postings", self.run("firm", CLEAR, **known))
        self.commit("firm")
        return start, self.next_id("firm", "postings")

    def counts(self) -> Counts:
        return {
            system: {
                dataset: int(str(self.found(system, f"select count(*) from {{s}}{dataset}")[0][0]))
                for dataset in holdings(kind)
            }
            for system, kind in KINDS.items()
        }


def all_readers(dataset: str, writers: Iterable[str]) -> dict[str, list[str]]:
    """Of each system that holds a dataset, whose new records it gets."""
    return {
        system: found
        for system in holders(dataset)
        if (found := [w for w in writers if system in readers(dataset, w)])
    }
