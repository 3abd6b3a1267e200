"""MetaRegression against metafor 3.8-1 (``tests/reference``), from a table to its attributes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ketacast.effects import back_transform
from ketacast.estimators import DataWarning, MetaRegression
from ketacast.numerics.normal import NORMAL_TESTS, TAU2_METHODS

REFERENCE = Path(__file__).parent.parent / "reference"

#: Both sides solve for tau2 to 1e-11 or better; p-values far out magnify that.
RTOL = 1e-8
#: Rounding of numbers of order one.
ATOL = 1e-12
#: A prediction's limit near 0 is a difference of numbers of order one to RTOL.
ATOL_LIMIT = 1e-9
#: R2 of a tau2 that the iteration brought near another one loses digits.
RTOL_R2 = 1e-6

#: The grid must not shrink silently.
EXPECTED_FITS = 300
EXPECTED_PREDICTIONS = 204
FACTORS = ("alloc", "grade", "ethnicity")
NAMES = {"intrcpt": "intercept"}


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _table(case: str) -> pd.DataFrame:
    data = _load(case)["data"]
    skipped = ("design_matrix", "design_columns", "newmods")
    return pd.DataFrame({name: data[name] for name in data if name not in skipped})


def _moderators(case: str) -> list[str]:
    return [str(name) for name in _table(case) if name not in ("yi", "vi", "xi", "ni")]


def _cases(pattern: str) -> list[tuple[str, str]]:
    return [
        (path.stem, key)
        for path in sorted(REFERENCE.glob(pattern))
        for key, expected in _load(path.stem)["expected"].items()
        if "error" not in expected
    ]


FITS = [
    (case, key)
    for case, key in _cases("rma_uni_*.json")
    if len(key.split("|")) == 2 and key.split("|")[0] in TAU2_METHODS
]
PREDICTIONS = [
    (case, key)
    for case, key in _cases("predict_*.json")
    if key.split("|")[-1] not in ("vcov", "tau2_beta_vb")
]


def _fit(case: str, method: str, test: str, level: float = 0.95) -> MetaRegression:
    """Numbers as a matrix, factors as a table or by formula: the ways in that users have."""
    table, names = _table(case), _moderators(case)
    model = MetaRegression(method=method, test=test, level=level)  # type: ignore[arg-type]
    if not names:
        return model.fit(None, table["yi"], sampling_variance=table["vi"])
    if "grade" in names:
        return model.fit("yi ~ C(grade)", sampling_variance="vi", data=table)
    if set(names) & set(FACTORS):
        return model.fit(table[names], table["yi"], sampling_variance=table["vi"])
    v = table["vi"].to_numpy()
    return model.fit(table[names].to_numpy(), table["yi"].to_numpy(), sampling_variance=v)


def _close(
    actual: object, expected: object, name: str, rtol: float = RTOL, atol: float = ATOL
) -> None:
    wanted = np.asarray(expected, dtype=np.float64)
    found = np.asarray(actual, dtype=np.float64)
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol, err_msg=name)


def test_grids_of_cases_do_not_shrink() -> None:
    assert len(FITS) == EXPECTED_FITS
    assert len(PREDICTIONS) == EXPECTED_PREDICTIONS
    assert {key.split("|")[0] for _, key in FITS} == set(TAU2_METHODS)
    assert {key.split("|")[1] for _, key in FITS} == set(NORMAL_TESTS)
    assert len({case for case, _ in FITS}) == 12


@pytest.mark.filterwarnings("ignore::ketacast.estimators.DataWarning")
@pytest.mark.parametrize(("case", "key"), FITS)
def test_fit_matches_metafor(case: str, key: str) -> None:
    method, test = key.split("|")
    expected = _load(case)["expected"][key]
    model = _fit(case, method, test)
    stats = expected["fit_stats"]["REML" if method == "REML" else "ML"]
    compared = {
        "beta": model.coef_,
        "se": model.se_,
        "stat": model.statistic_,
        "pval": model.p_value_,
        "ci_lb": model.ci_[:, 0],
        "ci_ub": model.ci_[:, 1],
        "vb": model.cov_,
        "tau2": model.tau2_,
        "I2": model.I2_,
        "H2": model.H2_,
        "QE": model.QE_,
        "QEp": model.QE_p_,
        "QM": model.QM_,
        "QMp": model.QM_p_,
    }
    for name, value in compared.items():
        _close(value, expected[name], name)
    for name, value in (
        ("ll", model.log_likelihood_),
        ("AIC", model.aic_),
        ("AICc", model.aicc_),
        ("BIC", model.bic_),
    ):
        _close(value, stats[name], name)
    _close(model.tau2_se_, expected["se_tau2"] or np.nan, "se_tau2")
    _close(model.R2_, np.nan if expected["R2"] is None else expected["R2"], "R2", RTOL_R2)
    assert list(model.QM_df_) == expected["QM_df"]
    assert (model.QE_df_, model.n_studies_) == (expected["QE_df"], expected["k"])
    assert model.coef_names_[0] == "intercept"
    assert model.coef_names_.size == expected["p"]


@pytest.mark.parametrize(("case", "key"), PREDICTIONS)
def test_prediction_matches_metafor(case: str, key: str) -> None:
    method, test, level, kind, *transformed = key.split("|")
    content = _load(case)
    expected, new = content["expected"][key], content["data"]["newmods"]
    model = _fit(case, method, test)
    table = model.predict_interval(
        new,
        level=float(level) / 100.0,
        kind=kind,  # type: ignore[arg-type]
        transform="logit" if transformed else None,
    )
    for name in table.columns:
        _close(table[name], expected[name], name, atol=ATOL_LIMIT)
    assert ("se" in table) is not bool(transformed)
    if not transformed:
        _close(model.predict(new), expected["pred"], "predict")
        by_name = back_transform(table["ci_lb"].to_numpy(), "PLO")
        carried = model.predict_interval(new, level=float(level) / 100.0, transform="PLO")
        _close(carried["ci_lb"], by_name, "transform")


@pytest.mark.parametrize("key", ["REML|z", "REML|knha", "DL|z", "DL|knha"])
def test_rows_with_missing_values_are_left_out_as_in_metafor(key: str) -> None:
    method, test = key.split("|")
    case = "awkward_missing_values_bcg"
    model: Any = MetaRegression(method=method, test=test)  # type: ignore[arg-type]
    table, expected = _table(case), _load(case)["expected"][key]
    with pytest.warns(DataWarning, match=r"2 of 13 rows .* y at row 1; X at row 4") as caught:
        model.fit("yi ~ ablat", sampling_variance="vi", data=table)
    assert caught[0].filename == __file__
    _close(model.coef_, expected["beta"], "beta")
    _close(model.se_, expected["se"], "se")
    assert model.n_studies_ == 11
    assert not model.studies_.used[[1, 4]].any()


@pytest.mark.parametrize("key", ["REML|z", "REML|knha", "DL|z", "DL|knha"])
def test_collinear_columns_are_dropped_as_in_metafor(key: str) -> None:
    method, test = key.split("|")
    case = "awkward_collinear_exact_bcg"
    model: Any = MetaRegression(method=method, test=test)  # type: ignore[arg-type]
    table, expected = _table(case), _load(case)["expected"][key]
    with pytest.warns(DataWarning, match="redundant columns are left out: 'abl2'"):
        model.fit(table[["ablat", "abl2", "year"]], table["yi"], sampling_variance=table["vi"])
    _close(model.coef_, expected["beta"], "beta")
    _close(model.se_, expected["se"], "se")
    assert model.dropped_columns_.tolist() == ["abl2"]
    assert model.coef_names_.tolist() == ["intercept", "ablat", "year"]
    np.testing.assert_allclose(
        model.predict(table), model.studies_.matrix @ model.coef_, rtol=0, atol=ATOL
    )


def test_a_constant_moderator_is_dropped_as_in_metafor() -> None:
    case = "awkward_constant_moderator_bcg"
    table, expected = _table(case), _load(case)["expected"]["REML|z"]
    with pytest.warns(DataWarning, match="'const'"):
        model = MetaRegression(test="z").fit(
            "const + ablat", table["yi"], sampling_variance="vi", data=table
        )
    _close(model.coef_, expected["beta"], "beta")
    _close(model.se_, expected["se"], "se")


def test_a_nearly_collinear_column_is_kept() -> None:
    # metafor drops it (its tolerance is 1e-7 of the column's length, ours 1e-12);
    # the fit that keeps it contains metafor's, so its likelihood is at least as high.
    case = "awkward_collinear_near_bcg"
    table, expected = _table(case), _load(case)["expected"]["REML|z"]
    model = MetaRegression("ML", "z").fit("yi ~ ablat + near", sampling_variance="vi", data=table)
    without = MetaRegression("ML", "z").fit("yi ~ ablat", sampling_variance="vi", data=table)
    assert model.dropped_columns_.size == 0
    assert model.log_likelihood_ >= without.log_likelihood_
    reml = MetaRegression("REML", "z").fit("yi ~ ablat", sampling_variance="vi", data=table)
    _close(reml.coef_, expected["beta"], "beta")


def test_badly_scaled_moderators_fit_where_metafor_refuses() -> None:
    case = "awkward_badly_scaled_moderators_bcg"
    table, expected = _table(case), _load(case)["expected"]["rescaled"]
    model = MetaRegression(test="z").fit(
        table[["big", "tiny"]], table["yi"], sampling_variance=table["vi"]
    )
    assert model.dropped_columns_.size == 0
    _close(model.tau2_, expected["tau2"], "tau2")
    _close(model.QE_, expected["QE"], "QE")
    _close(model.QM_, expected["QM"], "QM")
    _close(model.predict(table), expected["fitted"], "fitted")
    _close(model.coef_[1:], [expected["slope_big"], expected["slope_tiny"]], "slopes", 1e-7)


@pytest.mark.parametrize("method", ["HE", "SJ", "ML", "REML", "EB"])
def test_a_sampling_variance_of_zero_fits_with_a_warning(method: Any) -> None:
    case = "awkward_zero_variance_bcg"
    table, expected = _table(case), _load(case)["expected"][f"{method}|z"]
    with pytest.warns(DataWarning, match="sampling variance is 0 in 1 of 6 studies"):
        model = MetaRegression(method, "z").fit(None, "yi", sampling_variance="vi", data=table)
    _close(model.tau2_, expected["tau2"], "tau2")
    _close(model.coef_, expected["beta"], "beta")
    _close(model.se_, expected["se"], "se")
    assert np.isnan([model.QE_, model.QE_p_, model.I2_, model.H2_]).all()
    assert "-" in str(model.summary())


def test_splines_and_polynomials_predict_as_in_r() -> None:
    # f <- bs(dat$year, df=5); m <- rma(yi, vi, mods=~f, data=dat)
    # predict(m, newmods=unclass(predict(f, c(1950, 1971.5)))[, 1:5])$pred
    table = _table("rma_uni_bcg_ablat_year").assign(
        alloc=_table("rma_uni_bcg_alloc_factor")["alloc"]
    )
    model = MetaRegression(test="z").fit("yi ~ bs(year, df=5)", sampling_variance="vi", data=table)
    new = pd.DataFrame({"year": [1950.0, 1971.5]})
    _close(model.predict(new), [-0.998543727063, -0.256750466573], "bs")
    _close(model.tau2_, 0.313740027652, "tau2")
    # m <- rma(yi, vi, mods=~poly(ablat, 2) + alloc, data=dat); fitted(m)[1:3]
    model = MetaRegression(test="z").fit(
        "yi ~ poly(ablat, 2) + alloc", sampling_variance="vi", data=table
    )
    fitted = [-1.10871564894, -1.62713396128, -1.02934408706]
    _close(model.predict(table.head(3)), fitted, "poly")
    _close(model.tau2_, 0.170056407713, "tau2")
