"""The sample day: order flow in LOBSTER's message format that a seed generates. It is not real.

A small market per symbol makes it: a fair price walks in ticks of a cent, limit orders arrive
around it, most are cancelled, some are executed in price-time priority on a book that is never
crossed. The same arguments give the same bytes everywhere: a draw is a raw number of numpy's PCG64,
whose stream numpy promises never to change, and all that follows is integer arithmetic.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from tradesys.records import argument_checks as given
from tradesys.records.clock import to_date
from tradesys.records.errors import InvalidValue
from tradesys.venue.tapes.lobster import MessageType

SYMBOLS = ("ALFA", "BRVO", "CHRL", "DLTA")

_OPEN_S, _CLOSE_S = 34_200, 57_600
_LEVELS = 10
_MINUTES = (_CLOSE_S - _OPEN_S) // 60
_MINUTE_NS = 60 * 10**9
_UNITS_PER_TICK = 100
_EVENTS_MIN = 10

_MILLION = 1_000_000
"""A draw is an integer from 0 to a million; so are the thresholds below."""

# How busy each minute is: four times as busy at the open and the close as at noon.
_BUSY = [100 + 300 * (2 * minute - _MINUTES + 1) ** 2 // _MINUTES**2 for minute in range(_MINUTES)]
_BUSY_UNTIL = [total * _MINUTE_NS for total in accumulate(_BUSY)]

# What happens next: (of a million, what). What remains is a submission.
_ACTIONS = (
    (440_000, MessageType.DELETION),
    (12_000, MessageType.PARTIAL_CANCELLATION),
    (38_000, MessageType.EXECUTION),
    (14_000, MessageType.HIDDEN_EXECUTION),
)
_ACTION_UNTIL = list(accumulate(weight for weight, _ in _ACTIONS))

# Sizes, (of a million, shares): falling off roughly as a lognormal does. What remains is odd lots.
_SIZES = (
    *((520_000, 100), (125_000, 200), (60_000, 300), (35_000, 400), (45_000, 500), (15_000, 600)),
    *((10_000, 800), (32_000, 1_000), (8_000, 1_500), (9_000, 2_000), (3_000, 5_000)),
)
_SIZE_UNTIL = list(accumulate(weight for weight, _ in _SIZES))

# Ticks behind the touch: geometric, each tick two thirds as likely as the one before, at most 9.
_DISTANCE_UNTIL = [_MILLION - _MILLION * 2**n // 3**n for n in range(1, _LEVELS)]

_OLD_ORDERS = 6
"""Orders per symbol that are older than the file: what happens to them is an orphan in it."""

_RESTING_MIN, _RESTING_MAX = 24, 120
"""How many orders a symbol's book tends to hold: below it they arrive, above it they leave."""


