"""Observed shares of the cohorts, and what the model said without them."""

from __future__ import annotations

import json

import pytest
from scipy import stats

from ketacast.clinical.artifact import default_model_directory
from ketacast.clinical.cohort_rates import cohort_rates
from ketacast.evidence import load_evidence

MODEL = default_model_directory()


def test_every_primary_count_has_a_share_inside_its_bounds() -> None:
    evidence = load_evidence(MODEL / "evidence")
    found = cohort_rates(evidence)
    primary = [row for row in evidence.outcomes if row.model_use == "primary"]
    assert [(one.cohort_id, one.outcome) for one in found] == [
        (row.cohort_id, row.outcome) for row in primary
    ]
    for one in found:
        assert 0 <= one.low <= one.rate <= one.high <= 1
        assert one.predicted_low is None


def test_bounds_leave_two_and_a_half_percent_on_each_side() -> None:
    for one in cohort_rates(load_evidence(MODEL / "evidence")):
        if one.events:
            assert stats.binom.sf(one.events - 1, one.n, one.low) == pytest.approx(0.025)
        if one.events < one.n:
            assert stats.binom.cdf(one.events, one.n, one.high) == pytest.approx(0.025)


def test_what_was_left_out_carries_its_prediction() -> None:
    validation = json.loads((MODEL / "validation.json").read_bytes())
    found = cohort_rates(load_evidence(MODEL / "evidence"), validation["rows"])
    inside = 0
    known = [one for one in found if one.predicted_low is not None]
    for one in known:
        assert one.predicted_low is not None
        assert one.predicted_high is not None
        assert one.to_dict()["predicted_low"] == one.predicted_low
        inside += one.predicted_low <= one.rate <= one.predicted_high
    coverage = next(
        entry["result"]
        for entry in validation["coverage"]
        if entry["group"] == "both" and entry["result"]["level"] == 0.8
    )
    assert (inside, len(known)) == (coverage["count"], coverage["total"])
