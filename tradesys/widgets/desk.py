"""The desk: a network at work, with everything that one needs to trade on it and to break it."""

from contextlib import suppress
from functools import cached_property
from html import escape
from pathlib import Path
from threading import Thread

import ipywidgets as widgets

from tradesys.network import Network
from tradesys.network.scenario import START_NS, Flow
from tradesys.records.clock import Clock, ManualClock, wall_clock
from tradesys.records.opening_books import OpeningBooks
from tradesys.records.schemas import PRICE_SCALE
from tradesys.widgets.account import AccountPanel
from tradesys.widgets.background_runner import AT_ONCE, Pulse, door
from tradesys.widgets.blotter import Blotter
from tradesys.widgets.inquiry import InquiryPanel
from tradesys.widgets.network_view import NetworkView
from tradesys.widgets.panels import Live, Part, clicked, field, is_live, running_cell, said
from tradesys.widgets.ticket import OrderTicket

_SPEEDS = {
    "1 stage a second": 1.0,
    "4 stages a second": 4.0,
    "20 stages a second": 20.0,
    "at once": AT_ONCE,
}
_FLOWS = {"nobody": 0, "5": 5, "50": 50, "500": 500, "5,000": 5000}

PEOPLE = ("alice", "bob", "carol", "dave")
CROWD = tuple(f"A{number:02}" for number in range(1, 21))
BOOKS = OpeningBooks(accounts=(*PEOPLE, *CROWD), cash=100_000_000 * PRICE_SCALE, shares=1_000_000)
"""People to trade for, and the crowd that keeps the market busy."""


