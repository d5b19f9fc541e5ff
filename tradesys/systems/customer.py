"""A customer-facing system: takes orders, and answers inquiries (claims 8, 21, 27).

It holds every request that any customer-facing system has taken, so it can answer for an order that
it never saw, and it asks nobody: an answer is aggregated from its own records.
"""

from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import SupportsIndex

import numpy as np
import polars as pl
import pyarrow as pa

from tradesys.arrow import batch_of
from tradesys.clock import Clock
from tradesys.errors import InvalidValue
from tradesys.framing import NO_HEAD
from tradesys.names import Names
from tradesys.orders import Answer, Order, OrderLike
from tradesys.records import (
    CURRENCY,
    REQUESTS,
    Kind,
    OrdType,
    Origin,
    RequestType,
    Side,
    TimeInForce,
    format_id,
    split_id,
    to_price,
)
from tradesys.reference import UNKNOWN
from tradesys.systems import entry
from tradesys.systems.inquiries import Inquiries
from tradesys.systems.table_entry import decide

Price = int | str | Decimal
"""A price: an int in 1/10,000 of the currency, or text or a Decimal in the currency."""


class CustomerSystem(Inquiries):
    """One of several; all of them take orders and answer inquiries, whichever others are down."""

    kind = Kind.CUSTOMER

    def __init__(self, origin: Origin, *, clock: Clock, folder: Path | None) -> None:
        self.names = Names()
        self._outgoing: list[pa.RecordBatch] = []
        self._sends_again = False
        super().__init__(origin, clock=clock, folder=folder)
        # Whatever was acknowledged before and not answered since is sent again: the street side
        # knows an order by its id, so sending twice is safe, and not sending is not.
        self.send_again()

    def applied(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Keep the names of orders up to date."""
        super().applied(dataset, batch)
        if dataset == "requests":
            self.names.apply(batch)

    def receive(self, dataset: str, batch: pa.RecordBatch, *, origin_head: bytes = NO_HEAD) -> int:
        """As any system; what of its own comes back after a loss, and has no answer, is sent."""
        new = super().receive(dataset, batch, origin_head=origin_head)
        if new and dataset == "requests" and self.wrote(split_id(batch["record_id"][0].as_py())[0]):
            self.send_again()
        return new

    # ---- taking orders

    def submit(
        self,
        *,
        account: str,
        symbol: str,
        side: str,
        order_qty: int,
        price: Price | None = None,
        ord_type: str | None = None,
        time_in_force: str = TimeInForce.DAY,
        cl_ord_id: str | None = None,
    ) -> Order:
        """Take a new order: check it, record it, make it durable, acknowledge it (claim 21).

        :param order_qty: shares.
        :param price: the limit: text like "50.25", or in 1/10,000 of the currency, like 502500; a
            multiple of the tick; None for a market order.
        :param ord_type: "limit" or "market"; by default what the presence of a price says.
        :param cl_ord_id: the customer's own name for the order. The same name from the same
            account again is a repeat: it is answered with the first and never executed twice.
        :raises InvalidValue: a field holds what no rule allows; nothing was written.
        :raises StorageError: the disk refused; nothing was acknowledged.
        """
        ord_type = ord_type or (OrdType.MARKET if price is None else OrdType.LIMIT)
        terms = self._terms(account, symbol, side, ord_type, time_in_force, order_qty, price)
        if cl_ord_id and (known := self._called(terms.account, cl_ord_id)) is not None:
            return self._repeat(known, cl_ord_id, terms)
        reason = entry.check(terms) or self._unaffordable(terms, 0)
        return self._write(RequestType.NEW, None, cl_ord_id, None, terms, reason)

    def cancel(
        self, order: OrderLike, *, account: str | None = None, cl_ord_id: str | None = None
    ) -> Order:
        """Ask for the cancelation of an open order (claim 25), whichever system took it.

        :param account: whose order the caller takes it to be; checked when given.
        :raises InvalidValue: the order is unknown here, another account's, or closed.
        """
        answer = self._open(order, account)
        terms = SimpleNamespace(**{n: getattr(answer, n) for n in _TERMS}, time_in_force=None)
        return self._change(RequestType.CANCEL, answer, terms, cl_ord_id, None)

    def replace(
        self,
        order: OrderLike,
        *,
        order_qty: int | None = None,
        price: Price | None = None,
        account: str | None = None,
        cl_ord_id: str | None = None,
    ) -> Order:
        """Ask for another total quantity or another price of an open order.

        :param order_qty: the new total, what has traded included (FIX OrderQty); None keeps it.
        :param price: the new limit, as in :meth:`submit`; None keeps it.
        :raises InvalidValue: the order is unknown, another account's or closed, or the new terms
            break a rule.
        """
        answer = self._open(order, account)
        terms = self._terms(
            answer.account,
            answer.symbol,
            answer.side,
            answer.ord_type,
            self.view.terms(answer.order_id).time_in_force,
            answer.order_qty if order_qty is None else order_qty,
            answer.price if price is None else price,
        )
        reason = entry.check(terms) or self._unaffordable(terms, answer.order_id)
        return self._change(RequestType.REPLACE, answer, terms, cl_ord_id, reason)

    def submit_many(self, table: pl.DataFrame | pa.Table | pa.RecordBatch) -> pl.DataFrame:
        """Take a table of requests as one commit: the same rules, vectorised.

        :param table: a row a request: ``account``, ``symbol``, ``side``, ``order_qty`` and, where
            the default does not do, ``request_type`` ("new"), ``ord_type`` ("limit"),
            ``time_in_force`` ("day"), ``price``, ``cl_ord_id``, ``orig_cl_ord_id`` (which order a
            cancel or replace is about; it may be one of the same table), ``ts`` (when the request
            arrived; now). Orders of a change keep their account, symbol and side.
        :returns: a row a row: ``accepted``, ``order_id`` and ``record_id`` (null where nothing was
            recorded), ``reject_reason`` (recorded, not sent) or ``error`` (not even recorded).
        :raises SchemaError: a column is missing, unknown, or of the wrong type; nothing is written.
        """
        decided, batch = decide(self, entry.columns_of(table))
        if batch is not None:
            self.commit("requests", batch)
            self._send(batch)
        return decided

    # ---- what goes to the street side

    def outgoing(self) -> list[pa.RecordBatch]:
        """Accepted requests that are not sent yet, oldest first; they are the caller's from now."""
        if self._sends_again:
            self._outgoing, self._sends_again = self.unanswered(), False
        waiting, self._outgoing = self._outgoing, []
        return waiting

    def send_again(self) -> None:
        """Have everything that was accepted and is not answered sent at the next occasion."""
        self._sends_again = True

    def unanswered(self) -> list[pa.RecordBatch]:
        """One's own accepted requests that no street-side system is known to have answered."""
        logs = self.tables["requests"].logs
        waiting = []
        for batch in (b for code in self.own_codes("requests") for b in logs[code].batches()):
            waits = ~self.view.answered(batch["record_id"].to_numpy())
            waits &= batch["reject_reason"].is_null().to_numpy(zero_copy_only=False)
            if waits.any():
                waiting.append(batch.filter(pa.array(waits)))
        return waiting

    def _send(self, batch: pa.RecordBatch) -> None:
        reasons = batch["reject_reason"]
        if reasons.null_count < len(reasons):
            batch = batch.filter(reasons.is_null())
        if batch.num_rows:
            self._outgoing.append(batch)

    # ---- inside

    def _terms(
        self,
        account: str,
        symbol: str,
        side: str,
        ord_type: str,
        time_in_force: str,
        order_qty: int,
        price: Price | None,
    ) -> SimpleNamespace:
        if not hasattr(order_qty, "__index__") or not _fits(order_qty):
            raise InvalidValue("order_qty", order_qty, "a whole number of shares, of 64 bits")
        units = 0 if price is None else to_price(price)
        if not _fits(units):
            raise InvalidValue("price", price, "a number of 1/10,000, of 64 bits")
        instrument = self.reference.instruments.get(symbol, UNKNOWN)
        return SimpleNamespace(
            account=account,
            symbol=symbol,
            side=side,
            ord_type=ord_type,
            time_in_force=time_in_force,
            order_qty=int(order_qty),
            price=units,
            account_status=self.reference.accounts.get(account, ""),
            **instrument._asdict(),
        )

    def _unaffordable(self, terms: SimpleNamespace, replaces: int) -> str | None:
        """Why the account cannot afford these terms, given what its open orders may use."""
        qty, already = terms.order_qty, 0
        if replaces:
            order = np.array([replaces], np.uint64)
            qty -= self.view.in_force_of(order)["cum_qty"].item()
            already = self.view.reserved_of(order).item()
        if terms.side == Side.SELL:
            free = self.view.available(terms.account, terms.symbol) + already
            return entry.NO_SHARES if qty > free else None
        price = terms.price or self.view.last_px(terms.symbol)
        if not price:
            return entry.NO_PRICE
        free = self.view.available(terms.account, CURRENCY) + already
        return entry.NO_CASH if qty * price > free else None

    def _write(
        self,
        request_type: RequestType,
        order_id: int | None,
        cl_ord_id: str | None,
        orig_cl_ord_id: str | None,
        terms: SimpleNamespace,
        reason: str | None,
    ) -> Order:
        record_id = self.next_id("requests")
        order_id = record_id if order_id is None else order_id
        cl_ord_id = cl_ord_id or format_id(record_id)
        row = (
            *(record_id, self.clock(), request_type, order_id, cl_ord_id, orig_cl_ord_id),
            *(terms.account, terms.symbol, terms.side, terms.ord_type, terms.time_in_force),
            *(None, terms.order_qty, terms.price or None, reason),
        )
        batch = batch_of(REQUESTS, [row])
        self.commit("requests", batch)
        self._send(batch)
        return Order(order_id, record_id, cl_ord_id, reason)

    def _change(
        self,
        request_type: RequestType,
        answer: Answer,
        terms: SimpleNamespace,
        cl_ord_id: str | None,
        reason: str | None,
    ) -> Order:
        if cl_ord_id and self._called(answer.account, cl_ord_id) is not None:
            raise InvalidValue("cl_ord_id", cl_ord_id, "a name not used before by the account")
        terms.time_in_force = terms.time_in_force or self.view.terms(answer.order_id).time_in_force
        return self._write(
            request_type, answer.order_id, cl_ord_id, answer.cl_ord_id, terms, reason
        )

    def _repeat(self, order_id: int, cl_ord_id: str, terms: SimpleNamespace) -> Order:
        requests = self.tables["requests"]
        # The name may be a change's own, and be all that is held here of its order.
        first = requests.rows([order_id])[0] if requests.has(order_id) else {}
        names = ("account", "symbol", "side", "ord_type", "time_in_force", "order_qty")
        given = {n: getattr(terms, n) for n in names} | {"cl_ord_id": cl_ord_id}
        given["price"] = terms.price or None
        if any(first.get(n) != value for n, value in given.items()):
            raise InvalidValue(
                "cl_ord_id", cl_ord_id, f"a new name: {format_id(order_id)} has it, on other terms"
            )
        reason = first["reject_reason"]
        return Order(order_id, order_id, cl_ord_id, reason and str(reason), repeated=True)

    def _called(self, account: str, cl_ord_id: object) -> int | None:
        """The order that an account means by a name; None if it never used it."""
        if not isinstance(cl_ord_id, str):
            raise InvalidValue("cl_ord_id", cl_ord_id, "text")
        return self.names.find(account, cl_ord_id) if account in self.reference.accounts else None

    def _open(self, order: OrderLike, account: str | None) -> Answer:
        answer = self.status(order)
        if account is not None and account != answer.account:
            raise InvalidValue("order", str(order), f"an order of account {account}")
        if not answer.leaves_qty:
            closed = f"an open order; this one is {answer.ord_status}"
            raise InvalidValue("order", str(order), closed)
        return answer


def _fits(number: SupportsIndex) -> bool:
    """Whether a record can hold it."""
    return -(1 << 63) <= int(number) < 1 << 63


_TERMS = ("account", "symbol", "side", "ord_type", "order_qty", "price")
