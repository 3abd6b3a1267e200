"""The validation in words and tables: for a terminal and as docs/validation.md."""

from __future__ import annotations

import textwrap
from typing import Final

from ketacast.clinical import validation_prose as prose
from ketacast.clinical.proportions import Proportion
from ketacast.clinical.sensitivity import Change
from ketacast.clinical.simulation import SimulationCheck
from ketacast.clinical.validation import Validation
from ketacast.clinical.validation_course_text import further_sections
from ketacast.clinical.validation_section import Section, limits, percent, two_decimals
from ketacast.clinical.validation_summary import Coverage

WIDTH: Final = 80
ALARM: Final = 0.05
"""Bonferroni p-value below which the ranks are called not uniform."""


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
        *further_sections(validation.further),
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
    lines = textwrap.wrap(_heading(validation), WIDTH)
    for section in validation_sections(validation):
        lines += ["", section.title, *section.table]
        lines += [line for text in section.after for line in textwrap.wrap(text, WIDTH)]
    return lines


def validation_page(validation: Validation) -> str:
    """Markdown of docs/validation.md (made by ``ketacast validate``)."""
    lines = ["# Validation", "", "<!-- Written by `ketacast validate`; do not edit. -->", ""]
    lines += [*_paragraph(_heading(validation)), *_paragraph(prose.INTRODUCTION)]
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
    for text in prose.LIMITS:
        lines += textwrap.wrap(f"- {text}", WIDTH, subsequent_indent="  ")
    return "\n".join(lines) + "\n"


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
            f"{one.group:<13}{percent(part.level):>6} {part.count:>4} of{part.total:>3} "
            f"{percent(part.share):>6}  {_bounds(part):<18}{percent(one.nominal_mass):>6}"
        )
    verdicts = tuple(_verdict(one) for one in validation.coverage if one.group == "both")
    return Section(
        title="Coverage of the predictive intervals",
        before=(prose.COVERAGE,),
        table=tuple(table),
        after=verdicts,
    )


def _verdict(one: Coverage) -> str:
    part, level = one.result, percent(one.result.level)
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
        before=(prose.COHORTS,),
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
                f"{group.observed:>9} {group.expected:>9.1f} "
                f"{group.observed / group.expected:>6.2f}"
            )
        low, high = one.slope_ci
        after.append(
            f"{one.outcome.capitalize()}: observed minus expected rate per cohort "
            f"{one.mean_difference:+.3f} (SE {one.mean_difference_se:.3f}), mean PIT "
            f"{one.mean_pit:.2f}, slope of observed on predicted logits {one.slope:.2f} "
            f"[{low:.2f}, {high:.2f}]."
        )
    after.append(prose.CALIBRATION)
    return Section(
        title="Calibration",
        before=("Primary rows, in thirds of the predicted rate.",),
        table=tuple(table),
        after=tuple(after),
    )


def _score_section(validation: Validation) -> Section:
    table = [f"{'':<12}{'families':>9} {'mean':>7} {'SE':>6} {'total':>7} {'better in':>10}"]
    table += [
        f"{one.group:<12}{one.units:>9} {one.mean:>7.3f} {one.se:>6.3f} {one.total:>7.2f} "
        f"{one.better:>10}"
        for one in validation.score_differences
    ]
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
        before=(prose.SCORES,),
        table=tuple(table),
        after=tuple(after),
    )


