"""Leave one cohort family out: refit without it and predict its counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from ketacast.clinical.calibration import (
    LEVELS,
    CountPrediction,
    count_interval,
    mid_p,
    predictive_pmf,
)
from ketacast.clinical.fit import fit_model
from ketacast.clinical.parallel import Progress, map_in_order
from ketacast.clinical.recipe import Recipe, without_moderators
from ketacast.clinical.rows import LikelihoodRow, covariates, likelihood_rows
from ketacast.errors import InputError
from ketacast.evidence import Evidence
from ketacast.numerics.hierarchical import EqualDraws
from ketacast.options import Outcome

Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FamilyScore:
    """Log predictive probability of all primary counts of one left-out family.

    Attributes
    ----------
    family : str
    rows : int
        Primary likelihood rows scored together.
    log_score, baseline_log_score : float
        Under the model, and under the model without moderators.
    """

    family: str
    rows: int
    log_score: float
    baseline_log_score: float


@dataclass(frozen=True, slots=True)
class LeaveOneOut:
    """Predictions of every count from all the other families.

    Attributes
    ----------
    rows : tuple of CountPrediction
        Every count, in the order of the likelihood rows, response first.
    scores : tuple of FamilyScore
        One per family with a primary row.
    """

    rows: tuple[CountPrediction, ...]
    scores: tuple[FamilyScore, ...]


_MIN_FAMILIES: Final = 3
"""Two families must be left for a variance between them."""


def leave_one_cohort_out(
    evidence: Evidence,
    recipe: Recipe,
    progress: Progress | None = None,
    n_jobs: int = 1,
) -> LeaveOneOut:
    """Refit without each family in turn and predict its counts.

    Parameters
    ----------
    evidence, recipe : Evidence, Recipe
        The model.
    progress : callable, optional
        Told after every family.
    n_jobs : int
        Processes; the result does not depend on it.

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    InputError
        If fewer than three families are left by the recipe.
    ConvergenceError
        If a refit fails.
    """
    families = sorted({row.family for row in likelihood_rows(evidence, recipe)})
    if len(families) < _MIN_FAMILIES:
        raise InputError(
            f"{len(families)} families are left by the recipe; leaving one out needs "
            f"{_MIN_FAMILIES} or more"
        )
    work = partial(_left_out, evidence, recipe)
    results = map_in_order(work, families, n_jobs, progress, "leave one out")
    return LeaveOneOut(
        rows=tuple(row for rows, _ in results for row in rows),
        scores=tuple(score for _, score in results if score is not None),
    )


def _left_out(
    evidence: Evidence, recipe: Recipe, family: str
) -> tuple[list[CountPrediction], FamilyScore | None]:
    own = [row for row in likelihood_rows(evidence, recipe) if row.family == family]
    primary = _primary_rows(evidence, recipe)
    # The excluded family's included rows would be missed: they are predicted, not fitted.
    cohorts = {row.cohort_id for row in own}
    rules = recipe.data
    reduced = replace(
        recipe,
        data=replace(
            rules,
            exclude_families=(*rules.exclude_families, family),
            include=tuple(entry for entry in rules.include if entry[0] not in cohorts),
        ),
    )
    draws = fit_model(evidence, reduced).draws
    baseline = fit_model(evidence, without_moderators(reduced)).draws
    rows = [
        prediction
        for row in own
        for prediction in _predict_row(row, recipe, draws, baseline, primary=row in primary)
    ]
    scored = [row for row in own if row in primary]
    score = None
    if scored:
        score = FamilyScore(
            family=family,
            rows=len(scored),
            log_score=log_predictive(scored, recipe, draws),
            baseline_log_score=log_predictive(scored, recipe, baseline),
        )
    return rows, score


def _primary_rows(evidence: Evidence, recipe: Recipe) -> set[LikelihoodRow]:
    chosen = replace(recipe, data=replace(recipe.data, model_use=("primary",)))
    return set(likelihood_rows(evidence, chosen))


def row_logits(row: LikelihoodRow, recipe: Recipe, draws: EqualDraws) -> tuple[Float, Float]:
    """Logits of response, and of remission given response, at a row in a new clinic.

    Parameters
    ----------
    row : LikelihoodRow
        Covariates; a rater of 0 (unclear) stands midway, as in the likelihood.
    recipe : Recipe
        Coding of the covariates.
    draws : EqualDraws
        With the new clinic's scores.

    Returns
    -------
    eta, theta : (n,) float arrays
    """
    x, rater, failed = covariates(row.infusions, row.failed_trials, row.rater, recipe.data)
    design = np.array([1.0, x, rater, failed])
    effects = draws.tau * draws.scores
    eta: Float = (draws.beta[:, :4] * design).sum(axis=1) + effects[:, 0] + effects[:, 2] * x
    theta: Float = (draws.beta[:, 4:] * design).sum(axis=1) + effects[:, 1]
    return eta, theta


def _predict_row(
    row: LikelihoodRow, recipe: Recipe, draws: EqualDraws, baseline: EqualDraws, *, primary: bool
) -> list[CountPrediction]:
    rates, simple = _outcome_rates(row, recipe, draws), _outcome_rates(row, recipe, baseline)
    counted: list[tuple[Outcome, int]] = []
    if row.kind != "remission":
        counted.append(("response", row.responders))
    if row.kind != "response":
        counted.append(("remission", row.remitters))
    predictions = []
    for outcome, observed in counted:
        pmf = predictive_pmf(row.n, rates[outcome])
        simple_pmf = predictive_pmf(row.n, simple[outcome])
        predictions.append(
            CountPrediction(
                family=row.family,
                cohort_id=row.cohort_id,
                outcome=outcome,
                primary=primary,
                infusions=row.infusions,
                rater=row.rater,
                failed_trials=row.failed_trials,
                n=row.n,
                observed=observed,
                expected_rate=float(rates[outcome].mean()),
                intervals=tuple(count_interval(pmf, observed, level) for level in LEVELS),
                pit=mid_p(pmf, observed),
                log_score=float(np.log(pmf[observed])),
                baseline_log_score=float(np.log(simple_pmf[observed])),
            )
        )
    return predictions


def _outcome_rates(row: LikelihoodRow, recipe: Recipe, draws: EqualDraws) -> dict[Outcome, Float]:
    eta, theta = row_logits(row, recipe, draws)
    response: Float = special.expit(eta)
    return {"response": response, "remission": response * special.expit(theta)}


def log_predictive(rows: Sequence[LikelihoodRow], recipe: Recipe, draws: EqualDraws) -> float:
    """Log predictive probability of all counts of one new family together.

    Parameters
    ----------
    rows : sequence of LikelihoodRow
        Rows of one family; they share its effects.
    recipe, draws : Recipe, EqualDraws
        Posterior without that family.

    Returns
    -------
    float
        ``log mean over draws of the product of the binomial probabilities``.
    """
    total = np.zeros(draws.beta.shape[0])
    for row in rows:
        eta, theta = row_logits(row, recipe, draws)
        p, q = special.expit(eta), special.expit(theta)
        if row.kind != "remission":
            total += stats.binom.logpmf(row.responders, row.n, p)
        if row.kind == "pair":
            total += stats.binom.logpmf(row.remitters, row.responders, q)
        if row.kind == "remission":
            total += stats.binom.logpmf(row.remitters, row.n, p * q)
    return float(special.logsumexp(total) - np.log(total.size))
