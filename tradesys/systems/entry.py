"""The rules of order entry, stated once, for one order in Python and for a table in polars.

A rule's ``holds`` takes the terms of an order as attributes and uses only operators that mean the
same on Python values and on polars expressions; so one order is checked in microseconds, a million
at once, and never by different rules.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tradesys.errors import InvalidValue, SchemaError
from tradesys.records import (
    AccountStatus,
    InstrumentStatus,
    OrdType,
    RequestType,
    Side,
    TimeInForce,
)

Terms = Any
"""Attributes named like the columns of a request, and those of its account and instrument."""


class Rule(NamedTuple):
    """What must hold of an order's terms. ``field`` is what is wrong where it does not."""

    field: str
    expected: str
    holds: Callable[[Terms], Any]


def _one_of(field: str, values: list[str]) -> Rule:
    def holds(o: Terms) -> Any:
        found = getattr(o, field) == values[0]
        for value in values[1:]:
            found = found | (getattr(o, field) == value)
        return found

    return Rule(field, "one of " + ", ".join(values), holds)


VALID = (
    _one_of("side", [str(s) for s in Side]),
    _one_of("ord_type", [str(t) for t in OrdType]),
    _one_of("time_in_force", [str(t) for t in TimeInForce]),
    Rule("account", "an account the firm has described", lambda o: o.account_status != ""),
    Rule("symbol", "a symbol the firm has described", lambda o: o.security_status != ""),
    Rule("order_qty", "a positive number of shares", lambda o: o.order_qty > 0),
    Rule(
        "order_qty",
        "a multiple of the lot size, {lot_size}",
        lambda o: o.order_qty % o.lot_size == 0,
    ),
    Rule(
        "price",
        "a positive price for a limit order, in 1/10,000",
        lambda o: (o.ord_type != OrdType.LIMIT.value) | (o.price > 0),
    ),
    Rule(
        "price",
        "no price for a market order",
        lambda o: (o.ord_type != OrdType.MARKET.value) | (o.price == 0),
    ),
    Rule(
        "price",
        "a multiple of the tick size, {tick_size}",
        lambda o: o.price % o.tick_size == 0,
    ),
)
"""An order that breaks one of these is an error: nothing is written."""

ACCEPTABLE = (
    Rule("account", "account closed", lambda o: o.account_status != AccountStatus.CLOSED.value),
    Rule("symbol", "symbol halted", lambda o: o.security_status != InstrumentStatus.HALTED.value),
)
"""A well-formed order that breaks one of these is recorded with ``expected`` as its
``reject_reason``, and never sent."""

NO_CASH = "not enough cash"
NO_SHARES = "not enough shares"
NO_PRICE = "no last price to value a market order at"


def check(terms: SimpleNamespace) -> str | None:
    """Check one order: None, or the reason for which it is refused.

    :raises InvalidValue: the order breaks a rule of :data:`VALID`.
    """
    for rule in VALID:
        if not rule.holds(terms):
            raise InvalidValue(rule.field, getattr(terms, rule.field), explain(rule, vars(terms)))
    return next((rule.expected for rule in ACCEPTABLE if not rule.holds(terms)), None)


def explain(rule: Rule, terms: dict[str, Any]) -> str:
    """What a rule expects of these terms."""
    return rule.expected.format_map(terms)


_TEXT, _NUMBER, _TIME = pa.utf8(), pa.int64(), pa.timestamp("ns", "UTC")
_TYPES = {
    "request_type": _TEXT,
    "account": _TEXT,
    "symbol": _TEXT,
    "side": _TEXT,
    "order_qty": _NUMBER,
    "price": _NUMBER,
    "ord_type": _TEXT,
    "time_in_force": _TEXT,
    "cl_ord_id": _TEXT,
    "orig_cl_ord_id": _TEXT,
    "ts": _TIME,
}
_REQUIRED = ("account", "symbol", "side", "order_qty")
_DEFAULTS = {
    "request_type": RequestType.NEW.value,
    "ord_type": OrdType.LIMIT.value,
    "time_in_force": TimeInForce.DAY.value,
}


def columns_of(table: pl.DataFrame | pa.Table | pa.RecordBatch) -> dict[str, pa.Array]:
    """A table of requests as Arrow columns, all of them, with defaults where one is absent or null.

    :raises SchemaError: a column is missing, unknown, or of a type that cannot hold its values.
    """
    if isinstance(table, pl.DataFrame):
        table = table.to_arrow(compat_level=pl.CompatLevel.oldest())
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    names = table.schema.names
    if unknown := [name for name in names if name not in _TYPES]:
        raise SchemaError(f"unknown columns {unknown}; expected some of {list(_TYPES)}")
    if missing := [name for name in _REQUIRED if name not in names]:
        raise SchemaError(f"missing columns {missing}; given {names}")
    columns = {}
    for name, wanted in _TYPES.items():
        if name not in names:
            default = pa.scalar(_DEFAULTS.get(name), wanted)
            columns[name] = pa.repeat(default, table.num_rows)
            continue
        column = _cast(name, table[name], wanted)
        default = _DEFAULTS.get(name)
        columns[name] = column if default is None else column.fill_null(default)
        if name in ("cl_ord_id", "orig_cl_ord_id"):
            # A name without letters is none, as for one order.
            columns[name] = pc.if_else(pc.equal(column, ""), None, column)
    return columns


def _cast(name: str, column: pa.ChunkedArray, wanted: pa.DataType) -> pa.Array:
    given = column.type
    kind = given.value_type if pa.types.is_dictionary(given) else given
    fits = pa.types.is_null(kind) or (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        if wanted == _TEXT
        else pa.types.is_integer(kind)
        if wanted == _NUMBER
        else pa.types.is_timestamp(kind)
    )
    if not fits:
        raise SchemaError(f"column {name} is {given}; expected {wanted}")
    combined = column.combine_chunks()
    try:
        return combined if given == wanted else combined.cast(wanted)
    except pa.ArrowInvalid as error:
        raise SchemaError(f"column {name}: {error}; expected {wanted}") from error
