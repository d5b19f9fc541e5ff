"""Accepted requests on their way to the street side: what waits, and how it is handed over."""

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc

from tradesys.records.arrow import as_written

Sent = tuple[pa.RecordBatch, bool]
"""Requests, and whether they may have been sent before."""

Deliver = Callable[[str, pa.RecordBatch, bool], bool]
"""Hands requests to a street-side system, and says whether they were taken; if not, they wait."""


def accepted(requests: pa.RecordBatch) -> pa.RecordBatch:
    """Those of the requests held that were not refused."""
    reasons = requests["reject_reason"]
    if reasons.null_count < len(reasons):
        requests = requests.filter(reasons.is_null())
    return as_written(requests)


def hand_over(
    waiting: Iterable[Sent], street_for: Callable[[str], str], deliver: Deliver
) -> tuple[int, list[Sent]]:
    """Send each request to the one street-side system of its symbol, oldest first.

    :returns: how many requests were taken, and what was not.
    """
    taken, left, closed = 0, [], set()
    for batch, again in waiting:
        for street, part in by_street(batch, street_for):
            if street not in closed and deliver(street, part, again):
                taken += part.num_rows
            else:
                closed.add(street)
                left.append((part, again))
    return taken, left


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
