"""A market that is a recorded tape: it reports what the tape says happened."""

from pathlib import Path

import polars as pl
import pyarrow as pa

from tradesys.records.clock import Clock
from tradesys.records.schemas import REPORTS, ExecType, RequestType, TimeInForce
from tradesys.records.sessions import EXCHANGE, FOREVER
from tradesys.venue.market import ACCEPTED, ANSWER, Venue
from tradesys.venue.tapes import Tape

_NS = pl.col("ts").dt.timestamp("ns")
_TERMS = REPORTS.names[REPORTS.names.index("request_id") : REPORTS.names.index("last_qty")]
_NOTHING = dict.fromkeys(("last_qty", "last_px"), pl.lit(0, pl.Int64))
_NO_REPORTS = pl.DataFrame(REPORTS.empty_table())
_NO_ORDERS = _NO_REPORTS.select(*_TERMS, name="cl_ord_id", last_ns=pl.lit(0, pl.Int64))
_NO_FILLS = _NO_REPORTS.select("ts", "cl_ord_id", "last_qty", "last_px").with_columns(
    event=pl.lit(0, pl.UInt32)
)


class TapeVenue(Venue):
    """A market that is a recorded tape: every request is accepted, fills are those of the tape.

    :meth:`advance` moves the tape on; a fill is reported once its time has come *and* its order
    has arrived, so an order that was held up is filled when it gets there. A report has the tape's
    own time, but none before what was reported when the tape was last advanced. An order is filled
    no more after its time, whatever the tape says.

    :param tape: None is a tape that is over: what it has reported stands, and nothing more is
        filled. A tape that is handed in again goes on after the fills that it has reported.
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
        # Of each fill the name of its order, and how many fills that order had before it.
        fills = (tape.fills if tape else _NO_FILLS).rename({"cl_ord_id": "name"})
        self._fills = fills.with_columns(before=pl.int_range(pl.len()).over("name"))
        self._awaited = self._fills.clear()
        self._names = fills["name"].unique().implode()
        self._event = 0

    def _begin(self) -> None:
        super()._begin()
        self._due = 0
        # Of each order that the tape fills its terms in force, and up to when it may trade.
        self._orders = _NO_ORDERS
        self._reported = _NO_REPORTS.select("order_id", reported=pl.lit(0, pl.UInt32))
        self._latest = self._floor = 0

    def _restore(self, reports: pa.RecordBatch) -> None:
        """Learn what an earlier run was sent."""
        super()._restore(reports)
        told = pl.DataFrame(reports)
        self._latest = self._floor = max(self._latest, _latest(told))
        kinds = pl.col("exec_type").replace_strict(ACCEPTED, default=None, return_dtype=pl.String)
        self._learn(told.with_columns(request_type=kinds))
        self._forget(told.filter(exec_type=ExecType.EXPIRED.value)["order_id"])

    def _recall(self) -> None:
        """Learn all that was reported, and count the fills of each order."""
        super()._recall()
        fills = pl.DataFrame(self.reports.table()).filter(exec_type=ExecType.TRADE.value)
        self._reported = fills.group_by("order_id").agg(reported=pl.len())
        self._awaited = self._fills.clear()
        self._advance()

    def _forget(self, order_ids: pl.Series) -> None:
        """Fill these orders no more."""
        self._orders = self._orders.filter(~pl.col("order_id").is_in(order_ids.implode()))

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
        self._forget(over["order_id"])
        due = map(self.expired_at, over["time_in_force"], over["last_ns"])
        at, text = zip(*due, strict=True)
        times = pl.Series([min(each, now) for each in at], dtype=pl.Int64).cast(over["ts"].dtype)
        expired = over.with_columns(ts=times, text=pl.Series(text), **_NOTHING)
        self._report_all(expired.with_columns(exec_type=_kind(ExecType.EXPIRED)), self._latest)

    def advance(self, event: int) -> None:
        """Let the tape's events before number ``event`` have happened."""
        with self.lock:
            self._event = event
            self._change()
            self._advance()
            self._is_torn = False

    def _advance(self) -> None:
        """Let the tape's events up to where it was advanced have happened."""
        self._floor = self._latest
        until = self._fills["event"].search_sorted(self._event)
        happened = self._fills.slice(self._due, max(until - self._due, 0))
        self._awaited, self._due = pl.concat([self._awaited, happened]), until

    def send(self, requests: pa.RecordBatch) -> None:
        """Accept the requests, and report the fills that their orders have waited for."""
        with self.lock:
            fresh = pl.DataFrame(self.untaken(requests)).rename({"record_id": "request_id"})
            self._learn(fresh)
            kinds = pl.col("request_type").replace_strict(ANSWER, return_dtype=pl.String)
            self._report(fresh.with_columns(exec_type=kinds, **_NOTHING))
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
            self._report(_NO_REPORTS)

    def _learn(self, requests: pl.DataFrame) -> None:
        """Note the terms of orders that the tape fills, as last replaced."""
        last_ns = self.calendar.last_moments(requests.rename({"ts": "stated_at"}))
        self._next_end = min(self._next_end, int(last_ns.min(initial=FOREVER)))
        stated = requests.with_columns(last_ns=pl.Series(last_ns, dtype=pl.Int64))
        is_new = pl.col("request_type") == RequestType.NEW.value
        new = stated.filter(is_new, pl.col("cl_ord_id").is_in(self._names))
        known = pl.concat(
            [self._orders.select("order_id", "name"), new.select("order_id", name="cl_ord_id")]
        )
        terms = (
            stated.filter(is_new | (pl.col("request_type") == RequestType.REPLACE.value))
            .join(known, on="order_id", maintain_order="left")
            .select(_NO_ORDERS.columns)
        )
        self._orders = pl.concat([self._orders, terms]).unique(
            "name", keep="last", maintain_order=True
        )

    def _report(self, answers: pl.DataFrame) -> None:
        """Report answers, and the fills that are due whose orders have come and may trade."""
        due = self._awaited.join(self._orders, on="name", maintain_order="left")
        self._awaited = self._awaited.join(
            self._orders, on="name", how="anti", maintain_order="left"
        )
        is_in_time = pl.max_horizontal(_NS, self._floor) <= pl.col("last_ns")
        fills = (
            due.join(self._reported, on="order_id", how="left", maintain_order="left")
            .filter(is_in_time, pl.col("before") >= pl.col("reported").fill_null(0))
            .with_columns(exec_type=_kind(ExecType.TRADE))
        )
        told = ("ts", "exec_type", *_TERMS, "last_qty", "last_px")
        self._report_all(pl.concat([answers.select(told), fills.select(told)]), self._floor)

    def _report_all(self, events: pl.DataFrame, floor: int) -> None:
        """Report events in the order of their times, none before ``floor``."""
        if not len(events):
            self.report(None)
            return
        ids = pl.Series(self.next_ids(len(events)))
        at = pl.max_horizontal(_NS, floor).cast(events["ts"].dtype)
        told = events.sort("ts", maintain_order=True).with_columns(ts=at, record_id=ids)
        self._latest = max(self._latest, _latest(told))
        whole = pl.concat(
            [_NO_REPORTS, told.select(n for n in REPORTS.names if n in told.columns)],
            how="diagonal",
        )
        table = whole.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(REPORTS)
        (batch,) = table.combine_chunks().to_batches()
        self.report(batch)


def _latest(events: pl.DataFrame) -> int:
    """The latest time of events in ns; 0 of none."""
    return int(events["ts"].dt.timestamp("ns").to_numpy().max(initial=0))


def _kind(exec_type: ExecType) -> pl.Expr:
    return pl.lit(exec_type.value)
