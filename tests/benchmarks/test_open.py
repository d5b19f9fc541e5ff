"""Goal: a big book is opened, verified, to its first answer in about the time its bytes take.

Method: folders written once through the systems' own tables; each is opened by a fresh process that
first reads and hashes the same bytes, and asks one customer-facing system for one order's status.
Medians, side by side.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.benchmarks.figures import FULL, OURS, Figures
from tests.build import BOOKS, NOON
from tradesys.network import Network
from tradesys.records.clock import ManualClock
from tradesys.records.schemas import EXECUTIONS, POSTINGS, REPORTS, REQUESTS, Kind, Origin, make_id

RECORDS = 10_000_000 if FULL else 1_000_000
ONE_BY_ONE = 1_000_000 if FULL else 100_000
RUNS = 5 if FULL else 3
AN_ORDER = "c1-1234"
FIGURES = Figures("open")
OPENING = (len(BOOKS.accounts) + 1) * (len(BOOKS.symbols) + 1)
"""Postings that a new network begins with: each account's cash and shares, and the capital's."""

HOLDERS = {
    "requests": ("c1", "c2", "firm"),
    "executions": ("s1", "c1", "c2", "firm"),
    "postings": ("firm", "c1", "c2", "s1"),
}
PER_ORDER = (
    29  # records in all files: a request at 3, 2 executions at 4, 4 postings at 4, 2 reports
)

PROCESS = """
import json, re, sys, time
from pathlib import Path
from blake3 import blake3
from tradesys import Network

def private():
    (kib,) = re.findall(r"RssAnon:\\s+([0-9]+)", Path("/proc/self/status").read_text())
    return 1024 * int(kib)

folder, order = sys.argv[1:]
start = time.perf_counter()
for path in sorted(Path(folder).rglob("*.arrows")):
    blake3(max_threads=blake3.AUTO).update_mmap(path).digest()
