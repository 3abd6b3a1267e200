"""Whether the answer part of the way through a course is calibrated.

Courses are simulated (:mod:`ketacast.clinical.course_study_simulation`); after each
infusion but the last the model answers from the statuses so far, and its chances at
the planned end are compared with the status there. Histories are few, so that every
answer is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ketacast.clinical.course_study_scores import ChanceCheck, check_chances, check_interval
from ketacast.clinical.course_study_simulation import (
    SCENARIOS,
    Courses,
    Scenario,
    draw_clinics,
    simulate_courses,
    true_chances,
)
from ketacast.clinical.dynamics import Dynamics
from ketacast.clinical.fit import FittedModel
from ketacast.clinical.midcourse import midcourse_rates
from ketacast.clinical.parallel import Progress, map_in_order
from ketacast.clinical.rates import Coding, components
from ketacast.errors import InputError
from ketacast.numerics.draws import EqualDraws
from ketacast.options import OUTCOMES

Float = NDArray[np.float64]
Key = tuple[int, str, str]
"""Failed trials, rater asked for, statuses so far."""

PLANNED: Final = 6
"""Infusions of every course."""

LEVELS: Final = (0.80, 0.95)
DEFAULT_COURSES: Final = 10_000
FEWEST_COURSES: Final = 200
DEFAULT_SEED: Final = 20260301
CHUNK: Final = 16

_BOUNDS: Final = 2 + 2 * len(LEVELS)
"""Column of the first new-clinic bound in an answer."""


@dataclass(frozen=True, slots=True)
class CourseStudy:
    """Calibration of the mid-course answer in one scenario.

    Attributes
    ----------
    scenario, title : str
        How the courses were made.
    courses, planned, seed, draws : int
        What the run was made with.
    answers : int
        Different answers that the courses of all scenarios needed.
    checks : tuple of ChanceCheck
        By number of statuses known and outcome.
    """

    scenario: str
    title: str
    courses: int
    planned: int
    seed: int
    draws: int
    answers: int
    checks: tuple[ChanceCheck, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary for the validation file."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Setup:
    draws: EqualDraws
    propensity: Float
    coding: Coding
    planned: int


def midcourse_study(
    model: FittedModel,
    dynamics: Dynamics,
    *,
    courses: int = DEFAULT_COURSES,
    planned: int = PLANNED,
    seed: int = DEFAULT_SEED,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[CourseStudy, ...]:
    """Simulate courses in every scenario and check the answers on the way.

    Parameters
    ----------
    model : FittedModel
        Gives the answers; clinics are drawn from other posterior points.
    dynamics : Dynamics
        Its course dynamics.
    courses : int
        Per scenario, 200 or more; each in a clinic of its own.
    planned : int
        Infusions of every course, 2 or more.
    seed : int
        0 or more.
    n_jobs : int
        Processes; the result does not depend on it.
    progress : callable, optional
        Told after every few answers.

    Returns
    -------
    tuple of CourseStudy
        In the order of ``SCENARIOS``.

    Raises
    ------
    InputError
        For unusable numbers.
    ConvergenceError
        If the posterior or a slope cannot be computed.
    """
    for name, value, least in (
        ("courses", courses, FEWEST_COURSES),
        ("planned", planned, 2),
        ("seed", seed, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} is {value!r}; give a whole number, {least} or more")
    clinics = draw_clinics(model, dynamics, courses, seed)
    simulated = [simulate_courses(clinics, scenario, planned, seed) for scenario in SCENARIOS]
    needed = {key for one in simulated for known in range(planned) for key in _keys(one, known)}
    setup = _Setup(model.draws, dynamics.draws(model.draws), model.coding, planned)
    answers = _answers(setup, sorted(needed), n_jobs, progress)
    return tuple(
        CourseStudy(
            scenario=scenario.name,
            title=scenario.title,
            courses=courses,
            planned=planned,
            seed=seed,
            draws=model.recipe.draws,
            answers=len(answers),
            checks=_checks(one, scenario, answers),
        )
        for scenario, one in zip(SCENARIOS, simulated, strict=True)
    )


def _keys(courses: Courses, known: int) -> list[Key]:
    told = zip(courses.trials.tolist(), courses.asked, courses.statuses, strict=True)
    return [(trials, rater, statuses[:known]) for trials, rater, statuses in told]


def _answers(
    setup: _Setup, keys: Sequence[Key], n_jobs: int, progress: Progress | None
) -> dict[Key, Float]:
    """Summaries at the planned end, (outcomes, columns), by what is known."""
    chunks = [keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK)]
    found = map_in_order(partial(_chunk, setup), chunks, n_jobs, progress, "courses")
    return dict(zip(keys, np.concatenate(found), strict=True))


def _chunk(setup: _Setup, keys: Sequence[Key]) -> Float:
    return np.array([_answer(setup, key) for key in keys])


def _answer(setup: _Setup, key: Key) -> tuple[tuple[float, ...], tuple[float, ...]]:
    trials, rater, history = key
    rates = midcourse_rates(
        setup.draws,
        setup.propensity,
        setup.coding,
        mixture=components([trials], rater),
        history=history,
        planned=setup.planned,
        levels=LEVELS,
    )
    return rates.at(setup.planned)


def _checks(
    courses: Courses, scenario: Scenario, answers: dict[Key, Float]
) -> tuple[ChanceCheck, ...]:
    last = np.array([statuses[-1] for statuses in courses.statuses])
    events = {"response": last != "N", "remission": last == "M"}
    before = np.array([answers[key] for key in _keys(courses, 0)])
    checks = []
    for known in range(1, courses.response.shape[1]):
        given = np.array([answers[key] for key in _keys(courses, known)])
        truths = true_chances(courses, scenario, known)
        for i, outcome in enumerate(OUTCOMES):
            bounds = given[:, i, _BOUNDS:]
            coverage = tuple(
                check_interval(level, bounds[:, 2 * j], bounds[:, 2 * j + 1], truths[i])
                for j, level in enumerate(LEVELS)
            )
            checks.append(
                check_chances(
                    outcome,
                    known,
                    chance=given[:, i, 0],
                    before=before[:, i, 0],
                    event=events[outcome],
                    coverage=coverage,
                )
            )
    return tuple(checks)
