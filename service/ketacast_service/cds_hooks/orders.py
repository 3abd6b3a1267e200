"""How many infusions an order carries: its count, its bounds, its words, or none."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from ketacast.history.fhir import Resource, items, mapping, number, text, words

ASSUMED: Final = 6
"""Infusions of the usual first course, where an order carries no number."""
MOST: Final = 30
"""The model answers for 1 to 30 infusions."""

_DAYS: Final = {
    "s": 1 / 86_400, "min": 1 / 1440, "h": 1 / 24, "d": 1.0, "wk": 7.0, "mo": 30.4375,
    "a": 365.25,
}  # fmt: skip
_IN_WORDS: Final = re.compile(
    r"(?<![\d.,/-])(\d{1,3})\s*(?:x\s*)?(?:iv\s+|intravenous\s+|ketamine\s+|more\s+|planned\s+)*"
    r"(?:infusion|treatment|session|dose)s?\b|"
    r"\b(?:course|series|total)\s+of\s+(\d{1,3})\b(?!\s*(?:mg|mcg|ml|g\b|week|day|month|min|hour))"
)
_BOUND: Final = 10_000.0

Basis = Literal["order", "assumed", "above-limit"]


@dataclass(frozen=True, slots=True)
class Planned:
    """Infusions to answer for.

    Attributes
    ----------
    infusions : int
        From 1 to 30.
    basis : {"order", "assumed", "above-limit"}
        Whether the order carries the number, carries none, or one above 30.
    stated : tuple of int
        The different numbers that the orders carry.
    """

    infusions: int
    basis: Basis
    stated: tuple[int, ...] = ()


def planned_infusions(orders: Sequence[Resource]) -> Planned:
    """Read how many infusions orders carry; the highest where they differ."""
    found = sorted({count for order in orders for count in [_of_order(order)] if count})
    if not found:
        return Planned(ASSUMED, "assumed")
    highest = found[-1]
    if highest > MOST:
        return Planned(MOST, "above-limit", tuple(found))
    return Planned(highest, "order", tuple(found))


def _of_order(order: Resource) -> int:
    """Return the number of infusions of one order; 0 if it carries none."""
    timings = [mapping(entry).get("timing") for entry in items(order.get("dosageInstruction"))]
    timings.append(order.get("occurrenceTiming"))
    counts = [_of_timing(mapping(timing)) for timing in timings]
    if any(counts):
        return _whole(sum(counts))
    quantity = number(mapping(order.get("quantityQuantity")).get("value"))
    if quantity:
        return _whole(quantity)
    in_words = max((_of_words(part) for part in _words(order)), default=0)
    if in_words:
        return in_words
    supply = mapping(order.get("dispenseRequest"))
    repeats = number(supply.get("numberOfRepeatsAllowed"))
    return _whole(repeats + 1) if repeats and repeats > 0 else 0


def _of_timing(timing: Resource) -> float:
    """Return the number of infusions of a timing; 0.0 if it says none."""
    events = timing.get("event")
    if isinstance(events, list) and events:
        return float(len(events))
    repeat = mapping(timing.get("repeat"))
    stated = number(repeat.get("count")) or number(repeat.get("countMax"))
    if stated and stated > 0:
        return stated
    length, spacing = _length(repeat), _spacing(repeat)
    # The first is given on the first day, so a part of a period at the end holds one too.
    return math.ceil(length / spacing - 1e-9) if length > 0 and spacing > 0 else 0.0


def _length(repeat: Resource) -> float:
    """Days from the first to the last; 0.0 if not bounded."""
    duration = mapping(repeat.get("boundsDuration"))
    value = number(duration.get("value"))
    unit = _DAYS.get(text(duration.get("code")) or text(duration.get("unit")))
    if value and unit:
        return value * unit
    period = mapping(repeat.get("boundsPeriod"))
    start, end = _day(period.get("start")), _day(period.get("end"))
    return float((end - start).days + 1) if start and end else 0.0


def _spacing(repeat: Resource) -> float:
    """Days from one infusion to the next; 0.0 if not given."""
    weekdays = repeat.get("dayOfWeek")
    if isinstance(weekdays, list) and weekdays and "period" not in repeat:
        return 7.0 / len(weekdays)
    period = number(repeat.get("period"))
    unit = _DAYS.get(text(repeat.get("periodUnit")))
    times = number(repeat.get("frequency")) or 1.0
    return period * unit / times if period and unit and times > 0 else 0.0


def _day(value: object) -> date | None:
    try:
        return date.fromisoformat(text(value)[:10])
    except ValueError:
        return None


def _words(order: Resource) -> Iterator[str]:
    for entry in items(order.get("dosageInstruction")):
        yield text(mapping(entry).get("text"))
        yield text(mapping(entry).get("patientInstruction"))
    for note in items(order.get("note")):
        yield text(mapping(note).get("text"))
    for concept in (order.get("code"), order.get("medicationCodeableConcept")):
        yield from words(concept)


def _of_words(part: str) -> int:
    match = _IN_WORDS.search(part[:400].lower())
    return int(match[1] or match[2]) if match else 0


def _whole(count: float) -> int:
    return round(min(count, _BOUND)) if count >= 1 else 0
