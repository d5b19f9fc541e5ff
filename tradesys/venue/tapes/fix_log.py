"""FIX session logs as records: what customers asked, what a broker reported, and what it stated.

A log is text with a FIX message in a line, whatever stands before it; fields end with SOH or ``;``.
The dialects of FIX 4.2 and 4.4 both become our execution types (Volume 4, tags 20 and 150): in 4.2
a fill is ExecType 1 or 2, and ExecTransType (20) says whether a report cancels (1) or corrects (2)
another, or only repeats a status (3). A log names no systems: its requests are all of ``c1``, its
reports of ``s1``, and the events are numbered in the order of the log.
"""

import datetime as dt
import gzip
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import simplefix

from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.records.schemas import EXECUTIONS, REQUESTS, Kind, Origin, make_id, to_price

_REQUEST_TYPES = {"D": "new", "F": "cancel", "G": "replace"}
_SIDES = {"1": "buy", "2": "sell"}
_ORD_TYPES = {"1": "market", "2": "limit"}
_TIMES_IN_FORCE = {"0": "day", "1": "gtc", "3": "ioc", "4": "fok", "6": "gtd"}
_TRANS_TYPES = {"1": "trade_cancel", "2": "trade_correct", "3": "order_status"}
_STATES = {
    "0": "new",
    "3": "done_for_day",
    "4": "canceled",
    "5": "replaced",
    "6": "pending_cancel",
    "7": "stopped",
    "8": "rejected",
    "9": "suspended",
    "A": "pending_new",
    "B": "calculated",
    "C": "expired",
    "E": "pending_replace",
}
_EXEC_TYPES = _STATES | {
    "1": "trade",
    "2": "trade",
    "D": "restated",
    "F": "trade",
    "G": "trade_correct",
    "H": "trade_cancel",
    "I": "order_status",
}
_STATUSES = _STATES | {"1": "partially_filled", "2": "filled"}

_MESSAGE = re.compile(r"(?<!\d)8=FIX.*?(?=(?<!\d)8=FIX|$)")
_SEMICOLON = re.compile(r";(?=\d+=|$)")
_SOH = "\x01"

Message = Mapping[str, str]
"""A FIX message: values by tag. Of a repeated tag it has the first."""


class FixLog(NamedTuple):
    """What a log comes to.

    ``requests`` and ``executions`` are records of these datasets, in the order of the log.
    ``stated``, one row a report, is what the report says of its order: ``line: Int64`` from 1,
    ``order_id: UInt64``, ``ord_status: String`` (``"replaced"`` is FIX 4.2's alone), ``order_qty``,
    ``cum_qty``, ``leaves_qty: Int64``, ``avg_px: Float64``, each null where the report leaves it
    out; and ``requests``, ``executions: Int64``, how many records there are up to it.
    ``ignored`` counts the other messages by MsgType, and under ``"unreadable"`` what begins as a
    message and is none.
    """

    requests: pl.DataFrame
    executions: pl.DataFrame
    stated: pl.DataFrame
    ignored: dict[str, int]


def read(path: str | Path) -> FixLog:
    """Read a log, plain or packed with gzip.

    :raises SchemaError: there is no FIX message in it.
    :raises InvalidValue: a message has a code that is none of ours, or lacks a field.
    """
    records, messages = _Records(), 0
    for line, message in _messages(Path(path)):
        messages += 1
        kind = message.get("35", "unreadable")
        try:
            if kind in _REQUEST_TYPES:
                records.request(message)
            elif kind in ("8", "9"):
                records.report(line, message)
            else:
                records.ignored[kind] = records.ignored.get(kind, 0) + 1
        except KeyError as missing:
            raise InvalidValue(
                f"line {line} of {path}", missing.args[0], "a field or code of FIX that is known"
            ) from missing
    if not messages:
        raise SchemaError(f"{path}: no FIX message; expected lines with 8=FIX…")
    return records.log()


