"""What a data folder is: ``network.arrows`` says it, written before any system's files are.

How many systems of each kind there are, what kind of market is outside, and the books that the
firm opens with: one record, written when a network is begun, and again when it is whole. What it
says is there is there, or is lost: nothing is guessed from the folders that are found.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import pyarrow as pa

from tradesys.log.disk import disk_errors, make_folder, require_at, write_whole
from tradesys.log.verified_stream import Stream
from tradesys.records import argument_checks as given
from tradesys.records.arrow import stamped
from tradesys.records.errors import DamagedError, InvalidValue, StorageError
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import Kind, Origin, held, split_id
from tradesys.records.schemas import origin as origin_of

FILE = "network.arrows"
SYSTEMS_MAX = 63


@dataclass(frozen=True)
class Manifest:
    """What a network is. ``venue`` is the kind of its market; ``is_made`` says that it is whole.

    Until it is, a system without files is one that was not made yet; from then on, one that has
    lost them.
    """

    customers: int
    streets: int
    venue: str
    books: OpeningBooks = field(default_factory=OpeningBooks)
    is_made: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that no network has."""
        given.whole("customers", self.customers, 1, SYSTEMS_MAX, of="customer-facing systems")
        given.whole("streets", self.streets, 1, SYSTEMS_MAX, of="street-side systems")

    def __str__(self) -> str:
        counts = f"{self.customers} customer-facing and {self.streets} street-side systems"
        return f"{counts} with a {self.venue} as the market"

    def require(self, *names: str) -> None:
        """Refuse the name of a system that it does not have."""
        systems = [origin.system for origin in self.origins]
        for name in names:
            given.one_of("system", name, systems)

    def require_order(self, order: object, order_id: int) -> None:
        """Refuse the id of an order that none of its customer-facing systems can have given."""
        names = [origin.system for origin in self.origins if origin.kind is Kind.CUSTOMER]
        if origin_of(split_id(order_id)[0]).system not in names:
            expected = f"the id of an order of {', '.join(names)}"
            raise InvalidValue("order", order, f"{expected}, like {names[0]}-17")

    @property
    def origins(self) -> list[Origin]:
        """Every system of the network, each as its first incarnation."""
        counts = {Kind.CUSTOMER: self.customers, Kind.STREET: self.streets, Kind.FIRM: 1}
        return [Origin(kind, n) for kind, count in counts.items() for n in range(1, count + 1)]


_SCHEMA = pa.schema(
    [
        ("customers", pa.int64()),
        ("streets", pa.int64()),
        ("venue", pa.utf8()),
        ("is_made", pa.bool_()),
        ("accounts", pa.list_(pa.utf8())),
        ("symbols", pa.list_(pa.utf8())),
        *((name, pa.int64()) for name in ("cash", "shares", "tick_size", "lot_size", "qty_scale")),
        *((name, pa.int64()) for name in ("fee_per_share", "fee_per_notional")),
    ]
)
_STREAM = Stream(held(_SCHEMA), "network")


def read_manifest(data: Path) -> Manifest | None:
    """What a folder says it is; None where there is no network.

    :raises DamagedError: the file is there and is not as it was written.
    """
    path = data / FILE
    with disk_errors(data):
        if not path.exists():
            return None
    reading = _STREAM.read(path)
    rows = [row for batch in reading.batches() for row in batch.to_pylist()]
    if reading.problem or not rows:
        problem = reading.problem or "it is cut short"
        raise DamagedError(str(path), reading.end, f"{problem}; put it back from a copy of the run")
    (row,) = rows
    of_network = {name: row.pop(name) for name in ("customers", "streets", "venue", "is_made")}
    books = {f.name: row[f.name] for f in fields(OpeningBooks)}
    return Manifest(**of_network, books=OpeningBooks(**books))


def write_manifest(data: Path, manifest: Manifest, time_ns: int) -> None:
    """Say what a folder is; durable on return, and whole at any moment.

    :param time_ns: when, in ns since 1970.
    :raises StorageError: the disk refused.
    """
    row = asdict(manifest)
    row |= row.pop("books")
    batch = pa.RecordBatch.from_pylist([row], _SCHEMA)
    write_whole(data / FILE, _STREAM.whole(stamped(batch, time_ns)))


def settle(data: Path, asked: Manifest, time_ns: int) -> Manifest:
    """The manifest of a folder that a network is to be made or opened in.

    :raises InvalidValue: another network is in the folder, or systems' files without a manifest.
    """
    found = read_manifest(data)
    if found is None:
        if any(path.is_dir() for path in data.glob("*/authoritative")):
            raise InvalidValue("data", str(data), f"a folder with {FILE}, which says what it is")
        write_manifest(data, asked, time_ns)
        return asked
    if (found.customers, found.streets, found.venue) != (
        asked.customers,
        asked.streets,
        asked.venue,
    ):
        raise InvalidValue("data", str(data), f"a folder of {asked}; it holds {found}")
    return found


def complete(data: Path | None, manifest: Manifest, time_ns: int) -> Manifest:
    """Note that the network is made: every system has its files, and the books are open."""
    made = replace(manifest, is_made=True)
    if data:
        write_manifest(data, made, time_ns)
    return made


@contextmanager
def locked(data: Path, *, shared: bool = False) -> Iterator[int]:
    """Hold a folder for this process alone, or ``shared`` with readers only, while it lasts.

    Gives a descriptor of the folder, by which it is known wherever it is moved
    (:func:`~tradesys.log.disk.require_at`).

    :raises StorageError: another process has it, it cannot be written, or the disk refused.
    """
    if not shared:
        _require_writable(data)
    with disk_errors(data):
        fd = os.open(data, os.O_RDONLY)
    try:
        with disk_errors(data):
            try:
                fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                used = f"{data}: in use by another process, or by this one"
                raise StorageError(used) from error
        require_at(fd, data)
        yield fd
    finally:
        os.close(fd)


def _require_writable(data: Path) -> None:
    """Make a folder where it is missing, and refuse one that cannot be written."""
    with disk_errors(data):
        if data.exists() and not data.is_dir():
            raise InvalidValue("data", str(data), "a folder, or a path where there is nothing yet")
        make_folder(data)
    if not os.access(data, os.W_OK):
        read_only = os.statvfs(data).f_flag & os.ST_RDONLY
        why = os.strerror(errno.EROFS if read_only else errno.EACCES)
        raise StorageError(f"{data}: {why}; what opens a run mends its files: open a copy of it")
