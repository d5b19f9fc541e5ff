"""Time, handed in: no system reads the wall clock by itself."""

import time
from collections.abc import Callable

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
