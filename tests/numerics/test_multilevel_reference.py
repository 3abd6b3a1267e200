"""Multilevel fits against metafor 3.8-1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ketacast.numerics.mixed import (
    MultilevelFit,
    cooks_distance,
    fit_multilevel,
    random_effects,
    standardised_residuals,
    variance_interval,
)

REFERENCE = Path(__file__).parent.parent / "reference"
#: The reference's optimizer (nlminb) stopped at relative changes of 1e-10 to 1e-12 of the
#: likelihood, that is 1e-6 of the variances (the square root, and some). Measured: 5.1e-7.
RTOL_VARIANCE = 1e-6
#: Coefficients depend on the variances weakly. Measured: 4.6e-8.
RTOL_BETA = 1e-7
#: Standard errors and what follows from them move with the variances.
RTOL = 1e-6
#: At its maximum the likelihood feels the variances in second order only.
ATOL_MAXIMISED = 1e-10
#: The likelihood that was not maximised feels them in first order.
ATOL_OTHER = 1e-6
#: Q needs no variance component: closed form.
RTOL_CLOSED = 1e-12
#: Below this a difference is rounding of numbers of order one.
ATOL = 1e-12
#: Limits and random effects near 0 are differences of numbers of order 0.1, each good to
#: RTOL_BETA.
ATOL_DIFFERENCE = 2e-9
#: Half of the last printed digit.
PRINTED = 5.1e-5
CASES = ("rma_mv_multilevel_konstantopoulos2011", "rma_mv_multilevel_konstantopoulos2011_year")
#: Keys without a counterpart here.
NOT_OFFERED = {
    "coef_names": "names belong to the design, not to the numerics",
    "tau2": "filler (0) for a term that the model does not have",
    "rho": "filler (0) for a term that the model does not have",
    "control_rel_tol": "setting of the reference's optimizer",
}
DIFFERENCES = {"ci_lb", "ci_ub", "pi_lb", "pi_ub", "study", "study/esid"}
#: The grids must not shrink silently.
EXPECTED_VARIANTS = 8
EXPECTED_COOKS = 16
EXPECTED_LIMITS = 1
#: metafor::confint(rma.mv(yi, vi, mods, random = ~1 | district/school,
#: control = list(rel.tol = <1e-12, 1e-10>)), control = list(tol = 1e-10)), as printed.
#: It found no upper limit for the first case's variance within.
PRINTED_INTERVALS = {
    (CASES[0], "between"): (0.0222, 0.2072),
    (CASES[0], "within"): (0.0163, None),
    (CASES[1], "between"): (0.0244, 0.2421),
    (CASES[1], "within"): (0.0162, 0.0626),
}
#: metafor::cooks.distance(fit, cluster = district) of the second case at rel.tol = 1e-10,
#: districts that the reference file leaves open because its tighter fit failed.
COOKS_LOOSER = {0: 1.96548482359e-01, 5: 3.33145110266e-01, 10: 1.48357658683e-03}


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _variants() -> list[tuple[str, str]]:
    return [
        (case, key)
        for case in CASES
        for key in _load(case)["expected"]
        if not key.startswith("robust|")
    ]


def _fit(case: str, method: Any = "REML", test: Any = "z") -> MultilevelFit:
    data = _load(case)["data"]
    return fit_multilevel(
        data["yi"], data["vi"], data["design_matrix"], data["study"], method=method, test=test
    )


def _close(actual: object, expected: object, rtol: float, name: str) -> None:
    np.testing.assert_allclose(
        np.asarray(actual, dtype=np.float64),
        np.asarray(expected, dtype=np.float64),
        rtol=rtol,
        atol=ATOL_DIFFERENCE if name in DIFFERENCES else ATOL,
        err_msg=name,
    )


def _check_prediction(fit: MultilevelFit, case: str, level: float, expected: Any) -> None:
    new = _load(case)["data"]["newmods"]
    rows = np.ones((1, 1)) if new is None else np.column_stack([np.ones(len(new)), np.array(new)])
    predicted = fit.predict(rows, level=level)
    values = {
        "pred": (predicted.mean, RTOL_BETA),
        "se": (predicted.se, RTOL),
        "ci_lb": (predicted.ci_lower, RTOL),
        "ci_ub": (predicted.ci_upper, RTOL),
        "pi_lb": (predicted.pi_lower, RTOL),
        "pi_ub": (predicted.pi_upper, RTOL),
    }
    assert set(expected) <= set(values) | {"ddf", "pi_ddf"}
    for name, (value, rtol) in values.items():
        _close(value, expected[name], rtol, name)
    for name, df in (("ddf", predicted.df), ("pi_ddf", predicted.pi_df)):
        assert set(expected.get(name, [df])) == {df}


def _check_random_effects(fit: MultilevelFit, expected: Any) -> None:
    effects = random_effects(fit)
    for name, found in (("study", effects.between), ("study/esid", effects.within)):
        _close(found.effect, expected[name]["intrcpt"], RTOL, name)
        _close(found.se, expected[name]["se"], RTOL, name)
    assert set(expected) == {"study", "study/esid"}


def _check_intervals(fit: MultilevelFit, expected: Any) -> None:
    """The file holds variance and standard deviation of the last component only."""
    assert set(expected) == {""}
    interval = variance_interval(fit, "within")
    found = np.array([interval.estimate, interval.lower, interval.upper])
    for row, values in zip(expected[""], (found, np.sqrt(found)), strict=True):
        known = [i for i, value in enumerate(row) if value is not None]
        _close(values[known], [row[i] for i in known], RTOL, "interval")


def _check_cooks(fit: MultilevelFit, expected: list[float | None]) -> None:
    distance = cooks_distance(fit)
    known = [i for i, value in enumerate(expected) if value is not None]
    _close(distance[known], [expected[i] for i in known], RTOL_VARIANCE, "Cook's distance")
    assert np.isfinite(distance).all()


def test_grid_of_cases_does_not_shrink() -> None:
    assert len(_variants()) == EXPECTED_VARIANTS
    expected = [_load(case)["expected"]["REML|z"] for case in CASES]
    assert sum(v is not None for e in expected for v in e["cooks_study"]) == EXPECTED_COOKS
    limits = [v for e in expected for v in e["confint_PL"][""][0][1:]]
    assert sum(v is not None for v in limits) == EXPECTED_LIMITS


@pytest.mark.parametrize(("case", "key"), _variants())
def test_fit_matches_metafor(case: str, key: str) -> None:
    method, test = key.split("|")
    expected = dict(_load(case)["expected"][key])
    fit = _fit(case, method, test)
    omnibus = fit.moderators
    compared: dict[str, tuple[object, float]] = {
        "beta": (fit.beta, RTOL_BETA),
        "se": (fit.se, RTOL),
        "stat": (fit.statistic, RTOL),
        "pval": (fit.p_value, RTOL),
        "ci_lb": (fit.ci_lower, RTOL),
        "ci_ub": (fit.ci_upper, RTOL),
        "vb": (fit.cov, RTOL),
        "sigma2": (fit.sigma2, RTOL_VARIANCE),
        "QE": (fit.qe, RTOL_CLOSED),
        # The tail of Q is about Q times as sensitive as Q.
        "QEp": (fit.qe_p, RTOL_CLOSED * 1e3),
        "QM": (omnibus.statistic, RTOL),
        "QMp": (omnibus.p_value, RTOL),
        "k": (fit.k, 0.0),
        "p": (fit.p, 0.0),
    }
    if "I2_total" in expected:
        compared["I2_total"] = (fit.i2, RTOL_VARIANCE)
        _close(fit.i2_components.sum(), fit.i2, RTOL_CLOSED, "parts of I2")
    for name, (value, rtol) in compared.items():
        _close(value, expected.pop(name), rtol, name)
    maximised = {"ML": ATOL_OTHER, "REML": ATOL_OTHER, method: ATOL_MAXIMISED}
    restricted = fit.information_criteria(restricted=True)
    for name, value, of in (
        ("ll_ML", fit.log_likelihood_ml, "ML"),
        ("ll_REML", fit.log_likelihood_reml, "REML"),
        ("AIC_ML", fit.information_criteria(restricted=False).aic, "ML"),
        ("AIC_REML", restricted.aic, "REML"),
        ("BIC_REML", restricted.bic, "REML"),
        ("AICc_REML", restricted.aicc, "REML"),
    ):
        assert value == pytest.approx(expected.pop(name), abs=2.0 * maximised[of]), name
    assert fit.information_criteria() == fit.information_criteria(restricted=method == "REML")
    assert [omnibus.df_coefficients, omnibus.df_residual] == expected.pop("QM_df")
    assert {fit.df} == set(expected.pop("ddf"))
    for name, level in (("predict95", 0.95), ("predict80", 0.80)):
        if name in expected:
            _check_prediction(fit, case, level, expected.pop(name))
    if "ranef" in expected:
        _check_random_effects(fit, expected.pop("ranef"))
        _close(standardised_residuals(fit).z, expected.pop("rstandard_z"), RTOL, "rstandard")
        _check_intervals(fit, expected.pop("confint_PL"))
        _check_cooks(fit, expected.pop("cooks_study"))
    assert set(expected) - {"I2_total"} == set(NOT_OFFERED)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("component", ["between", "within"])
def test_profile_interval_matches_printed_limits(case: str, component: Any) -> None:
    interval = variance_interval(_fit(case), component)
    lower, upper = PRINTED_INTERVALS[case, component]
    assert interval.lower == pytest.approx(lower, abs=PRINTED)
    assert interval.lower < interval.estimate < interval.upper
    if upper is not None:
        assert interval.upper == pytest.approx(upper, abs=PRINTED)


def test_cooks_distance_where_the_reference_file_is_open() -> None:
    expected = _load(CASES[1])["expected"]["REML|z"]["cooks_study"]
    assert {i for i, value in enumerate(expected) if value is None} == set(COOKS_LOOSER)
    distance = cooks_distance(_fit(CASES[1]))
    _close(distance[list(COOKS_LOOSER)], list(COOKS_LOOSER.values()), RTOL_VARIANCE, "Cook's")


def test_to_dict_is_plain() -> None:
    content = _fit(CASES[1]).to_dict()
    assert json.loads(json.dumps(content)) == content
    assert content["n_groups"] == 11
