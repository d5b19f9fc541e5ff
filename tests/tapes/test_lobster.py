"""A LOBSTER file as a tape: what each message becomes, and which files are refused.

Goal: no event of a file is lost, changed or made up on the way to the tape.
Method: the smallest file that shows a rule; files that Hypothesis draws, followed through the tape
and, apart from it, by the oracle; and the two real days, against what is known of them.
"""

import datetime as dt
import gzip
import zipfile
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.lobster_oracle import final_orders
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.venue.tapes import FORMATS, Tape, account, entry_system, inspect, lobster, read

Message = tuple[str, int, int, int, int, int]
NAME = "ALFA_2024-06-03_34200000_57600000_message_10.csv"
NEW = "34200.5,1,7,100,1000000,1"

# One order's life: 500 shares, cut to 400, 150 executed, cut to 300, 100 executed, deleted.
LIFE: tuple[Message, ...] = (
    ("34200.000000001", 1, 7, 500, 1_000_000, 1),
    ("34201.000000002", 2, 7, 100, 1_000_000, 1),
    ("34202.000000003", 4, 7, 150, 1_000_000, 1),
    ("34203.000000004", 2, 7, 100, 1_000_000, 1),
    ("34204.000000005", 4, 7, 100, 1_000_000, 1),
    ("34205.000000006", 3, 7, 50, 1_000_000, 1),
)


def lines(messages: Iterable[Message]) -> str:
    return "".join(",".join(map(str, message)) + "\n" for message in messages)


def tape_of(folder: Path, text: str, name: str = NAME, bad_lines: str = "skip") -> Tape:
    """The tape of a file with this text."""
    (folder / name).write_text(text, newline="")
    return read(folder / name, format="lobster", bad_lines=bad_lines)


def same(one: Tape, other: Tape) -> bool:
    assert_frame_equal(one.requests, other.requests)
    assert_frame_equal(one.fills, other.fills)
    return (one.events, one.ignored, one.symbols) == (other.events, other.ignored, other.symbols)


def ends(tape: Tape) -> dict[str, tuple[str, int, int, int]]:
    """What became of every order on a tape, told by its own rows in the order of events."""
    rows = [*tape.requests.rows(named=True), *tape.fills.rows(named=True)]
    first: dict[str, str] = {}  # the cl_ord_id of the new request that a chain goes back to
    qty: dict[str, int] = {}
    cum: dict[str, int] = {}
    closed: set[str] = set()
    for row in sorted(rows, key=lambda row: row["event"]):
        cl_ord_id = row["cl_ord_id"]
        if "last_qty" in row:
            cum[cl_ord_id] += row["last_qty"]
        elif row["request_type"] == "new":
            first[cl_ord_id], qty[cl_ord_id], cum[cl_ord_id] = cl_ord_id, row["order_qty"], 0
        else:
            start = first[cl_ord_id] = first[row["orig_cl_ord_id"]]
            if row["request_type"] == "replace":
                qty[start] = row["order_qty"]
            else:
                assert row["order_qty"] == qty[start], "a cancel has the quantity in force"
                closed.add(start)
    told = {}
    for order, order_qty in qty.items():
        leaves_qty = 0 if order in closed else order_qty - cum[order]
        status = "partially_filled" if cum[order] else "new"
        status = "canceled" if order in closed else status
        status = "filled" if cum[order] == order_qty else status
        told[order] = (status, order_qty, cum[order], leaves_qty)
    return told


def oracle(path: Path, symbol: str) -> dict[str, tuple[str, int, int, int]]:
    return {f"{symbol}:{order_id}": end for order_id, end in final_orders(path).items()}


# What each message becomes


def test_the_columns_are_those_a_tape_promises(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, lines(LIFE))
    when = pl.Datetime("ns", "UTC")
    text = dict.fromkeys(
        ("request_type", "cl_ord_id", "orig_cl_ord_id", "account", "symbol", "side", "ord_type"),
        pl.String(),
    )
    assert dict(tape.requests.schema) == {
        "event": pl.UInt32(),
        "ts": when,
        **text,
        "time_in_force": pl.String(),
        "order_qty": pl.Int64(),
        "price": pl.Int64(),
    }
    assert dict(tape.fills.schema) == {
        "event": pl.UInt32(),
        "ts": when,
        "cl_ord_id": pl.String(),
        "last_qty": pl.Int64(),
        "last_px": pl.Int64(),
    }


