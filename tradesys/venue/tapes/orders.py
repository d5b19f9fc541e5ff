"""The orders of a tape: what its events come to, as requests of customers and fills.

This is written once for all formats. In memory are the orders that are open, and the ids that were
closed last (:data:`REMEMBERED`), whatever the length of the tape. An event that cannot be what it
says (of an order that is not open, beyond what is left of it, a second order of one id) is counted,
and the first lines of each kind are kept.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import polars as pl

from tradesys.venue.tapes.events import Kind
from tradesys.venue.tapes.tape import account, number_of

REMEMBERED = 1 << 17
"""How many ids that were closed are told from ids that the tape never entered."""

SHOWN = 5
"""Of how many lines of a kind the numbers are kept."""

BACK = "time goes back"
BEYOND = "more than is open"
OTHER_PRICE = "canceled at another price than its order has"
DELETED_FIRST = "deleted before it was entered"
"""Faults that are told beside those that are reasons to leave an event out."""

_NAMES = {
    Kind.REDUCE: "replace",
    Kind.DELETE: "cancel",
    Kind.EXECUTE: "execution",
    Kind.REPLACE: "replace",
}
_ADD, _REDUCE, _DELETE, _EXECUTE, _REPLACE = map(int, list(Kind)[:5])
_REQUESTS = (
    *("row", "request_type", "cl_ord_id", "orig_cl_ord_id", "order_id", "symbol", "side"),
    *("order_qty", "price"),
)
_UNDONE = -1  # the row of a request that was made part of the next one
_FILLS = ("row", "cl_ord_id", "last_qty", "last_px")

Id = str | int


class Faults(dict[str, tuple[int, list[int]]]):
    """What is wrong on a tape: how often, and in which lines first."""

    def note(self, what: str, line: int, count: int = 1) -> None:
        """Count a fault in a line."""
        known, first = self.get(what, (0, []))
        self[what] = known + count, [*first, line] if len(first) < SHOWN else first


class Resting:
    """An order that is open: its terms in force, what is left of it, and its last change."""

    __slots__ = (
        "changes",
        "last_name",
        "left",
        "name",
        "order_id",
        "price",
        "qty",
        "side",
        "symbol",
    )

    def __init__(
        self, name: str, order_id: Id, symbol: str, side: str, qty: int, price: int
    ) -> None:
        self.name = self.last_name = name
        self.order_id, self.symbol, self.side = order_id, symbol, side
        self.qty = self.left = qty
        self.price, self.changes = price, 0


class Orders:
    """The orders of one file's day. ``ignored`` and ``faults`` are counted on.

    :param mark: what names of orders end with, to tell days apart.
    :param id_is_once: an id is never given again: an order that was deleted before it was entered
        is over.
    :param readds: an order that is canceled whole and entered again by the next event is replaced.
    """

    def __init__(
        self,
        ignored: Counter[str],
        faults: Faults,
        *,
        mark: str = "",
        id_is_once: bool = False,
        readds: bool = False,
    ) -> None:
        self.ignored, self.faults, self.mark = ignored, faults, mark
        self.id_is_once, self.readds = id_is_once, readds
        self.open: dict[Id, Resting] = {}
        self.closed: dict[Id, int] = {}  # how often each was, the last to be closed at the end
        self.deleted_first: dict[Id, None] = {}
        self._canceled: tuple[Resting, int] | None = None  # by the event before, as which request

    def take(  # noqa: C901 - an event a branch
        self, events: Iterable[tuple[Any, ...]], requests: list[Any], fills: list[Any]
    ) -> None:
        """Work in events, in their order, and append the requests and the fills they come to.

        The values of all columns are appended one after the other, to lists that hold no tuples: of
        many thousand containers, Python would look again and again whether they are garbage.

        :param events: ``(row, line, kind, symbol, order_id, new_id, side, qty, leaves, price)``.
        """
        known, ignored = self.open, self.ignored
        for row, line, kind, symbol, order_id, new_id, side, qty, leaves, price in events:
            order = known.get(order_id)
            if kind == _ADD:
                self._add(requests, row, line, order, order_id, symbol, side, qty, price)
                continue
            self._canceled = None
            if order is None:
                self._no_order(line, kind, order_id)
                continue
            if side is not None and side != order.side:
                self._leave_out(line, "another side than its order has")
                continue
            if kind == _EXECUTE or (kind == _DELETE and leaves == 0):
                executed = order.left - leaves if qty is None else qty
                if executed <= 0:
                    ignored["nothing changed"] += 1
                    continue
                if executed > order.left:
                    self.faults.note(BEYOND, line)
                    executed = order.left
                order.left -= executed
                fills += row, order.name, executed, order.price if price is None else price
                if not order.left:
                    self._close(order_id)
            elif kind == _REPLACE:
                self._replace(requests, row, order, order_id, new_id, qty, price)
            else:
                if price is not None and price != order.price:
                    self.faults.note(OTHER_PRICE, line)
                taken = order.left if kind == _DELETE else qty
                self._reduce(requests, row, line, order, order_id, taken, leaves)

    def _reduce(
        self,
        requests: list[Any],
        row: int,
        line: int,
        order: Resting,
        order_id: Id,
        qty: int | None,
        leaves: int,
    ) -> None:
        removed = order.left - leaves if qty is None else qty
        if removed > order.left:
            self.faults.note(BEYOND, line)
        if removed >= order.left:
            self._change(requests, row, order, order.qty, order.price, "cancel")
            self._close(order_id)
            self._canceled = order, len(requests) - len(_REQUESTS)
        elif removed > 0:
            order.left -= removed
            self._change(requests, row, order, order.qty - removed, order.price)
        else:
            self.ignored["nothing changed"] += 1

    def _add(
        self,
        requests: list[Any],
        row: int,
        line: int,
        order: Resting | None,
        order_id: Id,
        symbol: str,
        side: str,
        qty: int,
        price: int,
    ) -> None:
        before, self._canceled = self._canceled, None
        if order is not None:
            self._leave_out(line, "new order of an id that is open")
            return
        if order_id in self.deleted_first:
            self.faults.note(DELETED_FIRST, line)
            if self.id_is_once:
                self.ignored[DELETED_FIRST] += 1
                return
        if self.id_is_once and order_id in self.closed:
            self._leave_out(line, "new order of an id that was closed")
            return
        if before and self.readds and before[0].order_id == order_id and before[0].side == side:
            self._replace_again(requests, row, before, qty, price)
            return
        name = f"{symbol}:{order_id}{self.mark}"
        if times := self.closed.get(order_id):
            name += f"/{times}"
        self.open[order_id] = Resting(name, order_id, symbol, side, qty, price)
        requests += row, "new", name, None, order_id, symbol, side, qty, price

    def _replace_again(
        self, requests: list[Any], row: int, before: tuple[Resting, int], qty: int, price: int
    ) -> None:
        """A cancel and the new order after it are one replace, made when the order is entered."""
        order, canceled = before
        requests[canceled] = _UNDONE
        order.changes -= 1
        self.ignored["first half of a replace"] += 1
        self.open[order.order_id] = order
        executed = order.qty - order.left
        order.left = qty
        self._change(requests, row, order, executed + qty, price)

    def _replace(
        self,
        requests: list[Any],
        row: int,
        order: Resting,
        order_id: Id,
        new_id: Id | None,
        qty: int,
        price: int | None,
    ) -> None:
        if price is None:
            price = order.price
        if new_id is not None:
            self._close(order_id)
            self.open[new_id] = order
        if qty == order.left and price == order.price:
            self.ignored["nothing changed"] += 1
            return
        total = order.qty - order.left + qty
        order.left = qty
        self._change(requests, row, order, total, price)

    def _change(
        self,
        requests: list[Any],
        row: int,
        order: Resting,
        qty: int,
        price: int,
        kind: str = "replace",
    ) -> None:
        order.changes += 1
        name = f"{order.name}.{order.changes}"
        terms = order.order_id, order.symbol, order.side, qty, price
        requests += row, kind, name, order.last_name, *terms
        if kind == "replace":
            order.qty, order.price, order.last_name = qty, price, name

    def _close(self, order_id: Id) -> None:
        del self.open[order_id]
        self.closed[order_id] = self.closed.pop(order_id, 0) + 1
        if len(self.closed) > REMEMBERED:
            del self.closed[next(iter(self.closed))]

    def _no_order(self, line: int, kind: int, order_id: Id) -> None:
        name = _NAMES[Kind(kind)]
        if order_id in self.closed:
            self._leave_out(line, f"{name} of a closed order")
            return
        self.ignored[f"orphan {name}"] += 1
        if kind == _DELETE:
            self.deleted_first[order_id] = None
            if len(self.deleted_first) > REMEMBERED:
                del self.deleted_first[next(iter(self.deleted_first))]

    def _leave_out(self, line: int, reason: str) -> None:
        self.ignored[reason] += 1
        self.faults.note(reason, line)


def requests_of(
    values: list[Any], at: pl.DataFrame, accounts: int, time_in_force: str
) -> pl.DataFrame:
    """Requests as a tape has them. ``at``: ``event`` and ``ts`` of each row of the events."""
    types: dict[str, Any] = dict.fromkeys(_REQUESTS, pl.String)
    types |= dict.fromkeys(("row", "order_qty", "price"), pl.Int64)
    if values and isinstance(values[_REQUESTS.index("order_id")], int):
        types["order_id"] = pl.UInt64
    frame = _timed(values, types, at)
    number = number_of(pl.col("order_id"), frame.schema["order_id"])
    return frame.select(
        *("event", "ts", "request_type", "cl_ord_id", "orig_cl_ord_id"),
        account(number, accounts).alias("account"),
        *("symbol", "side"),
        ord_type=pl.lit("limit"),
        time_in_force=pl.lit(time_in_force),
        order_qty="order_qty",
        price="price",
    )


def fills_of(values: list[Any], at: pl.DataFrame) -> pl.DataFrame:
    """Fills as a tape has them."""
    types = dict(zip(_FILLS, (pl.Int64, pl.String, pl.Int64, pl.Int64), strict=True))
    return _timed(values, types, at)


def _timed(values: list[Any], types: dict[str, Any], at: pl.DataFrame) -> pl.DataFrame:
    """The rows whose values these are, in the order of events, with the event and time of each."""
    width = len(types)
    columns = [pl.Series(n, values[i::width], kind) for i, (n, kind) in enumerate(types.items())]
    rows = pl.DataFrame(columns).filter(pl.col("row") != _UNDONE)
    if not rows["row"].is_sorted():
        rows = rows.sort("row")
    return pl.concat([at[rows["row"]], rows.drop("row")], how="horizontal")
