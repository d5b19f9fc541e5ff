"""Goal: whoever is measured beside ours does the same job, and makes the checks that it says.

Method: a generated day of four symbols, whole and one event at a time: answers and numbers of
records are equal. Then a step in which one row breaks one rule: nobody takes it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.benchmarks.peers import job
from tests.benchmarks.peers.events import Events
from tests.benchmarks.peers.floor import Floor
from tests.benchmarks.peers.ours import Ours
from tests.benchmarks.peers.postgres import Postgres
from tests.benchmarks.peers.single_floor import SingleFloor
from tests.benchmarks.peers.sqlite import SQLite
from tradesys.venue import tapes
from tradesys.venue.tapes import Tape, sample_tape

PEERS: dict[str, Callable[[], job.Peer]] = {
    "floor": Floor,
    "floor, single orders": SingleFloor,
    "SQLite": SQLite,
    "eventsourcing": Events,
}
BROKEN: dict[str, tuple[str, Any]] = {
    "no such account": ("account", "Z000"),
    "no such symbol": ("symbol", "NONE"),
    "no side": ("side", "hold"),
    "no shares": ("order_qty", 0),
    "half a tick": ("price", 50_0050),
    "more than there is": ("order_qty", 2_000_000_000),
}


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    folder = tmp_path_factory.mktemp("day")
    sample_tape.generate(folder, events=6_000)
    return tapes.read(folder)


@pytest.fixture(params=[*PEERS, "PostgreSQL"])
def peer(request: pytest.FixtureRequest) -> job.Peer:
    if request.param == "PostgreSQL":
        return Postgres(request.getfixturevalue("server"))
    return PEERS[request.param]()


def done(peer: job.Peer, folder: Path, tape: Tape, batch: int) -> tuple[list[job.Answers], object]:
    folder.mkdir()
    peer.open(folder, tape)
    for step in job.steps(tape, batch):
        peer.step(step)
    found = peer.answers(), peer.counts()
    peer.close()
    return found


@pytest.mark.parametrize("batch", [1, 700])
def test_everybody_comes_to_the_same(
    peer: job.Peer, tape: Tape, tmp_path: Path, batch: int
) -> None:
    part = job.one_at_a_time(tape, 400) if batch == 1 else tape
    expected, records = done(Ours(singly=batch == 1), tmp_path / "ours", part, batch)
    found, copies = done(peer, tmp_path / "theirs", part, batch)
    assert job.difference(expected, found) is None
    assert copies == records


def test_a_difference_is_found(tape: Tape, tmp_path: Path) -> None:
    answers, _ = done(Floor(), tmp_path / "run", tape, 700)
    other = answers[2].positions
    assert isinstance(other, pl.DataFrame)
    changed = [
        *answers[:2],
        job.Answers(answers[2].orders, other.with_columns(pl.col("amount") + 1)),
    ]
    assert str(job.difference(answers, changed)).startswith("c3, positions, row 0")


def refused(peer: job.Peer, folder: Path, tape: Tape, column: str, row: int, value: Any) -> bool:
    """Whether a peer refuses the first step with another value in a row of c1's."""
    peer.open(folder, tape)
    step = job.steps(tape, 700)[0]
    rows = pl.DataFrame(step.tables[0])
    changed = rows.with_columns(
        pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(column).alias(column)
    ).cast({column: rows.schema[column]})
    table = changed.to_arrow(compat_level=pl.CompatLevel.oldest())
    try:
        peer.step(step._replace(tables=(table, *step.tables[1:])))
    except NotImplementedError:
        return True
    finally:
        peer.close()
    return False


@pytest.mark.parametrize("rule", BROKEN)
def test_nobody_takes_what_breaks_a_rule(
    peer: job.Peer, tape: Tape, tmp_path: Path, rule: str
) -> None:
    assert refused(peer, tmp_path, tape, BROKEN[rule][0], 0, BROKEN[rule][1])


def test_nobody_takes_a_name_twice(peer: job.Peer, tape: Tape, tmp_path: Path) -> None:
    rows = pl.DataFrame(job.steps(tape, 700)[0].tables[0])
    (account,) = rows["account"].mode().head(1)
    first, second = rows.with_row_index().filter(account=account).head(2)["index"]
    assert refused(peer, tmp_path, tape, "cl_ord_id", second, rows["cl_ord_id"][first])


@pytest.mark.parametrize("name", ["nothing", None])
def test_nobody_cancels_what_is_not_there(
    peer: job.Peer, tape: Tape, tmp_path: Path, name: str | None
) -> None:
    rows = pl.DataFrame(job.steps(tape, 700)[0].tables[0])
    (row, *_) = rows.with_row_index().filter(request_type="cancel")["index"]
    assert refused(peer, tmp_path, tape, "orig_cl_ord_id", row, name)
