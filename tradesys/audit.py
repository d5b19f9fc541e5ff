"""Checks over all systems at once: what must hold when the network is quiet.

A check is true, false, or *unknown* where records are still on their way. A false one says what it
found.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tradesys import positions, status
from tradesys.records import CURRENCY, format_id, origin
from tradesys.replication import Link
from tradesys.topology import WRITER, WRITES

if TYPE_CHECKING:
    from tradesys.network import Network
    from tradesys.systems.customer import CustomerSystem


@dataclass(frozen=True)
class Check:
    """One thing that must hold. ``verdict`` is None where records still under way could decide."""

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


Finding = tuple[int, list[str], bool]
"""How many things were looked at, what was wrong, and whether more records could mend it."""


def audit(network: "Network") -> Audit:
    """Run every check."""
    # A replica that is ahead of its origin waits for nothing: that origin has lost records.
    quiet = not network.undelivered() and not (network.behind()["behind"] > 0).any()
    checks = []
    for name, check in CHECKS.items():
        evaluated, found, mendable = check(network)
        verdict = not found if (quiet or not mendable) else (None if found else True)
        checks.append(Check(name, verdict, evaluated, tuple(found)))
    return Audit(tuple(checks))


def _placed(network: "Network") -> Finding:
    """Every record that a system wrote is where the topology says."""
    found, evaluated = [], 0
    for link, dataset, code in _copies(network):
        count = link.source.tables[dataset].count(code)
        held = link.target.tables[dataset].count(code)
        evaluated += count
        if held != count:
            holder = f"{link.target.name} holds {held:,} of {count:,}"
            found.append(f"{holder} {dataset} of {origin(code)}")
    return evaluated, found, True


def _same(network: "Network") -> Finding:
    """No replica holds a record that differs from its origin's, or that its origin never wrote."""
    found, evaluated = [], 0
    for link, dataset, code in _copies(network):
        other = link.target.tables[dataset].logs.get(code)
        if other is None:
            continue
        own = link.source.tables[dataset].logs.get(code)
        evaluated += other.count
        mine = own.table().slice(0, other.count) if own else None
        if mine is None or not mine.equals(other.table()):
            found.append(f"{link.target.name}'s {dataset} of {origin(code)} differ")
    return evaluated, found, False


def _copies(network: "Network") -> Iterator[tuple[Link, str, int]]:
    """Each log that a link carries: of every incarnation of the source that either side knows."""
    for link in network.links:
        for dataset in WRITES[link.route.writer]:
            known = {*link.source.tables[dataset].logs, *link.target.tables[dataset].logs}
            for code in sorted(filter(link.source.wrote, known)):
                yield link, dataset, code


def _gapless(network: "Network") -> Finding:
    """No record twice, none missing in between: ids of an origin run from 0 without a gap."""
    found, evaluated = [], 0
    for system in network:
        for dataset, table in system.tables.items():
            for code, log in table.logs.items():
                ids = log.table()["record_id"].to_numpy()
                expected = (code << 48) + np.arange(len(ids), dtype=np.uint64)
                evaluated += len(ids)
                if not np.array_equal(ids, expected):
                    found.append(f"{system.name}'s {dataset} of {origin(code)}: a gap or a repeat")
    return evaluated, found, False


def _authority(network: "Network") -> Finding:
    """Nothing was written by a kind of system that may not write it."""
    held = [
        (system.name, dataset, origin(code))
        for system in network
        for dataset, table in system.tables.items()
        for code in table.logs
    ]
    found = [f"{s} holds {d} of {o}" for s, d, o in held if o.kind is not WRITER[d]]
    return len(held), found, False


def _definition(network: "Network") -> Finding:
    """What each customer-facing system answers is what the definition says of its records."""
    found: list[str] = []
    evaluated = 0
    for system in network.customers:
        requests, executions = system.tables["requests"].frame, system.tables["executions"].frame
        answered, defined = system.statuses(), status.statuses(requests, executions)
        evaluated += len(defined)
        found += _differences(system.name, "statuses", answered, defined)
        holdings = positions.positions(system.tables["postings"].frame, executions)
        answered = system.positions().drop("reserved")
        evaluated += len(holdings)
        found += _differences(system.name, "positions", answered, holdings)
    return evaluated, found, False


def _differences(
    name: str, what: str, answered: pl.DataFrame, defined: pl.DataFrame
) -> Iterator[str]:
    answered = answered.cast(defined.schema)
    if not answered.equals(defined):
        here, there = (
            one.join(two, on=one.columns, how="anti", nulls_equal=True).head(1).to_dicts()
            for one, two in ((answered, defined), (defined, answered))
        )
        yield f"{name}'s {what}: answers {here}, defined {there}"


