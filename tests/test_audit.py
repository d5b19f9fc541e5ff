"""The checks over all systems: each finds what it is for, and no other raises a false alarm.

Goal: an audit that is true means something, since for each check there is a network that it fails.
Method: a network in order is tampered with in memory, in one place, so that one check is false; the
others must stay true, but for those that a table names beside it because the one entails the other.
"""

import re
from collections.abc import Callable

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from tests.build import PRICE, filled, network, report, submit
from tradesys.audit.audit import Audit, Check
from tradesys.audit.checks import CHECKS, KNOWN
from tradesys.log.log import Chunk, Log, State
from tradesys.network import Network
from tradesys.records.arrow import as_written, with_columns
from tradesys.records.clock import ManualClock
from tradesys.records.schemas import format_id
from tradesys.records.trading_calendar import FOREVER
from tradesys.systems.system import System

PLACED = "every record is where the topology says"
SAME = "replicas hold what their origin wrote"
GAPLESS = "no record twice, no gap"
AUTHORITY = "nothing written by the wrong kind of system"
DEFINITION = "answers agree with the definition"
AGREEMENT = "equal records give equal answers"
SENT = "each request is sent to one street-side system"
ANSWERED = "every accepted request is answered"
REFERRED = "every request that was answered is held"
TWICE = "no name is executed twice"
IN_TIME = "no order trades after its time"
FLAGGED = "what is recorded again is a possible duplicate"
OVER_FILL = "no order is filled beyond its quantity"
VENUE = "executions agree with the venue's record"
CLEARED = "each fill is cleared exactly once"
CONSERVED = "cash and shares conserve"
AMENDED = "amendments refer to trades"
DEBT = "no system lets an account use more than it has"


@pytest.fixture
def desk() -> Network:
    """A network in order: an order filled, one open, one canceled."""
    made = network(customers=2, streets=2)
    filled(made, order_qty=30)
    submit(made["c2"], order_qty=50)
    canceled = submit(made["c1"], order_qty=40)
    made.run()
    made["c1"].cancel(canceled)
    made.run()
    assert made.audit().verdict
    return made


# What tampering is done with.


def log_of(system: System, dataset: str, writer: System) -> Log:
    return system.tables[dataset].logs[writer.origin.code]


def rewrite(log: Log, batch: pa.RecordBatch) -> None:
    """Make a log hold this instead of what it holds."""
    log.state = State([Chunk(0, batch)], batch.num_rows)


def everything(log: Log) -> pa.RecordBatch:
    batch = log.since(0)
    assert batch is not None
    return batch


def everywhere(desk: Network, dataset: str, writer: System) -> list[Log]:
    """The log of one origin at each system that holds it."""
    return [
        system.tables[dataset].logs[writer.origin.code]
        for system in desk
        if dataset in system.tables and writer.origin.code in system.tables[dataset].logs
    ]


def changed(batch: pa.RecordBatch, column: str, row: int, value: object) -> pa.RecordBatch:
    """The batch with one value changed."""
    values = batch[column].to_pylist()
    values[row] = value
    return with_columns(batch, **{column: pa.array(values, batch[column].type)})


def change_everywhere(
    desk: Network, dataset: str, writer: System, column: str, row: int, value: object
) -> None:
    for log in everywhere(desk, dataset, writer):
        rewrite(log, changed(everything(log), column, row, value))


def view_again(desk: Network) -> None:
    """Every system's answers follow from the records that it holds now."""
    for system in desk:
        system._begin_following()
        system.catch_up()


# A mutant for each check.


def hide_from_a_replica(desk: Network) -> None:
    """A replica has lost its last record, and all counts say that nothing is on its way."""
    log = log_of(desk["c2"], "requests", desk["c1"])
    rewrite(log, everything(log).slice(0, log.count - 1))
    view_again(desk)
    desk.is_at_rest = lambda: True  # type: ignore[method-assign]


def change_a_replica(desk: Network) -> None:
    """A replica holds another name of an order than its origin wrote."""
    log = log_of(desk["firm"], "requests", desk["c1"])
    rewrite(log, changed(everything(log), "cl_ord_id", 0, "forged"))


def invent_at_a_replica(desk: Network) -> None:
    """A replica holds records of a system that wrote none."""
    source = desk["c1"].tables["requests"].logs.pop(desk["c1"].origin.code)
    assert source.count
    view_again(desk)


def repeat_a_record(desk: Network) -> None:
    """An id is given to two records, at the origin and so everywhere."""
    writer = desk.firm
    ids = everything(log_of(desk.firm, "accounts", writer))["record_id"].to_pylist()
    change_everywhere(desk, "accounts", writer, "record_id", 1, ids[0])


