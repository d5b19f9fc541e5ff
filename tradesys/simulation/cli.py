"""`tradesys simulate`: many seeds, one table, and a notebook of the first that fails."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tradesys.simulation.plan import Choices, draw
from tradesys.simulation.replayed import write_notebook
from tradesys.simulation.seeds import Outcome, Total, run_plan, run_seeds, shrink

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]


def simulate(
    seeds: range, progress: Progress, out: Console, notebooks: Path, **options: Any
) -> Total:
    """Run seeds on all cores; the first that fails is shrunk, and written as a notebook."""
    choices = options.get("choices") or Choices()
    draw(seeds.start, **options)  # what cannot be drawn is said before any process begins
    total = Total()
    with progress("simulating", len(seeds)) as advance:
        for outcome in run_seeds(seeds, **options):
            total.add(outcome)
            advance(total.seeds)
    total.failed.sort(key=lambda failed: failed.seed)
    for failed in total.failed[:1]:
        with progress(f"shrinking seed {failed.seed}", None):
            path = notebooks / f"seed-{failed.seed}.ipynb"
            _write_smallest(path, failed, options | {"choices": choices})
        out.print(f"[red]seed {failed.seed}[/red] is replayed, as small as it gets, in {path}")
    return total


def _write_smallest(path: Path, failed: Outcome, options: dict[str, Any]) -> None:
    named = set(failed.found)
    smallest = shrink(
        draw(failed.seed, **options), lambda plan: bool(named & set(run_plan(plan).found))
    )
    write_notebook(path, smallest, run_plan(smallest).found)


def as_dict(total: Total) -> dict[str, object]:
    """What many seeds came to, as JSON has it."""
    return {
        "seeds": total.seeds,
        "orders": total.orders,
        "requests": total.requests,
        "records": total.records,
        "lost_with_their_disks": total.lost,
        "unknown": total.unknown,
        "faults_in_flight": _sorted(total.faults),
        "seeds_that_reached": _sorted(total.statuses),
        "evaluated": dict(total.evaluated),
        "failed": {str(failed.seed): failed.found for failed in total.failed},
    }


def print_total(out: Console, total: Total) -> None:
    """One table of what many seeds came to."""
    table = Table(box=box.SIMPLE_HEAD, title="simulated", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in ("seeds", "orders", "requests", "records", "unknown"):
        table.add_row(name, f"{getattr(total, name):,}")
    table.add_row("acknowledged and lost with every disk that had it", f"{total.lost:,}")
    groups = (
        ("faults while an order was in flight", total.faults),
        ("seeds that reached a status", total.statuses),
        ("evaluated", total.evaluated),
    )
    for title, counts in groups:
        table.add_section()
        table.add_row(f"[bold]{title}[/bold]", f"{counts.total():,}")
        for name, count in _sorted(counts).items():
            table.add_row(f"  {name}", f"{count:,}")
    table.add_section()
    word = f"[red]{len(total.failed):,} not true[/red]" if total.failed else "[green]all true"
    table.add_row("[bold]verdict[/bold]", word)
    out.print(table)
    for failed in total.failed[:10]:
        for name, texts in failed.found.items():
            out.print(f"[red]seed {failed.seed}[/red]: {name}: {'; '.join(texts[:3])}")


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return {str(name): count for name, count in counts.most_common()}
