"""The search for tau2: its proofs hold, its paths agree, and nothing beats its maximum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.numerics.normal import fit_normal, fit_normal_batch, profile_likelihood
from ketacast.numerics.normal.kernel import Kernel
from ketacast.numerics.normal.likelihood_search import Search, evaluate, maximise
from ketacast.numerics.normal.moments import moment_kernel
from ketacast.numerics.normal.problem import Problem, checked_problem
from ketacast.numerics.normal.sign_proof import (
    falling_between,
    negative_between,
    negative_beyond,
    positive_between,
)
from ketacast.numerics.normal.single import solve_single
from ketacast.numerics.normal.whitened import WhitenedKernel

Array = NDArray[np.float64]

#: Two ways to the same root, each good to about 1e-13 of tau2 + a typical variance.
RTOL_PATHS = 1e-9
#: Sums of a few dozen logs round to this.
ATOL_LIKELIHOOD = 1e-10
#: Heights of the two kernels, whose normal equations may lose a few digits.
ATOL_HEIGHT = 1e-8

SHAPES = st.tuples(
    st.integers(0, 10**6), st.integers(3, 25), st.integers(1, 3), st.floats(0.1, 4.0)
)


def _random(seed: int, k: int, p: int, spread: float) -> tuple[Array, Array, Array]:
    """Effects, variances that span about exp(2 spread), and a design; k > p."""
    rng = np.random.default_rng(seed)
    k = max(k, p + 1)
    v = np.exp(rng.uniform(-spread, spread, size=k))
    tau = rng.choice([0.0, 0.3, 1.0, 5.0])
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    return rng.normal(size=k) * np.sqrt(v + tau**2), v, X


def _kernels(y: Array, v: Array, X: Array) -> tuple[Problem, list[Kernel]]:
    problem, _ = checked_problem(y, v, X)
    return problem, [moment_kernel(problem), WhitenedKernel(problem)]


def _search(kernel: Kernel, *, restricted: bool) -> Search:
    return Search(kernel, np.zeros(1), np.ones(1), np.array([1e6]), restricted)


@settings(max_examples=80, deadline=None)
@given(shape=SHAPES, restricted=st.booleans())
def test_proven_signs_are_true(shape: tuple[int, int, int, float], restricted: bool) -> None:
    problem, kernels = _kernels(*_random(*shape))
    search = _search(kernels[1], restricted=restricted)
    points = evaluate(search, np.linspace(0.0, 8.0, 9)[None])
    positive, negative = positive_between(points)[0], negative_between(points)[0]
    falling = falling_between(points)[0]
    for i in range(8):
        inside = np.linspace(points.z[0, i], points.z[0, i + 1], 60)[None]
        height = evaluate(search, inside).height[0]
        if positive[i]:
            assert height.min() > -ATOL_HEIGHT
        if negative[i]:
            assert height.max() < ATOL_HEIGHT
        if falling[i]:
            assert np.diff(height).max() < ATOL_HEIGHT
    if negative_beyond(points, kernels[1].residual_squares)[0] and points.height[0, -1] <= 0.0:
        beyond = evaluate(search, np.linspace(8.0, 25.0, 60)[None])
        assert beyond.height.max() < ATOL_HEIGHT
    assert problem.count == 1


@settings(max_examples=80, deadline=None)
@given(shape=SHAPES, tau2=st.floats(0.0, 50.0))
def test_kernels_agree(shape: tuple[int, int, int, float], tau2: float) -> None:
    _, (moments, whitened) = _kernels(*_random(*shape))
    at = np.array([[0.0, tau2]])
    one, other = moments.scores(at), whitened.scores(at)
    for name in ("q", "ypp", "yppp", "trace_p", "trace_pp", "weight_sum", "weight_squares"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-7, atol=1e-12)
    left, right = moments.solution(at[:, 1]), whitened.solution(at[:, 1])
    for name in ("gamma", "inverse", "q", "log_det", "log_weights"):
        np.testing.assert_allclose(
            getattr(left, name), getattr(right, name), rtol=1e-7, atol=1e-9, err_msg=name
        )


@settings(max_examples=120, deadline=None)
@given(shape=SHAPES, restricted=st.booleans())
def test_paths_agree(shape: tuple[int, int, int, float], restricted: bool) -> None:
    y, v, X = _random(*shape)
    problem, (moments, whitened) = _kernels(y, v, X)
    scale = float(v.min())
    by_qr = float(maximise(whitened, restricted=restricted)[0])
    by_moments = float(maximise(moments, restricted=restricted)[0])
    assert by_moments == pytest.approx(by_qr, rel=RTOL_PATHS, abs=RTOL_PATHS * scale)
    if X.shape[1] <= 2:
        single = solve_single(y, v, problem.basis[0], restricted=restricted)
        if single is not None:
            assert single.tau2 == pytest.approx(by_qr, rel=RTOL_PATHS, abs=RTOL_PATHS * scale)


def test_brute_force_finds_nothing_higher() -> None:
    rng = np.random.default_rng(20261126)
    grid = np.concatenate([[0.0], np.geomspace(1e-5, 1e4, 500)])
    for trial in range(200):
        shape = (int(rng.integers(10**6)), int(rng.integers(3, 20)), 1 + trial % 3)
        y, v, X = _random(*shape, spread=float(rng.uniform(0.5, 6.0)))
        for method in ("REML", "ML"):
            chosen: Any = method
            found = fit_normal(y, v, X, method=chosen)
            values = profile_likelihood(y, v, X, tau2=grid, method=chosen).log_likelihood
            assert found.log_likelihood >= values.max() - ATOL_LIKELIHOOD * (1 + abs(values.max()))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    spread=st.floats(1.0, 12.0),
    size=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
    restricted=st.booleans(),
)
def test_the_score_is_zero_at_the_estimate(
    seed: int, spread: float, size: float, restricted: bool
) -> None:
    # Roots far below or above a typical variance, variances over up to ten orders.
    rng = np.random.default_rng(seed)
    k, p = int(rng.integers(4, 20)), int(rng.integers(1, 4))
    v = np.exp(rng.uniform(-spread, spread, size=k))
    X = np.column_stack([np.ones(k), rng.normal(size=(k, p - 1))])
    y = rng.normal(size=k) * np.sqrt(v + size * v.min())
    method: Any = "REML" if restricted else "ML"
    tau2 = fit_normal(y, v, X, method=method).tau2
    if tau2 > 0.0:
        _, (_, whitened) = _kernels(y, v, X)
        at = whitened.scores(np.array([[tau2]]))
        trace = at.trace_p if restricted else at.weight_sum
        # The rounding of 1 - leverage grows with the span of the weights at tau2.
        span = (v.max() + tau2) / (v.min() + tau2)
        assert abs(float(at.ypp[0, 0] / trace[0, 0]) - 1.0) < 1e-10 + 1e-15 * span


#: Two modes within 0.0003 log units of each other: 0, and 0.0365, which is the higher.
TWO_MODES = (
    np.array([4.17, -0.38, 0.53, -0.13, 1.34, -1.55]),
    np.array([6.495, 0.07, 0.142, 0.007, 6.563, 5.988]),
)
#: Two modes of which 0 is the higher.
HIGHER_AT_ZERO = (np.array([9.42, -0.19, -2.28, -0.5]), np.array([14.465, 4.13, 2.627, 0.492]))


def test_the_higher_of_two_modes_is_taken() -> None:
    y, v = TWO_MODES
    fit = fit_normal(y, v, np.ones((6, 1)))
    assert fit.tau2 == pytest.approx(0.0365, rel=0.02)
    at = profile_likelihood(y, v, np.ones((6, 1)), tau2=[0.0, 0.005, fit.tau2]).log_likelihood
    assert at[1] < at[0] < at[2]
    y, v = HIGHER_AT_ZERO
    assert fit_normal(y, v, np.ones((4, 1))).tau2 == 0.0
    other = profile_likelihood(y, v, np.ones((4, 1)), tau2=[0.0, 1.0, 6.6]).log_likelihood
    assert other[1] < other[2] < other[0]


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, method=st.sampled_from(["REML", "ML", "DL", "PM", "HE", "SJ", "HSk", "PMM"]))
def test_rows_left_out_are_as_if_absent(shape: tuple[int, int, int, float], method: Any) -> None:
    seed, k, p, spread = shape
    y, v, X = _random(seed, k + p + 3, p, spread)
    rng = np.random.default_rng(seed)
    include = np.ones((4, y.size), dtype=np.bool_)
    for b in range(1, 4):
        include[b, rng.choice(y.size, size=b, replace=False)] = False
    fits = fit_normal_batch(y, v, X, include=include, method=method)
    for b in range(4):
        alone = fit_normal(y[include[b]], v[include[b]], X[include[b]], method=method)
        np.testing.assert_allclose(fits.beta[b], alone.beta, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(
            fits.tau2[b], alone.tau2, rtol=1e-7, atol=RTOL_PATHS * float(v.min())
        )
        assert fits.k[b] == alone.k
        assert fits.log_likelihood_reml[b] == pytest.approx(alone.log_likelihood_reml, abs=1e-7)
        assert fits.qe_p[b] == pytest.approx(alone.qe_p, rel=1e-6, abs=1e-12)
        assert fits.qm_p[b] == pytest.approx(alone.moderators.p_value, rel=1e-6, abs=1e-12)


def test_designs_may_differ_within_a_batch() -> None:
    y, v, X = _random(5, 14, 3, 1.0)
    rng = np.random.default_rng(6)
    rows = np.array([rng.permutation(14) for _ in range(5)])
    fits = fit_normal_batch(y, v, X[rows])
    for b in range(5):
        alone = fit_normal(y, v, X[rows[b]])
        np.testing.assert_allclose(fits.beta[b], alone.beta, rtol=1e-9)
        np.testing.assert_allclose(fits.cov[b], alone.cov, rtol=1e-9, atol=1e-14)


def test_a_problem_that_cannot_be_fitted_does_not_spoil_the_batch() -> None:
    y, v, _ = _random(7, 8, 1, 1.0)
    group = np.array([1.0] + [0.0] * 7)
    X = np.column_stack([np.ones(8), group])
    fits = fit_normal_batch(y, v, X, include=~np.eye(8, dtype=np.bool_))
    assert fits.solvable.tolist() == [False] + [True] * 7
    assert np.isnan(fits.beta[0]).all()
    assert np.isnan(fits.tau2[0])
    few = np.zeros((2, 8), dtype=np.bool_)
    few[0, :2] = few[1, :3] = True
    assert fit_normal_batch(y, v, X, include=few).solvable.tolist() == [False, True]


def test_a_problem_does_not_depend_on_its_batch() -> None:
    problems = [_random(seed, 12, 2, 1.5) for seed in range(40)]
    y, v = np.array([one[0] for one in problems]), np.array([one[1] for one in problems])
    X = problems[0][2]
    together = fit_normal_batch(y, v, X)
    for chunk in (slice(0, 7), slice(7, 40)):
        part = fit_normal_batch(y[chunk], v[chunk], X)
        # Matrix products of other shapes round differently.
        np.testing.assert_allclose(part.tau2, together.tau2[chunk], rtol=1e-11, atol=1e-14)
