"""What every estimator needs of a problem at given tau2, whichever way it is computed.

With ``W = diag(1 / (v + tau2))`` and ``P = W - W X (X'WX)^-1 X'W``: ``q = y'Py``,
``ypp = y'PPy = -dq/dtau2``, ``yppp = y'PPPy``; twice the REML score is
``ypp - tr P``, twice the ML score ``ypp - sum w`` (Viechtbauer 2005, J Educ
Behav Stat 30:261).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.numerics.normal.problem import IntArray, Problem

LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, slots=True)
class Scores:
    """Parts of the likelihoods' derivatives; arrays of one shape.

    Attributes
    ----------
    q, ypp, yppp : ndarray
        y'Py, y'PPy, y'PPPy.
    trace_p, trace_pp : ndarray
        Traces of P and PP.
    weight_sum, weight_squares : ndarray
        Sums of the weights 1 / (v + tau2) and of their squares.
    """

    q: FloatArray
    ypp: FloatArray
    yppp: FloatArray
    trace_p: FloatArray
    trace_pp: FloatArray
    weight_sum: FloatArray
    weight_squares: FloatArray


@dataclass(frozen=True, slots=True)
class Solution:
    """Coefficients in the basis, and the parts of the likelihoods, of B problems.

    Attributes
    ----------
    gamma : ndarray, shape (B, p)
        Weighted least-squares coefficients.
    inverse : ndarray, shape (B, p, p)
        Inverse of X'WX.
    q : ndarray, shape (B,)
        Weighted residual sum of squares.
    log_det : ndarray, shape (B,)
        Log of the determinant of X'WX.
    log_weights : ndarray, shape (B,)
        Sum of the logs of the weights.
    """

    gamma: FloatArray
    inverse: FloatArray
    q: FloatArray
    log_det: FloatArray
    log_weights: FloatArray

    def log_likelihood(self, problem: Problem, *, restricted: bool) -> FloatArray:
        """Profile log-likelihood, shape (B,), of a design with orthonormal columns."""
        base = 0.5 * (self.log_weights - self.q)
        if not restricted:
            return np.asarray(base - 0.5 * problem.k * LOG_2PI, dtype=np.float64)
        rest = 0.5 * self.log_det + 0.5 * problem.residual_df * LOG_2PI
        return np.asarray(base - rest, dtype=np.float64)


class Kernel(Protocol):
    """One way to evaluate a problem."""

    @property
    def problem(self) -> Problem:
        """What is evaluated."""

    @property
    def residual_squares(self) -> FloatArray:
        """Bound on the unweighted residual sums of squares, shape (B,)."""

    def scores(self, tau2: FloatArray) -> Scores:
        """Evaluate at tau2, shape (B, g)."""

    def solution(self, tau2: FloatArray) -> Solution:
        """Solve at tau2, shape (B,)."""

    def scores_and_solution(self, tau2: FloatArray) -> tuple[Scores, Solution]:
        """Evaluate at tau2, shape (B, g), and solve at its last column."""

    def rows(self, index: IntArray) -> Kernel:
        """Problems chosen (and repeated) by index."""


def log_weights(problem: Problem, tau2: FloatArray) -> FloatArray:
    """Sum of the logs of the weights of the included rows, at tau2, shape (B,)."""
    logs = problem.masked(np.log(problem.v + tau2[:, None]))
    return np.asarray(-np.sum(logs, axis=1), dtype=np.float64)
