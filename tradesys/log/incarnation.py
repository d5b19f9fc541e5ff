"""Which incarnation of itself a system is: a log of one record for each after the first.

``incarnation.arrows`` lies beside a system's data. It must say what was last written to it: whoever
took an earlier incarnation for the present one would give ids twice.
"""

from pathlib import Path

import pyarrow as pa

from tradesys.log.file import LogFile
from tradesys.log.stream import Stream
from tradesys.records.arrow import batch_of, stamped
from tradesys.records.errors import DamagedError
from tradesys.records.schemas import Origin, held, parse_origin

FILE = "incarnation.arrows"

_SCHEMA = pa.schema(
    [
        pa.field("record_id", pa.uint64(), nullable=False),
        pa.field("origin", pa.utf8(), nullable=False),
    ]
)
_OWNER = "incarnation"


def read_incarnation(folder: Path | None, first: Origin) -> Origin | None:
    """The origin that a system last went on as; None if it has only ever been its ``first``.

    :raises DamagedError: the file says anything else: the system cannot know, and must go on as an
        incarnation that it has never been.
    """
    path = folder / FILE if folder else None
    if path is None or not path.exists():
        return None
    reading = Stream(held(_SCHEMA), _OWNER).read(path)
    names = [name for batch in reading.batches() for name in batch["origin"].to_pylist()]
    found = parse_origin(names[-1]) if names and not reading.problem else None
    if found is None or found.system != first.system:
        raise DamagedError(str(path), reading.end, "it does not say which incarnation this is")
    return found


def write_incarnation(folder: Path, now: Origin, time_ns: int) -> None:
    """Note the origin that a system goes on as; durable on return.

    :param time_ns: when, in ns since 1970.
    :raises StorageError: the disk refused.
    """
    file = LogFile(folder / FILE, _SCHEMA, owner=_OWNER)
    file.settle()
    count = sum(batch.num_rows for batch in file.stored())
    file.commit([stamped(batch_of(_SCHEMA, [(count, str(now))]), time_ns)])
    file.close()
