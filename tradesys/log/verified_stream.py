"""A file of record batches: a standard Arrow stream in which every message can be verified.

Each batch message states, in its custom metadata, its own length and a BLAKE3 digest of everything
before it and of itself. So bytes are verified before Arrow is asked to read them: without that,
Arrow reads most flipped bits without an error, and differently. A stream begins with a batch of no
rows, since a schema alone is no file that every reader opens.
"""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from blake3 import blake3

from tradesys.log.disk import is_blank
from tradesys.records.errors import StorageError

FORMAT = 5
"""The format of the files that this package writes, and the only one that it reads."""

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"

_KEY = "verify"
_DIGITS = b"0" * 64
_BLANK = {_KEY: b"length=000000000000 blake3=" + _DIGITS}
_STATED = re.compile(rb"length=(\d{12}) blake3=([0-9a-f]{64})")
_VERSION = re.compile(rb"tradesys-format-(\d+)")
_BEGINNING = 1 << 16  # bytes in which a message states its length and digest
_LARGE = 1 << 20  # bytes of a message that are worth several threads
_METADATA = 4096  # more than a message takes beside its rows
_AS_IT_IS = pa.ipc.IpcWriteOptions()  # given none, pyarrow looks for some in the environment


class _Scratch(threading.local):
    """Memory in which a thread writes message after message: fresh memory is what costs most."""

    memory = memoryview(b"")

    def of(self, size: int) -> memoryview:
        """So much of it, or more; very large memory is not kept."""
        if size > _LARGE:
            return memoryview(bytearray(size))
        if size > len(self.memory):
            self.memory = memoryview(bytearray(size))
        return self.memory


_scratch = _Scratch()


class Stream:
    """The messages of a file of one schema and owner.

    ``start`` is what the file begins with, ``digest`` the one that this reaches.
    """

    def __init__(self, schema: pa.Schema, owner: str) -> None:
        self.schema = schema
        self._header = len(_header(schema))
        facts = {"format": f"tradesys-format-{FORMAT}", "owner": owner}
        header = _header(schema.with_metadata(facts))
        columns = [pa.array([], field.type) for field in schema]
        nothing = pa.RecordBatch.from_arrays(columns, schema=schema)
        message, self.digest = self.message(nothing, blake3(header).digest())
        self.start = header + message

    def message(self, batch: pa.RecordBatch, before: bytes) -> tuple[memoryview, bytes]:
        """The message of a batch that follows the digest ``before``, and the digest it reaches.

        It stands in memory where this thread writes its next message.
        """
        size = self._header + pa.ipc.get_record_batch_size(batch) + _METADATA
        memory = _scratch.of(size)
        sink = pa.FixedSizeBufferWriter(pa.py_buffer(memory))
        stream = pa.ipc.new_stream(sink, self.schema, options=_AS_IT_IS)
        stream.write_batch(batch, custom_metadata=_BLANK)
        message = memory[self._header : sink.tell()]
        stated = _STATED.search(message)
        assert stated, "a message has its custom metadata"
        (at, end), (digits, _) = stated.span(1), stated.span(2)
        message[at:end] = b"%012d" % len(message)
        digest = blake3(before).update(message).digest()
        message[digits : digits + len(_DIGITS)] = digest.hex().encode()
        return message, digest

    def whole(self, batch: pa.RecordBatch) -> bytes:
        """A file that holds one batch, and ends there."""
        message, _ = self.message(batch, self.digest)
        return self.start + message + END_OF_STREAM

    def read(self, path: Path) -> "Reading":
        """What a file holds, up to the first byte that does not verify.

        :raises StorageError: it cannot be read, or is of another format.
        """
        raw = _map(path)
        if bytes(raw[: len(self.start)]) == self.start:
            return _verified(path, raw, len(self.start), self.digest)
        version = _VERSION.search(bytes(raw[:_BEGINNING]))
        if version and int(version[1]) != FORMAT:
            raise StorageError(
                f"{path}: it is of format {int(version[1])}, and this version of tradesys reads "
                f"format {FORMAT} only; replay its tape into a new folder (tradesys replay TAPE "
                "--data NEW), or open it with the version that wrote it"
            )
        if len(raw) <= len(self.start) and self.start.startswith(bytes(raw).rstrip(b"\0")):
            # It was cut down to nothing, or never got its beginning.
            return Reading(path, raw, [(0, self.digest)])
        problem = "it does not begin as this file of this system does"
        return Reading(path, raw, [(0, self.digest)], problem)


