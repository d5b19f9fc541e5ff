"""What a single request asks for: as it is given, and in the types of a record."""

from decimal import Decimal
from typing import Any, NamedTuple

from tradesys.records import argument_checks as given
from tradesys.records import field_rules as fields
from tradesys.records.clock import to_ns
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import OrdType, TimeInForce, to_price
from tradesys.systems.customer import entry_rules as rules

Price = int | str | Decimal
"""A price: an int in 1/10,000 of the currency, or text or a Decimal in the currency."""


class Terms(NamedTuple):
    """What a request asks for: ``expire_time`` in ns, ``price`` in 1/10,000 (0 for none)."""

    account: str
    symbol: str
    side: str
    ord_type: str
    time_in_force: str
    expire_time: int | None
    order_qty: int
    price: int


_WRONG_TEXTS = (
    *(rules.NO_ACCOUNT, rules.NO_SYMBOL, rules.NO_SIDE),
    *(rules.NO_ORD_TYPE, rules.NO_TIME_IN_FORCE),
)
"""What is wrong where one of an order's texts is no text."""


def terms_given(
    *,
    account: object,
    symbol: object,
    side: object,
    order_qty: object,
    price: object = None,
    ord_type: object = None,
    time_in_force: object = TimeInForce.DAY,
    expire_time: Any = None,
) -> Terms:
    """The terms of a new order as given, in the types of a record.

    :raises InvalidValue: one is of a type that no record holds.
    """
    if ord_type is None:
        ord_type = OrdType.MARKET if price is None else OrdType.LIMIT
    stated = account, symbol, side, ord_type, time_in_force
    texts = [given.text_of(value) for value in stated]
    if None in texts:
        none = texts.index(None)
        field, expected = rules.ERRORS[_WRONG_TEXTS[none]]
        raise InvalidValue(field, stated[none], expected)
    expires = None if expire_time is None else to_ns(expire_time, "expire_time")
    limit = 0 if price is None else to_price(price)
    return Terms._make((*texts, expires, _shares(order_qty), limit))


class Change(NamedTuple):
    """What a replace asks for, as it is given; None keeps what the order has."""

    order_qty: object = None
    price: object = None
    time_in_force: object = None
    expire_time: Any = None


CHANGED = [rules.ORDER_QTY, rules.PRICE, rules.TIME_IN_FORCE, rules.EXPIRE_TIME]
"""Where a row of whole numbers has what a replace asks for."""


def change_given(change: Change) -> list[int]:
    """What a replace asks for as whole numbers; what it keeps is unstated.

    :raises InvalidValue: a value is of a type that no record holds, or no time in force.
    """
    order_qty, price, time_in_force, expire_time = change
    kinds = rules.TIMES_IN_FORCE
    if time_in_force is not None:
        time_in_force = kinds[given.one_of("time_in_force", time_in_force, kinds)]
    numbers = (
        order_qty if order_qty is None else _shares(order_qty),
        price if price is None else to_price(price),
        time_in_force,
        expire_time if expire_time is None else to_ns(expire_time, "expire_time"),
    )
    return [rules.UNSTATED if number is None else number for number in numbers]


def _shares(order_qty: object) -> int:
    """A quantity that a record can hold."""
    number = given.number_of(order_qty)
    if number is None or abs(number) >= 1 << 63:
        raise InvalidValue("order_qty", order_qty, str(fields.ORDER_QTY))
    return number


def name_given(cl_ord_id: object) -> str | None:
    """The customer's own name for a request; one without letters is none."""
    if cl_ord_id is None or given.text_of(cl_ord_id) == "":
        return None
    name = given.text("cl_ord_id", cl_ord_id)
    if len(name) > fields.NAME_LETTERS:
        raise InvalidValue("cl_ord_id", name, f"at most {fields.NAME_LETTERS} letters")
    return name
