"""Commands that run a day: a recorded one, a generated one, and the demonstration."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from tradesys.cli.printing import JsonOut, out, print_audit, print_table, progress, tell
from tradesys.cli.tape_options import (
    ColumnMap,
    Date,
    FormatName,
    SaveMap,
    Symbol,
    TapePath,
    mapping,
)
from tradesys.network import Network, fix_replay
from tradesys.network.manifest import Manifest
from tradesys.network.tape_replay import (
    AnyTape,
    Partition,
    Replayed,
    open_network,
    parse_partition,
)
from tradesys.network.tape_replay import replay as replay_tape
from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue
from tradesys.venue import TapeVenue, tapes
from tradesys.venue.tapes import fix_log
from tradesys.venue.tapes import sample_tape as sample_day

SAMPLE = Path("data/sample")

Customers = Annotated[int, typer.Option(help="How many customer-facing systems.")]
Streets = Annotated[int, typer.Option(help="How many street-side systems.")]


def replay(
    tape: TapePath,
    format: FormatName = None,
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
    symbol: Symbol = None,
    date: Date = None,
    columns: ColumnMap = None,
    save: SaveMap = None,
    bad_lines: Annotated[
        str, typer.Option(help="What becomes of lines that are no events: skip or fail.")
    ] = "skip",
    json_out: JsonOut = None,
) -> None:
    """Run a recorded day, or a log of FIX messages, through a network, and audit what came of it.

    Exit status 0 only if the audit is true and every line and request could be recorded.

    Example: tradesys replay data/sample --data data/run1 --partition c1:0.33-0.66
    """
    partitions = [parse_partition(text) for text in partition or ()]
    given.whole("batch", batch, 1, of="events")
    Manifest(customers, streets, TapeVenue.kind).require(*(cut.system for cut in partitions))
    if fix_log.is_log(tape):
        with progress(f"reading {tape}"):
            log = fix_log.read(tape, bad_lines=bad_lines)
        network = fix_replay.open_network(log, customers=customers, streets=streets, data=data)
        with network, progress("replaying", len(log.stated)) as advance:
            result = fix_replay.replay(
                log, network, batch=batch, partitions=partitions, progress=advance
            )
        _tell_replayed(result, data, json_out)
    given_columns = mapping(columns, save)
    with progress(f"reading {tape}"):
        day = tapes.open_tape(
            tape,
            format=format,
            symbol=symbol,
            date=date,
            columns=given_columns,
            bad_lines=bad_lines,
        )
        day.events  # noqa: B018 - the files are read once, to know what there is
    network = open_network(day, customers=customers, streets=streets, data=data)
    _tell_replayed(_replayed(day, network, batch, partitions), data, json_out)


def demo(
    data: Annotated[Path, typer.Option(help="Where the run's files go.")] = Path("data/demo"),
) -> None:
    """One order's story, then a whole generated day with one system cut off in the middle of it."""
    if data.exists() and {p.name for p in data.iterdir()} - {"one-order", "sample-day"}:
        raise InvalidValue("data", str(data), "a folder that is new, or an earlier demo's")
    shutil.rmtree(data, ignore_errors=True)
    story, whole_day = data / "one-order", data / "sample-day"
    with Network(customers=3, streets=2, data=story) as desk:
        _print_story(desk)
    with tempfile.TemporaryDirectory() as spare, progress("reading the day"):
        if not SAMPLE.is_dir():
            sample_day.generate(Path(spare))
        day = tapes.read(SAMPLE if SAMPLE.is_dir() else Path(spare))
    out.print(
        f"\n[bold]A day[/bold] of {day.events:,} generated events in {', '.join(day.symbols)}; "
        "c1 is cut off from everybody for the middle third."
    )
    network = open_network(day, data=whole_day)
    result = _replayed(day, network, 500, [parse_partition("c1:0.33-0.66")])
    _print_replayed(result, whole_day)
    out.print(
        f"Every system's files are under [bold]{data}[/bold]; ask them:\n"
        f"  tradesys status {story} c1-0 --at c3\n"
        f"  tradesys audit {whole_day}"
    )
    raise typer.Exit(0 if result.verdict is True and not result.bad_lines else 1)


