"""The documents say what the product does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import ketacast
from ketacast.cli import main

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "models").rglob("*.md")]
)


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_the_readme_shows_what_make_predict_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "--failed-trials", "6", "--infusions", "6", "--rated-by", "self"]) == 0
    assert blocks(ROOT / "README.md", "text")[0] == capsys.readouterr().out


def test_the_readme_names_the_basis() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    prediction = ketacast.predict(failed_trials=6, infusions=6, rated_by="self")
    assert f"({prediction.basis.cohorts} cohorts)" in text
    assert f"About {100 * prediction.response.expected:.0f} of 100" in text


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
def test_python_examples_run(name: str) -> None:
    namespace: dict[str, Any] = {}
    found = blocks(ROOT / name, "python")
    assert found
    for code in found:
        exec(compile(code, name, "exec"), namespace)  # noqa: S102


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
