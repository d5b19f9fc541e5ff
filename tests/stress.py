"""Eight threads work on one network as they please, while a ninth beats a desk and is interrupted.

The market is a user's own, which is out of order now and then.

Run as a program, so that the Ctrl-Cs are its own: ``python -m tests.stress --seconds 5 [--data
DIR]``. It prints what it did and what was amiss, as one JSON object. ``--leave-out`` leaves out
what keeps it right, to see that this is found.
"""

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tradesys.audit.audit import Audit
from tradesys.inquiry.answers import Order
from tradesys.network import Network
from tradesys.records.errors import InvalidValue, NotYetReplicated, StorageError, SystemDown
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import PRICE_SCALE
from tradesys.systems.customer import CustomerSystem
from tradesys.systems.street import StreetSystem
from tradesys.venue import BookVenue
from tradesys.widgets import Desk

THREADS = 8
BOOKS = OpeningBooks(cash=10_000_000 * PRICE_SCALE, shares=1_000_000)


class MarketDown(Exception):
    """The market is out of order for a moment."""


class MoodyVenue(BookVenue):
    """A market of a user's own: it takes nothing now and then, and says so."""

    moods: random.Random | None = None

    def send(self, requests: pa.RecordBatch) -> None:
        """Take the requests, or not."""
        if self.moods and self.moods.random() < 0.1:
            raise MarketDown
        super().send(requests)


EXPECTED = (InvalidValue, NotYetReplicated, SystemDown, StorageError, MarketDown)
"""What the documentation names for what these hands do, and the market's own."""


def leave_out_queue() -> None:
    """A street-side system empties its queue before the market has taken what was in it."""
    real = StreetSystem._ready

    def ready(self: StreetSystem, requests: pa.RecordBatch) -> NDArray[np.bool_]:
        self._inbox = []
        return real(self, requests)

    StreetSystem._ready = ready  # type: ignore[method-assign]


def leave_out_lock() -> None:
    """Whoever moves records does so at once, whoever else does."""
    Network.turn = property(lambda _: nullcontext(), lambda *_: None)  # type: ignore[assignment]


LEAVE_OUT = {"queue": leave_out_queue, "lock": leave_out_lock}


