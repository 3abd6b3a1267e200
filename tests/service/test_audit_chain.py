"""The chain is what the documents say, and no change to it goes unseen."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from tests.service.chains import STORES, fill, make_entry, new_url, opened, verified

from ketacast_service.audit.chain import FIRST_HASH, record_hash
from ketacast_service.audit.maintenance import purge
from ketacast_service.audit.verification import verify_database
from ketacast_service.database import reading, writing
from ketacast_service.errors import ServiceError
from ketacast_service.moments import utc_text


@pytest.fixture(params=STORES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with opened(new_url(request.param, tmp_path)) as found:
        yield found


FIELDS = ("id", "time", "kind", "client", "model_sha256", "request_id")


@given(
    seq=st.integers(1, 2**62),
    texts=st.tuples(*[st.text(max_size=12)] * len(FIELDS)),
    body=st.binary(max_size=30),
)
def test_a_hash_is_that_of_compact_json(seq: int, texts: tuple[str, ...], body: bytes) -> None:
    named: dict[str, Any] = dict(zip(FIELDS, texts, strict=True))
    entry = make_entry(input=body, **named)
    fields = [FIRST_HASH, seq, *texts, sha256(body).hexdigest(), entry.output_sha256]
    text = json.dumps(fields, separators=(",", ":"))
    assert record_hash(FIRST_HASH, seq, entry) == sha256(text.encode()).hexdigest()


def test_an_empty_chain_is_intact(engine: Engine) -> None:
    report = verified(engine)
    assert (report.records, report.seq, report.hash) == (0, 0, FIRST_HASH)


def test_a_chain_is_intact_and_its_report_complete(engine: Engine) -> None:
    entries = fill(engine, 3) + fill(engine, 250)
    calls: list[tuple[int, int]] = []
    fill(engine, 1000)
    report = verify_database(engine, progress=lambda done, total: calls.append((done, total)))
    assert report.problem is None
    assert (report.records, report.seq) == (1253, 1253)
    assert report.first_time == entries[0].time
    assert calls == [(1000, 1253)]
    assert report.hash in str(report)


def test_a_head_noted_earlier_must_occur(engine: Engine) -> None:
    fill(engine, 3)
    noted = verified(engine).hash
    fill(engine, 2)
    assert verify_database(engine, head=noted).problem is None
    assert verify_database(engine, head=FIRST_HASH).problem is None  # the anchor
    problem = verify_database(engine, head="b" * 64).problem
    assert problem is not None
    assert "does not occur" in problem


def tamper(engine: Engine, *statements: str) -> None:
    """Change what the triggers protect, as an administrator could."""
    with writing(engine) as connection:
        if engine.dialect.name == "sqlite":
            for name in ("record_no_update", "record_no_delete", "output_no_update"):
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS audit_{name}")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in statements:
            connection.exec_driver_sql(statement)


REWRITE_END = (
    "DELETE FROM audit_record WHERE seq > 6",
    "UPDATE audit_head SET seq = 6, hash = (SELECT hash FROM audit_record WHERE seq = 6)",
)


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE audit_record SET client = 'x' WHERE seq = 4"], "record 4 "),
        (["UPDATE audit_record SET time = '2020-01-01' WHERE seq = 1"], "record 1 "),
        (["UPDATE audit_record SET hash = output_sha256 WHERE seq = 8"], "record 8 "),
        (["UPDATE audit_record SET input = request_id::bytea WHERE seq = 3"], "record 3 "),
        (["DELETE FROM audit_record WHERE seq = 5"], "record 5 is missing"),
        (["DELETE FROM audit_record WHERE seq = 8"], "ends with record 7"),
        (["DELETE FROM audit_record"], "ends with record 0"),
        (
            [
                "UPDATE audit_record SET seq = 99 WHERE seq = 3",
                "UPDATE audit_record SET seq = 3 WHERE seq = 4",
                "UPDATE audit_record SET seq = 4 WHERE seq = 99",
            ],
            "record 3 ",
        ),
        (["UPDATE audit_record SET seq = 12 WHERE seq = 8"], "record 8 is missing"),
        (["DELETE FROM audit_record WHERE seq < 3"], "record 1 is missing"),
        (
            [
                "DELETE FROM audit_record WHERE seq < 3",
                "UPDATE audit_head SET anchor_seq = 2",
                "UPDATE audit_head SET anchor_hash = (SELECT min(hash) FROM audit_record)",
            ],
            "record 3 ",
        ),
        (["UPDATE audit_output SET body = ''"], "output of record 1 "),
        (["DELETE FROM audit_output"], "output of record 1 "),
        (["UPDATE audit_head SET seq = 7"], "names record 7"),
        (["UPDATE audit_head SET hash = anchor_hash"], "names record 8"),
        (["UPDATE audit_head SET anchor_seq = 1"], "record 2 is missing"),
        (["UPDATE audit_head SET purges = 1"], "recorded purge"),
        (["DELETE FROM audit_head"], "head is missing"),
    ],
)
def test_changes_are_found_at_their_place(
    engine: Engine, statements: list[str], words: str
) -> None:
    fill(engine, 8)
    if engine.dialect.name == "sqlite":
        statements = [text.replace("::bytea", "") for text in statements]
    tamper(engine, *statements)
    problem = verify_database(engine).problem
    assert problem is not None
    assert words in problem


def test_an_inserted_record_is_found(engine: Engine) -> None:
    fill(engine, 8)
    columns = "id, time, kind, client, model_sha256, request_id, input, output_sha256, hash"
    copied = columns.replace("id,", "'other',", 1)
    tamper(
        engine,
        f"INSERT INTO audit_record (seq, {columns}) "  # noqa: S608
        f"SELECT 9, {copied} FROM audit_record WHERE seq = 8",
    )
    assert "record 9 " in str(verify_database(engine).problem)


def test_a_forged_record_beyond_the_head_is_found(engine: Engine) -> None:
    fill(engine, 8)
    with reading(engine) as connection:
        head = connection.exec_driver_sql("SELECT seq, hash FROM audit_head").one()
    fill(engine, 1)
    tamper(engine, f"UPDATE audit_head SET seq = {head.seq}, hash = '{head.hash}'")  # noqa: S608
    assert "ends with record 9" in str(verify_database(engine).problem)


def test_a_truncated_end_is_found_by_a_head_noted_earlier(engine: Engine) -> None:
    fill(engine, 8)
    noted = verified(engine).hash
    tamper(engine, *REWRITE_END)
    assert verify_database(engine).problem is None  # nothing within the database can tell
    assert "does not occur" in str(verify_database(engine, head=noted).problem)


def test_a_beginning_removed_without_a_purge_is_found(engine: Engine) -> None:
    fill(engine, 8)
    with reading(engine) as connection:
        anchor = connection.exec_driver_sql("SELECT hash FROM audit_record WHERE seq = 3").scalar()
    tamper(
        engine,
        "DELETE FROM audit_record WHERE seq <= 3",
        f"UPDATE audit_head SET anchor_seq = 3, anchor_hash = '{anchor}', purges = 1",  # noqa: S608
    )
    assert "begins after record 3" in str(verify_database(engine).problem)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_record SET client = 'x'",
        "DELETE FROM audit_record WHERE seq = 1",
        "DELETE FROM audit_record",
        "UPDATE audit_output SET body = ''",
    ],
)
def test_the_database_refuses_changes(engine: Engine, statement: str) -> None:
    fill(engine, 3)
    with pytest.raises((ServiceError, DBAPIError)), writing(engine) as connection:
        connection.exec_driver_sql(statement)
    verified(engine)


@pytest.fixture(scope="module")
def purged_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain with an anchor, purge records and shared outputs, without its triggers."""
    path = tmp_path_factory.mktemp("tamper") / "service.db"
    with opened(f"sqlite:///{path}") as engine:
        fill(engine, 4, client="key:früh")
        purge(engine, utc_text())
        fill(engine, 4, kind="batch", input=b'{"a":1}\n\x00\xff')
        verified(engine)
        tamper(engine)
    return path


