"""Goal: a replayed day ends with every customer-facing system right about every order.

Method: compare each system's answers with a computation straight from the file that shares no code
with the package (tests/lobster_oracle.py), on real days and on the generated one.
"""

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from tests.lobster_oracle import final_orders
from tradesys import InvalidValue
from tradesys.network import Network
from tradesys.network.tape_replay import Partition, Replayed, open_network, parse_partition, replay
from tradesys.venue import tapes

SAMPLE = Path(__file__).parent.parent / "data" / "sample"
DAYS = ("GOOG_message_10.parquet", "AMZN_message_5.parquet")
MIDDLE_THIRD = (Partition("c1", 0.33, 0.66),)


def expected_orders(path: Path, symbol: str) -> pl.DataFrame:
    orders = final_orders(path)
    return pl.DataFrame(
        [(f"{symbol}:{order_id}", *state) for order_id, state in orders.items()],
        schema=["name", "ord_status", "order_qty", "cum_qty", "leaves_qty"],
        orient="row",
    ).sort("name")


def assert_equal_everywhere(network: Network, expected: pl.DataFrame) -> None:
    for customer in network.customers:
        answered = customer.statuses().select(
            pl.col("cl_ord_id").str.split(".").list.first().alias("name"),
            pl.col("ord_status").cast(pl.String),
            *("order_qty", "cum_qty", "leaves_qty"),
        )
        assert answered.sort("name").equals(expected), f"{customer.name} differs from the file"


def run(path: Path, data: Path | None, cuts: tuple[Partition, ...]) -> tuple[Replayed, Network]:
    tape = tapes.read(path)
    network = open_network(tape, data=data)
    result = replay(tape, network, partitions=cuts)
    return result, network


@pytest.mark.parametrize("cuts", [(), MIDDLE_THIRD], ids=["whole", "c1 cut off"])
@pytest.mark.parametrize("day", DAYS)
def test_a_real_day_ends_equal_to_the_file_at_every_customer_facing_system(
    real_data: Path, tmp_path: Path, day: str, cuts: tuple[Partition, ...]
) -> None:
    path = real_data / "lobster" / day
    result, network = run(path, tmp_path / "run", cuts)
    with network:
        assert result.audit.verdict is True, str(result.audit)
        assert not result.refused
        assert not result.not_recorded
        assert_equal_everywhere(network, expected_orders(path, day.split("_", maxsplit=1)[0]))


@pytest.mark.parametrize("cuts", [(), MIDDLE_THIRD], ids=["whole", "c1 cut off"])
def test_the_sample_day_ends_equal_to_its_files_at_every_customer_facing_system(
    cuts: tuple[Partition, ...],
) -> None:
    result, network = run(SAMPLE, None, cuts)
    assert result.audit.verdict is True, str(result.audit)
    files = sorted(SAMPLE.glob("*_message_*"))
    expected = pl.concat([expected_orders(f, f.name.split("_")[0]) for f in files])
    assert_equal_everywhere(network, expected.sort("name"))


def test_while_a_system_is_cut_off_it_and_the_others_go_on() -> None:
    tape = tapes.read(SAMPLE)
    network = open_network(tape)
    seen: list[tuple[int, int, int]] = []

    def look(done: int) -> None:
        if 8_000 <= done <= 12_000:
            own = [network[name].tables["requests"].positions.get(name, 0) for name in ("c1", "c2")]
            seen.append((own[0], own[1], network["c2"].tables["requests"].positions["c1"]))

    replay(tape, network, partitions=MIDDLE_THIRD, progress=look)
    assert seen[-1][0] > seen[0][0], "c1 took no orders while it was cut off"
    assert seen[-1][1] > seen[0][1], "c2 took no orders while c1 was cut off"
    assert len({at_c2 for *_, at_c2 in seen}) == 1, "c2 heard of c1 through a cut link"


def test_the_batch_size_changes_no_answer() -> None:
    tape = tapes.read(SAMPLE)
    frames = []
    for batch in (250, 5_000):
        network = open_network(tape)
        replay(tape, network, batch=batch)
        frames.append(network["c2"].statuses().drop("order_id").sort("cl_ord_id"))
    assert frames[0].equals(frames[1])


