"""A notebook over a grid of parameters: papermill in several processes, and one frame of results.

What a run makes gets its own name only when it is whole, and that name stands for its parameters
and for the notebook's source: a sweep that is begun again goes on where it ended. A run that fails
leaves its notebook as ``….failed.ipynb``, and all others as they are.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import polars as pl

from tradesys.log.disk import in_making, make_folder, put_in_place
from tradesys.network.charter import locked
from tradesys.network.export import write_parquet
from tradesys.records import arguments as given
from tradesys.widgets.parameters import TABLE, Grid, Run, grid
from tradesys.widgets.pictures import PALETTE, chart_style

DONE, FAILED, NOT_RUN = "done", "failed", "not run"

_CTRL_C = {signal.SIGINT}

_NOT_FINITE: dict[object, float] = {text: float(text) for text in ("nan", "inf", "-inf")}
"""Numbers that JSON has not: a kernel writes them into its outputs as these texts."""


class Swept(NamedTuple):
    """What a sweep came to: a row a run, in the order of the grid.

    ``frame`` has the notebook's parameters; ``status`` (done, failed, not run), ``error`` (in a
    line), ``seconds``, ``notebook``; and the notebook's result, the last ``application/json`` among
    its outputs, with a column for each value: ``audit.verdict``. A name that is taken already is
    told as ``result.orders``. ``kept`` counts the runs that were there before.
    """

    frame: pl.DataFrame
    over: list[str]
    metric: str
    kept: int

    def counts(self) -> dict[str, int]:
        """How many runs there are of each status."""
        found = dict(self.frame["status"].value_counts().iter_rows())
        return {status: found[status] for status in (DONE, FAILED, NOT_RUN) if status in found}

    def by_first(self) -> pl.DataFrame:
        """What the metric came to in the runs with each value of the first parameter."""
        done = self.frame.filter(pl.col("status") == DONE)
        number = pl.col(self.metric)
        return done.group_by(self.over[0], maintain_order=True).agg(
            pl.len().cast(pl.Int64).alias("runs"),
            number.min().alias(f"least {self.metric}"),
            number.mean().round(4).alias("mean"),
            number.max().alias("most"),
            pl.col("seconds").mean().round(2).alias("seconds a run"),
        )


def sweep(
    notebook: Path,
    sets: Sequence[str],
    out: Path,
    *,
    jobs: int | None = None,
    metric: str | None = None,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Swept:
    """Execute a notebook for each point of a grid; ``results.parquet`` and ``.svg`` say it all.

    An interruption (Ctrl-C) ends what is running, and the rest is told as not run.

    :param sets: what to set: ``customers=1,2,4``, ``seed=1..5``; the first varies slowest.
    :param jobs: how many run at a time; by default one for each core.
    :param metric: the column of the chart; by default the first number of the result that varies.
    :param progress: told how many runs are over, of how many.
    :raises InvalidValue: the notebook has no such parameter, or it is of another type; nothing has
        run then. Or the results have no such number as ``metric``.
    :raises StorageError: another process works in the folder, or the disk refused.
    """
    jobs = given.whole("jobs", os.cpu_count() if jobs is None else jobs, 1, of="processes")
    points = grid(notebook, sets, out / "runs")
    with locked(out):
        make_folder(out / "runs")
        kept = sum(run.is_whole for run in points.runs)
        errors = _execute_all(points, jobs, progress)
        rows = [_row(run, points.parameters, errors.get(run.notebook)) for run in points.runs]
        frame = _frame(rows, points.parameters)
        write_parquet(frame, out / "results.parquet")
        swept = Swept(frame, points.over, _metric(frame, points.parameters, metric), kept)
        if DONE in frame["status"]:
            picture = out / "results.svg"
            chart(swept).save(str(in_making(picture)), format="svg")
            put_in_place(picture)
    return swept


# ---- running


def _execute_all(
    points: Grid, jobs: int, progress: Callable[[int, int], object]
) -> dict[Path, str]:
    """Execute what is not whole, so many at a time; gives the errors of those that failed."""
    todo = [run for run in points.runs if not run.is_whole]
    errors: dict[Path, str] = {}
    over = len(points.runs) - len(todo)
    waiting = iter(todo)
    workers = _Workers(points.notebook)
    try:
        progress(over, len(points.runs))
        for run in islice(waiting, jobs):
            workers.hand(run)
        while workers.busy:
            for run, error in workers.results():
                over += 1
                progress(over, len(points.runs))
                if error:
                    errors[run.notebook] = error
                if following := next(waiting, None):
                    workers.hand(following)
    except KeyboardInterrupt:
        pass  # what is not there is told as not run
    finally:
        workers.end()
        for run in todo:
            run.clear()
    return errors


class _Workers:
    """Processes that execute runs, each one at a time; one that dies fails its run, no other."""

    def __init__(self, notebook: Path) -> None:
        self._notebook = notebook
        self._processes: dict[Connection, Any] = {}
        self._free: list[Connection] = []
        self.busy: dict[Connection, Run] = {}

    def hand(self, run: Run) -> None:
        """Let a free process execute a run, or a new one."""
        if not self._free:
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, self._notebook), daemon=True)
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _CTRL_C)  # which it is born with
            process.start()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            self._processes[ours] = process
            self._free.append(ours)
        connection = self._free.pop()
        run.clear()
        connection.send(run)
        self.busy[connection] = run

    def results(self) -> Iterator[tuple[Run, str]]:
        """Wait for runs to be over: each with its error, empty if there is none."""
        for connection in wait(list(self.busy)):
            assert isinstance(connection, Connection)
            run = self.busy.pop(connection)
            try:
                error = connection.recv()
                self._free.append(connection)
            except EOFError:
                process = self._processes.pop(connection)
                process.join()
                error = f"its process ended with exit status {process.exitcode}"
            yield run, error

    def end(self) -> None:
        """End all processes, and the kernels of those that are busy."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join()


