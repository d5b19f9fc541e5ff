"""Tapes of any length: files are recognised by what is in them, and read some events at a time.

A :class:`TapeStream` knows how many events there are, and in which symbols, since it has read its
files once; each time it is read again it gives the same requests and fills, part by part, and keeps
no more than the orders that are open.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from tradesys.records import argument_checks as check
from tradesys.records import field_rules as rules
from tradesys.records.clock import to_date
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.records.schemas import cash_amount
from tradesys.venue.tapes import (
    bitstamp,
    dbn,
    independent_reserve,
    itch,
    lobster,
    mapped,
    orders,
    pitch,
    sources,
)
from tradesys.venue.tapes.events import Events, Format, Given, Kind
from tradesys.venue.tapes.orders import BACK, SHOWN, Faults, Orders
from tradesys.venue.tapes.sources import File
from tradesys.venue.tapes.tape import ACCOUNTS, Part, Source, Tape

KNOWN = (
    *(lobster.FORMAT, pitch.FORMAT, itch.FORMAT, dbn.FORMAT),
    *(bitstamp.FORMAT, independent_reserve.FORMAT, *mapped.TABLES),
)
"""The formats that are recognised."""

FORMATS = (*(known.name for known in KNOWN), mapped.FORMAT.name)

_LINES = 50
"""So many lines of a text say what it is: the format that half of them are of."""


class BadLine(NamedTuple):
    """A line that is no event of its format: which one, and what is wrong."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line:,}: {self.reason}"


@dataclass
class Seen:
    """What reading has come to so far."""

    events: int = 0
    types: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)
    bad: int = 0
    bad_lines: list[BadLine] = field(default_factory=list)
    open: int = 0


