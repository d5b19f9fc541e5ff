"""The answers kept up to date batch by batch, held against the definitions after every batch.

Goal: however records arrive, a view answers what `status.statuses` and `positions.positions` say.
Method: random lives of orders (`lives.py`) are cut into batches and arrive at a customer-facing
system that wrote none of them, in an order that chance draws; plain Python counts along.
"""

import random
from collections.abc import Sequence
from itertools import cycle

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import PRICE, Row, batch, change, executions, frame, new, record_id
from tests.lives import (
    World,
    events,
    expected_balances,
    expected_reserved,
    expected_statuses,
    large_world,
    trade_of,
    unanswered,
    worlds,
)
from tests.order_lives import LIVES, Life, records_of
from tradesys.records.clock import ManualClock
from tradesys.records.opening_books import Fees
from tradesys.records.schemas import (
    FIRMS_OWN,
    ExecType,
    Kind,
    OrdStatus,
    OrdType,
    Origin,
    RequestType,
    Side,
    TimeInForce,
)
from tradesys.status import definition as status
from tradesys.status import positions
from tradesys.status.incremental import loops
from tradesys.status.incremental import text_codes as codes
from tradesys.status.incremental.balances import Accounts
from tradesys.status.incremental.columns import ORDER, with_room
from tradesys.status.incremental.rows import IdSet, Rows
from tradesys.status.incremental.text_codes import codes_of
from tradesys.status.incremental.view import View
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.system import Place

ID = record_id("c1", 0)
TERMS = ("account", "symbol", "side", "ord_type", "time_in_force")
SEEDS = st.integers(0, 2**16)


def reader() -> CustomerSystem:
    """A customer-facing system to which all records come from others."""
    return CustomerSystem(Place(Origin(Kind.CUSTOMER, 9), ManualClock()))


def held(system: CustomerSystem, dataset: str) -> list[Row]:
    """Every record of a dataset that a system holds."""
    rows: list[Row] = system.tables[dataset].arrow.to_pylist()
    return rows


def ids(values: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(values, np.uint64)


def assert_as_defined(system: CustomerSystem) -> None:
    """What a system answers is, to the last bit, what the definitions say of its records."""
    requests, reports = (system.tables[n].frame for n in ("requests", "executions"))
    defined = status.statuses(requests, reports)
    answered = system.statuses().cast(defined.schema)
    assert answered.equals(defined), (answered, defined)
    balances = positions.balances(requests, reports, system.tables["postings"].frame)
    assert system.positions().equals(balances), (system.positions(), balances)


# The same answers as the definitions.


@settings(max_examples=40)
@given(worlds(), SEEDS)
def test_after_every_batch_a_view_answers_as_the_definitions_do(world: World, seed: int) -> None:
    system = reader()
    for dataset, records in world.batches(random.Random(seed), count=12):
        system.receive(dataset, records)
        assert_as_defined(system)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [4, 40])
def test_large_batches_and_small_ones_are_answered_as_the_definitions_do(
    seed: int, count: int
) -> None:
    world, system = large_world(seed, 1500), reader()
    for dataset, records in world.batches(random.Random(seed), count):
        system.receive(dataset, records)
        assert_as_defined(system)


@settings(max_examples=40)
@given(worlds(), SEEDS, SEEDS)
def test_what_was_asked_on_the_way_changes_no_answer(world: World, one: int, other: int) -> None:
    curious, patient = reader(), reader()
    for dataset, records in world.batches(random.Random(one), count=10):
        curious.receive(dataset, records)
        curious.view.order(ID)
    for dataset, records in world.batches(random.Random(other), count=3):
        patient.receive(dataset, records)
    assert curious.statuses().equals(patient.statuses())
    assert curious.positions().equals(patient.positions())


