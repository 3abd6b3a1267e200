"""Attacks on tokens that the issuer's own key has signed: what they claim, how they are written."""

from __future__ import annotations

import json
import time
from typing import Final

from tests.service.forging import AUDIENCE, ISSUER, RS256, Attack, claims, seal, token, tokens

FAR: Final = 10_000_000_000


def _twice(member: str) -> bytes:
    text = json.dumps(claims())
    return (text[:-1] + f", {json.dumps(member)}: {json.dumps(claims()[member])}}}").encode()


def _deep(levels: int) -> bytes:
    body = json.dumps(claims())[:-1].encode()
    return body + b', "deep": ' + b"[" * levels + b"]" * levels + b"}"


def _with_expiry(text: str) -> bytes:
    """A good token but for its expiry, written as no JSON library would."""
    body = json.dumps(claims()).replace('"exp": ', f'"exp": {text}, "_": ')
    return seal(RS256, body.encode(), "rsa-1", "RS256")


CLAIMS: Final[tuple[Attack, ...]] = (
    *tokens(
        "audience-wrong",
        {
            "audience wrong": lambda: token(aud="account"),
            "audience list without ours": lambda: token(aud=["account", "other"]),
            "audience that begins like ours": lambda: token(aud=AUDIENCE + "-test"),
            "audience in other case": lambda: token(aud=AUDIENCE.upper()),
        },
    ),
    *tokens(
        "audience-malformed",
        {
            "audience missing": lambda: token(aud=None),
            "audience list of odd things": lambda: token(aud=[AUDIENCE, 1]),
        },
    ),
    *tokens(
        "issuer-unknown",
        {
            "issuer wrong": lambda: token(iss="https://issuer.example/realms/other"),
            "issuer with a slash more": lambda: token(iss=ISSUER + "/"),
            "issuer missing": lambda: token(iss=None),
            "issuer a list": lambda: token(iss=[ISSUER]),
        },
    ),
    *tokens(
        "expired", {"expired": lambda: token(exp=int(time.time()) - 60, iat=int(time.time()) - 600)}
    ),
    *tokens("not-yet-valid", {"not yet valid": lambda: token(nbf=int(time.time()) + 120)}),
    *tokens("issued-in-future", {"issued in the future": lambda: token(iat=FAR - 1, exp=FAR)}),
    *tokens("exp-missing", {"expiry missing": lambda: token(exp=None)}),
    *tokens("iat-missing", {"time of issue missing": lambda: token(iat=None)}),
    *tokens(
        "exp-malformed",
        {
            "expiry a text": lambda: token(exp=str(int(time.time()) + 300)),
            "expiry true": lambda: token(exp=True),
            "expiry infinite": lambda: _with_expiry("1e999"),
            "expiry in milliseconds": lambda: token(exp=int(time.time() * 1000) + 300000),
        },
    ),
    *tokens("json-malformed", {"expiry NaN": lambda: token(exp=float("nan"))}),
    *tokens(
        "times-contradict",
        {"expires before it was issued": lambda: token(exp=int(time.time()) - 10)},
    ),
    *tokens(
        "client-malformed",
        {
            "client id with a line break": lambda: token(azp="a\nlevel=info"),
            "client id very long": lambda: token(azp="c" * 125),
            "client id not ASCII": lambda: token(azp="klinik-ü"),
            "client id a number": lambda: token(azp=7),
            "no client at all": lambda: token(azp=None, sub=None),
        },
    ),
    *tokens("scope-malformed", {"scope a mapping": lambda: token(scope={"predict": True})}),
    *tokens(
        "not-an-access-token",
        {
            "ID token": lambda: token(typ="ID"),
            "refresh token": lambda: token(typ="Refresh"),
        },
    ),
    *tokens("token-bound-to-key", {"token bound to a key": lambda: token(cnf={"jkt": "x"})}),
    *tokens("jti-malformed", {"jti a number": lambda: token(jti=1)}),
)

FORMS: Final[tuple[Attack, ...]] = (
    *tokens(
        "type-not-accepted",
        {
            "header type of a log-out token": lambda: token(head={"typ": "logout+jwt"}),
            "header type a number": lambda: token(head={"typ": 1}),
        },
    ),
    *tokens(
        "header-not-understood",
        {
            "crit in the header": lambda: token(head={"crit": ["exp"], "exp": 1}),
            "empty crit in the header": lambda: token(head={"crit": []}),
            "detached payload": lambda: token(head={"b64": False}),
            "compressed payload": lambda: token(head={"zip": "DEF"}),
        },
    ),
    *tokens(
        "json-duplicate-member",
        {
            "claim given twice": lambda: seal(RS256, _twice("aud"), "rsa-1", "RS256"),
            "algorithm given twice": lambda: seal(
                b'{"alg":"none","typ":"JWT","kid":"rsa-1","alg":"RS256"}',
                claims(),
                "rsa-1",
                "RS256",
            ),
        },
    ),
    *tokens("credential-too-long", {"oversized": lambda: token(extra="x" * 9000)}),
    *tokens("json-too-deep", {"deep payload": lambda: seal(RS256, _deep(40), "rsa-1", "RS256")}),
    *tokens(
        "json-malformed",
        {
            "bottomless payload": lambda: seal(RS256, _deep(2500), "rsa-1", "RS256"),
            "payload a list": lambda: seal(RS256, [claims()], "rsa-1", "RS256"),
            "payload no JSON": lambda: seal(RS256, b"{'iss': 1}", "rsa-1", "RS256"),
            "payload not UTF-8": lambda: seal(RS256, b'{"iss": "\xff"}', "rsa-1", "RS256"),
            "number of 5000 digits": lambda: _with_expiry("1" + "0" * 5000),
        },
    ),
    *tokens(
        "token-malformed",
        {
            "two segments": lambda: token().rpartition(b".")[0],
            "four segments": lambda: token() + b".eA",
            "five segments, as if encrypted": lambda: token() + b".eA.eA",
            "one segment": lambda: b"eyJhbGciOiJub25lIn0",
            "empty segments": lambda: b"..",
            "padding": lambda: token() + b"==",
            "a space inside": lambda: token().replace(b".", b". ", 1),
            "a line break at the end": lambda: token() + b"\n",
            "a zero byte": lambda: token() + b"\x00",
            "not ASCII": lambda: token()[:-4] + "ümlä".encode(),
            "latin-1 bytes": lambda: b"\xe9" * 60,
            "base64 of the other alphabet": lambda: token()[:-4] + b"+/+/",
        },
    ),
)
