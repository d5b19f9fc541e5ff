"""Goal: a book of any size opens without being read, and sealing it can lose or refuse nothing.

Method: segments of a few runs each; what they hold is compared with one that was never sealed, also
where the process dies, or the disk refuses, at any step of the sealing.
"""

import errno
import os
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tests.build import contents, filled, history, network, run_of, sound, submit
from tradesys.inquiry import inquiries
from tradesys.log import compaction, disk
from tradesys.log import file as logfile
from tradesys.log.file import LogFile
from tradesys.network import Network
from tradesys.network.verify import verify
from tradesys.records.errors import StorageError
from tradesys.records.schemas import REQUESTS

RUNS = 4


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "SEGMENT_RUNS", RUNS)
    monkeypatch.setattr(logfile, "_TINY_RUNS", 2)


class Book:
    """A file that is written to as a table writes to it, and all that was appended."""

    def __init__(self, path: Path) -> None:
        self.file = LogFile(path, REQUESTS)
        self.received: list[tuple[int, pa.RecordBatch]] = []
        self._counts = {"c1": 0, "c2": 0}
        self._chance = random.Random(1)

    def append(self) -> None:
        name, rows = self._chance.choice(["c1", "c2"]), self._chance.choice([1, 1, 30])
        batch = run_of("requests", name, rows, self._counts[name])
        received_at = len(self.received)
        self.file.append(batch, received_at)
        self._counts[name] += rows
        self.received.append((received_at, batch))
        self.file.seal_if_full(self.read)

    def read(self, code: int, start: int, rows: int) -> pa.RecordBatch:
        return run_of("requests", {0x4100: "c1", 0x4200: "c2"}[code], rows, start)


def held(path: Path) -> list[tuple[int, pa.RecordBatch]]:
    file = LogFile(path, REQUESTS)
    assert file.damage is None
    found = history(file)
    file.close()
    assert not list(path.parent.glob("*.new"))
    return found


@pytest.mark.parametrize("runs", range(3 * RUNS + 1))
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "abandoned"])
def test_a_segment_of_many_runs_is_sealed_and_says_what_it_said(
    tmp_path: Path, runs: int, *, closed: bool
) -> None:
    book = Book(tmp_path / "requests.arrows")
    for _ in range(runs):
        book.append()
    if closed:
        book.file.close(book.read)
    sealed = runs // RUNS + (1 if closed and runs % RUNS >= 2 else 0)
    assert len(list(tmp_path.glob("requests.00000?.arrows"))) == sealed
    assert held(book.file.path) == book.received


