"""What is loaded when: each part needs its own libraries only."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ketacast

HEAVY = "{'numpy', 'scipy', 'pandas', 'sklearn', 'formulaic', 'joblib', 'matplotlib'}"

FIT_AN_ARRAY = """
from ketacast import MetaRegression
model = MetaRegression().fit([[1.0], [2.0], [4.0]], [1.0, 2.0, 2.5], sampling_variance=[0.1] * 3)
model.predict_interval([[3.0]])
"""


def _loaded(code: str, unwanted: str) -> str:
    script = f"import sys\n{code}\nprint(sorted({unwanted} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import ketacast; dir(ketacast)", HEAVY),
        ("import ketacast.numerics.normal.fitting", "{'pandas', 'sklearn', 'formulaic'}"),
        ("import ketacast.clinical.synthesis", "{'sklearn', 'formulaic'}"),
        (FIT_AN_ARRAY, "{'formulaic', 'matplotlib'}"),
    ],
)
def test_nothing_more_is_loaded(code: str, unwanted: str) -> None:
    assert _loaded(code, unwanted) == "[]"


def test_estimators_are_public_names() -> None:
    for name in (
        "MetaRegression",
        "BinomialMetaRegression",
        "MultilevelMetaRegression",
        "BayesianMetaRegression",
        "DataWarning",
    ):
        assert name in dir(ketacast)
        assert getattr(ketacast, name).__name__ == name
