"""Goal: what a system does by itself follows from the messages and the times that it is told.

Method: one runtime of a network that is told the time by hand; what it says is looked at.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.build import network, submit
from tradesys.log.offsets import Offsets
from tradesys.network import Network
from tradesys.records.clock import MS
from tradesys.replication.runtime import Message, Pull, Records, Requests, Runtime, Settings
from tradesys.systems.street.symbol_assignment import Assignment


@pytest.fixture
def desk() -> Iterator[Network]:
    with network(customers=2, streets=2) as made:
        yield made


def runtime(desk: Network, name: str, **settings: Any) -> Runtime:
    """A runtime of its own for a system, which begins at 0."""
    made = Runtime(
        desk.systems[name],
        desk.manifest.origins,
        Assignment(["s1", "s2"]),
        Settings(**settings),
        lambda _: True,
    )
    made.begin(0)
    return made


def told(runtime: Runtime, until: int) -> list[tuple[int, Message]]:
    """What it says by itself, and when."""
    said = []
    while (now := runtime.due) <= until:
        said += [(now, message) for message in runtime.tick(now)]
    return said


def sent(runtime: Runtime, until: int) -> list[tuple[int, int]]:
    """When it sends requests, and how many in a message."""
    messages = told(runtime, until)
    return [(at, len(m.body.batch)) for at, m in messages if isinstance(m.body, Requests)]


def test_what_nobody_answers_is_sent_again_ever_more_seldom(desk: Network) -> None:
    submit(desk["c1"])
    c1 = runtime(desk, "c1", resend=10, resend_most=40, grace=1 << 40)
    assert [at for at, _ in sent(c1, 200)] == [0, 20, 30, 50, 90, 130, 170]


def test_a_request_that_has_not_waited_long_is_not_sent_again(desk: Network) -> None:
    c1 = runtime(desk, "c1", resend=10, resend_most=40, grace=1 << 40)
    assert sent(c1, 15) == []
    submit(desk["c1"])
    assert len(c1.work()) == 1
    assert sent(c1, 20) == []
    assert sent(c1, 30) == [(30, 1)]


def test_so_many_requests_go_in_a_message_at_most(desk: Network) -> None:
    for _ in range(5):
        submit(desk["c1"], order_qty=10)
    c1 = runtime(desk, "c1", rows=2)
    assert [rows for _, rows in sent(c1, 0)] == [2, 2, 1]


def test_what_waits_since_a_system_cannot_be_reached_is_not_put_out_twice(desk: Network) -> None:
    submit(desk["c1"])
    c1 = runtime(desk, "c1")
    c1.reaches = lambda _: False
    assert sent(c1, 500 * MS) == []
    c1.reaches = lambda _: True
    assert len(c1.work()) == 1


def test_a_question_is_kept_until_there_is_something_to_say(desk: Network) -> None:
    c1 = runtime(desk, "c1")
    told(c1, 0)
    question = Message("c2", "c1", Pull(desk["c2"].origin, 7, Offsets()))
    assert c1.handle(question, 1) == []
    order = submit(desk["c1"])
    (answer,) = [m for m in c1.work() if isinstance(m.body, Records)]
    assert answer[:2] == ("c1", "c2")
    assert isinstance(answer.body, Records)
    assert (answer.body.number, answer.body.writer) == (7, desk["c1"].origin)
    (carried,) = answer.body.carried
    assert carried.batch["record_id"].to_pylist() == [order.record_id]
    assert c1.work() == [], "it is answered once"


def test_a_question_is_answered_with_nothing_when_a_heartbeat_is_due(desk: Network) -> None:
    s1 = runtime(desk, "s1", heartbeat=10)
    told(s1, 0)
    s1.handle(Message("c1", "s1", Pull(desk["c1"].origin, 1, Offsets())), 5)
    said = [(at, m.body.carried) for at, m in told(s1, 30) if isinstance(m.body, Records)]
    assert said == [(15, [])]


def test_a_question_that_is_not_answered_is_asked_again(desk: Network) -> None:
    s1 = runtime(desk, "s1", heartbeat=10, seldom=40, late=8)
    asked = [(at, m.target) for at, m in told(s1, 60) if isinstance(m.body, Pull)]
    assert [at for at, target in asked if target == "s2"] == [0, 18, 36, 54]
    assert [at for at, target in asked if target == "firm"] == [0, 48]


def test_a_street_side_system_is_down_when_it_has_not_been_heard_for_a_while(
    desk: Network,
) -> None:
    c1 = runtime(desk, "c1", heartbeat=10, grace=25)
    heard = Message("s1", "c1", Records(desk.systems["s1"].origin, 0, []))
    told(c1, 30)
    assert c1.assignment.up == {"s1", "s2"}
    c1.handle(heard, 30)
    told(c1, 40)
    assert c1.assignment.up == {"s1"}
    told(c1, 70)
    assert c1.assignment.up == set()
    c1.handle(heard, 75)
    told(c1, 80)
    assert c1.assignment.up == {"s1"}


def test_a_firm_that_lost_records_clears_nothing_until_all_who_may_have_them_are_heard(
    desk: Network,
) -> None:
    for account, side in (("alice", "buy"), ("bob", "sell")):
        submit(desk["c1"], account=account, side=side)
    for stage in ("send", "work", "replicate"):
        desk.stage(stage)
    firm = runtime(desk, "firm")
    assert firm.begin(0, lost=True)
    for number, reader in enumerate(["c1", "c2", "s1", "s2"]):
        firm.work()
        assert (desk.firm.has_work, len(firm.unheard)) == (True, 4 - number)
        held = Offsets.of(desk.systems[reader].tables, ("accounts", "instruments", "postings"))
        firm.handle(Message(reader, "firm", Pull(desk.systems[reader].origin, 1, held)), 0)
    firm.work()
    assert not desk.firm.has_work
