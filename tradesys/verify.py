"""Reading every file of a run, and saying what in it is not as it was written. Nothing is changed.

Three things are looked at. Each file vouches for itself: its digests form a chain. Peers vouch for
each other: a replica keeps the digest that the origin's file had reached when it fetched, and that
digest must be one the file has been at. And a copy kept elsewhere vouches for the past: the shorter
of two histories of a file must be the beginning of the longer.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tradesys import segments
from tradesys.arrivals import Arrivals, arrival_of
from tradesys.charter import FILE, read_charter
from tradesys.errors import DamagedError
from tradesys.framing import NO_HEAD, Framing
from tradesys.records import REPORTS, SCHEMAS, format_id, make_id, origin
from tradesys.segments import Reading, sealed_path
from tradesys.topology import holdings

_DIGEST = re.compile(rb"[0-9a-f]{64}")


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
    arrivals: Arrivals


class Verified(NamedTuple):
    """What was looked at, and what was found."""

    files: int
    records: int
    findings: list[Finding]


def verify(folder: Path, against: Path | None = None) -> Verified:
    """Read every file of a run, and hold it against its peers and against a copy.

    :param against: another copy of the same run, older or newer.
    :raises StorageError: a file cannot be read at all.
    """
    books = {book.owner: book for book in _books(folder)}
    findings = [*_missing(folder), *(f for book in books.values() for f in _damage(folder, book))]
    findings += _rewritten(folder, books)
    if against is not None:
        copies = {book.owner: book for book in _books(against)}
        for owner in sorted(books.keys() & copies.keys()):
            findings += _differs(folder, books[owner], copies[owner])
    files = sum(len(book.readings) for book in books.values())
    records = sum(r.rows for book in books.values() for r in book.arrivals)
    return Verified(files, records, findings)


def _books(folder: Path) -> Iterator[Book]:
    """Every dataset at every system of a run, read segment by segment up to the first damage."""
    for path in sorted(folder.rglob("*.arrows")):
        dataset = path.stem
        schema = REPORTS if dataset == "reports" else SCHEMAS.get(dataset)
        if schema is None:
            continue
        owner = str(path.relative_to(folder).with_suffix(""))
        framing, arrivals = Framing(schema), Arrivals()
        readings, previous, number = [], NO_HEAD, 1
        while (sealed := sealed_path(path, number)).exists():
            readings.append(segments.read(sealed, framing, owner, previous))
            previous, number = readings[-1].head, number + 1
        readings.append(segments.read(path, framing, owner, previous))
        for reading in readings:
            if reading.arrivals is not None:
                arrivals.extend(reading.arrivals)
                continue
            for m in reading.messages:
                batch = framing.batch(m)
                arrivals.append(arrival_of(batch, m.received_at, m.head, m.origin_head))
        yield Book(path, owner, readings, arrivals)


def _missing(folder: Path) -> Iterator[Finding]:
    """Files that the systems of this run should have."""
    try:
        charter = read_charter(folder)
    except DamagedError as error:
        yield Finding(FILE, error.offset, error.reason)
        return
    if charter is None:
        yield Finding(FILE, 0, "the file is missing")
    if not (folder / "venue" / "reports.arrows").exists():
        yield Finding("venue/reports.arrows", 0, "the file is missing: the market's own record")
    for system in charter.origins if charter else ():
        for dataset, holding in holdings(system.kind).items():
            path = folder / system.system / holding / f"{dataset}.arrows"
            if not path.exists():
                yield Finding(str(path.relative_to(folder)), 0, "the file is missing")
            elif not path.stat().st_size:
                yield Finding(str(path.relative_to(folder)), 0, "the file is empty")


def _damage(folder: Path, book: Book) -> Iterator[Finding]:
    """What does not verify in a file, and which records stand after it."""
    held = book.arrivals.known_at(2**63 - 1)
    after = ", ".join(
        f"{origin(code)} from {format_id(make_id(code, count))} on" for code, count in held.items()
    )
    for reading in book.readings:
        if reading.problem:
            affected = f" (records of {after} are affected)" if after else ""
            name = str(reading.path.relative_to(folder))
            yield Finding(name, reading.end, f"{reading.problem}{affected}")


def _rewritten(folder: Path, books: dict[str, Book]) -> Iterator[Finding]:
    """Histories that are not the ones that peers have seen."""
    heads = {
        owner: {arrival.head for arrival in book.arrivals} | _set_aside(book.path)
        for owner, book in books.items()
    }
    for book in books.values():
        system, _, dataset = book.owner.split("/") if book.owner.count("/") == 2 else ("", "", "")
        told: set[str] = set()
        for arrival in book.arrivals:
            source = origin(arrival.code)
            owner = f"{source.system}/authoritative/{dataset}"
            seen = arrival.origin_head
            if seen == NO_HEAD or owner not in heads or seen in heads[owner] or owner in told:
                continue
            told.add(owner)
            record = format_id(make_id(arrival.code, arrival.start))
            name = str(books[owner].path.relative_to(folder))
            what = f"{system} saw another history of it when it fetched {record}: it was rewritten"
            yield Finding(name, 0, what)


def _set_aside(path: Path) -> set[bytes]:
    """The digests that stand in files set aside as damaged: a repaired file was at those too."""
    found = set()
    for aside in path.parent.glob(f"{path.name}.*"):
        for digits in _DIGEST.findall(aside.read_bytes()):
            found.add(bytes.fromhex(digits.decode()))
    return found


def _differs(folder: Path, book: Book, copy: Book) -> Iterator[Finding]:
    """Where two histories of one file part."""
    mine, theirs = book.arrivals.heads(), copy.arrivals.heads()
    shared = min(len(mine), len(theirs))
    if mine[:shared] == theirs[:shared]:
        return
    at = next(i for i in range(0, shared, 32) if mine[i : i + 32] != theirs[i : i + 32]) // 32
    arrival = book.arrivals[at]
    record = format_id(make_id(arrival.code, arrival.start))
    name = str(book.path.relative_to(folder))
    offset = next(
        (m.offset for r in book.readings for m in r.messages if m.head == arrival.head), 0
    )
    yield Finding(name, offset, f"another history than {copy.path} from {record} on")
