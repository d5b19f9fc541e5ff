"""Which incarnation of itself a system is, kept beside its data in a file of one record.

Whoever took an earlier incarnation for the present one would give ids twice: a file that is not as
it was written says nothing.
"""

from pathlib import Path

import pyarrow as pa

from tradesys.log.disk import disk_errors, name_aside, write_whole
from tradesys.log.verified_stream import Stream
from tradesys.records.arrow import batch_of, stamped
from tradesys.records.errors import DamagedError
from tradesys.records.schemas import Origin, held, parse_origin

FILE = "incarnation.arrows"

_SCHEMA = pa.schema([pa.field("origin", pa.utf8(), nullable=False)])
_STREAM = Stream(held(_SCHEMA), "incarnation")


def read_incarnation(folder: Path | None, first: Origin) -> Origin | None:
    """The origin that a system last went on as; None if it has only ever been its ``first``.

    :raises DamagedError: the file says anything else: the system cannot know, and must go on as an
        incarnation that it has never been.
    """
    path = folder / FILE if folder else None
    if path is None or not path.exists():
        return None
    reading = _STREAM.read(path)
    names = [name for batch in reading.batches() for name in batch["origin"].to_pylist()]
    found = parse_origin(names[0]) if names and not reading.problem else None
    if found is None or found.system != first.system:
        raise DamagedError(str(path), reading.end, "it does not say which incarnation this is")
    return found


def write_incarnation(folder: Path, now: Origin, time_ns: int) -> None:
    """Note the origin that a system goes on as; durable on return.

    A file that did not say which it was until then is kept beside it.

    :param time_ns: when, in ns since 1970.
    :raises StorageError: the disk refused.
    """
    path = folder / FILE
    try:
        read_incarnation(folder, now)
    except DamagedError:
        with disk_errors(path):
            name_aside(path, "damaged").hardlink_to(path)
    write_whole(path, _STREAM.whole(stamped(batch_of(_SCHEMA, [(str(now),)]), time_ns)))
