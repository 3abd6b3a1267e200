"""Is a course of ketamine or esketamine in play? Codes first, words as the last resort."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

from ketacast.history.concepts import diagnosis
from ketacast.history.drugs import Product
from ketacast.history.fhir import Resource, items, mapping, text, words
from ketacast.history.products import product_of
from ketacast.history.records import Chart, read_chart, short_name

Agent = Literal["ketamine", "esketamine"]

OLDEST_DAYS: Final = 365
"""An active order that is older was forgotten: no course of infusions is planned that long."""

_OVER: Final = frozenset(
    {"cancelled", "completed", "entered-in-error", "ended", "revoked", "stopped"}
)
_IDEAS: Final = frozenset({"option", "plan", "proposal"})
_INFUSION: Final = re.compile(
    r"infus|intraven|\biv\b|inject|drip|administ|treatment|therapy|course|session"
)
_NOT_FOR_MOOD: Final = re.compile(
    r"an(?:a)?esthe|sedat|analges|\bpain|induction|intubat|premedic|procedur|status epilep|"
    r"screen|urine|\btest|\blevel|assay|topical|cream|gel\b|neuropath|migrain|veterinar"
)
_NOT_INTRAVENOUS: Final = re.compile(
    r"oral|sublingual|buccal|nasal|intramuscular|subcutan|\bim\b|\bpo\b|\bsc\b|rectal|lozenge|"
    r"troche|tablet|capsule|spray"
)
_DEPRESSION: Final = frozenset({"depression", "bipolar"})


@dataclass(frozen=True, slots=True)
class InPlay:
    """Orders of one agent.

    Attributes
    ----------
    agent : {"ketamine", "esketamine"}
        What is ordered.
    orders : tuple of mapping
        The orders of it.
    other_route : bool
        Whether an order names another way than the vein.
    """

    agent: Agent
    orders: tuple[Resource, ...]
    other_route: bool


def orders_in_play(
    orders: Sequence[Resource], surroundings: Iterable[Resource]
) -> tuple[InPlay, ...]:
    """Find orders of ketamine or esketamine among draft orders.

    Parameters
    ----------
    orders : sequence of mapping
        Orders to judge.
    surroundings : iterable of mapping
        Resources that they may refer to.

    Returns
    -------
    tuple of InPlay
        Ketamine first; empty if neither is ordered.
    """
    medications = [held for held in surroundings if held.get("resourceType") == "Medication"]
    chart = read_chart(medications)
    return _grouped([order for order in orders if _is_meant(order)], chart)


def active_courses(requests: Sequence[Resource], today: date) -> tuple[InPlay, ...]:
    """Find orders of ketamine or esketamine that are active in a chart.

    Parameters
    ----------
    requests : sequence of mapping
        MedicationRequest resources, with Medications that they refer to.
    today : date
        Orders written long before it were forgotten.
    """
    medications = [held for held in requests if held.get("resourceType") == "Medication"]
    earliest = (today - timedelta(days=OLDEST_DAYS)).isoformat()
    active = [
        request
        for request in requests
        if request.get("resourceType") == "MedicationRequest"
        and request.get("status") == "active"
        and text(request.get("intent")) not in _IDEAS
        and (text(request.get("authoredOn")) or earliest)[:10] >= earliest
        and _is_meant(request)
    ]
    return _grouped(active, read_chart(medications))


def _grouped(orders: Sequence[Resource], chart: Chart) -> tuple[InPlay, ...]:
    found: dict[Agent, list[Resource]] = {"ketamine": [], "esketamine": []}
    for order in orders:
        agent = _agent(order, chart)
        if agent is not None:
            found[agent].append(order)
    return tuple(
        InPlay(agent, tuple(named), any(_has_other_route(order) for order in named))
        for agent, named in found.items()
        if named
    )


def _is_meant(order: Resource) -> bool:
    return text(order.get("status")) not in _OVER and order.get("doNotPerform") is not True


def _agent(order: Resource, chart: Chart) -> Agent | None:
    kind = order.get("resourceType")
    if kind == "MedicationRequest":
        product = product_of(order, chart)
    elif kind == "ServiceRequest":
        product = _of_service(order)
    else:
        return None
    if not isinstance(product, Product) or product.drug.kind != "ketamine" or product.use:
        return None
    if not _is_for_mood(order):
        return None
    return "esketamine" if product.drug.name == "esketamine" else "ketamine"


def _of_service(order: Resource) -> Product | None:
    """Read a request for infusions; laboratory tests of ketamine name it too."""
    concepts = [order.get("code"), *items(order.get("orderDetail"))]
    said = " ".join(part for concept in concepts for part in words(concept)).lower()
    if said and _INFUSION.search(said[:1000]) is None:
        return None
    for concept in concepts:
        product = product_of({"medicationCodeableConcept": concept}, Chart())
        if isinstance(product, Product) and product.drug.kind == "ketamine":
            return product
    return None


def _is_for_mood(order: Resource) -> bool:
    """Whether an order may be for depression: it says so, or says nothing else."""
    reasons = items(order.get("reasonCode"))
    kinds = {kind for reason in reasons for kind in diagnosis(reason)}
    if kinds:
        return bool(kinds & _DEPRESSION)
    said = [part for reason in reasons for part in words(reason)]
    said += _own_words(order)
    return not any(_NOT_FOR_MOOD.search(part[:400].lower()) for part in said)


def _own_words(order: Resource) -> list[str]:
    concepts = [
        order.get("medicationCodeableConcept"), order.get("code"), *items(order.get("category")),
    ]  # fmt: skip
    said = [part for concept in concepts for part in words(concept)]
    said += [text(mapping(entry).get("text")) for entry in items(order.get("dosageInstruction"))]
    return [*said, text(mapping(order.get("medicationReference")).get("display"))]


def _has_other_route(order: Resource) -> bool:
    concept = order.get("medicationCodeableConcept")
    said = [part.lower()[:400] for part in words(concept)]
    for entry in items(order.get("dosageInstruction")):
        said += [part.lower()[:400] for part in words(mapping(entry).get("route"))]
    return any(_NOT_INTRAVENOUS.search(part) for part in said)


def order_names(orders: Iterable[Resource]) -> frozenset[str]:
    """Return the names of orders, by which they are kept out of the history."""
    return frozenset(
        short_name(f"{order.get('resourceType')}/{order['id']}")
        for order in orders
        if isinstance(order.get("id"), str)
    )
