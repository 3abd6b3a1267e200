"""Entries, engines, trails and a throw-away PostgreSQL for the tests of the audit trail."""

from __future__ import annotations

import atexit
import contextlib
import functools
import getpass
import itertools
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine

from ketacast_service.audit import AuditTrail, Entry
from ketacast_service.audit.verification import Report, verify_database
from ketacast_service.audit.writer import ChainWriter
from ketacast_service.database import migrate, open_engine
from ketacast_service.moments import new_id, utc_text

STORES = ("sqlite", "postgresql")


def new_url(kind: str, directory: Path) -> str:
    """A new database: a file there, or one of the test's own PostgreSQL server."""
    if kind == "sqlite":
        return f"sqlite:///{directory}/state/service.db"
    return cluster().new_database()


def make_entry(number: int = 0, **changes: Any) -> Entry:
    """An entry; five different outputs."""
    output = changes.pop("output", b'{"response":0.3%d}' % (number % 5))
    fields: dict[str, Any] = {
        "id": new_id(),
        "time": utc_text(),
        "kind": "prediction",
        "client": "key:ward",
        "model_sha256": "a" * 64,
        "request_id": new_id(),
        "input": b'{"failed_trials":%d,"infusions":6}' % number,
        "output_sha256": sha256(output).hexdigest(),
        "output": output,
    }
    return Entry(**(fields | changes))


def fill(engine: Engine, count: int, **changes: Any) -> list[Entry]:
    entries = [make_entry(number, **changes) for number in range(count)]
    ChainWriter(engine).write(entries)
    return entries


def verified(engine: Engine) -> Report:
    report = verify_database(engine)
    assert report.problem is None
    return report


@contextlib.contextmanager
def opened(url: str, timeout: float = 5.0) -> Iterator[Engine]:
    engine = open_engine(url, timeout=timeout)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def running(engine: Engine, **options: Any) -> AsyncIterator[AuditTrail]:
    trail = AuditTrail(engine, **({"timeout": 5.0} | options))
    trail.start()
    try:
        yield trail
    finally:
        await trail.close()


def postgresql_programs() -> Path | None:
    """Where initdb and pg_ctl are; distributions keep them off the path."""
    found = shutil.which("pg_ctl")
    if found and (programs := Path(found).resolve().parent).joinpath("initdb").exists():
        return programs
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


@dataclass
class Cluster:
    """A PostgreSQL server in a directory of its own, on a socket there."""

    programs: Path
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="keta-pg-")))
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def user(self) -> str:
        """The server refuses to run as root."""
        return "postgres" if os.geteuid() == 0 else getpass.getuser()

    def command(self, program: str, *arguments: str) -> list[str]:
        command = [str(self.programs / program), *arguments]
        return ["runuser", "-u", self.user, "--", *command] if os.geteuid() == 0 else command

    def run(self, program: str, *arguments: str) -> None:
        command = self.command(program, *arguments)
        log = self.directory / "commands.log"
        with log.open("ab") as out:
            subprocess.run(
                command, check=True, stdout=out, stderr=out, cwd=self.directory, timeout=60
            )

    def create(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.directory, self.user)
        data = str(self.directory / "data")
        self.run("initdb", "-D", data, "-U", "keta", "-A", "trust", "-N", "-E", "UTF8")
        self.start()

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.directory} -c fsync=off"
        log = str(self.directory / "server.log")
        data = str(self.directory / "data")
        self.run("pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.directory / "data"), "-m", "immediate", "-w", "stop")

    def watch(self) -> subprocess.Popen[bytes]:
        """Stop and remove the server when this process ends, however it ends."""
        data = str(self.directory / "data")
        stop = shlex.join(self.command("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"))
        script = f"cat; {stop}; rm -rf {shlex.quote(str(self.directory))}"
        return subprocess.Popen(
            ["sh", "-c", script],
            stdin=subprocess.PIPE,  # ends with this process
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def new_database(self) -> str:
        name = f"audit{next(self.numbers)}"
        server = f"host={self.directory} user=keta dbname=postgres"
        with contextlib.closing(psycopg.connect(server, autocommit=True)) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql://keta@/{name}?host={self.directory}"


@functools.cache
def cluster() -> Cluster:
    """One server for all tests of a process."""
    programs = postgresql_programs()
    if programs is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is missing; install the package postgresql")
        pytest.skip("PostgreSQL is not installed")
    made = Cluster(programs)
    watch = made.watch()
    atexit.register(watch.communicate)
    made.create()
    return made
