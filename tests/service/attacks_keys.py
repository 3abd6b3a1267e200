"""Attacks on API keys, and credentials in places where they do not count."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from tests.service.forging import SERVER_SECRET, Attack, Headers, World, keys, plain, token

from ketacast_service.security.keys import mac_of


def _swapped(world: World) -> str:
    return "_".join([*world.key.split("_")[:2], world.second_key.split("_")[2]])


def _guess(world: World, secret: str) -> str:
    return f"kc_{world.key.split('_')[1]}_{secret}"


def _by_scheme(scheme: str) -> Callable[[World], Headers]:
    return lambda world: [(b"authorization", f"{scheme} {world.key}".encode())]


def _in_query(name: str, build: Callable[[World], str]) -> Attack:
    return Attack(
        f"in the query as {name}",
        "credential-missing",
        lambda _: [(b"host", b"127.0.0.1")],
        lambda world: f"{name}={build(world)}",
    )


KEYS: Final[tuple[Attack, ...]] = (
    *keys("key-unknown", {"unknown id": lambda _: f"kc_{'0' * 16}_{'0' * 64}"}),
    *keys(
        "key-wrong-secret",
        {
            "right id, wrong secret": lambda world: _guess(world, "0" * 64),
            "right id, secret of another key": _swapped,
            "right id, what the table keeps as secret": lambda world: _guess(
                world, mac_of(SERVER_SECRET.encode(), world.key)
            ),
            "last character changed": lambda world: (
                world.key[:-1] + ("0" if world.key[-1] != "0" else "1")
            ),
            "key of another server": lambda world: world.other_server_key,
        },
    ),
    *keys(
        "key-malformed",
        {
            "truncated": lambda world: world.key[:-1],
            "id only": lambda world: world.key[:20],
            "prefix only": lambda _: "kc_",
            "a character more": lambda world: world.key + "0",
            "upper case after the prefix": lambda world: "kc_" + world.key[3:].upper(),
            "id with SQL": lambda _: f"kc_' OR 1=1 --      _{'0' * 64}",
            "a tab behind": lambda world: world.key + "\t",
            "two in one header": lambda world: f"{world.key}, Bearer {world.key}",
            "full-width digits": lambda world: world.key[:-1] + "１",
        },
    ),
    *keys("key-expired", {"expired key": lambda world: world.expired_key}),
    *keys("key-revoked", {"revoked key": lambda world: world.revoked_key}),
    *keys("credential-too-long", {"64 kB": lambda world: world.key + "a" * 65536}),
    *keys(
        "token-malformed",
        {
            "upper case": lambda world: world.key.upper(),
            "a space in front": lambda world: " " + world.key,
            "quoted": lambda world: f'"{world.key}"',
        },
    ),
    *plain(
        "credential-missing",
        {
            "nothing": lambda _: [],
            "key as a cookie": lambda world: [(b"cookie", f"api_key={world.key}".encode())],
            "key in another header": lambda world: [
                (b"proxy-authorization", b"Bearer " + world.key.encode()),
                (b"api-key", world.key.encode()),
            ],
        },
    ),
    *plain(
        "scheme-not-accepted",
        {
            "empty header": lambda _: [(b"authorization", b"")],
            "scheme only": lambda _: [(b"authorization", b"Bearer")],
            "no scheme": lambda world: [(b"authorization", world.key.encode())],
            "Basic with the key as password": lambda world: [
                (b"authorization", b"Basic " + base64.b64encode(f"x:{world.key}".encode()))
            ],
            "tab after the scheme": lambda world: [
                (b"authorization", b"Bearer\t" + world.key.encode())
            ],
        },
    ),
    *plain("token-malformed", {"scheme and a space": lambda _: [(b"authorization", b"Bearer ")]}),
    *plain(
        "several-credentials",
        {
            "two authorization headers": lambda world: (
                [(b"authorization", b"Bearer " + world.key.encode())] * 2
            ),
            "a good and a bad authorization header": lambda world: [
                (b"authorization", b"Bearer " + world.key.encode()),
                (b"authorization", b"Bearer x"),
            ],
            "both headers": lambda world: [
                (b"authorization", b"Bearer " + world.key.encode()),
                (b"x-api-key", world.key.encode()),
            ],
            "both headers, the other a token": lambda world: [
                (b"authorization", b"Bearer " + token()),
                (b"x-api-key", world.key.encode()),
            ],
            "two key headers": lambda world: [(b"x-api-key", world.key.encode())] * 2,
        },
    ),
    *plain(
        "key-malformed",
        {
            "key header with a scheme": lambda world: [
                (b"x-api-key", b"Bearer " + world.key.encode())
            ],
            "key header with a token": lambda _: [(b"x-api-key", token())],
            "key header empty": lambda _: [(b"x-api-key", b"")],
        },
    ),
    *plain(
        "scheme-not-accepted",
        {f"scheme {name}": _by_scheme(name) for name in ("Basic", "Token", "DPoP", "BearerX")},
    ),
    *(_in_query(name, lambda world: world.key) for name in ("api_key", "x-api-key")),
    _in_query("access_token", lambda _: token().decode()),
)
