"""Every attack of the table is refused, in the same words, and leaves no trace of a secret."""

from __future__ import annotations

import asyncio
import io
import logging
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.service.attacks import ATTACKS
from tests.service.forging import Attack, Listener, World, bearer, listening, make_world, token

from ketacast_service.calls import Client
from ketacast_service.database import open_engine
from ketacast_service.errors import ProblemError
from ketacast_service.schema import METADATA
from ketacast_service.security import Authenticator, build_authenticator
from ketacast_service.settings import Settings, load_settings

CLIENT = frozenset({"predict", "read"})


@dataclass(frozen=True)
class Scene:
    world: World
    settings: Settings
    engine: Engine
    foreign: Listener

    def authenticator(self) -> Authenticator:
        return build_authenticator(self.settings, self.engine)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("attacks")
    engine = open_engine(f"sqlite:///{directory / 'keys.db'}", timeout=5)
    METADATA.create_all(engine)
    with listening() as foreign:
        world = make_world(engine, foreign.url)
        yield Scene(world, load_settings(**world.settings(directory)), engine, foreign)
    engine.dispose()


def good_requests(world: World) -> list[tuple[list[tuple[bytes, bytes]], Client]]:
    """Requests that must pass, or the refusals below would prove nothing."""
    key, by_token = Client(f"key:{world.key.split('_')[1]}", CLIENT), Client("jwt:ward-ehr", CLIENT)
    return [
        (bearer(world.key.encode()), key),
        ([(b"authorization", b"bearer " + world.key.encode())], key),
        ([(b"x-api-key", world.key.encode())], key),
        (bearer(token()), by_token),
        (bearer(token(method="RS384")), by_token),
        (bearer(token(key="p256", method="ES256", head={"typ": "at+jwt"})), by_token),
        (bearer(token(key="p384", method="ES384", head={"typ": None})), by_token),
        (bearer(token(aud=["account", "ketacast"])), by_token),
        (bearer(token(scope=None, scp=["predict", "read"])), by_token),
        (bearer(token(client_id="direct")), Client("jwt:direct", CLIENT)),
        (bearer(token(azp=None)), Client("jwt:3f1c", CLIENT)),
    ]


def test_good_credentials_pass_slowly_first_and_quickly_then(scene: Scene) -> None:
    async def run() -> None:
        authenticator = scene.authenticator()
        await authenticator.start()
        assert authenticator.is_ready
        for number, (headers, client) in enumerate(good_requests(scene.world)):
            if number not in (1, 2):  # the same key again
                assert authenticator.quick(headers) is None
            assert await authenticator.authenticate(headers) == client
            assert authenticator.quick(headers) == client
        await authenticator.close()

    asyncio.run(run())


def refusal(scene: Scene, attack: Attack, *, warm: bool) -> ProblemError:
    async def run() -> ProblemError:
        authenticator = scene.authenticator()
        await authenticator.start()
        if warm:
            for headers, _ in good_requests(scene.world):
                await authenticator.authenticate(headers)
        headers = attack.headers(scene.world)
        assert authenticator.quick(headers) is None, attack.name
        with pytest.raises(ProblemError) as caught:
            await authenticator.authenticate(headers)
        assert authenticator.quick(headers) is None, attack.name
        await authenticator.close()
        return caught.value

    return asyncio.run(run())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused(
    scene: Scene, attack: Attack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    problem = refusal(scene, attack, warm=True)
    assert problem.status == 401, attack.name
    assert problem.headers == [("WWW-Authenticate", 'Bearer realm="ketacast"')]
    assert caplog.messages[-1] == f"authentication refused: {attack.reason}", attack.name
    assert scene.foreign.asked == [], f"{attack.name}: a foreign address was called"


def test_the_table_is_complete_and_its_names_are_unique() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names)
    assert len(names) >= 140


def test_every_refusal_reads_the_same_and_no_secret_is_seen(
    scene: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    documents, seen, secrets = set(), [repr(scene.world), repr(scene.settings)], []
    try:
        for attack in ATTACKS:
            problem = refusal(scene, attack, warm=False)
            documents.add(problem.document("r"))
            seen += [repr(problem), *traceback.format_exception(problem)]
            secrets += traces(attack, scene.world)
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert len(documents) == 1
    assert log.getvalue().count("authentication refused: ") == len(ATTACKS)
    output = capfd.readouterr()
    everything = "\n".join([*seen, log.getvalue(), output.out, output.err])
    for secret in {*secrets, *scene.world.secrets()}:
        assert secret not in everything


def traces(attack: Attack, world: World) -> list[str]:
    """Parts of what is sent that must not turn up again: payloads, signatures, secrets."""
    sent = [value.decode("latin-1") for name, value in attack.headers(world) if name != b"host"]
    pieces = [piece for text in sent for piece in text.replace("_", ".").split(".")]
    return [piece for piece in pieces if len(piece) > 20]


def test_reprs_show_no_secret(scene: Scene) -> None:
    async def run() -> str:
        authenticator = scene.authenticator()
        await authenticator.start()
        await authenticator.authenticate(bearer(scene.world.key.encode()))
        shown = repr(authenticator) + repr(vars(authenticator))
        await authenticator.close()
        return shown

    shown = asyncio.run(run())
    assert not [secret for secret in scene.world.secrets() if secret in shown]


def test_the_settings_of_the_world_serve_a_real_service(scene: Scene, tmp_path: Path) -> None:
    """What another test needs to send the same table over HTTP."""
    assert scene.world.settings(tmp_path)["auth"] == "keys+jwt"
    sendable = [attack for attack in ATTACKS if attack.is_sendable(scene.world)]
    assert len(sendable) >= 130
