"""Random lives of orders across several systems, and what their records come to, counted by hand.

A :class:`World` writes what real systems would: customers ask, the firm's books open, street-side
systems report (an event sometimes twice, through two of them), the firm posts. What follows from
any set of those records is computed here once more in plain Python, one loop a rule, and shares
nothing with the package but the names of the columns.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
from hypothesis import strategies as st

from tests.build import PRICE, Row, batch, record_id, whole

ACCOUNTS, SYMBOLS, SIDES = ("alice", "bob"), ("ALFA", "DLTA"), ("buy", "sell")
CUSTOMERS, STREETS = ("c1", "c2", "c3"), ("s1", "s2")


@dataclass
class Working:
    """An order as the market knows it."""

    terms: Row
    in_force: Row
    cum_qty: int = 0
    answered: bool = False
    closed: bool = False
    changes: list[Row] = field(default_factory=list)


class World:
    """Records of every origin, in sequence, that actions on a few orders left behind."""

    def __init__(self) -> None:
        self.logs: dict[tuple[str, str], list[Row]] = {}
        self.orders: list[Working] = []
        self.events = 0
        self.fills: list[Row] = []
        legs = [(a, s, n) for a in ACCOUNTS for s, n in (("USD", 10**9), ("ALFA", 500))]
        for account, asset, amount in legs:
            self._write("postings", "firm", account=account, asset=asset, amount=amount)
            self._write("postings", "firm", account="capital", asset=asset, amount=-amount)

    def _write(self, dataset: str, system: str, **columns: object) -> Row:
        log = self.logs.setdefault((dataset, system), [])
        row = whole(dataset, {"record_id": record_id(system, len(log)), **columns})
        log.append(row)
        return row

    def rows(self, dataset: str) -> list[Row]:
        """Every record of a dataset, origin by origin."""
        return [row for (name, _), log in self.logs.items() if name == dataset for row in log]

    # ---- actions; ``draw`` is a number that decides what the action leaves open

    def enter(self, draw: random.Random) -> None:
        """A customer's new order; the system refuses it now and then."""
        system = draw.choice(CUSTOMERS)
        order_id = record_id(system, len(self.logs.get(("requests", system), ())))
        market = draw.random() < 0.2
        row = self._write(
            "requests",
            system,
            request_type="new",
            order_id=order_id,
            cl_ord_id=f"N{len(self.orders)}",
            account=draw.choice(ACCOUNTS),
            symbol=draw.choice(SYMBOLS),
            side=draw.choice(SIDES),
            ord_type="market" if market else "limit",
            time_in_force=draw.choice(("day", "gtc", "ioc", "fok")),
            order_qty=draw.randint(1, 9),
            price=None if market else PRICE + draw.randint(-3, 3),
            reject_reason="not enough cash" if draw.random() < 0.1 else None,
        )
        if row["reject_reason"] is None:
            self.orders.append(Working(row, row))

    def ask(self, draw: random.Random) -> None:
        """A cancel or a replace, at any customer-facing system; refused now and then."""
        if not self.orders:
            return
        order = draw.choice(self.orders)
        kind = draw.choice(("cancel", "replace"))
        system = draw.choice(CUSTOMERS)
        limit = order.terms["ord_type"] == "limit"
        terms = order.terms | {
            "request_type": kind,
            "cl_ord_id": f"{kind}{sum(len(o.changes) for o in self.orders)}",
            "orig_cl_ord_id": order.in_force["cl_ord_id"],
            "reject_reason": "account closed" if draw.random() < 0.1 else None,
        }
        if kind == "replace":
            price = PRICE + draw.randint(-3, 3) if limit else None
            terms |= {"order_qty": draw.randint(1, 12), "price": price}
        del terms["record_id"]
        row = self._write("requests", system, **terms)
        if row["reject_reason"] is None:
            order.changes.append(row)

    def answer(self, draw: random.Random) -> None:
        """The market answers a new order, or a change of one."""
        waiting = [o for o in self.orders if not o.answered or o.changes]
        if not waiting:
            return
        order = draw.choice(waiting)
        if not order.answered:
            order.answered = True
            order.closed = draw.random() < 0.1
            self._report(draw, order, order.terms, "rejected" if order.closed else "new")
            return
        request = order.changes.pop(draw.randrange(len(order.changes)))
        if order.closed or draw.random() < 0.2:
            self._report(draw, order, request, "cancel_rejected")
        elif request["request_type"] == "cancel":
            order.closed = True
            self._report(draw, order, request, "canceled")
        else:
            order.in_force = request | {"order_qty": max(request["order_qty"], order.cum_qty)}
            self._report(draw, order, order.in_force, "replaced")

    def fill(self, draw: random.Random) -> None:
        """A trade; one in ten is of more than the order asks for."""
        working = [o for o in self.orders if o.answered and not o.closed]
        if not working:
            return
        order = draw.choice(working)
        left = order.in_force["order_qty"] - order.cum_qty
        qty = draw.randint(1, max(left, 1) + (3 if draw.random() < 0.1 else 0))
        order.cum_qty += qty
        price = PRICE + draw.randint(-3, 3)
        self.fills.append(
            self._report(draw, order, order.in_force, "trade", last_qty=qty, last_px=price)
        )

    def expire(self, draw: random.Random) -> None:
        """The market closes an order by itself."""
        working = [o for o in self.orders if o.answered and not o.closed]
        if working:
            order = draw.choice(working)
            order.closed = True
            self._report(draw, order, order.in_force, "expired")

    def repeat(self, draw: random.Random) -> None:
        """A street-side system reports an event that another has reported."""
        known = self.rows("executions")
        if known:
            row = draw.choice(known)
            system = "s1" if row["record_id"] >= record_id("s2", 0) else "s2"
            self._write("executions", system, **_without_id(row) | {"poss_dup": True})

    def clear(self, draw: random.Random) -> None:
        """The firm posts some of the fills, four legs each."""
        for row in self.fills[: draw.randint(0, len(self.fills))]:
            sign = 1 if row["side"] == "buy" else -1
            shares = sign * row["last_qty"]
            for asset, amount in ((row["symbol"], shares), ("USD", -shares * row["last_px"])):
                for account, leg in ((row["account"], amount), ("clearing", -amount)):
                    terms = {"account": account, "asset": asset, "amount": leg}
                    self._write("postings", "firm", exec_id=row["exec_id"], **terms)
            self.fills.remove(row)

    def _report(
        self, draw: random.Random, order: Working, about: Row, exec_type: str, **columns: object
    ) -> Row:
        system = draw.choice(STREETS)
        terms = _without_id(about) | {
            "exec_type": exec_type,
            "exec_id": record_id("v", self.events),
            "request_id": about["record_id"],
            "order_id": order.terms["order_id"],
        }
        if exec_type == "rejected" and draw.random() < 0.5:
            # What a street-side system decides by itself has its own id there.
            terms["exec_id"] = record_id(system, len(self.logs.get(("executions", system), ())))
        if exec_type in ("cancel_rejected", "canceled"):
            terms |= {n: order.in_force[n] for n in ("order_qty", "price")}
        self.events += 1
        return self._write("executions", system, **terms | columns)

    # ---- arrival

    def batches(self, draw: random.Random, count: int) -> list[tuple[str, pa.RecordBatch]]:
        """Every log cut into about so many batches in all, in a random order of arrival in which
        only the batches of one log keep their sequence; a fill's four legs stay in one batch.
        """
        parts: list[list[tuple[str, pa.RecordBatch]]] = []
        total = sum(len(log) for log in self.logs.values())
        for (dataset, _), log in self.logs.items():
            step = 4 if dataset == "postings" else 1
            cuts = range(step, len(log), step)
            wanted = min(len(cuts), round(count * len(log) / total))
            bounds = [0, *sorted(draw.sample(cuts, wanted)), len(log)]
            pairs = itertools.pairwise(bounds)
            parts.append([(dataset, batch(dataset, log[a:b])) for a, b in pairs])
        turns = [i for i, part in enumerate(parts) for _ in part]
        draw.shuffle(turns)
        return [parts[i].pop(0) for i in turns]


