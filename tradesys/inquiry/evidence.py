"""What an answer rests on: the records held when it was given, beside the best known."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from tradesys.inquiry.client_order_ids import NamesGiven
from tradesys.log.offsets import Offsets
from tradesys.log.table import Tables
from tradesys.records.schemas import format_id, make_id, origin


class Evidence:
    """The records that an answer of ``system`` rests on: of each origin, those up to a position.

    Logs only grow, so the positions are all that has to be kept of a moment: the rest is looked up
    when somebody asks.
    """

    __slots__ = ("_tables", "names", "offsets", "system")

    def __init__(self, system: str, tables: Tables, names: NamesGiven) -> None:
        self.system, self._tables, self.names = system, tables, names
        self.offsets = Offsets.of(tables)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evidence):
            return NotImplemented
        return (self.system, self.offsets) == (other.system, other.offsets)

    def __hash__(self) -> int:
        return hash((self.system, self.offsets))

    def __repr__(self) -> str:
        return f"<the evidence of {self.system}: {self.positions}>"

    @property
    def positions(self) -> dict[str, dict[str, int]]:
        """How many records of each origin, per dataset."""
        return {
            dataset: {
                str(origin(code)): count
                for (name, code), count in sorted(self.offsets.items())
                if name == dataset
            }
            for dataset in self._tables
        }

    @property
    def token(self) -> dict[str, int]:
        """What another system must hold to answer from no less: see ``at_least``."""
        return {
            str(origin(code)): count
            for (dataset, code), count in self.offsets.items()
            if dataset in ("requests", "executions")
        }

    def frame(self) -> pl.DataFrame:
        """The positions, and how old they are, as far as the system alone can tell.

        :returns: ``dataset, origin, records`` (int64), ``newest``: the ``ts`` of the last of them.
        """
        rows = [
            (dataset, str(origin(code)), count, self._ts(self._tables, dataset, code, count - 1))
            for (dataset, code), count in sorted(self.offsets.items())
        ]
        return pl.DataFrame(rows, schema=_FRAME, orient="row")

    def beside(self, others: Mapping[str, Tables], now: int) -> pl.DataFrame:
        """The positions beside the best that any of these systems holds.

        :param now: ns since 1970.
        :returns: as :meth:`frame`, and ``best`` (records), ``held_by``, ``behind`` (records),
            ``lacks``: the first record lacking, and ``age``: how long ago that one was written.
        """
        rows = []
        for dataset in self._tables:
            known = {n: tables[dataset] for n, tables in others.items() if dataset in tables}
            codes = {code for table in known.values() for code in table.logs}
            for code in sorted(codes | {c for d, c in self.offsets if d == dataset}):
                own = self.offsets[dataset, code]
                best, held_by = max((table.count(code), n) for n, table in known.items())
                newest = self._ts(self._tables, dataset, code, own - 1) if own else None
                lacking: list[Any] = [own, self.system, 0, None, None]
                if best > own:
                    age = now - self._ts(others[held_by], dataset, code, own)
                    lacking = [best, held_by, best - own, format_id(make_id(code, own)), age]
                rows.append([dataset, str(origin(code)), own, newest, *lacking])
        return pl.DataFrame(rows, schema=_FRAME | _BESIDE, orient="row")

    @staticmethod
    def _ts(tables: Tables, dataset: str, code: int, position: int) -> int:
        """When a record was written, in ns since 1970."""
        record = tables[dataset].read(code, position, 1)
        ts: int = record["ts"][0].value
        return ts


_FRAME: dict[str, Any] = {
    **dict.fromkeys(("dataset", "origin"), pl.String),
    "records": pl.Int64,
    "newest": pl.Datetime("ns", "UTC"),
}
_BESIDE: dict[str, Any] = {
    "best": pl.Int64,
    "held_by": pl.String,
    "behind": pl.Int64,
    "lacks": pl.String,
    "age": pl.Duration("ns"),
}
