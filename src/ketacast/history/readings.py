"""What a medication record says besides its dates and its drug: dose, bounds, supply.

A chart repeats the same few instructions many times over; each is read once.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ketacast.history.concepts import Diagnosis, diagnosis, use_of
from ketacast.history.dates import Days, days_of
from ketacast.history.dosage import Dose, as_needed, daily_dose
from ketacast.history.drugs import Product
from ketacast.history.fhir import Resource, fingerprint, items, mapping, number, text, words
from ketacast.history.plain_words import folded
from ketacast.history.steps import may_have_steps
from ketacast.history.timing import course_days, supply_days

#: A course of repeats longer than this is a slip of the record.
LONGEST_DAYS: Final = 20_000.0
#: "Take 1 tablet at night for sleep."
_FOR: Final = re.compile(r"\b(?:for|indications?(?: of use)?:?|gegen) ([a-z][a-z /-]{2,39})")
_MOOD: Final = re.compile(r"\bmood\b")
#: What some systems write where a period has no end.
_FAR_FUTURE: Final = "2200"


class Reading(NamedTuple):
    """Dose and length of a record.

    ``start``, ``end`` and ``length`` are what the instructions set; ``once`` is the
    days of one supply, ``repeats`` how often it may be repeated; ``use`` is what the
    instructions say that it is for; ``has_steps`` whether doses may follow one another.
    """

    dose: Dose
    as_needed: bool
    start: Days | None
    end: Days | None
    length: float | None
    once: float | None
    repeats: float
    use: Diagnosis
    use_label: str
    has_steps: bool


class Readings:
    """Reads records of medication, equal ones once."""

    def __init__(self) -> None:
        self._known: dict[object, Reading] = {}

    def of(self, kind: str, resource: Resource, product: Product) -> Reading:
        """Read a record, or give what an equal one was read as."""
        supply = resource.get("dispenseRequest")
        if isinstance(supply, dict) and "validityPeriod" in supply:
            # It is a date, and would make every order another one.
            supply = {name: supply[name] for name in supply if name != "validityPeriod"}
        content = fingerprint(
            resource.get("dosage"),
            resource.get("dosageInstruction"),
            supply,
            resource.get("daysSupply"),
            resource.get("quantity"),
        )
        key = (content, kind, product.drug.name, product.strength)
        found = None if content is None else self._known.get(key)
        if found is None:
            plain = _without_bounds(resource)
            if plain is None:
                found = _read(kind, resource, product)
            else:
                start, end, length = _bounds(resource)
                found = self.of(kind, plain, product)
                found = found._replace(start=start, end=end, length=length)
            self._known[key] = found
        return found


def _without_bounds(resource: Resource) -> Resource | None:
    """Leave out the dates of instructions, which make each of them another one.

    None if there are none.
    """
    entries = items(resource.get("dosageInstruction"))
    repeats = [mapping(mapping(mapping(entry).get("timing")).get("repeat")) for entry in entries]
    if not any("boundsPeriod" in repeat for repeat in repeats):
        return None
    plain = []
    for entry, repeat in zip(entries, repeats, strict=True):
        if "boundsPeriod" not in repeat:
            plain.append(entry)
            continue
        timeless = {name: repeat[name] for name in repeat if name != "boundsPeriod"}
        plain.append({**entry, "timing": {**entry["timing"], "repeat": timeless}})
    return {**resource, "dosageInstruction": plain}


def _read(kind: str, resource: Resource, product: Product) -> Reading:
    instructions = resource.get("dosage" if "dosage" in resource else "dosageInstruction")
    is_given = kind == "MedicationAdministration"
    dose = daily_dose(
        instructions,
        product.strength,
        product.drug,
        _supplied(kind, resource),
        given_once=is_given,
    )
    supply = resource if kind == "MedicationDispense" else mapping(resource.get("dispenseRequest"))
    length = "daysSupply" if kind == "MedicationDispense" else "expectedSupplyDuration"
    once = supply_days(supply.get(length))
    if once is None or once < 1 or (kind == "MedicationDispense" and once > LONGEST_DAYS):
        once = _days_of_quantity(supply.get("quantity"), resource, product)
    repeats = max(0.0, number(supply.get("numberOfRepeatsAllowed")) or 0.0)
    needed = as_needed(instructions)
    return Reading(
        dose,
        needed,
        *_bounds(resource),
        once,
        repeats,
        *_use(instructions),
        may_have_steps(resource),
    )


def _use(instructions: object) -> tuple[Diagnosis, str]:
    """Read "for sleep" or "for depression" from the words of instructions.

    Such words are weaker than a recorded reason: what is taken "for sleep" may have been
    given for depression too, so it is left to the high end.
    """
    labels: list[str] = []
    for entry in items(instructions):
        held = mapping(entry)
        labels += _FOR.findall(folded(text(held.get("text"))[:300]))
        labels += words(held.get("asNeededCodeableConcept"))
    known = [(kind, label) for label in labels for kind in diagnosis({"text": label})]
    use = use_of(kind for kind, _ in known)
    if any(_MOOD.search(label) for label in labels):
        return "depression", "mood"
    named = sorted({label.strip() for kind, label in known if use_of([kind]) == use})
    return "mental" if use == "other" else use, ", ".join(named)[:60].lower()


def _supplied(kind: str, resource: Resource) -> float | None:
    """Units a day from a dispensed quantity and the days that it is for."""
    held = resource if kind == "MedicationDispense" else mapping(resource.get("dispenseRequest"))
    quantity = number(mapping(held.get("quantity")).get("value"))
    length = held.get("daysSupply") or held.get("expectedSupplyDuration")
    days = supply_days(length)
    if quantity is None or quantity <= 0 or days is None or days < 1:
        return None
    return quantity / days


def _days_of_quantity(held: object, resource: Resource, product: Product) -> float | None:
    """Days that a quantity of units lasts at the recorded dose."""
    quantity = number(mapping(held).get("value"))
    if quantity is None or quantity <= 0 or product.strength is None:
        return None
    dose = daily_dose(resource.get("dosageInstruction"), product.strength, product.drug)
    if dose.basis not in ("recorded", "text") or not 0 < dose.low == dose.high:
        return None
    days = quantity * product.strength.low / dose.low
    return days if 1 <= days <= LONGEST_DAYS else None


def period_end(period: Resource) -> object:
    """Give the end of a period; a far future, which some systems write for no end, is none."""
    end = period.get("end")
    is_far = isinstance(end, str) and end[:4].isdigit() and end[:4] >= _FAR_FUTURE
    return None if is_far else end


def _bounds(resource: Resource) -> tuple[Days | None, Days | None, float | None]:
    """Give start, end and length that the timing of the instructions sets.

    Of several instructions the first start and the last end; one that is open leaves
    the whole open.
    """
    starts: list[Days] = []
    ends: list[Days | None] = []
    lengths: list[float | None] = []
    for entry in items(resource.get("dosageInstruction")):
        repeat = mapping(mapping(mapping(entry).get("timing")).get("repeat"))
        period = mapping(repeat.get("boundsPeriod"))
        start = days_of(period.get("start"))
        starts += [] if start is None else [start]
        ends.append(days_of(period_end(period)))
        lengths.append(course_days(repeat))
    known_ends = [end for end in ends if end is not None]
    known_lengths = [length for length in lengths if length is not None]
    return (
        min(starts, default=None),
        max(known_ends) if known_ends and len(known_ends) == len(ends) else None,
        max(known_lengths) if known_lengths and len(known_lengths) == len(lengths) else None,
    )
