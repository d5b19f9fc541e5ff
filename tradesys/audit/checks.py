"""What must hold over all systems when a network is quiet, check by check."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from tradesys.audit.overdrafts import debts
from tradesys.audit.snapshot import (
    Snapshot,
    differences,
    first_difference,
    listed,
    more_than_one,
    run_of,
)
from tradesys.log.log import Log
from tradesys.records.arrow import Ints, as_written
from tradesys.records.schemas import (
    CURRENCY,
    FEES,
    REQUESTS,
    ExecType,
    Kind,
    format_id,
    make_id,
    origin,
)
from tradesys.replication.transfer import Link
from tradesys.routes import WRITER, WRITES
from tradesys.status import definition as status
from tradesys.status import positions
from tradesys.systems.street import StreetSystem
from tradesys.systems.system import System

if TYPE_CHECKING:
    import pyarrow as pa

    from tradesys.systems.customer import CustomerSystem


_INT64_MAX = (1 << 63) - 1


class Finding(NamedTuple):
    """How many things a check looked at, and what it found.

    ``wrong`` is so whatever comes; ``waiting`` is what records under way, or work that is not done
    yet, may still mend; ``unknowable`` is what nothing that is held can decide, now or later;
    ``told`` is worth knowing, and not wrong.
    """

    evaluated: int
    wrong: list[str]
    waiting: list[str]
    unknowable: Sequence[str] = ()
    told: Sequence[str] = ()


def _placed(held: Snapshot) -> Finding:
    """Every record that a system wrote is where the topology says."""
    found, evaluated = [], 0
    for link, dataset, code in _copies(held):
        own, other = (s.tables[dataset].count(code) for s in (link.source, link.target))
        evaluated += own
        if other != own:
            lacking = link.target if other < own else link.source
            records = run_of(code, min(other, own), max(other, own))
            found.append(f"{lacking.name} lacks {dataset} {records}")
    return Finding(evaluated, [], found)


def _same(held: Snapshot) -> Finding:
    """No replica holds a record that differs from its origin's, or that its origin never wrote."""
    wrong, waiting, evaluated = [], [], 0
    written: dict[tuple[str, int], pa.RecordBatch] = {}
    for (source, target, _), dataset, code in _copies(held):
        own, other = source.tables[dataset], target.tables[dataset]
        count = other.count(code)
        evaluated += count
        shared = min(own.count(code), count)
        if shared and (dataset, code) not in written:
            written[dataset, code] = as_written(own.logs[code].since(0))
        mine = written[dataset, code].slice(0, shared) if shared else None
        theirs = as_written(other.logs[code].since(0, shared)) if shared else None
        if mine and not mine.equals(theirs):
            record, how = first_difference(pl.DataFrame(theirs), pl.DataFrame(mine))
            wrong.append(f"{target.name} holds {record} otherwise than {source.name}: {how}")
            held.otherwise.add((target.name, dataset, code))
        if count > shared:
            records = run_of(code, shared, count)
            waiting.append(f"{target.name} holds {dataset} {records}, {source.name} does not")
    return Finding(evaluated, wrong, waiting)


def _copies(held: Snapshot) -> Iterator[tuple[Link, str, int]]:
    """Each log that a link carries: of every incarnation of the source that either side knows."""
    for link in held.links:
        for dataset in WRITES[link.route.writer]:
            known = {*link.source.tables[dataset].logs, *link.target.tables[dataset].logs}
            for code in sorted(filter(link.source.wrote, known)):
                yield link, dataset, code


def _logs(held: Snapshot) -> Iterator[tuple[System, str, Log]]:
    """Every log that a system holds."""
    for system in held.systems:
        for dataset, table in system.tables.items():
            for log in table.logs.values():
                yield system, dataset, log


def _gapless(held: Snapshot) -> Finding:
    """No record twice, none missing in between: ids of an origin run from 0 without a gap."""
    found, evaluated = [], 0
    for system, dataset, log in _logs(held):
        ids = np.concatenate([batch["record_id"].to_numpy() for batch in log.batches()])
        expected = (log.code << 48) + np.arange(len(ids), dtype=np.uint64)
        evaluated += len(ids)
        if not np.array_equal(ids, expected):
            at = int(np.flatnonzero(ids != expected)[0])
            there, due = format_id(int(ids[at])), format_id(int(expected[at]))
            found.append(f"{system.name}'s {dataset}: {there} stands where {due} should")
    return Finding(evaluated, found, [])


