"""Gauss-Hermite and Gauss-Legendre rules, in logs where products underflow.

References
----------
Golub & Welsch 1969, Math Comput 23:221; Liu & Pierce 1994, Biometrika 81:624
(adaptive rule).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from ketacast.arrays import FloatArray, broadcast, frozen, real_array, refuse_where
from ketacast.errors import InputError

#: Beyond this many nodes a rule costs more than any integrand here can need.
MAX_NODES: Final = 1000


@dataclass(frozen=True, slots=True)
class Rule:
    """Nodes and log-weights of a quadrature rule (read-only arrays, cached).

    Attributes
    ----------
    nodes : ndarray, shape (m,)
        Increasing.
    log_weights : ndarray, shape (m,)
        Logarithms of the (positive) weights.
    """

    nodes: FloatArray
    log_weights: FloatArray


@lru_cache(maxsize=64)
def gauss_hermite(count: int) -> Rule:
    """Rule for integrals against the standard normal density.

    ``E[f(Z)] = sum exp(log_weights) f(nodes)``, exact for polynomials of
    degree below 2 `count`.

    Parameters
    ----------
    count : int
        Number of nodes, 1 to :data:`MAX_NODES`.

    Raises
    ------
    InputError
        For any other count.
    """
    _check_count(count)
    off_diagonal = np.sqrt(np.arange(1.0, count))
    nodes = np.linalg.eigvalsh(np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1))
    nodes = 0.5 * (nodes - nodes[::-1])
    # One Newton step on the orthonormal polynomial, whose derivative at its
    # roots is sqrt(count) times its predecessor; it brings the eigenvalues,
    # good to a few units of the largest, to full precision each.
    value, before, _ = _log_scaled_hermite(nodes, count)
    nodes = nodes - value / (np.sqrt(count) * before)
    _, before, log_scale = _log_scaled_hermite(nodes, count)
    log_weights = -np.log(count) - 2.0 * (np.log(np.abs(before)) + log_scale)
    return Rule(frozen(nodes), frozen(log_weights))


def adaptive_gauss_hermite(
    mode: object, scale: object, count: int
) -> tuple[FloatArray, FloatArray]:
    """Place a Gauss-Hermite rule on bell-shaped integrands exp(g(u)).

    ``integral exp(g(u)) du = sum exp(g(points) + log_weights)`` over the last
    axis, exact where g is quadratic with the given mode and scale.

    Parameters
    ----------
    mode : array_like
        Where each g is largest.
    scale : array_like
        ``1 / sqrt(-g'')`` there, > 0; broadcasts with `mode`.
    count : int
        Number of nodes.

    Returns
    -------
    points, log_weights : ndarray, shape (..., count)

    Raises
    ------
    InputError
        For a scale that is not positive, or an unusable count.
    """
    rule = gauss_hermite(count)
    spread = real_array("scale", scale)
    refuse_where("scale", spread, spread <= 0.0, "must be greater than 0")
    centre, spread = broadcast("mode and scale", real_array("mode", mode), spread)
    points = centre[..., None] + spread[..., None] * rule.nodes
    # The rule integrates against the normal density; dividing by it leaves du.
    base = rule.log_weights + 0.5 * rule.nodes**2 + 0.5 * np.log(2.0 * np.pi)
    return points, base + np.log(spread)[..., None]


@lru_cache(maxsize=64)
def gauss_legendre(count: int) -> Rule:
    """Rule for integrals over [-1, 1].

    Parameters
    ----------
    count : int
        Number of nodes, 1 to :data:`MAX_NODES`.

    Raises
    ------
    InputError
        For any other count.
    """
    _check_count(count)
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return Rule(frozen(nodes), frozen(np.log(weights)))


def gauss_legendre_panels(edges: object, count: int) -> tuple[FloatArray, FloatArray]:
    """Composite Gauss-Legendre rule: `count` nodes on each panel between edges.

    Parameters
    ----------
    edges : array_like, shape (e,)
        Increasing, at least two; put them where the integrand bends.
    count : int
        Nodes per panel.

    Returns
    -------
    points, log_weights : ndarray, shape ((e - 1) * count,)

    Raises
    ------
    InputError
        For fewer than two edges or edges that do not increase.
    """
    rule = gauss_legendre(count)
    bounds = real_array("edges", edges, ndim=1)
    width = np.diff(bounds)
    if width.size == 0 or width.min() <= 0.0:
        raise InputError(f"edges are {bounds.tolist()}; give two or more, increasing")
    middle = 0.5 * (bounds[1:] + bounds[:-1])
    points = middle[:, None] + 0.5 * width[:, None] * rule.nodes
    log_weights = np.log(0.5 * width)[:, None] + rule.log_weights
    return points.ravel(), log_weights.ravel()


def log_sum_exp(values: FloatArray) -> FloatArray:
    """``log(sum(exp(values)))`` over the last axis, without overflow."""
    largest = values.max(axis=-1)
    total: FloatArray = largest + np.log(np.sum(np.exp(values - largest[..., None]), axis=-1))
    return total


def _check_count(count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_NODES:
        raise InputError(f"number of nodes is {count!r}; give a whole number, 1 to {MAX_NODES}")


def _log_scaled_hermite(x: FloatArray, count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    # Orthonormal polynomials of the normal density reach 1e100 and more at the
    # outer nodes, so the recurrence is rescaled as it goes.
    before, value = np.zeros_like(x), np.ones_like(x)
    log_scale = np.zeros_like(x)
    for n in range(count):
        following = (x * value - np.sqrt(n) * before) / np.sqrt(n + 1.0)
        size = np.maximum(np.abs(value), np.abs(following))
        before, value = value / size, following / size
        log_scale += np.log(size)
    return value, before, log_scale
