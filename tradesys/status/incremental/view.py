"""The answers of ``status.definition`` and ``status.positions``, kept up to date.

A view keeps *facts* (quantities, flags, which change is unanswered), and works the status of an
order out of them whenever a record has changed one. Records may come in any order and more than
once. The cost of a record, and of a question about one order, does not grow with history. Tests
hold it equal to the definitions after every batch.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records.arrow import Ids, Ints
from tradesys.records.opening_books import NO_FEES, Fees
from tradesys.records.schemas import PRICE_SCALE, OrdStatus, average
from tradesys.status.definition import COLUMNS
from tradesys.status.incremental import columns, loops
from tradesys.status.incremental import text_codes as codes
from tradesys.status.incremental.balances import Accounts
from tradesys.status.incremental.columns import Facts, Records, Uncleared, room, with_room
from tradesys.status.incremental.loops import IS_OPEN, KNOWN, PAGE_BITS, PAGE_ROWS
from tradesys.status.incremental.rows import Rows
from tradesys.status.incremental.text_codes import (
    TERMS,
    codes_of,
    terms_texts,
)

STATUS_TYPE = pl.Enum(list(loops.STATUSES))

_STATUSES = [OrdStatus(text) for text in loops.STATUSES]
_TERMS = ("side", "ord_type", "time_in_force")
_DATASETS = ("instruments", "requests", "executions", "postings")
_STATE = 6  # so many of the columns that are told change with the state of an order

_MANY = 20_000
"""How many records wait for a question at most, and are worked in at a time."""

_FEW_PAGES = 16
"""Room for a page of so many origins from the beginning: to grow costs a copy."""


class OrderState(NamedTuple):
    """What the records held say of one order. Prices are in 1/10,000.

    Quantities are in units of the instrument's ``qty_scale``: shares, if nothing else is said.
    """

    account: str
    symbol: str
    side: str
    ord_type: str
    time_in_force: str
    price: int | None
    ord_status: OrdStatus
    order_qty: int
    cum_qty: int
    leaves_qty: int
    cum_amount: int
    request_in_force: int

    @property
    def avg_px(self) -> float | None:
        """The average price of the fills in the currency; None without a fill."""
        return average(self.cum_amount, self.cum_qty)


class View:
    """Facts of every order, and balances of every account, from the records applied so far.

    :param names: gives the ``cl_ord_id`` of orders, by their ids and those of the requests whose
        terms are in force: only records have it.
    :param fees: what an order is charged counts among what it may use.
    """

    def __init__(
        self, names: Callable[[Ids, Ids], pl.Series] | None = None, fees: Fees = NO_FEES
    ) -> None:
        self.names, self.fees = names or _no_names, fees
        self._fees = np.array(fees, np.int64)
        self.order_rows, self.event_rows, self.accounts = Rows(), Rows(), Accounts()
        self.orders, self.rare, self.trades = (
            room(_FEW_PAGES * PAGE_ROWS, table)
            for table in (columns.ORDER, columns.RARE, columns.TRADE)
        )
        self.events = room(_FEW_PAGES * PAGE_ROWS, np.dtype(np.int32))
        self.trades[loops.NO_TRADE]["flags"] = loops.SEEN
        self._used = np.array([1, loops.NO_TRADE + 1])
        self._news = np.zeros(1, np.int8)
        self._told: dict[int, pl.DataFrame] = {}
        self._answer: pl.DataFrame | None = None
        self._waiting: dict[str, list[pa.RecordBatch]] = {name: [] for name in _DATASETS}
        self._waiting_rows = 0
        self.is_torn = False
        """Whether a change was interrupted: what is known here is to be made anew."""

    # ---- records in

    def apply(self, dataset: str, batch: pa.RecordBatch) -> None:
        """Take in records of a dataset; those of accounts do not matter here.

        They are worked in at the next question, together: since the order of arrival makes no
        difference, records that arrive between two questions are one batch.
        """
        waiting = self._waiting.get(dataset)
        if waiting is not None:
            waiting.append(batch)
            self._waiting_rows += batch.num_rows
            if self._waiting_rows >= _MANY:
                self._catch_up()

    def _catch_up(self, datasets: Iterable[str] = _DATASETS) -> None:
        """Work in what waits of the datasets that a question rests on."""
        if not self._waiting_rows:
            return
        self.is_torn = True
        for dataset in datasets:
            if batches := self._waiting[dataset]:
                self._waiting[dataset] = []
                self._waiting_rows -= sum(batch.num_rows for batch in batches)
                self._answer = None
                batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
                take = getattr(self, f"_take_{dataset}")
                for start in range(0, batch.num_rows, _MANY):
                    take(batch.slice(start, _MANY))
        self.is_torn = False

    def _take_instruments(self, batch: pa.RecordBatch) -> None:
        """Note how many units of quantity make one share; it is 1 until that is known."""
        assets = codes_of(batch["symbol"], self.accounts.assets.give)
        scales = batch["qty_scale"].to_numpy()
        for asset, scale in zip(assets.tolist(), scales.tolist(), strict=True):
            facts = self._facts()
            if max(facts.scales[asset], 1) != scale:
                loops.rescale(facts, asset, scale)

    def _take_requests(self, batch: pa.RecordBatch) -> None:
        records = np.empty(batch.num_rows, columns.REQUESTS)
        records["request"] = self.order_rows.give(batch["record_id"].to_numpy())
        records["order"] = self.order_rows.give(batch["order_id"].to_numpy())
        records["kind"] = codes_of(batch["request_type"], codes.request_type)
        records["is_refused"] = codes_of(batch["reject_reason"], lambda _: 1)
        records["order_qty"], records["price"] = batch["order_qty"], _or_zero(batch["price"])
        self._add_terms(records, batch)
        loops.take_requests(self._facts(len(records)), records)

    def _take_executions(self, batch: pa.RecordBatch) -> None:
        records = np.empty(batch.num_rows, columns.EXECUTIONS)
        records["event"] = self.event_rows.give(batch["exec_id"].to_numpy())
        records["refers"] = self.event_rows.give(_or_zero(batch["exec_ref_id"]))
        records["order"] = self.order_rows.give(batch["order_id"].to_numpy())
        records["request"] = self.order_rows.give(batch["request_id"].to_numpy())
        records["kind"] = codes_of(batch["exec_type"], codes.exec_type)
        records["order_qty"], records["price"] = batch["order_qty"], _or_zero(batch["price"])
        records["last_qty"], records["last_px"] = batch["last_qty"], batch["last_px"]
        facts = self._facts(len(records))
        if loops.needs_terms(facts, records):
            self._add_terms(records, batch)
            facts = self._facts(len(records))
        loops.take_executions(facts, records)

    def _take_postings(self, batch: pa.RecordBatch) -> None:
        records = np.empty(batch.num_rows, columns.POSTINGS)
        records["event"] = self.event_rows.give(_or_zero(batch["exec_id"]))
        records["pair"] = self.accounts.pairs(batch["account"], batch["asset"])
        records["amount"] = batch["amount"]
        loops.take_postings(self._facts(len(records)), records)

    def _add_terms(self, records: Records, batch: pa.RecordBatch) -> None:
        """Add what stands in texts: whose order it is, and its terms."""
        records["pair"] = self.accounts.pairs(batch["account"], batch["symbol"])
        records["terms"] = codes.terms_of(*(batch[name] for name in _TERMS))

    def _facts(self, count: int = 0) -> Facts:
        """The facts, with room for every row that was given out, and for so many records."""
        self.orders = with_room(self.orders, self.order_rows.count)
        self.events = with_room(self.events, self.event_rows.count)
        of_rare, of_trades = self._used.tolist()  # a record may need two rows of each
        self.rare = with_room(self.rare, of_rare + 2 * count)
        self.trades = with_room(self.trades, of_trades + 2 * count)
        self._news = with_room(self._news, len(self.order_rows.pages))
        accounts, event_ids = self.accounts, self.event_rows.first_ids
        accounts.scales = with_room(accounts.scales, len(accounts.assets.known))
        return Facts(
            *(self.orders, self.rare, self.events, self.trades, self._used, event_ids),
            *(self._news, accounts.balances, accounts.last_trades, self._fees, accounts.scales),
        )

    # ---- answers out: one order

    def order(self, order_id: int) -> OrderState | None:
        """The state of one order; None when no record held speaks of it."""
        self._catch_up()
        facts = self.orders[self.order_rows.find(order_id)].item()  # as columns.ORDER has them
        (order_qty, price, cum_qty, cum_amount), (in_force, pair) = facts[:4], facts[5:7]
        flags, terms, status = facts[-3:]
        if not flags & KNOWN:
            return None
        leaves_qty = max(order_qty - cum_qty, 0) if flags & IS_OPEN else 0
        terms_in_force = (*self.accounts.names(pair), *TERMS[terms], price or None)
        request_id = self.order_rows.id_of(in_force)
        states = (_STATUSES[status], order_qty, cum_qty, leaves_qty, cum_amount, request_id)
        return OrderState._make(terms_in_force + states)

    # ---- answers out: some orders, requests or events

    def terms_of(self, order_ids: Ids) -> dict[str, pa.StringArray]:
        """The terms in force of these known orders, as columns of strings.

        ``account``, ``symbol``, ``side``, ``ord_type``, ``time_in_force``.
        """
        pairs, terms = self._of_orders(order_ids, "pair", "terms")
        texts = (*self.accounts.names_of(pairs), *terms_texts(terms))
        return dict(zip(OrderState._fields, texts, strict=False))

    def reserved_of(self, order_ids: Ids) -> Ints:
        """What each of these orders may still spend (cash) or sell (shares).

        A replace that waits for an answer counts as granted where it asks for more.
        """
        return self._of_orders(order_ids, "reserved")[0]

    def in_force_of(self, order_ids: Ids) -> dict[str, Ints]:
        """``order_qty, price, cum_qty`` of each of these orders; 0 for one that is unknown."""
        names = ("order_qty", "price", "cum_qty")
        return dict(zip(names, self._of_orders(order_ids, *names), strict=True))

    def leaves_of(self, order_ids: Ids) -> Ints:
        """The open quantity of each of these orders; 0 for one that is closed or unknown."""
        return _leaves(*self._of_orders(order_ids, "order_qty", "cum_qty", "flags"))

    def answered(self, request_ids: Ids) -> NDArray[np.bool_]:
        """Whether a street-side system has answered each of these requests.

        Who reports that one is pending, or of a trade, has it as well.
        """
        self._catch_up()
        rows = self.order_rows.of(request_ids)
        flags = self.orders["flags"][rows]
        order_done = loops.ACKNOWLEDGED | loops.REFUSED | loops.WAS_CANCELED | loops.HAS_EXPIRED
        is_change = flags & (loops.CANCEL_ASKED | loops.REPLACE_ASKED) != 0
        done = np.where(is_change, loops.ANSWERED, loops.ANSWERED | order_done)
        return (flags & (done | loops.REPORTED)) != 0

    def seen(self, exec_ids: Ids) -> NDArray[np.bool_]:
        """Whether an execution held reports each of these events."""
        self._catch_up(("executions",))
        return self.trades["flags"][self.events[self.event_rows.of(exec_ids)]] & loops.SEEN != 0

    def uncleared(self, exec_ids: Ids) -> Uncleared:
        """What the trades of these events still have to move, and the events of them that stand."""
        self._catch_up()
        rest = np.zeros((len(Uncleared._fields) - 1, len(exec_ids)), np.int64)
        found = Uncleared(np.zeros(len(exec_ids), np.uint64), *rest)
        loops.find_uncleared(self._facts(), self.event_rows.of(exec_ids), found)
        return found

    def cleared(self, exec_ids: Ids) -> NDArray[np.bool_]:
        """Whether nothing is to be posted for these events: their trades are held, and cleared.

        Of a trade that is not cleared, only the event that stands is to be posted.
        """
        found = self.uncleared(exec_ids)
        return (found.exec_id != 0) & ~(found.differs & (found.exec_id == exec_ids))

    def names_of(self, rows: Ints) -> tuple[pa.StringArray, pa.StringArray]:
        """The account and the symbol of the orders in these rows."""
        return self.accounts.names_of(self.orders["pair"][rows])

    def _of_orders(self, order_ids: Ids, *names: str) -> list[NDArray[Any]]:
        """Facts of these orders, a column each; of one that was never seen they are zero."""
        self._catch_up()
        rows = self.order_rows.of(order_ids)
        return [self.orders[name][rows] for name in names]

    # ---- answers out: balances and prices

    def available(self, account: str, asset: str) -> int:
        """A balance less what open orders may still spend or sell of it."""
        self._catch_up()
        pair = self.accounts.find(account, asset)
        if pair < 0:
            return 0
        booked, uncleared, reserved, *_ = self.accounts.balances[pair].item()
        left: int = booked + uncleared - reserved
        return left

    def pair(self, account: str, asset: str) -> int:
        """The number of a balance; -1 if it was never seen."""
        return self.accounts.find(account, asset)

    def spends(
        self, accounts: pa.StringArray, symbols: pa.StringArray, buys: NDArray[np.bool_]
    ) -> Ints:
        """The balance that each order draws on: cash for a buy, shares for a sell (a pair)."""
        self._catch_up()
        self.is_torn = True
        pairs = self.accounts.pairs(accounts, symbols)
        self.is_torn = False
        return np.where(buys, self.accounts.balances["cash"][pairs], pairs)

    def free(self, pairs: Ints) -> Ints:
        """Balances, given by pair, less what open orders may still spend or sell of them."""
        self._catch_up()
        balances = self.accounts.balances[pairs]
        return balances["booked"] + balances["uncleared"] - balances["reserved"]

    def last_px(self, symbol: str) -> int:
        """The price of the last fill seen in a symbol; 0 when there was none."""
        self._catch_up()
        number, last_trades = (
            self.accounts.assets.numbers.get(symbol, -1),
            self.accounts.last_trades,
        )
        last_px: int = self.trades["px"][last_trades[number]].item() if number >= 0 else 0
        return last_px

    # ---- answers out: everything

    def statuses(self) -> pl.DataFrame:
        """Every order's state, by ``order_id``; a frame that was handed out never changes.

        Each page of orders has a frame, which is kept until a record changes one of them.

        :returns: :data:`tradesys.status.definition.COLUMNS`.
        """
        self._catch_up()
        if self._answer is None:
            first_rows = self.order_rows.pages["first_row"].tolist()
            for first in first_rows:
                news = self._news.item(first >> PAGE_BITS)
                if news or first not in self._told:
                    self._told[first] = self._told_anew(first, news)
                    self._news[first >> PAGE_BITS] = 0
            told = [self._told[first] for first in first_rows]
            to_texts = pl.col("ord_status").cat.to(STATUS_TYPE)
            self._answer = pl.concat(told, rechunk=False).with_columns(to_texts)
        return self._answer.clone()

    def _told_anew(self, first: int, news: int) -> pl.DataFrame:
        """The states of the known orders of a page; texts, which are slow, only if they changed."""
        orders = self.orders[first : first + PAGE_ROWS]
        known = np.flatnonzero(orders["flags"] & KNOWN)
        if news & loops.TERMS or first not in self._told:
            in_force, pairs, terms = (orders[n][known] for n in ("in_force", "pair", "terms"))
            ids = self.order_rows.ids_of(first + known)
            names = self.names(ids, self.order_rows.ids_of(in_force))
            texts = (*self.accounts.names_of(pairs), *terms_texts(terms)[:2])
            told = [pl.Series(ids), names, *map(pl.Series, texts)]
        else:
            told = self._told[first].get_columns()[:-_STATE]
        state = ("price", "status", "order_qty", "cum_qty", "cum_amount", "flags")
        price, status, order_qty, cum_qty, cum_amount, flags = (orders[n][known] for n in state)
        leaves_qty = _leaves(order_qty, cum_qty, flags)
        avg_px = cum_amount / np.maximum(cum_qty * PRICE_SCALE, 1)
        told += map(pl.Series, (pa.array(price, mask=price == 0), status.view(np.uint8)))
        told += map(pl.Series, (order_qty, cum_qty, leaves_qty))
        told.append(pl.Series(pa.array(avg_px, mask=cum_qty <= 0)))
        return pl.DataFrame(dict(zip(COLUMNS, told, strict=True)))

    def positions(self) -> pl.DataFrame:
        """Balances, as :func:`tradesys.status.positions.balances` defines them."""
        self._catch_up()
        balances = self.accounts.balances[: self.accounts.count]
        is_customers = balances["account"] >= loops.FIRST_CUSTOMER
        pairs = np.flatnonzero((balances["moved"] != 0) & is_customers)
        account, asset = map(pl.Series, self.accounts.names_of(pairs))
        booked, uncleared, reserved = (
            balances[name][pairs] for name in ("booked", "uncleared", "reserved")
        )
        found = {"account": account, "asset": asset, "booked": booked, "uncleared": uncleared}
        found |= {"amount": booked + uncleared, "reserved": reserved}
        return pl.DataFrame(found).sort("account", "asset")


def _no_names(order_ids: Ids, _: Ids) -> pl.Series:
    return pl.repeat(None, len(order_ids), dtype=pl.String, eager=True)


def _leaves(order_qty: Ints, cum_qty: Ints, flags: NDArray[Any]) -> Ints:
    """What orders can still trade."""
    return np.where(flags & IS_OPEN, np.maximum(order_qty - cum_qty, 0), 0)


def _or_zero(column: pa.Array) -> NDArray[Any]:
    """The values, zero for null."""
    if column.null_count == len(column):
        return np.zeros(len(column), column.type.to_pandas_dtype())
    return (column.fill_null(0) if column.null_count else column).to_numpy()
