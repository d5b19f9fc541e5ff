"""Checks over all systems at once: what must hold when the network is quiet.

A check is true, false, or *unknown* where records still under way, or work that is not done yet,
could make it true. One that is not true says what it found, by the records that show it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from tradesys import positions, status
from tradesys.records import CLEARING, CURRENCY, FEES, ExecType, format_id, make_id, origin
from tradesys.replication import Link
from tradesys.systems.system import running
from tradesys.topology import WRITER, WRITES

if TYPE_CHECKING:
    from tradesys.network import Network
    from tradesys.systems.customer import CustomerSystem


@dataclass(frozen=True)
class Check:
    """One thing that must hold. ``verdict`` is None where what is still to come could mend it."""

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


class Finding(NamedTuple):
    """How many things a check looked at, and what it found.

    ``wrong`` is so whatever comes; ``waiting`` is what records under way, or work that is not done
    yet, may still mend.
    """

    evaluated: int
    wrong: list[str]
    waiting: list[str]


def audit(network: "Network", progress: Callable[[int], None] | None = None) -> Audit:
    """Run every check.

    :param progress: called with how many of :data:`CHECKS` are done.
    """
    at_rest = network.is_at_rest()
    checks: list[Check] = []
    for name, check in CHECKS.items():
        if progress:
            progress(len(checks))
        evaluated, wrong, waiting = check(network)
        found = (*wrong, *waiting)
        unsure = None if waiting and not at_rest else not found
        checks.append(Check(name, False if wrong else unsure, evaluated, found))
    return Audit(tuple(checks))


def _placed(network: "Network") -> Finding:
    """Every record that a system wrote is where the topology says."""
    found, evaluated = [], 0
    for link, dataset, code in _copies(network):
        count = link.source.tables[dataset].count(code)
        held = link.target.tables[dataset].count(code)
        evaluated += count
        if held != count:
            lacking = link.target if held < count else link.source
            records = _span(code, min(held, count), max(held, count))
            found.append(f"{lacking.name} lacks {dataset} {records}")
    return Finding(evaluated, [], found)


def _same(network: "Network") -> Finding:
    """No replica holds a record that differs from its origin's, or that its origin never wrote."""
    wrong, waiting, evaluated = [], [], 0
    for (source, target, _), dataset, code in _copies(network):
        own, other = source.tables[dataset], target.tables[dataset]
        evaluated += other.count(code)
        shared = min(own.count(code), other.count(code))
        if shared and not own.logs[code].table()[:shared].equals(other.logs[code].table()[:shared]):
            mine, theirs = (pl.DataFrame(t.read(code, 0, shared)) for t in (own, other))
            record, how = _first_difference(theirs, mine)
            wrong.append(f"{target.name} holds {record} otherwise than {source.name}: {how}")
        if other.count(code) > shared:
            records = _span(code, shared, other.count(code))
            waiting.append(f"{target.name} holds {dataset} {records}, {source.name} does not")
    return Finding(evaluated, wrong, waiting)


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
                    at = int(np.flatnonzero(ids != expected)[0])
                    there, due = format_id(int(ids[at])), format_id(int(expected[at]))
                    found.append(f"{system.name}'s {dataset}: {there} stands where {due} should")
    return Finding(evaluated, found, [])


def _authority(network: "Network") -> Finding:
    """Nothing was written by a kind of system that may not write it."""
    held = [
        (f"{system.name} holds {dataset} {_span(code, 0, log.count)}", dataset, origin(code))
        for system in network
        for dataset, table in system.tables.items()
        for code, log in table.logs.items()
    ]
    return Finding(len(held), [text for text, d, o in held if o.kind is not WRITER[d]], [])


def _definition(network: "Network") -> Finding:
    """What each customer-facing system answers is what the definition says of its records."""
    found: list[str] = []
    evaluated = 0
    known: list[tuple[CustomerSystem, pl.DataFrame, pl.DataFrame]] = []
    for system in running(network.customers):
        same = [each[1:] for each in known if _positions_of(each[0]) == _positions_of(system)]
        defined, holdings = same[0] if same else _defined(system)
        known.append((system, defined, holdings))
        evaluated += len(defined) + len(holdings)
        found += _differences(system, "defined", system.statuses(), defined)
        found += _differences(system, "defined", system.positions().drop("reserved"), holdings)
    return Finding(evaluated, found, [])


def _defined(system: "CustomerSystem") -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the definitions say of a system's records."""
    requests, executions = system.tables["requests"].frame, system.tables["executions"].frame
    holdings = positions.positions(system.tables["postings"].frame, executions)
    return status.statuses(requests, executions), holdings


