"""How record batches are framed in a file: standard Arrow messages that vouch for themselves.

Each batch message carries, in its custom metadata, when it was received, its own length, and a
BLAKE3 digest of everything before it and of itself. So bytes are verified before Arrow is asked to
read them, and what is read back is what was written. Nothing here writes.
"""

import re
import struct
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa
from blake3 import blake3

from tradesys.log.formats import FORMAT, schema_in, upcast

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
NO_HEAD = bytes(32)
"""Stands where there is no digest: before the first segment, and where nobody's was seen."""

_HEX = b"0" * 64
_LENGTH = b"0" * 12
_TIME_DIGITS = 19
_BLANK = {
    "received_at": b"0" * _TIME_DIGITS,
    "origin_head": _HEX,
    "length": _LENGTH,
    "head": _HEX,
}
_LARGE = 1 << 20  # bytes of a message that are worth several threads
_METADATA = 1024  # more than our metadata takes in a message
_AS_IT_IS = pa.ipc.IpcWriteOptions()  # given none, pyarrow looks for some in the environment
_VERSION = re.compile(rb"tradesys-format-(\d+)")


class Message(NamedTuple):
    """A verified batch message: where it stands, and what its metadata says.

    ``received_at`` is in ns since 1970. ``head`` is the digest of the file up to and with this
    message. ``origin_head`` is the digest that the records' origin had reached when they were
    fetched from it; :data:`NO_HEAD` where the holder is the origin.
    """

    offset: int
    raw: memoryview
    received_at: int
    head: bytes
    origin_head: bytes

    @property
    def end(self) -> int:
        """Where the next message stands."""
        return self.offset + len(self.raw)


class _Scratch(threading.local):
    """Memory that a thread frames in again and again: fresh memory is what costs most."""

    memory = memoryview(b"")

    def of(self, size: int) -> memoryview:
        """So much of it, or more; very large memory is not kept."""
        if size > _LARGE:
            return memoryview(bytearray(size))
        if size > len(self.memory):
            self.memory = memoryview(bytearray(size))
        return self.memory


_scratch = _Scratch()


class _Layout(NamedTuple):
    """Where our metadata stands inside a batch message of a schema: the same for every batch."""

    start: bytes
    received_at: int
    origin_head: int
    length: int
    head: int


class _RowTemplate(NamedTuple):
    """The message of one row of a certain shape, but for its values."""

    metadata: bytes
    body: struct.Struct


