"""A purge removes the oldest records; what is kept stays verifiable and complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from tests.service.chains import STORES, fill, make_entry, new_url, opened, verified

from ketacast_service.audit import maintenance, store
from ketacast_service.audit.chain import FIRST_HASH
from ketacast_service.audit.maintenance import Purged, count_older, purge, purge_expired
from ketacast_service.audit.verification import verify_database
from ketacast_service.audit.writer import ChainWriter
from ketacast_service.database import reading
from ketacast_service.errors import ServiceError
from ketacast_service.moments import utc_text
from ketacast_service.schema import audit_output


@pytest.fixture(params=STORES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with opened(new_url(request.param, tmp_path)) as found:
        yield found


def days_ago(days: float) -> str:
    return utc_text(datetime.now(UTC) - timedelta(days=days))


def all_records(engine: Engine) -> list[Any]:
    with reading(engine) as connection:
        return list(store.records(connection))


def test_the_oldest_go_and_the_chain_stays_intact(engine: Engine) -> None:
    old = fill(engine, 1300, time=days_ago(40))
    noted = verified(engine).hash
    kept = fill(engine, 3, time=days_ago(5))
    assert count_older(engine, days_ago(30)) == len(old)
    assert purge(engine, days_ago(30)) == Purged(1300, 2)  # outputs 3 and 4
    report = verify_database(engine, head=noted)  # the anchor
    assert report.problem is None
    records = all_records(engine)
    assert [record.id for record in records[:3]] == [entry.id for entry in kept]
    assert {record.kind for record in records[3:]} == {"purge"}
    said = [json.loads(record.input) for record in records[3:]]
    assert sum(one["records"] for one in said) == 1300
    assert sum(one["outputs"] for one in said) == 2
    assert {record.client for record in records[3:]} == {"operator"}
    assert said[-1]["up_to_seq"] == 1300
    assert said[-1]["up_to_hash"] == noted
    assert verify_database(engine, head=FIRST_HASH).problem is not None  # gone


def test_only_a_beginning_goes(engine: Engine) -> None:
    fill(engine, 2, time=days_ago(40))
    fill(engine, 1, time=days_ago(20))
    fill(engine, 2, time=days_ago(40))  # a clock was wrong
    assert count_older(engine, days_ago(30)) == 2
    assert purge(engine, days_ago(30)).records == 2
    assert purge(engine, days_ago(30)) == Purged(0, 0)
    verified(engine)


def test_nothing_to_purge_leaves_no_trace(engine: Engine) -> None:
    assert purge(engine, days_ago(0)) == Purged(0, 0)
    fill(engine, 2)
    before = verified(engine)
    assert purge_expired(engine, 1) == 0
    assert verified(engine) == before


def test_everything_may_go_again_and_again(engine: Engine) -> None:
    for _ in range(3):
        fill(engine, 4, time=days_ago(3))
        before = verified(engine).records
        assert purge(engine, utc_text()).records == before  # records of purges grow old too
        assert {record.kind for record in all_records(engine)} == {"purge"}
    verified(engine)


def test_a_writer_stores_again_what_a_purge_removed(engine: Engine) -> None:
    writer = ChainWriter(engine)
    writer.write([make_entry(1, time=days_ago(3))])
    purge_expired(engine, 2)
    entry = make_entry(1)
    writer.write([entry])
    verified(engine)
    with reading(engine) as connection:
        found = store.find(connection, entry.id)
    assert found is not None
    assert found.output == entry.output


def test_an_output_used_again_while_purging_is_kept(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the search for orphans and their removal another process answers the same."""
    writer = ChainWriter(engine)
    writer.write([make_entry(number, time=days_ago(3)) for number in (1, 2)])
    remove = maintenance._remove_some_outputs

    def remove_late(*arguments: Any) -> int:
        writer.write([make_entry(1)])
        return remove(*arguments)

    monkeypatch.setattr(maintenance, "_remove_some_outputs", remove_late)
    assert purge(engine, days_ago(2)) == Purged(2, 1)
    verified(engine)


def test_outputs_another_purge_has_removed_are_not_counted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine, 2, time=days_ago(3))
    remove = maintenance._remove_some_outputs

    def remove_twice(*arguments: Any) -> int:
        return 10 * remove(*arguments) + remove(*arguments)

    monkeypatch.setattr(maintenance, "_remove_some_outputs", remove_twice)
    assert purge(engine, days_ago(2)) == Purged(2, 20)
    verified(engine)


def test_a_purge_that_is_interrupted_leaves_a_chain_and_the_next_one_ends_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine, 5, time=days_ago(3))
    fill(engine, 1, output=b"other")
    for step, before in (("_remove_outputs", days_ago(2)), ("_note", utc_text())):
        with monkeypatch.context() as patch:
            patch.setattr(maintenance, step, lambda *_: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                purge(engine, before)
        verified(engine)
    left = verified(engine).records
    assert purge(engine, utc_text()).records == left
    with reading(engine) as connection:
        outputs = connection.scalars(select(audit_output.c.body)).all()
    assert outputs == [b'{"purged":true}']


def test_the_future_is_refused(engine: Engine) -> None:
    for call in (purge, count_older):
        with pytest.raises(ServiceError, match="in the past"):
            call(engine, days_ago(-1))


def test_steps_stay_short(engine: Engine) -> None:
    pace = maintenance._Pace()
    pace.rest()
    assert pace.size == 1000
    pace._began -= 0.3
    pace.rest()
    assert pace.size == 500
    pace._began -= 0.2
    pace.rest()
    assert pace.size == 500
