"""The numbers of a card: one name per figure, read from the model's files.

``{name}`` in ``card.yaml`` stands for the figure of that name, so that a rebuilt
model changes the card and nobody types a result.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ketacast.card.sources import Sources
from ketacast.errors import ArtifactError
from ketacast.evidence.records import Cohort, OutcomeCount

Figure = Callable[[Sources], str]

_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def fill(text: str, values: Mapping[str, str], where: str) -> str:
    """Put the figures into a text.

    Parameters
    ----------
    text : str
        With ``{name}`` where a figure stands.
    values : mapping of str to str
        Figures by name.
    where : str
        Place in the card, for the message.

    Returns
    -------
    str

    Raises
    ------
    ArtifactError
        If a name is unknown, a brace is left over, the text is blank or holds a
        control character (XML cannot carry one).
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in values:
            near = difflib.get_close_matches(name, values, 1) or ["a name of ketacast.card.figures"]
            raise ArtifactError(f"{where}: no figure is named {name!r}; use {near[0]}")
        return values[name]

    filled = " ".join(_PLACE.sub(value, text).split())
    if "{" in filled or "}" in filled:
        raise ArtifactError(f"{where}: {text!r} has a brace without its partner; remove it")
    if not filled:
        raise ArtifactError(f"{where} is blank; give a text, or `not_available` with the reason")
    if _CONTROL.search(filled):
        raise ArtifactError(f"{where}: {filled!r} holds a control character; remove it")
    return filled


def figures(sources: Sources) -> dict[str, str]:
    """Read every figure that a card may quote.

    Parameters
    ----------
    sources : Sources
        Files of the model.

    Returns
    -------
    dict of str to str
        Text by name.

    Raises
    ------
    ArtifactError
        If a file lacks an entry.
    """
    values = {}
    for name, figure in FIGURES.items():
        try:
            values[name] = figure(sources)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{sources.directory}: the files hold nothing for the figure {name!r} "
                f"({error!r}); run `ketacast fit` and `ketacast validate` again"
            ) from error
    return values


def coverage(sources: Sources, group: str, level: float) -> Mapping[str, Any]:
    """Return the coverage of one group of left-out counts at one level."""
    for entry in sources.validation["coverage"]:
        if entry["group"] == group and entry["result"]["level"] == level:
            found: Mapping[str, Any] = entry
            return found
    raise KeyError((group, level))


def percent(share: float) -> str:
    """Return a share as a whole percentage without its sign."""
    return f"{100.0 * share:.0f}"


def span(limits: Sequence[float], form: str = "g") -> str:
    """Return two limits in words."""
    return f"{limits[0]:{form}} to {limits[1]:{form}}"


def _named(entries: Iterable[Mapping[str, Any]], **wanted: str) -> Mapping[str, Any]:
    for entry in entries:
        if all(entry[key] == value for key, value in wanted.items()):
            return entry
    raise KeyError(tuple(wanted.values()))


def _inside(sources: Sources, level: float) -> str:
    result = coverage(sources, "both", level)["result"]
    return f"{result['count']} of {result['total']}"


def _share(sources: Sources, level: float) -> str:
    result = coverage(sources, "both", level)["result"]
    return percent(result["count"] / result["total"])


def _bound(sources: Sources, level: float, side: str) -> str:
    return percent(coverage(sources, "both", level)["result"][side])


def _calibration(sources: Sources, outcome: str) -> Mapping[str, Any]:
    return _named(sources.validation["calibration"], outcome=outcome)


def _slope(sources: Sources, outcome: str) -> str:
    entry = _calibration(sources, outcome)
    return f"{entry['slope']:.2f} ({span(entry['slope_ci'], '.2f')})"


def _ratio(entry: Mapping[str, Any]) -> str:
    return f"{entry['observed'] / entry['expected']:.2f}"


def _single(sources: Sources, group: str) -> str:
    return _ratio(_named(sources.validation["single_infusion"], group=group, outcome="response"))


def _coefficient(sources: Sources, name: str) -> Mapping[str, Any]:
    return _named(sources.artifact.content["coefficients"], name=name)


def _mean_sd(sources: Sources, name: str) -> str:
    entry = _coefficient(sources, name)
    mean = round(entry["mean"], 2) + 0.0  # no minus before zero
    return f"{mean:.2f} (SD {entry['sd']:.2f})"


