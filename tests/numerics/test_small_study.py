"""Small-study effects against metafor 3.8-1 (files in ``tests/reference``) and invariants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from ketacast.errors import InputError
from ketacast.numerics.diagnostics.small_study import (
    FAIL_SAFE_KINDS,
    SIZE_PREDICTORS,
    fail_safe_n,
    rank_test,
    regression_test,
)
from ketacast.numerics.normal import fit_normal

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]

#: The references' fits stop at a change below 1e-11.
RTOL = 1e-8
#: Closed forms, up to rounding.
RTOL_CLOSED = 1e-12

CASES = sorted(path.stem for path in REFERENCE.glob("smallstudy_*.json"))
#: The grid must not shrink silently.
EXPECTED = {"regression": 24, "rank": 4, "fail_safe": 9}


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _data(case: str) -> tuple[Array, Array, Array]:
    data = _load(case)["data"]
    y, v, X = (np.array(data[name], dtype=np.float64) for name in ("yi", "vi", "design_matrix"))
    return y, v, X


def _keys(*first: str) -> list[tuple[str, str]]:
    return [
        (case, key)
        for case in CASES
        for key in _load(case)["expected"]
        if key.split("|")[0] in first
    ]


REGRESSIONS = _keys("rma", "lm")
FAIL_SAFES = _keys("fsn")


def test_grids_of_cases_do_not_shrink() -> None:
    assert len(REGRESSIONS) == EXPECTED["regression"]
    assert len(_keys("ranktest")) == EXPECTED["rank"]
    assert len(FAIL_SAFES) == EXPECTED["fail_safe"]
    known = {"rma", "lm", "ranktest", "fsn", "trimfill"}
    assert {key.split("|")[0] for case in CASES for key in _load(case)["expected"]} == known
    assert {key.split("|")[1] for _, key in REGRESSIONS} == set(SIZE_PREDICTORS)
    assert {key.split("|")[1] for _, key in FAIL_SAFES} == set(FAIL_SAFE_KINDS)


@pytest.mark.parametrize(("case", "key"), REGRESSIONS)
def test_regression_test_matches_metafor(case: str, key: str) -> None:
    y, v, X = _data(case)
    expected = _load(case)["expected"][key]
    name, predictor = key.split("|")
    options: Any = {"model": "random" if name == "rma" else "lm", "predictor": predictor}
    found = regression_test(y, v, X, ni=_load(case)["data"].get("ni"), test="z", **options)
    np.testing.assert_allclose(found.statistic, expected["stat"], rtol=RTOL)
    np.testing.assert_allclose(found.p_value, expected["pval"], rtol=RTOL)
    np.testing.assert_allclose(found.fit.beta, expected["coef"], rtol=RTOL)
    assert found.df == expected["dfs"]
    limits = (found.limit, found.limit_lower, found.limit_upper)
    wanted = tuple(expected[name] for name in ("est", "ci_lb", "ci_ub"))
    if wanted[0] is None:
        assert limits == wanted
    else:
        np.testing.assert_allclose(np.array(limits, dtype=np.float64), wanted, rtol=RTOL)


@pytest.mark.parametrize("case", CASES)
def test_rank_test_matches_metafor(case: str) -> None:
    y, v, _ = _data(case)
    expected = _load(case)["expected"]["ranktest"]
    found = rank_test(y, v)
    np.testing.assert_allclose(found.tau, expected["tau"], rtol=RTOL_CLOSED)
    np.testing.assert_allclose(found.p_value, expected["pval"], rtol=RTOL_CLOSED)
    assert found.exact == (case != "smallstudy_debruin2009_PLO")  # which has ties


@pytest.mark.parametrize(("case", "key"), FAIL_SAFES)
def test_fail_safe_n_matches_metafor(case: str, key: str) -> None:
    y, v, _ = _data(case)
    kind: Any = key.split("|")[1]
    assert fail_safe_n(y, v, kind=kind).n == _load(case)["expected"][key]


PROBLEMS = st.tuples(st.integers(0, 10**6), st.integers(5, 20))


def _random_problem(seed: int, k: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    v = rng.uniform(0.01, 1.0, size=k)
    return rng.normal(size=k) * np.sqrt(v + 0.1) + 0.5, v


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS)
def test_classical_test_is_eggers_regression_of_z_on_precision(problem: tuple[int, int]) -> None:
    y, v = _random_problem(*problem)
    found = regression_test(y, v, model="lm")
    # Egger et al. 1997: the intercept of z = y / s on the precision 1 / s, by least squares.
    s = np.sqrt(v)
    X = np.column_stack([np.ones(y.size), 1.0 / s])
    beta, squares = np.linalg.lstsq(X, y / s, rcond=None)[:2]
    spread = np.sqrt(squares[0] / (y.size - 2) * np.linalg.inv(X.T @ X)[0, 0])
    assert found.statistic == pytest.approx(beta[0] / spread, rel=1e-8, abs=1e-10)
    assert found.limit == pytest.approx(beta[1], rel=1e-8, abs=1e-10)
    assert found.df == y.size - 2


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS, kind=st.sampled_from(["random", "lm"]))
def test_mirrored_effects_mirror_the_tests(problem: tuple[int, int], kind: Any) -> None:
    y, v = _random_problem(*problem)
    one, two = regression_test(y, v, model=kind), regression_test(-y, v, model=kind)
    assert one.statistic == pytest.approx(-two.statistic, rel=1e-8, abs=1e-10)
    assert rank_test(y, v).tau == pytest.approx(-rank_test(-y, v).tau, abs=RTOL_CLOSED)
    for fail_safe in FAIL_SAFE_KINDS:
        assert fail_safe_n(y, v, kind=fail_safe).n == fail_safe_n(-y, v, kind=fail_safe).n


def test_moderators_are_kept_in_the_regression() -> None:
    y, v = _random_problem(3, 12)
    X = np.column_stack([np.ones(12), np.arange(12.0)])
    found = regression_test(y, v, X, predictor="vi", test="knha")
    fit = fit_normal(y, v, np.column_stack([X, v]), test="knha")
    np.testing.assert_allclose(found.fit.beta, fit.beta)
    assert found.p_value == pytest.approx(float(fit.p_value[2]))
    assert found.limit is None
    assert found.df == 9


def _significant(y: Array, v: Array, kind: str, extra: int) -> bool:
    """Whether the finding survives `extra` null studies (for Rosenberg, of mean weight)."""
    if kind == "Rosenthal":
        z = np.sum(y / np.sqrt(v)) / np.sqrt(y.size + extra)
        return bool(special.ndtr(-abs(z)) < 0.05)
    w = 1.0 / v
    total = w.sum() + extra * w.mean()
    return bool(2.0 * special.ndtr(-abs(np.sum(w * y)) / np.sqrt(total)) < 0.05)


@settings(max_examples=60, deadline=None)
@given(problem=PROBLEMS, kind=st.sampled_from(["Rosenthal", "Rosenberg"]))
def test_fail_safe_n_is_the_first_number_that_undoes_the_finding(
    problem: tuple[int, int], kind: Any
) -> None:
    y, v = _random_problem(*problem)
    found = fail_safe_n(y, v, kind=kind)
    assert not _significant(y, v, kind, found.n)
    if found.n > 0:
        assert _significant(y, v, kind, found.n - 1)
    assert found.p_value is not None
    assert (found.p_value < 0.05) == (found.n > 0)


def test_orwins_number_reaches_its_target() -> None:
    y, v = np.array([0.2, 0.4, 0.6]), np.array([0.1, 0.1, 0.4])
    # Means 0.4 / 0.1 - 1 = 3 times as many null studies; rounding must not make it 10.
    assert fail_safe_n(y, v, kind="Orwin", target=0.1).n == 9
    assert fail_safe_n(y, v, kind="Orwin").n == 3
    assert fail_safe_n(y, v, kind="Orwin", target=0.5).n == 0
    weighted = fail_safe_n(y, v, kind="Orwin", target=0.1, weighted=True)
    assert weighted.mean == pytest.approx((2.0 + 4.0 + 1.5) / 22.5)
    assert weighted.n == 7  # 3 (0.3333 / 0.1 - 1)
    assert (weighted.alpha, weighted.p_value, weighted.target) == (None, None, 0.1)


def test_rank_test_of_many_studies_is_approximate() -> None:
    y, v = _random_problem(3, 200)
    assert not rank_test(y, v).exact
    assert rank_test(y[:170], v[:170]).exact


def test_results_are_plain() -> None:
    y, v = _random_problem(3, 8)
    for record in (regression_test(y, v), rank_test(y, v), fail_safe_n(y, v)):
        content = record.to_dict()
        assert json.loads(json.dumps(content)) == content
    assert regression_test(y, v).to_dict()["fit"]["k"] == 8


def test_unusable_input_is_refused() -> None:
    y, v = _random_problem(3, 6)
    unknown: Any = "XX"
    with pytest.raises(InputError, match="model is 'XX'"):
        regression_test(y, v, model=unknown)
    with pytest.raises(InputError, match="predictor is 'XX'"):
        regression_test(y, v, predictor=unknown)
    with pytest.raises(InputError, match="give the sample sizes"):
        regression_test(y, v, predictor="ni")
    with pytest.raises(InputError, match="ni has 2 values for 6 studies"):
        regression_test(y, v, predictor="ni", ni=[10, 20])
    with pytest.raises(InputError, match=r"ni\[0\] is 0\.0"):
        regression_test(y, v, predictor="ninv", ni=[0, 1, 2, 3, 4, 5])
    with pytest.raises(InputError, match=r"sei is 0\.5 in all studies"):
        regression_test(y, np.full(6, 0.25))
    with pytest.raises(InputError, match="X has 5 rows"):
        regression_test(y, v, np.ones((5, 1)))
    with pytest.raises(InputError, match="one variance per effect"):
        rank_test(y, v[:5])
    with pytest.raises(InputError, match=r"v\[0\] is 0\.0"):
        rank_test(y, np.zeros(6))
    with pytest.raises(InputError, match="at least 3"):
        rank_test(y[:2], v[:2])
    with pytest.raises(InputError, match="no rank correlation"):
        rank_test(y, np.full(6, 0.25))
    with pytest.raises(InputError, match="outweighs all other studies"):
        rank_test([0.1, 0.2, 0.3], [1e-30, 1.0, 1.0])
    with pytest.raises(InputError, match="kind is 'XX'"):
        fail_safe_n(y, v, kind=unknown)
    with pytest.raises(InputError, match=r"alpha is 5\.0"):
        fail_safe_n(y, v, alpha=5.0)
    with pytest.raises(InputError, match=r"below 0\.5"):
        fail_safe_n(y, v, alpha=0.5)
    for target in (0.0, -0.1):
        with pytest.raises(InputError, match="target of the same sign"):
            fail_safe_n([0.2, 0.4], [0.1, 0.1], kind="Orwin", target=target)
