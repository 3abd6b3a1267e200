"""How far the stored draws are from the posterior they stand for, and the best set.

4,096 draws carry eleven parameters and three new-clinic scores. Where the tails
of the new-clinic distribution fall depends a little on how scores and parameters
are paired, so several even pairings are compared with a much larger reference
and the closest is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from ketacast.clinical.rates import Coding, Float, clinic_rates, quantiles
from ketacast.clinical.recipe import Recipe
from ketacast.numerics.hierarchical import EqualDraws, Posterior, equal_draws
from ketacast.numerics.hierarchical.posterior import even_points, weighted_quantile
from ketacast.options import OUTCOMES

PROBABILITIES: Final = np.array([0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975])
"""The quantiles behind the intervals that the artifact publishes."""

COPIES: Final = 8
"""New clinics per posterior point in the reference: 65,536 in all, whose own
quantile error is a few times smaller than that of 4,096 draws."""

PICKS: Final = 128
PAIRINGS: Final = 384
"""Sets compared, first of picked points (average clinic), then of new-clinic scores;
the closest is a third closer than a typical one."""

FINALISTS: Final = 12
"""Pairings compared on the whole supported grid after a look at a part of it."""


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


def reference_quantiles(posterior: Posterior, coding: Coding, cells: Sequence[Cell]) -> Reference:
    """Quantiles from every weighted posterior point with ``COPIES`` new clinics each."""
    points = even_points(posterior.weight.size * COPIES, 4)
    points = points[np.argsort(points[:, 0], kind="stable")]
    spread = np.repeat(np.argsort(posterior.beta[:, 0], kind="stable"), COPIES)
    many = EqualDraws(posterior.beta[spread], posterior.tau[spread], special.ndtri(points[:, 1:]))
    single = EqualDraws(posterior.beta, posterior.tau, np.zeros_like(posterior.tau))
    found = np.empty((len(cells), len(OUTCOMES), PROBABILITIES.size))
    for i, cell in enumerate(cells):
        draws = many if cell.new_clinic else single
        weight = posterior.weight[spread] / COPIES if cell.new_clinic else posterior.weight
        rates = _rates(draws, coding, cell)
        found[i] = weighted_quantile(rates, weight, PROBABILITIES).T
    return Reference(tuple(cells), found)


def _rates(draws: EqualDraws, coding: Coding, cell: Cell) -> Float:
    rates = clinic_rates(
        draws,
        coding,
        cell.failed_trials,
        cell.infusions,
        cell.rater,
        new_clinic=cell.new_clinic,
    )
    return np.column_stack([rates.response, rates.remission])


def quantile_error(draws: EqualDraws, coding: Coding, reference: Reference) -> float:
    """Largest absolute error of a quantile of the draws, on the probability scale."""
    return max(
        float(np.abs(quantiles(column, PROBABILITIES) - known).max())
        for cell, of_cell in zip(reference.cells, reference.quantiles, strict=True)
        for column, known in zip(_rates(draws, coding, cell).T, of_cell, strict=True)
    )


def best_draws(posterior: Posterior, recipe: Recipe, coding: Coding) -> tuple[EqualDraws, float]:
    """Of many even sets of draws the one closest to the posterior.

    Returns
    -------
    draws : EqualDraws
    error : float
        Its largest quantile error over the supported grid.
    """
    whole = reference_quantiles(posterior, coding, supported_cells(recipe))
    part = _subset(whole, lambda cell: cell.failed_trials % 2 == 0 and cell.infusions in _DOSES)
    average = _subset(part, lambda cell: not cell.new_clinic)
    new = _subset(part, lambda cell: cell.new_clinic)

    def closeness(pick: int, pairing: int, cells: Reference) -> float:
        return quantile_error(equal_draws(posterior, recipe.draws, pick, pairing), coding, cells)

    pick = min(range(PICKS), key=lambda k: closeness(k, 0, average))
    ranked = sorted(range(PAIRINGS), key=lambda k: closeness(pick, k, new))
    errors = {k: closeness(pick, k, whole) for k in ranked[:FINALISTS]}
    pairing = min(errors, key=lambda k: errors[k])
    return equal_draws(posterior, recipe.draws, pick, pairing), errors[pairing]


_DOSES: Final = (1, 2, 4, 6, 8)


def _subset(reference: Reference, keep: Callable[[Cell], bool]) -> Reference:
    on = [keep(cell) for cell in reference.cells]
    return Reference(
        tuple(cell for cell, kept in zip(reference.cells, on, strict=True) if kept),
        reference.quantiles[np.array(on)],
    )