@pytest.mark.parametrize("price", [None, 2 * PRICE])
def test_a_report_that_states_no_price_says_that_there_is_none(price: int | None) -> None:
    requests, reports = [new(ID)], executions(ID, {"exec_type": "new", "price": price})
    view = View()
    view.apply("requests", batch("requests", requests))
    view.apply("executions", batch("executions", reports))
    defined = status.statuses(frame("requests", requests), frame("executions", reports))
    assert view.statuses()["price"].to_list() == defined["price"].to_list() == [price]


@settings(max_examples=40)
@given(worlds(), SEEDS)
def test_records_in_any_order_whatever_and_again_give_the_same_answers(
    world: World, seed: int
) -> None:
    chance, view = random.Random(seed), View()
    rows = {name: world.rows(name) for name in ("requests", "executions", "postings")}
    arrivals = [(name, row) for name, records in rows.items() for row in records]
    told = [(name, row) for name, row in arrivals if name != "postings"]
    arrivals += chance.choices(told, k=len(told) // 2) if told else []
    chance.shuffle(arrivals)
    events = sorted({row["exec_id"] for row in rows["executions"]})
    seen = set[int]()
    for name, row in arrivals:
        view.apply(name, batch(name, [row]))
        if name == "executions":
            seen.add(row["exec_id"])
        if chance.random() < 0.1:
            view.order(ID)
        if chance.random() < 0.1:
            assert view.seen(ids(events)).tolist() == [event in seen for event in events]
    defined = status.statuses(
        frame("requests", rows["requests"]), frame("executions", rows["executions"])
    )
    answered = view.statuses().select(defined.drop("cl_ord_id").columns)
    assert answered.cast(defined.drop("cl_ord_id").schema).equals(defined.drop("cl_ord_id"))
    requests, reports, legs = (frame(name, records) for name, records in rows.items())
    assert view.positions().equals(positions.balances(requests, reports, legs))


@settings(max_examples=40)
@given(worlds(), SEEDS)
def test_what_orders_may_use_is_what_they_may_cost_with_their_fees(world: World, seed: int) -> None:
    fees = Fees(per_share=30, per_notional=7)
    view = View(fees=fees)
    held: dict[str, list[Row]] = {"requests": [], "executions": [], "postings": []}
    for dataset, records in world.batches(random.Random(seed), count=8):
        view.apply(dataset, records)
        held[dataset] += records.to_pylist()
        requests, reports, legs = (frame(name, rows) for name, rows in held.items())
        orders = positions.reserved(requests, reports, fees)
        found = view.reserved_of(orders["order_id"].to_numpy())
        assert found.tolist() == orders["reserved"].to_list()
        assert view.positions().equals(positions.balances(requests, reports, legs, fees))
    asked, told, posted = held.values()
    counted = expected_balances(asked, told, posted, fees)
    for account, asset, reserved in view.positions()["account", "asset", "reserved"].iter_rows():
        assert counted[account, asset][2] == reserved


def test_an_order_without_a_price_reserves_nothing_and_one_with_a_collar_what_it_costs() -> None:
    view, fees = View(fees=Fees(per_share=30)), Fees(per_share=30)
    collared = new(record_id("c1", 1), ord_type="market", price=PRICE)
    requests = [new(ID, ord_type="market", price=None), collared]
    view.apply("requests", batch("requests", requests))
    found = view.reserved_of(ids([ID, record_id("c1", 1)])).tolist()
    assert found == [0, 100 * (PRICE + 30)]
    defined = positions.reserved(frame("requests", requests), frame("executions", []), fees)
    assert defined["reserved"].to_list() == found


@settings(max_examples=40)
@given(worlds(), SEEDS)
def test_whichever_street_side_systems_report_an_event_the_answers_are_the_same(
    world: World, seed: int
) -> None:
    chance, requests = random.Random(seed), frame("requests", world.rows("requests"))
    reports = world.rows("executions")
    logs: dict[str, list[Row]] = {"s1": [], "s2": [], "s3": []}
    for row in events(reports):
        for system in chance.sample(sorted(logs), chance.randint(1, 3)):
            logs[system].append(row | {"record_id": record_id(system, len(logs[system]))})
    split = [row for system in chance.sample(sorted(logs), 3) for row in logs[system]]
    expected = status.statuses(requests, frame("executions", reports))
    assert status.statuses(requests, frame("executions", split)).equals(expected)
    view = View()
    view.apply("executions", batch("executions", split))
    view.apply("requests", batch("requests", world.rows("requests")))
    columns = expected.drop("cl_ord_id").columns
    assert view.statuses().select(columns).to_dicts() == expected.select(columns).to_dicts()


@settings(max_examples=40)
@given(worlds(), SEEDS)
def test_plain_counting_gives_the_same_answers(world: World, seed: int) -> None:
    chance, system = random.Random(seed), reader()
    for dataset, records in world.batches(chance, count=8):
        system.receive(dataset, records)
        if chance.random() < 0.4:
            assert_as_counted(system)
    assert_as_counted(system)


def assert_as_counted(system: CustomerSystem) -> None:
    """Every question to a view has the answer that plain Python gives."""
    names = ("requests", "executions", "postings")
    requests, reports, postings = (held(system, name) for name in names)
    expected = expected_statuses(requests, reports)
    assert system.statuses().to_dicts() == expected
    assert_orders(system, expected)
    assert_requests(system.view, requests, reports)
    assert_events(system.view, reports, postings)
    balances = expected_balances(requests, reports, postings)
    for (account, asset), (booked, uncleared, reserved) in balances.items():
        assert system.view.available(account, asset) == booked + uncleared - reserved
    for account, asset, booked, uncleared, _, reserved in system.positions().iter_rows():
        assert balances[account, asset] == (booked, uncleared, reserved)


def assert_orders(system: CustomerSystem, expected: list[Row]) -> None:
    view = system.view
    for row in expected:
        answer = system.status(row["order_id"])
        assert {name: getattr(answer, name) for name in status.COLUMNS} == row
    known = ids([row["order_id"] for row in expected])
    terms = pa.table(view.terms_of(known)).to_pylist()
    states = [view.order(row["order_id"]) for row in expected]
    assert terms == [{n: getattr(state, n) for n in TERMS} for state in states]
    for name in ("account", "symbol", "side", "ord_type"):
        assert [row[name] for row in terms] == [row[name] for row in expected]
    leaves = [row["leaves_qty"] for row in expected]
    assert view.leaves_of(known).tolist() == leaves
    for name, values in view.in_force_of(known).items():
        assert values.tolist() == [row[name] or 0 for row in expected]
    requests, reports = held(system, "requests"), held(system, "executions")
    reserved = [expected_reserved(row, requests, reports) for row in expected]
    assert view.reserved_of(known).tolist() == reserved


def assert_requests(view: View, requests: list[Row], reports: list[Row]) -> None:
    waiting = {request for _, request, _ in unanswered(requests, reports)}
    closing = {"new", "canceled", "expired"}
    told = {row["order_id"] for row in reports if row["exec_type"] in closing}
    told |= {row["request_id"] for row in reports}
    sent = [row for row in requests if row["reject_reason"] is None]
    expected = [
        row["record_id"] in told
        if row["request_type"] == "new"
        else row["record_id"] in told or row["record_id"] not in waiting
        for row in sent
    ]
    assert view.answered(ids([row["record_id"] for row in sent])).tolist() == expected


def assert_events(view: View, reports: list[Row], postings: list[Row]) -> None:
    everything = [record_id("v", i) for i in range(60)]
    seen = {row["exec_id"] for row in reports}
    assert view.seen(ids(everything)).tolist() == [i in seen for i in everything]
    defined = positions.uncleared(frame("postings", postings), frame("executions", reports))
    found = view.uncleared(ids(defined["trade_id"].to_list()))
    for name in ("exec_id", "shares", "cash"):
        assert getattr(found, name).tolist() == defined[name].to_list()
    differs = pl.any_horizontal(pl.col("shares", "cash") != 0)
    waits = set(defined.filter(differs)["exec_id"])
    known = {row["exec_id"]: row for row in reports}
    of_trades = {i for i, row in known.items() if trade_of(row, known)}
    cleared = [i in of_trades and i not in waits for i in everything]
    assert view.cleared(ids(everything)).tolist() == cleared


@settings(max_examples=30)
@given(worlds(), SEEDS)
def test_the_last_price_of_a_symbol_is_that_of_its_latest_event(world: World, seed: int) -> None:
    system = reader()
    for dataset, records in world.batches(random.Random(seed), count=8):
        system.receive(dataset, records)
        system.view.last_px("ALFA")
    fills = [row for row in held(system, "executions") if row["exec_type"] == "trade"]
    latest = {r["symbol"]: r["last_px"] for r in sorted(fills, key=lambda r: r["exec_id"])}
    for symbol in ("ALFA", "DLTA"):
        assert system.view.last_px(symbol) == latest.get(symbol, 0)


# Single rules.


@pytest.mark.parametrize("backwards", [False, True], ids=["in_turn", "backwards"])
@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.rule.replace(" ", "_"))
def test_the_life_of_one_order_told_record_by_record(life: Life, *, backwards: bool) -> None:
    view, arrivals = View(), list[tuple[str, Row]]()
    for dataset, rows in zip(("requests", "executions"), records_of(life), strict=True):
        arrivals += [(dataset, row) for row in rows]
    for dataset, row in arrivals[::-1] if backwards else arrivals:
        view.apply(dataset, batch(dataset, [row]))
        view.order(ID)
    state = view.order(ID)
    assert state is not None
    assert (*state[6:10], state.avg_px, state.price) == (*life.then[:5], life.then.price)


