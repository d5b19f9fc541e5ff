"""A process that trades until it is killed, telling on stdout what was acknowledged.

Run as ``python -m tests.kill FOLDER SEED``; each line it prints is an order id and its quantity,
and is printed only after the order was acknowledged.
"""

import random
import sys
from typing import Any

import polars as pl

from tradesys import Network, OpeningBooks

BOOKS = OpeningBooks(accounts=("alice", "bob"), symbols=("ALFA", "DLTA"), cash=10**17, shares=10**9)


def main(folder: str, seed: int) -> None:
    """Trade for ever: single orders and tables of them, at systems drawn at random."""
    chance = random.Random(seed)
    desk = Network(customers=3, streets=2, data=folder, firm=BOOKS)
    sys.stdout.write("open\n")
    sys.stdout.flush()
    while True:
        system = desk[chance.choice(("c1", "c2", "c3"))]
        if chance.random() < 0.5:
            qty = chance.randrange(1, 500)
            order = system.submit(**terms(chance), order_qty=qty)
            acknowledged = [(order.order_id, qty)]
        else:
            rows = [
                terms(chance) | {"price": 500_000 + 100 * chance.randrange(-9, 9), "order_qty": n}
                for n in range(1, chance.choice((3, 40, 2000)))
            ]
            verdicts = system.submit_many(pl.DataFrame(rows))
            ids = verdicts["order_id"].to_list()
            acknowledged = [(i, int(str(r["order_qty"]))) for i, r in zip(ids, rows, strict=True)]
        sys.stdout.write("".join(f"{i} {qty}\n" for i, qty in acknowledged))
        sys.stdout.flush()
        if chance.random() < 0.7:
            desk.step()


def terms(chance: random.Random) -> dict[str, Any]:
    """An order without its quantity."""
    return {
        "account": chance.choice(BOOKS.accounts),
        "symbol": chance.choice(BOOKS.symbols),
        "side": chance.choice(("buy", "sell")),
        "price": 500_000 + 100 * chance.randrange(-9, 9),
    }


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
