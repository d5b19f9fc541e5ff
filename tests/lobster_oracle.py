"""What became of every order in a LOBSTER message file, worked out with nothing of the project.

An oracle for the readers, and for whatever a network made of the same file: one loop over the
lines, and the rules of the format. It shares no code and no library call with the reader but the
opening of a Parquet file.
"""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq


def final_orders(path: Path) -> dict[int, tuple[str, int, int, int]]:
    """Order id of each order submitted: (ord_status, order_qty, cum_qty, leaves_qty) at the end.

    ``order_qty`` is the size submitted less what partial cancels took that left something, ``cum_qty`` the shares of
    visible executions. Events of orders that the file does not submit before them are left out.
    """
    order_qty: dict[int, int] = {}
    cum_qty: dict[int, int] = {}
    deleted: set[int] = set()
    for kind, order_id, size in _messages(path):
        if kind == 1:
            order_qty[order_id] = size
            cum_qty[order_id] = 0
        elif order_id not in order_qty:
            continue
        elif kind == 2 and size >= order_qty[order_id] - cum_qty[order_id]:
            deleted.add(order_id)  # of the whole rest it is no replace
        elif kind == 2:
            order_qty[order_id] -= size
        elif kind == 3:
            deleted.add(order_id)
        elif kind == 4:
            cum_qty[order_id] += size
    return {
        order_id: _state(quantity, cum_qty[order_id], deleted=order_id in deleted)
        for order_id, quantity in order_qty.items()
    }


def _state(order_qty: int, cum_qty: int, *, deleted: bool) -> tuple[str, int, int, int]:
    if cum_qty == order_qty:
        return "filled", order_qty, cum_qty, 0
    if deleted:
        return "canceled", order_qty, cum_qty, 0
    status = "partially_filled" if cum_qty > 0 else "new"
    return status, order_qty, cum_qty, order_qty - cum_qty


def _messages(path: Path) -> Iterator[tuple[int, int, int]]:
    """(type, order id, size) of each message."""
    if path.suffix == ".parquet":
        for row in pq.read_table(path).to_pylist():
            yield row["type"], row["order_id"], row["size"]
        return
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for _, kind, order_id, size, _, _ in csv.reader(file):
            yield int(kind), int(order_id), int(size)
