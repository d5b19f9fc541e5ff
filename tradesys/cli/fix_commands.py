"""The command that writes what a system of a run knows as FIX."""

import sys
from typing import Annotated

import typer

from tradesys.cli.run_folder_commands import Run, opened
from tradesys.network.fix_export import messages
from tradesys.records import argument_checks as given
from tradesys.systems.system import System


def fix(
    data: Run,
    at: Annotated[str, typer.Option(help="Whose knowledge: a system, like c2.")] = "c1",
    as_of: Annotated[str | None, typer.Option(help="A time: what did it know then?")] = None,
    version: Annotated[str, typer.Option(help="Of FIX: 4.2, 4.4 or 5.0.")] = "4.4",
    separator: Annotated[str, typer.Option(help="What ends a field: soh, or | to read.")] = "soh",
    requests: Annotated[
        bool, typer.Option("--requests", help="The customers' requests as well.")
    ] = False,
) -> None:
    """Write what a system knows as FIX: an execution report for each event, a line each.

    What a report states of its order (status, CumQty, LeavesQty, AvgPx) follows from the records up
    to it. `tradesys replay` reads what this writes.

    Example: tradesys fix data/run1 --at c2 --separator "|"
    """
    with opened(data) as network:
        system: System = network[given.one_of("at", at, [each.name for each in network])]
        if as_of is not None:
            system = network.as_of(as_of)[at]
        for message in messages(system, version=version, separator=separator, requests=requests):
            sys.stdout.buffer.write(message + b"\n")
