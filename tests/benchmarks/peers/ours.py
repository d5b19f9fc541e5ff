"""The job done by this project: a network in a folder whose market is the tape."""

from pathlib import Path

import pyarrow as pa

from tests.benchmarks.peers.job import Answers, Counts, Peer, Step
from tradesys.network import Network
from tradesys.network.tape_replay import open_network
from tradesys.records.clock import ManualClock
from tradesys.records.schemas import RequestType
from tradesys.records.trading_calendar import settle_dates
from tradesys.systems.customer import CustomerSystem
from tradesys.venue import TapeVenue
from tradesys.venue.tapes import Tape


class Ours(Peer):
    """A step as :func:`tradesys.network.tape_replay.replay` does it.

    :param singly: requests come one by one, by ``submit``, ``cancel`` and ``replace``.
    """

    def __init__(self, *, singly: bool = False) -> None:
        self.singly = singly

    def open(self, folder: Path, tape: Tape) -> None:
        self.network: Network = open_network(tape, data=folder / "run")
        venue, clock = self.network.venue, self.network.clock
        assert isinstance(venue, TapeVenue)
        assert isinstance(clock, ManualClock)
        self.venue, self.clock = venue, clock
        settle_dates(pa.array([clock()], pa.timestamp("ns", "UTC")))  # loads the calendar

    def step(self, step: Step) -> None:
        for customer, rows in zip(self.network.customers, step.tables, strict=True):
            if len(rows):
                self.clock.now = max(self.clock.now, rows["ts"][-1].value)
                if self.singly:
                    _enter(customer, rows)
                elif not customer.submit_many(rows.drop(["event"]))["accepted"].all():
                    raise ValueError("a request of the tape was refused")
        self.venue.advance(step.until)
        self.network.run()

    def answers(self) -> list[Answers]:
        return [Answers(c.statuses(), c.positions()) for c in self.network.customers]

    def counts(self) -> Counts:
        return self.network.summary()

    def close(self) -> None:
        self.network.close()


def _enter(customer: CustomerSystem, rows: pa.Table) -> None:
    columns = rows.drop(["event", "ts", "ord_type", "time_in_force"])
    for row in columns.to_pylist():
        kind, name, about = (row.pop(n) for n in ("request_type", "cl_ord_id", "orig_cl_ord_id"))
        if kind == RequestType.NEW:
            customer.submit(**row, cl_ord_id=name)
            continue
        order = customer.order_named(row["account"], about)
        assert order is not None, f"no order {about}"
        if kind == RequestType.CANCEL:
            customer.cancel(order, account=row["account"], cl_ord_id=name)
        else:
            changed = {n: row[n] for n in ("order_qty", "price", "account")}
            customer.replace(order, **changed, cl_ord_id=name)
