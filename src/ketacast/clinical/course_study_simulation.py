"""Courses drawn from the model: clinics, patients and their statuses.

Coefficients and taus come from posterior points that the answers do not use, a
clinic's effects and its w from them, a patient's propensity Z from N(0, 1). Two
scenarios break the dynamics on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ketacast.clinical.dynamics import Dynamics, halved_logit
from ketacast.clinical.fit import FittedModel
from ketacast.clinical.rates import Coding, clinic_rates
from ketacast.clinical.rows import to_arrays, to_priors
from ketacast.numerics.draws import EqualDraws
from ketacast.numerics.hierarchical import fit_posterior
from ketacast.numerics.propensity import HIGHEST_PROPENSITY, condition_on_history
from ketacast.numerics.propensity_decay import HIGHEST_PROPENSITY as HIGHEST_DRIFTING
from ketacast.numerics.propensity_decay import condition_with_decay
from ketacast.options import RATERS

Float = NDArray[np.float64]

FAILED_TRIALS: Final = (3, 8)
"""Either side of the reference; every further value costs hundreds of answers."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """How a patient's statuses are tied in the simulated courses.

    Attributes
    ----------
    name, title : str
        Short name and what it is.
    halved : bool
        w is the model's, halved on the logit scale.
    decay : float
        Fall of the log correlation per doubling of infusions; 0 for none.
    """

    name: str
    title: str
    halved: bool = False
    decay: float = 0.0


SCENARIOS: Final = (
    Scenario("model", "Courses from the model itself"),
    Scenario("halved", "Weaker ties: w halved on the logit scale", halved=True),
    Scenario("decay", "Fading ties: correlation times 0.61 per doubling", decay=0.5),
)


@dataclass(frozen=True, slots=True)
class Courses:
    """Simulated courses (n of them).

    Attributes
    ----------
    trials : (n,) int array
        Failed trials.
    asked : tuple of str
        Rater that the model is told; where "unknown", either rated.
    statuses : tuple of str
        One letter (N, R, M) per infusion of the plan.
    propensity : (n,) float array
        w in the patient's clinic.
    response, remission : (n, planned) float arrays
        Rates in the patient's clinic after each infusion.
    """

    trials: NDArray[np.int64]
    asked: tuple[str, ...]
    statuses: tuple[str, ...]
    propensity: Float
    response: Float
    remission: Float


@dataclass(frozen=True, slots=True)
class Clinics:
    """Clinics that the courses come from: true parameters (effects as scores) and w."""

    draws: EqualDraws
    propensity: Float
    coding: Coding


def draw_clinics(model: FittedModel, dynamics: Dynamics, count: int, seed: int) -> Clinics:
    """Draw one clinic per course from the posterior, apart from the model's draws.

    Parameters
    ----------
    model : FittedModel
    dynamics : Dynamics
    count : int
        Clinics.
    seed : int

    Returns
    -------
    Clinics

    Notes
    -----
    Twice the model's posterior points are computed; the clinics come from the second
    half, by their weights, the model's own draws from the first.
    """
    recipe = model.recipe
    wide = fit_posterior(
        to_arrays(model.rows, recipe), to_priors(model.evidence, recipe), 2 * recipe.points
    )
    rng = np.random.default_rng([seed, 0])
    weight = wide.weight[recipe.points :]
    picked = recipe.points + rng.choice(weight.size, size=count, p=weight / weight.sum())
    scores = rng.standard_normal((count, 3))
    place = np.clip(rng.random(count), 1e-6, 1.0 - 1e-6)
    w = np.minimum(dynamics.posterior.new_quantile(place), HIGHEST_PROPENSITY)
    return Clinics(EqualDraws(wide.beta[picked], wide.tau[picked], scores), w, model.coding)


def simulate_courses(clinics: Clinics, scenario: Scenario, planned: int, seed: int) -> Courses:
    """Simulate one course in each clinic.

    Parameters
    ----------
    clinics : Clinics
    scenario : Scenario
    planned : int
        Infusions of every course.
    seed : int
        The same seed gives the same patients in every scenario.

    Returns
    -------
    Courses
    """
    rng = np.random.default_rng([seed, 1])
    w = halved_logit(clinics.propensity) if scenario.halved else clinics.propensity
    if scenario.decay > 0.0:
        w = np.minimum(w, HIGHEST_DRIFTING)
    count = w.size
    trials = rng.choice(FAILED_TRIALS, size=count)
    asked = rng.choice(RATERS, size=count)
    coin = rng.choice(["self", "clinician"], size=count)
    rated = np.where(asked == "unknown", coin, asked)
    response, remission = _rates(clinics, trials, rated, planned)
    latent = _propensities(rng, (count, planned), scenario.decay)
    noise = rng.standard_normal((count, planned))
    level = np.sqrt(w)[:, None] * latent + np.sqrt(1.0 - w)[:, None] * noise
    letters = np.where(level <= special.ndtri(response), "R", "N")
    letters = np.where(level <= special.ndtri(remission), "M", letters)
    return Courses(
        trials=trials,
        asked=tuple(asked.tolist()),
        statuses=tuple("".join(row) for row in letters.tolist()),
        propensity=w,
        response=response,
        remission=remission,
    )


def _rates(
    clinics: Clinics, trials: NDArray[np.int64], rated: NDArray[np.str_], planned: int
) -> tuple[Float, Float]:
    """Rates after infusions 1 to `planned` in each clinic, (n, planned) each."""
    response = np.empty((trials.size, planned))
    remission = np.empty_like(response)
    for count in FAILED_TRIALS:
        for rater in ("self", "clinician"):
            here = (trials == count) & (rated == rater)
            own = clinics.draws
            some = EqualDraws(own.beta[here], own.tau[here], own.scores[here])
            for k in range(planned):
                rates = clinic_rates(some, clinics.coding, count, k + 1, rater, new_clinic=True)
                response[here, k], remission[here, k] = rates.response, rates.remission
    return response, remission


def _propensities(rng: np.random.Generator, shape: tuple[int, int], decay: float) -> Float:
    """Z at each infusion: the same throughout, or an Ornstein-Uhlenbeck path in log2 k."""
    steps = rng.standard_normal(shape)
    kept = np.exp(-decay * np.diff(np.log2(np.arange(1, shape[1] + 1))))
    path = np.empty(shape)
    path[:, 0] = steps[:, 0]
    for k, rho in enumerate(kept, start=1):
        path[:, k] = rho * path[:, k - 1] + np.sqrt(1.0 - rho**2) * steps[:, k]
    return path


def true_chances(courses: Courses, scenario: Scenario, known: int) -> tuple[Float, Float]:
    """Chances at the planned end in each patient's own clinic, given the statuses so far.

    Parameters
    ----------
    courses : Courses
    scenario : Scenario
        How they were made.
    known : int
        Infusions whose status is known, 1 or more and fewer than planned.

    Returns
    -------
    response, remission : (n,) float arrays
        What an answer's interval ought to hold.
    """
    histories = np.array([one[:known] for one in courses.statuses])
    response, remission = np.empty(histories.size), np.empty(histories.size)
    for history in np.unique(histories).tolist():
        here = histories == history
        given = (courses.propensity[here], courses.response[here], courses.remission[here], history)
        if scenario.decay > 0.0:
            found = condition_with_decay(*given, decay=scenario.decay)
        else:
            found = condition_on_history(*given)
        response[here], remission[here] = found.response[:, -1], found.remission[:, -1]
    return response, remission
