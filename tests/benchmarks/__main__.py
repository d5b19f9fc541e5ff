"""All benchmarks, one after another: ``make bench``, or ``make bench FULL=1`` for the large sizes.

Each part prints what it measured and keeps every run of it in ``build/bench``, as Parquet. In the
end one table of all of them is printed, and written to ``build/bench/summary.md``. A part whose
program is not installed is left out, which the summary says; so it does of goals that tests have
and that were not reached, and of parts that failed, for which the exit status is 1.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from tests.benchmarks import figures
from tests.benchmarks.figures import FOLDER, FULL
from tests.benchmarks.server import pg_ctl
from tests.benchmarks.whole_job import EVENTS, machine
from tradesys.venue.tapes import sample_tape

ROUNDS = "5" if FULL else "3"
FEWER = EVENTS if FULL else 12_000
"""So many events has the day of PostgreSQL and ``eventsourcing``, and of ours beside them."""

SINGLE = "2000" if FULL else "200"
MODULES = ("peers.visible", "names", "scale", "long_run", "replication", "limits", "cluster")
TESTS = ("test_log", "test_open", "test_status", *["test_whole_job", "test_latency"] * FULL)


def parts() -> dict[str, list[str]]:
    """What each part is called, and with what it is run."""
    server = ["postgres"] if pg_ctl() else []
    tape, less = (
        sample_tape.generate(FOLDER / f"{events}", events=events, symbols=("GNRT",))[0]
        for events in (EVENTS, FEWER)
    )
    one_by_one = ["ours", "floor", "sqlite", *server * FULL]
    found = {
        "whole_day": job(tape, ["ours", "floor", "sqlite"]),
        "small_day": job(less, ["ours", *server, "events"]),
        "one_at_a_time": job(less, one_by_one, "--one-at-a-time", SINGLE),
    }
    if real := os.environ.get("TRADESYS_REAL_DATA"):
        goog = Path(real) / "lobster" / "GOOG_message_10.parquet"
        found["real_day"] = job(goog, ["ours", "floor", "sqlite"])
    for module in MODULES:
        found[module.rpartition(".")[2]] = ["-m", f"tests.benchmarks.{module}"]
    found["visible"] += ["--orders", "1000" if FULL else "100"]
    for name in TESTS:
        found[name] = ["-m", "pytest", f"tests/benchmarks/{name}.py", "-n", "0", "--quiet"]
        found[name] += ["-p", "no:randomly", "--capture=no", "--durations=1", "--tb=line"]
    return found


def job(tape: Path, peers: list[str], *options: str) -> list[str]:
    """The whole job of a tape; its figures are called as its part is."""
    command = ["-m", "tests.benchmarks.whole_job", str(tape), "--rounds", ROUNDS]
    return [*command, "--peers", ",".join(peers), *options, "--figures", "{}"]


def main() -> None:
    """Run them, and tell what they came to."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    start, notes, status = time.perf_counter(), [], 0
    loads = [os.getloadavg()[0]]
    if not pg_ctl():
        notes.append("PostgreSQL is not installed: what is beside it is left out.")
    if not shutil.which("redis-server"):
        notes.append("redis-server is not installed: what is beside it is left out.")
    for name, command in parts().items():
        print(f"\n== {name}, after {time.perf_counter() - start:.0f} s ==", flush=True)
        given = [part.format(name) if part == "{}" else part for part in command]
        if subprocess.run([sys.executable, *given], check=False).returncode:
            is_test = "pytest" in command
            notes.append(
                f"{name}: " + ("a goal was not reached, see above." if is_test else "it failed.")
            )
            status = status if is_test else 1
        loads.append(os.getloadavg()[0])
    found, size = machine(), "large" if FULL else "quick"
    versions = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    text = f"""# What was measured

{found["date"]}, {found["cpu"]}, {found["cores"]} cores, load {loads[0]:.1f} before
and up to {max(loads):.1f} meanwhile; {size} sizes, in {time.perf_counter() - start:.0f} s.
{versions}{redis_version()}.

{"".join(f"- {note}{chr(10)}" for note in notes)}"""
    text += f"\n{figures.HEAD}{figures.lines(of_all_parts())}"
    (FOLDER / "summary.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")
    sys.exit(status)


def of_all_parts() -> pl.DataFrame:
    """Every run of every part, as they were measured; what is measured says of which part it is."""
    files = sorted(FOLDER.glob("*.parquet"), key=lambda path: path.stat().st_mtime)
    what = pl.concat_str("part", pl.lit(": "), "what")
    return pl.concat([pl.read_parquet(path) for path in files]).with_columns(what=what)


def redis_version() -> str:
    """As ``redis-server`` says it."""
    program = shutil.which("redis-server")
    if not program:
        return ""
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    return f", Redis {said.stdout.split('v=')[1].split()[0]}"


if __name__ == "__main__":
    main()
