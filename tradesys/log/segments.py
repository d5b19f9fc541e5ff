"""Reading the segments of a log file: verified, and told apart from damage. Nothing here writes.

A *plain* segment is what was appended, message by message. A *compacted* one holds the same records
in large batches, by origin, and beside it a file of the arrivals keeps what their messages said.
Each segment's header names the digest that the one before it ended with, so all are one chain.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from blake3 import blake3

from tradesys.log import arrivals
from tradesys.log.disk import is_blank
from tradesys.log.formats import FORMAT, OLDEST
from tradesys.log.framing import (
    END_OF_STREAM,
    NO_HEAD,
    Framing,
    Message,
    framing_of,
    header,
    version_of,
)
from tradesys.records.errors import StorageError
from tradesys.records.schemas import format_id, make_id, split_id

PLAIN, COMPACTED = "plain", "compacted"


class Reading(NamedTuple):
    """What was read of one segment: its verified messages, and what did not verify.

    ``end`` is where the verified messages end, ``head`` the digest there (of the arrivals' file for
    a compacted segment: it stands for both). ``problem`` is None if all is well. ``arrivals`` is
    None for a plain segment, whose messages say themselves when they arrived.
    """

    path: Path
    raw: memoryview
    framing: Framing
    messages: list[Message]
    end: int
    head: bytes
    problem: str | None
    arrivals: pa.RecordBatch | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The records, one batch a message."""
        return map(self.framing.batch, self.messages)

    @property
    def closed(self) -> bool:
        """Whether it ends as it does after an orderly close: all of it is durable."""
        tail = self.raw[self.end : self.end + len(END_OF_STREAM) + 1]
        return bytes(tail) == END_OF_STREAM

    @property
    def may_be_torn(self) -> bool:
        """Whether what did not verify can be the unfinished end of a last write."""
        return self.problem == _UNVERIFIED


_UNVERIFIED = "what follows does not verify"


def sealed_path(path: Path, number: int) -> Path:
    """The file of sealed segment ``number``, from 1, of a log file."""
    return path.with_name(f"{path.stem}.{number:06d}.arrows")


def arrivals_path(sealed: Path) -> Path:
    """The file of the arrivals of a compacted segment."""
    return sealed.with_name(f"{sealed.stem}.arrivals.arrows")


def segment_header(framing: Framing, owner: str, previous: bytes, kind: str) -> bytes:
    """How a plain or compacted segment begins that follows the digest ``previous``."""
    return header(framing.schema, _facts(framing, owner, previous, kind))


def arrivals_header(framing: Framing, owner: str, previous: bytes, segment_head: bytes) -> bytes:
    """How the arrivals' file of a compacted segment begins, which ends with ``segment_head``."""
    facts = _facts(framing, owner, previous, "arrivals") | {"segment_head": segment_head.hex()}
    return header(framing.schema, facts)


def _facts(framing: Framing, owner: str, previous: bytes, kind: str) -> dict[str, str]:
    return {
        "format": f"tradesys-format-{framing.version}",
        "owner": owner,
        "segment": kind,
        "previous": previous.hex(),
    }


def follows(path: Path, schema: pa.Schema, owner: str, previous: bytes) -> bool:
    """Whether the file is a plain segment that follows the digest ``previous``."""
    framings = _framings(schema)
    starts = [segment_header(framing, owner, previous, PLAIN) for framing in framings]
    if not path.is_file():
        return False
    with path.open("rb") as file:
        found = file.read(max(map(len, starts)))
    return any(found.startswith(start) for start in starts)


def read(path: Path, schema: pa.Schema, owner: str, previous: bytes) -> Reading:
    """Read a segment that follows the digest ``previous``; of whatever format, as today's schema.

    :raises StorageError: it cannot be read, or a later version of this package wrote it.
    """
    raw = _map(path)
    for framing in _framings(schema):
        for kind in (PLAIN, COMPACTED):
            start = segment_header(framing, owner, previous, kind)
            if bytes(raw[: len(start)]) == start:
                reading = _read(path, raw, framing, start)
                whole = kind == PLAIN or reading.problem
                return reading if whole else _with_arrivals(reading, owner, previous)
    framing = _framing_in(raw, schema, path)
    for each in _framings(schema):
        start = segment_header(each, owner, previous, PLAIN)
        begun = bytes(raw[: len(start)]).rstrip(b"\0")
        if start.startswith(begun) and is_blank(path, len(begun)):
            # A crash while the file was made leaves part of the header, or zeros only.
            return Reading(path, raw, framing, [], 0, blake3(start).digest(), None)
    problem = "it does not begin as this file of this system does"
    return Reading(path, raw, framing, [], 0, NO_HEAD, problem)