def _without_id(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "record_id"}


ACTIONS = {
    "enter": 4,
    "ask": 3,
    "answer": 6,
    "fill": 5,
    "expire": 1,
    "repeat": 2,
    "clear": 1,
}
"""How often each action is taken, beside the others."""


@st.composite
def worlds(draw: st.DrawFn, max_actions: int = 60) -> World:
    """A world after some actions, often many."""
    names = [name for name, weight in ACTIONS.items() for _ in range(weight)]
    least = draw(st.sampled_from([0, 10, 40]))
    taken = draw(st.lists(st.sampled_from(names), min_size=least, max_size=max_actions))
    chance, world = random.Random(draw(st.integers(0, 2**32))), World()
    for name in taken:
        getattr(world, name)(chance)
    return world


def large_world(seed: int, actions: int) -> World:
    """A world after many actions."""
    chance, world = random.Random(seed), World()
    for name in chance.choices(list(ACTIONS), list(ACTIONS.values()), k=actions):
        getattr(world, name)(chance)
    return world


# What records come to, one rule a line.


def events(reports: Iterable[Row]) -> list[Row]:
    """Each event once, in the order in which the market numbered them."""
    return [row for _, row in sorted({row["exec_id"]: row for row in reports}.items())]


def expected_statuses(requests: Iterable[Row], reports: Iterable[Row]) -> list[Row]:
    """The rows that :func:`tradesys.status.statuses` gives."""
    asked, told = list(requests), events(reports)
    entered = {r["order_id"]: r for r in asked if r["request_type"] == "new"}
    first: dict[int, Row] = {}
    for row in told:
        first.setdefault(row["order_id"], row)
    return [_expected(i, (first | entered)[i], asked, told) for i in sorted(first | entered)]