class _Rows:
    """Messages of rows of integers and texts, put together as Arrow does, for a third of the time.

    The metadata of all messages of a schema is the same but for some numbers: how many rows and
    bytes there are, how many nulls are in each column, and where each of its buffers is.
    """

    def __init__(self, schema: pa.Schema, serialize: Callable[[pa.RecordBatch], bytes]) -> None:
        codes = {pa.utf8(): "", pa.uint64(): "Q"}
        self._codes = [codes.get(field.type, "q") for field in schema]
        count = 251  # found in no other place of the metadata
        columns = [pa.nulls(count, field.type) for field in schema]
        message = serialize(pa.RecordBatch.from_arrays(columns, schema=schema))
        body, nulls, places = self._body([(None,) * len(schema)] * count)
        assert message.endswith(body), "rows are laid out as Arrow does"
        self._metadata = bytearray(message.removesuffix(body))
        self._numbers = [self._found(n) for n in (nulls, places, [count], [len(body)])]

    def _found(self, numbers: list[int]) -> tuple[struct.Struct, int]:
        """Where the metadata has these numbers, one after the other; they are taken out."""
        form = struct.Struct(f"<{len(numbers)}q")
        assert self._metadata.count(form.pack(*numbers)) == 1
        at = self._metadata.index(form.pack(*numbers))
        form.pack_into(self._metadata, at, *[0] * len(numbers))
        return form, at

    def message(self, rows: list[tuple[Any, ...]]) -> bytearray:
        """What Arrow writes for a batch of these rows."""
        body, *counted = self._body(rows)
        message = self._metadata + body
        numbers = (*counted, (len(rows),), (len(body),))
        for (form, at), found in zip(self._numbers, numbers, strict=True):
            form.pack_into(message, at, *found)
        return message

    def _body(self, rows: list[tuple[Any, ...]]) -> tuple[bytes, list[int], list[int]]:
        """The buffers of rows; of each column its length and nulls; of each buffer its place."""
        count = len(rows)
        buffers: list[bytes] = []
        counts: list[int] = []
        for column, code in zip(zip(*rows, strict=True), self._codes, strict=True):
            nulls = column.count(None)
            counts += count, nulls
            if nulls == count:
                validity, zeros, offsets = bytes(-(-count // 8)), bytes(8 * count), 4 * count + 4
                buffers += (validity, zeros) if code else (validity, bytes(offsets), b"")
                continue
            buffers.append(_validity(column) if nulls else b"")
            values: Sequence[Any] = column
            if nulls:
                values = [v or (0 if code else "") for v in column]
            if code:
                buffers.append(array(code, values).tobytes())
                continue
            text = "".join(values)
            data = text.encode()
            lengths = map(len, values if len(text) == len(data) else [v.encode() for v in values])
            buffers += array("i", accumulate(lengths, initial=0)).tobytes(), data
        places: list[int] = []
        at = 0
        for number, buffer in enumerate(buffers):
            places += at, len(buffer)
            if padding := -len(buffer) % 8:
                buffers[number] = buffer + bytes(padding)
            at += len(buffer) + padding
        return b"".join(buffers), counts, places


def _validity(column: tuple[Any, ...]) -> bytes:
    """A bit for each value, the first the lowest: whether it is not null."""
    bits = "".join("0" if value is None else "1" for value in reversed(column))
    return int(bits, 2).to_bytes(-(-len(column) // 8), "little")


_Shape = tuple[int | None, ...]  # of each column of a row: None for null, how many bytes a text has
_MOST_TEMPLATES = 10_000


class Framing:
    """Frames and verifies the batch messages of one schema.

    :param today: the schema as it is today.
    :param version: the format of the file; its schema may have been another then.
    """

    def __init__(self, today: pa.Schema, version: int = FORMAT) -> None:
        self.today = today
        self.version = version
        self.schema = schema_in(version, today)
        self._plain = header(self.schema, {})
        self._layout = self._find_layout()
        self._templates: dict[_Shape, _RowTemplate] = {}

    def frame(
        self, batch: pa.RecordBatch, received_at: int, head: bytes, origin_head: bytes = NO_HEAD
    ) -> tuple[memoryview, bytes]:
        """The message of a batch that follows ``head``, and the digest up to and with it.

        The message stands in memory where this thread frames its next one.
        """
        metadata = _BLANK | {
            "received_at": b"%019d" % received_at,
            "origin_head": origin_head.hex().encode(),
        }
        message = self._serialize(batch, metadata)
        at = self._layout
        message[at.length : at.length + len(_LENGTH)] = b"%012d" % len(message)
        return message, self._sign(message, head)

    def frame_rows(
        self, rows: list[tuple[Any, ...]], received_at: int, head: bytes
    ) -> tuple[bytearray, bytes]:
        """As :meth:`frame`, rows of integers and texts: the same bytes for a third of the time."""
        message, at = self._message(rows), self._layout.received_at
        message[at : at + _TIME_DIGITS] = b"%019d" % received_at
        return message, self._sign(message, head)

    def batch_of(self, rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
        """Rows of integers and texts as a batch: for less than half of what Arrow takes."""
        return pa.ipc.read_record_batch(pa.py_buffer(self._message(rows)), self.schema)

    def _message(self, rows: list[tuple[Any, ...]]) -> bytearray:
        """The message of rows, not signed."""
        return self._row(rows[0]) if len(rows) == 1 else self._together(rows)

    def _together(self, rows: list[tuple[Any, ...]]) -> bytearray:
        message, at = self._rows.message(rows), self._layout.length
        message[at : at + len(_LENGTH)] = b"%012d" % len(message)
        return message

    @cached_property
    def _rows(self) -> _Rows:
        return _Rows(self.schema, lambda batch: self._serialize(batch, _BLANK).tobytes())

    def _row(self, row: tuple[Any, ...]) -> bytearray:
        """The message of one row.

        All rows whose texts are as long have the same message but for their values, and the body
        of a one-row message is its values, one after the other.
        """
        shape: list[int | None] = []
        values: list[Any] = []
        for value in row:
            if value is None:
                shape.append(None)
            elif isinstance(value, str):
                text = value.encode()
                shape.append(len(text))
                values += (len(text) << 32, text)  # the offsets of its one text: 0 and its length
            else:
                shape.append(0)
                values.append(value)
        template = self._templates.get(tuple(shape))
        if template is None:
            template = self._template(row, tuple(shape), values)
        message = bytearray(template.metadata)
        message += template.body.pack(*values)
        return message

    def _sign(self, message: bytearray | memoryview, head: bytes) -> bytes:
        """Put the digest that a message reaches in the place that is kept for it."""
        reached = blake3(head).update(message).digest()
        at = self._layout.head
        message[at : at + len(_HEX)] = reached.hex().encode()
        return reached

    def _template(self, row: tuple[Any, ...], shape: _Shape, values: list[Any]) -> _RowTemplate:
        """The template for rows of this shape, taken from what Arrow writes for this one."""
        message = self._together([row])
        (size,) = struct.unpack_from("<i", message, 4)
        layout = "<"
        for field, length in zip(self.schema, shape, strict=True):
            if length is None:
                layout += "16x"  # no valid row, and one zero: a value, or a text's two offsets
            elif field.type == pa.utf8():
                layout += f"Q{-(-length // 8) * 8}s"
            else:
                layout += "Q" if field.type == pa.uint64() else "q"
        body = struct.Struct(layout)
        assert body.pack(*values) == message[8 + size :], "a row's body is its values"
        if len(self._templates) >= _MOST_TEMPLATES:
            self._templates.clear()
        self._templates[shape] = template = _RowTemplate(bytes(message[: 8 + size]), body)
        return template

    def verified(self, raw: memoryview, offset: int, head: bytes) -> Message | None:
        """The message at ``offset``, if it is whole and follows from ``head``."""
        at = self._layout
        digits = bytes(raw[offset + at.length : offset + at.length + len(_LENGTH)])
        if not digits.isdigit() or not at.head + len(_HEX) <= int(digits) <= len(raw) - offset:
            return None
        message = raw[offset : offset + int(digits)]
        threads = blake3.AUTO if len(message) > _LARGE else 1
        hasher = blake3(head, max_threads=threads).update(message[: at.head]).update(_HEX)
        reached = hasher.update(message[at.head + len(_HEX) :]).digest()
        if message[at.head : at.head + len(_HEX)] != reached.hex().encode():
            return None
        return Message(
            offset=offset,
            raw=message,
            received_at=int(message[at.received_at : at.received_at + _TIME_DIGITS]),
            head=reached,
            origin_head=_unhex(message[at.origin_head : at.origin_head + len(_HEX)]),
        )

    def run(self, raw: memoryview, offset: int, head: bytes) -> Iterator[Message]:
        """The messages from ``offset`` on, as far as each follows from the one before it."""
        while message := self.verified(raw, offset, head):
            yield message
            offset, head = message.end, message.head

    def salvage(self, raw: memoryview, offset: int) -> Iterator[Message]:
        """Messages after a damaged place that are whole, each by the digest before it.

        A message's digest rests on the digest that stands in the one before it. Where that one is
        damaged elsewhere than in its digest, what follows can still be told from damage.
        """
        at = self._layout
        start = re.compile(re.escape(at.start))
        place = start.search(raw, offset)
        while place:
            stated = raw[place.start() + at.head : place.start() + at.head + len(_HEX)]
            following = start.search(raw, place.end())
            if not following:
                return
            reached = following.start()
            for message in self.run(raw, reached, _unhex(stated)):
                yield message
                reached = message.end
            place = following if reached == following.start() else start.search(raw, reached)

    def batch(self, message: Message) -> pa.RecordBatch:
        """The records of a verified message, as today's; they share the file's memory."""
        batch = pa.ipc.read_record_batch(pa.py_buffer(message.raw), self.schema)
        return batch if self.schema is self.today else upcast(batch, self.today)

    def _serialize(self, batch: pa.RecordBatch, metadata: dict[str, bytes]) -> memoryview:
        start = len(self._plain)
        memory = _scratch.of(start + pa.ipc.get_record_batch_size(batch) + _METADATA)
        sink = pa.FixedSizeBufferWriter(pa.py_buffer(memory))
        stream = pa.ipc.new_stream(sink, self.schema, options=_AS_IT_IS)
        stream.write_batch(batch, custom_metadata=metadata)
        return memory[start : sink.tell()]

    def _find_layout(self) -> _Layout:
        """Frame a row with a value in each place that is found nowhere else."""
        fields = [pa.field(field.name, field.type) for field in self.schema]
        row = pa.array([(None,) * len(fields)], pa.struct(fields))
        batch = pa.RecordBatch.from_arrays(row.flatten(), schema=self.schema)
        values = {
            "received_at": b"<" * _TIME_DIGITS,
            "origin_head": b">" * len(_HEX),
            "length": b"!" * len(_LENGTH),
            "head": b"?" * len(_HEX),
        }
        message = self._serialize(batch, values).tobytes()
        (size,) = struct.unpack_from("<i", message, 4)
        assert all(message.count(value) == 1 for value in values.values())
        places = {name: message.index(value) for name, value in values.items()}
        assert max(places.values()) < 8 + size, "our metadata stands before the body"
        return _Layout(start=message[:8], **places)


@cache
def framing_of(schema: pa.Schema, version: int = FORMAT) -> Framing:
    """How batches of a schema of today are framed in a format."""
    return Framing(schema, version)


def header(schema: pa.Schema, metadata: dict[str, str]) -> bytes:
    """The schema message with which a file begins; ``metadata`` is the file's own."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema.with_metadata(metadata) if metadata else schema):
        pass
    return sink.getvalue().to_pybytes()[: -len(END_OF_STREAM)]


def version_of(raw: memoryview) -> int | None:
    """The format of the file that begins with these bytes; None if they do not say."""
    found = _VERSION.search(bytes(raw[:65536]))
    return int(found[1]) if found else None


def _unhex(digits: memoryview | bytes) -> bytes:
    try:
        return bytes.fromhex(bytes(digits).decode("ascii"))
    except ValueError:
        return NO_HEAD
