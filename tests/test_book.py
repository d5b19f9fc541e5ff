"""The rules of the order book, one a test, and its properties over any sequence of requests.

Goal: the matching engine answers every request as FIX 4.4 says, and by price before time.
Method: the smallest book that shows a rule; then Hypothesis draws requests over few prices and
small quantities, so that orders often meet, and holds the book against a model that is obviously
right: a plain list of resting orders, sorted anew before each match.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradesys.records.schemas import ExecType, OrdType, Side, TimeInForce
from tradesys.venue.order_book import Level, OrderBook, Report

BUY, SELL = Side.BUY, Side.SELL
MARKET, LIMIT = OrdType.MARKET, OrdType.LIMIT
DAY, GTC, GTD = TimeInForce.DAY, TimeInForce.GTC, TimeInForce.GTD
IOC, FOK = TimeInForce.IOC, TimeInForce.FOK
NEW, TRADE = ExecType.NEW, ExecType.TRADE
CANCELED, REPLACED = ExecType.CANCELED, ExecType.REPLACED
REJECTED, CANCEL_REJECTED = ExecType.REJECTED, ExecType.CANCEL_REJECTED


def book_of(*orders: tuple[int, Side, int, int]) -> OrderBook:
    """A book to which these limit orders came: order_id, side, quantity, price."""
    book = OrderBook()
    for order_id, side, qty, price in orders:
        book.new(order_id, side, LIMIT, DAY, qty, price)
    return book


def types(reports: list[Report]) -> list[ExecType]:
    return [report.exec_type for report in reports]


def trades(reports: list[Report]) -> list[tuple[int, int, int]]:
    """Of each trade report: order_id, quantity, price."""
    return [(r.order_id, r.last_qty, r.last_px) for r in reports if r.exec_type is TRADE]


# Rules of a new order.


def test_a_limit_order_that_meets_nothing_is_new_and_rests() -> None:
    book = OrderBook()
    assert book.new(1, BUY, LIMIT, DAY, 100, 50) == [Report(NEW, 1, 1, 100, 50, 0, 0, None)]
    assert book.depth() == ([Level(50, 100, 1)], [])


@pytest.mark.parametrize("time_in_force", [DAY, GTC, GTD])
def test_an_order_that_is_good_for_longer_than_now_rests(time_in_force: TimeInForce) -> None:
    book = OrderBook()
    book.new(1, SELL, LIMIT, time_in_force, 100, 50)
    assert book.depth() == ([], [Level(50, 100, 1)])


def test_a_match_reports_new_then_the_resting_order_then_the_aggressor() -> None:
    book = book_of((1, SELL, 100, 50))
    assert book.new(2, BUY, LIMIT, DAY, 30, 50) == [
        Report(NEW, 2, 2, 30, 50, 0, 0, None),
        Report(TRADE, 1, 1, 100, 50, 30, 50, None),
        Report(TRADE, 2, 2, 30, 50, 30, 50, None),
    ]
    assert book.depth() == ([], [Level(50, 70, 1)])


def test_a_trade_is_at_the_price_of_the_resting_order() -> None:
    assert trades(book_of((1, SELL, 5, 50)).new(2, BUY, LIMIT, DAY, 5, 55))[1] == (2, 5, 50)
    assert trades(book_of((1, BUY, 5, 50)).new(2, SELL, LIMIT, DAY, 5, 45))[1] == (2, 5, 50)


def test_the_better_price_trades_first() -> None:
    book = book_of((1, SELL, 5, 51), (2, SELL, 5, 50), (3, SELL, 5, 52))
    assert trades(book.new(4, BUY, LIMIT, DAY, 15, 52))[::2] == [(2, 5, 50), (1, 5, 51), (3, 5, 52)]


def test_at_one_price_the_earlier_order_trades_first() -> None:
    book = book_of((3, BUY, 5, 50), (1, BUY, 5, 50), (2, BUY, 5, 50))
    assert trades(book.new(4, SELL, LIMIT, DAY, 12, 50))[::2] == [
        (3, 5, 50),
        (1, 5, 50),
        (2, 2, 50),
    ]


def test_a_partly_filled_order_keeps_its_place_in_time() -> None:
    book = book_of((1, SELL, 5, 50), (2, SELL, 5, 50), (3, BUY, 2, 50))
    assert trades(book.new(4, BUY, LIMIT, DAY, 4, 50))[::2] == [(1, 3, 50), (2, 1, 50)]


def test_what_remains_of_a_limit_order_rests_at_its_limit() -> None:
    book = book_of((1, SELL, 5, 50), (2, BUY, 8, 51))
    assert book.depth() == ([Level(51, 3, 1)], [])


def test_a_limit_order_does_not_trade_beyond_its_limit() -> None:
    book = book_of((1, SELL, 5, 51))
    assert types(book.new(2, BUY, LIMIT, DAY, 5, 50)) == [NEW]
    assert book.depth() == ([Level(50, 5, 1)], [Level(51, 5, 1)])


def test_a_market_order_takes_what_is_there_and_the_rest_is_canceled() -> None:
    book = book_of((1, SELL, 5, 50), (2, SELL, 5, 90))
    reports = book.new(3, BUY, MARKET, DAY, 12, None)
    assert types(reports) == [NEW, TRADE, TRADE, TRADE, TRADE, CANCELED]
    assert trades(reports)[1::2] == [(3, 5, 50), (3, 5, 90)]
    assert reports[-1] == Report(CANCELED, 3, 3, 12, None, 0, 0, "no liquidity")
    assert book.depth() == ([], [])


def test_a_market_order_on_an_empty_book_is_canceled() -> None:
    assert types(OrderBook().new(1, SELL, MARKET, GTC, 5, None)) == [NEW, CANCELED]


@pytest.mark.parametrize(("side", "other", "far"), [(BUY, SELL, 90), (SELL, BUY, 10)])
def test_a_market_order_with_a_price_trades_no_worse_and_the_rest_is_canceled(
    side: Side, other: Side, far: int
) -> None:
    book = book_of((1, other, 5, 50), (2, other, 5, far))
    reports = book.new(3, side, MARKET, DAY, 12, 50)
    assert trades(reports)[1::2] == [(3, 5, 50)]
    assert reports[-1] == Report(CANCELED, 3, 3, 12, 50, 0, 0, "beyond its collar")
    assert types(book.new(4, side, MARKET, FOK, 5, 50)) == [NEW, CANCELED]


def test_the_rest_of_an_ioc_order_is_canceled() -> None:
    book = book_of((1, SELL, 5, 50), (2, SELL, 5, 51))
    reports = book.new(3, BUY, LIMIT, IOC, 8, 50)
    assert types(reports) == [NEW, TRADE, TRADE, CANCELED]
    assert reports[-1] == Report(CANCELED, 3, 3, 8, 50, 0, 0, "immediate or cancel")
    assert book.depth() == ([], [Level(51, 5, 1)])


def test_a_fok_order_is_filled_in_full_over_several_levels() -> None:
    book = book_of((1, SELL, 5, 50), (2, SELL, 5, 51))
    assert trades(book.new(3, BUY, LIMIT, FOK, 10, 51))[1::2] == [(3, 5, 50), (3, 5, 51)]


@pytest.mark.parametrize(("order_qty", "price"), [(11, 51), (6, 50)])
def test_a_fok_order_that_cannot_be_filled_in_full_is_canceled_with_no_trade(
    order_qty: int, price: int
) -> None:
    book = book_of((1, SELL, 5, 50), (2, SELL, 5, 51))
    before = book.depth()
    reports = book.new(3, BUY, LIMIT, FOK, order_qty, price)
    assert types(reports) == [NEW, CANCELED]
    assert reports[-1].text == "fill or kill"
    assert book.depth() == before


def test_a_market_fok_order_is_all_or_nothing() -> None:
    book = book_of((1, SELL, 5, 50))
    assert types(book.new(2, BUY, MARKET, FOK, 6, None)) == [NEW, CANCELED]
    assert types(book.new(3, BUY, MARKET, FOK, 5, None)) == [NEW, TRADE, TRADE]


def test_plain_strings_do_for_enumerations() -> None:
    book = OrderBook()
    assert types(book.new(1, "buy", "limit", "day", 5, 50)) == [NEW]
    assert types(book.new(2, "sell", "market", "ioc", 9, None)) == [NEW, TRADE, TRADE, CANCELED]


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        (("bye", "limit", "day", 5, 50), "side='bye': expected buy or sell"),
        (("buy", "stop", "day", 5, 50), "ord_type='stop': expected market or limit"),
        (
            ("buy", "limit", "x", 5, 50),
            "time_in_force='x': expected one of day, gtc, ioc, fok, gtd",
        ),
        (("buy", "limit", "day", 0, 50), "order_qty=0: expected at least 1"),
        (("buy", "limit", "day", 5, 0), "price=0: expected at least 1"),
        (("buy", "limit", "day", 5, None), "price=None: expected the limit of a limit order"),
        (("buy", "market", "day", 5, 0), "price=0: expected at least 1"),
    ],
)
def test_terms_that_make_no_order_are_rejected_with_what_was_expected(
    terms: tuple[str, str, str, int, int | None], text: str
) -> None:
    book = book_of((1, SELL, 5, 50))
    before = book.depth()
    assert book.new(2, *terms) == [Report(REJECTED, 2, 2, *terms[3:], 0, 0, text)]
    assert book.depth() == before
    assert book.cancel(3, 2)[0].text == "unknown order"


# Rules of a cancel.


def test_a_cancel_takes_the_order_off_the_book() -> None:
    book = book_of((1, BUY, 5, 50), (2, BUY, 6, 50), (3, BUY, 7, 49))
    assert book.cancel(4, 1) == [Report(CANCELED, 4, 1, 5, 50, 0, 0, None)]
    assert book.depth() == ([Level(50, 6, 1), Level(49, 7, 1)], [])
    book.cancel(5, 2)
    assert book.depth() == ([Level(49, 7, 1)], [])


def test_a_cancel_of_a_partly_filled_order_cancels_what_remains() -> None:
    book = book_of((1, BUY, 5, 50), (2, SELL, 2, 50))
    assert book.cancel(3, 1) == [Report(CANCELED, 3, 1, 5, 50, 0, 0, None)]
    assert book.depth() == ([], [])


def test_a_cancel_of_an_order_that_is_not_on_the_book_says_why() -> None:
    book = book_of((1, BUY, 5, 50), (2, SELL, 5, 50), (3, BUY, 5, 50))
    book.cancel(4, 3)
    book.new(5, BUY, LIMIT, IOC, 5, 50)
    assert book.cancel(6, 1) == [Report(CANCEL_REJECTED, 6, 1, 5, 50, 0, 0, "already filled")]
    assert book.cancel(7, 3) == [Report(CANCEL_REJECTED, 7, 3, 5, 50, 0, 0, "already canceled")]
    assert book.cancel(8, 5) == [Report(CANCEL_REJECTED, 8, 5, 5, 50, 0, 0, "already canceled")]
    assert book.cancel(9, 77) == [Report(CANCEL_REJECTED, 9, 77, 0, None, 0, 0, "unknown order")]


# Rules of a replace.


def test_a_smaller_quantity_at_the_same_price_keeps_its_place_in_time() -> None:
    book = book_of((1, SELL, 5, 50), (2, SELL, 5, 50))
    assert book.replace(3, 1, 4, 50) == [Report(REPLACED, 3, 1, 4, 50, 0, 0, None)]
    assert trades(book.new(4, BUY, LIMIT, DAY, 5, 50))[::2] == [(1, 4, 50), (2, 1, 50)]


def test_a_replace_that_changes_nothing_keeps_its_place_in_time() -> None:
    book = book_of((1, SELL, 5, 50), (2, SELL, 5, 50))
    assert types(book.replace(3, 1, 5, 50)) == [REPLACED]
    assert trades(book.new(4, BUY, LIMIT, DAY, 5, 50))[0] == (1, 5, 50)


def test_a_larger_quantity_loses_its_place_in_time() -> None:
    book = book_of((1, SELL, 5, 50), (2, SELL, 5, 50))
    assert book.replace(3, 1, 6, 50) == [Report(REPLACED, 3, 1, 6, 50, 0, 0, None)]
    assert trades(book.new(4, BUY, LIMIT, DAY, 6, 50))[::2] == [(2, 5, 50), (1, 1, 50)]


def test_another_price_loses_its_place_in_time_even_after_going_back() -> None:
    book = book_of((1, SELL, 5, 50), (2, SELL, 5, 50))
    book.replace(3, 1, 5, 51)
    assert book.depth() == ([], [Level(50, 5, 1), Level(51, 5, 1)])
    book.replace(4, 1, 5, 50)
    assert trades(book.new(5, BUY, LIMIT, DAY, 5, 50))[0] == (2, 5, 50)


def test_a_replace_with_no_price_keeps_the_price() -> None:
    book = book_of((1, SELL, 5, 50))
    assert book.replace(2, 1, 9, None) == [Report(REPLACED, 2, 1, 9, 50, 0, 0, None)]
    assert book.depth() == ([], [Level(50, 9, 1)])


def test_a_replace_to_a_price_that_crosses_trades_at_once() -> None:
    book = book_of((1, BUY, 5, 50), (2, SELL, 8, 52))
    assert book.replace(3, 2, 8, 49) == [
        Report(REPLACED, 3, 2, 8, 49, 0, 0, None),
        Report(TRADE, 1, 1, 5, 50, 5, 50, None),
        Report(TRADE, 3, 2, 8, 49, 5, 50, None),
    ]
    assert book.depth() == ([], [Level(49, 3, 1)])


def test_a_replace_that_is_filled_at_once_does_not_rest() -> None:
    book = book_of((1, BUY, 5, 50), (2, SELL, 5, 52))
    assert trades(book.replace(3, 2, 5, 50)) == [(1, 5, 50), (2, 5, 50)]
    assert book.depth() == ([], [])


def test_the_new_quantity_of_a_replace_includes_what_is_filled() -> None:
    book = book_of((1, SELL, 10, 50), (2, BUY, 4, 50))
    book.replace(3, 1, 7, 50)
    assert book.depth() == ([], [Level(50, 3, 1)])


@pytest.mark.parametrize("order_qty", [4, 1])
@pytest.mark.parametrize("price", [None, 50, 60])
def test_a_quantity_no_larger_than_what_is_filled_closes_the_order_as_filled(
    order_qty: int, price: int | None
) -> None:
    book = book_of((1, SELL, 10, 50), (2, BUY, 4, 50), (3, SELL, 1, 50))
    reports = book.replace(4, 1, order_qty, price)
    assert reports == [Report(REPLACED, 4, 1, 4, price or 50, 0, 0, None)]
    assert book.depth() == ([], [Level(50, 1, 1)])
    assert book.cancel(5, 1)[0].text == "already filled"


def test_a_trade_names_the_last_accepted_replace_of_each_order() -> None:
    book = book_of((1, SELL, 9, 50))
    book.replace(2, 1, 8, 50)
    book.replace(3, 1, 0, 50)
    reports = book.new(4, BUY, LIMIT, DAY, 5, 50)
    assert [(r.request_id, r.order_id) for r in reports] == [(4, 4), (2, 1), (4, 4)]


@pytest.mark.parametrize(
    ("order_qty", "price", "text"),
    [
        (0, 50, "order_qty=0: expected at least 1"),
        (5, -1, "price=-1: expected at least 1"),
    ],
)
def test_a_replace_with_impossible_terms_is_refused_and_the_order_stays(
    order_qty: int, price: int, text: str
) -> None:
    book = book_of((1, BUY, 5, 50))
    reports = book.replace(2, 1, order_qty, price)
    assert reports == [Report(CANCEL_REJECTED, 2, 1, 5, 50, 0, 0, text)]
    assert book.depth() == ([Level(50, 5, 1)], [])


def test_a_replace_of_an_order_that_is_not_on_the_book_says_why() -> None:
    book = book_of((1, BUY, 5, 50), (2, SELL, 5, 50))
    assert book.replace(3, 1, 9, 50)[0].text == "already filled"
    assert book.replace(4, 77, 9, 50) == [
        Report(CANCEL_REJECTED, 4, 77, 0, None, 0, 0, "unknown order")
    ]


# Rules of a repeat, and the view of the book.


def test_each_request_id_is_answered_once() -> None:
    book = book_of((1, BUY, 5, 50))
    assert book.new(1, BUY, LIMIT, DAY, 5, 50) == []
    assert types(book.replace(2, 1, 9, 51)) == [REPLACED]
    assert book.replace(2, 1, 9, 51) == []
    assert types(book.cancel(3, 1)) == [CANCELED]
    assert book.cancel(3, 1) == []
    assert types(book.cancel(4, 1)) == [CANCEL_REJECTED]
    assert book.cancel(4, 1) == []
    assert types(book.new(5, BUY, LIMIT, DAY, 0, 50)) == [REJECTED]
    assert book.new(5, BUY, LIMIT, DAY, 0, 50) == []


def test_a_request_id_that_was_answered_is_not_answered_as_another_request() -> None:
    book = book_of((1, BUY, 5, 50), (2, BUY, 5, 50))
    book.cancel(3, 1)
    assert book.cancel(3, 2) == []
    assert book.new(3, SELL, LIMIT, DAY, 5, 50) == []
    assert book.depth() == ([Level(50, 5, 1)], [])


def test_an_empty_book_has_no_depth() -> None:
    book = OrderBook()
    assert book.depth() == ([], [])


def test_depth_goes_from_the_best_price_on_for_so_many_levels() -> None:
    book = book_of((1, BUY, 1, 48), (2, BUY, 2, 49), (3, BUY, 3, 49), (4, SELL, 4, 51))
    assert book.depth(1) == ([Level(49, 5, 2)], [Level(51, 4, 1)])
    assert book.depth() == ([Level(49, 5, 2), Level(48, 1, 1)], [Level(51, 4, 1)])
    assert book.depth(0) == ([], [])


# Properties of any sequence of requests. A request's id is its place in the sequence, from 1, and a
# cancel or replace may be about an order that comes later, never, or that was no order at all.


class NewOrder(NamedTuple):
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    order_qty: int
    price: int | None


class Cancel(NamedTuple):
    order_id: int


class Replace(NamedTuple):
    order_id: int
    order_qty: int
    price: int | None


Request = NewOrder | Cancel | Replace

order_ids = st.integers(1, 25)
quantities = st.integers(1, 9)
prices = st.integers(1, 4)
rests = st.builds(NewOrder, st.sampled_from(Side), st.just(LIMIT), st.just(DAY), quantities, prices)
any_order = st.builds(
    NewOrder,
    st.sampled_from(Side),
    st.sampled_from(OrdType),
    st.sampled_from(TimeInForce),
    st.integers(0, 12),
    st.none() | st.integers(0, 4),
)
a_cancel = st.builds(Cancel, order_ids)
a_replace = st.builds(Replace, order_ids, st.integers(0, 12), st.none() | st.integers(0, 4))
any_request = rests | rests | any_order | a_cancel | a_replace | a_replace
# Any length is as likely as any other: by itself Hypothesis draws mostly lists of a few.
sequences = st.integers(0, 40).flatmap(lambda n: st.lists(any_request, min_size=n, max_size=n))


def send(book: OrderBook, request_id: int, request: Request) -> list[Report]:
    match request:
        case NewOrder():
            return book.new(request_id, *request)
        case Cancel():
            return book.cancel(request_id, *request)
        case Replace():
            return book.replace(request_id, *request)


@dataclass
class Known:
    """What the reports so far say of one order; ``gone_qty`` was canceled."""

    side: Side
    order_qty: int = 0
    price: int | None = None
    cum_qty: int = 0
    gone_qty: int = 0

    @property
    def leaves_qty(self) -> int:
        return self.order_qty - self.cum_qty - self.gone_qty


def learn(
    known: dict[int, Known], request_id: int, request: Request, reports: list[Report]
) -> None:
    """Add to what is known of each order what these reports say."""
    if isinstance(request, NewOrder):
        known[request_id] = Known(request.side)
    for report in reports:
        if report.order_id not in known:
            assert report.text == "unknown order"
            continue
        order = known[report.order_id]
        order.cum_qty += report.last_qty
        if report.exec_type in (NEW, REPLACED):
            order.order_qty, order.price = report.order_qty, report.price
        if report.exec_type is CANCELED:
            order.gone_qty = order.leaves_qty


@given(sequences)
def test_the_book_is_never_crossed(requests: list[Request]) -> None:
    book = OrderBook()
    for request_id, request in enumerate(requests, 1):
        send(book, request_id, request)
        for bid, ask in zip(*book.depth(1), strict=False):
            assert bid.price < ask.price


@given(sequences)
def test_quantities_conserve_and_the_book_holds_just_what_is_open(requests: list[Request]) -> None:
    book, known = OrderBook(), dict[int, Known]()
    for request_id, request in enumerate(requests, 1):
        learn(known, request_id, request, send(book, request_id, request))
        levels: dict[tuple[Side, int | None], list[int]] = defaultdict(list)
        for order in known.values():
            assert min(order.leaves_qty, order.gone_qty) >= 0
            if order.leaves_qty:
                levels[order.side, order.price].append(order.leaves_qty)
        bids, asks = book.depth(99)
        held = {(BUY, level.price): level for level in bids}
        held |= {(SELL, level.price): level for level in asks}
        assert {key: (sum(qtys), len(qtys)) for key, qtys in levels.items()} == {
            key: (level.qty, level.orders) for key, level in held.items()
        }


@given(sequences)
def test_every_report_repeats_the_terms_in_force(requests: list[Request]) -> None:
    book, known = OrderBook(), dict[int, Known]()
    for request_id, request in enumerate(requests, 1):
        reports = send(book, request_id, request)
        learn(known, request_id, request, reports)
        for report in reports:
            if report.exec_type is not REJECTED and report.text != "unknown order":
                order = known[report.order_id]
                assert (report.order_qty, report.price) == (order.order_qty, order.price)


@given(sequences)
def test_trades_come_in_pairs_at_a_price_no_worse_than_either_limit(
    requests: list[Request],
) -> None:
    book, sides = OrderBook(), dict[int, Side]()
    for request_id, request in enumerate(requests, 1):
        if isinstance(request, NewOrder):
            sides[request_id] = request.side
        fills = [r for r in send(book, request_id, request) if r.exec_type is TRADE]
        for resting, aggressor in zip(fills[::2], fills[1::2], strict=True):
            assert {sides[resting.order_id], sides[aggressor.order_id]} == {BUY, SELL}
            assert aggressor.request_id == request_id
            assert resting.last_qty == aggressor.last_qty > 0
            assert resting.last_px == aggressor.last_px == resting.price
            for fill in (resting, aggressor):
                if fill.price is not None and sides[fill.order_id] is BUY:
                    assert fill.last_px <= fill.price
                elif fill.price is not None:
                    assert fill.last_px >= fill.price


@given(sequences, st.lists(st.integers(0, 39), max_size=40))
def test_repeated_requests_change_nothing(requests: list[Request], repeats: list[int]) -> None:
    once, again = OrderBook(), OrderBook()
    for request_id, request in enumerate(requests, 1):
        assert send(once, request_id, request) == send(again, request_id, request)
        for index in repeats:
            if index < request_id:
                assert send(again, index + 1, requests[index]) == []
        assert once.depth(99) == again.depth(99)


# The model: orders in a plain list, sorted before each match.


@dataclass
class Entry:
    """An order of the model; ``arrival`` is when it took its place in time."""

    order_id: int
    request_id: int
    side: Side
    order_qty: int
    price: int | None
    arrival: int
    cum_qty: int = 0
    state: str = "open"


@dataclass
class Model:
    """The rules again, with no thought for speed."""

    entries: dict[int, Entry] = field(default_factory=dict)
    resting: list[Entry] = field(default_factory=list)

    def report(
        self,
        exec_type: ExecType,
        entry: Entry,
        request_id: int,
        trade: tuple[int, int] = (0, 0),
    ) -> tuple[object, ...]:
        """A report without its text."""
        return (exec_type, request_id, entry.order_id, entry.order_qty, entry.price, *trade)

    def in_reach(self, entry: Entry) -> list[Entry]:
        """The resting orders that this one can trade with, by price and then time."""
        buys = entry.side is BUY
        found = []
        for other in self.resting:
            assert other.price is not None
            gain = 0 if entry.price is None else (entry.price - other.price) * (1 if buys else -1)
            if other.side is not entry.side and gain >= 0:
                found.append(other)
        return sorted(found, key=lambda o: ((o.price or 0) * (1 if buys else -1), o.arrival))

    def trade(self, entry: Entry) -> list[tuple[object, ...]]:
        reports = []
        for other in self.in_reach(entry):
            qty = min(entry.order_qty - entry.cum_qty, other.order_qty - other.cum_qty)
            if qty:
                assert other.price is not None
                for one in (other, entry):
                    one.cum_qty += qty
                    reports.append(self.report(TRADE, one, one.request_id, (qty, other.price)))
                    one.state = "filled" if one.cum_qty == one.order_qty else "open"
        self.resting = [other for other in self.resting if other.state == "open"]
        return reports

    def new(self, order_id: int, order: NewOrder) -> list[tuple[object, ...]]:
        side, ord_type, time_in_force, order_qty, price = order
        entry = Entry(order_id, order_id, side, order_qty, price, arrival=order_id)
        priced = price > 0 if price is not None else ord_type is MARKET
        if order_qty < 1 or not priced:
            return [self.report(REJECTED, entry, order_id)]
        self.entries[order_id] = entry
        reports = [self.report(NEW, entry, order_id)]
        there = sum(other.order_qty - other.cum_qty for other in self.in_reach(entry))
        if time_in_force is not FOK or there >= order_qty:
            reports += self.trade(entry)
        if entry.state == "open":
            if ord_type is LIMIT and time_in_force in (DAY, GTC, GTD):
                self.resting.append(entry)
            else:
                entry.state = "canceled"
                reports.append(self.report(CANCELED, entry, order_id))
        return reports

    def change(self, request_id: int, request: Cancel | Replace) -> list[tuple[object, ...]]:
        entry = self.entries.get(request.order_id)
        if entry is None:
            return [(CANCEL_REJECTED, request_id, request.order_id, 0, None, 0, 0)]
        if entry.state != "open":
            return [self.report(CANCEL_REJECTED, entry, request_id)]
        if isinstance(request, Cancel):
            entry.state = "canceled"
            self.resting.remove(entry)
            return [self.report(CANCELED, entry, request_id)]
        _, order_qty, price = request
        if order_qty < 1 or price == 0:
            return [self.report(CANCEL_REJECTED, entry, request_id)]
        if price is None:
            price = entry.price
        if price != entry.price or order_qty > entry.order_qty:
            entry.arrival = request_id
        entry.request_id, entry.price = request_id, price
        entry.order_qty = max(order_qty, entry.cum_qty)
        self.resting.remove(entry)
        reports = [self.report(REPLACED, entry, request_id)]
        if entry.order_qty == entry.cum_qty:
            entry.state = "filled"
            return reports
        reports += self.trade(entry)
        if entry.state == "open":
            self.resting.append(entry)
        return reports


@settings(max_examples=400)  # a place in time shows only when both orders at a price trade later
@given(sequences)
def test_every_report_is_that_of_a_sorted_list_of_orders(requests: list[Request]) -> None:
    book, model = OrderBook(), Model()
    for request_id, request in enumerate(requests, 1):
        reports = send(book, request_id, request)
        if isinstance(request, NewOrder):
            expected = model.new(request_id, request)
        else:
            expected = model.change(request_id, request)
        assert [report[:-1] for report in reports] == expected
        for report in reports:
            entry = model.entries.get(report.order_id)
            if report.exec_type is CANCEL_REJECTED and (entry is None or entry.state != "open"):
                assert report.text == (f"already {entry.state}" if entry else "unknown order")
