"""The account panel: cash, positions and open orders of an account, as one system knows them."""

from functools import cached_property

import ipywidgets as widgets
import polars as pl

from tradesys.errors import TradesysError
from tradesys.readable import readable
from tradesys.records import CURRENCY
from tradesys.systems.inquiries import Inquiries
from tradesys.widgets.part import Html, Live, Part, chip, money, said, table
from tradesys.widgets.pulse import Pulse

_OPEN_SHOWN = 8


class AccountPanel(Part):
    """Cash, buying power, positions and open orders, as the system ``at`` knows them."""

    def __init__(self, pulse: Pulse, account: str | None = None, *, at: str = "c1") -> None:
        self.pulse, self.at = pulse, at
        self.account = account or pulse.network.charter.books.accounts[0]

    @property
    def picture(self) -> str:
        """The account as it is now."""
        return f"<h4>Account {self.account} at {self.at}</h4>{self._held()}"

    def _held(self) -> str:
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
        rows = [
            [*row[:5], money(price), Html(chip(row[5]))]
            for row, price in zip(
                readable(opened.tail(_OPEN_SHOWN).reverse())
                .select("order_id", "side", "symbol", "order_qty", "leaves_qty", "ord_status")
                .rows(),
                opened.tail(_OPEN_SHOWN).reverse()["price"],
                strict=True,
            )
        ]
        count = f"{len(opened):,} open orders" if len(opened) != 1 else "1 open order"
        parts.append(f'<p class="soft">{count}</p>')
        if rows:
            heads = ["order", "side", "symbol", "quantity", "leaves", "price", "status"]
            parts.append(table(heads, rows))
        return "".join(parts)

    @cached_property
    def widget(self) -> widgets.Widget:
        """The panel, with its account and system to choose."""
        network = self.pulse.network
        systems = [s.name for s in network if isinstance(s, Inquiries)]
        accounts = list(network.charter.books.accounts)
        self._account = widgets.Dropdown(
            description="Account", options=accounts, value=self.account
        )
        self._at = widgets.Dropdown(description="as known at", options=systems, value=self.at)
        for field, wide in ((self._account, "60px"), (self._at, "92px")):
            field.style.description_width, field.layout.width = wide, "200px"
        self.tie(account=self._account, at=self._at)
        self._told = Live()
        self.pulse.listen(self.refresh, 0.5)
        return widgets.VBox([widgets.HBox([self._account, self._at]), self._told])

    def refresh(self) -> None:
        """Show the account as it is now."""
        if self.is_shown:
            self.follow()
            self._told.html = self._held()
