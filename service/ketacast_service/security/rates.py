"""Rate limits: a token bucket for each caller, in the memory of one worker."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from ketacast_service.errors import ServiceError
from ketacast_service.settings import Settings

CAPACITY: Final = 65_536
"""Buckets kept; some ten megabytes when full."""
FAILURES_PER_SECOND: Final = 1.0
FAILURES_BURST: Final = 20
"""Failed authentications of one address: room for a clinic that is setting up its key, and
far from what guessing needs."""
_IPV6_SITE: Final = 64
"""An IPv6 site holds 2**64 addresses, so the site is counted and not the address."""


class RateLimiter:
    """Token buckets by caller.

    A bucket is kept as one number: the moment at which it is full again (the generic
    cell rate algorithm, which admits exactly what a token bucket admits). A bucket that
    is full says the same as none, so idle callers cost no memory once they are evicted.

    Each worker counts for itself: with several workers a caller may get up to as many
    times the limit as there are workers.

    Parameters
    ----------
    per_second : float
        Requests per second in the long run; 0 admits everything.
    burst : int
        Requests that may come at once.
    capacity : int
        Callers kept; beyond it the one that was silent longest is forgotten.

    Raises
    ------
    ServiceError
        If a number is out of its range.
    """

    __slots__ = ("_capacity", "_full_at", "_slack", "_spacing")

    def __init__(self, per_second: float, burst: int, *, capacity: int = CAPACITY) -> None:
        if not 0 <= per_second < float("inf"):
            raise ServiceError(
                f"a rate of {per_second} per second cannot be used; give 0 (no limit) or more"
            )
        if burst < 1 or capacity < 1:
            raise ServiceError(
                f"burst {burst} and capacity {capacity} must both be 1 or more; correct them"
            )
        self._spacing = 1.0 / per_second if per_second else 0.0
        self._slack = (burst - 1) * self._spacing
        self._capacity = capacity
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, now: float) -> float:
        """Take one request out of a caller's bucket.

        Parameters
        ----------
        key : str
            Who asks.
        now : float
            Seconds of a clock that never goes back.

        Returns
        -------
        float
            0.0 if the request is admitted; else the seconds until one would be.
        """
        if not self._spacing:
            return 0.0
        buckets = self._full_at
        full_at = buckets.get(key)
        if full_at is None:
            if len(buckets) >= self._capacity:
                buckets.popitem(last=False)
            buckets[key] = now + self._spacing
            return 0.0
        buckets.move_to_end(key)
        ahead = full_at - now
        if ahead > self._slack:
            return ahead - self._slack
        buckets[key] = (full_at if ahead > 0.0 else now) + self._spacing
        return 0.0

    def peek(self, key: str, now: float) -> float:
        """Return the seconds to wait as :meth:`take` would, without taking."""
        full_at = self._full_at.get(key)
        if full_at is None:
            return 0.0
        return max(0.0, full_at - now - self._slack)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that a gate applies.

    Attributes
    ----------
    clients : RateLimiter
        Requests by client id.
    failures : RateLimiter
        Failed authentications by :func:`peer_key`. Ask ``peek`` before the slow path of
        authentication and ``take`` after it failed; callers known to the fast path are
        not touched by the failures of others behind the same address.
    """

    clients: RateLimiter
    failures: RateLimiter


def build_limits(settings: Settings) -> Limits:
    """Make the limits of one worker; both are off if ``rate_per_second`` is 0."""
    rate = settings.rate_per_second
    return Limits(
        clients=RateLimiter(rate, settings.rate_burst),
        failures=RateLimiter(FAILURES_PER_SECOND if rate else 0.0, FAILURES_BURST),
    )


def peer_key(address: str) -> str:
    """Return what stands for a peer in the count of failures: its address, or IPv6 site."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # a Unix socket or a test client: one peer
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), _IPV6_SITE), strict=False))
    return str(parsed)
