"""Quadrature rules against moments and closed forms."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketacast.errors import InputError
from ketacast.numerics.quadrature import (
    adaptive_gauss_hermite,
    gauss_hermite,
    gauss_legendre,
    gauss_legendre_panels,
    log_sum_exp,
)

#: Exact rules: rounding of sums of a few hundred terms only.
RTOL = 1e-12


@pytest.mark.parametrize("count", [1, 2, 5, 16, 61, 121, 400])
def test_hermite_integrates_normal_moments(count: int) -> None:
    rule = gauss_hermite(count)
    weights = np.exp(rule.log_weights)
    assert weights.sum() == pytest.approx(1.0, rel=RTOL)
    for power in range(2, min(2 * count, 20), 2):
        moment = factorial(power) / (2 ** (power // 2) * factorial(power // 2))
        assert np.sum(weights * rule.nodes**power) == pytest.approx(moment, rel=1e-11)
    np.testing.assert_array_equal(rule.nodes, -rule.nodes[::-1])
    assert np.all(np.diff(rule.nodes) > 0.0)


@pytest.mark.parametrize("count", [2, 7, 40, 100])
def test_hermite_agrees_with_numpy(count: int) -> None:
    nodes, weights = np.polynomial.hermite.hermgauss(count)
    rule = gauss_hermite(count)
    np.testing.assert_allclose(rule.nodes, nodes * np.sqrt(2.0), rtol=RTOL, atol=1e-15)
    # numpy's outermost weights carry about this much error of their own.
    np.testing.assert_allclose(
        rule.log_weights, np.log(weights) - 0.5 * np.log(np.pi), rtol=1e-11, atol=1e-11
    )


def test_outermost_weights_do_not_underflow() -> None:
    assert np.all(np.isfinite(gauss_hermite(1000).log_weights))


@given(mode=st.floats(-50.0, 50.0), scale=st.floats(1e-3, 50.0))
def test_adaptive_rule_is_exact_for_normal_densities(mode: float, scale: float) -> None:
    points, log_weights = adaptive_gauss_hermite(mode, scale, 9)
    exponent = -0.5 * ((points - mode) / scale) ** 2
    integral = float(np.exp(log_sum_exp(exponent + log_weights)))
    assert integral == pytest.approx(scale * np.sqrt(2.0 * np.pi), rel=1e-10)


def test_adaptive_rule_is_vectorised_and_accurate_off_the_normal() -> None:
    # integral exp(a u - exp(u)) du = gamma(a), mode log(a), curvature -a
    shape = np.array([[2.0, 5.0, 30.0]])
    points, log_weights = adaptive_gauss_hermite(np.log(shape), 1.0 / np.sqrt(shape), 61)
    assert points.shape == log_weights.shape == (1, 3, 61)
    values = log_sum_exp(shape[..., None] * points - np.exp(points) + log_weights)
    expected = [[float(factorial(int(a) - 1)) for a in shape[0]]]
    np.testing.assert_allclose(np.exp(values), expected, rtol=1e-6)


def test_legendre_panels_integrate_polynomials_and_kinks() -> None:
    points, log_weights = gauss_legendre_panels([-1.0, 0.0, 3.0], 4)
    weights = np.exp(log_weights)
    assert np.sum(weights * np.abs(points)) == pytest.approx(0.5 + 4.5, rel=RTOL)
    assert np.sum(weights * points**7) == pytest.approx((3.0**8 - 1.0) / 8.0, rel=RTOL)
    assert points.shape == (8,)


def test_rules_are_cached_and_read_only() -> None:
    assert gauss_hermite(9) is gauss_hermite(9)
    with pytest.raises(ValueError, match="read-only"):
        gauss_legendre(3).nodes[0] = 0.0


def test_log_sum_exp_does_not_overflow() -> None:
    assert float(log_sum_exp(np.array([1000.0, 1000.0]))) == pytest.approx(1000.0 + np.log(2.0))


@pytest.mark.parametrize("count", [0, -1, 2.5, True, 1001])
def test_unusable_counts_are_refused(count: Any) -> None:
    with pytest.raises(InputError, match="number of nodes"):
        gauss_hermite(count)


def test_unusable_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="greater than 0"):
        adaptive_gauss_hermite(0.0, 0.0, 5)
    with pytest.raises(InputError, match="increasing"):
        gauss_legendre_panels([0.0, 0.0], 3)
    with pytest.raises(InputError, match="increasing"):
        gauss_legendre_panels([0.0], 3)
