"""Count intervals, exact bounds, calibration summaries, ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ketacast.clinical.calibration import (
    CountPrediction,
    calibrate,
    count_interval,
    coverage,
    mid_p,
    predictive_pmf,
)
from ketacast.clinical.proportions import proportion
from ketacast.clinical.simulation import BINS, check_positions, rank_positions
from ketacast.errors import InputError

#: Closed forms and sums of doubles: rounding only.
EXACT = 1e-12


def _prediction(observed: int, n: int, rate: float, cohort: str = "a") -> CountPrediction:
    pmf = predictive_pmf(n, np.array([rate]))
    return CountPrediction(
        family=cohort,
        cohort_id=cohort,
        outcome="response",
        primary=True,
        infusions=6.0,
        rater=0.5,
        failed_trials=6.0,
        n=n,
        observed=observed,
        expected_rate=rate,
        intervals=tuple(count_interval(pmf, observed, level) for level in (0.8, 0.95)),
        pit=mid_p(pmf, observed),
        log_score=float(np.log(pmf[observed])),
        baseline_log_score=0.0,
    )


def test_one_certain_rate_gives_the_binomial() -> None:
    pmf = predictive_pmf(10, np.array([0.3, 0.3]))
    np.testing.assert_allclose(pmf, stats.binom.pmf(np.arange(11), 10, 0.3), rtol=EXACT)


@given(
    n=st.integers(1, 60),
    rates=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5),
    level=st.sampled_from([0.5, 0.8, 0.95]),
)
def test_intervals_hold_their_level_and_are_central(
    n: int, rates: list[float], level: float
) -> None:
    pmf = predictive_pmf(n, np.array(rates))
    found = count_interval(pmf, 0, level)
    tail = (1 - level) / 2
    assert pmf.sum() == pytest.approx(1.0, abs=1e-9)
    assert found.mass >= level - 1e-9
    assert pmf[: found.low].sum() <= tail + 1e-9
    assert pmf[found.high + 1 :].sum() <= tail + 1e-9
    assert found.covered == (found.low == 0)


@given(n=st.integers(1, 40), rate=st.floats(0.02, 0.98))
def test_mid_p_averages_to_one_half(n: int, rate: float) -> None:
    pmf = predictive_pmf(n, np.array([rate]))
    mean = sum(pmf[k] * mid_p(pmf, k) for k in range(n + 1))
    assert mean == pytest.approx(0.5, abs=1e-9)


def test_exact_bounds_at_the_ends_and_in_the_middle() -> None:
    none, every = proportion(0.8, 0, 10), proportion(0.8, 10, 10)
    assert none.low == 0.0
    assert none.high == pytest.approx(1 - 0.025 ** (1 / 10), rel=EXACT)
    assert every.high == 1.0
    assert every.low == pytest.approx(0.025 ** (1 / 10), rel=EXACT)
    part = proportion(0.8, 18, 22)
    reference = stats.binomtest(18, 22).proportion_ci(method="exact")
    assert (part.low, part.high) == pytest.approx((reference.low, reference.high), rel=1e-9)


@pytest.mark.parametrize(("count", "total"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_shares_are_refused(count: int, total: int) -> None:
    with pytest.raises(InputError, match="not a share"):
        proportion(0.8, count, total)


def test_coverage_counts_what_lies_inside() -> None:
    rows = [_prediction(5, 10, 0.5), _prediction(0, 10, 0.5), _prediction(10, 10, 0.5)]
    assert (coverage(rows, 0.95).count, coverage(rows, 0.95).total) == (1, 3)


def test_calibration_of_perfect_predictions() -> None:
    rates = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    rows = [_prediction(round(100 * r), 100, r, f"c{i}") for i, r in enumerate(rates)]
    found = calibrate(rows, "response")
    assert found is not None
    assert found.ratio == pytest.approx(1.0, rel=EXACT)
    assert found.mean_difference == pytest.approx(0.0, abs=EXACT)
    assert found.slope == pytest.approx(1.0, rel=1e-9)
    assert [group.cohorts for group in found.groups] == [3, 3, 3]
    assert [group.observed for group in found.groups] == [60, 150, 240]


def test_calibration_does_not_depend_on_row_order_and_needs_rows() -> None:
    rows = [_prediction(k, 20, 0.05 * k + 0.02, f"c{k}") for k in range(1, 10)]
    assert calibrate(rows, "response") == calibrate(rows[::-1], "response")
    assert calibrate(rows[:3], "response") is None
    assert calibrate(rows, "remission") is None


def test_ranks_on_a_toy() -> None:
    draws = np.arange(9.0)[:, None] * np.ones(3)
    found = rank_positions(draws, np.array([-1.0, 4.5, 99.0]), np.array([0.0, 0.5, 0.25]))
    np.testing.assert_allclose(found, [0.0, 0.55, 0.925], rtol=EXACT)


def test_even_positions_pass_and_shifted_ones_fail() -> None:
    even = (np.arange(200) + 0.5) / 200
    good, bad = check_positions("even", even), check_positions("shifted", even**2)
    assert good.chi_square == pytest.approx(0.0, abs=EXACT)
    assert good.ks_p > 0.99
    assert [part.count for part in good.coverage] == [100, 160, 190]
    assert bad.ks_p < 1e-6
    assert bad.chi_square_p < 1e-6
    assert bad.mean_position < 0.4


def test_chi_square_statistic_by_hand() -> None:
    positions = np.concatenate([np.full(10, 0.01), (np.arange(30) + 0.5) / 30])
    counts = [math.floor(BINS * value) for value in positions]
    expected = len(positions) / BINS
    by_hand = sum((counts.count(b) - expected) ** 2 / expected for b in range(BINS))
    assert check_positions("x", positions).chi_square == pytest.approx(by_hand, rel=EXACT)
