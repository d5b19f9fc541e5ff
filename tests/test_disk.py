"""Goal: what a disk refuses is a definite error before anything is acknowledged, and never a loss.

Method: real refusals. A small disk (a tmpfs, mounted by the test: it needs root, and without it is
skipped except in CI) under the folder of one system is filled up, made read-only, and freed again;
a limit on the size of files and a folder without permission are met by processes of their own.
"""

import fcntl
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from tests.build import NOON, TERMS, contents, filled, network, submit
from tradesys.network import Network
from tradesys.network.file_verification import verify
from tradesys.records.clock import ManualClock
from tradesys.records.errors import Outcome, StorageError
from tradesys.records.opening_books import OpeningBooks
from tradesys.systems.customer import CustomerSystem

RICH = OpeningBooks(("alice", "bob"), ("ALFA", "DLTA"), 10**15, 10**9, tick_size=100, lot_size=10)
SIZE = 16 << 20
VICTIMS = ("c1", "c2", "s1", "firm", "venue")


class SmallDisk:
    """A mounted disk, and what fills it up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filling = folder / "filling"

    def fill(self) -> None:
        with self._filling.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass

    def free(self) -> None:
        self._filling.unlink()

    def remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.folder)], check=True)


@contextmanager
def mounted(folder: Path) -> Iterator[SmallDisk]:
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        why = f"cannot mount a small disk: {done.stderr.strip()}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=VICTIMS)
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """The disk of one of the systems of a network under ``tmp_path / "run"``."""
    with mounted(tmp_path / "run" / request.param) as small:
        yield small


def orders(count: int) -> pl.DataFrame:
    """Orders that all match each other, in pairs."""
    bob = {"account": "bob", "side": "sell"}
    rows = [TERMS | {"order_qty": 10} | (bob if n % 2 else {}) for n in range(count)]
    return pl.DataFrame(rows)


def assert_whole(desk: Network, acknowledged: list[int]) -> None:
    """Every acknowledged order is held everywhere, once, and the audit is true."""
    assert desk.audit().verdict is True, str(desk.audit())
    for system in (*desk.customers, desk.firm):
        held = system.tables["requests"].frame["order_id"].to_list()
        assert sorted(held) == sorted(acknowledged)


def test_a_full_disk_loses_nothing_and_work_goes_on_once_there_is_room(
    disk: SmallDisk, tmp_path: Path
) -> None:
    acknowledged: list[int] = []
    refused: list[StorageError] = []

    def attempt(desk: Network, entry: str) -> None:
        try:
            acknowledged.extend(desk[entry].submit_many(orders(3000))["order_id"])
        except StorageError as error:
            refused.append(error)
        try:
            desk.run()
        except StorageError as error:
            refused.append(error)

    with network(2, 1, data=tmp_path / "run", books=RICH) as desk:
        attempt(desk, "c1")
        assert not refused
        disk.fill()
        for entry in ("c1", "c2", "c1"):
            attempt(desk, entry)
        assert refused
        assert {error.outcome for error in refused} == {Outcome.DID_NOT_HAPPEN}
        assert all(f"/{disk.folder.name}/" in str(error) for error in refused)
        assert len(desk["c2"].statuses()) >= 3000
        disk.free()
        count = len(refused)
        attempt(desk, "c2")
        assert len(refused) == count
        assert_whole(desk, acknowledged)
    assert verify(tmp_path / "run").findings == []
    with Network.open(tmp_path / "run", clock=ManualClock(NOON)) as again:
        assert not again.recovered
        assert_whole(again, acknowledged)


def test_single_orders_are_refused_one_by_one_when_the_room_held_ahead_is_used_up(
    tmp_path: Path,
) -> None:
    acknowledged = []

    def submit_for_ever(system: CustomerSystem) -> None:
        while True:
            acknowledged.append(submit(system, order_qty=10).order_id)

    with (
        mounted(tmp_path / "run" / "c1") as disk,
        network(1, 1, data=tmp_path / "run", books=RICH) as desk,
    ):
        disk.fill()
        for _ in range(3):
            with pytest.raises(StorageError, match="No space left") as raised:
                submit_for_ever(desk["c1"])
            assert raised.value.outcome is Outcome.DID_NOT_HAPPEN
        assert len(acknowledged) > 10
        disk.free()
        acknowledged.append(submit(desk["c1"], order_qty=10).order_id)
        desk.run()
        assert_whole(desk, acknowledged)


def test_a_network_that_a_full_disk_did_not_let_be_made_is_made_once_there_is_room(
    disk: SmallDisk, tmp_path: Path
) -> None:
    disk.fill()
    with pytest.raises(StorageError, match="No space left"):
        network(2, 1, data=tmp_path / "run")
    disk.free()
    with network(2, 1, data=tmp_path / "run") as desk:
        assert not [each for each in desk.recovered if each.incarnation]
        filled(desk)
        assert desk.audit().verdict is True


def test_a_folder_on_a_read_only_disk_is_not_opened_and_is_left_as_it_is(
    disk: SmallDisk, tmp_path: Path
) -> None:
    with network(2, 1, data=tmp_path / "run") as desk:
        filled(desk)
    before = contents(tmp_path / "run")
    disk.remount("ro")
    try:
        with pytest.raises(StorageError, match="Read-only file system"):
            Network.open(tmp_path / "run")
        assert contents(tmp_path / "run") == before
        assert verify(tmp_path / "run").findings == []
    finally:
        disk.remount("rw")
    with Network.open(tmp_path / "run") as again:
        assert again.audit().verdict is True


def in_a_process_of_its_own(code: str, *arguments: str) -> str:
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_a_limit_on_the_size_of_files_refuses_what_does_not_fit_and_nothing_else(
    tmp_path: Path,
) -> None:
    told = in_a_process_of_its_own(
        """
        import resource, sys
        from pathlib import Path
        from tests.build import network
        from tests.test_disk import RICH, assert_whole, orders
        from tradesys.records.errors import StorageError

        folder = Path(sys.argv[1])
        with network(2, 1, data=folder, books=RICH) as desk:
            acknowledged, refused = [], 0
            limit = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limit[1]))
            for _ in range(12):
                try:
                    acknowledged += desk["c1"].submit_many(orders(500))["order_id"].to_list()
                    desk.run()
                except StorageError as error:
                    assert "File too large" in str(error), error
                    assert error.outcome == "did not happen"
                    refused += 1
            assert 0 < refused < 12
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            acknowledged += desk["c2"].submit_many(orders(500))["order_id"].to_list()
            desk.run()
            assert_whole(desk, acknowledged)
            print("whole")
        """,
        str(tmp_path / "run"),
    )
    assert told == "whole\n"


def test_a_folder_without_permission_is_a_storage_error(tmp_path: Path) -> None:
    with network(data=tmp_path / "run") as desk:
        filled(desk)
    before = contents(tmp_path / "run")
    told = in_a_process_of_its_own(
        """
        import os, sys
        from tests.build import network
        from tradesys import Network, StorageError
        from pathlib import Path

        run = Path(sys.argv[1])
        paths = [*run.rglob("*"), run]
        modes = [path.stat().st_mode for path in paths]
        for path in paths:
            path.chmod(0o500 if path.is_dir() else 0o400)
        os.chdir(run)  # whatever lies above it may be closed to anybody but its owner
        if not os.geteuid():
            for path in (*paths,):
                os.chown(path, 65534, 65534)
            os.setuid(65534)
        for folder in (".", "new"):
            try:
                network(data=Path(folder)) if folder == "new" else Network.open(folder)
            except StorageError as error:
                print("Permission denied" in str(error), "a copy" in str(error), error.outcome)
        """,
        str(tmp_path / "run"),
    )
    assert told == "True True did not happen\nTrue False did not happen\n"
    for path in (tmp_path / "run", *(tmp_path / "run").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert contents(tmp_path / "run") == before
    Network.open(tmp_path / "run").close()


def test_macos_is_asked_for_what_reaches_the_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A double of macOS: it has no ``fdatasync``, and one of ``fcntl``'s commands stands in."""
    full, plain, synced = 51, fcntl.fcntl, list[int]()

    def command(fd: int, number: int, *more: int) -> object:
        if number != full:
            return plain(fd, number, *more)
        synced.append(fd)
        os.fsync(fd)
        return 0

    monkeypatch.setattr("tradesys.log.disk.sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(fcntl, "fcntl", command)
    monkeypatch.delattr(os, "fdatasync")
    with network(data=tmp_path / "run") as desk:
        before = len(synced)
        submit(desk["c1"])
        assert len(synced) == before + 1
        desk.run()
    with Network.open(tmp_path / "run") as again:
        assert len(again["c1"].statuses()) == 1
        assert again.audit().verdict
