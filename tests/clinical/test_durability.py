"""Time in response: rows from the evidence, curves, maintenance, refusals, storage."""

from __future__ import annotations

import copy
import json
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.clinical.durability import Durability, read_durability
from ketacast.clinical.durability_fit import build_durability, check_durability
from ketacast.clinical.durability_parts import MaintenancePlan, Ranges
from ketacast.clinical.durability_rows import arm_counts, lost_rows
from ketacast.clinical.durability_rules import STRATA, ArmIds, DurabilityRules, parse_durability
from ketacast.errors import ArtifactError, InputError, RecipeError
from ketacast.evidence import Evidence, load_evidence

MODEL = Path(__file__).resolve().parents[2] / "models" / "ketamine-trd"
NUTS = Path(__file__).resolve().parents[1] / "reference" / "nuts" / "relapse.json"

#: Shares of draws against NUTS: 0.01 of the draws and three Monte-Carlo errors of 0.004.
QUANTILE = 0.02
#: The same arithmetic in another order.
EXACT = 1e-12
#: Restricted means against weekly trapezia of a curve that starts steeply: a tenth of a week.
AREA = 0.10

SECTION = """
horizon_weeks = 26
rows = ["murrough_med", "shiroma_4w", "cusin_2w", "diamond_med"]
[prior]
scale_days = 45.0
log_scale_sd = 1.0
spread = 1.0
log_shape_sd = 0.5
[maintenance.responders]
treated = "sustain1_resp_esk"
control = "sustain1_resp_pbo"
[maintenance.remitters]
treated = "sustain1_rem_esk"
control = "sustain1_rem_pbo"
[[sensitivity]]
name = "albott"
title = "albott2018 added"
add = ["albott_med"]
[[sensitivity]]
name = "mcinnes"
title = "mcinnes2022 added, 50 responders assumed"
add = ["mcinnes_4w", "mcinnes_8w"]
assumed_n = { mcinnes_4w = 50, mcinnes_8w = 50 }
[[sensitivity]]
name = "no_medians"
title = "rows from medians dropped"
drop = ["murrough_med", "diamond_med"]
[[sensitivity]]
name = "wide"
title = "spread doubled"
prior = { spread = 2.0 }
"""


@cache
def evidence() -> Evidence:
    return load_evidence(MODEL / "evidence")


def table() -> dict[str, Any]:
    return tomllib.loads(SECTION)


def rules() -> DurabilityRules:
    return parse_durability(table())


@cache
def built() -> Durability:
    return build_durability(evidence(), rules(), 4096)


def test_rows_are_those_of_the_model() -> None:
    found = {row.row_id: (row.end_days, row.at_risk, row.lost) for row in built().rows}
    assert found == {
        "murrough_med": (18.0, 17, 9),
        "shiroma_4w": (28.0, 11, 6),
        "cusin_2w": (14.0, 5, 4),
        "diamond_med": (70.0, 8, 4),
    }
    lost, at_risk = arm_counts(evidence(), rules().maintenance["responders"])
    assert (lost, at_risk) == ((16, 34), (62, 59))
    assert arm_counts(evidence(), rules().maintenance["remitters"]) == ((24, 39), (90, 86))


def test_other_kinds_of_rows() -> None:
    rows = lost_rows(
        evidence(),
        ["albott_med", "mcinnes_8w", "mcinnes_4w", "rasmussen_4w"],
        {"mcinnes_4w": 50, "mcinnes_8w": 50},
    )
    found = [(r.row_id, r.start_days, r.end_days, r.at_risk, r.lost) for r in rows]
    assert found == [
        ("albott_med", 0.0, 20.0, 14, 7),
        # One follow-up in two intervals: 80 % of 50 kept at 28 days, 60 % at 56.
        ("mcinnes_4w", 0.0, 28.0, 50, 10),
        ("mcinnes_8w", 28.0, 56.0, 40, 10),
        ("rasmussen_4w", 0.0, 28.0, 5, 3),
    ]
    assert "n assumed" in str(rows[1])


