"""The page over HTTP: numbers, records, headers, languages, files."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sqlite3
from itertools import product
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from tests.service.running import Running, running_service
from tests.service.web.reading import chosen, numbers_of

import ketacast
from ketacast.clinical.artifact import default_model_directory
from ketacast.options import OUTCOMES
from ketacast.updating import Batch, Cell, update_clinic

GOOD: Final = {"failed_trials": "6", "infusions": "6", "rated_by": "self"}
GRID: Final = list(product(("0", "2", "6", "12", "20", "4-8"), ("1", "6", "9", "30"),
                           ("self", "clinician", "unknown")))  # fmt: skip
LARGEST: Final = 100_000
"""Bytes, compressed, of the page with everything it loads."""


def predicted(trials: str, infusions: str, rater: Any, **more: Any) -> ketacast.Prediction:
    low, _, high = trials.partition("-")
    return ketacast.predict(
        failed_trials=(int(low), int(high or low)),
        infusions=int(infusions),
        rated_by=rater,
        **more,
    )


def profile() -> Any:
    cell = Cell((4, 8), 6, "self", "completers", 40, 30, 15)
    return update_clinic(None, [Batch("2026-Q1", (cell,))], label="Day clinic <b>")


def check_outcome(html: str, outcome: str, estimate: Any) -> None:
    found = numbers_of(html)
    hero = chosen(found, data_part="hero", data_outcome=outcome)
    assert hero["expected", ""].values == (estimate.expected,)
    assert hero["expected", ""].text == f"{100 * estimate.expected:.0f}"
    rows = {
        row: chosen(found, data_part="table", data_outcome=outcome, data_row=row)
        for row in ("new_clinic", "average_clinic", "this_clinic")
    }
    assert rows["new_clinic"]["median", ""].values == (estimate.median,)
    for level in (0.8, 0.95):
        bounds = estimate.new_clinic[level]
        for place in (hero, rows["new_clinic"]):
            shown = place["new_clinic", f"{level:g}"]
            assert shown.values == tuple(bounds)
            assert shown.text == f"{100 * bounds.low:.0f} to {100 * bounds.high:.0f}"
        average = rows["average_clinic"]["average_clinic", f"{level:g}"]
        assert average.values == tuple(estimate.average_clinic[level])
    if estimate.clinic is not None:
        own = rows["this_clinic"]
        assert own["own_expected", ""].values == (estimate.clinic.expected,)
        assert own["this_clinic", "0.8"].values == tuple(estimate.clinic.this_clinic[0.8])


@pytest.mark.parametrize(("trials", "infusions", "rater"), GRID)
def test_numbers_equal_the_library_s(
    http: httpx.Client, trials: str, infusions: str, rater: str
) -> None:
    asked = {"failed_trials": trials, "infusions": infusions, "rated_by": rater, "lang": "en"}
    answer = http.get("/", params=asked)
    assert answer.status_code == 200
    expected = predicted(trials, infusions, rater)
    for outcome in OUTCOMES:
        check_outcome(answer.text, outcome, getattr(expected, outcome))
    shown = numbers_of(answer.text)
    for point in expected.course:
        for outcome in OUTCOMES:
            cells = chosen(
                shown,
                data_part="course",
                data_infusion=str(point.infusion),
                data_outcome=outcome,
            )
            estimate = getattr(point, outcome)
            assert cells["expected", ""].values == (estimate.expected,)
            assert cells["new_clinic", "0.8"].values == tuple(estimate.new_clinic[0.8])


@pytest.mark.parametrize("rater", ["self", "unknown"])
def test_two_plans_equal_the_library_s(http: httpx.Client, rater: Any) -> None:
    asked = {**GOOD, "rated_by": rater, "infusions": "4", "compare": "8", "lang": "en"}
    found = numbers_of(http.get("/page/answer", params=asked).text)
    expected = ketacast.compare_plans(failed_trials=6, infusions=(4, 8), rated_by=rater)
    for outcome in OUTCOMES:
        place = {"data_part": "compare", "data_outcome": outcome}
        second = chosen(found, **place, data_plan="8")
        difference = chosen(found, **place, data_plan="difference")
        one = getattr(expected, outcome)
        assert second["expected", ""].values == (getattr(expected.second, outcome).expected,)
        assert difference["expected", ""].values == (one.expected,)
        assert difference["new_clinic", "0.8"].values == tuple(one.new_clinic[0.8])
        average = chosen(found, **place, data_plan="average")
        assert average["average_clinic", "0.8"].values == tuple(one.average_clinic[0.8])


def test_a_course_under_way_equals_the_library_s(http: httpx.Client) -> None:
    answer = http.get("/", params={**GOOD, "so_far": "nnr", "lang": "en"}).text
    expected = predicted("6", "6", "self", so_far="NNR")
    for outcome in OUTCOMES:
        check_outcome(answer, outcome, getattr(expected, outcome))
    assert "Of 100 patients with this course so far" in answer
    assert f'data-infusion="{expected.extended[0].infusion}" class="extended"' in answer


@pytest.mark.parametrize("path", ["/", "/page/answer"])
def test_a_clinic_s_profile_is_used_and_kept_nowhere(
    http: httpx.Client, service: Running, path: str
) -> None:
    clinic = profile()
    answer = http.post(
        path,
        data={**GOOD, "compare": "8", "lang": "en"},
        files={"clinic": ("own.json", clinic.to_json(), "application/json")},
    )
    assert answer.status_code == 200
    expected = predicted("6", "6", "self", clinic=clinic)
    for outcome in OUTCOMES:
        check_outcome(answer.text, outcome, getattr(expected, outcome))
    assert "Day clinic &lt;b&gt;" in answer.text
    assert "The clinic counts completers only" in answer.text
    compared = ketacast.compare_plans(
        failed_trials=6, infusions=(6, 8), rated_by="self", clinic=clinic
    )
    place = {"data_part": "compare", "data_outcome": "response", "data_plan": "own"}
    own = chosen(numbers_of(answer.text), **place)
    assert compared.response.clinic is not None
    assert own["own_expected", ""].values == (compared.response.clinic.expected,)
    assert clinic.content["draws"]["scores"][:40] not in records(service)


def records(service: Running) -> str:
    database = service.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///")
    with sqlite3.connect(database) as connection:
        return "\n".join(connection.iterdump())


def test_every_answer_that_is_shown_has_its_record(http: httpx.Client, service: Running) -> None:
    answer = http.get("/page/answer", params={**GOOD, "compare": "8", "lang": "en"})
    (identifier,) = re.findall(r"Record ([0-9a-f-]{36})", answer.text)
    database = service.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///")
    with sqlite3.connect(database) as connection:
        table = next(
            name
            for (name,) in connection.execute("select name from sqlite_master where type='table'")
            if "record" in name
        )
        connection.row_factory = sqlite3.Row
        kept = connection.execute(
            f"select * from {table} where id = ?",  # noqa: S608  # the name is ours
            (identifier,),
        ).fetchone()
        kinds = {row["kind"] for row in connection.execute(f"select kind from {table}")}  # noqa: S608
    assert kept["kind"] == "page"
    assert kept["client"] == "anonymous"
    asked = json.loads(bytes(kept["input"]) if isinstance(kept["input"], bytes) else kept["input"])
    assert asked["failed_trials"] == {"min": 6, "max": 6}
    assert "page comparison" in kinds


def test_what_cannot_be_answered_is_not_recorded(http: httpx.Client) -> None:
    answer = http.get("/page/answer", params={**GOOD, "failed_trials": "99"})
    assert answer.status_code == 422
    assert "Record " not in answer.text


def test_faults_are_said_at_their_fields_in_each_language(http: httpx.Client) -> None:
    for code, said in (("en", "is outside"), ("de", "außerhalb"), ("es", "fuera de")):
        answer = http.get("/", params={**GOOD, "failed_trials": "99", "lang": code})
        assert answer.status_code == 422
        assert re.search(rf'id="failed_trials-error"[^>]*>[^<]*{said}', answer.text)
        assert 'aria-invalid="true"' in answer.text
        assert 'href="#failed_trials"' in answer.text


def test_while_typing_what_is_missing_is_asked_for_and_not_blamed(http: httpx.Client) -> None:
    live = http.get("/page/answer", params={"failed_trials": "6", "live": "1", "lang": "en"})
    assert live.status_code == 200
    assert "Still needed" in live.text
    assert "Choose who rates" not in live.text
    pressed = http.get("/page/answer", params={"failed_trials": "6", "lang": "en"})
    assert pressed.status_code == 422
    assert "Choose who rates" in pressed.text


@pytest.mark.parametrize(
    ("trials", "infusions", "banner"), [("1", "6", True), ("6", "12", True), ("6", "6", False)]
)
def test_inputs_beyond_the_evidence_have_a_banner(
    http: httpx.Client, trials: str, infusions: str, *, banner: bool
) -> None:
    asked = {**GOOD, "failed_trials": trials, "infusions": infusions, "lang": "en"}
    assert ("Beyond the evidence" in http.get("/", params=asked).text) is banner


def test_a_medication_list_is_counted_and_not_kept(http: httpx.Client, service: Running) -> None:
    text = "sertraline, 150, 8, failed\nvenlafaxine, 225, 10\nzzzunknown, 1, 8"
    form = {**GOOD, "failed_trials": "", "lang": "en", "medications": text}
    part = http.post("/page/count", data={**form, "part": "1"}, files={"x": b""})
    assert 'data-low="2" data-high="2"' in part.text
    assert "zzzunknown" in part.text
    whole = http.post("/page/count", data=form, files={"x": b""})
    assert 'name="failed_trials" type="text"' in whole.text
    assert re.search(r'id="failed_trials"[^>]* value="2"', whole.text)
    assert "Of 100 patients with these inputs" in whole.text
    assert "zzzunknown" not in records(service)
    assert "zzzunknown" not in service.log.read_text(encoding="utf-8")


def test_a_list_that_cannot_be_read_says_so(http: httpx.Client) -> None:
    form = {**GOOD, "lang": "de", "medications": "sertraline, viel, 8"}
    answer = http.post("/page/count", data=form, files={"x": b""})
    assert answer.status_code == 422
    assert "Die Liste kann nicht gelesen werden" in answer.text


@pytest.mark.parametrize(
    ("profile_text", "said"),
    [("{}", "no clinic profile"), ('{"kind": "x"}', "cannot be used"), ("x" * 2_000_000, "bytes")],
)
def test_a_file_that_cannot_be_used_says_so(
    http: httpx.Client, profile_text: str, said: str
) -> None:
    answer = http.post("/", data={**GOOD, "lang": "en"}, files={"clinic": ("c.json", profile_text)})
    assert answer.status_code in {413, 422}
    assert said in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_typed_text_is_shown_as_text(http: httpx.Client) -> None:
    nasty = '"><script>alert(1)</script>{{ 7*7 }}'
    for field in ("failed_trials", "infusions", "so_far", "compare", "rated_by", "lang"):
        answer = http.get("/", params={**GOOD, field: nasty})
        assert "<script>alert" not in answer.text
        assert "49" not in re.findall(r'value="([^"]*)"', answer.text)


def test_the_policy_is_strict_and_nothing_is_inline(http: httpx.Client) -> None:
    answer = http.get("/", params={**GOOD, "compare": "8"})
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    assert not re.search(r"<[^>]*\s(style|on\w+)=", answer.text)
    assert not re.search(r"<style|<script(?![^>]* src=)", answer.text)
    assert not re.search(r'(src|href)="(https?:)?//(?!doi\.org|pubmed)', answer.text)


def test_the_page_and_all_it_loads_are_small(http: httpx.Client) -> None:
    packed = {"Accept-Encoding": "gzip"}
    page = http.get("/", params={**GOOD, "compare": "8"}, headers=packed)
    assert page.headers["content-encoding"] == "gzip"
    total = int(page.headers["content-length"])
    files = re.findall(r'(?:src|href)="(/page/static/[^"]+)"', page.text)
    assert len(files) == 6
    for address in files:
        found = http.get(address, headers=packed)
        assert found.status_code == 200
        assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert found.headers["content-encoding"] == "gzip"
        total += int(found.headers["content-length"])
        plain = http.get(address, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == found.content
        assert len(gzip.compress(plain.content)) < len(plain.content)
    assert total <= LARGEST


@pytest.mark.parametrize("path", ["/page/static/page.css", "/page/static/../routes.py", "/page/x"])
def test_other_files_are_not_given(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 404


def test_the_model_card_comes_with_a_policy_that_fits(http: httpx.Client) -> None:
    answer = http.get("/page/model-card")
    assert answer.status_code == 200
    assert re.search(r"style-src 'sha256-[A-Za-z0-9+/=]{44}'", answer.headers[
        "content-security-policy"
    ])  # fmt: skip


@pytest.mark.parametrize("code", ["en", "de", "es"])
def test_each_language_says_its_own(http: httpx.Client, code: str) -> None:
    answer = http.get("/", params={**GOOD, "compare": "8"}, headers={"Accept-Language": code})
    assert f'<html lang="{code}">' in answer.text
    start = {"en": "Of 100 patients", "de": "Von 100 Patienten", "es": "De 100 pacientes"}[code]
    assert start in answer.text
    assert "{" not in re.sub(r"<[^>]+>", "", answer.text)


def test_the_note_names_nobody(http: httpx.Client) -> None:
    answer = http.get("/", params={**GOOD, "lang": "en"})
    (note,) = re.findall(r'<pre id="note"[^>]*>(.*?)</pre>', answer.text, flags=re.DOTALL)
    expected = predicted("6", "6", "self")
    assert f"about {100 * expected.response.expected:.0f} of 100" in note
    assert expected.model.sha256[:12] in note
    assert not re.search(r"\d{4}-\d\d-\d\d|[0-9a-f]{8}-[0-9a-f]{4}", note)


def test_methods_that_are_not_offered_are_refused(http: httpx.Client) -> None:
    assert http.put("/").status_code == 405
    assert http.get("/page/count").status_code == 405
    assert http.post("/", json={}).status_code == 415


def test_a_foreign_page_cannot_post(http: httpx.Client) -> None:
    headers = {"Origin": "https://foreign.example"}
    answer = http.post("/", data=GOOD, files={"x": b""}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("path", "target", "status"),
    [
        ("/", "document", 200),
        ("/", "image", 403),
        ("/", "iframe", 403),
        ("/page/answer", "empty", 403),
        ("/page/answer", "document", 403),
    ],
)
def test_other_sites_may_link_here_and_not_ask(
    http: httpx.Client, path: str, target: str, status: int
) -> None:
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": target}
        assert http.get(path, params=GOOD, headers=headers).status_code == status


def test_with_keys_the_page_is_shut_unless_it_is_opened() -> None:
    secret = "0123456789abcdef0123456789abcdef"  # noqa: S105  # of this test
    with running_service(auth="keys", secret=secret) as shut:
        assert httpx.get(shut.url + "/").status_code == 404
        assert httpx.get(shut.url + "/page/answer", params=GOOD).status_code == 404
    with running_service(
        auth="keys", secret=secret, page="open", rate_per_second=1, rate_burst=20
    ) as opened:
        assert httpx.get(opened.url + "/").status_code == 200
        assert httpx.get(opened.url + "/v1/model").status_code == 401
        assert "page=open" in opened.log.read_text(encoding="utf-8")
        statuses = [httpx.get(opened.url + "/page/answer").status_code for _ in range(40)]
        assert 429 in statuses


def test_without_a_record_there_is_no_answer() -> None:
    with running_service() as alone:
        database = alone.environment["KETACAST_DATABASE_URL"].removeprefix("sqlite:///")
        Path(database).unlink()
        for path in ("/", "/page/answer"):
            answer = httpx.get(alone.url + path, params={**GOOD, "lang": "en"}, timeout=30)
            assert answer.status_code == 503
            assert "Retry-After" in answer.headers
            assert "cannot answer now" in answer.text
            assert not chosen(numbers_of(answer.text), data_part="hero")


def test_a_model_without_its_other_files_still_answers(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("artifact.json", "draws.npz"):
        shutil.copy(default_model_directory() / name, model / name)
    with running_service(model=model) as bare:
        answer = httpx.get(bare.url + "/", params={**GOOD, "lang": "en"})
        check_outcome(answer.text, "response", predicted("6", "6", "self").response)
        assert answer.text.count("hold no evidence or validation figures") == 2
        assert httpx.get(bare.url + "/page/model-card").status_code == 404


def test_the_page_can_be_shut() -> None:
    with running_service(page="off") as shut:
        assert httpx.get(shut.url + "/").status_code == 404
        assert httpx.get(shut.url + "/v1/model").status_code == 200
