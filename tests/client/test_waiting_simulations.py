"""Waiting for a simulation where the service is odd, away for a while, or for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import pytest
from tests.client.calling import KINDS, Kind
from tests.client.misbehaving import ID, Misbehaving, Planned, misbehaving, problem, served
from tests.service.simulations.asking import spec

from ketacast.client import AsyncClient, Client, ConnectionFailedError, ServiceAnswerError
from ketacast.client import simulations as module
from ketacast.errors import InputError
from ketacast.simulation import SimulationResult, simulate
from ketacast.simulation.documents import from_document
from ketacast.simulation.parquet import write_results

BUSY: Final = problem(503, "unavailable", "too much is being computed")
GONE: Final = Planned(hang_up=True)
PARQUET: Final = "application/vnd.apache.parquet"


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)


@pytest.fixture(scope="module")
def result() -> SimulationResult:
    return simulate(from_document(spec(draws=2)))


@pytest.fixture(scope="module")
def draws(result: SimulationResult, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("result")
    write_results(result, directory)
    return (directory / "draws.parquet").read_bytes()


def job(state: Any = "running", status: int = 200, **changes: Any) -> Planned:
    document = {
        "id": ID, "state": state, "title": "", "engine": "counts", "model_sha256": "a" * 64,
        "created": "2026-11-01T00:00:00.000000Z", "seconds": 1.0, "problem": None, "files": [],
        "progress": {"done": 1, "total": 2, "share": 0.5}, **changes,
    }  # fmt: skip
    found = served(document)
    return Planned(status, found.body, found.headers)


def taken() -> Planned:
    return job("queued", 202)


def file(body: bytes, *, cut: int = 0, etag: str = "") -> Planned:
    headers = {"Content-Type": PARQUET, **({"ETag": etag} if etag else {})}
    return Planned(200, body, headers, cut=cut)


def run(kind: Kind, server: Misbehaving, tell: Callable[[Any], object] | None = None) -> Any:
    given: dict[str, Any] = {"retries": 0, "timeout": 5.0}
    if kind == "blocking":
        with Client(server.url, **given) as one:
            return one.simulations.run(spec(draws=2), tell)

    async def main() -> Any:
        async with AsyncClient(server.url, **given) as other:
            return await other.simulations.run(spec(draws=2), tell)

    return asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_service_that_is_away_for_a_while_is_waited_for(
    kind: Kind, result: SimulationResult, draws: bytes
) -> None:
    """Also behind a proxy, and while the result itself is fetched."""
    proxy = Planned(502, b"<h1>Bad gateway</h1>", {"Content-Type": "text/html"})
    whole = file(draws, etag=f'W/"{sha256(draws).hexdigest()}-gzip"')
    plans = (taken(), BUSY, GONE, proxy, job(), GONE, job("done"), GONE, BUSY,
             file(draws[:99], cut=len(draws) - 99), whole)  # fmt: skip
    with misbehaving(*plans) as server:
        found = run(kind, server)
        assert (found.values == result.values).all()
        assert len(server.seen) == len(plans)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("away", [BUSY, GONE])
def test_one_that_is_away_for_good_is_told_and_goes_on(
    kind: Kind, away: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_AWAY", 0.3)
    with misbehaving(taken(), away) as server:
        with pytest.raises((ServiceAnswerError, ConnectionFailedError)):
            run(kind, server)
        assert not [seen for seen in server.seen if seen.path.endswith("/cancel")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", [job("cancelled"), BUSY, GONE])
def test_what_tell_raises_is_what_is_told(kind: Kind, last: Planned) -> None:
    """The simulation is cancelled, and whether that succeeds hides nothing."""

    def tell(_: Any) -> None:
        raise ZeroDivisionError

    with misbehaving(taken(), last) as server:
        with pytest.raises(ZeroDivisionError):
            run(kind, server, tell)
        assert server.seen[-1].path == f"/v1/simulations/{ID}/cancel"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (job(id="0192f0c4-9c2e-7cc0-8000-000000000000"), "do not use it"),
        (job(progress=None), "progress"),
        (job(seconds="long"), "seconds"),
        (job(seconds=True), "seconds"),
        (job(state=None), "state"),
        (job(files={}), "files"),
        (job(problem=[1]), "problem"),
        (served([]), "answer"),
        (problem(404, "not-found", "it was removed"), "it was removed"),
    ],
)
def test_an_odd_answer_is_an_error_that_says_so(kind: Kind, plan: Planned, words: str) -> None:
    with misbehaving(taken(), plan) as server, pytest.raises(ServiceAnswerError, match=words):
        run(kind, server)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_the_result_is_refused(kind: Kind, draws: bytes) -> None:
    cut = draws[:-100]
    for plan, words in (
        (file(cut), "cannot be read as Parquet"),
        (file(cut, etag=f'"{sha256(draws).hexdigest()}"'), "not those that the service keeps"),
    ):
        with (
            misbehaving(taken(), job("done"), plan) as server,
            pytest.raises((InputError, ServiceAnswerError), match=words),
        ):
            run(kind, server)
