"""A notebook over a grid of parameters: papermill once for each point, and one frame of results.

What a run makes gets its own name only when it is whole, and that name stands for its parameters
and for the notebook's source: a sweep that is begun again goes on where it ended. A run that fails
leaves its notebook as ``….failed.ipynb``, and all others as they are.
"""

import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from tempfile import TemporaryFile
from textwrap import shorten
from typing import IO, Any, NamedTuple

import polars as pl

from tradesys.log.ctrl_c import uninterrupted
from tradesys.log.disk import in_making, make_folder, put_in_place
from tradesys.network.export import write_parquet
from tradesys.network.manifest import locked
from tradesys.records import argument_checks as given
from tradesys.widgets.svg_drawings import PALETTE, chart_style
from tradesys.widgets.sweep_parameters import TABLE, Grid, Run, grid

DONE, FAILED, NOT_RUN = "done", "failed", "not run"

_PAPERMILL = (sys.executable, "-m", "papermill", "--no-progress-bar")
_LOOK_S = 0.05
_INTERRUPTED_S = 10.0
"""So long an interrupted process may take to end its kernel."""

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


class _Process(NamedTuple):
    """A run that papermill executes, and the file of what it says on stderr."""

    run: Run
    process: Popen[bytes]
    said: IO[str]


def _execute_all(
    points: Grid, jobs: int, progress: Callable[[int, int], object]
) -> dict[Path, str | None]:
    """Execute what is not whole, so many at a time; gives the errors of those that are over."""
    todo = [run for run in points.runs if not run.is_whole]
    over, waiting, running = len(points.runs) - len(todo), deque(todo), list[_Process]()
    errors: dict[Path, str | None] = {}
    try:
        progress(over, len(points.runs))
        while waiting or running:
            while waiting and len(running) < jobs:
                with uninterrupted():
                    running.append(_begin(points.notebook, waiting.popleft()))
            with suppress(TimeoutExpired):
                running[0].process.wait(_LOOK_S)
            for ended in [each for each in running if each.process.poll() is not None]:
                running.remove(ended)
                is_first = ended.run.notebook not in errors
                errors[ended.run.notebook] = error = _settle(ended)
                if error and "respond" in error and is_first:
                    waiting.append(ended.run)  # the ports of two kernels may have clashed
                else:
                    over += 1
                    progress(over, len(points.runs))
    except KeyboardInterrupt:
        pass  # what is not there is told as not run
    finally:
        for each in running:
            each.process.send_signal(signal.SIGINT)  # papermill then ends its kernel
        for each in running:
            with suppress(TimeoutExpired):
                each.process.wait(_INTERRUPTED_S)
            each.process.kill()
        for run in todo:
            run.clear()
    return errors


def _begin(notebook: Path, run: Run) -> _Process:
    """Let papermill execute a run. It reads ``-r`` as text, and ``-p`` as what it looks like."""
    run.clear()
    parameters = run.parameters | ({TABLE: str(run.table)} if run.has_table else {})
    stated: list[str] = []
    for name, value in parameters.items():
        stated += ["-r" if isinstance(value, str) else "-p", name, str(value)]
    command = [*_PAPERMILL, *stated, str(notebook), str(run.running)]
    environment = {"POLARS_MAX_THREADS": "1"} | os.environ
    said = TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed when it is read
    # A terminal's Ctrl-C does not reach a session of its own.
    process = Popen(  # noqa: S603 - what it executes is the user's own
        command, env=environment, stdin=DEVNULL, stdout=DEVNULL, stderr=said, start_new_session=True
    )
    return _Process(run, process, said)


def _settle(ended: _Process) -> str | None:
    """Name what a run has made after how it ended; gives its error in a line, if it has one."""
    run, status = ended.run, ended.process.returncode
    with ended.said as said:
        said.seek(0)
        last = said.read().strip().rpartition("\n")[2]
    if status < 0:
        run.clear()  # its notebook may be half written
        return f"its process ended with exit status {status}"
    if not status and (run.table.exists() or not run.has_table):
        run.running.rename(run.notebook)
        run.failed.unlink(missing_ok=True)
        return None
    error = last if status else f"the notebook has not written its {TABLE}"
    if run.running.exists():
        run.running.rename(run.failed)
        for output in _outputs(_read(run.failed)) if status else ():
            if output["output_type"] == "error":
                error = f"{output['ename']}: {output['evalue']}"
    run.clear()
    return shorten(error, 200, placeholder=" …")


# ---- what came of it


def _row(run: Run, defaults: dict[str, object], error: str | None) -> dict[str, object]:
    """A run as a row of the results."""
    status = DONE if run.is_whole else FAILED if error else NOT_RUN
    file = run.notebook if status == DONE else run.failed
    row = defaults | run.parameters | {"status": status, "error": error}
    row |= {"seconds": None, "notebook": None}
    if status == NOT_RUN or not file.exists():
        return row
    told = _read(file)
    row["seconds"] = told["metadata"]["papermill"]["duration"]
    row["notebook"] = str(file.relative_to(run.notebook.parent.parent))
    data = [output.get("data", {}) for output in _outputs(told)]
    found = [each["application/json"] for each in data if "application/json" in each]
    for name, value in _flat(found[-1]) if found and status == DONE else ():
        repeated = name.startswith("parameters.") or (name in defaults and row[name] == value)
        if not repeated:
            row[f"result.{name}" if name in row else name] = value
    return row


def _read(notebook: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    return read


def _outputs(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for cell in notebook["cells"]:
        yield from cell.get("outputs", ())


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
