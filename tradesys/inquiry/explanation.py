"""Why an order's status is what it is: its records, and when each system learned of them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import polars as pl

from tradesys.inquiry.answers import Answer
from tradesys.log.table import Tables
from tradesys.records.formatting import html, readable
from tradesys.records.schemas import format_id


class Explained(NamedTuple):
    """The answers of the systems that were asked for an order, and the records they rest on.

    ``learned`` has a row for each record and each system that holds it, to be drawn or joined:
    ``record_id, dataset, record`` (its type), ``exec_id, ts, order_qty, price, last_qty, last_px,
    text`` (why it was refused, or ended), ``asset, amount, system, received_at``, by when the
    record was written, then received.
    """

    order_id: int
    answers: list[Answer]
    learned: pl.DataFrame

    @property
    def records(self) -> pl.DataFrame:
        """A row a record: :attr:`learned` with a column for each system, of when it learned."""
        whole = self.learned.sort("system").pivot(on="system", values="received_at")
        return whole.sort("ts", "record_id")

    def __str__(self) -> str:
        said = [str(answer) for answer in self.answers] or [format_id(self.order_id)]
        return "\n".join([*said, str(readable(self._shown()))])

    def _repr_html_(self) -> str:
        said = "<br>".join(str(answer) for answer in self.answers)
        return f"{said}{html(self._shown())}"

    def _shown(self) -> pl.DataFrame:
        """The records, with times of day at each system, and no column that says nothing."""
        whole = self.records
        systems = pl.col(self.learned["system"].unique().to_list())
        said = [name for name in whole.columns if whole[name].null_count() < len(whole)]
        return whole.with_columns(systems.dt.strftime("%H:%M:%S%.6f")).select(said)


_TIME = pl.Datetime("ns", "UTC")
_TYPES = {"requests": "request_type", "executions": "exec_type"}


def explained(
    order_id: int, answers: Iterable[Answer], systems: Iterable[tuple[str, Tables]]
) -> Explained:
    """What these systems hold of an order, and when it came to each."""
    learned = [pl.DataFrame(schema=_LEARNED)]
    for system, tables in systems:
        exec_ids = []
        for dataset, kind in _TYPES.items():
            for batch in tables[dataset].of_order(order_id) if dataset in tables else ():
                frame = pl.DataFrame(batch).with_columns(pl.col(kind).alias("record"))
                learned.append(_seen(system, dataset, frame))
                if "exec_id" in frame:
                    exec_ids.append(frame["exec_id"])
        if exec_ids and "postings" in tables:
            legs = tables["postings"].frame.filter(
                pl.col("exec_id").is_in(pl.concat(exec_ids).implode())
            )
            legs = legs.with_columns(pl.col("account").alias("record"))
            learned.append(_seen(system, "postings", legs))
    whole = pl.concat(learned, how="diagonal").sort("ts", "record_id", "received_at", "system")
    return Explained(order_id, list(answers), whole)


def _seen(system: str, dataset: str, frame: pl.DataFrame) -> pl.DataFrame:
    if "reject_reason" in frame:
        frame = frame.with_columns(text="reject_reason")
    whole = frame.with_columns(
        dataset=pl.lit(dataset),
        system=pl.lit(system),
    )
    return whole.select(name for name in _LEARNED if name in whole)


_LEARNED: dict[str, Any] = {
    "record_id": pl.UInt64,
    **dict.fromkeys(("dataset", "record", "ord_type"), pl.String),
    "exec_id": pl.UInt64,
    "ts": _TIME,
    **dict.fromkeys(("order_qty", "price", "last_qty", "last_px"), pl.Int64),
    **dict.fromkeys(("text", "asset"), pl.String),
    "amount": pl.Int64,
    "system": pl.String,
    "received_at": _TIME,
}
