"""Global maximum of a likelihood over variance components in a box.

A grid of starting points is evaluated at once; from its best local maxima a
safeguarded Newton method climbs inside the box (projection, backtracking, and
the size of the curvature instead of its sign where the likelihood is not concave).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from ketacast.arrays import BoolArray, FloatArray
from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.mixed.marginal_covariance import (
    IntArray,
    MarginalModel,
    derivatives,
    log_likelihoods,
)
from ketacast.numerics.mixed.variance_structures import Structure

#: Neighbouring starting variances differ by this factor.
LEVEL_RATIO: Final = 2.0
#: Variances this small beside the smallest sampling variance do not change the likelihood's shape.
NEGLIGIBLE_SHARE: Final = 0.05
#: No maximum has a component far beyond the largest squared residual.
BEYOND_RESIDUALS: Final = 4.0
MOST_LEVELS: Final = 60
#: Local maxima of the grid from which to climb.
CLIMBS: Final = 8
MAX_STEPS: Final = 200
MAX_HALVINGS: Final = 60
#: Squared distance to the maximum in standard errors: 1e-11 standard errors.
CONVERGED: Final = 1e-22
#: Below this, the likelihood itself no longer shows whether a step is uphill.
INVISIBLE: Final = 1e-9
#: Where rounding stops progress, this squared distance is still good enough (1e-7
#: standard errors); otherwise the climb failed.
STALLED: Final = 1e-14
#: Scaled gradient and curvature that count as zero where a saddle is looked for.
LEVEL: Final = 1e-6
#: Steps off a saddle, in standard errors, both ways.
ESCAPES: Final = np.outer([1.0, -1.0], [1.0, 0.1, 0.01, 1e-3]).ravel()
#: Share of the expected rise that a step has to bring (Armijo).
SUFFICIENT: Final = 1e-4
#: Parameters closer to 0 than this many standard errors are 0.
SNAP: Final = 1e-9
#: Relative curvature below which a direction is flat.
FLAT: Final = 1e-10
#: Smallest curvature, relative to the expected one, used where it has the wrong sign.
FLOOR: Final = 1e-4
#: Smallest eigenvalue of the scaled information at which components are told apart.
IDENTIFIED: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Maximum:
    """A maximum: parameters, shape (d,), and log-likelihood."""

    theta: FloatArray
    value: float


def start_levels(smallest: FloatArray, residuals: FloatArray) -> FloatArray:
    """Variances for the grid of starting points, 0 first.

    Parameters
    ----------
    smallest : ndarray, shape (axes,)
        Smallest sampling variance that belongs to each component.
    residuals : ndarray, shape (axes,)
        Largest absolute residual that belongs to it.

    Returns
    -------
    ndarray, shape (n, axes)
    """
    low = NEGLIGIBLE_SHARE * smallest
    high = np.maximum(BEYOND_RESIDUALS * residuals**2, LEVEL_RATIO * low)
    steps = int(np.ceil(np.log(np.max(high / low)) / np.log(LEVEL_RATIO)))
    levels = np.geomspace(low, high, min(steps + 1, MOST_LEVELS))
    return np.vstack([np.zeros_like(low), levels])


def maximise(
    model: MarginalModel,
    structure: Structure,
    levels: FloatArray,
    *,
    restricted: bool,
    fixed: tuple[int, float] | None = None,
    extra: FloatArray | None = None,
) -> Maximum:
    """Find the global maximum of the likelihood.

    Parameters
    ----------
    model : MarginalModel
        The data.
    structure : Structure
        Parameters and their box.
    levels : ndarray, shape (n, axes)
        Variances from which to start, see :func:`start_levels`.
    restricted : bool
        Restricted instead of full likelihood.
    fixed : (int, float), optional
        A parameter held at a value.
    extra : ndarray, shape (m, d), optional
        Further starting points.

    Raises
    ------
    ConvergenceError
        If the climb does not end at a maximum.
    """
    search = _Search.of(model, structure, restricted, fixed)
    grid = search.inside(structure.starts(levels))
    points = grid.reshape(-1, grid.shape[-1])
    # A fixed parameter makes many points of the grid equal.
    unique, place = np.unique(points, axis=0, return_inverse=True)
    values = search.values(unique)[place.ravel()]
    best = points[_promising(points, values, grid.shape[:-1])]
    if extra is not None:
        best = np.vstack([best, np.clip(extra, search.lower, search.upper)])
    found: list[Maximum] = []
    failure: ConvergenceError | None = None
    for theta in best:
        try:
            found.append(_climb(search, theta))
        except ConvergenceError as error:
            failure = error
    highest = max((maximum.value for maximum in found), default=-np.inf)
    if failure is not None and highest < values.max():
        raise failure
    return max(found, key=lambda maximum: maximum.value)


def refuse_unidentified(
    model: MarginalModel, structure: Structure, theta: FloatArray, names: list[str], *,
    restricted: bool,
) -> None:  # fmt: skip
    """Refuse components about which the data say nothing.

    Parameters
    ----------
    theta : ndarray, shape (d,)
        An interior point at which the information is computed.
    names : list of str
        The parameters' names, for the message.

    Raises
    ------
    InputError
        If the expected information is singular.
    """
    jacobian = structure.jacobian(theta)
    at = derivatives(model, structure.psi(theta), restricted=restricted)
    free = derivatives(model, structure.psi(theta), restricted=False)
    information = jacobian.T @ at.information @ jacobian
    # Scaled by what there would be if no coefficient had to be estimated.
    size = np.sqrt(np.diag(jacobian.T @ free.information @ jacobian))
    size = np.where(size > 0.0, size, 1.0)
    values, vectors = np.linalg.eigh(information / np.outer(size, size))
    if values[0] < IDENTIFIED:
        involved = [n for n, w in zip(names, np.abs(vectors[:, 0]), strict=True) if w > 0.1]
        raise InputError(
            f"the data cannot tell {' and '.join(involved)} (information {values[0]:.1e} of what "
            "it could be): the moderators or the grouping leave nothing to estimate from; "
            "use a simpler structure or drop moderators"
        )


@dataclass(frozen=True, slots=True)
class _Search:
    """The likelihood as a function in a box."""

    model: MarginalModel
    structure: Structure
    restricted: bool
    lower: FloatArray
    upper: FloatArray

    @classmethod
    def of(
        cls,
        model: MarginalModel,
        structure: Structure,
        restricted: bool,
        fixed: tuple[int, float] | None,
    ) -> _Search:
        lower, upper = structure.lower, structure.upper
        if fixed is not None:
            lower[fixed[0]] = upper[fixed[0]] = fixed[1]
        return cls(model, structure, restricted, lower, upper)

    def values(self, theta: FloatArray) -> FloatArray:
        """Log-likelihoods at points (n, d)."""
        return log_likelihoods(self.model, self.structure.psi(theta), restricted=self.restricted)

    def inside(self, theta: FloatArray) -> FloatArray:
        """Nearest point of the box."""
        return np.clip(theta, self.lower, self.upper)

    def local(self, theta: FloatArray) -> _Local:
        """Value, gradient, Hessian and scale at a point (d,)."""
        psi = self.structure.psi(theta)
        at = derivatives(self.model, psi, restricted=self.restricted)
        jacobian = self.structure.jacobian(theta)
        curvature = self.structure.curvature(theta, at.gradient)
        hessian = jacobian.T @ at.hessian @ jacobian + curvature
        expected = np.diag(jacobian.T @ at.information @ jacobian)
        size = np.sqrt(np.maximum(expected, np.abs(np.diag(hessian))))
        size = np.where(size > 0.0, size, 1.0)
        return _Local(theta, at.value, jacobian.T @ at.gradient, hessian, size)


@dataclass(frozen=True, slots=True)
class _Local:
    """The likelihood around a point; `size` is about one over the standard errors."""

    theta: FloatArray
    value: float
    gradient: FloatArray
    hessian: FloatArray
    size: FloatArray


def _climb(search: _Search, theta: FloatArray) -> Maximum:
    """Newton's method in a box from one starting point."""
    last, gain = np.inf, np.inf
    for _ in range(MAX_STEPS):
        at = search.local(theta)
        step = _step(search, at)
        gain = float(at.gradient @ step)
        if gain <= CONVERGED or (last <= STALLED and gain >= 0.25 * last):
            beyond = _off_saddle(search, at)
            if beyond is None:
                return _snapped(search, at)
            last, theta = np.inf, beyond
            continue
        if gain <= INVISIBLE:
            last = gain
            theta = search.inside(theta + step)
            continue
        moved = _uphill(search, at, step)
        if moved is None:
            break
        theta = moved
    raise ConvergenceError(
        f"the search for the variance components stopped at {theta.tolist()!r} before the maximum "
        f"(gain still possible {gain:.2e}); check the data for values of wildly different size, "
        "or use a simpler structure"
    )


