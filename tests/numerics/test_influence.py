"""Influence measures against metafor 3.8-1 (files in ``tests/reference``) and their invariants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.numerics.diagnostics import (
    cluster_influence,
    hat_matrix,
    influence,
    leave_one_out,
    residuals,
)
from ketacast.numerics.normal import fit_normal

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]

#: The references refit with a change below 1e-11 as stopping rule, and uncentred years
#: cost both sides digits in differences of fitted values.
RTOL = 1e-7
#: Differences of nearly equal fits of order one: what is below is rounding of those.
ATOL = 1e-9
#: Two ways to the same fit: separate searches for tau2 meet to this.
RTOL_REFIT = 1e-8

#: The grid must not shrink silently: 4 files, 2 methods, 2 tests.
EXPECTED_CASES = 16
#: Files times the one variant that also holds residuals and the hat matrix.
EXPECTED_FULL = 4

#: Names here and in the reference, each of them compared in every case.
MEASURES = {
    "rstudent": "rstudent",
    "dffits": "dffits",
    "cook_d": "cook_d",
    "cov_r": "cov_r",
    "tau2_del": "tau2_del",
    "qe_del": "QE_del",
    "hat": "hat",
    "weight": "weight",
}


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _data(case: str) -> tuple[Array, Array, Array]:
    data = _load(case)["data"]
    y, v, X = (np.array(data[name], dtype=np.float64) for name in ("yi", "vi", "design_matrix"))
    return y, v, X


CASES = [
    (path.stem, key)
    for path in sorted(REFERENCE.glob("influence_*.json"))
    for key in _load(path.stem)["expected"]
]
FULL = [(case, key) for case, key in CASES if "hat_full" in _load(case)["expected"][key]]


def _close(actual: object, expected: object, name: str) -> None:
    np.testing.assert_allclose(
        np.asarray(actual, dtype=np.float64),
        np.asarray(expected, dtype=np.float64),
        rtol=RTOL,
        atol=ATOL,
        err_msg=name,
    )


def _options(key: str) -> dict[str, Any]:
    method, test = key.split("|")
    return {"method": method, "test": test}


def test_grid_of_cases_does_not_shrink() -> None:
    assert len(CASES) == EXPECTED_CASES
    assert len(FULL) == EXPECTED_FULL


@pytest.mark.parametrize(("case", "key"), CASES)
def test_influence_matches_metafor(case: str, key: str) -> None:
    y, v, X = _data(case)
    expected = _load(case)["expected"][key]
    found = influence(y, v, X, **_options(key))
    for ours, theirs in MEASURES.items():
        _close(getattr(found, ours), expected[theirs], ours)
    _close(found.dfbetas, np.array(list(expected["dfbs"].values())).T, "DFBETAS")
    assert found.is_influential.tolist() == expected["is_infl"]
    assert found.solvable.all()
    compared = {*MEASURES.values(), "dfbs", "is_infl"}
    assert set(expected) - compared <= {"rstandard", "rstudent_full", "hat_full", "vif"}


@pytest.mark.parametrize(("case", "key"), FULL)
def test_residuals_and_hat_matrix_match_metafor(case: str, key: str) -> None:
    y, v, X = _data(case)
    expected = _load(case)["expected"][key]
    fit = fit_normal(y, v, X, **_options(key))
    found, inner = influence(y, v, X, **_options(key)), residuals(fit, y, v, X)
    _close(inner.response, expected["rstandard"]["resid"], "residuals")
    _close(inner.se, expected["rstandard"]["se"], "their standard errors")
    _close(inner.standardised, expected["rstandard"]["z"], "internally standardised")
    _close(found.rstandard, expected["rstandard"]["z"], "internally standardised")
    _close(found.deleted_residual, expected["rstudent_full"]["resid"], "deleted residuals")
    _close(found.deleted_se, expected["rstudent_full"]["se"], "their standard errors")
    _close(found.rstudent, expected["rstudent_full"]["z"], "externally standardised")
    _close(hat_matrix(fit, v, X), expected["hat_full"], "hat matrix")


def _random_problem(seed: int, k: int, p: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    v = rng.uniform(0.01, 1.0, size=k)
    y = X @ rng.normal(size=p) + rng.normal(size=k) * np.sqrt(v + 0.3)
    return y, v, X


PROBLEMS = st.tuples(st.integers(0, 10**6), st.integers(7, 15), st.integers(1, 3))


@settings(max_examples=25, deadline=None)
@given(problem=PROBLEMS, test=st.sampled_from(["z", "knha"]))
def test_coding_of_moderators_changes_dfbetas_only(
    problem: tuple[int, int, int], test: Any
) -> None:
    y, v, X = _random_problem(*problem)
    p = X.shape[1]
    mixing = np.eye(p) + 0.5 * np.triu(np.ones((p, p)), 1)
    plain = influence(y, v, X, test=test)
    mixed = influence(y, v, X @ mixing * [1e3] * p, test=test)
    for name in ("rstudent", "dffits", "cook_d", "cov_r", "tau2_del", "qe_del", "hat"):
        np.testing.assert_allclose(
            getattr(mixed, name), getattr(plain, name), rtol=RTOL_REFIT, atol=ATOL, err_msg=name
        )


@settings(max_examples=25, deadline=None)
@given(problem=PROBLEMS)
def test_influence_agrees_with_leave_one_out(problem: tuple[int, int, int]) -> None:
    y, v, X = _random_problem(*problem)
    found = influence(y, v, X, test="z")
    loo, fit = leave_one_out(y, v, X, test="z"), fit_normal(y, v, X, test="z")
    np.testing.assert_allclose(found.tau2_del, loo.tau2, rtol=RTOL_REFIT, atol=ATOL)
    np.testing.assert_allclose(found.qe_del, loo.qe, rtol=RTOL_REFIT)
    moved = fit.beta - loo.beta
    distance = np.einsum("ij,jk,ik->i", moved, np.linalg.inv(fit.cov), moved)
    np.testing.assert_allclose(found.cook_d, distance, rtol=1e-6, atol=ATOL)
    outside = y - np.sum(X * loo.beta, axis=1)
    np.testing.assert_allclose(found.deleted_residual, outside, rtol=RTOL_REFIT, atol=ATOL)
    assert found.weight.sum() == pytest.approx(100.0)


def test_outlier_is_found() -> None:
    y = np.array([0.1, 0.2, 0.15, 0.12, 0.18, 3.0])
    found = influence(y, np.full(6, 0.02), np.ones((6, 1)))
    assert found.is_influential.tolist() == [False] * 5 + [True]
    assert int(np.argmax(np.abs(found.rstudent))) == 5


def test_deletion_that_loses_rank_is_nan_there_only() -> None:
    y, v, X = _random_problem(11, 8, 2)
    X[:, 1] = np.arange(8) == 3
    found = influence(y, v, X)
    assert found.solvable.tolist() == [i != 3 for i in range(8)]
    others = [name for name in MEASURES if name not in ("hat", "weight")]
    for name in [*others, "dfbetas", "deleted_residual", "deleted_se", "rstandard"]:
        values = getattr(found, name)
        assert np.isnan(values[3]).all(), name
        assert np.isfinite(np.delete(values, 3, axis=0)).all(), name
    assert found.hat[3] == pytest.approx(1.0)
    assert np.isfinite(found.weight).all()
    assert found.is_influential[3]  # by its leverage


def test_others_on_a_line_leave_knapp_hartung_without_a_scale() -> None:
    y = np.array([0.5, 0.5, 0.5, 0.5, 2.0])
    found = influence(y, np.full(5, 0.1), np.ones((5, 1)), test="knha")
    # Without the outlier the test has no scale, so its standardised residual has none.
    assert np.isnan(found.rstudent[4])
    for name in ("deleted_se", "dffits", "cov_r", "dfbetas"):
        value = getattr(found, name)
        assert np.isnan(value[4]).all(), name
        assert np.isfinite(value[:4]).all(), name
    assert np.isfinite(found.cook_d).all()
    assert found.is_influential[4]
    assert np.isfinite(influence(y, np.full(5, 0.1), np.ones((5, 1)), test="z").rstudent).all()


@pytest.mark.parametrize("y", [[0.1, 0.1], [0.0, 0.0, 0.0], [0.1] * 5])
def test_effects_without_spread_have_no_influence_by_knapp_hartung(y: list[float]) -> None:
    v, X = np.linspace(0.1, 0.2, len(y)), np.ones((len(y), 1))
    with pytest.raises(InputError, match="no residual spread"):
        influence(y, v, X, test="knha")
    with pytest.raises(InputError, match="no residual spread"):
        cluster_influence(y, v, X, list(range(len(y))), test="knha")
    by_z = influence(y, v, X, test="z")
    np.testing.assert_allclose(by_z.cook_d[by_z.solvable], 0.0, atol=1e-25)


def test_zero_row_without_intercept_pulls_at_nothing() -> None:
    y, v, X = _random_problem(2, 8, 2)
    X = X[:, 1:].copy()
    X[4] = 0.0
    found = influence(y, v, X, method="EE")
    assert found.hat[4] == 0.0
    assert found.dffits[4] == 0.0
    assert found.dfbetas[4] == pytest.approx(0.0, abs=ATOL)


def test_clusters_of_one_are_studies() -> None:
    y, v, X = _random_problem(4, 10, 2)
    single, cluster = influence(y, v, X), cluster_influence(y, v, X, np.arange(10))
    for name in ("cook_d", "cov_r", "tau2_del", "qe_del", "dfbetas"):
        np.testing.assert_array_equal(getattr(cluster, name), getattr(single, name))
    assert cluster.labels == tuple(range(10))


def test_cluster_influence_by_hand() -> None:
    y, v, X = _random_problem(4, 10, 2)
    groups = np.repeat(["a", "b", "c", "d"], [2, 3, 3, 2])
    found = cluster_influence(y, v, X, groups, test="z")
    assert found.labels == ("a", "b", "c", "d")
    assert found.n_studies.tolist() == [2.0, 3.0, 3.0, 2.0]
    fit = fit_normal(y, v, X, test="z")
    for i, label in enumerate(found.labels):
        stay = groups != label
        single = fit_normal(y[stay], v[stay], X[stay], test="z")
        moved = fit.beta - single.beta
        by_hand = float(moved @ np.linalg.solve(fit.cov, moved))
        assert found.cook_d[i] == pytest.approx(by_hand, rel=RTOL_REFIT)
        weights = 1.0 / (v + single.tau2)
        spread = np.sqrt(np.diag(np.linalg.inv((X.T * weights) @ X)))
        np.testing.assert_allclose(found.dfbetas[i], moved / spread, rtol=RTOL_REFIT)
        ratio = np.linalg.det(single.cov) / np.linalg.det(fit.cov)
        assert found.cov_r[i] == pytest.approx(ratio, rel=RTOL_REFIT)


def test_batches_do_not_change_influence() -> None:
    y, v, X = _random_problem(5, 11, 2)
    whole, cut = influence(y, v, X), influence(y, v, X, chunk_size=3)
    for name in (*MEASURES, "dfbetas"):
        np.testing.assert_allclose(getattr(cut, name), getattr(whole, name), rtol=RTOL_REFIT)


def test_results_are_plain() -> None:
    y, v, X = _random_problem(11, 8, 2)
    X[:, 1] = np.arange(8) == 3
    for record in (influence(y, v, X), cluster_influence(y, v, X, np.arange(8) // 2)):
        content = record.to_dict()
        assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert influence(y, v, X).to_dict()["rstudent"][3] is None


def test_unusable_input_is_refused() -> None:
    y, v, X = _random_problem(3, 6, 2)
    with pytest.raises(InputError, match="more studies than coefficients"):
        influence(y[:2], v[:2], X[:2], method="EE")
    with pytest.raises(InputError, match=r"groups has shape \(1,\)"):
        cluster_influence(y, v, X, ["a"])
    with pytest.raises(InputError, match="linear combination"):
        influence(y, v, np.column_stack([X, X[:, 1]]))