def write_as_the_wrong_kind(desk: Network) -> None:
    """The firm holds an account of which a customer-facing system says that it wrote it."""
    log = Log(desk["c1"].origin.code, desk.firm.tables["accounts"].schema)
    ids = pa.array(np.array([desk["c1"].origin.code << 48], np.uint64))
    log.append(
        with_columns(everything(log_of(desk.firm, "accounts", desk.firm))[:1], record_id=ids)
    )
    desk.firm.tables["accounts"].logs[log.code] = log


def answer_wrongly(desk: Network) -> None:
    """Every view has forgotten a fill in the same way."""
    for system in desk.customers:
        view = system.view
        view.last_px("")
        view.orders["cum_qty"] = 0
        view._told.clear()
        view._answer = None


def reserve_differently(desk: Network) -> None:
    """Two systems with equal records tell an account of different means."""
    desk["c2"].positions()
    desk["c2"].view.accounts.balances["reserved"] += 1


def lose_an_order(desk: Network) -> None:
    """An order was acknowledged, and the message to the street side was dropped."""
    submit(desk["c1"], order_qty=20)
    desk["c1"].forward(desk.street_for, lambda *_: True)
    desk.run()


def lose_a_cancel(desk: Network) -> None:
    """A cancel was answered, and the only system that held it lost its disk."""
    for log in everywhere(desk, "requests", desk["c1"]):
        rewrite(log, everything(log).slice(0, log.count - 1))


def fill_beyond(desk: Network) -> None:
    """The market, and so everybody, reports an order of 30 as one of 20."""
    street = desk.systems[desk.street_for("ALFA")]
    reports = everything(desk.venue.reports)
    first = reports["order_id"][0].as_py()
    for row, order_id in enumerate(reports["order_id"].to_pylist()):
        if order_id == first:
            reports = changed(reports, "order_qty", row, 20)
            change_everywhere(desk, "executions", street, "order_qty", row, 20)
    rewrite(desk.venue.reports, reports)
    view_again(desk)


def accept_a_name_twice(desk: Network) -> None:
    """A customer turned to another system before the first could tell it, and the market forgot."""
    desk.partition("c1", "c2")
    submit(desk["c1"], order_qty=10, cl_ord_id="A")
    desk.run()
    desk.venue._named.clear()  # type: ignore[attr-defined]
    submit(desk["c2"], order_qty=10, cl_ord_id="A")
    desk.heal()
    desk.run()


def trade_on_the_next_day(desk: Network) -> None:
    """The market does not know what day it is."""
    assert isinstance(desk.clock, ManualClock)
    submit(desk["c1"], order_qty=10)
    desk.run()
    desk.venue._next_end = FOREVER
    desk.clock.advance(86_400 * 10**9)
    submit(desk["c1"], order_qty=10, account="bob", side="sell")
    desk.run()


def record_again_as_certain(desk: Network) -> None:
    """A street-side system records what another has recorded, and does not say that it may."""
    street = desk.systems[desk.street_for("ALFA")]
    (peer,) = (s for s in desk.streets if s is not street)
    first = as_written(everything(log_of(peer, "executions", street))[:1])
    ids = pa.array(np.array([peer.next_id("executions")], np.uint64))
    peer.commit("executions", with_columns(first, record_id=ids))
    desk.run()


def forge_a_price(desk: Network) -> None:
    """The street-side systems, and so all others, have another price than the market."""
    reports = everything(desk.venue.reports)
    rows = [i for i, kind in enumerate(reports["exec_type"].to_pylist()) if kind == "trade"]
    rewrite(desk.venue.reports, changed(reports, "last_px", rows[0], PRICE + 1))


def correct_what_is_no_trade(desk: Network) -> None:
    """The market corrects the acceptance of an order."""
    report(desk, 0, "trade_correct", last_qty=10, last_px=PRICE)
    desk.run()


def clear_another_account(desk: Network) -> None:
    """A fill is posted to an account that did not trade."""
    change_everywhere(desk, "postings", desk.firm, "account", 9, "bob")
    view_again(desk)


def clear_twice(desk: Network) -> None:
    """The four legs of a fill are posted again."""
    legs = as_written(everything(log_of(desk.firm, "postings", desk.firm)))
    again = legs.slice(9, 4)
    first = legs["record_id"][-1].as_py() + 1
    ids = pa.array(np.arange(first, first + 4, dtype=np.uint64))
    desk.firm.commit("postings", with_columns(again, record_id=ids))
    desk.run()


