"""The blotter: the orders as one system knows them, live, in a grid to sort, filter and pivot."""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import ipywidgets as widgets
import polars as pl

from tradesys.inquiry.evidence import Evidence
from tradesys.records.errors import InvalidValue
from tradesys.records.formatting import readable
from tradesys.records.schemas import OrdStatus, OrdType, format_id, parse_id
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.customer.order_terms import Price
from tradesys.widgets import input_parsing as typed_values
from tradesys.widgets.background_runner import Pulse
from tradesys.widgets.panels import (
    Live,
    Part,
    chip,
    clicked,
    field,
    order_cells,
    price_of,
    said,
    table,
)

ROWS_MAX = 20_000
"""The blotter shows the latest so many orders."""

_SHOWN = 12
_COLUMNS = {
    "order_id": "order",
    "account": "account",
    "symbol": "symbol",
    "side": "side",
    "order_qty": "quantity",
    "price": "price",
    "cum_qty": "filled",
    "avg_px": "avg price",
    "ord_status": "status",
}


class Blotter(Part):
    """Orders as the system ``at`` knows them, the latest first.

    A row that is clicked is ``selected``, and can be canceled or replaced through that system.

    :param accounts: only orders of these accounts; all, when none is named.
    :param rows_max: how many of the latest orders are shown.
    """

    def __init__(
        self,
        pulse: Pulse,
        *,
        at: str = "c1",
        accounts: Sequence[str] = (),
        rows_max: int = ROWS_MAX,
    ) -> None:
        self.pulse, self.at, self.accounts, self.rows_max = pulse, at, tuple(accounts), rows_max
        self.selected: int | None = None
        self.on_select: Callable[[str], None] = lambda _: None
        self._since: Evidence | None = None
        self._seen: CustomerSystem | None = None
        self._doubt = typed_values.Doubt()
        self._numbers: dict[int, int] = {}  # by order, the first known first
        self._first = 0

    @property
    def system(self) -> CustomerSystem:
        """The system whose answers are shown."""
        return self.pulse.network[self.at]

    # ---- what it shows

    def orders(self) -> pl.DataFrame:
        """The latest orders, as :meth:`~tradesys.inquiry.inquiries.Inquiries.statuses`."""
        return self._of(self.system.statuses()).reverse().head(self.rows_max)

    def _of(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(pl.col("account").is_in(self.accounts)) if self.accounts else frame

    @property
    def picture(self) -> str:
        """The first rows, and how many there are."""
        if self.system.down:
            return f"<h4>Blotter at {self.at}</h4>{said(self.system.down)}"
        orders = self.orders()
        rows = [order_cells(row, _COLUMNS) for row in orders.head(_SHOWN).to_dicts()]
        more = f"and {len(orders) - _SHOWN:,} more" if len(orders) > _SHOWN else ""
        return (
            f"<h4>Blotter at {self.at}</h4>{table(list(_COLUMNS.values()), rows)}"
            f'<p class="soft">{more}</p>{said(self.problem)}'
        )

    # ---- what it does

    def select(self, order: int | str) -> None:
        """Select the order that a cancel or a replace is then about."""
        self.selected = parse_id(order) if isinstance(order, str) else order
        self.on_select(format_id(self.selected))
        self.problem = ""
        if self.is_shown:
            self._qty.value = self._price.value = ""
        self.refresh()

    @clicked
    def cancel(self) -> None:
        """Ask for the cancelation of the selected order, at this blotter's system."""
        if self.selected is not None:
            self.system.cancel(self.selected)
            self.pulse.carry()

    @clicked
    def replace(self, order_qty: int | None = None, price: Price | None = None) -> None:
        """Ask for another quantity or price of the selected order."""
        if self.selected is not None:
            self.system.replace(self.selected, order_qty=order_qty, price=price or None)
            self.pulse.carry()

    @clicked
    def show(self, at: str, accounts: Sequence[str] = ()) -> None:
        """Show what another system knows, or other accounts."""
        self.pulse.network[at]
        self.at, self.accounts = at, tuple(accounts)
        self._restart()

    def typed(self, name: str, value: Any) -> None:
        """Show what another system knows, or other accounts, as it was chosen."""
        if getattr(self, name) != value:
            self.show(**{"at": self.at, "accounts": self.accounts, name: value})

    # ---- the grid

    @cached_property
    def _grid(self) -> Any:
        from tradesys.widgets.perspective_grid import Grid  # noqa: PLC0415 - only where somebody can click

        nothing = self.system.changed()[0].clear()
        return Grid(
            self._rows(nothing),
            "order",
            columns=list(_COLUMNS.values()),
            sort=[["n", "desc"]],
            settings=False,
            theme="Pro Light",
            title=" ",
            plugin_config={"edit_mode": "READ_ONLY"},
        )

    def _rows(self, changed: pl.DataFrame) -> pl.DataFrame:
        """Rows of the grid; ``n`` numbers the orders as they became known here."""
        known = self._numbers
        numbers = pl.Series(
            "n", [known.setdefault(i, len(known)) for i in changed["order_id"]], pl.Int64
        )
        told = readable(changed).with_columns(
            pl.when(pl.col("ord_type") != OrdType.MARKET).then("price").alias("price"),
            pl.col("ord_status").cast(pl.String),
        )
        shown = told.select(pl.col(name).alias(title) for name, title in _COLUMNS.items())
        rows = shown.with_columns(pl.col("status").str.replace_all("_", " "), numbers)
        return rows.filter(numbers >= len(known) - self.rows_max)

    def _restart(self) -> None:
        """Begin anew: another system, or the same one come back with other records."""
        self._since, self._numbers, self._first, self.selected = None, {}, 0, None
        if "_grid" in self.__dict__:
            self._grid.clear()

    def _update(self) -> None:
        system = self.system
        if system.down:
            return
        if self._seen not in (None, system):
            self._restart()
        self._seen = system
        changed, self._since = system.changed(self._since)
        if len(changed := self._of(changed)):
            self._grid.upsert(self._rows(changed))
            self._forget()

    def _send_again(self) -> None:
        """Send all that is shown once more, when records are looked at next."""
        self._since = None

    def _forget(self) -> None:
        """Take the oldest orders out of the grid, a tenth of them at a time."""
        first = len(self._numbers) - self.rows_max
        if first - self._first > self.rows_max // 10:
            self._grid.remove([*map(format_id, islice(self._numbers, self._first, first))])
            self._first = first

    @cached_property
    def widget(self) -> widgets.Widget:
        """The blotter to click on."""
        names = [customer.name for customer in self.pulse.network.customers]
        at = field(widgets.Dropdown, "Blotter at", 150, 72, options=names, value=self.at)
        own = self.accounts
        whose = {"these accounts": own} if own else {}
        whose |= {"all accounts": ()} | {name: (name,) for name in own}
        of = field(widgets.Dropdown, "of", 170, 24, options=whose, value=own)
        self.tie(at=at, accounts=of)
        from tradesys.widgets.perspective_grid import GridEvents  # noqa: PLC0415 - as above

        self._events = GridEvents(self._send_again)
        self._events.observe(lambda change: self._clicked_row(change["new"]), "row")
        self._cancel, self._replace = (
            widgets.Button(description=f"{verb} order", layout={"width": "118px"})
            for verb in ("Cancel", "Replace")
        )
        self._cancel.on_click(lambda _: self.cancel())
        self._replace.on_click(lambda _: self._replace_as_typed())
        self._qty, self._price = (
            field(widgets.Text, label, 150, 66, placeholder="as it is")
            for label in ("Quantity", "Price")
        )
        self._about = Live()
        buttons = [self._cancel, self._qty, self._price, self._replace]
        change = widgets.HBox(buttons, layout={"flex_flow": "row wrap"})
        box = widgets.VBox([widgets.HBox([at, of]), self._grid, self._about, change, self._events])
        # Where everybody's orders are shown nobody waits for one of his own.
        self.pulse.listen(self.refresh, 0.25, first=lambda: bool(self.accounts))
        return box

    @clicked
    def _replace_as_typed(self) -> None:
        qty, price = self._qty.value.strip(), self._price.value.strip()
        if not qty and not price:
            raise InvalidValue("order_qty", qty, "another quantity or another price")
        wanted = typed_values.quantity(qty) if qty else None
        limit = typed_values.price(price) if price else None
        if limit is not None and (state := self.system.view.order(self.selected or 0)):
            last_px = self.system.view.last_px(state.symbol)
            self.problem = self._doubt.question(state.symbol, limit, last_px)
            if self.problem:
                return
        self.replace(order_qty=wanted, price=limit)
        if not self.problem:
            self._qty.value = self._price.value = ""

    @clicked
    def _clicked_row(self, row: dict[str, Any]) -> None:
        if row.get("order"):
            self.select(row["order"])

    def refresh(self) -> None:
        """Show what the system knows now."""
        if not self.is_shown:
            return
        self.follow()
        self._update()
        self._about.html = self._selection()
        for part in (self._cancel, self._replace, self._qty, self._price):
            part.disabled = self.selected is None or bool(self.system.down)

    def _selection(self) -> str:
        system = self.system
        if system.down:
            return said(f"{self.at}: {system.down}")
        if self.selected is None:
            return '<p class="soft">Click a row to select an order.</p>' + said(self.problem)
        state = system.view.order(self.selected)
        if state is None:
            return f'<p class="soft">{format_id(self.selected)} is not known at {self.at}.</p>'
        at = price_of(state.price, state.ord_type)
        closed = "" if state.leaves_qty or state.ord_status == OrdStatus.PENDING_NEW else ", closed"
        return (
            f"<p><b>{format_id(self.selected)}</b> {state.side} {state.order_qty:,} {state.symbol} "
            f"at {at} {chip(state.ord_status)} {state.cum_qty:,} filled{closed}</p>"
            f"{said(self.problem)}"
        )
