"""A table of requests comes in many forms; one that has the wrong columns is refused whole.

Goal: whoever has a table need not turn it into another; of the wrong one the column is named.
Method: one small table in every form that polars and Arrow give it, held against the plain one.
"""

import datetime as dt
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tests.build import TERMS, Row, network, submit
from tradesys.records.errors import InvalidValue, SchemaError

GIVEN = pl.DataFrame({name: [value] * 3 for name, value in TERMS.items()})
FORMS: dict[str, Any] = {
    "polars": GIVEN,
    "arrow": GIVEN.to_arrow(),
    "batch": GIVEN.to_arrow().to_batches()[0],
    "categories": GIVEN.with_columns(pl.col("side", "symbol").cast(pl.Categorical)),
    "dictionary": pa.table(GIVEN.to_arrow()).set_column(
        0, "account", GIVEN["account"].to_arrow().dictionary_encode()
    ),
    "chunks": pl.concat([GIVEN[:1], GIVEN[1:]], rechunk=False).to_arrow(),
    "narrow": GIVEN.with_columns(pl.col("order_qty").cast(pl.Int16)),
    "unsigned": GIVEN.with_columns(pl.col("order_qty", "price").cast(pl.UInt64)),
    "slice": pl.concat([GIVEN, GIVEN])[2:5],
    "columns turned": GIVEN.select(reversed(GIVEN.columns)),
    "large text": pa.table(GIVEN.to_arrow()).set_column(
        0, "account", GIVEN["account"].to_arrow().cast(pa.large_utf8())
    ),
    "nulls": GIVEN.with_columns(cl_ord_id=None, ts=None),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_the_same_in_any_of_its_forms(form: str) -> None:
    one, other = network()["c1"], network()["c1"]
    verdicts = one.submit_many(FORMS[form])
    assert verdicts.equals(other.submit_many(GIVEN))
    assert verdicts["accepted"].to_list() == [True, True, True]
    assert one.tables["requests"].frame.equals(other.tables["requests"].frame)


NINE = dt.datetime(2024, 6, 3, 9)  # noqa: DTZ001 - the zone is what is tested
TIMES = {
    "nanoseconds": (pl.Datetime("ns", "UTC"), 0),
    "microseconds": (pl.Datetime("us", "UTC"), 0),
    "without a zone, in UTC": (pl.Datetime("ms"), 0),
    "of another zone": (pl.Datetime("us", "America/New_York"), 4),
}


@pytest.mark.parametrize("case", TIMES)
def test_a_time_is_an_instant_in_whatever_unit_and_zone(case: str) -> None:
    dtype, hours_behind = TIMES[case]
    system = network()["c1"]
    times = pl.Series("ts", [NINE] * 3, pl.Datetime(dtype.time_unit))
    given = times.dt.replace_time_zone(dtype.time_zone)
    assert given.dtype == dtype
    system.submit_many(GIVEN.with_columns(given))
    recorded = system.tables["requests"].frame["ts"].dt.replace_time_zone(None)
    assert recorded.to_list() == [NINE + dt.timedelta(hours=hours_behind)] * 3


BAD_TABLES = {
    "an unknown column": (GIVEN.with_columns(colour=pl.lit("red")), "colour"),
    "a missing column": (GIVEN.drop("side"), "side"),
    "text for a number": (GIVEN.with_columns(order_qty=pl.lit("100")), "order_qty"),
    "a float for a number": (GIVEN.with_columns(price=pl.lit(20.0)), "price"),
    "a number for text": (GIVEN.with_columns(account=pl.lit(7)), "account"),
    "text for a time": (GIVEN.with_columns(ts=pl.lit("noon")), "ts"),
    "a number that no record holds": (
        *(GIVEN.with_columns(price=pl.lit(2**63, pl.UInt64)), "price"),
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
@pytest.mark.parametrize("arrow", [False, True], ids=["polars", "arrow"])
def test_a_table_of_other_columns_or_types_is_an_error_and_nothing_is_written(
    case: str, *, arrow: bool
) -> None:
    given, column = BAD_TABLES[case]
    desk = network()
    with pytest.raises(SchemaError, match=column):
        desk["c1"].submit_many(given.to_arrow() if arrow else given)
    assert len(desk["c1"].tables["requests"]) == 0


@pytest.mark.parametrize("form", ["polars", "arrow"])
def test_an_empty_table_is_taken_and_leaves_nothing(form: str) -> None:
    desk = network()
    assert desk["c1"].submit_many(FORMS[form][:0]).is_empty()
    assert len(desk["c1"].tables["requests"]) == 0


def test_the_rows_of_a_table_that_break_a_rule_say_what_submit_says() -> None:
    broken: list[Row] = [
        {"side": "hold"},
        {"account": "mallory"},
        {"symbol": "ZULU"},
        {"order_qty": 15},
    ]
    broken += [{"order_qty": -10}, {"price": 10_055}, {"price": -100}, {"ord_type": "market"}]
    broken += [{"order_qty": 10**11}, {"price": 10**12}, {"price": 10**10, "order_qty": 10**6}]
    desk = network()
    rows = [{"ord_type": "limit"} | TERMS | terms for terms in broken]
    found = desk["c1"].submit_many(pl.DataFrame(rows))["error"]
    for text, terms in zip(found.to_list(), broken, strict=True):
        with pytest.raises(InvalidValue) as raised:
            submit(desk["c1"], **terms)
        assert text == str(raised.value)


def test_text_that_is_none_is_refused_with_its_column() -> None:
    desk = network()
    bytes_of = pa.array([b"\xff\xfe"] * 3, pa.binary())
    symbols = pa.Array.from_buffers(pa.utf8(), 3, bytes_of.buffers())
    table = GIVEN.to_arrow(compat_level=pl.CompatLevel.oldest())
    table = table.set_column(table.schema.get_field_index("symbol"), "symbol", symbols)
    with pytest.raises(SchemaError, match="column symbol"):
        desk["c1"].submit_many(table)
    assert len(desk["c1"].tables["requests"]) == 0


def test_a_type_that_arrow_does_not_know_is_refused() -> None:
    frame = GIVEN.with_columns(pl.col("order_qty").cast(pl.Int128))
    with pytest.raises(SchemaError, match=r"order_qty|as Arrow"):
        network()["c1"].submit_many(frame)
