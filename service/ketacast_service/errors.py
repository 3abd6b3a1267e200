"""Errors of the service: what an operator reads at start, and problem documents (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from ketacast.errors import KetacastError

TYPE_PREFIX: Final = "urn:ketacast:problem:"
MEDIA_TYPE: Final = "application/problem+json"


class ServiceError(KetacastError):
    """The service cannot do what its operator asked (settings, database, keys)."""


class StoreDownError(ServiceError):
    """The database does not take or give records now."""


@contextmanager
def store_problems(what: str) -> Iterator[None]:
    """Turn a store that is down into the problem that says so.

    Parameters
    ----------
    what : str
        What cannot be read or written, such as "stored clinics".
    """
    try:
        yield
    except StoreDownError as error:
        raise ProblemError(
            "unavailable",
            f"{what} cannot be read or written now; ask again in a moment, and tell the operator "
            "if it goes on",
            headers=(("Retry-After", "2"),),
        ) from error


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A kind of problem; its slug never changes."""

    slug: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """The problem's ``type``."""
        return TYPE_PREFIX + self.slug


_KINDS: Final = (
    ProblemKind("invalid-input", 422, "A value cannot be used"),
    ProblemKind("malformed-request", 400, "The request cannot be read"),
    ProblemKind("not-authenticated", 401, "A valid key or token is needed"),
    ProblemKind("not-allowed", 403, "The key or token does not allow this"),
    ProblemKind("not-found", 404, "Nothing is here"),
    ProblemKind("method-not-allowed", 405, "This method is not offered here"),
    ProblemKind("not-acceptable", 406, "The answer is not offered in this format"),
    ProblemKind("too-slow", 408, "The request took too long to arrive"),
    ProblemKind("conflict", 409, "The state does not allow this"),
    ProblemKind("data-missing", 412, "Data that the answer needs is missing"),
    ProblemKind("too-large", 413, "The request is too large"),
    ProblemKind("unsupported-media-type", 415, "The body's format is not read here"),
    ProblemKind("too-many-requests", 429, "Too many requests"),
    ProblemKind("internal-error", 500, "The service failed"),
    ProblemKind("unavailable", 503, "The service cannot answer now"),
)
PROBLEMS: Final[Mapping[str, ProblemKind]] = {kind.slug: kind for kind in _KINDS}
BY_STATUS: Final[Mapping[int, ProblemKind]] = {kind.status: kind for kind in _KINDS}


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One offending field: JSON pointer, what is wrong, how to mend it."""

    field: str
    detail: str
    remedy: str

    def to_dict(self) -> dict[str, str]:
        """Plain dictionary."""
        return {"field": self.field, "detail": self.detail, "remedy": self.remedy}


@dataclass(eq=False)
class ProblemError(ServiceError):
    """Answer a request with a problem document.

    Parameters
    ----------
    slug : str
        Kind of problem, a key of :data:`PROBLEMS`.
    detail : str
        What is wrong with this request and how to mend it.
    errors : sequence of FieldProblem
        The offending fields.
    headers : sequence of (str, str)
        Further headers, for example ``Retry-After``.
    """

    slug: str
    detail: str
    errors: Sequence[FieldProblem] = ()
    headers: Sequence[tuple[str, str]] = field(default=())

    def __post_init__(self) -> None:
        super().__init__(self.detail)

    @property
    def status(self) -> int:
        """HTTP status."""
        return PROBLEMS[self.slug].status

    def document(self, request_id: str) -> bytes:
        """Return the problem document."""
        kind = PROBLEMS[self.slug]
        found: dict[str, Any] = {
            "type": kind.type,
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.errors:
            found["errors"] = [error.to_dict() for error in self.errors]
        return json.dumps(found).encode()
