"""A recorded day, run through a network: the tape's orders enter, the tape is the market.

Accounts and entry systems are assigned by the rule of :mod:`tradesys.venue.tapes`, which is the
project's own: a tape says neither.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from tradesys.audit.audit import Audit
from tradesys.network import Network
from tradesys.records import argument_checks as given
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import PRICE_SCALE, ExecType
from tradesys.records.trading_calendar import settle_dates
from tradesys.venue import TapeVenue, tapes
from tradesys.venue.tapes import Tape

PLENTY_CASH = 10_000_000_000 * PRICE_SCALE
PLENTY_SHARES = 1_000_000_000


class Partition(NamedTuple):
    """A system cut off from all others between two fractions of the tape."""

    system: str
    start: float
    stop: float


_PARTITIONS = "a list of Partition, of a system and a span from 0 to 1: Partition('c1', 0.33, 0.66)"


def parse_partition(text: str) -> Partition:
    """``"c1:0.33-0.66"``: c1 is cut off from the first third to the second.

    :raises InvalidValue: the text is not of that form.
    """
    expected = "a system and a span of the tape, like c1:0.33-0.66"
    system, _, span = given.text("partition", text, expected).partition(":")
    start, _, stop = span.partition("-")
    try:
        found = Partition(system, float(start), float(stop))
    except ValueError:
        found = Partition(system, 1, 0)
    if not _is_span(found):
        raise InvalidValue("partition", text, expected)
    return found


def _is_span(cut: Partition) -> bool:
    """Whether it is a part of a tape."""
    numbers = all(isinstance(n, int | float) for n in (cut.start, cut.stop))
    return numbers and 0 <= cut.start < cut.stop <= 1


def _first_ns(tape: Tape) -> int:
    """When the tape's first request came, in ns since 1970; 0 for a tape without one."""
    return int(tape.requests["ts"].dt.timestamp("ns").to_numpy()[0]) if len(tape.requests) else 0


@dataclass(frozen=True)
class Replayed:
    """What a replay came to. ``seconds`` is from the first event until all was quiet.

    ``refused`` counts the requests that were recorded with a reason and not sent, ``not_recorded``
    those that broke a rule, each by what was wrong; ``not_filled`` the tape's fills that the market
    did not report: their orders never reached it.
    """

    tape: Tape
    seconds: float
    audit_seconds: float
    audit: Audit
    statuses: dict[str, int]
    systems: dict[str, dict[str, int]]
    not_recorded: dict[str, int]
    refused: dict[str, int]
    not_filled: int

    @property
    def verdict(self) -> bool | None:
        """The audit's; false if the systems could not record all that the tape asks for."""
        return False if self.not_recorded else self.audit.verdict

    def as_dict(self) -> dict[str, object]:
        """One object of plain values, for ``--json``."""
        orders = (self.tape.requests["request_type"] == "new").sum()
        return {
            "verdict": self.verdict,
            "events": self.tape.events,
            "orders": int(orders),
            "requests": len(self.tape.requests),
            "executions": len(self.tape.fills),
            "ignored": self.tape.ignored,
            "refused": self.refused,
            "not_recorded": self.not_recorded,
            "not_filled": self.not_filled,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.tape.events / self.seconds) if self.seconds else 0,
            "statuses": self.statuses,
            "systems": self.systems,
            "audit_seconds": round(self.audit_seconds, 3),
            "audit": {
                "verdict": self.audit.verdict,
                "checks": {c.name: c.verdict for c in self.audit.checks},
                "found": [text for c in self.audit.checks for text in c.found],
            },
        }


def open_network(
    tape: Tape, *, customers: int = 3, streets: int = 2, data: str | Path | None = None
) -> Network:
    """A new network whose market is the tape, and whose accounts can afford what is on it."""
    given.a(Tape, "tape", tape, "a Tape, as tapes.read gives it")
    accounts = tape.requests["account"].unique().sort().to_list()
    books = OpeningBooks(accounts, tape.symbols, cash=PLENTY_CASH, shares=PLENTY_SHARES)
    if data is not None and any(given.folder("data", data).glob("*")):
        raise InvalidValue("data", str(data), "a folder that is empty or not there yet")
    return Network(
        customers,
        streets,
        firm=books,
        data=data,
        venue=partial(TapeVenue, tape),
        clock=ManualClock(_first_ns(tape)),
    )


