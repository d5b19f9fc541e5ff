"""What is to happen in a simulation: every request and every fault, drawn from the seed beforehand.

A plan is plain data, so that a part of it can be left out and the rest run again: that is how a
failing seed is shrunk.
"""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tradesys.network.scenario import START_NS
from tradesys.records import argument_checks as given
from tradesys.records.clock import MS, to_ns
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import PRICE_SCALE

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
POOR_BOOKS = replace(
    BOOKS, cash=20_500 * PRICE_SCALE, shares=1_200, fee_per_share=1_0000, fee_per_notional=50
)
"""Accounts that can afford little, and fees that count: four hundred shares, but not their fees."""
_BUYER = BOOKS.accounts[-1]
"""An account that only buys, until it can no more."""
_TICK, _MID = 100, 50 * PRICE_SCALE

_MOMENTS = (
    "2024-06-03T15:59:59.985-04:00",  # a Monday, at its close
    "2024-06-04T09:30:00-04:00",
    "2024-06-07T15:59:59.985-04:00",  # a Friday
    "2024-06-09T12:00:00-04:00",  # a Sunday
    "2024-07-03T12:59:59.985-04:00",  # an early close
    "2024-11-04T09:30:00-05:00",  # after the clocks went back
    "2024-12-25T12:00:00-05:00",
)
NIGHTS = tuple(to_ns(moment) - START_NS for moment in _MOMENTS)
"""Where time goes on after a night, in ns after the first moment of a simulation."""


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
    replace, ``expires_in`` ns for a time from then. ``cl_ord_id`` is what the customer calls it: by
    default ``name``. Without one, None, he asks once and not again.
    """

    phase: int
    at: int
    kind: str
    name: str
    system: int
    of: str | None
    terms: dict[str, Any]
    cl_ord_id: str | None = ""

    @property
    def called(self) -> str | None:
        """What the customer calls it."""
        return self.name if self.cl_ord_id == "" else self.cl_ord_id


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

    A ``"bust"`` or a ``"correct"`` is of both sides of a match that stands then, and ``number``
    draws which, and whether it is named by its trades or by what amended them last. At a
    ``"day-end"`` orders expire; at a ``"night"`` all clocks go on at one of :data:`NIGHTS`.
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
    books: OpeningBooks = BOOKS


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
        tuple(sorted(_market(rng, ends), key=lambda m: (m.phase, m.at))),
        rng.choice((BOOKS, POOR_BOOKS)),
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
        name, called = f"n{number}", _called(rng, number)
        new = Ask(phase, at, "new", name, rng.randrange(customers), None, _terms(rng, mid), called)
        asks.append(new)
        opened.append(name)
        for kind, often in (("cancel", 0.25), ("replace", 0.12), ("inquire", 0.35)):
            if rng.random() < often:
                # A request about an order of a moment ago crosses its fills.
                of = rng.choice(opened[-8:] if rng.random() < 0.7 else opened)
                terms = _changes(rng) if kind == "replace" else {}
                later = at + int(rng.expovariate(1 / (3 * MS)))
                system = rng.randrange(customers)
                asks.append(Ask(phase, later, kind, f"{kind[0]}{number}", system, of, terms))
    return asks


def _called(rng: random.Random, number: int) -> str | None:
    """The customer's own name for an order: as a rule its own, that of an earlier one, or none."""
    drawn = rng.random()
    if drawn < 0.08 and number:
        return f"n{rng.randrange(number)}"
    return None if drawn < 0.2 else ""


def _terms(rng: random.Random, mid: dict[str, int]) -> dict[str, Any]:
    account, symbol = rng.choice(BOOKS.accounts), rng.choice(BOOKS.symbols)
    side = "buy" if account == _BUYER else rng.choice(("buy", "sell"))
    mid[symbol] += _TICK * rng.randint(-3, 3)
    sign, drawn = 1 if side == "buy" else -1, rng.random()
    price = mid[symbol] - sign * _TICK * rng.randint(-4, 8) if drawn > 0.1 else None
    if drawn > 0.94:  # beyond what the collar of a market order reaches
        price = mid[symbol] - sign * 400 * _TICK
    return {
        "account": account,
        "symbol": symbol,
        "side": side,
        "order_qty": 100 * rng.randint(1, 9),
        "price": price,
        **_in_force(rng, {"day": 70, "ioc": 7, "fok": 5, "gtc": 9, "gtd": 9}),
    }


def _changes(rng: random.Random) -> dict[str, Any]:
    """What a replace asks for: another quantity, another time in force, or both."""
    changed = rng.random()
    qty = {"order_qty": 100 * rng.randint(1, 9)} if changed < 0.8 else {}
    return qty | (_in_force(rng, {"day": 1, "gtc": 1, "gtd": 1}) if changed > 0.7 else {})


def _in_force(rng: random.Random, among: dict[str, int]) -> dict[str, Any]:
    time_in_force = rng.choices(list(among), list(among.values()))[0]
    if time_in_force != "gtd":
        return {"time_in_force": time_in_force}
    expires_in = rng.choice((rng.randint(20, 400) * MS, 86_400_000 * MS))
    return {"time_in_force": time_in_force, "expires_in": expires_in}


def _market(rng: random.Random, ends: list[int]) -> Iterator[Market]:
    """In some phases busts, corrections, the end of a day, and nights."""
    often = {"bust": 2, "correct": 4, "day-end": 1, "night": 2}
    for phase, end in enumerate(ends):
        for kind, most in often.items():
            for _ in range(rng.randint(0, most)):
                yield Market(phase, rng.randint(end // 4, end), kind, rng.randrange(100))


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