def test_a_submission_is_a_new_order(tmp_path: Path) -> None:
    request = tape_of(tmp_path, "34200.5,1,1234567,80,1000300,-1\n").requests.row(0, named=True)
    assert request == {
        "event": 0,
        "ts": dt.datetime(2024, 6, 3, 13, 30, 0, 500_000, tzinfo=dt.UTC),
        "request_type": "new",
        "cl_ord_id": "ALFA:1234567",
        "orig_cl_ord_id": None,
        "account": "A017",
        "symbol": "ALFA",
        "side": "sell",
        "ord_type": "limit",
        "time_in_force": "day",
        "order_qty": 80,
        "price": 1_000_300,
    }


def test_a_partial_cancel_is_a_replace_to_what_is_left_of_the_total(tmp_path: Path) -> None:
    requests = tape_of(tmp_path, lines(LIFE)).requests
    assert requests.select("event", "request_type", "order_qty").rows() == [
        (0, "new", 500),
        (1, "replace", 400),
        (3, "replace", 300),
        (5, "cancel", 300),
    ]


def test_each_change_of_an_order_names_the_replace_before_it(tmp_path: Path) -> None:
    requests = tape_of(tmp_path, lines(LIFE)).requests
    assert requests.select("cl_ord_id", "orig_cl_ord_id").rows() == [
        ("ALFA:7", None),
        ("ALFA:7.1", "ALFA:7"),
        ("ALFA:7.2", "ALFA:7.1"),
        ("ALFA:7.3", "ALFA:7.2"),
    ]


def test_an_execution_is_a_fill_of_the_new_order_at_its_own_price(tmp_path: Path) -> None:
    fills = tape_of(tmp_path, NEW + "\n34201.25,4,7,30,1000100,1\n").fills
    when = dt.datetime(2024, 6, 3, 13, 30, 1, 250_000, tzinfo=dt.UTC)
    assert fills.rows() == [(1, when, "ALFA:7", 30, 1_000_100)]


def test_what_is_no_order_of_the_file_is_counted_by_reason(tmp_path: Path) -> None:
    text = (
        "34200,6,-1,2000,1000000,-1\n"  # the opening cross
        "34200,5,0,50,1000050,1\n"
        "34200,5,0,60,1000050,-1\n"
        "34201,7,0,0,-1,-1\n"  # a halt, quoting again, trading again
        "34202,7,0,0,0,-1\n"
        "34203,7,0,0,1,-1\n"
        "34204,2,3,10,1000000,1\n"  # of orders that are older than the file
        "34205,4,3,10,1000000,1\n"
        "34206,3,3,10,1000000,1\n"
        "34207,3,4,10,1000000,1\n"
    )
    tape = tape_of(tmp_path, text)
    assert tape.ignored == {
        "cross trade": 1,
        "hidden execution": 2,
        "trading halt": 3,
        "orphan replace": 1,
        "orphan execution": 1,
        "orphan cancel": 2,
    }
    assert (tape.events, tape.requests.height, tape.fills.height) == (10, 0, 0)


def test_an_event_before_its_order_is_submitted_is_an_orphan(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, f"34200.1,4,7,10,1000000,1\n{NEW}\n34201,4,7,20,1000000,1\n")
    assert tape.ignored == {"orphan execution": 1}
    assert tape.fills["last_qty"].to_list() == [20]


@pytest.mark.parametrize("end", [3, 4], ids=["deleted", "executed"])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (2, "replace of a closed order"),
        (3, "cancel of a closed order"),
        (4, "execution of a closed order"),
    ],
)
def test_an_event_of_an_order_that_is_closed_is_counted_and_nothing_else(
    tmp_path: Path, end: int, kind: int, reason: str
) -> None:
    submitted = [("34200", 1, 7, 100, 10_000, 1), ("34201", end, 7, 100, 10_000, 1)]
    whole = tape_of(tmp_path, lines(submitted))
    tape = tape_of(tmp_path, lines([*submitted, ("34202", kind, 7, 50, 10_000, 1)]))
    assert tape.ignored == {reason: 1}
    assert tape.events == 3
    assert_frame_equal(tape.requests, whole.requests)
    assert_frame_equal(tape.fills, whole.fills)


