"""The anchor review's syntheses, repeated on this evidence and set beside its figures.

Pooled response and remission, by rater and setting; pooled symptom
improvement; meta-regressions on the number of infusions and on failed trials.
Each count analysis is done twice: restricted maximum likelihood with
Knapp-Hartung intervals on continuity-corrected logits, and maximum likelihood
of the exact binomial-normal model with t intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ketacast.arrays import FloatArray
from ketacast.clinical.synthesis_data import (
    ANCHOR,
    CountRow,
    PublishedValue,
    SymptomRow,
    failed_trials_rows,
    primary_rows,
    published,
    symptom_rows,
)
from ketacast.clinical.synthesis_result import METHODS, Method, Scale, Synthesis, SynthesisRow
from ketacast.effects import (
    EffectSizes,
    back_transform,
    proportion_effect,
    standardised_mean_change,
)
from ketacast.errors import ConvergenceError
from ketacast.evidence import Evidence
from ketacast.numerics.binomial import BinomialFit, fit_binomial, predict_binomial
from ketacast.numerics.normal import NormalFit, fit_normal, predict_normal
from ketacast.options import OUTCOMES, Outcome

#: Pre-post correlations of symptom scores: none is printed, so one half is
#: assumed and a wide range around it is shown.
ASSUMED_CORRELATIONS: Final = (0.5, 0.3, 0.7)
#: Fewer studies than coefficients plus two leave no more than one residual
#: degree of freedom, where intervals say nothing.
SPARE_STUDIES: Final = 2


@dataclass(frozen=True, slots=True)
class DoseCoding:
    """How the number of infusions is coded.

    Attributes
    ----------
    reference, plateau : float
        The moderator is ``log2(min(infusions, plateau) / reference)``.
    unknown : float
        Taken where a row prints no number.
    """

    reference: float = 6.0
    plateau: float = 8.0
    unknown: float = 6.0


def synthesise(evidence: Evidence, coding: DoseCoding | None = None) -> Synthesis:
    """Repeat the anchor review's syntheses on this evidence.

    Parameters
    ----------
    evidence : Evidence
        The evidence tables.
    coding : DoseCoding, optional
        How infusions are coded; the clinical model's coding unless given.

    Returns
    -------
    Synthesis
        Analyses that the evidence cannot carry have a reason in place of a
        number.
    """
    dose = coding or DoseCoding()
    rows: list[SynthesisRow] = []
    for outcome in OUTCOMES:
        rows += _pooled(evidence, outcome)
    rows += _symptoms(evidence)
    for outcome in OUTCOMES:
        rows += _by_infusions(evidence, outcome, dose)
    for outcome in OUTCOMES:
        rows += _by_failed_trials(evidence, outcome)
    size = published(evidence, "size")
    return Synthesis(
        rows=tuple(rows),
        anchor=ANCHOR,
        anchor_k=None if size is None else size.k,
        anchor_n=None if size is None else size.n,
        evidence_sha256=evidence.sha256,
        notes=_general_notes(size),
    )


def _general_notes(size: PublishedValue | None) -> tuple[str, ...]:
    whole = "the anchor's studies" if size is None else f"the anchor's {size.k} studies"
    ours = (
        "Our primary set (intravenous racemic ketamine in resistant depression, one cohort per "
        f"family) is not {whole}, which include other routes and esketamine; overlap is unknown "
        "for most cohorts. The anchor pooled real-world studies."
    )
    association = (
        "Raters, settings and rating times are confounded between cohorts: a difference between "
        "subgroups and a slope between cohorts are associations."
    )
    return (
        ours,
        "Pooled probabilities are those of the median clinic: the back-transformed mean logit.",
        "Rates are uncontrolled: they include placebo response and natural course.",
        association,
    )


def _pooled(evidence: Evidence, outcome: Outcome) -> list[SynthesisRow]:
    everything = primary_rows(evidence, outcome)
    anchor = published(evidence, outcome)
    groups: list[tuple[str, list[CountRow]]] = [
        ("all primary cohorts", everything),
        ("self-rated", [row for row in everything if row.outcome.scorer == "self"]),
        ("clinician-rated", [row for row in everything if row.outcome.scorer == "clinician"]),
        ("real-world", [row for row in everything if row.cohort.setting == "real_world"]),
        ("trial", [row for row in everything if row.cohort.setting == "trial"]),
    ]
    unclear = sum(row.outcome.scorer == "unclear" for row in everything)
    assumed = sum(row.outcome.denominator_basis == "assumed" for row in everything)
    result = []
    for name, rows in groups:
        whole = name == groups[0][0]
        notes = (
            (f"{assumed} of {len(rows)} denominators are assumed",)
            if whole
            else (f"{unclear} cohorts with an unclear rater are in neither group",)
            if name.endswith("rated")
            else ()
        )
        for method in METHODS:
            blank = _blank(outcome, name, method, "probability", rows)
            blank = replace(blank, published=anchor if whole else None, notes=notes)
            result.append(_pool_counts(blank, rows))
    return result


def _symptoms(evidence: Evidence) -> list[SynthesisRow]:
    chosen, left_out = symptom_rows(evidence)
    anchor = published(evidence, "symptoms")
    reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    sources = ", ".join(f"{row.cohort_id} ({row.timepoint})" for row in chosen)
    raw = sum(row.raw for row in chosen)
    notes = [
        f"from {sources}; not all are at the end of a course",
        f"standardised by the SD of the change; {raw} of {len(chosen)} by the baseline SD with r",
    ]
    if reasons:
        notes.append(f"rows left out: {reasons}")
    result = []
    for correlation in ASSUMED_CORRELATIONS:
        blank = SynthesisRow(
            analysis="symptoms",
            group=f"r = {correlation:g} assumed",
            method=METHODS[0],
            scale="standardised mean change",
            k=len(chosen),
            n=sum(row.n for row in chosen),
            published=anchor,
            notes=tuple(notes),
        )
        refused = _too_few(blank, 1)
        result.append(refused or _pool_effects(blank, _changes(chosen, correlation)))
    return result


def _changes(rows: Sequence[SymptomRow], correlation: float) -> tuple[FloatArray, FloatArray]:
    effects: list[EffectSizes] = [
        standardised_mean_change(
            row.improvement, row.sd, row.n, measure="SMCR", correlation=correlation
        )
        if row.raw
        else standardised_mean_change(row.improvement, row.sd, row.n, measure="SMCC")
        for row in rows
    ]
    return np.array([float(e.yi) for e in effects]), np.array([float(e.vi) for e in effects])


def _by_infusions(evidence: Evidence, outcome: Outcome, dose: DoseCoding) -> list[SynthesisRow]:
    rows = primary_rows(evidence, outcome)
    received = np.array(
        [dose.unknown if row.outcome.infusions is None else row.outcome.infusions for row in rows]
    )
    unknown = sum(row.outcome.infusions is None for row in rows)
    notes = ["between cohorts only; time courses within cohorts enter the clinical model"]
    if unknown:
        notes.append(f"{unknown} without a printed number taken as {dose.unknown:g}")
    codings = (
        ("per doubling", np.log2(np.minimum(received, dose.plateau) / dose.reference)),
        ("per infusion", received),
    )
    anchor = published(evidence, "by infusions")
    result = []
    for name, moderator in codings:
        for method in METHODS:
            blank = _blank(f"{outcome} by infusions", name, method, "log odds ratio", rows)
            blank = replace(blank, published=anchor, notes=tuple(notes))
            result.append(_regress(blank, rows, moderator))
    return result


def _by_failed_trials(evidence: Evidence, outcome: Outcome) -> list[SynthesisRow]:
    rows = failed_trials_rows(evidence, outcome)
    printed = [row.cohort.failed_trials_mean for row in rows]
    moderator = np.array([value for value in printed if value is not None])
    outside = sum(row.outcome.model_use != "primary" for row in rows)
    best = sum(row.outcome.rating_timing == "best_point" for row in rows)
    notes = [f"eligible cohorts that print a mean number of failed trials: {len(rows)}"]
    if outside:
        notes.append(f"{outside} of them are outside the primary set ({best} best-point ratings)")
    scopes = sorted({row.cohort.failed_trials_scope or "unclear" for row in rows})
    if len(scopes) > 1:
        notes.append(f"counts of different scope are mixed: {', '.join(scopes)}")
    anchor = published(evidence, f"{outcome} by failed trials")
    result = []
    for method in METHODS:
        blank = _blank(f"{outcome} by failed trials", "per trial", method, "log odds ratio", rows)
        result.append(
            _regress(replace(blank, published=anchor, notes=tuple(notes)), rows, moderator)
        )
    return result


def _blank(
    analysis: str, group: str, method: Method, scale: Scale, rows: Sequence[CountRow]
) -> SynthesisRow:
    return SynthesisRow(analysis, group, method, scale, len(rows), sum(row.n for row in rows))


def _too_few(blank: SynthesisRow, coefficients: int) -> SynthesisRow | None:
    needed = coefficients + SPARE_STUDIES
    if blank.k >= needed:
        return None
    plural = "" if blank.k == 1 else "s"
    return replace(blank, refused=f"{blank.k} cohort{plural}; at least {needed} are needed")


def _pool_counts(blank: SynthesisRow, rows: Sequence[CountRow]) -> SynthesisRow:
    refused = _too_few(blank, 1)
    if refused:
        return refused
    events, n = _counts(rows)
    ones = np.ones((len(rows), 1))
    if blank.method == METHODS[0]:
        effects = proportion_effect(events, n, "PLO")
        return _pool_effects(blank, (effects.yi, effects.vi))
    try:
        fit = fit_binomial(events, n, ones, test="t")
    except ConvergenceError as error:
        return replace(blank, refused=str(error))
    return _with_pooled(blank, fit)


def _pool_effects(blank: SynthesisRow, effects: tuple[FloatArray, FloatArray]) -> SynthesisRow:
    y, v = effects
    return _with_pooled(blank, fit_normal(y, v, np.ones((y.size, 1)), test="knha"))


def _with_pooled(blank: SynthesisRow, fit: NormalFit | BinomialFit) -> SynthesisRow:
    def interval(level: float) -> tuple[float, float]:
        at = [[1.0]]
        predicted = (
            predict_normal(fit, at, level=level)
            if isinstance(fit, NormalFit)
            else predict_binomial(fit, at, level=level)
        )
        return _on_scale(blank, predicted.pi_lower[0]), _on_scale(blank, predicted.pi_upper[0])

    return replace(
        blank,
        estimate=_on_scale(blank, fit.beta[0]),
        ci=(_on_scale(blank, fit.ci_lower[0]), _on_scale(blank, fit.ci_upper[0])),
        pi80=interval(0.80),
        pi95=interval(0.95),
        tau2=fit.tau2,
        i2=fit.i2,
    )


def _regress(blank: SynthesisRow, rows: Sequence[CountRow], moderator: FloatArray) -> SynthesisRow:
    refused = _too_few(blank, 2)
    if refused:
        return refused
    if np.ptp(moderator) == 0.0:
        return replace(blank, refused="the moderator is the same in every cohort")
    events, n = _counts(rows)
    X = np.column_stack([np.ones(len(rows)), moderator])
    fit: NormalFit | BinomialFit
    if blank.method == METHODS[0]:
        effects = proportion_effect(events, n, "PLO")
        fit = fit_normal(effects.yi, effects.vi, X, test="knha")
    else:
        try:
            fit = fit_binomial(events, n, X, test="t")
        except ConvergenceError as error:
            return replace(blank, refused=str(error))
    return replace(
        blank,
        estimate=float(fit.beta[1]),
        ci=(float(fit.ci_lower[1]), float(fit.ci_upper[1])),
        tau2=fit.tau2,
        i2=fit.i2,
        p_value=float(fit.p_value[1]),
    )


def _counts(rows: Sequence[CountRow]) -> tuple[FloatArray, FloatArray]:
    events = np.array([row.events for row in rows], dtype=np.float64)
    return events, np.array([row.n for row in rows], dtype=np.float64)


def _on_scale(blank: SynthesisRow, value: float) -> float:
    if blank.scale == "probability":
        return float(back_transform(float(value), "PLO"))
    return float(value)
