"""Normal-normal posterior against bayesmeta 3.4 (files in ``tests/reference``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, special

from ketacast.errors import InputError
from ketacast.numerics.hierarchical.normal import NormalPosterior, fit_normal_posterior

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
Array = NDArray[np.float64]

#: The reference's tau moments were re-derived to 2e-9 by a second quadrature.
TAU_ATOL = 1e-8
#: Root searches of the reference stop at about 1e-6 of the scale.
TAU_QUANTILE_ATOL = 1e-5
#: The reference approximates the coefficients' mixture on a grid (`grid_delta` 0.002).
GRID_ATOL = 1e-3
#: The reference's tail quantiles (0.5 %, 99.5 %) of that grid are a little further off.
GRID_RTOL = 1e-3
#: Half-normal scale of every reference case.
TAU_SCALE = 0.5


def load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((REFERENCE / name).read_text(encoding="utf-8"))
    return document


def cases() -> list[tuple[str, str]]:
    found = [(path.name, "") for path in sorted(REFERENCE.glob("bmr_*.json"))]
    for path in sorted(REFERENCE.glob("bayesmeta_*.json")):
        found += [(path.name, block) for block in load(path.name)["expected"]]
    return found


def fit(name: str, block: str) -> tuple[NormalPosterior, dict[str, Any]]:
    document = load(name)
    data, expected = document["data"], document["expected"]
    y = np.array(data["yi"], dtype=float)
    design = np.array(data.get("design_matrix", np.ones((y.size, 1))), dtype=float)
    precision = np.array([[1.0 / 16.0]]) if "N(0,4)" in block else None
    posterior = fit_normal_posterior(
        y, data["vi"], design, tau_scale=TAU_SCALE, prior_precision=precision
    )
    return posterior, expected[block] if block else expected


def close(found: object, wanted: object, atol: float = GRID_ATOL, rtol: float = GRID_RTOL) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=rtol, atol=atol)


#: What the references hold besides, and why it is not compared.
NOT_COMPARED = {
    "grid_delta": "accuracy of the reference's own grid",
    "quantile_p": "input",
    "cov_mu_tau_MAP": "joint modes, which depend on the scale of tau and are not offered",
    "beta_posterior_cov": "empty in the reference",
}
COMPARED = {"tau", "mu", "theta_new", "beta", "prediction", "shrinkage"}
COMPARED_WHERE_GIVEN = {"log_marginal_likelihood", "post_density_tau"}


def test_every_reference_block_is_tested() -> None:
    assert len(cases()) == 8
    assert sum(1 for _, block in cases() if block) == 6
    for name, block in cases():
        content = load(name)["expected"]
        keys = set(content[block] if block else content)
        assert keys <= COMPARED | COMPARED_WHERE_GIVEN | set(NOT_COMPARED)


@pytest.mark.parametrize(("name", "block"), cases())
def test_mode_and_central_interval_of_tau(name: str, block: str) -> None:
    posterior, expected = fit(name, block)
    tau = expected["tau"]
    around = tau["mode"] + np.array([-1e-3, 0.0, 1e-3])
    density = posterior.tau_density(np.maximum(around, 0.0))
    assert density.argmax() == 1 or (tau["mode"] == 0.0 and density[1] >= density[2])
    if "ci95" in tau:
        close(posterior.tau_quantile([0.025, 0.975]), tau["ci95"], TAU_QUANTILE_ATOL, 0.0)


@pytest.mark.parametrize(("name", "block"), cases())
def test_tau(name: str, block: str) -> None:
    posterior, expected = fit(name, block)
    tau, p = expected["tau"], expected["quantile_p"]
    assert abs(posterior.tau_mean - tau["mean"]) < TAU_ATOL
    assert abs(posterior.tau_sd - tau["sd"]) < TAU_ATOL
    close(posterior.tau_quantile(p), tau["quantiles"], TAU_QUANTILE_ATOL, 0.0)
    close(posterior.tau_quantile(0.5), tau["median"], TAU_QUANTILE_ATOL, 0.0)
    close(posterior.tau_cdf(posterior.tau_quantile(p)), p, 1e-10, 0.0)
    if "post_density_tau" in expected:
        density = expected["post_density_tau"]
        close(posterior.tau_density(density["at"]), density["dens"], 1e-12, 1e-5)


@pytest.mark.parametrize(("name", "block"), [c for c in cases() if not c[1]])
def test_meta_regression(name: str, block: str) -> None:
    posterior, expected = fit(name, block)
    p = expected["quantile_p"]
    beta = list(expected["beta"].values())
    close(posterior.mean(), [b["mean"] for b in beta])
    close(posterior.sd(), [b["sd"] for b in beta])
    close(posterior.quantile(p).T, [b["quantiles"] for b in beta])
    at = [one["x"] for one in expected["prediction"]]
    close(posterior.mean_quantile(at, p), [one["mean_quantiles"] for one in expected["prediction"]])
    close(
        posterior.new_study_quantile(at, p),
        [one["new_study_quantiles"] for one in expected["prediction"]],
    )
    mean, sd = posterior.shrinkage()
    close(mean, expected["shrinkage"]["mean"])
    close(sd, expected["shrinkage"]["sd"])
    assert posterior.log_marginal is None


@pytest.mark.parametrize(("name", "block"), [c for c in cases() if c[1]])
def test_random_effects(name: str, block: str) -> None:
    posterior, expected = fit(name, block)
    p, one = expected["quantile_p"], np.ones((1, 1))
    for key, new_study in (("mu", False), ("theta_new", True)):
        mean, sd = posterior.prediction_moments(one, new_study=new_study)
        close(mean[0], expected[key]["mean"])
        close(sd[0], expected[key]["sd"])
    close(posterior.mean_quantile(one, p)[0], expected["mu"]["quantiles"])
    close(posterior.new_study_quantile(one, p)[0], expected["theta_new"]["quantiles"])
    mean, sd = posterior.shrinkage()
    close(mean, expected["shrinkage"]["mean"])
    close(sd, expected["shrinkage"]["sd"])
    bounds = posterior.shrinkage_quantile([0.025, 0.975])
    close(bounds[:, 0], expected["shrinkage"]["lower95"])
    close(bounds[:, 1], expected["shrinkage"]["upper95"])
    if expected["log_marginal_likelihood"] is None:
        assert posterior.log_marginal is None
    else:
        assert posterior.log_marginal == pytest.approx(
            expected["log_marginal_likelihood"], abs=1e-6
        )


def test_moments_agree_with_another_quadrature() -> None:
    posterior, _ = fit("bayesmeta_bcg.json", "mu prior flat")

    def moment(power: int) -> float:
        value, _ = integrate.quad(
            lambda t: t**power * float(posterior.tau_density(t)),
            0.0,
            4.0,
            epsabs=1e-13,
            epsrel=1e-13,
            limit=500,
            points=[0.3, 0.6, 1.0],
        )
        return float(value)

    assert moment(0) == pytest.approx(1.0, abs=1e-11)
    assert moment(1) == pytest.approx(posterior.tau_mean, abs=1e-11)
    assert np.sqrt(moment(2) - moment(1) ** 2) == pytest.approx(posterior.tau_sd, abs=1e-10)


def test_saturated_and_single_studies_have_a_posterior() -> None:
    # With k = p and a flat prior, the data say nothing about tau: prior = posterior.
    posterior = fit_normal_posterior([1.0, 2.0], [0.1, 0.2], np.eye(2), tau_scale=0.5)
    assert posterior.tau_mean == pytest.approx(0.5 * np.sqrt(2.0 / np.pi), abs=1e-10)
    assert posterior.tau_sd == pytest.approx(0.5 * np.sqrt(1.0 - 2.0 / np.pi), abs=1e-10)
    single = fit_normal_posterior(
        [1.0], [0.1], [[1.0]], tau_scale=0.5, prior_mean=[0.0], prior_precision=[[1.0]]
    )
    assert 0.0 < single.mean()[0] < 1.0
    assert single.log_marginal is not None


@pytest.mark.parametrize("ratio", [1e-100, 1e-10, 1e-4, 1.0, 1e6, 1e100])
def test_scale_of_the_estimates_does_not_matter(ratio: float) -> None:
    document = load("bayesmeta_bcg.json")["data"]
    y, v = np.array(document["yi"]), np.array(document["vi"])
    plain = fit_normal_posterior(y, v, np.ones((13, 1)), tau_scale=0.5)
    scaled = fit_normal_posterior(y * ratio, v * ratio**2, np.ones((13, 1)), tau_scale=0.5 * ratio)
    assert scaled.tau_mean / ratio == pytest.approx(plain.tau_mean, rel=1e-10)
    close(scaled.quantile([0.1, 0.9]) / ratio, plain.quantile([0.1, 0.9]), 0.0, 1e-9)


#: Mean and SD of tau by numerical integration in arithmetic of 20 and more digits.
EXACT: dict[str, tuple[list[float], list[float], float, float]] = {
    "variance ratio 1e10": (
        [0.1, -0.2, 0.4, 0.0, 0.3, -0.1],
        [1e-8, 0.01, 0.1, 1.0, 10.0, 100.0],
        0.3070510115888517,
        0.1937144891514169,
    ),
    "equal but for rounding": (
        [0.1, 0.1001, 0.0999],
        [1e-9, 1.0, 10.0],
        0.345955210794569,
        0.26835536342177924,
    ),
    "no heterogeneity": (
        [0.3] * 5,
        [0.01, 0.02, 0.03, 0.04, 0.05],
        0.09328156483561088,
        0.09089080040887747,
    ),
    "tiny variances, no heterogeneity": (
        [0.3] * 5,
        [1e-8] * 5,
        6.366195667326299e-05,
        7.709711106193883e-05,
    ),
    "two studies": ([0.0, 1.0], [0.1, 0.2], 0.4365676408184109, 0.2906400882691062),
}


@pytest.mark.parametrize("case", EXACT)
def test_awkward_data_against_exact_arithmetic(case: str) -> None:
    y, v, mean, sd = EXACT[case]
    posterior = fit_normal_posterior(y, v, np.ones((len(y), 1)), tau_scale=0.5)
    assert posterior.tau_mean == pytest.approx(mean, rel=1e-11)
    assert posterior.tau_sd == pytest.approx(sd, rel=1e-11)


def test_offsets_and_units_do_not_matter() -> None:
    data = load("bmr_bcg_ablat.json")["data"]
    y, v, X = (np.array(data[name], dtype=float) for name in ("yi", "vi", "design_matrix"))
    plain = fit_normal_posterior(y, v, X, tau_scale=0.5)
    shifted = fit_normal_posterior(y + 1e6, v, X, tau_scale=0.5)
    # The offset itself rounds the estimates at 1e-10.
    assert shifted.tau_mean == pytest.approx(plain.tau_mean, rel=1e-9)
    close(shifted.sd(), plain.sd(), 0.0, 1e-9)
    close(shifted.mean() - [1e6, 0.0], plain.mean(), 1e-8, 0.0)
    far = fit_normal_posterior(y, v, X * [1.0, 1e-6] + [0.0, 1.0], tau_scale=0.5)
    # Covariates of 1 give or take 1e-5 are known to eleven digits of their spread.
    assert far.tau_mean == pytest.approx(plain.tau_mean, rel=1e-9)
    close(far.mean()[1] * 1e-6, plain.mean()[1], 0.0, 1e-8)
    close(far.sd()[1] * 1e-6, plain.sd()[1], 0.0, 1e-8)
    prior = np.diag([1.0, 100.0])
    with_prior = fit_normal_posterior(y, v, X, tau_scale=0.5, prior_precision=prior)
    scaled = fit_normal_posterior(
        y, v, X * [1.0, 1e6], tau_scale=0.5, prior_precision=prior * [1.0, 1e12]
    )
    close(scaled.mean() * [1.0, 1e6], with_prior.mean(), 0.0, 1e-10)
    assert with_prior.log_marginal is not None
    assert scaled.log_marginal == pytest.approx(with_prior.log_marginal, abs=1e-9)


def test_fewer_studies_than_coefficients_with_a_proper_prior() -> None:
    posterior = fit_normal_posterior(
        [1.0], [0.1], [[1.0, 2.0]], tau_scale=0.5, prior_precision=np.eye(2)
    )
    # The prior is alike in both directions, so the mean lies along the covariates.
    assert posterior.mean()[1] == pytest.approx(2.0 * posterior.mean()[0], rel=1e-12)
    assert posterior.sd()[1] < posterior.sd()[0] < 1.0


@pytest.mark.parametrize(("y", "v"), [([0.0, 1e160], [1.0, 1.0]), ([0.0, 1.0], [1e-320, 1.0])])
def test_values_that_overflow_are_refused(y: list[float], v: list[float]) -> None:
    with pytest.raises(InputError, match="change units"):
        fit_normal_posterior(y, v, [[1.0], [1.0]], tau_scale=1.0)


def test_quantiles_far_in_the_tails() -> None:
    posterior, _ = fit("bayesmeta_bcg.json", "mu prior flat")
    p = [1e-30, 1e-12, 1e-3, 0.5, 1.0 - 1e-3, 1.0 - 1e-12]
    found = posterior.mean_quantile([[1.0]], p)[0]
    assert np.all(np.diff(found) > 0.0)
    z = (found[:, None] - posterior.mean_given_tau[:, 0]) / np.sqrt(
        posterior.covariance_given_tau[:, 0, 0]
    )
    np.testing.assert_allclose((special.ndtr(z) @ posterior.weight)[:4], p[:4], rtol=1e-7)
    # 1 - 1e-12 itself is rounded at 1e-16.
    upper = (special.ndtr(-z) @ posterior.weight)[4:]
    np.testing.assert_allclose(upper, [1e-3, 1e-12], rtol=1e-3)
    tails = posterior.tau_quantile([1e-9, 1.0 - 1e-9])
    np.testing.assert_allclose(posterior.tau_cdf(tails), [1e-9, 1.0 - 1e-9], atol=1e-13)


def test_heterogeneity_far_beyond_the_prior_is_found() -> None:
    y = np.array([-900.0, 100.0, 800.0, -300.0, 500.0])
    posterior = fit_normal_posterior(y, np.full(5, 0.01), np.ones((5, 1)), tau_scale=0.5)
    # log density: -4 log tau - S / (2 tau^2) - 2 tau^2 is stationary near (S / 4)^(1/4).
    spread = float(((y - y.mean()) ** 2).sum())
    assert posterior.tau_mean == pytest.approx((spread / 4.0) ** 0.25, rel=0.05)
    close(posterior.mean(), [y.mean()], 1e-3, 0.0)


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(1e-4, 10.0)), min_size=2, max_size=8),
    st.randoms(use_true_random=False),
)
@settings(max_examples=25, deadline=None)
def test_invariants(studies: list[tuple[float, float]], shuffle: Any) -> None:
    mixed = list(studies)
    shuffle.shuffle(mixed)
    first, second = (
        fit_normal_posterior(
            [y for y, _ in one], [v for _, v in one], np.ones((len(one), 1)), tau_scale=0.7
        )
        for one in (studies, mixed)
    )
    assert first.weight.sum() == pytest.approx(1.0, abs=1e-12)
    assert first.tau_mean == pytest.approx(second.tau_mean, abs=1e-9)
    p = [0.025, 0.1, 0.5, 0.9, 0.975]
    inner, outer = first.mean_quantile([[1.0]], p)[0], first.new_study_quantile([[1.0]], p)[0]
    assert np.all(np.diff(inner) > 0)
    assert outer[0] < inner[0]
    assert inner[-1] < outer[-1]
    close(inner, second.mean_quantile([[1.0]], p)[0], 1e-8, 0.0)


BAD: list[dict[str, Any]] = [
    {"y": [1.0, np.nan]},
    {"y": [True, 2.0]},
    {"y": ["1", "2"]},
    {"y": [1.0]},
    {"v": [1.0, 0.0]},
    {"v": [1.0, -1.0]},
    {"v": [1.0, np.inf]},
    {"X": [[1.0, 1.0], [1.0, 1.0]]},
    {"X": [[0.0], [0.0]]},
    {"X": [1.0, 1.0]},
    {"tau_scale": 0.0},
    {"tau_scale": np.nan},
    {"tau_scale": True},
    {"prior_mean": [0.0, 0.0]},
    {"prior_precision": [[-1.0]]},
    {"prior_precision": [[1.0, 0.0]]},
    {"prior_precision": [[np.nan]]},
]


@pytest.mark.parametrize("change", BAD)
def test_bad_input_is_refused(change: dict[str, Any]) -> None:
    good: dict[str, Any] = {"y": [1.0, 2.0], "v": [1.0, 1.0], "X": [[1.0], [1.0]], "tau_scale": 1.0}
    with pytest.raises(InputError):
        fit_normal_posterior(**{**good, **change})


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, np.nan, [[0.5]]])
def test_bad_probabilities_are_refused(p: object) -> None:
    posterior = fit_normal_posterior([1.0, 2.0], [1.0, 1.0], [[1.0], [1.0]], tau_scale=1.0)
    for method in (posterior.tau_quantile, posterior.quantile):
        with pytest.raises(InputError):
            method(p)
    with pytest.raises(InputError):
        posterior.tau_density(-1.0)
    with pytest.raises(InputError):
        posterior.mean_quantile([[1.0, 2.0]], 0.5)
