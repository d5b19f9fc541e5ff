"""What customers call their orders: one name of an account is one order of a day, everywhere.

Goal: two systems that hold the same records mean the same order by a name.
Method: a few names used again and again on a few days, cut into batches that arrive in any order.
"""

import random
from collections.abc import Callable

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

from tests.build import NOON, Row, batch, change, network, new, record_id, state, submit
from tradesys.inquiry.client_order_ids import Names
from tradesys.records.arrow import Ids
from tradesys.records.trading_calendar import Calendar

ACCOUNTS, NAMES = ("alice", "bob"), ("A", "B", "C")
DAY_NS = 86_400 * 10**9
USES = st.lists(
    st.tuples(
        st.sampled_from(ACCOUNTS), st.sampled_from(NAMES), st.integers(0, 3), st.integers(0, 2)
    )
)


class Snapshot(Names):
    """Names that read their records from whatever they were given, in whichever order.

    :param may_trade_until: as :class:`Names`; by default every order is closed.
    """

    def __init__(self, may_trade_until: Callable[[int], int] = lambda _: 0) -> None:
        self.records: list[pa.RecordBatch] = []
        super().__init__(Calendar(), self.read, may_trade_until)

    def apply(self, requests: pa.RecordBatch) -> None:
        self.records.append(requests)
        super().apply(requests)

    def read(self, ids: Ids) -> pa.RecordBatch:
        held = pa.concat_batches(self.records)
        return held.filter(pc.is_in(held["record_id"], pa.array(ids))).sort_by("record_id")


def requests(uses: list[tuple[str, str, int, int]]) -> list[Row]:
    """New orders, and changes of orders some places before, under names that are used again."""
    rows = []
    for i, (account, name, back, day) in enumerate(uses):
        known, order = record_id("c1", i), record_id("c1", max(0, i - back))
        row = change("cancel", known, order) if back else new(known)
        rows.append(row | {"account": account, "cl_ord_id": name, "ts": NOON + day * DAY_NS})
    return rows


@given(uses=USES, seed=st.integers(0, 2**16), asked=st.booleans())
def test_a_name_means_the_lowest_order_of_its_day_however_the_records_arrive(
    uses: list[tuple[str, str, int, int]], seed: int, *, asked: bool
) -> None:
    chance, names, rows = random.Random(seed), Snapshot(), requests(uses)
    expected: dict[tuple[str, str, int], int] = {}
    for row in rows:
        key = row["account"], row["cl_ord_id"], row["ts"]
        expected[key] = min(row["order_id"], expected.get(key, row["order_id"]))
    last = {key[:2]: max(k[2] for k in expected if k[:2] == key[:2]) for key in expected}
    chance.shuffle(rows)
    while rows:
        size = chance.randint(1, len(rows))
        names.apply(batch("requests", rows[:size]))
        rows = rows[size:]
        if asked:
            names.find("alice", "A", NOON)
    for (account, name), ts in last.items():
        assert names.find(account, name, ts) == expected[account, name, ts]
        assert names.find(account, name, ts + DAY_NS) is None


def test_a_name_stays_that_of_an_order_which_is_still_open() -> None:
    names, held = Snapshot(lambda _: NOON + 2 * DAY_NS), record_id("c1", 0)
    names.apply(batch("requests", [new(held)]))
    assert names.find("alice", "A", NOON + 2 * DAY_NS) == held
    assert names.find("alice", "A", NOON + 2 * DAY_NS + 1) is None


def test_a_name_means_the_open_order_and_not_that_of_the_day() -> None:
    open_one, of_today = record_id("c1", 9), record_id("c1", 1)
    names = Snapshot(lambda order_id: 2**62 if order_id == open_one else 0)
    rows = [new(open_one), new(of_today, ts=NOON + DAY_NS)]
    names.apply(batch("requests", rows))
    assert names.find("alice", "A", NOON + DAY_NS) == open_one


def test_a_row_without_a_name_means_no_order() -> None:
    names = Snapshot()
    ids = [record_id("c1", 0), record_id("c1", 1)]
    names.apply(batch("requests", [new(ids[0]), new(ids[1], cl_ord_id=None)]))
    assert names.find("alice", "A", NOON) == record_id("c1", 0)


@given(st.lists(st.tuples(st.text(), st.text(min_size=1)), min_size=1, max_size=40))
def test_no_two_accounts_and_names_mean_one_order(pairs: list[tuple[str, str]]) -> None:
    pairs += [("a", "b\0c"), ("a\0b", "c"), ("al", "ice"), ("", "alice"), ("1:a", "b")]
    names = Snapshot()
    first: dict[tuple[str, str], int] = {}
    for number, (account, name) in enumerate(pairs):
        first.setdefault((account, name), record_id("c1", number))
        row = new(record_id("c1", number), account=account, cl_ord_id=name)
        names.apply(batch("requests", [row]))
    for (account, name), order_id in first.items():
        assert names.find(account, name, NOON) == order_id


def test_the_end_of_an_account_and_the_start_of_a_name_are_not_mixed_up() -> None:
    names = Snapshot()
    names.apply(batch("requests", [new(record_id("c1", 0), account="al", cl_ord_id="ice")]))
    assert names.find("alice", "", NOON) is None
    assert names.find("al", "ice", NOON) == record_id("c1", 0)


def test_what_has_the_hash_of_another_name_is_not_taken_for_it() -> None:
    names = Snapshot()
    names.apply(batch("requests", [new(record_id("c1", 0))]))
    names.add("alice", "B", record_id("c1", 0))  # as if the hash of B were that of A
    names.add("alice", "C", record_id("c1", 1))  # and that of C one that was never written
    assert names.find("alice", "A", NOON) == record_id("c1", 0)
    assert names.find("alice", "B", NOON) is None
    assert names.find("alice", "C", NOON) is None


def test_a_name_that_two_systems_took_means_the_order_that_is_open() -> None:
    """A customer who got no answer has turned to another system, and the market took that one."""
    with network(customers=2) as desk:
        c1, c2 = desk.customers
        desk.partition("c1")
        first = submit(c1, time_in_force="gtc", cl_ord_id="A")
        taken = submit(c2, time_in_force="gtc", cl_ord_id="A")
        desk.run()
        desk.heal()
        desk.run()
        assert state(c1, first)[0] == "rejected"
        (refused,) = desk.explain(first).records["text"].drop_nulls().unique()
        assert refused == "duplicate order"
        for system in (c1, c2):
            again = submit(system, time_in_force="gtc", cl_ord_id="A")
            assert (again.repeated, again.order_id) == (True, taken.order_id)
        row = {"account": "alice", "orig_cl_ord_id": "A", "request_type": "cancel"}
        assert c1.submit_many(pl.DataFrame([row]))["order_id"].to_list() == [taken.order_id]
        desk.run()
        assert state(c2, taken)[0] == "canceled"
        assert desk.audit().verdict is True
