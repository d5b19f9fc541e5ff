"""The account panel: cash, positions and open orders of an account, as one system knows them."""

import ipywidgets as widgets
import polars as pl

from tradesys.inquiry.inquiries import Inquiries
from tradesys.records.errors import TradesysError
from tradesys.records.schemas import CURRENCY
from tradesys.widgets.background_runner import Pulse
from tradesys.widgets.panels import Panel, field, money, order_cells, said, table

_OPEN_SHOWN = 8
_COLUMNS = {
    "order_id": "order",
    "side": "side",
    "symbol": "symbol",
    "order_qty": "quantity",
    "leaves_qty": "leaves",
    "price": "price",
    "ord_status": "status",
}


class AccountPanel(Panel):
    """Cash, buying power, positions and open orders, as the system ``at`` knows them."""

    def __init__(self, pulse: Pulse, account: str | None = None, *, at: str = "c1") -> None:
        self.pulse, self.at = pulse, at
        self.account = account or pulse.network.manifest.books.accounts[0]

    @property
    def picture(self) -> str:
        """The account as it is now."""
        return f"<h4>Account {self.account} at {self.at}</h4>{self.told()}"

    def told(self) -> str:
        """What the account has, and its open orders."""
        system = self.pulse.network[self.at]
        assert isinstance(system, Inquiries)
        if system.down:
            return said(f"{self.at}: {system.down}")
        try:
            held = system.positions(self.account)
        except TradesysError as error:  # the system has come back, and knows no accounts yet
            return said(f"{self.at}: {error}")
        parts = []
        for cash in system.cash(self.account).to_dicts():
            amounts = [money(cash[n]) for n in ("amount", "reserved", "buying_power", "uncleared")]
            parts.append(table(["cash", "reserved", "buying power", "not cleared yet"], [amounts]))
        shares = held.filter(pl.col("asset") != CURRENCY)
        columns = ["asset", "amount", "reserved", "uncleared"]
        heads = ["shares", "held", "in sell orders", "not cleared yet"]
        parts.append(table(heads, shares.select(columns).rows()))
        opened = system.orders(self.account, open_only=True)
        rows = [order_cells(row, _COLUMNS) for row in opened.tail(_OPEN_SHOWN).reverse().to_dicts()]
        count = f"{len(opened):,} open orders" if len(opened) != 1 else "1 open order"
        parts.append(f'<p class="soft">{count}</p>')
        if rows:
            parts.append(table(list(_COLUMNS.values()), rows))
        return "".join(parts)

    def fields(self) -> dict[str, widgets.Widget]:
        """Whose account, and who is asked."""
        network, kind = self.pulse.network, widgets.Dropdown
        known = {"options": list(network.manifest.books.accounts), "value": self.account}
        systems = [s.name for s in network if isinstance(s, Inquiries)]
        return {
            "account": field(kind, "Account", 200, 60, **known),
            "at": field(kind, "as known at", 200, 92, options=systems, value=self.at),
        }
