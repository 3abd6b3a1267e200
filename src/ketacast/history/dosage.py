"""The daily dose of a record, as a range: what is proven and what may be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ketacast.history.dosage_text import daily_amount, times_said
from ketacast.history.drugs import Drug, Strength
from ketacast.history.fhir import Resource, items, mapping, number, text
from ketacast.history.timing import Times, times_a_day


class Dose(NamedTuple):
    """Daily dose in mg.

    ``low`` is proven, ``high`` is possible. ``basis`` is ``recorded``, ``dispensed``
    (quantity over days), ``text``, ``assumed`` (product known, number of units not) or
    ``unknown``.
    """

    low: float
    high: float
    basis: str


UNKNOWN: Final = Dose(0.0, math.inf, "unknown")

#: Where the number of units a day is not recorded, up to two are thought possible: once
#: or twice a day is how antidepressants are taken.
MOST_ASSUMED_UNITS: Final = 2.0
#: A number without a unit means tablets up to here; above it may mean milligrams.
MOST_BARE_UNITS: Final = 10.0
#: A daily dose above this multiple of the minimum is a slip; the highest labelled
#: doses are at most sixfold.
ABSURD_MULTIPLE: Final = 10.0
ABSURD_MG: Final = 5_000.0

MILLIGRAMS: Final = {
    "mg": 1.0,
    "g": 1000.0,
    "gram": 1000.0,
    "ug": 0.001,
    "mcg": 0.001,
    "milligram": 1.0,
    "milligrams": 1.0,
}
_A_DAY: Final = {"mg/d": 1.0, "mg/day": 1.0, "mg/24.h": 1.0, "mg/(24.h)": 1.0, "mg/24h": 1.0}
_AN_HOUR: Final = {"mg/h": 24.0, "mg/hr": 24.0}
_MILLILITRES: Final = {"ml": 1.0, "l": 1000.0, "milliliter": 1.0, "millilitre": 1.0}
_UNITS: Final = (
    "",
    "1",
    "tab",
    "cap",
    "tbl",
    "unit",
    "each",
    "patch",
    "dose",
    "pill",
    "kaps",
    "kps",
    "compr",
    "cpr",
    "cps",
    "gelul",
    "gélul",
    "stk",
    "stück",
    "filmtab",
)


def daily_dose(
    instructions: object,
    strength: Strength | None,
    drug: Drug,
    supplied: float | None = None,
    *,
    given_once: bool = False,
) -> Dose:
    """Read the daily dose from Dosage entries, or from what was supplied.

    Parameters
    ----------
    instructions : object
        ``dosageInstruction`` or ``dosage`` as recorded.
    strength : Strength or None
        Of the product.
    drug : Drug
        The ingredient, for what is believable.
    supplied : float, optional
        Units of the product a day, from a dispensed quantity and its days.
    given_once : bool
        The record is of one dose that was given, not of an instruction.
    """
    entries = [entry for entry in items(instructions) if isinstance(entry, dict)]
    usual = Times(1.0, 1.0) if given_once else Times(0.0, MOST_ASSUMED_UNITS)
    found = _combined(entries, strength, usual)
    if found is None and supplied is not None and strength is not None:
        found = Dose(strength.low * supplied, strength.high * supplied, "dispensed")
    if found is None:
        found = _from_words(entries, strength)
    if found is None and strength is not None:
        found = Dose(0.0, strength.high * MOST_ASSUMED_UNITS, "assumed")
    return UNKNOWN if found is None else believable(found, drug)


def as_needed(instructions: object) -> bool:
    """Tell whether every instruction is to take the drug as needed."""
    entries = [entry for entry in items(instructions) if isinstance(entry, dict)]
    return bool(entries) and all(_is_as_needed(entry) for entry in entries)


def _is_as_needed(entry: Resource) -> bool:
    return entry.get("asNeededBoolean") is True or bool(entry.get("asNeededCodeableConcept"))


def _combined(entries: Sequence[Resource], strength: Strength | None, usual: Times) -> Dose | None:
    """Add what is taken side by side; of steps one after the other none is certain."""
    parts = [_structured(entry, strength, usual) for entry in entries]
    known = [part for part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    lows = sorted(0.0 if _is_as_needed(e) else d.low for e, d in zip(entries, known, strict=True))
    high = math.fsum(sorted(part.high for part in known))
    steps = {number(entry.get("sequence")) for entry in entries}
    low = min(lows) if len(steps) > 1 else math.fsum(lows)
    return Dose(low, high, "recorded")


def _structured(entry: Resource, strength: Strength | None, usual: Times) -> Dose | None:
    amount = _amount(entry, strength)
    if amount is None:
        return None
    low, high, is_daily = amount
    if is_daily:
        return Dose(low, high, "recorded")
    # Where it is not recorded how often, once is likely, but not proven.
    times = times_a_day(entry.get("timing")) or _said(entry) or usual
    return Dose(low * times.low, high * times.high, "recorded")


def _said(entry: Resource) -> Times | None:
    words = text(entry.get("text")) or text(entry.get("patientInstruction"))
    said = times_said(words) if words else None
    return None if said is None else Times(*said)


def _amount(entry: Resource, strength: Strength | None) -> tuple[float, float, bool] | None:
    """Milligrams a time, lowest and highest, and whether they are a day's."""
    for rate in [*items(entry.get("doseAndRate")), entry]:
        held = mapping(rate)
        if "doseRange" in held:
            span = mapping(held["doseRange"])
            ends = [_milligrams(span.get(end), strength) for end in ("low", "high")]
            if ends[0] is not None and ends[1] is not None:
                return ends[0][0], max(ends[0][1], ends[1][1]), ends[1][2]
        quantity = held.get("doseQuantity", held.get("dose"))
        found = _milligrams(quantity, strength)
        if found is not None:
            return found
    return None


