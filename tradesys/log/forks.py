"""What has files is one process's: a fork of that process is refused, whatever it asks.

Two processes that write one file would give ids twice, and what one acknowledged the other would
overwrite. What is all in memory is copied by a fork, and goes on in both.
"""

import os
from typing import Any, NoReturn, Protocol
from weakref import WeakSet

from tradesys.records.errors import SystemDown


class Forked(Protocol):
    """What has files of one process."""

    def leave(self) -> None:
        """Let go of everything in a forked process, and change nothing of the files."""


class _Refused:
    """Stands in a fork where a lock or records were: whatever is done with it is refused."""

    def _refuse(self, *_: object) -> NoReturn:
        raise SystemDown(
            "this process is a fork of the one that opened the network, and its files are that "
            "one's: ask there, or close it before forking and open the folder in one process alone"
        )

    __enter__ = __exit__ = __iter__ = __len__ = __contains__ = __getitem__ = _refuse
    __getattr__ = _refuse


REFUSED: Any = _Refused()
"""In the place of what a forked process may not use."""

_open: WeakSet[Forked] = WeakSet()


def leave_if_forked(each: Forked) -> None:
    """Have something with files let go of them in every process that is forked of this one."""
    _open.add(each)


def _leave() -> None:
    while _open:
        _open.pop().leave()


os.register_at_fork(after_in_child=_leave)
