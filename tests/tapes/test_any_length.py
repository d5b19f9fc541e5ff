"""Goal: what a tape costs in memory is what is open on it, whatever its length.

Method: what is held is counted, and never timed.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tradesys.network.tape_replay import open_network, replay
from tradesys.venue.tapes import open_tape, orders, read, sources
from tradesys.venue.tapes.orders import Orders
from tradesys.venue.tapes.sources import File

NAME = "ALFA_2024-06-03_34200000_57600000_message_1.csv"
OPEN = 10
"""So many orders are open at any time."""


def written(path: Path, events: int) -> Path:
    """A day of orders of which each is deleted when ten have come after it."""
    texts = []
    for number in range(events // 2 + OPEN):
        texts.append(f"{34_200 + number / 1_000:.3f},1,{number},10,1000000,1\n")
        if number >= OPEN:
            texts.append(f"{34_200 + number / 1_000:.3f},3,{number - OPEN},10,1000000,1\n")
    path.write_text("".join(texts))
    return path


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_BLOCK", 1 << 14)
    monkeypatch.setattr(orders, "REMEMBERED", 100)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("events", [4_000, 40_000])
def test_ten_times_the_events_hold_no_more_orders_and_no_larger_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: int
) -> None:
    held, rows = [0], [0]
    take = Orders.take

    def counted(self: Orders, *given: object) -> None:
        take(self, *given)  # type: ignore[arg-type]
        held.append(len(self.open) + len(self.closed) + len(self.deleted_first))

    monkeypatch.setattr(Orders, "take", counted)
    stream = open_tape(written(tmp_path / NAME, events))
    rows += [len(part.requests) for part in stream.parts()]
    assert sum(rows) == stream.seen.events == events + OPEN
    assert max(held) <= OPEN + 1 + 100
    assert max(rows) < 2_000
    assert len(rows) > events // 1_000


@pytest.mark.usefixtures("small_blocks")
def test_parts_come_to_what_the_whole_does(tmp_path: Path) -> None:
    path = written(tmp_path / NAME, 4_000)
    parts = list(open_tape(path).parts())
    assert len(parts) > 5
    whole = read(path)
    assert pl.concat([part.requests for part in parts]).equals(whole.requests)
    assert parts[-1].stop == whole.events


@pytest.mark.usefixtures("small_blocks")
def test_a_tape_in_parts_is_replayed_as_the_whole_is(tmp_path: Path) -> None:
    path = written(tmp_path / NAME, 4_000)
    statuses = []
    for tape in (open_tape(path), read(path)):
        with open_network(tape, customers=2, streets=1) as network:
            assert replay(tape, network, batch=300).verdict is True
            statuses.append(network["c2"].statuses().drop("order_id").sort("cl_ord_id"))
    assert statuses[0].equals(statuses[1])


@pytest.mark.usefixtures("small_blocks")
def test_a_replay_reads_the_next_part_when_the_one_before_is_played(tmp_path: Path) -> None:
    tape = open_tape(written(tmp_path / NAME, 4_000))
    begun, played = [0], list[tuple[int, int]]()
    parts = tape.parts

    def watched() -> Iterator[object]:
        for part in parts():
            begun[0] += 1
            yield part

    tape.parts = watched  # type: ignore[assignment, method-assign]
    with open_network(tape, customers=1, streets=1) as network:
        replay(tape, network, batch=300, progress=lambda done: played.append((done, begun[0])))
    assert played[0][1] == 1
    assert played[-1][1] > 5


@pytest.mark.usefixtures("small_blocks")
def test_an_endless_line_takes_no_more_memory_than_a_long_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_LINE_MOST", 1 << 12)
    path = tmp_path / "flow"
    path.write_bytes(b"28800011X" + b"7" * (1 << 18) + b"\n28800012HSH      T0XY\n")
    lengths, long = list[int](), list[bool]()
    for rows in sources.lines(File(path)):
        lengths += rows["text"].str.len_bytes().to_list()
        long += rows["is_long"].to_list()
    assert max(lengths) <= 1 << 12
    assert long == [True, False]
