"""The command line. It holds no logic: it reads what was asked, calls the package, prints."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tradesys import given, tapes
from tradesys.audit import CHECKS, Audit
from tradesys.charter import Charter
from tradesys.errors import InvalidValue, NotYetReplicated, TradesysError
from tradesys.export import export, longest
from tradesys.network import Network
from tradesys.readable import readable
from tradesys.replay import Replayed, open_network, parse_partition, replay
from tradesys.systems.inquiries import Inquiries
from tradesys.tapes import sample as sample_day
from tradesys.venue import TapeVenue
from tradesys.verify import verify as verify_run

app = typer.Typer(
    help="A broker's order handling, split into systems that keep working while others are down.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console(stderr=True)
out = Console()

SAMPLE = Path("data/sample")

DataFolder = Annotated[Path, typer.Argument(help="A folder that a run has written.")]
Customers = Annotated[int, typer.Option(help="How many customer-facing systems.")]
Streets = Annotated[int, typer.Option(help="How many street-side systems.")]


def _a_json_target(target: str | None) -> str | None:
    """Where a result can be written; told before anything is done, and not after it."""
    if target not in (None, "-"):
        path = Path(str(target))
        if not target or path.is_dir() or not path.parent.is_dir():
            raise InvalidValue("json", target, "a file in a folder that exists, or -")
    return target


JsonOut = Annotated[
    str | None,
    typer.Option(
        "--json",
        help="Write the result as one JSON object: a file, or -.",
        callback=_a_json_target,
    ),
]


@app.command("replay")
def replay_command(
    tape: Annotated[Path, typer.Argument(help="A file of order events, or a folder of them.")],
    format: Annotated[str, typer.Option(help="How the file is written.")] = "lobster",
    customers: Customers = 3,
    streets: Streets = 2,
    batch: Annotated[int, typer.Option(help="How many events enter at a time.")] = 2000,
    data: Annotated[
        Path | None, typer.Option(help="A new folder for the systems' files; memory without.")
    ] = None,
    partition: Annotated[
        list[str] | None,
        typer.Option(help="Cut a system off for a part of the tape: c1:0.33-0.66."),
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="The day of the tape, where its name does not say.")
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """Run a recorded day through a network, and audit what came of it.

    Exit status 0 only if the audit is true.

    Example: tradesys replay data/sample --data data/run1 --partition c1:0.33-0.66
    """
    partitions = [parse_partition(text) for text in partition or ()]
    if batch < 1:
        raise InvalidValue("batch", batch, "a number of events above 0")
    Charter(customers, streets, TapeVenue.kind).require(*(cut.system for cut in partitions))
    with _progress(f"reading {tape}"):
        day = tapes.read(tape, format=format, date=date)
    with (
        open_network(day, customers=customers, streets=streets, data=data) as network,
        _progress("replaying", day.events) as advance,
    ):
        result = replay(day, network, batch=batch, partitions=partitions, progress=advance)
    _print_json(json_out, result.as_dict())
    if json_out != "-":
        _print_replayed(result, data)
    raise typer.Exit(_exit_code(result.audit))


@app.command()
def demo(
    data: Annotated[Path, typer.Option(help="Where the run's files go.")] = Path("data/demo"),
) -> None:
    """One order's story, then a whole generated day with one system cut off in the middle of it."""
    if data.exists() and {p.name for p in data.iterdir()} - {"one-order", "sample-day"}:
        raise InvalidValue("data", str(data), "a folder that is new, or an earlier demo's")
    shutil.rmtree(data, ignore_errors=True)
    story = data / "one-order"
    with Network(customers=3, streets=2, data=story) as desk:
        _tell(desk)
    with tempfile.TemporaryDirectory() as spare:
        folder = SAMPLE if SAMPLE.is_dir() else Path(spare)
        with _progress("reading the day"):
            if folder != SAMPLE:
                sample_day.generate(folder)
            day = tapes.read(folder)
    out.print(
        f"\n[bold]A day[/bold] of {day.events:,} generated events in {', '.join(day.symbols)}; "
        "c1 is cut off from everybody for the middle third."
    )
    cut = [parse_partition("c1:0.33-0.66")]
    with (
        open_network(day, data=data / "sample-day") as network,
        _progress("replaying", day.events) as advance,
    ):
        result = replay(day, network, batch=500, partitions=cut, progress=advance)
    _print_replayed(result, data / "sample-day")
    out.print(
        f"Every system's files are under [bold]{data}[/bold]; ask them:\n"
        f"  tradesys status {story} c1-0 --at c3\n"
        f"  tradesys audit {data / 'sample-day'}"
    )
    raise typer.Exit(_exit_code(result.audit))


