"""A network is one process's: a fork of that process is refused, whatever it asks.

Two processes that write one file would give ids twice, and what one acknowledged the other would
overwrite. In memory it is no better: a lock that another thread holds stays held in a fork for
ever, and polars does not survive one.
"""

import os
from typing import Any, NoReturn, Protocol
from weakref import WeakSet

from tradesys.records.errors import SystemDown


class Forked(Protocol):
    """What is one process's."""

    def leave(self) -> None:
        """Let go of everything in a forked process, and change nothing of any file."""


class _Refused:
    """Stands in a fork where a lock or records were: whatever is done with it is refused."""

    def _refuse(self, *_: object) -> NoReturn:
        raise SystemDown(
            "this process is a fork of the one that opened the network, which is that one's: ask "
            "there, or close it before forking and open its folder in one process alone"
        )

    __enter__ = __exit__ = __iter__ = __len__ = __contains__ = __getitem__ = _refuse

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # Python asks whether it is there
            raise AttributeError(name)
        self._refuse()


REFUSED: Any = _Refused()
"""In the place of what a forked process may not use."""

_open: WeakSet[Forked] = WeakSet()


def leave_if_forked(each: Forked) -> None:
    """Have something be let go of in every process that is forked of this one."""
    _open.add(each)


def _leave() -> None:
    while _open:
        _open.pop().leave()


os.register_at_fork(after_in_child=_leave)
