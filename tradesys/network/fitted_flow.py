"""Customers who trade as those of a recorded day did: a market to trade against, without its tape.

How they trade is a few numbers and distributions for each symbol, fitted from a tape
(:mod:`tradesys.analytics.flow_fitting`), kept as JSON, and drawn from a seed. Each draw is
independent of all others: what a real market's orders say about each other is lost.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tradesys.network.network import Network
from tradesys.network.scenario import Flow
from tradesys.records import argument_checks as given
from tradesys.records.clock import ManualClock
from tradesys.records.errors import InvalidValue
from tradesys.venue import BookVenue

NEVER = float("inf")


@dataclass(frozen=True)
class Habits:
    """How the customers of one symbol trade. Tuples are samples to be drawn from, each as likely.

    ``per_second`` counts all orders. The part ``taking`` of them takes what rests, ``taken_qty``
    shares of it; the others rest: ``order_qty`` shares, ``away`` from the best price of the other
    side, in 1/10,000 of the currency. The part ``canceled`` of those is canceled, after
    ``lifetime_s`` seconds. ``bid`` and ``ask`` are the best prices, in 1/10,000, where nothing has
    rested yet.

    Rates by the distance from the other side are those of Cont, Stoikov and Talreja, "A stochastic
    model for order book dynamics" (2010): the wider the spread, the more orders better the price.
    """

    per_second: float
    taking: float
    taken_qty: tuple[int, ...]
    order_qty: tuple[int, ...]
    away: tuple[int, ...]
    canceled: float
    lifetime_s: tuple[float, ...]
    bid: int
    ask: int


_HABITS = [field.name for field in fields(Habits)]
_EXPECTED = f"the habits of each symbol, as tradesys fit writes them: {', '.join(_HABITS)}"


def write(habits: Mapping[str, Habits], path: str | Path) -> None:
    """Write the habits of symbols as one JSON object."""
    text = json.dumps({symbol: asdict(each) for symbol, each in habits.items()}, indent=1)
    Path(path).write_text(text + "\n", encoding="utf-8")


def read(path: str | Path) -> dict[str, Habits]:
    """The habits of symbols that :func:`write` wrote.

    :raises InvalidValue: the file holds something else.
    """
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        return {symbol: _habits(each) for symbol, each in told.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidValue("flow", str(path), _EXPECTED) from error


def _habits(told: dict[str, Any]) -> Habits:
    """The habits of one symbol; a list is a sample, and every sample has something to be drawn."""
    values: dict[str, Any]
    values = {n: tuple(v) if isinstance(v, list) else v for n, v in told.items()}
    found = Habits(**values)
    samples = (found.taken_qty, found.order_qty, found.away, found.lifetime_s)
    parts = found.taking, found.canceled
    counts = (found.per_second, found.bid, found.ask, *(n for each in samples for n in each))
    if not (all(samples) and all(0 <= n <= 1 for n in parts) and all(n > 0 for n in counts)):
        raise ValueError(told)
    return found


class FittedFlow(Flow):
    """Customers with the habits of a tape, who look at the order book before they enter.

    :param habits: of each symbol of the network, as :func:`read` gives them.
    :param per_second: orders a second in all symbols; by default as many as on the tape.
    :param seed: of everything that is drawn.
    :raises InvalidValue: a symbol of the network has no habits, or its market has no order book.
    """

    def __init__(
        self,
        network: Network,
        habits: Mapping[str, Habits],
        accounts: Sequence[str] = (),
        *,
        per_second: float | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__(network, accounts, seed=seed)
        self.venue = given.a(BookVenue, "venue", network.venue, "a market with an order book")
        self.habits = [habits[given.one_of("symbol", s, habits)] for s in self.symbols.tolist()]
        rates = np.array([each.per_second for each in self.habits])
        self.per_second = float(rates.sum()) if per_second is None else per_second
        self._busy = rates / rates.sum()
        self._best = [(each.bid, each.ask) for each in self.habits]

    def _draw(self, count: int) -> pl.DataFrame:
        counts = self._rng.multinomial(count, self._busy)
        parts = [self._in_symbol(n, k) for n, k in enumerate(counts.tolist()) if k]
        return pl.concat(parts).with_columns(account=self._rng.choice(self.accounts, count))

    def _in_symbol(self, number: int, count: int) -> pl.DataFrame:
        """So many orders in a symbol, around its best prices."""
        rng, habits = self._rng, self.habits[number]
        bid, ask = self._look(number)
        buys, takes = rng.random(count) < 0.5, rng.random(count) < habits.taking
        # Who takes goes as deep as anybody rests.
        away = np.where(takes, -max(habits.away), rng.choice(habits.away, count))
        price = np.where(buys, ask - away, bid + away)
        tick = self.network.manifest.books.tick_size
        qty = np.where(
            takes, rng.choice(habits.taken_qty, count), rng.choice(habits.order_qty, count)
        )
        return pl.DataFrame(
            {
                "symbol": np.full(count, self.symbols[number]),
                "side": np.where(buys, "buy", "sell"),
                "order_qty": qty,
                "price": np.maximum(price - price % tick, tick),
                "time_in_force": np.where(takes, "ioc", "day"),
            }
        )

    def _look(self, number: int) -> tuple[int, int]:
        """The best prices of a symbol; where a side is empty, those that it had last."""
        bids, asks = self.venue.books[str(self.symbols[number])].depth(1)
        bid, ask = self._best[number]
        self._best[number] = bids[0].price if bids else bid, asks[0].price if asks else ask
        return self._best[number]

    def _patience_s(self, orders: pl.DataFrame) -> NDArray[np.float64]:
        lives = np.full(len(orders), NEVER)
        for symbol, habits in zip(self.symbols.tolist(), self.habits, strict=True):
            of_it = np.flatnonzero(
                (orders["symbol"] == symbol) & (orders["time_in_force"] == "day")
            )
            drawn = self._rng.choice(habits.lifetime_s, len(of_it))
            lives[of_it] = np.where(self._rng.random(len(of_it)) < habits.canceled, drawn, NEVER)
        return lives


def run(flow: Flow, seconds: float, *, step_s: float = 1.0) -> None:
    """Let a network trade for so many seconds of its own clock, a step at a time.

    In each step the orders that fall into it enter, and the network runs until it is quiet.

    :raises InvalidValue: the network's clock is not one that can be set.
    """
    network = flow.network
    clock = given.a(ManualClock, "clock", network.clock, "a ManualClock, to be moved on")
    for _ in range(round(seconds / step_s)):
        clock.advance(round(step_s * 1e9))
        flow.advance(step_s)
        network.run()
