"""The market as its reports tell it: what rests in the order book, and the best prices, over time.

A report is a row of the ``executions`` that a system holds, each event once (:func:`reports`), or
an event of a tape in the same columns (:func:`reports_of_tape`). Both are in the market's own
sequence, ``seq``: by time, and those of one time by ``exec_id``.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import polars as pl
from sortedcontainers import SortedDict

from tradesys.records.schemas import PRICE_SCALE, ExecType, OrdType, RequestType, Side, TimeInForce
from tradesys.status import definition as status
from tradesys.venue.market import ANSWER
from tradesys.venue.tapes import Tape

COLUMNS = (
    *("exec_id", "transact_time", "exec_type", "exec_ref_id", "order_id", "symbol"),
    *("side", "ord_type", "time_in_force", "order_qty", "price", "last_qty", "last_px"),
)
"""The columns of a report; types are those of the ``executions`` dataset, but ``order_id`` of a
tape is text: the ``cl_ord_id`` of the order."""

SIGN = pl.when(pl.col("side") == Side.BUY.value).then(1).otherwise(-1)
IS_TRADE = status.says(ExecType.TRADE)
MID = (pl.col("bid") + pl.col("ask")) / (2 * PRICE_SCALE)
SPREAD = (pl.col("ask") - pl.col("bid")) / PRICE_SCALE
"""The middle of the best prices, and what is between them, in the currency."""

BASIS_POINTS = 10_000  # in 1

_OF_BOOKS = (*status.STATES_TERMS, *status.OF_TRADES, *status.ENDS)
MAY_REST = (pl.col("ord_type") == OrdType.LIMIT.value) & ~pl.col("time_in_force").is_in(
    [TimeInForce.IOC.value, TimeInForce.FOK.value]
)
_KEPT = ("symbol", "side", "ord_type", "time_in_force")
_LEVEL = ("symbol", "side", "price")
_CHANGE = (
    *("seq", "exec_id", "transact_time", "exec_type", "order_id", *_LEVEL),
    *("qty", "orders", "rests", "placed"),
)
_TAPE = "TAPE"  # the venue that a replayed tape is


def reports(executions: pl.DataFrame, *, levels: int | None = None) -> pl.DataFrame:
    """The executions that a system holds, each event once, in the market's sequence.

    Of a replayed tape with :func:`unseen_ends`.

    :param levels: how many price levels of a side the tape shows; all, where nothing is said.
    """
    return _in_sequence(status.each_once(executions), pl.col("venue") == _TAPE, levels)


def reports_of_tape(tape: Tape, *, levels: int | None = None) -> pl.DataFrame:
    """A tape's events as a market reports them: all requests accepted, and the fills.

    With :func:`unseen_ends`. ``exec_id`` is the number of the event.

    :param levels: how many price levels of a side the tape shows; all, where nothing is said.
    """
    named = tape.requests.join(
        _first_names(tape.requests), on="cl_ord_id", how="left", maintain_order="left"
    )
    entered = named.filter(pl.col("request_type") == RequestType.NEW.value)
    terms = entered.select("cl_ord_id", "order_id", *_KEPT)
    answer = pl.col("request_type").replace_strict(ANSWER, return_dtype=pl.String)
    trades = tape.fills.join(terms, on="cl_ord_id", how="left", maintain_order="left")
    found = (
        pl.concat(
            [
                named.with_columns(exec_type=answer),
                trades.with_columns(exec_type=pl.lit(ExecType.TRADE.value)),
            ],
            how="diagonal",
        )
        .rename({"event": "exec_id", "ts": "transact_time"})
        .sort("exec_id")
        .with_columns(
            pl.col("exec_id").cast(pl.UInt64),
            pl.col("order_qty", "price").forward_fill().over("order_id"),
            pl.col("last_qty", "last_px").fill_null(0),
            exec_ref_id=pl.lit(None, pl.UInt64),
        )
    )
    return _in_sequence(found, pl.lit(value=True), levels)


def _in_sequence(events: pl.DataFrame, of_tape: pl.Expr, levels: int | None) -> pl.DataFrame:
    """Events as reports in the market's sequence, with the ends that a tape does not show."""
    ordered = events.sort("transact_time", "exec_id").with_row_index("seq")
    ends = unseen_ends(ordered.filter(of_tape).select("seq", *COLUMNS), levels)
    found = pl.concat([ends, ordered.select("seq", *COLUMNS)]).sort("seq", maintain_order=True)
    return found.drop("seq").with_row_index("seq")


