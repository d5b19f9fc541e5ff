"""The answers of :mod:`tradesys.status` and :mod:`tradesys.positions`, kept up to date.

A view keeps *facts* (quantities, flags, which change is unanswered), never a status. Records may
come in any order and more than once. The cost of a record, and of a question about one order, does
not grow with history. Tests hold it equal to the definitions after every batch.
"""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys import loops
from tradesys.balances import Accounts, codes_of
from tradesys.facts import Facts
from tradesys.loops import KNOWN, Executions, Ids, Ints, Memory, Postings, Requests, Statuses
from tradesys.positions import CAPITAL, CLEARING
from tradesys.records import PRICE_SCALE, OrdStatus

_REQUEST_TYPES = {text: code for code, text in enumerate(loops.REQUEST_TYPES)}
_EXEC_TYPES = {text: code for code, text in enumerate(loops.EXEC_TYPES)}
_SIDES = {text: code for code, text in enumerate(loops.SIDES)}
_ORD_TYPES = {text: 2 * code for code, text in enumerate(loops.ORD_TYPES)}
_TIMES_IN_FORCE = {text: 4 * code for code, text in enumerate(loops.TIMES_IN_FORCE)}
_STATUSES = [OrdStatus(text) for text in loops.STATUSES]
_ALL_TERMS = [(s, o, t) for t in loops.TIMES_IN_FORCE for o in loops.ORD_TYPES for s in loops.SIDES]
_TERMS_TEXTS = [pa.array(texts, pa.utf8()) for texts in zip(*_ALL_TERMS, strict=True)]

_READ = {
    "requests": (
        *("record_id", "request_type", "reject_reason", "order_id", "account", "symbol", "side"),
        *("ord_type", "time_in_force", "order_qty", "price"),
    ),
    "executions": (
        *("exec_id", "exec_type", "exec_ref_id", "request_id", "order_id", "account", "symbol"),
        *("side", "ord_type", "time_in_force", "order_qty", "price", "last_qty", "last_px"),
    ),
    "postings": ("exec_id", "account", "asset", "amount"),
}
"""The columns that matter here."""

_PATIENCE = 20_000
"""How many records wait at most for a question before they are worked in."""

STATUS_TYPE = pl.Enum(list(loops.STATUSES))


class OrderState(NamedTuple):
    """What the records held say of one order. Quantities in shares, prices in 1/10,000."""

    ord_status: OrdStatus
    order_qty: int
    cum_qty: int
    leaves_qty: int
    cum_amount: int
    price: int
    request_in_force: int

    @property
    def avg_px(self) -> float | None:
        """The average price of the fills in the currency; None without a fill."""
        return self.cum_amount / (self.cum_qty * PRICE_SCALE) if self.cum_qty else None


class OrderTerms(NamedTuple):
    """The terms of an order that no replace changes."""

    account: str
    symbol: str
    side: str
    ord_type: str
    time_in_force: str


