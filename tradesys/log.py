"""Append-only logs of record batches: in memory, and as a durable Arrow file.

A :class:`Log` is the records of one origin in one dataset, in sequence, with no gap. A
:class:`LogFile` keeps record batches on disk as a standard Arrow IPC stream that any Arrow reader
opens as it is; each batch message carries when it was received and a digest of itself and of all
before it, so what is read back is what was written, or a named error.
"""

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
from blake3 import blake3

from tradesys.arrow import rows_of
from tradesys.errors import DamagedError, GapError, SchemaError, StorageError
from tradesys.records import format_id, split_id

FORMAT_VERSION = "1"

_MERGE_FACTOR = 16
_NEVER_MERGED = 3  # level of a chunk of 4,096 rows: enough for every reader
_ZEROS = bytes(256 * 1024)
_DIGEST = b"0" * 64
_LENGTH = b"0" * 12
_RECEIVED_AT_DIGITS = 19
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


class Chunk:
    """A record batch of a log, and its polars frame once somebody has asked for it."""

    __slots__ = ("_frame", "batch", "start")

    def __init__(self, start: int, batch: pa.RecordBatch) -> None:
        self.start = start
        self.batch = batch
        self._frame: pl.DataFrame | None = None

    def frame(self) -> pl.DataFrame:
        """The batch as a polars frame; strings are converted once, the rest is shared."""
        if self._frame is None:
            self._frame = pl.DataFrame(self.batch)
        return self._frame

    def level(self) -> int:
        """How many merges of 16 rows make a chunk of this size; big chunks are never merged."""
        return (self.batch.num_rows.bit_length() - 1) // 4


