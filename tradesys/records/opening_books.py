"""What the firm's books say when a network is new, and what the firm charges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tradesys.records import argument_checks as given
from tradesys.records import field_rules as fields
from tradesys.records.schemas import CURRENCY, PRICE_SCALE, cash_amount


class Fees(NamedTuple):
    """What the firm charges for a fill: 1/10,000 of the currency a share, and of the notional.

    In the ranges of :mod:`tradesys.records.field_rules` it is at most twice what an order may come
    to.
    """

    per_share: int = 0
    per_notional: int = 0

    def of(self, qty: Any, notional: Any, qty_scale: Any = 1) -> Any:
        """The fee of fills, in 1/10,000 of the currency, each part of it rounded down.

        :param qty: in units of ``qty_scale``, as int, array of int64, or polars expression;
            ``notional`` likewise.
        """
        by_notional = notional // PRICE_SCALE * self.per_notional
        rest = notional % PRICE_SCALE * self.per_notional // PRICE_SCALE
        return cash_amount(qty, self.per_share, qty_scale) + by_notional + rest


NO_FEES = Fees()


@dataclass(frozen=True)
class OpeningBooks:
    """What the firm's books say when a network is new: accounts, what they own, what is listed.

    ``cash`` (of each account) and ``tick_size`` are in 1/10,000 of the currency: a tick of 100 is
    0.01. ``shares`` (of each symbol) and ``lot_size`` are in units of quantity, ``qty_scale`` of
    which make one share. A fill costs ``fee_per_share``, in 1/10,000 of the currency, and
    ``fee_per_notional`` 1/10,000 of what was paid.

    :raises InvalidValue: a field is of the wrong type, or out of its range
        (:mod:`tradesys.records.field_rules`); so is what all accounts have together.
    """

    accounts: Sequence[str] = ("alice", "bob", "carol", "dave")
    symbols: Sequence[str] = ("ALFA", "BRVO", "CHRL")
    cash: int = 1_000_000 * PRICE_SCALE
    shares: int = 10_000
    tick_size: int = 100
    lot_size: int = 1
    qty_scale: int = 1
    fee_per_share: int = 0
    fee_per_notional: int = 0

    @property
    def fees(self) -> Fees:
        """What a fill costs."""
        return Fees(self.fee_per_share, self.fee_per_notional)

    def __post_init__(self) -> None:
        """Refuse what could not be written."""
        checked = {
            "accounts": given.texts("accounts", self.accounts, "accounts", fields.account_name),
            "symbols": given.texts("symbols", self.symbols, "symbols", fields.symbol_name),
        }
        ranges = {
            "cash": fields.CASH,
            "shares": fields.SHARES,
            "tick_size": fields.TICK_SIZE,
            "lot_size": fields.LOT_SIZE,
            "qty_scale": fields.QTY_SCALE,
            "fee_per_share": fields.FEE_PER_SHARE,
            "fee_per_notional": fields.FEE_PER_NOTIONAL,
        }
        numbers = {name: r.of_field(name, getattr(self, name)) for name, r in ranges.items()}
        for name, value in (checked | numbers).items():
            object.__setattr__(self, name, value)
        fields.require_room(CURRENCY, self.cash * len(self.accounts))
        for symbol in self.symbols:
            fields.require_room(symbol, self.shares * len(self.accounts))
