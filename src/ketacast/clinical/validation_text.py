"""The validation in words and tables: for a terminal and as docs/validation.md."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ketacast.clinical.calibration import Proportion
from ketacast.clinical.sensitivity import Change
from ketacast.clinical.simulation import SimulationCheck
from ketacast.clinical.validation import Coverage, Validation

WIDTH: Final = 80
ALARM: Final = 0.05
"""Bonferroni p-value below which the ranks are called not uniform."""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page.

    Attributes
    ----------
    title : str
    before, after : tuple of str
        Paragraphs around the table.
    table : tuple of str
        Lines of at most 80 characters.
    figure : tuple of str
        File name and caption; empty for none.
    """

    title: str
    before: tuple[str, ...]
    table: tuple[str, ...]
    after: tuple[str, ...] = ()
    figure: tuple[str, ...] = ()


def validation_sections(validation: Validation) -> tuple[Section, ...]:
    """Lay the validation out in sections, the headline first."""
    parts = [
        _coverage_section(validation),
        _cohorts_section(validation),
        _calibration_section(validation),
        _score_section(validation),
        _single_section(validation),
        _published_section(validation),
        _sensitivity_section(validation),
        _coefficients_section(validation),
        _simulation_section(validation.simulation),
    ]
    return tuple(parts)


def validation_lines(validation: Validation) -> list[str]:
    """Tables for a terminal, at most 80 characters wide.

    Parameters
    ----------
    validation : Validation

    Returns
    -------
    list of str
        Lines without line ends.
    """
    lines = [_heading(validation)]
    for section in validation_sections(validation):
        lines += ["", section.title, *section.table]
        lines += [line for text in section.after for line in textwrap.wrap(text, WIDTH)]
    return lines


def validation_page(validation: Validation) -> str:
    """Markdown of docs/validation.md (made by ``ketacast validate``)."""
    lines = ["# Validation", "", "<!-- Written by `ketacast validate`; do not edit. -->", ""]
    lines += [*_paragraph(_heading(validation)), *_paragraph(_INTRODUCTION)]
    for section in validation_sections(validation):
        lines += [f"## {section.title}", ""]
        for text in section.before:
            lines += _paragraph(text)
        if section.table:
            lines += ["```text", *section.table, "```", ""]
        for text in section.after:
            lines += _paragraph(text)
        if section.figure:
            name, caption = section.figure
            lines += [f"![{caption}](images/{name})", ""]
    lines += ["## What this does not show", ""]
    for text in _LIMITS:
        lines += textwrap.wrap(f"- {text}", WIDTH, subsequent_indent="  ")
    return "\n".join(lines) + "\n"


_INTRODUCTION: Final = (
    "Every cohort family was left out in turn, the model refitted to the others, and the left-out "
    "counts predicted as those of a new clinic at its own covariates, binomial noise included. "
    "Primary rows (one per family and outcome) are the headline; time-course rows share patients "
    "with a primary row and stand apart. All numbers are also in validation.json beside the model."
)

_LIMITS: Final = (
    "Patients: what is predicted and checked is a cohort's count, not one person's fate.",
    "Independence of the checks: the model's structure and priors were chosen with knowledge of "
    "these cohorts, so leaving one out flatters the model somewhat. Only new cohorts can settle it.",
    "The failed-trials slopes: almost no cohort prints its mean number of failed trials, so leaving "
    "one out says next to nothing about them. They rest on one contrast and on sceptical priors.",
    "Precision: with so few cohorts even a coverage of 100 % is compatible with intervals that hold "
    "less than their level. Response and remission of one cohort are not independent, so the bounds "
    "of the row that counts both are narrower than they should be.",
    "Selection: clinics that publish may differ from clinics that do not.",
)


def _heading(validation: Validation) -> str:
    families = len({row.family for row in validation.rows})
    return (
        f"Model {validation.model} {validation.version}, {families} cohort families; evidence "
        f"{validation.evidence_sha256[:12]}, recipe {validation.recipe_sha256[:12]}."
    )