def _largest(sources: Sources, change: str) -> str:
    sizes = [entry[change]["size"] for entry in sources.validation["sensitivity"] if entry[change]]
    return percent(max(sizes))


def _primary(sources: Sources) -> tuple[Cohort, ...]:
    return sources.evidence.primary_cohorts()


def _count(sources: Sources, holds: Callable[[Cohort], object]) -> str:
    return str(sum(1 for cohort in _primary(sources) if holds(cohort)))


def _rows(sources: Sources, use: str = "primary") -> list[OutcomeCount]:
    return [row for row in sources.evidence.outcomes if row.model_use == use]


def _row_count(sources: Sources, holds: Callable[[OutcomeCount], object]) -> str:
    return str(sum(1 for row in _rows(sources) if holds(row)))


def _trials_range(sources: Sources) -> str:
    means = [c.failed_trials_mean for c in _primary(sources) if c.failed_trials_mean is not None]
    return span((min(means), max(means)), ".1f")


def _countries(sources: Sources) -> str:
    names = {name.strip() for cohort in _primary(sources) for name in cohort.country.split(";")}
    return ", ".join(sorted(names - {""}))


def _years(sources: Sources) -> str:
    years = [cohort.year for cohort in _primary(sources) if cohort.year is not None]
    return span((min(years), max(years)))


def _contrast_row(sources: Sources) -> tuple[float, float]:
    (use,) = sources.recipe.contrasts
    row = next(row for row in sources.evidence.contrasts if row.contrast_id == use.id)
    if row.log_or is None or row.se is None:
        raise ValueError(f"contrast {use.id} has no log odds ratio")
    return row.log_or, row.se


