"""An order whose instructions follow one another, taken apart into one order for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ketacast.history.dates import days_of, show_day
from ketacast.history.dosage_text import worded_steps
from ketacast.history.fhir import Resource, items, mapping, number, text
from ketacast.history.timing import course_days, supply_days

_LONGEST_DAYS = 3_650


def may_have_steps(resource: Resource) -> bool:
    """Tell from the instructions alone whether :func:`steps_of` may take a record apart."""
    entries = items(resource.get("dosageInstruction"))
    if len(entries) == 1 and isinstance(entries[0], dict):
        return len(_in_words(entries[0])) > 1
    return len(entries) > 1


def steps_of(resource: Resource) -> Sequence[Resource]:
    """Give one record for each step of a titration, else the record itself.

    Steps are told by the dates or lengths of their instructions. Instructions for the
    same days are taken side by side, and stay together.
    """
    entries = [entry for entry in items(resource.get("dosageInstruction")) if entry]
    if len(entries) == 1 and isinstance(entries[0], dict):
        entries = _in_words(entries[0])
    if len(entries) < 2 or not all(isinstance(entry, dict) for entry in entries):
        return (resource,)
    dated = _by_dates(entries) or _by_lengths(entries, resource)
    if dated is None:
        return (resource,)
    last_end = _end_of_supply(resource, dated[0][0])
    parts: list[Resource] = []
    for place, (start, own_end, entry) in enumerate(dated):
        # A step lasts until the next one; the last one uses up the supply.
        limit = dated[place + 1][0] - 1 if place + 1 < len(dated) else last_end
        end = min((day for day in (own_end, limit) if day is not None), default=None)
        if own_end is not None and place + 1 == len(dated):
            end = own_end
        parts.append({**resource, "dosageInstruction": [_bounded(entry, start, end)]})
    return parts


def _by_dates(entries: Sequence[Resource]) -> list[tuple[int, int | None, Resource]] | None:
    found = []
    for entry in entries:
        period = mapping(_repeat(entry).get("boundsPeriod"))
        start, end = days_of(period.get("start")), days_of(period.get("end"))
        if start is None or start.first != start.last:
            return None
        found.append((start.first, None if end is None else end.last, entry))
    found.sort(key=lambda step: step[0])
    firsts = [start for start, _, _ in found]
    return found if len(set(firsts)) == len(firsts) else None


def _by_lengths(
    entries: Sequence[Resource], resource: Resource
) -> list[tuple[int, int | None, Resource]] | None:
    """Put steps in their recorded sequence, each with a length; the last may be without."""
    places = [number(entry.get("sequence")) for entry in entries]
    start = days_of(resource.get("authoredOn"))
    known = [place for place in places if place is not None]
    if len(set(known)) < len(entries) or start is None or start.first != start.last:
        return None
    if resource.get("status") == "stopped":
        return None  # in which step is not recorded
    ordered = [entries[known.index(place)] for place in sorted(known)]
    lengths = [course_days(_repeat(entry)) for entry in ordered]
    day, found = start.first, list[tuple[int, int | None, Resource]]()
    for place, (entry, length) in enumerate(zip(ordered, lengths, strict=True)):
        if length is None or not 1 <= length <= _LONGEST_DAYS:
            if place + 1 < len(ordered):
                return None
            found.append((day, None, entry))
            break
        found.append((day, day + round(length) - 1, entry))
        day += round(length)
    return found


def _in_words(entry: Resource) -> list[Resource]:
    """Take apart "25 mg daily for 7 days, then 50 mg daily", if each step is whole."""
    words = text(entry.get("text"))
    parts = worded_steps(words) if words else ()
    made: list[Resource] = []
    for place, (part, days) in enumerate(parts, 1):
        if days is None and place < len(parts):
            return [entry]
        repeat = {} if days is None else {"boundsDuration": {"value": days, "code": "d"}}
        step: dict[str, Any] = {"sequence": place, "text": part, "timing": {"repeat": repeat}}
        if "asNeededBoolean" in entry:
            step["asNeededBoolean"] = entry["asNeededBoolean"]
        made.append(step)
    return made if len(made) > 1 else [entry]


def _repeat(entry: Resource) -> Resource:
    return mapping(mapping(entry.get("timing")).get("repeat"))


def _end_of_supply(resource: Resource, start: int) -> int | None:
    """Last day of the supply, which the last step may use up."""
    supply = mapping(resource.get("dispenseRequest"))
    once = supply_days(supply.get("expectedSupplyDuration"))
    repeats = max(0.0, number(supply.get("numberOfRepeatsAllowed")) or 0.0)
    if once is None or not 1 <= once * (1 + repeats) <= _LONGEST_DAYS:
        return None
    is_stopped = text(resource.get("status")) == "stopped"
    return start + round(once if is_stopped else once * (1 + repeats)) - 1


def _bounded(entry: Resource, start: int, end: int | None) -> dict[str, Any]:
    period = {"start": show_day(start)}
    if end is not None:
        period["end"] = show_day(max(start, end))
    held = ("boundsDuration", "boundsRange", "duration", "durationUnit")
    repeat = {name: value for name, value in _repeat(entry).items() if name not in held}
    return {
        **{name: value for name, value in entry.items() if name != "sequence"},
        "timing": {**mapping(entry.get("timing")), "repeat": {**repeat, "boundsPeriod": period}},
    }
