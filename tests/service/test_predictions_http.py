"""What the service answers is what the library answers, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.service.running import running_service

import ketacast
from ketacast.updating import update_clinic
from ketacast.updating.profile import parse_clinic

TRIALS = st.integers(0, 20) | st.lists(st.integers(0, 20), min_size=2, max_size=2).map(sorted)
LEVELS = st.lists(st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.33]), min_size=1, max_size=3)
COUNTS: dict[str, Any] = {
    "batch": "2026-Q1",
    "cells": [
        {
            "failed_trials": [4, 8],
            "infusions": 6,
            "rated_by": "self",
            "denominator": "completers",
            "n": 40,
            "responders": 22,
            "remitters": 9,
        }
    ],
}


def as_json(document: object) -> object:
    return json.loads(json.dumps(document))


def post(http: httpx.Client, path: str = "/v1/predictions", **body: object) -> dict[str, Any]:
    answer = http.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


@settings(max_examples=40, deadline=None)
@given(
    trials=TRIALS,
    infusions=st.integers(1, 30),
    rater=st.sampled_from(["self", "clinician", "unknown"]),
    levels=LEVELS,
)
def test_an_answer_is_the_librarys(
    http: httpx.Client, trials: int | list[int], infusions: int, rater: Any, levels: list[float]
) -> None:
    asked = trials if isinstance(trials, int) else {"min": trials[0], "max": trials[1]}
    found = post(http, failed_trials=asked, infusions=infusions, rated_by=rater, levels=levels)
    expected = ketacast.predict(
        failed_trials=trials, infusions=infusions, rated_by=rater, levels=levels
    )
    found.pop("id")
    assert found == as_json(expected.to_dict())


@pytest.mark.parametrize("so_far", ["N", "NNR", "RM?N", "???"])
def test_a_course_under_way_is_the_librarys(http: httpx.Client, so_far: str) -> None:
    found = post(http, failed_trials=5, infusions=8, rated_by="unknown", so_far=so_far)
    expected = ketacast.predict(failed_trials=5, infusions=8, rated_by="unknown", so_far=so_far)
    found.pop("id")
    assert found == as_json(expected.to_dict())


def test_an_answer_can_be_recalled_with_its_model(http: httpx.Client) -> None:
    answer = http.post(
        "/v1/predictions",
        json={"failed_trials": 3, "infusions": 4, "rated_by": "self"},
        headers={"X-Request-Id": "ward-7.monday"},
    )
    found = answer.json()
    assert answer.headers["location"] == f"/v1/predictions/{found['id']}"
    record = http.get(answer.headers["location"]).json()
    assert record["id"] == found.pop("id")
    assert record["output"] == found
    assert record["model_sha256"] == found["model"]["sha256"]
    assert record["request_id"] == answer.headers["x-request-id"] == "ward-7.monday"
    assert record["input"] == {
        "failed_trials": {"min": 3, "max": 3},
        "infusions": 4,
        "rated_by": "self",
        "levels": [0.8, 0.95],
    }


def test_every_answer_has_an_id_of_its_own(http: httpx.Client) -> None:
    ids = [post(http, failed_trials=3, infusions=4, rated_by="self")["id"] for _ in range(20)]
    assert len(set(ids)) == 20
    milliseconds = [identifier[:13] for identifier in ids]
    assert milliseconds == sorted(milliseconds)


def test_a_clinic_learns_and_answers(http: httpx.Client, tmp_path: Path) -> None:
    made = post(http, "/v1/clinics", label="Day clinic")
    assert made["n"] == 0
    assert made["method"] == "new clinic"
    where = f"/v1/clinics/{made['id']}"
    after = post(http, f"{where}/outcomes", batches=[COUNTS])
    assert after["n"] == 40
    assert after["batches"] == ["2026-Q1"]
    assert [notice["code"] for notice in after["warnings"]] == ["completers_counted"]
    assert http.get(where).json() == after
    assert after in http.get("/v1/clinics").json()["clinics"]

    profile = http.get(f"{where}/profile").content
    clinic = parse_clinic(profile)
    assert clinic.sha256 == after["sha256"]
    path = tmp_path / "counts.json"
    path.write_bytes(profile)
    asked: dict[str, Any] = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}
    expected = as_json(ketacast.predict(**asked, clinic=clinic).to_dict())
    for reference in ({"id": made["id"]}, {"profile": json.loads(profile)}):
        found = post(http, **asked, clinic=reference)
        found.pop("id")
        assert found == expected


def test_a_batch_of_counts_is_not_added_twice_by_accident(http: httpx.Client) -> None:
    made = post(http, "/v1/clinics")
    where = f"/v1/clinics/{made['id']}/outcomes"
    first = post(http, where, batches=[COUNTS])
    again = http.post(where, json={"batches": [COUNTS]})
    assert again.status_code == 422
    assert "2026-Q1" in again.json()["detail"]
    twice = post(http, where, batches=[COUNTS], repeated="add")
    assert (first["n"], twice["n"]) == (40, 80)


def test_stored_counts_give_the_profile_that_the_library_makes(http: httpx.Client) -> None:
    from ketacast.updating import Batch, Cell  # noqa: PLC0415  # beside its only use

    made = post(http, "/v1/clinics", label="same")
    found = post(http, f"/v1/clinics/{made['id']}/outcomes", batches=[COUNTS])
    cells = tuple(
        Cell(**{**cell, "failed_trials": tuple(cell["failed_trials"])}) for cell in COUNTS["cells"]
    )
    own = update_clinic(None, [Batch("2026-Q1", cells)], label="same")
    assert found["sha256"] == own.sha256


@pytest.mark.parametrize("profile", [{}, {"kind": "ketacast clinic profile"}, {"a": {"b": [1]}}])
def test_a_profile_that_is_none_is_refused(http: httpx.Client, profile: dict[str, Any]) -> None:
    body = {"failed_trials": 6, "infusions": 6, "rated_by": "self", "clinic": {"profile": profile}}
    answer = http.post("/v1/predictions", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "/clinic"


def test_clinics_are_listed_a_page_at_a_time() -> None:
    with running_service() as service, httpx.Client(base_url=service.url, timeout=60) as http:
        made = [post(http, "/v1/clinics", label=f"clinic {number}")["id"] for number in range(5)]
        found: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = http.get("/v1/clinics", params={"limit": "2", **after}).json()
            found += [clinic["id"] for clinic in page["clinics"]]
            assert len(page["clinics"]) <= 2
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert sorted(found) == found == sorted(made)
        assert http.get("/v1/clinics", params={"limit": "0"}).status_code == 422
        assert http.get("/v1/clinics", params={"after": "x"}).status_code == 422
