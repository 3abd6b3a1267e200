"""An issuer's keys over a real connection: what is read, how often, and what never is."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.service.forging import Listener, key_set, listening

from ketacast_service.errors import ServiceError
from ketacast_service.security.jwks import LONGEST_SET
from ketacast_service.security.key_sources import (
    LONGEST_BACK_OFF,
    STALE_SECONDS,
    UNKNOWN_SECONDS,
    URL_SECONDS,
    KeySource,
    file_source,
    url_fault,
    url_source,
)
from ketacast_service.security.refusal import NotReadyError

Answer = tuple[int, dict[str, str], bytes]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Listener]:
    with listening(lambda: (200, {}, key_set(("rsa-1",)))) as server:
        yield server


def with_source(
    issuer: Listener, use: Callable[[KeySource, Clock], object], seconds: float = 5.0
) -> None:
    clock = Clock()

    async def run() -> None:
        source = url_source(issuer.url, ["127.0.0.1"], clock=clock, seconds=seconds)
        try:
            await use(source, clock)  # type: ignore[misc]
        finally:
            await source.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


async def kids(source: KeySource) -> list[str | None]:
    return [key.kid for key in (await source.current()).keys]


async def settle(source: KeySource) -> None:
    """Let a reading in the background end."""
    while source._task is not None and not source._task.done():
        await asyncio.sleep(0.01)


def test_keys_are_read_once_and_again_when_they_are_old(issuer: Listener) -> None:
    async def use(source: KeySource, clock: Clock) -> None:
        found = await asyncio.gather(*(kids(source) for _ in range(20)))
        assert found == [["rsa-1"]] * 20
        assert len(issuer.asked) == 1
        issuer.answer = lambda: (200, {}, key_set(("rsa-2",)))
        clock.now += URL_SECONDS + 1
        assert await kids(source) == ["rsa-1"]  # nobody waits: the new ones come later
        await settle(source)
        assert await kids(source) == ["rsa-2"]
        assert len(issuer.asked) == 2

    with_source(issuer, use)


def test_an_unknown_kid_causes_one_reading_a_minute(issuer: Listener) -> None:
    async def use(source: KeySource, clock: Clock) -> None:
        await source.current()
        issuer.answer = lambda: (200, {}, key_set(("rsa-1", "rsa-2")))
        sets = await asyncio.gather(*(source.renewed() for _ in range(50)))
        assert all(found.knows("rsa-2") for found in sets)
        assert len(issuer.asked) == 2
        clock.now += UNKNOWN_SECONDS - 1
        await source.renewed()
        assert len(issuer.asked) == 2
        clock.now += 2
        await source.renewed()
        assert len(issuer.asked) == 3

    with_source(issuer, use)


def test_an_issuer_that_is_away_is_left_alone_longer_each_time(issuer: Listener) -> None:
    async def use(source: KeySource, clock: Clock) -> None:
        issuer.answer = lambda: (500, {}, b"")
        waits = []
        for _ in range(9):
            with pytest.raises(NotReadyError):
                await source.current()
            asked, begun = len(issuer.asked), clock.now
            while len(issuer.asked) == asked:
                clock.now += 1
                with pytest.raises(NotReadyError):
                    await source.current()
            waits.append(clock.now - begun)
        assert waits[:5] == [2, 4, 8, 16, 32]
        assert set(waits[5:]) == {LONGEST_BACK_OFF}
        issuer.answer = lambda: (200, {}, key_set(("rsa-1",)))
        clock.now += LONGEST_BACK_OFF
        assert await kids(source) == ["rsa-1"]

    with_source(issuer, use)


def test_the_last_keys_serve_an_hour_without_the_issuer(issuer: Listener) -> None:
    async def use(source: KeySource, clock: Clock) -> None:
        await source.current()
        issuer.answer = lambda: (503, {}, b"")
        for _ in range(int(STALE_SECONDS // 100)):
            clock.now += 100
            assert await kids(source) == ["rsa-1"]
            await settle(source)
        clock.now += 101
        with pytest.raises(NotReadyError):
            await source.current()
        assert not source.is_ready

    with_source(issuer, use)


LARGE = b'{"keys": "' + b"x" * LONGEST_SET + b'"}'


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {}, b""), "status 404"),
        ((204, {}, b""), "status 204"),
        ((200, {}, b"<html>sign in</html>"), "json-malformed"),
        ((200, {}, b'{"keys": []}'), "none of the 0 keys"),
        ((200, {}, LARGE), "larger than"),
        ((200, {"Content-Encoding": "gzip"}, gzip.compress(LARGE)), "compressed"),
        ((200, {"Content-Length": "5000"}, key_set(("rsa-1",))), "ProtocolError"),
    ],
    ids=["404", "204", "html", "empty", "large", "gzip", "cut short"],
)
def test_an_odd_answer_gives_no_keys(
    issuer: Listener, answer: Answer, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.answer = lambda: answer

    async def use(source: KeySource, _: Clock) -> None:
        with pytest.raises(NotReadyError):
            await source.current()

    with_source(issuer, use)
    (line,) = [text for text in caplog.messages if "cannot be read" in text]
    assert said in line
    assert "html" not in line


def test_redirects_are_not_followed(issuer: Listener) -> None:
    with listening() as foreign:
        issuer.answer = lambda: (302, {"Location": foreign.url}, b"")

        async def use(source: KeySource, _: Clock) -> None:
            with pytest.raises(NotReadyError):
                await source.current()

        with_source(issuer, use)
        assert foreign.asked == []
    assert len(issuer.asked) == 1


def test_a_slow_issuer_is_given_up(issuer: Listener) -> None:
    def late() -> Answer:
        time.sleep(1)
        return 200, {}, key_set(("rsa-1",))

    issuer.answer = late

    async def use(source: KeySource, _: Clock) -> None:
        begun = time.monotonic()
        with pytest.raises(NotReadyError):
            await source.current()
        assert time.monotonic() - begun < 0.9

    with_source(issuer, use, seconds=0.3)


def test_a_file_is_read_anew_for_an_unknown_kid(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(key_set(("rsa-1",)))

    async def run() -> None:
        source = file_source(path)
        assert await kids(source) == ["rsa-1"]
        path.write_bytes(key_set(("rsa-2",)))
        assert (await source.renewed()).knows("rsa-2")
        path.write_bytes(b"damaged")
        assert await kids(source) == ["rsa-2"]
        await source.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://issuer.example/keys", "not https"),
        ("ftp://issuer.example/keys", "not https"),
        ("file:///etc/passwd", "not https"),
        ("//issuer.example/keys", "not https"),
        ("issuer.example/keys", "not https"),
        ("https://other.example/keys", "not in jwt_jwks_hosts"),
        ("https://issuer.example.evil/keys", "not in jwt_jwks_hosts"),
        ("https://169.254.169.254/latest", "not in jwt_jwks_hosts"),
        ("https:///keys", "not in jwt_jwks_hosts"),
        ("https://user:pw@issuer.example/keys", "user name or password"),
        ("https://issuer.example@evil.example/keys", "user name or password"),
        ("https://issuer.example:port/keys", "malformed"),
        ("https://[::1/keys", "malformed"),
        ("http://127.0.0.1.nip.io/keys", "not https"),
    ],
)
def test_an_address_must_be_encrypted_and_listed(url: str, said: str) -> None:
    fault = url_fault(url, ["issuer.example"])
    assert fault is not None
    assert said in fault
    assert "pw" not in fault
    with pytest.raises(ServiceError, match="key set"):
        url_source(url, ["issuer.example"])


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example/keys",
        "https://ISSUER.example:8443/keys",
        "http://127.0.0.1:9/keys",
        "http://localhost/keys",
    ],
)
def test_listed_addresses_and_loopback_pass(url: str) -> None:
    assert url_fault(url, ["Issuer.Example", "127.0.0.1", "localhost"]) is None
