"""Bitstamp's stream of orders: the raw log of its channel, and a table of its order events.

``created`` is a new order and states its quantity; ``changed`` and ``deleted`` state what is left
of it. What a change takes away was executed, at the price that it states; a deletion of nothing is
the end of an execution, of more than nothing a cancel. Trades do not say of which orders they are,
and are counted. Events are of the time when they were received, and may come late and twice.

A line of the log is ``RECEIVED_MS EVENT JSON``.
"""

import json
import re
from typing import Any

import polars as pl

from tradesys.records.schemas import PRICE_SCALE
from tradesys.venue.tapes import events
from tradesys.venue.tapes.events import Day, Events, Format, Given, Kind, units
from tradesys.venue.tapes.sources import File

SYMBOL, COIN = "BTCUSD", 10**8

_LINE = re.compile(rb"\d{13} (order_(created|changed|deleted|book)|trade) \{.*")
_OTHER = ("order_book", "trade")
_KINDS = {"created": Kind.ADD, "changed": Kind.EXECUTE, "deleted": Kind.DELETE}
_SIDES = ("buy", "sell")


def day_of(_: File, given: Given) -> Day:
    """The pair that is traded, which the stream does not say."""
    return Day(given.symbol or SYMBOL, None)


def read(file: File, given: Given) -> Events:
    """The events of a log."""
    symbol = given.symbol or SYMBOL

    def parse(rows: pl.DataFrame) -> pl.DataFrame:
        found = events.one_by_one(rows, _event_of, "an event of Bitstamp")
        return found.with_columns(symbol=pl.lit(symbol))

    return events.of_lines(file, parse)


def _event_of(text: str) -> dict[str, Any]:
    received, name, message = text.split(" ", 2)
    if name in _OTHER:
        return {"ts": _ns(received), "type": name, "kind": Kind.OTHER}
    said, name = json.loads(message, parse_float=str), name.removeprefix("order_")
    left, price = units(said["amount"], COIN), units(said["price"], PRICE_SCALE)
    if left < 0 or price <= 0 or (name == "created" and not left):
        raise ValueError(f"{name} at {price}, amount {left}: expected numbers above 0")
    about: dict[str, Any] = {
        "order_id": str(int(said["id"])),
        "side": _SIDES[int(said["order_type"])],
    }
    about |= {"price": price, "qty" if name == "created" else "leaves": left}
    return {"ts": _ns(received), "type": name, "kind": _KINDS[name], **about}


def _ns(received_ms: str) -> int:
    found = int(received_ms) * 10**6
    if not 0 <= found < 1 << 62:
        raise ValueError(f"{received_ms}: expected ms since 1970")
    return found


def recognises(line: bytes) -> bool:
    """Whether a line is of the log."""
    return _LINE.fullmatch(line) is not None


OF_MARKET: dict[str, Any] = {
    "day_of": day_of,
    "qty_scale": COIN,
    "time_in_force": "gtc",
    "id_is_once": True,
}
TABLE = {
    "ts": "received_ms",
    "kind": "event",
    "kind.created": "add",
    "kind.changed": "execute",
    "kind.deleted": "delete",
    "order_id": "order_id",
    "side": "side",
    "side.bid": "buy",
    "side.ask": "sell",
    "qty": "remaining_btc",
    "leaves": "remaining_btc",
    "price": "price_usd",
    "qty_scale": str(COIN),
}
"""What the columns of a table of order events are."""

FORMAT = Format("bitstamp", "Bitstamp's log of its stream", read, recognises, **OF_MARKET)
