"""Replication by messages: the target says what it holds, the source answers with what follows.

Either message may be late, lost or doubled. The source keeps one question of each target, and
answers it as soon as there is something, or after a while with nothing: that is how the target
knows that it is there.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tradesys.log.offsets import Offsets
from tradesys.records.clock import MS
from tradesys.records.schemas import Kind, Origin, format_id
from tradesys.replication.carrying import (
    Carried,
    Link,
    gives,
    gives_back,
    lacks,
    takes,
    wants,
)
from tradesys.routes import WRITES
from tradesys.simulation.wires import Node, Wires
from tradesys.systems.system import System

HEARTBEAT = 10 * MS
_SELDOM = 40 * MS  # where nobody takes over from who is not heard of
_LATE = 8 * MS


@dataclass
class Way:
    """What one system pulls from another. ``asked`` is the question that the source keeps."""

    source: str
    target: str
    datasets: tuple[str, ...]
    beat: int
    number: int = 0
    asked_at: int = 0
    asked: tuple[int, Offsets] | None = None


class Ways:
    """Every link of the topology, worked by messages.

    :param systems: the systems that are there now, by name.
    :param every: records are asked for every so many ns; 0: as they come.
    :param held: told what a target says it holds of a source, having lost so many disks.
    :param came: told how many new records of a source have come to a target.
    :param regained: told that a system was given back records that its disk had lost.
    """

    def __init__(
        self,
        wires: Wires,
        systems: dict[str, System],
        links: list[Link],
        every: int,
        held: Callable[[Way, Offsets, int], None],
        came: Callable[[Node, Way, int], None],
        regained: Callable[[Node], None],
    ) -> None:
        self._wires, self._systems, self._every = wires, systems, every
        self._held, self._came, self._regained = held, came, regained
        self.ways = [_way(link) for link in links]
        self._from = {name: [w for w in self.ways if w.source == name] for name in systems}
        self._to = {name: [w for w in self.ways if w.target == name] for name in systems}
        for way in self.ways:
            self.pull(way)
            wires.after(way.beat + _LATE, self._watch, way)

    def news(self, name: str) -> None:
        """A system has written records: whoever waits for them is answered."""
        for way in self._from[name]:
            if way.asked:
                self._answer(way)

    def begin(self, name: str) -> None:
        """A system is up again: it asks everybody; what it was asked before, it has forgotten."""
        for way in self._from[name]:
            way.asked = None
        for way in self._to[name]:
            self.pull(way)

    def pull(self, way: Way) -> None:
        """Ask for what follows what the target holds."""
        if not self._wires.nodes[way.target].up:
            return
        source, target = self._systems[way.source], self._systems[way.target]
        wanted = wants(target, source.origin)
        way.number += 1
        way.asked_at = self._wires.now
        disks = self._wires.nodes[way.target].disks
        asks = way, way.number, wanted, disks
        self._wires.send(way.target, way.source, "pull", self._pulled, *asks)

    def _watch(self, way: Way) -> None:
        """Ask again where no answer has come."""
        wires = self._wires
        if wires.now - way.asked_at >= way.beat + _LATE + self._every:
            node = wires.nodes[way.target]
            if node.up and node.paused_until <= wires.now:
                self.pull(way)
        wires.after(way.beat + _LATE, self._watch, way)

    # ---- at the source

    def _pulled(self, way: Way, number: int, wanted: Offsets, disks: int) -> None:
        way.asked = number, wanted
        self._held(way, wanted, disks)
        self._take_back(way, wanted)
        if not self._answer(way):
            node = self._wires.nodes[way.source]
            self._wires.after(way.beat, self._beat, node, node.epoch, way, number)

    def _beat(self, node: Node, epoch: int, way: Way, number: int) -> None:
        """Say at least that one is there."""
        if node.up and node.epoch == epoch and way.asked and way.asked[0] == number:
            self._wires.let(node, self._answer, way, number)

    def _answer(self, way: Way, heartbeat: int = 0) -> bool:
        """Answer the question kept, if there is anything to say."""
        if way.asked is None or (heartbeat and way.asked[0] != heartbeat):
            return False
        number, wanted = way.asked
        source = self._systems[way.source]
        carried = gives(source, wanted)
        if not carried and not heartbeat:
            return False
        way.asked = None
        to = way.source, way.target
        told = way, number, carried, source.origin
        self._wires.send(*to, lambda: _words(carried), self._answered, *told)
        return True

    def _take_back(self, way: Way, wanted: Offsets) -> None:
        """Ask for what a lost disk has taken and the target still holds."""
        lacking = lacks(self._systems[way.source], wanted)
        if lacking:
            send, to = self._wires.send, (way.source, way.target)
            send(*to, "give back", self._give_back, way, lacking)
        else:
            self._wires.nodes[way.source].unheard_peers.discard(way.target)

    def _given_back(self, way: Way, carried: list[Carried]) -> None:
        if takes(self._systems[way.source], carried, durable=True):
            self.news(way.source)
            self._regained(self._wires.nodes[way.source])

    # ---- at the target

    def _give_back(self, way: Way, lacking: Offsets) -> None:
        carried = gives_back(self._systems[way.target], lacking)
        to = way.target, way.source
        self._wires.send(*to, lambda: _words(carried), self._given_back, way, carried)

    def _answered(self, way: Way, number: int, carried: list[Carried], source: Origin) -> None:
        target = self._systems[way.target]
        target.heard[way.source] = source
        new = takes(target, carried, durable=True)
        node = self._wires.nodes[way.target]
        self._came(node, way, new)
        if number == way.number:
            self._wires.after(self._every, self.pull, way) if self._every else self.pull(way)


def _way(link: Link) -> Way:
    beat = HEARTBEAT if link.route.writer is Kind.STREET else _SELDOM
    return Way(link.source.name, link.target.name, WRITES[link.route.writer], beat)


def _words(carried: list[Carried]) -> str:
    """What a message carries, for a picture."""
    parts = []
    for _, batch in carried:
        first, last = batch["record_id"][0].as_py(), batch["record_id"][-1].as_py()
        parts.append(format_id(first) + (f" to {format_id(last)}" if last != first else ""))
    return ", ".join(parts) or "nothing new"


__all__ = ["HEARTBEAT", "Way", "Ways"]
