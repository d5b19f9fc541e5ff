"""The market outside, whatever it is: it takes requests and reports events, numbered by itself.

A venue's reports are a log like any other, and ``exec_id`` is a record's place in it, so a
street-side system asks a venue as it asks a peer: give me what follows what I know.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from tradesys.arrow import picked, with_columns
from tradesys.clock import Clock
from tradesys.log import Log, Part
from tradesys.logfile import LogFile
from tradesys.records import REPORTS, ExecType, Kind, Origin, RequestType, make_id
from tradesys.sessions import expiring

ANSWER = {
    RequestType.NEW.value: ExecType.NEW.value,
    RequestType.CANCEL.value: ExecType.CANCELED.value,
    RequestType.REPLACE.value: ExecType.REPLACED.value,
}
ACCEPTED = {exec_type: request_type for request_type, exec_type in ANSWER.items()}
"""How an acceptance of each kind of request is told, and which kind an acceptance is of."""


class Venue(ABC):
    """A market. It knows a request by its ``record_id``: sent twice, it is executed once.

    ``kind`` is what a data folder calls it, and makes it again by.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, *, clock: Clock, folder: Path | None = None) -> None:
        self.name = name
        self.clock = clock
        self.origin = Origin(Kind.VENUE)
        self.reports = Log(self.origin.code, REPORTS)
        self.file = _file(folder) if folder else None
        self._taken: set[int] = set()
        self._forgot = True
        self._unwritten: list[Part] = []
        for batch in self.file.stored() if self.file else ():
            self.reports.append(batch)

    @abstractmethod
    def send(self, requests: pa.RecordBatch) -> None:
        """Take requests of the schema :data:`~tradesys.records.REQUESTS`, in their order."""

    def expire(self, owns: Callable[[str], bool]) -> int:
        """End the day: report EXPIRED of each open order in these symbols whose time is over.

        Gives how many they were. What is closed already is not open: a day may be ended twice.
        """
        self._remember()
        self._write()
        found = expiring(pl.DataFrame(self.reports.table()), self.clock())
        found = found.filter(pl.col("symbol").map_elements(owns, return_dtype=pl.Boolean))
        if len(found):
            table = found.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(REPORTS)
            over = self.further(table, ExecType.EXPIRED, text="end of the day")
            self._expired(over)
            self.report(over)
        return len(found)

    def further(self, before: pa.Table, exec_type: ExecType, **said: object) -> pa.RecordBatch:
        """Reports of further events of orders, on the terms of these earlier reports of them."""
        (batch,) = before.combine_chunks().to_batches()
        time = pa.scalar(max(self.clock(), self.reports.last_ts), pa.timestamp("ns", "UTC"))
        said = {"ts": time, "exec_type": exec_type.value, "last_qty": 0, "last_px": 0} | said
        columns = {name: pa.repeat(value, len(batch)) for name, value in said.items()}
        return with_columns(batch, record_id=self.next_ids(len(batch)), **columns)

    @abstractmethod
    def _expired(self, reports: pa.RecordBatch) -> None:
        """Trade the orders of these EXPIRED reports no more, if they are not closed already."""

    def poll(self, position: int) -> pa.RecordBatch | None:
        """The reports from ``position`` on; None when there are none."""
        self._write()
        return self.reports.since(position)

    def close(self) -> None:
        """Close the venue's own record."""
        if self.file:
            self.file.close(self._read)

    def untaken(self, requests: pa.RecordBatch) -> pa.RecordBatch:
        """Those of the requests that were never sent before; they count as sent from now."""
        self._remember()
        fresh = [self._take(request_id) for request_id in requests["record_id"].to_pylist()]
        return picked(requests, np.array(fresh, np.bool_))

    def has_taken(self, request_id: int) -> bool:
        """Whether it was sent this request before."""
        self._remember()
        return request_id in self._taken

    def _take(self, request_id: int) -> bool:
        fresh = request_id not in self._taken
        self._taken.add(request_id)
        return fresh

    def _remember(self) -> None:
        """Know again what was reported before this process began; opening alone reads nothing."""
        if self._forgot:
            self._forgot = False
            for batch in self.reports.batches():
                self._restore(batch)

    def _restore(self, reports: pa.RecordBatch) -> None:
        self._taken.update(reports["request_id"].to_pylist())

    def report(self, reports: Part) -> None:
        """Append reports to the venue's own record; it is as durable as a system's."""
        self._unwritten.append(reports)
        self._write()

    def _write(self) -> None:
        """Write what was reported; what the disk refuses has happened, and waits for the next."""
        while self._unwritten:
            if self.file:
                self.file.commit(self._unwritten[:1], self.clock())
            self.reports.append(self._unwritten.pop(0))
            if self.file:
                self.file.seal_if_full(self._read)

    def _read(self, code: int, start: int, rows: int) -> pa.RecordBatch:
        assert code == self.origin.code
        return self.reports.since(start, rows)

    @property
    def reported(self) -> int:
        """How many events were reported, those that the disk has refused so far included."""
        return self.reports.count + sum(map(len, self._unwritten))

    def next_id(self) -> int:
        """The id of the next report."""
        return make_id(self.origin.code, self.reported)

    def next_ids(self, count: int) -> pa.UInt64Array:
        """The ids of the next reports."""
        first = self.next_id()
        return pa.array(np.arange(first, first + count, dtype=np.uint64))


def _file(folder: Path) -> LogFile:
    """The venue's own record. It is the market's: no peer can give back what it has lost."""
    path = folder / "venue" / "reports.arrows"
    file = LogFile(path, REPORTS, owner="venue/reports", mends=False)
    file.settle()
    return file
