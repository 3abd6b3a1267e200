"""Safeguarded Newton search on many functions at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ketacast.errors import ConvergenceError
from ketacast.numerics.roots import falling_root

Array = NDArray[np.float64]


@given(targets=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=6))
def test_each_function_gets_its_own_root(targets: list[float]) -> None:
    goal = np.array(targets)

    def reciprocal(x: Array) -> tuple[Array, Array]:
        return 1.0 / x - 1.0 / goal, -1.0 / x**2

    lower, upper = np.full(goal.size, 1e-9), np.full(goal.size, 1e9)
    root = falling_root(reciprocal, lower, upper, lower, np.full(goal.size, 1e-9))
    np.testing.assert_allclose(root, goal, rtol=1e-9)


def test_bisection_takes_over_where_newton_would_leave_the_bracket() -> None:
    # arctan: Newton diverges from far away.
    def arc(x: Array) -> tuple[Array, Array]:
        return -np.arctan(x - 1.0), -1.0 / (1.0 + (x - 1.0) ** 2)

    root = falling_root(arc, np.array([-1e4]), np.array([1e5]), np.array([9e4]), np.array([1.0]))
    assert float(root[0]) == pytest.approx(1.0, abs=1e-12)


def test_root_at_the_edge_and_flat_slope() -> None:
    def linear(x: Array) -> tuple[Array, Array]:
        return -x, np.where(x == 0.0, -1.0, 0.0)

    root = falling_root(linear, np.zeros(1), np.ones(1), np.ones(1), np.full(1, 1e-3))
    assert float(root[0]) == pytest.approx(0.0, abs=1e-12)


def test_a_function_without_a_root_is_reported() -> None:
    def never(x: Array) -> tuple[Array, Array]:
        return np.full_like(x, np.nan), np.full_like(x, -1.0)

    with pytest.raises(ConvergenceError, match="did not settle"):
        falling_root(never, np.zeros(1), np.ones(1), np.full(1, 0.5), np.ones(1))
