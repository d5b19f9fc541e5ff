"""What was measured, every run of it: kept as Parquet under ``build/bench``, told as a table."""

import multiprocessing
import os
import re
import statistics
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import polars as pl

FOLDER = Path(__file__).parents[2] / "build" / "bench"
FULL = os.environ.get("TRADESYS_BENCH_FULL") == "1"
"""Whether the large sizes are asked for: ``make bench FULL=1``."""

OURS = "ours"
SCHEMA = {
    **dict.fromkeys(("part", "what", "who", "unit"), pl.String),
    "run": pl.Int64,
    "value": pl.Float64,
}
HEAD = """\
| what | ours | beside | times better | lowest to highest: ours; beside |
|---|--:|--:|--:|---|
"""
MANY = 20  # of more runs than this the 99th of a hundred is told, and not the spread

P = ParamSpec("P")
R = TypeVar("R")


class Figures:
    """The figures of one part, which is also the name of its file."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.rows: list[tuple[str, str, str, str, int, float]] = []

    def add(self, what: str, who: str, unit: str, values: Iterable[float]) -> None:
        """What somebody took for something. A unit that ends with ``/s`` is better if more."""
        for run, value in enumerate(values):
            self.rows.append((self.part, what, who, unit, run, float(value)))

    def write(self) -> pl.DataFrame:
        """Keep all that was added so far."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        frame = pl.DataFrame(self.rows, schema=SCHEMA, orient="row")
        frame.write_parquet(FOLDER / f"{self.part}.parquet")
        return frame

    def tell(self) -> None:
        """Keep it, and print it."""
        print(f"\n{self.part}\n\n{HEAD}{lines(self.write())}", flush=True)


def lines(frame: pl.DataFrame) -> str:
    """The medians as lines of a table in Markdown, ours beside each other's.

    ``times better`` is how often ours is as good: below 1 the other is better.
    """
    told = []
    for (what, unit), rows in frame.group_by("what", "unit", maintain_order=True):
        found = {who: of["value"].to_list() for (who,), of in rows.group_by("who")}
        ours = found.pop(OURS, [])
        for who in [w for w in rows["who"].unique(maintain_order=True) if w != OURS] or [""]:
            theirs = found.get(who, [])
            ratio = ""
            if ours and theirs:
                one, other = statistics.median(ours), statistics.median(theirs)
                better = one / other if str(unit).endswith("/s") else other / one
                ratio = f"{better:.2f}" if better < MANY else f"{better:,.0f}"
            beside = f"{who} {_median(theirs)}" if theirs else ""
            spread = "; ".join(_spread(each) for each in (ours, theirs) if each)
            told.append(f"| {what}, {unit} | {_median(ours)} | {beside} | {ratio} | {spread} |\n")
    return "".join(told)


def _median(values: list[float]) -> str:
    return short(statistics.median(values)) if values else ""


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return "one run"
    if len(values) > MANY:
        return f"p99 {short(float(np.quantile(values, 0.99)))}"
    return f"{short(min(values))} to {short(max(values))}"


def short(value: float) -> str:
    """A number for a reader: three digits that say something, and thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def fresh(act: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """What a function gives in a new process, which has no memory of anything."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as one:
        return one.submit(act, *args, **named).result()


def private() -> int:
    """Bytes of memory that are this process's own, by Linux' ``/proc``; 0 where that is not."""
    status = Path("/proc/self/status")
    found = re.search(r"RssAnon:\s+(\d+)", status.read_text()) if status.exists() else None
    return 1024 * int(found[1]) if found else 0


def exponent(x: Iterable[float], y: Iterable[float]) -> float:
    """How a cost grows: the power of x that fits best (least squares of logarithms)."""
    return float(np.polyfit(np.log([*x]), np.log([*y]), 1)[0])
