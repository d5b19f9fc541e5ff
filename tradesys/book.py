"""The matching engine of the simulated market: one symbol's limit order book, price before time.

It works on plain integers and knows nothing of Arrow, of accounts or of systems; two orders of one
account may therefore trade with each other (a self-match is allowed). It reads no clock and no
random source: the same requests in the same sequence give the same reports.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from sortedcontainers import SortedDict

from tradesys.records import ExecType, OrdType, Side, TimeInForce

_SIGN: dict[str, int] = {Side.BUY: 1, Side.SELL: -1}
_ORD_TYPES = frozenset(OrdType)
_TIMES_IN_FORCE = frozenset(TimeInForce)


class Report(NamedTuple):
    """One event of one order, as FIX 4.4 reports it (execution report, order cancel reject).

    ``request_id`` is the request answered; of a trade, the order's NEW or last accepted replace.
    ``order_qty`` and ``price`` are the total quantity and the limit in force after the event: as
    asked for in a REJECTED, 0 and None of an unknown order. The price of a market order is its
    collar, if it has one. ``last_qty`` and ``last_px`` are 0 unless it is a trade. ``text`` is the
    reason of a refusal or an expiry.
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
    """An order that is on the book, or not: ``closed`` then refuses what is asked of it."""

    order_id: int
    request_id: int
    sign: int
    order_qty: int
    price: int | None
    leaves_qty: int
    closed: str | None = None

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
            self.closed = "already filled"
        terms = self.order_id, self.order_qty, self.price
        return Report(ExecType.TRADE, self.request_id, *terms, last_qty, last_px)

    def expire(self, text: str) -> Report:
        """Close what remains of the order; the report of it."""
        self.closed = "already expired"
        return self.report(ExecType.EXPIRED, self.request_id, text)


class OrderBook:
    """One symbol's limit order book with price-time priority.

    A method that takes a request returns its reports in the sequence of the events. A match is two
    trade reports next to each other, the resting order's and then the aggressor's, both at the
    resting order's price. Each request id is answered once: the same id again, whatever it then
    asks for, changes nothing and returns no reports, so a request may safely be sent again. For
    that the book remembers every order and every request id that it has seen.
    """

    def __init__(self) -> None:
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
        bids, asks = (
            [
                Level(-sign * key, sum(order.leaves_qty for order in queue.values()), len(queue))
                for key, queue in islice(self._levels[sign].items(), levels)
            ]
            for sign in (1, -1)
        )
        return bids, asks

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
        is EXPIRED; so is all of a FOK order that cannot be filled at once ("fill or kill").

        The one report is REJECTED if the terms make no order; its text says what was expected, and
        the order is unknown from then on.
        """
        if self._is_repeat(order_id):
            return []
        why = _why_rejected(side, ord_type, time_in_force, order_qty, price)
        if why is not None:
            return [Report(ExecType.REJECTED, order_id, order_id, order_qty, price, text=why)]
        order = _Order(order_id, order_id, _SIGN[side], order_qty, price, leaves_qty=order_qty)
        self._orders[order_id] = order
        reports = [order.report(ExecType.NEW, order_id)]
        if time_in_force == TimeInForce.FOK and not self._can_fill(order):
            reports.append(order.expire("fill or kill"))
            return reports
        self._match(order, reports)
        if order.leaves_qty:
            if ord_type == OrdType.MARKET:
                reports.append(order.expire("no liquidity"))
            elif time_in_force == TimeInForce.IOC:
                reports.append(order.expire("immediate or cancel"))
            else:
                self._rest(order)
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
        self._take_off(order)
        order.closed = "already canceled"
        return [order.report(ExecType.CANCELED, request_id)]

    def expire(self, order_id: int) -> None:
        """Take an order off the book at the end of its time; nothing if it is not on the book."""
        order = self._find(order_id)
        if order.closed is None:
            self._take_off(order)
            order.closed = "already expired"

    def replace(
        self, request_id: int, order_id: int, order_qty: int, price: int | None
    ) -> list[Report]:
        """Give an order a new total quantity and limit: REPLACED, then the trades this leads to.

        ``order_qty`` counts what is filled already; ``price`` None keeps the limit. A total no
        larger than what is filled leaves the order filled, its order_qty being its cum_qty. Another
        price or a larger quantity loses the order's place in time; all else keeps it.

        CANCEL_REJECTED as for :meth:`cancel`, and if quantity or price is less than 1: the order
        then stays as it was.
        """
        if self._is_repeat(request_id):
            return []
        order = self._find(order_id)
        why = order.closed or _why_not_positive(order_qty, price)
        if why is not None:
            return [order.report(ExecType.CANCEL_REJECTED, request_id, why)]
        cum_qty = order.order_qty - order.leaves_qty
        price = order.price if price is None else price
        keeps_place = price == order.price and cum_qty < order_qty <= order.order_qty
        if not keeps_place:
            self._take_off(order)
        order.request_id, order.price = request_id, price
        order.order_qty = max(order_qty, cum_qty)
        order.leaves_qty = order.order_qty - cum_qty
        reports = [order.report(ExecType.REPLACED, request_id)]
        if not order.leaves_qty:
            order.closed = "already filled"
        elif not keeps_place:
            self._match(order, reports)
            if order.leaves_qty:
                self._rest(order)
        return reports

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

    def _can_fill(self, order: _Order) -> bool:
        """Whether all of the order would trade at once."""
        wanted = order.leaves_qty
        for key, queue in self._levels[-order.sign].items():
            if not order.reaches(key):
                return False
            for resting in queue.values():
                wanted -= resting.leaves_qty
                if wanted <= 0:
                    return True
        return False

    def _match(self, order: _Order, reports: list[Report]) -> None:
        """Trade an order that is not on the book with those that it reaches; add the reports."""
        opposite = self._levels[-order.sign]
        while order.leaves_qty and opposite:
            key = next(iter(opposite))
            if not order.reaches(key):
                return
            resting = next(iter(opposite[key].values()))
            last_qty, last_px = min(order.leaves_qty, resting.leaves_qty), order.sign * key
            reports.append(resting.fill(last_qty, last_px))
            reports.append(order.fill(last_qty, last_px))
            if not resting.leaves_qty:
                self._take_off(resting)

    def _rest(self, order: _Order) -> None:
        """Put an order on the book, the last in time at its price."""
        assert order.price is not None, "only a limit order rests"
        levels, key = self._levels[order.sign], -order.sign * order.price
        queue = levels.get(key)
        if queue is None:
            queue = levels[key] = OrderedDict()
        queue[order.order_id] = order

    def _take_off(self, order: _Order) -> None:
        """Take an order off the book, and its level with it if it was the last one there."""
        assert order.price is not None, "only a limit order rests"
        levels, key = self._levels[order.sign], -order.sign * order.price
        queue = levels[key]
        del queue[order.order_id]
        if not queue:
            del levels[key]


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
