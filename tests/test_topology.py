"""The architecture as data: the seven routes, and what follows from them.

Goal: the table in the code is the table of the design, claim by claim.
Method: the table is repeated here in words and held against the code's.
"""

import pytest

from tests.build import network
from tradesys.records.schemas import SCHEMAS, Kind
from tradesys.replication.transfer import links
from tradesys.routes import ROUTES, WRITER, WRITES, Holding, holdings

C, S, F = Kind.CUSTOMER, Kind.STREET, Kind.FIRM
OWN, READ_ONLY = Holding.AUTHORITATIVE, Holding.READ_ONLY

DESIGN = {
    (C, C, OWN, (1, 8, 17, 21)),
    (C, F, READ_ONLY, (3, 10, 18)),
    (S, S, OWN, (4, 11, 17)),
    (S, F, READ_ONLY, (6, 13, 18)),
    (S, C, READ_ONLY, (7, 14, 22)),
    (F, C, READ_ONLY, (2, 9, 18)),
    (F, S, READ_ONLY, (5, 12, 18)),
}


def test_the_routes_are_the_seven_of_the_design() -> None:
    assert len(ROUTES) == 7
    assert {tuple(route) for route in ROUTES} == DESIGN


def test_claims_1_to_7_are_one_route_each() -> None:
    claims = sorted(claim for route in ROUTES for claim in route.claims if claim <= 7)
    assert claims == [1, 2, 3, 4, 5, 6, 7]


def test_every_dataset_has_one_kind_of_writer() -> None:
    written = sorted(dataset for names in WRITES.values() for dataset in names)
    assert written == sorted(SCHEMAS)
    assert all(dataset in WRITES[kind] for dataset, kind in WRITER.items())


def test_no_kind_of_system_is_sent_what_another_may_write_as_its_own() -> None:
    for route in ROUTES:
        assert (route.holding is OWN) == (route.writer is route.reader)


@pytest.mark.parametrize(
    ("kind", "own", "read_only"),
    [
        (C, {"requests"}, {"executions", "accounts", "instruments", "postings"}),
        (S, {"executions"}, {"accounts", "instruments", "postings"}),
        (F, {"accounts", "instruments", "postings"}, {"requests", "executions"}),
    ],
)
def test_a_system_holds_its_own_data_and_reads_what_the_routes_bring(
    kind: Kind, own: set[str], read_only: set[str]
) -> None:
    held = holdings(kind)
    assert {name for name, holding in held.items() if holding is OWN} == own
    assert {name for name, holding in held.items() if holding is READ_ONLY} == read_only


def test_a_link_runs_along_each_route_between_each_pair_of_its_kinds_and_nowhere_else() -> None:
    desk = network(customers=3, streets=2)
    pairs = [(link.source.name, link.target.name) for link in links(list(desk))]
    customers, streets = ["c1", "c2", "c3"], ["s1", "s2"]
    expected = [(a, b) for peers in (customers, streets) for a in peers for b in peers if a != b]
    expected += [(a, "firm") for a in customers + streets]
    expected += [("firm", b) for b in customers + streets]
    expected += [(a, b) for a in streets for b in customers]
    assert sorted(pairs) == sorted(expected)
