"""Order status by aggregation: the definition, held against lives worked out by hand.

Goal: a status follows from the set of an order's records alone, by the rules of FIX 4.4 Vol. 4.
Method: short lives with the status, quantities and average price that a person computed; then
random lives of several orders at several systems, held against plain Python that counts records.
"""

import random
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.build import PRICE, Row, change, executions, frame, new, record_id
from tests.lives import World, expected_statuses, worlds
from tradesys import status
from tradesys.records import CLOSED, ExecType, OrdStatus

ID = record_id("c1", 0)
CANCEL, REPLACE, REPLACE_2 = (record_id("c2", i) for i in range(3))

NEW: Row = {"exec_type": "new"}
REJECTED: Row = {"exec_type": "rejected"}
EXPIRED: Row = {"exec_type": "expired"}
CANCELED: Row = {"exec_type": "canceled", "request_id": CANCEL}
CANCEL_REJECTED: Row = {"exec_type": "cancel_rejected", "request_id": CANCEL}
REPLACE_REJECTED: Row = {"exec_type": "cancel_rejected", "request_id": REPLACE}
CANCEL_ASKED = change("cancel", CANCEL, ID, cl_ord_id="B", orig_cl_ord_id="A")
REPLACE_ASKED = change("replace", REPLACE, ID, cl_ord_id="B", orig_cl_ord_id="A", order_qty=60)


def trade(qty: int, px: int = PRICE, **terms: Any) -> Row:
    return {"exec_type": "trade", "last_qty": qty, "last_px": px, **terms}


def replaced(qty: int, price: int = PRICE, request_id: int = REPLACE, name: str = "B") -> Row:
    terms = {"order_qty": qty, "price": price, "cl_ord_id": name}
    return {"exec_type": "replaced", "request_id": request_id, **terms}


class Then(NamedTuple):
    """What the records of an order come to."""

    ord_status: OrdStatus
    order_qty: int
    cum_qty: int
    leaves_qty: int
    avg_px: float | None = None
    cl_ord_id: str = "A"
    price: int | None = PRICE


class Life(NamedTuple):
    """Requests beside the order itself, reports in the venue's order, and what they come to."""

    rule: str
    requests: list[Row]
    reports: list[Row]
    then: Then


