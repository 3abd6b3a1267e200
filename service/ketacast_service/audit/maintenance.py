"""Remove old records from the beginning of the chain; what is kept stays verifiable."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, except_, func, select, update

from ketacast_service.audit import store
from ketacast_service.audit.chain import Entry
from ketacast_service.audit.verification import PURGE_KIND
from ketacast_service.database import driver_cursor, reading, writing
from ketacast_service.errors import ServiceError
from ketacast_service.moments import new_id, utc_text
from ketacast_service.schema import audit_head, audit_output, audit_record

OPERATOR: Final = "operator"
_FEWEST, _MOST = 500, 50_000
_SECONDS: Final = 0.25
"""Aimed at for one transaction, in which no answer can be recorded."""
_ROUND: Final = 100_000
"""Outputs looked for at a time, to bound memory."""
_DELETED_AT_ONCE: Final = 500
"""Values in one statement; SQLite takes at least 999."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge has removed."""

    records: int
    outputs: int


def count_older(engine: Engine, before: str) -> int:
    """Return how many records `purge` would remove.

    Raises
    ------
    ServiceError
        If `before` lies in the future.
    StoreDownError
        If the database does not answer.
    """
    _check_past(before)
    with reading(engine) as connection:
        head = _head(connection)
        column = audit_record.c
        first_kept = connection.scalar(select(func.min(column.seq)).where(column.time >= before))
        return int(head.seq if first_kept is None else first_kept - 1) - head.anchor_seq


def purge(engine: Engine, before: str) -> Purged:
    """Remove the longest beginning of the chain that is older than `before`.

    It goes on in short transactions, so that records can be added in between. Each writes a
    record of kind ``purge`` that says what it removed and where the kept part begins.

    Parameters
    ----------
    engine : Engine
        Of the database.
    before : str
        UTC as records have it, not in the future.

    Raises
    ------
    ServiceError
        If `before` lies in the future.
    StoreDownError
        If the database does not answer; what was removed until then is recorded.
    """
    _check_past(before)
    with reading(engine) as connection:
        last = _head(connection).seq  # never the records of this purge
    pace = _Pace()
    removed = 0
    while step := _remove_records(engine, before, last, pace.size):
        removed += step
        pace.rest()
    outputs = _remove_outputs(engine, before) if removed else 0
    return Purged(removed, outputs)


def purge_expired(engine: Engine, days: int) -> int:
    """Remove records older than so many days and return their number.

    Raises
    ------
    StoreDownError
        If the database does not answer.
    """
    return purge(engine, utc_text(datetime.now(UTC) - timedelta(days=days))).records


class _Pace:
    """Sizes steps by how long they take and lets writers in between."""

    def __init__(self) -> None:
        self.size = _FEWEST
        self._began = time.monotonic()

    def rest(self) -> None:
        """Wait as long as the step took."""
        took = time.monotonic() - self._began
        factor = 2 if took < _SECONDS / 2 else 0.5 if took > _SECONDS else 1
        self.size = round(min(max(self.size * factor, _FEWEST), _MOST))
        time.sleep(took)
        self._began = time.monotonic()


def _check_past(before: str) -> None:
    now = utc_text()
    if before > now:
        raise ServiceError(f"cannot purge up to {before}, it is {now} now; give a time in the past")


def _head(connection: Connection) -> store.Head:
    head = store.read_head(connection)
    if head is None:
        raise ServiceError("the audit trail has lost its head; restore it from a back-up")
    return head


def _remove_records(engine: Engine, before: str, last: int, most: int) -> int:
    """Remove up to `most` records from the beginning; return how many."""
    column = audit_record.c
    with writing(engine) as connection:
        statements, head = _lock(connection)
        rows = connection.execute(
            select(column.seq, column.time, column.hash)
            .where(column.seq > head.anchor_seq, column.seq <= last)
            .order_by(column.seq)
            .limit(most)
        ).all()
        older = list(_older(rows, before))
        if not older:
            return 0
        up_to, _, up_to_hash = older[-1]
        # First the anchor: a trigger refuses to remove what lies behind it.
        connection.execute(update(audit_head).values(anchor_seq=up_to, anchor_hash=up_to_hash))
        connection.execute(delete(audit_record).where(column.seq <= up_to))
        said = {"records": len(older), "outputs": 0, "up_to_seq": up_to, "up_to_hash": up_to_hash}
        _note(connection, statements, head, before, said)
        return len(older)


def _older(rows: Sequence[Any], before: str) -> Iterator[Any]:
    for row in rows:
        if row.time >= before:
            return
        yield row


def _remove_outputs(engine: Engine, before: str) -> int:
    """Remove the outputs that no record refers to; return how many."""
    removed, is_more = 0, True
    while is_more:
        with reading(engine) as connection:
            seen = _head(connection).seq
            query = except_(select(audit_output.c.sha256), select(audit_record.c.output_sha256))
            with closing(store.stream(connection, query)) as rows:
                orphans = [row[0] for row in islice(rows, _ROUND)]
        is_more = len(orphans) == _ROUND
        pace = _Pace()
        while orphans:
            part, orphans = orphans[: pace.size], orphans[pace.size :]
            removed += _remove_some_outputs(engine, before, part, seen)
            pace.rest()
    return removed


def _remove_some_outputs(engine: Engine, before: str, orphans: list[str], seen: int) -> int:
    """Remove those of the outputs that no record after `seen` refers to either."""
    with writing(engine) as connection:
        statements, head = _lock(connection)
        column = audit_record.c
        later = connection.scalars(select(column.output_sha256).where(column.seq > seen))
        unused = sorted(set(orphans).difference(later))
        removed = 0
        for start in range(0, len(unused), _DELETED_AT_ONCE):
            some = unused[start : start + _DELETED_AT_ONCE]
            query = delete(audit_output).where(audit_output.c.sha256.in_(some))
            removed += connection.execute(query).rowcount
        if removed:  # another process can have been faster
            said = {
                "records": 0,
                "outputs": removed,
                "up_to_seq": head.anchor_seq,
                "up_to_hash": head.anchor_hash,
            }
            _note(connection, statements, head, before, said)
        return removed


def _lock(connection: Connection) -> tuple[store.Statements, store.Head]:
    statements = store.Statements(connection.dialect.name)
    with driver_cursor(connection) as cursor:
        return statements, store.lock_head(cursor, statements)


def _note(
    connection: Connection,
    statements: store.Statements,
    head: store.Head,
    before: str,
    said: dict[str, object],
) -> None:
    """Record a step and tell the writers that outputs they know of may be gone."""
    purges = head.purges + 1
    connection.execute(update(audit_head).values(purges=purges))
    output = b'{"purged":true}'
    body = json.dumps({"before": before, **said, "purges": purges}, separators=(",", ":"))
    entry = Entry(
        id=new_id(),
        time=utc_text(),
        kind=PURGE_KIND,
        client=OPERATOR,
        model_sha256="",
        request_id="",
        input=body.encode("utf-8"),
        output_sha256=sha256(output).hexdigest(),
        output=output,
    )
    with driver_cursor(connection) as cursor:
        store.add_outputs(cursor, statements, [(entry.output_sha256, output)])
        store.add(cursor, statements, head, [entry])
