"""Which scope a request needs; whatever is not listed needs one that no key has by default."""

from __future__ import annotations

from typing import Final

SCOPES: Final = ("predict", "read", "clinics", "simulate", "cds", "metrics")
DEFAULT_SCOPES: Final = ("predict", "read")
ALL_SCOPES: Final = frozenset(SCOPES)

_PUBLIC: Final = frozenset({"/livez", "/readyz", "/version", "/openapi.json", "/docs", "/"})
_BY_PREFIX: Final = (
    ("/v1/predictions", "predict"),
    ("/v1/clinics", "clinics"),
    ("/v1/simulations", "simulate"),
    ("/v1/", "read"),
    ("/cds-services", "cds"),
    ("/metrics", "metrics"),
)


def required_scope(path: str) -> str | None:
    """Return the scope that a path needs; None if it is open to everyone."""
    if path in _PUBLIC or path.startswith(("/docs/", "/page/")):
        return None
    for prefix, scope in _BY_PREFIX:
        if path.startswith(prefix):
            return scope
    return "read"