def test_of_an_order_of_which_nothing_is_known_there_is_no_state() -> None:
    view = View()
    assert view.order(ID) is None
    view.apply("requests", batch("requests", [change("cancel", record_id("c2", 0), ID)]))
    assert view.order(ID) is None
    assert view.statuses().is_empty()


def test_a_cancel_that_arrives_before_its_order_pends_when_the_order_comes() -> None:
    view = View()
    view.apply("requests", batch("requests", [change("cancel", record_id("c2", 0), ID)]))
    view.order(ID)
    view.apply("requests", batch("requests", [new(ID)]))
    state = view.order(ID)
    assert state is not None
    assert state.ord_status == "pending_cancel"


def test_an_answer_that_arrives_before_its_request_leaves_nothing_pending() -> None:
    cancel, view = record_id("c2", 0), View()
    rejected = {"exec_type": "cancel_rejected", "request_id": cancel}
    reports = batch("executions", executions(ID, {"exec_type": "new"}, rejected))
    for dataset, records in (
        ("executions", reports),
        ("requests", batch("requests", [change("cancel", cancel, ID)])),
        ("requests", batch("requests", [new(ID)])),
    ):
        view.apply(dataset, records)
        state = view.order(ID)
        assert state is not None
        assert state.ord_status == "new"


