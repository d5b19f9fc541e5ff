"""Commands that run very much: many seeds with faults, and a notebook over a grid of parameters."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer
from rich.markup import escape

from tradesys.cli.printing import JsonOut, console, out, print_frame, print_table, progress, tell
from tradesys.cli.replay_commands import Customers, Streets
from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue

if TYPE_CHECKING:
    from tradesys.simulation.many_seeds import Total


def simulate(
    seeds: Annotated[int, typer.Option(help="How many seeds.")] = 200,
    first_seed: Annotated[int, typer.Option(help="The first of them.")] = 1,
    faults: Annotated[
        str | None, typer.Option(help="Kinds of fault, with commas between; all by default.")
    ] = None,
    number: Annotated[int, typer.Option(help="How many faults to a seed.")] = 10,
    customers: Customers = 3,
    streets: Streets = 2,
    orders: Annotated[int, typer.Option(help="How many orders to a seed.")] = 200,
    acknowledge: Annotated[
        str, typer.Option(help="An order is acknowledged when it is on disk at: own, one, all.")
    ] = "own",
    every_ms: Annotated[int, typer.Option(help="Replicate every so many ms; 0: at once.")] = 0,
    grace_ms: Annotated[int, typer.Option(help="Take over after so many ms of silence.")] = 25,
    resend: Annotated[
        bool,
        typer.Option(
            help="Send again what nobody has answered; if not, what is lost on its way stays lost."
        ),
    ] = True,
    notebooks: Annotated[Path, typer.Option(help="Where a failing seed's notebook goes.")] = Path(
        "outputs"
    ),
    data: Annotated[
        Path | None, typer.Option(help="Keep the files of each seed, in DATA/seed-7 and so on.")
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """Run the systems under virtual time with faults drawn from seeds, and audit each run.

    Exit status 0 only if every audit is true, 130 after an interruption (Ctrl-C).

    Example: tradesys simulate --seeds 200 --faults crash,partition
    """
    from tradesys import simulation
    from tradesys.simulation.failing_seed_notebook import write_notebook
    from tradesys.simulation.many_seeds import Total, folder_of, run_plan, run_seeds, shrink

    given.whole("seeds", seeds, 1)
    options: dict[str, Any] = {
        "customers": customers,
        "streets": streets,
        "orders": orders,
        "faults": number,
        "kinds": simulation.FAULTS if faults is None else tuple(faults.split(",")),
        "choices": simulation.Choices(
            acknowledge=acknowledge,
            every=every_ms * 1_000_000,
            grace=grace_ms * 1_000_000,
            resend=resend,
        ),
    }
    # What cannot be drawn, or kept, is said before any process begins.
    simulation.draw(first_seed, **options)
    numbers = range(first_seed, first_seed + seeds)
    for folder in [folder_of(seed, data) for seed in numbers] if data else ():
        if folder.exists():
            raise InvalidValue("data", str(folder), "a folder that is not there yet")
    total, is_interrupted = Total(), False
    try:
        with progress("simulating", seeds) as advance:
            for outcome in run_seeds(numbers, data=data, **options):
                total.add(outcome)
                advance(total.seeds)
    except KeyboardInterrupt:
        is_interrupted = True
        console.print(f"interrupted after {total.seeds:,} of {seeds:,} seeds")
    total.failed.sort(key=lambda failed: failed.seed)
    if total.failed:
        seed, found = total.failed[0].seed, total.failed[0].found
        path = notebooks / f"seed-{seed}.ipynb"
        with progress(f"shrinking seed {seed}"):
            plan = simulation.draw(seed, **options)
            smallest = shrink(plan, lambda less: bool(found.keys() & run_plan(less).found))
            write_notebook(path, smallest, run_plan(smallest).found)
        console.print(f"[red]seed {seed}[/red] is replayed, as small as it gets, in {path}")
    tell(json_out, _as_dict(total), lambda: _print_total(total))
    raise typer.Exit(130 if is_interrupted else 1 if total.failed else 0)


def sweep(
    notebook: Annotated[Path, typer.Argument(help="A notebook with a cell of parameters.")],
    sets: Annotated[
        list[str],
        typer.Option("--set", help="A parameter and its values: customers=1,2,4 or seed=1..5."),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Where all that comes of it goes.")],
    jobs: Annotated[
        int | None, typer.Option(help="How many run at a time; one for each core without.")
    ] = None,
    chart: Annotated[
        str | None,
        typer.Option(help="The number to draw; the first of the result that varies without."),
    ] = None,
) -> None:
    """Execute a notebook for every combination of values, with papermill, on all cores.

    Each executed notebook goes to OUT/runs, a row for each run to OUT/results.parquet, a chart to
    OUT/results.svg. What is there already, of the same notebook and the same values, is not run
    again: a sweep that was interrupted goes on where it ended. A run that fails is reported, and
    the others are kept.

    Exit status 0 if all runs are done, 1 if one failed, 130 after an interruption (Ctrl-C).

    Example: tradesys sweep notebooks/5_scenario.ipynb --set customers=1,2,4,8 --set seed=1..5
    --out outputs/sweep

    Example: tradesys sweep notebooks/5_scenario.ipynb --set tape=,data/sample --set streets=1..3
    --chart records_held --out outputs/tapes
    """
    try:
        from tradesys.widgets import sweep as sweeping
    except ModuleNotFoundError as lacking:
        expected = "the notebooks' packages: pip install 'tradesys[lab]'"
        raise InvalidValue("sweep", f"without {lacking.name}", expected) from lacking

    with progress(f"{notebook.name} with {', '.join(sets)}") as advance:
        swept = sweeping.sweep(notebook, sets, folder, jobs=jobs, metric=chart, progress=advance)
    if len(by_first := swept.by_first()):
        print_frame(by_first, f"{swept.metric} over {by_first.columns[0]}")
    failed = swept.frame.filter(pl.col("status") == sweeping.FAILED)
    for row in failed.head(20).iter_rows(named=True):
        point = " ".join(f"{name}={row[name]}" for name in swept.over)
        out.print(f"[red]failed[/red] {escape(point)}: {escape(row['error'])}", highlight=False)
    counts = swept.counts()
    told = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    before = f" ({swept.kept:,} of them before)" if swept.kept else ""
    out.print(f"{len(swept.frame):,} runs: {told}{before}; see {folder}/results.parquet and .svg")
    raise typer.Exit(130 if sweeping.NOT_RUN in counts else 1 if len(failed) else 0)


def _as_dict(total: "Total") -> dict[str, object]:
    """What many seeds came to, as JSON has it."""
    return {
        **{name: getattr(total, name) for name in ("seeds", "orders", "requests", "records")},
        "lost_with_their_disks": total.lost,
        "unknown": total.unknown,
        "faults_in_flight": dict(total.faults.most_common()),
        "seeds_that_reached": dict(total.reached.most_common()),
        "evaluated": dict(total.evaluated),
        "failed": {str(failed.seed): failed.found for failed in total.failed},
    }


def _print_total(total: "Total") -> None:
    """One table of what many seeds came to, and what was not true."""
    word = f"[red]{len(total.failed):,} not true[/red]" if total.failed else "[green]all true[/]"
    names = ("seeds", "orders", "requests", "records", "unknown")
    rows = [("[bold]verdict[/bold]", word)]
    rows += [(name, f"{getattr(total, name):,}") for name in names]
    rows.append(("acknowledged and lost with every disk that had it", f"{total.lost:,}"))
    for title, counts, whole in (
        ("faults while an order was in flight", total.faults, f"{total.faults.total():,}"),
        ("seeds that reached", total.reached, ""),
        ("evaluated", total.evaluated, f"{total.evaluated.total():,}"),
    ):
        rows += [("", ""), (f"[bold]{title}[/bold]", whole)]
        rows += [(f"  {name}", f"{count:,}") for name, count in counts.most_common()]
    print_table({"simulated": False, "": True}, rows)
    for failed in total.failed[:10]:
        for name, texts in failed.found.items():
            out.print(f"[red]seed {failed.seed}[/red]: {name}: {escape('; '.join(texts[:3]))}")
