"""Each drug is counted once: which of its courses stands for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ketacast.history.judging import Judged
from ketacast.history.result import READINGS, Judgement, Reading, Reason

Counted = dict[Reading, tuple[bool, bool]]


def count_drugs(judged: Sequence[Judged]) -> list[Counted]:
    """Say for each course whether it is counted now and in the lifetime, by reading.

    A drug that was tried again is one drug. The course that proves most stands for it.
    """
    chosen: list[Counted] = [dict.fromkeys(READINGS, (False, False)) for _ in judged]
    by_drug: dict[str, list[int]] = defaultdict(list)
    for place, entry in enumerate(judged):
        by_drug[entry.course.drug.name].append(place)
    for places in by_drug.values():
        best_first = sorted(places, key=lambda place: _proof(judged[place]), reverse=True)
        for reading in READINGS:
            trials = [p for p in best_first if judged[p].readings[reading].is_trial]
            now = [p for p in trials if judged[p].in_episode[reading]]
            for place in {*trials[:1], *now[:1]}:
                chosen[place][reading] = (place in now[:1], place in trials[:1])
    return chosen


def _proof(entry: Judged) -> tuple[object, ...]:
    readings = tuple(entry.readings[reading].is_trial for reading in READINGS)
    now = tuple(entry.in_episode[reading] for reading in READINGS)
    course = entry.course
    # A trial of the current episode stands for the drug before an equal one of an earlier.
    return (readings, now, course.coverage["lenient"].longest, course.last, course.first)


def judgement(entry: Judged, reading: Reading, counted: Counted) -> Judgement:
    """Put one reading of a course together."""
    days = entry.course.coverage[reading].longest
    current, lifetime = counted[reading]
    return Judgement(round(days / 7, 1), entry.readings[reading].verdict, current, lifetime)


def final_reasons(entry: Judged, counted: Counted) -> tuple[Reason, ...]:
    """Reasons in order, with those that follow from the other courses."""
    if not entry.readings["lenient"].is_trial:
        return tuple(entry.reasons)
    first = _about_place(entry, counted)
    return tuple(entry.reasons) if first is None else (first, *entry.reasons)


def _about_place(entry: Judged, counted: Counted) -> Reason | None:
    """Say what decides on a trial besides the trial itself."""
    if not any(any(pair) for pair in counted.values()):
        return Reason("same_drug", "a further course of a drug that is counted already")
    if not entry.in_episode["lenient"]:
        return Reason("earlier_episode", "before the current episode: in the lifetime count only")
    return _about_episode(entry)


def _about_episode(entry: Judged) -> Reason | None:
    if not entry.course.dated:
        return Reason("no_dates", "without dates: perhaps of an earlier episode")
    if entry.in_episode["strict"] or not entry.readings["strict"].is_trial:
        return None
    if entry.facts.before_onset:
        return Reason("before_onset", "it ended before the recorded onset of this depression")
    return Reason(
        "episode_unclear",
        "whether it is of the current episode depends on treatments of unknown length",
    )
