"""The states of orders, column by column, as answers hand them out: nothing is copied.

The loops keep them up to date in *blocks*, one for each page of orders. An answer shares the blocks
of its moment; a page whose block is shared goes on in another one when it changes, so a frame that
was handed out never changes. A block is free again when no answer has it any more.
"""

import mmap
import sys
from collections import deque
from weakref import finalize

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.records.arrow import Ints
from tradesys.status.kept import loops
from tradesys.status.kept.loops import BLOCK, LEFT, MOST_LEFT
from tradesys.status.kept.memory import Blocks, Records

STATUS_TYPE = pl.Enum(list(loops.STATUSES))

_HUGE = 1 << 26

_COLUMNS = (
    ("price", pa.int64(), 8 * loops.PRICE, loops.PRICED),
    ("ord_status", pa.uint8(), loops.STATUS, None),
    ("order_qty", pa.int64(), 8 * loops.ORDER_QTY, None),
    ("cum_qty", pa.int64(), 8 * loops.CUM_QTY, None),
    ("leaves_qty", pa.int64(), 8 * loops.LEAVES_QTY, None),
    ("avg_px", pa.float64(), 8 * loops.AVG_PX, loops.TRADED),
)
"""Name and type of each column, where in a block it begins, and where what says which are null."""


class States:
    """The blocks of a view, and answers that share them."""

    def __init__(self) -> None:
        self._ended: deque[tuple[Ints, Ints]] = deque()
        self._grow(np.zeros((0, BLOCK), np.uint8), np.zeros(0, np.int64))

    def make_room(self, pages: Records) -> None:
        """See that there are as many free blocks as a record may take."""
        self._take_back()
        if self.blocks.free[0] < MOST_LEFT:
            self._grow(self.blocks.octets, np.unique(pages["block"]))

    def columns(self, pages: Records) -> dict[str, pl.Series]:
        """The states of the known orders of these pages, in the order of the pages."""
        self._take_back()
        # What is freed when nobody has the answer any more, or a part of it.
        shared = self.blocks.octets.view()
        blocks = pages["block"].astype(np.int64)
        finalize(shared, self._ended.append, (self.blocks.leases, blocks)).atexit = False
        self.blocks.leases[blocks] += 1
        memory, parts = pa.py_buffer(shared), [*zip(blocks * BLOCK, pages["rows"], strict=True)]
        columns = {}
        for name, kind, begin, nulls in _COLUMNS:
            chunks = []
            for place, rows in parts:
                valid = None if nulls is None else memory.slice(place + nulls)
                buffers = [valid, memory.slice(place + begin)]
                chunks.append(pa.Array.from_buffers(kind, rows, buffers))
            columns[name] = pa.chunked_array(chunks, kind)
        frame = pl.DataFrame(pl.from_arrow(pa.table(columns), rechunk=False))
        states = frame.to_dict()
        states["ord_status"] = states["ord_status"].cat.to(STATUS_TYPE)
        return states

    def _take_back(self) -> None:
        """Free the blocks whose pages have left them, and that no answer has any more."""
        leases, free = self.blocks.leases, self.blocks.free
        while self._ended:
            counted, blocks = self._ended.popleft()
            if counted is leases:
                leases[blocks] -= 1
                nobodys = blocks[leases[blocks] == LEFT]
                leases[nobodys] = 0
                free[free[0] + 1 : free[0] + 1 + len(nobodys)] = nobodys
                free[0] += len(nobodys)

    def _grow(self, old: NDArray[np.uint8], used: Ints) -> None:
        """Go on in larger memory, of which nobody has anything; answers keep what they have."""
        count = max(len(old), 4 * len(used) + 2 * MOST_LEFT)
        # Memory of its own: it is taken a page at a time, as it is written to.
        memory = mmap.mmap(-1, count * BLOCK)
        if len(memory) > _HUGE and sys.platform == "linux":
            memory.madvise(mmap.MADV_HUGEPAGE)
        octets = np.frombuffer(memory, np.uint8).reshape(count, BLOCK)
        held = used.max(initial=-1) + 1
        octets[:held] = old[:held]
        free = np.zeros(count, np.int64)
        nobodys = np.setdiff1d(np.arange(1, count), used)
        free[0], free[1 : 1 + len(nobodys)] = len(nobodys), nobodys[::-1]
        numbers, averages = octets.view(np.int64), octets.view(np.float64)
        self.blocks = Blocks(np.zeros(count, np.int64), free, numbers, averages, octets)
