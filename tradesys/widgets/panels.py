"""What the parts of the desk share: a widget where somebody can click, and always a picture.

A part that is shown gives both: JupyterLab takes the widget, and whatever has no kernel behind it
(papermill's output, nbconvert, a reader of the repository) the picture. Widgets are made only where
somebody can use them, so that a notebook which is run from outside holds pictures alone.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, wraps
from html import escape
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import anywidget
import traitlets
from IPython import get_ipython
from ipywidgets import HBox, VBox, Widget

from tradesys.records.errors import TradesysError
from tradesys.records.schemas import PRICE_SCALE, OrdType, format_id
from tradesys.widgets.background_runner import Pulse, door

HERE = Path(__file__).parent
STYLE = (HERE / "style.css").read_text(encoding="utf-8")

_P = ParamSpec("_P")
_Part = TypeVar("_Part", bound="Part")


def is_live(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody can click: JupyterLab, VS Code or Voila has started this process.

    ``TRADESYS_WIDGETS=live`` says so for any other, and ``TRADESYS_WIDGETS=picture`` that not.
    """
    said = environ.get("TRADESYS_WIDGETS")
    if said in ("live", "picture"):
        return said == "live"
    started = environ.keys() & {"JPY_SESSION_NAME", "VSCODE_PID", "VSCODE_CWD"}
    return bool(started) or environ.get("SERVER_SOFTWARE", "").startswith("voila")


class Run(NamedTuple):
    """A run of a cell of a notebook: the cell, and the message that asked for it."""

    cell: str
    message: str


def running_cell() -> Run | None:
    """The cell that is being run, where a front-end says which."""
    asked: dict[str, Any] = getattr(get_ipython(), "get_parent", dict)()
    cell = asked.get("metadata", {}).get("cellId")
    return Run(cell, asked["header"]["msg_id"]) if cell else None


