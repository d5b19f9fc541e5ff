"""What is in a file of order flow: its format, how many of what, and what is wrong with it."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tradesys.records.errors import SchemaError
from tradesys.records.formatting import html
from tradesys.status import definition as status
from tradesys.venue.tapes import fix_log
from tradesys.venue.tapes.events import Kind
from tradesys.venue.tapes.orders import SHOWN
from tradesys.venue.tapes.stream import open_tape
from tradesys.venue.tapes.tape import Source

REPEATED = "a line again"
OTHERWISE = "ends otherwise than the broker says"


@dataclass(frozen=True, eq=False)
class Inspection:
    """What is in a file. A notebook shows it as tables; ``as_dict`` is for JSON.

    ``types`` (``type, count``): the format's own words; ``ignored`` (``reason, count``): events
    that are neither a request nor a fill; ``faults`` (``fault, count, lines``): what cannot be as
    it says, with the first lines; ``bad_lines`` (``file, line, reason``): the first of the ``bad``
    lines that are no events. ``open`` orders are left at the end.
    """

    format: str
    title: str
    files: tuple[str, ...]
    events: int
    requests: int
    fills: int
    open: int
    symbols: tuple[str, ...]
    first: dt.datetime
    last: dt.datetime
    qty_scale: int
    bad: int
    types: pl.DataFrame
    ignored: pl.DataFrame
    faults: pl.DataFrame
    bad_lines: pl.DataFrame

    def as_dict(self) -> dict[str, object]:
        """One object of plain values, for ``--json``."""
        found = {n: value for n, value in vars(self).items() if not isinstance(value, pl.DataFrame)}
        found |= {"first": self.first.isoformat(), "last": self.last.isoformat()}
        found |= {n: dict(vars(self)[n].iter_rows()) for n in ("types", "ignored")}
        return found | {n: vars(self)[n].to_dicts() for n in ("faults", "bad_lines")}

    def __str__(self) -> str:
        shown = self.symbols[:10]
        more = f" and {len(self.symbols) - 10} more" if len(self.symbols) > len(shown) else ""
        lines = [
            f"{', '.join(self.files)}: {self.title}",
            f"{self.events:,} events from {self.first} to {self.last}",
            f"symbols: {', '.join(shown)}{more}",
            f"{self.requests:,} requests, {self.fills:,} fills; {self.open:,} orders are left open",
            *(f"{count:>10,} {name}" for name, count in self.types.iter_rows()),
            *(f"{count:>10,} ignored: {reason}" for reason, count in self.ignored.iter_rows()),
            *(f"{n:>10,} fault: {_at(fault, told)}" for fault, n, told in self.faults.iter_rows()),
        ]
        if self.bad:
            lines.append(f"{self.bad:>10,} lines could not be read:")
        lines += [f"{line:>10,} {reason}" for _, line, reason in self.bad_lines.iter_rows()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        facts = {
            "format": self.title,
            "events": self.events,
            "first": str(self.first),
            "last": str(self.last),
            "symbols": ", ".join(self.symbols),
            "requests": self.requests,
            "fills": self.fills,
            "open": self.open,
        }
        head = pl.DataFrame({"what": list(facts), "": [str(value) for value in facts.values()]})
        frames = (head, self.types, self.ignored, self.faults, self.bad_lines)
        return "".join(html(frame) for frame in frames if len(frame))


def inspect(
    source: Source,
    *,
    format: str | None = None,
    symbol: str | None = None,
    date: dt.date | str | None = None,
    columns: Mapping[str, str] | str | None = None,
) -> Inspection:
    """Say what a file of order flow is and what is in it; the arguments are those of ``read``.

    A line counts as again if all that it says was said within some ten thousand lines before.

    :raises InvalidValue: an argument is wrong, or there is no file.
    :raises SchemaError: the file is damaged, or of no format that is known.
    """
    if isinstance(source, str | Path) and fix_log.is_log(source):
        return _of_log(Path(source))
    stream = open_tape(source, format=format, symbol=symbol, date=date, columns=columns)
    requests = fills = 0
    symbols: dict[str, None] = {}
    times: list[int] = []
    for rows, part in stream.with_events():
        requests, fills = requests + len(part.requests), fills + len(part.fills)
        symbols |= dict.fromkeys(rows["symbol"].unique(maintain_order=True).drop_nulls())
        times = (
            [times[0] if times else int(rows["ts"][0]), int(rows["ts"][-1])] if len(rows) else times
        )
        for line in _said_again(rows):
            stream.seen.faults.note(REPEATED, line)
    seen = stream.seen
    if not times:
        raise stream.nothing()
    first, last = (dt.datetime.fromtimestamp(ns // 10**9, dt.UTC) for ns in times)
    named = [(fault, count, lines) for fault, (count, lines) in seen.faults.items()]
    return Inspection(
        format=stream.format.name,
        title=stream.format.title,
        files=tuple(map(str, stream.files)),
        events=seen.events,
        requests=requests,
        fills=fills,
        open=seen.open,
        symbols=tuple(symbols),
        first=first,
        last=last,
        qty_scale=stream.qty_scale,
        bad=seen.bad,
        types=_counts(seen.types, "type"),
        ignored=_counts(seen.ignored, "reason"),
        faults=pl.DataFrame(named, schema=_FAULTS, orient="row").sort("count", descending=True),
        bad_lines=pl.DataFrame(seen.bad_lines, schema=_BAD, orient="row"),
    )


def _of_log(path: Path) -> Inspection:
    """What is in a log of FIX sessions, and whether its orders end as its broker says."""
    log = fix_log.read(path)
    requests, executions = log.requests, log.executions
    times = pl.concat([requests["ts"], executions["ts"]])
    if times.is_empty():
        raise SchemaError(f"{path}: none of its {log.events:,} FIX messages is about an order")
    times = times.sort()
    ignored = {_message(kind): count for kind, count in log.ignored.items()}
    ignored |= {"said before (43, 97)": log.repeats} if log.repeats else {}
    faults: list[tuple[str, int, list[int]]]
    faults = [(f"a term that is none of ours: {term}", n, []) for term, n in log.terms.items()]
    faults += [("reported of, and never asked for", log.unheard, [])] if log.unheard else []
    if log.otherwise:
        faults.append((OTHERWISE, len(log.otherwise), log.otherwise[:SHOWN]))
    bad = [(bad.file, bad.line, bad.reason) for bad in log.bad]
    return Inspection(
        format="fix",
        title="a log of FIX sessions",
        files=(str(path),),
        events=log.events,
        requests=len(requests),
        fills=int((executions["exec_type"].cast(pl.String) == "trade").sum()),
        open=int((status.statuses(requests, executions)["leaves_qty"] > 0).sum()),
        symbols=tuple(requests["symbol"].unique(maintain_order=True).drop_nulls()),
        first=times[0].replace(microsecond=0),
        last=times[-1].replace(microsecond=0),
        qty_scale=log.qty_scale,
        bad=len(bad),
        types=_counts({_message(kind): n for kind, n in log.types.items()}, "type"),
        ignored=_counts(ignored, "reason"),
        faults=pl.DataFrame(faults, schema=_FAULTS, orient="row"),
        bad_lines=pl.DataFrame(bad, schema=_BAD, orient="row"),
    )


_MESSAGES = {
    "D": "NewOrderSingle",
    "F": "OrderCancelRequest",
    "G": "OrderCancelReplaceRequest",
    "8": "ExecutionReport",
    "9": "OrderCancelReject",
    "H": "OrderStatusRequest",
    "0": "Heartbeat",
    "1": "TestRequest",
    "2": "ResendRequest",
    "3": "Reject",
    "4": "SequenceReset",
    "5": "Logout",
    "A": "Logon",
}


def _message(kind: str) -> str:
    """A MsgType (35), by its name in FIX where it is one that such logs have."""
    return f"{_MESSAGES[kind]} ({kind})" if kind in _MESSAGES else f"35={kind}"


_FAULTS: dict[str, Any] = {"fault": pl.String, "count": pl.Int64, "lines": pl.List(pl.Int64)}
_BAD = {"file": pl.String, "line": pl.Int64, "reason": pl.String}
_SAID = ("ts", "type", "order_id", "qty", "leaves", "price")


def _at(fault: str, numbers: list[int]) -> str:
    return f"{fault} (lines {', '.join(f'{n:,}' for n in numbers)})" if numbers else fault


def _counts(counter: Mapping[str, int], name: str) -> pl.DataFrame:
    rows = sorted(counter.items(), key=lambda pair: -pair[1])
    return pl.DataFrame(rows, schema={name: pl.String, "count": pl.Int64}, orient="row")


def _said_again(rows: pl.DataFrame) -> list[int]:
    """The lines about orders that say what a line before them says."""
    about = rows.filter(pl.col("kind") != Kind.OTHER)
    again = ~about.select(_SAID).to_struct().is_first_distinct()
    return about.filter(again)["line"].to_list()
