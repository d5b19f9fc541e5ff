"""A made-up trading session against the simulated market: seeded, so the same every time.

Customers enter, replace and cancel orders around a price that wanders; any customer-facing system
may be the one they reach. The notebooks and the command line use it; it holds no rule of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tradesys.network import Network
from tradesys.records import argument_checks as given
from tradesys.records.clock import ManualClock
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import PRICE_SCALE
from tradesys.systems.customer import CustomerSystem

START_NS = 1_717_421_400_000_000_000
"""The first moment of a session: 3 June 2024, 09:30 in New York."""

_TICK = 100
_STEP_NS = 250_000_000


@dataclass(frozen=True)
class Session:
    """What was asked of a network: ``requests`` in all, ``refused`` of them with a reason."""

    network: Network
    requests: int
    refused: int


def session(
    *,
    customers: int = 3,
    streets: int = 2,
    orders: int = 1000,
    seed: int = 1,
    books: OpeningBooks | None = None,
    data: str | Path | None = None,
) -> Session:
    """Run a session of so many orders on a new network, to the point where all is quiet.

    About one order in four is canceled later and one in eight is replaced; every 50 requests the
    network runs until it is quiet.

    :param seed: of everything that is drawn.
    :param books: by default four accounts that own the more, the more orders there are.
    :raises InvalidValue: a number is out of its range.
    """
    given.whole("orders", orders, 1, of="orders")
    given.whole("seed", seed, 0)
    books = _books(orders) if books is None else books
    given.a(OpeningBooks, "books", books, "an OpeningBooks with accounts and symbols", _is_tradable)
    clock = ManualClock(START_NS)
    network = Network(customers, streets, firm=books, data=data, clock=clock)
    rng = np.random.default_rng(seed)
    mid = dict.fromkeys(books.symbols, 50_0000)
    opened: list[int] = []
    requests = refused = 0
    for _ in range(orders):
        clock.advance(int(rng.exponential(_STEP_NS)) + 1)
        symbol = str(rng.choice(list(books.symbols)))
        mid[symbol] = max(10_0000, mid[symbol] + _TICK * int(rng.integers(-3, 4)))
        order = _draw(rng, network, books, symbol, mid[symbol])
        requests, refused = requests + 1, refused + (order is None)
        if order is not None:
            opened.append(order)
        if opened and rng.random() < 0.375:
            requests += _change(rng, network, opened)
        if requests % 50 == 0:
            network.run()
    network.run()
    return Session(network, requests, refused)


def _books(orders: int) -> OpeningBooks:
    """Opening books that hardly any of so many orders exceeds."""
    counted = max(orders, 250)
    return OpeningBooks(cash=counted * 4_000 * PRICE_SCALE, shares=counted * 40)


def _is_tradable(books: OpeningBooks) -> bool:
    return bool(books.accounts and books.symbols)


def _draw(
    rng: np.random.Generator, network: Network, books: OpeningBooks, symbol: str, mid: int
) -> int | None:
    """Enter an order at a customer-facing system drawn at random; None when it was refused."""
    side = "buy" if rng.random() < 0.5 else "sell"
    sign = 1 if side == "buy" else -1
    price = None if rng.random() < 0.1 else mid - sign * _TICK * int(rng.integers(-4, 15))
    customer = network.customers[int(rng.integers(len(network.customers)))]
    order = customer.submit(
        account=str(rng.choice(list(books.accounts))),
        symbol=symbol,
        side=side,
        order_qty=100 * int(rng.integers(1, 10)),
        price=price,
    )
    return None if order.reject_reason else order.order_id


def _change(rng: np.random.Generator, network: Network, opened: list[int]) -> int:
    """Cancel or replace an order through whichever system the customer reaches now."""
    customer = network.customers[int(rng.integers(len(network.customers)))]
    order_id = opened.pop(int(rng.integers(len(opened))))
    state = customer.view.order(order_id)
    if state is None or not state.leaves_qty:
        return 0
    if state.price and rng.random() < 1 / 3:
        customer.replace(order_id, order_qty=state.order_qty + 100)
    else:
        customer.cancel(order_id)
    return 1


def _takes_orders(customer: CustomerSystem) -> bool:
    """Whether it is up, and knows of accounts and instruments."""
    if customer.down:
        return False
    return bool(customer.reference.accounts and customer.reference.symbols)


class Flow:
    """Customers who keep a market busy: so many orders a second, and most canceled again.

    Entered in tables, at every customer-facing system that is up, around prices that wander.

    :param accounts: whose orders they are; all accounts, when none is named.
    :param per_second: orders a second; may be changed at any time.
    :param seed: of everything that is drawn.
    """

    _PATIENCE_S = 2.0

    def __init__(
        self,
        network: Network,
        accounts: Sequence[str] = (),
        *,
        per_second: float = 0,
        seed: int = 1,
    ) -> None:
        books = network.manifest.books
        self.network, self.per_second = network, per_second
        self.accounts = np.array(accounts or books.accounts)
        self.symbols = np.array(books.symbols)
        self.entered = 0
        self._rng = np.random.default_rng(seed)
        self._mid = np.full(len(self.symbols), 50_0000, np.int64)
        self._due = 0.0
        self._now = 0.0
        self._placed = pl.DataFrame(schema={"order_id": pl.UInt64, "until": pl.Float64})

    def advance(self, seconds: float) -> int:
        """Enter what falls into the next so many seconds; gives how many orders were entered."""
        self._now += seconds
        self._due += self.per_second * seconds
        count, up = int(self._due), [c for c in self.network.customers if _takes_orders(c)]
        self._due -= count
        if not up:
            return 0
        for customer, share in zip(up, self._shares(count, len(up)), strict=True):
            if share:
                orders = self._draw(share)
                told = customer.submit_many(orders)
                until = self._now + self._patience_s(orders)
                placed = told.select("order_id", "accepted", until=pl.Series(until))
                self._placed.extend(placed.filter("accepted").drop("accepted"))
        self._cancel(up[int(self._rng.integers(len(up)))])
        self.entered += count
        return count

    def _shares(self, count: int, systems: int) -> list[int]:
        """How many of the orders each system takes: as equal as can be, the rest by lot."""
        first = int(self._rng.integers(systems))
        return [(count + (i + first) % systems) // systems for i in range(systems)]

    def _draw(self, count: int) -> pl.DataFrame:
        rng = self._rng
        moves = _TICK * rng.integers(-1, 2, len(self.symbols))
        self._mid = np.maximum(self._mid + moves, 10_0000)
        symbol, is_buy = rng.integers(len(self.symbols), size=count), rng.random(count) < 0.5
        away = _TICK * rng.integers(-2, 16, count)
        return pl.DataFrame(
            {
                "account": rng.choice(self.accounts, count),
                "symbol": self.symbols[symbol],
                "side": np.where(is_buy, "buy", "sell"),
                "order_qty": 100 * rng.integers(1, 10, count),
                "price": self._mid[symbol] - np.where(is_buy, away, -away),
            }
        )

    def _patience_s(self, orders: pl.DataFrame) -> NDArray[np.float64]:
        """How long each of these orders waits until it is canceled."""
        return np.full(len(orders), self._PATIENCE_S)

    def _cancel(self, customer: CustomerSystem) -> None:
        """Cancel what has waited for long enough, through whichever system is reached now."""
        is_due = pl.col("until") <= self._now
        orders = self._placed.filter(is_due)["order_id"]
        if len(orders):
            self._placed = self._placed.filter(~is_due)
            known = customer.tables["requests"].holds(orders.to_numpy())
            waiting = orders.filter(pl.Series(known, dtype=pl.Boolean))
            customer.submit_many(pl.DataFrame({"order_id": waiting, "request_type": "cancel"}))


def by_status(network: Network) -> pl.DataFrame:
    """How many orders each customer-facing system shows in each status.

    :returns: ``ord_status`` and a column of counts for each system.
    """
    counts = [c.statuses().select("ord_status", system=pl.lit(c.name)) for c in network.customers]
    return (
        pl.concat(counts)
        .pivot("system", index="ord_status", values="system", aggregate_function="len")
        .fill_null(0)
        .sort("ord_status")
    )
