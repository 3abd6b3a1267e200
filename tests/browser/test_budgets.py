"""Budgets by the browser's own clock: page ready, answer there, bytes moved, nothing stored."""

from __future__ import annotations

import statistics

from tests.browser.conftest import GOOD, Open

import ketacast

READY_MS = 300
ANSWER_MS = 100
MOST_BYTES = 100_000


def test_the_page_is_ready_in_time_and_small(visit: Open) -> None:
    times, sizes = [], []
    for _ in range(3):  # each in a browser that knows nothing of the page
        page = visit(GOOD + "&compare=8")
        found = page.evaluate(
            """() => {
              const [page] = performance.getEntriesByType("navigation");
              const paint = performance.getEntriesByName("first-contentful-paint")[0];
              const files = performance.getEntriesByType("resource");
              return { ready: page.domContentLoadedEventEnd, paint: paint?.startTime ?? 0,
                bytes: [page, ...files].reduce((sum, one) => sum + one.transferSize, 0) };
            }"""
        )
        times.append(max(found["ready"], found["paint"]))
        sizes.append(found["bytes"])
    assert min(times) <= READY_MS, times
    assert max(sizes) <= MOST_BYTES


def test_answers_come_in_time(visit: Open) -> None:
    page = visit(GOOD)
    for number in range(2, 12):
        expected = ketacast.predict(failed_trials=number, infusions=6, rated_by="self")
        page.fill("#failed_trials", str(number))
        page.wait_for_selector(
            f'[data-part="hero"] [data-name="expected"][value="{expected.response.expected}"]'
        )
    taken = page.evaluate("performance.getEntriesByName('answer').map((one) => one.duration)")
    assert len(taken) == 10
    assert statistics.median(taken) <= ANSWER_MS, taken


def test_nothing_is_stored_by_a_visit(visit: Open) -> None:
    page = visit(GOOD)
    page.fill("#failed_trials", "3")
    page.click("#tab-course")
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length") == 0
    assert page.evaluate("Object.keys(sessionStorage)") == ["ketacast-tab"]
    assert page.evaluate("(async () => (await caches.keys()).length)()") == 0
