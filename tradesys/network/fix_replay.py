"""A FIX log, run through a network: its customers' requests enter, its broker is the market.

The log's broker has decided what it accepts, so its requests enter as they are; by which
customer-facing system an account's do, is assigned here. A request of which the log reports nothing
(it ends before, say) is left out, and counted: nobody can answer it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from tradesys.network import Network
from tradesys.network.tape_replay import Counted, Partition, Replayed, cut_and_heal, result_of
from tradesys.records import argument_checks as given
from tradesys.records import field_rules as fields
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import REPORTS, REQUESTS, Kind, Origin, make_id
from tradesys.records.trading_calendar import settle_dates
from tradesys.venue import FixVenue
from tradesys.venue.tapes.fix_log import FixLog

_IDS = ("record_id", "order_id", "request_id")


class Entries(NamedTuple):
    """A log's records with the ids that they will have in a network.

    ``requests``: ``REQUESTS``, and ``entry``, the number of the customer-facing system from 0.
    ``reports``: ``REPORTS``. Both have ``event``, the number of the report that they come before,
    or are.
    """

    requests: pl.DataFrame
    reports: pl.DataFrame


def entries(log: FixLog, customers: int) -> Entries:
    """The records of a log as this many customer-facing systems will number them.

    All requests of an account enter at one system.

    :raises InvalidValue: ``customers`` is not positive.
    """
    given.whole("customers", customers, 1, of="customer-facing systems")
    executions = log.executions.with_columns(event=_event_of(log, "executions"))
    reported = pl.concat([executions["request_id"], executions["order_id"]]).implode()
    codes = pl.Series([make_id(Origin(Kind.CUSTOMER, n + 1).code, 0) for n in range(customers)])
    entry = pl.col("account").rank("dense") - 1
    requests = (
        log.requests.with_columns(event=_event_of(log, "requests"))
        .filter(pl.col("record_id").is_in(reported))
        .with_columns(entry=(entry % customers).cast(pl.Int64))
        .with_columns(number=pl.int_range(pl.len(), dtype=pl.UInt64).over("entry"))
    )
    first = requests["entry"].replace_strict(dict(enumerate(codes)), return_dtype=pl.UInt64)
    known = dict(zip(requests["record_id"], requests["number"] + first, strict=True))
    renamed = [pl.col(n).replace_strict(known, return_dtype=pl.UInt64) for n in _IDS]
    return Entries(
        requests.with_columns(renamed[:2]),
        executions.with_columns(
            *renamed[1:], record_id="exec_id", ts=pl.col("transact_time")
        ).select("event", *REPORTS.names),
    )


def _event_of(log: FixLog, dataset: str) -> pl.Series:
    """The number of the report that each record of a dataset comes before, or is."""
    records = pl.Series(range(1, len(getattr(log, dataset)) + 1), dtype=pl.Int64)
    return log.stated[dataset].search_sorted(records, side="left")


def open_network(
    log: FixLog, *, customers: int = 3, streets: int = 2, data: str | Path | None = None
) -> Network:
    """A new network whose market is the log, and whose accounts can afford what is in it.

    :raises InvalidValue: the log has no order, or ``data`` is a folder that is not empty.
    """
    requests, reports = entries(log, customers)
    if data is not None and any(given.folder("data", data).glob("*")):
        raise InvalidValue("data", str(data), "a folder that is empty or not there yet")
    if requests.is_empty():
        raise InvalidValue("log", log.events, "messages with an order that is reported of")
    accounts, symbols = (requests[n].unique().sort().to_list() for n in ("account", "symbol"))
    books = OpeningBooks(
        accounts,
        symbols,
        cash=fields.CASH.most // len(accounts),
        shares=fields.SHARES.most // len(accounts),
        tick_size=1,
        qty_scale=log.qty_scale,
    )
    clock = ManualClock(min(_ns(requests)))
    return Network(
        customers,
        streets,
        firm=books,
        data=data,
        venue=partial(FixVenue, reports),
        clock=clock,
    )


def replay(
    log: FixLog,
    network: Network,
    *,
    batch: int = 2000,
    partitions: Sequence[Partition] = (),
    progress: Callable[[int], None] | None = None,
) -> Replayed:
    """Run a log through a network made for it, ``batch`` reports at a time, and audit the end.

    :param progress: called with the number of reports done, after each batch.
    """
    given.whole("batch", batch, 1, of="reports")
    venue = given.a(FixVenue, "venue", network.venue, "a log: open_network makes such a network")
    clock = given.a(ManualClock, "clock", network.clock, "a ManualClock, for the log to set")
    settle_dates(pa.array([clock()], pa.timestamp("ns", "UTC")))  # calendars are loaded before
    requests, reports = entries(log, len(network.customers))
    total = len(log.stated)
    started = time.perf_counter()
    for start, stop in pairwise([*range(0, total, batch), total]):
        cut_and_heal(network, partitions, start / total)
        now = requests.filter(pl.col("event").is_between(start, stop, closed="left"))
        clock.now = max(clock.now, *_ns(now))
        for number, customer in enumerate(network.customers):
            mine = now.filter(entry=number).select(REQUESTS.names)
            if len(mine):
                table = mine.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(REQUESTS)
                customer.enter(table.combine_chunks().to_batches()[0])
        network.run()  # what waits for all requests is reported in the order of the log
        told = reports.filter(pl.col("event").is_between(start, stop, closed="left"))
        clock.now = max(clock.now, *_ns(told))
        venue.advance(int(reports["event"].search_sorted(stop)))
        network.run()
        if progress:
            progress(stop)
    network.heal()
    network.run()
    seconds = time.perf_counter() - started
    counted = Counted(
        orders=len(requests.filter(request_type="new")),
        requests=len(requests),
        fills=len(reports.filter(exec_type="trade")),
    )
    return result_of(_told(log, len(requests)), network, counted, seconds)


def _ns(records: pl.DataFrame) -> list[int]:
    """The times of records in ns since 1970; 0 for none."""
    return records["ts"].dt.timestamp("ns").to_list() or [0]


def _told(log: FixLog, entered: int) -> FixLog:
    """A log with all that is in it and no event of the replay as ``ignored``."""
    ignored = {f"MsgType {kind}": count for kind, count in log.ignored.items()}
    ignored |= {"repeated": log.repeats, "not reported of": len(log.requests) - entered}
    return replace(log, ignored={what: count for what, count in ignored.items() if count})
