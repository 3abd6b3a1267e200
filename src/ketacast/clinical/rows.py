"""Evidence and recipe to likelihood rows and arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ketacast.clinical.recipe import COEFFICIENTS, TAUS, DataRules, Recipe
from ketacast.errors import RecipeError
from ketacast.evidence import Evidence, OutcomeCount
from ketacast.numerics.hierarchical import (
    REMISSION,
    REMISSION_IF_RESPONSE,
    RESPONSE,
    Priors,
    Rows,
    add_contrasts,
)

RowKind = Literal["pair", "response", "remission"]


@dataclass(frozen=True, slots=True, order=True)
class LikelihoodRow:
    """One row of the likelihood.

    Attributes
    ----------
    family, cohort_id : str
        Random-effects unit and cohort.
    infusions : float
        Infusions received when rated (the recipe's value where not printed).
    kind : {"pair", "remission", "response"}
        What was counted; a pair has responders and, among them, remitters.
    n, responders, remitters : int
        Counts; -1 where not counted.
    rater : float
        +1/2 clinician-rated, -1/2 self-rated, 0 unclear.
    failed_trials : float
        Mean failed trials of the cohort; the reference value where not printed.
    """

    family: str
    cohort_id: str
    infusions: float
    kind: RowKind
    n: int
    responders: int
    remitters: int
    rater: float
    failed_trials: float


@dataclass(frozen=True, slots=True)
class Basis:
    """What the fit rests on."""

    cohorts: int
    patients: int
    rows: int


def _chosen(evidence: Evidence, rules: DataRules) -> list[OutcomeCount]:
    families = {cohort.cohort_id: cohort.family for cohort in evidence.cohorts}
    include = set(rules.include)
    chosen = []
    for row in evidence.outcomes:
        extra = (row.cohort_id, row.timepoint) in include
        if not extra and row.model_use not in rules.model_use:
            continue
        if row.outcome not in ("response", "remission") or row.events is None or row.n is None:
            continue
        if families[row.cohort_id] in rules.exclude_families:
            continue
        if rules.drop_assumed_denominators and row.denominator_basis == "assumed":
            continue
        chosen.append(row)
    missing = include - {(row.cohort_id, row.timepoint) for row in chosen}
    if missing:
        raise RecipeError(f"[data] include: no counted outcome row for {min(missing)}")
    unknown = set(rules.exclude_families) - set(families.values())
    unknown |= set(rules.unpaired_cohorts) - set(families)
    if unknown:
        raise RecipeError(f"[data] {min(unknown)!r} is not in the evidence; check the name")
    return chosen


def likelihood_rows(evidence: Evidence, recipe: Recipe) -> tuple[LikelihoodRow, ...]:
    """Pair and code the outcome rows that enter the model.

    Response and remission of the same cohort, arm, time point and n form a pair
    (with the response row's covariates); other counts stand alone. The order does
    not depend on the order of the tables.

    Raises
    ------
    RecipeError
        If the recipe names rows that do not exist, no row is left, or more
        remitters than responders are paired.
    """
    rules = recipe.data
    cohorts = {cohort.cohort_id: cohort for cohort in evidence.cohorts}
    groups: dict[tuple[str, str, str, int], dict[str, OutcomeCount]] = {}
    for row in _chosen(evidence, rules):
        assert row.n is not None  # noqa: S101  # narrowed by _chosen
        key = (row.cohort_id, row.arm, row.timepoint, row.n)
        if row.outcome in groups.setdefault(key, {}):
            raise RecipeError(f"{row.cohort_id}: two {row.outcome} rows at {row.timepoint!r}")
        groups[key][row.outcome] = row
    result = []
    for (cohort_id, _, _, n), found in groups.items():
        cohort = cohorts[cohort_id]
        failed = cohort.failed_trials_mean
        paired = len(found) == 2 and cohort_id not in rules.unpaired_cohorts
        parts: list[tuple[RowKind, OutcomeCount]] = (
            [("pair", found["response"])]
            if paired
            else [("response" if o == "response" else "remission", r) for o, r in found.items()]
        )
        for kind, row in parts:
            responders = _events(found["response"]) if kind != "remission" else -1
            remitters = _events(found["remission"]) if kind != "response" else -1
            if kind == "pair" and remitters > responders:
                raise RecipeError(
                    f"{cohort_id}: {remitters} remitters of {responders} responders at "
                    f"{row.timepoint!r}; correct the counts or name it in unpaired_cohorts"
                )
            result.append(
                LikelihoodRow(
                    family=cohort.family,
                    cohort_id=cohort_id,
                    infusions=rules.unknown_infusions if row.infusions is None else row.infusions,
                    kind=kind,
                    n=n,
                    responders=responders,
                    remitters=remitters,
                    rater={"clinician": 0.5, "self": -0.5}.get(row.scorer, 0.0),
                    failed_trials=rules.reference_failed_trials if failed is None else failed,
                )
            )
    if not result:
        raise RecipeError("no outcome row is left for the model; check [data] and the evidence")
    return tuple(sorted(result))


def _events(row: OutcomeCount) -> int:
    assert row.events is not None  # noqa: S101  # narrowed by _chosen
    return row.events


def covariates(
    infusions: float, failed_trials: float, rater: float, rules: DataRules
) -> tuple[float, float, float]:
    """Code covariates: doublings of infusions x, rater s, failed trials F."""
    doublings = math.log2(min(infusions, rules.plateau_infusions) / rules.reference_infusions)
    return doublings, rater, failed_trials - rules.reference_failed_trials


def to_arrays(rows: Sequence[LikelihoodRow], recipe: Recipe) -> Rows:
    """Code likelihood rows as arrays; a pair becomes two rows."""
    families = sorted({row.family for row in rows})
    coded: list[tuple[int, int, float, float, float, float, float]] = []
    for row in rows:
        x, s, failed = covariates(row.infusions, row.failed_trials, row.rater, recipe.data)
        place = families.index(row.family)
        if row.kind != "remission":
            coded.append((place, RESPONSE, row.responders, row.n, x, s, failed))
        if row.kind == "pair":
            coded.append(
                (place, REMISSION_IF_RESPONSE, row.remitters, row.responders, x, s, failed)
            )
        if row.kind == "remission":
            coded.append((place, REMISSION, row.remitters, row.n, x, s, failed))
    table = np.array(coded, dtype=np.float64)
    design = np.column_stack([np.ones(len(coded)), table[:, 4:7]])
    nothing = np.zeros_like(design)
    return Rows(
        kind=table[:, 1].astype(np.int64),
        count=table[:, 2],
        total=table[:, 3],
        x_response=np.hstack([design, nothing]),
        x_remission=np.hstack([nothing, design]),
        slope=table[:, 4],
        family=table[:, 0].astype(np.int64),
    )


def to_priors(evidence: Evidence, recipe: Recipe) -> Priors:
    """Code priors and contrasts; coefficients fixed by ``sd = 0`` keep a column.

    Raises
    ------
    RecipeError
        If a contrast is not in the evidence or prints no log odds ratio.
    """
    means = np.array([recipe.priors[name].mean for name in COEFFICIENTS])
    sds = np.array([recipe.priors[name].sd for name in COEFFICIENTS])
    # A fixed coefficient gets an SD of 1e-6 logit: a probability moves by < 1e-6.
    precision = np.diag(1.0 / np.where(sds > 0, sds, 1e-6) ** 2)
    if recipe.contrasts:
        known = {contrast.contrast_id: contrast for contrast in evidence.contrasts}
        vectors = np.zeros((len(recipe.contrasts), len(COEFFICIENTS)))
        estimates, variances = np.zeros(len(vectors)), np.zeros(len(vectors))
        for i, use in enumerate(recipe.contrasts):
            log_or, se = use.log_or, use.se
            if log_or is None or se is None:
                if use.id not in known:
                    raise RecipeError(f"contrast {use.id!r} is not in contrasts.csv")
                log_or, se = known[use.id].log_or, known[use.id].se
            if log_or is None or se is None:
                raise RecipeError(f"contrast {use.id!r} prints no log odds ratio and SE")
            vectors[i, COEFFICIENTS.index(use.coefficient)] = use.gap
            estimates[i], variances[i] = log_or, se**2 + use.omega**2
        means, precision = add_contrasts(means, precision, vectors, estimates, variances)
    scales = np.array([recipe.half_normal[name] for name in TAUS])
    return Priors(mean=means, precision=precision, tau_scale=scales)


def basis(rows: Sequence[LikelihoodRow]) -> Basis:
    """Count families, patients (the largest n of each family) and rows."""
    largest: dict[str, int] = {}
    for row in rows:
        largest[row.family] = max(largest.get(row.family, 0), row.n)
    return Basis(cohorts=len(largest), patients=sum(largest.values()), rows=len(rows))
