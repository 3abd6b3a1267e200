"""``ketacast-service audit``: verify, export, purge, as an operator calls them."""

from __future__ import annotations

import base64
import io
import json
import re
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.service.chains import STORES, fill, new_url, opened, verified

from ketacast_service.audit.chain import FIRST_HASH, Record
from ketacast_service.audit.exporting import read_line, write_line
from ketacast_service.audit.verification import verify_export
from ketacast_service.cli import main
from ketacast_service.database import writing
from ketacast_service.moments import utc_text

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "audit.md"
CONTENTS = {
    "compact": b'{"failed_trials":6,"scale":"\xc3\xa4"}',
    "spaced": b'{"failed_trials": 6.50}',
    "binary": b'{"rows":2}\n\x00\xff\x10',
    "no JSON": b"NaN",
    "huge": b"1e999",
    "empty": b"",
    "surrogate": b'"\\ud800"',
}


@pytest.fixture(params=STORES)
def engine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    url = new_url(request.param, tmp_path)
    monkeypatch.setenv("KETACAST_DATABASE_URL", url)
    with opened(url) as found:
        yield found


def days_ago(days: float) -> str:
    return utc_text(datetime.now(UTC) - timedelta(days=days))


def audit(*arguments: str) -> int:
    return main(["audit", *arguments])


