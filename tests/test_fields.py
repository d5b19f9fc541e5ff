"""Every number has its range and every name its rule, at whichever door it comes in.

Goal: nothing is recorded that a later sum, a calendar or a rule of order entry cannot bear.
Method: each door with the last value that is taken and the first that is not.
"""

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from tests.build import (
    BOOKS,
    NOON,
    PRICE,
    TERMS,
    batch,
    filled,
    network,
    new,
    record_id,
    state,
    submit,
)
from tradesys.network import Network
from tradesys.records import field_rules as fields
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.records.opening_books import OpeningBooks

ACCOUNT = {"account": "carol", "name": "Carol", "account_status": "active"}
INSTRUMENT = {
    "symbol": "ZULU",
    "name": "Zulu",
    "tick_size": 100,
    "lot_size": 1,
    "qty_scale": 1,
    "security_status": "active",
}
LEG = {"account": "bob", "asset": "USD", "amount": 5, "settle_date": dt.date(2024, 6, 3)}


def held(desk: Network) -> object:
    return desk.summary(), desk.firm.positions().rows()


# What the firm describes and opens with.


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("cash", fields.CASH.most // 2),
        ("shares", fields.SHARES.most // 2),
        ("tick_size", fields.TICK_SIZE.most),
        ("lot_size", fields.LOT_SIZE.most),
        ("qty_scale", fields.QTY_SCALE.most),
        ("fee_per_share", fields.FEE_PER_SHARE.most),
        ("fee_per_notional", fields.FEE_PER_NOTIONAL.most),
    ],
)
def test_opening_books_take_each_number_up_to_the_end_of_its_range(name: str, most: int) -> None:
    def books(value: int) -> OpeningBooks:
        given: dict[str, Any] = {"accounts": ["alice", "bob"], name: value}
        return OpeningBooks(**given)

    assert getattr(books(most), name) == most
    for value in (most + 1, -1, 2**63 - 1, 2**80):
        with pytest.raises(InvalidValue) as raised:
            books(value)
        assert raised.value.field == name
        assert any(unit in raised.value.expected for unit in ("share", "1/10,000"))


