"""A plan as it runs: what customers ask, what goes wrong, what the market does, what came of it.

One seed gives one run, byte for byte.
"""

from collections.abc import Callable
from pathlib import Path

import polars as pl

from tradesys.audit.audit import Audit
from tradesys.network.outage_bill import LOG, bill
from tradesys.records.clock import MS
from tradesys.simulation import guarantees as promises
from tradesys.simulation.customers import Callers
from tradesys.simulation.faults import Faults
from tradesys.simulation.plan import Plan
from tradesys.simulation.world import World


class Simulation(World):
    """A plan and its world. :meth:`play` runs it to its end; :meth:`until` to a time.

    :param data: the folder of the systems' files; None keeps their disks in memory.
    :param trace: keep every message and event, for a space-time diagram.
    """

    def __init__(self, plan: Plan, *, data: str | Path | None = None, trace: bool = False) -> None:
        super().__init__(plan, data=data, trace=trace)
        self.audits: list[Audit] = []
        self.callers = Callers(self)
        self.faults = Faults(self, self.callers)

    def play(self) -> Audit:
        """Run the whole plan; everything is checked after each phase. Gives the last audit."""
        for phase in range(self.plan.phases):
            self.until(self.begin(phase) + MS)
            self.settle()
            self.audits.append(self.audit())
        return self.audits[-1]

    def begin(self, phase: int) -> int:
        """Put down what a phase brings; gives when the last of it begins."""
        last = 0
        for ask in self.plan.asks:
            if ask.phase == phase:
                self.transport.after(ask.at, self.callers.ask, ask)
                last = max(last, ask.at)
        for fault in self.plan.faults:
            if fault.phase == phase:
                self.transport.after(fault.at, self.faults.begin, fault)
                last = max(last, fault.at)
        for event in self.plan.market:
            if event.phase == phase:
                self.transport.after(event.at, self.happen, event)
                last = max(last, event.at)
        return self.transport.now + last

    def is_at_rest(self) -> bool:
        """Whether nobody waits, no fault lasts, and nothing is under way or left to do."""
        return not self.callers.waiting and not self.faults.active and super().is_at_rest()

    def audit(self, progress: Callable[[int], None] | None = None) -> Audit:
        """Check everything that must hold over all systems, and of what customers were told."""
        checks = [promises.allowed(self, check) for check in super().audit(progress).checks]
        return Audit((*checks, *promises.checks(self, self.callers, self.faults)))

    def lost(self) -> list[int]:
        """Acknowledged requests that no customer-facing system holds any more."""
        return promises.lost(self, self.callers)

    def bill(self) -> pl.DataFrame:
        """What each system did for customers while each fault lasted."""
        outages = [suffered.outage for suffered in self.faults.suffered]
        return bill(pl.DataFrame(self.log, LOG, orient="row"), outages, list(self.systems))
