"""Opening and migrating: durable, private, one step at a time, and no secret in a message."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from tests.service.chains import STORES, new_url, opened

from ketacast_service.database import (
    NEWEST,
    check_schema,
    migrate,
    open_engine,
    place,
    reading,
    writing,
)
from ketacast_service.errors import ServiceError, StoreDownError
from ketacast_service.migrations.running import LOCATION
from ketacast_service.schema import METADATA


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_url(request.param, tmp_path)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    with opened(url) as found:
        yield found


def test_an_sqlite_file_is_private_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "a" / "state" / "service.db"
    with opened(f"sqlite:///{path}") as engine, writing(engine) as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 5000,
        "foreign_keys": 1,
    }
    assert files == dict.fromkeys(("service.db", "service.db-wal", "service.db-shm"), 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    path.touch(mode=0o640)
    path.chmod(0o640)
    with opened(f"sqlite:///{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


SECRET = "s3cret-word"  # noqa: S105


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "cannot be read"),
        (f"postgresql://user:{SECRET}@host:port/name", "cannot be read"),
        (f"mysql://user:{SECRET}@host/name", "'mysql'"),
        ("sqlite://", "no SQLite file"),
        ("sqlite:///:memory:", "no SQLite file"),
        ("sqlite:///file:x?mode=memory&uri=true", "no SQLite file"),
        ("sqlite:////dev/null/service.db", "cannot be made"),
        ("sqlite:////proc/service.db", "cannot be made"),
        (f"postgresql://user:{SECRET}@127.0.0.1:1/name", "postgresql://127.0.0.1:1/name"),
        (f"postgresql://u@127.0.0.1:1/name?password={SECRET}", "cannot be opened"),
        (f"postgresql://u@127.0.0.1:1/name?wrong={SECRET}", "cannot be opened"),
        (f"postgresql://no-such-host.invalid/name?password={SECRET}", "no-such-host"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_secret(url: str, words: str) -> None:
    with pytest.raises(ServiceError) as raised:
        open_engine(url, timeout=1)
    assert words in str(raised.value)
    chain: BaseException | None = raised.value
    while chain is not None:
        assert SECRET not in str(chain)
        chain = chain.__cause__


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    path.write_bytes(b"something else " * 1000)
    with pytest.raises(ServiceError, match="not a database"):
        open_engine(f"sqlite:///{path}", timeout=1)


def test_a_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ServiceError, match=r"pip install 'ketacast\[postgres\]'"):
        open_engine("postgresql://host/name", timeout=1)


def test_a_place_shows_no_secret(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/service.db") as engine:
        assert place(engine) == f"sqlite:///{tmp_path}/service.db"


def test_a_file_locked_while_starting_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("CREATE TABLE x (y)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ServiceError, match="locked"):
            open_engine(f"sqlite:///{path}", timeout=0.2)
    finally:
        other.close()


def test_refused_values_are_no_failure_of_the_store(engine: Engine) -> None:
    insert = "INSERT INTO audit_output (sha256, body) VALUES ('a', '')"
    with writing(engine) as connection:
        connection.exec_driver_sql(insert)
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.exec_driver_sql(insert)
    with pytest.raises(StoreDownError, match="does not take or give"), reading(engine) as found:
        found.exec_driver_sql("SELECT * FROM no_such_table")


def test_reading_sees_one_state(engine: Engine) -> None:
    count = "SELECT count(*) FROM audit_output"
    with reading(engine) as connection:
        assert connection.exec_driver_sql(count).scalar() == 0
        with writing(engine) as other:
            other.exec_driver_sql("INSERT INTO audit_output (sha256, body) VALUES ('a', '')")
        assert connection.exec_driver_sql(count).scalar() == 0
    with reading(engine) as connection:
        assert connection.exec_driver_sql(count).scalar() == 1


def test_the_migrations_make_the_tables_of_the_schema(engine: Engine) -> None:
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_the_newest_migration_is_the_one_named() -> None:
    config = Config()
    config.set_main_option("script_location", LOCATION)
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    migrate(engine)
    check_schema(engine)


def test_processes_may_migrate_at_once(url: str) -> None:
    code = (
        "import sys; from ketacast_service.database import *; "
        "engine = open_engine(sys.argv[1], timeout=20); migrate(engine); engine.dispose()"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    with opened(url) as engine, reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM audit_head").scalar() == 1


def test_a_newer_or_unknown_schema_is_refused(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for check in (migrate, check_schema):
        with pytest.raises(ServiceError, match="has schema 9999"):
            check(engine)


def test_a_database_without_a_schema_is_told(url: str) -> None:
    engine = open_engine(url, timeout=5)
    try:
        with pytest.raises(ServiceError, match="has schema none"):
            check_schema(engine)
    finally:
        engine.dispose()


def test_a_migration_that_fails_leaves_nothing(url: str) -> None:
    engine = open_engine(url, timeout=5)
    try:
        with writing(engine) as connection:
            connection.exec_driver_sql("CREATE TABLE api_key (id INTEGER)")  # another program's
        with pytest.raises(ServiceError, match="give an empty database"):
            migrate(engine)
        with pytest.raises(ServiceError, match="has schema none"):
            check_schema(engine)
        with pytest.raises(StoreDownError), reading(engine) as connection:
            connection.exec_driver_sql("SELECT * FROM audit_head")
    finally:
        engine.dispose()


def test_a_start_with_the_newest_schema_does_not_load_alembic(tmp_path: Path) -> None:
    url = new_url("sqlite", tmp_path)
    with opened(url):
        pass
    code = (
        "import sys; from ketacast_service.database import *; "
        "engine = open_engine(sys.argv[1], timeout=5); migrate(engine); engine.dispose(); "
        "sys.exit('alembic' in sys.modules or 'psycopg' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    subprocess.run([sys.executable, "-c", code, url], check=True, env=environment)
