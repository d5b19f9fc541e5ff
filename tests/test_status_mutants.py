"""Every rule matters: with one line of the rules changed, the tests notice.

Goal: no rule of status or of balances could be dropped or turned without a test that fails.
Method: the source of a module with one text put in place of another is executed, and answers for
the lives of `order_lives.py` and some random ones of `lives.py`, which plain Python counts along.
The compiled loops are executed as the Python that they are.
"""

import random
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import pytest

import tradesys
from tests.build import PRICE, Row, batch, executions, frame, new, record_id
from tests.lives import World, expected_balances, expected_statuses, large_world
from tests.order_lives import (
    ID,
    LIVES,
    NEW,
    REPLACE,
    REPLACE_ASKED,
    REPLACE_REJECTED,
    bust,
    correct,
    records_of,
    trade,
)
from tradesys.records.opening_books import Fees
from tradesys.status.incremental import compiled
from tradesys.status.incremental import rows as id_rows
from tradesys.status.incremental import view as views
from tradesys.status.incremental.view import View

FEES = Fees(per_share=30, per_notional=7)
NAMES = ("ord_status", "order_qty", "cum_qty", "leaves_qty", "avg_px")

STATUS = {
    "an event counts as often as it is reported": (
        'executions.unique("exec_id", keep="first", maintain_order=True)',
        "executions",
    ),
    "a bust takes nothing out": (
        "AMENDS = (ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL)",
        "AMENDS = (ExecType.TRADE_CORRECT,)",
    ),
    "a correction changes nothing": (
        "AMENDS = (ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL)",
        "AMENDS = (ExecType.TRADE_CANCEL,)",
    ),
    "an amendment by the original id counted twice": (
        """.unique("trade_id", keep="last", maintain_order=True)""",
        "",
    ),
    "the first amendment stands": (
        """.unique("trade_id", keep="last", maintain_order=True)""",
        """.unique("trade_id", keep="first", maintain_order=True)""",
    ),
    "a bust undone by a later correction": (
        """.sort(is_bust, "exec_id")""",
        """.sort("exec_id")""",
    ),
    "a bust leaves the quantity that it states": (
        """pl.when(is_bust).then(0).otherwise("last_qty")""",
        """pl.col("last_qty")""",
    ),
    "an amendment amends only what it names": (
        """while found["trade_id"].is_in(found["exec_id"].implode()).any():""",
        "while False:",
    ),
    "an amendment amends a later event": (
        """pl.col("exec_ref_id") < pl.col("exec_id")""",
        """pl.col("exec_ref_id") != pl.col("exec_id")""",
    ),
    "a restatement states no terms": (
        "CHANGES_TERMS = (ExecType.REPLACED, ExecType.RESTATED)",
        "CHANGES_TERMS = (ExecType.REPLACED,)",
    ),
    "the time in force stays as it was entered": (
        """("cl_ord_id", *CHANGED)""",
        """("cl_ord_id",)""",
    ),
    "the first change of the time in force holds": (
        """pl.col(CHANGED).filter("changes_terms").last()""",
        """pl.col(CHANGED).filter("changes_terms").first()""",
    ),
    "a trade does not show an order at work": (
        "AT_WORK = (*STATES_TERMS, ExecType.TRADE)",
        "AT_WORK = STATES_TERMS",
    ),
    "a trade ends a guarantee": (
        'pl.col("stopped") > pl.col("states_terms")',
        'pl.col("stopped") > pl.col("at_work")',
    ),
    "an order that ended may be done for the day": (
        '(pl.col("done_for_day") > pl.col("at_work")) & goes_on',
        'pl.col("done_for_day") > pl.col("at_work")',
    ),
    "done for the day once is done for ever": (
        'pl.col("done_for_day") > pl.col("at_work")',
        'pl.col("done_for_day") > 0',
    ),
    "a suspension is for ever": (
        'pl.col("suspended") > pl.col("at_work")',
        'pl.col("suspended") > 0',
    ),
    "no order is open after its day": (
        "GOOD_TILL = (TimeInForce.GTC.value, TimeInForce.GTD.value)",
        "GOOD_TILL = ()",
    ),
    "a calculated day order stays open": (
        'pl.col("done_for_day") | pl.col("calculated")',
        'pl.col("done_for_day")',
    ),
    "a rejected order stays open": (
        'pl.col("canceled") | pl.col("expired") | pl.col("rejected")',
        'pl.col("canceled") | pl.col("expired")',
    ),
    "an over-fill leaves less than nothing": (".clip(lower_bound=0)", ""),
    "a refusal counts against the order": (
        'select(order_id="request_id")',
        'select("order_id")',
    ),
    "a refusal of a cancel answers nothing": (
        "ANSWERS = (ExecType.CANCELED, ExecType.REPLACED, ExecType.CANCEL_REJECTED)",
        "ANSWERS = (ExecType.CANCELED, ExecType.REPLACED)",
    ),
    "a change that the system refused pends": (
        'says(*CHANGES, of="request_type"), pl.col("reject_reason").is_null()',
        'says(*CHANGES, of="request_type")',
    ),
    "a change pends only if its request is held": (
        "told = executions.filter(says(*PENDING))",
        "told = executions.clear()",
    ),
    "the first terms stay in force": (
        '(pl.col("states_terms") > 0).last()',
        '(pl.col("states_terms") > 0).first()',
    ),
    "the average is not weighted": (
        'cum_amount=(qty * pl.col("last_px")).sum()',
        'cum_amount=pl.col("last_px").mean().cast(pl.Int64) * qty.sum()',
    ),
    "filled only if nothing was filled beyond": (
        'pl.col("cum_qty") >= pl.col("order_qty")',
        'pl.col("cum_qty") == pl.col("order_qty")',
    ),
    "canceled outranks filled": (
        """    (OrdStatus.FILLED, (pl.col("cum_qty") > 0)""",
        """    (OrdStatus.CANCELED, pl.col("canceled")),
    (OrdStatus.FILLED, (pl.col("cum_qty") > 0)""",
    ),
    "new outranks rejected": (
        """    (OrdStatus.REJECTED, pl.col("rejected")),""",
        """    (OrdStatus.NEW, pl.col("acknowledged")),
    (OrdStatus.REJECTED, pl.col("rejected")),""",
    ),
    "a pending replace outranks a pending cancel": (
        """    (OrdStatus.PENDING_CANCEL, pl.col("pending_cancel")),""",
        """    (OrdStatus.PENDING_REPLACE, pl.col("pending_replace")),
    (OrdStatus.PENDING_CANCEL, pl.col("pending_cancel")),""",
    ),
}