def lose_a_leg(desk: Network) -> None:
    """Opening balances in cash have no other leg in the firm's capital."""
    change_everywhere(desk, "postings", desk.firm, "amount", 6, 0)


def lose_a_clearing_leg(desk: Network) -> None:
    """A fill takes from the clearing account what it does not give to the customer."""
    change_everywhere(desk, "postings", desk.firm, "amount", 10, 7)


def tick(desk: Network) -> None:
    """Let time pass: what came at the same moment as a decision may have come after it."""
    assert isinstance(desk.clock, ManualClock)
    desk.clock.advance(1)


def let_use_too_much(desk: Network) -> None:
    """A customer-facing system takes an order that its account cannot pay for."""
    tick(desk)
    entry = desk["c1"]
    free, entry.view.available = entry.view.available, lambda *_: 2**60  # type: ignore[method-assign]
    filled(desk, order_qty=510)
    entry.view.available = free  # type: ignore[method-assign]


def send_to_every_street(desk: Network) -> None:
    """An order is sent to each street-side system, and not to that of its symbol alone."""
    submit(desk["c1"], order_qty=10)

    def deliver(_: str, requests: pa.RecordBatch, again: bool) -> bool:  # noqa: FBT001
        for street in desk.streets:
            street.accept(requests, again)
        return True

    desk["c1"].forward(desk.street_for, deliver)
    desk.run()


MUTANTS: list[tuple[Callable[[Network], None], set[str]]] = [
    (hide_from_a_replica, {PLACED}),
    (change_a_replica, {SAME}),
    (invent_at_a_replica, {SAME, PLACED}),
    (repeat_a_record, {GAPLESS}),
    (write_as_the_wrong_kind, {AUTHORITY}),
    (answer_wrongly, {DEFINITION}),
    (reserve_differently, {AGREEMENT, DEFINITION}),
    (lose_an_order, {ANSWERED}),
    (send_to_every_street, {SENT}),
    (lose_a_cancel, {REFERRED}),
    (fill_beyond, {OVER_FILL}),
    (accept_a_name_twice, {TWICE}),
    (trade_on_the_next_day, {IN_TIME}),
    (record_again_as_certain, {FLAGGED}),
    (forge_a_price, {VENUE}),
    (correct_what_is_no_trade, {AMENDED}),
    (clear_another_account, {CLEARED}),
    (clear_twice, {CLEARED}),
    (lose_a_leg, {CONSERVED}),
    (lose_a_clearing_leg, {CONSERVED}),
    (let_use_too_much, {DEBT}),
]


@pytest.mark.parametrize(("tamper", "expected"), MUTANTS, ids=lambda m: getattr(m, "__name__", ""))
def test_what_is_wrong_is_found_by_the_check_that_is_for_it(
    desk: Network, tamper: Callable[[Network], None], expected: set[str]
) -> None:
    tamper(desk)
    audit = desk.audit()
    assert {check.name for check in audit.checks if check.verdict is False} == expected
    assert audit.verdict is False
    assert not audit
    assert all(check.found for check in audit.checks if check.name in expected)


SHOWN: dict[Callable[[Network], None], str] = {
    hide_from_a_replica: "c2 lacks requests c1-3",
    change_a_replica: "firm holds c1-0 otherwise than c1: cl_ord_id 'forged', not ",
    invent_at_a_replica: "c2 holds requests c1-0 to c1-3, c1 does not",
    repeat_a_record: "firm's accounts: firm-0 stands where firm-1 should",
    write_as_the_wrong_kind: "firm holds accounts c1-0",
    answer_wrongly: "c1 answers for c1-0 otherwise than defined: .*cum_qty 0, not 30.*; "
    "by c1-0, s1-0, s1-2",
    reserve_differently: "c2 answers for ALFA of alice otherwise than c1: reserved 1, not 0",
    lose_an_order: "c1-4 has no answer",
    send_to_every_street: "c1-4 was sent to each of s1, s2$",
    lose_a_cancel: "c1-3 is held by nobody, and s1-6 answers it",
    fill_beyond: "c1-0 at c1: 30 of 20 by s1-2",
    accept_a_name_twice: "A of alice: s1-7, s1-8",
    record_again_as_certain: "v1-0 is certain in each of s1-0, s2-0$",
    correct_what_is_no_trade: "s1-7 amends v1-0: no trade",
    forge_a_price: "s1-2 is not what the market reported as v1-2",
    clear_another_account: "firm-9 clears v1-2 amiss: bob 30 ALFA",
    clear_twice: "v1-2 is cleared more than once: firm-9, firm-17$",
    lose_a_leg: "USD sums to 200,000,000: firm-0, firm-3$",
    lose_a_clearing_leg: "ALFA of fill v1-2 sums to 37: firm-9, firm-10$",
    let_use_too_much: "alice is 800.00 USD below zero: c1 took c1-0, c1-4, c2-0$",
}


