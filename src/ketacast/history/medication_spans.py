"""When a drug was taken, by each of the four medication resources."""

from __future__ import annotations

from typing import Final

from ketacast.history.dates import Days, days_of
from ketacast.history.exposure import Span, period_span, supplied_span
from ketacast.history.fhir import Resource, mapping, text
from ketacast.history.readings import LONGEST_DAYS, Reading, period_end
from ketacast.history.rules import CountingRules

_DATES: Final = ("authoredOn", "effectiveDateTime", "whenHandedOver", "dateAsserted")


def span_of(
    kind: str, resource: Resource, reading: Reading, rules: CountingRules, as_of: int
) -> Span | None:
    """Read when a drug was taken; None if the record has no date, or one that is no date."""
    if _has_bad_date(resource):
        return None
    if kind == "MedicationRequest":
        return _request_span(resource, reading, rules, as_of)
    if kind == "MedicationStatement":
        return _statement_span(resource, rules, as_of)
    if kind == "MedicationDispense":
        return _dispense_span(resource, reading, rules)
    return _administration_span(resource)


def _has_bad_date(resource: Resource) -> bool:
    """Tell whether a date is given that cannot be read: nothing may be assumed in its place."""
    for name in _DATES:
        value = resource.get(name)
        if value is not None and days_of(value) is None:
            return True
    period = resource.get("effectivePeriod")
    if not isinstance(period, dict):
        return False
    given = (period.get("start"), period_end(period))
    return any(value is not None and days_of(value) is None for value in given)


def _request_span(
    resource: Resource, reading: Reading, rules: CountingRules, as_of: int
) -> Span | None:
    supply = mapping(resource.get("dispenseRequest"))
    validity = mapping(supply.get("validityPeriod"))
    start = reading.start or days_of(resource.get("authoredOn")) or days_of(validity.get("start"))
    if start is None:
        return None
    stopped = resource.get("status") == "stopped"
    if reading.end is not None:
        return period_span(start, reading.end, ended=stopped or reading.end.last < as_of)
    if reading.length is not None and reading.length <= LONGEST_DAYS:
        days = round(reading.length)
        return supplied_span(start, 0 if stopped else days, days, known=not stopped, ended=stopped)
    return _supply_span(start, validity, reading, rules, stopped=stopped)


def _supply_span(
    start: Days, validity: Resource, reading: Reading, rules: CountingRules, *, stopped: bool
) -> Span:
    """Span of an order from what it allows to be supplied."""
    once, repeats = reading.once, reading.repeats
    if once is not None and once * (1 + repeats) <= LONGEST_DAYS:
        most = round(once * (1 + repeats))
        # An order that was stopped proves its first supply at most.
        sure = round(once) if stopped else most
        return supplied_span(start, sure, most, known=not stopped, ended=stopped)
    valid_to = days_of(period_end(validity))
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
    end = days_of(period_end(period))
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


def _dispense_span(resource: Resource, reading: Reading, rules: CountingRules) -> Span | None:
    start = days_of(resource.get("whenHandedOver")) or days_of(resource.get("whenPrepared"))
    if start is None:
        return None
    if reading.once is None:
        supply = rules.assumed_supply_days
        return supplied_span(start, supply, supply, known=True, ended=False, note="assumed_supply")
    days = round(reading.once)
    return supplied_span(start, days, days, known=True, ended=False)


def _administration_span(resource: Resource) -> Span | None:
    period = mapping(resource.get("effectivePeriod"))
    day = days_of(resource.get("effectiveDateTime")) or days_of(period.get("start"))
    if day is None:
        return None
    end = days_of(period_end(period))
    if end is not None:
        return period_span(day, end, ended=False)
    return supplied_span(day, 1, 1, known=True, ended=False)
