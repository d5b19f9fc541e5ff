"""The command that measures the systems on the machine at hand, with a generated day."""

import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

from tradesys.cli.printing import JsonOut, print_table, progress, tell
from tradesys.network import Network
from tradesys.network.tape_replay import open_network
from tradesys.network.tape_replay import replay as replay_tape
from tradesys.venue import tapes
from tradesys.venue.tapes import sample_tape


def bench(
    quick: Annotated[
        bool,
        typer.Option("--quick", help="20,000 events and 100 orders instead of 150,000 and 1,000."),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder on the disk to measure; by default where temporary files are."),
    ] = None,
    json_out: JsonOut = None,
) -> None:
    """Measure six systems on this machine: a generated day on disk, then orders one by one.

    Example: tradesys bench --quick --data data
    """
    if data:
        data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tradesys-bench-", dir=data) as folder:
        _day(Path(folder) / "warm-up", 2_000)
        result = _day(Path(folder) / "day", 20_000 if quick else 150_000)
        with Network(data=Path(folder) / "single") as desk:
            taken = 1e3 * np.array(_single_orders(desk, 100 if quick else 1_000))
    for name, part in (("p50", 0.5), ("p99", 0.99)):
        result[f"submit_to_visible_at_all_ms_{name}"] = round(float(np.quantile(taken, part)), 3)
    rows = [(_WORDS[name], f"{value:,}") for name, value in result.items()]
    machine = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "polars": pl.__version__,
    }
    told = result | {"orders_one_by_one": len(taken), "machine": machine}
    tell(json_out, told, lambda: print_table({"measured": False, "value": True}, rows))


_WORDS = {
    "events": "events of the generated day",
    "events_per_second": "its events per second, on disk",
    "orders": "its orders",
    "first_statuses_of_all_ms": "all their statuses, the first time (ms)",
    "disk_bytes_an_order": "bytes on disk per order, in all files",
    "submit_to_visible_at_all_ms_p50": "one order, from submit until all know it, p50 (ms)",
    "submit_to_visible_at_all_ms_p99": "one order, from submit until all know it, p99 (ms)",
}


def _day(folder: Path, events: int) -> dict[str, float]:
    """Replay a day; then open its files again, and ask for all statuses."""
    with progress(f"generating {events:,} events"):
        sample_tape.generate(folder / "tape", events=events)
        tape = tapes.read(folder / "tape")
    with open_network(tape, data=folder / "run") as desk, progress("replaying", events) as advance:
        rate = events / replay_tape(tape, desk, progress=advance).seconds
    size = sum(path.stat().st_size for path in (folder / "run").rglob("*.arrows"))
    with Network.open(folder / "run") as desk:
        start = time.perf_counter()
        orders = len(desk.customers[-1].statuses())
        asked = round(1e3 * (time.perf_counter() - start), 3)
    found = {"events": events, "events_per_second": round(rate), "orders": orders}
    return found | {"first_statuses_of_all_ms": asked, "disk_bytes_an_order": round(size / orders)}


def _single_orders(desk: Network, count: int) -> list[float]:
    """Seconds of each order from ``submit`` until all know its status; a tenth before, unseen."""
    taken, terms = [], {"account": "alice", "symbol": "ALFA", "side": "buy", "price": "1.00"}
    with progress("single orders", count) as advance:
        for number in range(-count // 10, count):
            start = time.perf_counter()
            order = desk.customers[0].submit(**terms, order_qty=1)
            desk.step()
            assert {str(c.status(order).ord_status) for c in desk.customers} == {"new"}
            taken.append(time.perf_counter() - start)
            desk.run()
            advance(number)
    return taken[-count:]
