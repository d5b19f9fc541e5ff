"""The disk of a simulated system: the power may fail at any write, and takes what is not durable.

In memory it is a double of :class:`~tradesys.log.file.LogFile`; in a folder it is the real one,
from which a power failure takes the same records, so a seed comes out the same on both.
"""

import os
import random
import shutil
from pathlib import Path

import pyarrow as pa

from tradesys.log.file import LogFile
from tradesys.records.schemas import split_id


class PowerFailure(Exception):
    """The power fails while the disk writes; whatever the system was doing ends there."""


class Disk:
    """What one system has on disk.

    :param folder: the system's folder on a real disk; None keeps all in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.held: dict[Path, list[pa.RecordBatch]] = {}
        self.fails_in: int | None = None
        self.touched = 0
        self.has_power = True
        self._open: list[MemoryFile | RealFile] = []

    def open(self, path: Path, schema: pa.Schema, *, owner: str) -> LogFile:
        """Open a file of this disk (:class:`~tradesys.log.file.OpenFile`)."""
        file: MemoryFile | RealFile = (
            RealFile(path, schema, owner=owner, disk=self)
            if self.folder
            else MemoryFile(path, self)
        )
        self._open.append(file)
        return file

    def touch(self) -> None:
        """Called before each write and each sync.

        :raises PowerFailure: now is when the power fails.
        """
        self.touched += 1
        if self.fails_in is not None:
            self.fails_in -= 1
            if self.fails_in < 0:
                self.has_power = False
                raise PowerFailure

    def fail(self, rng: random.Random) -> None:
        """Take the power away: of each file some of what was not durable stays, or nothing."""
        self.fails_in, self.has_power = None, True
        for file in self._open:
            file.cut(rng.randint(0, file.pending))
        self._open = []

    def lose(self) -> None:
        """Put an empty disk in its place."""
        self.held = {}
        if self.folder:
            shutil.rmtree(self.folder)


class MemoryFile(LogFile):
    """A double of a file: what was synced is on the disk, what was not goes with the power."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path, self.damage = path, None
        self.is_new = path not in disk.held
        self._disk = disk
        self._durable = disk.held.setdefault(path, [])
        self._pending: list[pa.RecordBatch] = []

    @property
    def pending(self) -> int:
        """How many batches are written and not durable."""
        return len(self._pending)

    def stored(self) -> list[pa.RecordBatch]:
        """What is on the disk, one batch for each origin."""
        found: dict[int, list[pa.RecordBatch]] = {}
        for batch in self._durable:
            found.setdefault(split_id(batch.column(0)[0].as_py())[0], []).append(batch)
        return [pa.concat_batches(batches) for batches in found.values()]

    def append(self, batch: pa.RecordBatch) -> None:
        """Write a batch at the end."""
        self._disk.touch()
        self._pending.append(batch)

    def commit(self, batches: list[pa.RecordBatch]) -> None:
        """As :meth:`append`, several batches; durable on return."""
        for batch in batches:
            self.append(batch)
        self.sync()

    def sync(self) -> None:
        """Make everything appended so far durable."""
        self._disk.touch()
        self._durable += self._pending
        self._pending = []

    def holds(self, batch: pa.RecordBatch) -> bool:  # noqa: ARG002
        """What was being written when the power failed is asked of nobody."""
        return False

    def grown(self) -> dict[int, list[pa.RecordBatch]]:
        """Nothing: what is held is shared with this disk anyway."""
        return {}

    def settle(self) -> None:
        """Nothing is ever damaged here."""

    def close(self) -> None:
        """Leave everything durable."""
        self._durable += self._pending
        self._pending = []

    def cut(self, kept: int) -> None:
        """The power is gone: of what was not durable, so many batches are found again."""
        self._durable += self._pending[:kept]


class RealFile(LogFile):
    """A real file, from which a power failure takes what was not durable."""

    def __init__(self, path: Path, schema: pa.Schema, *, owner: str, disk: Disk) -> None:
        self._disk: Disk | None = None
        self._ends: list[int] = []
        super().__init__(path, schema, owner=owner)
        self._durable_end = self._end
        self._disk = disk

    @property
    def pending(self) -> int:
        """How many batches are written and not durable."""
        return len(self._ends)

    def _write(self, data: memoryview, at: int) -> None:
        if self._disk:
            self._disk.touch()
        self._ends.append(at + len(data))
        super()._write(data, at)

    def _take_back(self, size: int) -> bool:
        """Without power nothing is taken back: some of what was written may be found again."""
        has_power = self._disk is None or self._disk.has_power
        return has_power and super()._take_back(size)

    def sync(self) -> None:
        """Make everything appended so far durable."""
        if self._disk:
            self._disk.touch()
        super().sync()
        if self._ends:
            self._durable_end = self._ends[-1]
            self._ends = []

    def cut(self, kept: int) -> None:
        """The power is gone: of what was not durable, so many batches are found again."""
        end = self._ends[kept - 1] if kept else self._durable_end
        fd, self._fd = self._fd, -1
        os.ftruncate(fd, end)
        os.close(fd)
