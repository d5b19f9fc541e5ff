"""Goal: whatever a file holds, there is a report of it or an error of ours, soon, in little memory.

Method: right files of every format are cut, mixed, overwritten and stretched as a seed says. Many
more are tried where ``TRADESYS_FUZZ`` says how many.
"""

import gzip
import json
import lzma
import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.tapes.test_binary import DBN, ITCH
from tests.tapes.test_coins import bitstamp
from tests.tapes.test_mapped import FRAME, MAP
from tests.tapes.test_pitch import ADD, CANCELED, EXECUTED, LONG, OTHERS
from tradesys.records.errors import TradesysError
from tradesys.venue.tapes import inspect, lobster
from tradesys.venue.tapes import read as read_tape

COUNT = int(os.environ.get("TRADESYS_FUZZ", "300"))
MOST = 64 << 20
"""So many bytes of Python's own memory a small file may take."""

_GUID = '{"OrderType":"LimitBid","OrderGuid":"b-7","Price":{"aud":2.26},"Volume":55.5}'
_INDEPENDENT = f'1649023811.25: {{"Channel":"orderbook-eth","Data":{_GUID},"Event":"NewOrder"}}\n'
_NAME = "ALFA_2024-06-03_34200000_57600000_message_1.csv"


def table(kind: str, folder: Path) -> bytes:
    frame = pl.DataFrame({name: [34_200, 1, 7] for name in lobster.PARQUET_COLUMNS})
    path = folder / "table"
    getattr(frame, f"write_{kind}")(path)
    return path.read_bytes()


def seeds(folder: Path) -> list[bytes]:
    """A right file of each format, short."""
    life = "34200.5,1,7,100,1000000,1\n34201,4,7,30,1000000,1\n34202,3,7,70,1000000,1\n"
    coins = [bitstamp("created", 1, "2"), bitstamp("changed", 1, "1"), bitstamp("deleted", 1, "1")]
    texts = [
        life * 3,
        "\n".join([ADD, EXECUTED, CANCELED, LONG, *OTHERS]) + "\n",
        "\n".join(coins) + "\n",
        _INDEPENDENT * 3,
        FRAME.write_csv(),
        "8=FIX.4.4\x019=5\x0135=0\x0110=000\x01\n",
    ]
    kinds = ("parquet", "ipc", "ipc_stream")
    return [
        *(text.encode() for text in texts),
        *(b"".join(binary) for binary in (ITCH, DBN)),
        *(table(kind, folder) for kind in kinds),
    ]


def cut(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def overwritten(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    made = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        if made:
            made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made)


def mixed(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    other = chance.choice(others)
    at, start = chance.randrange(len(data) + 1), chance.randrange(len(other) + 1)
    return data[:at] + other[start:] + data[at:]


def repeated(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    stop = min(len(data), at + chance.randint(1, 60))
    return data[:stop] + data[at:stop] * chance.choice([1, 3, 1_000]) + data[stop:]


def huge_field(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice([b"9", b"A", b" ", b'"', b"[", b"\xff"]) * 3_000_00 + data[at:]


def otherwise_encoded(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    text = data.decode("latin-1")
    return text.encode(chance.choice(["utf-16", "utf-32", "utf-8-sig", "utf-16-be"]))


def packed(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    made = chance.choice([gzip.compress, lzma.compress])(data)
    return made[: chance.randrange(len(made) + 1)] if chance.random() < 0.5 else made


def random_bytes(_: bytes, chance: random.Random, __: list[bytes]) -> bytes:
    return chance.randbytes(chance.randrange(2_000))


Mutation = Callable[[bytes, random.Random, list[bytes]], bytes]
MUTATIONS: tuple[Mutation, ...] = (
    *(cut, overwritten, overwritten, mixed, repeated, huge_field, otherwise_encoded, packed),
    random_bytes,
)


def look(path: Path, **given: object) -> str:
    """A report of a file, read both ways, or the error that it comes to."""
    try:
        found = inspect(path, **given)  # type: ignore[arg-type]
        tape = read_tape(path, **given)  # type: ignore[arg-type]
    except TradesysError as error:
        return str(error)[:1_500]
    assert found.events == tape.requests.height + tape.fills.height + sum(tape.ignored.values())
    json.dumps(found.as_dict())
    return str(found) + found._repr_html_()


@pytest.mark.parametrize("batch", range(10))
def test_whatever_a_file_holds_there_is_a_report_or_an_error_of_ours(
    tmp_path: Path, batch: int
) -> None:
    right = seeds(tmp_path)
    path = tmp_path / _NAME
    for seed in range(batch, COUNT, 10):
        chance = random.Random(seed)
        data = chance.choice(right)
        for mutate in chance.choices(MUTATIONS, k=chance.randint(1, 3)):
            data = mutate(data, chance, right)
        path.write_bytes(data)
        given = chance.choice([{}, {}, {}, {"columns": MAP}])
        try:
            assert look(path, **given)
        except Exception as error:
            error.add_note(f"seed {seed}, {given}: {data[:300]!r}")
            raise


def test_a_small_file_takes_little_memory_whatever_it_holds(tmp_path: Path) -> None:
    right = seeds(tmp_path)
    for data in right:
        look(tmp_path / "table")  # what is loaded once is loaded now
        tracemalloc.start()
        (tmp_path / _NAME).write_bytes(huge_field(data, random.Random(1), right))
        assert look(tmp_path / _NAME)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MOST


def test_a_file_that_unpacks_to_very_much_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / _NAME
    with gzip.open(path, "wb") as packed_file:
        packed_file.write(b"34200.5,1,7,100,1000000,1\n")
        for _ in range(64):
            packed_file.write(b"7" * (1 << 20))
    tracemalloc.start()
    assert look(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST
