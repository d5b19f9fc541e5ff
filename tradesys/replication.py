"""Carrying record batches from log to log, by position, along the seven routes.

Replication is a pull: the target says how much of each origin it holds, the source gives what
follows. That is idempotent, leaves no gap, and catches up after any outage; there is nothing to
remember about a transfer that failed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tradesys.systems.system import System
from tradesys.topology import ROUTES, WRITES, Route


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
    code = link.source.origin.code
    return sum(
        link.source.tables[dataset].count(code) - link.target.tables[dataset].count(code)
        for dataset in WRITES[link.route.writer]
    )


def replicate(link: Link) -> int:
    """Bring the target up to what the source itself has written; gives how many records moved."""
    source, target, route = link
    code = source.origin.code
    moved = 0
    for dataset in WRITES[route.writer]:
        log = source.tables[dataset].logs.get(code)
        batch = log.since(target.tables[dataset].count(code)) if log else None
        if batch is not None:
            moved += target.receive(dataset, batch)
    return moved
