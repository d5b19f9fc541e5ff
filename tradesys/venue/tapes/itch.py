"""NASDAQ TotalView-ITCH 5.0: a day of all orders of the exchange, in binary messages.

Each message stands behind its length, two bytes. Adds are new orders, executions fills (with a
price of their own, or at the order's), a Cancel takes a part away, a Delete all; a Replace gives an
order another id, price and quantity. All other messages are of no order, and are counted.

Format: NASDAQ TotalView-ITCH 5.0, sections 4.1 to 4.9. Times are of a day in New York, which the
file does not say.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Any

import polars as pl

from tradesys.venue.tapes import events
from tradesys.venue.tapes.events import DAY_NS, EVENTS, Events, Format, Given, Kind, expected
from tradesys.venue.tapes.lobster import NO_DATE
from tradesys.venue.tapes.sources import File

SIZES = dict(
    zip(
        b"SRHYLVWKJhAFECXDUPQBINO",
        b"\x0c\x27\x19\x14\x1a\x23\x0c\x1c\x23\x15\x24\x28"
        b"\x1f\x24\x17\x13\x23\x2c\x28\x13\x32\x14\x30",
        strict=True,
    )
)
"""The size of each type of message, in bytes."""

_BLOCK = 1 << 20
_ROWS = 1 << 16
_SHOWN = 20
_HEADER = Struct(">cHH6s")
_ADD = Struct(">QcI8sI")
_EXECUTED, _PRICED = Struct(">QI"), Struct(">QIQcI")
_DELETED, _REPLACED = Struct(">Q"), Struct(">QQII")
_KINDS = {"A": Kind.ADD, "F": Kind.ADD, "E": Kind.EXECUTE, "C": Kind.EXECUTE, "X": Kind.REDUCE}
_KINDS |= {"D": Kind.DELETE, "U": Kind.REPLACE}
_TYPES = {
    "A": "A add order",
    "F": "F add order (attributed)",
    "E": "E order executed",
    "C": "C order executed with price",
    "X": "X order cancel",
    "D": "D order delete",
    "U": "U order replace",
    "P": "P trade",
    "Q": "Q cross trade",
    "B": "B broken trade",
}
_SCHEMA = {
    n: EVENTS[n] for n in ("line", "type", "kind", "symbol", "side", "qty", "price", "fault")
}
_SCHEMA |= {"ns": pl.Int64(), "order_id": pl.UInt64(), "new_id": pl.UInt64()}


def read(file: File, given: Given) -> Events:
    """The events of a file; ``line`` is the number of the message."""
    rows: list[dict[str, Any]] = []
    for line, message in enumerate(_messages(file), 1):
        rows.append({"line": line, **_event(message)})
        if len(rows) == _ROWS:
            yield _events(rows, given)
            rows = []
    yield _events(rows, given)


def _events(rows: list[dict[str, Any]], given: Given) -> pl.DataFrame:
    found = pl.DataFrame(rows, schema=_SCHEMA)
    adds, sized = pl.col("kind") == Kind.ADD, pl.col("kind").is_in([0, 1, 3, 4])
    rules = (
        (pl.col("ns").is_between(0, DAY_NS - 1), expected("time", pl.col("ns"), "ns of a day")),
        (~adds | pl.col("side").is_not_null(), "side: expected B or S"),
        (~sized | (pl.col("qty") > 0), expected("shares", pl.col("qty"), "a number above 0")),
        (~adds | (pl.col("price") > 0), expected("price", pl.col("price"), "a price above 0")),
    )
    found = found.with_columns(fault=pl.coalesce("fault", events.first_fault(*rules)))
    ts = events.time_of_day(pl.when(pl.col("ns") < DAY_NS).then("ns"), given.date or NO_DATE)
    return events.as_events(found.with_columns(ts=ts))


def _messages(file: File) -> Iterator[bytes]:
    """The messages, without their lengths; the last may be cut short."""
    rest = b""
    with file.open() as source:
        while block := source.read(_BLOCK):
            rest, at = rest + block, 0
            while at + 2 <= len(rest):
                stop = at + 2 + int.from_bytes(rest[at : at + 2])
                if stop > len(rest):
                    break
                yield rest[at + 2 : stop]
                at = stop
            rest = rest[at:]
    if rest:
        yield rest[2:]


def _event(message: bytes) -> dict[str, Any]:
    if not message or SIZES.get(message[0]) != len(message):
        size = f"{SIZES[message[0]]} bytes" if message and message[0] in SIZES else "a type of ITCH"
        return {"fault": f"a message {message[:1]!r} of {len(message)} bytes: expected {size}"}
    letter, _, _, ns = _HEADER.unpack_from(message)
    name = letter.decode()
    found: dict[str, Any] = {"ns": int.from_bytes(ns), "type": _TYPES.get(name, f"{name} other")}
    found["kind"] = _KINDS.get(name, Kind.OTHER)
    if name in "AF":
        order_id, side, shares, stock, price = _ADD.unpack_from(message, 11)
        found |= {"order_id": order_id, "side": {b"B": "buy", b"S": "sell"}.get(side)}
        found |= {"qty": shares, "symbol": stock.decode("latin-1").strip(), "price": price}
    elif name in "EX":
        found["order_id"], found["qty"] = _EXECUTED.unpack_from(message, 11)
    elif name == "C":
        found["order_id"], found["qty"], _, _, found["price"] = _PRICED.unpack_from(message, 11)
    elif name == "D":
        (found["order_id"],) = _DELETED.unpack_from(message, 11)
    elif name == "U":
        old, new, shares, price = _REPLACED.unpack_from(message, 11)
        found |= {"order_id": old, "new_id": new, "qty": shares, "price": price}
    return found


def recognises(head: bytes) -> bool:
    """Whether a file begins with a message, and most of what follows is messages."""
    at, right = 0, list[bool]()
    while at + 3 <= len(head) and len(right) < _SHOWN:
        size = int.from_bytes(head[at : at + 2])
        right.append(SIZES.get(head[at + 2]) == size)
        at += 2 + size
    return right[:1] == [True] and 2 * sum(right) > len(right)


FORMAT = Format(
    "itch",
    "NASDAQ TotalView-ITCH 5.0",
    read,
    recognises,
    is_binary=True,
    tick_size=100,
)
