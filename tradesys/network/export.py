"""Writing a run's records as Parquet, for those who ask with DuckDB, Spark or polars."""

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds

from tradesys.log.disk import disk_errors, write_whole
from tradesys.log.log import Log
from tradesys.records.arrow import as_written
from tradesys.records.errors import InvalidValue
from tradesys.records.schemas import SCHEMAS, origin
from tradesys.systems.system import System

_PARTITIONS = pa.schema([("date", pa.date32()), ("origin", pa.utf8())])
_ROWS = 100_000  # of a row group


class Exported(NamedTuple):
    """What was written."""

    files: int
    records: dict[str, int]


def export(
    systems: Iterable[System], out: Path, *, progress: Callable[[int], object] = lambda _: None
) -> Exported:
    """Write every record that any of these systems holds, once.

    ``out/requests/date=2024-06-03/origin=c1/0.parquet`` and so on: one folder a dataset, in hive
    partitions by the day (UTC) of ``ts`` and by who wrote the record; the columns and types are
    those of :data:`~tradesys.records.schemas.SCHEMAS`, in sequence within a file.

    :param out: a folder that is new or empty; it appears when all is written.
    :param progress: told how many records are written so far.
    :raises InvalidValue: ``out`` holds something.
    :raises StorageError: the disk refused.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidValue("parquet", str(out), "a folder that is new or empty")
    counts = dict.fromkeys(SCHEMAS, 0)
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
            made = Path(folder) / out.name
            made.mkdir()
            for dataset, log in longest(systems):
                for batch in _partitioned(log):
                    ds.write_dataset(
                        batch,
                        made / dataset,
                        format="parquet",
                        basename_template=f"{counts[dataset]}-{{i}}.parquet",
                        partitioning=ds.partitioning(_PARTITIONS, flavor="hive"),
                        existing_data_behavior="overwrite_or_ignore",
                        use_threads=False,
                        max_rows_per_group=_ROWS,
                    )
                    counts[dataset] += batch.num_rows
                    progress(sum(counts.values()))
            made.rename(out)
    return Exported(len(list(out.rglob("*.parquet"))), counts)


def write_parquet(frame: pl.DataFrame, path: str | Path) -> None:
    """Write a frame as Parquet: the old file or the new one at any moment, and no half of one.

    :raises StorageError: the disk refused.
    """
    sink = io.BytesIO()
    frame.write_parquet(sink)
    write_whole(Path(path), sink.getvalue())


def longest(systems: Iterable[System]) -> Iterator[tuple[str, Log]]:
    """Each log once: of the copies that systems hold, one that has all that any of them has."""
    found: dict[tuple[str, int], Log] = {}
    for system in systems:
        for dataset, table in system.tables.items():
            for code, log in table.logs.items():
                if (dataset, code) not in found or found[dataset, code].count < log.count:
                    found[dataset, code] = log
    for (dataset, _), log in sorted(found.items(), key=lambda item: item[0]):
        yield dataset, log


def _partitioned(log: Log) -> Iterator[pa.RecordBatch]:
    """The records of a log in large batches, with the columns that they are partitioned by."""
    for at in range(0, log.count, 10 * _ROWS):
        batch = log.since(at, 10 * _ROWS)
        assert batch is not None
        batch = as_written(batch)
        dates = batch["ts"].cast(pa.timestamp("s", "UTC"), safe=False).cast(pa.date32())
        names = pa.repeat(str(origin(log.code)), batch.num_rows)
        yield batch.append_column("date", dates).append_column("origin", names)
