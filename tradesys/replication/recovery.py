"""How a system that lost records comes back: peers give back what had reached them.

A system that may have lost records of its own goes on as a new incarnation, a new origin, so that
no id is ever given twice; whatever its peers hold of the earlier ones is its own again.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tradesys.log.file import Damage
from tradesys.log.offsets import Offsets
from tradesys.log.table import Table
from tradesys.records.schemas import INCARNATIONS, Origin, origin
from tradesys.replication.carrying import relay, wants
from tradesys.routes import WRITES
from tradesys.systems.system import System


@dataclass(frozen=True)
class Recovered:
    """What a system had lost, and what it got back.

    ``damage`` is what its files said, ``restored`` how many records peers gave back.
    ``incarnation`` is the name it goes on by, None if unchanged; ``gave_up`` is why it stays down.
    """

    system: str
    damage: tuple[Damage, ...]
    restored: int
    incarnation: str | None
    gave_up: str | None = None


def recover(
    systems: Sequence[System],
    lost: Collection[str] = (),
    reach: Callable[[str, str], bool] = lambda *_: True,
    *,
    only: Collection[str] | None = None,
) -> list[Recovered]:
    """Bring back every system that lost records.

    :param lost: the names of systems whose disk is known to be lost.
    :param reach: whether two systems, by name, can reach each other; the others give back later.
    :param only: the names of those that have just been opened; by default all.
    """
    return [
        _bring_back(system, systems, reach, lost=system.name in lost)
        for system in systems
        if only is None or system.name in only
        if system.name in lost or _damaged(system) or _is_short(system, systems)
    ]


def _damaged(system: System) -> list[Table]:
    return [t for t in system.tables.values() if t.file and t.file.damage]


def _is_short(system: System, systems: Sequence[System]) -> bool:
    """Whether others hold records of this system that it does not hold itself."""
    held = Offsets.of(system.tables)
    return not all(held.covers(wants(other, system.origin)) for other in systems)


def _bring_back(
    system: System,
    systems: Sequence[System],
    reach: Callable[[str, str], bool],
    *,
    lost: bool,
) -> Recovered:
    damaged = _damaged(system)
    own = any(table.dataset in WRITES[system.kind] for table in damaged)
    own = own or lost or _is_short(system, systems)
    if own and _next_incarnation(system, systems) is None:
        return _given_up(system)
    # What its damage entails is durable before the damage is set aside.
    following = begin_again(system, systems) if own else None
    for table in damaged:
        if table.file:
            table.file.settle()
    peers = [s for s in systems if s is not system and reach(s.name, system.name)]
    restored = sum(relay(peer, system) for peer in peers)
    system.sync()
    damage = tuple(t.file.damage for t in damaged if t.file and t.file.damage)
    name = str(following) if following else None
    return Recovered(system.name, damage, restored, name)


def begin_again(system: System, systems: Sequence[System]) -> Origin | None:
    """Have a system go on as its next incarnation, if there is one left.

    :param systems: those that may know of earlier ones, it among them.
    """
    following = _next_incarnation(system, systems)
    if following:
        system.renew(following)
    return following


def _given_up(system: System) -> Recovered:
    """Leave a system down that can be no further incarnation; its files stay as they were found."""
    damage = tuple(t.file.damage for t in _damaged(system) if t.file and t.file.damage)
    made = [table.file.path for table in system.tables.values() if table.file and table.file.is_new]
    system.crash()
    for path in made:  # lost they are, and found to be so again
        path.unlink()
    why = f"it lost records, and {INCARNATIONS} incarnations have given all ids there are for it"
    system.down = f"{why}; go on with the others, or in a new network"
    return Recovered(system.name, damage, 0, None, why)


def _next_incarnation(system: System, systems: Sequence[System]) -> Origin | None:
    """The first incarnation of a system that no record anywhere is of; None without any left."""
    known = [
        origin(code).incarnation
        for other in systems
        for table in other.tables.values()
        for code in table.logs
        if system.wrote(code)
    ]
    following = max([system.origin.incarnation, *known]) + 1
    return system.origin._replace(incarnation=following) if following < INCARNATIONS else None
