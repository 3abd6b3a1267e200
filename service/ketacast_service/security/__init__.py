"""Who may ask, and how often: API keys, access tokens, rate limits, foreign web pages.

Names are looked up when they are used: the parent of the workers, which only checks the
settings, need not load what authenticates.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ketacast_service.security.authenticator import (
        Authenticator,
        build_authenticator,
        retry_after,
    )
    from ketacast_service.security.browsers import BrowserGuard, allowed_hosts, is_allowed_host
    from ketacast_service.security.rates import Limits, RateLimiter, build_limits, peer_key

_PLACES: Final = {
    "authenticator": ("Authenticator", "build_authenticator", "retry_after"),
    "browsers": ("BrowserGuard", "allowed_hosts", "is_allowed_host"),
    "rates": ("Limits", "RateLimiter", "build_limits", "peer_key"),
}

__all__ = [
    "Authenticator",
    "BrowserGuard",
    "Limits",
    "RateLimiter",
    "allowed_hosts",
    "build_authenticator",
    "build_limits",
    "is_allowed_host",
    "peer_key",
    "retry_after",
]


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{place}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
