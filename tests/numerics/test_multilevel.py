"""Multilevel fits against metafor 3.8-1 (files in ``tests/reference``) and their invariants."""

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
from ketacast.numerics.mixed import (
    MultilevelFit,
    cooks_distance,
    fit_multilevel,
    random_effects,
    standardised_residuals,
    variance_interval,
)
from ketacast.numerics.mixed.marginal_covariance import log_likelihoods
from ketacast.numerics.normal import fit_normal

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]

#: The reference's optimizer (nlminb) stopped at relative changes of 1e-10 to 1e-12 of the
#: likelihood, that is 1e-6 of the variances (the square root, and some). Measured: 5.1e-7.
RTOL_VARIANCE = 1e-6
#: Coefficients depend on the variances weakly. Measured: 4.6e-8.
RTOL_BETA = 1e-7
#: Standard errors and what follows from them move with the variances.
RTOL = 1e-6
#: At its maximum the likelihood feels the variances in second order only.
ATOL_MAXIMISED = 1e-10
#: The likelihood that was not maximised feels them in first order.
ATOL_OTHER = 1e-6
#: Q needs no variance component: closed form.
RTOL_CLOSED = 1e-12
#: Below this a difference is rounding of numbers of order one.
ATOL = 1e-12
#: Limits and random effects near 0 are differences of numbers of order 0.1, each good to
#: RTOL_BETA.
ATOL_DIFFERENCE = 2e-9
#: Half of the last printed digit.
PRINTED = 5.1e-5
#: Both fits find the maximum to about 1e-11 standard errors; effects in other units or
#: orders are rounded differently, which the curvature of flat likelihoods magnifies.
RTOL_TWICE = 1e-6
#: A grid point above the returned maximum by more than rounding would be a missed maximum.
ATOL_GRID = 1e-9

CASES = ("rma_mv_multilevel_konstantopoulos2011", "rma_mv_multilevel_konstantopoulos2011_year")
#: Keys without a counterpart here.
NOT_OFFERED = {
    "coef_names": "names belong to the design, not to the numerics",
    "tau2": "filler (0) for a term that the model does not have",
    "rho": "filler (0) for a term that the model does not have",
    "control_rel_tol": "setting of the reference's optimizer",
}
DIFFERENCES = {"ci_lb", "ci_ub", "pi_lb", "pi_ub", "study", "study/esid"}
#: The grids must not shrink silently.
EXPECTED_VARIANTS = 8
EXPECTED_COOKS = 16
EXPECTED_LIMITS = 1
DATA_SETS = 220

#: metafor::confint(rma.mv(yi, vi, mods, random = ~1 | district/school,
#: control = list(rel.tol = <1e-12, 1e-10>)), control = list(tol = 1e-10)), as printed.
#: It found no upper limit for the first case's variance within.
PRINTED_INTERVALS = {
    (CASES[0], "between"): (0.0222, 0.2072),
    (CASES[0], "within"): (0.0163, None),
    (CASES[1], "between"): (0.0244, 0.2421),
    (CASES[1], "within"): (0.0162, 0.0626),
}
#: metafor::cooks.distance(fit, cluster = district) of the second case at rel.tol = 1e-10,
#: districts that the reference file leaves open because its tighter fit failed.
COOKS_LOOSER = {0: 1.96548482359e-01, 5: 3.33145110266e-01, 10: 1.48357658683e-03}


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _variants() -> list[tuple[str, str]]:
    return [
        (case, key)
        for case in CASES
        for key in _load(case)["expected"]
        if not key.startswith("robust|")
    ]


def _fit(case: str, method: Any = "REML", test: Any = "z") -> MultilevelFit:
    data = _load(case)["data"]
    return fit_multilevel(
        data["yi"], data["vi"], data["design_matrix"], data["study"], method=method, test=test
    )


def _close(actual: object, expected: object, rtol: float, name: str) -> None:
    np.testing.assert_allclose(
        np.asarray(actual, dtype=np.float64),
        np.asarray(expected, dtype=np.float64),
        rtol=rtol,
        atol=ATOL_DIFFERENCE if name in DIFFERENCES else ATOL,
        err_msg=name,
    )