def _coverage_section(validation: Validation) -> Section:
    table = [
        f"{'':<13}{'level':>6} {'inside':>9} {'share':>6}  {'exact 95 % bounds':<18}{'ideal':>6}"
    ]
    for one in validation.coverage:
        part = one.result
        table.append(
            f"{one.group:<13}{_percent(part.level):>6} {part.count:>4} of{part.total:>3} "
            f"{_percent(part.share):>6}  {_bounds(part):<18}{_percent(one.nominal_mass):>6}"
        )
    verdicts = tuple(_verdict(one) for one in validation.coverage if one.group == "both")
    return Section(
        title="Coverage of the predictive intervals",
        before=(
            "Share of the observed counts inside the central predictive interval. 'Ideal' is what "
            "a perfect model would reach: more than the level, because counts are whole numbers "
            "and an interval cannot hold exactly 80 % of them.",
        ),
        table=tuple(table),
        after=verdicts,
    )


def _verdict(one: Coverage) -> str:
    part, level = one.result, _percent(one.result.level)
    if part.high < one.nominal_mass:
        words = "fewer than a well-calibrated model would hold: the ranges are too narrow"
    elif part.low > one.nominal_mass:
        words = "more than a well-calibrated model would hold: the ranges are wider than needed"
    else:
        words = "compatible with well-calibrated ranges; so few cohorts cannot say more"
    return f"At {level}: {part.count} of {part.total} counts inside, {words}."


def _cohorts_section(validation: Validation) -> Section:
    head = f"{'cohort':<21}{'outcome':<10}{'inf.':>4} {'n':>4} {'seen':>5} {'pred.':>6} "
    table = [f"{head}{'80 %':>9} {'95 %':>9} {'PIT':>5}"]
    ordered = sorted(validation.rows, key=lambda r: (not r.primary, r.outcome != "response"))
    for primary, title in ((True, ""), (False, "Time-course rows:")):
        if title and any(not row.primary for row in ordered):
            table.append(title)
        for row in ordered:
            if row.primary is not primary:
                continue
            narrow, wide = row.intervals
            table.append(
                f"{row.cohort_id:<21}{row.outcome:<10}{row.infusions:>4g} {row.n:>4} "
                f"{row.observed:>5} {row.n * row.expected_rate:>6.1f} "
                f"{_counts(narrow.low, narrow.high, covered=narrow.covered):>9} "
                f"{_counts(wide.low, wide.high, covered=wide.covered):>9} {row.pit:>5.2f}"
            )
    return Section(
        title="Every cohort, predicted from the others",
        before=(
            "inf.: infusions; seen and pred.: observed and expected events; 80 % and 95 %: "
            "predictive intervals of the count, marked * where the observed count lies outside; "
            "PIT: predictive probability below the observed count (half of its own included).",
        ),
        table=tuple(table),
        figure=(
            "validation-calibration.svg",
            "Observed and predicted rate of every left-out cohort with its count intervals",
        ),
    )


def _calibration_section(validation: Validation) -> Section:
    head = f"{'':<26}{'cohorts':>8} {'patients':>9} {'observed':>9} {'expected':>9}"
    table, after = [f"{head} {'O:E':>6}"], []
    for one in validation.calibration:
        names = ("lowest third", "middle third", "highest third", "all")
        for name, group in zip(names, (*one.groups, one.total), strict=True):
            table.append(
                f"{one.outcome + ', ' + name:<26}{group.cohorts:>8} {group.patients:>9} "
                f"{group.observed:>9} {group.expected:>9.1f} {group.observed / group.expected:>6.2f}"
            )
        low, high = one.slope_ci
        after.append(
            f"{one.outcome.capitalize()}: observed minus expected rate per cohort "
            f"{one.mean_difference:+.3f} (SE {one.mean_difference_se:.3f}), mean PIT "
            f"{one.mean_pit:.2f}, slope of observed on predicted logits {one.slope:.2f} "
            f"[{low:.2f}, {high:.2f}]."
        )
    after.append(
        "An O:E ratio of 1, a difference of 0, a mean PIT of 0.5 and a slope of 1 are ideal. The "
        "O:E ratios weigh patients, so one large cohort can move them; the differences weigh "
        "cohorts. A slope below 1 says that predictions spread more than the truth does."
    )
    return Section(
        title="Calibration",
        before=("Primary rows, in thirds of the predicted rate.",),
        table=tuple(table),
        after=tuple(after),
    )