def exported(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert audit("export", *arguments) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_verify_tells_what_it_has_seen(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    entries = fill(engine, 12)
    report = verified(engine)
    assert audit("verify") == 0
    out = capsys.readouterr()
    assert out.out == (
        f"intact\n12 records intact, {entries[0].time} to {entries[-1].time}\n"
        f"head: {report.hash} (record 12)\n"
    )
    assert not out.err  # no progress where nobody watches
    assert audit("verify", "--head", report.hash) == 0
    assert audit("verify", "--head", "b" * 64) == 5
    assert "does not occur" in capsys.readouterr().out


def test_verify_says_where_the_chain_breaks(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = fill(engine, 5)
    with writing(engine) as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER audit_record_no_update")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.exec_driver_sql("UPDATE audit_record SET client = 'key:x' WHERE seq = 4")
    assert audit("verify") == 5
    text = capsys.readouterr().out
    assert text.startswith(f"BROKEN: record 4 (id '{entries[3].id}')")
    assert "3 records intact" in text


def test_progress_is_shown_on_a_terminal(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine, 2500)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert audit("verify") == 0
    assert "checked 2000 of 2500" in capsys.readouterr().err
    assert audit("export") == 0
    assert "written 2000" in capsys.readouterr().err


def test_an_export_is_complete_private_and_verifiable(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [fill(engine, 1, input=raw, output=raw)[0] for raw in CONTENTS.values()]
    file = tmp_path / "audit.ndjson"
    assert audit("export", "--out", str(file)) == 0
    assert "7 records exported" in capsys.readouterr().err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("audit*")] == ["audit.ndjson"]
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == [entry.id for entry in entries]
    assert lines[0]["input"] == {"failed_trials": 6, "scale": "ä"}
    assert lines[1]["output"] == {"failed_trials": 6.5}
    assert base64.b64decode(lines[2]["input_base64"]) == CONTENTS["binary"]
    assert lines[0]["prev_hash"] == FIRST_HASH
    assert audit("verify", "--file", str(file), "--head", verified(engine).hash) == 0
    assert audit("verify", "--file", str(file), "--head", "b" * 64) == 5
    assert audit("export", "--out", str(file)) == 2
    assert "is there already" in capsys.readouterr().err


def test_an_export_can_be_filtered(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(engine, 2, time=days_ago(20), client="key:a")
    fill(engine, 2, time=days_ago(10), client="key:b")
    fill(engine, 2, client="key:a")
    assert [line["seq"] for line in exported(capsys, "--client", "key:a")] == [1, 2, 5, 6]
    assert [line["seq"] for line in exported(capsys, "--until", days_ago(15))] == [1, 2]
    since = days_ago(15)[:10]
    assert [line["seq"] for line in exported(capsys, "--since", since)] == [3, 4, 5, 6]
    middle = exported(capsys, "--since", since, "--until", days_ago(5))
    assert [line["seq"] for line in middle] == [3, 4]
    file = tmp_path / "a.ndjson"
    assert audit("export", "--client", "key:a", "--out", str(file)) == 0
    assert audit("verify", "--file", str(file)) == 5
    assert "record 3 is missing" in capsys.readouterr().out
    assert audit("verify", "--file", str(file), "--filtered") == 0


def test_an_export_after_a_purge_begins_at_the_anchor(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(engine, 3, time=days_ago(20))
    anchor = verified(engine).hash
    fill(engine, 2)
    assert audit("purge", "--days", "10", "--yes") == 0
    assert "removed 3 records" in capsys.readouterr().out
    file = tmp_path / "kept.ndjson"
    assert audit("export", "--out", str(file)) == 0
    assert audit("verify", "--file", str(file), "--head", anchor) == 0
    assert json.loads(file.read_text(encoding="utf-8").splitlines()[0])["prev_hash"] == anchor


def test_a_purge_asks(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(engine, 3, time=days_ago(20))
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    assert audit("purge", "--before", days_ago(10)) == 2
    assert "add --yes" in capsys.readouterr().err
    for typed, code in (("y\n", 1), ("yes\n", 0)):
        terminal = io.StringIO(typed)
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stdin", terminal)
        assert audit("purge", "--before", days_ago(10)) == code
        assert "3 records before" in capsys.readouterr().out
    assert verified(engine).seq > 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "--head", "1234"], "64 hexadecimal digits"),
        (["verify", "--filtered"], "--file"),
        (["verify", "--file", "/no/such/file"], "cannot read"),
        (["export", "--since", "yesterday"], "give a date"),
        (["export", "--out", "/no/such/directory/file"], "cannot write"),
        (["purge", "--before", "2026-13-01", "--yes"], "give a date"),
        (["purge", "--days", "0", "--yes"], "from 1 on"),
        (["purge", "--days", "99999999", "--yes"], "from 1 on"),
        (["purge", "--before", "2999-01-01", "--yes"], "in the past"),
    ],
)
def test_wrong_use_is_told(
    engine: Engine, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(*arguments) in (1, 2)
    assert words in capsys.readouterr().err


def test_a_missing_database_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KETACAST_DATABASE_URL", f"sqlite:///{tmp_path}/none.db")
    for action in (["verify"], ["export"], ["purge", "--days", "1", "--yes"]):
        assert audit(*action) == 1
        assert "there is no database" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@given(raw=st.one_of(st.binary(max_size=30), st.sampled_from(list(CONTENTS.values()))))
def test_any_bytes_come_back_from_a_line(raw: bytes) -> None:
    record = Record(1, "id", "", "", "", "", "", raw, "", raw, "")
    line = write_line("p", record)
    assert "\n" not in line
    digest = json.loads(line)["input_sha256"]
    assert read_line(line.replace('"output_sha256":""', f'"output_sha256":"{digest}"')) == (
        "p",
        Record(1, "id", "", "", "", "", "", raw, digest, raw, ""),
    )


@pytest.fixture(scope="module")
def export_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KETACAST_DATABASE_URL", f"sqlite:///{directory}/service.db")
        with opened(f"sqlite:///{directory}/service.db") as engine:
            for raw in CONTENTS.values():
                fill(engine, 1, input=raw, output=raw)
        assert audit("export", "--out", str(directory / "out")) == 0
    return (directory / "out").read_text(encoding="utf-8")


@settings(max_examples=500, deadline=None)
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_every_flipped_bit_of_an_export_is_found(export_text: str, place: int, bit: int) -> None:
    raw = bytearray(export_text.encode("utf-8")[:-1])  # the last line's end says nothing
    place %= len(raw)
    raw[place] ^= 1 << bit
    altered = raw.decode("utf-8", "surrogateescape")
    head = json.loads(export_text.splitlines()[-1])["hash"]
    assert verify_export(io.StringIO(altered), head=head).problem is not None


def test_the_documented_check_needs_no_ketacast(
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(engine, 3)
    fill(engine, 1, client="jwt:früh\n", input=CONTENTS["binary"])
    monkeypatch.chdir(tmp_path)
    assert audit("export", "--out", "audit.ndjson") == 0
    text = DOCUMENT.read_text("utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(found) == 1
    code = compile(found[0], str(DOCUMENT), "exec")
    capsys.readouterr()
    exec(code, {})  # noqa: S102  # our own document
    assert verified(engine).hash in capsys.readouterr().out
    file = Path("audit.ndjson")
    file.write_text(file.read_text("utf-8").replace('"key:ward"', '"key:other"', 1), "utf-8")
    with pytest.raises(AssertionError, match="record 1 was changed"):
        exec(code, {})  # noqa: S102
