"""Access tokens: their strict reading, the cache of verified ones, rules for other clients."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from tests.service.forging import (
    AUDIENCE,
    ISSUER,
    claims,
    key_set,
    listening,
    private_key,
    public_jwk,
    token,
)

from ketacast_service.access import ALL_SCOPES
from ketacast_service.errors import ServiceError
from ketacast_service.security.access_tokens import LONGEST_CACHED, AccessTokens, client_of
from ketacast_service.security.jwks import LONGEST_SET, MOST_KEYS, read_key_set
from ketacast_service.security.jws import read_compact
from ketacast_service.security.key_sources import KeySource, file_source, url_source
from ketacast_service.security.refusal import NotReadyError, RefusedError
from ketacast_service.security.tokens import Issuer, TokenRules, TokenVerifier

ENDPOINT = "https://predict.hospital.example/cds-services/ketamine"


class Clock:
    """A clock that a test turns on."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set())
    return path


def access_tokens(
    path: Path, clock: Clock | None = None, *, capacity: int = 10, **rules: Any
) -> AccessTokens:
    chosen = clock or Clock()
    source = file_source(path, clock=chosen)
    return AccessTokens(
        ISSUER, source, AUDIENCE, TokenRules(**rules), clock=chosen, capacity=capacity
    )


def refused(verifier: TokenVerifier | AccessTokens, text: bytes, audience: str = AUDIENCE) -> str:
    check: Coroutine[None, None, object]
    if isinstance(verifier, AccessTokens):
        check = verifier.check(text)
    else:
        check = verifier.verify(text, audience)
    with pytest.raises(RefusedError) as caught:
        asyncio.run(check)
    return caught.value.reason


@given(st.binary(max_size=300))
def test_no_bytes_get_past_the_reader_but_tokens(raw: bytes) -> None:
    with contextlib.suppress(RefusedError):
        read_compact(raw, 8192)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
HEADERS = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "jku", "jwk", "crit", "x5u", "b64"]),
    JSON | st.sampled_from(["RS256", "ES256", "none", "rsa-1", "JWT"]),
)
CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "aud", "exp", "iat", "nbf", "jti", "sub", "azp", "scope", "cnf"]),
    JSON | st.sampled_from([ISSUER, AUDIENCE, 2e9, 10**400]),
)


@settings(max_examples=150, deadline=None)
@given(header=HEADERS, payload=CLAIMS)
def test_whatever_a_foreigner_writes_is_refused_and_never_fails(
    tmp_path_factory: pytest.TempPathFactory, header: dict[str, Any], payload: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-keys.json"
    if not path.exists():
        path.write_bytes(key_set())
    parts = [
        base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
        for value in (header, payload)
    ]
    refused(access_tokens(path), b".".join([*parts, b"AAAA"]))


@given(CLAIMS)
def test_whatever_an_issuer_signs_gives_a_client_or_a_refusal(payload: dict[str, Any]) -> None:
    with contextlib.suppress(RefusedError):
        client = client_of(payload)
        assert client.id.startswith("jwt:")
        assert len(client.id) <= 128
        assert client.id.isascii()
        assert client.id.isprintable()
        assert client.scopes <= ALL_SCOPES


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ({"scope": "predict openid profile"}, {"predict"}),
        ({"scope": ""}, set()),
        ({"scope": None}, set()),
        ({"scope": None, "scp": "read clinics"}, {"read", "clinics"}),
        ({"scope": None, "scp": ["read", "other"]}, {"read"}),
        ({"scope": "predict", "scp": "metrics"}, {"predict"}),
        ({"scope": None, "roles": ["read", "Owner"]}, {"read"}),
        ({"scope": "predict", "roles": ["metrics"]}, {"predict"}),
        ({"scope": "PREDICT predict,read"}, set()),
    ],
)
def test_only_scopes_known_here_are_granted(claim: dict[str, Any], expected: set[str]) -> None:
    assert client_of(claims(**claim)).scopes == expected


