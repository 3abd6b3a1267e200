"""Batches as Arrow streams: good rows are kept, bad rows are named, other columns are refused."""

from __future__ import annotations

import io
import itertools
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.errors import InputError
from ketacast.options import RATERS
from ketacast.predictor import load_predictor
from ketacast_service.api.batch import Piece
from ketacast_service.api.batch.arrow import ArrowStream
from ketacast_service.errors import ProblemError

PREDICTOR = load_predictor()
ROWS = 1000
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(),
            pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]  # fmt: skip
TEXTS = [pa.string(), pa.large_string(),
         *(pa.dictionary(index, text) for index in (pa.int8(), pa.uint16(), pa.int64())
           for text in (pa.string(), pa.large_string()))]  # fmt: skip

Row = tuple[int | None, int | None, str | None]
trials = st.one_of(st.none(), st.integers(0, 20), st.integers(0, 127))
infusions = st.one_of(st.none(), st.integers(1, 30), st.integers(0, 127))
raters = st.one_of(st.none(), st.sampled_from(RATERS), st.text(max_size=50))
good = st.tuples(st.integers(0, 20), st.integers(1, 30), st.sampled_from(RATERS))
batches = st.lists(
    st.lists(st.one_of(good, st.tuples(trials, infusions, raters)), max_size=20), max_size=4
)


def schema_of(trials: Any = None, infusions: Any = None, rated_by: Any = None) -> Any:
    return pa.schema(
        {
            "failed_trials": trials or pa.int64(),
            "infusions": infusions or pa.int64(),
            "rated_by": rated_by or pa.string(),
        }
    )


def batch_of(rows: list[Row], schema: Any) -> Any:
    columns = [pa.array([row[at] for row in rows], kind) for at, kind in enumerate(schema.types)]
    return pa.record_batch(columns, schema=schema)


