"""Whatever is compiled is made ready at one moment, before a system begins, and never later.

What numba has half loaded when a Ctrl-C comes stays broken for the rest of the process.
"""

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from tradesys.inquiry import client_order_ids as names
from tradesys.log.ctrl_c import uninterrupted
from tradesys.records.schemas import SCHEMAS, ExecType, OrdType, RequestType, Side, TimeInForce
from tradesys.records.trading_calendar import Calendar
from tradesys.status.incremental.view import View

_ROW: dict[str, Any] = {
    **dict.fromkeys(("account", "symbol", "asset", "venue"), ""),
    **dict.fromkeys(("ts", "transact_time", "settle_date"), 0),
    **dict.fromkeys(("order_qty", "last_qty", "last_px", "amount"), 1),
    "side": Side.BUY.value,
    "ord_type": OrdType.LIMIT.value,
    "time_in_force": TimeInForce.DAY.value,
    "poss_dup": False,
}


@cache
def make_ready() -> None:
    """Load, or compile where it was never done, all that views and order entry are made of."""
    from tradesys.systems.customer import entry_rules as rules  # noqa: PLC0415 - its room is one of systems

    with uninterrupted():
        view = View()
        _apply(view, "requests", {"request_type": RequestType.NEW.value}, 1)
        _apply(view, "executions", {"exec_type": ExecType.STOPPED.value}, 1)
        _apply(view, "postings", {}, 1)
        _apply(view, "instruments", {"qty_scale": 2}, 1)
        ids = np.arange(3, dtype=np.uint64)
        view.order(1), view.statuses(), view.positions()  # each is a question
        many = pa.array([""] * 100)
        view.accounts.pairs(many, many)  # there has to be made room for so many
        view.available("", "")
        view.uncleared(ids)
        ids.setflags(write=False)  # as ids are that come from Arrow
        view.uncleared(ids)
        rows, numbers = np.zeros((1, rules.COLUMNS), np.int64), np.zeros(2, np.int64)
        taken, instruments = np.ones((1, 4), np.int64), np.ones((1, 5), np.int64)
        rules.decide(rows, 1, taken, numbers, numbers, instruments, 0, numbers)
        rules.repeats(rows, 0, 0, 1)
        index = names.Names(Calendar(), lambda _: _batch("requests", {}), lambda _: 0)
        index.add("account", "name", 1)
        index.find("account", "another name", 0)
        none = np.zeros(1, np.uint32), np.zeros(1, np.uint64)
        names.move(*none, *none)


def _apply(view: View, dataset: str, row: dict[str, Any], number: int) -> None:
    ids = dict.fromkeys(("record_id", "order_id", "request_id", "exec_id"), number)
    view.apply(dataset, _batch(dataset, {**ids, **row}))


def _batch(dataset: str, row: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([_ROW | row], SCHEMAS[dataset])
