"""LOBSTER message files: every order event of a symbol's day on NASDAQ.

A submission is a new order, a partial cancellation takes a part of it, a deletion what is left of
it, an execution of a visible order is a fill. Hidden executions, crosses and halts are of no order.

Format: LOBSTER, "Sample Files Readme" of 1 September 2013; type 6 as in its later documentation,
and the seventh column of its files "with MPID", which says whose order it is and is not read here.
"""

import re
from enum import IntEnum

import polars as pl

from tradesys.records.clock import to_date
from tradesys.records.errors import InvalidValue
from tradesys.venue.tapes import events, sources
from tradesys.venue.tapes.events import DAY_NS, Day, Events, Format, Given, Kind, expected
from tradesys.venue.tapes.sources import File

COLUMNS = ("time", "type", "order_id", "size", "price", "direction")
"""The columns of a native file: seconds after midnight in New York, 1 to 7, an id, shares,
1/10,000 USD, and 1 for a buy or -1 for a sell order."""

PARQUET_COLUMNS = ("time_ns", *COLUMNS[1:])
"""The columns of a table: the same, all integers, the time in nanoseconds."""

NO_DATE = to_date("1970-01-01", "date")
"""The trading day of a tape for which nothing says it."""

_NAME = re.compile(r"([^_]+)_(?:(\d{4}-\d\d-\d\d)_\d+_\d+_)?message(?:_\d+)?\.")
_LINE = re.compile(rb"\d{1,5}(\.\d*)?,[1-7],-?\d+,\d+,-?\d+,-?[01](,[^,]*)?")
_NUMBER = r"^-?[0-9]{1,18}$"


class MessageType(IntEnum):
    """What happened, in LOBSTER's second column."""

    SUBMISSION = 1
    PARTIAL_CANCELLATION = 2
    DELETION = 3
    EXECUTION = 4
    HIDDEN_EXECUTION = 5
    CROSS = 6
    HALT = 7


_KINDS = [Kind.OTHER, Kind.ADD, Kind.REDUCE, Kind.DELETE, Kind.EXECUTE, *[Kind.OTHER] * 3]
_WORDS = ("submission", "partial cancellation", "deletion", "execution")
_TYPES = ("", *_WORDS, "hidden execution", "cross trade", "trading halt")
# Crosses and halts use the other columns in ways of their own; nothing is read from them here.
_NO_ORDER = pl.col("type") >= MessageType.CROSS
_RULES = (
    ("time", pl.col("time").is_between(0, DAY_NS - 1), "a time of day, in digits, below 86,400 s"),
    ("type", pl.col("type").is_between(1, 7), "an integer from 1 to 7"),
    ("order_id", (pl.col("order_id") >= 0) | _NO_ORDER, "an integer, not negative"),
    ("size", (pl.col("size") > 0) | _NO_ORDER, "a number of shares above 0"),
    ("price", (pl.col("price") > 0) | _NO_ORDER, "a price above 0, in 1/10,000 USD"),
    ("direction", pl.col("direction").is_in((1, -1)) | _NO_ORDER, "1 or -1"),
    ("time", pl.col("ts").is_not_null(), f"a time of day that {events.MARKET_ZONE} has on the day"),
)
"""What holds for each message: column, the rule, and how to say it."""


def day_of(file: File, given: Given) -> Day:
    """The symbol and the day, from a name like ``TICKER_2012-06-21_34200000_57600000_message_10``.

    :raises InvalidValue: neither the name nor the caller says the symbol, or they say two dates.
    """
    name = _NAME.match(file.name)
    symbol, date = (name[1], name[2]) if name else (None, None)
    symbol = given.symbol or symbol
    if symbol is None:
        expects = f"a symbol, which {file.name} does not say: give --symbol (symbol=)"
        raise InvalidValue("symbol", None, expects)
    named = to_date(date, "date") if date else None
    if given.date and named and given.date != named:
        raise InvalidValue("date", str(given.date), f"{named}, as in the file's name, {file}")
    return Day(symbol, named or given.date)


