"""Tokens that count once: in one process, and in several by the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, MetaData, func, select

from ketacast_service.database import open_engine
from ketacast_service.errors import StoreDownError
from ketacast_service.schema import replay_table
from ketacast_service.security.refusal import NotReadyError, RefusedError
from ketacast_service.security.replay import ReplayCache, SharedReplayCache
from ketacast_service.security.tokens import Verified

METADATA = MetaData()
TABLE = replay_table(METADATA)
LEEWAY = 30.0


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path / 'replay.db'}", timeout=10)
    METADATA.create_all(made)
    yield made
    made.dispose()


@pytest.fixture(params=["memory", "database"])
def cache(request: pytest.FixtureRequest, engine: Engine) -> ReplayCache | SharedReplayCache:
    if request.param == "memory":
        return ReplayCache(LEEWAY, clock=Clock())
    return SharedReplayCache(engine, TABLE, LEEWAY, clock=Clock())


def made(jti: object, issuer: str = "https://a.example", life: float = 300.0) -> Verified:
    return Verified(issuer, Clock.now + life, {"jti": jti} if jti is not None else {})


def test_a_replayed_jti_is_refused(cache: ReplayCache | SharedReplayCache) -> None:
    cache.use(made("a"))
    for _ in range(2):
        with pytest.raises(RefusedError, match="replayed"):
            cache.use(made("a"))
    cache.use(made("b"))
    cache.use(made("a", issuer="https://b.example"))  # another issuer's ids are its own
    with pytest.raises(RefusedError, match="jti-missing"):
        cache.use(made(None))


def test_ids_cannot_be_shifted_into_the_issuer(cache: ReplayCache | SharedReplayCache) -> None:
    cache.use(made("c", issuer="https://a.exampleb"))
    cache.use(made("bc", issuer="https://a.example"))


def test_an_id_is_kept_as_long_as_its_token_counts() -> None:
    clock = Clock()
    cache = ReplayCache(LEEWAY, clock=clock)
    cache.use(made("a", life=100))
    clock.now += 100 + LEEWAY
    with pytest.raises(RefusedError):
        cache.use(made("a", life=100))
    clock.now += 0.1
    cache.use(made("a", life=100))


def test_a_full_share_refuses_and_forgets_nothing_early() -> None:
    clock = Clock()
    cache = ReplayCache(LEEWAY, capacity=3, clock=clock)
    for number in range(3):
        cache.use(made(str(number), life=100))
    with pytest.raises(NotReadyError):
        cache.use(made("new"))
    with pytest.raises(RefusedError):
        cache.use(made("0"))
    cache.use(made("new", issuer="https://b.example"))  # a share of its own
    clock.now += 100 + LEEWAY + 1
    cache.use(made("new"))


def test_of_many_workers_one_succeeds(engine: Engine) -> None:
    workers = [SharedReplayCache(engine, TABLE, LEEWAY) for _ in range(4)]

    def attempt(number: int) -> bool:
        try:
            workers[number % 4].use(Verified("i", time.time() + 60, {"jti": f"t{number // 8}"}))
        except RefusedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, range(80)))
    assert [sum(won[start : start + 8]) for start in range(0, 80, 8)] == [1] * 10


def test_the_table_is_emptied_of_what_expired(engine: Engine) -> None:
    clock = Clock()
    cache = SharedReplayCache(engine, TABLE, LEEWAY, clock=clock)
    for number in range(5):
        cache.use(made(str(number), life=100))
    clock.now += 200
    cache.use(made("late", life=1000))
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(TABLE)).scalar() == 1


def test_without_a_database_no_token_counts(engine: Engine) -> None:
    METADATA.drop_all(engine)
    with pytest.raises(StoreDownError):
        SharedReplayCache(engine, TABLE, LEEWAY).use(made("a"))
