"""The page fits: a phone, twice the size, larger letters, paper."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.browser.conftest import GOOD, TABS, Open

ALL = GOOD + "&compare=8"
FITS = "document.documentElement.scrollWidth <= window.innerWidth"
SPACED = """* { line-height: 1.5 !important; letter-spacing: 0.12em !important;
word-spacing: 0.16em !important; } p { margin-bottom: 2em !important; }"""


@pytest.mark.parametrize(
    "size",
    [
        pytest.param({"width": 320, "height": 640}, id="320 px"),
        pytest.param({"width": 640, "height": 450}, id="1280 px at 200 %"),
        pytest.param({"width": 2560, "height": 1200}, id="wide"),
    ],
)
@pytest.mark.parametrize("code", ["en", "de"])
def test_nothing_scrolls_sideways(visit: Open, size: Any, code: str) -> None:
    page = visit(ALL.replace("lang=en", f"lang={code}"), viewport=size)
    for tab in TABS:
        page.click(f"#tab-{tab}")
        page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
        assert page.evaluate(FITS), tab


def test_faults_fit_a_phone(visit: Open) -> None:
    page = visit(
        "/?failed_trials=99999999999999999999&infusions=6&rated_by=self&lang=de",
        viewport={"width": 320, "height": 640},
    )
    assert page.evaluate(FITS)


def test_letters_of_twice_the_size_fit(visit: Open) -> None:
    page = visit(ALL, viewport={"width": 1280, "height": 900})
    page.evaluate("document.documentElement.style.setProperty('font-size', '200%')")
    for tab in TABS:
        page.click(f"#tab-{tab}")
        assert page.evaluate(FITS), tab


def test_wider_spacing_of_text_cuts_nothing_off(visit: Open) -> None:
    page = visit(ALL, viewport={"width": 320, "height": 640}, bypass_csp=True)
    page.add_style_tag(content=SPACED)
    for tab in TABS:
        page.click(f"#tab-{tab}")
        assert page.evaluate(FITS), tab


@pytest.mark.parametrize(
    ("address", "script"),
    [
        (ALL, True),
        (ALL, False),
        ("/?failed_trials=1-14&infusions=30&rated_by=unknown&compare=8&lang=de", True),
        ("/?failed_trials=1-14&infusions=30&rated_by=unknown&compare=8&lang=es", False),
        ("/?failed_trials=6&infusions=12&rated_by=unknown&so_far=NNR&lang=en", True),
    ],
)
def test_everything_prints_on_two_pages(visit: Open, address: str, *, script: bool) -> None:
    page = visit(address, java_script_enabled=script)
    paper = page.pdf(prefer_css_page_size=True, print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", paper)) == 2
    page.emulate_media(media="print")
    for tab in TABS:
        assert page.is_visible(f"#panel-{tab}"), tab
    assert not page.is_visible("#inputs")
    assert page.is_visible("footer code")
    if script:
        assert not page.is_visible('[role="tablist"]')


def test_ink_on_paper_is_dark_whatever_the_theme(visit: Open) -> None:
    page = visit(ALL, color_scheme="dark")
    page.click("#theme")
    page.click("#theme")
    page.emulate_media(media="print")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