def read(file: File, given: Given) -> Events:
    """The events of a file: text of six or seven columns, or a table with :data:`PARQUET_COLUMNS`.

    Times are New York's; decimals of a second beyond the ninth are cut off.
    """
    symbol, date = day_of(file, given)

    def parse(rows: pl.DataFrame) -> pl.DataFrame:
        raw = rows.select(
            "line", pl.col(COLUMNS).cast(pl.String).name.prefix("given_"), *_numbers(rows)
        )
        local = events.time_of_day(pl.col("time"), date or NO_DATE)
        raw = raw.with_columns(ts=pl.when(pl.col("time").is_between(0, DAY_NS - 1)).then(local))
        rules = [(holds, expected(n, pl.col(f"given_{n}"), what)) for n, holds, what in _RULES]
        width = rows["width"] if "width" in rows.columns else pl.lit(len(COLUMNS))
        right = (width.is_between(len(COLUMNS), len(COLUMNS) + 1), _ragged(width))
        found = raw.with_columns(events.first_fault(right, *rules))
        kind = pl.col("type").clip(0, 7)
        return found.with_columns(
            kind=kind.replace_strict(range(8), _KINDS, return_dtype=pl.Int8, default=None),
            type=kind.replace_strict(range(8), _TYPES, default=None),
            symbol=pl.lit(symbol),
            order_id=pl.col("order_id").cast(pl.UInt64, strict=False),
            side=pl.when(pl.col("direction") == 1).then(pl.lit("buy")).otherwise(pl.lit("sell")),
            qty="size",
        )

    if sources.is_table(file.head()):
        for table in sources.tables(file):
            yield events.as_events(parse(table.rename({"time_ns": "time"}, strict=False)))
    else:
        yield from events.of_lines(file, lambda rows: parse(_split(rows)))


def _numbers(rows: pl.DataFrame) -> list[pl.Expr]:
    """The columns as integers, the time in nanoseconds; null where they are none."""
    if rows.schema["time"] != pl.String:
        return [pl.col(COLUMNS).cast(pl.Int64, strict=False)]
    parts = pl.col("time").str.splitn(".", 2).struct
    part = parts.field("field_1").fill_null("").str.slice(0, 9).str.pad_end(9, "0")
    exact = parts.field("field_0").cast(pl.Int64, strict=False) * 10**9
    exact += part.cast(pl.Int64, strict=False)
    is_time = pl.col("time").str.contains(r"^[0-9]{1,5}(\.[0-9]*)?$")
    whole = pl.col(COLUMNS[1:])
    return [
        pl.when(is_time).then(exact).alias("time"),
        pl.when(whole.str.contains(_NUMBER)).then(whole.cast(pl.Int64, strict=False)),
    ]


def _split(rows: pl.DataFrame) -> pl.DataFrame:
    """The fields of each line, as text; none of a line that has not six or seven."""
    fields = rows["text"].str.split(",").list
    right = fields.len().is_between(len(COLUMNS), len(COLUMNS) + 1)
    named = {name: fields.get(i, null_on_oob=True) for i, name in enumerate(COLUMNS)}
    return rows.select("line").with_columns(
        fields.len().alias("width"),
        *(pl.when(right).then(value).alias(name) for name, value in named.items()),
    )


def _ragged(width: pl.Series | pl.Expr) -> pl.Expr:
    return pl.format("columns={}: expected 6 or 7: {}", width, pl.lit(", ".join(COLUMNS)))


def recognises(line: bytes) -> bool:
    """Whether a line is a message."""
    return _LINE.fullmatch(line) is not None


FORMAT = Format(
    "lobster",
    "LOBSTER messages",
    read,
    recognises,
    columns=(frozenset(COLUMNS), frozenset(PARQUET_COLUMNS)),
    day_of=day_of,
    tick_size=100,
)
