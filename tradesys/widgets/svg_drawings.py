"""Pictures that the notebooks share: a network and what it holds, many answers, how charts look.

A picture is a static SVG on its own light background, so it reads the same in a light and in a dark
theme, on a page, and in a notebook that is opened again without a kernel. It comes with a PNG:
JupyterLab shows no SVG of a notebook that it does not trust, as a fresh copy is.
"""

import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tradesys.network import Network
from tradesys.records.formatting import show_text_plainly
from tradesys.records.schemas import Kind, parse_origin
from tradesys.routes import ROUTES, WRITES, Holding, holdings

PALETTE = ("#2563eb", "#d97706", "#0d9488", "#be185d", "#7c3aed", "#65a30d", "#475569", "#b91c1c")
INK, LINE, PAPER, CARD, ALARM = "#1e293b", "#cbd5e1", "#ffffff", "#f1f5f9", "#b91c1c"
_COLOUR = {Holding.AUTHORITATIVE: "#2563eb", Holding.READ_ONLY: "#64748b"}
STATUS_COLOURS = {
    "pending_new": "#93c5fd",
    "new": "#2563eb",
    "rejected": "#be185d",
    "partially_filled": "#5eead4",
    "filled": "#0d9488",
    "canceled": "#94a3b8",
    "expired": "#475569",
    "done_for_day": "#7c3aed",
    "pending_replace": "#fcd34d",
    "pending_cancel": "#d97706",
}
"""A colour for each status that the notebooks come to."""
_FITS = 'style="max-width: 100%; height: auto"'
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"

_TITLES = {Kind.CUSTOMER: "customer-facing", Kind.FIRM: "firm-side", Kind.STREET: "street-side"}
_LEFT = {Kind.CUSTOMER: 95, Kind.FIRM: 405, Kind.STREET: 715}
_ARROWS = {
    (Kind.CUSTOMER, Kind.CUSTOMER): ("M 95,70 C 60,70 60,105 91,105", 50, 125),
    (Kind.CUSTOMER, Kind.FIRM): ("M 285,70 H 401", 345, 62),
    (Kind.FIRM, Kind.CUSTOMER): ("M 405,105 H 289", 345, 122),
    (Kind.FIRM, Kind.STREET): ("M 595,105 H 711", 655, 122),
    (Kind.STREET, Kind.FIRM): ("M 715,70 H 599", 655, 62),
    (Kind.STREET, Kind.CUSTOMER): ("M 715,265 H 289", 500, 257),
    (Kind.STREET, Kind.STREET): ("M 905,70 C 940,70 940,105 909,105", 950, 125),
}
_ORDERS = ("M 285,215 H 711", 500, 207)
_TIPS = "".join(
    f'<marker id="tip{colour[1:]}" viewBox="0 0 8 8" refX="5" refY="4" markerWidth="7" '
    f'markerHeight="7" orient="auto"><path d="M 0,0 L 8,4 L 0,8 z" fill="{colour}"/></marker>'
    for colour in (INK, *_COLOUR.values())
)


@dataclass(frozen=True)
class Picture:
    """An SVG that a notebook shows, and the PNG that stands for it."""

    svg: str = field(repr=False)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "image/svg+xml": self.svg, "image/png": _png(self.svg)}


def _png(svg: str) -> str:
    """The picture in pixels, in base64, compressed as far as it goes."""
    import vl_convert  # noqa: PLC0415 - as in chart_style

    png = vl_convert.svg_to_png(svg, scale=1)
    parts, data, at = [png[:8]], b"", 8
    while at < len(png):  # chunks: length, type, content, checksum
        end = at + 12 + int.from_bytes(png[at : at + 4])
        kind, content = png[at + 4 : at + 8], png[at + 8 : end - 4]
        if kind == b"IDAT":
            data += content
        else:
            if kind == b"IEND":
                parts.append(_chunk(b"IDAT", zlib.compress(zlib.decompress(data), 9)))
            parts.append(png[at:end])
        at = end
    return b64encode(b"".join(parts)).decode()


def _chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    checksum = zlib.crc32(kind + content).to_bytes(4)
    return len(content).to_bytes(4) + kind + content + checksum


