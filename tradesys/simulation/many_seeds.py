"""Many seeds, on all cores: what they came to in sum, and the smallest plan of one that fails."""

import gc
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from tradesys.simulation.coverage import reached
from tradesys.simulation.plan import Plan, draw
from tradesys.simulation.run import Simulation

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized


@dataclass(frozen=True)
class Outcome:
    """What one seed came to.

    ``reached`` has the statuses and situations that were met (:mod:`tradesys.simulation.coverage`),
    ``found`` what was not true, check by check.
    """

    seed: int
    verdict: bool | None
    orders: int
    requests: int
    records: int
    faults: Counter[str]
    evaluated: Counter[str]
    reached: Counter[str]
    unknown: int
    lost: int
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)


def run_seed(seed: int, data: Path | None = None, **options: Any) -> Outcome:
    """Draw the plan of a seed (:func:`tradesys.simulation.draw`), and run it.

    :param data: where its files are kept (:func:`folder_of`); by default in memory.
    """
    return run_plan(draw(seed, **options), folder_of(seed, data) if data else None)


def folder_of(seed: int, data: Path) -> Path:
    """Where the files of a seed are kept."""
    return data / f"seed-{seed}"


def run_plan(plan: Plan, data: Path | None = None) -> Outcome:
    """Run a plan to its end. A system that fails in a way of its own is found too.

    :param data: the folder of its files, a new one; by default disks are in memory.
    """
    desk = Simulation(plan, data=data)
    found: dict[str, tuple[str, ...]] = {}
    verdict: bool | None = True
    try:
        desk.play()
    except Exception as error:  # noqa: BLE001 - whatever a system does not survive is a finding
        verdict = False
        found["no system fails by itself"] = (f"{type(error).__name__}: {error}",)
    evaluated: Counter[str] = Counter()
    for audit in desk.audits:
        evaluated.update({check.name: check.evaluated for check in audit.checks})
        found |= {c.name: c.found or ("",) for c in audit.checks if c.verdict is not True}
    verdicts = [verdict, *(audit.verdict for audit in desk.audits)]
    met = Counter(reached(desk)) if verdict else Counter[str]()
    desk.close()
    return Outcome(
        seed=plan.seed,
        verdict=False if False in verdicts else None if None in verdicts else True,
        orders=sum(ask.kind == "new" for ask in plan.asks),
        requests=len(plan.asks),
        records=sum(sum(held.values()) for held in desk.summary().values()),
        faults=Counter(s.fault.kind for s in desk.faults.suffered if s.in_flight),
        evaluated=evaluated,
        reached=met,
        unknown=verdicts.count(None),
        lost=len(desk.lost()),
        found=found,
    )


def run_seeds(
    seeds: Iterable[int], processes: int | None = None, **options: Any
) -> Iterator[Outcome]:
    """Run seeds on all cores; gives each outcome as it comes."""
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    count, number = processes or os.cpu_count() or 1, context.Value("i", 0)
    pool = ProcessPoolExecutor(count, context, _begin, (number,))
    try:
        with _deaf_to_ctrl_c():  # so are the processes that begin here: who hears it ends them
            running = [pool.submit(run_seed, seed, **options) for seed in seeds]
        for done in as_completed(running):
            yield done.result()
    finally:  # also after a Ctrl-C: seeds that have not begun never do
        pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(number: "Synchronized[int]") -> None:
    """Settle a process that runs seeds on a core of its own: there polars answers at once."""
    gc.freeze()  # what is loaded stays
    gc.set_threshold(20_000, 20, 50)  # what a seed makes lives long: it is looked through seldom
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        with number.get_lock():
            os.sched_setaffinity(0, {cores[number.value % len(cores)]})
            number.value += 1


_SUMMED = "orders", "requests", "records", "lost", "unknown", "faults", "evaluated", "reached"


@dataclass
class Total:
    """What many seeds came to in sum. ``failed`` is in the order in which they came."""

    seeds: int = 0
    orders: int = 0
    requests: int = 0
    records: int = 0
    lost: int = 0
    unknown: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    evaluated: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one seed."""
        self.seeds += 1
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(outcome, name))
        if outcome.verdict is not True:
            self.failed.append(outcome)


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """The smallest plan that still fails: fewer faults first, then fewer requests.

    :param fails: whether a plan fails, in the way that is looked for.
    """
    plan = _fewer(plan, "faults", fails)
    plan = _fewer(plan, "asks", fails)
    plan = _fewer(plan, "market", fails)
    return _fewer(plan, "faults", fails)


def _fewer(plan: Plan, part: str, fails: Callable[[Plan], bool]) -> Plan:
    """Leave out runs of a plan's elements, ever shorter ones, while it still fails."""
    size = len(getattr(plan, part))
    while size:
        at = 0
        while at < len(elements := getattr(plan, part)):
            less = replace(plan, **{part: elements[:at] + elements[at + size :]})
            if fails(less):
                plan = less
            else:
                at += size
        size //= 2
    return plan