def _expected(order_id: int, terms: Row, asked: list[Row], told: list[Row]) -> Row:
    mine = [row for row in told if row["order_id"] == order_id]
    kinds = {row["exec_type"] for row in mine}
    for row in mine:
        if row["exec_type"] in ("new", "replaced"):
            terms = terms | {n: row[n] for n in ("order_qty", "price", "cl_ord_id")}
    fills = [(row["last_qty"], row["last_px"]) for row in mine if row["exec_type"] == "trade"]
    cum_qty = sum(qty for qty, _ in fills)
    refused = terms.get("reject_reason") is not None or "rejected" in kinds
    closed = refused or bool(kinds & {"canceled", "expired"})
    columns = ("order_id", "cl_ord_id", "account", "symbol", "side", "ord_type", "price")
    pending = {r["request_type"] for r in unanswered(asked, told) if r["order_id"] == order_id}
    return {n: terms[n] for n in columns} | {
        "ord_status": _rank(kinds, pending, cum_qty, terms["order_qty"], refused=refused),
        "order_qty": terms["order_qty"],
        "cum_qty": cum_qty,
        "leaves_qty": 0 if closed else max(0, terms["order_qty"] - cum_qty),
        "avg_px": sum(q * p for q, p in fills) / (cum_qty * 10_000) if fills else None,
    }


def _rank(kinds: set[str], pending: set[str], cum: int, qty: int, *, refused: bool) -> str:
    """The names of the statuses that hold, the highest first."""
    holds = {
        "pending_cancel": "cancel" in pending,
        "pending_replace": "replace" in pending,
        "filled": 0 < cum >= qty,
        "canceled": "canceled" in kinds,
        "expired": "expired" in kinds,
        "partially_filled": cum > 0,
        "rejected": refused,
        "new": "new" in kinds,
    }
    return next((name for name, held in holds.items() if held), "pending_new")


def unanswered(requests: Iterable[Row], reports: Iterable[Row]) -> Iterator[Row]:
    """The accepted changes that no report answers."""
    answers = ("canceled", "replaced", "cancel_rejected")
    done = {row["request_id"] for row in reports if row["exec_type"] in answers}
    for row in requests:
        change = row["request_type"] != "new" and row["reject_reason"] is None
        if change and row["record_id"] not in done:
            yield row


def is_closed(order_id: int, requests: Iterable[Row], reports: Iterable[Row]) -> bool:
    """Whether an order was refused, rejected, canceled or has expired."""
    closing = ("rejected", "canceled", "expired")
    told = any(r["order_id"] == order_id and r["exec_type"] in closing for r in reports)
    return told or any(r["record_id"] == order_id and r["reject_reason"] for r in requests)


def expected_reserved(order: Row, requests: Iterable[Row], reports: Iterable[Row]) -> int:
    """What an order may still spend or sell, the replaces that wait for an answer included."""
    if is_closed(order["order_id"], requests, reports):
        return 0
    waiting = [row for row in unanswered(requests, reports) if row["request_type"] == "replace"]
    asked = [order, *(row for row in waiting if row["order_id"] == order["order_id"])]
    uses = [(max(0, r["order_qty"] - order["cum_qty"]), r["price"] or 0) for r in asked]
    return max(qty * price if order["side"] == "buy" else qty for qty, price in uses)


def expected_balances(
    requests: Iterable[Row], reports: Iterable[Row], postings: Iterable[Row]
) -> dict[tuple[str, str], tuple[int, int, int]]:
    """``booked, uncleared, reserved`` of each account and asset that any record touches."""
    balances: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    legs, asked, told = list(postings), list(requests), list(reports)
    cleared = {leg["exec_id"] for leg in legs}
    for leg in legs:
        balances[leg["account"], leg["asset"]][0] += leg["amount"]
    for row in events(told):
        if row["exec_type"] == "trade" and row["exec_id"] not in cleared:
            shares = row["last_qty"] if row["side"] == "buy" else -row["last_qty"]
            balances[row["account"], row["symbol"]][1] += shares
            balances[row["account"], "USD"][1] -= shares * row["last_px"]
    for order in expected_statuses(asked, told):
        asset = "USD" if order["side"] == "buy" else order["symbol"]
        balances[order["account"], asset][2] += expected_reserved(order, asked, told)
    return {key: (booked, due, held) for key, (booked, due, held) in balances.items()}
