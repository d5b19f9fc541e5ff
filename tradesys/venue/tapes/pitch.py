"""BATS (Cboe) PITCH over TCP: the depth of a book in lines of fixed columns.

An Add Order is a new order, an Order Executed a fill at its price, an Order Cancel takes a part of
it away or all of it; an order that is canceled whole and added again under its id by the next
message is replaced. Trades (of orders that nobody sees), breaks, halts, auctions and whatever else
there is are of no order, and are counted. An order that is executed or canceled is known by its id
alone. Lines may have the ``S`` of the session protocol before them, and fields after the last.

Format: Cboe US Equities TCP PITCH Specification, 1.14: A and d, E, X, P and r.
"""

import re

import polars as pl

from tradesys.venue.tapes import events
from tradesys.venue.tapes.events import DAY_NS, Events, Format, Given, Kind, expected
from tradesys.venue.tapes.lobster import NO_DATE
from tradesys.venue.tapes.sources import File

_LINE = re.compile(rb"S?\d{8}([AdPrEX][0-9A-Z]{12}[ BS0-9]|[BHIJRs])[ -~]*")
_KINDS = {"A": Kind.ADD, "d": Kind.ADD, "E": Kind.EXECUTE, "X": Kind.REDUCE}
_TYPES = {
    "A": "A add order",
    "d": "d add order (long)",
    "E": "E order executed",
    "X": "X order cancel",
    "P": "P trade",
    "r": "r trade (long)",
    "B": "B trade break",
    "H": "H trading status",
    "I": "I auction update",
    "J": "J auction summary",
    "R": "R retail price improvement",
    "s": "s symbol clear",
}
_TEXT, _TYPE = pl.col("text"), pl.col("text").str.slice(8, 1)
_IS_ADD, _IS_TRADE = _TYPE.is_in(["A", "d"]), _TYPE.is_in(["P", "r"])
_IS_ORDERS = _IS_ADD | _TYPE.is_in(["E", "X"])
# A long form has a symbol of eight letters in place of six, and what follows begins two later.
_LONG = 2 * _TYPE.is_in(["d", "r"]).cast(pl.UInt32)
_DIGITS = r"^[0-9]+$"


def read(file: File, given: Given) -> Events:
    """The events of a file. Its times are of a day in New York, which the file does not say."""
    date = given.date or NO_DATE
    return events.of_lines(file, lambda rows: _parse(rows, events.time_of_day(pl.col("ns"), date)))


def _parse(rows: pl.DataFrame, ts: pl.Expr) -> pl.DataFrame:
    terms = _IS_ADD | _IS_TRADE
    qty = pl.when(terms).then(_TEXT.str.slice(22, 6)).otherwise(_TEXT.str.slice(21, 6))
    price = _TEXT.str.slice(34 + _LONG, 10)
    raw = rows.with_columns(_TEXT.str.replace(r"^S(\d{8})", "$1")).select(
        *("line", "text"),
        ns=pl.when(_TEXT.str.contains(r"^[0-9]{8}")).then(
            _TEXT.str.slice(0, 8).cast(pl.Int64, strict=False) * 10**6
        ),
        letter=_TYPE,
        order_id=pl.when(_IS_ORDERS).then(_TEXT.str.slice(9, 12)),
        side=pl.when(terms).then(_TEXT.str.slice(21, 1)),
        given_qty=qty,
        qty=pl.when(qty.str.contains(_DIGITS)).then(qty.cast(pl.Int64, strict=False)),
        symbol=pl.when(terms).then(_TEXT.str.slice(28, 6 + _LONG).str.strip_chars()),
        given_price=price,
        price=pl.when(_IS_ADD & price.str.contains(r"^[0-9]{10}$")).then(
            price.cast(pl.Int64, strict=False)
        ),
    )
    orders, adds = pl.col("order_id").is_not_null(), pl.col("letter").is_in(["A", "d"])
    return raw.with_columns(
        events.first_fault(
            (
                pl.col("ns").is_between(0, DAY_NS - 1),
                expected("time", pl.col("text").str.slice(0, 8), "8 digits of ms after midnight"),
            ),
            (
                pl.col("letter").is_in(list(_TYPES)),
                expected("type", pl.col("letter"), "a message type of PITCH"),
            ),
            (
                ~orders | pl.col("order_id").str.contains(r"^[0-9A-Z]{12}$"),
                expected("order_id", pl.col("order_id"), "12 digits and letters"),
            ),
            (
                ~orders | (pl.col("qty") > 0),
                expected("shares", pl.col("given_qty"), "6 digits, above 0"),
            ),
            (~adds | pl.col("side").is_in(["B", "S"]), expected("side", pl.col("side"), "B or S")),
            (
                ~adds | (pl.col("symbol") != ""),
                expected("symbol", pl.col("symbol"), "a symbol"),
            ),
            (
                ~adds | (pl.col("price") > 0),
                expected("price", pl.col("given_price"), "10 digits of 1/10,000 USD, above 0"),
            ),
        ),
        ts=ts,
        type=pl.col("letter").replace_strict(_TYPES, default=None),
        kind=pl.col("letter").replace_strict(_KINDS, default=Kind.OTHER, return_dtype=pl.Int8),
        side=pl.col("side").replace_strict({"B": "buy", "S": "sell"}, default=None),
    )


TABLE = {
    "ts": "ts_ms",
    "ts.of_day": "ms",
    "symbol": "symbol",
    "kind": "msg_type",
    **{f"kind.{letter}": kind.name.lower() for letter, kind in _KINDS.items()},
    **{f"kind.{letter}": "other" for letter in _TYPES if letter not in _KINDS},
    "order_id": "order_id",
    "side": "side",
    "qty": "shares",
    "price": "price",
}
"""What the columns are of the same messages as a table."""


def recognises(line: bytes) -> bool:
    """Whether a line is a message."""
    return _LINE.fullmatch(line) is not None


FORMAT = Format("pitch", "BATS PITCH", read, recognises, tick_size=100, readds=True)
