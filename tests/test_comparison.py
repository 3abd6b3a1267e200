"""Two plans compared draw by draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ketacast
from ketacast.clinical.artifact import DIGITS, load_artifact
from ketacast.clinical.draws import coding_of, load_draws
from ketacast.clinical.rates import clinic_rates
from ketacast.errors import InputError
from ketacast.options import OUTCOMES
from ketacast.updating import Batch, Cell, update_clinic

ASKED: dict[str, Any] = {"failed_trials": 6, "rated_by": "self"}


def test_the_plans_are_ordinary_predictions() -> None:
    found = ketacast.compare_plans(**ASKED, infusions=(4, 8))
    assert found.first == ketacast.predict(**ASKED, infusions=4)
    assert found.second == ketacast.predict(**ASKED, infusions=8)


@pytest.mark.parametrize("trials", [3, (4, 6)])
@pytest.mark.parametrize("rater", ["self", "clinician", "unknown"])
def test_expected_differences_are_differences_of_expectations(trials: Any, rater: Any) -> None:
    found = ketacast.compare_plans(failed_trials=trials, infusions=(2, 6), rated_by=rater)
    for outcome in OUTCOMES:
        first, second = getattr(found.first, outcome), getattr(found.second, outcome)
        one = getattr(found, outcome)
        assert one.expected == pytest.approx(second.expected - first.expected, abs=1e-9)
        for level in (0.8, 0.95):
            wide, narrow = one.new_clinic[level], one.average_clinic[level]
            assert wide.low <= narrow.low <= narrow.high <= wide.high


def test_the_range_is_of_the_difference_and_not_of_the_rates() -> None:
    artifact = load_artifact()
    draws, coding = load_draws(artifact), coding_of(artifact)
    four, eight = (
        clinic_rates(draws, coding, 6, plan, "self", new_clinic=True).response for plan in (4, 8)
    )
    one = ketacast.compare_plans(**ASKED, infusions=(4, 8)).response
    low, median, high = np.quantile(eight - four, [0.1, 0.5, 0.9])
    found = one.new_clinic[0.8]
    assert tuple(found) == (round(low, DIGITS), round(high, DIGITS))
    assert one.median == round(median, DIGITS)
    # Common draws: far narrower than if the two rates were unrelated.
    apart = np.quantile(eight, 0.9) - np.quantile(four, 0.1)
    assert found.high - found.low < 0.6 * apart


def test_turned_round_the_difference_changes_its_sign() -> None:
    there = ketacast.compare_plans(**ASKED, infusions=(4, 8)).remission
    back = ketacast.compare_plans(**ASKED, infusions=(8, 4)).remission
    assert back.expected == -there.expected
    low, high = there.new_clinic[0.95]
    assert back.new_clinic[0.95] == pytest.approx((-high, -low), abs=1e-9)


def test_beyond_the_plateau_nothing_differs() -> None:
    one = ketacast.compare_plans(**ASKED, infusions=(8, 12)).response
    assert one.expected == 0
    assert one.new_clinic[0.95] == (0, 0)


def test_this_clinic_has_a_difference_of_its_own() -> None:
    cell = Cell((4, 8), 6, "self", "all_treated", 40, 30, 15)
    clinic = update_clinic(None, [Batch("2026-Q1", (cell,))])
    found = ketacast.compare_plans(**ASKED, infusions=(4, 8), clinic=clinic)
    for outcome in OUTCOMES:
        own = getattr(found, outcome).clinic
        first, second = getattr(found.first, outcome), getattr(found.second, outcome)
        assert own is not None
        assert own.expected == pytest.approx(
            second.clinic.expected - first.clinic.expected, abs=1e-9
        )
        assert own.this_clinic[0.8].low <= own.median <= own.this_clinic[0.8].high
    assert "clinic" in found.to_dict()["difference"]["response"]


def test_words_and_document_carry_the_association() -> None:
    found = ketacast.compare_plans(**ASKED, infusions=(4, 8))
    assert found.to_dict()["notice"]["code"] == "association_between_groups"
    assert "not the effect of choosing a plan" in str(found)
    assert "8 infusions compared with 4" in str(found)


@pytest.mark.parametrize(
    ("infusions", "said"),
    [
        ((4, 4), "two plans that differ"),
        (4, "give a pair"),
        ((4, 6, 8), "give a pair"),
        ((4, 31), "1 to 30"),
        ((4, 6.5), "whole number"),
    ],
)
def test_unusable_plans_are_refused(infusions: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ketacast.compare_plans(**ASKED, infusions=infusions)
