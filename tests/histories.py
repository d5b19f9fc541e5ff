"""Random histories that come out the same, whoever carries the messages.

Goal: a network in one process, a simulation's transport and a cluster of processes end in equal
tables after the same orders, changes, cuts and crashes.
Method: while anything is cut off or down, a symbol takes one request at most. So the requests of a
symbol reach the market in the same order on every transport, however long each takes.
"""

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from tests.transport import Carrier
from tradesys.inquiry.answers import Order
from tradesys.network import Network
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import OpeningBooks
from tradesys.systems.customer import CustomerSystem

SYSTEMS = ("c1", "c2", "c3", "s1", "s2", "firm")
SYMBOLS = tuple(f"SYM{number}" for number in range(5))
ACCOUNTS = ("alice", "bob", "carol")
BOOKS = OpeningBooks(ACCOUNTS, SYMBOLS, 10**14, 10**9, tick_size=100, lot_size=10)
UNEQUAL = {
    *("ts", "received_at", "transact_time", "settle_date"),  # times are each transport's own
    *("record_id", "exec_id", "exec_ref_id", "poss_dup"),  # so is who executes in whose place
}


class Act(NamedTuple):
    """``enter``, ``cancel`` or ``replace`` at a system, ``cut`` or ``crash`` of it, or ``calm``.

    ``number`` is which order it is about, in the sequence of those entered.
    """

    kind: str
    at: str = ""
    number: int = 0
    terms: Mapping[str, Any] = MappingProxyType({})


def history(seed: int, acts: int = 24) -> list[Act]:
    """Acts drawn from a seed; the last one puts everything right."""
    drawn = _Drawn(random.Random(seed))
    while len(drawn.acts) < acts:
        drawn.draw()
    return [*drawn.acts, Act("calm")]


class _Drawn:
    """What has been drawn so far, and what is wrong after it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.acts: list[Act] = []
        self.entered: list[tuple[str, str]] = []  # at which system, in which symbol
        self.down, self.cut, self.busy = set[str](), set[str](), set[str]()

    def draw(self) -> None:
        """One act, or none where what is drawn is not possible now."""
        calm = not (self.down or self.cut)
        up = [c for c in ("c1", "c2", "c3") if c not in self.down]
        free = [s for s in SYMBOLS if calm or s not in self.busy]
        kind = self.rng.choices(("enter", "change", "cut", "crash", "calm"), (9, 5, 1, 1, 1))[0]
        if kind == "enter" and free:
            self._enter(self.rng.choice(up), self.rng.choice(free))
        elif kind == "change" and self.entered:
            number = self.rng.randrange(len(self.entered))
            own, symbol = self.entered[number]
            if symbol in free and (calm or own in up):
                self._change(number, self.rng.choice(up) if calm else own, symbol)
        elif kind == "calm" or (kind in ("cut", "crash") and len(self.down | self.cut) < 2):
            self._fault(kind, self.rng.choice(SYSTEMS))

    def _enter(self, at: str, symbol: str) -> None:
        terms = {
            "account": self.rng.choice(ACCOUNTS),
            "symbol": symbol,
            "side": self.rng.choice(("buy", "sell")),
            "order_qty": self.rng.randint(1, 9) * 10,
            "price": 200_000 + self.rng.randint(-1, 1) * 100,
            "time_in_force": "gtc",
            "cl_ord_id": f"h{len(self.entered)}",
        }
        self.acts.append(Act("enter", at, len(self.entered), terms))
        self.entered.append((at, symbol))
        self.busy.add(symbol)

    def _change(self, number: int, at: str, symbol: str) -> None:
        new = {"order_qty": self.rng.randint(1, 12) * 10} if self.rng.random() < 0.5 else {}
        self.acts.append(Act("replace" if new else "cancel", at, number, new))
        self.busy.add(symbol)

    def _fault(self, kind: str, at: str) -> None:
        if not (self.down or self.cut):
            if kind == "calm":
                return
            self.busy.clear()
        if kind == "calm":
            for each in (self.down, self.cut, self.busy):
                each.clear()
        else:
            (self.cut if kind == "cut" else self.down).add(at)
        self.acts.append(Act(kind, "" if kind == "calm" else at))


def play(carrier: Carrier, acts: list[Act]) -> list[Act]:
    """Let it happen; where nothing is wrong, all is quiet after each act. Gives what was refused.

    An order that is over by then cannot be changed.
    """
    orders: list[Order] = []
    refused: list[Act] = []
    down: list[str] = []
    disturbed = False
    for act in acts:
        match act.kind:
            case "calm":
                carrier.calm()
                for name in down:
                    carrier.restart(name)
                down, disturbed = [], False
            case "cut":
                carrier.cut(act.at)
                disturbed = True
            case "crash":
                carrier.crash(act.at)
                down, disturbed = [*down, act.at], True
            case _:
                try:
                    order = _ask(carrier, act, orders)
                except InvalidValue:
                    refused.append(act)
                else:
                    orders += [order] if act.kind == "enter" else []
        if not disturbed:
            carrier.settle()
    return refused


def _ask(carrier: Carrier, act: Act, orders: list[Order]) -> Order:
    def asked(system: CustomerSystem) -> Order:
        if act.kind == "enter":
            return system.submit(**act.terms)
        answer: Order = getattr(system, act.kind)(orders[act.number].order_id, **act.terms)
        return answer

    return carrier.enter(asked, act.at)


def outcome(desk: Network) -> dict[str, list[str]]:
    """What each system holds, and what each answers, but for what is a transport's own."""
    found: dict[str, list[str]] = {}
    for system in desk:
        for dataset, table in system.tables.items():
            frame = table.frame
            if dataset == "executions":
                frame = frame.unique("exec_id")  # two may have recorded what one stood in for
            own = UNEQUAL - {"record_id"} if dataset == "requests" else UNEQUAL
            columns = [name for name in frame.columns if name not in own]
            found[f"{system.name} {dataset}"] = _rows(frame.select(columns))
    for customer in desk.customers:
        found[f"{customer.name} statuses"] = _rows(customer.statuses())
        found[f"{customer.name} positions"] = _rows(customer.positions())
    return found


def _rows(frame: pl.DataFrame) -> list[str]:
    return sorted(map(str, frame.rows()))
