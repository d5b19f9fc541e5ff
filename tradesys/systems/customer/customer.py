"""A customer-facing system: takes orders, and answers inquiries (claims 8, 21, 27).

It holds every request that any customer-facing system has taken, so it can answer for an order that
it never saw, and it asks nobody: an answer is aggregated from its own records.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tradesys.inquiry.answers import Order, OrderLike, id_of
from tradesys.inquiry.inquiries import Inquiries
from tradesys.inquiry.names import Key, Named, Names, key_of, keys_of
from tradesys.log.group_commit import Group, Row
from tradesys.log.interrupts import uninterrupted
from tradesys.records import fields
from tradesys.records.arguments import one_of, text
from tradesys.records.arrow import Ints, as_written, picked, rows_of
from tradesys.records.clock import Time
from tradesys.records.errors import InvalidValue
from tradesys.records.opening_books import NO_FEES, Fees
from tradesys.records.schemas import (
    CURRENCY,
    Kind,
    OrdType,
    RequestType,
    Side,
    TimeInForce,
    format_id,
    make_id,
    split_id,
)
from tradesys.records.sessions import ns_of
from tradesys.status.reference import LAST_PX
from tradesys.systems.customer import rules
from tradesys.systems.customer.columns import columns_of
from tradesys.systems.customer.entry import Sheet
from tradesys.systems.customer.outbox import Deliver, Outbox
from tradesys.systems.customer.single import coded, judge
from tradesys.systems.customer.terms import (
    ASKED,
    Asked,
    Price,
    Terms,
    asked_of,
    name_given,
    terms_given,
    terms_of,
)
from tradesys.systems.customer.uses import Use, Uses
from tradesys.systems.system import Place, System

_ABOUT = ("order_id", "orig_cl_ord_id")  # how a row says which other order it is about
_DONE = Group(done=True)


class Staged(NamedTuple):
    """A name that is being written: of which order, up to when, by which record, with what."""

    order_id: int
    until: int
    record_id: int
    row: Row | pa.RecordBatch
    group: Group


class CustomerSystem(Inquiries, System):
    """One of several; all of them take orders and answer inquiries, whichever others are down."""

    kind = Kind.CUSTOMER

    def __init__(self, place: Place, *, fees: Fees = NO_FEES) -> None:
        self._outbox = Outbox()
        self.fees = fees
        super().__init__(place)
        self._group = self.writers["requests"]
        self._staged: dict[Key, Staged] = {}
        self._uses = Uses()
        # Whether a request is being decided; what an interrupt has left of one is forgotten.
        self._deciding = False
        # Whatever was acknowledged before and not answered since is sent again: the street side
        # knows an order by its id, so sending twice is safe, and not sending is not.
        requests = self.tables["requests"]
        self._sent = {code: requests.count(code) for code in self.own_codes("requests")}
        self._send_again = True
        self._settled: Counter[int] = Counter()

    def _begin_following(self) -> None:
        super()._begin_following()
        self._names = Names(self.calendar, self._may_trade_until)

    @property
    def names(self) -> Names:
        """What customers call their orders, from all that is held now."""
        if self.news or self.own_news:
            self.catch_up()
        return self._names

    def catch_up(self) -> None:
        """Take in what has become part of the tables since the last question."""
        with self.lock:
            super().catch_up()
            self.own_news = False
            if self._staged:
                self._staged = {k: n for k, n in self._staged.items() if not n.group.done}
            if self._uses:
                self._uses.seen()

    def applied(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Keep the names of orders up to date."""
        super().applied(dataset, batch)
        if dataset == "requests":
            self._names.apply(batch)

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
        expire_time: Time | None = None,
        cl_ord_id: str | None = None,
    ) -> Order:
        """Take a new order: check it, record it, make it durable, acknowledge it (claim 21).

        Safe to call from many threads: orders that come at the same time share an fdatasync.

        :param order_qty: shares.
        :param price: the limit: text or a Decimal in the currency, like "50.25", or a whole number
            of 1/10,000 of it, like 502500; a multiple of the tick; None for a market order, which
            is given a collar: it trades at most
            :data:`~tradesys.systems.customer.rules.COLLAR_PERCENT` % from the last price.
        :param ord_type: "limit" or "market"; by default what the presence of a price says.
        :param expire_time: until when an order that is good till date ("gtd") may trade.
        :param cl_ord_id: the customer's own name for the order. The same name from the same
            account again is a repeat: it is answered with the first and never executed twice.
        :raises InvalidValue: a field holds what no rule allows; nothing was written.
        :raises NotYetReplicated: no accounts or instruments have come here; nothing was written.
        :raises StorageError: the disk refused; nothing was acknowledged.
        """
        given = {
            "account": account,
            "symbol": symbol,
            "side": side,
            "order_qty": order_qty,
            "price": price,
            "ord_type": ord_type,
            "time_in_force": time_in_force,
            "expire_time": expire_time,
        }
        with uninterrupted():
            order, group = self._stage(given, cl_ord_id)
            self._group.commit(group)
        return order

    async def submit_async(self, *, cl_ord_id: str | None = None, **given: Any) -> Order:
        """As :meth:`submit`, for tasks of an event loop: those that are ready share an fdatasync.

        >>> orders = await asyncio.gather(*(c1.submit_async(**terms) for terms in many))
        """
        with uninterrupted():
            order, group = self._stage(given, cl_ord_id)
        await self._group.committed(group)
        return order

    def cancel(
        self, order: OrderLike, *, account: str | None = None, cl_ord_id: str | None = None
    ) -> Order:
        """Ask for the cancelation of an open order (claim 25), whichever system took it.

        :param account: whose order the caller takes it to be; checked when given.
        :param cl_ord_id: the customer's own name for this request; given again, it is a repeat.
        :raises InvalidValue: the order is another account's, or closed, or there is none.
        :raises NotYetReplicated: it is unknown here, or no accounts or instruments have come here.
        """
        return self._change(RequestType.CANCEL, order, Asked(), account, cl_ord_id)

    def replace(
        self,
        order: OrderLike,
        *,
        order_qty: int | None = None,
        price: Price | None = None,
        time_in_force: str | None = None,
        expire_time: Time | None = None,
        account: str | None = None,
        cl_ord_id: str | None = None,
    ) -> Order:
        """Ask for other terms of an open order (FIX MsgType G).

        :param order_qty: the new total, what has traded included (FIX OrderQty); None keeps it.
        :param price: the new limit, as in :meth:`submit`; None keeps it.
        :param time_in_force: "day", "gtc" or "gtd", of an order that is one of them; None keeps it.
        :param expire_time: as in :meth:`submit`; None keeps that of an order that stays "gtd".
        :raises InvalidValue: the order is another account's, or closed, or there is none, or the
            new terms break a rule.
        :raises NotYetReplicated: as :meth:`cancel`.
        """
        asked = Asked(order_qty, price, time_in_force, expire_time)
        return self._change(RequestType.REPLACE, order, asked, account, cl_ord_id)

    def submit_many(self, table: pl.DataFrame | pa.Table | pa.RecordBatch) -> pl.DataFrame:
        """Take a table of requests as one commit: the same rules, as if they came one by one.

        Safe to call from many threads: tables and orders that come at the same time share an
        fdatasync.

        :param table: a row a request: ``account``, ``symbol``, ``side``, ``order_qty`` and, where
            the default does not do, ``request_type`` ("new"), ``ord_type`` ("limit"),
            ``time_in_force`` ("day"), ``expire_time``, ``price``, ``cl_ord_id``, ``ts`` (when the
            request arrived; now). Prices are text or Decimal in the currency, or whole numbers of
            1/10,000 of it, as in :meth:`submit`. A cancel or replace says which order it is about,
            by ``order_id`` or by ``orig_cl_ord_id`` (that may be one of the same table); what it
            leaves null stays as it is. It states nothing else of its order than the order does,
            but for what a replace asks for: ``order_qty``, ``price``, ``time_in_force`` and
            ``expire_time``. A cancel may say how much it takes away, which is recorded and changes
            nothing.
        :returns: a row a row: ``accepted``, ``order_id`` and ``record_id`` (null where nothing was
            recorded), ``reject_reason`` (recorded, not sent) or ``error`` (not even recorded).
        :raises SchemaError: a column is missing, unknown, of the wrong type, or of times out of
            range; nothing is written.
        :raises InvalidValue: a price given as text is none; nothing is written.
        :raises NotYetReplicated: no accounts or instruments have come here; nothing is written.

        >>> c1.submit_many(c1.orders("alice", open_only=True).select("order_id",
        ...     request_type=pl.lit("cancel")))
        """
        with uninterrupted():
            answer, group = self._stage_table(table)
            self._group.commit(group)
        return answer

    async def submit_many_async(
        self, table: pl.DataFrame | pa.Table | pa.RecordBatch
    ) -> pl.DataFrame:
        """As :meth:`submit_many`, for tasks of an event loop: who is ready shares an fdatasync."""
        with uninterrupted():
            answer, group = self._stage_table(table)
        await self._group.committed(group)
        return answer

    def cost(self, symbol: str, order_qty: int, price: int | None = None) -> int | None:
        """What an order to buy may use, its fees included, in 1/10,000 of the currency.

        :param symbol: one that the firm has described.
        :param price: the limit in 1/10,000; None for a market order, which costs its collar.
        :returns: None for a market order where there is no last price.
        :raises InvalidValue: the firm has not described the symbol, or a number is out of range.
        """
        order_qty = fields.ORDER_QTY.of_field("order_qty", order_qty)
        if price is not None:
            price = fields.PRICE.of_field("price", price)
        with self.lock:
            expected = "a symbol the firm has described"
            symbol = one_of("symbol", symbol, self.reference.symbols, expected)
            if price is None:
                self.catch_up()
                self.note_last_price(symbol)
                code = self._reference.symbols[symbol]
                price = rules.collar(rules.BUY, self._reference.instruments[code])
        amount = order_qty * price
        return amount + self.fees.of(order_qty, amount) if price else None

    # ---- what goes to the street side

    @property
    def outbox(self) -> Outbox:
        """What was accepted and no street-side system has taken."""
        self.flush()
        with self.lock:
            logs = self.tables["requests"].logs
            codes = self.own_codes("requests")
            sent = {code: logs[code].count for code in codes}
            if self._send_again:
                waiting = self.unanswered()
            else:
                since = {c: self._sent.get(c, 0) for c in codes}
                fresh = [c for c in codes if since[c] < sent[c]]
                fresh_batches = (b for c in fresh for b in logs[c].between(since[c], sent[c]))
                waiting = [_accepted(batch) for batch in fresh_batches]
            first = np.uint64(make_id(self._code, self._sent.get(self._code, 0)))
            for batch in waiting:
                # What was there when it was asked last may have been sent before.
                before = int(np.searchsorted(batch["record_id"].to_numpy(), first))
                self._outbox.put(batch.slice(0, before), again=True)
                self._outbox.put(batch.slice(before))
            # Only now: an interrupt before sends twice, which is safe.
            self._send_again, self._sent = False, sent
        return self._outbox

    def forward(self, street_for: Callable[[str], str], deliver: Deliver) -> int:
        """Send each accepted request to the one street-side system of its symbol (claim 22).

        :param street_for: the street-side system of a symbol.
        :returns: how many requests were taken.
        """
        outbox = self.outbox
        return sum(outbox.hand_over(street, deliver) for street in outbox.sort(street_for))

    def resend(self, among: Mapping[int, int]) -> None:
        """Put out to be sent again what nobody has answered, whoever took it.

        :param among: of each origin, by its code, so many of its first.
        """
        for batch in self.unanswered(among):
            self._outbox.put(batch, again=True)

    def send_again(self) -> None:
        """Put everything that was accepted and is not answered out to be sent, and no more."""
        with self.lock:
            self._send_again = True
            self._outbox.clear()

    def unanswered(self, among: Mapping[int, int] | None = None) -> list[pa.RecordBatch]:
        """Accepted requests that no street-side system is known to have answered.

        A change of an order that nothing is known of here is none of them: the order went with a
        disk, and nobody can answer. It is one again should the order be given back.

        :param among: of each origin, by its code, so many of its first; by default one's own, all.
        """
        with self.lock:
            return self._unanswered(among)

    def _unanswered(self, among: Mapping[int, int] | None) -> list[pa.RecordBatch]:
        logs = self.tables["requests"].logs
        if among is None:
            among = {code: log.count for code, log in logs.items() if self.wrote(code)}
        waiting = []
        for code, count in among.items():
            batch = logs[code].since(self._settled[code], count - self._settled[code])
            if batch is None:
                continue
            waits = ~self.view.answered(batch["record_id"].to_numpy())
            if batch["reject_reason"].null_count < batch.num_rows:
                waits &= batch["reject_reason"].is_null().to_numpy(zero_copy_only=False)
            if not waits.any():
                self._settled[code] += batch.num_rows
                continue
            # What is answered stays answered: it is not looked at again.
            self._settled[code] += int(waits.argmax())
            orders = batch["order_id"].to_numpy()
            waits &= self.tables["requests"].holds(orders) | self.view.answered(orders)
            if waits.any():
                waiting.append(as_written(picked(batch, waits)))
        return waiting

    # ---- inside

    def free(self, pairs: Ints) -> Ints:
        """Balances, given by slot, less what open orders may still use of them."""
        left, names = self.view.free(pairs), self.view.accounts.names
        if self._uses:
            used = [self._uses.of(*names[pair]) for pair in pairs.tolist()]
            left -= np.array(used, np.int64)
        return left

    def orders_named(
        self, keys: Iterable[Key | None], ts: int, last: int
    ) -> dict[Key, Named | None]:
        """The order that each name means to requests from a time to a last one, each name once.

        Those that are being written, too.
        """
        named = self.names.get_each(keys, ts, last)
        for key in named.keys() & self._staged.keys():
            if self._staged[key].until >= ts:
                named[key] = Named(*self._staged[key][:2])
        return named

    def _may_trade_until(self, order_id: int) -> int:
        """The last moment at which an order may trade; 0 if it is closed."""
        state = self._view.order(order_id)
        if state is None or not state.leaves_qty:
            return 0
        stated = self.stated(state.request_in_force)
        stated_at = stated.get("transact_time", stated["ts"])
        return self.calendar.last_ns(state.time_in_force, stated["expire_time"], stated_at)

    def _stage(self, given: dict[str, Any], cl_ord_id: str | None) -> tuple[Order, Group]:
        """Decide a new order, and put it among the rows that are written next."""
        terms, name = terms_given(**given), name_given(cl_ord_id)
        with self.lock:
            self._begin_deciding()
            if self.news or self._view.is_torn:
                self.catch_up()
            if name is not None and (repeated := self._repeat(terms, name)):
                return repeated
            self.require_described("accounts", "instruments")
            record_id = self.next_id("requests")
            reason, price = self._decide_new(record_id, terms, given)
            row = (
                *(record_id, self.clock(), "new", record_id, name, None, *terms[:5]),
                *(terms.expire_time, terms.order_qty, price or None, reason),
            )
            group = self._stage_row(row)
        return Order(record_id, record_id, name, reason), group

    def _begin_deciding(self) -> None:
        """A request is going to be decided; whatever is kept of it is kept once it is staged."""
        self.require_up()
        if self._deciding:
            self._forget_unstaged()
        self._deciding = True

    def _forget_unstaged(self) -> None:
        """Forget the names and uses of requests that an interrupt, or the disk, kept from coming.

        Their ids are given again. What was written counts in the view, once that is asked.
        """
        self.news = True
        end = self.next_id("requests")
        self._uses.forget(end)
        self._staged = {k: named for k, named in self._staged.items() if named.record_id < end}

    def _stage_row(self, row: Row) -> Group:
        """Put a request among what is written next; from then on it counts."""
        group = self._group.open
        if row[4] is not None:
            close = until = self.calendar.close(row[1])
            if row[-1] is None:
                until = max(close, self.calendar.last_ns(row[10], row[11], row[1]))
            self._staged[key_of(row[6], row[4])] = Staged(row[3], until, row[0], row, group)
        self._group.stage(row)
        self._deciding = False
        return group

    def _names_staged(self, requests: pa.RecordBatch, group: Group) -> dict[Key, Staged]:
        """The names that requests give which are written next: up to the day's close, or longer.

        A name is its order's as long as that is open, too.
        """
        named = requests.filter(requests["cl_ord_id"].is_valid())
        if not named.num_rows:
            return {}
        stated = pl.DataFrame(named.select(["time_in_force", "expire_time", "ts"]))
        closes = self.calendar.closes(ns_of(named["ts"]))
        last_ns = self.calendar.last_moments(stated.rename({"ts": "stated_at"}))
        is_open = named["reject_reason"].is_null().to_numpy(zero_copy_only=False)
        until = np.where(is_open, np.maximum(closes, last_ns), closes)
        keys = keys_of(named["account"], named["cl_ord_id"])
        ids = (named[n].to_pylist() for n in ("order_id", "record_id"))
        rows = zip(keys, *ids, until.tolist(), strict=True)
        return {
            key: Staged(order_id, end, record_id, requests, group)
            for key, order_id, record_id, end in rows
            if key is not None
        }

    def _stage_table(self, table: object) -> tuple[pl.DataFrame, Group]:
        """Decide a table of requests, and put it among what is written next."""
        columns = columns_of(table)
        quiet: AbstractContextManager[object] = self.lock
        if any(columns[name].null_count < len(columns[name]) for name in _ABOUT):
            quiet = self._group.alone()  # whatever a row may be about is in the view
        with quiet:
            self._begin_deciding()
            self.require_described("accounts", "instruments")
            sheet = Sheet(self, columns)
            record_ids, order_ids = sheet.ids()
            batch, answer = sheet.batch(record_ids, order_ids), sheet.answer(record_ids, order_ids)
            for use in sheet.uses(record_ids):
                self._uses.count(use)
            group = self._group.open
            self._staged |= self._names_staged(batch, group)
            self._group.stage_batch(batch)
            self._deciding = False
            return answer, group

    def _decide_new(
        self, record_id: int, terms: Terms, given: dict[str, Any]
    ) -> tuple[str | None, int]:
        """The reason for which a new order is refused, None if it is not; and its price."""
        asset = CURRENCY if terms.side == Side.BUY else terms.symbol
        left = self._view.available(terms.account, asset) - self._uses.of(terms.account, asset)
        rows = np.array([coded("new", terms, self._reference)], np.int64)
        if terms.ord_type == OrdType.MARKET:
            self.note_last_price(terms.symbol)
        reason = judge(rows, left, self._reference, self.fees, given, self.clock())
        if reason is None:
            self._uses.count(Use(record_id, terms.account, asset, rows.item(0, rules.RESERVED)))
        return reason, rows.item(0, rules.PRICE)

    def note_last_price(self, symbol: str) -> None:
        """Put down the last price in a symbol, which market orders in it are valued at."""
        code = self._reference.symbols.get(symbol)
        if code is not None:
            self._reference.instruments[code, LAST_PX] = self._view.last_px(symbol)

    def _change(
        self,
        kind: RequestType,
        order: OrderLike,
        asked: Asked,
        account: str | None,
        cl_ord_id: str | None,
    ) -> Order:
        asks, name = asked_of(asked), name_given(cl_ord_id)
        account = None if account is None else text("account", account)
        given = asked._asdict() | {"cl_ord_id": cl_ord_id}
        with uninterrupted(), self._group.alone():
            self._begin_deciding()
            order_id = id_of(order)
            if name is not None and (repeated := self._repeat_change(kind, order_id, name, asks)):
                return repeated
            answer = self.status(order)
            if account is not None and account != answer.account:
                raise InvalidValue("order", str(order), f"an order of account {account}")
            if not answer.leaves_qty:
                raise InvalidValue(
                    "order", str(order), f"an open order; this one is {answer.ord_status}"
                )
            self.require_described("accounts", "instruments")
            terms, reference = self._in_force(order_id), self._reference
            requests = (coded(each, terms, reference) for each in (kind, "new"))
            rows = np.array([*requests], np.int64)
            rows[0, [*ASKED.values(), rules.ORDER]] = *asks.values(), 1
            ids = np.array([order_id], np.uint64)
            rows[1, rules.CUM_QTY] = answer.cum_qty
            rows[1, rules.RESERVED] = reserved = self.view.reserved_of(ids).item()
            rows[1, rules.OPEN] = 1
            asset = CURRENCY if terms.side == Side.BUY else terms.symbol
            if terms.ord_type == OrdType.MARKET:
                self.note_last_price(terms.symbol)
            left = self.view.available(terms.account, asset) - self._uses.of(terms.account, asset)
            reason = judge(rows, left, reference, self.fees, given, self.clock())
            record_id, expires = self.next_id("requests"), rows.item(0, rules.EXPIRE_TIME)
            row = (
                *(record_id, self.clock(), kind, order_id, name, answer.cl_ord_id, *terms[:4]),
                *(rules.NAMES_OF_TIME[rows.item(0, rules.TIME_IN_FORCE)],),
                *(None if expires == rules.UNSTATED else expires,),
                *(rows.item(0, rules.ORDER_QTY), rows.item(0, rules.PRICE) or None, reason),
            )
            more = rows.item(1, rules.RESERVED) - reserved
            self._uses.count(Use(record_id, terms.account, asset, more))
            group = self._stage_row(row)
        self._group.commit(group)
        return Order(order_id, record_id, name, reason)

    def _in_force(self, order_id: int) -> Terms:
        """The terms of a known order as they are now."""
        state = self.view.order(order_id)
        assert state is not None
        expires = None
        if state.time_in_force == TimeInForce.GTD:
            expires = self.expire_time_of(order_id)
        return Terms(*state[:5], expires, state.order_qty, state.price or 0)

    def expire_time_of(self, order_id: int) -> int | None:
        """The ``expire_time`` in force of a known order."""
        state = self.view.order(order_id)
        assert state is not None
        expire_time: int | None = self.stated(state.request_in_force)["expire_time"]
        return expire_time

    def take(self, dataset: str, batches: list[pa.RecordBatch]) -> None:
        """Make one's own requests, which are durable, part of the table."""
        table = self.tables[dataset]
        table.take(batches)
        self.own_news = True
        self._uses.written(self._first_id + table.count(self._code))

    def drop(self, dataset: str) -> None:  # noqa: ARG002 - it writes no other than requests
        """Forget what was staged: the disk refused it."""
        self._forget_unstaged()

    def _repeat(self, terms: Terms, name: str) -> tuple[Order, Group] | None:
        """The order that has this name already, if it is on these terms.

        :raises InvalidValue: it is on other terms.
        """
        now, requests = self.clock(), self.tables["requests"]
        staged = self._staged.get(key_of(terms.account, name))
        if staged is None or staged.until < now:
            found = self._names.find(terms.account, name, now)
            if found is None:
                return None
            held = as_written(requests.read(*split_id(found), 1)) if requests.has(found) else ()
            staged = Staged(found, now, found, held, _DONE)
        order_id, _, record_id, row, group = staged
        if isinstance(row, pa.RecordBatch):
            first = row["record_id"][0].as_py()
            row = tuple(rows_of(row.slice(record_id - first, 1))[0].values())
        # The name may be a change's own, and be all that is held here of its order.
        if not row or (row[0], row[4], terms_of(row)) != (order_id, name, terms):
            expected = f"a new name: {format_id(order_id)} has it, on other terms"
            raise InvalidValue("cl_ord_id", name, expected)
        return Order(order_id, order_id, name, row[-1], repeated=True), group

    def _repeat_change(
        self, kind: RequestType, order_id: int, name: str, asks: dict[str, int]
    ) -> Order | None:
        """The request that has this name already, if it asks for the same.

        :raises InvalidValue: it asks for something else.
        """
        state = self.view.order(order_id)
        if state is None or self.names.find(state.account, name, self.clock()) is None:
            return None
        same: dict[str, object] = {n: v for n, v in asks.items() if v != rules.UNSTATED}
        if "time_in_force" in same:
            same["time_in_force"] = rules.NAMES_OF_TIME[asks["time_in_force"]]
        same |= {"request_type": kind, "account": state.account, "cl_ord_id": name}
        found = self.tables["requests"].of_order(order_id)
        for row in (row for batch in found for row in rows_of(batch)):
            if same.items() <= row.items():
                return Order(order_id, row["record_id"], name, row["reject_reason"], repeated=True)
        raise InvalidValue("cl_ord_id", name, "a name that the account has not used before")


def _accepted(requests: pa.RecordBatch) -> pa.RecordBatch:
    """Those of the requests that were not refused."""
    reasons = requests["reject_reason"]
    if reasons.null_count < requests.num_rows:
        requests = requests.filter(pc.is_null(reasons))
    return as_written(requests)