def generate(
    folder: Path,
    *,
    seed: int = 2024,
    events: int = 20_000,
    symbols: Sequence[str] = SYMBOLS,
    date: str = "2024-06-03",
) -> tuple[Path, ...]:
    """Write one native LOBSTER message file per symbol into ``folder``, and return their paths.

    ``events`` is the number of events in all files together; a symbol's share of it is drawn.
    Prices are in 1/10,000 USD, times in New York's seconds after midnight, to the nanosecond.
    Files of the same names are overwritten; nothing else in the folder is touched.

    :raises InvalidValue: a negative ``seed``, a ``date`` that is none, ``symbols`` that are none,
        repeated or not of capital letters and digits, fewer than 10 ``events`` per symbol.
    """
    given.whole("seed", seed, 0)
    for symbol in symbols:
        if not re.fullmatch(r"[A-Z][A-Z0-9]*", symbol):
            raise InvalidValue("symbols", symbol, "capital letters and digits")
    if not symbols or len(set(symbols)) < len(symbols):
        raise InvalidValue("symbols", tuple(symbols), "at least one, and each only once")
    if events < _EVENTS_MIN * len(symbols):
        raise InvalidValue("events", events, f"at least {_EVENTS_MIN} per symbol")
    day = to_date(date, "date")

    folder.mkdir(parents=True, exist_ok=True)
    shares = [75 + draw % 51 for draw in _raw(len(symbols), seed)]
    until = [events * total // sum(shares) for total in accumulate(shares, initial=0)]
    paths = []
    for number, symbol in enumerate(symbols):
        messages = _day(until[number + 1] - until[number], seed, number + 1)
        name = f"{symbol}_{day}_{_OPEN_S * 1000}_{_CLOSE_S * 1000}_message_{_LEVELS}.csv"
        (folder / name).write_bytes("".join(messages).encode())
        paths.append(folder / name)
    return tuple(paths)


def _raw(count: int, *seed: int) -> list[int]:
    """That many raw numbers, from 0 to 2⁶⁴, of the stream that the seeds name."""
    raw: list[int] = np.random.PCG64(list(seed)).random_raw(count).tolist()
    return raw


def _day(events: int, seed: int, number: int) -> list[str]:
    """The lines of one symbol's file."""
    times = sorted(_time(draw) for draw in _raw(events, seed, number, 0))
    draws = [draw % _MILLION for draw in _raw(9 * events, seed, number, 1)]
    market = _Market(number, draws[0])
    now = times[0]
    while (done := len(market.messages)) < events:
        draw = draws[9 * done : 9 * done + 9]
        # One event in three follows close upon the one before it, within a fifth of a millisecond.
        now = min(times[done], now + 1 + draw[8] // 5) if draw[8] < 333_333 else times[done]
        market.step(now, draw)
    return market.messages[:events]


def _time(draw: int) -> int:
    """A time of the trading day, in nanoseconds after midnight, more likely in busy minutes."""
    draw %= _BUSY_UNTIL[-1]
    minute = bisect_right(_BUSY_UNTIL, draw)
    start = _BUSY_UNTIL[minute - 1] if minute else 0
    return (_OPEN_S + 60 * minute) * 10**9 + (draw - start) // _BUSY[minute]


def _size(draw: int, odd: int) -> int:
    """A number of shares: mostly round lots of 100."""
    place = bisect_right(_SIZE_UNTIL, draw)
    return _SIZES[place][1] if place < len(_SIZES) else 1 + odd * 99 // _MILLION


@dataclass(slots=True)
class _Order:
    """A resting order: ``direction`` 1 buys, -1 sells; ``ticks`` is its price, ``size`` is left."""

    order_id: int
    direction: int
    ticks: int
    size: int


class _Market:
    """One symbol's book, and the messages that it has given so far."""

    def __init__(self, number: int, draw: int) -> None:
        self.messages: list[str] = []
        self.fair = 2_000 + draw * 38_000 // _MILLION
        self.last_id = number * 100_000_000
        # The orders that rest, oldest first.
        self.orders: list[_Order] = []
        for old in range(_OLD_ORDERS):
            direction = 1 if old % 2 else -1
            ticks = self.fair - direction * (1 + old // 2)
            self.orders.append(_Order(self.last_id - 50 + old, direction, ticks, 100 * (1 + old)))

    def step(self, now: int, draw: list[int]) -> None:
        """Let one thing happen at ``now``, as nine draws decide; it gives at least one message."""
        if draw[0] < 200_000:
            self.fair += 1 if draw[0] < 100_000 or self.fair <= _LEVELS**2 else -1
        place = bisect_right(_ACTION_UNTIL, draw[1])
        kind = _ACTIONS[place][1] if place < len(_ACTIONS) else MessageType.SUBMISSION
        if len(self.orders) < _RESTING_MIN or self.best(1) is None or self.best(-1) is None:
            kind = MessageType.SUBMISSION
        elif len(self.orders) > _RESTING_MAX and kind is MessageType.SUBMISSION:
            kind = MessageType.DELETION
        if kind is MessageType.SUBMISSION:
            self.submit(now, draw)
        elif kind is MessageType.EXECUTION:
            self.execute(now, draw)
        elif kind is MessageType.HIDDEN_EXECUTION:
            self.execute_hidden(now, draw)
        else:
            self.cancel(now, draw, part=kind is MessageType.PARTIAL_CANCELLATION)

    def best(self, direction: int) -> _Order | None:
        """The order that is next to be executed on a side: the best-priced, of these the oldest."""
        side = (order for order in self.orders if order.direction == direction)
        return max(side, key=lambda order: direction * order.ticks, default=None)

    def touch(self) -> tuple[_Order, _Order]:
        """The best bid and the best ask of a book that has both."""
        bid, ask = self.best(1), self.best(-1)
        assert bid is not None, "a submission fills an empty side before anything else happens"
        assert ask is not None, "a submission fills an empty side before anything else happens"
        return bid, ask

    def say(self, now: int, kind: MessageType, order: _Order, size: int) -> None:
        """Add the message that ``size`` shares of ``order`` came, went or were executed."""
        price = order.ticks * _UNITS_PER_TICK
        self.messages.append(_line(now, kind, order.order_id, size, price, order.direction))

    def submit(self, now: int, draw: list[int]) -> None:
        """A limit order arrives at or behind the touch, and crosses no order of the other side."""
        direction = 1 if draw[2] % 2 else -1
        if self.best(direction) is None or self.best(-direction) is None:
            direction = 1 if self.best(1) is None else -1
        ticks = self.fair - direction * (1 + bisect_right(_DISTANCE_UNTIL, draw[3]))
        other = self.best(-direction)
        if other is not None and direction * (other.ticks - ticks) <= 0:
            ticks = other.ticks - direction
        self.last_id += 1 + draw[4] % 997
        order = _Order(self.last_id, direction, ticks, _size(draw[5], draw[6]))
        self.orders.append(order)
        self.say(now, MessageType.SUBMISSION, order, order.size)

    def cancel(self, now: int, draw: list[int], *, part: bool) -> None:
        """Of three resting orders the farthest from the fair price leaves, or a part of it."""
        some = [self.orders[draw[i] * len(self.orders) // _MILLION] for i in (2, 3, 5)]
        order = max(some, key=lambda order: abs(order.ticks - self.fair))
        if not part or order.size == 1:
            self.orders.remove(order)
            self.say(now, MessageType.DELETION, order, order.size)
            return
        lots = order.size // 100
        removed = 100 * (1 + draw[4] * (lots - 1) // _MILLION) if lots > 1 else order.size // 2
        order.size -= removed
        self.say(now, MessageType.PARTIAL_CANCELLATION, order, removed)

    def execute(self, now: int, draw: list[int]) -> None:
        """Somebody trades against the book: more likely a buyer where it is below the fair price.

        At most as deep as three ticks: what is left then of the aggressive order is cancelled,
        which nobody sees.
        """
        bid, ask = self.touch()
        # How far the fair price is above the middle of the book, in half ticks.
        cheap = 2 * self.fair - bid.ticks - ask.ticks
        buyer_percent = min(95, max(5, 50 + 15 * cheap))
        first = ask if draw[2] * 100 < buyer_percent * _MILLION else bid
        left = min(1_000, _size(draw[3], draw[4]))
        order: _Order | None = first
        while left and order is not None and abs(order.ticks - first.ticks) < 3:
            size = min(left, order.size)
            left -= size
            order.size -= size
            self.say(now, MessageType.EXECUTION, order, size)
            if not order.size:
                self.orders.remove(order)
                order = self.best(first.direction)

    def execute_hidden(self, now: int, draw: list[int]) -> None:
        """An order that nobody sees is executed midway between the best prices."""
        bid, ask = self.touch()
        price = (bid.ticks + ask.ticks) * _UNITS_PER_TICK // 2
        direction = 1 if draw[2] % 2 else -1
        size = _size(draw[3], draw[4])
        self.messages.append(_line(now, MessageType.HIDDEN_EXECUTION, 0, size, price, direction))


def _line(now: int, kind: MessageType, order_id: int, size: int, price: int, direction: int) -> str:
    return f"{now // 10**9}.{now % 10**9:09d},{kind:d},{order_id},{size},{price},{direction}\n"
