"""Part of the way through a course: chances given the patient's statuses so far.

Per draw (and per component of the mixture) the statuses so far condition the chances
at every later infusion, and their likelihood weights the draw. An answer is a chance
given what has happened, under continued treatment; it is not the effect of continuing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.clinical.rates import Coding, Rates, clinic_rates, quantiles, summarise
from ketacast.errors import InputError
from ketacast.numerics.draws import EqualDraws
from ketacast.numerics.propensity import Conditional, check_history, condition_on_history

Float = NDArray[np.float64]

Condition = Callable[[Float, Float, Float, str], Conditional]
"""How a history conditions the marginals; see `condition_on_history`."""

LONGEST_COURSE: Final = 30
"""Infusions answered at most; the evidence is silent beyond 8."""


@dataclass(frozen=True, slots=True)
class MidcourseRates:
    """Chances after each later infusion, summarised.

    Attributes
    ----------
    history : str
        Statuses so far.
    first : int
        The next infusion.
    planned : int
        Infusions planned.
    response, remission : tuple of tuple of float
        Summaries at infusions ``first, first + 1, ...`` in the column order of
        :func:`ketacast.clinical.rates.summarise`; the last holds for every later one.
    average_effective, new_effective : float
        Effective sizes of the weighted draws, ``(sum v)^2 / sum v^2``: of the n draws
        for the average clinic, of the n times components pooled for a new clinic.
    """

    history: str
    first: int
    planned: int
    response: tuple[tuple[float, ...], ...]
    remission: tuple[tuple[float, ...], ...]
    average_effective: float
    new_effective: float

    def at(self, infusion: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Summaries of response and of remission after one later infusion.

        Raises
        ------
        InputError
            For an infusion that is past, or beyond 30.
        """
        if not self.first <= infusion <= LONGEST_COURSE:
            raise InputError(
                f"infusion is {infusion!r}; give a later one, from {self.first} to {LONGEST_COURSE}"
            )
        place = min(infusion - self.first, len(self.response) - 1)
        return self.response[place], self.remission[place]

    @property
    def remaining(self) -> range:
        """Infusions of the plan that are still to come; empty at its end."""
        return range(self.first, self.planned + 1)

    @property
    def extended(self) -> range:
        """Infusions beyond the plan, up to 30."""
        return range(max(self.first, self.planned + 1), LONGEST_COURSE + 1)


def midcourse_rates(
    draws: EqualDraws,
    propensity: Float,
    coding: Coding,
    *,
    mixture: Sequence[tuple[int, str]],
    history: str,
    planned: int,
    levels: Sequence[float],
    condition: Condition = condition_on_history,
) -> MidcourseRates:
    """Chances at later infusions, given the statuses so far.

    Parameters
    ----------
    draws : EqualDraws
        Posterior draws with the scores of one new clinic each.
    propensity : (n,) float array
        w of each draw.
    coding : Coding
        Covariate coding.
    mixture : sequence of (int, str)
        Components: failed trials and rater (:func:`ketacast.clinical.rates.components`).
    history : str
        One letter per infusion so far: N, R, M or ?; fewer than 30.
    planned : int
        Infusions planned, 1 to 30.
    levels : sequence of float
        Interval levels in (0, 1).
    condition : callable
        Another way to condition, for sensitivity analyses.

    Returns
    -------
    MidcourseRates

    Raises
    ------
    InputError
        For an unusable history or plan, or a history that every draw rules out.

    Notes
    -----
    The average clinic is conditioned within itself: per draw the components' chances
    are averaged with the likelihoods that the history has there, and the draw weighs
    their mean. A new clinic pools all components' draws, each with its own
    likelihood. Without a known status all weights are equal and the numbers are those
    of :func:`ketacast.clinical.rates.summarise`, to the last bit.
    """
    check_history(history)
    if len(history) >= LONGEST_COURSE:
        raise InputError(
            f"history has {len(history)} letters; give fewer than {LONGEST_COURSE}, the most "
            "infusions that are answered"
        )
    if not 1 <= planned <= LONGEST_COURSE:
        raise InputError(f"planned is {planned!r}; give 1 to {LONGEST_COURSE} infusions")
    average, new = (
        [
            condition(propensity, one.response, one.remission, history)
            for one in (
                _course(draws, coding, trials, rater, new_clinic=new_clinic)
                for trials, rater in mixture
            )
        ]
        for new_clinic in (False, True)
    )
    weights = np.array([one.likelihood for one in average])
    pooled = np.concatenate([one.likelihood for one in new])
    if not weights.any() or not pooled.any():
        raise InputError(
            f"history {history!r} has probability 0 under the model; check the letters"
        )
    summaries: dict[str, tuple[tuple[float, ...], ...]] = {}
    for outcome in ("response", "remission"):
        narrow = _averaged(np.array([getattr(one, outcome) for one in average]), weights)
        wide = np.concatenate([getattr(one, outcome) for one in new])
        summaries[outcome] = tuple(
            tuple(
                summarise_weighted(narrow[:, j], wide[:, j], weights.mean(axis=0), pooled, levels)
            )
            for j in range(wide.shape[1])
        )
    return MidcourseRates(
        history=history,
        first=len(history) + 1,
        planned=planned,
        response=summaries["response"],
        remission=summaries["remission"],
        average_effective=effective_size(weights.mean(axis=0)),
        new_effective=effective_size(pooled),
    )


