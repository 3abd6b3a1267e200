"""The documents say what the product does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import ketacast
from ketacast.cli import main
from ketacast.clinical.artifact import load_artifact
from ketacast.options import RATERS

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


def test_the_method_page_quotes_the_artifact() -> None:
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    content = load_artifact().content
    for entry in content["coefficients"]:
        low, high = entry["interval_95"]
        row = f"{entry['mean']:.3f} | {entry['sd']:.3f} | {low:.3f} to {high:.3f} |"
        assert f"| `{entry['name']}` | {entry['meaning']} | {row}" in text
    for outcome in ("response", "remission"):
        for rater in RATERS:
            prediction = ketacast.predict(failed_trials=6, infusions=6, rated_by=rater)
            estimate = getattr(prediction, outcome)
            cells = [estimate.average_clinic[0.95], *estimate.new_clinic.values()]
            ranges = " | ".join(f"{low:.2f} to {high:.2f}" for low, high in cells)
            assert f"| {outcome}, {rater} | {estimate.expected:.2f} | {ranges} |" in text
    assert f"is {content['draws']['quantile_error']:.4f} over the supported grid" in text


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
