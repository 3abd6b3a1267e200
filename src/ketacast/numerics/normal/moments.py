"""Evaluation from weighted moments: the fast way, for problems that are well conditioned.

All that is needed at a given tau2 are sums of ``w^j z_a z_b`` for j = 1, 2, 3
over the design columns and the effects (z = (x, y)): one matrix product with
a table that does not depend on tau2, O(k p^2) and no k x k matrix. Bordering X
by y makes one small inverse serve everything: with ``N_j = Z'W^jZ`` and
``B = N_1^-1``, the last column of B is ``(-b, 1) / q``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.arrays import BoolArray, FloatArray
from ketacast.numerics.normal.kernel import Scores, Solution, log_weights
from ketacast.numerics.normal.problem import IntArray, Problem

#: Variances that span more than this make X'WX too ill-conditioned for normal
#: equations (fewer than 11 digits would be left).
WIDEST_VARIANCES: Final = 1e5
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
        return self._scores(*_moments(self, tau2, 3))[0]

    def solution(self, tau2: FloatArray) -> Solution:
        """Solve at tau2, shape (B,)."""
        moments, _ = _moments(self, tau2[:, None], 1)
        border = np.asarray(np.linalg.inv(moments[0, :, 0]), dtype=np.float64)
        return self._solution(moments[0, :, 0], border, tau2)

    def scores_and_solution(self, tau2: FloatArray) -> tuple[Scores, Solution]:
        """Evaluate at tau2, shape (B, g), and solve at its last column."""
        moments, sums = _moments(self, tau2, 3)
        scores, border = self._scores(moments, sums)
        return scores, self._solution(moments[0, :, -1], border[:, -1], tau2[:, -1])

    def _scores(self, moments: FloatArray, sums: FloatArray) -> tuple[Scores, FloatArray]:
        border = np.linalg.inv(moments[0])
        last = border[..., -1]
        q = 1.0 / last[..., -1]
        both = border @ moments[1:]
        second = both[0]
        bottom = both[..., -1, :]
        row = bottom[0]
        forms = q * q * np.einsum("j...i,...i->j...", bottom, last)
        ypp = forms[0]
        along = np.einsum("...i,...ij,...j->...", row, border, row)
        ratio = ypp / q
        yppp = forms[1] - q * q * along + ypp * ratio
        traces = np.einsum("j...ii->j...", both)
        trace_p = sums[0] - traces[0] + ratio
        trace_pp = np.einsum("...ij,...ji->...", second, second) - ratio * ratio
        trace_pp += sums[1] - 2.0 * traces[1] + 2.0 * yppp / q
        scale = self.size[:, None] ** 2
        parts = Scores(q * scale, ypp * scale, yppp * scale, trace_p, trace_pp, sums[0], sums[1])
        return parts, border

    def _solution(self, moments: FloatArray, border: FloatArray, tau2: FloatArray) -> Solution:
        p = self.problem.p
        last = border[:, :, -1]
        q = 1.0 / last[:, -1]
        slope = -q[:, None] * last[:, :p]
        return Solution(
            gamma=self.gamma + self.size[:, None] * slope,
            inverse=border[:, :p, :p] + slope[:, :, None] * last[:, None, :p],
            q=q * self.size**2,
            log_det=np.linalg.slogdet(moments[:, :p, :p])[1],
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
