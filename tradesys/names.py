"""What customers call their orders: (account, ``cl_ord_id``) to ``order_id``."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

_SEPARATOR = "\0"

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

    def add(self, key: Key, order_id: int) -> None:
        """Take in one name."""
        self._order_ids[key] = min(order_id, self._order_ids.get(key, order_id))

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
    keys: list[Key | None] = pc.binary_join_element_wise(
        accounts, cl_ord_ids, _SEPARATOR
    ).to_pylist()
    return keys
