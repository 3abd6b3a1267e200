"""Who may ask, and how often: API keys, access tokens, rate limits, foreign web pages."""

from __future__ import annotations

from ketacast_service.security.authenticator import (
    Authenticator,
    build_authenticator,
    retry_after,
)
from ketacast_service.security.browsers import BrowserGuard, allowed_hosts, is_allowed_host
from ketacast_service.security.rates import Limits, RateLimiter, build_limits, peer_key

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
