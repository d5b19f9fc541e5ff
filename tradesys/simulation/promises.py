"""What customers are promised, whatever goes wrong: more checks than an audit has."""

from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from tradesys.audit.audit import Check
from tradesys.audit.checks import KNOWN, REFERRED, lost_requests
from tradesys.audit.held import Held
from tradesys.records.clock import MS
from tradesys.records.schemas import ExecType, format_id, origin, split_id

if TYPE_CHECKING:
    from tradesys.simulation.run import Simulation

NOT_LOST = "every acknowledged request is held"
NEVER_BACK = "an answer at one system never goes back"
ID_ONCE = "no id is given twice"
QUIET = "all becomes quiet"
TIMELY = "whoever is up answers for who is down"
IN_ORDER = "no change overtakes its order"
_TIMELY = 150 * MS


def checks(desk: "Simulation") -> list[Check]:
    """Every promise, and whether it was kept so far."""
    callers = desk.callers
    counts = {NEVER_BACK: sum(map(len, callers.best.values())), ID_ONCE: len(callers.acknowledged)}
    told = []
    for name, count in counts.items():
        texts = tuple(text for check, text in callers.wrong if check == name)
        told.append(Check(name, not texts, count, texts))
    quiet = Check(QUIET, desk.is_at_rest(), 1)
    return [_not_lost(desk), *told, _timely(desk), _in_order(desk), quiet]


def lost(desk: "Simulation") -> list[int]:
    """Acknowledged requests that no customer-facing system holds any more."""
    tables = [customer.tables["requests"] for customer in desk.customers]
    return [i for i in desk.callers.acknowledged if not any(table.has(i) for table in tables)]


def allowed(desk: "Simulation", check: Check) -> Check:
    """A request that went with a lost disk is named, and is not wrong by itself.

    What an audit cannot know of lost disks is known here: :data:`NOT_LOST` looks at each request.
    """
    if check.name == KNOWN and check.verdict is None:
        return replace(check, verdict=True)
    if check.verdict is not False or check.name != REFERRED:
        return check
    origins = [origin(split_id(i)[0]) for _, i in lost_requests(Held(desk))]
    gone = all(o.incarnation < desk.wires.nodes[o.system].disks for o in origins)
    return replace(check, verdict=True) if gone else check


def _not_lost(desk: "Simulation") -> Check:
    """What was acknowledged is there, unless every system that had it then lost its disk."""
    acknowledged, gone = desk.callers.acknowledged, lost(desk)
    wrong = [format_id(i) for i in gone if not _was_lost(desk, acknowledged[i].holders)]
    found = wrong or [f"{format_id(i)} was lost with every disk that had it" for i in gone]
    return Check(NOT_LOST, not wrong, len(acknowledged), tuple(found))


def _was_lost(desk: "Simulation", holders: dict[str, int]) -> bool:
    return all(desk.wires.nodes[name].disks > disks for name, disks in holders.items())


def _timely(desk: "Simulation") -> Check:
    """A request is answered in time, while one street-side system is up and nothing is amiss.

    A change has to wait for its order.
    """
    found = []
    excuses = cache(partial(desk.faults.excuses, streets=desk.street_names))
    for record_id, (_, order_id, _, since) in desk.callers.acknowledged.items():
        until = desk.answered_at(record_id)
        spans = excuses(frozenset(_sources(desk, record_id) | _sources(desk, order_id)))
        excused = sum(max(0, min(until, b) - max(since, a)) for a, b in spans)
        if until - since - excused > _TIMELY:
            late = (until - since) / MS
            found.append(f"{format_id(record_id)} was answered after {late:.1f} ms")
    return Check(TIMELY, not found, len(desk.callers.acknowledged), tuple(found))


def _sources(desk: "Simulation", request_id: int) -> set[str]:
    """Where a request comes from: the system that took it; any, if that has lost its disk."""
    taken_by = origin(split_id(request_id)[0])
    systems = {taken_by.system}
    if taken_by.incarnation < desk.wires.nodes[taken_by.system].disks:
        systems |= {link.target.name for link in desk.links if link.source.name in systems}
    return systems


def _in_order(desk: "Simulation") -> Check:
    """No change of an order reaches the market before the order does."""
    reports = desk.venue.reports.table()
    refused = reports.filter(pc.equal(reports["exec_type"], ExecType.CANCEL_REJECTED))
    unknown = refused.filter(pc.equal(refused["text"], "unknown order"))
    asked = zip(*(unknown[name].to_pylist() for name in ("request_id", "order_id")), strict=True)
    taken = reports.filter(pc.equal(reports["exec_type"], ExecType.NEW))["order_id"].to_pylist()
    found = tuple(f"{format_id(i)} came before its order" for i, of in asked if of in taken)
    return Check(IN_ORDER, not found, len(refused), found)
