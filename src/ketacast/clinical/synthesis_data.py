"""Which evidence rows enter the synthesis, and what the anchor review printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ketacast.errors import InputError
from ketacast.evidence import Cohort, Evidence, OutcomeCount
from ketacast.options import Outcome

#: The anchor review; its figures are rows of ``published_syntheses.csv``.
ANCHOR: Final = "alnefeesi2022"
#: How the anchor's figures are named in the table (beginnings of `quantity`).
ANCHOR_QUANTITIES: Final = {
    "response": "pooled response %",
    "remission": "pooled remission %",
    "symptoms": "pooled Hedges g symptom improvement",
    "response by failed trials": "meta-regression of response on level of treatment resistance",
    "remission by failed trials": "meta-regression of remission on level of treatment resistance",
    "by infusions": "meta-regression on repeated treatments",
    "size": "total review size",
}


@dataclass(frozen=True, slots=True)
class PublishedValue:
    """One figure of the anchor review, as recorded in the evidence.

    Attributes
    ----------
    source_id, quantity : str
        Where it stands in ``published_syntheses.csv``.
    value : float or None
        Proportion (percentages divided by 100) or Hedges' g; None where only
        a p-value is public.
    ci : tuple of float or None
        95 % confidence limits.
    p_value : str
        As printed.
    k, n : int or None
        Studies and patients of that analysis, where printed.
    notes : str
        The record's notes.
    """

    source_id: str
    quantity: str
    value: float | None
    ci: tuple[float, float] | None
    p_value: str
    k: int | None
    n: int | None
    notes: str


@dataclass(frozen=True, slots=True)
class CountRow:
    """Events of one cohort with its covariates.

    Attributes
    ----------
    cohort : Cohort
        The cohort.
    outcome : OutcomeCount
        The chosen outcome row.
    events, n : int
        Counts.
    """

    cohort: Cohort
    outcome: OutcomeCount
    events: int
    n: int


@dataclass(frozen=True, slots=True)
class SymptomRow:
    """Symptom improvement of one family.

    Attributes
    ----------
    cohort_id, timepoint : str
        Where it comes from.
    improvement : float
        Mean improvement in points of the scale (a fall is positive).
    sd : float
        SD of the change, or at baseline if `raw`.
    n : int
        Patients.
    raw : bool
        True where a baseline and an end score are printed, not a change.
    """

    cohort_id: str
    timepoint: str
    improvement: float
    sd: float
    n: int
    raw: bool


@dataclass(frozen=True, slots=True)
class _Score:
    improvement: float
    sd: float
    n: int
    raw: bool
    when: tuple[float, float]


def published(evidence: Evidence, analysis: str) -> PublishedValue | None:
    """Find the anchor's figure for one of :data:`ANCHOR_QUANTITIES`; None where it has none.

    Raises
    ------
    InputError
        If the table holds more than one.
    """
    beginning = ANCHOR_QUANTITIES[analysis]
    found = [
        row
        for row in evidence.syntheses
        if row.source_id == ANCHOR and row.quantity.startswith(beginning)
    ]
    if not found:
        return None
    if len(found) > 1:
        raise InputError(
            f"published_syntheses.csv has {len(found)} rows of {ANCHOR} beginning "
            f"{beginning!r}; keep one"
        )
    row = found[0]
    scale = 100.0 if row.quantity.endswith("%") else 1.0
    limits = None
    if row.ci_low is not None and row.ci_high is not None:
        limits = (row.ci_low / scale, row.ci_high / scale)
    return PublishedValue(
        source_id=row.source_id,
        quantity=row.quantity,
        value=None if row.number is None else row.number / scale,
        ci=limits,
        p_value=row.p_value,
        k=row.k,
        n=row.n,
        notes=row.notes,
    )


def primary_rows(evidence: Evidence, outcome: Outcome) -> list[CountRow]:
    """Primary rows of an outcome, one per family, in file order."""
    return [
        CountRow(evidence.cohort(row.cohort_id), row, row.events, row.n)
        for row in evidence.outcomes
        if row.model_use == "primary"
        and row.outcome == outcome
        and row.events is not None
        and row.n is not None
    ]


def failed_trials_rows(evidence: Evidence, outcome: Outcome) -> list[CountRow]:
    """Rows of every eligible cohort that prints its mean number of failed trials.

    Eligible: intravenous racemic ketamine in treatment-resistant depression
    with counts; primary or not, because so few print it. One row per family:
    the primary one, else the largest.
    """
    best: dict[str, CountRow] = {}
    for row in evidence.outcomes:
        cohort = evidence.cohort(row.cohort_id)
        if row.outcome != outcome or row.events is None or row.n is None or row.is_control:
            continue
        if cohort.failed_trials_mean is None or not _is_iv_racemic_trd(cohort):
            continue
        candidate = CountRow(cohort, row, row.events, row.n)
        current = best.get(cohort.family)
        if current is None or _rank(candidate) > _rank(current):
            best[cohort.family] = candidate
    return list(best.values())


def symptom_rows(evidence: Evidence) -> tuple[list[SymptomRow], Counter[str]]:
    """Symptom scores that allow a standardised mean change, one per family.

    Returns
    -------
    rows : list of SymptomRow
        The latest usable time point of each family.
    left_out : Counter of str
        How many other rows of eligible cohorts were left out, by reason.
    """
    left_out: Counter[str] = Counter()
    usable: dict[tuple[str, str], list[_Score]] = {}
    for row in evidence.outcomes:
        cohort = evidence.cohort(row.cohort_id)
        if row.outcome != "symptom_score" or row.is_control or not _is_iv_racemic_trd(cohort):
            continue
        score = _read_score(row, cohort)
        if isinstance(score, str):
            left_out[score] += 1
        else:
            usable.setdefault((row.cohort_id, row.timepoint), []).append(score)
    latest: dict[str, tuple[tuple[float, float], SymptomRow]] = {}
    for (cohort_id, timepoint), scores in usable.items():
        cohort = evidence.cohort(cohort_id)
        # Groups whose sizes add up to the cohort partition it; others may overlap.
        if len(scores) > 1 and sum(score.n for score in scores) != cohort.n_enrolled:
            left_out["subgroups that may overlap"] += len(scores)
            continue
        known = latest.get(cohort.family)
        if known is not None:
            left_out["another time point of the same family"] += 1
        if known is None or scores[0].when > known[0]:
            latest[cohort.family] = (scores[0].when, _symptom_row(cohort_id, timepoint, scores))
    return [row for _, row in latest.values()], left_out


def combine_groups(
    means: Sequence[float], sds: Sequence[float], sizes: Sequence[int]
) -> tuple[float, float, int]:
    """Mean, SD and size of disjoint groups taken together (exact).

    The sum of squares is that within groups plus that of the group means.
    """
    m, s = np.asarray(means, dtype=np.float64), np.asarray(sds, dtype=np.float64)
    n = np.asarray(sizes, dtype=np.float64)
    total = n.sum()
    mean = float(np.sum(n * m) / total)
    squares = np.sum((n - 1.0) * s**2) + np.sum(n * (m - mean) ** 2)
    return mean, float(np.sqrt(squares / (total - 1.0))), int(total)


def _is_iv_racemic_trd(cohort: Cohort) -> bool:
    return (
        cohort.drug == "racemic_ketamine"
        and cohort.route == "iv"
        and cohort.population.startswith("trd")
    )


def _rank(row: CountRow) -> tuple[bool, int]:
    return row.outcome.model_use == "primary", row.n


def _read_score(row: OutcomeCount, cohort: Cohort) -> _Score | str:
    """Read a symptom row, or say why it gives no standardised mean change."""
    criterion = row.criterion.lower()
    if "percent" in criterion:
        return "percent change"
    if row.n is None or row.mean is None or row.sd is None:
        return "n, mean or SD not printed"
    if row.rating_timing == "follow_up":
        return "after the acute course"
    when = (row.infusions or 0.0, row.days_from_first_infusion or 0.0)
    if "change" in criterion:
        # Printed as end minus baseline, so improvement is its negative.
        return _Score(-row.mean, row.sd, row.n, raw=False, when=when)
    start, spread = cohort.baseline_mean, cohort.baseline_sd
    if start is None or spread is None or cohort.baseline_scale != row.scale:
        return "end score without baseline on the same scale"
    return _Score(start - row.mean, spread, row.n, raw=True, when=when)


def _symptom_row(cohort_id: str, timepoint: str, scores: Sequence[_Score]) -> SymptomRow:
    improvement, sd, n = combine_groups(
        [score.improvement for score in scores],
        [score.sd for score in scores],
        [score.n for score in scores],
    )
    raw = scores[0].raw
    return SymptomRow(cohort_id, timepoint, improvement, scores[0].sd if raw else sd, n, raw)
