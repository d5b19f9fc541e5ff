"""What has files is one process's: a fork of that process is refused, whatever it asks.

Two processes that write one file would give ids twice, and what one acknowledged the other would
overwrite. What is all in memory is copied by a fork, and goes on in both, unless another thread was
in the middle of changing it: its locks would stay held for ever.
"""

import os
from collections.abc import Iterable
from threading import RLock
from typing import Any, NoReturn, Protocol
from weakref import WeakSet

from tradesys.records.errors import SystemDown


class Forked(Protocol):
    """What has files of one process."""

    def leave(self) -> None:
        """Let go of everything in a forked process, and change nothing of the files."""


class Copied(Forked, Protocol):
    """What is all in memory, and its locks."""

    def locks(self) -> Iterable[RLock]:
        """Those that whoever changes it holds."""


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
_copied: WeakSet[Copied] = WeakSet()


def leave_if_forked(each: Forked) -> None:
    """Have something with files let go of them in every process that is forked of this one."""
    _open.add(each)


def leave_if_stuck(each: Copied) -> None:
    """Have something in memory be refused in a fork that another thread was changing it in."""
    _copied.add(each)


def _leave() -> None:
    while _open:
        _open.pop().leave()
    for each in _copied:
        if not all(map(_is_free, each.locks())):
            each.leave()


def _is_free(lock: RLock) -> bool:
    """Whether a lock is held by no thread that there is not in this process."""
    is_free = lock.acquire(blocking=False)
    if is_free:
        lock.release()
    return is_free


os.register_at_fork(after_in_child=_leave)
