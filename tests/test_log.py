"""A log in memory: the records of one origin, all of them, in sequence.

Goal: what a log gives back is what was appended, and nothing that does not follow on gets in.
Method: a log of numbered records; Hypothesis draws into which batches they are cut.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import batch, new, record_id, run_of
from tradesys.log.log import Log
from tradesys.records.arrow import batch_of, rows_of
from tradesys.records.errors import GapError, SchemaError
from tradesys.records.schemas import REQUESTS, split_id

CODE, _ = split_id(record_id("c1", 0))
SIZES = st.lists(st.one_of(st.integers(1, 3), st.integers(1, 300)), min_size=1, max_size=60)


def filled(sizes: list[int]) -> Log:
    """A log of one origin's records 0, 1, 2, …, appended in batches of these sizes."""
    log, start = Log(CODE, REQUESTS), 0
    everything = run_of("requests", "c1", sum(sizes))
    for size in sizes:
        log.append(everything.slice(start, size))
        start += size
    return log


# What was appended is what is given back.


@given(SIZES)
def test_a_log_holds_every_record_in_sequence_whatever_the_batches(sizes: list[int]) -> None:
    log, expected = filled(sizes), run_of("requests", "c1", sum(sizes))
    assert log.count == len(expected)
    assert log.table().combine_chunks() == pa.Table.from_batches([expected])
    assert sum(len(frame) for frame in log.frames()) == len(expected)


@given(SIZES, st.data())
def test_what_follows_a_position_is_every_record_from_there_on(
    sizes: list[int], data: st.DataObject
) -> None:
    log, expected = filled(sizes), run_of("requests", "c1", sum(sizes))
    position = data.draw(st.integers(0, len(expected) - 1))
    assert log.since(position) == expected.slice(position)


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans(), st.integers(0, 3)), max_size=60))
def test_readers_who_follow_a_log_while_it_is_written_get_each_record_once(
    steps: list[tuple[int, bool, int]],
) -> None:
    log, whole = Log(CODE, REQUESTS), run_of("requests", "c1", 2400)
    rows = [tuple(row.values()) for row in rows_of(whole)]
    seen = [0, 0, 0]
    for size, one_by_one, reader in steps:
        start, stop = log.count, log.count + size
        if one_by_one:
            for row in rows[start:stop]:
                log.append(batch_of(REQUESTS, [row]))
        else:
            log.append(whole.slice(start, size))
        if reader < len(seen):
            assert log.since(seen[reader]) == whole.slice(seen[reader], stop - seen[reader])
            seen[reader] = stop
    assert log.table().combine_chunks() == pa.Table.from_batches([whole.slice(0, log.count)])


def test_threads_that_follow_a_log_get_each_record_once_while_another_writes() -> None:
    log, whole = Log(CODE, REQUESTS), run_of("requests", "c1", 3000)

    def follow() -> bool:
        seen, found = 0, []
        while seen < len(whole):
            new = log.since(seen)
            if new is not None:
                found.append(new)
                seen += len(new)
        return pa.concat_batches(found) == whole

    with ThreadPoolExecutor(3) as readers:
        answers = [readers.submit(follow) for _ in range(3)]
        for start in range(len(whole)):
            log.append(whole.slice(start, 1))
        assert all(answer.result() for answer in answers)


@given(SIZES)
def test_nothing_follows_the_last_record(sizes: list[int]) -> None:
    log = filled(sizes)
    assert log.since(log.count) is None
    assert log.since(log.count + 1) is None


@given(SIZES, st.data())
def test_a_record_is_found_by_its_sequence(sizes: list[int], data: st.DataObject) -> None:
    log = filled(sizes)
    sequence = data.draw(st.integers(0, log.count - 1))
    row = log.row(sequence)
    assert (row["record_id"], row["order_qty"]) == (record_id("c1", sequence), 1000 + sequence)


def test_records_of_one_row_each_are_merged_into_few_chunks() -> None:
    log = filled([1] * 5000)
    assert len(log.batches()) < 100
    assert log.table().combine_chunks() == pa.Table.from_batches([run_of("requests", "c1", 5000)])


@given(SIZES)
def test_a_batch_that_was_handed_out_does_not_change_when_more_is_appended(
    sizes: list[int],
) -> None:
    log, everything = Log(CODE, REQUESTS), run_of("requests", "c1", sum(sizes))
    start, seen = 0, []
    for size in sizes:
        log.append(everything.slice(start, size))
        start += size
        seen.append((log.since(0), everything.slice(0, start)))
    assert all(held == expected for held, expected in seen)


def test_the_time_of_the_last_record_is_that_of_the_last_appended() -> None:
    log = Log(CODE, REQUESTS)
    assert log.last_ts == 0
    rows = [new(record_id("c1", i), ts=500 + i) for i in range(3)]
    log.append(batch("requests", rows))
    assert log.last_ts == 502


# What does not follow on is refused; what is known is dropped.


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20))
def test_only_what_is_not_held_yet_passes(held: int, start: int, count: int) -> None:
    log = filled([held] if held else [])
    offered = run_of("requests", "c1", count, start)
    if start > held:
        with pytest.raises(GapError) as raised:
            log.check(offered)
        assert f"{held} held, {start - held} missing" in str(raised.value)
    elif start + count <= held:
        assert log.check(offered) is None
    else:
        assert log.check(offered) == run_of("requests", "c1", start + count - held, held)


@given(SIZES, st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=20))
def test_runs_that_overlap_in_any_order_leave_each_record_once(
    sizes: list[int], offers: list[tuple[int, int]]
) -> None:
    log = filled(sizes)
    for start, count in offers:
        try:
            fresh = log.check(run_of("requests", "c1", count, start))
        except GapError:
            continue
        if fresh is not None:
            log.append(fresh)
    ids = log.table()["record_id"].to_numpy()
    assert np.array_equal(ids, np.arange(log.count, dtype=np.uint64) + record_id("c1", 0))


def test_records_of_another_origin_are_refused() -> None:
    with pytest.raises(SchemaError, match="c2-0"):
        Log(CODE, REQUESTS).check(run_of("requests", "c2", 3))


def test_records_of_another_schema_are_refused() -> None:
    ours = run_of("requests", "c1", 2)
    for other in (run_of("postings", "c1", 2), ours.drop_columns(["price"])):
        with pytest.raises(SchemaError, match="expected"):
            Log(CODE, REQUESTS).check(other)


@pytest.mark.parametrize("sequences", [[0, 2], [0, 0, 2], [0, 2, 1, 3], [1, 0], [0, 1, 1]], ids=str)
def test_ids_that_are_not_one_run_are_refused(sequences: list[int]) -> None:
    offered = batch("requests", [new(record_id("c1", i)) for i in sequences])
    with pytest.raises(SchemaError, match="not one run"):
        Log(CODE, REQUESTS).check(offered)


def test_a_batch_of_two_origins_is_refused() -> None:
    rows = [new(record_id("c1", 0)), new(record_id("c2", 1))]
    with pytest.raises(SchemaError, match="not one run"):
        Log(CODE, REQUESTS).check(batch("requests", rows))


def test_a_batch_without_records_brings_nothing() -> None:
    assert Log(CODE, REQUESTS).check(run_of("requests", "c1", 0)) is None
