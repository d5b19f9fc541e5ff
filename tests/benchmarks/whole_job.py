"""How fast, against what: a recorded day's whole job done by this project and by others.

``python -m tests.benchmarks.whole_job --help`` says what can be asked for. Every run is a process
of its own, the peers take turns, and what comes of each run is compared with what came of ours.
What is measured begins with the first step and ends with the answers of the three customer-facing
systems; a small run in the same process goes before it, for what is loaded and compiled once.
"""

import argparse
import datetime as dt
import gc
import json
import os
import platform
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from tests.benchmarks.figures import Figures
from tests.benchmarks.peers import job
from tests.benchmarks.peers.job import Answers, Peer
from tests.benchmarks.server import SETTINGS, Server, pg_ctl, postgres_server
from tradesys.venue import tapes
from tradesys.venue.tapes import Tape, sample_tape

EVENTS = 147_916
"""So many events has the generated day: as many as the real one that is measured by default."""

PACKAGES = ("polars", "pyarrow", "numpy", "numba", "psycopg", "eventsourcing")
WARM_UP = 60


def ours(options: argparse.Namespace) -> Peer:
    from tests.benchmarks.peers.ours import Ours

    return Ours(singly=options.one_at_a_time > 0)


def floor(options: argparse.Namespace) -> Peer:
    from tests.benchmarks.peers.floor import Floor
    from tests.benchmarks.peers.single_floor import SingleFloor

    return SingleFloor() if options.one_at_a_time else Floor()


def sqlite(options: argparse.Namespace) -> Peer:
    from tests.benchmarks.peers.sqlite import SQLite

    return SQLite()


def postgres(options: argparse.Namespace) -> Peer:
    from tests.benchmarks.peers.postgres import Postgres

    connection, data = options.server
    return Postgres(Server(connection, Path(data)))


def events(options: argparse.Namespace) -> Peer:
    from tests.benchmarks.peers.events import Events

    return Events()


PEERS: dict[str, Callable[[argparse.Namespace], Peer]] = {
    "ours": ours,
    "floor": floor,
    "sqlite": sqlite,
    "postgres": postgres,
    "events": events,
}
"""How each is called on the command line. All others are compared with the first."""


class Run(NamedTuple):
    """What one run came to: seconds on the clock and of processors, a server's among these."""

    wall: float
    cpu: float
    counts: job.Counts


def main() -> None:
    """Measure, or be one run of what is measured."""
    options = _options()
    if options.only:
        _be_one_run(options)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # the server is stopped, too
    with ExitStack() as stack:
        if options.folder:
            tempfile.tempdir = str(options.folder)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whole-job-")))
        if not options.tape:
            options.tape = sample_tape.generate(folder / "a generated day", events=EVENTS)[0].parent
        if "postgres" in options.peers:
            program = pg_ctl()
            if program is None:
                sys.exit("There is no PostgreSQL server here; name other --peers")
            options.server = stack.enter_context(postgres_server(program, SETTINGS))
        peers = _medians(_measured(options, folder))
        told = {"machine": machine(), "tape": _said(options), "peers": peers}
    _print(told)
    if options.figures:
        figures = Figures(options.figures)
        for name, peer in peers.items():
            for what, text in (("wall", "time"), ("cpu", "CPU time")):
                about = f"{text} of {told['tape']['events']:,} events"
                figures.add(about, name, "s", peer[f"all_{what}"])
        figures.write()
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n")


def _options() -> argparse.Namespace:
    real = os.environ.get("TRADESYS_REAL_DATA")
    default = Path(real) / "lobster" / "GOOG_message_10.parquet" if real else None
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("tape", nargs="?", type=Path, default=default, help="a file or folder")
    parser.add_argument("--batch", type=int, default=2000, help="events in a step")
    parser.add_argument("--events", type=int, help="only so many of the day's first events")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=lambda text: text.split(","), default=[*PEERS])
    parser.add_argument(
        "--one-at-a-time",
        type=int,
        default=0,
        metavar="N",
        help="only the first N requests and fills, each of them a step",
    )
    parser.add_argument("--folder", type=Path, help="where files are written: on the disk you mean")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--figures", metavar="NAME", help="keep each run, as NAME.parquet")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--server", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"no such peers: {', '.join(sorted(unknown))}")
    options.peers = ["ours", *(name for name in options.peers if name != "ours")]
    return options


def _part(options: argparse.Namespace) -> Tape:
    tape = tapes.read(options.tape)
    if options.one_at_a_time:
        return job.one_at_a_time(tape, options.one_at_a_time)
    return job.first_events(tape, options.events or tape.events)


# One run.


def _be_one_run(options: argparse.Namespace) -> None:
    tape, make = _part(options), PEERS[options.only]
    batch = 1 if options.one_at_a_time else options.batch
    steps = job.steps(tape, batch)
    _run(
        make(options),
        options.out / "warm-up",
        first := job.one_at_a_time(tape, WARM_UP),
        job.steps(first, batch),
    )
    run, answers = _run(make(options), options.out / "run", tape, steps)
    for system, answer in zip(job.CUSTOMERS, answers, strict=True):
        for name, frame in zip(Answers._fields, job.normal(answer), strict=True):
            frame.write_ipc(options.out / f"{system}-{name}")
    print(json.dumps(run._asdict()))


