"""When a drug was taken, by each of the four medication resources."""

from __future__ import annotations

from typing import Final

from ketacast.history.dates import Days, days_of
from ketacast.history.dosage import daily_dose
from ketacast.history.drugs import Product
from ketacast.history.exposure import Span, period_span, supplied_span
from ketacast.history.fhir import Resource, items, mapping, number, text
from ketacast.history.rules import CountingRules
from ketacast.history.timing import course_days, duration_days

#: A course of repeats longer than this is a slip of the record.
_LONGEST_DAYS: Final = 20_000.0
_DATES: Final = ("authoredOn", "effectiveDateTime", "whenHandedOver", "dateAsserted")
_FAR_FUTURE: Final = "2200"


def span_of(
    kind: str, resource: Resource, product: Product, rules: CountingRules, as_of: int
) -> Span | None:
    """Read when a drug was taken; None if the record has no date, or one that is no date."""
    if _has_bad_date(resource):
        return None
    if kind == "MedicationRequest":
        return _request_span(resource, product, rules, as_of)
    if kind == "MedicationStatement":
        return _statement_span(resource, rules, as_of)
    if kind == "MedicationDispense":
        return _dispense_span(resource, rules, product)
    return _administration_span(resource)


def _has_bad_date(resource: Resource) -> bool:
    """Tell whether a date is given that cannot be read: nothing may be assumed in its place."""
    period = mapping(resource.get("effectivePeriod"))
    given = [resource.get(name) for name in _DATES] + [period.get("start"), _end(period)]
    return any(value is not None and days_of(value) is None for value in given)


def _end(period: Resource) -> object:
    """End of a period; a far future, which some systems write for no end, is none."""
    end = period.get("end")
    is_far = isinstance(end, str) and end[:4].isdigit() and end[:4] >= _FAR_FUTURE
    return None if is_far else end


def _bounds(resource: Resource) -> tuple[Days | None, Days | None, float | None]:
    """Start, end and length that the timing of the instructions sets.

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
        ends.append(days_of(_end(period)))
        lengths.append(course_days(repeat))
    known_ends = [end for end in ends if end is not None]
    known_lengths = [length for length in lengths if length is not None]
    return (
        min(starts, default=None),
        max(known_ends) if known_ends and len(known_ends) == len(ends) else None,
        max(known_lengths) if known_lengths and len(known_lengths) == len(lengths) else None,
    )


def _request_span(
    resource: Resource, product: Product, rules: CountingRules, as_of: int
) -> Span | None:
    supply = mapping(resource.get("dispenseRequest"))
    validity = mapping(supply.get("validityPeriod"))
    bound_start, bound_end, bound_days = _bounds(resource)
    start = bound_start or days_of(resource.get("authoredOn")) or days_of(validity.get("start"))
    if start is None:
        return None
    status = text(resource.get("status"))
    stopped = status == "stopped"
    if bound_end is not None:
        return period_span(start, bound_end, ended=stopped or bound_end.last < as_of)
    if bound_days is not None and bound_days <= _LONGEST_DAYS:
        days = round(bound_days)
        return supplied_span(start, 0 if stopped else days, days, known=not stopped, ended=stopped)
    once = duration_days(supply.get("expectedSupplyDuration"))
    if once is None or once < 1:
        once = _days_of_quantity(supply.get("quantity"), resource, product)
    return _supply_span(start, supply, once, rules, stopped=stopped)


def _supply_span(
    start: Days, supply: Resource, once: float | None, rules: CountingRules, *, stopped: bool
) -> Span:
    """Span of an order from what it allows to be supplied."""
    repeats = max(0.0, number(supply.get("numberOfRepeatsAllowed")) or 0.0)
    valid_to = days_of(_end(mapping(supply.get("validityPeriod"))))
    if once is not None and once * (1 + repeats) <= _LONGEST_DAYS:
        most = round(once * (1 + repeats))
        # An order that was stopped proves its first supply at most.
        sure = round(once) if stopped else most
        return supplied_span(start, sure, most, known=not stopped, ended=stopped)
    if valid_to is not None and valid_to.last >= start.first:
        most = valid_to.last - start.first + 1
        note = "validity_only"
    else:
        most, note = rules.open_order_days, "assumed_supply"
    sure = min(rules.assumed_supply_days, most)
    return supplied_span(start, sure, most, known=False, ended=stopped, note=note)


def _statement_span(resource: Resource, rules: CountingRules, as_of: int) -> Span | None:
    period = mapping(resource.get("effectivePeriod"))
    start = days_of(period.get("start")) or days_of(resource.get("effectiveDateTime"))
    end = days_of(_end(period))
    asserted = days_of(resource.get("dateAsserted"))
    status = text(resource.get("status"))
    ended = status in ("stopped", "completed")
    if start is None:
        if end is not None:
            start = end
        elif asserted is not None and status == "active":
            start = asserted
        else:
            return None
    if end is not None:
        return period_span(start, end, ended=ended or end.last < as_of)
    taken_at = Days(as_of, as_of) if asserted is None else asserted
    if status == "active" and taken_at.last >= start.first:
        # "Is taking since": certain until it was said, likely for some time after.
        most = min(as_of, taken_at.last + rules.open_order_days) - start.first + 1
        span = supplied_span(
            start, rules.assumed_supply_days, most, known=False, ended=False, note="assumed_supply"
        )
        if asserted is not None and start.last <= asserted.first:
            span = span._replace(sure_first=start.last, sure_last=min(asserted.first, span.last))
        return span
    return supplied_span(
        start,
        rules.assumed_supply_days,
        rules.open_order_days,
        known=False,
        ended=ended,
        note="assumed_supply",
    )


def _dispense_span(resource: Resource, rules: CountingRules, product: Product) -> Span | None:
    start = days_of(resource.get("whenHandedOver")) or days_of(resource.get("whenPrepared"))
    if start is None:
        return None
    days = duration_days(resource.get("daysSupply"))
    if days is None or not 1 <= days <= _LONGEST_DAYS:
        days = _days_of_quantity(resource.get("quantity"), resource, product)
    if days is None:
        supply = rules.assumed_supply_days
        return supplied_span(start, supply, supply, known=True, ended=False, note="assumed_supply")
    return supplied_span(start, round(days), round(days), known=True, ended=False)


def _days_of_quantity(held: object, resource: Resource, product: Product) -> float | None:
    """Days that a quantity of units lasts at the recorded dose."""
    quantity = number(mapping(held).get("value"))
    if quantity is None or quantity <= 0 or product.strength is None:
        return None
    dose = daily_dose(resource.get("dosageInstruction"), product.strength, product.drug)
    if dose.basis not in ("recorded", "text") or not 0 < dose.low == dose.high:
        return None
    days = quantity * product.strength.low / dose.low
    return days if 1 <= days <= _LONGEST_DAYS else None


def _administration_span(resource: Resource) -> Span | None:
    period = mapping(resource.get("effectivePeriod"))
    day = days_of(resource.get("effectiveDateTime")) or days_of(period.get("start"))
    if day is None:
        return None
    end = days_of(_end(period))
    if end is not None:
        return period_span(day, end, ended=False)
    return supplied_span(day, 1, 1, known=True, ended=False)
