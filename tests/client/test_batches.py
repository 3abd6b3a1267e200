"""Many patients: columns go out, columns come back, whatever is wrong is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]  # it has no types
import pytest
from tests.client.misbehaving import Planned, misbehaving, served

import ketacast
from ketacast.client import Client, ServedBatch, ServiceAnswerError
from ketacast.errors import InputError

TRIALS = [2, 6, 12]


def batch_document(**changes: Any) -> dict[str, Any]:
    """Return what the service answers for three patients."""
    made = ketacast.predict(failed_trials=6, infusions=6, rated_by="self").to_dict()
    frame = ketacast.predict_many(TRIALS, 6, "self").to_frame()
    found = {
        "model": made["model"],
        "basis": made["basis"],
        "levels": [0.8, 0.95],
        "rows": 3,
        "refused": 0,
        "columns": {name: frame[name].tolist() for name in frame},
        "warnings": made["warnings"],
        "errors": [],
    }
    return {**found, **changes}


def ask(document: dict[str, Any], *given: Any, **named: Any) -> tuple[ServedBatch, Any]:
    with misbehaving(served(document)) as server, Client(server.url) as client:
        found = client.predict_many(*(given or (TRIALS, 6, "self")), **named)
    return found, server.seen[0].document


def test_columns_are_those_of_the_library() -> None:
    found, asked = ask(batch_document())
    frame = ketacast.predict_many(TRIALS, 6, "self").to_frame()
    pd.testing.assert_frame_equal(found.to_frame(), frame)
    assert found.column("response_expected") == frame["response_expected"].tolist()
    assert found.to_numpy("remission_median").tolist() == frame["remission_median"].tolist()
    assert (found.rows, found.levels, found.basis.cohorts) == (3, (0.8, 0.95), 24)
    assert repr(found) == "ServedBatch(3 rows, 0 refused)"
    assert asked == {"failed_trials": TRIALS, "infusions": [6] * 3, "rated_by": ["self"] * 3}


@pytest.mark.parametrize(
    "trials",
    [np.array(TRIALS), np.array(TRIALS, dtype=float), pd.Series(TRIALS), tuple(TRIALS)],
    ids=["integers", "floats", "series", "tuple"],
)
def test_columns_of_any_kind_are_taken(trials: Any) -> None:
    raters = np.array(["self"] * 3)
    _, asked = ask(batch_document(), trials, pd.Series([6, 6, 6]), raters, levels=(0.95, 0.8))
    assert asked["failed_trials"] == TRIALS
    assert asked["rated_by"] == ["self"] * 3
    assert asked["levels"] == [0.8, 0.95]


def test_refused_rows_have_no_numbers() -> None:
    document = batch_document(
        refused=1,
        errors=[{"row": 1, "field": "/failed_trials/1", "type": "x", "detail": "d", "remedy": "r"}],
    )
    for values in document["columns"].values():
        values[1] = None
    found, _ = ask(document)
    assert math.isnan(found.to_numpy("response_expected")[1])
    assert [(error.row, error.detail, error.remedy) for error in found.errors] == [(1, "d", "r")]


def changed(column: str, values: Any) -> dict[str, Any]:
    document = batch_document()
    document["columns"][column] = values
    return document


WRONG = {
    "rows": (batch_document(rows=2), "it has 2 rows, asked were 3"),
    "short": (changed("response_expected", [0.1, 0.2]), "has 2 values, asked were 3"),
    "missing": (changed("response_expected", [0.1, None, 0.2]), "holds something else"),
    "large": (changed("response_expected", [0.1, 1.2, 0.2]), "holds something else"),
    "infinite": (changed("response_expected", [0.1, 1e308 * 10, 0.2]), "Infinity"),
    "text": (changed("response_expected", [0.1, "0.2", 0.2]), "holds something else"),
    "flags": (changed("extrapolated", [0, 1, 0]), "holds something else"),
    "no columns": (batch_document(columns={}), "/columns/response_expected is missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_to_something_else_is_refused(name: str) -> None:
    document, message = WRONG[name]
    with pytest.raises(ServiceAnswerError, match=message):
        ask(json.loads(json.dumps(document)))


def test_levels_are_those_asked() -> None:
    with pytest.raises(ServiceAnswerError, match=r"levels \[0.8, 0.95\], asked was \[0.5\]"):
        ask(batch_document(), TRIALS, 6, "self", [0.5])


def test_an_unknown_column_lists_the_known() -> None:
    found, _ = ask(batch_document())
    with pytest.raises(InputError, match="no column 'x'; choose one of response_expected, "):
        found.column("x")


def test_the_faulty_row_is_named() -> None:
    with Client() as client:
        for given, message in (
            (([1, 2.5], 6, "self"), r"failed_trials\[1\] is 2.5"),
            (([1, None], 6, "self"), r"failed_trials\[1\] is None"),
            (([1, 2], 6, ["self", "nurse"]), r"rated_by\[1\] is 'nurse'"),
            (([1, 2], [6], "self"), "failed_trials has 2, infusions has 1"),
        ):
            with pytest.raises(InputError, match=message):
                client.predict_many(*given)


def stream(table: Any, **metadata: Any) -> bytes:
    given = {"ketacast.levels": "[0.8, 0.95]", "ketacast.model_sha256": "0", **metadata}
    body = pa.BufferOutputStream()
    kept = table.replace_schema_metadata({k: v for k, v in given.items() if v is not None})
    with pa.ipc.new_stream(body, kept.schema) as writer:
        writer.write_table(kept)
    return bytes(body.getvalue().to_pybytes())


ASKED = pa.table({"failed_trials": [6, 7], "infusions": [6, 6], "rated_by": ["self", "self"]})
GOOD = pa.table({"response_expected": [0.1, 0.2]})
ARROW = "application/vnd.apache.arrow.stream"

WRONG_TABLES = {
    "JSON": (b"{}", "application/json", "it is application/json, not application/vnd"),
    "no end": (stream(GOOD)[:-8], ARROW, "end mark is missing"),
    "no stream": (b"x" * 64 + b"\xff" * 4 + bytes(4), ARROW, "it is no Arrow stream"),
    "short": (stream(GOOD.slice(1)), ARROW, "it has 1 rows, asked were 2"),
    "no model": (stream(GOOD, **{"ketacast.model_sha256": None}), ARROW, "names no model"),
    "levels": (stream(GOOD, **{"ketacast.levels": "[0.5]"}), ARROW, "it has the levels"),
    "large": (stream(pa.table({"response_expected": [0.1, 1.2]})), ARROW, "no probability"),
    "NaN": (stream(pa.table({"remission_median": [0.1, math.nan]})), ARROW, "no probability"),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_a_table_that_is_none_is_refused(name: str) -> None:
    body, kind, message = WRONG_TABLES[name]
    plan = Planned(200, body, {"Content-Type": kind})
    refused = pytest.raises(ServiceAnswerError, match=message)
    with misbehaving(plan) as server, Client(server.url) as client, refused:
        client.predict_table(ASKED, [0.8, 0.95])
    assert server.seen[0].path == "/v1/predictions/batch?levels=0.8%2C0.95"
    assert pa.ipc.open_stream(server.seen[0].body).read_all() == ASKED
