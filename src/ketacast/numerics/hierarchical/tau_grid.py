"""Where the taus have posterior mass, and low-discrepancy points from there.

The Laplace marginal likelihood is computed on a small grid over the logarithms
of the taus, the grid is drawn in until it covers the mass, a tensor spline
carries the log density to fine cells, and points are drawn from the cells by
the Rosenblatt transform, which keeps the evenness of the input points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.interpolate import RegularGridInterpolator, make_interp_spline

from ketacast.numerics.hierarchical.laplace import Laplace, fit_laplace
from ketacast.numerics.hierarchical.model import Float, Int, Priors, Rows

LOWEST: Final = 0.01
HIGHEST: Final = 5.0
"""Search range in units of the prior scale: a half-normal has 0.8 % of its mass
below, where a tau no longer matters, and 6e-7 above."""

NEGLIGIBLE: Final = 14.0
"""Fall of the log density from its top (8e-7 of it) beyond which a node is cut off."""

SEARCH_NODES: Final = 6
FINAL_NODES: Final = 9
MAX_PASSES: Final = 6
FINE_CELLS: Final = {1: 512, 2: 96, 3: 28}
"""Cells per axis: about a quarter of a posterior SD each."""


@dataclass(frozen=True, slots=True)
class TauGrid:
    """Laplace results on a tensor grid of log taus.

    Attributes
    ----------
    active : (K,) int array
        Which of tau_R, tau_M, tau_b are in the model.
    axes : tuple of K float arrays
        Nodes in log tau.
    log_density : float array of the grid's shape
        Log posterior density in log tau, up to a constant.
    laplace : Laplace
        Results at the nodes, in C order of the grid.
    """

    active: Int
    axes: tuple[Float, ...]
    log_density: Float
    laplace: Laplace


def log_tau_prior(tau: Float, scale: Float) -> Float:
    """Log density in log tau of independent half-normal priors, summed.

    Parameters
    ----------
    tau : (N, 3) float array
        Values; columns with scale 0 are passed over.
    scale : (3,) float array
        Half-normal scales.

    Returns
    -------
    (N,) float array
        ``sum log(2 / (scale sqrt(2 pi))) - tau^2 / (2 scale^2) + log tau``.
    """
    on = scale > 0
    used, of_scale = tau[:, on], scale[on]
    constant = 0.5 * np.log(2.0 / np.pi) - np.log(of_scale)
    result: Float = (constant - 0.5 * (used / of_scale) ** 2 + np.log(used)).sum(axis=1)
    return result


def _evaluate(rows: Rows, priors: Priors, axes: tuple[Float, ...], start: Float | None) -> TauGrid:
    active = np.flatnonzero(priors.tau_scale > 0)
    shape = tuple(axis.size for axis in axes)
    tau = np.zeros((int(np.prod(shape)), 3))
    if active.size:
        mesh = np.meshgrid(*axes, indexing="ij")
        tau[:, active] = np.exp(np.stack([part.ravel() for part in mesh], axis=1))
    laplace = fit_laplace(rows, priors, tau, start)
    log_density = laplace.log_marginal + log_tau_prior(tau, priors.tau_scale)
    return TauGrid(active, axes, log_density.reshape(shape), laplace)


def _drawn_in(grid: TauGrid, lowest: Float, highest: Float) -> list[tuple[float, float]]:
    """For each axis the stretch that holds the mass, one node wider on each side."""
    stretches = []
    for k, axis in enumerate(grid.axes):
        others = tuple(j for j in range(len(grid.axes)) if j != k)
        profile = grid.log_density.max(axis=others)
        inside = np.flatnonzero(profile > profile.max() - NEGLIGIBLE)
        step = axis[1] - axis[0]
        low = axis[inside[0]] - step * (inside[0] > 0)
        high = axis[inside[-1]] + step * (inside[-1] < axis.size - 1)
        stretches.append((max(float(low), float(lowest[k])), min(float(high), float(highest[k]))))
    return stretches


def find_mass(rows: Rows, priors: Priors) -> TauGrid:
    """Draw the grid in until it just covers the posterior mass of the taus.

    Parameters
    ----------
    rows, priors : Rows, Priors
        The model.

    Returns
    -------
    TauGrid
        With ``FINAL_NODES`` nodes per axis.
    """
    scale = priors.tau_scale[priors.tau_scale > 0]
    lowest, highest = np.log(LOWEST * scale), np.log(HIGHEST * scale)
    stretches = [(float(a), float(b)) for a, b in zip(lowest, highest, strict=True)]
    start: Float | None = None
    for _ in range(MAX_PASSES):
        axes = tuple(np.linspace(low, high, SEARCH_NODES) for low, high in stretches)
        grid = _evaluate(rows, priors, axes, start)
        start = grid.laplace.mode[int(np.argmax(grid.log_density))]
        drawn = _drawn_in(grid, lowest, highest)
        shrunk = [
            (new[1] - new[0]) < 0.7 * (old[1] - old[0])
            for new, old in zip(drawn, stretches, strict=True)
        ]
        stretches = drawn
        if not any(shrunk):
            break
    axes = tuple(np.linspace(low, high, FINAL_NODES) for low, high in stretches)
    return _evaluate(rows, priors, axes, start)


def draw_taus(grid: TauGrid, uniforms: Float) -> tuple[Float, Float]:
    """Map uniform points to taus.

    Parameters
    ----------
    grid : TauGrid
        From :func:`find_mass`.
    uniforms : (N, K) float array
        Points in the open unit cube.

    Returns
    -------
    tau : (N, 3) float array
        Taus; 0 for effects that are not in the model.
    log_density : (N,) float array
        Log density of the proposal in log tau.
    """
    n, dimension = uniforms.shape
    tau, log_density = np.zeros((n, 3)), np.zeros(n)
    if dimension == 0:
        return tau, log_density
    cells = FINE_CELLS[dimension]
    fine, widths = grid.log_density, []
    for k, axis in enumerate(grid.axes):
        edges = np.linspace(axis[0], axis[-1], cells + 1)
        widths.append(edges[1] - edges[0])
        basis = make_interp_spline(axis, np.eye(axis.size))(0.5 * (edges[1:] + edges[:-1]))
        fine = np.moveaxis(np.tensordot(basis, fine, axes=(1, k)), 0, k)
    mass = np.exp(fine - fine.max())
    mass /= mass.sum()
    chosen: list[Int] = []
    for k, axis in enumerate(grid.axes):
        marginal = mass.sum(axis=tuple(range(k + 1, dimension)))
        density = marginal[tuple(chosen)] if chosen else np.broadcast_to(marginal, (n, cells))
        cumulative = np.cumsum(density, axis=1)
        target = uniforms[:, k] * cumulative[:, -1]
        cell = np.minimum((cumulative <= target[:, None]).sum(axis=1), cells - 1)
        at = np.arange(n)
        part = (target - (cumulative[at, cell] - density[at, cell])) / density[at, cell]
        tau[:, grid.active[k]] = np.exp(axis[0] + widths[k] * (cell + np.clip(part, 0.0, 1.0)))
        chosen.append(cell)
    log_density = np.log(mass[tuple(chosen)]) - np.log(widths).sum()
    return tau, log_density


def conditional_gaussian(grid: TauGrid, tau: Float) -> tuple[Float, Float]:
    """Mode (N, p) and covariance root (N, p, p) of the coefficients at given taus.

    Linear in log tau between the nodes of the grid.
    """
    p = grid.laplace.mode.shape[1]
    roots = np.linalg.cholesky(grid.laplace.covariance)
    known = np.concatenate([grid.laplace.mode, roots.reshape(-1, p * p)], axis=1)
    if not grid.axes:
        found = np.broadcast_to(known, (tau.shape[0], known.shape[1]))
    else:
        shape = tuple(axis.size for axis in grid.axes)
        at = np.log(tau[:, grid.active])
        inside = np.stack([np.clip(at[:, k], a[0], a[-1]) for k, a in enumerate(grid.axes)], axis=1)
        found = RegularGridInterpolator(grid.axes, known.reshape(*shape, -1))(inside)
    return found[:, :p], found[:, p:].reshape(-1, p, p)
