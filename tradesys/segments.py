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

from tradesys import arrivals
from tradesys.errors import StorageError
from tradesys.framing import END_OF_STREAM, FORMAT, NO_HEAD, Framing, Message, header, version_of

_ARRIVALS = Framing(arrivals.SCHEMA)


class Reading(NamedTuple):
    """What was read of one segment: its verified messages, and what did not verify.

    ``end`` is where the verified messages end, ``head`` the digest there (of the arrivals' file for
    a compacted segment: it stands for both). ``problem`` is None if all is well.
    """

    path: Path
    raw: memoryview
    messages: list[Message]
    end: int
    head: bytes
    problem: str | None
    arrivals: pa.RecordBatch | None = None

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


def plain_header(schema: pa.Schema, owner: str, previous: bytes) -> bytes:
    """How a plain segment begins that follows the digest ``previous``."""
    return header(schema, _facts(owner, previous, "plain"))


def compacted_header(schema: pa.Schema, owner: str, previous: bytes) -> bytes:
    """How a compacted segment begins that follows the digest ``previous``."""
    return header(schema, _facts(owner, previous, "compacted"))


def arrivals_header(owner: str, previous: bytes, segment_head: bytes) -> bytes:
    """How the arrivals' file of a compacted segment begins, which ends with ``segment_head``."""
    facts = _facts(owner, previous, "arrivals") | {"segment_head": segment_head.hex()}
    return header(arrivals.SCHEMA, facts)


def _facts(owner: str, previous: bytes, kind: str) -> dict[str, str]:
    return {
        "format": f"tradesys-format-{FORMAT}",
        "owner": owner,
        "segment": kind,
        "previous": previous.hex(),
    }


def read(path: Path, framing: Framing, owner: str, previous: bytes) -> Reading:
    """Read a segment that follows the digest ``previous``.

    :raises StorageError: it cannot be read, or a later version of this package wrote it.
    """
    raw = _map(path)
    for begins in (plain_header, compacted_header):
        start = begins(framing.schema, owner, previous)
        if bytes(raw[: len(start)]) != start:
            continue
        messages = list(framing.run(raw, len(start), blake3(start).digest()))
        end = messages[-1].end if messages else len(start)
        head = messages[-1].head if messages else blake3(start).digest()
        rest = bytes(raw[end:])
        clean = not any(rest.removeprefix(END_OF_STREAM))
        reading = Reading(path, raw, messages, end, head, None if clean else _UNVERIFIED)
        if begins is plain_header or not clean:
            return reading
        return _with_arrivals(reading, owner, previous)
    version = version_of(raw)
    if version is not None and version > FORMAT:
        raise StorageError(f"{path}: format {version}; this version reads up to format {FORMAT}")
    start = plain_header(framing.schema, owner, previous)
    if start.startswith(bytes(raw).rstrip(b"\0")):
        # A crash while the file was made leaves part of the header, or zeros only.
        return Reading(path, raw, [], 0, blake3(start).digest(), None)
    return Reading(path, raw, [], 0, NO_HEAD, "it does not begin as this file of this system does")


def _with_arrivals(reading: Reading, owner: str, previous: bytes) -> Reading:
    """A compacted segment, with the arrivals of its records."""
    path = arrivals_path(reading.path)
    start = arrivals_header(owner, previous, reading.head)
    raw = _map(path) if path.is_file() else memoryview(b"")
    if bytes(raw[: len(start)]) != start:
        return reading._replace(problem=f"{path.name} does not hold the arrivals of this segment")
    messages = list(_ARRIVALS.run(raw, len(start), blake3(start).digest()))
    if not messages or bytes(raw[messages[-1].end :]) != END_OF_STREAM:
        return reading._replace(problem=f"the arrivals in {path.name} do not verify")
    batches = [_ARRIVALS.batch(message) for message in messages]
    return reading._replace(head=messages[-1].head, arrivals=pa.concat_batches(batches))


def salvage(path: Path, framing: Framing, offset: int) -> Iterator[Message]:
    """The messages of a damaged file from ``offset`` on that still vouch for themselves."""
    raw = _map(path)
    size = int.from_bytes(raw[4:8], "little") + 8 if len(raw) > 8 else len(raw)
    if offset < size <= len(raw):
        found = list(framing.run(raw, size, blake3(raw[:size]).digest()))
        yield from found
        offset = found[-1].end if found else size
    yield from framing.salvage(raw, offset)


def _map(path: Path) -> memoryview:
    if not path.stat().st_size:
        return memoryview(b"")
    try:
        return memoryview(pa.memory_map(str(path)).read_buffer())
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