def recognised(file: File) -> Format | None:
    """The format of a file, by its content; None if it is none that is known.

    :raises SchemaError: it is damaged.
    """
    head = file.head()
    if sources.is_table(head):
        names = set(sources.table_columns(file))
        tables = (known for known in KNOWN if any(c <= names for c in known.columns))
        return next(tables, None)
    for known in KNOWN:
        if known.is_binary and known.recognises(head):
            return known
    texts = [line.rstrip(b"\r") for line in head.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    shown = [line for line in texts[: -1 if len(texts) > 1 else None] if line.strip()][:_LINES]
    names = set(texts[0].decode("utf-8", "replace").replace('"', "").split(","))
    for known in KNOWN:
        if any(needed <= names for needed in known.columns):
            return known
    shown = shown or [line for line in texts if line.strip()][:1]
    for known in KNOWN:
        if not known.is_binary and 2 * sum(map(known.recognises, shown)) >= max(len(shown) - 1, 1):
            return known
    return None


class TapeStream:
    """Order flow in files, read some thousand events at a time. See :func:`open_tape`."""

    def __init__(
        self,
        files: Sequence[File],
        format: Format,
        given: Given,
        *,
        accounts: int = ACCOUNTS,
        bad_lines: str = "skip",
    ) -> None:
        self.files, self.format, self.given = files, format, given
        self._accounts, self._skips = accounts, bad_lines == "skip"
        self.qty_scale = mapped.scale_of(given.columns) if given.columns else format.qty_scale
        self.tick_size = format.tick_size
        self.seen = Seen()
        self._files_of_days = self._days()

    def __repr__(self) -> str:
        return f"<tape of {self.format.title}: {', '.join(map(str, self.files))}>"

    def _days(self) -> list[list[File]]:
        """The files of each day, in the order of days."""
        days: dict[dt.date | None, dict[str | None, File]] = {}
        for file in self.files:
            symbol, date = self.format.day_of(file, self.given)
            named = days.setdefault(date, {})
            if symbol in named and len(self.files) > 1:
                text = f"one file per symbol and day, {symbol} has several: {named[symbol]}, {file}"
                raise InvalidValue("path", str(file.path), text)
            named[symbol] = file
        return [list(days[d].values()) for d in sorted(days, key=lambda d: d or dt.date.min)]

    # ---- what is known of it

    @cached_property
    def _survey(self) -> tuple[int, tuple[str, ...], int]:
        """How many events there are, the symbols, and when the first is."""
        before, self.seen = self.seen, Seen()
        count = first = 0
        symbols: dict[str, None] = {}
        for rows in chain.from_iterable(map(self._merged, self._files_of_days)):
            first = first if count else int(rows["ts"][0]) if len(rows) else 0
            count += len(rows)
            entered = rows.filter(pl.col("kind") == Kind.ADD)["symbol"]
            symbols |= dict.fromkeys(entered.unique(maintain_order=True).drop_nulls())
        self.seen = before
        if not count:
            raise self.nothing()
        return count, self.named_symbols or tuple(symbols), first

    def nothing(self) -> SchemaError:
        """The error for a tape without an event."""
        return SchemaError(f"{self.files[0]}: expected order events, there are none")

    @property
    def named_symbols(self) -> tuple[str, ...]:
        """The symbols, where they are known before anything is read."""
        days = [self.format.day_of(file, self.given) for file in self.files]
        names = [day.symbol for day in days if day.symbol is not None]
        return tuple(dict.fromkeys(names)) if len(names) == len(days) else ()

    @property
    def accounts(self) -> list[str]:
        """The accounts that the orders are spread over."""
        numbers = pl.int_range(self._accounts, eager=True).cast(pl.String)
        return ("A" + numbers.str.zfill(3)).to_list()

    @property
    def events(self) -> int:
        """How many events there are."""
        return self._survey[0]

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that orders are entered in, in the order of their first."""
        return self._survey[1]

    @property
    def first_ns(self) -> int:
        """When the first event is, in ns since 1970."""
        return self._survey[2]

    @property
    def ignored(self) -> dict[str, int]:
        """How many events are neither a request nor a fill, by reason, as far as it was read."""
        return dict(self.seen.ignored)

    # ---- reading

    def parts(self) -> Iterator[Part]:
        """The requests and fills, in parts that follow on from one another."""
        for _, part in self.with_events():
            yield part

    def with_events(self) -> Iterator[tuple[pl.DataFrame, Part]]:
        """Each part behind the events that it comes of, as in ``events.EVENTS``.

        Their times never go back; ``file`` is the number of the file, where there are several.
        """
        self.seen = seen = Seen()
        for number, files in enumerate(self._files_of_days):
            date = self.format.day_of(files[0], self.given).date
            yield from self._day(files, f"@{date}" if number else "", seen)

    def _day(self, files: list[File], mark: str, seen: Seen) -> Iterator[tuple[pl.DataFrame, Part]]:
        new = {"mark": mark, "id_is_once": self.format.id_is_once, "readds": self.format.readds}
        books = [Orders(seen.ignored, seen.faults, **new) for _ in files]  # type: ignore[arg-type]
        for rows in self._held_back(self._merged(files)):
            yield rows, self._part(rows, books, seen)
        seen.open += sum(len(book.open) for book in books)

    def _part(self, rows: pl.DataFrame, books: list[Orders], seen: Seen) -> Part:
        others = rows.filter(pl.col("kind") == Kind.OTHER)
        seen.ignored.update(_counted(others))
        at = rows.select(
            event=pl.int_range(seen.events, seen.events + len(rows), dtype=pl.UInt32),
            ts=pl.col("ts").cast(pl.Datetime("ns", "UTC")),
        )
        seen.events += len(rows)
        requests, fills = list[Any](), list[Any]()
        numbered = rows.with_row_index("row").filter(pl.col("kind") != Kind.OTHER)
        for number, book in enumerate(books):
            own = numbered.filter(file=number) if len(books) > 1 else numbered
            book.take(zip(*(own[n].to_list() for n in _TAKEN), strict=True), requests, fills)
        made = orders.requests_of(requests, at, self._accounts, self.format.time_in_force)
        return Part(made, orders.fills_of(fills, at), seen.events)

    def _held_back(self, batches: Events) -> Events:
        """The same rows; where the next event says what one is, the last waits for it."""
        held = None
        for rows in batches:
            whole = rows if held is None else pl.concat([held, rows])
            held = whole[-1:] if self.format.readds else whole[:0]
            yield whole[: len(whole) - len(held)]
        if held is not None and len(held):
            yield held

    def _merged(self, files: list[File]) -> Events:
        """The events of files, by time; of equal time in the order of the files, then of lines."""
        if len(files) == 1:
            return self._checked(files[0])
        return _merge([self._checked(file) for file in files])

    def _checked(self, file: File) -> Events:
        """The events of a file, in times that never go back, without lines that are none."""
        last = stated = good = amiss = 0
        seen = self.seen
        for rows in self.format.read(file, self.given):
            checked = rows.with_columns(pl.coalesce("fault", self._does_not_fit()))
            bad = checked.filter(pl.col("fault").is_not_null())
            self._note_bad(file, bad, seen)
            seen.types.update(_counted(rows))
            good, amiss = good + len(rows) - len(bad), amiss + len(bad)
            events = (checked.filter(pl.col("fault").is_null()) if len(bad) else checked).drop(
                "fault"
            )
            # A line without a time is of the time of the one before, or else of the one after it.
            timed = events.with_columns(pl.col("ts").forward_fill().backward_fill().fill_null(last))
            before = pl.col("ts").shift(1, fill_value=stated)
            for line in timed.filter(pl.col("ts") < before)["line"]:
                seen.faults.note(BACK, line)
            if len(timed):
                stated = int(timed["ts"][-1])
                timed = timed.with_columns(pl.max_horizontal(pl.col("ts").cum_max(), last))
                last = int(timed["ts"][-1])
                yield timed
        if amiss > good:
            first = seen.bad_lines[0]
            what = f"more than half of its lines are no {self.format.title}"
            raise SchemaError(f"{file}: {what}: line {first.line:,}: {first.reason}")

    def _does_not_fit(self) -> pl.Expr:
        """What no order may be: more than records have room for."""
        qty, price = pl.col("qty"), pl.col("price")
        most = rules.ORDER_QTY.most * self.qty_scale
        scaled = cash_amount(qty, price, self.qty_scale)
        fits = (qty <= most) & (price <= rules.PRICE.most) & (qty <= (1 << 63) // price.clip(1))
        text = pl.format("qty={} at price={} is more than an order may come to", qty, price)
        is_add = pl.col("kind") == Kind.ADD
        return pl.when(is_add & ~(fits & (scaled <= rules.AMOUNT_MOST))).then(text)

    def _note_bad(self, file: File, bad: pl.DataFrame, seen: Seen) -> None:
        seen.bad += len(bad)
        for line, reason in bad.select("line", "fault").head(SHOWN).iter_rows():
            if not self._skips:
                field_name, _, text = reason.partition("=")
                value, _, expects = text.partition(": expected ")
                if expects:
                    raise InvalidValue(field_name, value, f"{expects} (line {line:,} of {file})")
                raise SchemaError(f"{file}, line {line:,}: {reason}")
            if len(seen.bad_lines) < SHOWN:
                seen.bad_lines.append(BadLine(str(file), line, reason))


_TAKEN = ("row", "line", "kind", "symbol", "order_id", "new_id", "side", "qty", "leaves", "price")


def _counted(rows: pl.DataFrame) -> dict[str, int]:
    """How many rows there are of each type that is known."""
    return dict(rows["type"].drop_nulls().value_counts().iter_rows())


def _merge(readers: list[Events]) -> Events:
    """Rows of several readers by ``ts``, with the number of each one's ``file``.

    What is later than the end of any reader's last batch waits: others may follow before it.
    """
    live, last = dict(enumerate(readers)), dict.fromkeys(range(len(readers)), -1)
    waiting: dict[int, pl.DataFrame] = {}
    while live:
        number = min(live, key=lambda n: (last[n], n))
        rows = next(live[number], None)
        if rows is None:
            del live[number]
        elif len(rows):
            last[number] = int(rows["ts"][-1])
            mine = rows.with_columns(file=pl.lit(number, pl.Int32))
            waiting[number] = pl.concat([waiting[number], mine]) if number in waiting else mine
        stop = min((last[n] for n in live), default=1 << 62)
        is_ready = pl.col("ts") < stop
        ready = [waiting[n].filter(is_ready) for n in sorted(waiting)]
        waiting = {n: rows.filter(~is_ready) for n, rows in waiting.items()}
        if any(map(len, ready)):
            yield pl.concat(ready).sort("ts", maintain_order=True)


def open_tape(
    source: Source,
    *,
    format: str | None = None,
    symbol: str | None = None,
    date: dt.date | str | None = None,
    columns: Mapping[str, str] | str | None = None,
    accounts: int = ACCOUNTS,
    bad_lines: str = "skip",
) -> TapeStream:
    """Open order flow: a file, an archive or a folder of files of one format, or several files.

    :param format: one of :data:`FORMATS`; by default what the content says.
    :param symbol: of files that do not say it; ``date`` likewise, a date or text like
        ``"2024-06-03"``. Without one it is 1970-01-01.
    :param columns: a mapping of a table's columns (:mod:`tradesys.venue.tapes.mapped`).
    :param accounts: how many accounts the orders are spread over.
    :param bad_lines: ``"skip"`` counts lines that are no events, ``"fail"`` refuses the first.
    :raises InvalidValue: an argument is wrong, or there is no file.
    :raises SchemaError: a file is damaged, or of no format that is known.
    """
    if isinstance(columns, str):
        columns = mapped.parse_map(columns)
    given = Given(symbol, None if date is None else to_date(date, "date"), columns or {})
    check.one_of("bad_lines", bad_lines, ("skip", "fail"))
    check.whole("accounts", accounts, 1, of="accounts")
    if format is not None:
        check.one_of("format", format, FORMATS)
    if format == mapped.FORMAT.name and not columns:
        raise InvalidValue("map", None, "a mapping of its columns: order_id=OrderRef,price=Px,…")
    files = _files(source)
    found = {file: mapped.FORMAT if columns else recognised(file) for file in files}
    if len(files) == 1 and format:
        (known,) = (f for f in (*KNOWN, mapped.FORMAT) if f.name == format)
        found = dict.fromkeys(files, known)
    of_flow = {f: k for f, k in found.items() if k and format in (None, k.name)}
    names = sorted({k.name for k in of_flow.values()})
    if len(names) > 1:
        raise InvalidValue("path", str(source), f"files of one format; it has {', '.join(names)}")
    if not of_flow:
        titles = ", ".join(known.title for known in KNOWN)
        text = (
            f"{files[0]}: expected {titles}; for a table of other columns, give a mapping (--map)"
        )
        raise SchemaError(text)
    (kind,) = {id(k): k for k in of_flow.values()}.values()
    return TapeStream([*of_flow], kind, given, accounts=accounts, bad_lines=bad_lines)


def _files(source: Source) -> list[File]:
    paths = [source] if isinstance(source, str | Path) else list(source)
    files = [file for path in paths for file in sources.files_of(Path(path))]
    if not files:
        raise InvalidValue("path", source and str(source), "at least one file of order flow")
    return files


def read(
    source: Source,
    *,
    format: str | None = None,
    symbol: str | None = None,
    date: dt.date | str | None = None,
    columns: Mapping[str, str] | str | None = None,
    accounts: int = ACCOUNTS,
    bad_lines: str = "skip",
) -> Tape:
    """All of a tape at once, in memory; the arguments and errors are those of :func:`open_tape`."""
    stream = open_tape(
        source,
        format=format,
        symbol=symbol,
        date=date,
        columns=columns,
        accounts=accounts,
        bad_lines=bad_lines,
    )
    parts = list(stream.parts())
    if not stream.seen.events:
        raise stream.nothing()
    requests = pl.concat([part.requests for part in parts])
    return Tape(
        requests=requests,
        fills=pl.concat([part.fills for part in parts]),
        events=stream.seen.events,
        ignored=stream.ignored,
        symbols=stream.named_symbols or tuple(requests["symbol"].unique(maintain_order=True)),
        qty_scale=stream.qty_scale,
        tick_size=stream.tick_size,
    )
