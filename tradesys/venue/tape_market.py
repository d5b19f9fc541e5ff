"""A market that is a recorded tape: it reports what the tape says happened."""

from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import repeat
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tradesys.records.arrow import Ints, picked, with_columns
from tradesys.records.clock import Clock
from tradesys.records.schemas import REPORTS, ExecType, RequestType, TimeInForce
from tradesys.records.trading_calendar import EXCHANGE, FOREVER, ns_of
from tradesys.venue.market import ACCEPTED, ANSWER, Venue
from tradesys.venue.tapes import Tape


class TapeVenue(Venue):
    """A market that is a recorded tape: every request is accepted, fills are those of the tape.

    :meth:`advance` moves the tape on; a fill is reported once its time has come *and* its order
    has arrived, so an order that was held up is filled when it gets there. A report has the tape's
    own time, but none before what was reported when the tape was last advanced. An order is filled
    no more after its time, whatever the tape says.

    :param tape: its fills; further ones come with :meth:`feed`. Without any, and without a tape,
        it is over: what it has reported stands, and nothing more is filled. A tape that is handed
        in again goes on after the fills that it has reported.
    """

    kind = "tape"

    def __init__(
        self,
        tape: Tape | None = None,
        *,
        clock: Clock,
        folder: Path | None = None,
        calendar: str = EXCHANGE,
    ) -> None:
        super().__init__("TAPE", clock=clock, folder=folder, calendar=calendar)
        self._events, self._fills = list[int](), list[tuple[str, int, int, int]]()
        if tape:
            self.feed(tape.fills)
        self._event = 0

    def _begin(self) -> None:
        super()._begin()
        self._due = 0
        self._awaited: defaultdict[str, list[int]] = defaultdict(list)
        self._ready: list[int] = []
        self._named: dict[str, int] = {}
        # Of each order that is open the row of a batch with its terms, and up to when it may trade.
        self._terms: dict[int, tuple[pa.RecordBatch, int, int]] = {}
        self._reported: Counter[int] = Counter()
        self._latest = self._floor = 0

    def _restore(self, reports: pa.RecordBatch) -> None:
        """Learn what an earlier run was sent, and count the fills that it has reported."""
        super()._restore(reports)
        self._latest = self._floor = max(self._latest, int(ns_of(reports["ts"]).max(initial=0)))
        kinds = reports["exec_type"].to_pylist()
        request_types = pa.array([ACCEPTED.get(kind) for kind in kinds], pa.utf8())
        same = ("ts", *_TERMS[1:])
        columns = [reports["request_id"], request_types, *(reports[n] for n in same)]
        self._learn(pa.RecordBatch.from_arrays(columns, ["record_id", "request_type", *same]))
        expired = reports.filter(pc.equal(reports["exec_type"], ExecType.EXPIRED.value))
        canceled = reports.filter(pc.equal(reports["exec_type"], ExecType.CANCELED.value))
        for over in (expired, canceled):
            self._forget(over["order_id"])
        fills = reports.filter(pc.equal(reports["exec_type"], ExecType.TRADE.value))
        self._reported.update(fills["order_id"].to_pylist())

    def _forget(self, order_ids: pa.UInt64Array) -> None:
        """Fill these orders no more."""
        for order_id in order_ids.to_pylist():
            self._terms.pop(order_id, None)

    def _expire(self, now: int, day_end: int) -> None:
        orders = self._open_orders()
        is_day = pl.col("time_in_force") != TimeInForce.GTD.value
        is_over = (pl.col("last_ns") < now) | is_day & (pl.col("last_ns") <= day_end)
        over = orders.filter(is_over).sort("last_ns", "record_id")
        later = orders.filter(~is_over)["last_ns"].to_numpy()
        self._next_end = int(later.min(initial=FOREVER))
        if not len(over):
            return
        self._change()
        due = map(self.expired_at, over["time_in_force"], over["last_ns"])
        at, text = zip(*due, strict=True)
        batch = over.drop("last_ns").to_arrow(compat_level=pl.CompatLevel.oldest()).cast(REPORTS)
        (batch,) = batch.combine_chunks().to_batches()
        zeros, nulls = pa.repeat(0, len(over)), pa.nulls(len(over), pa.uint64())
        self._forget(batch["order_id"])
        self._report_at(
            np.minimum(np.array(at, np.int64), now),
            with_columns(
                batch,
                exec_type=pa.repeat(ExecType.EXPIRED.value, len(over)),
                exec_ref_id=nulls,
                last_qty=zeros,
                last_px=zeros,
                text=pa.array(text, pa.utf8()),
            ),
            self._latest,
        )

    def feed(self, fills: pl.DataFrame) -> None:
        """Hand in further fills of the tape: ``event, ts, cl_ord_id, last_qty, last_px``."""
        at = pl.col("ts").dt.timestamp("ns")
        with self.lock:
            self._fills += fills.select("cl_ord_id", at, "last_qty", "last_px").rows()
            self._events += fills["event"].to_list()

    def advance(self, event: int) -> None:
        """Let the tape's events before number ``event`` have happened."""
        with self.lock:
            self._event = event
            self._change()
            self._advance()
            self._is_torn = False

    def _recall(self) -> None:
        super()._recall()
        self._advance()

    def _advance(self) -> None:
        """Let the tape's events up to where it was advanced have happened."""
        self._floor = self._latest
        event = self._event
        until = bisect_left(self._events, event)
        for fill in range(self._due, until):
            name = self._fills[fill][0]
            if self._reported[order_id := self._named.get(name, 0)]:
                self._reported[order_id] -= 1
                continue
            (self._ready if name in self._named else self._awaited[name]).append(fill)
        self._due = until

    def send(self, requests: pa.RecordBatch) -> None:
        """Accept the requests, and report the fills that their orders have waited for."""
        with self.lock:
            requests = self.untaken(requests)
            if requests.num_rows:
                self._learn(requests)
            self._report(requests)
            cancels = pc.equal(requests["request_type"], RequestType.CANCEL.value)
            self._forget(requests["order_id"].filter(cancels))
            self._tell_time()

    def poll(self, position: int) -> pa.RecordBatch | None:
        """The reports from ``position`` on, fills that have become due included."""
        with self.lock:
            self._report_due()
            return super().poll(position)

    def end_day(self) -> None:
        """As any venue; fills that have become due come before."""
        with self.lock:
            self._report_due()
            super().end_day()

    def _report_due(self) -> None:
        """Report the fills that have become due; before the tape is advanced there are none."""
        if not self._forgot:
            self._change()
            self._report(None)

    def _learn(self, requests: pa.RecordBatch) -> None:
        """Note where the terms of orders stand, as last replaced; free what waited."""
        of_time = (requests[name] for name in ("time_in_force", "expire_time", "ts"))
        last_ns = self.calendar.last_of_each(*of_time)
        self._next_end = min(self._next_end, int(last_ns.min(initial=FOREVER)))
        for request_type in (RequestType.NEW, RequestType.REPLACE):
            is_it = pc.equal(requests["request_type"], request_type.value)
            is_it = is_it.to_numpy(zero_copy_only=False)
            terms = picked(requests.select(_TERMS), is_it)
            order_ids, ends = terms["order_id"].to_pylist(), last_ns[is_it].tolist()
            found = zip(repeat(terms), range(len(terms)), ends, strict=False)
            if request_type is RequestType.NEW:
                names = terms["cl_ord_id"].to_pylist()
                self._named.update(zip(names, order_ids, strict=True))
                self._terms.update(zip(order_ids, found, strict=False))
                for name in self._awaited.keys() & set(names):
                    self._ready += self._awaited.pop(name)
            else:
                known = self._terms
                known.update((i, at) for i, at in zip(order_ids, found, strict=False) if i in known)

    def _report(self, taken: pa.RecordBatch | None) -> None:
        """Report the answers to requests and the fills that are due, in the order of their time."""
        parts = [_answers(taken)] if taken is not None and taken.num_rows else []
        ready, self._ready = [f for f in self._ready if self._is_in_time(f)], []
        if ready:
            parts.append(self._trades(sorted(ready)))
        if not parts:
            self.report(None)
            return
        batch = pa.concat_batches(parts)
        self._report_at(ns_of(batch["ts"]), batch, self._floor)

    def _trades(self, fills: list[int]) -> pa.RecordBatch:
        """The reports of fills, each on the terms that its order has in force."""
        names, at, qty, px = zip(*(self._fills[fill] for fill in fills), strict=True)
        rows = (self._terms[self._named[name]] for name in names)
        terms = pa.concat_batches([batch.slice(row, 1) for batch, row, _ in rows])
        return _reports(
            terms,
            pa.array(at, pa.int64()).cast(pa.timestamp("ns", "UTC")),
            pa.repeat(ExecType.TRADE.value, len(fills)),
            pa.array(qty, pa.int64()),
            pa.array(px, pa.int64()),
        )

    def _is_in_time(self, fill: int) -> bool:
        """Whether the order of a fill may trade when the fill is reported."""
        name, at, *_ = self._fills[fill]
        terms = self._terms.get(self._named[name])
        return terms is not None and max(at, self._floor) <= terms[2]

    def _report_at(self, ts: Ints, batch: pa.RecordBatch, floor: int) -> None:
        """Report events in the order of their times, none before ``floor``."""
        order = np.argsort(ts, kind="stable")
        ts = np.maximum(ts[order], floor)
        self._latest = max(self._latest, ts[-1])
        times = pa.array(ts).cast(pa.timestamp("ns", "UTC"))
        batch = batch.take(pa.array(order))
        self.report(with_columns(batch, record_id=self.next_ids(len(batch)), ts=times))