@pytest.mark.parametrize("tamper", SHOWN, ids=lambda m: m.__name__)
def test_what_is_wrong_is_shown_by_the_fewest_records_that_show_it(
    desk: Network, tamper: Callable[[Network], None]
) -> None:
    tamper(desk)
    found = [text for check in desk.audit().checks for text in check.found]
    assert [text for text in found if re.match(SHOWN[tamper], text)], found


def test_each_check_has_a_mutant() -> None:
    false = set().union(*(expected for _, expected in MUTANTS))
    assert {*false, KNOWN} == set(CHECKS), "what a lost file had is never false, but unknown"


def test_a_forged_record_under_the_next_id_of_another_system_is_named(desk: Network) -> None:
    """Replication refuses mistakes; whoever lies with care is found by the audit."""
    street = desk.systems[desk.street_for("ALFA")]
    last = as_written(everything(log_of(street, "executions", street))[-1:])
    ids = pa.array(np.array([street.next_id("executions")], np.uint64))
    forged = with_columns(last, record_id=ids, exec_id=ids)
    assert desk["c2"].receive("executions", forged) == 1, "c2 cannot know"
    audit = desk.audit()
    assert audit.verdict is False
    (found,) = (check.found for check in audit.checks if check.name == SAME)
    record = format_id(ids[0].as_py())
    assert found == (f"c2 holds executions {record}, {street.name} does not",)


def test_a_request_that_is_sent_again_says_so(desk: Network) -> None:
    """Whoever takes over a symbol is sent what the other had; each was sent to one at first."""
    home = desk.street_for("ALFA")
    order = submit(desk["c1"], order_qty=10)
    desk.stage("send")
    assert order.record_id in desk.systems[home].sent  # type: ignore[attr-defined]
    desk.crash(home)
    desk.run()
    desk.restart(home)
    desk.run()
    (other,) = (street for street in desk.streets if street.name != home)
    assert other.venue.has_taken(np.array([order.order_id], np.uint64)).all()
    assert order.record_id not in other.sent
    assert {check.name for check in desk.audit().checks if check.verdict is False} == set()


# Who brought an account below zero.


def debt(desk: Network) -> tuple[bool | None, tuple[str, ...]]:
    """The verdict of the audit over debts, and what it found."""
    audit = desk.audit()
    (check,) = (check for check in audit.checks if check.name == DEBT)
    assert audit.verdict is check.verdict
    return check.verdict, check.found


def sells(desk: Network, name: str) -> None:
    """Alice, who has 500 shares, sells 300 at a system, and bob bids for them at the other one."""
    submit(desk[name], side="sell", order_qty=300, price="10.00")
    submit(desk["c1"], account="bob", order_qty=300, price="10.00")


def test_what_systems_that_could_not_reach_each_other_overspend_is_told_and_not_wrong() -> None:
    desk = network(customers=2)
    desk.partition("c2")
    sells(desk, "c1")
    sells(desk, "c2")
    desk.run()
    desk.heal()
    desk.run()
    told = "alice is 100 ALFA below zero: c1-0, c2-0; none of c1, c2 knew them all"
    assert debt(desk) == (True, (told,))


def test_a_system_that_knew_of_another_s_order_is_found_to_have_let_too_much_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = network(customers=2)
    sells(desk, "c1")
    desk.run()
    tick(desk)
    monkeypatch.setattr(desk["c2"].view, "available", lambda *_: 2**60)
    sells(desk, "c2")
    desk.run()
    assert debt(desk) == (False, ("alice is 100 ALFA below zero: c2 took c1-0, c2-0",))


def test_an_account_that_a_bust_brought_below_zero_is_told_with_the_bust() -> None:
    desk = network()
    filled(desk, order_qty=500)
    (bought,) = (i for i, r in enumerate(trades_of(desk)) if r == ("trade", "alice"))
    filled(desk, buyer="bob", seller="alice", order_qty=1000, price="10.00")
    report(desk, bought, "trade_cancel", last_qty=0, last_px=0)
    desk.run()
    ((verdict, (text,)),) = [debt(desk)]
    assert verdict is True
    assert re.fullmatch(r"alice is 500 ALFA below zero: s1-\d+ amended its trades", text)


def trades_of(desk: Network) -> list[tuple[str, str]]:
    """What the market reported, and of whose orders."""
    rows = desk.venue.reports.table().to_pylist()
    return [(row["exec_type"], row["account"]) for row in rows]


