"""A network on disk: what was acknowledged is there after the process is not.

Goal: a folder is one network's, and goes on where it stopped, however it stopped.
Method: a crash is a copy of the files of a network that was never closed; then a second network
opens the copy.
"""

import contextlib
import errno
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.build import (
    BOOKS,
    NOON,
    contents,
    filled,
    network,
    record_id,
    sound,
    state,
    stopped,
    submit,
)
from tradesys.log.verified_stream import FORMAT
from tradesys.network import Network
from tradesys.records.clock import ManualClock
from tradesys.records.errors import DamagedError, InvalidValue, StorageError, SystemDown
from tradesys.records.schemas import SCHEMAS

CLOCK = ManualClock(NOON)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Network]:
    """A network with a filled order, an open one and a refused one."""
    with network(2, 2, data=tmp_path / "desk") as made:
        filled(made)
        submit(made["c1"], order_qty=40, cl_ord_id="open")
        submit(made["c2"], order_qty=10**6, cl_ord_id="refused")
        made.run()
        yield made


def crashed(desk: Network) -> Path:
    """What is on disk when the process dies at this moment."""
    assert desk.data is not None
    return Path(shutil.copytree(desk.data, desk.data.with_name("crashed"), dirs_exist_ok=True))


def closed(desk: Network) -> Path:
    desk.close()
    assert desk.data is not None
    return desk.data


def reopened(folder: Path) -> Network:
    return Network.open(folder, clock=CLOCK)


OPEN_ORDER = record_id("c1", 2)
ENDS = pytest.mark.parametrize("end", [closed, crashed], ids=["closed", "crashed"])


@ENDS
def test_a_network_that_is_opened_again_answers_as_before(desk: Network, end: object) -> None:
    assert callable(end)
    answers = [(c.statuses(), c.positions(), c.tables["requests"].frame) for c in desk.customers]
    with reopened(end(desk)) as again:
        for system, before in zip(again.customers, answers, strict=True):
            now = (system.statuses(), system.positions(), system.tables["requests"].frame)
            assert all(one.equals(other) for one, other in zip(now, before, strict=True))
        assert again.run() == 0
        assert again.summary() == desk.summary()
        assert again.audit().verdict


@ENDS
def test_an_open_order_can_be_canceled_or_matched_after_it(desk: Network, end: object) -> None:
    assert callable(end)
    folder = end(desk)
    with reopened(folder) as again:
        submit(again["c2"], account="bob", side="sell", order_qty=10)
        again.run()
        assert state(again["c1"], OPEN_ORDER) == ("partially_filled", 40, 10, 30)
    with reopened(folder) as again:
        again["c2"].cancel(OPEN_ORDER)
        again.run()
        assert state(again["c1"], OPEN_ORDER) == ("canceled", 40, 10, 0)
        assert again.audit().verdict


@ENDS
def test_no_id_is_given_twice(desk: Network, end: object) -> None:
    assert callable(end)
    ids = desk["c1"].tables["requests"].frame["record_id"].to_list()
    with reopened(end(desk)) as again:
        filled(again)
        for name in SCHEMAS:
            held = [s.tables[name].frame["record_id"] for s in again if name in s.tables]
            assert all(column.is_unique().all() for column in held)
        assert set(ids) < set(again["c1"].tables["requests"].frame["record_id"])
        assert again.audit().verdict


@ENDS
def test_a_repeat_is_still_known_as_one(desk: Network, end: object) -> None:
    assert callable(end)
    with reopened(end(desk)) as again:
        assert submit(again["c2"], order_qty=40, cl_ord_id="open").repeated
        assert submit(again["c1"], order_qty=10**6, cl_ord_id="refused").repeated


def test_an_order_acknowledged_and_not_sent_is_sent_afterwards(desk: Network) -> None:
    order = submit(desk["c1"])
    with reopened(crashed(desk)) as again:
        assert state(again["c1"], order) == ("pending_new", 100, 0, 100)
        again.run()
        assert state(again["c2"], order) == ("new", 100, 0, 100)
        assert again.audit().verdict


def test_an_order_on_its_way_to_a_system_cut_off_is_sent_afterwards(desk: Network) -> None:
    desk.partition("s1")
    order = submit(desk["c1"])
    canceled = desk["c2"].cancel(OPEN_ORDER)
    desk.run()
    assert desk.undelivered() == 2
    with reopened(crashed(desk)) as again:
        again.run()
        assert state(again["c1"], order) == ("new", 100, 0, 100)
        assert state(again["c1"], canceled) == ("canceled", 40, 0, 0)
        assert again.audit().verdict