def _off_saddle(search: _Search, at: _Local) -> FloatArray | None:
    """Leave a point where the gradient is zero but the likelihood curves upward.

    A standard deviation of 0 next to a correlation is such a point: its gradient
    vanishes whether or not the likelihood is highest there.
    """
    flat = (np.abs(at.gradient) < LEVEL * at.size) & (search.lower < search.upper)
    if not flat.any():
        return None
    scale = at.size[flat]
    values, vectors = np.linalg.eigh(-at.hessian[np.ix_(flat, flat)] / np.outer(scale, scale))
    if values[0] > -LEVEL:
        return None
    way = np.zeros_like(at.theta)
    way[flat] = vectors[:, 0] / scale
    points = search.inside(at.theta + np.outer(ESCAPES, way))
    reached = search.values(points)
    best = int(np.argmax(reached))
    return points[best] if reached[best] > at.value + INVISIBLE else None


def _promising(points: FloatArray, values: FloatArray, shape: tuple[int, ...]) -> IntArray:
    """Pick grid points to climb from: local maxima, and the best with each parameter at 0.

    Two modes often lie on two edges of the box, joined by a ridge that the grid
    cannot resolve.
    """
    table = values.reshape(shape)
    cross = ndimage.generate_binary_structure(len(shape), 1)
    peaks = (ndimage.maximum_filter(table, footprint=cross, mode="nearest") == table).ravel()
    order = np.argsort(-values, kind="stable")
    _, first = np.unique(points[order], axis=0, return_index=True)
    order = order[np.sort(first)]
    chosen = order[peaks[order]][:CLIMBS].tolist()
    for column in points.T:
        edge = order[column[order] == 0.0]
        chosen.extend(edge[:1].tolist())
    return np.array(list(dict.fromkeys(chosen)), dtype=np.intp)