def replay(
    tape: Tape,
    network: Network,
    *,
    batch: int = 2000,
    partitions: Sequence[Partition] = (),
    progress: Callable[[int], None] | None = None,
) -> Replayed:
    """Run a tape through a network made for it, ``batch`` events at a time, and audit the end.

    :param progress: called with the number of events done, after each batch.
    """
    given.whole("batch", batch, 1, of="events")
    given.a(Tape, "tape", tape, "a Tape, as tapes.read gives it")
    given.a(Network, "network", network, "a Network")
    if not isinstance(partitions, list | tuple):
        raise InvalidValue("partitions", partitions, _PARTITIONS)
    for cut in partitions:
        given.a(Partition, "partitions", cut, _PARTITIONS, _is_span)
        network[cut.system]
    venue = given.a(TapeVenue, "venue", network.venue, "a tape: open_network makes such a network")
    clock = given.a(ManualClock, "clock", network.clock, "a ManualClock, for the tape to set")
    settle_dates(pa.array([clock()], pa.timestamp("ns", "UTC")))  # calendars are loaded before
    started = time.perf_counter()
    verdicts: list[pl.DataFrame] = []
    customers, bounds = network.customers, [*range(batch, tape.events, batch), tape.events]
    entry = tapes.entry_system(pl.col("account"), len(customers))
    parts = [
        _in_batches(tape.requests.filter(entry == number), bounds)
        for number in range(len(customers))
    ]
    for done, *tables in zip(bounds, *parts, strict=True):
        cut_and_heal(network, partitions, (done - batch) / tape.events)
        for customer, rows in zip(customers, tables, strict=True):
            if len(rows):
                clock.now = max(clock.now, rows["ts"][-1].value)
                verdicts.append(customer.submit_many(rows))
        venue.advance(done)
        network.run()
        if progress:
            progress(done)
    network.heal()
    network.run()
    seconds = time.perf_counter() - started
    return result_of(tape, network, verdicts, seconds)


def _in_batches(requests: pl.DataFrame, bounds: Sequence[int]) -> Iterator[pa.Table]:
    """The requests that enter by one system: those before each of these events, after the last."""
    rows = requests.drop("event").to_arrow(compat_level=pl.CompatLevel.oldest())
    stops = requests["event"].search_sorted(pl.Series(bounds))
    for start, stop in pairwise([0, *stops]):
        yield rows.slice(start, stop - start)


def cut_and_heal(network: Network, partitions: Sequence[Partition], at: float) -> None:
    """Cut off whom a partition says at this fraction of a tape, and nobody else."""
    if partitions:
        network.heal()
    for cut in partitions:
        if cut.start <= at < cut.stop:
            network.partition(cut.system)


def result_of(
    tape: Tape, network: Network, verdicts: list[pl.DataFrame], seconds: float
) -> Replayed:
    """What a replay of a tape has come to: what was refused, and the audit of the end."""
    all_rows = pl.concat(verdicts) if verdicts else pl.DataFrame()
    counts = []
    for name in ("reject_reason", "error"):
        told = all_rows[name].drop_nulls() if verdicts else pl.Series(name, dtype=pl.String)
        # Of an error, the field and what was expected: the values are as many as the rows.
        told = told.str.replace("(?s)=.*?: expected", ": expected")
        counts.append(dict(told.value_counts().sort(name).iter_rows()))
    reported = network.venue.reports.table()["exec_type"].to_pylist()
    statuses = network.customers[0].statuses()["ord_status"].value_counts(sort=True)
    started = time.perf_counter()
    audit = network.audit()
    return Replayed(
        tape=tape,
        seconds=seconds,
        audit_seconds=time.perf_counter() - started,
        audit=audit,
        statuses=dict(statuses.iter_rows()),
        systems=network.summary(),
        refused=counts[0],
        not_recorded=counts[1],
        not_filled=len(tape.fills) - reported.count(ExecType.TRADE),
    )
