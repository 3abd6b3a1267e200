"""Predictive probabilities of a batch's counts, averaged over weighted draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import special

from ketacast.clinical.rates import Coding
from ketacast.numerics.draws import EqualDraws, Float
from ketacast.options import Outcome
from ketacast.updating.counts import Cell
from ketacast.updating.likelihood import cell_chances, code_cells

_GROUPS: Final = 256
_SMALLEST: Final = 1e-12
"""Stands for a parameter of 0, which the incomplete beta function does not take."""


@dataclass(frozen=True, slots=True)
class Total:
    """Predictive distribution of a sum of counts over cells.

    Given a draw the sum of the cells' binomials is taken as the binomial with the
    same mean and variance, with a denominator that need not be whole: exact for one
    cell, and for several with the same chance.

    Attributes
    ----------
    patients, observed : int
        Patients of the cells that record the outcome, and their events.
    size, chance : (N,) float arrays
        The matched binomial of each draw.
    weight : (N,) float array
        Weights of the draws; they sum to 1.
    """

    patients: int
    observed: int
    size: Float
    chance: Float
    weight: Float

    @property
    def expected(self) -> float:
        """Mean of the predicted share of patients."""
        return float(self.weight @ (self.size * self.chance)) / self.patients

    def at_most(self, count: int) -> float:
        """Chance of `count` events or fewer."""
        if count < 0:
            return 0.0
        rest = self.size - count
        lower = special.betainc(np.maximum(rest, _SMALLEST), count + 1.0, 1.0 - self.chance)
        return float(self.weight @ np.where(rest > 0, lower, 1.0))

    def at_least(self, count: int) -> float:
        """Chance of `count` events or more."""
        if count <= 0:
            return 1.0
        rest = self.size - count + 1.0
        upper = special.betainc(float(count), np.maximum(rest, _SMALLEST), self.chance)
        return float(self.weight @ np.where(rest > 0, upper, 0.0))

    def mid_p(self, count: int) -> float:
        """Two-sided mid-p value of a count.

        Notes
        -----
        Twice the smaller of P(Y < y) + P(Y = y) / 2 and P(Y > y) + P(Y = y) / 2, each
        from its own tail.
        """
        below = 0.5 * (self.at_most(count) + self.at_most(count - 1))
        if below <= 0.5:
            return 2.0 * below
        return min(1.0, self.at_least(count) + self.at_least(count + 1))

    def least_p(self) -> float:
        """Larger of the p-values of no event and of all events: what is sure to be reached."""
        return min(1.0, max(self.at_most(0), self.at_least(self.patients)))

    def share_interval(self, level: float) -> tuple[float, float]:
        """Central predictive interval of the share of patients with the event.

        From draws with similar chances taken together, for speed: a bound moves by
        less than a hundredth of the interval's width.
        """
        tail, thin = 0.5 * (1.0 - level), self._thinned()
        return thin.quantile(tail) / self.patients, thin.quantile(1.0 - tail) / self.patients

    def _thinned(self) -> Total:
        order = np.argsort(self.chance, kind="stable")
        weight = self.weight[order]
        group = np.minimum((np.cumsum(weight) - 0.5 * weight) * _GROUPS, _GROUPS - 1).astype(int)
        sums = np.bincount(group, weight, _GROUPS)
        on = sums > 0

        def mean(values: Float) -> Float:
            result: Float = np.bincount(group, weight * values[order], _GROUPS)[on] / sums[on]
            return result

        return replace(
            self, size=mean(self.size), chance=mean(self.chance), weight=sums[on] / sums.sum()
        )

    def quantile(self, probability: float) -> int:
        """Smallest count that is not exceeded with at least this probability."""
        low, high = -1, self.patients
        while high - low > 1:
            middle = (low + high) // 2
            if self.at_most(middle) >= probability:
                high = middle
            else:
                low = middle
        return high


def predicted_total(
    cells: Sequence[Cell],
    outcome: Outcome,
    draws: EqualDraws,
    weight: Float,
    coding: Coding,
) -> Total | None:
    """Predict the number of responders or remitters of some cells together.

    Parameters
    ----------
    cells : sequence of Cell
        Of a batch, or of several; cells with the same covariates are best added first.
    outcome : {"response", "remission"}
        What is counted.
    draws : EqualDraws
        With the scores of the clinic that is predicted.
    weight : (N,) float array
        Weights of the draws; they sum to 1.
    coding : Coding
        Covariate coding.

    Returns
    -------
    Total or None
        None where no cell records the outcome.
    """
    name = "responders" if outcome == "response" else "remitters"
    counted = [cell for cell in cells if getattr(cell, name) is not None and cell.n > 0]
    if not counted:
        return None
    effects = draws.tau * draws.scores
    mean, squares = np.zeros(weight.size), np.zeros(weight.size)
    for cell, coded in zip(counted, code_cells(counted, draws, coding), strict=True):
        chance = cell_chances(coded, effects)[0 if outcome == "response" else 1]
        mean += cell.n * chance
        squares += cell.n * chance**2
    chance = squares / mean
    return Total(
        patients=sum(cell.n for cell in counted),
        observed=sum(getattr(cell, name) for cell in counted),
        size=mean / chance,
        chance=chance,
        weight=weight,
    )
