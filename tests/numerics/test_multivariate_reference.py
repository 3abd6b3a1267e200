"""Multivariate fits against metafor 3.8-1, and what holds of those fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ketacast.numerics.inference import two_sided_p
from ketacast.numerics.mixed import (
    MultivariateFit,
    cooks_distance,
    fit_multilevel,
    fit_multivariate,
    outcome_effects,
    rho_profile_interval,
    standardised_residuals,
    tau2_profile_interval,
)
from ketacast.numerics.robust import robust_covariance

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]
#: The reference's optimizer (nlminb) stopped at relative changes of 1e-10 to 1e-13 of the
#: likelihood, that is 1e-5 of the variances (the square root). Measured: 5.7e-6.
RTOL_VARIANCE = 1e-5
#: Coefficients depend on the variances weakly. Measured: 2.6e-7, with three outcomes 1.7e-7
#: absolute.
RTOL_BETA = 1e-6
ATOL_BETA = 3e-7
#: A limit near 0 is a difference of numbers of order 0.4, each good to RTOL_BETA.
ATOL_LIMIT = 5e-7
#: Standard errors and what follows from them move with the variances.
RTOL = 1e-5
#: At its maximum the likelihood feels the variances in second order only. Measured: 1.3e-10.
ATOL_MAXIMISED = 1e-9
#: The likelihood that was not maximised feels them in first order. Measured: 2.8e-6.
ATOL_OTHER = 1e-5
#: Q needs no variance component: closed form.
RTOL_CLOSED = 1e-12
#: Half of the last printed digit.
PRINTED = 5.1e-5
BERKEY = "rma_mv_bivariate_berkey1998"
THREE = "rma_mv_three_outcomes"
#: Keys without a counterpart here.
NOT_OFFERED = {
    "coef_names": "names belong to the design, not to the numerics",
    "sigma2": "filler (0) for a term that the model does not have",
    "control_rel_tol": "setting of the reference's optimizer",
}
#: The grids must not shrink silently.
EXPECTED_BERKEY = 8
EXPECTED_THREE = 4
#: metafor::confint(rma.mv(yi, V, mods = ~ outcome - 1, random = ~ outcome | trial,
#: struct = <structure>, method = <method>), control = list(tol = 1e-10)), as printed:
#: tau2 of AL and PD (one for CS), rho.
PRINTED_INTERVALS: dict[str, tuple[tuple[float, float], ...]] = {
    "REML|UN": ((0.0095, 0.2068), (0.0001, 0.1114), (-0.5996, 1.0)),
    "ML|UN": ((0.0083, 0.1323), (0.0, 0.0636), (-1.0, 1.0)),
    "REML|CS": ((0.0086, 0.1357), (0.0086, 0.1357), (-0.6091, 0.9600)),
    "ML|CS": ((0.0073, 0.0882), (0.0073, 0.0882), (-0.5245, 0.9578)),
    "REML|DIAG": ((0.0093, 0.2064), (0.0, 0.1090)),
    "ML|DIAG": ((0.0080, 0.1307), (0.0, 0.0626)),
}


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _indicators(outcome: list[Any]) -> Array:
    return np.array([[float(o == label) for label in sorted(set(outcome))] for o in outcome])


def _fit(case: str, key: str) -> MultivariateFit:
    data = _load(case)["data"]
    method, structure = key.split("|")
    choices: Any = {"method": method, "structure": structure}
    return fit_multivariate(
        data["yi"],
        data.get("V", data.get("vi")),
        _indicators(data["outcome"]),
        data["trial"],
        data["outcome"],
        **choices,
    )


def _close(actual: object, expected: object, rtol: float, name: str, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(
        np.asarray(actual, dtype=np.float64),
        np.asarray(expected, dtype=np.float64),
        rtol=rtol,
        atol=atol,
        err_msg=name,
    )


def _correlations(fit: MultivariateFit) -> list[float]:
    """Upper triangle, the single one for CS and HCS, 0 for DIAG."""
    m = fit.tau2.size
    values: list[float] = fit.rho[np.triu_indices(m, 1)].tolist()
    if fit.structure == "DIAG":
        assert not any(values)
    return values if fit.structure == "UN" else values[:1]


def _check_extras(fit: MultivariateFit, expected: dict[str, Any]) -> None:
    """What the file holds for the unstructured fits only."""
    _close(fit.G, expected.pop("G"), RTOL_VARIANCE, "G")
    predicted = fit.predict(np.eye(2), ["AL", "PD"])
    for name, value in {
        "pred": predicted.mean,
        "se": predicted.se,
        "ci_lb": predicted.ci_lower,
        "ci_ub": predicted.ci_upper,
        "pi_lb": predicted.pi_lower,
        "pi_ub": predicted.pi_upper,
    }.items():
        _close(value, expected["predict95"].pop(name), RTOL, name, ATOL_LIMIT)
    assert not expected.pop("predict95")
    contrast = expected.pop("contrast")
    difference = fit.predict([[1.0, -1.0]], ["AL"])
    _close(difference.mean, contrast["est"], RTOL_BETA, "contrast")
    _close(difference.se, contrast["se"], RTOL, "contrast")
    # The tail at 10 standard errors is 100 times as sensitive as the statistic.
    p = two_sided_p(difference.mean / difference.se, None)
    _close(p, contrast["p"], 100.0 * RTOL, "contrast", atol=0.0)
    robust = expected.pop("robust_CR1")
    found = robust_covariance(
        fit.model.y, fit.design, fit.marginal_covariance(), fit.group_index, kind="CR1"
    )
    _close(found.se, robust["se"], RTOL, "robust")
    assert set(found.df) == set(robust["ddf"])
    interval = tau2_profile_interval(fit, "AL")
    limits = zip(
        (interval.estimate, interval.lower, interval.upper),
        expected.pop("confint_tau2_1"),
        strict=True,
    )
    for actual, value in limits:
        if value is not None:  # the reference's search failed
            _close(actual, value, RTOL_VARIANCE, "interval")


def test_grids_of_cases_do_not_shrink() -> None:
    assert len(_load(BERKEY)["expected"]) == EXPECTED_BERKEY
    assert len(_load(THREE)["expected"]) == EXPECTED_THREE
    assert sum("G" in e for e in _load(BERKEY)["expected"].values()) == 2
    limits = [v for e in _load(BERKEY)["expected"].values() for v in e.get("confint_tau2_1", [])]
    assert sum(v is not None for v in limits) == 4


@pytest.mark.parametrize("key", _load(BERKEY)["expected"])
def test_two_outcomes_match_metafor(key: str) -> None:
    method, structure = key.split("|")
    expected = dict(_load(BERKEY)["expected"][key])
    fit = _fit(BERKEY, key)
    omnibus = fit.moderators
    compared: dict[str, tuple[object, float]] = {
        "beta": (fit.beta, RTOL_BETA),
        "se": (fit.se, RTOL),
        "stat": (fit.statistic, RTOL),
        # Tails are more sensitive than statistics, by about the square of the statistic.
        "pval": (fit.p_value, 100.0 * RTOL),
        "ci_lb": (fit.ci_lower, RTOL),
        "ci_ub": (fit.ci_upper, RTOL),
        "vb": (fit.cov, RTOL),
        "tau2": (fit.tau2[:1] if structure == "CS" else fit.tau2, RTOL_VARIANCE),
        "rho": (_correlations(fit), RTOL_VARIANCE),
        "QE": (fit.qe, RTOL_CLOSED),
        "QEp": (fit.qe_p, RTOL_CLOSED * 1e3),
        "QM": (omnibus.statistic, RTOL),
        "QMp": (omnibus.p_value, 1e3 * RTOL),
        "k": (fit.k, 0.0),
        "p": (fit.p, 0.0),
    }
    for name, (value, rtol) in compared.items():
        # p-values reach 1e-34: no absolute tolerance.
        atol = 0.0 if name.lower().endswith(("p", "pval")) else 1e-12
        _close(value, expected.pop(name), rtol, name, atol)
    maximised = {"ML": ATOL_OTHER, "REML": ATOL_OTHER, method: ATOL_MAXIMISED}
    restricted = fit.information_criteria(restricted=True)
    for name, found, of in (
        ("ll_ML", fit.log_likelihood_ml, "ML"),
        ("ll_REML", fit.log_likelihood_reml, "REML"),
        ("AIC_ML", fit.information_criteria(restricted=False).aic, "ML"),
        ("AIC_REML", restricted.aic, "REML"),
        ("BIC_REML", restricted.bic, "REML"),
        ("AICc_REML", restricted.aicc, "REML"),
    ):
        assert found == pytest.approx(expected.pop(name), abs=2.0 * maximised[of]), name
    assert [omnibus.df_coefficients, omnibus.df_residual] == expected.pop("QM_df")
    assert {fit.df} == set(expected.pop("ddf"))
    if "G" in expected:
        _check_extras(fit, expected)
    assert set(expected) == set(NOT_OFFERED)


@pytest.mark.parametrize("key", _load(THREE)["expected"])
def test_three_outcomes_match_metafor(key: str) -> None:
    expected = _load(THREE)["expected"][key]
    fit = _fit(THREE, key)
    tau2 = fit.tau2[:1] if fit.structure == "CS" else fit.tau2
    _close(tau2, expected["tau2"], RTOL_VARIANCE, "tau2")
    _close(_correlations(fit), expected["rho"], RTOL_VARIANCE, "rho")
    _close(fit.beta, expected["beta"], RTOL_BETA, "beta", ATOL_BETA)
    _close(fit.cov, expected["vb"], RTOL, "cov")
    assert fit.log_likelihood_reml == pytest.approx(expected["ll_REML"], abs=ATOL_MAXIMISED)
    assert fit.log_likelihood_ml == pytest.approx(expected["ll_ML"], abs=ATOL_OTHER)
    assert fit.log_likelihood_reml >= expected["ll_REML"] - 1e-12
    robust = robust_covariance(
        fit.model.y, fit.design, fit.marginal_covariance(), fit.group_index, kind="CR2"
    )
    _close(robust.cov, expected["robust_CR2"]["vb"], RTOL, "CR2")
    _close(robust.df, expected["robust_CR2"]["ddf"], RTOL, "CR2")
    assert set(expected) == {"beta", "vb", "tau2", "rho", "ll_REML", "ll_ML", "robust_CR2"}


@pytest.mark.parametrize("key", PRINTED_INTERVALS)
def test_profile_intervals_match_printed_limits(key: str) -> None:
    fit = _fit(BERKEY, key)
    intervals = [tau2_profile_interval(fit, "AL"), tau2_profile_interval(fit, "PD")]
    if fit.structure != "DIAG":
        intervals.append(rho_profile_interval(fit))
    for interval, (lower, upper) in zip(intervals, PRINTED_INTERVALS[key], strict=True):
        assert interval.lower == pytest.approx(lower, abs=PRINTED)
        assert interval.upper == pytest.approx(upper, abs=PRINTED)
        assert interval.lower <= interval.estimate <= interval.upper


def test_two_outcomes_hcs_is_unstructured() -> None:
    for method in ("ML", "REML"):
        one, two = _fit(BERKEY, f"{method}|UN"), _fit(BERKEY, f"{method}|HCS")
        np.testing.assert_allclose(two.G, one.G, rtol=1e-9)
        for of in (tau2_profile_interval(one, "PD"), rho_profile_interval(one)):
            again = (
                rho_profile_interval(two)
                if of.estimate == one.rho[0, 1]
                else tau2_profile_interval(two, "PD")
            )
            assert again.lower == pytest.approx(of.lower, rel=1e-6, abs=1e-9)
            assert again.upper == pytest.approx(of.upper, rel=1e-6)


def test_profile_interval_does_not_depend_on_the_place_of_an_outcome() -> None:
    fit = _fit(THREE, "REML|UN")
    data = _load(THREE)["data"]
    renamed = {"a": "z", "b": "y", "c": "x"}
    outcome = [renamed[o] for o in data["outcome"]]
    turned = fit_multivariate(data["yi"], data["vi"], _indicators(outcome), data["trial"], outcome)
    one, two = tau2_profile_interval(fit, "c"), tau2_profile_interval(turned, "x")
    assert two.estimate == pytest.approx(one.estimate, rel=1e-8)
    assert two.lower == pytest.approx(one.lower, rel=1e-6)
    assert two.upper == pytest.approx(one.upper, rel=1e-6)


def test_compound_symmetry_is_the_multilevel_model() -> None:
    # A correlation >= 0 is a variance between groups plus one within.
    data = _load(THREE)["data"]
    one = _fit(THREE, "REML|CS")
    two = fit_multilevel(data["yi"], data["vi"], _indicators(data["outcome"]), data["trial"])
    assert one.rho[0, 1] > 0.0
    np.testing.assert_allclose(two.sigma2.sum(), one.tau2[0], rtol=1e-8)
    np.testing.assert_allclose(two.sigma2[0], one.G[0, 1], rtol=1e-8)
    np.testing.assert_allclose(two.beta, one.beta, rtol=1e-8)


def test_predicted_effects_are_conditional_means() -> None:
    fit = _fit(THREE, "REML|UN")
    effects = outcome_effects(fit)
    Z = np.zeros((fit.k, fit.n_groups * 3))
    Z[np.arange(fit.k), fit.group_index * 3 + fit.outcome_index] = 1.0
    D = np.kron(np.eye(fit.n_groups), fit.G)
    W = np.linalg.inv(fit.marginal_covariance())
    P = W - W @ fit.design @ fit.cov @ fit.design.T @ W
    np.testing.assert_allclose(
        effects.effect.ravel(), D @ Z.T @ P @ fit.model.y, rtol=1e-8, atol=1e-12
    )
    variance = np.diag(D - D @ Z.T @ P @ Z @ D)
    np.testing.assert_allclose(effects.se.ravel(), np.sqrt(variance), rtol=1e-8)
    z = standardised_residuals(fit)
    direct = np.sqrt(np.diag(np.linalg.inv(W) - fit.design @ fit.cov @ fit.design.T))
    np.testing.assert_allclose(z.se, direct, rtol=1e-8)


def test_cooks_distance_is_a_refit() -> None:
    fit = _fit(BERKEY, "ML|UN")
    data = _load(BERKEY)["data"]
    keep = np.array(data["trial"]) != 2
    less = fit_multivariate(
        np.array(data["yi"])[keep], np.array(data["V"])[np.ix_(keep, keep)],
        _indicators(data["outcome"])[keep], np.array(data["trial"])[keep],
        np.array(data["outcome"])[keep], method="ML",
    )  # fmt: skip
    moved = fit.beta - less.beta
    expected = moved @ np.linalg.solve(fit.cov, moved)
    assert cooks_distance(fit)[1] == pytest.approx(expected, rel=1e-7)


def test_to_dict_is_plain() -> None:
    content = _fit(BERKEY, "REML|UN").to_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["outcomes"] == ["AL", "PD"]
