"""A table of requests, of whichever kind it is, as Arrow columns of the types of a record."""

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tradesys.records import field_rules as fields
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.records.schemas import PRICE_FORMS, OrdType, RequestType, TimeInForce, to_price

Columns = dict[str, pa.Array]

TEXT, NUMBER, TIME = pa.utf8(), pa.int64(), pa.timestamp("ns", "UTC")
_TYPES = {
    "request_type": TEXT,
    "account": TEXT,
    "symbol": TEXT,
    "side": TEXT,
    "order_qty": NUMBER,
    "price": NUMBER,
    "ord_type": TEXT,
    "time_in_force": TEXT,
    "expire_time": TIME,
    "cl_ord_id": TEXT,
    "orig_cl_ord_id": TEXT,
    "order_id": pa.uint64(),
    "ts": TIME,
}
_REQUIRED = ("account", "symbol", "side", "order_qty")
DEFAULTS = {
    "request_type": RequestType.NEW.value,
    "ord_type": OrdType.LIMIT.value,
    "time_in_force": TimeInForce.DAY.value,
}


def columns_of(table: object) -> Columns:
    """A table of requests as Arrow columns, all of them; one that is absent is null.

    :raises SchemaError: it is no table, or a column is missing, unknown, of a type that cannot hold
        its values, or of times out of the range :data:`tradesys.records.field_rules.TIME`.
    :raises InvalidValue: a price given as text or Decimal is none, or a name is too long.
    """
    given = _arrow(table)
    names = given.schema.names
    if unknown := [name for name in names if name not in _TYPES]:
        raise SchemaError(f"unknown columns {unknown}; expected some of {list(_TYPES)}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SchemaError(f"columns {twice} are there twice")
    columns = {}
    for name, wanted in _TYPES.items():
        if name in names:
            columns[name] = _cast(name, given[name], wanted)
        else:
            columns[name] = pa.nulls(given.num_rows, wanted)
        if name in ("cl_ord_id", "orig_cl_ord_id") and name in names:
            # A name without letters is none, as for one order.
            is_none = pc.equal(columns[name], "")
            if pc.any(is_none).as_py():
                columns[name] = pc.if_else(is_none, None, columns[name])
            lengths = pc.utf8_length(columns[name])
            if (pc.max(lengths).as_py() or 0) > fields.NAME_LETTERS:
                longest = columns[name][pc.index(lengths, pc.max(lengths)).as_py()].as_py()
                raise InvalidValue(name, longest, f"at most {fields.NAME_LETTERS} letters")
    if any(name not in names for name in _REQUIRED) and _has_new(columns["request_type"]):
        missing = [name for name in _REQUIRED if name not in names]
        raise SchemaError(f"missing columns {missing} of a new order; given {names}")
    return columns


def _arrow(table: object) -> pa.Table:
    """The table as Arrow's, whichever kind it is of."""
    if isinstance(table, pl.DataFrame):
        try:
            table = table.to_arrow(compat_level=pl.CompatLevel.oldest())
        except (pa.ArrowException, pl.exceptions.PolarsError) as error:
            expected = f"{error}; expected columns of {list(_TYPES)}"
            raise SchemaError(f"the table cannot be read as Arrow: {expected}") from error
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if not isinstance(table, pa.Table):
        raise SchemaError(
            f"a {type(table).__name__}; expected a polars DataFrame or an Arrow table"
        )
    return table


def _has_new(request_types: pa.StringArray) -> bool:
    is_new = pc.equal(request_types.fill_null(RequestType.NEW.value), RequestType.NEW.value)
    return bool(pc.any(is_new).as_py())


def _cast(name: str, column: pa.ChunkedArray, wanted: pa.DataType) -> pa.Array:
    given = column.type
    kind = given.value_type if pa.types.is_dictionary(given) else given
    is_text = (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
    if name == "price" and (is_text or pa.types.is_decimal(kind)):
        return _prices(column)
    fits = pa.types.is_null(kind) or (
        is_text
        if wanted == TEXT
        else pa.types.is_integer(kind)
        if wanted != TIME
        else pa.types.is_timestamp(kind)
    )
    if not fits:
        expected = PRICE_FORMS if name == "price" else wanted
        raise SchemaError(f"column {name} is {given}; expected {expected}")
    combined = column.combine_chunks()
    if isinstance(combined, pa.ChunkedArray):
        combined = pa.concat_arrays(combined.chunks) if combined.num_chunks else pa.nulls(0, given)
    try:
        cast = combined if given == wanted else combined.cast(wanted)
        cast.validate(full=wanted == TEXT)  # text may hold bytes that are none
    except pa.ArrowInvalid as error:
        raise SchemaError(f"column {name}: {error}; expected {wanted}") from error
    if wanted == TIME and len(cast) > cast.null_count:
        first, last = (bound.value for bound in pc.min_max(cast).values())
        if first < fields.TIME.least or last > fields.TIME.most:
            expected = "times from 1970 to the end of 2099"
            raise SchemaError(f"column {name} runs from {first} to {last} ns; expected {expected}")
    return cast


def _prices(column: pa.ChunkedArray) -> pa.Int64Array:
    """Prices given as text or Decimal, in the currency, in 1/10,000 of it."""
    texts = pl.Series(column).cast(pl.String)
    found = {text: to_price(text) for text in texts.unique().drop_nulls().to_list()}
    return pa.array([None if text is None else found[text] for text in texts.to_list()], NUMBER)
