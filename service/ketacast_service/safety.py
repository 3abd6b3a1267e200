"""Start-up checks: settings that would leave the service open are refused, all at once."""

from __future__ import annotations

import ipaddress
import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ketacast_service.errors import ServiceError
from ketacast_service.security.cds_faults import cds_faults
from ketacast_service.settings import Settings

SLOW_REFRESH: Final = 30.0
"""Seconds; a revoked key that counts for longer is worth a word."""
FEWEST_DIFFERENT: Final = 8
"""Different characters of a secret; hexadecimal text has up to 16."""
_FOR_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP
"""The group may read: that is how orchestrators hand secrets to a service's own group."""


def check(settings: Settings) -> None:
    """Refuse settings that would leave the service open.

    Parameters
    ----------
    settings : Settings
        As loaded.

    Raises
    ------
    ServiceError
        If something is unsafe; every point is listed with how to mend it.
    """
    faults = [
        *_reach_faults(settings),
        *_tls_faults(settings),
        *_secret_faults(settings),
        *_jwt_faults(settings),
        *_origin_faults(settings),
        *_proxy_faults(settings),
        *cds_faults(settings),
        *_file_faults(),
    ]
    if faults:
        noun = "setting is" if len(faults) == 1 else "settings are"
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ServiceError(f"{len(faults)} {noun} not safe; mend and start again:\n{lines}")


def warnings(settings: Settings) -> list[str]:
    """Return what is allowed but unwise, each with how to mend it."""
    return [*_record_warnings(settings), *_access_warnings(settings), *_reach_warnings(settings)]


def _reach_faults(settings: Settings) -> Iterator[str]:
    if not settings.is_loopback and settings.auth == "none":
        yield (
            f"host {settings.host!r} can be reached by others while auth is 'none'; set "
            "auth to 'keys', 'jwt' or 'keys+jwt', or host to 127.0.0.1"
        )
    if settings.public_url is not None and not _is_url(settings.public_url):
        yield (
            f"public_url {_shown(settings.public_url)} is no address; give https://HOST[/PATH] "
            "without user, query or fragment"
        )


def _tls_faults(settings: Settings) -> Iterator[str]:
    if (settings.tls_key is None) != (settings.tls_certificate is None):
        missing = "tls_key" if settings.tls_key is None else "tls_certificate"
        yield f"{missing} is missing beside its other half; set both or neither"
    if not settings.is_loopback and not settings.is_encrypted:
        yield (
            f"host {settings.host!r} can be reached by others without TLS; set "
            "tls_certificate and tls_key, or tls_terminated=true if a proxy in front does it"
        )
    for name in ("tls_certificate", "tls_key"):
        path: Path | None = getattr(settings, name)
        if path is not None and not _can_read(path):
            yield f"{name} {path} cannot be read; give a PEM file that the service may read"


def _secret_faults(settings: Settings) -> Iterator[str]:
    if "keys" in settings.auth:
        try:
            settings.server_secret()
        except ServiceError as error:
            yield str(error)
    if settings.secret_file is not None and _is_open_to_others(settings.secret_file):
        yield (
            f"secret_file {settings.secret_file} can be read or changed by other users; run "
            "`chmod 640` or `chmod 600` on it (in orchestrators: mode 0400 or 0440)"
        )


def _jwt_faults(settings: Settings) -> Iterator[str]:
    if "jwt" not in settings.auth:
        return
    from ketacast_service.security.jwks import ALGORITHMS  # noqa: PLC0415  # cryptography, for tokens only

    for name in ("jwt_issuer", "jwt_audience"):
        value: str | None = getattr(settings, name)
        if value is None or not value.strip():
            yield f"{name} is missing; access tokens count only for a named issuer and audience"
    yield from _jwks_faults(settings)
    foreign = [name for name in settings.jwt_algorithms if name not in ALGORITHMS]
    if foreign or not settings.jwt_algorithms:
        yield (
            f"jwt_algorithms {', '.join(map(repr, foreign)) or 'is empty'}; "
            f"choose from {', '.join(ALGORITHMS)}"
        )


def _jwks_faults(settings: Settings) -> Iterator[str]:
    from ketacast_service.security.jwks import read_key_set  # noqa: PLC0415
    from ketacast_service.security.key_sources import url_fault  # noqa: PLC0415

    path, url = settings.jwt_jwks_file, settings.jwt_jwks_url
    if (path is None) == (url is None):
        yield "set exactly one of jwt_jwks_file and jwt_jwks_url: where the issuer's keys are"
    if path is not None:
        try:
            read_key_set(path.read_bytes())
        except OSError as error:
            yield f"jwt_jwks_file {path} cannot be read ({error.__class__.__name__}); correct it"
        except ServiceError as error:
            yield f"jwt_jwks_file {path}: {error}"
    if url is not None:
        fault = url_fault(url, settings.jwt_jwks_hosts)
        if fault is not None:
            yield f"jwt_jwks_url: {fault}"


