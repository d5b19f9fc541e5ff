"""Time, handed in: no system reads the wall clock by itself."""

import datetime as dt
import time
from collections.abc import Callable

import numpy as np

from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue
from tradesys.records.field_rules import TIME

Clock = Callable[[], int]
"""Gives the time in nanoseconds since 1970, UTC."""

wall_clock: Clock = time.time_ns

MS = 1_000_000
"""A millisecond, in ns."""


def checked(clock: Clock) -> Clock:
    """A clock of somebody else's that gives times of the range :data:`TIME`, or is refused.

    What it raises itself passes through.
    """
    return lambda: TIME.of_field("clock", clock())


class ManualClock:
    """A clock that stands still until it is set: replays and notebooks are the same every time."""

    def __init__(self, now: int = 0) -> None:
        self.now = now

    def __call__(self) -> int:
        """The time that it was set to."""
        return self.now

    def advance(self, nanoseconds: int) -> None:
        """Let so much time pass."""
        self.now += nanoseconds


Time = int | str | dt.datetime | np.datetime64
"""A time: ns since 1970, text like ``"2024-06-03T13:30:00.5Z"``, or a datetime with a zone.

Text without a zone is UTC, as times of numpy are.
"""

_DAY = 86_400 * 10**9
_EXPECTED = (
    "a time from 1970 to the end of 2099: text like 2024-06-03T13:30:00Z, a datetime with a zone, "
    "or ns since 1970"
)


def to_ns(time: object, field: str = "time") -> int:
    """A time in ns since 1970, UTC.

    :param field: what the time is, for the error.
    :raises InvalidValue: it is no time, has no zone, or is out of the range :data:`TIME`.
    """
    found = given.number_of(time)
    if found is None:
        found = _ns_of(time)
    if found is None or not TIME.least <= found <= TIME.most:
        raise InvalidValue(field, time, _EXPECTED)
    return found


def _ns_of(time: object) -> int | None:
    """The ns since 1970 of a time that is no number; None where it is no time."""
    if isinstance(time, np.datetime64):
        days = time.astype("datetime64[D]").astype(np.int64)  # of NaT, far below all
        is_near = 0 <= days <= TIME.most // _DAY
        return int(time.astype("datetime64[ns]").astype(np.int64)) if is_near else None
    text = given.text_of(time)
    if text is not None:
        try:
            time = dt.datetime.fromisoformat(text)
        except ValueError:
            return None
        time = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
    if not isinstance(time, dt.datetime) or time.tzinfo is None:
        return None
    since = time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    of_pandas: int = getattr(since, "nanoseconds", 0)
    whole = (since.days * 86_400 + since.seconds) * 1_000_000_000
    return whole + since.microseconds * 1_000 + of_pandas


def to_date(day: object, field: str = "day") -> dt.date:
    """A day from a date, or from text like ``"2024-06-03"``.

    :raises InvalidValue: it is neither.
    """
    if isinstance(day, dt.date) and not isinstance(day, dt.datetime):
        return day
    try:
        return dt.date.fromisoformat(given.text_of(day) or "")
    except ValueError:
        raise InvalidValue(field, day, "a day like 2024-06-03") from None
