"""From the four medication resources of FHIR R4 to exposures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ketacast.history.concepts import Diagnosis, diagnosis, stop_reason, use_of
from ketacast.history.dates import Days, days_of
from ketacast.history.drugs import Product
from ketacast.history.exposure import Exposure, Span, clipped
from ketacast.history.fhir import Resource, fingerprint, items, mapping, text, words
from ketacast.history.medication_spans import span_of
from ketacast.history.products import Unknown, product_of
from ketacast.history.readings import Reading, Readings
from ketacast.history.records import Chart, short_name
from ketacast.history.result import Unused
from ketacast.history.rules import CountingRules
from ketacast.history.steps import steps_of

#: Statuses of each resource: yes (a treatment), maybe (lenient reading only).
_STATUSES: Final[dict[str, dict[str, str]]] = {
    "MedicationRequest": {
        "active": "yes",
        "completed": "yes",
        "stopped": "yes",
        "on-hold": "maybe",
        "unknown": "maybe",
        "ended": "yes",
    },
    "MedicationStatement": {
        "active": "yes",
        "completed": "yes",
        "stopped": "yes",
        "on-hold": "maybe",
        "unknown": "maybe",
    },
    "MedicationDispense": {
        "completed": "yes",
        "in-progress": "maybe",
        "on-hold": "maybe",
        "stopped": "maybe",
        "unknown": "maybe",
    },
    "MedicationAdministration": {
        "completed": "yes",
        "in-progress": "yes",
        "stopped": "yes",
        "on-hold": "maybe",
        "unknown": "maybe",
    },
}
_ORDERS: Final = frozenset(
    {"order", "original-order", "reflex-order", "filler-order", "instance-order"}
)
_STATUS_REASONS: Final = {
    "entered-in-error": "it was entered in error",
    "cancelled": "it was cancelled",
    "draft": "it is a draft",
    "intended": "it is intended, not begun",
    "not-taken": "the drug was not taken",
    "not-done": "the drug was not given",
    "preparation": "it is being prepared",
    "declined": "it was declined",
}


@dataclass(slots=True)
class Medications:
    """What the medication records of a chart say.

    Attributes
    ----------
    exposures : list of Exposure
        Treatments, of all drugs that matter here.
    set_aside, unread : list of Unused
        Records that are no treatment, and those that could not be read.
    not_taken : dict of str to list of Days
        By drug, when a statement says that it was not taken.
    others : set of str
        Medications that are none of the drugs that matter here, each once.
    products : dict
        What was read already, by what it was read from.
    """

    exposures: list[Exposure] = field(default_factory=list)
    set_aside: list[Unused] = field(default_factory=list)
    unread: list[Unused] = field(default_factory=list)
    not_taken: dict[str, list[Days]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    products: dict[object, Product | Unknown | None] = field(default_factory=dict)


class _Record(NamedTuple):
    kind: str
    source: str
    resource: Resource
    product: Product
    reading: Reading


def read_medications(chart: Chart, as_of: int, rules: CountingRules) -> Medications:
    """Read every medication record of a chart."""
    found = Medications()
    dispensed = _dispensed_orders(chart)
    readings = Readings()
    for kind in _STATUSES:
        for source, resource in chart.of(kind):
            product = _product(found, resource, chart)
            if product is None:
                if text(resource.get("status")) not in _STATUS_REASONS:
                    found.others.add(_name_of_other(resource, source))
                continue
            if isinstance(product, Unknown):
                if text(resource.get("status")) in _STATUS_REASONS:
                    continue  # no treatment, whatever drug it is
                found.unread.append(Unused(source, product.code, product.reason))
                continue
            sure = _is_treatment(found, kind, source, resource, product)
            if sure is None:
                continue
            note = "" if sure else "status_uncertain"
            if source in dispensed:
                note = "dispensing_recorded"
            whole = readings.of(kind, resource, product)
            for step in steps_of(resource) if whole.has_steps else (resource,):
                reading = readings.of(kind, step, product) if whole.has_steps else whole
                span = span_of(kind, step, reading, rules, as_of)
                if span is not None and note:
                    span = span._replace(sure_first=1, sure_last=0, notes=(*span.notes, note))
                within = _within(found, source, product, span, as_of)
                if within is not None:
                    record = _Record(kind, source, step, product, reading)
                    found.exposures.append(_exposure(record, within, chart))
    return found


def _name_of_other(resource: Resource, source: str) -> str:
    """Tell medications apart; the name is counted, never put out."""
    concept = resource.get("medicationCodeableConcept")
    if concept is not None:
        return " ".join(words(concept)[:1]).lower() or source
    reference = mapping(resource.get("medicationReference"))
    return text(reference.get("reference")) or source


def _product(found: Medications, resource: Resource, chart: Chart) -> Product | Unknown | None:
    """Find the drug of a record; the same concept or reference is read once."""
    concept = resource.get("medicationCodeableConcept")
    key: object = None
    if concept is not None:
        key = fingerprint(concept)
    elif "contained" not in resource:
        # What a reference leads to depends on nothing else then.
        key = fingerprint("reference", resource.get("medicationReference"))
    if key is None:
        return product_of(resource, chart)
    if key not in found.products:
        found.products[key] = product_of(resource, chart)
    return found.products[key]


def _dispensed_orders(chart: Chart) -> set[str]:
    """Orders of which dispensing is recorded: what was handed out is the better proof."""
    orders = set()
    for _, dispense in chart.of("MedicationDispense"):
        if dispense.get("status") == "completed":
            for reference in items(dispense.get("authorizingPrescription")):
                orders.add(short_name(text(mapping(reference).get("reference"))))
    return {
        source
        for source, _ in chart.of("MedicationRequest")
        if source in orders or source.rpartition("/")[2] in orders
    }


def _is_treatment(
    found: Medications, kind: str, source: str, resource: Resource, product: Product
) -> bool | None:
    """Tell whether a record is a treatment for certain (True), perhaps (False) or not (None)."""
    status = text(resource.get("status"))
    name = product.drug.name
    reason, code = "", "not_a_treatment"
    known = _STATUSES[kind].get(status)
    if resource.get("doNotPerform") is True:
        reason = "it says not to give the drug"
    elif known is None:
        reason = _STATUS_REASONS.get(status, f"its status is {status[:20] or 'missing'}")
        code = status.replace("-", "_") if status in _STATUS_REASONS else "status_unusable"
        if kind == "MedicationStatement" and status == "not-taken":
            days = _when_not_taken(resource)
            if days is not None:
                found.not_taken.setdefault(name, []).append(days)
    elif kind == "MedicationRequest":
        intent = text(resource.get("intent"))
        reported = resource.get("reportedBoolean") is True or "reportedReference" in resource
        if intent not in _ORDERS and not (intent == "plan" and reported):
            reason = f"its intent is {intent[:20] or 'missing'}, not an order"
            code = "intent"
        elif intent == "plan":
            known = "maybe"
    if reason:
        found.set_aside.append(Unused(source, code, reason, name))
        return None
    return known == "yes"


def _when_not_taken(resource: Resource) -> Days | None:
    period = mapping(resource.get("effectivePeriod"))
    start = days_of(resource.get("effectiveDateTime")) or days_of(period.get("start"))
    end = days_of(period.get("end")) or start
    asserted = days_of(resource.get("dateAsserted"))
    if start is None or end is None:
        return asserted
    return Days(start.first, max(start.last, end.last))


def _within(
    found: Medications, source: str, product: Product, span: Span | None, as_of: int
) -> Span | None:
    """Cut a span at the index date; a record without a usable one is listed."""
    name = product.drug.name
    if span is None:
        reason = "its dates are missing or no dates"
        found.unread.append(Unused(source, "no_date", reason, name))
        return None
    if span.end is not None and span.last < span.first:
        reason = "its end is before its start"
        found.unread.append(Unused(source, "end_before_start", reason, name))
        return None
    within = clipped(span, as_of)
    if within is None:
        reason = "it begins after the index date"
        found.set_aside.append(Unused(source, "future", reason, name))
    return within


def _exposure(record: _Record, span: Span, chart: Chart) -> Exposure:
    kind, source, resource, product, reading = record
    stopped: list[object] = []
    if "statusReason" in resource or "statusReasonCodeableConcept" in resource:
        stopped = [*items(resource.get("statusReason")), *_dispense_reason(resource)]
    use, label = _use(resource, chart, product)
    if not use:
        use, label = reading.use, reading.use_label
    return Exposure(
        product,
        span,
        reading.dose,
        kind,
        source,
        stop_reason(stopped) if stopped else "",
        use,
        label,
        reading.as_needed,
        True,
        kind == "MedicationRequest" and resource.get("status") == "active",
    )


def _dispense_reason(resource: Resource) -> list[object]:
    reason = resource.get("statusReasonCodeableConcept")
    return [] if reason is None else [reason]


def _use(resource: Resource, chart: Chart, product: Product) -> tuple[Diagnosis, str]:
    """Tell what the drug was given for: recorded reasons, else what the product is for."""
    if "reasonCode" not in resource and "reasonReference" not in resource:
        return ("other", product.use) if product.use else ("", "")
    concepts = [*items(resource.get("reasonCode"))]
    for reference in items(resource.get("reasonReference")):
        target = chart.resolve(reference, resource)
        concepts.append(target.get("code"))
        if not target:
            concepts.append({"text": text(mapping(reference).get("display"))})
    kinds = {kind for concept in concepts for kind in diagnosis(concept)}
    chosen = use_of(kinds)
    if chosen:
        named = sorted({words(concept)[0] for concept in concepts if words(concept)})
        return chosen, ", ".join(named)[:60].lower()
    if product.use:
        return "other", product.use
    return "", ""
