"""Joint mode and Gaussian approximation at given taus, many taus at once.

Given tau_R, tau_M and tau_b, the coefficients and the standard-normal family
scores have a log-posterior with an arrow-shaped information matrix: 3 x 3 blocks
of the families bordered by the p coefficients. Newton steps cost O(C p^2) each by
eliminating the families first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.errors import ConvergenceError
from ketacast.numerics.hierarchical.likelihood import RowTerms, row_terms
from ketacast.numerics.hierarchical.model import N_EFFECTS, Float, Priors, Rows

MAX_ITERATIONS: Final = 200
"""Newton needs 5-10 steps; a setting whose rows of kind ``REMISSION`` lie where the
log likelihood is not concave needs more. Only unfinished settings are computed."""

TOLERANCE: Final = 1e-6
"""Newton decrement at which a setting is finished: the mode only centres a proposal
whose weights are exact, and a decrement of 1e-6 moves it by 0.001 SD."""

MAX_DECREMENT: Final = 0.1
"""A setting left above this after the last step (0.3 SD off) is a failure."""

MAX_HALVINGS: Final = 30
"""2**-30 of a Newton step is below the resolution of the log posterior."""


@dataclass(frozen=True, slots=True)
class Laplace:
    """Gaussian approximations at G settings of the taus.

    Attributes
    ----------
    tau : (G, 3) float array
        The settings.
    log_marginal : (G,) float array
        Laplace approximation of the log marginal likelihood (coefficients and
        effects integrated out; without binomial coefficients).
    mode : (G, p) float array
        Mode of the coefficients.
    covariance : (G, p, p) float array
        Their marginal covariance.
    """

    tau: Float
    log_marginal: Float
    mode: Float
    covariance: Float


@dataclass(frozen=True, slots=True)
class _State:
    beta: Float  # (G, p)
    scores: Float  # (G, C, 3)
    log_posterior: Float  # (G,)
    terms: RowTerms


@dataclass(frozen=True, slots=True)
class _Arrow:
    """Arrow-shaped information, eliminated: border Schur complement and factors."""

    solved_border: Float  # (G, C, 3, p) = block^-1 border
    solved_gradient: Float  # (G, C, 3) = block^-1 gradient
    gradient: Float  # (G, C, 3), of the log posterior in the scores
    schur: Float  # (G, p, p)
    schur_gradient: Float  # (G, p)
    log_det_blocks: Float  # (G,)


def _loadings(rows: Rows, tau: Float) -> tuple[Float, Float]:
    """Return the loadings (G, R, 3) of the family scores on the two linear predictors."""
    shape = (tau.shape[0], rows.slope.size, N_EFFECTS)
    on_response, on_remission = np.zeros(shape), np.zeros(shape)
    on_response[:, :, 0] = tau[:, None, 0]
    on_response[:, :, 2] = tau[:, None, 2] * rows.slope
    on_remission[:, :, 1] = tau[:, None, 1]
    return on_response, on_remission


def _evaluate(
    rows: Rows, priors: Priors, loadings: tuple[Float, Float], beta: Float, scores: Float
) -> _State:
    of_row = scores[:, rows.family, :]
    eta = beta @ rows.x_response.T + np.einsum("grk,grk->gr", loadings[0], of_row)
    theta = beta @ rows.x_remission.T + np.einsum("grk,grk->gr", loadings[1], of_row)
    terms = row_terms(rows.kind, rows.count, rows.total, eta, theta)
    away = beta - priors.mean
    penalty = np.einsum("gp,pq,gq->g", away, priors.precision, away)
    penalty += np.einsum("gck,gck->g", scores, scores)
    return _State(beta, scores, terms.log_lik.sum(axis=1) - 0.5 * penalty, terms)


def _sum_by_family(rows: Rows, values: Float) -> Float:
    """Sum (G, R, ...) over the rows of each family: (G, C, ...)."""
    starts = np.searchsorted(rows.family, np.arange(rows.n_families))
    total: Float = np.add.reduceat(values, starts, axis=1)
    return total


def _eliminate(rows: Rows, priors: Priors, loadings: tuple[Float, Float], state: _State) -> _Arrow:
    terms, (on_eta, on_theta) = state.terms, loadings
    # Information times covariates, per row: (G, R, p) for eta and for theta.
    x_eta = (
        terms.info_response[..., None] * rows.x_response
        + terms.info_cross[..., None] * rows.x_remission
    )
    x_theta = (
        terms.info_cross[..., None] * rows.x_response
        + terms.info_remission[..., None] * rows.x_remission
    )
    corner = np.einsum("rp,grq->gpq", rows.x_response, x_eta)
    corner += np.einsum("rp,grq->gpq", rows.x_remission, x_theta) + priors.precision
    border = _sum_by_family(
        rows,
        on_eta[..., None] * x_eta[:, :, None, :] + on_theta[..., None] * x_theta[:, :, None, :],
    )
    z_eta = terms.info_response[..., None] * on_eta + terms.info_cross[..., None] * on_theta
    z_theta = terms.info_cross[..., None] * on_eta + terms.info_remission[..., None] * on_theta
    block = _sum_by_family(
        rows,
        on_eta[..., None] * z_eta[:, :, None, :] + on_theta[..., None] * z_theta[:, :, None, :],
    ) + np.eye(N_EFFECTS)
    gradient = (
        _sum_by_family(
            rows,
            terms.score_response[..., None] * on_eta + terms.score_remission[..., None] * on_theta,
        )
        - state.scores
    )
    gradient_beta = terms.score_response @ rows.x_response
    gradient_beta += terms.score_remission @ rows.x_remission
    gradient_beta -= (state.beta - priors.mean) @ priors.precision
    solved = np.linalg.solve(block, np.concatenate([border, gradient[..., None]], axis=-1))
    p = rows.n_coefficients
    return _Arrow(
        solved_border=solved[..., :p],
        solved_gradient=solved[..., p],
        gradient=gradient,
        schur=corner - np.einsum("gckp,gckq->gpq", border, solved[..., :p]),
        schur_gradient=gradient_beta - np.einsum("gckp,gck->gp", border, solved[..., p]),
        log_det_blocks=np.linalg.slogdet(block)[1].sum(axis=1),
    )


def _newton_step(arrow: _Arrow) -> tuple[Float, Float, Float]:
    """Step of the coefficients, step of the scores, Newton decrement."""
    step = np.linalg.solve(arrow.schur, arrow.schur_gradient[..., None])
    step_beta = np.asarray(step[..., 0], dtype=np.float64)
    step_scores = arrow.solved_gradient - np.einsum("gckp,gp->gck", arrow.solved_border, step_beta)
    decrement = np.einsum("gp,gp->g", arrow.schur_gradient, step_beta)
    decrement += np.einsum("gck,gck->g", arrow.gradient, arrow.solved_gradient)
    return step_beta, step_scores, decrement


def fit_laplace(rows: Rows, priors: Priors, tau: Float, start: Float | None = None) -> Laplace:
    """Find the joint mode at each setting of the taus.

    Parameters
    ----------
    rows : Rows
        The data.
    priors : Priors
        Gaussian prior of the coefficients (the priors of the taus are not used).
    tau : (G, 3) float array
        Settings of tau_R, tau_M, tau_b, each >= 0.
    start : (p,) float array, optional
        Starting coefficients; the prior mean by default.

    Returns
    -------
    Laplace
        Mode, covariance and log marginal likelihood at each setting.

    Raises
    ------
    ConvergenceError
        If Newton's method does not converge at some setting.

    Notes
    -----
    Laplace's method as in Tierney and Kadane (1986), J Am Stat Assoc 81:82-86,
    with the expected information of a row where the observed one is indefinite.
    """
    first = priors.mean if start is None else start
    loadings = _loadings(rows, tau)
    beta = np.tile(first, (tau.shape[0], 1))
    scores = np.zeros((tau.shape[0], rows.n_families, N_EFFECTS))
    todo, decrement = np.arange(tau.shape[0]), np.full(tau.shape[0], np.inf)
    for _ in range(MAX_ITERATIONS):
        part = (loadings[0][todo], loadings[1][todo])
        state = _evaluate(rows, priors, part, beta[todo], scores[todo])
        step_beta, step_scores, decrement[todo] = _newton_step(
            _eliminate(rows, priors, part, state)
        )
        moved = _line_search(rows, priors, part, state, (step_beta, step_scores))
        beta[todo], scores[todo] = moved.beta, moved.scores
        todo = todo[~(decrement[todo] < TOLERANCE)]
        if not todo.size:
            break
    if not np.all(decrement <= MAX_DECREMENT):
        worst = int(np.argmax(np.where(np.isnan(decrement), np.inf, decrement)))
        raise ConvergenceError(
            f"Newton's method did not converge in {MAX_ITERATIONS} steps at "
            f"tau = {tau[worst].tolist()}; check the evidence for extreme counts or covariates"
        )
    state = _evaluate(rows, priors, loadings, beta, scores)
    arrow = _eliminate(rows, priors, loadings, state)
    log_det = arrow.log_det_blocks + np.linalg.slogdet(arrow.schur)[1]
    log_det_prior = np.linalg.slogdet(priors.precision)[1]
    covariance = np.asarray(np.linalg.inv(arrow.schur), dtype=np.float64)
    return Laplace(
        tau=tau,
        log_marginal=state.log_posterior + 0.5 * (log_det_prior - log_det),
        mode=state.beta,
        covariance=covariance,
    )


def _line_search(
    rows: Rows,
    priors: Priors,
    loadings: tuple[Float, Float],
    state: _State,
    step: tuple[Float, Float],
) -> _State:
    """Halve the step, setting by setting, until the log posterior does not fall."""
    step_beta, step_scores = step
    size = np.ones(state.beta.shape[0])
    slack = 1e-12 * (1.0 + np.abs(state.log_posterior))  # rounding of the sum over rows
    for _ in range(MAX_HALVINGS):
        trial = _evaluate(
            rows,
            priors,
            loadings,
            state.beta + size[:, None] * step_beta,
            state.scores + size[:, None, None] * step_scores,
        )
        worse = ~(trial.log_posterior >= state.log_posterior - slack)
        if not worse.any():
            return trial
        size = np.where(worse, 0.5 * size, size)
    size = np.where(worse, 0.0, size)
    return _evaluate(
        rows,
        priors,
        loadings,
        state.beta + size[:, None] * step_beta,
        state.scores + size[:, None, None] * step_scores,
    )
