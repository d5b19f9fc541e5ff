"""Answering inquiries: a system aggregates its own records, and asks nobody (claims 16, 20, 27).

A question about one order costs the same however many there are. An answer says on which records it
rests; beside a frame of many, :meth:`Inquiries.evidence` says it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from tradesys.inquiry.answers import Answer, OrderLike, id_of
from tradesys.inquiry.client_order_ids import NamesGiven
from tradesys.inquiry.evidence import Evidence
from tradesys.inquiry.explanation import Explained, explained
from tradesys.inquiry.record_holder import RecordHolder
from tradesys.inquiry.sql import Relations
from tradesys.log.offsets import Cursor
from tradesys.records import argument_checks as given
from tradesys.records.errors import InvalidValue, NotYetReplicated
from tradesys.records.opening_books import Fees
from tradesys.records.schemas import (
    CURRENCY,
    FIRMS_OWN,
    ExecType,
    Kind,
    Origin,
    format_id,
    make_id,
    origin,
    parse_origin,
    span,
    split_id,
)
from tradesys.routes import WRITES
from tradesys.status import definition as status
from tradesys.status.incremental.view import STATUS_TYPE, View

_WORTH_A_VIEW = 200_000
_FEW = 32
"""So many orders are answered for from their own records while so many wait for the view."""

_OF_ORDERS = ("requests", "executions")
_OF_ACCOUNTS = (*_OF_ORDERS, "postings")

_EVENT = {
    "requests": (pl.col("request_type").alias("record"), pl.col("record_id").alias("event")),
    "executions": (pl.col("exec_type").alias("record"), pl.col("exec_id").alias("event")),
}
_ACCEPTED = pl.col("reject_reason").is_null()
_WAITS = ("record_id", "dataset", "order_id", "record", "ts", "waits_for")

_FILL = ("exec_id", "order_id", "account", "symbol", "side", "last_qty", "last_px", "transact_time")

BY = {
    "status": pl.col("ord_status"),
    "symbol": pl.col("symbol"),
    "account": pl.col("account"),
    "side": pl.col("side"),
    "price": pl.col("price"),
    "system": pl.col("order_id") // 2**48,
    "time": pl.col("order_id"),
}
"""What a book can be divided by, and what of an order says it; see :meth:`Inquiries.book`."""

_QUANTITIES = ("order_qty", "cum_qty", "leaves_qty", "price")
_SPAN = re.compile(r"[1-9][0-9]{0,4}[smhd]")
_IS_OPEN = pl.col("leaves_qty") > 0
_ADDED_UP = (
    pl.len().cast(pl.Int64).alias("orders"),
    _IS_OPEN.sum().cast(pl.Int64).alias("open"),
    pl.col("order_qty", "cum_qty", "leaves_qty").sum(),
    (pl.col("leaves_qty") * pl.col("price")).sum().alias("open_amount"),
)

_CHANGED: dict[str, Any] = {
    "order_id": pl.UInt64,
    **dict.fromkeys(("account", "symbol", "side", "ord_type"), pl.String),
    "price": pl.Int64,
    "ord_status": STATUS_TYPE,
    **dict.fromkeys(("order_qty", "cum_qty", "leaves_qty"), pl.Int64),
    "avg_px": pl.Float64,
}

_POSITIONS = "the token of an order or an answer, like {'c1': 18}"


class Inquiries(RecordHolder):
    """Who holds requests and executions, and so can answer for every order.

    ``fees`` is what the firm charges, which counts among what accounts owe and orders may use.
    """

    fees: Fees

    _few = 0  # how many orders were answered for from their own records
    _evidence: Evidence | None = None

    def _empty_view(self) -> View:
        self._names_given = NamesGiven(self.tables)
        return View(self._names_given, self.fees)

    def catch_up(self) -> None:
        """Take in what has become part of the tables since the last question."""
        with self.lock:
            super().catch_up()
            self._evidence = None

    # ---- one order

    def status(self, order: OrderLike, *, at_least: Mapping[str, int] | None = None) -> Answer:
        """The status of one order, aggregated from the records held here (claims 16, 20, 27).

        :param at_least: the ``token`` of an order or an answer, to be answered from records that
            include those.
        :raises NotYetReplicated: the records asked for are not here yet.
        :raises InvalidValue: there is no such order, or ``at_least`` is no token.
        """
        order_id = id_of(order)
        with self.lock:
            if at_least is not None:
                self._require(at_least)
            if self.news and self._few < _FEW and self.unviewed > _WORTH_A_VIEW:
                self._few += 1
                view, evidence = self._view_of(order_id), self._held(_OF_ORDERS)
            else:
                view = self.view
                evidence = self._evidence = self._evidence or self._held(_OF_ORDERS)
            state = view.order(order_id)
            if state is None:
                raise self._unknown(order, order_id)
            return Answer._make((order_id, *state, evidence))

    def explain(self, order: OrderLike) -> Explained:
        """One order's status, its records, and when this system learned of each.

        :raises NotYetReplicated: nothing of it is here yet.
        :raises InvalidValue: there is no such order.
        """
        answer = self.status(order)
        with self.lock:
            return explained(answer.order_id, [answer], [(self.name, self.tables)])

    def outstanding(self, order: OrderLike | None = None) -> pl.DataFrame:
        """What is held here of an order (or of all) that waits for a record to come.

        Requests that no street-side system has answered, which may change a status; trades, or
        what stands of amended ones, that the firm has not cleared, which change what is booked.

        :returns: ``record_id, dataset, order_id, record`` (its type), ``ts, waits_for``.
        :raises NotYetReplicated: nothing of the order is here yet.
        :raises InvalidValue: there is no such order.
        """
        with self.lock:
            order_id = None if order is None else self.status(order).order_id
            view, parts = self.view, []
            for dataset, matters, done, waits_for in (
                ("requests", _ACCEPTED, view.answered, "an answer"),
                ("executions", status.says(*status.OF_TRADES), view.cleared, "clearing"),
            ):
                table = self.tables[dataset]
                held = table.frame
                if order_id is not None:
                    found = pa.Table.from_batches(table.of_order(order_id), table.schema)
                    held = pl.DataFrame(found)
                held = held.with_columns(_EVENT[dataset]).filter(matters)
                held = held.filter(~done(held["event"].to_numpy()))
                told = {"dataset": pl.lit(dataset), "waits_for": pl.lit(waits_for)}
                parts.append(held.with_columns(**told).select(_WAITS))
        return pl.concat(parts).sort("ts", "record_id")

    def evidence(self) -> Evidence:
        """On which records the answers of this moment rest."""
        with self.lock:
            return self._held(_OF_ACCOUNTS)

    # ---- many orders

    def statuses(self) -> pl.DataFrame:
        """The status of every order known here, by ``order_id``.

        :returns: the columns of :data:`tradesys.status.definition.COLUMNS`.
        """
        with self.lock:
            return self.view.statuses()

    def changed(self, since: Evidence | None = None) -> tuple[pl.DataFrame, Evidence]:
        """The statuses of the orders that records which came since then are about.

        :param since: what the call before gave; every order, where it is None.
        :returns: rows as :meth:`statuses` without ``cl_ord_id``, and what they rest on, to be
            handed in the next time.
        :raises InvalidValue: ``since`` is something else.
        """
        if since is not None:
            given.a(Evidence, "since", since, "what the call before gave")
        with self.lock:
            now, view = self._held(_OF_ORDERS), self.view
            if since is None:
                return view.statuses().drop("cl_ord_id"), now
            ids: dict[int, None] = {}
            told = {dataset: self.tables[dataset] for dataset in _OF_ORDERS}
            for _, batch in Cursor(told, since.offsets).read():
                ids |= dict.fromkeys(batch["order_id"].to_pylist())
            states = [(i, state) for i in ids if (state := view.order(i))]
            rows = [(i, *s[:4], *s[5:10], s.avg_px) for i, s in states]
            return pl.DataFrame(rows, schema=_CHANGED, orient="row"), now

    def orders(
        self, account: str | None = None, *, symbol: str | None = None, open_only: bool = False
    ) -> pl.DataFrame:
        """The orders of an account, in a symbol (or all), as :meth:`statuses`.

        :raises InvalidValue: the firm has not described the account or the symbol.
        :raises NotYetReplicated: no accounts or instruments have come here.
        """
        given.a(bool, "open_only", open_only, "True or False")
        frame = self._of(self.statuses(), account, symbol)
        return frame.filter(pl.col("leaves_qty") > 0) if open_only else frame

    def fills(self, account: str | None = None, *, symbol: str | None = None) -> pl.DataFrame:
        """The fills that stand, of an account, in a symbol (or all): no bust or correction undid.

        :returns: ``exec_id, order_id, account, symbol, side, last_qty, last_px, transact_time``,
            and ``posted``: whether the firm has cleared it.
        :raises InvalidValue: the firm has not described the account or the symbol.
        :raises NotYetReplicated: no accounts or instruments have come here.
        """
        # What amends a trade is of the same order.
        events = self._of(self.tables["executions"].frame, account, symbol)
        trades = status.trades(status.each_once(events))
        fills = trades.filter(~status.says(ExecType.TRADE_CANCEL)).select(_FILL).sort("exec_id")
        with self.lock:
            posted = self.view.cleared(fills["exec_id"].to_numpy())
        return fills.with_columns(posted=pl.Series(posted, dtype=pl.Boolean))

    def book(
        self,
        by: str | Sequence[str] = "status",
        *,
        every: str = "1h",
        account: str | None = None,
        symbol: str | None = None,
        open_only: bool = False,
    ) -> pl.DataFrame:
        """The whole book, or the :meth:`orders` named, added up by one or several of :data:`BY`.

        :param by: ``status``, ``symbol``, ``account``, ``side``, ``price`` (null of an order that
            has none), ``system`` (that took the order), ``time`` (that it did so).
        :param every: the length of a bucket of time: ``"1h"``, ``"5m"``, ``"30s"``, ``"1d"``.
        :returns: the columns of ``by``, then int64: ``orders``, ``open`` (orders), ``order_qty``,
            ``cum_qty``, ``leaves_qty`` in shares, ``open_amount`` in 1/10,000, at their prices.
            ``time`` is null where the order's request has not arrived.
        :raises InvalidValue: ``by`` or ``every`` is something else.
        """
        given.a(object, "by", by, f"one or several of {', '.join(BY)}", _divides)
        names = [by] if isinstance(by, str) else list(by)
        expected = "a length of time like 1h, 5m, 30s or 1d"
        given.a(str, "every", every, expected, lambda text: _SPAN.fullmatch(text) is not None)
        with self.lock:
            frame = self.orders(account, symbol=symbol, open_only=open_only)
            keys = frame.select(BY[name].alias(name) for name in names)
            if "time" in names:
                entered = self.tables["requests"].column("ts", keys["time"].to_numpy())
                keys = keys.with_columns(time=entered.dt.truncate(every))
        if "system" in names:
            systems = {c: origin(c).system for c in keys["system"].unique().to_list()}
            system = pl.col("system").replace_strict(systems, return_dtype=pl.String)
            keys = keys.with_columns(system)
        added_up = keys.with_columns(frame.select(*_QUANTITIES)).group_by(names).agg(_ADDED_UP)
        return added_up.sort(names)

    # ---- accounts

    def positions(self, account: str | None = None, *, symbol: str | None = None) -> pl.DataFrame:
        """Shares and cash of an account (or of all), or the shares of a symbol alone.

        :returns: ``account, asset, booked, uncleared, amount, reserved``: int64, in shares or, for
            cash, in 1/10,000 of the currency. ``reserved`` is what open orders may still use.
        :raises InvalidValue: the firm has not described the account or the symbol.
        :raises NotYetReplicated: no accounts or instruments have come here.
        """
        with self.lock:
            held = self.view.positions().rename({"asset": "symbol"})
            return self._of(held, account, symbol).rename({"symbol": "asset"})

    def cash(self, account: str | None = None) -> pl.DataFrame:
        """Cash and buying power of an account (or of all).

        :returns: ``account, booked, uncleared, amount, reserved, buying_power``: int64, in 1/10,000
            of the currency. Buying power is the amount less what open buy orders may still spend,
            their fees included.
        :raises InvalidValue: the firm has not described the account.
        :raises NotYetReplicated: no accounts have come here.
        """
        cash = self.positions(account).filter(pl.col("asset") == CURRENCY).drop("asset")
        return cash.with_columns(buying_power=pl.col("amount") - pl.col("reserved"))

    def require_described(self, *datasets: str) -> None:
        """See that ``accounts`` or ``instruments`` have come; which there are, the firm knows.

        :raises NotYetReplicated: they have not.
        """
        lacking = [dataset for dataset in datasets if not len(self.tables[dataset])]
        if lacking and self.kind is not Kind.FIRM:
            raise NotYetReplicated(
                f"{self.name} holds no {' and no '.join(lacking)} yet, so it cannot say which "
                "there are; ask another system, or wait until those of the firm have come"
            )

    # ---- inside

    def _relations(self) -> Relations:
        """The datasets held, and the answers that follow from them."""
        answers = {"orders": self.orders, "fills": self.fills, "positions": self.positions}
        return {**super()._relations(), **answers}

    def _of(
        self, frame: pl.DataFrame, account: str | None, symbol: str | None = None
    ) -> pl.DataFrame:
        """The rows of an account and a symbol, where they are given."""
        if account is not None:
            frame = frame.filter(pl.col("account") == self._known_account(account))
        if symbol is not None:
            self.require_described("instruments")
            known, expected = self.reference.symbols, "a symbol the firm has described"
            frame = frame.filter(
                pl.col("symbol") == given.one_of("symbol", symbol, known, expected)
            )
        return frame

    def _known_account(self, account: str) -> str:
        expected = "an account the firm has described"
        if given.text_of(account) in FIRMS_OWN:
            return given.one_of("account", account, FIRMS_OWN, expected)
        self.require_described("accounts")
        return given.one_of("account", account, self.reference.accounts, expected)

    def _view_of(self, order_id: int) -> View:
        """A view of the records of one order alone."""
        view = View()
        for dataset in _OF_ORDERS:
            for batch in self.tables[dataset].of_order(order_id):
                view.apply(dataset, batch)
        return view

    def _held(self, datasets: Sequence[str]) -> Evidence:
        self.require_running()
        tables = {name: self.tables[name] for name in datasets}
        return Evidence(self.name, tables, self._names_given)

    def stated(self, request_id: int) -> dict[str, Any]:
        """The terms that a request stated, from its record or one that repeats them; or nothing."""
        if self.tables["requests"].has(request_id):
            return self.tables["requests"].rows([request_id])[0]
        executions = self.tables["executions"]
        of_it = executions.frame.filter(pl.col("request_id") == request_id)["record_id"]
        return executions.rows([of_it[0]])[0] if len(of_it) else {}

    def _require(self, token: Mapping[str, int]) -> None:
        """See that the records of a token are held.

        :raises NotYetReplicated: they are not.
        :raises InvalidValue: it is no token.
        """
        if not isinstance(token, Mapping):
            raise InvalidValue("at_least", token, _POSITIONS)
        missing, over = [], set()
        for name, count in token.items():
            code = parse_origin(given.text("at_least", name, _POSITIONS)).code
            datasets = WRITES.get(origin(code).kind, ())
            if len(datasets) != 1:
                raise InvalidValue("at_least", token, _POSITIONS)
            held, asked = self.tables[datasets[0]].count(code), given.whole("at_least", count, 0)
            if held < asked:
                missing += [make_id(code, held), make_id(code, asked - 1)]
                over.add(self._over(origin(code)))
        if missing:
            names = tuple(map(format_id, missing))
            spans = [" to ".join(names[i : i + 2]) for i in range(0, len(names), 2)]
            told = f"{', '.join(spans)} have not reached {self.name} yet; it answers without them "
            told += "where at_least is not given"
            raise NotYetReplicated(". ".join([told, *sorted(over - {""})]), names)

    def _unknown(self, order: OrderLike, order_id: int) -> Exception:
        code, sequence = split_id(order_id)
        name, held = str(origin(code)), self.tables["requests"].count(code)
        if origin(code).kind is not Kind.CUSTOMER or sequence < held:
            return InvalidValue("order", str(order), "the id of an order")
        if code == self.origin.code:
            taken = span(make_id(code, 0), held) if held else "none"
            expected = f"the id of an order; {name} has taken {taken}"
            return InvalidValue("order", str(order), expected)
        why = self._over(origin(code)) or "It has not reached it yet, or there is no such order"
        return NotYetReplicated(
            f"{self.name} holds {held} requests of {name}, and nothing of {format_id(order_id)}. "
            f"{why}",
            (format_id(order_id),),
        )

    def _latest(self, writer: Origin) -> Origin:
        """The latest incarnation of a system, as it was heard of or as its records say."""
        if self.wrote(writer.code):
            return self.origin
        tables = (self.tables[dataset] for dataset in WRITES[writer.kind])
        codes = (code for table in tables for code in table.logs if code >> 8 == writer.code >> 8)
        return max([writer, *map(origin, codes), self.heard.get(writer.system, writer)])

    def _over(self, writer: Origin) -> str:
        """That an incarnation of a system writes nothing more; nothing where it still may."""
        latest = self._latest(writer)
        if latest == writer:
            return ""
        return (
            f"{writer} is over, for its files were lost, and {writer.system} goes on as {latest}: "
            f"nothing more of {writer} comes, unless a system that cannot be reached now holds it"
        )


def _divides(by: object) -> bool:
    """Whether a book can be divided by this."""
    names = [given.text_of(n) for n in (by if isinstance(by, list | tuple) else [by])]
    return bool(names) and all(n in list(BY) and names.count(n) == 1 for n in names)