def _step(search: _Search, at: _Local) -> FloatArray:
    """Uphill step that does not leave the box at once."""
    at_lower, at_upper = at.theta <= search.lower, at.theta >= search.upper
    free = ~((at_lower & (at.gradient <= 0.0)) | (at_upper & (at.gradient >= 0.0)))
    while free.any():
        step = _free_step(at, free)
        leaving = free & ((at_lower & (step < 0.0)) | (at_upper & (step > 0.0)))
        if not leaving.any():
            return step
        free &= ~leaving
    return np.zeros_like(at.theta)


def _free_step(at: _Local, free: BoolArray) -> FloatArray:
    scale = at.size[free]
    values, vectors = np.linalg.eigh(-at.hessian[np.ix_(free, free)] / np.outer(scale, scale))
    flat = FLAT * max(1.0, float(np.abs(values).max()))
    concave = values[0] > -flat
    curvature = np.maximum(values, flat) if concave else np.maximum(np.abs(values), FLOOR)
    slope = vectors.T @ (at.gradient[free] / scale)
    step = np.zeros_like(at.gradient)
    step[free] = (vectors @ (slope / curvature)) / scale
    return step


def _uphill(search: _Search, at: _Local, step: FloatArray) -> FloatArray | None:
    """Halve the projected step until the likelihood rises enough; None if it never does."""
    share = 1.0
    for _ in range(MAX_HALVINGS):
        point = search.inside(at.theta + share * step)
        expected = max(0.0, float(at.gradient @ (point - at.theta)))
        if search.values(point[None])[0] >= at.value + SUFFICIENT * expected:
            return point
        share *= 0.5
    return None


def _snapped(search: _Search, at: _Local) -> Maximum:
    """Set parameters that are 0 but for rounding to exactly 0."""
    theta = np.where(np.abs(at.theta) * at.size < SNAP, 0.0, at.theta)
    theta = search.inside(theta)
    if np.array_equal(theta, at.theta):
        return Maximum(theta, at.value)
    value = float(search.values(theta[None])[0])
    if value >= at.value - INVISIBLE:
        return Maximum(theta, value)
    return Maximum(at.theta, at.value)
