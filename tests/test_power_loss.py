"""Goal: when the power fails, every acknowledged record is there, and what is not can be fetched.

Method: a double of the disk, which keeps what was made durable (``fdatasync`` of a file, ``fsync``
of a folder for the names in it) apart from what was only written. A small run is cut before each
of its syncs, and a network opens what the disk then has: only what is durable, or, block by block,
at random what is durable and what is not.
"""

import os
import random
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.build import NOON, filled, network, sound, submit
from tradesys.log import file as logfile
from tradesys.network import Network
from tradesys.network.file_verification import verify
from tradesys.records.clock import ManualClock

BLOCK = 512
Names = dict[str, int]
"""The names in a folder, and the inodes that they are of."""


@dataclass
class Disk:
    """What a folder would have if the power failed now, and what it had before each sync."""

    root: Path
    acknowledged: list[int] = field(default_factory=list)
    names: dict[str, Names] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    failures: list["Failure"] = field(default_factory=list)

    def sync(self, fd: int) -> None:
        self.failures.append(self.failure())
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            folder = Path(f"/proc/self/fd/{fd}").readlink()
            self.names[str(folder)] = names_in(folder)
        else:
            self.contents[status.st_ino] = os.pread(fd, status.st_size, 0)

    def failure(self) -> "Failure":
        """What is durable now, what is only written, and how much was acknowledged."""
        folders = [path for path in (self.root, *self.root.rglob("*")) if path.is_dir()]
        written = {str(folder): names_in(folder) for folder in folders}
        files = (path for path in self.root.rglob("*") if path.is_file())
        contents = {path.stat().st_ino: path.read_bytes() for path in files}
        durable = {name: dict(held) for name, held in self.names.items()}
        return Failure(len(self.acknowledged), durable, dict(self.contents), written, contents)


@dataclass
class Failure:
    """The state of the disk at one moment."""

    acknowledged: int
    names: dict[str, Names]
    contents: dict[int, bytes]
    written_names: dict[str, Names]
    written: dict[int, bytes]

    def left(self, root: Path, target: Path, chance: random.Random | None) -> Path:
        """Make the folder that is found afterwards; without ``chance``, only what is durable."""
        self._folder(str(root), target, chance)
        return target

    def _folder(self, source: str, target: Path, chance: random.Random | None) -> None:
        target.mkdir(parents=True)
        names = self.names.get(source, {})
        if chance and chance.random() < 0.5:
            names = self.written_names.get(source, names)
        for name, inode in names.items():
            if f"{source}/{name}" in self.written_names:
                self._folder(f"{source}/{name}", target / name, chance)
            else:
                (target / name).write_bytes(self._content(inode, chance))

    def _content(self, inode: int, chance: random.Random | None) -> bytes:
        durable = self.contents.get(inode, b"")
        written = self.written.get(inode, durable)
        if not chance or written == durable:
            return durable
        size = chance.choice((len(durable), len(written)))
        blocks = []
        for at in range(0, size, BLOCK):
            block = chance.choice((durable, written))[at : at + BLOCK]
            blocks.append(block.ljust(min(BLOCK, size - at), b"\0"))
        return b"".join(blocks)


def names_in(folder: Path) -> Names:
    return {entry.name: entry.inode() for entry in os.scandir(folder)}


def run(disk: Disk) -> None:
    """Trade, with several orders between two exchanges, and tell what was acknowledged."""
    with network(2, 1, data=disk.root) as desk:
        for n in range(3):
            for system, side in (("c1", "buy"), ("c2", "sell"), ("c2", "sell")):
                account = "alice" if side == "buy" else "bob"
                order = submit(
                    desk[system], side=side, account=account, order_qty=10 + 10 * (n % 2)
                )
                disk.acknowledged.append(order.record_id)
            desk.run() if n % 2 else desk.step()
        disk.acknowledged.append(desk["c1"].cancel(order).record_id)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    double = Disk(tmp_path_factory.mktemp("disk") / "run")
    double.names[str(double.root)] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logfile, "_MANY_BATCHES", 5)
        patch.setattr(logfile, "_ZEROS", bytes(4096))
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, double.sync)
        run(double)
    return double


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Afterwards the power does not fail again."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _: None)


def check(disk: Disk, failure: Failure, folder: Path) -> list[str]:
    """Whatever was acknowledged is held by the system that did, and all ends well."""
    with Network(2, 1, data=folder, clock=ManualClock(NOON)) as desk:
        held = {i for c in desk.customers for i in c.tables["requests"].frame["record_id"]}
        lost = set(disk.acknowledged[: failure.acknowledged]) - held
        assert not lost
        desk.run()
        assert sound(desk.audit()), str(desk.audit())
        renewed = [each.system for each in desk.recovered if each.incarnation]
        if failure.acknowledged:
            filled(desk, order_qty=10)
            assert sound(desk.audit())
    assert verify(folder).findings == []
    return renewed


def test_what_is_durable_when_the_power_fails_is_all_that_was_acknowledged(
    disk: Disk, hasty: None, tmp_path: Path
) -> None:
    assert len(disk.failures) > 60
    for number, failure in enumerate(disk.failures):
        folder = failure.left(disk.root, tmp_path / str(number), None)
        assert check(disk, failure, folder) == []


@pytest.mark.parametrize("seed", range(3))
def test_whatever_else_the_disk_has_kept_nothing_acknowledged_is_lost(
    disk: Disk, hasty: None, tmp_path: Path, seed: int
) -> None:
    for number, failure in list(enumerate(disk.failures))[seed::3]:
        chance = random.Random(1000 * seed + number)
        folder = failure.left(disk.root, tmp_path / str(number), chance)
        check(disk, failure, folder)