def network_svg(network: Network | Mapping[str, Mapping[str, int]]) -> Picture:
    """Draw the three kinds of system, the seven routes, and how many records each system holds.

    :param network: a network, whose cut links are then shown too, or what its ``summary`` gave.
    """
    counts = network.summary() if isinstance(network, Network) else network
    cuts = _cuts(network) if isinstance(network, Network) else {}
    boxes, bottoms = [], dict.fromkeys(Kind, 54)
    for name, held in counts.items():
        kind = parse_origin(name).kind
        boxes.append(_box(name, kind, held, cuts.get(name, ""), bottoms[kind]))
        bottoms[kind] += 52 + 17 * len(held)
    tall = max(290, *bottoms.values())
    groups = [_group(kind, bottoms[kind] if kind is Kind.FIRM else tall) for kind in _TITLES]
    arrows = [_arrow(_ORDERS, ("orders, each to one street-side system",), INK, "6 4")]
    arrows += [_arrow(_ARROWS[w, r], WRITES[w], _COLOUR[holding]) for w, r, holding, _ in ROUTES]
    legend = [_dot(105, tall + 24, Holding.AUTHORITATIVE), _dot(415, tall + 24, Holding.READ_ONLY)]
    legend.append(_text(117, tall + 28, "authoritative: systems of this kind write it"))
    legend.append(_text(427, tall + 28, "read-only: a copy of what systems of another kind write"))
    return drawing(1000, tall + 44, [*groups, *boxes, *arrows, *legend], _TIPS)


def _cuts(network: Network) -> dict[str, str]:
    """What to say of the systems that cannot reach others."""
    names = list(network.systems)
    cut = {one: [two for two in names if network.cut(one, two)] for one in names}
    alone = {name for name in names if len(cut[name]) == len(names) - 1}
    some = {name: [other for other in cut[name] if other not in alone] for name in names}
    said = {n: ", ".join(o) if len(o) < 3 else f"{len(o)} others" for n, o in some.items() if o}
    said = {name: f"cut off from {others}" for name, others in said.items()}
    return said | dict.fromkeys(alone, "cut off")


def _group(kind: Kind, bottom: int) -> str:
    left = _LEFT[kind]
    card = f'<rect x="{left}" y="20" width="190" height="{bottom - 20}" rx="10" fill="{CARD}"/>'
    return card + _text(left + 12, 42, _TITLES[kind], bold=600)


def _box(name: str, kind: Kind, held: Mapping[str, int], cut: str, top: int) -> str:
    """A system: its name, and a line for each dataset that it holds."""
    left, right = _LEFT[kind] + 10, _LEFT[kind] + 170
    border = f'stroke="{ALARM}" stroke-dasharray="5 4"' if cut else f'stroke="{LINE}"'
    size = f'x="{left}" y="{top}" width="170" height="{40 + 17 * len(held)}" rx="6"'
    title = _text(left + 10, top + 20, name, bold=700) + _text(right, top + 20, cut, ALARM, "end")
    parts = [f'<rect {size} fill="{PAPER}" {border}/>', title]
    for row, (dataset, holding) in enumerate(holdings(kind).items()):
        y, colour = top + 42 + 17 * row, _COLOUR[holding]
        parts += [_dot(left + 14, y - 4, holding), _text(left + 25, y, dataset, colour)]
        parts.append(_text(right, y, f"{held.get(dataset, 0):,}", colour, "end"))
    return "".join(parts)


def _arrow(at: tuple[str, int, int], labels: tuple[str, ...], colour: str, dash: str = "") -> str:
    path, x, y = at
    line = f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dash}"'
    texts = [_text(x, y + 15 * i, label, colour, "middle") for i, label in enumerate(labels)]
    return f'<path d="{path}" {line} marker-end="url(#tip{colour[1:]})"/>' + "".join(texts)


def _dot(x: int, y: int, holding: Holding) -> str:
    colour = _COLOUR[holding]
    fill = colour if holding is Holding.AUTHORITATIVE else PAPER
    return f'<circle cx="{x}" cy="{y}" r="4" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def _text(x: int, y: int, text: str, fill: str = INK, at: str = "start", bold: int = 400) -> str:
    look = f'fill="{fill}" text-anchor="{at}" font-weight="{bold}"'
    return f'<text x="{x}" y="{y}" {look}>{text}</text>'


