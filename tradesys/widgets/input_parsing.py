"""What people type into fields, as they write it: quantities, prices in the currency, times."""

import re

from tradesys.records.clock import to_ns
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import to_price
from tradesys.widgets.panels import money

FAR = 0.25
"""A price that is further from the last one than this share of it asks again."""

_WHOLE = r"-?(?:\d+|\d{1,3}(?:,\d{3})+)"
_PRICE = re.compile(rf"{_WHOLE}(?:\.\d{{0,4}})?", re.ASCII)
_QUANTITY = re.compile(_WHOLE, re.ASCII)


def quantity(typed: object) -> int:
    """A number of shares, as it is typed: ``1,000``.

    :raises InvalidValue: it is none.
    """
    text = str(typed).strip()
    if not _QUANTITY.fullmatch(text):
        raise InvalidValue("order_qty", typed, "a whole number of shares, like 100")
    return int(text.replace(",", ""))


def price(typed: object) -> int:
    """A price in 1/10,000 of the currency, typed in the currency: ``1,050.25`` or ``1050``.

    :raises InvalidValue: it is none.
    """
    text = str(typed).strip()
    if not _PRICE.fullmatch(text):
        raise InvalidValue("price", typed, "a price with up to four decimals, like 50.25")
    return to_price(text.replace(",", ""))


def time(typed: object) -> int:
    """A time in ns since 1970, typed as text.

    :raises InvalidValue: it is none.
    """
    try:
        return to_ns(str(typed).strip(), "expire_time")
    except InvalidValue as error:
        expected = "a time, like 2026-12-31T21:00:00Z"
        raise InvalidValue("expire_time", typed, expected) from error


class Doubt:
    """Asks again, once, before a price that is far off the market is entered."""

    def __init__(self) -> None:
        self._about: tuple[str, int] | None = None

    def question(self, symbol: str, price: int, last_px: int) -> str:
        """What is asked of whoever typed a price; nothing where it is near, or typed again.

        :param last_px: the last price in the symbol, in 1/10,000; 0 where there is none.
        """
        asked, self._about = self._about, None
        if not last_px or abs(price - last_px) <= FAR * last_px or asked == (symbol, price):
            return ""
        self._about = symbol, price
        return (
            f"{money(price)} is {abs(price - last_px) / last_px:,.0%} from the last price, "
            f"{money(last_px)}; enter it once more if that is meant"
        )
