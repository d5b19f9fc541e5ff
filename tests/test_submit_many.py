"""A table of requests is taken by the rules of one request: the same verdicts, records and state.

Goal: nobody has to ask which of the two ways an order came in.
Method: two networks that are the same in all things; random tables go into one whole, into the
other row by row, and they are compared after each table.

Where a table differs, by design:

- ``orig_cl_ord_id`` is recorded as the customer gave it; ``cancel`` and ``replace``, which are told
  the order's id, record the name in force;
- a replace states both quantity and price; ``replace`` keeps what is not named;
- in one table a name is its first row's, be that row in error; another row that gives it is one.
"""

import datetime as dt
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import BOOKS, CASH, NOON, PRICE, TERMS, Row, filled, network, state, submit
from tradesys.network import Network
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import OpeningBooks
from tradesys.systems.customer import CustomerSystem

TEXT = ("request_type", "account", "symbol", "side", "ord_type", "time_in_force")
COLUMNS: dict[str, Any] = dict.fromkeys((*TEXT, "cl_ord_id", "orig_cl_ord_id"), pl.String) | {
    "order_qty": pl.Int64,
    "price": pl.Int64,
    "expire_time": pl.Datetime("ns", "UTC"),
}


def table(*rows: Row) -> pl.DataFrame:
    """Rows as a table with every column but ``ts``; what a row leaves out is null."""
    return pl.DataFrame(list(rows), schema=COLUMNS)


def order(**terms: Any) -> Row:
    """A row of :data:`TERMS`, with these in place of some."""
    return TERMS | terms


def change(request_type: str, orig: str, **terms: Any) -> Row:
    """A row that cancels or replaces the order of this name."""
    row: Row = {"request_type": request_type, "account": "alice", "orig_cl_ord_id": orig}
    if request_type == "replace":
        row |= {"order_qty": 100, "price": PRICE}
    return row | terms


def one_by_one(system: CustomerSystem, rows: list[Row]) -> list[Row]:
    """Take the rows with ``submit``, ``cancel`` and ``replace``; a verdict each, as a table's."""
    return [_verdict(system, row) for row in rows]


def _verdict(system: CustomerSystem, row: Row) -> Row:
    try:
        taken = _take(system, row)
    except InvalidValue as error:
        nothing = dict.fromkeys(("order_id", "record_id", "reject_reason"))
        return {"accepted": False, "repeated": False, "error": error.field, **nothing}
    return {
        "accepted": taken.reject_reason is None,
        "order_id": taken.order_id,
        "record_id": taken.record_id,
        "repeated": taken.repeated,
        "reject_reason": taken.reject_reason,
        "error": None,
    }


def _take(system: CustomerSystem, row: Row) -> Any:
    kind = row.get("request_type") or "new"
    account, name = row.get("account"), row.get("cl_ord_id")
    if kind == "new":
        terms: Row = {n: row.get(n) for n in ("account", "symbol", "side", "order_qty", "price")}
        return system.submit(
            **terms,
            ord_type=row.get("ord_type") or "limit",
            time_in_force=row.get("time_in_force") or "day",
            cl_ord_id=name,
        )
    if kind not in ("cancel", "replace"):
        raise InvalidValue("request_type", kind, "one of new, cancel, replace")
    orig = row.get("orig_cl_ord_id")
    known = system.order_named(account, orig) if account and orig else None
    if known is None:
        raise InvalidValue("orig_cl_ord_id", orig, "the name of an order")
    answer = system.status(known)
    for field in ("symbol", "side", "ord_type", *(["time_in_force"] * (kind == "cancel"))):
        said = row.get(field)
        if said not in (None, getattr(answer, field)):
            raise InvalidValue(field, said, "its order's")
    if kind == "cancel":
        return system.cancel(known, account=account, cl_ord_id=name)
    qty, price = row.get("order_qty"), row.get("price")
    terms = {"order_qty": qty, "price": price, "time_in_force": row.get("time_in_force")}
    return system.replace(known, **terms, account=account, cl_ord_id=name)


def twins(books: OpeningBooks = BOOKS) -> tuple[Network, Network]:
    return network(books=books), network(books=books)