def stream_of(batches: list[Any], schema: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def pieces_of(body: bytes, cuts: list[int], max_rows: int = ROWS) -> list[Piece]:
    stream = ArrowStream(PREDICTOR, max_rows=max_rows)
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces: list[Piece] = []
    for start, stop in itertools.pairwise(places):
        pieces += stream.feed(body[start:stop])
    return pieces + stream.finish()


def answer_of(body: bytes, cuts: list[int] | None = None, max_rows: int = ROWS) -> list[Any]:
    """Return the batches of the answer."""
    pieces = pieces_of(body, cuts or [], max_rows)
    reader = pa.ipc.open_stream(b"".join(piece.output for piece in pieces))
    found = list(reader)
    for batch in found:
        batch.validate(full=True)
    assert sum(batch.num_rows for batch in found) == sum(piece.rows for piece in pieces)
    return found


def check_row(row: Row, answer: dict[str, Any]) -> None:
    try:
        wanted = PREDICTOR.predict(*row)  # type: ignore[arg-type]
    except InputError as error:
        field = str(error).split(maxsplit=1)[0]
        assert answer.pop("error").startswith(field + " is ")
        assert set(answer.values()) == {None}
        return
    assert answer["error"] is None
    assert answer["response_median"] == wanted.response.median
    assert answer["remission_new_clinic_95_high"] == wanted.remission.new_clinic[0.95].high


@given(
    batches,
    st.sampled_from(INTEGERS),
    st.sampled_from(INTEGERS),
    st.sampled_from(TEXTS),
    st.lists(st.integers(min_value=0), max_size=12),
)
@settings(deadline=None)
def test_batches_are_answered_one_by_one(
    found: list[list[Row]], first: Any, second: Any, third: Any, cuts: list[int]
) -> None:
    schema = schema_of(first, second, third)
    body = stream_of([batch_of(rows, schema) for rows in found], schema)
    answers = answer_of(body, cuts)
    assert [batch.num_rows for batch in answers] == [len(rows) for rows in found]
    for rows, answer in zip(found, answers, strict=True):
        for row, line in zip(rows, answer.to_pylist(), strict=True):
            check_row(row, line)
    refused = sum(batch["error"].null_count for batch in answers)
    pieces = pieces_of(body, cuts)
    assert refused == sum(piece.rows - piece.refused for piece in pieces)


@pytest.mark.parametrize("value", [-1, 21, 127, 128, 255, 256, -(2**63), 2**63 - 1, 2**64 - 1])
def test_far_numbers_are_refused_not_wrapped(value: int) -> None:
    kind = pa.uint64() if value > 0 else pa.int64()
    schema = schema_of(kind, kind)
    one = 1 if value < 0 else value
    body = stream_of([batch_of([(value, one, "self"), (6, 6, "self")], schema)], schema)
    first, second = answer_of(body)[0].to_pylist()
    assert first["error"] == f"failed_trials is {value}; give a whole number from 0 to 20"
    assert first["response_expected"] is None
    assert second["error"] is None


def test_the_schema_says_which_model_answered() -> None:
    schema = schema_of()
    output = pieces_of(stream_of([], schema), [])[0].output
    metadata = pa.ipc.open_stream(output).schema.metadata
    assert metadata[b"ketacast.model_sha256"].decode() == PREDICTOR.model.sha256
    assert metadata[b"ketacast.model_version"].decode() == PREDICTOR.model.version
    assert metadata[b"ketacast.model_name"].decode() == PREDICTOR.model.name
    assert metadata[b"ketacast.levels"] == b"[0.8, 0.95]"
    assert metadata[b"ketacast.basis"] == b'{"cohorts": 24, "patients": 1805}'
    assert b"group_level_evidence" in metadata[b"ketacast.warnings"]
    assert pa.ipc.open_stream(output).read_all().num_rows == 0


def test_slices_with_offsets_are_read() -> None:
    for text in TEXTS:
        schema = schema_of(rated_by=text)
        rows: list[Row] = [(9, 9, "unknown"), (1, None, "self"), (6, 6, None), (2, 3, "clinician")]
        batch = batch_of(rows * 5, schema).slice(3, 9)
        for row, line in zip((rows * 5)[3:12], answer_of(stream_of([batch], schema))[0].to_pylist(),
                             strict=True):  # fmt: skip
            check_row(row, line)


def test_dictionaries_may_hold_more_and_be_replaced() -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    schema = schema_of(rated_by=kind)

    def batch(words: list[str | None], places: list[int | None]) -> Any:
        column = pa.DictionaryArray.from_arrays(
            pa.array(places, pa.int8()), pa.array(words, pa.string())
        )
        numbers = pa.array([6] * len(places))
        return pa.record_batch([numbers, numbers, column], schema=schema)

    first = batch(["nurse", "self", None, "self"], [1, 0, 2, None, 3])
    second = batch(["clinician", "unknown"], [1, 0])
    answers = answer_of(stream_of([first, second], schema))
    errors = [line["error"] for line in answers[0].to_pylist()]
    assert [error and error.split(";")[0] for error in errors] == [
        None, "rated_by is 'nurse'", "rated_by is missing", "rated_by is missing", None,
    ]  # fmt: skip
    wanted = [
        PREDICTOR.predict(6, 6, rater).response.expected for rater in ("unknown", "clinician")
    ]
    assert answers[1]["response_expected"].to_pylist() == wanted


def test_long_batches_are_cut_into_pieces() -> None:
    schema = schema_of(pa.int8(), pa.int8(), pa.dictionary(pa.int8(), pa.string()))
    one = batch_of([(6, 6, "self"), (21, 6, "self")], schema)
    table = pa.Table.from_batches([one] * 75_000).combine_chunks()
    small, large = one, table.to_batches()[0]
    pieces = pieces_of(stream_of([small, large, small], schema), [], 200_000)
    assert [piece.rows for piece in pieces] == [2, 65_536, 65_536, 18_930]
    assert [piece.first_row for piece in pieces] == [0, 2, 65_538, 131_074]
    assert [piece.refused * 2 for piece in pieces] == [piece.rows for piece in pieces]
    answer = pa.ipc.open_stream(b"".join(piece.output for piece in pieces)).read_all()
    assert answer.num_rows == 150_004
    assert answer["error"].null_count == answer["extrapolated"].null_count == 75_002


def test_more_rows_or_bytes_than_allowed_are_refused() -> None:
    schema = schema_of()
    batch = batch_of([(6, 6, "self")] * 6, schema)
    body = stream_of([batch, batch], schema)
    assert len(answer_of(body, max_rows=12)) == 2
    with pytest.raises(ProblemError, match="more than 11 rows") as caught:
        answer_of(body, max_rows=11)
    assert caught.value.slug == "too-large"
    with pytest.raises(ProblemError, match="more than 100 bytes") as caught:
        ArrowStream(PREDICTOR, max_rows=12, max_bytes=100).feed(body)
    assert caught.value.slug == "too-large"


def test_columns_of_polars_and_pandas() -> None:
    frame = pl.DataFrame({"failed_trials": [6, None], "infusions": [6, 6],
                          "rated_by": ["self", "self"]})  # fmt: skip
    sink = io.BytesIO()
    frame.write_ipc_stream(sink, compat_level=pl.CompatLevel.oldest())
    lines = answer_of(sink.getvalue())[0].to_pylist()
    check_row((6, 6, "self"), lines[0])
    check_row((None, 6, "self"), lines[1])
    table = pa.Table.from_pandas(frame.drop_nulls().to_pandas().astype({"rated_by": "category"}))
    answers = answer_of(stream_of(table.to_batches(), table.schema))
    check_row((6, 6, "self"), answers[0].to_pylist()[0])


@pytest.mark.parametrize(
    ("columns", "field", "words"),
    [
        ({"name": ["Ann"]}, "/name", "leave it out"),
        ({"so_far": ["N"]}, "/so_far", "leave it out"),
        ({"a/b~": ["Ann"]}, "/a~1b~0", "'a/b~' is not known"),
        ({"failed_trials": [6.0]}, "/failed_trials", "type double; give an integer type"),
        ({"failed_trials": [True]}, "/failed_trials", "type bool"),
        ({"failed_trials": [[4, 8]]}, "/failed_trials", "type list"),
        ({"failed_trials": [None]}, "/failed_trials", "type null"),
        ({"infusions": ["6"]}, "/infusions", "type string"),
        ({"infusions": pa.array([6]).dictionary_encode()}, "/infusions", "type dictionary"),
        ({"rated_by": [1]}, "/rated_by", "type int64; give string"),
        ({"rated_by": [b"self"]}, "/rated_by", "type binary"),
        ({"rated_by": pa.array(["self"], pa.string_view())}, "/rated_by", "string_view"),
        ({"rated_by": pa.array([1]).dictionary_encode()}, "/rated_by", "values=int64"),
        ({"rated_by": pa.array([{"a": 1}])}, "/rated_by", "type struct"),
    ],
)
def test_other_columns_and_types_are_refused_by_name(
    columns: dict[str, Any], field: str, words: str
) -> None:
    fine = {"failed_trials": [6], "infusions": [6], "rated_by": ["self"]}
    table = pa.table({**fine, **columns})
    with pytest.raises(ProblemError, match=words) as caught:
        answer_of(stream_of(table.to_batches(), table.schema))
    assert caught.value.slug == "invalid-input"
    assert [problem.field for problem in caught.value.errors] == [field]


def test_missing_and_repeated_columns_are_refused() -> None:
    with pytest.raises(ProblemError, match="infusions is missing"):
        answer_of(stream_of([], pa.schema({"failed_trials": pa.int8(), "rated_by": pa.string()})))
    fields = [*schema_of(), pa.field("infusions", pa.int64())]
    with pytest.raises(ProblemError, match="stands 2 times") as caught:
        answer_of(stream_of([], pa.schema(fields)))
    assert {problem.field for problem in caught.value.errors} == {"/infusions"}


def test_columns_may_stand_in_any_order() -> None:
    schema = pa.schema(list(schema_of())[::-1])
    batch = pa.record_batch([["self"], [3], [6]], schema=schema)
    check_row((6, 3, "self"), answer_of(stream_of([batch], schema))[0].to_pylist()[0])
    assert np.isfinite(answer_of(stream_of([batch], schema))[0]["response_expected"][0].as_py())
