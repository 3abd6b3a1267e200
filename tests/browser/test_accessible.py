"""No violation of WCAG 2.2 AA that axe can see, on every tab, in both themes, at each size."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from tests.browser.conftest import GOOD, TABS, Open

RULES: Any = {
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }
}
THEMES = ("light", "dark")


def check(page: Page, part: str | None = None) -> None:
    found = Axe().run(page, context=part, options=RULES)
    said = [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for one in found.response["violations"]
        for node in one["nodes"]
    ]
    assert said == []


@pytest.mark.parametrize("theme", THEMES)
def test_every_tab(visit: Open, theme: Any) -> None:
    page = visit(GOOD + "&compare=8", color_scheme=theme)
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
        # What stands around the panels does not change: it is looked at once.
        check(page, None if tab == TABS[0] else ".more")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(
    "address",
    [
        "/?lang=de",
        "/?failed_trials=99&infusions=x&rated_by=&so_far=Q&lang=en",
        "/?failed_trials=1-14&infusions=30&rated_by=unknown&lang=es",
        "/?failed_trials=6&infusions=6&rated_by=self&so_far=NNR&lang=en",
    ],
)
def test_every_state(visit: Open, theme: Any, address: str) -> None:
    check(visit(address, color_scheme=theme))


def test_on_a_phone_and_without_script(visit: Open) -> None:
    narrow = visit(GOOD, viewport={"width": 320, "height": 640})
    for tab in ("people", "evidence"):
        narrow.click(f"#tab-{tab}")
        check(narrow)


def test_the_other_theme_by_the_button(visit: Open) -> None:
    page = visit(GOOD, color_scheme="light")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    check(page)
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_targets_are_large_enough(visit: Open) -> None:
    page = visit(GOOD)
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, input, summary, .tools a")]
        .filter((one) => one.checkVisibility() && !one.matches("[type=radio]"))
        .filter((one) => { const box = one.getBoundingClientRect();
                           return box.width < 24 || box.height < 24; })
        .map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert small == []
