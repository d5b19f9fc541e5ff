"""Goal: any file under a data folder opens, at any moment, with the readers that people have.

Method: a run that has files of every kind is read file by file with pyarrow, polars and DuckDB
(through pyarrow), while it is being written and after it was closed.
"""

from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from tests.build import filled, network, submit
from tradesys.log import file as logfile

KINDS = {
    "what is written to": "c1/authoritative/requests.arrows",
    "a replica": "c2/read_only/executions.arrows",
    "the venue's reports": "venue/reports.arrows",
    "an incarnation": "s1/incarnation.arrows",
    "the network": "network.arrows",
}


def by_duckdb(path: Path) -> int:
    records = pa.ipc.open_stream(path).read_all()  # noqa: F841, DuckDB finds it by its name
    relation = duckdb.sql("select received_at from records")
    assert relation is not None
    return len(relation.pl())


READERS: dict[str, Callable[[Path], int]] = {
    "pyarrow": lambda path: len(pa.ipc.open_stream(path).read_all()["received_at"]),
    "polars": lambda path: len(pl.read_ipc_stream(path)["received_at"]),
    "duckdb": by_duckdb,
}


@pytest.mark.parametrize("reader", READERS)
def test_any_file_opens_while_it_is_written_and_after_it_was_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    monkeypatch.setattr(logfile, "_MANY_BATCHES", 1)  # those of two are rewritten when closed
    read = READERS[reader]

    def rows() -> dict[str, int]:
        paths = sorted(tmp_path.rglob("*.arrows"))
        return {str(path.relative_to(tmp_path)): read(path) for path in paths}

    with network(2, 1, data=tmp_path) as desk:
        assert set(rows()) >= {KINDS["what is written to"], KINDS["the venue's reports"]}
        for _ in range(4):
            filled(desk, order_qty=10)
        desk.lose_disk("s1")
        for _ in range(3):
            submit(desk["c1"], order_qty=10)
            rows()
        desk.run()
        written = rows()
        assert set(KINDS.values()) <= set(written)
        held = sum(len(table) for system in desk for table in system.tables.values())
        of_systems = written["s1/incarnation.arrows"] + written["network.arrows"]
        other = of_systems + desk.venue.reports.count
        assert sum(written.values()) == held + other
    assert sum(rows().values()) >= held
