"""Settings that would leave the service open are refused, all at once, each with a remedy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.service.forging import SERVER_SECRET, key_set

from ketacast_service import safety
from ketacast_service.errors import ServiceError
from ketacast_service.settings import load_settings

PUBLIC = {"host": "0.0.0.0", "auth": "keys", "secret": SERVER_SECRET, "tls_terminated": True}  # noqa: S104
JWT = {
    "auth": "jwt",
    "jwt_issuer": "https://issuer.example",
    "jwt_audience": "ketacast",
    "jwt_jwks_url": "https://issuer.example/keys",
    "jwt_jwks_hosts": ("issuer.example",),
}


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("KETACAST_")]:
        monkeypatch.delenv(name)


def faults(**given: Any) -> list[str]:
    with pytest.raises(ServiceError) as caught:
        safety.check(load_settings(**given))
    return str(caught.value).splitlines()[1:]


def file(tmp_path: Path, text: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / f"file-{len(list(tmp_path.iterdir()))}"
    path.write_bytes(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"host": "localhost"},
        {"host": "::1"},
        PUBLIC,
        JWT,
        {**JWT, "auth": "keys+jwt", "secret": SERVER_SECRET},
        {**JWT, "jwt_algorithms": ("ES256",)},
        {**JWT, "jwt_jwks_url": "http://127.0.0.1:9/keys", "jwt_jwks_hosts": ("127.0.0.1",)},
        {"cors_origins": ("https://a.example", "http://localhost:3000", "https://a.example:8443")},
        {"trusted_proxies": ("10.0.0.5", "10.0.0.0/24", "fd00::/8")},
        {"public_url": "https://predict.hospital.example/api"},
    ],
    ids=str,
)
def test_safe_settings_pass(given: dict[str, Any]) -> None:
    safety.check(load_settings(**given))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**PUBLIC, "auth": "none"}, "auth is 'none'"),
        ({**PUBLIC, "tls_terminated": False}, "without TLS"),
        ({**PUBLIC, "host": "", "tls_terminated": False}, "without TLS"),
        ({**PUBLIC, "host": "predict.hospital.example", "tls_terminated": False}, "without TLS"),
        ({"auth": "keys"}, "need a server secret"),
        ({"auth": "keys", "secret": "short"}, "has 5 characters"),
        ({"auth": "keys+jwt", **{k: v for k, v in JWT.items() if k != "auth"}}, "server secret"),
        ({**JWT, "jwt_issuer": None}, "jwt_issuer is missing"),
        ({**JWT, "jwt_audience": " "}, "jwt_audience is missing"),
        ({**JWT, "jwt_jwks_url": None}, "exactly one of"),
        ({**JWT, "jwt_jwks_url": "http://issuer.example/keys"}, "not https"),
        ({**JWT, "jwt_jwks_hosts": ()}, "not in jwt_jwks_hosts"),
        ({**JWT, "jwt_jwks_hosts": ("other.example",)}, "not in jwt_jwks_hosts"),
        ({**JWT, "jwt_algorithms": ()}, "is empty"),
        ({**JWT, "jwt_algorithms": ("RS256", "none")}, "'none'; choose from RS256"),
        ({**JWT, "jwt_algorithms": ("HS256",)}, "'HS256'"),
        ({**JWT, "jwt_algorithms": ("PS256",)}, "'PS256'"),
        ({**JWT, "jwt_jwks_file": "/nowhere.json"}, "exactly one of"),
        ({**JWT, "jwt_jwks_url": None, "jwt_jwks_file": "/nowhere.json"}, "cannot be read"),
        ({"cors_origins": ("*",)}, "lets every web page in"),
        ({"cors_origins": ("https://*.example",)}, "is no origin"),
        ({"cors_origins": ("https://a.example/",)}, "is no origin"),
        ({"cors_origins": ("https://a.example/x",)}, "is no origin"),
        ({"cors_origins": ("a.example",)}, "is no origin"),
        ({"cors_origins": ("null",)}, "is no origin"),
        ({"cors_origins": ("https://A.example",)}, "is no origin"),
        ({"cors_origins": ("https://a.example:port",)}, "is no origin"),
        ({"tls_key": "/nowhere.pem"}, "tls_certificate is missing"),
        ({"tls_certificate": "/nowhere.pem"}, "tls_key is missing"),
        ({"tls_certificate": "/nowhere.pem", "tls_key": "/nowhere.key"}, "cannot be read"),
        ({"trusted_proxies": ("proxy",)}, "neither an address nor a network"),
        ({"trusted_proxies": ("10.0.0.5/24",)}, "neither an address nor a network"),
        ({"trusted_proxies": ("*",)}, "neither an address nor a network"),
        ({"trusted_proxies": ("0.0.0.0/0",)}, "trusts everybody"),
        ({"trusted_proxies": ("::/0",)}, "trusts everybody"),
        ({"public_url": "predict.hospital.example"}, "is no address"),
        ({"public_url": "https://a.example/?x=1"}, "is no address"),
    ],
    ids=str,
)
def test_an_unsafe_point_is_named(given: dict[str, Any], said: str) -> None:
    found = faults(**given)
    assert any(said in line for line in found), found


def test_all_unsafe_points_are_listed_at_once() -> None:
    found = faults(
        host="0.0.0.0",  # noqa: S104
        auth="none",
        cors_origins=("*",),
        trusted_proxies=("everybody",),
        tls_key="/nowhere.pem",
    )
    # TLS: the certificate is missing, nothing is encrypted, the key cannot be read.
    assert len(found) == 6
    assert all(";" in line for line in found), "each says how to mend it"


@pytest.mark.parametrize(
    ("mode", "is_refused"),
    [(0o600, False), (0o400, False), (0o440, False), (0o640, False), (0o644, True), (0o604, True),
     (0o660, True), (0o602, True), (0o666, True)],
)  # fmt: skip
def test_a_secret_that_others_can_read_or_change_is_refused(
    tmp_path: Path, mode: int, is_refused: bool
) -> None:
    path = file(tmp_path, SERVER_SECRET.encode(), mode)
    given = {"auth": "keys", "secret_file": path}
    if is_refused:
        assert "other users" in "\n".join(faults(**given))
    else:
        safety.check(load_settings(**given))


@pytest.mark.parametrize("text", [b"", b"short\n", b"\xff" * 40])
def test_a_secret_file_must_hold_a_secret(tmp_path: Path, text: bytes) -> None:
    found = "\n".join(faults(auth="keys", secret_file=file(tmp_path, text)))
    assert "openssl" in found or "cannot be read" in found


def test_a_key_set_in_a_file_must_hold_keys(tmp_path: Path) -> None:
    given = {**JWT, "jwt_jwks_url": None}
    good = file(tmp_path, key_set())
    safety.check(load_settings(**given, jwt_jwks_file=good))
    weak = file(tmp_path, key_set(("weak", "p521")))
    assert "none of the 2 keys" in "\n".join(faults(**given, jwt_jwks_file=weak))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f'secret = "{SERVER_SECRET}"', "holds `secret`"),
        ('database_url = "postgresql://u:hunter22@db/k"', "database_url with a password"),
        ('database_url = "postgresql://u@db/k?password=hunter22"', "database_url with a password"),
    ],
)
def test_no_secret_belongs_into_the_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    monkeypatch.setenv("KETACAST_CONFIG", str(file(tmp_path, line.encode())))
    found = "\n".join(faults())
    assert said in found
    assert "hunter22" not in found
    assert SERVER_SECRET not in found


def test_a_password_in_the_environment_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql://u:hunter22@db/k?sslmode=verify-full"
    monkeypatch.setenv("KETACAST_DATABASE_URL", url)
    monkeypatch.setenv("KETACAST_CONFIG", str(file(tmp_path, b"port = 9000")))
    settings = load_settings()
    safety.check(settings)
    assert "hunter22" not in "\n".join(safety.warnings(settings))


def test_addresses_with_passwords_are_not_shown() -> None:
    found = faults(
        **{**JWT, "jwt_jwks_url": "https://u:hunter22@issuer.example/k"},
        public_url="https://u:hunter22@a.example",
        cors_origins=("https://u:hunter22@a.example",),
    )
    assert len(found) == 3
    assert "hunter22" not in "\n".join(found)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"audit_required": False}, "audit_required=false"),
        ({"rate_per_second": 0}, "rate_per_second=0"),
        ({"log_level": "debug"}, "log_level=debug"),
        ({}, "auth=none"),
        ({**PUBLIC, "keys_refresh_seconds": 60}, "keys_refresh_seconds=60"),
        ({**PUBLIC, "secret": "ab" * 20}, "does not look random"),
        (PUBLIC, "without trusted_proxies"),
        ({"cors_origins": ("http://pages.example",)}, "not encrypted"),
        ({"database_url": "postgresql://u:hunter22@db/k"}, "without TLS"),
    ],
    ids=str,
)
def test_what_is_allowed_but_unwise_is_said(given: dict[str, Any], said: str) -> None:
    settings = load_settings(**given)
    safety.check(settings)
    found = "\n".join(safety.warnings(settings))
    assert said in found
    assert "hunter22" not in found


def test_wise_settings_have_no_warnings(tmp_path: Path) -> None:
    key = file(tmp_path, b"key")
    settings = load_settings(
        **{**PUBLIC, "tls_terminated": False},
        tls_certificate=file(tmp_path, b"certificate", 0o644),
        tls_key=key,
        trusted_proxies=("10.0.0.5",),
        database_url="postgresql://u@db/k?sslmode=verify-full",
        cors_origins=("https://pages.example",),
    )
    safety.check(settings)
    assert safety.warnings(settings) == []
    key.chmod(0o644)
    assert "tls_key" in "\n".join(safety.warnings(settings))


def test_two_secrets_are_said(tmp_path: Path) -> None:
    path = file(tmp_path, SERVER_SECRET.encode())
    settings = load_settings(auth="keys", secret=SERVER_SECRET, secret_file=path)
    assert "both set" in "\n".join(safety.warnings(settings))
