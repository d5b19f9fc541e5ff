"""How memory grows: named orders, on disk, through six systems and the market's order books.

``python -m tests.benchmarks.long_run``. Tables of 10,000 orders, half of them bought and half sold
at one price, enter at three customer-facing systems in turn; all trade and are cleared. Private
memory (RssAnon) is told after each tenth of them; files are mapped, and so are not in it.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.benchmarks.figures import FULL, OURS, Figures, private
from tests.benchmarks.test_log import ACCOUNTS, BOOKS, SYMBOLS
from tests.build import PRICE
from tradesys.network import Network

ORDERS, TABLE = 5_000_000 if FULL else 300_000, 10_000


def table(first: int) -> pa.Table:
    """The orders with numbers from ``first`` on."""
    number = np.arange(first, first + TABLE)

    def one_of(texts: list[str], index: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Array:
        return pa.array(texts).take(pa.array(index % len(texts)))

    columns = {
        "account": one_of(ACCOUNTS, number * 7919),
        "symbol": one_of(SYMBOLS, number // 2),
        "side": one_of(["buy", "sell"], number),
        "order_qty": pa.array(np.full(TABLE, 100)),
        "price": pa.array(np.full(TABLE, PRICE)),
        "cl_ord_id": pa.array(number).cast(pa.string()),
    }
    return pa.table(columns)


def main() -> None:
    """Measure and print."""
    figures = Figures("long_run")
    with (
        tempfile.TemporaryDirectory() as folder,
        Network(3, 2, firm=BOOKS, data=Path(folder) / "run") as desk,
    ):
        before, start, tenth = private(), time.perf_counter(), ORDERS // 10
        for first in range(0, ORDERS, TABLE):
            customer = desk.customers[first // TABLE % 3]
            assert customer.submit_many(table(first))["accepted"].all()
            desk.run()
            done = first + TABLE
            if done % tenth == 0:
                taken, held = time.perf_counter() - start, private()
                figures.add(f"RssAnon after {done:,} orders", OURS, "MB", [held / 1e6])
        statuses = desk.customers[2].statuses()["ord_status"]
        assert (len(statuses), statuses.unique().to_list()) == (ORDERS, ["filled"])
    figures.add(
        f"orders entered, traded and cleared, {ORDERS:,}", OURS, "orders/s", [ORDERS / taken]
    )
    figures.add(f"RssAnon an order, {ORDERS:,}", OURS, "bytes", [(held - before) / ORDERS])
    figures.tell()


if __name__ == "__main__":
    main()
