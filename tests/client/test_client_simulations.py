"""Simulations through both clients, on the real service: the library's values, whatever happens."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.calling import KINDS, Kind
from tests.service.running import Running, running_service
from tests.service.simulations.asking import long_spec, spec
from tests.service.simulations.restarting import Restarted

from ketacast.client import AsyncClient, Client, ServedSimulation, ServiceAnswerError
from ketacast.client import simulation_operations as module
from ketacast.client.exchange import Answer, Request
from ketacast.clinical.artifact import load_artifact
from ketacast.errors import InputError
from ketacast.simulation import Cohort, Group, Specification, Strategy, report_of, simulate
from ketacast.simulation.documents import from_document
from ketacast.updating import Batch, Cell, update_clinic


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running_service(rate_per_second=0, simulations_kept=100) as running:
        yield running


def do(kind: Kind, url: str, name: str, *given: Any) -> Any:
    """Call a method of ``client.simulations``."""
    if kind == "blocking":
        with Client(url) as one:
            return getattr(one.simulations, name)(*given)

    async def main() -> Any:
        async with AsyncClient(url) as other:
            return await getattr(other.simulations, name)(*given)

    return asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_is_the_librarys(kind: Kind, service: Running) -> None:
    seen: list[ServedSimulation] = []
    found = do(kind, service.url, "run", spec(seed=5, title="By client"), seen.append)
    wanted = simulate(from_document(spec(seed=5, title="By client")))
    assert (found.values == wanted.values).all()
    assert found.specification == wanted.specification
    assert report_of(found) == report_of(wanted)
    assert seen[0].state in ("queued", "running")
    assert seen[-1].state == "done"
    assert seen[-1].share == 1.0
    last = seen[-1]
    assert do(kind, service.url, "state", last.id) == last
    assert last in do(kind, service.url, "all")
    assert do(kind, service.url, "report", last.id) == report_of(wanted)
    assert do(kind, service.url, "file", last.id, "summary.csv").startswith(b"strategy,week,")
    assert do(kind, service.url, "cancel", last.id) == last
    with pytest.raises(ServiceAnswerError, match=r"has no file 'draws\.csv'"):
        do(kind, service.url, "file", last.id, "draws.csv")
    do(kind, service.url, "remove", last.id)
    with pytest.raises(ServiceAnswerError) as caught:
        do(kind, service.url, "state", last.id)
    assert caught.value.status == 404


def test_all_of_them_come_page_by_page(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(service.url) as client:
        made = [client.simulations.submit(spec(draws=1, seed=seed)).id for seed in range(3)]
        with monkeypatch.context() as patched:
            patched.setattr(
                module, "Request",
                lambda method, path, query=(): Request(method, path, (*query, ("limit", "1"))),
            )  # fmt: skip
            found = [one.id for one in client.simulations.all()]
        assert [one for one in found if one in made] == made
        for one in made:
            client.simulations.remove(one)


def test_a_specification_takes_its_profiles_along(service: Running, tmp_path: Path) -> None:
    cell = Cell((3, 5), 6, "self", "all_treated", 30, 24, 15)
    clinic = update_clinic(load_artifact(), [Batch("2026-Q1", (cell,))], None, label="Day clinic")
    path = tmp_path / "clinic.json"
    path.write_text(clinic.to_json())
    made = Specification(
        Cohort(tuple(Group(n, "self", 1.0, str(path)) for n in range(2, 12)), counted=False),
        (Strategy("six", 6),), 8, 200, draws=8,
    )  # fmt: skip
    assert len(json.dumps(module.document_of(made))) < 1.2 * len(clinic.to_json())
    with Client(service.url) as client:
        found = client.simulations.run(made)
        wanted = simulate(made)
        assert (found.values == wanted.values).all()
        assert list(found.clinics.values()) == [clinic.sha256]
        path.unlink()
        with pytest.raises(InputError, match=r"clinic profile .* cannot be read"):
            client.simulations.submit(made)


@pytest.mark.parametrize("kind", KINDS)
def test_waiting_that_is_interrupted_cancels(kind: Kind, service: Running) -> None:
    seen: list[str] = []

    def interrupt(found: ServedSimulation) -> None:
        seen.append(found.id)
        raise KeyboardInterrupt if kind == "blocking" else asyncio.CancelledError

    with pytest.raises((KeyboardInterrupt, asyncio.CancelledError)):
        do(kind, service.url, "run", long_spec(), interrupt)
    assert do(kind, service.url, "state", seen[0]).state == "cancelled"


def test_one_that_fails_or_is_refused_says_why(service: Running) -> None:
    with Client(service.url) as client:
        with pytest.raises(ServiceAnswerError, match="/strategies"):
            client.simulations.submit({**spec(), "strategies": []})
        mine = client.simulations.submit(long_spec())
        unready = client.simulations.cancel(mine.id)
        assert unready.has_ended
        with pytest.raises(ServiceAnswerError) as caught:
            client.simulations.result(mine.id)
        assert caught.value.status == 409
        with pytest.raises(InputError, match="give the id"):
            client.simulations.state("../clinics")


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_of_the_service_is_waited_for(kind: Kind, tmp_path: Path) -> None:
    again = Restarted(tmp_path)
    again.start()
    seen: list[ServedSimulation] = []
    restarts: list[threading.Thread] = []

    def restart(found: ServedSimulation) -> None:
        seen.append(found)
        if found.share > 0 and not restarts:
            again.stop(signal.SIGTERM)
            restarts.append(threading.Thread(target=again.start))
            restarts[0].start()

    try:
        found = do(kind, f"http://127.0.0.1:{again.port}", "run", long_spec(), restart)
        restarts[0].join()
        wanted = simulate(from_document(long_spec()))
        assert (found.values == wanted.values).all()
    finally:
        if again.process is not None:
            again.stop(signal.SIGKILL)


def test_bytes_that_are_not_the_services_are_refused() -> None:
    read: Callable[[Answer], bytes] = module.fetching(
        "0192f0c4-9c2e-7cc0-8000-000000000000", "draws.parquet"
    ).read
    with pytest.raises(InputError, match="not those that the service keeps"):
        read(Answer(200, {"etag": f'"{"0" * 64}"'}, b"other"))
