"""Count failed antidepressant trials in the records of one patient.

Pure functions: the index date is given, nothing is read from clock, disk or net.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeAlias

from ketacast.errors import InputError
from ketacast.history.chains import find_episodes
from ketacast.history.choosing import count_drugs, final_reasons, judgement
from ketacast.history.dates import index_day, show_day, show_days
from ketacast.history.diagnoses import Diagnoses, flags_of, read_diagnoses
from ketacast.history.eras import build_courses, dose_summary
from ketacast.history.exposure import Exposure
from ketacast.history.judging import Judged, facts_of, judge
from ketacast.history.medications import Medications, read_medications
from ketacast.history.records import Chart, read_chart
from ketacast.history.reported import reported_treatments
from ketacast.history.result import (
    MOST_TRIALS,
    READINGS,
    CountRange,
    Era,
    HistoryCount,
    Reading,
    Unused,
)
from ketacast.history.rules import CountingRules
from ketacast.history.spans import touches, union

OwnCount: TypeAlias = "int | str | Sequence[int] | CountRange"

_OWN_TEXT: Final = re.compile(r"\s*(\d{1,4})\s*(?:(?:-|to|,|\.\.)\s*(\d{1,4})\s*)?", re.ASCII)


def count_failed_trials(
    resources: Mapping[str, Any] | Iterable[Any],
    *,
    as_of: date | str,
    rules: CountingRules | None = None,
    own_count: OwnCount | None = None,
    patient: str | None = None,
) -> HistoryCount:
    """Count failed antidepressant trials in FHIR R4 resources.

    Parameters
    ----------
    resources : mapping or iterable
        A Bundle, or a list of resources or Bundles, as parsed from JSON. Entries
        that are None (a prefetch without data) are passed over.
    as_of : date or str
        Index date: nothing later is read.
    rules : CountingRules, optional
        The rules; those of the package by default.
    own_count : int, (int, int) or str, optional
        The clinician's own count, or its range: it is used in place of the chart's.
    patient : str, optional
        Id of the patient: records of others are left out. Without it, records of
        several patients are refused.

    Returns
    -------
    HistoryCount

    Raises
    ------
    InputError
        If an argument is not usable. Faults of single records are listed in
        ``unread`` instead.

    Examples
    --------
    >>> order = {
    ...     "resourceType": "MedicationStatement", "id": "1", "status": "stopped",
    ...     "medicationCodeableConcept": {"text": "sertraline 100 mg tablet"},
    ...     "dosage": [{"text": "1 tablet daily"}],
    ...     "effectivePeriod": {"start": "2025-01-07", "end": "2025-06-30"},
    ... }
    >>> count_failed_trials([order], as_of="2025-08-01").current_episode
    CountRange(low=1, high=1)
    """
    day = index_day(as_of)
    used_rules = checked_rules(rules)
    own = own_range(own_count)
    chart = read_chart(resources, patient)
    found = read_medications(chart, day, used_rules)
    return count(chart, found, day, used_rules, own)


def checked_rules(rules: CountingRules | None) -> CountingRules:
    """Take the rules that were given, or those of the package."""
    if rules is None:
        return CountingRules()
    if not isinstance(rules, CountingRules):
        raise InputError(f"rules is {type(rules).__name__}; give CountingRules")
    return rules


def own_range(own_count: OwnCount | None) -> CountRange | None:
    """Check the clinician's own count.

    Raises
    ------
    InputError
        If it is no whole number or range from 0 to 20.
    """
    if own_count is None:
        return None
    ends: Sequence[Any]
    if isinstance(own_count, CountRange):
        ends = (own_count.low, own_count.high)
    elif isinstance(own_count, str):
        match = _OWN_TEXT.fullmatch(own_count)
        ends = () if match is None else (int(match[1]), int(match[2] or match[1]))
    elif isinstance(own_count, int):
        ends = (own_count, own_count)
    else:
        ends = tuple(own_count) if isinstance(own_count, (list, tuple)) else ()
    whole = all(isinstance(end, int) and not isinstance(end, bool) for end in ends)
    if len(ends) != 2 or not whole or not 0 <= ends[0] <= ends[1] <= MOST_TRIALS:
        raise InputError(
            f"own_count is {own_count!r}; give a whole number from 0 to {MOST_TRIALS}, or a range "
            "with the lowest first, as 4-6"
        )
    return CountRange(*ends)


def count(
    chart: Chart,
    found: Medications,
    as_of: int,
    rules: CountingRules,
    own: CountRange | None,
) -> HistoryCount:
    """Count from exposures, wherever they come from."""
    counted_kinds = ("antidepressant", "other")
    antidepressants = [e for e in found.exposures if e.product.drug.kind in counted_kinds]
    treated = union(
        (e.span.first, e.span.last) for e in antidepressants if e.product.drug.kind != "other"
    )
    if rules.augmentation == "count":
        antidepressants += _augmentation(found.exposures, treated)
    diagnoses = read_diagnoses(chart, as_of)
    judged = _judged(antidepressants, found, diagnoses, rules, as_of)
    counted = count_drugs(judged)
    ranges = {
        reading: [sum(entry[reading][scope] for entry in counted) for scope in (0, 1)]
        for reading in READINGS
    }
    eras = tuple(_era(entry, chosen) for entry, chosen in zip(judged, counted, strict=True))
    current = CountRange(ranges["strict"][0], ranges["lenient"][0])
    treated_now = any(entry.in_episode["lenient"] for entry in judged)
    flags = flags_of(
        chart,
        diagnoses,
        current if own is None else own,
        as_of=as_of,
        any_drug=any(e.product.drug.kind == "antidepressant" for e in found.exposures),
        recent_drug=treated_now,
        is_counted=treated_now or own is not None,
    )
    unread = tuple(sorted({*chart.unread, *found.unread}, key=_unused_order))
    return HistoryCount(
        as_of=show_day(as_of),
        current_episode=current,
        lifetime=CountRange(ranges["strict"][1], ranges["lenient"][1]),
        usual_current_episode=ranges["usual"][0],
        usual_lifetime=ranges["usual"][1],
        own_count=own,
        treated_now=treated_now,
        eras=eras,
        reported=reported_treatments(chart, found.exposures, treated, as_of),
        flags=flags,
        set_aside=tuple(sorted(set(found.set_aside), key=_unused_order)),
        unread=unread,
        rules=rules,
        notices=(
            *_notices(chart, judged, unread, current, own),
            *_not_recognised(found),
            *_forgotten(antidepressants, rules, as_of),
        ),
    )


def _unused_order(entry: Unused) -> tuple[str, str, str, str]:
    return entry.source, entry.code, entry.reason, entry.ingredient or ""


def _augmentation(
    exposures: Sequence[Exposure], treated: Sequence[tuple[int, int]]
) -> list[Exposure]:
    """Drugs beside an antidepressant, for rules that count augmentation."""
    return [
        e
        for e in exposures
        if e.product.drug.kind == "augmentation" and touches((e.span.first, e.span.last), treated)
    ]


def _judged(
    exposures: Sequence[Exposure],
    found: Medications,
    diagnoses: Diagnoses,
    rules: CountingRules,
    as_of: int,
) -> list[Judged]:
    courses = build_courses(exposures, rules, found.not_taken, as_of)
    facts = [facts_of(course, rules, as_of) for course in courses]
    episodes = find_episodes(courses, [fact.use for fact in facts], rules, as_of)
    return judge(courses, facts, episodes, rules, diagnoses.onset)


def _era(entry: Judged, counted: dict[Reading, tuple[bool, bool]]) -> Era:
    course = entry.course
    typical, highest = dose_summary(course)
    strict, usual, lenient = (judgement(entry, reading, counted) for reading in READINGS)
    start = min((e.span.start for e in course.exposures if e.span.start), default=None)
    ends = [e.span.end for e in course.exposures if e.span.last == course.last and e.span.end]
    return Era(
        ingredient=course.drug.name,
        start=show_days(start) if course.dated and start else None,
        end=(show_days(max(ends)) if ends and not entry.facts.ongoing else show_day(course.last))
        if course.dated
        else None,
        ongoing=entry.facts.ongoing,
        typical_mg=typical,
        highest_mg=highest,
        weeks=round(course.length / 7, 1),
        strict=strict,
        usual=usual,
        lenient=lenient,
        reasons=final_reasons(entry, counted),
        sources=tuple(sorted({e.source for e in course.exposures})),
    )


def _notices(
    chart: Chart,
    judged: Sequence[Judged],
    unread: Sequence[Unused],
    current: CountRange,
    own: CountRange | None,
) -> tuple[str, ...]:
    notices = []
    if own is not None:
        notices.append(f"the clinician's own count, {own}, is used; the chart shows {current}")
    if judged:
        notices.append(
            "records of prescriptions hold no outcome: a treatment that was stopped, switched or "
            "added to is read as failed"
        )
    if any(e.use == "" for entry in judged for e in entry.course.exposures):
        notices.append("treatments without a recorded reason are taken to be for depression")
    if unread:
        noun = "record" if len(unread) == 1 else "records"
        notices.append(f"{len(unread)} {noun} could not be read; the count may be too low")
    if chart.others:
        noun = "record" if chart.others == 1 else "records"
        notices.append(f"{chart.others} {noun} of other patients left out")
    return tuple(notices)


def _not_recognised(found: Medications) -> list[str]:
    """Say how many medications were taken for something else: a name may be misspelt."""
    if not found.others:
        return []
    noun = "medication is" if len(found.others) == 1 else "medications are"
    return [f"{len(found.others)} {noun} not recognised as antidepressants, by code or name"]


def _forgotten(exposures: Sequence[Exposure], rules: CountingRules, as_of: int) -> list[str]:
    """Say which orders are active in name only: they were not believed to go on."""
    latest: dict[str, Exposure] = {}
    for exposure in exposures:
        name = exposure.product.drug.name
        if name not in latest or exposure.span.first > latest[name].span.first:
            latest[name] = exposure
    old = sorted(
        name
        for name, exposure in latest.items()
        if exposure.in_force
        and exposure.span.open
        and exposure.span.first < as_of - rules.active_order_days
    )
    if not old:
        return []
    names, age = ", ".join(old), rules.active_order_days
    notice = f"orders of {names} are active but more than {age} days old; taken as forgotten"
    return [notice]
