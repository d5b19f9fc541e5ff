"""The network as it is now: what each system holds and how far it is behind; links to cut."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

from tradesys.network import Network
from tradesys.records.schemas import Kind, parse_origin
from tradesys.routes import ROUTES
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.system import System
from tradesys.widgets.background_runner import Pulse
from tradesys.widgets.panels import Live, Part, clicked, said

_WIDE, _TOP, _GAP, _LINE = 176, 34, 14, 16
_LEFT = {Kind.CUSTOMER: 58, Kind.FIRM: 342, Kind.STREET: 626}
_TITLES = {Kind.CUSTOMER: "customer-facing", Kind.FIRM: "firm-side", Kind.STREET: "street-side"}
_HEARD = {(writer, reader) for writer, reader, _, _ in ROUTES}


_ACTIONS: dict[str, Callable[..., object]] = {
    "cut": Network.partition,
    "mend": Network.heal,
    "alone": Network.partition,
    "join": Network.heal,
    "crash": Network.crash,
    "restart": Network.restart,
    "lose": Network.lose_disk,
}


class NetworkView(Part):
    """Systems as nodes, links between them; a click cuts a link, or crashes a system.

    A link that is blue has records in flight; its number says how many. What is red is cut or down.
    """

    def __init__(self, pulse: Pulse) -> None:
        self.pulse = pulse

    @property
    def _network(self) -> Network:
        return self.pulse.network

    @property
    def picture(self) -> str:
        """The network as it is now."""
        network = self._network
        places = _places(list(network))
        flying: Counter[frozenset[str]] = Counter()
        for source, target, count, _ in network.behind().iter_rows():
            flying[frozenset((source, target))] += count
        ends = _ends(places, [(o, t) for o, t in combinations(places, 2) if _linked(o, t)])
        parts = [self._link(one, two, *at, flying) for (one, two), at in ends.items()]
        parts += [self._node(network[name], place) for name, place in places.items()]
        heads = "".join(
            f'<text x="{x}" y="{min(p.y for p in places.values() if p.x == x) - 12}" '
            f'class="soft">{_TITLES[kind]}</text>'
            for kind, x in _LEFT.items()
        )
        tall = max(place.y + place.tall for place in places.values()) + 4
        return (
            f"<h4>The network</h4>{said(self.problem)}"
            f'<svg viewBox="0 0 860 {tall}" role="img" aria-label="the network">'
            f"{heads}{''.join(parts)}</svg>"
            '<p class="soft">Click a link to cut or mend it. The number on a link: records in '
            "flight.</p>"
        )

    def _link(
        self, one: str, two: str, start: "_Point", end: "_Point", flying: Counter[frozenset[str]]
    ) -> str:
        network = self._network
        path, x, y = _path(start, end)
        is_off = bool(network[one].down or network[two].down)
        is_cut, count = network.cut(one, two), flying[frozenset((one, two))]
        look = "off" if is_off else "cut" if is_cut else "busy" if count else ""
        verb = "mend" if is_cut else "cut"
        label = (("✕ " if is_cut else "") + (f"{count:,}" if count else "")).strip()
        pill = ""
        if label and not is_off:
            wide = 14 + 7 * len(label)
            pill = (
                f'<rect class="pill" x="{x - wide / 2:.0f}" y="{y - 9:.0f}" width="{wide}" '
                f'height="18" rx="9"/><text x="{x:.0f}" y="{y + 4:.0f}" '
                f'text-anchor="middle">{label}</text>'
            )
        drawn = f'<path class="hit" d="{path}"/><path class="wire" d="{path}"/>{pill}'
        if is_off:
            return f'<g class="off">{drawn}</g>'
        told = f"{one} – {two}: {'cut' if is_cut else 'up'}, {count:,} records in flight"
        return (
            f'<g class="link {look}" data-do="{verb} {one} {two}" role="button" tabindex="0" '
            f'aria-label="{verb} {one} {two}"><title>{told}. Click to {verb} it.</title>{drawn}</g>'
        )

    def _node(self, system: System, place: "_Place") -> str:
        network, name, (x, y, tall) = self._network, system.name, place
        others = [other for other in network if other is not system and not other.down]
        alone = not system.down and all(network.cut(name, other.name) for other in others)
        look = "down" if system.down else "alone" if alone else ""
        state = "down" if system.down else "cut off" if alone else ""
        lines = [(d, f"{len(table):,}") for d, table in system.tables.items()]
        if isinstance(system, CustomerSystem):
            waiting = "" if system.down else f"{system.outbox().num_rows:,}"
            lines.append(("orders to be sent", waiting))
        rows = "".join(
            f'<text class="soft" x="{x + 12}" y="{y + 40 + _LINE * i}">{label}</text>'
            f'<text x="{x + _WIDE - 12}" y="{y + 40 + _LINE * i}" text-anchor="end">{count}</text>'
            for i, (label, count) in enumerate(lines)
        )
        buttons = "".join(
            f'<text class="do" x="{x + at}" y="{y + tall - 10}" role="button" tabindex="0" '
            f'aria-label="{text} {name}" data-do="{what} {name}">{text}</text>'
            for at, (what, text) in zip((12, 62, 112), _buttons(system, alone=alone), strict=False)
        )
        return (
            f'<rect class="node {look}" x="{x}" y="{y}" width="{_WIDE}" height="{tall}" rx="8"/>'
            f'<text class="name" x="{x + 12}" y="{y + 21}">{name}</text>'
            f'<text class="bad" x="{x + _WIDE - 12}" y="{y + 21}" text-anchor="end">{state}</text>'
            f"{rows}{buttons}"
        )

    @cached_property
    def widget(self) -> Live:
        """The picture, to click on."""
        live = Live(self.act)
        self.pulse.listen(self.refresh)
        return live

    def refresh(self) -> None:
        """Show the network as it is now."""
        if self.is_shown:
            self.widget.html = self.picture

    @clicked
    def act(self, what: str) -> None:
        """Do what was clicked, like ``cut c1 s1`` or ``crash c1``."""
        verb, *names = what.split()
        _ACTIONS[verb](self._network, *names)
        self.pulse.carry()


class _Place(NamedTuple):
    """Where a node stands: its left and upper edge, its height."""

    x: int
    y: int
    tall: int


class _Point(NamedTuple):
    """An end of a link on the edge of a node; ``out`` is to the left (-1) or right (1)."""

    x: float
    y: float
    out: int


def _buttons(system: System, *, alone: bool) -> list[tuple[str, str]]:
    if system.down:
        return [("restart", "restart")]
    reach = ("join", "join") if alone else ("alone", "cut off")
    return [reach, ("crash", "crash"), ("lose", "lose disk")]


def _linked(one: str, two: str) -> bool:
    kinds = parse_origin(one).kind, parse_origin(two).kind
    return kinds in _HEARD or kinds[::-1] in _HEARD


def _places(systems: Sequence[System]) -> dict[str, _Place]:
    """A column for each kind; the firm stands below, out of the way of the others' links."""
    lines = {s.name: len(s.tables) + (s.kind is Kind.CUSTOMER) for s in systems}
    tall = {name: 50 + _LINE * count for name, count in lines.items()}
    names = {kind: [s.name for s in systems if s.kind is kind] for kind in _TITLES}
    columns = {k: sum(tall[n] + _GAP for n in names[k]) - _GAP for k in names}
    most = max(columns[Kind.CUSTOMER], columns[Kind.STREET])
    places = {}
    for kind in (Kind.CUSTOMER, Kind.STREET, Kind.FIRM):
        y = _TOP + (most - 56 if kind is Kind.FIRM else (most - columns[kind]) // 2)
        for name in names[kind]:
            places[name] = _Place(_LEFT[kind], y, tall[name])
            y += tall[name] + _GAP
    return places


def _ends(
    places: Mapping[str, _Place], pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[_Point, _Point]]:
    """Where each link begins and ends: those on one edge of a node stand side by side."""
    edges: dict[tuple[str, int], list[str]] = {}
    for one, two in pairs:
        for name, other in ((one, two), (two, one)):
            here, there = places[name].x, places[other].x
            # Of one kind they stand above each other: around the outside.
            is_left = here == _LEFT[Kind.CUSTOMER] if here == there else here > there
            edges.setdefault((name, -1 if is_left else 1), []).append(other)
    points = {}
    for (name, out), others in edges.items():
        x, y, tall = places[name]
        others.sort(key=lambda other: places[other].y + places[other].tall / 2)
        for i, other in enumerate(others):
            at = y + tall / 2 + (i - (len(others) - 1) / 2) * min(16, (tall - 30) / len(others))
            points[name, other] = _Point(x + _WIDE * (out > 0), at, out)
    return {(one, two): (points[one, two], points[two, one]) for one, two in pairs}


def _path(start: _Point, end: _Point) -> tuple[str, float, float]:
    """A link as an SVG path, and where its number stands."""
    if start.out == end.out:  # around the outside
        out = start.out * min(52, 8 + abs(end.y - start.y) / 7)
        x1, x2 = start.x + out, end.x + out
        path = f"M {start.x},{start.y} C {x1},{start.y} {x2},{end.y} {end.x},{end.y}"
        return path, start.x + out * 0.75, (start.y + end.y) / 2
    left, right = sorted((start, end))
    # Near its left end, where the links of one system have not yet crossed those of another.
    wide = right.x - left.x
    share = 0.5 if abs(right.y - left.y) > wide / 2 else 58 / max(wide, 116)
    at = left.x + (right.x - left.x) * share, left.y + (right.y - left.y) * share
    return f"M {left.x},{left.y} L {right.x},{right.y}", *at
