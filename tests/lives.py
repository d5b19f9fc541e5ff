"""Random lives of orders across several systems, and what their records come to, counted by hand.

A :class:`World` writes what real systems would: customers ask, the firm's books open, street-side
systems report (an event sometimes twice, through two of them), the firm posts. What follows from
any set of those records is computed here once more in plain Python, one loop a rule, and shares
nothing with the package but the names of the columns.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
from hypothesis import strategies as st

from tests.build import PRICE, Row, batch, record_id, whole

ACCOUNTS, SYMBOLS, SIDES = ("alice", "bob"), ("ALFA", "DLTA"), ("buy", "sell")
TIMES_IN_FORCE = ("day", "gtc", "ioc", "fok", "gtd")
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
    trades: list[list[Row]] = field(default_factory=list)


class World:
    """Records of every origin, in sequence, that actions on a few orders left behind."""

    def __init__(self) -> None:
        self.logs: dict[tuple[str, str], list[Row]] = {}
        self.orders: list[Working] = []
        self.events = 0
        self.traded: list[Row] = []
        self.booked: defaultdict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
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
            time_in_force=draw.choice(TIMES_IN_FORCE),
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
            if draw.random() < 0.3:
                terms |= {"time_in_force": draw.choice(TIMES_IN_FORCE)}
            if draw.random() < 0.1:
                terms |= {"ord_type": "market", "price": None}
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
        row = self._report(draw, order, order.in_force, "trade", last_qty=qty, last_px=price)
        order.trades.append([row])
        self.traded.append(row)

    def mend(self, draw: random.Random) -> None:
        """The market corrects or busts a trade, by any of its events; one in ten is a mistake."""
        traded = [order for order in self.orders if order.trades]
        if not traded:
            return
        order = draw.choice(traded)
        trade = draw.choice(order.trades)
        about = draw.choice(trade)["exec_id"]
        terms: Row = {"last_qty": draw.randint(1, 9), "last_px": PRICE + draw.randint(-3, 3)}
        kind = draw.choice(("trade_correct", "trade_cancel"))
        if draw.random() < 0.1:
            about = draw.choice((None, record_id("v", draw.randrange(2 * self.events))))
            trade = []
        row = self._report(draw, order, order.in_force, kind, exec_ref_id=about, **terms)
        trade.append(row)
        self.traded.append(row)
        order.cum_qty = sum(qty for _, _, qty, _ in trades(e for t in order.trades for e in t))

    def say(self, draw: random.Random) -> None:
        """The market says something that answers no request."""
        if not self.orders:
            return
        order = draw.choice(self.orders)
        says = ("done_for_day", "calculated", "stopped", "suspended", "pending_new", "order_status")
        kind = draw.choice((*says, "restated", "pending"))
        if kind == "pending" and order.changes:
            request = draw.choice(order.changes)
            pending = f"pending_{request['request_type']}"
            terms = {n: order.in_force[n] for n in ("order_qty", "price")}
            self._report(draw, order, request, pending, **terms)
        elif kind == "restated":
            qty = max(order.in_force["order_qty"] - draw.randint(0, 2), order.cum_qty, 1)
            order.in_force = order.in_force | {"order_qty": qty}
            if draw.random() < 0.3:
                order.in_force |= {"time_in_force": draw.choice(TIMES_IN_FORCE)}
            self._report(draw, order, order.in_force, "restated")
        elif kind != "pending":
            self._report(draw, order, order.in_force, kind)

    def mistake(self, draw: random.Random) -> None:
        """A customer sends an order again under another id, or cancels one that is none."""
        system = draw.choice(CUSTOMERS)
        own_id = record_id(system, len(self.logs.get(("requests", system), ())))
        if not self.orders:
            return
        order = draw.choice(self.orders)
        terms = _without_id(order.terms) | {"order_id": own_id}
        if draw.random() < 0.5:
            row = self._write("requests", system, **terms)
            self._report(draw, order, row, "rejected")
        else:
            row = self._write("requests", system, **terms | {"request_type": "cancel"})
            unknown = Working(row, row)
            self._report(draw, unknown, row, "cancel_rejected")

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
        """The firm, which has heard of some events, posts what their trades have yet to move."""
        heard = draw.sample(self.traded, draw.randint(0, len(self.traded)))
        for trade, event, qty, px in trades(heard):
            shares = qty if trade["side"] == "buy" else -qty
            due = shares, -shares * px
            legs = [
                amount - old for amount, old in zip(due, self.booked[trade["exec_id"]], strict=True)
            ]
            if not any(legs):
                continue
            self.booked[trade["exec_id"]] = due
            for asset, amount in zip((trade["symbol"], "USD"), legs, strict=True):
                for account, leg in ((trade["account"], amount), ("clearing", -amount)):
                    terms = {"account": account, "asset": asset, "amount": leg}
                    self._write("postings", "firm", exec_id=event["exec_id"], **terms)

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
        if exec_type == "rejected" and about["record_id"] != order.terms["record_id"]:
            terms |= {n: order.in_force[n] for n in ("order_qty", "price", "cl_ord_id")}
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
    "mend": 2,
    "say": 3,
    "mistake": 1,
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
    """The rows that :func:`tradesys.status.definition.statuses` gives."""
    asked, told = list(requests), events(reports)
    entered = {r["order_id"]: r for r in asked if r["request_type"] == "new"}
    first: dict[int, Row] = {}
    for row in told:
        first.setdefault(row["order_id"], row)
    return [_expected(i, (first | entered)[i], asked, told) for i in sorted(first | entered)]


def _expected(order_id: int, terms: Row, asked: list[Row], told: list[Row]) -> Row:
    mine = [row for row in told if row["order_id"] == order_id]
    for row in mine:
        if row["exec_type"] in ("new", "replaced", "restated"):
            terms = terms | {n: row[n] for n in ("order_qty", "price", "cl_ord_id")}
        if row["exec_type"] in ("replaced", "restated"):
            terms = terms | {n: row[n] for n in ("ord_type", "time_in_force")}
    fills = [(qty, px) for trade, _, qty, px in trades(told) if trade["order_id"] == order_id]
    cum_qty = sum(qty for qty, _ in fills)
    closed = is_closed(order_id, asked, told)
    states = standing(mine)
    if states & {"done_for_day", "calculated"} and terms["time_in_force"] not in ("gtc", "gtd"):
        closed = True
    states |= {row["exec_type"] for row in mine} & {"new", "canceled", "expired"}
    if is_refused(order_id, asked, told):
        states.add("rejected")
    waiting = unanswered(asked, told)
    states |= {f"pending_{kind}" for about, _, kind in waiting if about == order_id}
    columns = ("order_id", "cl_ord_id", "account", "symbol", "side", "ord_type", "price")
    return {n: terms[n] for n in columns} | {
        "ord_status": _rank(states, cum_qty, terms["order_qty"]),
        "order_qty": terms["order_qty"],
        "cum_qty": cum_qty,
        "leaves_qty": 0 if closed else max(0, terms["order_qty"] - cum_qty),
        "avg_px": sum(q * p for q, p in fills) / (cum_qty * 10_000) if cum_qty else None,
    }


def trades(told: Iterable[Row]) -> list[tuple[Row, Row, int, int]]:
    """Each trade, the event of it that stands, and the quantity and price that it is now."""
    known = {row["exec_id"]: row for row in told}
    found = []
    for trade in known.values():
        if trade["exec_type"] == "trade":
            mine = [row for row in known.values() if trade_of(row, known) is trade]
            busts = [row for row in mine if row["exec_type"] == "trade_cancel"]
            last = max(busts or mine, key=lambda row: int(row["exec_id"]))
            qty = 0 if busts else last["last_qty"]
            found.append((trade, last, qty, last["last_px"]))
    return found


def trade_of(row: Row, known: dict[int, Row]) -> Row | None:
    """The trade that an event is, or amends: from each to the earlier one that it names."""
    while row["exec_type"] in ("trade_correct", "trade_cancel"):
        about = row["exec_ref_id"]
        if about is None or about >= row["exec_id"] or about not in known:
            return None
        row = known[about]
    return row if row["exec_type"] == "trade" else None


def standing(mine: list[Row]) -> set[str]:
    """What the market said last of an order's standing, walked through in its own sequence."""
    states: set[str] = set()
    for row in sorted(mine, key=lambda row: int(row["exec_id"])):
        kind = row["exec_type"]
        if kind in ("done_for_day", "calculated", "suspended", "stopped"):
            states.add(kind)
        elif kind == "trade":
            states &= {"stopped"}
        elif kind in ("new", "replaced", "restated"):
            states.clear()
    return set() if any(row["exec_type"] in ("canceled", "expired") for row in mine) else states