def crash_points(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[Path]:
    """Copies of a folder as it is before each name that is given in it, and after the last."""
    copies: list[Path] = []
    rename = Path.rename

    def copied(path: Path, target: Path) -> Path:
        copies.append(folder.with_name(f"crash-{len(copies)}"))
        shutil.copytree(folder, copies[-1])
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", copied)
    return copies


def test_a_crash_at_any_step_of_the_sealing_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Book(tmp_path / "run" / "requests.arrows")
    copies = crash_points(monkeypatch, tmp_path / "run")
    steps: list[int] = []
    for _ in range(2 * RUNS + 1):
        book.append()
        steps += [len(book.received)] * (len(copies) - len(steps))
    monkeypatch.undo()
    assert len(copies) == 6
    for copy, count in zip(copies, steps, strict=True):
        for _ in range(2):
            assert held(copy / "requests.arrows") == book.received[:count]


REFUSALS: dict[str, tuple[object, str, int]] = {
    "the segment": (compaction, "_write", 1),
    "its arrivals": (compaction, "_write", 2),
    "the first name": (disk, "put_in_place", 1),
    "the next segment": (os, "open", 1),
    "the next segment's name": (logfile, "put_in_place", 2),
}


@pytest.mark.parametrize("refused", REFUSALS)
def test_a_disk_with_no_room_to_seal_keeps_what_was_appended_and_the_segment_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    place, name, at = REFUSALS[refused]
    place = logfile if name == "put_in_place" else place
    book = Book(tmp_path / "requests.arrows")
    for _ in range(RUNS - 1):
        book.append()
    real, calls = getattr(place, name), iter(range(1, 100))

    def refuses(*args: object) -> object:
        if next(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    monkeypatch.setattr(place, name, refuses)
    book.append()
    monkeypatch.setattr(place, name, real)
    assert next(calls) > at
    copy = Path(shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-crashed")))
    assert held(copy / "requests.arrows") == book.received
    for _ in range(2 * RUNS):
        book.append()
    assert len(list(tmp_path.glob("requests.00000?.arrows"))) > 0
    assert held(book.file.path) == book.received


def test_a_run_with_sealed_segments_is_as_written_and_answers_the_same(tmp_path: Path) -> None:
    with network(2, 1, data=tmp_path) as desk:
        for n in range(12):
            filled(desk, order_qty=10)
            submit(desk["c2"], order_qty=10 + 10 * (n % 2))
        desk.run()
        assert (tmp_path / "c2" / "read_only" / "executions.000002.arrows").exists()
        assert (tmp_path / "venue" / "reports.000002.arrows").exists()
        before = [desk.summary(), *(c.statuses().to_dicts() for c in desk.customers)]
        past = desk.as_of(desk.clock())["c2"].statuses()
        with pytest.raises(StorageError, match="in use"):
            verify(tmp_path)
    assert verify(tmp_path).findings == []
    with Network.open(tmp_path) as again:
        after = [again.summary(), *(c.statuses().to_dicts() for c in again.customers)]
        assert after == before
        assert again.as_of(desk.clock())["c2"].statuses().equals(past)
        assert sound(again.audit())


@pytest.mark.parametrize("spoil", ["segment", "arrivals", "no arrivals", "no segment"])
def test_damage_in_a_sealed_segment_is_named_and_mended_from_peers(
    tmp_path: Path, spoil: str
) -> None:
    with network(2, 1, data=tmp_path) as desk:
        for _ in range(6):
            filled(desk)
    suffix = ".arrivals" if "arrivals" in spoil else ""
    path = tmp_path / "c2" / "authoritative" / f"requests.000002{suffix}.arrows"
    if spoil.startswith("no "):
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 8
        path.write_bytes(data)
    assert any("c2/authoritative/requests" in f.file for f in verify(tmp_path).findings)
    with Network.open(tmp_path) as again:
        assert [each.system for each in again.recovered] == ["c2"]
        assert not any(each.missing for each in again.recovered)
        filled(again)
        assert sound(again.audit())
    assert verify(tmp_path).findings == []


# Opening reads no record.


def test_what_is_sealed_takes_no_memory_when_it_is_opened(tmp_path: Path) -> None:
    rows = 100_000
    path = tmp_path / "requests.arrows"
    batch = run_of("requests", "c1", 1000)
    file = LogFile(path, REQUESTS)
    for n in range(0, rows, 1000):
        file.append(run_of("requests", "c1", 1000, n) if n == 0 else shifted(batch, n), n)
    file.close(lambda _, start, count: shifted(batch, start, count))
    before = pa.total_allocated_bytes()
    again = LogFile(path, REQUESTS)
    taken = pa.total_allocated_bytes() - before
    assert sum(held.num_rows for held in again.stored()) == rows
    assert taken < path.with_name("requests.000001.arrows").stat().st_size / 100
    again.close()


def shifted(batch: pa.RecordBatch, start: int, count: int = 1000) -> pa.RecordBatch:
    """So many records of c1 from ``start`` on, made of a batch that begins at 0."""
    ids = pa.array(range((0x4100 << 48) + start, (0x4100 << 48) + start + count), pa.uint64())
    rows = batch.take(pa.array([n % batch.num_rows for n in range(count)]))
    return rows.set_column(0, rows.schema.field(0), ids)


def test_an_order_is_answered_from_its_own_records_before_the_view_of_all_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inquiries, "_WORTH_A_VIEW", 0)
    monkeypatch.setattr(inquiries, "_FEW", 1000)
    with network(2, 1, data=tmp_path) as desk:
        order = filled(desk)
        submit(desk["c1"], order_qty=40)
        submit(desk["c2"], order_qty=10**6)
        desk.run()
        desk["c2"].cancel(submit(desk["c2"], order_qty=30))
    with Network.open(tmp_path) as again:
        for system in (*again.customers, again.firm):
            assert system.unviewed > 0
            ids = system.tables["requests"].frame["order_id"].unique().to_list()
            asked = [system.status(i) for i in ids]
            assert system.unviewed > 0
            monkeypatch.setattr(inquiries, "_FEW", 0)
            assert [system.status(i) for i in ids] == asked
            assert system.unviewed == 0
            monkeypatch.setattr(inquiries, "_FEW", 1000)
        assert again["c1"].status(order).ord_status == "filled"


def test_the_view_of_all_is_made_once_a_few_orders_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inquiries, "_WORTH_A_VIEW", 0)
    monkeypatch.setattr(inquiries, "_FEW", 3)
    with network(data=tmp_path) as desk:
        order = filled(desk)
    with Network.open(tmp_path) as again:
        for asked in range(1, 6):
            assert again["c1"].status(order).ord_status == "filled"
            assert (again["c1"].unviewed > 0) == (asked <= 3)


def test_opening_and_closing_changes_no_file(tmp_path: Path) -> None:
    with network(2, 1, data=tmp_path) as desk:
        for _ in range(3):
            filled(desk)
    before = contents(tmp_path)
    Network.open(tmp_path).close()
    assert contents(tmp_path) == before
