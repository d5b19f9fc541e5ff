"""The state of orders and balances in Python dictionaries: the checks one request at a time."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.peers.job import LOT, TICK, Answers
from tradesys.network.tape_replay import PLENTY_CASH, PLENTY_SHARES
from tradesys.records.schemas import CLEARING, CURRENCY
from tradesys.venue.tapes import Tape

Record = dict[str, Any]
EXEC_TYPE = {"new": "new", "cancel": "canceled", "replace": "replaced"}


@dataclass(slots=True)
class Order:
    """An order as it stands."""

    order_id: int
    cl_ord_id: str
    account: str
    symbol: str
    side: str
    qty: int
    price: int
    cum: int = 0
    canceled: bool = False

    @property
    def status(self) -> str:
        """FIX tag 39."""
        if self.cum >= self.qty:
            return "filled"
        return "canceled" if self.canceled else "partially_filled" if self.cum else "new"

    @property
    def leaves(self) -> int:
        """What may still trade."""
        return 0 if self.canceled else max(0, self.qty - self.cum)

    @property
    def uses(self) -> tuple[tuple[str, str], int]:
        """Of which balance it may still use how much."""
        if self.side == "buy":
            return (self.account, CURRENCY), self.leaves * self.price
        return (self.account, self.symbol), self.leaves


class Books:
    """What records come to."""

    def __init__(self, tape: Tape) -> None:
        self.symbols = set(tape.symbols)
        self.accounts = set(tape.requests["account"].unique().to_list())
        self.named: dict[tuple[str, str], Order] = {}
        self.orders: dict[int, Order] = {}
        self.balances: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.reserved: defaultdict[tuple[str, str], int] = defaultdict(int)
        for account in self.accounts:
            self.balances[account, CURRENCY] = PLENTY_CASH
            for symbol in self.symbols:
                self.balances[account, symbol] = PLENTY_SHARES

    def wrong(self, row: Record) -> str | None:  # noqa: PLR0911 - a rule a line
        """Which field of a request breaks a rule; the first of them."""
        account, symbol, side = row["account"], row["symbol"], row["side"]
        qty, price = row["order_qty"], row["price"]
        about = self.named.get((account, row["orig_cl_ord_id"]))
        if account not in self.accounts:
            return "account"
        if symbol not in self.symbols or side not in ("buy", "sell"):
            return "symbol or side"
        if qty <= 0 or qty % LOT or price <= 0 or price % TICK:
            return "order_qty or price"
        if (account, row["cl_ord_id"]) in self.named:
            return "cl_ord_id"
        if row["request_type"] != "new" and not (about and about.leaves):
            return "orig_cl_ord_id"
        if row["request_type"] == "cancel":
            return None
        asset, need = (CURRENCY, qty * price) if side == "buy" else (symbol, qty)
        free = self.balances[account, asset] - self.reserved[account, asset]
        return "buying power" if need > free else None

    def request(self, row: Record) -> None:
        """A request was recorded; a cancel takes effect when it is executed."""
        key = row["account"], row["cl_ord_id"]
        if row["request_type"] == "new":
            order = Order(
                row["order_id"],
                row["cl_ord_id"],
                row["account"],
                row["symbol"],
                row["side"],
                row["order_qty"],
                row["price"],
            )
            self.orders[order.order_id] = order
        else:
            order = self.named[row["account"], row["orig_cl_ord_id"]]
            if row["request_type"] == "replace":
                self._reserve(order, -1)
                order.qty, order.price, order.cl_ord_id = row["order_qty"], row["price"], key[1]
        if row["request_type"] != "cancel":
            self._reserve(order, 1)
        self.named[key] = order

    def execution(self, row: Record) -> None:
        """An execution was recorded."""
        if row["exec_type"] in ("trade", "canceled"):
            order = self.orders[row["order_id"]]
            self._reserve(order, -1)
            order.cum += row["last_qty"]
            order.canceled |= row["exec_type"] == "canceled"
            self._reserve(order, 1)

    def posting(self, row: Record) -> None:
        """A posting was recorded."""
        if row["account"] != CLEARING:
            self.balances[row["account"], row["asset"]] += row["amount"]

    def _reserve(self, order: Order, sign: int) -> None:
        balance, amount = order.uses
        self.reserved[balance] += sign * amount

    def answers(self) -> Answers:
        """What is known now."""
        orders = [(o.cl_ord_id, o.status, o.qty, o.cum, o.leaves) for o in self.orders.values()]
        return Answers(orders, [(*key, amount) for key, amount in self.balances.items()])


def answer_to(request: Record) -> Record:
    """The execution that accepts a request."""
    kind = EXEC_TYPE[request["request_type"]]
    told = {"exec_type": kind, "request_id": request["record_id"], "last_qty": 0, "last_px": 0}
    return request | told | {"transact_time": request["ts"]}


def trade_of(order: Order, fill: Record) -> Record:
    """The execution that reports a fill."""
    return {
        "exec_type": "trade",
        "request_id": order.order_id,
        "order_id": order.order_id,
        "cl_ord_id": order.cl_ord_id,
        "account": order.account,
        "symbol": order.symbol,
        "side": order.side,
        "ord_type": "limit",
        "time_in_force": "day",
        "order_qty": order.qty,
        "price": order.price,
        "last_qty": fill["last_qty"],
        "last_px": fill["last_px"],
        "transact_time": fill["ts"],
    }


def legs_of(trade: Record, settle_date: int) -> list[Record]:
    """The postings of a trade."""
    shares = trade["last_qty"] if trade["side"] == "buy" else -trade["last_qty"]
    cash = -shares * trade["last_px"]
    given = {"exec_id": trade["exec_id"], "settle_date": settle_date}
    return [
        given | {"account": account, "asset": asset, "amount": amount}
        for asset, amount in ((trade["symbol"], shares), (CURRENCY, cash))
        for account, amount in ((trade["account"], amount), (CLEARING, -amount))
    ]
