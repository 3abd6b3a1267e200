"""How many times a day a dose is taken, from a FHIR Timing."""

from __future__ import annotations

from typing import Final, NamedTuple

from ketacast.history.fhir import Resource, codings, items, mapping, number, text, words
from ketacast.history.plain_words import with_digits
from ketacast.history.timing_words import times_in_words

#: Days in a unit of time of FHIR (UCUM); a month and a year are mean Gregorian ones.
DAYS_IN: Final = {
    "s": 1 / 86_400,
    "min": 1 / 1_440,
    "h": 1 / 24,
    "d": 1.0,
    "wk": 7.0,
    "mo": 30.4375,
    "a": 365.25,
}
_UNIT_WORDS: Final = {
    "day": "d",
    "days": "d",
    "week": "wk",
    "weeks": "wk",
    "month": "mo",
    "months": "mo",
    "year": "a",
    "years": "a",
    "hour": "h",
    "hours": "h",
    "tag": "d",
    "tage": "d",
    "woche": "wk",
    "wochen": "wk",
    "jours": "d",
    "dias": "d",
    "giorni": "d",
    "dagen": "d",
}
#: Codes of HL7's TimingAbbreviation, times a day.
_CODES: Final = {
    "QD": 1.0,
    "BID": 2.0,
    "TID": 3.0,
    "QID": 4.0,
    "AM": 1.0,
    "PM": 1.0,
    "BED": 1.0,
    "QOD": 0.5,
    "WK": 1 / 7,
    "MO": 1 / 30.4375,
    "Q4H": 6.0,
    "Q6H": 4.0,
    "Q8H": 3.0,
}


class Times(NamedTuple):
    """Fewest and most times a day."""

    low: float
    high: float


def duration_days(quantity: object) -> float | None:
    """Read a Duration as days; None without a usable value and unit."""
    if not isinstance(quantity, dict):
        return None
    value = number(quantity.get("value"))
    if value is None or value <= 0:
        return None
    for part in (text(quantity.get("code")), text(quantity.get("unit"))):
        name = part.strip().lower().replace("(s)", "s")
        unit = DAYS_IN.get(_UNIT_WORDS.get(name, name))
        if unit is not None:
            return value * unit
    return None


def supply_days(quantity: object) -> float | None:
    """Read how long a supply lasts; a number without a unit is of days."""
    held = mapping(quantity)
    if not text(held.get("code")) and not text(held.get("unit")):
        return duration_days({"value": held.get("value"), "code": "d"})
    return duration_days(held)


def times_a_day(timing: object) -> Times | None:
    """Read a Timing; None if it does not say how often."""
    held = mapping(timing)
    found = _repeated(mapping(held.get("repeat")))
    if found is not None:
        return found
    concept = held.get("code")
    for _, code, _ in codings(concept):
        if code.upper() in _CODES:
            times = _CODES[code.upper()]
            return Times(times, times)
    # Many systems send their own codes: "Q12H", or words such as "Twice daily".
    for part in [*(code for _, code, _ in codings(concept)), *words(concept)]:
        said = times_in_words(with_digits(part[:100]))
        if said is not None:
            return Times(*said)
    return None


def course_days(repeat: Resource) -> float | None:
    """Length of the course that a repeat sets.

    ``duration`` is how long one dose takes; but some systems write the length of the
    course there. No dose of an antidepressant takes days.
    """
    bounds = duration_days(repeat.get("boundsDuration"))
    if bounds is not None:
        return bounds
    unit = text(repeat.get("durationUnit"))
    if unit not in ("d", "wk", "mo", "a"):
        return None
    return duration_days({"value": repeat.get("duration"), "code": unit})


def _repeated(repeat: Resource) -> Times | None:
    unit = DAYS_IN.get(text(repeat.get("periodUnit")))
    often = _positive(repeat, "frequency")
    moments = max(len(items(repeat.get("timeOfDay"))), len(items(repeat.get("when"))))
    days = len(items(repeat.get("dayOfWeek")))
    if unit is not None:
        fewest = often or float(moments or 1)
        most = max(fewest, _positive(repeat, "frequencyMax") or fewest)
        shortest = _positive(repeat, "period") or 1.0
        longest = max(shortest, _positive(repeat, "periodMax") or shortest)
        found = Times(fewest / (longest * unit), most / (shortest * unit))
        # "Once a day on Monday and Thursday" is twice a week.
        share = days / 7 if 0 < days < 7 and unit <= 1 else 1.0
        return Times(found.low * share, found.high * share)
    if moments or days:
        times = float(moments or 1) * (min(days, 7) / 7 if days else 1.0)
        return Times(times, times)
    return None


def _positive(held: Resource, name: str) -> float | None:
    value = number(held.get(name))
    return value if value is not None and value > 0 else None
