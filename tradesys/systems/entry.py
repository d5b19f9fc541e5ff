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


_WHERE_NULL: dict[str, Any] = {
    "price": 0,
    "order_qty": 0,
    "side": "",
    "account_status": "",
    "security_status": "",
    "tick_size": 1,
    "lot_size": 1,
}


class _Columns:
    def __getattr__(self, name: str) -> pl.Expr:
        column = pl.col(name)
        return column.fill_null(_WHERE_NULL[name]) if name in _WHERE_NULL else column


def _first_broken(rules: tuple[Rule, ...]) -> pl.Expr:
    """For each row of a table, the number of the first of these rules that it breaks, or null."""
    columns = _Columns()
    return pl.coalesce(
        *(pl.when(~rule.holds(columns)).then(pl.lit(i, pl.Int8)) for i, rule in enumerate(rules)),
        pl.lit(None, pl.Int8),
    )


BROKEN = _first_broken(VALID)
"""The number of the first rule of :data:`VALID` that a row breaks, or null."""

REFUSED = _first_broken(ACCEPTABLE)
"""The number of the first rule of :data:`ACCEPTABLE` that a row breaks, or null."""

_TYPES: dict[str, Any] = {
    "request_type": pl.String,
    "account": pl.String,
    "symbol": pl.String,
    "side": pl.String,
    "order_qty": pl.Int64,
    "price": pl.Int64,
    "ord_type": pl.String,
    "time_in_force": pl.String,
    "cl_ord_id": pl.String,
    "orig_cl_ord_id": pl.String,
    "ts": pl.Datetime("ns", "UTC"),
}
_DEFAULTS = {
    "request_type": RequestType.NEW.value,
    "ord_type": OrdType.LIMIT.value,
    "time_in_force": TimeInForce.DAY.value,
    "price": None,
    "cl_ord_id": None,
    "orig_cl_ord_id": None,
    "ts": None,
}


def table_of_requests(table: pl.DataFrame | pa.Table | pa.RecordBatch) -> pl.DataFrame:
    """A table of requests with every column, of its type, and defaults where a column is absent.

    :raises SchemaError: a column is missing, unknown, or of a type that cannot hold its values.
    """
    frame = table if isinstance(table, pl.DataFrame) else pl.DataFrame(table)
    if unknown := [c for c in frame.columns if c not in _TYPES]:
        raise SchemaError(f"unknown columns {unknown}; expected some of {list(_TYPES)}")
    if missing := [c for c in _TYPES if c not in frame.columns and c not in _DEFAULTS]:
        raise SchemaError(f"missing columns {missing}; given {frame.columns}")
    for name, dtype in frame.schema.items():
        wanted = _TYPES[name]
        textual = isinstance(dtype, pl.Categorical | pl.Enum | pl.String)
        fits = dtype == pl.Null or (
            textual
            if wanted == pl.String
            else dtype.is_integer()
            if wanted == pl.Int64
            else isinstance(dtype, pl.Datetime)
        )
        if not fits:
            raise SchemaError(f"column {name} is {dtype}; expected {wanted}")
    columns = []
    for name, dtype in _TYPES.items():
        column = pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype)
        default = _DEFAULTS.get(name)
        columns.append((column if default is None else column.fill_null(default)).alias(name))
    return frame.select(columns)
