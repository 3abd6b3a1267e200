"""The coverage study on a small scale: what it counts, and that it repeats."""

from __future__ import annotations

import json

import pytest

from ketacast.clinical.artifact import load_artifact
from ketacast.errors import InputError
from ketacast.updating.simulation import clinic_coverage_study

ARTIFACT = load_artifact()
#: 30 clinics: a share has a Monte Carlo error of up to 0.07; four of them.
FOUR_ERRORS = 0.28


def test_intervals_cover_and_narrow_with_patients() -> None:
    study = clinic_coverage_study(
        ARTIFACT, clinics=30, sizes=(0, 50), points=8192, compared=1, seed=1
    )
    assert (study.clinics, study.updates, study.refits_compared) == (30, 30, 1)
    assert [(row.patients, row.outcome, row.level) for row in study.coverage] == [
        (size, outcome, level)
        for size in (0, 50)
        for outcome in ("response", "remission")
        for level in (0.8, 0.95)
    ]
    before, after = study.coverage[:4], study.coverage[4:]
    for row in study.coverage:
        assert row.share == pytest.approx(row.level, abs=FOUR_ERRORS)
        assert 0 < row.se < 0.1
    for one, other in zip(before, after, strict=True):
        assert other.width < 0.7 * one.width
    # Two ways to the same posterior, each with some thousands of points.
    assert 0 < study.refit_gap < 0.03
    assert json.loads(json.dumps(study.to_dict()))["coverage"][0]["share"] == before[0].share


def test_a_clinic_three_tau_away_is_missed_until_it_has_shown_itself() -> None:
    study = clinic_coverage_study(
        ARTIFACT, "three_tau", clinics=8, sizes=(0, 100), points=16384, compared=0, seed=2
    )
    share = {(row.patients, row.outcome, row.level): row.share for row in study.coverage}
    assert share[0, "response", 0.8] < 0.2
    assert share[100, "response", 0.8] > share[0, "response", 0.8]
    assert share[100, "response", 0.95] > 0.4


def test_the_flipped_slope_differs_from_the_model() -> None:
    one, other = (
        clinic_coverage_study(
            ARTIFACT, scenario, clinics=4, sizes=(10,), points=8192, compared=0, seed=3
        )
        for scenario in ("model", "slope_flipped")
    )
    assert one.coverage != other.coverage


def test_the_result_does_not_depend_on_the_chunks() -> None:
    first, second = (
        clinic_coverage_study(
            ARTIFACT, clinics=clinics, sizes=(10,), points=8192, compared=0, seed=4
        )
        for clinics in (26, 27)
    )
    assert first.coverage[0].share == pytest.approx(second.coverage[0].share, abs=1 / 26)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scenario": "other"}, "scenario is 'other'"),
        ({"clinics": 1}, "clinics is 1"),
        ({"clinics": True}, "clinics is True"),
        ({"seed": -1}, "seed is -1"),
        ({"sizes": ()}, "sizes is"),
        ({"sizes": (50, 10)}, "sizes is"),
    ],
)
def test_arguments_are_checked(changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        clinic_coverage_study(ARTIFACT, **changes)  # type: ignore[arg-type]
