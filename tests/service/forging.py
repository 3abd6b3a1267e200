"""Good and forged credentials: an issuer with its keys, API keys, and a real listener.

``make_world`` puts API keys into a database; ``World.settings`` are the settings under
which a service sees that world; ``token`` and ``seal`` make tokens, good or not.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm, get_default_algorithms
from sqlalchemy import Engine

from ketacast_service.moments import utc_text
from ketacast_service.security.key_table import KeyRecord, insert_key, revoke_key
from ketacast_service.security.keys import mac_of, new_key

ISSUER: Final = "https://issuer.example/realms/hospital"
AUDIENCE: Final = "ketacast"
SERVER_SECRET: Final = "f3a1c05e9b7d2468" * 4
OTHER_SECRET: Final = "0e1d2c3b4a596877" * 4

Headers = list[tuple[bytes, bytes]]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@functools.cache
def private_key(name: str) -> PrivateKey:
    """Return a key by name, made once: ``rsa-1``, ``weak``, ``p256``, ``foreign-rsa``, ..."""
    curves = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
    kind = name.removeprefix("foreign-")
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    return rsa.generate_private_key(65537, 1024 if kind == "weak" else 2048)


PUBLISHED: Final = ("rsa-1", "rsa-2", "p256", "p384", "weak", "p521")


def public_jwk(name: str, **more: object) -> dict[str, object]:
    """Return the public part of a key as an entry of a JWK Set."""
    key = private_key(name).public_key()
    if isinstance(key, rsa.RSAPublicKey):
        found = RSAAlgorithm.to_jwk(key, as_dict=True)
    else:
        found = ECAlgorithm.to_jwk(key, as_dict=True)
    found.pop("key_ops", None)
    return {**found, "kid": name, "use": "sig", **more}


def key_set(names: Sequence[str] = PUBLISHED) -> bytes:
    """Return the JWK Set of these keys."""
    return json.dumps({"keys": [public_jwk(name) for name in names]}).encode()


def part(value: object) -> bytes:
    """Return one part of a token: bytes as they are, all else as JSON."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def seal(header: object, payload: object, key: str, method: str) -> bytes:
    """Sign header and payload, whatever they say."""
    signed = part(header) + b"." + part(payload)
    algorithm = get_default_algorithms()[method]
    return signed + b"." + part(algorithm.sign(signed, private_key(key)))


def claims(**changes: object) -> dict[str, object]:
    """Return the claims of a good token with changes; None leaves a claim out."""
    now = int(time.time())
    good = {
        "iss": ISSUER, "aud": AUDIENCE, "exp": now + 300, "iat": now, "sub": "3f1c",
        "azp": "ward-ehr", "scope": "predict read profile", "jti": "a1",
    }  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def token(
    *, key: str = "rsa-1", method: str = "RS256", head: Mapping[str, object] | None = None,
    **changes: object,
) -> bytes:  # fmt: skip
    """Return a good token with changes to header (``head``) and claims."""
    given = {"alg": method, "typ": "JWT", "kid": key, **(head or {})}
    header = {name: value for name, value in given.items() if value is not None}
    return seal(header, claims(**changes), key, method)


def bearer(value: bytes) -> Headers:
    """Return the headers of a request with a key or token."""
    return [(b"host", b"127.0.0.1"), (b"authorization", b"Bearer " + value)]


RS256: Final = {"alg": "RS256", "typ": "JWT", "kid": "rsa-1"}
"""The header of a good token."""


@dataclass(frozen=True)
class World:
    """What the attacks are made from.

    Attributes
    ----------
    key, second_key : str
        Valid API keys.
    expired_key, revoked_key, other_server_key : str
        Keys that were valid, or would be on another server.
    foreign_url : str
        Serves the attacker's keys; nothing may ever ask for it.
    """

    key: str = field(repr=False)
    second_key: str = field(repr=False)
    expired_key: str = field(repr=False)
    revoked_key: str = field(repr=False)
    other_server_key: str = field(repr=False)
    foreign_url: str

    def secrets(self) -> list[str]:
        """Texts that must never be seen anywhere."""
        keys = (
            self.key, self.second_key, self.expired_key, self.revoked_key, self.other_server_key,
        )  # fmt: skip
        return [SERVER_SECRET, OTHER_SECRET, *(key.rpartition("_")[2] for key in keys)]

    def settings(self, directory: Path) -> dict[str, Any]:
        """Return the settings of a service in this world; its issuer's keys are in a file."""
        path = directory / "issuer-keys.json"
        path.write_bytes(key_set())
        return {
            "auth": "keys+jwt", "secret": SERVER_SECRET, "jwt_issuer": ISSUER,
            "jwt_audience": AUDIENCE, "jwt_jwks_file": path, "rate_per_second": 0.0,
        }  # fmt: skip


