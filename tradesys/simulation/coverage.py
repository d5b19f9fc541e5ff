"""What a run of a simulation has met, of all that can be drawn.

A check that was never put to the test says nothing. This names the situations there were.
"""

from typing import TYPE_CHECKING

import polars as pl

from tradesys.records.schemas import ExecType, OrdType
from tradesys.status.definition import AMENDS, ENDS, says

if TYPE_CHECKING:
    from tradesys.simulation.run import Simulation

_AMENDS, _EXPIRED, _TRADE = says(*AMENDS), says(ExecType.EXPIRED), says(ExecType.TRADE)
_IS_FIRST = pl.int_range(pl.len()) == 0


def _before(event: pl.Expr) -> pl.Expr:
    """How much of it there was of the same order before each event."""
    return event.cast(pl.Int64).cum_sum().shift(fill_value=0).over("order_id")


def _has_changed(column: str) -> pl.Expr:
    """Whether it is another than the order had first."""
    return pl.col(column) != pl.col(column).first().over("order_id")


_TRADED = pl.when(_TRADE).then("last_qty").otherwise(0)
_FILLED_BEFORE = (_before(_TRADED) >= pl.col("order_qty")) & (_before(_AMENDS) == 0)

_REPORTED: dict[str, pl.Expr] = {
    "bust": says(ExecType.TRADE_CANCEL),
    "correction": says(ExecType.TRADE_CORRECT),
    "amendment of an amendment": _AMENDS
    & pl.col("exec_ref_id").is_in(pl.col("amendment").implode()),
    "amendment again by the trade's own id": _AMENDS & ~_IS_FIRST.over("exec_ref_id"),
    "amendment of a filled order": _AMENDS & _FILLED_BEFORE,
    "amendment of an order that had ended": _AMENDS & (_before(says(*ENDS)) > 0),
    "trade of a market order": _TRADE & (pl.col("ord_type") == OrdType.MARKET),
    "market order stopped by its collar": pl.col("text") == "beyond its collar",
    "time in force changed": says(ExecType.REPLACED) & _has_changed("time_in_force"),
    "DAY order over at its close": _EXPIRED & (pl.col("text") == "end of the day"),
    "GTD order over at its time": _EXPIRED & (pl.col("text") == "its time is over"),
    "trade on a later day": _TRADE & _has_changed("day"),
    "order too late for the market": pl.col("text") == "too late to enter",
    "order entered at two systems": pl.col("text") == "duplicate order",
    "name used again on a later day": says(ExecType.NEW)
    & pl.col("cl_ord_id").is_not_null()
    & ~_IS_FIRST.over("exec_type", "account", "cl_ord_id"),
}
"""Situations at the market, by its reports."""

_REQUESTED: dict[str, pl.Expr] = {
    "order without a name": pl.col("cl_ord_id").is_null() & pl.col("reject_reason").is_null(),
    "order beyond the cash": pl.col("reject_reason") == "not enough cash",
    "order beyond the shares": pl.col("reject_reason") == "not enough shares",
    "market order without a price": pl.col("reject_reason").str.starts_with("no last price"),
}
"""Situations at order entry, by the requests that customer-facing systems hold."""


def reached(desk: "Simulation") -> set[str]:
    """The statuses that orders had, when somebody asked or in the end, and the situations."""
    found = {str(status) for status in desk.callers.statuses_seen}
    for customer in desk.customers:
        found.update(customer.statuses()["ord_status"])
    reports = pl.DataFrame(desk.venue.reports.table()).sort("record_id")
    days = desk.venue.calendar.closes(reports["ts"].dt.timestamp("ns").to_numpy())
    amendment = pl.when(_AMENDS).then("record_id")
    reports = reports.with_columns(day=pl.Series(days), amendment=amendment)
    requests = pl.concat([c.tables["requests"].frame for c in desk.customers])
    for records, situations in ((reports, _REPORTED), (requests, _REQUESTED)):
        any_of = records.select(met.any().alias(name) for name, met in situations.items())
        found.update(name for name in any_of.columns if any_of[name].item())
    return found | ({"fees"} if any(desk.manifest.books.fees) else set())
