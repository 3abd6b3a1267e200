"""Weights of the model's draws given a clinic's counts, and the clinic's effects.

Every draw brings coefficients, taus and three standard-normal scores of a new
clinic. Given counts, the scores are moved by an affine map of their own draw,
to where that draw and the counts put the clinic; the weight is what importance
sampling owes for the move. On average over the scores a weight is the marginal
likelihood of the counts at the draw's coefficients and taus. Without counts the map is the
identity and every weight 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.clinical.rates import Coding
from ketacast.numerics.draws import EqualDraws, Float
from ketacast.updating.counts import Cell
from ketacast.updating.likelihood import CodedCell, code_cells, heights, log_likelihood

MODE_STEPS: Final = 30
SETTLED: Final = 0.02
"""Newton step, in SDs of the conditional, at which the map is good enough: it only
places the scores, and the weights are exact for any place."""

MAX_LOGIT_STEP: Final = 3.0
"""A logistic Newton step beyond this leaves the region where the curvature holds."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Draws moved to a clinic's counts.

    Attributes
    ----------
    scores : (N, 3) float array
        The clinic's scores: its effects are ``tau * scores``.
    log_weight : (N,) float array
        Unnormalised; exactly 0 without counts. The mean of its exponential is the
        marginal likelihood of the counts, without binomial coefficients.
    """

    scores: Float
    log_weight: Float


def move(draws: EqualDraws, cells: Sequence[Cell], coding: Coding) -> Moved:
    """Move every draw's scores to where the counts put the clinic.

    Parameters
    ----------
    draws : EqualDraws
        Coefficients, taus and standard-normal scores.
    cells : sequence of Cell
        The clinic's counts; none leaves the draws as they are, bit for bit.
    coding : Coding
        Covariate coding of the model.

    Returns
    -------
    Moved

    Notes
    -----
    The map of a draw is ``scores -> mode + root scores`` with the mode and a root of
    the inverse information of its conditional posterior of the scores. With density
    phi of the standard normal and likelihood L, the weight
    ``L(s') phi(s') |root| / phi(s)`` makes the moved draws follow the posterior
    whatever the map (importance sampling; the map as in Laplace importance
    sampling: Pinheiro and Bates 1995, J Comput Graph Stat 4:12-35).
    """
    coded = code_cells(cells, draws, coding)
    if not coded:
        return Moved(draws.scores, np.zeros(draws.scores.shape[0]))
    mode, lower = _mode(coded, draws.tau)
    scores = mode + _back_substituted(lower, draws.scores)
    log_weight = log_likelihood(coded, draws.tau * scores)
    log_weight += 0.5 * ((draws.scores**2).sum(axis=1) - (scores**2).sum(axis=1))
    log_weight -= np.log(lower[:, [0, 2, 5]]).sum(axis=1)
    return Moved(scores, log_weight)


def _mode(cells: Sequence[CodedCell], tau: Float) -> tuple[Float, Float]:
    """Mode (N, 3) of the scores, and the Cholesky factor (N, 6) of the information there."""
    scores = np.zeros_like(tau)
    for step_number in range(MODE_STEPS + 1):
        gradient, information = _slopes(cells, tau, scores)
        lower = _cholesky(information)
        if step_number == MODE_STEPS:
            break
        solved = _forward_substituted(lower, gradient)
        if step_number and np.max(np.abs(solved)) < SETTLED:
            break
        step = _back_substituted(lower, solved)
        reach = np.abs(tau * step).max(axis=1)
        scores = (
            scores + step * np.minimum(1.0, MAX_LOGIT_STEP / np.maximum(reach, 1e-300))[:, None]
        )
    return scores, lower


def _slopes(cells: Sequence[CodedCell], tau: Float, scores: Float) -> tuple[Float, Float]:
    """Gradient (N, 3) of the log posterior of the scores, information (N, 6) by rows."""
    gradient = -scores
    information = np.zeros((tau.shape[0], 6))
    information[:, [0, 2, 5]] = 1.0
    t0, t1, t2 = tau.T
    for cell in cells:
        h = heights(cell, tau * scores)
        x = cell.x
        gradient = gradient + np.column_stack(
            [t0 * h.score_eta, t1 * h.score_theta, x * t2 * h.score_eta]
        )
        information += np.column_stack(
            [
                t0 * t0 * h.info_eta,
                t0 * t1 * h.info_cross,
                t1 * t1 * h.info_theta,
                x * t0 * t2 * h.info_eta,
                x * t1 * t2 * h.info_cross,
                x * x * t2 * t2 * h.info_eta,
            ]
        )
    return gradient, information


def _cholesky(a: Float) -> Float:
    """Lower factor of 3 x 3 matrices, both as (N, 6): 00, 10, 11, 20, 21, 22."""
    lower = np.empty_like(a)
    lower[:, 0] = np.sqrt(a[:, 0])
    lower[:, 1] = a[:, 1] / lower[:, 0]
    lower[:, 2] = np.sqrt(a[:, 2] - lower[:, 1] ** 2)
    lower[:, 3] = a[:, 3] / lower[:, 0]
    lower[:, 4] = (a[:, 4] - lower[:, 3] * lower[:, 1]) / lower[:, 2]
    lower[:, 5] = np.sqrt(a[:, 5] - lower[:, 3] ** 2 - lower[:, 4] ** 2)
    return lower


def _forward_substituted(lower: Float, b: Float) -> Float:
    first = b[:, 0] / lower[:, 0]
    second = (b[:, 1] - lower[:, 1] * first) / lower[:, 2]
    third = (b[:, 2] - lower[:, 3] * first - lower[:, 4] * second) / lower[:, 5]
    return np.column_stack([first, second, third])


def _back_substituted(lower: Float, b: Float) -> Float:
    third = b[:, 2] / lower[:, 5]
    second = (b[:, 1] - lower[:, 4] * third) / lower[:, 2]
    first = (b[:, 0] - lower[:, 1] * second - lower[:, 3] * third) / lower[:, 0]
    return np.column_stack([first, second, third])


def normalised(log_weight: Float) -> Float:
    """Weights that sum to 1."""
    weight = np.exp(log_weight - log_weight.max())
    result: Float = weight / weight.sum()
    return result


def effective_size(log_weight: Float) -> float:
    """Kish's effective sample size, ``(sum w)^2 / sum w^2``."""
    return float(1.0 / (normalised(log_weight) ** 2).sum())
