"""The exchange's days: to which a trade belongs, when it settles, and what a day's end closes."""

import datetime as dt
import warnings
from functools import cache

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys import status
from tradesys.records import REQUESTS, TimeInForce

EXCHANGE = "XNYS"
"""The exchange whose calendar holds, by its ISO 10383 code."""

ZONE = "America/New_York"
_HOUR = 3600 * 10**9  # days begin with an hour, there and here


def trade_date() -> pl.Expr:
    """The day of ``transact_time`` where the exchange is."""
    return pl.col("transact_time").dt.convert_time_zone(ZONE).dt.date()


def day_of(time_ns: int) -> dt.date:
    """The day of a time, in ns since 1970, where the exchange is."""
    (day,) = trade_dates(pa.array([time_ns], pa.timestamp("ns", "UTC"))).tolist()
    assert isinstance(day, dt.date)
    return day


def trade_dates(times: pa.TimestampArray) -> NDArray[np.datetime64]:
    """The day of each time where the exchange is."""
    return pl.DataFrame({"transact_time": times}).select(trade_date()).to_series().to_numpy()


def settle_dates(times: pa.TimestampArray) -> NDArray[np.datetime64]:
    """The first session after the day of each trade (T+1)."""
    hours, which = np.unique(times.view(pa.int64()).to_numpy() // _HOUR, return_inverse=True)
    return np.array([_settles(hour) for hour in hours.tolist()], "datetime64[D]")[which]


@cache
def _settles(hour: int) -> dt.date:
    """The first session after the day to which an hour since 1970 belongs."""
    return next_session(day_of(hour * _HOUR))


@cache
def next_session(day: dt.date) -> dt.date:
    """The first day after this one on which the exchange is open."""
    # Loaded for the first trade: whoever only asks need not wait for it.
    import exchange_calendars  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the calendars say to pandas is not ours to mend
        last = dt.date(day.year + 1, 1, 31)
        calendar = exchange_calendars.get_calendar(EXCHANGE, start=f"{day.year}-01-01", end=last)
        sessions = calendar.sessions.to_numpy().astype("datetime64[D]")
    found: dt.date = sessions[np.searchsorted(sessions, np.datetime64(day), side="right")].item()
    return found


def expiring(reports: pl.DataFrame, now: int) -> pl.DataFrame:
    """The open orders that a day's end closes: DAY, and GTD whose time has come (FIX tag 59).

    :param reports: a venue's own record, of the schema :data:`~tradesys.records.REPORTS`.
    :param now: in ns since 1970.
    :returns: of each such order the report that states its terms in force.
    """
    events = reports.rename({"record_id": "exec_id"})
    facts = status.facts(pl.DataFrame(REQUESTS.empty_table()), events)
    still_open = facts.with_columns(status.leaves()).filter(pl.col("leaves_qty") > 0)
    has_come = pl.col("expire_time").dt.timestamp("ns") <= now
    over = (pl.col("time_in_force") == TimeInForce.DAY) | (
        (pl.col("time_in_force") == TimeInForce.GTD) & has_come
    )
    return (
        reports.filter(pl.col("exec_type").is_in([t.value for t in status.STATES_TERMS]), over)
        .sort("record_id")
        .unique("order_id", keep="last", maintain_order=True)
        .join(still_open, on="order_id", how="semi", maintain_order="left")
    )
