"""What CDS Hooks clients are told: the services, and the data that each would like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ketacast_service.models import as_json

Hook = Literal["patient-view", "order-select", "order-sign"]

BASE: Final = "/cds-services"
SPECIFICATION: Final = "2.0.1"
HOOK_VERSION: Final = "1.0"

PREFETCH: Final[Mapping[str, str]] = {
    "patient": "Patient/{{context.patientId}}",
    "conditions": "Condition?patient={{context.patientId}}",
    "medRequests": "MedicationRequest?patient={{context.patientId}}",
    "medStatements": "MedicationStatement?patient={{context.patientId}}",
    "phq9": (
        "Observation?patient={{context.patientId}}&code=http://loinc.org|44261-6"
        "&_sort=-date&_count=1"
    ),
}
"""Queries of the portable subset only: reads, and searches by patient and one code."""

HISTORY: Final = ("medRequests", "medStatements")
"""Without one of these there is nothing to count from."""

TYPES: Final[Mapping[str, str]] = {
    key: template.partition("?")[0].partition("/")[0] for key, template in PREFETCH.items()
}

_USAGE: Final = (
    "FHIR R4. Needs the patient's medication requests, by prefetch or by fhirAuthorization; "
    "diagnoses, statements and the latest PHQ-9 make the answer better. For clinicians: nothing "
    "is shown to patients. Not a medical device."
)


@dataclass(frozen=True, slots=True)
class HookService:
    """One service of the discovery document."""

    hook: Hook
    title: str
    description: str

    @property
    def id(self) -> str:
        """Last part of the service's address."""
        return f"ketamine-outlook-{self.hook}"

    @property
    def path(self) -> str:
        """Where it is called."""
        return f"{BASE}/{self.id}"

    @property
    def feedback_path(self) -> str:
        """Where clients say what became of its cards."""
        return f"{self.path}/feedback"

    def to_dict(self) -> dict[str, Any]:
        """Give the service's entry of the discovery document."""
        return {
            "hook": self.hook,
            "id": self.id,
            "title": self.title,
            "description": self.description,
            "prefetch": dict(PREFETCH),
            "usageRequirements": _USAGE,
            "version": SPECIFICATION,
            "hookVersion": HOOK_VERSION,
        }


SERVICES: Final = (
    HookService(
        "patient-view",
        "Ketamine outlook: course under way",
        "For a patient with an active order of ketamine for depression: how likely are response "
        "and remission, as a range from published groups. Silent for everybody else.",
    ),
    HookService(
        "order-select",
        "Ketamine outlook: order chosen",
        "For a chosen order of intravenous ketamine: how likely are response and remission given "
        "the failed antidepressant trials in the chart, as a range from published groups.",
    ),
    HookService(
        "order-sign",
        "Ketamine outlook: order to be signed",
        "For an order of intravenous ketamine about to be signed: how likely are response and "
        "remission given the failed antidepressant trials in the chart, as a range from "
        "published groups.",
    ),
)
"""One id for each hook: clients that keep one hook per id would lose the others."""


def discovery_document() -> bytes:
    """Return the discovery document."""
    return as_json({"services": [service.to_dict() for service in SERVICES]})
