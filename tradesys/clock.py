"""Time, handed in: no system reads the wall clock by itself."""

import datetime as dt
import time
from collections.abc import Callable

from tradesys.errors import InvalidValue

Clock = Callable[[], int]
"""Gives the time in nanoseconds since 1970, UTC."""

wall_clock: Clock = time.time_ns


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


def to_ns(time: Time, field: str = "time") -> int:
    """A time in ns since 1970, UTC. Text without a zone is UTC.

    :param field: what the time is, for the error.
    :raises InvalidValue: the text is no time, or the datetime has no zone.
    """
    if isinstance(time, int) and not isinstance(time, bool):
        return time
    if isinstance(time, str):
        try:
            parsed = dt.datetime.fromisoformat(time)
        except ValueError:
            raise InvalidValue(field, time, "a time like 2024-06-03T13:30:00Z") from None
        time = parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
    if not isinstance(time, dt.datetime) or time.tzinfo is None:
        raise InvalidValue(field, time, "a time with a zone, like 2024-06-03T13:30:00Z")
    since = time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
