"""Ctrl-C, held back while something must be done whole.

Python raises ``KeyboardInterrupt`` in the main thread, between any two steps of whatever it does
there. Within :class:`uninterrupted` it waits until the end, and then says what became of the work.
"""

# What ``signal`` wraps: to make enumerations of handlers takes it 50 times as long.
import _signal  # type: ignore[import-not-found]
import sys
from collections.abc import Callable
from threading import current_thread, main_thread
from typing import Any


class uninterrupted:  # noqa: N801 - used like a function
    """Ctrl-C waits until this ends; within another one, until that ends.

    Other threads are never interrupted, so there it does nothing. The interrupt is then raised with
    a note that says whether the work happened.

    >>> with uninterrupted():
    ...     write()
    """

    __slots__ = ("_before",)
    _waits = False

    def __enter__(self) -> None:
        self._before: Callable[[int, Any], Any] | None = None
        if current_thread() is main_thread():
            before = _signal.getsignal(_signal.SIGINT)
            if callable(before) and before is not _hold:
                self._before = before
                _signal.signal(_signal.SIGINT, _hold)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._before is None:
            return
        _signal.signal(_signal.SIGINT, self._before)
        if uninterrupted._waits:
            uninterrupted._waits = False
            try:
                self._before(_signal.SIGINT, sys._getframe())  # noqa: SLF001 - what a handler is given
            except BaseException as interrupt:
                done = "did not happen" if kind else "happened"
                interrupt.add_note(
                    f"it waited until the step in hand was over, which {done}; "
                    "what takes many steps (run, end_of_day) goes on when it is called again"
                )
                raise


def _hold(*_: object) -> None:
    uninterrupted._waits = True  # noqa: SLF001 - of this module
