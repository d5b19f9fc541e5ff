"""The market's days: which one a time belongs to, how long an order may trade, when trades settle.

The market here always matches, at night and on Sundays too. Its *trading day* is a label: it rolls
at the close of a session of the exchange, so what comes after Friday's close is Monday's. An event
at exactly the close belongs to the day that closes.
"""

import datetime as dt
import sys
import warnings
from bisect import bisect_left
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradesys.records import argument_checks as given
from tradesys.records.arrow import Ints
from tradesys.records.schemas import TimeInForce

Days = NDArray[np.datetime64]

EXCHANGE = "XNYS"
"""The exchange whose calendar holds unless another is asked for, by its ISO 10383 code."""

ALWAYS = "24/7"
"""The calendar of a market that never closes: its days are those of UTC, and roll at 00:00."""

FOREVER = sys.maxsize
"""The last moment at which an order that is good till canceled may trade: none is later."""

_YEARS = 1970, 2100
_DAY = 86_400 * 10**9


class _Sessions(NamedTuple):
    """Every trading day of a calendar, and its close in ns since 1970."""

    days: Days
    closes: Ints
    closes_list: list[int]


class Calendar:
    """The trading days of a market, from 1970 to 2100; what is beyond is of the first or the last.

    :param code: :data:`EXCHANGE` or :data:`ALWAYS`.
    :raises InvalidValue: it is neither.
    """

    def __init__(self, code: str = EXCHANGE) -> None:
        self.code = given.one_of("calendar", code, (EXCHANGE, ALWAYS))
        self.zone = "America/New_York" if code == EXCHANGE else "UTC"

    @cached_property
    def _sessions(self) -> _Sessions:
        return _sessions(self.code)

    def close(self, time_ns: int) -> int:
        """The close of the trading day that a time belongs to. Times are in ns since 1970.

        Two times belong to the same trading day if it is the same for both.
        """
        closes = self._sessions.closes_list
        return closes[min(bisect_left(closes, time_ns), len(closes) - 1)]

    def closes(self, times: Ints) -> Ints:
        """As :meth:`close`, of each of these times."""
        return self._sessions.closes[self._places(times)]

    def trading_day(self, time_ns: int) -> dt.date:
        """The trading day that a time belongs to."""
        day = self._sessions.days[self._places(time_ns)].item()
        assert isinstance(day, dt.date)
        return day

    def trading_days(self, times: Ints) -> Days:
        """As :meth:`trading_day`, of each of these times."""
        return self._sessions.days[self._places(times)]

    def _places(self, times: Ints | int) -> NDArray[np.intp]:
        closes = self._sessions.closes
        return np.minimum(np.searchsorted(closes, times), len(closes) - 1)

    def last_ns(self, time_in_force: str, expire_time: int | None, stated_at: int) -> int:
        """The last moment at which an order may trade (FIX tags 59 and 126).

        A GTC order has none. A GTD order may trade before its ``expire_time``, and any other on the
        trading day on which its terms were stated.
        """
        if time_in_force == TimeInForce.GTC:
            return FOREVER
        if time_in_force == TimeInForce.GTD and expire_time is not None:
            return expire_time - 1
        return self.close(stated_at)

    def last_moments(self, stated: pl.DataFrame) -> Ints:
        """As :meth:`last_ns`, of each order: a frame of these three columns, times of Arrow."""
        times = (stated[name].to_arrow().cast(_TIME) for name in ("expire_time", "stated_at"))
        return self.last_of_each(stated["time_in_force"].to_arrow().cast(pa.utf8()), *times)

    def last_of_each(
        self, time_in_force: pa.StringArray, expire_time: pa.Array, stated_at: pa.Array
    ) -> Ints:
        """As :meth:`last_ns`, of each order, from columns of Arrow."""
        is_gtc, is_gtd = (
            pc.equal(time_in_force, each.value).to_numpy(zero_copy_only=False)
            for each in (TimeInForce.GTC, TimeInForce.GTD)
        )
        close = self.closes(ns_of(stated_at))
        before = expire_time.view(pa.int64()).fill_null(0).to_numpy() - 1
        last = np.where(is_gtd & (before >= 0), before, close)
        return np.where(is_gtc, FOREVER, last)


_TIME = pa.timestamp("ns", "UTC")


def ns_of(times: pa.TimestampArray) -> Ints:
    """Times of Arrow in ns since 1970."""
    found: Ints = times.view(pa.int64()).to_numpy()
    return found


@cache
def _sessions(code: str) -> _Sessions:
    first, last = f"{_YEARS[0]}-01-01", f"{_YEARS[1]}-12-31"
    if code == ALWAYS:
        days = np.arange(np.datetime64(first), np.datetime64(last) + 1)
        closes = (days.astype(np.int64) + 1) * _DAY - 1
    else:
        # Loaded for the first order: whoever only asks need not wait for it.
        import exchange_calendars  # noqa: PLC0415

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the calendars say to pandas is not ours to mend
            found = exchange_calendars.get_calendar(code, start=first, end=last)
        days = found.sessions.to_numpy().astype("datetime64[D]")
        closes = found.closes_nanos
    return _Sessions(days, closes, closes.tolist())


# ---- settlement

_SETTLES = (("1970-01-01", 5), ("1995-06-07", 3), ("2017-09-05", 2), ("2024-05-28", 1))
"""How many days after the day of a trade it settles, by the first day of each rule (SEC 15c6-1)."""

_FED_FROM = 1999


def settle_dates(times: pa.TimestampArray) -> Days:
    """The day on which a trade of each time settles: T+1, and T+2, T+3, T+5 as it was before.

    Counted are the days on which both the exchange and the banks are open: its sessions that are no
    holiday of the Federal Reserve. Those holidays are known from 1999 on; before that every session
    counts.
    """
    traded, open_days = Calendar(EXCHANGE).trading_days(ns_of(times)), _settlement_days()
    starts = np.array([start for start, _ in _SETTLES], "datetime64[D]")
    counts = np.array([count for _, count in _SETTLES])
    after = counts[np.maximum(np.searchsorted(starts, traded, side="right") - 1, 0)]
    places = np.searchsorted(open_days, traded, side="right") + after - 1
    return open_days[np.minimum(places, len(open_days) - 1)]


@cache
def _settlement_days() -> Days:
    """The sessions of the exchange on which the Federal Reserve settles payments."""
    import holidays  # noqa: PLC0415 - as the calendar of the exchange

    years = range(_FED_FROM, _YEARS[1] + 1)
    closed = np.array([*holidays.financial_holidays("XFED", years=years)], "datetime64[D]")
    return np.setdiff1d(_sessions(EXCHANGE).days, closed)
