"""Posterior of a Weibull time to loss of response that differs between families.

``P(lost by t) = 1 - exp(-(t / lambda_c)^k)``, ``log lambda_c ~ N(m, s^2)``; counts
are binomial given the family's scale. The posterior of (m, s, log k) is computed
on a grid. Densities that vanish at both ends of a range, or are even about its
lower end (s at 0), are integrated by the trapezoidal rule with an error that
falls exponentially with the number of nodes (Trefethen & Weideman 2014, SIAM Rev
56:385), so that two grids that agree are both right.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ketacast.arrays import FloatArray, broadcast, frozen, real_array, refuse_where
from ketacast.errors import ConvergenceError, InputError

IntArray = NDArray[np.intp]

#: Nodes per axis of the grids that are compared; the first two agree in practice.
SIZES: Final = (48, 72, 108)
#: Two grids agree when no mean or SD moves by more than this share of an SD.
STABLE: Final = 1e-4
#: Half-width of the first box in prior SDs: the prior leaves 2e-9 outside.
PRIOR_WIDTH: Final = 6.0
#: Log density below the highest at which the box ends: a normal's at 5.7 SDs.
DROP: Final = 16.0
COARSE_SIZE: Final = 25
#: Nodes of log lambda per SD of the steepest likelihood: the trapezoidal rule needs one.
NODES_PER_SD: Final = 2.0
#: More nodes than this cost more than they can be worth.
MAX_SCALE_NODES: Final = 6000
#: A normal density is summed this many SDs either side of its mean.
REACH: Final = 7.0
#: In place of a likelihood too small to be held, so that its logarithm is finite.
_TINY: Final = 1e-300
_MAX_EXPONENT: Final = 500.0


@dataclass(frozen=True, slots=True)
class RelapseRows:
    """Losses of response between two times, one row per observed interval.

    Attributes
    ----------
    family : tuple of str
        Unit that has its own scale lambda; rows of one family share it.
    start, end : ndarray, shape (r,)
        Days since the last dose, ``0 <= start < end``.
    at_risk : ndarray, shape (r,)
        Patients still in response at `start`.
    lost : ndarray, shape (r,)
        Those of them who lost it by `end`.
    """

    family: tuple[str, ...]
    start: FloatArray
    end: FloatArray
    at_risk: FloatArray
    lost: FloatArray


@dataclass(frozen=True, slots=True)
class RelapsePrior:
    """Priors ``m ~ N(log_scale_mean, log_scale_sd^2)``, ``s ~ half-normal(spread)``.

    ``log k ~ N(log_shape_mean, log_shape_sd^2)``. Times in days; scales positive.
    """

    log_scale_mean: float
    log_scale_sd: float
    spread: float
    log_shape_mean: float = 0.0
    log_shape_sd: float = 0.5


@dataclass(frozen=True, slots=True)
class RelapsePosterior:
    """Posterior density of (m, s, log k) on an even grid.

    Attributes
    ----------
    m, s, log_k : ndarray, shapes (a,), (b,), (c,)
        Nodes: mean and SD of log lambda (days) between families, log of the
        shape.
    density : ndarray, shape (a, b, c)
        Density; sums to one with the trapezoidal weights of the nodes.
    log_marginal : float
        Log of the marginal likelihood, binomial coefficients left out.
    mean, sd : ndarray, shape (3,)
        Posterior means and SDs of m, s, log k.
    change : float
        Largest move of a mean or SD, in SDs, from the next coarser grid.
    """

    m: FloatArray
    s: FloatArray
    log_k: FloatArray
    density: FloatArray
    log_marginal: float
    mean: FloatArray
    sd: FloatArray
    change: float


def relapse_rows(
    family: Iterable[str], start: object, end: object, at_risk: object, lost: object
) -> RelapseRows:
    """Check and bundle rows.

    Parameters
    ----------
    family : iterable of str
        One name per row.
    start, end, at_risk, lost : array_like, shape (r,)
        See :class:`RelapseRows`; counts are whole numbers.

    Raises
    ------
    InputError
        For unequal lengths, times that are not ``0 <= start < end``, counts
        that are not whole or not ``0 <= lost <= at_risk``, ``at_risk`` below 1.
    """
    names = tuple(family)
    begin, finish, n, y = broadcast(
        "start, end, at_risk and lost",
        real_array("start", start, ndim=1),
        real_array("end", end, ndim=1),
        real_array("at_risk", at_risk, ndim=1),
        real_array("lost", lost, ndim=1),
    )
    if len(names) != begin.size:
        raise InputError(f"{len(names)} families for {begin.size} rows; give one for each row")
    refuse_where("start", begin, begin < 0.0, "must be at least 0")
    refuse_where("end", finish, finish <= begin, "must be greater than start")
    refuse_where("at_risk", n, (n < 1.0) | (n % 1.0 != 0.0), "must be a whole number, 1 or more")
    refuse_where(
        "lost", y, (y < 0.0) | (y > n) | (y % 1.0 != 0.0), "must be whole, from 0 to at_risk"
    )
    return RelapseRows(names, frozen(begin), frozen(finish), frozen(n), frozen(y))


def fit_relapse(rows: RelapseRows, prior: RelapsePrior) -> RelapsePosterior:
    """Compute the posterior of (m, s, log k).

    Parameters
    ----------
    rows : RelapseRows
        Losses of response.
    prior : RelapsePrior
        Priors; scales must be positive.

    Returns
    -------
    RelapsePosterior
        From the coarser of two grids that agree to :data:`STABLE`, refined once.

    Raises
    ------
    InputError
        For a prior that is not finite or has a scale that is not positive.
    ConvergenceError
        If the finest grid still differs from the next.
    """
    _check_prior(prior)
    box = _box(rows, prior)
    before = _on_grid(rows, prior, box, SIZES[0], None)
    for size in SIZES[1:]:
        after = _on_grid(rows, prior, box, size, before)
        if after.change <= STABLE:
            return after
        before = after
    raise ConvergenceError(
        f"the relapse posterior still moves by {before.change:.2g} SDs on {SIZES[-1]} nodes per "
        "axis; the counts are too many for this grid or contradict the priors: check both"
    )


def _check_prior(prior: RelapsePrior) -> None:
    values = {name: getattr(prior, name) for name in RelapsePrior.__slots__}
    for name, value in values.items():
        number = real_array(name, value, ndim=0)
        scale = not name.endswith("mean")
        refuse_where(name, number, np.asarray(scale & (number <= 0.0)), "must be greater than 0")


_Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


def _box(rows: RelapseRows, prior: RelapsePrior) -> _Box:
    """Box that holds the posterior: the prior's, shrunk on a coarse grid."""
    wide = PRIOR_WIDTH * np.array([prior.log_scale_sd, prior.spread, prior.log_shape_sd])
    centre = np.array([prior.log_scale_mean, 0.0, prior.log_shape_mean])
    bounds = [(c - w, c + w) for c, w in zip(centre, wide, strict=True)]
    bounds[1] = (0.0, float(wide[1]))
    for _ in range(2):
        axes = [np.linspace(low, high, COARSE_SIZE) for low, high in bounds]
        log_density = _log_density(rows, prior, *axes)
        kept = log_density > log_density.max() - DROP
        for axis in range(3):
            others = tuple(i for i in range(3) if i != axis)
            inside = np.flatnonzero(kept.any(axis=others))
            first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, COARSE_SIZE - 1)
            bounds[axis] = (float(axes[axis][first]), float(axes[axis][last]))
    return (bounds[0], bounds[1], bounds[2])