def _read(path: Path, raw: memoryview, framing: Framing, start: bytes) -> Reading:
    head = blake3(start).digest()
    messages = list(framing.run(raw, len(start), head))
    end = messages[-1].end if messages else len(start)
    head = messages[-1].head if messages else head
    ended = bytes(raw[end : end + len(END_OF_STREAM)]) == END_OF_STREAM
    clean = is_blank(path, end + len(END_OF_STREAM) if ended else end)
    return Reading(path, raw, framing, messages, end, head, None if clean else _UNVERIFIED)


def _with_arrivals(segment: Reading, owner: str, previous: bytes) -> Reading:
    """A compacted segment, with the arrivals of its records."""
    path = arrivals_path(segment.path)
    framing = framing_of(arrivals.SCHEMA, segment.framing.version)
    start = arrivals_header(framing, owner, previous, segment.head)
    raw = _map(path) if path.is_file() else memoryview(b"")
    if bytes(raw[: len(start)]) != start:
        return segment._replace(problem=f"{path.name} does not hold the arrivals of this segment")
    reading = _read(path, raw, framing, start)
    if reading.problem or not reading.messages:
        return segment._replace(problem=f"the arrivals in {path.name} do not verify")
    (batch,) = reading.batches()
    return segment._replace(head=reading.head, arrivals=batch)


def follow_on(reading: Reading, counts: dict[int, int]) -> Reading:
    """What was read of a segment, up to where the ids of an origin do not follow on.

    Only the first and the last id of each batch are looked at, so it takes no time.

    :param counts: how many records of each origin's code the segments before it have; those that
        follow on are added.
    """
    reached, found = dict(counts), reading
    for n, (message, batch) in enumerate(zip(reading.messages, reading.batches(), strict=True)):
        first, last = (batch.column(0)[row].as_py() for row in (0, -1))
        code, start = split_id(first)
        expected = make_id(code, reached.get(code, 0))
        if len(found.messages) > n and (first, last) != (expected, expected + batch.num_rows - 1):
            problem = (
                f"records {format_id(first)} to {format_id(last)} stand where "
                f"{batch.num_rows} from {format_id(expected)} on should"
            )
            before = reading.messages[:n]
            found = reading._replace(messages=before, end=message.offset, problem=problem)
        reached[code] = start + batch.num_rows
    told = reading.arrivals
    if told is not None and found is reading and arrivals.follow_on(told, counts) != reached:
        problem = f"{arrivals_path(reading.path).name} tells of other records than are there"
        found = reading._replace(problem=problem)
    counts |= reached
    return found


def salvage(path: Path, schema: pa.Schema, offset: int) -> Iterator[pa.RecordBatch]:
    """Records in a damaged file from ``offset`` on whose messages still vouch for themselves."""
    raw = _map(path)
    framing = _framing_in(raw, schema, path)
    size = int.from_bytes(raw[4:8], "little") + 8 if len(raw) > 8 else len(raw)
    if not _may_be_of(raw[:size], framing.schema):
        return
    if offset < size <= len(raw):
        found = list(framing.run(raw, size, blake3(raw[:size]).digest()))
        yield from map(framing.batch, found)
        offset = found[-1].end if found else size
    yield from map(framing.batch, framing.salvage(raw, offset))


def _may_be_of(start: memoryview, schema: pa.Schema) -> bool:
    """Whether a file's header, if it can be read, is that of a dataset with this schema."""
    try:
        found = pa.ipc.read_schema(pa.py_buffer(start))
    except (pa.ArrowException, OSError):
        return True
    return bool(found.equals(schema))


def _framings(schema: pa.Schema) -> list[Framing]:
    return [framing_of(schema, version) for version in range(FORMAT, OLDEST - 1, -1)]


def _framing_in(raw: memoryview, schema: pa.Schema, path: Path) -> Framing:
    """The framing of the format that a file says it has; today's if it does not say."""
    version = version_of(raw) or FORMAT
    if version > FORMAT:
        raise StorageError(f"{path}: format {version}; this version reads up to format {FORMAT}")
    return framing_of(schema, max(version, OLDEST))


def _map(path: Path) -> memoryview:
    if path.is_dir():
        raise StorageError(f"{path}: a folder is in the place of this file")
    try:
        if not path.stat().st_size:
            return memoryview(b"")
        return memoryview(pa.memory_map(str(path)).read_buffer())
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