_TERMS = (
    *("record_id", "order_id", "cl_ord_id", "orig_cl_ord_id", "account", "symbol", "side"),
    *("ord_type", "time_in_force", "expire_time", "order_qty", "price"),
)


def _answers(requests: pa.RecordBatch) -> pa.RecordBatch:
    """An acceptance of each request, on the terms that it asks for."""
    kinds = requests["request_type"].dictionary_encode()
    answers = pa.array([ANSWER[k] for k in kinds.dictionary.to_pylist()], pa.utf8())
    zeros = pa.array(np.zeros(len(requests), np.int64))
    return _reports(requests, requests["ts"], answers.take(kinds.indices), zeros, zeros)


def _reports(
    terms: pa.RecordBatch,
    ts: pa.TimestampArray,
    exec_types: pa.StringArray,
    last_qty: pa.Int64Array,
    last_px: pa.Int64Array,
) -> pa.RecordBatch:
    """Reports of orders on these terms; they are given their ids when they are reported."""
    count = len(terms)
    of_terms = [terms[name] for name in _TERMS]
    kinds = [exec_types, pa.nulls(count, pa.uint64())]
    columns = [terms["record_id"], ts, *kinds, *of_terms, last_qty, last_px]
    return pa.RecordBatch.from_arrays([*columns, pa.nulls(count, pa.utf8())], schema=REPORTS)
