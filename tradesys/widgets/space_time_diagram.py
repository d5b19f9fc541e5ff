"""A space-time diagram: systems as lanes, time running down, messages as arrows between them.

Each thing drawn says what it is when the pointer rests on it (an SVG ``<title>``), by the ids of
the records that it is about.
"""

from collections.abc import Callable, Sequence
from html import escape

from tradesys.records.schemas import Kind, parse_origin
from tradesys.simulation.run import Simulation
from tradesys.simulation.transport import CUSTOMERS, Event
from tradesys.widgets.svg_drawings import ALARM, CARD, INK, LINE, PALETTE, PAPER, Picture, drawing

_LANE, _LEFT, _TOP, _ROOM = 150, 130, 76, 36
_MS = 1_000_000
_WAYS = {
    "asked": (PALETTE[1], "a customer asks, and is answered"),
    "sent": (INK, "an order is sent to the street side"),
    "requests": (PALETTE[0], "requests are replicated"),
    "executions": (PALETTE[2], "executions are replicated"),
    "firm": (PALETTE[4], "the firm's records are replicated"),
}
_WRITES = {Kind.CUSTOMER: "requests", Kind.STREET: "executions", Kind.FIRM: "firm"}
_DOT = {"record": PALETTE[0], "sees": PALETTE[1], "up": PALETTE[5], "fault": ALARM, "over": ALARM}


def space_time(
    desk: Simulation,
    start_ms: float = 0,
    end_ms: float | None = None,
    *,
    about: Sequence[str] = (),
    px_per_ms: float = 26,
) -> Picture:
    """Draw what happened in a simulation that was made with ``trace=True``.

    :param about: only messages and events whose text has one of these in it: an id like ``c1-3``,
        a customer's name for an order. Faults are always drawn. All, when none is given.
    """
    events = desk.transport.trace or []
    last = max([e.at for e in events], default=0) / _MS
    end = last + 1 if end_ms is None else end_ms
    lanes = {name: _LEFT + _LANE * i for i, name in enumerate([CUSTOMERS, *desk.systems])}

    def y(at: int) -> float:
        return _TOP + _ROOM + (at / _MS - start_ms) * px_per_ms

    shown = [e for e in events if start_ms <= e.at / _MS <= end and _is_shown(e, about)]
    height = y(int(end * _MS)) + 70
    bands = [
        _band(
            lanes[s.fault.system],
            y(max(s.outage.began, int(start_ms * _MS))),
            y(min(s.ended, int(end * _MS))),
            s.fault.kind,
        )
        for s in desk.faults.suffered
        if s.outage.began / _MS <= end and s.ended / _MS >= start_ms
    ]
    arrows = [_arrow(e, lanes, y) for e in shown if e.arrives is not None]
    dots = [_dot(e, lanes[e.system], y(e.at)) for e in shown if e.arrives is None]
    width = _LEFT + _LANE * len(lanes) - 40
    frame = [_lanes(lanes, height - 56), _times(start_ms, end, y, width)]
    parts = [*frame, *bands, *arrows, *dots, _legend(height - 26)]
    return drawing(width, round(height), parts, _MARKERS, size=12)


def _is_shown(event: Event, about: Sequence[str]) -> bool:
    """Whether an event is drawn: what carries nothing, and what it is asked with, never is."""
    if event.kind == "message" and event.text in ("pull", "nothing new", "give back"):
        return False
    words = event.text.replace(",", " ").replace(":", " ").split()
    return (
        not about
        or (event.kind in _DOT and event.kind != "record")
        or any(a in words for a in about)
    )


def _kind_of(event: Event) -> str:
    """Which of the ways a message goes."""
    source, target = event.system, event.target
    if CUSTOMERS in (source, target):
        return "asked"
    assert target is not None
    one, two = parse_origin(source).kind, parse_origin(target).kind
    if (one, two) == (Kind.CUSTOMER, Kind.STREET):
        return "sent"
    return _WRITES[one]