def test_what_all_accounts_open_with_is_limited_together_with_what_is_there() -> None:
    desk = network()
    left = fields.CASH.most - 2 * BOOKS.cash
    before = held(desk)
    with pytest.raises(InvalidValue, match="over all accounts together"):
        desk.firm.open_accounts(["carol", "dave"], cash=left // 2 + 1)
    shares = {"ALFA": fields.SHARES.most - 2 * BOOKS.shares + 1}
    with pytest.raises(InvalidValue, match="shares of ALFA"):
        desk.firm.open_accounts(["carol"], cash=0, shares=shares)
    with pytest.raises(InvalidValue, match="over all accounts together"):
        desk.firm.record("postings", [LEG | {"amount": left + 1}])
    assert held(desk) == before
    desk.firm.open_accounts(["carol", "dave"], cash=left // 2)
    with pytest.raises(InvalidValue, match="over all accounts together"):
        desk.firm.open_accounts(["eve"], cash=1)
    desk.run()
    assert desk.audit().verdict


@pytest.mark.parametrize("name", ["clearing", "capital", "fees", ""])
def test_no_account_has_a_name_that_the_firm_keeps_for_itself(name: str) -> None:
    desk = network()
    before = held(desk)
    row = ACCOUNT | {"account": name}
    for refused in (
        lambda: OpeningBooks(accounts=("alice", name)),
        lambda: desk.firm.open_accounts(["carol", name], cash=1),
        lambda: desk.firm.record("accounts", [ACCOUNT, row]),
        lambda: desk.firm.authoritative["accounts"].append([row]),
    ):
        with pytest.raises(InvalidValue):
            refused()
    assert held(desk) == before


@pytest.mark.parametrize("symbol", ["USD", ""])
def test_no_symbol_is_the_currency(symbol: str) -> None:
    desk = network()
    before = held(desk)
    for refused in (
        lambda: OpeningBooks(symbols=("ALFA", symbol)),
        lambda: desk.firm.open_accounts(["carol"], cash=1, shares={symbol: 5}),
        lambda: desk.firm.list_instruments(["ZULU", symbol]),
        lambda: desk.firm.record("instruments", [INSTRUMENT, INSTRUMENT | {"symbol": symbol}]),
    ):
        with pytest.raises(InvalidValue):
            refused()
    assert held(desk) == before


@pytest.mark.parametrize(
    ("dataset", "row", "wrong"),
    [
        ("instruments", INSTRUMENT, {"tick_size": 0}),
        ("instruments", INSTRUMENT, {"tick_size": -100}),
        ("instruments", INSTRUMENT, {"lot_size": 0}),
        ("instruments", INSTRUMENT, {"lot_size": 2**62}),
        ("instruments", INSTRUMENT, {"qty_scale": 0}),
        ("instruments", INSTRUMENT, {"qty_scale": 10**9}),
        ("instruments", INSTRUMENT, {"security_status": "closed"}),
        ("accounts", ACCOUNT, {"account_status": "halted"}),
        ("accounts", ACCOUNT, {"account_status": ""}),
        ("postings", LEG, {"amount": 2**62}),
        ("postings", LEG, {"asset": ""}),
        ("postings", LEG, {"account": ""}),
    ],
    ids=str,
)
def test_a_record_of_the_firm_keeps_the_rules_of_its_columns(
    dataset: str, row: dict[str, Any], wrong: dict[str, Any]
) -> None:
    desk = network()
    before = held(desk)
    (field,) = wrong
    with pytest.raises(InvalidValue) as raised:
        desk.firm.record(dataset, [row, row | wrong])
    assert raised.value.field == field
    assert held(desk) == before
    assert desk.firm.record(dataset, [row]).num_rows == 1


def test_the_audit_names_a_balance_that_int64_does_not_hold() -> None:
    desk = network()
    legs = [
        {"record_id": record_id("firm", 100 + i), "account": name, "amount": sign * (2**63 - 1)}
        for i, (name, sign) in enumerate((("alice", 1), ("capital", -1)))
    ]
    count = desk.firm.tables["postings"].count(desk.firm.origin.code)
    numbered = [leg | {"record_id": record_id("f", count + i)} for i, leg in enumerate(legs)]
    desk.firm.commit("postings", batch("postings", numbered))
    desk.run()
    told = desk.audit()
    assert told.verdict is False
    assert "alice's USD sums to" in str([c.found for c in told.checks])


# What customers ask for.


RICH = OpeningBooks(("alice", "bob"), ("ALFA",), cash=10**17, shares=10**17)


@pytest.mark.parametrize(
    ("field", "last", "first"),
    [
        ("order_qty", {"order_qty": 10**10, "price": 10**5}, {"order_qty": 10**10 + 1, "price": 1}),
        ("price", {"order_qty": 1, "price": 10**11}, {"order_qty": 1, "price": 10**11 + 100}),
        ("order_qty", {"order_qty": 10**5, "price": 10**10}, {"order_qty": 10**5 + 1}),
    ],
    ids=["quantity", "price", "amount"],
)
def test_an_order_is_taken_up_to_the_end_of_its_ranges_however_it_is_entered(
    field: str, last: dict[str, Any], first: dict[str, Any]
) -> None:
    desk = network(books=RICH)
    system = desk["c1"]
    last, first = TERMS | last, TERMS | last | first
    order = system.submit(**last)
    assert order.reject_reason is None
    with pytest.raises(InvalidValue) as raised:
        system.submit(**first)
    assert raised.value.field == field
    desk.run()
    with pytest.raises(InvalidValue) as raised:
        system.replace(order, order_qty=first["order_qty"], price=first["price"])
    assert raised.value.field == field
    verdicts = system.submit_many(pl.DataFrame([last, first]))
    assert verdicts["accepted"].to_list() == [True, False]
    assert verdicts["error"][1].startswith(f"{field}=")


def test_a_cancel_states_no_quantity_out_of_range_either() -> None:
    desk = network()
    order = submit(desk["c1"])
    desk.run()
    rows = {"request_type": "cancel", "order_id": order.order_id}
    table = pl.DataFrame([rows | {"order_qty": qty} for qty in (-5, 10**11, 50)])
    assert desk["c1"].submit_many(table)["accepted"].to_list() == [False, False, True]


@pytest.mark.parametrize("column", ["ts", "expire_time"])
def test_times_in_a_table_are_of_the_range_that_calendars_and_files_bear(column: str) -> None:
    system = network()["c1"]
    for time in (fields.TIME.most + 1, -1, -(2**62), 2**63 - 1):
        times = pl.Series(column, [NOON + 1, time]).cast(pl.Datetime("ns", "UTC"))
        table = pl.DataFrame([TERMS | {"time_in_force": "gtd"}] * 2).with_columns(times)
        with pytest.raises(SchemaError, match=f"column {column} .*expected times from 1970"):
            system.submit_many(table)
    assert not len(system.tables["requests"])


# Prices.


@pytest.mark.parametrize(
    "prices",
    [
        pl.Series(["20.00", "20.0", "21"]),
        pl.Series(["20.00", "20.0", "21"], dtype=pl.Categorical),
        pl.Series([Decimal("20.00"), Decimal("20.00"), Decimal("21.00")], dtype=pl.Decimal(10, 2)),
        pl.Series([PRICE, PRICE, 210_000]),
    ],
    ids=["text", "categories", "decimal", "1/10,000"],
)
def test_prices_of_a_table_are_text_or_decimal_in_the_currency_or_ten_thousandths(
    prices: pl.Series,
) -> None:
    system = network()["c1"]
    table = pl.DataFrame([TERMS | {"order_qty": 10}] * 3).with_columns(price=prices)
    assert system.submit_many(table)["accepted"].to_list() == [True] * 3
    assert system.submit_many(table.to_arrow())["accepted"].to_list() == [True] * 3
    assert system.statuses()["price"].to_list() == [PRICE, PRICE, 210_000] * 2


def test_a_price_that_is_left_out_of_a_column_of_text_is_that_of_a_market_order() -> None:
    desk = network()
    filled(desk, order_qty=10)
    system = desk["c1"]
    table = pl.DataFrame([TERMS] * 2).with_columns(
        price=pl.Series([None, "20.00"]),
        ord_type=pl.Series(["market", "limit"]),
        side=pl.lit("sell"),
    )
    assert system.submit_many(table)["accepted"].to_list() == [True, True]
    requests = system.tables["requests"].frame[-2:]
    assert requests["ord_type"].to_list() == ["market", "limit"]
    assert requests["price"][1] == PRICE


@pytest.mark.parametrize("price", ["twenty", "20.00001", "", "1e30", "nan"])
def test_a_text_that_is_no_price_is_told_with_how_a_price_is_written(price: str) -> None:
    system = network()["c1"]
    for refused in (
        lambda: system.submit(**TERMS | {"price": price}),
        lambda: system.submit_many(pl.DataFrame([TERMS | {"price": price}])),
    ):
        with pytest.raises(InvalidValue, match=r'like "50\.25", or a whole number of 1/10,000'):
            refused()


def test_a_column_of_floats_is_told_how_a_price_is_written() -> None:
    with pytest.raises(
        SchemaError, match=r"1/10,000 of it, like 502500; a float cannot say 50\.10"
    ):
        network()["c1"].submit_many(pl.DataFrame([TERMS | {"price": 20.0}]))


def test_below_one_the_tick_is_a_ten_thousandth_whatever_it_is_above() -> None:
    desk = network()
    for price in ("0.9876", "0.0001", "0.9999", "1.00", "1.01"):
        order = submit(desk["c1"], price=price, order_qty=10)
        desk.run()
        desk["c1"].replace(order, price="0.5555")
    for price in ("1.0001", "1.005"):
        with pytest.raises(InvalidValue, match=r"tick size, 0\.01; .* 100 is 0\.01"):
            submit(desk["c1"], price=price)
    desk.run()
    assert state(desk["c1"], order) == ("new", 10, 0, 10)
    assert desk["c1"].status(order).price == 5_555


def test_an_order_is_canceled_however_much_it_comes_to() -> None:
    desk = network(customers=2)
    order_id = record_id("c2", 0)
    desk["c1"].receive("requests", batch("requests", [new(order_id, order_qty=10**12)]))
    table = pl.DataFrame({"request_type": ["cancel"], "order_id": [order_id]})
    assert desk["c1"].submit_many(table)["accepted"].to_list() == [True]
    assert desk["c1"].cancel(order_id).reject_reason is None


def test_a_market_order_is_taken_up_to_what_its_collar_comes_to_and_canceled() -> None:
    desk = network(books=RICH)
    filled(desk, price=10**11, order_qty=1)
    terms = TERMS | {"price": None, "order_qty": 10**4}
    order = desk["c1"].submit(**terms)
    assert order.reject_reason is None
    with pytest.raises(InvalidValue, match="order_qty=10001: expected a quantity that costs"):
        desk["c1"].submit(**terms | {"order_qty": 10**4 + 1})
    table = pl.DataFrame({"request_type": ["cancel"], "order_id": [order.order_id]})
    assert desk["c1"].submit_many(table)["accepted"].to_list() == [True]
    assert desk["c1"].cancel(order).reject_reason is None
    desk.run()
    assert desk.audit().verdict
