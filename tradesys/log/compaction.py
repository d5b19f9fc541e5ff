"""Writing a sealed segment: the records of a plain one in large batches, its arrivals beside it."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
from blake3 import blake3

from tradesys.log import arrivals, segments
from tradesys.log.disk import in_making, sync
from tradesys.log.framing import END_OF_STREAM, Framing, framing_of

COMPACT_ROWS = 100_000
"""How many rows a batch of a compacted segment has at most."""

ReadRun = Callable[[int, int, int], pa.RecordBatch]
"""Gives records of an origin: its 16-bit code, the position of the first, how many."""


def compact(
    sealed: Path, schema: pa.Schema, owner: str, previous: bytes, arrived: pa.Table, read: ReadRun
) -> bytes:
    """Write a sealed segment of what has arrived; gives the digest that it ends with.

    Both files are durable on return and take their place by
    :func:`~tradesys.log.disk.put_in_place`.
    """
    received_at = arrived["received_at"][-1].as_py()
    batches = (
        read(code, at, min(COMPACT_ROWS, first + rows - at))
        for code, (first, rows) in arrivals.runs(arrived).items()
        for at in range(first, first + rows, COMPACT_ROWS)
    )
    framing = framing_of(schema)
    start = segments.segment_header(framing, owner, previous, segments.COMPACTED)
    head = _write(in_making(sealed), start, framing, batches, received_at)
    framing = framing_of(arrivals.SCHEMA)
    start = segments.arrivals_header(framing, owner, previous, head)
    beside = in_making(segments.arrivals_path(sealed))
    return _write(beside, start, framing, arrived.combine_chunks().to_batches(), received_at)


def _write(
    path: Path, start: bytes, framing: Framing, batches: Iterable[pa.RecordBatch], received_at: int
) -> bytes:
    head = blake3(start).digest()
    with path.open("wb") as file:
        file.write(start)
        for batch in batches:
            message, head = framing.frame(batch, received_at, head)
            file.write(message)
        file.write(END_OF_STREAM)
        file.flush()
        sync(file.fileno())
    return head