def _messages(path: Path) -> Iterator[tuple[int, Message]]:
    """The messages of a log, with the number of their line; of what is unreadable, an empty one."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", errors="replace") as file:
        for line, text in enumerate(file, 1):
            for raw in _MESSAGE.findall(text):
                parser = simplefix.FixParser()
                parser.append_buffer(raw if _SOH in raw else _SEMICOLON.sub(_SOH, raw.strip()))
                message = parser.get_message()
                pairs = reversed(message.pairs) if message else ()
                yield line, {tag.decode(): value.decode() for tag, value in pairs}


class _Records:
    """The records of a log, and who is meant by its names."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.executions: list[dict[str, Any]] = []
        self.stated: list[dict[str, Any]] = []
        self.ignored: dict[str, int] = {}
        self._asked: dict[str, dict[str, Any]] = {}
        self._in_force: dict[int, dict[str, Any]] = {}
        # An ExecID is its order's: brokers use one again for another order.
        self._events: dict[tuple[str | None, str | None], int] = {}
        self._elsewhere: dict[str, int] = {}

    def request(self, message: Message) -> None:
        """A new order, a cancel or a replace. One of an order that is unknown is about none."""
        record_id = _id(Kind.CUSTOMER, len(self.requests))
        before = self._asked.get(message.get("41", ""))
        order_id = before["order_id"] if before and message["35"] != "D" else record_id
        in_force = self._in_force.get(order_id, {})
        row = {
            **in_force,
            "record_id": record_id,
            "ts": _time(message),
            "request_type": _REQUEST_TYPES[message["35"]],
            "order_id": order_id,
            "cl_ord_id": message["11"],
            "orig_cl_ord_id": message.get("41"),
            **_terms(message, in_force),
            "reject_reason": None,
        }
        self._in_force.setdefault(order_id, row)
        # A name that is used again is the first one's still.
        self._asked.setdefault(message["11"], row)
        self.requests.append(row)

    def report(self, line: int, message: Message) -> None:
        """An execution report or a cancel reject."""
        asked = self._asked.get(message.get("11", ""))
        order_id = asked["order_id"] if asked else self._unheard(message)
        in_force = self._in_force.get(order_id, {})
        rejects = message["35"] == "9"
        exec_id = _id(Kind.VENUE, len(self.executions))
        if not rejects and "17" in message:
            exec_id = self._events.setdefault((message.get("37"), message["17"]), exec_id)
        exec_type = _TRANS_TYPES.get(message.get("20", "0")) or _EXEC_TYPES[message.get("150", "0")]
        row = {
            "record_id": _id(Kind.STREET, len(self.executions)),
            "ts": _time(message),
            "exec_id": exec_id,
            "exec_type": "cancel_rejected" if rejects else exec_type,
            "exec_ref_id": self._events.get((message.get("37"), message.get("19"))),
            "request_id": asked["record_id"] if asked else order_id,
            "order_id": order_id,
            "cl_ord_id": message.get("11"),
            "orig_cl_ord_id": message.get("41"),
            **_terms(message, in_force),
            "last_qty": int(message.get("32", 0)),
            "last_px": to_price(message.get("31", "0")),
            "text": message.get("58"),
            "transact_time": _time(message),
            "venue": message["49"],
            "poss_dup": message.get("43") == "Y",
        }
        if row["exec_type"] in ("new", "replaced", "restated") or not in_force:
            self._in_force[order_id] = row
        self.executions.append(row)
        self.stated.append(self._statement(line, order_id, message))

    def _statement(self, line: int, order_id: int, message: Message) -> dict[str, Any]:
        status, average = message.get("39"), message.get("6")
        quantities = {"order_qty": "38", "cum_qty": "14", "leaves_qty": "151"}
        return {
            "line": line,
            "order_id": order_id,
            "ord_status": _STATUSES[status] if status else None,
            **{n: int(message[tag]) if tag in message else None for n, tag in quantities.items()},
            "avg_px": float(average) if average else None,
            "requests": len(self.requests),
            "executions": len(self.executions),
        }

    def _unheard(self, message: Message) -> int:
        """The id of an order that the log has no request of, by the broker's own OrderID."""
        fresh = make_id(Origin(Kind.CUSTOMER, 2).code, len(self._elsewhere))
        return self._elsewhere.setdefault(message.get("37", ""), fresh)

    def log(self) -> FixLog:
        """All of it."""
        schema = {
            "line": pl.Int64,
            "order_id": pl.UInt64,
            "ord_status": pl.String,
            **dict.fromkeys(("order_qty", "cum_qty", "leaves_qty"), pl.Int64),
            "avg_px": pl.Float64,
            "requests": pl.Int64,
            "executions": pl.Int64,
        }
        return FixLog(
            _frame(self.requests, REQUESTS),
            _frame(self.executions, EXECUTIONS),
            pl.DataFrame(self.stated, schema=schema),
            self.ignored,
        )


def _terms(message: Message, in_force: Mapping[str, Any]) -> dict[str, Any]:
    """The terms that a message states; what it leaves out is as in force."""
    given: dict[str, Any] = {
        "account": message.get("1") or in_force.get("account") or message["49"],
        "symbol": message.get("55") or in_force.get("symbol"),
        "side": _SIDES[message["54"]] if "54" in message else in_force.get("side"),
        "ord_type": _ORD_TYPES[message["40"]] if "40" in message else in_force.get("ord_type"),
        "time_in_force": in_force.get("time_in_force", "day"),
        "expire_time": None,
        "order_qty": int(message["38"]) if "38" in message else in_force.get("order_qty", 0),
        "price": to_price(message["44"]) if "44" in message else in_force.get("price"),
    }
    if "59" in message:
        given["time_in_force"] = _TIMES_IN_FORCE[message["59"]]
    if "126" in message:
        given["expire_time"] = _ns(message["126"])
    return given


def _time(message: Message) -> int:
    return _ns(message.get("60") or message["52"])


def _ns(text: str) -> int:
    """A UTCTimestamp in ns since 1970."""
    time = dt.datetime.strptime(text.partition(".")[0] + "+0000", "%Y%m%d-%H:%M:%S%z")
    fraction = text.partition(".")[2].ljust(9, "0")[:9]
    return int(time.timestamp()) * 1_000_000_000 + int(fraction)


def _id(kind: Kind, sequence: int) -> int:
    return make_id(Origin(kind).code, sequence)


def _frame(rows: list[dict[str, Any]], schema: pa.Schema) -> pl.DataFrame:
    return pl.DataFrame(pa.RecordBatch.from_pylist(rows, schema))
