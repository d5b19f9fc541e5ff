"""The market outside: a venue takes requests and reports events, numbered by itself.

Two venues stand behind one interface: :class:`BookVenue` matches orders in price-time order books,
:class:`TapeVenue` reports what a recorded tape says happened. A venue's reports are a log like any
other, and ``exec_id`` is a record's place in it, so a street-side system asks a venue as it asks a
peer: give me what follows what I know.
"""

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradesys.arrow import batch_of, rows_of, with_columns
from tradesys.book import OrderBook, Report
from tradesys.clock import Clock
from tradesys.errors import InvalidValue
from tradesys.log import Log
from tradesys.logfile import LogFile
from tradesys.records import REPORTS, ExecType, Kind, Origin, RequestType, make_id, split_id
from tradesys.sessions import expiring
from tradesys.tapes import Tape

_ANSWER = {
    RequestType.NEW.value: ExecType.NEW.value,
    RequestType.CANCEL.value: ExecType.CANCELED.value,
    RequestType.REPLACE.value: ExecType.REPLACED.value,
}
_PLACE = ("symbol", "order_id")
_ACCEPTED = {exec_type: request_type for request_type, exec_type in _ANSWER.items()}


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
        self._unwritten: list[pa.RecordBatch] = []
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
        now = self.clock()
        found = expiring(pl.DataFrame(self.reports.table()), now)
        found = found.filter(pl.col("symbol").map_elements(owns, return_dtype=pl.Boolean))
        if len(found):
            table = found.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(REPORTS)
            (batch,) = table.combine_chunks().to_batches()
            count, zeros = len(batch), pa.array(np.zeros(len(batch), np.int64))
            time = pa.scalar(max(now, self.reports.last_ts), pa.timestamp("ns", "UTC"))
            over = with_columns(
                batch,
                record_id=self.next_ids(count),
                ts=pa.repeat(time, count),
                exec_type=pa.repeat(ExecType.EXPIRED.value, count),
                last_qty=zeros,
                last_px=zeros,
                text=pa.repeat("end of the day", count),
            )
            self._expired(over)
            self.report(over)
        return len(found)

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
        return requests if all(fresh) else requests.filter(pa.array(fresh, pa.bool_()))

    def has_taken(self, request_ids: pa.UInt64Array) -> NDArray[np.bool_]:
        """Which of these requests it was sent before."""
        self._remember()
        taken = self._taken
        return np.array([i in taken for i in request_ids.to_pylist()], np.bool_)

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

    def report(self, batch: pa.RecordBatch) -> None:
        """Append reports to the venue's own record; it is as durable as a system's."""
        self._unwritten.append(batch)
        self._write()

    def _write(self) -> None:
        """Write what was reported; what the disk refuses has happened, and waits for the next."""
        while self._unwritten:
            if self.file:
                self.file.append(self._unwritten[0], self.clock(), durable=True)
            self.reports.append(self._unwritten.pop(0))
            if self.file:
                self.file.seal_if_full(self._read)

    def _read(self, code: int, start: int, rows: int) -> pa.RecordBatch:
        assert code == self.origin.code
        return self.reports.since(start, rows)

    @property
    def reported(self) -> int:
        """How many events were reported, those that the disk has refused so far included."""
        return self.reports.count + sum(batch.num_rows for batch in self._unwritten)

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


