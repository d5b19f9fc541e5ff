"""The answers of ``status.definition`` and ``status.positions``, kept up to date.

A view keeps *facts* (quantities, flags, which change is unanswered), never a status. Records may
come in any order and more than once. The cost of a record, and of a question about one order, does
not grow with history. Tests hold it equal to the definitions after every batch.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records.arrow import Ids, Ints
from tradesys.records.opening_books import NO_FEES, Fees
from tradesys.records.schemas import FIRMS_OWN, OrdStatus, average
from tradesys.status.definition import COLUMNS
from tradesys.status.kept import loops
from tradesys.status.kept.balances import Accounts
from tradesys.status.kept.facts import Facts
from tradesys.status.kept.intake import (
    ALL_TERMS,
    EXEC_TYPES,
    READ,
    REQUEST_TYPES,
    columns_of,
    is_null,
    joined,
    named,
    or_zero,
    terms_of,
)
from tradesys.status.kept.loops import KNOWN
from tradesys.status.kept.memory import (
    Executions,
    Memory,
    Postings,
    Records,
    Requests,
    Terms,
    Uncleared,
)

_STATUSES = [OrdStatus(text) for text in loops.STATUSES]
_UNREAD = np.zeros(0, np.int64)

_PATIENCE = 20_000
"""How many records wait at most for a question before they are worked in."""


class OrderState(NamedTuple):
    """What the records held say of one order. Quantities in shares, prices in 1/10,000."""

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
        self.facts, self.accounts = Facts(), Accounts()
        self._memory = self._gathered()
        self._terms: dict[int, pl.DataFrame] = {}
        self._answer: pl.DataFrame | None = None
        self._waiting: dict[str, list[pa.RecordBatch]] = {name: [] for name in READ}
        self._waiting_rows = 0
        self.is_torn = False
        """Whether a change was interrupted: what is known here is to be made anew."""

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

    def _catch_up(self, datasets: Iterable[str] = READ) -> None:
        """Work in what waits of the datasets that a question rests on."""
        if not self._waiting_rows:
            return
        self.is_torn = True
        for dataset in datasets:
            if batches := self._waiting[dataset]:
                self._waiting[dataset] = []
                self._waiting_rows -= sum(batch.num_rows for batch in batches)
                self._answer = None
                getattr(self, f"_take_{dataset}")(*joined(dataset, batches))
        self.is_torn = False

    def _take_requests(self, batch: pa.RecordBatch, read: Sequence[int]) -> None:
        record_id, kind, reason, order_id, account, symbol, *terms, qty, price = columns_of(
            batch, read
        )
        rows = Requests(
            record_id=record_id.to_numpy(),
            request_type=REQUEST_TYPES.numbers(kind),
            accepted=is_null(reason),
            order_id=order_id.to_numpy(),
            key=self.accounts.keys_of(account, symbol),
            terms=terms_of(*terms),
            order_qty=qty.to_numpy(),
            price=or_zero(price),
        )
        done, count = 0, batch.num_rows
        while (done := loops.take_requests(self._memory, rows, done)) < count:
            ids = rows.record_id.item(done), rows.order_id.item(done)
            self._make_room(ids, (), rows.key.item(done))

    def _take_executions(self, batch: pa.RecordBatch, read: Sequence[int]) -> None:
        exec_ids, kind, exec_ref_id, request_id, order_id, *rest = columns_of(batch, read[:9])
        qty, price, last_qty, last_px = rest
        rows = Executions(
            exec_id=exec_ids.to_numpy(),
            exec_type=EXEC_TYPES.numbers(kind),
            exec_ref_id=or_zero(exec_ref_id),
            request_id=request_id.to_numpy(),
            order_id=order_id.to_numpy(),
            key=_UNREAD,
            terms=_UNREAD,
            order_qty=qty.to_numpy(),
            price=or_zero(price),
            last_qty=last_qty.to_numpy(),
            last_px=last_px.to_numpy(),
        )
        done, count = 0, batch.num_rows
        while (done := loops.take_executions(self._memory, rows, done)) < count:
            if done < 0:
                done = -1 - done
                account, symbol, *terms = columns_of(batch, read[9:])
                key = self.accounts.keys_of(account, symbol)
                rows = rows._replace(key=key, terms=terms_of(*terms))
            exec_id, about = rows.exec_id.item(done), rows.exec_ref_id.item(done)
            events = (exec_id, about) if 0 < about < exec_id else (exec_id,)
            ids = rows.order_id.item(done), rows.request_id.item(done)
            self._make_room(ids, events, rows.key.item(done) if len(rows.key) else None)

    def _take_postings(self, batch: pa.RecordBatch, read: Sequence[int]) -> None:
        exec_id, account, asset, amount = columns_of(batch, read)
        rows = Postings(
            exec_id=or_zero(exec_id),
            key=self.accounts.keys_of(account, asset),
            amount=amount.to_numpy(),
        )
        done, count = 0, batch.num_rows
        while (done := loops.take_postings(self._memory, rows, done)) < count:
            exec_ids = [i for i in (rows.exec_id.item(done),) if i]
            self._make_room((), exec_ids, rows.key.item(done))

    def _make_room(
        self, record_ids: Iterable[int], exec_ids: Iterable[int], key: int | None
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
            pages=facts.pages,
            blocks=facts.states.blocks,
            passing=facts.passing,
            passing_count=facts.passing_count,
            event_slots=facts.event_slots.slotted,
            events=facts.events,
            places=accounts.places,
            balances=accounts.balances,
            prices=accounts.prices,
            fees=np.array(self.fees, np.int64),
        )

    # ---- answers out: one order

    def order(self, order_id: int) -> OrderState | None:
        """The state of one order; None when no record held speaks of it."""
        self._catch_up()
        facts = self.facts
        slot = facts.slots.find(order_id)
        # The facts in the sequence of memory.ORDER.
        qty, price, cum_qty, cum_amount, flags, in_force, passing, *more = facts.orders[slot].item()
        pending, replacing, terms, _, pair, *_ = more
        if passing:
            flags = loops.standing(self._memory, slot)
        if not flags & KNOWN:
            return None
        return OrderState._make(
            (
                *self.accounts.names[pair],
                *ALL_TERMS[terms],
                price or None,
                _STATUSES[loops.rank(flags, pending, replacing, cum_qty, qty)],
                qty,
                cum_qty,
                loops.leaves(flags, terms, cum_qty, qty),
                cum_amount,
                facts.slots.id_of(in_force),
            )
        )

    # ---- answers out: some orders, requests or events

    def terms_of(self, order_ids: Ids) -> dict[str, pa.StringArray]:
        """The terms in force of these known orders, as columns of strings.

        ``account``, ``symbol``, ``side``, ``ord_type``, ``time_in_force``.
        """
        orders = self._orders(order_ids)
        columns = (*self.accounts.names_of(orders["pair"]), *named(orders["terms"]))
        texts = (column.to_arrow().cast(pa.utf8()) for column in columns)
        return dict(zip(OrderState._fields, texts, strict=False))

    def reserved_of(self, order_ids: Ids) -> Ints:
        """What each of these orders may still spend (cash) or sell (shares).

        A replace that waits for an answer counts as granted where it asks for more.
        """
        return self._orders(order_ids)["reserved"]

    def in_force_of(self, order_ids: Ids) -> dict[str, Ints]:
        """``order_qty, price, cum_qty`` of each of these orders; 0 for one that is unknown."""
        orders = self._orders(order_ids)
        return {name: orders[name].copy() for name in ("order_qty", "price", "cum_qty")}

    def leaves_of(self, order_ids: Ids) -> Ints:
        """The open quantity of each of these orders; 0 for one that is closed or unknown."""
        self._catch_up()
        found = np.empty(len(order_ids), np.int64)
        loops.find_leaves(self._memory, self.facts.slots.of(order_ids), found)
        return found

    def answered(self, request_ids: Ids) -> NDArray[np.bool_]:
        """Whether a street-side system has answered each of these requests."""
        self._catch_up()
        flags = self.facts.orders["flags"][self.facts.slots.of(request_ids)]
        order_done = loops.ACKNOWLEDGED | loops.REFUSED | loops.WAS_CANCELED | loops.HAS_EXPIRED
        is_change = flags & (loops.CANCEL_ASKED | loops.REPLACE_ASKED) != 0
        done = np.where(is_change, loops.ANSWERED, loops.ANSWERED | order_done)
        return (flags & done) != 0

    def seen(self, exec_ids: Ids) -> NDArray[np.bool_]:
        """Whether an execution held reports each of these events."""
        self._catch_up(("executions",))
        flags = self.facts.events["flags"][self.facts.event_slots.of(exec_ids)]
        return flags & loops.SEEN != 0

    def uncleared(self, exec_ids: Ids) -> Uncleared:
        """What the trades of these events still have to move, and the events of them that stand."""
        self._catch_up()
        rest = np.zeros((len(Uncleared._fields) - 1, len(exec_ids)), np.int64)
        found = Uncleared(np.zeros(len(exec_ids), np.uint64), *rest)
        loops.find_uncleared(self._memory, exec_ids, found)
        return found

    def cleared(self, exec_ids: Ids) -> NDArray[np.bool_]:
        """Whether nothing is to be posted for these events: their trades are held, and cleared.

        Of a trade that is not cleared, only the event that stands is to be posted.
        """
        found = self.uncleared(exec_ids)
        return (found.exec_id != 0) & ~(found.differs & (found.exec_id == exec_ids))

    def names_of(self, slots: Ints) -> tuple[pa.StringArray, pa.StringArray]:
        """The account and the symbol of each of these orders."""
        accounts, symbols = self.accounts.names_of(self.facts.orders["pair"][slots])
        return accounts.to_arrow().cast(pa.utf8()), symbols.to_arrow().cast(pa.utf8())

    def _orders(self, record_ids: Ids) -> Records:
        """A copy of the facts of these orders; of one that was never seen they are zero."""
        self._catch_up()
        return self.facts.orders[self.facts.slots.of(record_ids)]

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
        """The slot of a balance; -1 if it was never seen."""
        return self.accounts.find(account, asset)

    def spends(
        self, accounts: pa.StringArray, symbols: pa.StringArray, buys: NDArray[np.bool_]
    ) -> Ints:
        """The balance that each order draws on: cash for a buy, shares for a sell (a pair)."""
        self._catch_up()
        self.is_torn = True
        keys = self.accounts.keys_of(accounts, symbols)
        different, which = np.unique(keys, return_inverse=True)
        pairs = np.array([self.accounts.give(key) for key in different.tolist()], np.int64)[which]
        self._memory = self._gathered()
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
        number, prices = self.accounts.assets.find(symbol), self.accounts.prices
        return prices[number]["px"].item() if 0 <= number < len(prices) else 0

    # ---- answers out: everything

    def statuses(self) -> pl.DataFrame:
        """Every order's state, by ``order_id``: the states as they stand, nothing is copied.

        The terms of a page of orders are kept until a record changes one of them. A frame that was
        handed out never changes.

        :returns: :data:`tradesys.status.definition.COLUMNS`.
        """
        self._catch_up()
        if self._answer is None:
            self.is_torn = True
            self._answer = self._answered()
            self.is_torn = False
        return self._answer.clone()

    def _answered(self) -> pl.DataFrame:
        pages, first = self.facts.pages, self.facts.slots.slotted.first
        for page in np.flatnonzero(pages["news"] & loops.UNSORTED).tolist():
            self._make_room((), (), None)
            loops.sort_rows(self._memory, page)
        changed = np.flatnonzero(pages["news"])
        if len(changed) or not self._terms:
            ends, frame = self._told_terms(changed)
            self._terms[0] = frame.clear()  # slots of page 0 are nobody's: the columns alone
            for page, start, end in zip(changed.tolist(), [0, *ends], ends, strict=False):
                self._terms[page] = frame.slice(start, end - start)
            pages["news"] = 0
        told = sorted(self._terms, key=first.item)
        terms = pl.concat([self._terms[page] for page in told], rechunk=False)
        columns = terms.to_dict() | self.facts.states.columns(pages[told])
        return pl.DataFrame([columns[name].alias(name) for name in COLUMNS])

    def _told_terms(self, pages: Ints) -> tuple[list[int], pl.DataFrame]:
        """The terms of the known orders of these pages, and the row after the last of each."""
        most = self.facts.pages["rows"][pages].sum()
        told = Terms(
            ends=np.empty(len(pages), np.int64),
            order_id=np.empty(most, np.uint64),
            request_in_force=np.empty(most, np.uint64),
            account=np.empty(most, np.int32),
            asset=np.empty(most, np.int32),
            terms=np.empty(most, np.uint8),
        )
        count = loops.tell_terms(self._memory, pages, told)
        sides, ord_types, _ = named(told.terms[:count])
        ids = told.order_id[:count]
        frame = pl.DataFrame(
            {
                "order_id": ids,
                "cl_ord_id": self.names(ids, told.request_in_force[:count]),
                "account": self.accounts.accounts.column.gather(told.account[:count]),
                "symbol": self.accounts.assets.column.gather(told.asset[:count]),
                "side": sides,
                "ord_type": ord_types,
            }
        )
        return told.ends.tolist(), frame

    def positions(self) -> pl.DataFrame:
        """Balances, as :func:`tradesys.status.positions.balances` defines them."""
        self._catch_up()
        balances = self.accounts.balances[: len(self.accounts.keys)]
        firms_own = [self.accounts.accounts.find(name) for name in FIRMS_OWN]
        pairs = np.flatnonzero(balances["moved"] & ~np.isin(balances["account"], firms_own))
        accounts, assets = self.accounts.names_of(pairs)
        found = balances[pairs]
        columns = {
            "account": accounts,
            "asset": assets,
            "booked": found["booked"].copy(),
            "uncleared": found["uncleared"].copy(),
            "amount": found["booked"] + found["uncleared"],
            "reserved": found["reserved"].copy(),
        }
        return pl.DataFrame(columns).sort("account", "asset")


def _no_names(order_ids: Ids, _: Ids) -> pl.Series:
    return pl.repeat(None, len(order_ids), dtype=pl.String, eager=True)
