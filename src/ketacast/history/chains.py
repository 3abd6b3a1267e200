"""Episodes: antidepressant treatment without a long gap."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from ketacast.history.drugs import LOW_DOSE_USES
from ketacast.history.eras import Course
from ketacast.history.result import READINGS, Reading
from ketacast.history.rules import CountingRules
from ketacast.history.spans import Interval


@dataclass(frozen=True, slots=True)
class Episodes:
    """Where the current episode begins, by reading (None: there is none), and what follows what.

    Attributes
    ----------
    starts : dict
        First day of the current episode's treatment, by reading.
    followed : dict
        By place of a course, the treatment that began after it within its episode.
    """

    starts: dict[Reading, int | None]
    followed: dict[int, str]


def find_episodes(
    courses: Sequence[Course], uses: Sequence[str], rules: CountingRules, as_of: int
) -> Episodes:
    """Find the current episode in each reading, and the successors of each course.

    Parameters
    ----------
    courses : sequence of Course
        All antidepressant courses.
    uses : sequence of str
        What each is recorded for.
    rules : CountingRules
        Holds the gap that closes an episode.
    as_of : int
        Index day.
    """
    treating = [
        place
        for place, (course, use) in enumerate(zip(courses, uses, strict=True))
        if course.dated and use != "other" and not _too_low_for_depression(course)
    ]
    possible = list(treating)
    if rules.other_indication == "lenient":
        possible += [p for p, use in enumerate(uses) if use == "other" and courses[p].dated]
    lenient = [(courses[place].first, courses[place].outer_last) for place in possible]
    sure = [interval for place in treating for interval in courses[place].sure]
    starts = {
        reading: _current_start(
            lenient if reading == "lenient" else sure, rules.episode_gap_days, as_of
        )
        for reading in READINGS
    }
    return Episodes(starts, _followed([(place, courses[place]) for place in treating], rules))


def _too_low_for_depression(course: Course) -> bool:
    return course.drug.name in LOW_DOSE_USES and not course.coverage["lenient"].days


def _current_start(intervals: Sequence[Interval], gap: int, as_of: int) -> int | None:
    """First day of the treatments that reach the index date without a long gap."""
    reach = as_of
    start: int | None = None
    for first, last in sorted(intervals, key=lambda span: (-span[1], span[0])):
        if reach - last - 1 > gap:
            break
        reach = min(reach, first)
        start = reach
    return start


def _followed(treating: Sequence[tuple[int, Course]], rules: CountingRules) -> dict[int, str]:
    """Name the next treatment that began after each course did and outlasted it."""
    found: dict[int, str] = {}
    by_start = sorted((other for _, other in treating), key=lambda other: (other.first, other.drug))
    starts = [other.first for other in by_start]
    for place, course in treating:
        for other in by_start[bisect_right(starts, course.first) :]:
            if other.first - course.outer_last - 1 > rules.episode_gap_days:
                break
            if other.outer_last > course.outer_last and other.drug.name != course.drug.name:
                found[place] = other.drug.name
                break
    return found
