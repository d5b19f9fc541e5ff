"""A log on disk: a standard Arrow stream in which nothing can change unseen.

Goal: what is read back is what was written, or a prefix of it, or a named error; never a wrong row.
Method: a file of a few batches of several origins is closed, abandoned as a crash would leave it,
cut at any byte and changed in any bit, and then opened again.
"""

import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.build import batch, history, new, record_id, run_of
from tradesys.log.file import LogFile
from tradesys.log.verified_stream import Reading, Stream
from tradesys.records.arrow import stamped
from tradesys.records.errors import DamagedError, StorageError
from tradesys.records.schemas import POSTINGS, REQUESTS, held

Received = list[tuple[int, pa.RecordBatch]]

# Two origins, batches of different sizes, times of reception that begin at 0 and are not in step.
RECEIVED: Received = [
    (0, run_of("requests", "c1", 1)),
    (7, run_of("requests", "c2", 40)),
    (7, run_of("requests", "c1", 3, 1)),
    (10**18 + 9, run_of("requests", "c1", 1, 4)),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "c1" / "authoritative" / "requests.arrows"


def write(path: Path, received: Received) -> LogFile:
    """Append these batches, and make them durable."""
    file = LogFile(path, REQUESTS)
    file.settle()
    for received_at, records in received:
        file.append(stamped(records, received_at))
    file.sync()
    return file


def reading(path: Path) -> Reading:
    return Stream(held(REQUESTS), "").read(path)


def read(path: Path) -> Received:
    """What the file holds, as an opened log file gives it; it is closed again."""
    file = LogFile(path, REQUESTS)
    file.settle()
    file.close()
    return history(path)


def ends(received: Received = RECEIVED) -> list[int]:
    """Where the header of a file of these batches ends, and then each of its batches."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.arrows"
        sizes = []
        for count in range(len(received) + 1):
            path.unlink(missing_ok=True)
            write(path, received[:count]).close()
            sizes.append(path.stat().st_size - len(END_OF_STREAM))
    return sizes


END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
ENDS = ends()


def closed_file(path: Path) -> bytes:
    """The bytes of a closed file of :data:`RECEIVED`."""
    write(path, RECEIVED).close()
    return path.read_bytes()


# What was appended is read back.


@given(st.lists(st.tuples(st.integers(0, 2**63 - 1), st.integers(1, 40)), max_size=8))
def test_what_was_appended_is_read_back_with_its_time_and_the_same_digest(
    appended: list[tuple[int, int]],
) -> None:
    received, start = [], 0
    for received_at, count in appended:
        received.append((received_at, run_of("requests", "c1", count, start)))
        start += count
    with TemporaryDirectory() as folder:
        path = Path(folder) / "requests.arrows"
        file = write(path, received)
        digest = reading(path).digest
        file.close()
        LogFile(path, REQUESTS).close()
        assert reading(path).digest == digest
        assert history(path) == received


def test_what_is_read_back_is_handed_out_once(path: Path) -> None:
    write(path, RECEIVED).close()
    file = LogFile(path, REQUESTS)
    assert sum(batch.num_rows for batch in file.stored()) == 45
    assert file.stored() == []
    file.close()


def test_a_file_that_was_never_closed_is_read_back_whole(path: Path) -> None:
    write(path, RECEIVED).abandon()
    assert read(path) == RECEIVED


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "abandoned"])
def test_a_file_opened_again_goes_on_as_if_it_had_never_stopped(
    path: Path, tmp_path: Path, *, closed: bool
) -> None:
    for received in RECEIVED:
        file = write(path, [received])
        if closed:
            file.close()
    write(tmp_path / "at_once", RECEIVED)
    assert reading(path).digest == reading(tmp_path / "at_once").digest
    assert read(path) == RECEIVED


def duckdb_table(path: Path) -> pa.Table:
    records = pa.ipc.open_stream(path.read_bytes()).read_all()  # noqa: F841 - DuckDB finds it
    relation = duckdb.sql("SELECT * FROM records")
    assert relation is not None
    return relation.to_arrow_table()


READERS: dict[str, Callable[[Path], pa.Table]] = {
    "memory_map": lambda path: pa.ipc.open_stream(pa.memory_map(str(path))).read_all(),
    "open_stream": lambda path: pa.ipc.open_stream(path.read_bytes()).read_all(),
    "polars": lambda path: pl.read_ipc_stream(path).to_arrow(),
    "duckdb": duckdb_table,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("batches", range(len(RECEIVED) + 1))
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_any_arrow_reader_opens_the_file_as_it_is_before_and_after_it_is_closed(
    path: Path, reader: str, batches: int, *, closed: bool
) -> None:
    file = write(path, RECEIVED[:batches])
    if closed:
        file.close()
    expected = pa.Table.from_batches(
        [stamped(batch, received_at) for received_at, batch in RECEIVED[:batches]], held(REQUESTS)
    )
    found = READERS[reader](path).cast(held(REQUESTS))
    assert found.combine_chunks() == expected.combine_chunks()
    file.close()


# The digest stands for the whole history.


@pytest.mark.parametrize(
    "other",
    [
        RECEIVED[:-1],
        [*RECEIVED[:2], (8, RECEIVED[2][1]), RECEIVED[3]],
        [RECEIVED[1], RECEIVED[0], *RECEIVED[2:]],
        [(0, batch("requests", [new(record_id("c1", 0), order_qty=7)])), *RECEIVED[1:]],
        [],
    ],
    ids=["shorter", "another time", "another order", "another record", "empty"],
)
def test_another_history_has_another_digest(tmp_path: Path, other: Received) -> None:
    for name, received in (("a", RECEIVED), ("b", other)):
        write(tmp_path / name, received)
    assert reading(tmp_path / "a").digest != reading(tmp_path / "b").digest


def test_the_same_history_is_the_same_file(tmp_path: Path) -> None:
    assert closed_file(tmp_path / "a") == closed_file(tmp_path / "b")


# A crash, and damage.


@given(st.integers(0, ENDS[-1] + len(END_OF_STREAM)))
@example(0)
@example(1)
@example(ENDS[0] - 1)
@example(ENDS[0])
@example(ENDS[1])
@example(ENDS[-1] - 1)
def test_a_file_cut_at_any_byte_is_a_prefix_of_its_batches(cut: int) -> None:
    whole = sum(end <= cut for end in ENDS[1:])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "requests.arrows"
        path.write_bytes(closed_file(path)[:cut])
        assert read(path) == RECEIVED[:whole]


@given(st.integers(0, ENDS[-1]), st.integers(1, 300_000))
@example(0, 256 * 1024)
def test_a_file_that_ends_in_zeros_is_a_prefix_of_its_batches(cut: int, zeros: int) -> None:
    whole = sum(end <= cut for end in ENDS[1:])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "requests.arrows"
        path.write_bytes(closed_file(path)[:cut] + bytes(zeros))
        assert read(path) in (RECEIVED[:whole], RECEIVED[: whole + 1])


@given(st.integers(0, ENDS[-1] - 1), st.integers(0, 7))
def test_a_bit_that_flipped_never_yields_a_wrong_row(byte: int, bit: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "requests.arrows"
        data = bytearray(closed_file(path))
        data[byte] ^= 1 << bit
        path.write_bytes(data)
        with suppress(DamagedError):
            found = read(path)
            assert found == RECEIVED[: len(found)]
            assert len(found) <= sum(end <= byte for end in ENDS[1:])


def test_what_a_crash_left_half_written_is_kept_beside_the_file(path: Path) -> None:
    data = closed_file(path)
    path.write_bytes(data[: ENDS[2] + 50])
    assert read(path) == RECEIVED[:2]
    (aside,) = path.parent.glob("*.torn")
    assert aside.read_bytes() == data[ENDS[2] : ENDS[2] + 50]


def test_what_follows_a_torn_tail_is_appended_where_it_was_cut(path: Path) -> None:
    path.write_bytes(closed_file(path)[: ENDS[3] - 5])
    write(path, RECEIVED[2:]).close()
    assert read(path) == RECEIVED


@pytest.mark.parametrize(
    "foreign", [b"once upon a time, there was a file", b"ARROW1\0\0" * 500], ids=["text", "arrow"]
)
def test_a_foreign_file_is_set_aside_as_it_is(path: Path, foreign: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(foreign)
    file = LogFile(path, REQUESTS)
    assert file.damage is not None
    assert (file.damage.path, file.damage.offset, file.damage.torn) == (path, 0, False)
    assert path.read_bytes() == foreign
    file.settle()
    assert file.damage.aside.read_bytes() == foreign
    assert file.stored() == []
    file.close()


def test_a_file_of_another_dataset_is_set_aside_as_it_is(path: Path) -> None:
    data = closed_file(path)
    file = LogFile(path, POSTINGS)
    file.settle()
    assert file.damage is not None
    assert file.damage.aside.read_bytes() == data
    file.close()


def test_a_file_of_another_owner_is_taken_for_damaged(path: Path) -> None:
    LogFile(path, REQUESTS, owner="c1/authoritative/requests").close()
    file = LogFile(path, REQUESTS, owner="c2/authoritative/requests")
    assert file.damage is not None
    file.close()


@pytest.mark.parametrize("version", [b"3", b"9"])
def test_a_file_of_another_format_is_refused_and_left_as_it_is(path: Path, version: bytes) -> None:
    other = closed_file(path).replace(b"tradesys-format-5", b"tradesys-format-" + version)
    path.write_bytes(other)
    with pytest.raises(StorageError, match=f"format {version.decode()},.*tradesys replay TAPE"):
        LogFile(path, REQUESTS)
    assert path.read_bytes() == other


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "c1").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="c1"):
        LogFile(tmp_path / "c1" / "requests.arrows", REQUESTS)


def test_a_file_is_closed_once_and_takes_nothing_afterwards(path: Path) -> None:
    file = write(path, RECEIVED)
    file.close()
    data = path.read_bytes()
    file.close()
    with pytest.raises(StorageError):
        file.append(stamped(RECEIVED[0][1], 0))
    assert path.read_bytes() == data


# The ids of an origin follow on.


def forged(path: Path, received: Received, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in which these batches stand, whatever their ids: every digest is right."""
    with monkeypatch.context() as patch:
        patch.setattr(LogFile, "_new", lambda _, batch, __: batch)
        write(path, received).close()


AMISS = {
    "a gap": ([run_of("requests", "c1", 2), run_of("requests", "c1", 3, 4)], "c1-4 to c1-6"),
    "again": ([run_of("requests", "c1", 2), run_of("requests", "c1", 2, 1)], "c1-1 to c1-2"),
    "no beginning": ([run_of("requests", "c1", 2), run_of("requests", "c2", 1, 1)], "c2-1 to c2-1"),
    "within": ([run_of("requests", "c1", 9).take(pa.array([0, 1, 5]))], "c1-0 to c1-5"),
}


@pytest.mark.parametrize("kind", AMISS)
def test_ids_that_do_not_follow_on_are_damage_that_names_them(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    batches, named = AMISS[kind]
    forged(path, [(n, batch) for n, batch in enumerate(batches)], monkeypatch)
    said = f"records {named} stand where"
    with pytest.raises(DamagedError, match=said):
        LogFile(path, REQUESTS, mends=False)
    file = LogFile(path, REQUESTS)
    assert file.damage is not None
    assert said in file.damage.reason
    assert not file.damage.torn
    file.settle()
    file.close()
    assert history(path) == [(n, batch) for n, batch in enumerate(batches[:-1])]
    assert LogFile(path, REQUESTS).damage is None


# A long tail.


def test_a_long_run_of_zeros_is_read_in_bounded_memory(path: Path) -> None:
    data = closed_file(path)
    for whole in (data, data.removesuffix(END_OF_STREAM), b""):
        path.write_bytes(whole)
        os.truncate(path, len(whole) + (512 << 20))
        with most_memory() as taken:
            assert read(path) == (RECEIVED if whole else [])
        assert taken() < 8 << 20
        assert path.stat().st_size < 1 << 20


@contextmanager
def most_memory() -> Iterator[Callable[[], int]]:
    """How many bytes Python and Arrow have taken at most meanwhile."""
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    peak = 0

    def taken() -> int:
        return peak

    try:
        yield taken
    finally:
        peak = tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - before
        tracemalloc.stop()


@pytest.mark.parametrize("after", [b"\1", END_OF_STREAM], ids=["a byte", "an end"])
def test_zeros_that_are_followed_by_anything_are_no_end(path: Path, after: bytes) -> None:
    data = closed_file(path)
    for zeros in (1 << 20, (3 << 20) + 17):
        path.write_bytes(data + bytes(zeros) + after)
        assert reading(path).problem
        file = LogFile(path, REQUESTS)
        assert file.damage is not None
        file.settle()
        assert file.damage.aside.read_bytes() == bytes(data[ENDS[-1] :]) + bytes(zeros) + after
        file.close()
        assert read(path) == RECEIVED
