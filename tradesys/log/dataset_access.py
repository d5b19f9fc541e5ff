"""A dataset at one system as its users see it: all that can be read, and ``append`` to one's own.

Taking records in is replication's, and has no place here: nothing that a user is handed writes data
which another kind of system writes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from tradesys.log.table import Rows, Table
from tradesys.records.formatting import html


class Dataset:
    """One dataset at one system, authoritative or read-only there.

    ``arrow`` and ``frame`` give every record held, by origin and sequence, so that two systems with
    equal ``positions`` show equal records whatever the order of arrival. The last column is this
    system's own: ``received_at``, when it received the record.
    """

    __slots__ = ("_table", "_write")

    def __init__(self, table: Table, write: Callable[[str, Rows], pa.RecordBatch]) -> None:
        self._table = table
        self._write = write

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        return f"{self._table!r}"

    def _repr_html_(self) -> str:
        return f"<b>{repr(self)[1:-1]}</b>{html(self.frame)}"

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of what is held: of a record, and ``received_at``."""
        return self._table.schema

    @property
    def positions(self) -> dict[str, int]:
        """How many records of each origin are held: exactly what this system knows."""
        return self._table.positions

    @property
    def arrow(self) -> pa.Table:
        """Every record held, as an Arrow table; no copy is made."""
        return self._table.arrow

    @property
    def frame(self) -> pl.DataFrame:
        """Every record held, as a polars frame."""
        return self._table.frame

    def has(self, record_id: int) -> bool:
        """Whether the record with this id is held."""
        return self._table.has(record_id)

    def rows(self, record_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The records with these ids, as dictionaries, in the order asked for."""
        return self._table.rows(record_ids)

    def append(self, rows: Rows) -> pa.RecordBatch:
        """Write records of one's own; ``record_id`` and ``ts`` are given by the system.

        :raises ReadOnlyError: another kind of system writes this dataset.
        :raises InvalidValue: requests come from order entry, executions from the market only.
        :raises SchemaError: a key is missing, unknown, or holds the wrong type.
        """
        return self._write(self._table.dataset, rows)
