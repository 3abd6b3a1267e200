"""Draws to rates: the one place where probabilities are computed.

A *component* is one set of inputs: failed trials and rater. A prediction for a
range of failed trials, or for an unknown rater, is the equal mixture of several
components: the average clinic is then their mean draw by draw (the rate in an
average clinic among patients spread equally over the components), the new
clinic pools their draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ketacast.numerics.hierarchical import EqualDraws

Float = NDArray[np.float64]

RATER_CODE: Final = {"self": -0.5, "clinician": 0.5}


@dataclass(frozen=True, slots=True)
class Coding:
    """How inputs become covariates (from the recipe, stored in the artifact)."""

    reference_infusions: float
    plateau_infusions: int
    reference_failed_trials: float


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of response and remission, draw by draw.

    Attributes
    ----------
    response, remission : (n,) float arrays
        Probabilities; ``remission <= response`` in every draw.
    """

    response: Float
    remission: Float


def components(failed_trials: Sequence[int], rater: str) -> list[tuple[int, str]]:
    """Failed trials and raters whose equal mixture answers the inputs."""
    raters = ("self", "clinician") if rater == "unknown" else (rater,)
    return [(count, one) for count in failed_trials for one in raters]


def clinic_rates(
    draws: EqualDraws,
    coding: Coding,
    failed_trials: float,
    infusions: float,
    rater: str,
    *,
    new_clinic: bool,
) -> Rates:
    """Rates at given inputs in an average or in a new clinic.

    Parameters
    ----------
    draws : EqualDraws
        Posterior draws with the scores of one new clinic each.
    coding : Coding
        Covariate coding.
    failed_trials, infusions : float
        Inputs; infusions beyond the plateau count as the plateau.
    rater : {"self", "clinician"}
        Who rates.
    new_clinic : bool
        Add the new clinic's random effects; else they are zero.

    Returns
    -------
    Rates
        Arrays of shape (n draws,).
    """
    x = math.log2(min(infusions, coding.plateau_infusions) / coding.reference_infusions)
    covariates = np.array(
        [1.0, x, RATER_CODE[rater], failed_trials - coding.reference_failed_trials]
    )
    # Written as a sum, not a matrix product: the same bits whatever the BLAS.
    eta = (draws.beta[:, :4] * covariates).sum(axis=1)
    theta = (draws.beta[:, 4:] * covariates).sum(axis=1)
    if new_clinic:
        effects = draws.tau * draws.scores
        eta = eta + effects[:, 0] + effects[:, 2] * x
        theta = theta + effects[:, 1]
    response: Float = special.expit(eta)
    return Rates(response=response, remission=response * special.expit(theta))


def mixture_rates(
    draws: EqualDraws,
    coding: Coding,
    mixture: Sequence[tuple[int, str]],
    infusions: int,
) -> tuple[Rates, Rates]:
    """Average-clinic and new-clinic rates of an equal mixture of components.

    Returns
    -------
    average : Rates
        Mean over the components, arrays of shape (n,).
    new : Rates
        Pooled over the components, arrays of shape (n * components,).
    """
    average = [
        clinic_rates(draws, coding, count, infusions, rater, new_clinic=False)
        for count, rater in mixture
    ]
    new = [
        clinic_rates(draws, coding, count, infusions, rater, new_clinic=True)
        for count, rater in mixture
    ]
    return (
        Rates(
            response=np.mean([one.response for one in average], axis=0),
            remission=np.mean([one.remission for one in average], axis=0),
        ),
        Rates(
            response=np.concatenate([one.response for one in new]),
            remission=np.concatenate([one.remission for one in new]),
        ),
    )


def summarise(average: Float, new: Float, levels: Sequence[float]) -> list[float]:
    """Summaries of one outcome in the artifact's column order.

    Parameters
    ----------
    average, new : (n,) float arrays
        Rates in an average and in a new clinic.
    levels : sequence of float
        Interval levels in (0, 1).

    Returns
    -------
    list of float
        expected, median, then for each level the bounds of the average-clinic
        interval, then for each level those of the new-clinic interval.
    """
    tails = np.array([side for level in levels for side in ((1 - level) / 2, (1 + level) / 2)])
    return [
        float(new.mean()),
        float(np.median(new)),
        *np.quantile(average, tails).tolist(),
        *np.quantile(new, tails).tolist(),
    ]
