"""How a system that lost records comes back: peers give back what had reached them.

A system that may have lost records of its own goes on as a new incarnation, a new origin, so that
no id is ever given twice; whatever its peers hold of the earlier ones is its own again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tradesys.log.file import Damage
from tradesys.log.offsets import Offsets
from tradesys.log.table import Table
from tradesys.records.schemas import INCARNATIONS, SEQUENCE_BITS, Origin, origin
from tradesys.replication.transfer import wants
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


def damaged(system: System) -> list[Table]:
    """The tables of a system of whose files some part could not be read."""
    return [t for t in system.tables.values() if t.file and t.file.damage]


def has_lost_own(system: System, systems: Sequence[System]) -> bool:
    """Whether records of a system's own are damaged, or others hold some that it does not."""
    held = Offsets.of(system.tables)
    is_short = not all(held.covers(wants(other, system.origin)) for other in systems)
    return is_short or any(table.dataset in WRITES[system.kind] for table in damaged(system))


def last_known(system: System, systems: Sequence[System]) -> Origin:
    """The last incarnation of a system that any system knows of."""
    tables = (table for other in systems for table in other.tables.values())
    return max([system.origin, *incarnations(system.origin, tables)])


def incarnations(of: Origin, tables: Iterable[Table]) -> set[Origin]:
    """The incarnations of a system that any record is of, or names by what it wrote.

    :param of: any of them.
    """
    codes: set[int] = set()
    for table in tables:
        codes |= set(table.logs)
        for name in ("order_id", "request_id") if table.dataset == "executions" else ():
            ids = table.arrow[name].to_numpy()
            codes |= set(np.unique(ids >> np.uint64(SEQUENCE_BITS)).tolist())
    return {origin(code) for code in codes if code >> 8 == of.code >> 8}


def begin_again(system: System) -> bool:
    """Have a system go on as its next incarnation; False where there is none left."""
    following = system.origin.incarnation + 1
    if following >= INCARNATIONS:
        return False
    system.renew(system.origin._replace(incarnation=following))
    return True


def set_aside(system: System) -> None:
    """Set damaged bytes aside, once what they entail is durable: files go on before them."""
    for table in damaged(system):
        if table.file:
            table.file.settle()


def damage_of(system: System) -> tuple[Damage, ...]:
    """What a system's files said when they were opened."""
    return tuple(t.file.damage for t in damaged(system) if t.file and t.file.damage)


def given_up(system: System) -> Recovered:
    """Leave a system down that can be no further incarnation; its files stay as they were found."""
    damage = damage_of(system)
    made = [table.file.path for table in system.tables.values() if table.file and table.file.is_new]
    system.crash()
    for path in made:  # lost they are, and found to be so again
        path.unlink()
    why = f"it lost records, and {INCARNATIONS} incarnations have given all ids there are for it"
    system.down = f"{why}; go on with the others, or in a new network"
    return Recovered(system.name, damage, 0, None, why)
