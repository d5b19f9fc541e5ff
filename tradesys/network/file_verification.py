"""Reading every file of a run, and saying what in it is not as it was written. Nothing is changed.

Three things are looked at. Each file vouches for itself: its digests form a chain. Peers vouch for
each other: a replica holds what the origin has written, record by record, and no more of it than
that. And a copy kept elsewhere vouches for the past: the shorter of two histories of an origin must
be the beginning of the longer.
"""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tradesys.log import incarnation
from tradesys.log.file import follow_on
from tradesys.log.verified_stream import Reading, Stream
from tradesys.network.manifest import FILE, locked, read_manifest
from tradesys.records.errors import DamagedError, InvalidValue, StorageError
from tradesys.records.schemas import (
    REPORTS,
    SCHEMAS,
    Kind,
    Origin,
    format_id,
    held,
    make_id,
    origin,
    split_id,
)
from tradesys.routes import Holding, holdings


class Finding(NamedTuple):
    """Something that is not as it was written: in which file, from which byte on, and what."""

    file: str
    offset: int
    what: str


class Book(NamedTuple):
    """One dataset at one system: its file, up to the first damage, and the records in it."""

    path: Path
    owner: str
    reading: Reading
    logs: dict[int, pa.Table]

    @property
    def system(self) -> str:
        """Whose it is."""
        return self.owner.split("/", maxsplit=1)[0]

    @property
    def dataset(self) -> str:
        """What it holds."""
        return self.path.stem


class Verified(NamedTuple):
    """What was looked at, and what was found."""

    files: int
    records: int
    findings: list[Finding]


def verify(folder: Path, against: Path | None = None) -> Verified:
    """Read every file of a run, and hold it against its peers and against a copy.

    :param against: another copy of the same run, older or newer.
    :raises InvalidValue: there is no such folder.
    :raises StorageError: a process has the run open, so its files are being written; or a file
        cannot be read at all.
    """
    with ExitStack() as stack:
        for path in filter(None, (folder, against)):
            if not path.is_dir():
                raise InvalidValue("data", str(path), "a folder that a run has written")
            stack.enter_context(locked(path, shared=True))
        return _verify(folder, against)


def _verify(folder: Path, against: Path | None) -> Verified:
    books = {book.owner: book for book in _books(folder)}
    findings = [*_missing(folder), *(f for book in books.values() for f in _damage(folder, book))]
    findings += [*_replicas(folder, books), *_unreported(folder, books)]
    if against is not None:
        copies = {book.owner: book for book in _books(against)}
        copy = f"in {against}: "
        for book in copies.values():
            findings += (f._replace(what=copy + f.what) for f in _damage(against, book))
        for owner, book in sorted(books.items()):
            if owner in copies:
                findings += _differs(folder, book, copies[owner])
            else:
                name = str(book.path.relative_to(folder))
                findings.append(Finding(name, 0, f"{copy}it is missing, so nothing vouches for it"))
    records = sum(len(log) for book in books.values() for log in book.logs.values())
    return Verified(len(books), records, findings)


def _books(folder: Path) -> Iterator[Book]:
    """Every dataset at every system of a run, read up to the first damage."""
    for path in sorted(folder.rglob("*.arrows")):
        dataset = path.stem
        schema = REPORTS if dataset == "reports" else SCHEMAS.get(dataset)
        if schema is None or path.is_dir():
            continue
        owner = str(path.relative_to(folder).with_suffix(""))
        batches, counts, reading = follow_on(Stream(held(schema), owner).read(path))
        logs = {
            code: pa.Table.from_batches(
                batch for batch in batches if split_id(batch[0][0].as_py())[0] == code
            )
            for code in counts
        }
        yield Book(path, owner, reading, logs)


def _missing(folder: Path) -> Iterator[Finding]:
    """Files that the systems of this run should have."""
    try:
        manifest = read_manifest(folder)
    except DamagedError as error:
        yield Finding(FILE, error.offset, error.reason)
        return
    except StorageError:
        manifest = None
    if manifest is None:
        yield from _lacks(folder, FILE)
    for finding in _lacks(folder, "venue/reports.arrows"):
        yield finding._replace(what=f"{finding.what}: the market's own record")
    for system in manifest.origins if manifest else ():
        for dataset, holding in holdings(system.kind).items():
            yield from _lacks(folder, f"{system.system}/{holding}/{dataset}.arrows")
        if _incarnation(folder, system) is None:
            what = "it does not say which incarnation this is"
            yield Finding(f"{system.system}/incarnation.arrows", 0, what)


