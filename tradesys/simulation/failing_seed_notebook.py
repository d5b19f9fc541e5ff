"""A failing plan as a notebook that runs it step by step, with its space-time diagram."""

import json
from pathlib import Path

from tradesys.simulation.plan import Plan

_INTRO = """# Seed {seed}: not all true

The plan below was drawn from seed {seed}; whatever could be left out with the failure still there
has been. {asks} requests and {faults} faults remain. Not true: {found}."""

_CELLS = (
    """from tradesys.records.opening_books import OpeningBooks
from tradesys.widgets.svg_drawings import table_style
from tradesys.simulation import Ask, Choices, Fault, Market, Plan, Simulation
from tradesys.widgets.space_time_diagram import space_time

table_style()
plan = {plan}""",
    """desk = Simulation(plan, trace=True)
desk.play()
desk.audits[-1].frame""",
    """space_time(desk)""",
    """{{system.name: {{n: t.frame for n, t in system.tables.items()}} for system in desk}}""",
    """desk.bill()""",
    """# Step by step: the same plan again, a moment at a time.
again = Simulation(plan, trace=True)
again.begin(phase=0)
for ms in range(5, 105, 5):
    again.until(ms * 1_000_000)
    print(f"{{ms:4}} ms", again.summary())""",
)


def write_notebook(path: Path, plan: Plan, found: dict[str, tuple[str, ...]]) -> None:
    """Write a notebook that replays a plan.

    :param found: what was not true of it, check by check.
    """
    said = "; ".join(f"{name} ({', '.join(texts[:3])})" for name, texts in found.items())
    counts = {"asks": len(plan.asks), "faults": len(plan.faults)}
    intro = _INTRO.format(seed=plan.seed, found=said, **counts)
    cells: list[dict[str, object]] = [
        {"cell_type": "markdown", "metadata": {}, "source": intro, "id": "intro"}
    ]
    for number, source in enumerate(_CELLS):
        cells.append(
            {
                "cell_type": "code",
                "execution_count": None,
                "id": f"cell-{number}",
                "metadata": {},
                "outputs": [],
                "source": source.format(plan=_literal(plan)),
            }
        )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")


def _literal(plan: Plan) -> str:
    """A plan as Python that gives it again, a request or a fault a line."""
    rows = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    lines = []
    for name, value in rows.items():
        if isinstance(value, tuple):
            inner = "".join(f"        {each!r},\n" for each in value)
            lines.append(f"    {name}=(\n{inner}    ),\n")
        else:
            lines.append(f"    {name}={value!r},\n")
    return f"Plan(\n{''.join(lines)})"
