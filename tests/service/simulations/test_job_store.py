"""Simulations in the database: one runner at a time holds one, whatever happens to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert
from tests.service.chains import STORES, new_url, opened

from ketacast_service.database import writing
from ketacast_service.errors import ProblemError
from ketacast_service.moments import new_id, utc_text
from ketacast_service.schema import simulation_part
from ketacast_service.simulations import Job, JobFile, JobStore, Limits, holding
from ketacast_service.simulations.store import PART_BYTES, in_parts

LIMITS = Limits(waiting=5, unfinished=3, kept=4, running=1, seconds=60.0, days=7)
MODEL = "a" * 64


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    with opened(new_url(request.param, tmp_path)) as engine:
        yield JobStore(engine, LIMITS)


def job(owner: str = "key:one", model: str = MODEL) -> Job:
    document = json.dumps({"simulation": {"title": "Ä", "engine": "expected", "patients": 10}})
    return Job(new_id(), owner, "queued", document, model, utc_text(), {"clinic-a.json": "{}\n"})


def added(store: JobStore, **given: str) -> Job:
    new = job(**given)
    store.add(new)
    return new


def claimed(store: JobStore, runner: str = "r1", model: str = MODEL, since: str = "2000") -> Job:
    found = store.claim(runner, model, since)
    assert found is not None
    return found


def test_what_is_added_is_found_by_its_owner_only(store: JobStore) -> None:
    new = added(store)
    found = store.find(new.id, "key:one")
    assert found == replace(new, profiles={}, document="", title="Ä", engine="expected")
    assert store.find(new.id, "key:two") is None
    assert not store.remove(new.id, "key:two")
    assert store.cancel(new.id, "key:two") is None
    assert store.list("key:two", None, 10) == []
    assert [one.id for one in store.list("key:one", None, 10)] == [new.id]


def test_the_oldest_is_held_by_one(store: JobStore) -> None:
    first, second = added(store), added(store)
    assert store.before(first) == 0
    assert store.before(second) == 1
    held = claimed(store)
    assert held.id == first.id
    assert held.profiles == {"clinic-a.json": "{}\n"}
    assert held.attempts == 0  # as it was; the claim counts one more
    assert store.claim("r2", MODEL, "2000") is None  # one at a time
    assert store.finish(held, "r1", "done", 1.5)
    assert claimed(store, "r2").id == second.id
    found = store.find(first.id, "key:one")
    assert found is not None
    assert (found.state, found.seconds, found.attempts) == ("done", 1.5, 1)
    assert found.started is not None
    assert found.finished is not None


def test_two_at_once_claim_one_each(store: JobStore) -> None:
    store.limits = replace(LIMITS, running=2)
    for _ in range(3):
        added(store)
    found: list[Job | None] = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(store.claim(name, MODEL, "2000")))
        for name in ("r1", "r2", "r3", "r4")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [one.id for one in found if one is not None]
    assert len(ids) == 2
    assert len(set(ids)) == 2


def test_a_runner_that_has_gone_loses_it(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    added(store)
    monkeypatch.setattr(holding, "LEASE_SECONDS", 0.2)
    held = claimed(store)
    assert store.renew(held, "r1", 5, 10, 1.0)
    time.sleep(0.3)
    again = claimed(store, "r2")
    assert again.id == held.id
    assert (again.done, again.total, again.seconds, again.attempts) == (5, 10, 1.0, 1)
    assert not store.renew(held, "r1", 6, 10, 2.0)
    assert not store.finish(held, "r1", "done", 2.0)
    assert not store.release(held, "r1", 2.0, failed=False)
    assert store.renew(again, "r2", 5, 10, 2.0)


def test_attempts_count_starts_that_get_nowhere(store: JobStore) -> None:
    added(store)
    for attempt in (0, 3, 6):
        held = claimed(store)
        assert held.attempts == attempt
        assert store.renew(held, "r1", 0, 10, 0.0)
        assert store.release(held, "r1", 0.0, failed=True)
    held = claimed(store)
    assert store.renew(held, "r1", 3, 10, 0.0)
    assert store.release(held, "r1", 0.0, failed=True)
    held = claimed(store)
    assert held.attempts == 3  # it got further
    assert store.release(held, "r1", 0.0, failed=False)
    assert claimed(store).attempts == 3  # a stop of the service counts for nothing


def test_cancelling_and_removing_take_it_from_its_runner(store: JobStore) -> None:
    first, second = added(store), added(store)
    held = claimed(store)
    cancelled = store.cancel(first.id, "key:one")
    assert cancelled is not None
    assert cancelled.state == "cancelled"
    assert not store.renew(held, "r1", 1, 2, 0.1)
    assert store.cancel(first.id, "key:one") == cancelled  # ended stays ended
    held = claimed(store)
    assert held.id == second.id
    assert store.put_part(held, "r1", "report.json", 0, b"{}")
    assert store.remove(second.id, "key:one")
    assert not store.finish(held, "r1", "done", 0.1)
    assert not store.put_part(held, "r1", "report.json", 1, b"{}")
    assert store.part(second.id, "report.json", 0) is None
    assert store.part(second.id, "report.json", 1) is None
    assert store.claim("r1", MODEL, "2000") is None


def test_a_failure_says_why(store: JobStore) -> None:
    added(store)
    held = claimed(store)
    problem = {"slug": "too-large", "detail": "less; please"}
    assert store.finish(held, "r1", "failed", 2.0, problem=problem)
    found = store.find(held.id, "key:one")
    assert found is not None
    shown = found.shown(7)
    assert shown["problem"] == {
        "type": "urn:ketacast:problem:too-large",
        "title": "The request is too large",
        "detail": "less; please",
    }
    assert shown["expires"][:10] > shown["finished"][:10]


def test_room_is_bounded(store: JobStore) -> None:
    def slug(owner: str) -> str:
        with pytest.raises(ProblemError) as caught:
            store.add(job(owner))
        with pytest.raises(ProblemError):
            store.check_room(owner)
        return caught.value.slug

    mine = [added(store) for _ in range(3)]
    assert slug("key:one") == "too-many-requests"
    for _ in range(2):
        added(store, owner="key:two")
    assert slug("key:two") == "too-many-requests"  # the queue is full
    for one in mine:
        store.cancel(one.id, "key:one")
    added(store)
    assert slug("key:one") == "conflict"  # four are kept
    assert store.remove(mine[0].id, "key:one")
    added(store)


def test_another_model_is_for_another_process(store: JobStore) -> None:
    old = added(store, model="b" * 64)
    assert store.claim("r1", MODEL, old.created) is None  # newer than what this one loaded
    assert claimed(store, since=utc_text()).id == old.id  # to be told that it cannot be run


def test_files_come_back_in_parts(store: JobStore) -> None:
    body = bytes(range(256)) * (PART_BYTES // 100)
    cut = list(in_parts(body))
    assert b"".join(cut) == body
    assert list(in_parts(b"")) == [b""]
    added(store)
    new = claimed(store)
    for number, part in enumerate(cut):
        assert store.put_part(new, "r1", "draws.parquet", number, part)
    found = [store.part(new.id, "draws.parquet", number) for number in range(len(cut) + 1)]
    assert found == [*cut, None]
    store.remove_parts(new.id)
    assert store.part(new.id, "draws.parquet", 0) is None


def test_old_ones_expire_with_their_files(store: JobStore) -> None:
    added(store)
    held = claimed(store)
    store.put_part(held, "r1", "a", 0, b"1")
    with writing(store.engine) as connection:
        row = {"simulation": (lost := new_id()), "name": "lost", "part": 0, "body": b"2"}
        connection.execute(insert(simulation_part), row)
    store.finish(held, "r1", "done", 1.0, files=[JobFile("a", 1, "0" * 64, 1)])
    waiting = added(store)
    assert store.expire() == 0
    store.limits = replace(LIMITS, days=-1)
    assert store.expire() == 1
    assert store.part(held.id, "a", 0) is None
    assert store.part(lost, "lost", 0) is None
    assert store.unfinished() == {waiting.id}
    assert store.waiting() == 1
