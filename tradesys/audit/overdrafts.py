"""Which accounts are below zero, and by what: the orders of one system, or what nobody could know.

A system lets an account use what it has as far as the system knows. What is found is what one
system let it use beyond that: whatever else brought an account below zero is told, and not wrong. A
market may bust or correct a trade, and systems that cannot reach each other let an account use the
same twice.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from tradesys.audit.snapshot import Snapshot, listed
from tradesys.records.opening_books import Fees
from tradesys.records.schemas import CURRENCY, PRICE_SCALE, ExecType, origin, split_id
from tradesys.status import definition as status
from tradesys.status import positions
from tradesys.systems.system import System

_IS_AMENDMENT = pl.col("trade_id") != pl.col("exec_id")


class Debt(NamedTuple):
    """A balance below zero, in words; ``is_wrong`` if one system alone let that be used."""

    text: str
    is_wrong: bool


def debts(held: Snapshot) -> tuple[int, list[Debt]]:
    """How many balances there are, and those below zero, by all that anybody holds.

    Sums are of 128 bits: one that no record can hold is seen as what it is.
    """
    postings = held.anywhere("postings").with_columns(pl.col("amount").cast(pl.Int128))
    executions = held.anywhere("executions")
    executions = executions.with_columns(pl.col("last_qty", "last_px").cast(pl.Int128))
    instruments = held.frame(held.firm, "instruments")
    balances = positions.positions(postings, executions, held.fees, instruments)
    below = balances.filter(pl.col("amount") < 0)
    if below.is_empty():
        return len(balances), []
    events = _events(executions, held.fees, instruments)
    given = postings.filter(pl.col("exec_id").is_null())
    found = []
    for account, asset, amount in below["account", "asset", "amount"].iter_rows():
        is_cash = asset == CURRENCY
        moved = events.filter(pl.col("account") == account, is_cash or pl.col("symbol") == asset)
        moved = moved.with_columns(amount="cash" if is_cash else "shares")
        own = given.filter(account=account, asset=asset)["amount"].to_list()
        much = f"{-amount / PRICE_SCALE:,.2f}" if is_cash else f"{-amount:,}"
        why, is_wrong = _why(held, moved, own)
        found.append(Debt(f"{account} is {much} {asset} below zero: {why}", is_wrong))
    return len(balances), found


def _events(executions: pl.DataFrame, fees: Fees, instruments: pl.DataFrame) -> pl.DataFrame:
    """Each trade, and then each amendment, with what it moves where it is the one that stands.

    ``is_unsure``: no system may have known what the order would come to, since several street-side
    systems have reported of it, or what an amendment gave back to it has traded again.
    """
    events = status.each_once(executions)
    trades = events.filter(status.says(ExecType.TRADE)).with_columns(trade_id="exec_id")
    qty = pl.when(status.says(ExecType.TRADE_CANCEL)).then(0).otherwise("last_qty")
    amends = status.amendments(events).with_columns(last_qty=qty.cast(pl.Int128))
    streets = executions.group_by("order_id").agg((pl.col("record_id") // 2**48).n_unique())
    several = streets.filter(pl.col("record_id") > 1)["order_id"]
    unsure = pl.concat([several, amends["order_id"]]).unique().implode()
    told = pl.concat([trades, amends.select(trades.columns)])
    return positions.moved(told, fees, instruments).with_columns(
        is_unsure=pl.col("order_id").is_in(unsure)
    )


def _why(held: Snapshot, moved: pl.DataFrame, given: list[int]) -> tuple[str, bool]:
    """What brought a balance below zero, and whether that is wrong.

    :param moved: the events that move it, by an ``amount``.
    :param given: what was posted to it for no trade.
    """
    # Of each trade, what it moved when it moved the least: no system has to have known of more.
    trades = moved.group_by("trade_id", maintain_order=True).agg(
        pl.col("request_id", "is_unsure").first(), pl.col("amount").max()
    )
    spent = trades.filter(pl.col("amount") < 0)
    funds = sum(amount for amount in [*given, *trades["amount"]] if amount > 0)
    # Of an order that was handed over, a system may know the end and not what had traded before.
    sure = spent.filter(~pl.col("is_unsure")).group_by("request_id")
    used = dict(sure.agg(pl.col("amount").sum()).iter_rows())
    for name, known in _known(held, sorted(used)):
        if funds + sum(used[request] for request in known) < 0:
            return f"{name} took {listed(known)}", True
    amends = moved.filter(_IS_AMENDMENT)
    if len(amends) and moved.filter(~_IS_AMENDMENT)["amount"].sum() + sum(given) >= 0:
        return f"{listed(amends['record_id'])} amended its trades", False
    requests = spent["request_id"].unique().sort()
    systems = {origin(code).system for code in requests // 2**48}
    return f"{listed(requests)}; none of {', '.join(sorted(systems))} knew them all", False


def _known(held: Snapshot, requests: list[int]) -> Iterator[tuple[str, list[int]]]:
    """Each system that took some of these requests, and which it knew when it took the last."""
    for code in sorted({split_id(request)[0] for request in requests}):
        own = [request for request in requests if split_id(request)[0] == code]
        others = [request for request in requests if split_id(request)[0] != code]
        name = origin(code).system
        writers = [s for s in held.systems if s.name == name and s.origin.code == code]
        came = [request for s in writers for request in _came_before(s, others, own[-1])]
        yield name, sorted([*own, *came])


def _came_before(system: System, requests: list[int], own: int) -> list[int]:
    """Those of the requests that had come to a system when it decided one of its own."""
    table = system.tables["requests"]
    ids = np.array([*filter(table.has, requests), own], np.uint64)
    # It was decided at its time, and written a moment later.
    came, decided = table.column("received_at", ids[:-1]), table.column("ts", ids[-1:])
    before = came.dt.timestamp("ns") < decided.dt.timestamp("ns").item()
    return ids[:-1][before.to_numpy()].tolist()
