"""Evaluation by QR of the whitened design: slower, for any conditioning.

Variances that differ by many orders of magnitude, sampling variances of 0,
and effects that the design fits exactly go this way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ketacast.arrays import BoolArray, FloatArray
from ketacast.numerics.linalg import COLLINEARITY
from ketacast.numerics.normal.kernel import Scores, Solution, log_weights
from ketacast.numerics.normal.problem import IntArray, Problem

#: Studies up to which the columns beside the design are kept: k^2 numbers a problem.
MOST_COMPLEMENTED: Final = 128


#: Squared length of residuals, relative to that of the effects, that is all rounding:
#: some hundred times the square of a double's, or more where the design has few digits.
NEGLIGIBLE: Final = 1e-29


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
    complement : ndarray, shape (B, k, k - p), or None
        Orthonormal columns beside the design, where there are few enough studies.
        Traces and forms that are sums over it keep their digits where a few studies
        have nearly all the weight; differences of sums over `columns` do not.
    """

    weights: FloatArray
    columns: FloatArray
    triangle: FloatArray
    fitted: FloatArray
    residual: FloatArray
    complement: FloatArray | None

    @property
    def leverage(self) -> FloatArray:
        """Diagonal of the hat matrix, shape (B, k)."""
        return np.asarray(np.sum(self.columns**2, axis=-1), dtype=np.float64)

    @property
    def freedom(self) -> FloatArray:
        """One minus the leverage, shape (B, k)."""
        if self.complement is None:
            return 1.0 - self.leverage
        return np.asarray(np.sum(self.complement**2, axis=-1), dtype=np.float64)

    def square_trace(self, diagonal: FloatArray) -> FloatArray:
        """Trace of ``(N D)^2`` for the residual projector N and D = diag(B, k); shape (B,)."""
        if self.complement is not None:
            inner = np.einsum("bki,bk,bkj->bij", self.complement, diagonal, self.complement)
            return np.asarray(np.sum(inner**2, axis=(-2, -1)), dtype=np.float64)
        inner = np.einsum("bki,bk,bkj->bij", self.columns, diagonal, self.columns)
        plain = np.sum(diagonal**2 * (1.0 - 2.0 * self.leverage), axis=-1)
        return np.asarray(plain + np.sum(inner**2, axis=(-2, -1)), dtype=np.float64)

    def residual_length(self, values: FloatArray) -> FloatArray:
        """Squared length of the part of values (B, k) beside the design, shape (B,)."""
        if self.complement is not None:
            beside = np.einsum("bk,bki->bi", values, self.complement)
            return np.asarray(np.sum(beside**2, axis=-1), dtype=np.float64)
        along = np.einsum("bk,bkp->bp", values, self.columns)
        return np.asarray(np.sum(values**2, axis=-1) - np.sum(along**2, axis=-1))


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
        weights = at.weights
        pull = weights * at.residual
        trace_p = np.sum(weights * at.freedom, axis=-1)
        # k - p eigenvalues with this sum have at least these squares.
        least = trace_p**2 / np.maximum(np.repeat(self.problem.residual_df, points), 1)
        parts = (
            np.sum(at.residual**2, axis=-1),
            np.sum(pull * at.residual, axis=-1),
            at.residual_length(pull),
            trace_p,
            np.maximum(at.square_trace(weights), least),
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
    """Evaluate B problems at tau2, shape (B,); tau2 must be > 0 where a variance is 0.

    Residuals that are no more than rounding are 0.
    """
    weights = problem.masked(1.0 / (problem.v + tau2[:, None]))
    root = np.sqrt(weights)
    design, response = root[:, :, None] * problem.basis, root * problem.y
    k, p = design.shape[1:]
    if p < k <= MOST_COMPLEMENTED:
        whole, triangle = np.linalg.qr(design, mode="complete")
        columns, complement, triangle = whole[..., :p], whole[..., p:], triangle[..., :p, :]
        beside = np.einsum("bk,bki->bi", response, complement)
        residual = np.einsum("bki,bi->bk", complement, beside)
        fitted = np.einsum("bk,bkp->bp", response, columns)
        return Whitened(
            weights,
            columns,
            triangle,
            fitted,
            _beyond_rounding(problem, residual, response),
            complement,
        )
    columns, triangle = np.linalg.qr(design)
    fitted = np.einsum("bk,bkp->bp", response, columns)
    residual = response - np.einsum("bkp,bp->bk", columns, fitted)
    return Whitened(
        weights, columns, triangle, fitted, _beyond_rounding(problem, residual, response), None
    )


def _beyond_rounding(problem: Problem, residual: FloatArray, response: FloatArray) -> FloatArray:
    left = np.sum(residual**2, axis=-1, keepdims=True)
    whole = np.sum(response**2, axis=-1, keepdims=True)
    return np.where(left > max(NEGLIGIBLE, problem.rounding**2) * whole, residual, 0.0)


def full_rank(problem: Problem) -> BoolArray:
    """Which problems' rows determine every coefficient, shape (B,)."""
    basis = problem.masked_basis()
    if basis.shape[-2] < basis.shape[-1]:
        return np.zeros(problem.count, dtype=np.bool_)
    size = np.linalg.norm(basis, axis=-2, keepdims=True)
    triangle = np.linalg.qr(basis / np.where(size > 0.0, size, 1.0), mode="r")
    own = np.abs(np.diagonal(triangle, axis1=-2, axis2=-1)).min(axis=-1)
    return np.broadcast_to(own > max(COLLINEARITY, problem.rounding), (problem.count,))
