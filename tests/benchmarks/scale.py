"""How cost grows with records, accounts, symbols and systems: ``python -m tests.benchmarks.scale``.

A generated day is replayed on disk by the embedded job, 2,000 events at a time, in a process that
has replayed a small day before; processor time from the first event until all is quiet. One
quantity is varied; an exponent is fitted to what it costs (1 is in proportion, 0 is no growth).
Then a wide book is opened, in memory, until one order in it is visible at three customer-facing
systems, beside polars, which makes as many postings and groups them once.
"""

import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import polars as pl

from tests.benchmarks.figures import FULL, OURS, Figures, exponent, fresh, private
from tests.benchmarks.peers.job import first_ts
from tests.benchmarks.peers.visible import one_order
from tradesys.network import Network
from tradesys.network.tape_replay import PLENTY_CASH, PLENTY_SHARES, replay
from tradesys.records.clock import ManualClock
from tradesys.records.opening_books import OpeningBooks
from tradesys.venue import TapeVenue, tapes
from tradesys.venue.tapes import Tape, sample_tape

RECORDS = (10_000, 100_000, 1_000_000, 10_000_000) if FULL else (10_000, 40_000, 160_000)
ACCOUNTS = (100, 1_000, 10_000, 100_000) if FULL else (100, 3_000, 100_000)
SYMBOLS = (1, 10, 100, 1_000) if FULL else (1, 30, 1_000)
CUSTOMERS = (1, 2, 4, 8, 16)
EVENTS = 200_000 if FULL else 20_000
"""So many events has a day of which something else is varied."""

WARM_UP = {"events": 2_000}
MOST_CASH = 10**18
"""So much all accounts can have together."""

ROUNDS = 3
OWNERS, ASSETS = 100_000, 20
"""Accounts of the wide book, and its symbols; each account also has cash."""


class Cost(NamedTuple):
    """What a day came to: CPU seconds, records at all systems, bytes of memory and of disk."""

    cpu: float
    held: int
    orders: int
    memory: int
    disk: int


def day(folder: Path, events: int, accounts: int, symbols: int) -> Tape:
    """A generated day."""
    names = [f"S{number}" for number in range(symbols)]
    sample_tape.generate(folder, events=events, symbols=names)
    return tapes.read(folder, accounts=accounts)


def opened_for(tape: Tape, accounts: int, customers: int, folder: Path) -> Network:
    """A network for a day; each of many accounts has less cash than :mod:`tape_replay` gives."""
    owners = tape.requests["account"].unique().sort().to_list()
    cash = min(PLENTY_CASH, MOST_CASH // accounts)
    return Network(
        customers,
        2,
        firm=OpeningBooks(owners, tape.symbols, cash=cash, shares=PLENTY_SHARES),
        data=folder,
        venue=TapeVenue,
        clock=ManualClock(first_ts(tape)),
    )


def costs(cases: list[dict[str, int]]) -> list[Cost]:
    """Replay a day for each case, one after another in this process, after a small one."""
    with tempfile.TemporaryDirectory() as name:
        found = [cost(Path(name) / str(n), **case) for n, case in enumerate([WARM_UP, *cases])]
    return found[1:]


def cost(
    folder: Path, events: int = EVENTS, accounts: int = 100, symbols: int = 4, customers: int = 3
) -> Cost:
    """Replay a day."""
    tape = day(folder / "day", events, accounts, symbols)
    with opened_for(tape, accounts, customers, folder / "run") as desk:
        spent: list[float] = []
        memory, start = private(), time.process_time()

        def done(_: int) -> None:
            spent[:] = [time.process_time() - start, private() - memory]

        replay(tape, desk, progress=done)
        held = sum(sum(tables.values()) for tables in desk.summary().values())
    disk = sum(path.stat().st_size for path in (folder / "run").rglob("*.arrows"))
    orders = int((tape.requests["request_type"] == "new").sum())
    return Cost(spent[0], held, orders, int(spent[1]), disk)


def grown(figures: Figures, what: str, sizes: tuple[int, ...], each: list[Cost]) -> None:
    """What each size costs, and how that grows."""
    for size, found in zip(sizes, each, strict=True):
        figures.add(f"CPU of the job, {what}: {size:,}", OURS, "s", [found.cpu])
    power = exponent(sizes, [found.cpu for found in each])
    figures.add(f"CPU over {what}, {sizes[0]:,} to {sizes[-1]:,}", OURS, "exponent", [power])


def opened() -> tuple[float, int]:
    """Seconds until one order is visible in a wide book, and the most memory that this took."""
    with Network(3, 2) as small:
        small.customers[0].submit(
            account="alice", symbol="ALFA", side="buy", order_qty=100, price=50_0000
        )
        small.run()
    symbols = ("ALFA", *(f"S{number}" for number in range(1, ASSETS)))
    accounts = ("alice", *(f"A{number}" for number in range(1, OWNERS)))
    start = time.perf_counter()
    with Network(3, 2, firm=OpeningBooks(accounts, symbols)) as desk:
        one_order(desk)
        taken = time.perf_counter() - start
    return taken, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def grouped() -> tuple[float, int]:
    """Seconds until polars has made and grouped as many postings, and the most memory."""
    pl.DataFrame({"account": ["a"], "amount": [1]}).group_by("account").sum()
    start = time.perf_counter()
    accounts = pl.DataFrame({"account": [f"A{number}" for number in range(OWNERS)]})
    assets = pl.DataFrame({"asset": [f"S{number}" for number in range(ASSETS + 1)]})
    postings = accounts.join(assets, how="cross").with_columns(amount=pl.lit(10_000))
    assert postings.group_by("account", "asset").sum().height == OWNERS * (ASSETS + 1)
    taken = time.perf_counter() - start
    return taken, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure and print."""
    figures = Figures("scale")
    each = [fresh(costs, [{"events": size}])[0] for size in RECORDS]
    grown(figures, "events", RECORDS, each)
    for size, found in zip(RECORDS, each, strict=True):
        for name, amount in (("memory (RssAnon)", found.memory), ("disk, six systems", found.disk)):
            per_order = [amount / found.orders]
            figures.add(f"{name}, an order of {size:,} events", OURS, "bytes", per_order)
    for what, sizes in (("accounts", ACCOUNTS), ("symbols", SYMBOLS), ("customers", CUSTOMERS)):
        each = fresh(costs, [{what: size} for size in sizes])
        told = "customer-facing systems" if what == "customers" else what
        grown(figures, told, sizes, each)
    power = exponent([found.held for found in each], [found.cpu for found in each])
    figures.add("CPU over records held by 1 to 16 systems", OURS, "exponent", [power])
    what = f"{OWNERS * (ASSETS + 1):,} postings"
    for turn in range(ROUNDS):
        for who, act in [(OURS, opened), ("polars", grouped)][:: -1 if turn % 2 else 1]:
            taken, memory = fresh(act)
            figures.add(f"a book of {what} opened, an order visible", who, "s", [taken])
            figures.add(f"a book of {what}, peak memory", who, "MB", [memory / 1e6])
    figures.tell()


if __name__ == "__main__":
    main()