def _origin_faults(settings: Settings) -> Iterator[str]:
    for origin in settings.cors_origins:
        if origin == "*":
            yield "cors_origins '*' lets every web page in; list the origins of your pages"
        elif not _is_origin(origin):
            yield (
                f"cors_origins {_shown(origin)} is no origin; give SCHEME://HOST[:PORT] "
                "in lower case without a path or a final slash"
            )


def _proxy_faults(settings: Settings) -> Iterator[str]:
    for text in settings.trusted_proxies:
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            yield (
                f"trusted_proxies {text!r} is neither an address nor a network; give for "
                "example 10.0.0.5 or 10.0.0.0/24"
            )
            continue
        if network.prefixlen == 0:
            yield f"trusted_proxies {text!r} trusts everybody; list the proxy's own address"


def _file_faults() -> Iterator[str]:
    """Secrets in the settings file: files get copied, committed and mailed."""
    given = _settings_file()
    if "secret" in given:
        yield "the settings file holds `secret`; use KETACAST_SECRET_FILE or KETACAST_SECRET"
    url = given.get("database_url")
    if isinstance(url, str) and _has_password(url):
        yield (
            "the settings file holds a database_url with a password; give it as "
            "KETACAST_DATABASE_URL, or keep the password in the driver's own file (.pgpass)"
        )


def _record_warnings(settings: Settings) -> Iterator[str]:
    if not settings.audit_required:
        yield "audit_required=false: answers may go out without a record while the database is down"
    if settings.log_level == "debug":
        yield "log_level=debug: libraries write more than this service vouches for; use info"


def _access_warnings(settings: Settings) -> Iterator[str]:
    if settings.rate_per_second == 0:
        yield "rate_per_second=0: one client can take the whole service; set a limit"
    if settings.auth == "none":
        yield "auth=none: every program on this machine may ask; set auth=keys to know who does"
    if settings.page == "open" and settings.auth != "none":
        yield (
            "page=open: whoever reaches the service gets answers from the page without a key, and "
            "records name no client; let a proxy ask who they are, or set page=off"
        )
    if "keys" in settings.auth and settings.keys_refresh_seconds > SLOW_REFRESH:
        yield (
            f"keys_refresh_seconds={settings.keys_refresh_seconds:g}: a revoked key counts for "
            "that long; give a few seconds"
        )
    if "keys" in settings.auth and _looks_made_up(settings):
        yield "the server secret does not look random; make one with `openssl rand -hex 32`"
    if settings.secret is not None and settings.secret_file is not None:
        yield "secret and secret_file are both set; the file counts, remove the other"


def _reach_warnings(settings: Settings) -> Iterator[str]:
    if settings.tls_key is not None and _is_open_to_others(settings.tls_key):
        yield f"tls_key {settings.tls_key} can be read by other users; run `chmod 640` on it"
    if settings.tls_terminated and not settings.trusted_proxies and not settings.is_loopback:
        yield (
            "tls_terminated without trusted_proxies: all failed log-ins count as the proxy's, "
            "so one intruder can lock out clients not seen before; list the proxy's address"
        )
    for origin in settings.cors_origins:
        host = urlsplit(origin).hostname or ""
        if origin.startswith("http://") and not _is_local(host):
            yield f"cors_origins {origin} is not encrypted; pages there can be altered on the way"
    url = settings.database_url
    if url is not None and _is_open_database(url.get_secret_value()):
        yield "database_url reaches another machine without TLS; add ?sslmode=verify-full"


def _settings_file() -> dict[str, Any]:
    path = os.environ.get("KETACAST_CONFIG")
    if path is None:
        return {}
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # load_settings has said so, or the file was not used


def _has_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None or "password=" in urlsplit(url).query
    except ValueError:
        return True  # malformed: not to be shown, not to be trusted


def _is_open_database(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False  # opening it says what is wrong
    is_remote = parts.hostname is not None and not _is_local(parts.hostname)
    safe = ("sslmode=require", "sslmode=verify-ca", "sslmode=verify-full")
    return (
        is_remote
        and parts.scheme.startswith("postgres")
        and not any(mode in parts.query for mode in safe)
    )


def _looks_made_up(settings: Settings) -> bool:
    try:
        return len(set(settings.server_secret())) < FEWEST_DIFFERENT
    except ServiceError:
        return False  # check() refuses it


def _is_open_to_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & _FOR_OTHERS)
    except OSError:
        return False  # reading it says what is wrong


def _can_read(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def _is_origin(text: str) -> bool:
    return _is_url(text) and urlsplit(text).path == "" and text == text.lower()


def _is_url(text: str) -> bool:
    """Whether a text is an http(s) address of nothing but host, port and path."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    is_bare = not (parts.query or parts.fragment or "@" in parts.netloc)
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and is_bare
        and text.isascii()
        and text.isprintable()
        and not set(text) & set(" ?#*")
    )


def _shown(url: str) -> str:
    """Return an address for a message, unless it may hold a password."""
    return "(not shown, it holds a user or password)" if "@" in url else repr(url)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
