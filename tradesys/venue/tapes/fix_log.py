"""FIX session logs as records: what customers asked, what a broker reported, and what it stated.

A log is text with FIX messages in its lines, whatever stands before them and whatever ends their
fields; versions 4.0 to 5.0 become the same records (:mod:`tradesys.venue.tapes.fix_codes`). A log
names no systems: its requests are all of ``c1``, its reports of ``s1``, and the events are numbered
in the order of the log. Terms that the records do not know become the nearest that they do, and are
counted.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import simplefix

from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.records.schemas import EXECUTIONS, REQUESTS
from tradesys.status import definition as status
from tradesys.venue.tapes import sources
from tradesys.venue.tapes.fix_orders import Orders
from tradesys.venue.tapes.fix_terms import Message
from tradesys.venue.tapes.stream import BadLine

_BEGIN = re.compile(r"(?<!\d)8=(?:FIX\.\d\.\d|FIXT\.1\.1)(.{1,5}?)(?=9=|35=|49=)|(?<!\d)8=FIX")
_END = r"{0}\s{{0,3}}10=\w+\s*(?:{0}|\s|$)|{0}(?=8=FIX)"
_FIELD = re.compile(r"\s*\d+=")
_SOH = "\x01"

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


@dataclass(frozen=True, eq=False)
class FixLog:
    """What a log comes to.

    ``requests`` and ``executions`` are records of these datasets, in the order of the log.
    ``stated``, one row a report, is what the report says of its order: ``line: Int64`` from 1,
    ``order_id: UInt64``, ``secondary_order_id: String`` the broker's own OrderID (tag 37),
    ``ord_status: String`` (``"replaced"`` is that of FIX up to 4.2 alone), ``order_qty``,
    ``cum_qty``, ``leaves_qty: Int64``, ``avg_px: Float64``, each null where the report leaves it
    out; and ``requests``, ``executions: Int64``, how many records there are up to it. Quantities
    are in units of ``1 / qty_scale``. ``unrecorded`` is what those reports say of an order whose
    event no record can hold; they are among the ``bad``.

    Its ``events`` are its messages, ``types`` counts them by MsgType (35), and ``ignored`` those of
    other kinds. ``repeats`` were there before (43, 97), and ``bad`` has those that are none.
    ``unheard`` counts the orders and changes that the log does not ask for: each is taken as asked
    for when it is first reported of. ``terms`` counts the terms that our records do not know, as
    ``"40=P"``, and reports that could only be taken as a statement of their order's status: fills
    of nothing, amendments of no trade.
    """

    requests: pl.DataFrame
    executions: pl.DataFrame
    stated: pl.DataFrame
    unrecorded: pl.DataFrame
    events: int
    types: dict[str, int]
    ignored: dict[str, int]
    repeats: int
    unheard: int
    terms: dict[str, int]
    bad: tuple[BadLine, ...]
    qty_scale: int

    @cached_property
    def otherwise(self) -> list[int]:
        """The line of the last report of each order that ends otherwise than this report states.

        What it leaves out is not compared, and an average price as finely as it is stated.
        """
        said = pl.concat([self.stated, self.unrecorded]).sort("executions", maintain_order=True)
        last = said.group_by("order_id").last()
        by_then = last.select("order_id", heard="requests")
        heard = self.requests.with_row_index().join(by_then, on="order_id")
        heard = heard.filter(pl.col("index") < pl.col("heard")).select(self.requests.columns)
        due = status.statuses(heard, self.executions)
        both = last.join(due, on="order_id", suffix="_due")
        return both.filter(_differs()).sort("line")["line"].to_list()


def _differs() -> pl.Expr:
    """Whether a statement of an order is not what is due: its status, quantity or average price.

    A status of Replaced, which ended with FIX 4.2, is that of any order which is open.
    """
    decimals = pl.col("avg_px").cast(pl.String).str.split(".").list.last().str.len_chars()
    rounding = 0.51 / pl.lit(10.0).pow(decimals.clip(2))
    average = pl.col("avg_px_due").fill_null(0) - pl.col("avg_px")
    is_open = pl.col("ord_status_due").is_in(["new", "partially_filled"])
    is_replaced = (pl.col("ord_status") == "replaced") & is_open
    return (
        ((pl.col("ord_status") != pl.col("ord_status_due")) & ~is_replaced).fill_null(value=False)
        | (pl.col("cum_qty") != pl.col("cum_qty_due")).fill_null(value=False)
        | (average.abs() > rounding).fill_null(value=False)
    )


def is_log(source: str | Path) -> bool:
    """Whether a file, or one of a folder or an archive, is a log of FIX messages."""
    path = Path(source)
    return path.exists() and any(map(_is_log, sources.files_of(path)))


def read(source: str | Path, *, bad_lines: str = "skip") -> FixLog:
    """Read a log: a file, or the logs of a folder or an archive by their names, packed or not.

    :param bad_lines: ``"skip"`` tells lines that are no messages, ``"fail"`` refuses the first.
    :raises SchemaError: there is no FIX message in it, or it cannot be unpacked.
    :raises InvalidValue: there is no such file; or a line is bad, where that is an error.
    """
    given.one_of("bad_lines", bad_lines, ("skip", "fail"))
    orders, events, bad, types = Orders(), 0, list[BadLine](), Counter[str]()
    for file, line, separator, text in _messages(Path(source)):
        events += 1
        try:
            message = _parsed(separator, text)
            types[message.get("35", "none")] += 1
            orders.take(line, message)
        except InvalidValue as wrong:
            if bad_lines == "fail":
                expected = f"{wrong.expected} (line {line:,} of {file})"
                raise InvalidValue(wrong.field, wrong.value, expected) from wrong
            bad.append(BadLine(file, line, str(wrong)))
    if not events:
        raise SchemaError(f"{source}: no FIX message; expected lines with 8=FIX…")
    scale = 10**orders.terms.qty_digits
    return FixLog(
        _frame(orders.requests, REQUESTS, scale),
        _frame(orders.executions, EXECUTIONS, scale),
        _statements(orders.stated, scale),
        _statements(orders.unrecorded, scale),
        events,
        dict(types),
        dict(orders.ignored),
        orders.repeats,
        orders.unheard,
        dict(orders.terms.unknown),
        tuple(bad),
        scale,
    )


def _is_log(file: sources.File) -> bool:
    head = file.head().decode("utf-8", "replace")
    return any(found[1] for found in _BEGIN.finditer(head))


def _messages(path: Path) -> Iterator[tuple[str, int, str, str]]:
    """File and line, what ends its fields, and the text of each message of a log."""
    files = sources.files_of(path)
    for file in files if len(files) == 1 else filter(_is_log, files):
        for lines in sources.lines(file):
            for line, text, is_long in lines.iter_rows():
                for separator, whole in _of_line(text):
                    yield str(file), line, separator, sources.TOO_LONG if is_long else whole


def _of_line(text: str) -> Iterator[tuple[str, str]]:
    """What ends its fields, and the text of each message of a line.

    A further one begins where the one before has ended: after its CheckSum (10), or, where it is
    cut short, after any of its fields. What a field holds is no beginning.
    """
    begin = _BEGIN.search(text)
    while begin:
        separator = begin[1] or ""
        end = re.compile(_END.format(re.escape(separator))).search(text, begin.end())
        stop = end.end() if end else len(text)
        yield separator, text[begin.start() : stop]
        begin = _BEGIN.search(text, stop)


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


def _statements(rows: list[dict[str, Any]], scale: int) -> pl.DataFrame:
    return pl.DataFrame(_scaled(rows, scale), schema=_STATED, orient="row")


def _frame(rows: list[dict[str, Any]], schema: pa.Schema, scale: int) -> pl.DataFrame:
    return pl.DataFrame(pa.RecordBatch.from_pylist(_scaled(rows, scale), schema))
