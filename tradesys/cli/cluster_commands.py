"""Commands about a cluster: its folder is made, its processes are run."""

import signal
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer
from rich.live import Live
from rich.table import Table

from tradesys.cli.printing import JsonOut, console, out, print_audit, progress, tell
from tradesys.cli.replay_commands import Customers, Streets
from tradesys.records.opening_books import OpeningBooks
from tradesys.replication.transfer import behind
from tradesys.venue import tapes
from tradesys.venue.tapes import sample_tape

if TYPE_CHECKING:
    from tradesys.cluster.connection import RemoteNetwork

Folder = Annotated[Path, typer.Argument(help="A cluster's folder.")]
Servers = Annotated[int, typer.Option(help="How many servers of the broker.")]


def serve(
    name: Annotated[str, typer.Argument(help="A system, like c1, or market.")],
    config: Annotated[Path, typer.Option(help="The cluster's folder.")],
) -> None:
    """Be one process of a cluster, until SIGTERM or Ctrl-C.

    Example: tradesys serve c1 --config cluster1
    """
    from tradesys.cluster import layout, processes

    processes.serve(layout.read(config), name)


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
    from tradesys.cluster.connection import connect

    _end_in_order()
    with suppress(KeyboardInterrupt), processes.Cluster(folder) as cluster:
        layout, pause = cluster.layout, threading.Event()
        with (
            closing(connect(layout.access("analyst"), layout.manifest)) as desk,
            Live(_shown(desk), console=out, auto_refresh=False) as live,
        ):
            while True:
                desk.step()
                live.update(_shown(desk), refresh=True)
                pause.wait(0.5)


def _end_in_order() -> None:
    """Let this process end those that it starts, too, when its terminal is closed or it is told."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))


def _shown(desk: "RemoteNetwork") -> Table:
    """How each system is: what it holds, how far it is behind, whose symbols it executes."""
    table = Table("system", "up", "holds", "behind", "executes for", "refused")
    for name, system in desk.systems.items():
        facts = desk.facts.get(name)
        late = sum(behind(link) for link in desk.links if link.target is system)
        held = sum(map(len, system.tables.values()))
        owns = ", ".join(facts["owns"]) if facts else ""
        said = str(facts["refused"]) if facts else ""
        table.add_row(
            name, "yes" if facts else "[red]no[/red]", f"{held:,}", f"{late:,}", owns, said
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
