"""What all systems hold at a moment, read once for all checks; and how what is wrong is shown.

What is wrong is shown by the fewest records that show it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa

from tradesys.log.log import Log
from tradesys.records.opening_books import Fees
from tradesys.records.schemas import Kind, format_id, make_id, span
from tradesys.records.trading_calendar import Calendar
from tradesys.replication.transfer import links
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.system import System, running

_IDS_MAX = 8


class Snapshot:
    """What systems hold and answer at a moment, for all checks.

    Taken while nothing is carried; from then on the systems go on, and this does not change.

    :param at_rest: whether nothing is under way or left to do; asked last, since customers ask for
        more meanwhile.
    :param fees: what the firm charges.
    :param calendar: the market's.
    :param reports: what the market says that it reported.
    :param names_are_once: whether the market takes a name once a day; else its names prove nothing.
    """

    def __init__(
        self,
        systems: Iterable[System],
        *,
        at_rest: Callable[[], bool],
        fees: Fees,
        calendar: Calendar,
        reports: Log,
        names_are_once: bool,
    ) -> None:
        self.systems: list[System] = []
        self.unanswered: dict[str, list[pa.RecordBatch]] = {}
        self.answers: dict[str, tuple[pl.DataFrame, pl.DataFrame]] = {}
        """The status of every order, and every balance, as each customer-facing system answers."""
        for system in systems:
            with system.lock:
                self.systems.append(system.snapshot())
                if isinstance(system, CustomerSystem) and not system.crashed:
                    self.unanswered[system.name] = system.unanswered()
                    self.answers[system.name] = system.statuses(), system.positions()
        self.links = links(self.systems)
        self.at_rest, self.fees, self.calendar = at_rest(), fees, calendar
        self.reports, self.names_are_once = reports.snapshot(), names_are_once
        self.otherwise: set[tuple[str, str, int]] = set()  # copies that differ from the origin's
        self._frames: dict[object, pl.DataFrame] = {}

    @property
    def customers(self) -> list[CustomerSystem]:
        """The customer-facing systems that are up."""
        return running(s for s in self.systems if isinstance(s, CustomerSystem))

    @property
    def firm(self) -> System:
        """The firm-side system."""
        return next(s for s in self.systems if s.kind is Kind.FIRM)

    def key(self, system: System, dataset: str) -> object:
        """What is equal for systems that hold the same records of a dataset."""
        own = {
            (code, log.count, system.name if copy in self.otherwise else "")
            for code, log in system.tables[dataset].logs.items()
            for copy in [(system.name, dataset, code)]
        }
        return dataset, frozenset(own)

    def frame(self, system: System, dataset: str) -> pl.DataFrame:
        """The records of a dataset that a system holds."""
        key = self.key(system, dataset)
        if key not in self._frames:
            self._frames[key] = pl.DataFrame(system.tables[dataset].arrow.combine_chunks())
        return self._frames[key]

    @cached_property
    def recorded(self) -> pl.DataFrame:
        """What the street-side systems hold, each record once, by ``record_id``."""
        return self.anywhere("executions", Kind.STREET)

    @cached_property
    def requested(self) -> pl.DataFrame:
        """What the customer-facing systems hold, each record once."""
        return self.anywhere("requests", Kind.CUSTOMER)

    def anywhere(self, dataset: str, *kinds: Kind) -> pl.DataFrame:
        """What systems of these kinds, or of any, hold of a dataset: each record once."""
        systems = [s for s in self.systems if dataset in s.tables and s.kind in (kinds or Kind)]
        frames = {self.key(system, dataset): self.frame(system, dataset) for system in systems}
        first, *more = frames.values()
        return pl.concat([first, *more]).unique("record_id").sort("record_id") if more else first


def run_of(code: int, start: int, stop: int) -> str:
    """The ids of the records of an origin from one position to another."""
    return span(make_id(code, start), stop - start)


def listed(records: Sequence[int] | pl.Series) -> str:
    """The ids of some records; the first few of many."""
    texts = [format_id(record) for record in records[:_IDS_MAX]]
    more = len(records) - len(texts)
    return ", ".join(texts) + (f" and {more:,} more" if more else "")


def more_than_one(records: pl.DataFrame, *keys: str) -> Iterator[tuple[Any, ...]]:
    """Of keys that several records have: the keys, and the records that have them."""
    again = records.filter(pl.struct(keys).is_duplicated()).sort("record_id")
    for *values, ids in again.group_by(keys, maintain_order=True).agg("record_id").iter_rows():
        yield *values, listed(ids)


def first_difference(one: pl.DataFrame, other: pl.DataFrame) -> tuple[str, str]:
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


def differences(
    system: CustomerSystem, than: str, answered: pl.DataFrame, due: pl.DataFrame
) -> Iterator[str]:
    """The first order, or balance, that is answered otherwise than is due, by which records."""
    if answered.schema != due.schema:
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
