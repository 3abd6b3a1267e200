"""Profile-likelihood intervals of tau2 in the binomial-normal model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize, special

from ketacast.errors import ConvergenceError, InputError
from ketacast.numerics.binomial import binomial_tau2_interval
from ketacast.numerics.binomial.fitting import checked_counts, fit_binomial
from ketacast.numerics.binomial.likelihood import even_rule, mixed_point

REFERENCE = Path(__file__).parent.parent / "reference"

#: Each limit is a root found to rounding, of a profile known to 1e-10.
ATOL_STATISTIC = 1e-7

CASES = sorted(path.stem for path in REFERENCE.glob("glmm_*.json"))


def data_of(case: str) -> tuple[Any, Any, Any]:
    data = json.loads((REFERENCE / f"{case}.json").read_text("utf-8"))["data"]
    return data["xi"], data["ni"], data["design_matrix"]


def profile(counts: tuple[Any, Any, Any], tau: float) -> float:
    """Profile log-likelihood by a general optimiser over even nodes."""
    data, _ = checked_counts(*counts)
    rule = even_rule(2048)

    def falling(gamma: Any) -> tuple[float, Any]:
        at = mixed_point(data, np.append(gamma, tau), rule)
        return -at.value, -at.score[:-1]

    start = np.zeros(data.basis.shape[1])
    found = optimize.minimize(falling, start, jac=True, method="BFGS", options={"gtol": 1e-9})
    return -float(found.fun)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("case", CASES)
def test_both_limits_are_rejected_exactly(case: str, level: float) -> None:
    counts = data_of(case)
    fit, found = fit_binomial(*counts), binomial_tau2_interval(*counts, level=level)
    assert found.estimate == fit.tau2
    assert 0.0 < found.lower < fit.tau2 < found.upper < np.inf
    top = profile(counts, fit.tau)
    for tau in found.tau:
        statistic = 2.0 * (top - profile(counts, tau))
        assert statistic == pytest.approx(special.chdtri(1, 1.0 - level), abs=ATOL_STATISTIC)


def test_limits_of_derived_measures_are_monotone_in_tau2() -> None:
    counts = data_of(CASES[0])
    fit, found = fit_binomial(*counts), binomial_tau2_interval(*counts)
    assert found.i2[0] < fit.i2 < found.i2[1] < 100.0
    assert found.h2[0] < fit.h2 < found.h2[1]
    wide = binomial_tau2_interval(*counts, level=0.99)
    assert wide.lower < found.lower
    assert wide.upper > found.upper


def test_interval_from_zero() -> None:
    counts = ([3] * 7, [10] * 7, np.ones((7, 1)))
    found = binomial_tau2_interval(*counts)
    assert found.estimate == found.lower == 0.0
    assert found.i2[0] == 0.0
    assert found.h2[0] == 1.0
    statistic = 2.0 * (profile(counts, 1e-4) - profile(counts, found.tau[1]))
    assert statistic == pytest.approx(special.chdtri(1, 0.05), abs=1e-5)


def test_no_upper_limit_without_information() -> None:
    # One outcome per study: the likelihood does not depend on tau.
    found = binomial_tau2_interval([0, 1, 1, 0, 1], [1] * 5, np.ones((5, 1)))
    assert found.upper == np.inf
    assert found.i2 == (0.0, 100.0)
    assert found.h2 == (1.0, np.inf)


def test_far_limits_are_reached() -> None:
    counts = ([0, 5, 12, 3, 0], [20, 20, 12, 11, 4], np.ones((5, 1)))
    found = binomial_tau2_interval(*counts)
    assert 10.0 < found.tau[1] < 100.0
    statistic = 2.0 * (profile(counts, np.sqrt(found.estimate)) - profile(counts, found.tau[1]))
    assert statistic == pytest.approx(special.chdtri(1, 0.05), abs=1e-5)


def test_errors_of_the_fit_are_passed_on() -> None:
    with pytest.raises(ConvergenceError, match="separation"):
        binomial_tau2_interval([0, 0, 0], [5, 5, 5], np.ones((3, 1)))
    with pytest.raises(InputError, match="level"):
        binomial_tau2_interval([1, 2, 3], [5, 5, 5], np.ones((3, 1)), level=95)
    with pytest.raises(InputError, match="nodes"):
        binomial_tau2_interval([1, 2, 3], [5, 5, 5], np.ones((3, 1)), nodes=0)
