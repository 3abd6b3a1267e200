"""Every input that can be asked gets the digits of a single prediction, in every format."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from ketacast.options import OUTCOMES, RATERS, Rater
from ketacast.predictor import load_predictor
from ketacast_service.api.batch import LineStream, answer_columns, tables_for
from ketacast_service.api.batch.arrow import ArrowStream
from ketacast_service.api.batch.cells import MOST_TABLES
from ketacast_service.errors import ProblemError

PREDICTOR = load_predictor()
INPUTS: list[tuple[int, int, Rater]] = list(itertools.product(range(21), range(1, 31), RATERS))
COLUMNS = dict(
    zip(("failed_trials", "infusions", "rated_by"), zip(*INPUTS, strict=True), strict=True)
)
LEVELS = [(0.8, 0.95), (0.5, 0.8, 0.9, 0.95)]
OUT_OF_RANGE = {"infusions_extrapolated", "failed_trials_extrapolated", "not_treatment_resistant"}


def texts(document: bytes | str) -> Any:
    """Read JSON with its numbers as they stand."""
    return json.loads(document, parse_float=str)


def single(inputs: tuple[int, int, Rater], levels: tuple[float, ...]) -> Any:
    prediction = PREDICTOR.predict(*inputs, levels)
    return texts(json.dumps(prediction.to_dict()))


def flat(answer: Any) -> dict[str, str]:
    """Return an answer's numbers by the names of the columns."""
    found = {}
    for outcome in OUTCOMES:
        for name in ("expected", "median"):
            found[f"{outcome}_{name}"] = answer[outcome][name]
        for kind in ("average_clinic", "new_clinic"):
            for level, bounds in answer[outcome][kind].items():
                for side, bound in zip(("low", "high"), bounds, strict=True):
                    found[f"{outcome}_{kind}_{100 * float(level):g}_{side}"] = bound
    return found


@pytest.mark.parametrize("levels", LEVELS)
def test_json_columns_have_the_digits_of_single_answers(levels: tuple[float, ...]) -> None:
    body = json.dumps({**COLUMNS, "levels": levels}).encode()
    answer = texts(answer_columns(body, PREDICTOR, 2000).output)
    flags = answer["columns"].pop("extrapolated")
    assert answer["rows"] == len(INPUTS)
    assert answer["refused"] == 0
    assert answer["errors"] == []
    notices = []
    for row, inputs in enumerate(INPUTS):
        expected = single(inputs, levels)
        assert {name: values[row] for name, values in answer["columns"].items()} == flat(expected)
        assert list(answer["columns"]) == list(flat(expected))
        codes = {notice["code"] for notice in expected["warnings"]}
        assert flags[row] == bool(codes & OUT_OF_RANGE)
        notices += expected["warnings"]
        assert answer["model"] == expected["model"]
        assert answer["basis"] == expected["basis"]
    distinct = [dict(pairs) for pairs in {tuple(notice.items()) for notice in notices}]
    assert sorted(answer["warnings"], key=str) == sorted(distinct, key=str)
    assert [notice["code"] for notice in answer["warnings"][-2:]] == [
        "assumed_failed_trials_slope",
        "group_level_evidence",
    ]


@pytest.mark.parametrize("levels", LEVELS)
def test_lines_have_the_digits_of_single_answers(levels: tuple[float, ...]) -> None:
    stream = LineStream(PREDICTOR, levels, max_rows=2000)
    body = b"\n".join(
        json.dumps(dict(zip(COLUMNS, inputs, strict=True))).encode() for inputs in INPUTS
    )
    for _ in range(2):  # the second time, lines are known
        stream = LineStream(PREDICTOR, levels, max_rows=2000)
        output = b"".join(piece.output for piece in [*stream.feed(body), *stream.finish()])
        *lines, summary = map(texts, output.splitlines())
        assert summary["summary"]["rows"] == len(lines) == len(INPUTS)
        for row, (inputs, line) in enumerate(zip(INPUTS, lines, strict=True)):
            expected = single(inputs, levels)
            assert line == {
                "row": row,
                "inputs": expected["inputs"],
                "response": expected["response"],
                "remission": expected["remission"],
                "warnings": [notice["code"] for notice in expected["warnings"]],
            }


@pytest.mark.parametrize("levels", LEVELS)
def test_arrow_has_the_bits_of_single_answers(levels: tuple[float, ...]) -> None:
    table = pa.table({name: list(values) for name, values in COLUMNS.items()})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream = ArrowStream(PREDICTOR, levels, max_rows=2000)
    output = b"".join(p.output for p in [*stream.feed(sink.getvalue()), *stream.finish()])
    answer = pa.ipc.open_stream(output).read_all()
    answer.validate(full=True)
    columns = answer.to_pydict()
    assert set(columns.pop("error")) == {None}
    flags = columns.pop("extrapolated")
    for row, inputs in enumerate(INPUTS):
        expected = single(inputs, levels)
        found = {name: repr(values[row]) for name, values in columns.items()}
        assert found == flat(expected)
        codes = {notice["code"] for notice in expected["warnings"]}
        assert flags[row] == bool(codes & OUT_OF_RANGE)


def test_levels_are_sorted_and_tables_shared() -> None:
    assert tables_for(PREDICTOR, (0.95, 0.8, 0.8)) is tables_for(PREDICTOR, [0.8, 0.95])
    choices = itertools.chain.from_iterable(
        itertools.combinations((0.5, 0.8, 0.9, 0.95), size) for size in range(1, 5)
    )
    assert len({id(tables_for(PREDICTOR, levels)) for levels in choices}) == 15 < MOST_TABLES


@pytest.mark.parametrize(
    "levels", [(0.6,), (0.8, 0.81), (), (True,), ("0.8",), (float("nan"),), (0.8,) * 17]
)
def test_other_levels_are_refused(levels: Any) -> None:
    with pytest.raises(ProblemError, match=r"0\.5, 0\.8, 0\.9, 0\.95") as caught:
        tables_for(PREDICTOR, levels)
    assert caught.value.slug == "invalid-input"
    assert caught.value.errors[0].field == "/levels"


def test_warming_computes_what_requests_need() -> None:
    tables = tables_for(PREDICTOR, (0.5, 0.95))
    tables.warm()
    assert {"json_columns", "lines"} <= set(vars(tables))
    assert len(tables.lines) == tables.refused == len(INPUTS)
    assert np.isnan(tables.numbers[:, tables.refused]).all()
    assert [notice["code"] for notice in tables.common_warnings] == [
        "assumed_failed_trials_slope",
        "group_level_evidence",
    ]
