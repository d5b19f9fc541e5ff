"""Goal: the files of a network are one process's and one folder's, whatever becomes of either.

Method: an open network is forked, and both processes go on; its folder is renamed, deleted or
replaced, and another network is made where it was; opening fails in every way that it can, and
networks are dropped without being closed.
"""

import gc
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.build import NOON, PRICE, contents, filled, network, sound, submit
from tradesys.log import file as logfile
from tradesys.network import Network
from tradesys.network.file_verification import verify
from tradesys.network.manifest import FILE
from tradesys.records.clock import ManualClock
from tradesys.records.errors import DamagedError, Outcome, StorageError, SystemDown, TradesysError

# Processes.


def in_a_process_of_its_own(code: str, *arguments: str) -> str:
    """What a script prints."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)]
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, cwd=root
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_fork_is_refused_whatever_it_asks_of_a_network_on_disk_and_the_parent_goes_on(
    tmp_path: Path,
) -> None:
    told = in_a_process_of_its_own(
        """
        import os, sys
        from pathlib import Path
        from tests.build import contents, filled, network, submit
        from tradesys import SystemDown

        folder = Path(sys.argv[1])
        desk = network(2, 1, data=folder)
        filled(desk)
        entry, held = desk["c1"], desk["c1"].authoritative["requests"]
        before = contents(folder)
        child = os.fork()
        if not child:
            asked = {
                "submit": lambda: submit(entry),
                "status": lambda: entry.statuses(),
                "records": lambda: held.frame,
                "named": lambda: desk["c1"],
                "run": desk.run,
                "summary": desk.summary,
                "behind": desk.behind,
                "rest": desk.is_at_rest,
                "crash": lambda: desk.crash("c1"),
                "restart": lambda: desk.restart("c1"),
                "lose": lambda: desk.lose_disk("c1"),
                "audit": desk.audit,
                "past": lambda: desk.as_of(desk.clock())["c1"],
                "open the firm's books": lambda: desk.firm,
            }
            for name, ask in asked.items():
                try:
                    print(name, "was answered", ask())
                except SystemDown as error:
                    if "a fork of the one" not in str(error) or error.outcome != "did not happen":
                        print(name, error, error.outcome)
            entry.close()
            desk.close()
            if not os.fork():
                os._exit(0)
            assert os.wait()[1] == 0
            print("refused", contents(folder) == before, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        submit(desk["c2"], order_qty=40)
        desk.run()
        assert desk.audit().verdict is True
        desk.close()
        network(2, 1, data=folder).close()
        print("went on")
        """,
        str(tmp_path / "run"),
    )
    assert told == "refused True\nwent on\n"
    assert verify(tmp_path / "run").findings == []


def test_a_fork_does_not_wait_for_a_thread_that_it_does_not_have(tmp_path: Path) -> None:
    told = in_a_process_of_its_own(
        """
        import os, sys
        from pathlib import Path
        from threading import Event, Thread
        from tests.build import network, submit
        from tradesys import SystemDown

        desk = network(data=Path(sys.argv[1]))
        entry = desk["c1"]
        held, over = Event(), Event()

        def hold():
            locks = entry.lock, entry.turn, desk.turn
            files = [table.file._lock for table in entry.tables.values()]
            for lock in (*locks, *files):
                lock.acquire()
            held.set()
            over.wait()
            for lock in (*files, *locks):
                lock.release()

        thread = Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if not child:
            for ask in (lambda: submit(entry), desk.run, desk.venue.close):
                try:
                    ask()
                except SystemDown:
                    print("refused", flush=True)
            desk.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        over.set()
        thread.join()
        submit(entry)
        desk.close()
        """,
        str(tmp_path / "run"),
    )
    assert told == "refused\nrefused\n"


def test_a_fork_that_outlives_the_network_does_not_keep_its_folder() -> None:
    told = in_a_process_of_its_own(
        """
        import os
        from pathlib import Path
        from tempfile import TemporaryDirectory
        from tests.build import network

        with TemporaryDirectory() as folder:
            desk = network(data=Path(folder, "run"))
            until, end = os.pipe()
            child = os.fork()
            if not child:
                os.close(end)
                os.read(until, 1)
                os._exit(0)
            desk.close()
            network(data=Path(folder, "run")).close()
            os.close(end)
            os.waitpid(child, 0)
            print("opened")
        """
    )
    assert told == "opened\n"


# Folders.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are rewritten whenever they are closed."""
    monkeypatch.setattr(logfile, "_MANY_BATCHES", 1)


def orders(folder: Path) -> list[int]:
    """The quantities of all orders that a run holds, which is as it was written."""
    assert verify(folder).findings == []
    with Network.open(folder, clock=ManualClock(NOON)) as desk:
        desk.run()
        assert desk.audit().verdict is True
        found: list[int] = desk["c1"].tables["requests"].frame["order_qty"].to_list()
    return found


@pytest.mark.usefixtures("small")
def test_a_network_whose_folder_was_renamed_goes_on_there_and_leaves_the_next_one_alone(
    tmp_path: Path,
) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    first = network(2, 1, data=run)
    submit(first["c1"], order_qty=10)
    run.rename(moved)
    second = network(2, 1, data=run)
    submit(second["c1"], order_qty=50)
    before = contents(run)
    for number in range(6):
        submit(first["c1"], order_qty=20 + 10 * (number % 2))
    first.run()
    first.crash("c2")
    for act in (first.restart, first.lose_disk):
        with pytest.raises(StorageError, match="moved, deleted or replaced") as raised:
            act("c2")
        assert raised.value.outcome is Outcome.DID_NOT_HAPPEN
        assert str(run) in str(raised.value)
    assert first["c1"].down is None
    with pytest.raises(StorageError, match="moved, deleted or replaced"):
        first.lose_disk("c1")
    assert first["c1"].down is None, "it is refused before anything is stopped"
    submit(first["c1"], order_qty=40)
    first.run()
    first.close()
    assert contents(run) == before
    submit(second["c1"], order_qty=60)
    second.run()
    second.close()
    assert orders(run) == [50, 60]
    assert orders(moved) == [10, 20, 30, 20, 30, 20, 30, 40]


def delete(run: Path) -> None:
    shutil.rmtree(run)


def delete_file(run: Path) -> None:
    (run / "c1" / "authoritative" / "requests.arrows").unlink()


def replace_file(run: Path) -> None:
    path = run / "c1" / "authoritative" / "requests.arrows"
    path.unlink()
    path.write_text("another file")


def link_file(run: Path) -> None:
    path = run / "c1" / "authoritative" / "requests.arrows"
    path.unlink()
    path.symlink_to(run / FILE)


def replace_folder(run: Path) -> None:
    shutil.rmtree(run)
    run.write_text("a file where a folder was")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "spoil",
    [delete, delete_file, replace_file, link_file, replace_folder],
    ids=lambda f: f.__name__,
)
def test_nothing_is_acknowledged_of_a_file_that_is_there_no_more(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    desk = network(2, 1, data=tmp_path / "run")
    acknowledged = submit(desk["c1"])
    spoil(tmp_path / "run")
    before = contents(tmp_path)
    for _ in range(6):
        with pytest.raises(StorageError, match=r"requests\.arrows: it was deleted") as raised:
            submit(desk["c1"])
        assert raised.value.outcome is Outcome.DID_NOT_HAPPEN
    assert desk["c1"].statuses()["order_id"].to_list() == [acknowledged.order_id]
    desk["c1"].close()
    spoilt = "c1/authoritative/requests"
    after = contents(tmp_path)
    assert {n: d for n, d in after.items() if spoilt in n} == {
        n: d for n, d in before.items() if spoilt in n
    }
    desk.close()


def test_a_system_folder_that_is_a_link_is_not_followed_to_what_it_leads_to(tmp_path: Path) -> None:
    with network(2, 1, data=tmp_path / "other") as other:
        filled(other)
    before = contents(tmp_path / "other")
    with network(2, 1, data=tmp_path / "run") as desk:
        (tmp_path / "run" / "c2").rename(tmp_path / "away")
        (tmp_path / "run" / "c2").symlink_to(tmp_path / "other" / "c2")
        with pytest.raises(StorageError, match="c2"):
            desk.lose_disk("c2")
    assert contents(tmp_path / "other") == before


def test_a_disk_that_is_gone_already_is_lost_all_the_same(tmp_path: Path) -> None:
    with network(2, 1, data=tmp_path / "run") as desk:
        filled(desk)
        shutil.rmtree(tmp_path / "run" / "c2")
        assert desk.lose_disk("c2").incarnation == "c2.1"
        assert sound(desk.audit())


def test_a_closed_network_touches_no_file(tmp_path: Path) -> None:
    desk = network(2, 1, data=tmp_path / "run")
    desk.crash("c1")
    desk.close()
    before = contents(tmp_path)
    for act, name in ((desk.restart, "c1"), (desk.lose_disk, "c2")):
        with pytest.raises(SystemDown, match="closed; open it again"):
            act(name)
    assert contents(tmp_path) == before


# Descriptors.


def descriptors() -> int:
    """How many this process has open, of what it still holds."""
    gc.collect()
    return sum(1 for _ in Path("/dev/fd").iterdir())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with network(2, 1, data=tmp_path / "run") as desk:
        filled(desk)
    return tmp_path / "run"


def cut_manifest(run: Path) -> None:
    (run / FILE).write_bytes((run / FILE).read_bytes()[:-200])


def other_dataset(run: Path) -> None:
    shutil.copy(run / "firm/authoritative/postings.arrows", run / "venue/reports.arrows")


def folder_for_file(run: Path) -> None:
    (run / "s1/authoritative/executions.arrows").unlink()
    (run / "s1/authoritative/executions.arrows").mkdir()


def file_for_folder(run: Path) -> None:
    shutil.rmtree(run / "firm")
    (run / "firm").write_text("a file where a folder is expected")


def lost_market(run: Path) -> None:
    shutil.rmtree(run / "venue")


FAILURES = [cut_manifest, other_dataset, folder_for_file, file_for_folder, lost_market]


@pytest.mark.parametrize("spoil", FAILURES, ids=lambda f: f.__name__)
def test_an_opening_that_fails_leaves_no_descriptor(
    run: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(run)
    before = descriptors()
    for _ in range(20):
        with pytest.raises(StorageError):
            Network.open(run)
    assert descriptors() == before


def test_an_opening_that_is_refused_leaves_no_descriptor(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder is expected")
    with Network.open(run, clock=ManualClock(NOON)) as desk:
        before = descriptors()
        for _ in range(20):
            for folder in (run, tmp_path / "file"):
                with pytest.raises(TradesysError):
                    network(2, 1, data=folder)
            with pytest.raises(StorageError):
                verify(run)
        assert descriptors() == before
        assert desk.audit().verdict is True


def test_an_opening_that_the_disk_refuses_leaves_no_descriptor(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, opened = descriptors(), os.open

    def forbidden(path: Path, *options: int) -> int:
        if "postings" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *options)

    monkeypatch.setattr(os, "open", forbidden)
    for _ in range(20):
        with pytest.raises(StorageError, match="Permission denied"):
            Network.open(run)
    monkeypatch.undo()
    assert descriptors() == before


def test_networks_that_are_dropped_leave_no_descriptor_and_all_that_they_acknowledged(
    run: Path,
) -> None:
    before = descriptors()
    for number in range(20):
        drop(Network.open(run, clock=ManualClock(NOON)), number)
        assert descriptors() == before
    assert len(orders(run)) == 2 + 20


def drop(desk: Network, number: int) -> None:
    """Trade, and forget the network."""
    submit(desk["c1"], order_qty=10, cl_ord_id=f"n{number}", price=PRICE - 10_000)


def test_a_fork_of_memory_is_refused_whatever_a_thread_was_doing_and_does_not_hang() -> None:
    told = in_a_process_of_its_own(
        """
        import os
        from threading import Event, Thread
        from tests.build import network, submit
        from tradesys.records.errors import SystemDown

        desk, held, done = network(customers=2), Event(), Event()

        def hold() -> None:
            with desk.turn:
                held.set()
                done.wait()

        thread = Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if not child:
            for act in (desk.run, desk.audit, lambda: submit(desk["c1"])):
                try:
                    act()
                except SystemDown:
                    continue
                os._exit(3)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        done.set()
        thread.join()
        submit(desk["c1"])
        print(desk.run() > 0, desk.audit().verdict)
        """
    )
    assert told.split() == ["0", "True", "True"]


def test_a_market_that_knows_less_than_was_recorded_of_it_is_refused(tmp_path: Path) -> None:
    run, older = tmp_path / "run", tmp_path / "reports.arrows"
    with network(data=run) as desk:
        filled(desk)
        desk.run()
    shutil.copy(run / "venue" / "reports.arrows", older)
    with Network.open(run, clock=ManualClock(NOON)) as desk:
        submit(desk["c1"], order_qty=10)
        desk.run()
    before = contents(run)
    shutil.copy(older, run / "venue" / "reports.arrows")
    with pytest.raises(DamagedError, match="older than its systems: s1-"):
        Network.open(run, clock=ManualClock(NOON))
    assert {n: b for n, b in contents(run).items() if "venue" not in n} == {
        n: b for n, b in before.items() if "venue" not in n
    }
