"""Group commit: what waits at the same time becomes durable together, with one fdatasync.

Whoever comes while nothing is being written writes at once; those who come meanwhile are written
together by the first of them to get its turn.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from tradesys.log.ctrl_c import uninterrupted
from tradesys.records.errors import StorageError

Row = tuple[Any, ...]
"""The values of a record, in the order of its schema."""

Part: TypeAlias = list[Row] | pa.RecordBatch
"""Records of one origin that follow on, as they came: rows one by one, or a batch."""


@dataclass(slots=True, eq=False)
class Group:
    """What is written together. ``error`` is what kept it from being written, if anything did.

    ``batches`` is what it is written as, once it is to be.
    """

    parts: list[Part] = field(default_factory=list)
    batches: list[pa.RecordBatch] | None = None
    rows: list[Row] = field(default_factory=list)  # those since the last batch, which are a part
    done: bool = False
    error: BaseException | None = None
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = field(
        default_factory=dict
    )

    @property
    def next_id(self) -> int | None:
        """The id that follows on from the last of its records; None if it has none."""
        last = next((part for part in reversed(self.parts) if len(part)), None)
        if last is None:
            return None
        found: int = last[-1][0] if isinstance(last, list) else last.column(0)[-1].as_py()
        return found + 1


class Owner(Protocol):
    """Whose records are written: a system, or a stand-in for one."""

    lock: RLock

    def stamp(self, dataset: str, parts: list[Part]) -> list[pa.RecordBatch]:
        """These records as they are held when they are received now."""

    def write(self, dataset: str, batches: list[pa.RecordBatch]) -> None:
        """Make stamped records durable, all or none; called without the lock."""

    def is_written(self, dataset: str, batches: list[pa.RecordBatch]) -> bool:
        """Whether they are, after a write that was interrupted."""

    def take(self, dataset: str, batches: list[pa.RecordBatch]) -> None:
        """Make what is durable part of the table; called under the lock, safe to repeat."""

    def drop(self, dataset: str) -> None:
        """Forget what followed from records that were not written; called under the lock."""


class GroupCommit:
    """Writes in groups: ``stage`` under the owner's lock, then ``commit`` without it.

    A write that was interrupted anywhere is done again by whoever writes next: writing and taking
    what is there already changes nothing.

    :param turn: whose turn it is to write; held while the disk works, the owner's lock is not.
    """

    def __init__(self, owner: Owner, dataset: str, turn: RLock) -> None:
        self._owner, self._dataset = owner, dataset
        self._turn, self._lock = turn, owner.lock
        self.open = Group()  # what is written next
        self._writing: Group | None = None

    @property
    def next_id(self) -> int | None:
        """The id that follows on from what is not part of the table yet; None if all is."""
        return self.open.next_id or (self._writing.next_id if self._writing else None)

    @property
    def staged(self) -> list[Part]:
        """Records that have their ids, and are not part of the table yet."""
        groups = dict.fromkeys(group for group in (self._writing, self.open) if group)
        return [part for group in groups for part in group.parts if len(part)]

    def stage(self, row: Row) -> Group:
        """Put a row among what is written next."""
        group = self.open
        if not group.parts or group.parts[-1] is not group.rows:
            group.parts.append(group.rows)
        group.rows.append(row)
        return group

    def stage_batch(self, batch: pa.RecordBatch) -> Group:
        """As :meth:`stage`, a batch; of an empty one the group is what was staged before it."""
        group = self.open
        if batch.num_rows:
            group.rows = []
            group.parts.append(batch)
        return group

    def commit(self, group: Group) -> None:
        """Return when a group is durable.

        :raises StorageError: the disk refused; nothing of the group was written.
        """
        if not group.done:
            with self._turn:
                while not group.done:
                    self._write_next()
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

    def flush(self) -> None:
        """Write what is staged, and what an interrupt has left behind."""
        if self._has_more:
            with self.alone():
                pass

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nothing is staged, and nobody else writes or stages, until this ends."""
        with self._turn:
            while True:
                with self._lock:
                    if not self._has_more:
                        yield
                        return
                self._write_next()

    @property
    def _has_more(self) -> bool:
        return self._writing is not None or bool(self.open.parts)

    def _commit_for(self, group: Group, loop: asyncio.AbstractEventLoop) -> None:
        try:
            with uninterrupted(), self._turn:
                while not group.done:
                    self._write_next()
        finally:
            for future in group.waiting.pop(loop):
                if future.done():  # a task may have been canceled; its order is written
                    continue
                if group.error is None:
                    future.set_result(None)
                else:
                    future.set_exception(group.error)

    def _write_next(self) -> None:
        """Write what an interrupted writer had in hand or, without one, what is staged."""
        with self._lock:
            if self._writing is None:
                self._writing = self.open
            if self.open is self._writing:
                self.open = Group()
            group = self._writing
        broke: BaseException | None = None
        try:
            if group.batches is None:
                parts = [part for part in group.parts if len(part)]
                group.batches = self._owner.stamp(self._dataset, parts)
            if group.batches:
                self._owner.write(self._dataset, group.batches)
        except BaseException as error:
            broke = error
            if not (group.batches and self._owner.is_written(self._dataset, group.batches)):
                self._give_up(group, error)
                if not isinstance(error, Exception):
                    raise
                return
        with self._lock:
            self._owner.take(self._dataset, group.batches)
            group.done = True
            self._writing = None
        if broke:
            broke.add_note("what was in hand is written: it happened")
            raise broke

    def _give_up(self, group: Group, error: BaseException) -> None:
        """A group is not written; what was staged since is numbered after rows not there."""
        # An interrupt is the writer's own; for the others the write has failed.
        own = not isinstance(error, Exception)
        why = StorageError(f"the write was interrupted: {error!r}") if own else error
        with self._lock:
            for failed in (group, self.open):
                failed.error, failed.done = why, True
            self.open, self._writing = Group(), None
            self._owner.drop(self._dataset)
