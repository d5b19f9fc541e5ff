"""The codes of FIX, and which of our terms each stands for (Volumes 4 and 6).

In FIX 4.0 to 4.2 a fill is ExecType 1 or 2, and ExecTransType (20) says whether a report cancels
(1) or corrects (2) another, or only repeats a status (3); from 4.3 on all of it is ExecType (150).
"""

import re
from collections.abc import Mapping
from decimal import Decimal

from tradesys.records import field_rules as fields
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import PRICE_SCALE

REQUEST_TYPES = {"D": "new", "F": "cancel", "G": "replace"}
SIDES = {"1": "buy", "2": "sell"}
ORD_TYPES = {"1": "market", "2": "limit"}
TIMES_IN_FORCE = {"0": "day", "1": "gtc", "3": "ioc", "4": "fok", "6": "gtd"}
TRANS_TYPES = {"1": "trade_cancel", "2": "trade_correct", "3": "order_status"}
_STATES = {
    "0": "new",
    "3": "done_for_day",
    "4": "canceled",
    "5": "replaced",
    "6": "pending_cancel",
    "7": "stopped",
    "8": "rejected",
    "9": "suspended",
    "A": "pending_new",
    "B": "calculated",
    "C": "expired",
    "E": "pending_replace",
}
EXEC_TYPES = _STATES | {
    "1": "trade",
    "2": "trade",
    "D": "restated",
    "F": "trade",
    "G": "trade_correct",
    "H": "trade_cancel",
    "I": "order_status",
}
STATUSES = _STATES | {"1": "partially_filled", "2": "filled"}

CHANGES = {
    "pending_cancel": "cancel",
    "canceled": "cancel",
    "cancel_rejected": "cancel",
    "pending_replace": "replace",
    "replaced": "replace",
}
"""Which request a report answers, where it has a name of its own (tags 11 and 41)."""

SETTLES = ("canceled", "replaced", "cancel_rejected")

ENDS = {code: _STATES[code] for code in "34BC"}
"""What a report that is also a fill may say of its order: it is done, canceled or expired."""

BUYS = "13DG"
"""The sides that buy (tag 54): among them Buy Minus, Subscribe and Borrow."""

NO_ORDER_ID = ("NONE", "UNKNOWN", "N/A", "0")
"""What stands for OrderID (37) where there is no order."""

QTY_DIGITS = 8
"""How many decimals a quantity may have."""

_NUMBER = re.compile(r"-?(\d{1,18}\.?\d{0,18}|\.\d{1,18})")


def quantity(message: Mapping[str, str], tag: str) -> Decimal:
    """The quantity of a tag that is there.

    :raises InvalidValue: it is none, is out of range, or has more decimals than :data:`QTY_DIGITS`.
    """
    found = _number(message, tag)
    fits = found is not None and 0 <= found <= fields.ORDER_QTY.most
    if found is None or not fits or found != round(found, QTY_DIGITS):
        most = f"{fields.ORDER_QTY.most:,} with {QTY_DIGITS} decimals at most"
        raise InvalidValue(tag, message[tag], f"a quantity from 0 to {most}")
    return found


def decimals(qty: Decimal) -> int:
    """How many decimals a quantity has."""
    exponent = qty.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(-exponent, 0)


def price(message: Mapping[str, str], tag: str) -> int:
    """The price of a tag that is there, in 1/10,000 of the currency.

    :raises InvalidValue: it is none, is out of range, or finer than 1/10,000.
    """
    found = _number(message, tag)
    scaled = None if found is None else found * PRICE_SCALE
    if scaled is None or not 0 <= scaled <= fields.PRICE.most or scaled != int(scaled):
        most = f"{fields.PRICE.most // PRICE_SCALE:,}, by 1/10,000"
        raise InvalidValue(tag, message[tag], f"a price from 0 to {most}")
    return int(scaled)


def average(message: Mapping[str, str], tag: str) -> float | None:
    """The price of a tag, however fine; None where it is not there.

    :raises InvalidValue: it is none.
    """
    if tag not in message:
        return None
    found = _number(message, tag)
    if found is None:
        raise InvalidValue(tag, message[tag], "a price")
    return float(found)


def _number(message: Mapping[str, str], tag: str) -> Decimal | None:
    """The value of a tag, by the rule for a float of FIX: digits and a point."""
    text = message[tag].strip()
    return Decimal(text) if _NUMBER.fullmatch(text) else None
