"""The audit record of a batch: answers are computed again from it, refused values are not in it."""

from __future__ import annotations

import contextlib
import io
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ketacast
from ketacast.options import RATERS
from ketacast.predictor import load_predictor
from ketacast_service.api.batch import (
    LineStream,
    Record,
    answer_columns,
    read_record,
)
from ketacast_service.api.batch.arrow import ArrowStream
from ketacast_service.api.batch.faults import Reason
from ketacast_service.errors import ServiceError

PREDICTOR = load_predictor()
NAMES = ("failed_trials", "infusions", "rated_by")
Row = tuple[Any, Any, Any]
Answered = tuple[list[bytes], list[dict[str, Any] | None]]
"""Records; and for each row some numbers by their names in columns, None if refused."""

rows = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 20), st.integers(0, 99), st.none()),
        st.one_of(st.integers(1, 30), st.integers(0, 99), st.none()),
        st.one_of(st.sampled_from(RATERS), st.just("Ann"), st.none()),
    ),
    max_size=50,
)


def by_columns(found: Sequence[Row], levels: Sequence[float]) -> Answered:
    document = {name: [row[at] for row in found] for at, name in enumerate(NAMES)}
    answer = answer_columns(json.dumps({**document, "levels": levels}).encode(), PREDICTOR, 1000)
    columns = json.loads(answer.output)["columns"]
    lines = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    return [answer.record], [line if line["extrapolated"] is not None else None for line in lines]


def by_lines(found: Sequence[Row], levels: Sequence[float]) -> Answered:
    stream = LineStream(PREDICTOR, levels, max_rows=1000, piece_rows=7)
    body = "\n".join(json.dumps(dict(zip(NAMES, row, strict=True))) for row in found)
    pieces = [*stream.feed(body.encode()), *stream.finish()]
    lines = [json.loads(line) for piece in pieces for line in piece.output.splitlines()][:-1]
    return [piece.record for piece in pieces], [
        None
        if "error" in line
        else {f"{outcome}_{name}": line[outcome][name] for outcome in ("response", "remission")
              for name in ("expected", "median")}
        for line in lines
    ]  # fmt: skip


