"""A client's key pair: tokens for calls, and the key set that a service reads."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

Algorithm = Literal["ES384", "RS384"]


def _private_key(algorithm: Algorithm) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    if algorithm == "ES384":
        return ec.generate_private_key(ec.SECP384R1())
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Signer:
    """Signs calls.

    Attributes
    ----------
    issuer : str
        The client.
    algorithm : {"ES384", "RS384"}
        Of the signature.
    kid : str
        Id of the key.
    jku : str or None
        Address of keys that tokens name.
    """

    issuer: str = "https://ehr.example"
    algorithm: Algorithm = "ES384"
    kid: str = "k-1"
    jku: str | None = None
    key: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.key = _private_key(self.algorithm)

    def key_set(self) -> str:
        """Return the public key as a JWK Set."""
        public = self.key.public_key()
        reader = ECAlgorithm if self.algorithm == "ES384" else RSAAlgorithm
        entry = json.loads(reader.to_jwk(public))
        entry.pop("key_ops", None)
        return json.dumps({"keys": [{**entry, "kid": self.kid, "use": "sig"}]})

    def token(self, audience: object, *, head: dict[str, Any] | None = None, **more: Any) -> str:
        """Return a token for an address; None leaves a claim or header out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": audience, "iat": now, "exp": now + 300,
            "jti": str(uuid.uuid4()), **more,
        }  # fmt: skip
        header = {"kid": self.kid, "typ": "JWT", "jku": self.jku, **(head or {})}
        return jwt.encode(
            {name: value for name, value in claims.items() if value is not None},
            self.key,
            algorithm=self.algorithm,
            headers={name: value for name, value in header.items() if value is not None},
        )