class BookVenue(Venue):
    """A simulated market with a price-time order book for each symbol."""

    kind = "book"

    def __init__(self, name: str = "XSIM", *, clock: Clock, folder: Path | None = None) -> None:
        super().__init__(name, clock=clock, folder=folder)
        self._books: defaultdict[str, OrderBook] = defaultdict(OrderBook)
        self._orders: dict[int, dict[str, Any]] = {}
        self._named: dict[tuple[str, str], int] = {}

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """The order book of each symbol."""
        self._remember()
        return self._books

    def _restore(self, reports: pa.RecordBatch) -> None:
        """Matching is deterministic: the accepted requests again give the books again."""
        super()._restore(reports)
        for report in rows_of(reports):
            if request_type := _ACCEPTED.get(report["exec_type"]):
                answered = {"request_type": request_type, "record_id": report["request_id"]}
                self._match(report | answered)
            elif report["exec_type"] == ExecType.EXPIRED:
                self._books[report["symbol"]].expire(report["order_id"])

    def _expired(self, reports: pa.RecordBatch) -> None:
        for symbol, order_id in zip(*(reports[n].to_pylist() for n in _PLACE), strict=True):
            self._books[symbol].expire(order_id)

    def send(self, requests: pa.RecordBatch) -> None:
        """Match the requests, one by one."""
        rows: list[tuple[object, ...]] = []
        now, first = self.clock(), self.next_id()
        for request in rows_of(self.untaken(requests)):
            for report in self._match(request):
                rows.append((first + len(rows), now, *self._row(report, request)))
        if rows:
            self.report(batch_of(REPORTS, rows))

    def amend(self, exec_ids: Sequence[int], *, last_qty: int = 0, last_px: int = 0) -> None:
        """Correct trades to another quantity and price (1/10,000), or bust them: to no quantity.

        The book stays as it is: what a bust opens again is not traded again.
        """
        self._remember()
        places = pa.array([split_id(exec_id)[1] for exec_id in exec_ids])
        (trades,) = self.reports.table().take(places).combine_chunks().to_batches()
        count = len(trades)
        kind = ExecType.TRADE_CORRECT if last_qty else ExecType.TRADE_CANCEL
        time = pa.scalar(max(self.clock(), self.reports.last_ts), pa.timestamp("ns", "UTC"))
        amended = with_columns(
            trades,
            record_id=self.next_ids(count),
            ts=pa.repeat(time, count),
            exec_type=pa.repeat(kind.value, count),
            exec_ref_id=trades["record_id"],
            last_qty=pa.repeat(last_qty, count),
            last_px=pa.repeat(last_px, count),
        )
        self.report(amended)

    def _match(self, request: dict[str, Any]) -> list[Report]:
        book = self._books[str(request["symbol"])]
        record_id, order_id = request["record_id"], request["order_id"]
        qty, price = request["order_qty"], request["price"]
        match request["request_type"]:
            case RequestType.NEW:
                name = request["account"], request["cl_ord_id"]
                if name[1] and self._named.setdefault(name, record_id) != record_id:
                    # A customer who got no answer has turned to another system (FIX tag 103: 6).
                    text = "duplicate order"
                    terms = record_id, record_id, qty, price
                    return [Report(ExecType.REJECTED, *terms, text=text)]
                self._orders[record_id] = request
                side, ord_type = request["side"], request["ord_type"]
                time_in_force = request["time_in_force"]
                return book.new(record_id, side, ord_type, time_in_force, qty, price)
            case RequestType.CANCEL:
                return book.cancel(record_id, order_id)
            case _:
                reports = book.replace(record_id, order_id, qty, price)
                if reports and reports[0].exec_type is ExecType.REPLACED:
                    names = {n: request[n] for n in ("cl_ord_id", "orig_cl_ord_id")}
                    self._orders[order_id] = self._orders[order_id] | names
                return reports

    def _row(self, report: Report, request: dict[str, Any]) -> tuple[object, ...]:
        """The report of an event, with the terms of the order that it is about."""
        about = request
        if report.request_id != request["record_id"] or report.exec_type is ExecType.TRADE:
            about = self._orders[report.order_id]
        qty = report.order_qty or request["order_qty"]
        names = ("cl_ord_id", "orig_cl_ord_id", "account", "symbol", "side", "ord_type")
        return (
            *(report.exec_type, None, report.request_id, report.order_id),
            *(about[n] for n in names),
            *(about["time_in_force"], about["expire_time"], qty, report.price),
            *(report.last_qty, report.last_px, report.text),
        )


