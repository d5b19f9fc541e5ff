"""What the fields of records may hold: each range of numbers and each rule of a name, said once.

The ranges leave room: all accounts together open with :data:`CASH` at most, of which int64 holds
nine times as much, and nine thousand orders of the largest amount add up to no more than it holds.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import (
    CURRENCY,
    FIRMS_OWN,
    PRICE_SCALE,
    AccountStatus,
    InstrumentStatus,
)

_MONEY = "1/10,000 of the currency"
_ACCOUNT, _INSTRUMENT = tuple(AccountStatus), tuple(InstrumentStatus)


class Range(NamedTuple):
    """The whole numbers that a field may hold, both ends included, and what they count."""

    least: int
    most: int
    of: str

    def __str__(self) -> str:
        return f"a whole number of {self.of}, from {self.least:,} to {self.most:,}"

    def of_field(self, field: str, value: object) -> int:
        """The number that a value is.

        :raises InvalidValue: it is none, or out of the range.
        """
        return given.whole(field, value, self.least, self.most, of=self.of)


ORDER_QTY = Range(1, 10**10, "shares")  # times the instrument's qty_scale
PRICE = Range(1, 10**11, _MONEY)
AMOUNT_MOST = 10**15
"""The most that an order's quantity times its price may come to, in 1/10,000 of the currency."""

CASH = Range(0, 10**18, _MONEY)
SHARES = Range(0, 10**18, "shares")
"""What accounts open with, each and all together: cash, and shares of a symbol."""

POSTED = Range(-(10**18), 10**18, f"shares, or {_MONEY}")
FEE_PER_SHARE = Range(0, 10**5, _MONEY)
FEE_PER_NOTIONAL = Range(0, PRICE_SCALE, "1/10,000 of what is paid")
TICK_SIZE = Range(1, PRICE.most, _MONEY)
LOT_SIZE = Range(1, ORDER_QTY.most, "shares")
QTY_SCALE = Range(1, 10**8, "units of quantity in one share or coin")
TIME = Range(0, 47_482 * 86_400 * 10**9 - 1, "ns since 1970")
"""The times that calendars, files and arithmetic bear: to the end of 2099."""

NAME_LETTERS = 255
"""So many letters at most has a customer's own name for a request: a message bears many records."""


def account_name(field: str, value: object) -> str:
    """The name of a customer's account: text, and none that the firm keeps for its own.

    :raises InvalidValue: it is something else.
    """
    return _other_than(FIRMS_OWN, "accounts", field, value)


def symbol_name(field: str, value: object) -> str:
    """A symbol: text, and not the currency, which is the asset that symbols are paid with.

    :raises InvalidValue: it is something else.
    """
    return _other_than((CURRENCY,), "symbols", field, value)


def _other_than(own: tuple[str, ...], of: str, field: str, value: object) -> str:
    name = given.text(field, value)
    if name in own:
        raise InvalidValue(field, name, f"other {of} than {', '.join(own)}, the firm's own")
    return name


Rule = Callable[[str, object], object]
"""Gives the value of a field as a record holds it, or raises InvalidValue."""

RULES: Mapping[str, Mapping[str, Rule]] = {
    "accounts": {"account": account_name, "account_status": partial(given.one_of, known=_ACCOUNT)},
    "instruments": {
        "symbol": symbol_name,
        "tick_size": TICK_SIZE.of_field,
        "lot_size": LOT_SIZE.of_field,
        "qty_scale": QTY_SCALE.of_field,
        "security_status": partial(given.one_of, known=_INSTRUMENT),
    },
    "postings": {"account": given.text, "asset": given.text, "amount": POSTED.of_field},
}
"""The rules of what the firm writes, by dataset and column."""


def require_room(asset: str, opening: int) -> None:
    """Refuse an opening balance of all accounts together that the books have no room for.

    :param opening: in 1/10,000 of the currency, or in shares of the symbol.
    """
    field, most, of = (
        ("cash", CASH.most, CASH.of)
        if asset == CURRENCY
        else ("shares", SHARES.most, f"shares of {asset}")
    )
    if opening > most:
        raise InvalidValue(field, opening, f"at most {most:,} {of}, over all accounts together")