def _rank(states: set[str], cum: int, qty: int) -> str:
    """The name of the highest status that holds."""
    ranks = (
        *("pending_cancel", "pending_replace", "done_for_day", "calculated", "filled", "stopped"),
        *("suspended", "canceled", "expired", "partially_filled", "rejected", "new"),
    )
    filled = {"filled"} if 0 < cum >= qty else set()
    held = states | filled | ({"partially_filled"} if cum > 0 else set())
    return next((name for name in ranks if name in held), "pending_new")


def unanswered(requests: Iterable[Row], reports: Iterable[Row]) -> set[tuple[int, int, str]]:
    """The changes that no report answers: order, request and kind."""
    told = list(reports)
    answers = ("canceled", "replaced", "cancel_rejected")
    done = {row["request_id"] for row in told if row["exec_type"] in answers}
    asked = {
        (row["order_id"], row["record_id"], row["request_type"])
        for row in requests
        if row["request_type"] != "new" and row["reject_reason"] is None
    }
    pending = {
        (row["order_id"], row["request_id"], row["exec_type"].removeprefix("pending_"))
        for row in told
        if row["exec_type"] in ("pending_cancel", "pending_replace")
    }
    return {change for change in asked | pending if change[1] not in done}


def is_refused(order_id: int, requests: Iterable[Row], reports: Iterable[Row]) -> bool:
    """Whether the request that an order began with was refused."""
    refusals = ("rejected", "cancel_rejected")
    told = any(r["request_id"] == order_id and r["exec_type"] in refusals for r in reports)
    return told or any(
        r["record_id"] == order_id and r["request_type"] == "new" and r["reject_reason"]
        for r in requests
    )