def pooled_chances(
    draws: EqualDraws,
    weight: Float | None,
    propensity: Float,
    coding: Coding,
    *,
    mixture: Sequence[tuple[int, str]],
    history: str,
) -> tuple[Rates, Float]:
    """Chances at later infusions in the clinic that the draws' scores describe.

    Parameters
    ----------
    draws : EqualDraws
        With one clinic's scores.
    weight : (n,) float array or None
        Weights of the draws; None for equal ones.
    propensity, coding, mixture, history
        As for :func:`midcourse_rates`.

    Returns
    -------
    rates : Rates
        Arrays of shape (n times components, F): infusions ``len(history) + 1`` onwards.
    weight : (n times components,) float array
        Their weights, the likelihood of the history included.
    """
    found = []
    for trials, rater in mixture:
        marginal = _course(draws, coding, trials, rater, new_clinic=True)
        found.append(
            condition_on_history(propensity, marginal.response, marginal.remission, history)
        )
    base = np.ones(draws.beta.shape[0]) if weight is None else weight
    return (
        Rates(
            response=np.concatenate([one.response for one in found]),
            remission=np.concatenate([one.remission for one in found]),
        ),
        np.concatenate([base * one.likelihood for one in found]),
    )


def _course(
    draws: EqualDraws, coding: Coding, trials: int, rater: str, *, new_clinic: bool
) -> Rates:
    """Marginal rates after infusions 1 to the plateau, (n, K)."""
    rates = [
        clinic_rates(draws, coding, trials, infusion, rater, new_clinic=new_clinic)
        for infusion in range(1, coding.plateau_infusions + 1)
    ]
    return Rates(
        response=np.stack([one.response for one in rates], axis=1),
        remission=np.stack([one.remission for one in rates], axis=1),
    )


def _averaged(chances: Float, weights: Float) -> Float:
    """Mean over components (C, n, F), weighted by likelihood (C, n); (n, F)."""
    if _all_equal(weights):
        result: Float = np.mean(chances, axis=0)
        return result
    total = weights.sum(axis=0)
    share = weights / np.where(total > 0.0, total, 1.0)
    averaged: Float = np.einsum("cn,cnf->nf", share, chances)
    return averaged


def summarise_weighted(
    average: Float,
    new: Float,
    average_weight: Float,
    new_weight: Float,
    levels: Sequence[float],
) -> list[float]:
    """Summaries of one outcome from weighted draws.

    Parameters
    ----------
    average, average_weight : (n,) float arrays
        Rates in an average clinic and their weights, >= 0.
    new, new_weight : (m,) float arrays
        Rates in a new clinic and their weights, >= 0.
    levels : sequence of float
        Interval levels in (0, 1).

    Returns
    -------
    list of float
        As :func:`ketacast.clinical.rates.summarise`, and its very numbers where all
        weights are equal.
    """
    if _all_equal(average_weight) and _all_equal(new_weight):
        return summarise(average, new, levels)
    tails = np.array([side for level in levels for side in ((1 - level) / 2, (1 + level) / 2)])
    narrow = weighted_quantiles(average, average_weight, tails)
    pooled = weighted_quantiles(new, new_weight, np.append(tails, 0.5))
    wide, median = pooled[:-1], pooled[-1]
    # As without weights: the new clinic's interval always holds the average clinic's.
    wide[0::2] = np.minimum(wide[0::2], narrow[0::2])
    wide[1::2] = np.maximum(wide[1::2], narrow[1::2])
    expected = float(np.average(new, weights=new_weight))
    return [expected, float(median), *narrow.tolist(), *wide.tolist()]


def weighted_quantiles(values: Float, weights: Float | None, probabilities: Float) -> Float:
    """Quantiles of weighted values, linear between order statistics.

    Parameters
    ----------
    values : (n,) float array
    weights : (n,) float array or None
        >= 0, not all 0; a value of weight 0 is left out. None for equal weights.
    probabilities : (k,) float array
        In [0, 1].

    Returns
    -------
    (k,) float array

    Notes
    -----
    The i-th ordered value stands at the midpoint of its share of the cumulative weight,
    stretched so that the smallest stands at 0 and the largest at 1. With equal weights
    this is type 7 of Hyndman and Fan (1996), Am Stat 50:361-365, and then
    :func:`ketacast.clinical.rates.quantiles` itself is called.
    """
    if weights is None or _all_equal(weights):
        return quantiles(values, probabilities)
    kept = weights > 0.0
    values, weights = values[kept], weights[kept]
    order = np.argsort(values)
    ordered = values[order]
    if (ordered[1:] == ordered[:-1]).any():  # the fast sort leaves the order of ties open
        order = np.argsort(values, kind="stable")
    share = weights[order]
    middle = np.cumsum(share) - 0.5 * share
    if middle[-1] <= middle[0]:  # one value only, or none but it matters
        return np.full(probabilities.shape, ordered[-1])
    place = (middle - middle[0]) / (middle[-1] - middle[0])
    result: Float = np.interp(probabilities, place, ordered)
    return result


def effective_size(weights: Float) -> float:
    """Kish's effective sample size, ``(sum v)^2 / sum v^2``, of weights not all 0."""
    relative = weights / weights.max()
    return float(relative.sum() ** 2 / (relative**2).sum())


def _all_equal(weights: Float) -> bool:
    return bool((weights == weights.flat[0]).all())
