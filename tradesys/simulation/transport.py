"""How messages travel between simulated systems: late, lost, repeated or not at all; and nodes.

SimPy keeps the time. A tie is never chance: what was put in first comes first.
"""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import simpy

from tradesys.network.scenario import START_NS
from tradesys.records.schemas import Origin
from tradesys.simulation.disk import Disk, PowerFailure
from tradesys.simulation.plan import NIGHTS

CUSTOMERS = "customers"
"""The lane of those who ask; nothing cuts them off but the system asked being down."""


NEVER = (1 << 63) - 1

Peers = dict[str, int]
"""Systems, and how many disks each had lost when it said that it has a record."""


@dataclass
class Node:
    """A system's place: what stays when the system stops. ``epoch`` counts how often it did.

    ``disks`` counts the disks lost, ``session_cuts`` the faults that keep the venue away.
    ``wakes_at`` is when its runtime is called next, ``withheld`` what is acknowledged once peers
    have it.
    """

    origin: Origin
    disk: Disk
    up: bool = True
    epoch: int = 0
    disks: int = 0
    free_at: int = 0
    paused_until: int = 0
    write_ns: int = 0
    touched: int = 0
    skew: int = 0
    session_cuts: int = 0
    outage: int = 0
    wakes_at: int = NEVER
    withheld: list[tuple[int, Peers, Callable[[Peers], None]]] = field(default_factory=list)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.origin.system

    def writing(self) -> int:
        """How many ns the disk needs for what has been written since the system began this."""
        return (self.disk.touched - self.touched) * self.write_ns


class Event(NamedTuple):
    """What a space-time diagram shows: at a time (ns), at a system; a message has both ends.

    ``arrives`` is None for something that happens at one place, and 0 for a message that is lost.
    """

    at: int
    system: str
    kind: str
    text: str
    arrives: int | None = None
    target: str | None = None


class _Later(simpy.Event):
    """Something to be done: the least that SimPy needs of an event, which is made very often."""

    _ok = True

    def __init__(self, do: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._do, self._args = do, args
        self.callbacks = [_Later._happen]

    def _happen(self) -> None:
        self._do(*self._args)


class Transport:
    """The time, and the links between all nodes.

    :param failed: what is to be done with a node whose power fails while it works.
    """

    def __init__(self, rng: random.Random, failed: Callable[[Node], None]) -> None:
        self.env = simpy.Environment()
        self.rng = rng
        self.nodes: dict[str, Node] = {}
        self.cut: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.lossy: defaultdict[str, int] = defaultdict(int)
        self.repeating: defaultdict[str, int] = defaultdict(int)
        self.slow: defaultdict[str, int] = defaultdict(int)
        self.nights = [(0, START_NS)]
        """When, in ns since the beginning, the clocks went on at which time."""
        self.trace: list[Event] | None = None
        self._failed = failed

    @property
    def now(self) -> int:
        """The time in ns since the simulation began."""
        now: Any = self.env.now  # whole, since all delays are
        return now

    @property
    def wall(self) -> int:
        """What clocks that are right say, in ns since 1970."""
        at, time = self.nights[-1]
        return time + self.now - at

    def since(self, time: int) -> int:
        """When, in ns since the beginning, right clocks said so.

        Of a time that a night has left out it is when that night began.
        """
        until = self.now
        for at, began in reversed(self.nights):
            if began <= time:
                return min(at + time - began, until)
            until = at
        return time - self.nights[0][1]

    def night(self, number: int) -> None:
        """Let the clocks go on at one of the next :data:`~tradesys.simulation.plan.NIGHTS`."""
        to_come = [START_NS + night for night in NIGHTS if START_NS + night > self.wall]
        if to_come:
            self.nights.append((self.now, to_come[number % min(2, len(to_come))]))

    def clock_of(self, node: Node) -> Callable[[], int]:
        """A system's own clock: it may be wrong."""
        return lambda: self.wall + node.skew

    def after(self, delay: int, do: Callable[..., object], *args: Any) -> None:
        """Do something later."""
        self.env.schedule(_Later(do, args), delay=delay)

    def note(self, system: str, kind: str, text: str) -> None:
        """Put something that happens into the trace, where there is one."""
        if self.trace is not None:
            self.trace.append(Event(self.now, system, kind, text))

    def send(
        self,
        source: str,
        target: str,
        what: str | Callable[[], str],
        do: Callable[..., object],
        *args: Any,
    ) -> None:
        """Send a message, on which the target does something; it may be late, lost or doubled.

        :param what: what it says, for a picture.
        """
        rng = self.rng
        lost = rng.random() < (0.34 if self.lossy[source] or self.lossy[target] else 0.005)
        again = rng.random() < (0.5 if self.repeating[source] or self.repeating[target] else 0.005)
        if lost or self.cut[source, target] > 0:
            self._trace(source, target, what)
            return
        written = 0 if source == CUSTOMERS else self.nodes[source].writing()
        for _ in range(1 + again):
            delay = written + 200_000 + int(rng.expovariate(1 / 500_000))
            if self.slow[source] or self.slow[target]:
                delay *= 10
            elif rng.random() < 0.01:
                delay *= 20  # some are overtaken by many
            self._trace(source, target, what, delay)
            self.after(delay, self._arrive, source, target, do, args)

    def _trace(
        self, source: str, target: str, what: str | Callable[[], str], delay: int = 0
    ) -> None:
        """Put a message into the trace, where there is one; without a delay it is lost."""
        if self.trace is not None:
            text, arrives = what if isinstance(what, str) else what(), delay and self.now + delay
            self.trace.append(Event(self.now, source, "message", text, arrives, target))

    def _arrive(self, source: str, target: str, do: Callable[..., object], args: Any) -> None:
        if self.cut[source, target]:
            return
        if target == CUSTOMERS:
            do(*args)
        else:
            self.let(self.nodes[target], do, *args)

    def let(self, node: Node, do: Callable[..., object], *args: Any) -> None:
        """Let a system do something, once what it does already is done."""
        self._do(node, node.epoch, do, args)

    def _do(self, node: Node, epoch: int, do: Callable[..., object], args: Any) -> None:
        if node.epoch != epoch or not node.up:
            return
        now, free = self.now, max(node.free_at, node.paused_until)
        if free > now:
            self.after(free - now, self._do, node, epoch, do, args)
            return
        node.touched = node.disk.touched
        try:
            do(*args)
        except PowerFailure:
            self._failed(node)
        node.free_at = now + node.writing()
        node.touched = node.disk.touched


__all__ = ["CUSTOMERS", "NEVER", "Event", "Node", "Peers", "Transport"]
