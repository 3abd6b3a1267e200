"""Leave-one-out fits, residuals and BLUPs against metafor 3.8-1 (files in ``tests/reference``)."""

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
from ketacast.numerics.diagnostics import blup, fitted_values, leave_one_out, residuals, vif
from ketacast.numerics.normal import TAU2_METHODS, fit_normal
from ketacast.numerics.robust import robust_covariance

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]

#: The references refit with a change below 1e-11 as stopping rule; differences of
#: nearly equal numbers and p-values far out magnify that.
RTOL = 1e-7
#: Below this a difference is rounding of numbers of order one.
ATOL = 1e-12
#: Two ways to the same fit: separate searches for tau2 meet to this.
RTOL_REFIT = 1e-9
#: Identities that hold to rounding, with head room for some ten operations.
RTOL_IDENTITY = 1e-10

#: The grids must not shrink silently: files times methods times tests.
EXPECTED_LEAVE_ONE_OUT = 24
EXPECTED_BLUPS = 16
EXPECTED_VIFS = 3


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _data(case: str) -> tuple[Array, Array, Array]:
    data = _load(case)["data"]
    y, v, X = (np.array(data[name], dtype=np.float64) for name in ("yi", "vi", "design_matrix"))
    return y, v, X


def _cases(pattern: str) -> list[tuple[str, str]]:
    names = sorted(path.stem for path in REFERENCE.glob(pattern))
    return [(name, key) for name in names for key in _load(name)["expected"]]


def _close(actual: object, expected: object, name: str, rtol: float = RTOL) -> None:
    np.testing.assert_allclose(
        np.asarray(actual, dtype=np.float64),
        np.asarray(expected, dtype=np.float64),
        rtol=rtol,
        atol=ATOL,
        err_msg=name,
    )


def _options(key: str) -> dict[str, Any]:
    method, test = key.split("|")
    return {"method": method, "test": test}


LEAVE_ONE_OUT = _cases("leave1out_*.json")
BLUPS = _cases("blup_*.json")
VIFS = [
    (case, key) for case, key in _cases("influence_*.json") if "vif" in _load(case)["expected"][key]
]


def test_grids_of_cases_do_not_shrink() -> None:
    assert len(LEAVE_ONE_OUT) == EXPECTED_LEAVE_ONE_OUT
    assert len(BLUPS) == EXPECTED_BLUPS
    assert len(VIFS) == EXPECTED_VIFS


@pytest.mark.parametrize(("case", "key"), LEAVE_ONE_OUT)
def test_leave_one_out_matches_metafor(case: str, key: str) -> None:
    y, v, X = _data(case)
    expected = _load(case)["expected"][key]
    loo = leave_one_out(y, v, X, **_options(key))
    values = {
        "estimate": loo.beta[:, 0],
        "se": loo.se[:, 0],
        "zval": loo.statistic[:, 0],
        "pval": loo.p_value[:, 0],
        "ci_lb": loo.ci_lower[:, 0],
        "ci_ub": loo.ci_upper[:, 0],
        "Q": loo.qe,
        "Qp": loo.qe_p,
        "tau2": loo.tau2,
        "I2": loo.i2,
        "H2": loo.h2,
    }
    assert set(values) == set(expected)
    if key.endswith("knha"):
        assert values.pop("zval").shape == y.shape  # the reference stores none for t tests
    for name, value in values.items():
        _close(value, expected[name], name)
    assert loo.solvable.all()
    assert loo.labels == tuple(range(y.size))
    assert set(loo.n_studies) == {y.size - 1.0}


@pytest.mark.parametrize(("case", "key"), BLUPS)
def test_blup_matches_metafor(case: str, key: str) -> None:
    y, v, X = _data(case)
    expected = _load(case)["expected"][key]
    fit = fit_normal(y, v, X, **_options(key))
    predicted = blup(fit, y, v, X)
    for name, prefix in (("blup", "effect"), ("ranef", "random")):
        _close(getattr(predicted, prefix), expected[name]["pred"], name)
        _close(getattr(predicted, f"{prefix}_se"), expected[name]["se"], f"{name} se")
        _close(getattr(predicted, f"{prefix}_lower"), expected[name]["pi_lb"], f"{name} lower")
        _close(getattr(predicted, f"{prefix}_upper"), expected[name]["pi_ub"], f"{name} upper")
    _close(fitted_values(fit, X), expected["fitted"], "fitted")
    _close(residuals(fit, y, v, X).response, expected["resid"], "residuals")


