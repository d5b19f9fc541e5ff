"""Any table of order events, by a mapping: which column is which, and which of its values are what.

A mapping is text, ``order_id=OrderRef,price=Px,side.B=buy``, or a small TOML file of the same keys.
They are columns of events (:data:`FIELDS`), or one of their values after a dot. ``symbol``,
``kind`` and ``leaves`` may be left out: the symbol is then the caller's, and every row a new order.
``qty_scale`` is how many units of quantity make one share; ``ts.of_day`` says of a time after
midnight in New York whether it counts s, ms, us or ns. The first line of a CSV file names its
columns.
"""

import csv
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from polars import selectors

from tradesys.records import argument_checks as check
from tradesys.records import field_rules as rules
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.venue.tapes import bitstamp, events, pitch, sources
from tradesys.venue.tapes.events import PRICE_DIGITS, Events, Format, Given, Kind, expected
from tradesys.venue.tapes.lobster import NO_DATE
from tradesys.venue.tapes.sources import File

FIELDS = ("ts", "symbol", "kind", "order_id", "new_id", "side", "qty", "leaves", "price")
_NEEDED = ("ts", "order_id", "side", "qty", "price")
_SCALE, _OF_DAY = "qty_scale", "ts.of_day"
_FLOAT_MOST = 1 << 50  # beyond it, a float hardly tells a number from the next unit
_DIGITS = {"ns": 9, "us": 6, "ms": 3, "s": 0}
_FORM = "COLUMN=NAME and COLUMN.VALUE=MEANING separated by commas, or a TOML file of them"
_SIDES = {"buy": "buy", "sell": "sell", "b": "buy", "s": "sell", "bid": "buy", "ask": "sell"}
_KINDS = {
    **{kind.name.lower(): kind.name.lower() for kind in Kind},
    **dict.fromkeys(("new", "created", "a"), "add"),
    **dict.fromkeys(("cancel", "canceled", "cancelled", "deleted", "d"), "delete"),
    **dict.fromkeys(("fill", "filled", "trade", "executed", "e"), "execute"),
    **dict.fromkeys(("modify", "modified", "replaced", "u"), "replace"),
}
_MEANINGS = {"side": _SIDES, "kind": _KINDS}
"""What the values of these columns say, in lower case, if the mapping says nothing else."""


def parse_map(text: str) -> dict[str, str]:
    """A mapping as text, or the path of the TOML file that holds it.

    :raises InvalidValue: it is no mapping, or leaves out a column that is needed.
    """
    if "=" in text:
        pairs = (pair.partition("=") for pair in text.split(",") if pair.strip())
        found = {key.strip(): value.strip() for key, _, value in pairs}
    else:
        found = _load(Path(text))
    for key, value in found.items():
        field, dot, _ = key.partition(".")
        is_known = field in (_MEANINGS if dot else FIELDS) or key in (_SCALE, _OF_DAY)
        if not is_known or not value:
            known = f"; columns are {', '.join(FIELDS)}, and {_SCALE}, {_OF_DAY}; "
            known += f"values are those of {' and '.join(_MEANINGS)}"
            raise InvalidValue("map", f"{key}={value}", _FORM + known)
        if dot and field in _MEANINGS:
            check.one_of(key, value, list(dict.fromkeys(_MEANINGS[field].values())))
    if missing := [name for name in _NEEDED if name not in found]:
        raise InvalidValue("map", text, f"{_FORM}; missing are {', '.join(missing)}")
    scale_of(found)
    if _OF_DAY in found:
        check.one_of(_OF_DAY, found[_OF_DAY], list(_DIGITS))
    return found


def _load(path: Path) -> dict[str, str]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidValue("map", str(path), f"{_FORM}: {error}") from error
    return {key: str(value) for key, value in found.items()}


def save_map(mapping: Mapping[str, str], path: Path) -> None:
    """Write a mapping as the TOML file that :func:`parse_map` reads."""
    texts = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in mapping.items()]
    path.write_text("\n".join([*texts, ""]), encoding="utf-8")


def scale_of(mapping: Mapping[str, str]) -> int:
    """How many units of quantity make one share.

    :raises InvalidValue: it is no power of ten, or too large.
    """
    text = mapping.get(_SCALE, "1")
    scale = rules.QTY_SCALE.of_field(_SCALE, int(text) if text.isdecimal() else text)
    check.one_of(_SCALE, str(scale), [str(10**n) for n in range(9)])
    return scale


