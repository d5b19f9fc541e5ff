"""Lives of one order: its records, and what a person computed from them by the rules of FIX 4.4.

Each states one rule. Reports are numbered by the venue in the order in which they stand.
"""

from typing import Any, NamedTuple

from tests.build import PRICE, Row, change, executions, new, record_id
from tradesys.records.schemas import OrdStatus

ID = record_id("c1", 0)
CANCEL, REPLACE, REPLACE_2 = (record_id("c2", i) for i in range(3))

NEW: Row = {"exec_type": "new"}
REJECTED: Row = {"exec_type": "rejected"}
EXPIRED: Row = {"exec_type": "expired"}
DONE: Row = {"exec_type": "done_for_day"}
CALCULATED: Row = {"exec_type": "calculated"}
SUSPENDED: Row = {"exec_type": "suspended"}
STOPPED: Row = {"exec_type": "stopped", "last_qty": 10, "last_px": PRICE}
RESTATED: Row = {"exec_type": "restated"}
CANCELED: Row = {"exec_type": "canceled", "request_id": CANCEL}
CANCEL_REJECTED: Row = {"exec_type": "cancel_rejected", "request_id": CANCEL}
REPLACE_REJECTED: Row = {"exec_type": "cancel_rejected", "request_id": REPLACE}
CANCEL_ASKED = change("cancel", CANCEL, ID, cl_ord_id="B", orig_cl_ord_id="A")
REPLACE_ASKED = change("replace", REPLACE, ID, cl_ord_id="B", orig_cl_ord_id="A", order_qty=60)


def trade(qty: int, px: int = PRICE, **terms: Any) -> Row:
    return {"exec_type": "trade", "last_qty": qty, "last_px": px, **terms}


def bust(event: int) -> Row:
    """A bust of the report with this number."""
    return {"exec_type": "trade_cancel", "exec_ref_id": record_id("v", event)}


