"""The bill of an outage: what customers got of each system while it lasted, and while none did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from tradesys.log.offsets import Offsets
from tradesys.records.clock import MS
from tradesys.routes import WRITES
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.street import StreetSystem
from tradesys.systems.system import System

LOG = {"at": pl.Int64, "system": pl.String, "what": pl.String, "value": pl.Int64}
"""What happened at a customer-facing system: when (ns), where, what, and a number.

``taken``, ``refused``, ``delayed``; taken, and ``waits`` until a time; ``acknowledged`` after so
many ns; ``answered`` from what is so many ns old.
"""

_NEVER = (1 << 63) - 1
_NS = pl.col("ts").dt.timestamp("ns")
_OUTAGES = {"system": pl.String, "fault": pl.String} | dict.fromkeys(
    ("began", "ended", "caught_up", "at_risk"), pl.Int64
)
_COUNTED = ["taken", "refused", "delayed", "ack_ms", "answered", "stale_ms", "stalest_ms"]


@dataclass
class Outage:
    """What is amiss with a system, in ns: ``ended`` is None while it is, ``caught_up`` until then.

    ``at_risk`` is how many of its own records nobody else held when it began, ``owed`` how many of
    each dataset and origin others had written when it was over.
    """

    system: str
    kind: str
    began: int
    at_risk: int
    ended: int | None = None
    caught_up: int | None = None
    owed: Offsets = field(default_factory=Offsets, repr=False)

    def end(self, now: int, system: System, systems: Iterable[System]) -> None:
        """It is over."""
        self.ended, self.owed = now, owed(system, systems)

    def see(self, now: int, system: System) -> bool:
        """Note whether the system has all that the others had when the outage was over."""
        if Offsets.of(system.tables).covers(self.owed):
            self.caught_up = now
        return self.caught_up is not None


def at_risk(system: System, systems: Iterable[System]) -> int:
    """How many records of a system's own nobody else holds."""
    others = [other for other in systems if other is not system]
    return sum(
        system.tables[dataset].count(system.origin.code)
        - max(s.tables[dataset].count(system.origin.code) for s in others if dataset in s.tables)
        for dataset in WRITES[system.kind]
    )


def owed(system: System, systems: Iterable[System]) -> Offsets:
    """What others have written of the datasets that a system holds."""
    return Offsets(
        ((dataset, other.origin.code), other.tables[dataset].count(other.origin.code))
        for other in systems
        if other is not system
        for dataset in WRITES[other.kind]
        if dataset in system.tables
    )


def log_of(systems: Iterable[System]) -> pl.DataFrame:
    """What the records say of requests: where and when they were taken, and how long they waited.

    :returns: the columns of :data:`LOG`; what nobody has answered yet waits for ever.
    """
    held = list(systems)
    streets = [s.tables["executions"].frame for s in held if isinstance(s, StreetSystem)]
    answered = pl.concat(streets).group_by("request_id").agg(value=_NS.min())
    parts = [pl.DataFrame(schema=LOG)]
    for system in held:
        if isinstance(system, CustomerSystem):
            own = pl.col("record_id").floordiv(2**48).is_in(system.own_codes("requests"))
            requests = system.tables["requests"].frame.filter(own)
            waits = requests.join(answered, left_on="record_id", right_on="request_id", how="left")
            is_taken = pl.col("reject_reason").is_null()
            what = pl.when(is_taken).then(pl.lit("waits")).otherwise(pl.lit("refused"))
            value = pl.col("value").fill_null(_NEVER)
            parts.append(waits.select(at=_NS, system=pl.lit(system.name), what=what, value=value))
    return pl.concat(parts)


def bill(
    log: pl.DataFrame, outages: Sequence[Outage], systems: Sequence[str], start: int = 0
) -> pl.DataFrame:
    """What each system did for its customers while each of its outages lasted, and while none did.

    :param log: what happened, with the columns of :data:`LOG`.
    :param start: the time from which ms are counted, in ns.
    :returns: a row for each outage, and one for each system without (``fault`` is "none"):
        ``system, fault, began_ms, ended_ms`` (null: not yet); requests ``taken``, ``refused`` and
        ``delayed``: in a simulation no answer came in time, and the customer turned to another
        system; otherwise it was accepted, and no street-side system had answered when the outage
        was over (it is not counted as taken). ``ack_ms``,
        the median from asking first to being told; inquiries ``answered``, and the median and the
        highest age of what they lacked (``stale_ms``, ``stalest_ms``): of simulations only, whose
        customers keep time. ``catch_up_ms``, from the end of the outage until the system had all
        that the others had had then (null: not yet); ``at_risk``, the records that nobody else held
        when it began.
    """
    rows = [(o.system, o.kind, o.began, o.ended, o.caught_up, o.at_risk) for o in outages]
    faults = pl.DataFrame(rows, _OUTAGES, orient="row").with_row_index("number")
    until = faults.with_columns(until=pl.col("ended").fill_null(_NEVER))
    during = log.join_where(
        until,
        pl.col("system") == pl.col("system_right"),
        pl.col("at") >= pl.col("began"),
        pl.col("at") <= pl.col("until"),
    )
    others = log.join(during.select("at", "system"), on=["at", "system"], how="anti")
    quiet = pl.DataFrame({"system": systems}, {"system": pl.String}).join(
        _counts(others, "system"), on="system", how="left"
    )
    late = (pl.col("what") == "waits") & (pl.col("value") >= pl.col("until"))
    what = pl.when(late).then(pl.lit("delayed")).otherwise("what")
    suffered = faults.join(
        _counts(during.with_columns(what=what), "number"), on="number", how="left"
    ).sort("number")
    suffered = suffered.with_columns(
        began_ms=(pl.col("began") - start) / MS,
        ended_ms=(pl.col("ended") - start) / MS,
        catch_up_ms=(pl.col("caught_up") - pl.col("ended")) / MS,
    )
    columns = ["system", "fault", "began_ms", "ended_ms", *_COUNTED, "catch_up_ms", "at_risk"]
    both = pl.concat(
        [suffered, quiet.with_columns(fault=pl.lit("none"))], how="diagonal_relaxed"
    ).select(columns)
    return both.with_columns(pl.col("taken", "refused", "delayed", "answered").fill_null(0))


def _counts(log: pl.DataFrame, by: str) -> pl.DataFrame:
    def of(what: str) -> pl.Expr:
        return pl.col("value").filter(pl.col("what") == what)

    return log.group_by(by).agg(
        taken=of("taken").len() + of("waits").len(),
        refused=of("refused").len(),
        delayed=of("delayed").len(),
        ack_ms=of("acknowledged").median() / MS,
        answered=of("answered").len(),
        stale_ms=of("answered").median() / MS,
        stalest_ms=of("answered").max() / MS,
    )
