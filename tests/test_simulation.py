"""Goal: what happens under faults is decided by the seed alone, and breaks none of the promises.

Method: plans are drawn, run, and run again; the disks are in memory or real files.
"""

from pathlib import Path

import pyarrow as pa
import pytest

from tradesys.simulation import Simulation, draw


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.arrows"))
    }


def records_of(desk: Simulation) -> dict[str, dict[str, pa.Table]]:
    return {s.name: {n: t.arrow for n, t in s.tables.items()} for s in desk}


def played(seed: int, data: Path | None = None) -> Simulation:
    desk = Simulation(draw(seed, orders=40, faults=8), data=data)
    assert desk.play(), str(desk.audits[-1])
    desk.close()
    return desk


@pytest.mark.parametrize("seed", range(3))
def test_one_seed_gives_the_same_files_byte_for_byte(seed: int, tmp_path: Path) -> None:
    for name in ("one", "two"):
        played(seed, tmp_path / name)
    one, two = (files_of(tmp_path / name) for name in ("one", "two"))
    assert len(one) > 10
    assert one == two


@pytest.mark.parametrize("seed", range(3))
def test_disks_in_memory_and_real_files_give_the_same_records(seed: int, tmp_path: Path) -> None:
    assert records_of(played(seed)) == records_of(played(seed, tmp_path / "run"))
