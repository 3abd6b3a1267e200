"""Likelihood, score and Hessian of the binomial-normal model, and the rules behind them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate
from scipy.special import expit

from ketacast.numerics.binomial.likelihood import (
    BinomialData,
    Studies,
    even_rule,
    gamma_steps,
    hermite_rule,
    logistic_point,
    mixed_point,
    posterior_modes,
)

Array = NDArray[np.float64]

#: Two rules, each fine enough for rounding error only.
ATOL_RULES = 1e-10


def random_data(seed: int, k: int = 8) -> BinomialData:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    n = rng.integers(1, 60, size=k).astype(np.float64)
    events = rng.binomial(n.astype(int), expit(rng.normal(-0.5, 1.5, size=k))).astype(np.float64)
    return BinomialData.of(events, n, np.linalg.qr(X)[0])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), tau=st.floats(0.05, 3.0))
def test_score_and_hessian_are_derivatives(seed: int, tau: float) -> None:
    data, rule = random_data(seed), even_rule(512)
    theta = np.array([0.3, -0.2, tau])
    at = mixed_point(data, theta, rule)
    step = 1e-5
    for j in range(3):
        ahead, behind = theta.copy(), theta.copy()
        ahead[j] += step
        behind[j] -= step
        one, other = mixed_point(data, ahead, rule), mixed_point(data, behind, rule)
        # Central differences: error of order step^2 plus rounding / step.
        slope = (one.value - other.value) / (2.0 * step)
        assert slope == pytest.approx(float(at.score[j]), rel=1e-6, abs=1e-6)
        bend = (one.score - other.score) / (2.0 * step)
        np.testing.assert_allclose(bend, at.hessian[j], rtol=1e-6, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), tau=st.floats(0.05, 0.4))
def test_both_rules_agree(seed: int, tau: float) -> None:
    data, theta = random_data(seed), np.array([0.3, -0.2, tau])
    one = mixed_point(data, theta, hermite_rule(60))
    other = mixed_point(data, theta, even_rule(256))
    assert one.value == pytest.approx(other.value, abs=ATOL_RULES)
    np.testing.assert_allclose(one.score, other.score, atol=1e-9)
    np.testing.assert_allclose(one.hessian, other.hessian, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(
    ("y", "n", "eta", "tau"),
    [(0, 10, -2.0, 1.0), (3, 3, 1.0, 20.0), (40, 100, -0.5, 0.3), (1, 1, 0.0, 5.0), (0, 1, 9.0, 2)],
)
def test_value_agrees_with_a_general_integrator(y: int, n: int, eta: float, tau: float) -> None:
    data = BinomialData.of(np.array([float(y)]), np.array([float(n)]), np.ones((1, 1)))

    def integrand(z: float) -> float:
        p = float(expit(eta + tau * z))
        return float(p**y * (1.0 - p) ** (n - y) * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi))

    wanted, _ = integrate.quad(integrand, -12.0, 12.0, epsabs=0.0, epsrel=1e-11, limit=400)
    at = mixed_point(data, np.array([eta, tau]), even_rule(2048))
    assert at.value + float(data.saturated.sum()) == pytest.approx(np.log(wanted), abs=1e-10)


def test_small_tau_joins_the_logistic_likelihood() -> None:
    data, gamma = random_data(4), np.array([0.2, -0.1])
    fixed = logistic_point(data, gamma)
    tau = 1e-3
    near = mixed_point(data, np.append(gamma, tau), hermite_rule(15))
    # Even in tau: value and score grow from the second derivative at 0.
    bend = fixed.hessian[-1, -1]
    assert near.value - fixed.value == pytest.approx(0.5 * bend * tau**2, rel=1e-2, abs=1e-11)
    assert float(near.score[-1]) == pytest.approx(bend * tau, rel=1e-2)
    np.testing.assert_allclose(near.hessian[:2, :2], fixed.hessian[:2, :2], rtol=1e-3, atol=1e-3)


def test_steps_in_gamma_are_newtons() -> None:
    data, rule = random_data(9), hermite_rule(31)
    thetas = np.array([[0.3, -0.2, 0.4], [-1.0, 0.5, 1.5]])
    values, gains, steps = gamma_steps(data, thetas, rule)
    for theta, value, gain, step in zip(thetas, values, gains, steps, strict=True):
        at = mixed_point(data, theta, rule)
        wanted = np.linalg.solve(-at.hessian[:2, :2], at.score[:2])
        assert value == pytest.approx(at.value, rel=1e-12)
        np.testing.assert_allclose(step, wanted, rtol=1e-9)
        assert gain == pytest.approx(0.5 * float(at.score[:2] @ wanted), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 10**7),
    share=st.floats(0.0, 1.0),
    eta=st.floats(-30.0, 30.0),
    tau=st.floats(1e-3, 100.0),
)
def test_modes_are_where_the_slope_vanishes(n: int, share: float, eta: float, tau: float) -> None:
    y = float(round(share * n))
    arrays = [np.array([value]) for value in (y, float(n), eta, tau)]
    mode, sd = posterior_modes(Studies(*arrays))
    p = expit(eta + tau * mode)
    slope = tau * (y - n * p) - mode
    # In units of the mode's own width, with the rounding of n p and of the logit.
    logit_rounding = 1e-15 * (abs(eta) + tau * abs(float(mode[0])))
    allowed = 1e-7 + 1e-15 * tau * n * float(sd[0]) + logit_rounding / (tau * float(sd[0]))
    assert abs(float(slope[0] * sd[0])) < allowed
