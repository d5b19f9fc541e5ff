"""What goes on behind the desk: the network carries records, customers keep the market busy.

The network beats in the kernel's own event loop; while a cell runs, it waits. Clicks may
come by another thread, as JupyterLab has kernels answer widgets beside what they do. So whatever
touches a part of a desk goes through one ``door``, and the network sees to itself.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from threading import RLock

from tradesys.network import Network
from tradesys.network.network import STAGES
from tradesys.network.scenario import Flow
from tradesys.records import argument_checks as given

BEAT_S = 0.05
AT_ONCE = 0.0

door = RLock()
"""Snapshot by whoever touches the parts of a desk: a click, or a beat that shows what has come."""


@dataclass
class _Listener:
    """A part that looks again every so many seconds."""

    refresh: Callable[[], None]
    every_s: float
    _: KW_ONLY
    first: Callable[[], bool]
    waited_s: float = 0.0
    problem: str = ""

    def look(self) -> None:
        """Look again; what a part cannot show now does not keep the others from being shown."""
        self.waited_s, self.problem = 0.0, ""
        try:
            self.refresh()
        except Exception as error:  # a defect: it is told at the desk, and raised where tests run
            self.problem = f"{type(error).__name__}: {error}"
            if "pytest" in sys.modules:
                raise


class Pulse:
    """Runs a network in small beats, and tells the parts of the desk when to look again.

    :param network: what the desk works on.
    :param flow: the customers in the background; by default all accounts, no orders a second.
    :param per_second: how many stages of a step it runs a second
    (:data:`~tradesys.network.network.STAGES`:
        records can then be seen on their way); 0 runs all that there is to do at once.
    """

    def __init__(
        self, network: Network, flow: Flow | None = None, *, per_second: float = AT_ONCE
    ) -> None:
        self.network = network
        self.flow = flow or Flow(network)
        self.per_second = per_second
        self.running = True
        self._stopped_by = ""
        self._stage = 0
        self._due = 0.0
        self._listeners: list[_Listener] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str:
        """What goes wrong in the background, if anything does."""
        found = (each.problem for each in self._listeners if each.problem)
        return self._stopped_by or next(found, "")

    @property
    def stage(self) -> str:
        """What the next single step does."""
        return STAGES[self._stage]

    def listen(
        self,
        refresh: Callable[[], None],
        every_s: float = 0.25,
        *,
        first: Callable[[], bool] = lambda: False,
    ) -> None:
        """Call ``refresh`` so often while the network runs, and after whatever is clicked.

        :param first: whether it is shown at once after a click; by default in the beat that
            follows, so that what somebody waits for is not kept waiting by the rest.
        """
        self._listeners.append(_Listener(refresh, every_s, first=first))

    def step(self) -> int:
        """Run one stage; gives how many records moved."""
        moved = self.network.stage(self.stage)
        self._stage = (self._stage + 1) % len(STAGES)
        return moved

    def carry(self) -> None:
        """After a click: carry at once what there is, if nothing holds it back; then show it."""
        if self.running and self.per_second == AT_ONCE:
            self.network.run()
        with door:
            for each in self._listeners:
                each.waited_s = each.every_s
                if each.first():
                    each.look()

    def show(self) -> None:
        """Let every part look again."""
        with door:
            for each in self._listeners:
                each.look()

    def beat(self, seconds: float = BEAT_S) -> None:
        """What happens in so many seconds: orders come in, records move, parts look again."""
        given.a(float, "seconds", float(seconds), "a length of time", lambda s: s >= 0)
        if self.running:
            with door:
                self.flow.advance(seconds)
            if self.per_second == AT_ONCE:
                self.network.run()
            else:
                self._due += self.per_second * seconds
                while self._due >= 1:
                    self._due -= 1
                    self.step()
            self._stopped_by = ""
        with door:
            for each in self._listeners:
                each.waited_s += seconds
                if each.waited_s >= each.every_s:
                    each.look()

    # ---- by itself

    @property
    def is_beating(self) -> bool:
        """Whether it beats by itself."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Beat from now on, as a task of the running event loop; again, it goes on as it was."""
        if not self.is_beating:
            self._task = asyncio.get_running_loop().create_task(self._beats(), name="tradesys")

    def stop(self) -> None:
        """Beat no more."""
        if self._task:
            self._task.cancel()
        self._task = None

    async def _beats(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            # A pause of its own length at least, so that clicks are never kept waiting for two.
            took = loop.time() - last
            await asyncio.sleep(max(BEAT_S - took, took / 2, 0.001))
            now = loop.time()
            seconds, last = min(now - last, 4 * BEAT_S), now
            try:
                self.beat(seconds)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told at the desk
                self.running = False
                self._stopped_by = f"paused: {type(error).__name__}: {error}"
                self.show()