def test_a_fill_moves_a_balance_once_whether_it_is_posted_before_or_after_it_is_seen() -> None:
    fill = executions(ID, {"exec_type": "trade", "last_qty": 30, "last_px": PRICE})
    legs: list[Row] = [
        {"asset": "ALFA", "amount": 30, "exec_id": fill[0]["exec_id"]},
        {"asset": "USD", "amount": -30 * PRICE, "exec_id": fill[0]["exec_id"]},
    ]
    arrivals = [("executions", batch("executions", fill)), ("postings", batch("postings", legs))]
    for order in (arrivals, arrivals[::-1]):
        view = View()
        for dataset, records in order:
            view.apply(dataset, records)
            amounts = view.positions().select("asset", "amount").rows()
            assert amounts == [("ALFA", 30), ("USD", -30 * PRICE)]


def test_a_frame_that_was_handed_out_does_not_change_when_records_arrive() -> None:
    system = reader()
    system.receive("requests", batch("requests", [new(ID)]))
    answered = system.statuses(), system.positions()
    copies = [frame.clone().rechunk().to_dicts() for frame in answered]
    fill: Row = {"exec_type": "trade", "last_qty": 100, "last_px": PRICE}
    system.receive("executions", batch("executions", executions(ID, fill)))
    system.statuses(), system.positions()
    assert [frame.to_dicts() for frame in answered] == copies


