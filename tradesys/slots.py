"""Dense positions for record ids, and growing columns indexed by them: the memory of the views.

Ids are dense per origin, so a record's slot is a page's base plus an offset: no hashing, and a
whole batch is looked up with a handful of numpy operations.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_PAGE_BITS = 12
_PAGE = 1 << _PAGE_BITS
_SEQUENCE_BITS = 48
_SMALL = 32


class Slots:
    """Record ids to slots. Slots are given in pages of 4,096 consecutive ids of an origin."""

    def __init__(self) -> None:
        self.count = 0
        self._rows = np.full(1 << 16, -1, np.int64)
        self._origins = 0
        self._bases = np.full((1, 16), -1, np.int64)

    def of(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The slot of each id, given out on first sight. ``count`` is one more than the highest."""
        if len(ids) < _SMALL:
            return np.array([self._slot(i) for i in ids.tolist()], np.int64)
        signed = ids.view(np.int64)
        codes = signed >> _SEQUENCE_BITS & 0xFFFF
        sequences = signed & ((1 << _SEQUENCE_BITS) - 1)
        pages = sequences >> _PAGE_BITS
        rows = self._rows[codes]
        if rows.min() < 0 or pages.max() >= self._bases.shape[1]:
            bases = np.full(len(ids), -1)
        else:
            bases = self._bases[rows, pages]
        if bases.min() < 0:
            for code, page in set(zip(codes.tolist(), pages.tolist(), strict=True)):
                self._base(code, page)
            bases = self._bases[self._rows[codes], pages]
        return bases + (sequences & (_PAGE - 1))

    def find(self, record_id: int) -> int:
        """The slot of one id; -1 if its page was never seen."""
        row = self._rows.item(record_id >> _SEQUENCE_BITS)
        sequence = record_id & ((1 << _SEQUENCE_BITS) - 1)
        page = sequence >> _PAGE_BITS
        if row < 0 or page >= self._bases.shape[1]:
            return -1
        base = self._bases.item(row, page)
        return base + (sequence & (_PAGE - 1)) if base >= 0 else -1

    def _slot(self, record_id: int) -> int:
        slot = self.find(record_id)
        if slot >= 0:
            return slot
        sequence = record_id & ((1 << _SEQUENCE_BITS) - 1)
        base = self._base(record_id >> _SEQUENCE_BITS, sequence >> _PAGE_BITS)
        return base + (sequence & (_PAGE - 1))

    def _base(self, code: int, page: int) -> int:
        """The first slot of a page, given out now if it has none."""
        if self._rows[code] < 0:
            self._rows[code] = self._origins
            self._origins += 1
        row = self._rows.item(code)
        rows, pages = self._bases.shape
        if row >= rows or page >= pages:
            wider = pages if page < pages else max(2 * pages, page + 1)
            grown = np.full((max(rows, row + 1), wider), -1, np.int64)
            grown[:rows, :pages] = self._bases
            self._bases = grown
        if self._bases[row, page] < 0:
            self._bases[row, page] = self.count
            self.count += _PAGE
        return self._bases.item(row, page)


class Columns:
    """Named numpy columns of one length, all zero at first, that grow by doubling."""

    def __init__(self, **dtypes: DTypeLike) -> None:
        self._names = tuple(dtypes)
        self._capacity = 0
        for name, dtype in dtypes.items():
            setattr(self, name, np.zeros(0, dtype))

    def __getattr__(self, name: str) -> NDArray[Any]:
        raise AttributeError(name)

    def reserve(self, count: int) -> None:
        """Make room for ``count`` rows."""
        if count <= self._capacity:
            return
        self._capacity = max(count, 2 * self._capacity)
        for name in self._names:
            old = getattr(self, name)
            grown = np.zeros(self._capacity, old.dtype)
            grown[: len(old)] = old
            setattr(self, name, grown)


def first_of_each(slots: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which elements are the first of their value."""
    mask = np.ones(len(slots), np.bool_)
    if len(slots) > 1 and not (slots[1:] > slots[:-1]).all():
        order = np.argsort(slots, kind="stable")
        again = np.flatnonzero(slots[order[1:]] == slots[order[:-1]]) + 1
        mask[order[again]] = False
    return mask
