"""Read and extend the stored chain; every statement of the audit trail but a purge's."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, case, func, literal, null, select
from sqlalchemy.engine.interfaces import DBAPICursor

from ketacast_service.audit.chain import Entry, Record, record_hash
from ketacast_service.errors import ServiceError
from ketacast_service.schema import audit_head, audit_output, audit_record

_RECORD_COLUMNS: Final = tuple(column.name for column in audit_record.columns)
_COPY_TYPES: Final = ("int8", *["varchar"] * 6, "bytea", "varchar", "varchar")
_ROWS: Final = 100
"""Fetched at a time: an input may be megabytes long."""


def _stored(output: ColumnElement[Any]) -> Select[*tuple[Any, ...]]:
    """Select the columns of `Record`, with that column as its output."""
    *columns, digest = audit_record.columns
    joined = audit_record.c.output_sha256 == audit_output.c.sha256
    return select(*columns, output, digest).join_from(
        audit_record, audit_output, joined, isouter=True
    )


_STORED: Final = _stored(audit_output.c.body)


@dataclass(frozen=True, slots=True)
class Head:
    """Where the chain ends and where what is kept of it begins.

    Attributes
    ----------
    seq, hash : int, str
        Of the last record.
    anchor_seq, anchor_hash : int, str
        Of the record before the oldest that is kept.
    purges : int
        Transactions that have removed records or outputs.
    """

    seq: int
    hash: str
    anchor_seq: int
    anchor_hash: str
    purges: int


class Statements:
    """The hot path's statements, for the driver's own cursor: SQLAlchemy's would cost twice.

    In groups of 25, a record takes 12 microseconds of CPU on SQLite this way and 14 by
    `Connection.exec_driver_sql`; on PostgreSQL COPY takes 17 and INSERT 27.
    """

    def __init__(self, dialect: str) -> None:
        self._is_sqlite = dialect == "sqlite"
        mark = "?" if self._is_sqlite else "%s"
        columns = ", ".join(_RECORD_COLUMNS)
        marks = ", ".join("?" * len(_RECORD_COLUMNS))
        self.lock = "SELECT seq, hash, anchor_seq, anchor_hash, purges FROM audit_head"
        if not self._is_sqlite:  # which holds the write lock already (BEGIN IMMEDIATE)
            self.lock += " FOR UPDATE"
        self._insert = f"INSERT INTO audit_record ({columns}) VALUES ({marks})"  # noqa: S608
        self._copy = f"COPY audit_record ({columns}) FROM STDIN (FORMAT BINARY)"
        self.add_outputs = (
            f"INSERT INTO audit_output (sha256, body) VALUES ({mark}, {mark}) "  # noqa: S608
            "ON CONFLICT DO NOTHING"
        )
        self.move_head = f"UPDATE audit_head SET seq = {mark}, hash = {mark}"  # noqa: S608
        # SQLite writes no page when a value stays the same, so one value must change.
        self.touch = "UPDATE audit_head SET probes = probes + 1"

    def add_rows(self, cursor: Any, rows: Sequence[tuple[object, ...]]) -> None:
        """Add rows of audit_record."""
        if self._is_sqlite:
            cursor.executemany(self._insert, rows)
            return
        with cursor.copy(self._copy) as copy:
            copy.set_types(_COPY_TYPES)
            for row in rows:
                copy.write_row(row)


def lock_head(cursor: DBAPICursor, statements: Statements) -> Head:
    """Wait for this process's turn to write and return where the chain ends.

    Raises
    ------
    ServiceError
        If the head's row is missing.
    """
    cursor.execute(statements.lock)
    row = cursor.fetchone()
    if row is None:
        raise ServiceError(
            "the audit trail has lost its head (table audit_head is empty); "
            "restore the database from a back-up"
        )
    return Head(*row)


def add(
    cursor: DBAPICursor, statements: Statements, head: Head, entries: Sequence[Entry]
) -> tuple[int, str]:
    """Add records after the locked head and move it; return the new end."""
    seq, last = head.seq, head.hash
    rows = []
    for entry in entries:
        seq += 1
        last = record_hash(last, seq, entry)
        rows.append(
            (
                seq,
                entry.id,
                entry.time,
                entry.kind,
                entry.client,
                entry.model_sha256,
                entry.request_id,
                entry.input,
                entry.output_sha256,
                last,
            )
        )
    statements.add_rows(cursor, rows)
    cursor.execute(statements.move_head, (seq, last))
    return seq, last


def add_outputs(
    cursor: DBAPICursor, statements: Statements, outputs: Sequence[tuple[str, bytes]]
) -> None:
    """Store outputs that may be new.

    Raises
    ------
    ServiceError
        If a digest is not that of its output.
    """
    for digest, body in outputs:
        if sha256(body).hexdigest() != digest:
            raise ServiceError(
                f"an output's sha256 is given as {digest!r}, which it does not have; "
                "give the digest of the bytes sent"
            )
    cursor.executemany(statements.add_outputs, list(outputs))


def read_head(connection: Connection) -> Head | None:
    """Return the head without a lock; None if its row is missing."""
    head = audit_head.c
    row = connection.execute(
        select(head.seq, head.hash, head.anchor_seq, head.anchor_hash, head.purges)
    ).one_or_none()
    return None if row is None else Head(*row)


def find(connection: Connection, record_id: str) -> Record | None:
    """Return the record with that identifier."""
    row = connection.execute(_STORED.where(audit_record.c.id == record_id)).one_or_none()
    return None if row is None else Record(*row)


def records(connection: Connection) -> Generator[Record, None, None]:
    """Yield all records in the chain's order; close it if it is left early.

    An `output` is empty if it is there, for the same one may belong to many records.
    """
    there = case((audit_output.c.sha256.is_not(None), literal(b"")), else_=null())
    with closing(stream(connection, _stored(there).order_by(audit_record.c.seq))) as rows:
        for row in rows:
            yield Record(*row)


def linked_records(
    connection: Connection, conditions: Sequence[ColumnElement[bool]]
) -> Generator[tuple[str, Record], None, None]:
    """Yield some records in the chain's order, each with the hash of the one before it.

    Close it if it is left early.
    """
    before = audit_record.alias()
    query = (
        _STORED.add_columns(func.coalesce(before.c.hash, audit_head.c.anchor_hash))
        .join(before, before.c.seq == audit_record.c.seq - 1, isouter=True)
        .join(audit_head, audit_head.c.one == 1)
        .where(*conditions)
        .order_by(audit_record.c.seq)
    )
    with closing(stream(connection, query)) as rows:
        for row in rows:
            yield row[-1], Record(*row[:-1])


def stream(connection: Connection, query: Any) -> Generator[Any, None, None]:
    """Yield a query's rows, few in memory at a time; close it if it is left early."""
    with connection.execution_options(yield_per=_ROWS).execute(query) as result:
        yield from result
