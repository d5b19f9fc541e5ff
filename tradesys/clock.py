"""Time, handed in: no system reads the wall clock by itself."""

import datetime as dt
import time
from collections.abc import Callable

from tradesys import given
from tradesys.errors import InvalidValue

Clock = Callable[[], int]
"""Gives the time in nanoseconds since 1970, UTC."""

wall_clock: Clock = time.time_ns

MS = 1_000_000
"""A millisecond, in ns."""


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


Time = int | str | dt.datetime
"""A time: ns since 1970, text like ``"2024-06-03T13:30:00.5Z"``, or a datetime with a zone."""


def to_ns(time: object, field: str = "time") -> int:
    """A time in ns since 1970, UTC. Text without a zone is UTC.

    :param field: what the time is, for the error.
    :raises InvalidValue: the text is no time, the datetime has no zone, or it is something else.
    """
    expected = "a time: text like 2024-06-03T13:30:00Z, a datetime with a zone, or ns since 1970"
    if hasattr(type(time), "__index__"):
        return given.whole(field, time, 0, of="ns since 1970")
    moment: object = time
    if isinstance(time, str):
        try:
            moment = dt.datetime.fromisoformat(time)
        except ValueError:
            raise InvalidValue(field, time, expected) from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    if not isinstance(moment, dt.datetime) or moment.tzinfo is None:
        raise InvalidValue(field, time, expected)
    since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def to_date(day: object, field: str = "day") -> dt.date:
    """A day from a date, or from text like ``"2024-06-03"``.

    :raises InvalidValue: it is neither.
    """
    if isinstance(day, dt.date) and not isinstance(day, dt.datetime):
        return day
    try:
        return dt.date.fromisoformat(str(day) if isinstance(day, str) else "")
    except ValueError:
        raise InvalidValue(field, day, "a day like 2024-06-03") from None
