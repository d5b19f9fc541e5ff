"""The parts of the desk without a browser: what they do, what they show, what goes wrong."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from jupyter_client.manager import start_new_kernel

from tests.build import filled
from tradesys import ManualClock, Network, OpeningBooks
from tradesys.network.scenario import START_NS, Flow
from tradesys.widgets import (
    AccountPanel,
    Blotter,
    Desk,
    InquiryPanel,
    NetworkView,
    OrderStory,
    OrderTicket,
    Pulse,
)
from tradesys.widgets.panels import Part, chip, clicked, is_live, money, table

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def pulse() -> Iterator[Pulse]:
    network = Network(3, 2, clock=ManualClock(START_NS))
    yield Pulse(network)
    network.close()


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADESYS_WIDGETS", "live")


def parts_of(pulse: Pulse) -> list[Part]:
    order = pulse.network["c1"].submit(
        account="alice", symbol="ALFA", side="buy", order_qty=10, price="50.00"
    )
    pulse.network.run()
    inquiry = InquiryPanel(pulse, str(order))
    story = OrderStory(pulse.network, order)
    view, blotter, account = NetworkView(pulse), Blotter(pulse), AccountPanel(pulse)
    return [OrderTicket(pulse), view, blotter, account, inquiry, story]


# ---- pictures and widgets


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"JPY_SESSION_NAME": "2_desk.ipynb"}, True),
        ({"VSCODE_PID": "7"}, True),
        ({"SERVER_SOFTWARE": "voila/0.5"}, True),
        ({"SERVER_SOFTWARE": "gunicorn"}, False),
        ({"TRADESYS_WIDGETS": "live"}, True),
        ({"TRADESYS_WIDGETS": "picture", "JPY_SESSION_NAME": "2_desk.ipynb"}, False),
    ],
)
def test_widgets_are_live_where_somebody_can_click(
    environ: dict[str, str], *, expected: bool
) -> None:
    assert is_live(environ) is expected


def test_where_nobody_can_click_a_part_is_a_picture_and_no_widget_is_made(pulse: Pulse) -> None:
    for part in [*parts_of(pulse), Desk(Network(clock=ManualClock(START_NS)))]:
        shown, _ = part._repr_mimebundle_()
        assert shown.keys() == {"text/plain", "text/html"}
        assert 'class="tradesys"' in shown["text/html"]
        assert "widget" not in part.__dict__


@pytest.mark.usefixtures("live")
def test_a_live_part_is_a_widget_and_a_picture(pulse: Pulse) -> None:
    for part in parts_of(pulse):
        shown, _ = part._repr_mimebundle_()
        assert {"text/html", WIDGET} <= shown.keys()


@pytest.mark.usefixtures("live")
def test_what_a_live_part_shows_is_what_its_picture_shows(pulse: Pulse) -> None:
    view = NetworkView(pulse)
    view.widget  # noqa: B018 - it is made when it is asked for
    pulse.network.partition("c1", "s1")
    pulse.show()
    assert view.widget.html == view.picture


def test_nothing_in_a_picture_asks_for_anything_outside(pulse: Pulse) -> None:
    for part in parts_of(pulse):
        page = part._repr_mimebundle_()[0]["text/html"]
        assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
        assert "<script" not in page


# ---- what goes wrong


class Faulty(Part):
    shown = 0

    @property
    def picture(self) -> str:
        return self.problem

    def refresh(self) -> None:
        self.shown += 1

    @clicked
    def act(self, error: Exception) -> None:
        raise error


def test_a_defect_in_a_callback_is_shown_and_raised_under_pytest() -> None:
    part = Faulty()
    with pytest.raises(KeyError):
        part.act(KeyError("gone"))
    assert part.problem == "KeyError: 'gone'"
    assert part.shown == 1


def test_what_a_system_refuses_is_shown_and_not_raised(pulse: Pulse) -> None:
    blotter = Blotter(pulse)
    blotter.selected = pulse.network["c1"].next_id("requests")
    blotter.cancel()
    assert blotter.problem.startswith("order=")
    blotter.show("c2")
    assert not blotter.problem


# ---- the ticket


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"order_qty": 0}, "order_qty"),
        ({"order_qty": "1.5"}, "order_qty"),
        ({"order_qty": ""}, "order_qty"),
        ({"price": "50.005"}, "price"),
        ({"price": "fifty"}, "price"),
        ({"price": ""}, "price"),
        ({"time_in_force": "gtd"}, "expire_time"),
        ({"time_in_force": "gtd", "expire_time": "tomorrow"}, "expire_time"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field_that_it_concerns(
    pulse: Pulse, values: dict[str, Any], field: str
) -> None:
    ticket = OrderTicket(pulse)
    ticket.fill(**values)
    ticket.enter()
    assert set(ticket.wrong) == {field}
    assert ticket.order is None
    assert len(pulse.network["c1"].tables["requests"]) == 0
    assert "expected" in ticket.picture


@pytest.mark.parametrize(
    ("field", "value", "advice"),
    [
        ("price", "abc", "expected a price with up to four decimals, like 50.25"),
        ("price", "1,05", "expected a price with up to four decimals, like 50.25"),
        ("price", "50,25", "expected a price with up to four decimals, like 50.25"),
        ("price", "1e5", "expected a price with up to four decimals, like 50.25"),
        ("order_qty", "ten", "expected a whole number of shares, like 100"),
        ("expire_time", "noon", "expected a time, like 2026-12-31T21:00:00Z"),
    ],
)
def test_advice_is_for_whoever_types_and_following_it_is_right(
    pulse: Pulse, field: str, value: str, advice: str
) -> None:
    ticket = OrderTicket(pulse)
    ticket.fill(**{"time_in_force": "gtd", "expire_time": "2026-12-31T21:00:00Z", field: value})
    ticket.enter()
    assert ticket.wrong == {field: advice}
    ticket.fill(**{field: advice.rpartition(" ")[2]})
    ticket.enter()
    assert ticket.wrong == {}
    assert ticket.order is not None
    assert (pulse.network["c1"].status(ticket.order).price or 0) <= 50_2500


@pytest.mark.parametrize(
    ("typed", "price"),
    [("1,050.25", 1050_2500), ("50", 50_0000), (50, 50_0000), (" 50.1 ", 50_1000)],
)
def test_a_price_is_typed_in_the_currency(pulse: Pulse, typed: object, price: int) -> None:
    ticket = OrderTicket(pulse)
    ticket.fill(price=typed)
    ticket.enter()
    assert ticket.order is not None
    assert pulse.network["c1"].status(ticket.order).price == price


def traded_at_50(pulse: Pulse) -> None:
    for side in ("buy", "sell"):
        pulse.network["c1"].submit(
            account="bob", symbol="ALFA", side=side, order_qty=10, price="50.00"
        )
    pulse.network.run()


def test_a_price_far_off_the_market_asks_again_before_it_is_entered(pulse: Pulse) -> None:
    traded_at_50(pulse)
    ticket = OrderTicket(pulse)
    ticket.fill(order_qty=1, price="62.50")
    ticket.enter()
    assert ticket.order is not None, "a quarter off is not too far"
    ticket.fill(price="502,500")
    for _ in range(2):
        ticket.enter()
        assert len(pulse.network["c1"].tables["requests"]) == 3
        asks = "502,500.00 is 1,004,900% from the last price, 50.00; enter it once more if that is"
        assert ticket.wrong["price"].startswith(asks)
        ticket.fill(price="30.00")
        ticket.enter()
        assert ticket.wrong["price"].startswith("30.00 is 40%"), "another price asks anew"
        ticket.fill(price="502,500")
    ticket.enter()
    ticket.enter()
    assert len(pulse.network["c1"].tables["requests"]) == 4
    assert ticket.wrong == {}


def test_a_replace_is_typed_and_asked_about_as_a_new_order_is(pulse: Pulse) -> None:
    traded_at_50(pulse)
    order = pulse.network["c1"].submit(
        account="alice", symbol="ALFA", side="buy", order_qty=10, price="49.00"
    )
    blotter = Blotter(pulse)
    blotter.widget  # noqa: B018 - as above
    blotter.select(order.order_id)
    blotter._price.value = "abc"
    blotter._replace_as_typed()
    assert "a price with up to four decimals, like 50.25" in blotter.problem
    blotter._price.value = "1,000"
    blotter._replace_as_typed()
    assert blotter.problem.startswith("1,000.00 is 1,900% from the last price")
    assert pulse.network["c1"].status(order).price == 49_0000
    blotter._price.value = "48"
    blotter._replace_as_typed()
    assert pulse.network["c1"].status(order).price == 48_0000


def test_a_ticket_for_a_system_without_accounts_says_so_beside_the_system(pulse: Pulse) -> None:
    pulse.network.partition("c1")
    pulse.network.lose_disk("c1")
    ticket = OrderTicket(pulse)
    ticket.enter()
    assert ticket.wrong["system"].startswith("c1 holds no accounts and no instruments yet")


def test_an_order_entered_is_carried_at_once_to_every_system(pulse: Pulse) -> None:
    ticket = OrderTicket(pulse)
    ticket.enter()
    assert ticket.order is not None
    assert pulse.network["c3"].status(ticket.order).ord_status == "new"
    assert "taken by c1" in ticket.picture


def test_a_ticket_for_a_system_that_is_down_says_so_beside_the_system(pulse: Pulse) -> None:
    pulse.network.crash("c1")
    ticket = OrderTicket(pulse)
    ticket.enter()
    assert set(ticket.wrong) == {"system"}
    ticket.fill(system="c2")
    ticket.enter()
    assert ticket.order is not None


def test_a_rejected_order_says_why(pulse: Pulse) -> None:
    ticket = OrderTicket(pulse)
    ticket.fill(order_qty=1_000_000)
    assert ticket.preview() == ("50,000,000.00 of 1,000,000.00 buying power", False)
    ticket.enter()
    assert ticket.order is not None
    assert ticket.order.reject_reason
    assert ticket.order.reject_reason in ticket.picture


def test_the_preview_of_a_sale_is_in_shares_and_of_a_market_order_what_it_costs_at_most(
    pulse: Pulse,
) -> None:
    ticket = OrderTicket(pulse)
    ticket.fill(side="sell", order_qty=10_001)
    assert ticket.preview() == ("10,001 of 10,000 free shares", False)
    ticket.fill(side="buy", ord_type="market", order_qty=5)
    assert ticket.preview() == ("no last price to value a market order at", False)
    filled(pulse.network, price="50.00", order_qty=10)
    assert ticket.preview() == ("at most 262.50 of 999,500.00 buying power", True)


@pytest.mark.usefixtures("live")
def test_fields_and_values_of_a_live_ticket_are_the_same(pulse: Pulse) -> None:
    ticket = OrderTicket(pulse)
    ticket.widget  # noqa: B018 - as above
    ticket._fields["order_qty"].value = "7"
    assert ticket.values["order_qty"] == "7"
    ticket.fill(side="sell", ord_type="market")
    assert ticket._button.description == "Sell 7 ALFA at the market"
    assert ticket._fields["price"].layout.display == "none"
    ticket._button.click()
    assert ticket.order is not None


# ---- the blotter


def grid_of(blotter: Blotter) -> pl.DataFrame:
    """The grid's rows, latest first, as its own table has them."""
    view = blotter._grid.table.view(sort=[["n", "desc"]])
    return pl.DataFrame(view.to_columns())


