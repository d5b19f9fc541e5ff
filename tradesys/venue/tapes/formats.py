"""Which format a file of order flow is in: its content says so, whatever the file is called."""

from pathlib import Path

from tradesys.records import argument_checks as check
from tradesys.records.errors import InvalidValue, SchemaError
from tradesys.venue.tapes import (
    bitstamp,
    dbn,
    independent_reserve,
    itch,
    lobster,
    mapped,
    pitch,
    sources,
)
from tradesys.venue.tapes.events import Format
from tradesys.venue.tapes.sources import File
from tradesys.venue.tapes.tape import Source

KNOWN = (
    *(lobster.FORMAT, pitch.FORMAT, itch.FORMAT, dbn.FORMAT),
    *(bitstamp.FORMAT, independent_reserve.FORMAT, *mapped.TABLES),
)
"""The formats that are recognised."""

FORMATS = (*(known.name for known in KNOWN), mapped.FORMAT.name)

_LINES = 50
"""So many lines of a text say what it is: the format that half of them are of."""


def of_flow(source: Source, format: str | None, *, is_mapped: bool) -> tuple[list[File], Format]:
    """The files of a source that are order flow, and their one format.

    :param format: one of :data:`FORMATS`, where the content does not say it.
    :param is_mapped: the columns of a table are given.
    :raises InvalidValue: it is none of these, there is no file, or there are several formats.
    :raises SchemaError: a file is damaged, or of no format that is known.
    """
    if format is not None:
        check.one_of("format", format, FORMATS)
    if format == mapped.FORMAT.name and not is_mapped:
        raise InvalidValue("map", None, "a mapping of its columns: order_id=OrderRef,price=Px,…")
    files = _files(source)
    found = {file: mapped.FORMAT if is_mapped else recognised(file) for file in files}
    if len(files) == 1 and format:
        (known,) = (f for f in (*KNOWN, mapped.FORMAT) if f.name == format)
        found = dict.fromkeys(files, known)
    flow = {f: k for f, k in found.items() if k and format in (None, k.name)}
    names = sorted({k.name for k in flow.values()})
    if len(names) > 1:
        raise InvalidValue("path", str(source), f"files of one format; it has {', '.join(names)}")
    if not flow:
        titles = ", ".join([*(known.title for known in KNOWN), "a log of FIX messages"])
        text = (
            f"{files[0]}: expected {titles}; for a table of other columns, give a mapping (--map)"
        )
        raise SchemaError(text)
    (kind,) = {id(k): k for k in flow.values()}.values()
    return [*flow], kind


def _files(source: Source) -> list[File]:
    paths = [source] if isinstance(source, str | Path) else list(source)
    files = [file for path in paths for file in sources.files_of(Path(path))]
    if not files:
        raise InvalidValue("path", source and str(source), "at least one file of order flow")
    return files


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