class Log:
    """The records of one origin in one dataset, in memory, in sequence, with no gap.

    Tiny batches are merged geometrically into chunks of 4,096 rows or more, since a thousand
    batches of one row cost a reader what a thousand big ones do. Chunks are shared, never changed.
    """

    def __init__(self, code: int, schema: pa.Schema) -> None:
        self.code = code
        self.schema = schema
        self.count = 0
        self._chunks: list[Chunk] = []

    def check(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """What of ``batch`` is not held yet; None when all of it is.

        :raises GapError: the batch does not follow on from the records held.
        :raises SchemaError: another schema, another origin, or ids that are not consecutive.
        """
        if not batch.schema.equals(self.schema):
            raise SchemaError(f"a batch has schema\n{batch.schema}\nexpected\n{self.schema}")
        if not batch.num_rows:
            return None
        ids = batch.column(0)
        code, start = split_id(ids[0].as_py())
        if code != self.code or not _is_run(ids):
            raise SchemaError(f"record ids from {format_id(ids[0].as_py())} are not one run")
        if start > self.count:
            raise GapError(
                f"records from {format_id(ids[0].as_py())} do not follow on: "
                f"{self.count} held, {start - self.count} missing"
            )
        known = self.count - start
        return batch.slice(known) if known < batch.num_rows else None

    def append(self, batch: pa.RecordBatch) -> None:
        """Append a batch that :meth:`check` passed."""
        self._chunks.append(Chunk(self.count, batch))
        self.count += batch.num_rows
        self._merge()

    def _merge(self) -> None:
        chunks = self._chunks
        while True:
            newest = chunks[-1].level()
            if newest >= _NEVER_MERGED:
                return
            first = len(chunks)
            while first and chunks[first - 1].level() <= newest:
                first -= 1
            if len(chunks) - first < _MERGE_FACTOR:
                return
            merged = pa.concat_batches([chunk.batch for chunk in chunks[first:]])
            chunks[first:] = [Chunk(chunks[first].start, merged)]

    def since(self, position: int) -> pa.RecordBatch | None:
        """The records from ``position`` on, as one batch; None when there are none."""
        if position >= self.count:
            return None
        parts: list[pa.RecordBatch] = []
        for chunk in reversed(self._chunks):
            parts.append(chunk.batch.slice(max(0, position - chunk.start)))
            if chunk.start <= position:
                break
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts[::-1])

    @property
    def last_ts(self) -> int:
        """The time of the last record in ns since 1970; 0 when there is none."""
        return self._chunks[-1].batch.column(1)[-1].value if self._chunks else 0

    def row(self, sequence: int) -> dict[str, Any]:
        """One record, as a dictionary."""
        at = bisect_right(self._chunks, sequence, key=lambda chunk: chunk.start) - 1
        chunk = self._chunks[at]
        return rows_of(chunk.batch.slice(sequence - chunk.start, 1))[0]

    def batches(self) -> list[pa.RecordBatch]:
        """The records, as the batches they are held in."""
        return [chunk.batch for chunk in self._chunks]

    def table(self) -> pa.Table:
        """All records, as an Arrow table; no copy is made."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def frames(self) -> list[pl.DataFrame]:
        """The records, as one polars frame for each batch they are held in."""
        return [chunk.frame() for chunk in self._chunks]


class Stored(NamedTuple):
    """A batch as it was read back from a file, and when its holder received it (ns since 1970)."""

    received_at: int
    batch: pa.RecordBatch


class _Layout(NamedTuple):
    """Where our metadata stands inside a batch message of a schema: the same for every batch."""

    received_at: int
    length: int
    digest: int


class LogFile:
    """Record batches of one dataset at one system, on disk, as a standard Arrow IPC stream.

    Batches of several origins follow each other in the order in which they were received, so what
    the system knew at a time is a prefix of the file. ``append`` writes, ``sync`` makes durable:
    what was appended before a ``sync`` that returned is there after a crash.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        """Open or create the file. Reading back what it holds is :meth:`stored`."""
        self.path = path
        self.schema = schema
        self._prefix, self._layout = _message_layout(schema)
        self._position = 0
        self._zeroed = 0
        self._head = blake3(self._prefix).digest()
        self._read: list[Stored] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
        if os.fstat(self._fd).st_size:
            self._recover()
        else:
            self._write(self._prefix)
            self._position = len(self._prefix)

    @property
    def head(self) -> str:
        """The digest of the last message: it stands for the whole file before it."""
        return self._head.hex()

    def stored(self) -> Iterator[Stored]:
        """What the file held when it was opened, verified, in the order it was received."""
        yield from self._read
        self._read = []

    def append(self, batch: pa.RecordBatch, received_at: int, *, durable: bool = False) -> None:
        """Write a batch at the end. It is durable on return, or once :meth:`sync` has returned.

        :raises StorageError: the disk refused; the file is as it was before.
        """
        message, head = self._message(batch, received_at)
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

    def sync(self) -> None:
        """Make everything appended so far durable (``fdatasync``)."""
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}") from error

    def close(self) -> None:
        """End the stream, give back the space held ahead, make it durable and close the file."""
        if self._fd < 0:
            return
        os.pwrite(self._fd, _END_OF_STREAM, self._position)
        os.ftruncate(self._fd, self._position + len(_END_OF_STREAM))
        self.sync()
        os.close(self._fd)
        self._fd = -1

    def _message(self, batch: pa.RecordBatch, received_at: int) -> tuple[bytearray, bytes]:
        raw = _serialize(self.schema, batch, received_at)
        message = bytearray(memoryview(raw)[len(self._prefix) :])
        at = self._layout
        message[at.length : at.length + len(_LENGTH)] = b"%012d" % len(message)
        head = blake3(self._head).update(message).digest()
        message[at.digest : at.digest + len(_DIGEST)] = head.hex().encode()
        return message, head

    def _write(self, data: bytes | bytearray) -> None:
        end = self._position + len(data)
        try:
            # Blocks of zeros ahead: a later fdatasync then has no new file size to write. A zero
            # length reads as end-of-stream, so the file is a whole Arrow stream at any moment.
            while self._zeroed < end:
                self._zeroed += os.pwrite(self._fd, _ZEROS, max(self._zeroed, self._position))
            if os.pwrite(self._fd, data, self._position) != len(data):
                raise StorageError(f"{self.path}: the disk took only part of {len(data):,} bytes")
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror or error}") from error

    def _recover(self) -> None:
        """Read the file back, verify each message, and cut a torn tail."""
        size = os.fstat(self._fd).st_size
        data = pa.memory_map(str(self.path)).read_buffer(size)
        raw = memoryview(data)
        if bytes(raw[: len(self._prefix)]) != self._prefix:
            # A crash while the file was made leaves part of the schema message, or zeros only.
            if not self._prefix.startswith(bytes(raw).rstrip(b"\0")):
                raise DamagedError(
                    str(self.path), 0, "it does not begin with this dataset's schema"
                )
            self._write(self._prefix)
            self._position = len(self._prefix)
            return
        offset = len(self._prefix)
        while message := self._verified(raw, offset):
            batch = pa.ipc.read_record_batch(pa.py_buffer(message), self.schema)
            at = self._layout.received_at
            self._read.append(Stored(int(message[at : at + _RECEIVED_AT_DIGITS]), batch))
            offset += len(message)
        self._position = offset
        self._zeroed = size
        if any(raw[offset + len(_END_OF_STREAM) :]):
            self.path.with_suffix(".torn").write_bytes(raw[offset:])
        os.ftruncate(self._fd, offset)
        self._zeroed = offset

    def _verified(self, raw: memoryview, offset: int) -> memoryview | None:
        """The message at ``offset`` if it is whole and follows from all before it."""
        at = self._layout
        digits = bytes(raw[offset + at.length : offset + at.length + len(_LENGTH)])
        if not digits.isdigit() or not 0 < int(digits) <= len(raw) - offset:
            return None
        message = raw[offset : offset + int(digits)]
        hasher = blake3(self._head).update(message[: at.digest]).update(_DIGEST)
        head = hasher.update(message[at.digest + len(_DIGEST) :]).digest()
        if message[at.digest : at.digest + len(_DIGEST)] != head.hex().encode():
            return None
        self._head = head
        return message


