"""The database: SQLite in one file, or PostgreSQL by URL; transactions and migrations.

Nothing here shows a URL's user, password or query.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ketacast_service.errors import ServiceError, StoreDownError

NEWEST: Final = "0003"
"""Revision of the newest migration; a test compares it with the migrations."""

_WRITING: Final = "ketacast_writing"
_FILE: Final = "ketacast_file"
_ONE_STATE: Final = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_RETRY_SECONDS: Final = 0.02
_TURN_SECONDS: Final = 0.0005
_JOURNAL_BYTES: Final = 64 << 20
"""A write-ahead log that grew during a long read is cut back to this."""
_MIGRATION_LOCK: Final = 0x6B657461
"""Key of PostgreSQL's advisory lock ("keta"): one process migrates at a time."""
_REMEDY: Final = (
    "check that the database runs, has disk space and may be written, "
    "and that no other program holds it locked"
)
_FORMS: Final = "sqlite:////path/to/service.db or postgresql://user:password@host:5432/name"


def open_engine(url: str, *, timeout: float, create: bool = True) -> Engine:
    """Open the database and make sure that it answers.

    Parameters
    ----------
    url : str
        ``sqlite:////path/to/file`` or ``postgresql://user:password@host:port/name``.
    timeout : float
        Longest wait for a lock, a free connection or a connection's start, in seconds.
    create : bool
        Whether to make an SQLite file (mode 0600, its directory 0700) that is missing.

    Raises
    ------
    ServiceError
        If the URL cannot be used, its driver is missing, or the database does not answer.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        path = _sqlite_file(parsed, create=create)
        engine = _sqlite_engine(path, timeout)
    else:
        engine = _postgresql_engine(parsed, timeout)
    try:
        _connect_once(engine, timeout)
    except BaseException:
        engine.dispose()
        raise
    return engine


def place(engine: Engine) -> str:
    """Return where the database is, without user, password and query."""
    return _place(engine.url)


def directory_of(engine: Engine) -> Path | None:
    """Return the directory of an SQLite file; None of another database."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return None
    return Path(engine.url.database).absolute().parent


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection in a transaction that reads one state of the database.

    Raises
    ------
    StoreDownError
        If the database does not answer.
    """
    options = _ONE_STATE if engine.dialect.name == "postgresql" else {}
    with (
        _store_errors(engine),
        engine.connect().execution_options(**options) as connection,
        connection.begin(),
    ):
        yield connection


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give a connection in a transaction that may write; on SQLite the only one that may.

    It is durable when the block has ended without an error.

    Raises
    ------
    StoreDownError
        If the database does not answer or stays locked beyond its timeout.
    """
    with (
        _store_errors(engine),
        engine.connect().execution_options(**{_WRITING: True}) as connection,
        connection.begin(),
    ):
        yield connection


@contextlib.contextmanager
def driver_cursor(connection: Connection) -> Iterator[DBAPICursor]:
    """Give the driver's own cursor, within the connection's transaction."""
    cursor = connection.connection.cursor()
    try:
        yield cursor
    finally:
        cursor.close()


def migrate(engine: Engine) -> None:
    """Bring the database to the newest schema; safe when several processes do so at once.

    Raises
    ------
    ServiceError
        If the schema is newer than this ketacast knows, or cannot be brought up.
    StoreDownError
        If the database does not answer.
    """
    if _revision(engine) == NEWEST:
        return
    from ketacast_service.migrations.running import upgrade  # noqa: PLC0415  # Alembic is slow

    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        upgrade(connection, place(engine))


def check_schema(engine: Engine) -> None:
    """Refuse a database whose schema is not the newest; nothing is changed.

    Raises
    ------
    ServiceError
        If the schema is older, newer or missing.
    """
    found = _revision(engine)
    if found != NEWEST:
        raise ServiceError(
            f"{_place(engine.url)} has schema {found or 'none'}, this ketacast uses {NEWEST}; "
            "start this version of the service once to bring an older schema up, or update "
            "ketacast for a newer one"
        )


@contextlib.contextmanager
def _store_errors(engine: Engine) -> Iterator[None]:
    """Turn failures of the database into `StoreDownError`; refused values stay what they are."""
    driver: Any = engine.dialect.loaded_dbapi
    try:
        yield
    except (IntegrityError, DataError, driver.IntegrityError, driver.DataError):
        raise
    except (DBAPIError, PoolTimeoutError, driver.Error) as error:
        raise StoreDownError(
            f"the database does not take or give records now: {_reason(error)}; {_REMEDY}"
        ) from error


