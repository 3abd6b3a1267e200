"""Permutation tests against metafor 3.8-1 (files in ``tests/reference``) and their invariants."""

from __future__ import annotations

import json
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import InputError
from ketacast.numerics.normal import fit_normal
from ketacast.numerics.resampling.permutation import EXACT_CAP, permutation_test

REFERENCE = Path(__file__).parent.parent / "reference"
Array = NDArray[np.float64]

#: Observed statistics; the references' fits stop at a change below 1e-11.
RTOL = 1e-8
#: Arrangements of each reference: 6!/2! rows of the design (one occurs twice), 2^6
#: and 2^9 sign changes. The grid must not shrink silently.
ARRANGEMENTS = {
    "permutest_exact_bcg_first6_ablat_DL": 360,
    "permutest_exact_hine1989_RD_intercept": 64,
    "permutest_exact_normand1999_intercept_DL": 512,
}


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _data(case: str) -> tuple[Array, Array, Array]:
    data = _load(case)["data"]
    y, v, X = (np.array(data[name], dtype=np.float64) for name in ("yi", "vi", "design_matrix"))
    return y, v, X


def test_grid_of_cases_does_not_shrink() -> None:
    assert {path.stem for path in REFERENCE.glob("permutest_*.json")} == set(ARRANGEMENTS)


@pytest.mark.parametrize(("case", "count"), ARRANGEMENTS.items())
def test_p_values_are_exactly_metafors(case: str, count: int) -> None:
    y, v, X = _data(case)
    expected = _load(case)["expected"]
    method: Any = "DL" if case.endswith("DL") else "REML"
    found = permutation_test(y, v, X, method=method, test="z")
    assert found.p_value.tolist() == expected["pval"]
    assert found.omnibus_p == expected["QMp"]
    assert found.n_arrangements == count
    assert found.exact
    fit = fit_normal(y, v, X, method=method, test="z")
    np.testing.assert_allclose(found.statistic, expected["zval"], rtol=RTOL)
    np.testing.assert_allclose(found.omnibus_statistic, expected["QM"], rtol=RTOL)
    np.testing.assert_allclose(fit.p_value, expected["asymptotic_pval"], rtol=RTOL)