def _score_section(validation: Validation) -> Section:
    table = [f"{'':<12}{'families':>9} {'mean':>7} {'SE':>6} {'total':>7} {'better in':>10}"]
    for one in validation.score_differences:
        table.append(
            f"{one.group:<12}{one.units:>9} {one.mean:>7.3f} {one.se:>6.3f} {one.total:>7.2f} "
            f"{one.better:>10}"
        )
    after = []
    for one in validation.score_differences[:1]:
        clear = abs(one.mean) > 2 * one.se
        side = "better" if one.mean > 0 else "worse"
        words = f"clearly {side}" if clear else f"{side}, but within two standard errors of no gain"
        after.append(
            f"Taking a family's counts together, the moderators predict {words}: "
            f"{one.mean:+.3f} (SE {one.se:.3f}) per family."
        )
    return Section(
        title="Log score against a model without moderators",
        before=(
            "Log predictive probability of the left-out primary counts, minus that of the same "
            "model with intercepts and between-cohort variances alone (no infusions, rater or "
            "failed trials). Above 0 favours the moderators. 'family' takes all primary counts of "
            "a family together.",
        ),
        table=tuple(table),
        after=tuple(after),
    )


def _single_section(validation: Validation) -> Section:
    head = f"{'':<38}{'cohorts':>8} {'n':>4} {'seen':>5} {'pred.':>6} {'O:E':>5}"
    table = [f"{head} {'PIT':>5}"]
    for one in validation.single_infusion:
        table.append(
            f"{one.group + ', ' + one.outcome:<38}{one.cohorts:>8} {one.patients:>4} "
            f"{one.observed:>5} {one.expected:>6.1f} {one.observed / one.expected:>5.2f} "
            f"{one.mean_pit:>5.2f}"
        )
    after = []
    for one in validation.single_infusion:
        side = "above" if one.observed > one.expected else "at or below"
        after.append(
            f"{one.group.capitalize()}, {one.outcome}: {one.observed} of {one.patients} observed "
            f"({_percent(one.observed / one.patients)}), {_percent(one.expected / one.patients)} "
            f"predicted: {side} the model; {one.above} of {one.cohorts} cohorts lie above."
        )
    return Section(
        title="After a single infusion",
        before=(
            "Trials of one infusion rate at its peak, about 24 hours later, and a course is rated "
            "before the next infusion or at its end. The model has one line for both.",
        ),
        table=tuple(table),
        after=tuple(after),
    )


def _published_section(validation: Validation) -> Section:
    table = [
        f"{'':<11}{'expected':>9} {'avg. 95 %':>11} {'new 80 %':>11} {'new 95 %':>11}  published"
    ]
    for one in validation.published:
        shown = "-"
        if one.published is not None:
            shown = f"{one.published:.2f}"
            if one.published_ci is not None:
                shown += f" [{one.published_ci[0]:.2f}, {one.published_ci[1]:.2f}]"
        table.append(
            f"{one.outcome:<11}{one.expected:>9.2f} {_pair(one.average_clinic_95):>11} "
            f"{_pair(one.new_clinic_80):>11} {_pair(one.new_clinic_95):>11}  {shown}"
        )
    source = next((one.source for one in validation.published if one.source), "no synthesis")
    return Section(
        title="Beside the published synthesis",
        before=(
            f"The model at 6 failed trials and 6 infusions, rater unknown, beside the pooled values "
            f"of {source}. Compare its confidence interval with the average clinic's: both say where "
            "the mean lies. The new-clinic range says where one clinic may lie.",
        ),
        table=tuple(table),
        after=(
            "The synthesis pools other studies too, esketamine and other routes among them, so "
            "agreement is reassuring rather than a proof.",
        ),
    )


