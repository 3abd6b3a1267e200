"""Treatments: the exposures of one drug joined, with the days at an adequate dose."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ketacast.history.dates import Days
from ketacast.history.drugs import Drug
from ketacast.history.exposure import Exposure
from ketacast.history.result import READINGS, Reading
from ketacast.history.rules import CountingRules
from ketacast.history.spans import Interval, longest, touches, union

#: More products and doses of one drug than this are no treatment but a broken chart;
#: their sums are not sought.
MOST_STRENGTHS: Final = 100
_KNOWN: Final = ("recorded", "dispensed", "text")


class Coverage(NamedTuple):
    """Days at or above the minimum dose in one reading, and their longest run."""

    days: list[Interval]
    longest: int


@dataclass(frozen=True, slots=True)
class Course:
    """One treatment with one drug, before it is judged.

    Attributes
    ----------
    drug : Drug
        The ingredient.
    exposures : tuple of Exposure
        Its records, sorted.
    first, last : int
        Days of the lenient reading; ``outer_last`` is the last it may have been.
    sure : tuple of (int, int)
        Days that are certain, whatever the dose.
    coverage : dict
        Days at or above the minimum dose, by reading.
    minimum : tuple
        Lenient and strict minimum dose, mg; None if none is known.
    """

    drug: Drug
    exposures: tuple[Exposure, ...]
    first: int
    last: int
    outer_last: int
    sure: tuple[Interval, ...]
    coverage: dict[Reading, Coverage]
    minimum: tuple[float | None, float | None]
    dated: bool

    @property
    def length(self) -> int:
        """Days of the lenient reading."""
        return self.last - self.first + 1


def build_courses(
    exposures: Iterable[Exposure],
    rules: CountingRules,
    not_taken: dict[str, list[Days]],
    as_of: int,
) -> list[Course]:
    """Join the exposures of each drug to courses, in order of start and name."""
    by_drug: dict[tuple[str, bool], list[Exposure]] = defaultdict(list)
    for exposure in exposures:
        by_drug[exposure.product.drug.name, exposure.dated].append(exposure)
    courses: list[Course] = []
    for (name, dated), held in by_drug.items():
        if not dated:
            courses += [
                _course([exposure], rules, dated=False) for exposure in sorted(held, key=_order)
            ]
            continue
        settled = _day_totals(_cut_open_ends(_in_force(held, as_of, rules)))
        settled = _contradicted(settled, not_taken.get(name, []))
        settled.sort(key=_order)
        courses += [_course(group, rules, dated=True) for group in _joined(settled, rules)]
    return sorted(courses, key=_place)


def _place(course: Course) -> tuple[object, ...]:
    first = course.exposures[0]
    return (not course.dated, course.first, course.drug.name, course.last, _order(first))


def _order(exposure: Exposure) -> tuple[object, ...]:
    span = exposure.span
    return (span.first, span.last, exposure.kind, exposure.source, exposure.dose, span)


def _joined(exposures: Sequence[Exposure], rules: CountingRules) -> list[list[Exposure]]:
    groups: list[list[Exposure]] = []
    reach = 0
    for exposure in exposures:
        if groups and exposure.span.first - reach - 1 <= rules.join_gap_days:
            groups[-1].append(exposure)
            reach = max(reach, exposure.span.last)
        else:
            groups.append([exposure])
            reach = exposure.span.last
    return groups


def _in_force(exposures: Sequence[Exposure], as_of: int, rules: CountingRules) -> list[Exposure]:
    """Let the latest order of a drug go on to the index date if it is still active.

    Earlier orders have been replaced by it; and one that is very old has been forgotten.
    """
    latest = max(exposure.span.first for exposure in exposures)
    if latest < as_of - rules.active_order_days:
        return list(exposures)
    return [
        exposure._replace(span=exposure.span._replace(last=as_of, outer_last=as_of))
        if exposure.in_force and exposure.span.open and exposure.span.first == latest
        else exposure
        for exposure in exposures
    ]


def _cut_open_ends(exposures: Sequence[Exposure]) -> list[Exposure]:
    """End what has no recorded end where another record of the drug says that it ended."""
    ends = sorted(
        {e.span.last for e in exposures if e.span.ended and not e.span.open and e.span.end}
    )
    if not ends:
        return list(exposures)
    cut = []
    for exposure in exposures:
        span = exposure.span
        place = bisect_left(ends, span.first)
        end = ends[place] if place < len(ends) else span.last
        if span.open and end < span.last:
            span = span._replace(
                last=end,
                outer_last=max(end, span.first),
                sure_last=min(span.sure_last, end),
                ended=True,
            )
            exposure = exposure._replace(span=span)  # noqa: PLW2901  # a record is replaced whole
        cut.append(exposure)
    return cut


def _day_totals(exposures: Sequence[Exposure]) -> list[Exposure]:
    """Add the doses that were given on one day, each recorded as an administration."""
    by_day: dict[int, list[Exposure]] = defaultdict(list)
    rest = []
    for exposure in exposures:
        if (
            exposure.kind == "MedicationAdministration"
            and exposure.span.first == exposure.span.last
        ):
            by_day[exposure.span.first].append(exposure)
        else:
            rest.append(exposure)
    for given in by_day.values():
        low = math.fsum(sorted(exposure.dose.low for exposure in given))
        high = math.fsum(sorted(exposure.dose.high for exposure in given))
        rest += [e._replace(dose=e.dose._replace(low=low, high=high)) for e in given]
    return rest


def _contradicted(exposures: list[Exposure], not_taken: Sequence[Days]) -> list[Exposure]:
    """Believe nothing for certain where a statement says that the drug was not taken."""
    if not not_taken:
        return exposures
    denied = union(not_taken)
    told = []
    for exposure in exposures:
        span = exposure.span
        if touches((span.first, span.last), denied):
            notes = (*span.notes, "not_taken")
            span = span._replace(sure_first=1, sure_last=0, notes=notes)
            exposure = exposure._replace(span=span)  # noqa: PLW2901  # a record is replaced whole
        told.append(exposure)
    return told


def _course(exposures: Sequence[Exposure], rules: CountingRules, *, dated: bool) -> Course:
    drug = exposures[0].product.drug
    minimum = rules.minimum_doses(drug.name)
    coverage = {
        reading: _coverage(exposures, reading, minimum, rules.join_gap_days) for reading in READINGS
    }
    return Course(
        drug,
        tuple(exposures),
        exposures[0].span.first,
        max(exposure.span.last for exposure in exposures),
        max(exposure.span.outer_last for exposure in exposures),
        tuple(union((e.span.sure_first, e.span.sure_last) for e in exposures)),
        coverage,
        minimum,
        dated,
    )


def _coverage(
    exposures: Sequence[Exposure],
    reading: Reading,
    minimum: tuple[float | None, float | None],
    gap: int,
) -> Coverage:
    if reading == "lenient":
        days = _possible_days(exposures, minimum[0])
        return Coverage(days, longest(days, gap, with_gaps=True))
    needed = minimum[1] if reading == "strict" else minimum[0]
    if needed is None:
        return Coverage([], 0)
    days = union((e.span.sure_first, e.span.sure_last) for e in exposures if e.dose.low >= needed)
    return Coverage(days, longest(days, gap, with_gaps=False))


def _possible_days(exposures: Sequence[Exposure], needed: float | None) -> list[Interval]:
    """Days on which the dose may have reached the minimum, products taken together added."""
    enough = [
        (e.span.first, e.span.last) for e in exposures if needed is None or e.dose.high >= needed
    ]
    products = {(e.kind, e.product.label) for e in exposures}
    if needed is not None and len(enough) < len(exposures) and len(products) > 1:
        enough += _added_days(exposures, needed)
    return union(enough)


def _added_days(exposures: Sequence[Exposure], needed: float) -> list[Interval]:
    """Days on which different strengths, taken side by side, reach the minimum together."""
    spans: dict[tuple[str, str, float], list[Interval]] = defaultdict(list)
    for exposure in exposures:
        key = (exposure.kind, exposure.product.label, exposure.dose.high)
        spans[key].append((exposure.span.first, exposure.span.last))
    if len(spans) > MOST_STRENGTHS:
        return []
    steps: dict[int, list[tuple[int, tuple[str, str, float]]]] = defaultdict(list)
    for key, held in spans.items():
        for first, last in union(held):
            steps[first].append((1, key))
            steps[last + 1].append((-1, key))
    running: set[tuple[str, str, float]] = set()
    days: list[Interval] = []
    since: int | None = None
    for day in sorted(steps):
        if since is not None:
            days.append((since, day - 1))
        for change, key in sorted(steps[day]):
            (running.add if change > 0 else running.discard)(key)
        since = day if _sum_of(running) >= needed else None
    return days


def _sum_of(running: Iterable[tuple[str, str, float]]) -> float:
    """Highest sum over products within one type of record: an order and its dispensing are one."""
    highest: dict[tuple[str, str], float] = {}
    for kind, label, dose in running:
        highest[kind, label] = max(dose, highest.get((kind, label), 0.0))
    sums: dict[str, list[float]] = defaultdict(list)
    for (kind, _), dose in highest.items():
        sums[kind].append(dose)
    return max((math.fsum(sorted(doses)) for doses in sums.values()), default=0.0)


def dose_summary(course: Course) -> tuple[float | None, float | None]:
    """Typical (median over days) and highest daily dose that is recorded, mg."""
    known = sorted(
        (e.dose.high, e.span.last - e.span.first + 1)
        for e in course.exposures
        if e.dose.basis in _KNOWN and math.isfinite(e.dose.high)
    )
    if not known:
        return None, None
    half = sum(days for _, days in known) / 2
    passed = 0
    typical = known[-1][0]
    for dose, days in known:
        passed += days
        if passed >= half:
            typical = dose
            break
    return round(typical, 2), round(known[-1][0], 2)
