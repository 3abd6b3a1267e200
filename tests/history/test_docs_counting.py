"""The page on counting runs, prints what it shows, and holds the tables of the code."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ketacast.cli import main
from ketacast.history.drugs import drug_table

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "counting-failed-trials.md"
TEXT = PAGE.read_text(encoding="utf-8")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
SHOWN_FILE = re.compile(
    r"`([\w-]+\.(?:csv|toml))`[^`]*(?:`--rules rules.toml`)?:\n\n```(?:csv|toml)\n(.*?)^```",
    flags=re.DOTALL | re.MULTILINE,
)
LEFT_OUT = "..."


def shows(shown: str, printed: str) -> bool:
    lines = [line.rstrip() for line in printed.splitlines()]
    expected = shown.splitlines()
    if expected[-1] == LEFT_OUT:
        return lines[: len(expected) - 1] == expected[:-1]
    return lines == expected


def test_the_examples_print_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = dict(SHOWN_FILE.findall(TEXT))
    assert sorted(files) == ["rules.toml", "treatments.csv"]
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    namespace: dict[str, Any] = {}
    found = list(FENCED.finditer(TEXT))
    ran = 0
    for block, after in pairwise(found):
        if block[1] == "sh":
            words = shlex.split(block[2])
            assert words[0] == "ketacast"
            assert main(words[1:]) == 0
        elif block[1] == "python":
            exec(compile(block[2], str(PAGE), "exec"), namespace)  # noqa: S102
        else:
            continue
        ran += 1
        assert after[1] == "text"
        printed = capsys.readouterr().out
        assert shows(after[2], printed), printed
    assert ran == 3


def test_the_page_holds_the_minimum_doses() -> None:
    for drug in drug_table().by_name.values():
        if drug.lenient_mg is not None:
            row = f"| {drug.name} | {drug.lenient_mg:g} | {drug.strict_mg:g} | {drug.sources} |"
            assert row in TEXT


def test_the_page_names_every_code() -> None:
    source = ROOT / "src" / "ketacast" / "history"
    codes: set[str] = set()
    for name in ("reasons.py", "choosing.py", "diagnoses.py"):
        text = (source / name).read_text(encoding="utf-8")
        codes |= set(re.findall(r"(?:Reason|Flag)\(\s*\"(\w+)\"", text))
    assert len(codes) > 30
    assert [code for code in sorted(codes - {"doubtful"}) if f"`{code}`" not in TEXT] == []
