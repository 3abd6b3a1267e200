"""The pages on simulation and the tutorial run, and are not stale."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

from ketacast.clinical.artifact import Artifact

DOCS = Path(__file__).parents[2] / "docs" / "simulation"


def test_the_python_of_the_pages_runs() -> None:
    found = 0
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for code in re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
            exec(compile(code, page.name, "exec"), {})  # noqa: S102
            found += 1
    assert found


def test_the_tutorial_runs_and_was_run_with_this_model(artifact: Artifact) -> None:
    notebook = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    namespace: dict[str, Any] = {}
    printed = ""
    mpl.use("agg")
    for cell in cells:
        assert cell["execution_count"] is not None
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            printed += "".join(output.get("text", []))
        lines = [line for line in cell["source"] if not line.startswith("%")]
        exec(compile("".join(lines), "tutorial.ipynb", "exec"), namespace)  # noqa: S102
    model = f"Model {artifact.name} {artifact.version} ({artifact.sha256[:12]})"
    assert model in " ".join(printed.split())