def _is_run(ids: pa.UInt64Array) -> bool:
    """Whether each id follows on from the one before it."""
    if len(ids) == 1:
        return True
    numbers = ids.to_numpy()
    return bool((numbers[1:] - numbers[:-1] == 1).all())


def _serialize(schema: pa.Schema, batch: pa.RecordBatch, received_at: int) -> pa.Buffer:
    """The schema message and one batch message, with room for its length and digest."""
    sink = pa.BufferOutputStream()
    writer = pa.ipc.new_stream(sink, schema)
    writer.write_batch(
        batch,
        custom_metadata={
            "received_at": f"{received_at:0{_RECEIVED_AT_DIGITS}d}",
            "length": _LENGTH.decode(),
            "digest": _DIGEST.decode(),
        },
    )
    return sink.getvalue()


def _message_layout(schema: pa.Schema) -> tuple[bytes, _Layout]:
    """The bytes of the schema message, and where our metadata stands in every batch message."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema):
        pass
    prefix = sink.getvalue().to_pybytes()[: -len(_END_OF_STREAM)]
    fields = [pa.field(field.name, field.type) for field in schema]
    row = pa.array([(None,) * len(fields)], pa.struct(fields))
    batch = pa.RecordBatch.from_arrays(row.flatten(), schema=schema)
    received_at = 10**_RECEIVED_AT_DIGITS - 1
    message = _serialize(schema, batch, received_at).to_pybytes()[len(prefix) :]
    (size,) = struct.unpack_from("<i", message, 4)
    metadata = message[: 8 + size]
    return prefix, _Layout(
        received_at=metadata.index(str(received_at).encode()),
        length=metadata.index(struct.pack("<i", len(_LENGTH)) + _LENGTH + b"\0") + 4,
        digest=metadata.index(_DIGEST),
    )
