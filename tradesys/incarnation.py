"""Which incarnation of itself a system is, kept beside its data as an Arrow stream of one row."""

from pathlib import Path

import pyarrow as pa

from tradesys.errors import StorageError
from tradesys.logfile import sync_file
from tradesys.records import Origin, parse_origin

_SCHEMA = pa.schema([pa.field("origin", pa.utf8(), nullable=False)])


def read_incarnation(folder: Path | None) -> Origin | None:
    """The origin that a system last went on as; None if it has only ever been its first.

    :raises StorageError: the file is there and does not say.
    """
    path = folder / "incarnation.arrows" if folder else None
    if path is None or not path.exists():
        return None
    try:
        rows = pa.ipc.open_stream(pa.py_buffer(path.read_bytes())).read_all()
        return parse_origin(rows["origin"][0].as_py())
    except (OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise StorageError(f"{path}: does not say which incarnation this is: {error}") from error


def write_incarnation(folder: Path, now: Origin) -> None:
    """Note the origin that a system goes on as; durable on return."""
    path = folder / "incarnation.arrows"
    written = path.with_suffix(".new")
    with written.open("wb") as file, pa.ipc.new_stream(file, _SCHEMA) as stream:
        stream.write_table(pa.table({"origin": [str(now)]}, schema=_SCHEMA))
    sync_file(written)
    written.rename(path)
    sync_file(folder)
