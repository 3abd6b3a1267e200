"""Who sends a request: a fast path from memory, a slow path that may wait."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from sqlalchemy import Engine

from ketacast_service.access import ALL_SCOPES
from ketacast_service.calls import Client
from ketacast_service.errors import ProblemError, ServiceError
from ketacast_service.security.access_tokens import AccessTokens
from ketacast_service.security.key_sources import file_source, url_source
from ketacast_service.security.keys import KEY_LENGTH, PREFIX, KeyStore
from ketacast_service.security.refusal import NotReadyError, RefusedError
from ketacast_service.security.tokens import TokenRules
from ketacast_service.settings import Settings

LOCAL: Final = Client("local", ALL_SCOPES)
"""Everybody, where authentication is off."""
CHALLENGE: Final = ("WWW-Authenticate", 'Bearer realm="ketacast"')
RETRY_SECONDS: Final = 5

Headers = Sequence[tuple[bytes, bytes]]

_log = logging.getLogger(__name__)


class Authenticator:
    """Tell who sends a request.

    Parameters
    ----------
    keys : KeyStore or None
        API keys, if they count here.
    tokens : AccessTokens or None
        Access tokens, if they count here.

    Notes
    -----
    With neither, everybody is :data:`LOCAL`: :func:`ketacast_service.safety.check` sees
    to it that only this machine can connect then.
    """

    def __init__(self, keys: KeyStore | None, tokens: AccessTokens | None) -> None:
        self._keys = keys
        self._tokens = tokens
        self._is_open = keys is None and tokens is None
        longest = max(KEY_LENGTH, 0 if tokens is None else tokens.longest_bytes)
        self._longest = len(b"Bearer ") + longest

    @property
    def is_ready(self) -> bool:
        """Whether every kind of credential can be checked now."""
        return all(part is None or part.is_ready for part in (self._keys, self._tokens))

    def quick(self, headers: Headers) -> Client | None:
        """Return who sends a request if that is known already, within microseconds.

        Parameters
        ----------
        headers : sequence of (bytes, bytes)
            As received, names in lower case.

        Returns
        -------
        Client or None
            None sends the request to :meth:`authenticate`.
        """
        if self._is_open:
            return LOCAL
        value, reason = presented(headers, self._longest)
        if reason:
            return None
        digest = sha256(value).digest()
        if value.startswith(PREFIX):
            return None if self._keys is None else self._keys.quick(digest)
        return None if self._tokens is None else self._tokens.quick(digest)

    async def authenticate(self, headers: Headers) -> Client:
        """Return who sends a request.

        Parameters
        ----------
        headers : sequence of (bytes, bytes)
            As received, names in lower case.

        Raises
        ------
        ProblemError
            ``not-authenticated`` without a word on what failed, which is for the log only;
            ``unavailable`` if keys or tokens cannot be checked now.
        """
        if self._is_open:
            return LOCAL
        try:
            return await self._check(headers)
        except RefusedError as error:
            _log.info("authentication refused: %s", error.reason)
            problem = ProblemError(
                "not-authenticated",
                "this needs one valid API key or access token, in the header "
                "`Authorization: Bearer ...` (a key also in `X-API-Key`)",
                headers=[CHALLENGE],
            )
        except NotReadyError as error:
            _log.warning("authentication not possible: %s", error.reason)
            problem = ProblemError(
                "unavailable",
                "keys and tokens cannot be checked now; try again in a few seconds",
                headers=[("Retry-After", str(RETRY_SECONDS))],
            )
        # Raised here and not above: nothing of the refused credential hangs on it.
        raise problem

    async def start(self) -> None:
        """Read keys ahead and keep them fresh; what cannot be read yet is tried again."""
        if self._keys is not None:
            await self._keys.start()
        if self._tokens is not None:
            await self._tokens.start()

    async def close(self) -> None:
        """Stop what :meth:`start` began."""
        if self._keys is not None:
            await self._keys.close()
        if self._tokens is not None:
            await self._tokens.close()

    async def _check(self, headers: Headers) -> Client:
        value, reason = presented(headers, self._longest)
        if reason:
            raise RefusedError(reason)
        if value.startswith(PREFIX):
            if self._keys is None:
                raise RefusedError("keys-not-accepted")
            return await self._keys.check(value)
        if self._tokens is None:
            raise RefusedError("tokens-not-accepted")
        return await self._tokens.check(value)


def build_authenticator(settings: Settings, engine: Engine | None) -> Authenticator:
    """Make the authenticator that the settings ask for.

    Parameters
    ----------
    settings : Settings
        Checked by :func:`ketacast_service.safety.check` before.
    engine : Engine or None
        The service's database; needed for API keys only.

    Raises
    ------
    ServiceError
        If what the settings ask for is not there.
    """
    keys = tokens = None
    if settings.auth in {"keys", "keys+jwt"}:
        if engine is None:
            raise ServiceError("API keys need the service's database; open it first")
        keys = KeyStore(engine, settings.server_secret(), settings.keys_refresh_seconds)
    if settings.auth in {"jwt", "keys+jwt"}:
        tokens = _access_tokens(settings)
    return Authenticator(keys, tokens)


def retry_after(seconds: float) -> str:
    """Return a wait as the value of ``Retry-After``: whole seconds, rounded up, at least one."""
    return str(max(1, math.ceil(seconds)))


def _access_tokens(settings: Settings) -> AccessTokens:
    if settings.jwt_issuer is None or settings.jwt_audience is None:
        raise ServiceError("access tokens need jwt_issuer and jwt_audience; set both")
    if settings.jwt_jwks_file is not None:
        keys = file_source(settings.jwt_jwks_file)
    elif settings.jwt_jwks_url is not None:
        keys = url_source(settings.jwt_jwks_url, settings.jwt_jwks_hosts)
    else:
        raise ServiceError("access tokens need jwt_jwks_file or jwt_jwks_url; set one")
    rules = TokenRules(
        algorithms=frozenset(settings.jwt_algorithms),
        leeway=settings.jwt_leeway_seconds,
        longest_bytes=settings.jwt_longest_bytes,
    )
    return AccessTokens(settings.jwt_issuer, keys, settings.jwt_audience, rules)


def presented(headers: Headers, longest: int) -> tuple[bytes, str]:
    """Return the one credential of a request, or a reason why there is none.

    Parameters
    ----------
    headers : sequence of (bytes, bytes)
        As received, names in lower case.
    longest : int
        Most bytes of the header's value.
    """
    found: bytes | None = None
    is_key_header = False
    for name, value in headers:
        if name == b"authorization" or name == b"x-api-key":  # noqa: PLR1714  # faster
            if found is not None:
                return b"", "several-credentials"
            found = value
            is_key_header = name == b"x-api-key"
    if found is None:
        return b"", "credential-missing"
    if len(found) > longest:
        return b"", "credential-too-long"
    if is_key_header:
        return (found, "") if found.startswith(PREFIX) else (b"", "key-malformed")
    if found[:7].lower() != b"bearer ":
        return b"", "scheme-not-accepted"
    return found[7:], ""
