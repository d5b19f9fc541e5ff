"""Goal: what is exported is every record once, and the tools of analysts read it as it is.

Method: a run of two days is exported and read back by DuckDB, polars and pyarrow, and compared with
the tables of the systems.
"""

from pathlib import Path

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest
from typer.testing import CliRunner

from tests.build import NOON, filled, network, submit
from tradesys.cli import app
from tradesys.network import Network
from tradesys.network.export import export
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue, StorageError
from tradesys.records.schemas import SCHEMAS

DAY_NS = 86_400_000_000_000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two days of a run; c2 has not heard of the last order."""
    clock = ManualClock(NOON)
    with network(2, 1, data=tmp_path / "run", clock=clock) as desk:
        filled(desk)
        clock.now += DAY_NS
        filled(desk, order_qty=20)
        submit(desk["c2"])
        desk.run()
        submit(desk["c1"])
    return tmp_path / "run"


def by_duckdb(folder: Path) -> pl.DataFrame:
    files = f"{folder}/**/*.parquet"
    rows = duckdb.sql(f"select * from read_parquet('{files}', hive_partitioning=true)")
    assert rows is not None
    return rows.pl()


def by_polars(folder: Path) -> pl.DataFrame:
    return pl.scan_parquet(folder, hive_partitioning=True).collect()


def by_pyarrow(folder: Path) -> pl.DataFrame:
    table = ds.dataset(folder, format="parquet", partitioning="hive").to_table()
    return pl.DataFrame(table)


READERS = {"duckdb": by_duckdb, "polars": by_polars, "pyarrow": by_pyarrow}


def expected(folder: Path, system: str, dataset: str) -> pl.DataFrame:
    with Network.open(folder) as desk:
        return desk[system].tables[dataset].frame.sort("record_id").drop("received_at")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("dataset", SCHEMAS)
def test_every_record_is_read_back_once_by_what_analysts_use(
    run: Path, tmp_path: Path, reader: str, dataset: str
) -> None:
    out = tmp_path / "out"
    with Network.open(run) as desk:
        result = export(desk, out)
    found = READERS[reader](out / dataset).sort("record_id")
    holder = {"requests": "c1", "executions": "s1"}.get(dataset, "firm")
    whole = expected(run, holder, dataset)
    assert found.select(whole.columns).cast(whole.schema).equals(whole)
    assert result.records[dataset] == len(whole)
    assert set(found.columns) - set(whole.columns) == {"date", "origin"}
    ids = found["record_id"]
    assert ids.is_unique().all()
    assert found["origin"].is_in(["c1", "c2", "s1", "firm"]).all()
    assert found["date"].cast(pl.String).equals(found["ts"].dt.date().cast(pl.String).alias("date"))


def test_a_day_and_an_origin_are_a_folder_each(run: Path, tmp_path: Path) -> None:
    with Network.open(run) as desk:
        export(desk, tmp_path / "out")
    days = sorted(p.name for p in (tmp_path / "out" / "requests").iterdir())
    assert days == ["date=2024-06-03", "date=2024-06-04"]
    origins = sorted(p.name for p in (tmp_path / "out" / "requests" / days[1]).iterdir())
    assert origins == ["origin=c1", "origin=c2"]


def test_what_one_system_holds_is_exported_at_it(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["export", str(run), "--parquet", str(tmp_path / "out"), "--at", "c2"]
    )
    assert done.exit_code == 0, done.output
    assert "5 requests" in done.output
    whole = expected(run, "c2", "requests")
    found = by_polars(tmp_path / "out" / "requests").sort("record_id")
    assert found["record_id"].equals(whole["record_id"])


def test_a_folder_that_holds_something_is_refused_and_left_as_it_is(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    with Network.open(run) as desk, pytest.raises(InvalidValue, match="new or empty"):
        export(desk, out)
    assert [p.name for p in out.iterdir()] == ["mine"]


def test_an_empty_folder_is_filled_and_no_folder_beside_it_is_touched(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out.new" / "requests").mkdir(parents=True)
    (tmp_path / "out.new" / "requests" / "half.parquet").write_text("half")
    with Network.open(run) as desk:
        export(desk, tmp_path / "out")
    assert len(by_polars(tmp_path / "out" / "requests")) == 6
    assert (tmp_path / "out.new" / "requests" / "half.parquet").exists()
    assert {path.name for path in tmp_path.iterdir()} >= {"out", "out.new"}
    assert not list(tmp_path.glob(".out*"))


def test_a_folder_that_cannot_be_made_is_a_storage_error(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    with Network.open(run) as desk, pytest.raises(StorageError, match="file"):
        export(desk, tmp_path / "file" / "out")
