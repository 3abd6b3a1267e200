"""Fits at the edges: no sampling error, no degrees of freedom, one study, perfect fits."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.normal import fit_normal, fit_normal_batch, profile_likelihood
from ketacast.numerics.normal.tau2 import NEED_POSITIVE_VARIANCES, TAU2_METHODS

REFERENCE = Path(__file__).parent.parent / "reference"
#: The reference iterated to a change of 1e-11 or less.
RTOL = 1e-8
EXPECTED_FITTED = {"HE", "SJ", "ML", "REML", "EB"}


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


ZERO = _load("awkward_zero_variance_bcg")


def test_every_variant_of_the_zero_variance_case_is_run() -> None:
    keys = set(ZERO["expected"])
    fitted = {key for key in keys if "error" not in ZERO["expected"][key]}
    assert {key.split("|")[0] for key in fitted} == EXPECTED_FITTED
    assert {key.split("|")[0] for key in keys - fitted} <= set(NEED_POSITIVE_VARIANCES)


@pytest.mark.parametrize("key", sorted(ZERO["expected"]))
def test_a_sampling_variance_of_zero(key: str) -> None:
    chosen: Any = key.split("|")
    expected, data = ZERO["expected"][key], ZERO["data"]
    X = np.ones((len(data["yi"]), 1))
    if "error" in expected:
        with pytest.raises(InputError, match="no sampling error"):
            fit_normal(data["yi"], data["vi"], X, method=chosen[0], test=chosen[1])
        return
    fit = fit_normal(data["yi"], data["vi"], X, method=chosen[0], test=chosen[1])
    for name, value in {
        "beta": fit.beta,
        "se": fit.se,
        "tau2": fit.tau2,
        "se_tau2": fit.tau2_se,
        "QM": fit.moderators.statistic,
        "QMp": fit.moderators.p_value,
    }.items():
        np.testing.assert_allclose(np.array(value), expected[name], rtol=RTOL, err_msg=name)
    assert np.isnan([fit.qe, fit.i2, fit.h2]).all()


def test_a_likelihood_without_a_maximum_says_so() -> None:
    # Two studies agree exactly and claim no error: the likelihood rises for ever towards 0.
    with pytest.raises(ConvergenceError, match="no tau2 above 0"):
        fit_normal([1.0, 1.0, 1.2], [0.0, 0.0, 0.5], np.ones((3, 1)), method="ML")
    for method in ("REML", "ML", "EB", "HE"):
        chosen: Any = method
        with pytest.raises(ConvergenceError, match=r"1 sampling variance\(s\) of 0"):
            fit_normal([0.3, 0.4], [0.1, 0.0], np.ones((2, 1)), method=chosen)


def test_as_many_coefficients_as_studies_are_refused() -> None:
    reference = _load("awkward_saturated_k_eq_p_bcg")
    data = reference["data"]
    X = np.column_stack([np.ones(3), data["ablat"], data["year"]])
    for key, expected in reference["expected"].items():
        assert "error" in expected
        chosen: Any = key.split("|")
        with pytest.raises(InputError, match="3 columns for 3 studies"):
            fit_normal(data["yi"], data["vi"], X, method=chosen[0], test=chosen[1])


def test_equal_effects_may_be_saturated() -> None:
    X = [[1.0, 1.0], [1.0, 2.0]]
    fit = fit_normal([0.5, 0.2], [0.1, 0.2], X, method="EE", test="z")
    # Two points on a line; metafor 3.8-1 prints these.
    np.testing.assert_allclose(fit.beta, [0.8, -0.3], rtol=1e-12)
    np.testing.assert_allclose(fit.se, [0.7745966692414834, 0.5477225575051661], rtol=1e-12)
    assert fit.qe == pytest.approx(0.0, abs=1e-20)
    assert (fit.qe_p, fit.i2, fit.h2) == (1.0, 0.0, 1.0)
    with pytest.raises(InputError, match="use test='z'"):
        fit_normal([0.5, 0.2], [0.1, 0.2], X, method="EE", test="t")


@pytest.mark.parametrize("method", TAU2_METHODS)
def test_one_study_is_its_own_estimate(method: Any) -> None:
    fit = fit_normal([0.5], [0.1], [[1.0]], method=method)
    assert fit.beta.tolist() == [0.5]
    assert fit.se[0] == pytest.approx(np.sqrt(0.1), rel=1e-14)
    assert (fit.tau2, fit.method, fit.test, fit.qe, fit.qe_p) == (0.0, "EE", "z", 0.0, 1.0)
    assert fit.p_value[0] == pytest.approx(0.11384629800665813, rel=1e-10)


@pytest.mark.parametrize("method", TAU2_METHODS)
def test_effects_that_the_design_fits_exactly(method: Any) -> None:
    x = np.arange(6.0)
    fit = fit_normal(
        1.0 + 2.0 * x, np.full(6, 0.1), np.column_stack([np.ones(6), x]), method=method
    )
    np.testing.assert_allclose(fit.beta, [1.0, 2.0], rtol=1e-12)
    if method != "SJ":  # whose estimate is positive by construction
        assert fit.tau2 == pytest.approx(0.0, abs=1e-20)
    assert fit.qe == pytest.approx(0.0, abs=1e-20)


@pytest.mark.parametrize("method", ["REML", "ML", "PM", "EB"])
def test_no_sampling_error_at_all_is_least_squares(method: Any) -> None:
    y = np.array([1.0, 2.0, 4.0, 8.0])
    if method == "PM":
        with pytest.raises(InputError, match="no sampling error"):
            fit_normal(y, np.zeros(4), np.ones((4, 1)), method=method)
        return
    fit = fit_normal(y, np.zeros(4), np.ones((4, 1)), method=method)
    variance = y.var(ddof=0 if method == "ML" else 1)
    assert fit.tau2 == pytest.approx(variance, rel=1e-9)
    assert fit.beta[0] == pytest.approx(y.mean(), rel=1e-12)


def test_variances_too_far_apart_to_weigh_are_refused() -> None:
    with pytest.raises(InputError, match="check their units"):
        fit_normal([0.1, 0.2, 0.3], [1e-9, 1.0, 1e6], np.ones((3, 1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"include": [1, 0, 1, 1]}, "give True or False"),
        ({"include": np.ones((2, 3), dtype=np.bool_)}, "each of the 4 studies"),
        ({"X": np.ones((3, 4, 1))}, "problems of 3"),
        ({"y": np.ones((3, 4))}, "2 problems of 3"),
    ],
)
def test_batches_that_do_not_match_are_refused(arguments: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"y": np.arange(8.0).reshape(2, 4), "v": np.ones((2, 4))}
    good |= {"X": np.ones((4, 1))}
    with pytest.raises(InputError, match=message):
        fit_normal_batch(**(good | arguments))


def test_one_fit_is_not_a_batch() -> None:
    with pytest.raises(InputError, match="use fit_normal_batch"):
        fit_normal(np.ones((2, 4)), np.ones(4), np.ones((4, 1)))


def test_a_mask_may_leave_rows_that_are_fitted_exactly() -> None:
    for y in ([1.0, 1.0, 1.0, 2.0], [0.0, 0.0, 0.0, 4.0], [0.5, 0.5, 0.5, 0.5, 2.0]):
        k = len(y)
        left_out = ~np.eye(k, dtype=np.bool_)
        for method in TAU2_METHODS:
            fits = fit_normal_batch(
                y, np.full(k, 0.125), np.ones((k, 1)), include=left_out, method=method
            )
            assert fits.qe[-1] == pytest.approx(0.0, abs=1e-20)
            assert (fits.qe >= 0.0).all()
            assert fits.beta[-1, 0] == pytest.approx(y[0], abs=1e-14)


def test_a_study_without_sampling_error_may_be_left_out() -> None:
    y, v = [0.1, 0.5, 0.9, 0.2, -0.3, 1.2], [0.0, 0.1, 0.2, 0.05, 0.1, 0.1]
    for method in ("REML", "ML", "HE", "SJ", "EB"):
        chosen: Any = method
        fits = fit_normal_batch(
            y, v, np.ones((6, 1)), include=~np.eye(6, dtype=np.bool_), method=chosen
        )
        alone = fit_normal(y[1:], v[1:], np.ones((5, 1)), method=chosen)
        assert fits.tau2[0] == pytest.approx(alone.tau2, rel=1e-9, abs=1e-12)
        assert fits.qe[0] == pytest.approx(alone.qe, rel=1e-9)
        assert np.isnan(fits.qe[1:]).all()


def test_a_height_that_first_rises_is_climbed() -> None:
    rng = np.random.default_rng(100)
    X = np.column_stack([np.ones(12), rng.normal(size=(12, 2))])
    v = rng.uniform(0.01, 1.0, 12)
    y = X @ [0.4, -0.3, 0.2] + rng.normal(size=12) * np.sqrt(v + 0.3)
    fit = fit_normal(y, v, X, method="ML")
    grid = np.linspace(0.0, 2.0, 4001)
    values = profile_likelihood(y, v, X, tau2=grid, method="ML").log_likelihood
    assert fit.tau2 == pytest.approx(grid[values.argmax()], abs=5e-4)  # the grid's spacing
    assert fit.log_likelihood >= values.max()


def test_effects_of_zero() -> None:
    fit = fit_normal(np.zeros(4), np.full(4, 0.1), np.ones((4, 1)))
    assert (fit.tau2, fit.qe) == (0.0, 0.0)


def test_leaving_rows_out_of_a_fit_without_spare_studies_flags_them() -> None:
    for y, X in (([0.5], [[1.0]]), ([0.5, 0.2], [[1.0, 1.0], [1.0, 2.0]])):
        k = len(y)
        fits = fit_normal_batch(
            y, np.full(k, 0.1), X, include=~np.eye(k, dtype=np.bool_), method="EE", test="z"
        )
        assert not fits.solvable.any()


def test_a_moderator_that_is_constant_in_what_is_left_is_not_fitted() -> None:
    y = [0.3, -0.2, 0.5, 0.1, 0.8, 0.4]
    for year in ([1990.0] * 5 + [1991.0], [1e6] * 5 + [1e6 + 1.0]):
        X = np.column_stack([np.ones(6), year])
        fits = fit_normal_batch(y, np.full(6, 0.1), X, include=~np.eye(6, dtype=np.bool_))
        assert fits.solvable.tolist() == [True] * 5 + [False]


def test_problems_that_are_not_fitted_hold_nothing_but_nan() -> None:
    X = np.column_stack([np.ones(3), [1.0, 2.0, 4.0]])
    for method in ("REML", "EE"):
        chosen: Any = method
        include = np.array([[True, False, False]])
        fits = fit_normal_batch([0.1, 0.4, 0.2], np.full(3, 0.1), X, include=include, method=chosen)
        names = ("beta", "cov", "tau2", "qe", "qe_p", "i2", "h2", "qm", "qm_p", "p_value", "se")
        for name in names:
            assert np.isnan(getattr(fits, name)).all(), name


def test_knapp_hartung_has_no_scale_where_effects_lie_on_the_line() -> None:
    for y in (np.full(5, 0.1), np.zeros(5), 1.0 + 0.1 * np.arange(5)):
        X = np.column_stack([np.ones(5), np.arange(5.0)])
        plain = fit_normal(y, np.full(5, 0.1), X, test="knha")
        assert np.isnan([plain.variance_factor, *plain.se, *plain.p_value]).all()
        assert fit_normal(y, np.full(5, 0.1), X, test="adhoc").variance_factor == 1.0


def test_values_beyond_double_precision_are_refused() -> None:
    for y, v in (([1e150, 1.0, 2.0], [1.0] * 3), ([1.0, 2.0, 3.0], [1e-150, 1e-149, 1e-150])):
        with pytest.raises(InputError, match="use other units"):
            fit_normal(y, v, np.ones((3, 1)))


def test_standard_error_of_tau2_keeps_its_digits() -> None:
    # One precise study of four: by exact fractions the ratio of the two traces.
    for ratio in (1e2, 1e4, 1e7, 1e9):
        y, v = np.array([0.1, 0.9, -0.4, 0.6]), np.array([1.0 / ratio, 1.0, 2.0, 3.0])
        fit = fit_normal(y, v, np.ones((4, 1)), method="DL")
        weights = [Fraction(1) / Fraction(one) for one in v.tolist()]
        total = sum(weights)
        trace = total - sum(w * w for w in weights) / total
        squares = (
            sum(w * w for w in weights)
            - 2 * sum(w**3 for w in weights) / total
            + (sum(w * w for w in weights) / total) ** 2
        )
        tau2 = Fraction(fit.tau2)
        spread = 2 * 3 + 4 * tau2 * trace + 2 * tau2**2 * squares
        expected = float(spread) ** 0.5 / float(trace)
        assert fit.tau2_se == pytest.approx(expected, rel=1e-8)


def test_masks_must_match_the_batch() -> None:
    with pytest.raises(InputError, match="include holds 2 masks for 3 problems"):
        fit_normal_batch(
            np.ones((3, 4)), np.ones(4), np.ones((4, 1)), include=np.ones((2, 4), dtype=np.bool_)
        )


def test_exact_lines_at_the_limits_of_double_precision() -> None:
    year = np.arange(1980.0, 1985.0)
    X = np.column_stack([np.ones(5), year])
    plain = fit_normal(0.1 + 0.37 * np.arange(5.0), np.full(5, 0.1), X, test="knha")
    assert np.isnan(plain.p_value).all()
    tiny = fit_normal([1e-12, 1e-12, 1e-12], np.full(3, 1e-24), np.ones((3, 1)))
    assert tiny.tau2 == 0.0
    with pytest.raises(ConvergenceError, match="no tau2 above 0"):
        fit_normal([1.0, 1.0], [0.0, 0.0], np.ones((2, 1)))
