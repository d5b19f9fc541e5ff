"""Goal: no system reads the time or draws a number by itself; whoever runs it hands both in."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tradesys

PACKAGE = Path(tradesys.__file__).parent
CLOCKS = {"time.time", "time.time_ns", "time.sleep", "dt.datetime.now", "dt.datetime.utcnow"}
CLOCKS |= {"datetime.now", "datetime.utcnow", "datetime.today", "dt.date.today", "date.today"}
NEW_GENERATORS = {"random.Random", "np.random.default_rng", "np.random.Generator"}
NEW_GENERATORS |= {"np.random.PCG64"}
WALL_CLOCK = "clock.py"


def names_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every dotted name, and what is imported from modules of time and chance."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and "(" not in (name := ast.unparse(node)):
            yield node.lineno, name
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "random", "numpy.random"):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def offences(path: Path) -> list[str]:
    found = []
    for line, name in names_in(ast.parse(path.read_text(encoding="utf-8"))):
        chance = name.startswith(("random.", "np.random.", "numpy.random."))
        clock = name in CLOCKS and path.name != WALL_CLOCK
        if clock or (chance and name not in NEW_GENERATORS) or name.startswith("secrets."):
            found.append(f"{path.relative_to(PACKAGE)}:{line}: {name}")
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_system_reads_a_clock_or_draws_a_number_by_itself(path: Path) -> None:
    assert offences(path) == []


def test_every_exception_is_met() -> None:
    paths = {path.name: path for path in PACKAGE.rglob("*.py")}
    used = {
        path: {n for _, n in names_in(ast.parse(path.read_text("utf-8")))}
        for path in paths.values()
    }
    assert used[paths[WALL_CLOCK]] & CLOCKS
    assert set().union(*used.values()) >= NEW_GENERATORS


@pytest.mark.parametrize(
    "source",
    ["import time\ntime.time()", "import random\nrandom.random()", "from time import time"],
)
def test_whoever_did_would_be_found(source: str, tmp_path: Path) -> None:
    names = [name for _, name in names_in(ast.parse(source))]
    assert any(n in CLOCKS or n.startswith("random.") for n in names)
