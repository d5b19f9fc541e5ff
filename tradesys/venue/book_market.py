"""A simulated market: orders are matched in price-time order books."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tradesys.log.group_commit import Row
from tradesys.records import argument_checks as given
from tradesys.records.arrow import rows_of
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import ExecType, RequestType, TimeInForce, format_id, split_id
from tradesys.records.trading_calendar import FOREVER, ns_of
from tradesys.status.definition import AMENDS, TRADES
from tradesys.venue.market import Venue
from tradesys.venue.order_book import OrderBook, Report

_NAMES = ("cl_ord_id", "orig_cl_ord_id", "account", "symbol", "side", "ord_type")
_TERMS = (*_NAMES, "time_in_force", "expire_time")
_OF_TIME = ("time_in_force", "expire_time", "ts")


class BookVenue(Venue):
    """A simulated market with a price-time order book for each symbol."""

    kind = "book"

    def _begin(self) -> None:
        super()._begin()
        self._books: defaultdict[str, OrderBook] = defaultdict(lambda: OrderBook(self.lock))
        # Of each order its terms in force, and as ``last_ns`` up to when it may trade.
        self._orders: dict[int, dict[str, Any]] = {}
        self._ends: dict[int, int] = {}  # up to when the orders may trade that are still to end
        self._named: dict[tuple[str, str], tuple[int, int]] = {}
        # Of an amended trade the report that stands, None of a bust; of a correction its trade.
        self._standing: dict[int, int | None] = {}
        self._trade_of: dict[int, int] = {}
        self._latest = 0

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """The order book of each symbol."""
        with self.lock:
            self._remember()
            return self._books

    def send(self, requests: pa.RecordBatch) -> None:
        """Match the requests, one by one."""
        with self.lock:
            self._tell_time()
            rows: list[Row] = []
            requests, now = self.untaken(requests), self._now()
            for request in rows_of(requests):
                self._add(rows, now, self._match(request, now), request)
            self.report(rows)

    def amend(
        self, exec_ids: Sequence[int], *, last_qty: int = 0, last_px: int | None = None
    ) -> None:
        """Correct trades to another quantity and price, or bust them: to no quantity.

        Each order gets back what it loses, and trades again (:meth:`OrderBook.amend`), but not with
        the other side of the trade of itself.

        :param exec_ids: each a trade, or the last correction of one; the reports refer to these.
        :param last_px: in 1/10,000; None keeps the trade's.
        :raises InvalidValue: one is something else or busted already, or the quantity or the price
            is none that the order can have; nothing was amended.
        """
        with self.lock:
            self._tell_time()
            self._remember()
            self._write()
            given.a(object, "exec_ids", exec_ids, "a list of exec_ids", _is_list)
            given.whole("last_qty", last_qty, 0, of="shares")
            if last_px is not None:
                given.whole("last_px", last_px, 1, of="1/10,000")
            standing = [self._stands(exec_id) | {"named": exec_id} for exec_id in exec_ids]
            if len({trade["record_id"] for trade in standing}) < len(standing):
                raise InvalidValue("exec_ids", exec_ids, "each trade once")
            # What takes quantity comes before what gives it back, which may trade again at once.
            standing.sort(key=lambda trade: trade["last_qty"] - last_qty)
            self._require_open(standing, last_qty)
            self._change()
            rows: list[Row] = []
            now, but = self._now(), self._sides(standing)
            for trade in standing:
                order_id, back = trade["order_id"], trade["last_qty"] - last_qty
                px = 0 if not last_qty else trade["last_px"] if last_px is None else last_px
                last_ns = self._orders[order_id]["last_ns"]
                _, over = self.expired_at(trade["time_in_force"], last_ns)
                book = self._books[trade["symbol"]]
                why = over if last_ns < now else None
                reports = book.amend(order_id, back, last_qty, px, over=why, but=but)
                if book.is_open(order_id):
                    self._ends_at(last_ns, order_id)  # it may have been closed when its end came
                self._note_amended(trade["record_id"], self.next_id() + len(rows), last_qty)
                self._add(rows, now, reports, self._orders[order_id], trade["named"])
            self.report(rows)

    def _stands(self, exec_id: int) -> dict[str, Any]:
        """The report that stands of a trade, named by itself or by its last correction."""
        code, sequence = split_id(given.whole("exec_ids", exec_id, 0, of="an exec_id"))
        expected = "a trade of this market, or the last correction of one, that is not busted"
        if code == self.origin.code and sequence < self.reports.count:
            trade_id = self._trade_of.get(exec_id, exec_id)
            last = self._standing.get(trade_id, trade_id)
            if last is not None and exec_id in (trade_id, last):
                (report,) = rows_of(self.reports.since(split_id(last)[1], 1))
                if report["exec_type"] in TRADES:
                    return report
        raise InvalidValue("exec_ids", format_id(exec_id), expected)

    def _sides(self, trades: list[dict[str, Any]]) -> set[int]:
        """The orders of these trades, and of the other sides of their matches.

        The two reports of a match stand next to each other.
        """
        found = set()
        for trade in trades:
            trade_id = self._trade_of.get(trade["record_id"], trade["record_id"])
            first = max(split_id(trade_id)[1] - 1, 0)
            rows = rows_of(self.reports.since(first, 3))
            of_match = ("symbol", "exec_type", "last_px", "last_qty")
            (own,) = (row for row in rows if row["record_id"] == trade_id)
            found |= {row["order_id"] for row in rows if all(row[n] == own[n] for n in of_match)}
        return found

    def _require_open(self, trades: list[dict[str, Any]], last_qty: int) -> None:
        """Refuse a quantity beyond what is open of an order."""
        left: dict[int, int] = {}
        for trade in trades:
            order_id, book = trade["order_id"], self._books[trade["symbol"]]
            left.setdefault(order_id, book.leaves_qty(order_id))
            left[order_id] += trade["last_qty"] - last_qty
            if left[order_id] < 0:
                most = left[order_id] + last_qty
                expected = f"at most {most}, what {format_id(order_id)} has beside its other trades"
                raise InvalidValue("last_qty", last_qty, expected)

    def _note_amended(self, before: int, report_id: int, last_qty: int) -> None:
        """Note which report of a trade stands, now that it was amended."""
        trade_id = self._trade_of.get(before, before)
        self._standing[trade_id] = report_id if last_qty else None
        self._trade_of[report_id] = trade_id

    # ---- time

    def _now(self) -> int:
        """The time of what is reported now: that of the clock, and none before the last report."""
        self._latest = max(self._latest, self.clock())
        return self._latest

    def _expire(self, now: int, day_end: int) -> None:
        self._change()
        rows: list[Row] = []
        for last_ns, order_id in self._over(now, day_end):
            del self._ends[order_id]
            order = self._orders[order_id]
            at, text = self.expired_at(order["time_in_force"], last_ns)
            self._latest = max(self._latest, min(at, now))
            reports = self._books[order["symbol"]].expire(order_id, text)
            self._add(rows, self._latest, reports, order)
        self._next_end = min(self._ends.values(), default=FOREVER)
        self.report(rows)

    def _over(self, now: int, day_end: int) -> list[tuple[int, int]]:
        """The orders that may trade no more, and up to when they could, the first first."""
        over = []
        for order_id, last_ns in self._ends.items():
            is_dated = self._orders[order_id]["time_in_force"] == TimeInForce.GTD
            if last_ns < now or (last_ns <= day_end and not is_dated):
                over.append((last_ns, order_id))
        return sorted(over)

    def _ends_at(self, last_ns: int, order_id: int) -> None:
        self._ends[order_id] = last_ns
        self._next_end = min(self._next_end, last_ns)

    def _note_terms(self, order_id: int, terms: dict[str, Any], now: int) -> None:
        """Note the terms that an order has from now on, and up to when it may trade."""
        last_ns = self.calendar.last_ns(terms["time_in_force"], terms["expire_time"], now)
        self._orders[order_id] = {name: terms[name] for name in _TERMS} | {"last_ns": last_ns}
        self._ends_at(last_ns, order_id)

    # ---- requests

    def _match(self, request: dict[str, Any], now: int) -> list[Report]:
        book = self._books[str(request["symbol"])]
        record_id, order_id = request["record_id"], request["order_id"]
        qty, price = request["order_qty"], request["price"]
        match request["request_type"]:
            case RequestType.NEW:
                if why := self._why_refused(request, now):
                    terms = record_id, record_id, qty, price
                    return [Report(ExecType.REJECTED, *terms, text=why)]
                side, ord_type = request["side"], request["ord_type"]
                time_in_force = request["time_in_force"]
                reports = book.new(record_id, side, ord_type, time_in_force, qty, price)
            case RequestType.CANCEL:
                return book.cancel(record_id, order_id)
            case _:
                late = self._why_late(request, now)
                reports = book.replace(record_id, order_id, qty, price, refused=late)
        if reports and reports[0].exec_type in (ExecType.NEW, ExecType.REPLACED):
            self._note_terms(order_id, request, now)
            if order_id == record_id:
                self._note_name(request, now)
        return reports

    def _why_refused(self, request: dict[str, Any], now: int) -> str | None:
        """Why a new order is not taken; None if it is."""
        if late := self._why_late(request, now):
            return late
        order_id, last_named = self._named.get((request["account"], request["cl_ord_id"]), (0, 0))
        if order_id and (last_named >= now or self._is_open(order_id)):
            # A customer who got no answer has turned to another system (FIX tag 103: 6).
            return "duplicate order"
        return None

    def _why_late(self, request: dict[str, Any], now: int) -> str | None:
        """Why terms are not taken that are over when they come (FIX tag 103: 4); None if not."""
        is_late = self.calendar.last_ns(*(request[n] for n in _OF_TIME)) < now
        return "too late to enter" if is_late else None

    def _is_open(self, order_id: int) -> bool:
        return self._books[self._orders[order_id]["symbol"]].is_open(order_id)

    def _note_name(self, terms: Mapping[str, Any], now: int) -> None:
        """Note up to when a name is taken, whatever becomes of its order: to the day's close."""
        if terms["cl_ord_id"]:
            name = terms["account"], terms["cl_ord_id"]
            self._named[name] = terms["order_id"], self.calendar.close(now)

    # ---- reports

    def _restore(self, reports: pa.RecordBatch) -> None:
        """What was reported, taken again as having happened, gives the books again."""
        super()._restore(reports)
        self._latest = max(self._latest, int(ns_of(reports["ts"]).max(initial=0)))
        for row in rows_of(reports):
            book, back = self._books[row["symbol"]], 0
            if row["exec_type"] in AMENDS:
                back = self._standing_qty(row["exec_ref_id"]) - row["last_qty"]
                self._note_amended(row["exec_ref_id"], row["record_id"], row["last_qty"])
            report = Report._make(row[name] for name in Report._fields)
            book.take(report, row["side"], row["ord_type"], row["time_in_force"], back)
            if row["exec_type"] in (ExecType.NEW, ExecType.REPLACED):
                self._note_terms(row["order_id"], row, row["ts"])
                if row["exec_type"] == ExecType.NEW:
                    self._note_name(row, row["ts"])

    def _standing_qty(self, exec_id: int) -> int:
        """The quantity of a trade as it stands, by its own id or that of a correction."""
        trade_id = self._trade_of.get(exec_id, exec_id)
        last = self._standing.get(trade_id, trade_id)
        return 0 if last is None else int(self.reports.value(split_id(last)[1], "last_qty"))

    def _add(
        self,
        rows: list[Row],
        now: int,
        reports: list[Report],
        about: Mapping[str, Any],
        exec_ref_id: int | None = None,
    ) -> None:
        """Add the reports of what happened to an order, each with the terms of its order.

        :param about: the request that is answered, or the order.
        :param exec_ref_id: what the first of them amends.
        """
        first = self.next_id()
        for report in reports:
            terms = about
            if report.request_id != about.get("record_id") and report.order_id in self._orders:
                terms = self._orders[report.order_id]
            ref = exec_ref_id if report is reports[0] else None
            row = (report.exec_type, ref, report.request_id, report.order_id)
            qty = report.order_qty or about["order_qty"]
            row += (*(terms[n] for n in _TERMS), qty, report.price)
            rows.append(
                (first + len(rows), now, *row, report.last_qty, report.last_px, report.text)
            )


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)
