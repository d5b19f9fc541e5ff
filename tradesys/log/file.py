"""A dataset's records at one system, on disk: segments of Arrow streams that any reader opens.

``requests.arrows`` is written to; when it is full its records are rewritten in large batches as
``requests.000001.arrows``, which opens fast and costs no memory until it is read. Everything is
verified when it is opened. What does not verify is never handed out: a torn end is cut, a damaged
file is set aside, and ``damage`` says so.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from tradesys.log import segments
from tradesys.log.arrivals import Arrival, Arrivals, arrival_of, runs
from tradesys.log.compaction import ReadRun, compact
from tradesys.log.disk import (
    copy_from,
    disk_errors,
    in_making,
    make_folder,
    name_aside,
    put_in_place,
    require_at,
    require_kept,
    sync_data,
    write_all,
)
from tradesys.log.forks import leave_if_forked
from tradesys.log.formats import FORMAT
from tradesys.log.framing import END_OF_STREAM, NO_HEAD, framing_of
from tradesys.log.log import Part, first_id
from tradesys.log.segments import Reading, arrivals_path, sealed_path
from tradesys.records.errors import DamagedError, GapError, Outcome, StorageError
from tradesys.records.schemas import format_id, make_id, split_id

SEGMENT_BYTES = 256 * 1024 * 1024
"""A segment that has reached this size is sealed."""

SEGMENT_RUNS = 16_384
"""A segment of so many runs is sealed too: they are what takes time when it is opened."""

_TINY_RUNS = 1_000  # a segment of so many is sealed when the file is closed
_TOGETHER_ROWS = 4096
_COARSE_ROWS = 512  # a segment with so many in a batch, on average, opens fast as it is
_ZEROS = bytes(256 * 1024)


@dataclass(frozen=True)
class Damage:
    """What did not verify when a file was opened, and where its bytes are kept.

    ``torn`` says that it can be the unfinished end of a last write, which was never acknowledged;
    otherwise bytes have changed after they were written. ``aside`` has them once the file is
    settled (:meth:`LogFile.settle`).
    """

    path: Path
    offset: int
    reason: str
    torn: bool
    aside: Path


class Ahead(NamedTuple):
    """What an append has come to: written whole, and going to be true of the file.

    One that is interrupted between the two is made true by whoever comes next.
    """

    position: int
    head: bytes
    durable: bool
    arrived: list[Arrival]
    after: int  # so many runs


class LogFile:
    """The file of one dataset at one system: appended to, made durable, sealed, read back.

    ``append`` writes, ``sync`` makes durable, ``commit`` does both: what was appended before a
    ``sync`` that returned is there after a crash. Batches of several origins follow each other in
    the order in which they were received, so what the system knew at a time is a prefix
    (``arrivals``).
    """

    _fd = -1

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        *,
        owner: str = "",
        segment_bytes: int = SEGMENT_BYTES,
        mends: bool = True,
    ) -> None:
        """Open or create the file; what it held is then given by :meth:`stored`.

        :param owner: whose file it is; the file of another is taken for damaged.
        :param mends: whether a damaged file is set aside and begun anew.
        :raises StorageError: the disk refused, or a later version wrote the file.
        :raises DamagedError: it is damaged, or the ids of an origin do not follow on, and it is
            not to be mended; it stays as it is.
        """
        self.path = path
        self.schema = schema
        self.arrivals = Arrivals()
        self.damage: Damage | None = None
        self.salvaged: list[pa.RecordBatch] = []
        self.is_new = False
        self._owner = owner
        self._mends = mends
        self._segment_bytes = self._full_bytes = segment_bytes
        self._full_runs = SEGMENT_RUNS
        self._framing = framing_of(schema)
        self._sealed = 0
        self._arrived_before = 0
        self._previous = NO_HEAD
        self._position = self._zeroed = 0
        self._head = self._reached = self.synced_head = NO_HEAD
        self._ahead: Ahead | None = None
        self._counts: dict[int, int] | None = None
        self._lock = RLock()  # one's own rows and those of others may come at the same time
        self._held: list[pa.RecordBatch] = []
        self._spoiled: list[Path] = []
        with disk_errors(path):
            make_folder(path.parent)
            self._open()
        leave_if_forked(self)

    @property
    def head(self) -> bytes:
        """The digest of the last message: it stands for the whole file before it."""
        return self._head

    def stored(self) -> list[pa.RecordBatch]:
        """What the file held when it was opened, verified, in sequence for each origin.

        What is sealed stays in its files until it is read. It is handed out once.
        """
        held, self._held = self._held, []
        return held

    def append(
        self,
        batch: pa.RecordBatch,
        received_at: int,
        *,
        origin_head: bytes = NO_HEAD,
    ) -> None:
        """Write a batch at the end; it is durable once :meth:`sync` has returned.

        :param origin_head: the digest that the records' origin had reached when they were fetched.
        :raises StorageError: the disk refused; the file is as it was before.
        """
        self._append([batch], received_at, origin_head, durable=False)

    def commit(self, parts: list[Part], received_at: int) -> None:
        """As :meth:`append`, several batches and runs of rows: durable on return, all or none."""
        self._append(parts, received_at, NO_HEAD, durable=True)

    def _append(
        self, parts: list[Part], received_at: int, origin_head: bytes, *, durable: bool
    ) -> None:
        with self._lock:
            if self._fd < 0:
                raise StorageError(f"{self.path}: it is closed")
            self._catch_up()
            at = end = self._position
            head, arrived = self._head, []
            try:
                for part in self._new(parts):
                    message, head = self._framed(part, received_at, head, origin_head)
                    end = at + len(message)
                    self._write(message, at)
                    at = end
                    arrived.append(arrival_of(part, received_at, head, origin_head))
                if durable:
                    self.sync()
                self._ahead = Ahead(at, head, durable, arrived, self.arrivals.count)
            except BaseException as error:  # an interrupt, too, leaves no record
                written, taken_back = at > self._position, self._take_back(end - self._position)
                if isinstance(error, StorageError) and written and not taken_back:
                    error.outcome = Outcome.MIGHT_HAVE
                raise
            self._catch_up()

    def _catch_up(self) -> None:
        """Make true what the last append has come to."""
        if self._ahead is None:
            return
        at, head, durable, arrived, after = self._ahead
        self._position, self._head = at, head
        if arrived:
            self._reached = head
        if durable:
            self.synced_head = self._reached
        self.arrivals.keep(after)
        counts = dict(self._counts or {})
        for arrival in arrived:
            self.arrivals.append(arrival)
            counts[arrival.code] = arrival.start + arrival.rows
        self._counts, self._ahead = counts, None

    def _new(self, parts: list[Part]) -> Iterator[Part]:
        """What of these records is not in the file yet: what is known is dropped, a gap refused.

        :raises GapError: records before these are missing.
        """
        counts = dict(self._counted())
        for part in parts:
            code, start = split_id(first_id(part))
            known = counts.get(code, 0) - start
            if known < 0:
                raise GapError(
                    f"{self.path}: {format_id(make_id(code, start))} does not follow on: "
                    f"{counts.get(code, 0)} records are there"
                )
            if known < len(part):
                counts[code] = start + len(part)
                yield part[known:] if isinstance(part, list) else part.slice(known)

    def _counted(self) -> dict[int, int]:
        """How many records of each origin's code the file holds; looked up when first needed."""
        if self._counts is None:
            self._counts = {c: s + rows for c, (s, rows) in runs(self.arrivals.table()).items()}
        return self._counts

    def holds(self, part: Part) -> bool:
        """Whether these records stand in the file."""
        with self._lock:
            self._catch_up()
            code, start = split_id(first_id(part))
            return self._counted().get(code, 0) >= start + len(part)

    def _framed(
        self, part: Part, received_at: int, head: bytes, origin_head: bytes
    ) -> tuple[bytearray | memoryview, bytes]:
        if isinstance(part, list):
            return self._framing.frame_rows(part, received_at, head)
        return self._framing.frame(part, received_at, head, origin_head)

    def sync(self) -> None:
        """Make everything appended so far durable (``fdatasync``)."""
        with self._lock, disk_errors(self.path):
            sync_data(self._fd)
            require_kept(self._fd, self.path)
            self.synced_head = self._reached

    def seal_if_full(self, read: ReadRun) -> None:
        """Seal the segment that is written to if it is full, compact it, and begin the next.

        A disk that has no room for that is no failure: what was appended is there, and the segment
        goes on.
        """
        with self._lock:
            self._catch_up()
            fresh = self.arrivals.count - self._arrived_before
            if fresh and (self._position >= self._full_bytes or fresh >= self._full_runs):
                self._full_bytes = self._position + self._segment_bytes
                self._full_runs = fresh + SEGMENT_RUNS
                with suppress(StorageError):
                    self._seal(read)

    def abandon(self) -> None:
        """Let the file go as it is, as a process that is killed does."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def leave(self) -> None:
        """Let the file go in a forked process: it is the one's that opened it."""
        self._lock = RLock()  # whoever held it is not in this process
        self.abandon()

    def __del__(self) -> None:
        """Keep no descriptor of a file that was never closed."""
        if self._fd >= 0:
            os.close(self._fd)

    def close(self, read: ReadRun | None = None) -> None:
        """End the stream, give back the space held ahead, make it durable and close the file.

        :param read: where records can be had, a segment of very many runs is sealed.
        """
        with self._lock:
            self._close(read)

    def _close(self, read: ReadRun | None) -> None:
        self._catch_up()
        if self._fd < 0:
            return
        if self._spoiled:  # whoever opened it came to nothing, and the damage is to be found again
            self.abandon()
            return
        if read and self.arrivals.count - self._arrived_before >= _TINY_RUNS:
            with suppress(StorageError):
                self._seal(read)
        fd, self._fd = self._fd, -1
        with disk_errors(self.path):
            try:
                self._end(fd)
            finally:
                os.close(fd)

    def _end(self, fd: int) -> None:
        """End the stream, and give back the space held ahead; durable on return."""
        os.ftruncate(fd, self._position)
        with suppress(OSError):  # a stream may end without saying so
            os.pwrite(fd, END_OF_STREAM, self._position)
        sync_data(fd)

    def _write(self, data: bytearray | memoryview, at: int) -> None:
        with disk_errors(self.path):
            # Blocks of zeros ahead: a later fdatasync then has no new file size to write. A zero
            # length reads as end-of-stream, so the file is a whole Arrow stream at any moment.
            # They pay only where what is committed at once is smaller than they are.
            end = at + len(data)
            if self._zeroed < end <= self._position + len(_ZEROS):
                self._write_zeros(at)
            write_all(self._fd, data, at)

    def _take_back(self, size: int) -> bool:
        """Make sure that what was written is no record when the file is opened again."""
        try:
            os.pwrite(self._fd, bytes(size), self._position)
            sync_data(self._fd)
        except OSError:
            return False
        return True

    def _write_zeros(self, at: int) -> None:
        """Write zeros ahead; where there is no room for them, there may still be room for data."""
        self._zeroed = max(self._zeroed, at)
        with suppress(OSError):
            while self._zeroed < at + len(_ZEROS):
                self._zeroed += os.pwrite(self._fd, _ZEROS, self._zeroed)

    # ---- opening

    def _open(self) -> None:
        """Read all segments back; go on after the last, or after what is whole before damage."""
        for left in self.path.parent.glob(f"{self.path.stem}*.new"):
            left.unlink()
        counts: dict[int, int] = {}
        while (sealed := sealed_path(self.path, self._sealed + 1)).exists():
            if segments.follows(self.path, self.schema, self._owner, self._previous):
                # A crash came before the file that it was made from gave way to the next.
                sealed.unlink()
                break
            reading = self._read(sealed, counts)
            if reading.problem:
                self._start_over(reading)
                return
            if reading.arrivals is None:
                self._take(reading)
            else:
                self._held += reading.batches()
                self.arrivals.extend(reading.arrivals)
                self._reached = reading.arrivals["head"][-1].as_py()
            self._sealed_until(reading.head)
        if not self.path.exists():
            self.is_new = not self._sealed
            self._begin(self._previous)
            return
        reading = self._read(self.path, counts)
        if reading.problem:
            self._start_over(reading)
            return
        if not reading.end:
            self.is_new = not self._sealed
            self._begin(self._previous)
            return
        self._take(reading)
        if reading.framing.version == FORMAT:
            self._resume(reading)
        else:
            self._modernize(reading)

    def _read(self, path: Path, counts: dict[int, int]) -> Reading:
        """The next segment, whose records follow on from so many of each origin's code."""
        reading = segments.read(path, self.schema, self._owner, self._previous)
        return segments.follow_on(reading, counts)

    def _take(self, reading: Reading) -> None:
        """Count what was read of a plain segment as held, tiny batches put together."""
        waiting: dict[int, list[pa.RecordBatch]] = {}
        rows: Counter[int] = Counter()
        for message, batch in zip(reading.messages, reading.batches(), strict=True):
            self._reached = message.head
            arrival = arrival_of(batch, message.received_at, message.head, message.origin_head)
            self.arrivals.append(arrival)
            if batch.num_rows >= _COARSE_ROWS:
                self._held += [_together(waiting.pop(c)) for c in (arrival.code,) if c in waiting]
                self._held.append(batch)  # it stays in its file
                rows[arrival.code] = 0
                continue
            waiting.setdefault(arrival.code, []).append(batch)
            rows[arrival.code] += batch.num_rows
            if rows[arrival.code] >= _TOGETHER_ROWS:
                del rows[arrival.code]
                self._held.append(_together(waiting.pop(arrival.code)))
        self._held += map(_together, waiting.values())

    def _begin(self, previous: bytes, kept: Reading | None = None) -> None:
        """Make the segment that is written to; on return it is durable, its name too.

        :param kept: what stands in it from the beginning; its name is then left to :meth:`settle`.
        """
        start = segments.segment_header(self._framing, self._owner, previous, segments.PLAIN)
        before = self._fd, self._position, self._zeroed, self._head
        self._fd = os.open(in_making(self.path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(self._fd, start, 0)
            self._position = self._zeroed = len(start)
            self._head = blake3(start).digest()
            if kept:
                for message, batch in zip(kept.messages, kept.batches(), strict=True):
                    self.append(batch, message.received_at, origin_head=message.origin_head)
            with suppress(OSError):
                self._zeroed += os.pwrite(self._fd, _ZEROS, self._zeroed)
            self.sync()
            if not kept:
                put_in_place(self.path)
        except BaseException:
            os.close(self._fd)
            self._fd, self._position, self._zeroed, self._head = before
            raise
        if before[0] >= 0:
            os.close(before[0])

    def _resume(self, reading: Reading) -> None:
        """Go on writing after what was read."""
        self._fd = os.open(self.path, os.O_RDWR)
        self._position = self._zeroed = reading.end
        self._head = reading.head
        self.synced_head = self._reached
        if not reading.closed:
            os.ftruncate(self._fd, reading.end)
            self.sync()

    def _start_over(self, reading: Reading) -> None:
        """Begin a new file with what is whole before the damage.

        Whole records after it are ``salvaged``: they fit in again once what is missing between has
        been fetched from a peer. The spoiled files keep their names until :meth:`settle`.
        """
        files, number = [reading.path], self._sealed + 2
        if reading.path != self.path:
            while (later := sealed_path(self.path, number)).exists():
                files.append(later)
                number += 1
            files.append(self.path)
        for file in filter(Path.exists, files):
            offset = reading.end if file == reading.path else 0
            self.salvaged += segments.salvage(file, self.schema, offset)
        torn = reading.may_be_torn and reading.path == self.path and not self.salvaged
        if not torn and not self._mends:
            raise DamagedError(str(reading.path), reading.end, str(reading.problem))
        aside = name_aside(reading.path, "torn" if torn else "damaged")
        self.damage = Damage(reading.path, reading.end, str(reading.problem), torn, aside)
        self._spoiled = files
        self._begin(self._previous, reading)
        self._held += reading.batches()

    def settle(self) -> None:
        """Let what was begun anew take the place of what was damaged, which is set aside.

        A crash before leaves the damage to be found again: whoever draws a consequence from it (a
        system that goes on as a new incarnation) makes that durable first.

        :raises StorageError: the disk refused.
        """
        spoiled, damage = self._spoiled, self.damage
        if not spoiled or damage is None:
            return
        with disk_errors(self.path):
            require_at(self._fd, in_making(self.path))
            for file in filter(Path.exists, spoiled):
                aside = damage.aside if file == damage.path else name_aside(file, "damaged")
                if damage.torn:
                    copy_from(file, damage.offset, aside)
                else:
                    aside.hardlink_to(file)
            put_in_place(self.path)
            for file in reversed(spoiled):
                if file != self.path:
                    file.unlink(missing_ok=True)
        self._spoiled = []

    # ---- sealing

    def _seal(self, read: ReadRun) -> None:
        """Rewrite the segment that is written to, and begin the next.

        The new files take their place when all are whole, the next segment last: until then the
        one that was written to is there, says all that it said, and can be appended to. One whose
        batches are large already stays as it is, and only gets another name.
        """
        self.settle()
        if self._fd >= 0:
            require_at(self._fd, self.path)
        sealed = sealed_path(self.path, self._sealed + 1)
        arrived = self.arrivals.table(self._arrived_before)
        rows = pc.sum(arrived["rows"]).as_py()
        is_coarse = self._fd >= 0 and rows >= _COARSE_ROWS * len(arrived)
        with disk_errors(self.path):
            try:
                if is_coarse:
                    self._end(self._fd)
                    self._zeroed = self._position
                    sealed.hardlink_to(self.path)
                    head = self._head
                else:
                    head = compact(sealed, self.schema, self._owner, self._previous, arrived, read)
                    put_in_place(arrivals_path(sealed), sealed)
                self._begin(head)
            except OSError:
                for left in (arrivals_path(sealed), sealed, self.path):
                    in_making(left).unlink(missing_ok=True)
                if is_coarse:
                    sealed.unlink(missing_ok=True)
                raise
        self._sealed_until(head)

    def _sealed_until(self, head: bytes) -> None:
        self._sealed += 1
        self._previous = head
        self._arrived_before = self.arrivals.count
        self._full_bytes, self._full_runs = self._segment_bytes, SEGMENT_RUNS

    def _modernize(self, reading: Reading) -> None:
        """Seal a segment of an earlier format: what is written from now on is of today's."""
        if not reading.messages:
            self._begin(self._previous)
            return
        found: dict[int, list[pa.RecordBatch]] = {}
        for batch in reading.batches():
            found.setdefault(split_id(batch.column(0)[0].as_py())[0], []).append(batch)
        whole = {code: pa.concat_batches(batches) for code, batches in found.items()}

        def read(code: int, start: int, rows: int) -> pa.RecordBatch:
            _, first = split_id(whole[code].column(0)[0].as_py())
            return whole[code].slice(start - first, rows)

        self._seal(read)


class OpenFile(Protocol):
    """Opens the file of a dataset: :class:`LogFile`, or a double of it."""

    def __call__(self, path: Path, schema: pa.Schema, *, owner: str) -> LogFile:
        """The file at a path, with what it held."""
        ...


def _together(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """The batches as one; one alone stays in its file."""
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)