class Live(anywidget.AnyWidget):
    """HTML that Python makes; what is clicked comes back by its ``data-do``."""

    _esm = HERE / "live.js"
    _css = HERE / "style.css"
    html = traitlets.Unicode("").tag(sync=True)

    def __init__(self, on_click: Callable[[str], None] = lambda _: None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_msg(lambda _, message, __: on_click(message["do"]))


def clicked(
    method: Callable[Concatenate[_Part, _P], None],
) -> Callable[Concatenate[_Part, _P], None]:
    """Let a part show what goes wrong in what a click calls: ipywidgets would say nothing of it.

    One click is answered at a time, and none while a beat shows what has come. What the package
    refuses is for whoever clicked. Anything else is a defect: it is shown as well, and raised where
    tests run.
    """

    @wraps(method)
    def guarded(part: _Part, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        with door:
            part.problem = ""
            try:
                method(part, *args, **kwargs)
            except TradesysError as error:
                part.problem = str(error)
            except Exception as error:  # whatever it is: see above
                part.problem = f"{type(error).__name__}: {error}"
                if "pytest" in sys.modules:
                    raise
            finally:
                part.refresh()

    return guarded


class Part:
    """A piece of the desk. Subclasses give its ``picture`` and make its ``widget``."""

    problem = ""
    """What went wrong in the last thing that was clicked, for the part to show."""

    @property
    def picture(self) -> str:
        """The part as it is now, as HTML that needs no kernel."""
        raise NotImplementedError

    @cached_property
    def widget(self) -> Widget:
        """The part to click on."""
        raise NotImplementedError

    @property
    def is_shown(self) -> bool:
        """Whether its widget has been made."""
        return "widget" in self.__dict__

    def tie(self, **fields: Widget) -> None:
        """Let fields set the attributes of these names, and follow what code sets them to."""
        self._tied = fields
        for name, field in fields.items():
            field.observe(lambda change, name=name: self.typed(name, change["new"]), "value")

    @clicked
    def typed(self, name: str, value: Any) -> None:
        """Take what was typed into a field, or chosen."""
        setattr(self, name, value)

    def follow(self) -> None:
        """Let the fields say what the attributes say; one that cannot stays as it is."""
        for name, field in self._tied.items():
            with suppress(traitlets.TraitError):
                field.value = getattr(self, name)

    def refresh(self) -> None:
        """Show what is so now; called again and again while the part is shown as a widget."""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        page = f'<style>{STYLE}</style><div class="tradesys">{self.picture}</div>'
        bundle = {"text/plain": repr(self), "text/html": page}
        if not is_live():
            return bundle, {}
        shown = self.widget._repr_mimebundle_()
        widget = shown[0] if isinstance(shown, tuple) else shown
        self.refresh()
        return {**bundle, **widget, "text/plain": repr(self)}, {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Panel(Part):
    """Fields in a row, and below them what follows from them, told anew again and again."""

    pulse: Pulse

    def fields(self) -> dict[str, Widget]:
        """Fields for the attributes of these names."""
        raise NotImplementedError

    def told(self) -> str:
        """What is told below the fields, as HTML."""
        raise NotImplementedError

    @cached_property
    def widget(self) -> Widget:
        """The panel to choose in."""
        self.tie(**self.fields())
        self._told = Live()
        self.pulse.listen(self.refresh, 0.5)
        return VBox([HBox(list(self._tied.values())), self._told])

    def refresh(self) -> None:
        """Tell what is so now."""
        if self.is_shown:
            self.follow()
            self._told.html = self.told()


def field(kind: type[Widget], label: str, wide: int, beside: int, **kwargs: Any) -> Widget:
    """A field with its label: so many px wide, ``beside`` of them for the label."""
    layout, style = {"width": f"{wide}px"}, {"description_width": f"{beside}px"}
    return kind(description=label, layout=layout, style=style, **kwargs)


# ---- HTML


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table: numbers to the right, text as it is, and what is HTML already (:class:`Html`)."""
    lines = [list(row) for row in rows]
    numbers = [
        bool(lines) and all(_is_number(line[i]) for line in lines) for i in range(len(columns))
    ]
    look = [' class="n"' if number else "" for number in numbers]
    head = "".join(f"<th{at}>{escape(name)}</th>" for at, name in zip(look, columns, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{at}>{_cell(each)}</td>' for at, each in zip(look, line, strict=True))}"
        "</tr>"
        for line in lines
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def chip(status: str) -> Html:
    """An order's status as a coloured label."""
    return Html(f'<span class="chip {status}">{status.replace("_", " ")}</span>')


def _cell(value: object) -> str:
    if isinstance(value, Html):
        return value
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | Money)


class Money(str):
    """An amount in the currency, as people write it."""

    __slots__ = ()


def money(units: int | None) -> Money | None:
    """An amount of so many 1/10,000 of the currency, as people write it: ``1,050.25``."""
    if units is None:
        return None
    whole, rest = divmod(abs(units), PRICE_SCALE)
    cents = f"{rest:04}"
    cents = cents[:2] if cents.endswith("00") else cents
    return Money(f"{'−' if units < 0 else ''}{whole:,}.{cents}")


def price_of(px: int | None, ord_type: str) -> Money | None:
    """The price of an order, as people write it: of a market order they stated none."""
    return Money("market") if ord_type == OrdType.MARKET else money(px)


def average(px: float | None) -> Money | None:
    """An average price in the currency, as people write it; none without a fill."""
    return None if px is None else money(round(px * PRICE_SCALE))


def order_cells(order: Mapping[str, Any], columns: Iterable[str]) -> list[object]:
    """These columns of an order, as people read them in a :func:`table`."""
    shown = dict(order) | {
        "order_id": format_id(order["order_id"]),
        "price": price_of(order["price"], order["ord_type"]),
        "avg_px": average(order["avg_px"]),
        "ord_status": chip(order["ord_status"]),
    }
    return [shown[name] for name in columns]


def said(problem: str) -> Html:
    """A line that says what went wrong, or nothing."""
    return Html(f'<p class="bad" role="alert">{escape(problem)}</p>' if problem else "")
