"""What is to happen in a simulation: every request and every fault, drawn from the seed beforehand.

A plan is plain data, so that a part of it can be left out and the rest run again: that is how a
failing seed is shrunk.
"""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from tradesys import given
from tradesys.charter import OpeningBooks
from tradesys.clock import MS
from tradesys.errors import InvalidValue
from tradesys.records import PRICE_SCALE
from tradesys.scenario import START_NS

FAULTS: dict[str, str] = {
    "crash": "the system stops, and comes back from its disk",
    "power": "the power fails in the middle of a write",
    "pause": "the system stands still, and goes on as if nothing had been",
    "slow-disk": "each write, and each sync, takes 1 to 4 ms",
    "lost-disk": "the system stops, and comes back with an empty disk",
    "partition": "the system is cut off from one other, or from all, both ways",
    "one-way": "what the system sends reaches nobody",
    "loss": "of what the system sends and is sent, a third is lost",
    "repeat": "of what the system sends and is sent, a half arrives twice",
    "delay": "what the system sends and is sent takes ten times as long",
    "skew": "the system's clock is moved by up to 2 s",
    "session": "the venue takes nothing from the street-side system and tells it nothing",
}
"""What can go wrong with a system, for a time."""

# Of two street-side systems, one is the home of the first and one that of the others.
BOOKS = OpeningBooks(symbols=("ALFA", "DLTA", "GOLF"), cash=400_000 * PRICE_SCALE, shares=3_000)
_TICK, _MID = 100, 50 * PRICE_SCALE


@dataclass(frozen=True)
class Choices:
    """How the systems are set up; each choice has its price.

    ``acknowledge``: an order is acknowledged when it is on disk at its ``"own"`` system, at
    ``"one"`` peer too, or at ``"all"``. ``every``: records are replicated as they come (0), or
    every so many ns. ``grace``: a street-side system unheard of for so many ns is taken over from.
    ``resend``: requests that nobody has answered are sent again.
    """

    acknowledge: str = "own"
    every: int = 0
    grace: int = 25 * MS
    resend: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no choice."""
        if self.acknowledge not in ("own", "one", "all"):
            raise InvalidValue("acknowledge", self.acknowledge, "own, one or all")
        given.whole("every", self.every, 0, of="ns")
        given.whole("grace", self.grace, 1, of="ns")


@dataclass(frozen=True)
class Ask:
    """What one customer wants at a time (ns after its phase begins).

    ``system`` is the number of the customer-facing system that is asked first; ``of`` names the
    order that a cancel, a replace or an inquiry is about; ``terms`` are of an order, or of a
    replace.
    """

    phase: int
    at: int
    kind: str
    name: str
    system: int
    of: str | None
    terms: dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong: when (ns after its phase begins), what, where, and how long.

    ``other`` is the system that it is cut off from (None: from all); ``amount`` is the writes until
    the power fails, the ns that a write takes, or the ns that the clock is moved.
    """

    phase: int
    at: int
    kind: str
    system: str
    other: str | None
    lasts: int
    amount: int


@dataclass(frozen=True)
class Market:
    """What the market does by itself at a time (ns after its phase begins).

    A ``"bust"`` or a ``"correct"`` is of both sides of a match, the one with this ``number`` of
    those that stand then; at a ``"day-end"`` orders expire.
    """

    phase: int
    at: int
    kind: str
    number: int = 0


@dataclass(frozen=True)
class Plan:
    """A simulation before it runs. It is quiet after each phase; then everything is checked."""

    seed: int
    customers: int
    streets: int
    phases: int
    choices: Choices
    asks: tuple[Ask, ...]
    faults: tuple[Fault, ...]
    market: tuple[Market, ...] = ()


