"""Which incarnation of itself a system is, kept beside its data as an Arrow stream of one row."""

from pathlib import Path

import pyarrow as pa
from blake3 import blake3

from tradesys.log.disk import disk_errors, name_aside, write_whole
from tradesys.records.errors import DamagedError
from tradesys.records.schemas import INCARNATIONS, Origin

_SCHEMA = pa.schema(
    [
        pa.field("origin", pa.utf8(), nullable=False),
        pa.field("digest", pa.binary(32), nullable=False),
    ]
)


def read_incarnation(folder: Path | None, first: Origin) -> Origin | None:
    """The origin that a system last went on as; None if it has only ever been its ``first``.

    :raises DamagedError: the file says anything else: the system cannot know, and must go on as an
        incarnation that it has never been.
    """
    path = _path(folder) if folder else None
    if path is None or not path.exists():
        return None
    with disk_errors(path):
        found = stated(path, first)
        if found is None:
            raise DamagedError(str(path), 0, "it does not say which incarnation this is")
    return found


def stated(path: Path, first: Origin) -> Origin | None:
    """The incarnation of a system that a file states; None if it states none."""
    found = path.read_bytes()
    for number in range(INCARNATIONS):
        origin = first._replace(incarnation=number)
        if found in (_stream(origin), _stream(origin, _SCHEMA.remove(1))):
            return origin
    return None


def write_incarnation(folder: Path, now: Origin) -> None:
    """Note the origin that a system goes on as; durable on return.

    A file that does not say which it was until then is kept beside it.

    :raises StorageError: the disk refused.
    """
    path = _path(folder)
    with disk_errors(path):
        if path.exists() and stated(path, now) is None:
            name_aside(path, "damaged").hardlink_to(path)
    write_whole(path, _stream(now))


def _path(folder: Path) -> Path:
    return folder / "incarnation.arrows"


def _stream(origin: Origin, schema: pa.Schema = _SCHEMA) -> bytes:
    """The file of an origin, byte for byte; before format 3 there was no digest in it."""
    columns = {"origin": [str(origin)], "digest": [blake3(str(origin).encode()).digest()]}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(pa.table({n: columns[n] for n in schema.names}, schema=schema))
    return sink.getvalue().to_pybytes()
