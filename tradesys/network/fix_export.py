"""What a system knows as FIX: an execution report for each event, as a customer would have had it.

A session is between the system and an account. What each report states of its order (tags 39, 14,
151 and 6) is aggregated from the records up to it, and written nowhere else.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import simplefix
from polars import selectors

from tradesys.records import argument_checks as given
from tradesys.records.schemas import (
    PRICE_SCALE,
    REQUESTS,
    SCHEMAS,
    OrdType,
    RequestType,
    format_id,
)
from tradesys.status import definition as status
from tradesys.status.incremental.view import View
from tradesys.systems.system import System
from tradesys.venue.tapes import fix_codes as fix

VERSIONS = {"4.2": "FIX.4.2", "4.4": "FIX.4.4", "5.0": "FIXT.1.1"}
"""The versions that are written, and how each begins (tag 8)."""

_SOH = "\x01"
SEPARATORS = {"soh": _SOH, "|": "|"}
"""What a field may end with; only SOH is FIX, the other is for people."""

_MSG_TYPES, _SIDES, _ORD_TYPES, _TIMES_IN_FORCE = (
    {ours: code for code, ours in codes.items()}
    for codes in (fix.REQUEST_TYPES, fix.SIDES, fix.ORD_TYPES, fix.TIMES_IN_FORCE)
)
_EXEC_TYPES = {ours: code for code, ours in fix.EXEC_TYPES.items() if code not in "12"}
_STATUSES = {ours: code for code, ours in fix.STATUSES.items()}
_TRANS_TYPES = {ours: code for code, ours in fix.TRANS_TYPES.items()}

Row = Mapping[str, Any]
_Pairs = list[tuple[int, object]]


class _State(NamedTuple):
    """What a report states of its order; quantities in units."""

    ord_status: str
    cum_qty: int
    leaves_qty: int
    avg_px: float | None


_REFUSED = _State("rejected", 0, 0, None)
"""Of an order that no record that is held enters."""


def messages(
    system: System, *, version: str = "4.4", separator: str = "soh", requests: bool = False
) -> Iterator[bytes]:
    """What a system knows as messages of FIX, each with its BodyLength and CheckSum.

    One execution report for each event, in the order in which the market reported them, and one for
    each request that was refused at entry; refused changes are Order Cancel Rejects (35=9).

    :param version: one of :data:`VERSIONS`.
    :param separator: one of :data:`SEPARATORS`; the CheckSum is that of SOH.
    :param requests: the customers' requests as well (35=D, F and G), each before what answers it.
    :raises InvalidValue: it is another version or separator.
    """
    given.one_of("version", version, VERSIONS)
    ends = SEPARATORS[given.one_of("separator", separator, SEPARATORS)]
    writer = _Writer(system, version)
    for dataset, row, state in _told(system):
        is_report = dataset == "executions" or row["reject_reason"] is not None
        if dataset == "requests" and requests:
            yield writer.request(row).replace(_SOH.encode(), ends.encode())
        if is_report:
            yield writer.report(row, state).replace(_SOH.encode(), ends.encode())


def _told(system: System) -> Iterator[tuple[str, Row, _State]]:
    """Each request and event that a system holds, and the state of its order by then."""
    frames = {
        name: system.tables[name].frame
        if name in system.tables
        else pl.DataFrame(REQUESTS.empty_table())
        for name in ("requests", "executions")
    }
    frames["executions"] = status.each_once(frames["executions"]).sort("exec_id")
    batches = {name: _batch(frame, SCHEMAS[name]) for name, frame in frames.items()}
    in_ns = {
        name: frame.with_columns(selectors.datetime().dt.timestamp("ns"))
        for name, frame in frames.items()
    }
    view = View()
    for dataset, number in _in_order(**frames):
        view.apply(dataset, batches[dataset].slice(number, 1))
        record = in_ns[dataset].row(number, named=True)
        order = view.order(record["order_id"])
        state = _REFUSED
        if order:
            state = _State(str(order.ord_status), *order[8:10], order.avg_px)
        yield dataset, record, state


def _batch(frame: pl.DataFrame, schema: pa.Schema) -> pa.RecordBatch:
    """A frame as one batch of a schema."""
    table = frame.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)
    return next(iter(table.combine_chunks().to_batches()), pa.RecordBatch.from_pylist([], schema))


def _in_order(requests: pl.DataFrame, executions: pl.DataFrame) -> list[tuple[str, int]]:
    """Datasets and row numbers: events as the market numbers them, requests by their time.

    A request stands before whatever speaks of it, whatever the clocks said.
    """
    events = executions.select(
        "request_id",
        "order_id",
        dataset=pl.lit("executions"),
        number=pl.int_range(pl.len()),
        at=pl.col("transact_time").cum_max(),
    )
    spoken_of = (
        pl.concat([events.select("at", record_id=name) for name in ("request_id", "order_id")])
        .group_by("record_id")
        .agg(pl.col("at").min())
    )
    asked = requests.join(spoken_of, on="record_id", how="left", maintain_order="left").select(
        "record_id",
        dataset=pl.lit("requests"),
        number=pl.int_range(pl.len()),
        at=pl.min_horizontal("ts", "at"),
        is_later=pl.col("request_type") != RequestType.NEW.value,
    )
    both = pl.concat([asked, events.drop("request_id", "order_id")], how="diagonal")
    is_event = pl.col("dataset") == "executions"
    ordered = both.sort("at", is_event, "is_later", "record_id", "number")
    return ordered.select("dataset", "number").rows()


class _Writer:
    """Writes messages, numbered within each session."""

    def __init__(self, system: System, version: str) -> None:
        self._name, self._version = system.name, version
        instruments = system.tables["instruments"].frame
        self._scales = dict(instruments.select("symbol", "qty_scale").iter_rows())
        self._replaces = set[int]()
        if "requests" in system.tables:
            asked = system.tables["requests"].frame
            self._replaces |= {*asked.filter(request_type="replace")["record_id"]}
        self._sent: Counter[tuple[str, str]] = Counter()

    def request(self, row: Row) -> bytes:
        """What a customer asked for."""
        kind = _MSG_TYPES[row["request_type"]]
        pairs: _Pairs = [(11, _name(row["cl_ord_id"], row["record_id"]))]
        if row["request_type"] != RequestType.NEW:
            pairs.append((41, _name(row["orig_cl_ord_id"], row["order_id"])))
        if self._version == "4.2" and row["request_type"] != RequestType.CANCEL:
            pairs.append((21, 1))
        pairs += [*self._terms(row), (60, _time(row["ts"]))]
        return self._message(kind, row["account"], self._name, row["ts"], pairs)

    def report(self, row: Row, state: _State) -> bytes:
        """What the market reported or, of a request that was refused at entry, its refusal."""
        if "exec_id" not in row:
            is_new = row["request_type"] == RequestType.NEW
            row = {
                **row,
                "exec_type": "rejected" if is_new else "cancel_rejected",
                "exec_id": row["record_id"],
                "request_id": row["record_id"],
                "exec_ref_id": None,
                "last_qty": 0,
                "last_px": 0,
                "text": row["reject_reason"],
                "transact_time": row["ts"],
            }
        pairs: _Pairs = [
            (37, format_id(row["order_id"])),
            (11, _name(row["cl_ord_id"], row["request_id"])),
        ]
        is_change = row["request_id"] != row["order_id"] and row["exec_type"] != "trade"
        if is_change or row["orig_cl_ord_id"]:
            pairs.append((41, _name(row["orig_cl_ord_id"], row["order_id"])))
        kind = "8"
        if row["exec_type"] == "cancel_rejected":
            kind = "9"
            response_to = 2 if row["request_id"] in self._replaces else 1
            pairs += [(39, _STATUSES[state.ord_status]), (434, response_to)]
        else:
            pairs += self._event(row, state)
        pairs += [(58, row["text"]), (60, _time(row["transact_time"]))]
        return self._message(kind, self._name, row["account"], row["ts"], pairs)

    def _event(self, row: Row, state: _State) -> _Pairs:
        """What happened, and what the order came to by it."""
        ref_id = row["exec_ref_id"]
        pairs: _Pairs = [(17, format_id(row["exec_id"])), (19, ref_id and format_id(ref_id))]
        exec_type = _EXEC_TYPES[row["exec_type"]]
        ord_status = _STATUSES[state.ord_status]
        if self._version == "4.2":
            trans_type = _TRANS_TYPES.get(row["exec_type"], "0")
            if row["exec_type"] == "trade":
                exec_type = "1" if state.leaves_qty else "2"
            pairs.append((20, trans_type))
            exec_type = exec_type if trans_type == "0" else ord_status
        average = _plain(Decimal(repr(state.avg_px or 0)))
        return [
            *pairs,
            *((150, exec_type), (39, ord_status)),
            *self._terms(row),
            (32, self._qty(row, row["last_qty"])),
            (31, _price(row["last_px"])),
            (14, self._qty(row, state.cum_qty)),
            (151, self._qty(row, state.leaves_qty)),
            (6, average),
        ]

    def _terms(self, row: Row) -> _Pairs:
        is_limit = row["ord_type"] == OrdType.LIMIT
        return [
            (1, row["account"]),
            (55, row["symbol"]),
            (54, _SIDES[row["side"]]),
            (38, self._qty(row, row["order_qty"])),
            (40, _ORD_TYPES[row["ord_type"]]),
            (44, _price(row["price"]) if is_limit and row["price"] else None),
            (59, _TIMES_IN_FORCE[row["time_in_force"]]),
            (126, row["expire_time"] and _time(row["expire_time"])),
        ]

    def _qty(self, row: Row, units: int) -> str:
        return _plain(Decimal(units) / self._scales.get(row["symbol"], 1))

    def _message(self, kind: str, sender: str, target: str, ts: int, pairs: _Pairs) -> bytes:
        """A message with its header; what is None is left out."""
        self._sent[sender, target] += 1
        header: _Pairs = [(35, kind), (49, sender), (56, target)]
        header += [(34, self._sent[sender, target]), (52, _time(ts))]
        if self._version == "5.0":
            header.append((1128, 9))
        message = simplefix.FixMessage()
        message.append_pair(8, VERSIONS[self._version], header=True)
        for tag, value in [*header, *pairs]:
            if value is not None:
                message.append_pair(tag, str(value).replace(_SOH, " ").replace("\n", " "))
        encoded: bytes = message.encode()
        return encoded


def _name(cl_ord_id: str | None, record_id: int) -> str:
    """What a customer calls a request; where it has no name, its id."""
    return cl_ord_id or format_id(record_id)


def _price(px: int) -> str:
    return _plain(Decimal(px) / PRICE_SCALE)


def _plain(number: Decimal) -> str:
    """A number as FIX has it: digits and a point."""
    return f"{number.normalize():f}"


def _time(ts: int) -> str:
    """A UTCTimestamp of ns since 1970, with as many digits of a second as it needs: 3, 6 or 9."""
    seconds, ns = divmod(ts, 10**9)
    fraction = f"{ns:09}".removesuffix("000").removesuffix("000")
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y%m%d-%H:%M:%S}.{fraction or '000'}"
