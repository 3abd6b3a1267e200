"""Reasons in plain words, each with a stable code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from ketacast.history.concepts import Diagnosis, Outcome
from ketacast.history.drugs import LOW_DOSE_USES
from ketacast.history.eras import Course, dose_summary
from ketacast.history.result import Reason
from ketacast.history.rules import CountingRules
from ketacast.history.spans import covered


class Facts(NamedTuple):
    """What the records of a course say besides dose and time.

    Attributes
    ----------
    use : str
        What it was recorded for: depression, mental (another disorder for which
        antidepressants are given), other, or nothing.
    use_label : str
        In the record's words.
    outcome : str
        Recorded outcome, if any.
    ongoing : bool
        It may be going on at the index date.
    as_needed : bool
        It was to be taken as needed.
    followed_by : str
        Next antidepressant of the episode.
    closed : bool
        It belongs to an episode that is over.
    added : str
        Antidepressant that was added to it.
    before_onset : bool
        It ended before the recorded onset of the current episode.
    """

    use: Diagnosis = ""
    use_label: str = ""
    outcome: Outcome = ""
    ongoing: bool = False
    as_needed: bool = False
    followed_by: str = ""
    closed: bool = False
    added: str = ""
    before_onset: bool = False


def weeks(days: int) -> str:
    """Write days as weeks."""
    return f"{days / 7:.0f} weeks" if days % 7 == 0 else f"{days / 7:.1f} weeks"


def _mg(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g} mg"


def why_strict(course: Course, facts: Facts) -> Reason:
    """Say why a course counts in the strict reading too."""
    long = weeks(course.coverage["strict"].longest)
    start = f"{long} at an adequate dose"
    if facts.outcome == "failure":
        return Reason("recorded_failure", f"{start}; the record says that it failed")
    if facts.added and not facts.followed_by:
        return Reason("augmented", f"{start} before {facts.added} was added, read as failure")
    if facts.followed_by:
        return Reason("switched", f"{start}, then {facts.followed_by}; a switch is read as failure")
    return Reason("stopped", f"{start}, then stopped, with no outcome recorded; read as failure")


def shortfall(course: Course, facts: Facts, rules: CountingRules) -> Reason:
    """Say why a course counts in no reading."""
    excluded = _exclusion(course, facts, rules)
    if excluded is not None:
        return excluded
    if course.length < rules.early_stop_days:
        return _early(course, facts)
    if not course.coverage["lenient"].days:
        return _too_low(course)
    if course.length < 7 * rules.lenient_weeks and facts.outcome == "intolerance":
        return Reason("intolerance", f"stopped for intolerance, after {weeks(course.length)}")
    if course.length < 7 * rules.lenient_weeks:
        long = f"{weeks(course.length)}{' so far' if facts.ongoing else ''}"
        return Reason("too_short", f"{long}, below {rules.lenient_weeks} weeks")
    long = f"{weeks(course.coverage['lenient'].longest)} at {_mg(course.minimum[0])} or more"
    return Reason("too_short_at_dose", f"{long}, below {rules.lenient_weeks} weeks")


def _exclusion(course: Course, facts: Facts, rules: CountingRules) -> Reason | None:
    if any(e.product.use == "Parkinson's disease" for e in course.exposures):
        return Reason("other_form", "this form is for Parkinson's disease, not for depression")
    if facts.use == "other" and rules.other_indication == "exclude":
        label = facts.use_label or "another condition"
        return Reason("other_indication", f"recorded for {label}, not for depression")
    if facts.outcome == "success":
        return Reason("worked", "the record says that it worked")
    return None


def _early(course: Course, facts: Facts) -> Reason:
    if facts.ongoing:
        return Reason("just_begun", f"begun {course.length} days before the index date")
    if facts.outcome == "intolerance":
        return Reason("intolerance", f"stopped for intolerance, after {course.length} days")
    return Reason("stopped_early", f"stopped early, after {course.length} days")


def _too_low(course: Course) -> Reason:
    highest = dose_summary(course)[1]
    shown = "the recorded dose is" if highest is None else f"{highest:g} mg a day at most,"
    also = "; such doses are common for sleep or pain" if course.drug.name in LOW_DOSE_USES else ""
    return Reason("dose_too_low", f"{shown} below {_mg(course.minimum[0])}{also}")


def why_not_strict(course: Course, facts: Facts, rules: CountingRules) -> list[Reason]:
    """Say why a course counts in the lenient reading but not in the strict one."""
    found = [*_about_outcome(facts), *_about_dose_and_time(course, facts, rules)]
    return found or [Reason("doubtful", "not proven by the record")]


def _about_outcome(facts: Facts) -> Iterator[Reason]:
    if facts.use == "other":
        label = facts.use_label or "another condition"
        yield Reason("other_indication", f"recorded for {label}, not for depression")
    if facts.outcome == "intolerance":
        yield Reason("intolerance", "stopped for intolerance, though taken long enough")
    if facts.outcome == "partial":
        yield Reason("partial_response", "the record says that it helped in part")
    if facts.outcome == "unrelated":
        yield Reason("stopped_otherwise", "stopped for another reason than its effect")
    if facts.use == "mental":
        yield Reason("other_disorder", f"recorded for {facts.use_label or 'another disorder'}, "
                     "not for depression")  # fmt: skip
    if facts.ongoing and facts.outcome != "failure" and not facts.added:
        yield Reason(
            "ongoing", "may go on at the index date: whether it has failed is not recorded"
        )
    at_the_end = facts.closed and not facts.followed_by and not facts.added
    if at_the_end and facts.outcome != "failure":
        yield Reason(
            "may_have_worked",
            "last treatment before a long time without antidepressant: it may have worked",
        )


def _about_dose_and_time(course: Course, facts: Facts, rules: CountingRules) -> Iterator[Reason]:
    needed = 7 * rules.strict_weeks
    if course.coverage["strict"].longest >= needed:
        return
    notes = {note for exposure in course.exposures for note in exposure.span.notes}
    if "not_taken" in notes:
        yield Reason("not_taken", "a statement says that it was not taken at that time")
    if covered(course.sure) < needed:
        yield _about_time(course, notes, rules)
    strict = course.minimum[1]
    if strict is None:
        yield Reason("no_minimum_dose", "no minimum dose is known for this drug")
    elif not any(e.dose.low >= strict for e in course.exposures):
        yield _about_dose(course, facts, strict)
    elif covered(course.sure) >= needed:
        long = weeks(course.coverage["strict"].longest)
        yield Reason(
            "short_at_strict_dose",
            f"{long} at {strict:g} mg or more, below {rules.strict_weeks} weeks",
        )


def _about_time(course: Course, notes: set[str], rules: CountingRules) -> Reason:
    if course.length < 7 * rules.strict_weeks:
        return Reason(
            "duration_between",
            f"{weeks(course.length)}, from {rules.lenient_weeks} to below {rules.strict_weeks}",
        )
    if "imprecise_date" in notes:
        return Reason("imprecise_date", "its dates are known to the month or year only")
    if "dispensing_recorded" in notes and covered(course.sure) > 0:
        return Reason("supply_gaps", f"only {weeks(covered(course.sure))} were dispensed")
    if "assumed_supply" in notes or "validity_only" in notes:
        return Reason("assumed_length", "how long it was taken is not recorded; "
                      f"{weeks(covered(course.sure))} are certain")  # fmt: skip
    if "status_uncertain" in notes:
        return Reason("status_uncertain", "its status does not say that it was taken")
    return Reason("supply_gaps", f"its supplies cover {weeks(covered(course.sure))} for certain")


def _about_dose(course: Course, facts: Facts, strict: float) -> Reason:
    highest = dose_summary(course)[1]
    if facts.as_needed:
        return Reason("as_needed", "to be taken as needed: how much was taken is not recorded")
    if any(e.dose.basis in ("unknown", "assumed") for e in course.exposures):
        return Reason("dose_unknown", "the daily dose is not recorded")
    if highest is None or not math.isfinite(highest) or highest >= strict:
        return Reason(
            "dose_unclear", f"that it reached {strict:g} mg a day is possible, not proven"
        )
    return Reason("dose_between", f"{highest:g} mg a day, below the strict {strict:g} mg")
