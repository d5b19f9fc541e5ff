"""Goal: what a system could have answered at a time is what it did answer then."""

import datetime as dt
from pathlib import Path

import pytest

from tests.build import network, submit
from tradesys import InvalidValue, ManualClock, NotYetReplicated
from tradesys.network import Network
from tradesys.records.clock import to_ns
from tradesys.records.schemas import format_id


def test_the_past_is_answered_as_it_was_answered_then(tmp_path: Path) -> None:
    clock = ManualClock(1_000)
    answers = []
    with network(customers=2, data=tmp_path, clock=clock) as desk:
        orders = []
        for second in range(6):
            clock.now = 1_000 * (second + 2)
            side = "buy" if second % 2 == 0 else "sell"
            orders.append(submit(desk["c1"], side=side, order_qty=10 * (second + 1)))
            if second % 3 != 1:
                desk.run()
            answers.append((clock.now, desk["c2"].statuses(), desk["c2"].positions()))
        for time, statuses, positions in answers:
            past = desk.as_of(time)["c2"]
            assert past.statuses().equals(statuses)
            assert past.positions().equals(positions)
    with Network.open(tmp_path) as again:
        for time, statuses, _ in answers:
            assert again.as_of(time)["c2"].statuses().equals(statuses)


def test_before_an_order_arrived_it_is_not_known() -> None:
    clock = ManualClock(5)
    desk = network(customers=2, clock=clock)
    clock.now = 10
    order = submit(desk["c1"])
    clock.now = 20
    desk.run()
    assert desk.as_of(10)["c1"].status(order).ord_status == "pending_new"
    with pytest.raises(NotYetReplicated):
        desk.as_of(19)["c2"].status(order)
    assert desk.as_of(20)["c2"].status(order).ord_status == "new"


def test_a_time_may_be_text_or_a_datetime_with_a_zone() -> None:
    moment = dt.datetime(2024, 6, 3, 13, 30, tzinfo=dt.UTC)
    written = "2024-06-03T13:30:00"
    assert to_ns(moment) == to_ns(written) == to_ns(written + "Z") == 1_717_421_400_000_000_000
    for wrong in ("yesterday", dt.datetime(2024, 6, 3)):  # noqa: DTZ001, no zone is the point
        with pytest.raises(InvalidValue, match="time"):
            to_ns(wrong)


def test_why_two_systems_differ_is_told_record_by_record() -> None:
    desk = network(customers=2)
    desk.partition("c1", "c2")
    order = submit(desk["c1"])
    desk.run()
    differ = desk.why_differ("c1", "c2")
    assert differ.select("dataset", "held_by", "lacking").rows() == [("requests", "c1", "c2")]
    assert format_id(differ["record_id"][0]) == str(order)
    desk.heal()
    desk.run()
    assert desk.why_differ("c1", "c2").is_empty()
