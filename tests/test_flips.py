"""Goal: whatever happens to the bytes of a file, what is read back is a prefix, or is named.

Method: files of one-row and of hundred-row batches; every truncation, and bits flipped at random
places, each reopened. ``TRADESYS_FLIPS`` says how many flips
for each file; below 5,000, only some of the truncations are tried.
"""

import os
import random
from pathlib import Path

import pyarrow as pa
import pytest

from tests.build import history, run_of
from tradesys.log.file import LogFile
from tradesys.records.arrow import stamped
from tradesys.records.schemas import REQUESTS

FLIPS = int(os.environ.get("TRADESYS_FLIPS", "300"))


def written(path: Path, rows: int) -> tuple[bytes, list[pa.RecordBatch]]:
    """The bytes of a closed file of batches of so many rows, and the batches."""
    batches = [run_of("requests", "c1", rows, rows * n) for n in range(6 if rows == 1 else 3)]
    file = LogFile(path, REQUESTS)
    for n, batch in enumerate(batches):
        file.append(stamped(batch, n))
    file.close()
    return path.read_bytes(), batches


def held_after(folder: Path, data: bytes) -> tuple[list[pa.RecordBatch], bool]:
    """What a file of these bytes is read back as, and whether anything was found wrong."""
    path = folder / "requests.arrows"
    for left in folder.iterdir():
        left.unlink()
    path.write_bytes(data)
    file = LogFile(path, REQUESTS)
    file.settle()
    known = file.damage is not None
    file.close()
    return [batch for _, batch in history(path)], known


def assert_prefix(held: list[pa.RecordBatch], batches: list[pa.RecordBatch]) -> None:
    assert len(held) <= len(batches)
    assert all(one.equals(other) for one, other in zip(held, batches, strict=False))


@pytest.mark.parametrize("rows", [1, 100])
def test_a_flipped_bit_leaves_a_prefix_and_is_named(tmp_path: Path, rows: int) -> None:
    data, batches = written(tmp_path / "requests.arrows", rows)
    chance = random.Random(rows)
    for _ in range(FLIPS):
        bit = chance.randrange(8 * len(data))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        held, known = held_after(tmp_path, bytes(flipped))
        assert_prefix(held, batches)
        assert known, f"bit {bit} was flipped unseen"


@pytest.mark.parametrize("rows", [1, 100])
def test_a_file_cut_anywhere_is_a_prefix(tmp_path: Path, rows: int) -> None:
    data, batches = written(tmp_path / "requests.arrows", rows)
    step = 1 if FLIPS >= 5000 else 61
    for cut in range(0, len(data), step):
        held, _ = held_after(tmp_path, data[:cut])
        assert_prefix(held, batches)
