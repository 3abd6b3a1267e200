"""How far the stored draws are from the posterior they stand for, and the best set.

4,096 draws carry eleven parameters and three new-clinic scores. Where the tails
of the new-clinic distribution fall depends a little on how scores and parameters
are paired, so several even pairings are compared with a much larger reference
and the closest is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from ketacast.clinical.rates import Coding, Float, clinic_rates
from ketacast.clinical.recipe import Recipe
from ketacast.numerics.hierarchical import EqualDraws, Posterior, equal_draws
from ketacast.numerics.hierarchical.posterior import even_points, weighted_quantile
from ketacast.options import OUTCOMES

PROBABILITIES: Final = np.array([0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975])
"""The quantiles behind the intervals that the artifact publishes."""

COPIES: Final = 8
"""New clinics per posterior point in the reference: 65,536 in all, whose own
quantile error is a few times smaller than that of 4,096 draws."""

PAIRINGS: Final = 256
FINALISTS: Final = 16
"""Pairings screened at the corners of the grid, and those compared on all of it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Inputs at which quantiles are compared."""

    failed_trials: int
    infusions: int
    rater: str
    new_clinic: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """Quantiles of the posterior at a set of cells, (cells, 2 outcomes, quantiles)."""

    cells: tuple[Cell, ...]
    quantiles: Float


def _cells(failed_trials: Iterable[int], infusions: Iterable[int]) -> tuple[Cell, ...]:
    infusions = tuple(infusions)
    return tuple(
        Cell(failed, number, rater, new_clinic)
        for failed in failed_trials
        for number in infusions
        for rater in ("self", "clinician")
        for new_clinic in (False, True)
    )


def supported_cells(recipe: Recipe) -> tuple[Cell, ...]:
    """All cells of the supported grid."""
    low, high = recipe.support.failed_trials
    last = min(recipe.support.infusions[1], recipe.data.plateau_infusions)
    return _cells(range(low, high + 1), range(recipe.support.infusions[0], last + 1))


def _is_corner(cell: Cell, recipe: Recipe) -> bool:
    low, high = recipe.support.failed_trials
    last = min(recipe.support.infusions[1], recipe.data.plateau_infusions)
    return cell.failed_trials in (low, (low + high) // 2, high) and cell.infusions in (
        recipe.support.infusions[0],
        last,
    )


def reference_quantiles(posterior: Posterior, coding: Coding, cells: Sequence[Cell]) -> Reference:
    """Quantiles from every weighted posterior point with ``COPIES`` new clinics each."""
    points = even_points(posterior.weight.size * COPIES, 4)
    points = points[np.argsort(points[:, 0], kind="stable")]
    spread = np.repeat(np.argsort(posterior.beta[:, 0], kind="stable"), COPIES)
    many = EqualDraws(posterior.beta[spread], posterior.tau[spread], special.ndtri(points[:, 1:]))
    single = EqualDraws(posterior.beta, posterior.tau, np.zeros_like(posterior.tau))
    quantiles = np.empty((len(cells), len(OUTCOMES), PROBABILITIES.size))
    for i, cell in enumerate(cells):
        draws = many if cell.new_clinic else single
        weight = posterior.weight[spread] / COPIES if cell.new_clinic else posterior.weight
        rates = _rates(draws, coding, cell)
        quantiles[i] = weighted_quantile(rates, weight, PROBABILITIES).T
    return Reference(tuple(cells), quantiles)


def _rates(draws: EqualDraws, coding: Coding, cell: Cell) -> Float:
    rates = clinic_rates(
        draws,
        coding,
        cell.failed_trials,
        cell.infusions,
        cell.rater,
        new_clinic=cell.new_clinic,
    )
    return np.column_stack([getattr(rates, outcome) for outcome in OUTCOMES])


def quantile_error(draws: EqualDraws, coding: Coding, reference: Reference) -> float:
    """Largest absolute error of a quantile of the draws, on the probability scale."""
    return max(
        float(np.abs(np.quantile(_rates(draws, coding, cell), PROBABILITIES, axis=0).T - q).max())
        for cell, q in zip(reference.cells, reference.quantiles, strict=True)
    )


def best_draws(posterior: Posterior, recipe: Recipe, coding: Coding) -> tuple[EqualDraws, float]:
    """Of ``PAIRINGS`` even sets of draws the one closest to the posterior.

    Returns
    -------
    draws : EqualDraws
    error : float
        Its largest quantile error over the supported grid.
    """
    reference = reference_quantiles(posterior, coding, supported_cells(recipe))
    corner = np.array([_is_corner(cell, recipe) for cell in reference.cells])
    screen = Reference(
        tuple(cell for cell, on in zip(reference.cells, corner, strict=True) if on),
        reference.quantiles[corner],
    )

    def closeness(pairing: int, cells: Reference) -> float:
        return quantile_error(equal_draws(posterior, recipe.draws, pairing), coding, cells)

    ranked = sorted(range(PAIRINGS), key=lambda pairing: closeness(pairing, screen))
    errors = {pairing: closeness(pairing, reference) for pairing in ranked[:FINALISTS]}
    best = min(errors, key=lambda pairing: errors[pairing])
    return equal_draws(posterior, recipe.draws, best), errors[best]
