"""The pages on meta-regression run, and print what they say they print."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    DOCS / "meta-regression.md",
    DOCS / "from-metafor.md",
    *sorted((DOCS / "api").glob("*.md")),
]
LINKING = [*PAGES, DOCS / "method.md", DOCS / "examples" / "README.md"]
#: What the examples read, by paths from the top of a checkout.
DATA = ("docs/examples", "models/ketamine-trd/evidence")
#: Examples on the pages; they must not vanish unseen.
EXPECTED_EXAMPLES = 24

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
Example = tuple[int, str, str | None]


def examples(page: Path) -> list[Example]:
    """Line, code and output of each example: a text block right after it, or none."""
    text = page.read_text(encoding="utf-8")
    blocks = list(FENCED.finditer(text))
    found: list[Example] = []
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] == "python":
            shown = after[2] if after is not None and after[1] == "text" else None
            found.append((text.count("\n", 0, block.start()) + 1, block[2], shown))
    return found


def trimmed(output: str) -> list[str]:
    """Lines without trailing blanks, which pandas prints and editors remove."""
    return [line.rstrip() for line in output.splitlines()]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the data of a checkout in a place where examples may also write."""
    for name in DATA:
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_examples_do_not_vanish() -> None:
    assert sum(len(examples(page)) for page in PAGES) == EXPECTED_EXAMPLES
    assert all(examples(page) for page in PAGES)


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_print_what_the_page_shows(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {"__name__": "example"}
    for line, code, shown in examples(page):
        # Padded, so that a traceback has the page's line.
        exec(compile("\n" * line + code, str(page), "exec"), namespace)  # noqa: S102
        printed = trimmed(capsys.readouterr().out)
        assert printed == trimmed(shown or ""), f"{page.name}, line {line}"


def anchor(heading: str) -> str:
    """Name of a heading in a link: lower case, words joined by hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", LINKING, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_point_at_headings_that_exist(page: Path) -> None:
    for target, name in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        other = (page.parent / target).resolve() if target else page
        text = FENCED.sub("", other.read_text(encoding="utf-8"))
        headings = {anchor(found) for found in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)}
        assert name in headings, f"{page.name} links to {target}#{name}"