def _run(peer: Peer, folder: Path, tape: Tape, steps: list[job.Step]) -> tuple[Run, list[Answers]]:
    folder.mkdir(parents=True)
    peer.open(folder, tape)
    os.sync()  # what was written before is nobody's
    gc.collect()
    server, cpu, wall = peer.server_seconds(), time.process_time(), time.perf_counter()
    for step in steps:
        peer.step(step)
    answers = peer.answers()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    cpu += peer.server_seconds() - server
    counts = peer.counts()
    peer.close()
    return Run(wall, cpu, counts), answers


# All runs.


def _measured(options: argparse.Namespace, folder: Path) -> dict[str, list[Run]]:
    """Every run; where one comes to something else than ours, the program ends."""
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    expected: tuple[list[Answers], job.Counts] | None = None
    for turn in range(options.rounds):
        peers = options.peers if turn % 2 == 0 or not expected else options.peers[::-1]
        for name in peers:
            with tempfile.TemporaryDirectory(dir=folder) as out:
                run = _fresh(options, name, Path(out))
                found = [_answers(Path(out), customer) for customer in job.CUSTOMERS]
            expected = expected or (found, run.counts)
            if problem := job.difference(expected[0], found):
                sys.exit(f"ours and {name} differ: {problem}")
            if run.counts != expected[1]:
                sys.exit(f"ours holds {expected[1]}, {name} holds {run.counts}")
            runs[name].append(run)
    return runs


def _answers(out: Path, customer: str) -> Answers:
    frames = [pl.read_ipc((out / f"{customer}-{n}").read_bytes()) for n in Answers._fields]
    return Answers(*frames)


def _fresh(options: argparse.Namespace, name: str, out: Path) -> Run:
    command = [sys.executable, "-m", "tests.benchmarks.whole_job", str(options.tape)]
    command += ["--batch", str(options.batch), "--one-at-a-time", str(options.one_at_a_time)]
    command += ["--only", name, "--out", str(out)]
    if options.events:
        command += ["--events", str(options.events)]
    if options.server:
        command += ["--server", *map(str, options.server)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Run(**json.loads(done.stdout))


# What is told.


def _medians(runs: dict[str, list[Run]]) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {}
    for name, each in runs.items():
        wall, cpu = ([getattr(run, what) for run in each] for what in ("wall", "cpu"))
        told[name] = {
            "wall": statistics.median(wall),
            "cpu": statistics.median(cpu),
            "all_wall": wall,
            "all_cpu": cpu,
        }
        for what in ("wall", "cpu"):
            told[name][f"{what}_of_ours"] = told[name][what] / told["ours"][what]
    return told


def _said(options: argparse.Namespace) -> dict[str, Any]:
    tape = _part(options)
    return {
        "name": options.tape.name,
        "events": tape.events,
        "requests": len(tape.requests),
        "fills": len(tape.fills),
        "symbols": len(tape.symbols),
        "step": 1 if options.one_at_a_time else options.batch,
        "rounds": options.rounds,
    }


def machine() -> dict[str, Any]:
    """What it is measured on, and with what."""
    info = Path("/proc/cpuinfo")
    names = [
        x.split(":")[1]
        for x in (info.read_text() if info.exists() else "").splitlines()
        if "model name" in x
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = {name: version(name) for name in PACKAGES}
    packages |= {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    program = pg_ctl()
    if program:
        said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
        packages["PostgreSQL"] = said.stdout.split()[2]
    return {
        "cpu": names[0].strip() if names else platform.processor(),
        "cores": cores,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "packages": packages,
    }


def _print(told: dict[str, Any]) -> None:
    machine, tape = told["machine"], told["tape"]
    print(f"{machine['date']}, {machine['cpu']}, cores used: {machine['cores']}")
    packages = [f"{name} {number}" for name, number in machine["packages"].items()]
    print(", ".join(packages[:6]) + ",\n" + ", ".join(packages[6:]))
    print(
        f"{tape['name']}: {tape['events']:,} events, {tape['requests']:,} requests, "
        f"{tape['fills']:,} fills; {tape['step']:,} a step; medians of {tape['rounds']}"
    )
    print(f"\n{'':<10}{'seconds':>9}{'(lowest to highest)':>21}{'of ours':>9}", end="")
    print(f"{'CPU seconds':>13}{'(lowest to highest)':>21}{'of ours':>9}")
    for name, peer in told["peers"].items():
        line = f"{name:<10}"
        for what, width in (("wall", 9), ("cpu", 13)):
            each = peer[f"all_{what}"]
            span = f"({min(each):.2f} to {max(each):.2f})"
            line += f"{peer[what]:>{width}.2f}{span:>21}{peer[f'{what}_of_ours']:>9.2f}"
        print(line)
    print("\nAll answers, and the number of records of each dataset at each system, equal ours.")


if __name__ == "__main__":
    main()
