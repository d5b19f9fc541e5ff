"""An order's story: systems as lanes, time running down, each record from its writer to the others.

It is drawn from the records and from when each system received them, so any network can tell it.
"""

from functools import cached_property
from html import escape
from typing import Any

import polars as pl

from tradesys.inquiry.answers import OrderLike, id_of
from tradesys.network import Network
from tradesys.records.formatting import readable
from tradesys.records.schemas import format_id, origin, split_id
from tradesys.widgets.panels import Live, Part, clicked, money, price_of, said, table

_LEFT, _LANE, _TOP, _ROW = 340, 92, 50, 34
_COLOUR = {"requests": "--blue", "executions": "--teal", "postings": "--amber"}


class OrderStory(Part):
    """The records of an order, and how each went from the system that wrote it to the others.

    A record that is clicked is shown in full; it can be opened in the picture as well.
    """

    def __init__(self, network: Network, order: OrderLike) -> None:
        self.order_id = id_of(order)
        self.shown = ""
        learned = network.explain(order).learned
        self._learned = learned
        self._systems = [s.name for s in network if s.name in set(learned["system"])]
        record_ids = learned["record_id"].unique().sort().to_list()
        self._in_full = {format_id(i): _in_full(network, i) for i in record_ids}

    @property
    def picture(self) -> str:
        """The diagram, with every record below it to be opened."""
        opened = "".join(
            f"<details><summary>{name}</summary>{told}</details>"
            for name, told in self._in_full.items()
        )
        return self._drawing() + f"<details><summary>the records</summary>{opened}</details>"

    # ---- the drawing

    def _drawing(self) -> str:
        lanes = {name: _LEFT + _LANE * i for i, name in enumerate(self._systems)}
        rows, last, body = _rows(self._learned), "", []
        tall = _TOP + _ROW * (len(rows) + 1)
        for number, row in enumerate(rows.iter_rows(named=True)):
            told = f"{row['received_at']:%H:%M:%S.%f}"[:-3]
            when, last = told if told != last else "", told
            body.append(_drawn(row, when, _TOP + 20 + _ROW * number, lanes))
        frame = "".join(
            f'<line x1="{x}" y1="{_TOP - 16}" x2="{x}" y2="{tall - 20}" class="wire"/>'
            f'<text class="name" x="{x}" y="{_TOP - 24}" text-anchor="middle">{name}</text>'
            for name, x in lanes.items()
        )
        wide = _LEFT + _LANE * len(lanes) - 30
        return (
            f"<h4>The story of {format_id(self.order_id)}</h4>{said(self.problem)}"
            f'<svg viewBox="0 0 {wide} {tall}" style="max-width: {wide}px" role="img" '
            f'aria-label="the story of an order">{frame}{"".join(body)}</svg>'
        )

    @cached_property
    def widget(self) -> Live:
        """The diagram, to click on."""
        return Live(self.act, html=self._drawing() + _HINT)

    @clicked
    def act(self, what: str) -> None:
        """Show the record that was clicked."""
        self.shown = what

    def refresh(self) -> None:
        """Show the record that was clicked last, under the diagram."""
        if self.is_shown:
            told = f"<h4>{self.shown}</h4>{self._in_full[self.shown]}" if self.shown else _HINT
            self.widget.html = self._drawing() + told


_HINT = '<p class="soft">Click a record to see it in full.</p>'


def _rows(learned: pl.DataFrame) -> pl.DataFrame:
    """The rows from above: a record as it was written and who had it then, or who got it later."""
    return (
        learned.with_columns(is_late=pl.col("received_at") > pl.col("ts"))
        .group_by("received_at", "is_late", "record_id", maintain_order=True)
        .agg(pl.col("system"), pl.exclude("system").first())
        .sort("received_at", "is_late", "record_id", descending=[False, True, False])
    )


def _drawn(record: dict[str, Any], when: str, y: int, lanes: dict[str, int]) -> str:
    """A record as it is written, with an arrow to each system that has it; or come later."""
    writer = origin(split_id(record["record_id"])[0]).system
    name, colour = format_id(record["record_id"]), f"var({_COLOUR[record['dataset']]})"
    x, is_late, parts = lanes.get(writer, _LEFT), record["is_late"], []
    dash = ' stroke-dasharray="4 3"' if is_late else ""
    for system in record["system"]:
        if system != writer:
            tip = 6 if lanes[system] > x else -6
            end, down = lanes[system] - tip - tip // 6, y + 15
            parts.append(
                f'<path d="M {x},{y} L {end},{down}" style="stroke: {colour}"{dash} fill="none"'
                f' stroke-width="1.6"/><path d="M {end + tip},{down} l {-1.5 * tip},-4 v 8 z" '
                f'style="fill: {colour}"/>'
            )
    dot = "" if is_late else f'<circle cx="{x}" cy="{y}" r="5.5" style="fill: {colour}"/>'
    what = f"reaches {', '.join(record['system'])}" if is_late else _says(record)
    return (
        f'<g data-do="{name}" role="button" tabindex="0" aria-label="record {name}">'
        f"<title>{name}, {record['dataset']} of {writer}</title>"
        f'<rect x="0" y="{y - 16}" width="{_LEFT - 50}" height="28" fill="transparent"/>'
        f'<text class="soft" x="0" y="{y + 4}">{when}</text>'
        f'<text x="92" y="{y + 4}" style="fill: {colour}; font-weight: 600">{name}</text>'
        f'<text x="158" y="{y + 4}">{escape(what)}</text>{"".join(parts)}{dot}</g>'
    )


def _in_full(network: Network, record_id: int) -> str:
    """A record with all its fields, from a system that holds it."""
    for system in network:
        for held in system.tables.values():
            if held.has(record_id):
                frame = pl.DataFrame(held.rows([record_id]), schema=dict(held.frame.schema))
                row = readable(frame).row(0, named=True)
                return table(
                    ["field", "value"], [(n, str(v)) for n, v in row.items() if v is not None]
                )
    return ""


def _says(record: dict[str, Any]) -> str:
    kind = record["record"].replace("_", " ")
    if record["last_qty"]:
        return f"{kind} {record['last_qty']:,} at {money(record['last_px'])}"
    if record["dataset"] == "postings":
        return f"{kind} {record['asset']}"
    if record["dataset"] == "requests" and record["order_qty"]:
        price = price_of(record["price"], record["ord_type"])
        return f"{kind} {record['order_qty']:,}" + (f" at {price}" if price else "")
    return kind
