"""Warnings of cluster-robust inference that rests on too few clusters."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from ketacast import MetaRegression
from ketacast.design import DataWarning
from ketacast.numerics.robust_fit import RobustKind

KINDS = get_args(RobustKind)
FRAME = pd.DataFrame(
    {
        "y": [0.1, 0.5, 0.3, 0.2, 0.8, 0.4, 0.9, 0.1],
        "v": [0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2],
        "level": ["a"] * 6 + ["b", "c"],
        "half": ["u", "w"] * 4,
    },
    index=[f"study {i}" for i in range(8)],
)


def _model(moderator: str) -> MetaRegression:
    return MetaRegression(test="z").fit(moderator, "y", sampling_variance="v", data=FRAME)


@pytest.mark.parametrize("kind", KINDS)
def test_joint_test_and_means_of_single_clusters_are_warned_of(kind: Any) -> None:
    with pytest.warns(DataWarning) as caught:
        found = _model("level").robust(kind=kind).record
    (warning,) = caught
    assert warning.filename == __file__
    told = str(warning.message)
    assert "the variances of level[b]" in told
    assert "the joint test (in one direction 0%, so there is none)" in told
    assert "means of 2 row(s) of the fit such as 'study 6'" in told
    assert found.moderators is None
    assert np.isnan(found.predict([[1.0, 1.0, 0.0]]).se[0])


@pytest.mark.parametrize("kind", KINDS)
def test_levels_of_several_clusters_give_no_warning(kind: Any) -> None:
    found = _model("half").robust(kind=kind).record
    assert found.moderators is not None
    assert np.isfinite(found.predict([[1.0, 1.0], [1.0, 0.0]]).se).all()
