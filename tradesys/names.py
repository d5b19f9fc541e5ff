"""What customers call their orders: (account, ``cl_ord_id``) to ``order_id``."""

import pyarrow as pa
import pyarrow.compute as pc

_SEPARATOR = "\0"


class Names:
    """The order that each account means by each ``cl_ord_id`` it has used.

    Where two systems took one name at the same time, the order with the lower id has it, wherever
    and in whatever order the two records arrived.
    """

    def __init__(self) -> None:
        self._order_ids: dict[str, int] = {}
        self._waiting: list[pa.RecordBatch] = []

    def apply(self, requests: pa.RecordBatch) -> None:
        """Take in records of ``requests``; they are worked in at the next question."""
        self._waiting.append(requests)

    def find(self, account: str, cl_ord_id: str) -> int | None:
        """The order of that name; None if the account never used it."""
        self._catch_up()
        return self._order_ids.get(account + _SEPARATOR + cl_ord_id)

    def find_all(self, accounts: pa.StringArray, cl_ord_ids: pa.StringArray) -> list[int | None]:
        """As :meth:`find`, for each row; None also where a row's name is null."""
        self._catch_up()
        get = self._order_ids.get
        return [get(key) for key in _keys(accounts, cl_ord_ids)]

    def _catch_up(self) -> None:
        waiting, self._waiting = self._waiting, []
        for batch in waiting:
            keys = _keys(batch["account"], batch["cl_ord_id"])
            ids = batch["order_id"].to_pylist()
            named = dict(zip(keys, ids, strict=True))
            if len(named) < len(keys) or not self._order_ids.keys().isdisjoint(named):
                for key, order_id in zip(keys, ids, strict=True):
                    named[key] = min(order_id, named[key], self._order_ids.get(key, order_id))
            self._order_ids.update(named)


def _keys(accounts: pa.StringArray, cl_ord_ids: pa.StringArray) -> list[str]:
    keys: list[str] = pc.binary_join_element_wise(accounts, cl_ord_ids, _SEPARATOR).to_pylist()
    return keys
