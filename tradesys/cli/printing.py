"""How results are told: in words and tables, or as one JSON object; bars and errors on stderr."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tradesys.audit.audit import Audit
from tradesys.records.errors import InvalidValue, TradesysError
from tradesys.records.formatting import readable, with_ids_written
from tradesys.replication.recovery import Recovered

out = Console()
if not out.is_terminal and "COLUMNS" not in os.environ:
    out.width = 160  # a file or another program needs no column cut to fit a screen
console = Console(stderr=True)

_EXACT_MAX = (1 << 53) - 1  # up to here a double holds every integer
_SHORT = 16  # letters of a cell that is not broken into lines


def _a_target(option: typer.CallbackParam, target: str | None) -> str | None:
    """Where a result can be written; told before anything is done, and not after it."""
    if target not in (None, "-"):
        path = Path(str(target))
        if not target or path.is_dir() or not path.parent.is_dir():
            name = option.opts[0].strip("-")
            raise InvalidValue(name, target, "a file in a folder that exists, or -")
    return target


JsonOut = Annotated[
    str | None,
    typer.Option(
        "--json", help="Write the result as one JSON object: a file, or -.", callback=_a_target
    ),
]
JsonRowsOut = Annotated[
    str | None,
    typer.Option(
        "--json", help="Write all rows as one JSON array: a file, or -.", callback=_a_target
    ),
]
CsvOut = Annotated[
    str | None,
    typer.Option("--csv", help="Write all rows as CSV: a file, or -.", callback=_a_target),
]
RowsShown = Annotated[int, typer.Option("--rows", min=0, help="How many rows to show here.")]


def tell_rows(
    frame: pl.DataFrame,
    title: str,
    rows: int,
    json_out: str | None,
    csv_out: str | None,
    *,
    left_out: Sequence[str] = (),
) -> None:
    """Write the rows of a frame as a JSON array and as CSV where that is asked for.

    Unless one of them goes to stdout, show the first so many rows, and say how many are not shown.
    Ids are text everywhere.

    :param left_out: columns that a terminal is too narrow for.
    :raises InvalidValue: both are to go to stdout.
    """
    if json_out == csv_out == "-":
        raise InvalidValue("csv", csv_out, "a file, where JSON goes to stdout")
    written = with_ids_written(frame)
    if csv_out:
        written.write_csv(sys.stdout if csv_out == "-" else Path(csv_out))

    def in_words() -> None:
        if csv_out != "-":
            print_frame(readable(frame.head(rows).drop(left_out)), title)
            if (more := len(frame) - rows) > 0:
                out.print(f"{more:,} more rows are not shown: --rows, --json or --csv gives them")

    tell(json_out, json.loads(written.write_json()) if json_out else None, in_words)


def tell(json_out: str | None, result: object, in_words: Callable[[], object]) -> None:
    """Write a result as JSON where that is asked for, and in words unless stdout has the JSON."""
    text = json.dumps(_interoperable(result), indent=2, allow_nan=False) + "\n"
    if json_out == "-":
        sys.stdout.write(text)
        return
    if json_out:
        Path(json_out).write_text(text, encoding="utf-8")
    in_words()


def _interoperable(value: object) -> object:
    """The same value, with integers that a double cannot hold exactly as text (RFC 7493, 2.2).

    JavaScript and spreadsheets read JSON numbers as doubles, and would round them without a word.
    """
    if isinstance(value, Mapping):
        return {key: _interoperable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_interoperable(each) for each in value]
    return str(value) if isinstance(value, int) and abs(value) > _EXACT_MAX else value


def tell_error(error: TradesysError | OSError) -> None:
    """Say in one line what is wrong, and what is known to have happened."""
    if isinstance(error, TradesysError):
        said = f"{escape(str(error))} [dim]({error.outcome})[/dim]"
    else:
        said = escape(f"{error.filename or 'output'}: {error.strerror or error}")
    console.print(f"[red]error:[/red] {said}", highlight=False, soft_wrap=True)


def tell_recovered(each: Recovered) -> None:
    """Say on stderr what opening a system's files had to mend."""
    said = []
    if each.incarnation and not each.damage:
        said.append("files of its own are gone: a lost disk")
    for damage in each.damage:
        kind = "an unfinished write" if damage.torn else "damage"
        said.append(f"{kind} in {damage.path} at byte {damage.offset:,}, kept in {damage.aside}")
    said.append(f"{each.restored:,} records given back by peers")
    if each.gave_up:
        said.append(f"[red]it stays down:[/red] {each.gave_up}")
    if each.incarnation:
        said.append(f"goes on as {each.incarnation}")
    for text in said:
        console.print(f"[yellow]{each.system}:[/yellow] {text}")


@contextmanager
def progress(text: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A bar on stderr, shown to a person only, while it lasts; without a total it says: working."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(escape(text), total=total)
        yield lambda done, total=None: bar.update(task, completed=done, total=total)


# ---- tables


def print_table(
    columns: Mapping[str, bool], rows: Iterable[Sequence[str]], title: str | None = None
) -> None:
    """A table. ``columns`` says of each whether it holds numbers; what is short is not broken."""
    rows = list(rows)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for number, (name, is_number) in enumerate(columns.items()):
        is_short = all(len(row[number]) <= _SHORT for row in rows)
        table.add_column(
            name,
            justify="right" if is_number else "left",
            overflow="ellipsis" if is_short else "fold",
            no_wrap=is_short,
        )
    for row in rows:
        table.add_row(*row)
    out.print(table)


def print_frame(frame: pl.DataFrame, title: str) -> None:
    """A readable frame as a table; a column without a value is left out."""
    frame = frame.select(name for name in frame.columns if frame[name].count() or not len(frame))
    columns = {name: kind.is_numeric() for name, kind in frame.schema.items()}
    told = [_plain(frame[name], mixed="asset" in columns) for name in columns]
    print_table(columns, list(zip(*told, strict=True)), title)


def _plain(column: pl.Series, *, mixed: bool) -> list[str]:
    """The values of a column for a reader: with cents if one has them; ``mixed``, each alone."""
    if not column.dtype.is_float():
        return ["" if v is None else f"{v:,}" if type(v) is int else escape(str(v)) for v in column]
    exact = ["" if v is None else f"{v:,.4f}" for v in column]
    whole = [text.removesuffix(".0000") for text in exact]
    if not mixed and any("." in text for text in whole):
        whole = exact
    return [text[:-2] + text[-2:].rstrip("0") if "." in text else text for text in whole]


def print_audit(result: Audit) -> None:
    """What was checked, each with the fewest records that show what is false, or worth knowing."""
    words = {True: "[green]true[/]", False: "[red]false[/]", None: "[yellow]unknown[/]"}
    rows = []
    for check in result.checks:
        rows.append((check.name, f"{check.evaluated:,}", words[check.verdict]))
        colour = "yellow" if check.verdict else "red"
        rows += ((f"  [{colour}]{escape(text)}[/]", "", "") for text in check.found[:3])
    rows += [("", "", ""), ("[bold]the audit[/bold]", "", words[result.verdict])]
    print_table({"check": False, "evaluated": True, "verdict": False}, rows, "audit")