def _authority(held: Snapshot) -> Finding:
    """Nothing was written by a kind of system that may not write it."""
    logs = list(_logs(held))
    found = [
        f"{system.name} holds {dataset} {run_of(log.code, 0, log.count)}"
        for system, dataset, log in logs
        if origin(log.code).kind is not WRITER[dataset]
    ]
    return Finding(len(logs), found, [])


def _definition(held: Snapshot) -> Finding:
    """What each customer-facing system answers is what the definition says of its records."""
    found: list[str] = []
    evaluated = 0
    defined: dict[object, tuple[pl.DataFrame, pl.DataFrame]] = {}
    for system in held.customers:
        key = _key(held, system)
        if key not in defined:
            records = {name: held.frame(system, name) for name in _ANSWERED_FROM}
            requests, executions = records["requests"], records["executions"]
            balances = positions.balances(**records, fees=system.view.fees)
            defined[key] = status.statuses(requests, executions), balances
        for answer, due in zip(held.answers[system.name], defined[key], strict=True):
            evaluated += len(due)
            found += differences(system, "defined", answer, due)
    return Finding(evaluated, found, [])


def _key(held: Snapshot, system: System) -> object:
    """What is equal for systems whose answers are."""
    return tuple(held.key(system, dataset) for dataset in _ANSWERED_FROM)


def _agreement(held: Snapshot) -> Finding:
    """Customer-facing systems that hold the same records give the same answers."""
    found: list[str] = []
    evaluated = 0
    first: dict[object, CustomerSystem] = {}
    for system in held.customers:
        other = first.setdefault(_key(held, system), system)
        if other is not system:
            evaluated += len(held.answers[system.name][0])
            both = zip(held.answers[system.name], held.answers[other.name], strict=True)
            for theirs, mine in both:
                found += differences(system, other.name, theirs, mine)
    return Finding(evaluated, found, [])


def _conservation(held: Snapshot) -> Finding:
    """Cash and shares conserve: postings sum to zero per asset, and for each fill.

    No balance is beyond int64, where sums begin again at the other end; these here are of 128 bits.
    """
    postings = held.frame(held.firm, "postings").with_columns(pl.col("amount").cast(pl.Int128))
    exact = postings.group_by("account", "asset").agg(pl.col("amount").sum())
    beyond = exact.filter(pl.col("amount").abs() > _INT64_MAX).sort("account", "asset")
    found = [
        f"{account}'s {asset} sums to {amount:,}, which no balance can say"
        for account, asset, amount in beyond.iter_rows()
    ]
    for keys in (["exec_id", "asset"], ["asset"]):
        sums = (
            postings.group_by(keys).agg(total=pl.col("amount").sum()).filter(pl.col("total") != 0)
        )
        if found or sums.is_empty():
            continue
        # Records whose opposite there is are left out: what is left shows the sum.
        size, sign = pl.col("amount").abs(), pl.col("amount").sign()
        legs = postings.join(sums, on=keys, how="semi", nulls_equal=True).with_columns(
            place=pl.col("record_id").cum_count().over(*keys, size, sign),
            against=pl.col("amount").ne(size).sum().over(*keys, size),
            same=pl.len().over(*keys, size),
        )
        opposite = pl.when(sign < 0).then(pl.col("same") - pl.col("against")).otherwise("against")
        alone = legs.filter(pl.col("amount") != 0, pl.col("place") > opposite)
        for row in sums.to_dicts():
            of_it = [pl.col(name).eq_missing(row[name]) for name in keys]
            fill = f" of fill {format_id(row['exec_id'])}" if row.get("exec_id") else ""
            records = listed(alone.filter(of_it)["record_id"])
            found.append(f"{row['asset']}{fill} sums to {row['total']:,}: {records}")
    return Finding(len(postings), found, [])


