"""Carrying record batches from log to log, by position, along the seven routes.

Replication is a pull: the target says how much of each origin it holds, the source gives what
follows. That is idempotent, leaves no gap, and catches up after any outage; there is nothing to
remember about a transfer that failed.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tradesys.log.framing import NO_HEAD
from tradesys.log.log import Log
from tradesys.routes import ROUTES, WRITES, Route
from tradesys.systems.system import System


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


def behind(link: Link) -> int:
    """How many records the source wrote that the target does not hold."""
    source, target, route = link
    return sum(
        max(0, source.tables[dataset].count(code) - target.tables[dataset].count(code))
        for dataset in WRITES[route.writer]
        for code in source.own_codes(dataset)
    )


def to_give_back(link: Link) -> int:
    """How many records of the source's earlier incarnations only the target holds."""
    source = link.source
    return sum(max(0, log.count - source.tables[d].count(log.code)) for d, log in _earlier(link))


def replicate(link: Link) -> int:
    """Bring the target up to what the source itself has written; gives how many records moved.

    A source that has lost a disk is first given back what it had written before, as far as the
    target holds it.
    """
    source, target, route = link
    target.heard[source.name] = source.origin
    moved = _give_back(link) if source.origin.incarnation else 0
    for dataset in WRITES[route.writer]:
        table = source.tables[dataset]
        for code in source.own_codes(dataset):
            batch = table.logs[code].since(target.tables[dataset].count(code))
            if batch is not None:
                head = table.file.synced_head if table.file else NO_HEAD
                moved += target.receive(dataset, batch, origin_head=head)
    return moved


def _give_back(link: Link) -> int:
    """Give a source the records of its earlier incarnations that only the target holds."""
    source, moved = link.source, 0
    for dataset, log in _earlier(link):
        batch = log.since(source.tables[dataset].count(log.code))
        moved += source.receive(dataset, batch) if batch is not None else 0
    return moved


def _earlier(link: Link) -> Iterator[tuple[str, Log]]:
    """What the target holds of the source's earlier incarnations."""
    source, target, route = link
    for dataset in WRITES[route.writer]:
        for code, log in target.tables[dataset].logs.items():
            if source.wrote(code) and code != source.origin.code:
                yield dataset, log
