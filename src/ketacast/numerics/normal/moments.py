"""Evaluation from weighted moments: the fast way, for problems that are well conditioned.

All that is needed at a given tau2 are sums of ``w^j z_a z_b`` for j = 1, 2, 3
over the design columns and the effects (z = (x, y)): one matrix product with
a table that does not depend on tau2, O(k p^2) and no k x k matrix. With
``N_j = Z'W^jZ`` and ``N_1 = LL'``, the columns of ``W^(1/2) Z L'^-1`` are orthonormal
and the last of them is the direction of the residuals: in this basis every quadratic
form and trace is a sum of entries of ``L^-1 N_2 L'^-1`` and ``L^-1 N_3 L'^-1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import BoolArray, FloatArray
from ketacast.numerics.normal.kernel import Scores, Solution, log_weights
from ketacast.numerics.normal.problem import IntArray, Problem

#: tr PP is a difference of sums that may exceed it by the square of the variances'
#: span: beyond this span fewer than 8 digits of it would be left.
WIDEST_VARIANCES: Final = 1e4
#: Determinant of X'X over the product of its diagonal: no column keeps less of
#: itself beside the others than this.
LEAST_OWN_PART: Final = 1e-4
#: Residuals shorter than this share of the effects are hardly more than rounding.
LEAST_RESIDUAL: Final = 1e-8


@dataclass(frozen=True, slots=True)
class MomentKernel:
    """Table of products, and what turns its results back.

    Attributes
    ----------
    problem : Problem
        The problems.
    products : ndarray, shape (1 or B, k, (p + 1)^2 + 1)
        Products of every pair of (x, residual), and a column of ones.
    gamma : ndarray, shape (B, p)
        Unweighted coefficients that the effects were reduced by, so that sums
        of squares do not cancel.
    size : ndarray, shape (B,)
        Length of the residuals, which are stored with length 1.
    tame : ndarray of bool, shape (B,)
        Problems for which moments keep enough digits; others must go by QR.
    """

    problem: Problem
    products: FloatArray
    gamma: FloatArray
    size: FloatArray
    tame: BoolArray

    @property
    def residual_squares(self) -> FloatArray:
        """Squared lengths of the residuals, shape (B,)."""
        return self.size**2

    def rows(self, index: IntArray) -> MomentKernel:
        """Problems chosen (and repeated) by index."""
        products = self.products if len(self.products) == 1 else self.products[index]
        return MomentKernel(
            self.problem.rows(index),
            products,
            self.gamma[index],
            self.size[index],
            self.tame[index],
        )

    def scores(self, tau2: FloatArray) -> Scores:
        """Evaluate at tau2, shape (B, g)."""
        moments, sums = _moments(self, tau2, 3)
        return self._scores(moments, sums, np.linalg.cholesky(moments[0]))

    def solution(self, tau2: FloatArray) -> Solution:
        """Solve at tau2, shape (B,)."""
        moments, _ = _moments(self, tau2[:, None], 1)
        return self._solution(np.asarray(np.linalg.cholesky(moments[0, :, 0])), tau2)

    def scores_and_solution(self, tau2: FloatArray) -> tuple[Scores, Solution]:
        """Evaluate at tau2, shape (B, g), and solve at its last column."""
        moments, sums = _moments(self, tau2, 3)
        factor = np.linalg.cholesky(moments[0])
        solution = self._solution(np.asarray(factor[:, -1]), tau2[:, -1])
        return self._scores(moments, sums, factor), solution

    def _scores(
        self, moments: FloatArray, sums: FloatArray, factor: NDArray[np.floating[Any]]
    ) -> Scores:
        p = self.problem.p
        carry = np.linalg.inv(factor)
        turned = carry @ moments[1:] @ np.swapaxes(carry, -1, -2)
        second, third = turned
        q = factor[..., p, p] ** 2
        across = second[..., :p, p]
        own = np.einsum("j...ii->j...", turned[..., :p, :p])
        trace_p = sums[0] - own[0]
        trace_pp = sums[1] - 2.0 * own[1] + np.sum(second[..., :p, :p] ** 2, axis=(-2, -1))
        # k - p eigenvalues with this sum have at least these squares.
        least = trace_p**2 / np.maximum(self.problem.residual_df, 1)[:, None]
        scale = q * self.size[:, None] ** 2
        return Scores(
            q=scale,
            ypp=scale * second[..., p, p],
            yppp=scale * (third[..., p, p] - np.einsum("...i,...i->...", across, across)),
            trace_p=trace_p,
            trace_pp=np.maximum(trace_pp, least),
            weight_sum=sums[0],
            weight_squares=sums[1],
        )

    def _solution(self, factor: NDArray[np.floating[Any]], tau2: FloatArray) -> Solution:
        p = self.problem.p
        carry = np.linalg.inv(factor)
        slope = -carry[:, p, :p] / carry[:, p, p, None]
        part = carry[:, :p, :p]
        diagonal = np.diagonal(factor, axis1=-2, axis2=-1)
        return Solution(
            gamma=self.gamma + self.size[:, None] * slope,
            inverse=np.asarray(np.swapaxes(part, -1, -2) @ part, dtype=np.float64),
            q=diagonal[:, p] ** 2 * self.size**2,
            log_det=2.0 * np.sum(np.log(diagonal[:, :p]), axis=1),
            log_weights=log_weights(self.problem, tau2),
        )


def moment_kernel(problem: Problem) -> MomentKernel:
    """Prepare the products for every later evaluation."""
    gamma, tame = _unweighted(problem)
    shared = problem.shared_effects and len(problem.basis) == 1
    few = slice(0, 1) if shared else slice(None)
    residual = problem.y[few] - (gamma[few, None, :] @ np.swapaxes(problem.basis, -1, -2))[:, 0, :]
    if not shared:
        residual = problem.masked(residual)
    length, scale = np.linalg.norm(residual, axis=1), np.linalg.norm(problem.y[few], axis=1)
    tame = tame & (length > LEAST_RESIDUAL * scale)
    tame &= problem.largest_variance <= WIDEST_VARIANCES * problem.least_variance
    length = np.where(length > 0.0, length, 1.0)
    count, k, m = len(residual), problem.y.shape[1], problem.p + 1
    pairs = np.empty((count, k, m))
    pairs[..., :-1] = problem.basis
    pairs[..., -1] = residual / length[:, None]
    products = np.empty((count, k, m * m + 1))
    products[..., :-1] = (pairs[..., :, None] * pairs[..., None, :]).reshape(count, k, m * m)
    products[..., -1] = 1.0
    if shared and problem.include is not None:
        # The rows that a mask leaves may be fitted exactly where all of them are not.
        gram = (problem.include @ products[0])[:, :-1].reshape(-1, m, m)
        whole = np.linalg.det(gram[:, :-1, :-1]) * gram[:, -1, -1]
        tame &= np.linalg.det(gram) > LEAST_OWN_PART * whole
    size = np.broadcast_to(length, (problem.count,))
    return MomentKernel(problem, products, gamma, size, tame)


def _unweighted(problem: Problem) -> tuple[FloatArray, BoolArray]:
    """Unweighted coefficients (B, p), and where X'X leaves enough of every column."""
    tame = np.ones(problem.count, dtype=np.bool_)
    one = len(problem.basis) == 1
    if one and problem.include is None:
        return problem.y @ problem.basis[0], tame
    basis = problem.masked_basis()
    transposed = np.swapaxes(basis, -1, -2)
    gram = transposed @ basis
    diagonal = np.prod(np.einsum("bii->bi", gram), axis=1)
    tame &= np.linalg.det(gram) > LEAST_OWN_PART * diagonal
    if one:
        return problem.y @ problem.basis[0], tame
    gram = np.where(tame[:, None, None], gram, np.eye(problem.p))
    gamma = np.linalg.solve(gram, transposed @ problem.y[:, :, None])[..., 0]
    return np.asarray(gamma, dtype=np.float64), tame


def _moments(kernel: MomentKernel, tau2: FloatArray, powers: int) -> tuple[FloatArray, FloatArray]:
    """Weighted moments (powers, B, g, p + 1, p + 1) and sums of powers of the weights."""
    problem = kernel.problem
    count, points = tau2.shape
    k, m = problem.y.shape[1], problem.p + 1
    # One matrix product for each problem: its powers and points are the rows.
    weights = np.empty((count, powers, points, k))
    first = weights[:, 0]
    np.add(problem.v[:, None, :], tau2[:, :, None], out=first)
    np.reciprocal(first, out=first)
    if problem.include is not None:
        first *= problem.include[:, None, :]
    for j in range(1, powers):
        np.multiply(weights[:, j - 1], first, out=weights[:, j])
    products, rows = kernel.products, weights.reshape(count, powers * points, k)
    flat = rows.reshape(-1, k) @ products[0] if len(products) == 1 else rows @ products
    flat = np.moveaxis(flat.reshape(count, powers, points, m * m + 1), 1, 0)
    return flat[..., :-1].reshape(powers, count, points, m, m), flat[..., -1]