def _check_prediction(fit: MultilevelFit, case: str, level: float, expected: Any) -> None:
    new = _load(case)["data"]["newmods"]
    rows = np.ones((1, 1)) if new is None else np.column_stack([np.ones(len(new)), np.array(new)])
    predicted = fit.predict(rows, level=level)
    values = {
        "pred": (predicted.mean, RTOL_BETA),
        "se": (predicted.se, RTOL),
        "ci_lb": (predicted.ci_lower, RTOL),
        "ci_ub": (predicted.ci_upper, RTOL),
        "pi_lb": (predicted.pi_lower, RTOL),
        "pi_ub": (predicted.pi_upper, RTOL),
    }
    assert set(expected) <= set(values) | {"ddf", "pi_ddf"}
    for name, (value, rtol) in values.items():
        _close(value, expected[name], rtol, name)
    for name, df in (("ddf", predicted.df), ("pi_ddf", predicted.pi_df)):
        assert set(expected.get(name, [df])) == {df}


def _check_random_effects(fit: MultilevelFit, expected: Any) -> None:
    effects = random_effects(fit)
    for name, found in (("study", effects.between), ("study/esid", effects.within)):
        _close(found.effect, expected[name]["intrcpt"], RTOL, name)
        _close(found.se, expected[name]["se"], RTOL, name)
    assert set(expected) == {"study", "study/esid"}


def _check_intervals(fit: MultilevelFit, expected: Any) -> None:
    """The file holds variance and standard deviation of the last component only."""
    assert set(expected) == {""}
    interval = variance_interval(fit, "within")
    found = np.array([interval.estimate, interval.lower, interval.upper])
    for row, values in zip(expected[""], (found, np.sqrt(found)), strict=True):
        known = [i for i, value in enumerate(row) if value is not None]
        _close(values[known], [row[i] for i in known], RTOL, "interval")


def _check_cooks(fit: MultilevelFit, expected: list[float | None]) -> None:
    distance = cooks_distance(fit)
    known = [i for i, value in enumerate(expected) if value is not None]
    _close(distance[known], [expected[i] for i in known], RTOL_VARIANCE, "Cook's distance")
    assert np.isfinite(distance).all()


def test_grid_of_cases_does_not_shrink() -> None:
    assert len(_variants()) == EXPECTED_VARIANTS
    expected = [_load(case)["expected"]["REML|z"] for case in CASES]
    assert sum(v is not None for e in expected for v in e["cooks_study"]) == EXPECTED_COOKS
    limits = [v for e in expected for v in e["confint_PL"][""][0][1:]]
    assert sum(v is not None for v in limits) == EXPECTED_LIMITS