@pytest.mark.usefixtures("live")
def test_the_grid_has_what_the_system_answers(pulse: Pulse) -> None:
    pulse.flow.per_second = 400
    blotter = Blotter(pulse, at="c2")
    blotter.widget  # noqa: B018 - as above
    for _ in range(60):
        pulse.beat()
    pulse.show()
    statuses = pulse.network["c2"].statuses()
    rows = grid_of(blotter)
    assert len(rows) == len(statuses) > 1000
    counts = statuses["ord_status"].cast(pl.String).str.replace_all("_", " ").value_counts()
    assert dict(rows["status"].value_counts().iter_rows()) == dict(counts.iter_rows())
    assert rows["filled"].sum() == statuses["cum_qty"].sum()


@pytest.mark.usefixtures("live")
def test_the_grid_forgets_the_oldest_orders(pulse: Pulse) -> None:
    blotter = Blotter(pulse, rows_max=50)
    blotter.widget  # noqa: B018 - as above
    pulse.flow.per_second = 1000
    for _ in range(6):
        pulse.beat()
        pulse.show()
    rows = grid_of(blotter)
    assert 50 <= len(rows) <= 55
    assert rows["n"].max() == len(pulse.network["c1"].statuses()) - 1


@pytest.mark.usefixtures("live")
def test_blotters_differ_while_a_link_is_cut_and_agree_when_it_is_mended(pulse: Pulse) -> None:
    blotters = [Blotter(pulse, at=name) for name in ("c1", "c3")]
    for blotter in blotters:
        blotter.widget  # noqa: B018 - as above
    ticket = OrderTicket(pulse)
    ticket.enter()
    pulse.network.partition("c3")
    blotters[0].select(str(ticket.order))
    blotters[0].cancel()
    pulse.show()
    assert [grid_of(b)["status"].item() for b in blotters] == ["canceled", "new"]
    pulse.network.heal()
    pulse.carry()
    pulse.show()
    assert [grid_of(b)["status"].item() for b in blotters] == ["canceled", "canceled"]


