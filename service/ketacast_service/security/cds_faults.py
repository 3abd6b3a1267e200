"""What is wrong with the settings of CDS Hooks, each with how to mend it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from ketacast_service.errors import ServiceError
from ketacast_service.settings import CdsClient, Settings

_ISSUER: Final = re.compile(r"[A-Za-z0-9._~:@/+=|-]{1,124}")
"""With ``cds:`` in front the 128 characters of the audit table; safe in logs."""


def cds_faults(settings: Settings) -> Iterator[str]:
    """Say what is not safe or not usable in the settings of CDS Hooks."""
    yield from _reach_faults(settings)
    if settings.cds_mode == "jwt":
        yield from _jwt_faults(settings)
    for server in settings.cds_fhir_servers:
        if not _is_secure_url(server):
            yield (
                f"cds_fhir_servers {_shown(server)} is no https address (or http on this machine); "
                "give https://HOST[/PATH] without query"
            )
    for name in ("cds_lookup_url", "cds_source_url"):
        url: str | None = getattr(settings, name)
        if url is not None and not _is_secure_url(url):
            yield f"{name} {_shown(url)} is no https address (or http on this machine); correct it"


def _reach_faults(settings: Settings) -> Iterator[str]:
    """Open CDS Hooks are for this machine alone, as everything without authentication."""
    if settings.cds_auth == "none" and (settings.auth != "none" or not settings.is_loopback):
        yield (
            f"cds_auth 'none' with auth {settings.auth!r} and host {settings.host!r} leaves CDS "
            "Hooks open; list cds_clients and set cds_auth to 'jwt', or to 'api' for keys"
        )
    if settings.cds_auth == "api" and settings.auth == "none":
        yield "cds_auth 'api' needs keys or tokens; set auth to 'keys', 'jwt' or 'keys+jwt'"


def _jwt_faults(settings: Settings) -> Iterator[str]:
    from ketacast_service.security.jwks import ALGORITHMS  # noqa: PLC0415  # cryptography, for tokens only

    if settings.public_url is None:
        yield "public_url is missing; tokens of CDS Hooks clients name the address they call"
    if not settings.cds_clients:
        yield "cds_auth 'jwt' without cds_clients lets nobody in; list the issuers and their keys"
    issuers = [client.issuer for client in settings.cds_clients]
    if len(set(issuers)) < len(issuers):
        yield "cds_clients names an issuer twice; give one entry per issuer"
    for client in settings.cds_clients:
        yield from _client_faults(client)
    foreign = [name for name in settings.cds_algorithms if name not in ALGORITHMS]
    if foreign or not settings.cds_algorithms:
        yield (
            f"cds_algorithms {', '.join(map(repr, foreign)) or 'is empty'}; "
            f"choose from {', '.join(ALGORITHMS)}"
        )


def _client_faults(client: CdsClient) -> Iterator[str]:
    from ketacast_service.security.jwks import read_key_set  # noqa: PLC0415
    from ketacast_service.security.key_sources import url_fault  # noqa: PLC0415

    shown = f"cds_clients {client.issuer!r}"
    if _ISSUER.fullmatch(client.issuer) is None:
        yield f"{shown}: the issuer has other characters than addresses have; correct it"
    if client.jwks_file is None and not client.jwks_urls:
        yield f"{shown} has no keys; give jwks_file, or the addresses its tokens may name"
    if client.jwks_file is not None:
        try:
            read_key_set(client.jwks_file.read_bytes())
        except OSError as error:
            yield f"{shown}: jwks_file cannot be read ({error.__class__.__name__}); correct it"
        except ServiceError as error:
            yield f"{shown}: jwks_file: {error}"
    for url in client.jwks_urls:
        fault = url_fault(url, [_host(url)])
        if fault is not None:
            yield f"{shown}: jwks_urls: {fault}"


def _shown(url: str) -> str:
    """Return an address for a message, unless it may hold a password."""
    return "(not shown, it holds a user or password)" if "@" in url else repr(url)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_secure_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
        host = parts.hostname
    except ValueError:
        return False
    if not host or "@" in parts.netloc or parts.query or parts.fragment or not url.isascii():
        return False
    if not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_local(host))


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
