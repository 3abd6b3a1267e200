"""Feedback: its rules, and what is kept of it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

Json = dict[str, Any]

PATH = "/cds-services/ketamine-outlook-order-sign/feedback"
SYSTEM = "urn:ketacast:cds-override-reason"
GOOD: Json = {
    "card": "4e0a3a1e-3283-4575-ab82-028d55fe2719",
    "outcome": "overridden",
    "outcomeTimestamp": "2026-11-23T07:10:00Z",
}


def status(http: httpx.Client, *entries: object) -> int:
    return http.post(PATH, json={"feedback": list(entries)}).status_code


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"outcomeTimestamp": "2026-11-23T07:22:00.963Z"},
        {"outcomeTimestamp": "2026-11-23T08:22:00+01:00"},
        {"overrideReason": {"userComment": "known"}},
        {"overrideReason": {"reason": {"code": "x", "system": "https://ehr.example"}}},
        {"overrideReason": {"reason": {"code": ["x"], "system": SYSTEM}}},
        {"overrideReason": {"reason": {"code": "count-differs", "system": SYSTEM}}},
        {"outcome": "accepted", "acceptedSuggestions": [{"id": "1"}]},
        {"card": "4E0A3A1E-3283-4575-AB82-028D55FE2719"},
        {"extension": {"com.example.x": {}}},
    ],
)  # fmt: skip
def test_good_feedback_is_taken(http: httpx.Client, change: Json) -> None:
    assert status(http, {**GOOD, **change}) == 200


@pytest.mark.parametrize(
    "change",
    [
        {"card": None}, {"card": "1"}, {"card": "Jane Roe"}, {"outcome": None},
        {"outcome": "ignored"}, {"outcome": ["accepted"]}, {"outcomeTimestamp": None},
        {"outcomeTimestamp": "2026-11-23"}, {"outcomeTimestamp": "2026-13-45T07:10:00Z"},
        {"outcomeTimestamp": "2026-11-23T07:10:00"}, {"outcomeTimestamp": 7},
        {"outcome": "accepted"}, {"outcome": "accepted", "acceptedSuggestions": []},
        {"outcome": "accepted", "acceptedSuggestions": [7]}, {"overrideReason": "x"},
    ],
)  # fmt: skip
def test_feedback_that_breaks_a_rule_is_refused(http: httpx.Client, change: Json) -> None:
    assert status(http, {**GOOD, **change}) == 400


def test_all_entries_or_none(http: httpx.Client) -> None:
    assert status(http) == 400
    assert status(http, GOOD, {}) == 400
    assert status(http, *[GOOD] * 101) == 400
    assert status(http, *[GOOD] * 100) == 200


def test_the_same_feedback_again_is_taken(http: httpx.Client) -> None:
    assert [status(http, GOOD) for _ in range(2)] == [200, 200]
