"""The clock is handed in, and whatever it gives is checked before anything rests on it.

Goal: no record has a time that files, calendars and arithmetic do not bear, whoever made the clock.
Method: a clock that is told what to give, at each of its readings, in each thing that reads it.
"""

import datetime as dt
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.build import NOON, TERMS, contents, filled, network, submit
from tradesys.network import Network
from tradesys.records.clock import to_ns
from tradesys.records.errors import InvalidValue, Outcome
from tradesys.records.field_rules import TIME

NONSENSE: tuple[Any, ...] = (
    *(None, "noon", "2024-06-03", 1.5, float("nan"), True, b"1", [NOON], dt.datetime.now(dt.UTC)),
    *(-1, TIME.most + 1, -(2**62), 2**63 - 1, 2**70, np.float64(NOON), np.array([NOON, NOON])),
)


class ToldClock:
    """Gives what it was told to, from a reading on; or raises it."""

    def __init__(self) -> None:
        self.gives: Any = NOON
        self.wrong: Any = None
        self.wrong_at = -1
        self.readings = count()

    def __call__(self) -> Any:
        given = self.wrong if next(self.readings) == self.wrong_at else self.gives
        if isinstance(given, BaseException):
            raise given
        return given


READ: dict[str, Callable[[Network], object]] = {
    "submit": lambda desk: submit(desk["c1"]),
    "submit_many": lambda desk: desk["c1"].submit_many(pl.DataFrame([TERMS])),
    "cancel": lambda desk: desk["c1"].cancel("c1-2"),
    "replace": lambda desk: desk["c1"].replace("c1-2", order_qty=50),
    "run": lambda desk: desk.run(),
    "end_of_day": lambda desk: desk.end_of_day(),
    "record": lambda desk: desk.firm.record(
        "accounts", [{"account": "carol", "name": "Carol", "account_status": "active"}]
    ),
    "open_accounts": lambda desk: desk.firm.open_accounts(["carol"], cash=5),
    "list_instruments": lambda desk: desk.firm.list_instruments(["ZULU"]),
    "evidence": lambda desk: desk.evidence("c1"),
    "partition": lambda desk: desk.partition("c1"),
}
"""What reads the clock; ``c1-2`` is an open order that no market has heard of."""


@pytest.mark.parametrize("name", READ)
def test_what_a_clock_gives_that_is_no_time_is_refused_and_nothing_is_written(
    name: str, tmp_path: Path
) -> None:
    clock = ToldClock()
    with network(data=tmp_path, clock=clock) as desk:
        filled(desk)
        submit(desk["c1"])
        before = contents(tmp_path), desk.summary()
        for clock.gives in NONSENSE:
            with pytest.raises(InvalidValue) as raised:
                READ[name](desk)
            assert (raised.value.field, raised.value.outcome) == ("clock", Outcome.DID_NOT_HAPPEN)
            assert (contents(tmp_path), desk.summary()) == before
        clock.gives = NOON
        READ[name](desk)
        desk.heal()
        desk.run()
        assert desk.audit().verdict


@pytest.mark.parametrize("wrong", [None, LookupError("the battery is empty")], ids=repr)
def test_a_clock_that_is_wrong_at_any_one_reading_leaves_nothing_half_done(
    wrong: object, tmp_path: Path
) -> None:
    for at in count():
        clock, folder = ToldClock(), tmp_path / str(at)
        with network(data=folder, clock=clock) as desk:
            clock.wrong, clock.wrong_at = wrong, next(clock.readings) + 1 + at
            for act in (
                lambda: submit(desk["c1"], cl_ord_id="A"),
                lambda: desk["c1"].submit_many(pl.DataFrame([TERMS | {"order_qty": 30}])),
                desk.run,
                lambda: desk["c1"].replace("c1-0", order_qty=60),
                lambda: submit(desk["c1"], account="bob", side="sell"),
                desk.end_of_day,
            ):
                with suppress(InvalidValue, LookupError):
                    act()
            was_wrong = next(clock.readings) > clock.wrong_at
            desk.run()
            assert desk.audit().verdict, f"reading {at}: {desk.audit()}"
            answers = desk["c1"].statuses()
        with network(data=folder, clock=ToldClock()) as again:
            assert again["c1"].statuses().equals(answers)
        if not was_wrong:
            break
    assert at > 10


def test_what_a_clock_raises_passes_through_and_nothing_is_written(tmp_path: Path) -> None:
    clock = ToldClock()
    with network(data=tmp_path, clock=clock) as desk:
        before = contents(tmp_path)
        for clock.gives in (LookupError("the battery is empty"), KeyboardInterrupt()):
            with pytest.raises(type(clock.gives)) as raised:
                submit(desk["c1"])
            assert raised.value is clock.gives
            assert contents(tmp_path) == before
        clock.gives = NOON
        assert str(submit(desk["c1"])) == "c1-0"


def test_a_network_is_not_made_by_a_clock_that_gives_no_time(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="clock"):
        Network(data=tmp_path / "run", clock=lambda: -1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("time", [TIME.least, TIME.most], ids=["first", "last"])
def test_at_both_ends_of_its_range_orders_trade_clear_and_are_read_again(
    time: int, tmp_path: Path
) -> None:
    clock = ToldClock()
    clock.gives = time
    with network(data=tmp_path, clock=clock) as desk:
        order = filled(desk)
        desk.end_of_day()
    with network(data=tmp_path, clock=clock) as again:
        assert again["c1"].status(order).ord_status == "filled"
        assert again.as_of(time)["c1"].status(order).cum_qty == 100
        assert again.firm.statement("alice").balances["closing"].sum()
        assert again.audit().verdict


@pytest.mark.parametrize(
    "time",
    [
        NOON,
        np.int64(NOON),
        "2024-06-03T12:00:00Z",
        "2024-06-03T12:00:00",
        np.str_("2024-06-03T14:00:00+02:00"),
        dt.datetime(2024, 6, 3, 12, tzinfo=dt.UTC),
        np.datetime64("2024-06-03T12:00"),
        np.datetime64(NOON, "ns"),
    ],
    ids=repr,
)
def test_a_time_may_be_written_in_several_ways(time: object) -> None:
    assert to_ns(time) == NOON


@pytest.mark.parametrize(
    "time",
    [
        *NONSENSE[:1],
        *NONSENSE[3:8],
        *NONSENSE[9:],
        "1969-12-31T23:59:59Z",
        "2100-01-01T00:00:00Z",
        np.datetime64("NaT"),
        np.datetime64("3000-01-01"),
        np.timedelta64(5, "s"),
        dt.datetime(2024, 6, 3, 12),  # noqa: DTZ001 - the zone is what is tested
        dt.date(2024, 6, 3),
    ],
    ids=repr,
)
def test_what_is_no_time_of_the_range_is_told_what_one_is(time: object) -> None:
    with pytest.raises(InvalidValue, match="expected a time from 1970 to the end of 2099"):
        to_ns(time)
