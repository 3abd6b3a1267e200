"""Multilevel fits: the global maximum, invariances, edges and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.numerics.mixed import (
    cooks_distance,
    fit_multilevel,
    random_effects,
    standardised_residuals,
    variance_interval,
)
from ketacast.numerics.mixed.marginal_covariance import log_likelihoods
from ketacast.numerics.normal import fit_normal

Array = NDArray[np.float64]
#: Both fits find the maximum to about 1e-11 standard errors; effects in other units or
#: orders are rounded differently, which the curvature of flat likelihoods magnifies.
RTOL_TWICE = 1e-6
#: A grid point above the returned maximum by more than rounding would be a missed maximum.
ATOL_GRID = 1e-9
DATA_SETS = 220


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
