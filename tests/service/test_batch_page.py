"""The page on batches shows what the formats do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ketacast.predictor import load_predictor
from ketacast_service.api.batch import LineStream, answer_columns
from ketacast_service.api.batch.arrow import ArrowStream
from ketacast_service.api.batch.arrow_frames import MOST_MESSAGES
from ketacast_service.api.batch.faults import Reason
from ketacast_service.errors import ProblemError

PREDICTOR = load_predictor()
PAGE = (Path(__file__).parent.parent.parent / "docs" / "batch.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)


def test_the_documents_of_the_page_are_real() -> None:
    request, answer, lines, told = blocks("json")
    assert json.loads(answer_columns(request.encode(), PREDICTOR, 10).output) == json.loads(answer)
    stream = LineStream(PREDICTOR, (0.8,), max_rows=10)
    output = b"".join(p.output for p in [*stream.feed(lines.encode()), *stream.finish()])
    assert output.decode() == told


def test_the_program_of_the_page_runs() -> None:
    found: dict[str, Any] = {}
    exec(compile(blocks("python")[0], "batch.md", "exec"), found)  # noqa: S102

    def send(path: str, *, content: bytes, headers: dict[str, str]) -> bytes:
        stream = ArrowStream(PREDICTOR, max_rows=10)
        return b"".join(p.output for p in [*stream.feed(content), *stream.finish()])

    frame = pd.DataFrame({"failed_trials": [6, 21], "infusions": 6, "rated_by": "self"})
    answer = found["predict"](frame, send)
    assert answer["response_expected"][0] == PREDICTOR.predict(6, 6, "self").response.expected
    assert answer["error"][1].startswith("failed_trials is 21")
    gaps = frame.assign(infusions=[6, float("nan")])
    with pytest.raises(ProblemError, match="infusions has type double"):
        found["predict"](gaps, send)
    answer = found["predict"](gaps.astype({"infusions": "Int64"}), send)
    assert answer["error"][1].startswith("failed_trials is 21")


def test_the_page_names_limits_and_reasons() -> None:
    assert f"at most {MOST_MESSAGES:,} messages" in PAGE
    assert [int(reason) for reason in Reason] == list(range(18))
    assert "17 no JSON" in PAGE
