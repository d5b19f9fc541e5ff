"""A market that is a FIX log: it reports what the log's broker did, and nothing else."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tradesys.records.arrow import Ints
from tradesys.records.clock import Clock
from tradesys.records.schemas import REPORTS, ExecType, RequestType
from tradesys.records.trading_calendar import ALWAYS, FOREVER, Calendar
from tradesys.venue.market import Venue

_REFUSED = {
    RequestType.NEW.value: ExecType.REJECTED.value,
    RequestType.CANCEL.value: ExecType.CANCEL_REJECTED.value,
    RequestType.REPLACE.value: ExecType.CANCEL_REJECTED.value,
}
_NO_REPORTS = pl.DataFrame(REPORTS.empty_table())


class BrokersDays(Calendar):
    """Days of UTC on which no order ends by itself: that its time is over, its broker reports."""

    def __init__(self, code: str = ALWAYS) -> None:
        super().__init__(code)

    def last_ns(self, time_in_force: str, expire_time: int | None, stated_at: int) -> int:  # noqa: ARG002
        """There is none: the broker may know of a later one."""
        return FOREVER

    def last_of_each(
        self,
        time_in_force: pa.StringArray,
        expire_time: pa.Array,  # noqa: ARG002
        stated_at: pa.Array,  # noqa: ARG002
    ) -> Ints:
        """As :meth:`last_ns`, of each order."""
        return np.full(len(time_in_force), FOREVER)


class FixVenue(Venue):
    """A market that is a FIX log.

    :meth:`advance` moves the log on. A report of it is made once its time has come, and its order
    and the request that it answers have arrived, after the reports before it of the same order. It
    has the time that the log gives it. A request that the log does not report of is refused.

    :param reports: what the log reports, of the schema ``REPORTS``; ``order_id`` and ``request_id``
        are those of the requests that will be sent, and ``exec_ref_id`` is the ``record_id`` of an
        earlier row. Without it the log is over: what it has reported stands.
    """

    kind = "fix"
    names_are_once = False  # the log's broker decided which names it took again

    def __init__(
        self,
        reports: pl.DataFrame | None = None,
        *,
        clock: Clock,
        folder: Path | None = None,
        calendar: str = ALWAYS,
    ) -> None:
        super().__init__("FIX", clock=clock, folder=folder, calendar=calendar)
        self.calendar = BrokersDays(calendar)
        logged = _NO_REPORTS if reports is None else reports
        self._rows: list[dict[str, Any]] = logged.select(REPORTS.names).to_dicts()
        self._logged = frozenset(logged["request_id"]) | frozenset(logged["order_id"])
        self._count = 0

    def _begin(self) -> None:
        super()._begin()
        self._reached = 0
        self._waiting: list[dict[str, Any]] = []
        self._ids: dict[int, int] = {}

    def _expire(self, now: int, day_end: int) -> None:  # noqa: ARG002
        """Nothing: see :class:`BrokersDays`."""
        self._next_end = FOREVER

    def _recall(self) -> None:
        """Know again which of the log's reports were made: those of each order, in their order."""
        super()._recall()
        made = defaultdict[int, list[int]](list)
        names = ["record_id", "order_id", "request_id"]
        for batch in self.reports.batches():
            for record_id, order_id, request_id in pl.DataFrame(batch.select(names)).iter_rows():
                if request_id in self._logged:
                    made[order_id].append(record_id)
        for row in self._rows[: self._count]:
            if earlier := made[row["order_id"]]:
                self._ids[row["record_id"]] = earlier.pop(0)
            else:
                self._waiting.append(row)
        self._reached = self._count

    def advance(self, count: int) -> None:
        """Let the first ``count`` reports of the log have happened."""
        with self.lock:
            self._change()
            self._waiting += self._rows[self._reached : count]
            self._count = self._reached = count
            self._report()

    def send(self, requests: pa.RecordBatch) -> None:
        """Take requests, and report what of the log has waited for them."""
        with self.lock:
            fresh = self.untaken(requests).to_pylist()
            refused = [row for row in fresh if row["record_id"] not in self._logged]
            self._report([self._refusal(row) for row in refused])

    def _report(self, first: list[dict[str, Any]] | None = None) -> None:
        """Report these, and whatever of the log waits for nothing any more."""
        rows, waiting, held_up = first or [], [], set[int]()
        for row in self._waiting:
            order_id = row["order_id"]
            about = np.array([order_id, row["request_id"]], np.uint64)
            if order_id in held_up or not self._taken.has(about).all():
                held_up.add(order_id)
                waiting.append(row)
            else:
                rows.append(row)
        self._waiting = waiting
        made = []
        for record_id, row in enumerate(rows, self.next_id()):
            self._ids[row["record_id"]] = record_id
            refers = self._ids.get(row["exec_ref_id"])
            made.append(row | {"record_id": record_id, "exec_ref_id": refers})
        self.report(pa.RecordBatch.from_pylist(made, REPORTS) if made else None)

    def _refusal(self, request: dict[str, Any]) -> dict[str, Any]:
        """The report that a request is not of the log."""
        return request | {
            "record_id": 0,
            "request_id": request["record_id"],
            "exec_type": _REFUSED[request["request_type"]],
            "exec_ref_id": None,
            "last_qty": 0,
            "last_px": 0,
            "text": "the log does not report of it",
        }
