"""A cluster on this machine beside what it stands on, and beside a network in one process.

``python -m tests.benchmarks.cluster``. *Whole job*: a made-up day's requests in tables of 1,000;
the peer is a network in one process on disk whose systems share nothing: each message is turned
into bytes and back. The CPU is that of all processes, the servers and who enters among them. *One
order*: asked for at one system, and held by the other customer-facing systems and the firm; the
peer is a request of the same bytes, or one message, over the same servers, to a process that writes
it and calls ``fdatasync``. Also told: requests sent again, and leases that changed hands while all
were up and so many processes (``--busy``) did nothing but compute.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import psutil

from tests.benchmarks.figures import OURS, Figures
from tests.clusters import free_ports
from tradesys.cluster import layout as layouts
from tradesys.cluster.broker import Access, connected
from tradesys.cluster.connection import RemoteNetwork, connect
from tradesys.cluster.layout import TRADER, Layout
from tradesys.cluster.message_encoding import decoded, encoded, pack, unpack
from tradesys.cluster.processes import Cluster
from tradesys.network import Network
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import SCHEMAS
from tradesys.replication.runtime import Message
from tradesys.systems.customer import CustomerSystem
from tradesys.venue import tapes
from tradesys.venue.tapes import sample_tape

ROUNDS, ORDERS, EVENTS = 3, 300, 20_000
CUSTOMERS, STREETS, SERVERS = 3, 2, 3
ONE = bytes(700)  # about as long as an order's question, and its records


class Apart(Network):
    """A network in one process whose systems share nothing."""

    def _carry(self, messages: Iterable[Message]) -> None:
        super()._carry(decoded(m.source, m.target, encoded(m.body)) for m in messages)


def enter(customers: list[CustomerSystem], requests: pl.DataFrame) -> None:
    number = tapes.entry_system(pl.col("account"), len(customers))
    for start in range(0, len(requests), 1000):
        part = requests.slice(start, 1000)
        for place, customer in enumerate(customers):
            customer.submit_many(part.filter(number == place))


def job_in_one_process(day: tapes.Tape, books: OpeningBooks) -> tuple[float, float]:
    """Seconds and CPU seconds."""
    with (
        tempfile.TemporaryDirectory() as made,
        Apart(CUSTOMERS, STREETS, firm=books, data=Path(made) / "run") as desk,
    ):
        start, cpu = time.perf_counter(), time.process_time()
        enter(desk.customers, day.requests.drop("ts", "event"))
        desk.run()
        return time.perf_counter() - start, time.process_time() - cpu


def job_in_a_cluster(day: tapes.Tape, cluster: Cluster) -> tuple[float, float, int]:
    """Seconds, CPU seconds, and requests that were sent again."""
    desk = connect(cluster.layout.access(TRADER), cluster.layout.manifest, TRADER)
    everybody = [psutil.Process(p.pid) for p in cluster.processes.values()]

    def spent() -> float:
        return time.process_time() + sum(sum(p.cpu_times()[:2]) for p in everybody)

    desk.run()
    start, cpu = time.perf_counter(), spent()
    enter(desk.customers, day.requests.drop("ts", "event"))
    while not all(is_idle(desk, name) for name in desk.systems):
        time.sleep(0.02)
    taken = time.perf_counter() - start, spent() - cpu
    desk.run()
    resent = sum(facts.get("resent", 0) for facts in desk.facts.values())
    desk.close()
    return *taken, resent


def is_idle(desk: RemoteNetwork, name: str) -> bool:
    """Whether a system has nothing to do; it is asked for no record."""
    origins = desk.manifest.origins
    held = [(dataset, o.code, 1 << 48) for dataset in SCHEMAS for o in origins]
    told, _ = unpack(desk._broker.ask(f"ask.{name}.records", pack({"held": held}, [])))
    return bool(told["idle"])


def one_by_one(layout: Layout) -> tuple[list[float], list[float]]:
    """Milliseconds until an order is acknowledged, and from then on until all others hold it."""
    desk = connect(layout.access(TRADER), layout.manifest, TRADER)
    told, at = [], []
    for _ in range(ORDERS):
        start = time.perf_counter()
        order = desk["c1"].submit(
            account="A001", symbol="GNRT", side="buy", order_qty=100, price=50_0000
        )
        told.append((time.perf_counter() - start) * 1e3)
        at.append((order.order_id, time.time_ns()))
    desk.run()
    frame = pl.DataFrame(at, schema={"order_id": pl.UInt64, "at": pl.Int64}, orient="row")
    for name in ("c2", "c3", "firm"):
        held = desk[name].tables["requests"].frame
        held = held.select("order_id", pl.col("received_at").to_physical().alias(name))
        frame = frame.join(held, on="order_id")
    last = pl.max_horizontal("c2", "c3", "firm") - pl.col("at")
    desk.close()
    return told, (frame.select(last / 1e6).to_series()).to_list()


# ---- the least that it could take


async def _write(access: Access, name: str, subject: str, folder: Path) -> None:
    """Write what comes, and answer with the time at which it is on disk."""
    broker = await connected(access, name)
    file = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT)
    heard = await broker.subscribe(subject)
    await broker.flush()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    async for message in heard.messages:
        os.write(file, message.data)
        os.fdatasync(file)
        if message.reply:
            await message.respond(str(time.time_ns()).encode())
        else:
            sys.stdout.write(f"{time.time_ns()}\n")
            sys.stdout.flush()


async def _raw(layout: Layout) -> tuple[list[float], list[float]]:
    """Milliseconds of a request that is written, and of a message that is."""
    asked, came = [], []
    with writer(layout, "c1", "ask.c1.submit"), writer(layout, "c2", "to.c2.c1") as second:
        trader = await connected(layout.access(TRADER), TRADER)
        first = await connected(layout.access("c1"), "c1")
        for _ in range(ORDERS):
            start = time.perf_counter()
            await trader.request("ask.c1.submit", ONE, timeout=10)
            asked.append((time.perf_counter() - start) * 1e3)
            sent = time.time_ns()
            await first.publish("to.c2.c1", ONE)
            await first.flush()
            assert second.stdout
            came.append((int(await asyncio.to_thread(second.stdout.readline)) - sent) / 1e6)
        await trader.close()
        await first.close()
    return asked, came


@contextlib.contextmanager
def writer(layout: Layout, name: str, subject: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.benchmarks.cluster", "--write", name, subject]
    process = subprocess.Popen([*command, "--config", str(layout.folder)], stdout=subprocess.PIPE)
    assert process.stdout
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def p50(values: list[float]) -> float:
    return statistics.median(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", nargs=2)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--busy", type=int, default=0)
    asked = parser.parse_args()
    if asked.write:
        layout, (name, subject) = layouts.read(asked.config), asked.write
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_write(layout.access(name), name, subject, layout.folder))
        return
    measure(asked.busy)


def measure(busy: int) -> None:
    figures = Figures("cluster")
    spin = [sys.executable, "-c", "while True: pass"]
    with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
        for _ in range(busy):
            process = stack.enter_context(subprocess.Popen(spin))
            stack.callback(process.kill)
        tape = sample_tape.generate(Path(made) / "day", events=EVENTS, symbols=("GNRT", "OTHR"))
        day = tapes.read(tape[0].parent)
        accounts = day.requests["account"].unique().sort().to_list()
        books = OpeningBooks(accounts, day.symbols, cash=10**14, shares=10**9)
        for number in range(ROUNDS):
            folder = Path(made) / f"cluster{number}"
            layouts.init(folder, CUSTOMERS, STREETS, SERVERS, books=books, port=free_ports())
            with Cluster(folder) as cluster:
                seconds, cpu, resent = job_in_a_cluster(day, cluster)
                told, visible = one_by_one(cluster.layout)
                logs = "".join(p.read_text() for p in cluster.logs.glob("s*.log"))
                for name in list(cluster.processes):
                    if name not in cluster.servers:
                        cluster.processes[name].terminate()
                        cluster.processes[name].wait()
                raw_told, raw_visible = asyncio.run(_raw(cluster.layout))
            beside, cpu_beside = job_in_one_process(day, books)
            count = len(day.requests)
            figures.add("whole job, CPU of all processes", OURS, "s", [cpu])
            figures.add(
                "whole job, CPU of all processes", "apart in one process", "s", [cpu_beside]
            )
            figures.add("whole job", OURS, "requests/s", [count / seconds])
            figures.add("whole job", "apart in one process", "requests/s", [count / beside])
            figures.add("one order acknowledged", OURS, "ms", [p50(told)])
            figures.add("one order acknowledged", "the same bytes", "ms", [p50(raw_told)])
            figures.add("then held by all others", OURS, "ms", [p50(visible)])
            figures.add("then held by all others", "one message", "ms", [p50(raw_visible)])
            figures.add("requests sent again", OURS, "of the day", [resent])
            figures.add("leases taken", OURS, "of 2", [logs.count('"lease taken"')])
    figures.tell()


if __name__ == "__main__":
    main()
