"""Carrying record batches from log to log, by offset, along the seven routes.

Replication is a pull. The target says what it :func:`wants`, the source :func:`gives` what follows,
the target :func:`takes` it. That is idempotent, leaves no gap, and catches up after any outage:
there is nothing to remember about a transfer that failed. A source that sees from a question what
it :func:`lacks` asks for it, and the target :func:`gives_back`. When this happens, and in which
messages, is the matter of :mod:`tradesys.replication.runtime`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from tradesys.log.offsets import Key, Offsets
from tradesys.records.arrow import as_written
from tradesys.records.errors import GapError
from tradesys.records.schemas import Origin
from tradesys.routes import ROUTES, WRITES, Route, holdings
from tradesys.systems.system import System


class Carried(NamedTuple):
    """Records of one origin on their way."""

    dataset: str
    batch: pa.RecordBatch


class Link(NamedTuple):
    """A pair of systems between which a route of the topology runs."""

    source: System
    target: System
    route: Route


def links(systems: Sequence[System]) -> list[Link]:
    """Every link between these systems, in the order of the routes."""
    return [
        Link(source, target, route)
        for route in ROUTES
        for source in systems
        for target in systems
        if source.kind is route.writer and target.kind is route.reader and source is not target
    ]


def wants(target: System, source: Origin) -> Offsets:
    """What a target holds of what a system has written, in any incarnation: it wants what follows.

    :param source: any incarnation of it.
    """
    return Offsets(
        ((dataset, code), log.count)
        for dataset in WRITES[source.kind]
        if dataset in target.tables
        for code, log in target.tables[dataset].logs.items()
        if code >> 8 == source.code >> 8
    )


def gives(source: System, wanted: Offsets, rows: int | None = None) -> list[Carried]:
    """What a source has written beyond what is wanted, of all its incarnations.

    :param rows: so many records at most of each.
    """
    keys = [(dataset, c) for dataset in WRITES[source.kind] for c in source.own_codes(dataset)]
    return _after(source, wanted, keys, rows)


def takes(target: System, carried: Sequence[Carried], *, durable: bool = False) -> int:
    """Take in what has come; gives how many records were new.

    What does not follow on from what is held is left: it will be wanted again.

    :param durable: have it on disk before anybody can ask for it.
    """
    new = 0
    for dataset, batch in carried:
        try:
            moved = target.receive(dataset, batch)
        except GapError:
            continue  # what is between was lost on its way, or with this system's memory
        if durable and moved and (file := target.tables[dataset].file):
            file.sync()
        new += moved
    return new


def lacks(source: System, wanted: Offsets) -> Offsets:
    """What a source holds of its own records of which a target holds more: it has lost some.

    What it writes as now it has: who holds more of that holds what it never wrote.
    """
    held = (
        (key, source.tables[key[0]].count(key[1])) for key in wanted if key[1] != source.origin.code
    )
    return Offsets((key, count) for key, count in held if count < wanted[key])


def gives_back(
    holder: System, loser: Origin, held: Offsets, rows: int | None = None
) -> list[Carried]:
    """What a system holds of all that another should hold and does not, whoever wrote it.

    Of what the other writes as now it gives nothing: see :func:`lacks`.

    :param loser: who asks, because it has lost records.
    :param held: what it holds of everything.
    :param rows: so many records at most of each.
    """
    datasets = [dataset for dataset in holdings(loser.kind) if dataset in holder.tables]
    keys = [key for key in Offsets.of(holder.tables, datasets) if key[1] != loser.code]
    return _after(holder, held, keys, rows)


def behind(link: Link) -> int:
    """How many records the source wrote that the target does not hold."""
    source, target, route = link
    written = Offsets.of(source.tables, WRITES[route.writer])
    own = Offsets((key, count) for key, count in written.items() if source.wrote(key[1]))
    return own.minus(wants(target, source.origin)).total()


def to_give_back(link: Link) -> int:
    """How many records that the source has lost the target holds."""
    wanted = wants(link.target, link.source.origin)
    lacking = lacks(link.source, wanted)
    return sum(wanted[key] - count for key, count in lacking.items())


def _after(
    system: System, offsets: Offsets, keys: Sequence[Key], rows: int | None
) -> list[Carried]:
    """The records that a system holds of each of these keys beyond offsets."""
    found = []
    for dataset, code in keys:
        log = system.tables[dataset].logs.get(code)
        batch = log.since(offsets[dataset, code], rows) if log else None
        if batch is not None:
            found.append(Carried(dataset, as_written(batch)))
    return found
