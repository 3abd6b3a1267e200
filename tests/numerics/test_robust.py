"""Cluster-robust covariances: invariances, small numbers of clusters, refusals."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.numerics.robust import robust_covariance
from ketacast.numerics.robust_fit import LEAST_SHARE, RobustKind

Array = NDArray[np.float64]
KINDS = get_args(RobustKind)


def _random_data(seed: int) -> tuple[Array, Array, Array, NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(8), rng.integers(1, 5, 8))
    k = cluster.size
    X = np.column_stack([np.ones(k), rng.normal(size=k), rng.normal(size=8)[cluster]])
    v = np.exp(rng.normal(0.0, 1.0, k))
    same = cluster[:, None] == cluster
    M = np.diag(v) + 0.5 * same
    y = np.linalg.cholesky(M) @ rng.normal(size=k)
    return y, M, X, cluster


PROBLEMS = st.integers(0, 10**6)


@settings(max_examples=30, deadline=None)
@given(seed=PROBLEMS)
def test_cr2_is_unbiased_under_the_working_model(seed: int) -> None:
    # The expected covariance, by its definition, is the model's own.
    y, M, X, cluster = _random_data(seed)
    parts = robust_covariance(y, X, M, cluster).parts
    model = np.linalg.inv(X.T @ np.linalg.solve(M, X))
    np.testing.assert_allclose(parts.carry @ parts.carry.T, model, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parts.expected, np.eye(3), atol=1e-8)


@settings(max_examples=30, deadline=None)
@given(seed=PROBLEMS, kind=st.sampled_from(KINDS))
def test_units_and_row_order_do_not_matter(seed: int, kind: Any) -> None:
    y, M, X, cluster = _random_data(seed)
    one = robust_covariance(y, X, M, cluster, kind=kind)
    order = np.random.default_rng(seed).permutation(y.size)
    two = robust_covariance(
        1e3 * y[order], X[order], 1e6 * M[np.ix_(order, order)],
        [f"c{c}" for c in cluster[order]], kind=kind,
    )  # fmt: skip
    np.testing.assert_allclose(two.cov, 1e6 * one.cov, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(two.df, one.df, rtol=1e-7)
    np.testing.assert_allclose(two.p_value, one.p_value, rtol=1e-6, atol=1e-12)


def test_cr0_is_the_plain_sandwich() -> None:
    y, M, X, cluster = _random_data(4)
    W = np.linalg.inv(M)
    bread = np.linalg.inv(X.T @ W @ X)
    residual = y - X @ bread @ X.T @ W @ y
    scores = np.array([
        (X.T @ W)[:, cluster == c] @ residual[cluster == c] for c in range(8)
    ])  # fmt: skip
    expected = bread @ scores.T @ scores @ bread
    fit = robust_covariance(y, X, M, cluster, kind="CR0")
    np.testing.assert_allclose(fit.cov, expected, rtol=1e-9, atol=1e-12)
    corrected = robust_covariance(y, X, M, cluster, kind="CR1")
    np.testing.assert_allclose(corrected.cov, expected * 8.0 / 5.0, rtol=1e-9, atol=1e-12)


def test_a_level_seen_in_one_cluster_shows_in_the_expected_share() -> None:
    y, M, X, cluster = _random_data(4)
    whole = robust_covariance(y, X, M, cluster)
    np.testing.assert_allclose(whole.expected_share, 1.0, rtol=1e-8)
    for kind, factor in (("CR0", 1.0), ("CR1", 8.0 / 5.0)):
        choice: Any = kind
        share = robust_covariance(y, X, M, cluster, kind=choice).expected_share / factor
        assert (share < 1.0).all()
    # The coefficient is the difference of one cluster from the mean of the others; of
    # the two variances only the mean's is in the data.
    last = np.column_stack([np.ones(4), [0.0, 0.0, 0.0, 1.0]])
    few = robust_covariance(Y, last, V, [1, 2, 3, 4])
    np.testing.assert_allclose(few.expected_share, [1.0, 0.25], rtol=1e-8)


def _singles(n: int = 8) -> tuple[Array, Array, Array, list[int]]:
    """Two dummies, each of a level that one cluster alone has."""
    X = np.zeros((n, 3))
    X[:, 0] = X[n - 2, 1] = X[n - 1, 2] = 1.0
    y = np.array([0.1, 0.5, 0.3, 0.2, 0.8, 0.4, 0.9, 0.1])[:n]
    return y, X, np.full(n, 0.1), list(range(n))


@pytest.mark.parametrize("kind", KINDS)
def test_what_single_clusters_decide_is_not_tested_jointly(kind: Any) -> None:
    y, X, v, cluster = _singles()
    fit = robust_covariance(y, X, v, cluster, kind=kind)
    # The difference of the two levels is the difference of two clusters: no replicate.
    assert fit.moderators_share == pytest.approx(0.0, abs=1e-12)
    assert fit.moderators is None
    # Each coefficient for itself is a cluster against the mean of six.
    share = {"CR0": 5.0 / 6.0, "CR1": 8.0 / 5.0 * 5.0 / 6.0, "CR2": 1.0}[kind]
    np.testing.assert_allclose(fit.expected_share[1:], share / 7.0)
    np.testing.assert_allclose(fit.expected_share[0], share)


@pytest.mark.parametrize("kind", KINDS)
def test_means_that_one_cluster_decides_have_no_standard_error(kind: Any) -> None:
    y, X, v, cluster = _singles()
    fit = robust_covariance(y, X, v, cluster, kind=kind)
    rows = [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0 - 1e-4, 0.0], [0.0, 1.0, -1.0], [0.0] * 3]
    found = fit.predict(rows, heterogeneity=0.1)
    np.testing.assert_allclose(found.mean[:2], [y[6], y[:6].mean()])
    for name in ("se", "df", "ci_lower", "ci_upper", "pi_lower", "pi_upper"):
        value = getattr(found, name)
        assert np.isfinite(value).tolist() == [False, True, False, False, False], name
    assert found.se[1] == pytest.approx(fit.se[0])
    np.testing.assert_array_equal(found.expected_share, fit.share_of(rows))
    np.testing.assert_allclose(found.expected_share[[0, 3]], 0.0, atol=1e-12)
    assert np.isnan(found.expected_share[4])


def test_the_joint_test_that_is_given_keeps_its_size() -> None:
    # Levels of one cluster each would have p < 0.05 in four of five sets without effects.
    rng = np.random.default_rng(5)
    cluster = np.repeat(np.arange(12), 2)
    X = np.column_stack([np.ones(24), cluster < 4, cluster > 7]).astype(np.float64)
    p_values = []
    for _ in range(200):
        fit = robust_covariance(rng.normal(size=24), X, np.ones(24), cluster)
        omnibus = fit.moderators
        assert omnibus is not None
        p_values.append(omnibus.p_value)
    # Three standard errors of a share of 0.05 in 200.
    assert np.mean(np.array(p_values) < 0.05) < 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / 200.0)


@settings(max_examples=30, deadline=None)
@given(seed=PROBLEMS, kind=st.sampled_from(KINDS))
def test_shares_are_average_robust_variances(seed: int, kind: Any) -> None:
    # The average over the model is linear in E[yy'] = M: columns of its root give it exactly.
    y, M, X, cluster = _random_data(seed)
    fit = robust_covariance(y, X, M, cluster, kind=kind)
    rows = np.random.default_rng(seed).normal(size=(3, 3))
    root = np.linalg.cholesky(M)
    model = np.linalg.inv(X.T @ np.linalg.solve(M, X))
    total = sum(robust_covariance(column, X, M, cluster, kind=kind).cov for column in root.T)
    expected = np.einsum("mi,ij,mj->m", rows, np.asarray(total), rows)
    expected /= np.einsum("mi,ij,mj->m", rows, model, rows)
    np.testing.assert_allclose(fit.share_of(rows), expected, rtol=1e-7)
    assert fit.moderators_share <= fit.expected_share[1:].min() * (1.0 + 1e-9)
    assert (fit.moderators is not None) == (fit.moderators_share >= LEAST_SHARE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("y", [np.zeros(8), np.full(8, 0.1), np.array([0.3, 0.3, 0.3, 0.3] * 2)])
def test_effects_without_spread_are_refused(kind: Any, y: Array) -> None:
    v = np.array([0.1, 0.2, 0.3, 0.15] * 2)
    with pytest.raises(InputError, match=r"coefficient of X\[:, 0\] lie on the fitted line"):
        robust_covariance(y, np.ones((8, 1)), v, [1, 1, 2, 2, 3, 3, 4, 4], kind=kind)
    two = np.column_stack([np.repeat([1.0, 0.0], 4), np.repeat([0.0, 1.0], 4)])
    half = np.where(np.arange(8) < 4, np.arange(8.0), y)
    with pytest.raises(InputError, match=r"coefficient of X\[:, 1\] lie on the fitted line"):
        robust_covariance(half, two, v, list(range(8)), kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_origin_of_a_moderator_does_not_matter(kind: Any) -> None:
    y, M, X, cluster = _random_data(2)
    one = robust_covariance(y, X, M, cluster, kind=kind)
    moved = X + np.array([0.0, 2000.0, 1e5])
    two = robust_covariance(y, moved, M, cluster, kind=kind)
    assert one.moderators is not None
    assert two.moderators is not None
    # The design itself loses six digits.
    assert two.moderators.statistic == pytest.approx(one.moderators.statistic, rel=1e-8)
    np.testing.assert_allclose(two.predict(moved).se, one.predict(X).se, rtol=1e-8)


def test_singletons_with_equal_variances_give_hc2() -> None:
    # One row per cluster: CR2 divides each squared residual by 1 - leverage (HC2).
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(12), rng.normal(size=12)])
    y = rng.normal(size=12)
    bread = np.linalg.inv(X.T @ X)
    leverage = np.einsum("ki,ij,kj->k", X, bread, X)
    residual = y - X @ bread @ X.T @ y
    expected = bread @ (X.T * (residual**2 / (1.0 - leverage))) @ X @ bread
    fit = robust_covariance(y, X, np.full(12, 0.3), np.arange(12))
    np.testing.assert_allclose(fit.cov, expected, rtol=1e-10)


def test_too_few_clusters_for_the_joint_test() -> None:
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(5), 4)
    X = np.column_stack([np.ones(20), rng.normal(size=(20, 3))])
    X[:, 1:] *= np.repeat([[1.0], [1e-3], [1e-3], [1e-3], [1e-3]], 4, axis=0)
    fit = robust_covariance(rng.normal(size=20), X, np.ones(20), cluster)
    assert fit.moderators_share == pytest.approx(1.0)
    assert fit.moderators is None
    assert np.isfinite(fit.p_value).all()


Y, V, ONES, CLUSTER = np.array([0.1, 0.5, 0.4, 0.2]), np.full(4, 0.1), np.ones((4, 1)), [1, 1, 2, 3]
LAST = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("X", "covariance", "cluster", "message"),
    [
        (ONES, V, [1, 1, 1, 1], r"cluster has 1 label\(s\) for 1 coefficient"),
        (ONES, V, [1, 2, 3], r"cluster has shape \(3,\) for 4 rows"),
        (ONES, np.diag(V) + 0.01, CLUSTER, "it must be 0: the two rows are in other groups"),
        (ONES, [0.1, 0.1, 0.0, 0.1], CLUSTER, r"covariance\[2\] is 0\.0"),
        (LAST, V, CLUSTER, r"coefficient of X\[:, 1\] is decided by a single cluster"),
    ],
)
def test_unusable_data_are_refused(
    X: object, covariance: object, cluster: object, message: str
) -> None:
    for kind in KINDS:
        with pytest.raises(InputError, match=message):
            robust_covariance(Y, X, covariance, cluster, kind=kind)


def test_unknown_options_are_refused() -> None:
    unknown: Any = "CR3"
    with pytest.raises(InputError, match="kind is 'CR3'"):
        robust_covariance(Y, ONES, V, CLUSTER, kind=unknown)
    fit = robust_covariance(Y, ONES, V, CLUSTER)
    with pytest.raises(InputError, match="heterogeneity is -1"):
        fit.predict([[1.0]], heterogeneity=-1.0)
    with pytest.raises(InputError, match=r"X_new has shape \(1, 2\)"):
        fit.predict([[1.0, 2.0]])
    with pytest.raises(InputError, match="level is 95"):
        fit.predict([[1.0]], level=95)
