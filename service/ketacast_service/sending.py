"""How answers leave: headers that every answer carries, and cross-origin rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from ketacast_service.calls import Reply
from ketacast_service.errors import MEDIA_TYPE, ProblemError
from ketacast_service.settings import Settings

Headers: TypeAlias = list[tuple[bytes, bytes]]

_SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_OF_PAGES: Final = (
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_CLOSED: Final = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_EXPOSED: Final = b"X-Request-Id, Location, Retry-After, ETag, X-Audit"
_MINUTES_10: Final = b"600"


class Outgoing:
    """Adds headers to answers.

    Parameters
    ----------
    settings : Settings
        Which origins may read answers in a browser, and whether clients use TLS.
    """

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(origin.encode() for origin in settings.cors_origins)
        fixed = [*_SECURITY]
        if settings.is_encrypted:
            fixed.append((b"strict-transport-security", b"max-age=31536000"))
        self._always: Final = fixed
        self._usual: Final = [
            *fixed, (b"content-security-policy", _CLOSED), (b"cache-control", b"no-store"),
        ]  # fmt: skip

    def complete(
        self, headers: Sequence[tuple[bytes, bytes]], request_id: str, origin: bytes | None
    ) -> Headers:
        """Return an answer's headers with those that every answer carries.

        An answer that states its own policies of content and caching keeps them; pages get
        some that say nothing about data.
        """
        found: Headers = [*headers, (b"x-request-id", request_id.encode())]
        stated = dict(headers)
        if b"content-security-policy" in stated or b"cache-control" in stated:
            found += [pair for pair in self._usual if pair[0] not in stated]
        else:
            found += self._usual
        if stated.get(b"content-type", b"").startswith(b"text/html"):
            found += [pair for pair in _OF_PAGES if pair[0] not in stated]
        if self._origins:
            found += self._cross_origin(origin)
        return found

    def _cross_origin(self, origin: bytes | None) -> Headers:
        vary = (b"vary", b"Origin")
        if origin is None or origin not in self._origins:
            return [vary]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            vary,
        ]

    def preflight(self, origin: bytes | None) -> Reply:
        """Answer the question that a browser asks before a cross-origin request."""
        if origin is None or origin not in self._origins:
            raise ProblemError(
                "not-allowed",
                "pages of this origin may not call; list the origin in KETACAST_CORS_ORIGINS",
            )
        return Reply(
            b"",
            204,
            [
                (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
                (
                    b"access-control-allow-headers",
                    b"Authorization, Content-Type, Accept, X-API-Key, X-Request-Id",
                ),
                (b"access-control-max-age", _MINUTES_10),
            ],
        )


def problem_reply(problem: ProblemError, request_id: str) -> Reply:
    """Return a problem as an answer."""
    extra = [(name.lower().encode(), value.encode()) for name, value in problem.headers]
    return Reply(
        problem.document(request_id),
        problem.status,
        [(b"content-type", MEDIA_TYPE.encode()), *extra],
    )