@pytest.mark.usefixtures("live")
def test_a_blotter_begins_anew_with_a_system_that_comes_back(pulse: Pulse) -> None:
    blotter, ticket = Blotter(pulse), OrderTicket(pulse)
    blotter.widget  # noqa: B018 - as above
    ticket.enter()
    pulse.network.crash("c1")
    pulse.show()
    assert "c1" in blotter._about.html
    pulse.network.restart("c1")
    ticket.enter()
    pulse.show()
    assert grid_of(blotter)["order"].to_list() == ["c1.1-0", "c1-0"]


def test_an_order_is_replaced_from_the_blotter(pulse: Pulse) -> None:
    ticket, blotter = OrderTicket(pulse), Blotter(pulse, at="c2")
    ticket.enter()
    blotter.select(str(ticket.order))
    blotter.replace(order_qty=70, price="49.50")
    (row,) = blotter.orders().select("order_qty", "price").rows()
    assert row == (70, 49_5000)


@pytest.mark.usefixtures("live")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [("1,000", 1000), ("70", 70), ("abc", 100), ("100.5", 100), ("-5", 100), ("", 100)],
)
def test_a_quantity_that_is_none_replaces_nothing_and_says_so(
    pulse: Pulse, typed: str, expected: int
) -> None:
    ticket, blotter = OrderTicket(pulse), Blotter(pulse)
    blotter.widget  # noqa: B018 - as above
    ticket.enter()
    blotter.select(str(ticket.order))
    blotter._qty.value = typed
    blotter._replace.click()
    assert blotter.orders()["order_qty"].item() == expected
    assert ("order_qty=" in blotter.problem) == (expected == 100)
    assert len(pulse.network["c1"].tables["requests"]) == (1 if expected == 100 else 2)


