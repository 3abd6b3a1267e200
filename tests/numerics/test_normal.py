"""Normal-normal fits against metafor 3.8-1 (files in ``tests/reference``) and their invariants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.effects import back_transform
from ketacast.errors import InputError
from ketacast.numerics.inference import PREDICTION_KINDS
from ketacast.numerics.normal import (
    NORMAL_TESTS,
    TAU2_METHODS,
    NormalFit,
    fit_normal,
    fit_normal_batch,
    predict_normal,
    profile_likelihood,
    tau2_interval,
)

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]

#: The references' iterative fits were run to a change below 1e-11 or better, and
#: re-solved independently to 2e-11; p-values far out magnify that.
RTOL = 1e-8
#: Closed forms differ by rounding, times the condition of uncentred years (about 1e3).
RTOL_CLOSED = 1e-9
#: Both sides find Q-profile limits by root search.
RTOL_PROFILE = 1e-7
#: Below this a difference is rounding of numbers of order one.
ATOL = 1e-13
#: metafor halves its steps towards 0 and stops early, so a boundary estimate is only near 0.
ATOL_BOUNDARY = 1e-6

#: Variants that are not offered (other estimators, unweighted fits).
NOT_OFFERED = {"DLIT", "SJIT", "GENQ", "GENQM"}
#: Estimators without iteration.
CLOSED = {"DL", "EE", "HE", "HS", "HSk", "SJ"}
AWKWARD = (
    "awkward_k2_bcg_rows_4_5",
    "awkward_k3_bcg_rows_1_3",
    "awkward_saturated_k_p1_bcg",
    "awkward_reml_fisher_nonconvergence_tip",
    "awkward_huge_heterogeneity_bcg_x1000",
    "awkward_zero_events_PLO_nielweise2007",
)
#: Columns of the awkward cases, whose files hold moderators instead of a design matrix.
MODERATORS = {
    "awkward_saturated_k_p1_bcg": ("ablat", "year"),
    "awkward_zero_events_PLO_nielweise2007": ("year",),
}
#: The grids must not shrink silently.
EXPECTED_FITS = 413
EXPECTED_PREDICTIONS = 204
EXPECTED_INTERVALS = 40


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _data(case: str) -> tuple[Array, Array, Array]:
    data = _load(case)["data"]
    columns = [name for name in data if name not in ("design_matrix", "design_columns", "newmods")]
    complete = [
        i for i in range(len(data["yi"])) if all(data[name][i] is not None for name in columns)
    ]
    y = np.array([data["yi"][i] for i in complete], dtype=np.float64)
    v = np.array([data["vi"][i] for i in complete], dtype=np.float64)
    if "design_matrix" in data:
        return y, v, np.array(data["design_matrix"], dtype=np.float64)
    extra = [np.array(data[name], dtype=np.float64) for name in MODERATORS.get(case, ())]
    return y, v, np.column_stack([np.ones(y.size), *extra])


def _fit_cases() -> list[tuple[str, str]]:
    names = [*sorted(path.stem for path in REFERENCE.glob("rma_uni_*.json")), *AWKWARD]
    return [
        (name, key)
        for name in names
        for key in _load(name)["expected"]
        if len(key.split("|")) == 2
        and key.split("|")[0] not in NOT_OFFERED
        and not key.startswith("REML|z|weighted")
    ]


def _prediction_cases() -> list[tuple[str, str]]:
    names = sorted(path.stem for path in REFERENCE.glob("predict_*.json"))
    return [
        (name, key)
        for name in names
        for key in _load(name)["expected"]
        if key.split("|")[-1] not in ("vcov", "tau2_beta_vb")
    ]


def _interval_cases() -> list[tuple[str, str]]:
    names = sorted(path.stem for path in REFERENCE.glob("confint_*.json"))
    return [
        (name, key)
        for name in names
        for key in _load(name)["expected"]
        if key.split("|")[1] == "QP"
        and len(key.split("|")) == 3
        and key.split("|")[0] in TAU2_METHODS
    ]


def _fit(case: str, method: str, test: str, level: float = 0.95) -> NormalFit:
    y, v, X = _data(case)
    assert method in TAU2_METHODS
    assert test in NORMAL_TESTS
    estimator: Any = method
    kind: Any = test
    return fit_normal(y, v, X, method=estimator, test=kind, level=level)


def _close(actual: object, expected: object, rtol: float, name: str) -> None:
    np.testing.assert_allclose(
        np.asarray(actual, dtype=np.float64),
        np.asarray(expected, dtype=np.float64),
        rtol=rtol,
        atol=ATOL,
        err_msg=name,
    )


def test_grids_of_cases_do_not_shrink() -> None:
    assert len(_fit_cases()) == EXPECTED_FITS
    assert len(_prediction_cases()) == EXPECTED_PREDICTIONS
    assert len(_interval_cases()) == EXPECTED_INTERVALS
    methods = {key.split("|")[0] for _, key in _fit_cases()}
    assert methods == set(TAU2_METHODS)
    assert {key.split("|")[1] for _, key in _fit_cases()} == set(NORMAL_TESTS)


@pytest.mark.parametrize(("case", "key"), _fit_cases())
def test_fit_matches_metafor(case: str, key: str) -> None:
    method, test = key.split("|")
    expected = _load(case)["expected"][key]
    fit = _fit(case, method, test)
    rtol = RTOL_CLOSED if method in CLOSED else RTOL
    omnibus = fit.moderators
    compared = {
        "beta": fit.beta,
        "se": fit.se,
        "stat": fit.statistic,
        "pval": fit.p_value,
        "ci_lb": fit.ci_lower,
        "ci_ub": fit.ci_upper,
        "vb": fit.cov,
        "tau2": fit.tau2,
        "I2": fit.i2,
        "H2": fit.h2,
        "vt": fit.typical_variance,
        "s2w": fit.variance_factor,
        "QE": fit.qe,
        "QEp": fit.qe_p,
        "QM": omnibus.statistic,
        "QMp": omnibus.p_value,
    }
    if expected["se_tau2"] is not None:
        compared["se_tau2"] = np.asarray(fit.tau2_se)
    for name, value in compared.items():
        _close(value, expected[name], rtol, name)
    stats = expected["fit_stats"]
    _close(fit.log_likelihood_ml, stats["ML"]["ll"], rtol, "log-likelihood")
    _close(fit.log_likelihood_reml, stats["REML"]["ll"], rtol, "restricted log-likelihood")
    assert fit.df == expected["ddf"]
    assert [omnibus.df_coefficients, omnibus.df_residual] == expected["QM_df"]
    assert (fit.k, fit.p, fit.residual_df) == (expected["k"], expected["p"], expected["QE_df"])


@pytest.mark.parametrize(("case", "key"), _prediction_cases())
def test_prediction_matches_metafor(case: str, key: str) -> None:
    method, test, level, kind, *transformed = key.split("|")
    reference = _load(case)
    expected = reference["expected"][key]
    fit = _fit(case, method, test)
    new = reference["data"]["newmods"]
    rows = np.ones((1, 1)) if new is None else np.column_stack([np.ones(len(new)), np.array(new)])
    assert kind in PREDICTION_KINDS
    chosen: Any = kind
    predicted = predict_normal(fit, rows, level=float(level) / 100.0, kind=chosen)
    values = {
        "pred": predicted.mean,
        "ci_lb": predicted.ci_lower,
        "ci_ub": predicted.ci_upper,
        "pi_lb": predicted.pi_lower,
        "pi_ub": predicted.pi_upper,
    }
    for name, value in values.items():
        _close(back_transform(value, "PLO") if transformed else value, expected[name], RTOL, name)
    if not transformed:
        _close(predicted.se, expected["se"], RTOL, "se")
        if "pi_ddf" in expected:
            assert {predicted.pi_df} == set(expected["pi_ddf"])


@pytest.mark.parametrize(("case", "key"), _interval_cases())
def test_q_profile_interval_matches_metafor(case: str, key: str) -> None:
    method, _, level = key.split("|")
    expected = _load(case)["expected"][key]
    y, v, X = _data(case)
    interval = tau2_interval(y, v, X, level=float(level) / 100.0)
    assert not interval.empty
    _close(interval.tau2, expected["tau2"][1:], RTOL_PROFILE, "tau2")
    _close(interval.i2, expected["I2"][1:], RTOL_PROFILE, "I2")
    _close(interval.h2, expected["H2"][1:], RTOL_PROFILE, "H2")
    fit = _fit(case, method, "z")
    _close([fit.tau2, fit.i2, fit.h2], [expected[n][0] for n in ("tau2", "I2", "H2")], RTOL, key)


@pytest.mark.parametrize("method", TAU2_METHODS)
def test_boundary_is_exactly_zero(method: str) -> None:
    # Sidik-Jonkman's estimate is positive by construction.
    fit = _fit("awkward_tau2_zero_hine1989", method, "z")
    expected = _load("awkward_tau2_zero_hine1989")["expected"]
    if method == "SJ":
        assert fit.tau2 == pytest.approx(expected["SJ|z"]["tau2"], rel=RTOL_CLOSED)
        return
    assert fit.tau2 == 0.0
    assert fit.i2 == 0.0
    if f"{method}|z" in expected:
        assert abs(expected[f"{method}|z"]["tau2"]) < ATOL_BOUNDARY
        # The reference's leftover tau2 moves the mean by its own size.
        np.testing.assert_allclose(fit.beta, expected[f"{method}|z"]["beta"], rtol=1e-5)


def test_q_profile_interval_at_the_boundary() -> None:
    y, v, X = _data("awkward_tau2_zero_hine1989")
    expected = _load("awkward_tau2_zero_hine1989")["expected"]["REML|z"]["QP"]["tau2"]
    interval = tau2_interval(y, v, X)
    assert interval.tau2[0] == 0.0
    # The reference searched with its default tolerance here.
    assert interval.tau2[1] == pytest.approx(expected[2], abs=ATOL_BOUNDARY)


def test_homogeneous_beyond_chance_has_an_empty_set() -> None:
    interval = tau2_interval(np.full(20, 0.3) + 1e-6 * np.arange(20), np.ones(20), np.ones((20, 1)))
    assert interval.empty
    assert interval.tau2 == (0.0, 0.0)


def test_global_maximum_is_found_where_metafor_stops_at_zero() -> None:
    # Variances span 13 orders of magnitude; metafor's ML stays at 0, 293 log units below.
    expected = _load("awkward_variance_ratio_1e13_bcg")["expected"]["direct_maximisation"]
    for method in ("ML", "REML"):
        fit = _fit("awkward_variance_ratio_1e13_bcg", method, "z")
        assert fit.tau2 == pytest.approx(expected[method]["tau2"], rel=RTOL)


def test_badly_scaled_moderators_fit_where_metafor_refuses() -> None:
    reference = _load("awkward_badly_scaled_moderators_bcg")
    data, expected = reference["data"], reference["expected"]["rescaled"]
    X = np.column_stack([np.ones(13), data["big"], data["tiny"]])
    fit = fit_normal(data["yi"], data["vi"], X, test="z")
    _close(fit.tau2, expected["tau2"], RTOL, "tau2")
    _close(fit.qe, expected["QE"], RTOL, "QE")
    _close(fit.moderators.statistic, expected["QM"], RTOL, "QM")
    _close(X @ fit.beta, expected["fitted"], RTOL, "fitted")


def test_collinear_moderators_are_refused_by_name() -> None:
    data = _load("awkward_collinear_exact_bcg")["data"]
    X = np.column_stack([np.ones(13), data["ablat"], data["abl2"], data["year"]])
    with pytest.raises(InputError, match=r"X\[:, 2\] is a linear combination"):
        fit_normal(data["yi"], data["vi"], X)


def _random_problem(seed: int, k: int, tau: float) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    v = rng.uniform(0.01, 1.0, size=k)
    y = X @ np.array([0.5, -0.3]) + rng.normal(size=k) * np.sqrt(v + tau**2)
    return y, v, X


PROBLEMS = st.tuples(st.integers(0, 10**6), st.integers(4, 30), st.floats(0.0, 2.0))


@settings(max_examples=60, deadline=None)
@given(problem=PROBLEMS, restricted=st.booleans())
def test_no_point_of_a_fine_grid_has_a_higher_likelihood(
    problem: tuple[int, int, float], restricted: bool
) -> None:
    y, v, X = _random_problem(*problem)
    fit = fit_normal(y, v, X, method="REML" if restricted else "ML")
    grid = np.concatenate([[0.0], np.geomspace(1e-6, 50.0, 400)])
    chosen: Any = "REML" if restricted else "ML"
    values = profile_likelihood(y, v, X, tau2=grid, method=chosen).log_likelihood
    assert fit.log_likelihood >= values.max() - 1e-10


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS, method=st.sampled_from(TAU2_METHODS), factor=st.floats(1e-3, 1e3))
def test_units_do_not_matter(problem: tuple[int, int, float], method: Any, factor: float) -> None:
    y, v, X = _random_problem(*problem)
    plain = fit_normal(y, v, X, method=method)
    scaled = fit_normal(y * factor, v * factor**2, X, method=method)
    # 1e-7: a tau2 near 0 keeps only an absolute accuracy on the scale of v.
    np.testing.assert_allclose(scaled.tau2, plain.tau2 * factor**2, atol=1e-7 * factor**2)
    np.testing.assert_allclose(scaled.p_value, plain.p_value, rtol=1e-6, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS, method=st.sampled_from(TAU2_METHODS))
def test_moderator_coding_does_not_matter(problem: tuple[int, int, float], method: Any) -> None:
    y, v, X = _random_problem(*problem)
    other = X @ np.array([[1.0, 1900.0], [0.0, 12.0]])
    one, two = fit_normal(y, v, X, method=method), fit_normal(y, v, other, method=method)
    np.testing.assert_allclose(X @ one.beta, other @ two.beta, rtol=1e-7, atol=1e-8)
    assert two.log_likelihood_ml == pytest.approx(one.log_likelihood_ml, rel=1e-8, abs=1e-8)


def test_batch_agrees_with_single_fits() -> None:
    problems = [_random_problem(seed, 12, 0.4) for seed in range(8)]
    X = problems[0][2]
    y, v = np.array([p[0] for p in problems]), np.array([p[1] for p in problems])
    for method in TAU2_METHODS:
        fits = fit_normal_batch(y, v, X, method=method)
        assert len(fits) == 8
        for b in range(8):
            single = fit_normal(y[b], v[b], X, method=method)
            # Matrix products of other shapes round differently.
            np.testing.assert_allclose(fits[b].beta, single.beta, rtol=1e-12)
            assert fits[b].tau2 == pytest.approx(single.tau2, rel=1e-11, abs=1e-15)


def test_prediction_interval_contains_confidence_interval() -> None:
    fit = _fit("rma_uni_bcg_ablat", "REML", "knha")
    predicted = predict_normal(fit, [[1.0, 10.0], [1.0, 50.0]], level=0.8)
    assert np.all(predicted.pi_lower < predicted.ci_lower)
    assert np.all(predicted.pi_upper > predicted.ci_upper)


def test_to_dict_is_plain() -> None:
    content = _fit("rma_uni_bcg_ablat", "REML", "knha").to_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["k"] == 13


GOOD = (np.array([0.1, 0.5, 0.4, 0.2]), np.full(4, 0.1), np.ones((4, 1)))


@pytest.mark.parametrize(
    ("y", "v", "X", "message"),
    [
        ([0.1, float("nan"), 0.4, 0.2], GOOD[1], GOOD[2], r"y\[1\] is nan"),
        (GOOD[0], [0.1, -0.1, 0.1, 0.1], GOOD[2], r"v\[1\] is -0\.1; it must be 0 or more"),
        (GOOD[0], [0.1, 0.1, 0.1], GOOD[2], "one variance per effect"),
        (GOOD[0], GOOD[1], np.ones((3, 1)), "3 rows for 4 studies"),
        (GOOD[0], GOOD[1], np.eye(4), "more studies than coefficients"),
        (GOOD[0], GOOD[1], np.zeros((4, 1)), "all zeros"),
        (GOOD[0], GOOD[1], np.ones(4), "2 dimension"),
        (["a", "b", "c", "d"], GOOD[1], GOOD[2], "not numeric"),
        ([True, False, True, True], GOOD[1], GOOD[2], "boolean"),
    ],
)
def test_unusable_data_are_refused(y: object, v: object, X: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_normal(y, v, X)


def test_unknown_options_are_refused() -> None:
    unknown: Any = "XX"
    with pytest.raises(InputError, match="method is 'XX'"):
        fit_normal(*GOOD, method=unknown)
    with pytest.raises(InputError, match="test is 'XX'"):
        fit_normal(*GOOD, test=unknown)
    with pytest.raises(InputError, match="level is 95"):
        fit_normal(*GOOD, level=95)
    fit = fit_normal(*GOOD)
    with pytest.raises(InputError, match="kind is 'XX'"):
        predict_normal(fit, [[1.0]], kind=unknown)
    with pytest.raises(InputError, match="2 columns for 1 coefficients"):
        predict_normal(fit, [[1.0, 2.0]])


def test_riley_interval_needs_two_degrees_of_freedom() -> None:
    fit = fit_normal(GOOD[0][:2], GOOD[1][:2], GOOD[2][:2])
    with pytest.raises(InputError, match="2 residual degrees of freedom"):
        predict_normal(fit, [[1.0]], kind="riley")