def test_an_order_of_one_file_is_an_orphan_in_another(tmp_path: Path) -> None:
    (tmp_path / "ALFA_message_10.csv").write_text(NEW)
    (tmp_path / "BRVO_message_10.csv").write_text("34201,3,7,100,1000000,1")
    assert read(tmp_path).ignored == {"orphan cancel": 1}


# Times


@given(ns=st.integers(0, 86_400 * 10**9 - 1))
def test_a_time_is_read_to_the_nanosecond(ns: int) -> None:
    seconds, fraction = divmod(ns, 10**9)
    with TemporaryDirectory() as folder:
        tape = tape_of(Path(folder), f"{seconds}.{fraction:09d},1,7,100,100,1\n")
    midnight = dt.datetime(2024, 6, 3, 4, tzinfo=dt.UTC).timestamp()
    assert tape.requests["ts"].dt.timestamp("ns").item() == int(midnight) * 10**9 + ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("34200", 0),
        ("34200.", 0),
        ("34200.1", 100_000_000),
        ("34200.000000001", 1),
        ("34200.6328126720049", 632_812_672),  # beyond the ninth decimal it is cut, not rounded
    ],
)
def test_a_time_may_have_any_number_of_decimals(tmp_path: Path, text: str, ns: int) -> None:
    tape = tape_of(tmp_path, f"{text},1,7,100,100,1\n")
    assert tape.requests["ts"].dt.timestamp("ns").item() % 10**9 == ns


@pytest.mark.parametrize(
    ("date", "hour"),
    [("2024-01-03", 14), ("2024-06-03", 13), ("2024-03-08", 14), ("2024-03-11", 13)],
)
def test_half_past_nine_in_new_york_follows_its_clocks(
    tmp_path: Path, date: str, hour: int
) -> None:
    tape = tape_of(tmp_path, NEW, NAME.replace("2024-06-03", date))
    ts = tape.requests["ts"].item()
    assert (ts.hour, ts.minute, str(ts.date())) == (hour, 30, date)


def test_an_hour_that_new_york_skipped_is_refused(tmp_path: Path) -> None:
    name = NAME.replace("2024-06-03", "2024-03-10")
    with pytest.raises(InvalidValue, match=r"time='9000': expected a time .* \(line 1 of"):
        tape_of(tmp_path, "9000,1,7,100,100,1", name, bad_lines="fail")


def test_the_day_comes_from_the_name_or_the_caller_or_is_the_first_of_1970(tmp_path: Path) -> None:
    short = tmp_path / "ALFA_message_10.csv"
    short.write_text(NEW)
    day = dt.date(2012, 6, 21)
    assert read(short).requests["ts"].dt.date().item() == dt.date(1970, 1, 1)
    assert read(short, date="2012-06-21").requests["ts"].dt.date().item() == day
    assert read(short, date=day).requests["ts"].dt.date().item() == day
    assert tape_of(tmp_path, NEW).requests["ts"].dt.date().item() == dt.date(2024, 6, 3)


def test_a_day_that_is_not_the_one_in_the_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(NEW)
    with pytest.raises(InvalidValue, match=r"date='2012-06-21': expected 2024-06-03"):
        read(tmp_path / NAME, date="2012-06-21")


# Several files


def test_files_are_merged_by_time_and_ties_keep_the_order_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "BRVO_message_5.csv").write_text("2,1,1,1,1,1\n2,1,2,1,1,1\n4,3,1,1,1,1\n")
    (tmp_path / "ALFA_message_5.csv").write_text("1,1,1,1,1,1\n2,1,2,1,1,1\n3,4,1,1,1,1\n")
    (tmp_path / "ALFA_orderbook_5.csv").write_text("not a message file")
    tape = read(tmp_path)
    assert tape.symbols == ("ALFA", "BRVO")
    assert tape.requests.select("event", "cl_ord_id").rows() == [
        (0, "ALFA:1"),
        (1, "ALFA:2"),
        (2, "BRVO:1"),
        (3, "BRVO:2"),
        (5, "BRVO:1.1"),
    ]
    assert tape.fills.select("event", "cl_ord_id").rows() == [(4, "ALFA:1")]
    listed = read([tmp_path / "BRVO_message_5.csv", tmp_path / "ALFA_message_5.csv"])
    assert listed.symbols == ("BRVO", "ALFA")
    assert listed.requests["cl_ord_id"].to_list()[1:4] == ["BRVO:1", "BRVO:2", "ALFA:2"]