def _work(connection: Connection, notebook: Path) -> None:
    """Execute one run after the other, until there is nobody to ask for one any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever interrupts the sweep lets it end this
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _CTRL_C)  # kernels are interrupted by it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and so its kernel
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where kernels talk of themselves
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    with suppress(EOFError, BrokenPipeError):
        while True:
            connection.send(_execute(notebook, connection.recv()))


def _execute(notebook: Path, run: Run) -> str:
    """Execute a run, and give its error in a line; empty if it has succeeded."""
    import papermill  # noqa: PLC0415 - as above

    table = {TABLE: str(run.table)} if run.has_table else {}
    parameters = run.parameters | table
    execute = partial(
        papermill.execute_notebook, notebook, run.running, parameters, progress_bar=False
    )
    try:
        try:
            execute()
        except RuntimeError as error:
            if "respond" not in str(error):
                raise
            execute()  # the ports of kernels that begin at the same time may clash
    except Exception as error:  # noqa: BLE001 - whatever a notebook does is its own failure
        named = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", error)
        if run.running.exists():
            run.running.rename(run.failed)
        run.clear()
        return shorten(": ".join(map(str, named)), 200, placeholder=" …")
    if run.has_table and not run.table.exists():
        run.running.rename(run.failed)
        return f"the notebook has not written its {TABLE}"
    run.running.rename(run.notebook)
    run.failed.unlink(missing_ok=True)
    return ""


# ---- what came of it


def _row(run: Run, defaults: dict[str, object], error: str | None) -> dict[str, object]:
    """A run as a row of the results."""
    status = DONE if run.is_whole else FAILED if error else NOT_RUN
    file = run.notebook if status == DONE else run.failed
    row = defaults | run.parameters | {"status": status, "error": error}
    row |= {"seconds": None, "notebook": None}
    if status == NOT_RUN or not file.exists():
        return row
    told = json.loads(file.read_text(encoding="utf-8"))
    row["seconds"] = told["metadata"]["papermill"]["duration"]
    row["notebook"] = str(file.relative_to(run.notebook.parent.parent))
    data = [o.get("data", {}) for cell in told["cells"] for o in cell.get("outputs", ())]
    found = [each["application/json"] for each in data if "application/json" in each]
    for name, value in _flat(found[-1]) if found and status == DONE else ():
        repeated = name.startswith("parameters.") or (name in defaults and row[name] == value)
        if not repeated:
            row[f"result.{name}" if name in row else name] = value
    return row


def _flat(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """The values in a JSON object, each by where it stands: ``audit.verdict``."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _flat(each, f"{name}.{key}" if name else key)
    else:
        yield name or "result", json.dumps(value) if isinstance(value, list) else value


def _frame(rows: list[dict[str, object]], parameters: Mapping[str, object]) -> pl.DataFrame:
    """The rows with all columns that any of them has.

    A column of the results is text only where a run gave text: see :data:`_NOT_FINITE`.
    """
    texts = {
        name
        for row in rows
        for name, value in row.items()
        if name in parameters or (isinstance(value, str) and value not in _NOT_FINITE)
    }
    rows = [
        {n: value if n in texts else _NOT_FINITE.get(value, value) for n, value in row.items()}
        for row in rows
    ]
    types = {"status": pl.String, "error": pl.String, "seconds": pl.Float64, "notebook": pl.String}
    return pl.DataFrame(rows, schema_overrides=types, strict=False, infer_schema_length=None)


def _metric(frame: pl.DataFrame, parameters: Mapping[str, object], asked: str | None) -> str:
    """The column to draw: the one asked for, or the first number of the result that varies."""
    numbers = [n for n, kind in frame.schema.items() if kind.is_numeric() and n not in parameters]
    if asked is not None:
        return given.one_of("chart", asked, numbers, "a number of the results, one of {}")
    done = frame.filter(pl.col("status") == DONE)
    varies = (name for name in numbers if name != "seconds" and done[name].n_unique() > 1)
    return next(varies, "seconds")


def chart(swept: Swept) -> Any:
    """Draw the metric over the first parameter, coloured by the second: each run, and their mean.

    :returns: an Altair chart.
    """
    import altair as alt  # noqa: PLC0415 - it takes two seconds

    chart_style()
    names = [*swept.over[:2], swept.metric]
    done = swept.frame.filter(pl.col("status") == DONE).select(names)
    x, *second, y = (
        # A name may have dots in it; each value is drawn for itself, or very many along a scale.
        f"column_{n}:{'Q' if kind.is_numeric() and done[name].n_unique() > len(PALETTE) else 'N'}"
        for n, (name, kind) in enumerate(done.schema.items())
    )
    done.columns = [f"column_{n}" for n in range(len(names))]
    y = y[:-2]
    title = alt.Title(
        f"{names[-1]} over {names[0]}", subtitle=f"{len(done):,} runs, and their mean"
    )
    base = alt.Chart(done, title=title, width=640, height=320).encode(
        alt.X(x, title=names[0], axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        color=alt.Color(second[0], title=names[1]) if second else alt.value(PALETTE[0]),
    )
    values = [
        alt.Y(shown, title=names[-1], scale=alt.Scale(zero=False))
        for shown in (f"mean({y}):Q", f"{y}:Q")
    ]
    line, points = base.mark_line(strokeWidth=1.6), base.mark_point(filled=True, size=40)
    return line.encode(values[0]) + points.encode(values[1])
