"""Likelihood of ``y ~ N(X beta, V + sum_j psi_j K_j)`` with block-diagonal V and K.

V holds known sampling (co)variances, the K are known patterns and the psi are
variances and covariances of random effects. Everything is computed after
whitening by the Cholesky factor of each block, so the cost is the sum of the
cubed block sizes and no inverse is ever formed. Blocks of one size are handled
together.

References
----------
Harville 1977, J Am Stat Assoc 72:320 (likelihoods, score and information);
Searle, Casella & McCulloch 1992, Variance Components, chapter 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray
from ketacast.errors import ConvergenceError
from ketacast.numerics.linalg import Basis

IntArray = NDArray[np.intp]
LOG_2PI: Final = float(np.log(2.0 * np.pi))
#: Doubles that one batch of covariance matrices may take (16 MB).
BATCH_ELEMENTS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class BlockClass:
    """All blocks of one size.

    Attributes
    ----------
    rows : ndarray of int, shape (b, n)
        Which rows of the data each block holds.
    sampling : ndarray, shape (b, n, n)
        Sampling covariance V.
    patterns : ndarray, shape (J, b, n, n)
        The patterns K_j.
    """

    rows: IntArray
    sampling: FloatArray
    patterns: FloatArray


@dataclass(frozen=True, slots=True)
class MarginalModel:
    """Data and covariance patterns.

    Attributes
    ----------
    y : ndarray, shape (k,)
        Effects.
    basis : Basis
        Orthonormal basis of the design.
    classes : tuple of BlockClass
        The blocks; together they hold each row once.
    """

    y: FloatArray
    basis: Basis
    classes: tuple[BlockClass, ...]

    @property
    def k(self) -> int:
        """Number of rows."""
        return int(self.y.size)

    @property
    def p(self) -> int:
        """Number of coefficients."""
        return int(self.basis.columns.shape[1])

    @property
    def n_patterns(self) -> int:
        """Number of patterns J."""
        return int(self.classes[0].patterns.shape[0])

    @property
    def smallest_correlation_eigenvalue(self) -> float:
        """Smallest eigenvalue of the sampling correlations; 1 for independent estimates."""
        return min(_smallest_eigenvalue(block.sampling) for block in self.classes)


@dataclass(frozen=True, slots=True)
class Derivatives:
    """Log-likelihood and its derivatives with respect to psi.

    Attributes
    ----------
    value : float
        Log-likelihood.
    gradient : ndarray, shape (J,)
        Score.
    hessian, information : ndarray, shape (J, J)
        Second derivatives, and the expected information.
    """

    value: float
    gradient: FloatArray
    hessian: FloatArray
    information: FloatArray


@dataclass(frozen=True, slots=True)
class Whitened:
    """Least squares after whitening.

    Attributes
    ----------
    factors : tuple of ndarray, shape (b, n, n)
        Lower Cholesky factors of the marginal covariance, per class.
    q : ndarray, shape (k, p)
        Orthonormal basis of the whitened design.
    r : ndarray, shape (p, p)
        Triangle: whitened basis columns are ``q @ r``.
    fitted : ndarray, shape (p,)
        ``q' y`` of the whitened effects.
    residual : ndarray, shape (k,)
        Whitened residuals.
    log_determinant : float
        Of the marginal covariance.
    """

    factors: tuple[FloatArray, ...]
    q: FloatArray
    r: FloatArray
    fitted: FloatArray
    residual: FloatArray
    log_determinant: float

    @property
    def quadratic(self) -> float:
        """Weighted residual sum of squares."""
        return float(self.residual @ self.residual)

    def log_likelihood(self, *, restricted: bool) -> float:
        """Full or restricted log-likelihood; the latter includes ``log|X'X| / 2``."""
        k, p = self.q.shape
        penalty = 2.0 * float(np.log(np.abs(np.diag(self.r))).sum()) if restricted else 0.0
        free = k - p if restricted else k
        total = free * LOG_2PI + self.log_determinant + penalty + self.quadratic
        return float(-0.5 * total)

    def coefficients(self, basis: Basis) -> tuple[FloatArray, FloatArray]:
        """Generalised least squares coefficients of X and their covariance."""
        carry = basis.back @ np.linalg.solve(self.r, np.eye(self.r.shape[0]))
        return carry @ self.fitted, carry @ carry.T


def covariance(block: BlockClass, psi: FloatArray) -> FloatArray:
    """Marginal covariance of the blocks of a class.

    Parameters
    ----------
    block : BlockClass
        The class.
    psi : ndarray, shape (..., J)
        Coefficients of the patterns.

    Returns
    -------
    ndarray, shape (..., b, n, n)
    """
    return np.asarray(block.sampling + np.tensordot(psi, block.patterns, axes=1))