def test_a_symbol_with_two_files_is_refused(tmp_path: Path) -> None:
    for name in (NAME, NAME.replace("_10", "_5")):
        (tmp_path / name).write_text(NEW)
    with pytest.raises(InvalidValue, match="one file per symbol and day, ALFA has several"):
        read(tmp_path)


def test_the_three_kinds_of_file_give_the_same_tape(tmp_path: Path) -> None:
    text = lines(LIFE)
    paths = [tmp_path / f"ALFA_message_10{kind}" for kind in (".csv", ".csv.gz", ".parquet")]
    paths[0].write_text(text.replace("\n", "\r\n"), newline="")
    paths[1].write_bytes(gzip.compress(text.encode()))
    ns = [int(time.replace(".", "")) for time, *_ in LIFE]
    columns = {"time_ns": ns} | {
        name: [message[i] for message in LIFE] for i, name in enumerate(lobster.COLUMNS) if i
    }
    pl.DataFrame(columns).cast({"type": pl.Int8, "size": pl.Int32}).write_parquet(paths[2])
    tapes = [read(path) for path in paths]
    assert same(tapes[0], tapes[1])
    assert same(tapes[0], tapes[2])


# Files that are refused


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("Time,Type,Order ID,Size,Price,Direction", "time", "Time"),
        ("-34201,1,8,100,1000000,1", "time", "-34201"),
        ("34201.5.5,1,8,100,1000000,1", "time", "34201.5.5"),
        ("3.4201e4,1,8,100,1000000,1", "time", "3.4201e4"),
        ("34201.-5,1,8,100,1000000,1", "time", "34201.-5"),
        (".5,1,8,100,1000000,1", "time", ".5"),
        ("86400,1,8,100,1000000,1", "time", "86400"),
        ("34201,8,8,100,1000000,1", "type", "8"),
        ("34201,0,8,100,1000000,1", "type", "0"),
        ("34201,new,8,100,1000000,1", "type", "new"),
        ("34201,1,,100,1000000,1", "order_id", ""),
        ("34201,1,-8,100,1000000,1", "order_id", "-8"),
        ("34201,1,99999999999999999999,100,1000000,1", "order_id", "99999999999999999999"),
        ("34201,1,8,0,1000000,1", "size", "0"),
        ("34201,3,8,-1,1000000,1", "size", "-1"),
        ("34201,5,0,1.5,1000000,1", "size", "1.5"),
        ("34201,1,8,100,0,1", "price", "0"),
        ("34201,1,8,100,100.25,1", "price", "100.25"),
        ("34201,1,8,100,1000000,0", "direction", "0"),
        ("34201,1,8,100,1000000,buy", "direction", "buy"),
    ],
)
def test_a_row_that_breaks_the_format_is_named(
    tmp_path: Path, line: str, field: str, value: object
) -> None:
    with pytest.raises(
        InvalidValue, match=r"expected .* \(line 2 of .*ALFA_2024.*\.csv\)"
    ) as raised:
        tape_of(tmp_path, f"{NEW}\n{line}\n34300,5,0,1,1,1\n", bad_lines="fail")
    skipped = tape_of(tmp_path, f"{NEW}\n{line}\n34300,5,0,1,1,1\n")
    assert (skipped.events, skipped.requests.height) == (2, 1)
    assert (raised.value.field, raised.value.value) == (field, value)


