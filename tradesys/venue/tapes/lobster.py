"""LOBSTER message files: every order event of a symbol's day on NASDAQ, as a :class:`Tape`.

One file per symbol; several are merged by time. A submission is a new order, a partial cancellation
a replace to a smaller quantity, a deletion a cancel, an execution of a visible order a fill. What
is none of these (hidden executions, crosses, halts), events of orders that are older than the file
and events of orders that were closed before are counted under ``ignored``. A file that breaks the
format is refused whole, with the row.

Format: LOBSTER, "Sample Files Readme" of 1 September 2013; type 6 as in its later documentation.
"""

import datetime as dt
import gzip
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import polars as pl

from tradesys.records.clock import to_date
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.venue.tapes.tape import ACCOUNTS, Source, Tape, account

COLUMNS = ("time", "type", "order_id", "size", "price", "direction")
"""The columns of a native file: seconds after midnight in New York, 1 to 7, an id, shares,
1/10,000 USD, and 1 for a buy or -1 for a sell order."""

PARQUET_COLUMNS = ("time_ns", *COLUMNS[1:])
"""The columns of a Parquet file: the same, all integers, the time in nanoseconds."""

MARKET_ZONE = "America/New_York"
NO_DATE = dt.date(1970, 1, 1)
"""The trading day of a tape for which nothing says it."""

_NAME = re.compile(
    r"(?P<symbol>[^_]+)_(?:(?P<date>\d{4}-\d\d-\d\d)_\d+_\d+_)?message(?:_\d+)?"
    r"(?P<kind>\.csv|\.csv\.gz|\.parquet)"
)
_NAME_EXPECTED = (
    "a name like TICKER_YYYY-MM-DD_START_END_message_LEVEL or TICKER_message_LEVEL, "
    "as .csv, .csv.gz or .parquet"
)
_DAY_NS = 86_400 * 10**9


class MessageType(IntEnum):
    """What happened, in LOBSTER's second column."""

    SUBMISSION = 1
    PARTIAL_CANCELLATION = 2
    DELETION = 3
    EXECUTION = 4
    HIDDEN_EXECUTION = 5
    CROSS = 6
    HALT = 7


_IGNORED = {
    MessageType.HIDDEN_EXECUTION: "hidden execution",
    MessageType.CROSS: "cross trade",
    MessageType.HALT: "trading halt",
}
_LATER = {
    MessageType.PARTIAL_CANCELLATION: "replace",
    MessageType.DELETION: "cancel",
    MessageType.EXECUTION: "execution",
}
_ORPHANS = {kind: f"orphan {name}" for kind, name in _LATER.items()}
_TOO_LATE = {kind: f"{name} of a closed order" for kind, name in _LATER.items()}

_TYPE = pl.col("type")
_PARTIAL = _TYPE == MessageType.PARTIAL_CANCELLATION
_SIDE = pl.when(pl.col("direction") == 1).then(pl.lit("buy")).otherwise(pl.lit("sell"))
# Crosses and halts use the other columns in ways of their own; nothing is read from them here.
_NO_ORDER = _TYPE >= MessageType.CROSS

_RULES: tuple[tuple[str, pl.Expr, str], ...] = (
    ("time", pl.col("time").is_between(0, _DAY_NS - 1), "a time of day, in digits, below 86,400 s"),
    ("type", _TYPE.is_between(1, 7), "an integer from 1 to 7"),
    ("order_id", (pl.col("order_id") >= 0) | _NO_ORDER, "an integer, not negative"),
    ("size", (pl.col("size") > 0) | _NO_ORDER, "a number of shares above 0"),
    ("price", (pl.col("price") > 0) | _NO_ORDER, "a price above 0, in 1/10,000 USD"),
    ("direction", pl.col("direction").is_in((1, -1)) | _NO_ORDER, "1 or -1"),
    *((name, pl.col(name).is_not_null(), "an integer") for name in COLUMNS[2:]),
    (
        "time",
        pl.col("time") >= pl.col("time").shift(1).fill_null(0),
        "no earlier than the row before",
    ),
)
"""What holds for each message: column, the rule, and how to say it."""

_TAPE_REQUEST = (
    *("event", "ts", "request_type", "cl_ord_id", "orig_cl_ord_id", "account", "symbol", "side"),
    *("ord_type", "time_in_force", "order_qty", "price"),
)