def test_a_verified_token_is_known_until_it_expires(key_file: Path) -> None:
    clock = Clock()
    tokens = access_tokens(key_file, clock)
    text = token(exp=int(clock.now) + 100)
    asyncio.run(tokens.check(text))
    assert tokens.quick(sha(text))
    clock.now += 99
    assert tokens.quick(sha(text))
    clock.now += 2
    assert tokens.quick(sha(text)) is None
    assert asyncio.run(tokens.check(text))  # within the leeway of 30 s, though not from memory
    assert tokens.quick(sha(text)) is None
    clock.now += 30
    assert refused(tokens, text) == "expired"


def sha(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def test_only_so_many_verified_tokens_are_kept(key_file: Path) -> None:
    tokens = access_tokens(key_file, capacity=3)
    texts = [token(jti=str(number)) for number in range(5)]
    for text in texts[:3]:
        asyncio.run(tokens.check(text))
    assert tokens.quick(sha(texts[0]))  # used last: the second is forgotten first
    asyncio.run(tokens.check(texts[3]))
    assert [bool(tokens.quick(sha(text))) for text in texts] == [True, False, True, True, False]
    assert len(tokens) == 3


def test_a_key_withdrawn_by_the_issuer_stops_counting(key_file: Path) -> None:
    clock = Clock()
    tokens = access_tokens(key_file, clock)
    text = token(exp=int(clock.now) + 86_400)

    async def run() -> None:
        await tokens.check(text)
        key_file.write_bytes(key_set(("rsa-2", "p256")))
        clock.now += LONGEST_CACHED + 1
        assert tokens.quick(sha(text)) is None
        await tokens.check(text)  # reads the file in the background
        await asyncio.sleep(0.2)
        with pytest.raises(RefusedError):
            await tokens.check(text)

    asyncio.run(run())


def test_one_key_needs_no_kid_and_two_of_one_name_are_told_apart_by_type(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(("rsa-1",)))
    assert asyncio.run(access_tokens(path).check(token(head={"kid": None})))
    both = [public_jwk("rsa-1", kid="k"), public_jwk("p256", kid="k")]
    path.write_text(json.dumps({"keys": both}))
    assert asyncio.run(access_tokens(path).check(token(head={"kid": "k"})))
    path.write_text(json.dumps({"keys": [*both, public_jwk("rsa-2", kid="k")]}))
    assert refused(access_tokens(path), token(head={"kid": "k"})) == "kid-ambiguous"


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"alg": "RSA-OAEP"},
        {"alg": 256},
        {"kty": "oct"},
        {"kty": ["RSA"]},
        {"kid": 7},
        {"n": 5},
        {"n": "AQAB"},
        {"n": "!"},
        {"e": None},
    ],
    ids=str,
)
def test_keys_for_other_ends_are_left_out(change: dict[str, object]) -> None:
    with pytest.raises(ServiceError, match="none of the 1 keys"):
        read_key_set(json.dumps({"keys": [public_jwk("rsa-1", **change)]}).encode())


def test_a_key_says_by_its_alg_what_it_is_for() -> None:
    keys = read_key_set(json.dumps({"keys": [public_jwk("rsa-1", alg="RS384")]}).encode())
    assert keys.keys[0].algorithms == {"RS384"}


def test_weak_keys_and_odd_curves_are_left_out_and_counted() -> None:
    found = read_key_set(key_set())
    assert [key.kid for key in found.keys] == ["rsa-1", "rsa-2", "p256", "p384"]
    assert found.skipped == 2


def test_a_private_key_given_by_mistake_is_read_as_a_public_one() -> None:
    key = private_key("rsa-1")
    assert isinstance(key, RSAPrivateKey)
    entry = RSAAlgorithm.to_jwk(key, as_dict=True)
    entry.pop("key_ops")
    (found,) = read_key_set(json.dumps({"keys": [entry]}).encode()).keys
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert not hasattr(found.key, "private_bytes")
    assert secret.decode() not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [1]}',
        b'{"keys": [], "keys": []}',
        b'{"keys": "' + b"x" * LONGEST_SET + b'"}',
        json.dumps({"keys": [{}] * (MOST_KEYS + 1)}).encode(),
    ],
    ids=lambda text: text[:16].decode(),
)
def test_an_odd_key_set_is_refused(text: bytes) -> None:
    with pytest.raises(ServiceError, match="key"):
        read_key_set(text)


