"""Several processes on one chain, and processes that are killed in the middle."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from tests.service.chains import STORES, make_entry, new_url, opened, verified

from ketacast_service.audit.maintenance import purge
from ketacast_service.audit.writer import ChainWriter
from ketacast_service.database import reading
from ketacast_service.moments import utc_text
from ketacast_service.schema import audit_record

PROGRAM = Path(__file__).with_name("writing.py")


def start(url: str, clients: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", str(PROGRAM), url, str(clients), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def stored_ids(engine: Engine) -> set[str]:
    with reading(engine) as connection:
        return set(connection.scalars(select(audit_record.c.id)))


@pytest.mark.parametrize("kind", STORES)
def test_processes_that_start_and_append_at_once_make_one_chain(kind: str, tmp_path: Path) -> None:
    url = new_url(kind, tmp_path)
    processes = [start(url, 10, 50) for _ in range(4)]  # the first of them makes the schema
    printed = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    with opened(url) as engine:
        assert verified(engine).records == 2000
        assert stored_ids(engine) == {one for ids in printed for one in ids}


@pytest.mark.parametrize(("kind", "times"), [("sqlite", 8), ("postgresql", 3)])
def test_a_killed_process_loses_nothing_acknowledged(kind: str, times: int, tmp_path: Path) -> None:
    url = new_url(kind, tmp_path)
    acknowledged: set[str] = set()
    moments = random.Random(20261126)  # noqa: S311
    for _ in range(times):
        with start(url, 25, 1_000_000) as process:
            assert process.stdout is not None
            for _ in range(moments.randrange(1000, 1600)):
                acknowledged.add(process.stdout.readline().strip())
            process.kill()
            acknowledged.update(line.strip() for line in process.stdout)
        with opened(url) as engine:
            assert verified(engine).records >= len(acknowledged) >= 1000
            assert acknowledged <= stored_ids(engine)


@pytest.mark.parametrize("kind", STORES)
def test_threads_with_writers_of_their_own_make_one_chain(kind: str, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def write(engine: Engine) -> None:
        writer = ChainWriter(engine)
        try:
            for number in range(30):
                writer.write([make_entry(number + part) for part in range(3)])
        except BaseException as error:  # noqa: BLE001  # shown by the test
            failures.append(error)

    with opened(new_url(kind, tmp_path), timeout=20) as engine:
        threads = [threading.Thread(target=write, args=(engine,)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert verified(engine).records == 450


@pytest.mark.parametrize("kind", STORES)
def test_purging_while_processes_write(kind: str, tmp_path: Path) -> None:
    url = new_url(kind, tmp_path)
    processes = [start(url, 10, 150) for _ in range(2)]
    with opened(url, timeout=20) as engine:
        removed = 0
        while any(process.poll() is None for process in processes):
            removed += purge(engine, utc_text()).records
        printed = [process.communicate(timeout=60)[0].split() for process in processes]
        assert [len(ids) for ids in printed] == [1500, 1500]
        report = verified(engine)
        assert removed > 0
        assert report.seq == removed + report.records
        with reading(engine) as connection:
            is_purge = audit_record.c.kind == "purge"
            kept = set(connection.scalars(select(audit_record.c.id).where(~is_purge)))
        assert kept <= {one for ids in printed for one in ids}
