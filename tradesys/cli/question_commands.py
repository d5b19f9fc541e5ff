"""Commands that ask one system of a run: its orders, fills, positions and book, or SQL over all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from tradesys.cli.printing import CsvOut, JsonRowsOut, RowsShown, progress, tell_rows
from tradesys.cli.run_folder_commands import Run, opened
from tradesys.inquiry.inquiries import Inquiries
from tradesys.records import argument_checks as given
from tradesys.systems.system import System

At = Annotated[
    str | None, typer.Option(help="The system to ask; the first customer-facing one without.")
]
AsOf = Annotated[
    str | None,
    typer.Option(
        help="A time: what could it answer then? A replay receives a batch of events at once."
    ),
]
Account = Annotated[str | None, typer.Option(help="Of this account only.")]
Symbol = Annotated[str | None, typer.Option(help="In this symbol only.")]
Open = Annotated[bool, typer.Option("--open", help="Only orders that can still trade.")]

_OPEN_BY = ("symbol", "side", "price")


def orders(
    data: Run,
    at: At = None,
    account: Account = None,
    symbol: Symbol = None,
    open_only: Open = False,
    as_of: AsOf = None,
    rows: RowsShown = 40,
    json_out: JsonRowsOut = None,
    csv_out: CsvOut = None,
) -> None:
    """Orders and their status, aggregated from the records of the system that is asked.

    In JSON and CSV `price` is in 1/10,000 of the currency, `avg_px` in the currency.

    Example: tradesys orders data/run1 --at c2 --account A007 --open --json -
    """
    with _asked(data, at, as_of) as system:
        frame = system.orders(account, symbol=symbol, open_only=open_only)
    title, unseen = f"orders, asked at {system.name}", ("cl_ord_id", "ord_type")
    tell_rows(frame, title, rows, json_out, csv_out, left_out=unseen)


def fills(
    data: Run,
    at: At = None,
    account: Account = None,
    symbol: Symbol = None,
    as_of: AsOf = None,
    rows: RowsShown = 40,
    json_out: JsonRowsOut = None,
    csv_out: CsvOut = None,
) -> None:
    """The fills that stand, each once; `posted` says whether the firm has cleared it.

    In JSON and CSV `last_px` is in 1/10,000 of the currency.

    Example: tradesys fills data/run1 --symbol ALFA --csv fills.csv
    """
    with _asked(data, at, as_of) as system:
        frame = system.fills(account, symbol=symbol)
    tell_rows(frame, f"fills, asked at {system.name}", rows, json_out, csv_out)


def positions(
    data: Run,
    at: At = None,
    account: Account = None,
    symbol: Symbol = None,
    as_of: AsOf = None,
    rows: RowsShown = 40,
    json_out: JsonRowsOut = None,
    csv_out: CsvOut = None,
) -> None:
    """What accounts hold: shares and cash, posted or not, and what open orders may still use.

    In JSON and CSV amounts of cash are in 1/10,000 of the currency.

    Example: tradesys positions data/run1 --account A007
    """
    with _asked(data, at, as_of) as system:
        frame = system.positions(account, symbol=symbol)
    tell_rows(frame, f"positions, asked at {system.name}", rows, json_out, csv_out)


def book(
    data: Run,
    at: At = None,
    account: Account = None,
    symbol: Symbol = None,
    as_of: AsOf = None,
    rows: RowsShown = 40,
    json_out: JsonRowsOut = None,
    csv_out: CsvOut = None,
) -> None:
    """The open quantity at each price on each side, by the records of the system that is asked.

    The highest price comes first, sells above buys. In JSON and CSV `price` is in 1/10,000 of the
    currency.

    Example: tradesys book data/run1 --symbol ALFA --as-of 2024-06-03T14:00:00Z
    """
    with _asked(data, at, as_of) as system:
        levels = system.book(_OPEN_BY, account=account, symbol=symbol, open_only=True)
    frame = levels.select(*_OPEN_BY, "orders", "leaves_qty").sort(
        _OPEN_BY, descending=[False, True, True], nulls_last=True
    )
    tell_rows(frame, f"open orders by price, asked at {system.name}", rows, json_out, csv_out)


def sql(
    data: Run,
    query: Annotated[str, typer.Argument(help="A query in the SQL of polars.")],
    at: At = None,
    rows: RowsShown = 40,
    json_out: JsonRowsOut = None,
    csv_out: CsvOut = None,
) -> None:
    """The result of an SQL query over the records that a system holds, and over its answers.

    Tables are requests, executions, accounts, instruments and postings, and, but at a street-side
    system, orders, fills and positions. Prices are in 1/10,000 of the currency.

    Example: tradesys sql data/run1 "select symbol, sum(last_qty) from fills group by symbol" --at
    c2
    """
    with opened(data) as network, progress("asking"):
        system: System = network.customers[0] if at is None else network[at]
        frame = system.sql(query)
    tell_rows(frame, f"asked at {system.name}", rows, json_out, csv_out)


@contextmanager
def _asked(data: Run, at: str | None, as_of: str | None) -> Iterator[Inquiries]:
    """A system of a run that answers inquiries, now or as it was at a time."""
    with opened(data) as network, progress("asking"):
        answering = {s.name: s for s in network if isinstance(s, Inquiries)}
        name = given.one_of("at", at or next(iter(answering)), answering)
        yield answering[name] if as_of is None else network.as_of(as_of)[name]
