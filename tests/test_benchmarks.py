"""The benchmark of fits runs, and its numbers are right; nothing here looks at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "benchmarks" / "fits.py"
#: Tasks and calls must not vanish silently.
TASKS, CALLS = 11, 21


def test_fits_are_checked_and_tabulated(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--no-peers", "--json", str(file)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    lines = json.loads(file.read_text(encoding="utf-8"))
    assert len({line["task"] for line in lines}) == TASKS
    assert len(lines) == CALLS
    for line in lines:
        found = line["agreement"][f"{line['call']} / textbook"]
        assert found["difference"] <= found["tolerance"]
        assert f"{line['title']:<45}{line['call']:<25}" in printed
    assert printed.count("agrees") == CALLS
    assert "WRONG" not in printed
