"""Calls that users of R or scikit-learn try: a right answer or a clear refusal, nothing else."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from ketacast.errors import InputError
from ketacast.estimators import (
    BayesianMetaRegression,
    BinomialMetaRegression,
    DataWarning,
    MetaRegression,
    MultilevelMetaRegression,
)

REFERENCE = Path(__file__).parent.parent / "reference"
#: The same fit through another door.
RTOL = 1e-8


def _bcg() -> pd.DataFrame:
    data = json.loads((REFERENCE / "rma_uni_bcg_ablat_alloc.json").read_text())["data"]
    return pd.DataFrame({name: data[name] for name in ("yi", "vi", "ablat", "alloc")})


BCG = _bcg()
Y, V, LATITUDE = BCG["yi"], BCG["vi"], BCG[["ablat"]]


def _fit(X: Any = "ablat", y: Any = Y, v: Any = V, data: Any = BCG, **options: Any) -> Any:
    return MetaRegression(**options).fit(X, y, sampling_variance=v, data=data)


PLAIN = _fit(LATITUDE)


@pytest.mark.parametrize(
    "model",
    [
        _fit(LATITUDE.to_numpy().tolist(), list(Y), tuple(V)),
        _fit(LATITUDE.astype(object), Y.astype(object), V.astype(object)),
        _fit(LATITUDE.astype("Int64"), Y.astype("Float64"), V.astype("Float64")),
        _fit("Q('ab lat')", data=BCG.rename(columns={"ablat": "ab lat"})),
        _fit("`ab lat`", data=BCG.rename(columns={"ablat": "ab lat"})),
        _fit("länge", data=BCG.rename(columns={"ablat": "länge"})),
        _fit(LATITUDE.set_axis([0], axis=1)),
        _fit("yi ~ ablat", None, "vi", BCG.set_index(pd.Index([0] * 13))),
        _fit("yi ~ ablat", None, "vi", BCG.set_index(["alloc", "ablat"], drop=False)),
    ],
)
def test_all_kinds_of_columns_are_the_same_fit(model: Any) -> None:
    np.testing.assert_allclose(model.coef_, PLAIN.coef_, rtol=RTOL)
    assert len(model.leave_one_out()) == 13


def test_exact_numbers_are_read() -> None:
    model = _fit(None, [Fraction(1, 2), 1, 2.5], [1, 2, 1], None)
    np.testing.assert_allclose(model.coef_, _fit(None, [0.5, 1, 2.5], [1, 2, 1], None).coef_)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (BCG["ablat"], "to_frame"),
        (BCG["ablat"].to_numpy(), "reshape"),
        ({"ablat": [1.0] * 13}, r"X is a dict; give a table: pd\.DataFrame\(X\)"),
        (["ablat", "alloc"], r"list of names; give data\[\['ablat', 'alloc'\]\] or the formula"),
        ("", "no right-hand side"),
        ("yi ~ ", "no right-hand side"),
        ("ablat +* 2", "cannot be read"),
        ("__import__('os').getcwd()", "cannot be read"),
        ("factor(alloc)", r"C\(x\) makes a factor"),
        ("I(1 / (ablat - 44))", r"'I\(1 / \(ablat - 44\)\)' is inf in row 0"),
        ("np.sqrt(ablat - 20)", "NaN|nan|invalid"),
        (1e200 * LATITUDE, "'ablat' has values up to 5.5e\\+201, .* other units"),
        (1e-200 * LATITUDE, "other units"),
    ],
)
def test_unusable_moderators_say_what_to_give(X: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _fit(X, None if isinstance(X, str) and "~" in X else Y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _fit(level=95), "level is 95"),
        (lambda: _fit(level=0), "level is 0"),
        (lambda: _fit(level=1), "level is 1"),
        (lambda: _fit(method="reml"), "choose one of 'REML'"),
        (lambda: _fit(test="F"), "choose one of 'z'"),
        (lambda: _fit(fit_intercept=1), "give True or False"),
        (lambda: PLAIN.predict(LATITUDE.to_numpy()), "give a DataFrame with 'ablat'"),
        (lambda: PLAIN.predict(BCG[["alloc"]]), "X has no column 'ablat'"),
        (lambda: PLAIN.predict(LATITUDE.iloc[:0]), "no rows"),
        (lambda: PLAIN.predict_interval(BCG, transform=np.negative), "decreasing"),
        (lambda: PLAIN.predict_interval(BCG, transform=np.log), "gives NaN at -"),
        (lambda: PLAIN.predict_interval(BCG, transform=float), "fails for an array"),
        (lambda: PLAIN.predict_design([[1.0]]), "give one per coefficient: 'intercept', 'ablat'"),
        (lambda: PLAIN.predict_design([1.0, 2.0]), "dimension"),
        (lambda: PLAIN.predict_design([[1.0, 2.0]], kind="all"), "kind is 'all'"),
        (lambda: PLAIN.permutation_test(0), "n_permutations is 0"),
        (lambda: PLAIN.permutation_test(1e9), "n_permutations is 1000000000.0"),
        (lambda: PLAIN.permutation_test(9, random_state=None), "random_state is None"),
        (lambda: PLAIN.bootstrap(9, random_state=-1), "random_state is -1"),
        (lambda: PLAIN.bootstrap(1), "n_resamples is 1"),
        (lambda: PLAIN.contrast({}), "L is empty"),
        (lambda: PLAIN.contrast({"ablat": "much"}), "L is not numeric"),
        (lambda: PLAIN.contrast(pd.DataFrame({"lat": [1]})), "'lat' is not a coefficient"),
        (lambda: PLAIN.vif(["ablat"]), "sets is .* give a dict"),
        (lambda: PLAIN.vif({"a": "ablat"}), "'ablat' is no list of names"),
        (lambda: PLAIN.vif({"a": None}), "None is no list of names"),
    ],
)
def test_unusable_options_are_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda labels: PLAIN.leave_one_out(groups=labels),
        lambda labels: PLAIN.influence(groups=labels),
        PLAIN.robust,
        lambda labels: PLAIN.egger_test("ni", sample_size=labels),
        lambda labels: PLAIN.score(BCG, labels, sampling_variance=V),
        lambda labels: PLAIN.score(BCG, Y, sampling_variance=labels),
    ],
)
def test_rows_in_another_order_are_refused(call: Any) -> None:
    values = pd.Series(np.arange(1.0, 14.0), index=BCG.index)
    call(values)
    with pytest.raises(InputError, match="row labels"):
        call(values.iloc[::-1])
    # Without labels the order is the caller's word.
    call(values.iloc[::-1].to_numpy())


def test_combinations_come_in_many_shapes() -> None:
    model = _fit("ablat + alloc")
    wanted = model.contrast([[0, 1, 0, 0], [0, 0, 1, -1]]).table.to_numpy()
    table = pd.DataFrame(
        {"alloc[random]": [0, 1], "alloc[systematic]": [0, -1], "ablat": [1, 0]}, index=["a", "b"]
    )
    found = model.contrast(table).table
    assert found.index.tolist() == ["a", "b"]
    np.testing.assert_array_equal(found.to_numpy(), wanted)
    one = model.contrast(table.loc["b"]).table
    np.testing.assert_array_equal(one.to_numpy(), wanted[1:])
    by_names = model.contrast(model.coef_names_[1:]).record.omnibus
    np.testing.assert_allclose(by_names.statistic, model.QM_, rtol=RTOL)


def test_levels_that_no_study_has_are_forgotten() -> None:
    levels = ["none", "systematic", "random", "alternate"]
    model = _fit(pd.DataFrame({"c": pd.Categorical(BCG["alloc"], categories=levels)}))
    assert model.coef_names_.tolist() == ["intercept", "c[random]", "c[alternate]"]
    assert model.studies_.table["c"].cat.categories.tolist() == levels[1:]
    with pytest.raises(InputError, match="level 'none'"):
        model.predict(pd.DataFrame({"c": ["none"]}))


def test_flags_are_factors() -> None:
    model = _fit("high", data=BCG.assign(high=BCG["ablat"] > 30))
    assert model.coef_names_.tolist() == ["intercept", "high[True]"]
    found = model.predict(pd.DataFrame({"high": [True, False]}))
    np.testing.assert_allclose(found, [model.coef_.sum(), model.coef_[0]], rtol=RTOL)


def test_the_fit_keeps_its_moderators() -> None:
    gaps = BCG.assign(ablat=BCG["ablat"].astype(float).mask(BCG.index == 4))
    with pytest.warns(DataWarning, match="1 of 13 rows"):
        model = _fit("bs(ablat, df=4) + C(alloc)", data=gaps)
    kept = gaps.drop(index=4)[["ablat", "alloc"]]
    pd.testing.assert_frame_equal(model.studies_.table.astype(kept.dtypes), kept)
    array = _fit(LATITUDE.to_numpy(), data=None)
    pd.testing.assert_frame_equal(
        array.studies_.table, LATITUDE.astype(float).set_axis(["x0"], axis=1)
    )
    assert _fit(None).studies_.table.shape == (13, 0)


def test_design_rows_predict_as_tables_do() -> None:
    table = PLAIN.predict_interval(BCG, level=0.8, kind="t")
    found = PLAIN.predict_design(PLAIN.studies_.matrix, level=0.8, kind="t")
    np.testing.assert_array_equal(found.mean, table["pred"])
    np.testing.assert_array_equal(found.pi_upper, table["pi_ub"])


def test_effects_on_the_line_leave_plain_knapp_hartung_without_a_scale() -> None:
    with pytest.warns(DataWarning, match="no standard errors.*use test='adhoc'") as caught:
        model = _fit("ablat", np.zeros(13), V.to_numpy(), test="knha")
    assert caught[0].filename == __file__
    assert np.isnan(model.p_value_).all()
    assert "F(1, 11) = -" in str(model.summary())


@pytest.mark.parametrize(
    "estimator",
    [
        MetaRegression(),
        BinomialMetaRegression(),
        MultilevelMetaRegression(),
        BayesianMetaRegression(0.5),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_before_the_fit_everything_says_so(estimator: Any) -> None:
    names = [name for name in dir(type(estimator)) if not name.startswith("_")]
    own = [name for name in names if name.endswith("_")]
    for name in own:
        assert not hasattr(estimator, name)
        with pytest.raises(NotFittedError):
            getattr(estimator, name)
    methods = {
        "blup", "bootstrap", "coefficients", "egger_test", "influence", "leave_one_out",
        "permutation_test", "predict", "predict_interval", "profile_likelihood", "rank_test",
        "residuals", "robust", "shrinkage", "summary", "tau2_interval", "trim_fill", "vif",
        "variance_interval",
    } & set(names)  # fmt: skip
    assert len(methods) >= 5
    for name in methods:
        with pytest.raises(NotFittedError):
            getattr(estimator, name)()


@pytest.mark.parametrize("X", [BCG[["alloc"]], "alloc", "C(alloc)", "C(zone)"])
def test_a_factor_that_does_not_vary_is_named(X: Any) -> None:
    data = BCG.assign(zone=1.0)
    rest = data["alloc"] != "random"
    y = Y.mask(rest)
    with pytest.warns(DataWarning) as caught:
        model = _fit(X, y, V, data)
    told = [str(one.message) for one in caught]
    assert ["7 of 13" in one or "6 of 13" in one for one in told] == [True, False]
    assert "has a single level in the studies of the fit" in told[1]
    assert caught[1].filename == __file__
    assert model.coef_names_.tolist() == ["intercept"]
    assert "factors of one level: " in str(model.summary())


def test_coefficients_have_one_name_each() -> None:
    for table in (
        pd.DataFrame({1: BCG["ablat"], "1": Y}),
        pd.DataFrame({"f": BCG["alloc"], "f[random]": BCG["ablat"]}),
    ):
        with pytest.raises(InputError, match=r"two coefficients are called .*rename"):
            _fit(table)
