"""What records say of orders and of events: a slot each, in dense memory that grows.

Only the loops of :mod:`tradesys.status.kept.loops` write here. Slot 0 is nobody's and stays zero,
so whatever was never seen has no facts.
"""

from collections.abc import Iterable

import numpy as np

from tradesys.status.kept.loops import PAGE, PAGE_BITS
from tradesys.status.kept.memory import EVENT, ORDER, PAGE_OF_ORDERS, PASSING
from tradesys.status.kept.slots import Slots, room, with_room
from tradesys.status.kept.states import States

_PAGES = 16
"""Room for a page of so many origins from the beginning: to grow costs a copy."""


class Facts:
    """The facts of every order and every event that a view knows of."""

    def __init__(self) -> None:
        self.slots, self.event_slots = Slots(), Slots()
        self.orders, self.events = room(_PAGES * PAGE, ORDER), room(_PAGES * PAGE, EVENT)
        self.pages, self.states = np.zeros(1, PAGE_OF_ORDERS), States()
        self.passing, self.passing_count = np.zeros(2, PASSING), np.ones(1, np.int64)
        self.make_room((), ())

    def make_room(self, record_ids: Iterable[int], exec_ids: Iterable[int]) -> None:
        """See that these requests and events have slots, and one more order a row in passing."""
        for record_id in record_ids:
            self.slots.give(record_id)
        for exec_id in exec_ids:
            self.event_slots.give(exec_id)
        self.orders = with_room(self.orders, self.slots.count)
        self.pages = with_room(self.pages, self.slots.count >> PAGE_BITS)
        self.states.make_room(self.pages)
        self.events = with_room(self.events, self.event_slots.count)
        self.passing = with_room(self.passing, self.passing_count.item(0) + 1)
