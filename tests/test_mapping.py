"""What a running network has written is held as it stands in its files.

Goal: records that a network on disk has written take no memory of the process, however many they
are, and nothing else is different.
Method: what is worth while is set to a few bytes, so that files are mapped again and again.
"""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tests.build import NOON, TERMS, network, run_of, submit
from tradesys.log import file as log_file
from tradesys.log.file import LogFile
from tradesys.log.log import Log
from tradesys.network import Network
from tradesys.records.arrow import stamped
from tradesys.records.clock import ManualClock
from tradesys.records.schemas import REQUESTS, held


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is worth mapping as soon as anything was appended."""
    monkeypatch.setattr(log_file, "_WORTH_MAPPING", 1)


@pytest.mark.usefixtures("at_once")
def test_a_network_whose_files_are_mapped_all_the_time_answers_as_one_in_memory(
    tmp_path: Path,
) -> None:
    desks = [network(2), network(2, data=tmp_path)]
    for desk in desks:
        for n in range(30):
            submit(desk["c1"], order_qty=10 * (n + 1))
            submit(desk["c2"], account="bob", side="sell", order_qty=10 * (n % 7 + 1))
            desk["c2"].submit_many(pa.Table.from_pylist([TERMS, TERMS]))
            desk.run()
    in_memory, mapped = desks
    for one, other in zip(in_memory.customers, mapped.customers, strict=True):
        assert one.statuses().equals(other.statuses())
        assert one.positions().equals(other.positions())
        assert one.tables["requests"].arrow.equals(other.tables["requests"].arrow)
    assert mapped.audit().verdict is True
    mapped.close()
    with Network.open(tmp_path, clock=ManualClock(NOON)) as again:
        assert again.audit().verdict is True


@pytest.mark.usefixtures("at_once")
def test_a_file_gives_what_was_appended_by_origin_and_once(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "requests.arrows", REQUESTS)
    runs = [
        run_of("requests", "c1", 3),
        run_of("requests", "c2", 2),
        run_of("requests", "c1", 2, 3),
    ]
    for run in runs:
        file.append(stamped(run, 5))
    found = {code: pa.Table.from_batches(batches) for code, batches in file.grown().items()}
    first, second, third = (stamped(run, 5) for run in runs)
    assert [*found.values()] == [
        pa.Table.from_batches([first, third]),
        pa.Table.from_batches([second]),
    ]
    assert file.grown() == {}
    file.close()


@pytest.mark.usefixtures("at_once")
def test_where_the_folder_was_moved_records_stay_in_memory(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "run" / "requests.arrows", REQUESTS)
    file.append(stamped(run_of("requests", "c1", 3), 5))
    (tmp_path / "run").rename(tmp_path / "moved")
    assert file.grown() == {}
    file.abandon()


def test_a_log_takes_only_batches_that_are_all_that_it_holds() -> None:
    log = Log(run_of("requests", "c1", 1).column(0)[0].as_py() >> 48, held(REQUESTS))
    three = stamped(run_of("requests", "c1", 3), 5)
    log.append(three)
    log.replace([three.slice(0, 2)])
    assert log.batches()[0] is three
    log.replace([three.slice(0, 2), three.slice(2)])
    assert [batch.num_rows for batch in log.batches()] == [2, 1]
    assert log.count == 3


ROOT = Path(__file__).parents[1]

WRITES = """
import sys
from pathlib import Path
import pyarrow as pa
from tests.build import NOON, TERMS, network
from tradesys.log import file as log_file
from tradesys.records.clock import ManualClock
from tradesys.records.opening_books import OpeningBooks

log_file._WORTH_MAPPING = int(sys.argv[2])
books = OpeningBooks(["alice"], ["ALFA"], cash=10**16)
with network(3, 2, data=Path(sys.argv[1]), books=books, clock=ManualClock(NOON)) as desk:
    before = pa.total_allocated_bytes()
    for _ in range(20):
        desk["c1"].submit_many(pa.Table.from_pylist([TERMS] * 2000))
        desk.run()
    print((pa.total_allocated_bytes() - before) // 40_000)
"""


def test_what_was_written_takes_no_memory(tmp_path: Path) -> None:
    """Of each of 40,000 orders, in six systems and the market, in a process of its own."""

    def taken(name: str, worth: int) -> int:
        command = [sys.executable, "-c", WRITES, str(tmp_path / name), str(worth)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        return int(ran.stdout)

    assert taken("mapped", 1 << 18) < 100
    assert taken("kept", 1 << 40) > 200


@pytest.mark.usefixtures("at_once")
def test_bytes_that_changed_in_the_file_are_never_held_instead_of_what_is_in_memory(
    tmp_path: Path,
) -> None:
    path = tmp_path / "requests.arrows"
    file = LogFile(path, REQUESTS)
    file.append(stamped(run_of("requests", "c1", 600), 5))
    data = bytearray(path.read_bytes())
    at = data.index(b"alice")
    data[at : at + 5] = b"mario"
    path.write_bytes(data)
    file.append(stamped(run_of("requests", "c1", 600, 600), 6))
    assert file.grown() == {}
    file.abandon()
