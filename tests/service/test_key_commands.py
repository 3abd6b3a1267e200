"""``ketacast-service keys``: what is printed where, and what is not."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.service.forging import SERVER_SECRET

from ketacast.errors import InputError
from ketacast_service.calls import Client
from ketacast_service.database import open_engine
from ketacast_service.errors import ServiceError
from ketacast_service.key_commands import add_parsers, expiry
from ketacast_service.security.key_table import list_keys
from ketacast_service.security.keys import KeyStore

NOW = datetime(2026, 3, 4, 15, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path / 'state' / 'service.db'}"
    monkeypatch.delenv("KETACAST_CONFIG", raising=False)
    monkeypatch.setenv("KETACAST_DATABASE_URL", url)
    monkeypatch.setenv("KETACAST_SECRET", SERVER_SECRET)
    return url


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_parsers(parser.add_subparsers())
    options = parser.parse_args(["keys", *arguments])
    code: int = options.run(options)
    return code


def test_a_key_is_made_listed_and_revoked(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("create", "--name", "ward EHR") == 0
    made = capsys.readouterr()
    key = made.out.removesuffix("\n")
    _, key_id, secret = key.split("_")
    assert made.out == f"{key}\n"  # nothing else, so that a script may read it
    assert secret not in made.err
    assert key_id in made.err
    assert client_of(database, key) == Client(f"key:{key_id}", frozenset({"predict", "read"}))
    assert run("list") == 0
    listed = capsys.readouterr().out
    assert [line.split()[-2] for line in listed.splitlines()] == ["state", "active"]
    assert run("revoke", key_id) == 0
    assert "revoked" in capsys.readouterr().out
    assert run("list", "--json") == 0
    text = capsys.readouterr().out
    (entry,) = json.loads(text)
    assert (entry["id"], entry["state"], entry["name"]) == (key_id, "revoked", "ward EHR")
    assert secret not in listed + text
    assert "mac" not in entry


def client_of(database: str, key: str) -> Client:
    engine = open_engine(database, timeout=5)

    async def check() -> Client:
        store = KeyStore(engine, SERVER_SECRET.encode(), 5.0)
        await store.start()
        client = await store.check(key.encode())
        await store.close()
        return client

    try:
        return asyncio.run(check())
    finally:
        engine.dispose()


def test_a_key_lives_a_year_unless_said_otherwise(database: str) -> None:
    run("create", "--name", "a")
    run("create", "--name", "b", "--expires", "90d", "--scopes", "clinics, read,read")
    engine = open_engine(database, timeout=5)
    first, second = list_keys(engine)
    engine.dispose()
    assert days(first.created, first.expires) == 365
    assert days(second.created, second.expires) == 90
    assert second.scopes == ("clinics", "read")


def days(created: str, expires: str | None) -> float:
    assert expires is not None
    return (datetime.fromisoformat(expires) - datetime.fromisoformat(created)) / timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1d", NOW + timedelta(days=1)),
        ("90d", NOW + timedelta(days=90)),
        ("3650d", NOW + timedelta(days=3650)),
        ("2026-03-04", datetime(2026, 3, 5, tzinfo=UTC)),  # today, to its end
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC)),
    ],
)
def test_expiry_is_days_or_the_last_day(text: str, expected: datetime) -> None:
    assert expiry(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    ["", "0d", "d", "-3d", "3651d", "99999d", "90", "1y", "2026-03-03", "2026-02-30", "9999-12-31",
     "31.12.2026", "never", "90d "],
)  # fmt: skip
def test_an_odd_expiry_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--expires"):
        expiry(text, NOW)


def test_a_key_needs_a_server_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KETACAST_SECRET")
    with pytest.raises(ServiceError, match="openssl rand"):
        run("create", "--name", "ward")


def test_listing_does_not_make_a_database(database: str) -> None:
    with pytest.raises(ServiceError, match="no database"):
        run("list")
    assert not Path(database.removeprefix("sqlite:///")).exists()


def test_an_unusable_name_makes_no_key_and_prints_none(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ServiceError, match="name"):
        run("create", "--name", "a\tb")
    assert capsys.readouterr().out == ""
