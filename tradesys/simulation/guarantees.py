"""What customers are promised, whatever goes wrong: more checks than an audit has."""

from dataclasses import replace
from functools import cache, partial

import pyarrow.compute as pc

from tradesys.audit.audit import Check
from tradesys.audit.checks import KNOWN, REFERRED, lost_requests
from tradesys.records.clock import MS
from tradesys.records.schemas import ExecType, format_id, origin, split_id
from tradesys.simulation.customers import ID_ONCE, NEVER_BACK, Callers
from tradesys.simulation.faults import Faults
from tradesys.simulation.world import World

NOT_LOST = "every acknowledged request is held"
QUIET = "all becomes quiet"
TIMELY = "whoever is up answers for who is down"
IN_ORDER = "no change overtakes its order"
_TIMELY = 150 * MS


def checks(world: World, callers: Callers, faults: Faults) -> list[Check]:
    """Every promise, and whether it was kept so far."""
    counts = {NEVER_BACK: sum(map(len, callers.best.values())), ID_ONCE: len(callers.acknowledged)}
    told = []
    for name, count in counts.items():
        texts = tuple(text for check, text in callers.wrong if check == name)
        told.append(Check(name, not texts, count, texts))
    quiet = Check(QUIET, world.is_at_rest(), 1)
    return [
        _not_lost(world, callers),
        *told,
        _timely(world, callers, faults),
        _in_order(world),
        quiet,
    ]


def lost(world: World, callers: Callers) -> list[int]:
    """Acknowledged requests that no customer-facing system holds any more."""
    tables = [customer.tables["requests"] for customer in world.customers]
    return [i for i in callers.acknowledged if not any(table.has(i) for table in tables)]


def allowed(world: World, check: Check) -> Check:
    """A request that went with a lost disk is named, and is not wrong by itself.

    What an audit cannot know of lost disks is known here: :data:`NOT_LOST` looks at each request.
    """
    if check.name == KNOWN and check.verdict is None:
        return replace(check, verdict=True)
    if check.verdict is not False or check.name != REFERRED:
        return check
    origins = [origin(split_id(i)[0]) for _, i in lost_requests(world.held())]
    gone = all(o.incarnation < world.transport.nodes[o.system].disks for o in origins)
    return replace(check, verdict=True) if gone else check


def _not_lost(world: World, callers: Callers) -> Check:
    """What was acknowledged is there, unless every system that had it then lost its disk."""
    acknowledged, gone = callers.acknowledged, lost(world, callers)
    wrong = [format_id(i) for i in gone if not _was_lost(world, acknowledged[i].holders)]
    found = wrong or [f"{format_id(i)} was lost with every disk that had it" for i in gone]
    return Check(NOT_LOST, not wrong, len(acknowledged), tuple(found))


def _was_lost(world: World, holders: dict[str, int]) -> bool:
    return all(world.transport.nodes[name].disks > disks for name, disks in holders.items())


def _timely(world: World, callers: Callers, faults: Faults) -> Check:
    """A request is answered in time, while one street-side system is up and nothing is amiss.

    A change has to wait for its order.
    """
    found = []
    excuses = cache(partial(faults.excuses, streets=world.street_names))
    for record_id, (_, order_id, _, since) in callers.acknowledged.items():
        until = world.answered_at(record_id)
        spans = excuses(frozenset(_sources(world, record_id) | _sources(world, order_id)))
        excused = sum(max(0, min(until, b) - max(since, a)) for a, b in spans)
        if until - since - excused > _TIMELY:
            late = (until - since) / MS
            found.append(f"{format_id(record_id)} was answered after {late:.1f} ms")
    return Check(TIMELY, not found, len(callers.acknowledged), tuple(found))


def _sources(world: World, request_id: int) -> set[str]:
    """Where a request comes from: the system that took it; any, if that has lost its disk."""
    taken_by = origin(split_id(request_id)[0])
    systems = {taken_by.system}
    if taken_by.incarnation < world.transport.nodes[taken_by.system].disks:
        systems |= {link.target.name for link in world.links if link.source.name in systems}
    return systems


def _in_order(world: World) -> Check:
    """No change of an order reaches the market before the order does."""
    reports = world.venue.reports.table()
    refused = reports.filter(pc.equal(reports["exec_type"], ExecType.CANCEL_REJECTED))
    unknown = refused.filter(pc.equal(refused["text"], "unknown order"))
    asked = zip(*(unknown[name].to_pylist() for name in ("request_id", "order_id")), strict=True)
    taken = reports.filter(pc.equal(reports["exec_type"], ExecType.NEW))["order_id"].to_pylist()
    found = tuple(f"{format_id(i)} came before its order" for i, of in asked if of in taken)
    return Check(IN_ORDER, not found, len(refused), found)
