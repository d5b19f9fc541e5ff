"""The order ticket: an order's terms, what it costs of what there is, and where it is wrong."""

from contextlib import suppress
from functools import cached_property
from html import escape
from typing import Any

import ipywidgets as widgets
import polars as pl

from tradesys.inquiry.answers import Order
from tradesys.records.errors import InvalidValue, NotYetReplicated, SystemDown, TradesysError
from tradesys.records.schemas import OrdType, Side, TimeInForce, format_id, origin, split_id
from tradesys.systems.customer import entry_rules as rules
from tradesys.widgets import input_parsing as typed_values
from tradesys.widgets.background_runner import Pulse
from tradesys.widgets.panels import Live, Part, chip, clicked, field, money, said

_LABELS = {
    "system": "System",
    "account": "Account",
    "symbol": "Symbol",
    "side": "Side",
    "ord_type": "Type",
    "order_qty": "Quantity",
    "price": "Price",
    "time_in_force": "In force",
    "expire_time": "Until",
    "cl_ord_id": "Your name",
}
_TITLE = {
    "day": "day",
    "gtc": "until canceled",
    "ioc": "at once or cancel",
    "fok": "all or nothing",
    "gtd": "until a date",
}
_HINTS = {"expire_time": "2026-12-31T21:00:00Z", "cl_ord_id": "optional"}