@dataclass(frozen=True)
class _File:
    """One message file, and what its name says."""

    path: Path
    symbol: str
    date: dt.date
    kind: str

    def fault(self, row: int, field: str, value: object, expected: str) -> InvalidValue:
        """The error for ``value`` in row ``row``, from 1."""
        if field == "time" and self.kind == ".parquet":
            field = "time_ns"
        return InvalidValue(field, value, f"{expected} (row {row:,} of {self.path})")


def read(source: Source, *, date: dt.date | str | None = None, accounts: int = ACCOUNTS) -> Tape:
    """Read message files: one, several, or all ``*_message_*`` files of a folder, merged by time.

    Events of equal time keep the order of the files, then of the rows; a folder's files are taken
    in order of their names. ``date`` is the trading day of files whose name does not have it;
    without either it is 1970-01-01. Times in a file are New York's, in the tape they are UTC;
    decimals of a second beyond the ninth are cut off.

    ``cl_ord_id`` of an order is ``SYMBOL:ORDER_ID``, of the k-th change of it that and ``.k``.
    ``orig_cl_ord_id`` of a change is the order's ``cl_ord_id`` or that of its last replace.
    A deletion cancels whatever is left: its size can be less, where something happened to the order
    outside the levels of the file.

    :raises InvalidValue: there is no such file, a name is not LOBSTER's, a symbol has two files,
        or a row breaks the format: the message names file, row, column and value.
    :raises SchemaError: a file that is empty, damaged, or has other columns than LOBSTER's.
    """
    files = [_parse_name(path, date) for path in _paths(source)]
    symbols = tuple(file.symbol for file in files)
    for symbol in symbols:
        if symbols.count(symbol) > 1:
            raise InvalidValue("path", str(source), f"one file per symbol, {symbol} has several")
    days = _number([_messages(file) for file in files])
    parts = [_split(day, file, accounts) for day, file in zip(days, files, strict=True)]
    ignored: Counter[str] = Counter()
    for _, _, counts in parts:
        ignored.update(counts)
    return Tape(
        requests=pl.concat([requests for requests, _, _ in parts]).sort("event"),
        fills=pl.concat([fills for _, fills, _ in parts]).sort("event"),
        events=sum(day.height for day in days),
        ignored=dict(ignored),
        symbols=symbols,
    )


def _paths(source: Source) -> list[Path]:
    if not isinstance(source, str | Path):
        if not source:
            raise InvalidValue("path", source, "at least one file")
        return [Path(path) for path in source]
    path = Path(source)
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*_message_*"))
    if not found:
        raise InvalidValue("path", str(path), "a folder with LOBSTER *_message_* files in it")
    return found


def _parse_name(path: Path, date: dt.date | str | None) -> _File:
    """What the name of a message file says, with the ``date`` given where the name has none."""
    if not path.is_file():
        raise InvalidValue("path", str(path), "a file or a folder that exists")
    name = _NAME.fullmatch(path.name)
    if name is None:
        raise InvalidValue("path", str(path), _NAME_EXPECTED)
    given = None if date is None else to_date(date, "date")
    named = name["date"] and to_date(name["date"], "date")
    if given and named and given != named:
        raise InvalidValue("date", str(given), f"{named}, as in the file's name, {path}")
    return _File(path, name["symbol"], named or given or NO_DATE, name["kind"])


def _messages(file: _File) -> pl.DataFrame:
    """The messages of a file, checked: ``row`` (from 1), ``ts``, and the columns after ``time``."""
    raw = _parquet(file) if file.kind == ".parquet" else _csv(file)
    if raw.is_empty():
        raise SchemaError(f"{file.path}: expected order events, there are none")
    integers = raw.select(
        _nanoseconds(pl.col("time")) if raw.schema["time"] == pl.String else pl.col("time"),
        pl.col(COLUMNS[1:]).cast(pl.Int64, strict=False),
    )
    rules = [rule.fill_null(value=False).alias(str(i)) for i, (_, rule, _) in enumerate(_RULES)]
    kept = integers.select(rules)
    if not kept.select(pl.all_horizontal(pl.all().all())).item():
        row = kept.select(pl.all_horizontal(pl.all()).not_().arg_max()).item()
        field, _, expected = next(r for i, r in enumerate(_RULES) if not kept[row, i])
        raise file.fault(row + 1, field, raw[row, field], expected)
    local = pl.lit(file.date).cast(pl.Datetime("ns")) + pl.col("time").cast(pl.Duration("ns"))
    messages = integers.with_row_index("row", offset=1).with_columns(
        ts=local.dt.replace_time_zone(
            MARKET_ZONE, ambiguous="earliest", non_existent="null"
        ).dt.convert_time_zone("UTC")
    )
    if messages["ts"].null_count():
        row = messages["ts"].is_null().arg_max() or 0
        raise file.fault(
            row + 1,
            "time",
            raw[row, "time"],
            f"a time of day that {MARKET_ZONE} has on {file.date}",
        )
    return messages.drop("time")


