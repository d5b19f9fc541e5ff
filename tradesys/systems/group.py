"""Group commit: rows that wait at the same time become durable together, with one fdatasync.

Whoever comes while nothing is being written writes at once; those who come meanwhile are written
together by the first of them to get its turn.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, RLock

from tradesys.log import Row


@dataclass(slots=True, eq=False)
class Group:
    """Rows that are written together. ``error`` is what kept them from being written, if any."""

    rows: list[Row] = field(default_factory=list)
    done: bool = False
    error: BaseException | None = None
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = field(
        default_factory=dict
    )


class GroupCommit:
    """Writes rows in groups: ``stage`` under the owner's lock, then ``commit`` without it.

    :param write: makes rows durable; called without the owner's lock, so that others can stage.
    :param take: makes rows that are durable part of the table; called under the lock.
    :param drop: forgets all that was staged, which the disk refused; called under the lock.
    """

    def __init__(
        self,
        write: Callable[[list[Row]], None],
        take: Callable[[list[Row]], None],
        drop: Callable[[], None],
        lock: RLock,
    ) -> None:
        self.pending = 0
        self._write = write
        self._take = take
        self._drop = drop
        self._lock = lock
        self._turn = Lock()
        self._open = Group()

    def stage(self, row: Row) -> Group:
        """Put a row among those that are written next; until then it is ``pending``."""
        self.pending += 1
        self._open.rows.append(row)
        return self._open

    def commit(self, group: Group) -> None:
        """Return when the rows of a group are durable.

        :raises StorageError: the disk refused; none of the group's rows was written.
        """
        if not group.done:
            with self._turn:
                if not group.done:
                    self._write_open()
        if group.error is not None:
            raise group.error

    def committed(self, group: Group) -> Awaitable[None]:
        """As :meth:`commit`, among tasks of an event loop: those that are ready go together."""
        loop = asyncio.get_running_loop()
        waiting = group.waiting.get(loop)
        if waiting is None:
            waiting = group.waiting[loop] = []
            loop.call_soon(self._commit_for, group, loop)
        future = loop.create_future()
        waiting.append(future)
        return future

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nothing is pending, and nobody else writes, until this ends."""
        with self._turn:
            self._lock.acquire()
            try:
                while self._open.rows:
                    self._lock.release()
                    self._write_open()
                    self._lock.acquire()
                yield
            finally:
                self._lock.release()

    def _commit_for(self, group: Group, loop: asyncio.AbstractEventLoop) -> None:
        with self._turn:
            if not group.done:
                self._write_open()
        for future in group.waiting.pop(loop):
            if future.done():  # a task may have been canceled; its order is written
                continue
            if group.error is None:
                future.set_result(None)
            else:
                future.set_exception(group.error)

    def _write_open(self) -> None:
        with self._lock:
            group, self._open = self._open, Group()
        try:
            self._write(group.rows)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the group raises it
            with self._lock:
                # What was staged since then is numbered after rows that are not there.
                later, self._open = self._open, Group()
                for failed in (group, later):
                    failed.error, failed.done = error, True
                self.pending = 0
                self._drop()
            return
        with self._lock:
            self._take(group.rows)
            self.pending -= len(group.rows)
            group.done = True
