"""Who holds a simulation, when clocks jump, runners stall, and stores or disks are down."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from tests.service.chains import STORES, new_url, opened
from tests.service.simulations.asking import spec

from ketacast.clinical.artifact import load_artifact
from ketacast.simulation.documents import from_document, to_document
from ketacast_service.database import writing
from ketacast_service.errors import StoreDownError
from ketacast_service.moments import new_id, utc_text
from ketacast_service.schema import simulation
from ketacast_service.simulations import Job, JobFile, JobStore, Limits, Place, Runner
from ketacast_service.simulations import store as module
from ketacast_service.simulations.child import COMPILED, Ended
from ketacast_service.simulations.runner import MOST_ATTEMPTS, Attempt

LIMITS = Limits(waiting=5, unfinished=3, kept=4, running=1, seconds=60.0, days=7)
MODEL = load_artifact().sha256


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    with opened(new_url(request.param, tmp_path)) as engine:
        yield JobStore(engine, LIMITS)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[JobStore]:
    with opened(new_url("sqlite", tmp_path)) as engine:
        yield JobStore(engine, LIMITS)


def added(store: JobStore, model: str = MODEL) -> Job:
    document = json.dumps(to_document(from_document(spec(draws=2))))
    new = Job(new_id(), "key:one", "queued", document, model, utc_text())
    store.add(new)
    return new


def claimed(store: JobStore, runner: str) -> Job:
    found = store.claim(runner, MODEL, "2000")
    assert found is not None
    return found


def lease(store: JobStore, job: Job, *, to: float) -> None:
    with writing(store.engine) as connection:
        connection.execute(update(simulation).where(simulation.c.id == job.id).values(lease=to))


def attempt(store: JobStore, job: Job, runner: str, directory: Path) -> Attempt:
    place = Place(directory, None, MODEL, "2000")
    return Attempt(store, place, job, runner, threading.Event())


def test_a_runner_that_stalled_takes_nothing_from_the_one_that_finished(
    store: JobStore, tmp_path: Path
) -> None:
    new = added(store)
    stalled = claimed(store, "r1")
    lease(store, new, to=time.time() - 1)
    other = claimed(store, "r2")
    assert store.put_part(other, "r2", "report.json", 0, b"{}")
    files = [JobFile("report.json", 2, "0" * 64, 1)]
    assert store.finish(other, "r2", "done", 1.0, files=files)
    attempt(store, stalled, "r1", tmp_path / "place").run()
    assert store.state(new.id) == "done"
    assert store.part(new.id, "report.json", 0) == b"{}"
    assert not list((tmp_path / "place").iterdir())


def test_a_runner_that_stalled_leaves_the_directory_to_the_next(
    store: JobStore, tmp_path: Path
) -> None:
    new = added(store)
    stalled = claimed(store, "r1")
    lease(store, new, to=time.time() - 1)
    claimed(store, "r2")
    attempt(store, stalled, "r1", tmp_path).run()
    assert (tmp_path / new.id).is_dir()
    assert not store.put_part(stalled, "r1", "report.json", 0, b"{}")
    assert store.part(new.id, "report.json", 0) is None


def test_ends_of_the_service_count_less_than_ends_of_its_own(
    store: JobStore, tmp_path: Path
) -> None:
    """Whoever kills everything again and again has not shown that a simulation is too large."""
    new = added(store)
    for ends in range(MOST_ATTEMPTS):
        assert claimed(store, "r1").attempts == ends
        lease(store, new, to=time.time() - 1)
    attempt(store, claimed(store, "r1"), "r1", tmp_path).run()
    found = store.find(new.id, "key:one")
    assert found is not None
    assert found.problem is not None
    assert "the service's 9 times" in found.problem["detail"]


def test_storing_a_part_holds_it_longer(store: JobStore) -> None:
    new = added(store)
    held = claimed(store, "r1")
    lease(store, new, to=time.time() + 0.2)
    assert store.put_part(held, "r1", "report.json", 0, b"{}")
    time.sleep(0.3)
    assert store.claim("r2", MODEL, "2000") is None


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_was_set_costs_seconds(store: JobStore, jump: float) -> None:
    """A lease an hour ahead, or long over, is no runner's; one that lives renews it at once."""
    new = added(store)
    first = claimed(store, "r1")
    lease(store, new, to=time.time() + jump)
    assert store.renew(first, "r1", 1, 2, 0.1)
    assert store.claim("r2", MODEL, "2000") is None
    lease(store, new, to=time.time() + jump)
    assert claimed(store, "r2").id == new.id
    assert not store.renew(first, "r1", 2, 2, 0.2)