# ---- the network


def test_clicks_cut_and_mend_links_and_crash_and_restart_systems(pulse: Pulse) -> None:
    view, network = NetworkView(pulse), pulse.network
    for what, is_so in (
        ("cut c1 s1", lambda: network.cut("c1", "s1") and not network.cut("c1", "s2")),
        ("mend c1 s1", lambda: not network.cut("c1", "s1")),
        ("alone c2", lambda: all(network.cut("c2", o) for o in network.systems if o != "c2")),
        ("join c2", lambda: not network.cut("c2", "c1")),
        ("crash s1", lambda: network["s1"].down),
        ("restart s1", lambda: not network["s1"].down),
        ("lose c1", lambda: str(network["c1"].origin) == "c1.1"),
    ):
        assert f'data-do="{what}"' in view.picture
        view.act(what)
        assert not view.problem
        assert is_so(), what


def test_numbers_on_links_are_the_records_in_flight(pulse: Pulse) -> None:
    view = NetworkView(pulse)
    pulse.running = False
    OrderTicket(pulse).enter()
    assert pulse.network.behind()["behind"].sum() == 3
    assert view.picture.count('class="link busy"') == 3
    assert "1 records in flight" in view.picture


@pytest.mark.parametrize(("customers", "streets"), [(1, 1), (5, 1), (2, 6)])
def test_nodes_of_a_network_of_any_size_stand_apart(customers: int, streets: int) -> None:
    from itertools import combinations

    from tradesys.widgets.network_view import _WIDE, _places

    places = _places(list(Network(customers, streets, clock=ManualClock(START_NS)))).values()
    for one, two in combinations(places, 2):
        beside = one.x + _WIDE <= two.x or two.x + _WIDE <= one.x
        assert beside or one.y + one.tall <= two.y or two.y + two.tall <= one.y


