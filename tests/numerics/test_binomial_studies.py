"""Studies' own logits and leave-one-out fits of the binomial-normal model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.binomial import binomial_leave_one_out, binomial_study_logits, fit_binomial

#: Searches from different starts end within 1e-7 standard errors of the maximum.
RTOL_SEARCH = 1e-6

EVENTS = [1, 4, 2, 9, 5, 0, 7, 3]
N = [12, 15, 9, 20, 11, 8, 14, 30]
X = np.column_stack([np.ones(8), [0.1, 0.5, -0.3, 1.2, 0.8, -1.0, 0.4, 0.0]])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), tau=st.floats(0.3, 2.0))
def test_deviations_balance_counts_and_prior(seed: int, tau: float) -> None:
    rng = np.random.default_rng(seed)
    n = rng.integers(2, 200, size=9)
    events = rng.binomial(n, expit(rng.normal(0.0, tau, size=9)))
    ones = np.ones((9, 1))
    try:
        fit = fit_binomial(events, n, ones)
    except ConvergenceError:
        return
    studies = binomial_study_logits(fit, events, n, ones)
    np.testing.assert_allclose(studies.fitted, fit.beta[0], rtol=1e-12)
    np.testing.assert_array_equal(studies.logit, studies.fitted + studies.deviation)
    if fit.tau2 == 0.0:
        assert not studies.deviation.any()
        assert not studies.sd.any()
        return
    p = expit(studies.logit)
    np.testing.assert_allclose((events - n * p) * fit.tau2, studies.deviation, atol=1e-7)
    np.testing.assert_allclose(studies.sd**-2.0, 1.0 / fit.tau2 + n * p * (1.0 - p), rtol=1e-7)


def test_shrinks_towards_the_regression() -> None:
    fit = fit_binomial(EVENTS, N, X)
    studies = binomial_study_logits(fit, EVENTS, N, X)
    assert fit.tau2 > 0.0
    observed = np.log((np.array(EVENTS) + 0.5) / (np.array(N) - EVENTS + 0.5))
    assert np.all(np.abs(studies.deviation) < np.abs(observed - studies.fitted) + 0.3)
    assert np.all(studies.sd < fit.tau)


@pytest.mark.parametrize(
    ("events", "n", "design"),
    [(EVENTS[:-1], N[:-1], X[:-1]), (EVENTS, N, X[:, :1]), ([2, *EVENTS[1:]], N, X)],
)
def test_other_data_are_refused(events: list[int], n: list[int], design: object) -> None:
    fit = fit_binomial(EVENTS, N, X)
    with pytest.raises(InputError, match="give the data of the fit"):
        binomial_study_logits(fit, events, n, design)


def test_leave_one_out_is_fits_of_the_rest() -> None:
    found = binomial_leave_one_out(EVENTS, N, X)
    assert found.estimate.shape == found.se.shape == (8, 2)
    assert found.reason == (None,) * 8
    for i in range(8):
        rest = [np.delete(values, i, axis=0) for values in (EVENTS, N, X)]
        fit = fit_binomial(*rest)
        np.testing.assert_allclose(found.estimate[i], fit.beta, rtol=RTOL_SEARCH)
        np.testing.assert_allclose(found.se[i], fit.se, rtol=RTOL_SEARCH)
        assert found.tau2[i] == pytest.approx(fit.tau2, rel=RTOL_SEARCH, abs=1e-9)
        assert found.log_likelihood[i] == pytest.approx(fit.log_likelihood, abs=1e-9)


def test_deletions_that_cannot_be_fitted_have_a_reason() -> None:
    # Study 0 alone has the second category.
    design = np.column_stack([np.ones(6), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    found = binomial_leave_one_out([3, 4, 5, 1, 6, 4], [9] * 6, design)
    assert [i for i, reason in enumerate(found.reason) if reason] == [0]
    assert "all zeros" in str(found.reason[0])
    assert np.isnan(found.estimate[0]).all()
    assert np.isnan(found.tau2[0])
    assert np.isfinite(found.estimate[1:]).all()


def test_separation_of_the_rest_is_a_reason() -> None:
    design = np.column_stack([np.ones(6), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
    found = binomial_leave_one_out([0, 0, 2, 4, 5, 3], [9] * 6, design)
    assert [i for i, reason in enumerate(found.reason) if reason] == [2]
    assert "separation" in str(found.reason[2])


def test_too_few_studies_to_leave_one_out() -> None:
    found = binomial_leave_one_out(
        [3, 4, 5], [10, 12, 13], np.column_stack([np.ones(3), [0, 0, 1]])
    )
    assert all(reason for reason in found.reason)
    assert np.isnan(found.estimate).all()


def test_data_that_cannot_be_fitted_at_all_raise() -> None:
    with pytest.raises(ConvergenceError, match="separation"):
        binomial_leave_one_out([0, 0, 0], [5, 5, 5], np.ones((3, 1)))
