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

import pyarrow as pa
import pyarrow.compute as pc

from tradesys import segments
from tradesys.arrivals import Arrivals, arrival_of, runs
from tradesys.framing import NO_HEAD
from tradesys.incarnation import stated
from tradesys.records import REPORTS, SCHEMAS, format_id, make_id, origin, parse_origin
from tradesys.segments import Reading, sealed_path
from tradesys.topology import holdings

_HEAD = pa.binary(32)
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
    arrivals: pa.Table


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
    records = sum(pc.sum(book.arrivals["rows"]).as_py() or 0 for book in books.values())
    return Verified(files, records, findings)


def _books(folder: Path) -> Iterator[Book]:
    """Every dataset at every system of a run, read segment by segment up to the first damage."""
    for path in sorted(folder.rglob("*.arrows")):
        dataset = path.stem
        schema = REPORTS if dataset == "reports" else SCHEMAS.get(dataset)
        if schema is None:
            continue
        owner = str(path.relative_to(folder).with_suffix(""))
        readings, previous, number = [], NO_HEAD, 1
        while (sealed := sealed_path(path, number)).exists():
            if segments.follows(path, schema, owner, previous):
                break  # it was being made of the file that is written to when a crash came
            readings.append(segments.read(sealed, schema, owner, previous))
            previous, number = readings[-1].head, number + 1
        readings.append(segments.read(path, schema, owner, previous))
        yield Book(path, owner, readings, _arrived(readings))


def _arrived(readings: list[Reading]) -> pa.Table:
    """What arrived, segment after segment, as :data:`tradesys.arrivals.SCHEMA`."""
    arrived = Arrivals()
    for reading in readings:
        if reading.arrivals is not None:
            arrived.extend(reading.arrivals)
            continue
        for m, batch in zip(reading.messages, reading.batches(), strict=True):
            arrived.append(arrival_of(batch, m.received_at, m.head, m.origin_head))
    return arrived.table()


def _missing(folder: Path) -> Iterator[Finding]:
    """Files that a system of this run should have, and what its incarnation's file does not say."""
    for system in sorted(p for p in folder.iterdir() if (p / "authoritative").is_dir()):
        for dataset, holding in holdings(parse_origin(system.name).kind).items():
            path = system / holding / f"{dataset}.arrows"
            if not path.exists():
                yield Finding(str(path.relative_to(folder)), 0, "the file is missing")
            elif not path.stat().st_size:
                yield Finding(str(path.relative_to(folder)), 0, "the file is empty")
        path = system / "incarnation.arrows"
        if path.exists() and stated(path, parse_origin(system.name)) is None:
            what = "it does not say which incarnation this is"
            yield Finding(str(path.relative_to(folder)), 0, what)


def _damage(folder: Path, book: Book) -> Iterator[Finding]:
    """What does not verify in a file, and which records stand after it."""
    after = ", ".join(
        f"{origin(code)} from {format_id(make_id(code, count))} on"
        for code, (_, count) in runs(book.arrivals).items()
    )
    for reading in book.readings:
        if reading.problem:
            affected = f" (records of {after} are affected)" if after else ""
            name = str(reading.path.relative_to(folder))
            yield Finding(name, reading.end, f"{reading.problem}{affected}")


def _rewritten(folder: Path, books: dict[str, Book]) -> Iterator[Finding]:
    """Histories that are not the ones that peers have seen."""
    for book in books.values():
        system, _, dataset = book.owner.split("/") if book.owner.count("/") == 2 else ("", "", "")
        for code in runs(book.arrivals):
            written = books.get(f"{origin(code).system}/authoritative/{dataset}")
            if written is None or written is book:
                continue
            arrived = book.arrivals.filter(pc.equal(book.arrivals["code"], code))
            been = pa.concat_arrays([_heads(written), _set_aside(written.path)])
            amiss = arrived.filter(pc.invert(pc.is_in(arrived["origin_head"], been)))
            if amiss.num_rows:
                record = format_id(make_id(code, amiss["start"][0].as_py()))
                name = str(written.path.relative_to(folder))
                what = f"{system} saw another history of it when it fetched {record}: "
                yield Finding(name, 0, f"{what}it was rewritten or cut")


def _heads(book: Book) -> pa.FixedSizeBinaryArray:
    """The digests that a file has been at; to have seen none is to have seen nothing amiss."""
    return pa.concat_arrays([pa.array([NO_HEAD], _HEAD), *book.arrivals["head"].chunks])


def _set_aside(path: Path) -> pa.FixedSizeBinaryArray:
    """The digests that stand in files set aside as damaged: a repaired file was at those too."""
    asides = path.parent.glob(f"{path.name}.*")
    found = (digits for aside in asides for digits in _DIGEST.findall(aside.read_bytes()))
    return pa.array([bytes.fromhex(digits.decode()) for digits in found], _HEAD)


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
