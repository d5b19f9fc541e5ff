"""Databento's DBN, order by order (its schema ``mbo``): binary records of any exchange.

Add, Cancel and Modify change the book. A Fill says that a resting order was executed, and the
Cancel or Modify which follows takes from the book what the Fill has told already. Trades are of the
order that came, and are counted; so is a Clear, after which orders that are given again are the
same ones. Prices are in 1e-9; one that is finer than 1/10,000 is a fault.

Needs the package ``databento-dbn``, which is part of the extra ``tapes``. Symbols are those of the
metadata, or else the instrument's number.
"""

from collections.abc import Iterator
from typing import Any

import polars as pl

from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.records.schemas import PRICE_SCALE
from tradesys.venue.tapes import events
from tradesys.venue.tapes.events import EVENTS, Events, Format, Given, Kind
from tradesys.venue.tapes.sources import File

_BLOCK = 1 << 20
_ROWS = 1 << 16
_UNIT = 10**9 // PRICE_SCALE
_SIDES = {"B": "buy", "A": "sell"}
_TYPES = {
    "A": "A add",
    "C": "C cancel",
    "M": "M modify",
    "F": "F fill",
    "T": "T trade",
    "R": "R clear",
}
_KINDS = {"A": Kind.ADD, "C": Kind.REDUCE, "M": Kind.REPLACE, "F": Kind.EXECUTE}


def read(file: File, given: Given) -> Events:
    """The events of a file; ``line`` is the number of the record.

    :raises InvalidValue: the package is not installed.
    :raises SchemaError: the file is damaged, or of another schema.
    """
    filled: dict[int, int] = {}
    rows: list[dict[str, Any]] = []
    for line, symbol, record in _records(file, given):
        rows.append({"line": line, "symbol": symbol, **_event(record, filled)})
        if len(rows) == _ROWS:
            yield events.as_events(pl.DataFrame(rows, schema=_SCHEMA))
            rows = []
    yield events.as_events(pl.DataFrame(rows, schema=_SCHEMA))


_SCHEMA = {n: EVENTS[n] for n in ("line", "ts", "type", "kind", "symbol", "side", "qty", "price")}
_SCHEMA |= {"order_id": pl.UInt64(), "fault": pl.String()}


def _event(record: Any, filled: dict[int, int]) -> dict[str, Any]:
    """An event; ``filled`` is what Fills have told and no Cancel or Modify has taken yet."""
    action, order_id = str(record.action), int(record.order_id)
    size, ts = int(record.size), int(record.ts_event)
    found: dict[str, Any] = {"ts": ts, "type": _TYPES.get(action, f"{action} other")}
    found |= {"order_id": order_id, "kind": _KINDS.get(action, Kind.OTHER), "qty": size}
    if not 0 <= ts < 1 << 62:
        return found | {"ts": None, "fault": f"ts_event={ts}: expected ns since 1970"}
    if action == "C":
        told = min(filled.pop(order_id, 0), size)
        return found | ({"qty": size - told} if size > told else {"kind": Kind.OTHER})
    if action == "M":
        filled.pop(order_id, None)
    if action == "F":
        filled[order_id] = filled.get(order_id, 0) + size
    if action in ("A", "M", "F"):
        price, finer = divmod(int(record.price), _UNIT)
        found |= {"price": price, "side": _SIDES.get(str(record.side))}
        if (
            finer
            or not 0 < price < 1 << 53
            or (action == "A" and found["side"] is None)
            or not size
        ):
            terms = f"side={record.side}, size={size}, price={record.price}"
            return found | {"fault": f"{terms}: expected B or A, above 0, a multiple of {_UNIT:,}"}
    return found


def _records(file: File, given: Given) -> Iterator[tuple[int, str, Any]]:
    try:
        import databento_dbn as dbn  # noqa: PLC0415 - it is an extra
    except ImportError as error:
        expected = "the package databento-dbn: pip install 'tradesys[tapes]'"
        raise InvalidValue("format", "dbn", expected) from error
    decoder, line, names = dbn.DBNDecoder(), 0, dict[int, str]()
    with file.open() as source:
        while block := source.read(_BLOCK):
            try:
                decoder.write(block)
                decoded = decoder.decode()
            except (dbn.DBNError, ValueError) as error:
                raise SchemaError(
                    f"{file}: cannot be read after record {line:,}: {error}"
                ) from error
            for record in decoded:
                if isinstance(record, dbn.Metadata):
                    names = _names(record)
                elif isinstance(record, dbn.MBOMsg):
                    line += 1
                    number = int(record.instrument_id)
                    yield line, given.symbol or names.get(number, str(number)), record
                elif not isinstance(record, dbn.SystemMsg | dbn.SymbolMappingMsg):
                    found = f"a record {type(record).__name__}"
                    raise SchemaError(f"{file}: {found}, expected the schema mbo, order by order")


def _names(metadata: Any) -> dict[int, str]:
    """The symbol of each instrument's number, as the metadata maps them."""
    return {
        int(interval["symbol"]): symbol
        for symbol, intervals in metadata.mappings.items()
        for interval in intervals
        if str(interval["symbol"]).isdigit()
    }


FORMAT = Format(
    "dbn",
    "Databento DBN, market by order",
    read,
    lambda head: head[:3] == b"DBN" and head[3:4] in {b"\1", b"\2", b"\3"},
    is_binary=True,
)
