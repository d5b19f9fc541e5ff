"""PITCH: each message as an event, and a real morning rebuilt by one loop that shares no code.

Goal: our records end with the open quantities, and the books, that the messages say.
"""

import gzip
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from tradesys.network.tape_replay import open_network, replay
from tradesys.venue.tapes import Tape, inspect, open_tape, read

ADD = "S28800011AAK27GA0000DTS000100SH    0000619200Y"
ID = "AK27GA0000DT"
LONG = f"28800012d{ID}B001000BRK.A   0001000000YABCD"
EXECUTED, CANCELED = f"28800013E{ID}000030AAK27GA0000X", f"28800014X{ID}000070"
OTHERS = [
    f"28800015P{ID}B000100SH    0000619200AAK27GA0000Y",
    f"28800015r{ID}B000100BRK.A   0001000000AAK27GA0000Y",
    "28800015BAAK27GA0000Y",
    "28800015HSH      T0XY",
    "28800015ISH      C00000619200000000010000000010",
    "28800015JSH      O00006192000000000100",
    "28800015RSH      A",
    "28800015sSH      ",
]


def tape_of(folder: Path, *texts: str) -> Tape:
    path = folder / "flow"
    path.write_text("\n".join([*texts, ""]))
    return read(path, date="2024-06-03", bad_lines="fail")


def told(tape: Tape) -> list[tuple[object, ...]]:
    return tape.requests.select("request_type", "symbol", "side", "order_qty", "price").rows()


def test_an_add_an_execution_at_its_price_and_the_cancel_of_the_rest(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, ADD, EXECUTED, CANCELED)
    assert told(tape) == [
        ("new", "SH", "sell", 100, 619_200),
        ("cancel", "SH", "sell", 100, 619_200),
    ]
    assert tape.requests["cl_ord_id"].to_list() == [f"SH:{ID}", f"SH:{ID}.1"]
    assert tape.fills.select("cl_ord_id", "last_qty", "last_px").rows() == [
        (f"SH:{ID}", 30, 619_200)
    ]


def test_a_long_form_has_a_symbol_of_eight_letters(tmp_path: Path) -> None:
    assert told(tape_of(tmp_path, LONG)) == [("new", "BRK.A", "buy", 1_000, 1_000_000)]


def test_a_part_that_is_canceled_is_a_replace(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, ADD, EXECUTED, f"28800014X{ID}000020")
    assert told(tape)[1] == ("replace", "SH", "sell", 80, 619_200)


def test_an_order_that_is_canceled_whole_and_added_by_the_next_message_is_replaced(
    tmp_path: Path,
) -> None:
    again = ADD.replace("000100SH", "000250SH").replace("0000619200", "0000619100")
    tape = tape_of(tmp_path, ADD, EXECUTED, CANCELED, again, f"28800020X{ID}000050")
    assert told(tape)[1:] == [
        ("replace", "SH", "sell", 280, 619_100),  # 30 were executed before
        ("replace", "SH", "sell", 230, 619_100),
    ]
    assert tape.ignored == {"first half of a replace": 1}


def test_an_order_that_is_added_again_later_is_another_order(tmp_path: Path) -> None:
    other = ADD.replace(ID, "BK27GA0000DT")
    tape = tape_of(tmp_path, ADD, f"28800014X{ID}000100", other, ADD)
    names = tape.requests.filter(request_type="new")["cl_ord_id"].to_list()
    assert names == [f"SH:{ID}", "SH:BK27GA0000DT", f"SH:{ID}/1"]


def test_messages_of_no_order_are_counted_by_their_type(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, ADD, *OTHERS)
    assert sum(tape.ignored.values()) == len(OTHERS) == len(tape.ignored)
    assert told(tape) == [("new", "SH", "sell", 100, 619_200)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2880001xX" + ID + "000100", "time=2880001x"),
        ("99999999X" + ID + "000100", "time=99999999"),
        ("28800011Z" + ID + "000100", "type=Z"),
        ("28800011X" + ID.lower() + "000100", "order_id=ak27ga0000dt"),
        ("28800011X" + ID + "00x100", "shares=00x100"),
        ("28800011X" + ID, "shares="),
        (ADD.replace("TS0", "TQ0"), "side=Q"),
        (ADD.replace("SH    ", "      "), "symbol="),
        (ADD.replace("0000619200", "0000000000"), "price=0000000000"),
        (ADD[:40], "price="),
    ],
)
def test_a_line_that_breaks_the_format_is_named_and_left_out(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = tmp_path / "flow"
    path.write_text(f"{ADD}\n{OTHERS[0]}\n{line}\n")
    found = inspect(path)
    assert (found.bad, found.requests) == (1, 1)
    ((_, number, why),) = found.bad_lines.rows()
    assert number == 3
    assert why.startswith(reason)
    assert ": expected " in why


def rebuilt(path: Path) -> tuple[dict[str, int], Counter[tuple[str, str, int]]]:
    """What is open of each order, and the books: shares by symbol, side and price."""
    left: dict[str, list[object]] = {}
    for line in gzip.decompress(path.read_bytes()).decode().split("\n"):
        text = line.rstrip("\n").removeprefix("S")
        letter, order_id = text[8:9], text[9:21]
        if letter == "A":
            terms = (text[28:34].strip(), text[21], int(text[34:44]))
            left[order_id] = [int(text[22:28]), terms]
        elif letter in ("X", "E"):
            left[order_id][0] = int(str(left[order_id][0])) - int(text[21:27])
    book: Counter[tuple[str, str, int]] = Counter()
    for shares, terms in left.values():
        if shares:
            book[terms] += shares  # type: ignore[index]
    return {order_id: int(str(shares)) for order_id, (shares, _) in left.items()}, book


def test_each_order_and_each_book_of_a_real_morning_ends_as_its_messages_say(
    real_data: Path,
) -> None:
    path = real_data / "pitch" / "pitch_first_12000.txt.gz"
    tape = open_tape(path, date="2024-06-03")
    with open_network(tape) as network:
        result = replay(tape, network)
        assert result.audit.verdict is True, str(result.audit)
        assert not result.refused
        assert not result.not_recorded
        assert not result.not_filled
        orders, book = rebuilt(path)
        for customer in network.customers:
            answered = customer.statuses().with_columns(
                order=pl.col("cl_ord_id").str.extract(r":(\w{12})")
            )
            latest = dict(answered.group_by("order").agg(pl.col("leaves_qty").sum()).iter_rows())
            assert latest == orders
            resting = answered.filter(pl.col("leaves_qty") > 0)
            found: Counter[tuple[str, str, int]] = Counter()
            for symbol, side, price, qty in resting.select(
                "symbol", "side", "price", "leaves_qty"
            ).iter_rows():
                found[symbol, side[0].upper(), price] += qty
            assert found == book


def test_a_real_morning_has_the_counts_that_are_known_of_it(real_data: Path) -> None:
    found = inspect(real_data / "pitch" / "pitch_first_12000.txt.gz")
    assert dict(found.types.rows()) == {
        "A add order": 6_290,
        "X order cancel": 5_685,
        "E order executed": 11,
        "P trade": 14,
    }
    assert (found.format, found.events, len(found.symbols), found.bad) == ("pitch", 12_000, 285, 0)


def test_the_same_messages_as_a_table_make_the_same_tape(real_data: Path) -> None:
    folder = real_data / "pitch"
    text, table = (
        read(folder / f"pitch_first_12000.{kind}.gz", date="2024-06-03") for kind in ("txt", "csv")
    )
    assert table.requests.equals(text.requests)
    assert table.fills.equals(text.fills)
