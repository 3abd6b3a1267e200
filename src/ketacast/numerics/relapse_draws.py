"""Equally weighted draws of the loss-of-response posterior, and its exact quantiles.

Draws are inverse Rosenblatt transforms (Rosenblatt 1952, Ann Math Stat 23:470)
of an even point set: log k from its marginal, s given log k, m given both, and a
new clinic's log lambda. Between grid nodes densities are linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ketacast.arrays import FloatArray, frozen, real_array, refuse_where
from ketacast.numerics.hierarchical.posterior import even_points
from ketacast.numerics.relapse import RelapsePosterior, trapezoid_weights

IntArray = NDArray[np.intp]

#: Nodes of log lambda in the tables behind the exact quantiles.
TABLE_SIZE: Final = 2001
#: The tables reach this many SDs beyond the nodes of m.
REACH: Final = 8.0
#: Halvings of the range of log(-log(1 - p)), 1e-12 wide at the end.
HALVINGS: Final = 47
#: log(-log(1 - p)) of probabilities that doubles can tell from 0 and 1.
EXTREME: Final = (-40.0, 4.0)
#: Point sets compared for the closest draws.
SHIFTS: Final = 40
#: Where they are compared: days since the last dose, and the quantiles of the intervals.
COMPARED_DAYS: Final = tuple(float(day) for day in (1, 2, 3, 5, *range(7, 183, 7)))
COMPARED_LEVELS: Final = (0.025, 0.10, 0.50, 0.90, 0.975)
_PLASTIC: Final = np.array(
    [0.8566748838545029, 0.733891856627126, 0.6287067210378087, 0.5385972572236101]
)
"""Shift between point sets: powers of 1 / 1.1673..., the positive root of x^5 = x + 1,
which spread evenly in four dimensions."""


@dataclass(frozen=True, slots=True)
class RelapseDraws:
    """Equally weighted joint draws.

    Attributes
    ----------
    m, s, k : ndarray, shape (n,)
        Mean and SD of log lambda (days) between families, shape.
    log_scale : ndarray, shape (n,)
        Log lambda of one new clinic each (an average clinic's is `m`).
    """

    m: FloatArray
    s: FloatArray
    k: FloatArray
    log_scale: FloatArray


def equal_relapse_draws(posterior: RelapsePosterior, n: int, shift: int = 0) -> RelapseDraws:
    """Draw evenly from the posterior.

    Parameters
    ----------
    posterior : RelapsePosterior
        From :func:`ketacast.numerics.relapse.fit_relapse`.
    n : int
        Number of draws, a power of 2.
    shift : int
        Which shift of the point set; any is right, they differ in how close
        the tails come (:func:`closest_relapse_draws`).

    Raises
    ------
    InputError
        For a number that is not a power of 2, at least 2.
    """
    inside = 0.5 / n / n
    uniform = np.clip((even_points(n, 4) + shift * _PLASTIC) % 1.0, inside, 1.0 - inside)
    by_k = posterior.density.transpose(2, 1, 0)  # (c, b, a)
    over_s = by_k @ trapezoid_weights(posterior.m)
    over_k = over_s @ trapezoid_weights(posterior.s)
    log_k, cell, share = _inverse(posterior.log_k, over_k[None, :], uniform[:, 0])
    s, row, part = _inverse(posterior.s, _between(over_s, cell, share), uniform[:, 1])
    conditional = _mixed(
        _mixed(by_k[cell, row], by_k[cell + 1, row], share),
        _mixed(by_k[cell, row + 1], by_k[cell + 1, row + 1], share),
        part,
    )
    m, _, _ = _inverse(posterior.m, conditional, uniform[:, 2])
    log_scale = m + s * special.ndtri(uniform[:, 3])
    return RelapseDraws(frozen(m), frozen(s), frozen(np.exp(log_k)), frozen(log_scale))


def closest_relapse_draws(posterior: RelapsePosterior, n: int) -> tuple[RelapseDraws, float]:
    """Of several even sets of draws, keep the one whose quantiles come closest.

    Parameters
    ----------
    posterior : RelapsePosterior
        The posterior.
    n : int
        Number of draws, a power of 2.

    Returns
    -------
    draws : RelapseDraws
        The closest of :data:`SHIFTS` sets.
    distance : float
        Its largest distance from the posterior's quantiles of P(lost by t), over
        :data:`COMPARED_DAYS` and :data:`COMPARED_LEVELS`, average and new clinic.

    Raises
    ------
    InputError
        For a number that is not a power of 2, at least 2.
    """
    exact = {
        new: lost_quantiles(posterior, COMPARED_DAYS, COMPARED_LEVELS, new_clinic=new)
        for new in (False, True)
    }
    best, distance = equal_relapse_draws(posterior, n), np.inf
    for shift in range(SHIFTS):
        draws = equal_relapse_draws(posterior, n, shift)
        own = max(
            _distance(draws.k, draws.m, exact[False]),
            _distance(draws.k, draws.log_scale, exact[True]),
        )
        if own < distance:
            best, distance = draws, own
    return best, distance


def _distance(k: FloatArray, log_scale: FloatArray, exact: FloatArray) -> float:
    logs = k[:, None] * (np.log(np.array(COMPARED_DAYS)) - log_scale[:, None])
    # The probability rises with its log-log: quantiles may be taken before transforming.
    found = -np.expm1(-np.exp(np.quantile(logs, COMPARED_LEVELS, axis=0)))
    return float(np.abs(found.T - exact).max())


def _mixed(first: FloatArray, second: FloatArray, share: FloatArray) -> FloatArray:
    return (1.0 - share)[:, None] * first + share[:, None] * second


def _between(table: FloatArray, cell: IntArray, share: FloatArray) -> FloatArray:
    return _mixed(table[cell], table[cell + 1], share)


def _inverse(
    nodes: FloatArray, density: FloatArray, uniform: FloatArray
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Invert the distribution function of a density that is linear between nodes.

    Returns the value, the cell it lies in, and how far into the cell, (n,) each;
    `density` is (n, g) or (1, g), not normalised.
    """
    area = 0.5 * (density[:, 1:] + density[:, :-1])
    cumulative = np.cumsum(area, axis=1)
    target = uniform * cumulative[:, -1]
    cell = np.minimum((cumulative < target[:, None]).sum(axis=1), area.shape[1] - 1)
    at = np.arange(uniform.size) if density.shape[0] > 1 else np.zeros(uniform.size, np.intp)
    rest = np.maximum(target - (cumulative[at, cell] - area[at, cell]), 0.0)
    left, right = density[at, cell], density[at, cell + 1]
    # Root of left x + (right - left) x^2 / 2 = rest, in the form without cancellation.
    root = np.sqrt(np.maximum(left**2 + 2.0 * (right - left) * rest, 0.0))
    share = np.minimum(2.0 * rest / np.maximum(left + root, np.finfo(np.float64).tiny), 1.0)
    return nodes[cell] + share * (nodes[1] - nodes[0]), cell, share


def lost_quantiles(
    posterior: RelapsePosterior, days: object, levels: object, *, new_clinic: bool
) -> FloatArray:
    """Quantiles of P(lost by t), from the posterior itself and not from draws.

    Parameters
    ----------
    posterior : RelapsePosterior
        The posterior.
    days : array_like, shape (t,)
        Days since the last dose, > 0.
    levels : array_like, shape (q,)
        Probabilities in (0, 1).
    new_clinic : bool
        For a new clinic, or for the average clinic (log lambda equal to m).

    Returns
    -------
    ndarray, shape (t, q)
        In [0, 1].

    Raises
    ------
    InputError
        For days that are not positive or levels outside (0, 1).
    """
    t, q = real_array("days", days, ndim=1), real_array("levels", levels, ndim=1)
    refuse_where("days", t, t <= 0.0, "must be greater than 0")
    refuse_where("levels", q, (q <= 0.0) | (q >= 1.0), "must lie between 0 and 1")
    nodes, table = _scale_table(posterior, new_clinic=new_clinic)
    k = np.exp(posterior.log_k)
    shape = (t.size, q.size)
    low, high = np.full(shape, EXTREME[0]), np.full(shape, EXTREME[1])
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        # P(lost by t) <= p exactly where log lambda >= log t - log(-log(1 - p)) / k.
        below = np.zeros(shape)
        for j, shape_value in enumerate(k):
            at = np.log(t)[:, None] - middle / shape_value
            below += table[-1, j] - np.interp(at, nodes, table[:, j])
        under = below < q
        low, high = np.where(under, middle, low), np.where(under, high, middle)
    return frozen(-np.expm1(-np.exp(0.5 * (low + high))))


def _scale_table(posterior: RelapsePosterior, *, new_clinic: bool) -> tuple[FloatArray, FloatArray]:
    """P(log lambda <= x and log k in node j): nodes x and table (x, c); sums to 1."""
    weights = [trapezoid_weights(axis) for axis in (posterior.m, posterior.s, posterior.log_k)]
    mass = np.einsum("abc,a,b,c->bac", posterior.density, *weights)
    spread = posterior.s if new_clinic else np.zeros(1)
    if not new_clinic:
        mass = mass.sum(axis=0, keepdims=True)
    step = posterior.m[1] - posterior.m[0]
    reach = REACH * max(float(spread[-1]), float(step))
    nodes = np.linspace(posterior.m[0] - reach, posterior.m[-1] + reach, TABLE_SIZE)
    table = np.zeros((nodes.size, posterior.log_k.size))
    for own, masses in zip(spread, mass, strict=True):
        # The variance of a density that is linear between nodes, beside its values there.
        width = np.sqrt(own**2 + step**2 / 6.0)
        table += special.ndtr((nodes[:, None] - posterior.m) / width) @ masses
    return nodes, table / table[-1].sum()
