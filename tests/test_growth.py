"""Goal: no cost changes its kind: what is in proportion stays so, and what is level stays level.

Method: processor time, never the clock, and only ratios of medians of acts that take turns in one
process. Four times as much is in proportion 4, and quadratic 16; the bound is 9, three for each
doubling. How fast anything is, this does not guard: the benchmarks measure that.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.build import NOON, PRICE
from tradesys.network import Network
from tradesys.network.tape_replay import open_network, replay
from tradesys.records.clock import ManualClock
from tradesys.records.opening_books import OpeningBooks
from tradesys.systems.customer import CustomerSystem
from tradesys.venue import tapes
from tradesys.venue.tapes import Tape, sample_tape

ROUNDS = 5
MOST = 9
"""So much dearer four times as much may be."""

LEVEL = 3
"""So much dearer may be what should cost the same."""

OF_A_GROUP_BY = 100
"""So many times a group-by of its rows may a table of 1,000 orders cost; it is about ten."""


def costs(*acts: Callable[[], object]) -> list[float]:
    """The median processor time of each; the first round does not count."""
    taken: list[list[float]] = [[] for _ in acts]
    for _ in range(ROUNDS + 1):
        for act, found in zip(acts, taken, strict=True):
            start = time.process_time()
            act()
            found.append(time.process_time() - start)
    return [statistics.median(found[1:]) for found in taken]


def desk(accounts: int = 4, symbols: int = 4) -> Network:
    names = [f"A{n}" for n in range(accounts)], [f"S{n}" for n in range(symbols)]
    books = OpeningBooks(*names, cash=10**13, shares=10**9)
    return Network(2, 1, firm=books, clock=ManualClock(NOON))


def table(first: int = 0, rows: int = 1_000) -> pl.DataFrame:
    number = pl.int_range(first, first + rows, eager=True).alias("number")
    text = pl.col("number").cast(pl.String)
    return pl.DataFrame(number).select(
        account="A" + (pl.col("number") % 4).cast(pl.String),
        symbol="S" + (pl.col("number") % 3).cast(pl.String),
        side=pl.lit("buy"),
        order_qty=100,
        price=PRICE,
        cl_ord_id=text,
    )


def entered(tables: int) -> CustomerSystem:
    c1 = desk()["c1"]
    for number in range(tables):
        assert c1.submit_many(table(1_000 * number))["accepted"].all()
    return c1


def test_four_times_the_orders() -> None:
    small, large = costs(lambda: entered(5), lambda: entered(20))
    assert large < MOST * small


def test_four_times_the_events_through_all_systems(tmp_path: Path) -> None:
    def day(events: int) -> Tape:
        sample_tape.generate(tmp_path / str(events), events=events)
        return tapes.read(tmp_path / str(events))

    days = day(1_500), day(6_000)

    def replayed(tape: Tape) -> None:
        with open_network(tape, customers=2, streets=1) as network:
            assert replay(tape, network, batch=500).audit

    small, large = costs(lambda: replayed(days[0]), lambda: replayed(days[1]))
    assert large < MOST * small


@pytest.mark.parametrize("sizes", [((1_000, 4), (4_000, 4)), ((50, 25), (50, 100))])
def test_four_times_the_accounts_or_symbols(sizes: tuple[tuple[int, int], ...]) -> None:
    def opened(accounts: int, symbols: int) -> None:
        with desk(accounts, symbols) as network:
            assert network["c1"].submit_many(table())["accepted"].all()
            network.run()
            assert len(network["c2"].statuses()) == 1_000

    small, large = costs(lambda: opened(*sizes[0]), lambda: opened(*sizes[1]))
    assert large < MOST * small


def test_one_order_costs_the_same_after_any_history() -> None:
    def ask(system: CustomerSystem) -> None:
        for order_id in system.statuses()["order_id"].head(1).to_list() * 500:
            system.status(order_id)

    systems = entered(2), entered(20)
    small, large = costs(lambda: ask(systems[0]), lambda: ask(systems[1]))
    assert large < LEVEL * small


def test_a_table_of_orders_beside_a_group_by_of_its_rows() -> None:
    c1, numbers = desk()["c1"], iter(range(100))
    given = [table(1_000 * number) for number in range(ROUNDS * 5 + 5)]

    def enter() -> None:
        for _ in range(5):
            assert c1.submit_many(given[next(numbers)])["accepted"].all()

    def group() -> None:
        for rows in given[:5]:
            rows.group_by("account", "symbol").agg(pl.col("order_qty", "price").sum())

    ours, polars = costs(enter, group)
    assert ours < OF_A_GROUP_BY * polars
