"""A store that is full, read-only, broken or restarted: nothing half-written, and recovery."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from tests.service.chains import cluster, make_entry, new_url, opened, running, verified

from ketacast_service.audit import AuditTrail
from ketacast_service.database import open_engine
from ketacast_service.errors import ServiceError, StoreDownError


class Pragma:
    """A pragma that each connection gets when it is taken from the pool."""

    def __init__(self, engine: Engine, text: str) -> None:
        self.text = text
        event.listen(engine, "checkout", self.set)

    def set(self, connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA {self.text}").fetchall()


async def append_until_refused(trail: AuditTrail, size: int) -> int:
    """Append incompressible outputs until the store is full; return how many were stored."""
    for number in range(10_000):
        try:
            await trail.append(make_entry(output=os.urandom(size)))
        except StoreDownError:
            return number
    raise AssertionError("the store was never full")


@pytest.mark.parametrize(
    ("bad", "good"),
    [("max_page_count = 60", "max_page_count = 1000000"), ("query_only = ON", "query_only = OFF")],
)
def test_full_or_read_only_is_down_and_recovers(tmp_path: Path, bad: str, good: str) -> None:
    with opened(new_url("sqlite", tmp_path)) as engine:

        async def main() -> int:
            async with running(engine) as trail:
                await trail.append(make_entry())
                pragma = Pragma(engine, bad)
                stored = await append_until_refused(trail, 5000)
                health = [trail.is_healthy]
                verified(engine)
                pragma.text = good
                await trail.append(make_entry())
                assert [*health, trail.is_healthy] == [False, True]
                return stored

        stored = asyncio.run(main())
        assert verified(engine).records == stored + 2


@contextlib.contextmanager
def small_disk(directory: Path, kilobytes: int) -> Iterator[Path]:
    disk = directory / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_down_and_recovers(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1500) as disk, opened(f"sqlite:///{disk}/service.db") as engine:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(400_000))

        async def main() -> int:
            async with running(engine) as trail:
                stored = await append_until_refused(trail, 20_000)
                assert stored > 3
                assert not await trail.ping() or trail.is_healthy
                ballast.unlink()
                await trail.append(make_entry())
                assert await trail.ping()
                return stored

        stored = asyncio.run(main())
        assert verified(engine).records == stored + 1


def test_a_read_only_disk_is_refused_at_start(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1500) as disk:
        with opened(f"sqlite:///{disk}/service.db"):
            pass
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for name in ("service.db", "other/service.db"):
            with pytest.raises(ServiceError, match="may write"):
                open_engine(f"sqlite:///{disk}/{name}", timeout=1)


def test_a_file_that_is_removed_is_down_and_one_put_back_recovers(tmp_path: Path) -> None:
    path = tmp_path / "state" / "service.db"
    with opened(f"sqlite:///{path}") as engine:

        async def main() -> None:
            async with running(engine) as trail:
                await trail.append(make_entry())
                with sqlite3.connect(path) as source, sqlite3.connect(tmp_path / "copy") as copy:
                    source.backup(copy)
                source.close()
                copy.close()
                await trail.append(make_entry())
                for name in ("service.db", "service.db-wal", "service.db-shm"):
                    (path.parent / name).unlink()
                for _ in range(3):
                    with pytest.raises(StoreDownError, match=r"removed|unable to open"):
                        await trail.append(make_entry())
                assert not await trail.ping()
                assert not path.exists()
                (tmp_path / "copy").rename(path)
                await trail.append(make_entry())

        asyncio.run(main())
        assert verified(engine).records == 2  # what the back-up had, and the new one


def test_a_postgresql_that_restarts_is_down_and_recovers() -> None:
    url = cluster().new_database()
    with opened(url, timeout=2) as engine:

        async def main() -> None:
            async with running(engine, timeout=2) as trail:
                await trail.append(make_entry())
                await asyncio.to_thread(cluster().stop)
                try:
                    with pytest.raises(StoreDownError):
                        await trail.append(make_entry())
                    assert not await trail.ping()
                    with pytest.raises(StoreDownError):
                        await trail.find("any")
                finally:
                    await asyncio.to_thread(cluster().start)
                await trail.append(make_entry())
                assert trail.is_healthy

        asyncio.run(main())
        assert verified(engine).records == 2


def test_a_commit_whose_answer_is_lost_leaves_one_chain(tmp_path: Path) -> None:
    """The connection ends at the commit: whether it was stored is open, the chain is not."""
    url = cluster().new_database()
    with opened(url) as engine, opened(url) as other:
        is_armed = [False]

        def terminate(_: object) -> None:
            if not is_armed[0]:
                return
            is_armed[0] = False
            with other.connect() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

        event.listen(engine, "commit", terminate)

        async def main() -> None:
            async with running(engine) as trail:
                await trail.append(make_entry())
                is_armed[0] = True
                with pytest.raises(StoreDownError):
                    await trail.append(make_entry())
                await trail.append(make_entry())

        asyncio.run(main())
        assert verified(engine).records == 2
