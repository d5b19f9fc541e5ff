"""How long one order takes from ``submit`` until every customer-facing system knows its status.

``python -m tests.benchmarks.peers.visible``: a network in one process, on disk, with 3, 8 and 16
customer-facing systems; beside it the same bytes written to as many files with the same syncs, and
nothing else. What those are is seen from what ours asks of the operating system. Both take turns.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.figures import OURS, Figures
from tradesys.network import Network
from tradesys.records.opening_books import OpeningBooks

Call = tuple[int, int]
"""A file's descriptor, and how many bytes are written to it; 0 is a sync."""

BOOKS = OpeningBooks(("alice",), ("ALFA",), cash=10**15, shares=10**9)
AHEAD = 1 << 24  # zeros that stand in each plain file before: it does not grow, as ours do not


def one_order(desk: Network) -> float:
    """Seconds until the order is known everywhere; what is left then is carried afterwards."""
    start = time.perf_counter()
    order = desk.customers[0].submit(
        account="alice", symbol="ALFA", side="buy", order_qty=100, price=50_0000
    )
    desk.step()
    known = [customer.status(order).ord_status for customer in desk.customers]
    taken = time.perf_counter() - start
    assert set(known) == {"new"}, f"not known everywhere after a step: {known}"
    desk.run()
    return taken


@contextmanager
def watched(calls: list[Call]) -> Iterator[None]:
    """Note what is written and synced."""
    pwrite, fdatasync = os.pwrite, os.fdatasync

    def write(fd: int, data: Any, at: int) -> int:
        calls.append((fd, len(memoryview(data).cast("B"))))
        return pwrite(fd, data, at)

    def sync(fd: Any) -> None:
        calls.append((fd, 0))
        fdatasync(fd)

    os.pwrite, os.fdatasync = write, sync
    try:
        yield
    finally:
        os.pwrite, os.fdatasync = pwrite, fdatasync


def calls_of(desk: Network) -> list[Call]:
    """What an order asks for: of several, the one that writes least writes no zeros ahead."""
    found = []
    for _ in range(10):
        calls: list[Call] = []
        with watched(calls):
            one_order(desk)
        found.append(calls)
    return min(found, key=lambda calls: sum(size for _, size in calls))


class Plain:
    """The same calls on files of its own."""

    def __init__(self, calls: list[Call], folder: Path) -> None:
        folder.mkdir()
        files = {fd: os.open(folder / str(fd), os.O_RDWR | os.O_CREAT) for fd, _ in calls}
        for fd in files.values():
            os.write(fd, bytes(AHEAD))
            os.fsync(fd)
            os.lseek(fd, 0, os.SEEK_SET)
        self.calls = [(files[fd], os.urandom(size)) for fd, size in calls]

    def one_order(self) -> float:
        """Seconds for the calls of an order."""
        start = time.perf_counter()
        for fd, data in self.calls:
            if data:
                os.write(fd, data)
            else:
                os.fdatasync(fd)
        return time.perf_counter() - start

    def close(self) -> None:
        """Close the files."""
        for fd in {fd for fd, _ in self.calls}:
            os.close(fd)


def measured(customers: int, orders: int, folder: Path, figures: Figures) -> None:
    """One line of the table."""
    ours, plain = [], []
    with Network(customers, 2, firm=BOOKS, data=folder / "run") as desk:
        calls = calls_of(desk)
        beside = Plain(calls, folder / "plain")
        for _ in range(orders // 10):
            ours += [one_order(desk) for _ in range(10)]
            plain += [beside.one_order() for _ in range(10)]
        beside.close()
    what = f"submit to visible at all, {customers} customer-facing"
    figures.add(what, OURS, "ms", [1e3 * taken for taken in ours])
    figures.add(what, "the same writes", "ms", [1e3 * taken for taken in plain])
    quantiles = [np.quantile(np.array(each) * 1e3, (0.5, 0.99)) for each in (ours, plain)]
    syncs = sum(not size for _, size in calls)
    line = f"{customers:<10}{len(calls) - syncs:>8}{sum(size for _, size in calls):>8,}{syncs:>7}"
    line += "".join(f"{p50:>12.2f}{p99:>10.2f}" for p50, p99 in quantiles)
    print(f"{line}{quantiles[0][0] / quantiles[1][0]:>12.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--orders", type=int, default=300)
    parser.add_argument("--folder", type=Path, help="where files are written: on the disk you mean")
    options = parser.parse_args()
    print(f"{'customer-':<33}{'ours, ms':>22}{'plain, ms':>22}")
    names = [f"{'facing':<10}", f"{'writes':>8}", f"{'bytes':>8}", f"{'syncs':>7}"]
    print("".join(names) + 2 * f"{'p50':>12}{'p99':>10}" + f"{'ours/plain':>12}")
    figures = Figures("visible")
    for customers in (3, 8, 16):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            measured(customers, options.orders, Path(folder), figures)
    figures.write()


if __name__ == "__main__":
    main()
