"""Goal: a file of very many small batches is rewritten when it is closed, and loses nothing by it.

Method: what it holds is compared with what was appended, also where the process dies, or the disk
refuses, at any step of the rewriting; and a run opens without reading its records.
"""

import errno
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tests.build import contents, filled, history, network, run_of, sound, submit
from tradesys.inquiry import inquiries
from tradesys.log import file as logfile
from tradesys.log.file import LogFile
from tradesys.network import Network
from tradesys.network.file_verification import verify
from tradesys.records.arrow import stamped
from tradesys.records.schemas import EXECUTIONS, REQUESTS

MANY = 8


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "_MANY_BATCHES", MANY)


def written(path: Path, count: int) -> dict[str, pa.RecordBatch]:
    """Append so many batches of two origins; gives the records of each, as they are held."""
    file, chance = LogFile(path, REQUESTS), random.Random(1)
    found: dict[str, list[pa.RecordBatch]] = {"c1": [], "c2": []}
    for n in range(count):
        name, rows = chance.choice(["c1", "c2"]), chance.choice([1, 1, 30])
        start = sum(batch.num_rows for batch in found[name])
        found[name].append(stamped(run_of("requests", name, rows, start), n))
        file.append(found[name][-1])
    file.sync()
    file.abandon()
    return {name: pa.concat_batches(batches) for name, batches in found.items() if batches}


def held(path: Path) -> dict[str, pa.RecordBatch]:
    """What a file gives of each origin when it is opened."""
    file = LogFile(path, REQUESTS)
    assert file.damage is None
    found: dict[str, list[pa.RecordBatch]] = {}
    for batch in file.stored():
        name = "c1" if batch.column(0)[0].as_py() >> 48 == 0x4100 else "c2"
        found.setdefault(name, []).append(batch)
    file.abandon()
    assert not list(path.parent.glob("*.new"))
    return {name: pa.concat_batches(batches) for name, batches in found.items()}


@pytest.mark.parametrize("count", [1, MANY, MANY + 1, 3 * MANY])
def test_very_many_small_batches_are_rewritten_by_origin_when_the_file_is_closed(
    tmp_path: Path, count: int
) -> None:
    path = tmp_path / "requests.arrows"
    records = written(path, count)
    assert held(path) == records
    LogFile(path, REQUESTS).close()
    assert len(history(path)) == (count if count <= MANY else 2)
    assert held(path) == records
    assert not list(tmp_path.glob("*.new"))


def test_very_many_small_batches_are_rewritten_while_the_file_is_open_too(tmp_path: Path) -> None:
    path = tmp_path / "requests.arrows"
    records = written(path, 3 * 16 * MANY)
    assert len(history(path)) < 16 * MANY
    assert held(path) == records


def test_a_file_of_large_batches_is_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "requests.arrows"
    file = LogFile(path, REQUESTS)
    for n in range(MANY + 1):
        file.append(stamped(run_of("requests", "c1", 600, 600 * n), n))
    file.close()
    assert len(history(path)) == MANY + 1


def test_a_crash_at_any_step_of_the_rewriting_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run" / "requests.arrows"
    records = written(path, 3 * MANY)
    copies: list[Path] = []

    def copied(real: object) -> object:
        def call(*args: object) -> object:
            copies.append(tmp_path / f"crash-{len(copies)}")
            shutil.copytree(path.parent, copies[-1])
            return real(*args)  # type: ignore[operator]

        return call

    file = LogFile(path, REQUESTS)
    for name in ("write_all", "sync_data", "put_in_place"):
        monkeypatch.setattr(logfile, name, copied(getattr(logfile, name)))
    file.close()
    monkeypatch.undo()
    assert len(copies) >= 5
    for copy in copies:
        assert held(copy / "requests.arrows") == records


@pytest.mark.parametrize("refused", ["write_all", "sync_data", "put_in_place"])
def test_a_disk_with_no_room_to_rewrite_keeps_what_was_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    path = tmp_path / "requests.arrows"
    records = written(path, 3 * MANY)
    file = LogFile(path, REQUESTS)
    real, calls = getattr(logfile, refused), iter(range(9))

    def refuses(*args: object) -> object:
        if next(calls) == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    monkeypatch.setattr(logfile, refused, refuses)
    file.close()
    monkeypatch.undo()
    assert len(history(path)) == 3 * MANY
    assert held(path) == records


def test_a_run_whose_files_were_rewritten_is_as_written_and_answers_the_same(
    tmp_path: Path,
) -> None:
    with network(2, 1, data=tmp_path) as desk:
        for n in range(12):
            filled(desk, order_qty=10)
            submit(desk["c2"], order_qty=10 + 10 * (n % 2))
        desk.run()
        before = [desk.summary(), *(c.statuses().to_dicts() for c in desk.customers)]
        past = desk.as_of(desk.clock())["c2"].statuses()
    executions = tmp_path / "c2" / "read_only" / "executions.arrows"
    assert len(history(executions, EXECUTIONS, "c2/read_only/executions")) == 1
    assert verify(tmp_path).findings == []
    with Network.open(tmp_path) as again:
        after = [again.summary(), *(c.statuses().to_dicts() for c in again.customers)]
        assert after == before
        assert again.as_of(desk.clock())["c2"].statuses().equals(past)
        assert sound(again.audit())


@pytest.mark.parametrize("when", ["at close", "while open"])
def test_a_file_whose_bytes_changed_meanwhile_is_not_rewritten_and_found_when_it_is_opened(
    tmp_path: Path, when: str
) -> None:
    path = tmp_path / "requests.arrows"
    count = 2 * MANY if when == "at close" else 16 * MANY
    file = LogFile(path, REQUESTS)
    for n in range(count):
        file.append(stamped(run_of("requests", "c1", 1, n), n))
    file.sync()
    data = bytearray(path.read_bytes())
    data[len(history(path)) * 100] ^= 1
    path.write_bytes(data)
    file.append(stamped(run_of("requests", "c1", 1, count), count))
    file.close()
    again = LogFile(path, REQUESTS)
    assert again.damage is not None
    assert not again.damage.torn
    again.settle()
    assert again.damage.aside.exists()
    again.close()


# Opening reads no record.


def test_large_batches_take_no_memory_when_a_file_is_opened(tmp_path: Path) -> None:
    rows = 100_000
    path = tmp_path / "requests.arrows"
    batch = run_of("requests", "c1", 1000)
    file = LogFile(path, REQUESTS)
    for n in range(0, rows, 1000):
        file.append(stamped(batch if n == 0 else shifted(batch, n), n))
    file.close()
    before = pa.total_allocated_bytes()
    again = LogFile(path, REQUESTS)
    taken = pa.total_allocated_bytes() - before
    assert sum(held.num_rows for held in again.stored()) == rows
    assert taken < path.stat().st_size / 100
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
