"""Goal: whatever was changed in the files of a run is found, and named; whatever was not, is not.

Method: a small run on disk, and a copy of it that is damaged, rewritten or cut.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.build import filled, history, network, record_id, sound, submit
from tradesys.log.file import LogFile
from tradesys.log.verified_stream import END_OF_STREAM, Stream
from tradesys.network import Network
from tradesys.network.file_verification import Verified, verify
from tradesys.records.arrow import stamped
from tradesys.records.errors import StorageError
from tradesys.records.schemas import REPORTS, REQUESTS, held


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


def test_a_run_that_is_open_is_not_verified_as_its_files_are_being_written(run: Path) -> None:
    with Network.open(run), pytest.raises(StorageError, match="in use by another process"):
        verify(run)
    with pytest.raises(StorageError, match="in use by another process"), Network.open(run):
        verify(run)
    assert verify(run).findings == []


@pytest.mark.parametrize(
    "name",
    [
        "network.arrows",
        "c1/incarnation.arrows",
        "venue/reports.arrows",
        "c1/authoritative/requests.arrows",
    ],
)
def test_a_folder_in_the_place_of_a_file_is_named_and_not_opened(run: Path, name: str) -> None:
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    findings = {finding.file for finding in verify(run).findings}
    assert findings == {name}
    with pytest.raises(StorageError, match=name.rpartition("/")[2]):
        Network.open(run)
    assert (run / name).is_dir()


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


def rewrite(path: Path, first: int = 0) -> None:
    """Write a history anew, consistently: every digest is right, but quantities are others."""
    owner = str(Path(*path.parts[-3:]).with_suffix(""))
    written = history(path, REQUESTS, owner)
    path.unlink()
    forged = LogFile(path, REQUESTS, owner=owner)
    for n, (received_at, batch) in enumerate(written):
        rows = batch.to_pylist()
        rows[0]["order_qty"] += 900 if n >= first else 0
        again = type(batch).from_pylist(rows, schema=REQUESTS)
        forged.append(stamped(again, received_at))
    forged.close()


def cut(path: Path, messages: int) -> None:
    """Let a file end earlier: so many messages less, and otherwise as if it had been closed."""
    owner = str(Path(*path.parts[-3:]).with_suffix(""))
    end, _ = Stream(held(REQUESTS), owner).read(path).reached[-messages - 1]
    path.write_bytes(path.read_bytes()[:end] + END_OF_STREAM)


C1 = Path("c1/authoritative/requests.arrows")


@pytest.mark.parametrize("first", range(3))
def test_a_history_rewritten_consistently_is_not_the_one_that_peers_hold(
    run: Path, first: int
) -> None:
    rewrite(run / C1, first)
    findings = told(verify(run))
    assert any(f"than in {C1}" in what for _, what in findings)
    assert {file.split("/")[0] for file, _ in findings} >= {"c2", "firm"}


def test_a_replica_cut_between_two_records_only_lacks_what_it_fetches_again(run: Path) -> None:
    cut(run / C1, 1)
    assert verify(run).findings == []
    with Network.open(run) as desk:
        assert not desk.recovered
        assert desk.audit().verdict is None
        desk.run()
        assert desk.audit().verdict is True


@pytest.mark.parametrize("messages", [2, 3, 4])
def test_a_history_cut_between_two_records_is_not_the_one_that_peers_saw(
    run: Path, tmp_path: Path, messages: int
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    cut(run / C1, messages)
    assert {file for file, _ in told(verify(run))} == {str(C1)}
    # The shorter is the beginning of the longer, so another copy alone would not tell.
    assert told(verify(run, against=copy)) == told(verify(run))
    with Network.open(run) as desk:
        (recovered,) = desk.recovered
        assert (recovered.system, recovered.incarnation) == ("c1", "c1.1")
        submit(desk["c1"])
        desk.run()
        assert sound(desk.audit())


@pytest.mark.parametrize("cut", ["in its beginning", "after its beginning"])
def test_a_market_s_record_that_is_cut_short_lacks_what_was_recorded_of_it(
    run: Path, cut: str
) -> None:
    path = run / "venue" / "reports.arrows"
    begins, _ = Stream(held(REPORTS), "venue/reports").read(path).reached[0]
    os.truncate(path, begins if cut == "after its beginning" else 81)
    found = told(verify(run))
    assert {file for file, _ in found} == {"venue/reports.arrows"}
    assert re.search(r"s1 recorded v\S+, which is not in it", found[-1][1])
    short = "it is cut short: not even its beginning is whole"
    assert (found[0][1] == short) is (cut == "in its beginning")


@pytest.mark.parametrize("system", ["c2", "firm"])
def test_a_replica_rewritten_consistently_differs_from_its_origin_and_from_a_copy(
    run: Path, tmp_path: Path, system: str
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (path,) = (run / system).rglob("requests.arrows")
    rewrite(path)
    name = str(path.relative_to(run))
    assert (name, f"another c1-0 than in {C1}") in told(verify(run))
    told_against = [what for file, what in told(verify(run, against=copy)) if file == name]
    assert any("another history than" in what for what in told_against)
    with Network.open(run) as desk:
        assert desk.audit().verdict is False


def test_an_incarnation_that_is_not_as_written_is_named_and_never_gone_by(run: Path) -> None:
    with Network.open(run) as desk:
        desk.lose_disk("c1")
        desk.run()
    path = run / "c1" / "incarnation.arrows"
    data = path.read_bytes()
    for byte in range(0, len(data), 7):
        changed = bytearray(data)
        changed[byte] ^= 1 << byte % 8
        path.write_bytes(changed)
        assert ("c1/incarnation.arrows", "it does not say which incarnation this is") in told(
            verify(run)
        )
    with Network.open(run) as desk:
        (recovered,) = desk.recovered
        assert recovered.incarnation in ("c1.1", "c1.2")
        order = submit(desk["c1"])
        assert str(order).startswith(recovered.incarnation)
        desk.run()
        assert sound(desk.audit())
    assert verify(run).findings == []


def test_ids_that_do_not_follow_on_are_named_though_every_digest_is_right(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, owner = run / "c2/authoritative/requests.arrows", "c2/authoritative/requests"
    written = history(path, REQUESTS, owner)
    file = LogFile(path, REQUESTS, owner=owner)
    monkeypatch.setattr(LogFile, "_new", lambda _, batch, __: batch)
    (twice,) = (
        batch for _, batch in written if batch["record_id"][0].as_py() == record_id("c2", 1)
    )
    file.append(stamped(twice, written[-1][0]))
    file.close()
    monkeypatch.undo()
    (named,) = [f for f in verify(run).findings if "stand where" in f.what]
    assert "records c2-1 to c2-1 stand where 1 from c2-2 on should" in named.what
    assert named.file == f"{owner}.arrows"
    with Network.open(run) as desk:
        (damage,) = desk.recovered[0].damage
        assert "records c2-1 to c2-1 stand where" in damage.reason
        desk.run()
        assert sound(desk.audit())


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
        assert sound(desk.audit())
    assert verify(run).findings == []


@pytest.mark.parametrize("call", ["fdatasync", "pwrite", "fsync"])
def test_a_mending_that_the_disk_refuses_loses_nothing_and_is_done_at_the_next_opening(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with Network.open(run) as desk:
        known_to_nobody = submit(desk["c1"])
    flip(run / C1, 0.97)  # in that order's own record; those before it are whole
    flip(run / "firm" / "authoritative" / "postings.arrows", 0.5)
    real, refused = getattr(os, call), 0
    for at in range(1, 30):
        copy = Path(shutil.copytree(run, tmp_path / str(at)))
        calls = iter(range(1, 1000))

        def refuses(*args: object, calls: Iterator[int] = calls, at: int = at) -> object:
            if next(calls) == at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuses)
            try:
                Network.open(copy).close()
            except StorageError:
                refused += 1
        with Network.open(copy) as desk:
            held = desk["c1"].tables["requests"].frame["order_id"].to_list()
            assert len(held) == 4
            assert known_to_nobody.order_id not in held
            desk.run()
            assert sound(desk.audit()), str(desk.audit())
        assert verify(copy).findings == []
        shutil.rmtree(copy)
    assert refused > 0


def test_a_copy_that_lacks_files_vouches_for_nothing(tmp_path: Path) -> None:
    with network(data=tmp_path / "run") as desk:
        filled(desk)
    (tmp_path / "copy").mkdir()
    findings = verify(tmp_path / "run", tmp_path / "copy").findings
    assert "c1/authoritative/requests.arrows" in {finding.file for finding in findings}
    assert all("it is missing, so nothing vouches for it" in f.what for f in findings)