def test_the_first_row_at_fault_is_named(tmp_path: Path) -> None:
    text = f"{NEW}\n34201,5,0,1,1,1\n34202,1,8,0,1,1\n34203,9,8,1,1,1\n"
    with pytest.raises(InvalidValue, match=r"size='0'.*line 3 of"):
        tape_of(tmp_path, text, bad_lines="fail")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("34201,1,7,100,1000000,1", "new order of an id that is open"),
        ("34201,4,7,100,1000000,-1", "another side than its order has"),
    ],
)
def test_an_event_that_cannot_be_of_its_order_is_counted_and_nothing_else(
    tmp_path: Path, line: str, reason: str
) -> None:
    tape = tape_of(tmp_path, f"{NEW}\n{line}\n")
    assert tape.ignored == {reason: 1}
    assert (tape.requests.height, tape.fills.height) == (1, 0)


def test_an_order_is_canceled_whatever_price_the_cancel_states(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, f"{NEW}\n34201,3,7,100,1000100,1\n")
    assert tape.requests.select("request_type", "price").rows()[1] == ("cancel", 1_000_000)
    (fault,) = inspect(tmp_path / NAME).faults.rows()
    assert fault == ("canceled at another price than its order has", 1, [2])


def test_no_more_is_executed_or_canceled_than_is_open(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text(f"{NEW}\n34201,4,7,150,1000000,1\n34202,1,8,50,10000,1\n34203,2,8,60,10000,1\n")
    tape = read(path)
    assert tape.fills["last_qty"].to_list() == [100]
    assert tape.requests["request_type"].to_list() == ["new", "new", "cancel"]
    (fault,) = inspect(path).faults.rows()
    assert fault == ("more than is open", 2, [2, 4])


def test_a_time_that_goes_back_is_that_of_the_event_before_and_is_counted(tmp_path: Path) -> None:
    tape = tape_of(tmp_path, f"{NEW}\n34199,1,8,50,10000,1\n34201,1,9,50,10000,1\n")
    first, second, third = tape.requests["ts"]
    assert first == second < third
    (fault,) = inspect(tmp_path / NAME).faults.rows()
    assert fault == ("time goes back", 1, [2])


@pytest.mark.parametrize(
    ("line", "columns"), [("34201,1,8,100,1000000", 5), (NEW + ",null,", 8), ("a", 1)]
)
def test_a_row_with_other_than_six_or_seven_columns_is_named(
    tmp_path: Path, line: str, columns: int
) -> None:
    expected = rf"columns='{columns}': expected 6 or 7: time, type, .* \(line 2 of .*\.csv\)"
    with pytest.raises(InvalidValue, match=expected):
        tape_of(tmp_path, f"{NEW}\n{line}\n34201,5,0,1,1,1\n", bad_lines="fail")


def test_marks_headers_blank_lines_and_ends_of_lines_are_nobodys_problem(tmp_path: Path) -> None:
    plain = tape_of(tmp_path, lines(LIFE))
    text = "time,type,order_id,size,price,direction\r\n\r\n" + lines(LIFE).replace("\n", "\r\n")
    path = tmp_path / "anything at all"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n\n")
    given = {"symbol": "ALFA", "date": "2024-06-03"}
    assert same(read(path, bad_lines="fail", **given), plain)
    with_mpid = "".join(f"{line},ABCD\n" for line in lines(LIFE).splitlines())
    assert same(tape_of(tmp_path, with_mpid), plain)


def test_a_file_without_events_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"ALFA.*\.csv: expected order events, there are none"):
        tape_of(tmp_path, "")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (NAME + ".gz", gzip.compress(NEW.encode() * 100, mtime=0)[:-9]),
        ("ALFA_message_10.parquet", b"PAR1"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SchemaError, match=f"{name}: cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\xfa", b"\0" * 100, b"no order flow\n", b"{}"])