# ---- inquiries, accounts, stories


def test_an_inquiry_asks_everybody_and_says_who_is_behind(pulse: Pulse) -> None:
    ticket = OrderTicket(pulse)
    ticket.enter()
    pulse.network.partition("c3")
    pulse.network["c1"].cancel(ticket.order or "")
    pulse.network.run()
    panel = InquiryPanel(pulse, str(ticket.order))
    shown = panel.picture
    assert shown.count(chip("canceled")) == 3  # c1, c2, and the firm
    assert shown.count(chip("new")) == 1
    assert "c1-1" in shown
    panel.ask(at="c3")
    assert panel.picture.count(chip("new")) == 1


@pytest.mark.parametrize("order", ["c1-99", "nonsense", "c9-0"])
def test_an_inquiry_for_no_order_says_so(pulse: Pulse, order: str) -> None:
    assert "●" not in InquiryPanel(pulse, order).picture


def test_an_inquiry_goes_on_while_systems_are_down(pulse: Pulse) -> None:
    ticket = OrderTicket(pulse)
    ticket.enter()
    pulse.network.crash("c1")
    shown = InquiryPanel(pulse, str(ticket.order)).picture
    assert shown.count(chip("new")) == 3


def test_an_account_shows_cash_positions_and_open_orders(pulse: Pulse) -> None:
    ticket = OrderTicket(pulse)
    ticket.enter()
    shown = AccountPanel(pulse).picture
    assert "995,000.00" in shown  # the buying power that the open order leaves
    assert "1 open order" in shown


@pytest.mark.usefixtures("live")
def test_a_system_that_comes_back_and_reaches_nobody_leaves_the_desk_at_work(pulse: Pulse) -> None:
    parts = [NetworkView(pulse), Blotter(pulse), AccountPanel(pulse), InquiryPanel(pulse, "c1-0")]
    for part in parts:
        part.widget  # noqa: B018 - as above
    OrderTicket(pulse).enter()
    for act in ("partition", "crash", "restart"):
        getattr(pulse.network, act)("c1")
        pulse.beat(10)  # every part looks again, and whatever fails there fails here
    assert "c1 holds no accounts" in parts[2].picture
    pulse.network.heal()
    pulse.beat(10)
    assert "buying power" in parts[2].picture


def test_a_story_has_each_record_once_and_an_arrow_to_each_system_that_learned(
    pulse: Pulse,
) -> None:
    ticket = OrderTicket(pulse)
    ticket.enter()
    story = OrderStory(pulse.network, ticket.order or "")
    learned = pulse.network.explain(ticket.order or "").learned
    drawn = story._drawing()
    assert drawn.count("<circle") == learned["record_id"].n_unique()
    assert drawn.count("stroke-width") == len(learned) - learned["record_id"].n_unique()
    story.act("c1-0")
    assert story.shown == "c1-0"
    assert "time_in_force" in story._in_full["c1-0"]