def _first_names(requests: pl.DataFrame) -> pl.DataFrame:
    """Of each name that a request has, as ``order_id`` the name that its order was entered by."""
    links = requests.select("cl_ord_id", order_id=pl.coalesce("orig_cl_ord_id", "cl_ord_id"))
    for _ in range(len(links).bit_length()):  # each round doubles how far a name leads
        before = links.rename({"cl_ord_id": "order_id", "order_id": "earlier"})
        further = links.join(before, on="order_id", how="left", maintain_order="left")
        further = further.with_columns(order_id=pl.coalesce("earlier", "order_id")).drop("earlier")
        if further.equals(links):
            break
        links = further
    return links


def rested(reports: pl.DataFrame) -> pl.DataFrame:
    """The reports that change what rests in the book, of orders that can rest.

    :returns: the columns of a report, and of its order: ``rests``, the shares of it that can trade
        after the event; ``placed``, the ``seq`` since which it has its place in the queue. An
        order gets its place when it enters, and a new one at another price or with more shares.
    """
    amended = status.amendments(reports).select("exec_id", "trade_id")
    stands = pl.when(status.says(ExecType.TRADE_CANCEL)).then(0).otherwise("last_qty")
    another_px = pl.col("price").ne_missing(pl.col("price").shift(1).over("order_id"))
    return (
        reports.filter(status.says(*_OF_BOOKS), MAY_REST)
        .join(amended, on="exec_id", how="left", maintain_order="left")
        .with_columns(trade_id=pl.coalesce("trade_id", "exec_id"), stands=stands)
        .with_columns(traded=pl.col("stands") - _before("stands", "trade_id"))
        .with_columns(
            cum_qty=pl.col("traded").cum_sum().over("order_id"),
            ended=status.says(*status.ENDS).cum_max().over("order_id"),
        )
        .with_columns(
            rests=pl.when(pl.col("ended"))
            .then(0)
            .otherwise((pl.col("order_qty") - pl.col("cum_qty")).clip(lower_bound=0))
        )
        .with_columns(
            placed=pl.when(another_px | (pl.col("rests") > _before("rests", "order_id")))
            .then("seq")
            .forward_fill()
            .over("order_id")
        )
        .select("seq", *COLUMNS, "rests", "placed")
    )


def _before(name: str, of: str) -> pl.Expr:
    """A column in the report before of the same order, or trade; 0 in the first."""
    return pl.col(name).shift(1, fill_value=0).over(of)


def changes(reports: pl.DataFrame) -> pl.DataFrame:
    """What each report changes in the order book, in the market's sequence.

    Between its acceptance and its own trades, which all have one time, an order that takes what
    rests stands in the book as well: a bid then reaches an ask.

    :returns: ``seq, exec_id, transact_time, exec_type, order_id, symbol, side, price``; ``qty`` and
        ``orders``, by how many shares and orders the level changes; of its order ``rests`` and
        ``placed``. An order that moves to another price has two rows, the one that takes it off
        first.
    """
    each = rested(reports).with_columns(
        before=_before("rests", "order_id"),
        price_before=pl.col("price").shift(1).over("order_id"),
        placed_before=pl.col("placed").shift(1).over("order_id"),
    )
    moves = (pl.col("before") > 0) & (pl.col("price") != pl.col("price_before"))
    stays = pl.when(moves).then(0).otherwise("before")
    off = each.filter(moves).with_columns(
        price="price_before", placed="placed_before", qty=-pl.col("before"), orders=-1, rests=0
    )
    on = each.with_columns(
        qty=pl.col("rests") - stays,
        orders=(pl.col("rests") > 0).cast(pl.Int32) - (stays > 0).cast(pl.Int32),
    )
    parts = [part.select(_CHANGE) for part in (off, on)]
    return pl.concat(parts, how="vertical_relaxed").sort("seq", maintain_order=True)


def touch(changes: pl.DataFrame) -> pl.DataFrame:
    """The best bid and ask of the symbol after each change of its book.

    :returns: the columns of :func:`changes`, and ``bid, bid_qty, ask, ask_qty``: prices in
        1/10,000, shares at them; null on a side where nothing rests.
    """
    books = _books()
    found = []
    for symbol, side, price, qty in changes.select(*_LEVEL, "qty").iter_rows():
        bids, asks = books[symbol]
        (bids if side == Side.BUY else asks).add(price, qty)
        found.append((*bids.best(), *asks.best()))
    names = ("bid", "bid_qty", "ask", "ask_qty")
    best = pl.DataFrame(found, dict.fromkeys(names, pl.Int64), orient="row")
    return pl.concat([changes, best], how="horizontal")