def test_what_is_no_order_flow_is_told_what_would_be(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(SchemaError, match=f"{NAME}: expected LOBSTER messages, BATS PITCH.*--map"):
        read(tmp_path)


def test_a_parquet_file_needs_the_six_columns(tmp_path: Path) -> None:
    path = tmp_path / "ALFA_message_10.parquet"
    right = pl.DataFrame({name: [1] for name in lobster.PARQUET_COLUMNS})
    right.drop("size").write_parquet(path)
    with pytest.raises(SchemaError, match="expected LOBSTER"):
        read(path)
    right.with_columns(time_ns=86_400 * 10**9).write_parquet(path)
    with pytest.raises(InvalidValue, match="time='86400000000000': expected a time of day"):
        read(path, bad_lines="fail")
    right.with_columns(size=pl.lit(None, pl.Int64)).write_parquet(path)
    with pytest.raises(InvalidValue, match=r"size='nothing': expected .* \(line 1 of"):
        read(path, bad_lines="fail")


def test_a_name_that_does_not_say_the_symbol_needs_it_from_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "alfa.csv"
    path.write_text(NEW)
    with pytest.raises(InvalidValue, match=r"alfa\.csv does not say: give --symbol"):
        read(path)
    tape = read(path, symbol="ALFA", date="2012-06-21")
    assert tape.symbols == ("ALFA",)
    assert tape.requests["ts"].dt.date().item() == dt.date(2012, 6, 21)


def test_the_days_of_a_symbol_follow_on_from_one_another(tmp_path: Path) -> None:
    for day in ("2024-06-04", "2024-06-03"):
        (tmp_path / NAME.replace("2024-06-03", day)).write_text(f"{NEW}\n34201,3,7,100,1000000,1\n")
    tape = read(tmp_path)
    assert tape.symbols == ("ALFA",)
    assert tape.requests["ts"].is_sorted()
    named = ["ALFA:7", "ALFA:7.1", "ALFA:7@2024-06-04", "ALFA:7@2024-06-04.1"]
    assert tape.requests["cl_ord_id"].to_list() == named


def test_the_members_of_an_archive_are_files(tmp_path: Path) -> None:
    plain = tape_of(tmp_path, lines(LIFE))
    with zipfile.ZipFile(tmp_path / "day.zip", "w") as archive:
        archive.write(tmp_path / NAME, NAME)
        archive.writestr(NAME.replace("message", "orderbook"), "1,2,3,4\n")
    assert same(read(tmp_path / "day.zip"), plain)


def test_a_path_with_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="at least one file"):
        read(tmp_path)
    with pytest.raises(InvalidValue, match="a file or a folder that exists"):
        read(tmp_path / NAME)
    with pytest.raises(InvalidValue, match="at least one file"):
        read([])
    with pytest.raises(InvalidValue, match="a day like 2024-06-03"):
        tape_of(tmp_path, NEW, NAME.replace("06-03", "06-31"))


# The rule for accounts, and the choice of a format


def split_mix_64(number: int) -> int:
    """One output of SplitMix64, in whole numbers that do not wrap."""
    mask = 2**64 - 1
    bits = number + 0x9E3779B97F4A7C15 & mask
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & mask
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & mask
    return bits ^ bits >> 31


def test_an_account_is_the_mixed_order_id_modulo_the_number_of_accounts() -> None:
    ids = pl.DataFrame({"id": [0, 99, 100, 1_234_567, 2**62]})
    assert split_mix_64(0) == 0xE220A8397B1DCDAF, "as its authors' program begins from 0"
    assert ids.select(account(pl.col("id"))).to_series().to_list() == [
        f"A{split_mix_64(number) % 100:03}" for number in ids["id"]
    ]
    assert ids.select(account(pl.col("id"), 1)).to_series().to_list()[3] == "A000"
    with pytest.raises(InvalidValue, match="accounts=0: expected"):
        account(pl.col("id"), 0)


@given(order_id=st.integers(0, 2**63 - 1), accounts=st.integers(1, 9999), n=st.integers(1, 255))
def test_an_account_always_enters_by_one_system(order_id: int, accounts: int, n: int) -> None:
    frame = pl.DataFrame({"id": [order_id]}).select(account=account(pl.col("id"), accounts))
    entry = frame.select(entry_system(pl.col("account"), n)).to_series()
    assert entry.dtype == pl.UInt32
    assert entry.item() == split_mix_64(order_id) % accounts % n


@pytest.mark.parametrize("customers", [2, 3, 4, 8])
@pytest.mark.parametrize("pattern", [range(1, 40_000, 4), range(0, 10**6, 100), range(10_000)])
def test_orders_are_spread_over_accounts_and_systems_whatever_pattern_their_ids_have(
    customers: int, pattern: range
) -> None:
    entered = pl.DataFrame({"id": pattern}).select(account=account(pl.col("id")))
    entered = entered.with_columns(system=entry_system(pl.col("account"), customers))
    assert entered["account"].n_unique() == 100
    counts = entered["system"].value_counts()["count"]
    assert len(counts) == customers
    assert min(counts) > 0.8 * len(pattern) / customers