def _revision(engine: Engine) -> str | None:
    with reading(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return None if found is None else str(found)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # their texts can show the password
        raise ServiceError(f"the database URL cannot be read; give {_FORMS}") from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return parsed
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise ServiceError(f"the database URL begins with {parsed.drivername!r}; give {_FORMS}")


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    return f"postgresql://{url.host or ''}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _reason(error: Exception) -> str:
    """First line of the driver's own message, without statement and values."""
    origin = error.orig if isinstance(error, DBAPIError) and error.orig else error
    lines = str(origin).splitlines()
    return lines[0] if lines else origin.__class__.__name__


def _sqlite_file(url: URL, *, create: bool) -> Path:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ServiceError(
            "the database URL names no SQLite file, but records must outlive the process; "
            "give sqlite:////path/to/service.db"
        )
    path = Path(url.database).absolute()
    if not create and not path.is_file():
        raise ServiceError(f"there is no database at {path}; correct KETACAST_DATABASE_URL")
    try:
        if create:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite gives its own files beside this one the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ServiceError(
            f"the database {path} cannot be made or written ({error.strerror}); give a directory "
            "that the service may write, by KETACAST_DATABASE_URL=sqlite:////path/to/service.db"
        ) from error
    return path


def _sqlite_engine(path: Path, timeout: float) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw",  # never makes a new file where one was removed
            uri=True,
            timeout=timeout,
            check_same_thread=False,  # the pool hands a connection to one thread at a time
            isolation_level=None,  # transactions begin where `begin` says
        )

    engine = create_engine(
        URL.create("sqlite", database=str(path)), creator=connect, pool_timeout=timeout
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: Any) -> None:
        """Make commits durable and remember which file this is."""
        _prepare_sqlite(connection)
        record.info[_FILE] = _identity(path)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        """Wait for the lock first: a transaction that has read could not wait any more."""
        if not connection.get_execution_options().get(_WRITING):
            connection.exec_driver_sql("BEGIN")
            return
        if connection.info[_FILE] != _identity(path):  # what is written would be lost
            connection.invalidate()
            raise sqlite3.OperationalError(f"the file {path} was removed or replaced")
        _begin_writing(connection, timeout)

    return engine


def _begin_writing(connection: Connection, timeout: float) -> None:
    """Wait for the write lock by asking often.

    SQLite's own waiting sleeps ever longer, up to 100 milliseconds, while other workers
    take their turns of one or two.
    """
    driver: Any = connection.connection.dbapi_connection
    end = time.monotonic() + timeout
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
            else:
                return
            time.sleep(_TURN_SECONDS)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {round(1000 * timeout)}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  # on the hot path
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: sqlite3.Connection) -> None:
    # A damaged text must reach the check of the chain instead of failing to be read.
    connection.text_factory = _lenient_text
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise sqlite3.OperationalError(f"write-ahead log refused (journal mode {mode})")
    connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES}")


def _lenient_text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _postgresql_engine(url: URL, timeout: float) -> Engine:
    whole = max(2, round(timeout))  # libpq takes whole seconds, at least two
    given: dict[str, Any] = {
        "connect_timeout": whole,
        "keepalives_idle": whole,
        "keepalives_interval": 1,
        "keepalives_count": whole,
        "tcp_user_timeout": round(timeout * 1000),
        "application_name": "ketacast",
    }
    try:
        engine = create_engine(
            url,
            connect_args={key: value for key, value in given.items() if key not in url.query},
            pool_pre_ping=True,
            pool_timeout=timeout,
        )
    except (ImportError, NoSuchModuleError) as error:
        raise ServiceError(
            "PostgreSQL needs the driver psycopg; install it with pip install 'ketacast[postgres]'"
        ) from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        """Bound the waits for locks; a commit is on the disk when it returns."""
        connection.execute(f"SET lock_timeout = {round(timeout * 1000)}")
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.commit()

    return engine


def _connect_once(engine: Engine, timeout: float) -> None:
    """Connect; SQLite does not wait for the lock when it switches a new file to its log."""
    end = time.monotonic() + timeout
    while True:
        try:
            with engine.connect():
                return
        except (SQLAlchemyError, sqlite3.Error) as error:
            reason = _reason(error)
            if "locked" not in reason or time.monotonic() > end:
                raise ServiceError(
                    f"the database {_place(engine.url)} cannot be opened: {reason}; {_REMEDY}"
                ) from None
        time.sleep(_RETRY_SECONDS)
