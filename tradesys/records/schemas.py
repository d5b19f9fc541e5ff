"""The records: five datasets, their Arrow schemas, and the ids that name a record.

A record is written once, by the system whose data it is, and never changed. Its id says who wrote
it and as which one, so ids are unique with no coordination and a log of one origin is dense: record
``n`` of an origin is row ``n`` of its log. Names of columns and of values are FIX's, in snake_case.
Prices and cash are int64 in units of 1/10,000 of the currency, quantities int64 in units of the
instrument's ``qty_scale`` (shares, if nothing else is said): no floats.
"""

import re
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from enum import IntEnum, StrEnum
from fractions import Fraction
from typing import Any, NamedTuple

import pyarrow as pa

from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue

PRICE_SCALE = 10_000
"""Units of ``price``, ``last_px`` and ``amount`` in one unit of the currency."""

PRICE_FORMS = (
    'text or a Decimal in the currency, like "50.25", or a whole number of 1/10,000 of it, like '
    "502500; a float cannot say 50.10"
)
"""How a price is written."""

_PRICE_DIGITS = 15  # of the currency, before the point

CURRENCY = "USD"
"""The asset that is cash. Every other asset is a symbol."""


CLEARING, CAPITAL, FEES = FIRMS_OWN = ("clearing", "capital", "fees")
"""The firm's own accounts: they take the other leg of every fill, opening balance and fee."""


class Kind(IntEnum):
    """Who can be the origin of a record: the three kinds of system, and the market outside."""

    VENUE = 0
    CUSTOMER = 1
    STREET = 2
    FIRM = 3


class RequestType(StrEnum):
    """What a customer asks for (FIX MsgType D, F, G)."""

    NEW = "new"
    CANCEL = "cancel"
    REPLACE = "replace"


class Side(StrEnum):
    """FIX tag 54."""

    BUY = "buy"
    SELL = "sell"


class OrdType(StrEnum):
    """FIX tag 40."""

    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    """FIX tag 59."""

    DAY = "day"
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"
    GTD = "gtd"


class ExecType(StrEnum):
    """What an execution report reports (FIX 4.4 tag 150; a cancel reject is MsgType 9)."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    REJECTED = "rejected"
    TRADE = "trade"
    TRADE_CORRECT = "trade_correct"
    TRADE_CANCEL = "trade_cancel"
    PENDING_CANCEL = "pending_cancel"
    CANCELED = "canceled"
    PENDING_REPLACE = "pending_replace"
    REPLACED = "replaced"
    CANCEL_REJECTED = "cancel_rejected"
    RESTATED = "restated"
    EXPIRED = "expired"
    DONE_FOR_DAY = "done_for_day"
    CALCULATED = "calculated"
    STOPPED = "stopped"
    SUSPENDED = "suspended"
    ORDER_STATUS = "order_status"


class OrdStatus(StrEnum):
    """The status of an order (FIX tag 39). Never stored: see :mod:`tradesys.status.definition`."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    REJECTED = "rejected"
    PARTIALLY_FILLED = "partially_filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    STOPPED = "stopped"
    FILLED = "filled"
    CALCULATED = "calculated"
    DONE_FOR_DAY = "done_for_day"
    PENDING_REPLACE = "pending_replace"
    PENDING_CANCEL = "pending_cancel"


class AccountStatus(StrEnum):
    """Whether an account may trade."""

    ACTIVE = "active"
    CLOSED = "closed"


class InstrumentStatus(StrEnum):
    """Whether an instrument may be traded (FIX tag 965 and, for a halt, tag 326)."""

    ACTIVE = "active"
    HALTED = "halted"


