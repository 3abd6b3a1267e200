"""Recompute the chain from its beginning to its end and say where it first breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final, TextIO

from sqlalchemy import Connection, Engine, select

from ketacast_service.audit import store
from ketacast_service.audit.chain import FIRST_HASH, Record, record_hash
from ketacast_service.audit.exporting import read_line
from ketacast_service.database import reading
from ketacast_service.errors import ServiceError, StoreDownError
from ketacast_service.schema import audit_output

Progress = Callable[[int, int], None]
"""Told now and then how many records are checked, and of how many (0 if not known)."""

PURGE_KIND: Final = "purge"
_MOST_ALTERED: Final = 10_000
"""Altered outputs that are remembered; the first record that has one is what is looked for."""
_STEP: Final = 1000
_DAMAGED: Final = ("malformed", "not a database", "corrupt")


@dataclass(frozen=True, slots=True)
class Report:
    """What a check of the chain has found.

    Attributes
    ----------
    records : int
        Intact records, up to the first break.
    first_time, last_time : str or None
        Of these.
    seq, hash : int, str
        The last intact record, or the anchor if there is none.
    problem : str or None
        Where and how the chain breaks first; None if it is intact.
    """

    records: int
    first_time: str | None
    last_time: str | None
    seq: int
    hash: str
    problem: str | None

    def __str__(self) -> str:
        state = "intact" if self.problem is None else f"BROKEN: {self.problem}"
        times = f", {self.first_time} to {self.last_time}" if self.records else ""
        return (
            f"{state}\n{self.records} records intact{times}\nhead: {self.hash} (record {self.seq})"
        )


class _Chain:
    """Follows records one by one from the anchor."""

    def __init__(self, seq: int, last_hash: str, wanted: str | None) -> None:
        self.seq = seq
        self.hash = last_hash
        self.records = 0
        self.first_time: str | None = None
        self.last_time: str | None = None
        self.wanted = wanted
        self.is_wanted_found = wanted in (None, last_hash)
        self.last_purge: Record | None = None

    def problem_with(self, record: Record) -> str | None:
        """Take the next record, or say why it cannot be the next."""
        place = f"record {record.seq} (id {record.id!r})"
        if record.seq != self.seq + 1:
            return f"record {self.seq + 1} is missing; the next one is {place}"
        try:
            found = record_hash(self.hash, record.seq, record)
        except (TypeError, ValueError):
            return f"{place} holds a value of another type"
        if found != record.hash:
            return f"{place} or its link to record {self.seq} was changed"
        if record.output is None:
            return f"the output of {place} is missing"
        return None

    def take(self, record: Record) -> None:
        """Go on to a record that was found intact."""
        self.seq, self.hash = record.seq, record.hash
        self.records += 1
        self.first_time = self.first_time or record.time
        self.last_time = record.time
        self.is_wanted_found = self.is_wanted_found or record.hash == self.wanted
        if record.kind == PURGE_KIND:
            self.last_purge = record

    def report(self, problem: str | None) -> Report:
        """Say what was found; a head noted earlier must have been met."""
        if problem is None and not self.is_wanted_found:
            problem = (
                f"the head noted earlier, {self.wanted}, does not occur: records at the end were "
                "removed or rewritten since, or it was purged"
            )
        return Report(self.records, self.first_time, self.last_time, self.seq, self.hash, problem)


def verify_database(
    engine: Engine, *, head: str | None = None, progress: Progress | None = None
) -> Report:
    """Check every record, every output and the head, in one state of the database.

    Parameters
    ----------
    engine : Engine
        Of the database.
    head : str, optional
        Hash noted elsewhere at an earlier check: it must occur.
    progress : callable, optional
        Told of progress.

    Raises
    ------
    StoreDownError
        If the database does not answer.
    """
    try:
        with reading(engine) as connection:
            return _verify(connection, head, progress)
    except StoreDownError as error:
        if not any(word in str(error.__cause__) for word in _DAMAGED):
            raise
        return Report(0, None, None, 0, FIRST_HASH, f"the database is damaged: {error.__cause__}")


def _verify(connection: Connection, wanted: str | None, progress: Progress | None) -> Report:
    head = store.read_head(connection)
    if head is None:
        return Report(0, None, None, 0, FIRST_HASH, "the head is missing (table audit_head)")
    altered = _altered_outputs(connection)
    chain = _Chain(head.anchor_seq, head.anchor_hash, wanted)
    with closing(store.records(connection)) as records:
        for record in records:
            problem = chain.problem_with(record)
            if problem is None and record.output_sha256 in altered:
                problem = f"the output of record {record.seq} (id {record.id!r}) was changed"
            if problem is not None:
                return chain.report(problem)
            chain.take(record)
            if progress is not None and chain.records % _STEP == 0:
                progress(chain.records, head.seq - head.anchor_seq)
    return chain.report(_end_problem(chain, head, altered))


def _altered_outputs(connection: Connection) -> set[str]:
    query = select(audit_output.c.sha256, audit_output.c.body)
    with closing(store.stream(connection, query)) as outputs:
        altered = (
            digest
            for digest, body in outputs
            if not isinstance(body, bytes) or sha256(body).hexdigest() != digest
        )
        return set(islice(altered, _MOST_ALTERED))


def _end_problem(chain: _Chain, head: store.Head, altered: set[str]) -> str | None:
    if (chain.seq, chain.hash) != (head.seq, head.hash):
        return (
            f"the chain ends with record {chain.seq}, but the head names record {head.seq} "
            f"with hash {head.hash}: records at the end, or the head, were changed"
        )
    if altered:
        return f"an output that no record refers to was changed: {min(altered)!r}"
    return _anchor_problem(chain, head)


def _anchor_problem(chain: _Chain, head: store.Head) -> str | None:
    """Compare the head with the last purge, which has recorded where the kept part begins."""
    recorded = (0, FIRST_HASH, 0)
    if chain.last_purge is not None:
        said = json.loads(chain.last_purge.input)
        recorded = (said["up_to_seq"], said["up_to_hash"], said["purges"])
    if recorded == (head.anchor_seq, head.anchor_hash, head.purges):
        return None
    return (
        f"the chain begins after record {head.anchor_seq}, but the last recorded purge goes up "
        f"to record {recorded[0]}: records at the beginning, or the head, were changed"
    )


def verify_export(
    lines: TextIO,
    *,
    head: str | None = None,
    filtered: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Check an export without the database.

    Parameters
    ----------
    lines : text file
        As ``ketacast-service audit export`` writes it.
    head : str, optional
        Hash that must occur.
    filtered : bool
        Whether records may be missing in between, as in an export of one client.
    progress : callable, optional
        Told of progress.
    """
    chain: _Chain | None = None
    for number, line in enumerate(lines, 1):
        try:
            previous, record = read_line(line)
        except ServiceError as error:
            problem: str | None = f"line {number}: {error}"
            chain = chain or _Chain(0, FIRST_HASH, head)
            return chain.report(problem)
        if chain is None:
            chain = _Chain(record.seq - 1, previous, head)
        if filtered and record.seq > chain.seq + 1:
            chain.seq, chain.hash = record.seq - 1, previous
        problem = chain.problem_with(record)
        if problem is None and previous != chain.hash:
            problem = f"its prev_hash is not that of record {chain.seq}"
        if problem is not None:
            return chain.report(f"line {number}: {problem}")
        chain.take(record)
        if progress is not None and number % _STEP == 0:
            progress(number, 0)
    return (chain or _Chain(0, FIRST_HASH, head)).report(None)
