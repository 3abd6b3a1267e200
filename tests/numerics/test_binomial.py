"""Binomial-normal fits: invariants, boundaries, awkward data and refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.binomial import (
    binomial_tau2_interval,
    fit_binomial,
    likelihood_ratio,
    predict_binomial,
)

Array = NDArray[np.float64]

#: Two searches of one maximum, each to 1e-7 standard errors.
RTOL_SEARCH = 1e-6

ZERO_EVENTS: tuple[list[int], list[int]] = (
    [0, 1, 2, 0, 5, 1, 1, 1, 1, 1, 0, 0, 3, 6, 0, 0, 1, 4],
    [116, 44, 208, 130, 151, 98, 174, 74, 97, 113, 66, 70, 188, 187, 118, 252, 345, 64],
)


def ones(k: int) -> Array:
    return np.ones((k, 1))


def random_data(seed: int, k: int, tau: float, p: int = 2) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    n = rng.integers(5, 120, size=k)
    logit = X @ np.append(-0.4, np.full(p - 1, 0.5)) + tau * rng.normal(size=k)
    events = rng.binomial(n, 1.0 / (1.0 + np.exp(-logit)))
    return events.astype(np.float64), n.astype(np.float64), X


def test_boundary_gives_the_logistic_fit() -> None:
    # Proportions closer together than chance allows: tau2 = 0.
    fit = fit_binomial([20] * 6, [50] * 6, ones(6))
    assert fit.tau2 == 0.0
    assert fit.tau_se is None
    assert fit.log_likelihood == fit.log_likelihood_fixed
    assert fit.i2 == 0.0
    assert fit.h2 == 1.0
    assert fit.qe == pytest.approx(0.0, abs=1e-12)
    assert fit.qe_wald == pytest.approx(0.0, abs=1e-12)
    assert float(fit.beta[0]) == pytest.approx(np.log(20 / 30), rel=1e-12)
    assert float(fit.se[0]) == pytest.approx(np.sqrt(1 / 120 + 1 / 180), rel=1e-12)


@pytest.mark.parametrize("k", range(2, 12))
def test_equal_proportions_are_homogeneous(k: int) -> None:
    # Their Q is 0 but for rounding, which may go below and would leave no p-value.
    for events in range(1, 10):
        fit = fit_binomial([events] * k, [10] * k, ones(k))
        assert 0.0 <= fit.qe < 1e-10
        assert fit.qe_p == pytest.approx(1.0, abs=1e-4)


def test_arms_with_no_or_only_events_are_fine() -> None:
    fit = fit_binomial([0, 5, 12, 3, 0], [20, 20, 12, 11, 4], ones(5))
    assert np.isfinite(fit.beta).all()
    assert fit.tau > 4.0


def test_single_patients_do_not_tell_of_heterogeneity() -> None:
    # One outcome per study: the likelihood is the same at every tau.
    fit = fit_binomial([0, 1, 1, 0, 1], [1] * 5, ones(5))
    assert fit.tau2 == 0.0
    assert float(fit.beta[0]) == pytest.approx(np.log(3 / 2), rel=1e-10)


def test_flat_top_at_zero_is_zero() -> None:
    # The second derivative in tau vanishes at 0 as well; the fourth decides.
    assert fit_binomial([3, 2, 4, 1], [3, 2, 4, 2], ones(4)).tau2 == 0.0


def test_higher_of_two_maxima_is_found() -> None:
    # tau = 0 is a local maximum of these, 0.17 below the one at tau = 3.1.
    events, n = [0, 5, 5, 2, 5, 7, 0, 2], [1, 5, 6, 2, 5, 7, 1, 2]
    x = [0.7667, -0.6084, 0.824, -2.1569, -1.5465, -0.7463, -0.37, 2.1416]
    fit = fit_binomial(events, n, np.column_stack([np.ones(8), x]))
    assert fit.tau == pytest.approx(3.147, abs=1e-3)
    assert fit.log_likelihood > fit.log_likelihood_fixed + 0.17


@pytest.mark.parametrize("events", [[0, 0, 0, 0], [9, 9, 9, 9]])
def test_no_information_is_called_separation(events: list[int]) -> None:
    with pytest.raises(ConvergenceError, match="separation"):
        fit_binomial(events, [9, 9, 9, 9], ones(4))


@pytest.mark.parametrize(
    ("events", "x"),
    [
        ([0, 0, 10, 10], [0.0, 0.0, 1.0, 1.0]),  # complete
        ([0, 4, 6, 10], [0.0, 1.0, 1.0, 2.0]),  # not complete: the sides meet at 1
        ([0, 0, 4, 6], [1.0, 1.0, 0.0, 0.0]),  # one category has no events
        ([0, 0, 4, 6], [1e-6, 1e-6, 0.0, 0.0]),  # the same, badly scaled
    ],
)
def test_separation_by_a_moderator_is_named(events: list[int], x: list[float]) -> None:
    X = np.column_stack([np.ones(4), x])
    with pytest.raises(ConvergenceError, match="separation"):
        fit_binomial(events, [10] * 4, X)


def test_large_fitted_log_odds_are_not_separation() -> None:
    # A study far out adds nothing: its log-odds are -359, and the maximum is finite.
    X = np.column_stack([np.ones(4), [0.0, 1.0, 200.0, 0.0]])
    fit = fit_binomial([5, 1, 0, 3], [10] * 4, X)
    # The first, second and last alone decide: 8 of 20, and 1 of 10.
    np.testing.assert_allclose(
        fit.beta, [np.log(8 / 12), np.log(1 / 9) - np.log(8 / 12)], rtol=1e-9
    )


def test_all_or_nothing_studies_have_no_finite_variance() -> None:
    with pytest.raises(ConvergenceError, match="without limit"):
        fit_binomial([0, 50, 0, 50, 50, 0], [50] * 6, ones(6))


def test_one_mixed_study_bounds_the_variance() -> None:
    # Eleven all-or-nothing studies and one in between: a maximum exists, far out.
    fit = fit_binomial([50, 0] * 5 + [50, 25], [50] * 12, ones(12))
    assert 30.0 < fit.tau < 60.0
    assert fit.tau_se is not None


@pytest.mark.parametrize("nodes", [2, 5, 31, 121, 500])
def test_nodes_to_begin_with_change_nothing(nodes: int) -> None:
    X = np.column_stack([np.ones(18), np.arange(18.0)])
    one = fit_binomial(*ZERO_EVENTS, X)
    other = fit_binomial(*ZERO_EVENTS, X, nodes=nodes)
    np.testing.assert_allclose(one.beta, other.beta, rtol=RTOL_SEARCH)
    assert one.tau2 == pytest.approx(other.tau2, rel=RTOL_SEARCH)


@pytest.mark.parametrize("tau", [0.0, 0.002, 0.3])
def test_huge_studies(tau: float) -> None:
    # Sampling errors are 1e-3 logits and less: the fit is that of the true logits.
    rng = np.random.default_rng(11)
    n = np.full(12, 10_000_000)
    events = rng.binomial(n, 1.0 / (1.0 + np.exp(1.0 - tau * rng.normal(size=12))))
    fit = fit_binomial(events, n, ones(12))
    logit = np.log(events / (n - events))
    v = 1.0 / events + 1.0 / (n - events)
    assert float(fit.beta[0]) == pytest.approx(float(logit.mean()), abs=1e-3 * fit.se[0] + 1e-4)
    assert fit.tau2 == pytest.approx(max(0.0, np.var(logit) - v.mean()), rel=0.02, abs=2e-7)
    # More events, the same answer: nothing depends on sums of 1e8.
    turned = fit_binomial(n - events, n, ones(12))
    np.testing.assert_allclose(turned.beta, -fit.beta, rtol=RTOL_SEARCH)


def test_a_thousand_studies() -> None:
    events, n, X = random_data(3, 1000, 0.7)
    fit = fit_binomial(events, n, X)
    np.testing.assert_allclose(fit.beta, [-0.4, 0.5], atol=4.0 * float(fit.se.max()))
    assert fit.tau == pytest.approx(0.7, abs=0.1)


def test_badly_scaled_and_uncentred_moderators_do_not_matter() -> None:
    events, n, X = random_data(5, 40, 0.6, p=6)
    size = np.array([1.0, 1e-6, 1e-3, 1.0, 1e4, 1e8])
    offset = np.append(0.0, np.array([1.0, 2.0, 2010.0, -3.0, 5.0]) * size[1:])
    plain, other = fit_binomial(events, n, X), fit_binomial(events, n, X * size + offset)
    np.testing.assert_allclose(other.beta[1:] * size[1:], plain.beta[1:], rtol=1e-9)
    np.testing.assert_allclose(other.se[1:] * size[1:], plain.se[1:], rtol=1e-9)
    assert other.tau2 == pytest.approx(plain.tau2, rel=1e-10)
    assert other.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-9)
    assert other.moderators.statistic == pytest.approx(plain.moderators.statistic, rel=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), tau=st.floats(0.0, 1.2))
def test_exchanging_events_and_non_events_turns_the_signs(seed: int, tau: float) -> None:
    events, n, X = random_data(seed, 12, tau)
    one, other = fit_binomial(events, n, X), fit_binomial(n - events, n, X)
    np.testing.assert_allclose(one.beta, -other.beta, rtol=RTOL_SEARCH, atol=1e-8)
    assert one.tau2 == pytest.approx(other.tau2, rel=RTOL_SEARCH, abs=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), tau=st.floats(0.0, 1.2))
def test_order_of_studies_does_not_matter(seed: int, tau: float) -> None:
    events, n, X = random_data(seed, 10, tau)
    order = np.random.default_rng(seed).permutation(10)
    one, other = fit_binomial(events, n, X), fit_binomial(events[order], n[order], X[order])
    np.testing.assert_allclose(one.beta, other.beta, rtol=RTOL_SEARCH, atol=1e-8)
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-9)


def test_moderator_that_matters_passes_the_likelihood_ratio_test() -> None:
    events, n, X = random_data(7, 60, 0.4)
    full, reduced = fit_binomial(events, n, X), fit_binomial(events, n, X[:, :1])
    test = likelihood_ratio(full, reduced)
    assert test.df == 1
    assert test.statistic == 2.0 * (full.log_likelihood - reduced.log_likelihood)
    # The same hypothesis as the Wald test, and alike for many studies.
    assert test.statistic == pytest.approx(full.moderators.statistic, rel=0.3)
    assert 0.0 < test.p_value < 1e-4
    assert full.aic < reduced.aic
    with pytest.raises(InputError, match="give the fit with more first"):
        likelihood_ratio(reduced, full)
    with pytest.raises(InputError, match="different data"):
        likelihood_ratio(full, fit_binomial(n - events, n + 1.0, X[:, :1]))
    noise = np.column_stack([np.ones(60), np.arange(60.0), np.arange(60.0) ** 2])
    other = fit_binomial(events, n, noise)
    with pytest.raises(InputError, match="among those of full"):
        likelihood_ratio(other, full)


def test_few_studies_have_a_finite_corrected_criterion() -> None:
    fit = fit_binomial([3, 4], [10, 12], ones(2))
    # Two parameters: k counts as 4, and the penalty is 2 * 2 * 4 / (4 - 2 - 1).
    assert fit.aicc + 2.0 * fit.log_likelihood == pytest.approx(16.0, rel=1e-12)
    assert fit.aic + 2.0 * fit.log_likelihood == pytest.approx(4.0, rel=1e-12)


def test_to_dict_is_plain_and_complete() -> None:
    X = np.column_stack([np.ones(18), np.arange(18.0)])
    fit = fit_binomial(*ZERO_EVENTS, X, test="t")
    content = fit.to_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["n_total"] == sum(ZERO_EVENTS[1])
    assert content["moderators"]["p_value"] == fit.moderators.p_value
    derived = {"se", "statistic", "p_value", "ci_lower", "ci_upper", "aic", "aicc", "bic", "qe_p"}
    assert set(type(fit).__dataclass_fields__) | derived <= set(content)


def test_results_cannot_be_altered() -> None:
    fit = fit_binomial(*ZERO_EVENTS, ones(18))
    with pytest.raises(ValueError, match="read-only"):
        fit.beta[0] = 0.0


def test_prediction_intervals_contain_confidence_intervals() -> None:
    fit = fit_binomial(*ZERO_EVENTS, ones(18))
    at = predict_binomial(fit, [[1.0]])
    assert float(at.pi_lower[0]) < float(at.ci_lower[0]) < float(fit.beta[0])
    assert float(at.pi_upper[0]) > float(at.ci_upper[0])


@pytest.mark.parametrize(
    ("events", "n", "message"),
    [
        ([1, 2, 3], [10, 10], "one n per count"),
        ([1, 11, 3], [10, 10, 10], r"events\[1\] is 11"),
        ([1, 2.5, 3], [10, 10, 10], "whole number"),
        ([1, -2, 3], [10, 10, 10], "from 0 to n"),
        ([1, 2, 3], [10, 0, 10], r"n\[1\] is 0"),
        ([1, float("nan"), 3], [10, 10, 10], "finite"),
        ([True, False, True], [10, 10, 10], "boolean"),
    ],
)
def test_unusable_counts_are_refused(events: object, n: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_binomial(events, n, ones(3))


@pytest.mark.parametrize("nodes", [0, 1, -3, 2.5, True, 501])
def test_unusable_nodes_are_refused(nodes: Any) -> None:
    with pytest.raises(InputError, match="nodes"):
        fit_binomial([1, 2, 3], [10, 10, 10], ones(3), nodes=nodes)


def test_nodes_may_be_a_numpy_integer() -> None:
    one: Any = np.int64(15)
    found = fit_binomial([1, 2, 3], [10, 10, 10], ones(3), nodes=one)
    assert found.beta.tolist() == fit_binomial([1, 2, 3], [10, 10, 10], ones(3)).beta.tolist()
    assert binomial_tau2_interval([1, 2, 3], [10, 10, 10], ones(3), nodes=one).lower == 0.0


def test_unknown_test_is_refused() -> None:
    unknown: Any = "knha"
    with pytest.raises(InputError, match="test is 'knha'"):
        fit_binomial([1, 2, 3], [10, 10, 10], ones(3), test=unknown)
