"""The bill of an outage: what customers got of each system while each fault lasted, and since."""

from typing import TYPE_CHECKING

import polars as pl

from tradesys.simulation.plan import MS

if TYPE_CHECKING:
    from tradesys.simulation.run import Simulation

_LOG = {"at": pl.Int64, "system": pl.String, "what": pl.String, "value": pl.Int64}
_FAULTS = {
    "system": pl.String,
    "fault": pl.String,
    "began": pl.Int64,
    "ended": pl.Int64,
    "caught_up": pl.Int64,
    "at_risk": pl.Int64,
}
_NO_FAULT = "none"


def bill(desk: "Simulation") -> pl.DataFrame:
    """What each system did for its customers while each of its faults lasted, and while none did.

    :returns: a row for each fault, and one for each system without (``fault`` is "none"):
        ``system, fault, began_ms, ended_ms``; requests ``taken``, ``refused`` and ``delayed`` (no
        answer came in time, and the customer turned to another system); ``ack_ms``, the median from
        asking first to being told; inquiries ``answered``, and the median and the highest age of
        what they lacked (``stale_ms``, ``stalest_ms``); ``catch_up_ms``, from the end of the fault
        until the system had all that the others had had then (null: not yet); ``at_risk``, the
        records that nobody else held when the fault began.
    """
    log = pl.DataFrame(desk.log, _LOG, orient="row")
    rows = [
        (s.fault.system, s.fault.kind, s.began, s.ended, desk.faults.caught_up.get(n), s.at_risk)
        for n, s in enumerate(desk.faults.suffered)
    ]
    faults = pl.DataFrame(rows, _FAULTS, orient="row").with_row_index("number")
    during = log.join_where(
        faults,
        pl.col("system") == pl.col("system_right"),
        pl.col("at") >= pl.col("began"),
        pl.col("at") <= pl.col("ended"),
    )
    others = log.join(during.select("at", "system"), on=["at", "system"], how="anti")
    quiet = pl.DataFrame({"system": list(desk.systems)}).join(
        _counts(others, "system"), on="system", how="left"
    )
    suffered = faults.join(_counts(during, "number"), on="number", how="left").sort("number")
    catch_up = (pl.col("caught_up") - pl.col("ended")) / MS
    suffered = suffered.with_columns(
        pl.col("began") / MS, pl.col("ended") / MS, catch_up_ms=catch_up
    ).rename({"began": "began_ms", "ended": "ended_ms"})
    quiet = quiet.with_columns(fault=pl.lit(_NO_FAULT))
    columns = ["system", "fault", "began_ms", "ended_ms", *_COUNTED, "catch_up_ms", "at_risk"]
    both = pl.concat([suffered, quiet], how="diagonal").select(columns)
    return both.with_columns(pl.col("taken", "refused", "delayed", "answered").fill_null(0))


_COUNTED = ["taken", "refused", "delayed", "ack_ms", "answered", "stale_ms", "stalest_ms"]


def _counts(log: pl.DataFrame, by: str) -> pl.DataFrame:
    def of(what: str) -> pl.Expr:
        return pl.col("value").filter(pl.col("what") == what)

    return log.group_by(by).agg(
        taken=of("taken").len(),
        refused=of("refused").len(),
        delayed=of("delayed").len(),
        ack_ms=of("acknowledged").median() / MS,
        answered=of("answered").len(),
        stale_ms=of("answered").median() / MS,
        stalest_ms=of("answered").max() / MS,
    )
