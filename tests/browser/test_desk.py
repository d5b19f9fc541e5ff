"""The desk in a real browser: an order's story, told by clicks, in JupyterLab and as a web app."""

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import SCREENSHOTS


def run_all(page: Page, address: str) -> None:
    """Open a notebook in JupyterLab and run it from top to bottom."""
    page.goto(address)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    page.wait_for_function(
        "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    )
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")


def run_desk(page: Page, lab: str) -> None:
    """Open the desk's notebook, and go back to the desk when all of it has run."""
    run_all(page, lab.format("2_desk.ipynb"))
    grids = page.locator("perspective-viewer")
    expect(grids.first).to_be_visible()
    page.wait_for_function(
        "jupyterapp.shell.currentWidget.content.widgets"
        ".filter(cell => cell.model.type === 'code' && cell.model.sharedModel.getSource().trim())"
        ".every(cell => cell.model.executionCount)"
    )
    page.evaluate("jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    page.evaluate("jupyterapp.shell.currentWidget.content.scrollToItem(1)")


def take(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def row(blotter: Locator, order: str) -> Locator:
    return blotter.locator("regular-table tbody tr").filter(has_text=re.compile(rf"{order}(?!\d)"))


def type_into(page: Page, label: str, text: str) -> None:
    field = page.get_by_label(label, exact=True).first
    field.fill(text)
    field.press("Tab")


def buy(page: Page, qty: str, price: str) -> None:
    """Fill the ticket in and press its button, once it says what was typed."""
    type_into(page, "Quantity", qty)
    type_into(page, "Price", price)
    page.get_by_role("button", name=f"Buy {int(qty):,} ALFA {price}").first.click()


def story(page: Page, shot: Callable[[str], None]) -> None:
    """Buy, see it elsewhere, cut, cancel, see the blotters differ, mend, see them agree, err."""
    at_c1, at_c3 = (page.locator("perspective-viewer").nth(i) for i in (0, 1))
    page.get_by_label("System").first.select_option("c1")
    page.get_by_label("Account").first.select_option("dave")
    buy(page, "4321", "47.11")
    taken = page.get_by_role("status").first
    expect(taken).to_contain_text("taken by c1")
    order = taken.locator("b").inner_text()
    for blotter in (at_c1, at_c3):
        expect(row(blotter, order)).to_contain_text("4,321")
        expect(row(blotter, order)).to_contain_text("new")

    page.get_by_role("button", name="cut off c3").first.click()
    page.get_by_role("button", name="cut c1 c2").first.press("Enter")
    expect(page.get_by_role("button", name="mend c1 c2").first).to_be_visible()
    row(at_c1, order).locator("td").first.click()
    cancel = page.get_by_role("button", name="Cancel order").first
    expect(cancel).to_be_enabled()
    cancel.click()
    expect(row(at_c1, order)).to_contain_text("canceled")
    expect(row(at_c3, order)).to_contain_text("new")
    asked = page.get_by_role("row").filter(has=page.get_by_role("cell", name="c3", exact=True))
    expect(asked.first).to_contain_text("new")
    shot("cut")

    page.get_by_role("button", name="join c3").first.click()
    page.get_by_role("button", name="mend c1 c2").first.press("Enter")
    expect(row(at_c3, order)).to_contain_text("canceled")
    expect(asked.first).to_contain_text("canceled")

    buy(page, "100", "47.115")
    expect(page.get_by_role("alert").first).to_contain_text("a multiple of the tick size")
    shot("refused")
    buy(page, "100", "47.11")
    expect(page.get_by_role("alert")).to_have_count(0)

    page.get_by_role("button", name="crash c1").first.click()
    expect(page.get_by_role("button", name="restart c1").first).to_be_visible()
    buy(page, "200", "47.11")
    expect(page.get_by_role("alert").first).to_contain_text("c1")
    page.get_by_role("button", name="restart c1").first.click()
    expect(row(at_c1, order)).to_contain_text("canceled")


def test_desk_in_jupyterlab_tells_the_story_by_clicks(lab: str, page: Page) -> None:
    run_desk(page, lab)
    story(page, lambda name: take(page, f"lab-{name}"))
    errors = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']")
    assert errors.count() == 0


def test_desk_as_a_web_app_tells_the_story_by_clicks(app: str, page: Page) -> None:
    page.goto(app)
    expect(page.locator("perspective-viewer")).to_have_count(2)
    story(page, lambda name: take(page, f"app-{name}"))
    page.reload()  # another desk, and nothing is said of the one before
    expect(page.locator("perspective-viewer")).to_have_count(2)


def test_desk_follows_the_theme(lab: str, page: Page) -> None:
    run_desk(page, lab)
    for theme in ("Dark", "Light"):
        page.evaluate(
            f"jupyterapp.commands.execute('apputils:change-theme', {{theme: 'JupyterLab {theme}'}})"
        )
        is_light = str(theme == "Light").lower()
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", is_light)
        grids = page.locator("perspective-viewer")
        expect(page.locator(f"perspective-viewer[theme='Pro {theme}']")).to_have_count(
            grids.count()
        )
        head = grids.first.locator("regular-table thead th")
        expect(head.last).to_have_text("status")
        take(page, f"lab-{theme.lower()}")


def test_story_shows_the_record_that_is_clicked(lab: str, page: Page) -> None:
    run_all(page, lab.format("1_tour.ipynb"))
    record = page.get_by_role("button", name=re.compile(r"record s\d-\d+")).first
    record.press("Enter")
    shown = page.get_by_role("cell", name="exec_type", exact=True)
    expect(shown.first).to_be_visible()
    record.scroll_into_view_if_needed()
    take(page, "lab-story")