LOOPS = {
    "an event counts as often as it is reported": (
        """        if m.trades[m.events[event]]["flags"] & SEEN:
            continue
""",
        "",
    ),
    "a trade counts as it was and as it is": ("count(m, group, -1)", "pass"),
    "an amendment by the original id counted twice": (
        """join(m, row, group_of(m, trade_of(m, refers)))""",
        """join(m, row, group_of(m, trade_of(m, refers)))
        count(m, group_of(m, row), 1)""",
    ),
    "a bust undone by a later correction": ("if a != b:", "if False:"),
    "the first amendment stands": (
        "return last_trade(m, one, other)",
        "return one + other - last_trade(m, one, other)",
    ),
    "the amendment that came last stands": (
        "return last_trade(m, one, other)",
        "return other",
    ),
    "an amendment amends only what it names": (
        """join(m, row, group_of(m, trade_of(m, refers)))""",
        """join(m, row, trade_of(m, refers))""",
    ),
    "an amendment amends a later event": (
        """is_later(m, record["event"], refers)""",
        """refers != record["event"]""",
    ),
    "an amendment does not wait for its trade": (
        """    if not trade["flags"] & IS_TRADE:
        return
""",
        "",
    ),
    "what amended an amendment is forgotten when that one comes": (
        """standing(m, trade["stands"], amendment["stands"])""",
        """standing(m, trade["stands"], row)""",
    ),
    "an order whose trade is amended keeps its state": (
        """    count(m, group, 1)
    settle(m, trade["order"])""",
        "    count(m, group, 1)",
    ),
    "what was booked before its event came is not booked": (
        """    trade["shares"] += amendment["shares"]
""",
        "",
    ),
    "the other leg of the clearing account is booked too": (
        """ and balance["account"] != CLEARING""",
        "",
    ),
    "what is booked is owed still": ("""own["uncleared"] -= amount""", "pass"),
    "what is booked for an amendment is booked of it alone": (
        "book(m, group_of(m, trade_of(m, event)), pair, amount)",
        "book(m, trade_of(m, event), pair, amount)",
    ),
    "the time in force stays as it was entered": ("if kind in (REPLACED, RESTATED):", "if False:"),
    "the change of terms that came last holds": (
        """    if is_later(m, record["event"], rare["changed_by"]):
""",
        """    if True:
""",
    ),
    "terms as entered replace those that a report changed": (
        """    if m.rare[order["rare"]]["changed_by"] == 0:
        order["terms"]""",
        """    if True:
        order["terms"]""",
    ),
    "a price of nothing costs a fee": (
        "amount + fee(m, qty, amount, scale) if px else 0",
        "amount + fee(m, qty, amount, scale)",
    ),
    "a trade that is not booked has no fee": (" - charged - ", " - "),
    "an order may use no fee": ("amount + fee(m, qty, amount, scale) if px", "amount if px"),
    "the terms that came last are in force": (
        """kind <= RESTATED and is_later(m, event, order["stated_by"])""",
        "kind <= RESTATED",
    ),
    "terms as entered replace those in force": (
        """    if order["stated_by"] == 0:
        order""",
        """    if True:
        order""",
    ),
    "the report that came first tells the terms": (
        "(first == 0 or is_later(m, first, event))",
        "(first == 0)",
    ),
    "an answer that came before its request is lost": (
        """    if not change["flags"] & ANSWERED and asked == CANCEL_ASKED:""",
        """    if asked == CANCEL_ASKED:""",
    ),
    "a request is answered as often as it is told": (
        """    if change["flags"] & ANSWERED:
        return
""",
        "",
    ),
    "a refusal counts against the order": (
        """m.orders[request]["flags"] |= REFUSED""",
        """m.orders[record["order"]]["flags"] |= REFUSED""",
    ),
    "a trade ends a guarantee": (
        """rare["stopped"], order["stated_by"]""",
        """rare["stopped"], order["at_work"]""",
    ),
    "a trade does not show an order at work": ("if kind <= TRADE and", "if kind <= RESTATED and"),
    "an order that ended may be done for the day": (
        " and not flags & (WAS_CANCELED | HAS_EXPIRED) and",
        " and",
    ),
    "a later report of being done is overlooked": (
        """last(m, rare["done_for_day"], event)""",
        """rare["done_for_day"] or event""",
    ),
    "no order is open after its day": ("""if order["terms"] < GOOD_TILL:""", "if True:"),
    "an over-fill leaves less than nothing": (
        """return max(order["order_qty"] - order["cum_qty"], 0)""",
        """return order["order_qty"] - order["cum_qty"]""",
    ),
    "a replace that waits reserves nothing": (
        """else order["replace"]
    while""",
        """else 0
    while""",
    ),
    "a replace that was answered reserves still": (
        """order["replace"] = rare["earlier"]""",
        "pass",
    ),
    "canceled outranks filled": (
        """        return 8
""",
        """        return 4 if flags & WAS_CANCELED else 8
""",
    ),
    "new outranks rejected": (
        """    if flags & REFUSED:
        return 2
""",
        """    if flags & REFUSED and not flags & ACKNOWLEDGED:
        return 2
""",
    ),
    "a guarantee is outranked by a halt": (
        """    if lasts(m, flags, rare["stopped"], order["stated_by"]):
        return 7
    if lasts(m, flags, rare["suspended"], order["at_work"]):
        return 6
""",
        """    if lasts(m, flags, rare["suspended"], order["at_work"]):
        return 6
    if lasts(m, flags, rare["stopped"], order["stated_by"]):
        return 7
""",
    ),
    "a sale brings no cash": (
        "-sign * amount - charged",
        "-max(sign, 0) * amount - charged",
    ),
}

