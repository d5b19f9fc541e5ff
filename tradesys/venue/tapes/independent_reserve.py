"""Independent Reserve's websocket: orders of several coins, each named by a GUID.

``NewOrder`` is a new order, ``OrderChanged`` says what is left of it, ``OrderCanceled`` is its end.
A line is ``UNIX_TIME: JSON``, and the event is of that time. An order has its price in several
currencies: that of the first is taken. Symbols are the channel's: ``eth`` of ``orderbook-eth``.
"""

import json
import re
from typing import Any

from tradesys.records.schemas import PRICE_SCALE
from tradesys.venue.tapes import events
from tradesys.venue.tapes.events import Events, Format, Given, Kind, units
from tradesys.venue.tapes.sources import File

COIN = 10**8

_LINE = re.compile(rb'(\d+\.\d+: \{.*"Event":".*|wss://\S*independentreserve\S* <-.*)')
_SIDES = {"LimitBid": "buy", "LimitOffer": "sell", "MarketBid": "buy", "MarketOffer": "sell"}


def read(file: File, _: Given) -> Events:
    """The events of a log."""
    return events.of_lines(
        file, lambda rows: events.one_by_one(rows, _event, "a message of Independent Reserve")
    )


def _event(text: str) -> dict[str, Any]:
    if text.startswith("wss://"):  # what was connected and subscribed to
        return {"kind": Kind.OTHER, "type": "connection"}
    received, _, message = text.partition(": ")
    said = json.loads(message, parse_float=str)
    known = {"ts": units(received, 10**9), "type": said["Event"], "kind": Kind.OTHER}
    channel = str(said.get("Channel", ""))
    if not channel.startswith("orderbook-") or said["Event"] == "Trade":
        return known
    about = said["Data"]
    known |= {"symbol": channel.removeprefix("orderbook-"), "order_id": str(about["OrderGuid"])}
    known |= {"side": _SIDES[about["OrderType"]]}
    if said["Event"] == "OrderCanceled":
        return known | {"kind": Kind.DELETE}
    qty = units(about["Volume"], COIN)
    if said["Event"] == "OrderChanged" and qty >= 0:
        return known | {"kind": Kind.EXECUTE, "leaves": qty}
    if said["Event"] == "NewOrder" and qty > 0:
        price = next(iter(about["Price"].values()))
        try:
            return known | {"kind": Kind.ADD, "qty": qty, "price": units(price, PRICE_SCALE)}
        except ValueError as finer:
            return known | {"fault": f"price={finer}"}
    raise ValueError(f"{said['Event']} of {qty}")


def recognises(line: bytes) -> bool:
    """Whether a line is of the log."""
    return _LINE.fullmatch(line) is not None


FORMAT = Format(
    "independent-reserve",
    "Independent Reserve's websocket log",
    read,
    recognises,
    qty_scale=COIN,
    time_in_force="gtc",
    id_is_once=True,
)
