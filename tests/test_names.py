"""What customers call their orders: one name of an account is one order, everywhere.

Goal: two systems that hold the same records mean the same order by a name.
Method: a few names used again and again, cut into batches that arrive in any order.
"""

import random

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tests.build import Row, batch, change, new, record_id
from tradesys.names import Names, key_of, keys_of

ACCOUNTS, NAMES = ("alice", "bob"), ("A", "B", "C")
USES = st.lists(st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(NAMES), st.integers(0, 3)))


def requests(uses: list[tuple[str, str, int]]) -> list[Row]:
    """New orders, and changes of orders some places before, under names that are used again."""
    rows = []
    for i, (account, name, back) in enumerate(uses):
        known, order = record_id("c1", i), record_id("c1", max(0, i - back))
        row = change("cancel", known, order) if back else new(known)
        rows.append(row | {"account": account, "cl_ord_id": name})
    return rows


@given(uses=USES, seed=st.integers(0, 2**16), asked=st.booleans())
def test_a_name_means_the_lowest_order_that_has_it_however_the_records_arrive(
    uses: list[tuple[str, str, int]], seed: int, *, asked: bool
) -> None:
    chance, names, rows = random.Random(seed), Names(), requests(uses)
    expected: dict[tuple[str, str], int] = {}
    for row in rows:
        key = row["account"], row["cl_ord_id"]
        expected[key] = min(row["order_id"], expected.get(key, row["order_id"]))
    chance.shuffle(rows)
    while rows:
        size = chance.randint(1, len(rows))
        names.apply(batch("requests", rows[:size]))
        rows = rows[size:]
        if asked:
            names.find("alice", "A")
    keys = [(account, name) for account in ACCOUNTS for name in NAMES]
    assert [names.find(*key) for key in keys] == [expected.get(key) for key in keys]
    columns = [pa.array([key[i] for key in keys], pa.utf8()) for i in (0, 1)]
    assert keys_of(*columns) == [key_of(*key) for key in keys]


def test_a_row_without_a_name_means_no_order() -> None:
    names = Names()
    ids = [record_id("c1", 0), record_id("c1", 1)]
    names.apply(batch("requests", [new(ids[0]), new(ids[1], cl_ord_id=None)]))
    assert names.find("alice", "A") == record_id("c1", 0)
    accounts = pa.array(["alice", "alice", None], pa.utf8())
    assert keys_of(accounts, pa.array(["A", None, "A"])) == [key_of("alice", "A"), None, None]
    assert keys_of(accounts, pa.nulls(3, pa.utf8())) == [None, None, None]


def test_the_end_of_an_account_and_the_start_of_a_name_are_not_mixed_up() -> None:
    names = Names()
    names.apply(batch("requests", [new(record_id("c1", 0), account="al", cl_ord_id="ice")]))
    assert names.find("alice", "") is None
    assert names.find("al", "ice") == record_id("c1", 0)