def _arrow(event: Event, lanes: dict[str, int], y: Callable[[int], float]) -> str:
    assert event.target is not None
    tip = _kind_of(event)
    colour, faint = _WAYS[tip][0], 1 if tip in ("asked", "sent") else 0.55
    x1, x2, y1 = lanes[event.system], float(lanes[event.target]), y(event.at)
    if event.arrives:
        x2, y2, dash = x2 + (6 if x2 < x1 else -6), y(event.arrives), ""
        arrives = f"to {event.arrives / _MS:.2f} ms"
    else:
        x2, y2, dash = x1 + (x2 - x1) * 0.45, y1 + 14, ' stroke-dasharray="4 3"'
        arrives = tip = "lost"
        colour, faint = ALARM, 1
    ends = f"{event.system} to {event.target}, {event.at / _MS:.2f} ms"
    title = f"<title>{escape(event.text)}\n{ends} {arrives}</title>"
    at = f'x1="{x1}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    # A wide line that nobody sees makes the thin one easy to point at.
    return (
        f'<g>{title}<line {at} stroke="#fff" stroke-opacity="0" stroke-width="9"/>'
        f'<line {at} stroke="{colour}" stroke-opacity="{faint}" stroke-width="1.4"{dash} '
        f'marker-end="url(#st-{tip})"/></g>'
    )


def _dot(event: Event, x: int, y: float) -> str:
    colour = _DOT[event.kind]
    title = f"<title>{escape(event.text)}\n{event.system}, {event.at / _MS:.2f} ms</title>"
    if event.kind in ("fault", "over"):
        mark = f'<path d="M {x - 6},{y:.1f} H {x + 6}" stroke="{colour}" stroke-width="3"/>'
    else:
        rim = f'stroke="{PAPER}" stroke-width="1.5"'
        mark = f'<circle cx="{x}" cy="{y:.1f}" r="4.5" fill="{colour}" {rim}/>'
    text = ""
    if event.kind in ("sees", "up", "fault"):
        anchor = f'x="{x + 10}" y="{y + 4:.1f}" font-size="10.5" font-weight="600"'
        halo = f'stroke="{PAPER}" stroke-width="3.5" paint-order="stroke"'
        text = f'<text {anchor} fill="{colour}" {halo}>{escape(event.text)}</text>'
    return f"<g>{title}{mark}{text}</g>"


def _band(x: int, top: float, bottom: float, kind: str) -> str:
    """A fault, for as long as it lasts."""
    at = f'x="{x - 7}" y="{top:.1f}" width="14" height="{max(bottom - top, 3):.1f}" rx="5"'
    return f'<g><title>{kind}</title><rect {at} fill="{ALARM}" fill-opacity="0.16"/></g>'


def _lanes(lanes: dict[str, int], bottom: float) -> str:
    parts = []
    for name, x in lanes.items():
        colour = INK if name == CUSTOMERS else _WAYS[_WRITES[parse_origin(name).kind]][0]
        box = f'x="{x - 46}" y="24" width="92" height="30" rx="8" fill="{CARD}"'
        line = f'x1="{x}" y1="54" x2="{x}" y2="{bottom:.0f}" stroke="{LINE}"'
        look = f'text-anchor="middle" font-weight="700" font-size="13" fill="{colour}"'
        parts.append(f'<line {line} stroke-width="1.5"/><rect {box} stroke="{colour}"/>')
        parts.append(f'<text x="{x}" y="44" {look}>{name}</text>')
    return "".join(parts)


def _times(start: float, end: float, y: Callable[[int], float], width: int) -> str:
    """A line for each round number of ms."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if (end - start) / s <= 40 or s == 1000)
    parts, at = [], -(-start // step) * step
    while at <= end:
        height = y(int(at * _MS))
        line = f'x1="66" y1="{height:.1f}" x2="{width - 20}" y2="{height:.1f}" stroke="{CARD}"'
        look = f'text-anchor="end" fill="{PALETTE[6]}" font-size="11"'
        parts.append(f'<line {line}/><text x="58" y="{height + 4:.1f}" {look}>{at:g} ms</text>')
        at += step
    return "".join(parts)


def _legend(y: float) -> str:
    parts, x = [], 30
    for kind, (colour, said) in _WAYS.items():
        line = f'x1="{x}" y1="{y - 4:.0f}" x2="{x + 22}" y2="{y - 4:.0f}" stroke="{colour}"'
        parts.append(f'<line {line} stroke-width="2" marker-end="url(#st-{kind})"/>')
        parts.append(f'<text x="{x + 32}" y="{y:.0f}" fill="{INK}" font-size="11">{said}</text>')
        x += 48 + int(5.6 * len(said))
    return "".join(parts)


_MARKERS = "".join(
    f'<marker id="st-{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6.5" '
    f'markerHeight="6.5" orient="auto"><path d="{path}" fill="{fill}" stroke="{stroke}"/></marker>'
    for name, path, fill, stroke in (
        *((kind, "M 0,0 L 8,4 L 0,8 z", colour, "none") for kind, (colour, _) in _WAYS.items()),
        ("lost", "M 0,0 L 8,8 M 0,8 L 8,0", "none", ALARM),
    )
)
