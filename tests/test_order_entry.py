"""One order at one system: what is an error, what is refused, what is recorded.

Goal: bad input is an error that names field, value and what was expected, and leaves no trace; a
well-formed order that is refused is on the books and never reaches the market.
Method: one network of one system of each kind with its files; each rule broken alone.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.build import (
    BOOKS,
    CASH,
    NOON,
    PRICE,
    SHARES,
    TERMS,
    Row,
    contents,
    filled,
    network,
    record_id,
    state,
    submit,
)
from tradesys.inquiry.answers import Order
from tradesys.network import Network
from tradesys.records.clock import to_ns
from tradesys.records.errors import InvalidValue, NotYetReplicated
from tradesys.records.field_rules import NAME_LETTERS
from tradesys.systems.customer import entry_rules as rules


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Network]:
    with network(customers=2, data=tmp_path) as made:
        yield made


def trace(desk: Network) -> tuple[object, ...]:
    """All that an order could leave behind: records, files, balances."""
    assert desk.data is not None
    tables = [s.tables[n].positions for s in desk for n in s.tables]
    balances = [c.positions().rows() for c in desk.customers]
    return tables, contents(desk.data), balances, desk.undelivered()


# Each rule of a valid order.


POSITIVE = "a whole number of shares, from 1 to 10,000,000,000"
LIMIT = "a positive price for a limit order"
WRONG: list[tuple[dict[str, Any], str, object, str]] = [
    ({"side": "hold"}, "side", "hold", "one of buy, sell"),
    ({"side": None}, "side", None, "one of buy, sell"),
    ({"ord_type": "stop"}, "ord_type", "stop", "one of market, limit"),
    ({"time_in_force": "ever"}, "time_in_force", "ever", "one of day, gtc, ioc, fok, gtd"),
    ({"account": "mallory"}, "account", "mallory", "an account the firm has described"),
    ({"account": None}, "account", None, "an account the firm has described"),
    ({"symbol": "ZULU"}, "symbol", "ZULU", "a symbol the firm has described"),
    ({"order_qty": 0}, "order_qty", 0, POSITIVE),
    ({"order_qty": -10}, "order_qty", -10, POSITIVE),
    ({"order_qty": 15}, "order_qty", 15, "a multiple of the lot size, 10"),
    ({"price": None, "ord_type": "limit"}, "price", None, LIMIT),
    ({"price": 0}, "price", 0, LIMIT),
    ({"price": -100}, "price", -100, LIMIT),
    ({"ord_type": "market"}, "price", PRICE, "no price for a market order"),
    ({"price": PRICE + 1}, "price", PRICE + 1, "a multiple of the tick size, 0.01"),
    ({"price": 10_001}, "price", 10_001, "a multiple of the tick size, 0.01; a whole number is of"),
    ({"order_qty": 10**10 + 10}, "order_qty", 10**10 + 10, POSITIVE),
    ({"order_qty": 10**19}, "order_qty", 10**19, POSITIVE),
    ({"price": 10**11 + 100}, "price", 10**11 + 100, LIMIT),
    ({"price": -(10**11)}, "price", -(10**11), LIMIT),
    ({"price": 10**10, "order_qty": 10**6}, "order_qty", 10**6, "costs no more than"),
    ({"expire_time": 2**62, "time_in_force": "gtd"}, "expire_time", 2**62, "from 1970 to the end"),
    ({"expire_time": -1, "time_in_force": "gtd"}, "expire_time", -1, "from 1970 to the end"),
    ({"price": "20.0001"}, "price", "20.0001", "a multiple of the tick size, 0.01"),
    ({"time_in_force": "gtd"}, "expire_time", None, "a time to come, for an order that is good"),
    ({"time_in_force": "gtd", "expire_time": NOON}, "expire_time", NOON, "a time to come"),
    ({"time_in_force": "gtd", "expire_time": 1}, "expire_time", 1, "a time to come"),
    ({"expire_time": NOON}, "expire_time", NOON, "none, for an order that is not good till date"),
    # what no record can hold
    ({"account": ["alice"]}, "account", ["alice"], "an account the firm has described"),
    ({"symbol": {}}, "symbol", {}, "a symbol the firm has described"),
    ({"side": 1}, "side", 1, "one of buy, sell"),
    ({"ord_type": 2}, "ord_type", 2, "one of market, limit"),
    ({"time_in_force": 0.5}, "time_in_force", 0.5, "one of day"),
    ({"expire_time": "soon", "time_in_force": "gtd"}, "expire_time", "soon", "text like 2024"),
    ({"expire_time": [1], "time_in_force": "gtd"}, "expire_time", [1], "a datetime with a zone"),
    ({"order_qty": True}, "order_qty", True, "a whole number of shares"),
    ({"price": True}, "price", True, "a whole number of 1/10,000"),
    ({"price": [20]}, "price", [20], "a whole number of 1/10,000"),
    ({"cl_ord_id": 17}, "cl_ord_id", 17, "text"),
    ({"price": 20.5}, "price", 20.5, "a float cannot say 50.10"),
    ({"price": "twenty"}, "price", "twenty", "a whole number of 1/10,000"),
    ({"order_qty": "100"}, "order_qty", "100", "a whole number of shares"),
    ({"order_qty": 100.0}, "order_qty", 100.0, "a whole number of shares"),
    ({"order_qty": None}, "order_qty", None, "a whole number of shares"),
]


@pytest.mark.parametrize(("terms", "field", "value", "expected"), WRONG, ids=str)
def test_an_order_that_breaks_a_rule_is_an_error_and_leaves_no_trace(
    desk: Network, terms: dict[str, Any], field: str, value: object, expected: str
) -> None:
    before = trace(desk)
    with pytest.raises(InvalidValue) as raised:
        submit(desk["c1"], **terms)
    assert (raised.value.field, raised.value.value) == (field, value)
    assert expected in raised.value.expected
    assert trace(desk) == before


def test_each_rule_is_broken_by_one_of_these_orders() -> None:
    instrument = np.array([100, 10, 1, 0])
    about_a_change = {rules.NAME_TAKEN, rules.NO_KIND, rules.NO_ORDER, rules.NOT_OPEN}
    about_a_change |= {*range(rules.OTHER, rules.FIRST_REASON)}
    for verdict in rules.ERRORS.keys() - about_a_change:
        assert any(case[3] in rules.expected(verdict, instrument) for case in WRONG), verdict


@pytest.mark.parametrize("name", ["A", None])
def test_an_account_that_is_no_text_is_an_error(desk: Network, name: str | None) -> None:
    with pytest.raises(InvalidValue, match="account"):
        submit(desk["c1"], account=None, cl_ord_id=name)


@pytest.mark.parametrize(
    ("terms", "price", "ord_type"),
    [
        ({"price": "20.00"}, PRICE, "limit"),
        ({"price": Decimal(20)}, PRICE, "limit"),
        ({"order_qty": np.int64(100)}, PRICE, "limit"),
        ({"price": None}, None, "market"),
        ({"price": 0, "ord_type": "market"}, None, "market"),
    ],
    ids=str,
)
def test_a_valid_order_may_be_written_in_several_ways(
    desk: Network, terms: dict[str, Any], price: int | None, ord_type: str
) -> None:
    order = submit(desk["c1"], **terms)
    answer = desk["c1"].status(order)
    assert (answer.price, answer.ord_type, answer.order_qty) == (price, ord_type, 100)


# Refused, and on the books.


def test_an_order_of_a_closed_account_is_refused(desk: Network) -> None:
    closed = {"account": "alice", "name": "alice", "account_status": "closed"}
    desk.firm.record("accounts", [closed])
    desk.run()
    assert_refused(desk, "account closed")


def test_an_order_in_a_halted_symbol_is_refused(desk: Network) -> None:
    halted = {"symbol": "ALFA", "name": "ALFA", "tick_size": 100, "lot_size": 10}
    desk.firm.record("instruments", [halted | {"qty_scale": 1, "security_status": "halted"}])
    desk.run()
    assert_refused(desk, "symbol halted")


def test_an_order_that_the_cash_does_not_pay_is_refused(desk: Network) -> None:
    assert submit(desk["c1"], order_qty=CASH // PRICE).reject_reason is None
    desk.run()
    assert_refused(desk, "not enough cash", order_qty=10)


def test_an_order_that_sells_more_than_is_held_is_refused(desk: Network) -> None:
    assert submit(desk["c1"], side="sell", order_qty=SHARES).reject_reason is None
    desk.run()
    assert_refused(desk, "not enough shares", side="sell", order_qty=10)


def assert_refused(desk: Network, reason: str, **terms: Any) -> None:
    """Such an order is recorded with its reason, replicated, and never sent."""
    reports, available = desk.venue.reports.count, desk["c1"].positions().rows()
    order = submit(desk["c1"], **terms)
    assert order.reject_reason == reason
    assert desk.undelivered() == 0
    desk.run()
    (row,) = desk["c2"].tables["requests"].rows([order.record_id])
    assert row["reject_reason"] == reason
    assert state(desk["c2"], order) == ("rejected", row["order_qty"], 0, 0)
    assert desk.venue.reports.count == reports
    assert desk["c1"].positions().rows() == available
    assert desk.audit().verdict


def test_what_an_order_reserved_is_free_again_when_it_is_closed(desk: Network) -> None:
    everything = CASH // PRICE
    order = submit(desk["c1"], order_qty=everything)
    desk.run()
    desk["c1"].cancel(order)
    desk.run()
    assert submit(desk["c1"], order_qty=everything).reject_reason is None


def test_a_replace_may_use_what_its_order_has_reserved(desk: Network) -> None:
    order = submit(desk["c1"], order_qty=CASH // PRICE)
    desk.run()
    assert desk["c1"].replace(order, order_qty=CASH // PRICE).reject_reason is None
    refused = desk["c1"].replace(order, order_qty=CASH // PRICE + 10)
    assert refused.reject_reason == "not enough cash"
    desk.run()
    assert state(desk["c1"], order) == ("new", CASH // PRICE, 0, CASH // PRICE)


def test_replaces_that_are_pending_may_not_together_spend_more_than_there_is(
    desk: Network,
) -> None:
    orders = [submit(desk["c1"], order_qty=100) for _ in range(2)]
    desk.run()
    for order in orders:
        desk["c1"].replace(order, order_qty=300)
    desk.run()
    assert desk["c1"].view.available("alice", "USD") >= 0


# Cancel and replace.


def test_a_cancel_at_another_system_than_the_orders_own_cancels_it(desk: Network) -> None:
    order = submit(desk["c1"])
    desk.run()
    desk["c2"].cancel(order, account="alice")
    assert state(desk["c2"], order) == ("pending_cancel", 100, 0, 100)
    desk.run()
    assert state(desk["c1"], order) == ("canceled", 100, 0, 0)


CHANGES: list[dict[str, Any]] = [{}, {"order_qty": 50}]


def change(desk: Network, order: Any, terms: dict[str, Any], **more: Any) -> None:
    """Replace an order by these terms, or cancel it if there are none."""
    if terms:
        desk["c1"].replace(order, **terms, **more)
    else:
        desk["c1"].cancel(order, **more)


@pytest.mark.parametrize("terms", CHANGES, ids=["cancel", "replace"])
@pytest.mark.parametrize("order", ["c1-7", "firm-0", "s1-0", "ALFA", 12, "c1", record_id("v", 0)])
def test_a_change_of_an_order_that_does_not_exist_is_an_error(
    desk: Network, order: Any, terms: dict[str, Any]
) -> None:
    before = trace(desk)
    with pytest.raises(InvalidValue):
        change(desk, order, terms)
    assert trace(desk) == before


@pytest.mark.parametrize("terms", CHANGES, ids=["cancel", "replace"])
def test_a_change_of_an_order_that_may_be_on_its_way_says_so(
    desk: Network, terms: dict[str, Any]
) -> None:
    with pytest.raises(NotYetReplicated) as raised:
        change(desk, "c2-3", terms)
    assert raised.value.missing == ("c2-3",)


@pytest.mark.parametrize("terms", CHANGES, ids=["cancel", "replace"])
def test_a_change_of_another_accounts_order_is_an_error(
    desk: Network, terms: dict[str, Any]
) -> None:
    order = submit(desk["c1"])
    before = trace(desk)
    with pytest.raises(InvalidValue) as raised:
        change(desk, order, terms, account="bob")
    assert raised.value.expected == "an order of account bob"
    assert trace(desk) == before


@pytest.mark.parametrize("terms", CHANGES, ids=["cancel", "replace"])
@pytest.mark.parametrize("how", ["filled", "canceled", "rejected", "expired"])
def test_a_change_of_a_closed_order_is_an_error(
    desk: Network, how: str, terms: dict[str, Any]
) -> None:
    qty = CASH if how == "rejected" else 100
    order = filled(desk) if how == "filled" else submit(desk["c1"], order_qty=qty)
    if how == "canceled":
        desk["c1"].cancel(order)
    desk.run()
    if how == "expired":
        desk.end_of_day()
    before = trace(desk)
    with pytest.raises(InvalidValue) as raised:
        change(desk, order, terms)
    assert raised.value.expected == f"an open order; this one is {how}"
    assert trace(desk) == before


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"order_qty": 0}, "order_qty"),
        ({"order_qty": 55}, "order_qty"),
        ({"price": PRICE + 1}, "price"),
    ],
)
def test_a_replace_keeps_the_rules_of_an_order(
    desk: Network, terms: dict[str, Any], field: str
) -> None:
    order = submit(desk["c1"])
    before = trace(desk)
    with pytest.raises(InvalidValue) as raised:
        desk["c1"].replace(order, **terms)
    assert raised.value.field == field
    assert trace(desk) == before


def test_a_replace_keeps_what_it_does_not_name(desk: Network) -> None:
    order = submit(desk["c1"], time_in_force="gtc")
    desk["c1"].replace(order, price="21.00")
    desk["c1"].replace(order, order_qty=60)
    requests = desk["c1"].tables["requests"].frame
    assert requests["order_qty"].to_list() == [100, 100, 60]
    assert requests["price"].to_list() == [PRICE, 210_000, PRICE]
    assert requests["time_in_force"].unique().to_list() == ["gtc"]


# Repeats.


def test_a_repeat_is_answered_with_the_original_and_never_executed_twice(desk: Network) -> None:
    first = submit(desk["c1"], cl_ord_id="A")
    desk.run()
    before = trace(desk)
    for system in desk.customers:
        again = submit(system, cl_ord_id="A")
        assert (again.order_id, again.record_id) == (first.order_id, first.record_id)
        assert again.repeated
        assert not first.repeated
    assert trace(desk) == before


def test_a_repeat_of_a_refused_order_is_answered_with_its_reason(desk: Network) -> None:
    first = submit(desk["c1"], order_qty=CASH, cl_ord_id="A")
    assert submit(desk["c1"], order_qty=CASH, cl_ord_id="A").reject_reason == first.reject_reason


@pytest.mark.parametrize(
    "terms",
    [
        *({"side": "sell"}, {"order_qty": 50}, {"price": "21"}, {"symbol": "DLTA"}),
        *({"price": None}, {"time_in_force": "ioc"}),
    ],
    ids=str,
)
def test_a_name_used_again_on_other_terms_is_an_error(desk: Network, terms: dict[str, Any]) -> None:
    submit(desk["c1"], cl_ord_id="A")
    before = trace(desk)
    with pytest.raises(InvalidValue) as raised:
        submit(desk["c1"], cl_ord_id="A", **terms)
    assert (raised.value.field, raised.value.value) == ("cl_ord_id", "A")
    assert trace(desk) == before


def test_a_name_that_a_cancel_has_used_is_no_name_for_a_new_order(desk: Network) -> None:
    order = submit(desk["c1"])
    desk["c1"].cancel(order, cl_ord_id="B")
    desk.run()
    with pytest.raises(InvalidValue, match="cl_ord_id"):
        submit(desk["c1"], cl_ord_id="B")


def test_two_accounts_may_use_one_name(desk: Network) -> None:
    one, other = (submit(desk["c1"], account=a, cl_ord_id="A") for a in ("alice", "bob"))
    assert one.order_id != other.order_id


def test_a_name_is_used_once_for_a_change_too(desk: Network) -> None:
    order = submit(desk["c1"], cl_ord_id="A")
    before = trace(desk)
    for terms in CHANGES:
        with pytest.raises(InvalidValue) as raised:
            change(desk, order, terms, cl_ord_id="A")
        assert raised.value.field == "cl_ord_id"
    assert trace(desk) == before


def test_a_name_known_only_from_a_cancel_is_no_name_for_a_new_order() -> None:
    desk = network(customers=3)
    desk.partition("c1", "c3")
    order = submit(desk["c3"])
    desk.run()
    desk["c2"].cancel(order, cl_ord_id="B")
    desk.partition("c1", "s1")
    desk.run()
    with pytest.raises(InvalidValue, match="cl_ord_id"):
        submit(desk["c1"], cl_ord_id="B")


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_market_order_that_no_price_can_value_is_refused_one_by_one_and_in_a_table(
    side: str,
) -> None:
    desk = network()
    terms: dict[str, Any] = {"account": "alice", "symbol": "ALFA", "side": side, "order_qty": 10}
    order = desk["c1"].submit(**terms)
    rows = [terms | {"ord_type": "market", "price": None}]
    rows.append(terms | {"ord_type": "limit", "price": 200_000})
    verdicts = desk["c1"].submit_many(pl.DataFrame(rows))
    assert order.reject_reason == "no last price to value a market order at"
    assert verdicts["reject_reason"].to_list() == [order.reject_reason, None]


def test_a_change_given_twice_is_answered_with_the_first_even_when_its_order_is_closed(
    desk: Network,
) -> None:
    order = submit(desk["c1"])
    desk.run()
    replaced = desk["c1"].replace(order, order_qty=50, cl_ord_id="R")
    desk.run()
    assert desk["c2"].replace(order, order_qty=50, cl_ord_id="R") == Order(
        order.order_id, replaced.record_id, "R", repeated=True
    )
    canceled = desk["c2"].cancel(order, cl_ord_id="X")
    desk.run()
    again = desk["c1"].cancel(order, cl_ord_id="X")
    assert (again.record_id, again.repeated) == (canceled.record_id, True)
    with pytest.raises(InvalidValue, match="not used before"):
        desk["c1"].replace(order, order_qty=60, cl_ord_id="R")
    assert len(desk["c1"].tables["requests"]) == 3


def test_a_market_buy_uses_cash_until_it_is_answered(desk: Network) -> None:
    filled(desk)  # 100 for 2,000.00: a market order may cost 21.00 a share
    each = {"ord_type": "market", "price": None, "order_qty": 300}
    assert submit(desk["c1"], **each).reject_reason is None
    assert submit(desk["c1"], **each).reject_reason == rules.REASONS[rules.NO_CASH]
    (verdict,) = desk["c1"].submit_many(pl.DataFrame([TERMS | each])).to_dicts()
    assert verdict["reject_reason"] == rules.REASONS[rules.NO_CASH]
    desk.run()  # nobody sells: it expires, and uses nothing any more
    assert submit(desk["c1"], **each).reject_reason is None


def test_an_order_good_till_a_time_that_is_over_is_an_error_in_a_table_too(desk: Network) -> None:
    times = pl.Series([NOON, NOON + 1, NOON - 1]).cast(pl.Datetime("ns", "UTC"))
    table = pl.DataFrame([TERMS] * 3).with_columns(time_in_force=pl.lit("gtd"), expire_time=times)
    told = desk["c1"].submit_many(table)
    assert told["accepted"].to_list() == [False, True, False]
    assert "expected a time to come" in told["error"][0]


def test_an_order_good_till_date_says_until_when_in_every_record_of_it(desk: Network) -> None:
    until = "2024-06-30T20:00:00Z"
    assert to_ns(until) > NOON
    order = submit(desk["c1"], time_in_force="gtd", expire_time=until)
    desk.run()
    desk["c2"].replace(order, order_qty=50)
    table = pl.DataFrame({"request_type": ["cancel"], "order_id": [order.order_id]})
    assert desk["c2"].submit_many(table)["accepted"].to_list() == [True]
    desk.run()
    for dataset, rows in (("requests", 3), ("executions", 3)):
        times = desk["c2"].tables[dataset].frame["expire_time"].dt.timestamp("ns")
        assert times.to_list() == [to_ns(until)] * rows


# What an order may use: its price, its fees and, of a market order, its collar.


def taken(desk: Network, *, in_a_table: bool, **terms: Any) -> tuple[str | None, int | None]:
    """Enter an order of :data:`TERMS`, alone or in a table; why it is refused, and its price."""
    row: Row = TERMS | terms
    if in_a_table:
        told = desk["c1"].submit_many(pl.DataFrame([row]))
        reason = told["reject_reason"].item()
    else:
        reason = desk["c1"].submit(**row).reject_reason
    desk["c1"].flush()
    return reason, desk["c1"].tables["requests"].frame["price"][-1]


def cash_of(desk: Network, account: str = "alice") -> int:
    amount: int = desk.firm.cash(account)["amount"].item()
    return amount


either_way = pytest.mark.parametrize("in_a_table", [False, True], ids=["alone", "in a table"])
MARKET: Row = {"ord_type": "market", "price": None}
WITH_FEES = replace(BOOKS, fee_per_share=30, fee_per_notional=7)
FEE = 100 * 30 + 100 * PRICE * 7 // 10_000
"""What :data:`TERMS` cost in fees."""


@either_way
@pytest.mark.parametrize(("lacking", "reason"), [(0, None), (1, "not enough cash")])
def test_a_buy_needs_its_price_and_its_fees(
    lacking: int, reason: str | None, *, in_a_table: bool
) -> None:
    cash = 100 * PRICE + FEE - lacking
    desk = network(books=replace(WITH_FEES, cash=cash))
    assert taken(desk, in_a_table=in_a_table) == (reason, PRICE)
    submit(desk["c1"], account="bob", side="sell")
    desk.run()
    assert cash_of(desk) == (cash if reason else 0)
    assert desk.audit().verdict


@either_way
@pytest.mark.parametrize(("price", "is_covered"), [(100, False), (200, True), (300, True)])
def test_a_sale_whose_price_does_not_cover_its_fees_is_refused(
    price: int, *, is_covered: bool, in_a_table: bool
) -> None:
    desk = network(books=replace(BOOKS, fee_per_share=200))
    reason = None if is_covered else "the price does not cover the fees of the sale"
    assert taken(desk, in_a_table=in_a_table, side="sell", price=price)[0] == reason


@either_way
@pytest.mark.parametrize(
    ("last", "side", "collar"),
    [
        ("20.00", "buy", 21_0000),
        ("20.00", "sell", 19_0000),
        ("20.10", "buy", 21_1000),  # 5 % are 1.005, of which 1.00 are whole ticks
        ("20.10", "sell", 19_1000),
        ("0.10", "buy", 1050),  # below 1.00 a tick is 0.0001
        ("0.10", "sell", 950),
    ],
)
def test_a_market_order_is_given_a_collar_of_five_percent_in_whole_ticks(
    last: str, side: str, collar: int, *, in_a_table: bool
) -> None:
    desk = network()
    filled(desk, price=last)
    assert taken(desk, in_a_table=in_a_table, side=side, **MARKET) == (None, collar)
    assert desk["c1"].tables["requests"].frame["ord_type"][-1] == "market"


@either_way
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_market_order_for_more_than_a_record_has_room_for_at_its_collar_is_an_error(
    side: str, *, in_a_table: bool
) -> None:
    desk = network()
    filled(desk)
    terms: Row = TERMS | MARKET | {"side": side, "order_qty": 10**10}
    if in_a_table:
        (error,) = desk["c1"].submit_many(pl.DataFrame([terms]))["error"]
    else:
        with pytest.raises(InvalidValue) as raised:
            desk["c1"].submit(**terms)
        error = str(raised.value)
    assert "at the order's price" in error


@either_way
def test_a_market_order_never_costs_more_than_it_was_found_to_use(*, in_a_table: bool) -> None:
    desk = network(books=replace(WITH_FEES, cash=6_200 * 10_000))
    filled(desk, order_qty=10)
    submit(desk["c1"], account="bob", side="sell", order_qty=40)
    submit(desk["c1"], account="bob", side="sell", order_qty=100, price="200.00")
    desk.run()
    before = cash_of(desk)
    assert taken(desk, in_a_table=in_a_table, **MARKET) == (None, 21_0000)
    order = desk["c1"].orders("alice")["order_id"].to_list()[-1]
    desk.run()
    answer = desk["c1"].status(order)
    assert (answer.cum_qty, answer.leaves_qty) == (40, 0)
    assert cash_of(desk) == before - 40 * PRICE - 40 * 30 - 40 * PRICE * 7 // 10_000
    assert desk["c1"].view.available("alice", "USD") == cash_of(desk)
    assert desk.audit().verdict


@either_way
def test_a_market_buy_needs_its_collar_and_its_fees(*, in_a_table: bool) -> None:
    needed = 100 * 21_0000 + 100 * 30 + 100 * 21_0000 * 7 // 10_000
    for cash, reason in ((needed, None), (needed - 1, "not enough cash")):
        desk = network(books=replace(WITH_FEES, accounts=("alice", "bob", "eve"), cash=cash))
        filled(desk, "bob", "eve", order_qty=10)
        assert taken(desk, in_a_table=in_a_table, **MARKET)[0] == reason


def test_a_fee_that_is_not_posted_yet_is_used_up() -> None:
    desk = network(books=replace(WITH_FEES, cash=100 * PRICE + FEE))
    desk.partition("firm")
    filled(desk)
    assert desk["c1"].view.available("alice", "USD") == 0
    assert submit(desk["c1"], order_qty=10, price=100).reject_reason == "not enough cash"
    desk.heal()
    desk.run()
    assert cash_of(desk) == 0
    assert desk.audit().verdict


def test_a_replace_needs_what_it_asks_for_beyond_what_its_order_reserves_with_fees() -> None:
    more = 10 * PRICE + 10 * 30 + 10 * PRICE * 7 // 10_000
    for lacking, reason in ((0, None), (1, "not enough cash")):
        desk = network(books=replace(WITH_FEES, cash=100 * PRICE + FEE + more - lacking))
        order = submit(desk["c1"])
        desk.run()
        change: Row = {"request_type": "replace", "order_id": order.order_id, "order_qty": 110}
        table = pl.DataFrame([change], schema_overrides={"order_id": pl.UInt64})
        assert desk["c1"].replace(order, order_qty=110).reject_reason == reason
        told = desk["c1"].submit_many(table)["reject_reason"].item()
        assert told == reason


def test_a_change_of_a_market_order_keeps_its_collar_and_states_none(desk: Network) -> None:
    filled(desk)
    order = submit(desk["c1"], **MARKET)
    assert desk["c1"].replace(order, order_qty=50).reject_reason is None
    assert desk["c1"].replace(order, order_qty=40, price=0).reject_reason is None
    for price in (PRICE, "21.01"):
        with pytest.raises(InvalidValue, match="no price for a market order"):
            desk["c1"].replace(order, price=price)
    desk["c1"].cancel(order)
    assert desk["c1"].tables["requests"].frame["price"].to_list()[-4:] == [21_0000] * 4
    assert desk["c1"].status(order).price == 21_0000


def test_a_repeat_of_a_market_order_is_answered_with_the_original(desk: Network) -> None:
    filled(desk)
    first = submit(desk["c1"], cl_ord_id="A", **MARKET)
    for system in desk.customers:
        assert submit(system, cl_ord_id="A", **MARKET).record_id == first.record_id
        desk.run()
    filled(desk, price="20.50", order_qty=10)
    assert submit(desk["c2"], cl_ord_id="A", **MARKET).repeated
    with pytest.raises(InvalidValue, match="cl_ord_id"):
        submit(desk["c2"], cl_ord_id="A", price=21_0000)


def test_a_name_has_so_many_letters_at_most(desk: Network) -> None:
    longest = "ö" * NAME_LETTERS
    assert submit(desk["c1"], cl_ord_id=longest).cl_ord_id == longest
    with pytest.raises(InvalidValue, match="at most 255 letters"):
        submit(desk["c1"], cl_ord_id=longest + "x")
    table = pl.DataFrame([TERMS | {"cl_ord_id": name} for name in ("a", longest, longest + "x")])
    with pytest.raises(InvalidValue, match="at most 255 letters"):
        desk["c1"].submit_many(table)
    assert desk["c1"].submit_many(table[:2])["repeated"].to_list() == [False, True]
