"""API keys: their form, how they are kept, when they stop counting, what a check costs."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select, update
from tests.service.forging import SERVER_SECRET, bearer

from ketacast_service.access import ALL_SCOPES
from ketacast_service.calls import Client
from ketacast_service.database import migrate, open_engine
from ketacast_service.errors import ProblemError, ServiceError
from ketacast_service.moments import utc_text
from ketacast_service.schema import api_key
from ketacast_service.security.access_tokens import AccessTokens
from ketacast_service.security.authenticator import Authenticator, build_authenticator
from ketacast_service.security.key_sources import KeySource
from ketacast_service.security.key_table import KeyRecord, insert_key, list_keys, revoke_key
from ketacast_service.security.keys import KEY_LENGTH, KeyStore, mac_of, new_key
from ketacast_service.security.refusal import NotReadyError, RefusedError
from ketacast_service.security.tokens import TokenRules
from ketacast_service.settings import load_settings

SECRET = SERVER_SECRET.encode()
QUICK_MICROSECONDS = 5.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path / 'keys.db'}", timeout=5)
    migrate(made)
    yield made
    made.dispose()


def add_key(engine: Engine, life: timedelta = timedelta(days=1)) -> str:
    key_id, key = new_key()
    now = datetime.now(UTC)
    record = KeyRecord(key_id, "ward", ("predict",), utc_text(now), utc_text(now + life), None)
    insert_key(engine, record, mac_of(SECRET, key))
    return key


def revoke(engine: Engine, key: str) -> None:
    revoke_key(engine, key.split("_")[1], datetime.now(UTC))


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def with_store(
    engine: Engine,
    use: Callable[[KeyStore], Coroutine[None, None, None]],
    refresh: float = 30.0,
    stale: float = 60.0,
) -> None:
    """Run something with a started store and see that it leaves nothing running."""

    async def run() -> None:
        store = KeyStore(engine, SECRET, refresh, stale_seconds=stale)
        await store.start()
        try:
            await use(store)
        finally:
            await store.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


class Reads:
    """Statements that reached the database."""

    def __init__(self, engine: Engine) -> None:
        self.count = 0
        event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, *_: object) -> None:
        self.count += 1


async def reason(store: KeyStore, key: str) -> str:
    with pytest.raises(RefusedError) as caught:
        await store.check(key.encode())
    return caught.value.reason


def test_a_key_names_itself_and_holds_256_random_bits() -> None:
    key_id, key = new_key()
    assert re.fullmatch(r"kc_[0-9a-f]{16}_[0-9a-f]{64}", key)
    assert key.startswith(f"kc_{key_id}_")
    assert len(key) == KEY_LENGTH
    assert len({new_key()[1] for _ in range(100)}) == 100


def test_the_table_keeps_a_keyed_digest_of_id_and_secret(engine: Engine) -> None:
    key = add_key(engine)
    _, key_id, secret = key.split("_")
    with engine.connect() as connection:
        row = connection.execute(select(api_key)).one()
    assert row.mac == hmac.new(SECRET, (key_id + secret).encode(), hashlib.sha256).hexdigest()
    assert secret not in str(row)
    with pytest.raises(RefusedError):
        mac_of(SECRET, "kc_short")


def test_a_revoked_key_stops_within_the_interval_in_every_worker(engine: Engine) -> None:
    key = add_key(engine)
    refresh = 0.2

    async def use(store: KeyStore) -> None:
        other = KeyStore(engine, SECRET, refresh)
        await other.start()
        for worker in (store, other):
            await worker.check(key.encode())
        await asyncio.to_thread(revoke, engine, key)
        revoked = time.monotonic()
        while store.quick(digest(key)) or other.quick(digest(key)):
            assert time.monotonic() - revoked < refresh + 1  # and what a busy machine adds
            await asyncio.sleep(0.01)
        assert await reason(store, key) == await reason(other, key) == "key-revoked"
        await other.close()

    with_store(engine, use, refresh)


def test_a_key_expires_at_its_moment_whatever_the_interval(engine: Engine) -> None:
    key = add_key(engine, timedelta(seconds=1))
    ends = time.time() + 1

    async def use(store: KeyStore) -> None:
        await store.check(key.encode())
        assert store.quick(digest(key)) is not None
        await asyncio.sleep(ends - time.time() + 0.01)
        assert store.quick(digest(key)) is None
        assert await reason(store, key) == "key-expired"

    with_store(engine, use, refresh=60)


def test_a_new_key_counts_at_once_but_made_up_ids_cause_one_reading(engine: Engine) -> None:
    async def use(store: KeyStore) -> None:
        key = await asyncio.to_thread(add_key, engine)
        client = await store.check(key.encode())
        assert client.id == f"key:{key.split('_')[1]}"
        reads = Reads(engine)
        made_up = [new_key()[1] for _ in range(50)]
        found = await asyncio.gather(*(reason(store, guess) for guess in made_up))
        assert set(found) == {"key-unknown"}
        assert reads.count == 0  # the early reading of this interval went to the new key

    with_store(engine, use, refresh=30)


def test_those_who_come_during_the_early_reading_wait_for_it(engine: Engine) -> None:
    async def use(store: KeyStore) -> None:
        keys = [await asyncio.to_thread(add_key, engine) for _ in range(5)]
        reads = Reads(engine)
        clients = await asyncio.gather(*(store.check(key.encode()) for key in keys))
        assert len({client.id for client in clients}) == 5
        assert reads.count <= 2  # BEGIN and SELECT

    with_store(engine, use)


def test_without_a_database_the_last_copy_serves_for_a_while_then_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    key = add_key(engine)
    headers = bearer(key.encode())

    async def use(store: KeyStore) -> None:
        gate = Authenticator(store, None)
        await gate.authenticate(headers)
        take_away(engine)
        gone = time.monotonic()
        assert await gate.authenticate(headers)
        while gate.quick(headers):
            assert time.monotonic() - gone < 5
            await asyncio.sleep(0.01)
        assert time.monotonic() - gone > 0.2
        with pytest.raises(ProblemError) as caught:
            await gate.authenticate(headers)
        assert caught.value.status == 503
        assert dict(caught.value.headers)["Retry-After"] == "5"
        assert gate.is_ready is False
        bring_back(engine)
        await until_ready(store)
        assert gate.quick(headers)

    with_store(engine, use, refresh=0.1, stale=0.5)
    assert len([line for line in caplog.messages if "cannot be read" in line]) == 1


def test_a_start_without_a_database_waits_for_it(engine: Engine) -> None:
    key = add_key(engine)
    take_away(engine)

    async def use(store: KeyStore) -> None:
        assert not store.is_ready
        with pytest.raises(NotReadyError):
            await store.check(key.encode())
        bring_back(engine)
        await until_ready(store)
        assert await store.check(key.encode())

    with_store(engine, use, refresh=0.1)


async def until_ready(store: KeyStore) -> None:
    begun = time.monotonic()
    while not store.is_ready:
        assert time.monotonic() - begun < 5
        await asyncio.sleep(0.01)


def take_away(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE api_key RENAME TO away")


def bring_back(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO api_key")


def test_a_row_altered_by_hand_stops_that_key_only(engine: Engine) -> None:
    broken, whole = add_key(engine), add_key(engine)
    with engine.begin() as connection:
        row = api_key.c.id == broken.split("_")[1]
        connection.execute(update(api_key).where(row).values(expires="next year"))

    async def use(store: KeyStore) -> None:
        assert await reason(store, broken) == "key-expired"
        assert await store.check(whole.encode())

    with_store(engine, use)


def test_a_known_key_costs_microseconds_and_no_reading(engine: Engine) -> None:
    headers = [
        (b"host", b"predict.hospital.example"),
        (b"user-agent", b"ward-ehr/4.2"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"gzip, deflate"),
        (b"content-type", b"application/json"),
        (b"content-length", b"64"),
        *bearer(add_key(engine).encode())[1:],
    ]

    async def use(store: KeyStore) -> None:
        gate = Authenticator(store, None)
        await gate.authenticate(headers)
        reads = Reads(engine)
        rounds, best = 20_000, float("inf")
        for _ in range(5):
            begun = time.perf_counter()
            for _ in range(rounds):
                gate.quick(headers)
            best = min(best, (time.perf_counter() - begun) / rounds)
        assert best * 1e6 <= QUICK_MICROSECONDS
        assert reads.count == 0

    with_store(engine, use)


def test_an_unknown_id_costs_the_same_digest_as_a_known_one(engine: Engine) -> None:
    """The medians of many checks differ by less than one digest costs."""
    key = add_key(engine)
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    unknown = f"kc_{'0' * 16}_{'0' * 64}"

    async def use(store: KeyStore) -> None:
        await reason(store, unknown)  # uses up the early reading
        times: dict[str, list[float]] = {wrong: [], unknown: []}
        for _ in range(3000):
            for key, found in times.items():
                begun = time.perf_counter()
                try:
                    await store.check(key.encode())
                except RefusedError:
                    found.append(time.perf_counter() - begun)
        middle = [sorted(found)[len(found) // 2] for found in times.values()]
        assert abs(middle[0] - middle[1]) < 1.5e-6

    with_store(engine, use)


def test_without_authentication_everybody_is_local() -> None:
    async def run() -> None:
        everybody = Authenticator(None, None)
        await everybody.start()
        assert everybody.is_ready
        for headers in ([], bearer(b"anything")):
            client = everybody.quick(headers)
            assert client == await everybody.authenticate(headers)
            assert client == Client("local", ALL_SCOPES)
        await everybody.close()

    asyncio.run(run())


def test_what_the_settings_ask_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="database"):
        build_authenticator(load_settings(auth="keys", secret=SERVER_SECRET), None)
    with pytest.raises(ServiceError, match="jwt_issuer"):
        build_authenticator(load_settings(auth="jwt"), None)
    named = {"auth": "jwt", "jwt_issuer": "https://issuer.example", "jwt_audience": "ketacast"}
    with pytest.raises(ServiceError, match="jwt_jwks_file or jwt_jwks_url"):
        build_authenticator(load_settings(**named), None)
    url = "https://issuer.example/keys"
    with pytest.raises(ServiceError, match="jwt_jwks_hosts"):
        build_authenticator(load_settings(**named, jwt_jwks_url=url), None)
    hosts = ("issuer.example",)
    assert build_authenticator(load_settings(**named, jwt_jwks_url=url, jwt_jwks_hosts=hosts), None)


def test_a_key_where_only_tokens_count_is_refused_and_the_other_way(engine: Engine) -> None:
    key = add_key(engine)

    async def use(store: KeyStore) -> None:
        async def nothing() -> bytes:
            raise OSError

        rules, source = TokenRules(), KeySource(nothing, "nobody", refresh_seconds=1)
        only_tokens = Authenticator(None, AccessTokens("i", source, "a", rules))
        for gate, value in ((only_tokens, key.encode()), (Authenticator(store, None), b"a.b.c")):
            assert gate.quick(bearer(value)) is None
            with pytest.raises(ProblemError) as caught:
                await gate.authenticate(bearer(value))
            assert caught.value.status == 401

    with_store(engine, use)


def test_the_list_says_which_keys_count(engine: Engine) -> None:
    active, revoked = add_key(engine), add_key(engine)
    expired = add_key(engine, timedelta(seconds=-1))
    revoke(engine, revoked)
    now = datetime.now(UTC)
    found = {record.id: record.state(now) for record in list_keys(engine)}
    expected = {active: "active", revoked: "revoked", expired: "expired"}
    assert found == {key.split("_")[1]: state for key, state in expected.items()}


@pytest.mark.parametrize(
    ("name", "scopes", "said"),
    [
        ("", ("predict",), "name"),
        ("  ", ("predict",), "name"),
        ("a" * 81, ("predict",), "name"),
        ("two\nlines", ("predict",), "name"),
        ("ward", (), "scopes are missing"),
        ("ward", ("predict", "admin"), "'admin'"),
    ],
)
def test_odd_names_and_scopes_are_refused(
    engine: Engine, name: str, scopes: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ServiceError, match=said):
        insert_key(engine, KeyRecord("0" * 16, name, scopes, utc_text(), None, None), "0" * 64)
    assert not list_keys(engine)


def test_revoking_says_what_is_wrong_and_never_shows_a_key(engine: Engine) -> None:
    key = add_key(engine)
    with pytest.raises(ServiceError) as caught:
        revoke(engine, "kc_" + key)  # the id it takes is "kc"
    assert "no id of a key" in str(caught.value)
    with pytest.raises(ServiceError) as caught:
        revoke_key(engine, key, datetime.now(UTC))
    assert key.split("_")[2] not in str(caught.value)
    with pytest.raises(ServiceError, match="there is no key 0000"):
        revoke_key(engine, "0" * 16, datetime.now(UTC))
    revoke(engine, key)
    with pytest.raises(ServiceError, match="revoked before"):
        revoke(engine, key)