@pytest.mark.parametrize(("case", "key"), VIFS)
def test_vif_matches_metafor(case: str, key: str) -> None:
    y, v, X = _data(case)
    fit = fit_normal(y, v, X, **_options(key))
    _close(vif(fit).vif, _load(case)["expected"][key]["vif"], "VIF")


def _random_problem(seed: int, k: int, p: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    v = rng.uniform(0.01, 1.0, size=k)
    y = X @ rng.normal(size=p) + rng.normal(size=k) * np.sqrt(v + 0.3)
    return y, v, X


PROBLEMS = st.tuples(st.integers(0, 10**6), st.integers(6, 15), st.integers(1, 3))


@settings(max_examples=25, deadline=None)
@given(problem=PROBLEMS, method=st.sampled_from(TAU2_METHODS))
def test_leave_one_out_is_k_separate_fits(problem: tuple[int, int, int], method: Any) -> None:
    y, v, X = _random_problem(*problem)
    loo = leave_one_out(y, v, X, method=method, test="knha")
    for i in range(y.size):
        stay = np.arange(y.size) != i
        single = fit_normal(y[stay], v[stay], X[stay], method=method, test="knha")
        # A tau2 of 0 on one side may be rounding of the other's.
        np.testing.assert_allclose(loo.tau2[i], single.tau2, rtol=RTOL_REFIT, atol=ATOL)
        np.testing.assert_allclose(loo.beta[i], single.beta, rtol=RTOL_REFIT, atol=ATOL)
        np.testing.assert_allclose(loo.p_value[i], single.p_value, rtol=RTOL)
        np.testing.assert_allclose(loo.ci_upper[i], single.ci_upper, rtol=RTOL, atol=ATOL)
        np.testing.assert_allclose(loo.i2[i], single.i2, rtol=RTOL, atol=1e-8)


@pytest.mark.parametrize("chunk_size", [1, 4])
def test_batches_do_not_change_leave_one_out(chunk_size: int) -> None:
    y, v, X = _random_problem(5, 11, 2)
    whole, cut = leave_one_out(y, v, X), leave_one_out(y, v, X, chunk_size=chunk_size)
    for name in ("beta", "se", "p_value", "tau2", "qe"):
        np.testing.assert_allclose(getattr(cut, name), getattr(whole, name), rtol=RTOL_IDENTITY)


def test_clusters_are_left_out_as_a_whole() -> None:
    y, v, X = _random_problem(7, 9, 2)
    groups = ["a", "b", "a", "c", "b", "c", "d", "d", "d"]
    loo = leave_one_out(y, v, X, groups=groups)
    assert loo.labels == ("a", "b", "c", "d")
    assert loo.n_studies.tolist() == [7.0, 7.0, 7.0, 6.0]
    for i, label in enumerate(loo.labels):
        stay = np.array([group != label for group in groups])
        single = fit_normal(y[stay], v[stay], X[stay])
        np.testing.assert_allclose(loo.beta[i], single.beta, rtol=RTOL_REFIT)
        np.testing.assert_allclose(loo.se[i], single.se, rtol=RTOL_REFIT)


def test_deletion_that_loses_rank_is_flagged() -> None:
    y, v, X = _random_problem(11, 8, 2)
    X[:, 1] = np.arange(8) == 3
    loo = leave_one_out(y, v, X)
    assert loo.solvable.tolist() == [i != 3 for i in range(8)]
    for name in ("beta", "se", "statistic", "p_value", "ci_lower", "ci_upper"):
        assert np.isnan(getattr(loo, name)[3]).all(), name
        assert np.isfinite(getattr(loo, name)[loo.solvable]).all(), name
    for name in ("tau2", "i2", "h2", "qe", "qe_p"):
        assert np.isnan(getattr(loo, name)[3]), name
        assert np.isfinite(getattr(loo, name)[loo.solvable]).all(), name
    assert loo.to_dict()["tau2"][3] is None


def test_leaving_one_of_two_studies_out() -> None:
    data = ([0.1, 0.5], [0.02, 0.03], np.ones((2, 1)))
    equal = leave_one_out(*data, method="EE", test="z")
    np.testing.assert_allclose(equal.beta[:, 0], [0.5, 0.1])
    np.testing.assert_allclose(equal.se[:, 0] ** 2, [0.03, 0.02])
    # One study says nothing of the variance between studies.
    assert not leave_one_out(*data, method="REML").solvable.any()


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS)
def test_residual_identities(problem: tuple[int, int, int]) -> None:
    y, v, X = _random_problem(*problem)
    fit = fit_normal(y, v, X)
    found = residuals(fit, y, v, X)
    assert found.leverage.sum() == pytest.approx(fit.p, rel=RTOL_IDENTITY)
    np.testing.assert_allclose(found.fitted + found.response, y, atol=ATOL)
    np.testing.assert_allclose(found.standardised * found.se, found.response, atol=ATOL)
    ratio = np.sqrt(1.0 - found.leverage)
    np.testing.assert_allclose(found.standardised * ratio, found.pearson, rtol=1e-8, atol=ATOL)


