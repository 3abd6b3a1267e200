"""Intervals of tau2 and its profile likelihood against metafor 3.8-1, and their definitions."""

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
from ketacast.numerics.normal import fit_normal, profile_likelihood, tau2_interval

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]

#: Both sides find limits by root search, the reference to 1e-14 in its own scale.
RTOL_LIMIT = 1e-7
#: Profile values are evaluated at the same tau2: rounding only.
RTOL_PROFILE = 1e-9
#: A definition holds to rounding, times the slope of the likelihood.
ATOL_DEFINITION = 1e-8
EXPECTED_PL = 10
EXPECTED_PROFILES = 6


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _data(case: str) -> tuple[Array, Array, Array]:
    data = _load(case)["data"]
    y, v, X = (np.array(data[name], dtype=np.float64) for name in ("yi", "vi", "design_matrix"))
    return y, v, X


def _likelihood_cases() -> list[tuple[str, str]]:
    names = sorted(path.stem for path in REFERENCE.glob("confint_*.json"))
    return [(n, k) for n in names for k in _load(n)["expected"] if k.split("|")[1] == "PL"]


def _profile_cases() -> list[tuple[str, str]]:
    names = sorted(path.stem for path in REFERENCE.glob("profile_*.json"))
    return [(n, k) for n in names for k in _load(n)["expected"]]


def test_grids_of_cases_do_not_shrink() -> None:
    assert len(_likelihood_cases()) == EXPECTED_PL
    assert len(_profile_cases()) == EXPECTED_PROFILES


@pytest.mark.parametrize(("case", "key"), _likelihood_cases())
def test_likelihood_interval_matches_metafor(case: str, key: str) -> None:
    method, _, level = key.split("|")
    expected = _load(case)["expected"][key]["tau2"]
    chosen: Any = method
    found = tau2_interval(*_data(case), kind="PL", method=chosen, level=float(level) / 100.0)
    np.testing.assert_allclose(found.tau2, expected[1:], rtol=RTOL_LIMIT, atol=1e-12)
    np.testing.assert_allclose(np.square(found.tau), found.tau2, rtol=1e-14)


@pytest.mark.parametrize(("case", "key"), _profile_cases())
def test_profile_matches_metafor(case: str, key: str) -> None:
    expected = _load(case)["expected"][key]
    chosen: Any = key
    found = profile_likelihood(*_data(case), tau2=expected["tau2"], method=chosen)
    np.testing.assert_allclose(found.log_likelihood, expected["ll"], rtol=RTOL_PROFILE)
    columns = np.column_stack(list(expected["beta"].values()))
    np.testing.assert_allclose(found.beta, columns, rtol=RTOL_PROFILE)
    assert found.estimate == pytest.approx(expected["tau2_hat"], rel=1e-8)
    assert found.maximum >= found.log_likelihood.max() - 1e-12


PROBLEMS = st.tuples(st.integers(0, 10**6), st.integers(4, 25), st.floats(0.0, 2.0))


def _random_problem(seed: int, k: int, tau: float) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    v = rng.uniform(0.01, 1.0, size=k)
    return X @ [0.5, -0.3] + rng.normal(size=k) * np.sqrt(v + tau**2), v, X


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS, restricted=st.booleans(), level=st.sampled_from([0.8, 0.95]))
def test_likelihood_limits_lie_where_they_should(
    problem: tuple[int, int, float], restricted: bool, level: float
) -> None:
    method: Any = "REML" if restricted else "ML"
    y, v, X = _random_problem(*problem)
    lower, upper = tau2_interval(y, v, X, kind="PL", method=method, level=level).tau2
    best = fit_normal(y, v, X, method=method)
    drop = {0.8: 0.8211872075, 0.95: 1.9207294103}[level]  # half the chi-square quantile
    at = profile_likelihood(y, v, X, tau2=[lower, upper], method=method).log_likelihood
    assert lower <= best.tau2 <= upper
    assert at[1] == pytest.approx(best.log_likelihood - drop, abs=ATOL_DEFINITION)
    if lower > 0.0:
        assert at[0] == pytest.approx(best.log_likelihood - drop, abs=ATOL_DEFINITION)
    else:
        assert at[0] >= best.log_likelihood - drop


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS)
def test_wider_levels_hold_narrower_ones(problem: tuple[int, int, float]) -> None:
    y, v, X = _random_problem(*problem)
    for kind in ("QP", "PL"):
        chosen: Any = kind
        wide = tau2_interval(y, v, X, kind=chosen, level=0.95).tau2
        narrow = tau2_interval(y, v, X, kind=chosen, level=0.5).tau2
        assert wide[0] <= narrow[0]
        assert narrow[1] <= wide[1]


def test_default_profile_covers_the_interval() -> None:
    y, v, X = _data("profile_bcg_ablat")
    found = profile_likelihood(y, v, X)
    assert found.tau2[0] == 0.0
    assert found.tau2[-1] > tau2_interval(y, v, X, kind="PL", level=0.99).tau2[1]


def test_unusable_requests_are_refused() -> None:
    y, v, X = _data("profile_bcg_ablat")
    unknown: Any = "XX"
    with pytest.raises(InputError, match="kind is 'XX'"):
        tau2_interval(y, v, X, kind=unknown)
    with pytest.raises(InputError, match="method is 'XX'"):
        tau2_interval(y, v, X, kind="PL", method=unknown)
    with pytest.raises(InputError, match=r"v\[0, 0\] is 0\.0; it must be greater than 0"):
        tau2_interval(y, np.append(0.0, v[1:]), X)
    with pytest.raises(InputError, match=r"tau2\[1\] is -1\.0"):
        profile_likelihood(y, v, X, tau2=[0.0, -1.0])
    with pytest.raises(InputError, match="more studies than coefficients"):
        tau2_interval(y[:2], v[:2], X[:2])
