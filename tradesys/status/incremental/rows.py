"""The row of each record id: ids are dense per origin, so rows are given a page of ids at a time.

A page is 16,384 consecutive ids of one origin. Its rows follow each other, so that finding a row is
finding its page, of which there are few, and pages in the order of their ids are orders in theirs.
"""

import numpy as np
from numpy.typing import NDArray

from tradesys.records.arrow import Ids, Ints, first_of_each
from tradesys.status.incremental import loops
from tradesys.status.incremental.columns import PAGE, with_room
from tradesys.status.incremental.loops import PAGE_BITS, PAGE_ROWS


class Rows:
    """Record ids to rows and back.

    ``count`` is one more than the highest row given out, ``pages`` are sorted by ``number``,
    ``first_ids`` are those of the pages in the order in which they were given out. Page 0 is
    nobody's, for no origin has the code 0: id 0, which is none, has row 0.
    """

    def __init__(self) -> None:
        self.pages, self.first_ids = np.zeros(1, PAGE), np.zeros(1, np.uint64)
        self._first_rows = {0: 0}

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.pages) * PAGE_ROWS

    def find(self, record_id: int) -> int:
        """The row of one id; 0 if it has none."""
        first = self._first_rows.get(record_id >> PAGE_BITS)
        return 0 if first is None else first + (record_id & (PAGE_ROWS - 1))

    def of(self, record_ids: Ids) -> Ints:
        """The row of each id; 0 for one that has none."""
        found = np.empty(len(record_ids), np.int64)
        loops.find_rows(self.pages, record_ids, found)
        return found

    def give(self, record_ids: Ids) -> Ints:
        """The row of each id, given out now to those that have none; that of id 0 is 0."""
        found = self.of(record_ids)
        if np.count_nonzero(found) == np.count_nonzero(record_ids):
            return found
        for number in np.unique(record_ids >> np.uint64(PAGE_BITS)).tolist():
            if number not in self._first_rows:
                self._first_rows[number] = self.count
                self.first_ids = np.append(self.first_ids, np.uint64(number << PAGE_BITS))
                added = np.array([(number, self.count)], PAGE)
                at = np.searchsorted(self.pages["number"], added["number"])
                self.pages = np.insert(self.pages, at, added)
        return self.of(record_ids)

    def id_of(self, row: int) -> int:
        """The id of one row."""
        return self.first_ids.item(row >> PAGE_BITS) + (row & (PAGE_ROWS - 1))

    def ids_of(self, rows: Ints) -> Ids:
        """The id of each row."""
        return self.first_ids[rows >> PAGE_BITS] + (rows & (PAGE_ROWS - 1)).astype(np.uint64)


class IdSet:
    """A set of record ids; it takes a byte each."""

    def __init__(self) -> None:
        self._rows, self._is_in = Rows(), np.zeros(PAGE_ROWS, np.bool_)

    def add(self, record_ids: Ids) -> NDArray[np.bool_]:
        """Put ids in; gives which of them were not in it, each once."""
        rows = self._rows.give(record_ids)
        self._is_in = with_room(self._is_in, self._rows.count)
        new = ~self._is_in[rows]
        if len(rows) > 1:
            new &= first_of_each(rows)
        self._is_in[rows] = True
        return new

    def has(self, record_ids: Ids) -> NDArray[np.bool_]:
        """Which of these ids are in it."""
        return self._is_in[self._rows.of(record_ids)]
