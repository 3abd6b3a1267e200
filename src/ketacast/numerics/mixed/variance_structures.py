"""Parameters of random-effects covariances and the box they live in.

A structure maps its parameters theta to the coefficients psi of the patterns of
:mod:`ketacast.numerics.mixed.marginal_covariance`. For m outcomes, psi holds the upper
triangle of the covariance G of the random effects, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from ketacast.arrays import FloatArray

#: Correlations tried as starting points, as shares of the largest and the smallest possible.
START_SHARES: Final = (-0.9, -0.5, 0.0, 0.5, 0.9)
#: A full grid of starting points has at most this many, on fewer levels if need be.
LARGEST_GRID: Final = 3000
#: With fewer levels than this, a full grid is too coarse: all variances rise together.
COARSEST: Final = 6


class Structure(Protocol):
    """What the search for the maximum needs to know of a parametrisation."""

    @property
    def lower(self) -> FloatArray:
        """Smallest parameters, shape (d,)."""

    @property
    def upper(self) -> FloatArray:
        """Largest parameters, shape (d,)."""

    def psi(self, theta: FloatArray) -> FloatArray:
        """Coefficients of the patterns, shape (..., J), from theta, shape (..., d)."""

    def jacobian(self, theta: FloatArray) -> FloatArray:
        """Differentiate psi, shape (J, d)."""

    def curvature(self, theta: FloatArray, gradient: FloatArray) -> FloatArray:
        """Second derivatives of psi, weighted by `gradient` (J,), shape (d, d)."""

    def starts(self, levels: FloatArray) -> FloatArray:
        """Grid of starting points, shape (grid..., d), from variances, shape (n, axes)."""


@dataclass(frozen=True, slots=True)
class NonNegative:
    """``psi = matrix @ theta`` with theta >= 0 (variance components).

    Attributes
    ----------
    matrix : ndarray, shape (J, d)
        The map.
    """

    matrix: FloatArray

    @property
    def lower(self) -> FloatArray:
        """Zeros."""
        return np.zeros(self.matrix.shape[1])

    @property
    def upper(self) -> FloatArray:
        """Infinity."""
        return np.full(self.matrix.shape[1], np.inf)

    def psi(self, theta: FloatArray) -> FloatArray:
        """See :class:`Structure`."""
        return np.asarray(theta @ self.matrix.T)

    def jacobian(self, theta: FloatArray) -> FloatArray:  # noqa: ARG002
        """See :class:`Structure`."""
        return self.matrix

    def curvature(self, theta: FloatArray, gradient: FloatArray) -> FloatArray:  # noqa: ARG002
        """See :class:`Structure`."""
        return np.zeros((theta.size, theta.size))

    def starts(self, levels: FloatArray) -> FloatArray:
        """See :class:`Structure`."""
        d = self.matrix.shape[1]
        return _variance_grid(levels[:, :d], 1)


@dataclass(frozen=True, slots=True)
class Factor:
    """Any covariance: ``G = L L'`` with L lower triangular.

    The signs of its columns do not matter, so nothing is bounded and singular G are
    inside.

    Attributes
    ----------
    m : int
        Number of outcomes.
    """

    m: int

    @property
    def lower(self) -> FloatArray:
        """Minus infinity."""
        return np.full(self.m * (self.m + 1) // 2, -np.inf)

    @property
    def upper(self) -> FloatArray:
        """Infinity."""
        return -self.lower

    def psi(self, theta: FloatArray) -> FloatArray:
        """See :class:`Structure`."""
        factor = self._triangle(theta)
        rows, columns = np.triu_indices(self.m)
        return np.asarray((factor @ np.swapaxes(factor, -1, -2))[..., rows, columns])

    def jacobian(self, theta: FloatArray) -> FloatArray:
        """See :class:`Structure`."""
        factor, eye = self._triangle(theta), np.eye(self.m)
        (i, j), (a, b) = np.triu_indices(self.m), np.tril_indices(self.m)
        left = eye[i][:, a] * factor[j][:, b]
        return np.asarray(left + eye[j][:, a] * factor[i][:, b])

    def curvature(self, theta: FloatArray, gradient: FloatArray) -> FloatArray:  # noqa: ARG002
        """See :class:`Structure`."""
        slopes = symmetric(gradient, self.m)
        # Each covariance stands twice in the matrix, once in psi.
        slopes = 0.5 * (slopes + np.diag(np.diag(slopes)))
        a, b = np.tril_indices(self.m)
        return np.asarray(2.0 * slopes[np.ix_(a, a)] * (b[:, None] == b[None, :]))

    def starts(self, levels: FloatArray) -> FloatArray:
        """See :class:`Structure`."""
        return self.from_correlated(_correlation_grid(levels, self.m))

    def from_correlated(self, points: FloatArray) -> FloatArray:
        """Parameters from m standard deviations and one correlation, shape (..., m + 1)."""
        tau, rho = points[..., :-1], points[..., -1:, None]
        eye = np.eye(self.m)
        factor = np.linalg.cholesky(eye + rho * (1.0 - eye))
        a, b = np.tril_indices(self.m)
        return np.asarray((tau[..., None] * factor)[..., a, b])

    def _triangle(self, theta: FloatArray) -> FloatArray:
        factor = np.zeros((*theta.shape[:-1], self.m, self.m))
        a, b = np.tril_indices(self.m)
        factor[..., a, b] = theta
        return factor


@dataclass(frozen=True, slots=True)
class ScaledCorrelation:
    """Standard deviations, one per outcome or one for all, and one correlation.

    Attributes
    ----------
    m : int
        Number of outcomes.
    equal : bool
        One standard deviation for all.
    """

    m: int
    equal: bool

    @property
    def lower(self) -> FloatArray:
        """Standard deviations 0; the correlation at which G becomes singular."""
        return np.append(np.zeros(self._spread.shape[1] - 1), -1.0 / (self.m - 1))

    @property
    def upper(self) -> FloatArray:
        """Correlation 1."""
        return np.append(np.full(self._spread.shape[1] - 1, np.inf), 1.0)

    def psi(self, theta: FloatArray) -> FloatArray:
        """See :class:`Structure`."""
        full = theta @ self._spread.T
        i, j = np.triu_indices(self.m)
        rho = np.where(i == j, 1.0, full[..., -1:])
        return np.asarray(rho * full[..., i] * full[..., j])

    def jacobian(self, theta: FloatArray) -> FloatArray:
        """See :class:`Structure`."""
        full = self._spread @ theta
        i, j = np.triu_indices(self.m)
        rho, row = np.where(i == j, 1.0, full[-1]), np.arange(i.size)
        result = np.zeros((i.size, full.size))
        np.add.at(result, (row, i), rho * full[j])
        np.add.at(result, (row, j), rho * full[i])
        result[:, -1] = np.where(i == j, 0.0, full[i] * full[j])
        return np.asarray(result @ self._spread)

    def curvature(self, theta: FloatArray, gradient: FloatArray) -> FloatArray:
        """See :class:`Structure`."""
        full, m = self._spread @ theta, self.m
        slopes = symmetric(gradient, m)
        off = slopes - np.diag(np.diag(slopes))
        result = np.zeros((m + 1, m + 1))
        result[:m, :m] = full[-1] * off + 2.0 * np.diag(np.diag(slopes))
        result[:m, m] = result[m, :m] = off @ full[:m]
        return np.asarray(self._spread.T @ result @ self._spread)

    def starts(self, levels: FloatArray) -> FloatArray:
        """See :class:`Structure`."""
        return _correlation_grid(levels[:, :1] if self.equal else levels, self.m)

    def from_correlated(self, points: FloatArray) -> FloatArray:
        """Parameters from m standard deviations and one correlation: themselves."""
        return points

    @property
    def _spread(self) -> FloatArray:
        """From the parameters to m standard deviations and the correlation."""
        if not self.equal:
            return np.eye(self.m + 1)
        spread = np.zeros((self.m + 1, 2))
        spread[:-1, 0] = spread[-1, 1] = 1.0
        return spread


def symmetric(triangle: FloatArray, m: int) -> FloatArray:
    """Symmetric (m, m) matrix from its upper triangle, row by row."""
    matrix = np.zeros((m, m))
    rows, columns = np.triu_indices(m)
    matrix[rows, columns] = matrix[columns, rows] = triangle
    return matrix


def diagonal(m: int) -> NonNegative:
    """Independent random effects of m outcomes, each with its own variance."""
    rows, columns = np.triu_indices(m)
    return NonNegative(np.where(rows == columns, 1.0, 0.0)[:, None] * np.eye(m)[rows])


def compound_symmetric(m: int) -> NonNegative:
    """One variance, one correlation; theta are the two eigenvalues of G.

    ``G = theta_1 (I - J/m) + theta_2 J/m`` with J all ones: the variance is the mean
    of the eigenvalues, and singular G have theta exactly 0.
    """
    rows, columns = np.triu_indices(m)
    mean = np.full(rows.size, 1.0 / m)
    return NonNegative(np.column_stack([np.where(rows == columns, 1.0, 0.0) - mean, mean]))


def start_correlations(m: int) -> FloatArray:
    """Correlations from which to start, within what m outcomes can have in common, shape (n,)."""
    shares = np.array(START_SHARES)
    return np.where(shares < 0.0, shares / (m - 1), shares)


def _variance_grid(levels: FloatArray, others: int) -> FloatArray:
    n, axes = levels.shape
    most = int((LARGEST_GRID / others) ** (1.0 / axes))
    if most < min(n, COARSEST):
        return levels
    if n > most:
        levels = levels[np.unique(np.linspace(0, n - 1, most).astype(np.intp))]
    mesh = np.meshgrid(*levels.T, indexing="ij")
    return np.stack(mesh, axis=-1)


def _correlation_grid(levels: FloatArray, m: int) -> FloatArray:
    """Cross standard deviations (zero is a saddle point, left out) with correlations."""
    rho = start_correlations(m)
    tau = np.sqrt(_variance_grid(levels[1:], rho.size))
    shape = (*tau.shape[:-1], rho.size)
    tall = np.broadcast_to(tau[..., None, :], (*shape, tau.shape[-1]))
    return np.concatenate([tall, np.broadcast_to(rho, shape)[..., None]], axis=-1)