def _on_grid(
    rows: RelapseRows, prior: RelapsePrior, box: _Box, size: int, before: RelapsePosterior | None
) -> RelapsePosterior:
    axes = [np.linspace(low, high, size) for low, high in box]
    log_density = _log_density(rows, prior, *axes)
    top = float(log_density.max())
    density = np.exp(log_density - top)
    weights = [trapezoid_weights(axis) for axis in axes]
    total = float(np.einsum("abc,a,b,c->", density, *weights))
    density /= total
    mean, sd = np.empty(3), np.empty(3)
    for i, letter in enumerate("abc"):
        marginal = np.einsum(f"abc,a,b,c->{letter}", density, *weights)
        # First term of Euler and Maclaurin: s times its density is not even about 0
        # (elsewhere the density at the end, and with it the term, is nothing).
        edge, step = marginal[0] / weights[i][0], axes[i][1] - axes[i][0]
        mean[i] = marginal @ axes[i] + edge * step**2 / 12.0
        sd[i] = np.sqrt(marginal @ axes[i] ** 2 - mean[i] ** 2)
    change = np.inf
    if before is not None:
        moved = [np.abs(mean - before.mean) / sd, np.abs(sd - before.sd) / sd]
        change = float(np.max(moved))
    return RelapsePosterior(
        frozen(axes[0]),
        frozen(axes[1]),
        frozen(axes[2]),
        frozen(density),
        top + float(np.log(total)),
        frozen(mean),
        frozen(sd),
        change,
    )


def trapezoid_weights(nodes: FloatArray) -> FloatArray:
    """Weights of the trapezoidal rule on even nodes, shape (g,)."""
    weights = np.full(nodes.size, nodes[1] - nodes[0])
    weights[[0, -1]] *= 0.5
    return weights


