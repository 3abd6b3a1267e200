from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ketacast
from ketacast.clinical.artifact import load_artifact
from ketacast.errors import InputError, KetacastError
from ketacast.options import RATERS, Rater
from ketacast.prediction import OutcomeEstimate, Prediction

LEVELS = (0.5, 0.8, 0.9, 0.95)
inputs = st.tuples(st.integers(0, 20), st.integers(1, 30), st.sampled_from(RATERS))


def check_coherent(prediction: Prediction) -> None:
    points: list[Any] = [prediction, *prediction.course]
    for point in points:
        for name in ("expected", "median"):
            response, remission = getattr(point.response, name), getattr(point.remission, name)
            assert 0 <= remission <= response <= 1
        for kind in ("average_clinic", "new_clinic"):
            for level in getattr(point.response, kind):
                of_response = getattr(point.response, kind)[level]
                of_remission = getattr(point.remission, kind)[level]
                assert 0 <= of_remission.low <= of_response.low <= 1
                assert 0 <= of_remission.high <= of_response.high <= 1
        for estimate in (point.response, point.remission):
            check_nested(estimate)


def check_nested(estimate: OutcomeEstimate) -> None:
    outer = None
    for level in sorted(estimate.new_clinic, reverse=True):
        new, average = estimate.new_clinic[level], estimate.average_clinic[level]
        assert new.low <= average.low <= average.high <= new.high
        assert new.low <= estimate.median <= new.high
        if level >= 0.8:  # half of an average clinic's draws need not hold a pooled median
            assert average.low <= estimate.median <= average.high
        if outer is not None:
            assert outer.low <= new.low
            assert new.high <= outer.high
        outer = new


@given(inputs)
def test_point_predictions_are_coherent(drawn: tuple[int, int, Rater]) -> None:
    trials, infusions, rater = drawn
    prediction = ketacast.predict(
        failed_trials=trials, infusions=infusions, rated_by=rater, levels=LEVELS
    )
    check_coherent(prediction)
    assert [point.infusion for point in prediction.course] == list(range(1, infusions + 1))
    assert prediction.course[-1].response == prediction.response


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 20), st.integers(0, 6), st.integers(1, 12), st.sampled_from(RATERS))
def test_ranges_are_coherent(low: int, width: int, infusions: int, rater: Rater) -> None:
    high = min(20, low + width)
    prediction = ketacast.predict(
        failed_trials=(low, high), infusions=infusions, rated_by=rater, levels=LEVELS
    )
    check_coherent(prediction)
    codes = [notice.code for notice in prediction.warnings]
    assert ("failed_trials_range" in codes) == (low < high)


def test_the_answer_has_the_documented_shape() -> None:
    answer = ketacast.predict(failed_trials=6, infusions=6, rated_by="self").to_dict()
    assert list(answer) == [
        "model",
        "inputs",
        "response",
        "remission",
        "course",
        "warnings",
        "basis",
    ]
    assert answer["inputs"] == {
        "failed_trials": {"min": 6, "max": 6},
        "infusions": 6,
        "rated_by": "self",
    }
    assert set(answer["model"]) == {"name", "version", "sha256"}
    assert list(answer["response"]) == ["expected", "median", "average_clinic", "new_clinic"]
    assert list(answer["response"]["new_clinic"]) == ["0.8", "0.95"]
    assert list(answer["course"][0]) == ["infusion", "response", "remission"]
    assert set(answer["basis"]) == {"cohorts", "patients"}
    assert set(answer["warnings"][0]) == {"code", "message"}
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_a_range_is_the_equal_mixture_of_its_points() -> None:
    points = [ketacast.predict(failed_trials=n, infusions=6, rated_by="self") for n in range(4, 9)]
    mixed = ketacast.predict(failed_trials=(4, 8), infusions=6, rated_by="self")
    for outcome in ("response", "remission"):
        mean = np.mean([getattr(point, outcome).expected for point in points])
        assert getattr(mixed, outcome).expected == pytest.approx(mean, abs=1e-9)
        lows = [getattr(point, outcome).new_clinic[0.8].low for point in points]
        assert min(lows) <= getattr(mixed, outcome).new_clinic[0.8].low <= max(lows)
    same = ketacast.predict(failed_trials=(6, 6), infusions=6, rated_by="self")
    assert same == ketacast.predict(failed_trials=6, infusions=6, rated_by="self")


def test_other_levels_come_from_the_same_draws() -> None:
    usual = ketacast.predict(failed_trials=5, infusions=4, rated_by="unknown", levels=(0.8,))
    mixed = ketacast.predict(failed_trials=5, infusions=4, rated_by="unknown", levels=(0.8, 0.6))
    assert mixed.response.expected == usual.response.expected
    assert mixed.response.new_clinic[0.8] == usual.response.new_clinic[0.8]
    inner, outer = mixed.response.new_clinic[0.6], mixed.response.new_clinic[0.8]
    assert outer.low < inner.low < inner.high < outer.high


