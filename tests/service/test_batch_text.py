"""Batches as JSON columns and as NDJSON: good rows are kept, bad rows are named."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.errors import InputError
from ketacast.options import RATERS
from ketacast.predictor import load_predictor
from ketacast_service.api.batch import LineStream, Piece, answer_columns
from ketacast_service.api.batch.ndjson import LONGEST_LINE
from ketacast_service.errors import ProblemError

PREDICTOR = load_predictor()
ROWS = 1000
NAMES = ("failed_trials", "infusions", "rated_by")
INVALID = "urn:ketacast:problem:invalid-input"

junk = st.one_of(
    st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.integers(),
    st.text(), st.lists(st.integers(0, 20), max_size=3), st.dictionaries(st.text(), st.none()),
)  # fmt: skip
trials = st.one_of(st.integers(0, 20), st.integers(-2, 300), junk)
infusions = st.one_of(st.integers(1, 30), st.integers(-2, 300), junk)
raters = st.one_of(st.sampled_from(RATERS), junk)
good = st.tuples(st.integers(0, 20), st.integers(1, 30), st.sampled_from(RATERS))
rows = st.lists(st.one_of(good, st.tuples(trials, infusions, raters)), max_size=40)


def expected(row: tuple[Any, Any, Any]) -> Any:
    """Return what the library answers; the name of the first bad field if it refuses."""
    if isinstance(row[0], (list, dict)):  # ranges are not offered in batches
        return "failed_trials"
    try:
        return PREDICTOR.predict(*row).to_dict()
    except InputError as error:
        return str(error).split(maxsplit=1)[0]


def columns_answer(document: Any, max_rows: int = ROWS) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return json.loads(answer_columns(body, PREDICTOR, max_rows).output)


def lines_answer(body: bytes, cuts: list[int], piece_rows: int = 8) -> tuple[list[Any], Any]:
    """Feed a body cut at some places; return the lines and the summary."""
    stream = LineStream(PREDICTOR, max_rows=ROWS, piece_rows=piece_rows)
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces: list[Piece] = []
    for start, stop in itertools.pairwise(places):
        pieces += stream.feed(body[start:stop])
    pieces += stream.finish()
    first = 0
    for piece in pieces:
        assert piece.first_row == first
        assert piece.rows <= piece_rows
        first += piece.rows
    *lines, end = b"".join(piece.output for piece in pieces).splitlines()
    assert len(lines) == first
    assert sum(piece.refused for piece in pieces) == json.loads(end)["summary"]["refused"]
    return [json.loads(line) for line in lines], json.loads(end)["summary"]


@given(rows)
@settings(deadline=None)
def test_columns_answer_good_rows_and_name_bad_ones(found: list[tuple[Any, Any, Any]]) -> None:
    document = {name: [row[at] for row in found] for at, name in enumerate(NAMES)}
    answer = columns_answer(document)
    errors = {error["row"]: error for error in answer["errors"]}
    assert answer["rows"] == len(found)
    assert answer["refused"] == len(errors)
    for at, row in enumerate(found):
        wanted = expected(row)
        values = [column[at] for column in answer["columns"].values()]
        if isinstance(wanted, str):
            assert set(values) == {None}
            assert errors[at]["field"] == f"/{wanted}/{at}"
            assert errors[at]["type"] == INVALID
            assert errors[at]["detail"].startswith(wanted)
            assert errors[at]["remedy"]
        else:
            assert at not in errors
            assert values[0] == wanted["response"]["expected"]
            assert values[-2] == wanted["remission"]["new_clinic"]["0.95"][1]


@given(rows, st.lists(st.integers(min_value=0), max_size=12), st.integers(1, 9))
@settings(deadline=None)
def test_lines_answer_good_rows_and_name_bad_ones(
    found: list[tuple[Any, Any, Any]], cuts: list[int], piece_rows: int
) -> None:
    body = "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in found).encode()
    lines, summary = lines_answer(body, cuts, piece_rows)
    assert summary["rows"] == len(lines) == len(found)
    assert summary["model"] == PREDICTOR.model.to_dict()
    assert summary["basis"] == PREDICTOR.basis.to_dict()
    for at, (row, line) in enumerate(zip(found, lines, strict=True)):
        wanted = expected(row)
        assert line["row"] == at
        if isinstance(wanted, str):
            assert line["error"]["field"] == f"/{wanted}"
            assert line["error"]["type"] == INVALID
        else:
            assert line["response"] == wanted["response"]
            assert line["remission"] == wanted["remission"]


def test_one_value_serves_all_rows() -> None:
    answer = columns_answer({"failed_trials": [2, 6], "infusions": 6, "rated_by": "self"})
    wanted = [expected((count, 6, "self"))["remission"]["median"] for count in (2, 6)]
    assert answer["columns"]["remission_median"] == wanted


def test_an_empty_batch_has_an_answer() -> None:
    answer = columns_answer({"failed_trials": [], "infusions": [], "rated_by": "self"})
    assert answer["rows"] == answer["refused"] == 0
    assert set(map(len, answer["columns"].values())) == {0}
    assert answer["warnings"] == answer["errors"] == []
    assert lines_answer(b"", []) == lines_answer(b"\n \r\n", [1])
    assert lines_answer(b"", [])[1]["rows"] == 0


def test_parts_are_the_output_each_time_and_small() -> None:
    document = {"failed_trials": [6, 21] * 70_000, "infusions": 6, "rated_by": "self"}
    answer = answer_columns(json.dumps(document).encode(), PREDICTOR, 200_000)
    parts = [bytes(part) for part in answer.parts()]
    assert b"".join(parts) == answer.output
    assert max(map(len, parts)) < 12_000_000
    found = json.loads(answer.output)
    assert found["refused"] == len(found["errors"]) == 70_000
    assert found["errors"][-1]["field"] == "/failed_trials/139999"
    assert found["columns"]["response_expected"][-2:] == [
        expected((6, 6, "self"))["response"]["expected"],
        None,
    ]


@pytest.mark.parametrize(
    ("document", "slug", "field", "words"),
    [
        (b"", "malformed-request", None, "no JSON"),
        (b"[1, 2]", "malformed-request", None, "no JSON object"),
        (b'{"failed_trials":[NaN]}', "malformed-request", None, "NaN is no JSON"),
        (b'{"failed_trials":["\xff"]}', "malformed-request", None, "not UTF-8 at byte 19"),
        (b"[" * 1050, "malformed-request", None, "nested too deeply"),
        (b'{"failed_trials":[' + b"1" * 5000 + b"]}", "malformed-request", None, "digits"),
        (b'{"failed_trials":[1],"failed_trials":[2],"infusions":1,"rated_by":"self"}',
         "invalid-input", "/failed_trials", "twice"),
        (b'{"failed_trials":[1],"failed\\u005ftrials":[2],"infusions":1,"rated_by":"self"}',
         "invalid-input", "/failed_trials", "twice"),
        ({"failed_trials": [1], "infusions": 6}, "invalid-input", "/rated_by", "missing"),
        ({"failed_trials": 1, "infusions": 6, "rated_by": "self"}, "invalid-input",
         "/failed_trials", "give a list"),
        ({"failed_trials": [1], "infusions": 6.0, "rated_by": "self"}, "invalid-input",
         "/infusions", "6.0"),
        ({"failed_trials": [1], "infusions": 6, "rated_by": None}, "invalid-input",
         "/rated_by", "missing"),
        ({"failed_trials": [1], "infusions": [6, 6], "rated_by": "self"}, "invalid-input",
         "/infusions", "2 rows, failed_trials has 1"),
        ({"failed_trials": [], "infusions": 6, "rated_by": ["self"]}, "invalid-input",
         "/rated_by", "1 rows, failed_trials has 0"),
        ({"failed_trials": [1], "infusions": 6, "rated_by": "self", "so_far": "N"},
         "invalid-input", "/so_far", "ask /v1/predictions"),
        ({"failed_trials": [1], "infusions": 6, "rated_by": "self", "na/me~": ["Ann"]},
         "invalid-input", "/na~1me~0", "leave it out"),
        ({"failed_trials": [1], "infusions": 6, "rated_by": "self", "levels": 0.8},
         "invalid-input", "/levels", "list"),
        ({"failed_trials": [1], "infusions": 6, "rated_by": "self", "levels": [0.6]},
         "invalid-input", "/levels", "0.6 is not offered"),
        ({"failed_trials": [1] * 1001, "infusions": 6, "rated_by": "self"}, "too-large", None,
         "at most 1000"),
    ],
)  # fmt: skip
def test_whole_batches_are_refused_clearly(
    document: Any, slug: str, field: str | None, words: str
) -> None:
    with pytest.raises(ProblemError, match=words) as caught:
        columns_answer(document)
    assert caught.value.slug == slug
    assert [problem.field for problem in caught.value.errors] == ([] if field is None else [field])


@pytest.mark.parametrize("cell", [b"[],", b"{},", b"[[[[]]]],", b"0,"])
def test_small_texts_that_fill_memory_are_refused_before_they_are_read(cell: bytes) -> None:
    body = b'{"failed_trials":[' + cell * 3_000_000 + b'0],"infusions":1,"rated_by":"self"}'
    tracemalloc.start()
    try:
        with pytest.raises(ProblemError, match="too many for 1000 rows") as caught:
            columns_answer(body)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.slug == "too-large"


@pytest.mark.parametrize(
    ("line", "kind", "field", "words"),
    [
        (b"{", "malformed-request", "", "no JSON"),
        (b'{"failed_trials":NaN,"infusions":6,"rated_by":"self"}', "malformed-request", "", "NaN"),
        (b'{"failed_trials":Infinity}', "malformed-request", "", "Infinity"),
        (b'\xff{"failed_trials":6}', "malformed-request", "", "UTF-8 at byte 0"),
        (b"[" * 4000, "malformed-request", "", "deeply"),
        (b"6", "invalid-input", "", "no JSON object"),
        (b'{"failed_trials":6,"failed_trials":7,"infusions":6,"rated_by":"self"}',
         "invalid-input", "", "twice"),
        (b'{"failed_trials":6,"infusions":6,"rated_by":"self","name":"Ann"}',
         "invalid-input", "", "'name' is not known"),
        (b'{"failed_trials":6,"infusions":6,"rated_by":"self","so_far":"N"}',
         "invalid-input", "/so_far", "not offered in batches"),
        (b'{"failed_trials":[4,8],"infusions":6,"rated_by":"self"}',
         "invalid-input", "/failed_trials", "ask /v1/predictions"),
        (b'{"failed_trials":6,"rated_by":"self"}', "invalid-input", "/infusions", "missing"),
        (b" " * (LONGEST_LINE + 1), "too-large", "", "longer than 4096"),
        (b'{"failed_trials":6,"infusions":6,"rated_by":"' + b"x" * 9000 + b'"}', "too-large", "",
         "longer than 4096"),
    ],
)  # fmt: skip
def test_a_bad_line_does_not_stop_the_stream(
    line: bytes, kind: str, field: str, words: str
) -> None:
    fine = b'{"rated_by": "self", "infusions": 6, "failed_trials": 6}'
    wanted = expected((6, 6, "self"))["response"]
    for cuts in ([], [3], list(range(0, 10_000, 97))):
        lines, summary = lines_answer(b"\r\n".join([fine, line, b"", fine, line]), cuts)
        assert summary["rows"] == 4
        assert summary["refused"] == 2
        assert [lines[at]["response"] for at in (0, 2)] == [wanted, wanted]
        for at in (1, 3):
            error = lines[at]["error"]
            assert error["type"] == f"urn:ketacast:problem:{kind}"
            assert error["field"] == field
            assert words in error["detail"] + error["remedy"]


@given(st.binary(max_size=300), st.lists(st.integers(min_value=0), max_size=5))
@settings(deadline=None)
def test_any_bytes_are_lines(body: bytes, cuts: list[int]) -> None:
    lines, summary = lines_answer(body, cuts)
    assert lines_answer(body, []) == (lines, summary)
    assert summary["rows"] == len([line for line in body.split(b"\n") if line.strip()])
    assert summary["refused"] == summary["rows"]


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_as_columns_are_refused(body: bytes) -> None:
    with pytest.raises(ProblemError):
        answer_columns(body, PREDICTOR, ROWS)


def test_more_lines_than_allowed_are_refused() -> None:
    line = b'{"failed_trials":6,"infusions":6,"rated_by":"self"}\n'
    stream = LineStream(PREDICTOR, max_rows=10)
    assert sum(piece.rows for piece in [*stream.feed(line * 10), *stream.finish()]) == 10
    for body in (line * 11, line * 10 + line[:-1], b"x\n" * 11, line * 10 + b"x" * 5000):
        stream = LineStream(PREDICTOR, max_rows=10)
        with pytest.raises(ProblemError, match="more than 10 rows") as caught:
            _ = [*stream.feed(body), *stream.finish()]
        assert caught.value.slug == "too-large"


def test_lines_that_are_too_long_are_given_out_in_pieces_too() -> None:
    body = (b"x" * 5000 + b"\n") * 40
    for cuts in ([], list(range(4900, len(body), 5001)), list(range(0, len(body), 1000))):
        lines, summary = lines_answer(body, cuts)
        assert summary["refused"] == len(lines) == 40


def test_lines_refused_before_are_refused_again() -> None:
    body = b'{"failed_trials":21,"infusions":6,"rated_by":"self"}\n' * 3 + b"{}\n" * 3
    lines, _ = lines_answer(body, [])
    assert [line["row"] for line in lines] == list(range(6))
    assert lines[0]["error"] == lines[2]["error"] != lines[3]["error"] == lines[5]["error"]


def test_blank_lines_take_little_memory() -> None:
    stream = LineStream(PREDICTOR, max_rows=10)
    body = b"\n" * 16_000_000
    tracemalloc.start()
    try:
        assert stream.feed(body) == []
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