class TestRulesOfCdsHooksClients:
    """Several issuers, keys by address, an audience per endpoint: the same core."""

    RULES = TokenRules(
        algorithms=frozenset({"ES384", "RS384"}),
        types=frozenset({"jwt"}),
        needs_type=True,
        needs_kid=True,
        needs_jti=True,
        longest_life=3600,
    )

    @pytest.fixture
    def verifier(self, key_file: Path) -> Iterator[TokenVerifier]:
        with listening(lambda: (200, {}, key_set(("p384",)))) as theirs:
            self.url = theirs.url
            self.asked = theirs.asked
            source = url_source(theirs.url, ["127.0.0.1"])
            issuers = {
                "https://a.example": Issuer("https://a.example", None, {theirs.url: source}),
                ISSUER: Issuer(ISSUER, file_source(key_file)),
            }
            yield TokenVerifier(issuers, self.RULES)

    def make(self, head: dict[str, object] | None = None, **changes: Any) -> bytes:
        merged = {"jku": self.url, **(head or {})}
        given = {"iss": "https://a.example", "aud": ENDPOINT, **changes}
        return token(key="p384", method="ES384", head=merged, **given)

    def test_a_listed_address_of_keys_is_read(self, verifier: TokenVerifier) -> None:
        found = asyncio.run(verifier.verify(self.make(), ENDPOINT))
        assert (found.issuer, found.jti) == ("https://a.example", "a1")
        assert self.asked == ["/keys"]
        assert "ketamine" not in repr(found)

    def test_another_address_is_never_called(self, verifier: TokenVerifier) -> None:
        with listening() as foreign:
            for jku in (foreign.url, self.url + "?", self.url.replace("127.0.0.1", "localhost"),
                        [self.url], None):  # fmt: skip
                text = self.make({"jku": jku})
                assert refused(verifier, text, ENDPOINT) == "jku-not-allowed"
            # An address of one issuer is none of another's.
            assert refused(verifier, self.make(iss=ISSUER), ENDPOINT) == "jku-not-allowed"
            assert foreign.asked == []
        assert self.asked == []

    @pytest.mark.parametrize(
        ("head", "changes", "reason"),
        [
            ({}, {"aud": ENDPOINT + "/feedback"}, "audience-wrong"),
            ({}, {"jti": None}, "jti-missing"),
            ({}, {"jti": ""}, "jti-malformed"),
            ({}, {"exp": int(time.time()) + 7300}, "lives-too-long"),
            ({"kid": None}, {}, "kid-missing"),
            ({"typ": None}, {}, "type-missing"),
            ({"typ": "at+jwt"}, {}, "type-not-accepted"),
            ({}, {"iss": "https://b.example"}, "issuer-unknown"),
        ],
    )
    def test_rules(
        self, verifier: TokenVerifier, head: dict[str, object], changes: dict[str, Any], reason: str
    ) -> None:
        assert refused(verifier, self.make(head, **changes), ENDPOINT) == reason


def test_without_keys_nobody_is_refused_for_good(tmp_path: Path) -> None:
    async def run() -> None:
        source = file_source(tmp_path / "missing.json")
        tokens = AccessTokens(ISSUER, source, AUDIENCE, TokenRules())
        await tokens.start()
        assert not tokens.is_ready
        with pytest.raises(NotReadyError):
            await tokens.check(token())
        await tokens.close()

    asyncio.run(run())


def test_a_source_needs_no_reading_for_tokens_of_others() -> None:
    async def fail() -> bytes:
        raise AssertionError("read for a token that counts nowhere")

    source = KeySource(fail, "nobody", refresh_seconds=1)
    tokens = AccessTokens(ISSUER, source, AUDIENCE, TokenRules())
    assert refused(tokens, token(iss="https://evil.example")) == "issuer-unknown"
    assert refused(tokens, token(head={"alg": "none"})) == "algorithm-not-allowed"
