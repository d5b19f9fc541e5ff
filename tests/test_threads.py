"""Whatever moves records or changes a network may be called from any thread, at any time.

Goal: no error but those the documentation names, nothing acknowledged lost or doubled, all true.
Method: threads that work at once (:mod:`tests.stress`), and for each rule the smallest case, where
one thread is made to stand still in the middle of what it does.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow as pa
import pytest

from tests.build import filled, network, state, submit
from tests.stress import LEAVE_OUT
from tradesys.audit import checks
from tradesys.audit.audit import Audit
from tradesys.network.scenario import Flow, session
from tradesys.simulation import Simulation, draw
from tradesys.status.incremental.compiled import COMPILED
from tradesys.systems.compile_ahead import make_ready
from tradesys.venue import BookVenue
from tradesys.widgets import Desk

STRESS_S = float(os.environ.get("TRADESYS_STRESS_S", "4"))
WAIT_S = 60.0
"""More than anything here takes: what waits so long waits for ever."""


def stress(*asked: str) -> dict[str, Any]:
    """What eight threads did, and what was amiss."""
    command, root = [sys.executable, "-m", "tests.stress", *asked], Path(__file__).parent.parent
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("where", ["in_memory", "on_disk"])
def test_eight_threads_and_a_desk_that_is_interrupted_leave_all_true(
    where: str, tmp_path: Path
) -> None:
    data = ["--data", str(tmp_path / "run")] if where == "on_disk" else []
    found = stress("--seconds", str(STRESS_S), *data)
    assert found["amiss"] == []
    everything = {"enter", "change", "ask", "step", "cut", "crash", "audit", "beat"}
    assert found["did"].keys() >= everything


@pytest.mark.parametrize("rule", LEAVE_OUT)
def test_what_keeps_threads_apart_is_missed_when_it_is_left_out(rule: str) -> None:
    assert stress("--leave-out", rule, "--seconds", "60")["amiss"]  # at once, as a rule


def test_a_click_in_another_thread_than_the_pulse_is_carried_once() -> None:
    with network(customers=3, streets=2) as made:
        desk = Desk(made)

        def click() -> None:
            for _ in range(60):
                desk.ticket.enter()

        desk.ticket.fill(order_qty=10, price="20.00")
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-4)
        try:
            clicks = Thread(target=click)
            clicks.start()
            while clicks.is_alive():
                desk.pulse.beat(0.05)
            clicks.join()
        finally:
            sys.setswitchinterval(interval)
        made.run()
        assert made.audit().verdict is True, str(made.audit())
        assert len(made["c3"].statuses()) == 60


def meanwhile(
    act: Callable[[], object],
    stand: Callable[[Callable[..., Any]], AbstractContextManager[None]],
    look: Callable[[], object],
) -> None:
    """What can be done while a thread stands still in a function that it calls.

    :param stand: puts a double in the place of the function, made of what it is given to wait.
    """
    reached, go_on = Event(), Event()

    def wait(*_: object) -> None:
        reached.set()
        assert go_on.wait(WAIT_S)

    with ThreadPoolExecutor(2) as threads, stand(wait):
        acting = threads.submit(act)
        try:
            assert reached.wait(WAIT_S)
            threads.submit(look).result(WAIT_S)
        finally:
            go_on.set()
        acting.result(WAIT_S)


@contextmanager
def in_place(where: Any, name: str, double: Callable[..., Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, double)
        yield


def test_whoever_asks_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    with network(customers=2, data=tmp_path) as desk:
        c1 = desk["c1"]
        order = filled(desk)

        def look() -> None:
            assert state(c1, order)[0] == "filled"
            c1.statuses(), c1.positions(), desk.summary(), desk.behind()  # each is a question

        sync = os.fdatasync
        meanwhile(
            lambda: submit(c1, order_qty=10),
            lambda wait: in_place(os, "fdatasync", lambda fd: (wait(), sync(fd))),
            look,
        )


def test_an_audit_reads_a_snapshot_while_the_network_goes_on() -> None:
    with network(customers=2) as desk:
        filled(desk)
        verdicts: list[Audit] = []
        name, check = next(iter(checks.CHECKS.items()))

        def look() -> None:
            filled(desk, order_qty=50)
            desk.crash("s1")
            desk.restart("s1")
            desk.run()

        @contextmanager
        def stand(wait: Callable[..., Any]) -> Iterator[None]:
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(checks.CHECKS, name, lambda held: (wait(), check(held))[1])
                yield

        meanwhile(lambda: verdicts.append(desk.audit()), stand, look)
        assert verdicts[0].verdict is True, str(verdicts[0])


class RaisesOnce(BookVenue):
    """A market of somebody's own, with a defect that shows once."""

    def __init__(self, *, when: str = "send", **more: Any) -> None:
        super().__init__(**more)
        self.when = when

    def send(self, requests: pa.RecordBatch) -> None:
        if self.when == "send" and requests.num_rows:
            self.when = ""
            raise ZeroDivisionError
        super().send(requests)

    def poll(self, position: int) -> pa.RecordBatch | None:
        if self.when == "poll" and self.reports.count:
            self.when = ""
            raise ZeroDivisionError
        return super().poll(position)


@pytest.mark.parametrize("when", ["send", "poll"])
def test_a_queue_is_emptied_only_after_what_it_held_was_taken(when: str) -> None:
    def venue(**more: Any) -> RaisesOnce:
        return RaisesOnce(when=when, **more)

    with network(venue=venue) as desk:
        order = submit(desk["c1"])
        with pytest.raises(ZeroDivisionError):
            desk.run()
        assert not desk.is_at_rest()
        desk.run()
        assert state(desk["c1"], order)[0] == "new"
        assert desk.audit().verdict is True, str(desk.audit())


def test_a_view_that_failed_in_the_middle_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with network() as desk:
        order = filled(desk)
        desk["c1"].statuses()  # what waits for the view is worked in
        with monkeypatch.context() as patch:
            patch.setattr("tradesys.status.incremental.view.loops.take_requests", lambda *_: 1 // 0)
            submit(desk["c1"], order_qty=10)
            with pytest.raises(ZeroDivisionError):
                desk["c1"].statuses()
        assert state(desk["c1"], order)[0] == "filled"
        desk.run()
        assert desk.audit().verdict is True, str(desk.audit())


def test_everything_compiled_is_ready_before_a_system_begins() -> None:
    make_ready()
    before = {f.py_func.__name__: len(f.signatures) for f in COMPILED}
    made = session(orders=120, seed=3).network
    flow = Flow(made, per_second=3000)
    flow.advance(1), made.run(), flow.advance(3), made.run()  # a crowd, and most of it canceled
    assert made.audit().verdict is True
    Simulation(draw(seed=7, orders=60)).play()
    after = {f.py_func.__name__: len(f.signatures) for f in COMPILED}
    assert after == before