FIGURES: Final[Mapping[str, Figure]] = {
    "model_name": lambda s: s.artifact.name,
    "model_version": lambda s: s.artifact.version,
    "model_title": lambda s: str(s.artifact.content["model"]["title"]),
    "model_hash": lambda s: s.artifact.sha256[:12],
    "code_version": lambda s: str(s.artifact.content["model"]["code_version"]),
    "evidence_hash": lambda s: s.evidence.sha256[:12],
    "cohorts": lambda s: str(s.artifact.content["evidence"]["cohorts"]),
    "patients": lambda s: f"{s.artifact.content['evidence']['patients']:,}",
    "likelihood_rows": lambda s: str(s.artifact.content["evidence"]["rows"]),
    "draws": lambda s: f"{s.artifact.content['draws']['count']:,}",
    "quantile_error": lambda s: f"{s.artifact.content['draws']['quantile_error']:.3f}",
    "effective_fraction": lambda s: (
        f"{s.artifact.content['diagnostics']['effective_fraction']:.2f}"
    ),
    "plateau": lambda s: str(s.artifact.content["coding"]["plateau_infusions"]),
    "reference_trials": lambda s: f"{s.artifact.content['coding']['reference_failed_trials']:g}",
    "reference_infusions": lambda s: f"{s.artifact.content['coding']['reference_infusions']:g}",
    "trials_supported": lambda s: span(s.artifact.content["support"]["failed_trials"]),
    "trials_answered": lambda s: span(s.artifact.content["support"]["failed_trials_answered"]),
    "infusions_supported": lambda s: span(s.artifact.content["support"]["infusions"]),
    "infusions_answered": lambda s: span(s.artifact.content["support"]["infusions_answered"]),
    "rater_response": lambda s: _mean_sd(s, "h_R"),
    "trials_response": lambda s: _mean_sd(s, "g_R"),
    "trials_remission": lambda s: _mean_sd(s, "g_M"),
    "contrast_gap": lambda s: f"{s.recipe.contrasts[0].gap:g}",
    "contrast_omega": lambda s: f"{s.recipe.contrasts[0].omega:.2f}",
    "contrast_log_or": lambda s: f"{_contrast_row(s)[0]:.3f}",
    "contrast_se": lambda s: f"{_contrast_row(s)[1]:.3f}",
    "cohorts_in_tables": lambda s: str(len(s.evidence.cohorts)),
    "cohorts_left_out": lambda s: str(len(s.evidence.cohorts) - len(_primary(s))),
    "primary_rows": lambda s: str(len(_rows(s))),
    "response_rows": lambda s: _row_count(s, lambda row: row.outcome == "response"),
    "remission_rows": lambda s: _row_count(s, lambda row: row.outcome == "remission"),
    "time_course_rows": lambda s: str(len(_rows(s, "time_course"))),
    "self_rows": lambda s: _row_count(s, lambda row: row.scorer == "self"),
    "clinician_rows": lambda s: _row_count(s, lambda row: row.scorer == "clinician"),
    "unclear_rows": lambda s: _row_count(s, lambda row: row.scorer == "unclear"),
    "itt_rows": lambda s: _row_count(s, lambda row: row.analysis == "itt"),
    "completer_rows": lambda s: _row_count(s, lambda row: row.analysis == "completer"),
    "abstract_rows": lambda s: _row_count(s, lambda row: row.locator == "abstract"),
    "assumed_rows": lambda s: _row_count(s, lambda row: row.denominator_basis == "assumed"),
    "derived_rows": lambda s: _row_count(s, lambda row: row.events_basis == "derived"),
    "trial_cohorts": lambda s: _count(s, lambda c: c.setting == "trial"),
    "real_world_cohorts": lambda s: _count(s, lambda c: c.setting == "real_world"),
    "unipolar_cohorts": lambda s: _count(s, lambda c: c.population == "trd_unipolar"),
    "bipolar_cohorts": lambda s: _count(s, lambda c: c.population == "trd_bipolar"),
    "mixed_cohorts": lambda s: _count(s, lambda c: c.population == "trd_mixed"),
    "cohorts_with_trials": lambda s: _count(s, lambda c: c.failed_trials_mean is not None),
    "trials_range": _trials_range,
    "cohorts_with_age": lambda s: _count(s, lambda c: c.age_mean is not None),
    "cohorts_with_women": lambda s: _count(s, lambda c: c.female_pct is not None),
    "cohorts_without_doi": lambda s: _count(s, lambda c: not c.doi),
    "cohorts_without_identifier": lambda s: _count(s, lambda c: not c.source),
    "overlap_unknown": lambda s: _count(s, lambda c: c.in_alnefeesi2022 == "unknown"),
    "countries": _countries,
    "years": _years,
    "inside_80": lambda s: _inside(s, 0.8),
    "inside_95": lambda s: _inside(s, 0.95),
    "share_80": lambda s: _share(s, 0.8),
    "share_95": lambda s: _share(s, 0.95),
    "low_80": lambda s: _bound(s, 0.8, "low"),
    "high_80": lambda s: _bound(s, 0.8, "high"),
    "low_95": lambda s: _bound(s, 0.95, "low"),
    "high_95": lambda s: _bound(s, 0.95, "high"),
    "ideal_80": lambda s: percent(coverage(s, "both", 0.8)["nominal_mass"]),
    "ideal_95": lambda s: percent(coverage(s, "both", 0.95)["nominal_mass"]),
    "ratio_response": lambda s: _ratio(_calibration(s, "response")["total"]),
    "ratio_remission": lambda s: _ratio(_calibration(s, "remission")["total"]),
    "slope_response": lambda s: _slope(s, "response"),
    "slope_remission": lambda s: _slope(s, "remission"),
    "score_gain": lambda s: (
        f"{_named(s.validation['score_differences'], group='family')['mean']:+.2f}"
    ),
    "score_gain_se": lambda s: (
        f"{_named(s.validation['score_differences'], group='family')['se']:.2f}"
    ),
    "single_trial_ratio": lambda s: _single(s, "single-infusion trials"),
    "first_infusion_ratio": lambda s: _single(s, "first infusion of a course"),
    "expected_change": lambda s: _largest(s, "expected_change"),
    "bound_change": lambda s: _largest(s, "bound_change"),
    "variants": lambda s: str(
        sum(1 for entry in s.validation["sensitivity"] if entry["expected_change"])
    ),
    "replicates": lambda s: str(s.validation["simulation"]["replicates"]),
    "failed_fits": lambda s: str(s.validation["simulation"]["failures"]),
    "simulation_p": lambda s: f"{s.validation['simulation']['bonferroni_p']:.2f}",
}
