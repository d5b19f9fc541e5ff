"""Checks over all systems at once: what must hold when the network is quiet.

A check is true, false, or *unknown*: records still under way, or work that is not done yet, could
make it true, or what would decide it was lost. One that is not true says what it found, by the
records that show it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from tradesys.audit.checks import CHECKS
from tradesys.audit.snapshot import Snapshot


@dataclass(frozen=True)
class Check:
    """One thing that must hold. ``verdict`` is None where what is held does not decide it.

    What is ``found`` where it is True is worth knowing, and not wrong.
    """

    name: str
    verdict: bool | None
    evaluated: int
    found: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """The verdict over all checks: false if any is, else None if any is unknown, else true."""

    checks: tuple[Check, ...]

    @property
    def verdict(self) -> bool | None:
        """True, False, or None for unknown."""
        verdicts = [check.verdict for check in self.checks]
        return False if False in verdicts else None if None in verdicts else True

    def __bool__(self) -> bool:
        return self.verdict is True

    @property
    def frame(self) -> pl.DataFrame:
        """``check, verdict, evaluated, found``, one row a check."""
        return pl.DataFrame(
            {
                "check": [c.name for c in self.checks],
                "verdict": pl.Series([c.verdict for c in self.checks], dtype=pl.Boolean),
                "evaluated": [c.evaluated for c in self.checks],
                "found": ["; ".join(c.found[:3]) for c in self.checks],
            }
        )

    def __str__(self) -> str:
        word = {True: "true", False: "FALSE", None: "unknown"}
        lines = [
            f"{word[c.verdict]:>8}  {c.name} ({c.evaluated:,})"
            + "".join(f"\n{'':10}{text}" for text in c.found[:3])
            for c in self.checks
        ]
        return "\n".join([*lines, f"{word[self.verdict]:>8}  the audit"])


def audit(held: Snapshot, progress: Callable[[int], None] | None = None) -> Audit:
    """Run every check.

    :param progress: called with how many of :data:`CHECKS` are done.
    """
    checks: list[Check] = []
    for name, check in CHECKS.items():
        if progress:
            progress(len(checks))
        evaluated, wrong, waiting, unknowable, told = check(held)
        is_false = wrong or (waiting and held.at_rest)
        verdict = False if is_false else None if waiting or unknowable else True
        found = (*wrong, *waiting, *unknowable, *told)
        checks.append(Check(name, verdict, evaluated, found))
    return Audit(tuple(checks))