def read(file: File, given: Given) -> Events:
    """The events of a table. Times are ns, µs, ms or s since 1970, by their size, or text like
    ``2024-06-03 09:30:00.25``, in UTC; of the given day, where they are times alone.

    :raises SchemaError: a column of the mapping is not there.
    """  # noqa: D205
    columns = {name: given.columns[name] for name in FIELDS if name in given.columns}
    if sources.is_table(file.head()):
        _require(file, columns, sources.table_columns(file))
        tables = (t.select("line", *set(columns.values())) for t in sources.tables(file))
        for table in tables:
            yield events.as_events(_parse(_texts(table, columns, given), columns, given))
        return
    header: list[str] = []
    for rows in sources.lines(file):
        texts = rows.filter(~pl.col("is_long"))
        if not header and len(texts):
            first = texts["text"][0]
            delimiter = max(",;\t|", key=first.count)
            header, texts = _cells(first, delimiter), texts.slice(1)
            _require(file, columns, header)
        cells = [_cells(text, delimiter) for text in texts["text"]] if header else []
        places = {name: header.index(name) for name in columns.values()} if header else {}
        named = {
            name: pl.Series(
                name, [c[at] if len(c) == len(header) else None for c in cells], pl.String
            )
            for name, at in places.items()
        }
        if header:
            yield events.as_events(
                _parse(texts.select("line").with_columns(**named), columns, given)
            )


def _texts(table: pl.DataFrame, columns: Mapping[str, str], given: Given) -> pl.DataFrame:
    """A table as text; floating-point numbers are rounded to the unit, whole ones have no point."""
    digits = {columns[name]: n for name, n in _digits(given).items() if name in columns}
    numbers = table.with_columns(
        pl.col(column).round(n) for column, n in digits.items() if table.schema[column].is_float()
    )
    whole = selectors.float().cast(pl.Int64, strict=False)
    return numbers.with_columns(
        pl.when(whole == selectors.float())
        .then(whole.cast(pl.String))
        .otherwise(selectors.float().cast(pl.String))
    ).with_columns(pl.exclude("line").cast(pl.String, strict=False))


def _digits(given: Given) -> dict[str, int]:
    """How many decimals the numbers of each field have."""
    digits = len(str(scale_of(given.columns))) - 1
    return {"qty": digits, "leaves": digits, "price": PRICE_DIGITS}


def _number(text: pl.Expr, digits: int) -> pl.Expr:
    """A number as a whole one of ``10**-digits``; null where it is none, is finer or too large.

    It may be as a floating-point number is printed: with an exponent, or off by its last bits.
    """
    is_number = text.str.contains(r"^[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?$")
    scaled = text.cast(pl.Float64, strict=False) * 10**digits
    off = (scaled - scaled.round()).abs()
    is_near = (off <= scaled * 1e-15) & (off < 1e-3) & (scaled < _FLOAT_MOST)
    nearest = pl.when(is_number & is_near).then(scaled.round().cast(pl.Int64, strict=False))
    return pl.coalesce(events.decimal(text, digits), nearest)


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line of CSV; none where they cannot be told."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error:
        return []


def _require(file: File, columns: Mapping[str, str], names: Sequence[str]) -> None:
    if missing := [name for name in columns.values() if name not in names]:
        raise SchemaError(
            f"{file}: no column {', '.join(missing)}; it has {', '.join(names)[:300]}"
        )


