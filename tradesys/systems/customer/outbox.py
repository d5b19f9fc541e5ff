"""Accepted requests on their way to the street side: they wait here until they are taken.

They wait with the system that accepted them, so that a crash or a lost disk loses no other's. It is
no record of its own: whatever was accepted and not answered can be put in again at any time, since
the street side knows a request by its id. What is moved leaves its place only once it has arrived.
"""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

Sent = tuple[pa.RecordBatch, bool]
"""Requests, and whether they may have been sent before."""

Deliver = Callable[[str, pa.RecordBatch, bool], bool]
"""Hands requests to a street-side system, and says whether they were taken; if not, they wait."""


class Outbox:
    """What one customer-facing system has to send, by street-side system, oldest first."""

    def __init__(self) -> None:
        self._unsorted: list[Sent] = []
        self._sorted: dict[str, list[Sent]] = {}

    def __len__(self) -> int:
        """How many requests no street-side system has taken."""
        return sum(batch.num_rows for batch in self.batches())

    def batches(self) -> list[pa.RecordBatch]:
        """Everything that no street-side system has taken."""
        waiting = [*self._sorted.values(), self._unsorted]
        return [requests for each in waiting for requests, _ in each]

    def put(self, requests: pa.RecordBatch, *, again: bool = False) -> None:
        """Accepted requests are to be sent; ``again``: they may have been sent before."""
        if requests.num_rows:
            self._unsorted.append((requests, again))

    def clear(self) -> None:
        """Nothing is to be sent."""
        self._unsorted, self._sorted = [], {}

    def sort(self, street_for: Callable[[str], str]) -> list[str]:
        """The street-side systems that something is to be sent to.

        :param street_for: the street-side system of a symbol.
        """
        while self._unsorted:
            batch, again = self._unsorted[0]
            for street, part in by_street(batch, street_for):
                self._sorted.setdefault(street, []).append((part, again))
            del self._unsorted[0]
        return [street for street, waiting in self._sorted.items() if waiting]

    def hand_over(self, street: str, deliver: Deliver) -> int:
        """Let a street-side system take what waits for it; gives how many requests it took."""
        moved, waiting = 0, self._sorted[street]
        while waiting:
            batch, again = waiting[0]
            if not deliver(street, batch, again):
                break
            del waiting[0]
            moved += batch.num_rows
        return moved


def by_street(
    batch: pa.RecordBatch, street_for: Callable[[str], str]
) -> list[tuple[str, pa.RecordBatch]]:
    """A batch in parts, one for each street-side system."""
    if batch.num_rows == 1:
        return [(street_for(batch["symbol"][0].as_py()), batch)]
    symbols = batch["symbol"].dictionary_encode()
    streets = pa.array([street_for(s) for s in symbols.dictionary.to_pylist()])
    if len(streets) == 1:
        return [(streets[0].as_py(), batch)]
    each = streets.take(symbols.indices)
    names = sorted(set(streets.to_pylist()))
    return [(name, batch.filter(pc.equal(each, name))) for name in names]
