"""Content negotiation by the Accept header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from ketacast_service.errors import ProblemError


def best_of(accept: str | None, offered: Sequence[str]) -> str:
    """Return the offered media type that is liked most; the first offered wins a tie.

    Raises
    ------
    ProblemError
        "not-acceptable" if none is.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    liked = [(_quality(kind, ranges), -place, kind) for place, kind in enumerate(offered)]
    quality, _, kind = max(liked)
    if quality <= 0:
        raise ProblemError(
            "not-acceptable", f"this is offered as {', '.join(offered)}; accept one of them"
        )
    return kind


def _range(part: str) -> tuple[str, float]:
    kind, *parameters = (word.strip().lower() for word in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return kind, float(value)
            except ValueError:
                return kind, 0.0
    return kind, 1.0


def _quality(kind: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the quality of the most specific range that holds the type."""
    family = kind.partition("/")[0] + "/*"
    for wanted in (kind, family, "*/*"):
        for name, quality in ranges:
            if name == wanted:
                return quality
    return 0.0
