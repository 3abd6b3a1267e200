"""Existence of a finite maximum, against the definition and against where Newton goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from ketacast.errors import ConvergenceError
from ketacast.numerics.binomial.likelihood import BinomialData
from ketacast.numerics.binomial.search import fit_logistic
from ketacast.numerics.binomial.separation import is_separated
from ketacast.numerics.linalg import design_basis


def problem(events: object, n: object, X: object) -> BinomialData:
    counts = np.asarray(events, dtype=float)
    basis = design_basis(X, counts.size)
    return BinomialData.of(counts, np.asarray(n, dtype=float), basis.columns)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_agrees_with_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = int(rng.integers(1, 5))
    k = p + int(rng.integers(1, 6))
    X = np.column_stack([np.ones(k), rng.integers(0, 3, size=(k, p - 1))])
    n = rng.integers(1, 3, size=k)
    events = rng.binomial(n, rng.choice([0.05, 0.5]))
    if np.linalg.matrix_rank(X) < p:
        return
    # Single events and non-events: a direction that is against none of them.
    rows = np.vstack([X[events > 0], -X[events < n]])
    answer: Any = optimize.linprog(
        -rows.sum(axis=0), A_ub=-rows, b_ub=np.zeros(len(rows)), bounds=(-1.0, 1.0)
    )
    assert is_separated(problem(events, n, X)) == (answer.fun < -1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_logistic_regression_ends_where_there_is_an_end(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(6), rng.normal(size=(6, 2)) * [1.0, 1e5]])
    n = rng.integers(1, 5, size=6)
    data = problem(rng.binomial(n, rng.choice([0.1, 0.5])), n, X)
    if is_separated(data):
        with pytest.raises(ConvergenceError, match="separation"):
            fit_logistic(data)
        return
    point = fit_logistic(data)
    assert np.abs(point.score).max() < 1e-6


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_units_do_not_matter(scale: float) -> None:
    x = np.array([0.0, 0.0, 1.0, 1.0, 2.0]) * scale
    X = np.column_stack([np.ones(5), x])
    assert is_separated(problem([0, 0, 3, 9, 9], [9] * 5, X))
    assert not is_separated(problem([0, 1, 3, 9, 8], [9] * 5, X))
    assert not is_separated(problem([9, 0, 0, 9, 9], [9] * 5, X))
