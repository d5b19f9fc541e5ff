"""The command that says what is in a file of order flow."""

from tradesys.cli.printing import JsonOut, out, progress, tell
from tradesys.cli.tape_options import (
    ColumnMap,
    Date,
    FormatName,
    SaveMap,
    Symbol,
    TapePath,
    mapping,
)
from tradesys.venue import tapes


def inspect(
    tape: TapePath,
    format: FormatName = None,
    symbol: Symbol = None,
    date: Date = None,
    columns: ColumnMap = None,
    save: SaveMap = None,
    json_out: JsonOut = None,
) -> None:
    """Say what a file of order flow is, how many of what is in it, and what is wrong with it.

    Example: tradesys inspect data/sample
    """
    given = mapping(columns, save)
    with progress(f"reading {tape}"):
        found = tapes.inspect(tape, format=format, symbol=symbol, date=date, columns=given)
    text = str(found)
    tell(json_out, found.as_dict(), lambda: out.print(text, markup=False, highlight=False))