@pytest.mark.parametrize(
    ("ids", "assumed", "match"),
    [
        (["nobody"], {}, "no row 'nobody'"),
        (["shiroma_4w", "shiroma_4w"], {}, "repeat"),
        (["sustain1_rem_pbo"], {}, "esketamine in"),
        (["mcinnes_4w"], {}, "assumed_n"),
        (["shiroma_4w"], {"shiroma_4w": 20}, "prints n = 11"),
        (["shiroma_4w"], {"mcinnes_4w": 20}, "not among the rows"),
        (["phillips_lit"], {}, "lacks the counts"),
        (["mcinnes_4w", "mcinnes_8w"], {"mcinnes_4w": 50, "mcinnes_8w": 10}, "share n"),
    ],
)
def test_unusable_rows_are_refused(ids: list[str], assumed: dict[str, int], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        lost_rows(evidence(), ids, assumed)


def test_arms_must_be_counts_of_relapses() -> None:
    with pytest.raises(RecipeError, match="count of relapses"):
        arm_counts(evidence(), ArmIds("sustain3_esk24", "sustain1_rem_pbo"))


def test_curves_agree_with_nuts() -> None:
    cells = json.loads(NUTS.read_text(encoding="utf-8"))["scenarios"]["base"]["predictions"]
    assert len(cells) == 7
    curve = built().curve([cell["days"] / 7.0 for cell in cells])
    for cell, share in zip(cells, curve.share, strict=True):
        for who in ("average_clinic", "new_clinic"):
            (low80, high80), (low95, high95) = getattr(share, who)
            # Shares kept are one less shares lost: the quantiles turn round.
            found = [1.0 - value for value in (high95, high80, low80, low95)]
            known = [cell[who]["quantiles"][i] for i in (0, 1, 3, 4)]
            np.testing.assert_allclose(found, known, atol=QUANTILE)
        assert 1.0 - share.median == pytest.approx(cell["new_clinic"]["quantiles"][2], abs=QUANTILE)
        assert 1.0 - share.expected == pytest.approx(cell["new_clinic"]["expected"], abs=QUANTILE)


def test_draws_are_within_their_allowance() -> None:
    assert built().draws_error <= 0.01
    assert {array.shape for array in built().arrays().values()} == {(4096,)}


def test_a_curve_names_its_studies_and_limits() -> None:
    plain = built().curve()
    assert plain.weeks == tuple(range(27))
    assert [name.split(":")[0] for name in plain.studies] == [
        "murrough2013",
        "shiroma2014",
        "cusin2017",
        "diamond2014",
    ]
    assert "41 responders in 4 cohorts" in plain.limits[0]
    assert "2 of 4 rows are rebuilt from printed medians" in plain.limits[0]
    assert plain.assumptions == ()
    treated = built().curve(plan=MaintenancePlan("remitters"))
    assert "esketamine, transported" in treated.studies[-1]
    assert "24 of 90 with, 39 of 86 without" in treated.studies[-1]
    assert any("transported" in limit for limit in treated.limits)
    assert not any("transported" in limit for limit in plain.limits)


def bounds(share: Ranges) -> list[float]:
    sides = [side for pair in (*share.average_clinic, *share.new_clinic) for side in pair]
    return [share.expected, share.median, *sides]


@settings(deadline=None, max_examples=20)
@given(
    first=st.floats(0.0, 100.0),
    gap=st.floats(0.1, 4.0),
    plan=st.sampled_from([None, MaintenancePlan("responders"), MaintenancePlan("remitters")]),
)
def test_shares_fall_with_time_and_new_clinics_range_widest(
    first: float, gap: float, plan: MaintenancePlan | None
) -> None:
    before, after = built().curve([first, first + gap], plan).share
    assert all(a >= b for a, b in zip(bounds(before), bounds(after), strict=True))
    for share in (before, after):
        for narrow, wide in zip(share.average_clinic, share.new_clinic, strict=True):
            assert 0.0 <= wide[0] <= narrow[0] <= narrow[1] <= wide[1] <= 1.0
        (low80, high80), (low95, high95) = share.new_clinic
        assert low95 <= low80 <= share.median <= high80 <= high95


def test_maintenance_keeps_more_in_response() -> None:
    plain = built().curve([4.0, 13.0, 26.0]).share
    for stratum in STRATA:
        treated = built().curve([4.0, 13.0, 26.0], MaintenancePlan(stratum)).share
        assert all(t.expected > p.expected for t, p in zip(treated, plain, strict=True))


def test_weeks_in_response_are_the_area_under_the_curve() -> None:
    weeks = np.concatenate([[0.0], np.geomspace(0.001, 26.0, 400)])
    for plan in (None, MaintenancePlan("responders")):
        expected = [share.expected for share in built().curve(weeks.tolist(), plan).share]
        area = float(np.trapezoid(expected, weeks))
        assert built().weeks_in_response(plan=plan).expected == pytest.approx(area, abs=AREA)
    assert built().weeks_in_response(1.0).new_clinic[1][1] <= 1.0


def test_an_interval_is_only_ever_the_users_assumption() -> None:
    for given_half in ({"interval_weeks": 4.0}, {"interval_multiplier": 1.5}):
        with pytest.raises(InputError, match="nothing in the evidence tells maintenance intervals"):
            MaintenancePlan("responders", **given_half)
    plan = MaintenancePlan("responders", interval_weeks=4.0, interval_multiplier=1.5)
    curve = built().curve([8.0], plan)
    assert "user's assumption" in curve.assumptions[0]
    assert "every 4 weeks" in curve.assumptions[0]
    assert "1.5 times" in curve.assumptions[0]
    assert (
        curve.share[0].expected
        < built().curve([8.0], MaintenancePlan("responders")).share[0].expected
    )
    same = MaintenancePlan("responders", interval_weeks=1.0, interval_multiplier=1.0)
    assert built().curve(plan=same).share == built().curve(plan=MaintenancePlan("responders")).share


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"stratum": "everyone"}, "stratum is 'everyone'"),
        ({"stratum": "responders", "interval_weeks": 0.0, "interval_multiplier": 1.0}, "interval"),
        ({"stratum": "responders", "interval_weeks": 4.0, "interval_multiplier": -1.0}, "interval"),
    ],
)
def test_unusable_plans_are_refused(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        MaintenancePlan(**arguments)


def test_weeks_in_remission_need_the_users_transition() -> None:
    with pytest.raises(InputError, match="no source in the evidence"):
        built().weeks_in_remission()
    with pytest.raises(InputError, match="remission_share"):
        built().weeks_in_remission(1.2)
    whole, half = built().weeks_in_response(), built().weeks_in_remission(0.5)
    np.testing.assert_allclose(bounds(half), 0.5 * np.array(bounds(whole)), rtol=EXACT)


@pytest.mark.parametrize(
    ("weeks", "match"),
    [([-1.0], "weeks"), ([105.0], "weeks"), ([float("nan")], "weeks"), ([], "empty")],
)
def test_weeks_out_of_range_are_refused(weeks: list[float], match: str) -> None:
    with pytest.raises(InputError, match=match):
        built().curve(weeks)


def test_horizons_and_levels_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="horizon_weeks"):
        built().weeks_in_response(0.0)
    with pytest.raises(InputError, match="levels"):
        built().curve(levels=[1.0])


