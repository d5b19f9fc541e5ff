"""Whatever is interrupted, at whichever line, is done whole or not at all.

Goal: after an exception at any line of the package, the network goes on, or says that only opening
its folder again helps; then all of the request is there or nothing, once, and the audit is true.
Method: a trace function counts the lines that a call executes and raises at the nth of them.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Self

import polars as pl
import pytest

import tradesys
from tests.build import NOON, TERMS, network, submit
from tradesys.log import ctrl_c as interrupts
from tradesys.log.ctrl_c import uninterrupted
from tradesys.network import Network
from tradesys.records.clock import ManualClock
from tradesys.records.errors import StorageError, SystemDown

PACKAGE = str(Path(tradesys.__file__).parent)
EVERY = int(os.environ.get("TRADESYS_INTERRUPT_EVERY", "61"))
"""At which lines: at each of them with 1, which takes long."""


class Interrupt(BaseException):
    """A Ctrl-C that nothing holds back."""


class At:
    """Raises at the nth line of the package that is executed within; counts them all."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.count = 0

    def __enter__(self) -> Self:
        # Nobody hears of what is raised while something is let go of.
        gc.collect()
        gc.disable()
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        gc.enable()

    def _called(self, frame: FrameType, _: str, __: Any) -> Any:
        name = frame.f_code.co_filename
        # What holds a Ctrl-C back cannot be interrupted by one.
        return self._line if name.startswith(PACKAGE) and name != interrupts.__file__ else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count == self.line:
                sys.settrace(None)
                raise Interrupt(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return self._line


def rows(name: str) -> pl.DataFrame:
    return pl.DataFrame([TERMS | {"cl_ord_id": f"{name}{i}"} for i in range(3)])


ACTS: dict[str, Callable[[Network], object]] = {
    "submit": lambda desk: submit(desk["c1"], cl_ord_id="X"),
    "submit_many": lambda desk: desk["c1"].submit_many(rows("X")),
    "cancel": lambda desk: desk["c1"].cancel("c1-0", cl_ord_id="X"),
    "run": lambda desk: desk.run(),
    "close": lambda desk: desk.close(),
}


def begun(folder: Path) -> Network:
    """A network where an order rests, one was traded, and one is on its way."""
    desk = network(data=folder)
    submit(desk["c1"], cl_ord_id="A")
    submit(desk["c1"], cl_ord_id="B", order_qty=50)
    desk.run()
    submit(desk["c1"], cl_ord_id="C", account="bob", side="sell", order_qty=100)
    return desk


def lines(act: Callable[[Network], object], folder: Path) -> int:
    with begun(folder) as desk, At(0) as counted:
        act(desk)
    return counted.count


@pytest.mark.parametrize("name", ACTS)
def test_what_is_interrupted_at_any_line_is_there_whole_or_not_at_all(
    name: str, tmp_path: Path
) -> None:
    act = ACTS[name]
    wrong = []
    for line in range(1, lines(act, tmp_path / "count"), EVERY):
        folder = tmp_path / str(line)
        try:
            with At(line):
                pass
            check(act, folder, line)
        except (Exception, Interrupt) as error:  # noqa: BLE001 - all are listed
            wrong.append(f"line {line}: {error!r:.300}")
    assert not wrong, "\n".join([str(len(wrong)), *wrong[:10]])


def check(act: Callable[[Network], object], folder: Path, line: int) -> None:
    desk = begun(folder)
    where = ""
    try:
        with At(line):
            act(desk)
    except Interrupt as interrupt:
        where = str(interrupt)
    try:
        with suppress(SystemDown, StorageError):  # it says that only opening it again helps
            goes_on(desk, "in memory")
        with suppress(SystemDown, StorageError):
            desk.close()
        desk.close()
        with Network.open(folder, clock=ManualClock(NOON)) as again:
            goes_on(again, "again")
    except BaseException as error:
        raise AssertionError(f"after an interrupt at {where}: {error!r:.600}") from error
    finally:
        desk.close()


def goes_on(desk: Network, name: str) -> None:
    """Another order goes its way; every order is there once, and all is as it should be."""
    c1 = desk["c1"]
    assert not submit(c1, cl_ord_id=name, order_qty=10).repeated
    desk.run()
    requests = c1.tables["requests"].frame
    named = requests["cl_ord_id"].drop_nulls().to_list()
    assert {"A", "B", "C", name} <= set(named)
    assert len(named) == len(set(named)), named
    assert sum(each.startswith("X") for each in named) in (0, 1, 3), named
    ids = requests["record_id"].to_list()
    assert ids == list(range(ids[0], ids[0] + len(ids))), ids
    found = desk.audit()
    assert found.verdict is True, str(found)
    c1.positions(), c1.statuses()  # each is a question


def test_ctrl_c_waits_until_what_is_in_hand_is_whole(hears_ctrl_c: None) -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            with uninterrupted():
                signal.raise_signal(signal.SIGINT)
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert done == ["inner", "outer"]
    assert "happened" in caught.value.__notes__[0]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
