"""Variance components of multilevel and multivariate models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.numerics.mixed.marginal_covariance import MarginalModel
from ketacast.numerics.mixed.variance_search import (
    Maximum,
    maximise,
    refuse_unidentified,
    start_levels,
)
from ketacast.numerics.mixed.variance_structures import (
    Factor,
    NonNegative,
    ScaledCorrelation,
    Structure,
    compound_symmetric,
    diagonal,
    start_correlations,
)

CovarianceStructure = Literal["UN", "CS", "HCS", "DIAG"]
COVARIANCE_STRUCTURES: Final[tuple[CovarianceStructure, ...]] = get_args(CovarianceStructure)
#: Correlation at which parameters of a correlated structure are checked for information.
GENERIC_CORRELATION: Final = 0.3


@dataclass(frozen=True, slots=True)
class Estimate:
    """A structure and the parameters that maximise the likelihood."""

    structure: Structure
    maximum: Maximum

    @property
    def psi(self) -> FloatArray:
        """Coefficients of the patterns, shape (J,)."""
        return self.structure.psi(self.maximum.theta)


def levels_of(model: MarginalModel, patterns: list[int]) -> FloatArray:
    """Variances from which to start, one column for each of some patterns.

    Parameters
    ----------
    model : MarginalModel
        The data.
    patterns : list of int
        Patterns; the rows with a 1 on a pattern's diagonal belong to it.

    Returns
    -------
    ndarray, shape (n, len(patterns))
    """
    Q = model.basis.columns
    residual = np.abs(model.y - Q @ (Q.T @ model.y))
    smallest, largest = np.full(len(patterns), np.inf), np.zeros(len(patterns))
    for block in model.classes:
        variances = np.diagonal(block.sampling, axis1=-2, axis2=-1)
        for column, pattern in enumerate(patterns):
            own = np.diagonal(block.patterns[pattern], axis1=-2, axis2=-1) > 0.0
            if own.any():
                smallest[column] = min(smallest[column], float(variances[own].min()))
                largest[column] = max(largest[column], float(residual[block.rows][own].max()))
    return start_levels(smallest * model.smallest_correlation_eigenvalue, largest)


def estimate_levels(model: MarginalModel, *, restricted: bool) -> Estimate:
    """Variance between groups and, with a second pattern, within groups.

    Raises
    ------
    InputError
        If the data say nothing about a component.
    ConvergenceError
        If the maximum was not reached.
    """
    count = model.n_patterns
    structure = NonNegative(np.eye(count))
    levels = levels_of(model, list(range(count)))
    names = ["the variance between groups", "the variance within groups"][:count]
    refuse_unidentified(model, structure, _generic(model, levels), names, restricted=restricted)
    return Estimate(structure, maximise(model, structure, levels, restricted=restricted))


def estimate_outcomes(
    model: MarginalModel, kind: CovarianceStructure, outcomes: tuple[object, ...], *,
    restricted: bool,
) -> Estimate:  # fmt: skip
    """Covariance G of the random effects of several outcomes.

    Parameters
    ----------
    model : MarginalModel
        The data; patterns are the upper triangle of G.
    kind : {"UN", "CS", "HCS", "DIAG"}
        Structure of G.
    outcomes : tuple, length m
        Labels, for messages.
    restricted : bool
        Restricted instead of full likelihood.

    Raises
    ------
    InputError
        If the data say nothing about a parameter.
    ConvergenceError
        If the maximum was not reached.
    """
    m = len(outcomes)
    levels = outcome_levels(model, m)
    _refuse_unidentified_outcomes(model, kind, outcomes, levels, restricted=restricted)
    if kind == "DIAG":
        return _estimate(model, diagonal(m), levels, restricted=restricted)
    if kind == "CS":
        return _estimate(model, compound_symmetric(m), pooled(levels), restricted=restricted)
    # With two outcomes, HCS is any covariance.
    structure = Factor(m) if kind == "UN" or m == 2 else ScaledCorrelation(m, equal=False)
    extra = None
    if m > 2:
        # The grid of many outcomes is coarse; independent outcomes are a good first guess,
        # as they are and with each variance at least middling.
        alone = _estimate(model, diagonal(m), levels, restricted=restricted).maximum.theta
        guesses = [np.maximum(alone, levels[1]), np.maximum(alone, levels[len(levels) // 2])]
        rho = start_correlations(m)
        pairs = [np.append(np.sqrt(guess), r) for guess in guesses for r in rho]
        extra = structure.from_correlated(np.array(pairs))
    return _estimate(model, structure, levels, restricted=restricted, extra=extra)


def outcome_levels(model: MarginalModel, m: int) -> FloatArray:
    """Collect starting variances of each of m outcomes, shape (n, m)."""
    first, second = np.triu_indices(m)
    return levels_of(model, np.flatnonzero(first == second).tolist())


def pooled(levels: FloatArray) -> FloatArray:
    """Two equal columns of starting variances that span those of all outcomes."""
    both = np.geomspace(levels[1].min(), levels[-1].max(), len(levels) - 1)
    return np.column_stack([np.append(0.0, both)] * 2)


def _estimate(
    model: MarginalModel,
    structure: Structure,
    levels: FloatArray,
    *,
    restricted: bool,
    extra: FloatArray | None = None,
) -> Estimate:
    return Estimate(
        structure, maximise(model, structure, levels, restricted=restricted, extra=extra)
    )


def _generic(model: MarginalModel, levels: FloatArray) -> FloatArray:
    """Variances large enough that every row counts alike when information is checked."""
    largest = max(float(np.max(block.sampling)) for block in model.classes)
    return np.asarray(np.maximum(levels[-1], largest), dtype=np.float64)


def _refuse_unidentified_outcomes(
    model: MarginalModel, kind: CovarianceStructure, outcomes: tuple[object, ...],
    levels: FloatArray, *, restricted: bool,
) -> None:  # fmt: skip
    m, generic = len(outcomes), _generic(model, levels)
    own = [f"the variance of {label!r}" for label in outcomes]
    structure: Structure
    if kind == "DIAG":
        structure, theta, names = diagonal(m), generic, own
    elif kind == "UN":
        i, j = np.triu_indices(m)
        structure = NonNegative(np.eye(i.size))
        theta = np.where(i == j, generic[i], 0.0)
        names = [
            own[a] if a == b else f"the covariance of {outcomes[a]!r} and {outcomes[b]!r}"
            for a, b in zip(i, j, strict=True)
        ]
    else:
        structure = ScaledCorrelation(m, equal=kind == "CS")
        tau = np.sqrt(generic[:1] if kind == "CS" else generic)
        theta = np.append(tau, GENERIC_CORRELATION)
        names = [*(["the variance"] if kind == "CS" else own), "the correlation"]
    refuse_unidentified(model, structure, theta, names, restricted=restricted)
