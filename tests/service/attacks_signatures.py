"""Attacks on tokens: algorithms, signatures and the issuer's keys."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms
from tests.service.forging import (
    RS256,
    SERVER_SECRET,
    Attack,
    Headers,
    World,
    bearer,
    claims,
    key_set,
    part,
    private_key,
    public_jwk,
    refused,
    seal,
    token,
    tokens,
)


def _hmac_token(method: str, secret: bytes) -> bytes:
    signed = part({"alg": method, "typ": "JWT", "kid": "rsa-1"}) + b"." + part(claims())
    algorithm = get_default_algorithms()[method]
    return signed + b"." + part(algorithm.sign(signed, secret))  # the raw key: no check of it


def _pem() -> bytes:
    return (
        private_key("rsa-1")
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def _unsigned(algorithm: object, tail: bytes = b"") -> bytes:
    header = {"alg": algorithm, "typ": "JWT", "kid": "rsa-1"}
    return part(header) + b"." + part(claims()) + b"." + tail


def _parts(value: bytes) -> list[bytes]:
    return value.split(b".")


def _mixed(first: bytes, second: bytes, third: bytes) -> bytes:
    """Header of the first token, payload of the second, signature of the third."""
    return b".".join((_parts(first)[0], _parts(second)[1], _parts(third)[2]))


def _noncanonical() -> bytes:
    """The same bytes of signature, written with other unused bits in its last character."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    whole = token()
    last = alphabet.index(whole[-1:])
    return whole[:-1] + alphabet[last ^ 1 : (last ^ 1) + 1]


def _elsewhere(world: World, member: str) -> Headers:
    header = {"alg": "RS256", "typ": "JWT", "kid": "foreign-rsa", member: world.foreign_url}
    return bearer(seal(header, claims(), "foreign-rsa", "RS256"))


SIGNATURES: Final[tuple[Attack, ...]] = (
    *tokens(
        "token-malformed",
        {
            "algorithm none without signature": lambda: _unsigned("none"),
            "signature stripped": lambda: b".".join(_parts(token())[:2]) + b".",
            "signature and dot stripped": lambda: b".".join(_parts(token())[:2]),
            "signature written in another way": _noncanonical,
        },
    ),
    *tokens(
        "algorithm-not-allowed",
        {
            "algorithm none with some signature": lambda: _unsigned("none", part(b"\x00" * 256)),
            "algorithm none in odd case": lambda: _unsigned("nOnE", part(b"x" * 64)),
            "algorithm in lower case": lambda: token(head={"alg": "rs256"}),
            "algorithm with a space": lambda: token(head={"alg": "RS256 "}),
            "HS256 with the public key as secret": lambda: _hmac_token("HS256", _pem()),
            "HS256 with the issuer's key set as secret": lambda: _hmac_token("HS256", key_set()),
            "HS256 with an empty secret": lambda: _hmac_token("HS256", b""),
            "HS512 with the server's secret": lambda: _hmac_token("HS512", SERVER_SECRET.encode()),
            "PS256 with the right key": lambda: token(method="PS256"),
            "RS512, which is not switched on": lambda: token(method="RS512"),
        },
    ),
    *tokens(
        "algorithm-missing",
        {
            "algorithm as a list": lambda: token(head={"alg": ["RS256"]}),
            "algorithm null": lambda: seal({**RS256, "alg": None}, claims(), "rsa-1", "RS256"),
            "algorithm missing": lambda: token(head={"alg": None}),
        },
    ),
    *tokens(
        "signature-wrong",
        {
            "signature of another token": lambda: _mixed(token(), token(), token(jti="b2")),
            "payload altered": lambda: _mixed(token(), token(scope="clinics"), token()),
            "header altered": lambda: _mixed(token(head={"x": 1}), token(), token()),
            "algorithm altered": lambda: _mixed(token(method="RS384"), token(), token()),
            "signed by a foreign RSA key": lambda: seal(RS256, claims(), "foreign-rsa", "RS256"),
            "signed by a foreign EC key": lambda: seal(
                {**RS256, "alg": "ES256", "kid": "p256"}, claims(), "foreign-p256", "ES256"
            ),
            "ES256 signature of zeros": lambda: (
                part({"alg": "ES256", "kid": "p256"})
                + b"."
                + part(claims())
                + b"."
                + part(bytes(64))
            ),
            "ES384 signature of zeros": lambda: (
                part({"alg": "ES384", "kid": "p384"})
                + b"."
                + part(claims())
                + b"."
                + part(bytes(96))
            ),
            "RSA signature of zeros": lambda: _unsigned("RS256", part(bytes(256))),
            "EC signature too short": lambda: (
                b".".join(_parts(token(key="p256", method="ES256"))[:2]) + b"." + part(b"\x01" * 63)
            ),
        },
    ),
)

KEYS_OF_ISSUER: Final[tuple[Attack, ...]] = (
    *tokens("signature-wrong", {"kid of another key": lambda: token(head={"kid": "rsa-2"})}),
    *tokens(
        "key-does-not-fit-algorithm",
        {
            "kid of an EC key on an RSA signature": lambda: token(head={"kid": "p256"}),
            "kid of an RSA key on an EC signature": lambda: token(
                key="p256", method="ES256", head={"kid": "rsa-1"}
            ),
            "EC on the wrong curve": lambda: seal(
                {"alg": "ES256", "kid": "p384"}, claims(), "p384", "ES384"
            ),
            "P-256 key announced as ES384": lambda: seal(
                {"alg": "ES384", "kid": "p256"}, claims(), "p256", "ES256"
            ),
        },
    ),
    *tokens("kid-missing", {"kid missing with several keys": lambda: token(head={"kid": None})}),
    *tokens(
        "kid-unknown",
        {
            "kid unknown": lambda: token(head={"kid": "rsa-9"}),
            "kid with a path": lambda: token(head={"kid": "../../../../dev/null"}),
            "RSA of 1024 bits": lambda: token(key="weak"),
        },
    ),
    *tokens(
        "kid-malformed",
        {
            "kid with SQL": lambda: token(head={"kid": "x' UNION SELECT 'rsa-1' --"}),
            "kid a number": lambda: token(head={"kid": 1}),
            "kid a list": lambda: token(head={"kid": ["rsa-1"]}),
            "kid empty": lambda: token(head={"kid": ""}),
            "kid very long": lambda: token(head={"kid": "k" * 2000}),
        },
    ),
    *tokens(
        "algorithm-not-allowed",
        {"EC on a curve that is not accepted": lambda: token(key="p521", method="ES512")},
    ),
    *tokens(
        "key-in-header",
        {
            "own key in the header": lambda: seal(
                {**RS256, "kid": "foreign-rsa", "jwk": public_jwk("foreign-rsa")},
                claims(),
                "foreign-rsa",
                "RS256",
            ),
            "own key in the header of a good token": lambda: token(
                head={"jwk": public_jwk("foreign-rsa")}
            ),
        },
    ),
    *refused(
        "jku-not-allowed",
        {
            "jku that points elsewhere": lambda world: _elsewhere(world, "jku"),
            "jku that points elsewhere with a kid of the issuer": lambda world: bearer(
                seal({**RS256, "jku": world.foreign_url}, claims(), "foreign-rsa", "RS256")
            ),
        },
    ),
    *refused(
        "key-in-header", {"x5u that points elsewhere": lambda world: _elsewhere(world, "x5u")}
    ),
    *refused(
        "issuer-unknown",
        {
            "issuer that points elsewhere": lambda world: bearer(
                seal(RS256, claims(iss=world.foreign_url), "foreign-rsa", "RS256")
            ),
        },
    ),
)
