"""Quantities that are no whole shares: in units of the instrument's own scale, exactly.

Goal: one Bitcoin is 10**8 units everywhere, and what a fill costs is stated once.
Method: Python's own whole numbers, which have no limit, say what is right.
"""

import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.build import NOON, batch, frame, network, sound, submit
from tests.lives import World, worlds
from tradesys.records import field_rules as fields
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import Fees, OpeningBooks
from tradesys.records.schemas import cash_amount
from tradesys.status import positions
from tradesys.status.incremental import loops
from tradesys.status.incremental.view import View

COIN = 10**8
BOOKS = OpeningBooks(
    ("alice", "bob"),
    ("BTCUSD",),
    cash=10**12,
    shares=1_000 * COIN,
    qty_scale=COIN,
    fee_per_share=25,
    fee_per_notional=10,
)
TERMS = {"symbol": "BTCUSD", "price": "236.47"}


@given(
    st.integers(0, 10**10 * COIN),
    st.integers(0, fields.PRICE.most),
    st.sampled_from([1, 10, 1_000, COIN - 1, COIN]),
)
def test_an_amount_is_quantity_times_price_rounded_down_whoever_works_it_out(
    qty: int, px: int, scale: int
) -> None:
    due = qty * px // scale
    assert cash_amount(qty, px, scale) == due
    if due < 2**63:
        row = pl.DataFrame(
            {"qty": [qty], "px": [px], "scale": [scale]}, schema_overrides={"qty": pl.Int64}
        )
        assert row.select(cash_amount(*map(pl.col, row.columns))).item() == due
        assert loops.cash_amount(qty, px, scale) == due


def test_parts_of_a_coin_trade_and_what_they_cost_conserves(tmp_path: Path) -> None:
    with network(books=BOOKS, data=tmp_path) as desk:
        bought = submit(desk["c1"], account="alice", side="buy", order_qty=178_855_669, **TERMS)
        for qty in (1, 21_144_331, 33_333_333):
            submit(desk["c1"], account="bob", side="sell", order_qty=qty, **TERMS)
        desk.run()
        answer = desk["c1"].status(bought)
        assert (answer.cum_qty, answer.leaves_qty) == (54_477_665, 124_378_004)
        assert answer.avg_px == pytest.approx(236.47, abs=1e-12)
        held = {(a, s): n for a, s, n in desk.firm.positions()["account", "asset", "amount"].rows()}
        costs = [qty * 2_364_700 // COIN for qty in (1, 21_144_331, 33_333_333)]
        fees = [
            n * 25 // COIN + c * 10 // 10_000
            for n, c in zip((1, 21_144_331, 33_333_333), costs, strict=True)
        ]
        assert costs[0] == 0
        assert held["alice", "BTCUSD"] == 1_000 * COIN + 54_477_665
        assert held["alice", "USD"] == 10**12 - sum(costs) - sum(fees)
        assert held["bob", "USD"] == 10**12 + sum(costs) - sum(fees)
        assert sound(desk.audit())
    with network(books=BOOKS, data=tmp_path) as again:
        assert again["c1"].status(bought.order_id).cum_qty == 54_477_665
        assert again.manifest.books.qty_scale == COIN


def test_an_order_may_use_what_its_quantity_costs_in_the_scale_of_its_instrument() -> None:
    desk = network(books=BOOKS)
    assert desk["c1"].cost("BTCUSD", COIN, 2_364_700) == 2_364_700 + 25 + 2_364
    submit(desk["c1"], account="alice", side="buy", order_qty=COIN, **TERMS)
    desk.run()
    balances = desk["c1"].positions("alice").filter(asset="USD")
    assert balances["reserved"].item() == 2_364_700 + 25 + 2_364


@pytest.mark.parametrize(("qty", "field"), [(10**18 + 1, "order_qty"), (4 * 10**14, "order_qty")])
def test_a_quantity_whose_price_does_not_fit_is_refused(qty: int, field: str) -> None:
    desk = network(books=BOOKS)
    with pytest.raises(InvalidValue, match=f"{field}="):
        submit(desk["c1"], account="alice", side="buy", order_qty=qty, **TERMS)


def test_an_instrument_keeps_the_scale_in_which_its_quantities_are_recorded() -> None:
    desk = network(books=BOOKS)
    desk.firm.list_instruments(["BTCUSD"], tick_size=1, qty_scale=COIN)
    with pytest.raises(InvalidValue, match="qty_scale=1: expected 100,000,000, as BTCUSD has it"):
        desk.firm.list_instruments(["BTCUSD"])


@given(worlds(), st.integers(0, 2**32))
def test_whenever_a_scale_is_learned_the_balances_are_what_the_definition_says(
    world: World, seed: int
) -> None:
    chance, fees = random.Random(seed), Fees(per_share=30, per_notional=7)
    rows = {name: world.rows(name) for name in ("requests", "executions", "postings")}
    symbols = sorted({row["symbol"] for row in rows["requests"]})
    rows["instruments"] = [
        {
            "record_id": number,
            "ts": NOON,
            "symbol": symbol,
            "name": symbol,
            "tick_size": 1,
            "lot_size": 1,
            "qty_scale": chance.choice([1, 7, 1_000]),
            "security_status": "active",
        }
        for number, symbol in enumerate(symbols)
    ]
    arrivals = [(name, row) for name, records in rows.items() for row in records]
    chance.shuffle(arrivals)
    view = View(fees=fees)
    for name, row in arrivals:
        view.apply(name, batch(name, [row]))
        if chance.random() < 0.2:
            view.positions()
    frames = {name: frame(name, records) for name, records in rows.items()}
    assert view.positions().equals(positions.balances(**frames, fees=fees))
