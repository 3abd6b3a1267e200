"""What the OpenAPI document says of answers and problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ketacast_service.errors import BY_STATUS, MEDIA_TYPE

_HEADERS: Final[Mapping[str, str]] = {
    "Location": "Where the answer can be read again",
    "Retry-After": "Seconds to wait before asking again",
    "WWW-Authenticate": "How to authenticate",
    "Allow": "Methods offered here",
    "ETag": "Digest of the document",
}
_OF_STATUS: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


def shown(
    schema: str,
    description: str,
    *,
    also: Mapping[str, Any] | None = None,
    headers: Sequence[str] = (),
    links: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe an answer by the name of its schema."""
    found: dict[str, Any] = {
        "description": description,
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}},
            **(also or {}),
        },
    }
    if headers:
        found["headers"] = _headers(headers)
    if links:
        found["links"] = links
    return found


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that an operation may answer with."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    kind = BY_STATUS[status]
    found: dict[str, Any] = {
        "description": kind.title,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/ProblemAnswer"},
                "example": {
                    "type": kind.type,
                    "title": kind.title,
                    "status": status,
                    "detail": "what is wrong with this request and how to mend it",
                    "request_id": "0f5b6f1c2a7d4e0b",
                },
            }
        },
    }
    names = _OF_STATUS.get(status, ())
    return {**found, "headers": _headers(names)} if names else found


def _headers(names: Sequence[str]) -> dict[str, Any]:
    return {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}
