"""The bootstrap: agreement with theory where there is one, and its invariants."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.numerics.normal import fit_normal
from ketacast.numerics.resampling.bootstrap import BOOTSTRAP_KINDS, bootstrap

Array = NDArray[np.float64]

#: Draws are the same numbers; a batch's company may change the last digits of a fit.
RTOL_BATCH = 1e-9
#: Resamples behind comparisons with theory.
MANY = 4000
#: Five standard errors of a standard deviation from that many normal draws.
SD_ERROR = 5.0 / np.sqrt(2.0 * MANY)


def _problem(seed: int = 3, k: int = 14) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    v = rng.uniform(0.02, 0.5, size=k)
    return X @ [0.4, -0.3] + rng.normal(size=k) * np.sqrt(v + 0.3), v, X


@pytest.mark.parametrize("kind", BOOTSTRAP_KINDS)
def test_draws_are_reproducible_and_independent_of_batches(kind: Any) -> None:
    y, v, X = _problem()
    runs = [
        bootstrap(y, v, X, kind=kind, n_resamples=60, seed=9, chunk_size=size)
        for size in (None, 1, 7, 60)
    ]
    for run in runs:
        np.testing.assert_allclose(run.beta_draws, runs[0].beta_draws, rtol=RTOL_BATCH)
        np.testing.assert_allclose(
            run.tau2_draws, runs[0].tau2_draws, rtol=RTOL_BATCH, atol=RTOL_BATCH
        )
    again = bootstrap(y, v, X, kind=kind, n_resamples=60, seed=9)
    assert again.beta_draws.tolist() == runs[0].beta_draws.tolist()
    other = bootstrap(y, v, X, kind=kind, n_resamples=60, seed=10)
    assert np.abs(other.beta_draws - again.beta_draws).max() > 0.01


@pytest.mark.parametrize("kind", BOOTSTRAP_KINDS)
def test_longer_runs_begin_with_the_shorter(kind: Any) -> None:
    y, v, X = _problem()
    short = bootstrap(y, v, X, kind=kind, n_resamples=20, seed=1)
    long = bootstrap(y, v, X, kind=kind, n_resamples=50, seed=1)
    np.testing.assert_allclose(long.beta_draws[:20], short.beta_draws, rtol=RTOL_BATCH)


def test_parametric_bootstrap_of_equal_effects_is_the_normal_theory() -> None:
    y, v, X = _problem()
    fit = fit_normal(y, v, X, method="EE", test="z", level=0.9)
    found = bootstrap(y, v, X, method="EE", n_resamples=MANY, level=0.9)
    np.testing.assert_allclose(found.beta.se, fit.se, rtol=SD_ERROR)
    assert (np.abs(found.beta.bias) < 5.0 * fit.se / np.sqrt(MANY)).all()
    # The 5% quantile of normal draws has a standard error of 2.1 standard deviations
    # over the root of their number; ten of these are allowed.
    allowed = 10.0 * 2.1 * fit.se / np.sqrt(MANY)
    for lower, upper in (
        (found.beta.percentile_lower, found.beta.percentile_upper),
        (found.beta.basic_lower, found.beta.basic_upper),
    ):
        assert (np.abs(lower - fit.ci_lower) < allowed).all()
        assert (np.abs(upper - fit.ci_upper) < allowed).all()
    assert not found.tau2_draws.any()
    assert found.solvable.all()


def test_parametric_draws_have_the_fitted_heterogeneity() -> None:
    y, v, X = _problem(k=60)
    fit = fit_normal(y, v, X, test="z")
    found = bootstrap(y, v, X, n_resamples=MANY)
    # REML is nearly unbiased; its large-sample standard error holds to a tenth here.
    assert abs(float(found.tau2.bias)) < 0.1 * float(found.tau2.se)
    assert fit.tau2_se is not None
    assert float(found.tau2.se) == pytest.approx(fit.tau2_se, rel=0.1)
    np.testing.assert_allclose(found.beta.se, fit.se, rtol=0.05)


def test_case_bootstrap_of_a_mean_is_its_sampling_distribution() -> None:
    rng = np.random.default_rng(1)
    y, v = rng.normal(size=40), np.full(40, 0.05)
    found = bootstrap(y, v, np.ones((40, 1)), kind="cases", n_resamples=MANY, method="EE")
    # Equal variances make the fit the plain mean, whose bootstrap variance is known.
    assert float(found.beta.se[0]) == pytest.approx(y.std() / np.sqrt(40.0), rel=SD_ERROR)


@pytest.mark.parametrize("kind", BOOTSTRAP_KINDS)
def test_basic_interval_is_the_reflected_percentile_interval(kind: Any) -> None:
    found = bootstrap(*_problem(), kind=kind, n_resamples=100, level=0.8)
    for summary, least in ((found.beta, -np.inf), (found.tau2, 0.0)):
        upper = np.maximum(least, 2.0 * summary.estimate - summary.percentile_lower)
        lower = np.maximum(least, 2.0 * summary.estimate - summary.percentile_upper)
        np.testing.assert_allclose(summary.basic_upper, upper)
        np.testing.assert_allclose(summary.basic_lower, lower)
    assert float(found.tau2.basic_lower) >= 0.0
    wider = bootstrap(*_problem(), kind=kind, n_resamples=100, level=0.95)
    assert (wider.beta.percentile_lower <= found.beta.percentile_lower).all()
    assert (wider.beta.percentile_upper >= found.beta.percentile_upper).all()


def test_resamples_that_lose_rank_are_left_out_and_counted() -> None:
    y, v, X = _problem(k=8)
    X[:, 1] = np.arange(8) == 3
    found = bootstrap(y, v, X, kind="cases", n_resamples=300)
    # Study 3 is missing from a resample with chance (7/8)^8 = 0.34.
    assert 60 < found.n_left_out < 150
    assert found.n_left_out == int(np.sum(~found.solvable))
    assert np.isnan(found.beta_draws[~found.solvable]).all()
    kept = found.beta_draws[found.solvable]
    np.testing.assert_allclose(found.beta.se, kept.std(axis=0, ddof=1))
    np.testing.assert_allclose(found.beta.bias, kept.mean(axis=0) - found.beta.estimate)


@pytest.mark.parametrize("chunk_size", [1, 3, 7])
def test_batches_of_resamples_that_all_lose_rank_are_flagged(chunk_size: int) -> None:
    rng = np.random.default_rng(0)
    y, v = rng.normal(size=6), rng.uniform(0.1, 0.3, size=6)
    X = np.column_stack([np.ones(6), np.arange(6) == 5]).astype(np.float64)
    for seed in range(8):
        whole = bootstrap(y, v, X, kind="cases", n_resamples=7, seed=seed)
        parts = bootstrap(y, v, X, kind="cases", n_resamples=7, seed=seed, chunk_size=chunk_size)
        assert parts.solvable.tolist() == whole.solvable.tolist()
        np.testing.assert_allclose(parts.beta_draws, whole.beta_draws, rtol=RTOL_BATCH)


def test_results_are_plain() -> None:
    y, v, X = _problem(k=8)
    X[:, 1] = np.arange(8) == 3
    content = bootstrap(y, v, X, kind="cases", n_resamples=30).to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert isinstance(content["tau2"]["se"], float)


def test_unusable_input_is_refused() -> None:
    y, v, X = _problem()
    unknown: Any = "wild"
    with pytest.raises(InputError, match="kind is 'wild'"):
        bootstrap(y, v, X, kind=unknown)
    with pytest.raises(InputError, match="n_resamples is 1"):
        bootstrap(y, v, X, n_resamples=1)
    with pytest.raises(InputError, match="level is 95"):
        bootstrap(y, v, X, level=95)
    with pytest.raises(InputError, match="seed is True"):
        bootstrap(y, v, X, seed=True)
    rare = np.column_stack([np.ones(14), np.arange(14) == 0, np.arange(14) == 1])
    with pytest.raises(InputError, match="lost rank"):
        bootstrap(y, v, rare.astype(np.float64), kind="cases", n_resamples=2, seed=2)
