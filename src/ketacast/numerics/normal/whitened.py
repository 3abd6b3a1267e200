"""Evaluation by QR of the whitened design: slower, for any conditioning.

Variances that differ by many orders of magnitude, sampling variances of 0,
and effects that the design fits exactly go this way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ketacast.arrays import BoolArray, FloatArray
from ketacast.numerics.linalg import COLLINEARITY
from ketacast.numerics.normal.kernel import Scores, Solution, log_weights
from ketacast.numerics.normal.problem import IntArray, Problem


@dataclass(frozen=True, slots=True)
class Whitened:
    """Whitened quantities of B problems at given tau2.

    Attributes
    ----------
    weights : ndarray, shape (B, k)
        ``1 / (v + tau2)``, 0 in rows left out.
    columns : ndarray, shape (B, k, p)
        Orthonormal columns of the whitened design.
    triangle : ndarray, shape (B, p, p)
        Whitened design = columns @ triangle.
    fitted : ndarray, shape (B, p)
        ``columns' (whitened y)``.
    residual : ndarray, shape (B, k)
        Whitened residuals.
    """

    weights: FloatArray
    columns: FloatArray
    triangle: FloatArray
    fitted: FloatArray
    residual: FloatArray

    @property
    def leverage(self) -> FloatArray:
        """Diagonal of the hat matrix, shape (B, k)."""
        return np.asarray(np.sum(self.columns**2, axis=-1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class WhitenedKernel:
    """Evaluates by an orthonormal basis of the whitened design."""

    problem: Problem

    @property
    def residual_squares(self) -> FloatArray:
        """Unweighted residual sums of squares, shape (B,)."""
        plain = replace(self.problem, v=np.zeros_like(self.problem.v))
        return np.asarray(np.sum(whitened(plain, np.ones(plain.count)).residual ** 2, axis=1))

    def rows(self, index: IntArray) -> WhitenedKernel:
        """Problems chosen (and repeated) by index."""
        return WhitenedKernel(self.problem.rows(index))

    def scores(self, tau2: FloatArray) -> Scores:
        """Evaluate at tau2, shape (B, g)."""
        count, points = tau2.shape
        at = whitened(self.problem.rows(np.repeat(np.arange(count), points)), tau2.ravel())
        weights, columns, leverage = at.weights, at.columns, at.leverage
        pull = weights * at.residual
        along = np.einsum("bk,bkp->bp", pull, columns)
        inner = np.einsum("bki,bk,bkj->bij", columns, weights, columns)
        trace_p = np.sum(weights * (1.0 - leverage), axis=-1)
        trace_pp = np.sum(weights**2 * (1.0 - 2.0 * leverage), axis=-1)
        trace_pp += np.sum(inner**2, axis=(-2, -1))
        # Rounding may take more than all of it where a few studies have all the weight;
        # k - p eigenvalues with this sum have at least these squares.
        least = trace_p**2 / np.maximum(np.repeat(self.problem.residual_df, points), 1)
        parts = (
            np.sum(at.residual**2, axis=-1),
            np.sum(pull * at.residual, axis=-1),
            np.sum(pull**2, axis=-1) - np.sum(along**2, axis=-1),
            trace_p,
            np.maximum(trace_pp, least),
            np.sum(weights, axis=-1),
            np.sum(weights**2, axis=-1),
        )
        return Scores(*(part.reshape(count, points) for part in parts))

    def solution(self, tau2: FloatArray) -> Solution:
        """Solve at tau2, shape (B,)."""
        at = whitened(self.problem, tau2)
        eye = np.broadcast_to(np.eye(self.problem.p), at.triangle.shape)
        carry = np.linalg.solve(at.triangle, eye)
        diagonal = np.abs(np.diagonal(at.triangle, axis1=-2, axis2=-1))
        return Solution(
            gamma=np.einsum("bij,bj->bi", carry, at.fitted),
            inverse=np.asarray(carry @ np.swapaxes(carry, -1, -2), dtype=np.float64),
            q=np.sum(at.residual**2, axis=-1),
            log_det=2.0 * np.sum(np.log(diagonal), axis=-1),
            log_weights=log_weights(self.problem, tau2),
        )

    def scores_and_solution(self, tau2: FloatArray) -> tuple[Scores, Solution]:
        """Evaluate at tau2, shape (B, g), and solve at its last column."""
        return self.scores(tau2), self.solution(tau2[:, -1])


def whitened(problem: Problem, tau2: FloatArray) -> Whitened:
    """Evaluate B problems at tau2, shape (B,); tau2 must be > 0 where a variance is 0."""
    weights = problem.masked(1.0 / (problem.v + tau2[:, None]))
    root = np.sqrt(weights)
    columns, triangle = np.linalg.qr(root[:, :, None] * problem.basis)
    response = root * problem.y
    fitted = np.einsum("bk,bkp->bp", response, columns)
    residual = response - np.einsum("bkp,bp->bk", columns, fitted)
    return Whitened(weights, columns, triangle, fitted, residual)


def full_rank(problem: Problem) -> BoolArray:
    """Which problems' rows determine every coefficient, shape (B,)."""
    basis = problem.masked_basis()
    if basis.shape[-2] < basis.shape[-1]:
        return np.zeros(problem.count, dtype=np.bool_)
    size = np.linalg.norm(basis, axis=-2, keepdims=True)
    triangle = np.linalg.qr(basis / np.where(size > 0.0, size, 1.0), mode="r")
    own = np.abs(np.diagonal(triangle, axis1=-2, axis2=-1)).min(axis=-1)
    return np.broadcast_to(own > COLLINEARITY, (problem.count,))
