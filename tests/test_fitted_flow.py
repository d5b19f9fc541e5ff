"""Goal: a market drawn from a seed has the habits of the day that it was fitted from.

Method: a tape of a few lines fitted by hand; a flow's own session fitted again; a flow from the
sample day beside the day itself.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.build import network
from tradesys.analytics import market, market_quality
from tradesys.analytics.flow_fitting import fit
from tradesys.cli import app
from tradesys.network import Network
from tradesys.network.fitted_flow import FittedFlow, Habits, read, run, write
from tradesys.network.scenario import START_NS
from tradesys.network.tape_replay import open_network
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import OpeningBooks
from tradesys.venue import tapes

SAMPLE = Path(__file__).parent.parent / "data" / "sample"

HABITS = Habits(
    per_second=2.0,
    taking=0.1,
    taken_qty=(100, 200),
    order_qty=(100, 100, 300),
    away=(100, 100, 200, 300),
    canceled=0.8,
    lifetime_s=(2.0, 6.0, 20.0),
    bid=50_0000,
    ask=50_0200,
)


def traded(
    habits: dict[str, Habits], *, seed: int = 1, seconds: float = 300, step_s: float = 1.0
) -> Network:
    books = OpeningBooks(symbols=list(habits), cash=10**14, shares=10**9)
    desk = Network(2, 1, firm=books, clock=ManualClock(START_NS))
    run(FittedFlow(desk, habits, seed=seed), seconds, step_s=step_s)
    return desk


def fitted_again(desk: Network) -> dict[str, Habits]:
    return fit(market.reports(desk["c1"].tables["executions"].frame))


def test_habits_are_the_counts_of_a_tape(tmp_path: Path) -> None:
    """Four orders in ten seconds, one canceled after three; then somebody takes from two."""
    path = tmp_path / "ECHO_2024-06-03_34200000_57600000_message_1.csv"
    path.write_text(
        "34200.0,1,1,100,500000,1\n"
        "34201.0,1,2,200,500300,-1\n"
        "34202.0,1,3,300,500100,1\n"
        "34203.0,1,4,400,499900,1\n"
        "34206.0,3,4,400,499900,1\n"
        "34210.0,4,3,300,500100,1\n"
        "34210.0,4,1,50,500000,1\n"
    )
    habits = fit(market.reports_of_tape(tapes.read(path)))["ECHO"]
    assert habits.per_second == 5 / 10
    assert habits.taking == 1 / 5
    assert set(habits.taken_qty) == {350}
    assert set(habits.order_qty) == {100, 200, 300, 400}
    assert set(habits.away) == {300, 200, 400}, "of those that came when the other side was there"
    assert habits.canceled == 1 / 4
    assert set(habits.lifetime_s) == {3.0}
    assert (habits.bid, habits.ask) == (500_000, 500_300)


def test_a_flow_fitted_again_has_its_own_habits() -> None:
    found = fitted_again(traded({"ALFA": HABITS}, seconds=800, step_s=2))["ALFA"]
    assert found.per_second == pytest.approx(HABITS.per_second, rel=0.1)
    assert found.taking == pytest.approx(HABITS.taking, rel=0.35)
    assert found.canceled == pytest.approx(HABITS.canceled, rel=0.15)
    assert set(found.order_qty) == set(HABITS.order_qty)
    assert sum(found.order_qty) / len(found.order_qty) == pytest.approx(500 / 3, rel=0.1)
    assert set(found.lifetime_s) <= {2.0, 6.0, 20.0}


def test_the_same_seed_gives_the_same_market() -> None:
    def executions(seed: int) -> list[tuple[object, ...]]:
        return traded({"ALFA": HABITS}, seed=seed, seconds=60).venue.reports.table().to_pylist()

    assert executions(1) == executions(1) != executions(2)


def test_a_market_is_audited_and_trades_at_both_sides_of_a_spread() -> None:
    desk = traded({"ALFA": HABITS, "BRVO": HABITS})
    assert desk.audit().verdict is True
    quality = market_quality.over_time(market.reports(desk["c1"].tables["executions"].frame))
    assert quality["symbol"].to_list() == ["ALFA", "BRVO"]
    assert (quality["spread"] > 0.0099).all()
    assert (quality["volume"] > 0).all()


def test_the_market_of_a_day_has_its_spread() -> None:
    reports = market.reports_of_tape(tapes.read(SAMPLE))
    day = market_quality.over_time(reports)
    desk = traded(fit(reports), seconds=1800, step_s=5)
    drawn = market_quality.over_time(market.reports(desk["c1"].tables["executions"].frame))
    assert drawn["symbol"].to_list() == day["symbol"].to_list()
    assert drawn["spread"].to_list() == pytest.approx(day["spread"].to_list(), rel=0.25)


def test_habits_are_kept_as_json(tmp_path: Path) -> None:
    write({"ALFA": HABITS}, tmp_path / "flow.json")
    assert read(tmp_path / "flow.json") == {"ALFA": HABITS}
    assert list(json.loads((tmp_path / "flow.json").read_text())["ALFA"]) == list(vars(HABITS))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}x",
        '{"ALFA": 1}',
        '{"ALFA": {"per_second": 1}}',
        json.dumps({"ALFA": vars(HABITS) | {"away": []}}),
        json.dumps({"ALFA": vars(HABITS) | {"away": ["x"]}}),
        json.dumps({"ALFA": vars(HABITS) | {"canceled": 1.5}}),
        json.dumps({"ALFA": vars(HABITS) | {"per_second": 0}}),
        json.dumps({"ALFA": vars(HABITS) | {"more": 1}}),
    ],
)
def test_what_are_no_habits_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "flow.json").write_text(text)
    with pytest.raises(InvalidValue, match="expected the habits of each symbol"):
        read(tmp_path / "flow.json")


def test_a_flow_needs_habits_of_each_symbol_an_order_book_and_a_clock_to_set() -> None:
    with pytest.raises(InvalidValue, match="symbol='DLTA': expected one of ALFA"):
        FittedFlow(network(), {"ALFA": HABITS})
    with pytest.raises(InvalidValue, match="a market with an order book"):
        FittedFlow(open_network(tapes.read(SAMPLE)), {"ALFA": HABITS})
    habits = dict.fromkeys(("ALFA", "BRVO", "CHRL"), HABITS)
    with pytest.raises(InvalidValue, match="a ManualClock"):
        run(FittedFlow(Network(), habits), 1)


@pytest.mark.parametrize("second", ["34201.0,1,2,100,500000,1", "34200.0,1,2,100,500100,-1"])
def test_a_tape_with_one_side_or_of_one_moment_is_not_fitted(tmp_path: Path, second: str) -> None:
    path = tmp_path / "ECHO_2024-06-03_34200000_57600000_message_1.csv"
    path.write_text(f"34200.0,1,1,100,500000,1\n{second}\n")
    with pytest.raises(InvalidValue, match="tape='ECHO': expected orders on both sides"):
        fit(market.reports_of_tape(tapes.read(path)))


def test_fit_writes_the_habits_of_each_symbol_of_a_tape(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["fit", str(SAMPLE), "--out", str(tmp_path / "flow.json")])
    assert told.exit_code == 0, told.output
    assert list(read(tmp_path / "flow.json")) == ["ALFA", "BRVO", "CHRL", "DLTA"]
    assert "ALFA" in told.output