def _positions_of(system: "CustomerSystem") -> dict[str, dict[str, int]]:
    """Which records a system holds; that equal ones say the same is another check."""
    return {dataset: table.positions for dataset, table in system.tables.items()}


def _agreement(network: "Network") -> Finding:
    """Customer-facing systems that hold the same records give the same answers."""
    found: list[str] = []
    up = running(network.customers)
    if not up:
        return Finding(0, [], [])
    first, others = up[0], [s for s in up[1:] if _positions_of(s) == _positions_of(up[0])]
    answers = first.statuses(), first.positions()
    for other in others:
        for mine, theirs in zip(answers, (other.statuses(), other.positions()), strict=True):
            found += _differences(other, first.name, theirs, mine)
    return Finding(len(others) * len(answers[0]), found, [])


def _conservation(network: "Network") -> Finding:
    """Cash and shares conserve: postings sum to zero per asset, and for each fill."""
    postings = network.firm.tables["postings"].frame
    found: list[str] = []
    for keys in (["exec_id", "asset"], ["asset"]):
        sums = (
            postings.group_by(keys).agg(total=pl.col("amount").sum()).filter(pl.col("total") != 0)
        )
        # Records whose opposite there is are left out: what is left shows the sum.
        size, sign = pl.col("amount").abs(), pl.col("amount").sign()
        legs = postings.join(sums, on=keys, how="semi", nulls_equal=True).with_columns(
            place=pl.col("record_id").cum_count().over(*keys, size, sign),
            against=pl.col("amount").ne(size).sum().over(*keys, size),
            same=pl.len().over(*keys, size),
        )
        opposite = pl.when(sign < 0).then(pl.col("same") - pl.col("against")).otherwise("against")
        alone = legs.filter(pl.col("amount") != 0, pl.col("place") > opposite)
        for row in sums.to_dicts() if not found else ():
            of_it = [pl.col(name).eq_missing(row[name]) for name in keys]
            fill = f" of fill {format_id(row['exec_id'])}" if row.get("exec_id") else ""
            records = listed(alone.filter(of_it)["record_id"])
            found.append(f"{row['asset']}{fill} sums to {row['total']:,}: {records}")
    return Finding(len(postings), found, [])


def _cleared(network: "Network") -> Finding:
    """Each fill, correction and bust that the firm holds is cleared once, as what it moves."""
    executions = network.firm.tables["executions"].frame
    postings = network.firm.tables["postings"].frame.filter(pl.col("exec_id").is_not_null())
    due = positions.due(postings, executions)
    fee = pl.col("times") * network.charter.books.fees.of(
        pl.col("shares").abs(), pl.col("cash").abs()
    )
    key, cash = ["exec_id", "account", "asset"], pl.lit(CURRENCY)
    legs = [
        due.select("exec_id", "account", asset="symbol", amount="shares"),
        due.select("exec_id", "account", asset=cash, amount=pl.col("cash") - fee),
        due.select("exec_id", account=pl.lit(FEES), asset=cash, amount=fee),
    ]
    runs = postings.sort("record_id").with_columns(
        starts=(pl.col("exec_id") != pl.col("exec_id").shift())
        | (pl.col("record_id") - pl.col("record_id").shift() != 1)
    )
    again = (
        runs.filter(pl.col("starts").fill_null(value=True))
        .group_by("exec_id", maintain_order=True)
        .agg("record_id")
        .filter(pl.col("record_id").list.len() > 1)
    )
    wrong = [
        f"{format_id(event)} is cleared more than once: {listed(records)}"
        for event, records in again.iter_rows()
    ]
    once = postings.filter(~pl.col("exec_id").is_in(again["exec_id"].implode()))
    booked = (
        once.filter(pl.col("account") != CLEARING)
        .group_by(key)
        .agg(pl.col("record_id").first(), pl.col("amount").sum())
    )
    amiss = (
        pl.concat(legs)
        .group_by(key)
        .agg(due=pl.col("amount").sum())
        .join(once.select("exec_id").unique(), on="exec_id", how="semi")
        .join(booked, on=key, how="full", coalesce=True)
        .with_columns(pl.col("amount", "due").fill_null(0))
        .filter(pl.col("amount") != pl.col("due"))
        .sort(key)
    )
    held = executions["exec_id"].implode()
    wrong += [
        f"{listed([leg['record_id']]) if leg['record_id'] else 'no posting'} clears "
        f"{format_id(leg['exec_id'])} amiss: {leg['account']} {leg['amount']:,} {leg['asset']}"
        for leg in amiss.filter(pl.col("exec_id").is_in(held)).to_dicts()
    ]
    unknown = postings.filter(~pl.col("exec_id").is_in(held))["exec_id"].unique(maintain_order=True)
    waiting = [f"the firm does not hold {format_id(i)}, which it cleared" for i in unknown]
    missing = due.join(postings, on="exec_id", how="anti").unique("exec_id", keep="last")
    waiting += [
        f"{format_id(i)} is not cleared: {format_id(record)}"
        + (f" takes back {format_id(about)}" if about else "")
        for i, record, about in missing.sort("exec_id")[
            "exec_id", "record_id", "exec_ref_id"
        ].iter_rows()
    ]
    return Finding(due["exec_id"].n_unique(), wrong, waiting)