def test_a_fill_not_cleared_is_cleared_afterwards_and_once(desk: Network) -> None:
    desk.partition("firm")
    filled(desk)
    with reopened(crashed(desk)) as again:
        assert again.run() > 0
        assert again.audit().verdict
    assert desk.data is not None
    with reopened(desk.data.with_name("crashed")) as again:
        assert again.run() == 0


@pytest.mark.parametrize("file", ["c2/read_only/executions", "s1/read_only/accounts"])
def test_a_replica_that_is_lost_is_fetched_again(desk: Network, file: str) -> None:
    folder = closed(desk)
    (folder / f"{file}.arrows").unlink()
    with reopened(folder) as again:
        assert again.audit().verdict is None
        again.run()
        assert again.audit().verdict


def test_two_crashes_leave_the_same_as_none(tmp_path: Path) -> None:
    def play(folder: Path, crashes: int) -> dict[str, bytes]:
        desk = network(2, 2, data=folder)
        for step in range(3):
            filled(desk, order_qty=10 * (step + 1))
            if step < crashes:
                folder = Path(shutil.copytree(folder, folder.with_name(f"{folder.name}+")))
                desk.close()
                desk = reopened(folder)
        desk.close()
        return contents(folder)

    assert play(tmp_path / "once", crashes=0) == play(tmp_path / "often", crashes=2)


def trade(desk: Network) -> None:
    """Orders of every end, while a link is cut and mended."""
    resting = submit(desk["c1"], order_qty=50, cl_ord_id="resting")
    desk.partition("c1", "c2")
    filled(desk, order_qty=30)
    desk["c1"].replace(resting, order_qty=40)
    submit(desk["c2"], account="bob", side="sell", order_qty=20)
    desk.run()
    desk.heal()
    desk.run()
    if desk["c2"].status(resting).leaves_qty:
        desk["c2"].cancel(resting)
    desk.run()


def test_a_crash_at_a_write_leaves_an_audit_that_is_not_false_and_a_run_makes_it_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for after in itertools.count(step=3):
        folder = tmp_path / str(after)
        desk = network(2, 2, data=folder)
        if not stopped(partial(trade, desk), after, monkeypatch):
            break
        with reopened(crashed(desk)) as again:
            before = again.audit()
            assert before.verdict is not False, f"after {after} writes:\n{before}"
            again.run()
            assert again.audit().verdict is True, f"after {after} writes:\n{again.audit()}"
            filled(again)
            assert again.audit().verdict is True
        shutil.rmtree(folder.with_name("crashed"))
        desk.close()
    assert after > 20


# One folder, one network.


def test_a_folder_is_one_networks_while_it_is_open(desk: Network) -> None:
    assert desk.data is not None
    with pytest.raises(StorageError, match="in use"):
        network(2, 2, data=desk.data)
    code = f"from tradesys import Network; Network.open({str(desk.data)!r})"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "StorageError" in other.stderr
    assert "in use by another process" in other.stderr
    desk.close()
    reopened(desk.data).close()


def test_a_folder_is_opened_with_the_counts_it_was_made_with(desk: Network) -> None:
    folder = closed(desk)
    before = contents(folder)
    for counts in ((3, 2), (2, 1), (1, 1)):
        with pytest.raises(InvalidValue) as raised:
            network(*counts, data=folder)
        assert raised.value.field == "data"
        assert f"{counts[0]} customer-facing and {counts[1]} street-side" in raised.value.expected
        assert "it holds 2 customer-facing and 2 street-side" in raised.value.expected
    assert contents(folder) == before
    network(2, 2, data=folder).close()


@pytest.mark.parametrize("made", [False, True], ids=["missing", "empty"])
def test_a_folder_without_a_network_is_not_opened(tmp_path: Path, *, made: bool) -> None:
    folder = tmp_path / "nothing"
    if made:
        folder.mkdir()
    with pytest.raises(InvalidValue, match="nothing"):
        Network.open(folder)
    assert folder.exists() == made
    assert not contents(tmp_path)


def test_a_network_that_could_not_be_opened_leaves_its_folder_free(desk: Network) -> None:
    folder = closed(desk)
    file = folder / "c1" / "authoritative" / "requests.arrows"
    data = file.read_bytes()
    file.write_bytes(data.replace(f"tradesys-format-{FORMAT}".encode(), b"tradesys-format-9"))
    with pytest.raises(StorageError, match="format 9"):
        reopened(folder)
    file.write_bytes(data)
    with reopened(folder) as again:
        assert again.audit().verdict


