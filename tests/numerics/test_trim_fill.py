"""Trim and fill against metafor 3.8-1 (files in ``tests/reference``) and its invariants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.diagnostics.trim_fill import MISSING_ESTIMATORS, FunnelSide, trim_fill
from ketacast.numerics.normal import fit_normal

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]

#: The references' fits stop at a change below 1e-11.
RTOL = 1e-8
#: Where studies were filled in, the reference refits with its default stopping rule
#: (a change below 1e-5 in tau2), even if the first fit was made with a finer one.
RTOL_FILLED = 1e-5
#: Two searches for the same tau2 meet to this.
RTOL_REFIT = 1e-8

CASES = [
    (path.stem, key)
    for path in sorted(REFERENCE.glob("smallstudy_*.json"))
    for key in json.loads(path.read_text())["expected"]
    if key.startswith("trimfill")
]
#: Three files, three estimators and one with equal effects; the grid must not shrink.
EXPECTED_CASES = 12


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def test_grid_of_cases_does_not_shrink() -> None:
    assert len(CASES) == EXPECTED_CASES
    assert {key.split("|")[-1] for _, key in CASES} == set(MISSING_ESTIMATORS)


@pytest.mark.parametrize(("case", "key"), CASES)
def test_trim_and_fill_matches_metafor(case: str, key: str) -> None:
    reference = _load(case)
    expected = reference["expected"][key]
    options: Any = {
        "estimator": key.rsplit("|", maxsplit=1)[-1],
        "method": "EE" if "|EE|" in key else "REML",
    }
    found = trim_fill(reference["data"]["yi"], reference["data"]["vi"], test="z", **options)
    assert found.n_missing == expected["k0"]
    assert found.side == expected["side"]
    rtol = RTOL_FILLED if found.n_missing else RTOL
    fit = found.fit
    np.testing.assert_allclose(fit.beta, [expected["estimate"]], rtol=rtol)
    np.testing.assert_allclose(fit.se, [expected["se"]], rtol=rtol)
    if "|EE|" in key:
        return
    np.testing.assert_allclose(found.n_missing_se, expected["se_k0"], rtol=RTOL)
    assert found.n_missing_p == expected["p_k0"]
    np.testing.assert_allclose(fit.ci_lower, [expected["ci_lb"]], rtol=rtol)
    np.testing.assert_allclose(fit.ci_upper, [expected["ci_ub"]], rtol=rtol)
    np.testing.assert_allclose(fit.tau2, expected["tau2"], rtol=rtol)
    np.testing.assert_allclose(found.filled_y, expected["filled_yi"], rtol=rtol)
    np.testing.assert_allclose(found.filled_v, expected["filled_vi"], rtol=RTOL)


def _lopsided(seed: int, k: int) -> tuple[Array, Array]:
    """Studies of one mean, the small ones with low effects missing."""
    rng = np.random.default_rng(seed)
    v = rng.uniform(0.01, 1.0, size=4 * k)
    y = 0.3 + rng.normal(size=4 * k) * np.sqrt(v + 0.02)
    seen = y > 0.4 * np.sqrt(v) - 0.1
    return y[seen][:k], v[seen][:k]


PROBLEMS = st.tuples(st.integers(0, 10**6), st.integers(8, 25))


@settings(max_examples=30, deadline=None)
@given(problem=PROBLEMS, side=st.sampled_from(["left", "right"]))
def test_mirrored_funnel_is_filled_on_the_other_side(
    problem: tuple[int, int], side: FunnelSide
) -> None:
    y, v = _lopsided(*problem)
    other: FunnelSide = "right" if side == "left" else "left"
    one = trim_fill(y, v, side=side, method="DL")
    two = trim_fill(-y, v, side=other, method="DL")
    assert one.n_missing == two.n_missing
    np.testing.assert_allclose(one.filled_y, -two.filled_y, rtol=RTOL_REFIT, atol=1e-12)
    np.testing.assert_allclose(one.fit.beta, -two.fit.beta, rtol=RTOL_REFIT, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(problem=PROBLEMS)
def test_filled_studies_mirror_the_trimmed_ones(problem: tuple[int, int]) -> None:
    y, v = _lopsided(*problem)
    found = trim_fill(y, v, side="left")
    order = np.argsort(y)
    stay, extreme = order[: y.size - found.n_missing], order[y.size - found.n_missing :]
    center = fit_normal(y[stay], v[stay], np.ones((stay.size, 1)), test="z").beta[0]
    np.testing.assert_allclose(found.filled_y + y[extreme], 2.0 * center, rtol=RTOL_REFIT)
    assert found.filled_v.tolist() == v[extreme].tolist()
    assert found.fit.k == y.size + found.n_missing
    # Filling in low effects cannot raise the mean by equal weights of the pairs.
    assert (found.filled_y <= center).all()


def test_symmetric_funnel_misses_nothing() -> None:
    y = np.array([-0.41, -0.2, -0.11, -0.01, 0.1, 0.21, 0.4])
    v = np.array([0.3, 0.2, 0.1, 0.05, 0.1, 0.2, 0.3])
    for estimator in MISSING_ESTIMATORS:
        found = trim_fill(y, v, estimator=estimator, side="left")
        assert found.n_missing == 0
        assert found.filled_y.size == 0
        assert found.fit.k == 7


def test_side_follows_the_regression_test() -> None:
    v = np.linspace(0.05, 1.0, 12)
    y = 0.2 + 0.8 * np.sqrt(v) + 0.05 * (-1.0) ** np.arange(12)
    assert trim_fill(y, v).side == "left"
    assert trim_fill(-y, v).side == "right"


def test_results_are_plain() -> None:
    content = trim_fill(*_lopsided(3, 12)).to_dict()
    assert json.loads(json.dumps(content)) == content


def test_unusable_input_is_refused() -> None:
    y, v = _lopsided(3, 12)
    unknown: Any = "XX"
    with pytest.raises(InputError, match="estimator is 'XX'"):
        trim_fill(y, v, estimator=unknown)
    with pytest.raises(InputError, match="side is 'XX'"):
        trim_fill(y, v, side=unknown)
    with pytest.raises(InputError, match="max_iterations is 0"):
        trim_fill(y, v, max_iterations=0)
    with pytest.raises(InputError, match="too few to see a side"):
        trim_fill(y[:2], v[:2])
    with pytest.raises(InputError, match="one variance per effect"):
        trim_fill(y, v[:5])


def test_a_number_that_does_not_settle_is_an_error() -> None:
    data = _load("smallstudy_hackshaw1998")["data"]
    with pytest.raises(ConvergenceError, match="did not settle in 1 rounds"):
        trim_fill(data["yi"], data["vi"], max_iterations=1)


def test_funnel_on_the_wrong_side_has_no_standard_error() -> None:
    y, v = _lopsided(0, 8)
    found = trim_fill(y, v, side="right", method="DL")
    assert found.n_missing == 0
    assert np.isnan(found.n_missing_se)
    assert found.to_dict()["n_missing_se"] is None


def test_quadratic_estimator_without_a_value_is_an_error() -> None:
    # One low and heavy study holds the mean; all others lie above it.
    y, v = np.array([0.0, *np.linspace(0.5, 3.0, 9)]), np.array([1e-6, *np.full(9, 1.0)])
    with pytest.raises(ConvergenceError, match="'Q0' has no value"):
        trim_fill(y, v, estimator="Q0", side="left", method="EE")
    # The other two trim up to the last two studies and half of them.
    assert trim_fill(y, v, estimator="R0", side="left", method="EE").n_missing == 8
    assert trim_fill(y, v, estimator="L0", side="left", method="EE").n_missing == 6
