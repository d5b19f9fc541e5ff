"""What this machine can do at all, to judge other figures by.

``python -m tests.benchmarks.limits``: a write and its ``fdatasync`` into a file that does not grow,
BLAKE3 on one core, a copy in memory, and a call of a function of Python that does nothing.
"""

import os
import tempfile
import time
import timeit
from collections.abc import Callable

import numpy as np
from blake3 import blake3

from tests.benchmarks.figures import FULL, Figures

TIMES, BYTES, AHEAD = 300, 200_000_000, 1 << 26
ROUNDS = 10 if FULL else 5
WHO = "the machine"


def synced(size: int) -> list[float]:
    """Milliseconds of each write and sync of so many bytes."""
    data, taken = os.urandom(size), []
    with tempfile.TemporaryFile() as file:
        file.write(bytes(AHEAD))
        file.flush()
        os.fsync(file.fileno())
        for number in range(TIMES):
            start = time.perf_counter()
            os.pwrite(file.fileno(), data, number * size % (AHEAD - size))
            os.fdatasync(file.fileno())
            taken.append(1e3 * (time.perf_counter() - start))
    return taken


def rates(act: Callable[[], object]) -> list[float]:
    """Gigabytes a second, where an act is about all the bytes."""
    act()
    return [BYTES / timeit.timeit(act, number=1) / 1e9 for _ in range(ROUNDS)]


def main() -> None:
    """Measure and print."""
    figures = Figures("limits")
    for size, text in ((1_000, "1 kB"), (200_000, "200 kB")):
        figures.add(f"write and fdatasync of {text}", WHO, "ms", synced(size))
    source = np.random.default_rng(1).bytes(BYTES)
    held, target = np.frombuffer(source, np.uint8), np.empty(BYTES, np.uint8)
    figures.add("BLAKE3, one core", WHO, "GB/s", rates(lambda: blake3(source).digest()))
    figures.add("copy in memory", WHO, "GB/s", rates(lambda: np.copyto(target, held)))
    calls = timeit.repeat("f(1)", "def f(x): return x", repeat=ROUNDS, number=1_000_000)
    figures.add("a call of a Python function", WHO, "ns", [1e3 * taken for taken in calls])
    figures.tell()


if __name__ == "__main__":
    main()