def _random_problem(seed: int, k: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    # Few levels, so that rows of the design repeat.
    X = np.column_stack([np.ones(k), rng.integers(0, 3, size=k)])
    X[:2, 1] = [0.0, 1.0]
    v = rng.uniform(0.01, 1.0, size=k)
    return rng.normal(size=k) * np.sqrt(v + 0.3) + 0.3 * X[:, 1], v, X


PROBLEMS = st.tuples(st.integers(0, 10**6), st.integers(4, 7))


@settings(max_examples=20, deadline=None)
@given(problem=PROBLEMS, signs=st.booleans(), test=st.sampled_from(["z", "knha", "adhoc"]))
def test_order_of_studies_does_not_matter(problem: tuple[int, int], signs: bool, test: Any) -> None:
    y, v, X = _random_problem(*problem)
    X = X[:, :1] if signs else X
    order = np.random.default_rng(problem[0]).permutation(y.size)
    one = permutation_test(y, v, X, test=test)
    two = permutation_test(y[order], v[order], X[order], test=test)
    assert one.p_value.tolist() == two.p_value.tolist()
    assert one.omnibus_p == two.omnibus_p
    assert one.n_arrangements == two.n_arrangements


def test_row_permutations_by_brute_force() -> None:
    y, v, X = _random_problem(3, 5)
    found = permutation_test(y, v, X, method="DL", test="z")
    sequences = {tuple(X[list(order), 1]) for order in permutations(range(5))}
    assert found.n_arrangements == len(sequences)
    statistics = [
        fit_normal(y, v, np.column_stack([np.ones(5), s]), method="DL", test="z").statistic
        for s in sequences
    ]
    np.testing.assert_allclose(
        np.sort(found.statistics, axis=0), np.sort(statistics, axis=0), rtol=1e-10, atol=1e-13
    )


def test_sign_changes_by_brute_force() -> None:
    y, v, X = _random_problem(3, 5)
    found = permutation_test(y, v, X[:, :1], test="knha")
    statistics = [
        fit_normal(y * s, v, X[:, :1], test="knha").statistic[0]
        for s in product([1.0, -1.0], repeat=5)
    ]
    np.testing.assert_allclose(np.sort(found.statistics[:, 0]), np.sort(statistics), rtol=1e-8)
    # Squares of one coefficient's statistics are the omnibus ones.
    np.testing.assert_allclose(found.omnibus_statistics, found.statistics[:, 0] ** 2, rtol=1e-9)
    assert found.omnibus_p == found.p_value[0]


def test_equal_arrangements_are_ties_in_spite_of_rounding() -> None:
    # Every study twice: each arrangement has many equals that are summed in another order.
    y, v = np.tile([0.1, 0.7, 0.3], 2), np.tile([0.1, 0.3, 0.2], 2)
    X = np.column_stack([np.ones(6), np.repeat([0.0, 1.0], 3)])
    found = permutation_test(y, v, X, test="z")
    assert found.n_arrangements == 20
    # The slope is exactly 0: nothing is smaller.
    assert found.p_value[1] == 1.0


def test_moderator_without_intercept_is_permuted() -> None:
    y, v, X = _random_problem(3, 5)
    assert permutation_test(y, v, X[:, 1:]).n_arrangements < 2**5


@pytest.mark.parametrize("constant", [2.0, -1.0, 0.3])
def test_any_constant_column_means_sign_changes(constant: float) -> None:
    y, v, X = _random_problem(3, 5)
    ones = permutation_test(y, v, X[:, :1], test="knha")
    found = permutation_test(y, v, np.full((5, 1), constant), test="knha")
    assert found.n_arrangements == 2**5
    assert found.p_value.tolist() == ones.p_value.tolist()
    np.testing.assert_allclose(found.statistic, np.sign(constant) * ones.statistic)


@pytest.mark.parametrize("signs", [True, False])
def test_random_sample_is_reproducible_and_independent_of_batches(signs: bool) -> None:
    y, v, X = _random_problem(4, 20)
    X = X[:, :1] if signs else X
    runs = [
        permutation_test(y, v, X, n_permutations=200, seed=5, chunk_size=size)
        for size in (None, 1, 37)
    ]
    for run in runs:
        assert run.n_arrangements == 200
        assert not run.exact
        assert run.p_value.tolist() == runs[0].p_value.tolist()
        np.testing.assert_allclose(run.statistics, runs[0].statistics, rtol=1e-9, atol=1e-12)
        # The observed arrangement comes first.
        np.testing.assert_allclose(run.statistics[0], run.statistic, rtol=1e-9)
    other = permutation_test(y, v, X, n_permutations=200, seed=6)
    assert np.abs(other.statistics - runs[0].statistics)[1:].max() > 0.1


def test_random_sample_agrees_with_all_arrangements() -> None:
    y, v, X = _random_problem(8, 10)
    exact = permutation_test(y, v, X[:, :1], method="DL", test="z")
    sample = permutation_test(
        y, v, X[:, :1], method="DL", test="z", exact=False, n_permutations=4000
    )
    # Five standard errors of a share from 4000 draws.
    error = 5.0 * np.sqrt(exact.p_value * (1.0 - exact.p_value) / 4000.0)
    assert abs(sample.p_value - exact.p_value)[0] < error[0]
    assert (exact.n_arrangements, sample.n_arrangements) == (1024, 4000)


def test_no_p_value_of_a_sample_is_zero() -> None:
    y, v = np.linspace(2.0, 3.0, 30), np.full(30, 0.01)
    found = permutation_test(y, v, np.ones((30, 1)), test="z", n_permutations=50)
    assert found.p_value[0] == 1.0 / 50.0


def test_all_arrangements_are_visited_up_to_the_cap() -> None:
    rng = np.random.default_rng(2)
    y, v, X = rng.normal(size=17), np.full(17, 0.2), np.ones((17, 1))
    at_cap = permutation_test(y[1:], v[1:], X[1:], method="DL")
    assert (at_cap.exact, at_cap.n_arrangements) == (True, EXACT_CAP)
    assert not permutation_test(y, v, X, method="DL").exact
    asked = permutation_test(y, v, X, method="DL", exact=True)
    assert (asked.exact, asked.n_arrangements) == (True, 2 * EXACT_CAP)
    larger = permutation_test(y, v, X, method="DL", n_permutations=2 * EXACT_CAP)
    assert (larger.exact, larger.n_arrangements) == (True, 2 * EXACT_CAP)


def test_results_are_plain() -> None:
    content = permutation_test(*_random_problem(3, 4)).to_dict()
    assert json.loads(json.dumps(content)) == content


def test_unusable_input_is_refused() -> None:
    y, v, X = _random_problem(3, 21)
    with pytest.raises(InputError, match="asks for 2097152 fits"):
        permutation_test(y, v, X[:, :1], exact=True)
    with pytest.raises(InputError, match="n_permutations is 0"):
        permutation_test(y, v, X, n_permutations=0)
    with pytest.raises(InputError, match="the observed arrangement alone tests nothing"):
        permutation_test(y, v, X, n_permutations=1)
    for text in ("no", 0, 1.0):
        unclear: Any = text
        with pytest.raises(InputError, match=r"exact is .*; give True, False or None"):
            permutation_test(y, v, X, exact=unclear)
    yes: Any = np.bool_(True)
    assert permutation_test(y[:5], v[:5], X[:5], exact=yes).exact
    many: Any = 10.5
    with pytest.raises(InputError, match=r"n_permutations is 10\.5"):
        permutation_test(y, v, X, n_permutations=many)
    with pytest.raises(InputError, match="seed is -1"):
        permutation_test(y, v, X, seed=-1)
    with pytest.raises(InputError, match="below 2\\^128"):
        permutation_test(y, v, X, seed=2**128)
    with pytest.raises(InputError, match="no residual spread"):
        permutation_test([0.0] * 5, [0.1] * 5, np.ones((5, 1)), method="DL", test="knha")
    with pytest.raises(InputError, match="no residual spread"):
        permutation_test([0.1] * 5, [0.1, 0.2, 0.3, 0.15, 0.12], np.ones((5, 1)), test="knha")
