"""Model comparison against metafor 3.8-1 (files in ``tests/reference``) and its invariants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.numerics.comparison import (
    aic,
    aicc,
    bic,
    contrast,
    deviance,
    likelihood_ratio,
    log_likelihood,
    parameter_count,
)
from ketacast.numerics.normal import TAU2_METHODS, NormalFit, fit_normal

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]

#: The references' fits stop at a change below 1e-11; p-values magnify that.
RTOL = 1e-8
#: Differences of log-likelihoods of order ten.
RTOL_LRT = 1e-7
ATOL = 1e-13

#: Columns of the smaller model in each file.
REDUCED = {"anova_bcg_ablat_year": 2, "anova_hackshaw1998_year_cohort": 1}
TESTS = ("z", "knha")
#: Fits whose information criteria are compared; the grid must not shrink silently.
EXPECTED_CRITERIA = 600


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _data(case: str) -> tuple[Array, Array, Array]:
    data = _load(case)["data"]
    columns = [name for name in data if name not in ("design_matrix", "design_columns", "newmods")]
    complete = [i for i in range(len(data["yi"])) if all(data[n][i] is not None for n in columns)]
    y, v = (np.array(data[name], dtype=np.float64)[complete] for name in ("yi", "vi"))
    return y, v, np.array(data["design_matrix"], dtype=np.float64)


def _criteria_cases() -> list[tuple[str, str, str]]:
    return [
        (path.stem, key, kind)
        for path in sorted(REFERENCE.glob("rma_uni_*.json"))
        for key in _load(path.stem)["expected"]
        if len(key.split("|")) == 2 and key.split("|")[0] in TAU2_METHODS
        for kind in ("ML", "REML")
    ]


def _close(actual: object, expected: object, name: str, rtol: float = RTOL) -> None:
    np.testing.assert_allclose(
        np.asarray(actual, dtype=np.float64),
        np.asarray(expected, dtype=np.float64),
        rtol=rtol,
        atol=ATOL,
        err_msg=name,
    )


def test_grids_of_cases_do_not_shrink() -> None:
    assert {path.stem for path in REFERENCE.glob("anova_*.json")} == set(REDUCED)
    assert len(_criteria_cases()) == EXPECTED_CRITERIA


@pytest.mark.parametrize(("case", "columns"), REDUCED.items())
def test_likelihood_ratio_matches_metafor(case: str, columns: int) -> None:
    y, v, X = _data(case)
    expected = _load(case)["expected"]["LRT"]
    found = likelihood_ratio(
        fit_normal(y, v, X, method="ML"), fit_normal(y, v, X[:, :columns], method="ML")
    )
    assert found.df == 3 - columns
    _close(found.statistic, expected["LRT"], "LRT", RTOL_LRT)
    _close(found.p_value, expected["pval"], "p", RTOL_LRT)
    _close(found.r2, expected["R2"], "R2", RTOL_LRT)
    _close(found.tau2_full, expected["tau2_full"], "tau2 full")
    _close(found.tau2_reduced, expected["tau2_red"], "tau2 reduced")
    _close(found.aic_full, expected["AIC_f"], "AIC full")
    _close(found.aic_reduced, expected["AIC_r"], "AIC reduced")


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("case", REDUCED)
def test_contrasts_match_metafor(case: str, test: Any) -> None:
    y, v, X = _data(case)
    fit = fit_normal(y, v, X, test=test)
    expected = _load(case)["expected"]
    moderators = contrast(fit, np.eye(3)[1:])
    wanted = expected[f"wald_btt|{test}"]
    assert moderators.omnibus is not None
    _close(moderators.omnibus.statistic, wanted["QM"], "QM")
    _close(moderators.omnibus.p_value, wanted["QMp"], "QMp")
    wanted = expected[f"contrast|{test}"]
    found = contrast(fit, wanted["L"])
    _close(found.estimate, wanted["Xb"], "estimate")
    _close(found.se, wanted["se"], "se")
    _close(found.statistic, wanted["zval"], "statistic")
    _close(found.p_value, wanted["pval"], "p")
    assert found.omnibus is not None
    _close(found.omnibus.statistic, wanted["QM"], "QM")
    _close(found.omnibus.p_value, wanted["QMp"], "QMp")
    assert [found.omnibus.df_coefficients, found.omnibus.df_residual] == wanted["QMdf"]


@pytest.mark.parametrize(("case", "key", "kind"), _criteria_cases())
def test_information_criteria_match_metafor(case: str, key: str, kind: str) -> None:
    y, v, X = _data(case)
    method, test = key.split("|")
    options: Any = {"method": method, "test": test}
    fit = fit_normal(y, v, X, **options)
    expected = _load(case)["expected"][key]["fit_stats"][kind]
    restricted = kind == "REML"
    values = {
        "ll": log_likelihood(fit, restricted=restricted),
        "dev": deviance(fit, v, restricted=restricted),
        "AIC": aic(fit, restricted=restricted),
        "AICc": aicc(fit, restricted=restricted),
        "BIC": bic(fit, restricted=restricted),
    }
    assert set(values) == set(expected)
    for name, value in values.items():
        _close(value, expected[name], name)


def _random_problem(seed: int, k: int = 12) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, 2))])
    v = rng.uniform(0.01, 1.0, size=k)
    y = X @ [0.4, -0.3, 0.2] + rng.normal(size=k) * np.sqrt(v + 0.3)
    return y, v, X


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_more_moderators_never_lower_the_likelihood(seed: int) -> None:
    y, v, X = _random_problem(seed)
    fits = [fit_normal(y, v, X[:, :p], method="ML") for p in (1, 2, 3)]
    outer = likelihood_ratio(fits[2], fits[0])
    steps = likelihood_ratio(fits[2], fits[1]), likelihood_ratio(fits[1], fits[0])
    # 1e-8: statistics of order one from log-likelihoods of order ten.
    assert outer.statistic == pytest.approx(sum(s.statistic for s in steps), abs=1e-8)
    assert outer.df == 2
    assert 0.0 <= outer.p_value <= 1.0
    assert np.isnan(outer.r2) or 0.0 <= outer.r2 <= 100.0


def test_criteria_of_a_fit_follow_its_method() -> None:
    y, v, X = _random_problem(1)
    for method, count in (("REML", 4), ("ML", 4), ("DL", 4), ("EE", 3)):
        chosen: Any = method
        fit = fit_normal(y, v, X, method=chosen)
        assert parameter_count(fit) == count
        assert log_likelihood(fit) == fit.log_likelihood
        assert aic(fit) == pytest.approx(-2.0 * fit.log_likelihood + 2.0 * count)


def test_small_sample_criterion_stays_finite() -> None:
    y, v, X = _random_problem(1)
    fit = fit_normal(y[:4], v[:4], X[:4])
    # n is raised to m + 2 = 6: 2 m n / (n - m - 1) = 2 * 4 * 6.
    assert aicc(fit) == pytest.approx(-2.0 * fit.log_likelihood + 48.0)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_no_heterogeneity_is_a_smaller_model(method: Any) -> None:
    y, v, X = _random_problem(3)
    y = y + np.where(np.arange(12) % 2 == 0, 2.0, -2.0)
    full = fit_normal(y, v, X, method=method)
    found = likelihood_ratio(full, fit_normal(y, v, X, method="EE"))
    assert found.df == 1
    assert found.statistic > 0.0
    assert found.log_likelihood_full == full.log_likelihood
    assert np.isnan(found.r2)
    assert found.to_dict()["r2"] is None


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), test=st.sampled_from(["z", "knha", "adhoc", "t"]))
def test_unit_contrasts_are_the_coefficients(seed: int, test: Any) -> None:
    y, v, X = _random_problem(seed)
    fit = fit_normal(y, v, X, test=test, level=0.9)
    found = contrast(fit, np.eye(3))
    for ours, theirs in (
        (found.estimate, fit.beta),
        (found.se, fit.se),
        (found.p_value, fit.p_value),
        (found.ci_lower, fit.ci_lower),
        (found.ci_upper, fit.ci_upper),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=ATOL)
    joint, moderators = contrast(fit, np.eye(3)[1:]).omnibus, fit.moderators
    assert joint is not None
    assert joint.statistic == pytest.approx(moderators.statistic, rel=1e-10)
    assert joint.p_value == pytest.approx(moderators.p_value, rel=1e-9)


def test_null_value_shifts_the_test_only() -> None:
    fit = fit_normal(*_random_problem(3), test="z")
    found = contrast(fit, [0.0, 1.0, 0.0], rhs=fit.beta[1])
    assert found.statistic[0] == 0.0
    assert found.p_value[0] == 1.0
    assert found.estimate[0] == fit.beta[1]
    assert found.omnibus is not None
    assert found.omnibus.statistic == 0.0
    several = contrast(fit, np.eye(3), rhs=[1.0, 2.0, 3.0])
    assert several.rhs.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("L", [[[1, 2, 3], [2, 4, 6]], np.vstack([np.eye(3), [[1, 1, 1]]])])
def test_dependent_combinations_have_no_omnibus_test(L: object) -> None:
    found = contrast(fit_normal(*_random_problem(3)), L)
    assert found.omnibus is None
    assert np.isfinite(found.p_value).all()


def test_results_are_plain() -> None:
    y, v, X = _random_problem(3)
    small = fit_normal(y, v, X[:, :1], method="ML")
    for record in (
        contrast(small, [1.0]),
        likelihood_ratio(fit_normal(y, v, X, method="ML"), small),
    ):
        content = record.to_dict()
        assert json.loads(json.dumps(content)) == content
    assert contrast(small, [1.0]).to_dict()["omnibus"]["df_coefficients"] == 1


def _fit(method: Any, p: int, seed: int = 3, k: int = 12) -> NormalFit:
    y, v, X = _random_problem(seed, k)
    return fit_normal(y, v, X[:, :p], method=method)


@pytest.mark.parametrize(
    ("full", "reduced", "message"),
    [
        (("ML", 3, 3, 12), ("ML", 2, 3, 11), "12 and 11 studies"),
        (("DL", 3), ("DL", 2), "methods are 'DL' and 'DL'"),
        (("ML", 3), ("REML", 2), "methods are 'ML' and 'REML'"),
        (("REML", 3), ("REML", 2), "likelihoods of different data"),
        (("REML", 3), ("EE", 2), "likelihoods of different data"),
        (("ML", 2), ("ML", 3), "give the larger model first"),
        (("ML", 2), ("ML", 2), "give the larger model first"),
        (("REML", 2), ("EE", 2, 4), "different Q"),
    ],
)
def test_pairs_that_cannot_be_compared(full: Any, reduced: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        likelihood_ratio(_fit(*full), _fit(*reduced))


def test_models_that_are_not_nested_are_refused() -> None:
    y, v, _X = _random_problem(3)
    noise = np.column_stack([np.ones(12), np.tile([1.0, -1.0], 6), np.repeat([1.0, -1.0], 6)])
    better = np.column_stack([np.ones(12), y])
    with pytest.raises(InputError, match="not inside it"):
        likelihood_ratio(
            fit_normal(y, v, noise, method="ML"), fit_normal(y, v, better, method="ML")
        )


def test_unusable_contrasts_are_refused() -> None:
    y, v, X = _random_problem(3)
    fit = fit_normal(y, v, X)
    with pytest.raises(InputError, match=r"shape \(1, 2\) for 3 coefficients"):
        contrast(fit, [1.0, 2.0])
    with pytest.raises(InputError, match=r"L\[1\] is all zeros"):
        contrast(fit, [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    with pytest.raises(InputError, match=r"rhs has shape \(2,\)"):
        contrast(fit, np.eye(3), rhs=[1.0, 2.0])
    flat = fit_normal([0.0] * 4, [0.1] * 4, np.ones((4, 1)), method="DL", test="knha")
    with pytest.raises(InputError, match="no residual spread"):
        contrast(flat, [1.0])
    # The same but for rounding.
    flat = fit_normal([0.1] * 5, [0.1, 0.2, 0.3, 0.15, 0.12], np.ones((5, 1)), test="knha")
    with pytest.raises(InputError, match="no residual spread"):
        contrast(flat, [1.0])
    with pytest.raises(InputError, match="11 values for 12 studies"):
        deviance(fit, v[1:])
    with pytest.raises(InputError, match=r"v\[0\] is 0\.0"):
        deviance(fit, np.zeros(12))
