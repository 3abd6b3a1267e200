"""What can be asked of a fitted MetaRegression: names, rows and refusals.

The numbers themselves are tested in ``tests/numerics``; here they are compared
with fits made by hand and, where it is cheap, with metafor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ketacast.errors import InputError
from ketacast.estimators import DataWarning, MetaRegression
from ketacast.numerics.normal import HeterogeneityInterval

REFERENCE = Path(__file__).parent.parent / "reference"

#: Refits of the same studies: tau2 is found to 1e-10 or better each time.
RTOL = 1e-7
#: Limits found by root search on both sides.
RTOL_LIMITS = 1e-7


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _bcg() -> pd.DataFrame:
    data = _load("rma_uni_bcg_ablat_alloc")["data"]
    frame = pd.DataFrame({name: data[name] for name in ("yi", "vi", "ablat", "alloc")})
    frame["team"] = list("aabbccddeeffg")
    frame["total"] = 100.0 * np.arange(1, 14)
    return frame.set_index(pd.Index([f"trial {i}" for i in range(13)]))


BCG = _bcg()


def _model(formula: str = "yi ~ ablat + alloc", data: pd.DataFrame = BCG, **options: Any) -> Any:
    return MetaRegression(**options).fit(formula, sampling_variance="vi", data=data)


def test_leave_one_out_refits_without_each_study() -> None:
    found = _model().leave_one_out()
    assert found.index.equals(BCG.index)
    for label in ("trial 3", "trial 12"):
        without = _model(data=BCG.drop(index=label))
        row = found.loc[label]
        np.testing.assert_allclose(row["beta_ablat"], without.coef_[1], rtol=RTOL)
        np.testing.assert_allclose(row["ci_ub_alloc[random]"], without.ci_[2, 1], rtol=RTOL)
        np.testing.assert_allclose(
            row[["tau2", "i2", "qe"]].astype(float), [without.tau2_, without.I2_, without.QE_], RTOL
        )
    assert found["solvable"].all()


@pytest.mark.parametrize("key", ["REML|z", "REML|knha", "DL|z"])
def test_leave_one_out_matches_metafor(key: str) -> None:
    method, test = key.split("|")
    expected = _load("leave1out_bcg")["expected"][key]
    found = _model("yi ~ 1", method=method, test=test).leave_one_out()
    for column, name in (("beta_intercept", "estimate"), ("se_intercept", "se"), ("I2", "I2")):
        np.testing.assert_allclose(found[column.replace("I2", "i2")], expected[name], rtol=RTOL)


def test_clusters_are_left_out_whole() -> None:
    found = _model("yi ~ ablat").leave_one_out(groups=BCG["team"])
    assert found.index.tolist() == list("abcdefg")
    without = _model("yi ~ ablat", data=BCG[BCG["team"] != "b"])
    np.testing.assert_allclose(found.loc["b", "beta_ablat"], without.coef_[1], rtol=RTOL)
    influence = _model("yi ~ ablat").influence(groups=BCG["team"])
    assert influence.index.tolist() == list("abcdefg")
    assert influence.loc["g", "n_studies"] == 1.0


def test_studies_left_out_of_the_fit_are_left_out_of_its_tables() -> None:
    gaps = BCG.assign(ablat=BCG["ablat"].where(BCG.index != "trial 4"))
    with pytest.warns(DataWarning, match="1 of 13 rows"):
        model = _model("yi ~ ablat", data=gaps)
    kept = BCG.index.drop("trial 4")
    for table in (model.blup(), model.residuals(), model.influence(), model.leave_one_out()):
        assert table.index.equals(kept)
    # Groups may be given for all rows or for those in the fit.
    by_all = model.leave_one_out(groups=BCG["team"])
    pd.testing.assert_frame_equal(by_all, model.leave_one_out(groups=BCG.loc[kept, "team"]))
    with pytest.raises(InputError, match=r"groups has shape \(3,\) for 13 rows, 12 of them"):
        model.leave_one_out(groups=["a", "b", "c"])


def test_shrunken_effects_lie_between_line_and_estimate() -> None:
    model = _model("yi ~ ablat")
    blup = model.blup(level=0.8)
    low = np.minimum(model.predict(BCG), BCG["yi"])
    high = np.maximum(model.predict(BCG), BCG["yi"])
    assert ((blup["effect"] >= low - 1e-12) & (blup["effect"] <= high + 1e-12)).all()
    assert (blup["ci_ub"] - blup["ci_lb"] < 4.0 * blup["se"]).all()


def test_residuals_and_influence_name_their_columns() -> None:
    model = _model()
    residuals, influence = model.residuals(), model.influence()
    np.testing.assert_allclose(residuals["fitted"] + residuals["response"], BCG["yi"])
    np.testing.assert_allclose(influence["hat"].sum(), model.coef_.size)
    np.testing.assert_allclose(influence["weight"].sum(), 100.0)
    assert {f"dfbetas_{name}" for name in model.coef_names_} <= set(influence)
    assert influence["is_influential"].dtype == bool


@pytest.mark.parametrize("method", ["QP", "PL"])
def test_tau2_intervals_match_metafor(method: Any) -> None:
    content = _load("confint_bcg_ablat")["expected"]
    # Keys with a fourth part are runs at metafor's loose default tolerance.
    keys = [f"REML|{method}|{level}" for level in (80, 95) if f"REML|{method}|{level}" in content]
    assert keys
    for key in keys:
        level = float(key.split("|")[2]) / 100.0
        interval = _model("yi ~ ablat", test="z").tau2_interval(method=method, level=level)
        assert isinstance(interval, HeterogeneityInterval)
        np.testing.assert_allclose(interval.tau2, content[key]["tau2"][1:], rtol=RTOL_LIMITS)
    assert _model("yi ~ ablat").tau2_interval(method=method).level == 0.95


def test_the_profile_peaks_at_the_estimate() -> None:
    model = _model("yi ~ ablat", method="ML")
    profile = model.profile_likelihood()
    assert profile.maximum == pytest.approx(model.log_likelihood_, rel=1e-12)
    assert (profile.log_likelihood <= profile.maximum + 1e-12).all()
    at = model.profile_likelihood([0.0, model.tau2_])
    assert at.log_likelihood[1] == pytest.approx(model.log_likelihood_, rel=1e-9)


def test_contrasts_by_name_and_by_matrix_agree() -> None:
    model = _model()
    by_name = model.contrast({"alloc[random]": 1.0, "alloc[systematic]": -1.0})
    by_row = model.contrast([[0.0, 0.0, 1.0, -1.0]])
    np.testing.assert_array_equal(by_name.table.to_numpy(), by_row.table.to_numpy())
    assert by_name.table.index.tolist() == ["+1*alloc[random] -1*alloc[systematic]"]
    jointly = model.contrast(["ablat", "alloc[random]", "alloc[systematic]"])
    np.testing.assert_allclose(jointly.record.omnibus.statistic, model.QM_, rtol=RTOL)
    np.testing.assert_allclose(jointly.table["p_value"], model.p_value_[1:], rtol=RTOL)
    assert jointly.to_dict()["omnibus"]["df_coefficients"] == 3
    assert "alloc[random]" in str(jointly)
    assert "<table" in jointly._repr_html_()


def test_variance_inflation_has_one_row_per_moderator_or_set() -> None:
    model = _model()
    each = model.vif()
    assert each.index.tolist() == ["ablat", "alloc[random]", "alloc[systematic]"]
    sets = model.vif({"alloc": ["alloc[random]", "alloc[systematic]"], "lat": ["ablat"]})
    # With two sets the factors of both are the same.
    assert sets.loc["alloc", "vif"] == pytest.approx(sets.loc["lat", "vif"])
    assert each.loc["ablat", "vif"] == pytest.approx(sets.loc["lat", "vif"])


def test_comparison_finds_the_larger_model() -> None:
    full, reduced = _model(method="ML"), _model("yi ~ ablat", method="ML")
    one, two = full.compare(reduced), reduced.compare(full)
    assert one == two
    assert one.df == 2
    expected = 2.0 * (full.log_likelihood_ - reduced.log_likelihood_)
    assert one.statistic == pytest.approx(expected, rel=1e-12)
    # tau2 itself: the same moderators with and without.
    assert _model("yi ~ ablat").compare(_model("yi ~ ablat", method="EE")).df == 1


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (_model(), _model("yi ~ ablat"), "fit both by 'ML'"),
        (_model(method="DL"), _model("yi ~ ablat", method="DL"), "methods are 'DL' and 'DL'"),
        (_model(method="ML"), _model("yi ~ total", method="ML"), "not nested"),
        (_model(method="ML"), _model(data=BCG.iloc[:12], method="ML"), "same studies"),
        (_model(method="ML"), "model", "other is a str"),
    ],
)
def test_fits_that_cannot_be_compared_are_refused(one: Any, other: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        one.compare(other)


def test_permutation_tests_are_named_and_reproducible() -> None:
    model = _model("yi ~ ablat", method="DL", test="z")
    found = model.permutation_test(200, random_state=3)
    assert found.table.index.tolist() == ["intercept", "ablat", "all moderators"]
    again = model.permutation_test(200, random_state=3)
    pd.testing.assert_frame_equal(found.table, again.table)
    assert found.record.n_arrangements == 200
    exact = _model("yi ~ 1", data=BCG.iloc[:6]).permutation_test("exact")
    assert exact.record.exact
    assert exact.record.n_arrangements == 64
    with pytest.raises(InputError, match="n_permutations is 'all'; give a number or 'exact'"):
        model.permutation_test("all")


def test_the_bootstrap_names_its_rows() -> None:
    model = _model("yi ~ ablat", method="DL")
    found = model.bootstrap(100, kind="cases", random_state=1, level=0.8)
    assert found.table.index.tolist() == ["intercept", "ablat", "tau2"]
    np.testing.assert_allclose(found.table["estimate"], [*model.coef_, model.tau2_], rtol=RTOL)
    assert found.record.beta_draws.shape == (100, 2)
    assert found.record.level == 0.8


def test_the_regression_test_adds_the_predictor_to_the_model() -> None:
    model = _model("yi ~ ablat", test="z")
    found = model.egger_test()
    by_hand = _model("yi ~ ablat + sqrt_v", data=BCG.assign(sqrt_v=np.sqrt(BCG["vi"])), test="z")
    assert found.statistic == pytest.approx(by_hand.statistic_[2], rel=RTOL)
    assert found.p_value == pytest.approx(by_hand.p_value_[2], rel=1e-6)
    sized = model.egger_test("ni", sample_size=BCG["total"])
    assert sized.predictor == "ni"
    with pytest.raises(InputError, match="ni"):
        model.egger_test("ni")


@pytest.mark.parametrize("case", ["hackshaw1998", "normand1999_SMD", "debruin2009_PLO"])
def test_small_study_tests_match_metafor(case: str) -> None:
    content = _load(f"smallstudy_{case}")
    data, expected = content["data"], content["expected"]
    model = MetaRegression(test="z").fit(None, data["yi"], sampling_variance=data["vi"])
    rank = model.rank_test()
    np.testing.assert_allclose(
        [rank.tau, rank.p_value], [expected["ranktest"]["tau"], expected["ranktest"]["pval"]], RTOL
    )
    for estimator in ("L0", "R0", "Q0"):
        wanted = expected.get(f"trimfill|{estimator}")
        if wanted is None:
            continue
        chosen: Any = estimator
        filled = model.trim_fill(estimator=chosen, side=wanted["side"])
        assert filled.n_missing == wanted["k0"]
        np.testing.assert_allclose(filled.fit.beta[0], wanted["estimate"], rtol=1e-6)
        np.testing.assert_allclose(filled.fit.se[0], wanted["se"], rtol=1e-6)


def test_small_study_tests_of_the_mean_alone_refuse_moderators() -> None:
    for call in (_model().rank_test, _model().trim_fill, _model("yi ~ ablat - 1").rank_test):
        with pytest.raises(InputError, match=r"for a fit of the intercept alone.*'ablat'"):
            call()
    dl = MetaRegression("DL", "knha", level=0.8).fit(None, BCG["yi"], sampling_variance=BCG["vi"])
    fit = dl.trim_fill().fit
    assert (fit.method, fit.test, fit.level) == ("DL", "knha", 0.8)


def test_robust_errors_match_metafor() -> None:
    content = _load("robust_uni_konstantopoulos2011_year")
    data = content["data"]
    model = MetaRegression(test="z").fit(
        np.array(data["year"])[:, None], data["yi"], sampling_variance=data["vi"]
    )
    for kind in ("CR0", "CR1", "CR2"):
        expected = content["expected"][kind]
        chosen: Any = kind
        found = model.robust(data["cluster"], kind=chosen)
        np.testing.assert_allclose(found.table["se"], expected["se"], rtol=1e-6)
        np.testing.assert_allclose(found.table["p_value"], expected["pval"], rtol=1e-6)
        np.testing.assert_allclose(found.table["df"], np.broadcast_to(expected["ddf"], 2), 1e-6)
    assert found.table.index.tolist() == ["intercept", "x0"]
    assert model.robust().record.n_clusters == model.n_studies_
    assert found.to_dict()["n_clusters"] == 11


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.contrast({"abl": 1.0}), "'abl' is not a coefficient; choose from 'intercept'"),
        (lambda m: m.contrast("ablat"), r"L is 'ablat'; give \['ablat'\]"),
        (lambda m: m.contrast([[1.0, 2.0]]), "for 4 coefficients"),
        (lambda m: m.vif({"all": ["abl"]}), "'abl' is not a coefficient"),
        (lambda m: m.tau2_interval(method="QQ"), "method is 'QQ'; choose one of 'QP', 'PL'"),
        (lambda m: m.tau2_interval(level=95), "level is 95"),
        (lambda m: m.profile_likelihood([-1.0]), "0 or more"),
        (lambda m: m.blup(level=2), "level is 2"),
        (lambda m: m.bootstrap(10, kind="x"), "kind is 'x'"),
        (lambda m: m.egger_test("size"), "predictor is 'size'"),
        (lambda m: m.robust(["a"] * 13), "more clusters"),
        (lambda m: m.robust(["a"]), r"cluster has shape \(1,\)"),
    ],
)
def test_unusable_arguments_are_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(_model())


def test_a_model_without_moderators_has_no_vif_and_no_r2() -> None:
    model = _model("yi ~ 1")
    assert np.isnan(model.R2_)
    with pytest.raises(InputError, match="intercept only"):
        model.vif()


def test_as_many_coefficients_as_studies_fit_equal_effects_exactly() -> None:
    model = _model("yi ~ ablat", data=BCG.iloc[[0, 1]], method="EE", test="z")
    np.testing.assert_allclose(model.predict(BCG.iloc[[0, 1]]), BCG["yi"].iloc[[0, 1]])
    assert np.isnan(model.R2_)
    with pytest.raises(InputError, match="more studies than coefficients"):
        _model("yi ~ ablat", data=BCG.iloc[[0, 1]])


def test_one_study_fits_with_a_warning() -> None:
    with pytest.warns(DataWarning, match="one study cannot show heterogeneity") as caught:
        model = MetaRegression().fit(None, [0.3], sampling_variance=[0.04])
    assert caught[0].filename == __file__
    assert model.tau2_ == 0.0
    np.testing.assert_allclose(model.coef_, [0.3])
    np.testing.assert_allclose(model.ci_[0], 0.3 + 1.959963984540054 * 0.2 * np.array([-1, 1]))


def test_negative_variances_are_refused_at_the_callers_position() -> None:
    gaps = [np.nan, 0.1, 0.2, 0.3]
    with pytest.raises(InputError, match=r"sampling_variance\[2\] is -0\.1; it must be 0 or more"):
        MetaRegression().fit(None, gaps, sampling_variance=[0.1, 0.1, -0.1, 0.1])


def test_scores_judge_mean_and_spread() -> None:
    model = _model("yi ~ ablat")
    v = BCG["vi"].to_numpy()
    at_mean = model.score(BCG, model.predict(BCG), sampling_variance=v)
    assert at_mean > model.score(BCG, BCG["yi"], sampling_variance=v)
    # The density of N(mean, se^2 + tau2 + v), by hand for one row.
    row = model.predict_interval(BCG.head(1))
    total = row["se"].iloc[0] ** 2 + model.tau2_ + v[0]
    away = BCG["yi"].iloc[0] - row["pred"].iloc[0]
    expected = -0.5 * (np.log(2.0 * np.pi * total) + away**2 / total)
    found = model.score(BCG.head(1), BCG["yi"].head(1), sampling_variance=v[:1])
    assert found == pytest.approx(expected, rel=1e-12)
    for y, variance, message in (
        ([1.0], [-1.0], "must be 0 or more"),
        ([1.0, 2.0], [1.0], "y has 2 values for 1 rows"),
        ([np.nan], [1.0], r"y\[0\] is nan"),
    ):
        with pytest.raises(InputError, match=message):
            model.score(BCG.head(1), y, sampling_variance=variance)


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(InputError, match="method is 'MLE'; choose one of"):
        _model(method="MLE")


def test_variances_of_very_different_size_are_warned_of() -> None:
    with pytest.warns(DataWarning, match="factor of 1e\\+11: about 5 digits"):
        MetaRegression().fit(None, [0.1, 0.4, 0.2, 0.3], sampling_variance=[1e-10, 10.0, 1.0, 1.0])
