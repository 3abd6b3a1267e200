"""A prediction goes through JSON and comes back the same, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ketacast
from ketacast.client import prediction_from_dict
from ketacast.errors import InputError
from ketacast.options import RATERS
from ketacast.predictor import load_predictor
from ketacast.updating import Batch, Cell, update_clinic

trials = st.integers(0, 20)
numbers = st.integers(1, 30)


@settings(max_examples=150, deadline=None)
@given(trials, numbers, st.sampled_from(RATERS), st.sampled_from([(0.8, 0.95), (0.5,), (0.9,)]))
def test_a_point_comes_back_equal(
    failed: int, infusions: int, rater: Any, levels: tuple[float, ...]
) -> None:
    made = ketacast.predict(
        failed_trials=failed, infusions=infusions, rated_by=rater, levels=levels
    )
    text = json.dumps(made.to_dict())
    back = prediction_from_dict(json.loads(text))
    assert back == made
    assert json.dumps(back.to_dict()) == text


@pytest.fixture(scope="module")
def clinic() -> Any:
    cell = Cell((4, 8), 6, "self", "all_treated", 20, 8, 4)
    artifact = load_predictor().artifact
    return update_clinic(artifact, [Batch("2026-Q1", (cell,))], None, label="Day clinic")


@pytest.mark.parametrize(
    "asked",
    [
        {"failed_trials": (4, 8), "infusions": 8},
        {"failed_trials": 5, "infusions": 6, "so_far": "NNR"},
        {"failed_trials": 5, "infusions": 6, "levels": (0.123, 0.5, 0.99)},
    ],
    ids=["range", "under way", "levels"],
)
@pytest.mark.parametrize("with_clinic", [False, True], ids=["new", "own"])
def test_every_kind_comes_back_equal(asked: Any, with_clinic: bool, clinic: Any) -> None:
    given = {"clinic": clinic} if with_clinic else {}
    made = ketacast.predict(rated_by="self", **asked, **given)
    back = prediction_from_dict(json.loads(json.dumps(made.to_dict())))
    assert back == made
    assert back.to_dict() == made.to_dict()
    assert str(back) == str(made)


def test_keys_of_later_versions_are_left_alone(tmp_path: Path) -> None:
    made = ketacast.predict(failed_trials=6, infusions=6, rated_by="self")
    document = made.to_dict()
    document["later"] = {"anything": 1}
    document["response"]["later"] = 2
    assert prediction_from_dict(document) == made


BAD: list[tuple[tuple[str, ...], Any, str]] = [
    (("response", "expected"), 1.5, "/response/expected is 1.5"),
    (("response", "expected"), float("nan"), "/response/expected is nan"),
    (("response", "expected"), True, "/response/expected is True"),
    (("response", "expected"), "0.4", "/response/expected is '0.4'"),
    (("response", "expected"), 10**400, "/response/expected is 1000"),
    (("remission", "median"), None, "/remission/median is None"),
    (("response", "new_clinic"), {}, "/response/new_clinic is {}"),
    (("response", "new_clinic"), {"x": [0, 1]}, "/response/new_clinic/x is 'x'"),
    (("response", "new_clinic"), {"2": [0, 1]}, "/response/new_clinic/2 is '2'"),
    (("response", "new_clinic"), {"0.8": [0.5, 0.1]}, r"is \[0.5, 0.1\], not \[low, high\]"),
    (("response", "new_clinic"), {"0.8": [0.5]}, r"is \[0.5\], not \[low, high\]"),
    (("inputs", "infusions"), 6.0, "/inputs/infusions is 6.0"),
    (("inputs", "infusions"), -1, "/inputs/infusions is -1"),
    (("inputs", "rated_by"), 3, "/inputs/rated_by is 3"),
    (("course",), {}, "/course is {}, not a list"),
    (("course",), [3], "/course/0 is 3, not an object"),
    (("model",), [], r"/model is \[\], not an object"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_a_damaged_document_is_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    document = ketacast.predict(failed_trials=6, infusions=6, rated_by="self").to_dict()
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(InputError, match=message):
        prediction_from_dict(document)


@pytest.mark.parametrize("name", ["model", "inputs", "response", "course", "warnings", "basis"])
def test_a_missing_part_is_named(name: str) -> None:
    document = ketacast.predict(failed_trials=6, infusions=6, rated_by="self").to_dict()
    del document[name]
    with pytest.raises(InputError, match=f"/{name} is missing; client and service"):
        prediction_from_dict(document)


def test_something_else_is_refused() -> None:
    document: Any = [1, 2]
    with pytest.raises(InputError, match=r"the document is .* not an object"):
        prediction_from_dict(document)
