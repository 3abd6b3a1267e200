"""Is a course an adequate failed trial, in each reading, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ketacast.history.chains import Episodes
from ketacast.history.concepts import Diagnosis, Outcome
from ketacast.history.eras import Course
from ketacast.history.reasons import Facts, shortfall, why_not_strict, why_strict
from ketacast.history.result import READINGS, Reading, Reason, Verdict
from ketacast.history.rules import CountingRules
from ketacast.history.spans import longest, until

#: A week is counted as done on its last day; supplies are in whole days.
DAYS_IN_WEEK = 7


class Candidate(NamedTuple):
    """What a reading says of one course on its own, before drugs are counted once."""

    verdict: Verdict
    is_trial: bool


@dataclass(slots=True)
class Judged:
    """A course with its facts and readings.

    Attributes
    ----------
    course : Course
        The treatment.
    facts : Facts
        What its records say besides dose and time.
    readings : dict
        Whether it is an adequate failed trial, by reading.
    in_episode : dict
        Whether it belongs to the current episode, by reading.
    reasons : list of Reason
        Why, the decisive one first.
    """

    course: Course
    facts: Facts
    readings: dict[Reading, Candidate]
    in_episode: dict[Reading, bool]
    reasons: list[Reason] = field(default_factory=list)


def facts_of(course: Course, rules: CountingRules, as_of: int) -> Facts:
    """Collect what the records of a course say on use, outcome and whether it goes on."""
    stated = {exposure.use for exposure in course.exposures if exposure.use}
    use: Diagnosis = next((kind for kind in _USE_ORDER if kind in stated), "")
    labels = sorted({e.use_label for e in course.exposures if e.use == use and e.use_label})
    at_end = [e for e in course.exposures if e.span.last >= course.last - rules.join_gap_days]
    outcome = _last_outcome(course)
    running = course.dated and any(
        not e.span.ended and e.span.last >= as_of - rules.join_gap_days for e in at_end
    )
    return Facts(
        use=use,
        use_label=", ".join(labels[:2]),
        outcome=outcome,
        ongoing=running and outcome in ("", "partial", "failure"),
        as_needed=all(e.as_needed for e in course.exposures),
    )


_USE_ORDER: tuple[Diagnosis, ...] = ("depression", "mental", "other")
_OUTCOME_ORDER: tuple[Outcome, ...] = (
    "failure",
    "partial",
    "intolerance",
    "unrelated",
    "success",
)


def _last_outcome(course: Course) -> Outcome:
    """Outcome of the records that end last; of several, the one that speaks for failure."""
    stated = [e for e in course.exposures if e.outcome]
    if not stated:
        return ""
    latest = max(e.span.last for e in stated)
    last_stated = [e for e in stated if e.span.last == latest]
    begun = max(e.span.first for e in last_stated)
    kinds_of_record = {e.kind for e in last_stated}
    end_is_open = all(e.span.open for e in last_stated)
    for e in course.exposures:
        # It was taken up again after that, or went on by a later order or statement.
        goes_on = e.span.first > begun and e.kind in kinds_of_record and not e.outcome
        if e.span.first > latest or (goes_on and (end_is_open or e.span.last > latest)):
            return ""
    kinds = {e.outcome for e in stated if e.span.last == latest}
    return next(kind for kind in _OUTCOME_ORDER if kind in kinds)


def judge(
    courses: Sequence[Course],
    facts: Sequence[Facts],
    episodes: Episodes,
    rules: CountingRules,
    onset: int | None,
) -> list[Judged]:
    """Judge every course in every reading.

    Parameters
    ----------
    courses, facts : sequences
        The treatments and what their records say.
    episodes : Episodes
        Current episode and successors.
    rules : CountingRules
        The rules.
    onset : int or None
        Day of onset of the depression that is active, if the chart has one.
    """
    judged = []
    for place, (course, fact) in enumerate(zip(courses, facts, strict=True)):
        in_episode = {
            reading: _in_current(course, episodes.starts[reading], reading, onset)
            for reading in READINGS
        }
        closed = course.dated and not in_episode["lenient"]
        is_open = fact.ongoing or (closed and place not in episodes.followed)
        added = _addition(place, courses, facts, rules, is_open=is_open)
        known = fact._replace(
            followed_by=episodes.followed.get(place, ""),
            closed=closed,
            added=added["strict"] or added["usual"],
            before_onset=not in_episode["strict"]
            and _in_current(course, episodes.starts["strict"], "strict", None),
        )
        readings = {
            reading: _candidate(course, known, reading, rules, added=bool(added[reading]))
            for reading in READINGS
        }
        entry = Judged(course, known, readings, in_episode)
        entry.reasons = _reasons(entry, rules)
        judged.append(entry)
    return judged


def _in_current(course: Course, start: int | None, reading: Reading, onset: int | None) -> bool:
    if not course.dated:
        return reading == "lenient"
    if start is None:
        return False
    if reading == "lenient":
        return course.outer_last >= start
    begin = start if onset is None else max(start, onset)
    return any(last >= begin for _, last in course.sure)


def _addition(
    place: int,
    courses: Sequence[Course],
    facts: Sequence[Facts],
    rules: CountingRules,
    *,
    is_open: bool,
) -> dict[Reading, str]:
    """Name the antidepressant that was added once this one had been taken long enough.

    It is asked for where nothing else says that the course failed (`is_open`).
    """
    added: dict[Reading, str] = dict.fromkeys(READINGS, "")
    course = courses[place]
    if not rules.addition_is_failure or not course.dated or not is_open:
        return added
    later = [
        other
        for other, fact in zip(courses, facts, strict=True)
        if other.dated
        and course.first < other.first <= course.last
        and other.drug.name != course.drug.name
        and fact.use not in ("other", "mental")
    ]
    for reading in ("strict", "usual"):
        needed = weeks_of(rules, reading) * DAYS_IN_WEEK
        for other in later:
            days = other.coverage[reading].days
            if not days:
                continue
            before = until(course.coverage[reading].days, days[0][0])
            if longest(before, rules.join_gap_days, with_gaps=False) >= needed:
                added[reading] = min(filter(None, (added[reading], other.drug.name)))
    # What the strict reading takes as failed, the usual one does too.
    added["usual"] = added["usual"] or added["strict"]
    return added


def weeks_of(rules: CountingRules, reading: Reading) -> int:
    """Weeks that a reading asks for."""
    return {
        "strict": rules.strict_weeks,
        "usual": rules.usual_weeks,
        "lenient": rules.lenient_weeks,
    }[reading]


def _candidate(
    course: Course, facts: Facts, reading: Reading, rules: CountingRules, *, added: bool
) -> Candidate:
    enough = course.coverage[reading].longest >= weeks_of(rules, reading) * DAYS_IN_WEEK
    verdict = _verdict(course, reading, enough=enough)
    if not enough or facts.outcome == "success" or _is_other_form(course):
        return Candidate(verdict, is_trial=False)
    if facts.use == "other" and (rules.other_indication == "exclude" or reading != "lenient"):
        return Candidate(verdict, is_trial=False)
    if reading == "lenient":
        return Candidate(verdict, is_trial=True)
    doubtful = (
        facts.use == "mental"
        or facts.outcome in ("intolerance", "partial", "unrelated")
        or (facts.ongoing and not added and facts.outcome != "failure")
        or (facts.closed and not facts.followed_by and not added and facts.outcome != "failure")
    )
    return Candidate(verdict, is_trial=not doubtful)


def _is_other_form(course: Course) -> bool:
    return all(e.product.use == "Parkinson's disease" for e in course.exposures)


def _verdict(course: Course, reading: Reading, *, enough: bool) -> Verdict:
    """Adequate or not for certain, or unknown because dose or time is not recorded."""
    unknown_dose = course.minimum[0] is None or any(
        e.dose.basis in ("unknown", "assumed") for e in course.exposures
    )
    unknown_time = any(e.span.open for e in course.exposures)
    if reading == "lenient":
        if not enough:
            return "inadequate"
        return "unknown" if unknown_dose and not course.coverage["usual"].days else "adequate"
    if enough:
        return "adequate"
    may_be = course.coverage["lenient"].longest > 0
    return "unknown" if may_be and (unknown_dose or unknown_time) else "inadequate"


def _reasons(entry: Judged, rules: CountingRules) -> list[Reason]:
    course, facts = entry.course, entry.facts
    if not entry.readings["lenient"].is_trial:
        return [shortfall(course, facts, rules)]
    if not entry.readings["strict"].is_trial:
        return why_not_strict(course, facts, rules)
    return [why_strict(course, facts)]