@pytest.fixture(scope="module")
def raw(purged_file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(purged_file, isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def purged_engine(purged_file: Path) -> Iterator[Engine]:
    with opened(f"sqlite:///{purged_file}") as engine:
        yield engine


TABLES: dict[str, tuple[str, ...]] = {
    "audit_record": ("seq", *FIELDS, "input", "output_sha256", "hash"),
    "audit_output": ("sha256", "body"),
    "audit_head": ("seq", "hash", "anchor_seq", "anchor_hash", "purges"),
}


def flipped(value: Any, bit: int) -> Any:
    if isinstance(value, int):
        return value ^ 1 << bit % 62
    raw = bytearray(value)
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    return bytes(raw)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_every_flipped_bit_is_found(
    raw: sqlite3.Connection, purged_engine: Engine, data: st.DataObject
) -> None:
    table = data.draw(st.sampled_from(sorted(TABLES)))
    column = data.draw(st.sampled_from(TABLES[table]))
    rows = raw.execute(
        f"SELECT rowid, typeof({column}), "  # noqa: S608
        f"CASE typeof({column}) WHEN 'integer' THEN {column} ELSE CAST({column} AS BLOB) END "
        f"FROM {table}"
    ).fetchall()
    rowid, kind, value = data.draw(st.sampled_from(rows))
    assume(value != b"")
    bit = data.draw(st.integers(0, 8 * len(value) - 1 if isinstance(value, bytes) else 61))
    place = "?" if kind == "integer" else f"CAST(? AS {kind})"
    update = f"UPDATE {table} SET {column} = {place} WHERE rowid = ?"  # noqa: S608
    try:
        raw.execute(update, (flipped(value, bit), rowid))
    except sqlite3.IntegrityError:  # a key of another row
        assume(False)
    moved = flipped(value, bit) if (table, column) == ("audit_record", "seq") else rowid
    try:
        assert verify_database(purged_engine).problem is not None
    finally:
        raw.execute(update, (value, moved))
    assert verify_database(purged_engine).problem is None


def test_values_of_another_type_are_found(raw: sqlite3.Connection, purged_engine: Engine) -> None:
    seq, before = raw.execute("SELECT max(seq), input FROM audit_record").fetchone()
    raw.execute("UPDATE audit_record SET input = 'text' WHERE seq = ?", (seq,))
    try:
        assert "another type" in str(verify_database(purged_engine).problem)
    finally:
        raw.execute("UPDATE audit_record SET input = ? WHERE seq = ?", (before, seq))


def test_a_damaged_file_is_broken_not_down(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    with opened(f"sqlite:///{path}") as engine:
        fill(engine, 500)
    content = bytearray(path.read_bytes())
    size = 4096
    for page in range(32, len(content) // size):  # the first ones hold the schema
        content[page * size : page * size + 64] = b"\xff" * 64
    path.write_bytes(content)
    with opened(f"sqlite:///{path}") as engine:
        assert verify_database(engine).problem is not None
