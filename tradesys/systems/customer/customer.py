"""A customer-facing system: takes orders, and answers inquiries (claims 8, 21, 27).

It holds every request that any customer-facing system has taken, so it can answer for an order that
it never saw, and it asks nobody: an answer is aggregated from its own records.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tradesys.inquiry.answers import Order, OrderLike, id_of
from tradesys.inquiry.client_order_ids import Names
from tradesys.inquiry.inquiries import Inquiries
from tradesys.log.ctrl_c import uninterrupted
from tradesys.log.group_commit import Group, Part, Row
from tradesys.log.table import Table
from tradesys.records import field_rules as fields
from tradesys.records.argument_checks import one_of, text
from tradesys.records.arrow import Ids, Ints, as_written, batch_of, picked, rows_of
from tradesys.records.clock import Time
from tradesys.records.errors import GapError, InvalidValue
from tradesys.records.opening_books import NO_FEES, Fees
from tradesys.records.schemas import (
    CURRENCY,
    REQUESTS,
    Kind,
    OrdType,
    RequestType,
    Side,
    TimeInForce,
    cash_amount,
    format_id,
    split_id,
)
from tradesys.status.reference_data import QTY_SCALE
from tradesys.systems.customer import entry_rules as rules
from tradesys.systems.customer.order_entry import (
    Known,
    TableEntry,
    decide_one,
    first_use,
    note_last_price,
)
from tradesys.systems.customer.order_terms import (
    CHANGED,
    Change,
    Price,
    Terms,
    change_given,
    name_given,
    terms_given,
)
from tradesys.systems.customer.outbox import Deliver, Sent, accepted, hand_over
from tradesys.systems.customer.pending_uses import PendingUses, Use
from tradesys.systems.customer.request_encoding import Coder
from tradesys.systems.customer.table_input import columns_of
from tradesys.systems.system import Place, System

_ABOUT = ("order_id", "orig_cl_ord_id")  # how a row says which other order it is about
_NO_REQUESTS = pa.RecordBatch.from_pylist([], REQUESTS)
_NEW = RequestType.NEW.value
_DONE = Group(done=True)


class CustomerSystem(Inquiries, System):
    """One of several; all of them take orders and answer inquiries, whichever others are down."""

    kind = Kind.CUSTOMER

    def __init__(self, place: Place, *, fees: Fees = NO_FEES) -> None:
        self.fees = fees
        super().__init__(place)
        self._named_from = self.next_id("requests")
        self._group = self.writers["requests"]
        self._pending = PendingUses()
        # Whether a request is being decided; what an interrupt has left of one is forgotten.
        self._deciding = False
        # Whatever was acknowledged before and not answered since is sent again: the street side
        # knows an order by its id, so sending twice is safe, and not sending is not.
        self._read_to = self._counts()
        self._waiting: list[Sent] = []
        self._send_again = True
        self._settled: Counter[int] = Counter()

    def _begin_following(self) -> None:
        super()._begin_following()
        self._names = Names(self.calendar, self._read, self._may_trade_until)
        # From this one on the names of its own requests are indexed as they are staged.
        self._named_from = self._first_id + self._requests.count(self._code)
        for part in () if self.down else self.writers["requests"].staged:
            self._names.apply(_batch(part))

    def catch_up(self) -> None:
        """Take in what has become part of the tables since the last question."""
        with self.lock:
            super().catch_up()
            self.own_news = False
            self._pending.seen()

    def applied(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Keep the names of orders up to date."""
        super().applied(dataset, batch)
        if dataset == "requests":
            first = batch["record_id"][0].as_py()
            if first < self._named_from or split_id(first)[0] != self._code:
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
            :data:`~tradesys.systems.customer.entry_rules.COLLAR_PERCENT` % from the last price.
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
        return self._change(RequestType.CANCEL, order, Change(), account, cl_ord_id)

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
        change = Change(order_qty, price, time_in_force, expire_time)
        return self._change(RequestType.REPLACE, order, change, account, cl_ord_id)

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
        :returns: a row per row: ``accepted``, ``order_id`` and ``record_id`` (null for an error),
            ``repeated``, ``reject_reason`` (recorded, not sent), ``error`` (not recorded). A row
            that repeats a request, by the same name on the same terms, is answered with the first:
            its ids, and whether it was accepted. Nothing is recorded of the row itself.
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
        if price is not None:
            price = fields.PRICE.of_field("price", price)
        with self.lock:
            expected = "a symbol the firm has described"
            symbol = one_of("symbol", symbol, self.reference.symbols, expected)
            instrument = self.reference.instruments[self.reference.symbols[symbol]]
            if price is None:
                self.catch_up()
                note_last_price(self._reference, self._view, symbol)
                price = rules.collar(rules.BUY, instrument)
        scale = instrument.item(QTY_SCALE)
        most = fields.ORDER_QTY._replace(most=fields.ORDER_QTY.most * scale)
        order_qty = most.of_field("order_qty", order_qty)
        amount = cash_amount(order_qty, price, scale)
        return amount + self.fees.of(order_qty, amount, scale) if price else None

    def order_named(self, account: str, cl_ord_id: str) -> int | None:
        """The id of the order that an account means now by its name; None if the name is free."""
        with self.lock:
            if self.news:
                self.catch_up()
            return self._names.find(account, cl_ord_id, self.clock())

    def enter(self, requests: pa.RecordBatch) -> None:
        """Record requests that another desk has accepted, as they are, and send them on.

        No rule of order entry is asked: whoever accepted them has decided. They are numbered from
        :meth:`~tradesys.systems.system.System.next_id` on.

        :raises GapError: they do not follow on from the requests of this system.
        :raises NotYetReplicated: no accounts or instruments have come here; nothing was written.
        :raises StorageError: the disk refused; nothing was acknowledged.
        """
        with uninterrupted():
            with self.lock:
                self._begin_deciding()
                self.require_described("accounts", "instruments")
                first = self.next_id("requests")
                expected = np.arange(first, first + len(requests), dtype=np.uint64)
                if not np.array_equal(requests["record_id"].to_numpy(), expected):
                    raise GapError(
                        f"{self.name} cannot enter these requests: the next is {format_id(first)}"
                    )
                self._names.apply(requests)
                group = self._group.stage_batch(requests)
                self._deciding = False
            self._group.commit(group)

    # ---- what goes to the street side

    def outbox(self) -> pa.Table:
        """The requests that were accepted and that no street-side system has taken."""
        with self.lock:
            return pa.Table.from_batches([batch for batch, _ in self._to_send()], REQUESTS)

    def forward(self, street_for: Callable[[str], str], deliver: Deliver) -> int:
        """Send each accepted request to the one street-side system of its symbol (claim 22).

        :param street_for: the street-side system of a symbol.
        :returns: how many requests were taken.
        """
        self.flush()
        with self.lock:
            counts, waiting = self._counts(), self._to_send()
            # An interrupt from here on sends them again, which is safe if it is said.
            self._waiting = [(batch, True) for batch, _ in waiting]
            self._send_again, self._read_to = False, counts
        taken, self._waiting = hand_over(waiting, street_for, deliver)
        return taken

    def resend(self, among: Mapping[int, int]) -> None:
        """Put out to be sent again what nobody has answered, whoever took it.

        :param among: of each origin, by its code, so many of its first.
        """
        self._waiting += [(batch, True) for batch in self.unanswered(among)]

    def send_again(self) -> None:
        """Put everything that was accepted and is not answered out to be sent, and no more."""
        with self.lock:
            self._waiting, self._send_again = [], True

    def _counts(self) -> dict[int, int]:
        """How many requests of its own are held, by the code of its incarnation."""
        return {code: self._requests.count(code) for code in self.own_codes("requests")}

    def _to_send(self) -> list[Sent]:
        """What waits to be sent, and what was accepted since it was read for that."""
        found = [*self._waiting]
        if self._send_again:
            found += [(batch, True) for batch in self._unanswered(self._read_to)]
        for code, count in self._counts().items():
            start = self._read_to.get(code, 0)
            fresh = self._requests.logs[code].since(start, count - start)
            if fresh and len(fresh := accepted(fresh)):
                # What an earlier incarnation took, and is given back, may have been sent by it.
                found.append((fresh, code != self._code))
        return found

    def unanswered(self, among: Mapping[int, int] | None = None) -> list[pa.RecordBatch]:
        """Accepted requests that no street-side system is known to have answered.

        A change of an order that nothing is known of here is none of them: the order went with a
        disk, and nobody can answer. It is one again should the order be given back.

        :param among: of each origin, by its code, so many of its first; by default one's own, all.
        """
        with self.lock:
            return self._unanswered(among)

    def _unanswered(self, among: Mapping[int, int] | None) -> list[pa.RecordBatch]:
        logs = self._requests.logs
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
            waits &= self._requests.holds(orders) | self.view.answered(orders)
            if waits.any():
                waiting.append(as_written(picked(batch, waits)))
        return waiting

    # ---- inside

    @property
    def _requests(self) -> Table:
        return self.tables["requests"]

    def _stage(self, given: dict[str, Any], cl_ord_id: str | None) -> tuple[Order, Group]:
        """Decide a new order, and put it among the rows that are written next."""
        terms, name = terms_given(**given), name_given(cl_ord_id)
        with self.lock:
            self._begin_deciding()
            if self.news or self._view.is_torn:
                self.catch_up()
            coder = Coder(self._reference)
            row = coder.row(_NEW, terms)
            if name is not None and (first := self._first(row, terms.account, name, coder)):
                return first
            rows = np.array([row], np.int64)
            reason, record_id = self._decided(rows, terms, given)
            record = (
                *(record_id, self.clock(), _NEW, record_id, name, None),
                *(*terms[:5], terms.expire_time, terms.order_qty),
                *(rows.item(0, rules.PRICE) or None, reason),
            )
            group = self._stage_row(record)
        return Order(record_id, record_id, name, reason), group

    def _change(
        self,
        kind: RequestType,
        order: OrderLike,
        change: Change,
        account: str | None,
        cl_ord_id: str | None,
    ) -> Order:
        """Decide a change of an order, and make it durable."""
        asks, name = change_given(change), name_given(cl_ord_id)
        account = None if account is None else text("account", account)
        given = change._asdict() | {"cl_ord_id": cl_ord_id}
        with uninterrupted(), self._group.alone():
            self._begin_deciding()
            order_id = id_of(order)
            terms = self._in_force(order_id, order)
            coder = Coder(self._reference)
            rows = np.array([coder.row(each, terms) for each in (kind, _NEW)], np.int64)
            rows[0, [*CHANGED, rules.ORDER, rules.ORDER_ID]] = *asks, 1, order_id
            row = rows[0].tolist()
            if name is not None and (first := self._first(row, terms.account, name, coder)):
                return first[0]
            answer = self.status(order)
            if account is not None and account != answer.account:
                raise InvalidValue("order", str(order), f"an order of account {account}")
            if not answer.leaves_qty:
                raise InvalidValue(
                    "order", str(order), f"an open order; this one is {answer.ord_status}"
                )
            reserved = self._view.reserved_of(np.array([order_id], np.uint64)).item()
            rows[1, [rules.CUM_QTY, rules.RESERVED, rules.OPEN]] = answer.cum_qty, reserved, 1
            reason, record_id = self._decided(rows, terms, given)
            expires = rows.item(0, rules.EXPIRE_TIME)
            record = (
                *(record_id, self.clock(), kind.value, order_id, name, answer.cl_ord_id),
                *(*terms[:4], rules.NAMES_OF_TIME[rows.item(0, rules.TIME_IN_FORCE)]),
                *(None if expires == rules.UNSTATED else expires, rows.item(0, rules.ORDER_QTY)),
                *(rows.item(0, rules.PRICE) or None, reason),
            )
            group = self._stage_row(record)
        self._group.commit(group)
        return Order(order_id, record_id, name, reason)

    def _decided(self, rows: Ints, terms: Terms, given: dict[str, Any]) -> tuple[str | None, int]:
        """The reason for which the request in the first row is refused, if it is; and its id."""
        self.require_described("accounts", "instruments")
        if terms.ord_type == OrdType.MARKET:
            note_last_price(self._reference, self._view, terms.symbol)
        account, asset = terms.account, CURRENCY if terms.side == Side.BUY else terms.symbol
        left = self._view.available(account, asset) - self._pending.of(account, asset)
        before, record_id = rows.item(-1, rules.RESERVED), self.next_id("requests")
        reason = decide_one(rows, left, self._reference, self.fees, given, self.clock())
        more = rows.item(-1, rules.RESERVED) - before  # the last row is the order
        if more:
            self._pending.add(Use(record_id, account, asset, more))
        return reason, record_id

    def _stage_table(self, table: object) -> tuple[pl.DataFrame, Group]:
        """Decide a table of requests, and put it among what is written next."""
        columns = columns_of(table)
        quiet: AbstractContextManager[object] = self.lock
        if any(columns[name].null_count < len(columns[name]) for name in _ABOUT):
            quiet = self._group.alone()  # whatever a row may be about is in the view
        with quiet:
            self._begin_deciding()
            self.require_described("accounts", "instruments")
            known = Known(
                now=self.clock(),
                next_id=self.next_id("requests"),
                requests=self._requests,
                view=self.view,
                reference=self.reference,
                names=self._names,
                pending=self._pending,
                calendar=self.calendar,
                fees=self.fees,
                expire_time_of=self._expire_time_of,
            )
            entry = TableEntry(columns, known)
            batch, answer = entry.batch(), entry.answer()
            for use in entry.uses():
                self._pending.add(use)
            self._names.apply(batch)
            group = self._group.open
            self._group.stage_batch(batch)
            self._deciding = False
            return answer, group

    def _begin_deciding(self) -> None:
        """A request is going to be decided; whatever is kept of it is kept once it is staged."""
        self.require_up()
        if self._deciding:
            self.drop("requests")
        self._deciding = True

    def _stage_row(self, record: Row) -> Group:
        """Put a request among what is written next; from then on it counts."""
        group = self._group.open
        if record[4] is not None:
            self._names.add(record[6], record[4], record[0])
        self._group.stage(record)
        self._deciding = False
        return group

    def drop(self, dataset: str) -> None:
        """Forget what requests may use that an interrupt, or the disk, kept from being written.

        Their ids are given again. What was written counts in the view, once that is asked.
        """
        self.news = True
        self._pending.forget(self.next_id(dataset))

    def take(self, dataset: str, batches: list[pa.RecordBatch]) -> None:  # noqa: ARG002
        """Make one's own requests, which are durable, part of the table."""
        self._requests.take(batches)
        self.own_news = True
        self._pending.written(self._first_id + self._requests.count(self._code))

    def _first(
        self, row: list[int], account: str, name: str, coder: Coder
    ) -> tuple[Order, Group] | None:
        """The request that has a name already, if it asks for the same; None if none has it.

        :raises InvalidValue: it asks for something else.
        """
        uses = self._names.uses_of(account, name, self.clock())
        if not uses:
            return None
        first = first_use(row, name, uses, coder)
        record_id, reason = first["record_id"], first["reject_reason"]
        # What is being written is acknowledged once it is durable.
        group = _DONE if self._requests.has(record_id) else self._group.open
        return Order(first["order_id"], record_id, name, reason, repeated=True), group

    def _read(self, ids: Ids) -> pa.RecordBatch:
        """The requests with these ids that are held or being written, in the order of their ids.

        :param ids: ascending, each once.
        """
        found = [as_written(batch) for batch in self._requests.records(ids)]
        for part in self.writers["requests"].staged:
            first = part[0][0] if isinstance(part, list) else part["record_id"][0].as_py()
            places = ids - np.uint64(first)  # too large for an id before these
            if len(mine := places[places < len(part)]):
                found.append(_batch(part, mine.tolist()))
        if not found:
            return _NO_REQUESTS
        read = pa.concat_batches(found) if len(found) > 1 else found[0]
        return read if len(read) < 2 else read.sort_by("record_id")

    def _may_trade_until(self, order_id: int) -> int:
        """The last moment at which an order may trade; 0 if it is closed."""
        state = self.view.order(order_id)
        if state is None:  # it may be being written
            of_it = rows_of(self._read(np.array([order_id], np.uint64)))
            if not of_it or of_it[0]["reject_reason"] is not None:
                return 0
            terms = of_it[0]["time_in_force"], of_it[0]["expire_time"], of_it[0]["ts"]
            return self.calendar.last_ns(*terms)
        if not state.leaves_qty:
            return 0
        record = self.stated(state.request_in_force)
        stated_at, expires = record.get("transact_time", record["ts"]), record["expire_time"]
        return self.calendar.last_ns(state.time_in_force, expires, stated_at)

    def _in_force(self, order_id: int, order: OrderLike) -> Terms:
        """The terms of an order as they are now.

        :raises InvalidValue: there is no such order.
        :raises NotYetReplicated: nothing of it is here yet.
        """
        state = self.view.order(order_id)
        if state is None:
            raise self._unknown(order, order_id)
        is_gtd = state.time_in_force == TimeInForce.GTD
        expires = self._expire_time_of(order_id) if is_gtd else None
        return Terms(*state[:5], expires, state.order_qty, state.price or 0)

    def _expire_time_of(self, order_id: int) -> int | None:
        """The ``expire_time`` in force of a known order."""
        state = self.view.order(order_id)
        assert state is not None
        expire_time: int | None = self.stated(state.request_in_force)["expire_time"]
        return expire_time


def _batch(part: Part, places: list[int] | None = None) -> pa.RecordBatch:
    """Requests that are being written, or those in some places among them."""
    if isinstance(part, pa.RecordBatch):
        return part if places is None else part.take(pa.array(places))
    return batch_of(REQUESTS, part if places is None else [part[i] for i in places])
