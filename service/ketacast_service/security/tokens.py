"""Verify a signed token: issuer, key, signature, times, audience.

Made for OAuth 2 access tokens and, with other rules, for the tokens of CDS Hooks clients
(several issuers, keys by ``jku``, an audience per endpoint, every token once).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ketacast_service.security.jwks import ALGORITHMS, KeySet, verify_signature
from ketacast_service.security.jws import Compact, read_compact
from ketacast_service.security.key_sources import KeySource
from ketacast_service.security.refusal import RefusedError

ACCESS_TOKEN_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_FOREIGN_KEYS: Final = ("jwk", "x5u")
_UNREADABLE: Final = ("crit", "b64", "zip", "enc")
_LATEST: Final = 253_402_300_800.0
"""The year 10000: a time beyond it was given in milliseconds."""
_LONGEST_JTI: Final = 256


@dataclass(frozen=True, slots=True)
class Issuer:
    """Somebody whose tokens count.

    Attributes
    ----------
    name : str
        The ``iss`` of its tokens, to the letter.
    keys : KeySource or None
        Its keys; None if they come only by ``jku``.
    by_url : mapping of str to KeySource
        Addresses that its tokens may name in ``jku``, each with what is read there. A
        token that names any other address is refused before anything is fetched.
    """

    name: str
    keys: KeySource | None
    by_url: Mapping[str, KeySource] = field(default_factory=dict)

    def source(self, token: Compact) -> KeySource:
        """Return where the key of a token is to be found.

        Raises
        ------
        RefusedError
            If the token names a place that is not the issuer's.
        """
        named = token.header.get("jku")
        found = self.keys if named is None else None
        if isinstance(named, str):
            found = self.by_url.get(named)
        if found is None:
            raise RefusedError("jku-not-allowed")
        return found


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What tokens must hold.

    Attributes
    ----------
    algorithms : frozenset of str
        Signatures accepted, out of :data:`ketacast_service.security.jwks.ALGORITHMS`.
    leeway : float
        Seconds that clocks may differ.
    longest_bytes : int
        Size of a token.
    types : frozenset of str
        Values of ``typ`` in lower case; a token without one is accepted unless
        ``needs_type``.
    needs_type, needs_kid, needs_jti : bool
        Whether ``typ``, ``kid`` and ``jti`` must be there.
    longest_life : float or None
        Most seconds from ``iat`` to ``exp``.
    """

    algorithms: frozenset[str] = frozenset(ALGORITHMS)
    leeway: float = 30.0
    longest_bytes: int = 8192
    types: frozenset[str] = ACCESS_TOKEN_TYPES
    needs_type: bool = False
    needs_kid: bool = False
    needs_jti: bool = False
    longest_life: float | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that counts.

    Attributes
    ----------
    issuer : str
        Who issued it.
    expires : float
        Its ``exp``, seconds since 1970.
    claims : mapping
        Everything it says.
    """

    issuer: str
    expires: float
    claims: Mapping[str, Any] = field(repr=False)

    @property
    def jti(self) -> str:
        """Id of the token; empty if it has none."""
        return str(self.claims.get("jti", ""))


class TokenVerifier:
    """Verify tokens of listed issuers.

    Parameters
    ----------
    issuers : mapping of str to Issuer
        By ``iss``.
    rules : TokenRules
        What tokens must hold.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self,
        issuers: Mapping[str, Issuer],
        rules: TokenRules,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = dict(issuers)
        self._rules = rules
        self._clock = clock

    @property
    def longest_bytes(self) -> int:
        """Size from which a token need not be looked at."""
        return self._rules.longest_bytes

    async def verify(self, token: bytes, audience: str) -> Verified:
        """Verify a token for one audience.

        Parameters
        ----------
        token : bytes
            As presented.
        audience : str
            What ``aud`` must be or list.

        Raises
        ------
        RefusedError
            If the token does not count.
        NotReadyError
            If the issuer's keys cannot be had now.
        """
        compact = read_compact(token, self._rules.longest_bytes)
        check_header(compact, self._rules)
        issuer = self._issuer(compact)
        source = issuer.source(compact)
        keys: KeySet = await source.current()
        if not keys.knows(compact.kid):
            keys = await source.renewed()
        verify_signature(compact, keys.choose(compact.kid, compact.algorithm))
        expires = check_claims(compact.payload, audience, self._rules, self._clock())
        return Verified(issuer.name, expires, compact.payload)

    def _issuer(self, token: Compact) -> Issuer:
        name = token.payload.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise RefusedError("issuer-unknown")
        return issuer


def check_header(token: Compact, rules: TokenRules) -> None:
    """Check what a token's header says before any key is looked up.

    Raises
    ------
    RefusedError
        If the header asks for what is not offered, or brings its own key.
    """
    header = token.header
    if token.algorithm not in rules.algorithms:
        raise RefusedError("algorithm-not-allowed")
    if any(name in header for name in _UNREADABLE):
        raise RefusedError("header-not-understood")
    if any(name in header for name in _FOREIGN_KEYS):
        raise RefusedError("key-in-header")
    kind = header.get("typ")
    if kind is None:
        if rules.needs_type:
            raise RefusedError("type-missing")
    elif not isinstance(kind, str) or kind.lower() not in rules.types:
        raise RefusedError("type-not-accepted")
    if rules.needs_kid and token.kid is None:
        raise RefusedError("kid-missing")


def check_claims(claims: Mapping[str, Any], audience: str, rules: TokenRules, now: float) -> float:
    """Check times, audience and id of a token whose signature is right; return its ``exp``.

    Raises
    ------
    RefusedError
        If one does not hold.
    """
    expires = _moment(claims, "exp")
    issued = _moment(claims, "iat")
    if expires is None or issued is None:
        raise RefusedError("exp-missing" if expires is None else "iat-missing")
    if expires + rules.leeway <= now:
        raise RefusedError("expired")
    if issued - rules.leeway > now:
        raise RefusedError("issued-in-future")
    not_before = _moment(claims, "nbf")
    if not_before is not None and not_before - rules.leeway > now:
        raise RefusedError("not-yet-valid")
    if expires <= issued:
        raise RefusedError("times-contradict")
    if rules.longest_life is not None and expires - issued > rules.longest_life:
        raise RefusedError("lives-too-long")
    if audience not in _audiences(claims):
        raise RefusedError("audience-wrong")
    jti = claims.get("jti")
    if jti is None:
        if rules.needs_jti:
            raise RefusedError("jti-missing")
    elif not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_JTI:
        raise RefusedError("jti-malformed")
    if "cnf" in claims:
        # The token counts only with a proof of possession, which is not read here.
        raise RefusedError("token-bound-to-key")
    return expires


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RefusedError(f"{name}-malformed")
    if not 0 <= value < _LATEST:  # neither infinite nor NaN
        raise RefusedError(f"{name}-malformed")
    return float(value)


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    found = claims.get("aud")
    if isinstance(found, str):
        return [found]
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return found
    raise RefusedError("audience-malformed")
