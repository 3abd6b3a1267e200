"""Own counts, rules, flags and output of the count."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import date, datetime
from typing import Any

import pytest

import ketacast
from ketacast.errors import InputError
from ketacast.history import CountingRules, CountRange, count_failed_trials

Record = dict[str, Any]
Build = Callable[[list[Record]], list[Record]]

AS_OF = "2026-06-01"
TRIAL = {"is": "statement", "drug": "sertraline", "mg": 100, "start": "2026-01-01",
         "end": "2026-05-20"}  # fmt: skip
DRUGS = [
    "amitriptyline",
    "agomelatine",
    "bupropion",
    "citalopram",
    "clomipramine",
    "desipramine",
    "desvenlafaxine",
    "doxepin",
    "duloxetine",
    "escitalopram",
    "fluoxetine",
    "fluvoxamine",
    "imipramine",
    "maprotiline",
    "mirtazapine",
    "moclobemide",
    "nefazodone",
    "nortriptyline",
    "paroxetine",
    "phenelzine",
    "sertraline",
    "trimipramine",
    "venlafaxine",
]


@pytest.mark.parametrize(
    ("own", "expected"),
    [(3, (3, 3)), ((4, 6), (4, 6)), ("4-6", (4, 6)), ("5", (5, 5)), ([0, 20], (0, 20)),
     (CountRange(2, 3), (2, 3))],
)  # fmt: skip
def test_the_clinicians_count_is_used(build: Build, own: Any, expected: tuple[int, int]) -> None:
    found = count_failed_trials(build([TRIAL]), as_of=AS_OF, own_count=own)
    assert found.failed_trials == expected
    assert found.used == CountRange(*expected)
    assert found.current_episode == CountRange(1, 1)
    assert f"the clinician's own count, {CountRange(*expected)}, is used" in found.notices[0]
    assert "own count" in str(found)
    assert found.to_dict()["own_count"] == {"low": expected[0], "high": expected[1]}


@pytest.mark.parametrize(
    "own", ["many", "6-4", -1, 21, (1, 2, 3), (1.0, 2.0), True, 2.5, "", "1-99"]
)
def test_an_own_count_that_is_none_is_refused(own: Any) -> None:
    with pytest.raises(InputError, match="own_count is"):
        count_failed_trials([], as_of=AS_OF, own_count=own)


@pytest.mark.parametrize("as_of", ["2026", "2026-06", "soon", "", None, 20260601, "1812-01-01"])
def test_an_index_date_must_be_a_day(as_of: Any) -> None:
    with pytest.raises(InputError, match="as_of is"):
        count_failed_trials([], as_of=as_of)


def test_an_index_date_may_be_a_date() -> None:
    for as_of in (date(2026, 6, 1), datetime(2026, 6, 1, 12), "2026-06-01"):
        assert count_failed_trials([], as_of=as_of).as_of == "2026-06-01"


def test_rules_must_be_rules() -> None:
    with pytest.raises(InputError, match="give CountingRules"):
        count_failed_trials([], as_of=AS_OF, rules={"strict_weeks": 6})  # type: ignore[arg-type]


def test_no_records_are_no_count_of_zero() -> None:
    found = count_failed_trials([], as_of=AS_OF)
    assert found.failed_trials == (0, 0)
    assert not found.has_data
    assert [flag.code for flag in found.flags] == ["no_antidepressant_data"]
    assert count_failed_trials([], as_of=AS_OF, own_count=4).has_data


def test_more_trials_than_the_model_answers_for_are_cut_and_flagged(build: Build) -> None:
    trials = []
    for place, drug in enumerate(DRUGS):
        first, last = date(2016, 1, 1).toordinal() + 150 * place, 149
        end = date.fromordinal(first + last).isoformat()
        trials.append(
            TRIAL | {"drug": drug, "mg": 500, "start": date.fromordinal(first).isoformat(),
                     "end": end}
        )  # fmt: skip
    found = count_failed_trials(build(trials), as_of="2025-07-01")
    assert found.current_episode.high == len(DRUGS) > 20
    assert found.failed_trials[1] == 20
    assert "above_20" in [flag.code for flag in found.flags]
    ketacast.predict(failed_trials=found.failed_trials, infusions=6, rated_by="self")


@pytest.mark.parametrize(
    ("born", "minor"),
    [("2008-06-01", False), ("2008-06-02", True), ("2008", True), ("2007", False), ("x", False),
     ("2008-02-29", False), ("2008-02-10", False)],
)  # fmt: skip
def test_age_is_flagged_and_never_shown(build: Build, born: str, minor: bool) -> None:
    patient = {"resourceType": "Patient", "id": "p", "birthDate": born}
    found = count_failed_trials([patient, *build([TRIAL])], as_of=AS_OF)
    assert ("under_18" in [flag.code for flag in found.flags]) is minor
    assert born not in json.dumps(found.to_dict()) or born == "x"


@pytest.mark.parametrize(
    ("status", "flagged"), [("confirmed", True), ("refuted", False), ("entered-in-error", False)]
)
def test_refuted_diagnoses_are_not_flagged(build: Build, status: str, flagged: bool) -> None:
    (condition,) = build([{"is": "condition", "icd": "F25.0", "id": "c"}])
    condition["verificationStatus"] = {"coding": [{"code": status}]}
    flags = count_failed_trials([condition], as_of=AS_OF).flags
    assert [flag.sources for flag in flags if flag.code == "psychosis"] == (
        [("Condition/c",)] if flagged else []
    )


def test_fewer_than_two_is_said_with_its_certainty(build: Build) -> None:
    (flag,) = count_failed_trials(build([TRIAL]), as_of=AS_OF).flags
    assert flag.code == "fewer_than_two_failed_trials"
    assert flag.message.startswith("fewer than two")
    running = {"is": "statement", "drug": "fluoxetine", "mg": 20, "start": "2026-03-01",
               "asserted": "2026-05-30"}  # fmt: skip
    (flag,) = count_failed_trials(build([TRIAL, running]), as_of=AS_OF).flags
    assert flag.message.startswith("perhaps fewer than two")
    assert not count_failed_trials(build([TRIAL]), as_of=AS_OF, own_count=2).flags


def test_rules_change_the_count(build: Build) -> None:
    short = TRIAL | {"end": "2026-02-11"}  # six weeks
    records = build([short])
    assert count_failed_trials(records, as_of=AS_OF).current_episode == CountRange(0, 1)
    six = CountingRules(strict_weeks=6)
    assert count_failed_trials(records, as_of=AS_OF, rules=six).current_episode == CountRange(1, 1)
    dose = CountingRules(strict_weeks=6, doses=(("sertraline", 100.0, 150.0),))
    assert count_failed_trials(records, as_of=AS_OF, rules=dose).current_episode == CountRange(0, 1)
    pain = build([TRIAL | {"reason": "Chronic pain"}])
    assert count_failed_trials(pain, as_of=AS_OF).current_episode == CountRange(0, 0)
    lenient = CountingRules(other_indication="lenient")
    found = count_failed_trials(pain, as_of=AS_OF, rules=lenient)
    assert found.current_episode == CountRange(0, 1)
    assert found.eras[0].reason.code == "other_indication"


def test_augmentation_is_counted_if_the_rules_say_so(build: Build) -> None:
    lithium = {"is": "statement", "atc": "N05AN01", "start": "2026-01-10", "end": "2026-05-01"}
    records = build([TRIAL, lithium])
    assert count_failed_trials(records, as_of=AS_OF).current_episode == CountRange(1, 1)
    rules = CountingRules(augmentation="count")
    found = count_failed_trials(records, as_of=AS_OF, rules=rules)
    assert found.current_episode == CountRange(1, 2)
    assert [era.ingredient for era in found.eras] == ["sertraline", "lithium"]


def test_an_addition_is_no_failure_if_the_rules_say_so(build: Build) -> None:
    running = [
        {"is": "statement", "drug": "sertraline", "mg": 100, "start": "2026-01-01",
         "asserted": "2026-05-30"},
        {"is": "statement", "drug": "mirtazapine", "mg": 30, "start": "2026-04-01",
         "asserted": "2026-05-30"},
    ]  # fmt: skip
    rules = CountingRules(addition_is_failure=False)
    assert count_failed_trials(build(running), as_of=AS_OF).current_episode.low == 1
    assert count_failed_trials(build(running), as_of=AS_OF, rules=rules).current_episode.low == 0


def test_the_answer_is_frozen_and_json_ready(build: Build) -> None:
    found = count_failed_trials(build([TRIAL]), as_of=AS_OF)
    with pytest.raises(FrozenInstanceError):
        found.as_of = "x"  # type: ignore[misc]
    assert "&lt;" not in str(found)
    assert found._repr_html_().startswith("<pre>Failed antidepressant trials")
    content = found.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["failed_trials"] == {"min": 1, "max": 1}
    assert content["eras"][0]["sources"] == ["MedicationStatement/1"]
    assert content["rules"]["strict_weeks"] == 8
    (era,) = found.eras
    assert era.counted_strict
    assert era.counted_lenient
    assert (era.typical_mg, era.highest_mg) == (100.0, 100.0)


def test_the_table_shows_reasons_and_what_was_left_out(build: Build) -> None:
    records = build(
        [
            TRIAL,
            TRIAL | {"start": "2024-01-01", "end": "2024-05-01"},
            {"is": "procedure", "name": "Electroconvulsive therapy", "on": "2025-01-01"},
            {"is": "request", "drug": "fluoxetine", "on": "2026-01-01", "status": "draft"},
            {"is": "statement", "text": "venlafaxine declined", "start": "2026-01-01"},
        ]
    )
    lines = str(count_failed_trials(records, as_of=AS_OF)).splitlines()
    shown = " ".join(" ".join(lines).split())
    for part in ("Reported, not counted:", "Not a treatment:", "Could not be read:",
                 "Further courses", "read as failure", "current episode"):  # fmt: skip
        assert part in shown
    assert max(len(line) for line in lines) <= 88


def test_counting_needs_the_standard_library_only() -> None:
    code = (
        "import sys, ketacast.history as h;"
        "h.count_failed_trials([], as_of='2026-06-01');"
        "print(sorted({'numpy', 'pandas', 'scipy', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
