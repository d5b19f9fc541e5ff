"""ITCH and DBN: what each message is, from bytes that are written by the public specifications."""

import gzip
from pathlib import Path
from struct import pack
from typing import Any

import pytest

from tradesys.network.tape_replay import open_network, replay
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.venue.tapes import Tape, dbn, inspect, itch, open_tape, read

NS = 34_200 * 10**9


def message(letter: str, body: bytes = b"", ns: int = NS) -> bytes:
    """An ITCH message behind its length; what the body leaves open is zero."""
    head = letter.encode() + pack(">HH", 1, 0) + ns.to_bytes(6)
    whole = (head + body).ljust(itch.SIZES[ord(letter)], b"\0")
    return pack(">H", len(whole)) + whole


def add(ref: int, side: bytes, shares: int, price: int, letter: str = "A") -> bytes:
    return message(letter, pack(">QcI8sI", ref, side, shares, b"AAPL    ", price))


ITCH = (
    message("S", b"O"),
    message("R", b"AAPL    "),
    add(7, b"B", 100, 1_000_000),
    add(8, b"S", 200, 1_010_000, "F"),
    message("E", pack(">QIQ", 7, 30, 1)),
    message("C", pack(">QIQcI", 8, 50, 2, b"Y", 1_009_900)),
    message("X", pack(">QI", 7, 20)),
    message("U", pack(">QQII", 7, 9, 60, 1_000_100)),
    message("E", pack(">QIQ", 9, 60, 3)),
    message("P", pack(">QcI8sIQ", 0, b"B", 10, b"AAPL    ", 1_000_000, 4)),
    message("D", pack(">Q", 8)),
)


def itch_tape(folder: Path, *messages: bytes) -> Tape:
    path = folder / "flow"
    path.write_bytes(b"".join(messages))
    return read(path, date="2024-06-03", bad_lines="fail")


def test_each_message_of_itch_is_what_it_says(tmp_path: Path) -> None:
    tape = itch_tape(tmp_path, *ITCH)
    requests = tape.requests.select("request_type", "cl_ord_id", "side", "order_qty", "price")
    assert requests.rows() == [
        ("new", "AAPL:7", "buy", 100, 1_000_000),
        ("new", "AAPL:8", "sell", 200, 1_010_000),
        ("replace", "AAPL:7.1", "buy", 80, 1_000_000),
        ("replace", "AAPL:7.2", "buy", 90, 1_000_100),  # 30 were executed, 60 are open
        ("cancel", "AAPL:8.1", "sell", 200, 1_010_000),
    ]
    assert tape.fills.select("cl_ord_id", "last_qty", "last_px").rows() == [
        ("AAPL:7", 30, 1_000_000),
        ("AAPL:8", 50, 1_009_900),
        ("AAPL:7", 60, 1_000_100),
    ]
    assert tape.ignored == {"S other": 1, "R other": 1, "P trade": 1}
    assert tape.symbols == ("AAPL",)


def test_a_replay_of_itch_ends_true(tmp_path: Path) -> None:
    (tmp_path / "flow").write_bytes(gzip.compress(b"".join(ITCH)))
    tape = open_tape(tmp_path / "flow", date="2024-06-03")
    with open_network(tape) as network:
        result = replay(tape, network)
        assert result.verdict is True
        assert result.statuses == {"filled": 1, "canceled": 1}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"\0\5A1234", "a message b'A' of 5 bytes: expected 36 bytes"),
        (b"\0\3z12", "a message b'z' of 3 bytes: expected a type of ITCH"),
        (add(1, b"Q", 5, 5), "side: expected B or S"),
        (add(1, b"B", 0, 5), "shares=0: expected"),
        (add(1, b"B", 5, 0), "price=0: expected"),
        (message("D", ns=86_400 * 10**9), "time=86400000000000: expected"),
        (ITCH[2][:20], "a message b'A' of 18 bytes: expected 36 bytes"),
    ],
)
def test_a_message_of_itch_that_breaks_the_format_is_named(
    tmp_path: Path, bad: bytes, reason: str
) -> None:
    (tmp_path / "flow").write_bytes(b"".join(ITCH) + bad)
    found = inspect(tmp_path / "flow")
    assert (found.bad, found.requests) == (1, 5)
    ((_, line, why),) = found.bad_lines.rows()
    assert line == len(ITCH) + 1
    assert why.startswith(reason)


# DBN

databento = pytest.importorskip("databento_dbn")
DOLLAR = 10**9


def metadata(schema: Any = databento.Schema.MBO) -> bytes:
    made = databento.Metadata(
        dataset="XNAS.ITCH",
        start=0,
        stype_in=databento.SType.RAW_SYMBOL,
        stype_out=databento.SType.INSTRUMENT_ID,
        schema=schema,
    )
    return bytes(made)


def record(action: str, order_id: int, size: int, price: int = 0, side: str = "B") -> bytes:
    ts = 1_717_421_400 * 10**9
    terms = databento.Action(action), databento.Side(side), ts
    return bytes(databento.MBOMsg(1, 15, ts, order_id, price, size, *terms))


DBN = (
    metadata(),
    record("R", 0, 0, side="N"),
    record("A", 7, 100, 50 * DOLLAR),
    record("T", 0, 30, 50 * DOLLAR, "A"),
    record("F", 7, 30, 50 * DOLLAR),
    record("C", 7, 30, 50 * DOLLAR),  # what the fill has told already
    record("C", 7, 20, 50 * DOLLAR),
    record("M", 7, 60, 49 * DOLLAR),
    record("F", 7, 10, 49 * DOLLAR),
    record("M", 7, 50, 49 * DOLLAR),  # likewise
    record("C", 7, 50, 49 * DOLLAR),
)


def test_each_record_of_dbn_is_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "flow"
    path.write_bytes(b"".join(DBN))
    tape = read(path, symbol="AAPL", bad_lines="fail")
    requests = tape.requests.select("request_type", "cl_ord_id", "order_qty", "price")
    assert requests.rows() == [
        ("new", "AAPL:7", 100, 500_000),
        ("replace", "AAPL:7.1", 80, 500_000),
        ("replace", "AAPL:7.2", 90, 490_000),
        ("cancel", "AAPL:7.3", 90, 490_000),
    ]
    fills = tape.fills.select("last_qty", "last_px").rows()
    assert fills == [(30, 500_000), (10, 490_000)]
    assert tape.ignored == {"R clear": 1, "T trade": 1, "C cancel": 1, "nothing changed": 1}
    stream = open_tape(path)
    assert (stream.format.name, stream.symbols) == ("dbn", ("15",))


def test_a_price_of_dbn_that_is_finer_than_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "flow").write_bytes(b"".join(DBN) + record("A", 9, 5, DOLLAR // 3))
    found = inspect(tmp_path / "flow")
    assert found.bad == 1
    assert "expected B or A, above 0, a multiple of 100,000" in found.bad_lines["reason"].item()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"".join(DBN)[:-10], "cut short after record 9"),
        (DBN[0][:30], "there are none|cut short|cannot be read"),
        (b"".join(DBN) + b"\0" * 100, "cannot be read"),
    ],
)
def test_dbn_that_is_damaged_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "flow").write_bytes(content)
    with pytest.raises(SchemaError, match=what):
        read(tmp_path / "flow")


def test_without_its_package_dbn_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flow").write_bytes(b"".join(DBN))
    monkeypatch.setitem(__import__("sys").modules, "databento_dbn", None)
    with pytest.raises(InvalidValue, match=r"pip install 'tradesys\[tapes\]'"):
        read(tmp_path / "flow")
    assert dbn.FORMAT.is_binary