class Desk(Part):
    """A network at work: ticket, blotters of two systems, inquiries, an account, and the network.

    :param network: what to work on; by default a new one with the accounts of :data:`BOOKS`.
    :param customers, streets, data, clock: of the new network, as :class:`~tradesys.Network` has
        them. Where nobody can click and nothing is kept, time stands still by default, so that a
        notebook comes to the same pictures every time.

    The blotters show the orders of :data:`PEOPLE`, or all of a network given. A desk works until it
    is closed, its cell is run again, or its kernel ends.

    >>> desk = Desk()
    >>> desk.ticket.fill(account="alice", symbol="ALFA", order_qty=100, price="50.25")
    >>> desk.ticket.enter()
    >>> desk.blotters[1].orders()["ord_status"].to_list()
    ['new']
    """

    def __init__(
        self,
        network: Network | None = None,
        *,
        customers: int = 3,
        streets: int = 2,
        data: str | Path | None = None,
        clock: Clock | None = None,
        seed: int = 1,
    ) -> None:
        of_this_run = _desks_of_this_run()
        stands_still = not is_live() and data is None
        clock = clock or (ManualClock(START_NS) if stands_still else wall_clock)
        crowd = CROWD if network is None else ()
        self._given = network is not None
        if network is None:
            network = Network(customers, streets, firm=BOOKS, data=data, clock=clock)
        self.network = network
        self.pulse = Pulse(network, Flow(network, crowd, seed=seed))
        names = [customer.name for customer in network.customers]
        people = PEOPLE if crowd else ()
        self.ticket = OrderTicket(self.pulse, at=names[0])
        ends = names[0], names[-1]
        self.blotters = [Blotter(self.pulse, at=name, accounts=people) for name in ends]
        self.inquiry = InquiryPanel(self.pulse)
        self.account = AccountPanel(self.pulse, at=names[0])
        self.view = NetworkView(self.pulse)
        of_this_run.append(self)

    @property
    def parts(self) -> list[Part]:
        """Everything on the desk."""
        return [self.view, self.ticket, *self.blotters, self.inquiry, self.account]

    @property
    def picture(self) -> str:
        """The whole desk as it is now."""
        cell = '<div class="tradesys-part" style="flex: {}">{}</div>'
        view, ticket, *others = (part.picture for part in self.parts)
        above = cell.format("1 1 520px", view) + cell.format("0 1 330px", ticket)
        cells = [cell.format("1 1 420px", picture) for picture in others]
        row = '<div style="display: flex; flex-wrap: wrap; gap: 10px; margin-bottom: 10px">{}</div>'
        return "".join(row.format(each) for each in (above, *map("".join, (cells[:2], cells[2:]))))

    def close(self) -> None:
        """Stop what goes on behind the desk, and close the network's files."""
        self.pulse.stop()
        self.network.close()

    def leave(self) -> None:
        """As :meth:`close`, but a network that the desk was given stays open."""
        self.pulse.stop()
        if not self._given:
            self.network.close()

    # ---- the bar

    @property
    def _records(self) -> int:
        """How many the system holds that holds most."""
        return max(sum(held.values()) for held in self.network.summary().values())

    @property
    def _said(self) -> str:
        next_stage = f", next: {self.pulse.stage}" if self.pulse.per_second != AT_ONCE else ""
        state = "running" if self.pulse.running else "paused"
        entered = self.pulse.flow.entered
        busy = f", {entered:,} orders from the crowd" if entered else ""
        return f'<span class="soft">{state}{next_stage}{busy}; {self._records:,} records</span>'

    @clicked
    def pause(self, *, paused: bool = True) -> None:
        """Carry nothing and enter nothing of the crowd until it goes on."""
        self.pulse.running = not paused

    @clicked
    def step(self) -> None:
        """Run one stage of a step: send, work, replicate or clear."""
        self.pulse.running = False
        self.pulse.step()
        self.pulse.show()

    @clicked
    def check(self) -> None:
        """Audit all systems, and say what came of it; a desk that beats goes on meanwhile."""
        if not self.pulse.is_beating:
            self._audit()
            return
        self._check.disabled = True
        self._audited.html = '<span class="soft">auditing …</span>'
        Thread(target=self._audit, name="audit", daemon=True).start()

    def _audit(self) -> None:
        records, wrong = self._records, True
        try:
            self.verdict = self.network.audit()
        except Exception as error:  # noqa: BLE001 - no click waits for it: it is told at the desk
            found = f"the audit failed: {type(error).__name__}: {error}"
        else:
            word = {True: "true", False: "false", None: "unknown: something is under way"}
            named = [check.name for check in self.verdict.checks if check.verdict is False]
            told = f"audit at {records:,} records: {word[self.verdict.verdict]}"
            found, wrong = "; ".join([told, *named]), bool(named)
        if self.is_shown:
            with door:
                look = "bad" if wrong else ""
                self._audited.html = f'<span class="{look}">{escape(found)}</span>'
                self._check.disabled = False

    @cached_property
    def _bar(self) -> widgets.Widget:
        run = widgets.ToggleButton(value=True, description="Running", layout={"width": "90px"})
        self._run = run
        step = widgets.Button(description="Step", layout={"width": "70px"})
        kind = widgets.Dropdown
        speed = field(kind, "Records move", 260, 100, options=_SPEEDS, value=AT_ONCE)
        flow = field(kind, "Crowd, orders a second", 250, 164, options=_FLOWS, value=0)
        self._check = audit = widgets.Button(description="Audit", layout={"width": "80px"})
        self._audited, self._bar_said = (Live(layout={"margin": "0 8px"}) for _ in range(2))

        run.observe(lambda change: self.pause(paused=not change["new"]), "value")
        step.on_click(lambda _: self.step())
        speed.observe(lambda c: setattr(self.pulse, "per_second", c["new"]), "value")
        flow.observe(lambda c: setattr(self.pulse.flow, "per_second", c["new"]), "value")
        audit.on_click(lambda _: self.check())
        parts = [run, step, speed, flow, audit, self._audited, self._bar_said]
        bar = widgets.HBox(parts, layout={"flex_flow": "row wrap", "align_items": "center"})
        bar.add_class("tradesys-part")
        return bar

    @cached_property
    def widget(self) -> widgets.Widget:
        """The desk to work at; from now on its network runs by itself."""
        for blotter in self.blotters:
            blotter.on_select = self.inquiry.ask
        view, ticket, *blotters, inquiry, account = (_framed(part) for part in self.parts)
        view.layout.flex, ticket.layout.flex = "1 1 520px", "0 0 340px"
        for part in (*blotters, inquiry, account):
            part.layout.flex = "1 1 440px"
        rows = [view, ticket], blotters, [inquiry, account]
        laid_out = [widgets.HBox(row, layout=_ROW) for row in rows]
        self.pulse.listen(self.refresh, 0.5)
        box = widgets.VBox([self._bar, *laid_out], layout={"grid_gap": "10px"})
        with suppress(RuntimeError):  # no event loop runs, as in a test: whoever it is calls beat()
            self.pulse.start()
        self.pulse.show()
        return box

    def refresh(self) -> None:
        """Say how things stand."""
        if self.is_shown:
            self._run.value = self.pulse.running
            self._run.description = "Running" if self.pulse.running else "Paused"
            self._bar_said.html = self._said + said(self.problem or self.pulse.problem)


_made: dict[str, tuple[str, list[Desk]]] = {}
"""By cell: the message that it was run by last, and the desks that it made then."""


def _desks_of_this_run() -> list[Desk]:
    """Those that the running cell has made; of an earlier run of it nobody sees one any more."""
    run = running_cell()
    if run is None:
        return []
    message, desks = _made.get(run.cell, ("", []))
    if message != run.message:
        for desk in desks:
            desk.leave()
        desks = []
    _made[run.cell] = run.message, desks
    return desks


_ROW = {"flex_flow": "row wrap", "grid_gap": "10px", "align_items": "stretch"}


def _framed(part: Part) -> widgets.Widget:
    box = widgets.Box([part.widget])
    box.add_class("tradesys-part")
    part.widget.layout.width = "100%"
    return box
