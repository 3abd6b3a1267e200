"""The pages on courses, ranges and a clinic's own results run, and print what they show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ketacast.cli import main
from ketacast.clinical.artifact import load_artifact

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    DOCS / "course-under-way.md",
    DOCS / "after-the-course.md",
    DOCS / "what-the-range-means.md",
    DOCS / "own-results.md",
]
LINKING = [
    *PAGES,
    DOCS / "README.md",
    DOCS / "artifact.md",
    *(DOCS / "decisions").glob("000[57]-*.md"),
]
#: Examples on the pages; they must not vanish unseen.
EXPECTED_EXAMPLES = 18
#: On a page, this line stands for output that is left out.
LEFT_OUT = "..."

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
#: A file shown on a page, after the words that name it.
SHOWN_FILE = re.compile(r"`([\w-]+\.csv)`:\n\n```csv\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


class Example:
    """A block of code, its language and line, and the output shown right after it."""

    def __init__(self, language: str, code: str, line: int, shown: str | None) -> None:
        self.language, self.code, self.line, self.shown = language, code, line, shown


def examples(page: Path) -> list[Example]:
    text = page.read_text(encoding="utf-8")
    blocks = list(FENCED.finditer(text))
    return [
        Example(
            block[1],
            block[2],
            text.count("\n", 0, block.start()) + 1,
            after[2] if after is not None and after[1] == "text" else None,
        )
        for block, after in zip(blocks, [*blocks[1:], None], strict=True)
        if block[1] in ("python", "sh")
    ]


def trimmed(output: str) -> list[str]:
    """Lines without trailing blanks, which editors remove."""
    return [line.rstrip() for line in output.splitlines()]


def shows(shown: list[str], printed: list[str]) -> bool:
    """Whether the printed lines are those shown, `LEFT_OUT` standing for any number."""
    pattern = "".join(
        "(?:.*\n)*?" if line == LEFT_OUT else re.escape(line) + "\n" for line in shown
    )
    return re.fullmatch(pattern, "".join(line + "\n" for line in printed)) is not None


def run_shell(code: str) -> None:
    """Run the lines of a shell block, each a call of ketacast."""
    for command in code.replace("\\\n", " ").splitlines():
        words = shlex.split(command)
        assert words[0] == "ketacast", command
        assert main(words[1:]) == 0, command


def test_examples_do_not_vanish() -> None:
    assert sum(len(examples(page)) for page in PAGES) == EXPECTED_EXAMPLES
    assert all(examples(page) for page in PAGES)


def test_left_out_lines_are_the_only_freedom() -> None:
    assert shows(["a", LEFT_OUT, "c"], ["a", "b", "b", "c"])
    assert shows([LEFT_OUT, "c", LEFT_OUT], ["b", "c", "d"])
    assert not shows(["a", "c"], ["a", "b", "c"])
    assert not shows(["a", LEFT_OUT, "c"], ["a", "b"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_print_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in SHOWN_FILE.findall(page.read_text(encoding="utf-8")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "example"}
    for example in examples(page):
        if example.language == "sh":
            run_shell(example.code)
        else:
            # Padded, so that a traceback has the page's line.
            code = "\n" * example.line + example.code
            exec(compile(code, str(page), "exec"), namespace)  # noqa: S102
        printed = trimmed(capsys.readouterr().out)
        if example.shown is None:
            continue
        assert shows(trimmed(example.shown), printed), (
            f"{page.name}, line {example.line} prints\n" + "\n".join(printed)
        )


def test_the_figure_of_ranges_is_that_of_the_page() -> None:
    drawn = re.sub(r"\s+", " ", (DOCS / "images" / "range.svg").read_text(encoding="utf-8"))
    page = re.sub(r"\s+", " ", PAGES[2].read_text(encoding="utf-8"))
    named = ("A new clinic, not yet seen", "The average clinic, in the middle of all",
             "This clinic, after 20 responders of 40")  # fmt: skip
    for name in named:
        found = re.search(rf"{name}: (\d+ to \d+) of 100\.", drawn)
        assert found, name
        kind = name.partition(",")[0].lower()
        assert re.search(rf"{kind} +80% range +{found[1]} of 100", page), kind
    assert "80 of the 100 dots" in drawn


def test_the_dynamics_are_quoted_from_the_artifact() -> None:
    dynamics = load_artifact().content["dynamics"]
    text = (DOCS / "method.md").read_text(encoding="utf-8")
    for table in dynamics["tables"]:
        counts = ", ".join(str(count) for count in table["counts"])
        w = table["propensity"]
        row = rf"\| `{table['family']}` \|.*\| {counts} \| {w['mean']:.2f} \({w['sd']:.2f}\) \|"
        assert re.search(row, text), table["family"]
    low, middle, high = (dynamics["new_clinic"]["quantiles"][p] for p in ("0.1", "0.5", "0.9"))
    assert f"has median {middle:.2f} and an 80 % interval from {low:.2f} to {high:.2f}" in (
        text.replace("\n", " ")
    )


def test_time_in_response_is_quoted_from_the_artifact() -> None:
    durability = load_artifact().content["durability"]
    text = (DOCS / "method.md").read_text(encoding="utf-8")
    share = {week: durability["curves"]["none"]["share"][week]["expected"] for week in (2, 8, 26)}
    weeks = durability["weeks_in_response"]["none"]["expected"]
    cells = " | ".join(f"{value:.2f}" for value in share.values())
    assert f"| base | {cells} | {weeks:.1f} |" in text
    for row in durability["rows"]:
        assert f"| `{row['cohort_id']}` | {row['lost']} of {row['at_risk']} |" in text
    for own in durability["maintenance"].values():
        ratio, low, high = own["hazard_ratio"]
        assert f"{ratio:.2f} ({low:.2f} to {high:.2f})" in text.replace("\n", " ")


def anchor(heading: str) -> str:
    """Name of a heading in a link: lower case, words joined by hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.stem)
def test_links_point_at_headings_that_exist(page: Path) -> None:
    for target, name in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        other = (page.parent / target).resolve() if target else page
        text = FENCED.sub("", other.read_text(encoding="utf-8"))
        headings = {anchor(found) for found in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)}
        assert name in headings, f"{page.name} links to {target}#{name}"
