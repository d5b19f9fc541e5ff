"""A recorded day, run through a network: the tape's orders enter, the tape is the market.

Accounts and entry systems are assigned by the rule of :mod:`tradesys.venue.tapes`, which is the
project's own: a tape says neither.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from tradesys.audit.audit import Audit
from tradesys.network import Network
from tradesys.records import argument_checks as given
from tradesys.records import field_rules as fields
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import PRICE_SCALE, ExecType
from tradesys.records.trading_calendar import settle_dates
from tradesys.venue import TapeVenue, tapes
from tradesys.venue.tapes import Part, Tape, TapeStream
from tradesys.venue.tapes.fix_log import FixLog
from tradesys.venue.tapes.stream import BadLine

PLENTY_CASH = 10_000_000_000 * PRICE_SCALE
PLENTY_SHARES = 1_000_000_000

AnyTape = Tape | TapeStream
"""A day of order flow, in memory or read from its files as it goes."""

_BAD_SHOWN = 5


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


@dataclass(frozen=True)
class Replayed:
    """What a replay came to. ``seconds`` is from the first event until all was quiet.

    ``refused`` counts the requests that were recorded with a reason and not sent, ``not_recorded``
    those that broke a rule, each by what was wrong; ``not_filled`` the tape's fills that the market
    did not report: their orders never reached it.
    """

    tape: AnyTape | FixLog
    orders: int
    requests: int
    fills: int
    seconds: float
    audit_seconds: float
    audit: Audit
    statuses: dict[str, int]
    systems: dict[str, dict[str, int]]
    not_recorded: dict[str, int]
    refused: dict[str, int]
    not_filled: int

    @property
    def bad_lines(self) -> int:
        """How many lines of the files are no events."""
        if isinstance(self.tape, FixLog):
            return len(self.tape.bad)
        return self.tape.seen.bad if isinstance(self.tape, TapeStream) else 0

    @property
    def first_bad(self) -> Sequence[BadLine]:
        """The first few of them."""
        if isinstance(self.tape, FixLog):
            return self.tape.bad[:_BAD_SHOWN]
        return self.tape.seen.bad_lines if isinstance(self.tape, TapeStream) else ()

    @property
    def otherwise(self) -> int:
        """How many orders of a FIX log end otherwise than its broker says."""
        return len(self.tape.otherwise) if isinstance(self.tape, FixLog) else 0

    @property
    def verdict(self) -> bool | None:
        """The audit's; false if the systems could not record all that the tape asks for."""
        return False if self.not_recorded else self.audit.verdict

    def as_dict(self) -> dict[str, object]:
        """One object of plain values, for ``--json``."""
        return {
            "verdict": self.verdict,
            "events": self.tape.events,
            "orders": self.orders,
            "requests": self.requests,
            "executions": self.fills,
            "ignored": self.tape.ignored,
            "bad_lines": self.bad_lines,
            "refused": self.refused,
            "not_recorded": self.not_recorded,
            "not_filled": self.not_filled,
            "otherwise": self.otherwise,
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
    tape: AnyTape, *, customers: int = 3, streets: int = 2, data: str | Path | None = None
) -> Network:
    """A new network whose market is the tape, and whose accounts can afford what is on it."""
    _require_tape(tape)
    scale, accounts = tape.qty_scale, tape.accounts
    books = OpeningBooks(
        accounts,
        tape.symbols,
        cash=PLENTY_CASH,
        shares=min(PLENTY_SHARES * scale, fields.SHARES.most // max(len(accounts), 1)),
        tick_size=tape.tick_size,
        qty_scale=scale,
    )
    if data is not None and any(given.folder("data", data).glob("*")):
        raise InvalidValue("data", str(data), "a folder that is empty or not there yet")
    return Network(
        customers,
        streets,
        firm=books,
        data=data,
        venue=TapeVenue,
        clock=ManualClock(tape.first_ns),
    )


def _require_tape(tape: object) -> None:
    if not isinstance(tape, AnyTape):
        raise InvalidValue("tape", tape, "a tape, as tapes.read or tapes.open_tape gives it")


def replay(
    tape: AnyTape,
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
    _require_tape(tape)
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
    counted = Counted()
    for part in tape.parts():
        venue.feed(part.fills)
        _play(part, network, tape.events, batch, partitions, counted, progress)
    network.heal()
    network.run()
    return result_of(tape, network, counted, time.perf_counter() - started)


@dataclass
class Counted:
    """What was entered so far, and what became of it there."""

    events: int = 0
    orders: int = 0
    requests: int = 0
    fills: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    not_recorded: Counter[str] = field(default_factory=Counter)


def _play(
    part: Part,
    network: Network,
    events: int,
    batch: int,
    partitions: Sequence[Partition],
    counted: Counted,
    progress: Callable[[int], None] | None,
) -> None:
    """Enter the requests of a part, ``batch`` events at a time, and let its fills happen."""
    customers, venue, clock = network.customers, network.venue, network.clock
    assert isinstance(venue, TapeVenue)
    assert isinstance(clock, ManualClock)
    starts = range(counted.events, part.stop, batch)
    bounds = [*starts[1:], part.stop] if starts else []
    entry = tapes.entry_system(pl.col("account"), len(customers))
    tables = [
        _in_batches(part.requests.filter(entry == number), bounds)
        for number in range(len(customers))
    ]
    for start, done, *of_each in zip(starts, bounds, *tables, strict=True):
        cut_and_heal(network, partitions, start / events)
        for customer, rows in zip(customers, of_each, strict=True):
            if len(rows):
                clock.now = max(clock.now, rows["ts"][-1].value)
                _count_answers(customer.submit_many(rows), counted)
        venue.advance(done)
        network.run()
        if progress:
            progress(done)
    counted.events = part.stop
    counted.orders += int((part.requests["request_type"] == "new").sum())
    counted.requests += len(part.requests)
    counted.fills += len(part.fills)


def _count_answers(answers: pl.DataFrame, counted: Counted) -> None:
    """Count the requests that were refused, and those that were errors, by what was wrong."""
    for name, counter in (("reject_reason", counted.refused), ("error", counted.not_recorded)):
        if answers[name].null_count() == len(answers):
            continue
        # Of an error, the field and what was expected: the values are as many as the rows.
        told = answers[name].drop_nulls().str.replace("(?s)=.*?: expected", ": expected")
        counter.update(dict(told.value_counts().iter_rows()))


def _in_batches(requests: pl.DataFrame, bounds: Sequence[int]) -> Iterator[pa.Table]:
    """The requests that enter by one system: those before each of these events."""
    rows = requests.drop("event").to_arrow(compat_level=pl.CompatLevel.oldest())
    stops = requests["event"].search_sorted(pl.Series(bounds, dtype=pl.UInt32))
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
    tape: AnyTape | FixLog, network: Network, counted: Counted, seconds: float
) -> Replayed:
    """What a replay has come to, and the audit of the end."""
    reported = network.venue.reports.table()["exec_type"].to_pylist()
    statuses = network.customers[0].statuses()["ord_status"].value_counts(sort=True)
    started = time.perf_counter()
    audit = network.audit()
    return Replayed(
        tape=tape,
        orders=counted.orders,
        requests=counted.requests,
        fills=counted.fills,
        seconds=seconds,
        audit_seconds=time.perf_counter() - started,
        audit=audit,
        statuses=dict(statuses.iter_rows()),
        systems=network.summary(),
        refused=dict(sorted(counted.refused.items())),
        not_recorded=dict(sorted(counted.not_recorded.items())),
        not_filled=counted.fills - reported.count(ExecType.TRADE),
    )
