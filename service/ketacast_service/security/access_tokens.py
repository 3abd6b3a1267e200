"""OAuth 2 access tokens: who the client is, what it may do, and a cache of verified tokens."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from ketacast_service.access import ALL_SCOPES
from ketacast_service.calls import Client
from ketacast_service.security.key_sources import KeySource
from ketacast_service.security.refusal import RefusedError
from ketacast_service.security.tokens import Issuer, TokenRules, TokenVerifier

CAPACITY: Final = 4096
"""Verified tokens kept; beyond it the one unused longest is verified again."""
LONGEST_CACHED: Final = 300.0
"""Seconds after which a token is verified again, so that a key withdrawn by its issuer
stops counting before the last token signed with it expires."""
_CLIENT: Final = re.compile(r"[A-Za-z0-9._~:@/+=|-]{1,124}")
"""With ``jwt:`` in front the 128 characters of the audit table; safe in logs and headers."""
_NOT_FOR_ACCESS: Final = frozenset({"id", "refresh", "offline", "logout"})
"""What Keycloak writes into the claim ``typ`` of tokens that grant no access."""


class AccessTokens:
    """Access tokens of one issuer.

    Parameters
    ----------
    issuer : str
        Its ``iss``.
    keys : KeySource
        Its keys.
    audience : str
        This service's name at the issuer.
    rules : TokenRules
        What tokens must hold.
    clock : callable
        Seconds since 1970.
    capacity : int
        Verified tokens kept.
    """

    def __init__(
        self,
        issuer: str,
        keys: KeySource,
        audience: str,
        rules: TokenRules,
        *,
        clock: Callable[[], float] = time.time,
        capacity: int = CAPACITY,
    ) -> None:
        self._keys = keys
        self._audience = audience
        self._verifier = TokenVerifier({issuer: Issuer(issuer, keys)}, rules, clock=clock)
        self._clock = clock
        self._capacity = capacity
        self._verified: OrderedDict[bytes, tuple[Client, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._verified)

    @property
    def longest_bytes(self) -> int:
        """Size from which a token need not be looked at."""
        return self._verifier.longest_bytes

    @property
    def is_ready(self) -> bool:
        """Whether tokens can be checked now."""
        return self._keys.is_ready

    def quick(self, digest: bytes) -> Client | None:
        """Return whose token it is if it was verified before; None sends it to :meth:`check`."""
        found = self._verified.get(digest)
        if found is None or self._clock() >= found[1]:
            return None
        self._verified.move_to_end(digest)
        return found[0]

    async def check(self, token: bytes) -> Client:
        """Return whose token it is.

        Raises
        ------
        RefusedError
            If it does not count.
        NotReadyError
            If the issuer's keys cannot be had now.
        """
        verified = await self._verifier.verify(token, self._audience)
        client = client_of(verified.claims)
        self._remember(sha256(token).digest(), client, verified.expires)
        return client

    def _remember(self, digest: bytes, client: Client, expires: float) -> None:
        if digest not in self._verified and len(self._verified) >= self._capacity:
            self._verified.popitem(last=False)
        self._verified[digest] = (client, min(expires, self._clock() + LONGEST_CACHED))
        self._verified.move_to_end(digest)

    async def start(self) -> None:
        """Read the issuer's keys ahead of the first token; one that is away is waited for."""
        await self._keys.read_ahead()

    async def close(self) -> None:
        """Stop reading keys."""
        await self._keys.close()


def client_of(claims: Mapping[str, Any]) -> Client:
    """Return the client that a verified token was issued to, with its scopes.

    Raises
    ------
    RefusedError
        If the token names no client, or one that cannot be written to logs and tables.
    """
    kind = claims.get("typ")
    if isinstance(kind, str) and kind.lower() in _NOT_FOR_ACCESS:
        raise RefusedError("not-an-access-token")
    name = next(
        (claims[key] for key in ("client_id", "azp", "sub") if claims.get(key) is not None), None
    )
    if not isinstance(name, str) or _CLIENT.fullmatch(name) is None:
        raise RefusedError("client-malformed")
    return Client(f"jwt:{name}", _scopes(claims))


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    # An application's own token carries its rights as roles at some issuers.
    given = claims.get("scope", claims.get("scp", claims.get("roles")))
    if isinstance(given, str):
        return ALL_SCOPES.intersection(given.split(" "))
    if isinstance(given, list) and all(isinstance(name, str) for name in given):
        return ALL_SCOPES.intersection(given)
    if given is None:
        return frozenset()
    raise RefusedError("scope-malformed")
