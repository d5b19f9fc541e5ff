"""What customers call their orders: (account, ``cl_ord_id``) to ``order_id``, and back."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tradesys.log.table import Tables
from tradesys.records.arrow import Ids
from tradesys.records.schemas import split_id
from tradesys.records.sessions import Calendar, ns_of

_FEW = 16  # so many are put together one by one faster than by Arrow

Key = str
"""An account and a name that it gave, told apart by how long the account's is."""


class Named(NamedTuple):
    """The order that a name means, and up to when it does, in ns since 1970."""

    order_id: int
    until: int


class Names:
    """The order that each account means by each ``cl_ord_id`` it has used.

    A name means the account's order of that name that is still open, or else that of the same
    trading day; on another day it is free again. A request belongs to the day of its own ``ts``.
    Where two systems took one name on the same day, the order that is open has it, or else the one
    with the lower id, wherever and in whatever order the two records arrived.

    :param may_trade_until: the last moment at which an order may trade; 0 if it is closed.
    """

    def __init__(self, calendar: Calendar, may_trade_until: Callable[[int], int]) -> None:
        self._calendar = calendar
        self._may_trade_until = may_trade_until
        # The close of the day on which a name was used, and for which order: once, and other days.
        self._uses: dict[Key, tuple[int, int]] = {}
        self._others: dict[Key, list[tuple[int, int]]] = {}
        self._waiting: list[pa.RecordBatch] = []

    def apply(self, requests: pa.RecordBatch) -> None:
        """Take in records of ``requests``; they are worked in at the next question."""
        if requests["cl_ord_id"].null_count < requests.num_rows:
            self._waiting.append(requests)

    def find(self, account: str, cl_ord_id: str, ts: int) -> int | None:
        """The order that a request of this time means by a name; None if the name is free."""
        named = self.get_each([key_of(account, cl_ord_id)], ts, ts)
        return next((n.order_id for n in named.values() if n is not None), None)

    def get_each(self, keys: Iterable[Key | None], ts: int, last: int) -> dict[Key, Named | None]:
        """The order that each key means to requests from a time to a last one, each key once."""
        self._catch_up()
        uses = self._uses
        return {
            key: self._meant(key, ts, last) if key in uses else None
            for key in keys
            if key is not None
        }

    def _meant(self, key: Key, ts: int, last: int) -> Named | None:
        uses = (self._uses[key], *self._others.get(key, ()))
        found = None
        for close, order_id in uses:
            # Whether an order is open matters on another day, or beside another of its name.
            asked = close < last or len(uses) > 1
            open_until = self._may_trade_until(order_id) if asked else 0
            until = max(close, open_until)
            # Of several orders the one that may trade longest, and of those the first.
            rank = (-open_until, -until, order_id)
            if until >= ts and (found is None or rank < found[0]):
                found = rank, Named(order_id, until)
        return found[1] if found else None

    def _catch_up(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for batch in waiting:
            keys = keys_of(batch["account"], batch["cl_ord_id"])
            closes = self._calendar.closes(ns_of(batch["ts"]))
            is_one_day = closes.min() == closes.max()
            days = repeat(closes.item(0), len(keys)) if is_one_day else closes.tolist()
            uses = list(zip(days, batch["order_id"].to_pylist(), strict=True))
            named = {k: use for k, use in zip(keys, uses, strict=True) if k is not None}
            if len(named) == len(keys) and self._uses.keys().isdisjoint(named):
                self._uses.update(named)
            else:
                for key, use in zip(keys, uses, strict=True):
                    if key is not None:
                        self._use(key, *use)

    def _use(self, key: Key, close: int, order_id: int) -> None:
        """Note a use of a name."""
        use = close, order_id
        first = self._uses.setdefault(key, use)
        others = self._others.get(key, [])
        if use != first and use not in others:
            self._others[key] = [*others, use]


def key_of(account: str, cl_ord_id: str) -> Key:
    """The key of one name."""
    return f"{len(account)}:{account}{cl_ord_id}"


def keys_of(accounts: pa.StringArray, cl_ord_ids: pa.StringArray) -> list[Key | None]:
    """The key of each row's name; None where it has none."""
    if cl_ord_ids.null_count == len(cl_ord_ids):
        return [None] * len(cl_ord_ids)
    if len(accounts) <= _FEW:
        named = zip(accounts.to_pylist(), cl_ord_ids.to_pylist(), strict=True)
        return [
            key_of(a, name) if a is not None and name is not None else None for a, name in named
        ]
    lengths = pc.binary_join_element_wise(pc.utf8_length(accounts).cast(pa.utf8()), accounts, ":")
    keys: list[Key | None] = pc.binary_join_element_wise(lengths, cl_ord_ids, "").to_pylist()
    return keys


class NamesGiven:
    """The ``cl_ord_id`` of orders, from the records of requests and what reports repeat of them."""

    def __init__(self, tables: Tables) -> None:
        self._requests, self._executions = tables["requests"], tables["executions"]
        self._reported: dict[int, tuple[int, str | None]] = {}
        self._read: Counter[int] = Counter()

    def __call__(self, order_ids: Ids, in_force: Ids) -> pl.Series:
        """The name of each order, given with the request that states its terms.

        It is that request's own, or the one that the order was entered with.
        """
        names = self._of(in_force)
        if names.null_count():
            unnamed = np.flatnonzero(names.is_null().to_numpy() & (order_ids != in_force))
            names = names.scatter(unnamed, self._of(order_ids[unnamed]))
        return names

    def of_one(self, request_id: int) -> str | None:
        """The name of one request."""
        code, sequence = split_id(request_id)
        if sequence < self._requests.count(code):
            name: str | None = self._requests.logs[code].value(sequence, "cl_ord_id")
            return name
        self._catch_up()
        return self._reported.get(request_id, (0, None))[1]

    def _of(self, request_ids: Ids) -> pl.Series:
        names = self._requests.column("cl_ord_id", request_ids)
        lacking = np.flatnonzero(~self._requests.holds(request_ids))
        if len(lacking):
            self._catch_up()
            found = [self._reported.get(i, (0, None))[1] for i in request_ids[lacking].tolist()]
            names = names.scatter(lacking, pl.Series(found, dtype=pl.String))
        return names

    def _catch_up(self) -> None:
        """Read reports of requests that are not held: of each request the first by record."""
        for code, log in self._executions.logs.items():
            count = log.count
            for batch in log.batches(self._read[code]):
                lacking = ~self._requests.holds(batch["request_id"].to_numpy())
                columns = ("request_id", "record_id", "cl_ord_id")
                found = batch.select(columns).filter(pa.array(lacking))
                for request_id, *named in zip(*map(pa.Array.to_pylist, found), strict=True):
                    record_id, name = named
                    if record_id <= self._reported.get(request_id, named)[0]:
                        self._reported[request_id] = record_id, name
            self._read[code] = count
