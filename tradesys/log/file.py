"""The file of a log at one system: appended to, made durable, verified when it is opened.

``requests.arrows`` is one Arrow stream (:mod:`tradesys.log.verified_stream`) with the batches in
the order in which they were received. What does not verify is never handed out: a torn end is cut,
damaged bytes are set aside, and ``damage`` says so. Very many small batches are rewritten as few
large ones, which open fast and take no memory until they are read: at an orderly close, and now and
then before.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import NamedTuple, Protocol

import pyarrow as pa

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
from tradesys.log.fork_guard import leave_if_forked
from tradesys.log.verified_stream import END_OF_STREAM, Reading, Stream
from tradesys.records.errors import DamagedError, GapError, Outcome, StorageError
from tradesys.records.schemas import format_id, held, make_id, split_id

_MANY_BATCHES, _SMALL_ROWS = 1_000, 512  # so many, so small on average, are rewritten at close
_WHILE_OPEN = 16  # times as many are rewritten at once: each costs an opening 30 µs
_LARGE_ROWS = 100_000
_WORTH_MAPPING = 64 << 20  # bytes, and a quarter of what is mapped already
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


class _Written(NamedTuple):
    """What an append has come to: written whole, and going to be true of the file.

    One that is interrupted between the two is made true by whoever comes next.
    """

    end: int
    digest: bytes
    counts: dict[int, int]
    batches: int


class LogFile:
    """The file of one dataset at one system.

    ``append`` writes, ``sync`` makes durable, ``commit`` does both: what was appended before a
    ``sync`` that returned is there after a crash. A batch holds records of one origin.

    :param schema: of the records as they were written; the file has ``received_at`` beside it.
    """

    _fd = -1

    def __init__(
        self, path: Path, schema: pa.Schema, *, owner: str = "", mends: bool = True
    ) -> None:
        """Open or create the file; what it held is then given by :meth:`stored`.

        :param owner: whose file it is; the file of another is taken for damaged.
        :param mends: whether damaged bytes are set aside.
        :raises StorageError: the disk refused, or the file is of another format.
        :raises DamagedError: it is damaged, or the ids of an origin do not follow on, and it is
            not to be mended; it stays as it is.
        """
        self.path = path
        self.damage: Damage | None = None
        self.is_new = self._is_unsettled = False
        self._stream = Stream(held(schema), owner)
        self._mends = mends
        self._end = self._zeroed = 0
        self._digest = self._stream.digest
        self._batches = 0  # messages with records
        self._mapped = 0  # bytes at the beginning that were last handed out as they stand here
        self._most = _WHILE_OPEN * _MANY_BATCHES
        self._counts: dict[int, int] = {}  # of each origin's 16-bit code
        self._written: _Written | None = None
        self._lock = RLock()  # one's own records and those of others may come at the same time
        self._held: list[pa.RecordBatch] = []
        with disk_errors(path):
            make_folder(path.parent)
            self._open()
        leave_if_forked(self)

    def stored(self) -> list[pa.RecordBatch]:
        """What the file held when it was opened, verified, in sequence for each origin.

        Large batches stay in the mapped file until they are read. It is handed out once.
        """
        found, self._held = self._held, []
        return found

    # ---- writing

    def append(self, batch: pa.RecordBatch) -> None:
        """Write a batch at the end; it is durable once :meth:`sync` has returned.

        :raises StorageError: the disk refused; the file is as it was before.
        """
        self._append([batch], durable=False)

    def commit(self, batches: list[pa.RecordBatch]) -> None:
        """As :meth:`append`, several batches: durable on return, all or none."""
        self._append(batches, durable=True)

    def _append(self, batches: list[pa.RecordBatch], *, durable: bool) -> None:
        with self._lock:
            if self._fd < 0:
                raise StorageError(f"{self.path}: it is closed")
            assert not self._is_unsettled, "damaged bytes are set aside before anything is written"
            self._catch_up()
            at = end = self._end
            digest, counts, count = self._digest, dict(self._counts), 0
            try:
                for batch in batches:
                    new = self._new(batch, counts)
                    if new is None:
                        continue
                    message, digest = self._stream.message(new, digest)
                    end = at + len(message)
                    self._write(message, at)
                    at, count = end, count + 1
                if durable:
                    self.sync()
                self._written = _Written(at, digest, counts, count)
            except BaseException as error:  # an interrupt, too, leaves no record
                written, taken_back = at > self._end, self._take_back(end - self._end)
                if isinstance(error, StorageError) and written and not taken_back:
                    error.outcome = Outcome.MIGHT_HAVE
                raise
            self._catch_up()
            if self._is_slow_to_open(self._most):
                self._most = 2 * self._batches  # where there is no room for it now
                with suppress(OSError):
                    self._rewrite()
                    self._most = _WHILE_OPEN * _MANY_BATCHES

    def _is_slow_to_open(self, most: int) -> bool:
        """Whether the file has more batches than so many, and most of them are small."""
        return self._batches > most and self._batches > sum(self._counts.values()) // _SMALL_ROWS

    def _catch_up(self) -> None:
        """Make true what the last append has come to."""
        if self._written:
            self._end, self._digest, self._counts, count = self._written
            self._batches += count
            self._written = None

    def _new(self, batch: pa.RecordBatch, counts: dict[int, int]) -> pa.RecordBatch | None:
        """What of a batch is not in the file yet; it is counted.

        :raises GapError: records before these are missing.
        """
        code, start = split_id(batch.column(0)[0].as_py())
        known = counts.get(code, 0) - start
        if known < 0:
            raise GapError(
                f"{self.path}: {format_id(make_id(code, start))} does not follow on: "
                f"{counts.get(code, 0)} records are there"
            )
        if known >= batch.num_rows:
            return None
        counts[code] = start + batch.num_rows
        return batch.slice(known)

    def holds(self, batch: pa.RecordBatch) -> bool:
        """Whether these records stand in the file."""
        with self._lock:
            self._catch_up()
            code, start = split_id(batch.column(0)[0].as_py())
            return self._counts.get(code, 0) >= start + batch.num_rows

    def grown(self) -> dict[int, list[pa.RecordBatch]]:
        """The records of each origin's code as they stand here, where the file has grown by much.

        They stay in the mapped file, so whoever holds them instead of what was appended needs no
        memory for them. Nothing, where that is not worth while yet.
        """
        with self._lock:
            self._catch_up()
            if self._end - self._mapped < max(_WORTH_MAPPING, self._mapped // 4):
                return {}
            self._mapped = self._end
            # Where the folder was moved, or bytes have changed, what is in memory stays there.
            with suppress(StorageError):
                found = _gathered(self._as_written().batches(), _SMALL_ROWS)
                return {code: list(batches) for code, batches in found.items()}
            return {}

    def sync(self) -> None:
        """Make everything appended so far durable (``fdatasync``)."""
        with self._lock, disk_errors(self.path):
            sync_data(self._fd)
            require_kept(self._fd, self.path)

    def _write(self, data: memoryview, at: int) -> None:
        with disk_errors(self.path):
            # Blocks of zeros ahead: a later fdatasync then has no new file size to write. A zero
            # length reads as end-of-stream, so the file is a whole Arrow stream at any moment.
            # They pay only where what is committed at once is smaller than they are.
            end = at + len(data)
            if self._zeroed < end <= self._end + len(_ZEROS):
                self._write_zeros(at)
            write_all(self._fd, data, at)

    def _write_zeros(self, at: int) -> None:
        """Write zeros ahead; where there is no room for them, there may still be room for data."""
        self._zeroed = max(self._zeroed, at)
        with suppress(OSError):
            while self._zeroed < at + len(_ZEROS):
                self._zeroed += os.pwrite(self._fd, _ZEROS, self._zeroed)

    def _take_back(self, size: int) -> bool:
        """Make sure that what was written is no record when the file is opened again."""
        try:
            os.pwrite(self._fd, bytes(size), self._end)
            sync_data(self._fd)
        except OSError:
            return False
        return True

    # ---- closing

    def close(self) -> None:
        """End the stream, return the space held ahead, make it durable and close the file.

        Very many small batches are rewritten as large ones first; a disk that has no room for
        that is no failure.
        """
        with self._lock:
            self._catch_up()
            if self._fd < 0:
                return
            if self._is_unsettled:  # the damage is to be found again
                self.abandon()
                return
            with disk_errors(self.path):
                if self._is_slow_to_open(_MANY_BATCHES):
                    with suppress(OSError):
                        self._rewrite()
                fd, self._fd = self._fd, -1
                try:
                    _finish(fd, self._end)
                finally:
                    os.close(fd)

    def _rewrite(self) -> None:
        """Put a file with the same records in large batches, by origin, in the place of this.

        :raises StorageError: bytes have changed since they were written, which is for whoever opens
            the file next to find; or the disk refused.
        """
        large = _gathered(self._as_written().batches(), _LARGE_ROWS)
        self._begin(batch for each in large.values() for batch in each)

    def _as_written(self) -> Reading:
        """What the file holds, verified.

        :raises StorageError: it is not where it was, or bytes have changed since they were written.
        """
        require_at(self._fd, self.path)
        reading = self._stream.read(self.path)
        if reading.problem or (reading.end, reading.digest) != (self._end, self._digest):
            raise StorageError(f"{self.path}: it is not as it was written")
        return reading

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

    # ---- opening

    def _open(self) -> None:
        """Read the file back; go on after the last message, or after what is whole."""
        in_making(self.path).unlink(missing_ok=True)
        reading = None
        if self.path.exists():
            reading = self._stream.read(self.path)
            batches, self._counts, reading = follow_on(reading)
            of_origin = _gathered(batches, _SMALL_ROWS).values()
            self._held = [batch for each in of_origin for batch in each]
            self._batches = len(batches)
        self.is_new = reading is None or not (reading.end or reading.problem)
        if self.is_new or not reading:
            self._begin()
            return
        if reading.problem:
            if not reading.is_torn and not self._mends:
                raise DamagedError(str(self.path), reading.end, reading.problem)
            word = "torn" if reading.is_torn else "damaged"
            aside = name_aside(self.path, word)
            self.damage = Damage(self.path, reading.end, reading.problem, reading.is_torn, aside)
            self._is_unsettled = True
        self._fd = os.open(self.path, os.O_RDWR)
        self._end, self._digest = reading.end, reading.digest
        self._zeroed = self._end
        if not reading.problem and not reading.is_closed:
            os.ftruncate(self._fd, self._end)
            self.sync()

    def settle(self) -> None:
        """Set damaged bytes aside, so that the file goes on after what is whole before them.

        Until then the damage is found again whenever the file is opened: whoever draws a
        consequence from it (a system that goes on as a new incarnation) makes that durable first.

        :raises StorageError: the disk refused.
        """
        damage = self.damage
        if damage is None or not self._is_unsettled:
            return
        with disk_errors(self.path):
            require_at(self._fd, self.path)
            copy_from(self.path, damage.offset, damage.aside)
            if self._end:
                os.ftruncate(self._fd, self._end)
                self.sync()
            else:
                self._begin()
        self._is_unsettled = False

    def _begin(self, batches: Iterable[pa.RecordBatch] = ()) -> None:
        """Begin a file with these batches in the place of any other; durable, its name too."""
        made, before = in_making(self.path), self._fd
        fd = os.open(made, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(fd, self._stream.start, 0)
            end, digest, count = len(self._stream.start), self._stream.digest, 0
            for batch in batches:
                message, digest = self._stream.message(batch, digest)
                write_all(fd, message, end)
                end, count = end + len(message), count + 1
            zeroed = end
            with suppress(OSError):
                zeroed += os.pwrite(fd, _ZEROS, end)
            sync_data(fd)
            put_in_place(self.path)
        except BaseException:
            os.close(fd)
            made.unlink(missing_ok=True)
            raise
        self._fd, self._end, self._digest = fd, end, digest
        self._zeroed, self._batches, self._mapped = zeroed, count, 0
        if before >= 0:
            os.close(before)


class OpenFile(Protocol):
    """Opens the file of a dataset: :class:`LogFile`, or a double of it."""

    def __call__(self, path: Path, schema: pa.Schema, *, owner: str) -> LogFile:
        """The file at a path, with what it held."""
        ...


def follow_on(reading: Reading) -> tuple[list[pa.RecordBatch], dict[int, int], Reading]:
    """The records that were read, up to where the ids of an origin do not follow on.

    Only the first and the last id of each batch are looked at, so it takes no time.

    :returns: the batches, how many records of each origin's code, and the reading up to there.
    """
    counts: dict[int, int] = {}
    batches = reading.batches()
    for n, batch in enumerate(batches):
        first, last = (batch.column(0)[row].as_py() for row in (0, -1))
        code, start = split_id(first)
        expected = make_id(code, counts.get(code, 0))
        if (first, last) != (expected, expected + batch.num_rows - 1):
            problem = (
                f"records {format_id(first)} to {format_id(last)} stand where "
                f"{batch.num_rows} from {format_id(expected)} on should"
            )
            sound = reading._replace(reached=reading.reached[: n + 1], problem=problem)
            return batches[:n], counts, sound
        counts[code] = start + batch.num_rows
    return batches, counts, reading


def _gathered(batches: list[pa.RecordBatch], rows: int) -> dict[int, Iterator[pa.RecordBatch]]:
    """The batches of each origin's 16-bit code, in sequence; smaller ones are joined to so many."""
    found: dict[int, list[pa.RecordBatch]] = {}
    for batch in batches:
        found.setdefault(split_id(batch.column(0)[0].as_py())[0], []).append(batch)
    return {code: _joined(each, rows) for code, each in found.items()}


def _joined(batches: list[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of one origin, those of fewer rows put together to so many or a little more."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        if waiting and (batch.num_rows >= rows or count >= rows):
            yield pa.concat_batches(waiting) if len(waiting) > 1 else waiting[0]
            waiting, count = [], 0
        waiting.append(batch)
        count += batch.num_rows
    yield pa.concat_batches(waiting) if len(waiting) > 1 else waiting[0]


def _finish(fd: int, end: int) -> None:
    """End a stream, and return the space held ahead; durable on return."""
    os.ftruncate(fd, end)
    with suppress(OSError):  # a stream may end without saying so
        os.pwrite(fd, END_OF_STREAM, end)
    sync_data(fd)