def before(reports: pl.DataFrame, states: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Reports, each with the last of the states before it, by ``seq``; null where there is none."""
    return reports.join_asof(
        states, on="seq", by=by, allow_exact_matches=False, check_sortedness=False
    )


def unseen_ends(reports: pl.DataFrame, levels: int | None = None) -> pl.DataFrame:
    """The orders of a tape that must have ended without its saying so, as reports of their ends.

    A tape of the best levels does not show the end of an order outside of them. It has ended by
    the first event after which nothing is heard of it any more, and

    - an order of the other side enters and rests at its price or beyond,
    - or an order trades that is behind it, by price and then time,
    - or so many ``levels`` are better that the tape does not show it.

    :param reports: of a tape, in its sequence.
    :returns: reports of type EXPIRED, with the ``seq``, ``exec_id`` and time of that event.
    """
    last = pl.int_range(pl.len()).over("order_id") == pl.len().over("order_id") - 1
    found = [*_ended(changes(reports).with_columns(is_last=last), levels)]
    ends = pl.DataFrame(found, ["order_id", "seq"], orient="row")
    ends = ends.cast({name: reports.schema[name] for name in ("order_id", "seq")})
    terms = reports.unique("order_id", keep="last").drop("seq", "exec_id", "transact_time")
    at = reports.select("seq", "exec_id", "transact_time")
    return (
        ends.join(at, on="seq", maintain_order="left")
        .join(terms, on="order_id", maintain_order="left")
        .with_columns(
            exec_type=pl.lit(ExecType.EXPIRED.value),
            last_qty=pl.lit(0, pl.Int64),
            last_px=pl.lit(0, pl.Int64),
        )
        .select("seq", *COLUMNS)
    )


def _ended(each: pl.DataFrame, levels: int | None) -> Iterator[tuple[Any, int]]:
    """The orders that are gone, and the ``seq`` of the event that says so."""
    books = _books()
    columns = ("seq", "exec_type", "order_id", *_LEVEL, "qty", "rests", "placed", "is_last")
    for seq, kind, order_id, *level, qty, rests, placed, is_last in each.select(
        columns
    ).iter_rows():
        symbol, side, price = level
        own, other = books[symbol] if side == Side.BUY else books[symbol][::-1]
        gone: list[Any] = []
        if kind == ExecType.TRADE:
            gone += own.end_before(price, placed)
        elif qty > 0:
            gone += other.end_before(price, seq)
        own.add(price, qty)
        if levels:
            gone += own.end_beyond(levels)
        if is_last and rests:
            own.fall_silent(price, placed, order_id, rests)
        yield from ((each, seq) for each in gone)


class _Side:
    """One side of a book: shares by price, best first, and the orders never heard of again.

    A level's key is its price times ``sign``: the smallest key is the best.
    """

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._levels: SortedDict[int, int] = SortedDict()
        self._silent: dict[int, list[tuple[int, Any, int]]] = {}

    def add(self, price: int, qty: int) -> None:
        """Change the shares at a price."""
        key = self._sign * price
        left = self._levels.get(key, 0) + qty
        if left > 0:
            self._levels[key] = left
        else:
            self._levels.pop(key, None)

    def best(self) -> tuple[int | None, int | None]:
        """The best price and the shares there."""
        if not self._levels:
            return None, None
        key, qty = self._levels.peekitem(0)
        return self._sign * key, qty

    def fall_silent(self, price: int, placed: int, order_id: Any, rests: int) -> None:
        """Note that an order rests of which nothing more is heard."""
        self._silent.setdefault(self._sign * price, []).append((placed, order_id, rests))

    def end_before(self, price: int, placed: int) -> list[Any]:
        """End the silent orders that trade before one placed at this price then."""
        key = self._sign * price
        better = [*self._levels.irange(maximum=key, inclusive=(True, False))]
        return [order for k in better for order in self._end(k)] + self._end(key, placed)

    def end_beyond(self, levels: int) -> list[Any]:
        """End the silent orders at the first level beyond so many: it was the last of them."""
        if len(self._levels) <= levels:
            return []
        return self._end(self._levels.keys()[levels])

    def _end(self, key: int, placed: int | None = None) -> list[Any]:
        """End the silent orders of a level, those that were there before others were placed."""
        waiting = self._silent.pop(key, [])
        ends = [order for order in waiting if placed is None or order[0] < placed]
        if len(ends) < len(waiting):
            self._silent[key] = waiting[len(ends) :]
        for _, _, rests in ends:
            self.add(self._sign * key, -rests)
        return [order_id for _, order_id, _ in ends]


def _books() -> defaultdict[str, tuple[_Side, _Side]]:
    """The bids and the asks of each symbol."""
    return defaultdict(lambda: (_Side(-1), _Side(1)))
