"""Effect sizes against metafor 3.8-1 (files in ``tests/reference``) and their invariants."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketacast.effects import (
    DifferenceVariance,
    EffectSizes,
    back_transform,
    bias_correction,
    change_sd,
    harmonic_mean,
    proportion_effect,
    standardised_mean_change,
    standardised_mean_difference,
)
from ketacast.effects.proportions import ProportionMeasure
from ketacast.errors import InputError
from ketacast.options import ContinuityRule

REFERENCE = Path(__file__).parent / "reference"

#: Closed forms: nothing but rounding separates two correct programs.
RTOL = 1e-10
#: Some references are exactly 0 (logit of one half), where relative error means nothing.
ATOL = 1e-14
#: The pooled PFT of the reference comes from an iterative fit; only its inversion is tested.
RTOL_INVERSE = 1e-10

#: Measures of the reference files that ketacast does not offer.
NOT_OFFERED = {"PLN", "MC", "SMCRH", "ROMC", "SMDH", "SMD1", "MD", "ROM"}
#: The grid must not shrink silently.
EXPECTED_CASES = 27


def _load(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / f"{case}.json").read_text())
    return content


def _proportion(data: dict[str, Any], key: str) -> EffectSizes:
    measure, _, rule = key.partition("|to=")
    assert measure in get_args(ProportionMeasure)
    assert rule in ("", *get_args(ContinuityRule))
    chosen: Any = rule or "only0"
    kind: Any = measure
    return proportion_effect(data["xi"], data["ni"], kind, to=chosen)


def _difference(data: dict[str, Any], key: str) -> EffectSizes:
    measure, _, variance = key.partition("|vtype=")
    assert measure == "SMD"
    assert variance in get_args(DifferenceVariance)
    kind: Any = variance
    return standardised_mean_difference(
        mean_1=data["m1i"],
        sd_1=data["sd1i"],
        n_1=data["n1i"],
        mean_2=data["m2i"],
        sd_2=data["sd2i"],
        n_2=data["n2i"],
        variance=kind,
    )


def _change(data: dict[str, Any], key: str) -> EffectSizes:
    measure, _, variance = key.partition("|vtype=")
    kind: Any = variance or "LS"
    change = np.subtract(data["m_post"], data["m_pre"])
    if measure == "SMCC":
        sd = change_sd(data["sd_pre"], data["sd_post"], data["ri"])
        return standardised_mean_change(change, sd, data["ni"], measure="SMCC", variance=kind)
    # These files standardise by the SD after treatment (their `call` says so).
    return standardised_mean_change(
        change,
        data["sd_post"],
        data["ni"],
        measure="SMCR",
        correlation=data["ri"],
        variance=kind,
    )


RUNNERS: dict[str, Callable[[dict[str, Any], str], EffectSizes]] = {
    "escalc_prop_nielweise2007_ai": _proportion,
    "escalc_prop_pritz1997": _proportion,
    "escalc_smd_normand1999": _difference,
    "escalc_smc_morris2008_T": _change,
    "escalc_smc_awkward_small_n_extreme_r": _change,
}
CASES = [
    (case, key)
    for case in RUNNERS
    for key in _load(case)["expected"]
    if key.split("|")[0] not in NOT_OFFERED
]


def test_grid_of_cases_does_not_shrink() -> None:
    files = {path.stem for path in REFERENCE.glob("escalc_*.json")}
    assert files == {*RUNNERS, "escalc_smcr_pretestSD_morris2008_T"}
    # + 1: the SMCR file below has no keys of its own.
    assert len(CASES) + 1 == EXPECTED_CASES


@pytest.mark.parametrize(("case", "key"), CASES)
def test_matches_metafor(case: str, key: str) -> None:
    reference = _load(case)
    expected = reference["expected"][key]
    if None in expected["yi"]:
        with pytest.raises(InputError, match="only0"):
            RUNNERS[case](reference["data"], key)
        return
    effects = RUNNERS[case](reference["data"], key)
    np.testing.assert_allclose(effects.yi, expected["yi"], rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(effects.vi, expected["vi"], rtol=RTOL)


def test_to_none_agrees_where_metafor_has_a_value() -> None:
    reference = _load("escalc_prop_pritz1997")
    expected = reference["expected"]["PLO|to=none"]
    keep = [i for i, value in enumerate(expected["yi"]) if value is not None]
    events, n = np.array(reference["data"]["xi"]), np.array(reference["data"]["ni"])
    effects = proportion_effect(events[keep], n[keep], to="none")
    np.testing.assert_allclose(effects.yi, [expected["yi"][i] for i in keep], rtol=RTOL, atol=ATOL)


def test_change_by_baseline_sd_matches_metafor() -> None:
    reference = _load("escalc_smcr_pretestSD_morris2008_T")
    data, expected = reference["data"], reference["expected"]
    effects = standardised_mean_change(
        np.subtract(data["m_post"], data["m_pre"]),
        data["sd_pre"],
        data["ni"],
        measure="SMCR",
        correlation=data["ri"],
    )
    np.testing.assert_allclose(effects.yi, expected["yi"], rtol=RTOL)
    np.testing.assert_allclose(effects.vi, expected["vi"], rtol=RTOL)
    assert effects.measure == "SMCR"


@pytest.mark.parametrize("case", ["backtransform_pritz1997", "backtransform_debruin2009"])
class TestBackTransform:
    def test_double_arcsine_at_each_study_size(self, case: str) -> None:
        reference = _load(case)
        events, n = reference["data"]["xi"], reference["data"]["ni"]
        effects = proportion_effect(events, n, "PFT")
        back = back_transform(effects.yi, "PFT", n)
        np.testing.assert_allclose(back, reference["expected"]["ipft_each"], rtol=RTOL_INVERSE)
        np.testing.assert_allclose(back, np.divide(events, n), rtol=RTOL_INVERSE)

    def test_double_arcsine_at_the_harmonic_mean(self, case: str) -> None:
        reference = _load(case)
        fit, expected = reference["expected"]["pft_fit"], reference["expected"]["ipft_hm"]
        n = harmonic_mean(reference["data"]["ni"])
        pooled = [fit["beta"][0], fit["ci_lb"][0], fit["ci_ub"][0]]
        np.testing.assert_allclose(
            back_transform(pooled, "PFT", n),
            [expected["pred"], expected["ci_lb"], expected["ci_ub"]],
            rtol=RTOL_INVERSE,
        )
        # z-based prediction interval of the same fit
        half = 1.959963984540054 * np.sqrt(fit["vb"][0][0] + fit["tau2"])
        limits = back_transform([pooled[0] - half, pooled[0] + half], "PFT", n)
        np.testing.assert_allclose(
            limits, [expected["pi_lb"], expected["pi_ub"]], rtol=RTOL_INVERSE
        )

    def test_inverse_logit(self, case: str) -> None:
        expected = _load(case)["expected"]
        np.testing.assert_allclose(
            back_transform(expected["x"], "PLO"), expected["ilogit"], rtol=RTOL
        )


def test_values_beyond_the_image_are_clamped() -> None:
    assert back_transform([-0.5, 0.0, 5.0], "PFT", 10).tolist() == [0.0, 0.0, 1.0]
    assert back_transform([-0.5, 0.0, 5.0], "PAS").tolist() == [0.0, 0.0, 1.0]


def test_raw_proportion_keeps_limits_as_they_are() -> None:
    assert back_transform([-0.1, 0.4, 1.2], "PR").tolist() == [-0.1, 0.4, 1.2]


@given(
    n=st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    measure=st.sampled_from(["PFT", "PAS"]),
)
def test_arcsine_measures_return_to_the_observed_proportion(
    n: tuple[int, int], measure: ProportionMeasure
) -> None:
    size, events = n
    effect = proportion_effect(events, size, measure)
    back = back_transform(effect.yi, measure, size if measure == "PFT" else None)
    # 1e-7: near 0 and 1 the inverse loses half the digits (square-root singularity).
    assert float(back) == pytest.approx(events / size, abs=1e-7)


@given(n=st.integers(1, 500).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_logit_is_antisymmetric_in_events_and_non_events(n: tuple[int, int]) -> None:
    size, events = n
    one, other = proportion_effect(events, size), proportion_effect(size - events, size)
    assert float(one.yi) == pytest.approx(-float(other.yi), rel=1e-12, abs=1e-14)
    assert float(one.vi) == pytest.approx(float(other.vi), rel=1e-12)


def test_shapes_broadcast_and_results_are_read_only() -> None:
    effects = proportion_effect([[1], [2]], [10, 20, 30])
    assert effects.yi.shape == effects.vi.shape == effects.n.shape == (2, 3)
    with pytest.raises(ValueError, match="read-only"):
        effects.yi[0, 0] = 0.0


def test_a_single_patient_has_a_corrected_logit() -> None:
    effects = proportion_effect([0, 1], [1, 1])
    np.testing.assert_allclose(effects.yi, [-np.log(3.0), np.log(3.0)], rtol=RTOL)


def test_explicit_addition_applies_to_arcsine_measures() -> None:
    assert float(proportion_effect(0, 9, "PAS").yi) == 0.0
    expected = np.arcsin(np.sqrt(0.5 / 10.0))
    assert float(proportion_effect(0, 9, "PAS", add=0.5).yi) == pytest.approx(expected, rel=RTOL)


def test_bias_correction_of_two_degrees_of_freedom() -> None:
    # J(2) = gamma(1) / (1 * gamma(1/2)) = 1 / sqrt(pi)
    assert float(bias_correction(np.array(2.0))) == pytest.approx(1 / np.sqrt(np.pi), rel=1e-14)


@pytest.mark.parametrize(
    ("events", "n", "message"),
    [
        ([1, 12], [10, 10], r"events\[1\] is 12 but n\[1\] is 10"),
        ([-1], [10], "whole number"),
        ([1.5], [10], "whole number"),
        ([0], [0], "1 or more"),
        ([float("nan")], [10], "finite"),
        ([1], [float("inf")], "finite"),
        ([True], [10], "boolean"),
        ([1, True], [10, 10], "boolean"),
        (np.array([True]), [10], "boolean"),
        (["3"], [10], "not numeric"),
        ([None], [10], "not numeric"),
        ([[1], [1, 2]], [10], "rectangular"),
        ([], [10], "empty"),
        ([1, 2, 3], [10, 10], "shape"),
        (np.ma.masked_array([1, 2], mask=[False, True]), [10, 10], "masked"),
    ],
)
def test_impossible_counts_are_refused(events: object, n: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        proportion_effect(events, n)


@pytest.mark.parametrize("measure", ["PLO", "PR"])
def test_no_correction_with_no_events_names_row_and_remedy(measure: ProportionMeasure) -> None:
    with pytest.raises(InputError, match=r"events\[1\].*only0"):
        proportion_effect([3, 0], [10, 10], measure, to="none")


def test_unknown_options_are_refused() -> None:
    bad: Any = "OR"
    with pytest.raises(InputError, match="'PLO', 'PFT', 'PAS', 'PR'"):
        proportion_effect(1, 2, bad)
    with pytest.raises(InputError, match="to is 'sometimes'"):
        proportion_effect(1, 2, to=_any("sometimes"))
    with pytest.raises(InputError, match="0 or more"):
        proportion_effect(1, 2, add=-0.5)


def test_change_options_are_checked() -> None:
    with pytest.raises(InputError, match="correlation is missing"):
        standardised_mean_change(1.0, 1.0, 10, measure="SMCR")
    with pytest.raises(InputError, match="already carries it"):
        standardised_mean_change(1.0, 1.0, 10, correlation=0.5)
    with pytest.raises(InputError, match="between -1 and 1"):
        standardised_mean_change(1.0, 1.0, 10, measure="SMCR", correlation=1.0)
    with pytest.raises(InputError, match="greater than 0"):
        standardised_mean_change(1.0, 0.0, 10)
    with pytest.raises(InputError, match="3 or more"):
        standardised_mean_change(1.0, 1.0, 2)


def test_back_transform_options_are_checked() -> None:
    with pytest.raises(InputError, match="no back-transform"):
        back_transform(1.0, "SMD")
    with pytest.raises(InputError, match="n is missing"):
        back_transform(1.0, "PFT")
    with pytest.raises(InputError, match="without a sample size"):
        back_transform(1.0, "PLO", 10)
    with pytest.raises(InputError, match="greater than 0"):
        back_transform(1.0, "PFT", 0)


def _any(value: object) -> Any:
    return value
