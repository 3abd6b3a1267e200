"""Foreign web pages against a service that is open to this machine."""

from __future__ import annotations

from typing import Any

import pytest

from ketacast_service.errors import ProblemError
from ketacast_service.security import BrowserGuard, allowed_hosts, is_allowed_host
from ketacast_service.settings import load_settings

OWN = b"localhost:8000"


def guard(**settings: Any) -> BrowserGuard:
    return BrowserGuard(load_settings(**settings))


def passes(
    given: BrowserGuard,
    method: str = "POST",
    host: bytes = OWN,
    origin: bytes | None = None,
    site: bytes | None = None,
) -> bool:
    rows = [(b"host", host)]
    rows += [(b"origin", origin)] if origin is not None else []
    rows += [(b"sec-fetch-site", site)] if site is not None else []
    try:
        given.check(method, rows)
    except ProblemError:
        return False
    return True


def test_a_refusal_is_a_403_that_says_what_to_do() -> None:
    with pytest.raises(ProblemError, match="KETACAST_PUBLIC_URL") as caught:
        guard().check("GET", [(b"host", b"evil.example")])
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"localhost:8000", b"LOCALHOST:1", b"localhost.", b"127.0.0.1:8000",
     b"127.9.9.9", b"[::1]:8000", b"[::1]"],
)  # fmt: skip
def test_names_of_this_machine_pass(host: bytes) -> None:
    assert passes(guard(), host=host)


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"evil.example:8000", b"localhost.evil.example", b"127.0.0.1.nip.io",
     b"localhost@evil.example", b"evil.example@localhost", b"localhost/evil", b"localhost:port",
     b"localhost:99999", b"[::1", b"::1", b"", b"10.0.0.5", b"0.0.0.0", b"192.168.1.2:8000",
     b"2130706433", b"0x7f.1", b"localhost evil", b"localhost\xe9", b"[::ffff:10.0.0.1]",
     b"local%68ost", b"localhost#x", b"localhost?x"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_bound_to_this_machine_from_outside_is_refused(host: bytes, method: str) -> None:
    assert not passes(guard(), method, host)


def test_no_host_and_two_hosts_are_refused() -> None:
    for rows in ([], [(b"host", OWN), (b"host", OWN)]):
        with pytest.raises(ProblemError, match="localhost only"):
            guard().check("GET", rows)


def test_the_public_name_passes_too() -> None:
    given = guard(public_url="https://predict.hospital.example/api")
    assert passes(given, host=b"predict.hospital.example")
    assert passes(given, host=b"Predict.Hospital.example:443")
    assert not passes(given, host=b"hospital.example")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": b"https://evil.example"},
        {"origin": b"null"},
        {"origin": b""},
        {"origin": b"http://localhost:3000"},  # another program on this machine
        {"origin": b"http://localhost"},
        {"origin": b"http://localhost:8000.evil.example"},
        {"origin": b"file://"},
        {"origin": b"localhost:8000"},
        {"site": b"cross-site"},
        {"site": b"same-site"},
        {"origin": b"https://evil.example", "site": b"same-origin"},
    ],
    ids=str,
)
def test_other_sites_may_not_post(method: str, headers: dict[str, bytes]) -> None:
    assert not passes(guard(), method, OWN, **headers)


def test_two_origins_are_refused() -> None:
    own = (b"origin", b"http://" + OWN)
    with pytest.raises(ProblemError, match="other sites"):
        guard().check("POST", [(b"host", OWN), own, own])


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        (OWN, {}),  # a program, not a browser
        (OWN, {"origin": b"http://localhost:8000"}),
        (OWN, {"origin": b"HTTP://LOCALHOST:8000", "site": b"same-origin"}),
        (OWN, {"site": b"same-origin"}),
        (OWN, {"site": b"none"}),
        (b"localhost", {"origin": b"http://localhost"}),
        (b"localhost", {"origin": b"http://localhost:80"}),
        (b"localhost:443", {"origin": b"https://localhost"}),
        (b"[::1]:8000", {"origin": b"http://[::1]:8000"}),
        (OWN, {"origin": b"https://pages.example"}),
    ],
    ids=str,
)
def test_own_and_listed_pages_and_programs_may_post(host: bytes, headers: dict[str, bytes]) -> None:
    assert passes(guard(cors_origins=("https://pages.example",)), "POST", host, **headers)


def test_reading_is_left_to_the_rules_of_browsers() -> None:
    """A page cannot see what it was not allowed to by CORS; a preflight must be answered."""
    for method in ("GET", "HEAD", "OPTIONS"):
        assert passes(guard(), method, origin=b"https://evil.example", site=b"cross-site")


def test_with_authentication_any_name_may_be_used() -> None:
    """A browser adds no key by itself, so a foreign page gains nothing."""
    settings = load_settings(auth="keys", secret="0123456789abcdef" * 4)
    assert allowed_hosts(settings) is None
    assert is_allowed_host(b"anything", None)
    assert passes(BrowserGuard(settings), host=b"evil.example", origin=b"https://evil.example")
