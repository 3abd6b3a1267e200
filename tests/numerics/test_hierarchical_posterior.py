"""Properties of the deterministic posterior: proposals, draws, limits, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.numerics.hierarchical import (
    REMISSION,
    Posterior,
    Priors,
    Rows,
    equal_draws,
    fit_posterior,
)
from ketacast.numerics.hierarchical.normal import fit_normal_posterior
from ketacast.numerics.hierarchical.posterior import even_points, weighted_quantile
from ketacast.numerics.hierarchical.tau_grid import draw_taus, find_mass, log_tau_prior

Array = NDArray[np.float64]

#: Points of a fit that is compared with itself or only checked for direction.
FEW = 1024
#: Mean and SD of a coefficient against the exact normal-normal posterior, in its SDs.
LIMIT_SDS = 0.02
#: A low-discrepancy histogram of 8,192 points in tens of cells.
HISTOGRAM_ATOL = 0.004


def problem(seed: int = 0, families: int = 10) -> tuple[Rows, Priors]:
    """Pairs with made-up counts and one covariate of the response."""
    rng = np.random.default_rng(seed)
    total = rng.integers(15, 60, families).astype(float)
    responders = np.floor(total * rng.uniform(0.2, 0.8, families))
    remitters = np.floor(responders * rng.uniform(0.3, 0.8, families))
    covariate = rng.choice([-0.5, 0.5], families)
    one, nothing = np.ones(families), np.zeros(families)
    x_response = np.column_stack([one, covariate, nothing])
    x_remission = np.column_stack([nothing, nothing, one])
    order = np.argsort(np.tile(np.arange(families), 2), kind="stable")
    rows = Rows(
        kind=np.repeat([0, 1], families)[order],
        count=np.concatenate([responders, remitters])[order],
        total=np.concatenate([total, responders])[order],
        x_response=np.concatenate([x_response, x_response])[order],
        x_remission=np.concatenate([x_remission, x_remission])[order],
        slope=np.tile(rng.choice([-2.6, -1.0, 0.0], families), 2)[order],
        family=np.tile(np.arange(families), 2)[order],
    )
    priors = Priors(np.zeros(3), np.diag([1 / 2.25, 1.0, 1 / 2.25]), np.array([1.0, 1.0, 0.5]))
    return rows, priors


def repeated(rows: Rows, times: int) -> Rows:
    """Every family again as a new family."""
    return Rows(
        kind=np.tile(rows.kind, times),
        count=np.tile(rows.count, times),
        total=np.tile(rows.total, times),
        x_response=np.tile(rows.x_response, (times, 1)),
        x_remission=np.tile(rows.x_remission, (times, 1)),
        slope=np.tile(rows.slope, times),
        family=np.concatenate([rows.family + i * rows.n_families for i in range(times)]),
    )


# Even points and quantiles


@pytest.mark.parametrize("dimension", [1, 4, 11])
def test_even_points_are_fixed_and_even(dimension: int) -> None:
    points = even_points(1024, dimension)
    assert points.shape == (1024, dimension)
    assert points.tobytes() == even_points(1024, dimension).tobytes()
    assert points.min() > 0.0
    assert points.max() < 1.0
    np.testing.assert_allclose(points.mean(axis=0), 0.5, atol=0.002)
    np.testing.assert_allclose(points.var(axis=0), 1.0 / 12.0, atol=0.002)
    for column in points.T:
        assert np.all(np.abs(np.histogram(column, 64, (0, 1))[0] - 16) <= 1)


@pytest.mark.parametrize("n", [0, 1, 3, 1000, -8])
def test_even_points_need_a_power_of_two(n: int) -> None:
    with pytest.raises(InputError, match="power of 2"):
        even_points(n, 3)


@given(
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=30, unique=True),
    st.integers(0, 2**16),
)
@settings(max_examples=50, deadline=None)
def test_weighted_quantiles(values: list[int], seed: int) -> None:
    points = np.array(values, dtype=float)[:, None]
    weight = np.random.default_rng(seed).uniform(0.1, 1.0, len(values))
    weight /= weight.sum()
    levels = np.array([0.01, 0.25, 0.5, 0.75, 0.99])
    found = weighted_quantile(points, weight, levels)[:, 0]
    assert np.all(np.diff(found) >= 0)
    assert points.min() <= found[0]
    assert found[-1] <= points.max()
    order = np.random.default_rng(seed).permutation(len(values))
    np.testing.assert_allclose(
        weighted_quantile(points[order], weight[order], levels)[:, 0], found, rtol=1e-9, atol=1e-6
    )


def test_weighted_quantiles_of_equal_weights_are_midpoint_quantiles() -> None:
    values = np.array([[3.0], [1.0], [2.0], [4.0]])
    found = weighted_quantile(values, np.full(4, 0.25), np.array([0.125, 0.5, 0.875]))
    np.testing.assert_allclose(found[:, 0], [1.0, 2.5, 4.0])


# The proposal of the taus


@pytest.mark.parametrize("scales", [(1.0, 1.0, 0.5), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0)])
def test_proposal_is_a_density_that_its_points_follow(scales: tuple[float, ...]) -> None:
    rows, priors = problem()
    grid = find_mass(rows, replace(priors, tau_scale=np.array(scales)))
    k = grid.active.size
    tau, log_density = draw_taus(grid, even_points(8192, k))
    assert np.all(tau[:, grid.active] > 0)
    off = np.setdiff1d(np.arange(3), grid.active)
    assert np.all(tau[:, off] == 0)
    # Where a density integrates to 1, E[1 / density] over a box is the box's volume.
    log_tau = np.log(tau[:, grid.active])
    low, high = np.quantile(log_tau, [0.15, 0.85], axis=0)
    inside = np.all((low <= log_tau) & (log_tau <= high), axis=1)
    volume = float(np.mean(inside * np.exp(-log_density)))
    assert volume == pytest.approx(float(np.prod(high - low)), rel=0.05)
    # The first coordinate's marginal, from the grid itself.
    fine = np.exp(grid.log_density - grid.log_density.max())
    marginal = fine.sum(axis=tuple(range(1, k)))
    axis = grid.axes[0]
    assert axis[int(np.argmax(marginal))] == pytest.approx(
        float(np.median(log_tau[:, 0])), abs=3 * (axis[1] - axis[0])
    )


def test_histogram_of_the_taus_follows_their_density() -> None:
    rows, priors = problem()
    grid = find_mass(rows, replace(priors, tau_scale=np.array([1.0, 0.0, 0.0])))
    tau, log_density = draw_taus(grid, even_points(8192, 1))
    log_tau = np.log(tau[:, 0])
    order = np.argsort(log_tau)
    edges = np.linspace(grid.axes[0][0], grid.axes[0][-1], 33)
    count = np.histogram(log_tau, edges)[0] / log_tau.size
    middle = 0.5 * (edges[1:] + edges[:-1])
    density = np.interp(middle, log_tau[order], np.exp(log_density[order]))
    np.testing.assert_allclose(count, density * np.diff(edges), atol=HISTOGRAM_ATOL)
    assert np.sum(density * np.diff(edges)) == pytest.approx(1.0, abs=0.01)


def test_half_normal_prior_is_a_density_in_log_tau() -> None:
    at = np.linspace(-14.0, 3.0, 20001)
    tau = np.zeros((at.size, 3))
    tau[:, 1] = np.exp(at)
    height = np.exp(log_tau_prior(tau, np.array([0.0, 0.7, 0.0])))
    assert np.trapezoid(height, at) == pytest.approx(1.0, abs=1e-5)


# The posterior


def test_same_bytes_on_every_run() -> None:
    rows, priors = problem()
    first, second = (equal_draws(fit_posterior(rows, priors, FEW), 512) for _ in range(2))
    for name in ("beta", "tau", "scores"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_draws_are_balanced() -> None:
    rows, priors = problem()
    posterior = fit_posterior(rows, priors, FEW)
    for pairing in (0, 1, 7):
        draws = equal_draws(posterior, 512, pairing)
        np.testing.assert_allclose(draws.beta.mean(axis=0), posterior.mean()[:3], atol=1e-10)
        np.testing.assert_allclose(draws.beta.std(axis=0), posterior.sd()[:3], rtol=1e-9)
        np.testing.assert_allclose(draws.scores.mean(axis=0), 0.0, atol=1e-10)
        np.testing.assert_allclose(draws.scores.T @ draws.scores / 512, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(draws.scores.T @ draws.beta / 512, 0.0, atol=1e-9)
        assert np.all(draws.tau > 0)


def test_order_of_rows_within_a_family_does_not_matter() -> None:
    rows, priors = problem()
    order = np.argsort(rows.family * 2 + (1 - rows.kind), kind="stable")
    swapped = Rows(**{name: getattr(rows, name)[order] for name in Rows.__slots__})
    first, second = fit_posterior(rows, priors, FEW), fit_posterior(swapped, priors, FEW)
    np.testing.assert_allclose(first.mean(), second.mean(), atol=1e-8)


def test_order_of_families_does_not_matter() -> None:
    rows, priors = problem()
    family = rows.n_families - 1 - rows.family
    order = np.argsort(family, kind="stable")
    turned = Rows(**{name: getattr(rows, name)[order] for name in Rows.__slots__})
    turned = replace(turned, family=family[order])
    first, second = fit_posterior(rows, priors, FEW), fit_posterior(turned, priors, FEW)
    np.testing.assert_allclose(first.mean(), second.mean(), atol=1e-6)
    np.testing.assert_allclose(first.sd(), second.sd(), atol=1e-6)
    assert first.log_evidence == pytest.approx(second.log_evidence, abs=1e-6)


def test_more_of_the_same_families_narrows_the_average() -> None:
    rows, priors = problem()
    widths = []
    for times in (1, 2, 4):
        bounds = fit_posterior(repeated(rows, times), priors, FEW).quantile(np.array([0.1, 0.9]))
        widths.append(bounds[1, :3] - bounds[0, :3])
    assert np.all(widths[1] < widths[0])
    assert np.all(widths[2] < widths[1])
    # At large numbers of families the width falls as one over the root of their number.
    assert np.all(widths[2] < 0.8 * widths[1])


@pytest.mark.parametrize("scales", [(0.0, 1.0, 0.5), (1.0, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_effects_can_be_left_out(scales: tuple[float, ...]) -> None:
    rows, priors = problem()
    posterior = fit_posterior(rows, replace(priors, tau_scale=np.array(scales)), FEW)
    off = np.array(scales) == 0
    assert np.all(posterior.tau[:, off] == 0)
    assert np.all(posterior.tau[:, ~off] > 0)
    assert posterior.weight.sum() == pytest.approx(1.0)
    draws = equal_draws(posterior, 256)
    assert np.all(draws.tau[:, off] == 0)
    assert np.isfinite(draws.beta).all()


def test_without_effects_the_posterior_is_that_of_a_logistic_regression() -> None:
    # One row, one coefficient: the posterior density is known up to its constant.
    rows = Rows(
        kind=np.array([0]),
        count=np.array([7.0]),
        total=np.array([20.0]),
        x_response=np.array([[1.0]]),
        x_remission=np.array([[0.0]]),
        slope=np.zeros(1),
        family=np.array([0]),
    )
    priors = Priors(np.array([0.3]), np.array([[1.0]]), np.zeros(3))
    posterior = fit_posterior(rows, priors, 4096)
    at = np.linspace(-8, 8, 40001)
    height = 7 * at - 20 * np.logaddexp(0, at) - 0.5 * (at - 0.3) ** 2
    constant = np.log(np.trapezoid(np.exp(height - height.max()), at)) + height.max()
    density = np.exp(height - constant)
    mean = np.trapezoid(at * density, at)
    sd = np.sqrt(np.trapezoid((at - mean) ** 2 * density, at))
    assert posterior.mean()[0] == pytest.approx(mean, abs=1e-3)
    assert posterior.sd()[0] == pytest.approx(sd, abs=1e-3)
    assert posterior.log_evidence == pytest.approx(constant - 0.5 * np.log(2 * np.pi), abs=1e-3)


def test_remissions_of_all_treated_alone() -> None:
    rows, priors = problem(families=6)
    alone = Rows(**{name: getattr(rows, name)[rows.kind == 0] for name in Rows.__slots__})
    alone = replace(alone, kind=np.full(6, REMISSION), count=np.floor(0.4 * alone.count))
    posterior = fit_posterior(alone, priors, FEW)
    rate = 1.0 / (1.0 + np.exp(-posterior.beta[:, [0, 2]]))
    observed = float(alone.count.sum() / alone.total.sum())
    assert float(posterior.weight @ rate.prod(axis=1)) == pytest.approx(observed, abs=0.1)
    # Only the product is informed, so the two logits pull against each other.
    assert posterior.covariance()[0, 2] < 0


def limit_problem() -> tuple[Rows, Priors, Array, Array]:
    """Counts so large that logits are Gaussian with known variance."""
    logits = np.array([-1.0, -0.2, 0.3, 0.9, 0.1, -0.6, 0.5, 1.2, -0.9, 0.2])
    total = np.full(10, 2_000_000.0)
    count = np.round(total / (1.0 + np.exp(-logits)))
    x = np.column_stack([np.ones(10), np.linspace(-1, 1, 10)])
    rows = Rows(
        kind=np.zeros(10, dtype=np.int64),
        count=count,
        total=total,
        x_response=x,
        x_remission=np.zeros((10, 2)),
        slope=np.zeros(10),
        family=np.arange(10),
    )
    priors = Priors(np.array([0.2, 0.0]), np.diag([1 / 2.25, 1.0]), np.array([1.0, 0.0, 0.0]))
    return rows, priors, np.log(count / (total - count)), total / (count * (total - count))


def test_large_counts_give_the_normal_normal_posterior() -> None:
    rows, priors, y, v = limit_problem()
    posterior = fit_posterior(rows, priors, 8192)
    exact = fit_normal_posterior(
        y,
        v,
        rows.x_response,
        tau_scale=1.0,
        prior_mean=priors.mean,
        prior_precision=priors.precision,
    )
    away = np.abs(posterior.mean()[:2] - exact.mean()) / exact.sd()
    assert away.max() < LIMIT_SDS
    np.testing.assert_allclose(posterior.sd()[:2], exact.sd(), rtol=LIMIT_SDS)
    assert abs(posterior.mean()[2] - exact.tau_mean) / exact.tau_sd < LIMIT_SDS
    assert posterior.sd()[2] == pytest.approx(exact.tau_sd, rel=LIMIT_SDS)
    levels = np.array([0.025, 0.5, 0.975])
    np.testing.assert_allclose(
        posterior.quantile(levels)[:, 2], exact.tau_quantile(levels), rtol=LIMIT_SDS
    )


# Refusals


def change_rows(name: str, value: object) -> Any:
    return lambda rows, priors: (replace(rows, **{name: np.asarray(value)}), priors)


def change_priors(name: str, value: object) -> Any:
    return lambda rows, priors: (rows, replace(priors, **{name: np.asarray(value)}))


def poke(name: str, value: float) -> Any:
    def change(rows: Rows, priors: Priors) -> tuple[Rows, Priors]:
        array = np.array(getattr(rows, name))
        array.flat[0] = value
        return replace(rows, **{name: array}), priors

    return change


@pytest.mark.parametrize(
    "change",
    [
        poke("count", np.nan),
        poke("count", -1.0),
        poke("count", 1e6),
        poke("total", np.inf),
        poke("total", np.nan),
        poke("x_response", np.nan),
        poke("x_remission", np.inf),
        poke("slope", np.nan),
        poke("kind", 3),
        poke("family", 1),
        poke("family", 5),
        change_rows("count", [1.0]),
        change_rows("slope", np.zeros((2, 2))),
        change_rows("x_remission", np.zeros((20, 2))),
        change_rows("family", np.zeros(3, dtype=np.int64)),
        change_priors("mean", np.zeros(2)),
        change_priors("mean", [0.0, np.nan, 0.0]),
        change_priors("precision", np.zeros((3, 3))),
        change_priors("precision", -np.eye(3)),
        change_priors("precision", np.full((3, 3), np.nan)),
        change_priors("precision", np.eye(2)),
        change_priors("tau_scale", [1.0, -1.0, 0.5]),
        change_priors("tau_scale", [1.0, np.nan, 0.5]),
        change_priors("tau_scale", [1.0, 1.0]),
    ],
)
def test_bad_models_are_refused(change: Any) -> None:
    rows, priors = change(*problem())
    with pytest.raises(InputError):
        fit_posterior(rows, priors, FEW)


@pytest.mark.parametrize("n", [0, 1000, 3])
def test_bad_numbers_of_points_are_refused(n: int) -> None:
    rows, priors = problem()
    with pytest.raises(InputError, match="power of 2"):
        fit_posterior(rows, priors, n)


def test_posterior_of_no_rows_is_refused() -> None:
    rows, priors = problem()
    empty = Rows(**{name: getattr(rows, name)[:0] for name in Rows.__slots__})
    with pytest.raises(InputError):
        fit_posterior(empty, priors, FEW)


@given(st.integers(0, 2**16))
@settings(max_examples=8, deadline=None)
def test_any_counts_have_a_posterior(seed: int) -> None:
    rows, priors = problem(seed, families=4)
    rng = np.random.default_rng(seed)
    edge = rng.integers(0, 3, rows.count.size)
    count = np.where(edge == 0, 0.0, np.where(edge == 1, rows.total, rows.count))
    posterior: Posterior = fit_posterior(replace(rows, count=count), priors, FEW)
    assert np.isfinite(posterior.parameters).all()
    assert 0.05 <= posterior.effective_fraction <= 1.0
    assert np.all(posterior.sd() > 0)
