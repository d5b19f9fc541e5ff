"""How the command line is told what a file of order flow does not say itself."""

from pathlib import Path
from typing import Annotated

import typer

from tradesys.records.errors import InvalidValue
from tradesys.venue.tapes.mapped import parse_map, save_map

TapePath = Annotated[
    Path, typer.Argument(help="Order flow: a file, a zip archive, or a folder of files.")
]
FormatName = Annotated[
    str | None, typer.Option(help="What the file is, where its content does not say it.")
]
Symbol = Annotated[str | None, typer.Option(help="The symbol, where the file does not say it.")]
Date = Annotated[str | None, typer.Option(help="The day, where the file does not say it.")]
ColumnMap = Annotated[
    str | None,
    typer.Option(
        "--map",
        help="The columns of a table: ts=Time,order_id=OrderRef,side=Side,side.B=buy,qty=Qty,"
        "price=Px; or a TOML file of them.",
    ),
]
SaveMap = Annotated[
    Path | None, typer.Option("--save-map", help="Write the mapping as a TOML file.")
]


def mapping(columns: str | None, save: Path | None) -> dict[str, str] | None:
    """The mapping that was given, which is saved where that is asked for."""
    found = parse_map(columns) if columns is not None else None
    if save:
        if found is None:
            raise InvalidValue("save_map", str(save), "a mapping to save, by --map")
        save_map(found, save)
    return found
