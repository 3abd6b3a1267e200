"""Simulated courses, calibration of chances, and checks of the dynamics, on a small fit."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from ketacast.clinical.course_study import CourseStudy, midcourse_study
from ketacast.clinical.course_study_checks import (
    DynamicsCheck,
    check_dynamics,
    table_probabilities,
)
from ketacast.clinical.course_study_scores import (
    calibration_slope,
    check_chances,
    check_interval,
)
from ketacast.clinical.course_study_simulation import (
    SCENARIOS,
    Clinics,
    draw_clinics,
    simulate_courses,
    true_chances,
)
from ketacast.clinical.durability_fit import check_durability
from ketacast.clinical.dynamics import Dynamics, fit_dynamics
from ketacast.clinical.fit import FittedModel, fit_model
from ketacast.clinical.recipe import load_recipe
from ketacast.clinical.validation_course_text import further_sections
from ketacast.errors import ConvergenceError, InputError
from ketacast.evidence import load_evidence

MODEL = Path(__file__).parents[2] / "models" / "ketamine-trd"

#: Standard errors: a seeded sample that is right fails one time in 15,000.
FAR = 4.0
#: Two routes to one probability; the likelihood of a table is good to 1e-7.
SAME_PROBABILITY = 1e-5
#: 256 draws stand for the posterior here: their quantiles are off by up to 0.05.
FEW_DRAWS = 0.05

PLANNED = 4
HISTORIES = ("NNN",)

EVIDENCE = load_evidence(MODEL / "evidence")
RECIPE = replace(load_recipe(MODEL / "recipe.toml"), points=512, draws=256, sensitivity=())


@pytest.fixture(scope="module")
def model() -> FittedModel:
    return fit_model(EVIDENCE, RECIPE)


@pytest.fixture(scope="module")
def dynamics() -> Dynamics:
    assert RECIPE.dynamics is not None
    # The two small tables alone: a second instead of several.
    return fit_dynamics(EVIDENCE, replace(RECIPE.dynamics, tables=RECIPE.dynamics.tables[1:]))


@pytest.fixture(scope="module")
def clinics(model: FittedModel, dynamics: Dynamics) -> Clinics:
    return draw_clinics(model, dynamics, 4_000, 7)


@pytest.fixture(scope="module")
def studies(model: FittedModel, dynamics: Dynamics) -> tuple[CourseStudy, ...]:
    return midcourse_study(model, dynamics, courses=200, planned=PLANNED, seed=3)


def test_clinics_are_not_the_models_own_draws(model: FittedModel, clinics: Clinics) -> None:
    own = set(model.posterior.beta[:, 0].tolist())
    assert own.isdisjoint(clinics.draws.beta[:, 0].tolist())
    mean, sd = model.posterior.mean()[:8], model.posterior.sd()[:8]
    # The second half of the points has few distinct ones here: 512, weighted.
    assert (np.abs(clinics.draws.beta.mean(axis=0) - mean) < 0.2 * sd).all()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_statuses_keep_the_rates_and_chances_come_true(clinics: Clinics, scenario: object) -> None:
    """Whatever the ties, marginals are the clinics' rates, and true chances are calibrated."""
    chosen = next(one for one in SCENARIOS if one is scenario)
    courses = simulate_courses(clinics, chosen, PLANNED, 7)
    letters = np.array([list(one) for one in courses.statuses])
    assert letters.shape == (4_000, PLANNED)
    for event, rates in ((letters != "N", courses.response), (letters == "M", courses.remission)):
        se = np.sqrt((rates * (1.0 - rates)).sum(axis=0)) / 4_000
        assert (np.abs(event.mean(axis=0) - rates.mean(axis=0)) < FAR * se).all()
    response, remission = true_chances(courses, chosen, 2)
    assert (remission <= response).all()
    for chance, event in ((response, letters[:, -1] != "N"), (remission, letters[:, -1] == "M")):
        slope, se = calibration_slope(chance, event)
        assert abs(slope - 1.0) < FAR * se


def test_patients_are_the_same_in_every_scenario(clinics: Clinics) -> None:
    first, second, third = (simulate_courses(clinics, one, PLANNED, 7) for one in SCENARIOS)
    assert first.asked == second.asked == third.asked
    np.testing.assert_array_equal(first.response, third.response)
    assert first.statuses != second.statuses
    first_again = simulate_courses(clinics, SCENARIOS[0], PLANNED, 7)
    assert first_again.statuses == first.statuses
    assert simulate_courses(clinics, SCENARIOS[0], PLANNED, 8).statuses != first.statuses


def test_slope_finds_chances_that_are_too_extreme() -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(size=20_000)
    event = rng.random(logit.size) < special.expit(logit)
    for stretch in (0.5, 1.0, 2.0):
        slope, se = calibration_slope(special.expit(stretch * logit), event)
        assert abs(stretch * slope - 1.0) < FAR * stretch * se


def test_slope_of_separated_events_is_refused() -> None:
    with pytest.raises(ConvergenceError, match="simulate more"):
        calibration_slope(np.array([0.2, 0.3, 0.7, 0.8]), np.array([False, False, True, True]))


def test_scores_of_right_and_of_shifted_chances() -> None:
    rng = np.random.default_rng(2)
    chance = rng.uniform(0.02, 0.98, 10_000)
    event = rng.random(chance.size) < chance
    flat = np.full(chance.size, 0.5)
    right = check_chances("response", 3, chance=chance, before=flat, event=event, coverage=())
    shifted = check_chances(
        "response", 3, chance=0.8 * chance, before=flat, event=event, coverage=()
    )
    assert right.chi_square_p > 0.001 > shifted.chi_square_p
    assert right.brier < right.brier_before == pytest.approx(0.25)
    assert right.gain > shifted.gain > 0.0
    assert sum(part.courses for part in right.tenths) == 10_000
    assert sum(part.events for part in right.tenths) == right.events == event.sum()
    for part in right.tenths:
        assert part.low <= part.expected < part.high
        assert part.observed_low <= part.events / part.courses <= part.observed_high