def _venue(network: "Network") -> Finding:
    """Street-side executions agree with the venue's own record, event by event."""
    names = ("exec_id", "exec_type", "order_id", "request_id", "last_qty", "last_px", "order_qty")
    reported = pl.DataFrame(network.venue.reports.table()).rename({"record_id": "exec_id"})
    reported = reported.select(names)
    frames = [s.tables["executions"].frame for s in network.streets]
    recorded = pl.concat(frames).unique("record_id").select("record_id", *names)
    # Of the same event both sides say the same, or one of the two is wrong.
    wrong = [
        f"{format_id(row['record_id'])} is not what the market reported as {format_id(i)}"
        for row in recorded.join(reported, on=names, how="anti", nulls_equal=True).to_dicts()
        for i in [row["exec_id"]]
    ]
    missing = reported.join(recorded, on="exec_id", how="anti")["exec_id"]
    return Finding(len(reported), wrong, [f"{format_id(i)} is not recorded" for i in missing])


def _answered(network: "Network") -> Finding:
    """Every accepted request was answered by a street-side system."""
    found = [
        f"{s.name} is down: what it accepted is not known" for s in network.customers if s.crashed
    ]
    evaluated = 0
    for system in running(network.customers):
        evaluated += sum(
            system.tables["requests"].count(code) for code in system.own_codes("requests")
        )
        for batch in system.unanswered():
            found += [f"{format_id(i)} has no answer" for i in batch["record_id"].to_pylist()]
    return Finding(evaluated, [], found)


def _spoken_of(network: "Network") -> pl.DataFrame:
    """Each request that an execution speaks of, and that execution: ``record_id, request``."""
    executions = pl.concat([s.tables["executions"].frame for s in network.streets])
    return pl.concat(
        [executions.select("record_id", request=name) for name in ("request_id", "order_id")]
    ).unique("request", keep="first", maintain_order=True)


def lost_requests(network: "Network") -> list[tuple[int, int]]:
    """Requests held by nobody that an execution speaks of: the execution's id, the request's."""
    held = pl.concat([s.tables["requests"].frame.select("record_id") for s in network.customers])
    asked = _spoken_of(network)
    lost = asked.join(held, left_on="request", right_on="record_id", how="anti").sort("request")
    return list(lost.iter_rows())


def _referred(network: "Network") -> Finding:
    """Every request that an execution answers is held: what is not was lost with its system."""
    found = [
        f"{format_id(request)} is held by nobody, and {format_id(record)} answers it"
        for record, request in lost_requests(network)
    ]
    return Finding(len(_spoken_of(network)), [], found)


def _executed_once(network: "Network") -> Finding:
    """An order that was entered at two systems is accepted by the market once (by its name)."""
    executions = pl.concat([s.tables["executions"].frame for s in network.streets])
    taken = executions.filter(pl.col("exec_type") == ExecType.NEW)
    orders = taken.unique("order_id").sort("record_id")
    named = orders.filter(pl.col("cl_ord_id").is_not_null())
    again = named.group_by("account", "cl_ord_id", maintain_order=True).agg("record_id")
    found = [
        f"{name} of {account}: {listed(records)}"
        for account, name, records in again.filter(pl.col("record_id").list.len() > 1).iter_rows()
    ]
    return Finding(len(orders), found, [])


def _flagged(network: "Network") -> Finding:
    """Of the records of one event, at most one does not say that it may be a duplicate."""
    executions = pl.concat([s.tables["executions"].frame for s in network.streets])
    certain = executions.unique("record_id").filter(~pl.col("poss_dup")).sort("record_id")
    again = certain.group_by("exec_id", maintain_order=True).agg("record_id")
    found = [
        f"{format_id(event)} is certain in each of {listed(records)}"
        for event, records in again.filter(pl.col("record_id").list.len() > 1).iter_rows()
    ]
    return Finding(len(certain), found, [])


