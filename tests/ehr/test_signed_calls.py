"""Signed calls: who may call, what for, and only once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.ehr.charts import order, resistant
from tests.ehr.mini_ehr import MiniEhr
from tests.ehr.signing import Signer
from tests.service.forging import Listener, listening
from tests.service.running import Running, running_service

PUBLIC = "http://127.0.0.1:9"
JKU = "https://keys.ehr.example/jwks.json"
SIGN = "/cds-services/ketamine-outlook-order-sign"
TENANT = "ward-7"


@dataclass
class Signed:
    """A service that asks for tokens, and clients of it."""

    service: Running
    elliptic: Signer
    rsa: Signer
    by_address: Signer
    keys: Listener
    foreign: Listener


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def signed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Signed]:
    directory = tmp_path_factory.mktemp("keys")
    elliptic, rsa = Signer(), Signer("https://other.example", "RS384", "r-1")
    by_address = Signer("https://third.example", "ES384", "t-1")
    own_keys = listening(lambda: (200, {}, by_address.key_set().encode()))
    with own_keys as keys, listening() as foreign:
        by_address.jku = keys.url
        clients = [
            {"issuer": elliptic.issuer, "jwks_file": written(directory / "e.json", elliptic)},
            {
                "issuer": rsa.issuer, "jwks_file": written(directory / "r.json", rsa),
                "tenants": [TENANT],
            },
            {"issuer": by_address.issuer, "jwks_urls": [keys.url]},
        ]  # fmt: skip
        with running_service(
            rate_per_second=0, public_url=PUBLIC, workers=request.param,
            cds_clients=json.dumps(clients), cors_origins="https://app.ehr.example",
        ) as service:  # fmt: skip
            yield Signed(service, elliptic, rsa, by_address, keys, foreign)


def written(path: Path, signer: Signer) -> str:
    path.write_text(signer.key_set(), encoding="utf-8")
    return str(path)


def ask(signed: Signed, token: str, path: str = "/cds-services") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(signed.service.url + path, headers=headers, timeout=30)


def settled(signed: Signed, token: str) -> httpx.Response:
    """Ask, passing over the limit on failures of one address, which this file reaches."""
    for _ in range(60):
        reply = ask(signed, token)
        if reply.status_code != 429:
            break
        time.sleep(1.05)
    return reply


@pytest.mark.parametrize("name", ["elliptic", "rsa", "by_address"])
def test_a_known_client_works_from_discovery_to_feedback(signed: Signed, name: str) -> None:
    signer: Signer = getattr(signed, name)
    if name == "rsa":
        ask_tenant = signer.token(PUBLIC + "/cds-services", tenant=TENANT)
        assert settled(signed, ask_tenant).status_code == 200
        return
    ehr = MiniEhr(signed.service.url, resistant(), signer=signer, audience=PUBLIC)
    (card,) = ehr.fire("order-sign", [order()])
    assert ehr.dismiss("order-sign", card, "count-differs", None) == 200
    ehr.close()


def test_a_list_of_addresses_may_hold_ours(signed: Signed) -> None:
    token = signed.elliptic.token(["https://x.example", PUBLIC + "/cds-services"])
    assert settled(signed, token).status_code == 200


def attacks(signed: Signed) -> dict[str, str]:
    """Return tokens that must not count, by what is wrong with them."""
    good, own, now = PUBLIC + "/cds-services", signed.elliptic, int(time.time())
    stranger = Signer("https://stranger.example")
    thief = Signer(own.issuer, kid=own.kid)
    return {
        "no token": "",
        "no JWT": "abc",
        "unknown issuer": stranger.token(good),
        "foreign key": thief.token(good),
        "other endpoint": own.token(PUBLIC + SIGN),
        "longer address": own.token(good + "/"),
        "other host": own.token("https://evil.example/cds-services"),
        "no audience": own.token(None),
        "expired": own.token(good, exp=now - 100, iat=now - 400),
        "from the future": own.token(good, iat=now + 200, exp=now + 400),
        "lives too long": own.token(good, exp=now + 4000),
        "no exp": own.token(good, exp=None),
        "no iat": own.token(good, iat=None),
        "no jti": own.token(good, jti=None),
        "jku not listed": own.token(good, head={"jku": signed.foreign.url}),
        "jku of another issuer": own.token(good, head={"jku": signed.keys.url}),
        "no typ": own.token(good, head={"typ": ""}),
        "other typ": own.token(good, head={"typ": "at+jwt"}),
        "unknown kid": own.token(good, head={"kid": "k-2"}),
        "no tenant": signed.rsa.token(good),
        "other tenant": signed.rsa.token(good, tenant="ward-8"),
    }


def test_what_must_not_count_is_refused_without_a_reason(signed: Signed) -> None:
    bodies = set()
    for name, token in attacks(signed).items():
        reply = settled(signed, token)
        assert reply.status_code == 401, name
        assert reply.headers["content-type"] == "application/fhir+json"
        document = reply.json()
        document["issue"][0]["diagnostics"] = document["issue"][0]["diagnostics"].partition(" (")[0]
        bodies.add(json.dumps(document))
    assert len(bodies) == 1
    assert signed.foreign.asked == []


def test_unsigned_and_symmetric_tokens_are_refused(signed: Signed) -> None:
    from jwt.utils import base64url_encode  # noqa: PLC0415  # to forge by hand

    now = int(time.time())
    claims = {
        "iss": signed.elliptic.issuer, "aud": PUBLIC + "/cds-services", "iat": now,
        "exp": now + 60, "jti": "x",
    }  # fmt: skip
    for algorithm in ("none", "HS256", "HS384", "HS512"):
        head = {"alg": algorithm, "typ": "JWT", "kid": "k-1"}
        parts = [base64url_encode(json.dumps(part).encode()).decode() for part in (head, claims)]
        token = ".".join([*parts, "AAAA"])
        assert settled(signed, token).status_code == 401, algorithm


def test_a_token_counts_once(signed: Signed) -> None:
    for _ in range(5):
        token = signed.elliptic.token(PUBLIC + "/cds-services")
        assert settled(signed, token).status_code == 200
        assert [settled(signed, token).status_code for _ in range(3)] == [401, 401, 401]


@pytest.mark.parametrize("path", ["/cds-services", SIGN, SIGN + "/feedback", "/cds-services/x"])
def test_every_route_asks_for_a_token(signed: Signed, path: str) -> None:
    for _ in range(60):
        reply = httpx.post(signed.service.url + path, json={})
        if reply.status_code != 429:
            break
        time.sleep(1.05)
    assert reply.status_code == 401
    assert "login" in reply.text


def test_an_unknown_service_is_not_found_with_a_token(signed: Signed) -> None:
    path = "/cds-services/unknown"
    headers = {"Authorization": f"Bearer {signed.elliptic.token(PUBLIC + path)}"}
    reply = httpx.post(signed.service.url + path, json={}, headers=headers)
    assert reply.status_code == 404
    assert reply.json()["resourceType"] == "OperationOutcome"


def test_a_browser_may_ask_first_without_a_token(signed: Signed) -> None:
    headers = {
        "Origin": "https://app.ehr.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    reply = httpx.options(signed.service.url + SIGN, headers=headers)
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == headers["Origin"]
    allowed = reply.headers["access-control-allow-headers"].lower()
    assert {"authorization", "content-type"} <= {name.strip() for name in allowed.split(",")}
    refused = httpx.post(signed.service.url + SIGN, json={}, headers={"Origin": headers["Origin"]})
    assert refused.status_code in (401, 429)
    assert refused.headers["access-control-allow-origin"] == headers["Origin"]


def test_other_routes_do_not_take_these_tokens(signed: Signed) -> None:
    secret: dict[str, Any] = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}
    token = signed.elliptic.token(PUBLIC + SIGN)
    headers = {"Authorization": f"Bearer {token}"}
    log = signed.service.log
    reply = httpx.post(signed.service.url + "/v1/predictions", json=secret, headers=headers)
    assert reply.status_code == 200  # open on this machine, whatever is presented
    assert token not in log.read_text(encoding="utf-8")