def _parse(rows: pl.DataFrame, columns: Mapping[str, str], given: Given) -> pl.DataFrame:
    said = {name: pl.col(column).str.strip_chars() for name, column in columns.items()}
    digits = _digits(given)
    most = digits["qty"]
    made = {name: _number(said[name], n) for name, n in digits.items() if name in said}
    made["ts"] = _time(said["ts"], given)
    made["symbol"] = pl.lit(given.symbol, pl.String)
    for name in ("symbol", "order_id", "new_id"):
        if name in said:
            made[name] = pl.when(said[name] != "").then(said[name])
    made["side"] = _meaning(said["side"], "side", given)
    kind = _meaning(said["kind"], "kind", given) if "kind" in said else pl.lit("add")
    made["kind"] = kind.replace_strict(
        {k.name.lower(): k for k in Kind}, default=None, return_dtype=pl.Int8
    )
    if "leaves" in said:  # only what an order begins with, or is replaced by, is its quantity
        is_new = made["kind"].is_in([Kind.ADD, Kind.REPLACE])
        whole = pl.when(is_new).then(pl.coalesce(made["qty"], made["leaves"]))
        made["qty"] = whole.when(made["leaves"].is_null()).then(made["qty"])
    named = rows.select("line", *(value.alias(name) for name, value in made.items()), type=kind)
    raw = rows.select(value.alias(f"said_{name}") for name, value in said.items())
    adds = pl.col("kind") == Kind.ADD
    sized = pl.col("kind").is_in([Kind.ADD, Kind.EXECUTE, Kind.REPLACE])
    qty = pl.coalesce("qty", "leaves") if "leaves" in said else pl.col("qty")

    def wrong(name: str, what: str) -> pl.Expr:
        return expected(
            columns.get(name, name), pl.col(f"said_{name}" if name in said else name), what
        )

    checks = (
        (pl.col("ts").is_between(0, rules.TIME.most), wrong("ts", "a time")),
        (pl.col("kind").is_not_null(), wrong("kind", f"one of {', '.join(_KINDS)}")),
        (
            pl.col("order_id").is_not_null() | (pl.col("kind") == Kind.OTHER),
            wrong("order_id", "an id"),
        ),
        (~adds | pl.col("side").is_not_null(), wrong("side", f"one of {', '.join(_SIDES)}")),
        (~adds | (pl.col("symbol").fill_null("") != ""), wrong("symbol", "a symbol (--symbol)")),
        (~adds | (pl.col("price") > 0), wrong("price", "a price above 0, of at most 4 decimals")),
        (~sized | qty.is_not_null(), wrong("qty", f"a quantity of at most {most} decimals")),
        (~adds | (pl.col("qty") > 0), wrong("qty", "a quantity above 0")),
    )
    found = pl.concat([named, raw], how="horizontal")
    return found.with_columns(events.first_fault(*checks))


def _meaning(said: pl.Expr, field: str, given: Given) -> pl.Expr:
    """What values mean: as the mapping says, or else as their words do."""
    prefix = f"{field}."
    stated = {k.removeprefix(prefix): v for k, v in given.columns.items() if k.startswith(prefix)}
    known = _MEANINGS[field]
    words = said.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.String)
    return pl.coalesce(said.replace_strict(stated, default=None, return_dtype=pl.String), words)


_SIZES = ((11, 10**9), (14, 10**6), (17, 10**3), (20, 1))
_TIME = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y%m%d-%H:%M:%S%.f")


def _time(said: pl.Expr, given: Given) -> pl.Expr:
    """A time in ns since 1970; null where it is none."""
    if unit := given.columns.get(_OF_DAY):
        ns = events.decimal(said, 9 - _DIGITS[unit])
        return events.time_of_day(pl.when(ns < events.DAY_NS).then(ns), given.date or NO_DATE)
    parts = said.str.splitn(".", 2).struct
    whole = parts.field("field_0").cast(pl.Int64, strict=False)
    part = parts.field("field_1").fill_null("").str.slice(0, 9).str.pad_end(9, "0")
    is_number = said.str.contains(r"^[0-9]{1,19}(\.[0-9]*)?$")
    length = parts.field("field_0").str.len_bytes()
    number = pl.coalesce(
        pl.when(is_number & (length <= most)).then(
            whole * unit + part.cast(pl.Int64, strict=False) * unit // 10**9
        )
        for most, unit in _SIZES
    )
    text = said.str.replace(r"(Z|\+00:?00)$", "")
    dated = pl.concat_str(pl.lit(f"{given.date or NO_DATE} "), text)
    times = [(text, form) for form in _TIME] + [(dated, _TIME[0])]
    stamps = [
        value.str.to_datetime(form, time_unit="ns", strict=False).dt.timestamp("ns")
        for value, form in times
    ]
    return pl.coalesce(number, *stamps)


def table(
    name: str, title: str, mapping: Mapping[str, str], symbol: str | None = None, **settings: Any
) -> Format:
    """The format of a table that is recognised by its columns, which ``mapping`` names."""

    def reads(file: File, given: Given) -> Events:
        return read(file, given._replace(columns=mapping, symbol=given.symbol or symbol))

    needed = frozenset(column for key, column in mapping.items() if key in FIELDS)
    return Format(name, title, reads, lambda _: False, columns=(needed,), **settings)


FORMAT = Format("mapped", "table, by the mapping given", read, lambda _: False)
TABLES = (
    table(
        "bitstamp-events",
        "Bitstamp's order events",
        bitstamp.TABLE,
        bitstamp.SYMBOL,
        **bitstamp.OF_MARKET,
    ),
    table("pitch-table", "BATS PITCH as a table", pitch.TABLE, readds=True, tick_size=100),
)
"""Tables that need no mapping."""
