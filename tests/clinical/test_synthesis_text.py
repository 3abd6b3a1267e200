"""The synthesis table: width, content, order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ketacast.clinical.synthesis import synthesise
from ketacast.clinical.synthesis_result import Synthesis
from ketacast.clinical.synthesis_text import synthesis_lines
from ketacast.errors import InputError
from ketacast.evidence import load_evidence

DIRECTORY = Path(__file__).parents[2] / "models" / "ketamine-trd" / "evidence"


@pytest.fixture(scope="module")
def synthesis() -> Synthesis:
    return synthesise(load_evidence(DIRECTORY))


@pytest.mark.parametrize("width", [72, 80, 100, 140])
def test_no_line_is_wider_than_asked(synthesis: Synthesis, width: int) -> None:
    lines = synthesis_lines(synthesis, width)
    assert max(len(line) for line in lines) <= width
    assert all(line == line.rstrip() and "\n" not in line for line in lines)


def test_our_figure_stands_above_the_published_one(synthesis: Synthesis) -> None:
    lines = synthesis_lines(synthesis)
    start = lines.index("Response (probability)")
    ours, exact, theirs = lines[start + 2 : start + 5]
    row = synthesis.rows[0]
    assert row.estimate is not None
    assert ours.startswith("all, REML")
    assert f"{row.estimate:.2f} [" in ours
    assert exact.startswith("all, exact")
    assert theirs.split() == ["published", "-", "-", "0.45", "[0.35,", "0.55]", "-", "-"]


def test_every_range_has_its_level_in_the_header(synthesis: Synthesis) -> None:
    headers = [line for line in synthesis_lines(synthesis) if "mean [95 % CI]" in line]
    assert len(headers) == 3
    assert all("80 % range" in line and "95 % range" in line for line in headers)


def test_refusals_and_missing_figures_are_said(synthesis: Synthesis) -> None:
    text = "\n".join(synthesis_lines(synthesis))
    assert "no estimate: 1 cohort; at least 4 are needed" in text
    assert "not public" in text
    assert "79 studies" in text


def test_long_reasons_are_folded_under_their_column(synthesis: Synthesis) -> None:
    rows = (replace(synthesis.rows[0], refused="a reason that is long " * 6),)
    lines = synthesis_lines(replace(synthesis, rows=rows))
    assert max(len(line) for line in lines) <= 80


def test_it_works_without_an_anchor(synthesis: Synthesis) -> None:
    rows = tuple(replace(row, published=None) for row in synthesis.rows)
    bare = replace(synthesis, rows=rows, anchor_k=None, anchor_n=None)
    lines = synthesis_lines(bare)
    assert not any(line.startswith("published") for line in lines)


@pytest.mark.parametrize("width", [71, 0, True, 80.0])
def test_too_narrow_is_refused(synthesis: Synthesis, width: Any) -> None:
    with pytest.raises(InputError, match="72 or more"):
        synthesis_lines(synthesis, width)