def squares_svg(answers: Mapping[str, Sequence[str]], *, columns: int = 40) -> Picture:
    """Draw a square for each answer, coloured by its status: one block beside another.

    :param answers: for each block its title, and statuses (FIX tag 39).
    :param columns: how many squares stand in a row of a block.
    """
    cell, gap = 8, 40
    rows = max(-(-len(each) // columns) for each in answers.values())
    wide, bottom = columns * cell, 54 + rows * cell
    parts = []
    for block, (title, statuses) in enumerate(answers.items()):
        left = 20 + block * (wide + gap)
        parts.append(_text(left, 36, title, bold=600))
        counts = Counter(statuses)
        for line, (status, count) in enumerate(counts.most_common()):
            squares = "".join(
                f"M{left + i % columns * cell},{54 + i // columns * cell}h7v7h-7z"
                for i, each in enumerate(statuses)
                if each == status
            )
            y, colour = bottom + 20 + 19 * line, STATUS_COLOURS[status]
            parts.append(f'<path d="{squares}M{left},{y - 9}h10v10h-10z" fill="{colour}"/>')
            parts.append(_text(left + 18, y, f"{count:,} {status}"))
    lines = max(len(set(each)) for each in answers.values())
    return drawing(len(answers) * (wide + gap), bottom + 16 + 19 * lines, parts)


def drawing(
    width: int, height: int, parts: Sequence[str], markers: str = "", *, size: int = 13
) -> Picture:
    """A drawing of these parts on its own paper, with text of a size in px."""
    room = f'width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {room} {_FITS}'
    paper = f'{markers}<rect {room} rx="10" fill="{PAPER}"/>'
    return Picture(f'{head} font-family="{FONT}" font-size="{size}">{paper}{"".join(parts)}</svg>')


def table_style() -> None:
    """Show small tables in full, text without quotes, without the lines of types and shape."""
    show_text_plainly()
    pl.Config(tbl_rows=30, tbl_cols=20, fmt_str_lengths=90, fmt_float="full")
    pl.Config(tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True)


def chart_style() -> None:
    """Show Altair's charts as static SVG and PNG on white, in quiet colours."""
    import altair as alt  # noqa: PLC0415 - it takes two seconds, and few notebooks draw charts

    alt.renderers.enable("svg")
    draw: Any = alt.renderers.get()

    def draw_both(chart: Any, **how: Any) -> dict[str, str]:
        drawn: dict[str, str] = draw(chart, **how)
        return drawn | {"image/png": _png(drawn["image/svg+xml"])}

    alt.renderers.register("tradesys", draw_both)
    alt.renderers.enable("tradesys")
    alt.theme.register("tradesys", enable=True)(lambda: _THEME)


def bill_chart(bill: pl.DataFrame) -> Any:
    """Draw the bill of outages (``desk.bill()``): what became of requests, by system and fault.

    :returns: an Altair chart.
    """
    import altair as alt  # noqa: PLC0415 - as above

    rows = bill.with_row_index("number").with_columns(
        outage=pl.format("{} · {}", "system", pl.col("fault").replace("none", "no fault"))
    )
    what = {"taken": PALETTE[0], "refused": PALETTE[1], "delayed": ALARM}
    counts = rows.unpivot(list(what), index=["number", "outage"], variable_name="requests")
    colour = alt.Scale(domain=list(what), range=list(what.values()))
    names = rows["outage"].unique(maintain_order=True).to_list()
    return (
        alt.Chart(
            counts.group_by("outage", "requests", maintain_order=True).agg(pl.col("value").sum()),
            title="what became of requests, by the system asked and what was wrong with it",
            height=alt.Step(26),
        )
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title="requests"),
            y=alt.Y("outage:N", sort=names, title=None),
            color=alt.Color("requests:N", scale=colour, title=None),
            order=alt.Order("requests:N", sort="descending"),
            tooltip=["outage", "requests", "value"],
        )
    )


_THEME: Any = {
    "background": PAPER,
    "padding": 12,
    "config": {
        "font": FONT,
        "mark": {"aria": False},  # a label for each of a thousand marks is twice the picture
        "view": {"stroke": None, "continuousWidth": 720, "continuousHeight": 220},
        "axis": {"gridColor": CARD, "domainColor": LINE, "tickColor": LINE},
        "title": {"anchor": "start", "color": INK},
        "range": {"category": list(PALETTE)},
    },
}