def _milligrams(quantity: Any, strength: Strength | None) -> tuple[float, float, bool] | None:
    held = mapping(quantity)
    value = number(held.get("value"))
    if value is None or value <= 0:
        return None
    for name in (text(held.get("code")), text(held.get("unit"))):
        unit = name.strip().lower().replace("(s)", "")
        if unit in MILLIGRAMS:
            return value * MILLIGRAMS[unit], value * MILLIGRAMS[unit], False
        if unit in _A_DAY or unit in _AN_HOUR:
            daily = value * (_A_DAY.get(unit) or _AN_HOUR[unit])
            return daily, daily, True
        if unit in _MILLILITRES and strength is not None and strength.per == "mL":
            volume = value * _MILLILITRES[unit]
            return strength.low * volume, strength.high * volume, False
    unit = (text(held.get("unit")) or text(held.get("code"))).strip().lower()
    unit = unit.strip("{}[]() ")
    counted = unit in _UNITS or unit.startswith(_UNITS[2:])
    if counted and strength is not None and strength.per == "unit" and value <= MOST_BARE_UNITS:
        return strength.low * value, strength.high * value, False
    return None


def _from_words(entries: Sequence[Resource], strength: Strength | None) -> Dose | None:
    """Read the text of a single instruction; several texts may say anything."""
    if len(entries) != 1:
        return None
    entry = entries[0]
    for part in (text(entry.get("text")), text(entry.get("patientInstruction"))):
        found = daily_amount(part, strength) if part else None
        if found is not None:
            low = 0.0 if _is_as_needed(entry) else found[0]
            return Dose(low, found[1], "text")
    return None


def believable(dose: Dose, drug: Drug) -> Dose:
    """Take a dose that cannot be true as unknown."""
    minimum = drug.lenient_mg
    limit = ABSURD_MG if minimum is None else ABSURD_MULTIPLE * minimum
    if not dose.low <= dose.high or dose.low > limit:
        return UNKNOWN
    return Dose(dose.low, dose.high if dose.high <= limit else math.inf, dose.basis)