@pytest.mark.parametrize("infusions", [9, 15, 30])
def test_infusions_beyond_the_plateau_are_answered_as_the_plateau(infusions: int) -> None:
    plateau = ketacast.predict(failed_trials=6, infusions=8, rated_by="self")
    beyond = ketacast.predict(failed_trials=6, infusions=infusions, rated_by="self")
    assert beyond.response == plateau.response
    assert "infusions_extrapolated" in [notice.code for notice in beyond.warnings]
    assert "infusions_extrapolated" not in [notice.code for notice in plateau.warnings]


@pytest.mark.parametrize(
    ("trials", "code"),
    [
        (0, "not_treatment_resistant"),
        (1, "not_treatment_resistant"),
        (13, "failed_trials_extrapolated"),
        (20, "failed_trials_extrapolated"),
        ((1, 14), "failed_trials_extrapolated"),
        ((1, 14), "not_treatment_resistant"),
    ],
)
def test_extrapolation_is_flagged(trials: Any, code: str) -> None:
    prediction = ketacast.predict(failed_trials=trials, infusions=6, rated_by="clinician")
    assert code in [notice.code for notice in prediction.warnings]


def test_standing_limits_are_always_told() -> None:
    inside = ketacast.predict(failed_trials=6, infusions=6, rated_by="clinician")
    codes = [notice.code for notice in inside.warnings]
    assert codes == ["assumed_failed_trials_slope", "group_level_evidence"]
    unknown = ketacast.predict(failed_trials=6, infusions=6, rated_by="unknown")
    assert "rater_unknown" in [notice.code for notice in unknown.warnings]


@pytest.mark.parametrize(
    "bad",
    [-1, 21, 1.5, 6.0, float("nan"), True, "6", None, (3,), (8, 4), (1, 2, 3), (True, 4), [2, 30]],
)
def test_bad_failed_trials_are_refused(bad: Any) -> None:
    with pytest.raises(InputError, match="failed_trials"):
        ketacast.predict(failed_trials=bad, infusions=6, rated_by="self")


@pytest.mark.parametrize("bad", [0, 31, -3, 2.5, float("inf"), False, "6", None, [6]])
def test_bad_infusions_are_refused(bad: Any) -> None:
    with pytest.raises(InputError, match="infusions"):
        ketacast.predict(failed_trials=6, infusions=bad, rated_by="self")


@pytest.mark.parametrize("bad", ["", "Self", "doctor", None, 1, ["self"]])
def test_bad_raters_are_refused(bad: Any) -> None:
    with pytest.raises(InputError, match="rated_by"):
        ketacast.predict(failed_trials=6, infusions=6, rated_by=bad)


@pytest.mark.parametrize(
    "bad", [(), (0.0,), (1.0,), (80,), (float("nan"),), ("0.8",), (True,), 0.8]
)
def test_bad_levels_are_refused(bad: Any) -> None:
    with pytest.raises(InputError, match="level"):
        ketacast.predict(failed_trials=6, infusions=6, rated_by="self", levels=bad)


def test_there_is_no_default_rater() -> None:
    with pytest.raises(TypeError, match="rated_by"):
        ketacast.predict(failed_trials=6, infusions=6)  # type: ignore[call-arg]


def test_numpy_integers_are_whole_numbers() -> None:
    a = ketacast.predict(failed_trials=np.int64(6), infusions=np.int32(6), rated_by="self")  # type: ignore[arg-type]
    assert a == ketacast.predict(failed_trials=6, infusions=6, rated_by="self")
    with pytest.raises(InputError):
        ketacast.predict(failed_trials=np.float64(6), infusions=6, rated_by="self")  # type: ignore[arg-type]
    with pytest.raises(InputError):
        ketacast.predict(failed_trials=np.True_, infusions=6, rated_by="self")  # type: ignore[arg-type]


def test_a_point_prediction_needs_the_standard_library_only() -> None:
    code = (
        "import sys, ketacast;"
        "print(ketacast.predict(failed_trials=6, infusions=6, rated_by='unknown'));"
        "heavy = {'numpy', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_errors_share_one_root() -> None:
    assert issubclass(InputError, KetacastError)
    with pytest.raises(AttributeError, match="no attribute"):
        _ = ketacast.nothing_of_the_kind
    assert "predict" in dir(ketacast)


@given(inputs)
def test_the_text_keeps_to_80_columns_and_names_the_level(drawn: tuple[int, int, Rater]) -> None:
    trials, infusions, rater = drawn
    text = str(ketacast.predict(failed_trials=trials, infusions=infusions, rated_by=rater))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "80 % range" in text
    assert "95 % range" in text
    assert "Not a medical device" in text


def test_many_threads_get_the_same_answers() -> None:
    predictor = ketacast.Predictor(load_artifact())
    asked: list[tuple[Any, int]] = [(n, d) for n in range(21) for d in (1, 6, 12)]
    asked += [((n, n + 2), 4) for n in range(10)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: predictor.predict(pair[0], pair[1], "self"), asked * 3))
    for (trials, infusions), prediction in zip(asked * 3, found, strict=True):
        assert prediction == ketacast.predict(
            failed_trials=trials, infusions=infusions, rated_by="self"
        )
