"""Random effects, residuals, influence and intervals of multilevel and multivariate fits.

References
----------
Robinson 1991, Stat Sci 6:15 (BLUPs); Viechtbauer & Cheung 2010, Res Synth Methods
1:112 (residuals, Cook's distance).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.arrays import FloatArray, frozen
from ketacast.errors import InputError
from ketacast.numerics.inference import two_sided_p
from ketacast.numerics.mixed.inputs import without_group
from ketacast.numerics.mixed.marginal_covariance import MarginalModel, covariance, whiten
from ketacast.numerics.mixed.result import MixedFit, MultilevelFit, MultivariateFit
from ketacast.numerics.mixed.variance_estimates import Estimate, estimate_levels, estimate_outcomes

#: Share of its variance below which a residual is fixed by the design: 0 but for rounding.
FIXED_RESIDUAL: Final = 1e-12


@dataclass(frozen=True, slots=True)
class RandomEffects:
    """Best linear unbiased predictions of random effects.

    Attributes
    ----------
    effect, se : ndarray
        Predictions and their standard errors; the uncertainty of the coefficients is
        included, that of the variance components is not.
    """

    effect: FloatArray
    se: FloatArray


@dataclass(frozen=True, slots=True)
class MultilevelEffects:
    """Random effects of a multilevel fit.

    Attributes
    ----------
    between : RandomEffects, shapes (n_groups,)
        Of each group, in the order of the fit's `group_labels`.
    within : RandomEffects, shapes (k,)
        Of each row, around its group.
    """

    between: RandomEffects
    within: RandomEffects


@dataclass(frozen=True, slots=True)
class Residuals:
    """Residuals around the fitted means.

    Attributes
    ----------
    residual, se, z : ndarray, shape (k,)
        Residuals, their standard errors and the ratio; z is NaN for a row that the
        design fits exactly.
    p_value : ndarray, shape (k,)
        Two-sided, normal.
    """

    residual: FloatArray
    se: FloatArray
    z: FloatArray
    p_value: FloatArray


def random_effects(fit: MultilevelFit) -> MultilevelEffects:
    """Predict the random effects of a multilevel fit.

    Parameters
    ----------
    fit : MultilevelFit
        The fit.
    """
    between, within = fit.sigma2
    projected, projection = _projected(fit)
    n = fit.n_groups
    total = np.bincount(fit.group_index, weights=projected, minlength=n)
    spread, single = np.zeros(n), np.zeros(fit.k)
    for block, inner in zip(fit.model.classes, projection, strict=True):
        spread[fit.group_index[block.rows[:, 0]]] = inner.sum(axis=(-2, -1))
        single[block.rows] = np.diagonal(inner, axis1=-2, axis2=-1)
    return MultilevelEffects(
        between=_effects(between * total, between - between**2 * spread),
        within=_effects(within * projected, within - within**2 * single),
    )


def outcome_effects(fit: MultivariateFit) -> RandomEffects:
    """Predict the random effects of each trial for each outcome.

    Parameters
    ----------
    fit : MultivariateFit
        The fit.

    Returns
    -------
    RandomEffects, shapes (n_groups, m)
        In the orders of `group_labels` and `outcome_labels`; outcomes that a trial
        did not report are predicted from those it did.
    """
    projected, projection = _projected(fit)
    effect = np.zeros((fit.n_groups, fit.tau2.size))
    variance = np.zeros_like(effect)
    for block, inner in zip(fit.model.classes, projection, strict=True):
        place = fit.group_index[block.rows[:, 0]]
        loading = fit.G[fit.outcome_index[block.rows]]  # (b, n, m)
        effect[place] = np.einsum("bnm,bn->bm", loading, projected[block.rows])
        explained = np.einsum("bnm,bnr,brm->bm", loading, inner, loading)
        variance[place] = np.diag(fit.G) - explained
    return _effects(effect, variance)


def standardised_residuals(fit: MixedFit) -> Residuals:
    """Residuals divided by their standard errors.

    Parameters
    ----------
    fit : MixedFit
        The fit.
    """
    residual = fit.model.y - fit.design @ fit.beta
    marginal = np.zeros(fit.k)
    for block in fit.model.classes:
        marginal[block.rows] = np.diagonal(covariance(block, fit.psi), axis1=-2, axis2=-1)
    # Var(y - X beta) = M - X cov X' for weights that are the inverse of M.
    variance = marginal - np.einsum("ki,ij,kj->k", fit.design, fit.cov, fit.design)
    free = variance > FIXED_RESIDUAL * marginal
    se = np.sqrt(np.where(free, variance, 0.0))
    z = np.full(fit.k, np.nan)
    z[free] = residual[free] / se[free]
    return Residuals(frozen(residual), frozen(se), frozen(z), frozen(two_sided_p(z, None)))


def cooks_distance(fit: MixedFit) -> FloatArray:
    """How far all coefficients move when one group is left out and all is fitted again.

    ``(beta - beta_g)' inverse(cov) (beta - beta_g)``, not divided by p.

    Parameters
    ----------
    fit : MixedFit
        The fit.

    Returns
    -------
    ndarray, shape (n_groups,)
        In the order of `group_labels`; NaN where the model cannot be fitted without
        the group.

    Raises
    ------
    ConvergenceError
        If the maximum of a likelihood was not reached.
    """
    distance = np.full(fit.n_groups, np.nan)
    scale = np.sqrt(np.diag(fit.cov))
    root = np.linalg.cholesky(fit.cov / np.outer(scale, scale))
    if fit.n_groups < 3:
        return frozen(distance)  # a single group would be left
    for group in range(fit.n_groups):
        try:
            model = without_group(fit.model, fit.design, np.flatnonzero(fit.group_index == group))
            estimate = estimate_again(fit, model)
        except InputError:
            continue
        beta, _ = whiten(model, estimate.psi).coefficients(model.basis)
        distance[group] = float(np.sum(np.linalg.solve(root, (fit.beta - beta) / scale) ** 2))
    return frozen(distance)


def estimate_again(fit: MixedFit, model: MarginalModel) -> Estimate:
    """Estimate the variance components of the same kind of fit from other data.

    Parameters
    ----------
    fit : MixedFit
        Says which structure.
    model : MarginalModel
        The data.

    Raises
    ------
    InputError
        If the data say nothing about a component.
    ConvergenceError
        If the maximum was not reached.
    """
    if isinstance(fit, MultivariateFit):
        return estimate_outcomes(
            model, fit.structure, fit.outcome_labels, restricted=fit.restricted
        )
    return estimate_levels(model, restricted=fit.restricted)


def _effects(effect: FloatArray, variance: FloatArray) -> RandomEffects:
    return RandomEffects(frozen(effect), frozen(np.sqrt(np.maximum(variance, 0.0))))


def _projected(fit: MixedFit) -> tuple[FloatArray, list[FloatArray]]:
    """``P y``, shape (k,), and the blocks of P on the diagonal, (b, n, n) per class."""
    at = whiten(fit.model, fit.psi)
    projected = np.zeros(fit.k)
    blocks = []
    for block, factor in zip(fit.model.classes, at.factors, strict=True):
        inverse = np.linalg.solve(factor, np.eye(factor.shape[-1]))
        back = np.swapaxes(inverse, -1, -2)
        projected[block.rows] = (back @ at.residual[block.rows][..., None])[..., 0]
        through = back @ at.q[block.rows]
        blocks.append(back @ inverse - through @ np.swapaxes(through, -1, -2))
    return projected, blocks
