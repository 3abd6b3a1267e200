"""Public keys of an issuer (a JWK Set, RFC 7517): only those that can sign what we accept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import Algorithm, ECAlgorithm, RSAAlgorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

from ketacast_service.errors import ServiceError
from ketacast_service.security.jws import Compact, read_object
from ketacast_service.security.refusal import RefusedError

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384")
"""Signatures that can be accepted at all. A key that verifies must never be able to sign,
which rules out ``none`` and every HMAC."""
LONGEST_SET: Final = 256 * 1024
"""Bytes; large issuers publish some 20 kB with their certificates."""
MOST_KEYS: Final = 100
SHORTEST_RSA: Final = 2048
LONGEST_RSA: Final = 8192
"""Bits; beyond it one verification costs more than a request may."""
_CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1"}
_PUBLIC_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y")}

PublicKey = RSAPublicKey | EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One public key.

    Attributes
    ----------
    kid : str or None
        Its id.
    algorithms : frozenset of str
        What it may verify, by its type, size, curve and own ``alg``.
    key : RSAPublicKey or EllipticCurvePublicKey
        The key.
    """

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of an issuer.

    Attributes
    ----------
    keys : tuple of IssuerKey
        In the order of the set.
    skipped : int
        Keys of the set that cannot be used: for encryption, too weak, of other types.
    """

    keys: tuple[IssuerKey, ...]
    skipped: int

    def knows(self, kid: str | None) -> bool:
        """Whether a key of that id is here; a token without one never needs newer keys."""
        return kid is None or any(key.kid == kid for key in self.keys)

    def choose(self, kid: str | None, algorithm: str) -> IssuerKey:
        """Return the one key that a token must be signed with.

        Raises
        ------
        RefusedError
            If none fits, or the token leaves the choice open.
        """
        named = self.keys if kid is None else [key for key in self.keys if key.kid == kid]
        if not named:
            raise RefusedError("kid-unknown")
        if kid is None and len(named) > 1:
            raise RefusedError("kid-missing")
        fitting = [key for key in named if algorithm in key.algorithms]
        if not fitting:
            raise RefusedError("key-does-not-fit-algorithm")
        if len(fitting) > 1:
            raise RefusedError("kid-ambiguous")
        return fitting[0]


def verify_signature(token: Compact, key: IssuerKey) -> None:
    """Verify a token's signature with the key chosen for it.

    Raises
    ------
    RefusedError
        If it is not by that key and algorithm.
    """
    if token.algorithm not in key.algorithms:
        raise RefusedError("key-does-not-fit-algorithm")
    if not _METHODS[token.algorithm].verify(token.signed, key.key, token.signature):
        raise RefusedError("signature-wrong")


def read_key_set(text: bytes) -> KeySet:
    """Read a JWK Set.

    Raises
    ------
    ServiceError
        If it is none, too large, or holds no usable key.
    """
    if len(text) > LONGEST_SET:
        raise ServiceError(f"the key set is larger than {LONGEST_SET} bytes; give a smaller one")
    try:
        entries = read_object(text).get("keys")
    except RefusedError as error:
        raise ServiceError(
            f"the key set cannot be read ({error.reason}); give a JSON object with `keys`"
        ) from None
    if not isinstance(entries, list) or len(entries) > MOST_KEYS:
        raise ServiceError(f"the key set has no list `keys` of at most {MOST_KEYS}; correct it")
    keys = _usable(entries)
    if not keys:
        raise ServiceError(
            f"none of the {len(entries)} keys of the key set can be used; give public keys for "
            f"signatures: RSA of {SHORTEST_RSA} bits or more, or EC on P-256 or P-384"
        )
    return KeySet(tuple(keys), skipped=len(entries) - len(keys))


def _usable(entries: Sequence[Any]) -> list[IssuerKey]:
    found = (_read_key(entry) for entry in entries if isinstance(entry, dict))
    return [key for key in found if key is not None]


def _read_key(entry: Mapping[str, Any]) -> IssuerKey | None:
    """Return a key, or None if it is not for verifying what we accept."""
    kid, operations = entry.get("kid"), entry.get("key_ops")
    if entry.get("use", "sig") != "sig" or (kid is not None and not isinstance(kid, str)):
        return None
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return None
    key = _public_key(entry)
    if key is None:
        return None
    algorithms = _algorithms(key)
    if "alg" in entry:
        algorithms &= {entry["alg"]} if isinstance(entry["alg"], str) else set()
    return IssuerKey(kid, algorithms, key) if algorithms else None


def _public_key(entry: Mapping[str, Any]) -> PublicKey | None:
    kind = entry.get("kty")
    members = _PUBLIC_MEMBERS.get(kind) if isinstance(kind, str) else None
    if members is None or not all(isinstance(entry.get(name), str) for name in members):
        return None
    # Only the public members are handed on, so that a private key given by mistake
    # is never made one here.
    public = {"kty": kind} | {name: entry[name] for name in members}
    reader = RSAAlgorithm if kind == "RSA" else ECAlgorithm
    try:
        key = reader.from_jwk(public)
    except (InvalidKeyError, ValueError, TypeError):
        return None
    return key if isinstance(key, (RSAPublicKey, EllipticCurvePublicKey)) else None


def _algorithms(key: PublicKey) -> frozenset[str]:
    if isinstance(key, RSAPublicKey):
        is_fit = SHORTEST_RSA <= key.key_size <= LONGEST_RSA
        return frozenset(name for name in ALGORITHMS if is_fit and name.startswith("RS"))
    return frozenset(name for name, curve in _CURVES.items() if curve == key.curve.name)


_METHODS: Final[Mapping[str, Algorithm]] = {
    name: method for name, method in get_default_algorithms().items() if name in ALGORITHMS
}