@pytest.mark.parametrize(("case", "key"), _variants())
def test_fit_matches_metafor(case: str, key: str) -> None:
    method, test = key.split("|")
    expected = dict(_load(case)["expected"][key])
    fit = _fit(case, method, test)
    omnibus = fit.moderators
    compared: dict[str, tuple[object, float]] = {
        "beta": (fit.beta, RTOL_BETA),
        "se": (fit.se, RTOL),
        "stat": (fit.statistic, RTOL),
        "pval": (fit.p_value, RTOL),
        "ci_lb": (fit.ci_lower, RTOL),
        "ci_ub": (fit.ci_upper, RTOL),
        "vb": (fit.cov, RTOL),
        "sigma2": (fit.sigma2, RTOL_VARIANCE),
        "QE": (fit.qe, RTOL_CLOSED),
        # The tail of Q is about Q times as sensitive as Q.
        "QEp": (fit.qe_p, RTOL_CLOSED * 1e3),
        "QM": (omnibus.statistic, RTOL),
        "QMp": (omnibus.p_value, RTOL),
        "k": (fit.k, 0.0),
        "p": (fit.p, 0.0),
    }
    if "I2_total" in expected:
        compared["I2_total"] = (fit.i2, RTOL_VARIANCE)
        _close(fit.i2_components.sum(), fit.i2, RTOL_CLOSED, "parts of I2")
    for name, (value, rtol) in compared.items():
        _close(value, expected.pop(name), rtol, name)
    maximised = {"ML": ATOL_OTHER, "REML": ATOL_OTHER, method: ATOL_MAXIMISED}
    restricted = fit.information_criteria(restricted=True)
    for name, value, of in (
        ("ll_ML", fit.log_likelihood_ml, "ML"),
        ("ll_REML", fit.log_likelihood_reml, "REML"),
        ("AIC_ML", fit.information_criteria(restricted=False).aic, "ML"),
        ("AIC_REML", restricted.aic, "REML"),
        ("BIC_REML", restricted.bic, "REML"),
        ("AICc_REML", restricted.aicc, "REML"),
    ):
        assert value == pytest.approx(expected.pop(name), abs=2.0 * maximised[of]), name
    assert fit.information_criteria() == fit.information_criteria(restricted=method == "REML")
    assert [omnibus.df_coefficients, omnibus.df_residual] == expected.pop("QM_df")
    assert {fit.df} == set(expected.pop("ddf"))
    for name, level in (("predict95", 0.95), ("predict80", 0.80)):
        if name in expected:
            _check_prediction(fit, case, level, expected.pop(name))
    if "ranef" in expected:
        _check_random_effects(fit, expected.pop("ranef"))
        _close(standardised_residuals(fit).z, expected.pop("rstandard_z"), RTOL, "rstandard")
        _check_intervals(fit, expected.pop("confint_PL"))
        _check_cooks(fit, expected.pop("cooks_study"))
    assert set(expected) - {"I2_total"} == set(NOT_OFFERED)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("component", ["between", "within"])
def test_profile_interval_matches_printed_limits(case: str, component: Any) -> None:
    interval = variance_interval(_fit(case), component)
    lower, upper = PRINTED_INTERVALS[case, component]
    assert interval.lower == pytest.approx(lower, abs=PRINTED)
    assert interval.lower < interval.estimate < interval.upper
    if upper is not None:
        assert interval.upper == pytest.approx(upper, abs=PRINTED)


def test_cooks_distance_where_the_reference_file_is_open() -> None:
    expected = _load(CASES[1])["expected"]["REML|z"]["cooks_study"]
    assert {i for i, value in enumerate(expected) if value is None} == set(COOKS_LOOSER)
    distance = cooks_distance(_fit(CASES[1]))
    _close(distance[list(COOKS_LOOSER)], list(COOKS_LOOSER.values()), RTOL_VARIANCE, "Cook's")