FEW_RECORDS: list[tuple[list[Row], list[Row]]] = [
    # Of an order whose request is not held the first report tells the terms, whenever it comes.
    ([], executions(ID, trade(30), trade(20, order_qty=90))[::-1]),
    # A replace that asked for more is refused.
    ([new(ID), REPLACE_ASKED | {"order_qty": 160}], executions(ID, NEW, REPLACE_REJECTED)),
    # A report of one order corrects a trade of another.
    ([new(ID), new(REPLACE)], executions(ID, trade(30), correct(0, 20) | {"order_id": REPLACE})),
]
"""Requests and reports of rules that random lives meet seldom."""


def mutated(name: str, old: str, new: str) -> ModuleType:
    """The module with the one place where ``old`` stands changed."""
    path = Path(tradesys.__file__).parent / f"{name.replace('.', '/')}.py"
    source = path.read_text()
    assert source.count(old) == 1, f"{name}.py has {source.count(old)} places like {old!r}"
    module = ModuleType(f"tradesys.{name}")
    module.__file__ = str(path)
    exec(compile(source.replace(old, new), str(path), "exec"), module.__dict__)  # noqa: S102
    return module


@cache
def random_lives() -> list[World]:
    """A few worlds, the same every time."""
    return [large_world(seed, 150) for seed in range(4)]


def status_is_wrong(module: Any) -> bool:
    """Whether a definition answers otherwise than a person or plain Python."""
    for life in LIVES:
        requests, reports = records_of(life)
        found = module.statuses(frame("requests", requests), frame("executions", reports))
        expected = life.then._asdict()
        if found.select(expected.keys()).to_dicts() != [expected]:
            return True
    for world in random_lives():
        requests, reports = world.rows("requests"), world.rows("executions")
        found = module.statuses(frame("requests", requests), frame("executions", reports))
        if found.to_dicts() != expected_statuses(requests, reports):
            return True
    return False


