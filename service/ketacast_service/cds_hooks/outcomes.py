"""Errors on CDS Hooks routes: OperationOutcome resources instead of problem documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ketacast_service.calls import Reply
from ketacast_service.cds_hooks.discovery import BASE
from ketacast_service.errors import PROBLEMS, ProblemError
from ketacast_service.models import as_json
from ketacast_service.sending import problem_reply

MEDIA_TYPE: Final = b"application/fhir+json"

_ISSUES: Final[Mapping[str, str]] = {
    "invalid-input": "value",
    "malformed-request": "structure",
    "not-authenticated": "login",
    "not-allowed": "forbidden",
    "not-found": "not-found",
    "method-not-allowed": "not-supported",
    "not-acceptable": "not-supported",
    "too-slow": "timeout",
    "conflict": "conflict",
    "data-missing": "required",
    "too-large": "too-long",
    "unsupported-media-type": "not-supported",
    "too-many-requests": "throttled",
    "internal-error": "exception",
    "unavailable": "transient",
}
_UNKNOWN_CLIENT: Final = "a valid credential of a client known here is needed with each call"
"""All that a refused client learns; the reason is in the service's log."""


def refusal(path: str, problem: ProblemError, request_id: str) -> Reply:
    """Return a problem in the format of the routes where it came up.

    Parameters
    ----------
    path : str
        That was asked for.
    problem : ProblemError
        What is wrong.
    request_id : str
        To find the request in the log.
    """
    if path == BASE or path.startswith(BASE + "/"):
        return outcome_reply(problem, request_id)
    return problem_reply(problem, request_id)


def outcome_reply(problem: ProblemError, request_id: str) -> Reply:
    """Return a problem as an OperationOutcome."""
    extra = [(name.lower().encode(), value.encode()) for name, value in problem.headers]
    body = as_json(operation_outcome(problem, request_id))
    return Reply(body, problem.status, [(b"content-type", MEDIA_TYPE), *extra])


def operation_outcome(problem: ProblemError, request_id: str) -> dict[str, Any]:
    """Return the resource: what kind of problem, and how to mend it."""
    refused = problem.slug == "not-authenticated"
    issue = {
        "severity": "fatal" if problem.slug == "internal-error" else "error",
        "code": _ISSUES.get(problem.slug, "processing"),
        "details": {"text": PROBLEMS[problem.slug].title},
        "diagnostics": f"{_UNKNOWN_CLIENT if refused else problem.detail} (request {request_id})",
    }
    return {"resourceType": "OperationOutcome", "issue": [issue]}
