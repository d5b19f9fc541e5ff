"""Order status by aggregation: the definition, held against lives worked out by hand.

Goal: a status follows from the set of an order's records alone, by the rules of FIX 4.4 Vol. 4.
Method: short lives with the status, quantities and average price that a person computed; then
random lives of several orders at several systems, held against plain Python that counts records.
"""

import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import Row, change, executions, frame, new
from tests.lives import World, expected_statuses, worlds
from tests.order_lives import (
    CANCEL,
    CANCEL_ASKED,
    CANCEL_REJECTED,
    ID,
    LIVES,
    NEW,
    REJECTED,
    REPLACE,
    Life,
    S,
    records_of,
    replaced,
    trade,
)
from tradesys.records.schemas import ExecType, OrdStatus
from tradesys.status import definition as status


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.rule.replace(" ", "_"))
def test_the_life_of_one_order(life: Life) -> None:
    requests, reports = records_of(life)
    assert answer(frame("requests", requests), frame("executions", reports)) == life.then


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.rule.replace(" ", "_"))
def test_the_life_of_one_order_told_backwards(life: Life) -> None:
    requests, reports = (rows[::-1] for rows in records_of(life))
    assert answer(frame("requests", requests), frame("executions", reports)) == life.then


def answer(requests: pl.DataFrame, reports: pl.DataFrame) -> tuple[object, ...]:
    """What the definition says of the one order that there is, as a :class:`Then`."""
    names = ("ord_status", "order_qty", "cum_qty", "leaves_qty", "avg_px", "cl_ord_id", "price")
    (row,) = status.statuses(requests, reports).select(names).iter_rows()
    return row


def test_refused_by_the_customer_facing_system() -> None:
    requests = frame("requests", [new(ID, reject_reason="not enough cash")])
    assert answer(requests, frame("executions", []))[:4] == ("rejected", 100, 0, 0)


def test_a_duplicate_is_rejected_and_its_original_is_not() -> None:
    requests = frame("requests", [new(ID), new(REPLACE)])
    reports = executions(ID, NEW, REJECTED | {"request_id": REPLACE})
    found = status.statuses(requests, frame("executions", reports)).select("order_id", "ord_status")
    assert found.rows() == [(ID, "new"), (REPLACE, "rejected")]


def test_a_cancel_of_an_order_that_nobody_knows_is_rejected() -> None:
    asked = change("cancel", CANCEL, CANCEL, cl_ord_id="B", orig_cl_ord_id="?")
    reports = executions(CANCEL, CANCEL_REJECTED)
    found = answer(frame("requests", [asked]), frame("executions", reports))
    assert found[:4] == ("rejected", 100, 0, 0)


def test_one_event_reported_by_two_street_side_systems_counts_once() -> None:
    first = executions(ID, NEW, trade(30))
    second = executions(ID, NEW, trade(30), trade(20), system="s2")
    reports = frame("executions", first + [row | {"poss_dup": True} for row in second])
    assert answer(frame("requests", [new(ID)]), reports)[:5] == (
        *("partially_filled", 100, 50, 50, 20.0),
    )


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([NEW], (S.NEW, 100, 0, 100)),
        ([trade(30)], (S.PARTIALLY_FILLED, 100, 30, 70)),
        ([NEW, trade(100)], (S.FILLED, 100, 100, 0)),
        ([NEW, replaced(60)], (S.NEW, 60, 0, 60)),
    ],
)
def test_an_order_known_only_through_its_executions_is_answered_from_the_terms_they_repeat(
    reports: list[Row], expected: tuple[object, ...]
) -> None:
    found = answer(frame("requests", []), frame("executions", executions(ID, *reports)))
    assert found[:4] == expected


def test_a_change_of_an_order_of_which_nothing_else_is_known_makes_no_order() -> None:
    found = status.statuses(frame("requests", [CANCEL_ASKED]), frame("executions", []))
    assert found.is_empty()


def test_a_market_order_has_no_price() -> None:
    terms: Row = {"ord_type": "market", "price": None}
    reports = frame("executions", executions(ID, NEW | terms, trade(100, **terms)))
    assert answer(frame("requests", [new(ID, **terms)]), reports)[-1] is None


def test_an_order_is_of_the_type_that_its_last_replace_states() -> None:
    limit, market = ({"ord_type": kind} for kind in ("limit", "market"))
    reports = executions(ID, NEW | limit, replaced(60) | market, replaced(60, name="C") | limit)
    for told, expected in ((reports[:1], "limit"), (reports[:2], "market"), (reports, "limit")):
        found = status.statuses(frame("requests", [new(ID)]), frame("executions", told[::-1]))
        assert found["ord_type"].to_list() == [expected]


def test_what_follows_from_no_records_is_no_answer() -> None:
    found = status.statuses(frame("requests", []), frame("executions", []))
    assert found.columns == list(status.COLUMNS)
    assert found.is_empty()


def test_every_status_and_every_report_has_a_place_in_the_rules() -> None:
    assert {ord_status for ord_status, _ in status.PRECEDENCE} == set(OrdStatus)
    ruled = {*status.ANSWERS, *status.PENDING, *status.REFUSALS, *status.AT_WORK, *status.ENDS}
    ruled |= {*status.OF_TRADES, ExecType.DONE_FOR_DAY, ExecType.CALCULATED}
    ruled |= {ExecType.SUSPENDED, ExecType.STOPPED}
    # These say nothing that other facts do not say: the order is known.
    ruled |= {ExecType.PENDING_NEW, ExecType.ORDER_STATUS}
    assert ruled == set(ExecType)


# Properties of any lives.


@settings(max_examples=60)
@given(worlds())
def test_the_definition_is_what_plain_counting_gives(world: World) -> None:
    requests, reports = world.rows("requests"), world.rows("executions")
    found = status.statuses(frame("requests", requests), frame("executions", reports))
    assert found.to_dicts() == expected_statuses(requests, reports)


@settings(max_examples=40)
@given(worlds(), st.integers())
def test_the_order_of_records_and_their_repetition_change_nothing(world: World, seed: int) -> None:
    chance = random.Random(seed)
    requests, reports = world.rows("requests"), world.rows("executions")
    expected = status.statuses(frame("requests", requests), frame("executions", reports))
    for rows in (requests, reports):
        rows.extend(chance.choices(rows, k=len(rows)) if rows else [])
        chance.shuffle(rows)
    found = status.statuses(frame("requests", requests), frame("executions", reports))
    assert found.equals(expected)


@settings(max_examples=40)
@given(worlds())
def test_nothing_of_a_closed_order_can_trade(world: World) -> None:
    requests, reports = frame("requests", world.rows("requests")), world.rows("executions")
    found = status.statuses(requests, frame("executions", reports))
    closed = found["ord_status"].is_in(["rejected", "canceled", "expired", "filled"])
    assert (found["leaves_qty"].filter(closed) == 0).all()