NOTHING_DONE: Row = {"order_id": ID, "ord_status": "pending_new", "price": PRICE}
NOTHING_DONE |= {"order_qty": 100, "cum_qty": 0, "leaves_qty": 100, "avg_px": None}


def views_are_wrong() -> bool:
    """Whether a view answers otherwise than a person or plain Python, in whatever sequence."""
    for life in LIVES:
        requests, reports = ([*rows] for rows in records_of(life))
        asked, told = (
            [("requests", row) for row in requests],
            [("executions", row) for row in reports],
        )
        for arrivals in (asked + told, told[::-1] + asked):
            view = View()
            for dataset, row in arrivals:
                view.apply(dataset, batch(dataset, [row]))
                view.order(ID)
            if answers_wrongly(view, {"order_id": ID} | life.then._asdict()):
                return True
    # Whatever a second report of an event says, the first counts.
    view, again = View(), executions(ID, trade(30), trade(20) | {"exec_id": record_id("v", 0)})
    for row in (*again, *executions(ID, bust(0) | {"exec_id": record_id("v", 2)})):
        view.apply("executions", batch("executions", [row]))
        view.order(ID)
    if answers_wrongly(view, NOTHING_DONE):
        return True
    if any(told_one_by_one(*records) for records in FEW_RECORDS):
        return True
    return any(world_is_wrong(world, seed) for seed, world in enumerate(random_lives()))


def told_one_by_one(requests: list[Row], reports: list[Row]) -> bool:
    """Whether a view that is told these records one by one answers wrongly in the end."""
    view = View(fees=FEES)
    records = {"requests": batch("requests", requests), "executions": batch("executions", reports)}
    for dataset, rows in records.items():
        for i in range(len(rows)):
            view.apply(dataset, rows.slice(i, 1))
            view.order(ID)
    asked, told = (rows.to_pylist() for rows in records.values())
    return view_is_wrong(view, asked, told, [])


def world_is_wrong(world: World, seed: int) -> bool:
    """Whether a view that a world's records reach in some order answers wrongly on the way."""
    view = View(fees=FEES)
    held: dict[str, list[Row]] = {"requests": [], "executions": [], "postings": []}
    for number, (dataset, records) in enumerate(world.batches(random.Random(seed), count=40)):
        view.apply(dataset, records)
        held[dataset] += records.to_pylist()
        view.order(ID)
        if number % 5 == 0 and view_is_wrong(view, *held.values()):
            return True
    return view_is_wrong(view, *held.values())


def answers_wrongly(view: View, expected: Row) -> bool:
    """Whether a view answers for an order otherwise than is expected."""
    state = view.order(expected["order_id"])
    if state is None or (state.price or None) != expected["price"]:
        return True
    return any(getattr(state, name) != expected[name] for name in NAMES)


def view_is_wrong(view: View, requests: list[Row], reports: list[Row], postings: list[Row]) -> bool:
    """Whether a view answers otherwise than plain Python counts."""
    if any(answers_wrongly(view, row) for row in expected_statuses(requests, reports)):
        return True
    counted = expected_balances(requests, reports, postings, view.fees)
    for pair, (booked, uncleared, reserved) in counted.items():
        if view.available(*pair) != booked + uncleared - reserved:
            return True
    told = view.positions().select("account", "asset", "booked", "uncleared", "reserved")
    return any(counted[row[0], row[1]] != row[2:] for row in told.iter_rows())


@pytest.fixture
def plain_python(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What is compiled from now on stays the Python that it is."""
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    monkeypatch.setattr(compiled, "COMPILED", [])
    return monkeypatch


def loops_are_wrong(plain_python: pytest.MonkeyPatch, old: str, new: str) -> bool:
    """Whether views answer wrongly with these loops."""
    module = mutated("status.incremental.loops", old, new)
    for user in (views, id_rows):
        plain_python.setattr(user, "loops", module)
    return views_are_wrong()


def test_the_rules_as_they_are_answer_rightly(plain_python: pytest.MonkeyPatch) -> None:
    assert not status_is_wrong(mutated("status.definition", "CHANGES =", "CHANGES ="))
    assert not loops_are_wrong(plain_python, "KNOWN, ACKNOWLEDGED", "KNOWN, ACKNOWLEDGED")


@pytest.mark.parametrize("mutant", STATUS)
def test_a_mutant_of_the_definition_is_noticed(mutant: str) -> None:
    assert status_is_wrong(mutated("status.definition", *STATUS[mutant]))


@pytest.mark.parametrize("mutant", LOOPS)
def test_a_mutant_of_the_loops_is_noticed(mutant: str, plain_python: pytest.MonkeyPatch) -> None:
    assert loops_are_wrong(plain_python, *LOOPS[mutant])