def _nanoseconds(seconds: pl.Expr) -> pl.Expr:
    """Text like ``34200.015105074`` as integer nanoseconds; null where it is no decimal number."""
    parts = seconds.str.splitn(".", 2).struct
    whole = parts.field("field_0").cast(pl.Int64, strict=False)
    fraction = parts.field("field_1").fill_null("").str.slice(0, 9).str.pad_end(9, "0")
    exact = whole * 10**9 + fraction.cast(pl.Int64, strict=False)
    return pl.when(seconds.str.contains(r"^[0-9]{1,5}(\.[0-9]*)?$")).then(exact).alias("time")


def _csv(file: _File) -> pl.DataFrame:
    """The six fields of each line, as text."""
    try:
        content = file.path.read_bytes()
        text = (gzip.decompress(content) if file.kind == ".csv.gz" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SchemaError(f"{file.path}: expected a CSV file, cannot read it: {error}") from error
    if not text:
        return pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))
    lines = pl.Series([text.replace("\r\n", "\n").removesuffix("\n")]).str.split("\n").explode()
    names = dict(zip((f"field_{i}" for i in range(len(COLUMNS))), COLUMNS, strict=True))
    fields = lines.str.split_exact(",", len(COLUMNS)).struct.unnest().rename(names)
    too_few, too_many = pl.col(COLUMNS[-1]).is_null(), pl.last().is_not_null()
    ragged = fields.select(too_few | too_many).to_series()
    if ragged.any():
        row = ragged.arg_max() or 0
        columns = lines[row].count(",") + 1
        raise SchemaError(
            f"{file.path}, row {row + 1:,}: {columns} columns, expected {len(COLUMNS)}: "
            f"{', '.join(COLUMNS)}"
        )
    return fields.select(COLUMNS)


