"""Clients of CDS Hooks: a signed token with each call, for that address, that counts once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import Engine

from ketacast_service.calls import Client
from ketacast_service.errors import ProblemError, ServiceError, StoreDownError
from ketacast_service.schema import used_token
from ketacast_service.security.authenticator import CHALLENGE, RETRY_SECONDS, presented
from ketacast_service.security.key_sources import KeySource, file_source, url_source
from ketacast_service.security.refusal import NotReadyError, RefusedError
from ketacast_service.security.replay import ReplayCache, SharedReplayCache
from ketacast_service.security.tokens import Issuer, TokenRules, TokenVerifier, Verified
from ketacast_service.settings import CdsClient, Settings

LONGEST_LIFE: Final = 3600.0
"""Seconds from ``iat`` to ``exp``; ids of tokens are kept as long."""
SCOPE: Final = "cds"

Headers = Sequence[tuple[bytes, bytes]]

_log = logging.getLogger(__name__)


class CdsDoor:
    """Tells who calls one address.

    Parameters
    ----------
    clients : CdsClients
        Who may call.
    audience : str
        The address, as clients know it.
    """

    __slots__ = ("_audience", "_clients")

    def __init__(self, clients: CdsClients, audience: str) -> None:
        self._clients = clients
        self._audience = audience

    def quick(self, headers: Headers) -> Client | None:  # noqa: ARG002  # every token is new
        """Return None: a token counts once, so none is known already."""
        return None

    async def authenticate(self, headers: Headers) -> Client:
        """Return who calls.

        Raises
        ------
        ProblemError
            ``not-authenticated`` without a word on what failed, ``unavailable`` if it
            cannot be told now.
        """
        return await self._clients.authenticate(headers, self._audience)


class CdsClients:
    """The clients that may call, each an issuer of tokens with its own keys.

    Parameters
    ----------
    settings : Settings
        Clients, algorithms and the address that clients use.
    engine : Engine
        With several workers the database remembers ids of tokens.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        if settings.public_url is None:
            raise ServiceError("cds_auth 'jwt' needs public_url; set the address clients use")
        self._base = settings.public_url.rstrip("/")
        self._tenants = {
            client.issuer: frozenset(client.tenants) for client in settings.cds_clients
        }
        issuers = {client.issuer: _issuer(client) for client in settings.cds_clients}
        self._sources = _sources(issuers.values())
        rules = TokenRules(
            algorithms=frozenset(settings.cds_algorithms),
            leeway=settings.jwt_leeway_seconds,
            longest_bytes=settings.jwt_longest_bytes,
            types=frozenset({"jwt"}),
            needs_type=True,
            needs_kid=True,
            needs_jti=True,
            longest_life=LONGEST_LIFE,
        )
        self._verifier = TokenVerifier(issuers, rules)
        self._longest = len(b"Bearer ") + settings.jwt_longest_bytes
        self._seen: ReplayCache | SharedReplayCache
        if settings.workers > 1:
            self._seen = SharedReplayCache(engine, used_token, rules.leeway)
        else:
            self._seen = ReplayCache(rules.leeway)

    def at(self, path: str) -> CdsDoor:
        """Return what tells who calls a path."""
        return CdsDoor(self, self._base + path)

    async def authenticate(self, headers: Headers, audience: str) -> Client:
        """Return who calls an address; see :class:`CdsDoor`."""
        try:
            return await self._check(headers, audience)
        except RefusedError as error:
            _log.info("CDS Hooks call refused: %s", error.reason)
            problem = ProblemError(
                "not-authenticated",
                "a signed token of a client known here is needed with each call",
                headers=[CHALLENGE],
            )
        except (NotReadyError, StoreDownError) as error:
            reason = error.reason if isinstance(error, NotReadyError) else "store-down"
            _log.warning("CDS Hooks call cannot be authenticated: %s", reason)
            problem = ProblemError(
                "unavailable",
                "tokens cannot be checked now; try again in a few seconds",
                headers=[("Retry-After", str(RETRY_SECONDS))],
            )
        # Raised here and not above: nothing of the refused token hangs on it.
        raise problem

    async def _check(self, headers: Headers, audience: str) -> Client:
        value, reason = presented(headers, self._longest)
        if reason:
            raise RefusedError(reason)
        verified = await self._verifier.verify(value, audience)
        tenants = self._tenants[verified.issuer]
        if tenants and verified.claims.get("tenant") not in tenants:
            raise RefusedError("tenant-not-allowed")
        await self._use(verified)
        return Client(f"cds:{verified.issuer}", frozenset({SCOPE}))

    async def _use(self, token: Verified) -> None:
        if isinstance(self._seen, SharedReplayCache):
            await asyncio.to_thread(self._seen.use, token)
        else:
            self._seen.use(token)

    async def start(self) -> None:
        """Read the clients' keys ahead of the first call; those away are tried again later."""
        await asyncio.gather(*[source.read_ahead() for source in self._sources])

    async def close(self) -> None:
        """Stop reading keys."""
        for source in self._sources:
            await source.close()


def _issuer(client: CdsClient) -> Issuer:
    hosts = {urlsplit(url).hostname or "" for url in client.jwks_urls}
    by_url: Mapping[str, KeySource] = {url: url_source(url, hosts) for url in client.jwks_urls}
    keys = None if client.jwks_file is None else file_source(client.jwks_file)
    if keys is None and len(by_url) == 1:
        keys = next(iter(by_url.values()))  # for tokens that name no address themselves
    return Issuer(client.issuer, keys, by_url)


def _sources(issuers: Iterable[Issuer]) -> list[KeySource]:
    found: dict[int, KeySource] = {}
    for issuer in issuers:
        for source in (issuer.keys, *issuer.by_url.values()):
            if source is not None:
                found[id(source)] = source
    return list(found.values())
