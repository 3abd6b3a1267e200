"""A real browser and a running service for the tests that look at the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright
from tests.service.running import Running, running_service

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
GOOD: Final = "/?failed_trials=6&infusions=6&rated_by=self&lang=en"
TABS: Final = ("people", "course", "table", "compare", "words", "note", "evidence", "model")

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a browser, and stop it before tests of other kinds: its driver keeps an event
    loop running in this thread, in which no other could be started."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no chromium is installed; .ci/run installs it")
        pytest.skip("no chromium is installed")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="session")
def site() -> Iterator[Running]:
    with running_service(rate_per_second=0) as running:
        yield running


@pytest.fixture
def visit(browser: Browser, site: Running) -> Iterator[Open]:
    """Open the page in a fresh browser; whatever the console says fails the test."""
    contexts: list[BrowserContext] = []
    heard: list[str] = []

    def go(address: str = GOOD, **options: Any) -> Page:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("requestfailed", lambda request: _note(request, heard))
        page.on("request", lambda request: _stay(request.url, site.url, heard))
        page.goto(site.url + address)
        return page

    yield go
    for context in contexts:
        with suppress(Exception):
            context.close()
    # Statuses of faults are answers like others; the tests look at what the page makes of them.
    silent = ("status of 422", "status of 503")
    assert [text for text in heard if not any(part in text for part in silent)] == []


def _note(request: Request, heard: list[str]) -> None:
    """Note a request that failed; one that was given up for a newer one or a reload did not."""
    if request.failure != "net::ERR_ABORTED":
        heard.append(f"{request.failure}: {request.url}")


def _stay(url: str, home: str, heard: list[str]) -> None:
    if not url.startswith((home, "blob:", "data:")):
        heard.append(f"left the site: {url}")
