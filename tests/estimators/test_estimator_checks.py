"""scikit-learn's own conformity checks, run on every estimator.

The checks call ``fit(X, y)`` and ``score(X, y)`` without further arguments, so
thin subclasses supply what the estimators require: unit sampling variances,
groups of two, or group sizes. Nothing else differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.utils.estimator_checks import check_estimator

from ketacast.estimators import (
    BayesianMetaRegression,
    BinomialMetaRegression,
    MetaRegression,
    MultilevelMetaRegression,
)

Array = NDArray[np.float64]

#: Checks that do not apply, and why.
NOT_APPLICABLE = {
    "check_estimators_pickle": "predicts at moderators with gaps, which is refused (they are left "
    "out of fits only, with a warning); pickling is tested in test_sklearn_grammar.py",
}
#: No check is skipped but this one, which needs a setting of the environment.
SKIPPED = {"check_array_api_input": "SCIPY_ARRAY_API is not set; arrays are NumPy's"}


def _size(y: Any) -> int:
    return 1 if y is None else int(np.asarray(y).shape[0])


class UnitVariances(MetaRegression):
    def fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override]
        return super().fit(X, y, sampling_variance=np.ones(_size(y)))

    def score(self, X: Any, y: Any) -> float:  # type: ignore[override]
        return super().score(X, y, sampling_variance=np.ones(_size(y)))


class PairedStudies(MultilevelMetaRegression):
    def fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override]
        groups = np.arange(_size(y)) // 2
        return super().fit(X, y, sampling_variance=np.ones(groups.size), groups=groups)

    def score(self, X: Any, y: Any) -> float:  # type: ignore[override]
        return super().score(X, y, sampling_variance=np.ones(_size(y)))


class HalfNormalPrior(BayesianMetaRegression):
    def __init__(self, tau_scale: float = 0.5) -> None:
        super().__init__(tau_scale)

    def fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override]
        return super().fit(X, y, sampling_variance=np.ones(_size(y)))

    def score(self, X: Any, y: Any) -> float:  # type: ignore[override]
        return super().score(X, y, sampling_variance=np.ones(_size(y)))


class EqualSizes(BinomialMetaRegression):
    """Targets are squeezed into counts of 40 patients."""

    def fit(self, X: Any, y: Any = None) -> Self:  # type: ignore[override]
        return super().fit(X, _counts(y), n=np.full(_size(y), 40.0))

    def score(self, X: Any, y: Any) -> float:  # type: ignore[override]
        return super().score(X, _counts(y), n=np.full(_size(y), 40.0))


def _counts(y: Any) -> Any:
    if y is None or np.asarray(y).dtype.kind not in "iuf":
        return y
    values = np.asarray(y, dtype=np.float64)
    return np.where(np.isfinite(values), np.round(40.0 / (1.0 + np.exp(-0.3 * values))), values)


@pytest.mark.filterwarnings("ignore")  # the checks feed constant, zero and missing columns
@pytest.mark.parametrize("make", [UnitVariances, PairedStudies, HalfNormalPrior, EqualSizes])
def test_all_checks_pass_but_those_that_do_not_apply(make: Callable[[], Any]) -> None:
    results = check_estimator(
        make(), expected_failed_checks=NOT_APPLICABLE, on_fail=None, on_skip=None
    )
    outcome = {
        status: {r["check_name"]: r["exception"] for r in results if r["status"] == status}
        for status in ("failed", "skipped", "xfail")
    }
    assert outcome["failed"] == {}
    assert set(outcome["skipped"]) <= set(SKIPPED)
    assert set(outcome["xfail"]) == set(NOT_APPLICABLE)
    # The list of checks must not shrink unnoticed.
    assert len(results) >= 50
