"""Bodies of calls and feedback as JSON schema, for the OpenAPI document.

They say what is checked. Everything else that CDS Hooks or a client adds is passed over.
"""

from __future__ import annotations

from typing import Any, Final

from ketacast_service.cds_hooks.discovery import PREFETCH, HookService
from ketacast_service.cds_hooks.feedback import MOST

_TEXT: Final = {"type": "string", "minLength": 1}
_PATIENT: Final = {
    "type": "string", "pattern": r"^(Patient/)?[A-Za-z0-9\-.]{1,64}$",
    "description": "The patient's FHIR id",
}  # fmt: skip
_ORDERS: Final = {
    "type": "object",
    "properties": {"entry": {"type": ["array", "null"]}},
    "description": "Bundle of the draft orders",
}
_SUGGESTIONS: Final = {
    "type": "array", "minItems": 1,
    "items": {"type": "object", "required": ["id"], "properties": {"id": _TEXT}},
}  # fmt: skip
_ENTRY: Final = {
    "card": {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
    "outcomeTimestamp": {
        "type": "string",
        "pattern": r"^[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"
        r"T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z$",
    },
}


def call_schema(hook: HookService) -> dict[str, Any]:
    """Return the schema of a call of one service."""
    context: dict[str, Any] = {"userId": _TEXT, "patientId": _PATIENT}
    if hook.hook != "patient-view":
        context["draftOrders"] = _ORDERS
    if hook.hook == "order-select":
        context["selections"] = {"type": "array", "description": "Names of the selected orders"}
    return {
        "type": "object",
        "required": ["hook", "hookInstance", "context"],
        "properties": {
            "hook": {"type": "string", "enum": [hook.hook]},
            "hookInstance": _TEXT,
            "context": {"type": "object", "required": list(context), "properties": context},
            "prefetch": {
                "type": ["object", "null"],
                "description": f"Resources or Bundles under {', '.join(PREFETCH)}; null under a "
                "key: nothing there",
            },
        },
        "description": "With fhirServer and fhirAuthorization what is missing is read",
    }


def feedback_schema() -> dict[str, Any]:
    """Return the schema of feedback."""
    required = ["card", "outcome", "outcomeTimestamp"]
    accepted = {
        "type": "object",
        "required": [*required, "acceptedSuggestions"],
        "properties": {
            **_ENTRY, "outcome": {"type": "string", "enum": ["accepted"]},
            "acceptedSuggestions": _SUGGESTIONS,
        },
    }  # fmt: skip
    overridden = {
        "type": "object",
        "required": required,
        "properties": {
            **_ENTRY, "outcome": {"type": "string", "enum": ["overridden"]},
            "overrideReason": {"type": ["object", "null"]},
        },
    }  # fmt: skip
    return {
        "type": "object",
        "required": ["feedback"],
        "properties": {
            "feedback": {
                "type": "array", "minItems": 1, "maxItems": MOST,
                "items": {"anyOf": [accepted, overridden]},
            }
        },
    }  # fmt: skip