def assert_the_same(one: Network, other: Network) -> None:
    """Two networks hold the same records and give the same answers."""
    here, there = one["c1"], other["c1"]
    requests = (s.tables["requests"].frame.drop("orig_cl_ord_id") for s in (here, there))
    assert next(requests).to_dicts() == next(requests).to_dicts()
    assert here.statuses().equals(there.statuses())
    assert here.positions().equals(there.positions())


def assert_taken_alike(
    taken: list[list[Row]], ran: list[bool], pair: tuple[Network, Network] | None = None
) -> None:
    """Tables taken whole, and row by row, leave the same verdicts, records and answers.

    Where ``ran`` says so, the networks run until they are quiet before the next table.
    """
    whole, single = pair or twins()
    for rows, run in zip(taken, ran, strict=False):
        found = whole["c1"].submit_many(table(*rows)).to_dicts()
        expected = one_by_one(single["c1"], rows)
        for verdict in (*found, *expected):
            verdict["error"] = verdict["error"] is not None
        assert found == expected
        assert_the_same(whole, single)
        if run:
            whole.run(), single.run()
            assert_the_same(whole, single)
    whole.run()
    assert whole.audit().verdict


# Verdicts, row by row.


NAMES = "ABCDEFGH"
ROWS = st.fixed_dictionaries(
    {
        "request_type": st.sampled_from([None, "new", "cancel", "replace"]),
        "account": st.sampled_from(["alice", "alice", "bob"]),
        "symbol": st.sampled_from(["ALFA", "DLTA"]),
        "side": st.sampled_from(["buy", "sell"]),
        "order_qty": st.sampled_from([10, 50, 100, 250, 400]),
        "price": st.sampled_from([PRICE - 100, PRICE, PRICE + 100]),
        "time_in_force": st.sampled_from([None, "day", "gtc", "ioc"]),
        "cl_ord_id": st.sampled_from([None, *NAMES]),
    }
)
BROKEN: list[Row] = [
    {"side": "hold"},
    {"side": None},
    {"account": "mallory"},
    {"account": None},
    {"symbol": "ZULU"},
    {"order_qty": 0},
    {"order_qty": 15},
    {"order_qty": None},
    {"price": None},
    {"price": 55},
    {"time_in_force": "ever"},
    {"ord_type": "market"},
    {"ord_type": "market", "price": None, "side": "sell"},
    {"ord_type": "market", "price": 0, "side": "sell"},
    {"request_type": "swap"},
]
ODD = st.sampled_from([*([{}] * 7 * len(BROKEN)), *BROKEN])
"""One row in eight has something about it."""


@st.composite
def tables(
    draw: st.DrawFn, sizes: tuple[int, int] = (0, 12), markets: tuple[bool, ...] = (False,)
) -> list[list[Row]]:
    """Tables; one row in eight has something about it, no two of a table give the same name.

    :param markets: whether an order is a market order, each as likely.
    """
    made: list[list[Row]] = []
    used: dict[str | None, list[str]] = {}
    for _ in range(draw(st.integers(1, 3))):
        least = draw(st.sampled_from(sizes))
        drawn = draw(st.lists(st.tuples(ROWS, ODD), min_size=least, max_size=sizes[1]))
        rows: list[Row] = [row | odd for row, odd in drawn]
        given: set[str] = set()
        for row in rows:
            if draw(st.sampled_from(markets)):
                row["price"] = None
                if row["request_type"] in (None, "new"):
                    row["ord_type"] = "market"
            if row["request_type"] in ("cancel", "replace"):
                mine = used.get(row["account"], [])
                row["orig_cl_ord_id"] = draw(st.sampled_from([*reversed(mine), "A", None]))
            if row["request_type"] == "cancel":
                row.update(order_qty=None, price=None)
            if row["cl_ord_id"] in given:
                row["cl_ord_id"] = None
            if row["cl_ord_id"] is not None:
                given.add(row["cl_ord_id"])
                used.setdefault(row["account"], []).append(row["cl_ord_id"])
        made.append(rows)
    return made


RAN = st.lists(st.booleans(), min_size=3, max_size=3)


