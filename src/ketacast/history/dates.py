"""Dates of a chart, which may name only a year or a month: ranges of days.

A day is its proleptic ordinal (:meth:`datetime.date.toordinal`), so that spans are
differences of whole numbers.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ketacast.errors import InputError

#: No antidepressant is older than 1950; an earlier date is a slip of the record.
EARLIEST: Final = date(1950, 1, 1).toordinal()
LATEST: Final = date(2200, 1, 1).toordinal()
_PARTIAL: Final = re.compile(r"(\d{4})(?:-(\d{2}))?", re.ASCII)


class Days(NamedTuple):
    """First and last day that a date may be."""

    first: int
    last: int


@lru_cache(maxsize=65536)
def parse_days(text: str) -> Days | None:
    """Read a FHIR date or dateTime; None if it is no date of a treatment.

    The day is taken as it is written; a time zone cannot move a treatment by more
    than a day.
    """
    try:
        if len(text) >= 10:
            day = date.fromisoformat(text[:10]).toordinal()
            if len(text) > 10 and text[10] not in "T ":
                return None
            days = Days(day, day)
        else:
            match = _PARTIAL.fullmatch(text)
            if match is None:
                return None
            year, month = int(match[1]), match[2]
            first = date(year, int(month or 1), 1)
            last_month = int(month or 12)
            after = date(year + last_month // 12, last_month % 12 + 1, 1)
            days = Days(first.toordinal(), after.toordinal() - 1)
    except ValueError:
        return None
    return days if days.first >= EARLIEST and days.last < LATEST else None


def days_of(value: object) -> Days | None:
    """Read a value of a record as a date; None if it is not text with a date."""
    return parse_days(value) if isinstance(value, str) else None


def index_day(as_of: date | str) -> int:
    """Check the index date.

    Raises
    ------
    InputError
        If it is not a full date.
    """
    if isinstance(as_of, datetime):
        as_of = as_of.date()
    if isinstance(as_of, date):
        days: Days | None = Days(as_of.toordinal(), as_of.toordinal())
        if not EARLIEST <= as_of.toordinal() < LATEST:
            days = None
    else:
        days = parse_days(as_of) if isinstance(as_of, str) else None
    if days is None or days.first != days.last:
        raise InputError(f"as_of is {as_of!r}; give a day, as 2026-03-31")
    return days.first


def show_day(day: int) -> str:
    """Write a day as ISO text."""
    return date.fromordinal(day).isoformat()


def show_days(days: Days) -> str:
    """Write a range of days as precisely as it is known: day, month, year or both ends."""
    if days.first == days.last:
        return show_day(days.first)
    first, last = date.fromordinal(days.first), date.fromordinal(days.last)
    if parse_days(f"{first.year:04}-{first.month:02}") == days:
        return f"{first.year:04}-{first.month:02}"
    if parse_days(f"{first.year:04}") == days:
        return f"{first.year:04}"
    return f"{first.isoformat()} to {last.isoformat()}"


def calendar_days(value: Any) -> str:
    """Write dates of pandas, NumPy or the standard library as ISO text."""
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return str(value)
