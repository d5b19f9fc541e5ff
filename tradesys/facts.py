"""What records say of orders and of events: a slot each, in dense columns that grow.

Only the loops of :mod:`tradesys.loops` write here. Slot 0 is nobody's and stays zero, so whatever
was never seen has no facts.
"""

from collections.abc import Iterable

import numpy as np

from tradesys.loops import Events, Orders, Passing
from tradesys.slots import Slots, with_room


def _ints() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.zeros(1, np.int64)


def _ids() -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.zeros(1, np.uint64)


class Facts:
    """The facts of every order and every event that a view knows of."""

    def __init__(self) -> None:
        self.slots, self.event_slots = Slots(), Slots()
        self.orders = Orders(
            flags=np.zeros(1, np.int32),
            terms=np.zeros(1, np.int8),
            pair=np.zeros(1, np.int32),
            order_qty=_ints(),
            price=_ints(),
            cum_qty=_ints(),
            cum_amount=_ints(),
            reserved=_ints(),
            first_exec_id=_ids(),
            terms_exec_id=_ids(),
            work_exec_id=_ids(),
            in_force=np.zeros(1, np.int32),
            target=np.zeros(1, np.int32),
            asked=np.zeros(1, np.int32),
            pending_cancel=np.zeros(1, np.int16),
            pending_replace=np.zeros(1, np.int16),
            passing=np.zeros(1, np.int32),
        )
        self.passing = Passing(_ids(), _ids(), _ids(), _ids())
        self.passing_count = np.ones(1, np.int64)
        self.events = Events(
            flags=np.zeros(1, np.int8),
            order=np.zeros(1, np.int32),
            refers=np.zeros(1, np.int32),
            qty=_ints(),
            px=_ints(),
        )
        self.make_room((), ())

    def make_room(self, record_ids: Iterable[int], exec_ids: Iterable[int]) -> None:
        """See that these requests and events have slots, and one more order a row in Passing."""
        for record_id in record_ids:
            self.slots.give(record_id)
        for exec_id in exec_ids:
            self.event_slots.give(exec_id)
        self.orders = with_room(self.orders, self.slots.count)
        self.events = with_room(self.events, self.event_slots.count)
        self.passing = with_room(self.passing, self.passing_count.item(0) + 1)
