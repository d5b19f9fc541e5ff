"""A live grid (FINOS Perspective), and what its page tells of it: the row clicked, the theme."""

import json
from collections.abc import Callable
from typing import Any

import anywidget
import polars as pl
import traitlets
from ipywidgets import Layout
from perspective import table
from perspective.widget import PerspectiveWidget

from tradesys.widgets.panels import HERE

PLAIN = pl.CompatLevel.oldest()
"""Perspective knows no views of strings, which polars writes otherwise."""

_BUNDLE = PerspectiveWidget._esm  # noqa: SLF001 - a public name there is none
_ONCE = """
const source = {};
const url = () => URL.createObjectURL(new Blob([source], {{ type: "text/javascript" }}));
const bundle = (globalThis.tradesysPerspective ??= import(url()));
export default {{ render: async (given) => (await bundle).default.render(given) }};
"""
"""Two grids on a page load one Perspective: a second one could not define its elements again.

It is waited for when a grid is drawn, since what a widget imports must be there within two seconds.
"""


class Grid(PerspectiveWidget):  # type: ignore[misc]  # it has no types
    """A grid of rows by the key ``index``, updated and read as a Perspective table.

    :param empty: a frame without rows, with the columns and types of all that will come.
    :param kwargs: as Perspective's widget has them.
    """

    _esm = _ONCE.format(json.dumps(str(_BUNDLE)))

    def __init__(self, empty: pl.DataFrame, index: str, **kwargs: Any) -> None:
        rows = table(empty.to_arrow(compat_level=PLAIN), index=index)
        self._rows_name = rows.get_name()
        super().__init__(rows, binding_mode="client-server", **kwargs)
        # Without a height of its own it has none in a box.
        self.layout = Layout(height="300px", width="100%", flex="0 0 auto")

    @traitlets.default("table_name")
    def _named(self) -> str:
        """The table's name from the first: a page may draw the grid before it hears of a change."""
        return self._rows_name

    def upsert(self, rows: pl.DataFrame) -> None:
        """Add rows, or put them in the place of those of the same key."""
        self.table.update(rows.to_arrow(compat_level=PLAIN))

    def remove(self, keys: list[str]) -> None:
        """Take rows out."""
        self.table.remove(keys)


class GridEvents(anywidget.AnyWidget):
    """Hears which row of the grid beside it is clicked, and lets it follow the page's theme.

    :param on_ready: called when a page has begun to follow the grid. What came a moment before may
        not have reached it, and is to be sent again.
    """

    _esm = HERE / "grid.js"
    # Outside JupyterLab, Perspective would have its own height, which is more.
    _css = ".tradesys-part .PSPContainer { height: 300px; min-height: 0 !important; }"
    row = traitlets.Dict().tag(sync=True)

    def __init__(self, on_ready: Callable[[], None]) -> None:
        super().__init__()
        self.on_msg(lambda *_: on_ready())