def test_a_network_may_be_closed_twice_and_is_of_no_use_then(desk: Network) -> None:
    folder = closed(desk)
    before = contents(folder)
    desk.close()
    with pytest.raises(SystemDown, match="it is closed"):
        submit(desk["c1"])
    assert contents(folder) == before


def test_the_firms_books_are_opened_once(tmp_path: Path) -> None:
    for _ in range(2):
        with network(data=tmp_path, books=BOOKS) as desk:
            assert len(desk.firm.tables["postings"]) == 9
            assert desk.audit().verdict


# What a system has lost of its own.


def lose(file: Path) -> None:
    """The file is gone."""
    file.unlink()


def damage(file: Path, at: float) -> None:
    """One bit of the file has flipped."""
    data = bytearray(file.read_bytes())
    data[int(len(data) * at)] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("how", [lose, partial(damage, at=0.5)], ids=["lost", "damaged"])
def test_a_system_that_lost_records_of_its_own_gives_no_id_again(
    desk: Network, how: partial[None]
) -> None:
    folder = closed(desk)
    how(folder / "c1" / "authoritative" / "requests.arrows")
    with reopened(folder) as again:
        (recovered,) = again.recovered
        assert (recovered.system, recovered.incarnation) == ("c1", "c1.1")
        submit(again["c1"], order_qty=10)
        again.run()
        assert sound(again.audit())


# What the disk refuses on the way is not lost.


@pytest.mark.parametrize("refused", [1, 2, 3])
def test_a_fill_that_the_disk_refused_is_recorded_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    with network(customers=2, data=tmp_path) as desk:
        order = submit(desk["c1"], order_qty=20)
        submit(desk["c2"], account="bob", side="sell", order_qty=20)
        calls = iter(range(1, 100))
        sync = os.fdatasync

        def fails_once(fd: int) -> None:
            if next(calls) == refused:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(fd)

        monkeypatch.setattr(os, "fdatasync", fails_once)
        with contextlib.suppress(StorageError):
            desk.run()
        desk.run()
        assert desk.audit().verdict is True, str(desk.audit())
        assert desk["c2"].status(order).ord_status == "filled"


def test_the_markets_own_record_is_never_begun_anew_where_it_is_damaged(desk: Network) -> None:
    folder = closed(desk)
    file = folder / "venue" / "reports.arrows"
    whole = file.read_bytes()
    damage(file, at=0.4)
    spoiled = contents(folder)
    for _ in range(2):
        with pytest.raises(DamagedError, match=r"venue/reports\.arrows: damaged at byte"):
            reopened(folder)
        assert contents(folder) == spoiled
    file.write_bytes(whole)
    with reopened(folder) as again:
        assert again.audit().verdict is True


def test_a_file_of_another_dataset_is_set_aside_and_rebuilt_from_peers(tmp_path: Path) -> None:
    with network(customers=2, data=tmp_path) as desk:
        filled(desk)
        before = desk["c2"].tables["requests"].frame.drop("received_at")
    foreign = tmp_path / "s1" / "authoritative" / "executions.arrows"
    mine = tmp_path / "c2" / "authoritative" / "requests.arrows"
    mine.write_bytes(foreign.read_bytes())
    with Network.open(tmp_path) as desk:
        assert [each.system for each in desk.recovered] == ["c2"]
        desk.run()
        assert desk["c2"].tables["requests"].frame.drop("received_at").equals(before)
        assert sound(desk.audit())


def test_a_market_that_has_lost_its_record_is_named_as_often_as_it_is_opened(
    tmp_path: Path,
) -> None:
    with network(data=tmp_path) as desk:
        filled(desk)
    (tmp_path / "venue" / "reports.arrows").unlink()
    for _ in range(2):
        with pytest.raises(DamagedError, match="put it back from the latest copy"):
            Network.open(tmp_path)


def test_a_frame_that_its_reader_changes_changes_no_record(tmp_path: Path) -> None:
    with network(data=tmp_path) as desk:
        filled(desk)
        frame = desk["c1"].read_only["executions"].frame
        frame[0, "last_qty"] = 999
        assert 999 not in desk["c1"].read_only["executions"].frame["last_qty"]
        assert desk.audit().verdict