def test_a_sum_that_no_record_can_hold_does_not_wrap_around_to_zero(desk: Network) -> None:
    postings = everything(log_of(desk.firm, "postings", desk.firm)).to_pylist()
    for row, leg in enumerate(postings):
        if leg["exec_id"] is None and leg["asset"] == "USD":
            is_capital = leg["account"] == "capital"
            amount = 2 * 10**10 + 2 if is_capital else 2**63 - 1 - 10**10
            change_everywhere(desk, "postings", desk.firm, "amount", row, amount)
    (check,) = (check for check in desk.audit().checks if check.name == CONSERVED)
    assert check.verdict is False
    assert any(found.startswith(f"USD sums to {2**64:,}: ") for found in check.found), check.found


# True, false and unknown.


def test_an_audit_of_a_network_in_order_is_true_and_looked_at_something(desk: Network) -> None:
    audit = desk.audit()
    assert bool(audit)
    assert [check.name for check in audit.checks] == list(CHECKS)
    assert all(check.evaluated and not check.found for check in audit.checks)


@pytest.mark.parametrize("names", [("c1", "c2"), ("firm",), ("s1",), ("c1",)], ids=str)
def test_what_is_on_its_way_is_unknown_until_the_link_is_mended(
    desk: Network, names: tuple[str, ...]
) -> None:
    desk.partition(*names)
    filled(desk, order_qty=10)
    audit = desk.audit()
    assert audit.verdict is None
    assert not bool(audit)
    assert {check.verdict for check in audit.checks} == {True, None}
    desk.heal()
    desk.run()
    assert desk.audit().verdict is True


def test_work_that_is_not_done_yet_leaves_the_audit_unknown(desk: Network) -> None:
    """At every point between an order and its clearing, with nothing cut off."""

    def verdicts() -> set[bool | None]:
        return {check.verdict for check in desk.audit().checks}

    submit(desk["c1"], order_qty=10)
    assert verdicts() == {True, None}, "accepted, and not sent"
    batch = desk["c1"].outbox().to_batches()[0]
    desk.venue.send(batch)
    assert verdicts() == {True, None}, "executed, and not recorded"
    desk.stage("send")
    assert verdicts() == {True, None}, "sent, and not worked"
    for street in desk.streets:
        street.work()
    assert verdicts() == {True, None}, "recorded, and not replicated"
    submit(desk["c1"], account="bob", side="sell", order_qty=10)
    clear = desk.firm.clear
    desk.firm.clear = lambda: 0  # type: ignore[method-assign]
    desk.run()
    assert verdicts() == {True, None}, "filled, and not cleared"
    desk.firm.clear = clear  # type: ignore[method-assign]
    desk.run()
    assert verdicts() == {True}


def test_a_replica_that_was_lost_leaves_the_audit_unknown_until_it_is_fetched(
    desk: Network,
) -> None:
    desk.partition("firm")
    desk.lose_disk("firm")
    assert desk.audit().verdict is None
    desk.heal()
    desk.run()
    assert desk.audit().verdict is True


def test_what_is_false_stays_false_while_a_link_is_cut(desk: Network) -> None:
    desk.partition("c1", "c2")
    submit(desk["c1"], order_qty=10)
    change_a_replica(desk)
    desk.run()
    assert desk.audit().verdict is False


def test_an_order_that_waits_for_its_street_side_system_makes_the_audit_unknown(
    desk: Network,
) -> None:
    desk.partition("c1", desk.street_for("ALFA"))
    submit(desk["c1"], order_qty=10)
    desk.run()
    verdicts = {check.name: check.verdict for check in desk.audit().checks}
    assert verdicts[ANSWERED] is None


def test_the_verdict_is_false_if_any_is_else_unknown_if_any_is_else_true() -> None:
    checks = {verdict: Check(str(verdict), verdict, 1) for verdict in (True, False, None)}
    for verdicts, expected in (
        ((True, True), True),
        ((True, None), None),
        ((None, False, True), False),
        ((), True),
    ):
        assert Audit(tuple(checks[v] for v in verdicts)).verdict is expected


def test_an_audit_is_shown_as_text_and_as_a_frame(desk: Network) -> None:
    lose_a_leg(desk)
    audit = desk.audit()
    assert f"FALSE  {CONSERVED}" in str(audit)
    assert str(audit).endswith("FALSE  the audit")
    assert audit.frame.columns == ["check", "verdict", "evaluated", "found"]
    (row,) = audit.frame.filter(~pl.col("verdict")).to_dicts()
    assert row["check"] == CONSERVED
    assert "USD" in row["found"]
