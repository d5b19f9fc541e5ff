"""A dataset's records at one system, on disk: segments of Arrow streams that any reader opens.

``requests.arrows`` is written to; when it is full it is sealed as ``requests.000001.arrows``, and
rewritten in large batches, which open fast and cost no memory until they are read. Everything is
verified when it is opened. What does not verify is never handed out: a torn end is cut, a damaged
file is set aside, and ``damage`` says so.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import NamedTuple

import pyarrow as pa
from blake3 import blake3

from tradesys import arrivals, segments
from tradesys.arrivals import Arrival, Arrivals, arrival_of
from tradesys.errors import StorageError
from tradesys.framing import END_OF_STREAM, NO_HEAD, Framing
from tradesys.log import Row
from tradesys.records import split_id
from tradesys.segments import Reading, arrivals_path, sealed_path

SEGMENT_BYTES = 256 * 1024 * 1024
"""A segment that has reached this size is sealed."""

COMPACT_ROWS = 100_000
"""How many rows a batch of a compacted segment has at most."""

_TINY_RUNS = 10_000  # a segment of so many runs is compacted when the file is closed
_ZEROS = bytes(256 * 1024)
_MOST_AHEAD = 2 * 1024 * 1024
_ARRIVALS = Framing(arrivals.SCHEMA)

ReadRun = Callable[[int, int, int], pa.RecordBatch]
"""Gives records of an origin: its 16-bit code, the position of the first, how many."""


class Stored(NamedTuple):
    """A batch as it was read back, and when its holder received it (ns since 1970)."""

    received_at: int
    batch: pa.RecordBatch


@dataclass(frozen=True)
class Damage:
    """What did not verify when a file was opened, and where its bytes are kept.

    ``torn`` says that it can be the unfinished end of a last write, which was never acknowledged;
    otherwise bytes have changed after they were written.
    """

    path: Path
    offset: int
    reason: str
    torn: bool
    aside: Path


class LogFile:
    """The file of one dataset at one system: appended to, made durable, sealed, read back.

    ``append`` writes, ``sync`` makes durable: what was appended before a ``sync`` that returned is
    there after a crash. Batches of several origins follow each other in the order in which they
    were received, so what the system knew at a time is a prefix (``arrivals``).
    """

    def __init__(
        self, path: Path, schema: pa.Schema, *, owner: str = "", segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """Open or create the file; what it held is then given by :meth:`stored`.

        :param owner: whose file it is; the file of another is taken for damaged.
        :raises StorageError: the disk refused, or a later version wrote the file.
        """
        self.path = path
        self.schema = schema
        self.arrivals = Arrivals()
        self.damage: Damage | None = None
        self.salvaged: list[Stored] = []
        self.is_new = False
        self._owner = owner
        self._segment_bytes = segment_bytes
        self._framing = Framing(schema)
        self._sealed = 0
        self._arrived_before = 0
        self._previous = NO_HEAD
        self._position = self._zeroed = 0
        self._head = self.synced_head = NO_HEAD
        self._fd = -1
        self._lock = RLock()  # one's own rows and those of others may come at the same time
        self._read: list[Reading] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise storage_error(path, error) from error

    @property
    def head(self) -> bytes:
        """The digest of the last message: it stands for the whole file before it."""
        return self._head

    @property
    def is_full(self) -> bool:
        """Whether the segment that is written to should be sealed."""
        return self._position >= self._segment_bytes

    def stored(self) -> Iterator[Stored]:
        """What the file held when it was opened, verified, in the order it was received.

        Records of a compacted segment come by origin.
        """
        readings, self._read = self._read, []
        for reading in readings:
            for message in reading.messages:
                yield Stored(message.received_at, self._framing.batch(message))

    def append(
        self,
        batch: pa.RecordBatch,
        received_at: int,
        *,
        durable: bool = False,
        origin_head: bytes = NO_HEAD,
    ) -> None:
        """Write a batch at the end. It is durable on return, or once :meth:`sync` has returned.

        :param origin_head: the digest that the records' origin had reached when they were fetched.
        :raises StorageError: the disk refused; the file is as it was before.
        """
        with self._lock:
            message, head = self._framing.frame(batch, received_at, self._head, origin_head)
            self._append(message, head, durable=durable)
            self.arrivals.append(arrival_of(batch, received_at, head, origin_head))

    def append_row(self, row: Row, received_at: int) -> None:
        """As :meth:`append`, one row of one's own; it is durable on return."""
        with self._lock:
            message, head = self._framing.frame_row(row, received_at, self._head)
            self._append(message, head, durable=True)
            code, start = split_id(row[0])
            self.arrivals.append(Arrival(received_at, code, start, 1, head))

    def _append(self, message: bytearray, head: bytes, *, durable: bool) -> None:
        try:
            self._write(message)
            if durable:
                self.sync()
        except StorageError:
            # What may have been written of it must be no record when the file is opened again.
            with suppress(OSError):
                os.pwrite(self._fd, bytes(len(message)), self._position)
            raise
        self._position += len(message)
        self._head = head
        if durable:
            self.synced_head = head

    def sync(self) -> None:
        """Make everything appended so far durable (``fdatasync``)."""
        with self._lock:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                raise storage_error(self.path, error) from error
            self.synced_head = self._head

    def seal(self, read: ReadRun) -> None:
        """Seal the segment that is written to, compact it, and begin the next.

        A crash at any point leaves what the next opening finishes.
        """
        with self._lock:
            self._seal(read)

    def _seal(self, read: ReadRun) -> None:
        self._finish()
        sealed = sealed_path(self.path, self._sealed + 1)
        try:
            self.path.rename(sealed)
            sync_file(self.path.parent)
            self._compact(sealed, read)
            self._begin()
        except OSError as error:
            raise storage_error(self.path, error) from error

    def close(self, read: ReadRun | None = None) -> None:
        """End the stream, give back the space held ahead, make it durable and close the file.

        :param read: where records can be had, a segment of very many runs is compacted.
        """
        if self._fd < 0:
            return
        if read and self.arrivals.count - self._arrived_before >= _TINY_RUNS:
            self.seal(read)
        self._finish()

    def _finish(self) -> None:
        try:
            os.pwrite(self._fd, END_OF_STREAM, self._position)
            os.ftruncate(self._fd, self._position + len(END_OF_STREAM))
            self.sync()
            os.close(self._fd)
        except OSError as error:
            raise storage_error(self.path, error) from error
        self._fd = -1

    def _write(self, data: bytes | bytearray) -> None:
        end = self._position + len(data)
        try:
            # Blocks of zeros ahead: a later fdatasync then has no new file size to write. A zero
            # length reads as end-of-stream, so the file is a whole Arrow stream at any moment.
            if self._zeroed < end:
                self._write_zeros(end)
            if os.pwrite(self._fd, data, self._position) != len(data):
                raise StorageError(f"{self.path}: the disk took only part of {len(data):,} bytes")
        except OSError as error:
            raise storage_error(self.path, error) from error

    def _write_zeros(self, end: int) -> None:
        """Write zeros ahead, up to ``end`` and beyond: the more, the larger the file already is.

        Where there is no room for them, there may still be room for the data.
        """
        with suppress(OSError):
            while self._zeroed < end + self._position // 4:
                self._zeroed += os.pwrite(self._fd, _ZEROS, max(self._zeroed, self._position))
                if self._zeroed - end > _MOST_AHEAD:
                    return

    # ---- opening

    def _open(self) -> None:
        """Read all segments back; go on after the last, or after what is whole before damage."""
        while (sealed := sealed_path(self.path, self._sealed + 1)).exists():
            reading = segments.read(sealed, self._framing, self._owner, self._previous)
            if reading.problem:
                self._start_over(reading)
                return
            self._take(reading)
            if reading.arrivals is None:
                # A crash came between sealing it and compacting it.
                self._compact(sealed, self._reader_of(reading))
            else:
                self._previous = reading.head
                self._sealed += 1
                self._arrived_before = self.arrivals.count
        if not self.path.exists():
            self.is_new = not self._sealed
            self._begin()
            return
        reading = segments.read(self.path, self._framing, self._owner, self._previous)
        if reading.problem and not self._is_torn(reading):
            self._start_over(reading)
            return
        self._take(reading)
        if reading.end:
            self._resume(reading)
        else:
            self.is_new = not self._sealed
            self._begin()

    def _is_torn(self, reading: Reading) -> bool:
        """Whether the file only ends in an unfinished write; its bytes are then kept aside."""
        rest = segments.salvage(self.path, self._framing, reading.end)
        if not reading.may_be_torn or next(rest, None) is not None:
            return False
        aside = _aside(self.path, "torn")
        aside.write_bytes(reading.raw[reading.end :])
        self.damage = Damage(self.path, reading.end, str(reading.problem), torn=True, aside=aside)
        return True

    def _take(self, reading: Reading) -> None:
        """Count what was read as held."""
        self._read.append(reading)
        if reading.arrivals is not None:
            self.arrivals.extend(reading.arrivals)
            return
        for message in reading.messages:
            batch = self._framing.batch(message)
            heads = message.head, message.origin_head
            self.arrivals.append(arrival_of(batch, message.received_at, *heads))

    def _begin(self) -> None:
        """Make the segment that is written to; on return its name is durable too."""
        start = segments.plain_header(self.schema, self._owner, self._previous)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self._position = self._zeroed = 0
        self._write(start)
        self._position = len(start)
        self._head = blake3(start).digest()
        self.sync()
        sync_file(self.path.parent)

    def _resume(self, reading: Reading) -> None:
        """Go on writing after what was read."""
        self._fd = os.open(self.path, os.O_RDWR)
        os.ftruncate(self._fd, reading.end)
        self._position = self._zeroed = reading.end
        self._head = self.synced_head = reading.head

    def _start_over(self, reading: Reading) -> None:
        """Set damaged files aside; what is whole of them is kept, in a new file or to be fitted in.

        Records before the damage stay. Those after it are ``salvaged``: they fit in again once
        what is missing between has been fetched from a peer.
        """
        files, number = [reading.path], self._sealed + 2
        if reading.path != self.path:
            while (later := sealed_path(self.path, number)).exists():
                files.append(later)
                number += 1
            files.append(self.path)
        for file in filter(Path.exists, files):
            offset = reading.end if file == reading.path else 0
            for message in segments.salvage(file, self._framing, offset):
                self.salvaged.append(Stored(message.received_at, self._framing.batch(message)))
            aside = _aside(file, "damaged")
            file.rename(aside)
            if self.damage is None:
                reason = str(reading.problem)
                self.damage = Damage(file, reading.end, reason, torn=False, aside=aside)
        self._begin()
        for m in reading.messages:
            self.append(self._framing.batch(m), m.received_at, origin_head=m.origin_head)
        self.sync()
        kept = segments.read(self.path, self._framing, self._owner, self._previous)
        self._read.append(kept)

    # ---- compacting

    def _compact(self, sealed: Path, read: ReadRun) -> None:
        """Rewrite the last sealed segment in large batches, with its arrivals beside it.

        The new files take their place one after the other, the segment last: until then the
        segment that was sealed is there, and says all that it said.
        """
        runs = self.arrivals.runs(self._arrived_before)
        received_at = self.arrivals[self.arrivals.count - 1].received_at if runs else 0
        start = segments.compacted_header(self.schema, self._owner, self._previous)
        batches = (
            read(code, at, min(COMPACT_ROWS, first + rows - at))
            for code, (first, rows) in runs.items()
            for at in range(first, first + rows, COMPACT_ROWS)
        )
        written = sealed.with_suffix(".new")
        head = _write_stream(written, start, self._framing, batches, received_at)
        start = segments.arrivals_header(self._owner, self._previous, head)
        of_arrivals = arrivals_path(sealed)
        beside = of_arrivals.with_suffix(".new")
        each = [self.arrivals.batch(self._arrived_before)] if runs else []
        self._previous = _write_stream(beside, start, _ARRIVALS, iter(each), received_at)
        beside.rename(of_arrivals)
        written.rename(sealed)
        sync_file(self.path.parent)
        self._sealed += 1
        self._arrived_before = self.arrivals.count

    def _reader_of(self, reading: Reading) -> ReadRun:
        """Reads the runs of a plain segment from its own messages."""
        found: dict[int, list[pa.RecordBatch]] = {}
        first: dict[int, int] = {}
        for message in reading.messages:
            batch = self._framing.batch(message)
            code, start = split_id(batch.column(0)[0].as_py())
            found.setdefault(code, []).append(batch)
            first.setdefault(code, start)
        whole = {code: pa.concat_batches(batches) for code, batches in found.items()}
        return lambda code, start, rows: whole[code].slice(start - first[code], rows)


def _write_stream(
    path: Path, start: bytes, framing: Framing, batches: Iterator[pa.RecordBatch], received_at: int
) -> bytes:
    """Write a whole file, durable on return; gives the digest that it ends with."""
    head = blake3(start).digest()
    with path.open("wb") as file:
        file.write(start)
        for batch in batches:
            message, head = framing.frame(batch, received_at, head)
            file.write(message)
        file.write(END_OF_STREAM)
        file.flush()
        os.fsync(file.fileno())
    return head


def _aside(path: Path, word: str) -> Path:
    """A name beside the file that is not taken yet."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}.{word}")).exists():
        number += 1
    return aside


def sync_file(path: Path) -> None:
    """Make a file durable, or the names in a folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def storage_error(path: Path, error: OSError) -> StorageError:
    """The error of the disk as one of ours; one of ours stays as it is."""
    if isinstance(error, StorageError):
        return error
    return StorageError(f"{path}: {error.strerror or error}")
