"""Family integrals and the joint mode against dense quadrature and a general optimiser."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, special

from ketacast.numerics.hierarchical.laplace import fit_laplace
from ketacast.numerics.hierarchical.likelihood import log_binomial_product, row_terms
from ketacast.numerics.hierarchical.marginal import log_marginal_likelihood, make_blocks
from ketacast.numerics.hierarchical.model import (
    REMISSION,
    REMISSION_IF_RESPONSE,
    RESPONSE,
    Priors,
    Rows,
    add_contrasts,
)

Array = NDArray[np.float64]

#: Log error allowed where the posterior has mass: a weight's own spread is about 0.4 in the
#: log, so 0.02 changes no summary that anybody sees (0.002 is the worst found).
LOG_ERROR = 0.02
#: Two to three posterior SDs above the means of the taus (0.04 found, remissions of all treated).
LOG_ERROR_TAIL = 0.06
#: Many SDs out, where the weight is negligible, the rule only has to stay near (0.77 found).
LOG_ERROR_FAR = 1.0
#: Newton stops at a decrement of 1e-6, which is 0.001 posterior SDs.
MODE_ATOL = 2e-3
#: Step of the trapezoid rule: a third of the narrowest posterior SD of a score here.
STEP = 0.125


def one_family(
    kinds: list[int], counts: list[float], totals: list[float], slopes: list[float]
) -> Rows:
    n = len(kinds)
    return Rows(
        kind=np.array(kinds, dtype=np.int64),
        count=np.array(counts, dtype=float),
        total=np.array(totals, dtype=float),
        x_response=np.tile([1.0, 0.0], (n, 1)),
        x_remission=np.tile([0.0, 1.0], (n, 1)),
        slope=np.array(slopes, dtype=float),
        family=np.zeros(n, dtype=np.int64),
    )


def log_likelihood(
    rows: Rows, beta: Array, tau: Array, scores: tuple[Array, Array, Array]
) -> Array:
    """Written anew from the definition, at standard-normal scores of u, v and ub."""
    u, v, b = scores
    total = np.zeros(np.broadcast_shapes(u.shape, v.shape, b.shape))
    for i in range(rows.kind.size):
        p = special.expit(beta[0] + tau[0] * u + tau[2] * rows.slope[i] * b)
        q = special.expit(beta[1] + tau[1] * v)
        rate = {RESPONSE: p, REMISSION_IF_RESPONSE: q, REMISSION: p * q}[int(rows.kind[i])]
        total = total + special.xlogy(rows.count[i], rate)
        total = total + special.xlogy(rows.total[i] - rows.count[i], 1.0 - rate)
    return total


def brute(rows: Rows, beta: Array, tau: Array) -> float:
    """Trapezoid rule over the scores (exponentially accurate for such integrands)."""

    def axis(used: bool) -> Array:
        return np.linspace(-STEP * 64, STEP * 64, 129) if used else np.zeros(1)

    of_response = bool(np.any(rows.kind != REMISSION_IF_RESPONSE))
    of_remission = bool(np.any(rows.kind != RESPONSE))
    u, v, b = np.meshgrid(
        axis(of_response and tau[0] > 0),
        axis(of_remission and tau[1] > 0),
        axis(of_response and tau[2] > 0 and bool(np.any(rows.slope))),
        indexing="ij",
        sparse=True,
    )
    height = log_likelihood(rows, beta, tau, (u, v, b))
    for score in (u, v, b):
        if score.size > 1:
            height = height - 0.5 * score**2 + np.log(STEP) - 0.5 * np.log(2.0 * np.pi)
    return float(special.logsumexp(height))


def engine(rows: Rows, beta: Array, tau: Array) -> float:
    found = log_marginal_likelihood(rows, make_blocks(rows), beta[None, :], tau[None, :])
    return float(found[0])


FAMILIES = {
    "one response": one_family([0], [7], [20], [0.0]),
    "pair": one_family([0, 1], [12, 5], [30, 12], [0.0, 0.0]),
    "course": one_family([0, 0, 1], [4, 15, 6], [30, 30, 15], [-2.585, 0.0, 0.0]),
    "long course": one_family([0, 0, 0, 0], [3, 9, 14, 17], [28, 28, 28, 28], [-2.6, -1, 0, 0.4]),
    "remission alone": one_family([2], [7], [29], [-2.585]),
    "remission none": one_family([2], [0], [30], [0.0]),
    "remission all": one_family([2], [12], [12], [0.0]),
    "coupled": one_family([0, 2], [12, 9], [26, 24], [0.0, 0.0]),
    "coupled course": one_family([0, 0, 1, 2], [4, 15, 6, 8], [30, 30, 15, 25], [-2.6, 0, 0, -1]),
    "none": one_family([0, 1], [0, 0], [20, 0], [0.0, 0.0]),
    "all": one_family([0, 1], [40, 25], [40, 40], [0.0, 0.0]),
    "single patient": one_family([0, 1], [1, 0], [1, 1], [-1.0, -1.0]),
}
EXTREME = {
    "many patients": one_family([0], [47_000], [100_000], [0.0]),
    # Ten times the largest cohort; from about 10,000 without an event Newton's steps run out.
    "many, none": one_family([0], [0], [2_000], [0.0]),
    "many, all": one_family([1], [2_000], [2_000], [0.0]),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_integral_where_the_posterior_has_mass(name: str) -> None:
    rows, worst = FAMILIES[name], 0.0
    for a, m in ((0.0, 0.4), (-0.6, 0.0), (0.8, 1.0)):
        for tau in ((0.3, 0.2, 0.1), (0.65, 0.5, 0.35), (0.8, 0.7, 0.5)):
            beta, spread = np.array([a, m]), np.array(tau)
            worst = max(worst, abs(engine(rows, beta, spread) - brute(rows, beta, spread)))
    print(f"{name}: worst log error {worst:.2e}")
    assert worst < LOG_ERROR
    beta, spread = np.array([0.8, 1.0]), np.array([1.0, 1.0, 0.7])
    assert abs(engine(rows, beta, spread) - brute(rows, beta, spread)) < LOG_ERROR_TAIL


@pytest.mark.parametrize("name", FAMILIES)
def test_integral_far_out(name: str) -> None:
    rows = FAMILIES[name]
    beta, tau = np.array([0.5, -0.5]), np.array([5.0, 3.0, 2.0])
    away = abs(engine(rows, beta, tau) - brute(rows, beta, tau))
    print(f"{name}: log error {away:.2e}")
    assert away < LOG_ERROR_FAR


@pytest.mark.parametrize("name", EXTREME)
@pytest.mark.parametrize("spread", [0.2, 0.7, 1.5])
def test_integral_of_huge_denominators(name: str, spread: float) -> None:
    rows = EXTREME[name]
    beta, tau = np.array([-0.1, 0.1]), np.array([spread, spread, 0.0])

    step = 1e-4  # the likelihood alone has an SD of 0.006 / spread in the score
    scores = np.arange(-40.0, 40.0, step)
    height = log_likelihood(rows, beta, tau, (scores, scores, scores)) - 0.5 * scores**2
    wanted = special.logsumexp(height) + np.log(step) - 0.5 * np.log(2.0 * np.pi)
    assert engine(rows, beta, tau) == pytest.approx(wanted, abs=LOG_ERROR)


def test_zero_taus_need_no_integral() -> None:
    for rows in FAMILIES.values():
        beta, zero = np.array([0.3, -0.2]), np.zeros(3)
        nothing = np.zeros(())
        wanted = float(log_likelihood(rows, beta, zero, (nothing, nothing, nothing)))
        assert engine(rows, beta, zero) == pytest.approx(wanted, abs=1e-9)


@given(
    st.integers(0, 2),
    st.integers(1, 60),
    st.floats(0, 1),
    st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    st.tuples(st.floats(0.05, 0.8), st.floats(0.05, 0.8)),
)
@settings(max_examples=40, deadline=None)
def test_any_single_row(
    kind: int, n: int, share: float, logits: tuple[float, float], taus: tuple[float, float]
) -> None:
    rows = one_family([kind], [round(share * n)], [n], [0.0])
    beta, tau = np.array(logits), np.array([*taus, 0.0])
    assert engine(rows, beta, tau) == pytest.approx(brute(rows, beta, tau), abs=LOG_ERROR_TAIL)


def test_families_add_up_and_points_are_independent() -> None:
    parts = list(FAMILIES.values())
    joined = Rows(
        kind=np.concatenate([r.kind for r in parts]),
        count=np.concatenate([r.count for r in parts]),
        total=np.concatenate([r.total for r in parts]),
        x_response=np.concatenate([r.x_response for r in parts]),
        x_remission=np.concatenate([r.x_remission for r in parts]),
        slope=np.concatenate([r.slope for r in parts]),
        family=np.repeat(np.arange(len(parts)), [r.kind.size for r in parts]),
    )
    beta = np.array([[0.0, 0.0], [0.5, -0.3]])
    tau = np.array([[0.6, 0.5, 0.3], [0.2, 0.9, 0.1]])
    together = log_marginal_likelihood(joined, make_blocks(joined), beta, tau)
    apart = [sum(engine(r, beta[i], tau[i]) for r in parts) for i in range(2)]
    np.testing.assert_allclose(together, apart, rtol=1e-12)


def test_blocks_separate_what_shares_no_count() -> None:
    dimensions = {name: [b.dimension for b in make_blocks(r)] for name, r in FAMILIES.items()}
    assert dimensions["pair"] == [1, 1]
    assert dimensions["course"] == [2, 1]
    assert dimensions["remission alone"] == [2]
    assert dimensions["coupled course"] == [3]


@given(st.integers(0, 2), st.floats(-6, 6), st.floats(-6, 6), st.integers(1, 50), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_scores_are_the_derivatives(
    kind: int, eta: float, theta: float, n: int, share: float
) -> None:
    count = float(round(share * n))
    kinds, counts, totals = np.array([kind]), np.array([count]), np.array([float(n)])
    step = 1e-5

    def height(e: float, t: float) -> float:
        return float(row_terms(kinds, counts, totals, np.array([e]), np.array([t])).log_lik[0])

    terms = row_terms(kinds, counts, totals, np.array([eta]), np.array([theta]))
    by_eta = (height(eta + step, theta) - height(eta - step, theta)) / (2 * step)
    by_theta = (height(eta, theta + step) - height(eta, theta - step)) / (2 * step)
    # Central differences: error n step^2 plus rounding n 1e-15 / step.
    assert terms.score_response[0] == pytest.approx(by_eta, abs=1e-6 * n)
    assert terms.score_remission[0] == pytest.approx(by_theta, abs=1e-6 * n)
    assert terms.info_response[0] >= 0.0
    assert terms.info_response[0] * terms.info_remission[0] >= terms.info_cross[0] ** 2 - 1e-9


def test_product_keeps_its_complement() -> None:
    # 1 - p q for logits of 30 is 2 exp(-30), which 1 - (p q) would round to 0 or 2e-13.
    found = log_binomial_product(0.0, 1.0, np.array([30.0]), np.array([30.0]))
    assert found[0] == pytest.approx(np.log(2.0) - 30.0, abs=1e-9)
    assert np.isfinite(log_binomial_product(1.0, 1.0, np.array([-800.0]), np.array([0.0]))[0])


def small_problem() -> tuple[Rows, Priors]:
    rows = Rows(
        kind=np.array([0, 1, 0, 2, 0, 0]),
        count=np.array([12.0, 5.0, 3.0, 7.0, 4.0, 9.0]),
        total=np.array([30.0, 12.0, 25.0, 29.0, 20.0, 20.0]),
        x_response=np.array(
            [[1, 0.5, 0], [1, 0.5, 0], [1, -0.5, 0], [1, 0.5, 0], [1, -0.5, 0], [1, -0.5, 0]]
        ),
        x_remission=np.tile([0.0, 0.0, 1.0], (6, 1)),
        slope=np.array([0.0, 0.0, -1.0, -2.6, -2.6, 0.0]),
        family=np.array([0, 0, 1, 2, 3, 3]),
    )
    priors = Priors(np.array([0.1, 0.0, -0.1]), np.diag([0.5, 1.0, 0.5]), np.array([1.0, 1.0, 0.5]))
    return rows, priors


@pytest.mark.parametrize("tau", [(0.6, 0.5, 0.4), (0.05, 0.05, 0.0), (2.0, 1.5, 1.0)])
def test_joint_mode_and_evidence(tau: tuple[float, float, float]) -> None:
    rows, priors = small_problem()
    spread = np.array(tau)

    def negative(point: Array) -> float:
        beta, scores = point[:3], point[3:].reshape(4, 3)
        eta = rows.x_response @ beta
        theta = rows.x_remission @ beta
        of_row = scores[rows.family]
        p = special.expit(eta + spread[0] * of_row[:, 0] + spread[2] * rows.slope * of_row[:, 2])
        q = special.expit(theta + spread[1] * of_row[:, 1])
        rate = np.select([rows.kind == 0, rows.kind == 1], [p, q], p * q)
        height = np.sum(rows.count * np.log(rate) + (rows.total - rows.count) * np.log1p(-rate))
        away = beta - priors.mean
        return float(0.5 * away @ priors.precision @ away + 0.5 * np.sum(scores**2) - height)

    laplace = fit_laplace(rows, priors, spread[None, :])
    best = optimize.minimize(negative, np.zeros(15), method="BFGS", options={"gtol": 1e-6})
    sd = np.sqrt(np.diag(laplace.covariance[0]))
    np.testing.assert_array_less(np.abs(laplace.mode[0] - best.x[:3]) / sd, MODE_ATOL)
    assert np.all(np.linalg.eigvalsh(laplace.covariance[0]) > 0)
    # Many settings at once give what each gives alone.
    pair = fit_laplace(rows, priors, np.array([tau, (0.3, 0.3, 0.3)]))
    np.testing.assert_allclose(pair.mode[0], laplace.mode[0], atol=1e-5)
    np.testing.assert_allclose(pair.log_marginal[0], laplace.log_marginal[0], atol=1e-6)


def test_contrasts_are_conjugate_updates() -> None:
    mean, precision = np.array([0.2, -0.1]), np.array([[4.0, 0.5], [0.5, 2.0]])
    vectors, estimates = np.array([[0.0, 1.75], [1.0, 1.0]]), np.array([-0.688, 0.3])
    variances = np.array([0.157, 0.2])
    new_mean, new_precision = add_contrasts(mean, precision, vectors, estimates, variances)
    # By the other route: the covariance form (Kalman gain).
    covariance = np.linalg.inv(precision)
    gain = covariance @ vectors.T
    gain = gain @ np.linalg.inv(vectors @ covariance @ vectors.T + np.diag(variances))
    np.testing.assert_allclose(new_mean, mean + gain @ (estimates - vectors @ mean), rtol=1e-12)
    np.testing.assert_allclose(
        np.linalg.inv(new_precision), covariance - gain @ vectors @ covariance, rtol=1e-12
    )
    for order in itertools.permutations(range(2)):
        at = list(order)
        again = add_contrasts(mean, precision, vectors[at], estimates[at], variances[at])
        np.testing.assert_allclose(again[0], new_mean, rtol=1e-12)
