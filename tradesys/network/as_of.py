"""What a system could have answered at a time, and what one system knows that another does not."""

from collections.abc import Iterator, Mapping

import polars as pl

from tradesys.records import argument_checks as given
from tradesys.records.clock import Time, to_ns
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.firm import FirmSystem
from tradesys.systems.system import Place, System

_Answers = CustomerSystem | FirmSystem


class Past(Mapping[str, _Answers]):
    """The systems that answer inquiries, each with what it had received by a time."""

    def __init__(self, systems: Mapping[str, System], time: Time) -> None:
        self.time_ns = to_ns(time, "as_of")
        self._systems = {n: s for n, s in systems.items() if isinstance(s, _Answers)}
        self._known: dict[str, _Answers] = {}

    def __getitem__(self, name: object) -> _Answers:
        found = given.one_of("system", name, self._systems)
        if found not in self._known:
            self._known[found] = _at(self._systems[found], self.time_ns)
        return self._known[found]

    def __iter__(self) -> Iterator[str]:
        return iter(self._systems)

    def __len__(self) -> int:
        return len(self._systems)


def _at(system: _Answers, time_ns: int) -> _Answers:
    """A system with the prefix of its data that it had received by a time; it shares the memory."""
    kind = CustomerSystem if isinstance(system, CustomerSystem) else FirmSystem
    past = kind(Place(system.origin, lambda: time_ns, calendar=system.calendar))
    for dataset, table in system.tables.items():
        for log in table.logs.values():
            past.tables[dataset].take([*log.between(0, log.received_by(time_ns))])
    past.down = "it shows what it knew at a time"
    return past


def difference(one: System, other: System) -> pl.DataFrame:
    """The records that one of two systems holds and the other lacks, of datasets that both hold.

    :returns: ``dataset``, ``record_id`` (uint64), ``ts``, ``held_by``, ``lacking``, by dataset and
        record; empty when both know the same.
    """
    parts = [_NOTHING]
    for dataset in one.tables.keys() & other.tables.keys():
        mine, theirs = one.tables[dataset], other.tables[dataset]
        for code in mine.logs.keys() | theirs.logs.keys():
            counts = mine.count(code), theirs.count(code)
            if counts[0] == counts[1]:
                continue
            ahead, behind = (one, other) if counts[0] > counts[1] else (other, one)
            more = ahead.tables[dataset].read(code, min(counts), max(counts) - min(counts))
            parts.append(
                pl.DataFrame(more.select(["record_id", "ts"])).select(
                    pl.lit(dataset).alias("dataset"),
                    "record_id",
                    "ts",
                    pl.lit(ahead.name).alias("held_by"),
                    pl.lit(behind.name).alias("lacking"),
                )
            )
    return pl.concat(parts).sort("dataset", "record_id")


_NOTHING = pl.DataFrame(
    schema={
        "dataset": pl.String,
        "record_id": pl.UInt64,
        "ts": pl.Datetime("ns", "UTC"),
        "held_by": pl.String,
        "lacking": pl.String,
    }
)
