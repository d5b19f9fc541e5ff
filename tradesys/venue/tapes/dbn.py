"""Databento's DBN, order by order (its schema ``mbo``): binary records of any exchange.

Add, Cancel and Modify change the book. A Fill says that a resting order was executed, and the
Cancel or Modify which follows takes from the book what the Fill has told already. Trades are of the
order that came, and are counted; so is a Clear, after which orders that are given again are the
same ones. Prices are in 1e-9; one that is finer than 1/10,000 is a fault.

Symbols are those of the metadata, or else the instrument's number. The metadata are read by the
package ``databento-dbn``, which is part of the extra ``tapes``; the records are read here, since
that package ends the process's thread at some that are damaged.
"""

from collections.abc import Iterator
from struct import Struct
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
_LATEST = 1 << 62
_METADATA_MOST = 1 << 24
_HEADER, _IS_MBO = 16, 0xA0
_MBO = Struct("<BBHIQQqIBBccQiI")
_SIDES = {b"B": "buy", b"A": "sell"}
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
    names: dict[int, str] = {}
    for line, raw in enumerate(_records(file, names)):
        rows.append({"line": line + 1, **_event(raw, filled, names, given.symbol)})
        if len(rows) == _ROWS:
            yield events.as_events(pl.DataFrame(rows, schema=_SCHEMA))
            rows = []
    yield events.as_events(pl.DataFrame(rows, schema=_SCHEMA))


_SCHEMA = {n: EVENTS[n] for n in ("line", "ts", "type", "kind", "symbol", "side", "qty", "price")}
_SCHEMA |= {"order_id": pl.UInt64(), "fault": EVENTS["fault"]}


def _event(
    raw: bytes, filled: dict[int, int], names: dict[int, str], symbol: str | None
) -> dict[str, Any]:
    """An event; ``filled`` is what Fills have told and no Cancel or Modify has taken yet."""
    if raw[1] != _IS_MBO:
        return {"kind": Kind.OTHER, "type": f"record of type {raw[1]}"}
    if len(raw) < _MBO.size:
        return {"fault": f"a record of {len(raw)} bytes: expected {_MBO.size}"}
    _, _, _, number, ts, order_id, units, size, _, _, letter, side, *_ = _MBO.unpack_from(raw)
    action = letter.decode("latin-1")
    found: dict[str, Any] = {"ts": ts, "type": _TYPES.get(action, "other action")}
    found |= {"order_id": order_id, "kind": _KINDS.get(action, Kind.OTHER), "qty": size}
    found["symbol"] = symbol or names.get(number, str(number))
    if ts >= _LATEST:
        return found | {"ts": None, "fault": f"ts_event={ts}: expected ns since 1970"}
    if action == "C":
        told = min(filled.pop(order_id, 0), size)
        return found | ({"qty": size - told} if size > told else {"kind": Kind.OTHER})
    if action == "M":
        filled.pop(order_id, None)
    if action == "F":
        filled[order_id] = filled.get(order_id, 0) + size
    if action in ("A", "M", "F"):
        price, finer = divmod(units, _UNIT)
        found |= {"price": price, "side": _SIDES.get(side)}
        if finer or price <= 0 or not size or (action == "A" and side not in _SIDES):
            terms = f"side={side!r}, size={size}, price={units}"
            return found | {"fault": f"{terms}: expected B or A, above 0, a multiple of {_UNIT:,}"}
    return found


def _records(file: File, names: dict[int, str]) -> Iterator[bytes]:
    """The records of a file; ``names`` are learned from what stands before them."""
    line, rest = 0, b""
    with file.open() as source:
        head = source.read(8)
        size = int.from_bytes(head[4:8], "little")
        names |= _names(file, head + source.read(min(size, _METADATA_MOST)))
        while block := source.read(_BLOCK):
            rest, at = rest + block, 0
            while at < len(rest) and (stop := at + 4 * rest[at]) <= len(rest):
                if stop - at < _HEADER:
                    raise SchemaError(f"{file}: cannot be read after record {line:,}: no length")
                yield rest[at:stop]
                at, line = stop, line + 1
            rest = rest[at:]
    if rest:
        raise SchemaError(f"{file}: it is cut short after record {line:,}")


def _names(file: File, metadata: bytes) -> dict[int, str]:
    """The symbol of each instrument's number, as the metadata maps them."""
    try:
        import databento_dbn  # noqa: PLC0415 - it is an extra
    except ImportError as error:
        expected = "the package databento-dbn: pip install 'tradesys[tapes]'"
        raise InvalidValue("format", "dbn", expected) from error
    try:
        said = databento_dbn.Metadata.decode(metadata)
    except BaseException as error:  # what the library panics with is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise SchemaError(f"{file}: its metadata cannot be read: {str(error)[:200]}") from error
    if said.schema is not None and str(said.schema) != "mbo":
        raise SchemaError(
            f"{file}: it is of the schema {said.schema}, expected mbo, order by order"
        )
    return {
        int(interval["symbol"]): symbol
        for symbol, intervals in said.mappings.items()
        for interval in intervals
        if str(interval["symbol"]).isdecimal()
    }


FORMAT = Format(
    "dbn",
    "Databento DBN, market by order",
    read,
    lambda head: head[:3] == b"DBN" and head[3:4] in {b"\1", b"\2", b"\3"},
    is_binary=True,
)
