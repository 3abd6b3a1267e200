"""Profile-likelihood confidence intervals of variance components and correlations.

The interval holds the values that a likelihood-ratio test at the level does not
reject, every other parameter being estimated again for each value (Hardy &
Thompson 1996, Stat Med 15:619).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
from scipy import optimize, special

from ketacast.arrays import FloatArray
from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.inference import check_level
from ketacast.numerics.mixed.marginal_covariance import MarginalModel
from ketacast.numerics.mixed.result import MixedFit, MultilevelFit, MultivariateFit
from ketacast.numerics.mixed.variance_estimates import levels_of, outcome_levels, pooled
from ketacast.numerics.mixed.variance_search import maximise
from ketacast.numerics.mixed.variance_structures import (
    Factor,
    NonNegative,
    ScaledCorrelation,
    Structure,
    diagonal,
)
from ketacast.options import check_choice

VarianceLevel = Literal["between", "within"]
VARIANCE_LEVELS: Final[tuple[VarianceLevel, ...]] = get_args(VarianceLevel)
#: Relative accuracy of the limits.
ACCURACY: Final = 1e-10
#: The search for an upper limit doubles this often; 2^60 is beyond any data.
MOST_DOUBLINGS: Final = 60


@dataclass(frozen=True, slots=True)
class ProfileInterval:
    """Profile-likelihood interval.

    Attributes
    ----------
    estimate, lower, upper : float
        Estimate and limits; a limit is at the edge of the parameter's range where the
        likelihood does not fall far enough before it.
    level : float
        Coverage.
    """

    estimate: float
    lower: float
    upper: float
    level: float


def variance_interval(
    fit: MultilevelFit, component: VarianceLevel, *, level: float = 0.95
) -> ProfileInterval:
    """Interval of one variance of a multilevel fit.

    Parameters
    ----------
    fit : MultilevelFit
        The fit.
    component : {"between", "within"}
        Variance between groups, or between estimates within a group.
    level : float
        Coverage, 0 to 1.

    Raises
    ------
    InputError
        For an unknown component, or "within" where it was not separable.
    ConvergenceError
        If a profile was not found.
    """
    check_choice("component", component, VARIANCE_LEVELS)
    index = VARIANCE_LEVELS.index(component)
    if index >= fit.model.n_patterns:
        raise InputError(
            "component is 'within', but each group has one estimate, so there is no such variance; "
            "ask for 'between', which holds all heterogeneity"
        )
    levels = levels_of(fit.model, list(range(fit.model.n_patterns)))
    structure = NonNegative(np.eye(fit.model.n_patterns))
    profile = _Profile(fit.model, structure, levels, index, restricted=fit.restricted)
    return profile.variance(fit, float(fit.sigma2[index]), check_level(level), squared=False)


def tau2_profile_interval(
    fit: MultivariateFit, outcome: object, *, level: float = 0.95
) -> ProfileInterval:
    """Interval of the between-trial variance of one outcome.

    Parameters
    ----------
    fit : MultivariateFit
        The fit; with structure "CS" all outcomes have one variance.
    outcome : object
        Label of the outcome.
    level : float
        Coverage, 0 to 1.

    Raises
    ------
    InputError
        For an unknown outcome.
    ConvergenceError
        If a profile was not found.
    """
    if outcome not in fit.outcome_labels:
        raise InputError(
            f"outcome {outcome!r} is not in the fit; choose from {fit.outcome_labels!r}"
        )
    j, m = fit.outcome_labels.index(outcome), fit.tau2.size
    model, levels = fit.model, outcome_levels(fit.model, m)
    structure: Structure
    index, squared = j, True
    if fit.structure == "DIAG":
        structure, squared = diagonal(m), False
    elif fit.structure == "CS":
        structure, index, levels = ScaledCorrelation(m, equal=True), 0, pooled(levels)
    elif fit.structure == "HCS":
        structure = ScaledCorrelation(m, equal=False)
    else:
        # The first element of the factor is the standard deviation of the first outcome.
        order = [j, *(i for i in range(m) if i != j)]
        structure, index = Factor(m), 0
        model, levels = _reordered(model, order), levels[:, order]
    profile = _Profile(model, structure, levels, index, restricted=fit.restricted)
    return profile.variance(fit, float(fit.tau2[j]), check_level(level), squared=squared)


def rho_profile_interval(fit: MultivariateFit, *, level: float = 0.95) -> ProfileInterval:
    """Interval of the correlation of the random effects.

    Parameters
    ----------
    fit : MultivariateFit
        A fit with one correlation: structure "CS" or "HCS", or "UN" with two outcomes.
    level : float
        Coverage, 0 to 1.

    Raises
    ------
    InputError
        If the fit has no correlation, several, or a variance of 0.
    ConvergenceError
        If a profile was not found.
    """
    m = fit.tau2.size
    if fit.structure == "DIAG" or (fit.structure == "UN" and m > 2):
        raise InputError(
            f"structure is {fit.structure!r} with {m} outcomes; an interval needs a single "
            "correlation: use 'CS' or 'HCS'"
        )
    estimate = float(fit.rho[0, 1])
    if np.isnan(estimate):
        raise InputError(
            f"tau2 is {fit.tau2.tolist()!r}; with a variance of 0 there is no correlation"
        )
    equal = fit.structure == "CS"
    levels = outcome_levels(fit.model, m)
    structure = ScaledCorrelation(m, equal=equal)
    profile = _Profile(
        fit.model, structure, pooled(levels) if equal else levels, structure.lower.size - 1,
        restricted=fit.restricted,
    )  # fmt: skip
    coverage = check_level(level)
    drop = profile.excess(fit, coverage)
    return ProfileInterval(
        estimate,
        _root(drop, estimate, float(structure.lower[-1])),
        _root(drop, estimate, 1.0),
        coverage,
    )


@dataclass(frozen=True, slots=True)
class _Profile:
    """The likelihood of one parameter, the others at their best."""

    model: MarginalModel
    structure: Structure
    levels: FloatArray
    index: int
    restricted: bool

    def excess(self, fit: MixedFit, level: float) -> Callable[[float], float]:
        """Likelihood-ratio statistic minus its critical value, as a function of the parameter."""
        critical = float(special.chdtri(1, 1.0 - level))

        def value(parameter: float) -> float:
            at = maximise(
                self.model, self.structure, self.levels,
                restricted=self.restricted, fixed=(self.index, parameter),
            )  # fmt: skip
            return 2.0 * (fit.log_likelihood - at.value) - critical

        return value

    def variance(
        self, fit: MixedFit, estimate: float, level: float, *, squared: bool
    ) -> ProfileInterval:
        """Interval of a variance whose parameter is itself or (`squared`) its root."""
        excess = self.excess(fit, level)

        def of_variance(variance: float) -> float:
            return excess(float(np.sqrt(variance)) if squared else variance)

        upper = max(2.0 * estimate, float(self.levels[1].max()))
        for _ in range(MOST_DOUBLINGS):
            if of_variance(upper) > 0.0:
                break
            upper *= 2.0
        else:
            raise ConvergenceError(
                f"the likelihood does not fall below its limit up to a variance of {upper:.3g}: "
                "the data set no upper limit; use a lower level or fewer moderators"
            )
        return ProfileInterval(
            estimate,
            _root(of_variance, estimate, 0.0),
            _root(of_variance, estimate, upper),
            level,
        )


def _root(excess: Callable[[float], float], inside: float, edge: float) -> float:
    """Where the statistic reaches its critical value between the estimate and an edge."""
    if inside == edge or excess(edge) <= 0.0:
        return edge
    scale = max(abs(inside), abs(edge))
    low, high = sorted((inside, edge))
    return float(
        optimize.brentq(excess, low, high, xtol=ACCURACY * ACCURACY * scale, rtol=ACCURACY)
    )


def _reordered(model: MarginalModel, order: list[int]) -> MarginalModel:
    """Put the outcomes in another order."""
    m = len(order)
    position = np.zeros((m, m), dtype=np.intp)
    first, second = np.triu_indices(m)
    position[first, second] = position[second, first] = np.arange(first.size)
    old = position[np.ix_(order, order)][first, second]
    classes = tuple(replace(block, patterns=block.patterns[old]) for block in model.classes)
    return replace(model, classes=classes)