def test_a_study_that_alone_fixes_a_coefficient_has_no_standardised_residual() -> None:
    y, v, X = _random_problem(11, 8, 2)
    X[:, 1] = np.arange(8) == 3
    found = residuals(fit_normal(y, v, X), y, v, X)
    assert np.isnan(found.standardised[3])
    assert found.se[3] == 0.0
    assert np.isfinite(np.delete(found.standardised, 3)).all()


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS)
def test_blup_lies_between_fit_and_observation(problem: tuple[int, int, int]) -> None:
    y, v, X = _random_problem(*problem)
    fit = fit_normal(y, v, X)
    found = blup(fit, y, v, X, level=0.8)
    low, high = np.minimum(y, X @ fit.beta), np.maximum(y, X @ fit.beta)
    assert (found.effect >= low - ATOL).all()
    assert (found.effect <= high + ATOL).all()
    assert ((found.shrinkage >= 0.0) & (found.shrinkage < 1.0)).all()
    wider = blup(fit, y, v, X)
    assert found.level == 0.8
    assert wider.level == fit.level
    assert (wider.effect_upper > found.effect_upper).all()


def test_blup_of_equal_effects_is_the_fit() -> None:
    y, v, X = _random_problem(3, 9, 2)
    fit = fit_normal(y, v, X, method="EE")
    found = blup(fit, y, v, X)
    np.testing.assert_allclose(found.effect, X @ fit.beta)
    assert not found.random.any()
    assert not found.random_se.any()


def test_generalised_vif_of_a_factor_does_not_depend_on_its_coding() -> None:
    rng = np.random.default_rng(8)
    level = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    other = level + rng.normal(size=12)
    y, v = rng.normal(size=12), rng.uniform(0.1, 0.5, size=12)
    values = []
    for base in range(3):
        dummies = [level == j for j in range(3) if j != base]
        X = np.column_stack([np.ones(12), *dummies, other]).astype(np.float64)
        found = vif(fit_normal(y, v, X), [(1, 2), (3,)])
        values.append(found.vif)
        np.testing.assert_allclose(found.sif, found.vif ** [0.25, 0.5])
    np.testing.assert_allclose(values[1], values[0], rtol=RTOL_IDENTITY)
    np.testing.assert_allclose(values[2], values[0], rtol=RTOL_IDENTITY)
    # Two sets that make up all moderators inflate each other by the same factor.
    np.testing.assert_allclose(values[0][0], values[0][1], rtol=RTOL_IDENTITY)
    assert (values[0] > 1.0).all()


def test_vif_of_orthogonal_moderators_is_one() -> None:
    X = np.array([[1.0, a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0) for _ in range(2)])
    fit = fit_normal(np.arange(8.0), np.full(8, 0.2), X)
    np.testing.assert_allclose(vif(fit).vif, [1.0, 1.0], rtol=RTOL_IDENTITY)
    assert vif(fit).columns == ((1,), (2,))


