"""Goal: a folder that an earlier format wrote is read, gone on with, and checked like any other.

Method: a genuine folder of format 2, from this package's systems over the framing and the schemas
of that format; what it says is compared with what the same run says today.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tests.build import contents, filled, network, run_of, submit
from tradesys.log import compaction, formats, segments
from tradesys.log import file as logfile
from tradesys.log.file import LogFile
from tradesys.log.framing import Framing
from tradesys.log.log import Row
from tradesys.network import Network, charter
from tradesys.network.verify import verify
from tradesys.records.arrow import batch_of
from tradesys.records.errors import StorageError
from tradesys.records.schemas import EXECUTIONS, REPORTS, REQUESTS, SCHEMAS


class Format2(Framing):
    """Frames today's batches as format 2 did: without what it could not say."""

    def __init__(self, today: pa.Schema, version: int = 2) -> None:
        super().__init__(today, version)

    def frame(self, batch: pa.RecordBatch, *rest: Any) -> tuple[memoryview, bytes]:
        return super().frame(downcast(batch, self.schema), *rest)

    def frame_rows(self, rows: list[Row], *rest: Any) -> tuple[bytearray, bytes]:
        message, head = self.frame(batch_of(self.today, rows), *rest)
        return bytearray(message), head


def downcast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch[name] for name in schema.names], schema=schema)


def trade(desk: Network) -> None:
    """Orders filled, open and refused, a cancel, and a system that lost its disk."""
    filled(desk)
    submit(desk["c1"], order_qty=40, cl_ord_id="open")
    submit(desk["c2"], order_qty=10**6)
    desk.run()
    order = submit(desk["c1"], order_qty=30)
    desk.run()
    desk["c2"].cancel(order)
    desk.run()


@pytest.fixture(params=[False, True], ids=["one segment", "sealed segments"])
def old(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of format 2."""
    folder = tmp_path / "old"
    with pytest.MonkeyPatch.context() as then:
        for module in (charter, compaction, logfile, segments):
            then.setattr(module, "framing_of", Format2)
        if request.param:
            then.setattr(logfile, "SEGMENT_RUNS", 2)
        with network(2, 1, data=folder) as desk:
            trade(desk)
    for path in folder.rglob("*.arrows"):
        assert b"tradesys-format-2" in path.read_bytes()
    return folder


@pytest.fixture
def today(tmp_path: Path) -> Path:
    """The same run as it is written today."""
    with network(2, 1, data=tmp_path / "today") as desk:
        trade(desk)
    return tmp_path / "today"


def said(folder: Path) -> list[object]:
    """All that a run holds and answers, and when it was received."""
    with Network.open(folder) as desk:
        assert not desk.recovered
        assert desk.audit().verdict is True
        told: list[object] = [desk.summary()]
        for system in desk:
            for table in system.tables.values():
                told += [table.frame.to_dicts(), [a[:4] for a in table.arrivals]]
        told += [answer.to_dicts() for c in desk.customers for answer in (c.statuses(),)]
    return told


def test_what_an_earlier_format_said_is_said_today(old: Path, today: Path) -> None:
    assert said(old) == said(today)


def test_a_file_of_an_earlier_format_is_sealed_and_gone_on_with_in_todays(old: Path) -> None:
    with Network.open(old) as desk:
        filled(desk)
        assert desk.audit().verdict is True
        rows = desk.summary()
    written_to = [p for p in old.rglob("*.arrows") if "." not in p.stem]
    assert all(b"tradesys-format-3" in p.read_bytes() for p in written_to if p.parent != old)
    with Network.open(old) as again:
        assert again.summary() == rows
        assert again.audit().verdict is True


def test_a_run_of_an_earlier_format_is_verified_before_and_after_it_was_opened(
    old: Path, tmp_path: Path
) -> None:
    assert verify(old).findings == []
    before = contents(old)
    Network.open(old).close()
    for name, data in before.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(data)
    assert verify(old).findings == []
    assert verify(old, against=tmp_path / "copy").findings == []
    assert verify(tmp_path / "copy", against=old).findings == []


@pytest.mark.parametrize("at", [0.2, 0.6, 0.95])
def test_damage_in_a_file_of_an_earlier_format_is_mended_too(old: Path, at: float) -> None:
    path = old / "c2" / "read_only" / "executions.arrows"
    if path.stat().st_size < 5000:
        path = min(path.parent.glob("executions.0*[0-9].arrows"))
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 4
    path.write_bytes(data)
    assert verify(old).findings
    with Network.open(old) as desk:
        assert [each.system for each in desk.recovered] == ["c2"]
        desk.run()
        assert desk.audit().verdict is True
    assert verify(old).findings == []


@pytest.mark.parametrize("schema", [REQUESTS, EXECUTIONS, REPORTS])
def test_a_record_of_an_earlier_format_keeps_saying_what_it_said(schema: pa.Schema) -> None:
    before = formats.schema_in(2, schema)
    assert set(schema.names) - set(before.names) == {"expire_time"}
    assert not before.field("cl_ord_id").nullable
    dataset = next((name for name, each in SCHEMAS.items() if each is schema), "executions")
    batch = run_of(dataset, "c1", 3).select([n for n in before.names if n != "exec_id"][:3])
    whole = pa.RecordBatch.from_arrays(
        [
            batch[n] if n in batch.schema.names else pa.nulls(3, before.field(n).type)
            for n in before.names
        ],
        names=before.names,
    )
    cast = formats.upcast(whole, schema)
    assert cast.schema == schema
    assert cast["expire_time"].null_count == 3
    assert pl.DataFrame(cast.select(before.names)).equals(pl.DataFrame(whole))


@pytest.mark.parametrize("of", [lambda p: p, lambda p: next(p.parent.glob("requests.0*.arrows"))])
def test_a_later_format_is_refused_by_name_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: Callable[[Path], Path]
) -> None:
    path = tmp_path / "requests.arrows"
    monkeypatch.setattr(logfile, "_TINY_RUNS", 2)
    file = LogFile(path, REQUESTS)
    for n in range(3):
        file.append(run_of("requests", "c1", 1, n), n)
    file.close(lambda _, start, rows: run_of("requests", "c1", rows, start))
    later = of(path)
    later.write_bytes(later.read_bytes().replace(b"tradesys-format-3", b"tradesys-format-4"))
    before = contents(tmp_path)
    with pytest.raises(StorageError, match=f"{later.name}: format 4; .* up to format 3"):
        LogFile(path, REQUESTS)
    assert contents(tmp_path) == before
