"""Binomial, multilevel and Bayesian estimators against published numbers, through ``fit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ketacast.design import DataWarning
from ketacast.errors import InputError
from ketacast.estimators import (
    BayesianMetaRegression,
    BinomialMetaRegression,
    MetaRegression,
    MultilevelMetaRegression,
)

REFERENCE = Path(__file__).parent.parent / "reference"

#: Exact likelihoods maximised twice, by 61 nodes in the reference.
RTOL_BINOMIAL = 1e-6
#: The reference's optimiser stops at about this accuracy in the variances.
RTOL_SIGMA2 = 1e-5
RTOL_BETA = 1e-6
#: Moments of tau were derived again to 2e-9; those of coefficients are a grid's.
ATOL_TAU = 1e-8
ATOL_GRID = 1e-3
#: The same numbers by another route: rounding.
RTOL = 1e-9


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _table(case: str) -> pd.DataFrame:
    data = _load(case)["data"]
    skipped = ("design_matrix", "design_columns", "newmods")
    return pd.DataFrame({name: data[name] for name in data if name not in skipped})


@pytest.mark.parametrize(
    ("case", "formula"),
    [
        ("glmm_PLO_debruin2009_scq_ethnicity", "scq + ethnicity"),
        ("glmm_PLO_debruin2009_scq", "scq"),
        ("glmm_PLO_pritz1997", None),
    ],
)
def test_binomial_fit_matches_the_exact_likelihood(case: str, formula: str | None) -> None:
    expected = next(
        block for key, block in _load(case)["expected"].items() if key.startswith("exact ML")
    )
    model = BinomialMetaRegression().fit(formula, "xi", n="ni", data=_table(case))
    np.testing.assert_allclose(model.coef_, expected["beta"], rtol=RTOL_BINOMIAL)
    np.testing.assert_allclose(model.tau2_, expected["tau2"], rtol=RTOL_BINOMIAL)
    assert model.log_likelihood_ == pytest.approx(expected["ll"], rel=1e-8)


def _counts() -> pd.DataFrame:
    return _table("glmm_PLO_debruin2009_scq_ethnicity")


def _binomial(formula: Any = "scq + ethnicity", data: Any = None, **options: Any) -> Any:
    table = _counts() if data is None else data
    return BinomialMetaRegression(**options).fit(formula, "xi", n="ni", data=table)


def test_binomial_predictions_on_both_scales() -> None:
    model, new = _binomial(test="t"), _counts().head(4)
    logit = model.predict(new)
    probability = model.predict(new, scale="probability")
    np.testing.assert_allclose(probability, 1.0 / (1.0 + np.exp(-logit)), rtol=RTOL)
    table = model.predict_interval(new, transform="logit")
    np.testing.assert_allclose(table["pred"], probability, rtol=RTOL)
    assert table.to_numpy().min() > 0.0
    assert table.to_numpy().max() < 1.0
    with pytest.raises(InputError, match="scale is 'odds'; choose one of 'logit', 'probability'"):
        model.predict(new, scale="odds")


def test_binomial_studies_one_by_one() -> None:
    model = _binomial("scq")
    blup = model.blup()
    raw = np.log((_counts()["xi"] + 0.5) / (_counts()["ni"] - _counts()["xi"] + 0.5))
    # Shrunken: nearer to the line than the raw logit is.
    assert (blup["deviation"].abs() < (raw - blup["fitted"]).abs() + 0.05).all()
    np.testing.assert_allclose(blup["fitted"], model.predict(_counts()), rtol=RTOL)
    out = model.leave_one_out()
    without = _binomial("scq", _counts().drop(index=4))
    np.testing.assert_allclose(out.loc[4, "beta_scq"], without.coef_[1], rtol=1e-6)
    np.testing.assert_allclose(out.loc[4, "tau2"], without.tau2_, rtol=1e-5)
    interval = model.tau2_interval(level=0.9)
    assert interval.lower < model.tau2_ < interval.upper


def test_binomial_comparison_is_a_likelihood_ratio_of_nested_fits() -> None:
    full, reduced = _binomial(), _binomial("scq")
    found = reduced.compare(full)
    expected = 2.0 * (full.log_likelihood_ - reduced.log_likelihood_)
    assert found.statistic == pytest.approx(expected, rel=RTOL)
    for other, message in (
        (_binomial("I(scq**2)"), "not nested"),
        (_binomial("scq", _counts().iloc[1:]), "not nested"),
        (MetaRegression(), "other is a MetaRegression"),
    ):
        with pytest.raises(InputError, match=message):
            full.compare(other)


def test_binomial_score_is_the_predictive_probability_of_counts() -> None:
    model, new = _binomial("scq"), _counts().head(1)
    row = model.predict_interval(new)
    sd = np.sqrt(row["se"].iloc[0] ** 2 + model.tau2_)
    # A fine sum over the logit's normal law.
    z = np.linspace(-8.0, 8.0, 20001)
    p = 1.0 / (1.0 + np.exp(-(row["pred"].iloc[0] + sd * z)))
    mass = stats.binom.pmf(int(new["xi"].iloc[0]), int(new["ni"].iloc[0]), p)
    expected = np.log(np.sum(mass * stats.norm.pdf(z)) * (z[1] - z[0]))
    assert model.score(new, new["xi"], n=new["ni"]) == pytest.approx(expected, rel=1e-9)
    for y, n, message in (
        ([3.5], [9], "whole number from 0 to n"),
        ([3], [0], "whole number >= 1"),
        ([3, 4], [9, 9], "y has 2 values for 1 rows"),
    ):
        with pytest.raises(InputError, match=message):
            model.score(new, y, n=n)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("xi", 2.5, r"y \(events\)\[3\] is 2\.5"),
        ("xi", -1.0, "must be a whole number from 0 to n"),
        ("xi", 1e6, "must be a whole number from 0 to n"),
        ("ni", 0.0, r"n\[3\] is 0\.0; it must be a whole number >= 1"),
        ("ni", 10.5, r"n\[3\] is 10\.5"),
    ],
)
def test_unusable_counts_are_refused(column: str, value: float, message: str) -> None:
    table = _counts().astype({"xi": float, "ni": float})
    table.loc[3, column] = value
    with pytest.raises(InputError, match=message):
        _binomial("scq", table)
    with pytest.raises(InputError, match="n is missing"):
        BinomialMetaRegression().fit("scq", "xi", data=_counts())


@pytest.mark.parametrize("key", ["REML|z", "REML|t", "ML|z", "ML|t"])
@pytest.mark.parametrize(("suffix", "formula"), [("", None), ("_year", "year")])
def test_multilevel_fit_matches_metafor(key: str, suffix: str, formula: str | None) -> None:
    case = f"rma_mv_multilevel_konstantopoulos2011{suffix}"
    method, test = key.split("|")
    expected = _load(case)["expected"][key]
    options: Any = {"method": method, "test": test}
    model = MultilevelMetaRegression(**options).fit(
        formula, "yi", sampling_variance="vi", groups="study", data=_table(case)
    )
    np.testing.assert_allclose(model.coef_, expected["beta"], rtol=RTOL_BETA)
    np.testing.assert_allclose(model.se_, expected["se"], rtol=RTOL_BETA)
    np.testing.assert_allclose(model.p_value_, expected["pval"], rtol=1e-5)
    np.testing.assert_allclose(model.sigma2_, expected["sigma2"], rtol=RTOL_SIGMA2)
    np.testing.assert_allclose(model.QE_, expected["QE"], rtol=RTOL)
    assert model.tau2_ == pytest.approx(model.sigma2_.sum())


def _multilevel(formula: Any = "year", **options: Any) -> Any:
    table = _table("rma_mv_multilevel_konstantopoulos2011_year")
    return MultilevelMetaRegression(**options).fit(
        formula, "yi", sampling_variance="vi", groups="study", data=table
    )


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2"])
def test_multilevel_robust_errors_match_metafor(kind: Any) -> None:
    expected = _load("rma_mv_multilevel_konstantopoulos2011_year")["expected"][f"robust|{kind}"]
    table = _multilevel().robust(kind=kind).table
    np.testing.assert_allclose(table["se"], expected["se"], rtol=RTOL_SIGMA2)
    np.testing.assert_allclose(table["df"], np.broadcast_to(expected["ddf"], 2), rtol=RTOL_SIGMA2)
    np.testing.assert_allclose(table["p_value"], expected["pval"], rtol=1e-4)


def test_multilevel_effects_and_intervals() -> None:
    model = _multilevel()
    between, within = model.blup(), model.blup("within")
    assert (len(between), len(within)) == (model.n_groups_, model.n_studies_) == (11, 56)
    assert abs(between["effect"].mean()) < 0.1
    interval = model.variance_interval("between", level=0.9)
    assert interval.lower < model.sigma2_[0] < interval.upper
    new = pd.DataFrame({"year": [0.0, 5.0]}, index=["now", "later"])
    table, own = model.predict_interval(new), model.result_.predict([[1.0, 0.0], [1.0, 5.0]])
    np.testing.assert_allclose(table["pi_lb"], own.pi_lower, rtol=RTOL)
    assert table.index.tolist() == ["now", "later"]
    score = model.score(new, [0.2, 0.2], sampling_variance=[0.1, 0.1])
    assert score > model.score(new, [3.0, 3.0], sampling_variance=[0.1, 0.1])
    with pytest.raises(InputError, match="component is 'group'"):
        model.blup("group")


def test_multilevel_contrasts_inflation_and_comparison() -> None:
    model = _multilevel("year + I(year**2)")
    joint = model.contrast(["year", "I(year ** 2)"])
    assert joint.record.omnibus.statistic == pytest.approx(model.QM_, rel=RTOL)
    np.testing.assert_allclose(joint.table["p_value"], model.p_value_[1:], rtol=RTOL)
    assert model.vif().loc["year", "vif"] == pytest.approx(model.vif().loc["I(year ** 2)", "vif"])
    full, null = _multilevel("year", method="ML"), _multilevel(None, method="ML")
    found = null.compare(full)
    expected = {
        suffix: _load(f"rma_mv_multilevel_konstantopoulos2011{suffix}")["expected"]["ML|z"]["ll_ML"]
        for suffix in ("", "_year")
    }
    ratio = 2.0 * (expected["_year"] - expected[""])
    assert found.statistic == pytest.approx(ratio, abs=1e-7)
    assert found.p_value == pytest.approx(stats.chi2.sf(ratio, 1), abs=1e-6)
    assert found == full.compare(null)
    other_groups = MultilevelMetaRegression("ML").fit(
        None,
        "yi",
        sampling_variance="vi",
        groups=np.arange(56) // 2,
        data=_table("rma_mv_multilevel_konstantopoulos2011_year"),
    )
    for other, message in (
        (_multilevel(None), "methods are 'ML' and 'REML'"),
        (full, "not nested"),
        (_multilevel("I(year**2)", method="ML"), "not nested"),
        (other_groups, "not nested"),
        (_binomial(), "other is a BinomialMetaRegression"),
    ):
        with pytest.raises(InputError, match=message):
            full.compare(other)


def test_binomial_contrasts_and_inflation() -> None:
    model = _binomial(test="t")
    joint = model.contrast(model.coef_names_[1:])
    assert joint.record.omnibus.statistic == pytest.approx(model.QM_, rel=RTOL)
    np.testing.assert_allclose(joint.table["ci_lb"], model.ci_[1:, 0], rtol=RTOL)
    assert model.vif().index.tolist() == model.coef_names_[1:].tolist()
    correlation = model.cov_ / np.outer(model.se_, model.se_)
    inverse = np.linalg.inv(correlation[1:, 1:])
    np.testing.assert_allclose(model.vif()["vif"], np.diag(inverse), rtol=RTOL)


@pytest.mark.parametrize("test", ["z", "t"])
def test_binomial_refits_have_the_limits_of_their_fits(test: str) -> None:
    out = _binomial("scq", test=test).leave_one_out()
    without = _binomial("scq", _counts().drop(index=4), test=test)
    wanted = without.coefficients().rename(columns={"estimate": "beta"})
    for name in without.coef_names_:
        for column in wanted:
            np.testing.assert_allclose(
                out.loc[4, f"{column}_{name}"], wanted.loc[name, column], rtol=1e-5
            )


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (None, "groups is missing; give the study of each estimate, or use MetaRegression"),
        (["a", "a", "a", "a"], "single label 'a'"),
        ([["a"], ["b"], ["c"], ["d"]], r"groups has shape \(4, 1\)"),
        (["a", "b"], "groups has 2 rows and y has 4"),
        ("team", "give data=DataFrame"),
    ],
)
def test_unusable_groups_are_refused(groups: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MultilevelMetaRegression().fit(
            None, [0.1, 0.2, 0.5, 0.3], sampling_variance=[0.1] * 4, groups=groups
        )


def _bayesian(**options: Any) -> Any:
    data = _load("bmr_bcg_ablat")["data"]
    X = np.array(data["design_matrix"])[:, 1:]
    return BayesianMetaRegression(**{"tau_scale": 0.5, **options}).fit(
        X, data["yi"], sampling_variance=data["vi"]
    )


def test_bayesian_fit_matches_the_grid_of_bayesmeta() -> None:
    expected = _load("bmr_bcg_ablat")["expected"]
    model = _bayesian()
    assert model.tau_mean_ == pytest.approx(expected["tau"]["mean"], abs=ATOL_TAU)
    assert model.tau_sd_ == pytest.approx(expected["tau"]["sd"], abs=ATOL_TAU)
    at = expected["quantile_p"]
    low, high = at.index(0.025), at.index(0.975)
    quantiles = expected["tau"]["quantiles"]
    np.testing.assert_allclose(
        model.tau_interval_, [quantiles[low], quantiles[high]], atol=ATOL_GRID
    )
    for j, name in enumerate(("intercept", "ablat")):
        wanted = expected["beta"][name]
        assert model.coef_[j] == pytest.approx(wanted["mean"], abs=ATOL_GRID)
        assert model.sd_[j] == pytest.approx(wanted["sd"], abs=ATOL_GRID)
        limits = [wanted["quantiles"][low], wanted["quantiles"][high]]
        np.testing.assert_allclose(model.ci_[j], limits, atol=2.0 * ATOL_GRID)
    shrunk = model.shrinkage()
    np.testing.assert_allclose(shrunk["effect"], expected["shrinkage"]["mean"], atol=ATOL_GRID)
    np.testing.assert_allclose(shrunk["sd"], expected["shrinkage"]["sd"], atol=ATOL_GRID)
    for point in expected["prediction"]:
        row = model.predict_interval([point["x"][1:]])
        found = row[["ci_lb", "ci_ub"]].to_numpy()[0]
        wanted = [point["mean_quantiles"][low], point["mean_quantiles"][high]]
        np.testing.assert_allclose(found, wanted, atol=3.0 * ATOL_GRID)
    assert np.isnan(model.log_marginal_)


def test_informative_priors_pull_and_have_a_marginal_likelihood() -> None:
    flat, tight = _bayesian(), _bayesian(prior_sd=[10.0, 0.001])
    assert abs(tight.coef_[1]) < 0.2 * abs(flat.coef_[1])
    assert np.isfinite(tight.log_marginal_)
    half = _bayesian(prior_sd=[np.inf, 0.001], prior_mean=[0.0, -0.05])
    assert half.coef_[1] == pytest.approx(-0.05, abs=0.003)
    wide = _bayesian(prior_sd=1e6)
    np.testing.assert_allclose(wide.coef_, flat.coef_, rtol=1e-6)


def test_bayesian_score_is_the_posterior_predictive_density() -> None:
    model = _bayesian()
    point, v = np.array([[30.0]]), np.array([0.1])
    # The density integrates to one and is highest near the mean.
    grid = np.linspace(-6.0, 5.0, 2201)
    density = np.exp([model.score(point, [y], sampling_variance=v) for y in grid])
    assert np.sum(density) * (grid[1] - grid[0]) == pytest.approx(1.0, abs=1e-6)
    assert grid[np.argmax(density)] == pytest.approx(model.predict(point)[0], abs=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau_scale": None}, "tau_scale is missing: .* must suit the effect's units"),
        ({"tau_scale": -1.0}, "tau_scale"),
        ({"prior_mean": 1.0}, "prior_mean is 1.0 but prior_sd is None"),
        ({"prior_sd": 0.0}, "greater than 0"),
        ({"prior_sd": [1.0, 1.0, 1.0]}, r"prior_sd has shape \(3,\) for 2 coefficients"),
        ({"prior_sd": "wide"}, "prior_sd"),
    ],
)
def test_unusable_priors_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _bayesian(**options)


def test_a_posterior_has_one_prediction_interval() -> None:
    with pytest.raises(InputError, match="use kind='default'"):
        _bayesian().predict_interval([[30.0]], kind="riley")


def test_a_robust_error_that_rests_on_one_cluster_is_warned_of() -> None:
    frame = pd.DataFrame(
        {
            "y": [0.1, 0.4, 0.2, 0.5, 0.3, 0.6, 0.2, 0.4],
            "v": [0.1, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2],
            "level": ["a"] * 6 + ["b"] * 2,
            "study": [1, 1, 2, 2, 3, 3, 4, 4],
        }
    )
    model = MetaRegression().fit("level", "y", sampling_variance="v", data=frame)
    with pytest.warns(DataWarning, match="below the true ones.*rests on too few clusters"):
        model.robust(frame["study"])
