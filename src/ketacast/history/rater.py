"""Who rates the depression scale, from the scores in a chart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from ketacast.history.dates import days_of, index_day, show_day
from ketacast.history.fhir import Resource, codings, mapping, text, words
from ketacast.history.records import Chart, read_chart
from ketacast.options import Rater

_LOINC: Final = "http://loinc.org"
_SNOMED: Final = "http://snomed.info/sct"
_CODES: Final[dict[tuple[str, str], tuple[str, Rater]]] = {
    (_LOINC, "44261-6"): ("PHQ-9", "self"),
    (_LOINC, "44249-1"): ("PHQ-9", "self"),
    (_SNOMED, "720433000"): ("PHQ-9", "self"),
}
#: Scales by name; the self-rated variants stand before the clinician's.
_NAMES: Final[tuple[tuple[re.Pattern[str], str, Rater], ...]] = tuple(
    (re.compile(pattern), scale, rater)  # type: ignore[misc]  # raters of the list below
    for pattern, scale, rater in (
        (r"madrs-?s\b|madrs.{0,20}self", "MADRS-S", "self"),
        (r"\bq?ids-?sr|inventory of depressive symptom.{0,40}self", "QIDS-SR", "self"),
        (r"\bq?ids-?c|inventory of depressive symptom.{0,40}clinician", "QIDS-C", "clinician"),
        (r"madrs|montgomery", "MADRS", "clinician"),
        (r"\bhamd|ham-d|\bhdrs|\bhrsd|hamilton.{0,20}depress", "HAM-D", "clinician"),
        (r"\bphq-?9\b|patient health questionnaire.{0,3}9", "PHQ-9", "self"),
        (r"\bbdi\b|\bbdi-|beck depression", "BDI", "self"),
    )
)
_DONE: Final = frozenset({"final", "amended", "corrected", "preliminary"})
#: An older score says little on how the coming course will be rated.
LONGEST_AGE_DAYS: Final = 365


@dataclass(frozen=True, slots=True)
class ChartRater:
    """Who rates, and why that is thought.

    Attributes
    ----------
    rater : {"self", "clinician", "unknown"}
        For :func:`ketacast.predict`.
    reason : str
        In words.
    sources : tuple of str
        The scores it rests on.
    """

    rater: Rater
    reason: str
    sources: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the rater as JSON-ready values."""
        return {"rater": self.rater, "reason": self.reason, "sources": list(self.sources)}


def rater_from_chart(
    resources: Mapping[str, Any] | Iterable[Any], *, as_of: date | str, patient: str | None = None
) -> ChartRater:
    """Tell from the latest depression score who rates the scale.

    Parameters
    ----------
    resources, as_of, patient
        As for :func:`ketacast.history.count_failed_trials`.

    Returns
    -------
    ChartRater
        ``unknown`` if there is no score of a known scale, the latest is more than a
        year old, or scores of the same day differ in who rates.

    Raises
    ------
    InputError
        If an argument is not usable.
    """
    return _latest(read_chart(resources, patient), index_day(as_of))


def _latest(chart: Chart, as_of: int) -> ChartRater:
    scores: list[tuple[int, str, Rater, str]] = []
    for source, observation in chart.of("Observation"):
        known = _scale(observation)
        if known is None or text(observation.get("status")) not in _DONE:
            continue
        period = mapping(observation.get("effectivePeriod"))
        days = days_of(observation.get("effectiveDateTime")) or days_of(period.get("start"))
        if days is not None and days.first <= as_of:
            scores.append((min(days.last, as_of), *known, source))
    if not scores:
        return ChartRater("unknown", "no score of a known depression scale is in the chart")
    day = max(score[0] for score in scores)
    latest = sorted(score for score in scores if score[0] == day)
    scales = " and ".join(sorted({scale for _, scale, _, _ in latest}))
    month = show_day(day)[:7]
    sources = tuple(source for *_, source in latest)
    if as_of - day > LONGEST_AGE_DAYS:
        reason = f"the latest score ({scales}, {month}) is more than a year old"
        return ChartRater("unknown", reason, sources)
    raters: set[Rater] = {rater for _, _, rater, _ in latest}
    if len(raters) > 1:
        return ChartRater(
            "unknown", f"the latest scores ({scales}, {month}) differ in rater", sources
        )
    rater = raters.pop()
    return ChartRater(rater, f"the latest score is {scales} ({month}), {rater}-rated", sources)


def _scale(observation: Resource) -> tuple[str, Rater] | None:
    code = observation.get("code")
    for system, value, _ in codings(code):
        if (system, value) in _CODES:
            return _CODES[system, value]
    for part in words(code):
        lowered = part[:200].lower()
        for pattern, scale, rater in _NAMES:
            if pattern.search(lowered):
                return scale, rater
    return None
