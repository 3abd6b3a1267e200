"""The artifact is refused unless every byte of it is what was written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.clinical.artifact import (
    ARTIFACT_NAME,
    BLANK_DIGEST,
    DRAWS_NAME,
    default_model_directory,
    digest_of,
    load_artifact,
)
from ketacast.clinical.draws import load_draws
from ketacast.errors import ArtifactError

MODEL = Path(__file__).resolve().parents[2] / "models" / "ketamine-trd"
RAW = (MODEL / ARTIFACT_NAME).read_bytes()
SCHEMA: dict[str, Any] = json.loads((MODEL / "artifact.schema.json").read_text(encoding="utf-8"))
Change = Callable[[dict[str, Any]], None]


def load_bytes(directory: Path, raw: bytes) -> Any:
    (directory / ARTIFACT_NAME).write_bytes(raw)
    load_artifact.cache_clear()
    return load_artifact(directory)


def signed(document: dict[str, Any]) -> bytes:
    """The document with the digest that its content asks for."""
    document["sha256"] = BLANK_DIGEST
    raw = json.dumps(document).encode()
    return raw.replace(BLANK_DIGEST.encode(), digest_of(raw).encode(), 1)


def content() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(RAW)
    return document


def test_the_committed_model_loads() -> None:
    load_artifact.cache_clear()
    artifact = load_artifact(MODEL)
    assert artifact.name == "ketamine-trd"
    assert artifact.sha256 == digest_of(RAW)
    assert artifact.levels == (0.5, 0.8, 0.9, 0.95)
    assert artifact.content["evidence"]["cohorts"] == 24
    assert artifact.content["evidence"]["rows"] == 30
    assert artifact.content["draws"]["quantile_error"] <= 0.013
    assert load_draws(artifact).beta.shape == (4096, 8)
    assert default_model_directory().name == "ketamine-trd"


def test_an_unchanged_copy_and_a_signed_rewrite_load(tmp_path: Path) -> None:
    assert load_bytes(tmp_path, RAW).sha256 == digest_of(RAW)
    assert load_bytes(tmp_path, signed(content())).content["model"] == content()["model"]


# Numbers proper: after a bracket or a space, not digits of a version or a digest.
NUMBERS = [match.span(1) for match in re.finditer(rb"[\[ ](-?\d+\.\d+(?:e-?\d+)?)[,\]}]", RAW)]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_changed_digit_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    start, end = data.draw(st.sampled_from(NUMBERS))
    place = data.draw(st.integers(start, end - 1))
    old = RAW[place : place + 1]
    digits = [b"%d" % digit for digit in range(10) if b"%d" % digit != old]
    raw = RAW[:place] + data.draw(st.sampled_from(digits)) + RAW[place + 1 :]
    with pytest.raises(ArtifactError):
        load_bytes(tmp_path_factory.mktemp("artifact"), raw)


@given(st.integers(0, len(RAW) - 2))
@settings(max_examples=40, deadline=None)
def test_any_truncation_is_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    with pytest.raises(ArtifactError):
        load_bytes(tmp_path_factory.mktemp("artifact"), RAW[:length])


@given(st.binary(min_size=0, max_size=60))
@settings(max_examples=40, deadline=None)
def test_any_other_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    with pytest.raises(ArtifactError):
        load_bytes(tmp_path_factory.mktemp("artifact"), raw)


@pytest.mark.parametrize(
    "raw",
    [
        RAW + b" ",
        RAW.replace(b"\n", b"\r\n"),
        RAW.replace(b'"mean": ', b'"mean":  ', 1),
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"schema_version": true}',
        b'{"schema_version": "1"}',
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "sha256": 3}',
        b'{"schema_version": 1, "sha256": "abc"}',
    ],
)
def test_other_documents_are_refused(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(ArtifactError):
        load_bytes(tmp_path, raw)


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity"])
def test_literals_that_are_no_numbers_are_refused(tmp_path: Path, literal: bytes) -> None:
    for start, end in (NUMBERS[0], NUMBERS[len(NUMBERS) // 2], NUMBERS[-1]):
        raw = RAW[:start] + literal + RAW[end:]
        with pytest.raises(ArtifactError, match="not a number"):
            load_bytes(tmp_path, raw)


def test_other_schemas_are_refused(tmp_path: Path) -> None:
    for version, remedy in ((2, "update ketacast"), (0, "ketacast fit")):
        document = content()
        document["schema_version"] = version
        with pytest.raises(ArtifactError, match=remedy):
            load_bytes(tmp_path, signed(document))


def poke(path: str, value: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        place: Any = document
        for key in parents:
            place = place[int(key) if isinstance(place, list) else key]
        place[int(last) if isinstance(place, list) else last] = value

    return change


def lift_remission(document: dict[str, Any]) -> None:
    values = document["table"]["values"]
    values["remission"][6][5][0][0] = values["response"][6][5][0][0] + 0.01


# With a right digest, so that the content alone gives them away.
BROKEN: list[Change] = [
    *(lambda document, key=key: document.pop(key) for key in (
        "model", "evidence", "recipe", "draws", "coding", "support", "coefficients",
        "covariance", "table",
    )),
    poke("model.name", 3),
    poke("evidence.cohorts", "24"),
    poke("evidence.cohorts", True),
    poke("draws.sha256", None),
    poke("coding.plateau_infusions", "8"),
    poke("support.infusions", 8),
    poke("table.values", []),
    poke("table.values.response.6.5", []),
    poke("table.values.response.6.5.0", [0.5]),
    poke("table.values.response.6.5.0.0", 1.5),
    poke("table.values.response.6.5.0.0", -0.1),
    poke("table.values.response.6.5.0.0", "0.5"),
    poke("table.values.response.6.5.0.0", None),
    poke("table.values.response.6.5.0.0", True),
    poke("table.columns", ["expected"]),
    lambda document: document["table"]["values"].pop("remission"),
]  # fmt: skip


# Beyond what a schema can state.
INCOHERENT: list[Change] = [
    lift_remission,
    poke("draws.count", 4096.0),
    poke("table.values.response.6", [[]]),
    lambda document: document["table"]["failed_trials"].append(21),
]


@pytest.mark.parametrize("change", [*BROKEN, *INCOHERENT])
def test_broken_content_is_refused_even_with_a_right_digest(tmp_path: Path, change: Change) -> None:
    document = content()
    change(document)
    with pytest.raises(ArtifactError):
        load_bytes(tmp_path, signed(document))


# What would otherwise become an error of another kind, or a wrong answer, much later.
MALFORMED: list[Change] = [
    poke("table.values.response.6", 3),
    poke("table.values.response.6.5", None),
    poke("table.values.response.6.5.0", 0.5),
    poke("table.values.response", None),
    poke("coefficients", []),
    poke("coefficients", None),
    poke("coefficients.0.mean", "x"),
    poke("covariance", 1),
    poke("support.infusions", [1]),
    poke("support.failed_trials", ["2", "12"]),
    poke("table.raters", ["self", "clinician", "nobody"]),
]


@pytest.mark.parametrize("change", MALFORMED, ids=[str(i) for i in range(len(MALFORMED))])
def test_malformed_content_is_refused(tmp_path: Path, change: Change) -> None:
    document = content()
    change(document)
    with pytest.raises(ArtifactError):
        load_bytes(tmp_path, signed(document))


def test_a_missing_artifact_is_named(tmp_path: Path) -> None:
    load_artifact.cache_clear()
    with pytest.raises(ArtifactError, match="cannot read"):
        load_artifact(tmp_path)


def test_draws_of_another_model_are_refused(tmp_path: Path) -> None:
    shutil.copy(MODEL / ARTIFACT_NAME, tmp_path)
    load_artifact.cache_clear()
    artifact = load_artifact(tmp_path)
    with pytest.raises(ArtifactError, match="cannot read"):
        load_draws(artifact)
    raw = bytearray((MODEL / DRAWS_NAME).read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / DRAWS_NAME).write_bytes(bytes(raw))
    with pytest.raises(ArtifactError, match="does not belong"):
        load_draws(artifact)


# The published schema


def test_the_committed_artifact_fits_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(content())


def described(node: object) -> int:
    """Properties without a description."""
    if isinstance(node, dict):
        bare = 0
        for name, entry in node.get("properties", {}).items():
            bare += "description" not in entry and not name.startswith("tau_")
        return bare + sum(described(value) for value in node.values())
    return 0


def test_every_entry_of_the_schema_is_described() -> None:
    assert described(SCHEMA) == 0


@pytest.mark.parametrize("change", [*BROKEN, *MALFORMED, poke("extra", 1), poke("sha256", "0")])
def test_broken_documents_do_not_fit_the_schema(change: Change) -> None:
    document = content()
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)