def whiten(model: MarginalModel, psi: FloatArray) -> Whitened:
    """Whiten the data by the marginal covariance at psi, shape (J,).

    Raises
    ------
    ConvergenceError
        If the covariance is not numerically positive definite.
    """
    columns = np.column_stack([model.basis.columns, model.y])
    whitened = np.empty_like(columns)
    factors: list[FloatArray] = []
    log_determinant = 0.0
    for block in model.classes:
        try:
            factor = np.asarray(np.linalg.cholesky(covariance(block, psi)), dtype=np.float64)
        except np.linalg.LinAlgError as error:
            raise ConvergenceError(
                f"the marginal covariance is not positive definite at components {psi.tolist()!r}; "
                "sampling variances and effects differ too much in size, rescale or drop rows"
            ) from error
        whitened[block.rows] = np.linalg.solve(factor, columns[block.rows])
        log_determinant += 2.0 * float(np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum())
        factors.append(factor)
    q, r = np.linalg.qr(whitened[:, :-1])
    fitted = q.T @ whitened[:, -1]
    residual = whitened[:, -1] - q @ fitted
    return Whitened(tuple(factors), q, r, fitted, residual, log_determinant)


def log_likelihoods(model: MarginalModel, psi: FloatArray, *, restricted: bool) -> FloatArray:
    """Log-likelihood at many points; -inf where the covariance is numerically singular.

    Parameters
    ----------
    model : MarginalModel
        The data.
    psi : ndarray, shape (m, J)
        Points.
    restricted : bool
        Restricted instead of full likelihood.

    Returns
    -------
    ndarray, shape (m,)
    """
    elements = sum(block.sampling.size for block in model.classes)
    size = max(1, BATCH_ELEMENTS // elements)
    parts = []
    for start in range(0, len(psi), size):
        some = psi[start : start + size]
        try:
            parts.append(_batch(model, some, restricted=restricted))
        except np.linalg.LinAlgError:
            parts.extend(_one(model, point, restricted=restricted) for point in some)
    return np.concatenate(parts)


def derivatives(model: MarginalModel, psi: FloatArray, *, restricted: bool) -> Derivatives:
    """Log-likelihood, score, Hessian and expected information at psi, shape (J,).

    With whitened patterns ``K~ = L^-1 K L^-T``, orthonormal whitened design Q and
    whitened residuals e, the traces of Harville (1977) become sums over blocks.

    Raises
    ------
    ConvergenceError
        As :func:`whiten`.
    """
    at = whiten(model, psi)
    count, p = model.n_patterns, model.p
    traces, squares = np.zeros(count), np.zeros(count)
    inside = np.zeros((count, p, p))
    products, through = np.zeros((count, count)), np.zeros((count, count))
    quartic, leaving = np.zeros((count, count)), np.zeros((count, p))
    for block, factor in zip(model.classes, at.factors, strict=True):
        half = np.linalg.solve(factor, block.patterns)
        white = np.linalg.solve(factor, np.swapaxes(half, -1, -2))
        q, e = at.q[block.rows], at.residual[block.rows]
        white_q, white_e = white @ q, (white @ e[..., None])[..., 0]
        traces += np.trace(white, axis1=-2, axis2=-1).sum(axis=1)
        squares += np.einsum("bn,jbn->j", e, white_e)
        inside += np.einsum("bnp,jbnr->jpr", q, white_q)
        leaving += np.einsum("bnp,jbn->jp", q, white_e)
        flat, flat_q, flat_e = (a.reshape(count, -1) for a in (white, white_q, white_e))
        products += flat @ flat.T
        through += flat_q @ flat_q.T
        quartic += flat_e @ flat_e.T
    if restricted:
        traces -= np.trace(inside, axis1=-2, axis2=-1)
        products += np.einsum("ipr,jpr->ij", inside, inside) - 2.0 * through
    return Derivatives(
        value=at.log_likelihood(restricted=restricted),
        gradient=0.5 * (squares - traces),
        hessian=0.5 * products - (quartic - leaving @ leaving.T),
        information=0.5 * products,
    )


def residual_trace(model: MarginalModel, at: Whitened) -> float:
    """Trace of ``P``, the inverse covariance after projecting out the design."""
    total = 0.0
    for block, factor in zip(model.classes, at.factors, strict=True):
        inverse = np.linalg.solve(factor, np.eye(factor.shape[-1]))
        through = np.swapaxes(at.q[block.rows], -1, -2) @ inverse
        total += float(np.sum(inverse**2) - np.sum(through**2))
    return total


def _batch(model: MarginalModel, psi: FloatArray, *, restricted: bool) -> FloatArray:
    columns = np.column_stack([model.basis.columns, model.y])
    whitened = np.empty((len(psi), *columns.shape))
    total = np.zeros(len(psi))
    for block in model.classes:
        factor = np.linalg.cholesky(covariance(block, psi))
        whitened[:, block.rows] = np.linalg.solve(factor, columns[block.rows])
        total += 2.0 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=(-2, -1))
    triangle = np.linalg.qr(whitened, mode="r")
    size = np.abs(np.diagonal(triangle, axis1=-2, axis2=-1))
    if restricted:
        total += 2.0 * np.log(size[:, :-1]).sum(axis=1)
    free = model.k - model.p if restricted else model.k
    return np.asarray(-0.5 * (free * LOG_2PI + total + size[:, -1] ** 2))


def _one(model: MarginalModel, point: FloatArray, *, restricted: bool) -> FloatArray:
    try:
        return _batch(model, point[None], restricted=restricted)
    except np.linalg.LinAlgError:
        return np.array([-np.inf])


def _smallest_eigenvalue(sampling: FloatArray) -> float:
    size = np.sqrt(np.diagonal(sampling, axis1=-2, axis2=-1))
    return float(np.linalg.eigvalsh(sampling / (size[:, :, None] * size[:, None, :])).min())
