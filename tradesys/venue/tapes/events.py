"""What every format of order flow becomes: a stream of events, in frames of some thousand rows.

A reader says what each line of its format is; what follows of that for orders is worked out behind
the stream, once for all formats (:mod:`tradesys.venue.tapes.orders`).
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from enum import IntEnum
from typing import Any, NamedTuple

import polars as pl

from tradesys.records.schemas import PRICE_SCALE
from tradesys.venue.tapes import sources
from tradesys.venue.tapes.sources import File

PRICE_DIGITS = len(str(PRICE_SCALE)) - 1
MARKET_ZONE = "America/New_York"
DAY_NS = 86_400 * 10**9


class Kind(IntEnum):
    """What an event does to an order that rests at the market."""

    ADD = 0
    REDUCE = 1  # a part of it is canceled, or all of it
    DELETE = 2  # what is left of it is canceled, or was executed if the line says that 0 is left
    EXECUTE = 3
    REPLACE = 4  # it has another price or open quantity from now on, and maybe another id
    OTHER = 5  # nothing: a trade of a hidden order, a halt, a heartbeat


EVENTS: dict[str, pl.DataType] = {
    "line": pl.Int64(),
    "ts": pl.Int64(),
    "type": pl.String(),
    "kind": pl.Int8(),
    "symbol": pl.String(),
    "order_id": pl.String(),
    "new_id": pl.String(),
    "side": pl.String(),
    "qty": pl.Int64(),
    "leaves": pl.Int64(),
    "price": pl.Int64(),
    "fault": pl.String(),
}
"""The columns of events.

``line`` is the number of the line, row or message in its file, from 1; ``ts`` in ns since 1970;
``type`` the format's own word for it. ``symbol``, ``side`` and ``price`` (in 1/10,000) are null
where the order has them already. Ids are text or UInt64; ``new_id`` is of a replace that gives one.
``qty`` is what is added, taken or executed, or the open quantity after a replace, in units of the
format's ``qty_scale``; ``leaves``, in place of it, the open quantity after the event. ``fault``
says what is wrong with a line that is no event.
"""

Events = Iterator[pl.DataFrame]

_EMPTY: dict[str, Any] = dict.fromkeys(EVENTS)
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def as_events(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns of :data:`EVENTS`; those that a reader leaves out are null."""
    missing = [pl.lit(None, kind).alias(n) for n, kind in EVENTS.items() if n not in rows.columns]
    return rows.with_columns(missing).select(*EVENTS)


def first_fault(*rules: tuple[pl.Expr, pl.Expr | str]) -> pl.Expr:
    """The text of the first rule that does not hold, or that cannot be told to; else null."""
    found = [
        pl.when(~holds.fill_null(value=False)).then(pl.lit(text) if isinstance(text, str) else text)
        for holds, text in rules
    ]
    return pl.coalesce(found).alias("fault")


def expected(name: str, value: pl.Expr, what: str) -> pl.Expr:
    """A fault in the words of :class:`~tradesys.records.errors.InvalidValue`."""
    shown = value.cast(pl.String).str.slice(0, 40).fill_null("nothing")
    return pl.format("{}={}: expected {}", pl.lit(name), shown, pl.lit(what))


def decimal(text: pl.Expr, digits: int) -> pl.Expr:
    """Decimal text as a whole number of ``10**-digits``; null where it is none or does not fit."""
    parts = text.str.splitn(".", 2).struct
    part = parts.field("field_1").fill_null("").str.strip_chars_end("0")
    number = parts.field("field_0") + part.str.pad_end(digits, "0")
    fits = text.str.contains(r"^[0-9]+(\.[0-9]*)?$") & (part.str.len_bytes() <= digits)
    return pl.when(fits).then(number.cast(pl.Int64, strict=False))


def units(number: object, scale: int) -> int:
    """A number of a JSON message in units of ``1/scale``, exactly.

    :raises ValueError: it is none, or is finer, or more than int64 holds.
    """
    scaled = Decimal(str(number)) * scale
    if not scaled.is_finite() or scaled != scaled.to_integral_value() or abs(scaled) >= 1 << 63:
        raise ValueError(f"{str(number)[:40]}: expected a multiple of 1/{scale:,}")
    return int(scaled)


def time_of_day(ns: pl.Expr, date: dt.date) -> pl.Expr:
    """Ns after midnight in New York as ns since 1970; null where its clocks skip that time."""
    local = pl.lit(date).cast(pl.Datetime("ns")) + ns.cast(pl.Duration("ns"))
    zoned = local.dt.replace_time_zone(MARKET_ZONE, ambiguous="earliest", non_existent="null")
    return zoned.dt.timestamp("ns")


class Given(NamedTuple):
    """What the caller says of files that do not say it themselves."""

    symbol: str | None = None
    date: dt.date | None = None
    columns: Mapping[str, str] = {}
    """Of a mapping, the column of the file for each column of events, or for each of its values."""


class Day(NamedTuple):
    """Which symbol and trading day a file is of, as far as that is known before it is read."""

    symbol: str | None
    date: dt.date | None


class Format(NamedTuple):
    """A format of order flow: how it is recognised, and how it is read.

    ``recognises`` is asked with the first lines of a text, as bytes, or with the head of a binary
    file; ``columns``, of tables, are those that it needs. ``read`` gives the events of a file.
    ``day_of`` says what is known of a file. ``tick_size`` and ``qty_scale`` are of its instruments;
    the others are of :class:`~tradesys.venue.tapes.orders.Orders`.
    """

    name: str
    title: str
    read: Callable[[File, Given], Events]
    recognises: Callable[[bytes], bool]
    columns: tuple[frozenset[str], ...] = ()
    day_of: Callable[[File, Given], Day] = lambda _, given: Day(given.symbol, given.date)
    is_binary: bool = False
    tick_size: int = 1
    qty_scale: int = 1
    time_in_force: str = "day"
    id_is_once: bool = False
    readds: bool = False


def of_lines(file: File, parse: Callable[[pl.DataFrame], pl.DataFrame]) -> Events:
    """The events of a text, of which ``parse`` makes some from some lines; long lines are none.

    A first line without a digit is a header.
    """
    has_begun = False
    for found in sources.lines(file):
        is_header = not has_begun and len(found) and not any(map(str.isdigit, found["text"][0]))
        rows, has_begun = found.slice(int(is_header)), has_begun or len(found) > 0
        long = rows.filter("is_long").select("line", fault=pl.lit(sources.TOO_LONG))
        parsed = as_events(parse(rows.filter(~pl.col("is_long")).drop("is_long")))
        yield pl.concat([parsed, as_events(long)], how="vertical_relaxed").sort("line")


def one_by_one(
    rows: pl.DataFrame, parse: Callable[[str], Mapping[str, Any]], what: str
) -> pl.DataFrame:
    """The events that ``parse`` makes of lines in Python; what it cannot read is no event."""
    found = []
    for line, text in rows.iter_rows():
        try:
            event = parse(text)
        except _UNREADABLE as error:
            event = {"fault": f"expected {what}: {type(error).__name__} {error}"[:200]}
        found.append({**_EMPTY, "line": line, **event})
    return pl.DataFrame(found, schema=EVENTS, orient="row")
