"""Ids, origins and prices: what they are made of, and that nothing is lost on the way and back.

Goal: an id names one record for ever, to machines and to people.
Method: each rule on the smallest value, and round trips over all values that Hypothesis can draw.
"""

import re
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import (
    EXECUTIONS,
    REPORTS,
    REQUESTS,
    SCHEMAS,
    SEQUENCE_MASK,
    Kind,
    Origin,
    format_id,
    make_id,
    origin,
    parse_id,
    parse_origin,
    split_id,
    to_price,
)

SEQUENCES = st.integers(0, SEQUENCE_MASK)
# There is one firm, so its number is 1.
ORIGINS = st.one_of(
    st.builds(
        Origin,
        st.sampled_from([Kind.VENUE, Kind.CUSTOMER, Kind.STREET]),
        st.integers(1, 63),
        st.integers(0, 255),
    ),
    st.builds(Origin, st.just(Kind.FIRM), st.just(1), st.integers(0, 255)),
)


# Ids.


@given(ORIGINS, SEQUENCES)
def test_an_id_gives_back_its_origin_and_sequence(of: Origin, sequence: int) -> None:
    code, found = split_id(make_id(of.code, sequence))
    assert (origin(code), found) == (of, sequence)


@given(ORIGINS, SEQUENCES)
def test_an_id_as_people_write_it_is_read_back_as_the_same_id(of: Origin, sequence: int) -> None:
    record_id = make_id(of.code, sequence)
    assert parse_id(format_id(record_id)) == record_id
    assert parse_id(str(record_id)) == record_id


@given(ORIGINS, SEQUENCES, ORIGINS, SEQUENCES)
def test_ids_are_ordered_by_kind_number_incarnation_and_sequence(
    one: Origin, first: int, other: Origin, second: int
) -> None:
    ids = make_id(one.code, first), make_id(other.code, second)
    assert (ids[0] < ids[1]) == ((one, first) < (other, second))


@given(ORIGINS, SEQUENCES)
def test_an_id_fits_an_unsigned_integer_of_64_bits_and_is_never_zero(
    of: Origin, sequence: int
) -> None:
    assert 0 < make_id(of.code, sequence) == int(np.uint64(make_id(of.code, sequence)))


@given(ORIGINS)
def test_an_origin_is_read_back_as_it_is_written(of: Origin) -> None:
    assert parse_origin(str(of)) == of
    assert parse_origin(of.system) == of._replace(incarnation=0)


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (Origin(Kind.CUSTOMER, 1), "c1"),
        (Origin(Kind.STREET, 12), "s12"),
        (Origin(Kind.FIRM), "firm"),
        (Origin(Kind.CUSTOMER, 2, 1), "c2.1"),
        (Origin(Kind.VENUE), "v1"),
    ],
)
def test_an_origin_is_written_as_its_system_and_its_incarnation(of: Origin, text: str) -> None:
    assert str(of) == text


@pytest.mark.parametrize(
    "text",
    ["", "c", "c0", "c64", "x1", "firm0", "c1.256", "c1.x", "C1", "c-1", "1", "c1 ", "c1.1.1"],
)
def test_a_text_that_names_no_origin_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        parse_origin(text)
    assert (raised.value.field, raised.value.value) == ("system", text)
    assert "c1, s2 or firm" in raised.value.expected


@pytest.mark.parametrize("text", ["c1.", "firm2", "c01", "c1.01", "c\u0661"])
def test_an_origin_has_one_name(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_origin(text)


@pytest.mark.parametrize("text", ["", "-", "c1", "c1-", "-3", "c1-x", "order 5", "c1--2"])
def test_a_text_that_names_no_record_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        parse_id(text)
    assert raised.value.value in {text, text.rpartition("-")[0]}


@pytest.mark.parametrize("text", [f"c1-{SEQUENCE_MASK + 1}", str(1 << 64)])
def test_an_id_beyond_64_bits_is_refused_and_never_taken_for_another(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_id(text)


# Schemas.


@pytest.mark.parametrize("dataset", SCHEMAS)
def test_every_record_begins_with_its_id_and_its_time(dataset: str) -> None:
    assert SCHEMAS[dataset].names[:2] == ["record_id", "ts"]
    assert str(SCHEMAS[dataset].field("ts").type) == "timestamp[ns, tz=UTC]"


@pytest.mark.parametrize("dataset", SCHEMAS)
def test_no_record_holds_a_float_or_a_dictionary(dataset: str) -> None:
    types = {re.sub(r"\[.*", "", str(field.type)) for field in SCHEMAS[dataset]}
    assert types <= {"uint64", "int64", "string", "bool", "timestamp", "date32"}


def test_a_report_repeats_every_term_of_the_order_it_is_about() -> None:
    terms = REQUESTS.names[3:-1]
    assert set(terms) < set(REPORTS.names)
    assert set(terms) < set(EXECUTIONS.names)


# Prices.


@pytest.mark.parametrize(
    ("value", "price"),
    [
        (502_500, 502_500),
        (np.int64(7), 7),
        ("50.25", 502_500),
        ("0.0001", 1),
        ("50", 500_000),
        ("-1.5", -15_000),
        ("5e1", 500_000),
        (Decimal("50.10"), 501_000),
        ("922337203685477.5807", 2**63 - 1),
    ],
)
def test_a_price_is_a_whole_number_of_ten_thousandths(value: object, price: int) -> None:
    assert to_price(value) == price


@given(st.integers(1 - 2**63, 2**63 - 1))
def test_a_price_as_text_is_the_price(price: int) -> None:
    assert to_price(str(Decimal(price) / 10_000)) == to_price(price) == price


REFUSED_PRICES = [50.25, None, "", "fifty", "50.00001", Decimal("0.00005"), "nan", b"5", [5]]


@pytest.mark.parametrize("value", REFUSED_PRICES, ids=repr)
def test_what_is_no_price_is_refused(value: object) -> None:
    with pytest.raises(InvalidValue) as raised:
        to_price(value)
    assert raised.value.field == "price"
    assert raised.value.value is value
    assert "502500" in raised.value.expected


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e999999", f"50.{'0' * 30}1"])
def test_a_price_that_decimal_cannot_hold_exactly_is_refused(value: str) -> None:
    with pytest.raises(InvalidValue):
        to_price(value)
