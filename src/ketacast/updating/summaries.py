"""Weighted draws of one clinic to summaries, point by point and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ketacast.clinical.artifact import DIGITS
from ketacast.clinical.midcourse import weighted_quantiles
from ketacast.clinical.rates import Coding, Rates, clinic_rates, components
from ketacast.numerics.draws import EqualDraws, Float
from ketacast.options import OUTCOMES, RATERS


def summaries(rates: Float, weight: Float | None, levels: Sequence[float]) -> list[float]:
    """Return expected, median, then the bounds of the interval at each level, rounded."""
    sides = [side for level in levels for side in ((1 - level) / 2, (1 + level) / 2)]
    found = weighted_quantiles(rates, weight, np.array([0.5, *sides]))
    expected = float(rates.mean() if weight is None else weight @ rates / weight.sum())
    return [round(value, DIGITS) for value in (expected, *found.tolist())]


def pooled(
    draws: EqualDraws,
    weight: Float | None,
    coding: Coding,
    mixture: Sequence[tuple[int, str]],
    infusions: int,
) -> tuple[Rates, Float | None]:
    """Rates in this clinic of an equal mixture of inputs, pooled, with their weights."""
    parts = [
        clinic_rates(draws, coding, trials, infusions, rater, new_clinic=True)
        for trials, rater in mixture
    ]
    rates = Rates(
        response=np.concatenate([part.response for part in parts]),
        remission=np.concatenate([part.remission for part in parts]),
    )
    return rates, None if weight is None else np.tile(weight, len(parts))


def clinic_table(
    draws: EqualDraws,
    weight: Float | None,
    coding: Coding,
    table: dict[str, Any],
) -> dict[str, Any]:
    """Point predictions for this clinic on the grid of the model's table.

    Parameters
    ----------
    draws : EqualDraws
        With the clinic's scores.
    weight : (n,) float array or None
        Weights of the draws.
    coding : Coding
        Covariate coding.
    table : dict
        The artifact's table, for its axes and levels.

    Returns
    -------
    dict
        Axes, columns and values: outcome, failed trials, infusions, rater, summaries.
    """
    levels = table["levels"]
    values: dict[str, list[Any]] = {outcome: [] for outcome in OUTCOMES}
    for trials in table["failed_trials"]:
        found = [
            _cells(draws, weight, coding, (trials, infusions), levels)
            for infusions in table["infusions"]
        ]
        for outcome in OUTCOMES:
            values[outcome].append([[one[rater][outcome] for rater in RATERS] for one in found])
    return {**table_head(table), "values": values}


def _cells(
    draws: EqualDraws,
    weight: Float | None,
    coding: Coding,
    inputs: tuple[int, int],
    levels: Sequence[float],
) -> dict[str, dict[str, list[float]]]:
    """Summaries by rater and outcome at one number of failed trials and infusions."""
    trials, infusions = inputs
    both, twice = pooled(draws, weight, coding, components([trials], "unknown"), infusions)
    n = draws.beta.shape[0]
    parts = {"self": slice(0, n), "clinician": slice(n, 2 * n), "unknown": slice(0, 2 * n)}
    return {
        rater: {
            outcome: summaries(
                getattr(both, outcome)[part], None if twice is None else twice[part], levels
            )
            for outcome in OUTCOMES
        }
        for rater, part in parts.items()
    }


def new_clinic_table(table: dict[str, Any]) -> dict[str, Any]:
    """Take the model's own new-clinic predictions, for a clinic without counts."""
    first = 2 + 2 * len(table["levels"])

    def kept(node: list[Any]) -> list[Any]:
        if isinstance(node[0], list):
            return [kept(part) for part in node]
        return [*node[:2], *node[first:]]

    return {
        **table_head(table),
        "values": {outcome: kept(table["values"][outcome]) for outcome in OUTCOMES},
    }


def table_head(table: dict[str, Any]) -> dict[str, Any]:
    """Axes and columns of a clinic's table."""
    bounds = [
        f"this_clinic {level} {side}" for level in table["levels"] for side in ("low", "high")
    ]
    axes = {name: table[name] for name in ("failed_trials", "infusions", "raters", "levels")}
    return {**axes, "columns": ["expected", "median", *bounds]}
