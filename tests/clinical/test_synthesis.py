"""The synthesis of the packaged evidence: selection, figures, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketacast.clinical.synthesis import DoseCoding, synthesise
from ketacast.clinical.synthesis_data import (
    ANCHOR,
    combine_groups,
    failed_trials_rows,
    primary_rows,
    published,
    symptom_rows,
)
from ketacast.clinical.synthesis_result import METHODS, Synthesis, SynthesisRow
from ketacast.effects import back_transform, proportion_effect
from ketacast.errors import InputError
from ketacast.evidence import Evidence, load_evidence
from ketacast.numerics.normal import fit_normal
from ketacast.options import OUTCOMES

DIRECTORY = Path(__file__).parents[2] / "models" / "ketamine-trd" / "evidence"

#: The same computation twice: rounding only.
RTOL = 1e-10
#: The two methods answer the same question from the same counts; what separates
#: them is the continuity correction and the normal approximation.
METHODS_AGREE = 0.03


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return load_evidence(DIRECTORY)


@pytest.fixture(scope="module")
def synthesis(evidence: Evidence) -> Synthesis:
    return synthesise(evidence)


def _row(synthesis: Synthesis, analysis: str, group: str, method: int = 0) -> SynthesisRow:
    found = [
        row
        for row in synthesis.rows
        if (row.analysis, row.group, row.method) == (analysis, group, METHODS[method])
    ]
    assert len(found) == 1
    return found[0]


def test_primary_rows_are_one_per_family(evidence: Evidence) -> None:
    response, remission = (primary_rows(evidence, outcome) for outcome in OUTCOMES)
    assert (len(response), len(remission)) == (22, 14)
    for rows in (response, remission):
        families = [row.cohort.family for row in rows]
        assert len(set(families)) == len(families)


def test_every_analysis_of_the_anchor_is_there(synthesis: Synthesis) -> None:
    assert {row.analysis for row in synthesis.rows} == {
        "response",
        "remission",
        "symptoms",
        "response by infusions",
        "remission by infusions",
        "response by failed trials",
        "remission by failed trials",
    }
    # 2 outcomes x 5 groups x 2 methods, 3 correlations, 2 x 2 x 2 and 2 x 2 slopes.
    assert len(synthesis.rows) == 20 + 3 + 8 + 4


def test_published_figures_come_from_the_table(evidence: Evidence, synthesis: Synthesis) -> None:
    table = {row.quantity: row for row in evidence.syntheses if row.source_id == ANCHOR}
    for outcome in OUTCOMES:
        record = table[f"pooled {outcome} %"]
        shown = _row(synthesis, outcome, "all primary cohorts").published
        assert shown is not None
        assert record.number is not None
        assert shown.value == pytest.approx(record.number / 100.0, rel=RTOL)
        assert record.ci_low is not None
        assert shown.ci is not None
        assert shown.ci[0] == pytest.approx(record.ci_low / 100.0, rel=RTOL)
    symptoms = _row(synthesis, "symptoms", "r = 0.5 assumed").published
    assert symptoms is not None
    assert symptoms.value == table["pooled Hedges g symptom improvement"].number
    slope = _row(synthesis, "remission by failed trials", "per trial").published
    assert slope is not None
    assert slope.value is None
    assert slope.p_value == "<0.01"
    assert (synthesis.anchor_k, synthesis.anchor_n) == (79, 2665)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_pooled_rates_are_the_fit_of_the_primary_rows(
    evidence: Evidence, synthesis: Synthesis, outcome: str
) -> None:
    rows = primary_rows(evidence, "response" if outcome == "response" else "remission")
    effects = proportion_effect([r.events for r in rows], [r.n for r in rows])
    fit = fit_normal(effects.yi, effects.vi, np.ones((len(rows), 1)), test="knha")
    row = _row(synthesis, outcome, "all primary cohorts")
    assert row.estimate == pytest.approx(float(back_transform(fit.beta[0], "PLO")), rel=RTOL)
    assert row.tau2 == pytest.approx(fit.tau2, rel=RTOL)
    assert (row.k, row.n) == (len(rows), sum(r.n for r in rows))


def test_pooled_rates_agree_with_the_anchor(synthesis: Synthesis) -> None:
    for outcome in OUTCOMES:
        row = _row(synthesis, outcome, "all primary cohorts")
        assert row.published is not None
        assert row.published.value is not None
        assert row.ci is not None
        assert row.ci[0] < row.published.value < row.ci[1]


def test_intervals_are_nested_and_methods_agree(synthesis: Synthesis) -> None:
    for row in synthesis.rows:
        if row.scale == "log odds ratio" or row.refused:
            continue
        assert row.estimate is not None
        assert row.pi80 is not None
        assert row.pi95 is not None
        assert row.ci is not None
        assert row.pi95[0] < row.pi80[0] < row.estimate < row.pi80[1] < row.pi95[1]
        assert row.pi95[0] <= row.ci[0] < row.estimate < row.ci[1] <= row.pi95[1]
    for outcome in OUTCOMES:
        for group in ("all primary cohorts", "self-rated", "clinician-rated", "trial"):
            one = _row(synthesis, outcome, group, 0).estimate
            other = _row(synthesis, outcome, group, 1).estimate
            assert one == pytest.approx(other, abs=METHODS_AGREE)


def test_subgroups_split_the_primary_rows(synthesis: Synthesis) -> None:
    for outcome in OUTCOMES:
        whole = _row(synthesis, outcome, "all primary cohorts").k
        settings = [_row(synthesis, outcome, group).k for group in ("real-world", "trial")]
        raters = [_row(synthesis, outcome, group).k for group in ("self-rated", "clinician-rated")]
        assert sum(settings) == whole
        assert sum(raters) == whole - 3
        assert _row(synthesis, outcome, "trial").published is None


def test_clinicians_see_more_response_than_patients_report(synthesis: Synthesis) -> None:
    for outcome in OUTCOMES:
        patients = _row(synthesis, outcome, "self-rated").estimate
        clinicians = _row(synthesis, outcome, "clinician-rated").estimate
        assert patients is not None
        assert clinicians is not None
        assert clinicians > patients


def test_symptom_rows_are_one_per_family_in_points(evidence: Evidence) -> None:
    rows, left_out = symptom_rows(evidence)
    assert {row.cohort_id for row in rows} == {
        "correiamelo2020_ket",
        "murrough2013",
        "rodrigues2020",
        "zheng2019",
    }
    by_id = {row.cohort_id: row for row in rows}
    assert by_id["correiamelo2020_ket"].raw
    assert by_id["correiamelo2020_ket"].improvement == pytest.approx(33.0 - 16.2, rel=RTOL)
    assert by_id["correiamelo2020_ket"].sd == 9.3
    # Two disjoint groups that make up the cohort, taken together.
    assert by_id["rodrigues2020"].n == 238
    assert by_id["rodrigues2020"].improvement == pytest.approx((103 * 4.3 + 135 * 6.4) / 238)
    assert all(row.improvement > 0.0 for row in rows)
    assert left_out["percent change"] == 2


def test_subgroups_that_do_not_make_up_the_cohort_are_left_out(evidence: Evidence) -> None:
    cohorts = tuple(
        replace(cohort, n_enrolled=300) if cohort.cohort_id == "rodrigues2020" else cohort
        for cohort in evidence.cohorts
    )
    rows, left_out = symptom_rows(replace(evidence, cohorts=cohorts))
    assert "rodrigues2020" not in {row.cohort_id for row in rows}
    assert left_out["subgroups that may overlap"] == 2


def test_later_time_point_of_a_family_wins(evidence: Evidence) -> None:
    first = next(
        row
        for row in evidence.outcomes
        if row.cohort_id == "murrough2013" and row.outcome == "symptom_score"
    )
    later = replace(first, timepoint="after six", infusions=6.0, mean=-20.0)
    rows, left_out = symptom_rows(replace(evidence, outcomes=(*evidence.outcomes, later)))
    chosen = {row.cohort_id: row for row in rows}["murrough2013"]
    assert (chosen.timepoint, chosen.improvement) == ("after six", 20.0)
    assert left_out["another time point of the same family"] == 1


def test_symptom_pooling_needs_three_families(evidence: Evidence) -> None:
    fewer = tuple(row for row in evidence.outcomes if row.outcome != "symptom_score")
    row = _row(synthesise(replace(evidence, outcomes=fewer)), "symptoms", "r = 0.5 assumed")
    assert row.estimate is None
    assert row.refused == "0 cohorts; at least 3 are needed"


def test_assumed_correlation_is_named_and_varied(synthesis: Synthesis) -> None:
    groups = [row.group for row in synthesis.rows if row.analysis == "symptoms"]
    assert groups == ["r = 0.5 assumed", "r = 0.3 assumed", "r = 0.7 assumed"]


def test_failed_trials_are_refused_where_too_few_print_them(
    evidence: Evidence, synthesis: Synthesis
) -> None:
    assert len(failed_trials_rows(evidence, "response")) == 5
    response = _row(synthesis, "response by failed trials", "per trial")
    assert response.estimate is not None
    assert response.p_value is not None
    assert response.p_value > 0.05
    for method in (0, 1):
        remission = _row(synthesis, "remission by failed trials", "per trial", method)
        assert remission.estimate is None
        assert remission.refused == "1 cohort; at least 4 are needed"


def test_infusions_have_two_codings_and_name_the_unknown(synthesis: Synthesis) -> None:
    row = _row(synthesis, "response by infusions", "per doubling")
    assert "1 without a printed number taken as 6" in row.notes
    assert row.pi80 is None
    other = _row(synthesis, "response by infusions", "per infusion")
    assert other.estimate != row.estimate


def test_dose_coding_is_used(evidence: Evidence, synthesis: Synthesis) -> None:
    moved = synthesise(evidence, DoseCoding(reference=3.0))
    # Another reference moves the intercept only.
    assert _row(moved, "response by infusions", "per doubling").estimate == pytest.approx(
        _row(synthesis, "response by infusions", "per doubling").estimate, rel=1e-6
    )
    capped = synthesise(evidence, DoseCoding(plateau=6.0))
    assert _row(capped, "response by infusions", "per doubling").estimate != pytest.approx(
        _row(synthesis, "response by infusions", "per doubling").estimate, rel=1e-3
    )


def test_without_the_anchor_there_is_nothing_beside(evidence: Evidence) -> None:
    synthesis = synthesise(replace(evidence, syntheses=()))
    assert all(row.published is None for row in synthesis.rows)
    assert synthesis.anchor_k is None


def test_two_figures_of_the_same_name_are_refused(evidence: Evidence) -> None:
    twice = replace(evidence, syntheses=evidence.syntheses * 2)
    with pytest.raises(InputError, match="has 2 rows"):
        published(twice, "response")


def test_identical_moderators_and_separation_are_refused(evidence: Evidence) -> None:
    same = tuple(
        replace(row, infusions=6.0) if row.model_use == "primary" else row
        for row in evidence.outcomes
    )
    row = _row(
        synthesise(replace(evidence, outcomes=same)), "response by infusions", "per infusion"
    )
    assert row.refused == "the moderator is the same in every cohort"
    none = tuple(
        replace(row, events=0) if row.model_use == "primary" else row for row in evidence.outcomes
    )
    row = _row(synthesise(replace(evidence, outcomes=none)), "response", "all primary cohorts", 1)
    assert "separation" in row.refused
    row = _row(
        synthesise(replace(evidence, outcomes=none)), "response by infusions", "per infusion", 1
    )
    assert "separation" in row.refused


def test_to_dict_is_plain_and_complete(evidence: Evidence, synthesis: Synthesis) -> None:
    content = synthesis.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert len(content["rows"]) == len(synthesis.rows)
    assert content["evidence_sha256"] == evidence.sha256


GROUPS = st.lists(
    st.lists(st.floats(-50.0, 50.0, allow_nan=False), min_size=2, max_size=8),
    min_size=1,
    max_size=4,
)


@given(groups=GROUPS)
def test_groups_taken_together_have_the_moments_of_all_patients(groups: list[list[float]]) -> None:
    mean, sd, n = combine_groups(
        [float(np.mean(g)) for g in groups],
        [float(np.std(g, ddof=1)) for g in groups],
        [len(g) for g in groups],
    )
    everyone = np.concatenate(groups)
    assert n == everyone.size
    assert mean == pytest.approx(float(np.mean(everyone)), rel=1e-9, abs=1e-9)
    assert sd == pytest.approx(float(np.std(everyone, ddof=1)), rel=1e-6, abs=1e-6)