def _sensitivity_section(validation: Validation) -> Section:
    table = [f"{'':<43}{'expected':>9} {'at':<12}{'bound':>6} at"]
    for one in validation.sensitivity:
        if one.expected_change is None or one.bound_change is None:
            continue
        first, second = one.expected_change, one.bound_change
        title = textwrap.wrap(one.title, 42)
        table.append(
            f"{title[0]:<43}{first.size:>9.3f} {_at(first):<12}{second.size:>6.3f} {_at(second)}"
        )
        table += [f"  {line}" for line in title[1:]]
    return Section(
        title="Sensitivity to priors, assumptions and rows",
        before=(
            "Largest absolute change, against the model itself, of an expected rate and of a bound "
            "of the new-clinic 80 % interval, over 2, 6 and 10 failed trials, all raters and both "
            "outcomes, at 6 infusions. 'at': outcome (resp, rem), rater (s self, c clinician, u "
            "unknown) and failed trials with the largest change.",
        ),
        table=tuple(table),
        figure=(
            "validation-sensitivity.svg",
            "Expected rate and new-clinic range under every variant",
        ),
    )


def _coefficients_section(validation: Validation) -> Section:
    names = list(validation.sensitivity[0].mean)
    table = []
    for start in range(0, len(names), 4):
        chosen = names[start : start + 4]
        if table:
            table.append("")
        table.append(f"{'':<28}" + "".join(f"{name:>13}" for name in chosen))
        for one in validation.sensitivity:
            cells = (f"{one.mean[name]:.2f} ({one.sd[name]:.2f})" for name in chosen)
            table.append(f"{one.name:<28}" + "".join(f"{cell:>13}" for cell in cells))
    return Section(
        title="Coefficients under every variant",
        before=("Posterior mean (SD).",),
        table=tuple(table),
    )


def _simulation_section(check: SimulationCheck | None) -> Section:
    title = "Simulation-based calibration"
    if check is None:
        return Section(title, ("Not run for these inputs; `ketacast validate` runs it.",), ())
    table = [f"{'':<7}{'chi2 p':>8} {'KS p':>7} {'mean':>6}   {'50 %':>5} {'80 %':>5} {'95 %':>5}"]
    for one in check.parameters:
        shares = " ".join(f"{_percent(part.share):>5}" for part in one.coverage)
        table.append(
            f"{one.name:<7}{one.chi_square_p:>8.3f} {one.ks_p:>7.3f} {one.mean_position:>6.3f}   {shares}"
        )
    tests = 2 * len(check.parameters)
    good = check.bonferroni_p >= ALARM
    words = "no sign that the ranks are not uniform" if good else "the ranks are NOT uniform"
    after = [
        f"{check.replicates} synthetic evidence sets (seed {check.seed}), {check.failures} failed "
        f"fits. Smallest of {tests} p-values {check.least_p:.4f}, times their number "
        f"{check.bonferroni_p:.2f}: {words}."
    ]
    after += [f"Failed: {message}" for message in check.failure_messages]
    return Section(
        title=title,
        before=(
            "Parameters were drawn from the prior, counts and the contrast simulated at the real "
            "design, and the posterior computed. If model and computation agree, the true value's "
            f"rank among the {check.draws} draws is uniform: tested by chi-square over {check.bins} "
            "bins and by Kolmogorov-Smirnov. 'mean' is the mean position (0.5 ideal); the last "
            "columns are the coverage of the central intervals. It checks the computation and "
            "says nothing on whether the model is true.",
        ),
        table=tuple(table),
        after=tuple(after),
        figure=(
            "validation-simulation.svg",
            "Distribution of the true values' positions, minus the uniform one",
        ),
    )


def _at(change: Change) -> str:
    outcome = {"response": "resp", "remission": "rem"}[change.outcome]
    return f"{outcome} {change.rater[0]} {change.failed_trials}"


def _counts(low: int, high: int, *, covered: bool) -> str:
    return f"{low}-{high}{' ' if covered else '*'}"


def _pair(limits: Sequence[float]) -> str:
    return f"{limits[0]:.2f}-{limits[1]:.2f}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _bounds(part: Proportion) -> str:
    return f"{100 * part.low:.0f} to {100 * part.high:.0f} %"


def _paragraph(text: str) -> list[str]:
    return [*textwrap.wrap(text, WIDTH), ""]