hashed, before = time.perf_counter() - start, private()
start = time.perf_counter()
desk = Network.open(folder)
opened = time.perf_counter() - start
answer = desk["c2"].status(order)
answered, after = time.perf_counter() - start, private()
print(json.dumps({
    "hashed": hashed, "opened": opened, "answered": answered, "private": after - before,
    "status": answer.ord_status, "cum_qty": answer.cum_qty,
    "held": sum(map(len, desk["c2"].tables.values())), "recovered": len(desk.recovered),
}))
desk.close()
"""


def batches(first: int, count: int) -> dict[str, pa.RecordBatch]:
    """So many orders from number ``first`` on, each acknowledged, filled and cleared."""

    def ids(kind: Kind, start: int, rows: int) -> pa.Array:
        code = Origin(kind).code
        return pa.array(np.arange(make_id(code, start), make_id(code, start + rows), dtype="u8"))

    def text(values: list[str], rows: int) -> pa.Array:
        return pa.array(values).take(pa.array(np.arange(rows) % len(values)))

    def repeat(value: object, rows: int, type: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, type), rows)

    def filled(schema: pa.Schema, rows: int, **columns: pa.Array) -> pa.RecordBatch:
        plain: dict[str, Any] = {"ts": NOON, "transact_time": NOON, "ord_type": "limit"}
        plain |= {"time_in_force": "day", "order_qty": 100, "price": 200_000, "venue": "XSIM"}
        plain |= {"request_type": "new", "poss_dup": False, "settle_date": 19_900}
        arrays = [
            columns[f.name] if f.name in columns else repeat(plain.get(f.name), rows, f.type)
            for f in schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    orders = ids(Kind.CUSTOMER, first, count)
    twice = pa.array(np.repeat(np.arange(count), 2))
    terms = {
        "account": text(list(BOOKS.accounts), count),
        "symbol": text(list(BOOKS.symbols), count),
        "side": text(["buy", "sell"], count),
        "cl_ord_id": orders.cast(pa.string()),
    }
    reports = {name: column.take(twice) for name, column in terms.items()} | {
        "order_id": orders.take(twice),
        "request_id": orders.take(twice),
        "exec_type": text(["new", "trade"], 2 * count),
        "last_qty": pa.array(np.tile([0, 100], count)),
        "last_px": pa.array(np.tile([0, 200_000], count)),
    }
    events = ids(Kind.VENUE, 2 * first, 2 * count)
    fills = events.take(pa.array(np.repeat(np.arange(1, 2 * count, 2), 4)))
    opening = OPENING + 4 * first
    return {
        "requests": filled(REQUESTS, count, record_id=orders, order_id=orders, **terms),
        "reports": filled(REPORTS, 2 * count, record_id=events, **reports),
        "executions": filled(
            EXECUTIONS,
            2 * count,
            record_id=ids(Kind.STREET, 2 * first, 2 * count),
            exec_id=events,
            **reports,
        ),
        "postings": filled(
            POSTINGS,
            4 * count,
            record_id=ids(Kind.FIRM, opening, 4 * count),
            exec_id=fills,
            account=text(["alice", "clearing"], 4 * count),
            asset=text(["ALFA", "ALFA", "USD", "USD"], 4 * count),
            amount=pa.array(np.tile([100, -100, -20_000_000, 20_000_000], count)),
        ),
    }


def write(desk: Network, orders: int, at_once: int, step: int = 0) -> None:
    """Write so many orders, in runs of so many records, into the files of every system."""
    for first in range(0, orders, at_once):
        made = batches(first, min(at_once, orders - first))
        for dataset, batch in made.items():
            for row in range(0, batch.num_rows, step or batch.num_rows):
                part = batch.slice(row, step or batch.num_rows)
                if dataset == "reports":
                    desk.venue.report(part)
                for name in HOLDERS.get(dataset, ()):
                    desk.systems[name].tables[dataset].apply(part, NOON)


def measured(folder: Path, what: str) -> dict[str, float]:
    """What a fresh process measures; medians. It opens a copy, since closing makes it another."""
    found = []
    for _ in range(RUNS):
        copy = Path(shutil.copytree(folder, folder.with_name("copy")))
        done = subprocess.run(
            [sys.executable, "-c", PROCESS, str(copy), AN_ORDER],
            check=True,
            capture_output=True,
            text=True,
        )
        shutil.rmtree(copy)
        found.append(json.loads(done.stdout))
        assert (found[-1].pop("status"), found[-1]["cum_qty"]) == ("filled", 100)
        assert not found[-1]["recovered"]
    FIGURES.add(what, OURS, "s", [f["answered"] for f in found])
    FIGURES.add(what, "reading and hashing", "s", [f["hashed"] for f in found])
    FIGURES.write()
    return {name: statistics.median(f[name] for f in found) for name in found[0]}


def tell(what: str, folder: Path, got: dict[str, float]) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("*.arrows"))
    sys.stdout.write(
        f"\n{what}: {size / 1e9:.2f} GB, {got['held']:,.0f} records at c2; read and hashed in "
        f"{got['hashed']:.2f} s, opened in {got['opened']:.2f} s, first answer after "
        f"{got['answered']:.2f} s, {got['private'] / 1e6:,.0f} MB of private memory more\n"
    )


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """A folder whose records came one by one: closed in order, and as a kill leaves it."""
    folder = tmp_path_factory.mktemp("one-by-one") / "closed"
    killed = folder.with_name("killed")
    with pytest.MonkeyPatch.context() as hasty:
        hasty.setattr(os, "fdatasync", lambda _: None)
        with Network(2, 1, firm=BOOKS, data=folder, clock=ManualClock(NOON)) as desk:
            write(desk, ONE_BY_ONE // PER_ORDER, at_once=10_000, step=1)
            shutil.copytree(folder, killed)
    yield folder, killed
    shutil.rmtree(folder.parent)


def test_a_big_book_is_opened_in_about_the_time_that_its_bytes_take(tmp_path: Path) -> None:
    folder = tmp_path / "big"
    with Network(2, 1, firm=BOOKS, data=folder, clock=ManualClock(NOON)) as desk:
        write(desk, RECORDS // PER_ORDER, at_once=50_000)
    got = measured(folder, what := f"{RECORDS:,} records")
    tell(what, folder, got)
    shutil.rmtree(folder)
    assert got["answered"] <= 2 * got["hashed"] + 1
    assert got["private"] < 100e6


@pytest.mark.parametrize(("kind", "seconds"), [(0, 3), (1, 10)], ids=["closed", "killed"])
def test_records_that_came_one_by_one_are_opened_within_seconds(
    one_by_one: tuple[Path, Path], kind: int, seconds: int
) -> None:
    folder = one_by_one[kind]
    got = measured(folder, what := f"{ONE_BY_ONE:,} one by one, {folder.name}")
    tell(what, folder, got)
    assert got["answered"] < seconds