class Reading(NamedTuple):
    """What was read of a file, and what did not verify.

    ``reached`` says where the beginning and each message that verifies end, and the digest there.
    ``problem`` is None if all is well; ``is_torn`` says that it can be the unfinished end of a last
    write.
    """

    path: Path
    raw: memoryview
    reached: list[tuple[int, bytes]]
    problem: str | None = None
    is_torn: bool = False

    @property
    def end(self) -> int:
        """Where the last message that verifies ends."""
        return self.reached[-1][0]

    @property
    def digest(self) -> bytes:
        """The digest of everything up to there."""
        return self.reached[-1][1]

    def batches(self) -> list[pa.RecordBatch]:
        """The records, a batch for each message that has any; they stay in the mapped file."""
        if not self.end:
            return []
        stream = pa.ipc.open_stream(pa.py_buffer(self.raw[: self.end]))
        return [batch for batch in stream if batch.num_rows]

    @property
    def is_closed(self) -> bool:
        """Whether it ends as it does after an orderly close: all of it is durable."""
        return bytes(self.raw[self.end : self.end + len(END_OF_STREAM) + 1]) == END_OF_STREAM


def _verified(path: Path, raw: memoryview, start: int, digest: bytes) -> Reading:
    """The messages from ``start`` on, as far as each follows from the one before it."""
    reached = [(start, digest), *_messages(raw, start, digest)]
    reading = Reading(path, raw, reached)
    end = reading.end
    if is_blank(path, end + len(END_OF_STREAM) if _ends(raw, end) else end):
        return reading
    problem = "what follows does not verify"
    return reading._replace(problem=problem, is_torn=_is_torn(raw, end))


def _ends(raw: memoryview, at: int) -> bool:
    return bytes(raw[at : at + len(END_OF_STREAM)]) == END_OF_STREAM


def _messages(raw: memoryview, at: int, digest: bytes) -> Iterator[tuple[int, bytes]]:
    """Of each message that verifies: where it ends, and the digest it reaches."""
    while stated := _STATED.search(raw[at : at + _BEGINNING]):
        message = raw[at : at + int(stated[1])]
        begins, ends = stated.span(2)
        if ends > len(message) or len(message) < int(stated[1]):
            return
        threads = blake3.AUTO if len(message) > _LARGE else 1
        hasher = blake3(digest, max_threads=threads).update(message[:begins]).update(_DIGITS)
        digest = hasher.update(message[ends:]).digest()
        if stated[2] != digest.hex().encode():
            return
        at += len(message)
        yield at, digest


def _is_torn(raw: memoryview, end: int) -> bool:
    """Whether what did not verify can be the unfinished end of a last write.

    That is one message at most, and nothing after it: no other states its digest there.
    """
    stated = [*_STATED.finditer(raw, end)]
    return not stated or (len(stated) == 1 and not any(raw[end + int(stated[0][1]) :]))


def _header(schema: pa.Schema) -> bytes:
    """The schema message with which a stream begins."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema):
        pass
    return sink.getvalue().to_pybytes()[: -len(END_OF_STREAM)]


def _map(path: Path) -> memoryview:
    if path.is_dir():
        raise StorageError(f"{path}: a folder is in the place of this file")
    try:
        if not path.stat().st_size:
            return memoryview(b"")
        return memoryview(pa.memory_map(str(path)).read_buffer())
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
