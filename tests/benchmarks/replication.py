"""From an order's acknowledgement until it is visible at all others, beside two that replicate.

``python -m tests.benchmarks.replication``, with 2, 4 and 8 systems that customers can ask. Each is
durable where it is written before it is acknowledged. *Ours*: a network in one process, on disk; it
is visible once each other customer-facing system has told its status. *PostgreSQL*: logical
replication from one database to others of the same server, each asked until it has the row.
*Redis*: a stream at a primary (``appendfsync always``) and replicas, which are processes of their
own and keep it in memory; WAIT for all of them, then each is asked. A peer copies one row and does
nothing else; ours also sends the order to the market, records its report and copies that.
"""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path

import psycopg

from tests.benchmarks.figures import FULL, OURS, Figures
from tests.benchmarks.peers.visible import BOOKS
from tests.benchmarks.server import pg_ctl, postgres_server
from tests.benchmarks.test_log import INSERT, TABLE, one_row
from tradesys.network import Network

SYSTEMS = (2, 4, 8)
ORDERS = 1_000 if FULL else 300
WARM_UP = 30
MANY = ("max_replication_slots=20", "max_wal_senders=20", "max_worker_processes=30")
SETTINGS = ("wal_level=logical", "max_logical_replication_workers=20", *MANY)
PAYLOAD = "x" * 200  # about as long as an order

Once = Callable[[], float]
"""Sends one, and gives the seconds from its acknowledgement until all have it."""


def ours(systems: int, folder: Path, stack: ExitStack) -> Once:
    """A network with so many customer-facing systems."""
    desk = stack.enter_context(Network(systems, 2, firm=BOOKS, data=folder / f"run-{systems}"))
    first, *others = desk.customers

    def once() -> float:
        order = first.submit(
            account="alice", symbol="ALFA", side="buy", order_qty=100, price=50_0000
        )
        start = time.perf_counter()
        desk.step()
        assert {other.status(order).ord_status for other in others} == {"new"}
        taken = time.perf_counter() - start
        desk.run()
        return taken

    return once


def postgres(systems: int, folder: Path, stack: ExitStack) -> Once:
    """A publisher, and a subscriber less than there are systems."""
    program = pg_ctl()
    assert program
    server = stack.enter_context(postgres_server(program, SETTINGS)).connection
    source = server.replace("dbname=postgres", "dbname=source")
    with psycopg.connect(server, autocommit=True) as admin:
        for name in ("source", *(f"copy{number}" for number in range(1, systems))):
            admin.execute(f"create database {name}".encode())

    def connected(name: str) -> psycopg.Connection:
        to = server.replace("dbname=postgres", f"dbname={name}")
        made = stack.enter_context(psycopg.connect(to, autocommit=True))
        made.execute(TABLE.encode())
        return made

    writer = connected("source")
    writer.execute("create publication orders for table requests")
    readers = [connected(f"copy{number}") for number in range(1, systems)]
    for number, reader in enumerate(readers):
        writer.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [f"s{number}"])
        reader.execute(
            f"create subscription s{number} connection '{source}' publication orders "
            f"with (create_slot = false, slot_name = 's{number}', copy_data = false)".encode()
        )
    (_, *terms), ids = one_row(), count(1)
    insert = INSERT.replace("?", "%s").encode()

    def once() -> float:
        record_id = next(ids)
        writer.execute(insert, (record_id, *terms), prepare=True)
        start = time.perf_counter()
        query = b"select 1 from requests where record_id = %s"
        for reader in readers:
            while not reader.execute(query, [record_id], prepare=True).fetchone():
                pass
        return time.perf_counter() - start

    return once


@contextmanager
def redis_server(*options: str) -> Iterator[None]:
    """A server that is gone afterwards."""
    command = ["redis-server", "--save", "", "--repl-diskless-sync-delay", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def asked(path: Path, stack: ExitStack) -> Callable[[str], str]:
    """Sends a command to the Redis behind a socket, and gives its answer, of one line or two."""
    client = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
    while client.connect_ex(str(path)):
        time.sleep(0.01)
    answers = client.makefile("r", encoding="utf-8", newline="\r\n")

    def ask(command: str) -> str:
        client.sendall(f"{command}\r\n".encode())
        line = answers.readline().rstrip()
        return answers.readline().rstrip() if line.startswith("$") else line

    return ask


def redis(systems: int, folder: Path, stack: ExitStack) -> Once:
    """A primary, and a replica less than there are systems."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    asks = []
    for number in range(systems):
        place = folder / f"redis-{systems}-{number}"
        place.mkdir()
        options = ["--dir", str(place), "--unixsocket", str(place / "socket")]
        if number:
            options += ["--port", "0", "--replicaof", "127.0.0.1", port]
        else:
            options += ["--port", port, "--bind", "127.0.0.1"]
            options += ["--appendonly", "yes", "--appendfsync", "always"]
        stack.enter_context(redis_server(*options))
        asks.append(asked(place / "socket", stack))
    (writer, *readers), lengths = asks, count(1)
    while writer(f"WAIT {systems - 1} 100") != f":{systems - 1}":
        pass

    def once() -> float:
        assert "-" in writer(f"XADD orders * order {PAYLOAD}")
        start, length = time.perf_counter(), f":{next(lengths)}"
        assert writer(f"WAIT {systems - 1} 1000") == f":{systems - 1}"
        assert [reader("XLEN orders") for reader in readers] == [length] * (systems - 1)
        return time.perf_counter() - start

    return once


def main() -> None:
    """Measure and print."""
    peers = {OURS: ours}
    if pg_ctl():
        peers["PostgreSQL"] = postgres
    else:
        print("left out: PostgreSQL is not installed (apt-get install postgresql)")
    if shutil.which("redis-server"):
        peers["Redis"] = redis
    else:
        print("left out: redis-server is not installed (apt-get install redis-server)")
    figures = Figures("replication")
    for systems in SYSTEMS:
        taken: dict[str, list[float]] = {who: [] for who in peers}
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            acts = {who: make(systems, Path(folder), stack) for who, make in peers.items()}
            for turn in range((WARM_UP + ORDERS) // 10):
                for who, once in acts.items():
                    each = [once() for _ in range(10)]
                    taken[who] += each if turn >= WARM_UP // 10 else []
        for who, each in taken.items():
            what = f"acknowledged to visible at all, {systems} customer-facing"
            figures.add(what, who, "ms", [1e3 * seconds for seconds in each])
    figures.tell()


if __name__ == "__main__":
    main()
