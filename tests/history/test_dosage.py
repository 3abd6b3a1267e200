"""Daily doses from the many ways to write them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ketacast.history.dosage import Dose, as_needed, daily_dose
from ketacast.history.dosage_text import daily_amount
from ketacast.history.drugs import Strength, drug_table
from ketacast.history.timing import duration_days, times_a_day

SERTRALINE = drug_table().by_name["sertraline"]
TABLET = Strength(50.0, 50.0, "unit")
SOLUTION = Strength(20.0, 20.0, "mL")
DAILY = {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}


def instruction(value: Any, unit: str = "", timing: Any = DAILY, **more: Any) -> dict[str, Any]:
    return {
        "timing": timing,
        "doseAndRate": [{"doseQuantity": {"value": value, "unit": unit}}],
        **more,
    }


@pytest.mark.parametrize(
    ("repeat", "expected"),
    [
        ({"frequency": 2, "period": 1, "periodUnit": "d"}, (2, 2)),
        ({"frequency": 1, "period": 12, "periodUnit": "h"}, (2, 2)),
        ({"frequency": 1, "frequencyMax": 2, "period": 1, "periodUnit": "d"}, (1, 2)),
        ({"frequency": 1, "period": 1, "periodMax": 2, "periodUnit": "d"}, (0.5, 1)),
        ({"frequency": 1, "period": 1, "periodUnit": "wk"}, (1 / 7, 1 / 7)),
        (
            {"frequency": 1, "period": 1, "periodUnit": "d", "dayOfWeek": ["mon"] * 2},
            (2 / 7, 2 / 7),
        ),
        ({"period": 1, "periodUnit": "d"}, (1, 1)),
        ({"when": [{}, {}]}, (2, 2)),
        ({"timeOfDay": [{}, {}, {}]}, (3, 3)),
        ({"period": 1, "periodUnit": "d", "timeOfDay": [{}, {}]}, (2, 2)),
        ({"dayOfWeek": [{}, {}, {}]}, (3 / 7, 3 / 7)),
    ],
)
def test_times_a_day(repeat: dict[str, Any], expected: tuple[float, float]) -> None:
    assert times_a_day({"repeat": repeat}) == pytest.approx(expected)


@pytest.mark.parametrize(("code", "times"), [("BID", 2), ("qd", 1), ("TID", 3), ("QOD", 0.5)])
def test_timing_codes(code: str, times: float) -> None:
    assert times_a_day({"code": {"coding": [{"code": code}]}}) == (times, times)


@pytest.mark.parametrize(
    "timing", [None, {}, {"repeat": {}}, {"repeat": {"period": 1, "periodUnit": "aeon"}},
               {"code": {"coding": [{"code": "NOW"}]}}, {"repeat": {"count": 6}}]
)  # fmt: skip
def test_a_timing_that_says_nothing(timing: Any) -> None:
    assert times_a_day(timing) is None


@pytest.mark.parametrize(
    ("quantity", "days"),
    [
        ({"value": 30, "unit": "days"}, 30),
        ({"value": 4, "code": "wk"}, 28),
        ({"value": 1, "unit": "month", "code": "mo"}, 30.4375),
        ({"value": 30}, None),
        ({"value": -3, "code": "d"}, None),
        ({"value": "30", "code": "d"}, None),
        (30, None),
    ],
)
def test_durations(quantity: Any, days: float | None) -> None:
    assert duration_days(quantity) == days


@pytest.mark.parametrize(
    ("entries", "strength", "expected"),
    [
        ([instruction(100, "mg")], None, (100, 100, "recorded")),
        ([instruction(0.1, "g")], None, (100, 100, "recorded")),
        ([instruction(2, "tablets")], TABLET, (100, 100, "recorded")),
        ([instruction(2, "Tablet(s)")], TABLET, (100, 100, "recorded")),
        ([instruction(2)], TABLET, (100, 100, "recorded")),
        ([instruction(2, "capsules")], TABLET, (100, 100, "recorded")),
        ([instruction(5, "mL")], SOLUTION, (100, 100, "recorded")),
        ([instruction(6, "mg/24.h", None)], None, (6, 6, "recorded")),
        ([instruction(1, "mg/h", None)], None, (24, 24, "recorded")),
        ([instruction(50, "mg", None)], None, (0, 100, "recorded")),
        ([instruction(50, "mg", asNeededBoolean=True)], None, (0, 50, "recorded")),
        ([instruction(50, "mg"), instruction(100, "mg")], None, (150, 150, "recorded")),
        (
            [instruction(50, "mg", sequence=1), instruction(100, "mg", sequence=2)],
            None,
            (50, 150, "recorded"),
        ),
        ([], TABLET, (0, 100, "assumed")),
        ([{"text": "1 tablet twice daily"}], TABLET, (100, 100, "text")),
        ([instruction(100)], TABLET, (0, 100, "assumed")),
        ([instruction(100, "puffs")], TABLET, (0, 100, "assumed")),
    ],
)
def test_daily_doses(
    entries: list[Any], strength: Strength | None, expected: tuple[float, float, str]
) -> None:
    assert daily_dose(entries, strength, SERTRALINE) == Dose(*expected)


@pytest.mark.parametrize("value", [None, "50", -50, 0, True, math.nan, 10**400, [], {}])
def test_a_value_that_is_none_is_no_dose(value: Any) -> None:
    assert daily_dose([instruction(value, "mg")], None, SERTRALINE).basis == "unknown"


def test_a_range_of_doses() -> None:
    span = {"low": {"value": 50, "unit": "mg"}, "high": {"value": 100, "unit": "mg"}}
    entry = {"timing": DAILY, "doseAndRate": [{"doseRange": span}]}
    assert daily_dose([entry], None, SERTRALINE) == Dose(50, 100, "recorded")


def test_a_dispensed_quantity_gives_the_dose() -> None:
    assert daily_dose([], TABLET, SERTRALINE, 2.0) == Dose(100, 100, "dispensed")


def test_a_dose_beyond_belief_is_unknown() -> None:
    assert daily_dose([instruction(5000, "mg")], None, SERTRALINE).basis == "unknown"
    wide = {"low": {"value": 50, "unit": "mg"}, "high": {"value": 5000, "unit": "mg"}}
    entry = {"timing": DAILY, "doseAndRate": [{"doseRange": wide}]}
    assert daily_dose([entry], None, SERTRALINE) == Dose(50, math.inf, "recorded")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], False),
        ([{"asNeededBoolean": True}], True),
        ([{"asNeededCodeableConcept": {"text": "sleep"}}], True),
        ([{"asNeededBoolean": True}, {}], False),
        ([{"asNeededBoolean": "true"}], False),
    ],
)
def test_as_needed(entries: list[Any], expected: bool) -> None:
    assert as_needed(entries) is expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Take 1 tablet by mouth daily", (50, 50)),
        ("1-2 tablets at bedtime", (50, 100)),
        ("take two tablets every morning", (100, 100)),
        ("50 mg once daily", (50, 50)),
        ("75 mg PO BID", (150, 150)),
        ("Take 2 tablets (100 mg total) by mouth nightly", (100, 100)),
        ("2 tablets of 50 mg daily", (100, 100)),
        ("100 mg/day", (100, 100)),
        ("1 tablet every other day", (25, 25)),
        ("1 tablet at bedtime as needed", (0, 50)),
        ("Take 1 tablet daily for 30 days", (50, 50)),
        ("1 tablet three times a day", (150, 150)),
        ("Take 1 tablet daily, then 2 tablets", (50, 100)),
        ("Take 1 tablet, increase after a week", None),
        ("half a tablet daily", (25, 25)),
        ("1/2 tablet daily", (25, 25)),
        ("as directed", None),
        ("50 mg in the morning and 100 mg at night daily", (150, 150)),
        ("up to 3 tablets daily", (0, 150)),
        ("do not take daily", None),
        ("", None),
    ],
)
def test_words_for_a_dose(words: str, expected: tuple[float, float] | None) -> None:
    assert daily_amount(words, TABLET) == expected


def test_words_for_a_solution() -> None:
    assert daily_amount("Take 2.5 mL daily", SOLUTION) == (50, 50)
    assert daily_amount("Take 2.5 mL daily", None) is None