@pytest.mark.usefixtures("live")
def test_fields_follow_what_code_says_and_set_it(pulse: Pulse) -> None:
    account, inquiry, blotter = AccountPanel(pulse), InquiryPanel(pulse), Blotter(pulse)
    for part in (account, inquiry, blotter):
        part.widget  # noqa: B018 - as above
    OrderTicket(pulse).enter()
    account.account, account.at = "bob", "c2"
    inquiry.ask("c1-0", at="c3")
    blotter.show("c2")
    pulse.show()
    assert (account._tied["account"].value, account._tied["at"].value) == ("bob", "c2")
    assert (inquiry._tied["order"].value, inquiry._tied["at"].value) == ("c1-0", "c3")
    assert (inquiry.order, inquiry.at) == ("c1-0", "c3")
    assert blotter._tied["at"].value == "c2"
    assert grid_of(blotter)["order"].to_list() == ["c1-0"]
    blotter._tied["at"].value = "c3"
    assert blotter.system.name == "c3"
    assert grid_of(blotter)["order"].to_list() == ["c1-0"]


@pytest.mark.usefixtures("live")
def test_the_bar_says_whether_the_desk_runs_whoever_paused_it() -> None:
    desk = Desk(Network(clock=ManualClock(START_NS)))
    desk.widget  # noqa: B018 - as above
    desk.refresh()
    desk.pause()
    assert (desk._run.value, desk._run.description) == (False, "Paused")
    desk._run.value = True
    assert desk.pulse.running
    desk.step()
    assert (desk._run.value, desk.pulse.running) == (False, False)
    desk.check()
    records = max(sum(held.values()) for held in desk.network.summary().values())
    assert f"audit at {records:,} records: true" in desk._audited.html
    desk.close()


# ---- the pulse and the crowd


def test_stages_run_one_by_one_when_the_network_is_paused(pulse: Pulse) -> None:
    pulse.running = False
    OrderTicket(pulse).enter()
    assert [(pulse.stage, pulse.step()) for _ in range(4)] == [
        ("send", 1),
        ("work", 1),
        ("replicate", 8),
        ("clear", 0),
    ]


def test_the_network_runs_as_many_stages_a_second_as_it_is_told(pulse: Pulse) -> None:
    pulse.per_second = 4
    OrderTicket(pulse).enter()
    pulse.beat(0.5)
    assert pulse.stage == "replicate"
    assert pulse.network["c1"].tables["executions"].positions == {}
    pulse.beat(0.5)
    assert pulse.network["c1"].tables["executions"].positions == {"s1": 1}


def test_what_was_clicked_is_shown_first_and_the_rest_in_the_next_beat(pulse: Pulse) -> None:
    shown: list[str] = []
    pulse.listen(lambda: shown.append("rest"), 10)
    pulse.listen(lambda: shown.append("first"), 10, first=lambda: True)
    pulse.carry()
    assert shown == ["first"]
    pulse.beat(0)
    assert shown == ["first", "rest"]


def test_a_desk_beats_by_itself_and_stops(pulse: Pulse) -> None:
    async def beats() -> int:
        seen = asyncio.Event()
        pulse.listen(seen.set, 0)
        pulse.start()
        pulse.start()  # again: it goes on as it was
        await asyncio.wait_for(seen.wait(), 600)
        pulse.stop()
        await asyncio.sleep(0)  # the task ends
        return len(asyncio.all_tasks())

    assert asyncio.run(beats()) == 1


