"""Goal: the book that our records make is LOBSTER's own, wherever the file can know it.

Method: a real day is replayed; the records of a customer-facing system are put back at the events
they come of, and the levels they make are held against the order book file, row by row. A level
counts where it was seen empty and in view, and came into being by orders of the file since then
without leaving the view: all orders that rest there were entered inside the file.
"""

from collections import Counter, defaultdict
from pathlib import Path

import polars as pl
import pytest

from tradesys.network import Network
from tradesys.network.tape_replay import open_network, replay
from tradesys.venue.tapes import Tape, read

Move = tuple[int, int, int]
"""Side (1 buys, -1 sells), price, and by how much the open quantity there changes."""

EMPTY = 9_999_999_999


def moves_of(tape: Tape, network: Network) -> dict[int, list[Move]]:
    """What each event changed of the book, by the records that c1 holds."""
    c1 = network["c1"]
    requests = c1.tables["requests"].frame.select("cl_ord_id", "request_type", "order_qty", "price")
    entered = tape.requests.select("event", "cl_ord_id", "orig_cl_ord_id", "side")
    requests = entered.join(requests, on="cl_ord_id", maintain_order="left")
    assert len(requests) == len(tape.requests)
    trades = c1.tables["executions"].frame.filter(exec_type="trade").sort("exec_id")
    nth = pl.int_range(pl.len()).over("cl_ord_id").alias("nth")
    named = trades.with_columns(cl_ord_id=pl.col("cl_ord_id").str.extract(r"^([^.]*)"))
    fills = tape.fills.with_columns(nth).select("event", "cl_ord_id", "nth")
    traded = fills.join(named.with_columns(nth), on=["cl_ord_id", "nth"], maintain_order="left")
    assert len(traded) == len(tape.fills)

    steps = [
        *requests.select("event", "request_type", "cl_ord_id", "side", "order_qty", "price").rows(),
        *traded.select("event", "exec_type", "cl_ord_id", "side", "last_qty", "price").rows(),
    ]
    left: dict[str, list[int]] = {}  # of an order: side, price, quantity, what is open
    moves: dict[int, list[Move]] = defaultdict(list)
    for event, kind, name, side, qty, price in sorted(steps):
        order = name.partition(".")[0]
        sign = 1 if side == "buy" else -1
        if kind == "new":
            left[order] = [sign, price, qty, qty]
            moves[event].append((sign, price, qty))
            continue
        known = left[order]
        change = {"trade": -qty, "cancel": -known[3], "replace": qty - known[2]}[kind]
        known[2] = qty if kind == "replace" else known[2]
        known[3] += change
        moves[event].append((sign, known[1], change))
    return moves


class Side:
    """One side of the book file, and the levels of it that are known to be the file's own."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.own: Counter[int] = Counter()
        self.known: set[int] = set()
        self.seen: dict[int, int] = {}
        self.worst: int | None = None  # the end of the view; None where all is in view

    def in_view(self, price: int) -> bool:
        return self.worst is None or self.sign * price >= self.sign * self.worst

    def apply(self, price: int, change: int, *, is_first: bool) -> None:
        was_empty = not is_first and self.in_view(price) and price not in self.seen
        if change > 0 and was_empty and not self.own[price]:
            self.known.add(price)
        self.own[price] += change

    def look(self, levels: dict[int, int], depth: int) -> tuple[int, list[str]]:
        """How many levels are known, and those that differ."""
        self.seen = levels
        self.worst = (min if self.sign > 0 else max)(levels) if len(levels) == depth else None
        self.known = {price for price in self.known if self.in_view(price) and self.own[price]}
        shown = self.known & levels.keys()
        wrong = [f"{p}: {levels[p]}, not {self.own[p]}" for p in shown if levels[p] != self.own[p]]
        wrong += [f"{price} is not there" for price in self.known - levels.keys()]
        return len(shown), wrong


@pytest.mark.parametrize(
    ("name", "depth", "share"), [("GOOG", 10, 0.9), ("AMZN", 5, 0.9)], ids=["GOOG", "AMZN"]
)
def test_the_book_of_our_records_is_the_order_book_file_wherever_the_file_can_know_it(
    real_data: Path, name: str, depth: int, share: float
) -> None:
    folder = real_data / "lobster"
    tape = read(folder / f"{name}_message_{depth}.parquet")
    with open_network(tape, customers=2, streets=1) as network:
        assert replay(tape, network).verdict is True
        moves = moves_of(tape, network)
    book = pl.read_parquet(folder / f"{name}_orderbook_{depth}.parquet")
    columns = {
        sign: [
            (book[f"{side}_price_{n}"].to_list(), book[f"{side}_size_{n}"].to_list())
            for n in range(1, depth + 1)
        ]
        for sign, side in ((1, "bid"), (-1, "ask"))
    }
    sides, shown, checked = {1: Side(1), -1: Side(-1)}, 0, 0
    for row in range(len(book)):
        for sign, price, change in moves.get(row, ()):
            sides[sign].apply(price, change, is_first=row == 0)
        for sign, side in sides.items():
            pairs = ((prices[row], sizes[row]) for prices, sizes in columns[sign])
            levels = {price: size for price, size in pairs if abs(price) != EMPTY}
            count, wrong = side.look(levels, depth)
            assert not wrong, f"row {row}: {wrong}"
            shown, checked = shown + len(levels), checked + count
    assert checked > share * shown, f"{checked:,} of {shown:,} levels"
    print(f"{name}: {len(book):,} rows, {checked:,} of {shown:,} levels")  # noqa: T201
