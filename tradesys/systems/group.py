"""Group commit: what waits at the same time becomes durable together, with one fdatasync.

Whoever comes while nothing is being written writes at once; those who come meanwhile are written
together by the first of them to get its turn.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, RLock

import pyarrow as pa

from tradesys.errors import StorageError
from tradesys.log import Part, Row


@dataclass(slots=True, eq=False)
class Group:
    """What is written together. ``error`` is what kept it from being written, if anything did."""

    parts: list[Part] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)  # those since the last batch, which are a part
    records: int = 0
    done: bool = False
    error: BaseException | None = None
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = field(
        default_factory=dict
    )


class GroupCommit:
    """Writes in groups: ``stage`` under the owner's lock, then ``commit`` without it.

    :param write: makes rows and batches durable, all or none; called without the owner's lock, so
        that others can stage.
    :param take: makes what is durable part of the table; called under the lock.
    :param drop: forgets all that was staged, which the disk refused; called under the lock.
    """

    def __init__(
        self,
        write: Callable[[list[Part]], None],
        take: Callable[[list[Part]], None],
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
        """Put a row among what is written next; until then it is ``pending``."""
        group = self._open
        if not group.rows:
            group.parts.append(group.rows)
        group.rows.append(row)
        group.records += 1
        self.pending += 1
        return group

    def stage_batch(self, batch: pa.RecordBatch) -> Group:
        """As :meth:`stage`, a batch; of an empty one the group is what was staged before it."""
        group = self._open
        if batch.num_rows:
            group.parts.append(batch)
            group.rows = []
            group.records += batch.num_rows
            self.pending += batch.num_rows
        return group

    def commit(self, group: Group) -> None:
        """Return when a group is durable.

        :raises StorageError: the disk refused; nothing of the group was written.
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
                while self._open.parts:
                    self._lock.release()
                    self._write_open()
                    self._lock.acquire()
                yield
            finally:
                self._lock.release()

    def _commit_for(self, group: Group, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with self._turn:
                if not group.done:
                    self._write_open()
        finally:
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
            if group.parts:
                self._write(group.parts)
        except BaseException as error:
            # An interrupt is the writer's own; for the others the write has failed.
            own = not isinstance(error, Exception)
            why = StorageError(f"the write was interrupted: {error!r}") if own else error
            with self._lock:
                # What was staged since then is numbered after rows that are not there.
                later, self._open = self._open, Group()
                for failed in (group, later):
                    failed.error, failed.done = why, True
                self.pending = 0
                self._drop()
            if own:
                raise
            return
        with self._lock:
            self._take(group.parts)
            self.pending -= group.records
            group.done = True