def _random_data(seed: int) -> tuple[Array, Array, Array, NDArray[np.intp]]:
    """Few small groups; often on the boundary, sometimes rounded, equal or of mixed scales."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, rng.integers(2, 8))
    groups = np.repeat(np.arange(sizes.size), sizes)
    k = max(groups.size, 4)
    groups = np.resize(groups, k)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])[:, : rng.integers(1, 3)]
    v = np.exp(rng.normal(0.0, rng.choice([0.1, 1.0, 4.0]), k)) * rng.choice([1e-6, 1.0, 1e4])
    between, within = rng.choice([0.0, 1e-3, 1.0, 100.0], 2) * np.median(v)
    y = rng.normal(size=k) * np.sqrt(v + within)
    y += rng.normal(size=sizes.size)[groups] * np.sqrt(between)
    if seed % 10 == 0:
        y = np.round(y / np.sqrt(v.mean())) * np.sqrt(v.mean())
    if seed % 29 == 0:
        y[:] = 1.0
    if seed % 31 == 0:
        groups = np.arange(k)
    return y, v, X, groups


def _grid(y: Array, v: Array, axes: int) -> Array:
    top = 20.0 * np.ptp(y) ** 2 + v.max()
    line = np.append(0.0, np.geomspace(1e-3 * v.min(), top, 40))
    return np.stack(np.meshgrid(*[line] * axes), axis=-1).reshape(-1, axes)


def test_no_point_of_a_grid_has_a_higher_likelihood() -> None:
    boundary, interior, single = 0, 0, 0
    for seed in range(DATA_SETS):
        y, v, X, groups = _random_data(seed)
        method: Any = "REML" if seed % 2 else "ML"
        fit = fit_multilevel(y, v, X, groups, method=method)
        points = _grid(y, v, fit.model.n_patterns)
        values = log_likelihoods(fit.model, points, restricted=fit.restricted)
        assert fit.log_likelihood >= values.max() - ATOL_GRID, seed
        boundary += bool((fit.sigma2 == 0.0).any())
        interior += bool((fit.sigma2 > 0.0).all())
        single += not fit.separable
    # The sets are of all kinds.
    assert boundary > 100
    assert interior > 10
    assert single > 0


def test_neither_edge_hides_a_higher_mode() -> None:
    # Two modes often lie on the two edges (all heterogeneity between, or all within),
    # joined by a ridge that a coarse search does not resolve.
    ends = {0: 0, 1: 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(6), 2)
        v = np.exp(rng.normal(-2.0, 1.5, 12))
        y = rng.normal(size=12) * np.sqrt(v) + rng.normal(size=6)[groups]
        y += 0.5 * rng.normal(size=12)
        fit = fit_multilevel(y, v, np.ones((12, 1)), groups)
        for edge in ends:
            points = np.zeros((400, 2))
            points[:, edge] = np.geomspace(1e-3, 20.0, 400)
            values = log_likelihoods(fit.model, points, restricted=True)
            assert fit.log_likelihood >= values.max() - ATOL_GRID
            ends[edge] += bool(fit.sigma2[1 - edge] == 0.0)
    assert min(ends.values()) > 3


PROBLEMS = st.integers(0, 10**6)


@settings(max_examples=40, deadline=None)
@given(seed=PROBLEMS, method=st.sampled_from(["ML", "REML"]))
def test_groups_of_one_are_the_normal_model(seed: int, method: Any) -> None:
    y, v, X, _ = _random_data(seed)
    fit = fit_multilevel(y, v, X, np.arange(y.size), method=method)
    normal = fit_normal(y, v, X, method=method, test="z")
    assert not fit.separable
    assert fit.sigma2[1] == 0.0
    scale = float(v.max() + np.ptp(y) ** 2)
    np.testing.assert_allclose(fit.sigma2[0], normal.tau2, rtol=RTOL_TWICE, atol=1e-9 * scale)
    np.testing.assert_allclose(fit.beta, normal.beta, rtol=RTOL_TWICE, atol=1e-7 * np.sqrt(scale))
    assert fit.log_likelihood_ml == pytest.approx(normal.log_likelihood_ml, abs=1e-6)
    assert fit.log_likelihood_reml == pytest.approx(normal.log_likelihood_reml, abs=1e-6)
    assert fit.log_likelihood >= normal.log_likelihood - ATOL_GRID


@settings(max_examples=30, deadline=None)
@given(seed=PROBLEMS, method=st.sampled_from(["ML", "REML"]))
def test_equal_estimates_within_groups_are_the_normal_model_of_means(
    seed: int, method: Any
) -> None:
    # Without spread within groups that variance is 0, and the weighted means are sufficient.
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(7), rng.integers(2, 5, 7))
    v = rng.uniform(0.05, 0.2, groups.size)
    means = rng.normal(0.0, 1.0, 7)
    X = np.column_stack([np.ones(7), rng.normal(size=7)])
    fit = fit_multilevel(means[groups], v, X[groups], groups, method=method)
    pooled = 1.0 / np.bincount(groups, weights=1.0 / v)
    normal = fit_normal(means, pooled, X, method=method, test="z")
    assert fit.sigma2[1] == 0.0
    np.testing.assert_allclose(fit.sigma2[0], normal.tau2, rtol=RTOL_TWICE, atol=1e-9)
    np.testing.assert_allclose(fit.beta, normal.beta, rtol=RTOL_TWICE, atol=1e-9)
    np.testing.assert_allclose(fit.cov, normal.cov, rtol=RTOL_TWICE, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=PROBLEMS, factor=st.floats(1e-5, 1e5), method=st.sampled_from(["ML", "REML"]))
def test_units_and_row_order_do_not_matter(seed: int, factor: float, method: Any) -> None:
    y, v, X, groups = _random_data(seed)
    plain = fit_multilevel(y, v, X, groups, method=method)
    scaled = fit_multilevel(y * factor, v * factor**2, X, groups, method=method)
    order = np.random.default_rng(seed).permutation(y.size)
    names = np.array([f"study {g}" for g in groups])
    mixed = fit_multilevel(y[order], v[order], X[order], names[order], method=method)
    for other, unit in ((scaled, factor), (mixed, 1.0)):
        shift = (plain.residual_df if plain.restricted else plain.k) * np.log(unit)
        assert other.log_likelihood + shift == pytest.approx(plain.log_likelihood, abs=1e-7)
        # Two maxima of nearly the same height may change places.
        if np.allclose(other.sigma2 == 0.0, plain.sigma2 == 0.0):
            scale = float(v.min())
            np.testing.assert_allclose(
                other.sigma2 / unit**2, plain.sigma2, rtol=RTOL_TWICE, atol=RTOL_TWICE * scale
            )
            np.testing.assert_allclose(other.p_value, plain.p_value, rtol=1e-5, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=PROBLEMS)
def test_a_diagonal_covariance_is_its_variances(seed: int) -> None:
    y, v, X, groups = _random_data(seed)
    one = fit_multilevel(y, v, X, groups)
    two = fit_multilevel(y, np.diag(v), X, groups)
    np.testing.assert_allclose(two.sigma2, one.sigma2, rtol=1e-9, atol=1e-12 * v.min())
    np.testing.assert_allclose(two.beta, one.beta, rtol=1e-9, atol=1e-12)


def test_sampling_covariance_counts() -> None:
    y, v, X, groups = _random_data(7)
    size = np.sqrt(np.outer(v, v))
    V = np.where(groups[:, None] == groups[None, :], 0.7 * size, 0.0)
    np.fill_diagonal(V, v)
    fit = fit_multilevel(y, V, X, groups)
    M = V + fit.sigma2[0] * (groups[:, None] == groups[None, :]) + fit.sigma2[1] * np.eye(y.size)
    np.testing.assert_allclose(fit.marginal_covariance(), M, rtol=1e-12, atol=1e-15)
    W = np.linalg.inv(M)
    cov = np.linalg.inv(X.T @ W @ X)
    np.testing.assert_allclose(fit.cov, cov, rtol=1e-8)
    np.testing.assert_allclose(fit.beta, cov @ X.T @ W @ y, rtol=1e-8)
    residual = y - X @ fit.beta
    direct = -0.5 * (y.size * np.log(2 * np.pi) + np.linalg.slogdet(M)[1] + residual @ W @ residual)
    assert fit.log_likelihood_ml == pytest.approx(direct, rel=1e-10)


def test_variances_of_very_different_size() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(10), 3)
    v = np.tile([1e-13, 1.0, 1e-6], 10)
    y = rng.normal(size=30) * np.sqrt(v + 0.1) + rng.normal(size=10)[groups]
    fit = fit_multilevel(y, v, np.ones((30, 1)), groups)
    values = log_likelihoods(fit.model, _grid(y, np.full(30, 1e-3), 2), restricted=True)
    assert fit.log_likelihood >= values.max() - ATOL_GRID
    assert (fit.sigma2 > 0.0).all()


def test_blups_shrink_to_zero_with_their_variance() -> None:
    y, v, X, groups = _random_data(0)
    fit = fit_multilevel(np.full_like(y, 0.3), v, X, groups)
    assert fit.sigma2.tolist() == [0.0, 0.0]
    effects = random_effects(fit)
    for part in (effects.between, effects.within):
        assert not part.effect.any()
        assert not part.se.any()


def test_within_interval_needs_two_estimates_somewhere() -> None:
    y, v, X, _ = _random_data(3)
    fit = fit_multilevel(y, v, X, np.arange(y.size))
    with pytest.raises(InputError, match="no such variance"):
        variance_interval(fit, "within")
    assert variance_interval(fit, "between").lower <= fit.sigma2[0]


def test_cooks_distance_is_open_where_a_group_carries_a_coefficient() -> None:
    y, v, _, _ = _random_data(11)
    k = y.size
    groups = np.arange(k) // 2
    X = np.column_stack([np.ones(k), groups == 0]).astype(np.float64)
    distance = cooks_distance(fit_multilevel(y, v, X, groups, method="ML"))
    assert np.isnan(distance[0])
    assert np.isfinite(distance[1:]).any()


def test_residual_of_an_exactly_fitted_row_is_open() -> None:
    y = np.array([0.1, 0.5, 0.4, 0.2, 0.9])
    X = np.column_stack([np.ones(5), [0.0, 0.0, 0.0, 0.0, 1.0]])
    fit = fit_multilevel(y, np.full(5, 0.1), X, [1, 1, 2, 2, 3], method="ML")
    z = standardised_residuals(fit).z
    assert np.isnan(z[4])
    assert np.isfinite(z[:4]).all()


def test_to_dict_is_plain() -> None:
    content = _fit(CASES[1]).to_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["n_groups"] == 11


Y, V, ONES, GROUPS = np.array([0.1, 0.5, 0.4, 0.2]), np.full(4, 0.1), np.ones((4, 1)), [1, 1, 2, 2]
ACROSS = np.diag(V) + 0.01 * np.ones((4, 4))
SINGULAR = np.kron(np.eye(2), np.full((2, 2), 0.1))


@pytest.mark.parametrize(
    ("y", "v", "X", "groups", "message"),
    [
        ([0.1, float("nan"), 0.4, 0.2], V, ONES, GROUPS, r"y\[1\] is nan"),
        (Y, [0.1, 0.0, 0.1, 0.1], ONES, GROUPS, r"v\[1\] is 0\.0; it must be greater than 0"),
        (Y, [0.1, 0.1], ONES, GROUPS, r"v has shape \(2,\) for 4 effects"),
        (Y, ACROSS, ONES, GROUPS, r"v\[0, 2\] is 0\.01; it must be 0: the two rows"),
        (Y, SINGULAR, ONES, GROUPS, "v is not positive definite in group 1"),
        (Y, np.diag(V) + np.eye(4, k=1) * 0.01, ONES, GROUPS, r"must equal its mirror"),
        (Y, V, ONES, [1, 1, 1, 1], "groups has the single label 1, but a variance between groups"),
        (Y, V, ONES, [1, 1, 2], r"groups has shape \(3,\) for 4 rows"),
        (Y, V, ONES, [1.0, 1.0, float("nan"), 2.0], r"groups\[2\] is nan"),
        (Y, V, np.eye(4), GROUPS, "more studies than coefficients"),
        (Y, V, np.kron(np.eye(2), np.ones((2, 1))), GROUPS, "cannot tell the variance between"),
    ],
)
def test_unusable_data_are_refused(
    y: object, v: object, X: object, groups: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit_multilevel(y, v, X, groups)


def test_unknown_options_are_refused() -> None:
    unknown: Any = "XX"
    with pytest.raises(InputError, match="method is 'XX'"):
        fit_multilevel(Y, V, ONES, GROUPS, method=unknown)
    with pytest.raises(InputError, match="test is 'XX'"):
        fit_multilevel(Y, V, ONES, GROUPS, test=unknown)
    with pytest.raises(InputError, match="level is 95"):
        fit_multilevel(Y, V, ONES, GROUPS, level=95)
    fit = fit_multilevel(Y, V, ONES, GROUPS)
    with pytest.raises(InputError, match="component is 'XX'"):
        variance_interval(fit, unknown)
    with pytest.raises(InputError, match="2 columns for 1 coefficients"):
        fit.predict([[1.0, 2.0]])
