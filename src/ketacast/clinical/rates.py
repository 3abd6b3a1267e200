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

from ketacast.numerics.draws import EqualDraws

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
    eta, theta, x = _logits(draws, coding, failed_trials, infusions, rater)
    if new_clinic:
        eta, theta = _in_new_clinic(draws, eta, theta, x)
    return _rates(eta, theta)


def _logits(
    draws: EqualDraws, coding: Coding, failed_trials: float, infusions: float, rater: str
) -> tuple[Float, Float, float]:
    """Logits of response and of remission given response, and the dose covariate."""
    x = math.log2(min(infusions, coding.plateau_infusions) / coding.reference_infusions)
    s, trials = RATER_CODE[rater], failed_trials - coding.reference_failed_trials
    b = draws.beta
    # Written term by term, not as a matrix product: the same bits whatever the BLAS.
    eta = b[:, 0] + x * b[:, 1] + s * b[:, 2] + trials * b[:, 3]
    theta = b[:, 4] + x * b[:, 5] + s * b[:, 6] + trials * b[:, 7]
    return eta, theta, x


def _in_new_clinic(draws: EqualDraws, eta: Float, theta: Float, x: float) -> tuple[Float, Float]:
    effects = draws.tau * draws.scores
    return eta + effects[:, 0] + effects[:, 2] * x, theta + effects[:, 1]


def _rates(eta: Float, theta: Float) -> Rates:
    response = _logistic(eta)
    return Rates(response=response, remission=response * _logistic(theta))


def _logistic(logit: Float) -> Float:
    """Inverse logit; several times faster than SciPy's, which a range needs."""
    with np.errstate(over="ignore"):  # exp(709) and beyond: the probability is 0
        result: Float = 1.0 / (1.0 + np.exp(-logit))
    return result


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
    average, new = [], []
    for count, rater in mixture:
        eta, theta, x = _logits(draws, coding, count, infusions, rater)
        average.append(_rates(eta, theta))
        new.append(_rates(*_in_new_clinic(draws, eta, theta, x)))
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
        interval, then for each level those of the new-clinic interval, which
        always holds the average-clinic interval.
    """
    tails = np.array([side for level in levels for side in ((1 - level) / 2, (1 + level) / 2)])
    narrow, pooled = quantiles(average, tails), quantiles(new, np.append(tails, 0.5))
    wide, median = pooled[:-1], pooled[-1]
    # An unknown rater's pooled draws are two-humped and a few of their 50 % intervals
    # would miss an end of the average clinic's by less than 0.01: they are widened.
    wide[0::2] = np.minimum(wide[0::2], narrow[0::2])
    wide[1::2] = np.maximum(wide[1::2], narrow[1::2])
    return [
        float(new.mean()),
        float(median),
        *narrow.tolist(),
        *wide.tolist(),
    ]


def quantiles(values: Float, probabilities: Float) -> Float:
    """Quantiles, linear between order statistics.

    Parameters
    ----------
    values : (n,) float array
    probabilities : (k,) float array
        In [0, 1].

    Returns
    -------
    (k,) float array

    Notes
    -----
    Type 7 of Hyndman and Fan (1996), Am Stat 50:361-365. Only the order statistics
    that are needed are put in place, which is several times faster than sorting.
    """
    at = probabilities * (values.size - 1)
    below = np.floor(at).astype(np.intp)
    above = np.minimum(below + 1, values.size - 1)
    ordered = np.partition(values, np.unique(np.concatenate([below, above])))
    result: Float = ordered[below] + (at - below) * (ordered[above] - ordered[below])
    return result
