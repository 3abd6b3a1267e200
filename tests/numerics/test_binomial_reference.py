"""Every number of the binomial-normal reference files, or why it is not offered."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import gammaln

from ketacast.numerics.binomial import BinomialFit, BinomialTest, binomial_study_logits
from ketacast.numerics.binomial.fitting import (
    assemble,
    checked_counts,
    fit_binomial,
    predict_binomial,
)
from ketacast.numerics.binomial.search import fit_logistic

REFERENCE = Path(__file__).parent.parent / "reference"

#: The exact blocks are a Newton-polished maximum of the same likelihood at 61 nodes,
#: printed with a gradient of 1e-8 left.
RTOL_EXACT = 1e-7
#: lme4 with its optimiser's last radius at 1e-12 and 25 nodes.
ATOL_LME4 = 2e-6
#: metafor goes through lme4 with default tolerances, which stops early: more so with
#: rare events.
RTOL_METAFOR = {"glmm_PLO_nielweise2007_zero_events": 2e-3}
RTOL_METAFOR_OTHERWISE = 1e-4
#: Closed forms given the data.
RTOL_CLOSED = 1e-8
#: R's logistic regression stops at a relative change of the deviance of 1e-8, and its
#: standard errors are those before the last step.
RTOL_GLM = 1e-5
#: metafor's Wald test of heterogeneity comes from the same.
RTOL_WALD = 1e-6

CASES = (
    "glmm_PLO_debruin2009_scq",
    "glmm_PLO_debruin2009_scq_ethnicity",
    "glmm_PLO_nielweise2007_zero_events",
    "glmm_PLO_pritz1997",
)
EXACT = "exact ML (own 61-node adaptive GH)"
LME4 = "lme4 glmer nAGQ=25 bobyqa rhoend=1e-12"
LOGISTIC = "metafor EE (logistic)"

#: Numbers that this package does not have, each with the reason.
NOT_OFFERED = {
    "coef_names": "numerics know columns, not names",
    "warnings": "metafor's own",
    "max_abs_gradient": "how well the reference itself converged",
    "newmods": "input of the predictions",
}
#: With one node metafor maximises the Laplace approximation, another function of the
#: data: what does not come from the data alone is not to be compared.
SAME_WITH_ONE_NODE = {"QE_Wld", "QEp_Wld", "QE_LRT", "QEp_LRT", "QE_df", "QM_df", "k", "p", "ddf"}


@cache
def load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text("utf-8"))
    return content


@cache
def fit_of(case: str, test: BinomialTest) -> BinomialFit:
    return fit_binomial(*data_of(case), test=test)


def data_of(case: str) -> tuple[Any, Any, Any]:
    data = load(case)["data"]
    return data["xi"], data["ni"], data["design_matrix"]


def blocks(prefix: str) -> list[tuple[str, str]]:
    return [
        (case, key)
        for case in CASES
        for key in load(case)["expected"]
        if key[: len(prefix)] == prefix
    ]


def metafor_tolerance(case: str) -> float:
    return RTOL_METAFOR.get(case, RTOL_METAFOR_OTHERWISE)


def same(found: object, wanted: object, name: str, rtol: float, atol: float = 0.0) -> None:
    if wanted is None:
        assert found is None, name
        return
    np.testing.assert_allclose(
        np.asarray(found, dtype=float), np.asarray(wanted, dtype=float), rtol, atol, err_msg=name
    )


def test_every_block_is_tested() -> None:
    assert {path.stem for path in REFERENCE.glob("glmm_*.json")} == set(CASES)
    counts = [len(blocks(prefix)) for prefix in ("metafor nAGQ", "predict|", EXACT, LME4, LOGISTIC)]
    assert counts == [24, 16, 4, 4, 3]
    assert sum(len(load(case)["expected"]) for case in CASES) == sum(counts)


@pytest.mark.parametrize("case", CASES)
def test_exact_maximum(case: str) -> None:
    expected, fit = dict(load(case)["expected"][EXACT]), fit_of(case, "z")
    assert fit.tau_se is not None
    found = {
        "beta": fit.beta,
        "tau2": fit.tau2,
        "tau": fit.tau,
        "se_full_hessian": fit.se,
        "vb": fit.cov,
        "se_log_tau": fit.tau_se / fit.tau,
        "ll": fit.log_likelihood,
        "ll_121_nodes": fit.log_likelihood,
    }
    assert set(expected) - set(NOT_OFFERED) == set(found)
    for name, value in found.items():
        same(value, expected[name], name, RTOL_EXACT)
    assert fit.log_likelihood == pytest.approx(expected["ll"], abs=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_lme4_random_effects(case: str) -> None:
    expected, fit = load(case)["expected"][LME4], fit_of(case, "z")
    studies = binomial_study_logits(fit, *data_of(case))
    found = {
        "beta": fit.beta,
        "tau2": fit.tau2,
        "se": fit.se,
        "ranef": studies.deviation,
        "condVar": studies.sd**2,
    }
    assert set(expected) - set(NOT_OFFERED) == set(found)
    for name, value in found.items():
        same(value, expected[name], name, 0.0, ATOL_LME4)


@pytest.mark.parametrize(("case", "key"), blocks(LOGISTIC))
def test_logistic_regression(case: str, key: str) -> None:
    expected = load(case)["expected"][key]
    data, basis = checked_counts(*data_of(case))
    fixed = fit_logistic(data)
    fit = assemble(data, basis, fixed=fixed, chosen=fixed, level=0.95, test="z")
    found = {"beta": fit.beta, "se": fit.se, "ll": fit.log_likelihood}
    assert set(expected) == set(found)
    for name, value in found.items():
        same(value, expected[name], name, RTOL_CLOSED if name == "ll" else RTOL_GLM)
    assert fit_of(case, "z").log_likelihood_fixed == pytest.approx(fit.log_likelihood, rel=1e-12)


@pytest.mark.parametrize(("case", "key"), blocks("metafor nAGQ"))
def test_metafor(case: str, key: str) -> None:
    expected = dict(load(case)["expected"][key])
    test: BinomialTest = "t" if key.endswith("|t") else "z"
    fit, rtol = fit_of(case, test), metafor_tolerance(case)
    omnibus = fit.moderators
    df = None if omnibus.df_residual is None else float(omnibus.df_residual)
    # Far out, log p falls with half the square of the statistic.
    magnified = 2.0 * rtol * (1.0 + float(np.max(np.abs(fit.statistic))) ** 2)
    found: dict[str, tuple[object, float]] = {
        "beta": (fit.beta, rtol),
        "se": (fit.se, rtol),
        "stat": (fit.statistic, 2.0 * rtol),
        "pval": (fit.p_value, magnified),
        "vb": (fit.cov, 2.0 * rtol),
        "tau2": (fit.tau2, rtol),
        "I2": (fit.i2, rtol),
        "H2": (fit.h2, rtol),
        "QE_Wld": (fit.qe_wald, RTOL_WALD),
        "QEp_Wld": (fit.qe_wald_p, RTOL_WALD),
        "QE_LRT": (fit.qe, RTOL_CLOSED),
        "QEp_LRT": (fit.qe_p, RTOL_CLOSED),
        "QE_df": (fit.residual_df, 0.0),
        "QM": (omnibus.statistic, 4.0 * rtol),
        "QMp": (omnibus.p_value, magnified),
        "k": (fit.k, 0.0),
        "p": (fit.p, 0.0),
        "ddf": (fit.df, 0.0),
    }
    limits = {"ci_lb": fit.ci_lower, "ci_ub": fit.ci_upper}
    rest = {"fit_stats", "QM_df"}
    assert set(expected) - set(NOT_OFFERED) == set(found) | set(limits) | rest
    assert expected["QM_df"] == [omnibus.df_coefficients, df]
    one_node = "nAGQ=1|" in key
    for name, (value, tolerance) in found.items():
        if not one_node or name in SAME_WITH_ONE_NODE:
            same(value, expected[name], name, tolerance)
    if not one_node:
        for name, value in limits.items():
            # Limits near zero: what matters is the error in logits.
            same(value, expected[name], name, rtol, rtol)
        check_fit_stats(case, fit, expected["fit_stats"], rtol)


def check_fit_stats(case: str, fit: BinomialFit, stats: dict[str, float], rtol: float) -> None:
    # metafor's "ll" is not the marginal log-likelihood but that of the saturated model
    # less half the deviance at the conditional modes; what it adds for the criteria
    # is common ground.
    events, n, X = data_of(case)
    y, size = np.array(events, float), np.array(n, float)
    logit = binomial_study_logits(fit, events, n, X).logit
    conditional = float(np.sum(y * logit - size * np.logaddexp(0.0, logit)))
    constant = float(np.sum(gammaln(size + 1.0) - gammaln(y + 1.0) - gammaln(size - y + 1.0)))
    deviance = 2.0 * (fit.log_likelihood_saturated - constant - conditional)
    assert set(stats) == {"ll", "dev", "AIC", "BIC", "AICc"}
    assert deviance == pytest.approx(stats["dev"], rel=rtol)
    assert fit.log_likelihood_saturated - 0.5 * stats["dev"] == pytest.approx(stats["ll"], 1e-9)
    for name, value in (("AIC", fit.aic), ("BIC", fit.bic), ("AICc", fit.aicc)):
        ours, theirs = value + 2.0 * fit.log_likelihood, stats[name] + 2.0 * stats["ll"]
        assert ours == pytest.approx(theirs, rel=1e-10), name


@pytest.mark.parametrize(("case", "key"), blocks("predict|"))
def test_metafor_predictions(case: str, key: str) -> None:
    expected = load(case)["expected"][key]
    _, test, level = key.split("|")
    fit = fit_of(case, "t" if test == "t" else "z")
    new = expected["newmods"]
    rows = np.ones((1, 1)) if new is None else np.column_stack([np.ones(len(new)), np.array(new)])
    at = predict_binomial(fit, rows, level=float(level) / 100.0)
    rtol = metafor_tolerance(case)
    found = {
        "pred": at.mean,
        "se": at.se,
        "ci_lb": at.ci_lower,
        "ci_ub": at.ci_upper,
        "pi_lb": at.pi_lower,
        "pi_ub": at.pi_upper,
    }
    for name, value in found.items():
        wanted = np.atleast_1d(expected[name])
        same(value, wanted, name, rtol, rtol)
    degrees = {"ddf": at.df, "pi_ddf": at.pi_df}
    for name, df in degrees.items():
        assert set(np.atleast_1d(expected.get(name))) == {df}
    assert set(expected) <= set(found) | set(degrees) | set(NOT_OFFERED)


def test_typical_variance_is_that_of_the_corrected_logits() -> None:
    # This file's own fits are normal-normal; with the binomial fit they share one number.
    document = load("awkward_zero_events_PLO_nielweise2007")
    data = document["data"]
    X = np.column_stack([np.ones(len(data["xi"])), data["year"]])
    fit = fit_binomial(data["xi"], data["ni"], X)
    wanted = {block["vt"] for block in document["expected"].values()}
    assert len(wanted) == 1
    assert fit.typical_variance == pytest.approx(wanted.pop(), rel=1e-10)