class Stress:
    """The network, and what its customers were told."""

    def __init__(self, data: Path | None, seed: int, *, faults: bool = True) -> None:
        self.data, self.seed, self.faults = data, seed, faults
        self.network = Network(3, 2, firm=BOOKS, data=data, venue=MoodyVenue)
        self.desk = Desk(self.network)
        self.acknowledged: dict[str, set[int]] = {}
        self.did: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.amiss: list[str] = []
        self.done = threading.Event()
        assert isinstance(self.network.venue, MoodyVenue)
        self.network.venue.moods = random.Random(seed)
        # Without files a crash takes what the system held, so there no customer-facing one crashes.
        every = list(self.network.systems)
        self.may_crash = [n for n in every if data or not n.startswith("c")]

    # ---- what a thread does

    def work(self, number: int) -> None:
        rng = random.Random(self.seed * 100 + number)
        weights: dict[Callable[[random.Random, str], None], int] = {
            self.enter: 8,
            self.change: 3,
            self.ask: 4,
            self.step: 3,
            self.table: 2,
            self.cut: int(self.faults),
            self.crash: int(self.faults),
            self.audit: 1,
            self.amend: 1,
        }
        acts = list(weights)
        count = 0
        while not self.done.is_set():
            count += 1
            (act,) = rng.choices(acts, list(weights.values()))
            try:
                act(rng, f"t{number}-{count}")
                self.did[act.__name__] += 1
            except EXPECTED as error:
                self.refused[f"{act.__name__}: {type(error).__name__}"] += 1
            except BaseException:  # noqa: BLE001 - whatever else it is, is amiss
                self.amiss.append(traceback.format_exc(limit=-6))
                self.done.set()

    def system(self, rng: random.Random) -> CustomerSystem:
        return rng.choice(self.network.customers)

    def enter(self, rng: random.Random, name: str) -> None:
        terms: dict[str, Any] = {
            "account": rng.choice(BOOKS.accounts),
            "symbol": rng.choice(BOOKS.symbols),
            "side": rng.choice(("buy", "sell")),
            "order_qty": rng.randint(1, 9) * 100,
            "price": 500_000 + rng.randint(-5, 5) * 100,
            "cl_ord_id": name,
        }
        self.tell(name, self.system(rng).submit(**terms))

    def tell(self, name: str, order: Order) -> None:
        if order.reject_reason is None:
            self.acknowledged.setdefault(name, set()).add(order.order_id)

    def table(self, rng: random.Random, name: str) -> None:
        names = [f"{name}.{i}" for i in range(20)]
        rows = pl.DataFrame(
            {
                "account": rng.choices(BOOKS.accounts, k=20),
                "symbol": rng.choices(BOOKS.symbols, k=20),
                "side": rng.choices(("buy", "sell"), k=20),
                "order_qty": 100,
                "price": 500_000,
                "cl_ord_id": names,
            }
        )
        told = self.system(rng).submit_many(rows)
        columns = (told["accepted"], told["order_id"])
        for each, accepted, order_id in zip(names, *columns, strict=True):
            if accepted:
                self.acknowledged.setdefault(each, set()).add(order_id)

    def change(self, rng: random.Random, name: str) -> None:
        names = list(self.acknowledged)
        if names:
            order_id = min(self.acknowledged[rng.choice(names[-200:])])
            if rng.random() < 0.5:
                self.system(rng).cancel(order_id, cl_ord_id=name)
            else:
                qty = rng.randint(1, 9) * 100
                self.system(rng).replace(order_id, order_qty=qty, cl_ord_id=name)

    def ask(self, rng: random.Random, _: str) -> None:
        system, names = self.system(rng), list(self.acknowledged)
        if names and rng.random() < 0.7:
            order_id = min(self.acknowledged[rng.choice(names[-200:])])
            answer = system.status(order_id)
            assert answer.cum_qty + answer.leaves_qty <= answer.order_qty
        else:
            rng.choice((system.statuses, system.positions, system.outstanding, system.fills))()

    def step(self, rng: random.Random, _: str) -> None:
        rng.choice((self.network.step, self.network.run))()

    def cut(self, rng: random.Random, _: str) -> None:
        one, other = rng.sample(list(self.network.systems), 2)
        self.network.partition(one, other)
        self.network.step()
        self.network.heal(one, other)

    def crash(self, rng: random.Random, _: str) -> None:
        name = rng.choice(self.may_crash)
        self.network.crash(name)
        self.network.step()
        self.network.restart(name)

    def amend(self, rng: random.Random, _: str) -> None:
        """Look at the market, and let it bust or correct both sides of a match."""
        venue = self.network.venue
        assert isinstance(venue, MoodyVenue)
        for symbol in BOOKS.symbols:
            venue.books[symbol].depth(2)
        reports = venue.reports.table().select(["record_id", "exec_type"]).to_pylist()
        trades = [r["record_id"] for r in reports if r["exec_type"] == "trade"]
        if trades:
            first = rng.randrange(len(trades)) // 2 * 2
            venue.amend(trades[first : first + 2], last_qty=rng.choice((0, 10)))

    def audit(self, rng: random.Random, _: str) -> None:
        del rng
        found = self.network.audit()
        if found.verdict is False:
            raise AssertionError(not_true(found))

    # ---- the thread that is interrupted

    def beat(self, seconds: float) -> None:
        """Beat the desk in this thread, which hears the Ctrl-Cs, and click on it."""
        self.until = time.monotonic() + seconds
        signal.signal(signal.SIGINT, self.hear)
        while self.is_on():
            try:
                self.hears = True
                try:
                    while self.is_on():
                        self.click()
                finally:
                    self.hears = False
            except KeyboardInterrupt:
                self.did["interrupt"] += 1
            except MarketDown:
                self.refused["beat: MarketDown"] += 1
            except BaseException:  # noqa: BLE001 - whatever else it is, is amiss
                self.amiss.append(traceback.format_exc(limit=-6))
                self.done.set()

    def is_on(self) -> bool:
        return time.monotonic() < self.until and not self.done.is_set()

    def click(self) -> None:
        self.desk.pulse.beat(0.05)
        self.did["beat"] += 1
        name = f"main-{self.did['beat']}"
        self.desk.ticket.fill(cl_ord_id=name)
        self.desk.ticket.enter()
        if self.desk.ticket.order:
            self.tell(name, self.desk.ticket.order)
        self.did["click"] += 1

    hears = False
    """Whether a Ctrl-C finds the desk at work; one that comes while another is heard is dropped."""

    def hear(self, *_: object) -> None:
        if self.hears:
            self.hears = False
            raise KeyboardInterrupt

    def interrupt(self) -> None:
        rng = random.Random(self.seed)
        while not self.done.wait(rng.expovariate(1 / 0.1)):
            os.kill(os.getpid(), signal.SIGINT)

    def play(self, seconds: float) -> None:
        sys.setswitchinterval(1e-4)
        workers = [threading.Thread(target=self.work, args=(n,)) for n in range(THREADS)]
        sender = threading.Thread(target=self.interrupt)
        for thread in (*workers, sender):
            thread.start()
        try:
            self.beat(seconds)
        finally:
            self.hears = False
            self.done.set()
            for thread in (*workers, sender):
                thread.join()

    # ---- what must hold afterwards

    def check(self, network: Network, when: str) -> None:
        assert isinstance(network.venue, MoodyVenue)
        network.venue.moods = None
        network.heal()
        for name in network.systems:
            network.restart(name)
        network.run()
        found = network.audit()
        if not found:
            self.amiss.append(f"{when}: {not_true(found)}")
        for customer in network.customers:
            orders = customer.tables["requests"].frame
            if orders["record_id"].n_unique() != len(orders):
                self.amiss.append(f"{when}: {customer.name} holds an id twice")
            new = orders.filter(pl.col("request_type") == "new", pl.col("reject_reason").is_null())
            known = dict(new.select("cl_ord_id", "order_id").iter_rows())
            lost = [n for n, of in self.acknowledged.items() if known.get(n) not in of]
            if lost:
                self.amiss.append(f"{when}: {customer.name} lacks {lost[:5]} of {len(lost)}")
        twice = [n for n, of in self.acknowledged.items() if len(of) > 1]
        if twice:
            self.amiss.append(f"{when}: acknowledged as two orders: {twice[:5]}")


def not_true(found: Audit) -> str:
    return "\n".join(f"{c.name}: {c.found[:5]}" for c in found.checks if c.verdict is not True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--leave-out", choices=LEAVE_OUT)
    asked = parser.parse_args()
    if asked.leave_out:
        LEAVE_OUT[asked.leave_out]()
    # After a fault everything unanswered is sent again, which heals what was left out.
    stress = Stress(asked.data, asked.seed, faults=not asked.leave_out)
    stress.play(asked.seconds)
    stress.check(stress.network, "at the end")
    stress.network.close()
    if asked.data:
        with Network.open(asked.data, venue=MoodyVenue) as again:
            stress.check(again, "opened again")
    found: dict[str, Any] = {"did": stress.did, "refused": stress.refused, "amiss": stress.amiss}
    found["acknowledged"] = len(stress.acknowledged)
    sys.stdout.write(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
