"""Fit the time in response from the evidence, and its sensitivity analyses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import special

from ketacast.clinical.durability import DAYS_PER_WEEK, LEVELS, Durability
from ketacast.clinical.durability_parts import Maintenance, Ranges, ranges_of
from ketacast.clinical.durability_rows import LostRow, arm_counts, lost_rows
from ketacast.clinical.durability_rules import (
    ArmIds,
    DurabilityPrior,
    DurabilityRules,
    DurabilityVariant,
    Stratum,
)
from ketacast.evidence import Evidence
from ketacast.numerics.hierarchical.posterior import even_points
from ketacast.numerics.relapse import RelapsePosterior, RelapsePrior, fit_relapse, relapse_rows
from ketacast.numerics.relapse_draws import closest_relapse_draws, equal_relapse_draws
from ketacast.numerics.relapse_survival import (
    hazard_ratio,
    hazard_ratio_draws,
    kept_share,
    mean_time_kept,
)

SENSITIVITY_WEEKS: Final = (2, 4, 8, 13, 26)
#: Columns of the even points: four for a posterior draw, then two for each stratum.
_COLUMNS: Final[Mapping[Stratum, slice]] = {"responders": slice(4, 6), "remitters": slice(6, 8)}
_Z95: Final = float(special.ndtri(0.975))


@dataclass(frozen=True, slots=True)
class DurabilityCheck:
    """A sensitivity analysis of the curve without maintenance.

    Attributes
    ----------
    name, title : str
        What was changed.
    rows : tuple of LostRow
        Counts of this analysis.
    mean, sd : tuple of float
        Posterior mean and SD of m, s, log k.
    weeks : tuple of int
        Weeks since the last infusion.
    share : tuple of Ranges
        Share of responders still in response at those weeks.
    weeks_in_response : Ranges
        Mean weeks in response up to the horizon.
    """

    name: str
    title: str
    rows: tuple[LostRow, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    weeks: tuple[int, ...]
    share: tuple[Ranges, ...]
    weeks_in_response: Ranges


def build_durability(evidence: Evidence, rules: DurabilityRules, count: int) -> Durability:
    """Fit the base analysis.

    Parameters
    ----------
    evidence : Evidence
        The evidence tables.
    rules : DurabilityRules
        The recipe's section.
    count : int
        Number of draws, a power of 2.

    Raises
    ------
    RecipeError
        If the rules name rows that cannot be used.
    ConvergenceError
        If the posterior's grid does not settle.
    """
    rows = lost_rows(evidence, rules.rows, {})
    posterior = _posterior(rows, rules.prior)
    draws, error = closest_relapse_draws(posterior, count)
    return Durability(
        horizon_weeks=rules.horizon_weeks,
        prior=rules.prior,
        rows=rows,
        mean=tuple(posterior.mean.tolist()),
        sd=tuple(posterior.sd.tolist()),
        draws=draws,
        draws_error=error,
        maintenance={
            stratum: _maintenance(evidence, ids, stratum, count)
            for stratum, ids in rules.maintenance.items()
        },
    )


def check_durability(
    evidence: Evidence, rules: DurabilityRules, count: int
) -> tuple[DurabilityCheck, ...]:
    """Repeat the fit for every sensitivity analysis of the rules.

    Parameters
    ----------
    evidence, rules, count
        As in :func:`build_durability`.

    Raises
    ------
    RecipeError
        If an analysis names rows that cannot be used.
    ConvergenceError
        If a posterior's grid does not settle.
    """
    return tuple(_check(evidence, rules, variant, count) for variant in rules.sensitivity)


def _check(
    evidence: Evidence, rules: DurabilityRules, variant: DurabilityVariant, count: int
) -> DurabilityCheck:
    names = [name for name in rules.rows if name not in variant.drop] + list(variant.add)
    rows = lost_rows(evidence, names, variant.assumed_n)
    posterior = _posterior(rows, variant.prior)
    draws = equal_relapse_draws(posterior, count)
    days = np.array(SENSITIVITY_WEEKS) * DAYS_PER_WEEK
    average = kept_share(days, draws.m, draws.k)
    new = kept_share(days, draws.log_scale, draws.k)
    horizon = rules.horizon_weeks * DAYS_PER_WEEK
    return DurabilityCheck(
        name=variant.name,
        title=variant.title,
        rows=rows,
        mean=tuple(posterior.mean.tolist()),
        sd=tuple(posterior.sd.tolist()),
        weeks=SENSITIVITY_WEEKS,
        share=tuple(ranges_of(average[:, i], new[:, i], LEVELS) for i in range(days.size)),
        weeks_in_response=ranges_of(
            mean_time_kept(horizon, draws.m, draws.k) / DAYS_PER_WEEK,
            mean_time_kept(horizon, draws.log_scale, draws.k) / DAYS_PER_WEEK,
            LEVELS,
        ),
    )


def _posterior(rows: Iterable[LostRow], prior: DurabilityPrior) -> RelapsePosterior:
    chosen = sorted(rows, key=lambda row: (row.family, row.row_id))
    counts = relapse_rows(
        [row.family for row in chosen],
        [row.start_days for row in chosen],
        [row.end_days for row in chosen],
        [row.at_risk for row in chosen],
        [row.lost for row in chosen],
    )
    return fit_relapse(
        counts,
        RelapsePrior(
            log_scale_mean=float(np.log(prior.scale_days)),
            log_scale_sd=prior.log_scale_sd,
            spread=prior.spread,
            log_shape_sd=prior.log_shape_sd,
        ),
    )


def _maintenance(evidence: Evidence, ids: ArmIds, stratum: Stratum, count: int) -> Maintenance:
    lost, at_risk = arm_counts(evidence, ids)
    estimate = hazard_ratio(lost, at_risk)
    limits = estimate.log_ratio + estimate.se * np.array([0.0, -_Z95, _Z95])
    ratio = np.exp(limits)
    points = even_points(count, 8)[:, _COLUMNS[stratum]]
    return Maintenance(
        ids=ids,
        lost=lost,
        at_risk=at_risk,
        ratio=(float(ratio[0]), float(ratio[1]), float(ratio[2])),
        log_ratio=hazard_ratio_draws(lost, at_risk, points),
    )
