"""Goal: a time has one trading day, an order one last moment, and a trade one day of settlement.

Method: the exchange's hours and its and the banks' holidays, as they were published, by hand; the
seconds around a close, nights, Sundays, early closes and the changes of the clocks.
"""

import datetime as dt

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradesys.records.clock import to_ns
from tradesys.records.errors import InvalidValue
from tradesys.records.trading_calendar import ALWAYS, FOREVER, Calendar, ns_of, settle_dates

XNYS = Calendar()


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2024-06-07T15:59:59-04:00", "2024-06-07"),  # a Friday
        ("2024-06-07T16:00:00-04:00", "2024-06-07"),
        ("2024-06-07T16:00:01-04:00", "2024-06-10"),
        ("2024-06-09T12:00:00-04:00", "2024-06-10"),  # a Sunday
        ("2024-06-10T03:00:00-04:00", "2024-06-10"),  # a night
        ("2024-12-24T13:00:00-05:00", "2024-12-24"),  # an early close
        ("2024-12-24T13:00:01-05:00", "2024-12-26"),
        ("2024-12-25T12:00:00-05:00", "2024-12-26"),  # Christmas
        ("2024-07-03T13:00:00-04:00", "2024-07-03"),  # an early close
        ("2024-07-03T13:00:01-04:00", "2024-07-05"),
        ("2024-03-08T21:00:00Z", "2024-03-08"),  # the last close in winter time
        ("2024-03-08T21:00:01Z", "2024-03-11"),
        ("2024-03-11T20:00:00Z", "2024-03-11"),  # the first in summer time
        ("2024-03-11T20:00:01Z", "2024-03-12"),
        ("2024-11-04T21:00:00Z", "2024-11-04"),  # winter time again
        ("2012-10-29T12:00:00-04:00", "2012-10-31"),  # closed for a storm
    ],
)
def test_a_trading_day_ends_with_the_close_of_its_session(time: str, expected: str) -> None:
    assert XNYS.trading_day(to_ns(time)) == day(expected)


def test_the_close_itself_belongs_to_the_day_and_what_follows_to_the_next() -> None:
    close = to_ns("2024-06-07T20:00:00Z")
    assert [XNYS.close(close + i) == close for i in (-1, 0, 1)] == [True, True, False]
    assert XNYS.trading_day(close + 1) == day("2024-06-10")


def test_the_days_of_a_market_that_never_closes_are_those_of_utc() -> None:
    midnight = to_ns("2024-06-09T00:00:00Z")
    days = [Calendar(ALWAYS).trading_day(midnight + i) for i in (-1, 0)]
    assert days == [day("2024-06-08"), day("2024-06-09")]


def test_another_calendar_is_refused() -> None:
    with pytest.raises(InvalidValue, match="XNYS, 24/7"):
        Calendar("XLON")


@given(st.lists(st.integers(0, FOREVER), max_size=20), st.sampled_from(["XNYS", ALWAYS]))
def test_many_times_have_the_days_that_each_has_alone(times: list[int], code: str) -> None:
    calendar, many = Calendar(code), np.array(times, np.int64)
    assert calendar.trading_days(many).tolist() == [calendar.trading_day(t) for t in times]
    assert calendar.closes(many).tolist() == [calendar.close(t) for t in times]


def test_an_order_may_trade_for_its_day_until_its_time_or_for_ever() -> None:
    noon, close = to_ns("2024-06-07T16:00:00Z"), to_ns("2024-06-07T20:00:00Z")
    orders = [
        *((kind, None, close) for kind in ("day", "ioc", "fok")),
        *(("gtc", None, FOREVER), ("gtd", noon + 9, noon + 8), ("gtd", close + 9, close + 8)),
    ]
    for time_in_force, expire_time, last in orders:
        assert XNYS.last_ns(time_in_force, expire_time, noon) == last
    times = {n: pl.Datetime("ns", "UTC") for n in ("expire_time", "stated_at")}
    stated = pl.DataFrame(
        [(kind, expires, noon) for kind, expires, _ in orders],
        schema={"time_in_force": pl.String, "expire_time": pl.Int64, "stated_at": pl.Int64},
        orient="row",
    ).cast(times)  # type: ignore[arg-type]
    assert XNYS.last_moments(stated).tolist() == [last for *_, last in orders]


# Settlement.


@pytest.mark.parametrize(
    ("traded", "settles"),
    [
        ("2024-10-11", "2024-10-15"),  # banks were closed on Columbus Day
        ("2024-10-14", "2024-10-15"),
        ("2024-05-24", "2024-05-29"),  # the last day of T+2
        ("2024-05-28", "2024-05-29"),  # the first of T+1
        ("2017-09-01", "2017-09-07"),  # the last of T+3, before Labor Day
        ("2017-09-05", "2017-09-07"),
        ("2012-06-21", "2012-06-26"),
        ("1995-06-06", "1995-06-13"),  # the last of T+5
        ("1995-06-07", "1995-06-12"),
        ("2024-06-18", "2024-06-20"),  # Juneteenth
        ("2024-07-03", "2024-07-05"),
        ("2024-12-31", "2025-01-02"),
        ("2017-11-08", "2017-11-10"),  # banks were open on these four
        ("2021-06-16", "2021-06-18"),
        ("2021-12-29", "2021-12-31"),
        ("2023-11-08", "2023-11-10"),
    ],
)
def test_a_trade_settles_by_the_rule_of_its_day_when_exchange_and_banks_are_open(
    traded: str, settles: str
) -> None:
    time = pa.array([to_ns(f"{traded}T15:00:00Z")], pa.timestamp("ns", "UTC"))
    assert settle_dates(time).tolist() == [day(settles)]


def test_a_trade_after_the_close_settles_as_of_the_next_session() -> None:
    close = to_ns("2024-06-07T20:00:00Z")
    times = pa.array([close, close + 1], pa.timestamp("ns", "UTC"))
    assert settle_dates(times).tolist() == [day("2024-06-10"), day("2024-06-11")]
    assert ns_of(times).tolist() == [close, close + 1]
