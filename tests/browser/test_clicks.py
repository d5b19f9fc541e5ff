"""Very many clicks while a crowd keeps the market busy: whichever thread answers them, all is true.

JupyterLab has kernels answer widgets in a thread of their own, beside the desk's pulse.
"""

import os
import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

from tests.browser.test_desk import run_desk, take, type_into

CLICKS = int(os.environ.get("TRADESYS_CLICKS", "16"))
CROWDS = ("500", "5,000")
SAME_AS_BEFORE = """() => {
    const [said] = document.body.innerText.match(/running, .* records/) || [""];
    const before = window.saidBefore;
    window.saidBefore = said;
    return said && said === before;
}"""
"""Whether the desk says that it holds as many records as when it was asked last."""


def press(page: Page, name: str | re.Pattern[str]) -> None:
    page.get_by_role("button", name=name).first.click()


def switch(page: Page, what: str, back: str) -> None:
    """Switch something off and on again, each once the desk shows it."""
    off, on = (page.get_by_role("button", name=n, exact=True).first for n in (what, back))
    off.press("Enter")
    on.press("Enter")
    expect(off).to_be_visible()


def enter(page: Page, side: str, qty: int) -> None:
    page.get_by_role("button", name=side, exact=True).first.click()
    type_into(page, "Quantity", str(qty))
    press(page, re.compile(f"^{side} {qty:,} ALFA"))
    expect(page.get_by_role("status").first).to_contain_text("taken by c1")


def change(page: Page, verb: str) -> None:
    """Select the newest order in the first blotter, and cancel or replace it; it may be closed."""
    page.locator("perspective-viewer").first.locator("regular-table tbody td").first.click()
    button = page.get_by_role("button", name=f"{verb} order").first
    expect(button).to_be_enabled()
    if verb == "Replace":
        page.get_by_label("Quantity", exact=True).nth(1).fill("900")
    button.click()


ACTS: list[Callable[[Page, int], None]] = [
    lambda page, number: enter(page, "Buy", 100 + number),
    lambda page, number: enter(page, "Sell", 100 + number),
    lambda page, _: change(page, "Cancel"),
    lambda page, _: change(page, "Replace"),
    lambda page, _: switch(page, "cut c1 c2", "mend c1 c2"),
    lambda page, number: enter(page, "Buy", 100 + number),
    lambda page, _: switch(page, "crash s1", "restart s1"),
    lambda page, _: switch(page, "cut c1 s2", "mend c1 s2"),
    lambda page, number: enter(page, "Sell", 100 + number),
    lambda page, _: switch(page, "crash firm", "restart firm"),
]


def click_through(page: Page, shot: str) -> None:
    page.get_by_label("System").first.select_option("c1")
    for crowd in CROWDS:
        page.get_by_label("Crowd, orders a second").first.select_option(crowd)
        for number in range(CLICKS // len(CROWDS)):
            ACTS[number % len(ACTS)](page, number)
    page.get_by_label("Crowd, orders a second").first.select_option("nobody")
    # What the crowd has asked for is carried before the books are looked at.
    page.wait_for_function(SAME_AS_BEFORE, polling=1000)
    said: Locator = page.get_by_text(re.compile("audit at [0-9,]+ records:")).first
    press(page, "Audit")
    expect(said).to_contain_text("records: true")
    expect(page.get_by_text(re.compile("^running, .* records$")).first).to_be_visible()
    take(page, shot)


def test_many_clicks_in_jupyterlab_leave_all_true(lab: str, page: Page) -> None:
    run_desk(page, lab)
    click_through(page, "lab-clicks")


def test_many_clicks_in_the_web_app_leave_all_true(app: str, page: Page) -> None:
    page.goto(app)
    expect(page.locator("perspective-viewer")).to_have_count(2)
    click_through(page, "app-clicks")