def is_closed(order_id: int, requests: Iterable[Row], reports: Iterable[Row]) -> bool:
    """Whether an order was refused, rejected, canceled or has expired."""
    told = list(reports)
    ended = any(
        r["order_id"] == order_id and r["exec_type"] in ("canceled", "expired") for r in told
    )
    return ended or is_refused(order_id, requests, told)


def expected_reserved(
    order: Row, requests: Iterable[Row], reports: Iterable[Row], fees: tuple[int, int] = (0, 0)
) -> int:
    """What an order may still spend or sell, the replaces that wait for an answer included."""
    asked, told = list(requests), list(reports)
    if is_closed(order["order_id"], asked, told):
        return 0
    waiting = {request for _, request, _ in unanswered(asked, told)}
    replaces = [r for r in asked if r["record_id"] in waiting and r["request_type"] == "replace"]
    mine = [row for row in replaces if row["order_id"] == order["order_id"]]
    uses = [(order["leaves_qty"], order["price"] or 0)]
    uses += [(max(0, r["order_qty"] - order["cum_qty"]), r["price"] or 0) for r in mine]
    if order["side"] == "sell":
        return max(qty for qty, _ in uses)
    a_share, of_amount = fees
    return max(
        qty * (px + a_share) + qty * px * of_amount // 10_000 if px else 0 for qty, px in uses
    )


def expected_balances(
    requests: Iterable[Row],
    reports: Iterable[Row],
    postings: Iterable[Row],
    fees: tuple[int, int] = (0, 0),
) -> dict[tuple[str, str], tuple[int, int, int]]:
    """``booked, uncleared, reserved`` of each account and asset that any record touches."""
    balances: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    legs, asked, told = list(postings), list(requests), list(reports)
    known = {row["exec_id"]: row for row in told}
    for trade, _, qty, px in trades(told):
        shares = qty if trade["side"] == "buy" else -qty
        balances[trade["account"], trade["symbol"]][1] += shares
        fee = qty * fees[0] + qty * px * fees[1] // 10_000
        balances[trade["account"], "USD"][1] -= shares * px + fee
    for leg in legs:
        balances[leg["account"], leg["asset"]][0] += leg["amount"]
        about = known.get(leg["exec_id"])
        of = about and trade_of(about, known)
        if of and leg["account"] not in ("clearing", "fees"):
            balances[of["account"], leg["asset"]][1] -= leg["amount"]
    for order in expected_statuses(asked, told):
        asset = "USD" if order["side"] == "buy" else order["symbol"]
        balances[order["account"], asset][2] += expected_reserved(order, asked, told, fees)
    return {key: (booked, due, held) for key, (booked, due, held) in balances.items()}