def _agreement(network: "Network") -> Finding:
    """Customer-facing systems that hold the same records give the same answers."""

    def positions_of(system: "CustomerSystem") -> object:
        return {dataset: table.positions for dataset, table in system.tables.items()}

    found: list[str] = []
    first = network.customers[0]
    others = [s for s in network.customers[1:] if positions_of(s) == positions_of(first)]
    answers = first.statuses(), first.positions()
    for other in others:
        for mine, theirs in zip(answers, (other.statuses(), other.positions()), strict=True):
            found += _differences(other.name, f"answers and {first.name}'s", theirs, mine)
    return len(others) * len(answers[0]), found, False


def _conservation(network: "Network") -> Finding:
    """Cash and shares conserve: postings sum to zero per asset, and for each fill."""
    postings = network.firm.tables["postings"].frame
    per_asset = postings.group_by("asset").agg(pl.col("amount").sum()).filter(pl.col("amount") != 0)
    per_fill = (
        postings.group_by("exec_id", "asset")
        .agg(pl.col("amount").sum())
        .filter(pl.col("amount") != 0, pl.col("exec_id").is_not_null())
    )
    found = [f"{asset} sums to {amount:,}" for asset, amount in per_asset.iter_rows()]
    found += [f"fill {format_id(i)} leaves {n:,} {asset}" for i, asset, n in per_fill.iter_rows()]
    return len(postings), found, False


def _cleared(network: "Network") -> Finding:
    """Each fill that the firm holds is cleared exactly once, with its own shares and cash."""
    fills = positions.trades(network.firm.tables["executions"].frame)
    postings = network.firm.tables["postings"].frame.filter(pl.col("exec_id").is_not_null())
    expected = pl.concat(
        [
            fills.select("exec_id", "account", asset="symbol", amount="shares"),
            fills.select("exec_id", "account", asset=pl.lit(CURRENCY), amount="cash"),
        ]
    )
    booked = postings.filter(pl.col("account") != positions.CLEARING).select(expected.columns)
    found = []
    for text, one, two in (("not cleared", expected, booked), ("cleared amiss", booked, expected)):
        wrong = one.join(two, on=one.columns, how="anti")
        found += [f"{text}: {format_id(r['exec_id'])} {r['account']}" for r in wrong.to_dicts()]
    if len(booked) > len(expected):
        found.append(f"{len(booked) - len(expected)} legs more than fills call for")
    return len(fills), found, True


def _venue(network: "Network") -> Finding:
    """Street-side executions agree with the venue's own record, event by event."""
    names = ("exec_id", "exec_type", "order_id", "request_id", "last_qty", "last_px", "order_qty")
    reports = pl.DataFrame(network.venue.reports.table()).rename({"record_id": "exec_id"})
    frames = [s.tables["executions"].frame for s in network.streets]
    recorded = pl.concat(frames).unique("record_id").select(names)
    reported = reports.select(names)
    missing = reported.join(recorded, on=names, how="anti")
    invented = recorded.join(reported, on=names, how="anti")
    found = [f"not recorded: {format_id(i)}" for i in missing["exec_id"].head(3)]
    found += [f"not the venue's: {format_id(i)}" for i in invented["exec_id"].head(3)]
    return len(reported), found, False


def _answered(network: "Network") -> Finding:
    """Every accepted request was answered by a street-side system."""
    found, evaluated = [], 0
    for system in network.customers:
        evaluated += sum(
            system.tables["requests"].count(code) for code in system.own_codes("requests")
        )
        for batch in system.unanswered():
            found += [f"{format_id(i)} has no answer" for i in batch["record_id"].to_pylist()]
    return evaluated, found, True


def _referred(network: "Network") -> Finding:
    """Every request that an execution answers is held: what is not was lost with its system."""
    held: set[int] = set()
    for system in network.customers:
        held.update(system.tables["requests"].frame["record_id"])
    names = ("request_id", "order_id")
    executions = [s.tables["executions"].frame.select(names) for s in network.streets]
    answered = pl.concat(executions).unique()
    asked = {*answered["request_id"], *answered["order_id"]}
    return len(asked), [f"{format_id(i)} is held by nobody" for i in sorted(asked - held)], True


def _over_fills(network: "Network") -> Finding:
    """No order filled beyond its quantity."""
    found, evaluated = [], 0
    for system in network.customers:
        frame = system.statuses()
        evaluated += len(frame)
        over = frame.filter(pl.col("cum_qty") > pl.col("order_qty"))
        found += [
            f"{format_id(order_id)} at {system.name}: {cum_qty:,} of {order_qty:,}"
            for order_id, cum_qty, order_qty in over["order_id", "cum_qty", "order_qty"].iter_rows()
        ]
    return evaluated, found, False


CHECKS: dict[str, Callable[["Network"], Finding]] = {
    "every record is where the topology says": _placed,
    "replicas hold what their origin wrote": _same,
    "no record twice, no gap": _gapless,
    "nothing written by the wrong kind of system": _authority,
    "answers agree with the definition": _definition,
    "equal records give equal answers": _agreement,
    "every accepted request is answered": _answered,
    "every request that was answered is held": _referred,
    "no order is filled beyond its quantity": _over_fills,
    "executions agree with the venue's record": _venue,
    "each fill is cleared exactly once": _cleared,
    "cash and shares conserve": _conservation,
}