def test_results_are_plain_and_read_only() -> None:
    y, v, X = _random_problem(3, 9, 2)
    fit = fit_normal(y, v, X)
    loo = leave_one_out(y, v, X)
    for record in (loo, residuals(fit, y, v, X), blup(fit, y, v, X), vif(fit)):
        content = record.to_dict()
        assert json.loads(json.dumps(content)) == content
    with pytest.raises(ValueError, match="read-only"):
        loo.beta[0, 0] = 1.0


@pytest.mark.parametrize("as_given", [list, lambda x: np.array(x, dtype=object)])
def test_labels_mean_the_same_in_lists_and_arrays(as_given: Any) -> None:
    y, v, X = _random_problem(3, 6, 1)
    loo = leave_one_out(y, v, X, groups=as_given([2, "a", 2.0, np.int64(2), np.str_("a"), "b"]))
    assert loo.labels == (2, "a", "b")
    assert loo.n_studies.tolist() == [3.0, 4.0, 5.0]
    with pytest.raises(InputError, match="groups holds 1 and '1'; give one label as text"):
        leave_one_out(y, v, X, groups=as_given([1, "1", "a", "a", "b", "b"]))
    with pytest.raises(InputError, match=r"groups\[1\] is nan"):
        leave_one_out(y, v, X, groups=as_given(["a", np.nan, "b", "b", "c", "c"]))
    with pytest.raises(InputError, match="cluster holds 1 and '1'"):
        robust_covariance(y, X, v, as_given([1, "1", "a", "a", "b", "b"]))


@pytest.mark.parametrize(
    "sets", [[[1.0]], [1], 1, "1", [], [[]], [[True]], [["1"]], [[1, 1]], [[0]]]
)
def test_unusable_sets_of_columns_are_refused(sets: Any) -> None:
    y, v, X = _random_problem(3, 6, 2)
    fit = fit_normal(y, v, X)
    with pytest.raises(InputError, match="set"):
        vif(fit, sets)
    many: list[Any] = [[[1]], ((1,),), np.array([[1]]), [np.array([1])]]
    for usable in many:
        assert vif(fit, usable).columns == ((1,),)


def test_effects_without_spread_have_no_vif_by_knapp_hartung() -> None:
    X = np.column_stack([np.ones(5), np.arange(5.0), [0.0, 1.0, 0.0, 0.0, 1.0]])
    for y in (np.zeros(5), X @ [1.0, 2.0, 0.5]):
        with pytest.raises(InputError, match="no residual spread"):
            vif(fit_normal(y, np.full(5, 0.1), X, test="knha"))
        assert (vif(fit_normal(y, np.full(5, 0.1), X)).vif >= 1.0).all()


def test_unusable_input_is_refused() -> None:
    y, v, X = _random_problem(3, 6, 2)
    fit = fit_normal(y, v, X)
    with pytest.raises(InputError, match=r"groups has shape \(2,\) for 6 rows"):
        leave_one_out(y, v, X, groups=["a", "b"])
    with pytest.raises(InputError, match="one label 'a'"):
        leave_one_out(y, v, X, groups=["a"] * 6)
    with pytest.raises(InputError, match=r"groups\[1\] is nan"):
        leave_one_out(y, v, X, groups=[1.0, np.nan, 2.0, 2.0, 3.0, 3.0])
    with pytest.raises(InputError, match=r"groups\[0\] is None"):
        leave_one_out(y, v, X, groups=[None, "a", "b", "b", "c", "c"])
    with pytest.raises(InputError, match=r"groups has shape \(1, 6\)"):
        leave_one_out(y, v, X, groups=[["a"] * 6])
    with pytest.raises(InputError, match="chunk_size is 0"):
        leave_one_out(y, v, X, chunk_size=0)
    with pytest.raises(InputError, match="3 columns for 2 coefficients"):
        fitted_values(fit, np.ones((4, 3)))
    with pytest.raises(InputError, match=r"\(5, 5, 5\) studies and the fit 6"):
        residuals(fit, y[:5], v[:5], X[:5])
    with pytest.raises(InputError, match="level is 95"):
        blup(fit, y, v, X, level=95)
    with pytest.raises(InputError, match="intercept only"):
        vif(fit_normal(y, v, X[:, :1]))
    for sets in ([(0,)], [()], [(1, 1)], [(2,)]):
        with pytest.raises(InputError, match="is not usable"):
            vif(fit, sets)
