"""The estimators inside scikit-learn: cloning, pipelines, routing, cross-validation, pickling."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone, is_regressor
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ketacast.errors import InputError
from ketacast.estimators import (
    BayesianMetaRegression,
    BinomialMetaRegression,
    DataWarning,
    MetaRegression,
    MultilevelMetaRegression,
)

#: The same fit through another door: rounding, and tau2 found anew.
RTOL = 1e-8

ESTIMATORS: tuple[Any, ...] = (
    MetaRegression(),
    BinomialMetaRegression(),
    MultilevelMetaRegression(),
    BayesianMetaRegression(0.5),
)


def _studies(k: int = 24, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "dose": rng.uniform(0.0, 10.0, k),
            "year": 1990.0 + np.arange(k),
            "route": np.array(["iv", "nasal", "oral"])[np.arange(k) % 3],
            "site": np.arange(k) // 2,
            "n": rng.integers(30, 120, k),
            "vi": rng.uniform(0.02, 0.2, k),
        },
        index=pd.Index([f"s{i}" for i in range(k)]),
    )
    logit = -0.5 + 0.1 * frame["dose"] + rng.normal(0.0, 0.4, k)
    frame["yi"] = logit + rng.normal(0.0, 1.0, k) * np.sqrt(frame["vi"])
    frame["events"] = rng.binomial(frame["n"], 1.0 / (1.0 + np.exp(-logit)))
    return frame


def _arguments(estimator: Any) -> dict[str, str]:
    if isinstance(estimator, BinomialMetaRegression):
        return {"y": "events", "n": "n"}
    more = {"groups": "site"} if isinstance(estimator, MultilevelMetaRegression) else {}
    return {"y": "yi", "sampling_variance": "vi", **more}


def _fitted(estimator: Any, formula: str = "dose + route") -> Any:
    return clone(estimator).fit(formula, data=_studies(), **_arguments(estimator))


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_clone_keeps_parameters_and_forgets_the_fit(estimator: Any) -> None:
    fitted = _fitted(estimator)
    copy = clone(fitted)
    assert copy.get_params() == estimator.get_params()
    assert is_regressor(copy)
    with pytest.raises(NotFittedError):
        copy.predict(None)
    with pytest.raises(NotFittedError):
        copy.summary()


@pytest.mark.parametrize("formula", [None, "dose + C(route)", "bs(year, df=4)", "poly(dose, 2)"])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_pickles_predict_alike(estimator: Any, formula: Any) -> None:
    fitted, new = _fitted(estimator, formula), _studies().iloc[3:7]
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    pd.testing.assert_frame_equal(again.predict_interval(new), fitted.predict_interval(new))
    assert str(again.summary()) == str(fitted.summary())


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_all_ways_in_give_the_same_fit(estimator: Any) -> None:
    table, names = _studies(), _arguments(estimator)
    columns = {name: table[column] for name, column in names.items()}
    arrays = {name: column.to_numpy() for name, column in columns.items()}
    by_formula = clone(estimator).fit("dose + year", data=table, **names)
    ways = [
        clone(estimator).fit(table[["dose", "year"]], **columns),
        clone(estimator).fit(table[["dose", "year"]], data=table, **names),
        clone(estimator).fit(table[["dose", "year"]].to_numpy(), **arrays),
        clone(estimator).fit(table[["dose", "year"]].to_numpy().tolist(), **arrays),
        clone(estimator).fit(f"{names['y']} ~ dose + year", data=table, **{**names, "y": None}),
    ]
    for other in ways:
        np.testing.assert_allclose(other.coef_, by_formula.coef_, rtol=RTOL)
        assert other.n_features_in_ == 2
    assert ways[0].feature_names_in_.tolist() == ["dose", "year"]
    assert not hasattr(ways[2], "feature_names_in_")
    assert not hasattr(ways[0].fit(table[["dose"]].to_numpy(), **arrays), "feature_names_in_")


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_predictions_at_the_rows_of_the_fit_are_its_fitted_values(estimator: Any) -> None:
    fitted = _fitted(estimator, "bs(year, df=4) + route")
    table = _studies()
    np.testing.assert_allclose(fitted.predict(table), fitted.studies_.matrix @ fitted.coef_)
    shuffled = table.sample(frac=1.0, random_state=0)[table.columns[::-1]]
    intervals = fitted.predict_interval(shuffled)
    assert intervals.index.equals(shuffled.index)
    np.testing.assert_allclose(intervals.loc[table.index, "pred"], fitted.predict(table))
    assert (intervals["pi_lb"] < intervals["ci_lb"]).all()
    assert (intervals["pi_ub"] > intervals["ci_ub"]).all()


@pytest.mark.usefixtures("routing")
def test_a_pipeline_routes_the_sampling_variances() -> None:
    table = _studies()
    X, y, v = table[["dose", "year"]], table["yi"], table["vi"]
    pipeline = make_pipeline(
        StandardScaler(), MetaRegression().set_fit_request(sampling_variance=True)
    )
    pipeline.fit(X, y, sampling_variance=v)
    plain = MetaRegression().fit(X, y, sampling_variance=v)
    np.testing.assert_allclose(pipeline.predict(X), plain.predict(X), rtol=RTOL)
    np.testing.assert_allclose(pipeline[-1].QM_, plain.QM_, rtol=RTOL)


@pytest.mark.usefixtures("routing")
def test_cross_validation_scores_by_predictive_density() -> None:
    table = _studies()
    model = (
        MetaRegression()
        .set_fit_request(sampling_variance=True)
        .set_score_request(sampling_variance=True)
    )
    arguments: dict[str, Any] = {"params": {"sampling_variance": table["vi"]}, "cv": 4}
    good = cross_val_score(model, table[["dose"]], table["yi"], **arguments)
    noise = np.random.default_rng(0).normal(size=(len(table), 1))
    poor = cross_val_score(model, noise, table["yi"], **arguments)
    assert good.mean() > poor.mean()
    search = GridSearchCV(model, {"method": ["REML", "EE"]}, cv=4)
    search.fit(table[["dose"]], table["yi"], sampling_variance=table["vi"])
    # Heterogeneous studies: leaving tau2 out makes predictions too sure.
    assert search.best_params_ == {"method": "REML"}


@pytest.mark.usefixtures("routing")
def test_other_estimators_route_as_well() -> None:
    table = _studies()
    counts = Pipeline(
        [("scale", StandardScaler()), ("fit", BinomialMetaRegression().set_fit_request(n=True))]
    )
    counts.fit(table[["dose"]], table["events"], n=table["n"])
    assert counts[-1].n_studies_ == len(table)
    nested = make_pipeline(
        StandardScaler(),
        MultilevelMetaRegression().set_fit_request(sampling_variance=True, groups=True),
    )
    nested.fit(table[["dose"]], table["yi"], sampling_variance=table["vi"], groups=table["site"])
    assert nested[-1].n_groups_ == 12


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_pipelines_are_cross_validated_like_their_last_step(estimator: Any) -> None:
    table = _studies()
    y, *names = _arguments(estimator).items()
    params = {name: table[column] for name, column in names}
    scored = {name: True for name in params if name != "groups"}
    own = clone(estimator).set_fit_request(**dict.fromkeys(params, True))
    own.set_score_request(**scored)
    X, effects = table[["dose", "year"]], table[y[1]]
    # The folds are plain, so `groups` goes to the estimator alone.
    options: dict[str, Any] = {"params": params, "cv": 3}
    alone = cross_val_score(own, X, effects, **options)
    piped = cross_val_score(make_pipeline(StandardScaler(), own), X, effects, **options)
    # Standardised moderators are the same model.
    np.testing.assert_allclose(piped, alone, rtol=1e-6)
    own.set_score_request(**scored, sample_weight=True)
    weighted = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), own)
    weighted.fit(X, effects, **params)
    given = {name: params[name] for name in scored}
    once = weighted.score(X, effects, **given)
    assert weighted.score(X, effects, **given, sample_weight=np.full(24, 3.0)) == pytest.approx(
        once
    )


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_weights_of_a_score_are_those_of_a_mean(estimator: Any) -> None:
    table, fitted = _studies().head(4), _fitted(estimator)
    y, *names = _arguments(estimator).items()
    names = [pair for pair in names if pair[0] != "groups"]

    def score(rows: pd.DataFrame, weight: object = None) -> float:
        given = {name: rows[column] for name, column in names}
        return float(fitted.score(rows, rows[y[1]], **given, sample_weight=weight))

    each = [score(table.iloc[[i]]) for i in range(4)]
    weight = [3.0, 0.0, 1.0, 0.5]
    assert score(table, weight) == pytest.approx(np.average(each, weights=weight), rel=1e-12)
    assert score(table) == pytest.approx(np.mean(each), rel=1e-12)
    for bad, message in (
        ([1.0, 1.0], "sample_weight has 2 values for 4 rows"),
        ([1.0, 1.0, -1.0, 1.0], r"sample_weight\[2\] is -1\.0; it must be 0 or more"),
        ([0.0] * 4, "0 for all rows"),
        ([1.0, 1.0, np.nan, 1.0], "must not be missing"),
    ):
        with pytest.raises(InputError, match=message):
            score(table, bad)


def test_without_routing_the_error_says_what_to_do() -> None:
    table = _studies()
    with pytest.raises(InputError, match=r"set_fit_request\(sampling_variance=True\)"):
        make_pipeline(StandardScaler(), MetaRegression()).fit(table[["dose"]], table["yi"])
    with pytest.raises(InputError, match=r"set_score_request\(sampling_variance=True\)"):
        _fitted(ESTIMATORS[0]).score(table, table["yi"])


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_shared_refusals(estimator: Any) -> None:
    table, names = _studies(), _arguments(estimator)

    def refused(message: str, X: Any = "dose", **changes: Any) -> None:
        with pytest.raises(InputError, match=message):
            clone(estimator).fit(X, **{"data": table, **names, **changes})

    refused("requires y to be passed, but the target y is None", y=None)
    refused("y is 'ye', which is not a column of data; it has 'dose'", y="ye")
    refused("give data=DataFrame", X=table[["dose"]], data=None)
    refused("data is a list", X=None, data=[1])
    refused("the formula names 'yi' as well", X="yi ~ dose")
    refused("'nothing', which is not a column", X="nothing ~ dose", y=None)
    refused("X has 24 rows and y has 3", X=table[["dose"]].to_numpy(), y=np.ones(3))
    refused("y and data have different row labels", y=table["yi"].iloc[::-1])
    refused(
        "y and X have different row labels", X=table[["dose"]], y=table["yi"].reset_index()["yi"]
    )
    refused("y is not numeric", y=table["route"].to_numpy().astype(str))
    refused(r"y\[1\] is inf", y=np.where(np.arange(24) == 1, np.inf, 1.0))
    refused(r"y has 0 dimension\(s\), shape \(\); give one value per study", y=0.5)
    refused("no row is complete", y=np.full(24, np.nan))
    if not isinstance(estimator, BayesianMetaRegression):
        refused("2 studies", data=table.iloc[:2])
    for bad in ({"level": 95}, {"fit_intercept": "no"}):
        with pytest.raises(InputError, match=f"{next(iter(bad))} is"):
            clone(estimator).set_params(**bad).fit("dose", data=table, **names)
    if "test" in estimator.get_params():
        with pytest.raises(InputError, match="test is 'wald'; choose one of"):
            clone(estimator).set_params(test="wald").fit("dose", data=table, **names)
    fitted = clone(estimator).fit("dose + route", data=table, **names)
    with pytest.raises(InputError, match="level is 95"):
        fitted.predict_interval(table, level=95)
    with pytest.raises(InputError, match="kind is 'wide'"):
        fitted.predict_interval(table, kind="wide")
    with pytest.raises(InputError, match="transform is 'square'; choose one of 'PLO'"):
        fitted.predict_interval(table, transform="square")
    with pytest.raises(InputError, match="element by element"):
        fitted.predict_interval(table, transform=np.sum)
    with pytest.raises(InputError, match="level 'im', which was not in the fit"):
        fitted.predict(table.assign(route="im"))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_gaps_anywhere_leave_the_row_out_and_nothing_else(estimator: Any) -> None:
    table, names = _studies(), _arguments(estimator)
    gaps = table.copy()
    gaps["site"] = gaps["site"].astype(object)
    for row, column in (
        (0, "dose"),
        (3, names["y"]),
        (5, "route"),
        (9, names.get("groups", "dose")),
    ):
        gaps.loc[f"s{row}", column] = None
    with pytest.warns(DataWarning, match="4 of 24 rows") as caught:
        fitted = clone(estimator).fit("dose + route", data=gaps, **names)
    assert caught[0].filename == __file__
    complete = table.drop(index=["s0", "s3", "s5", "s9"])
    wanted = clone(estimator).fit("dose + route", data=complete, **names)
    np.testing.assert_allclose(fitted.coef_, wanted.coef_, rtol=RTOL)
    assert fitted.studies_.labels.equals(complete.index)


def test_a_column_vector_is_read_with_sklearns_warning() -> None:
    table = _studies()
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        model = MetaRegression().fit(
            table[["dose"]].to_numpy(), table[["yi"]].to_numpy(), sampling_variance=table["vi"]
        )
    assert model.coef_.shape == (2,)


def test_callables_and_names_transform_alike() -> None:
    model, new = _fitted(ESTIMATORS[0]), _studies().head(3)
    pd.testing.assert_frame_equal(
        model.predict_interval(new, transform="exp"), model.predict_interval(new, transform=np.exp)
    )
    assert "se" not in model.predict_interval(new, transform="logit")


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_summaries_print_and_render(estimator: Any) -> None:
    fitted = _fitted(estimator)
    summary = fitted.summary()
    for name in fitted.coef_names_:
        assert name in str(summary)
    assert "<table" in summary._repr_html_()
    assert set(summary.to_dict()) == {"title", "facts", "coefficients"}
    assert type(estimator).__name__ in repr(estimator)
    assert summary.coefficients.equals(fitted.coefficients())


def test_fitted_arrays_cannot_be_altered_by_accident() -> None:
    model = _fitted(ESTIMATORS[0])
    with pytest.raises(ValueError, match="read-only"):
        model.coef_[0] = 1.0
