"""What customers call their orders: (account, ``cl_ord_id``) to ``order_id``, and back."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tradesys.memory import Ids
from tradesys.records import split_id
from tradesys.table import Tables

_SEPARATOR = "\0"
_FEW = 16  # so many are put together one by one faster than by Arrow

Key = str
"""An account and a name that it gave."""


class Names:
    """The order that each account means by each ``cl_ord_id`` it has used.

    Where two systems took one name at the same time, the order with the lower id has it, wherever
    and in whatever order the two records arrived.
    """

    def __init__(self) -> None:
        self._order_ids: dict[Key, int] = {}
        self._waiting: list[pa.RecordBatch] = []

    def apply(self, requests: pa.RecordBatch) -> None:
        """Take in records of ``requests``; they are worked in at the next question."""
        if requests["cl_ord_id"].null_count < requests.num_rows:
            self._waiting.append(requests)

    def find(self, account: str, cl_ord_id: str) -> int | None:
        """The order of that name; None if the account never used it."""
        return self.get(key_of(account, cl_ord_id))

    def get(self, key: Key) -> int | None:
        """As :meth:`find`, by key."""
        self._catch_up()
        return self._order_ids.get(key)

    def get_each(self, keys: Iterable[Key | None]) -> dict[Key, int | None]:
        """The order that each key means, each key once."""
        self._catch_up()
        get = self._order_ids.get
        return {key: get(key) for key in keys if key is not None}

    def _catch_up(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for batch in waiting:
            keys = keys_of(batch["account"], batch["cl_ord_id"])
            ids = batch["order_id"].to_pylist()
            named = {k: order_id for k, order_id in zip(keys, ids, strict=True) if k is not None}
            if len(named) < len(keys) or not self._order_ids.keys().isdisjoint(named):
                for key, order_id in zip(keys, ids, strict=True):
                    if key is not None:
                        named[key] = min(order_id, named[key], self._order_ids.get(key, order_id))
            self._order_ids.update(named)


def key_of(account: str, cl_ord_id: str) -> Key:
    """The key of one name."""
    return account + _SEPARATOR + cl_ord_id


def keys_of(accounts: pa.StringArray, cl_ord_ids: pa.StringArray) -> list[Key | None]:
    """The key of each row's name; None where it has none."""
    if cl_ord_ids.null_count == len(cl_ord_ids):
        return [None] * len(cl_ord_ids)
    if len(accounts) <= _FEW:
        named = zip(accounts.to_pylist(), cl_ord_ids.to_pylist(), strict=True)
        return [
            key_of(a, name) if a is not None and name is not None else None for a, name in named
        ]
    keys: list[Key | None] = pc.binary_join_element_wise(
        accounts, cl_ord_ids, _SEPARATOR
    ).to_pylist()
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
