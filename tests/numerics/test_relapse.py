"""Loss of response: the grid posterior against NUTS and brute force, draws, survival, ratios."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate

from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics import relapse
from ketacast.numerics.hierarchical.posterior import even_points
from ketacast.numerics.relapse import (
    RelapsePosterior,
    RelapsePrior,
    RelapseRows,
    fit_relapse,
    relapse_rows,
    trapezoid_weights,
)
from ketacast.numerics.relapse_draws import (
    closest_relapse_draws,
    equal_relapse_draws,
    lost_quantiles,
)
from ketacast.numerics.relapse_survival import (
    hazard_ratio,
    hazard_ratio_draws,
    kept_share,
    mean_time_kept,
)

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "nuts" / "relapse.json"
SCENARIOS = ("base", "added")
Array = NDArray[np.float64]

#: Distance of a mean from NUTS in posterior SDs: the chains' own error is at most 0.007.
MEAN_SDS = 0.03
#: Relative distance of an SD: the chains' error is at most 0.005.
SD_RATIO = 0.02
#: Quantiles of P(lost by t): the chains' error is at most 0.0042, three of them.
NUTS_QUANTILE = 0.012
#: Correlations: the chains' effective sample sizes leave 0.006.
CORRELATION = 0.02
#: What 4,096 draws may be off, in probability; required of the model.
DRAWS_QUANTILE = 0.010
#: Moments of the draws: linear densities between nodes widen an SD by about 0.005.
DRAWS_MEAN_SDS = 0.005
DRAWS_SD_RATIO = 0.015
#: Midpoints of s, 0.025 wide, leave 3e-5.
BRUTE = 1e-4
#: Closed forms and quadrature of smooth functions.
EXACT = 1e-9

PRIOR = RelapsePrior(log_scale_mean=float(np.log(45.0)), log_scale_sd=1.0, spread=1.0)
ALL_DAYS = np.arange(1.0, 183.0)
LEVELS = np.array([0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975])


@cache
def stored() -> Any:
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


@cache
def rows_of(scenario: str) -> RelapseRows:
    rows = stored()["scenarios"][scenario]["rows"]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return relapse_rows(
        columns["family"], columns["start"], columns["end"], columns["n"], columns["lost"]
    )


@cache
def fitted(scenario: str) -> RelapsePosterior:
    return fit_relapse(rows_of(scenario), PRIOR)


def test_the_reference_is_the_model_of_the_product() -> None:
    settings = stored()["settings"]
    assert settings["prior"] == {
        "m": [PRIOR.log_scale_mean, PRIOR.log_scale_sd],
        "s": PRIOR.spread,
        "log_k": [PRIOR.log_shape_mean, PRIOR.log_shape_sd],
    }
    assert set(stored()["scenarios"]) == set(SCENARIOS)
    assert [len(stored()["scenarios"][name]["rows"]) for name in SCENARIOS] == [4, 8]
    for scenario in stored()["scenarios"].values():
        assert len(scenario["predictions"]) == 7
        assert scenario["divergences"] == 0
        assert max(one["r_hat"] for one in scenario["parameters"].values()) < 1.001


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_means_and_sds_agree_with_nuts(scenario: str) -> None:
    posterior = fitted(scenario)
    for i, name in enumerate(("m", "s", "log_k")):
        known = stored()["scenarios"][scenario]["parameters"][name]
        assert posterior.mean[i] == pytest.approx(known["mean"], abs=MEAN_SDS * known["sd"])
        assert posterior.sd[i] == pytest.approx(known["sd"], rel=SD_RATIO)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("who", ["average_clinic", "new_clinic"])
def test_predictive_quantiles_agree_with_nuts(scenario: str, who: str) -> None:
    content = stored()
    cells = content["scenarios"][scenario]["predictions"]
    known = np.array([cell[who]["quantiles"] for cell in cells])
    found = lost_quantiles(
        fitted(scenario),
        [cell["days"] for cell in cells],
        content["settings"]["levels"],
        new_clinic=who == "new_clinic",
    )
    np.testing.assert_allclose(found, known, atol=NUTS_QUANTILE, rtol=0.0)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_correlations_of_the_grid_agree_with_nuts(scenario: str) -> None:
    posterior = fitted(scenario)
    axes = (posterior.m, posterior.s, posterior.log_k)
    weights = np.einsum(
        "abc,a,b,c->abc", posterior.density, *(trapezoid_weights(axis) for axis in axes)
    ).ravel()
    points = np.stack([grid.ravel() for grid in np.meshgrid(*axes, indexing="ij")])
    found = np.cov(points, aweights=weights)
    sd = np.sqrt(np.diag(found))
    known = np.array(stored()["scenarios"][scenario]["correlation"])
    np.testing.assert_allclose(found / np.outer(sd, sd), known, atol=CORRELATION)


def test_marginal_likelihood_agrees_with_brute_force() -> None:
    # One family: m + s z is one number, N(log 45, 1 + s^2) given s; no shared node or code.
    total = np.linspace(-30.0, 38.0, 3401)[:, None, None]
    s = (np.arange(300) + 0.5)[None, :, None] * 0.025
    log_k = np.linspace(-3.0, 3.0, 31)[None, None, :]
    sd = np.hypot(1.0, s)
    given_s = np.exp(-0.5 * ((total - PRIOR.log_scale_mean) / sd) ** 2) / sd
    over_s = (given_s * 2.0 * np.exp(-0.5 * s**2)).sum(axis=1)[:, None, :] * 0.025
    hazard = np.exp(np.minimum(np.exp(log_k) * (np.log(28.0) - total), 500.0))
    like = (-np.expm1(-hazard)) ** 6 * np.exp(-5.0 * hazard) * np.exp(-0.5 * (log_k / 0.5) ** 2)
    direct = (like * over_s).sum() * 0.02 * 0.2 / (0.5 * (2.0 * np.pi) ** 1.5)
    found = fit_relapse(relapse_rows(["a"], [0.0], [28.0], [11], [6]), PRIOR)
    assert found.log_marginal == pytest.approx(np.log(direct), abs=BRUTE)


def test_two_grids_agree_and_the_density_is_normalised() -> None:
    posterior = fitted("base")
    assert posterior.change < relapse.STABLE
    axes = (posterior.m, posterior.s, posterior.log_k)
    total = np.einsum("abc,a,b,c->", posterior.density, *(trapezoid_weights(a) for a in axes))
    assert total == pytest.approx(1.0, rel=EXACT)
    assert not posterior.density.flags.writeable


def test_order_and_names_of_families_do_not_matter() -> None:
    base = fitted("base")
    turned = relapse_rows(
        ["z", "y", "x", "w"], [0.0] * 4, [70.0, 14.0, 28.0, 18.0], [8, 5, 11, 17], [4, 4, 6, 9]
    )
    other = fit_relapse(turned, PRIOR)
    np.testing.assert_allclose(other.mean, base.mean, rtol=EXACT)
    assert other.log_marginal == pytest.approx(base.log_marginal, rel=EXACT)


def test_a_later_interval_without_losses_lengthens_the_scale() -> None:
    once = fit_relapse(relapse_rows(["a"], [0.0], [10.0], [5], [4]), PRIOR)
    followed = fit_relapse(
        relapse_rows(["a", "a"], [0.0, 10.0], [10.0, 60.0], [5, 1], [4, 0]), PRIOR
    )
    assert followed.log_marginal < once.log_marginal
    assert followed.mean[0] > once.mean[0]


def test_much_data_finds_the_truth() -> None:
    scale, shape = 40.0, 0.8
    days = np.array([5.0, 15.0, 40.0, 90.0] * 3)
    share = -np.expm1(-((days / scale) ** shape))
    n = np.full(days.size, 60.0)
    rows = relapse_rows([f"f{i}" for i in range(12)], 0.0 * days, days, n, np.round(n * share))
    posterior = fit_relapse(rows, PRIOR)
    # Counts are rounded: within a tenth on the log scale, and no spread between families.
    assert posterior.mean[0] == pytest.approx(np.log(scale), abs=0.1)
    assert posterior.mean[2] == pytest.approx(np.log(shape), abs=0.1)
    assert posterior.mean[1] < 0.2


def test_more_losses_shorten_the_scale() -> None:
    few = fit_relapse(relapse_rows(["a"], [0.0], [28.0], [10], [2]), PRIOR)
    many = fit_relapse(relapse_rows(["a"], [0.0], [28.0], [10], [8]), PRIOR)
    assert many.mean[0] < few.mean[0]


def test_a_grid_that_cannot_settle_is_refused() -> None:
    rows = relapse_rows(["a"], [0.0], [28.0], [1e9], [5e8])
    with pytest.raises(ConvergenceError, match="still moves"):
        fit_relapse(rows, PRIOR)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"family": ["a", "b"]}, "2 families for 1 rows"),
        ({"start": [-1.0]}, r"start\[0\] is -1"),
        ({"start": [28.0]}, r"end\[0\] is 28"),
        ({"at_risk": [0.0]}, r"at_risk\[0\] is 0"),
        ({"at_risk": [10.5]}, r"at_risk\[0\] is 10.5"),
        ({"lost": [11.0]}, r"lost\[0\] is 11"),
        ({"lost": [float("nan")]}, r"lost\[0\] is nan"),
    ],
)
def test_unusable_rows_are_refused(change: dict[str, Any], match: str) -> None:
    given_rows: dict[str, Any] = {
        "family": ["a"],
        "start": [0.0],
        "end": [28.0],
        "at_risk": [10.0],
        "lost": [4.0],
    }
    with pytest.raises(InputError, match=match):
        relapse_rows(**{**given_rows, **change})


def test_an_unusable_prior_is_refused() -> None:
    with pytest.raises(InputError, match="spread is 0"):
        fit_relapse(rows_of("base"), RelapsePrior(3.0, 1.0, 0.0))
    with pytest.raises(InputError, match="log_scale_mean"):
        fit_relapse(rows_of("base"), RelapsePrior(float("nan"), 1.0, 1.0))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_4096_draws_keep_every_predictive_quantile(scenario: str) -> None:
    posterior = fitted(scenario)
    draws, distance = closest_relapse_draws(posterior, 4096)
    assert distance <= DRAWS_QUANTILE
    for new, log_scale in ((True, draws.log_scale), (False, draws.m)):
        exact = lost_quantiles(posterior, ALL_DAYS, LEVELS, new_clinic=new)
        found = np.quantile(1.0 - kept_share(ALL_DAYS, log_scale, draws.k), LEVELS, axis=0).T
        assert np.abs(found - exact).max() <= DRAWS_QUANTILE


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_draws_preserve_the_joint_posterior(scenario: str) -> None:
    posterior = fitted(scenario)
    draws = equal_relapse_draws(posterior, 4096)
    drawn = np.stack([draws.m, draws.s, np.log(draws.k)])
    assert np.abs((drawn.mean(axis=1) - posterior.mean) / posterior.sd).max() < DRAWS_MEAN_SDS
    assert np.abs(drawn.std(axis=1) / posterior.sd - 1.0).max() < DRAWS_SD_RATIO
    known = np.array(stored()["scenarios"][scenario]["correlation"])
    np.testing.assert_allclose(np.corrcoef(drawn), known, atol=CORRELATION)
    scores = (draws.log_scale - draws.m) / draws.s
    assert abs(scores.mean()) < DRAWS_MEAN_SDS
    assert scores.std() == pytest.approx(1.0, abs=DRAWS_SD_RATIO)
    assert np.abs(np.corrcoef([*drawn, scores])[3, :3]).max() < CORRELATION


def test_draws_are_the_same_every_time_and_read_only() -> None:
    first, second = (equal_relapse_draws(fitted("base"), 256, 3) for _ in range(2))
    np.testing.assert_array_equal(first.log_scale, second.log_scale)
    assert not first.m.flags.writeable
    assert not np.array_equal(first.m, equal_relapse_draws(fitted("base"), 256, 4).m)
    with pytest.raises(InputError, match="power of 2"):
        equal_relapse_draws(fitted("base"), 1000)


def test_quantiles_rise_with_days_and_levels() -> None:
    for new in (False, True):
        table = lost_quantiles(fitted("base"), ALL_DAYS[::10], LEVELS, new_clinic=new)
        assert (np.diff(table, axis=0) > 0).all()
        assert (np.diff(table, axis=1) > 0).all()
    with pytest.raises(InputError, match="days"):
        lost_quantiles(fitted("base"), [0.0], LEVELS, new_clinic=True)
    with pytest.raises(InputError, match="levels"):
        lost_quantiles(fitted("base"), [1.0], [1.0], new_clinic=True)


@given(
    scale=st.floats(-3.0, 12.0),
    k=st.floats(0.05, 8.0),
    ratio=st.floats(-3.0, 3.0),
    horizon=st.floats(0.1, 700.0),
)
def test_mean_time_is_the_area_under_the_curve(
    scale: float, k: float, ratio: float, horizon: float
) -> None:
    found = float(mean_time_kept(horizon, [scale], [k], [ratio])[0])
    # Steps of log time hold both the steep start and the tail.
    area, _ = integrate.quad(
        lambda u: kept_share([np.exp(u)], [scale], [k], [ratio])[0, 0] * np.exp(u),
        -80.0,
        np.log(horizon),
        limit=400,
        epsabs=1e-10,
        epsrel=1e-10,
        points=[np.clip(scale - ratio / k, -79.0, np.log(horizon) - 1e-6)],
    )
    assert found == pytest.approx(area, rel=1e-7, abs=1e-9)  # what quad promises
    assert 0.0 < found <= horizon


def test_share_kept_starts_at_one_and_falls() -> None:
    share = kept_share([0.0, 7.0, 70.0, 1e9], [3.0, 4.0], [0.5, 3.0])
    np.testing.assert_array_equal(share[:, 0], 1.0)
    assert (np.diff(share, axis=1) < 0).all()
    np.testing.assert_allclose(share[0, 1], np.exp(-np.sqrt(7.0 / np.exp(3.0))), rtol=EXACT)
    treated = kept_share([7.0], [3.0], [0.5], np.log(0.5))
    np.testing.assert_allclose(treated[0, 0], np.sqrt(share[0, 1]), rtol=EXACT)


def test_unusable_survival_input_is_refused() -> None:
    with pytest.raises(InputError, match="days"):
        kept_share([-1.0], [3.0], [1.0])
    with pytest.raises(InputError, match="k"):
        kept_share([1.0], [3.0], [0.0])
    with pytest.raises(InputError, match="one value for each draw"):
        kept_share([1.0], [3.0, 3.0], [1.0, 1.0, 1.0])
    with pytest.raises(InputError, match="horizon"):
        mean_time_kept(0.0, [3.0], [1.0])


#: The trial prints 0.49 (0.29-0.84) for remitters and 0.30 (0.16-0.55) for responders, from
#: times and a weighted analysis; counts alone must come this close on the log scale.
PUBLISHED = {
    "remitters": ((24, 39), (90, 86), (0.49, 0.29, 0.84)),
    "responders": ((16, 34), (62, 59), (0.30, 0.16, 0.55)),
}
LOG_RATIO = 0.20


@pytest.mark.parametrize("stratum", PUBLISHED)
def test_hazard_ratio_from_counts_is_near_the_published_one(stratum: str) -> None:
    lost, at_risk, printed = PUBLISHED[stratum]
    found = hazard_ratio(lost, at_risk)
    limits = found.log_ratio + found.se * np.array([0.0, -1.959964, 1.959964])
    np.testing.assert_allclose(limits, np.log(printed), atol=LOG_RATIO)


@pytest.mark.parametrize("stratum", PUBLISHED)
def test_hazard_ratio_draws_agree_with_their_normal_approximation(stratum: str) -> None:
    lost, at_risk, _ = PUBLISHED[stratum]
    draws = hazard_ratio_draws(lost, at_risk, even_points(4096, 2))
    found = hazard_ratio(lost, at_risk)
    # Jeffreys priors pull each proportion by half a patient: well below a tenth of an SE.
    assert draws.mean() == pytest.approx(found.log_ratio, abs=0.1 * found.se)
    assert draws.std() == pytest.approx(found.se, rel=0.05)
    swapped = hazard_ratio_draws(lost[::-1], at_risk[::-1], even_points(4096, 2)[:, ::-1])
    np.testing.assert_allclose(swapped, -draws, rtol=EXACT)


def test_unusable_counts_are_refused() -> None:
    with pytest.raises(InputError, match="losses and survivors"):
        hazard_ratio((0, 5), (10, 10))
    with pytest.raises(InputError, match="whole, from 0"):
        hazard_ratio_draws((11, 5), (10, 10), even_points(4, 2))
    with pytest.raises(InputError, match="two columns"):
        hazard_ratio_draws((1, 5), (10, 10), even_points(4, 3))
    with pytest.raises(InputError, match="treated, control"):
        hazard_ratio((1, 2, 3), (10, 10, 10))  # type: ignore[arg-type]
    assert np.isfinite(hazard_ratio_draws((0, 10), (10, 10), even_points(64, 2))).all()
