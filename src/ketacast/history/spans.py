"""Arithmetic of spans of days: unions, joined runs, chains."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TypeAlias

Interval: TypeAlias = tuple[int, int]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Merge spans that overlap or touch; empty ones are dropped."""
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if last < first:
            continue
        if merged and first <= merged[-1][1] + 1:
            if last > merged[-1][1]:
                merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


def runs(merged: Sequence[Interval], gap: int) -> list[list[Interval]]:
    """Group spans whose gaps are at most `gap` days."""
    found: list[list[Interval]] = []
    for interval in merged:
        if found and interval[0] - found[-1][-1][1] - 1 <= gap:
            found[-1].append(interval)
        else:
            found.append([interval])
    return found


def covered(merged: Iterable[Interval]) -> int:
    """Count the days of spans that do not overlap."""
    return sum(last - first + 1 for first, last in merged)


def longest(merged: Sequence[Interval], gap: int, *, with_gaps: bool) -> int:
    """Length of the longest run in days, the gaps in it counted or not."""
    lengths = [
        run[-1][1] - run[0][0] + 1 if with_gaps else covered(run) for run in runs(merged, gap)
    ]
    return max(lengths, default=0)


def until(merged: Iterable[Interval], day: int) -> list[Interval]:
    """Cut spans so that they end before a day."""
    return [(first, min(last, day - 1)) for first, last in merged if first < day]


def touches(span: Interval, merged: Sequence[Interval]) -> bool:
    """Tell whether a span shares a day with any of merged ones."""
    place = bisect_left(merged, span[0], key=itemgetter(1))
    return place < len(merged) and merged[place][0] <= span[1]
