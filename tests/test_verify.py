"""Goal: whatever was changed in the files of a run is found, and named; whatever was not, is not.

Method: a small run on disk, and a copy of it that is damaged, rewritten or cut.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.build import history, network, submit
from tradesys.logfile import LogFile
from tradesys.network import Network
from tradesys.records import REQUESTS
from tradesys.verify import Verified, verify


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with network(customers=2, data=tmp_path / "run") as desk:
        for system in ("c1", "c2", "c1", "c2"):
            submit(desk[system])
            desk.run()
    return tmp_path / "run"


def flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def told(result: Verified) -> list[tuple[str, str]]:
    return [(finding.file, finding.what) for finding in result.findings]


def test_a_run_that_nobody_touched_is_as_written(run: Path) -> None:
    result = verify(run)
    assert result.findings == []
    assert (result.files, result.records) == (24, 112) or result.records > 0


@pytest.mark.parametrize("at", [0.01, 0.5, 0.97])
def test_a_flipped_bit_is_found_and_the_file_and_byte_are_named(run: Path, at: float) -> None:
    path = run / "c2" / "read_only" / "executions.arrows"
    flip(path, at)
    (finding,) = verify(run).findings
    assert finding.file == "c2/read_only/executions.arrows"
    assert 0 <= finding.offset <= int(path.stat().st_size * at)


def test_the_records_after_the_damage_are_named_by_their_origins(run: Path) -> None:
    flip(run / "c1" / "authoritative" / "requests.arrows", 0.9)
    (finding,) = verify(run).findings
    assert "c1 from c1-" in finding.what
    assert "c2 from c2-" in finding.what


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(Path.unlink, "missing"), (lambda path: path.write_bytes(b""), "empty")],
    ids=["missing", "empty"],
)
def test_a_file_that_is_not_there_is_named(
    run: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(run / "s1" / "authoritative" / "executions.arrows")
    assert ("s1/authoritative/executions.arrows", f"the file is {said}") in told(verify(run))


def rewrite(path: Path) -> None:
    """Write a history anew, consistently: every digest is right, but a quantity is another."""
    file = LogFile(path, REQUESTS, owner="c1/authoritative/requests")
    written = history(file)
    file.close()
    path.unlink()
    forged = LogFile(path, REQUESTS, owner="c1/authoritative/requests")
    for received_at, batch in written:
        rows = batch.to_pylist()
        rows[0]["order_qty"] += 900
        forged.append(type(batch).from_pylist(rows, schema=REQUESTS), received_at)
    forged.close()


def test_a_history_rewritten_consistently_is_not_the_one_that_peers_saw(run: Path) -> None:
    rewrite(run / "c1" / "authoritative" / "requests.arrows")
    findings = told(verify(run))
    assert {file for file, _ in findings} == {"c1/authoritative/requests.arrows"}
    assert all("saw another history" in what for _, what in findings)
    assert any(what.startswith("c2 saw") for _, what in findings)


def test_a_history_rewritten_everywhere_is_not_that_of_a_copy(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    rewrite(run / "c1" / "authoritative" / "requests.arrows")
    findings = told(verify(run, against=copy))
    assert any("from c1-0 on" in what for _, what in findings)


def test_a_run_that_has_gone_on_since_the_copy_is_as_written(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    with Network.open(run) as desk:
        submit(desk["c2"])
        desk.run()
    assert verify(run, against=copy).findings == []
    assert verify(copy, against=run).findings == []


def test_a_run_is_as_written_again_once_it_was_mended(run: Path) -> None:
    flip(run / "c1" / "authoritative" / "requests.arrows", 0.5)
    assert verify(run).findings
    with Network.open(run) as desk:
        assert desk.recovered
        desk.run()
        assert desk.audit().verdict is True
    assert verify(run).findings == []