class View:
    """Facts of every order, and balances of every account, from the records applied so far."""

    def __init__(self) -> None:
        self.facts, self.accounts = Facts(), Accounts()
        self._memory = self._gathered()
        self._waiting: dict[str, list[pa.RecordBatch]] = {name: [] for name in _READ}
        self._waiting_rows = 0

    # ---- records in

    def apply(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Take in records of a dataset; those of reference data do not matter here.

        They are worked in at the next question, together: since the order of arrival makes no
        difference, records that arrive between two questions are one batch.
        """
        waiting = self._waiting.get(dataset)
        if waiting is not None:
            waiting.append(batch)
            self._waiting_rows += batch.num_rows
            if self._waiting_rows >= _PATIENCE:
                self._catch_up()

    def _catch_up(self) -> None:
        """Work in what waits."""
        if not self._waiting_rows:
            return
        waiting, self._waiting = self._waiting, {name: [] for name in _READ}
        self._waiting_rows = 0
        if batches := waiting["requests"]:
            self._take_requests(_one("requests", batches))
        if batches := waiting["executions"]:
            self._take_executions(_one("executions", batches))
        if batches := waiting["postings"]:
            self._take_postings(_one("postings", batches))

    def _take_requests(self, batch: pa.RecordBatch) -> None:
        rows = Requests(
            record_id=batch["record_id"].to_numpy(),
            request_type=codes_of(batch["request_type"], _REQUEST_TYPES.__getitem__),
            accepted=batch["reject_reason"].is_null().to_numpy(zero_copy_only=False),
            order_id=batch["order_id"].to_numpy(),
            key=self.accounts.keys_of(batch["account"], batch["symbol"]),
            terms=_terms(batch),
            order_qty=batch["order_qty"].to_numpy(),
            price=_or_zero(batch["price"]),
        )
        done, count = 0, batch.num_rows
        while (done := loops.take_requests(self._memory, rows, done)) < count:
            ids = rows.record_id.item(done), rows.order_id.item(done)
            self._make_room(ids, (), rows.key.item(done))

    def _take_executions(self, batch: pa.RecordBatch) -> None:
        count = batch.num_rows
        unread = np.zeros(count, np.int64)
        rows = Executions(
            exec_id=batch["exec_id"].to_numpy(),
            exec_type=codes_of(batch["exec_type"], _EXEC_TYPES.__getitem__),
            exec_ref_id=_or_zero(batch["exec_ref_id"]),
            request_id=batch["request_id"].to_numpy(),
            order_id=batch["order_id"].to_numpy(),
            key=unread,
            terms=unread,
            order_qty=batch["order_qty"].to_numpy(),
            price=_or_zero(batch["price"]),
            last_qty=batch["last_qty"].to_numpy(),
            last_px=batch["last_px"].to_numpy(),
        )
        # Texts are read only where an order's request is not held.
        tells = loops.tells_terms(self._memory, rows)
        if tells:
            key = self.accounts.keys_of(batch["account"], batch["symbol"])
            rows = rows._replace(key=key, terms=_terms(batch))
        done = 0
        while (done := loops.take_executions(self._memory, rows, done)) < count:
            exec_ids = [i for i in (rows.exec_id.item(done), rows.exec_ref_id.item(done)) if i]
            ids = rows.order_id.item(done), rows.request_id.item(done)
            self._make_room(ids, exec_ids, rows.key.item(done) if tells else None)

    def _take_postings(self, batch: pa.RecordBatch) -> None:
        rows = Postings(
            exec_id=_or_zero(batch["exec_id"]),
            key=self.accounts.keys_of(batch["account"], batch["asset"]),
            amount=batch["amount"].to_numpy(),
        )
        done, count = 0, batch.num_rows
        while (done := loops.take_postings(self._memory, rows, done)) < count:
            exec_id = rows.exec_id.item(done)
            self._make_room((), (exec_id,) if exec_id else (), rows.key.item(done))

    def _make_room(
        self, record_ids: tuple[int, ...], exec_ids: list[int] | tuple[int, ...], key: int | None
    ) -> None:
        """See that there is room for what a row needs, with which the loops go on."""
        self.facts.make_room(record_ids, exec_ids)
        if key is not None:
            self.accounts.give(key)
        self._memory = self._gathered()

    def _gathered(self) -> Memory:
        facts, accounts = self.facts, self.accounts
        return Memory(
            slots=facts.slots.slotted,
            orders=facts.orders,
            passing=facts.passing,
            passing_count=facts.passing_count,
            event_slots=facts.event_slots.slotted,
            events=facts.events,
            pairs=accounts.pairs,
            balances=accounts.balances,
            prices=accounts.prices,
        )

    # ---- answers out: one order

    def order(self, order_id: int) -> OrderState | None:
        """The state of one order; None when no record held speaks of it."""
        self._catch_up()
        orders, slot = self.facts.orders, self.facts.slots.find(order_id)
        flags = orders.flags.item(slot)
        if not flags & KNOWN:
            return None
        if orders.passing.item(slot):
            flags = loops.standing(self._memory, slot)
        qty, cum_qty = orders.order_qty.item(slot), orders.cum_qty.item(slot)
        pending, replacing = orders.pending_cancel.item(slot), orders.pending_replace.item(slot)
        return OrderState(
            _STATUSES[loops.rank(flags, pending, replacing, cum_qty, qty)],
            qty,
            cum_qty,
            loops.leaves(flags, orders.terms.item(slot), cum_qty, qty),
            orders.cum_amount.item(slot),
            orders.price.item(slot),
            self.facts.slots.id_of(orders.in_force.item(slot)),
        )

    def terms(self, order_id: int) -> OrderTerms:
        """The terms of one known order that never change."""
        self._catch_up()
        orders, slot = self.facts.orders, self.facts.slots.find(order_id)
        names = self.accounts.names(orders.pair.item(slot))
        return OrderTerms(*names, *_ALL_TERMS[orders.terms.item(slot)])

    # ---- answers out: some orders, requests or events

    def terms_of(self, order_ids: Ids) -> dict[str, pa.StringArray]:
        """The terms of these known orders that never change, as columns of strings.

        ``account``, ``symbol``, ``side``, ``ord_type``, ``time_in_force``.
        """
        slots, orders = self._slots(order_ids), self.facts.orders
        accounts, symbols = self.accounts.names_of(orders.pair[slots])
        terms = pa.array(orders.terms[slots])
        kept = dict(zip(("side", "ord_type", "time_in_force"), _TERMS_TEXTS, strict=True))
        texts = {name: column.take(terms) for name, column in kept.items()}
        return {"account": accounts, "symbol": symbols} | texts

    def reserved_of(self, order_ids: Ids) -> Ints:
        """What each of these orders may still spend (cash) or sell (shares).

        A replace that waits for an answer counts as granted where it asks for more.
        """
        slots = self._slots(order_ids)
        return self.facts.orders.reserved[slots]

    def in_force_of(self, order_ids: Ids) -> dict[str, Ints]:
        """``order_qty, price, cum_qty`` of each of these orders; 0 for one that is unknown."""
        slots, orders = self._slots(order_ids), self.facts.orders
        return {
            "order_qty": orders.order_qty[slots],
            "price": orders.price[slots],
            "cum_qty": orders.cum_qty[slots],
        }

    def leaves_of(self, order_ids: Ids) -> Ints:
        """The open quantity of each of these orders; 0 for one that is closed or unknown."""
        slots = self._slots(order_ids)
        return loops.leaves_of(self._memory, slots)

    def answered(self, request_ids: Ids) -> NDArray[np.bool_]:
        """Whether a street-side system has answered each of these requests."""
        slots = self._slots(request_ids)
        flags = self.facts.orders.flags[slots]
        order_done = loops.ACKNOWLEDGED | loops.REFUSED | loops.WAS_CANCELED | loops.HAS_EXPIRED
        is_change = flags & (loops.CANCEL_ASKED | loops.REPLACE_ASKED) != 0
        done = np.where(is_change, loops.ANSWERED, loops.ANSWERED | order_done)
        return (flags & done) != 0

    def posted(self, exec_ids: Ids) -> NDArray[np.bool_]:
        """Whether a posting held clears each of these events."""
        return self._event_flags(exec_ids) & loops.POSTED != 0

    def seen(self, exec_ids: Ids) -> NDArray[np.bool_]:
        """Whether an execution held reports each of these events."""
        return self._event_flags(exec_ids) & loops.SEEN != 0

    def _event_flags(self, exec_ids: Ids) -> NDArray[np.int8]:
        self._catch_up()
        return self.facts.events.flags[loops.slots_of(self._memory.event_slots, exec_ids)]

    def _slots(self, record_ids: Ids) -> Ints:
        self._catch_up()
        return loops.slots_of(self._memory.slots, record_ids)

    # ---- answers out: balances and prices

    def available(self, account: str, asset: str) -> int:
        """A balance less what open orders may still spend or sell of it."""
        self._catch_up()
        pair = self.accounts.find(account, asset)
        return self.free(np.array([pair])).item() if pair >= 0 else 0

    def spends(
        self, accounts: pa.StringArray, symbols: pa.StringArray, buys: NDArray[np.bool_]
    ) -> Ints:
        """The balance that each order draws on: cash for a buy, shares for a sell (a pair)."""
        self._catch_up()
        keys = self.accounts.keys_of(accounts, symbols)
        different, which = np.unique(keys, return_inverse=True)
        pairs = np.array([self.accounts.give(key) for key in different.tolist()], np.int64)[which]
        self._memory = self._gathered()
        return np.where(buys, self.accounts.balances.cash[pairs], pairs)

    def free(self, pairs: Ints) -> Ints:
        """Balances, given by pair, less what open orders may still spend or sell of them."""
        self._catch_up()
        balances = self.accounts.balances
        return balances.booked[pairs] + balances.uncleared[pairs] - balances.reserved[pairs]

    def last_px(self, symbol: str) -> int:
        """The price of the last fill seen in a symbol; 0 when there was none."""
        self._catch_up()
        number, px = self.accounts.assets.number(symbol), self.accounts.prices.px
        return px.item(number) if number < len(px) else 0

    # ---- answers out: everything

    def statuses(self) -> pl.DataFrame:
        """Every order's state, by ``order_id``.

        The columns are new, or never change: no record that comes later shows in a frame that was
        handed out.

        :returns: :data:`tradesys.status.COLUMNS` but for ``cl_ord_id``, which only a record has:
            the one that ``request_in_force`` names.
        """
        self._catch_up()
        told = self._told()
        accounts, symbols = self.accounts.names_of(told.pair)
        sides, ord_types, _ = (column.take(pa.array(told.terms)) for column in _TERMS_TEXTS)
        return pl.DataFrame(
            {
                "order_id": told.order_id,
                "account": accounts,
                "symbol": symbols,
                "side": sides,
                "ord_type": ord_types,
                "price": _nullable(told.price, told.priced),
                "ord_status": pl.Series(told.ord_status).cat.to(STATUS_TYPE),
                "order_qty": told.order_qty,
                "cum_qty": told.cum_qty,
                "leaves_qty": told.leaves_qty,
                "avg_px": _nullable(told.avg_px, told.traded),
                "request_in_force": told.request_in_force,
            }
        )

    def _told(self) -> Statuses:
        """The state of every known order, in columns of its own."""
        pages = np.argsort(self.facts.slots.slotted.first[1:]) + 1
        count = loops.known(self._memory, self.facts.slots.count)
        bits = (count + 7) // 8
        told = Statuses(
            order_id=np.empty(count, np.uint64),
            request_in_force=np.empty(count, np.uint64),
            pair=np.empty(count, np.int32),
            terms=np.empty(count, np.uint8),
            ord_status=np.empty(count, np.uint8),
            order_qty=np.empty(count, np.int64),
            cum_qty=np.empty(count, np.int64),
            leaves_qty=np.empty(count, np.int64),
            price=np.empty(count, np.int64),
            avg_px=np.empty(count, np.float64),
            priced=np.zeros(bits, np.uint8),
            traded=np.zeros(bits, np.uint8),
        )
        loops.tell(self._memory, pages, float(PRICE_SCALE), told)
        return told

    def positions(self) -> pl.DataFrame:
        """Balances, as :func:`tradesys.positions.positions` defines them.

        :returns: its columns and ``reserved``: what open orders may still spend (cash) or sell
            (shares).
        """
        self._catch_up()
        balances, count = self.accounts.balances, len(self.accounts.keys)
        accounts, assets = self.accounts.names_of(np.arange(count))
        names = ("booked", "uncleared", "reserved")
        columns = {name: getattr(balances, name)[:count].copy() for name in names}
        return (
            pl.DataFrame({"account": accounts, "asset": assets} | columns)
            .filter(~pl.col("account").is_in([CLEARING, CAPITAL]), balances.moved[:count])
            .with_columns(amount=pl.col("booked") + pl.col("uncleared"))
            .select("account", "asset", "booked", "uncleared", "amount", "reserved")
            .sort("account", "asset")
        )


def _one(dataset: str, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """What waited, as one batch."""
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches([batch.select(_READ[dataset]) for batch in batches])


def _terms(batch: pa.RecordBatch) -> Ints:
    """Side, type and time in force of each row as one number: see :mod:`tradesys.loops`."""
    return (
        codes_of(batch["side"], _SIDES.__getitem__)
        + codes_of(batch["ord_type"], _ORD_TYPES.__getitem__)
        + codes_of(batch["time_in_force"], _TIMES_IN_FORCE.__getitem__)
    )


def _or_zero(column: pa.Array) -> NDArray[Any]:
    return (column.fill_null(0) if column.null_count else column).to_numpy()


def _nullable(values: NDArray[Any], bits: NDArray[np.uint8]) -> pa.Array:
    """Values as an Arrow column that shares their memory, null where their bit is not set."""
    buffers = [pa.py_buffer(bits), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers)
