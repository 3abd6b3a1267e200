"""Appending: what is acknowledged is stored, what fails says so, and the writer goes on."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.service.chains import STORES, make_entry, new_url, opened, running, verified

from ketacast_service.audit import AuditTrail
from ketacast_service.audit.writer import ChainWriter
from ketacast_service.database import reading
from ketacast_service.errors import ServiceError, StoreDownError


@pytest.fixture(params=STORES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with opened(new_url(request.param, tmp_path)) as found:
        yield found


def test_what_is_acknowledged_is_found(engine: Engine) -> None:
    async def main() -> None:
        async with running(engine) as trail:
            entries = [make_entry(number) for number in range(300)]
            await asyncio.gather(*[trail.append(entry) for entry in entries])
            await trail.append(last := make_entry(7, client="jwt:https://ehr.example#früh"))
            assert trail.is_healthy
            assert await trail.ping()
            for entry in (entries[0], entries[299], last):
                record = await trail.find(entry.id)
                assert record is not None
                for name in ("time", "kind", "client", "input", "output", "output_sha256"):
                    assert getattr(record, name) == getattr(entry, name)
            assert await trail.find("no such record") is None

    asyncio.run(main())
    assert verified(engine).records == 301


def test_equal_answers_are_stored_once(engine: Engine) -> None:
    async def main() -> None:
        async with running(engine) as trail:
            for number in range(30):
                await trail.append(make_entry(number))

    asyncio.run(main())
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM audit_output").scalar() == 5


def test_entries_that_gather_are_written_together(engine: Engine) -> None:
    writer = ChainWriter(engine)
    sizes: list[int] = []

    async def main() -> None:
        async with running(engine) as trail:
            trail._writer = writer
            write = writer.write
            writer.write = lambda entries: (sizes.append(len(entries)), write(entries))[1]  # type: ignore[method-assign,func-returns-value]
            await asyncio.gather(*[trail.append(make_entry(number)) for number in range(40)])

    asyncio.run(main())
    assert sizes == [40]


def test_a_record_is_written_though_its_client_has_gone(engine: Engine) -> None:
    entry = make_entry()

    async def main() -> None:
        async with running(engine) as trail:

            async def request() -> None:
                await trail.append(entry)

            task = asyncio.create_task(request())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await trail.append(make_entry(1))
            assert await trail.find(entry.id) is not None

    asyncio.run(main())
    assert verified(engine).records == 2


def test_closing_writes_what_waits(engine: Engine) -> None:
    async def main() -> list[asyncio.Future[None]]:
        trail = AuditTrail(engine, timeout=5)
        trail.start()
        futures = [trail.append(make_entry(number)) for number in range(50)]
        await trail.close()
        await asyncio.gather(*futures)
        with pytest.raises(StoreDownError, match="closed"):
            await trail.append(make_entry())
        await trail.close()
        return futures

    assert all(future.done() for future in asyncio.run(main()))
    assert verified(engine).records == 50


def test_too_many_waiting_are_refused_at_once(engine: Engine) -> None:
    async def main() -> None:
        async with running(engine, most_waiting=10) as trail:
            futures = [trail.append(make_entry(number)) for number in range(15)]
            assert [future.done() for future in futures] == [False] * 10 + [True] * 5
            results = await asyncio.gather(*futures, return_exceptions=True)
            assert results[:10] == [None] * 10
            assert all(isinstance(result, StoreDownError) for result in results[10:])
            await trail.append(make_entry())

    asyncio.run(main())
    assert verified(engine).records == 11


def test_a_refused_entry_fails_alone(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    first = make_entry()
    refused = [
        make_entry()._replace(id=first.id),
        make_entry()._replace(output_sha256="b" * 64),
        make_entry()._replace(client="\ud800"),
    ]
    if engine.dialect.name == "postgresql":
        refused += [make_entry(client="x" * 129), make_entry(request_id="a\0b")]

    async def main() -> None:
        async with running(engine) as trail:
            await trail.append(first)
            mixed = [entry for each in refused for entry in (make_entry(), each, make_entry())]
            results = await asyncio.gather(*map(trail.append, mixed), return_exceptions=True)
            for entry, result in zip(mixed, results, strict=True):
                if entry in refused:
                    assert isinstance(result, ServiceError)
                    assert not isinstance(result, StoreDownError)
                else:
                    assert result is None
            assert trail.is_healthy

    asyncio.run(main())
    assert verified(engine).records == 1 + 2 * len(refused)
    assert caplog.messages.count("an audit record is refused: IntegrityError") <= 1


def test_locked_by_another_program_fails_in_time_and_recovers(
    tmp_path: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in STORES:
        url = new_url(kind, tmp_path)
        with opened(url) as other, opened(url, timeout=0.5) as engine:
            asyncio.run(_locked(other, engine))
            assert verified(engine).records == 2
    logged = [record.levelno for record in caplog.records]
    assert logged == [logging.ERROR, logging.WARNING] * 2  # once down, once up again


async def _locked(other: Engine, engine: Engine) -> None:
    lock = "BEGIN IMMEDIATE" if other.dialect.name == "sqlite" else "BEGIN"
    async with running(engine, timeout=0.5) as trail:
        await trail.append(make_entry())
        connection = other.raw_connection()
        cursor = connection.cursor()
        cursor.execute(lock)
        cursor.execute("UPDATE audit_head SET probes = probes + 1")
        began = time.monotonic()
        first = trail.append(make_entry())
        await asyncio.sleep(0.3)
        late = trail.append(make_entry())  # does not wait for a time-out of its own
        with pytest.raises(StoreDownError, match="lock"):
            await first
        assert late.done()
        with pytest.raises(StoreDownError, match="lock"):
            await late
        assert 0.3 < time.monotonic() - began < 5
        health = [trail.is_healthy, await trail.ping()]
        cursor.close()
        connection.rollback()
        connection.close()
        health += [await trail.ping(), trail.is_healthy]
        assert health == [False, False, True, True]
        await trail.append(make_entry())


def test_a_database_that_hangs_fails_those_who_wait(tmp_path: Path) -> None:
    go_on = threading.Event()

    async def main(engine: Engine) -> None:
        async with running(engine, timeout=0.1) as trail:
            write = trail._writer.write

            def hang(entries: object) -> None:
                go_on.wait(10)
                write(entries)  # type: ignore[arg-type]

            trail._writer.write = hang  # type: ignore[method-assign]
            began = time.monotonic()
            results = await asyncio.gather(
                *[trail.append(make_entry(number)) for number in range(3)], return_exceptions=True
            )
            assert all(isinstance(result, StoreDownError) for result in results)
            assert time.monotonic() - began < 5
            assert not trail.is_healthy
            go_on.set()
            await trail.append(make_entry())
            assert trail.is_healthy

    with opened(new_url("sqlite", tmp_path)) as engine:
        asyncio.run(main(engine))
        assert verified(engine).records == 4


def test_a_loop_that_ended_without_closing_does_not_stop_the_writer(tmp_path: Path) -> None:
    with opened(new_url("sqlite", tmp_path)) as engine:

        async def main() -> AuditTrail:
            trail = AuditTrail(engine, timeout=5)
            trail.start()
            trail.append(make_entry())
            await asyncio.sleep(0)  # handed over, not waited for
            return trail

        trail = asyncio.run(main())
        trail._queue.put(None)
        assert trail._thread is not None
        trail._thread.join(5)
        assert not trail._thread.is_alive()
        assert verified(engine).records == 1
