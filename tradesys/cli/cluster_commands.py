"""Commands about a cluster: its folder is made, its processes are run."""

import asyncio
import signal
import sys
import tempfile
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer
from rich.live import Live
from rich.table import Table

from tradesys.cli.printing import JsonOut, console, out, print_audit, progress, tell
from tradesys.cli.replay_commands import Customers, Streets
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import Kind
from tradesys.venue import tapes
from tradesys.venue.tapes import sample_tape

if TYPE_CHECKING:
    from tradesys.cluster.operations import Told

Folder = Annotated[Path, typer.Argument(help="A cluster's folder.")]
Servers = Annotated[int, typer.Option(help="How many servers of the broker.")]


def serve(
    name: Annotated[str, typer.Argument(help="A system, like c1, market, or a server, like n1.")],
    config: Annotated[Path, typer.Option(help="The cluster's folder.")],
    metrics: Annotated[
        int | None, typer.Option(help="Answer /metrics and /health on this port of 127.0.0.1.")
    ] = None,
    unanswered: Annotated[
        int, typer.Option(min=1, help="So many requests at most may wait for the street side.")
    ] = 100_000,
) -> None:
    """Be one process of a cluster, until SIGTERM or Ctrl-C.

    Example: tradesys serve c1 --config cluster1 --metrics 9101
    """
    from tradesys.cluster import layout, processes

    processes.serve(layout.read(config), name, metrics=metrics, unanswered_max=unanswered)


def init(
    folder: Folder,
    customers: Customers = 3,
    streets: Streets = 2,
    servers: Servers = 3,
    port: Annotated[int, typer.Option(help="The first server's; the others' follow.")] = 4222,
) -> None:
    """Make the folder of a cluster: servers' configuration, keys, certificates, opening books.

    Example: tradesys cluster init cluster1 --customers 3 --streets 2 --servers 3
    """
    from tradesys.cluster import layout

    made = layout.init(folder, customers, streets, servers, port=port)
    out.print(f"{folder}: {made.manifest}; next: tradesys cluster up {folder}")


def up(folder: Folder) -> None:
    """Run a cluster's servers and processes on this machine, and show how they are, until Ctrl-C.

    Example: tradesys cluster up cluster1
    """
    from tradesys.cluster import processes

    _end_in_order()
    with suppress(KeyboardInterrupt), processes.Cluster(folder):
        asyncio.run(_watch(folder))


async def _watch(folder: Path) -> None:
    from tradesys.cluster import layout, operations

    async with operations.operator(layout.read(folder)) as broker:
        with Live(console=out, auto_refresh=False) as live:
            while True:  # a system may be added meanwhile
                told = await operations.look(broker, layout.read(folder))
                live.update(_shown(told), refresh=True)
                await asyncio.sleep(0.5)


def status(folder: Folder, json_out: JsonOut = None) -> None:
    """Look at every process of a cluster once: what it holds, and how far it is behind.

    Example: tradesys cluster status cluster1
    """
    from tradesys.cluster import layout, operations

    told = operations.status(layout.read(folder))
    tell(json_out, told, lambda: out.print(_shown(told)))


def drain(folder: Folder, name: Annotated[str, typer.Argument(help="A system, like c1.")]) -> None:
    """Have a system stop without a loss: others take over, and hold all that it wrote.

    Example: tradesys cluster drain cluster1 c1
    """
    from tradesys.cluster import layout, operations

    operations.drain(layout.read(folder), name)
    out.print(f"{name} has stopped; to start it anew: tradesys serve {name} --config {folder}")


class Added(StrEnum):
    """What can be added to a cluster."""

    CUSTOMER = "customer"
    STREET = "street"


def add(folder: Folder, kind: Annotated[Added, typer.Argument(help="What it is to be.")]) -> None:
    """Add a system to a cluster that runs: all others learn of it, and it may be started.

    Example: tradesys cluster add cluster1 customer
    """
    from tradesys.cluster import layout, operations

    grown, name, reloaded = operations.add(layout.read(folder), Kind[kind.name])
    others = ", ".join(set(grown.server_names) - set(reloaded))
    if others:
        console.print(f"elsewhere, with the new users.conf: nats-server --signal reload ({others})")
    out.print(f"{name} was added; to start it: tradesys serve {name} --config {folder}")


def _end_in_order() -> None:
    """Let this process end those that it starts, too, when its terminal is closed or it is told."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))


def _shown(told: "Told") -> Table:
    """How each process is: what it holds, how far it is behind, whose symbols it executes."""
    table = Table("", "up", "holds", "behind", "by", "executes for", "resent", "refused", "free")
    for name, each in told.items():
        figures = each["figures"]
        up = f"[yellow]{each['unready']}[/]" if each["unready"] else "yes"
        table.add_row(
            name,
            up if each["up"] else "[red]no[/red]",
            f"{sum(figures.get('records', {}).values()):,}",
            f"{each['behind_records']:,}",
            f"{each['behind_seconds']:.1f} s",
            ", ".join(figures.get("lease", ())),
            f"{figures.get('resent', 0):,}",
            f"{sum(figures.get('refused', {}).values()):,}",
            f"{figures.get('disk_free_bytes', 0) / 1e9:,.0f} GB",
        )
    return table


def demo(
    events: Annotated[int, typer.Option(help="How many events the made-up day has.")] = 20_000,
    customers: Customers = 3,
    streets: Streets = 2,
    servers: Servers = 3,
    port: Annotated[int, typer.Option(help="The first server's; the others' follow.")] = 14_222,
    json_out: JsonOut = None,
) -> None:
    """Run a made-up day through a cluster on this machine: servers, and a process a system.

    The day's requests enter by tables of 1,000 at the system of each account; an order book is the
    market. In the end everything that the systems hold is fetched and audited.

    Example: tradesys cluster demo --events 20000
    """
    from tradesys.cluster import layout, processes
    from tradesys.cluster.connection import connect

    with tempfile.TemporaryDirectory() as made:
        day = tapes.read(sample_tape.generate(Path(made) / "day", events=events)[0].parent)
        accounts = day.requests["account"].unique().sort().to_list()
        books = OpeningBooks(accounts, day.symbols, cash=10**14, shares=10**9)
        console.print(f"{servers} servers, {customers + streets + 1} systems and the market start")
        place = layout.init(
            Path(made) / "cluster", customers, streets, servers, books=books, port=port
        )
        _end_in_order()
        with processes.Cluster(place.folder) as cluster:
            desk = connect(cluster.layout.access("trader"), cluster.layout.manifest, "trader")
            rows = day.requests.drop("ts", "event")
            number = tapes.entry_system(pl.col("account"), customers)
            entered, began = 0, time.perf_counter()
            with progress("entering", len(rows)) as told:
                for start in range(0, len(rows), 1000):
                    part = rows.slice(start, 1000)
                    for place_of, customer in enumerate(desk.customers):
                        table = part.filter(number == place_of)
                        entered += int(customer.submit_many(table)["accepted"].sum())
                    told(start + len(part))
            with progress("until all is quiet"):
                desk.run()
            seconds = time.perf_counter() - began
            audit, held = desk.audit(), desk.summary()
            desk.close()
    result: dict[str, object] = {
        "requests": len(rows),
        "accepted": entered,
        "seconds": round(seconds, 3),
    }
    result |= {"verdict": audit.verdict, "systems": held}

    def in_words() -> None:
        out.print(f"{len(rows):,} requests, {entered:,} accepted, in {seconds:.1f} s")
        print_audit(audit)

    tell(json_out, result, in_words)