def _lacks(folder: Path, name: str) -> Iterator[Finding]:
    """What is wrong where a file with something in it should be."""
    path = folder / name
    if path.is_dir():
        yield Finding(name, 0, "a folder is in the place of this file")
    elif not path.exists():
        yield Finding(name, 0, "the file is missing")
    elif not path.stat().st_size:
        yield Finding(name, 0, "the file is empty")


def _damage(folder: Path, book: Book) -> Iterator[Finding]:
    """What does not verify in a file, and which records stand after it."""
    reading = book.reading
    problem = reading.problem
    if not reading.end and reading.raw:  # it got its name when its beginning was durable
        problem = problem or "it is cut short: not even its beginning is whole"
    if problem:
        after = ", ".join(
            f"{origin(code)} from {format_id(make_id(code, len(log)))} on"
            for code, log in book.logs.items()
        )
        affected = f" (records of {after} are affected)" if after else ""
        yield Finding(str(book.path.relative_to(folder)), reading.end, f"{problem}{affected}")


def _unreported(folder: Path, books: dict[str, Book]) -> Iterator[Finding]:
    """What street-side systems recorded of the market that its own record does not have."""
    venue = books.get("venue/reports")
    if venue is None or venue.reading.problem:
        return
    market, reported = Origin(Kind.VENUE).code, sum(map(len, venue.logs.values()))
    for book in books.values():
        if book.path.parent.name == Holding.AUTHORITATIVE and book.dataset == "executions":
            ids = (log["exec_id"].to_numpy() for log in book.logs.values())
            events = [of[of >> np.uint64(48) == market] for of in ids]
            last = max((of.max().item() for of in events if len(of)), default=0)
            if last and split_id(last)[1] >= reported:
                what = f"{book.system} recorded {format_id(last)}, which is not in it"
                name = str(venue.path.relative_to(folder))
                yield Finding(name, venue.reading.end, what)


def _replicas(folder: Path, books: dict[str, Book]) -> Iterator[Finding]:
    """Where a replica holds other records than the system that wrote them, or more.

    A system that lost records goes on as a new incarnation: of earlier ones it may hold less.
    """
    for book in books.values():
        for code, theirs in book.logs.items():
            written = books.get(f"{origin(code).system}/authoritative/{book.dataset}")
            if written is None or written is book:
                continue
            mine = written.logs.get(code, theirs.slice(0, 0))
            at = _parts_at(mine.drop_columns("received_at"), theirs.drop_columns("received_at"))
            name = str(written.path.relative_to(folder))
            if at is not None:
                what = f"another {format_id(make_id(code, at))} than in {name}"
                yield Finding(str(book.path.relative_to(folder)), 0, what)
            now = _incarnation(folder, origin(code))
            if len(theirs) > len(mine) and now == origin(code) and not written.reading.problem:
                record = format_id(make_id(code, len(mine)))
                what = f"{book.system} has fetched {record} from it: it was rewritten or cut"
                yield Finding(name, written.reading.end, what)


def _parts_at(one: pa.Table, other: pa.Table) -> int | None:
    """The first row in which two histories differ that both have; None if none does."""
    count = min(len(one), len(other))
    if one.slice(0, count).equals(other.slice(0, count)):
        return None
    return bisect_left(range(count), 1, key=lambda n: one.slice(0, n + 1) != other.slice(0, n + 1))


def _incarnation(folder: Path, first: Origin) -> Origin | None:
    """Which incarnation a system says that it is; None if its file does not say."""
    try:
        found = incarnation.read_incarnation(folder / first.system, first)
    except StorageError:
        return None
    return found or first._replace(incarnation=0)


def _differs(folder: Path, book: Book, copy: Book) -> Iterator[Finding]:
    """Where two histories of one file part."""
    for code in sorted(book.logs.keys() & copy.logs.keys()):
        at = _parts_at(book.logs[code], copy.logs[code])
        if at is not None:
            what = f"another history than {copy.path} from {format_id(make_id(code, at))} on"
            yield Finding(str(book.path.relative_to(folder)), 0, what)
