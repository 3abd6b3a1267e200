"""Both clients against the real service over HTTP: the library's numbers to the last digit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]  # it has no types
import pytest
from tests.client.calling import KINDS, Kind, call
from tests.service.running import Running, running_service

import ketacast
from ketacast.cli import main
from ketacast.client import Client, ServiceAnswerError
from ketacast.errors import InputError
from ketacast.updating import load_clinic

ASKED: dict[str, Any] = {"failed_trials": 6, "infusions": 6, "rated_by": "self"}
COUNTS = [
    {
        "batch": "2026-Q1",
        "cells": [
            {
                "failed_trials": [4, 8],
                "infusions": 6,
                "rated_by": "self",
                "denominator": "all_treated",
                "n": 20,
                "responders": 8,
                "remitters": 4,
            }
        ],
    }
]


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running_service() as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "asked",
    [
        ASKED,
        {"failed_trials": (4, 8), "infusions": 8, "rated_by": "clinician"},
        {"failed_trials": 5, "infusions": 6, "rated_by": "unknown", "so_far": "nnr"},
        {"failed_trials": 20, "infusions": 30, "rated_by": "self", "levels": [0.5, 0.123]},
    ],
    ids=["point", "range", "under way", "levels"],
)
def test_predictions_are_those_of_the_library(
    kind: Kind, asked: dict[str, Any], service: Running
) -> None:
    answer = call(kind, service.url, "predict", **asked)
    made = ketacast.predict(**asked)
    assert answer.prediction == made
    assert answer.prediction.to_dict() == made.to_dict()
    record = call(kind, service.url, "recall", answer.id)
    assert record.prediction == made
    assert (record.kind, record.request_id) == ("prediction", answer.request_id)
    assert record.model_sha256 == made.model.sha256


@pytest.mark.parametrize("kind", KINDS)
def test_many_are_those_of_the_library(kind: Kind, service: Running) -> None:
    trials = list(range(21)) * 10
    found = call(kind, service.url, "predict_many", trials, 6, "self", [0.5, 0.95])
    made = ketacast.predict_many(trials, 6, "self", [0.5, 0.95]).to_frame()
    pd.testing.assert_frame_equal(found.to_frame(), made, check_exact=True)
    assert {notice.code for notice in found.warnings} >= {"group_level_evidence"}


def test_rows_that_the_service_refuses_are_listed(service: Running) -> None:
    with Client(service.url) as client:
        found = client.predict_many([6, 99, 6], 6, "self")
    assert [error.row for error in found.errors] == [1]
    assert found.column("response_expected")[1] is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_clinic_from_nothing_to_its_own_range(
    kind: Kind, service: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = call(kind, service.url, "create_clinic", "Day clinic")
    assert (made.label, made.n, made.method) == ("Day clinic", 0, "new clinic")
    grown = call(kind, service.url, "add_outcomes", made.id, COUNTS)
    assert (grown.id, grown.n, grown.batches) == (made.id, 20, ("2026-Q1",))
    assert grown == call(kind, service.url, "clinic", made.id)
    with pytest.raises(ServiceAnswerError) as caught:
        call(kind, service.url, "add_outcomes", made.id, COUNTS)
    assert caught.value.status in (409, 422)

    file = tmp_path / "clinic.json"
    file.write_bytes(call(kind, service.url, "clinic_profile", made.id))
    profile = load_clinic(file)  # the library verifies the digest of these very bytes
    assert profile.sha256 == grown.sha256
    expected = ketacast.predict(**ASKED, clinic=profile)
    assert call(kind, service.url, "predict", clinic=made.id, **ASKED).prediction == expected
    assert call(kind, service.url, "predict", clinic=profile, **ASKED).prediction == expected
    assert main(["clinic", "show", str(file)]) == 0
    assert "Day clinic" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_numbers_rest_on(kind: Kind, service: Running) -> None:
    sha256 = ketacast.predict(**ASKED).model.sha256
    assert call(kind, service.url, "model")["sha256"] == sha256
    assert call(kind, service.url, "version")["model"]["sha256"] == sha256
    assert call(kind, service.url, "card")
    assert "<html" in call(kind, service.url, "card_text", "html")
    assert call(kind, service.url, "card_text").startswith("#")
    assert call(kind, service.url, "source_attributes")
    rows = call(kind, service.url, "evidence", "outcomes", outcome="response", in_model=True)
    assert rows
    assert {row["outcome"] for row in rows} == {"response"}
    assert call(kind, service.url, "evidence")[0]["cohort_id"]
    assert call(kind, service.url, "is_ready") is True


def test_a_refusal_says_which_field_and_how_to_mend_it(service: Running) -> None:
    with Client(service.url) as client, pytest.raises(ServiceAnswerError) as caught:
        client.predict(failed_trials=6, infusions=99, rated_by="self")
    error = caught.value
    assert (error.status, error.slug) == (422, "invalid-input")
    assert error.errors[0].field == "/infusions"
    assert error.errors[0].remedy
    assert error.request_id


def test_what_is_not_there_is_said(service: Running) -> None:
    with Client(service.url) as client, pytest.raises(ServiceAnswerError) as caught:
        client.recall("00000000-0000-7000-8000-000000000000")
    assert (caught.value.status, caught.value.slug) == (404, "not-found")


def test_a_record_of_another_kind_holds_no_prediction(service: Running) -> None:
    with Client(service.url) as client:
        answer = client.predict(**ASKED)
        record = client.recall(answer.id)
    other = type(record)(**{**{n: getattr(record, n) for n in record.__slots__}, "kind": "batch"})
    with pytest.raises(InputError, match="holds no single prediction"):
        _ = other.prediction


def test_a_key_opens_what_it_is_for(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef" * 4)
    secret.chmod(0o600)
    with running_service(auth="keys", secret_file=secret) as service:
        made = subprocess.run(
            [sys.executable, "-m", "ketacast_service", "keys", "create", "--name", "test",
             "--scopes", "predict"],
            env=dict(service.environment), check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        token = next(word for word in made.stdout.split() if word.startswith("kc_"))
        with Client(service.url, token=token) as client:
            assert client.predict(**ASKED).prediction == ketacast.predict(**ASKED)
            with pytest.raises(ServiceAnswerError) as caught:
                client.model()
            assert (caught.value.status, caught.value.slug) == (403, "not-allowed")
        with Client(service.url, token=token[:-1] + "x") as client:
            with pytest.raises(ServiceAnswerError) as caught:
                client.predict(**ASKED)
            assert (caught.value.status, caught.value.slug) == (401, "not-authenticated")
        assert token not in service.log.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_gets_the_numbers_of_the_library(kind: Kind, service: Running) -> None:
    trials = list(range(21)) * 1000
    table = pa.table(
        {
            "failed_trials": trials,
            "infusions": [6] * len(trials),
            "rated_by": ["self"] * len(trials),
        }
    )
    found = call(kind, service.url, "predict_table", table, [0.95, 0.5])
    made = ketacast.predict_many(trials, 6, "self", [0.5, 0.95]).to_frame()
    shown = found.to_pandas()[list(made.columns)]
    pd.testing.assert_frame_equal(shown, made, check_exact=True)
    sha256 = ketacast.predict(**ASKED).model.sha256.encode()
    assert found.schema.metadata[b"ketacast.model_sha256"] == sha256


def test_refused_rows_of_a_table_say_why(service: Running) -> None:
    table = pa.table({"failed_trials": [6, 99], "infusions": [6, 6], "rated_by": ["self"] * 2})
    with Client(service.url) as client:
        found = client.predict_table(table)
    assert found.column("response_expected").to_pylist()[1] is None
    assert "failed_trials is 99" in found.column("error").to_pylist()[1]


def test_further_columns_are_not_sent(service: Running) -> None:
    table = pa.table({"failed_trials": [6], "infusions": [6], "rated_by": ["self"], "name": ["x"]})
    with Client(service.url) as client, pytest.raises(InputError, match="no further one"):
        client.predict_table(table)