def _cleared(held: Snapshot) -> Finding:
    """What stands of each trade that the firm holds is booked, once, at its customer."""
    firm = held.firm
    executions = held.frame(firm, "executions")
    postings = held.frame(firm, "postings").filter(pl.col("exec_id").is_not_null())
    events = status.each_once(executions)
    instruments = held.frame(firm, "instruments")
    trades = positions.moved(status.trades(events), held.fees, instruments)
    again = dict(more_than_one(_runs(postings), "exec_id"))
    wrong = [f"{format_id(i)} is cleared more than once: {records}" for i, records in again.items()]
    key = ["trade_id", "account", "asset"]
    booked = positions.booked(postings, events)
    twice = booked.filter(pl.col("exec_id").is_in(list(again)))
    amiss = (
        _due(trades)
        .group_by(key)
        .agg(due=pl.col("amount").sum())
        .join(
            booked.group_by(key).agg(pl.col("record_id").first(), pl.col("amount").sum()),
            on=key,
            how="full",
            coalesce=True,
        )
        .with_columns(pl.col("amount", "due").fill_null(0))
        .filter(pl.col("amount") != pl.col("due"))
        .join(twice, on="trade_id", how="anti")
        .sort(key)
    )
    is_held = pl.col("exec_id").is_in(events["exec_id"].implode())
    unknown = postings.filter(~is_held)["exec_id"].unique(maintain_order=True)
    waiting = [f"the firm does not hold {format_id(i)}, which it cleared" for i in unknown]
    missing = (
        trades.join(amiss, on="trade_id", how="semi")
        .join(postings, on="exec_id", how="anti")
        .sort("exec_id")
    )
    names = ("exec_id", "record_id", "exec_ref_id")
    waiting += [
        f"{format_id(i)} is not cleared: {format_id(record)}"
        + (f" amends {format_id(about)}" if about else "")
        for i, record, about in missing.select(names).iter_rows()
    ]
    posted = amiss.join(missing, on="trade_id", how="anti")
    posted = posted.filter(~pl.col("trade_id").is_in(unknown.implode()))
    # What clears an event that has not come may be what is missing here.
    (waiting if len(unknown) else wrong).extend(
        f"{listed([leg['record_id']]) if leg['record_id'] else 'no posting'} clears "
        f"{format_id(leg['trade_id'])} amiss: {leg['account']} {leg['amount']:,} {leg['asset']}"
        for leg in posted.to_dicts()
    )
    return Finding(len(trades), wrong, waiting)


def _runs(postings: pl.DataFrame) -> pl.DataFrame:
    """The first of each run of postings that follow one another and clear the same event."""
    event, record = pl.col("exec_id"), pl.col("record_id")
    starts = (event != event.shift()) | (record - record.shift() != 1)
    return postings.sort("record_id").filter(starts.fill_null(value=True))


def _due(trades: pl.DataFrame) -> pl.DataFrame:
    """The legs that trades come to, those of the clearing account left out."""
    cash = pl.lit(CURRENCY)
    return pl.concat(
        [
            trades.select("trade_id", "account", asset="symbol", amount="shares"),
            trades.select("trade_id", "account", asset=cash, amount="cash"),
            trades.select("trade_id", account=pl.lit(FEES), asset=cash, amount="fee"),
        ]
    )


def _amended(held: Snapshot) -> Finding:
    """Every correction and bust is of a trade of its order, and every trade of some quantity."""
    events = status.each_once(held.recorded).filter(status.says(*status.OF_TRADES))
    leads = status.amendments(events).select("exec_id", "trade_id")
    trades = events.filter(status.says(ExecType.TRADE))
    trades = trades.select("order_id", trade_id="exec_id")
    amends = (
        events.filter(status.says(*status.AMENDS))
        .join(leads, on="exec_id", how="left")
        .join(trades, on="trade_id", how="left", suffix="_traded")
        .sort("exec_id")
    )
    of_none = amends.filter(pl.col("order_id_traded").is_null())
    is_held = pl.col("trade_id").is_in(held.recorded["exec_id"].implode())
    may_come = of_none.filter(~is_held)
    wrong = [
        f"{format_id(record)} amends {format_id(about) if about else 'nothing'}: no trade"
        for record, about in of_none.join(may_come, on="exec_id", how="anti")[
            "record_id", "exec_ref_id"
        ].iter_rows()
    ]
    strange = amends.filter(pl.col("order_id") != pl.col("order_id_traded"))
    wrong += [
        f"{format_id(record)} is of {format_id(order)} and amends {format_id(trade)} of "
        f"{format_id(other)}"
        for record, order, trade, other in strange[
            "record_id", "order_id", "trade_id", "order_id_traded"
        ].iter_rows()
    ]
    without = events.filter(status.says(*status.TRADES), pl.col("last_qty") <= 0)
    wrong += [
        f"{format_id(record)} trades {qty:,} shares"
        for record, qty in without["record_id", "last_qty"].iter_rows()
    ]
    waiting = [
        f"{format_id(record)} amends {format_id(trade)}, which nobody holds"
        for record, trade in may_come["record_id", "trade_id"].iter_rows()
    ]
    return Finding(len(events), wrong, waiting)


