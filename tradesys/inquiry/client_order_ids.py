"""What customers call their orders: (account, ``cl_ord_id``) to ``order_id``, and back.

The index of names holds a hash and a record id for each use of a name, and no text: which account
and which name a record gave is read from the record. So whatever else has the same hash, or stands
in the index for a record that was never written, is passed over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradesys.log.offsets import Cursor
from tradesys.log.table import Tables
from tradesys.records.arrow import Ids, Ints
from tradesys.records.schemas import REQUESTS, split_id
from tradesys.records.trading_calendar import Calendar, ns_of
from tradesys.status.incremental.compiled import compiled

_FNV_BASIS, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_BETWEEN, _HALF, _NOBODY = np.uint64(256), np.uint64(32), np.uint64(0)
_LOW = np.uint64(0xFFFFFFFF)
_Hashes = NDArray[np.uint32]
_ENDS, _ID = Struct("=3i").pack, Struct("=Q").pack  # the fastest way to an array of few
_FEWEST = 1 << 10  # slots of an empty index


_NO_ROOM = np.zeros(0, np.int64), np.zeros(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Uses:
    """Uses of some names, a row a use: those of a name follow each other, its meaning first.

    ``name`` is which of the names asked for, ``until`` up to when it means its order, in ns since
    1970, ``records`` the requests that used it.
    """

    name: Ints
    until: Ints
    records: pa.RecordBatch

    def __len__(self) -> int:
        return len(self.name)

    @property
    def order_ids(self) -> Ids:
        """Which order is meant."""
        return _ids(self.records, "order_id")

    def picked(self, rows: NDArray[Any]) -> "Uses":
        """Some of the rows, by their places."""
        return Uses(self.name[rows], self.until[rows], self.records.take(pa.array(rows)))


NO_USES = Uses(
    np.zeros(0, np.int64), np.zeros(0, np.int64), pa.RecordBatch.from_pylist([], REQUESTS)
)


class Names:
    """The order that each account means by each ``cl_ord_id`` it has used.

    A name means the account's order of that name that is still open, or else that of the same
    trading day; on another day it is free again. A request belongs to the day of its own ``ts``.
    Where two systems took one name on the same day, the order that is open has it, or else the one
    with the lower id, wherever and in whatever order the two records arrived.

    :param read: gives the requests with some ids, those that there are, in the order of their ids.
    :param may_trade_until: the last moment at which an order may trade; 0 if it is closed.
    """

    def __init__(
        self,
        calendar: Calendar,
        read: Callable[[Ids], pa.RecordBatch],
        may_trade_until: Callable[[int], int],
    ) -> None:
        self._calendar, self._read, self._may_trade_until = calendar, read, may_trade_until
        self._slots = _slots(_FEWEST)
        self._count = np.zeros(1, np.int64)
        self._waiting: list[pa.RecordBatch] = []

    def apply(self, requests: pa.RecordBatch) -> None:
        """Take in records of ``requests``, once or again; they are indexed at the next question."""
        if requests["cl_ord_id"].null_count < requests.num_rows:
            self._waiting.append(requests)

    def add(self, account: str, cl_ord_id: str, record_id: int) -> None:
        """Take in the name of one request."""
        self._index(_octets(account, cl_ord_id), np.frombuffer(_ID(record_id), np.uint64))

    def find(self, account: str, cl_ord_id: str, ts: int) -> int | None:
        """The order that a request of this time means by a name; None if the name is free."""
        uses = self.uses_of(account, cl_ord_id, ts)
        return uses.order_ids.item(0) if uses else None

    def uses_of(self, account: str, cl_ord_id: str, ts: int) -> Uses:
        """As :meth:`uses`, of one name at one time."""
        name, record_ids = self._found(_octets(account, cl_ord_id))
        if not len(name):
            return NO_USES
        return self._valid(pa.array([account]), pa.array([cl_ord_id]), name, record_ids, ts, ts)

    def uses(
        self, accounts: pa.StringArray, cl_ord_ids: pa.StringArray, ts: int, last: int
    ) -> Uses:
        """The uses of names, none null, that count for requests from a time to a last one."""
        name, record_ids = self._found((*_octets_of(accounts), *_octets_of(cl_ord_ids)))
        if not len(name):
            return NO_USES
        return self._valid(accounts, cl_ord_ids, name, record_ids, ts, last)

    def _valid(
        self,
        accounts: pa.StringArray,
        cl_ord_ids: pa.StringArray,
        name: Ints,
        record_ids: Ids,
        ts: int,
        last: int,
    ) -> Uses:
        """Those of the uses found that are of these names, and have not ended before a time."""
        found = self._read(np.unique(record_ids))
        is_there = np.isin(record_ids, _ids(found, "record_id"))
        name, record_ids = name[is_there], record_ids[is_there]
        places = np.searchsorted(_ids(found, "record_id"), record_ids)
        rows, which = pa.array(places), pa.array(name)
        is_it = pc.and_(
            pc.equal(found["account"].take(rows), accounts.take(which)),
            pc.equal(found["cl_ord_id"].take(rows), cl_ord_ids.take(which)),
        )
        kept = np.flatnonzero(is_it.fill_null(fill_value=False))
        name, record_ids, places = name[kept], record_ids[kept], places[kept]
        order_ids = _ids(found, "order_id")[places]
        close = self._calendar.closes(ns_of(found["ts"]))[places]
        # Whether an order is open matters on another day, or beside another use of its name.
        asked = (close < last) | (np.bincount(name)[name] > 1)
        open_until = np.zeros(len(name), np.int64)
        open_until[asked] = [self._may_trade_until(i) for i in order_ids[asked].tolist()]
        until = np.maximum(close, open_until)
        # Of several orders the one that may trade longest, and of those the first.
        ranked = np.lexsort((record_ids, order_ids, -until, -open_until, name))
        ranked = ranked[until[ranked] >= ts]
        return Uses(name[ranked], until[ranked], found.take(pa.array(places[ranked])))

    def _found(self, names: "_Pairs") -> tuple[Ints, Ids]:
        """Of each name by its number, the records under its hash."""
        while self._waiting:
            batch = self._waiting[0]
            if batch["cl_ord_id"].null_count:
                batch = batch.filter(batch["cl_ord_id"].is_valid())
            given = *_octets_of(batch["account"]), *_octets_of(batch["cl_ord_id"])
            self._index(given, _ids(batch, "record_id"))
            del self._waiting[0]  # only now: what is indexed again changes nothing
        name, record_ids = _NO_ROOM
        # Those that are there are counted first, and then put where there is room for them.
        while count := look_up(*self._slots, *names, name, record_ids):
            if count == len(name):
                break
            name, record_ids = np.empty(count, np.int64), np.empty(count, np.uint64)
        return name, record_ids

    def _index(self, names: "_Pairs", record_ids: Ids) -> None:
        needed = self._count.item() + len(record_ids)
        if 5 * needed > 4 * len(self._slots[0]):
            grown = _slots(15 * needed // 8)
            move(*self._slots, *grown)
            self._slots = grown
        enter(*self._slots, self._count, *names, record_ids)


def _slots(count: int) -> tuple[_Hashes, Ids]:
    """An empty index: the hash of each use, and its record."""
    return np.zeros(count, np.uint32), np.zeros(count, np.uint64)


def _ids(records: pa.RecordBatch, column: str) -> Ids:
    ids: Ids = records[column].to_numpy()
    ids.setflags(write=False)  # as all that loops are given from Arrow is, and so of one type
    return ids


_Octets = NDArray[np.uint8]
"""Texts, one after the other."""
_Ends = NDArray[np.int32]
"""Where each of these texts ends, after where the first begins."""
_Pairs = tuple[_Octets, _Ends, _Octets, _Ends]
"""Accounts, and beside each a name."""


def _octets(account: str, cl_ord_id: str) -> _Pairs:
    owner, name = account.encode(), cl_ord_id.encode()
    octets = np.frombuffer(owner + name, np.uint8)
    ends = np.frombuffer(_ENDS(0, len(owner), len(octets)), np.int32)
    return octets, ends[:2], octets, ends[1:]


def _octets_of(texts: pa.StringArray) -> tuple[_Octets, _Ends]:
    _, ends, octets = texts.buffers()
    found = np.frombuffer(octets or b"", np.uint8), np.frombuffer(ends, np.int32)
    for array in found:
        array.setflags(write=False)
    return found[0], found[1][texts.offset : texts.offset + len(texts) + 1]


@compiled
def _hash(accounts: _Octets, of: _Ends, names: _Octets, ends: _Ends, i: int) -> np.uint32:
    """The hash of an account and a name (FNV-1a, its halves mixed)."""
    found = _FNV_BASIS
    for j in range(of[i], of[i + 1]):
        found = (found ^ np.uint64(accounts[j])) * _FNV_PRIME
    found = (found ^ _BETWEEN) * _FNV_PRIME
    for j in range(ends[i], ends[i + 1]):
        found = (found ^ np.uint64(names[j])) * _FNV_PRIME
    return np.uint32((found ^ (found >> _HALF)) & _LOW)


@compiled
def enter(
    hashes: _Hashes,
    records: Ids,
    total: Ints,
    accounts: _Octets,
    of: _Ends,
    names: _Octets,
    ends: _Ends,
    record_ids: Ids,
) -> None:
    """Enter the uses of these names, each once, and count those that were not there."""
    for i in range(len(record_ids)):
        key, record = _hash(accounts, of, names, ends, i), record_ids[i]
        slot = np.int64(key) % len(records)
        while records[slot] != _NOBODY and (hashes[slot] != key or records[slot] != record):
            slot = (slot + 1) % len(records)
        total[0] += records[slot] == _NOBODY
        hashes[slot], records[slot] = key, record


@compiled
def look_up(
    hashes: _Hashes,
    records: Ids,
    accounts: _Octets,
    of: _Ends,
    names: _Octets,
    ends: _Ends,
    name: Ints,
    record: Ids,
) -> int:
    """Find every use under the hash of each name, as far as there is room; gives how many."""
    count = 0
    for i in range(len(ends) - 1):
        key = _hash(accounts, of, names, ends, i)
        slot = np.int64(key) % len(records)
        while records[slot] != _NOBODY:
            if hashes[slot] == key:
                if count < len(name):
                    name[count], record[count] = i, records[slot]
                count += 1
            slot = (slot + 1) % len(records)
    return count


@compiled
def move(hashes: _Hashes, records: Ids, new_hashes: _Hashes, new_records: Ids) -> None:
    """Enter what stands in an index into a larger one, which is empty."""
    for i in range(len(records)):
        if records[i] != _NOBODY:
            slot = np.int64(hashes[i]) % len(new_records)
            while new_records[slot] != _NOBODY:
                slot = (slot + 1) % len(new_records)
            new_hashes[slot], new_records[slot] = hashes[i], records[i]


class NamesGiven:
    """The ``cl_ord_id`` of orders, from the records of requests and what reports repeat of them."""

    def __init__(self, tables: Tables) -> None:
        self._requests = tables["requests"]
        self._executions = Cursor({"executions": tables["executions"]})
        self._reported: dict[int, tuple[int, str | None]] = {}

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
        for _, batch in self._executions.read():
            lacking = ~self._requests.holds(batch["request_id"].to_numpy())
            columns = ("request_id", "record_id", "cl_ord_id")
            found = batch.select(columns).filter(pa.array(lacking))
            for request_id, *named in zip(*map(pa.Array.to_pylist, found), strict=True):
                record_id, name = named
                if record_id <= self._reported.get(request_id, named)[0]:
                    self._reported[request_id] = record_id, name