def correct(event: int, qty: int, px: int = PRICE) -> Row:
    """A correction of the report with this number."""
    return trade(qty, px) | {"exec_type": "trade_correct", "exec_ref_id": record_id("v", event)}


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
    time_in_force: str = "day"


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
    Life(
        "a cancel refused twice leaves another pending",
        [CANCEL_ASKED, change("cancel", REPLACE_2, ID, cl_ord_id="C", orig_cl_ord_id="A")],
        [NEW, CANCEL_REJECTED, CANCEL_REJECTED],
        Then(S.PENDING_CANCEL, 100, 0, 100),
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
    Life(
        "a change pends that only its report tells of",
        [],
        [NEW, {"exec_type": "pending_replace", "request_id": REPLACE}],
        Then(S.PENDING_REPLACE, 100, 0, 100),
    ),
    Life(
        "a cancel that was reported pending is answered",
        [CANCEL_ASKED],
        [NEW, {"exec_type": "pending_cancel", "request_id": CANCEL}, CANCEL_REJECTED],
        Then(S.NEW, 100, 0, 100),
    ),
    Life(
        "reported pending new", [], [{"exec_type": "pending_new"}], Then(S.PENDING_NEW, 100, 0, 100)
    ),
    Life(
        "an order status tells nothing new",
        [],
        [NEW, trade(30), {"exec_type": "order_status"}],
        Then(S.PARTIALLY_FILLED, 100, 30, 70, 20.0),
    ),
    # what the market does by itself
    Life(
        "restated to less",
        [],
        [NEW, trade(30), RESTATED | {"order_qty": 90}],
        Then(S.PARTIALLY_FILLED, 90, 30, 60, 20.0),
    ),
    Life(
        "replaced by nobody's request",
        [],
        [NEW, trade(30), replaced(60, PRICE, ID, "A")],
        Then(S.PARTIALLY_FILLED, 60, 30, 30, 20.0),
    ),
    Life(
        "replaced to less than is filled is amended to what is filled",
        [REPLACE_ASKED],
        [NEW, trade(70), replaced(70)],
        Then(S.FILLED, 70, 70, 0, 20.0, "B"),
    ),
    # busts and corrections
    Life("a fill is busted", [], [NEW, trade(30), bust(1)], Then(S.NEW, 100, 0, 100)),
    Life(
        "an order that was filled is open again after a bust",
        [],
        [NEW, trade(30), trade(70, 210_000), bust(1)],
        Then(S.PARTIALLY_FILLED, 100, 70, 30, 21.0),
    ),
    Life(
        "a bust twice takes out once",
        [],
        [NEW, trade(30), trade(40), bust(1), bust(1)],
        Then(S.PARTIALLY_FILLED, 100, 40, 60, 20.0),
    ),
    Life(
        "a correction counts in place of the fill",
        [],
        [NEW, trade(30), correct(1, 20, 210_000)],
        Then(S.PARTIALLY_FILLED, 100, 20, 80, 21.0),
    ),
    Life(
        "a correction of a correction counts in place of both",
        [],
        [NEW, trade(30), correct(1, 20), correct(2, 50, 190_000)],
        Then(S.PARTIALLY_FILLED, 100, 50, 50, 19.0),
    ),
    Life(
        "a bust of a correction leaves nothing",
        [],
        [NEW, trade(30), correct(1, 20), bust(2)],
        Then(S.NEW, 100, 0, 100),
    ),
    Life(
        "of two corrections of the trade itself the later stands",
        [],
        [NEW, trade(30), correct(1, 60), correct(1, 20, 190_000)],
        Then(S.PARTIALLY_FILLED, 100, 20, 80, 19.0),
    ),
    Life(
        "a later correction of the trade stands, whatever came of an earlier one",
        [],
        [NEW, trade(30), correct(1, 20), correct(2, 50), correct(1, 40)],
        Then(S.PARTIALLY_FILLED, 100, 40, 60, 20.0),
    ),
    Life(
        "a bust of the trade itself takes out what its correction says",
        [],
        [NEW, trade(30), correct(1, 20), correct(1, 10), bust(1)],
        Then(S.NEW, 100, 0, 100),
    ),
    Life(
        "no correction brings back what was busted",
        [],
        [NEW, trade(30), bust(1), correct(1, 20), correct(2, 10), correct(3, 5)],
        Then(S.NEW, 100, 0, 100),
    ),
    Life(
        "a correction of what is no trade is no trade",
        [],
        [NEW, correct(0, 20), correct(1, 30)],
        Then(S.NEW, 100, 0, 100),
    ),
    Life(
        "an amendment of a later event amends nothing",
        [],
        [NEW, bust(2), trade(30), correct(3, 20)],
        Then(S.PARTIALLY_FILLED, 100, 30, 70, 20.0),
    ),
    Life(
        "canceled stays canceled when its fill is busted",
        [CANCEL_ASKED],
        [NEW, trade(30), CANCELED, bust(1)],
        Then(S.CANCELED, 100, 0, 0),
    ),
    # terms that change
    Life(
        "a day order that was made good till canceled is done for the day and open",
        [REPLACE_ASKED],
        [NEW, replaced(60) | {"time_in_force": "gtc"}, DONE],
        Then(S.DONE_FOR_DAY, 60, 0, 60, None, "B"),
    ),
    Life(
        "an order that was made good for the day is over when it is done",
        [],
        [NEW, RESTATED | {"time_in_force": "day"}, DONE],
        Then(S.DONE_FOR_DAY, 100, 0, 0),
        "gtc",
    ),
    Life(
        "of two changes of the time in force the later holds",
        [],
        [
            NEW,
            RESTATED | {"time_in_force": "gtd"},
            RESTATED | {"time_in_force": "day"},
            DONE,
        ],
        Then(S.DONE_FOR_DAY, 100, 0, 0),
        "gtc",
    ),
    # states that pass
    Life(
        "a day order is done for the day",
        [],
        [NEW, trade(30), DONE],
        Then(S.DONE_FOR_DAY, 100, 30, 0, 20.0),
    ),
    Life(
        "an order good till canceled is done for the day and open",
        [],
        [NEW, trade(30), DONE],
        Then(S.DONE_FOR_DAY, 100, 30, 70, 20.0),
        "gtc",
    ),
    Life(
        "renewed the next day",
        [],
        [NEW, trade(30), DONE, RESTATED],
        Then(S.PARTIALLY_FILLED, 100, 30, 70, 20.0),
        "gtd",
    ),
    Life(
        "at work the next day",
        [],
        [NEW, DONE, trade(30)],
        Then(S.PARTIALLY_FILLED, 100, 30, 70, 20.0),
        "gtc",
    ),
    Life(
        "corrected after it was done for the day",
        [],
        [NEW, trade(30), DONE, correct(1, 20)],
        Then(S.DONE_FOR_DAY, 100, 20, 80, 20.0),
        "gtc",
    ),
    Life(
        "filled and then done for the day",
        [],
        [NEW, trade(100), DONE],
        Then(S.DONE_FOR_DAY, 100, 100, 0, 20.0),
    ),
    Life(
        "canceled the next day, not renewed",
        [CANCEL_ASKED],
        [NEW, trade(30), DONE, CANCELED],
        Then(S.CANCELED, 100, 30, 0, 20.0),
        "gtc",
    ),
    Life(
        "filled and calculated",
        [],
        [NEW, trade(100), CALCULATED],
        Then(S.CALCULATED, 100, 100, 0, 20.0),
    ),
    Life("a day order is calculated", [], [NEW, CALCULATED], Then(S.CALCULATED, 100, 0, 0)),
    Life(
        "done outranks calculated",
        [],
        [NEW, DONE, CALCULATED],
        Then(S.DONE_FOR_DAY, 100, 0, 100),
        "gtc",
    ),
    Life(
        "done for the day on two days",
        [],
        [NEW, DONE, trade(30), DONE],
        Then(S.DONE_FOR_DAY, 100, 30, 70, 20.0),
        "gtc",
    ),
    Life("suspended", [], [NEW, SUSPENDED], Then(S.SUSPENDED, 100, 0, 100)),
    Life("suspended, and at work again", [], [NEW, SUSPENDED, RESTATED], Then(S.NEW, 100, 0, 100)),
    Life("suspended, then expired", [], [NEW, SUSPENDED, EXPIRED], Then(S.EXPIRED, 100, 0, 0)),
    Life("guaranteed", [], [NEW, STOPPED], Then(S.STOPPED, 100, 0, 100)),
    Life(
        "a guarantee lasts through the trade",
        [],
        [NEW, STOPPED, trade(10)],
        Then(S.STOPPED, 100, 10, 90, 20.0),
    ),
    Life(
        "a guarantee ends with a fill of all",
        [],
        [NEW, STOPPED, trade(100)],
        Then(S.FILLED, 100, 100, 0, 20.0),
    ),
    Life(
        "a guarantee ends when the order is replaced",
        [REPLACE_ASKED],
        [NEW, STOPPED, replaced(60)],
        Then(S.NEW, 60, 0, 60, None, "B"),
    ),
    Life(
        "a guarantee outranks a halt", [], [NEW, SUSPENDED, STOPPED], Then(S.STOPPED, 100, 0, 100)
    ),
    # refusals
    Life(
        "the rejection of a duplicate is none of the original's",
        [],
        [NEW, trade(30), REJECTED | {"request_id": record_id("c2", 9)}],
        Then(S.PARTIALLY_FILLED, 100, 30, 70, 20.0),
    ),
    Life("rejected after it was acknowledged", [], [NEW, REJECTED], Then(S.REJECTED, 100, 0, 0)),
]


def records_of(life: Life) -> tuple[list[Row], list[Row]]:
    """The requests and the reports of a life."""
    terms = {"time_in_force": life.time_in_force}
    requests = [row | terms for row in (new(ID), *life.requests)]
    return requests, [terms | row for row in executions(ID, *life.reports)]