def test_machines_with_other_clocks_share_one(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(store)
    claimed(store, "r1")
    if store.engine.dialect.name == "postgresql":
        monkeypatch.setattr(time, "time", lambda: 4e9)
    assert store.claim("r2", MODEL, "2000") is None


def test_the_last_of_an_older_model_is_not_left(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken on by a process with the old model, after the new one had been loaded."""
    new = added(store, model="b" * 64)
    assert store.claim("r1", MODEL, "2000") is None
    monkeypatch.setattr(module, "_STRANGE_SECONDS", -1.0)
    assert claimed(store, "r1").id == new.id


@pytest.mark.parametrize("fault", [StoreDownError("full"), OSError(errno.ENOSPC, "no space")])
def test_a_store_or_disk_that_is_down_counts_for_nothing(
    local: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    new = added(local)

    def down(*_: Any, **__: Any) -> bool:
        raise fault

    for _ in range(4):
        held = claimed(local, "r1")
        assert held.attempts == 0
        one = attempt(local, held, "r1", tmp_path / "place")
        with monkeypatch.context() as patched:
            patched.setattr(local, "put_part", down)
            with pytest.raises(type(fault)):
                one.run()
        assert local.state(new.id) == "queued"
    attempt(local, claimed(local, "r1"), "r1", tmp_path / "place").run()
    assert local.state(new.id) == "done"


def test_a_process_that_finds_the_disk_full_is_run_again(
    local: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = added(local)
    one = attempt(local, claimed(local, "r1"), "r1", tmp_path / "place")
    full = Ended("unavailable", where="OSError: No space left on device", is_disk=True)
    with monkeypatch.context() as patched:
        patched.setattr(Attempt, "_watch", lambda *_: full)
        with pytest.raises(OSError, match="No space left"):
            one.run()
    assert local.state(new.id) == "queued"
    assert claimed(local, "r1").attempts == 0


@pytest.mark.parametrize("damage", ["{", '{"document": "another run"}'])
def test_what_was_kept_by_another_version_is_begun_again(
    local: JobStore, tmp_path: Path, damage: str
) -> None:
    new = added(local)
    (tmp_path / new.id / "tasks").mkdir(parents=True)
    (tmp_path / new.id / "run.json").write_text(damage)
    attempt(local, claimed(local, "r1"), "r1", tmp_path).run()
    assert local.state(new.id) == "done"


def test_only_directories_of_simulations_are_removed(local: JobStore, tmp_path: Path) -> None:
    """An operator may name a directory that holds something else."""
    place = tmp_path / "place"
    kept, lost = added(local), new_id()
    for name in ("letters", COMPILED, kept.id, lost):
        (place / name).mkdir(parents=True)
    (place / "thesis.txt").write_text("years of work")
    runner = Runner(local, Place(place, None, "c" * 64, "2000"))
    runner.start()
    end = time.monotonic() + 20
    while (place / lost).exists() and time.monotonic() < end:
        time.sleep(0.05)
    runner.close()
    assert {path.name for path in place.iterdir()} == {"letters", COMPILED, kept.id, "thesis.txt"}


def test_what_is_kept_is_for_its_owner_only(local: JobStore, tmp_path: Path) -> None:
    local.limits = replace(LIMITS, seconds=0.0)
    new = added(local)
    held = replace(claimed(local, "r1"), profiles={"clinic-a.json": "{}"})
    seen: list[int] = []
    one = attempt(local, held, "r1", tmp_path / "outer" / "place")

    def look(*_: Any) -> None:
        paths = [tmp_path / "outer" / "place", tmp_path / "outer" / "place" / new.id]
        seen.extend(path.stat().st_mode & 0o777 for path in paths)

    one._watch = look  # type: ignore[method-assign,assignment]
    one.run()
    assert seen == [0o700, 0o700]
