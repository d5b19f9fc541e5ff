"""How a system that lost records comes back: peers give back what had reached them.

A system that may have lost records of its own goes on as a new incarnation, a new origin, so that
no id is ever given twice; whatever its peers hold of the earlier ones is its own again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tradesys.log.file import Damage
from tradesys.log.offsets import Offsets
from tradesys.log.table import Table
from tradesys.records.errors import GapError
from tradesys.records.schemas import INCARNATIONS, Origin, format_id, make_id, origin, split_id
from tradesys.replication.carrying import wants
from tradesys.routes import WRITES
from tradesys.systems.system import System


@dataclass(frozen=True)
class Recovered:
    """What a system had lost, and what it got back.

    ``damage`` is what its files said, ``restored`` how many records peers gave back, ``missing``
    what nobody holds, in words. ``incarnation`` is the name it goes on by, None if unchanged.
    """

    system: str
    damage: tuple[Damage, ...]
    restored: int
    missing: tuple[str, ...]
    incarnation: str | None


def damaged(system: System) -> list[Table]:
    """The tables of a system of whose files some part could not be read."""
    return [t for t in system.tables.values() if t.file and t.file.damage]


def has_lost_own(system: System, systems: Sequence[System]) -> bool:
    """Whether records of a system's own are damaged, or others hold some that it does not."""
    held = Offsets.of(system.tables)
    is_short = not all(held.covers(wants(other, system.origin)) for other in systems)
    return is_short or any(table.dataset in WRITES[system.kind] for table in damaged(system))


def last_known(system: System, systems: Sequence[System]) -> Origin:
    """The last incarnation of a system that any record is of."""
    tables = [table for other in systems for table in other.tables.values()]
    known = [origin(code) for table in tables for code in table.logs if system.wrote(code)]
    return max([system.origin, *known])


def begin_again(system: System) -> bool:
    """Have a system go on as its next incarnation; False where there is none left."""
    following = _next_incarnation(system)
    if following:
        system.renew(following)
    return following is not None


def given_up(system: System) -> Recovered:
    """Leave a system down that can be no further incarnation; its files stay as they were found."""
    damage = tuple(t.file.damage for t in damaged(system) if t.file and t.file.damage)
    made = [table.file.path for table in system.tables.values() if table.file and table.file.is_new]
    system.crash()
    for path in made:  # lost they are, and found to be so again
        path.unlink()
    why = f"it lost records, and {INCARNATIONS} incarnations have given all ids there are for it"
    system.down = f"{why}; go on with the others, or in a new network"
    return Recovered(system.name, damage, 0, (why,), None)


def repaired(system: System, restored: int, incarnation: str | None) -> Recovered:
    """End a recovery, once peers have given back what they could: everything is durable.

    :param restored: how many records they gave back.
    :param incarnation: the name that it goes on by, if that is another.
    """
    missing: list[str] = []
    tables = damaged(system)
    for table in tables:
        fitted, left = _fit_in(system, table)
        restored += fitted
        missing += left
    system.sync()
    damage = tuple(t.file.damage for t in tables if t.file and t.file.damage)
    for table in tables:
        if table.file:
            table.file.settle()
    return Recovered(system.name, damage, restored, tuple(missing), incarnation)


def _fit_in(system: System, table: Table) -> tuple[int, list[str]]:
    """Take in what was salvaged behind a damaged place, and say what is missing before it."""
    assert table.file
    fitted = 0
    gaps: dict[int, int] = {}
    for batch in table.file.salvaged:
        try:
            fitted += system.receive(table.dataset, batch)
        except GapError:
            code, start = split_id(batch.column(0)[0].as_py())
            gaps.setdefault(code, start)
    table.file.salvaged = []
    return fitted, [
        f"{table.dataset} {format_id(make_id(code, table.count(code)))} to "
        f"{format_id(make_id(code, start - 1))}"
        for code, start in gaps.items()
    ]


def _next_incarnation(system: System) -> Origin | None:
    """The incarnation after the one that a system is; None without any left."""
    following = system.origin.incarnation + 1
    return system.origin._replace(incarnation=following) if following < INCARNATIONS else None
