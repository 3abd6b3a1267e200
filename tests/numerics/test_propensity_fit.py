"""The posterior of the propensity from tables of early and final status."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, special, stats

from ketacast.errors import InputError
from ketacast.numerics.propensity_fit import (
    PropensityPosterior,
    PropensityPriors,
    fit_propensity,
    new_clinic_draws,
)
from ketacast.numerics.propensity_table import bivariate_normal_cdf, table_log_likelihood

#: Required of the bivariate normal.
BIVARIATE = 1e-10
#: NUTS: means within 0.10 posterior SD, SDs within 10 %, quantiles within 0.015.
MEAN_SDS, SD_RATIO, QUANTILE = 0.10, 0.10, 0.015
#: NUTS numbers are printed to two decimals.
PRINTED = 0.005
TABLES = [(22, 11, 16, 24), (16, 2, 1, 5), (8, 0, 0, 20)]
PRIORS = PropensityPriors(mu_mean=0.0, mu_sd=1.5, sd_scale=1.0, margin_sd=1.5)


def test_bivariate_normal_against_its_defining_integral() -> None:
    worst = 0.0
    places = (-5.0, -2.0, -0.5, -1e-8, 0.0, 0.3, 1.0, 2.5, 6.0)
    for r in (-0.9999, -0.9, -0.3, 0.0, 0.2, 0.76, 0.99, 0.9999):
        for h in places:
            for k in places:

                def slope(angle: float, h: float = h, k: float = k) -> float:
                    # Derivative of the probability in asin r.
                    exponent = (h * h + k * k - 2 * h * k * np.sin(angle)) / np.cos(angle) ** 2
                    return float(np.exp(-0.5 * exponent) / (2 * np.pi))

                area = integrate.quad(slope, 0.0, np.arcsin(r), epsabs=1e-13, limit=300)[0]
                expected = special.ndtr(h) * special.ndtr(k) + area
                worst = max(worst, abs(float(bivariate_normal_cdf(h, k, r)) - expected))
    assert worst < BIVARIATE
    assert float(bivariate_normal_cdf(0.0, 0.0, 0.5)) == pytest.approx(1 / 3, abs=1e-15)
    with pytest.raises(InputError, match="correlation"):
        bivariate_normal_cdf(0.0, 0.0, 1.0)


def test_table_likelihood_against_plain_integration() -> None:
    rule = np.linspace(-9.0, 9.0, 361)
    a, b = np.meshgrid(rule, rule)
    weight = stats.norm.pdf(a, 0, 1.5) * stats.norm.pdf(b, 0, 1.5) * (rule[1] - rule[0]) ** 2
    for table in TABLES:
        for w in (0.0, 0.4, 0.9):
            both = bivariate_normal_cdf(a, b, w)
            cells = [both, special.ndtr(a) - both, special.ndtr(b) - both]
            cells.append(bivariate_normal_cdf(-a, -b, w))
            height = np.exp(
                sum(special.xlogy(n, np.maximum(c, 0.0)) for n, c in zip(table, cells, strict=True))
            )
            plain = np.log((height * weight).sum())
            found = table_log_likelihood(table, np.array([w]))[0]
            assert found == pytest.approx(plain, abs=2e-7)


def test_exchanging_early_and_final_changes_nothing() -> None:
    w = np.array([0.1, 0.8])
    one, other = (table_log_likelihood(t, w) for t in ((16, 2, 1, 5), (16, 1, 2, 5)))
    mirrored = table_log_likelihood((5, 2, 1, 16), w)
    np.testing.assert_allclose(one, other, atol=2e-7)
    np.testing.assert_allclose(one, mirrored, atol=2e-7)


@pytest.mark.parametrize("table", [(1, 2, 3), (0, 0, 0, 0), (1.5, 1, 1, 1), (-1, 1, 1, 1)])
def test_unusable_tables_are_refused(table: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="table"):
        table_log_likelihood(table, np.array([0.5]))
    with pytest.raises(InputError, match="table"):
        fit_propensity([table], PRIORS)


@pytest.fixture(scope="module")
def posterior() -> PropensityPosterior:
    return fit_propensity(TABLES, PRIORS)


def test_posterior_agrees_with_nuts(posterior: PropensityPosterior) -> None:
    nuts = [(1.15, 0.90), (1.58, 0.61), (0.44, 0.16), (0.80, 0.14), (0.94, 0.07)]
    means = [posterior.mu_mean, posterior.sd_mean, *posterior.w_mean]
    sds = [posterior.mu_sd, posterior.sd_sd, *posterior.w_sd]
    for (mean, sd), found_mean, found_sd in zip(nuts, means, sds, strict=True):
        assert abs(found_mean - mean) < MEAN_SDS * sd
        assert abs(found_sd - sd) < SD_RATIO * sd + PRINTED
    found = posterior.new_quantile(np.array([0.1, 0.5, 0.9]))
    np.testing.assert_allclose(found, [0.23, 0.76, 0.97], atol=QUANTILE)


def test_posterior_agrees_with_importance_sampling(posterior: PropensityPosterior) -> None:
    rng = np.random.default_rng(11)
    n = 200_000
    mu, sd = rng.normal(0, 1.5, n), np.abs(rng.normal(0, 1.0, n))
    grid = np.linspace(-12.0, 13.5, 200)
    weight, ws = np.ones(n), []
    for table in TABLES:
        t = mu + sd * rng.normal(size=n)
        height = table_log_likelihood(table, special.expit(grid))
        weight = weight * np.exp(np.interp(t, grid, height - height.max()))
        ws.append(special.expit(t))
    weight /= weight.sum()
    for found, values in zip(
        [posterior.mu_mean, posterior.sd_mean, *posterior.w_mean], [mu, sd, *ws], strict=True
    ):
        mean = weight @ values
        error = np.sqrt((weight**2) @ (values - mean) ** 2)
        assert abs(found - mean) < 4 * error


def test_quantiles_invert_the_mixture(posterior: PropensityPosterior) -> None:
    at = np.array([1e-4, 0.025, 0.1, 0.5, 0.9, 0.975, 0.9999])
    logit = special.logit(posterior.new_quantile(at))
    below = special.ndtr((logit[:, None] - posterior.mu) / posterior.sd) @ posterior.weight
    np.testing.assert_allclose(below, at, atol=1e-4)
    with pytest.raises(InputError, match="probabilities"):
        posterior.new_quantile(np.array([0.0]))


def test_draws_are_even_and_unrelated(posterior: PropensityPosterior) -> None:
    n = 1024
    beside = np.random.default_rng(2).normal(size=(n, 14)) @ np.triu(np.ones((14, 14)))
    beside = beside[np.argsort(beside[:, 3])]  # sorted draws are the hard case
    w = new_clinic_draws(posterior, beside)
    np.testing.assert_array_equal(w, new_clinic_draws(posterior, beside))
    even = posterior.new_quantile((np.arange(n) + 0.5) / n)
    np.testing.assert_array_equal(np.sort(w), even)
    for column in beside.T:
        assert abs(stats.spearmanr(w, column).statistic) < 0.02


def test_prior_alone_without_information() -> None:
    one = fit_propensity([(1, 0, 0, 0)], PRIORS)
    # One patient says next to nothing about w: the half-normal's mean is sqrt(2 / pi).
    assert one.sd_mean == pytest.approx(np.sqrt(2 / np.pi), abs=0.01)
    assert one.mu_sd == pytest.approx(1.5, abs=0.02)


def test_unusable_priors_are_refused() -> None:
    with pytest.raises(InputError, match="sd_scale"):
        fit_propensity(TABLES, PropensityPriors(0.0, 1.5, 0.0, 1.5))
    with pytest.raises(InputError, match="tables is empty"):
        fit_propensity([], PRIORS)
