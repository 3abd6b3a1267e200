from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ketacast
from ketacast.errors import InputError
from ketacast.options import RATERS


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30), st.sampled_from(RATERS)), min_size=1)
)
def test_rows_equal_single_predictions_to_the_last_bit(rows: list[tuple[int, int, Any]]) -> None:
    trials, infusions, raters = (list(column) for column in zip(*rows, strict=True))
    many = ketacast.predict_many(trials, infusions, raters)
    for i, (count, number, rater) in enumerate(rows):
        one = ketacast.predict(failed_trials=count, infusions=number, rated_by=rater)
        for outcome in ("response", "remission"):
            columns, estimate = getattr(many, outcome), getattr(one, outcome)
            assert columns.expected[i] == estimate.expected
            assert columns.median[i] == estimate.median
            for kind in ("average_clinic", "new_clinic"):
                for level in (0.8, 0.95):
                    bounds = getattr(estimate, kind)[level]
                    assert columns.column(f"{kind}_{100 * level:g}_low")[i] == bounds.low
                    assert columns.column(f"{kind}_{100 * level:g}_high")[i] == bounds.high
        flagged = {
            "infusions_extrapolated",
            "failed_trials_extrapolated",
            "not_treatment_resistant",
        }
        assert many.extrapolated[i] == bool(flagged & {notice.code for notice in one.warnings})


def test_scalars_are_shared_by_all_rows() -> None:
    many = ketacast.predict_many(np.arange(21), 6, "self", levels=(0.5,))
    assert many.response.expected.shape == (21,)
    frame = many.to_frame()
    assert list(frame.columns[:3]) == [
        "response_expected",
        "response_median",
        "response_average_clinic_50_low",
    ]
    assert len(frame) == 21
    assert (frame["remission_expected"] <= frame["response_expected"]).all()


@pytest.mark.parametrize(
    ("trials", "infusions", "rater", "named"),
    [
        ([1, 21], 6, "self", r"failed_trials\[1\] is 21"),
        ([1, -1], 6, "self", r"failed_trials\[1\] is -1"),
        ([1.0, 2.5], 6, "self", r"failed_trials\[1\] is 2.5"),
        ([1.0, np.nan], 6, "self", r"failed_trials\[1\] is nan"),
        ([True, False], 6, "self", "type bool"),
        (["6"], 6, "self", "type"),
        ([[1, 2]], 6, "self", "shape"),
        ([6], 0, "self", r"infusions\[0\] is 0"),
        ([6], 31, "self", r"infusions\[0\] is 31"),
        ([6, 6], 6, ["self", "doctor"], "'doctor'"),
        ([6, 6], [1, 2, 3], "self", "different lengths"),
    ],
)
def test_bad_rows_are_named(trials: Any, infusions: Any, rater: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        ketacast.predict_many(trials, infusions, rater)


def test_levels_outside_the_table_are_refused() -> None:
    with pytest.raises(InputError, match=r"0\.6"):
        ketacast.predict_many([6], 6, "self", levels=(0.6,))
    with pytest.raises(InputError, match="no column"):
        ketacast.predict_many([6], 6, "self").response.column("mean")