@contextmanager
def kernel() -> Iterator[Callable[[str, str], str]]:
    """A kernel as JupyterLab has one: runs a cell of a name, and gives how many desks beat then."""
    live = os.environ | {"TRADESYS_WIDGETS": "live"}
    manager, client = start_new_kernel(600, kernel_name="python3", env=live)
    tasks = "[t for t in __import__('asyncio').all_tasks() if t.get_name() == 'tradesys']"
    beating = f"[t.cancelling() for t in {tasks}].count(0)"

    def run(cell: str, code: str) -> str:
        asks = {"code": code, "silent": False, "user_expressions": {"beating": beating}}
        message = client.session.msg("execute_request", asks, metadata={"cellId": cell})
        client.shell_channel.send(message)
        answer = client.get_shell_msg(timeout=600)
        while answer["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            answer = client.get_shell_msg(timeout=600)  # a late answer to whether it has come up
        reply = answer["content"]
        assert reply["status"] == "ok", reply["evalue"]
        told = reply["user_expressions"]["beating"]["data"]["text/plain"]
        assert isinstance(told, str)
        return told

    try:
        yield run
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_cell_that_is_run_again_leaves_the_desks_that_it_made_before(tmp_path: Path) -> None:
    makes = f"from tradesys.widgets import Desk\ndesk = Desk(data={str(tmp_path / 'run')!r})"
    given = "from tradesys import Network\nnetwork = Network()"
    with kernel() as run:
        assert run("first", f"{makes}\ndesk.widget") == "1"
        assert run("first", f"{makes}\ndesk.widget") == "1", "and the folder is free again"
        assert run("network", given) == "1"
        two = "one, other = Desk(network), Desk(network)\none.widget, other.widget"
        assert run("second", two) == "3"
        assert run("second", two) == "3"
        assert run("third", "network.run(), desk.network.run(), desk.close()") == "2"


def test_a_crowd_enters_as_many_orders_as_it_is_told_and_is_the_same_for_a_seed() -> None:
    def run(seed: int) -> dict[str, int]:
        books = OpeningBooks(cash=10**12, shares=10**6)
        network = Network(3, 2, firm=books, clock=ManualClock(START_NS))
        flow = Flow(network, per_second=200, seed=seed)
        for _ in range(100):
            flow.advance(0.05)
            network.run()
        assert flow.entered == 1000
        assert network.audit().verdict is True
        status = network["c1"].statuses()["ord_status"]
        assert {"new", "canceled", "filled"} <= set(status)
        return dict(status.cast(pl.String).value_counts().iter_rows())

    assert run(1) == run(1) != run(2)


def test_a_crowd_goes_to_the_systems_that_are_up() -> None:
    network = Network(3, 2, clock=ManualClock(START_NS))
    flow = Flow(network, per_second=100)
    network.crash("c2")
    assert flow.advance(1) == 100
    for name in ("c1", "c3"):
        network.crash(name)
    assert flow.advance(1) == 0


def test_a_crowd_does_not_go_to_a_system_that_knows_no_accounts() -> None:
    network = Network(2, 1, clock=ManualClock(START_NS))
    flow = Flow(network, per_second=100)
    network.partition("c2")
    network.lose_disk("c2")
    assert flow.advance(1) == 100
    assert len(network["c1"].tables["requests"]) == 100


def test_changed_gives_the_orders_that_records_since_then_are_about() -> None:
    network = Network(2, 2, clock=ManualClock(START_NS))
    flow, c2 = Flow(network, per_second=300), network["c2"]
    known: dict[int, tuple[Any, ...]] = {}
    since = None
    for _ in range(50):
        flow.advance(0.05)
        network.run()
        changed, since = c2.changed(since)
        known |= {row[0]: row for row in changed.iter_rows()}
    whole = c2.statuses().drop("cl_ord_id")
    assert changed.schema == whole.schema
    assert sorted(known.values()) == sorted(whole.rows())
    assert not len(c2.changed(since)[0])


# ---- how things are written


@pytest.mark.parametrize(
    ("units", "text"),
    [(50_2500, "50.25"), (1, "0.0001"), (-1_234_5000, "−1,234.50"), (0, "0.00"), (None, None)],
)
def test_money_is_written_with_cents(units: int | None, text: str | None) -> None:
    assert money(units) == text


def test_text_in_tables_is_not_taken_for_html() -> None:
    assert "<b>" not in table(["a"], [["<b>"]])