S = OrdStatus
LIVES = [
    Life("asked for, not answered", [], [], Then(S.PENDING_NEW, 100, 0, 100)),
    Life("acknowledged", [], [NEW], Then(S.NEW, 100, 0, 100)),
    Life("rejected by the street side", [], [REJECTED], Then(S.REJECTED, 100, 0, 0)),
    Life("one fill of part", [], [NEW, trade(30)], Then(S.PARTIALLY_FILLED, 100, 30, 70, 20.0)),
    Life(
        "the average of two fills is weighted by quantity",
        [],
        [NEW, trade(30, 200_000), trade(10, 204_000)],
        Then(S.PARTIALLY_FILLED, 100, 40, 60, 20.1),
    ),
    Life("filled in two", [], [NEW, trade(30), trade(70)], Then(S.FILLED, 100, 100, 0, 20.0)),
    Life("filled, not acknowledged yet", [], [trade(100)], Then(S.FILLED, 100, 100, 0, 20.0)),
    Life("an over-fill is shown", [], [NEW, trade(130)], Then(S.FILLED, 100, 130, 0, 20.0)),
    Life("expired with nothing done", [], [NEW, EXPIRED], Then(S.EXPIRED, 100, 0, 0)),
    Life("expired in part", [], [NEW, trade(30), EXPIRED], Then(S.EXPIRED, 100, 30, 0, 20.0)),
    # cancel
    Life("a cancel is asked for", [CANCEL_ASKED], [NEW], Then(S.PENDING_CANCEL, 100, 0, 100)),
    Life("canceled", [CANCEL_ASKED], [NEW, CANCELED], Then(S.CANCELED, 100, 0, 0)),
    Life(
        "canceled after a fill keeps what was done",
        [CANCEL_ASKED],
        [NEW, trade(30), CANCELED],
        Then(S.CANCELED, 100, 30, 0, 20.0),
    ),
    Life("canceled by nobody's request", [], [NEW, CANCELED], Then(S.CANCELED, 100, 0, 0)),
    Life("a cancel is rejected", [CANCEL_ASKED], [NEW, CANCEL_REJECTED], Then(S.NEW, 100, 0, 100)),
    Life(
        "filled while a cancel is pending",
        [CANCEL_ASKED],
        [NEW, trade(100)],
        Then(S.PENDING_CANCEL, 100, 100, 0, 20.0),
    ),
    Life(
        "a cancel comes too late",
        [CANCEL_ASKED],
        [NEW, trade(100), CANCEL_REJECTED],
        Then(S.FILLED, 100, 100, 0, 20.0),
    ),
    Life(
        "a fill reported after the cancelation counts",
        [CANCEL_ASKED],
        [NEW, CANCELED, trade(30)],
        Then(S.CANCELED, 100, 30, 0, 20.0),
    ),
    Life(
        "a cancel refused by the customer-facing system pends nothing",
        [CANCEL_ASKED | {"reject_reason": "too early"}],
        [NEW],
        Then(S.NEW, 100, 0, 100),
    ),
    # replace
    Life("a replace is asked for", [REPLACE_ASKED], [NEW], Then(S.PENDING_REPLACE, 100, 0, 100)),
    Life(
        "replaced by less", [REPLACE_ASKED], [NEW, replaced(60)], Then(S.NEW, 60, 0, 60, None, "B")
    ),
    Life(
        "replaced by more, at another price",
        [REPLACE_ASKED],
        [NEW, trade(30), replaced(160, 210_000)],
        Then(S.PARTIALLY_FILLED, 160, 30, 130, 20.0, "B", 210_000),
    ),
    Life(
        "replaced to what is filled",
        [REPLACE_ASKED],
        [NEW, trade(60), replaced(60)],
        Then(S.FILLED, 60, 60, 0, 20.0, "B"),
    ),
    Life(
        "replaced to more after it was filled",
        [REPLACE_ASKED],
        [NEW, trade(100), replaced(160)],
        Then(S.PARTIALLY_FILLED, 160, 100, 60, 20.0, "B"),
    ),
    Life(
        "of two replaces the one reported last is in force",
        [REPLACE_ASKED, change("replace", REPLACE_2, ID, cl_ord_id="C", order_qty=80)],
        [NEW, replaced(60), replaced(80, PRICE, REPLACE_2, "C")],
        Then(S.NEW, 80, 0, 80, None, "C"),
    ),
    Life(
        "one of two replaces is pending still",
        [REPLACE_ASKED, change("replace", REPLACE_2, ID, cl_ord_id="C", order_qty=80)],
        [NEW, replaced(60)],
        Then(S.PENDING_REPLACE, 60, 0, 60, None, "B"),
    ),
    Life(
        "a replace is rejected", [REPLACE_ASKED], [NEW, REPLACE_REJECTED], Then(S.NEW, 100, 0, 100)
    ),
    Life(
        "a pending cancel outranks a pending replace",
        [REPLACE_ASKED, CANCEL_ASKED],
        [NEW, trade(30)],
        Then(S.PENDING_CANCEL, 100, 30, 70, 20.0),
    ),
]


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.rule.replace(" ", "_"))
def test_the_life_of_one_order(life: Life) -> None:
    requests = frame("requests", [new(ID), *life.requests])
    reports = frame("executions", executions(ID, *life.reports))
    assert answer(requests, reports) == life.then


def answer(requests: pl.DataFrame, reports: pl.DataFrame) -> tuple[object, ...]:
    """What the definition says of the one order that there is, as a :class:`Then`."""
    names = ("ord_status", "order_qty", "cum_qty", "leaves_qty", "avg_px", "cl_ord_id", "price")
    (row,) = status.statuses(requests, reports).select(names).iter_rows()
    return row


def test_refused_by_the_customer_facing_system() -> None:
    requests = frame("requests", [new(ID, reject_reason="not enough cash")])
    assert answer(requests, frame("executions", []))[:4] == ("rejected", 100, 0, 0)


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


def test_what_follows_from_no_records_is_no_answer() -> None:
    found = status.statuses(frame("requests", []), frame("executions", []))
    assert found.columns == list(status.COLUMNS)
    assert found.is_empty()


def test_every_status_and_every_report_has_a_place_in_the_rules() -> None:
    assert {ord_status for ord_status, _ in status.PRECEDENCE} == set(OrdStatus)
    ruled = {*status.ANSWERS, *status.PENDING, *status.REFUSALS, *status.AT_WORK, *status.ENDS}
    ruled |= {*status.TRADES, *status.REFERS, ExecType.DONE_FOR_DAY, ExecType.CALCULATED}
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
def test_what_can_still_trade_is_what_is_not_closed(world: World) -> None:
    requests, reports = frame("requests", world.rows("requests")), world.rows("executions")
    found = status.statuses(requests, frame("executions", reports))
    is_open = found.select(status.is_open()).to_series()
    closed = found["ord_status"].is_in([s.value for s in CLOSED])
    assert not (is_open & closed).any()
    assert (found["leaves_qty"].filter(~is_open) == 0).all()
