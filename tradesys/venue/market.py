"""The market outside, whatever it is: it takes requests and reports events, numbered by itself.

A venue's reports are a log like any other, and ``exec_id`` is a record's place in it, so a
street-side system asks a venue as it asks a peer: give me what follows what I know.

An order whose time is over expires at the market itself, before anything else happens there:
whenever the market is sent something or asked, whoever does it.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from threading import RLock
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.log.file import LogFile
from tradesys.log.group_commit import Row
from tradesys.log.log import Log
from tradesys.records.arrow import Ids, as_written, batch_of, picked, stamped
from tradesys.records.clock import Clock
from tradesys.records.schemas import (
    REPORTS,
    REQUESTS,
    ExecType,
    Kind,
    Origin,
    RequestType,
    TimeInForce,
    make_id,
    split_id,
)
from tradesys.records.trading_calendar import EXCHANGE, FOREVER, Calendar
from tradesys.status import definition as status
from tradesys.status.incremental.rows import IdSet

ANSWER = {
    RequestType.NEW.value: ExecType.NEW.value,
    RequestType.CANCEL.value: ExecType.CANCELED.value,
    RequestType.REPLACE.value: ExecType.REPLACED.value,
}
ACCEPTED = {exec_type: request_type for request_type, exec_type in ANSWER.items()}
"""How an acceptance of each kind of request is told, and which kind an acceptance is of."""

_UNKNOWN = -1


class Venue(ABC):
    """A market. It knows a request by its ``record_id``: sent twice, it is executed once.

    ``kind`` is what a data folder calls it, and makes it again by. What changes a market, or looks
    at it, holds its ``lock``: one thread at a time.

    :param calendar: whose trading days are the market's
        (:class:`~tradesys.records.trading_calendar.Calendar`).
    """

    kind: ClassVar[str]
    names_are_once: ClassVar[bool] = True
    """Whether it takes a name of an account once a day, as our entry rules have it."""

    def __init__(
        self,
        name: str = "XSIM",
        *,
        clock: Clock,
        folder: Path | None = None,
        calendar: str = EXCHANGE,
    ) -> None:
        self.name = name
        self.clock = clock
        self.lock = RLock()
        self.calendar = Calendar(calendar)
        self.origin = Origin(Kind.VENUE)
        self.reports = Log(self.origin.code, REPORTS)
        self.file = _file(folder) if folder else None
        self._unwritten: list[pa.RecordBatch] = []
        # Whether what is known of orders is still to be read from the reports, or was torn by an
        # interrupt in the middle of a change.
        self._forgot, self._is_torn = True, False
        self._begin()
        # Until when no order can expire; whether one has since an earlier run is not known yet.
        self._next_end = _UNKNOWN if self.file else FOREVER
        for batch in self.file.stored() if self.file else ():
            self.reports.append(as_written(batch))

    def _begin(self) -> None:
        """Begin anew: nothing was reported."""
        self._taken = IdSet()
        self._next_end = FOREVER

    @abstractmethod
    def send(self, requests: pa.RecordBatch) -> None:
        """Take requests of the schema ``REQUESTS``, in their order."""

    def end_day(self) -> None:
        """End the trading day at once: its DAY orders, and those of days before, expire now."""
        with self.lock:
            self._tell_time(self.calendar.close(self.clock()))

    def poll(self, position: int) -> pa.RecordBatch | None:
        """The reports from ``position`` on; None when there are none."""
        with self.lock:
            self._tell_time()
            self._write()
            return self.reports.since(position)

    def _tell_time(self, day_end: int = 0) -> None:
        """Have the orders expire whose time is over, and DAY orders up to the day that ends then.

        An order may trade up to its :meth:`~tradesys.records.trading_calendar.Calendar.last_ns`.
        """
        if self._is_torn:
            self._remember()
        now = self.clock()
        if self._next_end >= max(now, day_end + 1):
            return
        if self._forgot:
            self._write()
            ends = self._open_orders()
            self._next_end = int(ends["last_ns"].to_numpy().min(initial=FOREVER))
            if self._next_end >= max(now, day_end + 1):
                return
        self._remember()
        self._expire(now, day_end)

    @abstractmethod
    def _expire(self, now: int, day_end: int) -> None:
        """Report EXPIRED of every open order that may not trade any more, and note who is next.

        :param day_end: DAY orders that may trade up to then expire as well.
        """

    def _open_orders(self) -> pl.DataFrame:
        """Of each order that is open, by the venue's own record, the report of its terms in force.

        And ``last_ns``: up to when it may trade.
        """
        reports = pl.DataFrame(self.reports.table())
        events = reports.with_columns(exec_id="record_id")
        facts = status.facts(pl.DataFrame(REQUESTS.empty_table()), events)
        is_open = facts.with_columns(status.leaves()).filter(pl.col("leaves_qty") > 0)
        stated = (
            reports.filter(pl.col("exec_type").is_in([t.value for t in status.STATES_TERMS]))
            .sort("record_id")
            .unique("order_id", keep="last", maintain_order=True)
            .join(is_open, on="order_id", how="semi", maintain_order="left")
        )
        last_ns = self.calendar.last_moments(stated.rename({"ts": "stated_at"}))
        return stated.with_columns(last_ns=pl.Series(last_ns))

    def close(self) -> None:
        """Close the venue's own record."""
        with self.lock:
            if self.file:
                self.file.close()

    def untaken(self, requests: pa.RecordBatch) -> pa.RecordBatch:
        """Those of the requests that were never sent before; they count as sent from now.

        What is done about them is a change, up to its :meth:`report`.
        """
        self._change()
        return picked(requests, self._taken.add(requests["record_id"].to_numpy()))

    def has_taken(self, request_ids: Ids) -> NDArray[np.bool_]:
        """Which of these requests it was sent before."""
        with self.lock:
            self._remember()
            return self._taken.has(request_ids)

    def _remember(self) -> None:
        """Know again what was reported before this process began, or before an interrupt.

        Opening alone reads nothing.
        """
        if self._is_torn:
            self._write()
        if self._forgot or self._is_torn:
            self._recall()
            self._forgot = self._is_torn = False

    def _recall(self) -> None:
        self._begin()
        for batch in self.reports.batches():
            self._restore(batch)

    def _change(self) -> None:
        """Something is going to happen; what is not reported in the end has not."""
        self._remember()
        self._is_torn = True

    def _restore(self, reports: pa.RecordBatch) -> None:
        self._taken.add(reports["request_id"].to_numpy())

    @staticmethod
    def expired_at(time_in_force: str, last_ns: int) -> tuple[int, str]:
        """When an order was due to expire that may trade up to ``last_ns``, and why."""
        if time_in_force == TimeInForce.GTD:
            return last_ns + 1, "its time is over"
        return last_ns, "end of the day"

    def report(self, reports: pa.RecordBatch | list[Row] | None) -> None:
        """Append what has happened to the venue's own record; it is as durable as a system's."""
        if reports is not None and len(reports):
            rows = isinstance(reports, list)
            self._unwritten.append(batch_of(REPORTS, reports) if rows else reports)
        self._is_torn = False
        self._write()

    def _write(self) -> None:
        """Write what was reported; what the disk refuses has happened, and waits for the next."""
        while self._unwritten:
            reports = self._unwritten[0]
            if self.file:
                self.file.commit([stamped(reports, self.clock())])
            if _first(reports) == self.reports.count:
                self.reports.append(reports)
            del self._unwritten[0]
        for batches in self.file.grown().values() if self.file else ():
            self.reports.replace([*map(as_written, batches)])

    @property
    def reported(self) -> int:
        """How many events were reported, those that the disk has refused so far included."""
        if not self._unwritten:
            return self.reports.count
        last = self._unwritten[-1]
        return _first(last) + last.num_rows

    def next_id(self) -> int:
        """The id of the next report."""
        return make_id(self.origin.code, self.reported)

    def next_ids(self, count: int) -> pa.UInt64Array:
        """The ids of the next reports."""
        first = self.next_id()
        return pa.array(np.arange(first, first + count, dtype=np.uint64))


def _first(reports: pa.RecordBatch) -> int:
    """The number of the first of these reports."""
    return split_id(reports["record_id"][0].as_py())[1]


def _file(folder: Path) -> LogFile:
    """The venue's own record. It is the market's: no peer can give back what it has lost."""
    path = folder / "venue" / "reports.arrows"
    file = LogFile(path, REPORTS, owner="venue/reports", mends=False)
    file.settle()
    return file