class OrderTicket(Part):
    """Enters orders at a customer-facing system.

    A price that is far off the last one (:data:`tradesys.widgets.input_parsing.FAR`) has to be
    entered twice.

    Its ``values`` are the terms as they stand in the fields; each can be set from code as well, by
    ``ticket.fill(side="sell", price="50.25")``. The order entered last is ``ticket.order``.

    :param at: the customer-facing system at first.
    """

    def __init__(self, pulse: Pulse, *, at: str = "c1") -> None:
        self.pulse = pulse
        books = pulse.network.manifest.books
        self.order: Order | None = None
        self.wrong: dict[str, str] = {}
        self._doubt = typed_values.Doubt()
        self.values: dict[str, Any] = {
            "system": at,
            "account": books.accounts[0],
            "symbol": books.symbols[0],
            "side": Side.BUY.value,
            "ord_type": OrdType.LIMIT.value,
            "order_qty": 100,
            "price": "50.00",
            "time_in_force": TimeInForce.DAY.value,
            "expire_time": "",
            "cl_ord_id": "",
        }

    # ---- what it does

    def fill(self, **values: Any) -> None:
        """Set fields, as if they had been typed."""
        for name, value in values.items():
            if name not in self.values:
                raise InvalidValue("field", name, f"one of {', '.join(self.values)}")
            self.values[name] = value
            if self.is_shown:
                self._fields[name].value = str(value)
        self.refresh()

    @clicked
    def enter(self) -> None:
        """Enter the order as it stands; what is wrong is said beside the field it concerns."""
        self.wrong, self.order = {}, None
        try:
            stated, system = self._stated(), self.pulse.network[self.values["system"]]
            symbol, price = stated["symbol"], stated["price"]
            last_px = 0 if price is None else system.view.last_px(symbol)
            if price and (question := self._doubt.question(symbol, price, last_px)):
                self.wrong["price"] = question
            else:
                self.order = system.submit(**stated)
        except InvalidValue as error:
            if error.field not in self.values:
                raise
            self.wrong[error.field] = f"expected {error.expected}"
        except (SystemDown, NotYetReplicated) as error:
            self.wrong["system"] = str(error)
        self.pulse.carry()

    def _stated(self) -> dict[str, Any]:
        """The terms of the order, read from the fields.

        :raises InvalidValue: a field holds something else.
        """
        values = {name: value for name, value in self.values.items() if name != "system"}
        is_limit = values["ord_type"] == OrdType.LIMIT
        is_dated = values["time_in_force"] == TimeInForce.GTD
        return values | {
            "order_qty": typed_values.quantity(values["order_qty"]),
            "price": typed_values.price(values["price"]) if is_limit else None,
            "expire_time": typed_values.time(values["expire_time"]) if is_dated else None,
            "cl_ord_id": values["cl_ord_id"] or None,
        }

    def preview(self) -> tuple[str, bool]:
        """What the order takes beside what its account has free, and whether that is enough."""
        with suppress(TradesysError):
            values, network = self.values, self.pulse.network
            system, qty = network[values["system"]], typed_values.quantity(values["order_qty"])
            system.require_up()
            held = system.positions(values["account"])
            asset = values["symbol"] if values["side"] == Side.SELL else "USD"
            row = held.filter(pl.col("asset") == asset)
            free = int((row["amount"] - row["reserved"]).sum())
            if values["side"] == Side.SELL:
                return f"{qty:,} of {free:,} free shares", qty <= free
            is_limit = values["ord_type"] == OrdType.LIMIT
            price = typed_values.price(values["price"]) if is_limit else None
            cost = system.cost(values["symbol"], qty, price)
            if cost is None:
                return rules.REASONS[rules.NO_PRICE], False
            most = "" if is_limit else "at most "
            return f"{most}{money(cost)} of {money(free)} buying power", cost <= free
        return "", True

    # ---- how it looks

    @property
    def picture(self) -> str:
        """The ticket as it stands."""
        rows = "".join(
            f'<tr><td class="soft">{_LABELS[name]}</td><td>{escape(str(value))}</td>'
            f'<td class="bad">{escape(self.wrong.get(name, ""))}</td></tr>'
            for name, value in self.values.items()
            if value != "" or name in self.wrong
        )
        return f"<h4>Order ticket</h4><table>{rows}</table>{self._below()}"

    def _below(self) -> str:
        text, is_enough = self.preview()
        parts = [f'<p class="{"soft" if is_enough else "bad"}">{text}</p>', said(self.problem)]
        if self.order:
            reason = self.order.reject_reason
            system = origin(split_id(self.order.record_id)[0]).system
            told = f": {escape(reason)}" if reason else f" taken by {system}"
            again = ", which had it already" if self.order.repeated else ""
            state = chip("rejected") + " " if reason else ""
            parts.append(
                f'<p role="status">{state}<b>{format_id(self.order.order_id)}</b>{told}{again}</p>'
            )
        return "".join(parts)

    @cached_property
    def _fields(self) -> dict[str, widgets.Widget]:
        network = self.pulse.network
        books = network.manifest.books
        options = {
            "system": [customer.name for customer in network.customers],
            "account": list(books.accounts),
            "symbol": list(books.symbols),
            "side": [(side.capitalize(), side.value) for side in Side],
            "ord_type": [(kind.capitalize(), kind.value) for kind in OrdType],
            "time_in_force": [(_TITLE[t], t.value) for t in TimeInForce],
        }
        fields = {}
        for name, label in _LABELS.items():
            value = str(self.values[name])
            if name in ("side", "ord_type"):
                look = {"layout": {"width": "216px"}, "style": {"button_width": "102px"}}
                made = widgets.ToggleButtons(options=options[name], value=value, **look)
            elif name in options:
                made = field(widgets.Dropdown, label, 300, 80, options=options[name], value=value)
            else:
                hint = _HINTS.get(name, "")
                made = field(widgets.Text, label, 300, 80, value=value, placeholder=hint)
            fields[name] = made
        self.tie(**fields)
        return fields

    @clicked
    def typed(self, name: str, value: Any) -> None:
        """Take what was typed into a field, or chosen."""
        self.values[name] = value
        self.wrong.pop(name, None)

    @cached_property
    def widget(self) -> widgets.Widget:
        """The ticket to type into."""
        self._wrongs = {name: Live(layout={"margin": "0 0 0 90px"}) for name in self._fields}
        self._button = widgets.Button(layout={"width": "210px", "margin": "4px 0 0 88px"})
        self._button.on_click(lambda _: self.enter())
        self._told = Live()
        lines = [part for n in self._fields for part in (self._line(n), self._wrongs[n])]
        box = widgets.VBox([Live(html="<h4>Order ticket</h4>"), *lines, self._button, self._told])
        self.pulse.listen(self.refresh, 0.5)
        return box

    def _line(self, name: str) -> widgets.Widget:
        """A field with its label; those that are buttons have none of their own."""
        field = self._fields[name]
        if not isinstance(field, widgets.ToggleButtons):
            return field
        look = {"width": "80px", "justify_content": "flex-end"}
        return widgets.HBox([widgets.Label(_LABELS[name], layout=look), field])

    def refresh(self) -> None:
        """Show what the order would cost now, and what is wrong with it."""
        if not self.is_shown:
            return
        for name, live in self._wrongs.items():
            live.html = said(self.wrong.get(name, ""))
            _show(live, name in self.wrong)
        values, shown_qty = self.values, str(self.values["order_qty"])
        is_limit, is_buy = values["ord_type"] == OrdType.LIMIT, values["side"] == Side.BUY
        with suppress(InvalidValue):
            shown_qty = f"{typed_values.quantity(shown_qty):,}"
        price = values["price"] if is_limit else "at the market"
        verb = "Buy" if is_buy else "Sell"
        self._button.description = f"{verb} {shown_qty} {values['symbol']} {price}"
        self._button.button_style = "success" if is_buy else "danger"
        _show(self._fields["price"], is_limit)
        _show(self._fields["expire_time"], values["time_in_force"] == TimeInForce.GTD)
        self._told.html = self._below()


def _show(part: widgets.Widget, yes: bool) -> None:  # noqa: FBT001 - shown or not
    part.layout.display = "" if yes else "none"
