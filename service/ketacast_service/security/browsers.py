"""What a web page in a browser on this machine must not do to an open service.

Without authentication the service listens on this machine only. Two ways are left for
a foreign page: a name of its own that suddenly points to 127.0.0.1 (DNS rebinding),
seen in the ``Host`` header, and a form or script that posts across sites, seen in
``Origin`` and ``Sec-Fetch-Site``. With keys or tokens neither gains anything, because a
browser does not add those by itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from ketacast_service.errors import ProblemError
from ketacast_service.settings import Settings

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE: Final = frozenset({b"same-origin", b"none"})
"""``none`` is a person's own doing (address bar); ``same-site`` may be another port."""

_MOST_KNOWN: Final = 64


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Return the names that ``Host`` may hold besides loopback addresses; None if any.

    Parameters
    ----------
    settings : Settings
        Only without authentication are names restricted.
    """
    if settings.auth != "none":
        return None
    names = {"localhost"}
    if not _is_loopback(settings.host):
        names.add(settings.host.lower())
    if settings.public_url is not None:
        host = urlsplit(settings.public_url).hostname
        if host:
            names.add(host)
    return frozenset(names)


def is_allowed_host(value: bytes, allowed: frozenset[str] | None) -> bool:
    """Whether a ``Host`` header names this machine, whatever the port."""
    if allowed is None:
        return True
    name = _host_name(value)
    return name is not None and (name in allowed or _is_loopback(name))


class BrowserGuard:
    """Refuse foreign pages where the service is open to everyone on this machine.

    Parameters
    ----------
    settings : Settings
        With authentication the guard lets everything pass.
    """

    __slots__ = ("_hosts", "_is_active", "_known", "_origins")

    def __init__(self, settings: Settings) -> None:
        self._hosts = allowed_hosts(settings)
        self._is_active = self._hosts is not None
        self._known: set[bytes] = set()
        self._origins = frozenset(origin.lower().encode() for origin in settings.cors_origins)

    def check(self, method: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Let a request pass.

        Raises
        ------
        ProblemError
            ``not-allowed`` if ``Host`` is foreign, or a request that may change something
            comes from another site.
        """
        if not self._is_active:
            return
        hosts, origins, sites = _read(headers)
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            raise ProblemError(
                "not-allowed",
                "this service answers under localhost only; call it there, or set "
                "KETACAST_PUBLIC_URL to the name it is reached by",
            )
        if method in _READING:
            return
        if origins:
            own = len(origins) == 1 and (
                origins[0].lower() in self._origins or _is_same(origins[0], hosts[0])
            )
        else:
            own = all(site in _OWN_SITE for site in sites)
        if not own:
            raise ProblemError(
                "not-allowed",
                "pages of other sites may not send this; call from a program, or list the "
                "page's origin in KETACAST_CORS_ORIGINS",
            )

    def _is_own(self, host: bytes) -> bool:
        """Whether a host is this machine; callers use the same few over and over."""
        if host in self._known:
            return True
        if not is_allowed_host(host, self._hosts):
            return False
        if len(self._known) < _MOST_KNOWN:
            self._known.add(host)
        return True


def _read(
    headers: Sequence[tuple[bytes, bytes]],
) -> tuple[list[bytes], list[bytes], list[bytes]]:
    hosts: list[bytes] = []
    origins: list[bytes] = []
    sites: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"origin":
            origins.append(value)
        elif name == b"sec-fetch-site":
            sites.append(value)
    return hosts, origins, sites


def _host_name(value: bytes) -> str | None:
    """Return the name or address in a ``Host`` header, or None if it is malformed."""
    try:
        text = value.decode("ascii").lower()
        parts = urlsplit(f"//{text}")
        _ = parts.port  # raises if it is no number
    except ValueError:
        return None
    if parts.netloc != text or "@" in text or parts.hostname is None:
        return None
    return parts.hostname.removesuffix(".")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_same(origin: bytes, host: bytes) -> bool:
    """Whether a page's origin is the host it calls; the default port may be left out."""
    scheme, found, place = origin.decode("latin-1").lower().partition("://")
    port = {"http": ":80", "https": ":443"}.get(scheme)
    if not found or port is None:
        return False
    return place.removesuffix(port) == host.decode("latin-1").lower().removesuffix(port)