def _schema(*fields: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    columns = [("record_id", pa.uint64()), ("ts", pa.timestamp("ns", "UTC")), *fields]
    return pa.schema([pa.field(f[0], f[1], nullable=len(f) > 2) for f in columns])


# The terms of an order, as requests, execution reports and venue reports all repeat them.
_TERMS: tuple[tuple[str, pa.DataType] | tuple[str, pa.DataType, bool], ...] = (
    ("order_id", pa.uint64()),
    ("cl_ord_id", pa.utf8(), True),
    ("orig_cl_ord_id", pa.utf8(), True),
    ("account", pa.utf8()),
    ("symbol", pa.utf8()),
    ("side", pa.utf8()),
    ("ord_type", pa.utf8()),
    ("time_in_force", pa.utf8()),
    ("expire_time", pa.timestamp("ns", "UTC"), True),
    ("order_qty", pa.int64()),
    ("price", pa.int64(), True),
)

REQUESTS = _schema(("request_type", pa.utf8()), *_TERMS, ("reject_reason", pa.utf8(), True))
"""A new order, a cancel or a replace, as a customer-facing system received it (claims 15, 21).

``order_id`` is the ``record_id`` of the NEW request that the record is about; ``cl_ord_id`` is the
customer's own name for the request, null where none was given. ``expire_time`` (FIX tag 126) is of
a GTD order. A request that the
system refused carries its ``reject_reason`` and is never sent to a street-side system.
"""

REPORTS = _schema(
    ("exec_type", pa.utf8()),
    ("exec_ref_id", pa.uint64(), True),
    ("request_id", pa.uint64()),
    *_TERMS,
    ("last_qty", pa.int64()),
    ("last_px", pa.int64()),
    ("text", pa.utf8(), True),
)
"""What a venue reports. It belongs to the market outside, so it is none of the five datasets;
its ``record_id`` is the ``exec_id`` by which every system knows the event."""

EXECUTIONS = pa.schema(
    [
        *list(REPORTS)[:2],
        pa.field("exec_id", pa.uint64(), nullable=False),
        *list(REPORTS)[2:],
        pa.field("transact_time", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("venue", pa.utf8(), nullable=False),
        pa.field("poss_dup", pa.bool_(), nullable=False),
    ]
)
"""An execution report as a street-side system recorded it (claim 22).

``exec_id`` names the event: the venue's own number, so that one event reported through two
street-side systems counts once; what a street-side system decides by itself (a rejection) has its
own ``record_id`` there. ``exec_ref_id`` is, of a correction or a bust, the ``exec_id`` of the trade
or correction that it is about (FIX tag 19). ``request_id`` is the ``record_id`` of the request it
answers; of what nobody asked for, that of the order's NEW or last accepted replace. The terms of
the order are repeated so that a street-side peer can take the order over.
"""

ACCOUNTS = _schema(("account", pa.utf8()), ("name", pa.utf8()), ("account_status", pa.utf8()))
"""Reference record of an account; a later record of the same ``account`` supersedes."""

INSTRUMENTS = _schema(
    ("symbol", pa.utf8()),
    ("name", pa.utf8()),
    ("tick_size", pa.int64()),
    ("lot_size", pa.int64()),
    ("qty_scale", pa.int64()),
    ("security_status", pa.utf8()),
)
"""Reference record of an instrument; a later record of the same ``symbol`` supersedes.
``tick_size`` is in price units. ``qty_scale`` is how many units of quantity make one share or coin:
1 where only whole shares trade, 10**8 for Bitcoin. Every quantity of the instrument, ``lot_size``
and postings included, is in these units; it is the same in all records of a ``symbol``."""

POSTINGS = _schema(
    ("exec_id", pa.uint64(), True),
    ("account", pa.utf8()),
    ("asset", pa.utf8()),
    ("amount", pa.int64()),
    ("settle_date", pa.date32()),
)
"""One leg of a double entry. ``asset`` is ``"USD"`` (``amount`` in price units) or a symbol
(``amount`` in units of its ``qty_scale``). ``exec_id`` is the fill, correction or bust that it
clears, null for an opening balance; from ``settle_date`` on it is settled."""

SCHEMAS: dict[str, pa.Schema] = {
    "requests": REQUESTS,
    "executions": EXECUTIONS,
    "accounts": ACCOUNTS,
    "instruments": INSTRUMENTS,
    "postings": POSTINGS,
}
"""The five datasets that systems write and replicate."""


RECEIVED_AT = pa.field("received_at", pa.timestamp("ns", "UTC"), nullable=False)
"""When a system received a record: the last column of whatever it holds, its own and others'."""


def held(schema: pa.Schema) -> pa.Schema:
    """The schema of records as a system holds them: as they were written, and ``received_at``."""
    return schema.append(RECEIVED_AT)


def to_price(value: object) -> int:
    """A price in units of 1/10,000: an int is one already; a str or Decimal is in the currency.

    >>> to_price("50.25"), to_price(502500)
    (502500, 502500)

    :raises InvalidValue: it is neither, finer than 1/10,000, or more than int64 holds. A float is
        refused: it cannot say 50.10.
    """
    number = given.number_of(value)
    if number is None:
        number = _scaled(given.text_of(value) or value)
    if number is None or abs(number) >= 1 << 63:
        raise InvalidValue("price", value, PRICE_FORMS)
    return number


def _scaled(value: object) -> int | None:
    """A price in the currency as a number of 1/10,000; None where it is none."""
    if not isinstance(value, str | Decimal):
        return None
    try:
        decimal = Decimal(value)
    except InvalidOperation:
        return None
    if decimal.is_finite() and (not decimal or abs(decimal.adjusted()) < _PRICE_DIGITS):
        scaled = Fraction(decimal) * PRICE_SCALE
        return scaled.numerator if scaled.denominator == 1 else None
    return None


def cash_amount(qty: Any, px: Any, qty_scale: Any) -> Any:
    """What a quantity costs at a price, in units of the price, rounded down.

    It is ``qty * px // qty_scale``, by steps of which none needs more than 64 bits where the result
    does not. Both legs of a double entry are this one number, so cash conserves; and the fills of
    an order never cost more than its whole quantity does. Ints, arrays and polars expressions.
    """
    whole, part = qty // qty_scale, qty % qty_scale
    return whole * px + part * (px // qty_scale) + part * (px % qty_scale) // qty_scale


def average(amount: int, qty: int) -> float | None:
    """The average price in the currency; None of none.

    :param amount: the sum of quantity times price, whatever the scale of the quantities.
    """
    return amount / (qty * PRICE_SCALE) if qty else None


SEQUENCE_BITS = 48
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1
INCARNATIONS = 256
"""How often a system can be another one: after that it gives no more ids."""

_ORIGIN = re.compile(r"([vcs]|firm)([0-9]{0,2})(?:\.([0-9]{1,3}))?")
_SEQUENCE = re.compile("[0-9]{1,20}")
_PREFIX = {Kind.VENUE: "v", Kind.CUSTOMER: "c", Kind.STREET: "s", Kind.FIRM: "firm"}


class Origin(NamedTuple):
    """A system *and its incarnation*: one writer of records.

    A system that lost its disk comes back as the next incarnation, so that no id is given twice.
    ``number`` counts from 1 to 63 within a kind, ``incarnation`` from 0 to 255.
    """

    kind: Kind
    number: int = 1
    incarnation: int = 0

    @property
    def system(self) -> str:
        """The name of the system: ``c1``, ``s2``, ``firm``."""
        return _PREFIX[self.kind] + ("" if self.kind is Kind.FIRM else str(self.number))

    @property
    def code(self) -> int:
        """The 16-bit number in the high bits of every record id of this origin.

        :raises InvalidValue: there is no such incarnation: its code would be another origin's.
        """
        if not 0 <= self.incarnation < INCARNATIONS:
            raise InvalidValue("incarnation", self.incarnation, f"0 to {INCARNATIONS - 1}")
        return self.kind << 14 | self.number << 8 | self.incarnation

    def __str__(self) -> str:
        return self.system + (f".{self.incarnation}" if self.incarnation else "")


def origin(code: int) -> Origin:
    """The origin that a 16-bit ``code`` stands for."""
    return Origin(Kind(code >> 14), code >> 8 & 0x3F, code & 0xFF)


def parse_origin(text: str) -> Origin:
    """``"c1"``, ``"s2"``, ``"firm"`` or, after a lost disk, ``"c1.1"``.

    :raises InvalidValue: the text names no origin.
    """
    match = _ORIGIN.fullmatch(text)
    if match:
        letters, number, incarnation = match.groups()
        kind = next(kind for kind, prefix in _PREFIX.items() if prefix == letters)
        found = Origin(kind, int(number or 1), int(incarnation or 0))
        # Only what an origin writes of itself names it: there is one text for each.
        if 1 <= found.number < 64 and found.incarnation < INCARNATIONS and str(found) == text:
            return found
    raise InvalidValue("system", text, "a name like c1, s2 or firm")


def make_id(code: int, sequence: int) -> int:
    """The record id of record ``sequence`` (from 0) of the origin with this 16-bit ``code``."""
    return code << SEQUENCE_BITS | sequence


def split_id(record_id: int) -> tuple[int, int]:
    """The 16-bit origin code and the sequence (from 0) of a record id."""
    return record_id >> SEQUENCE_BITS, record_id & SEQUENCE_MASK


def format_id(record_id: int) -> str:
    """A record id as people write it: ``c1-17`` is record 17 of customer-facing system 1."""
    code, sequence = split_id(record_id)
    return f"{origin(code)}-{sequence}"


def span(first: int, count: int) -> str:
    """The ids of a run of records."""
    last = format_id(first + count - 1)
    return last if count == 1 else f"{format_id(first)} to {last}"


def parse_id(text: str) -> int:
    """The record id written ``c1-17``, or as a plain number.

    :raises InvalidValue: the text is neither.
    """
    name, dash, sequence = text.rpartition("-")
    if _SEQUENCE.fullmatch(sequence):
        number = int(sequence)
        if not dash and number < 1 << 64:
            return number
        if dash and number <= SEQUENCE_MASK:
            with suppress(InvalidValue):
                return make_id(parse_origin(name).code, number)
    raise InvalidValue("order", text, "an id like c1-17")
