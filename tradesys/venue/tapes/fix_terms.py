"""The terms of orders as FIX messages state them, in the words of our records."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tradesys.records import field_rules as fields
from tradesys.records.errors import InvalidValue
from tradesys.venue.tapes import fix_codes as fix

Message = Mapping[str, str]
"""A FIX message: values by tag."""

Row = dict[str, Any]

_ROOM = 1 << 62
_TIME = re.compile(r"(\d{8}-\d\d:\d\d:\d\d)(?:\.(\d{1,12}))?Z?")


class Terms:
    """Reads terms; ``unknown`` counts those that no record knows.

    ``qty_digits`` is how many decimals the finest quantity so far has.
    """

    def __init__(self) -> None:
        self.unknown: Counter[str] = Counter()
        self.qty_digits = 0
        self._amount_most = Decimal(0)

    def stated(self, message: Message, before: Row, *, reported: bool = False) -> Row:
        """The terms that a message states; what it leaves out is as ``before``.

        Whose order it is, and of what, is as it was entered.

        :param reported: it is a report, which may state an order's quantity by parts (14, 151).
        """
        account = before.get("account") if reported else None
        terms: Row = {
            "account": fields.account_name("1", account or message.get("1") or before["account"]),
            "symbol": before.get("symbol") or fields.symbol_name("55", need(message, "55")),
            "side": before.get("side") or self._side(message),
            "order_qty": self.quantity(message, "38"),
            "price": fix.price(message, "44") or None if "44" in message else before.get("price"),
            **self._time_in_force(message, before),
        }
        if terms["order_qty"] is None:
            parts = [self.quantity(message, tag) or Decimal(0) for tag in ("14", "151")]
            terms["order_qty"] = before.get("order_qty", sum(parts) if reported else Decimal(0))
        kind = "limit" if terms["price"] else "market"
        terms["ord_type"] = before.get("ord_type", kind)
        if "40" in message:
            terms["ord_type"] = self.code(message, "40", fix.ORD_TYPES, kind)
        self.require_room("38", terms["order_qty"], terms["price"] or 0)
        return terms

    def _side(self, message: Message) -> str:
        code = need(message, "54")
        return self.code(message, "54", fix.SIDES, "buy" if code in fix.BUYS else "sell")

    def _time_in_force(self, message: Message, before: Row) -> Row:
        """Until when an order is good: a day is good to its end (FIX tags 59, 126 and 432)."""
        kind, expires = before.get("time_in_force", "day"), before.get("expire_time")
        if "59" in message:
            kind = self.code(message, "59", fix.TIMES_IN_FORCE, "day")
        if "126" in message:
            expires = ns_of("126", message["126"])
        elif "432" in message:
            expires = ns_of("432", message["432"] + "-00:00:00") + 86_400 * 10**9
        if kind == "gtd" and expires is None:
            self.unknown["59=6 without 126 and 432"] += 1
            kind = "gtc"
        return {"time_in_force": kind, "expire_time": expires if kind == "gtd" else None}

    def code(self, message: Message, tag: str, known: Mapping[str, str], otherwise: Any) -> Any:
        """What a code stands for; one that is unknown is counted."""
        code = message[tag]
        if code not in known:
            self.unknown[f"{tag}={code}"] += 1
        return known.get(code, otherwise)

    def quantity(self, message: Message, tag: str) -> Decimal | None:
        """The quantity of a tag; None where it is not there."""
        if tag not in message:
            return None
        found = fix.quantity(message, tag)
        self.require_room(tag, found, 0)
        return found

    def require_room(self, tag: str, qty: Decimal, px: int) -> None:
        """Refuse a quantity that sums have no room for in units of the finest of the log."""
        finest = max(self.qty_digits, fix.decimals(qty))
        amount = max(self._amount_most, qty * px)
        if qty * px > fields.AMOUNT_MOST or amount * 10**finest >= _ROOM:
            expected = f"a quantity that costs no more than {fields.AMOUNT_MOST:,} at its price"
            raise InvalidValue(tag, str(qty), f"{expected}, and has room beside the finest")
        self.qty_digits, self._amount_most = finest, amount


def need(message: Message, tag: str) -> str:
    """The value of a tag.

    :raises InvalidValue: it is not there.
    """
    if tag not in message:
        raise InvalidValue(tag, None, "a value in every message of this type")
    return message[tag]


def time_of(message: Message, *tags: str) -> int:
    """The time that a message gives first, in ns since 1970."""
    tag = next((tag for tag in tags if tag in message), tags[0])
    return ns_of(tag, need(message, tag))


def ns_of(tag: str, text: str) -> int:
    """A UTCTimestamp in ns since 1970."""
    found = _TIME.fullmatch(text)
    try:
        time = dt.datetime.fromisoformat((found[1] if found else "") + "+00:00")
    except ValueError as error:
        raise InvalidValue(tag, text, "a time like 20240603-12:00:00.000") from error
    fraction = ((found and found[2]) or "").ljust(9, "0")[:9]
    ns = int(time.timestamp()) * 1_000_000_000 + int(fraction)
    return fields.TIME.of_field(tag, ns)