class TapeVenue(Venue):
    """A market that is a recorded tape: every request is accepted, fills are those of the tape.

    :meth:`advance` moves the tape on; a fill is reported once its time has come *and* its order
    has arrived, so an order that was held up is filled when it gets there. A report has the tape's
    own time, but none before what was reported when the tape was last advanced.

    :param tape: None is a tape that is over: what it has reported stands, and nothing more is
        filled. A tape that is handed in again goes on after the fills that it has reported.
    """

    kind = "tape"

    def __init__(
        self, tape: Tape | None = None, *, clock: Clock, folder: Path | None = None
    ) -> None:
        super().__init__("TAPE", clock=clock, folder=folder)
        fills = tape.fills if tape else _NO_FILLS
        self._events = fills["event"].to_numpy()
        self._fills = list(
            fills.select(
                "cl_ord_id", pl.col("ts").dt.timestamp("ns"), "last_qty", "last_px"
            ).iter_rows()
        )
        self._due = 0
        self._awaited: defaultdict[str, list[int]] = defaultdict(list)
        self._ready: list[int] = []
        self._named: dict[str, int] = {}
        self._terms: dict[int, tuple[object, ...]] = {}
        self._filled = set(fills["cl_ord_id"].to_list())
        self._reported: Counter[int] = Counter()
        self._latest = self._floor = 0

    def _restore(self, reports: pa.RecordBatch) -> None:
        """Learn what an earlier run was sent, and count the fills that it has reported."""
        super()._restore(reports)
        self._latest = self._floor = max(self._latest, _ns(reports).max(initial=0))
        kinds = reports["exec_type"].to_pylist()
        request_types = pa.array([_ACCEPTED.get(kind) for kind in kinds], pa.utf8())
        columns = [reports["request_id"], request_types, *(reports[n] for n in _TERMS[1:])]
        names = ["record_id", "request_type", *_TERMS[1:]]
        self._learn(pa.RecordBatch.from_arrays(columns, names))
        self._expired(reports.filter(pc.equal(reports["exec_type"], ExecType.EXPIRED.value)))
        fills = reports.filter(pc.equal(reports["exec_type"], ExecType.TRADE.value))
        self._reported.update(fills["order_id"].to_pylist())

    def _expired(self, reports: pa.RecordBatch) -> None:
        for order_id in reports["order_id"].to_pylist():
            self._terms.pop(order_id, None)

    def advance(self, event: int) -> None:
        """Let the tape's events before number ``event`` have happened."""
        self._remember()
        self._floor = self._latest
        until = int(np.searchsorted(self._events, event))
        for fill in range(self._due, until):
            name = self._fills[fill][0]
            if self._reported[order_id := self._named.get(name, 0)]:
                self._reported[order_id] -= 1
                continue
            (self._ready if name in self._named else self._awaited[name]).append(fill)
        self._due = until

    def send(self, requests: pa.RecordBatch) -> None:
        """Accept the requests, and report the fills that their orders have waited for."""
        requests = self.untaken(requests)
        if requests.num_rows:
            self._learn(requests)
        self._report(requests)

    def poll(self, position: int) -> pa.RecordBatch | None:
        """The reports from ``position`` on, fills that have become due included."""
        self._report(None)
        return super().poll(position)

    def _learn(self, requests: pa.RecordBatch) -> None:
        """Note the terms of orders that the tape fills, as last replaced; free what waited."""
        columns = (requests[n].to_pylist() for n in ("request_type", "order_id", "cl_ord_id"))
        for row, (request_type, order_id, name) in enumerate(zip(*columns, strict=True)):
            if request_type == RequestType.NEW and name in self._filled:
                self._named[name] = order_id
                self._terms[order_id] = _terms(requests, row)
                self._ready += self._awaited.pop(name, ())
            elif request_type == RequestType.REPLACE and order_id in self._terms:
                self._terms[order_id] = _terms(requests, row)

    def _report(self, taken: pa.RecordBatch | None) -> None:
        """Report the answers to requests and the fills that are due, in the order of their time."""
        parts = [_answers(taken)] if taken is not None and taken.num_rows else []
        # An order that has expired is filled no more, whatever the tape says.
        ready = [f for f in self._ready if self._named[self._fills[f][0]] in self._terms]
        self._ready = []
        if ready:
            rows = []
            for fill in sorted(ready):
                name, ts, qty, px = self._fills[fill]
                terms = self._terms[self._named[name]]
                rows.append((0, ts, ExecType.TRADE, None, *terms, qty, px, None))
            parts.append(batch_of(REPORTS, rows))
        if not parts:
            return
        batch = pa.concat_batches(parts)
        ts = _ns(batch)
        order = np.argsort(ts, kind="stable")
        ts = np.maximum(ts[order], self._floor)
        self._latest = max(self._latest, ts[-1])
        times = pa.array(ts).cast(pa.timestamp("ns", "UTC"))
        batch = batch.take(pa.array(order))
        self.report(with_columns(batch, record_id=self.next_ids(len(batch)), ts=times))


_NO_FILLS = pl.DataFrame(
    schema={
        "event": pl.UInt32,
        "ts": pl.Datetime("ns", "UTC"),
        "cl_ord_id": pl.String,
        "last_qty": pl.Int64,
        "last_px": pl.Int64,
    }
)

_TERMS = (
    *("record_id", "order_id", "cl_ord_id", "orig_cl_ord_id", "account", "symbol", "side"),
    *("ord_type", "time_in_force", "expire_time", "order_qty", "price"),
)


def _ns(reports: pa.RecordBatch) -> NDArray[np.int64]:
    return np.asarray(reports["ts"].cast(pa.int64()))


def _terms(requests: pa.RecordBatch, row: int) -> tuple[object, ...]:
    """The terms that a request asks for, as a report of it repeats them."""
    (found,) = rows_of(requests.slice(row, 1).select(_TERMS))
    return tuple(found.values())


def _answers(requests: pa.RecordBatch) -> pa.RecordBatch:
    """An acceptance of each request, on the terms that it asks for."""
    count = requests.num_rows
    kinds = requests["request_type"].dictionary_encode()
    answers = pa.array([_ANSWER[k] for k in kinds.dictionary.to_pylist()], pa.utf8())
    zeros = pa.array(np.zeros(count, np.int64))
    return pa.RecordBatch.from_arrays(
        [
            requests["record_id"],
            requests["ts"],
            answers.take(kinds.indices),
            pa.nulls(count, pa.uint64()),
            *(requests[n] for n in _TERMS),
            zeros,
            zeros,
            pa.nulls(count, pa.utf8()),
        ],
        schema=REPORTS,
    )


class VenueFactory(Protocol):
    """Makes the market outside: :class:`BookVenue`, or a ``partial`` of :class:`TapeVenue`."""

    def __call__(self, *, clock: Clock, folder: Path | None) -> Venue:
        """A venue that keeps its record under ``folder``, in memory without one."""
        ...


def kind_of(venue: VenueFactory) -> str:
    """The kind of market that a factory makes; one of one's own is called by its name."""
    maker = getattr(venue, "func", venue)
    return str(getattr(maker, "kind", getattr(maker, "__name__", type(maker).__name__)))


def venue_of(kind: str) -> VenueFactory:
    """What opens a market of this kind again: an order book, or a tape that is over.

    :raises InvalidValue: it is one of somebody's own.
    """
    for known in (BookVenue, TapeVenue):
        if known.kind == kind:
            return known
    raise InvalidValue("venue", None, f"what makes the market of this folder: {kind}")
