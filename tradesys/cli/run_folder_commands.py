"""Commands about the folder of a run: it is asked, checked, gone on with, or written elsewhere."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.markup import escape

from tradesys.audit.audit import Audit
from tradesys.audit.checks import CHECKS
from tradesys.cli.printing import (
    JsonOut,
    out,
    print_audit,
    print_frame,
    progress,
    tell,
    tell_recovered,
)
from tradesys.network import Network
from tradesys.network.export import export as export_systems
from tradesys.network.export import longest
from tradesys.network.file_verification import verify as verify_run
from tradesys.records import argument_checks as given
from tradesys.records.errors import NotYetReplicated
from tradesys.records.formatting import readable, with_ids_written
from tradesys.records.schemas import parse_id
from tradesys.systems.firm.statements import cash_lines

Run = Annotated[Path, typer.Argument(help="A folder that a run has written.")]

_TOLD = (
    "system cl_ord_id account symbol side ord_type price ord_status order_qty cum_qty leaves_qty"
)


def status(
    data: Run,
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
    with opened(data) as network, progress("asking"):
        names = [customer.name for customer in network.customers]
        asked = names if at is None else [given.one_of("at", at, names)]
        network.manifest.require_order(order, parse_id(order))
        past = None if as_of is None else network.as_of(as_of)
        answers, missing = [], []
        for name in asked:
            try:
                answers.append((past[name] if past else network[name]).status(order))
            except NotYetReplicated as error:
                missing.append(error)
        if not answers:
            raise missing[0]
    objects = [{n: getattr(a, n) for n in (*_TOLD.split(), "avg_px", "positions")} for a in answers]
    in_words = "\n".join(map(str, (*answers, *missing)))
    tell(json_out, {"order": order, "answers": objects}, lambda: out.print(escape(in_words)))


def audit(data: Run, json_out: JsonOut = None) -> None:
    """Check a run's files: everything that must hold over all systems. Exit 0 only if all does.

    Nothing is sent, executed or cleared: what a crash has left under way is unknown, and
    `tradesys run` finishes it. Files that are damaged are mended from peers when they are opened.

    Example: tradesys audit data/run1
    """
    with opened(data) as network:
        result = _audited(network)
    _tell_audit(result, json_out)


def run(data: Run, json_out: JsonOut = None) -> None:
    """Bring a run to rest, and audit it: what a crash has left undone is sent, executed, cleared.

    Exit status 0 only if the audit is true.

    Example: tradesys run data/run1
    """
    with opened(data) as network:
        with progress("running until all is quiet"):
            moved = network.run()
        result = _audited(network)
    _tell_audit(result, json_out, f"{moved:,} records moved until all was quiet", moved=moved)


def end_of_day(data: Run, json_out: JsonOut = None) -> None:
    """End a run's trading day at once: DAY orders expire, all is cleared; and audit.

    A run of a tape ends its own day, at its close. Ending a day again changes nothing. Exit status
    0 only if the audit is true.

    Example: tradesys end-of-day data/run1
    """
    with opened(data) as network:
        with progress("ending the day"):
            end = network.end_of_day()
        balance = network.firm.trial_balance()
        result = _audited(network)
    if json_out != "-":
        print_frame(readable(balance), "trial balance")
    said = f"{end.expired:,} orders expired, {end.moved:,} records moved until all was quiet"
    more = end._asdict() | {"day": str(end.day), "trial_balance": dict(balance.iter_rows())}
    _tell_audit(result, json_out, said, **more)


def statement(
    data: Run,
    account: Annotated[str, typer.Argument(help="An account.")],
    day: Annotated[
        str | None, typer.Option(help="A day like 2024-06-03; the last in the books without.")
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """An account's day as the firm has posted it: each fill and fee, what is settled and what not.

    Amounts of cash are in the currency, and in 1/10,000 of it in JSON, where ids are text as well.

    Example: tradesys statement data/run1 alice --day 2024-06-03
    """
    with opened(data) as network, progress("asking"):
        told = network.firm.statement(account, day)
    frames = {"fills": told.fills, "balances": told.balances}
    rows = {name: json.loads(with_ids_written(f).write_json()) for name, f in frames.items()}

    def in_words() -> None:
        zone = network.venue.calendar.zone
        out.print(f"[bold]{escape(account)}[/bold] on {told.day}", highlight=False)
        shown = readable(cash_lines(told)).select(
            pl.col("transact_time").str.head(len("09:30:00.000")).alias("time"),
            *("line", "order_id", "symbol", "last_px", "shares", "cash", "fee"),
        )
        print_frame(shown, f"cash, line by line; times in {zone}")
        print_frame(readable(told.balances), "balances")

    tell(json_out, {"account": account, "day": str(told.day), **rows}, in_words)


def verify(
    data: Run,
    against: Annotated[
        Path | None, typer.Option(help="Another copy of the same run, to hold it against.")
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """Read every file of a run, and say what is not as it was written. Exit 0 only if all is.

    Nothing is changed; opening a damaged run is what repairs it. A run that a process has open is
    refused: its files are being written.

    Example: tradesys verify data/run1 --against backup/run1
    """
    with progress(f"reading {data}"):
        result = verify_run(data, against)
    findings = result.findings

    def in_words() -> None:
        for finding in findings:
            at = f"[red]{escape(finding.file)}[/red] at byte {finding.offset:,}"
            out.print(f"{at}: {escape(finding.what)}")
        word = "[red]not as written[/red]" if findings else "[green]as written[/green]"
        out.print(f"{result.files:,} files with {result.records:,} records: {word}")

    counts = {"files": result.files, "records": result.records}
    listed = [finding._asdict() for finding in findings]
    tell(json_out, {"verdict": not findings, **counts, "findings": listed}, in_words)
    raise typer.Exit(1 if findings else 0)


def export(
    data: Run,
    parquet: Annotated[Path, typer.Option(help="A new folder for the Parquet files.")],
    at: Annotated[
        str | None, typer.Option(help="Only what this system holds; all that any holds without.")
    ] = None,
) -> None:
    """Write every record of a run once, as Parquet in hive partitions by day and by who wrote it.

    Example: tradesys export data/run1 --parquet exported && duckdb -c "select symbol, sum(last_qty)
    from read_parquet('exported/executions/**/*.parquet', hive_partitioning=true) group by symbol"
    """
    with opened(data) as network:
        systems = list(network) if at is None else [network[at]]
        total = sum(log.count for _, log in longest(systems))
        with progress("exporting", total) as advance:
            result = export_systems(systems, parquet, progress=advance)
    listed = ", ".join(f"{n:,} {dataset}" for dataset, n in result.records.items())
    out.print(f"{result.files:,} files in {parquet}: {listed}", soft_wrap=True)


@contextmanager
def opened(data: Path) -> Iterator[Network]:
    """The network of a folder; what opening it had to mend is said on stderr."""
    with progress(f"opening {data}"):
        network = Network.open(data)
    with network:
        for each in network.recovered:
            tell_recovered(each)
        yield network


def _audited(network: Network) -> Audit:
    with progress("auditing", len(CHECKS)) as advance:
        return network.audit(advance)


def _tell_audit(result: Audit, json_out: str | None, said: str = "", **more: object) -> None:
    """Tell an audit, after what was ``said`` before it; the exit status is 0 only if it is true."""

    def in_words() -> None:
        if said:
            out.print(said)
        print_audit(result)

    checks = {c.name: {"verdict": c.verdict, "found": c.found} for c in result.checks}
    tell(json_out, more | {"verdict": result.verdict, "checks": checks}, in_words)
    raise typer.Exit(0 if result.verdict is True else 1)
