"""The table of attacks on keys and tokens, each row sent to a running service."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.service.attacks import ATTACKS
from tests.service.faulting import GOOD, raw, wait_until
from tests.service.forging import Attack, Listener, World, bearer, listening, make_world, token
from tests.service.running import Running, running_service

from ketacast_service.database import migrate, open_engine

BODY = json.dumps(GOOD).encode()


@dataclass(frozen=True)
class Scene:
    world: World
    service: Running
    foreign: Listener


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("attacks")
    url = f"sqlite:///{directory / 'service.db'}"
    engine = open_engine(url, timeout=5)
    migrate(engine)
    with listening() as foreign:
        world = make_world(engine, foreign.url)
        engine.dispose()
        settings = {**world.settings(directory), "rate_per_second": 0}
        with running_service(database_url=url, **settings) as service:
            yield Scene(world, service, foreign)


def send(scene: Scene, headers: list[tuple[bytes, bytes]], query: str = "") -> bytes:
    """Post a good prediction with these headers, written as they are."""
    lines = [f"POST /v1/predictions{query} HTTP/1.1".encode()]
    lines += [b"%s: %s" % pair for pair in headers]
    lines += [b"connection: close", b"content-type: application/json"]
    lines += [b"content-length: %d" % len(BODY)]
    return raw(scene.service.port, b"\r\n".join(lines) + b"\r\n\r\n" + BODY)


def status_of(answer: bytes) -> int:
    return int(answer[9:12] or b"0")


def means_the_same(attack: Attack, world: World) -> bool:
    """Whether HTTP itself takes off what makes the difference: blanks around a value."""
    return any(value.strip(b" \t") != value for _, value in attack.headers(world) if value.strip())


def test_good_credentials_are_let_in(scene: Scene) -> None:
    """Or the refusals below would prove nothing."""
    for good in (scene.world.key.encode(), token()):
        assert status_of(send(scene, bearer(good))) == 200


def test_every_attack_is_refused_over_http(scene: Scene) -> None:
    seen: Counter[int] = Counter()
    let_in = []
    for attack in ATTACKS:
        query = attack.query(scene.world)
        answer = send(scene, attack.headers(scene.world), f"?{query}" if query else "")
        status = status_of(answer)
        if means_the_same(attack, scene.world):
            continue
        seen[status] += 1
        # The server itself refuses what HTTP cannot carry (400) or what is too long (431).
        expected = {401} if attack.is_sendable(scene.world) else {400, 401, 431}
        if status not in expected:
            let_in.append((attack.name, status))
        if status == 401:
            assert b'\r\nwww-authenticate: Bearer realm="ketacast"\r\n' in answer, attack.name
    assert let_in == []
    assert sum(seen.values()) >= 140
    assert scene.foreign.asked == []
    print(f"{sum(seen.values())} attacks over HTTP: {dict(sorted(seen.items()))}")


def test_no_secret_is_in_the_log(scene: Scene) -> None:
    for attack in ATTACKS:
        send(scene, attack.headers(scene.world))
    send(scene, [(b"host", b"127.0.0.1"), (b"x-request-id", b"last-line")])
    wait_until(lambda: "last-line" in scene.service.log.read_text(), 10, "the log")
    log = scene.service.log.read_text()
    assert [secret for secret in scene.world.secrets() if secret in log] == []
    assert token().decode()[:40] not in log
    assert "Traceback" not in log
