"""Commands about the market: how its customers trade, fitted from a recorded day."""

from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from tradesys.analytics import market
from tradesys.analytics.flow_fitting import fit as fit_flow
from tradesys.cli.printing import out, print_table, progress
from tradesys.network import fitted_flow
from tradesys.records.schemas import PRICE_SCALE
from tradesys.venue import tapes


def fit(
    tape: Annotated[Path, typer.Argument(help="A file of order events, or a folder of them.")],
    flow: Annotated[Path, typer.Option("--out", help="The JSON file to write.")],
    format: Annotated[str, typer.Option(help="How the tape is written.")] = "lobster",
    date: Annotated[
        str | None, typer.Option(help="The day of the tape, where its name does not say.")
    ] = None,
    levels: Annotated[
        int | None,
        typer.Option(help="How many price levels the tape shows; all without.", min=1),
    ] = None,
) -> None:
    """Fit how the customers of a recorded day trade, so that a flow of orders can be drawn from it.

    The file has, of each symbol, orders a second, sizes, distances from the best price of the
    other side, the part that is canceled, and lifetimes: what `FittedFlow` in Python draws from.

    Example: tradesys fit data/sample --out flow.json
    """
    with progress(f"fitting {tape}"):
        day = tapes.read(tape, format=format, date=date)
        habits = fit_flow(market.reports_of_tape(day, levels=levels))
        fitted_flow.write(habits, flow)
    rows = [
        (
            symbol,
            f"{each.per_second:.3f}",
            f"{each.taking:.1%}",
            f"{each.canceled:.1%}",
            f"{median(each.order_qty):,.0f}",
            f"{median(each.away) / PRICE_SCALE:.4f}",
            f"{median(each.lifetime_s):,.1f}",
        )
        for symbol, each in habits.items()
    ]
    columns = ("orders a second", "taking", "canceled", "shares", "away", "seconds to cancel")
    print_table({"symbol": False} | dict.fromkeys(columns, True), rows, "medians")
    out.print(f"written to {flow}", soft_wrap=True)
