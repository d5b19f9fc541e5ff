"""Order flow made by a rule, in any amount, for benchmarks: the same for everyone who is measured.

Of a hundred orders all are acknowledged; fifty have a fill, half of them of the whole; five are
canceled. Orders, reports and cancels come interleaved, as on a trading day.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tests.build import NOON, PRICE, record_id
from tradesys.records.schemas import EXECUTIONS, POSTINGS, REQUESTS

ORDERS, RECORDS = 100, 260
"""So many orders of a hundred make so many records of requests and executions."""

ACCOUNTS = [f"A{i:04}" for i in range(1000)]
SYMBOLS = [f"S{i:03}" for i in range(100)]


class Flow(NamedTuple):
    """Batches of each dataset, in the order of arrival."""

    requests: list[pa.RecordBatch]
    executions: list[pa.RecordBatch]
    postings: list[pa.RecordBatch]
    records: int
    orders: int


def flow(records: int, rows: int = 100_000) -> Flow:
    """About so many records of requests and executions, in batches of ``rows`` orders' worth."""
    orders = records * ORDERS // RECORDS
    requests, executions = [], []
    asked = reported = 0
    for first in range(0, orders, rows):
        number = np.arange(first, min(first + rows, orders))
        requests.append(_requests(number, asked))
        executions.append(_executions(number, asked, reported))
        asked += requests[-1].num_rows
        reported += executions[-1].num_rows
    return Flow(requests, executions, [_postings()], asked + reported, orders)


def _requests(number: NDArray[np.int64], asked: int) -> pa.RecordBatch:
    """A NEW request of each order, then the cancels."""
    canceled = number[number % 20 == 7]
    about = np.concatenate([number, canceled])
    is_new = np.arange(len(about)) < len(number)
    ids = _ids("c1", asked + np.arange(len(about)))
    order_ids = np.concatenate([ids[: len(number)], ids[: len(number)][number % 20 == 7]])
    kinds = pa.array(["cancel", "new"]).take(pa.array(is_new.astype(np.int8)))
    nothing = pa.nulls(len(about), pa.utf8())
    return _batch(
        REQUESTS,
        about,
        record_id=ids,
        request_type=kinds,
        order_id=order_ids,
        orig_cl_ord_id=nothing,
        reject_reason=nothing,
    )


def _executions(number: NDArray[np.int64], asked: int, reported: int) -> pa.RecordBatch:
    """An acknowledgement of each order, then the fills, then the cancelations."""
    filled, canceled = number[number % 2 == 0], number[number % 20 == 7]
    about = np.concatenate([number, filled, canceled])
    ids = _ids("c1", asked + np.arange(len(number)))
    order_ids = np.concatenate([ids, ids[number % 2 == 0], ids[number % 20 == 7]])
    cancels = _ids("c1", asked + len(number) + np.arange(len(canceled)))
    request_ids = np.concatenate([ids, ids[number % 2 == 0], cancels])
    kind = np.repeat([0, 1, 2], [len(number), len(filled), len(canceled)])
    qty = np.where(about % 4 == 0, 100, 40)
    events = reported + np.arange(len(about))
    nothing = pa.nulls(len(about), pa.utf8())
    return _batch(
        EXECUTIONS,
        about,
        record_id=_ids("s1", events),
        exec_id=_ids("v", events),
        exec_type=pa.array(["new", "trade", "canceled"]).take(pa.array(kind)),
        exec_ref_id=pa.nulls(len(about), pa.uint64()),
        request_id=request_ids,
        order_id=order_ids,
        orig_cl_ord_id=nothing,
        last_qty=np.where(kind == 1, qty, 0),
        last_px=np.where(kind == 1, PRICE + about % 7, 0),
        text=nothing,
        transact_time=pa.array(NOON + events, pa.timestamp("ns", "UTC")),
        venue=pa.array(["XSIM"]).take(pa.array(np.zeros(len(about), np.int8))),
        poss_dup=pa.array(np.zeros(len(about), np.bool_)),
    )


def _batch(schema: pa.Schema, about: NDArray[np.int64], **columns: object) -> pa.RecordBatch:
    """A batch of these columns; the terms are those of the orders with these numbers."""
    count = len(about)

    def one_of(texts: list[str], index: NDArray[np.int64]) -> pa.StringArray:
        return pa.array(texts).take(pa.array(index))

    known = {
        "ts": pa.array(NOON + about, pa.timestamp("ns", "UTC")),
        "cl_ord_id": pa.array(about).cast(pa.utf8()),
        "account": one_of(ACCOUNTS, about * 7919 % len(ACCOUNTS)),
        "symbol": one_of(SYMBOLS, about * 104_729 % len(SYMBOLS)),
        "side": one_of(["buy", "sell"], about // 2 % 2),
        "ord_type": one_of(["limit"], np.zeros(count, np.int64)),
        "time_in_force": one_of(["day"], np.zeros(count, np.int64)),
        "expire_time": pa.nulls(count, pa.timestamp("ns", "UTC")),
        "order_qty": np.full(count, 100),
        "price": PRICE + about % 11,
    }
    whole = known | columns
    return pa.RecordBatch.from_arrays(
        [pa.array(whole[name], schema.field(name).type) for name in schema.names], schema=schema
    )


def _postings() -> pa.RecordBatch:
    """Cash for every account."""
    count = len(ACCOUNTS)
    columns = {
        "record_id": _ids("firm", np.arange(count)),
        "ts": pa.array(np.full(count, NOON), pa.timestamp("ns", "UTC")),
        "exec_id": pa.nulls(count, pa.uint64()),
        "account": pa.array(ACCOUNTS),
        "asset": pa.array(["USD"] * count),
        "amount": np.full(count, 10**12),
        "settle_date": pa.array(np.zeros(count, np.int32), pa.date32()),
    }
    arrays = [pa.array(columns[n], POSTINGS.field(n).type) for n in POSTINGS.names]
    return pa.RecordBatch.from_arrays(arrays, schema=POSTINGS)


def _ids(system: str, sequence: NDArray[np.int64]) -> NDArray[np.uint64]:
    return np.uint64(record_id(system, 0)) + sequence.astype(np.uint64)


def cut(batches: list[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same records in batches of at most so many rows."""
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            yield batch.slice(start, rows)
