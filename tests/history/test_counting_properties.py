"""What must hold for any chart, however odd."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ketacast.errors import KetacastError
from ketacast.history import (
    CountingRules,
    HistoryCount,
    count_failed_trials,
    count_failed_trials_in_table,
    rater_from_chart,
)

Record = dict[str, Any]
Build = Callable[[list[Record]], list[Record]]

AS_OF = "2026-06-01"
DRUGS = ("sertraline", "venlafaxine", "bupropion", "trazodone", "reboxetine", "amitriptyline")
RELAXED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def days(low: int, high: int) -> st.SearchStrategy[str]:
    start = date(2020, 1, 1)
    offsets = st.integers(low, high)
    whole = offsets.map(lambda n: (start + timedelta(days=n)).isoformat())
    return st.one_of(whole, whole, whole, whole.map(lambda d: d[:7]), whole.map(lambda d: d[:4]))


@st.composite
def specs(draw: st.DrawFn) -> Record:
    kind = draw(st.sampled_from(["statement", "statement", "request", "dispense", "condition"]))
    if kind == "condition":
        icd = draw(st.sampled_from(["F33.1", "F31.9", "F20.0", "G43.9", "F41.1"]))
        return {"is": kind, "icd": icd, "onset": draw(days(0, 2300))}
    spec: Record = {"is": kind, "drug": draw(st.sampled_from(DRUGS))}
    mg = draw(st.sampled_from([None, 25, 50, 75, 100, 150, 200, 300, 9000]))
    if mg is not None:
        spec["mg"] = mg
    for name, values in (
        ("prn", [True]),
        ("reason", ["Depression", "Insomnia", "Anxiety", "Smoking cessation"]),
        ("stop", ["Nausea", "Ineffective", "Resolved", "Partial response"]),
        ("status", ["active", "completed", "stopped", "on-hold", "draft", "not-taken", "?"]),
    ):
        chosen = draw(st.sampled_from([None, None, None, *values]))
        if chosen is not None:
            spec[name] = chosen
    if kind == "statement":
        spec["start"] = draw(days(0, 2300))
        if draw(st.booleans()):
            spec["end"] = draw(days(0, 2400))
        if draw(st.booleans()):
            spec["asserted"] = draw(days(2000, 2400))
    else:
        spec["on"] = draw(days(0, 2400))
        if draw(st.booleans()) or kind == "dispense":
            spec["days"] = draw(st.sampled_from([0, 7, 28, 30, 90, 400]))
            spec["repeats"] = draw(st.sampled_from([0, 1, 5]))
    return spec


charts = st.lists(specs(), max_size=12)


def numbers(found: HistoryCount) -> list[int]:
    return [
        found.current_episode.low,
        found.usual_current_episode,
        found.current_episode.high,
        found.lifetime.low,
        found.usual_lifetime,
        found.lifetime.high,
    ]


@RELAXED
@given(chart=charts, seed=st.integers(0, 1000))
def test_the_order_of_entries_changes_nothing(build: Build, chart: list[Record], seed: int) -> None:
    records = build(chart)
    shuffled = copy.deepcopy(records)
    random.Random(seed).shuffle(shuffled)  # noqa: S311  # an order, no secret
    expected = count_failed_trials(records, as_of=AS_OF).to_dict()
    assert count_failed_trials(shuffled, as_of=AS_OF).to_dict() == expected


@RELAXED
@given(chart=charts, seed=st.integers(0, 1000))
def test_records_sent_twice_change_nothing(build: Build, chart: list[Record], seed: int) -> None:
    records = build(chart)
    rng = random.Random(seed)  # noqa: S311  # a choice, no secret
    repeated = [*records, *copy.deepcopy(rng.choices(records, k=5) if records else [])]
    rng.shuffle(repeated)
    expected = count_failed_trials(records, as_of=AS_OF).to_dict()
    assert count_failed_trials(repeated, as_of=AS_OF).to_dict() == expected


@RELAXED
@given(chart=charts)
def test_the_readings_are_in_order(build: Build, chart: list[Record]) -> None:
    found = count_failed_trials(build(chart), as_of=AS_OF)
    low, usual, high, life_low, life_usual, life_high = numbers(found)
    assert 0 <= low <= usual <= high
    assert life_low <= life_usual <= life_high
    assert low <= life_low
    assert usual <= life_usual
    assert high <= life_high
    for era in found.eras:
        assert era.strict.weeks <= era.usual.weeks <= era.lenient.weeks <= era.weeks
        assert era.reasons
    assert str(found)
    json.dumps(found.to_dict(), allow_nan=False)


@RELAXED
@given(chart=charts, start=st.integers(0, 2200))
def test_a_further_adequate_drug_never_lowers_the_count(
    build: Build, chart: list[Record], start: int
) -> None:
    first = date(2020, 1, 1) + timedelta(days=start)
    extra = {
        "is": "statement",
        "id": "extra",
        "drug": "phenelzine",
        "mg": 60,
        "start": first.isoformat(),
        "end": (first + timedelta(days=100)).isoformat(),
    }
    before = numbers(count_failed_trials(build(chart), as_of=AS_OF))
    after = numbers(count_failed_trials(build([*chart, extra]), as_of=AS_OF))
    assert all(new >= old for new, old in zip(after, before, strict=True)), (before, after)


@RELAXED
@given(chart=charts, more=st.integers(0, 6))
def test_asking_for_more_weeks_never_counts_more(
    build: Build, chart: list[Record], more: int
) -> None:
    records = build(chart)
    rules = CountingRules(strict_weeks=8 + more, usual_weeks=6 + more, lenient_weeks=4 + more)
    before = count_failed_trials(records, as_of=AS_OF)
    after = count_failed_trials(records, as_of=AS_OF, rules=rules)
    assert after.lifetime.high <= before.lifetime.high
    assert after.current_episode.high <= before.current_episode.high


JUNK: list[Any] = [
    None, "", "x", 0, -1, 1e308, True, [], {}, [None], {"a": None}, [[{}]], "2025-13-45", "0000",
    "9999-99", {"reference": None}, {"coding": "x"}, {"value": "50"}, {"reference": "#"}, 10**400,
    {"reference": "Patient/"}, "\u0000", "é" * 500, {"repeat": {"frequency": "x"}}, float("nan"),
]  # fmt: skip


def vandalised(value: Any, rng: random.Random, share: float) -> Any:
    if rng.random() < share:
        return rng.choice(JUNK)
    if isinstance(value, dict):
        return {key: vandalised(held, rng, share) for key, held in value.items()}
    if isinstance(value, list):
        return [vandalised(held, rng, share) for held in value]
    return value


@settings(RELAXED, max_examples=400)
@given(seed=st.integers(0, 10**9), share=st.sampled_from([0.02, 0.1, 0.3]))
def test_bad_records_raise_nothing_but_our_errors(
    build: Build, all_cases: list[Record], seed: int, share: float
) -> None:
    rng = random.Random(seed)  # noqa: S311  # damage, no secret
    case = rng.choice([case for case in all_cases if "records" in case])
    entries = [{"resource": record} for record in build(case["records"])]
    patient = {"resource": {"resourceType": "Patient", "id": "p", "birthDate": "1980-02-29"}}
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [*entries, patient]}
    damaged = vandalised(bundle, rng, share)
    try:
        found = count_failed_trials(damaged, as_of=AS_OF)
        rater_from_chart(damaged, as_of=AS_OF)
    except KetacastError:
        return
    assert str(found)
    json.dumps(found.to_dict(), allow_nan=False)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["resourceType", "entry", "resource", "id", "subject", "reference", "status", "code",
             "medicationCodeableConcept", "coding", "text", "dosage", "authoredOn", "link"]
        ),
        inner | st.sampled_from(["Bundle", "MedicationRequest", "Patient", "sertraline", "active"]),
        max_size=6,
    ),
    max_leaves=30,
)  # fmt: skip


@RELAXED
@given(resources=anything)
def test_anything_at_all_raises_nothing_but_our_errors(resources: Any) -> None:
    try:
        found = count_failed_trials(resources, as_of=AS_OF)
    except KetacastError:
        return
    assert found.current_episode.low == 0


@RELAXED
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "drug": st.sampled_from(["sertraline", "x", "", None, 7, float("nan")]),
                "dose_mg": st.sampled_from([50, "50", "", "-1", 1e9, None, "many"]),
                "start": st.sampled_from(["2026-01-01", "2025", "", "x", None, date(2026, 1, 2)]),
                "end": st.sampled_from(["2026-05-01", "2024", "", "x", None]),
                "weeks": st.sampled_from([12, "12", 0, "", None, "x"]),
                "status": st.sampled_from(["", "ongoing", "planned", "?"]),
                "outcome": st.sampled_from(["", "failed", "purple"]),
            },
        ),
        max_size=4,
    )
)
def test_bad_rows_raise_nothing_but_our_errors(rows: list[Record]) -> None:
    try:
        found = count_failed_trials_in_table(rows, as_of=AS_OF)
    except KetacastError:
        return
    assert str(found)


def test_nothing_is_deep_enough_to_break_it() -> None:
    nested: Any = {"resourceType": "MedicationRequest"}
    for _ in range(5_000):
        nested = {"resourceType": "Bundle", "entry": [{"resource": nested}]}
    found = count_failed_trials(nested, as_of=AS_OF)
    assert [entry.code for entry in found.unread] == ["nested"]
    deep: Any = {}
    for _ in range(5_000):
        deep = {"a": deep}
    order = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "authoredOn": "2026-01-01",
        "medicationCodeableConcept": {"text": "sertraline", "extension": deep},
        "dosageInstruction": [{"extension": deep}],
    }
    assert count_failed_trials([order], as_of=AS_OF).current_episode.high == 1


@pytest.mark.parametrize("size", [10_000])
def test_ten_thousand_entries_are_counted(build: Build, size: int) -> None:
    records = [
        {"resourceType": "Observation", "id": str(n), "status": "final", "code": {"text": "x"}}
        for n in range(size)
    ]
    extra = build([{"is": "statement", "drug": "sertraline", "mg": 100, "start": "2026-01-01",
                    "end": "2026-05-20"}])  # fmt: skip
    found = count_failed_trials({"resourceType": "Bundle", "entry": [
        {"resource": record} for record in [*records, *extra]]}, as_of=AS_OF)  # fmt: skip
    assert found.failed_trials == (1, 1)


@pytest.mark.parametrize(
    "specs",
    [
        # Each is the worst of its sort: what grew with the square of the entries took minutes.
        [("sertraline", day, day + 5 if day % 2 else None, 100.0) for day in range(4_000)],
        [("amitriptyline", day, day + 900, 10 + day / 200) for day in range(1_500)],
        [(DRUGS[day % 6], 95 * day // 6 % 2_200, 95 * day // 6 % 2_200 + 60, 100.0)
         for day in range(4_000)],
    ],
    ids=["open beside ended", "a hundred doses", "scattered"],
)  # fmt: skip
def test_odd_charts_take_no_longer_than_long_ones(
    specs: list[tuple[str, int, int | None, float]], build: Build
) -> None:
    first = date(2010, 1, 1)
    records = [
        {"is": "statement", "drug": drug, "mg": mg, "status": "stopped",
         "start": (first + timedelta(days=start)).isoformat()}
        | ({} if end is None else {"end": (first + timedelta(days=end)).isoformat()})
        for drug, start, end, mg in specs
    ]  # fmt: skip
    made = build(records)
    started = time.perf_counter()
    count_failed_trials(made, as_of=AS_OF)
    # Some 0.3 s on two shared cores; quadratic growth would take over a minute.
    assert time.perf_counter() - started < 10
