"""How far logs have been read or are held: a count of records for each dataset and origin."""

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from tradesys.log.table import Tables

Key = tuple[str, int]
"""A dataset, and the 16-bit code of an origin."""


class Offsets(Mapping[Key, int]):
    """How many records of each dataset and origin, from the first on; of any other, none.

    It does not change. Logs only grow, so offsets say all that has to be kept of a moment.

    >>> Offsets({("requests", 0x4100): 3}).minus(Offsets({("requests", 0x4100): 1}))
    Offsets({('requests', 16640): 2})
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[Key, int] | Iterable[tuple[Key, int]] = ()) -> None:
        self._counts: dict[Key, int] = dict(counts)

    @classmethod
    def of(cls, tables: Tables, datasets: Iterable[str] | None = None) -> "Offsets":
        """What tables hold, of some datasets or of all."""
        return cls(
            ((dataset, code), log.count)
            for dataset in (tables if datasets is None else datasets)
            for code, log in tables[dataset].logs.items()
        )

    def __getitem__(self, key: Key) -> int:
        return self._counts.get(key, 0)

    def __contains__(self, key: object) -> bool:
        return key in self._counts

    def __iter__(self) -> Iterator[Key]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def __repr__(self) -> str:
        return f"Offsets({self._counts})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Offsets) and self._counts == other._counts

    def __hash__(self) -> int:
        return hash(frozenset(self._counts.items()))

    def covers(self, other: "Offsets") -> bool:
        """Whether all that ``other`` counts is counted here."""
        return all(self[key] >= count for key, count in other.items())

    def minus(self, other: "Offsets") -> "Offsets":
        """How many records are counted here beyond those of ``other``, where there are any."""
        beyond = ((key, count - other[key]) for key, count in self.items())
        return Offsets((key, count) for key, count in beyond if count > 0)

    def total(self) -> int:
        """How many records in all."""
        return sum(self._counts.values())


class Cursor:
    """Reads what tables hold, each record once, in no particular order: the rest at each reading.

    :param at: what has been read already; nothing by default.
    """

    def __init__(self, tables: Tables, at: Mapping[Key, int] | None = None) -> None:
        self._tables = tables
        self._read = dict(at or {})

    @property
    def offsets(self) -> Offsets:
        """What has been read."""
        return Offsets(self._read)

    @property
    def waiting(self) -> int:
        """How many records are to be read."""
        return Offsets.of(self._tables).total() - self.offsets.total()

    def read(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """What has come since the last reading, each batch with its dataset.

        A log counts as read once all of what it gave has been used.
        """
        for dataset, table in self._tables.items():
            for code, log in table.logs.items():
                start, count = self._read.get((dataset, code), 0), log.count
                if start < count:
                    for batch in log.batches(start):
                        yield dataset, batch
                    self._read[dataset, code] = count