def test_what_is_stored_gives_the_same_answers() -> None:
    content = json.loads(json.dumps(built().to_dict()))
    again = read_durability(content, built().arrays())
    plan = MaintenancePlan("remitters")
    assert again.curve(plan=plan) == built().curve(plan=plan)
    assert again.weeks_in_response() == built().weeks_in_response()
    assert again.to_dict() == built().to_dict()
    assert content["curves"]["none"]["share"][4]["expected"] == built().curve([4]).share[0].expected
    assert set(content["curves"]) == {"none", "responders", "remitters"}


def test_damaged_storage_is_refused() -> None:
    content, arrays = built().to_dict(), built().arrays()
    with pytest.raises(ArtifactError, match="horizon_weeks"):
        read_durability({k: v for k, v in content.items() if k != "horizon_weeks"}, arrays)
    with pytest.raises(ArtifactError, match="relapse_k"):
        read_durability(content, {k: v for k, v in arrays.items() if k != "relapse_k"})
    with pytest.raises(ArtifactError, match="shapes"):
        read_durability(content, {**arrays, "relapse_m": np.zeros(3)})
    with pytest.raises(ArtifactError, match="finite"):
        read_durability(content, {**arrays, "relapse_m": np.full(4096, np.nan)})


def test_sensitivity_analyses_change_what_they_say() -> None:
    checks = {check.name: check for check in check_durability(evidence(), rules(), 1024)}
    assert list(checks) == ["albott", "mcinnes", "no_medians", "wide"]
    assert len(checks["albott"].rows) == 5
    assert [row.row_id for row in checks["no_medians"].rows] == ["shiroma_4w", "cusin_2w"]
    base = built().curve([float(week) for week in checks["mcinnes"].weeks]).share
    # 80 % kept at four weeks lies above every other follow-up.
    assert checks["mcinnes"].share[1].expected > base[1].expected + 0.02
    assert checks["wide"].mean[1] > built().mean[1]
    json.dumps([check.share[0].expected for check in checks.values()])


def test_same_evidence_same_draws() -> None:
    again = build_durability(evidence(), replace(rules(), sensitivity=()), 1024)
    once = build_durability(evidence(), rules(), 1024)
    np.testing.assert_array_equal(again.draws.log_scale, once.draws.log_scale)


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (("horizon_weeks",), 0, "horizon_weeks"),
        (("horizon_weeks",), True, "horizon_weeks"),
        (("rows",), [], "rows"),
        (("rows",), "murrough_med", "rows"),
        (("prior", "spread"), 0.0, "spread"),
        (("prior", "spread"), None, "spread"),
        (("prior", "shape"), 1.0, "unknown entry 'shape'"),
        (("prior",), None, "durability.prior"),
        (("maintenance", "remitters"), None, "remitters"),
        (("maintenance", "weekly"), {}, "unknown entry 'weekly'"),
        (("maintenance", "remitters", "treated"), "", "treated"),
        (("sensitivity",), {}, r"\[\[durability.sensitivity\]\]"),
        (("sensitivity", 1, "assumed_n"), {"mcinnes_4w": 0.5}, "assumed_n"),
        (("sensitivity", 0, "add"), [3], "add"),
        (("sensitivity", 0, "title"), "", "title"),
        (("sensitivity", 3, "prior"), 2.0, "prior"),
    ],
)
def test_unusable_sections_are_refused(path: tuple[Any, ...], value: Any, match: str) -> None:
    changed: Any = copy.deepcopy(table())
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(RecipeError, match=match):
        parse_durability(changed)
