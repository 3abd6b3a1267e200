"""Sensitivity: what other priors, assumptions and row choices would answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from ketacast.clinical.fit import fit_model
from ketacast.clinical.parallel import Progress, map_in_order
from ketacast.clinical.rates import components, mixture_rates
from ketacast.clinical.recipe import COEFFICIENTS, TAUS, Recipe
from ketacast.clinical.synthesis_data import published
from ketacast.evidence import Evidence
from ketacast.numerics.hierarchical import equal_draws
from ketacast.options import OUTCOMES, RATERS, Outcome, Rater

FAILED_TRIALS: Final = (2, 6, 10)
INFUSIONS: Final = 6
LEVEL: Final = 0.80

FINE_DRAWS: Final = 32768
"""Eight times the product's draws: differences between variants, a few hundredths,
are to be seen above the error of a quantile (about 0.004 with so many)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answers for one set of inputs, at six infusions.

    Attributes
    ----------
    outcome, failed_trials, rater
        The inputs.
    expected : float
        Mean rate over new clinics.
    low, high : float
        New-clinic 80 % interval.
    """

    outcome: Outcome
    failed_trials: int
    rater: Rater
    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Change:
    """Largest absolute change against the base model, and at which inputs."""

    size: float
    outcome: Outcome
    failed_trials: int
    rater: Rater


@dataclass(frozen=True, slots=True)
class Variant:
    """One sensitivity analysis.

    Attributes
    ----------
    name, title : str
        As in the recipe ("base" for the model itself).
    mean, sd : dict of str to float
        Posterior means and SDs of coefficients and taus.
    answers : tuple of Answer
        Every outcome, failed-trials value and rater.
    expected_change, bound_change : Change or None
        Largest change of an expected rate and of an interval bound against the
        base; None for the base.
    """

    name: str
    title: str
    mean: dict[str, float]
    sd: dict[str, float]
    answers: tuple[Answer, ...]
    expected_change: Change | None
    bound_change: Change | None


@dataclass(frozen=True, slots=True)
class PublishedComparison:
    """The model beside a published pooled value.

    Attributes
    ----------
    outcome : {"response", "remission"}
    expected : float
        Model: 6 failed trials, 6 infusions, rater unknown.
    average_clinic_95, new_clinic_80, new_clinic_95 : tuple of float
        Its intervals.
    published : float or None
        Pooled value of the anchor review.
    published_ci : tuple of float or None
        Its 95 % confidence interval.
    source : str
        Source's name in the evidence.
    """

    outcome: Outcome
    expected: float
    average_clinic_95: tuple[float, float]
    new_clinic_80: tuple[float, float]
    new_clinic_95: tuple[float, float]
    published: float | None
    published_ci: tuple[float, float] | None
    source: str


def sensitivity(
    evidence: Evidence, recipe: Recipe, progress: Progress | None = None, n_jobs: int = 1
) -> tuple[Variant, ...]:
    """Fit the base model and every variant of the recipe.

    Parameters
    ----------
    evidence, recipe : Evidence, Recipe
        The model and its variants.
    progress : callable, optional
        Told after every fit.
    n_jobs : int
        Processes; the result does not depend on it.

    Returns
    -------
    tuple of Variant
        The base first.
    """
    base = ("base", "The model itself", recipe)
    work = partial(_variant, evidence)
    fitted = map_in_order(work, [base, *recipe.sensitivity], n_jobs, progress, "sensitivity")
    return tuple(_with_changes(variant, fitted[0]) for variant in fitted)


def _variant(evidence: Evidence, entry: tuple[str, str, Recipe]) -> Variant:
    name, title, recipe = entry
    model = fit_model(evidence, recipe)
    draws = equal_draws(model.posterior, FINE_DRAWS)
    names = (*COEFFICIENTS, *TAUS)
    answers = []
    for failed in FAILED_TRIALS:
        for rater in RATERS:
            _, new = mixture_rates(draws, model.coding, components([failed], rater), INFUSIONS)
            for outcome in OUTCOMES:
                rates = getattr(new, outcome)
                low, high = np.quantile(rates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
                answers.append(Answer(outcome, failed, rater, float(rates.mean()), low, high))
    return Variant(
        name=name,
        title=title,
        mean=dict(zip(names, model.posterior.mean().tolist(), strict=True)),
        sd=dict(zip(names, model.posterior.sd().tolist(), strict=True)),
        answers=tuple(answers),
        expected_change=None,
        bound_change=None,
    )


def _with_changes(variant: Variant, base: Variant) -> Variant:
    if variant.name == base.name:
        return variant
    pairs = list(zip(variant.answers, base.answers, strict=True))
    of_expected = [_change(a, abs(a.expected - b.expected)) for a, b in pairs]
    of_bounds = [_change(a, max(abs(a.low - b.low), abs(a.high - b.high))) for a, b in pairs]
    return Variant(
        name=variant.name,
        title=variant.title,
        mean=variant.mean,
        sd=variant.sd,
        answers=variant.answers,
        expected_change=max(of_expected, key=lambda change: change.size),
        bound_change=max(of_bounds, key=lambda change: change.size),
    )


def _change(answer: Answer, size: float) -> Change:
    return Change(size, answer.outcome, answer.failed_trials, answer.rater)


def compare_published(evidence: Evidence, recipe: Recipe) -> tuple[PublishedComparison, ...]:
    """Set the model beside the pooled values of the anchor review.

    Parameters
    ----------
    evidence, recipe : Evidence, Recipe
        The published values are read from the evidence.

    Returns
    -------
    tuple of PublishedComparison
        Response, remission.
    """
    model = fit_model(evidence, recipe)
    failed = round(recipe.data.reference_failed_trials)
    mixture = components([failed], "unknown")
    draws = equal_draws(model.posterior, FINE_DRAWS)
    average, new = mixture_rates(draws, model.coding, mixture, INFUSIONS)
    comparisons = []
    for outcome in OUTCOMES:
        value = published(evidence, outcome)
        rates = getattr(new, outcome)
        comparisons.append(
            PublishedComparison(
                outcome=outcome,
                expected=float(rates.mean()),
                average_clinic_95=_interval(getattr(average, outcome), 0.95),
                new_clinic_80=_interval(rates, 0.80),
                new_clinic_95=_interval(rates, 0.95),
                published=None if value is None else value.value,
                published_ci=None if value is None else value.ci,
                source="" if value is None else value.source_id,
            )
        )
    return tuple(comparisons)


def _interval(
    rates: np.ndarray[tuple[int, ...], np.dtype[np.float64]], level: float
) -> tuple[float, float]:
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return float(low), float(high)