@settings(max_examples=20)
@given(worlds(), st.integers(0, 2**32), st.lists(st.integers(0, 5), min_size=1))
def test_whoever_keeps_an_answer_and_however_long_it_stays_as_it_was(
    world: World, seed: int, patience: list[int]
) -> None:
    view, kept = View(), list[tuple[int, pl.DataFrame, list[Row]]]()
    turns = cycle(patience)
    for turn, (dataset, records) in enumerate(world.batches(random.Random(seed), count=30)):
        view.apply(dataset, records)
        kept.append((turn + next(turns), view.statuses(), view.statuses().to_dicts()))
        assert all(answer.to_dicts() == as_it_was for _, answer, as_it_was in kept)
        kept = [each for each in kept if each[0] > turn]


# What views are made of.


KEYS = st.lists(st.tuples(st.sampled_from(["c1", "c2", "s1"]), st.integers(0, 20_000)), max_size=90)


@settings(max_examples=30)
@given(st.lists(KEYS, max_size=4))
def test_a_row_is_given_to_each_id_once_and_stays_its_own(
    runs: list[list[tuple[str, int]]],
) -> None:
    rows, known = Rows(), dict[int, int]()
    for run in runs:
        records = [record_id(*key) for key in run]
        for record, row in zip(records, rows.give(ids(records)).tolist(), strict=True):
            assert known.setdefault(record, row) == row == rows.find(record)
            assert 0 < row < rows.count
            assert rows.id_of(row) == record
    records, given_out = list(known), list(known.values())
    assert rows.of(ids(records)).tolist() == given_out
    assert rows.ids_of(np.array(given_out, np.int64)).tolist() == records
    assert len(set(given_out)) == len(known)
    assert rows.pages["number"].tolist() == sorted({0, *(record >> 14 for record in records)})


def test_what_was_never_seen_has_no_row() -> None:
    rows = Rows()
    rows.give(ids([record_id("c1", 50_000)]))
    unseen = [0, record_id("c1", 0), record_id("c1", 1 << 40), record_id("firm", 50_000)]
    assert [rows.find(record) for record in unseen] == [0, 0, 0, 0]
    assert rows.of(ids(unseen)).tolist() == [0, 0, 0, 0]


@given(st.lists(st.lists(st.sampled_from([*range(1, 9), 3 << 14, ID, ID + 1, 5 << 40]))))
def test_a_set_of_ids_says_of_each_once_that_it_is_new(runs: list[list[int]]) -> None:
    known, expected = IdSet(), set[int]()
    for run in runs:
        new = known.add(ids(run)).tolist()
        for number, is_new in zip(run, new, strict=True):
            assert is_new == (number not in expected)
            expected.add(number)
    asked = [0, 1, 2, ID, ID + 1, ID + 2, 3 << 14, 5 << 40, (5 << 40) + 1]
    assert known.has(ids(asked)).tolist() == [record_id in expected for record_id in asked]


WORDS = st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(["X", "Y", "Z", "USD"]))