def draw(
    seed: int,
    *,
    customers: int = 3,
    streets: int = 2,
    orders: int = 200,
    faults: int = 10,
    kinds: Collection[str] = tuple(FAULTS),
    phases: int = 2,
    choices: Choices | None = None,
) -> Plan:
    """Draw a plan.

    :param orders: how many orders are entered; about as many other requests come with them.
    :param faults: how many faults there are, of these ``kinds``.
    :raises InvalidValue: a number is out of its range, there is no such kind of fault, or no peer
        that an acknowledgement could wait for.
    """
    given.whole("seed", seed, 0)
    given.whole("customers", customers, 1, 63, of="customer-facing systems")
    given.whole("streets", streets, 1, 63, of="street-side systems")
    given.whole("orders", orders, 0)
    given.whole("faults", faults, 0)
    given.whole("phases", phases, 1)
    choices = choices or Choices()
    if customers == 1 and choices.acknowledge != "own":
        expected = "own where there is one customer-facing system: it has no peer"
        raise InvalidValue("acknowledge", choices.acknowledge, expected)
    for kind in kinds:
        if kind not in FAULTS:
            raise InvalidValue("faults", kind, f"among {', '.join(FAULTS)}")
    rng = random.Random(seed)
    asks = _asks(rng, customers, orders, phases)
    ends = [max([ask.at for ask in asks if ask.phase == p], default=MS) for p in range(phases)]
    names = [f"c{i + 1}" for i in range(customers)], [f"s{i + 1}" for i in range(streets)]
    drawn = [_fault(rng, sorted(kinds), names, ends) for _ in range(faults if kinds else 0)]
    return Plan(
        seed,
        customers,
        streets,
        phases,
        choices,
        tuple(asks),
        tuple(sorted(drawn, key=lambda f: (f.phase, f.at))),
        tuple(_market(rng, ends)),
    )


def _asks(rng: random.Random, customers: int, orders: int, phases: int) -> list[Ask]:
    asks: list[Ask] = []
    opened: list[str] = []
    mid = dict.fromkeys(BOOKS.symbols, _MID)
    for number in range(orders):
        phase = number * phases // orders
        if not asks or asks[-1].phase != phase:
            at = 0
        at += int(rng.expovariate(1 / (0.5 * MS))) + 1
        name = f"n{number}"
        asks.append(Ask(phase, at, "new", name, rng.randrange(customers), None, _terms(rng, mid)))
        opened.append(name)
        for kind, often in (("cancel", 0.25), ("replace", 0.12), ("inquire", 0.35)):
            if rng.random() < often:
                # A request about an order of a moment ago crosses its fills.
                of = rng.choice(opened[-8:] if rng.random() < 0.7 else opened)
                terms = {"order_qty": 100 * rng.randint(1, 9)} if kind == "replace" else {}
                later = at + int(rng.expovariate(1 / (3 * MS)))
                system = rng.randrange(customers)
                asks.append(Ask(phase, later, kind, f"{kind[0]}{number}", system, of, terms))
    return asks


def _terms(rng: random.Random, mid: dict[str, int]) -> dict[str, Any]:
    symbol, side = rng.choice(BOOKS.symbols), rng.choice(("buy", "sell"))
    mid[symbol] += _TICK * rng.randint(-3, 3)
    sign = 1 if side == "buy" else -1
    price = mid[symbol] - sign * _TICK * rng.randint(-4, 8) if rng.random() > 0.06 else None
    time_in_force = rng.choices(("day", "ioc", "fok", "gtc", "gtd"), (76, 6, 4, 8, 6))[0]
    expires = START_NS + rng.randint(50, 400) * MS if time_in_force == "gtd" else None
    return {
        "account": rng.choice(BOOKS.accounts),
        "symbol": symbol,
        "side": side,
        "order_qty": 100 * rng.randint(1, 9),
        "price": price,
        "time_in_force": time_in_force,
        "expire_time": expires,
    }


def _market(rng: random.Random, ends: list[int]) -> Iterator[Market]:
    """In some phases a bust, a correction, and the end of a day."""
    for phase, end in enumerate(ends):
        for kind, often in (("bust", 0.5), ("correct", 0.5), ("day-end", 0.3)):
            if rng.random() < often:
                yield Market(phase, rng.randint(end // 2, end), kind, rng.randrange(100))


def _fault(
    rng: random.Random,
    kinds: list[str],
    names: tuple[list[str], list[str]],
    ends: list[int],
) -> Fault:
    phase, kind = rng.randrange(len(ends)), rng.choice(kinds)
    customers, streets = names
    everybody = [*customers, *streets, "firm"]
    system = rng.choice(streets if kind == "session" else everybody)
    other = None
    if kind == "partition" and rng.random() < 0.6:
        other = rng.choice([name for name in everybody if name != system])
    amount = {
        "power": rng.randint(0, 12),
        "slow-disk": rng.randint(MS, 4 * MS),
        "skew": rng.randint(-2000 * MS, 2000 * MS),
    }.get(kind, 0)
    at = rng.randint(0, ends[phase])
    lasts = rng.randint(5 * MS, 80 * MS) if rng.random() < 0.85 else rng.randint(200 * MS, 300 * MS)
    return Fault(phase, at, kind, system, other, lasts, amount)
