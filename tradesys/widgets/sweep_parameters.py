"""A grid of parameters for a notebook, checked against the notebook's own before anything runs.

A run's name stands for its values and for the notebook's source: what is there under that name need
not be run again.
"""

import ast
import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from blake3 import blake3

from tradesys.log.disk import in_making
from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue

TABLE = "results"
"""The parameter of a notebook that says where it writes its own results table, as Parquet."""

RUNS_MAX = 10_000

_SPAN = re.compile(r"(-?[0-9]+)\.\.(-?[0-9]+)")
_TRUTHS = {"true": True, "false": False}


def _finite(text: str) -> float:
    """A number that JSON, and so a notebook, can hold.

    :raises ValueError: it is none, not a number (nan), or infinite.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


_READ: dict[type, tuple[Callable[[str], object], str]] = {
    int: (int, "whole numbers like 1,2,4 or 1..5"),
    float: (_finite, "finite numbers like 0.5,1,2 or 1..5"),
    bool: (lambda text: _TRUTHS[text.lower()], "true, false, or both"),
    str: (str, "text"),
}


@dataclass(frozen=True)
class Run:
    """One point of a grid, and the notebook that it becomes when it has succeeded."""

    parameters: dict[str, object]
    notebook: Path
    has_table: bool

    @property
    def table(self) -> Path:
        """The results table that the notebook writes by itself."""
        return self.notebook.with_suffix(".parquet")

    @property
    def failed(self) -> Path:
        """The notebook of a run that failed."""
        return self.notebook.with_suffix(".failed.ipynb")

    @property
    def running(self) -> Path:
        """The notebook that is being executed."""
        return self.notebook.with_suffix(".running.ipynb")

    @property
    def is_whole(self) -> bool:
        """Whether all that it makes is there."""
        return self.notebook.exists() and (self.table.exists() or not self.has_table)

    def clear(self) -> None:
        """Take away what is not whole."""
        if not self.is_whole:
            for left in (self.running, self.table, in_making(self.table)):
                left.unlink(missing_ok=True)


class Grid(NamedTuple):
    """Runs for every combination of values; the first parameter varies slowest.

    ``over`` are the parameters that are set, ``parameters`` all of the notebook with their
    defaults, but for :data:`TABLE`.
    """

    notebook: Path
    over: list[str]
    parameters: dict[str, object]
    runs: list[Run]


def grid(notebook: Path, sets: Sequence[str], folder: Path) -> Grid:
    """What a notebook is to be executed with: ``customers=1,2,4``, ``seed=1..5``.

    :param folder: where the executed notebooks go.
    :raises InvalidValue: there is no such notebook, it has no such parameter, or a value is of
        another type.
    """
    known = parameters(notebook)
    has_table = known.get(TABLE) == ""
    if has_table:
        del known[TABLE]
    over: dict[str, list[object]] = {}
    for text in sets:
        name, values = read_set(text, known)
        if name in over:
            raise InvalidValue("set", text, "each parameter once")
        over[name] = values
    given.whole("set", math.prod(map(len, over.values())), 1, RUNS_MAX, of="runs")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    runs = []
    for values_of_run in itertools.product(*over.values()):
        point = dict(zip(over, values_of_run, strict=True))
        digest = blake3(json.dumps([source, point]).encode()).hexdigest()[:10]
        told = re.sub(r"[^\w=,.+-]+", "_", ",".join(f"{n}={v}" for n, v in point.items()))
        runs.append(Run(point, folder / f"{told[:120]}-{digest}.ipynb", has_table))
    return Grid(notebook, list(over), known, runs)


def parameters(notebook: Path) -> dict[str, object]:
    """The parameters in the notebook's cell that is tagged so, with their defaults.

    A default that is no literal is given as it is written.

    :raises InvalidValue: there is no such notebook, or it has no parameters.
    """
    import papermill  # noqa: PLC0415 - it takes a second, and only a sweep needs it

    if not notebook.is_file():
        raise InvalidValue("notebook", str(notebook), "a notebook that exists")
    try:
        found = papermill.inspect_notebook(str(notebook))
    except (ValueError, KeyError, AttributeError) as error:
        raise InvalidValue("notebook", str(notebook), "a Jupyter notebook") from error
    if not found:
        raise InvalidValue("notebook", str(notebook), "one with a cell tagged `parameters`")
    return {name: _default(**parameter) for name, parameter in found.items()}


def _default(*, default: str, inferred_type_name: str, **_: object) -> object:
    with suppress(ValueError, SyntaxError):
        value = ast.literal_eval(default)
        return float(value) if inferred_type_name == "float" and type(value) is int else value
    return default


def read_set(text: str, known: dict[str, object]) -> tuple[str, list[object]]:
    """What ``seed=1..5`` sets: the name of a parameter, and values of its type, each once.

    :raises InvalidValue: there is no such parameter, or a value is of another type.
    """
    name, equals, written = text.partition("=")
    if not equals:
        raise InvalidValue("set", text, "a parameter and its values, like seed=1..5")
    given.one_of("set", name, known, "a parameter of the notebook, one of {}")
    kind = type(known[name])
    if kind not in _READ:
        raise InvalidValue("set", text, "a parameter that is a number, text, true or false")
    read, expected = _READ[kind]
    values: list[object] = []
    for part in written.split(","):
        span = _SPAN.fullmatch(part) if kind in (int, float) else None
        try:
            values += map(kind, _span(*map(int, span.groups()))) if span else [read(part)]
        except (ValueError, KeyError) as error:
            raise InvalidValue(name, written, expected) from error
    return name, list(dict.fromkeys(values))


def _span(first: int, last: int) -> range:
    """From the first to the last.

    :raises ValueError: it goes down, or is longer than any sweep.
    """
    if last - first not in range(RUNS_MAX):
        raise ValueError
    return range(first, last + 1)
