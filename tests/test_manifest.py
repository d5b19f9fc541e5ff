"""A data folder says what network it holds, and nothing is guessed.

Goal: a network whose making was cut short is completed when it is opened, its books opened once;
what is missing later was lost; another network is not put into the folder.
Method: the process is killed before one in three of the writes that making a network takes; folders
of systems taken away; every byte of the manifest changed.
"""

import itertools
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.build import BOOKS, NOON, PRICE, contents, filled, network, sound, state, stopped, submit
from tests.test_venue import tape
from tradesys.network import Network
from tradesys.network.file_verification import verify
from tradesys.network.manifest import FILE, Manifest, read_manifest
from tradesys.records.clock import ManualClock
from tradesys.records.errors import DamagedError, InvalidValue
from tradesys.records.opening_books import OpeningBooks
from tradesys.venue import TapeVenue

CLOCK = ManualClock(NOON)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a network of two and two that was closed after a fill."""
    with network(2, 2, data=tmp_path / "run") as desk:
        filled(desk)
    return tmp_path / "run"


def reopened(folder: Path, **options: Any) -> Network:
    return Network.open(folder, clock=CLOCK, **options)


@pytest.mark.parametrize(
    ("field", "names"),
    [("accounts", ["bob", name]) for name in ("clearing", "capital", "fees")]
    + [("symbols", ["ALFA", "USD"])],
)
def test_books_do_not_open_with_names_that_are_the_firms_own(field: str, names: Any) -> None:
    with pytest.raises(InvalidValue, match="the firm's own") as raised:
        OpeningBooks(**{field: names})
    assert raised.value.field == field


def test_a_folder_says_in_a_standard_stream_of_one_row_what_it_holds(folder: Path) -> None:
    (row,) = pa.ipc.open_stream((folder / FILE).read_bytes()).read_all().to_pylist()
    assert (row["customers"], row["streets"], row["venue"], row["is_made"]) == (2, 2, "book", True)
    assert (row["accounts"], row["cash"]) == (["alice", "bob"], BOOKS.cash)


def test_a_network_whose_making_was_cut_short_is_completed_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for after in itertools.count(step=3):
        run = tmp_path / str(after)
        if not stopped(partial(network, data=run), after, monkeypatch):
            break
        if read_manifest(run) is None:
            with pytest.raises(InvalidValue, match="a folder with the files of a network"):
                reopened(run)
            network(data=run).close()
        with reopened(run) as desk:
            assert [str(system.origin) for system in desk] == ["c1", "s1", "firm"]
            assert not desk.recovered
            written = {name: len(table) for name, table in desk.firm.authoritative.items()}
            assert written == {"accounts": 2, "instruments": 2, "postings": 9}
            desk.run()
            filled(desk)
            assert desk.audit().verdict is True, f"stopped after {after}"
    assert after > 20, "the files of three systems, the manifest twice, the books"


@pytest.mark.parametrize("name", ["c1", "c2", "s2", "firm"])
def test_a_system_whose_folder_is_missing_has_lost_its_disk(folder: Path, name: str) -> None:
    shutil.rmtree(folder / name)
    missing = [f.file for f in verify(folder).findings if f.what == "the file is missing"]
    assert missing
    assert all(file.startswith(f"{name}/") for file in missing)
    with reopened(folder) as desk:
        assert [(r.system, r.incarnation) for r in desk.recovered] == [(name, f"{name}.1")]
        assert len(desk.firm.tables["postings"]) == 9 + 8
        desk.run()
        assert sound(desk.audit())
        filled(desk)
        assert sound(desk.audit())


def test_the_record_of_the_market_is_missed(folder: Path) -> None:
    shutil.rmtree(folder / "venue")
    (found,) = verify(folder).findings
    assert found.file == "venue/reports.arrows"
    assert "missing" in found.what


def test_the_audit_names_what_was_lost_with_a_folder(folder: Path) -> None:
    with reopened(folder) as desk:
        desk.partition("c1", "c2", "firm")
        lost = submit(desk["c1"])
        desk.run()
    shutil.rmtree(folder / "c1")
    with reopened(folder) as desk:
        desk.run()
        audit = desk.audit()
        assert audit.verdict is False
        found = [text for check in audit.checks for text in check.found]
        assert [text for text in found if str(lost) in text]


@pytest.mark.parametrize(
    ("counts", "market", "asked"),
    [
        ((3, 2), {}, "3 customer-facing and 2 street-side systems with a book"),
        ((2, 1), {}, "2 customer-facing and 1 street-side systems with a book"),
        ((2, 2), {"venue": partial(TapeVenue, tape())}, "systems with a tape"),
    ],
)
def test_another_network_is_not_made_in_a_folder_that_holds_one(
    folder: Path, counts: tuple[int, int], market: Any, asked: str
) -> None:
    before = contents(folder)
    with pytest.raises(InvalidValue) as raised:
        network(*counts, data=folder, **market)
    assert raised.value.field == "data"
    assert asked in raised.value.expected
    assert "it holds 2 customer-facing and 2 street-side" in raised.value.expected
    assert contents(folder) == before


def test_a_folder_of_systems_that_does_not_say_what_it_is_is_refused(folder: Path) -> None:
    (folder / FILE).unlink()
    before = contents(folder)
    with pytest.raises(InvalidValue, match=FILE):
        reopened(folder)
    with pytest.raises(InvalidValue, match=FILE):
        network(2, 2, data=folder)
    assert contents(folder) == before
    assert [finding.file for finding in verify(folder).findings] == [FILE]


def test_a_manifest_that_was_changed_is_told_and_never_believed(folder: Path) -> None:
    path = folder / FILE
    data, written = path.read_bytes(), read_manifest(folder)
    found = 0
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            assert read_manifest(folder) == written
        except DamagedError:
            found += 1
    assert found == len(data), "every byte of it counts"
    path.write_bytes(data[:-200])
    with pytest.raises(DamagedError, match="put it back"):
        reopened(folder)
    assert [finding.file for finding in verify(folder).findings] == [FILE]


@pytest.mark.parametrize("counts", [(0, 1), (1, 64), (None, 1), (True, 1), (2.0, 1), ("2", 1)])
def test_a_manifest_has_1_to_63_systems_of_a_kind(counts: tuple[Any, Any]) -> None:
    with pytest.raises(InvalidValue, match="a whole number of"):
        Manifest(*counts, "book")


# A tape that is opened again.


@pytest.fixture
def taped(tmp_path: Path) -> Path:
    """A run of a tape of which one fill of three has happened: of an order that is still open."""
    fills = tape((3, 3, "A", 30), (5, 5, "A", 20), (7, 7, "B", 10))
    with network(data=tmp_path / "run", venue=partial(TapeVenue, fills)) as desk:
        assert isinstance(desk.venue, TapeVenue)
        submit(desk["c1"], cl_ord_id="A")
        desk.venue.advance(4)
        desk.run()
    return tmp_path / "run"


def test_a_tape_that_is_opened_again_is_over(taped: Path) -> None:
    with reopened(taped) as desk:
        assert isinstance(desk.venue, TapeVenue)
        (first,) = desk["c1"].statuses()["order_id"]
        assert state(desk["c1"], first) == ("partially_filled", 100, 30, 70)
        buy, sell = submit(desk["c1"], cl_ord_id="B"), submit(desk["c1"], side="sell")
        desk["c1"].cancel(first)
        desk.run()
        assert state(desk["c1"], first) == ("canceled", 100, 30, 0)
        assert [state(desk["c1"], o)[0] for o in (buy, sell)] == ["new", "new"], "nothing crosses"
        assert desk.audit().verdict is True


def test_a_tape_that_is_handed_in_again_goes_on_after_what_it_has_reported(taped: Path) -> None:
    fills = tape((3, 3, "A", 30), (5, 5, "A", 20), (7, 7, "B", 10))
    with reopened(taped, venue=partial(TapeVenue, fills)) as desk:
        assert isinstance(desk.venue, TapeVenue)
        submit(desk["c1"], cl_ord_id="B", price=PRICE)
        desk.venue.advance(9)
        desk.run()
        assert desk["c1"].statuses()["cum_qty"].to_list() == [50, 10]
        assert desk.audit().verdict is True


def test_a_market_of_ones_own_is_handed_in_again(tmp_path: Path) -> None:
    def market(**options: Any) -> TapeVenue:
        return TapeVenue(tape(), **options)

    network(data=tmp_path, venue=market).close()
    with pytest.raises(InvalidValue, match="the market of this folder: market"):
        reopened(tmp_path)
    reopened(tmp_path, venue=market).close()
