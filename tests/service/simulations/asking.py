"""Specifications over HTTP, and waiting for what becomes of them."""

from __future__ import annotations

import time
from typing import Any, Final

import httpx

LONGEST: Final = 90.0
"""Seconds; a small simulation takes three, but tests share the processors."""


def spec(**run: Any) -> dict[str, Any]:
    """A small simulation; `run` goes into its table ``simulation``."""
    return {
        "simulation": {"patients": 400, "horizon_weeks": 6, "draws": 32, **run},
        "cohort": {
            "groups": [
                {"failed_trials": 4, "rated_by": "self", "share": 0.6},
                {"failed_trials": 8, "rated_by": "unknown", "share": 0.4, "clinics": 2},
            ]
        },
        "strategies": [
            {"name": "four", "infusions": 4},
            {"name": "six, stopped", "infusions": 6, "stop": [{"after": 3, "none_in_last": 3}]},
        ],
    }


def long_spec(**run: Any) -> dict[str, Any]:
    """One that takes some seconds, in many small tasks."""
    return spec(**{"draws": 400, "horizon_weeks": 26, "classes": 128, **run})


def submitted(http: httpx.Client, document: dict[str, Any]) -> str:
    """The id of a simulation that was taken on."""
    answer = http.post("/v1/simulations", json=document)
    assert answer.status_code == 202, answer.text
    found: str = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/simulations/{found}"
    return found


def state(http: httpx.Client, identifier: str) -> dict[str, Any]:
    answer = http.get(f"/v1/simulations/{identifier}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ended(http: httpx.Client, identifier: str) -> dict[str, Any]:
    """What is shown of a simulation once it has ended."""
    return until(http, identifier, lambda found: found["finished"] is not None)


def until(http: httpx.Client, identifier: str, reached: Any) -> dict[str, Any]:
    """What is shown of a simulation once it has come so far."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        found = state(http, identifier)
        if reached(found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"after {LONGEST:g} s it is {found}")
