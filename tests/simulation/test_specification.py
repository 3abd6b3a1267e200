"""Specifications: checked, written and read again, cohorts from tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketacast.errors import InputError
from ketacast.simulation.documents import from_document, to_document
from ketacast.simulation.files import (
    cohort_from_table,
    load_specification,
    save_specification,
    to_toml,
)
from ketacast.simulation.specification import (
    Cohort,
    Costs,
    Dropout,
    Group,
    Specification,
    Utilities,
)
from ketacast.simulation.strategies import Extend, Maintenance, Stop, Strategy, Taper

Build = Callable[..., Specification]


def rich(build: Build) -> Specification:
    return build(
        title='quotes " and \\ and é\u007f',
        dropout=Dropout(0.05, 0.01),
        remission_share=0.6,
        costs=Costs("EUR", 800.0, per_week_otherwise=12.5),
        utilities=Utilities(0.8, 0.5),
        discount_per_year=0.03,
        willingness_to_pay=(0.0, 2e4, 5e4),
    )


@pytest.mark.parametrize("ending", ["toml", "yaml", "json"])
def test_written_and_read_again(build: Build, tmp_path: Path, ending: str) -> None:
    for number, spec in enumerate((build(), rich(build))):
        file = tmp_path / f"{number}.{ending}"
        save_specification(spec, file)
        assert load_specification(file) == spec


@settings(max_examples=40, deadline=None)
@given(
    st.text(max_size=40),
    st.lists(
        st.tuples(
            st.integers(0, 20), st.sampled_from(["self", "clinician", "unknown"]),
            st.integers(1, 9999),
        ),
        min_size=1, max_size=4,
    ),
    st.floats(0.25, 7.0),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_any_document_comes_back(
    title: str, groups: list[tuple[int, Any, int]], per_week: float, seed: int
) -> None:
    spec = Specification(
        Cohort(tuple(Group(*group) for group in groups), counted=True),
        (Strategy("a b", 3, per_week), Strategy("c", 2, stop=(Stop(1),))),
        horizon_weeks=52, patients=max(2, sum(n for *_, n in groups)), title=title, seed=seed,
    ) if sum(n for *_, n in groups) >= 2 else None  # fmt: skip
    if spec is None:
        return
    import tomllib  # noqa: PLC0415

    assert from_document(tomllib.loads(to_toml(to_document(spec)))) == spec


def test_schedules_are_whole_days() -> None:
    assert Strategy("a", 6).days == (0, 3, 7, 10, 14, 17)
    assert Strategy("a", 4, per_week=3.0).days == (0, 2, 4, 7)
    assert Strategy("a", 3, per_week=0.5).days == (0, 14, 28)
    assert Strategy("a", 2, taper=Taper(2, 1.0)).days == (0, 3, 10, 17)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"patients": 1}, "patients is 1; give a whole number from 2"),
        ({"patients": True}, "patients is True"),
        ({"engine": "fast"}, "engine is 'fast'; choose one of 'expected'"),
        ({"classes": 48}, "classes is 48; give a power of 2"),
        ({"draws": 5000}, "draws is 5000; give a whole number from 1 to 4096"),
        ({"seed": -1}, "seed is -1"),
        ({"levels": ()}, "levels has 0 entries"),
        ({"levels": (0.8, 0.80000001)}, "give each one once"),
        ({"levels": tuple(i / 20 for i in range(1, 12))}, "levels has 11 entries"),
        ({"title": "\ud800"}, "title is"),
        ({"costs": Costs("EUR", 1.0), "willingness_to_pay": (1.0,) * 501}, "501 thresholds"),
        ({"levels": (1.5,)}, "levels is 1.5"),
        ({"horizon_weeks": 2}, "after the horizon of 2 weeks"),
        ({"strategies": ()}, "there are 0 strategies"),
        ({"strategies": (Strategy("a", 2), Strategy("a", 3))}, "repeat"),
        ({"strategies": (Strategy("a", 2),), "dropout": Dropout(0.1, 0.1)}, "has maintenance"),
        ({"discount_per_year": 0.03}, "without costs or utilities"),
        ({"willingness_to_pay": (1.0,)}, "willingness_to_pay without"),
        ({"remission_share": 1.2}, "remission_share is 1.2"),
        ({"remission_share": float("nan")}, "remission_share is nan"),
        ({"title": "x" * 201}, "title is"),
    ],
)
def test_bad_runs_are_refused(build: Build, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told.replace("(", r"\(")):
        build(**changes)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Stop(3, 4), "stop.none_in_last is 4; give a whole number from 1 to 3"),
        (lambda: Strategy("", 3), "strategy name is ''"),
        (lambda: Strategy("a", 31), "infusions is 31"),
        (lambda: Strategy("a", 6, per_week=9), "per_week is 9"),
        (lambda: Strategy("a", 6, stop=(Stop(6),)), "stop.after is 6, but the course ends"),
        (lambda: Strategy("a", 6, extend=Extend(6)), "extend.to is 6; give more than the 6"),
        (
            lambda: Strategy("a", 6, extend=Extend(8), taper=Taper(1, 1.0)),
            "has extend and taper",
        ),
        (lambda: Strategy("a", 29, taper=Taper(2, 1.0)), "a taper make 31"),
        (lambda: Maintenance(2, 0.0), "interval_multiplier is 0.0"),
        (lambda: Group(21, "self", 1.0), "failed_trials is 21"),
        (lambda: Group(3, "me", 1.0), "rated_by is 'me'"),  # type: ignore[arg-type]
        (lambda: Group(3, "self", -1.0), "is -1.0"),
        (lambda: Group(3, "self", 1.0, "average", 2), "only new clinics can be more"),
        (lambda: Cohort((), counted=False), "has 0 groups"),
        (lambda: Cohort((Group(3, "self", 0.0),), counted=False), "all 0"),
        (lambda: Cohort((Group(3, "self", 1.5),), counted=True), "not a whole number"),
    ],
)
def test_bad_parts_are_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        make()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"strategy": []}, "the specification has 'strategy'; known are"),
        ({"schema_version": 2}, "schema_version is 2"),
        ({"simulation": {"horizon_weeks": 26}}, "patients is missing"),
        ({"simulation": {"patients": 10, "horizon_weeks": 26, "speed": 1}}, "has 'speed'"),
        ({"cohort": {}}, "groups is None"),
        ({"cohort": {"groups": [{"failed_trials": 3, "rated_by": "self"}]}}, "share or n"),
        ({"cohort": {"groups": [{"share": 1, "rated_by": "self"}]}}, "lacks failed_trials"),
        (
            {"cohort": {"groups": [
                {"failed_trials": 3, "rated_by": "self", "share": 1},
                {"failed_trials": 3, "rated_by": "self", "n": 1},
            ]}},
            "some groups have share and some n",
        ),
        ({"strategies": []}, "head each one with"),
        ({"strategies": [{"name": "a"}]}, "lacks infusions"),
        (
            {"strategies": [{"name": "a", "infusions": 6, "maintenance": {"interval_weeks": 2}}]},
            "maintenance lacks interval_multiplier",
        ),
        (
            {"strategies": [{"name": "a", "infusions": 6, "reinduction": {"infusions": 4,
                                                                          "weeks": 2}}]},
            "reinduction lacks success",
        ),
        ({"strategies": [{"name": "a", "infusions": 6, "stop": 3}]}, "stop is 3; give a table"),
        ({"assumptions": {"dropout": 0.1}}, "has 'dropout'; known are remission_share"),
        ({"costs": {"currency": "EUR"}}, "lacks per_infusion"),
        ({"dropout": 0.1}, "dropout. is 0.1; give a table"),
    ],
)  # fmt: skip
def test_bad_documents_are_refused(build: Build, change: dict[str, Any], told: str) -> None:
    document = {**to_document(build()), **change}
    with pytest.raises(InputError, match=told):
        from_document(document)


def test_cohorts_come_from_tables_of_any_kind(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"failed_trials": [3, 6, 3], "rated_by": ["self", "clinician", "self"], "n": [10, 20, 5]}
    )
    wanted = Cohort((Group(3, "self", 15), Group(6, "clinician", 20)), counted=True)
    frame.to_csv(tmp_path / "c.csv", index=False)
    frame.to_parquet(tmp_path / "c.parquet")
    tables = (
        frame, pl.from_pandas(frame), pa.Table.from_pandas(frame), tmp_path / "c.csv",
        str(tmp_path / "c.parquet"),
    )  # fmt: skip
    for table in tables:
        assert cohort_from_table(table) == wanted
    each = frame.drop(columns="n")
    assert cohort_from_table(each) == Cohort(
        (Group(3, "self", 2), Group(6, "clinician", 1)), counted=True
    )
    (tmp_path / "s.toml").write_text(
        "[simulation]\nhorizon_weeks = 26\n[cohort]\ntable = 'c.csv'\n"
        "[[strategies]]\nname = 'six'\ninfusions = 6\n"
    )
    spec = load_specification(tmp_path / "s.toml")
    assert (spec.cohort, spec.patients) == (wanted, 35)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (pd.DataFrame({"failed_trials": [3]}), "no column 'rated_by'"),
        (pd.DataFrame({"failed_trials": [3], "rated_by": ["self"], "age": [40]}), "has 'age'"),
        (
            pd.DataFrame({"failed_trials": [3], "rated_by": ["self"], "n": [1], "share": [1.0]}),
            "n and share",
        ),
        (pd.DataFrame({"failed_trials": [3.5], "rated_by": ["self"]}), "failed_trials is 3.5"),
        (7, "the cohort is a int"),
        ("missing.csv", "cannot read"),
        ("cohort.xlsx", "give a .csv or .parquet"),
    ],
)
def test_bad_tables_are_refused(table: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        cohort_from_table(table)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    for name, text, told in (
        ("a.toml", "[simulation", "cannot be read"),
        ("a.yaml", "a: [", "cannot be read"),
        ("a.json", "{", "cannot be read"),
        ("a.yml", "- 1", "holds no tables"),
        ("a.txt", "", "give a .toml"),
        ("b.toml", "x = '" + "y" * 10**6 + "'", "at most 1000000"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=told):
            load_specification(tmp_path / name)
    with pytest.raises(InputError, match="cannot read"):
        load_specification(tmp_path / "none.toml")
