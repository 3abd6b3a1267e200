"""Take the pictures of the page that the documents show: ``python -m tests.browser.pictures``.

Run from the top of the repository. Colours are reduced, so that a picture stays small.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from tests.browser.conftest import ARGUMENTS, GOOD, NAMES, TABS
from tests.service.running import running_service

from ketacast.updating import Batch, Cell, update_clinic

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
COLOURS: Final = 64
DESKTOP: Final = {"width": 1280, "height": 860}
PHONE: Final = {"width": 320, "height": 700}
PAPER: Final = {"viewport": {"width": 711, "height": 1010}, "device_scale_factor": 1.25}
"""A4 without its margins, large enough to be read."""

FAULTS: Final = "/?failed_trials=99&infusions=40&rated_by=&lang=en"

Act = Callable[[Page], object]


def main() -> None:
    """Take every picture."""
    with running_service(rate_per_second=0) as site, sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, NAMES)))
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        for name, address, options, act in states():
            page = open_page(browser, site.url + address, options)
            act(page)
            page.wait_for_timeout(150)
            # Another identifier each time would make every picture another.
            page.evaluate("document.querySelector('[data-part=record]').textContent = ''")
            keep(name, page.screenshot(full_page="first" not in name))
            page.context.close()
        browser.close()


def states() -> list[tuple[str, str, dict[str, Any], Act]]:
    """Name every state with its address, the browser's options and what is done there."""
    light: dict[str, Any] = {"viewport": DESKTOP, "color_scheme": "light"}
    dark = {**light, "color_scheme": "dark"}
    phone = {**light, "viewport": PHONE}
    found: list[tuple[str, str, dict[str, Any], Act]] = [
        ("page-first-look", GOOD, light, _nothing),
        ("page-first-look-dark", GOOD, dark, _nothing),
        ("page-start", "/?lang=en", light, _nothing),
        ("page-faults", FAULTS, light, _nothing),
        ("page-beyond", "/?failed_trials=1&infusions=12&rated_by=unknown&lang=en", light, _nothing),
        ("page-under-way", GOOD + "&so_far=NNR", light, _tab("course")),
        ("page-own-clinic", GOOD, light, _own_clinic),
        ("page-list", GOOD, light, _list),
        ("page-deutsch", GOOD.replace("en", "de") + "&compare=8", light, _tab("compare")),
        ("page-espanol", GOOD.replace("en", "es"), dark, _tab("words")),
        ("page-print", GOOD + "&compare=8", PAPER, lambda page: page.emulate_media(media="print")),
        ("page-phone", GOOD, phone, _nothing),
        ("page-phone-evidence", GOOD, {**phone, "color_scheme": "dark"}, _tab("evidence")),
    ]
    for tab in TABS:
        found.append((f"page-{tab}", GOOD + "&compare=8", light, _tab(tab)))
        found.append((f"page-{tab}-dark", GOOD + "&compare=8", dark, _tab(tab)))
    return found


def open_page(browser: Browser, address: str, options: dict[str, Any]) -> Page:
    """Open an address in a fresh browser."""
    page = browser.new_context(locale="en-GB", reduced_motion="reduce", **options).new_page()
    page.goto(address)
    return page


def keep(name: str, picture: bytes) -> None:
    """Write a picture with few colours; the same picture gives the same file."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    few = image.quantize(COLOURS, dither=Image.Dither.NONE)
    path = IMAGES / f"{name}.png"
    few.save(path, optimize=True)
    print(path.name, path.stat().st_size // 1000, "kB", file=sys.stderr)


def _nothing(page: Page) -> None:
    """Leave the page as it is."""


def _tab(name: str) -> Act:
    return lambda page: page.click(f"#tab-{name}")


def _own_clinic(page: Page) -> None:
    cell = Cell((4, 8), 6, "self", "all_treated", 40, 20, 11)
    clinic = update_clinic(None, [Batch("2026-Q1", (cell,))], label="Day clinic")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "clinic.json"
        path.write_text(clinic.to_json(), encoding="utf-8")
        page.click("#own-clinic summary")
        page.set_input_files("#clinic", path)
        page.wait_for_selector("[data-part=hero] .own")
    page.click("#tab-table")


def _list(page: Page) -> None:
    page.click("#helper summary")
    page.fill(
        "#medications",
        "sertraline, 150, 8, failed\nvenlafaxine, 225, 10\nmirtazapine, 15, 3\nlithium, 900, 6",
    )
    page.click("#helper button")
    page.wait_for_selector(".counted")


if __name__ == "__main__":
    main()