def test_every_event_of_the_tape_is_a_request_a_fill_or_counted_as_ignored() -> None:
    result, _ = run(SAMPLE, None, ())
    told = result.as_dict()
    counts = [told["requests"], told["executions"], *result.tape.ignored.values()]
    assert sum(int(str(n)) for n in counts) == told["events"] == 20_000
    assert json.loads(json.dumps(told)) == told


def test_fills_of_an_order_that_was_not_recorded_are_counted(tmp_path: Path) -> None:
    """A price of half a tick: no order comes of it, and so none of its fills."""
    rows = ["34200,1,7,100,500050,1", "34201,4,7,60,500050,1", "34202,4,7,40,500050,1"]
    path = tmp_path / "ALFA_2024-06-03_34200000_57600000_message_1.csv"
    path.write_text("\n".join([*rows, "34203,1,8,100,500000,1", "34204,4,8,100,500000,1", ""]))
    result, network = run(path, None, ())
    told = result.as_dict()
    assert (told["executions"], told["not_filled"]) == (3, 2)
    assert sum(result.not_recorded.values()) == 1
    assert len(network["s1"].tables["executions"]) == 2, "the other order is new, and filled"


def test_the_files_of_a_replay_hold_what_the_systems_hold(tmp_path: Path) -> None:
    result, network = run(SAMPLE, tmp_path / "run", ())
    network.close()
    for system, held in result.systems.items():
        for file in (tmp_path / "run" / system).rglob("*.arrows"):
            with pa.OSFile(str(file)) as source:
                assert pa.ipc.open_stream(source).read_all().num_rows == held[file.stem]
    with Network.open(tmp_path / "run") as again:
        assert again.audit().verdict is True


def test_a_replay_needs_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(InvalidValue, match="empty or not there"):
        open_network(tapes.read(SAMPLE), data=tmp_path)


@pytest.mark.parametrize("text", ["c1", "c1:", "c1:0.5", "c1:0.6-0.5", "c1:0-2", "c1:a-b"])
def test_a_partition_that_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="partition="):
        parse_partition(text)


def test_a_partition_of_an_unknown_system_is_refused() -> None:
    tape = tapes.read(SAMPLE)
    with pytest.raises(InvalidValue, match="system='c9'"):
        replay(tape, open_network(tape), partitions=(Partition("c9", 0, 1),))


def a_day(folder: Path, *prices: int) -> Path:
    """A day with an order at each of these prices, in 1/10,000, and a cancel of the last."""
    rows = [f"{34_200 + i}.5,1,{i + 1},100,{price},1" for i, price in enumerate(prices)]
    last = len(prices)
    rows.append(f"{34_300}.5,3,{last},100,{prices[-1]},1")
    path = folder / "PNNY_2021-06-21_34200000_57600000_message_1.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_day_below_one_is_recorded_whole_in_ticks_of_a_ten_thousandth(tmp_path: Path) -> None:
    result, network = run(a_day(tmp_path, 4_987, 5_001, 9_876, 9_999, 10_000), None, ())
    assert result.verdict is True
    assert not result.not_recorded
    assert network["c1"].statuses()["price"].sort().to_list() == [
        4_987,
        5_001,
        9_876,
        9_999,
        10_000,
    ]


def test_a_replay_that_could_not_record_its_tape_is_false_and_says_how_many_and_why(
    tmp_path: Path,
) -> None:
    result, _ = run(a_day(tmp_path, 10_000, 10_001, 10_099), None, ())
    assert result.audit.verdict is True
    assert result.verdict is False
    assert result.as_dict()["verdict"] is False
    price, name = sorted(result.not_recorded, reverse=True)
    assert price.startswith("price: expected a multiple of the tick size, 0.01")
    assert name.startswith("orig_cl_ord_id: expected")
    assert (result.not_recorded[price], result.not_recorded[name]) == (2, 1)
