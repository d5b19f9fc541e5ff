"""Answering inquiries: a system aggregates its own records, and asks nobody (claims 16, 20, 27)."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from tradesys import status as definition
from tradesys.errors import InvalidValue, NotYetReplicated
from tradesys.orders import Answer, OrderLike, id_of
from tradesys.positions import FIRMS_OWN
from tradesys.records import Kind, OrdStatus, format_id, origin, split_id
from tradesys.systems.system import System
from tradesys.views import OrderState

_WORTH_A_VIEW = 200_000
_FEW = 32
"""So many orders are answered for by the definition while so many records wait for the view."""


class Inquiries(System):
    """A system that holds requests and executions, and so can answer for every order."""

    _defined = 0  # how many orders were answered for by the definition

    def status(self, order: OrderLike, *, at_least: Mapping[str, int] | None = None) -> Answer:
        """The status of one order, aggregated from the records held here (claims 16, 20, 27).

        :param at_least: the ``token`` of an order, to be answered from records that include it.
        :raises NotYetReplicated: the records asked for are not here yet.
        :raises InvalidValue: there is no such order.
        """
        order_id = id_of(order)
        with self.lock:
            for name, count in (at_least or {}).items():
                self._require(name, count)
            if self.unviewed > _WORTH_A_VIEW and self._defined < _FEW:
                self._defined += 1
                answer = self._by_definition(order_id)
            else:
                state = self.view.order(order_id)
                answer = state and self._answer(order_id, state)
            if answer is None:
                raise self._unknown(order, order_id)
            return answer

    def statuses(self) -> pl.DataFrame:
        """The status of every order known here, by ``order_id``.

        :returns: the columns of :data:`tradesys.status.COLUMNS`.
        """
        with self.lock:
            frame = self.view.statuses()
            requests = self.tables["requests"].frame.select("record_id", "cl_ord_id")
            executions = self.tables["executions"].frame.select("request_id", "cl_ord_id")
        names = pl.concat(
            [requests, executions.rename({"request_id": "record_id"})], rechunk=False
        ).unique("record_id", keep="first")
        for request, name in (("request_in_force", "cl_ord_id"), ("order_id", "first_name")):
            named = names.select(
                pl.col("record_id").alias(request), pl.col("cl_ord_id").alias(name)
            )
            frame = frame.join(named, on=request, how="left", maintain_order="left")
        return frame.with_columns(pl.coalesce("cl_ord_id", "first_name").alias("cl_ord_id")).select(
            definition.COLUMNS
        )

    def orders(self, account: str | None = None, *, open_only: bool = False) -> pl.DataFrame:
        """The orders of an account (or of all), as :meth:`statuses`."""
        frame = self.statuses()
        if account is not None:
            self._known_account(account)
            frame = frame.filter(pl.col("account") == account)
        return frame.filter(pl.col("leaves_qty") > 0) if open_only else frame

    def positions(self, account: str | None = None) -> pl.DataFrame:
        """Shares and cash of an account (or of all).

        :returns: ``account, asset, booked, uncleared, amount, reserved``: int64, in shares or, for
            cash, in 1/10,000 of the currency. ``reserved`` is what open orders may still use.
        """
        with self.lock:
            frame = self.view.positions()
        if account is not None:
            self._known_account(account)
            frame = frame.filter(pl.col("account") == account)
        return frame

    # ---- inside

    def _by_definition(self, order_id: int) -> Answer | None:
        """The answer for one order, aggregated from its own records alone."""
        held = (self.tables[name].of_order(order_id) for name in ("requests", "executions"))
        for row in definition.statuses(*held).iter_rows(named=True):
            row["ord_status"] = OrdStatus(row["ord_status"])
            return Answer(**row, system=self.name, positions=self._positions())
        return None

    def _positions(self) -> dict[str, dict[str, int]]:
        return {name: self.tables[name].positions for name in ("requests", "executions")}

    def _answer(self, order_id: int, state: OrderState) -> Answer:
        account, symbol, side, ord_type, _ = self.view.terms(order_id)
        return Answer(
            order_id=order_id,
            cl_ord_id=self._name(state.request_in_force) or self._name(order_id),
            account=account,
            symbol=symbol,
            side=side,
            ord_type=ord_type,
            price=state.price or None,
            ord_status=state.ord_status,
            order_qty=state.order_qty,
            cum_qty=state.cum_qty,
            leaves_qty=state.leaves_qty,
            avg_px=state.avg_px,
            system=self.name,
            positions=self._positions(),
        )

    def _name(self, request_id: int) -> str | None:
        """The customer's own name for a request, if it has one."""
        name: str | None = self.stated(request_id).get("cl_ord_id")
        return name

    def stated(self, request_id: int) -> dict[str, Any]:
        """The terms that a request stated, from its record or one that repeats them; or nothing."""
        if self.tables["requests"].has(request_id):
            return self.tables["requests"].rows([request_id])[0]
        executions = self.tables["executions"].frame.filter(pl.col("request_id") == request_id)
        return executions.row(0, named=True) if len(executions) else {}

    def _require(self, name: str, count: int) -> None:
        held = self.tables["requests"].positions.get(name, 0)
        if held < count:
            missing = (f"{name}-{held}", f"{name}-{count - 1}")
            raise NotYetReplicated(
                f"{self.name} holds {held} requests of {name}; "
                f"{missing[0]} to {missing[1]} have not reached it yet",
                missing,
            )

    def _unknown(self, order: OrderLike, order_id: int) -> Exception:
        code, sequence = split_id(order_id)
        name, held = str(origin(code)), self.tables["requests"].count(code)
        if origin(code).kind is not Kind.CUSTOMER or sequence < held or code == self.origin.code:
            return InvalidValue("order", str(order), "the id of an order")
        return NotYetReplicated(
            f"{self.name} holds {held} requests of {name}, and nothing of {format_id(order_id)}: "
            "it has not reached it yet, or there is no such order",
            (format_id(order_id),),
        )

    def _known_account(self, account: str) -> None:
        if account not in self.reference.accounts and account not in FIRMS_OWN:
            raise InvalidValue("account", account, "an account the firm has described")