@settings(max_examples=30)
@given(st.lists(st.lists(WORDS, max_size=70), max_size=4))
def test_a_pair_is_given_once_and_knows_the_cash_of_its_account(
    runs: list[list[tuple[str, str]]],
) -> None:
    accounts, known = Accounts(), dict[tuple[str, str], int]()
    for run in runs:
        columns = [pa.array([row[i] for row in run], pa.utf8()) for i in (0, 1)]
        for words, pair in zip(run, accounts.pairs(*columns).tolist(), strict=True):
            assert known.setdefault(words, pair) == pair == accounts.find(*words)
            assert accounts.names(pair) == words
            assert accounts.balances[pair]["cash"] == accounts.find(words[0], "USD")
    assert len(set(known.values())) == len(known)
    texts = accounts.names_of(np.array([*known.values()], np.int64))
    assert [*zip(*map(pa.Array.to_pylist, texts), strict=True)] == list(known)


def test_thousands_of_pairs_are_each_found_and_never_mixed_up() -> None:
    """More than there is room for at first, which is made several times."""
    owners, owned = (text.ravel() for text in np.meshgrid(np.arange(3000), np.arange(7)))
    columns = (
        pa.array([f"{letter}{n}" for n in of]) for letter, of in (("A", owners), ("S", owned))
    )
    accounts, assets = columns
    known = Accounts()
    pairs = np.concatenate(
        [known.pairs(accounts[i : i + 900], assets[i : i + 900]) for i in range(0, 21_000, 900)]
    )
    assert len(set(pairs.tolist())) == 21_000
    assert known.count == 24_000, "and each account's cash"
    assert known.pairs(accounts, assets).tolist() == pairs.tolist()
    assert known.names_of(pairs) == (accounts, assets)
    assert known.find("A7", "S8") == known.find("B", "USD") == -1


@given(st.lists(WORDS, max_size=90))
def test_codes_are_those_of_the_texts_whether_few_or_many(rows: list[tuple[str, str]]) -> None:
    letter_of = "abcdefghij".index
    letters = [None if row[1] == "X" else row[0] for row in rows]
    found = codes_of(pa.array(letters, pa.utf8()), letter_of, null=-1)
    assert found.tolist() == [-1 if letter is None else letter_of(letter) for letter in letters]


@pytest.mark.parametrize("count", [1, 80])
def test_a_text_that_is_none_of_those_known_has_no_code(count: int) -> None:
    with pytest.raises(KeyError):
        codes_of(pa.array(["c"] * count), codes.exec_type)


def test_every_text_has_a_code() -> None:
    kinds = {
        loops.REQUEST_TYPES: RequestType,
        loops.EXEC_TYPES: ExecType,
        loops.SIDES: Side,
        loops.ORD_TYPES: OrdType,
        loops.TIMES_IN_FORCE: TimeInForce,
        loops.STATUSES: OrdStatus,
    }
    for texts, kind in kinds.items():
        assert sorted(texts) == sorted(kind)
    assert tuple(OrdStatus) == loops.STATUSES
    own = {"clearing": loops.CLEARING, "capital": loops.CAPITAL, "fees": loops.FEES}
    assert {name: Accounts().accounts.numbers[name] for name in FIRMS_OWN} == own
    assert len(FIRMS_OWN) == loops.FIRST_CUSTOMER
    for exec_type in (*status.STATES_TERMS, *status.OF_TRADES, *status.ANSWERS, *status.PENDING):
        assert getattr(loops, exec_type.name) == loops.EXEC_TYPES.index(exec_type)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=8))
def test_columns_grow_with_zeros_and_keep_what_they_hold(counts: list[int]) -> None:
    records, written = np.zeros(1, ORDER), 0
    for count in counts:
        records = with_room(records, count)
        if count > written:
            assert not records["price"][written:count].any()
            records["price"][written:count] = np.arange(written, count)
            written = count
        assert records["price"][:written].tolist() == list(range(written))


def test_the_empty_view_answers_with_the_columns_it_always_has() -> None:
    empty, system = View(), reader()
    assert empty.positions().is_empty()
    assert system.statuses().columns == list(status.COLUMNS)
    assert isinstance(system.positions(), pl.DataFrame)
