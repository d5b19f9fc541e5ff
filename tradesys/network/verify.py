"""Reading every file of a run, and saying what in it is not as it was written. Nothing is changed.

Three things are looked at. Each file vouches for itself: its digests form a chain. Peers vouch for
each other: a replica holds the origin's records, and keeps the digest that the origin's file had
reached when it fetched, which must be one the file has been at. And a copy kept elsewhere vouches
for the past: the shorter of two histories of a file must be the beginning of the longer.
"""

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradesys.log import segments
from tradesys.log.arrivals import Arrivals, arrival_of, runs
from tradesys.log.framing import NO_HEAD
from tradesys.log.incarnation import stated
from tradesys.log.segments import Reading, sealed_path
from tradesys.network.charter import FILE, locked, read_charter
from tradesys.records.errors import DamagedError, InvalidValue, StorageError
from tradesys.records.schemas import (
    REPORTS,
    SCHEMAS,
    Kind,
    Origin,
    format_id,
    make_id,
    origin,
    split_id,
)
from tradesys.routes import Holding, holdings

_HEAD = pa.binary(32)


class Finding(NamedTuple):
    """Something that is not as it was written: in which file, from which byte on, and what."""

    file: str
    offset: int
    what: str


class Book(NamedTuple):
    """One dataset at one system: its readings, segment by segment, and what arrived in it."""

    path: Path
    owner: str
    readings: list[Reading]
    arrivals: pa.Table

    @property
    def system(self) -> str:
        """Whose it is."""
        return self.owner.split("/", maxsplit=1)[0]

    @property
    def dataset(self) -> str:
        """What it holds."""
        return self.path.stem

    def records(self, code: int) -> pa.Table:
        """The records of an origin, in sequence."""
        each = (batch for reading in self.readings for batch in reading.batches())
        mine = [b for b in each if split_id(b.column(0)[0].as_py())[0] == code]
        return pa.Table.from_batches(mine, self.readings[0].framing.today)


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
    findings += [*_rewritten(folder, books), *_copies(folder, books), *_unreported(folder, books)]
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
    files = sum(len(book.readings) for book in books.values())
    records = sum(pc.sum(book.arrivals["rows"]).as_py() or 0 for book in books.values())
    return Verified(files, records, findings)


def _books(folder: Path) -> Iterator[Book]:
    """Every dataset at every system of a run, read segment by segment up to the first damage."""
    for path in sorted(folder.rglob("*.arrows")):
        dataset = path.stem
        schema = REPORTS if dataset == "reports" else SCHEMAS.get(dataset)
        if schema is None or path.is_dir():
            continue
        owner = str(path.relative_to(folder).with_suffix(""))
        readings, previous, number = [], NO_HEAD, 1
        counts: dict[int, int] = {}
        while (sealed := sealed_path(path, number)).exists():
            if segments.follows(path, schema, owner, previous):
                break  # it was being made of the file that is written to when a crash came
            reading = segments.read(sealed, schema, owner, previous)
            readings.append(segments.follow_on(reading, counts))
            previous, number = readings[-1].head, number + 1
        reading = segments.read(path, schema, owner, previous)
        readings.append(segments.follow_on(reading, counts))
        yield Book(path, owner, readings, _arrived(readings))


def _arrived(readings: list[Reading]) -> pa.Table:
    """What arrived, segment after segment, as :data:`tradesys.log.arrivals.SCHEMA`."""
    arrived = Arrivals()
    for reading in readings:
        if reading.arrivals is not None:
            arrived.extend(reading.arrivals)
            continue
        for m, batch in zip(reading.messages, reading.batches(), strict=True):
            arrived.append(arrival_of(batch, m.received_at, m.head, m.origin_head))
    return arrived.table()


def _missing(folder: Path) -> Iterator[Finding]:
    """Files that the systems of this run should have."""
    try:
        charter = read_charter(folder)
    except DamagedError as error:
        yield Finding(FILE, error.offset, error.reason)
        return
    except StorageError:
        charter = None
    if charter is None:
        yield from _lacks(folder, FILE)
    for finding in _lacks(folder, "venue/reports.arrows"):
        yield finding._replace(what=f"{finding.what}: the market's own record")
    for system in charter.origins if charter else ():
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
    after = ", ".join(
        f"{origin(code)} from {format_id(make_id(code, count))} on"
        for code, (_, count) in runs(book.arrivals).items()
    )
    for reading in book.readings:
        problem = reading.problem
        if not reading.end and reading.raw:  # it got its name when its beginning was durable
            problem = problem or "it is cut short: not even its beginning is whole"
        if problem:
            affected = f" (records of {after} are affected)" if after else ""
            name = str(reading.path.relative_to(folder))
            yield Finding(name, reading.end, f"{problem}{affected}")


