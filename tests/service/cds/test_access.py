"""Who may call CDS Hooks under which settings, and settings that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import inspect
from tests.service.running import running_service

from ketacast_service import safety
from ketacast_service.database import migrate, open_engine
from ketacast_service.errors import ServiceError
from ketacast_service.security.key_table import KeyRecord, insert_key
from ketacast_service.security.keys import mac_of, new_key
from ketacast_service.settings import Settings, load_settings

Json = dict[str, Any]

SECRET = "f3a1c05e9b7d2468" * 4  # of a service of the tests
URL = "https://keys.ehr.example/jwks.json"
CLIENT = {"issuer": "https://ehr.example", "jwks_urls": [URL]}
PUBLIC: Json = {"public_url": "https://k.example"}


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({}, "none"),
        ({"auth": "keys"}, "off"),
        ({"host": "0.0.0.0"}, "off"),  # noqa: S104
        ({"cds_clients": [CLIENT]}, "jwt"),
        ({"cds_clients": [CLIENT], "auth": "keys"}, "jwt"),
        ({"cds_auth": "off", "cds_clients": [CLIENT]}, "off"),
        ({"cds_auth": "api", "auth": "keys"}, "api"),
    ],
)
def test_cds_hooks_are_on_where_that_is_safe(given: Json, mode: str) -> None:
    assert Settings(**given).cds_mode == mode


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cds_auth": "none", "auth": "keys", "secret": SECRET}, "leaves CDS Hooks open"),
        ({"cds_auth": "api"}, "needs keys or tokens"),
        ({"cds_auth": "jwt"}, "public_url is missing"),
        ({"cds_auth": "jwt", **PUBLIC}, "lets nobody in"),
        ({"cds_clients": [CLIENT]}, "public_url is missing"),
        ({"cds_clients": [CLIENT, CLIENT], **PUBLIC}, "names an issuer twice"),
        ({"cds_clients": [{"issuer": "https://e.example"}], **PUBLIC}, "has no keys"),
        ({"cds_clients": [{**CLIENT, "issuer": "a b"}], **PUBLIC}, "other characters"),
        ({"cds_clients": [{**CLIENT, "jwks_file": "/none"}], **PUBLIC}, "cannot be read"),
        (
            {"cds_clients": [{**CLIENT, "jwks_urls": ["http://keys.example/"]}], **PUBLIC},
            "is not https",
        ),
        ({"cds_clients": [{**CLIENT, "jwks_urls": ["https://["]}], **PUBLIC}, "malformed"),
        ({"cds_clients": [CLIENT], **PUBLIC, "cds_algorithms": "HS256"}, "cds_algorithms"),
        ({"cds_clients": [CLIENT], **PUBLIC, "cds_algorithms": ""}, "is empty"),
        ({"cds_fhir_servers": "http://fhir.example/r4"}, "cds_fhir_servers"),
        ({"cds_fhir_servers": "https://user:pw@fhir.example/r4"}, "cds_fhir_servers"),
        ({"cds_lookup_url": "javascript:alert(1)"}, "cds_lookup_url"),
        ({"cds_source_url": "https://x.example/?a=1"}, "cds_source_url"),
    ],
)
def test_settings_that_are_not_safe_are_refused(given: Json, said: str) -> None:
    with pytest.raises(ServiceError, match=said) as caught:
        safety.check(load_settings(**given))
    assert "pw@" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {"cds_clients": [CLIENT], **PUBLIC},
        {"cds_fhir_servers": "https://fhir.example/r4, http://127.0.0.1:8080/fhir"},
        {"cds_lookup_url": "https://k.example/lookup", "cds_source_url": "http://localhost:8000/m"},
        {"cds_auth": "none"},
    ],
)
def test_good_settings_are_taken(given: Json) -> None:
    safety.check(load_settings(**given))


def test_clients_by_environment_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KETACAST_CDS_CLIENTS", json.dumps([{**CLIENT, "tenants": ["a"]}]))
    (client,) = load_settings().cds_clients
    assert (client.issuer, client.tenants) == ("https://ehr.example", ("a",))
    monkeypatch.delenv("KETACAST_CDS_CLIENTS")
    path = tmp_path / "k.toml"
    path.write_text(f'[[cds_clients]]\nissuer = "https://e.example"\njwks_urls = ["{URL}"]\n')
    monkeypatch.setenv("KETACAST_CONFIG", str(path))
    (client,) = load_settings().cds_clients
    assert client.jwks_urls == (URL,)


def links(**given: Any) -> tuple[str | None, str | None]:
    settings = Settings(**given)
    return settings.cds_source, settings.cds_lookup


def test_pages_are_linked_only_where_they_can_be_opened() -> None:
    ours = ("https://k.example/page/model-card", "https://k.example/")
    assert links() == (None, None)
    assert links(**PUBLIC) == ours
    assert links(auth="keys", **PUBLIC) == (None, None)
    assert links(auth="keys", page="open", **PUBLIC) == ours
    assert links(page="off", **PUBLIC) == (None, None)
    own = {"cds_source_url": "https://x.example/m", "cds_lookup_url": "https://x.example/l"}
    assert links(auth="keys", **own) == ("https://x.example/m", "https://x.example/l")


def test_what_cards_link_to_is_there() -> None:
    with running_service(rate_per_second=0) as service:
        for path in ("/page/model-card", "/?failed_trials=3-5&infusions=8&rated_by=unknown"):
            reply = httpx.get(service.url + path, headers={"Accept": "text/html"}, timeout=30)
            assert reply.status_code == 200
            assert reply.headers["content-type"].startswith("text/html")
        assert "of 100" in reply.text


def test_without_clients_the_routes_are_not_there() -> None:
    with running_service(auth="keys", secret=SECRET) as service:
        key = made_key(service.environment["KETACAST_DATABASE_URL"], ("cds", "read"))
        headers = {"Authorization": f"Bearer {key}"}
        assert httpx.get(service.url + "/cds-services").status_code == 401
        assert httpx.get(service.url + "/cds-services", headers=headers).status_code == 404


def made_key(url: str, scopes: tuple[str, ...]) -> str:
    engine = open_engine(url, timeout=10)
    key_id, text = new_key()
    record = KeyRecord(
        key_id, "test", scopes, "2026-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z", None
    )
    insert_key(engine, record, mac_of(SECRET.encode(), text))
    engine.dispose()
    return text


def test_keys_with_the_scope_may_call_where_the_operator_says_so() -> None:
    with running_service(auth="keys", secret=SECRET, cds_auth="api") as service:
        url = service.environment["KETACAST_DATABASE_URL"]
        keys = [(made_key(url, ("cds",)), 200), (made_key(url, ("predict", "read")), 403)]
        for key, status in keys:
            headers = {"Authorization": f"Bearer {key}"}
            reply = httpx.get(service.url + "/cds-services", headers=headers)
            assert reply.status_code == status
        assert reply.json()["resourceType"] == "OperationOutcome"
        assert httpx.get(service.url + "/cds-services").status_code == 401


def test_the_table_of_used_tokens_comes_by_migration(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}", timeout=10)
    migrate(engine)
    assert {one["name"] for one in inspect(engine).get_columns("used_token")} == {
        "digest", "expires",
    }  # fmt: skip
    engine.dispose()