def by_arrow(found: Sequence[Row], levels: Sequence[float]) -> Answered:
    kinds = (pa.int64(), pa.int64(), pa.string())
    table = pa.table(
        {name: pa.array([row[at] for row in found], kinds[at]) for at, name in enumerate(NAMES)}
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    stream = ArrowStream(PREDICTOR, levels, max_rows=1000)
    pieces = [*stream.feed(sink.getvalue()), *stream.finish()]
    output = b"".join(piece.output for piece in pieces)
    lines = pa.ipc.open_stream(output).read_all().to_pylist()
    return [piece.record for piece in pieces], [
        None if line["error"] is not None else line for line in lines
    ]


FORMATS = {"json": by_columns, "ndjson": by_lines, "arrow": by_arrow}


def recomputed(record: Record) -> list[dict[str, Any] | None]:
    """Return the answers of the library to recorded inputs."""
    assert record.model == PREDICTOR.model.to_dict()
    good = record.reasons == Reason.GOOD
    frame = ketacast.predict_many(
        record.failed_trials[good], record.infusions[good], record.rated_by[good], record.levels,
        PREDICTOR,
    ).to_frame()  # fmt: skip
    lines = iter(frame.to_dict("records"))
    return [next(lines) if answered else None for answered in good]  # type: ignore[misc]


@pytest.mark.parametrize("name", FORMATS)
@given(found=rows, levels=st.sampled_from([(0.8, 0.95), (0.5,)]))
@settings(deadline=None)
def test_answers_are_computed_again_from_records(
    name: str, found: list[Row], levels: tuple[float, ...]
) -> None:
    answer: Callable[[Sequence[Row], Sequence[float]], Answered] = FORMATS[name]
    records, answers = answer(found, levels)
    read = [read_record(record) for record in records]
    again = [line for record in read for line in recomputed(record)]
    assert len(again) == len(answers) == len(found)
    for line, other in zip(answers, again, strict=True):
        if line is None or other is None:
            assert line is other
        else:
            shared = line.keys() & other.keys()
            assert len(shared) >= 4
            assert {key: line[key] for key in shared} == {key: other[key] for key in shared}
    first = 0
    for record in read:
        assert record.source == name
        assert record.levels == levels
        assert record.first_row == first
        first += record.reasons.size


def test_refused_rows_are_kept_by_reason_without_their_values() -> None:
    bad: list[Row] = [(None, 1, "self"), (99, 1, "self"), (1, None, "self"), (1, 77, "self"),
                      (1, 1, None), (1, 1, "Ann Smith")]  # fmt: skip
    wanted = [
        Reason.TRIALS_MISSING, Reason.TRIALS_LIMITS, Reason.INFUSIONS_MISSING,
        Reason.INFUSIONS_LIMITS, Reason.RATER_MISSING, Reason.RATER_CHOICE,
    ]  # fmt: skip
    for name, answer in FORMATS.items():
        (record,) = answer(bad, (0.8,))[0]
        read = read_record(record)
        assert read.reasons.tolist() == wanted, name
        assert not read.failed_trials.any()
        assert not read.infusions.any()
        assert set(read.rated_by) == {""}
        head, _, body = record.partition(b"\n")
        assert b"Ann" not in head + zlib.decompress(body)
        assert json.loads(head)["refused"] == 6


def test_reasons_keep_their_numbers() -> None:
    assert {reason.name: int(reason) for reason in Reason} == {
        "GOOD": 0, "TRIALS_MISSING": 1, "TRIALS_TYPE": 2, "TRIALS_LIMITS": 3, "TRIALS_RANGE": 4,
        "INFUSIONS_MISSING": 5, "INFUSIONS_TYPE": 6, "INFUSIONS_LIMITS": 7, "RATER_MISSING": 8,
        "RATER_TYPE": 9, "RATER_CHOICE": 10, "NOT_OFFERED": 11, "UNKNOWN_FIELD": 12,
        "REPEATED_FIELD": 13, "NOT_AN_OBJECT": 14, "LINE_TOO_LONG": 15, "NOT_UTF8": 16,
        "NOT_JSON": 17,
    }  # fmt: skip


def test_records_are_small() -> None:
    rng = np.random.default_rng(1)
    n = 65_536
    document = {
        "failed_trials": rng.integers(0, 21, n).tolist(),
        "infusions": rng.integers(1, 31, n).tolist(),
        "rated_by": [RATERS[at] for at in rng.integers(0, 3, n)],
    }
    record = answer_columns(json.dumps(document).encode(), PREDICTOR, n).record
    assert len(record) < 2 * n
    read = read_record(record)
    assert read.failed_trials.tolist() == document["failed_trials"]
    assert read.infusions.tolist() == document["infusions"]
    assert read.rated_by.tolist() == document["rated_by"]


@given(st.data())
@settings(deadline=None)
def test_damaged_records_are_refused_or_read(data: st.DataObject) -> None:
    record = bytearray(by_columns([(6, 6, "self"), (99, 1, "self")] * 9, (0.8,))[0][0])
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(record) - 1))
        record[place] = data.draw(st.integers(0, 255))
    else:
        del record[data.draw(st.integers(0, len(record) - 1)) :]
    with contextlib.suppress(ServiceError):
        found = read_record(bytes(record))
        assert found.reasons.size == found.failed_trials.size == found.rated_by.size


def test_a_record_that_unpacks_to_more_than_it_claims_is_refused() -> None:
    head, _, _ = by_columns([(6, 6, "self")], (0.8,))[0][0].partition(b"\n")
    for size in (3, 5, 100_000_000):
        with pytest.raises(ServiceError, match="length that it claims"):
            read_record(head + b"\n" + zlib.compress(bytes(size)))
    for rows in (-1, 1.0, True, 10**12, None):
        header = json.dumps({**json.loads(head), "rows": rows}).encode()
        with pytest.raises(ServiceError, match="claims"):
            read_record(header + b"\n" + zlib.compress(bytes(4)))
    with pytest.raises(ServiceError, match="version 2"):
        read_record(head.replace(b'"version":1,', b'"version":2,') + b"\n")
