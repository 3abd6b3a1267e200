"""Symptom scores: against metafor, translation to points, refusals; cut-offs of the scales."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from ketacast.clinical.scales import RESPONSE_FALL, SCALES, scale_named
from ketacast.clinical.symptom_scores import (
    TARGET_SCALES,
    PointsChange,
    SymptomScores,
    pool_symptom_scores,
)
from ketacast.clinical.synthesis import synthesise
from ketacast.errors import InputError
from ketacast.evidence import Evidence, load_evidence

MODEL = Path(__file__).resolve().parents[2] / "models" / "ketamine-trd"

#: metafor stops its REML iterations at 1e-5 of a step; tau2 moves 6e-7 and limits follow.
METAFOR = 5e-6
#: The same arithmetic in another order.
EXACT = 1e-9
#: Quantiles of 4,096 even points of two heavy-tailed variables, relative.
POINTS = 0.02

#: metafor 3.8-1, rma(SMCC, method = "REML", test = "adhoc"): estimate, 95 % interval,
#: 80 % and 95 % prediction intervals, tau2, I2.
RMA = {
    0.5: (
        1.532747206,
        0.229519487,
        2.835974925,
        0.142216623,
        2.923277789,
        -1.169316096,
        4.234810508,
        0.553195423,
        95.106942053,
    ),
    0.3: (
        1.460711914,
        0.188376992,
        2.733046836,
        0.124379138,
        2.797044691,
        -1.136034823,
        4.057458652,
        0.505951366,
        94.832120842,
    ),
    0.7: (
        1.668773568,
        0.226923142,
        3.110623993,
        0.089940688,
        3.247606447,
        -1.399196627,
        4.736743762,
        0.724085128,
        96.045357845,
    ),
}
#: The same for the log of the MADRS baseline SD of six families, variance 1 / (2 df).
RMA_SD = (6.158436036, 3.753336108, 10.104699741)


@cache
def evidence() -> Evidence:
    return load_evidence(MODEL / "evidence")


@cache
def found() -> SymptomScores:
    return pool_symptom_scores(evidence())


def points(scale: str, correlation: float) -> PointsChange:
    (one,) = (p for p in found().points if (p.scale, p.correlation) == (scale, correlation))
    return one


def test_what_is_pooled() -> None:
    rows = {row.cohort_id: (round(row.improvement, 2), row.n, row.raw) for row in found().rows}
    assert rows == {
        "correiamelo2020_ket": (16.8, 29, True),
        "murrough2013": (18.9, 24, False),
        "rodrigues2020": (5.49, 238, False),
        "zheng2019": (7.0, 77, False),
    }
    assert sum(found().left_out.values()) == 10


@pytest.mark.parametrize("correlation", RMA)
def test_pooled_change_agrees_with_metafor(correlation: float) -> None:
    assert len(found().pooled) == len(RMA) == 3
    (own,) = (one for one in found().pooled if one.correlation == correlation)
    numbers = [own.estimate, *own.ci95, *own.pi[0], *own.pi[1], own.tau2, own.i2]
    np.testing.assert_allclose(numbers, RMA[correlation], rtol=METAFOR, atol=METAFOR)
    assert (own.k, own.n) == (4, 368)


def test_at_a_correlation_of_a_half_it_is_the_synthesis() -> None:
    (row,) = (
        row
        for row in synthesise(evidence()).rows
        if row.analysis == "symptoms" and row.group.startswith("r = 0.5")
    )
    # SD of the change and baseline SD are then the same number.
    assert found().pooled[0].estimate == pytest.approx(row.estimate, rel=EXACT)


def test_baseline_sds() -> None:
    madrs, qids, phq = found().baseline
    assert tuple(one.scale for one in found().baseline) == TARGET_SCALES
    assert madrs.sd is not None
    assert madrs.pi95 is not None
    np.testing.assert_allclose([madrs.sd, *madrs.pi95], RMA_SD, rtol=METAFOR)
    assert len(madrs.printed) == 8
    assert qids.sd is None
    assert qids.refused.startswith("not available: no cohort")
    # One cohort: its SD as printed, and nothing said of the spread.
    assert phq.sd == pytest.approx(5.8, rel=EXACT)
    assert phq.pi95 is None
    assert [name for name, _, _ in phq.printed] == ["brendle2022"]


@pytest.mark.parametrize("correlation", RMA)
def test_points_are_the_pooled_change_times_the_sd_of_the_change(correlation: float) -> None:
    (pooled,) = (one for one in found().pooled if one.correlation == correlation)
    for spread in (found().baseline[0], found().baseline[2]):
        assert spread.sd is not None
        own = points(spread.scale, correlation)
        factor = spread.sd * np.sqrt(2.0 * (1.0 - correlation))
        assert own.points == pytest.approx(pooled.estimate * factor, rel=EXACT)
        assert own.ci95 is not None
        np.testing.assert_allclose(own.ci95, factor * np.array(pooled.ci95), rtol=EXACT)
    refused = points("QIDS-SR16", correlation)
    assert refused.points is None
    assert refused.pi == ()
    assert refused.refused == found().baseline[1].refused


def test_ranges_hold_the_spread_of_the_sd_where_it_is_known() -> None:
    pooled = found().pooled[0]
    phq, madrs = points("PHQ-9", 0.5), points("MADRS", 0.5)
    # Without a spread of the SD the range is the prediction interval in points.
    np.testing.assert_allclose(phq.pi, 5.8 * np.array(pooled.pi), rtol=POINTS, atol=5.8 * POINTS)
    assert found().baseline[0].sd is not None
    plain = found().baseline[0].sd * np.array(pooled.pi)
    assert madrs.pi[1][1] > plain[1][1]
    assert madrs.pi[1][0] < madrs.pi[0][0] < madrs.pi[0][1] < madrs.pi[1][1]
    for own in found().points:
        for low, high in own.pi:
            assert abs(low) <= scale_named(own.scale).highest
            assert abs(high) <= scale_named(own.scale).highest


def test_what_must_be_said_is_said() -> None:
    text = " ".join(found().limits)
    for phrase in ("descriptive", "24 h after single infusion", "0.5 is assumed", "uncontrolled"):
        assert phrase in text
    json.dumps(found().to_dict())


def test_too_few_families_are_refused() -> None:
    known = evidence()
    outcomes = tuple(
        row for row in known.outcomes if row.cohort_id not in {"murrough2013", "zheng2019"}
    )
    few = pool_symptom_scores(replace(known, outcomes=outcomes))
    assert few.refused == "2 families with usable scores; at least 3 are needed"
    assert few.pooled == ()
    assert few.points == ()
    assert few.baseline == found().baseline


def test_cut_offs_are_inside_their_scales_and_have_sources() -> None:
    assert set(TARGET_SCALES) <= set(SCALES)
    assert RESPONSE_FALL == 0.5
    for name, scale in SCALES.items():
        assert scale_named(name) is scale
        assert scale.remission
        for cutoff in scale.remission:
            # A remission lies well below half of the worst score.
            assert 0 < cutoff.at_most < 0.3 * scale.highest
            assert cutoff.source
            assert cutoff.url.startswith("https://")
    first = {name: scale.remission[0].at_most for name, scale in SCALES.items()}
    assert first == {
        "MADRS": 10,
        "HAM-D17": 7,
        "QIDS-SR16": 5,
        "PHQ-9": 4,
        "BDI": 12,
        "BDI-II": 13,
    }
    assert 12 in {cutoff.at_most for cutoff in SCALES["MADRS"].remission}


def test_an_unknown_scale_is_refused() -> None:
    with pytest.raises(InputError, match="scale is 'CGI'"):
        scale_named("CGI")