def test_intervals_are_counted_by_hand() -> None:
    low, high = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.5, 0.5, 0.5])
    found = check_interval(0.8, low, high, np.array([0.1, 0.6, 0.4, 0.5]))
    assert found.share == 0.75
    assert found.width == pytest.approx(0.25)


def test_answers_are_calibrated_and_weaker_ties_are_seen(studies: tuple[CourseStudy, ...]) -> None:
    right, halved, fading = studies
    assert [one.scenario for one in studies] == ["model", "halved", "decay"]
    assert all(len(one.checks) == 2 * (PLANNED - 1) for one in studies)
    for check in right.checks:
        error = abs(check.events / check.courses - check.expected)
        assert error < FAR * check.difference_se
        assert abs(check.slope - 1.0) < FAR * check.slope_se
        assert check.gain > 0.0
        for part in check.coverage:
            assert abs(part.share - part.level) < FAR * part.se + FEW_DRAWS
    gains = [sum(check.gain for check in one.checks) for one in (right, fading)]
    assert gains[0] > gains[1]
    assert halved.checks != right.checks


def test_processes_and_repetition_change_nothing(
    model: FittedModel, dynamics: Dynamics, studies: tuple[CourseStudy, ...]
) -> None:
    again = midcourse_study(model, dynamics, courses=200, planned=PLANNED, seed=3, n_jobs=2)
    assert again == studies


@pytest.mark.parametrize(("courses", "seed"), [(199, 0), (True, 0), (200, -1), (200, 0.5)])
def test_unusable_numbers_are_refused(
    model: FittedModel, dynamics: Dynamics, courses: int, seed: int
) -> None:
    with pytest.raises(InputError, match="whole number"):
        midcourse_study(model, dynamics, courses=courses, seed=seed)


def test_an_untied_table_is_hypergeometric() -> None:
    counts = (6, 3, 4, 7)
    least, found = table_probabilities(counts, np.zeros(1), 1.5)
    wanted = stats.hypergeom(20, 9, 10).pmf(np.arange(least, least + found.size))
    np.testing.assert_allclose(found, wanted, atol=SAME_PROBABILITY)
    assert (least, least + found.size - 1) == (0, 9)
    _, tied = table_probabilities(counts, np.array([0.9]), 1.5)
    assert tied @ np.arange(tied.size) > found @ np.arange(found.size)


def test_a_table_with_few_no_no_starts_above_zero() -> None:
    least, found = table_probabilities((5, 2, 3, 1), np.array([0.3]), 1.5)
    assert (least, found.size) == (4, 4)
    assert found.sum() == pytest.approx(1.0)


@pytest.fixture(scope="module")
def check(model: FittedModel, dynamics: Dynamics) -> DynamicsCheck:
    return check_dynamics(model, dynamics, histories=HISTORIES)


def test_tables_are_predicted_from_the_others(check: DynamicsCheck) -> None:
    by_family = {table.family: table for table in check.tables}
    assert set(by_family) == {"mount_sinai", "diamond2014"}
    diamond = by_family["diamond2014"]
    assert diamond.counts == (8, 0, 0, 20)
    # Nobody changed status: the other table ties early and final status less.
    assert diamond.propensity_others[0] < diamond.propensity_own
    assert diamond.expected < diamond.counts[0]
    assert diamond.pit > 0.5
    for table in check.tables:
        narrow, wide = table.intervals
        assert wide.low <= narrow.low <= table.expected <= narrow.high <= wide.high
        assert 0.0 < table.pit < 1.0


def test_weaker_ties_answer_nearer_to_the_start(check: DynamicsCheck) -> None:
    found = {(one.dynamics, one.history): one.response[0] for one in check.answers}
    assert len(found) == 5 * len(HISTORIES)
    names = ("model", "decay 0.25", "decay 0.5", "decay 1")
    after_none = [found[name, "NNN"] for name in names]
    assert after_none == sorted(after_none)
    assert found["model", "NNN"] < found["halved", "NNN"]


def test_every_section_fits_a_terminal(
    check: DynamicsCheck, studies: tuple[CourseStudy, ...]
) -> None:
    assert RECIPE.durability is not None
    few = replace(RECIPE.durability, sensitivity=RECIPE.durability.sensitivity[-1:])
    coverage = [
        {"patients": 50, "outcome": outcome, "level": level, "share": 0.8, "se": 0.01,
         "width": 0.3, "bias": -0.002}
        for outcome in ("response", "remission") for level in (0.8, 0.95)
    ]  # fmt: skip
    clinics = {"scenario": "three_tau", "clinics": 100, "seed": 1, "updates": 100, "refits": 2,
               "refits_compared": 4, "refit_gap": 0.004, "coverage": coverage}  # fmt: skip
    further = {
        "updating": [clinics],
        "midcourse": [one.to_dict() for one in studies],
        "dynamics_check": check.to_dict(),
        "durability_sensitivity": [asdict(one) for one in check_durability(EVIDENCE, few, 256)],
    }
    sections = further_sections(further)
    assert len(sections) == 7
    assert max(len(line) for section in sections for line in section.table) <= 80
    words = textwrap.fill(" ".join(text for one in sections for text in one.after), 10_000)
    assert "diamond2014" in words
    assert "2 were refits" in words
    assert further_sections({}) == ()
    # Without tables (one alone cannot be predicted from others) the rest stands.
    bare = further_sections({"dynamics_check": {**check.to_dict(), "tables": ()}})
    assert len(bare) == 2
