"""FIX session logs as records: what customers asked, what a broker reported, and what it stated.

A log is text with FIX messages in its lines, whatever stands before them and whatever ends their
fields; versions 4.0 to 5.0 become the same records (:mod:`tradesys.venue.tapes.fix_codes`). A log
names no systems: its requests are all of ``c1``, its reports of ``s1``, and the events are numbered
in the order of the log. Terms that the records do not know become the nearest that they do, and are
counted.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

import polars as pl
import pyarrow as pa
import simplefix

from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.records.schemas import EXECUTIONS, REQUESTS
from tradesys.venue.tapes.fix_orders import Message, Orders

_BEGIN = re.compile(r"(?<!\d)8=(?:FIX\.\d\.\d|FIXT\.1\.1)(.{1,5}?)(?=9=|35=|49=)|(?<!\d)8=FIX")
_FIELD = re.compile(r"\s*\d+=")
_SOH = "\x01"
_LOOKED_AT = 1 << 16  # characters of a file in which a log has a message

_QTY = ("order_qty", "last_qty", "cum_qty", "leaves_qty")
_STATED = {
    "line": pl.Int64,
    "order_id": pl.UInt64,
    "secondary_order_id": pl.String,
    "ord_status": pl.String,
    **dict.fromkeys(("order_qty", "cum_qty", "leaves_qty"), pl.Int64),
    "avg_px": pl.Float64,
    "requests": pl.Int64,
    "executions": pl.Int64,
}


class BadLine(NamedTuple):
    """A line with a message that is none, counted from 1, and why."""

    line: int
    reason: str


@dataclass(frozen=True, eq=False)
class FixLog:
    """What a log comes to.

    ``requests`` and ``executions`` are records of these datasets, in the order of the log.
    ``stated``, one row a report, is what the report says of its order: ``line: Int64`` from 1,
    ``order_id: UInt64``, ``secondary_order_id: String`` the broker's own OrderID (tag 37),
    ``ord_status: String`` (``"replaced"`` is that of FIX up to 4.2 alone), ``order_qty``,
    ``cum_qty``, ``leaves_qty: Int64``, ``avg_px: Float64``, each null where the report leaves it
    out; and ``requests``, ``executions: Int64``, how many records there are up to it. Quantities
    are in units of ``1 / qty_scale``.

    Of the ``messages``, ``ignored`` counts the other kinds by MsgType (35), ``repeats`` those that
    were there before (43, 97), and ``bad`` has those that are none. ``unheard`` counts the orders
    that the log does not enter: each is taken as entered when it is first reported of. ``terms``
    counts the terms that our records do not know, as ``"40=P"``, and reports that could only be
    taken as a statement of their order's status: fills of nothing, amendments of no trade.
    """

    requests: pl.DataFrame
    executions: pl.DataFrame
    stated: pl.DataFrame
    messages: int
    ignored: dict[str, int]
    repeats: int
    unheard: int
    terms: dict[str, int]
    bad: tuple[BadLine, ...]
    qty_scale: int


def is_log(path: str | Path) -> bool:
    """Whether a file, plain or packed with gzip, begins as a log of FIX messages does."""
    if not Path(path).is_file():
        return False
    with _opened(Path(path)) as file:
        try:
            return any(found[1] for found in _BEGIN.finditer(file.read(_LOOKED_AT)))
        except (OSError, EOFError, zlib.error):
            return False


def read(path: str | Path, *, strict: bool = False) -> FixLog:
    """Read a log, plain or packed with gzip.

    :param strict: a line that is bad is an error; by default it is passed over, and told.
    :raises SchemaError: there is no FIX message in it, or it cannot be unpacked.
    :raises InvalidValue: a line is bad, where that is an error.
    """
    orders, messages, bad = Orders(), 0, list[BadLine]()
    for line, separator, text in _messages(Path(path)):
        messages += 1
        try:
            orders.take(line, _parsed(separator, text))
        except InvalidValue as wrong:
            if strict:
                place = f"line {line} of {path}: {wrong.field}"
                raise InvalidValue(place, wrong.value, wrong.expected) from wrong
            bad.append(BadLine(line, str(wrong)))
    if not messages:
        raise SchemaError(f"{path}: no FIX message; expected lines with 8=FIX…")
    scale = 10**orders.qty_digits
    return FixLog(
        _frame(orders.requests, REQUESTS, scale),
        _frame(orders.executions, EXECUTIONS, scale),
        pl.DataFrame(_scaled(orders.stated, scale), schema=_STATED, orient="row"),
        messages,
        dict(orders.ignored),
        orders.repeats,
        orders.unheard,
        dict(orders.terms),
        tuple(bad),
        scale,
    )


def _opened(path: Path) -> TextIO:
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    opened = (gzip.open if is_packed else open)(path, "rt", encoding="utf-8", errors="replace")
    return cast("TextIO", opened)


def _messages(path: Path) -> Iterator[tuple[int, str, str]]:
    """The number of its line, what ends its fields, and the text of each message of a log."""
    with _opened(path) as file:
        try:
            for line, text in enumerate(file, 1):
                starts = [*_BEGIN.finditer(text)]
                ends = [*(found.start() for found in starts[1:]), len(text)]
                for found, end in zip(starts, ends, strict=False):
                    yield line, found[1] or "", text[found.start() : end]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SchemaError(f"{path}: {error}; expected a whole file of gzip") from error


def _parsed(separator: str, text: str) -> Message:
    """A message: values by tag, of a repeated tag the first; what is empty is not there.

    One without a CheckSum (10) is whole if it is as long as its BodyLength (9) says.
    """
    if separator and separator != _SOH:
        text = re.sub(re.escape(separator) + r"(?=\s*\d+=|\s*$)", _SOH, text.strip())
    if f"{_SOH}10=" not in text:
        fields = [found for found in text.split(_SOH) if _FIELD.match(found)]
        body = "".join(found.rstrip("\r\n") + _SOH for found in fields[2:])
        if fields[1:2] != [f"9={len(body.encode())}"]:
            raise InvalidValue("message", text[-40:], "an end: it is cut short, or has no CheckSum")
        text = _SOH.join([*fields[:2], body]) + f"10=000{_SOH}"
    parser = simplefix.FixParser()
    parser.append_buffer(text if text.endswith(_SOH) else text + _SOH)
    try:
        message = parser.get_message()
    except (simplefix.errors.ParsingError, ValueError) as error:
        raise InvalidValue("message", text[:40], f"FIX: {error}") from error
    if message is None or message.get(35) is None:
        raise InvalidValue("message", text[:40], "fields of FIX, MsgType (35) among them")
    pairs = ((tag.decode(), value.decode(errors="replace")) for tag, value in message.pairs)
    return {tag: value for tag, value in reversed([*pairs]) if value.strip()}


def _scaled(rows: list[dict[str, Any]], scale: int) -> list[dict[str, Any]]:
    """Rows with their quantities as whole numbers of units."""
    for row in rows:
        row.update({n: int(row[n] * scale) for n in _QTY if row.get(n) is not None})
    return rows


def _frame(rows: list[dict[str, Any]], schema: pa.Schema, scale: int) -> pl.DataFrame:
    return pl.DataFrame(pa.RecordBatch.from_pylist(_scaled(rows, scale), schema))