def _parquet(file: _File) -> pl.DataFrame:
    """The six integer columns, whatever their widths."""
    try:
        raw = pl.read_parquet(file.path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SchemaError(f"{file.path}: expected Parquet, cannot read it: {error}") from error
    if set(raw.columns) != set(PARQUET_COLUMNS):
        raise SchemaError(f"{file.path}: columns {raw.columns}, expected {list(PARQUET_COLUMNS)}")
    for name, dtype in raw.schema.items():
        if not dtype.is_integer():
            raise SchemaError(f"{file.path}: column {name} is {dtype}, expected an integer type")
    return raw.select(pl.col("time_ns").cast(pl.Int64, strict=False).alias("time"), *COLUMNS[1:])


def _number(days: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Give each message its ``event``: its place, from 0, in all days merged by time."""
    parts = [day.with_columns(file=number) for number, day in enumerate(days)]
    merged = pl.concat(parts).sort("ts", maintain_order=True).with_row_index("event")
    return [merged.filter(file=number).drop("file") for number in range(len(days))]


def _split(
    day: pl.DataFrame, file: _File, accounts: int
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """A file's messages as requests, fills, and the counts of what is ignored."""
    submitted = _submissions(day, file, accounts)
    later = day.filter(_TYPE.is_between(2, 4)).join(
        submitted.select(
            *("order_id", "cl_ord_id", "account", "symbol", "side", "order_qty"),
            submitted=pl.col("event"),
            limit=pl.col("price"),
        ),
        on="order_id",
        how="left",
        maintain_order="left",
    )
    known = (pl.col("submitted") < pl.col("event")).fill_null(value=False)
    orphans = _count(later.filter(~known), _ORPHANS)
    later = later.filter(known)
    _check_terms(later, file)
    closed = later.select(_closed_before()).to_series()
    too_late = _count(later.filter(closed), _TOO_LATE)
    later = later.filter(~closed)
    changes = _changes(later.filter(_TYPE != MessageType.EXECUTION), file)
    fills = later.filter(_TYPE == MessageType.EXECUTION).select(
        "event", "ts", "cl_ord_id", last_qty="size", last_px="price"
    )
    constant = {"ord_type": pl.lit("limit"), "time_in_force": pl.lit("day")}
    requests = pl.concat([submitted, changes], how="diagonal").with_columns(**constant)
    return requests.select(_TAPE_REQUEST), fills, _count(day, _IGNORED) | orphans | too_late


def _closed_before() -> pl.Expr:
    """Whether an order was deleted, or all of it was taken away, by the events before this one."""
    takes = pl.when(_TYPE == MessageType.DELETION).then("order_qty").otherwise("size")
    return takes.cum_sum().over("order_id") - takes >= pl.col("order_qty")


def _submissions(day: pl.DataFrame, file: _File, accounts: int) -> pl.DataFrame:
    """The new orders, with their ``order_id``."""
    new = day.filter(_TYPE == MessageType.SUBMISSION)
    first = new["order_id"].is_first_distinct()
    if not first.all():
        row, order_id = new.filter(~first).select("row", "order_id").row(0)
        raise file.fault(row, "order_id", order_id, "an id that no row before submitted")
    return new.select(
        *("event", "ts", "order_id", "price"),
        request_type=pl.lit("new"),
        cl_ord_id=pl.lit(f"{file.symbol}:") + pl.col("order_id").cast(pl.String),
        orig_cl_ord_id=pl.lit(None, pl.String),
        account=account(pl.col("order_id"), accounts),
        symbol=pl.lit(file.symbol),
        side=_SIDE,
        order_qty=pl.col("size"),
    )


def _check_terms(later: pl.DataFrame, file: _File) -> None:
    """An event of an order has the order's side, and a change of it the order's price."""
    repriced = (_TYPE != MessageType.EXECUTION) & (pl.col("price") != pl.col("limit"))
    for column, differs, right, what in (
        ("direction", pl.col("side") != _SIDE, "side", "side"),
        ("price", repriced, "limit", "price"),
    ):
        found = later.filter(differs).select("row", column, right)
        if found.height:
            row, value, due = found.row(0)
            raise file.fault(row, column, value, f"the order's {what}, {due}")


def _changes(changes: pl.DataFrame, file: _File) -> pl.DataFrame:
    """Replaces, each of the one before it, and cancels, each the last event of its order."""
    only = changes["order_id"].is_unique()  # of almost every order; no window is needed for it
    removed = pl.when(_PARTIAL).then("size").otherwise(0)
    number = pl.col("number")
    changes = pl.concat(
        [
            changes.filter(only).with_columns(number=pl.lit(1, pl.Int64), removed=removed),
            changes.filter(~only).with_columns(
                number=pl.int_range(1, pl.len() + 1).over("order_id"),
                removed=removed.cum_sum().over("order_id"),
            ),
        ]
    ).with_columns(order_qty=pl.col("order_qty") - pl.col("removed"))
    empty = changes.filter(_PARTIAL, pl.col("order_qty") <= 0).sort("row")
    if empty.height:
        row, value, left = empty.select("row", "size", pl.col("order_qty") + pl.col("size")).row(0)
        raise file.fault(row, "size", value, f"less than the order's quantity, {left} shares")
    replaced = pl.when(number > 1).then(pl.format(".{}", number - 1)).otherwise(pl.lit(""))
    return changes.select(
        *("event", "ts", "account", "symbol", "side", "order_qty", "price"),
        request_type=pl.when(_PARTIAL).then(pl.lit("replace")).otherwise(pl.lit("cancel")),
        cl_ord_id=pl.format("{}.{}", "cl_ord_id", number),
        orig_cl_ord_id=pl.col("cl_ord_id") + replaced,
    )


def _count(messages: pl.DataFrame, reasons: dict[MessageType, str]) -> dict[str, int]:
    """How many messages have each reason, for the reasons that occur."""
    counts = dict(messages["type"].value_counts().iter_rows())
    return {reason: counts[kind] for kind, reason in reasons.items() if kind in counts}