def _venue(held: Snapshot) -> Finding:
    """Street-side executions agree with the venue's own record, event by event."""
    names = ("exec_id", "exec_type", "order_id", "request_id", "last_qty", "last_px", "order_qty")
    reports = held.reports.table().combine_chunks()
    reported = pl.DataFrame(reports).rename({"record_id": "exec_id"})
    reported = reported.select(names)
    recorded = held.recorded.select("record_id", *names)
    # Of the same event both sides say the same, or one of the two is wrong.
    wrong = [
        f"{format_id(row['record_id'])} is not what the market reported as {format_id(i)}"
        for row in recorded.join(reported, on=names, how="anti", nulls_equal=True).to_dicts()
        for i in [row["exec_id"]]
    ]
    missing = reported.join(recorded, on="exec_id", how="anti")["exec_id"]
    return Finding(len(reported), wrong, [f"{format_id(i)} is not recorded" for i in missing])


def _answered(held: Snapshot) -> Finding:
    """Every accepted request was answered by a street-side system."""
    down = [s.name for s in held.systems if s.crashed and s.kind is Kind.CUSTOMER]
    found = [f"{name} is down: what it accepted is not known" for name in down]
    for batches in held.unanswered.values():
        for batch in batches:
            found += [f"{format_id(i)} has no answer" for i in batch["record_id"].to_pylist()]
    return Finding(len(held.requested), [], found)


def _sent_once(held: Snapshot) -> Finding:
    """Each request was sent to one street-side system (claim 22); what is sent again says so."""
    sent = pl.concat(
        pl.DataFrame({"record_id": street.sent}, {"record_id": pl.UInt64}).with_columns(
            street=pl.lit(street.name)
        )
        for street in held.systems
        if isinstance(street, StreetSystem)
    ).unique()
    streets = sent.group_by("record_id").agg(pl.col("street").sort()).sort("record_id")
    wrong = [
        f"{format_id(request)} was sent to each of {', '.join(names)}"
        for request, names in streets.filter(pl.col("street").list.len() > 1).iter_rows()
    ]
    return Finding(len(streets), wrong, [])


def lost_requests(held: Snapshot) -> list[tuple[int, int]]:
    """Requests held by nobody that an execution speaks of: the execution's id, the request's."""
    known = held.requested["record_id"].implode()
    asked = [
        held.recorded.select("record_id", request=name).filter(~pl.col("request").is_in(known))
        for name in ("request_id", "order_id")
    ]
    lost = pl.concat(asked).drop_nulls().unique("request", keep="first", maintain_order=True)
    return list(lost.sort("request").iter_rows())


def _referred(held: Snapshot) -> Finding:
    """Every request that an execution answers is held: what is not was lost with its system."""
    found = [
        f"{format_id(request)} is held by nobody, and {format_id(record)} answers it"
        for record, request in lost_requests(held)
    ]
    return Finding(len(held.recorded), [], found)


def _known(held: Snapshot) -> Finding:
    """Whatever a customer-facing system acknowledged is held, as far as that can be known.

    Where its own file was lost it goes on as another incarnation, and nobody can tell what it took
    beyond the last record of the earlier ones that anybody holds.
    """
    systems = [s for s in held.systems if s.kind is Kind.CUSTOMER]
    earlier = [
        system.origin._replace(incarnation=number)
        for system in systems
        for number in range(system.origin.incarnation)
    ]
    found = []
    for writer in earlier:
        count = max(system.tables["requests"].count(writer.code) for system in systems)
        beyond = f" beyond {format_id(make_id(writer.code, count - 1))}" if count else ""
        found.append(f"what {writer} took{beyond} before its file was lost cannot be known")
    return Finding(len(systems) + len(earlier), [], [], found)


def _executed_once(held: Snapshot) -> Finding:
    """An order that was entered at two systems is accepted by the market once (by its name).

    A name is free again on another trading day, unless its order is still open at the market then.
    Of a market with rules of its own, nothing is looked at.
    """
    if not held.names_are_once:
        return Finding(0, [], [])
    taken = held.recorded.filter(pl.col("exec_type") == ExecType.NEW).unique("order_id")
    named = taken.filter(pl.col("cl_ord_id").is_not_null())
    again = named.filter(pl.struct("account", "cl_ord_id").is_duplicated()).sort("exec_id")
    again = again.with_columns(close=pl.Series(held.calendar.closes(_ns(again["transact_time"]))))
    found = []
    for (account, name), uses in again.group_by("account", "cl_ord_id", maintain_order=True):
        for earlier, later in pairwise(uses.to_dicts()):
            before = held.recorded.filter(
                pl.col("order_id") == earlier["order_id"], pl.col("exec_id") < later["exec_id"]
            )
            state = status.facts(pl.DataFrame(REQUESTS.empty_table()), before)
            is_open = state.select(status.leaves())["leaves_qty"].item() > 0
            if is_open or earlier["close"] == later["close"]:
                records = listed([use["record_id"] for use in (earlier, later)])
                found.append(f"{name} of {account}: {records}")
    return Finding(len(taken), found, [])


