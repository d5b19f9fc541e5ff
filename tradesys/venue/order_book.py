"""The matching engine of the simulated market: one symbol's limit order book, price before time.

It works on plain integers and knows nothing of Arrow, of accounts or of systems; two orders of one
account may therefore trade with each other (a self-match is allowed). It reads no clock and no
random source: the same requests in the same sequence give the same reports.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from threading import RLock
from typing import NamedTuple

from sortedcontainers import SortedDict

from tradesys.records.schemas import ExecType, OrdType, Side, TimeInForce

_SIGN: dict[str, int] = {Side.BUY: 1, Side.SELL: -1}
_ORD_TYPES = frozenset(OrdType)
_TIMES_IN_FORCE = frozenset(TimeInForce)

_FILLED, _CANCELED, _EXPIRED = "already filled", "already canceled", "already expired"
_FILL_OR_KILL, _NO_LIQUIDITY, _COLLAR = "fill or kill", "no liquidity", "beyond its collar"


class Report(NamedTuple):
    """One event of one order, as FIX 4.4 reports it (execution report, order cancel reject).

    ``request_id`` is the request answered; of a trade, the order's NEW or last accepted replace.
    ``order_qty`` and ``price`` are the total quantity and the limit in force after the event: as
    asked for in a REJECTED, 0 and None of an unknown order. The price of a market order is its
    collar, if it has one. ``last_qty`` and ``last_px`` are 0 unless it is a trade or a correction.
    ``text`` is the reason of a refusal, or of an end that nobody asked for.
    """

    exec_type: ExecType
    request_id: int
    order_id: int
    order_qty: int
    price: int | None
    last_qty: int = 0
    last_px: int = 0
    text: str | None = None


class Level(NamedTuple):
    """One price on one side of the book: the quantity open there, and in how many orders."""

    price: int
    qty: int
    orders: int


@dataclass(slots=True)
class _Order:
    """An order that is on the book (``rests``), or not.

    ``closed`` refuses what is asked of one that is over. ``at_once`` is None if what remains of it
    rests, else why that is canceled.
    """

    order_id: int
    request_id: int
    sign: int
    order_qty: int
    price: int | None
    leaves_qty: int
    at_once: str | None = None
    closed: str | None = None
    rests: bool = False

    def reaches(self, key: int) -> bool:
        """Whether its limit lets it trade at the level with this key on the other side."""
        return self.price is None or key <= self.sign * self.price

    def report(self, exec_type: ExecType, request_id: int, text: str | None = None) -> Report:
        """The report of an event, other than a trade, that left the order as it is now."""
        terms = self.order_id, self.order_qty, self.price
        return Report(exec_type, request_id, *terms, text=text)

    def fill(self, last_qty: int, last_px: int) -> Report:
        """Fill so much of the order; the report of the trade."""
        assert 0 < last_qty <= self.leaves_qty, "a fill exceeds what is open"
        self.leaves_qty -= last_qty
        if not self.leaves_qty:
            self.closed = _FILLED
        terms = self.order_id, self.order_qty, self.price
        return Report(ExecType.TRADE, self.request_id, *terms, last_qty, last_px)

    def cancel(self, text: str) -> Report:
        """Close what remains of the order, which nobody asked for; the report of it."""
        self.closed = _CANCELED
        return self.report(ExecType.CANCELED, self.request_id, text)


class OrderBook:
    """One symbol's limit order book with price-time priority.

    A method that takes a request returns its reports in the sequence of the events. A match is two
    trade reports next to each other, the resting order's and then the aggressor's, both at the
    resting order's price. Each request id is answered once: the same id again, whatever it then
    asks for, changes nothing and returns no reports, so a request may safely be sent again. For
    that the book remembers every order and every request id that it has seen.

    :param lock: held while :meth:`depth` looks, as by whoever changes the book from other threads.
    """

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        self._lock = lock or RLock()
        # The levels of each side, by its sign. A level's key is its price times minus the sign: the
        # first key is the best price, on either side. A level is there only while it has orders,
        # first come first, in an OrderedDict: to find the first of a plain dict is to walk over
        # all that were taken off before it.
        self._levels: dict[int, SortedDict[int, OrderedDict[int, _Order]]]
        self._levels = {1: SortedDict(), -1: SortedDict()}
        self._orders: dict[int, _Order] = {}
        self._answered: set[int] = set()

    def depth(self, levels: int = 10) -> tuple[list[Level], list[Level]]:
        """The bids and the asks, each from the best price on, at most ``levels`` of each."""
        with self._lock:
            bids, asks = ([*self._side(sign, levels)] for sign in (1, -1))
        return bids, asks

    def _side(self, sign: int, levels: int) -> Iterator[Level]:
        for key, queue in islice(self._levels[sign].items(), levels):
            yield Level(-sign * key, sum(order.leaves_qty for order in queue.values()), len(queue))

    def new(
        self,
        order_id: int,
        side: str,
        ord_type: str,
        time_in_force: str,
        order_qty: int,
        price: int | None,
    ) -> list[Report]:
        """Take a new order: NEW, then its trades. ``order_id`` is also the id of this request.

        What remains of a limit order rests, DAY, GTC and GTD alike, until :meth:`expire`.
        What remains of a market order ("no liquidity") or of an IOC order ("immediate or cancel")
        is CANCELED; so is all of a FOK order that cannot be filled at once ("fill or kill").

        The price of a market order, if it has one, is its collar: the worst at which it trades
        (FIX tag 44 beside 40=1).

        The one report is REJECTED if the terms make no order; its text says what was expected, and
        the order is unknown from then on.
        """
        if self._is_repeat(order_id):
            return []
        why = _why_rejected(side, ord_type, time_in_force, order_qty, price)
        if why is not None:
            return [Report(ExecType.REJECTED, order_id, order_id, order_qty, price, text=why)]
        order = self._entered(order_id, side, ord_type, time_in_force, order_qty, price)
        reports = [order.report(ExecType.NEW, order_id)]
        if time_in_force == TimeInForce.FOK and not self._can_fill(order):
            reports.append(order.cancel(_FILL_OR_KILL))
        else:
            self._work(order, reports)
        return reports

    def cancel(self, request_id: int, order_id: int) -> list[Report]:
        """Take an order off the book: CANCELED.

        CANCEL_REJECTED if it is not on the book: "already filled", "already canceled", "already
        expired" or "unknown order".
        """
        if self._is_repeat(request_id):
            return []
        order = self._find(order_id)
        if order.closed is not None:
            return [order.report(ExecType.CANCEL_REJECTED, request_id, order.closed)]
        self._close(order, _CANCELED)
        return [order.report(ExecType.CANCELED, request_id)]

    def expire(self, order_id: int, text: str) -> list[Report]:
        """Take an order off the book at the end of its time: EXPIRED; nothing if it is closed."""
        order = self._find(order_id)
        if order.closed is not None:
            return []
        self._close(order, _EXPIRED)
        return [order.report(ExecType.EXPIRED, order.request_id, text)]

    def is_open(self, order_id: int) -> bool:
        """Whether an order is known and can still trade."""
        return self._find(order_id).closed is None

    def leaves_qty(self, order_id: int) -> int:
        """The quantity of a known order that has not traded, were it canceled or not."""
        return self._orders[order_id].leaves_qty

    def replace(
        self,
        request_id: int,
        order_id: int,
        order_qty: int,
        price: int | None,
        *,
        refused: str | None = None,
    ) -> list[Report]:
        """Give an order a new total quantity and limit: REPLACED, then the trades this leads to.

        ``order_qty`` counts what is filled already; ``price`` None keeps the limit. A total no
        larger than what is filled leaves the order filled, its order_qty being its cum_qty. Another
        price or a larger quantity loses the order's place in time; all else keeps it.

        CANCEL_REJECTED as for :meth:`cancel`, and if quantity or price is less than 1: the order
        then stays as it was.

        :param refused: why it is CANCEL_REJECTED all the same.
        """
        if self._is_repeat(request_id):
            return []
        order = self._find(order_id)
        why = order.closed or refused or _why_not_positive(order_qty, price)
        if why is not None:
            return [order.report(ExecType.CANCEL_REJECTED, request_id, why)]
        keeps_place = self._replaced(order, request_id, order_qty, price or order.price)
        reports = [order.report(ExecType.REPLACED, request_id)]
        if order.leaves_qty and not keeps_place:
            self._work(order, reports)
        return reports

    def amend(
        self,
        order_id: int,
        back: int,
        last_qty: int,
        last_px: int,
        *,
        over: str | None = None,
        but: Collection[int] = (),
    ) -> list[Report]:
        """Bust a trade of an order (``last_qty`` 0), or correct it: TRADE_CANCEL or TRADE_CORRECT.

        What an order gets back trades again, unless it was canceled or has expired: at once, or the
        last in time at its price. Of an order that cannot rest it is CANCELED ("trade amended").

        :param back: how much of its quantity the order gets back; less than 0 where a correction
            takes more than the trade did, at most what is open.
        :param over: why an order whose time is over is then EXPIRED.
        :param but: orders that it does not trade with at once, those of the other side: by
            themselves they would undo the amendment.
        """
        order = self._orders[order_id]
        self._given_back(order, back)
        kind = ExecType.TRADE_CORRECT if last_qty else ExecType.TRADE_CANCEL
        report = order.report(kind, order.request_id)
        reports = [report._replace(last_qty=last_qty, last_px=last_px)]
        if back > 0 and order.closed is None:
            if order.at_once:
                reports.append(order.cancel("trade amended"))
            elif over:
                reports += self.expire(order_id, over)
            else:
                self._work(order, reports, but)
        return reports

    def take(self, report: Report, side: str, ord_type: str, time_in_force: str, back: int) -> None:
        """Take what was reported before as having happened: the book is then as it was after it.

        :param side: of its order, as are ``ord_type`` and ``time_in_force``.
        :param back: as :meth:`amend`, of a bust or a correction.
        """
        self._answered.add(report.request_id)
        order, terms = self._find(report.order_id), (report.order_qty, report.price)
        match report.exec_type:
            case ExecType.NEW:
                order = self._entered(report.order_id, side, ord_type, time_in_force, *terms)
                self._rest(order)
            case ExecType.REPLACED:
                if not self._replaced(order, report.request_id, *terms):
                    self._rest(order)
            case ExecType.TRADE:
                order.fill(report.last_qty, report.last_px)
                if not order.leaves_qty:
                    self._take_off(order)
            case ExecType.TRADE_CORRECT | ExecType.TRADE_CANCEL:
                self._given_back(order, back)
                if back > 0:  # it has lost its place
                    self._rest(order)
            case ExecType.CANCELED:
                self._close(order, _CANCELED)
            case ExecType.EXPIRED:
                self._close(order, _EXPIRED)

    def _is_repeat(self, request_id: int) -> bool:
        """Whether this request was answered before; from now on it was."""
        if request_id in self._answered:
            return True
        self._answered.add(request_id)
        return False

    def _find(self, order_id: int) -> _Order:
        """The order with this id; if there is none, one that refuses everything."""
        order = self._orders.get(order_id)
        return order or _Order(order_id, 0, 0, 0, None, leaves_qty=0, closed="unknown order")

    def _entered(
        self,
        order_id: int,
        side: str,
        ord_type: str,
        time_in_force: str,
        order_qty: int,
        price: int | None,
    ) -> _Order:
        """A new order, not on the book yet."""
        at_once = _FILL_OR_KILL if time_in_force == TimeInForce.FOK else None
        if time_in_force == TimeInForce.IOC:
            at_once = "immediate or cancel"
        if ord_type == OrdType.MARKET:
            at_once = _NO_LIQUIDITY
        terms = order_id, order_id, _SIGN[side], order_qty, price
        order = self._orders[order_id] = _Order(*terms, leaves_qty=order_qty, at_once=at_once)
        return order

    def _replaced(self, order: _Order, request_id: int, order_qty: int, price: int | None) -> bool:
        """Give an order other terms; whether it keeps its place. If not, it is off the book."""
        cum_qty = order.order_qty - order.leaves_qty
        keeps_place = price == order.price and cum_qty < order_qty <= order.order_qty
        if not keeps_place:
            self._take_off(order)
        order.request_id, order.price = request_id, price
        order.order_qty = max(order_qty, cum_qty)
        order.leaves_qty = order.order_qty - cum_qty
        if not order.leaves_qty:
            order.closed = _FILLED
        return keeps_place

    def _given_back(self, order: _Order, back: int) -> None:
        """Give an order so much of its quantity back; it loses its place, and is off the book.

        Less than 0 is taken from what is open, and the place kept.
        """
        order.leaves_qty += back
        assert order.leaves_qty >= 0, "a correction exceeds what is open"
        if back > 0 and order.closed == _FILLED:
            order.closed = None
        if back < 0 and not order.leaves_qty and order.closed is None:
            order.closed = _FILLED
        if back > 0 or order.closed:
            self._take_off(order)

    def _close(self, order: _Order, why: str) -> None:
        """Close an order, and take it off the book."""
        self._take_off(order)
        order.closed = why

    def _work(self, order: _Order, reports: list[Report], but: Collection[int] = ()) -> None:
        """Trade an order that is off the book; what remains rests or is canceled."""
        self._match(order, reports, but)
        if order.leaves_qty and order.at_once:
            # A market order that others are left for has a collar that does not reach them.
            is_collar = order.at_once == _NO_LIQUIDITY and self._levels[-order.sign]
            reports.append(order.cancel(_COLLAR if is_collar else order.at_once))
        self._rest(order)

    def _can_fill(self, order: _Order) -> bool:
        """Whether all of the order would trade at once."""
        wanted = order.leaves_qty
        for resting in self._reached(order):
            wanted -= resting.leaves_qty
            if wanted <= 0:
                return True
        return False

    def _match(self, order: _Order, reports: list[Report], but: Collection[int]) -> None:
        """Trade an order that is not on the book with those that it reaches; add the reports."""
        while order.leaves_qty and (resting := next(self._reached(order, but), None)):
            assert resting.price is not None, "only a limit order rests"
            last_qty, last_px = min(order.leaves_qty, resting.leaves_qty), resting.price
            reports.append(resting.fill(last_qty, last_px))
            reports.append(order.fill(last_qty, last_px))
            if not resting.leaves_qty:
                self._take_off(resting)

    def _reached(self, order: _Order, but: Collection[int] = ()) -> Iterator[_Order]:
        """The resting orders that an order reaches, by price and then time."""
        for key, queue in self._levels[-order.sign].items():
            if not order.reaches(key):
                return
            yield from (resting for resting in queue.values() if resting.order_id not in but)

    def _rest(self, order: _Order) -> None:
        """Put what remains of an open order on the book, the last in time at its price."""
        if order.at_once or order.closed:
            return
        assert order.price is not None, "only a limit order rests"
        levels, key = self._levels[order.sign], -order.sign * order.price
        queue = levels.get(key)
        if queue is None:
            queue = levels[key] = OrderedDict()
        queue[order.order_id] = order
        order.rests = True

    def _take_off(self, order: _Order) -> None:
        """Take an order off the book, if it rests, and its level if it was the last one there."""
        if not order.rests:
            return
        assert order.price is not None, "only a limit order rests"
        levels, key = self._levels[order.sign], -order.sign * order.price
        queue = levels[key]
        del queue[order.order_id]
        if not queue:
            del levels[key]
        order.rests = False


def _why_rejected(
    side: str, ord_type: str, time_in_force: str, order_qty: int, price: int | None
) -> str | None:
    """What is wrong with the terms of a new order, None if nothing is."""
    if side not in _SIGN:
        return f"side={side!r}: expected buy or sell"
    if ord_type not in _ORD_TYPES:
        return f"ord_type={ord_type!r}: expected market or limit"
    if time_in_force not in _TIMES_IN_FORCE:
        return f"time_in_force={time_in_force!r}: expected one of {', '.join(TimeInForce)}"
    if ord_type == OrdType.LIMIT and price is None:
        return "price=None: expected the limit of a limit order"
    return _why_not_positive(order_qty, price)


def _why_not_positive(order_qty: int, price: int | None) -> str | None:
    """What is wrong with a quantity and a price, if there is one; None if nothing is."""
    if order_qty < 1:
        return f"order_qty={order_qty}: expected at least 1"
    if price is not None and price < 1:
        return f"price={price}: expected at least 1"
    return None