def _single_section(validation: Validation) -> Section:
    head = f"{'':<38}{'cohorts':>8} {'n':>4} {'seen':>5} {'pred.':>6} {'O:E':>5}"
    table = [f"{head} {'PIT':>5}"]
    table += [
        f"{one.group + ', ' + one.outcome:<38}{one.cohorts:>8} {one.patients:>4} "
        f"{one.observed:>5} {one.expected:>6.1f} {one.observed / one.expected:>5.2f} "
        f"{one.mean_pit:>5.2f}"
        for one in validation.single_infusion
    ]
    after = []
    for one in validation.single_infusion:
        side = "above" if one.observed > one.expected else "at or below"
        after.append(
            f"{one.group.capitalize()}, {one.outcome}: {one.observed} of {one.patients} observed "
            f"({percent(one.observed / one.patients)}), {percent(one.expected / one.patients)} "
            f"predicted: {side} the model; {one.above} of {one.cohorts} cohorts lie above."
        )
    trials, courses = _response_ratios(validation)
    if trials is not None and courses is not None and trials > 1 > courses:
        after.append(
            "The model's figure after the first infusion lies between the two: too low for a "
            "rating at the peak (response "
            f"O:E {trials:.2f}), too high for a rating within a course (O:E {courses:.2f})."
        )
    return Section(
        title="After a single infusion",
        before=(prose.SINGLE,),
        table=tuple(table),
        after=tuple(after),
    )


def _response_ratios(validation: Validation) -> tuple[float | None, float | None]:
    ratios = {
        one.group: one.observed / one.expected
        for one in validation.single_infusion
        if one.outcome == "response"
    }
    return ratios.get("single-infusion trials"), ratios.get("first infusion of a course")


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
            f"{one.outcome:<11}{one.expected:>9.2f} {limits(one.average_clinic_95):>11} "
            f"{limits(one.new_clinic_80):>11} {limits(one.new_clinic_95):>11}  {shown}"
        )
    source = next((one.source for one in validation.published if one.source), "no synthesis")
    return Section(
        title="Beside the published synthesis",
        before=(
            (
                "The model at 6 failed trials and 6 infusions, rater unknown, beside the pooled "
                f"values of {source}."
            ),
        ),
        table=tuple(table),
        after=(prose.PUBLISHED,),
    )


def _sensitivity_section(validation: Validation) -> Section:
    table = [f"{'':<41}{'expected':>9} {'at':<10}{'bound':>7} at"]
    for one in validation.sensitivity:
        if one.expected_change is None or one.bound_change is None:
            continue
        first, second = one.expected_change, one.bound_change
        title = textwrap.wrap(one.title, 40)
        table.append(
            f"{title[0]:<41}{first.size:>9.3f} {_at(first):<10}{second.size:>7.3f} {_at(second)}"
        )
        table += [f"  {line}" for line in title[1:]]
    return Section(
        title="Sensitivity to priors, assumptions and rows",
        before=(prose.SENSITIVITY,),
        table=tuple(table),
        figure=(
            "validation-sensitivity.svg",
            "Expected rate and new-clinic range under every variant",
        ),
    )


def _coefficients_section(validation: Validation) -> Section:
    names = list(validation.sensitivity[0].mean)
    table: list[str] = []
    for start in range(0, len(names), 4):
        chosen = names[start : start + 4]
        if table:
            table.append("")
        table.append(f"{'':<28}" + "".join(f"{name:>13}" for name in chosen))
        for one in validation.sensitivity:
            cells = (
                f"{two_decimals(one.mean[name])} ({two_decimals(one.sd[name])})" for name in chosen
            )
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
        shares = " ".join(f"{percent(part.share):>5}" for part in one.coverage)
        table.append(
            f"{one.name:<7}{one.chi_square_p:>8.3f} {one.ks_p:>7.3f} {one.mean_position:>6.3f}   "
            f"{shares}"
        )
    tests = 2 * len(check.parameters)
    good = check.bonferroni_p >= ALARM
    words = "no sign that the ranks are not uniform" if good else "the ranks are NOT uniform"
    after = [
        (
            f"{check.replicates} synthetic evidence sets (seed {check.seed}), {check.failures} "
            f"failed fits. Smallest of {tests} p-values {check.least_p:.4f}, times their number "
            f"{check.bonferroni_p:.2f}: {words}."
        )
    ]
    after += [f"A failed fit says: {message}." for message in check.failure_messages[:1]]
    return Section(
        title=title,
        before=(prose.SIMULATION.format(bins=check.bins),),
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


def _bounds(part: Proportion) -> str:
    return f"{100 * part.low:.0f} to {100 * part.high:.0f} %"


def _paragraph(text: str) -> list[str]:
    return [*textwrap.wrap(text, WIDTH), ""]