def make_world(engine: Engine, foreign_url: str) -> World:
    """Put API keys into a database that has its tables."""
    now = datetime.now(UTC)

    def add(name: str, secret: str, expires: datetime) -> str:
        key_id, text = new_key()
        record = KeyRecord(
            key_id, name, ("predict", "read"), utc_text(now), utc_text(expires), None
        )
        insert_key(engine, record, mac_of(secret.encode(), text))
        return text

    later, earlier = now + timedelta(days=30), now - timedelta(seconds=1)
    revoked = add("revoked", SERVER_SECRET, later)
    revoke_key(engine, revoked.split("_")[1], now)
    return World(
        key=add("good", SERVER_SECRET, later),
        second_key=add("good too", SERVER_SECRET, later),
        expired_key=add("expired", SERVER_SECRET, earlier),
        revoked_key=revoked,
        other_server_key=add("of another server", OTHER_SECRET, later),
        foreign_url=foreign_url,
    )


@dataclass(frozen=True)
class Attack:
    """One row: a request that must be refused.

    Attributes
    ----------
    name : str
        What is tried.
    reason : str
        Code for the log: it must be refused for this and not for another fault.
    headers : callable
        Builds the headers in a world.
    query : callable
        Builds the query of the address; most have none.
    """

    name: str
    reason: str
    headers: Callable[[World], Headers]
    query: Callable[[World], str] = field(default=lambda _: "")

    def is_sendable(self, world: World) -> bool:
        """Whether HTTP can carry it as it is; a server refuses the others on its own."""
        return all(
            value.isascii() and value.decode("ascii").isprintable() and len(value) < 8_000
            for _, value in self.headers(world)
        )


def refused(reason: str, rows: Mapping[str, Callable[[World], Headers]]) -> list[Attack]:
    """Return rows that build all their headers."""
    return [Attack(name, reason, build) for name, build in rows.items()]


def tokens(reason: str, rows: Mapping[str, Callable[[], bytes]]) -> list[Attack]:
    """Return rows that build a token."""

    def row(name: str, build: Callable[[], bytes]) -> Attack:
        return Attack(name, reason, lambda _: bearer(build()))

    return [row(name, build) for name, build in rows.items()]


def keys(reason: str, rows: Mapping[str, Callable[[World], str]]) -> list[Attack]:
    """Return rows that build an API key."""

    def row(name: str, build: Callable[[World], str]) -> Attack:
        return Attack(name, reason, lambda world: bearer(build(world).encode()))

    return [row(name, build) for name, build in rows.items()]


def plain(reason: str, rows: Mapping[str, Callable[[World], Headers]]) -> list[Attack]:
    """Return rows that build all headers but ``Host``."""

    def row(name: str, build: Callable[[World], Headers]) -> Attack:
        return Attack(name, reason, lambda world: [(b"host", b"127.0.0.1"), *build(world)])

    return [row(name, build) for name, build in rows.items()]


class Listener(ThreadingHTTPServer):
    """A real server that answers with what it is told to and counts who asks.

    Attributes
    ----------
    answer : callable
        Status, headers and body of the next answer.
    asked : list of str
        Paths asked for.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[[], tuple[int, dict[str, str], bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """Address of a key set here."""
        return f"http://127.0.0.1:{self.server_address[1]}/keys"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Listener)
        server.asked.append(self.path)
        status, headers, body = server.answer()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        with contextlib.suppress(ConnectionError):  # who asked may have given up
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Keep quiet."""


@contextlib.contextmanager
def listening(
    answer: Callable[[], tuple[int, dict[str, str], bytes]] | None = None,
) -> Iterator[Listener]:
    """Serve on a loopback port, the attacker's keys by default."""
    server = Listener(answer or (lambda: (200, {}, key_set(("foreign-rsa",)))))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
