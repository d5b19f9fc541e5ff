"""The seven routes: who writes which dataset, and into which data of whom it is replicated.

This table is the architecture. It exists once, here, as data; replication, the checks on writes,
the audit and the pictures all read it.
"""

from enum import StrEnum
from typing import NamedTuple

from tradesys.records.schemas import SCHEMAS, Kind


class Holding(StrEnum):
    """The two kinds of data that every system has."""

    AUTHORITATIVE = "authoritative"
    READ_ONLY = "read_only"


class Route(NamedTuple):
    """What systems of kind ``writer`` write goes to every (other) system of kind ``reader``."""

    writer: Kind
    reader: Kind
    holding: Holding
    claims: tuple[int, ...]


ROUTES = (
    Route(Kind.CUSTOMER, Kind.CUSTOMER, Holding.AUTHORITATIVE, (1, 8, 17, 21)),
    Route(Kind.CUSTOMER, Kind.FIRM, Holding.READ_ONLY, (3, 10, 18)),
    Route(Kind.STREET, Kind.STREET, Holding.AUTHORITATIVE, (4, 11, 17)),
    Route(Kind.STREET, Kind.FIRM, Holding.READ_ONLY, (6, 13, 18)),
    Route(Kind.STREET, Kind.CUSTOMER, Holding.READ_ONLY, (7, 14, 22)),
    Route(Kind.FIRM, Kind.CUSTOMER, Holding.READ_ONLY, (2, 9, 18)),
    Route(Kind.FIRM, Kind.STREET, Holding.READ_ONLY, (5, 12, 18)),
)

WRITES: dict[Kind, tuple[str, ...]] = {
    Kind.CUSTOMER: ("requests",),
    Kind.STREET: ("executions",),
    Kind.FIRM: ("accounts", "instruments", "postings"),
}

WRITER: dict[str, Kind] = {dataset: kind for kind, names in WRITES.items() for dataset in names}
"""The one kind of system that writes each dataset."""

CALLED = {
    Kind.CUSTOMER: "customer-facing systems",
    Kind.STREET: "street-side systems",
    Kind.FIRM: "the firm-side system",
}
"""The systems of each kind, in words."""

assert WRITER.keys() == SCHEMAS.keys(), "every dataset has exactly one kind of writer"


def holdings(kind: Kind) -> dict[str, Holding]:
    """The datasets that a system of this kind holds, and as which kind of data."""
    held = dict.fromkeys(WRITES[kind], Holding.AUTHORITATIVE)
    for route in ROUTES:
        if route.reader is kind:
            held |= dict.fromkeys(WRITES[route.writer], route.holding)
    return held