@settings(max_examples=80)
@given(tables(), RAN)
def test_a_table_is_taken_as_its_rows_one_by_one(taken: list[list[Row]], ran: list[bool]) -> None:
    assert_taken_alike(taken, ran)


@settings(max_examples=8)
@given(tables((40, 80)), RAN)
def test_a_long_table_is_taken_as_its_rows_one_by_one(
    taken: list[list[Row]], ran: list[bool]
) -> None:
    assert_taken_alike(taken, ran)


@settings(max_examples=60)
@given(tables((4, 12), (True, False)), RAN, st.sampled_from([0, 30, 5_000]))
def test_with_fees_and_market_orders_a_table_is_taken_as_its_rows_one_by_one(
    taken: list[list[Row]], ran: list[bool], fee_per_share: int
) -> None:
    pair = twins(replace(BOOKS, fee_per_share=fee_per_share, fee_per_notional=7))
    for desk in pair:
        filled(desk, order_qty=10)
    assert_taken_alike(taken, ran, pair)
    for desk in pair:
        assert (desk.firm.positions()["amount"] >= 0).all()


# What the rows of one table mean to each other.


CASES: dict[str, list[Row]] = {
    "a cancel of an order before it": [order(cl_ord_id="A"), change("cancel", "A")],
    "a replace of an order before it": [order(cl_ord_id="A"), change("replace", "A", order_qty=50)],
    "a change before its order": [change("cancel", "A"), order(cl_ord_id="A")],
    "a change of a cancel's name": [
        *(order(cl_ord_id="A"), change("cancel", "A", cl_ord_id="B"), change("cancel", "B")),
    ],
    "a chain of replaces": [
        order(cl_ord_id="A"),
        change("replace", "A", cl_ord_id="B", order_qty=50),
        change("replace", "B", cl_ord_id="C", order_qty=70),
        change("cancel", "C"),
    ],
    "a chain from an order that is not there": [
        *(order(), change("cancel", "X", cl_ord_id="Y"), change("cancel", "Y")),
    ],
    "a change of an order in error": [order(cl_ord_id="A", order_qty=-1), change("cancel", "A")],
    "a change of a refused order": [order(cl_ord_id="A", order_qty=CASH), change("cancel", "A")],
    "a replace of a refused order": [order(cl_ord_id="A", order_qty=CASH), change("replace", "A")],
    "a name used twice": [order(cl_ord_id="A"), order(cl_ord_id="A")],
    "a name used twice, by two accounts": [
        order(cl_ord_id="A"),
        order(cl_ord_id="A", account="bob"),
    ],
    "a chain through a replace in error": [
        order(cl_ord_id="A"),
        change("replace", "A", cl_ord_id="B", order_qty=-1),
        change("replace", "B", cl_ord_id="C"),
        *(change("cancel", "C"), change("replace", "A", order_qty=50)),
    ],
    "a name used by a refused order first": [
        order(cl_ord_id="A", order_qty=CASH),
        order(cl_ord_id="A"),
    ],
    "a name used by a change": [order(cl_ord_id="A"), change("cancel", "A", cl_ord_id="A")],
    "a name without letters": [order(cl_ord_id=""), order(cl_ord_id="")],
    "a change that states its order's symbol and side": [
        order(cl_ord_id="A"),
        change("replace", "A", order_qty=50, symbol="ALFA", side="buy"),
        change("cancel", "A", symbol="ALFA", side="buy"),
    ],
    "a change that states another symbol": [
        *(order(cl_ord_id="A"), change("cancel", "A", symbol="BRAVO"), change("cancel", "A")),
    ],
    "a change that states a symbol that is none": [
        *(order(cl_ord_id="A"), change("replace", "A", symbol="NONE", order_qty=50)),
    ],
    "a change that states another side": [
        *(order(cl_ord_id="A"), change("replace", "A", side="sell", order_qty=50)),
    ],
    "a change that states a side that is none": [
        *(order(cl_ord_id="A"), change("cancel", "A", side="long"), change("cancel", "A")),
    ],
    "another account's order": [order(cl_ord_id="A"), change("cancel", "A", account="bob")],
    "cash that lasts for some": [order(order_qty=400), order(order_qty=200), order(order_qty=100)],
    "shares that last for some": [order(side="sell", order_qty=q) for q in (300, 300, 200, 10)],
    "cash of one, shares of another": [
        *(order(order_qty=500), order(order_qty=10), order(side="sell", account="bob")),
    ],
    "a replace that needs more than there is": [
        *(order(cl_ord_id="A", order_qty=400), change("replace", "A", order_qty=510)),
    ],
    "a replace that needs what its order has": [
        *(order(cl_ord_id="A", order_qty=500), change("replace", "A", order_qty=500)),
    ],
    "a replace to less frees nothing yet": [
        order(cl_ord_id="A", order_qty=500),
        *(change("replace", "A", order_qty=10), order(order_qty=100)),
    ],
    "two replaces of one order": [
        order(cl_ord_id="A", order_qty=100),
        *(change("replace", "A", order_qty=400), change("replace", "A", order_qty=400)),
        order(order_qty=100),
        order(order_qty=10),
    ],
    "numbers that do not fit together": [
        *(order(order_qty=2**62 // 10 * 10, price=400), order(order_qty=10), order(order_qty=500)),
    ],
    "many numbers that do not fit together": [order(order_qty=10**12, price=10**6)] * 12
    + [order()],
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("split", [False, True], ids=["one table", "two tables"])
def test_rows_mean_to_each_other_what_requests_one_by_one_mean(case: str, *, split: bool) -> None:
    rows = CASES[case]
    assert_taken_alike([rows[:1], rows[1:]] if split else [rows], [True] * (2 if split else 1))


def test_a_row_in_error_takes_no_name() -> None:
    desk = network()
    rows = [order(cl_ord_id="A", order_qty=-1), order(cl_ord_id="A"), change("cancel", "A")]
    verdicts = desk["c1"].submit_many(table(*rows))
    assert verdicts["accepted"].to_list() == [False, True, True]
    assert "order_qty=-1" in verdicts["error"][0]


def test_a_replace_counts_what_is_filled_already() -> None:
    whole, single = twins()
    for desk in (whole, single):
        submit(desk["c1"], account="bob", side="sell", order_qty=300)
        submit(desk["c1"], order_qty=400, cl_ord_id="A")
        desk.run()
    rows = [change("replace", "A", order_qty=500), change("replace", "A", order_qty=510)]
    found = whole["c1"].submit_many(table(*rows))["reject_reason"].to_list()
    assert found == [v["reject_reason"] for v in one_by_one(single["c1"], rows)]
    assert found == [None, "not enough cash"]


def test_market_orders_of_a_table_reserve_the_last_price_against_each_other() -> None:
    desk = network()
    filled(desk, order_qty=10)
    market: Row = order(ord_type="market", price=None, order_qty=300)
    found = desk["c1"].submit_many(table(market, market))
    assert found["reject_reason"].to_list() == [None, "not enough cash"]


# What is recorded.


def test_a_change_records_the_terms_of_its_order() -> None:
    desk = network()
    submit(desk["c1"], cl_ord_id="A", side="sell", symbol="DLTA", time_in_force="gtc")
    desk.run()
    later = order(cl_ord_id="B", side="sell")
    desk["c1"].submit_many(table(change("cancel", "A"), later, change("cancel", "B")))
    requests = desk["c1"].tables["requests"].frame
    names = ("symbol", "side", "ord_type", "time_in_force", "order_qty", "price")
    terms = requests.select(names).rows()
    assert terms[1] == terms[0] == ("DLTA", "sell", "limit", "gtc", 100, PRICE)
    assert terms[3] == terms[2] == ("ALFA", "sell", "limit", "day", 100, PRICE)


FIXED = [("symbol", "ALFA"), ("symbol", "NONE"), ("side", "buy"), ("ord_type", "market")]
GOOD_TILL = [("time_in_force", "day"), ("expire_time", dt.datetime(2024, 6, 4, tzinfo=dt.UTC))]


@pytest.mark.parametrize(
    ("kind", "field", "other"),
    [
        *(("replace", *each) for each in (*FIXED, ("time_in_force", "ioc"))),
        *(("cancel", *each) for each in (*FIXED, *GOOD_TILL)),
    ],
)
def test_a_change_states_nothing_else_than_its_order_does(
    kind: str, field: str, other: object
) -> None:
    desk = network()
    until = dt.datetime(2024, 6, 5, tzinfo=dt.UTC)
    terms: Row = {"symbol": "DLTA", "side": "sell", "time_in_force": "gtd", "expire_time": until}
    held = submit(desk["c1"], cl_ord_id="A", **terms)
    desk.run()
    same = {"ord_type": "limit", **terms}
    desk["c1"].submit_many(table(order(cl_ord_id="B", **terms)))
    for orig in ("A", "B"):
        answer = desk["c1"].submit_many(table(change(kind, orig, **same | {field: other})))
        assert not answer["accepted"].item()
        assert answer["error"].item().startswith(f"{field}=")
        assert "expected its order's, or nothing" in answer["error"].item()
    assert desk["c1"].status(held).ord_status == "new"
    assert desk["c1"].submit_many(table(change(kind, "A", **same)))["accepted"].item()


@pytest.mark.parametrize("kind", ["cancel", "replace"])
def test_a_change_may_state_a_time_that_has_come_where_it_is_its_orders(kind: str) -> None:
    clock = ManualClock(NOON)
    desk = network(clock=clock)
    until = dt.datetime(2024, 6, 5, tzinfo=dt.UTC)
    held = submit(desk["c1"], cl_ord_id="A", time_in_force="gtd", expire_time=until)
    desk.run()
    clock.advance(7 * 24 * 3600 * 10**9)
    for expires, accepted in ((until + dt.timedelta(hours=1), False), (until, True)):
        rows = table(change(kind, "", expire_time=expires)).with_columns(order_id=held.order_id)
        assert desk["c1"].submit_many(rows)["accepted"].item() is accepted
    by_name = change(kind, "A", expire_time=until)  # the name is free again
    assert not desk["c1"].submit_many(table(by_name))["accepted"].item()


def test_no_order_expires_at_the_beginning_of_time() -> None:
    desk = network()
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    for time_in_force in ("day", "gtd"):
        terms = order(time_in_force=time_in_force, expire_time=epoch)
        (error,) = desk["c1"].submit_many(table(terms))["error"]
        assert error.startswith("expire_time='1970-01-01 00:00:00+00:00'")
        with pytest.raises(InvalidValue, match="expire_time"):
            submit(desk["c1"], time_in_force=time_in_force, expire_time=epoch)


def test_the_time_that_a_table_gives_is_recorded_and_now_where_it_gives_none() -> None:
    desk = network()
    given = pl.Series("ts", [12_345, None]).cast(pl.Datetime("ns", "UTC"))
    desk["c1"].submit_many(table(order(), order()).with_columns(given))
    recorded = desk["c1"].tables["requests"].frame["ts"].cast(pl.Int64).to_list()
    assert recorded == [12_345, desk.clock()]


def test_a_name_that_is_not_given_is_null() -> None:
    desk = network()
    desk["c1"].submit_many(table(order(), order(cl_ord_id="A"), order(order_qty=-1), order()))
    requests = desk["c1"].tables["requests"].frame
    assert requests["cl_ord_id"].to_list() == [None, "A", None]


def test_a_whole_table_is_one_commit_and_one_message_to_the_street(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = network()
    table_of, writes = desk["c1"].tables["requests"], []
    write = table_of.write

    def counted(batches: list[pa.RecordBatch]) -> None:
        writes.append([batch.num_rows for batch in batches])
        write(batches)

    monkeypatch.setattr(table_of, "write", counted)
    desk["c1"].submit_many(table(*[order(order_qty=10)] * 5, order(order_qty=0)))
    assert writes == [[5]]
    assert [batch.num_rows for batch in desk["c1"].outbox().to_batches()] == [5]


def test_a_repeat_is_answered_with_the_first_and_on_other_terms_it_is_an_error() -> None:
    desk = network()
    first = submit(desk["c1"], cl_ord_id="A")
    rows = [order(cl_ord_id="A"), order(cl_ord_id="A", order_qty=50)]
    same, other = desk["c1"].submit_many(table(*rows)).to_dicts()
    assert (same["order_id"], same["record_id"]) == (first.order_id, first.record_id)
    assert (same["accepted"], same["repeated"], same["error"]) == (True, True, None)
    assert (other["accepted"], other["repeated"], other["order_id"]) == (False, False, None)
    assert "not used before; c1-0 has it, on other terms" in other["error"]
    assert state(desk["c1"], first) == ("pending_new", 100, 0, 100)
    assert len(desk["c1"].tables["requests"]) == 1


def test_a_table_that_is_given_again_is_answered_as_it_was_and_nothing_is_recorded() -> None:
    desk = network(2)
    rows = [
        *(order(cl_ord_id="A"), order(cl_ord_id="B", order_qty=CASH), order(cl_ord_id="C")),
        change("replace", "A", cl_ord_id="R", order_qty=60),
        *(change("cancel", "C", cl_ord_id="X"), order(cl_ord_id="E", order_qty=-1)),
    ]
    first = desk["c1"].submit_many(table(*rows))
    assert not first["repeated"].any()
    desk.run()
    for system in desk.customers:
        again = system.submit_many(table(*rows))
        assert again.drop("repeated").equals(first.drop("repeated"))
        assert again["repeated"].to_list() == [True] * 5 + [False]
    assert len(desk["c2"].tables["requests"]) == 5
    twice = desk["c1"].submit_many(table(order(cl_ord_id="F"), order(cl_ord_id="F")))
    assert twice["order_id"].n_unique() == 1
    assert twice["repeated"].to_list() == [False, True]


def test_the_open_orders_of_a_frame_are_canceled_by_their_ids() -> None:
    desk = network(2)
    kept = submit(desk["c1"], account="bob", order_qty=10)
    for _ in range(40):
        submit(desk["c1"], order_qty=10)
    desk.run()
    ours = desk["c2"].orders("alice", open_only=True)
    verdicts = desk["c2"].submit_many(ours.select("order_id", request_type=pl.lit("cancel")))
    assert verdicts["accepted"].all()
    assert verdicts["order_id"].to_list() == ours["order_id"].to_list()
    desk.run()
    assert desk["c1"].orders(open_only=True)["order_id"].to_list() == [kept.order_id]
    requests = desk["c2"].tables["requests"].frame.filter(request_type="cancel")
    assert requests.select("account", "symbol", "order_qty").unique().rows() == [
        ("alice", "ALFA", 10)
    ]


def test_a_change_that_leaves_out_its_account_takes_no_other_order_s_name() -> None:
    desk = network()
    first, second = (submit(desk["c1"], cl_ord_id=name, order_qty=10) for name in "AC")
    named = {"order_id": [first.order_id] * 2, "order_qty": [20, 30], "cl_ord_id": ["C", "B"]}
    changes = pl.DataFrame(named, schema_overrides={"order_id": pl.UInt64})
    verdicts = desk["c1"].submit_many(changes.with_columns(request_type=pl.lit("replace")))
    assert verdicts["accepted"].to_list() == [False, True]
    assert "not used before" in verdicts["error"][0]
    desk.run()
    (canceled,) = desk["c1"].submit_many(
        pl.DataFrame({"request_type": ["cancel"], "account": "alice", "orig_cl_ord_id": "C"})
    )["order_id"]
    assert canceled == second.order_id
    assert submit(desk["c1"], cl_ord_id="C", order_qty=10).repeated


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"order_id": 17}, "order_id the id, of an order of this account"),
        ({"order_id": None}, "order_id the id, of an order of this account"),
        ({"order_id": 0, "account": "bob"}, "of an order of this account"),
    ],
)
def test_an_id_that_is_no_order_of_the_account_is_an_error(row: Row, expected: str) -> None:
    desk = network()
    order = submit(desk["c1"])
    wanted: Row = {"request_type": "cancel", "account": None, **row}
    if wanted["order_id"] == 0:
        wanted["order_id"] = order.order_id
    schema = {"request_type": pl.String, "account": pl.String, "order_id": pl.UInt64}
    (verdict,) = desk["c1"].submit_many(pl.DataFrame([wanted], schema=schema)).to_dicts()
    assert expected in verdict["error"]
