"""Binomial-normal fits against exact and metafor references and their invariants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.binomial import fit_binomial, predict_binomial
from ketacast.numerics.binomial_fit import BinomialFit
from ketacast.numerics.binomial_likelihood import BinomialData, logistic_point, mixed_point

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]

#: The exact blocks are a Newton-polished maximum of the same likelihood at 61 nodes.
RTOL_EXACT = 1e-6
#: metafor goes through lme4, whose optimiser stops early: more so with rare events.
RTOL_METAFOR = {"glmm_PLO_nielweise2007_zero_events": 2e-3}
RTOL_METAFOR_OTHERWISE = 1e-4
#: Closed forms given the data.
RTOL_CLOSED = 1e-8

CASES = (
    "glmm_PLO_debruin2009_scq",
    "glmm_PLO_debruin2009_scq_ethnicity",
    "glmm_PLO_nielweise2007_zero_events",
    "glmm_PLO_pritz1997",
)
EXACT = "exact ML (own 61-node adaptive GH)"
LOGISTIC = "metafor EE (logistic)"
#: The grid must not shrink silently.
EXPECTED_BLOCKS = 32


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _fit(case: str, **options: Any) -> BinomialFit:
    data = _load(case)["data"]
    return fit_binomial(data["xi"], data["ni"], data["design_matrix"], **options)


def _blocks() -> list[tuple[str, str]]:
    # One node (Laplace) is another likelihood, not an approximation to a tolerance.
    return [
        (case, key)
        for case in CASES
        for key in _load(case)["expected"]
        if key.startswith(("metafor nAGQ=7", "metafor nAGQ=25", "predict|"))
    ]


def test_grid_of_cases_does_not_shrink() -> None:
    assert {path.stem for path in REFERENCE.glob("glmm_*.json")} == set(CASES)
    assert len(_blocks()) == EXPECTED_BLOCKS


@pytest.mark.parametrize("case", CASES)
def test_matches_the_exact_maximum(case: str) -> None:
    expected = _load(case)["expected"][EXACT]
    fit = _fit(case)
    np.testing.assert_allclose(fit.beta, expected["beta"], rtol=RTOL_EXACT)
    np.testing.assert_allclose(fit.se, expected["se_full_hessian"], rtol=RTOL_EXACT)
    np.testing.assert_allclose(fit.cov, expected["vb"], rtol=RTOL_EXACT)
    assert fit.tau2 == pytest.approx(expected["tau2"], rel=RTOL_EXACT)
    assert fit.tau_se is not None
    assert fit.tau_se / fit.tau == pytest.approx(expected["se_log_tau"], rel=RTOL_EXACT)
    assert fit.log_likelihood == pytest.approx(expected["ll"], abs=1e-8)


@pytest.mark.parametrize(("case", "key"), _blocks())
def test_matches_metafor_as_far_as_it_converged(case: str, key: str) -> None:
    expected = _load(case)["expected"][key]
    rtol = RTOL_METAFOR.get(case, RTOL_METAFOR_OTHERWISE)
    if key.startswith("predict|"):
        _, test, level = key.split("|")
        fit = _fit(case, test=test)
        new = expected["newmods"]
        rows = (
            np.ones((1, 1)) if new is None else np.column_stack([np.ones(len(new)), np.array(new)])
        )
        predicted = predict_binomial(fit, rows, level=float(level) / 100.0)
        for name, value in (
            ("pred", predicted.mean),
            ("se", predicted.se),
            ("ci_lb", predicted.ci_lower),
            ("ci_ub", predicted.ci_upper),
            ("pi_lb", predicted.pi_lower),
            ("pi_ub", predicted.pi_upper),
        ):
            # Limits near zero: what matters is the error in logits.
            np.testing.assert_allclose(value, expected[name], rtol=rtol, atol=rtol, err_msg=name)
        return
    fit = _fit(case, test=key.split("|")[1])
    np.testing.assert_allclose(fit.beta, expected["beta"], rtol=rtol)
    np.testing.assert_allclose(fit.se, expected["se"], rtol=rtol)
    np.testing.assert_allclose(fit.statistic, expected["stat"], rtol=2.0 * rtol)
    # Far out, log p falls with half the square of the statistic.
    magnified = 2.0 * rtol * (1.0 + np.max(np.abs(fit.statistic)) ** 2)
    np.testing.assert_allclose(fit.p_value, expected["pval"], rtol=magnified)
    assert fit.tau2 == pytest.approx(expected["tau2"], rel=rtol)
    assert fit.i2 == pytest.approx(expected["I2"], rel=rtol)
    assert fit.h2 == pytest.approx(expected["H2"], rel=rtol)
    assert fit.qe == pytest.approx(expected["QE_LRT"], rel=RTOL_CLOSED)
    assert fit.qe_p == pytest.approx(expected["QEp_LRT"], rel=RTOL_CLOSED)
    assert fit.moderators.statistic == pytest.approx(expected["QM"], rel=2.0 * rtol)
    assert (fit.k, fit.p, fit.df) == (expected["k"], expected["p"], expected["ddf"])


@pytest.mark.parametrize("case", [case for case in CASES if LOGISTIC in _load(case)["expected"]])
def test_without_random_effects_it_is_logistic_regression(case: str) -> None:
    expected = _load(case)["expected"][LOGISTIC]
    assert _fit(case).log_likelihood_fixed == pytest.approx(expected["ll"], rel=RTOL_CLOSED)


def test_boundary_gives_the_logistic_fit() -> None:
    # Proportions closer together than chance allows: tau2 = 0.
    events, n = np.full(6, 20), np.full(6, 50)
    fit = fit_binomial(events, n, np.ones((6, 1)))
    assert fit.tau2 == 0.0
    assert fit.tau_se is None
    assert fit.log_likelihood == fit.log_likelihood_fixed
    assert float(fit.beta[0]) == pytest.approx(np.log(20 / 30), rel=1e-12)
    assert float(fit.se[0]) == pytest.approx(np.sqrt(1 / 120 + 1 / 180), rel=1e-12)


def test_arms_with_no_or_only_events_are_fine() -> None:
    fit = fit_binomial([0, 5, 12, 3, 0], [20, 20, 12, 11, 4], np.ones((5, 1)))
    assert np.isfinite(fit.beta).all()
    assert fit.tau2 > 0.0


@pytest.mark.parametrize("events", [[0, 0, 0, 0], [9, 9, 9, 9]])
def test_no_information_is_called_separation(events: list[int]) -> None:
    with pytest.raises(ConvergenceError, match="separation"):
        fit_binomial(events, [9, 9, 9, 9], np.ones((4, 1)))


def test_separation_by_a_moderator_is_named() -> None:
    X = np.column_stack([np.ones(4), [0.0, 0.0, 1.0, 1.0]])
    with pytest.raises(ConvergenceError, match="separation"):
        fit_binomial([0, 0, 10, 10], [10, 10, 10, 10], X)


def test_all_or_nothing_studies_have_no_finite_variance() -> None:
    with pytest.raises(ConvergenceError, match="without limit"):
        fit_binomial([0, 50, 0, 50, 50, 0], [50] * 6, np.ones((6, 1)))


def _random_data(seed: int, k: int, tau: float) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    n = rng.integers(5, 120, size=k)
    logit = X @ np.array([-0.4, 0.5]) + tau * rng.normal(size=k)
    events = rng.binomial(n, 1.0 / (1.0 + np.exp(-logit)))
    return events.astype(np.float64), n.astype(np.float64), X


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(4, 15), tau=st.floats(0.01, 1.5))
def test_score_and_hessian_are_derivatives(seed: int, k: int, tau: float) -> None:
    events, n, X = _random_data(seed, k, tau)
    data = BinomialData(events, n, np.linalg.qr(X)[0], 61)
    theta = np.array([0.3, -0.2, max(tau, 0.05)])
    at = mixed_point(data, theta)
    step = 1e-5
    for j in range(3):
        ahead, behind = theta.copy(), theta.copy()
        ahead[j] += step
        behind[j] -= step
        one, other = mixed_point(data, ahead), mixed_point(data, behind)
        # Central differences: error of order step^2 plus rounding / step.
        slope = (one.value - other.value) / (2.0 * step)
        assert slope == pytest.approx(float(at.score[j]), rel=1e-5, abs=1e-4)
        bend = (one.score - other.score) / (2.0 * step)
        np.testing.assert_allclose(bend, at.hessian[j], rtol=1e-5, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(4, 15), tau=st.floats(0.0, 1.5))
def test_maximum_is_not_beaten_by_other_taus(seed: int, k: int, tau: float) -> None:
    events, n, X = _random_data(seed, k, tau)
    try:
        fit = fit_binomial(events, n, X)
    except ConvergenceError:
        return
    data = BinomialData(events, n, X, 31)
    best = fit.log_likelihood - (fit.log_likelihood_fixed - _logistic_value(data, fit))
    for other in (0.05, 0.2, 0.5, 1.0, 2.0):
        for flatten in (1.0, np.sqrt(1.0 + 0.35 * other**2)):
            at = mixed_point(data, np.append(fit.beta * flatten, other))
            assert at.value <= best + 1e-8


def _logistic_value(data: BinomialData, fit: BinomialFit) -> float:
    # The maximised logistic likelihood without binomial coefficients.
    beta = np.zeros(fit.p)
    for _ in range(60):
        at = logistic_point(data, beta)
        beta = beta + np.linalg.solve(-at.hessian[:-1, :-1], at.score[:-1])
    return logistic_point(data, beta).value


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), tau=st.floats(0.0, 1.2))
def test_exchanging_events_and_non_events_turns_the_signs(seed: int, tau: float) -> None:
    events, n, X = _random_data(seed, 12, tau)
    one, other = fit_binomial(events, n, X), fit_binomial(n - events, n, X)
    np.testing.assert_allclose(one.beta, -other.beta, rtol=1e-6, atol=1e-8)
    assert one.tau2 == pytest.approx(other.tau2, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("nodes", [5, 31, 121])
def test_nodes_to_begin_with_change_nothing(nodes: int) -> None:
    one = _fit("glmm_PLO_nielweise2007_zero_events")
    other = _fit("glmm_PLO_nielweise2007_zero_events", nodes=nodes)
    np.testing.assert_allclose(one.beta, other.beta, rtol=1e-7)
    assert one.tau2 == pytest.approx(other.tau2, rel=1e-7)


def test_huge_heterogeneity_takes_more_nodes_by_itself() -> None:
    events, n = [0, 5, 12, 3, 0], [20, 20, 12, 11, 4]
    fit = fit_binomial(events, n, np.ones((5, 1)))
    many = fit_binomial(events, n, np.ones((5, 1)), nodes=240)
    assert fit.tau == pytest.approx(many.tau, rel=1e-6)
    assert fit.tau > 4.0


def test_to_dict_is_plain() -> None:
    content = _fit("glmm_PLO_pritz1997").to_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["n_total"] == sum(_load("glmm_PLO_pritz1997")["data"]["ni"])


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
        fit_binomial(events, n, np.ones((3, 1)))


def test_unknown_test_is_refused() -> None:
    unknown: Any = "knha"
    with pytest.raises(InputError, match="test is 'knha'"):
        fit_binomial([1, 2, 3], [10, 10, 10], np.ones((3, 1)), test=unknown)