def _log_density(
    rows: RelapseRows, prior: RelapsePrior, m: FloatArray, s: FloatArray, log_k: FloatArray
) -> FloatArray:
    """Log posterior density, (a, b, c), up to the constant of the counts."""
    z_m = (m - prior.log_scale_mean) / prior.log_scale_sd
    z_s = s / prior.spread
    z_k = (log_k - prior.log_shape_mean) / prior.log_shape_sd
    # Normalising constants: the half-normal's density is twice the normal's.
    constant = np.log(2.0) - 1.5 * np.log(2.0 * np.pi)
    constant -= np.log(prior.log_scale_sd * prior.spread * prior.log_shape_sd)
    log_density: FloatArray = constant - 0.5 * (
        z_m[:, None, None] ** 2 + z_s[None, :, None] ** 2 + z_k[None, None, :] ** 2
    )
    scale, every = _scale_nodes(rows, m, s, log_k)
    names = sorted(set(rows.family))
    logs = np.stack([_family_log_likelihood(rows, name, scale, log_k) for name in names])
    top = logs.max(axis=1)  # (families, c): keeps large counts from underflowing
    table = np.exp(logs - top[:, None, :]).transpose(1, 0, 2).reshape(scale.size, -1)
    log_density += top.sum(axis=0)
    at_m = np.arange(m.size) * every + (scale.size - 1 - (m.size - 1) * every) // 2
    for j, spread in enumerate(s):
        mixed = _averaged(table, scale, m, at_m, float(spread))
        logged = np.log(np.maximum(mixed, _TINY)).reshape(m.size, len(names), log_k.size)
        log_density[:, j, :] += logged.sum(axis=1)
    return log_density


def _scale_nodes(
    rows: RelapseRows, m: FloatArray, s: FloatArray, log_k: FloatArray
) -> tuple[FloatArray, int]:
    """Even nodes of log lambda that contain those of m, and how many per step of m.

    Fine enough for the narrowest normal (the smallest s above 0) and for the
    steepest likelihood, whose SD is about ``1 / (k sqrt(n))``, unless that takes
    too many nodes: then two grids will not agree.
    """
    steepest = np.exp(log_k[-1]) * np.sqrt(rows.at_risk.max())
    step = min(float(s[s > 0.0].min()), 1.0 / (NODES_PER_SD * float(steepest)))
    step = max(step, float(m[-1] - m[0] + 2.0 * REACH * s[-1]) / MAX_SCALE_NODES)
    every = max(int(np.ceil((m[1] - m[0]) / step)), 1)
    fine = (m[1] - m[0]) / every
    beyond = int(np.ceil(REACH * s[-1] / fine))
    count = (m.size - 1) * every + 1 + 2 * beyond
    nodes: FloatArray = m[0] + fine * (np.arange(count) - beyond)
    return nodes, every


def _averaged(
    table: FloatArray, scale: FloatArray, m: FloatArray, at_m: IntArray, spread: float
) -> FloatArray:
    """Mean of the table's columns over log lambda ~ N(m, spread^2), one row per m."""
    if spread == 0.0:
        return np.asarray(table[at_m], dtype=np.float64)
    fine = scale[1] - scale[0]
    reach = int(np.ceil(REACH * spread / fine))
    low, high = max(int(at_m[0]) - reach, 0), min(int(at_m[-1]) + reach + 1, scale.size)
    z = (scale[None, low:high] - m[:, None]) / spread
    normal = np.exp(-0.5 * z**2) * (fine / (spread * np.sqrt(2.0 * np.pi)))
    return np.asarray(normal @ table[low:high], dtype=np.float64)


def _family_log_likelihood(
    rows: RelapseRows, name: str, scale: FloatArray, log_k: FloatArray
) -> FloatArray:
    """Log-likelihood of one family's rows at each log lambda and log k, (l, c)."""
    total = np.zeros((scale.size, log_k.size))
    k = np.exp(log_k)[None, :]
    for i in (i for i, family in enumerate(rows.family) if family == name):
        hazard = _hazard(rows.end[i], scale, k)
        if rows.start[i] > 0.0:
            hazard = hazard - _hazard(rows.start[i], scale, k)
        # 1 - exp(-hazard) without cancellation; never the logarithm of 0.
        lost = np.log(np.maximum(-np.expm1(-hazard), _TINY))
        total += rows.lost[i] * lost - (rows.at_risk[i] - rows.lost[i]) * hazard
    return np.asarray(total, dtype=np.float64)


def _hazard(days: float, scale: FloatArray, k: FloatArray) -> FloatArray:
    """Cumulative hazard ``(days / lambda)^k``, (l, c); beyond e^500 nobody is left."""
    exponent = np.minimum(k * (np.log(days) - scale[:, None]), _MAX_EXPONENT)
    return np.asarray(np.exp(exponent), dtype=np.float64)
