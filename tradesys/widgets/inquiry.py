"""The inquiry panel: ask any system for an order, and see on what its answer rests."""

from html import escape
from typing import Any

import ipywidgets as widgets
import polars as pl

from tradesys.inquiry.answers import Answer
from tradesys.inquiry.inquiries import Inquiries
from tradesys.records import argument_checks as given
from tradesys.records.errors import NotYetReplicated, TradesysError
from tradesys.records.schemas import format_id
from tradesys.widgets.background_runner import Pulse
from tradesys.widgets.panels import Html, Panel, field, money, order_cells, said, table

_ALL = "everybody"
_ANSWERED = ("ord_status", "order_qty", "cum_qty", "leaves_qty", "price", "avg_px")


class InquiryPanel(Panel):
    """What systems answer for an order: status, evidence and its age, what could still change it.

    :param order: an order's id, as ``c1-17``.
    :param at: the system that is asked; ``"everybody"`` asks all that answer inquiries.
    """

    def __init__(self, pulse: Pulse, order: str = "", *, at: str = _ALL) -> None:
        self.pulse, self.order, self.at = pulse, order, at

    def ask(self, order: str | None = None, at: str | None = None) -> None:
        """Ask for an order, of a system; what is not named stays as it is."""
        known = [_ALL, *(system.name for system in self._answering)]
        self.order, self.at = order or self.order, given.one_of("at", at or self.at, known)
        self.refresh()

    @property
    def _answering(self) -> list[Inquiries]:
        return [system for system in self.pulse.network if isinstance(system, Inquiries)]

    @property
    def _asked(self) -> list[Inquiries]:
        return [system for system in self._answering if self.at in (_ALL, system.name)]

    @property
    def picture(self) -> str:
        """The question and its answers."""
        asked = f"{escape(self.order)} of {self.at}" if self.order else ""
        return f"<h4>Inquiry {asked}</h4>{self.told()}"

    def told(self) -> str:
        """The answers."""
        if not self.order:
            return (
                '<p class="soft">Which order? An id like c1-1, or click a row of the blotter.</p>'
            )
        rows: list[list[object]] = []
        answers: list[Answer] = []
        for system in self._asked:
            try:
                answer = system.status(self.order.strip())
            except NotYetReplicated:
                rows.append([system.name, "knows nothing of it yet", *[None] * 5])
            except TradesysError as error:
                rows.append([system.name, said(str(error)), *[None] * 5])
            else:
                answers.append(answer)
                told = answer._asdict() | {"avg_px": answer.avg_px}
                rows.append([system.name, *order_cells(told, _ANSWERED)])
        head = ["asked", "status", "quantity", "filled", "leaves", "price", "avg price"]
        parts = [table(head, rows), said(self.problem)]
        if answers:
            parts += [self._terms(answers[0]), self._evidence(answers), self._records(answers[0])]
        return "".join(parts)

    @staticmethod
    def _terms(answer: Answer) -> str:
        name = f", which the customer calls {escape(answer.cl_ord_id)}" if answer.cl_ord_id else ""
        terms = f"{answer.side}s {answer.symbol}, {answer.time_in_force}{name}"
        return f'<p class="soft">{escape(answer.account)} {terms}</p>'

    def _evidence(self, answers: list[Answer]) -> str:
        """How many records each answer rests on, and what it lacks of the best known."""
        rows: list[list[object]] = []
        for answer in answers:
            beside = self.pulse.network.evidence(answer)
            lacking = beside.filter(pl.col("behind") > 0)
            age: Any = lacking["age"].max()
            rows.append(
                [
                    *(answer.system, int(beside["records"].sum()), int(beside["behind"].sum())),
                    ", ".join(lacking["lacks"].to_list()),
                    "" if age is None else f"{age.total_seconds():,.1f} s",
                ]
            )
        head = ["rests at", "on records", "behind", "lacks, of each origin, from", "since"]
        return table(head, rows)

    def _records(self, answer: Answer) -> str:
        """The order's records, and which system holds each; what is outstanding."""
        explained = self.pulse.network.explain(answer.order_id)
        records = explained.records
        systems = [s.name for s in self.pulse.network if s.name in records.columns]
        rows: list[list[object]] = []
        for row in records.iter_rows(named=True):
            held = [Html("●") if row[name] is not None else "" for name in systems]
            traded = f"{row['last_qty']:,} at {money(row['last_px'])}" if row["last_qty"] else ""
            rows.append([format_id(row["record_id"]), row["dataset"], row["record"], traded, *held])
        waits = [
            f"{record} waits for {what}"
            for s in self._asked[:1]
            if not s.down
            for record, what in _waits(s, answer.order_id)
        ]
        outstanding = f'<p class="soft">{"; ".join(waits)}</p>' if waits else ""
        return outstanding + table(["record", "dataset", "says", "traded", *systems], rows)

    def fields(self) -> dict[str, widgets.Widget]:
        """Which order, and who is asked."""
        typed = {"value": self.order, "placeholder": "c1-1", "continuous_update": False}
        systems = [_ALL, *(system.name for system in self._answering)]
        return {
            "order": field(widgets.Text, "Inquiry", 190, 58, **typed),
            "at": field(widgets.Dropdown, "asked of", 190, 58, options=systems, value=self.at),
        }


def _waits(system: Inquiries, order_id: int) -> list[tuple[str, str]]:
    try:
        found = system.outstanding(order_id)
    except TradesysError:
        return []
    return [(format_id(r), w) for r, w in found.select("record_id", "waits_for").iter_rows()]