def test_a_number_of_systems_is_positive() -> None:
    with pytest.raises(InvalidValue, match="customers=0: expected"):
        entry_system(pl.col("account"), 0)


def test_read_takes_the_reader_of_the_format(tmp_path: Path) -> None:
    direct = tape_of(tmp_path, lines(LIFE))
    assert same(read(tmp_path / NAME), direct)
    assert same(read(str(tmp_path), format="lobster"), direct)
    assert read(tmp_path, accounts=5).requests["account"].unique().to_list() == ["A002"]


def test_a_format_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=f"format='tea': expected one of {', '.join(FORMATS)}"):
        read(tmp_path, format="tea")


# Whatever a file holds


@st.composite
def days(draw: st.DrawFn) -> list[Message]:
    """A day that keeps the format's rules, of up to six orders, some older than the file."""
    steps = st.tuples(st.sampled_from((1, 1, 2, 3, 4, 4, 5)), st.integers(1, 6), st.integers(1, 60))
    left: dict[int, int] = {}
    quantity: dict[int, int] = {}
    messages: list[Message] = []
    ns = 34_200 * 10**9
    for kind, order_id, most in draw(st.lists(steps, min_size=1, max_size=40)):
        ns += draw(st.sampled_from((0, 1, 999_999_999, 10**9)))
        size = most
        if kind == 1:
            if order_id in quantity:
                continue
            left[order_id] = quantity[order_id] = size
        elif kind != 5 and order_id in quantity:
            size = left[order_id] if kind == 3 else min(most, left[order_id])
            if kind == 2:  # a replace to nothing is no replace
                size = min(size, quantity[order_id] - 1)
                quantity[order_id] -= size
            if size == 0:
                continue
            left[order_id] -= size
        time = f"{ns // 10**9}.{ns % 10**9:09d}"
        shown = 0 if kind == 5 else order_id
        side = 1 if order_id % 2 else -1
        messages.append((time, kind, shown, size, 10_000 + 100 * order_id, side))
    return messages or [("34200", 1, 1, 1, 1, 1)]


@given(day=days())
def test_every_order_ends_as_the_oracle_says(day: list[Message]) -> None:
    with TemporaryDirectory() as folder:
        tape = tape_of(Path(folder), lines(day))
        assert ends(tape) == oracle(Path(folder) / NAME, "ALFA")


@given(day=days())
def test_every_event_is_a_request_a_fill_or_counted(day: list[Message]) -> None:
    with TemporaryDirectory() as folder:
        tape = tape_of(Path(folder), lines(day))
    used = [*tape.requests["event"], *tape.fills["event"]]
    assert tape.events == len(day) == len(set(used)) + sum(tape.ignored.values())
    assert len(used) == len(set(used))
    assert tape.requests["event"].is_sorted()
    assert tape.fills["event"].is_sorted()


@given(one=days(), other=days())
def test_merging_files_changes_only_the_numbers_of_events(
    one: list[Message], other: list[Message]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder)
        alone = {
            symbol: tape_of(path, lines(day), NAME.replace("ALFA", symbol))
            for symbol, day in (("ALFA", one), ("BRVO", other))
        }
        merged = read(path)
    assert merged.events == len(one) + len(other)
    times = pl.concat([merged.requests.select("event", "ts"), merged.fills.select("event", "ts")])
    assert times.sort("event")["ts"].is_sorted()
    for symbol, tape in alone.items():
        requests = merged.requests.filter(symbol=symbol).drop("event")
        assert_frame_equal(requests, tape.requests.drop("event"))
        fills = merged.fills.filter(pl.col("cl_ord_id").str.starts_with(symbol)).drop("event")
        assert_frame_equal(fills, tape.fills.drop("event"))
    reasons = {reason for tape in alone.values() for reason in tape.ignored}
    assert merged.ignored == {
        reason: sum(tape.ignored.get(reason, 0) for tape in alone.values()) for reason in reasons
    }


# The oracle, and the real days


