"""The least that anybody could do: arrays in memory, and the bytes of six systems in their files.

All systems share one memory: what a record changes is worked out once, and a batch is made bytes
once. No file is checked, nothing can be cut off, and no system could go on without the others.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tests.benchmarks.peers.files import Files
from tests.benchmarks.peers.floor_records import (
    Ints,
    answers_to,
    batch_of,
    keys_of,
    legs_of,
    now,
)
from tests.benchmarks.peers.job import (
    CUSTOMERS,
    FIRST_ID,
    LOT,
    TICK,
    Answers,
    Counts,
    Peer,
    Step,
    settle_day,
    street_of,
)
from tradesys.network.tape_replay import PLENTY_CASH, PLENTY_SHARES
from tradesys.records.schemas import (
    CURRENCY,
    EXECUTIONS,
    REQUESTS,
)
from tradesys.venue.tapes import Tape


class Floor(Peer):
    """Orders are numbered; what is known of them stands in arrays by their number."""

    def open(self, folder: Path, tape: Tape) -> None:
        self.files = Files(folder, tape)
        self.accounts = pa.array(tape.requests["account"].unique().sort().to_list())
        self.symbols = pa.array(tape.symbols)
        self.streets, self.settle_day = street_of(tape), settle_day(tape)
        size = int((tape.requests["request_type"] == "new").sum())
        self.count = 0
        self.account, self.asset, self.order_id = (np.zeros(size, np.int64) for _ in range(3))
        self.qty, self.price, self.cum = (np.zeros(size, np.int64) for _ in range(3))
        self.buys, self.canceled = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        self.names: list[str] = []
        self.order_named: dict[str, int] = {}
        # Of each account its cash, then its shares.
        shape = len(self.accounts), 1 + len(self.symbols)
        self.balances, self.reserved = np.full(shape, PLENTY_SHARES), np.zeros(shape, np.int64)
        self.balances[:, 0] = PLENTY_CASH
        self.next_id = dict(FIRST_ID) | {"firm": FIRST_ID["firm"] + 2 * int(np.prod(shape))}

    def ids(self, system: str, count: int) -> Ints:
        """The ids of the next records."""
        first = self.next_id[system]
        self.next_id[system] += count
        return np.arange(first, first + count)

    def step(self, step: Step) -> None:
        given = [
            self.enter(system, rows)
            for system, rows in zip(CUSTOMERS, step.tables, strict=True)
            if len(rows)
        ]
        requests = pa.concat_batches([batch for batch, _ in given]) if given else None
        numbers = np.concatenate([n for _, n in given]) if given else np.zeros(0, np.int64)
        trades = []
        for street in dict.fromkeys(self.streets.values()):
            mine = pa.array([s for s, at in self.streets.items() if at == street])
            trades.append(self.execute(street, requests, numbers, step.fills, mine))
        if len(step.fills):
            self.clear(*map(np.concatenate, zip(*trades, strict=True)))

    def enter(self, system: str, rows: pa.Table) -> tuple[pa.RecordBatch, Ints]:
        """Check, record, make durable; gives the numbers of the orders, too."""
        (batch,) = rows.combine_chunks().to_batches()
        kind, count = batch["request_type"], len(rows)
        account, symbol = (
            pc.index_in(batch[name], known).fill_null(-1).to_numpy().astype(np.int64)
            for name, known in (("account", self.accounts), ("symbol", self.symbols))
        )
        is_new, is_buy, is_sell = (
            pc.equal(*each).to_numpy(zero_copy_only=False)
            for each in ((kind, "new"), (batch["side"], "buy"), (batch["side"], "sell"))
        )
        qty, price = batch["order_qty"].to_numpy(), batch["price"].to_numpy()
        names = batch["cl_ord_id"].to_pylist()
        keys = keys_of(batch["account"], batch["cl_ord_id"])
        good = (account >= 0) & (symbol >= 0) & (is_buy | is_sell) & (qty > 0) & (qty % LOT == 0)
        good &= (price > 0) & (price % TICK == 0)
        fresh = len(set(keys)) == count and self.order_named.keys().isdisjoint(keys)
        ids = self.ids(system, count)
        number = self.count + np.cumsum(is_new) - 1
        new, which = number[is_new], np.where(is_buy, 0, symbol + 1)
        self.account[new], self.asset[new], self.buys[new] = (
            account[is_new],
            symbol[is_new],
            is_buy[is_new],
        )
        self.qty[new], self.price[new], self.order_id[new] = qty[is_new], price[is_new], ids[is_new]
        self.count += len(new)
        use = np.where(is_buy, qty * price, qty)[is_new]
        np.add.at(self.reserved, (account[is_new], which[is_new]), use)
        rows_of_new, changes = np.flatnonzero(is_new).tolist(), np.flatnonzero(~is_new)
        self.names += [names[row] for row in rows_of_new]
        self.order_named.update(zip([keys[row] for row in rows_of_new], new.tolist(), strict=True))
        about = keys_of(batch["account"], batch["orig_cl_ord_id"])
        is_replace = pc.equal(kind, "replace").to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(is_replace).tolist():
            if (order := self.order_named.get(about[row], -1)) >= 0:
                self.replace(order, names[row], int(qty[row]), int(price[row]))
                self.order_named[keys[row]] = order
        number[changes] = found = [self.order_named.get(about[row], -1) for row in changes.tolist()]
        is_open = not (self.canceled[number] | (self.cum[number] >= self.qty[number])).any()
        fits = (self.reserved <= self.balances).all()
        if not (good.all() and fresh and -1 not in found and is_open and fits):
            raise NotImplementedError("row by row; the books of the tape are big enough")
        self.order_named.update(zip([keys[row] for row in changes.tolist()], found, strict=True))
        made = batch_of(REQUESTS, count, batch, record_id=ids, order_id=self.order_id[number])
        self.files.write(system, "requests", made)
        return made, number

    def replace(self, order: int, name: str, qty: int, price: int) -> None:
        """Other terms are in force."""
        at = self.account[order], 0 if self.buys[order] else self.asset[order] + 1
        before, after = self.qty[order] - self.cum[order], qty - self.cum[order]
        if self.buys[order]:
            before, after = before * self.price[order], after * price
        self.reserved[at] += after - before
        self.qty[order], self.price[order], self.names[order] = qty, price, name

    def execute(
        self,
        street: str,
        requests: pa.RecordBatch | None,
        numbers: Ints,
        fills: pa.Table,
        symbols: pa.Array,
    ) -> tuple[Ints, Ints, Ints, Ints]:
        """Answer requests and report fills; gives order, quantity, price and id of each fill."""
        parts = []
        if requests is not None:
            mine = requests
            if len(symbols) < len(self.symbols):
                wanted = pc.is_in(requests["symbol"], symbols).to_numpy(zero_copy_only=False)
                mine, numbers = requests.filter(pa.array(wanted)), numbers[wanted]
            parts.append(answers_to(mine))
            gone = numbers[pc.equal(mine["request_type"], "cancel").to_numpy(zero_copy_only=False)]
        number = self.numbers(fills["account"], fills["cl_ord_id"])
        mine_too = np.isin(self.asset[number], pc.index_in(symbols, self.symbols).to_numpy())
        number, fills = number[mine_too], fills.filter(pa.array(mine_too))
        qty, px = fills["last_qty"].to_numpy(), fills["last_px"].to_numpy()
        if len(number):
            parts.append(self.trades(number, fills))
            np.add.at(self.cum, number, qty)
            self.release(number, qty)
        if requests is not None and len(gone):
            self.canceled[gone] = True
            self.release(gone, (self.qty - self.cum)[gone])
        if not sum(map(len, parts)):
            return number, qty, px, number
        batch = pa.concat_batches(parts)
        order = pa.array(
            np.argsort(batch["transact_time"].cast(pa.int64()).to_numpy(), kind="stable")
        )
        batch, count = batch.take(order), len(batch)
        ids, exec_ids = self.ids(street, count), self.ids("venue", count)
        more = {"record_id": ids, "exec_id": exec_ids, "ts": now()}
        made = batch_of(EXECUTIONS, count, batch, **more, venue="TAPE", poss_dup=False)
        self.files.write(street, "executions", made)
        is_trade = pc.equal(made["exec_type"], "trade").to_numpy(zero_copy_only=False)
        return number, qty, px, exec_ids[is_trade]

    def numbers(self, accounts: pa.Array, names: pa.Array) -> Ints:
        """The orders of these names."""
        return np.array([self.order_named[key] for key in keys_of(accounts, names)], np.int64)

    def trades(self, number: Ints, fills: pa.Table) -> pa.RecordBatch:
        """Fills as executions."""
        terms = {
            "order_id": self.order_id[number],
            "request_id": self.order_id[number],
            "cl_ord_id": pa.array([self.names[n] for n in number.tolist()], pa.utf8()),
            "account": self.accounts.take(pa.array(self.account[number])),
            "symbol": self.symbols.take(pa.array(self.asset[number])),
            "side": pa.array(["sell", "buy"]).take(pa.array(self.buys[number].astype(np.int8))),
            "order_qty": self.qty[number],
            "price": self.price[number],
        }
        told = {n: fills[n].combine_chunks() for n in ("last_qty", "last_px")}
        told |= {"transact_time": fills["ts"].combine_chunks(), "exec_type": "trade"}
        kind = {"ord_type": "limit", "time_in_force": "day"}
        return batch_of(EXECUTIONS, len(number), **terms, **told, **kind)

    def release(self, number: Ints, qty: Ints) -> None:
        """Orders may use so much less."""
        buys = self.buys[number]
        at = self.account[number], np.where(buys, 0, self.asset[number] + 1)
        np.subtract.at(self.reserved, at, np.where(buys, qty * self.price[number], qty))

    def clear(self, number: Ints, qty: Ints, px: Ints, exec_ids: Ints) -> None:
        """Book trades: shares and cash of the account, each against the firm's own."""
        shares = np.where(self.buys[number], qty, -qty)
        cash, owner = -shares * px, self.account[number]
        np.add.at(self.balances, (owner, np.zeros_like(owner)), cash)
        np.add.at(self.balances, (owner, self.asset[number] + 1), shares)
        account = self.accounts.take(pa.array(owner))
        symbol = self.symbols.take(pa.array(self.asset[number]))
        ids = self.ids("firm", 4 * len(number))
        made = legs_of(ids, exec_ids, account, symbol, shares, cash, self.settle_day)
        self.files.write("firm", "postings", made)

    def answers(self) -> list[Answers]:
        return [self.answer() for _ in CUSTOMERS]

    def answer(self) -> Answers:
        """What is known now."""
        qty, cum, canceled = (a[: self.count] for a in (self.qty, self.cum, self.canceled))
        code = np.where(cum >= qty, 0, np.where(canceled, 1, np.where(cum > 0, 2, 3)))
        words = pa.array(["filled", "canceled", "partially_filled", "new"])
        orders = {
            "cl_ord_id": pl.Series(self.names),
            "ord_status": pl.Series(words.take(pa.array(code))),
            "order_qty": qty,
            "cum_qty": cum,
            "leaves_qty": np.where(code < 2, 0, qty - cum),
        }
        owners, assets = self.accounts.to_pylist(), [CURRENCY, *self.symbols.to_pylist()]
        positions = {
            "account": np.repeat(owners, len(assets)),
            "asset": assets * len(owners),
            "amount": self.balances.ravel(),
        }
        return Answers(pl.DataFrame(orders), pl.DataFrame(positions))

    def counts(self) -> Counts:
        return self.files.counts()

    def close(self) -> None:
        self.files.close()