@app.command()
def status(
    data: DataFolder,
    order: Annotated[str, typer.Argument(help="An order's id, like c1-17.")],
    at: Annotated[str | None, typer.Option(help="The customer-facing system to ask.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="A time: what could it have answered then?")
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """The status of an order, aggregated from the records of the system that is asked.

    Example: tradesys status data/run1 c1-17 --at c2 --as-of 2024-06-03T14:00:00Z
    """
    with _opened(data) as network, _progress("asking"):
        names = [customer.name for customer in network.customers]
        if at is not None and at not in names:
            raise InvalidValue("at", at, f"one of {', '.join(names)}")
        asked = network.systems if as_of is None else network.as_of(as_of)
        systems = [asked[name] for name in ([at] if at else names)]
        answers, missing = [], []
        for system in systems:
            assert isinstance(system, Inquiries)
            try:
                answers.append(system.status(order))
            except NotYetReplicated as error:
                missing.append(error)
        if not answers:
            raise missing[0]
    if json_out is not None:
        fields = ("system", "cl_ord_id", "account", "symbol", "side", "ord_type", "price")
        numbers = ("ord_status", "order_qty", "cum_qty", "leaves_qty", "avg_px", "positions")
        objects = [{n: getattr(a, n) for n in (*fields, *numbers)} for a in answers]
        _print_json(json_out, {"order": order, "answers": objects})
    else:
        for told in (*answers, *missing):
            out.print(str(told))


@app.command()
def audit(data: DataFolder, json_out: JsonOut = None) -> None:
    """Check a run's files: everything that must hold over all systems. Exit 0 only if all does.

    Nothing is sent, executed or cleared: what a crash has left under way is unknown, and
    `tradesys run` finishes it. Files that are damaged are mended from peers when they are opened.

    Example: tradesys audit data/run1
    """
    with _opened(data) as network:
        result = _audited(network)
    _tell_audit(result, json_out)


@app.command()
def run(data: DataFolder, json_out: JsonOut = None) -> None:
    """Bring a run to rest, and audit it: what a crash has left undone is sent, executed, cleared.

    Exit status 0 only if the audit is true.

    Example: tradesys run data/run1
    """
    with _opened(data) as network:
        with _progress("running until all is quiet"):
            moved = network.run()
        result = _audited(network)
    if json_out != "-":
        out.print(f"{moved:,} records moved until all was quiet")
    _tell_audit(result, json_out, moved=moved)


@app.command("end-of-day")
def end_of_day(data: DataFolder, json_out: JsonOut = None) -> None:
    """End a run's day: DAY orders expire, GTD ones whose time has come, all is cleared; and audit.

    Ending it again changes nothing. Exit status 0 only if the audit is true.

    Example: tradesys end-of-day data/run1
    """
    with _opened(data) as network:
        with _progress("ending the day"):
            end = network.end_of_day()
        balance = network.firm.trial_balance()
        result = _audited(network)
    if json_out != "-":
        out.print(
            f"{end.expired:,} orders expired, {end.moved:,} records moved until all was quiet"
        )
        _print_frame(readable(balance), "trial balance")
    trial = dict(balance.iter_rows())
    _tell_audit(result, json_out, **end._asdict() | {"day": str(end.day)}, trial_balance=trial)


@app.command()
def statement(
    data: DataFolder,
    account: Annotated[str, typer.Argument(help="An account.")],
    day: Annotated[
        str | None, typer.Option(help="A day like 2024-06-03; the last in the books without.")
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """An account's day as the firm has posted it: each fill and fee, what is settled and what not.

    Amounts of cash are in the currency, and in 1/10,000 of it in JSON.

    Example: tradesys statement data/run1 alice --day 2024-06-03
    """
    with _opened(data) as network, _progress("asking"):
        told = network.firm.statement(account, day)
    if json_out is not None:
        frames = {name: getattr(told, name) for name in ("fills", "balances")}
        rows = {n: json.loads(frame.write_json()) for n, frame in frames.items()}
        _print_json(json_out, {"account": account, "day": str(told.day), **rows})
    if json_out != "-":
        out.print(f"[bold]{escape(account)}[/bold] on {told.day}", highlight=False)
        columns = ("transact_time", "exec_id", "exec_type", "exec_ref_id", "symbol", "last_px")
        fills = told.fills.select(*columns, "shares", "cash", "fee")
        shown = readable(fills).rename({"transact_time": "time"})
        _print_frame(shown, "fills, corrections and busts")
        _print_frame(readable(told.balances), "balances")


@app.command()
def verify(
    data: DataFolder,
    against: Annotated[
        Path | None, typer.Option(help="Another copy of the same run, to hold it against.")
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """Read every file of a run, and say what is not as it was written. Exit 0 only if all is.

    Nothing is changed; opening a damaged run is what repairs it.

    Example: tradesys verify data/run1 --against backup/run1
    """
    for folder in (data, *([against] if against else [])):
        if not folder.is_dir():
            raise InvalidValue("data", str(folder), "a folder that a run has written")
    with _progress(f"reading {data}"):
        result = verify_run(data, against)
    findings = [finding._asdict() for finding in result.findings]
    counts = {"files": result.files, "records": result.records}
    _print_json(json_out, {"verdict": not findings, **counts, "findings": findings})
    if json_out != "-":
        for finding in result.findings:
            out.print(f"[red]{finding.file}[/red] at byte {finding.offset:,}: {finding.what}")
        word = "[red]not as written[/red]" if findings else "[green]as written[/green]"
        out.print(f"{result.files:,} files with {result.records:,} records: {word}")
    raise typer.Exit(1 if findings else 0)


@app.command("export")
def export_command(
    data: DataFolder,
    parquet: Annotated[Path, typer.Option(help="A new folder for the Parquet files.")],
    at: Annotated[
        str | None, typer.Option(help="Only what this system holds; all that any holds without.")
    ] = None,
) -> None:
    """Write every record of a run once, as Parquet in hive partitions by day and by who wrote it.

    Example: tradesys export data/run1 --parquet exported && duckdb -c "select symbol, sum(last_qty)
    from read_parquet('exported/executions/**/*.parquet', hive_partitioning=true) group by symbol"
    """
    with Network.open(data) as network:
        _tell_recovered(network)
        systems = [network[at]] if at is not None else list(network)
        total = sum(log.count for _, log in longest(systems))
        with _progress("exporting", total) as advance:
            result = export(systems, parquet, progress=advance)
    listed = ", ".join(f"{n:,} {dataset}" for dataset, n in result.records.items())
    out.print(f"{result.files:,} files in {parquet}: {listed}", soft_wrap=True)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")] = SAMPLE,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 2024,
    events: Annotated[int, typer.Option(help="About how many events in all.")] = 20_000,
) -> None:
    """Generate a day of order events in LOBSTER's message format; it is not real.

    Example: tradesys sample data/sample
    """
    with _progress("generating"):
        sample_day.generate(folder, seed=seed, events=events)
    out.print(f"{len(list(folder.glob('*_message_*')))} files in {folder}")


def main() -> None:
    """Run the command line; an error that the package foresees is one line, and exit status 2."""
    try:
        app()
    except TradesysError as error:
        said = f"{escape(str(error))} [dim]({error.outcome})[/dim]"
    except OSError as error:
        said = escape(f"{error.filename or 'output'}: {error.strerror or error}")
    else:
        return
    console.print(f"[red]error:[/red] {said}", highlight=False, soft_wrap=True)
    sys.exit(2)


def _tell(desk: Network) -> None:
    """One order from entry to cleared, asked at every step."""
    out.print("[bold]One order[/bold], entered at c1, asked about at c3, which never saw it:")
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "status at c3", "done", "open", "average"):
        table.add_column(column, justify="left" if column in ("", "status at c3") else "right")

    def ask(event: str) -> None:
        desk.run()
        answer = desk["c3"].status(buy)
        average = "" if answer.avg_px is None else f"{answer.avg_px:,.2f}"
        numbers = (f"{answer.cum_qty:,}", f"{answer.leaves_qty:,}", average)
        table.add_row(event, answer.ord_status, *numbers)

    terms = {"symbol": "ALFA", "price": "50.00"}
    buy = desk["c1"].submit(account="alice", side="buy", order_qty=100, **terms)
    ask("alice buys 100 at 50.00, at c1")
    desk["c2"].submit(account="bob", side="sell", order_qty=60, **terms)
    ask("bob sells her 60, at c2")
    desk["c2"].cancel(buy)
    ask("alice cancels the rest at c2")
    out.print(table)


@app.command("simulate")
def simulate_command(
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
    resend: Annotated[bool, typer.Option(help="Send again what nobody has answered.")] = True,
    notebooks: Annotated[Path, typer.Option(help="Where a failing seed's notebook goes.")] = Path(
        "outputs"
    ),
    json_out: JsonOut = None,
) -> None:
    """Run the systems under virtual time with faults drawn from seeds, and audit each run.

    Exit status 0 only if every audit is true.

    Example: tradesys simulate --seeds 200 --faults crash,partition
    """
    from tradesys import simulation
    from tradesys.simulation import cli as simulating

    given.whole("seeds", seeds, 1)
    choices = simulation.Choices(
        acknowledge=acknowledge,
        every=every_ms * 1_000_000,
        grace=grace_ms * 1_000_000,
        resend=resend,
    )
    kinds = simulation.FAULTS if faults is None else faults.split(",")
    total = simulating.simulate(
        range(first_seed, first_seed + seeds),
        _progress,
        console,
        notebooks,
        customers=customers,
        streets=streets,
        orders=orders,
        faults=number,
        kinds=tuple(kinds),
        choices=choices,
    )
    _print_json(json_out, simulating.as_dict(total))
    if json_out != "-":
        simulating.print_total(out, total)
    raise typer.Exit(1 if total.failed else 0)


@contextmanager
def _opened(data: Path) -> Iterator[Network]:
    """The network of a folder; what opening it had to mend is said on stderr."""
    with _progress(f"opening {data}"):
        network = Network.open(data)
    with network:
        _tell_recovered(network)
        yield network


def _audited(network: Network) -> Audit:
    with _progress("auditing", len(CHECKS)) as advance:
        return network.audit(advance)


def _tell_audit(result: Audit, json_out: str | None, **more: object) -> None:
    """Print an audit, and end with the exit status that it calls for."""
    checks = {c.name: {"verdict": c.verdict, "found": c.found} for c in result.checks}
    _print_json(json_out, more | {"verdict": result.verdict, "checks": checks})
    if json_out != "-":
        _print_audit(result)
    raise typer.Exit(_exit_code(result))


def _tell_recovered(network: Network) -> None:
    """Say on stderr what opening the files had to mend."""
    for each in network.recovered:
        if each.incarnation and not each.damage:
            console.print(f"[yellow]{each.system}:[/yellow] files of its own are gone: a lost disk")
        for damage in each.damage:
            kind = "an unfinished write" if damage.torn else "damage"
            where = f"{damage.path} at byte {damage.offset:,}"
            console.print(
                f"[yellow]{each.system}:[/yellow] {kind} in {where}, kept in {damage.aside}"
            )
        console.print(
            f"[yellow]{each.system}:[/yellow] {each.restored:,} records given back by peers"
        )
        for text in each.missing:
            console.print(f"[red]{each.system}:[/red] held by nobody: {text}")
        if each.incarnation:
            console.print(f"[yellow]{each.system}:[/yellow] goes on as {each.incarnation}")


def _print_replayed(result: Replayed, data: Path | None) -> None:
    rate = result.tape.events / result.seconds
    where = f"durable in {data}" if data else "in memory only"
    out.print(
        f"[bold]{result.tape.events:,} events[/bold] in {result.seconds:.2f} s "
        f"({rate:,.0f} a second, {where})"
    )
    table = Table(box=box.SIMPLE_HEAD, title="records held by each system", title_justify="left")
    datasets = list(dict.fromkeys(d for held in result.systems.values() for d in held))
    table.add_column("system")
    for dataset in datasets:
        table.add_column(dataset, justify="right")
    for name, held in result.systems.items():
        table.add_row(name, *(f"{held[d]:,}" if d in held else "" for d in datasets))
    out.print(table)
    counts = [("status", result.statuses), ("ignored", result.tape.ignored)]
    counts += [("refused", result.refused), ("not recorded", result.not_recorded)]
    for title, found in counts:
        if found:
            listed = ", ".join(f"{n:,} {key}" for key, n in found.items())
            out.print(f"{title:>12}: {listed}")
    _print_audit(result.audit)


def _print_frame(frame: pl.DataFrame, title: str) -> None:
    """A readable frame as a table; a column without a value is left out."""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    frame = frame.select(name for name in frame.columns if frame[name].count() or not len(frame))
    for name, kind in frame.schema.items():
        table.add_column(name, justify="right" if kind.is_numeric() else "left", overflow="fold")
    for row in frame.iter_rows():
        table.add_row(*("" if v is None else _plain(v) for v in row))
    out.print(table)


def _plain(value: object) -> str:
    """A value of a table: numbers with no more places than they need."""
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def _print_audit(result: Audit) -> None:
    words = {True: "[green]true", False: "[red]false", None: "[yellow]unknown"}
    table = Table(box=box.SIMPLE_HEAD, title="audit", title_justify="left")
    table.add_column("check")
    table.add_column("evaluated", justify="right")
    table.add_column("verdict")
    for check in result.checks:
        table.add_row(check.name, f"{check.evaluated:,}", words[check.verdict])
        for text in check.found[:3]:
            table.add_row(f"  [red]{text}[/red]", "", "")
    table.add_section()
    table.add_row("[bold]the audit[/bold]", "", words[result.verdict])
    out.print(table)


def _print_json(target: str | None, result: dict[str, object]) -> None:
    if target is None:
        return
    text = json.dumps(result, indent=2)
    if target == "-":
        sys.stdout.write(text + "\n")
    else:
        Path(target).write_text(text + "\n", encoding="utf-8")


@contextmanager
def _progress(text: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, shown to a person only, while it lasts; without a total it says: working."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(escape(text), total=total)
        yield lambda done: bar.update(task, completed=done)


def _exit_code(result: Audit) -> int:
    return 0 if result.verdict is True else 1