def test_the_oracle_agrees_with_a_life_worked_out_by_hand(tmp_path: Path) -> None:
    more: tuple[Message, ...] = (
        ("34206", 1, 8, 100, 1, -1),  # untouched
        ("34207", 1, 9, 100, 1, -1),  # 60 of 100 executed
        ("34208", 4, 9, 60, 1, -1),
        ("34209", 1, 10, 100, 1, -1),  # 60 executed, and the other 40 cancelled as a part
        ("34210", 4, 10, 60, 1, -1),
        ("34211", 2, 10, 40, 1, -1),
        ("34212", 4, 11, 5, 1, -1),  # older than the file
    )
    (tmp_path / NAME).write_text(lines(LIFE + more))
    assert final_orders(tmp_path / NAME) == {
        7: ("canceled", 300, 250, 0),
        8: ("new", 100, 0, 100),
        9: ("partially_filled", 100, 60, 40),
        10: ("canceled", 100, 60, 0),
    }


# In AMZN five deletions take less than what the file shows to be left: something happened to these
# orders outside the five levels. A deletion closes an order all the same.
REAL = [
    (
        "GOOG_message_10.parquet",
        (147_916, 71_258, 3_913, 3_363),
        {"closed": 67_316, "reduced": 4, "untouched": 3_938},
        (1_316, 17),
    ),
    (
        "AMZN_message_5.parquet",
        (155_935, 77_381, 2_445, 8_491),
        {"closed": 65_182 + 5, "reduced": 45 - 5, "untouched": 12_154},
        (1_111, 17),
    ),
]


@pytest.mark.parametrize(("name", "counts", "how_ended", "several"), REAL)
def test_a_real_day_has_the_counts_that_are_known_of_it(
    real_data: Path,
    name: str,
    counts: tuple[int, int, int, int],
    how_ended: dict[str, int],
    several: tuple[int, int],
) -> None:
    tape = read(real_data / "lobster" / name, date="2012-06-21")
    orphans = sum(count for reason, count in tape.ignored.items() if reason.startswith("orphan"))
    new = tape.requests.filter(request_type="new")
    assert (tape.events, new.height, tape.ignored["hidden execution"], orphans) == counts
    assert tape.events == tape.requests.height + tape.fills.height + sum(tape.ignored.values())

    told = ends(tape)
    closed = sum(end[3] == 0 for end in told.values())
    submitted = dict(new.select("cl_ord_id", "order_qty").iter_rows())
    untouched = sum(end == ("new", submitted[o], 0, submitted[o]) for o, end in told.items())
    reduced = len(told) - closed - untouched
    assert {"closed": closed, "reduced": reduced, "untouched": untouched} == how_ended

    # Of the orders that the file submits; with those that are older there are more.
    fills = tape.fills["cl_ord_id"].value_counts()["count"]
    assert ((fills > 1).sum(), fills.max()) == several


@pytest.mark.parametrize("name", [name for name, *_ in REAL])
def test_every_order_of_a_real_day_ends_as_the_oracle_says(real_data: Path, name: str) -> None:
    path = real_data / "lobster" / name
    assert ends(read(path)) == oracle(path, name[:4])


def test_a_real_day_reads_the_same_from_native_text(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "lobster" / "GOOG_message_10.parquet"
    native = pl.read_parquet(path).select(
        pl.format(
            "{}.{}",
            pl.col("time_ns") // 10**9,
            (pl.col("time_ns") % 10**9).cast(pl.String).str.zfill(9),
        ),
        pl.exclude("time_ns"),
    )
    copy = tmp_path / "GOOG_2012-06-21_34200000_57600000_message_10.csv"
    native.write_csv(copy, include_header=False)
    assert same(read(copy), read(path, date="2012-06-21"))


def test_both_real_days_merge(real_data: Path) -> None:
    tape = read(real_data / "lobster", date="2012-06-21")
    assert (tape.symbols, tape.events) == (("AMZN", "GOOG"), 147_916 + 155_935)
    assert tape.events == tape.requests.height + tape.fills.height + sum(tape.ignored.values())
    assert tape.requests["ts"].is_sorted()
    assert tape.requests["cl_ord_id"].is_unique().all()