def _over_fills(network: "Network") -> Finding:
    """No order filled beyond its quantity; the replace that allows it may be on its way."""
    found, evaluated = [], 0
    for system in running(network.customers):
        frame = system.statuses()
        evaluated += len(frame)
        over = frame.filter(pl.col("cum_qty") > pl.col("order_qty"))
        held = system.tables["executions"].frame if len(over) else None
        fills = over if held is None else status.trades(held).filter("effective")
        for order_id, cum_qty, order_qty in over["order_id", "cum_qty", "order_qty"].iter_rows():
            records = listed(fills.filter(pl.col("order_id") == order_id)["record_id"])
            order = f"{format_id(order_id)} at {system.name}"
            found.append(f"{order}: {cum_qty:,} of {order_qty:,} by {records}")
    return Finding(evaluated, [], found)


# ---- the smallest set of records that shows it

_IDS_MAX = 8


def span(first: int, count: int) -> str:
    """The ids of a run of records."""
    last = format_id(first + count - 1)
    return last if count == 1 else f"{format_id(first)} to {last}"


def _span(code: int, start: int, stop: int) -> str:
    """The ids of the records of an origin from one position to another."""
    return span(make_id(code, start), stop - start)


def listed(records: Sequence[int] | pl.Series) -> str:
    """The ids of some records; the first few of many."""
    texts = [format_id(record) for record in records[:_IDS_MAX]]
    more = len(records) - len(texts)
    return ", ".join(texts) + (f" and {more:,} more" if more else "")


def _first_difference(one: pl.DataFrame, other: pl.DataFrame) -> tuple[str, str]:
    """The first record in which two frames of the same records differ, and how."""
    differs = pl.any_horizontal(pl.col(name).ne_missing(other[name]) for name in one.columns).alias(
        "differs"
    )
    at = int(one.select(differs)["differs"].arg_true()[0])
    record = format_id(other["record_id"][at])
    return record, _how(one.row(at, named=True), other.row(at, named=True))


def _how(one: dict[str, object], other: dict[str, object]) -> str:
    """In which columns two rows differ."""
    return ", ".join(f"{n} {v!r}, not {other[n]!r}" for n, v in one.items() if v != other[n])


def _differences(
    system: "CustomerSystem", than: str, answered: pl.DataFrame, due: pl.DataFrame
) -> Iterator[str]:
    """The first order, or balance, that is answered otherwise than is due, by which records."""
    answered = answered.cast(due.schema)
    if answered.equals(due):
        return
    both = [
        one.join(two, on=one.columns, how="anti", nulls_equal=True)
        for one, two in ((answered, due), (due, answered))
    ]
    keys = ["order_id"] if "order_id" in due.columns else ["account", "asset"]
    key = pl.concat(frame.select(keys) for frame in both).row(0, named=True)
    about = [pl.col(name) == value for name, value in key.items()]
    here, there = ((f.filter(about).to_dicts() or [{}])[0] for f in both)
    absent = dict.fromkeys(due.columns)
    how = _how(absent | here, absent | there)
    if "order_id" in key:
        name, datasets = format_id(key["order_id"]), ["requests", "executions"]
    else:
        name, datasets = f"{key['asset']} of {key['account']}", ["postings"]
    frames = [system.tables[dataset].frame.filter(about)["record_id"] for dataset in datasets]
    records = listed(pl.concat(frames))
    yield f"{system.name} answers for {name} otherwise than {than}: {how}; by {records}"


REFERRED = "every request that was answered is held"
TWICE = "no name is executed twice"
FLAGGED = "what is recorded again is a possible duplicate"

CHECKS: dict[str, Callable[["Network"], Finding]] = {
    "every record is where the topology says": _placed,
    "replicas hold what their origin wrote": _same,
    "no record twice, no gap": _gapless,
    "nothing written by the wrong kind of system": _authority,
    "answers agree with the definition": _definition,
    "equal records give equal answers": _agreement,
    "every accepted request is answered": _answered,
    REFERRED: _referred,
    "no order is filled beyond its quantity": _over_fills,
    TWICE: _executed_once,
    FLAGGED: _flagged,
    "executions agree with the venue's record": _venue,
    "each fill is cleared exactly once": _cleared,
    "cash and shares conserve": _conservation,
}
