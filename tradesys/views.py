"""The answers of :mod:`tradesys.status` and :mod:`tradesys.positions`, kept up to date.

A view keeps *facts* (quantities, flags, which change is unanswered), one slot an order, in numpy
arrays; it never keeps a status. Records may come in any order and more than once. The cost of a
record does not grow with history. Tests hold it equal to the definitions after every batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradesys.pairs import Ints, Pairs
from tradesys.positions import CAPITAL, CLEARING
from tradesys.records import (
    PRICE_SCALE,
    ExecType,
    OrdStatus,
    OrdType,
    RequestType,
    Side,
    TimeInForce,
)
from tradesys.slots import Columns, Slots, first_of_each
from tradesys.status import ANSWERS, PRECEDENCE, STATES_TERMS

Ids = NDArray[np.uint64]

# Flags of an order.
_ENTERED, _REFUSED, _ACKNOWLEDGED, _CANCELED, _EXPIRED, _KNOWN, _BUY = (1 << i for i in range(7))
# Flags of a request that asks for a change, kept in the request's own slot.
_CANCEL, _REPLACE, _ANSWERED = 1 << 8, 1 << 9, 1 << 10
# Flags of an event: its execution was seen, it is a fill, its postings were seen.
_SEEN, _FILL, _POSTED = 1, 2, 4

_CLOSED = _REFUSED | _CANCELED | _EXPIRED
_EXEC_FLAGS = {
    ExecType.NEW: _ACKNOWLEDGED,
    ExecType.REJECTED: _REFUSED,
    ExecType.CANCELED: _CANCELED,
    ExecType.EXPIRED: _EXPIRED,
}
_EXEC_TYPES = [t.value for t in ExecType]
_REQUEST_TYPES = [t.value for t in RequestType]
_BUY_SELL = [s.value for s in Side]
_ORD_TYPES = [t.value for t in OrdType]
_TIFS = [t.value for t in TimeInForce]
_TERMS = (
    "order_id",
    "account",
    "symbol",
    "side",
    "ord_type",
    "time_in_force",
    "order_qty",
    "price",
)
_READ = {
    "requests": ["record_id", "request_type", "reject_reason", *_TERMS],
    "executions": ["exec_id", "exec_type", "request_id", "last_qty", "last_px", *_TERMS],
    "postings": ["exec_id", "account", "asset", "amount"],
}
"""The columns that matter here."""
_STATUSES = [ord_status for ord_status, _ in PRECEDENCE]
_SIDES = pa.array([Side.SELL.value, Side.BUY.value])
_SMALL = 32
_PATIENCE = 20_000
"""How many records wait at most for a question before they are worked in."""

STATUS_TYPE = pl.Enum([s.value for s in OrdStatus])


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
        self._slots = Slots()
        self._orders = Columns(
            order_id=np.uint64,
            flags=np.int16,
            order_qty=np.int64,
            price=np.int64,
            cum_qty=np.int64,
            cum_amount=np.int64,
            terms_exec_id=np.uint64,
            hint_exec_id=np.uint64,
            request_in_force=np.uint64,
            pending_cancel=np.int16,
            pending_replace=np.int16,
            target=np.int64,
            terms=np.int8,
            pair=np.int32,
            reserved=np.int64,
        )
        self._event_slots = Slots()
        self._events = Columns(flags=np.int8, order=np.int64, qty=np.int64, px=np.int64)
        self._pairs = Pairs()
        self._last_px: dict[str, tuple[int, int]] = {}

        # Replaces that wait for an answer, by order: slots of both.
        self._asked: dict[int, list[int]] = {}
        self._waiting: dict[str, list[pa.RecordBatch]] = {n: [] for n in self._appliers()}
        self._waiting_rows = 0

    # ---- records in

    def apply(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Take in records of a dataset; those of reference data do not matter here.

        They are worked in at the next question, together: since the order of arrival makes no
        difference, records that arrive between two questions are one batch.
        """
        waiting = self._waiting.get(dataset)
        if waiting is not None:
            waiting.append(batch.select(_READ[dataset]))
            self._waiting_rows += batch.num_rows
            if self._waiting_rows >= _PATIENCE:
                self._catch_up()

    def _appliers(self) -> dict[str, Callable[[pa.RecordBatch], None]]:
        return {
            "requests": self._apply_requests,
            "executions": self._apply_executions,
            "postings": self._apply_postings,
        }

    def _catch_up(self, *datasets: str) -> None:
        """Work in what waits of these datasets; of all, when none is named."""
        if not self._waiting_rows:
            return
        for dataset, apply in self._appliers().items():
            batches = self._waiting[dataset]
            if batches and (not datasets or dataset in datasets):
                self._waiting[dataset] = []
                self._waiting_rows -= sum(batch.num_rows for batch in batches)
                apply(batches[0] if len(batches) == 1 else pa.concat_batches(batches))

    def _order_slots(self, ids: Ids) -> Ints:
        slots = self._slots.of(ids)
        self._orders.reserve(self._slots.count)
        return slots

    def _apply_requests(self, batch: pa.RecordBatch) -> None:
        orders = self._orders
        types = _codes(batch["request_type"], _REQUEST_TYPES)
        accepted = batch["reject_reason"].is_null().to_numpy(zero_copy_only=False)
        ids = batch["record_id"].to_numpy()
        slots = self._order_slots(ids)
        is_new = types == 0
        if is_new.any():
            rows, new = _taken(batch, is_new), slots[is_new]
            self._set_terms(new, rows, ids[is_new])
            orders.flags[new] |= _ENTERED
            orders.flags[new[~accepted[is_new]]] |= _REFUSED
            self._touch(new)
        changes = accepted & ~is_new
        if changes.any():
            is_cancel = types[changes] == 1
            requests = slots[changes]
            targets = self._order_slots(batch["order_id"].to_numpy()[changes])
            fresh = orders.flags[requests] & (_CANCEL | _REPLACE) == 0
            waits = fresh & (orders.flags[requests] & _ANSWERED == 0)
            orders.flags[requests] |= np.where(is_cancel, _CANCEL, _REPLACE).astype(np.int16)
            orders.target[requests] = targets
            np.add.at(orders.pending_cancel, targets[waits & is_cancel], 1)
            replaces = waits & ~is_cancel
            if replaces.any():
                asked = batch.filter(pa.array(changes)).filter(pa.array(replaces))
                self._ask(targets[replaces], requests[replaces], asked)

    def _ask(self, targets: Ints, requests: Ints, rows: pa.RecordBatch) -> None:
        """Note replaces that wait for an answer, and what orders may use if they are granted."""
        orders = self._orders
        np.add.at(orders.pending_replace, targets, 1)
        orders.order_qty[requests] = rows["order_qty"].to_numpy()
        orders.price[requests] = _or_zero(rows["price"])
        for target, request in zip(targets.tolist(), requests.tolist(), strict=True):
            self._asked.setdefault(target, []).append(request)
        self._touch(targets[orders.flags[targets] & _KNOWN != 0])

    def _set_terms(self, slots: Ints, rows: pa.RecordBatch, request_ids: Ids) -> None:
        """The terms as entered, unless an accepted report has already stated later ones."""
        orders = self._orders
        orders.order_id[slots] = rows["order_id"].to_numpy()
        orders.pair[slots] = self._pairs.of(rows["account"], rows["symbol"])
        ord_types = _codes(rows["ord_type"], _ORD_TYPES)
        orders.terms[slots] = ord_types + len(_ORD_TYPES) * _codes(rows["time_in_force"], _TIFS)
        buys = _codes(rows["side"], _BUY_SELL) == 0
        orders.flags[slots] |= np.where(buys, _KNOWN | _BUY, _KNOWN).astype(np.int16)
        first = orders.terms_exec_id[slots] == 0
        slots = slots[first]
        orders.order_qty[slots] = rows["order_qty"].to_numpy()[first]
        orders.price[slots] = _or_zero(rows["price"])[first]
        orders.request_in_force[slots] = request_ids[first]

    def _guess_terms(self, slots: Ints, rows: pa.RecordBatch) -> None:
        """Terms of orders whose request is not held: those of the first report, by ``exec_id``."""
        hints = self._orders.hint_exec_id
        exec_ids = rows["exec_id"].to_numpy()
        unset = np.iinfo(np.uint64).max
        hints[slots[hints[slots] == 0]] = unset
        np.minimum.at(hints, slots, exec_ids)
        first = hints[slots] == exec_ids
        rows = _taken(rows, first)
        self._set_terms(slots[first], rows, rows["request_id"].to_numpy())

    def _apply_executions(self, batch: pa.RecordBatch) -> None:
        orders, events = self._orders, self._events
        event_slots = self._event_slots.of(batch["exec_id"].to_numpy())
        events.reserve(self._event_slots.count)
        fresh = first_of_each(event_slots) & (events.flags[event_slots] & _SEEN == 0)
        if not fresh.all():
            if not fresh.any():
                return
            batch, event_slots = _taken(batch, fresh), event_slots[fresh]
        types = _codes(batch["exec_type"], _EXEC_TYPES)
        slots = self._order_slots(batch["order_id"].to_numpy())
        events.flags[event_slots] |= _SEEN
        unknown = (orders.flags[slots] & _ENTERED == 0) & (orders.terms_exec_id[slots] == 0)
        if unknown.any():
            self._guess_terms(slots[unknown], _taken(batch, unknown))
        for code, exec_type in enumerate(ExecType):
            rows_of = types == code
            if not rows_of.any():
                continue
            if flag := _EXEC_FLAGS.get(exec_type):
                orders.flags[slots[rows_of]] |= flag
            if exec_type in STATES_TERMS:
                self._state_terms(batch, slots, rows_of)
            if exec_type in ANSWERS:
                self._answer(batch["request_id"].to_numpy()[rows_of])
            if exec_type is ExecType.TRADE:
                self._fill(batch, slots, event_slots, rows_of)
        self._touch(slots)

    def _state_terms(self, batch: pa.RecordBatch, slots: Ints, rows: NDArray[np.bool_]) -> None:
        orders, at = self._orders, slots[rows]
        exec_ids = batch["exec_id"].to_numpy()[rows]
        np.maximum.at(orders.terms_exec_id, at, exec_ids)
        latest = orders.terms_exec_id[at] == exec_ids
        at = at[latest]
        orders.order_qty[at] = batch["order_qty"].to_numpy()[rows][latest]
        orders.price[at] = _or_zero(batch["price"])[rows][latest]
        orders.request_in_force[at] = batch["request_id"].to_numpy()[rows][latest]

    def _answer(self, request_ids: Ids) -> None:
        orders = self._orders
        requests = self._order_slots(request_ids)
        fresh = first_of_each(requests) & (orders.flags[requests] & _ANSWERED == 0)
        requests = requests[fresh]
        flags = orders.flags[requests]
        orders.flags[requests] |= _ANSWERED
        np.add.at(orders.pending_cancel, orders.target[requests[flags & _CANCEL != 0]], -1)
        replaces = requests[flags & _REPLACE != 0]
        targets = orders.target[replaces]
        np.add.at(orders.pending_replace, targets, -1)
        for target, request in zip(targets.tolist(), replaces.tolist(), strict=True):
            self._asked[target].remove(request)
            if not self._asked[target]:
                del self._asked[target]

    def _fill(
        self, batch: pa.RecordBatch, slots: Ints, event_slots: Ints, rows: NDArray[np.bool_]
    ) -> None:
        orders, events, at, event = self._orders, self._events, slots[rows], event_slots[rows]
        qty, px = batch["last_qty"].to_numpy()[rows], batch["last_px"].to_numpy()[rows]
        np.add.at(orders.cum_qty, at, qty)
        np.add.at(orders.cum_amount, at, qty * px)
        events.order[event], events.qty[event], events.px[event] = at, qty, px
        pairs = self._pairs
        pairs.balances.moved[orders.pair[at]] = True
        pairs.balances.moved[pairs.balances.cash_pair[orders.pair[at]]] = True
        self._uncleared(event[events.flags[event] & _POSTED == 0], 1)
        events.flags[event] |= _FILL
        self._note_last_px(_taken(batch, rows))

    def _note_last_px(self, fills: pa.RecordBatch) -> None:
        """Keep the latest price of each symbol: the one with the highest ``exec_id``."""
        order = np.argsort(fills["exec_id"].to_numpy(), kind="stable")
        latest = fills.select(["symbol", "exec_id", "last_px"]).take(pa.array(order))
        symbols = latest["symbol"].dictionary_encode()
        last = dict(zip(symbols.indices.to_pylist(), range(len(order)), strict=True))
        for code, row in last.items():
            exec_id, px = latest["exec_id"][row].as_py(), latest["last_px"][row].as_py()
            symbol = symbols.dictionary[code].as_py()
            if exec_id >= self._last_px.get(symbol, (0, 0))[0]:
                self._last_px[symbol] = (exec_id, px)

    def _apply_postings(self, batch: pa.RecordBatch) -> None:
        pairs = self._pairs.of(batch["account"], batch["asset"])
        np.add.at(self._pairs.balances.booked, pairs, batch["amount"].to_numpy())
        self._pairs.balances.moved[pairs] = True
        column = batch["exec_id"]
        ids = column.drop_null().to_numpy() if column.null_count else column.to_numpy()
        if not len(ids):
            return
        slots = self._event_slots.of(ids)
        events = self._events
        events.reserve(self._event_slots.count)
        slots = slots[first_of_each(slots) & (events.flags[slots] & _POSTED == 0)]
        self._uncleared(slots[events.flags[slots] & _FILL != 0], -1)
        events.flags[slots] |= _POSTED

    def _uncleared(self, event_slots: Ints, sign: int) -> None:
        """Add (or, once they are posted, take away) what these fills move."""
        if not len(event_slots):
            return
        orders, events, pairs = self._orders, self._events, self._pairs
        at, qty = events.order[event_slots], events.qty[event_slots]
        shares = np.where(orders.flags[at] & _BUY != 0, sign, -sign) * qty
        pair = orders.pair[at]
        np.add.at(pairs.balances.uncleared, pair, shares)
        cash = -shares * events.px[event_slots]
        np.add.at(pairs.balances.uncleared, pairs.balances.cash_pair[pair], cash)

    def _touch(self, slots: Ints) -> None:
        """Work out anew what these orders may still spend or sell."""
        orders, balances = self._orders, self._pairs.balances
        slots = slots[first_of_each(slots)]
        buys = orders.flags[slots] & _BUY != 0
        leaves = self._leaves(slots)
        reserved = np.where(buys, leaves * orders.price[slots], leaves)
        if self._asked:
            self._reserve_asked(slots, buys, reserved)
        change = reserved - orders.reserved[slots]
        orders.reserved[slots] = reserved
        pair = orders.pair[slots]
        np.add.at(balances.reserved, np.where(buys, balances.cash_pair[pair], pair), change)

    def _reserve_asked(self, slots: Ints, buys: NDArray[np.bool_], reserved: Ints) -> None:
        """Raise what orders reserve to what they may use if a replace that waits is granted."""
        orders = self._orders
        for at, slot in enumerate(slots.tolist()):
            requests = self._asked.get(slot, ())
            if requests and not orders.flags[slot] & _CLOSED:
                qty = np.maximum(orders.order_qty[requests] - orders.cum_qty[slot], 0)
                uses = qty * orders.price[requests] if buys[at] else qty
                reserved[at] = max(reserved[at], uses.max())

    def _leaves(self, slots: Ints | slice) -> Ints:
        orders = self._orders
        left = np.maximum(orders.order_qty[slots] - orders.cum_qty[slots], 0)
        left[orders.flags[slots] & _CLOSED != 0] = 0
        return left

    # ---- answers out

    def order(self, order_id: int) -> OrderState | None:
        """The state of one order; None when no record held speaks of it."""
        self._catch_up()
        slot = self._slots.find(order_id)
        if slot < 0 or not self._orders.flags[slot] & _KNOWN:
            return None
        orders = self._orders
        flags, qty = orders.flags.item(slot), orders.order_qty.item(slot)
        cum = orders.cum_qty.item(slot)
        return OrderState(
            ord_status=_STATUSES[self._status_codes(slice(slot, slot + 1)).item()],
            order_qty=qty,
            cum_qty=cum,
            leaves_qty=0 if flags & _CLOSED else max(qty - cum, 0),
            cum_amount=orders.cum_amount.item(slot),
            price=orders.price.item(slot),
            request_in_force=orders.request_in_force.item(slot),
        )

    def terms(self, order_id: int) -> OrderTerms:
        """The terms of one known order that never change."""
        self._catch_up()
        slot = self._slots.find(order_id)
        orders, pairs = self._orders, self._pairs
        pair = orders.pair.item(slot)
        tif, ord_type = divmod(orders.terms.item(slot), len(_ORD_TYPES))
        side = Side.BUY if orders.flags.item(slot) & _BUY else Side.SELL
        return OrderTerms(
            pairs.accounts[pair], pairs.assets[pair], side.value, _ORD_TYPES[ord_type], _TIFS[tif]
        )

    def terms_of(self, order_ids: Ids) -> dict[str, pa.StringArray]:
        """The terms of these known orders that never change, as columns of strings.

        ``account``, ``symbol``, ``side``, ``ord_type``, ``time_in_force``.
        """
        self._catch_up()
        slots = self._order_slots(order_ids)
        orders, pairs = self._orders, self._pairs
        pair = pa.array(orders.pair[slots])
        tifs, ord_types = np.divmod(orders.terms[slots], len(_ORD_TYPES))
        buys = (orders.flags[slots] & _BUY != 0).astype(np.int8)
        return {
            "account": pa.array(pairs.accounts, pa.utf8()).take(pair),
            "symbol": pa.array(pairs.assets, pa.utf8()).take(pair),
            "side": _SIDES.take(pa.array(buys)),
            "ord_type": pa.array(_ORD_TYPES).take(pa.array(ord_types)),
            "time_in_force": pa.array(_TIFS).take(pa.array(tifs)),
        }

    def reserved_of(self, order_ids: Ids) -> Ints:
        """What each of these orders may still spend (cash) or sell (shares).

        A replace that waits for an answer counts as granted where it asks for more.
        """
        self._catch_up()
        slots = self._order_slots(order_ids)
        return self._orders.reserved[slots]

    def in_force_of(self, order_ids: Ids) -> dict[str, Ints]:
        """``order_qty, price, cum_qty`` of each of these orders; 0 for one that is unknown."""
        self._catch_up()
        slots, orders = self._order_slots(order_ids), self._orders
        return {
            "order_qty": orders.order_qty[slots],
            "price": orders.price[slots],
            "cum_qty": orders.cum_qty[slots],
        }

    def leaves_of(self, order_ids: Ids) -> Ints:
        """The open quantity of each of these orders; 0 for one that is closed or unknown."""
        self._catch_up()
        return self._leaves(self._order_slots(order_ids))

    def answered(self, request_ids: Ids) -> NDArray[np.bool_]:
        """Whether a street-side system has answered each of these requests."""
        self._catch_up()
        slots = self._order_slots(request_ids)
        flags = self._orders.flags[slots]
        done = _ACKNOWLEDGED | _ANSWERED | _REFUSED | _CANCELED | _EXPIRED
        is_change = flags & (_CANCEL | _REPLACE) != 0
        return np.where(is_change, flags & _ANSWERED, flags & done) != 0

    def posted(self, exec_ids: Ids) -> NDArray[np.bool_]:
        """Whether a posting held clears each of these events."""
        self._catch_up("postings")
        slots = self._event_slots.of(exec_ids)
        self._events.reserve(self._event_slots.count)
        return self._events.flags[slots] & _POSTED != 0

    def seen(self, exec_ids: Ids) -> NDArray[np.bool_]:
        """Whether an execution held reports each of these events."""
        self._catch_up("executions")
        slots = self._event_slots.of(exec_ids)
        self._events.reserve(self._event_slots.count)
        return self._events.flags[slots] & _SEEN != 0

    def available(self, account: str, asset: str) -> int:
        """A balance less what open orders may still spend or sell of it."""
        self._catch_up()
        pair, balances = self._pairs.find(account, asset), self._pairs.balances
        if pair < 0:
            return 0
        amount: int = balances.booked.item(pair) + balances.uncleared.item(pair)
        return amount - balances.reserved.item(pair)

    def pair(self, account: str, asset: str) -> int:
        """The slot of a balance; -1 if it was never seen."""
        return self._pairs.find(account, asset)

    def spends(
        self, accounts: pa.StringArray, symbols: pa.StringArray, buys: NDArray[np.bool_]
    ) -> Ints:
        """The balance that each order draws on: cash for a buy, shares for a sell (a slot)."""
        self._catch_up()
        pairs = self._pairs.of(accounts, symbols)
        return np.where(buys, self._pairs.balances.cash_pair[pairs], pairs)

    def free(self, pairs: Ints) -> Ints:
        """Balances, given by slot, less what open orders may still spend or sell of them."""
        self._catch_up()
        balances = self._pairs.balances
        return balances.booked[pairs] + balances.uncleared[pairs] - balances.reserved[pairs]

    def last_px(self, symbol: str) -> int:
        """The price of the last fill seen in a symbol; 0 when there was none."""
        self._catch_up("executions")
        return self._last_px.get(symbol, (0, 0))[1]

    def statuses(self) -> pl.DataFrame:
        """Every order's state, by ``order_id``.

        :returns: :data:`tradesys.status.COLUMNS` but for ``cl_ord_id``, which only a record has:
            the one that ``request_in_force`` names.
        """
        self._catch_up()
        used = slice(0, self._slots.count)
        slots = np.flatnonzero(self._orders.flags[used] & _KNOWN)
        orders = self._orders
        slots = slots[np.argsort(orders.order_id[slots], kind="stable")]
        qty, cum, amount = orders.order_qty[slots], orders.cum_qty[slots], orders.cum_amount[slots]
        status_names = pl.Series([s.value for s in _STATUSES], dtype=STATUS_TYPE)
        frame = pl.DataFrame(
            {
                "order_id": orders.order_id[slots],
                "price": orders.price[slots],
                "ord_status": status_names.gather(pl.Series(self._status_codes(slots))),
                "order_qty": qty,
                "cum_qty": cum,
                "leaves_qty": self._leaves(slots),
                "avg_px": _ratio(amount, cum * PRICE_SCALE),
                "request_in_force": orders.request_in_force[slots],
            }
        )
        terms = pl.DataFrame(pa.table(self.terms_of(orders.order_id[slots])))
        return frame.hstack(terms).with_columns(
            pl.col("avg_px").fill_nan(None), pl.col("price").replace(0, None)
        )

    def positions(self) -> pl.DataFrame:
        """Balances, as :func:`tradesys.positions.positions` defines them.

        :returns: its columns and ``reserved``: what open orders may still spend (cash) or sell
            (shares).
        """
        self._catch_up()
        pairs, count = self._pairs, self._pairs.count
        balances = pairs.balances
        names = ("booked", "uncleared", "reserved")
        columns = {name: getattr(balances, name)[:count].copy() for name in names}
        return (
            pl.DataFrame({"account": pairs.accounts, "asset": pairs.assets} | columns)
            .filter(~pl.col("account").is_in([CLEARING, CAPITAL]), balances.moved[:count])
            .with_columns(amount=pl.col("booked") + pl.col("uncleared"))
            .select("account", "asset", "booked", "uncleared", "amount", "reserved")
            .sort("account", "asset")
        )

    def _status_codes(self, slots: Ints | slice) -> NDArray[np.intp]:
        """The position in :data:`tradesys.status.PRECEDENCE` of each order's status."""
        orders = self._orders
        flags, cum = orders.flags[slots], orders.cum_qty[slots]
        conditions = {
            OrdStatus.PENDING_CANCEL: orders.pending_cancel[slots] > 0,
            OrdStatus.PENDING_REPLACE: orders.pending_replace[slots] > 0,
            OrdStatus.FILLED: (cum > 0) & (cum >= orders.order_qty[slots]),
            OrdStatus.CANCELED: flags & _CANCELED != 0,
            OrdStatus.EXPIRED: flags & _EXPIRED != 0,
            OrdStatus.PARTIALLY_FILLED: cum > 0,
            OrdStatus.REJECTED: flags & _REFUSED != 0,
            OrdStatus.NEW: flags & _ACKNOWLEDGED != 0,
            OrdStatus.PENDING_NEW: np.ones(len(flags), np.bool_),
        }
        return np.argmax([conditions[s] for s in _STATUSES], axis=0)


def _codes(column: pa.StringArray, values: list[str]) -> Ints:
    """The position in ``values`` of each element."""
    if len(column) < _SMALL:
        return np.array([values.index(v) for v in column.to_pylist()], np.int64)
    return pc.index_in(column, pa.array(values, pa.utf8())).to_numpy()


def _ratio(above: Ints, below: Ints) -> NDArray[np.float64]:
    """The quotient, not a number where the divisor is zero."""
    return np.divide(above, below, where=below != 0, out=np.full(len(below), np.nan))


def _or_zero(column: pa.Int64Array) -> Ints:
    return (column.fill_null(0) if column.null_count else column).to_numpy()


def _taken(batch: pa.RecordBatch, rows: NDArray[np.bool_]) -> pa.RecordBatch:
    return batch if rows.all() else batch.filter(pa.array(rows))