def sample(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")] = SAMPLE,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 2024,
    events: Annotated[int, typer.Option(help="About how many events in all.")] = 20_000,
) -> None:
    """Generate a day of order events in LOBSTER's message format; it is not real.

    Example: tradesys sample data/sample
    """
    with progress("generating"):
        sample_day.generate(folder, seed=seed, events=events)
    out.print(f"{len(list(folder.glob('*_message_*')))} files in {folder}")


def _replayed(day: AnyTape, network: Network, batch: int, partitions: list[Partition]) -> Replayed:
    with network, progress("replaying", day.events) as advance:
        return replay_tape(day, network, batch=batch, partitions=partitions, progress=advance)


def _tell_replayed(result: Replayed, data: Path | None, json_out: str | None) -> NoReturn:
    """Tell a replay; the exit status is 0 only if all is true."""
    tell(json_out, result.as_dict(), lambda: _print_replayed(result, data))
    raise typer.Exit(0 if result.verdict is True and not result.bad_lines else 1)


def _print_replayed(result: Replayed, data: Path | None) -> None:
    rate = result.tape.events / result.seconds
    where = f"durable in {data}" if data else "in memory only"
    events = f"[bold]{result.tape.events:,} events[/bold]"
    out.print(f"{events} in {result.seconds:.2f} s ({rate:,.0f} a second, {where})")
    datasets = list(dict.fromkeys(d for held in result.systems.values() for d in held))
    print_table(
        {"system": False} | dict.fromkeys(datasets, True),
        (
            (name, *(f"{held[d]:,}" if d in held else "" for d in datasets))
            for name, held in result.systems.items()
        ),
        "records held by each system",
    )
    counts = [("status", result.statuses), ("ignored", result.tape.ignored)]
    counts += [("refused", result.refused), ("not recorded", result.not_recorded)]
    for title, found in counts:
        if found:
            listed = ", ".join(f"{n:,} {key}" for key, n in found.items())
            out.print(f"{title:>12}: {listed}")
    for bad in result.first_bad:
        out.print(f"    bad line: {escape(str(bad))}", highlight=False)
    if result.bad_lines:
        out.print(f"   bad lines: {result.bad_lines:,} lines could not be read, and were left out")
    if result.not_filled:
        out.print(f"  not filled: {result.not_filled:,} of the tape's fills")
    if result.otherwise:
        out.print(f"   otherwise: {result.otherwise:,} orders end otherwise than the broker says")
    print_audit(result.audit)
    if result.not_recorded:
        lost = f"{sum(result.not_recorded.values()):,} of {result.requests:,} requests"
        out.print(
            f"[red]{lost} of the tape could not be recorded[/red]: the replay is no whole day"
        )


def _print_story(desk: Network) -> None:
    """One order from entry to canceled, asked about at every step."""
    out.print("[bold]One order[/bold], entered at c1, asked about at c3, which never saw it:")
    terms = {"symbol": "ALFA", "price": "50.00"}
    rows: list[tuple[str, ...]] = []

    def ask(event: str) -> None:
        desk.run()
        told = desk["c3"].status(buy)
        average = "" if told.avg_px is None else f"{told.avg_px:,.2f}"
        numbers = (f"{told.cum_qty:,}", f"{told.leaves_qty:,}", average)
        rows.append((event, str(told.ord_status), *numbers))

    buy = desk["c1"].submit(account="alice", side="buy", order_qty=100, **terms)
    ask("alice buys 100 at 50.00, at c1")
    desk["c2"].submit(account="bob", side="sell", order_qty=60, **terms)
    ask("bob sells her 60, at c2")
    desk["c2"].cancel(buy)
    ask("alice cancels the rest at c2")
    columns = {"": False, "status at c3": False}
    print_table(columns | dict.fromkeys(("done", "open", "average"), True), rows)