def _unreported(folder: Path, books: dict[str, Book]) -> Iterator[Finding]:
    """What street-side systems recorded of the market that its own record does not have."""
    venue = books.get("venue/reports")
    if venue is None or any(reading.problem for reading in venue.readings):
        return
    market, reported = Origin(Kind.VENUE).code, pc.sum(venue.arrivals["rows"]).as_py() or 0
    end = venue.readings[-1]
    for book in books.values():
        if book.path.parent.name == Holding.AUTHORITATIVE and book.dataset == "executions":
            each = (batch["exec_id"] for reading in book.readings for batch in reading.batches())
            events = [i.to_numpy()[i.to_numpy() >> np.uint64(48) == market] for i in each]
            last = max((of.max().item() for of in events if len(of)), default=0)
            if last and split_id(last)[1] >= reported:
                what = f"{book.system} recorded {format_id(last)}, which is not in it"
                yield Finding(str(end.path.relative_to(folder)), end.end, what)


def _rewritten(folder: Path, books: dict[str, Book]) -> Iterator[Finding]:
    """Histories that are not the ones that peers have seen.

    A system that lost records goes on as a new incarnation, in a file that has not been where the
    earlier ones were; what these wrote is held against its copies (:func:`_copies`).
    """
    for book, code, written in _replicas(books):
        now = _incarnation(folder, origin(code))
        if now is None or now > origin(code):
            continue
        arrived = book.arrivals.filter(pc.equal(book.arrivals["code"], code))
        been = pa.concat_arrays([pa.array([NO_HEAD], _HEAD), *written.arrivals["head"].chunks])
        amiss = arrived.filter(pc.invert(pc.is_in(arrived["origin_head"], been)))
        if amiss.num_rows:
            record = format_id(make_id(code, amiss["start"][0].as_py()))
            name = str(written.path.relative_to(folder))
            what = f"{book.system} saw another history of it when it fetched {record}: "
            yield Finding(name, 0, f"{what}it was rewritten or cut")


def _copies(folder: Path, books: dict[str, Book]) -> Iterator[Finding]:
    """Records that are others at a replica than at the system that wrote them."""
    for book, code, written in _replicas(books):
        mine, theirs = book.records(code), written.records(code)
        count = min(len(mine), len(theirs))
        if mine.slice(0, count).equals(theirs.slice(0, count)):
            continue
        at = bisect_left(
            range(count), 1, key=lambda n: mine.slice(0, n + 1) != theirs.slice(0, n + 1)
        )
        record = format_id(make_id(code, at))
        what = f"another {record} than in {written.path.relative_to(folder)}"
        yield Finding(str(book.path.relative_to(folder)), 0, what)


def _replicas(books: dict[str, Book]) -> Iterator[tuple[Book, int, Book]]:
    """Each book that holds records of an origin, and the book of that origin itself."""
    for book in books.values():
        for code in runs(book.arrivals):
            written = books.get(f"{origin(code).system}/authoritative/{book.dataset}")
            if written is not None and written is not book:
                yield book, code, written


def _incarnation(folder: Path, first: Origin) -> Origin | None:
    """Which incarnation a system says that it is; None if its file does not say."""
    path = folder / first.system / "incarnation.arrows"
    if path.is_dir():
        return None
    return stated(path, first) if path.exists() else first._replace(incarnation=0)


def _differs(folder: Path, book: Book, copy: Book) -> Iterator[Finding]:
    """Where two histories of one file part."""
    shared = min(len(book.arrivals), len(copy.arrivals))
    mine, theirs = (b.arrivals["head"].slice(0, shared) for b in (book, copy))
    at = pc.index(pc.not_equal(mine, theirs), value=True).as_py()
    if at < 0:
        return
    row = {name: book.arrivals[name][at].as_py() for name in ("code", "start", "head")}
    record = format_id(make_id(row["code"], row["start"]))
    name = str(book.path.relative_to(folder))
    offset = next((m.offset for r in book.readings for m in r.messages if m.head == row["head"]), 0)
    yield Finding(name, offset, f"another history than {copy.path} from {record} on")
