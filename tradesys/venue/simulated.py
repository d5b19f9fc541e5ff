"""A simulated market: orders are matched in price-time order books."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tradesys.arrow import rows_of, with_columns
from tradesys.book import OrderBook, Report
from tradesys.clock import Clock
from tradesys.log import Row
from tradesys.records import ExecType, RequestType, split_id
from tradesys.venue.market import ACCEPTED, Venue

_PLACE = ("symbol", "order_id")


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
            if request_type := ACCEPTED.get(report["exec_type"]):
                answered = {"request_type": request_type, "record_id": report["request_id"]}
                self._match(report | answered)
            elif report["exec_type"] == ExecType.EXPIRED:
                self._books[report["symbol"]].expire(report["order_id"])

    def _expired(self, reports: pa.RecordBatch) -> None:
        for symbol, order_id in zip(*(reports[n].to_pylist() for n in _PLACE), strict=True):
            self._books[symbol].expire(order_id)

    def send(self, requests: pa.RecordBatch) -> None:
        """Match the requests, one by one."""
        rows: list[Row] = []
        now, first = self.clock(), self.next_id()
        for request in rows_of(self.untaken(requests)):
            for report in self._match(request):
                rows.append((first + len(rows), now, *self._row(report, request)))
        if rows:
            self.report(rows)

    def amend(self, exec_ids: Sequence[int], *, last_qty: int = 0, last_px: int = 0) -> None:
        """Correct trades to another quantity and price (1/10,000), or bust them: to no quantity.

        The book stays as it is: what a bust opens again is not traded again.
        """
        self._remember()
        places = pa.array([split_id(exec_id)[1] for exec_id in exec_ids])
        trades = self.reports.table().take(places)
        kind = ExecType.TRADE_CORRECT if last_qty else ExecType.TRADE_CANCEL
        amended = self.further(trades, kind, last_qty=last_qty, last_px=last_px)
        self.report(with_columns(amended, exec_ref_id=trades["record_id"].combine_chunks()))

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

    def _row(self, report: Report, request: dict[str, Any]) -> Row:
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
