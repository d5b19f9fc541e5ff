"""Dense positions for record ids, and growing memory indexed by them.

Ids are dense per origin, so a record's slot is a page's base plus an offset: no hashing.
"""

import mmap
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tradesys.records.arrow import Ids, Ints
from tradesys.status.kept.loops import PAGE, PAGE_BITS, SEQUENCE_BITS, find_slots
from tradesys.status.kept.memory import Slotted

Item = TypeVar("Item", bound=np.generic)

_SEQUENCE = (1 << SEQUENCE_BITS) - 1


class Slots:
    """Record ids to slots. Slots are given in pages of 16,384 consecutive ids of an origin.

    Slot 0 is nobody's. ``count`` is one more than the highest slot given out.
    """

    def __init__(self) -> None:
        self.count = PAGE
        self.slotted = Slotted(
            rows=np.zeros(1 << 16, np.int16),
            bases=np.zeros((1, 16), np.int64),
            first=np.zeros(1, np.uint64),
        )
        self._origins = 0

    def find(self, record_id: int) -> int:
        """The slot of one id; 0 if its page was never seen."""
        slotted = self.slotted
        row = slotted.rows.item(record_id >> SEQUENCE_BITS)
        page = (record_id & _SEQUENCE) >> PAGE_BITS
        if page >= slotted.bases.shape[1]:
            return 0
        base = slotted.bases.item(row, page)
        return base + (record_id & (PAGE - 1)) if base else 0

    def of(self, record_ids: Ids) -> Ints:
        """The slot of each id; 0 for one whose page was never seen."""
        found = np.empty(len(record_ids), np.int64)
        find_slots(self.slotted, record_ids, found)
        return found

    def id_of(self, slot: int) -> int:
        """The id whose slot this is."""
        return self.slotted.first.item(slot >> PAGE_BITS) + (slot & (PAGE - 1))

    def give(self, record_id: int) -> int:
        """The slot of one id, given out now if it has none."""
        slot = self.find(record_id)
        if slot:
            return slot
        rows, bases, first = self.slotted
        code, page = record_id >> SEQUENCE_BITS, (record_id & _SEQUENCE) >> PAGE_BITS
        if not rows[code]:
            self._origins += 1
            rows[code] = self._origins
        row = rows.item(code)
        height, width = bases.shape
        if row >= height or page >= width:
            wider = width if page < width else max(2 * width, page + 1)
            grown = np.zeros((max(height, row + 1), wider), np.int64)
            grown[:height, :width] = bases
            bases = grown
        bases[row, page] = self.count
        first = np.append(first, np.uint64(record_id & ~(PAGE - 1)))
        self.slotted = Slotted(rows, bases, first)
        self.count += PAGE
        return self.find(record_id)


def room(count: int, dtype: np.dtype[Item]) -> NDArray[Item]:
    """So many records, zero. What is never touched of them costs nothing."""
    return np.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype)


def with_room(records: NDArray[Item], count: int) -> NDArray[Item]:
    """The records with room for at least ``count`` of them; what is new is zero."""
    old = len(records)
    if count <= old:
        return records
    # Much more at once costs nothing: zeros take no memory until they are written to.
    grown = np.zeros((max(count, 4 * old), *records.shape[1:]), records.dtype)
    grown[:old] = records
    return grown