def _in_time(held: Snapshot) -> Finding:
    """No order trades after its time: a DAY order on its own trading day only (FIX tag 59)."""
    events = status.each_once(held.recorded).sort("order_id", "exec_id")
    states_terms = pl.col("exec_type").is_in([t.value for t in status.STATES_TERMS])
    stated = [
        pl.when(states_terms).then(name).forward_fill().over("order_id").alias(alias)
        for name, alias in (
            ("time_in_force", "time_in_force"),
            ("transact_time", "stated_at"),
            ("expire_time", "expire_time"),
        )
    ]
    trades = events.with_columns(stated).filter(
        pl.col("exec_type") == ExecType.TRADE, pl.col("stated_at").is_not_null()
    )
    late = trades.filter(
        pl.Series(_ns(trades["transact_time"]) > held.calendar.last_moments(trades))
    )
    found = [
        f"{format_id(order_id)} traded after its time: {format_id(record)}"
        for order_id, record in late["order_id", "record_id"].iter_rows()
    ]
    return Finding(len(trades), found, [])


def _ns(times: pl.Series) -> Ints:
    return times.dt.timestamp("ns").to_numpy()


def _flagged(held: Snapshot) -> Finding:
    """Of the records of one event, at most one does not say that it may be a duplicate."""
    certain = held.recorded.filter(~pl.col("poss_dup"))
    found = [
        f"{format_id(event)} is certain in each of {records}"
        for event, records in more_than_one(certain, "exec_id")
    ]
    return Finding(len(certain), found, [])


def _over_fills(held: Snapshot) -> Finding:
    """No order filled beyond its quantity; the replace that allows it may be on its way."""
    found, evaluated = [], 0
    for system in held.customers:
        frame, _ = held.answers[system.name]
        evaluated += len(frame)
        over = frame.filter(pl.col("cum_qty") > pl.col("order_qty"))
        if over.is_empty():
            continue
        fills = status.trades(status.each_once(held.frame(system, "executions")))
        fills = fills.filter(pl.col("last_qty") > 0)
        for order_id, cum_qty, order_qty in over["order_id", "cum_qty", "order_qty"].iter_rows():
            records = listed(fills.filter(pl.col("order_id") == order_id)["record_id"])
            order = f"{format_id(order_id)} at {system.name}"
            found.append(f"{order}: {cum_qty:,} of {order_qty:,} by {records}")
    return Finding(evaluated, [], found)


def _debts(held: Snapshot) -> Finding:
    """No system let an account use more than was left, as far as that system knew."""
    evaluated, found = debts(held)
    wrong, told = ([d.text for d in found if d.is_wrong is so] for so in (True, False))
    return Finding(evaluated, wrong, [], told=told)


_ANSWERED_FROM = ("requests", "executions", "postings", "instruments")

REFERRED = "every request that was answered is held"
KNOWN = "nothing that was acknowledged is lost with a file"
TWICE = "no name is executed twice"
IN_TIME = "no order trades after its time"
FLAGGED = "what is recorded again is a possible duplicate"

CHECKS: dict[str, Callable[[Snapshot], Finding]] = {
    "every record is where the topology says": _placed,
    "replicas hold what their origin wrote": _same,
    "no record twice, no gap": _gapless,
    "nothing written by the wrong kind of system": _authority,
    "answers agree with the definition": _definition,
    "equal records give equal answers": _agreement,
    "each request is sent to one street-side system": _sent_once,
    "every accepted request is answered": _answered,
    REFERRED: _referred,
    KNOWN: _known,
    "no order is filled beyond its quantity": _over_fills,
    TWICE: _executed_once,
    IN_TIME: _in_time,
    FLAGGED: _flagged,
    "executions agree with the venue's record": _venue,
    "amendments refer to trades": _amended,
    "each fill is cleared exactly once": _cleared,
    "cash and shares conserve": _conservation,
    "no system lets an account use more than it has": _debts,
}
